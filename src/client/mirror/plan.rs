//! What must happen so that one tree becomes the image of another. It compares lists of what is
//! there and touches neither disk nor server.

use std::collections::{BTreeMap, HashSet};

use crate::base::attributes::{FILE_BITS_MIN, FOLDER_BITS_MIN, PERMISSIONS, mode_for_change, mode_of_new};
use crate::base::virtual_path::VPath;
use crate::client::mirror::times::{TimeMatch, compare_times};
use crate::wire::message::{Entry, EntryKind};

/// One side: what is below its root, by the path from there.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<VPath, Node>,
    /// Folders in which something is that a mirror leaves alone.
    kept: HashSet<VPath>,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Its kind; links are not followed.
    pub kind: EntryKind,
    /// Bytes of a file.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Permission bits, if they are known.
    pub mode: Option<u32>,
}

impl From<&Entry> for Node {
    fn from(entry: &Entry) -> Self {
        let mode = (!entry.unexamined).then_some(entry.mode & PERMISSIONS);
        Self { kind: entry.kind, size: entry.size, mtime_ns: entry.mtime_ns, mode }
    }
}

impl Node {
    /// The permission bits that an entry with those of this one must have.
    fn wanted_bits(&self) -> Option<u32> {
        let needed = if self.kind == EntryKind::Dir { FOLDER_BITS_MIN } else { FILE_BITS_MIN };
        self.mode.map(|mode| mode | needed)
    }
}

impl Tree {
    /// Whether a file is anywhere in it.
    pub fn has_files(&self) -> bool {
        self.nodes.values().any(|node| node.kind == EntryKind::File)
    }

    /// What is in it.
    pub fn paths(&self) -> impl Iterator<Item = &VPath> + Clone {
        self.nodes.keys()
    }

    /// Adds what is at `path`.
    pub fn add(&mut self, path: VPath, node: Node) {
        self.nodes.insert(path, node);
    }

    /// Something at `path` is left alone, so the folders above it stay.
    pub fn keep(&mut self, path: &VPath) {
        self.kept.extend(std::iter::successors(path.parent(), VPath::parent));
    }

    /// What is at `path`.
    pub fn get(&self, path: &VPath) -> Option<&Node> {
        self.nodes.get(path)
    }
}

/// How trees are compared and how far a mirror goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Files of the same size are the same if their digests are, whatever their times.
    pub by_content: bool,
    /// What is only in the target goes.
    pub with_delete: bool,
    /// Permission bits are compared, except those in this mask that the target lacks: it gives them to nothing new.
    pub modes_but: Option<u32>,
}

/// A file that moves, or may have to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Where it is in both trees.
    pub path: VPath,
    /// Its bytes in the source.
    pub size: u64,
    /// There is a file in its place.
    pub replaces: bool,
    /// Its permission bits in the source.
    pub mode: Option<u32>,
}

/// An entry of the target that is to get the permission bits of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    /// Where it is in both trees.
    pub path: VPath,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its permission bits in the source.
    pub bits: u32,
    /// Those in the target.
    pub now: u32,
}

/// What there is to do, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the target and of another kind than in the source, innermost first.
    pub in_the_way: Vec<VPath>,
    /// The same where nothing may be deleted: they and what is below them stay as they are.
    pub blocked: Vec<VPath>,
    /// Neither files nor folders in the source: left out, and left alone in the target.
    pub left_out: Vec<VPath>,
    /// Folders to be made, outermost first.
    pub folders: Vec<VPath>,
    /// What is in both, and has other permission bits in the target.
    pub modes: Vec<ModeChange>,
    /// Files to be moved.
    pub files: Vec<Move>,
    /// Files of the same size whose digests decide.
    pub alike: Vec<Move>,
    /// How many files are the same already.
    pub same: usize,
    /// Only in the target, innermost first.
    pub extra: Vec<VPath>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        [&self.in_the_way, &self.folders, &self.extra].into_iter().all(Vec::is_empty) && self.files.is_empty()
    }

    /// Bytes of the files to be moved.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size))
    }

    /// What makes `target` the image of `source`.
    pub fn new(source: &Tree, target: &Tree, rules: Rules) -> Self {
        let mut plan = Self::default();
        let (mut skipped, mut in_the_way) = (HashSet::new(), HashSet::new());
        for (path, node) in &source.nodes {
            if is_below(path, &skipped) {
                skipped.insert(path.clone());
                continue;
            }
            let mut there = target.nodes.get(path);
            let is_served = matches!(node.kind, EntryKind::File | EntryKind::Dir);
            if is_served && there.is_some_and(|there| there.kind != node.kind) {
                let may_go = rules.with_delete && !target.kept.contains(path);
                if !may_go {
                    plan.blocked.push(path.clone());
                    skipped.insert(path.clone());
                    continue;
                }
                in_the_way.insert(path.clone());
                there = None;
            }
            match node.kind {
                EntryKind::Dir if there.is_none() => plan.folders.push(path.clone()),
                EntryKind::Dir => plan.add_mode(path, node, there, rules),
                EntryKind::File => {
                    plan.add_mode(path, node, there, rules);
                    plan.add_file(path, node, there, rules);
                }
                EntryKind::Link | EntryKind::Other => {
                    plan.left_out.push(path.clone());
                    skipped.insert(path.clone());
                }
            }
        }
        plan.add_removals(source, target, skipped, in_the_way, rules);
        plan
    }

    fn add_mode(&mut self, path: &VPath, node: &Node, there: Option<&Node>, rules: Rules) {
        let bits = node.wanted_bits();
        let Some(((bits, now), mask)) = bits.zip(there.and_then(|there| there.mode)).zip(rules.modes_but) else {
            return;
        };
        if mode_for_change(bits, now, mode_of_new(bits, mask, None), false) != now {
            self.modes.push(ModeChange { path: path.clone(), is_folder: node.kind == EntryKind::Dir, bits, now });
        }
    }

    fn add_file(&mut self, path: &VPath, node: &Node, there: Option<&Node>, rules: Rules) {
        let file = Move { path: path.clone(), size: node.size, replaces: there.is_some(), mode: node.mode };
        match there.filter(|there| there.size == node.size) {
            Some(_) if rules.by_content => self.alike.push(file),
            Some(there) => match compare_times(there.mtime_ns, node.mtime_ns) {
                TimeMatch::Same => self.same += 1,
                TimeMatch::Near if node.size > COMPARED_BYTES_MAX => self.same += 1,
                TimeMatch::Near | TimeMatch::Shifted => self.alike.push(file),
                TimeMatch::Different => self.files.push(file),
            },
            None => self.files.push(file),
        }
    }

    fn add_removals(
        &mut self,
        source: &Tree,
        target: &Tree,
        mut skipped: HashSet<VPath>,
        mut in_the_way: HashSet<VPath>,
        rules: Rules,
    ) {
        for path in target.nodes.keys() {
            if in_the_way.contains(path) || is_below(path, &in_the_way) {
                self.in_the_way.push(path.clone());
                in_the_way.insert(path.clone());
            } else if skipped.contains(path) || is_below(path, &skipped) {
                skipped.insert(path.clone());
            } else if rules.with_delete && !source.nodes.contains_key(path) && !target.kept.contains(path) {
                self.extra.push(path.clone());
            }
        }
        // Folders stand before what is in them.
        self.in_the_way.reverse();
        self.extra.reverse();
    }
}

fn is_below(path: &VPath, folders: &HashSet<VPath>) -> bool {
    path.parent().is_some_and(|folder| folders.contains(&folder))
}

/// A file with nearly the same time on both sides is compared by its digest up to this size. To read a larger one
/// each time would take longer than most changes are worth that a clock of two seconds hides.
const COMPARED_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VPath {
        VPath::parse(text.as_bytes()).expect("valid")
    }

    /// `a/` is a folder, `a@` a link, `a=3,5` a file of 3 bytes and the time 5 s.
    fn tree(entries: &str) -> Tree {
        let mut tree = Tree::default();
        for entry in entries.split_whitespace() {
            let node =
                |kind, size, seconds: i64| Node { kind, size, mtime_ns: seconds * 1_000_000_000 + 1, mode: None };
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

    fn shown(plan: &Plan) -> String {
        let paths = |paths: &[VPath]| paths.iter().map(VPath::to_string).collect::<Vec<_>>().join(" ");
        let files = |files: &[Move]| files.iter().map(|file| file.path.to_string()).collect::<Vec<_>>().join(" ");
        let mut parts = vec![];
        for (name, content) in [
            ("way", paths(&plan.in_the_way)),
            ("blocked", paths(&plan.blocked)),
            ("left", paths(&plan.left_out)),
            ("mkdir", paths(&plan.folders)),
            ("move", files(&plan.files)),
            ("alike", files(&plan.alike)),
            ("rm", paths(&plan.extra)),
        ] {
            if !content.is_empty() {
                parts.push(format!("{name}: {content}"));
            }
        }
        parts.push(format!("same: {}", plan.same));
        parts.join("; ")
    }

    const DELETE: Rules = Rules { by_content: false, with_delete: true, modes_but: None };

    #[test]
    fn only_what_differs_moves() {
        let source = tree("d/ d/a=1,1 d/b=1,1 d/c=1,1 new/ new/x=1,1 z=0,0");
        let target = tree("d/ d/a=1,1 d/b=2,1 d/c=1,2 old/ old/y=1,1 old/z/ other=1,1");
        let plan = Plan::new(&source, &target, Rules::default());
        assert_eq!(shown(&plan), "mkdir: /new; move: /d/b /d/c /new/x /z; same: 1");
        let replaced: Vec<bool> = plan.files.iter().map(|file| file.replaces).collect();
        assert_eq!(replaced, [true, true, false, false]);
        let plan = Plan::new(&source, &target, DELETE);
        assert_eq!(shown(&plan), "mkdir: /new; move: /d/b /d/c /new/x /z; rm: /other /old/z /old/y /old; same: 1");
        let by_content = Plan::new(&source, &target, Rules { by_content: true, ..Rules::default() });
        assert_eq!(shown(&by_content), "mkdir: /new; move: /d/b /new/x /z; alike: /d/a /d/c; same: 0");
        assert_eq!(shown(&Plan::new(&source, &source, DELETE)), "same: 5");
    }

    #[test]
    fn what_is_of_another_kind_goes_first_or_blocks_what_is_below_it() {
        let source = tree("a/ a/x=1,1 b=1,1 c=1,1");
        let target = tree("a=1,1 b/ b/y/ b/y/z=1,1 b-c=1,1 c@");
        assert_eq!(
            shown(&Plan::new(&source, &target, DELETE)),
            "way: /c /b/y/z /b/y /b /a; mkdir: /a; move: /a/x /b /c; rm: /b-c; same: 0"
        );
        assert_eq!(shown(&Plan::new(&source, &target, Rules::default())), "blocked: /a /b /c; same: 0");
    }

    #[test]
    fn what_is_excluded_or_left_out_stays_where_it_is() {
        let source = tree("link@ a=1,1");
        let mut target = tree("link/ link/x=1,1 old/ old/sub/ old/y=1,1 a/");
        target.keep(&path("/old/sub/excluded"));
        target.keep(&path("/a/excluded"));
        assert_eq!(shown(&Plan::new(&source, &target, DELETE)), "blocked: /a; left: /link; rm: /old/y; same: 0");
    }

    #[test]
    fn a_small_file_with_nearly_the_same_time_and_any_with_a_shifted_one_are_compared() {
        const SECOND_NS: i64 = 1_000_000_000;
        let plan = |size, here_ns, there_ns| {
            let tree = |mtime_ns| {
                let mut tree = Tree::default();
                tree.add(path("f"), Node { kind: EntryKind::File, size, mtime_ns, mode: None });
                tree
            };
            shown(&Plan::new(&tree(here_ns), &tree(there_ns), Rules::default()))
        };
        let (fine, coarse) = (7 * SECOND_NS + 123, 6 * SECOND_NS);
        assert_eq!(plan(COMPARED_BYTES_MAX, fine, coarse), "alike: /f; same: 0");
        assert_eq!(plan(COMPARED_BYTES_MAX + 1, fine, coarse), "same: 1");
        assert_eq!(plan(1 << 40, fine, coarse + 3600 * SECOND_NS), "alike: /f; same: 0");
        assert_eq!(plan(1, fine, coarse + 2 * SECOND_NS + 1), "move: /f; same: 0");
    }
}
