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
mod link;
mod listing;
mod part;
mod record;
mod resume;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use super::StoreError;
use super::home::{Home, HomeDirectory, UploadTarget};
use super::ledger::Reservation;
use super::open_file::OpenFile;
use super::splice::Pipe;
use super::syncer::{OnFailure, Syncer, Unsynced};
use super::usage::Usage;
use super::workers::{HomeFileSystem, SyncError};
use crate::base::attributes::{RequestedMode, set_mtime};
use crate::base::buffers::SpliceSource;
use crate::base::disk_sync::SyncKind;
use crate::base::file_system_type;
use crate::base::refusals::OptionalOperation;
use crate::base::upload_id::UploadId;
use crate::store::claims::Claim;
pub use crate::store::partials::PARTIALS_PER_HOME_MAX;
use crate::store::partials::RecordSlot;
pub use commit::{FinalName, ReplaceCondition};
pub(super) use directory::remove;
use inode::NewPart;
pub use listing::{PartialUploadListing, PartialUploadPages, PartialUploadStep};
use part::{ClosedPart, PartLocation, Resumable, StagedFile, Written, append, write_all};
pub use record::{PartialUpload, Record};
use record::{StoredRecord, record_text, write_record_text};
use resume::Truncation;

/// The bytes that one call of [`Staged::cut`] truncates. The kernel frees these in 0.5 ms, and 4 GiB in more than
/// a second.
pub const TRUNCATED_BYTES_PER_TURN: u64 = 2 * 1024 * 1024;

/// The file of a running upload. Dropping it before the commit removes the file, unless the upload can be
/// resumed.
pub struct Staged {
    home: Rc<Home>,
    /// The file system of the file: a directory of the home may be a mount.
    file_system: HomeFileSystem,
    location: PartLocation,
    id: UploadId,
    claim: Rc<Claim>,
    /// The number of valid bytes. The file is longer while `surplus` is being truncated.
    length: u64,
    surplus: Option<Truncation>,
    /// The content of the record. Its file is written at once or, without a `slot`, when the upload is
    /// interrupted. `None` while the upload is not worth resuming.
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
    // ---- Beginning ------------------------------------------------------------------------

    /// Begins an upload to `target` after reserving `promised` bytes. A partial upload `id` is dropped;
    /// without an id the upload gets a random one.
    pub async fn create(
        home: Rc<Home>,
        target: UploadTarget,
        id: Option<UploadId>,
        wanted: Option<RequestedMode>,
        promised: u64,
    ) -> Result<Self, StoreError> {
        let id = match id {
            Some(id) => {
                home.drop_partial(id).await?;
                id
            }
            None => UploadId::random()?,
        };
        let reservation = home.ledger().reserve(promised, 1)?;
        let create = home.run(move |home| inode::create(home, &id, &target, wanted, promised));
        let NewPart { file, meta, location } = create.await?;
        let file = home.track_open_regular(file, &meta);
        let shared = Arc::clone(file.shared());
        // An unknown file system is called by a worker.
        let _ = home.file_system().learn(file.id().0, move || file_system_type::is_local(&*shared)).await;
        match location {
            PartLocation::Nameless => {
                file.charge_as(Usage { bytes: 0, files: 1 });
                reservation.take_nameless(0, 1);
            }
            PartLocation::Staging { .. } | PartLocation::TemporaryInTarget(_) => reservation.take(0, 1),
        }
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
        let file_system = home.file_system().on(file.id().0);
        let claim = Claim {
            reservation,
            file: RefCell::new(Some(Rc::new(file))),
            is_unwritten: Cell::new(false),
            is_forgotten: Cell::new(false),
        };
        let claim = Rc::new(claim);
        home.claims.insert(id, &claim);
        home.partials.forget(&id);
        Self {
            home,
            file_system,
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
        }
    }

    // ---- Bytes ----------------------------------------------------------------------------

    /// Appends bytes. Bytes written before an error stay written and counted.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        let _changing = self.home.file_system().begin_change();
        let file = self.reserve_room(bytes.len() as u64)?;
        let (shared, at) = (Arc::clone(file.shared()), self.length);
        let written = self.file_system.run(move || write_all(&shared, at, &bytes)).await?;
        self.record_written(&file, written)
    }

    /// Like [`Staged::write`], on the loop.
    pub fn write_now(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let file = self.reserve_room(bytes.len() as u64)?;
        let written = self.file_system.run_now(|| write_all(&file, self.length, bytes));
        self.record_written(&file, written)
    }

    /// Splices bytes from a socket, on the loop. Returns the number of bytes; 0 means that they must be read and
    /// then written by [`Staged::write_now`].
    pub fn write_from(&mut self, incoming: SpliceSource<'_>, pipe: &mut Pipe) -> Result<usize, StoreError> {
        let file = self.reserve_room(incoming.count as u64)?;
        let taken = pipe.fill(incoming, &file)?;
        let at = self.length;
        let splice = || append(&file, at, taken, |file, offset, left| pipe.drain(file, offset, left));
        let written = self.file_system.run_now(splice);
        self.record_written(&file, written)?;
        Ok(taken)
    }

    fn record_written(&mut self, file: &OpenFile, written: Written) -> Result<(), StoreError> {
        let Written { count, result } = written;
        self.length += count;
        file.grow(count);
        if file.is_nameless() {
            self.claim.reservation.take_nameless(count, 0);
        } else {
            self.claim.reservation.take(count, 0);
        }
        self.met_full_disk |= matches!(result, Err(StoreError::DiskFull));
        result
    }

    /// Reserves quota for `bytes` more, unless it is reserved already. Returns the file.
    fn reserve_room(&self, bytes: u64) -> Result<Rc<OpenFile>, StoreError> {
        debug_assert!(self.surplus.is_none(), "the surplus is truncated before bytes are appended");
        self.check_claim()?;
        self.claim.reservation.grow(bytes.saturating_sub(self.claim.reservation.bytes()), 0)?;
        self.open_file()
    }

    fn check_claim(&self) -> Result<(), StoreError> {
        self.open_file()?;
        if self.claim.is_unwritten.get() { Err(StoreError::Unwritten) } else { Ok(()) }
    }

    fn open_file(&self) -> Result<Rc<OpenFile>, StoreError> {
        self.claim.file.borrow().as_ref().map(Rc::clone).ok_or(StoreError::Superseded)
    }

    fn part(&self) -> Result<StagedFile, StoreError> {
        let file = Arc::clone(self.open_file()?.shared());
        Ok(StagedFile { id: self.id, file, location: self.location.clone() })
    }

    /// Returns the file, for reading its bytes again.
    pub fn file(&self) -> Result<Arc<File>, StoreError> {
        Ok(Arc::clone(self.open_file()?.shared()))
    }

    /// Returns whether the loop may write to the file itself.
    pub fn is_prompt(&self) -> bool {
        self.file_system.is_prompt()
    }

    /// Returns the number of bytes written so far, without those that [`Staged::cut`] removes.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn bytes_on_disk(&self) -> u64 {
        self.length + self.surplus.as_ref().map_or(0, |surplus| surplus.bytes)
    }

    // ---- The record -----------------------------------------------------------------------

    /// Returns whether the upload has no record yet and may get one by [`Staged::keep`].
    pub fn needs_record(&self) -> bool {
        !self.cannot_be_kept && self.slot.is_none()
    }

    /// Makes the upload resumable after its session ends. With a record it is also resumable after a crash of
    /// the server; if the maximum number of records exists, it gets its record only when it is interrupted.
    /// If its directory lies on another file system than the staging directory, this does nothing.
    pub async fn keep(&mut self, record: Record) -> Result<(), StoreError> {
        if !self.needs_record() {
            return Ok(());
        }
        let boot = self.home.boot.to_string();
        let kept = self.kept.get_or_insert(StoredRecord { record, synced: 0, boot });
        let Some(slot) = self.home.partials.take_slot() else { return Ok(()) };
        let text = record_text(kept)?;
        let (part, file) = (self.part()?, self.open_file()?);
        let written = match self.home.run(move |home| part.keep(home, &text)).await {
            Ok((location, written)) => {
                self.location = location;
                file.record_named();
                written
            }
            Err(StoreError::OtherFileSystem) => {
                (self.cannot_be_kept, self.kept) = (true, None);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match written {
            Ok(()) => self.slot = Some(slot),
            Err(_) => self.kept = None,
        }
        written
    }

    /// Records that the first `length` bytes are on disk.
    pub async fn record_synced(&mut self, length: u64) -> Result<(), StoreError> {
        if self.check_claim().is_err() {
            return Ok(());
        }
        if let Some(kept) = &mut self.kept {
            (kept.synced, kept.boot) = (length, self.home.boot.to_string());
        }
        self.write_record().await
    }

    /// Updates the record's file, if there is one.
    async fn write_record(&self) -> Result<(), StoreError> {
        let (Some(kept), PartLocation::Staging { directory, .. }, Some(_)) = (&self.kept, &self.location, &self.slot)
        else {
            return Ok(());
        };
        let (directory, id, text) = (Arc::clone(directory), self.id, record_text(kept)?);
        self.home.run(move |_| write_record_text(&directory, &id, &text)).await
    }

    async fn remove_record(&self) -> Result<(), StoreError> {
        let part = self.part()?;
        let remove = move |_: &HomeDirectory| {
            part.remove_record();
            Ok(())
        };
        self.home.run(remove).await
    }

    // ---- Syncs ----------------------------------------------------------------------------

    /// Sets the modification time, nanoseconds since the epoch, if there is one.
    pub async fn set_mtime(&self, mtime_ns: Option<i64>) -> Result<(), StoreError> {
        let Some(mtime_ns) = mtime_ns else { return Ok(()) };
        let file = self.open_file()?;
        let shared = Arc::clone(file.shared());
        let set = self.file_system.run(move || set_mtime(&*shared, mtime_ns)).await?;
        self.home.tolerate(OptionalOperation::SetTimes, file.id().0, set)
    }

    /// Sets the modification time, if there is one, and syncs the content. If that fails, the upload is dropped, even
    /// if another session has resumed it: the kernel does not write the failed bytes again, and the next sync would
    /// report success.
    pub async fn sync(&mut self, mtime_ns: Option<i64>) -> Result<(), StoreError> {
        self.set_mtime(mtime_ns).await?;
        let file = self.open_file()?;
        let synced = self.file_system.sync(Arc::clone(file.shared()), SyncKind::Data).await;
        if let Err(SyncError::Failed(_)) = synced {
            self.drop_on_failed_sync(&file)();
        }
        synced.map_err(unwritten)
    }

    /// Registers the upload's unsynced bytes with the syncer. A failed sync drops the upload, as with
    /// [`Staged::sync`].
    pub fn register_unsynced(&self, syncer: &mut Syncer, caller: u64) -> Result<Unsynced, StoreError> {
        let file = self.open_file()?;
        let file_system = self.home.file_system_on(file.id().0);
        Ok(syncer.register_unsynced(caller, file_system, file.shared(), self.drop_on_failed_sync(&file)))
    }

    fn drop_on_failed_sync(&self, file: &OpenFile) -> OnFailure {
        let (home, id, part) = (Rc::clone(&self.home), self.id, file.id());
        Rc::new(move || home.forget_unwritten(id, part))
    }

    /// Returns an error if another session has resumed the upload.
    pub fn check_is_owned(&self) -> Result<(), StoreError> {
        self.open_file().map(drop)
    }

    // ---- The end --------------------------------------------------------------------------

    /// Makes the upload impossible to resume: dropping it removes its bytes and its record.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// Returns a handle, for [`StagedHandle::forget`] while an operation has the upload.
    pub fn handle(&self) -> StagedHandle {
        StagedHandle(Rc::clone(&self.claim))
    }

    /// Returns whether the upload can be resumed if it is dropped now, as far as known without its file system.
    pub fn is_resumable(&self) -> bool {
        self.kept.is_some() && !self.claim.is_unwritten.get() && !self.claim.is_forgotten.get()
    }

    /// Takes what the upload needs to be resumable. Returns `None` if it must not be kept.
    fn take_resumable(&mut self) -> Option<Resumable> {
        let kept = self.kept.take().filter(|_| !self.claim.is_unwritten.get() && !self.claim.is_forgotten.get())?;
        let record = if self.slot.is_some() { None } else { Some(record_text(&kept).ok()?) };
        Some(Resumable { record, bytes: self.bytes_on_disk(), met_full_disk: self.met_full_disk })
    }
}

/// Makes a [`Staged`] impossible to resume, even while an operation has it.
pub struct StagedHandle(Rc<Claim>);

impl StagedHandle {
    /// See [`Staged::forget`].
    pub fn forget(&self) {
        self.0.is_forgotten.set(true);
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Ok(part) = self.part() else { return };
        let Some(file) = self.claim.file.take() else { return };
        self.home.claims.remove(&self.id);
        if self.is_committed {
            return;
        }
        let (bytes, resumable) = (self.bytes_on_disk(), self.take_resumable());
        let close = close(Rc::clone(&self.home), part, file, bytes, resumable, self.slot.take());
        self.home.file_system().operations().begin_detached(close);
    }
}

/// Closes the file of an upload that gets no final name, and keeps it as a partial upload if it is `resumable`.
async fn close(
    home: Rc<Home>,
    part: StagedFile,
    file: Rc<OpenFile>,
    bytes: u64,
    resumable: Option<Resumable>,
    _slot: Option<RecordSlot>,
) {
    let _changing = home.file_system().begin_change_alone().await;
    let id = part.id;
    if home.claims.is_running(&id) {
        // Another session has resumed it, or has begun another upload with its ID.
        return;
    }
    let closed = home.run(move |home| Ok(part.close(home, resumable))).await;
    match closed {
        Ok(ClosedPart::Kept(meta)) => {
            file.record_named();
            home.record_expiry(home.expires_ns(&meta));
            home.record_interrupted(id, meta.identity.ctime_ns).await;
        }
        Ok(ClosedPart::Dropped(true)) if !file.is_nameless() => home.ledger().credit_inode(file.id(), bytes),
        Ok(ClosedPart::Dropped(_)) => {}
        Err(_) => {
            home.partials.forget_all();
            home.has_leftovers.set(true);
        }
    }
}

/// Maps the error of a sync of an upload's bytes. After a failure the upload cannot be kept: the kernel does not
/// write the unsynced bytes again, and a later sync would report success.
pub fn unwritten(error: SyncError) -> StoreError {
    if let SyncError::Failed(error) = &error {
        log::error!("an upload could not be synced and is dropped: {error}");
    }
    match error.into() {
        known @ (StoreError::NoAnswer | StoreError::DiskFull) => known,
        _ => StoreError::Unwritten,
    }
}
