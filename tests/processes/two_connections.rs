//! Large files of a tree use two connections: the output is that of one command, either connection may be lost or
//! refused, and Ctrl-C ends both.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::Ended;
use crate::support::random::Random;
use crate::support::visit::ProxiedVisit;
use crate::support::{pattern, wait_until};

const MIB: usize = 1024 * 1024;
const LARGE: usize = 5;
const SMALL: usize = 30;

impl ProxiedVisit {
    /// Where the tree is, and where it goes.
    fn ends(&self, is_up: bool) -> (PathBuf, PathBuf) {
        match is_up {
            true => (self.place.here("src"), self.place.home("ann", "image")),
            false => (self.place.home("ann", "src"), self.place.here("image")),
        }
    }

    /// Large files with a partial transfer at their destination.
    fn under_way(&self, is_up: bool) -> usize {
        let directory = if is_up { self.place.home("ann", ".berth") } else { self.place.here("image") };
        let is_part = |name: &str| is_up || name.ends_with(".berth-part");
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let parts = entries.filter(|entry| is_part(&entry.file_name().to_string_lossy()));
        parts.filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() >= MIB as u64)).count()
    }
}

/// Each command that moves trees, and whether it moves them up.
const COMMANDS: [(&[&str], bool); 4] = [
    (&["put", "-r", "src", "image"], true),
    (&["get", "-r", "src", "image"], false),
    (&["mirror", "src", "image"], true),
    (&["mirror", "--from", "src", "image"], false),
];

/// Slow enough that something is on its way while a test looks.
fn slow() -> Value {
    json!({"rates": {"account_up": "8M", "account_down": "8M"}})
}

fn plant(root: &Path) {
    fs::create_dir_all(root.join("inner")).expect("writable");
    for at in 0..LARGE {
        fs::write(root.join(format!("large{at}")), pattern(at as u64, 5 * MIB + at)).expect("writable");
    }
    for at in 0..SMALL {
        fs::write(root.join(format!("inner/small{at}")), pattern(at as u64, at * 100)).expect("writable");
    }
}

#[track_caller]
fn expect_same(source: &Path, image: &Path) {
    let names = (0..LARGE).map(|at| format!("large{at}")).chain((0..SMALL).map(|at| format!("inner/small{at}")));
    for name in names {
        let there = fs::read(image.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(there == fs::read(source.join(&name)).expect("planted"), "{name} is another");
    }
}

#[track_caller]
fn expect_all(ended: &Ended) {
    let told = ended.stdout.contains(": 35 files, 25M") && !ended.stdout.contains("already");
    assert!(told, "each file counts once: {ended:?}");
}

#[test]
fn a_tree_with_large_files_uses_two_connections_and_reports_one_result() {
    for (arguments, is_up) in COMMANDS {
        let visit = ProxiedVisit::with(slow());
        let (source, image) = visit.ends(is_up);
        plant(&source);
        let ended = visit.start_over_tls(arguments).wait().expect_code(0);
        expect_all(&ended);
        expect_same(&source, &image);
        assert_eq!(visit.proxy.connections(), 2, "{arguments:?}");
        assert!(!ended.stderr.contains("connection"), "{ended:?}");
    }
}

#[test]
fn json_reports_each_file_once() {
    for (arguments, is_up) in COMMANDS {
        let visit = ProxiedVisit::with(slow());
        let (source, _) = visit.ends(is_up);
        plant(&source);
        let ended = visit.start_over_tls(&[&["--json"], arguments].concat()).wait().expect_code(0);
        let objects: Vec<Value> =
            ended.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
        let mut moved: Vec<String> = objects
            .iter()
            .filter(|object| object["digest"].is_string() && object["status"] == "done")
            .map(|object| if is_up { object["remote"].to_string() } else { object["local"].to_string() })
            .collect();
        if arguments[0] == "mirror" {
            moved =
                objects.iter().filter(|object| object["digest"].is_string()).map(|o| o["path"].to_string()).collect();
        }
        moved.sort();
        moved.dedup();
        assert_eq!(moved.len(), LARGE + SMALL, "{arguments:?} {ended:?}");
        assert_eq!(objects.last().expect("a summary")["files"], LARGE + SMALL);
    }
}

#[test]
fn two_connections_that_are_lost_repeatedly_end_in_the_same_tree() {
    for (seed, (arguments, is_up)) in COMMANDS.into_iter().enumerate() {
        let visit = ProxiedVisit::with(json!({}));
        let (source, image) = visit.ends(is_up);
        plant(&source);
        let mut random = Random::new(seed as u64);
        let valve = if is_up { &visit.proxy.up } else { &visit.proxy.down };
        visit.proxy.cut_after(valve, (0..10).map(|_| random.below(5 * MIB) as u64));
        let ended = visit.start_over_tls(arguments).wait().expect_code(0);
        expect_all(&ended);
        expect_same(&source, &image);
        assert!(ended.stderr.contains("connection lost"), "{ended:?}");
    }
}

#[test]
fn one_connection_transfers_everything_if_a_second_is_refused() {
    for (arguments, is_up) in COMMANDS {
        let visit = ProxiedVisit::with(json!({"limits": {"sessions_per_account": 1}}));
        let (source, image) = visit.ends(is_up);
        plant(&source);
        let ended = visit.start_over_tls(arguments).wait().expect_code(0);
        expect_all(&ended);
        expect_same(&source, &image);
        assert!(!ended.stderr.contains("session"), "nobody needs to know: {ended:?}");
    }
}

#[test]
fn the_first_connection_takes_over_the_files_of_a_lost_second_one() {
    for (arguments, is_up) in COMMANDS {
        let visit = ProxiedVisit::with(slow());
        let (source, image) = visit.ends(is_up);
        plant(&source);
        let mut program = visit.start_over_tls(&[&["--retries", "0"], arguments].concat());
        wait_until("two files are on their way", || visit.under_way(is_up) == 2 && visit.proxy.connections() == 2);
        visit.proxy.cut_newest();
        let ended = program.wait().expect_code(0);
        assert!(ended.stderr.contains("continuing with one connection: connection lost"), "{ended:?}");
        expect_same(&source, &image);
        assert!(ended.stdout.contains(": 35 files, "), "{ended:?}");
    }
}

#[test]
fn ctrl_c_ends_both_connections_and_the_next_run_resumes() {
    for (arguments, is_up) in COMMANDS {
        let visit = ProxiedVisit::with(slow());
        let (source, image) = visit.ends(is_up);
        plant(&source);
        let moved = if is_up { &visit.proxy.up } else { &visit.proxy.down };
        moved.hold_after(14 * MIB as u64);
        let mut program = visit.start_over_tls(arguments);
        moved.wait_held();
        assert_eq!(visit.proxy.connections(), 2);
        program.signal(Signal::INT);
        program.wait().expect_code(130);
        // Bytes in transit must not arrive during the next run.
        visit.proxy.cut();
        wait_until("the server has come to the end of both", || {
            visit.place.log("access.log").matches(" verb=close ").count() == 2
        });
        moved.open();
        let before = moved.passed();
        let again = if is_up { &["mirror", "src", "image"][..] } else { &["mirror", "--from", "src", "image"] };
        visit.start_over_tls(again).wait().expect_code(0);
        expect_same(&source, &image);
        assert!(moved.passed() - before < 20 * MIB as u64, "most is moved once: {}", moved.passed() - before);
    }
}
