//! Creates the inode of an upload: without a name (`O_TMPFILE`) in the directory of its target, where the
//! kernel gives it the group and the access control list of a file created there. If the file system
//! cannot do that, the inode is created in the staging directory, with a name.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::link::{link, link_part, temporary_name};
use super::part::PartLocation;
use crate::base::attributes::{NEW_FILE, PERMISSIONS, RequestedMode, mode_for_replacement};
use crate::base::upload_id::UploadId;
use crate::store::StoreError;
use crate::store::access::{check_directory, check_replace, is_append_only};
use crate::store::home::{CommitTarget, HomeDirectory, UploadTarget, check_disk};
use crate::store::meta::{Meta, meta_of};
use crate::store::names::part_name;

/// The permission bits that the server needs to resume an incomplete upload.
pub(super) const PART_BITS: u32 = 0o600;

/// An empty file that was created for an upload.
pub(super) struct NewPart {
    pub(super) file: File,
    pub(super) meta: Meta,
    pub(super) location: PartLocation,
}

/// Creates an empty file for an upload of `promised` bytes to `target`.
pub(super) fn create(
    home: &HomeDirectory,
    id: &UploadId,
    target: &UploadTarget,
    wanted: Option<RequestedMode>,
    promised: u64,
) -> Result<NewPart, StoreError> {
    check_disk(promised, &target.at.directory)?;
    check_target(target)?;
    let mode = match (target.there, wanted) {
        (Some(old), _) if FileType::from_raw_mode(old.st_mode).is_file() => mode_for_replacement(&old),
        // A part must be readable and writable after a restart. The commit removes the additional bits.
        (_, Some(wanted)) => wanted.bits & PERMISSIONS | PART_BITS,
        (_, None) => NEW_FILE,
    };
    let mode = Mode::from_raw_mode(mode);
    if let Some(file) = create_nameless(home, &target.at, mode)? {
        let meta = meta_of(&file)?;
        if let Some(location) = choose_location(home, id, &target.at, &file, meta.identity.dev)? {
            return Ok(NewPart { file, meta, location });
        }
    }
    check_directory(&target.at.directory)?;
    let (location, file) = match create_part(home, id, &target.at, mode)? {
        Some((directory, file)) => (PartLocation::Staging { directory, was_nameless: false }, file),
        None => {
            let directory = Arc::new(target.at.directory.try_clone()?);
            (PartLocation::TemporaryInTarget(directory), create_temporary(id, &target.at, mode)?)
        }
    };
    let meta = meta_of(&file)?;
    Ok(NewPart { file, meta, location })
}

/// Refuses if the entry at `target` may not be replaced.
pub(super) fn check_target(target: &UploadTarget) -> Result<(), StoreError> {
    target.there.map_or(Ok(()), |old| check_replace(&target.at.directory, &target.at.name, &old))
}

// ---- Without a name -----------------------------------------------------------------------

/// Creates a file without a name in the directory of `target`. Returns `None` if that is not possible.
fn create_nameless(home: &HomeDirectory, target: &CommitTarget, mode: Mode) -> Result<Option<File>, StoreError> {
    let support = &home.support;
    let device = || Ok::<u64, StoreError>(rustix::fs::fstat(&target.directory)?.st_dev);
    if support.any_refuses_nameless() && support.takes_nameless(device()?) == Some(false) {
        return Ok(None);
    }
    match open_nameless(&target.directory, mode) {
        Ok(file) => {
            // Requests are checked against the identity of the staging directory, so it is made now. If it cannot be
            // made, small files are still stored.
            let _ = home.staging(true);
            Ok(Some(file))
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS | Errno::NOTTY) => {
            support.record_nameless_support(device()?, false);
            Ok(None)
        }
        // The directory refuses, by its mode or because it is immutable, or the file system does.
        Err(Errno::ACCESS | Errno::PERM) => {
            check_directory(&target.directory)?;
            support.record_nameless_support(device()?, false);
            Ok(None)
        }
        // The kernel does not know the flag, or the directory was removed.
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn open_nameless(directory: impl AsFd, mode: Mode) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::openat(directory, c".", flags, mode).map(File::from)
}

/// Chooses the location of a file without a name. Returns `None` if it can never get one. The first
/// file on a file system gets its name at once, as a test: in the staging directory, where a leftover is
/// invisible to users.
fn choose_location(
    home: &HomeDirectory,
    id: &UploadId,
    target: &CommitTarget,
    file: &File,
    device: u64,
) -> Result<Option<PartLocation>, StoreError> {
    let support = &home.support;
    if support.takes_nameless(device).is_none() {
        match link_part(home, id, file) {
            Ok(directory) => {
                support.record_nameless_support(device, true);
                return Ok(Some(PartLocation::Staging { directory, was_nameless: true }));
            }
            // In an append-only directory the name of the test could not be removed.
            Err(StoreError::OtherFileSystem) if is_append_only(&target.directory, b"", AtFlags::EMPTY_PATH) => {}
            Err(StoreError::OtherFileSystem) => {
                support.record_nameless_support(device, can_be_named(&target.directory))
            }
            Err(error) if support.takes_nameless(device).is_none() => return Err(error),
            Err(_) => {}
        }
    }
    Ok((support.takes_nameless(device) == Some(true)).then_some(PartLocation::Nameless))
}

/// Returns whether a file without a name can get one in `directory`. Tests it with another file, because a
/// file that has lost its last name cannot get a new one.
fn can_be_named(directory: &File) -> bool {
    let Ok(id) = UploadId::random() else { return false };
    let name = temporary_name(&id);
    let named =
        open_nameless(directory, Mode::RUSR | Mode::WUSR).and_then(|file| link(&file, directory, name.as_bytes()));
    if named.is_ok() {
        let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
    }
    named.is_ok()
}

// ---- With a name --------------------------------------------------------------------------

/// Creates a part in the staging directory. Returns `None` if `target` lies on another file system, to which
/// the part could not be renamed.
fn create_part(
    home: &HomeDirectory,
    id: &UploadId,
    target: &CommitTarget,
    mode: Mode,
) -> Result<Option<(Arc<OwnedFd>, File)>, StoreError> {
    let device = rustix::fs::fstat(&target.directory)?.st_dev;
    for _ in 0..2 {
        let staging = home.staging(true)?.ok_or(StoreError::NotFound)?;
        if home.staging_id()?.is_some_and(|(there, _)| there != device) {
            return Ok(None);
        }
        match rustix::fs::openat(&*staging, part_name(id), NEW_PART, mode) {
            Ok(fd) => return Ok(Some((staging, File::from(fd)))),
            // Another program has removed the directory; it is made again.
            Err(Errno::NOENT) => *home.open_staging() = None,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(StoreError::NotFound)
}

/// Creates a file with a temporary name in the directory of `target`. A server that is killed leaves it there.
fn create_temporary(id: &UploadId, target: &CommitTarget, mode: Mode) -> Result<File, StoreError> {
    Ok(File::from(rustix::fs::openat(&target.directory, temporary_name(id), NEW_PART, mode)?))
}

const NEW_PART: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
