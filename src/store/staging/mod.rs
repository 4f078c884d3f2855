//! Incomplete uploads. The bytes go to a file without a name, created in the folder of the target,
//! which gets its name by one link. An upload that is worth resuming, or replaces a file, gets a name
//! in a hidden folder at the top of the home first, and its final name by one rename.
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

pub(super) mod claims;
mod inode;
mod kept;
pub(super) mod partials;
mod resume;

use super::StoreError;
use super::home::{CommitTarget, Home, StagingFolder, UploadTarget, folder_id, hold_large, replace_check};
use super::ledger::Reservation;
use super::meta::{Kind, Meta, meta_of};
use super::names::{
    FULL_DISK_MTIME_NS, NEW_RECORD_SUFFIX, PART_SUFFIX, RECORD_SUFFIX, STAGING, part_name, record_name,
};
use super::open_file::OpenFile;
use super::splice::Pipe;
use super::syncer::{Disk, Flush, OnFailure, Syncer, Ticket, Unsynced};
use super::usage::InodeId;
use crate::base::attributes::{
    FILE_BITS_MIN, NEW_FILE, NewFile, PERMISSIONS, UMASK, WantedMode, acl, default_list, mode_of_new, path_of,
    set_mtime,
};
use crate::base::buffers::SpliceSource;
use crate::base::limits::SMALL_FILE_BYTES_MAX;
use crate::base::refusals::Operation;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VPath;
use claims::Claim;
use inode::InodeLocation;
pub use kept::{KeptListing, KeptStep};
use partials::RecordSlot;
use resume::Surplus;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

/// The announced properties of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its path in the home.
    #[serde(with = "bytes_as_base64")]
    pub path: Vec<u8>,
    /// The announced size, if there is one.
    pub size: Option<u64>,
    /// Modification time of the source, nanoseconds since the epoch, if announced.
    pub mtime_ns: Option<i64>,
}

/// A record as it is stored in its file.
#[derive(Serialize, Deserialize)]
struct KeptRecord {
    #[serde(flatten)]
    record: Record,
    /// Bytes known to be on disk.
    synced: u64,
    /// The boot ID of the machine when the other bytes were written; they are valid until it reboots.
    boot: String,
}

/// An interrupted upload.
#[derive(Debug, Clone)]
pub struct KeptUpload {
    /// The name of the upload.
    pub id: UploadId,
    /// Its announced properties.
    pub record: Record,
    /// Number of stored bytes.
    pub length: u64,
    /// When it expires, nanoseconds since the epoch.
    pub expires_ns: i64,
}

/// A growing file of an upload. Dropping it removes the file, unless it has a record.
pub struct Staged {
    home: Rc<Home>,
    place: InodeLocation,
    id: UploadId,
    claim: Rc<Claim>,
    /// Valid bytes; the file has more while `surplus` is being truncated.
    length: u64,
    surplus: Option<Surplus>,
    /// The content of the record's file, now or after an interruption; `None` while the upload is not worth
    /// resuming.
    kept: Option<KeptRecord>,
    /// Held while the record's file exists.
    slot: Option<RecordSlot>,
    /// It cannot get a name that would outlive the server.
    is_fleeting: bool,
    /// The disk was full.
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
        wanted: Option<WantedMode>,
        promised: u64,
    ) -> Result<Self, StoreError> {
        let id = match id {
            Some(id) => {
                home.drop_kept(&id)?;
                id
            }
            None => UploadId::random()?,
        };
        let reservation = home.promise(promised, &target.at.folder)?;
        let (file, place) = inode::create(&home, &id, target, wanted, &reservation)?;
        Ok(Self::claimed(home, place, id, reservation, file, 0, None))
    }

    fn claimed(
        home: Rc<Home>,
        place: InodeLocation,
        id: UploadId,
        reservation: Reservation,
        file: OpenFile,
        length: u64,
        kept: Option<KeptRecord>,
    ) -> Self {
        let claim = Claim { reservation, file: RefCell::new(Some(Rc::new(file))), is_unwritten: Cell::new(false) };
        let claim = Rc::new(claim);
        home.claims.insert(id, &claim);
        home.partials.forget(&id);
        let mut staged = Self {
            home,
            place,
            id,
            claim,
            length,
            surplus: None,
            kept,
            slot: None,
            is_fleeting: false,
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
        self.promise_room(bytes.len() as u64)?;
        self.append(bytes.len(), |file, offset, left| file.write_at(&bytes[bytes.len() - left..], offset))
    }

    /// Splices bytes from a socket. Returns the number of bytes; 0 means that they must be read and
    /// written.
    pub fn write_from(&mut self, incoming: SpliceSource<'_>, pipe: &mut Pipe) -> Result<usize, StoreError> {
        self.promise_room(incoming.count as u64)?;
        let taken = pipe.fill(incoming, &*self.file()?)?;
        self.append(taken, |file, offset, left| pipe.drain(file, offset, left))?;
        Ok(taken)
    }

    /// Calls `write` with the file, its length and the remaining bytes until all are written.
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
                    self.note_written(&file, count as u64);
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

    fn note_written(&mut self, file: &OpenFile, count: u64) {
        self.length += count;
        file.grow(count);
        if file.is_nameless() {
            self.claim.reservation.take_nameless(count, 0);
        } else {
            self.claim.reservation.take(count, 0);
        }
    }

    /// Reserves quota for `bytes` more, unless it is reserved already.
    fn promise_room(&self, bytes: u64) -> Result<(), StoreError> {
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

    /// Makes the upload resumable after its session ends. It also survives a crash of the server, unless
    /// the maximum number of records exists. If its folder lies on another file system than the staging
    /// folder, it cannot be resumed.
    pub fn keep(&mut self, record: &Record) -> Result<(), StoreError> {
        if self.is_fleeting || self.slot.is_some() {
            return Ok(());
        }
        if self.kept.is_none() {
            self.kept = Some(KeptRecord { record: record.clone(), synced: 0, boot: self.home.boot.to_string() });
        }
        let Some(slot) = self.home.partials.take_slot() else { return Ok(()) };
        match self.name_part() {
            Err(StoreError::OtherFileSystem) => {
                (self.is_fleeting, self.kept) = (true, None);
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

    /// Names the part in the staging folder. Returns that folder.
    fn name_part(&mut self) -> Result<Rc<OwnedFd>, StoreError> {
        match &self.place {
            InodeLocation::Staging { folder, .. } => return Ok(Rc::clone(folder)),
            InodeLocation::Beside(_) => return Err(StoreError::OtherFileSystem),
            InodeLocation::Nameless => {}
        }
        let file = self.open_file()?;
        let folder = inode::link_part(&self.home, &self.id, &file)?;
        file.note_named();
        self.place = InodeLocation::Staging { folder: Rc::clone(&folder), was_nameless: true };
        Ok(folder)
    }

    fn staging(&self) -> Option<&OwnedFd> {
        if let InodeLocation::Staging { folder, .. } = &self.place { Some(folder) } else { None }
    }

    /// Records that the first `length` bytes are on disk.
    pub fn note_synced(&mut self, length: u64) -> Result<(), StoreError> {
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

    /// Requests a sync. If it fails, none of the bytes written so far is trusted again, even by a session
    /// that resumes the upload: the kernel does not write those bytes again, and the next sync does not
    /// report them.
    pub fn sync(&self, syncer: &mut Syncer, owner: u64) -> Result<Ticket, StoreError> {
        let file = self.open_file()?;
        let forget = self.forgetting(&file);
        Ok(syncer.sync_or(owner, &self.home.disk_on(file.id().0), Arc::clone(file.shared()), Flush::Data, forget))
    }

    /// Registers the upload's unsynced bytes. Their syncs fail as [`Staged::sync`] does.
    pub fn hold(&self, syncer: &mut Syncer, owner: u64) -> Result<Unsynced, StoreError> {
        let file = self.open_file()?;
        Ok(syncer.hold(owner, self.home.disk_on(file.id().0), file.shared(), self.forgetting(&file)))
    }

    fn forgetting(&self, file: &OpenFile) -> OnFailure {
        let (home, id, part) = (Rc::clone(&self.home), self.id, file.id());
        Rc::new(move || home.forget_unwritten(&id, part))
    }

    /// Returns the file system of the file.
    pub fn disk(&self) -> Result<Disk, StoreError> {
        Ok(self.home.disk_on(self.open_file()?.id().0))
    }

    /// Makes sure that dropping this removes bytes and record.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// Sets the modification time, before the file is synced.
    pub fn set_mtime(&self, mtime_ns: i64) -> Result<(), StoreError> {
        let file = self.open_file()?;
        self.home.tolerate(Operation::SetTimes, file.id().0, set_mtime(&**file, mtime_ns))
    }

    /// Makes the upload appear at `path`, instead of a file there if `accepts` says so, with the permission
    /// bits that are `wanted`. Returns the folder that now holds it, which can be synced.
    pub fn commit(
        mut self,
        path: &VPath,
        replace: bool,
        wanted: Option<WantedMode>,
        accepts: impl FnOnce(Option<&Meta>) -> bool,
    ) -> Result<File, StoreError> {
        let committed = self.try_commit(path, replace, wanted, accepts);
        if let Err(StoreError::Exists | StoreError::Changed | StoreError::OtherFileSystem) = committed {
            // Another upload was faster, or a resume would only meet the same again.
            self.forget();
        }
        committed
    }

    fn try_commit(
        &mut self,
        path: &VPath,
        replace: bool,
        wanted: Option<WantedMode>,
        accepts: impl FnOnce(Option<&Meta>) -> bool,
    ) -> Result<File, StoreError> {
        self.check_claim()?;
        let file = self.open_file()?;
        if !self.is_as_written() {
            return Err(StoreError::Changed);
        }
        let target = self.home.target(path)?;
        // If nothing may be replaced, the link or rename itself fails.
        let old = if replace { replace_check(&target.folder, &target.name, replace)? } else { None };
        let replaced = old.map(Meta::from);
        if !accepts(replaced.as_ref()) {
            return Err(StoreError::Changed);
        }
        self.take_attributes(&file, &target, old.as_ref(), wanted)?;
        let held = replaced.and_then(|replaced| hold_large(&target.folder, &target.name, &replaced));
        self.appear(&file, &target, replaced.is_some())?;
        self.is_committed = true;
        if let Some(replaced) = replaced {
            self.home.credit(&replaced, held);
        }
        if self.slot.is_some() {
            self.remove_record();
        }
        let shared = UploadId::of_path(path);
        if self.id != shared {
            self.home.drop_superseded(&shared);
        }
        Ok(target.folder)
    }

    /// Gives the file what the one that it replaces has, or what its folder gives to new ones.
    fn take_attributes(
        &self,
        file: &File,
        target: &CommitTarget,
        old: Option<&Stat>,
        wanted: Option<WantedMode>,
    ) -> Result<(), StoreError> {
        let on_refusal = |operation, device, errno| self.home.systems.warn(operation, device, &self.home.path, errno);
        let new = NewFile { file, on_refusal: &on_refusal };
        match old {
            Some(old) if Meta::from(*old).kind == Kind::File => {
                new.take_over(path_of(target.folder.as_fd(), &target.name), old)?;
                match wanted {
                    Some(WantedMode { bits, also_of_replaced: true }) => {
                        let mode = self.home.mode_for_change(target.folder.as_fd(), file, bits | FILE_BITS_MIN)?;
                        Ok(new.set_mode(mode)?)
                    }
                    _ => Ok(()),
                }
            }
            _ => self.take_attributes_of_new(&new, target, wanted),
        }
    }

    fn take_attributes_of_new(
        &self,
        new: &NewFile<'_>,
        target: &CommitTarget,
        wanted: Option<WantedMode>,
    ) -> Result<(), StoreError> {
        let is_from_elsewhere = matches!(self.place, InodeLocation::Staging { was_nameless: false, .. });
        let bits = wanted.map(|wanted| wanted.bits & PERMISSIONS | FILE_BITS_MIN);
        if is_from_elsewhere {
            new.inherit(target.folder.as_fd(), bits.unwrap_or(NEW_FILE))?;
        }
        match bits {
            // One that was resumed may have been begun with other bits.
            Some(bits) if is_from_elsewhere || bits & inode::PART_BITS != inode::PART_BITS => {
                let default = default_list(&path_of(target.folder.as_fd(), b"."))?;
                Ok(new.set_mode(mode_of_new(bits, UMASK, default))?)
            }
            _ => Ok(()),
        }
    }

    /// Gives the file its name.
    fn appear(&mut self, file: &OpenFile, target: &CommitTarget, replaces: bool) -> Result<(), StoreError> {
        if file.is_nameless() && !replaces {
            inode::link_or_note(&self.home, file, &target.folder, &target.name)?;
            file.note_named();
            return Ok(());
        }
        if let InodeLocation::Beside(folder) = &self.place {
            return self.appear_from_beside(file, folder, target, replaces);
        }
        let staging = self.name_part();
        let result = staging.and_then(|staging| self.rename(staging.as_fd(), &part_name(&self.id), target, replaces));
        match result {
            Err(StoreError::OtherFileSystem) if file.is_nameless() => {
                inode::replace_from_beside(file, &self.id, target)?;
                file.note_named();
                Ok(())
            }
            result => result,
        }
    }

    fn appear_from_beside(
        &self,
        file: &OpenFile,
        folder: &File,
        target: &CommitTarget,
        replaces: bool,
    ) -> Result<(), StoreError> {
        let name = inode::beside_name(&self.id);
        let there = rustix::fs::statat(folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        // Another user with write access to the folder can replace the file.
        if Meta::from(there).identity.inode() != file.id() {
            return Err(StoreError::Changed);
        }
        self.rename(folder.as_fd(), &name, target, replaces)
    }

    fn rename(
        &self,
        from: BorrowedFd<'_>,
        name: &str,
        target: &CommitTarget,
        replaces: bool,
    ) -> Result<(), StoreError> {
        let renamed = self.home.rename_entry(from, name.as_bytes(), target.folder.as_fd(), &target.name, replaces);
        renamed.map_err(|errno| if errno == Errno::XDEV { StoreError::OtherFileSystem } else { errno.into() })
    }

    /// Returns the file, for reading a prefix again and for syncing.
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
            // If that is refused, it is only kept longer.
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
            self.home.note_expiry(self.home.expires_ns(&part));
            return self.home.note_interrupted(self.id, part.identity.ctime_ns);
        }
        let is_removed = match &self.place {
            InodeLocation::Nameless => false,
            InodeLocation::Staging { folder, .. } => remove(folder, &part_name(&self.id)),
            InodeLocation::Beside(folder) => remove(folder, &inode::beside_name(&self.id)),
        };
        if is_removed {
            self.home.ledger().credit_inode(file.id(), self.bytes_on_disk());
        }
        self.remove_record();
    }
}

impl Home {
    /// Returns the staging folder. If it does not exist, it is made if `create` is set, else `None`.
    pub(super) fn staging(&self, create: bool) -> Result<Option<Rc<OwnedFd>>, StoreError> {
        if let Some(staging) = &*self.staging.borrow() {
            return Ok(Some(Rc::clone(&staging.handle)));
        }
        let root = self.root_fd()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&root, STAGING, flags, Mode::empty());
        let fd = match open() {
            Err(rustix::io::Errno::NOENT) if create => {
                rustix::fs::mkdirat(&root, STAGING, Mode::RWXU)?;
                let fd = open()?;
                close_to_others(&fd);
                fd
            }
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            result => result?,
        };
        let (id, handle) = (folder_id(&fd)?, Rc::new(fd));
        *self.staging.borrow_mut() = Some(StagingFolder { handle: Rc::clone(&handle), id });
        Ok(Some(handle))
    }

    /// Returns the uploads that can be resumed, oldest first; an expired one only while it is running.
    pub fn kept_uploads(&self) -> Result<Vec<KeptUpload>, StoreError> {
        let mut kept = self.recorded_uploads()?;
        kept.retain(|upload| self.is_listed(upload));
        Ok(kept)
    }

    /// Like [`Home::kept_uploads`], with expired ones.
    pub(super) fn recorded_uploads(&self) -> Result<Vec<KeptUpload>, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(Vec::new()) };
        let names = staged_names(&staging)?.into_iter().filter(|(_, suffix)| *suffix == RECORD_SUFFIX);
        let mut kept: Vec<KeptUpload> = names.filter_map(|(id, _)| self.kept_upload(&staging, id)).collect();
        kept.sort_by_key(|upload| upload.expires_ns);
        Ok(kept)
    }

    /// Drops the partial upload `id`, and ends the session that is writing it. Returns false if there was
    /// none.
    pub fn drop_kept(&self, id: &UploadId) -> Result<bool, StoreError> {
        let was_running = self.claims.supersede(id);
        self.partials.forget(id);
        let Some(staging) = self.staging(false)? else { return Ok(was_running) };
        let Ok(stat) = rustix::fs::statat(&*staging, part_name(id), AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(was_running);
        };
        remove(&staging, &record_name(id));
        let (part, meta) = (part_name(id), Meta::from(stat));
        let held = self.hold(&*staging, part.as_bytes(), &meta);
        if remove(&staging, &part) {
            self.credit(&meta, held);
        }
        Ok(true)
    }

    /// Drops the partial upload under the shared name of a path, because a newer file was stored there. A
    /// running upload stays, and replaces that file at its end.
    pub(super) fn drop_superseded(&self, shared: &UploadId) {
        if !self.claims.is_running(shared)
            && let Err(error) = self.drop_kept(shared)
        {
            log::error!("a partial upload that a newer file supersedes cannot be dropped: {error}");
        }
    }

    /// Drops the partial upload `id`, if `part` is still its file: the disk did not store it. A session
    /// that is writing it fails with its next bytes, or at its end.
    fn forget_unwritten(&self, id: &UploadId, part: InodeId) {
        // It may have no name yet.
        let is_running = self.claims.distrust(id, part);
        let Ok(Some(staging)) = self.staging(false) else { return };
        let stat = rustix::fs::statat(&*staging, part_name(id), AtFlags::SYMLINK_NOFOLLOW);
        if stat.ok().map(|stat| Meta::from(stat).identity.inode()) != Some(part) {
            return;
        }
        if is_running {
            remove(&staging, &record_name(id));
        } else if let Err(error) = self.drop_kept(id) {
            log::error!("a partial upload that the disk did not take cannot be dropped: {error}");
        }
    }
}

/// Removes inherited rules of the home from the staging folder, so that its files do not get them.
fn close_to_others(staging: &OwnedFd) {
    // A file system without such rules refuses.
    let _ = rustix::fs::fremovexattr(staging, acl::DEFAULT);
    let _ = rustix::fs::fremovexattr(staging, acl::ACCESS);
    let _ = rustix::fs::fchmod(staging, Mode::RWXU);
}

/// Removes a file. Returns false if it did not exist; the next count reports failures.
pub(super) fn remove(staging: impl AsFd, name: &str) -> bool {
    rustix::fs::unlinkat(staging, name, AtFlags::empty()).is_ok()
}

/// Returns all names in the staging folder that belong to uploads.
pub(super) fn staged_names(staging: &OwnedFd) -> Result<Vec<(UploadId, &'static str)>, StoreError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(staging)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        for suffix in [PART_SUFFIX, RECORD_SUFFIX, NEW_RECORD_SUFFIX] {
            if let Some(Ok(id)) = name.strip_suffix(suffix).map(str::parse) {
                names.push((id, suffix));
            }
        }
    }
    Ok(names)
}

fn read_record(staging: &OwnedFd, id: &UploadId) -> Option<KeptRecord> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(staging, record_name(id), flags, Mode::empty()).ok()?);
    let mut text = Vec::new();
    file.take(SMALL_FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The record is replaced as a whole, but not synced: if it is lost at a power failure, the transfer
/// starts again, and a damaged one is ignored.
fn write_record(staging: &OwnedFd, id: &UploadId, kept: &KeptRecord) -> Result<(), StoreError> {
    write_record_text(staging, id, &kept_text(kept)?)
}

fn kept_text(kept: &KeptRecord) -> io::Result<Vec<u8>> {
    serde_json::to_vec(kept).map_err(io::Error::other)
}

fn write_record_text(staging: &OwnedFd, id: &UploadId, text: &[u8]) -> Result<(), StoreError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = format!("{id}{NEW_RECORD_SUFFIX}");
    let mut file = File::from(rustix::fs::openat(staging, &new, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file.write_all(text);
    let replaced = written.and_then(|()| Ok(rustix::fs::renameat(staging, &new, staging, record_name(id))?));
    if replaced.is_err() {
        remove(staging, &new);
    }
    Ok(replaced?)
}

/// Returns an ID that changes at each boot: the kernel's or, where a sandbox hides that, the service
/// manager's in the environment. Without either, a random one of this process: then only synced bytes
/// are trusted after a restart.
pub(super) fn boot_id() -> io::Result<String> {
    let of_kernel = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let of_environment = || std::env::var(BOOT_ID_VARIABLE).ok();
    if let Some(id) = of_kernel().as_deref().and_then(read_boot_id) {
        return Ok(id);
    }
    match of_environment().as_deref().and_then(read_boot_id) {
        Some(id) => Ok(id),
        None => Ok(format!("unknown to process {}", UploadId::random()?)),
    }
}

/// Set by a service manager: `Environment=BERTH_BOOT_ID=%b` in a unit of systemd.
const BOOT_ID_VARIABLE: &str = "BERTH_BOOT_ID";

/// Returns the kernel's form, 8-4-4-4-12 hexadecimal digits, for both forms of `text`.
fn read_boot_id(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().filter(|&letter| letter != '-').collect();
    let is_id = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_id.then(|| [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| digits[group].to_ascii_lowercase()).join("-"))
}

mod bytes_as_base64 {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::read_boot_id;

    #[test]
    fn a_boot_id_is_the_same_in_both_forms_and_nothing_else_is_one() {
        let id = Some("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".to_string());
        assert_eq!(read_boot_id("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9\n"), id);
        assert_eq!(read_boot_id("0A1B2C3D4E5F60718293A4B5C6D7E8F9"), id);
        for text in ["", "%b", "0", "-", "0a1b2c3d4e5f60718293a4b5c6d7e8f", "xa1b2c3d4e5f60718293a4b5c6d7e8f9"] {
            assert_eq!(read_boot_id(text), None, "{text:?}");
        }
    }
}
