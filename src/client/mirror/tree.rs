//! One side of a mirror: the entries below its root, local or remote.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;

use crate::base::attributes::{DIRECTORY_BITS_MIN, FILE_BITS_MIN, PERMISSIONS};
use crate::base::calendar::unix_ns;
use crate::base::virtual_path::VirtualPath;
use crate::client::transfer::local_tree::LocalEntry;
use crate::wire::message::{Entry, EntryKind};

/// The entries of one side, by their path below the root.
#[derive(Default)]
pub struct MirrorTree {
    nodes: BTreeMap<VirtualPath, TreeNode>,
    /// Directories that contain something that the mirror ignores.
    kept: HashSet<VirtualPath>,
}

/// An entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeNode {
    /// The kind. Symlinks are not followed.
    pub kind: EntryKind,
    /// The size of a file in bytes.
    pub size: u64,
    /// The modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// The permission bits, if they are known.
    pub mode: Option<u32>,
}

impl From<&Entry> for TreeNode {
    fn from(entry: &Entry) -> Self {
        let mode = (!entry.unexamined).then_some(entry.mode & PERMISSIONS);
        Self { kind: entry.kind, size: entry.size, mtime_ns: entry.mtime_ns, mode }
    }
}

impl From<&LocalEntry> for TreeNode {
    fn from(entry: &LocalEntry) -> Self {
        let LocalEntry { kind, metadata, .. } = entry;
        let mtime_ns = metadata.modified().map_or(0, unix_ns);
        Self { kind: *kind, size: metadata.len(), mtime_ns, mode: Some(metadata.mode() & PERMISSIONS) }
    }
}

impl TreeNode {
    /// Returns the permission bits that a copy of this entry must have.
    pub fn wanted_bits(&self) -> Option<u32> {
        let needed = if self.kind == EntryKind::Dir { DIRECTORY_BITS_MIN } else { FILE_BITS_MIN };
        self.mode.map(|mode| mode | needed)
    }
}

impl MirrorTree {
    /// Returns whether the tree contains a file.
    pub fn has_files(&self) -> bool {
        self.nodes.values().any(|node| node.kind == EntryKind::File)
    }

    /// Returns all entries in the order of their paths, each directory before its content.
    pub fn entries(&self) -> impl Iterator<Item = (&VirtualPath, &TreeNode)> {
        self.nodes.iter()
    }

    /// Returns the paths of all entries in the same order.
    pub fn paths(&self) -> impl Iterator<Item = &VirtualPath> + Clone {
        self.nodes.keys()
    }

    /// Adds an entry at `path`.
    pub fn add(&mut self, path: VirtualPath, node: TreeNode) {
        self.nodes.insert(path, node);
    }

    /// Notes that the mirror ignores an entry at `path`, so the directories above it stay.
    pub fn keep(&mut self, path: &VirtualPath) {
        self.kept.extend(std::iter::successors(path.parent(), VirtualPath::parent));
    }

    /// Returns whether the mirror ignores something below `path`.
    pub fn is_kept(&self, path: &VirtualPath) -> bool {
        self.kept.contains(path)
    }

    /// Returns the entry at `path`.
    pub fn get(&self, path: &VirtualPath) -> Option<&TreeNode> {
        self.nodes.get(path)
    }
}
