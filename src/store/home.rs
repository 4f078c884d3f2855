//! A home as a directory capability. Every path is resolved below the home's own descriptor, so no
//! spelling, symlink or race leads out. Symlinks that stay inside work.

use super::StoreError;
use super::clock::WallClock;
use super::count::Unseen;
use super::file_systems::{FileSystems, is_refusal};
use super::ledger::{Advanced, Ledger, Reservation};
use super::listing::Listing;
use super::meta::{Kind, Meta, meta_of};
use super::names::STAGING;
use super::open_file::OpenFile;
use super::staging::claims::Claims;
use super::staging::partials::Partials;
use super::syncer::{Closer, Disk};
use crate::base::attributes::{
    FILE_BITS_MIN, FOLDER_BITS_MIN, PERMISSIONS, UMASK, default_list, has_access_list, mode_for_change, mode_of_new,
    path_of, set_mtime,
};
use crate::base::buffers::Budget;
use crate::base::limits::SLOW_CLOSE_BYTES;
use crate::base::memory::Charge;
use crate::base::refusals::Operation;
use crate::base::text::{Escaped, shortened};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VPath;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// O_NONBLOCK keeps the open of a FIFO from waiting for its other end.
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the home at `path` below the entry of `roots` that contains it. No symlink is followed below
/// the root, so a user with write access above a home cannot redirect it.
pub fn open_root(roots: &[PathBuf], path: &Path) -> Result<Dir, StoreError> {
    let (root, below) = roots
        .iter()
        .find_map(|root| Some((root, path.strip_prefix(root).ok()?)))
        .ok_or_else(|| StoreError::Io(io::Error::other(format!("{} lies under no home root", path.display()))))?;
    let mut at: OwnedFd = File::open(root)?.into();
    for component in below.components() {
        let Component::Normal(name) = component else { return Err(StoreError::BadName) };
        at = rustix::fs::openat(&at, name, FOLDER, Mode::empty())?;
    }
    Ok(Dir::from_std_file(at.into()))
}

/// Opens a folder again, for reading: cap-std's handles of folders are O_PATH.
pub fn reopen_folder(folder: impl AsFd) -> Result<OwnedFd, StoreError> {
    Ok(rustix::fs::openat(folder, c".", FOLDER, Mode::empty())?)
}

/// The home of one account.
pub struct Home {
    root: Dir,
    /// The path at which it was opened, for messages only: another folder may be there by now.
    pub(super) path: Rc<Path>,
    pub(super) systems: Rc<FileSystems>,
    ledger: Rc<Ledger>,
    pub(super) staging: RefCell<Option<StagingFolder>>,
    pub(super) claims: Claims,
    pub(super) partials: Partials,
    pub(super) partial_expiry: Duration,
    /// The boot ID of the machine.
    pub(super) boot: Rc<str>,
    /// No partial upload expires before this, in nanoseconds since the epoch.
    pub(super) next_expiry_ns: Cell<i64>,
    pub(super) closer: Closer,
    pub(super) clock: WallClock,
}

/// What all homes share.
pub(super) struct Shared {
    pub(super) systems: Rc<FileSystems>,
    pub(super) partial_expiry: Duration,
    pub(super) boot: Rc<str>,
    pub(super) closer: Closer,
    pub(super) clock: WallClock,
}

/// The staging folder, once it was needed.
pub(super) struct StagingFolder {
    pub(super) handle: Rc<OwnedFd>,
    pub(super) id: FolderId,
}

/// Device and inode.
pub(super) type FolderId = (u64, u64);

/// The parent folder of an entry.
enum Parent<'a> {
    Root(&'a Dir),
    Below(Dir),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(dir) => dir.as_fd(),
            Self::Below(dir) => dir.as_fd(),
        }
    }
}

impl Home {
    /// Makes the home whose folder is `root`, found at `path`.
    pub(super) fn new(root: Dir, path: Rc<Path>, ledger: Rc<Ledger>, shared: Shared) -> Self {
        let (staging, claims, partials) = (RefCell::default(), Claims::default(), Partials::default());
        let Shared { systems, partial_expiry, boot, closer, clock } = shared;
        // Unknown until the first check.
        let next_expiry_ns = Cell::new(i64::MIN);
        Self {
            root,
            path,
            systems,
            ledger,
            staging,
            claims,
            partials,
            partial_expiry,
            boot,
            next_expiry_ns,
            closer,
            clock,
        }
    }

    /// Returns the home's ledger.
    pub fn ledger(&self) -> &Rc<Ledger> {
        &self.ledger
    }

    pub(super) fn root_fd(&self) -> Result<OwnedFd, StoreError> {
        Ok(self.root.as_fd().try_clone_to_owned()?)
    }

    // ---- Queries --------------------------------------------------------------------------

    /// Opens a regular file for reading. Anything else is refused without being opened, so that no FIFO or
    /// device blocks or acts.
    pub fn open(&self, path: &VPath) -> Result<(OpenFile, Meta), StoreError> {
        let (file, meta) = self.open_regular(path)?;
        Ok((OpenFile::new(file, &meta, &self.ledger, &self.closer), meta))
    }

    /// Wraps the file of an upload. It counts against the quota while it is open.
    pub(super) fn charge(&self, file: File) -> Result<OpenFile, StoreError> {
        let meta = meta_of(&file)?;
        Ok(OpenFile::new(file, &meta, &self.ledger, &self.closer))
    }

    fn open_regular(&self, path: &VPath) -> Result<(File, Meta), StoreError> {
        let file = self.open_any(path)?;
        let meta = meta_of(&file)?;
        match meta.kind {
            Kind::File => Ok((file, meta)),
            _ => Err(StoreError::NotAFile),
        }
    }

    fn open_any(&self, path: &VPath) -> Result<File, StoreError> {
        if path.is_root() {
            return Err(StoreError::NotAFile);
        }
        let (parent, name) = self.parent(path)?;
        let found: Meta = rustix::fs::statat(&parent, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)?.into();
        if found.kind == Kind::Other {
            return Err(StoreError::NotAFile);
        }
        let flags = OPEN.union(OFlags::NOFOLLOW);
        match rustix::fs::openat(&parent, OsStr::from_bytes(name), flags, Mode::empty()) {
            Ok(fd) => Ok(fd.into()),
            Err(rustix::io::Errno::LOOP) => self.open_link(path),
            Err(errno) => Err(StoreError::from_open(errno.into())),
        }
    }

    /// Opens the target of a symlink: resolved by cap-std, inside the home only. A separate look-up is
    /// enough, because users cannot create symlinks through the server.
    fn open_link(&self, path: &VPath) -> Result<File, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OPEN.bits().cast_signed());
        let file = self.root.open_with(path.relative(), &options).map_err(StoreError::from_open)?.into_std();
        let end = self.root.canonicalize(path.relative())?;
        if end.starts_with(STAGING) { Err(StoreError::BadName) } else { Ok(file) }
    }

    /// Returns the metadata of `path`. Symlinks inside the home are followed.
    pub fn stat(&self, path: &VPath) -> Result<Meta, StoreError> {
        if path.is_root() {
            return meta_of(&self.root);
        }
        let meta = self.entry(path)?.ok_or(StoreError::NotFound)?;
        if meta.kind != Kind::Link {
            return Ok(meta);
        }
        match self.open_folder(path) {
            Err(StoreError::NotADirectory) => meta_of(self.open_any(path)?),
            folder => meta_of(folder?),
        }
    }

    /// Returns the metadata of `path` itself, or `None` if nothing is there. A symlink is not followed. An
    /// error if the parent folder does not exist.
    pub fn entry(&self, path: &VPath) -> Result<Option<Meta>, StoreError> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::statat(&parent, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the bytes that the file system has for users; `None` if it does not report them.
    pub fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        match rustix::fs::fstatvfs(&self.root) {
            Ok(stat) => Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize))),
            Err(errno) if is_refusal(errno) => {
                self.systems.warn(Operation::FreeSpace, folder_id(&self.root)?.0, &self.path, errno);
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Logs that this home's file system is full, at most once an hour.
    pub fn warn_full(&self) {
        if let Ok((device, _)) = folder_id(&self.root) {
            self.systems.warn_full(device, &self.path, self.clock.now_ns());
        }
    }

    /// Accepts that a file system refuses `operation`, and logs the first refusal. Returns other errors.
    pub(super) fn tolerate(
        &self,
        operation: Operation,
        device: u64,
        result: Result<(), Errno>,
    ) -> Result<(), StoreError> {
        self.systems.tolerate(operation, device, &self.path, result)
    }

    /// Begins to list a folder. Its names are charged to `charge`, which must be empty.
    pub fn list(&self, path: &VPath, charge: Charge) -> Result<Listing, StoreError> {
        let folder = self.open_for_listing(path)?;
        let is_root = self.is_root(&folder)?;
        Listing::new(folder, is_root, charge)
    }

    /// Opens a folder by its path. Opening it by its handle would need the right to search the folder.
    fn open_for_listing(&self, path: &VPath) -> Result<OwnedFd, StoreError> {
        let handle = self.open_folder(path)?;
        if path.is_root() {
            return reopen_folder(handle);
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OPEN.union(OFlags::DIRECTORY).bits().cast_signed());
        let folder = self.root.open_with(path.relative(), &options).map_err(StoreError::from_open)?.into_std();
        // Another program may have replaced the folder.
        self.refuse_staging_folder(&folder)?;
        Ok(folder.into())
    }

    pub(super) fn open_folder(&self, path: &VPath) -> Result<Dir, StoreError> {
        refuse_staging(path)?;
        let dir = self.root.open_dir(path.relative()).map_err(StoreError::from_open)?;
        self.refuse_staging_folder(&dir)?;
        Ok(dir)
    }

    // ---- Changes --------------------------------------------------------------------------

    /// Makes a folder, with these permission bits as far as the umask or its folder allows.
    pub fn make_folder(&self, path: &VPath, bits: Option<u32>) -> Result<(), StoreError> {
        if path.is_root() {
            return Err(StoreError::Exists);
        }
        let (parent, name) = self.parent(path)?;
        self.make_folder_in(&parent, name, bits)
    }

    /// Removes an entry that is not a folder.
    pub fn remove_file(&self, path: &VPath) -> Result<(), StoreError> {
        self.check_answers()?;
        let (parent, name) = self.parent(path)?;
        let meta: Meta = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?.into();
        if meta.kind == Kind::Folder {
            return Err(StoreError::NotAFile);
        }
        let held = self.hold(&parent, name, &meta);
        rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
        self.credit(&meta, held);
        Ok(())
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &VPath) -> Result<(), StoreError> {
        self.check_answers()?;
        let (parent, name) = self.parent(path)?;
        let held = self.hold_folder(&parent, name);
        rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        if let Some((device, held)) = held {
            self.let_go(device, Some(held));
        }
        self.ledger.credit(0, 1);
        Ok(())
    }

    /// Renames an entry. A file at `to` is replaced only if `replace` is set; a folder never is.
    pub fn rename(&self, from: &VPath, to: &VPath, replace: bool) -> Result<(), StoreError> {
        if from != to && from.contains(to) {
            return Err(StoreError::IntoItself);
        }
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        let moved: Meta = rustix::fs::statat(&from_parent, from_name, AtFlags::SYMLINK_NOFOLLOW)?.into();
        let replaced = replace_check(&to_parent, to_name, replace && moved.kind != Kind::Folder)?.map(Meta::from);
        let same = replaced.is_some_and(|replaced| replaced.identity.inode() == moved.identity.inode());
        let held = replaced.and_then(|replaced| self.hold(&to_parent, to_name, &replaced));
        self.rename_entry(from_parent.as_fd(), from_name, to_parent.as_fd(), to_name, replaced.is_some()).map_err(
            |errno| match errno {
                Errno::INVAL => StoreError::IntoItself,
                Errno::XDEV => StoreError::OtherFileSystem,
                errno => errno.into(),
            },
        )?;
        match replaced {
            // The kernel treats a rename between two hard links of one file as done.
            Some(_) if same && moved.links > 1 && !may_be_one(from_name, to_name, (&from_parent, &to_parent))? => {
                rustix::fs::unlinkat(&from_parent, from_name, AtFlags::empty())?;
                self.credit(&moved, held);
            }
            Some(replaced) if !same => self.credit(&replaced, held),
            _ => {}
        }
        if moved.kind != Kind::Folder {
            self.drop_superseded(&UploadId::of_path(to));
        }
        Ok(())
    }

    /// Renames, and refuses to replace anything unless `replace` is set.
    pub(super) fn rename_entry(
        &self,
        from: BorrowedFd<'_>,
        from_name: &[u8],
        to: BorrowedFd<'_>,
        to_name: &[u8],
        replace: bool,
    ) -> Result<(), Errno> {
        if replace {
            return rustix::fs::renameat(from, from_name, to, to_name);
        }
        match rustix::fs::renameat_with(from, from_name, to, to_name, RenameFlags::NOREPLACE) {
            Err(refused) if is_refusal(refused) => {
                rename_by_hand(from, from_name, to, to_name)?;
                let device = rustix::fs::fstat(to)?.st_dev;
                self.systems.warn(Operation::RenameWithoutReplacing, device, &self.path, refused);
                Ok(())
            }
            result => result,
        }
    }

    /// Sets the modification time of a file or folder. Symlinks inside the home are followed.
    pub fn set_mtime(&self, path: &VPath, mtime_ns: i64) -> Result<(), StoreError> {
        Ok(set_mtime(self.open_for_attributes(path)?.0, mtime_ns)?)
    }

    /// Sets the permission bits of a file or folder. Symlinks inside the home are followed. The bits that
    /// the server needs to read the file and to count the folder stay set.
    pub fn set_mode(&self, path: &VPath, mode: u32) -> Result<(), StoreError> {
        let (entry, kind) = self.open_for_attributes(path)?;
        let (needed, kept) = match kind {
            // The owner of a shared folder chose its setgid and sticky bits.
            Kind::Folder => (FOLDER_BITS_MIN, meta_of(&entry)?.mode & 0o7000),
            _ => (FILE_BITS_MIN, 0),
        };
        Ok(rustix::fs::fchmod(entry, Mode::from_raw_mode(mode & PERMISSIONS | needed | kept))?)
    }

    /// Gives a file or folder the permission bits of its source, as far as a new one in its folder would get
    /// them, and returns those that it has then. Links inside the home are followed.
    pub fn take_mode_of_source(&self, path: &VPath, bits: u32) -> Result<u32, StoreError> {
        let (entry, kind) = self.open_for_attributes(path)?;
        let needed = if kind == Kind::Folder { FOLDER_BITS_MIN } else { FILE_BITS_MIN };
        let mode = self.mode_for_change(self.parent(path)?.0.as_fd(), &entry, bits | needed)?;
        let special = meta_of(&entry)?.mode & 0o7000;
        let kept = if kind == Kind::Folder { special } else { 0 };
        let changed = rustix::fs::fchmod(&entry, Mode::from_raw_mode(mode | kept));
        changed.map_err(|errno| if is_refusal(errno) { StoreError::Denied } else { errno.into() })?;
        Ok(meta_of(&entry)?.mode & PERMISSIONS)
    }

    /// See [`mode_for_change`]; `entry` is in `folder`, or is to be.
    pub(super) fn mode_for_change(
        &self,
        folder: BorrowedFd<'_>,
        entry: impl AsFd,
        bits: u32,
    ) -> Result<u32, StoreError> {
        let of_new = mode_of_new(bits, UMASK, default_list(&path_of(folder, b"."))?);
        let has_list = has_access_list(&entry);
        Ok(mode_for_change(bits, meta_of(&entry)?.mode, of_new, has_list))
    }

    /// Opens a file or folder, so that it cannot be replaced before it is changed.
    fn open_for_attributes(&self, path: &VPath) -> Result<(OwnedFd, Kind), StoreError> {
        if path.is_root() {
            return Err(StoreError::BadName);
        }
        match self.open_for_listing(path) {
            Err(StoreError::NotADirectory) => Ok((self.open_regular(path)?.0.into(), Kind::File)),
            folder => Ok((folder?, Kind::Folder)),
        }
    }

    /// Opens a file that is about to lose its name, so that its space is freed when a worker closes it and
    /// not within the loop. On a disk that can take a hundred times as long as removing the name.
    pub(super) fn hold(&self, parent: impl AsFd, name: &[u8], meta: &Meta) -> Option<OwnedFd> {
        let is_last_name = meta.kind == Kind::File && meta.links == 1;
        let is_slow = is_last_name && self.systems.frees_slowly(meta.identity.dev, &parent);
        if is_slow && self.closer.has_room() { open_path(&parent, name) } else { hold_large(parent, name, meta) }
    }

    /// Like [`Home::hold`], for a folder. Returns its file system too.
    fn hold_folder(&self, parent: impl AsFd, name: &[u8]) -> Option<(u64, OwnedFd)> {
        if !self.closer.has_room() {
            return None;
        }
        let held = open_path(parent, name)?;
        let (device, _) = folder_id(&held).ok()?;
        self.systems.frees_slowly(device, &held).then_some((device, held))
    }

    /// Returns whether more was removed recently than the disk has freed.
    pub fn has_backlog(&self) -> bool {
        self.closer.is_behind()
    }

    /// Refuses operations that would wait for a disk that does not answer.
    pub fn check_answers(&self) -> Result<(), StoreError> {
        if self.closer.is_silent() { Err(StoreError::NoAnswer) } else { Ok(()) }
    }

    /// Closes a descriptor that [`Home::hold`] opened.
    pub(super) fn let_go(&self, device: u64, held: Option<OwnedFd>) {
        if let Some(held) = held {
            self.closer.close(device, Arc::new(held.into()));
        }
    }

    /// Returns the file system with this device number.
    pub(super) fn disk_on(&self, device: u64) -> Disk {
        self.closer.disk_on(device)
    }

    /// Credits the usage of an entry that has just lost a name, and closes its descriptor `held`.
    pub(super) fn credit(&self, removed: &Meta, held: Option<OwnedFd>) {
        self.let_go(removed.identity.dev, held);
        match removed.links {
            0 | 1 => self.ledger.credit_inode(removed.identity.inode(), removed.size),
            _ => {
                // Only a count can find another name of it in this home.
                self.ledger.credit(0, 1);
                if removed.kind == Kind::File {
                    self.ledger.begin_recount();
                }
            }
        }
    }

    /// Returns the parent of `folder` and its file system. `None` above the home itself, or if another
    /// program has moved it out of the home.
    pub fn folder_above(&self, folder: impl AsFd) -> Result<Option<(OwnedFd, Disk)>, StoreError> {
        let id = folder_id(&folder)?;
        if id == folder_id(&self.root)? {
            return Ok(None);
        }
        let above = rustix::fs::openat(folder, c"..", FOLDER, Mode::empty())?;
        let above_id = folder_id(&above)?;
        // Only the root of the file system is its own parent.
        Ok(if above_id == id { None } else { Some((above, self.disk_on(above_id.0))) })
    }

    /// Returns the target of an upload, and the entry that is there now.
    pub fn upload_target(&self, path: &VPath) -> Result<UploadTarget, StoreError> {
        let at = self.target(path)?;
        match rustix::fs::statat(&at.folder, at.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(UploadTarget { at, there: Some(stat) }),
            Err(Errno::NOENT) => Ok(UploadTarget { at, there: None }),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the target of a staged file.
    pub(super) fn target(&self, path: &VPath) -> Result<CommitTarget, StoreError> {
        let (parent, name) = self.parent(path)?;
        let folder = match parent {
            Parent::Root(dir) => dir.try_clone()?,
            Parent::Below(dir) => dir,
        };
        Ok(CommitTarget { folder: folder.into_std_file(), name: name.to_vec() })
    }

    fn parent<'a, 'p>(&'a self, path: &'p VPath) -> Result<(Parent<'a>, &'p [u8]), StoreError> {
        refuse_staging(path)?;
        let name = path.name().ok_or(StoreError::BadName)?;
        let (above, _) = path.split().ok_or(StoreError::BadName)?;
        if above.is_root() {
            self.refuse_other_spelling(&self.root, name)?;
            return Ok((Parent::Root(&self.root), name));
        }
        let dir = self.root.open_dir(above.relative()).map_err(StoreError::from_open)?;
        self.refuse_staging_folder(&dir)?;
        self.refuse_other_spelling(&dir, name)?;
        Ok((Parent::Below(dir), name))
    }

    /// Refuses the staging folder by its identity, because a symlink inside the home may lead to it.
    fn refuse_staging_folder(&self, dir: impl AsFd) -> Result<(), StoreError> {
        match self.staging_id()? {
            Some(id) if id == folder_id(dir)? => Err(StoreError::BadName),
            _ => Ok(()),
        }
    }

    /// Refuses the staging folder by a name in `folder`: another spelling that the file system treats as
    /// equal, or a path through a symlink to the top of the home.
    fn refuse_other_spelling(&self, folder: impl AsFd, name: &[u8]) -> Result<(), StoreError> {
        if !may_be_staging(name) {
            return Ok(());
        }
        if name == STAGING.as_bytes() && self.is_root(&folder)? {
            return Err(StoreError::BadName);
        }
        let Some(staging) = self.staging_id()? else { return Ok(()) };
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == staging => Err(StoreError::BadName),
            _ => Ok(()),
        }
    }

    fn is_root(&self, folder: impl AsFd) -> Result<bool, StoreError> {
        Ok(folder_id(folder)? == folder_id(&self.root)?)
    }

    pub(super) fn staging_id(&self) -> Result<Option<FolderId>, StoreError> {
        if let Some(staging) = &*self.staging.borrow() {
            return Ok(Some(staging.id));
        }
        match rustix::fs::statat(&self.root, STAGING, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(staging) => Ok(Some((staging.st_dev, staging.st_ino))),
            // It does not exist, or nobody can open it.
            Err(_) => Ok(None),
        }
    }

    /// Drops expired partial uploads, and continues a due count within `budget`. Returns true once the
    /// ledger is reliable.
    pub fn settle(&self, budget: &mut Budget) -> Result<bool, StoreError> {
        if self.ledger.is_counted() {
            self.drop_expired();
        }
        loop {
            if self.ledger.is_recount_due() {
                // The count reports a staging folder that cannot be read.
                let _ = self.sweep_staging();
            }
            match self.ledger.advance_count(|| self.root_fd(), self.clock.now_ns(), budget)? {
                Advanced::Counted => return Ok(true),
                Advanced::Finished(before) => {
                    self.warn_of_unseen(&before, &self.ledger.unseen());
                    return Ok(true);
                }
                Advanced::Later => return Ok(false),
                Advanced::Disturbed => {}
            }
        }
    }

    /// Logs what a count could not read, unless the previous count reported the same.
    fn warn_of_unseen(&self, before: &Unseen, unseen: &Unseen) {
        if unseen == before {
            return;
        }
        for entry in &unseen.named {
            let path = self.path.join(OsStr::from_bytes(&entry.path));
            let path = shortened(Escaped(path.as_os_str().as_bytes()).to_string(), LOGGED_PATH_BYTES_MAX);
            log::warn!("{path} cannot be examined: {}; its content is not counted", entry.problem);
        }
        let more = unseen.count - unseen.named.len() as u64;
        if more > 0 {
            log::warn!("{}: {more} more entries cannot be examined", Escaped(self.path.as_os_str().as_bytes()));
        }
    }

    /// Reserves quota for one more file in `folder`.
    pub(super) fn promise(&self, bytes: u64, folder: impl AsFd) -> Result<Reservation, StoreError> {
        let reservation = self.ledger.reserve(bytes, 1)?;
        check_disk(bytes, folder)?;
        Ok(reservation)
    }

    /// Reserves quota for `bytes` more of an open file.
    pub(super) fn promise_more(&self, bytes: u64, file: impl AsFd) -> Result<Reservation, StoreError> {
        let reservation = self.ledger.reserve(bytes, 0)?;
        check_disk(bytes, file)?;
        Ok(reservation)
    }
}

/// Refuses a file that is larger than the whole disk. The free space is not compared, because it
/// changes while the bytes come.
fn check_disk(bytes: u64, on: impl AsFd) -> Result<(), StoreError> {
    if bytes < DISK_CHECK_BYTES {
        return Ok(());
    }
    let size = rustix::fs::fstatvfs(on).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
    // Some file systems do not know their size. No file is larger than this.
    let most = if size == 0 { i64::MAX.cast_unsigned() - 1 } else { size };
    if bytes > most { Err(StoreError::DiskFull) } else { Ok(()) }
}

/// Smaller files are not worth a system call: if one does not fit, writing it fails soon.
const DISK_CHECK_BYTES: u64 = 64 * 1024 * 1024;

/// The target of a staged file.
pub(super) struct CommitTarget {
    /// The folder, open. Policy `full` syncs it.
    pub(super) folder: File,
    pub(super) name: Vec<u8>,
}

/// The target of an upload, and the entry that was there before its bytes came.
pub struct UploadTarget {
    pub(super) at: CommitTarget,
    pub(super) there: Option<Stat>,
}

impl UploadTarget {
    /// Returns the metadata of the existing entry.
    pub fn there(&self) -> Option<Meta> {
        self.there.map(Meta::from)
    }
}

impl StoreError {
    /// Maps errors of opening: a socket or a device without a driver exists, but is not a file.
    fn from_open(error: io::Error) -> Self {
        match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NXIO | rustix::io::Errno::NODEV) => Self::NotAFile,
            // Only the parents of a path are resolved here; a symlink as its last component was handled before.
            Some(rustix::io::Errno::LOOP) => Self::LinkLoop,
            _ => error.into(),
        }
    }
}

/// Opens an O_PATH descriptor, which needs no rights and never blocks.
fn open_path(parent: impl AsFd, name: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, OsStr::from_bytes(name), flags, Mode::empty()).ok()
}

/// Opens a large file that is about to lose its name, so that the kernel frees its pages when a worker
/// closes it and not within the loop.
pub(super) fn hold_large(parent: impl AsFd, name: &[u8], meta: &Meta) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let is_large = meta.kind == Kind::File && meta.size >= SLOW_CLOSE_BYTES;
    is_large.then(|| rustix::fs::openat(parent, OsStr::from_bytes(name), flags, Mode::empty()).ok())?
}

/// The longest path in one message, in bytes.
const LOGGED_PATH_BYTES_MAX: usize = 1024;

/// Returns whether two names in these folders may be one entry, on a file system that treats some names
/// as equal.
fn may_be_one(one: &[u8], other: &[u8], folders: (impl AsFd, impl AsFd)) -> Result<bool, StoreError> {
    let is_alike = one.eq_ignore_ascii_case(other) || !one.is_ascii() || !other.is_ascii();
    Ok(is_alike && folder_id(folders.0)? == folder_id(folders.1)?)
}

fn refuse_staging(path: &VPath) -> Result<(), StoreError> {
    if path.components().next() == Some(STAGING.as_bytes()) { Err(StoreError::BadName) } else { Ok(()) }
}

/// Returns whether a file system might treat this name as the staging folder's: by its case, trailing
/// dots and blanks, its short form, or characters that Unicode ignores.
fn may_be_staging(name: &[u8]) -> bool {
    let end = name.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |last| last + 1);
    let is_alike = name[..end].eq_ignore_ascii_case(STAGING.as_bytes());
    is_alike || !name.is_ascii() || name.iter().any(|byte| b"~:".contains(byte))
}

pub(super) fn folder_id(folder: impl AsFd) -> Result<FolderId, StoreError> {
    let stat = rustix::fs::fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Returns the entry that a rename to `name` would replace, or refuses.
pub(super) fn replace_check(parent: impl AsFd, name: &[u8], replace: bool) -> Result<Option<Stat>, StoreError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if replace && Meta::from(stat).kind != Kind::Folder => Ok(Some(stat)),
        Ok(_) => Err(StoreError::Exists),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Renames without replacing, on a file system without `RENAME_NOREPLACE`. A file is linked to its new
/// name, which fails if that is taken, and then loses the old one. For entries that cannot be linked,
/// the new name is looked up first; another program may take it before the rename.
fn rename_by_hand(from: BorrowedFd<'_>, from_name: &[u8], to: BorrowedFd<'_>, to_name: &[u8]) -> Result<(), Errno> {
    let moved = rustix::fs::statat(from, from_name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(moved.st_mode).is_file() {
        match rustix::fs::linkat(from, from_name, to, to_name, AtFlags::empty()) {
            Ok(()) => {
                let removed = rustix::fs::unlinkat(from, from_name, AtFlags::empty());
                if removed.is_err() {
                    let _ = rustix::fs::unlinkat(to, to_name, AtFlags::empty());
                }
                return removed;
            }
            Err(errno) if !is_refusal(errno) => return Err(errno),
            Err(_) => {}
        }
    }
    match rustix::fs::statat(to, to_name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(_) => rustix::fs::renameat(from, from_name, to, to_name),
    }
}
