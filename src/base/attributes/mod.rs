//! Attributes of a file: owner, group, permission bits, access control list, extended attributes. A file
//! that replaces another gets the attributes of the old one. A new file gets the group and the default list
//! of its directory, and the permission bits of its source without those that the umask removes. Attributes
//! that a file system refuses are left out, but a replacement never gives access to a user who could not
//! read the old file.

pub mod acl;
mod extended;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::base::refusals::{self, OptionalOperation};
use acl::{Acl, Preserved};
use extended::Attributes;

/// Permission bits of a new file, before the umask or the default list of its directory removes some.
pub const NEW_FILE: u32 = 0o666;
/// Permission bits of a new directory, before the umask or the default list of its parent removes some.
pub const NEW_DIRECTORY: u32 = 0o777;
/// The umask of the server: bits that new files and directories do not get, except by a default list.
pub const UMASK: u32 = 0o022;
/// The bits that a replaced file keeps and that a source can set. The kernel clears the others when an
/// ordinary user writes to a file.
pub const PERMISSIONS: u32 = 0o777;
/// Without this bit the owner of a file could not read it again.
pub const FILE_BITS_MIN: u32 = 0o400;
/// Without these bits the owner of a directory could neither list nor fill it.
pub const DIRECTORY_BITS_MIN: u32 = 0o700;

/// Permission bits that a client requests for an uploaded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedMode {
    /// The permission bits of the source.
    pub bits: u32,
    /// A replaced file gets them too, instead of keeping its own.
    pub applies_to_replaced_file: bool,
}

/// A new file whose attributes are being set.
pub struct NewFile<'a> {
    /// The file.
    pub file: &'a File,
    /// Called for each operation that the file system refuses, with the number of its device.
    pub on_refusal: &'a dyn Fn(OptionalOperation, u64, Errno),
}

/// Returns the permission bits to create the replacement of `old` with: those of `old`, and read and write
/// for the server's user.
pub fn mode_for_replacement(old: &Stat) -> u32 {
    (old.st_mode & PERMISSIONS) | 0o600
}

/// Returns which of `bits` a new entry gets in a directory with this default list. Without a list `mask`
/// decides.
pub fn mode_of_new(bits: u32, mask: u32, default: Option<Acl>) -> u32 {
    match default {
        Some(mut list) => {
            list.mask(bits);
            list.mode()
        }
        None => bits & PERMISSIONS & !mask,
    }
}

/// Returns which of the `requested` permission bits an entry gets: those that it has already (`current`) or
/// that a new entry of its directory would get (`of_new`). The group's bits are the mask of an access control
/// list, so an entry with a list (`has_acl`) loses group bits but gains none.
pub fn mode_for_change(requested: u32, current: u32, of_new: u32, has_acl: bool) -> u32 {
    let mode = requested & PERMISSIONS & (of_new | current);
    if has_acl { mode & (current | !0o070) } else { mode }
}

/// Returns the default list of the directory at `path`.
pub fn default_list(path: &[u8]) -> Result<Option<Acl>, Errno> {
    Ok(extended::read_following_links(path, acl::DEFAULT)?.and_then(|bytes| Acl::parse(&bytes)))
}

/// Returns whether an entry has an access control list besides its permission bits.
pub fn has_access_list(entry: impl AsFd) -> bool {
    rustix::fs::fgetxattr(entry, acl::ACCESS, &mut [0; 0][..]).is_ok_and(|bytes| bytes > 0)
}

impl NewFile<'_> {
    /// Copies all attributes from `old`, the file at `path`, without opening it.
    pub fn copy_attributes_of(&self, path: Vec<u8>, old: &Stat) -> Result<(), Errno> {
        let new = rustix::fs::fstat(self.file)?;
        let preserved = self.apply_owner(&new, old)?;
        let old_attributes = Attributes::of_entry(path)?;
        let mut acl = old_attributes.get(acl::ACCESS)?.and_then(|bytes| Acl::parse(&bytes));
        if let Some(acl) = &mut acl {
            acl.restrict(preserved);
        }
        if !self.apply_acl(acl.as_ref())? {
            let mode = acl.as_ref().map_or_else(|| restricted(old.st_mode & PERMISSIONS, preserved), Acl::mode_without);
            self.apply_mode(mode)?;
        }
        for name in old_attributes.names() {
            if let Some(value) = old_attributes.get(name)? {
                self.tolerate(OptionalOperation::SetAttribute, new.st_dev, extended::set(self.file, name, &value))?;
            }
        }
        Ok(())
    }

    /// Gives the new file the group and the access control list of a file created in `directory` with `bits`.
    pub fn inherit(&self, directory: BorrowedFd<'_>, bits: u32) -> Result<(), Errno> {
        let (above, new) = (rustix::fs::fstat(directory)?, rustix::fs::fstat(self.file)?);
        if Mode::from_raw_mode(above.st_mode).contains(Mode::SGID) && above.st_gid != new.st_gid {
            let owner = rustix::fs::fchown(self.file, None, Some(Gid::from_raw(above.st_gid)));
            self.tolerate(OptionalOperation::SetOwner, new.st_dev, owner)?;
        }
        self.apply_default_acl(default_list(&path_of(directory, b"."))?, bits)
    }

    /// Gives the new file the access control list that a directory with this default list gives to a file
    /// created with `bits`. Without a default list the permission bits stay as they are.
    pub fn apply_default_acl(&self, default: Option<Acl>, bits: u32) -> Result<(), Errno> {
        let Some(mut acl) = default else { return self.apply_acl(None).map(drop) };
        acl.mask(bits);
        if !self.apply_acl(Some(&acl))? {
            self.apply_mode(acl.mode_without())?;
        }
        Ok(())
    }

    /// Sets the permission bits. A file system may refuse that; the bits stay as they are then.
    pub fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        match rustix::fs::fchmod(self.file, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(()),
            refused => self.tolerate(OptionalOperation::SetMode, rustix::fs::fstat(self.file)?.st_dev, refused),
        }
    }

    /// Gives the file the owner and group of `old` as far as the program's user may do that.
    fn apply_owner(&self, new: &Stat, old: &Stat) -> Result<Preserved, Errno> {
        let owner = (new.st_uid != old.st_uid).then(|| Uid::from_raw(old.st_uid));
        let group = (new.st_gid != old.st_gid).then(|| Gid::from_raw(old.st_gid));
        if owner.is_none() && group.is_none() {
            return Ok(Preserved { owner: true, group: true });
        }
        let mut preserved = Preserved { owner: owner.is_none(), group: group.is_none() };
        let mut result = rustix::fs::fchown(self.file, owner, group);
        if result.is_ok() {
            return Ok(Preserved { owner: true, group: true });
        }
        // An ordinary user may give a file to a group that it is in, but to nobody else.
        if owner.is_some() && group.is_some() {
            preserved.group = rustix::fs::fchown(self.file, None, group).is_ok();
        }
        // The program's user may not do this on any file system, so there is nothing to warn about.
        if !rustix::process::geteuid().is_root() && result == Err(Errno::PERM) {
            result = Ok(());
        }
        self.tolerate(OptionalOperation::SetOwner, new.st_dev, result)?;
        Ok(preserved)
    }

    /// Sets or removes the access control list. Returns whether a list was set. That also sets the permission
    /// bits.
    fn apply_acl(&self, acl: Option<&Acl>) -> Result<bool, Errno> {
        let result = match acl {
            Some(acl) => extended::set(self.file, acl::ACCESS, &acl.to_bytes()),
            None => return extended::remove(self.file, acl::ACCESS).map(|()| false),
        };
        let is_set = result.is_ok();
        self.tolerate(OptionalOperation::SetAcl, rustix::fs::fstat(self.file)?.st_dev, result)?;
        Ok(is_set)
    }

    fn apply_mode(&self, mode: u32) -> Result<(), Errno> {
        let new = rustix::fs::fstat(self.file)?;
        if new.st_mode & 0o7777 == mode {
            return Ok(());
        }
        let result = rustix::fs::fchmod(self.file, Mode::from_raw_mode(mode));
        let opens_more = new.st_mode & !mode & 0o077 != 0;
        if opens_more && result.is_err_and(refusals::is_refusal) {
            return Err(Errno::ACCESS);
        }
        self.tolerate(OptionalOperation::SetMode, new.st_dev, result)
    }

    fn tolerate(&self, operation: OptionalOperation, device: u64, result: Result<(), Errno>) -> Result<(), Errno> {
        match result {
            Err(errno) if refusals::is_refusal(errno) => {
                (self.on_refusal)(operation, device, errno);
                Ok(())
            }
            result => result,
        }
    }
}

/// Returns permission bits for a file that could not keep its owner or group. Members of the old group now count
/// as others, and members of the new group counted as others before. Neither gains a permission.
fn restricted(mode: u32, preserved: Preserved) -> u32 {
    let (mut owner, mut group, mut other) = (mode >> 6 & 7, mode >> 3 & 7, mode & 7);
    if !preserved.group {
        (group, other) = (group & other, group & other);
    }
    if !preserved.owner {
        // The owner is now the program's user, which must read and write the file.
        owner |= 6;
    }
    owner << 6 | group << 3 | other
}

/// Sets the modification time of an open file or directory, in nanoseconds since the epoch. Sets the access
/// time as well, because some file systems (libfuse 2) ignore a call that sets only one of the two.
pub fn set_mtime(entry: impl AsFd, mtime_ns: i64) -> Result<(), Errno> {
    let time =
        Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) as _ };
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW as _ };
    rustix::fs::futimens(entry, &Timestamps { last_access: now, last_modification: time })
}

/// Returns a path to an entry of an open directory, for system calls that take no descriptor.
pub fn path_of(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_lost_group_nor_the_new_one_gains_a_permission() {
        for (mode, expected) in [(0o640, 0o600), (0o644, 0o644), (0o664, 0o644), (0o604, 0o600), (0o666, 0o666)] {
            let restricted = restricted(mode, Preserved { owner: true, group: false });
            assert_eq!(restricted, expected, "{mode:o} became {restricted:o}");
        }
        assert_eq!(restricted(0o460, Preserved { owner: false, group: true }), 0o660);
        assert_eq!(restricted(0o640, Preserved { owner: true, group: true }), 0o640);
    }

    #[test]
    fn a_change_gives_what_a_new_file_would_get_and_leaves_what_was_there() {
        for (bits, now, has_list, expected) in [
            (0o755, 0o644, false, 0o755),
            (0o775, 0o644, false, 0o755),
            (0o775, 0o664, false, 0o775),
            (0o600, 0o644, false, 0o600),
            (0o4777, 0o644, false, 0o755),
            (0o755, 0o604, true, 0o705),
        ] {
            let mode = mode_for_change(bits, now, mode_of_new(bits, UMASK, None), has_list);
            assert_eq!(mode, expected, "{bits:o} of {now:o} is {mode:o}");
        }
    }
}
