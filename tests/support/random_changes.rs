//! Random changes to a home, with its content after each of them, so that a test can check whether a killed server
//! did each change completely or not at all, and in order.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use super::pattern;
use super::peer::{Incoming, Peer};
use super::random::Random;
use super::requests::Put;
use berth::base::digest::Digest;
use berth::base::upload_id::UploadId;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{End, Name, Partial, PutMode};
use berth::wire::{Reply, Request};

/// The content of a home by path: the bytes of a file, or `None` for a directory.
pub(crate) type Tree = BTreeMap<String, Option<Arc<Vec<u8>>>>;

/// An upload that is large enough to be kept.
struct Large {
    id: UploadId,
    path: String,
    content: Arc<Vec<u8>>,
}

/// The changes that one connection requests in order, without waiting for replies.
pub(crate) struct History {
    /// The content of the directory after 0, 1, 2, … changes.
    trees: Vec<Tree>,
    requests: Vec<u8>,
    large: Vec<Large>,
}

impl History {
    /// Creates `count` random changes within `directory`, whose content before them is `tree`. Each change succeeds.
    pub(crate) fn random(random: &mut Random, peer: &mut Peer, directory: &str, tree: Tree, count: usize) -> Self {
        let mut history = Self { trees: vec![tree], requests: Vec::new(), large: Vec::new() };
        while history.trees.len() <= count {
            let path = format!("{directory}/{}{}", random.pick(&["", "", "d0/", "d1/"]), random.pick(&["a", "b", "c"]));
            let below = format!("{directory}/{}", random.pick(&["d0", "d1"]));
            match random.below(20) {
                0..=8 => history.put(peer, random, path),
                9 | 10 => history.put_large(peer, random, path),
                11 | 12 => {
                    let to =
                        format!("{directory}/{}{}", random.pick(&["", "d0/", "d1/"]), random.pick(&["a", "b", "c"]));
                    history.rename(peer, path, to);
                }
                13 | 14 => history.remove(peer, path),
                15 | 16 => history.make_directory(peer, below),
                17 => history.remove_directory(peer, below),
                _ => {
                    let to = format!("{directory}/{}", random.pick(&["d0", "d1"]));
                    history.rename(peer, below, to);
                }
            }
        }
        history
    }

    /// Returns the number of changes.
    pub(crate) fn len(&self) -> usize {
        self.trees.len() - 1
    }

    // ---- The changes ----------------------------------------------------------------------

    fn put(&mut self, peer: &mut Peer, random: &mut Random, path: String) {
        let bytes = random.below(5000);
        let content = content(random, bytes);
        if self.holds_place_for(&path) {
            self.requests.extend(peer.encode_put(&path, &content, PutMode::Replace));
            self.change(|tree| drop(tree.insert(path, Some(Arc::new(content)))));
        }
    }

    fn put_large(&mut self, peer: &mut Peer, random: &mut Random, path: String) {
        if !self.holds_place_for(&path) {
            return;
        }
        let bytes = (1 << 20) + random.below(2 << 20);
        let content = Arc::new(content(random, bytes));
        let mut id = UploadId([0; 16]);
        id.0[..8].copy_from_slice(&random.next().to_be_bytes());
        let (number, bytes) = peer.encode(&put_as(&path, content.len(), id, false));
        self.requests.extend(bytes);
        put_rest(&mut self.requests, number, &content, 0);
        self.large.push(Large { id, path: path.clone(), content: Arc::clone(&content) });
        self.change(|tree| drop(tree.insert(path, Some(content))));
    }

    fn rename(&mut self, peer: &mut Peer, from: String, to: String) {
        let tree = self.last();
        let is_file = |path: &String| matches!(tree.get(path), Some(Some(_)));
        let fits = match tree.get(&from) {
            Some(Some(_)) => self.holds_place_for(&to),
            Some(None) => !tree.contains_key(&to),
            None => false,
        };
        if !fits || from == to {
            return;
        }
        let replace = is_file(&to);
        self.ask(peer, &Request::Mv { from: name(&from), to: name(&to), replace });
        self.change(|tree| {
            let is_moved = |path: &String| *path == from || path.starts_with(&format!("{from}/"));
            let moved: Vec<String> = tree.keys().filter(|path| is_moved(path)).cloned().collect();
            for path in moved {
                let entry = tree.remove(&path).expect("found above");
                tree.insert(format!("{to}{}", &path[from.len()..]), entry);
            }
        });
    }

    fn remove(&mut self, peer: &mut Peer, path: String) {
        if matches!(self.last().get(&path), Some(Some(_))) {
            self.ask(peer, &Request::Rm { path: name(&path) });
            self.change(|tree| drop(tree.remove(&path)));
        }
    }

    fn make_directory(&mut self, peer: &mut Peer, path: String) {
        if !self.last().contains_key(&path) {
            self.ask(peer, &Request::Mkdir { path: name(&path), parents: false, permissions: None });
            self.change(|tree| drop(tree.insert(path, None)));
        }
    }

    fn remove_directory(&mut self, peer: &mut Peer, path: String) {
        let is_empty = !self.last().keys().any(|other| other.starts_with(&format!("{path}/")));
        if is_empty && matches!(self.last().get(&path), Some(None)) {
            self.ask(peer, &Request::Rmdir { path: name(&path) });
            self.change(|tree| drop(tree.remove(&path)));
        }
    }

    fn ask(&mut self, peer: &mut Peer, request: &Request) {
        self.requests.extend(peer.encode(request).1);
    }

    fn change(&mut self, change: impl FnOnce(&mut Tree)) {
        let mut tree = self.last().clone();
        change(&mut tree);
        self.trees.push(tree);
    }

    fn last(&self) -> &Tree {
        self.trees.last().expect("there is always the first")
    }

    /// Returns whether a file can be stored there: its directory exists, and the path is no directory.
    fn holds_place_for(&self, path: &str) -> bool {
        let (above, _) = path.rsplit_once('/').expect("absolute");
        let is_top = above.matches('/').count() == 1;
        let has_directory = is_top || matches!(self.last().get(above), Some(None));
        has_directory && !matches!(self.last().get(path), Some(None))
    }

    // ---- The server's part ----------------------------------------------------------------

    /// Sends all changes over `peer`. Signals each reply, and returns the number of replies at the end.
    pub(crate) fn play(&self, mut peer: Peer, answered: Sender<()>) -> JoinHandle<usize> {
        let requests = self.requests.clone();
        let mut sending = peer.stream.try_clone().expect("descriptors are left");
        // A server that is killed takes no more; a server whose answers nobody reads, neither.
        let sender = thread::spawn(move || drop(sending.write_all(&requests)));
        let count = self.len();
        thread::spawn(move || {
            let mut acknowledged = 0;
            while acknowledged < count
                && let Ok(incoming) = peer.receive()
            {
                let is_done = matches!(incoming, Incoming::Reply(_, Reply::Done {} | Reply::Stored { .. }));
                assert!(is_done, "change {acknowledged} is refused: {incoming:?}");
                acknowledged += 1;
                let _ = answered.send(());
            }
            sender.join().expect("no panic");
            acknowledged
        })
    }

    /// Returns the content of `directory` of `home`. Checks that it is the content after the first N changes, with at
    /// least the acknowledged ones and no incomplete change.
    #[track_caller]
    pub(crate) fn find(&self, home: &Path, directory: &str, acknowledged: usize) -> Tree {
        let found = read_tree(home, directory);
        if self.trees[acknowledged..].contains(&found) {
            return found;
        }
        let shown = |tree: &Tree| {
            let entry = |entry: &Option<Arc<Vec<u8>>>| entry.as_ref().map(|content| Digest::of(content));
            tree.iter().map(|(path, of)| (path.clone(), entry(of))).collect::<BTreeMap<_, _>>()
        };
        let at = self.trees.iter().position(|tree| *tree == found);
        panic!("{acknowledged} changes were acknowledged; what is there is {:?}, {at:?}", shown(&found));
    }

    /// Resumes an interrupted upload if it is one of these, and updates `tree`. Returns whether it is.
    pub(crate) fn resume(&self, peer: &mut Peer, partial: &Partial, tree: &mut Tree) -> bool {
        let Some(large) = self.large.iter().find(|large| large.id == partial.upload_id) else { return false };
        let number = peer.request(&put_as(&large.path, large.content.len(), large.id, true));
        let Reply::Ready { offset, prefix_digest } = peer.reply() else { panic!("{} cannot be resumed", large.path) };
        assert_eq!(offset, partial.offset);
        assert_eq!(prefix_digest, Digest::of(&large.content[..offset as usize]), "what is kept is what was sent");
        let mut bytes = Vec::new();
        put_rest(&mut bytes, number, &large.content, offset as usize);
        peer.send(&bytes);
        let reply = peer.reply();
        assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
        tree.insert(large.path.clone(), Some(Arc::clone(&large.content)));
        true
    }
}

/// Returns the content of `directory` of `home`.
pub(crate) fn read_tree(home: &Path, directory: &str) -> Tree {
    let mut tree = Tree::new();
    for entry in fs::read_dir(home.join(&directory[1..])).expect("readable") {
        let entry = entry.expect("readable");
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("known").is_dir() {
            tree.extend(read_tree(home, &path));
            tree.insert(path, None);
        } else {
            tree.insert(path, Some(Arc::new(fs::read(entry.path()).expect("readable"))));
        }
    }
    tree
}

/// Returns a random slice of one pattern, which is created once.
fn content(random: &mut Random, bytes: usize) -> Vec<u8> {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    let whole = WHOLE.get_or_init(|| pattern(1, 4 << 20));
    let start = random.below(1 << 20);
    whole[start..start + bytes].to_vec()
}

fn name(path: &str) -> Name {
    Name::from(path)
}

fn put_as(path: &str, size: usize, upload_id: UploadId, resume: bool) -> Request {
    Put {
        path: name(path),
        size: Some(size as u64),
        mode: PutMode::Replace,
        upload_id: Some(upload_id),
        resume,
        ..Put::default()
    }
    .request()
}

/// The data of an upload from `offset` on, and its end.
fn put_rest(bytes: &mut Vec<u8>, number: u32, content: &[u8], offset: usize) {
    for piece in content[offset..].chunks(256 * 1024) {
        frame::put_bytes(bytes, FrameType::Data, number, piece);
    }
    let end = End { size: content.len() as u64, digest: Digest::of(content) };
    frame::put_json(bytes, FrameType::End, number, &end);
}
