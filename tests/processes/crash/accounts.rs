//! `berthd user` killed at any moment while a server reads the accounts: each account is as before or as after, and
//! the next command works.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::crashes;
use crate::support::process::{Program, kill};
use crate::support::random::Random;
use crate::support::{PATIENCE, Place};
use berth::account::{Account, Accounts};
use berth::config::Config;

const NAMES: [&str; 3] = ["ann", "bob", "eve"];

/// What an account should be.
#[derive(Debug, Clone, PartialEq)]
struct Expected {
    password: String,
    quota_bytes: Option<u64>,
    is_read_only: bool,
    is_locked: bool,
}

impl Expected {
    fn is(&self, account: &Account) -> bool {
        (self.quota_bytes, self.is_read_only, self.is_locked)
            == (account.quota_bytes, account.read_only, account.locked)
            && account.verifier.matches(&self.password)
    }
}

/// One command: its arguments, the password it reads, and what becomes of the account.
struct Change {
    arguments: Vec<String>,
    password: String,
    name: &'static str,
    becomes: Option<Expected>,
}

impl Change {
    fn random(random: &mut Random, expected: &BTreeMap<&'static str, Expected>) -> Self {
        let name = *random.pick(&NAMES);
        let password = format!("password {}", random.next());
        let quota = random.next() % (1 << 40);
        let change = |words: &[&str], becomes: Option<Expected>| {
            let arguments = words.iter().map(|word| (*word).to_string()).collect();
            Self { arguments, password: password.clone(), name, becomes }
        };
        let Some(now) = expected.get(name).cloned() else {
            let becomes = Expected {
                password: password.clone(),
                quota_bytes: Some(quota),
                is_read_only: false,
                is_locked: false,
            };
            return change(&["add", name, "--password-stdin", "--quota", &quota.to_string()], Some(becomes));
        };
        match random.below(10) {
            0 | 1 => {
                change(&["passwd", name, "--password-stdin"], Some(Expected { password: password.clone(), ..now }))
            }
            2 | 3 => {
                let becomes = Expected { quota_bytes: Some(quota), is_read_only: true, ..now };
                change(&["set", name, "--read-only", "--quota", &quota.to_string()], Some(becomes))
            }
            4 => change(&["set", name, "--read-write"], Some(Expected { is_read_only: false, ..now })),
            5 | 6 => change(&["lock", name], Some(Expected { is_locked: true, ..now })),
            7 => change(&["unlock", name], Some(Expected { is_locked: false, ..now })),
            _ => change(&["remove", name], None),
        }
    }

    fn start(&self, place: &Place) -> Program {
        let mut arguments = vec!["user"];
        arguments.extend(self.arguments.iter().map(String::as_str));
        let mut command = place.berthd(&arguments);
        fs::write(place.path("io/new"), &self.password).expect("writable");
        command.stdin(fs::File::open(place.path("io/new")).expect("readable"));
        place.start(command)
    }
}

/// Kills `program` after `delay`, which for some begins only when the new file of an account has
/// appeared: most of the time that a command takes goes into its start.
fn kill_amid(program: &mut Program, place: &Place, name: Option<&str>, delay: Duration) {
    let began = Instant::now();
    let new = name.map(|name| place.path(format!("conf/users/.{name}.json.tmp")));
    while new.as_ref().is_some_and(|new| !new.exists()) && !program.is_over() {
        assert!(began.elapsed() < PATIENCE);
    }
    let began = Instant::now();
    while began.elapsed() < delay && !program.is_over() {}
    kill(program.pid(), Signal::KILL);
    program.wait();
}

#[test]
fn kill_9_of_account_commands_leaves_each_account_as_before_or_as_after() {
    let place = Place::new();
    let mut expected = BTreeMap::new();
    let mut random = Random::new(2);
    let server = place.serve();
    let config = Config::load(&place.path("conf/berthd.json")).expect("valid");
    let accounts = Accounts::open(&config).expect("a folder");
    let (mut undone, mut done) = (0, 0);
    // What a whole one takes.
    let began = Instant::now();
    place.add("first", &[]);
    let whole = began.elapsed();
    for moment in 0..crashes(24) {
        let change = Change::random(&mut random, &expected);
        let mut program = change.start(&place);
        let share = whole.mul_f64(random.below(1000) as f64 / 1000.0);
        kill_amid(&mut program, &place, (moment % 3 > 0).then_some(change.name), share);
        let is_acknowledged = program.wait().code == Some(0);

        // Read as the running server reads them, at every login.
        let before = expected.get(change.name).cloned();
        let found = accounts.load(&change.name.parse().expect("a name")).expect("valid after a crash");
        let is = |of: &Option<Expected>| match (of, &found) {
            (Some(of), Some(found)) => of.is(found),
            (None, None) => true,
            _ => false,
        };
        if is(&change.becomes) {
            done += 1;
            expected.remove(change.name);
            expected.extend(change.becomes.map(|becomes| (change.name, becomes)));
        } else {
            assert!(!is_acknowledged && is(&before), "{:?} {before:?} {:?}", change.arguments, found.map(|a| a.name));
            undone += 1;
        }
    }
    assert!(done > 0 && undone > 0, "{done} done, {undone} not done");
    println!("{done} done, {undone} not done");
    place.admin(&["check"]);
    for name in NAMES {
        // What was left halfway is no obstacle.
        let verb = if expected.contains_key(name) { &["passwd"][..] } else { &["add"] };
        place.admin(&[&["user"], verb, &[name, "--password-stdin"]].concat());
        place.admin(&["user", "unlock", name]);
        crate::support::peer::Peer::login(server.address, name);
    }
    let names =
        fs::read_dir(place.path("conf/users")).expect("there").map(|entry| entry.expect("readable").file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}
