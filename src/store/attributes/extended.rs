//! Extended attributes of an entry, read by its path below an open folder and never by opening it.

use super::{acl, path_of};
use crate::store::StoreError;
use crate::store::file_systems::is_refusal;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::os::fd::AsFd;

/// What the kernel takes as one list of names, or as one value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const BYTES_MAX: usize = 64 * 1024;
/// Attributes of one file that are kept; the others are left out.
const ATTRIBUTES_MAX: usize = 256;
/// A list of names that needs no memory.
const LIST_BYTES_FIRST: usize = 512;
/// What the kernel itself takes from a file that is written to.
const DROPPED: [&str; 3] = ["security.capability", "security.ima", "security.evm"];

/// The attributes of one entry.
pub(super) struct Attributes {
    path: Vec<u8>,
    names: Vec<String>,
}

impl Attributes {
    /// The names of what the entry `name` in `folder` has.
    pub(super) fn of_entry(folder: impl AsFd, name: &[u8]) -> Result<Self, StoreError> {
        let path = path_of(folder, name);
        let mut first = [0; LIST_BYTES_FIRST];
        let names = match rustix::fs::llistxattr(path.as_slice(), &mut first[..]) {
            Ok(count) => split(&first[..count]),
            Err(Errno::RANGE) => {
                let mut list = vec![0; BYTES_MAX];
                let count = rustix::fs::llistxattr(path.as_slice(), &mut list[..])?;
                split(&list[..count])
            }
            Err(errno) if is_absent(errno) => Vec::new(),
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self { path, names })
    }

    /// Those that are copied as they are: all but the access control list and what a write takes away.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let is_copied = |name: &&str| *name != acl::ACCESS && *name != acl::DEFAULT && !DROPPED.contains(name);
        self.names.iter().map(String::as_str).filter(is_copied).take(ATTRIBUTES_MAX)
    }

    /// One value; `None` if there is none or it may not be read.
    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.names.iter().any(|there| there == name) {
            return Ok(None);
        }
        let mut value = vec![0; BYTES_MAX];
        match rustix::fs::lgetxattr(self.path.as_slice(), name, &mut value[..]) {
            Ok(count) => {
                value.truncate(count);
                Ok(Some(value))
            }
            Err(errno) if is_absent(errno) || matches!(errno, Errno::ACCESS | Errno::RANGE) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn split(list: &[u8]) -> Vec<String> {
    let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect()
}

fn is_absent(errno: Errno) -> bool {
    is_refusal(errno) || matches!(errno, Errno::NODATA | Errno::NOENT)
}

/// Sets one. What only the system or an administrator may set is left out without a word.
pub(super) fn set(file: impl AsFd, name: &str, value: &[u8]) -> Result<(), Errno> {
    let result = rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
    let is_optional = !name.starts_with("user.") && name != acl::ACCESS;
    match result {
        Err(errno) if is_optional && (is_absent(errno) || errno == Errno::ACCESS) => Ok(()),
        result => result,
    }
}

/// Removes one, if there is one.
pub(super) fn remove(file: impl AsFd, name: &str) -> Result<(), StoreError> {
    match rustix::fs::fremovexattr(file, name) {
        Err(errno) if !is_absent(errno) => Err(errno.into()),
        _ => Ok(()),
    }
}
