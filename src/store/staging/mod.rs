//! Incomplete uploads. The bytes go to a file without a name, created in the directory of the target,
//! which gets its name by one link. An upload that is worth resuming, or replaces a file, gets a name
//! in a hidden directory at the top of the home first, and its final name by one rename.
//!
//! ```text
//!               keep, or a file is to be replaced
//!   Nameless ───────────────────────────────────────► Staging
//!      │ link                                            │ rename
//!      └──────────────────► the target ◄─────────────────┘
//! ```
//!
//! `ID.part` holds the bytes. `ID.json`, the record, exists once an upload is worth resuming. A part
//! without a record is removed when the home is counted. A killed server loses none of the bytes; after
//! a crash of the machine only synced bytes are trusted.

mod commit;
mod directory;
mod inode;
mod listing;
mod record;
mod resume;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use super::StoreError;
use super::home::{Home, UploadTarget};
use super::ledger::Reservation;
use super::meta::{Meta, meta_of};
use super::names::{FULL_DISK_MTIME_NS, part_name, record_name};
use super::open_file::OpenFile;
use super::splice::Pipe;
use super::syncer::{Flush, OnFailure, Syncer, Unsynced};
use super::workers::{Disk, Ticket};
use crate::base::attributes::{RequestedMode, set_mtime};
use crate::base::buffers::SpliceSource;
use crate::base::refusals::OptionalOperation;
use crate::base::upload_id::UploadId;
use crate::store::claims::Claim;
pub use crate::store::partials::PARTIALS_PER_HOME_MAX;
use crate::store::partials::RecordSlot;
pub(super) use directory::remove;
use inode::PartLocation;
pub use listing::{PartialUploadListing, PartialUploadPage};
pub use record::{PartialUpload, Record};
use record::{StoredRecord, kept_text, write_record, write_record_text};
use resume::Truncation;

/// How much one turn truncates. The kernel frees this in 0.5 ms, and 4 GiB at once in more than a
/// second.
pub const TRUNCATED_BYTES_PER_TURN: u64 = 2 * 1024 * 1024;

/// The file of a running upload. Dropping it before the commit removes the file, unless the upload can be
/// resumed.
pub struct Staged {
    home: Rc<Home>,
    location: PartLocation,
    id: UploadId,
    claim: Rc<Claim>,
    /// The number of valid bytes. The file is longer while `surplus` is being truncated.
    length: u64,
    surplus: Option<Truncation>,
    /// The record. Its file is written at once or, without a `slot`, when the upload is interrupted. `None`
    /// while the upload is not worth resuming.
    kept: Option<StoredRecord>,
    /// Held while the record's file exists.
    slot: Option<RecordSlot>,
    /// It cannot get a name in the staging directory, so it cannot be resumed.
    cannot_be_kept: bool,
    /// A write failed because the disk was full.
    met_full_disk: bool,
    is_committed: bool,
}

impl Staged {
    /// Begins an upload to `target` after reserving `promised` bytes. A partial upload `id` is dropped;
    /// without an id the upload gets a random one.
    pub fn create(
        home: Rc<Home>,
        target: &UploadTarget,
        id: Option<UploadId>,
        wanted: Option<RequestedMode>,
        promised: u64,
    ) -> Result<Self, StoreError> {
        let id = match id {
            Some(id) => {
                home.drop_partial_upload(&id)?;
                id
            }
            None => UploadId::random()?,
        };
        let reservation = home.reserve_for_new_file(promised, &target.at.directory)?;
        let (file, location) = inode::create(&home, &id, target, wanted, &reservation)?;
        Ok(Self::claimed(home, location, id, reservation, file, 0, None))
    }

    fn claimed(
        home: Rc<Home>,
        location: PartLocation,
        id: UploadId,
        reservation: Reservation,
        file: OpenFile,
        length: u64,
        kept: Option<StoredRecord>,
    ) -> Self {
        let claim = Claim { reservation, file: RefCell::new(Some(Rc::new(file))), is_unwritten: Cell::new(false) };
        let claim = Rc::new(claim);
        home.claims.insert(id, &claim);
        home.partials.forget(&id);
        let mut staged = Self {
            home,
            location,
            id,
            claim,
            length,
            surplus: None,
            kept,
            slot: None,
            cannot_be_kept: false,
            met_full_disk: false,
            is_committed: false,
        };
        if staged.kept.is_some() {
            staged.slot = staged.home.partials.take_slot();
            if staged.slot.is_none() {
                staged.remove_record();
            }
        }
        staged
    }

    /// Appends bytes. Bytes written before an error stay written and counted.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.reserve_room(bytes.len() as u64)?;
        self.append(bytes.len(), |file, offset, left| file.write_at(&bytes[bytes.len() - left..], offset))
    }

    /// Splices bytes from a socket. Returns the number of bytes; 0 means that they must be read and
    /// written.
    pub fn write_from(&mut self, incoming: SpliceSource<'_>, pipe: &mut Pipe) -> Result<usize, StoreError> {
        self.reserve_room(incoming.count as u64)?;
        let taken = pipe.fill(incoming, &*self.file()?)?;
        self.append(taken, |file, offset, left| pipe.drain(file, offset, left))?;
        Ok(taken)
    }

    /// Calls `write` with the file, its length and the number of remaining bytes until all are written.
    fn append(
        &mut self,
        mut left: usize,
        mut write: impl FnMut(&File, u64, usize) -> io::Result<usize>,
    ) -> Result<(), StoreError> {
        let file = self.open_file()?;
        while left > 0 {
            match write(&file, self.length, left) {
                Ok(0) => {
                    self.met_full_disk = true;
                    return Err(StoreError::DiskFull);
                }
                Ok(count) => {
                    self.record_written(&file, count as u64);
                    left -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let error = StoreError::from(error);
                    self.met_full_disk = matches!(error, StoreError::DiskFull);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn record_written(&mut self, file: &OpenFile, count: u64) {
        self.length += count;
        file.grow(count);
        if file.is_nameless() {
            self.claim.reservation.take_nameless(count, 0);
        } else {
            self.claim.reservation.take(count, 0);
        }
    }

    /// Reserves quota for `bytes` more, unless it is reserved already.
    fn reserve_room(&self, bytes: u64) -> Result<(), StoreError> {
        debug_assert!(self.surplus.is_none(), "what comes now would be cut off again");
        self.check_claim()?;
        self.claim.reservation.grow(bytes.saturating_sub(self.claim.reservation.bytes()), 0)
    }

    fn check_claim(&self) -> Result<(), StoreError> {
        self.open_file()?;
        if self.claim.is_unwritten.get() { Err(StoreError::Unwritten) } else { Ok(()) }
    }

    fn open_file(&self) -> Result<Rc<OpenFile>, StoreError> {
        self.claim.file.borrow().as_ref().map(Rc::clone).ok_or(StoreError::Superseded)
    }

    /// Makes the upload resumable after its session ends. With a record it is also resumable after a crash of
    /// the server; if the maximum number of records exists, it gets its record only when it is interrupted.
    /// If its directory lies on another file system than the staging directory, this does nothing.
    pub fn keep(&mut self, record: &Record) -> Result<(), StoreError> {
        if self.cannot_be_kept || self.slot.is_some() {
            return Ok(());
        }
        if self.kept.is_none() {
            self.kept = Some(StoredRecord { record: record.clone(), synced: 0, boot: self.home.boot.to_string() });
        }
        let Some(slot) = self.home.partials.take_slot() else { return Ok(()) };
        match self.name_part() {
            Err(StoreError::OtherFileSystem) => {
                (self.cannot_be_kept, self.kept) = (true, None);
                return Ok(());
            }
            named => drop(named?),
        }
        self.slot = Some(slot);
        let written = self.write_record();
        if written.is_err() {
            (self.slot, self.kept) = (None, None);
        }
        written
    }

    /// Names the part in the staging directory. Returns that directory.
    fn name_part(&mut self) -> Result<Arc<OwnedFd>, StoreError> {
        match &self.location {
            PartLocation::Staging { directory, .. } => return Ok(Arc::clone(directory)),
            PartLocation::TemporaryInTarget(_) => return Err(StoreError::OtherFileSystem),
            PartLocation::Nameless => {}
        }
        let file = self.open_file()?;
        let directory = inode::link_part(&self.home, &self.id, &file)?;
        file.record_named();
        self.location = PartLocation::Staging { directory: Arc::clone(&directory), was_nameless: true };
        Ok(directory)
    }

    fn staging(&self) -> Option<&OwnedFd> {
        if let PartLocation::Staging { directory, .. } = &self.location { Some(directory) } else { None }
    }

    /// Records that the first `length` bytes are on disk.
    pub fn record_synced(&mut self, length: u64) -> Result<(), StoreError> {
        if self.check_claim().is_err() {
            return Ok(());
        }
        if let Some(kept) = &mut self.kept {
            (kept.synced, kept.boot) = (length, self.home.boot.to_string());
        }
        self.write_record()
    }

    /// Updates the record's file, if there is one.
    fn write_record(&self) -> Result<(), StoreError> {
        match (&self.kept, self.staging(), &self.slot) {
            (Some(kept), Some(staging), Some(_)) => write_record(staging, &self.id, kept),
            _ => Ok(()),
        }
    }

    fn remove_record(&self) {
        if let Some(staging) = self.staging() {
            remove(staging, &record_name(&self.id));
        }
    }

    /// Requests a sync. If it fails, the upload is dropped, even if another session has resumed it: the kernel
    /// does not write the failed bytes again, and the next sync would report success.
    pub fn sync(&self, syncer: &mut Syncer, owner: u64) -> Result<Ticket, StoreError> {
        let file = self.open_file()?;
        let forget = self.drop_on_failed_sync(&file);
        Ok(syncer.sync_or(owner, &self.home.disk_on(file.id().0), Arc::clone(file.shared()), Flush::Data, forget))
    }

    /// Registers the upload's unsynced bytes with the syncer. A failed sync drops the upload, as with
    /// [`Staged::sync`].
    pub fn register_unsynced(&self, syncer: &mut Syncer, owner: u64) -> Result<Unsynced, StoreError> {
        let file = self.open_file()?;
        Ok(syncer.register_unsynced(
            owner,
            self.home.disk_on(file.id().0),
            file.shared(),
            self.drop_on_failed_sync(&file),
        ))
    }

    fn drop_on_failed_sync(&self, file: &OpenFile) -> OnFailure {
        let (home, id, part) = (Rc::clone(&self.home), self.id, file.id());
        Rc::new(move || home.forget_unwritten(&id, part))
    }

    /// Returns the file system of the file.
    pub fn disk(&self) -> Result<Disk, StoreError> {
        Ok(self.home.disk_on(self.open_file()?.id().0))
    }

    /// Makes the upload impossible to resume: dropping it removes its bytes and its record.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// Sets the modification time, before the file is synced.
    pub fn set_mtime(&self, mtime_ns: i64) -> Result<(), StoreError> {
        let file = self.open_file()?;
        self.home.tolerate(OptionalOperation::SetTimes, file.id().0, set_mtime(&**file, mtime_ns))
    }

    /// Returns the file, for reading its bytes again and for syncing.
    pub fn file(&self) -> Result<Arc<File>, StoreError> {
        Ok(Arc::clone(self.open_file()?.shared()))
    }

    /// Returns whether the file has the size that was written. If not, another program changed it.
    fn is_as_written(&self) -> bool {
        let file = self.open_file();
        file.and_then(|file| meta_of(&**file)).is_ok_and(|meta| meta.size == self.bytes_on_disk())
    }

    /// Returns the bytes written so far, without those that [`Staged::cut`] removes.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn bytes_on_disk(&self) -> u64 {
        self.length + self.surplus.as_ref().map_or(0, |surplus| surplus.bytes)
    }
}

impl Staged {
    /// Makes an interrupted upload resumable, and returns the metadata of its part. `None` if that is
    /// impossible or not worth it.
    fn interrupt(&mut self) -> Option<Meta> {
        if self.is_committed || self.claim.is_unwritten.get() || !self.is_as_written() {
            return None;
        }
        let kept = self.kept.as_ref()?;
        if self.slot.is_none() {
            let text = kept_text(kept).ok()?;
            let staging = self.name_part().ok()?;
            write_record_text(&staging, &self.id, &text).ok()?;
        }
        let file = self.open_file().ok()?;
        if self.met_full_disk {
            // If that is refused, the partial upload is only kept longer.
            let _ = set_mtime(&**file, FULL_DISK_MTIME_NS);
        }
        meta_of(&**file).ok()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let interrupted = self.interrupt();
        let Some(file) = self.claim.file.take() else { return };
        self.home.claims.remove(&self.id);
        if self.is_committed {
            return;
        }
        if let Some(part) = interrupted {
            self.home.record_expiry(self.home.expires_ns(&part));
            return self.home.record_interrupted(self.id, part.identity.ctime_ns);
        }
        let is_removed = match &self.location {
            PartLocation::Nameless => false,
            PartLocation::Staging { directory, .. } => remove(directory, &part_name(&self.id)),
            PartLocation::TemporaryInTarget(directory) => remove(directory, &inode::temporary_name(&self.id)),
        };
        if is_removed {
            self.home.ledger().credit_inode(file.id(), self.bytes_on_disk());
        }
        self.remove_record();
    }
}
