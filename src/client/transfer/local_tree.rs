//! Walks a local tree that is transferred or compared. `put -r` and `mirror` use this walk, so that they treat symlinks,
//! special files, unreadable entries and odd names in the same way. It never recurses, and it stops where the path of an
//! entry becomes too long for a server.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::virtual_path::VirtualPath;
use crate::client::error::Failure;
use crate::client::files::directory::{kind_of, sorted_names};
use crate::client::files::local::shown;
use crate::client::transfer::part::names::destination_of_part;
use crate::wire::message::EntryKind;

/// How a walk treats symlinks. It never enters a directory through one, because symlinks may form a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks {
    /// The tree is a source: a symlink to a file counts as that file.
    FollowToFiles,
    /// The tree is a target: a symlink is an entry of its own.
    Keep,
}

/// An entry of a local tree.
pub struct LocalEntry {
    /// The local path.
    pub local: PathBuf,
    /// The path below the root of the walk, appended to the root's.
    pub path: VirtualPath,
    /// The kind. A symlink that is not followed is a link, wherever it leads.
    pub kind: EntryKind,
    /// The metadata of the entry, or of the file that a symlink leads to.
    pub metadata: Metadata,
}

/// A directory of a local tree, and what it contains.
pub struct LocalDirectory {
    /// The path below the root of the walk, appended to the root's.
    pub path: VirtualPath,
    /// The mode, if it can be read.
    pub mode: Option<u32>,
    /// The entries, sorted by name.
    pub entries: Vec<LocalEntry>,
    /// Partial downloads. They are not part of the tree.
    pub parts: Vec<PathBuf>,
    /// Failures of reading the directory or examining an entry. The walk continues without them.
    pub failures: Vec<Failure>,
}

/// The directories that a walk has still to read.
pub struct LocalWalk {
    symlinks: Symlinks,
    to_visit: Vec<(PathBuf, VirtualPath)>,
}

impl LocalWalk {
    /// Begins at the local directory `root`, which `path` names in the tree.
    pub fn new(root: PathBuf, path: VirtualPath, symlinks: Symlinks) -> Self {
        Self { symlinks, to_visit: vec![(root, path)] }
    }

    /// Adds a directory that the walk has found. The caller may leave some out.
    pub fn enter(&mut self, directory: &LocalEntry) {
        self.to_visit.push((directory.local.clone(), directory.path.clone()));
    }

    /// Reads the next directory; `None` at the end. A directory comes before those in it.
    pub fn next_directory(&mut self) -> Option<LocalDirectory> {
        let (local, path) = self.to_visit.pop()?;
        let mode = fs::metadata(&local).ok().map(|metadata| metadata.mode());
        let (names, problem) = sorted_names(&local, usize::MAX);
        let failures = problem.map(|error| Failure::local(&local, &error)).into_iter().collect();
        let mut directory =
            LocalDirectory { path, mode, entries: Vec::with_capacity(names.len()), parts: Vec::new(), failures };
        for name in names {
            let local = local.join(&name);
            if destination_of_part(&local).is_some() {
                directory.parts.push(local);
                continue;
            }
            let path = directory.path.child(name.as_bytes());
            let path = path.map_err(|error| Failure::Local(format!("{}: {error}", shown(&local)).into()));
            match path.and_then(|path| examine(local, path, self.symlinks)) {
                Ok(entry) => directory.entries.push(entry),
                Err(failure) => directory.failures.push(failure),
            }
        }
        Some(directory)
    }
}

fn examine(local: PathBuf, path: VirtualPath, symlinks: Symlinks) -> Result<LocalEntry, Failure> {
    let metadata = fs::symlink_metadata(&local).map_err(|error| Failure::local(&local, &error))?;
    let metadata = match symlinks {
        Symlinks::FollowToFiles if metadata.is_symlink() => file_behind(&local).unwrap_or(metadata),
        _ => metadata,
    };
    Ok(LocalEntry { kind: kind_of(&metadata), local, path, metadata })
}

/// Returns the metadata of the file that a symlink leads to. A symlink to nothing counts like one to a directory.
fn file_behind(symlink: &Path) -> Option<Metadata> {
    fs::metadata(symlink).ok().filter(Metadata::is_file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn walked(root: &Path, symlinks: Symlinks) -> (Vec<String>, Vec<String>) {
        let mut walk = LocalWalk::new(root.to_path_buf(), VirtualPath::parse(b"/to").expect("valid"), symlinks);
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        while let Some(directory) = walk.next_directory() {
            for entry in &directory.entries {
                found.push(format!("{} {:?}", entry.path, entry.kind));
                if entry.kind == EntryKind::Dir {
                    walk.enter(entry);
                }
            }
            failures.extend(directory.failures.iter().map(Failure::to_string));
        }
        (found, failures)
    }

    #[test]
    fn a_source_follows_symlinks_to_files_and_a_target_keeps_symlinks() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let root = directory.path();
        fs::create_dir_all(root.join("a/b")).expect("writable");
        fs::write(root.join("a/b/file"), "x").expect("writable");
        symlink("a/b/file", root.join("to-file")).expect("writable");
        symlink("a", root.join("to-directory")).expect("writable");
        symlink("nowhere", root.join("to-nothing")).expect("writable");
        mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("writable");
        let expected = |to_file: &str| {
            let to_file = format!("/to/to-file {to_file}");
            [
                "/to/a Dir",
                "/to/pipe Other",
                "/to/to-directory Link",
                &to_file,
                "/to/to-nothing Link",
                "/to/a/b Dir",
                "/to/a/b/file File",
            ]
            .map(String::from)
            .to_vec()
        };
        assert_eq!(walked(root, Symlinks::FollowToFiles), (expected("File"), vec![]));
        assert_eq!(walked(root, Symlinks::Keep), (expected("Link"), vec![]));
        let (found, failures) = walked(&root.join("missing"), Symlinks::Keep);
        assert!(found.is_empty() && failures.len() == 1 && failures[0].contains("missing"), "{failures:?}");
    }
}
