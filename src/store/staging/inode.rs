//! The inode of an upload: made in the folder it is meant for, where the kernel gives it the group and
//! the access control list of a file created there, and without a name until it needs one. Where a
//! file system cannot do that, it is made in the staging folder instead.

use super::{part_name, remove};
use crate::store::StoreError;
use crate::store::access::{check_folder, check_replace, is_append_only};
use crate::store::attributes::{NEW_FILE, mode_for_replacement};
use crate::store::home::{Home, Target};
use crate::store::meta::meta_of;
use crate::store::open_file::OpenFile;
use crate::store::quota::{Reservation, Usage};
use crate::upload_id::UploadId;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

/// Where the bytes of an upload can be found.
pub(super) enum Place {
    /// Nowhere: the inode has no name.
    Nameless,
    /// In the staging folder. Made in its own folder first, the inode has what that gives.
    Staging { folder: Rc<OwnedFd>, was_nameless: bool },
}

/// An inode for an upload to `target`, empty, and charged to `reservation`.
pub(super) fn create(
    home: &Home,
    id: &UploadId,
    target: &Target,
    reservation: &Reservation,
) -> Result<(OpenFile, Place), StoreError> {
    let mode = match check_target(target)? {
        Some(old) if FileType::from_raw_mode(old.st_mode).is_file() => mode_for_replacement(&old),
        _ => NEW_FILE,
    };
    let mode = Mode::from_raw_mode(mode);
    if let Some(file) = create_nameless(home, target, mode)? {
        file.is_charged_as(Usage { bytes: 0, files: 1 });
        reservation.take_nameless(0, 1);
        return Ok((file, Place::Nameless));
    }
    let (folder, file) = create_part(home, id, target, mode)?;
    let file = home.charge(file)?;
    reservation.take(0, 1);
    Ok((file, Place::Staging { folder, was_nameless: false }))
}

/// What is at `target`; refuses if it may not be replaced.
pub(super) fn check_target(target: &Target) -> Result<Option<Stat>, StoreError> {
    match rustix::fs::statat(&target.folder, target.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(old) => check_replace(&target.folder, &target.name, &old).map(|()| Some(old)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

// ---- Without a name -----------------------------------------------------------------------

/// A file without a name in the folder of `target`; `None` where that cannot be.
fn create_nameless(home: &Home, target: &Target, mode: Mode) -> Result<Option<OpenFile>, StoreError> {
    let systems = &home.systems;
    let device = || Ok::<u64, StoreError>(rustix::fs::fstat(&target.folder)?.st_dev);
    if systems.any_refuses_nameless() && systems.takes_nameless(device()?) == Some(false) {
        return Ok(None);
    }
    match open_nameless(&target.folder, mode) {
        Ok(file) => {
            let file = home.charge(file)?;
            let device = file.id().0;
            // A name that is tried in an append-only folder would stay there.
            let may_try = systems.takes_nameless(device).is_none();
            if may_try && !is_append_only(&target.folder, b"", AtFlags::EMPTY_PATH) {
                systems.note_nameless(device, can_be_named(&target.folder));
            }
            Ok((systems.takes_nameless(device) == Some(true)).then_some(file))
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::NOTTY) => {
            systems.note_nameless(device()?, false);
            Ok(None)
        }
        Err(Errno::ACCESS) => {
            check_folder(&target.folder)?;
            systems.note_nameless(device()?, false);
            Ok(None)
        }
        // Of a kernel that does not know the flag, as of a folder that was removed.
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn open_nameless(folder: impl AsFd, mode: Mode) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::openat(folder, c".", flags, mode).map(File::from)
}

/// Whether a file without a name can be given one here. Tried on another file: once its name is gone
/// again, a file gets no more.
fn can_be_named(folder: &File) -> bool {
    let Ok(id) = UploadId::random() else { return false };
    let name = beside_name(&id);
    let named = open_nameless(folder, Mode::RUSR | Mode::WUSR).and_then(|file| link(&file, folder, name.as_bytes()));
    if named.is_ok() {
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
    named.is_ok()
}

/// Gives a file without a name this one, which must be free.
pub(super) fn link(file: &File, folder: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, path, &folder, name, AtFlags::SYMLINK_FOLLOW) {
        // Where /proc is not mounted; the kernel knows since Linux 6.10 whose file it is.
        Err(Errno::NOENT) => rustix::fs::linkat(file, c"", folder, name, AtFlags::EMPTY_PATH),
        result => result,
    }
}

/// The name of an upload that has to replace a file, but cannot be moved there from the staging folder.
pub(super) fn beside_name(id: &UploadId) -> String {
    format!(".berth-{id}.part")
}

/// Puts a file without a name in the place of `target`, in a folder that the staging folder cannot be
/// renamed to.
pub(super) fn replace_from_beside(file: &File, id: &UploadId, target: &Target) -> Result<(), Errno> {
    let beside = beside_name(id);
    link(file, &target.folder, beside.as_bytes())?;
    let renamed = rustix::fs::renameat(&target.folder, beside.as_str(), &target.folder, target.name.as_slice());
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(&target.folder, beside, AtFlags::empty());
    }
    renamed
}

// ---- With one -----------------------------------------------------------------------------

/// A part in the staging folder, from which it can be renamed to `target`.
fn create_part(home: &Home, id: &UploadId, target: &Target, mode: Mode) -> Result<(Rc<OwnedFd>, File), StoreError> {
    check_folder(&target.folder)?;
    let device = rustix::fs::fstat(&target.folder)?.st_dev;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..2 {
        let staging = home.staging(true)?.ok_or(StoreError::NotFound)?;
        match rustix::fs::openat(&*staging, part_name(id), flags, mode) {
            Ok(fd) => {
                let file = File::from(fd);
                if meta_of(&file)?.identity.dev != device {
                    remove(&staging, &part_name(id));
                    return Err(StoreError::OtherFileSystem);
                }
                return Ok((staging, file));
            }
            // The folder was removed under us: make it again.
            Err(Errno::NOENT) => *home.staging.borrow_mut() = None,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(StoreError::NotFound)
}

/// Gives a file without a name that of a part, which outlives the server.
pub(super) fn link_part(home: &Home, id: &UploadId, file: &File) -> Result<Rc<OwnedFd>, StoreError> {
    for _ in 0..2 {
        let staging = home.staging(true)?.ok_or(StoreError::NotFound)?;
        match link(file, &staging, part_name(id).as_bytes()) {
            Ok(()) => return Ok(staging),
            Err(Errno::NOENT) => *home.staging.borrow_mut() = None,
            Err(Errno::XDEV) => return Err(StoreError::OtherFileSystem),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(StoreError::NotFound)
}
