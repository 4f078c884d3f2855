//! Creates the inode of an upload: without a name (`O_TMPFILE`) in the folder of its target, where the
//! kernel gives it the group and the access control list of a file created there. If the file system
//! cannot do that, the inode is created in the staging folder, with a name.

use crate::base::attributes::{NEW_FILE, PERMISSIONS, WantedMode, mode_for_replacement};
use crate::base::upload_id::UploadId;
use crate::store::StoreError;
use crate::store::access::{check_folder, check_replace, is_append_only};
use crate::store::file_systems::is_refusal;
use crate::store::home::{CommitTarget, Home, UploadTarget};
use crate::store::ledger::Reservation;
use crate::store::names::part_name;
use crate::store::open_file::OpenFile;
use crate::store::usage::Usage;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

/// What the server itself needs of an upload that is not whole.
pub(super) const PART_BITS: u32 = 0o600;

/// The place of an upload's inode.
pub(super) enum InodeLocation {
    /// It has no name.
    Nameless,
    /// It has a name in the staging folder. If it `was_nameless`, it was created in the folder of its target
    /// and has the attributes that this folder gives.
    Staging { folder: Rc<OwnedFd>, was_nameless: bool },
    /// It has the name [`beside_name`] in the folder of its target. The folder lies on another file system than
    /// the staging folder, and that file system has no files without a name.
    Beside(File),
}

/// Creates an empty inode for an upload to `target`, and takes it from `reservation`.
pub(super) fn create(
    home: &Home,
    id: &UploadId,
    target: &UploadTarget,
    wanted: Option<WantedMode>,
    reservation: &Reservation,
) -> Result<(OpenFile, InodeLocation), StoreError> {
    check_target(target)?;
    let mode = match (target.there, wanted) {
        (Some(old), _) if FileType::from_raw_mode(old.st_mode).is_file() => mode_for_replacement(&old),
        // A part must be readable and writable after a restart. The commit takes away what is too much.
        (_, Some(wanted)) => wanted.bits & PERMISSIONS | PART_BITS,
        (_, None) => NEW_FILE,
    };
    let mode = Mode::from_raw_mode(mode);
    if let Some(file) = create_nameless(home, &target.at, mode)?
        && let Some(place) = place_nameless(home, id, &target.at, &file)?
    {
        match place {
            InodeLocation::Nameless => {
                file.charge_as(Usage { bytes: 0, files: 1 });
                reservation.take_nameless(0, 1);
            }
            InodeLocation::Staging { .. } | InodeLocation::Beside(_) => reservation.take(0, 1),
        }
        return Ok((file, place));
    }
    check_folder(&target.at.folder)?;
    let (place, file) = match create_part(home, id, &target.at, mode)? {
        Some((folder, file)) => (InodeLocation::Staging { folder, was_nameless: false }, file),
        None => (InodeLocation::Beside(target.at.folder.try_clone()?), create_beside(id, &target.at, mode)?),
    };
    let file = home.charge(file)?;
    reservation.take(0, 1);
    Ok((file, place))
}

/// Refuses if the entry at `target` may not be replaced.
pub(super) fn check_target(target: &UploadTarget) -> Result<(), StoreError> {
    target.there.map_or(Ok(()), |old| check_replace(&target.at.folder, &target.at.name, &old))
}

// ---- Without a name -----------------------------------------------------------------------

/// Creates a file without a name in the folder of `target`. Returns `None` if that is not possible.
fn create_nameless(home: &Home, target: &CommitTarget, mode: Mode) -> Result<Option<OpenFile>, StoreError> {
    let systems = &home.systems;
    let device = || Ok::<u64, StoreError>(rustix::fs::fstat(&target.folder)?.st_dev);
    if systems.any_refuses_nameless() && systems.takes_nameless(device()?) == Some(false) {
        return Ok(None);
    }
    match open_nameless(&target.folder, mode) {
        Ok(file) => {
            // Requests are checked against the identity of the staging folder, so it is made now. If it cannot be
            // made, small files are still stored.
            let _ = home.staging(true);
            Ok(Some(home.charge(file)?))
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS | Errno::NOTTY) => {
            systems.note_nameless(device()?, false);
            Ok(None)
        }
        // The folder refuses, by its mode or because it is immutable, or the file system does.
        Err(Errno::ACCESS | Errno::PERM) => {
            check_folder(&target.folder)?;
            systems.note_nameless(device()?, false);
            Ok(None)
        }
        // The kernel does not know the flag, or the folder was removed.
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn open_nameless(folder: impl AsFd, mode: Mode) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::openat(folder, c".", flags, mode).map(File::from)
}

/// Chooses the location of a file without a name. Returns `None` if it can never get one. The first
/// file on a file system gets its name at once, as a test: in the staging folder, where a leftover is
/// invisible to users.
fn place_nameless(
    home: &Home,
    id: &UploadId,
    target: &CommitTarget,
    file: &OpenFile,
) -> Result<Option<InodeLocation>, StoreError> {
    let (systems, device) = (&home.systems, file.id().0);
    if systems.takes_nameless(device).is_none() {
        match link_part(home, id, file) {
            Ok(folder) => {
                systems.note_nameless(device, true);
                return Ok(Some(InodeLocation::Staging { folder, was_nameless: true }));
            }
            // In an append-only folder the name of the test could not be removed.
            Err(StoreError::OtherFileSystem) if is_append_only(&target.folder, b"", AtFlags::EMPTY_PATH) => {}
            Err(StoreError::OtherFileSystem) => systems.note_nameless(device, can_be_named(&target.folder)),
            Err(error) if systems.takes_nameless(device).is_none() => return Err(error),
            Err(_) => {}
        }
    }
    Ok((systems.takes_nameless(device) == Some(true)).then_some(InodeLocation::Nameless))
}

/// Returns whether a file without a name can get one in `folder`. Tests it with another file, because a
/// file that has lost its last name cannot get a new one.
fn can_be_named(folder: &File) -> bool {
    let Ok(id) = UploadId::random() else { return false };
    let name = beside_name(&id);
    let named = open_nameless(folder, Mode::RUSR | Mode::WUSR).and_then(|file| link(&file, folder, name.as_bytes()));
    if named.is_ok() {
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
    named.is_ok()
}

/// Gives `name` in `folder` to a file without a name. Fails if the name is taken.
pub(super) fn link(file: &File, folder: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::linkat(file, c"", &folder, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 only root may link a descriptor directly.
        Err(Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, path, folder, name, AtFlags::SYMLINK_FOLLOW)
        }
        result => result,
    }
}

/// Like [`link`]. A refusal is remembered, so that the next upload is created in the staging folder.
pub(super) fn link_or_note(home: &Home, file: &OpenFile, folder: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let linked = link(file, &folder, name);
    // The file system is not at fault if the folder is immutable.
    if linked.is_err_and(is_refusal) && check_folder(folder).is_ok() {
        home.systems.note_nameless(file.id().0, false);
    }
    linked
}

/// The temporary name of an upload in the folder of its target, where the staging folder lies on another
/// file system.
pub(super) fn beside_name(id: &UploadId) -> String {
    format!(".berth-{id}.part")
}

/// Replaces `target` with a file without a name, by a temporary name in the same folder. This is for a
/// folder on another file system than the staging folder.
pub(super) fn replace_from_beside(file: &File, id: &UploadId, target: &CommitTarget) -> Result<(), Errno> {
    let beside = beside_name(id);
    link(file, &target.folder, beside.as_bytes())?;
    let renamed = rustix::fs::renameat(&target.folder, beside.as_str(), &target.folder, target.name.as_slice());
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(&target.folder, beside, AtFlags::empty());
    }
    renamed
}

// ---- With a name --------------------------------------------------------------------------

/// Creates a part in the staging folder. Returns `None` if it could not be renamed to `target` from there,
/// because that lies on another file system.
fn create_part(
    home: &Home,
    id: &UploadId,
    target: &CommitTarget,
    mode: Mode,
) -> Result<Option<(Rc<OwnedFd>, File)>, StoreError> {
    let device = rustix::fs::fstat(&target.folder)?.st_dev;
    for _ in 0..2 {
        let staging = home.staging(true)?.ok_or(StoreError::NotFound)?;
        if home.staging_id()?.is_some_and(|(there, _)| there != device) {
            return Ok(None);
        }
        match rustix::fs::openat(&*staging, part_name(id), NEW_PART, mode) {
            Ok(fd) => return Ok(Some((staging, File::from(fd)))),
            // Another program has removed the folder; it is made again.
            Err(Errno::NOENT) => *home.staging.borrow_mut() = None,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(StoreError::NotFound)
}

/// Creates a part in the folder of `target`. A server that is killed leaves it there.
fn create_beside(id: &UploadId, target: &CommitTarget, mode: Mode) -> Result<File, StoreError> {
    Ok(File::from(rustix::fs::openat(&target.folder, beside_name(id), NEW_PART, mode)?))
}

const NEW_PART: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Gives a file without a name the name of a part in the staging folder, so that it outlives the server.
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
