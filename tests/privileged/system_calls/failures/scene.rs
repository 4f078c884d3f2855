//! A server, a home and a client directory in the same state before each case, and their state afterwards.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::json;

use super::super::trace;
use crate::support::peer::Peer;
use crate::support::process::Program;
use crate::support::{Place, Server, disk_usage, ftp_client, holds_within, pattern, wait_until};
use berth::wire::{Reply, Request};

/// How long one answer may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long the server may take to clean up after an operation.
const SETTLING: Duration = Duration::from_secs(3);
/// The prefix of an outcome without an answer.
pub(super) const NO_ANSWER: &str = "NO ANSWER:";
/// The file of the account.
pub(super) const ACCOUNT: &str = "conf/users/ann.json";
const STAGING: &str = ".berth";

/// Files by their paths with their content; directories have none.
pub(super) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// See the module.
pub(super) struct Scene {
    pub(super) place: Place,
    account: Vec<u8>,
}

/// What an operation came to.
pub(super) struct Outcome {
    pub(super) is_done: bool,
    /// What its user is told.
    pub(super) words: String,
    /// What was asked for, where the operation is a question.
    pub(super) output: String,
}

impl Outcome {
    /// None at all, which is always wrong.
    pub(super) fn none(why: impl Display) -> Self {
        Self { is_done: false, words: format!("{NO_ANSWER} {why}"), output: String::new() }
    }
}

impl Scene {
    pub(super) fn new() -> Self {
        let configuration = ftp_client::configuration(json!({}), json!({"sync": "full"}));
        let place = Place::with(configuration);
        place.add("ann", &["--quota", "10M"]);
        let account = fs::read(place.path(ACCOUNT)).expect("added");
        Self { place, account }
    }

    /// Everything as it is before each case. All of it is old, so that no two runs differ in times.
    pub(super) fn reset(&self) {
        for directory in [self.place.home("ann", ""), self.place.here(""), self.place.path("user")] {
            fs::remove_dir_all(&directory).expect("ours");
            fs::create_dir(&directory).expect("writable");
        }
        for (path, seed, size) in [
            ("homes/ann/old", 1, 120_000),
            ("homes/ann/folder/same", 3, 5_000),
            ("homes/ann/folder/other", 4, 20_000),
            ("homes/ann/folder/sub/far", 5, 7_000),
            ("here/new", 2, 300_000),
            ("here/tree/same", 3, 5_000),
            ("here/tree/other", 6, 30_000),
            ("here/tree/deep/near", 7, 9_000),
        ] {
            self.write(path, &pattern(seed, size));
        }
        fs::create_dir(self.place.home("ann", "empty")).expect("writable");
        // Listings tell the minute, which would pass between two of them.
        for directory in ["folder/sub", "folder", "empty"] {
            make_old(&self.place.home("ann", directory)).expect("ours");
        }
        fs::write(self.place.path(ACCOUNT), &self.account).expect("writable");
    }

    /// A file of long ago.
    pub(super) fn write(&self, path: &str, content: &[u8]) {
        let path = self.place.path(path);
        fs::create_dir_all(path.parent().expect("not the root")).expect("writable");
        fs::write(&path, content).expect("writable");
        make_old(&path).expect("ours");
    }

    /// Runs a program. One that hangs is ended, and has not done it.
    pub(super) fn run(&self, command: Command) -> Outcome {
        let mut program = self.place.start(command);
        if !holds_within(PATIENCE, || program.is_over()) {
            program.kill();
            return Outcome::none("it hangs");
        }
        let ended = program.wait();
        let words = format!("code {:?}, signal {:?}: {}", ended.code, ended.signal, ended.stderr);
        Outcome { is_done: ended.code == Some(0), words, output: ended.stdout }
    }

    // ---- What is found --------------------------------------------------------------------

    /// What the user sees of the home and of the directory of the client, parts not counted.
    pub(super) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        for directory in ["homes/ann", "here"] {
            add(&mut tree, &self.place.path(directory), directory);
        }
        tree
    }

    /// What lies in the staging directory, and parts beside the client's files.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let names = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten();
            entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let mut left = names(&self.place.home("ann", STAGING));
        let mut directories = vec![self.place.here("")];
        while let Some(directory) = directories.pop() {
            left.extend(names(&directory).into_iter().filter(|name| is_part(name)));
            directories.extend(names(&directory).iter().map(|name| directory.join(name)).filter(|path| path.is_dir()));
        }
        left
    }

    /// Checks that a new login works and that its quota is what the disk holds. Returns the problems.
    pub(super) fn check_server(&self, server: &mut Server) -> Result<(), String> {
        if server.program.is_over() {
            return Err(format!("the server has ended: {}", server.program.stderr()));
        }
        let address = server.address;
        let report = move || match Peer::login(address, "ann").ask(&Request::Quota {}) {
            Reply::Quota(report) => report,
            other => panic!("a report, not {other:?}"),
        };
        // strace counts the calls of each thread, so a call can fail once on the loop and once on a worker. A count that
        // has met both names the entry that it could not examine.
        if server.program.stderr().contains("cannot be examined") {
            self.place.admin(&["usage", "ann", "--repair"]);
        }
        let mut found = None;
        // A session that was cut off gives back its promise a moment later.
        let is_settled = holds_within(SETTLING, || {
            found = Some(match catch_unwind(AssertUnwindSafe(report)) {
                Ok(report) => {
                    let told = ((report.used_bytes, report.used_files), report.reserved_bytes);
                    let right = (disk_usage(&self.place.home("ann", "")), 0);
                    if told == right { Ok(()) } else { Err(format!("the quota says {told:?}, right is {right:?}")) }
                }
                Err(_) => Err("a fresh login fails".into()),
            });
            found == Some(Ok(()))
        });
        if is_settled { Ok(()) } else { found.expect("it was looked for") }
    }
}

/// Gives a file or directory a time of long ago.
fn make_old(path: &Path) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::open(path)?.set_modified(time)
}

fn is_part(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".berth-part")
}

fn add(tree: &mut Tree, directory: &Path, path: &str) {
    for entry in fs::read_dir(directory).expect("readable") {
        let entry = entry.expect("readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == STAGING || is_part(&name) {
            continue;
        }
        let path = format!("{path}/{name}");
        if entry.path().is_dir() {
            tree.insert(path.clone(), None);
            add(tree, &entry.path(), &path);
        } else {
            tree.insert(path, Some(fs::read(entry.path()).expect("readable")));
        }
    }
}

// ---- strace -------------------------------------------------------------------------------

/// strace beside a server that runs.
pub(super) struct Tracer(Program);

impl Tracer {
    /// Returns once every call is seen.
    pub(super) fn attach(place: &Place, server: &Server, options: &[&str]) -> Self {
        let _ = fs::remove_file(trace::file(place));
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-s", "0"]).args(options).arg("-o").arg(trace::file(place));
        command.args(["-p", &server.program.pid().to_string()]);
        let mut strace = place.start(command);
        wait_until("strace watches", || {
            assert!(!strace.is_over(), "strace: {}", strace.stderr());
            strace.stderr().contains(" attached")
        });
        Self(strace)
    }

    /// Lets the server go.
    pub(super) fn detach(mut self) {
        self.0.signal(Signal::TERM);
        self.0.wait();
    }
}
