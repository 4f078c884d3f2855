//! A home as a directory capability. Every path is resolved below the home's own descriptor, so no
//! spelling, symlink or race leads out. Symlinks that stay inside work.

mod changes;
mod lookup;
mod removed;

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::StoreError;
use super::clock::WallClock;
use super::count::UnreadableEntries;
use super::file_systems::FileSystems;
use super::ledger::{Advanced, Ledger, Reservation};
use super::staging::claims::Claims;
use super::staging::partials::Partials;
use super::syncer::{Closer, Disk};
use crate::base::budget::Budget;
use crate::base::refusals::{Operation, is_refusal};
use crate::base::text::{Escaped, shortened};
pub(super) use changes::replace_check;
pub use lookup::UploadTarget;
pub(super) use lookup::{CommitTarget, directory_id};
pub(super) use removed::open_large_for_deferred_close;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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
        at = rustix::fs::openat(&at, name, DIRECTORY, Mode::empty())?;
    }
    Ok(Dir::from_std_file(at.into()))
}

/// Opens a directory again, for reading: cap-std's handles of directories are O_PATH.
pub fn reopen_directory(directory: impl AsFd) -> Result<OwnedFd, StoreError> {
    Ok(rustix::fs::openat(directory, c".", DIRECTORY, Mode::empty())?)
}

/// The home of one account. Its methods are divided by subject: look-ups in `lookup.rs`, changes in
/// `changes.rs`, deferred closes in `removed.rs`, partial uploads in `store/staging` and `store/expiry.rs`.
pub struct Home {
    root: Dir,
    /// The path at which it was opened. For messages only, because another directory may be there by now.
    pub(super) path: Rc<Path>,
    pub(super) systems: Rc<FileSystems>,
    ledger: Rc<Ledger>,
    /// Opened when it is first needed.
    pub(super) staging: RefCell<Option<StagingDirectory>>,
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

/// What a home gets from the store.
pub(super) struct HomeContext {
    pub(super) systems: Rc<FileSystems>,
    pub(super) partial_expiry: Duration,
    pub(super) boot: Rc<str>,
    pub(super) closer: Closer,
    pub(super) clock: WallClock,
}

/// The open staging directory.
pub(super) struct StagingDirectory {
    pub(super) handle: Rc<OwnedFd>,
    pub(super) id: DirectoryId,
}

/// Device and inode of a directory.
pub(super) type DirectoryId = (u64, u64);

impl Home {
    /// Makes the home whose directory is `root`, found at `path`.
    pub(super) fn new(root: Dir, path: Rc<Path>, ledger: Rc<Ledger>, context: HomeContext) -> Self {
        let (staging, claims, partials) = (RefCell::default(), Claims::default(), Partials::default());
        let HomeContext { systems, partial_expiry, boot, closer, clock } = context;
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

    /// Returns the bytes that are free for users; `None` if the file system does not report them.
    pub fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        match rustix::fs::fstatvfs(&self.root) {
            Ok(stat) => Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize))),
            Err(errno) if is_refusal(errno) => {
                self.systems.warn(Operation::FreeSpace, directory_id(&self.root)?.0, &self.path, errno);
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Logs that this home's file system is full, at most once an hour.
    pub fn warn_full(&self) {
        if let Ok((device, _)) = directory_id(&self.root) {
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

    /// Returns the parent of `directory` and its file system. `None` above the home itself, or if another
    /// program has moved it out of the home.
    pub fn directory_above(&self, directory: impl AsFd) -> Result<Option<(OwnedFd, Disk)>, StoreError> {
        let id = directory_id(&directory)?;
        if id == directory_id(&self.root)? {
            return Ok(None);
        }
        let above = rustix::fs::openat(directory, c"..", DIRECTORY, Mode::empty())?;
        let above_id = directory_id(&above)?;
        // Only the root of the file system is its own parent.
        Ok(if above_id == id { None } else { Some((above, self.disk_on(above_id.0))) })
    }

    /// Must be called before every change of the home. Drops expired partial uploads, and continues a due
    /// count within `budget`. Returns true once the ledger is reliable.
    pub fn settle(&self, budget: &mut Budget) -> Result<bool, StoreError> {
        if self.ledger.is_counted() {
            self.drop_expired();
        }
        loop {
            if self.ledger.is_recount_due() {
                // The count reports a staging directory that cannot be read.
                let _ = self.sweep_staging();
            }
            match self.ledger.advance_count(|| self.root_fd(), self.clock.now_ns(), budget)? {
                Advanced::Counted => return Ok(true),
                Advanced::Finished(before) => {
                    self.warn_of_unreadable(&before, &self.ledger.unseen());
                    return Ok(true);
                }
                Advanced::Later => return Ok(false),
                Advanced::Disturbed => {}
            }
        }
    }

    /// Logs what a count could not read, unless the previous count reported the same.
    fn warn_of_unreadable(&self, before: &UnreadableEntries, unseen: &UnreadableEntries) {
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

    /// Reserves quota for a new file of `bytes` in `directory`. Refuses more bytes than the whole disk has.
    pub(super) fn reserve_for_new_file(&self, bytes: u64, directory: impl AsFd) -> Result<Reservation, StoreError> {
        let reservation = self.ledger.reserve(bytes, 1)?;
        check_disk(bytes, directory)?;
        Ok(reservation)
    }

    /// Reserves quota for `bytes` more of an open file. Refuses more bytes than the whole disk has.
    pub(super) fn reserve_more(&self, bytes: u64, file: impl AsFd) -> Result<Reservation, StoreError> {
        let reservation = self.ledger.reserve(bytes, 0)?;
        check_disk(bytes, file)?;
        Ok(reservation)
    }
}

/// Refuses a file that is larger than the whole disk. The free space is not compared, because it
/// changes during the upload.
fn check_disk(bytes: u64, on: impl AsFd) -> Result<(), StoreError> {
    if bytes < DISK_CHECK_BYTES {
        return Ok(());
    }
    let size = rustix::fs::fstatvfs(on).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
    // Some file systems do not report their size. No file can be larger than this.
    let most = if size == 0 { i64::MAX.cast_unsigned() - 1 } else { size };
    if bytes > most { Err(StoreError::DiskFull) } else { Ok(()) }
}

/// Smaller files are not worth a system call: if one does not fit, writing it fails soon.
const DISK_CHECK_BYTES: u64 = 64 * 1024 * 1024;

/// The longest path in one message, in bytes.
const LOGGED_PATH_BYTES_MAX: usize = 1024;
