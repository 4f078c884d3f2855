//! Accounts on a real directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::OnceLock;
use std::time::Instant;

use super::*;
use crate::config::Config;

struct Place {
    directory: tempfile::TempDir,
    accounts: Accounts,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = Config::default_for(&directory.path().join("conf/berthd.json")).expect("the defaults are valid");
    let accounts = Accounts::open(&config).expect("writable");
    Place { directory, accounts }
}

#[test]
fn accounts_are_opened_at_once_while_an_administrator_holds_the_lock() {
    let place = place();
    let directory = place.directory.path().join("conf/users");
    let held = fs::File::open(directory.join(".lock")).expect("there");
    crate::base::atomic_file::lock(&held, &directory).expect("free");
    fs::remove_file(directory.join(".decoy")).expect("there");
    Accounts::open_at_once(&place.accounts.config).expect("it does without");
    assert!(!directory.join(".decoy").exists());
    drop(held);
    Accounts::open_at_once(&place.accounts.config).expect("writable");
    assert!(directory.join(".decoy").exists());
    fs::remove_file(directory.join(".decoy")).expect("there");
    fs::remove_file(directory.join(".lock")).expect("there");
    rustix::fs::mknodat(rustix::fs::CWD, directory.join(".lock"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("writable");
    Accounts::open(&place.accounts.config).expect("a FIFO is no lock, and is not waited for");
}

impl Place {
    fn account(&self, name: &str) -> Account {
        let name = self::name(name);
        let home = self.accounts.default_home(&name);
        static VERIFIER: OnceLock<Verifier> = OnceLock::new();
        let verifier = VERIFIER.get_or_init(|| Verifier::from_password("secret", 4096).expect("a password")).clone();
        Account { name, verifier, quota_bytes: Some(5), quota_files: None, home, read_only: false, locked: false }
    }

    fn add(&self, name: &str) -> Account {
        let account = self.account(name);
        self.accounts.add(&account).expect("a free name and home");
        account
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.accounts.path(&self::name(name)), content).expect("writable");
    }

    fn home_refusal(&self, name: &str, home: &str) -> HomeError {
        let account = Account { home: self.directory.path().join(home), ..self.account(name) };
        match self.accounts.add(&account) {
            Err(AccountError::Home { problem, .. }) => problem,
            other => panic!("{home}: {other:?}"),
        }
    }
}

fn name(text: &str) -> AccountName {
    text.parse().expect("a valid name")
}

#[test]
fn an_account_is_kept_and_its_files_are_private() {
    let place = place();
    let account = place.add("bob");
    assert_eq!(place.accounts.load(&account.name).expect("readable"), Some(account.clone()));
    assert_eq!(place.accounts.list().expect("readable"), std::slice::from_ref(&account));
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").mode() & 0o777;
    assert_eq!(mode(&place.accounts.path(&account.name)), 0o600);
    assert_eq!(mode(&place.directory.path().join("conf/users")), 0o700);
    assert_eq!(mode(&place.directory.path().join("conf/users/.decoy")), 0o600);
    assert_eq!(mode(&account.home), 0o750);
    let text = fs::read_to_string(place.accounts.path(&account.name)).expect("readable");
    assert!(text.contains(r#""home": "homes/bob""#), "a server can be moved: {text}");
    assert!(!text.contains("secret"));
}

#[test]
fn adding_twice_and_removing_twice_are_refused() {
    let place = place();
    let account = place.add("bob");
    assert!(matches!(place.accounts.add(&account), Err(AccountError::Exists(_))));
    assert_eq!(place.accounts.remove(&account.name).expect("removable"), Some(account.clone()));
    assert!(account.home.is_dir(), "the files stay");
    assert!(matches!(place.accounts.remove(&account.name), Err(AccountError::Unknown(_))));
    assert!(matches!(place.accounts.update(&account.name, |_| ()), Err(AccountError::Unknown(_))));
}

#[test]
fn equal_nested_and_outside_homes_are_refused() {
    let place = place();
    place.add("bob");
    assert!(matches!(place.home_refusal("eve", "homes/bob"), HomeError::Overlaps(_)));
    assert!(matches!(place.home_refusal("eve", "homes/bob/x/y"), HomeError::Overlaps(_)));
    assert!(matches!(place.home_refusal("eve", "homes"), HomeError::OutsideRoots { .. }));
    assert!(matches!(place.home_refusal("eve", "elsewhere"), HomeError::OutsideRoots { .. }));
    assert!(matches!(place.home_refusal("eve", "homes2/eve"), HomeError::OutsideRoots { .. }));
    place.add("bob2");
    assert!(!place.directory.path().join("homes/bob/x").exists(), "nothing is made for a refused home");
}

#[test]
fn a_link_above_a_home_does_not_lead_it_elsewhere() {
    let place = place();
    let bob = place.add("bob");
    let homes = place.directory.path().join("homes");
    symlink("/etc", homes.join("out")).expect("writable");
    symlink(&bob.home, homes.join("alias")).expect("writable");
    symlink("nowhere", homes.join("dangling")).expect("writable");
    fs::write(homes.join("file"), "").expect("writable");
    assert!(matches!(place.home_refusal("eve", "homes/out/eve"), HomeError::OutsideRoots { .. }));
    assert!(matches!(place.home_refusal("eve", "homes/alias"), HomeError::Overlaps(_)));
    assert!(matches!(place.home_refusal("eve", "homes/dangling"), HomeError::Io(_)));
    assert!(matches!(place.home_refusal("eve", "homes/file"), HomeError::NotADirectory));
}

#[test]
fn a_home_moved_out_of_the_roots_by_hand_is_refused_after_login() {
    let mut place = place();
    let bob = place.add("bob");
    assert!(place.accounts.home_rules().check(&bob).is_ok());
    let text = fs::read_to_string(place.accounts.path(&bob.name)).expect("readable");
    place.write("bob", &text.replace("homes/bob", "/etc"));
    let account = place.accounts.candidate("bob", Instant::now()).expect("readable").account.expect("not locked");
    assert!(matches!(place.accounts.home_rules().check(&account), Err(AccountError::Home { .. })));
}

#[test]
fn a_home_that_holds_the_configuration_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("conf/berthd.json");
    fs::create_dir(directory.path().join("conf")).expect("writable");
    fs::write(&file, r#"{"home_roots": ["."]}"#).expect("writable");
    let accounts = Accounts::open(&Config::load(&file).expect("valid")).expect("writable");
    let place = Place { directory, accounts };
    assert!(matches!(place.home_refusal("eve", "conf"), HomeError::HoldsConfiguration(_)));
    assert!(matches!(place.home_refusal("eve", "conf/users"), HomeError::HoldsConfiguration(_)));
}

#[test]
fn a_corrupt_file_lets_nobody_in_and_is_named() {
    let mut place = place();
    place.add("bob");
    let good = fs::read_to_string(place.accounts.path(&name("bob"))).expect("readable");
    let value: serde_json::Value = serde_json::from_str(&good).expect("JSON");
    let fields = ["format", "verifier", "quota_bytes", "quota_files", "home", "read_only", "locked"];
    let list = serde_json::Value::from(fields.map(|field| value[field].clone()).to_vec());
    for broken in [
        "",
        "{}",
        "[1]",
        &list.to_string(),
        &good.replace(r#""format": 1"#, r#""format": 2"#),
        &good.replace(r#""locked""#, r#""lokced""#),
        &good.replace(r#""quota_bytes": 5"#, r#""quota_bytes": -5"#),
        &format!("{good}x"),
        &"[".repeat(100_000),
    ] {
        place.write("bob", broken);
        let candidate = place.accounts.candidate("bob", Instant::now()).expect("as an unknown one");
        assert!(candidate.account.is_none());
        let error = place.accounts.load(&name("bob")).expect_err(broken);
        assert!(error.to_string().contains("conf/users/bob.json: not a valid account file"), "{error}");
        assert!(place.accounts.add(&place.account("eve")).is_err(), "its home may be anywhere");
        assert_eq!(place.accounts.check().expect("readable").len(), 1);
    }
    assert!(place.accounts.remove(&name("bob")).is_ok());
}

#[test]
fn errors_show_what_stands_in_a_file_escaped() {
    let place = place();
    place.add("bob");
    let outside = Account { home: "/\u{1b}[2J\u{61c}".into(), ..place.account("eve") };
    let refused = place.accounts.add(&outside).expect_err("not below the roots").to_string();
    place.write("bob", r#"{"\u001b[2J\u061c": 1}"#);
    let corrupt = place.accounts.load(&name("bob")).expect_err("an unknown key").to_string();
    for error in [refused, corrupt] {
        assert!(error.contains("\\x1b[2J\\xd8\\x9c") && !error.contains(crate::base::text::is_unprintable), "{error}");
    }
}

#[test]
fn until_there_is_a_decoy_on_disk_one_in_memory_answers_and_then_that_on_disk_at_once() {
    let mut place = place();
    let decoy = place.directory.path().join("conf/users/.decoy");
    let mut later = Accounts::open(&place.accounts.config).expect("readable");
    let salt = |accounts: &mut Accounts| {
        accounts.candidate("eve", Instant::now()).expect("no error for unknown names").verifier.salt.clone()
    };
    let on_disk = salt(&mut later);
    assert_eq!(on_disk, salt(&mut place.accounts));
    let aside = decoy.with_file_name(".aside");
    fs::rename(&decoy, &aside).expect("writable");
    let in_memory = salt(&mut later);
    assert_eq!(in_memory, salt(&mut later), "the same each time");
    assert_ne!(in_memory, on_disk);
    fs::rename(&aside, &decoy).expect("writable");
    assert_eq!(salt(&mut later), on_disk);
}

#[test]
fn unknown_names_and_locked_accounts_get_a_decoy_that_looks_real() {
    let mut place = place();
    let bob = place.add("bob");
    let candidate = place.accounts.candidate("bob", Instant::now()).expect("readable");
    assert_eq!((candidate.verifier, candidate.account), (bob.verifier.clone(), Some(bob.clone())));

    for unknown in ["eve", "../bob", "bob/../bob", ".decoy", "", &"x".repeat(300)] {
        let decoy = place.accounts.candidate(unknown, Instant::now()).expect("no error for unknown names");
        let again = place.accounts.candidate(unknown, Instant::now()).expect("no error for unknown names");
        assert!(decoy.account.is_none());
        assert_eq!(decoy.verifier, again.verifier, "stable");
        assert_eq!(decoy.verifier.salt.len(), bob.verifier.salt.len());
        assert_eq!(decoy.verifier.rounds, bob.verifier.rounds);
    }
    let other = place.accounts.candidate("eva", Instant::now()).expect("no error for unknown names");
    assert_ne!(other.verifier.salt, place.accounts.candidate("eve", Instant::now()).expect("no error").verifier.salt);

    place.accounts.update(&bob.name, |account| account.locked = true).expect("there");
    let locked = place.accounts.candidate("bob", Instant::now()).expect("readable");
    assert!(locked.account.is_none() && !locked.verifier.matches("secret"));
    assert_eq!(locked.verifier.salt, bob.verifier.salt);
}

#[test]
fn the_stamp_changes_with_every_change() {
    let place = place();
    let final_stamp = || {
        std::thread::sleep(std::time::Duration::from_millis(120));
        place.accounts.stamp().expect("readable")
    };
    let first = final_stamp();
    assert_eq!(place.accounts.stamp().expect("readable"), first);
    let bob = place.add("bob");
    let second = place.accounts.stamp().expect("readable");
    assert_ne!(second, first);
    // This change may get the same time as the one before, so the stamp is read again once it is final.
    place.accounts.update(&bob.name, |account| account.locked = true).expect("there");
    let third = final_stamp();
    assert_ne!(third, second);
    place.accounts.remove(&bob.name).expect("there");
    assert_ne!(final_stamp(), third);
}

#[test]
fn fifty_racing_for_one_home_leave_it_to_one() {
    let place = place();
    let home = place.accounts.default_home(&name("shared"));
    let added = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..50)
            .map(|i| Account { home: home.clone(), ..place.account(&format!("u{i}")) })
            .map(|account| {
                scope.spawn({
                    let accounts = &place.accounts;
                    move || accounts.add(&account).is_ok()
                })
            })
            .collect();
        tries.into_iter().map(|t| t.join().expect("no panic")).filter(|&ok| ok).count()
    });
    assert_eq!(added, 1);
}
