//! Finds entries of a home. Every path is resolved below the descriptor of the home, and the staging directory is
//! refused by any of its names.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::directory::HomeDirectory;
use super::{DirectoryId, reopen_directory};
use crate::base::virtual_path::VirtualPath;
use crate::store::StoreError;
use crate::store::meta::{Kind, Meta, meta_of};
use crate::store::names::STAGING;

impl HomeDirectory {
    /// Opens a regular file for reading. Anything else is refused without being opened, so that no FIFO or
    /// device blocks or acts.
    pub fn open_regular(&self, path: &VirtualPath) -> Result<(File, Meta), StoreError> {
        let file = self.open_any(path)?;
        let meta = meta_of(&file)?;
        match meta.kind {
            Kind::File => Ok((file, meta)),
            _ => Err(StoreError::NotAFile),
        }
    }

    fn open_any(&self, path: &VirtualPath) -> Result<File, StoreError> {
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
    fn open_link(&self, path: &VirtualPath) -> Result<File, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OPEN.bits().cast_signed());
        let file = self.root.open_with(path.relative(), &options).map_err(StoreError::from_open)?.into_std();
        let end = self.root.canonicalize(path.relative())?;
        if end.starts_with(STAGING) { Err(StoreError::BadName) } else { Ok(file) }
    }

    /// Returns the metadata of `path`. Symlinks inside the home are followed.
    pub fn stat(&self, path: &VirtualPath) -> Result<Meta, StoreError> {
        if path.is_root() {
            return meta_of(&self.root);
        }
        let meta = self.entry(path)?.ok_or(StoreError::NotFound)?;
        if meta.kind != Kind::Link {
            return Ok(meta);
        }
        match self.open_directory(path) {
            Err(StoreError::NotADirectory) => meta_of(self.open_any(path)?),
            directory => meta_of(directory?),
        }
    }

    /// Returns the metadata of `path` itself, or `None` if nothing is there. A symlink is not followed. An
    /// error if the parent directory does not exist.
    pub fn entry(&self, path: &VirtualPath) -> Result<Option<Meta>, StoreError> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::statat(&parent, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a directory to list it. Returns also whether it is the top of the home.
    pub fn open_to_list(&self, path: &VirtualPath) -> Result<(OwnedFd, bool), StoreError> {
        let directory = self.open_for_listing(path)?;
        let is_root = self.is_root(&directory)?;
        Ok((directory, is_root))
    }

    /// Opens a directory by its path. Opening it by its handle would need the right to search the directory.
    pub(super) fn open_for_listing(&self, path: &VirtualPath) -> Result<OwnedFd, StoreError> {
        let handle = self.open_directory(path)?;
        if path.is_root() {
            return reopen_directory(handle);
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OPEN.union(OFlags::DIRECTORY).bits().cast_signed());
        let directory = self.root.open_with(path.relative(), &options).map_err(StoreError::from_open)?.into_std();
        // Another program may have replaced the directory.
        self.refuse_staging_directory(&directory)?;
        Ok(directory.into())
    }

    pub(in crate::store) fn open_directory(&self, path: &VirtualPath) -> Result<Dir, StoreError> {
        refuse_staging(path)?;
        let dir = self.root.open_dir(path.relative()).map_err(StoreError::from_open)?;
        self.refuse_staging_directory(&dir)?;
        Ok(dir)
    }

    /// Returns the target of an upload, and the entry that is there now.
    pub fn upload_target(&self, path: &VirtualPath) -> Result<UploadTarget, StoreError> {
        let at = self.target(path)?;
        match rustix::fs::statat(&at.directory, at.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(UploadTarget { at, there: Some(stat) }),
            Err(Errno::NOENT) => Ok(UploadTarget { at, there: None }),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the target of a staged file.
    pub(in crate::store) fn target(&self, path: &VirtualPath) -> Result<CommitTarget, StoreError> {
        let (parent, name) = self.parent(path)?;
        let directory = match parent {
            Parent::Root(dir) => dir.try_clone()?,
            Parent::Below(dir) => dir,
        };
        Ok(CommitTarget { directory: directory.into_std_file(), name: name.to_vec() })
    }

    pub(super) fn parent<'a, 'p>(&'a self, path: &'p VirtualPath) -> Result<(Parent<'a>, &'p [u8]), StoreError> {
        refuse_staging(path)?;
        let name = path.name().ok_or(StoreError::BadName)?;
        let (above, _) = path.split().ok_or(StoreError::BadName)?;
        if above.is_root() {
            self.refuse_other_spelling(&self.root, name)?;
            return Ok((Parent::Root(&self.root), name));
        }
        let dir = self.root.open_dir(above.relative()).map_err(StoreError::from_open)?;
        self.refuse_staging_directory(&dir)?;
        self.refuse_other_spelling(&dir, name)?;
        Ok((Parent::Below(dir), name))
    }

    /// Refuses the staging directory by its identity, because a symlink inside the home may lead to it.
    fn refuse_staging_directory(&self, dir: impl AsFd) -> Result<(), StoreError> {
        match self.staging_id()? {
            Some(id) if id == directory_id(dir)? => Err(StoreError::BadName),
            _ => Ok(()),
        }
    }

    /// Refuses the staging directory by a name in `directory`: another spelling that the file system treats as
    /// equal, or a path through a symlink to the top of the home.
    fn refuse_other_spelling(&self, directory: impl AsFd, name: &[u8]) -> Result<(), StoreError> {
        if !may_be_staging(name) {
            return Ok(());
        }
        if name == STAGING.as_bytes() && self.is_root(&directory)? {
            return Err(StoreError::BadName);
        }
        let Some(staging) = self.staging_id()? else { return Ok(()) };
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == staging => Err(StoreError::BadName),
            _ => Ok(()),
        }
    }

    pub(super) fn is_root(&self, directory: impl AsFd) -> Result<bool, StoreError> {
        Ok(directory_id(directory)? == directory_id(&self.root)?)
    }

    pub(in crate::store) fn staging_id(&self) -> Result<Option<DirectoryId>, StoreError> {
        if let Some(staging) = &*self.open_staging() {
            return Ok(Some(staging.id));
        }
        match rustix::fs::statat(&self.root, STAGING, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(staging) => Ok(Some((staging.st_dev, staging.st_ino))),
            // It does not exist, or it cannot be opened, so no path leads to it.
            Err(_) => Ok(None),
        }
    }
}

/// O_NONBLOCK keeps the open of a FIFO from waiting for its other end.
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The parent directory of an entry.
pub(super) enum Parent<'a> {
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

/// The directory and the name that a staged file gets.
pub(in crate::store) struct CommitTarget {
    /// The directory, open. Policy `full` syncs it.
    pub(in crate::store) directory: File,
    pub(in crate::store) name: Vec<u8>,
}

/// The target of an upload, and the entry that was there before its bytes came.
pub struct UploadTarget {
    pub(in crate::store) at: CommitTarget,
    pub(in crate::store) there: Option<Stat>,
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

fn refuse_staging(path: &VirtualPath) -> Result<(), StoreError> {
    if path.components().next() == Some(STAGING.as_bytes()) { Err(StoreError::BadName) } else { Ok(()) }
}

/// Returns whether a file system might treat this name as the staging directory's: by its case, trailing
/// dots and blanks, its short form, or characters that Unicode ignores.
fn may_be_staging(name: &[u8]) -> bool {
    let end = name.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |last| last + 1);
    let is_alike = name[..end].eq_ignore_ascii_case(STAGING.as_bytes());
    is_alike || !name.is_ascii() || name.iter().any(|byte| b"~:".contains(byte))
}

/// Returns device and inode of an open directory.
pub(in crate::store) fn directory_id(directory: impl AsFd) -> Result<DirectoryId, StoreError> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}
