//! Checks whether the server's user may change an entry, before bytes are accepted for it. Nothing is
//! opened for that: programs that watch the file would notice, and a running program cannot be opened
//! for writing.

use std::os::fd::AsFd;

use rustix::fs::{Access, AtFlags, FileType, Mode, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::StoreError;

/// Refuses if no entry can be created in `directory`.
pub(super) fn check_directory(directory: impl AsFd) -> Result<(), StoreError> {
    check(directory, b".", Access::WRITE_OK | Access::EXEC_OK)
}

/// Refuses if the kernel would not let the server's user replace the entry `name`, whose metadata is
/// `found`, or write to it if it is a regular file.
pub(super) fn check_replace(directory: impl AsFd, name: &[u8], found: &Stat) -> Result<(), StoreError> {
    check_directory(&directory)?;
    let above = rustix::fs::fstat(&directory)?;
    let user = rustix::process::geteuid();
    let is_owner = |stat: &Stat| stat.st_uid == user.as_raw();
    let is_sticky = Mode::from_raw_mode(above.st_mode).contains(Mode::SVTX);
    if is_sticky && !user.is_root() && !is_owner(found) && !is_owner(&above) {
        return Err(StoreError::Denied);
    }
    // Neither an append-only entry nor one in an append-only directory can be replaced, even by root.
    if is_append_only(&directory, b"", AtFlags::EMPTY_PATH)
        || is_append_only(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
    {
        return Err(StoreError::Denied);
    }
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => check(directory, name, Access::WRITE_OK),
        _ => Ok(()),
    }
}

/// Returns whether the entry is append-only (`chattr +a`). An append-only directory never loses a name.
pub(super) fn is_append_only(directory: impl AsFd, name: &[u8], flags: AtFlags) -> bool {
    rustix::fs::statx(directory, name, flags, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::APPEND))
}

fn check(directory: impl AsFd, name: &[u8], access: Access) -> Result<(), StoreError> {
    match rustix::fs::accessat(directory, name, access, AtFlags::EACCESS) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Err(StoreError::Denied),
        // Other failures say nothing about permissions. The change itself reports them.
        _ => Ok(()),
    }
}
