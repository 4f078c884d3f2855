//! The only code that touches users' files. Homes are directory capabilities, uploads are staged on the
//! file system of their target, quotas are ledgers. Knows no protocol and no session.

mod access;
mod boot_id;
mod claims;
pub mod clock;
pub mod count;
pub mod digest_cache;
pub mod etag;
mod expiry;
mod file_system_support;
pub mod home;
mod home_root;
pub mod ledger;
pub mod listing;
pub mod meta;
pub mod monotonic;
mod mounts;
pub mod names;
pub mod new_directories;
mod open_file;
mod partials;
pub mod splice;
pub mod staging;
pub mod syncer;
pub mod usage;
pub mod watch;
pub mod workers;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use clock::WallClock;
use digest_cache::DigestCache;
use etag::EtagKey;
use file_system_support::FileSystemSupport;
use home::{DirectoryId, Home, HomeContext};
pub use home_root::HomeRoot;
use home_root::LedgerKey;
use ledger::{Ledger, QuotaLimits, Shortage};
use meta::Identity;
use mounts::Mounts;
pub use open_file::OpenFile;
use splice::Pipe;
use syncer::Syncer;
use watch::Watcher;
use workers::operations::{CallError, Operation};
use workers::{FileSystem, HomeFileSystem};

/// The number of homes whose ledger is kept after their last session, so that the next session need not count again.
const LEDGERS_REMEMBERED: usize = 4096;
/// Numbers from here on stand for the unknown file systems of homes that are being opened, one for each home
/// root. No device has such a number.
const FIRST_UNKNOWN_DEVICE: u64 = 1 << 63;
/// With the inode of a home, a number that stands for all file systems in it, if others are mounted there: they have
/// a worker of their own, because a path may lead into any of them. No device has such a number.
const HOME_WITH_MOUNTS: u64 = 1 << 62;
/// A removed or replaced file of at least this size is closed by the file system's worker: the last
/// close frees its pages, and a gigabyte of them would stall the loop for 0.1 s.
pub const SLOW_CLOSE_BYTES: u64 = 16 * 1024 * 1024;
/// Partial uploads expire only by a clock that has not jumped for this long, or for the expiry time if
/// that is shorter: a clock that was wrong at boot is usually correct by then.
pub const EXPIRY_STEADY_CLOCK: Duration = Duration::from_secs(3600);

/// Why the store refused or failed. The texts are for the log and the administrator.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The path does not exist.
    #[error("not found")]
    NotFound,
    /// The path exists already.
    #[error("already exists")]
    Exists,
    /// Not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// Not a directory.
    #[error("not a directory")]
    NotADirectory,
    /// The directory is not empty.
    #[error("directory not empty")]
    NotEmpty,
    /// The name cannot be used here.
    #[error("name cannot be used")]
    BadName,
    /// A symlink leads out of the home.
    #[error("leads out of the home")]
    OutsideHome,
    /// The paths are on different file systems or under different project quotas.
    #[error("on another file system")]
    OtherFileSystem,
    /// A directory cannot be moved into itself.
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    /// The file's permissions forbid it, or the file system is read-only.
    #[error("permission denied")]
    Denied,
    /// The path is in use, for example a mount point.
    #[error("in use")]
    InUse,
    /// The disk is full, or the file system's own quota is exceeded.
    #[error("disk full")]
    DiskFull,
    /// Symlinks form a loop.
    #[error("the symbolic links form a loop")]
    LinkLoop,
    /// The directory has more entries than a listing may have.
    #[error("too many entries")]
    TooLarge,
    /// The account's quota of bytes is exceeded.
    #[error("byte quota exceeded")]
    QuotaBytes(Shortage),
    /// The account's quota of files and directories is exceeded.
    #[error("file quota exceeded")]
    QuotaFiles(Shortage),
    /// The file changed since it was opened or examined.
    #[error("changed since it was opened")]
    Changed,
    /// Another session has claimed the same upload.
    #[error("taken over by another session")]
    Superseded,
    /// The disk did not store written bytes of an upload.
    #[error("the disk did not store what was written")]
    Unwritten,
    /// The file system does not answer.
    #[error("the file system does not answer")]
    NoAnswer,
    /// Any other error of the system.
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        use rustix::io::Errno;
        let Some(errno) = error.raw_os_error().map(Errno::from_raw_os_error) else {
            // cap-std refuses an escaping path without a system error.
            return if error.kind() == io::ErrorKind::PermissionDenied { Self::OutsideHome } else { Self::Io(error) };
        };
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::EXIST => Self::Exists,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::NOTDIR => Self::NotADirectory,
            Errno::ISDIR => Self::NotAFile,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Self::Denied,
            Errno::BUSY => Self::InUse,
            Errno::NAMETOOLONG | Errno::ILSEQ => Self::BadName,
            Errno::LOOP | Errno::XDEV => Self::OutsideHome,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl From<workers::SyncError> for StoreError {
    fn from(error: workers::SyncError) -> Self {
        match error {
            workers::SyncError::Failed(error) => error.into(),
            workers::SyncError::NoAnswer => Self::NoAnswer,
        }
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoAnswer => Self::NoAnswer,
            CallError::Defect => Self::Io(io::Error::other("an internal error ended a call to the file system")),
        }
    }
}

impl From<rustix::io::Errno> for StoreError {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// State shared by all homes.
pub struct Store {
    roots: Arc<[PathBuf]>,
    /// By the identity of their directories, because a path may lead to another directory while a session is open.
    homes: HashMap<DirectoryId, Weak<Home>>,
    ledgers: HashMap<LedgerKey, Rc<Ledger>>,
    /// The device numbers of homes that were open, by path.
    devices: HashMap<PathBuf, u64>,
    support: Arc<FileSystemSupport>,
    partial_expiry: Duration,
    mounts: Mounts,
    /// Read at start, because Landlock forbids it later.
    boot: Rc<str>,
    /// The key of etags.
    pub etags: EtagKey,
    /// Digests of unchanged files.
    pub digests: DigestCache,
    /// Detects writes to files while they are sent.
    pub watcher: Watcher,
    /// Splices uploads that are not hashed.
    pub pipe: Pipe,
    /// Syncs files on worker threads.
    pub syncer: Syncer,
    /// The system's clock; tests set one that jumps.
    pub clock: WallClock,
}

impl Store {
    /// Makes a store of the homes below `roots`.
    pub fn new(roots: Vec<PathBuf>, partial_expiry: Duration, syncer: Syncer) -> io::Result<Self> {
        Ok(Self {
            roots: roots.into(),
            homes: HashMap::new(),
            ledgers: HashMap::new(),
            devices: HashMap::new(),
            support: Arc::default(),
            partial_expiry,
            mounts: Mounts::open(),
            boot: boot_id::boot_id()?.into(),
            etags: EtagKey::random()?,
            digests: DigestCache::default(),
            watcher: Watcher::open(),
            pipe: Pipe::default(),
            syncer,
            clock: WallClock::default(),
        })
    }

    /// Begins to open the directory of the home at `path` for the session `caller`, after `check`. A worker does
    /// that, unless the file system of the home is known and prompt.
    pub fn open_home_root<E: From<StoreError> + Send + 'static>(
        &self,
        caller: u64,
        path: &Path,
        check: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Operation<Result<HomeRoot, E>> {
        let (file_system, path) = (self.file_system_of_path(path), path.to_path_buf());
        let (roots, mounts) = (Arc::clone(&self.roots), self.mounts.clone());
        let work = async move {
            let open = move || {
                check()?;
                Ok(HomeRoot::open(&roots, &mounts, &path)?)
            };
            file_system.run(open).await.map_err(StoreError::from)?
        };
        self.syncer.operations().begin(caller, work)
    }

    /// Returns whether the file system of the home at `path` answers, as far as known.
    pub fn answers(&self, path: &Path) -> bool {
        !self.file_system_of_path(path).is_unresponsive()
    }

    /// Returns the file system of a home that is not open yet: the one on which it was the last time, or else
    /// one that no home has, so that a worker opens it.
    fn file_system_of_path(&self, path: &Path) -> HomeFileSystem {
        let root = self.roots.iter().position(|root| path.starts_with(root)).unwrap_or(self.roots.len());
        let device = self.devices.get(path).copied().unwrap_or(FIRST_UNKNOWN_DEVICE + root as u64);
        let mut account = DefaultHasher::new();
        path.hash(&mut account);
        let name: Rc<Path> = self.roots.get(root).map_or(path, PathBuf::as_path).into();
        self.syncer.known_file_system(FileSystem {
            device,
            account: account.finish(),
            path: Rc::clone(&name),
            home: name,
        })
    }

    /// Returns the home whose directory is open, shared by all sessions of that directory, and sets its limits.
    pub fn home_at(&mut self, root: HomeRoot, path: &Path, limits: QuotaLimits) -> Rc<Home> {
        let HomeRoot { directory, ledger_key, is_local, is_on_device_of_root, contains_mounts } = root;
        let id = ledger_key.directory;
        if self.devices.len() >= LEDGERS_REMEMBERED && !self.devices.contains_key(path) {
            self.devices.clear();
        }
        self.devices.insert(path.to_path_buf(), id.0);
        if let Some(home) = self.homes.get(&id).and_then(Weak::upgrade) {
            home.ledger().set_limits(limits);
            return home;
        }
        let ledger = self.ledger(ledger_key);
        ledger.set_limits(limits);
        // Without sessions, changes to it bypassed the ledger.
        ledger.recount_if_old(self.clock.now_ns());
        let home: Rc<Path> = path.into();
        // Messages name a file system by the home root, unless the home has its own file system.
        let is_named_by_root = is_on_device_of_root && !contains_mounts;
        let root = self.roots.iter().find(|root| is_named_by_root && path.starts_with(root));
        let name = root.map_or_else(|| Rc::clone(&home), |root| root.as_path().into());
        let device = if contains_mounts { HOME_WITH_MOUNTS | id.1 } else { id.0 };
        let file_system = FileSystem { device, account: Rc::as_ptr(&ledger).addr() as u64, path: name, home };
        let context = HomeContext {
            support: Arc::clone(&self.support),
            partial_expiry: self.partial_expiry,
            boot: Rc::clone(&self.boot),
            file_system: self.syncer.home_file_system(file_system, is_local && !contains_mounts),
            clock: self.clock.clone(),
        };
        let home = Rc::new(Home::new(directory, path.into(), ledger, context));
        self.homes.insert(id, Rc::downgrade(&home));
        home
    }

    fn ledger(&mut self, directory: LedgerKey) -> Rc<Ledger> {
        if self.ledgers.len() > LEDGERS_REMEMBERED {
            self.ledgers.retain(|_, ledger| Rc::strong_count(ledger) > 1);
            self.homes.retain(|_, home| home.strong_count() > 0);
        }
        Rc::clone(self.ledgers.entry(directory).or_default())
    }

    /// Returns an opaque name for the file's present content.
    pub fn etag(&self, identity: &Identity) -> String {
        self.etags.etag(identity)
    }
}
