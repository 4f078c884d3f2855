//! SIGKILL before a chosen system call, for every kind of call that changes a disk.

use std::fs;
use std::process::Command;
use std::sync::mpsc::channel;

use serde_json::json;

use super::trace::{self, Call, watched};
use crate::support::check_after_crash::recover;
use crate::support::needs::{STRACE, TRACING, tests};
use crate::support::peer::Peer;
use crate::support::random::Random;
use crate::support::random_changes::{History, Tree, read_tree};
use crate::support::{PASSWORD, Place, Server};
use berth::account::{Account, Accounts};
use berth::config::Config;

tests! {
    [STRACE, TRACING]
        kill_9_before_any_system_call_of_a_change_leaves_each_done_or_not_done_and_an_exact_quota,
        kill_9_before_any_system_call_of_an_account_command_leaves_the_account_as_before_or_as_after;
}

const DIRECTORY: &str = "/x";
const CHANGES: usize = 12;
/// What changes a home. `openat` also reads, but makes parts and records, too.
const CHANGING: &str =
    "openat,pwrite64,write,ftruncate,mkdirat,renameat,renameat2,linkat,unlinkat,utimensat,fsync,fdatasync";
/// What an account command does.
const COMMAND: &str = "openat,write,fchmod,fsync,rename,mkdir,chmod,unlink,flock,close";

/// Some of `calls` from number `began` on, spread over all of them: each as a name and a number
/// among those of its name.
fn sample(calls: &[Call], began: usize, by_default: usize) -> Vec<(&str, usize)> {
    let wanted = std::env::var("BERTH_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(by_default);
    let number = |at: usize| calls[..=at].iter().filter(|call| call.name == calls[at].name).count();
    let step = (calls.len() - began).div_ceil(wanted).max(1);
    (began..calls.len()).step_by(step).map(|at| (calls[at].name.as_str(), number(at))).collect()
}

/// `command` under strace, which kills it as it begins this call.
fn killed_at(place: &Place, command: &Command, (name, number): (&str, usize)) -> Command {
    let inject = format!("inject={name}:signal=KILL:when={number}");
    watched(command, &trace::file(place), name, &["-e", &inject])
}

// ---- A server -----------------------------------------------------------------------------

/// Makes the same changes from the beginning. Returns how many were acknowledged.
fn play(server: &Server) -> (History, usize) {
    let mut peer = Peer::login(server.address, "ann");
    let history = History::random(&mut Random::new(4), &mut peer, DIRECTORY, Tree::new(), CHANGES);
    let (answered, _answers) = channel();
    let acknowledged = history.play(peer, answered).join().expect("no panic");
    (history, acknowledged)
}

fn empty_home(place: &Place) {
    let _ = fs::remove_dir_all(place.home("ann", ".berth"));
    let _ = fs::remove_dir_all(place.home("ann", &DIRECTORY[1..]));
    fs::create_dir(place.home("ann", &DIRECTORY[1..])).expect("writable");
}

fn kill_9_before_any_system_call_of_a_change_leaves_each_done_or_not_done_and_an_exact_quota() {
    let place = Place::with(json!({"sync": "full"}));
    place.add("ann", &["--quota", "1G"]);
    // The first start makes a key.
    place.serve().program.kill();
    empty_home(&place);
    // Once to the end, to know how many calls there are.
    let mut server = place.serve_as(watched(&place.berthd(&["serve"]), &trace::file(&place), CHANGING, &[]));
    let (_, acknowledged) = play(&server);
    server.program.kill();
    let mut calls = trace::read(&place);
    let main = calls.first().expect("calls").thread;
    // Those of the sync helper are counted by themselves.
    calls.retain(|call| call.thread == main);
    let began = calls.iter().position(|call| call.path().ends_with("homes/ann")).expect("it opens the home");
    assert!(acknowledged == CHANGES && calls.len() > began + 40, "{acknowledged}, {calls:?}");
    let (mut resumed, mut undone) = (0, 0);
    for call in sample(&calls, began, 12) {
        empty_home(&place);
        let server = place.serve_as(killed_at(&place, &place.berthd(&["serve"]), call));
        let (history, acknowledged) = play(&server);
        drop(server);
        let mut trees = [history.find(&place.home("ann", ""), DIRECTORY, acknowledged)];
        undone += usize::from(acknowledged < CHANGES);
        let server = place.serve();
        resumed += recover(&place, &server, &[history], &mut trees);
        assert!(read_tree(&place.home("ann", ""), DIRECTORY) == trees[0]);
    }
    assert!(undone > 0, "it was never killed");
    println!("{undone} kills during changes, {resumed} uploads resumed");
}

// ---- Account commands ---------------------------------------------------------------------

/// An account and the directory it is in, as they can be put back.
struct Accounted {
    place: Place,
    accounts: Accounts,
    /// The account's file; none where it is yet to be added.
    file: Option<Vec<u8>>,
}

impl Accounted {
    /// With the account `ann`, if it `exists`.
    fn new(exists: bool) -> Self {
        let place = Place::new();
        let config = Config::load(&place.path("conf/berthd.json")).expect("valid");
        let accounts = Accounts::open(&config).expect("a folder");
        if exists {
            place.add("ann", &["--quota", "1M"]);
        }
        let file = fs::read(place.path("conf/users/ann.json")).ok();
        Self { place, accounts, file }
    }

    fn put_back(&self) {
        let _ = fs::remove_dir(self.place.home("ann", ""));
        for left in fs::read_dir(self.place.path("conf/users")).expect("there") {
            let path = left.expect("readable").path();
            if path.file_name().is_some_and(|name| name != ".decoy") {
                fs::remove_file(path).expect("ours");
            }
        }
        if let Some(file) = &self.file {
            fs::create_dir_all(self.place.home("ann", "")).expect("writable");
            fs::write(self.place.path("conf/users/ann.json"), file).expect("writable");
        }
    }

    fn load(&self) -> Option<Account> {
        self.accounts.load(&"ann".parse().expect("a name")).expect("valid after a kill")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        fs::write(self.place.path("io/new"), "another password").expect("writable");
        self.place.berthd(&[&["user"], arguments].concat())
    }

    fn run(&self, mut command: Command) {
        command.stdin(fs::File::open(self.place.path("io/new")).expect("readable"));
        self.place.run(command);
    }
}

/// Kills the command before a sample of its system calls; how often the account was as before,
/// and how often as after.
fn kill_command(exists: bool, arguments: &[&str]) -> (usize, usize) {
    let scene = Accounted::new(exists);
    let before = scene.load();
    scene.run(watched(&scene.command(arguments), &trace::file(&scene.place), COMMAND, &[]));
    let after = scene.load();
    assert!(before != after, "{arguments:?} changes nothing");
    let calls = trace::read(&scene.place);
    let users = scene.place.path("conf/users").display().to_string();
    let is_about_accounts = |call: &Call| call.named().iter().any(|path| path.starts_with(&users));
    let began = calls.iter().position(is_about_accounts).expect("it opens the accounts");
    let (mut undone, mut done) = (0, 0);
    for call in sample(&calls, began, 6) {
        scene.put_back();
        scene.run(killed_at(&scene.place, &scene.command(arguments), call));
        let found = scene.load();
        if found == before {
            undone += 1;
        } else {
            // Another password has another salt each time.
            let is_after = found.as_ref().zip(after.as_ref()).map_or(found == after, |(found, after)| {
                let same = Account { verifier: after.verifier.clone(), ..found.clone() };
                let changes_password = after.verifier.matches("another password");
                same == *after && found.verifier.matches(if changes_password { "another password" } else { PASSWORD })
            });
            assert!(is_after, "{arguments:?} killed at {call:?}");
            done += 1;
        }
        let problems = scene.accounts.check().expect("readable");
        assert!(problems.is_empty(), "{arguments:?} killed at {call:?}: {problems:?}");
        // What was left halfway is no obstacle.
        if found.is_some() {
            scene.place.admin(&["user", "set", "ann", "--quota", "2M"]);
        } else {
            scene.place.add("ann", &[]);
        }
    }
    (undone, done)
}

fn kill_9_before_any_system_call_of_an_account_command_leaves_the_account_as_before_or_as_after() {
    let (mut undone, mut done) = (0, 0);
    for (exists, arguments) in [
        (false, &["add", "ann", "--password-stdin"][..]),
        (true, &["passwd", "ann", "--password-stdin"]),
        (true, &["set", "ann", "--quota", "1G"]),
        (true, &["lock", "ann"]),
        (true, &["remove", "ann"]),
    ] {
        let (undone_here, done_here) = kill_command(exists, arguments);
        (undone, done) = (undone + undone_here, done + done_here);
    }
    assert!(undone > 0 && done > 0, "{undone} as before, {done} as after");
    println!("{undone} as before, {done} as after");
}
