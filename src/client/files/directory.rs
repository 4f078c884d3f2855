//! One local directory: its names in order, and the kinds of its entries.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use crate::wire::message::EntryKind;

/// A name in a local or remote directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedEntry {
    /// The bytes of the name.
    pub name: Vec<u8>,
    /// Whether the name is a directory, so a slash and another name may follow.
    pub is_directory: bool,
}

/// Returns the names in a directory, sorted, and the error if some of them could not be read. At most `names_max` names
/// are read.
pub fn sorted_names(directory: &Path, names_max: usize) -> (Vec<OsString>, Option<io::Error>) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let (mut names, mut problem) = (Vec::new(), None);
    for entry in entries.take(names_max) {
        match entry {
            Ok(entry) => names.push(entry.file_name()),
            Err(error) => problem = Some(error),
        }
    }
    names.sort();
    (names, problem)
}

/// Returns the kind of an entry.
pub fn kind_of(metadata: &Metadata) -> EntryKind {
    match metadata.file_type() {
        kind if kind.is_file() => EntryKind::File,
        kind if kind.is_dir() => EntryKind::Dir,
        kind if kind.is_symlink() => EntryKind::Link,
        _ => EntryKind::Other,
    }
}
