//! Attributes of a file: owner, group, permission bits, access control list, extended attributes. A
//! file that replaces another takes them over. A file that was created in the staging folder gets the
//! attributes of a file created in its target folder. Attributes that a file system refuses are left
//! out, but never so that a user who could not read the old file can read the new one.

pub(super) mod acl;
mod extended;

use super::StoreError;
use super::file_systems::{FileSystems, Operation, is_refusal};
use acl::Acl;
use extended::Attributes;
use rustix::fs::{Gid, Mode, Stat, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Permission bits of a new file. The umask or the folder's default list clears some.
pub(super) const NEW_FILE: u32 = 0o666;
/// Permission bits of a new folder. The umask or the default list clears some.
pub(super) const NEW_FOLDER: u32 = 0o777;
/// Bits that a replaced file keeps. The kernel clears the others when an ordinary user writes to it.
const KEPT: u32 = 0o777;

/// A new file, the known limits of file systems, and the home for warnings.
pub(super) struct NewFile<'a> {
    pub(super) file: &'a File,
    pub(super) systems: &'a FileSystems,
    pub(super) home: &'a Path,
}

/// Returns the permission bits to create the replacement of `old` with: no more than `old` has, but the
/// server's user can read and write it.
pub(super) fn mode_for_replacement(old: &Stat) -> u32 {
    (old.st_mode & KEPT) | 0o600
}

impl NewFile<'_> {
    /// Copies all attributes from `old`, the file `name` in `folder`, without opening it.
    pub(super) fn take_over(&self, folder: impl AsFd, name: &[u8], old: &Stat) -> Result<(), StoreError> {
        let new = rustix::fs::fstat(self.file)?;
        let keeps = self.take_owner(&new, old)?;
        let old_attributes = Attributes::of_entry(folder, name)?;
        let mut acl = old_attributes.get(acl::ACCESS)?.and_then(|bytes| Acl::parse(&bytes));
        if let Some(acl) = &mut acl {
            acl.restrict(keeps);
        }
        if !self.take_acl(acl.as_ref())? {
            let mode = acl.as_ref().map_or_else(|| restricted(old.st_mode & KEPT, keeps), Acl::mode_without);
            self.take_mode(mode)?;
        }
        for name in old_attributes.names() {
            if let Some(value) = old_attributes.get(name)? {
                self.tolerate(Operation::SetAttribute, new.st_dev, extended::set(self.file, name, &value))?;
            }
        }
        Ok(())
    }

    /// Gives the new file the group and the access control list of a file created in `folder`.
    pub(super) fn inherit(&self, folder: impl AsFd) -> Result<(), StoreError> {
        let (above, new) = (rustix::fs::fstat(&folder)?, rustix::fs::fstat(self.file)?);
        if Mode::from_raw_mode(above.st_mode).contains(Mode::SGID) && above.st_gid != new.st_gid {
            let owner = rustix::fs::fchown(self.file, None, Some(Gid::from_raw(above.st_gid)));
            self.tolerate(Operation::SetOwner, new.st_dev, owner)?;
        }
        let default = Attributes::of_entry(folder, b".")?.get(acl::DEFAULT)?.and_then(|bytes| Acl::parse(&bytes));
        match default {
            Some(mut acl) => {
                acl.mask(NEW_FILE);
                if !self.take_acl(Some(&acl))? {
                    self.take_mode(acl.mode_without())?;
                }
                Ok(())
            }
            None => self.take_acl(None).map(drop),
        }
    }

    /// Gives the file the owner and group of `old`, as far as the server's user may do that.
    fn take_owner(&self, new: &Stat, old: &Stat) -> Result<Keeps, StoreError> {
        let owner = (new.st_uid != old.st_uid).then(|| Uid::from_raw(old.st_uid));
        let group = (new.st_gid != old.st_gid).then(|| Gid::from_raw(old.st_gid));
        if owner.is_none() && group.is_none() {
            return Ok(Keeps { owner: true, group: true });
        }
        let mut keeps = Keeps { owner: owner.is_none(), group: group.is_none() };
        let mut result = rustix::fs::fchown(self.file, owner, group);
        if result.is_ok() {
            return Ok(Keeps { owner: true, group: true });
        }
        // An ordinary user may give a file to a group of its own, but not to another user.
        if owner.is_some() && group.is_some() {
            keeps.group = rustix::fs::fchown(self.file, None, group).is_ok();
        }
        // The server's user may not do this on any file system, so a warning would be useless.
        if !rustix::process::geteuid().is_root() && result == Err(Errno::PERM) {
            result = Ok(());
        }
        self.tolerate(Operation::SetOwner, new.st_dev, result)?;
        Ok(keeps)
    }

    /// Sets this list on the file, or removes its list. Returns whether a list was set, which also sets the
    /// permission bits.
    fn take_acl(&self, acl: Option<&Acl>) -> Result<bool, StoreError> {
        let result = match acl {
            Some(acl) => extended::set(self.file, acl::ACCESS, &acl.to_bytes()),
            None => return extended::remove(self.file, acl::ACCESS).map(|()| false),
        };
        let is_set = result.is_ok();
        self.tolerate(Operation::SetAcl, rustix::fs::fstat(self.file)?.st_dev, result)?;
        Ok(is_set)
    }

    fn take_mode(&self, mode: u32) -> Result<(), StoreError> {
        let new = rustix::fs::fstat(self.file)?;
        if new.st_mode & 0o7777 == mode {
            return Ok(());
        }
        let result = rustix::fs::fchmod(self.file, Mode::from_raw_mode(mode));
        let opens_more = new.st_mode & !mode & 0o077 != 0;
        if result.is_err_and(is_refusal) && opens_more {
            return Err(StoreError::Denied);
        }
        self.tolerate(Operation::SetMode, new.st_dev, result)
    }

    fn tolerate(&self, operation: Operation, device: u64, result: Result<(), Errno>) -> Result<(), StoreError> {
        self.systems.tolerate(operation, device, self.home, result)
    }
}

/// Whether a new file has the owner and the group of the old one.
#[derive(Clone, Copy)]
pub(super) struct Keeps {
    pub(super) owner: bool,
    pub(super) group: bool,
}

/// Returns permission bits for a file that could not keep its owner or group. Members of the old group
/// now count as others, and members of the new group counted as others before. Neither gains a
/// permission.
fn restricted(mode: u32, keeps: Keeps) -> u32 {
    let (mut owner, mut group, mut other) = (mode >> 6 & 7, mode >> 3 & 7, mode & 7);
    if !keeps.group {
        (group, other) = (group & other, group & other);
    }
    if !keeps.owner {
        // The owner is now the server's user, which needs both.
        owner |= 6;
    }
    owner << 6 | group << 3 | other
}

/// Returns the path of an entry, for system calls that take no descriptor.
fn path_of(folder: impl AsFd, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).as_bytes(), name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_lost_group_nor_the_new_one_gains_a_permission() {
        for (mode, expected) in [(0o640, 0o600), (0o644, 0o644), (0o664, 0o644), (0o604, 0o600), (0o666, 0o666)] {
            let restricted = restricted(mode, Keeps { owner: true, group: false });
            assert_eq!(restricted, expected, "{mode:o} became {restricted:o}");
        }
        assert_eq!(restricted(0o460, Keeps { owner: false, group: true }), 0o660);
        assert_eq!(restricted(0o640, Keeps { owner: true, group: true }), 0o640);
    }
}
