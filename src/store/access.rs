//! Checks whether the server's user may change an entry, before bytes are accepted for it. Nothing is
//! opened for that: programs that watch the file would notice, and a running program cannot be opened
//! for writing.

use super::StoreError;
use rustix::fs::{Access, AtFlags, FileType, Mode, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// Refuses if no entry can be created in `folder`.
pub(super) fn check_folder(folder: impl AsFd) -> Result<(), StoreError> {
    check(folder, b".", Access::WRITE_OK | Access::EXEC_OK)
}

/// Refuses if the kernel would not let the server's user replace the entry `name`, whose metadata is
/// `found`, or write to it if it is a regular file.
pub(super) fn check_replace(folder: impl AsFd, name: &[u8], found: &Stat) -> Result<(), StoreError> {
    check_folder(&folder)?;
    let above = rustix::fs::fstat(&folder)?;
    let user = rustix::process::geteuid();
    let is_owner = |stat: &Stat| stat.st_uid == user.as_raw();
    let is_sticky = Mode::from_raw_mode(above.st_mode).contains(Mode::SVTX);
    if is_sticky && !user.is_root() && !is_owner(found) && !is_owner(&above) {
        return Err(StoreError::Denied);
    }
    // Neither an append-only entry nor one in an append-only folder can be replaced, even by root.
    if is_append_only(&folder, b"", AtFlags::EMPTY_PATH) || is_append_only(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        return Err(StoreError::Denied);
    }
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => check(folder, name, Access::WRITE_OK),
        _ => Ok(()),
    }
}

/// Returns whether the entry is append-only (`chattr +a`). An append-only folder never loses a name.
pub(super) fn is_append_only(folder: impl AsFd, name: &[u8], flags: AtFlags) -> bool {
    rustix::fs::statx(folder, name, flags, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::APPEND))
}

fn check(folder: impl AsFd, name: &[u8], access: Access) -> Result<(), StoreError> {
    match rustix::fs::accessat(folder, name, access, AtFlags::EACCESS) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Err(StoreError::Denied),
        // Other failures say nothing about permissions. The change itself reports them.
        _ => Ok(()),
    }
}
