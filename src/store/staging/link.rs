//! Gives names to the files of uploads.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use crate::base::refusals::is_refusal;
use crate::base::upload_id::UploadId;
use crate::store::StoreError;
use crate::store::access::check_directory;
use crate::store::home::{CommitTarget, HomeDirectory};
use crate::store::names::part_name;

/// Gives `name` in `directory` to a file without a name. Fails if the name is taken.
pub(super) fn link(file: &File, directory: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::linkat(file, c"", &directory, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 only root may link a descriptor directly.
        Err(Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, path, directory, name, AtFlags::SYMLINK_FOLLOW)
        }
        result => result,
    }
}

/// Like [`link`]. A refusal is remembered, so that the next upload is created in the staging directory.
pub(super) fn link_or_record_refusal(
    home: &HomeDirectory,
    file: &File,
    directory: impl AsFd,
    name: &[u8],
) -> Result<(), Errno> {
    let linked = link(file, &directory, name);
    // The file system is not at fault if the directory is immutable.
    if linked.is_err_and(is_refusal) && check_directory(directory).is_ok() {
        home.support.record_nameless_support(rustix::fs::fstat(file)?.st_dev, false);
    }
    linked
}

/// The temporary name of an upload in the directory of its target, where the staging directory lies on another
/// file system.
pub(super) fn temporary_name(id: &UploadId) -> String {
    format!(".berth-{id}.part")
}

/// Replaces `target` with a file without a name, by a temporary name in the same directory. This is for a
/// directory on another file system than the staging directory.
pub(super) fn replace_with_temporary(file: &File, id: &UploadId, target: &CommitTarget) -> Result<(), Errno> {
    let temporary = temporary_name(id);
    link(file, &target.directory, temporary.as_bytes())?;
    let renamed =
        rustix::fs::renameat(&target.directory, temporary.as_str(), &target.directory, target.name.as_slice());
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(&target.directory, temporary, AtFlags::empty());
    }
    renamed
}

/// Gives a file without a name the name of a part in the staging directory, so that it outlives the server.
pub(super) fn link_part(home: &HomeDirectory, id: &UploadId, file: &File) -> Result<Arc<OwnedFd>, StoreError> {
    for _ in 0..2 {
        let staging = home.staging(true)?.ok_or(StoreError::NotFound)?;
        match link_or_record_refusal(home, file, &staging, part_name(id).as_bytes()) {
            Ok(()) => return Ok(staging),
            Err(Errno::NOENT) => *home.open_staging() = None,
            Err(Errno::XDEV) => return Err(StoreError::OtherFileSystem),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(StoreError::NotFound)
}
