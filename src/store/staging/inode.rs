//! The inode of an upload: made in the folder it is meant for, where the kernel gives it the group and
//! the access control list of a file created there, and without a name until it needs one. Where a
//! file system cannot do that, it is made in the staging folder instead.

use super::part_name;
use crate::store::StoreError;
use crate::store::access::{check_folder, check_replace, is_append_only};
use crate::store::attributes::{NEW_FILE, mode_for_replacement};
use crate::store::file_systems::is_refusal;
use crate::store::home::{Home, Target, UploadTarget};
use crate::store::open_file::OpenFile;
use crate::store::quota::{Reservation, Usage};
use crate::upload_id::UploadId;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
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
    /// In the folder it is meant for, under [`beside_name`]: the folder lies on a file system that makes no
    /// files without a name, and to which the staging folder cannot be renamed.
    Beside(File),
}

/// An inode for an upload to `target`, empty, and charged to `reservation`.
pub(super) fn create(
    home: &Home,
    id: &UploadId,
    target: &UploadTarget,
    reservation: &Reservation,
) -> Result<(OpenFile, Place), StoreError> {
    check_target(target)?;
    let mode = match target.there {
        Some(old) if FileType::from_raw_mode(old.st_mode).is_file() => mode_for_replacement(&old),
        _ => NEW_FILE,
    };
    let mode = Mode::from_raw_mode(mode);
    if let Some(file) = create_nameless(home, &target.at, mode)?
        && let Some(place) = place_nameless(home, id, &target.at, &file)?
    {
        match place {
            Place::Nameless => {
                file.is_charged_as(Usage { bytes: 0, files: 1 });
                reservation.take_nameless(0, 1);
            }
            Place::Staging { .. } | Place::Beside(_) => reservation.take(0, 1),
        }
        return Ok((file, place));
    }
    check_folder(&target.at.folder)?;
    let (place, file) = match create_part(home, id, &target.at, mode)? {
        Some((folder, file)) => (Place::Staging { folder, was_nameless: false }, file),
        None => (Place::Beside(target.at.folder.try_clone()?), create_beside(id, &target.at, mode)?),
    };
    let file = home.charge(file)?;
    reservation.take(0, 1);
    Ok((file, place))
}

/// Refuses if what is at `target` may not be replaced.
pub(super) fn check_target(target: &UploadTarget) -> Result<(), StoreError> {
    target.there.map_or(Ok(()), |old| check_replace(&target.at.folder, &target.at.name, &old))
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
            // Its identity is known from now on. Where it cannot be made, small files are stored all the same.
            let _ = home.staging(true);
            Ok(Some(home.charge(file)?))
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

/// Where such a file is for now; `None` if it can never have a name. The first of a file system gets
/// one at once, in the staging folder, where nothing that is left behind is seen.
fn place_nameless(home: &Home, id: &UploadId, target: &Target, file: &OpenFile) -> Result<Option<Place>, StoreError> {
    let (systems, device) = (&home.systems, file.id().0);
    if systems.takes_nameless(device).is_none() {
        match link_part(home, id, file) {
            Ok(folder) => {
                systems.note_nameless(device, true);
                return Ok(Some(Place::Staging { folder, was_nameless: true }));
            }
            // A name that is tried in an append-only folder would stay there.
            Err(StoreError::OtherFileSystem) if is_append_only(&target.folder, b"", AtFlags::EMPTY_PATH) => {}
            Err(StoreError::OtherFileSystem) => systems.note_nameless(device, can_be_named(&target.folder)),
            Err(error) if systems.takes_nameless(device).is_none() => return Err(error),
            Err(_) => {}
        }
    }
    Ok((systems.takes_nameless(device) == Some(true)).then_some(Place::Nameless))
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
    match rustix::fs::linkat(file, c"", &folder, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 that is a right which only root has.
        Err(Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, path, folder, name, AtFlags::SYMLINK_FOLLOW)
        }
        result => result,
    }
}

/// The same, remembering if the file system refuses it, so that the next upload does without.
pub(super) fn link_or_note(home: &Home, file: &OpenFile, folder: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let linked = link(file, folder, name);
    if linked.is_err_and(is_refusal) {
        home.systems.note_nameless(file.id().0, false);
    }
    linked
}

/// The name of an upload in the folder it is meant for, to which it cannot be moved from the staging folder.
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

/// A part in the staging folder, from which it can be renamed to `target`; `None` if that lies on another
/// file system.
fn create_part(
    home: &Home,
    id: &UploadId,
    target: &Target,
    mode: Mode,
) -> Result<Option<(Rc<OwnedFd>, File)>, StoreError> {
    let device = rustix::fs::fstat(&target.folder)?.st_dev;
    for _ in 0..2 {
        let staging = home.staging(true)?.ok_or(StoreError::NotFound)?;
        if rustix::fs::fstat(&*staging)?.st_dev != device {
            return Ok(None);
        }
        match rustix::fs::openat(&*staging, part_name(id), NEW_PART, mode) {
            Ok(fd) => return Ok(Some((staging, File::from(fd)))),
            // The folder was removed under us: make it again.
            Err(Errno::NOENT) => *home.staging.borrow_mut() = None,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(StoreError::NotFound)
}

/// A part in the folder of `target`. A server that is killed leaves it there.
fn create_beside(id: &UploadId, target: &Target, mode: Mode) -> Result<File, StoreError> {
    Ok(File::from(rustix::fs::openat(&target.folder, beside_name(id), NEW_PART, mode)?))
}

const NEW_PART: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Gives a file without a name that of a part, which outlives the server.
pub(super) fn link_part(home: &Home, id: &UploadId, file: &OpenFile) -> Result<Rc<OwnedFd>, StoreError> {
    for _ in 0..2 {
        let staging = home.staging(true)?.ok_or(StoreError::NotFound)?;
        match link_or_note(home, file, &staging, part_name(id).as_bytes()) {
            Ok(()) => return Ok(staging),
            Err(Errno::NOENT) => *home.staging.borrow_mut() = None,
            Err(Errno::XDEV) => return Err(StoreError::OtherFileSystem),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(StoreError::NotFound)
}
