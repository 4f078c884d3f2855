//! Named hosts and the sources of passwords: stored settings apply, options of the command line override them, and
//! a password appears nowhere else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::process::Ended;
use crate::support::{PASSWORD, Place, Server, digest};

/// A server with the account `ann`, and a user with named hosts.
struct NamedHost {
    place: Place,
    server: Server,
}

impl NamedHost {
    fn new() -> Self {
        let place = Place::new();
        place.add("ann", &[]);
        let server = place.serve();
        fs::create_dir(place.home("ann", "letters")).expect("writable");
        // The password stands in a file that only its owner reads, for a command to print.
        fs::write(place.path("secret"), format!("{PASSWORD}\nuser: ann\n")).expect("writable");
        fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o600)).expect("ours");
        Self { place, server }
    }

    fn password_command(&self) -> String {
        format!("cat {}", self.place.path("secret").display())
    }

    fn fingerprint(&self) -> String {
        self.place.admin(&["fingerprint"]).stdout.trim().to_string()
    }

    fn file(&self) -> PathBuf {
        self.place.path("user/config/berth/berth.json")
    }

    /// The client without a password in its environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.berth_over_tls(arguments);
        command.env_remove("BERTH_PASSWORD");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.place.run(self.command(arguments))
    }

    /// Keeps the server as `nas`.
    fn add(&self, options: &[&str]) {
        let (target, command) = (self.server.target("ann"), self.password_command());
        let arguments = ["host", "add", "nas", &target, "--password-command", &command];
        self.run(&[&arguments, options].concat()).expect_code(0);
    }
}

#[test]
fn a_named_host_is_used_with_all_its_settings() {
    let visit = NamedHost::new();
    let fingerprint = visit.fingerprint();
    visit.add(&["--fingerprint", &fingerprint, "--directory", "letters", "--local-directory", "elsewhere"]);
    fs::write(visit.place.here("x"), "hello").expect("writable");
    let ended = visit.run(&["nas", "put", "x"]).expect_code(0);
    let (names, rest) = ended.stdout.split_at("put x -> /letters/x  ".len());
    assert!(names == "put x -> /letters/x  " && rest.starts_with("5 bytes  "), "{ended:?}");
    assert!(rest.ends_with("/s  verified\n") && !rest.contains(&digest(b"hello")), "{ended:?}");
    assert_eq!(ended.stderr, "", "the key is the one that was named, so nothing is asked or remarked");
    assert!(visit.place.home("ann", "letters/x").exists());
    let ended = visit.run(&["nas", "-c", "pwd; lpwd"]).expect_code(0);
    let here = visit.place.path("here").canonicalize().expect("there");
    assert_eq!(ended.stdout, format!("/letters\n{}\n", here.display()), "only the shell begins elsewhere here");

    let listed = visit.run(&["--json", "host", "list"]).expect_code(0);
    let object: Value = serde_json::from_str(&listed.stdout).expect("one object");
    let address = visit.server.address.to_string();
    let local = here.join("elsewhere");
    assert_eq!(
        object,
        json!({
            "command": "host", "ok": true, "name": "nas", "address": address, "user": "ann",
            "fingerprint": fingerprint, "directory": "letters", "local_directory": local,
            "password_command": visit.password_command(), "plaintext": false,
        })
    );
    let listed = visit.run(&["host", "list"]).expect_code(0);
    assert_eq!(listed.stdout, format!("nas  ann@{address}  letters\n"));

    assert!(visit.run(&["host", "add", "nas", "x"]).expect_code(1).stderr.contains("--replace"));
    visit.run(&["host", "remove", "nas", "other"]).expect_code(1);
    let ended = visit.run(&["host", "remove", "nas"]).expect_code(0);
    assert_eq!(ended.stderr, "nas is removed\n");
    assert_eq!(visit.run(&["host", "list", "--json"]).expect_code(0).stdout, "");
}

#[test]
fn the_command_line_takes_precedence_over_the_settings_of_a_host() {
    let visit = NamedHost::new();
    let other_key = format!("SHA256:{}A", "a".repeat(42));
    visit.add(&["--fingerprint", &other_key]);
    let refused = visit.run(&["nas", "pwd"]).expect_code(4);
    assert!(refused.stderr.contains("as given"), "{refused:?}");
    visit.run(&["--fingerprint", &visit.fingerprint(), "nas", "pwd"]).expect_code(0);
    assert!(visit.run(&["--plaintext", "nas", "pwd"]).expect_code(2).stderr.contains("--plaintext"));

    visit.add(&["--replace"]);
    visit.run(&["--password-command", "echo wrong", "nas", "pwd"]).expect_code(4);
    let mut command = visit.command(&["nas", "pwd"]);
    command.env("BERTH_PASSWORD", "wrong");
    visit.place.run(command).expect_code(4);
    visit.run(&["nas", "pwd"]).expect_code(0);
    // Another account has another password, for which nobody can be asked here.
    let asked = visit.run(&["ben@nas", "pwd"]).expect_code(2);
    assert!(asked.stderr.contains("no terminal"), "{asked:?}");

    visit.add(&["--replace", "--plaintext"]);
    visit.run(&["nas", "pwd"]).expect_code(0);
    assert!(visit.run(&["--accept-new", "nas", "pwd"]).expect_code(2).stderr.contains("`plaintext`"));
}

#[test]
fn an_invalid_configuration_is_reported_with_its_key() {
    let visit = NamedHost::new();
    fs::create_dir_all(visit.file().parent().expect("a folder")).expect("writable");
    let write = |text: &str, mode| {
        fs::write(visit.file(), text).expect("writable");
        fs::set_permissions(visit.file(), fs::Permissions::from_mode(mode)).expect("ours");
    };
    write(r#"{"hosts": {"nas": {"adress": "x"}}}"#, 0o600);
    let file = visit.file().display().to_string();
    for arguments in [&["nas", "pwd"][..], &["host", "list"], &["host", "add", "b", "x"]] {
        let ended = visit.run(arguments).expect_code(2);
        assert!(ended.stderr.contains(&format!("{file}: hosts.nas.adress: unknown field `adress`")), "{ended:?}");
    }
    // An address with a port is no name.
    visit.run(&["ann@127.0.0.1:1", "pwd"]).expect_code(3);
    write(r#"{"hosts": {"nas": {"address": "x", "adress": "y"}}}"#, 0o600);
    let ended = visit.run(&["nas", "pwd"]).expect_code(2);
    let told = "; correct it; USER@HOST:PORT connects without this file\n";
    assert!(ended.stderr.contains("hosts.nas.adress: unknown field") && ended.stderr.ends_with(told), "{ended:?}");
    write("{}", 0o622);
    assert!(visit.run(&["nas", "pwd"]).expect_code(2).stderr.contains("chmod go-w"));
}

#[test]
fn a_semicolon_in_the_path_of_the_configuration_hides_no_advice() {
    let visit = NamedHost::new();
    let directory = visit.place.path("config;1");
    let file = directory.join("berth/berth.json");
    fs::create_dir_all(directory.join("berth")).expect("writable");
    let unknown = r#"{"hosts": {"nas": {"address": "x", "p;q": "y"}}}"#;
    for (text, advice, without) in [
        (unknown, "correct it, or restore it from a backup", "correct it"),
        (r#"{"hosts": {"nas": {"address": "x:0"}}}"#, "leave it out for port 2121", "leave it out for port 2121"),
    ] {
        fs::write(&file, text).expect("writable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
        let run = |arguments: &[&str]| {
            let mut command = visit.command(arguments);
            command.env("XDG_CONFIG_HOME", &directory);
            visit.place.run(command).expect_code(2).stderr
        };
        let (listed, used) = (run(&["host", "list"]), run(&["nas", "pwd"]));
        assert!(listed.ends_with(&format!("; {advice}\n")), "{listed}");
        assert!(used.ends_with(&format!("; {without}; USER@HOST:PORT connects without this file\n")), "{used}");
    }
}

#[test]
fn the_word_host_manages_names_and_a_server_called_host_can_be_reached() {
    let visit = NamedHost::new();
    let help = visit.run(&["host"]).expect_code(2);
    assert!(help.stderr.contains("add") && help.stderr.contains("host:2121"), "{help:?}");
    assert!(visit.run(&["host", "add", "host", "x"]).expect_code(2).stderr.contains("cannot be a name"));
    for name in ["-n", "a/b", "a@b", "a:1", ""] {
        visit.run(&["host", "add", "--", name, "x"]).expect_code(2);
    }
    for arguments in [&["host", "add", "--bogus"][..], &["host", "add", "nas", "x", "--bogus"], &["--bogus", "nas"]] {
        let ended = visit.run(arguments).expect_code(2);
        assert!(ended.stderr.contains("'--bogus'") && !ended.stderr.contains("-- --bogus"), "{ended:?}");
    }
    for arguments in [&["host", "add", "a", "b c"][..], &["host", "add", "a", "b", "--directory", ""]] {
        visit.run(arguments).expect_code(2);
    }
    let near = visit.run(&["host", "add", "nas", "x", "--fingerprnt", "y"]).expect_code(2);
    assert!(near.stderr.contains("'--fingerprint'"), "{near:?}");
    let unknown = visit.run(&["host", "frobnicate"]).expect_code(2);
    assert!(unknown.stderr.contains("unknown command"), "{unknown:?}");
}

#[test]
fn a_failed_password_command_is_reported_without_its_output() {
    let visit = NamedHost::new();
    let target = visit.server.target("ann");
    for (command, why) in
        [("echo hidden; exit 7", "exited with 7"), ("true", "is empty"), ("exec yes hidden", "too much")]
    {
        let ended = visit.run(&["--accept-new", "--password-command", command, &target, "pwd"]).expect_code(2);
        assert!(ended.stderr.contains(why) && !ended.stderr.contains("hidden"), "{ended:?}");
    }
    let said = "echo 'who asks?' >&2; echo wrong";
    let ended = visit.run(&["--accept-new", "--password-command", said, &target, "pwd"]).expect_code(4);
    assert!(ended.stderr.contains("who asks?"), "the user sees its messages: {ended:?}");
}

#[test]
fn a_password_is_in_no_file_and_in_no_argument_of_a_program() {
    let visit = NamedHost::new();
    visit.add(&[]);
    // While it runs, the command looks at its own arguments and the client's.
    let look = visit.place.path("arguments");
    let command =
        format!("cat /proc/$$/cmdline /proc/$PPID/cmdline > {}; {}", look.display(), visit.password_command());
    let target = visit.server.target("ann");
    visit.run(&["--accept-new", "--password-command", &command, &target, "pwd"]).expect_code(0);
    fs::write(visit.place.here("script"), "pwd\nput nowhere\n").expect("writable");
    visit.run(&["--keep-going", "nas", "-f", "script"]).expect_code(1);
    visit.run(&["nas", "-c", "mkdir d; ls"]).expect_code(0);
    visit.run(&["--password-command", "echo wrong", "nas", "ls"]).expect_code(4);
    // What the tests themselves have written down is not looked at.
    for file in ["secret", "io/password"] {
        fs::remove_file(visit.place.path(file)).expect("there");
    }
    let found =
        Command::new("grep").args(["-rla", PASSWORD]).arg(visit.place.path("")).output().expect("grep is there");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let arguments = String::from_utf8_lossy(&fs::read(&look).expect("written")).into_owned();
    assert!(arguments.contains("--password-command"), "it has seen the client");
}
