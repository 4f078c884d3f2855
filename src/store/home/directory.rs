//! The directory of a home: what calls to its file system need. It knows nothing of quotas or sessions, so workers can
//! use it, too.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::{DIRECTORY, DirectoryId, directory_id, reopen_directory};
use crate::base::refusals::{OptionalOperation, is_refusal};
use crate::store::StoreError;
use crate::store::file_system_support::FileSystemSupport;

/// The directory of a home. Its look-ups are in `lookup.rs`.
pub struct HomeDirectory {
    pub(super) root: Dir,
    /// The path at which it was opened. For messages only, because another directory may be there by now.
    pub(in crate::store) path: Arc<Path>,
    pub(in crate::store) support: Arc<FileSystemSupport>,
    /// Opened when it is first needed.
    staging: Mutex<Option<StagingDirectory>>,
}

/// The open staging directory.
pub(in crate::store) struct StagingDirectory {
    pub(in crate::store) handle: Arc<OwnedFd>,
    pub(in crate::store) id: DirectoryId,
}

/// A directory that is open to be synced.
pub struct SyncedDirectory {
    /// The directory.
    pub file: Arc<File>,
    /// The number of its device.
    pub device: u64,
    inode: u64,
}

impl SyncedDirectory {
    /// Opens a directory again.
    pub fn open(directory: impl AsFd) -> Result<Self, StoreError> {
        Self::of(reopen_directory(directory)?)
    }

    fn of(directory: OwnedFd) -> Result<Self, StoreError> {
        let (device, inode) = directory_id(&directory)?;
        Ok(Self { file: Arc::new(directory.into()), device, inode })
    }
}

impl HomeDirectory {
    pub(super) fn new(root: Dir, path: Arc<Path>, support: Arc<FileSystemSupport>) -> Self {
        Self { root, path, support, staging: Mutex::default() }
    }

    pub(in crate::store) fn root_fd(&self) -> Result<OwnedFd, StoreError> {
        Ok(self.root.as_fd().try_clone_to_owned()?)
    }

    /// Locks the staging directory; `None` if it is not open. Do not hold the lock during a call to the file system.
    pub(in crate::store) fn open_staging(&self) -> MutexGuard<'_, Option<StagingDirectory>> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bytes that are free for users; `None` if the file system does not report them.
    pub fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        match rustix::fs::fstatvfs(&self.root) {
            Ok(stat) => Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize))),
            Err(errno) if is_refusal(errno) => {
                self.support.warn(OptionalOperation::FreeSpace, directory_id(&self.root)?.0, &self.path, errno);
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the parent of `directory`. `None` above the home itself, or if another program has moved it out of
    /// the home.
    pub fn directory_above(&self, directory: &SyncedDirectory) -> Result<Option<SyncedDirectory>, StoreError> {
        let id = (directory.device, directory.inode);
        if id == directory_id(&self.root)? {
            return Ok(None);
        }
        let above = rustix::fs::openat(&directory.file, c"..", DIRECTORY, Mode::empty())?;
        let above = SyncedDirectory::of(above)?;
        // Only the root of the file system is its own parent.
        Ok(Some(above).filter(|above| (above.device, above.inode) != id))
    }

    /// Accepts that a file system refuses `operation`, and logs the first refusal. Returns other errors.
    pub(in crate::store) fn tolerate(
        &self,
        operation: OptionalOperation,
        device: u64,
        result: Result<(), Errno>,
    ) -> Result<(), StoreError> {
        self.support.tolerate(operation, device, &self.path, result)
    }
}
