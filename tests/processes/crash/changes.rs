//! A server killed during changes by several connections: the first changes of each connection are complete, and no
//! change is half done.

use std::sync::mpsc::channel;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;

use super::crashes;
use crate::support::check_after_crash::recover;
use crate::support::peer::Peer;
use crate::support::process::kill;
use crate::support::random::Random;
use crate::support::random_changes::{History, Tree, read_tree};
use crate::support::{PATIENCE, Place, Server};
use berth::wire::message::Name;
use berth::wire::{Reply, Request};

/// Each connection has one to itself.
const DIRECTORIES: [&str; 2] = ["/x", "/y"];
/// Changes in one go; fewer than a session may ask for at once.
const CHANGES: usize = 50;

struct Scene {
    place: Place,
    server: Server,
    random: Random,
    trees: [Tree; 2],
    resumed: u64,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        place.add("ann", &["--quota", "1G"]);
        let server = place.serve();
        let mut peer = Peer::login(server.address, "ann");
        for directory in DIRECTORIES {
            let made = peer.ask(&Request::Mkdir { path: Name::from(directory), parents: false, permissions: None });
            assert!(matches!(made, Reply::Done {}), "{made:?}");
        }
        Self { place, server, random: Random::new(1), trees: [Tree::new(), Tree::new()], resumed: 0 }
    }

    /// Lets all connections ask for changes, kills the server when a share of `moment` in
    /// `moments` of them is done, and checks what is there.
    fn crash(&mut self, moment: u64, moments: u64) {
        let mut histories = Vec::new();
        let mut players = Vec::new();
        let (answered, answers) = channel();
        for (directory, tree) in DIRECTORIES.into_iter().zip(&self.trees) {
            let mut peer = Peer::login(self.server.address, "ann");
            let history = History::random(&mut self.random, &mut peer, directory, tree.clone(), CHANGES);
            players.push(history.play(peer, answered.clone()));
            histories.push(history);
        }
        drop(answered);
        for _ in 0..moment * (DIRECTORIES.len() * CHANGES) as u64 / moments {
            let _ = answers.recv_timeout(PATIENCE);
        }
        for _ in 0..self.random.below(300) {
            std::thread::yield_now();
        }
        kill(self.server.program.pid(), Signal::KILL);
        let home = self.place.home("ann", "");
        for (player, (history, at)) in players.into_iter().zip(histories.iter().zip(0..)) {
            let acknowledged = player.join().expect("no panic");
            self.trees[at] = history.find(&home, DIRECTORIES[at], acknowledged);
        }
        self.start_again(["none", "data", "full"][moment as usize % 3]);
        self.resumed += recover(&self.place, &self.server, &histories, &mut self.trees);
        for (directory, tree) in DIRECTORIES.into_iter().zip(&self.trees) {
            assert!(read_tree(&home, directory) == *tree, "{directory} is not as it should be");
        }
    }

    fn start_again(&mut self, sync: &str) {
        self.server.program.kill();
        self.place.configure(json!({"sync": sync}));
        self.server = self.place.serve();
    }
}

#[test]
fn kill_9_among_uploads_overwrites_renames_and_deletes_leaves_each_done_or_not_done() {
    let mut scene = Scene::new();
    let (moments, began) = (crashes(14), Instant::now());
    for moment in 0..moments {
        scene.crash(moment, moments);
    }
    println!("{moments} kills, {} uploads resumed, {:?}", scene.resumed, began.elapsed());
}
