//! Plans what makes one tree the image of another. It compares listings and touches neither disk nor server.

use std::collections::HashSet;

use crate::base::attributes::{mode_for_change, mode_of_new};
use crate::base::virtual_path::VirtualPath;
use crate::client::files::times::{TimeMatch, compare_times};
use crate::client::mirror::tree::{MirrorTree, TreeNode};
use crate::wire::message::EntryKind;

/// How trees are compared and what a mirror may change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MirrorRules {
    /// Files of the same size are compared by digest, whatever their times.
    pub by_content: bool,
    /// Entries that exist only in the target are removed.
    pub with_delete: bool,
    /// The umask of the target: a bit in it that only the source has is no difference, because new entries do not get
    /// it. `None` if permission bits are not compared.
    pub target_umask: Option<u32>,
}

/// A file to transfer, or to compare by digest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// The path in both trees.
    pub path: VirtualPath,
    /// The size in the source in bytes.
    pub size: u64,
    /// The target has a file at this path.
    pub replaces: bool,
    /// The permission bits in the source.
    pub mode: Option<u32>,
}

/// An entry of the target that gets the permission bits of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    /// The path in both trees.
    pub path: VirtualPath,
    /// Whether the entry is a directory.
    pub is_directory: bool,
    /// The permission bits in the source.
    pub bits: u32,
    /// The permission bits in the target.
    pub now: u32,
}

/// The actions of a mirror, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MirrorPlan {
    /// Target entries of another kind than in the source, innermost first.
    pub in_the_way: Vec<VirtualPath>,
    /// Entries of another kind that must not be deleted. They and their content stay as they are.
    pub blocked: Vec<VirtualPath>,
    /// Source entries that are neither files nor directories. They are not copied, and the target's entries
    /// stay.
    pub not_copied: Vec<VirtualPath>,
    /// Directories to create, outermost first.
    pub directories: Vec<VirtualPath>,
    /// Entries in both trees whose permission bits differ.
    pub modes: Vec<ModeChange>,
    /// Files to transfer.
    pub files: Vec<PlannedFile>,
    /// Files of the same size; their digests decide whether they are transferred.
    pub to_compare: Vec<PlannedFile>,
    /// The number of files that are already identical.
    pub identical: usize,
    /// Entries that exist only in the target, innermost first.
    pub only_in_target: Vec<VirtualPath>,
}

impl MirrorPlan {
    /// Returns whether no entry is created, transferred or removed. Changes of permission bits do not count.
    pub fn is_empty(&self) -> bool {
        [&self.in_the_way, &self.directories, &self.only_in_target].into_iter().all(Vec::is_empty)
            && self.files.is_empty()
    }

    /// Returns the total size of the files to transfer in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size))
    }

    /// Plans what makes `target` the image of `source`.
    pub fn new(source: &MirrorTree, target: &MirrorTree, rules: MirrorRules) -> Self {
        let mut plan = Self::default();
        let (mut skipped, mut in_the_way) = (HashSet::new(), HashSet::new());
        for (path, node) in source.entries() {
            if is_below(path, &skipped) {
                skipped.insert(path.clone());
                continue;
            }
            let mut existing = target.get(path);
            let is_copied = matches!(node.kind, EntryKind::File | EntryKind::Dir);
            if is_copied && existing.is_some_and(|existing| existing.kind != node.kind) {
                let may_go = rules.with_delete && !target.is_kept(path);
                if !may_go {
                    plan.blocked.push(path.clone());
                    skipped.insert(path.clone());
                    continue;
                }
                in_the_way.insert(path.clone());
                existing = None;
            }
            match node.kind {
                EntryKind::Dir if existing.is_none() => plan.directories.push(path.clone()),
                EntryKind::Dir => plan.add_mode(path, node, existing, rules),
                EntryKind::File => {
                    plan.add_mode(path, node, existing, rules);
                    plan.add_file(path, node, existing, rules);
                }
                EntryKind::Link | EntryKind::Other => {
                    plan.not_copied.push(path.clone());
                    skipped.insert(path.clone());
                }
            }
        }
        plan.add_removals(source, target, skipped, in_the_way, rules);
        plan
    }

    fn add_mode(&mut self, path: &VirtualPath, node: &TreeNode, existing: Option<&TreeNode>, rules: MirrorRules) {
        let bits = node.wanted_bits();
        let Some(((bits, now), mask)) = bits.zip(existing.and_then(|existing| existing.mode)).zip(rules.target_umask)
        else {
            return;
        };
        if mode_for_change(bits, now, mode_of_new(bits, mask, None), false) != now {
            self.modes.push(ModeChange { path: path.clone(), is_directory: node.kind == EntryKind::Dir, bits, now });
        }
    }

    fn add_file(&mut self, path: &VirtualPath, node: &TreeNode, existing: Option<&TreeNode>, rules: MirrorRules) {
        let file = PlannedFile { path: path.clone(), size: node.size, replaces: existing.is_some(), mode: node.mode };
        match existing.filter(|existing| existing.size == node.size) {
            Some(_) if rules.by_content => self.to_compare.push(file),
            Some(existing) => match compare_times(existing.mtime_ns, node.mtime_ns) {
                TimeMatch::Same => self.identical += 1,
                TimeMatch::Near if node.size > COMPARED_BYTES_MAX => self.identical += 1,
                TimeMatch::Near | TimeMatch::Shifted => self.to_compare.push(file),
                TimeMatch::Different => self.files.push(file),
            },
            None => self.files.push(file),
        }
    }

    fn add_removals(
        &mut self,
        source: &MirrorTree,
        target: &MirrorTree,
        mut skipped: HashSet<VirtualPath>,
        mut in_the_way: HashSet<VirtualPath>,
        rules: MirrorRules,
    ) {
        for path in target.paths() {
            if in_the_way.contains(path) || is_below(path, &in_the_way) {
                self.in_the_way.push(path.clone());
                in_the_way.insert(path.clone());
            } else if skipped.contains(path) || is_below(path, &skipped) {
                skipped.insert(path.clone());
            } else if rules.with_delete && source.get(path).is_none() && !target.is_kept(path) {
                self.only_in_target.push(path.clone());
            }
        }
        // Directories precede their content, so the reversed order is innermost first.
        self.in_the_way.reverse();
        self.only_in_target.reverse();
    }
}

fn is_below(path: &VirtualPath, directories: &HashSet<VirtualPath>) -> bool {
    path.parent().is_some_and(|directory| directories.contains(&directory))
}

/// Up to this size, a file with nearly the same time on both sides is compared by digest. A two-second clock
/// can hide a change, but reading a larger file each time would cost more than finding such a change is worth.
const COMPARED_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text.as_bytes()).expect("valid")
    }

    /// `a/` is a directory, `a@` a symlink, `a=3,5` a file of 3 bytes with the time 5 s.
    fn tree(entries: &str) -> MirrorTree {
        let mut tree = MirrorTree::default();
        for entry in entries.split_whitespace() {
            let node =
                |kind, size, seconds: i64| TreeNode { kind, size, mtime_ns: seconds * 1_000_000_000 + 1, mode: None };
            if let Some(name) = entry.strip_suffix('/') {
                tree.add(path(name), node(EntryKind::Dir, 0, 0));
            } else if let Some(name) = entry.strip_suffix('@') {
                tree.add(path(name), node(EntryKind::Link, 0, 0));
            } else {
                let (name, rest) = entry.split_once('=').expect("a size");
                let (size, seconds) = rest.split_once(',').expect("a time");
                tree.add(
                    path(name),
                    node(EntryKind::File, size.parse().expect("size"), seconds.parse().expect("time")),
                );
            }
        }
        tree
    }

    fn shown(plan: &MirrorPlan) -> String {
        let paths = |paths: &[VirtualPath]| paths.iter().map(VirtualPath::to_string).collect::<Vec<_>>().join(" ");
        let files =
            |files: &[PlannedFile]| files.iter().map(|file| file.path.to_string()).collect::<Vec<_>>().join(" ");
        let mut parts = vec![];
        for (name, content) in [
            ("way", paths(&plan.in_the_way)),
            ("blocked", paths(&plan.blocked)),
            ("left", paths(&plan.not_copied)),
            ("mkdir", paths(&plan.directories)),
            ("move", files(&plan.files)),
            ("alike", files(&plan.to_compare)),
            ("rm", paths(&plan.only_in_target)),
        ] {
            if !content.is_empty() {
                parts.push(format!("{name}: {content}"));
            }
        }
        parts.push(format!("same: {}", plan.identical));
        parts.join("; ")
    }

    const DELETE: MirrorRules = MirrorRules { by_content: false, with_delete: true, target_umask: None };

    #[test]
    fn only_files_that_differ_are_transferred() {
        let source = tree("d/ d/a=1,1 d/b=1,1 d/c=1,1 new/ new/x=1,1 z=0,0");
        let target = tree("d/ d/a=1,1 d/b=2,1 d/c=1,2 old/ old/y=1,1 old/z/ other=1,1");
        let plan = MirrorPlan::new(&source, &target, MirrorRules::default());
        assert_eq!(shown(&plan), "mkdir: /new; move: /d/b /d/c /new/x /z; same: 1");
        let replaced: Vec<bool> = plan.files.iter().map(|file| file.replaces).collect();
        assert_eq!(replaced, [true, true, false, false]);
        let plan = MirrorPlan::new(&source, &target, DELETE);
        assert_eq!(shown(&plan), "mkdir: /new; move: /d/b /d/c /new/x /z; rm: /other /old/z /old/y /old; same: 1");
        let by_content = MirrorPlan::new(&source, &target, MirrorRules { by_content: true, ..MirrorRules::default() });
        assert_eq!(shown(&by_content), "mkdir: /new; move: /d/b /new/x /z; alike: /d/a /d/c; same: 0");
        assert_eq!(shown(&MirrorPlan::new(&source, &source, DELETE)), "same: 5");
    }

    #[test]
    fn an_entry_of_another_kind_is_removed_first_or_blocks_its_content() {
        let source = tree("a/ a/x=1,1 b=1,1 c=1,1");
        let target = tree("a=1,1 b/ b/y/ b/y/z=1,1 b-c=1,1 c@");
        assert_eq!(
            shown(&MirrorPlan::new(&source, &target, DELETE)),
            "way: /c /b/y/z /b/y /b /a; mkdir: /a; move: /a/x /b /c; rm: /b-c; same: 0"
        );
        assert_eq!(shown(&MirrorPlan::new(&source, &target, MirrorRules::default())), "blocked: /a /b /c; same: 0");
    }

    #[test]
    fn excluded_and_uncopied_entries_stay() {
        let source = tree("link@ a=1,1");
        let mut target = tree("link/ link/x=1,1 old/ old/sub/ old/y=1,1 a/");
        target.keep(&path("/old/sub/excluded"));
        target.keep(&path("/a/excluded"));
        assert_eq!(shown(&MirrorPlan::new(&source, &target, DELETE)), "blocked: /a; left: /link; rm: /old/y; same: 0");
    }

    #[test]
    fn small_files_with_a_near_time_and_all_with_a_shifted_time_are_compared() {
        const SECOND_NS: i64 = 1_000_000_000;
        let plan = |size, here_ns, there_ns| {
            let tree = |mtime_ns| {
                let mut tree = MirrorTree::default();
                tree.add(path("f"), TreeNode { kind: EntryKind::File, size, mtime_ns, mode: None });
                tree
            };
            shown(&MirrorPlan::new(&tree(here_ns), &tree(there_ns), MirrorRules::default()))
        };
        let (fine, coarse) = (7 * SECOND_NS + 123, 6 * SECOND_NS);
        assert_eq!(plan(COMPARED_BYTES_MAX, fine, coarse), "alike: /f; same: 0");
        assert_eq!(plan(COMPARED_BYTES_MAX + 1, fine, coarse), "same: 1");
        assert_eq!(plan(1 << 40, fine, coarse + 3600 * SECOND_NS), "alike: /f; same: 0");
        assert_eq!(plan(1, fine, coarse + 2 * SECOND_NS + 1), "move: /f; same: 0");
    }
}
