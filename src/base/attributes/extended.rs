//! Extended attributes of an entry, read by its path and never by opening it.

use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::acl;
use crate::base::refusals;

/// The kernel's limits for a list of names and for a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const BYTES_MAX: usize = 64 * 1024;
/// The number of attributes that are copied from one file. Further ones are left out.
const ATTRIBUTES_MAX: usize = 256;
/// The size of the first buffer for a list of names, on the stack. Few lists are longer.
const LIST_BYTES_FIRST: usize = 512;
/// The size of the first buffer for a value, on the stack. Few lists of permissions are longer.
const VALUE_BYTES_FIRST: usize = 256;
/// Attributes that are not copied: the kernel removes or renews them when a file is written to.
const DROPPED: [&str; 3] = ["security.capability", "security.ima", "security.evm"];

/// The extended attributes of one entry, known by their names.
pub(super) struct Attributes {
    path: Vec<u8>,
    names: Vec<String>,
}

impl Attributes {
    /// Reads the names of the attributes of the entry at `path`.
    pub(super) fn of_entry(path: Vec<u8>) -> Result<Self, Errno> {
        let mut first = [0; LIST_BYTES_FIRST];
        let names = match rustix::fs::llistxattr(path.as_slice(), &mut first[..]) {
            Ok(count) => split(&first[..count]),
            Err(Errno::RANGE) => {
                let mut list = vec![0; BYTES_MAX];
                let count = rustix::fs::llistxattr(path.as_slice(), &mut list[..])?;
                split(&list[..count])
            }
            Err(errno) if is_absent_or_refused(errno) => Vec::new(),
            Err(errno) => return Err(errno),
        };
        Ok(Self { path, names })
    }

    /// Returns the names of the attributes that are copied unchanged: all but access control lists and
    /// [`DROPPED`].
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let is_copied = |name: &&str| *name != acl::ACCESS && *name != acl::DEFAULT && !DROPPED.contains(name);
        self.names.iter().map(String::as_str).filter(is_copied).take(ATTRIBUTES_MAX)
    }

    /// Reads one value. Returns `None` if there is none or it may not be read.
    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Errno> {
        if !self.names.iter().any(|there| there == name) {
            return Ok(None);
        }
        let mut value = vec![0; BYTES_MAX];
        match rustix::fs::lgetxattr(self.path.as_slice(), name, &mut value[..]) {
            Ok(count) => {
                value.truncate(count);
                Ok(Some(value))
            }
            Err(errno) if is_absent_or_refused(errno) || matches!(errno, Errno::ACCESS | Errno::RANGE) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// Returns the value of one attribute of the entry at `path`. A symlink is followed.
pub(super) fn read_following_links(path: &[u8], name: &str) -> Result<Option<Vec<u8>>, Errno> {
    let mut first = [0; VALUE_BYTES_FIRST];
    match rustix::fs::getxattr(path, name, &mut first[..]) {
        Ok(count) => Ok(Some(first[..count].to_vec())),
        Err(Errno::RANGE) => {
            let mut value = vec![0; BYTES_MAX];
            let count = rustix::fs::getxattr(path, name, &mut value[..])?;
            value.truncate(count);
            Ok(Some(value))
        }
        Err(errno) if errno != Errno::NOENT && (is_absent_or_refused(errno) || errno == Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn split(list: &[u8]) -> Vec<String> {
    let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect()
}

fn is_absent_or_refused(errno: Errno) -> bool {
    refusals::is_refusal(errno) || matches!(errno, Errno::NODATA | Errno::NOENT)
}

/// Sets an attribute. A refusal is an error only for access control lists and names in `user.`: others
/// may be reserved for the system or an administrator.
pub(super) fn set(file: impl AsFd, name: &str, value: &[u8]) -> Result<(), Errno> {
    let result = rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
    let is_optional = !name.starts_with("user.") && name != acl::ACCESS;
    match result {
        Err(errno) if is_optional && (is_absent_or_refused(errno) || errno == Errno::ACCESS) => Ok(()),
        result => result,
    }
}

/// Removes an attribute, if the file has it.
pub(super) fn remove(file: impl AsFd, name: &str) -> Result<(), Errno> {
    match rustix::fs::fremovexattr(file, name) {
        Err(errno) if !is_absent_or_refused(errno) => Err(errno),
        _ => Ok(()),
    }
}
