//! `berthd user …` and `berthd check`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A server's directory with a configuration of few rounds, so that passwords are quick.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with_configuration(r#"{"scram_rounds": 4096, "default_quota": "1G"}"#)
    }

    fn with_configuration(text: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(place.path("conf")).expect("writable");
        fs::write(place.path("conf/berthd.json"), text).expect("writable");
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn berthd(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_berthd"))
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("berthd was built");
        // It may end before it reads.
        let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
        child.wait_with_output().expect("it ends")
    }

    /// Runs a command that succeeds and says nothing on stderr; gives its stdout.
    fn ok(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.berthd(arguments, stdin);
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        text(&output.stdout)
    }

    /// Runs a command that fails with `code`; gives its stderr.
    fn fails(&self, code: i32, arguments: &[&str], stdin: &str) -> String {
        let output = self.berthd(arguments, stdin);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        stderr
    }

    fn add(&self, name: &str) {
        self.ok(&["user", "add", name, "--password-stdin"], "correct horse\n");
    }

    fn show(&self, name: &str) -> Value {
        serde_json::from_str(&self.ok(&["user", "show", name, "--json"], "")).expect("JSON")
    }

    fn record(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(&format!("conf/users/{name}.json"))).expect("there")).expect("JSON")
    }

    /// The names of all files below, to see that nothing was left behind.
    fn files(&self) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    walk(&path, found);
                }
                found.push(path);
            }
        }
        let mut found = Vec::new();
        walk(self.directory.path(), &mut found);
        found.sort();
        found
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn an_account_goes_through_its_life() {
    let place = Place::new();
    let added = place.ok(&["user", "add", "bob", "--max-files", "100", "--password-stdin"], "correct horse\n");
    assert!(added.contains("bob is added") && added.contains("homes/bob"), "{added}");
    let home = place.path("homes/bob");
    assert_eq!(fs::metadata(&home).expect("made").permissions().mode() & 0o777, 0o750);
    let expected = json!({"name": "bob", "home": home.to_str(), "quota_bytes": 1u64 << 30, "quota_files": 100,
                          "read_only": false, "locked": false});
    assert_eq!(place.show("bob"), expected);
    let record = place.record("bob");
    assert!(!record.to_string().contains("horse"), "no password on disk");

    place.ok(&["user", "set", "bob", "--quota", "1.5K", "--max-files", "none", "--read-only"], "");
    assert_eq!(place.show("bob")["quota_bytes"], 1536);
    assert_eq!(place.show("bob")["quota_files"], Value::Null);
    assert_eq!(place.show("bob")["read_only"], true);
    place.ok(&["user", "set", "bob", "--quota", "none"], "");
    assert_eq!(place.show("bob")["quota_bytes"], Value::Null);
    assert_eq!(place.show("bob")["read_only"], true, "what is not named stays");
    place.ok(&["user", "set", "bob", "--read-write"], "");
    assert_eq!(place.show("bob")["read_only"], false);

    place.ok(&["user", "passwd", "bob", "--password-stdin"], "another horse\n");
    assert_ne!(place.record("bob")["verifier"], record["verifier"]);

    place.ok(&["user", "lock", "bob"], "");
    assert_eq!(place.show("bob")["locked"], true);
    place.ok(&["user", "unlock", "bob"], "");
    assert_eq!(place.show("bob")["locked"], false);

    let removed = place.ok(&["user", "remove", "bob"], "");
    assert!(removed.contains(home.to_str().expect("UTF-8")), "{removed}");
    assert!(home.is_dir());
    assert!(place.fails(1, &["user", "show", "bob"], "").contains("no account bob"));
}

#[test]
fn a_list_is_a_table_for_people_and_an_array_for_programs() {
    let place = Place::new();
    assert_eq!(place.ok(&["user", "list", "--json"], ""), "[]\n");
    place.add("bob");
    place.ok(&["user", "add", "alexandra", "--quota", "none", "--read-only", "--password-stdin"], "correct horse");
    let table = place.ok(&["user", "list"], "");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[1].starts_with("alexandra ") && lines[2].starts_with("bob "), "{table}");
    assert_eq!(lines[1].find("read-only"), lines[2].find("read-write"), "aligned:\n{table}");
    assert!(lines[1].contains(" none ") && lines[2].contains(" 1G "), "{table}");
    let array: Value = serde_json::from_str(&place.ok(&["user", "list", "--json"], "")).expect("JSON");
    assert_eq!(array[0], place.show("alexandra"));
    assert_eq!(array[1], place.show("bob"));
}

#[test]
fn names_that_could_be_paths_are_refused() {
    let place = Place::new();
    let before = place.files();
    for name in ["../x", ".", "..", "a/b", "/etc/passwd", ".decoy", "", "a b", "é", &"a".repeat(300)] {
        for command in ["add", "show", "lock", "remove"] {
            let error = place.fails(2, &["user", command, "--", name], "correct horse\n");
            assert!(error.contains("account name"), "{error}");
        }
    }
    assert_eq!(place.files(), before);
}

#[test]
fn equal_nested_and_foreign_homes_are_refused() {
    let place = Place::new();
    place.add("bob");
    let before = place.files();
    for (home, problem) in [
        ("homes/bob", "is the home of bob"),
        ("homes/bob/inner", "is the home of bob"),
        ("homes/./x/../bob", "is the home of bob"),
        ("homes", "homes lie below"),
        ("/etc", "homes lie below"),
        ("homes/../conf", "homes lie below"),
        ("homes2", "homes lie below"),
    ] {
        let error = place.fails(1, &["user", "add", "eve", "--home", home, "--password-stdin"], "correct horse\n");
        assert!(error.contains(problem) && error.contains("eve"), "{home}: {error}");
    }
    assert_eq!(place.files(), before, "nothing half-written");
    place.add("eve");
    assert!(place.fails(1, &["user", "set", "eve", "--home", "homes/bob/x"], "").contains("is the home of bob"));
    assert_eq!(place.show("eve")["home"], json!(place.path("homes/eve")));
}

#[test]
fn a_home_that_is_there_is_used_as_it_is() {
    let place = Place::new();
    fs::create_dir_all(place.path("homes/bob")).expect("writable");
    fs::set_permissions(place.path("homes/bob"), fs::Permissions::from_mode(0o700)).expect("ours");
    fs::write(place.path("homes/bob/old"), "content").expect("writable");
    place.add("bob");
    assert_eq!(fs::read(place.path("homes/bob/old")).expect("there"), b"content");
    assert_eq!(fs::metadata(place.path("homes/bob")).expect("there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn passwords_are_one_line_and_not_empty() {
    let place = Place::new();
    place.add("bob");
    let before = place.record("bob");
    for (stdin, problem) in [("", "empty"), ("\n", "empty"), ("a\tb\n", "control"), (&"x".repeat(5000)[..], "longer")] {
        for arguments in [["user", "passwd", "bob", "--password-stdin"], ["user", "add", "eve", "--password-stdin"]] {
            assert!(place.fails(1, &arguments, stdin).contains(problem));
        }
    }
    assert_eq!(place.record("bob"), before);
    assert!(!place.path("homes/eve").exists());
}

#[test]
fn a_password_that_is_easy_to_guess_is_taken_with_a_word_about_it() {
    let place = Place::new();
    for (name, password, told) in
        [("a", "x", "short"), ("b", "aaaaaaaaaaaa", "simple"), ("cecil", "Cecil-2026", "guess")]
    {
        let added = place.berthd(&["user", "add", name, "--password-stdin"], password);
        let stderr = text(&added.stderr);
        assert_eq!(added.status.code(), Some(0), "{stderr}");
        assert!(stderr.contains(told) && stderr.contains(&format!("berthd user passwd {name}")), "{stderr}");
        assert!(stderr.lines().count() == 1 && !stderr.contains(&format!(" {password} ")), "{stderr}");
    }
    let changed = place.berthd(&["user", "passwd", "a", "--password-stdin"], "y\n");
    assert!(text(&changed.stderr).contains("short") && changed.status.success());
}

#[test]
fn adding_an_account_that_exists_says_what_to_use_instead() {
    let place = Place::new();
    place.add("bob");
    let error = place.fails(1, &["user", "add", "bob", "--password-stdin"], "another horse\n");
    assert!(error.contains("exists already") && error.contains("user passwd bob"), "{error}");
    for command in ["lock", "unlock", "remove", "passwd"] {
        assert!(place.fails(1, &["user", command, "eve"], "").contains("no account eve"), "{command}");
    }
}

#[test]
fn a_corrupt_account_is_named_and_hides_nobody_else() {
    let place = Place::new();
    place.add("bob");
    place.add("eve");
    fs::write(place.path("conf/users/bob.json"), "{\"format\": 1").expect("writable");
    let output = place.berthd(&["user", "list"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("eve"));
    assert!(text(&output.stderr).contains("conf/users/bob.json: not a valid account file"));
    assert!(place.fails(2, &["check"], "").contains("conf/users/bob.json: not a valid account file"));
    assert!(place.fails(1, &["user", "lock", "bob"], "").contains("bob.json"));
    assert_eq!(fs::read(place.path("conf/users/bob.json")).expect("there"), b"{\"format\": 1", "not overwritten");
    place.ok(&["user", "remove", "bob"], "");
    place.ok(&["check"], "");
}

#[test]
fn a_wrong_configuration_is_named_by_file_and_key_and_nothing_is_written() {
    for (configuration, key) in [
        (r#"{"colour": "red"}"#, "colour"),
        (r#"{"limits": {"session": 1}}"#, "limits.session"),
        (r#"{"limits": {"sessions": 1, "sessions_per_account": 2}}"#, "limits.sessions_per_account"),
        (r#"{"home_roots": []}"#, "home_roots"),
        (r#"{"listen": "everywhere"}"#, "listen"),
        ("{", "berthd.json"),
        (&"[".repeat(100_000), "berthd.json"),
        (&"{\"limits\":".repeat(20_000), "berthd.json"),
        (r#"{"sync": "none", "sync": "data"}"#, "sync"),
        (r#"{"limits": {"sessions": 1e400}}"#, "limits.sessions"),
        (r#"{"limits": {"sessions": -1}}"#, "limits.sessions"),
        (r#"{"limits": {"sessions": 1.5}}"#, "limits.sessions"),
        (r#"{"home_roots": ["\ud800"]}"#, "home_roots"),
    ] {
        let place = Place::with_configuration(configuration);
        let before = place.files();
        for arguments in [&["check"][..], &["serve"], &["user", "list"], &["user", "add", "bob", "--password-stdin"]] {
            let error = place.fails(2, arguments, "correct horse\n");
            assert!(error.contains("conf/berthd.json: ") && error.contains(key), "{error}");
        }
        assert_eq!(place.files(), before);
    }
}

#[test]
fn a_missing_configuration_is_an_error_wherever_it_is_named() {
    let place = Place::new();
    for arguments in [["--config", "no.json", "check"], ["check", "--config", "no.json"]] {
        assert!(place.fails(2, &arguments, "").contains("no.json: there is no such file"));
    }
    let error = place.fails(2, &["quickstart", "--config", "no.json"], "");
    assert!(error.contains("--dir"), "{error}");
}

#[test]
fn wrong_usage_exits_with_2_and_help_with_0() {
    let place = Place::new();
    for arguments in [
        &[][..],
        &["user"],
        &["user", "add"],
        &["user", "set", "bob"],
        &["user", "set", "bob", "--read-only", "--read-write"],
        &["user", "set", "bob", "--quota", "lots"],
        &["user", "set", "bob", "--max-files", "-1"],
        &["user", "set", "bob", "--max-files", "1.5"],
        &["fly"],
        &["serve", "--colour"],
    ] {
        place.fails(2, arguments, "");
    }
    assert!(place.ok(&["--help"], "").contains("quickstart"));
    assert!(place.ok(&["--version"], "").starts_with("berthd "));
}

#[test]
fn check_finds_homes_that_are_gone_or_overlap() {
    let place = Place::new();
    assert!(place.ok(&["check"], "").contains("no accounts yet"));
    assert!(!place.path("conf/users").exists(), "checking changes nothing");
    place.add("bob");
    place.add("eve");
    assert!(place.ok(&["check"], "").contains("2 accounts"));
    let mut record = place.record("eve");
    record["home"] = json!("homes/bob/inner");
    fs::write(place.path("conf/users/eve.json"), record.to_string()).expect("writable");
    assert!(place.fails(2, &["check"], "").contains("is the home of bob"));
    place.ok(&["user", "remove", "eve"], "");
    fs::remove_dir(place.path("homes/bob")).expect("empty");
    assert!(place.fails(2, &["check"], "").contains("homes/bob"));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::new();
    place.add("bob");
    let mut child = Command::new(env!("CARGO_BIN_EXE_berthd"))
        .args(["user", "list", "--json"])
        .current_dir(place.directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("berthd was built");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("", Some(0)));
}

// ---- Configurations that cannot be used ---------------------------------------------------

#[test]
fn a_directory_outside_of_the_root_that_is_missing_is_named_and_never_made() {
    let place = Place::new();
    let elsewhere = place.path("elsewhere");
    for (mut keys, key) in [
        (json!({"root": elsewhere}), "root"),
        (json!({"logs": {"access": elsewhere.join("access.log")}}), "logs.access"),
        (json!({"logs": {"transactions": elsewhere.join("x/transactions.log")}}), "logs.transactions"),
        (json!({"home_roots": ["homes", elsewhere.join("homes")]}), "home_roots"),
    ] {
        if key != "root" {
            fs::create_dir_all(place.path("below")).expect("writable");
            keys["root"] = json!(place.path("below"));
        }
        fs::write(place.path("conf/berthd.json"), keys.to_string()).expect("writable");
        for arguments in [&["check"][..], &["serve"], &["user", "list"], &["usage"], &["status"]] {
            let error = place.fails(2, arguments, "");
            let told = format!("berthd.json: {key}: {}", elsewhere.display());
            assert!(error.contains(&told) && error.contains("does not exist; make it"), "{keys}: {error}");
            assert!(!elsewhere.exists(), "{keys}: {arguments:?} made it");
        }
    }
    fs::write(&elsewhere, "").expect("writable");
    fs::write(place.path("conf/berthd.json"), json!({"root": elsewhere}).to_string()).expect("writable");
    assert!(place.fails(2, &["check"], "").contains("is no directory; make it"));
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_line_in_words_of_json() {
    let place = Place::new();
    for (text, told) in [
        ("{\n  // a comment\n}", "berthd.json: line 2: keys are in double quotes; JSON has no comments"),
        ("{\n  listen: 1\n}", "berthd.json: line 2: keys are in double quotes; JSON has no comments"),
        ("{\"limits\": {sessions: 1}}", "berthd.json: limits: line 1: keys are in double quotes"),
        ("{\"plaintext\": true,\n}", "berthd.json: line 2: there is a comma before the closing bracket"),
        ("{\"plaintext\": yes}", "berthd.json: plaintext: line 1: expected value; text is in double quotes"),
        ("{\"plaintext\": true\n\"user\": null}", "berthd.json: line 2: expected `,` or `}`; a comma is missing"),
        ("{\"plaintext\": true", "a closing bracket or quote is missing"),
        ("{\"limits\": {\"sessions\": \"ten\"}}", "limits.sessions: must be a whole number, not the string \"ten\""),
        ("{\"limits\": {\"sessions\": -1}}", "limits.sessions: must be a whole number, not the integer `-1`"),
        ("{\"limits\": {\"login_tries\": 1.5}}", "limits.login_tries: must be a whole number, not the floating"),
        ("{\"scram_rounds\": true}", "scram_rounds: must be a whole number, not the boolean `true`"),
        ("{\"rates\": {\"requests\": []}}", "rates.requests: must be a whole number, not the sequence"),
    ] {
        fs::write(place.path("conf/berthd.json"), text).expect("writable");
        let error = place.fails(2, &["check"], "");
        assert!(error.contains(told) && error.lines().count() == 1, "{text}: {error}");
        assert!(!error.contains('?') && !error.contains("usize"), "{text}: {error}");
    }
}
