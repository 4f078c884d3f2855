//! Files and directories of one command that would get the same local name.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::error::Failure;
use crate::client::files::local::{names_in, shown};
use crate::client::files::spellings::Spellings;

/// The device and inode of a local file or directory. A name does not identify a file: a file system may treat
/// two remote names, such as `a` and `A`, as one.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn from_metadata(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Returns the existing local path that the file system treats as the same name as `local`.
pub(super) fn other_spelling(spellings: &Spellings, local: &Path) -> Option<PathBuf> {
    let found =
        spellings.listed_under_other_name([path_bytes(local)], |directory| Ok::<_, Failure>(names_in(directory)));
    let (_, other) = found.ok()?.into_iter().next()?;
    Some(PathBuf::from(OsStr::from_bytes(&other)))
}

pub(super) fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

pub(super) fn local_collision(local: &Path, other: &Path) -> Failure {
    let (local, other) = (shown(local), shown(other));
    Failure::Local(Explanation::new(
        format!("{local} and {other} are the same to the local file system"),
        "download one of them to another directory",
    ))
}

pub(super) fn shared_destination(one: &VirtualPath, other: &VirtualPath, local: &Path) -> Failure {
    Failure::Local(Explanation::new(
        format!("remote {one} and {other} would both become local {}", shown(local)),
        "download one of them to another directory",
    ))
}
