//! A home as a directory capability. Every path is resolved below the home's own descriptor, so no
//! spelling, symlink or race leads out. Symlinks that stay inside work.

mod changes;
mod directory;
mod lookup;
mod removed;
mod settle;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};

use super::StoreError;
use super::claims::Claims;
use super::clock::WallClock;
use super::file_system_support::FileSystemSupport;
use super::ledger::Ledger;
use super::partials::Partials;
use super::workers::HomeFileSystem;
use crate::base::virtual_path::VirtualPath;
use crate::store::meta::Meta;
use crate::store::open_file::OpenFile;
pub(super) use changes::{log_if_not_dropped, make_directory_in, replace_check};
pub(super) use directory::StagingDirectory;
pub use directory::{HomeDirectory, SyncedDirectory};
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
pub(super) fn reopen_directory(directory: impl AsFd) -> Result<OwnedFd, StoreError> {
    Ok(rustix::fs::openat(directory, c".", DIRECTORY, Mode::empty())?)
}

/// The home of one account. Its methods are divided by subject: changes in `changes.rs`, deferred closes in
/// `removed.rs`, counts in `settle.rs`, partial uploads in `store/staging` and `store/expiry.rs`. Look-ups are
/// methods of [`HomeDirectory`], so that workers can make them.
pub struct Home {
    directory: Arc<HomeDirectory>,
    ledger: Rc<Ledger>,
    pub(super) claims: Claims,
    pub(super) partials: Partials,
    pub(super) partial_expiry: Duration,
    /// The boot ID of the machine.
    pub(super) boot: Rc<str>,
    /// No partial upload expires before this, in nanoseconds since the epoch.
    pub(super) next_expiry_ns: Cell<i64>,
    pub(super) file_system: HomeFileSystem,
    pub(super) clock: WallClock,
    /// The file of an upload could not be removed, because the file system did not answer. The next count removes it.
    pub(super) has_leftovers: Cell<bool>,
    /// The error of the last step of [`Home::settle`], for the next caller.
    settle_error: Cell<Option<StoreError>>,
}

/// What a home gets from the store.
pub(super) struct HomeContext {
    pub(super) support: Arc<FileSystemSupport>,
    pub(super) partial_expiry: Duration,
    pub(super) boot: Rc<str>,
    pub(super) file_system: HomeFileSystem,
    pub(super) clock: WallClock,
}

/// Device and inode of a directory.
pub(super) type DirectoryId = (u64, u64);

impl Deref for Home {
    type Target = HomeDirectory;

    fn deref(&self) -> &HomeDirectory {
        &self.directory
    }
}

impl Home {
    /// Makes the home whose directory is `root`, found at `path`.
    pub(super) fn new(root: Dir, path: Arc<Path>, ledger: Rc<Ledger>, context: HomeContext) -> Self {
        let (claims, partials) = (Claims::default(), Partials::default());
        let HomeContext { support, partial_expiry, boot, file_system, clock } = context;
        // Unknown until the first check.
        let next_expiry_ns = Cell::new(i64::MIN);
        Self {
            directory: Arc::new(HomeDirectory::new(root, path, support)),
            ledger,
            claims,
            partials,
            partial_expiry,
            boot,
            next_expiry_ns,
            file_system,
            clock,
            has_leftovers: Cell::default(),
            settle_error: Cell::default(),
        }
    }

    /// Runs a call that may wait for the file system.
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&HomeDirectory) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let directory = Arc::clone(&self.directory);
        self.file_system.run(move || call(&directory)).await?
    }

    /// Returns the home's file system.
    pub fn file_system(&self) -> &HomeFileSystem {
        &self.file_system
    }

    /// Opens a regular file for reading; see [`HomeDirectory::open_regular`].
    pub async fn open(&self, path: VirtualPath) -> Result<(OpenFile, Meta), StoreError> {
        let (file, meta) = self.run(move |directory| directory.open_regular(&path)).await?;
        Ok((self.track_open_regular(file, &meta), meta))
    }

    /// Wraps an open file, so that it counts as used while it is open.
    pub fn track_open_regular(&self, file: File, meta: &Meta) -> OpenFile {
        OpenFile::new(file, meta, &self.ledger, &self.file_system)
    }

    /// Returns the home's ledger.
    pub fn ledger(&self) -> &Rc<Ledger> {
        &self.ledger
    }

    /// Logs that this home's file system is full, at most once an hour.
    pub fn warn_full(&self) {
        if let Ok((device, _)) = directory_id(&self.root) {
            self.support.warn_full(device, &self.path, self.clock.now_ns());
        }
    }
}

/// Refuses a file that is larger than the whole file system. The free space is not compared, because it
/// changes during the upload.
pub(super) fn check_disk(bytes: u64, on: impl AsFd) -> Result<(), StoreError> {
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
