//! Opens the directory of a home by its path.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, StatxFlags};

use super::StoreError;
use super::home::{DirectoryId, directory_id, open_root};
use super::mounts::Mounts;
use crate::base::file_system_type;
use crate::base::refusals::is_refusal;

/// The open directory of a home.
pub struct HomeRoot {
    pub(super) directory: Dir,
    pub(super) ledger_key: LedgerKey,
    /// Whether its file system needs neither a network nor another program.
    pub(super) is_local: bool,
    /// Whether it is on the file system of its home root.
    pub(super) is_on_device_of_root: bool,
    /// Another file system is mounted in it.
    pub(super) contains_mounts: bool,
}

impl HomeRoot {
    pub(super) fn open(roots: &[PathBuf], mounts: &Mounts, path: &Path) -> Result<Self, StoreError> {
        let directory = open_root(roots, path)?;
        let ledger_key = LedgerKey::of(&directory, directory_id(&directory)?)?;
        let root = roots.iter().find(|root| path.starts_with(root));
        let root = root.and_then(|root| std::fs::metadata(root).ok());
        let is_on_device_of_root = root.is_some_and(|root| root.dev() == ledger_key.directory.0);
        let contains_mounts = mounts.has_any_below(&path_of(&directory).unwrap_or_else(|| path.to_path_buf()));
        let is_local = file_system_type::is_local(&directory);
        Ok(Self { directory, ledger_key, is_local, is_on_device_of_root, contains_mounts })
    }
}

/// Returns the path of an open directory without symlinks.
fn path_of(directory: &Dir) -> Option<PathBuf> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", directory.as_raw_fd()), Vec::new()).ok()?;
    Some(PathBuf::from(OsString::from_vec(path.into_bytes())))
}

/// Identifies the directory of a home, and so its ledger: by the birth time too, if the file system has one, because
/// the inode of a removed directory is soon reused.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct LedgerKey {
    pub(super) directory: DirectoryId,
    time: Option<(i64, u32)>,
}

impl LedgerKey {
    /// Returns an error if the file system fails. Treating that as an unknown time could give one directory two
    /// ledgers.
    fn of(root: impl AsFd, directory: DirectoryId) -> Result<Self, StoreError> {
        let found = match rustix::fs::statx(root, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME) {
            Err(errno) if !is_refusal(errno) => return Err(errno.into()),
            found => found.ok().filter(|found| found.stx_mask & StatxFlags::BTIME.bits() != 0),
        };
        Ok(Self { directory, time: found.map(|found| (found.stx_btime.tv_sec, found.stx_btime.tv_nsec)) })
    }
}
