//! The real client at a pseudo-terminal.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::Pty;
use serde_json::json;

use crate::support::process::Program;
use crate::support::proxy::Proxy;
use crate::support::{PASSWORD, PATIENCE, Place, Server, pattern, wait_until};

/// A client at a terminal.
struct Terminal {
    client: Child,
    terminal: Arc<Pty>,
    screen: Arc<Screen>,
    /// What was shown up to here has been looked at.
    seen: usize,
}

/// Everything that was shown.
#[derive(Default)]
struct Screen {
    shown: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Terminal {
    /// Runs `berth` with `arguments` at a terminal of so many columns.
    fn open(berth: &Command, columns: usize) -> Self {
        let words = berth.get_args().map(OsString::from).collect();
        Self::open_program(berth, berth.get_program().to_owned(), words, columns)
    }

    /// The same in a shell that notices Ctrl-Z, shows the terminal's echo, and continues the program.
    fn open_as_job(berth: &Command, columns: usize) -> Self {
        let echo = "echo \"terminal: $(stty -a | grep -ow -e '-echo' -e 'echo')\"";
        let script = |line: &str| format!("set -m; {line}; {echo}; fg >/dev/null; code=$?; {echo}; exit $code");
        Self::open_in_shell(berth, columns, script)
    }

    fn open_in_shell(berth: &Command, columns: usize, script: impl Fn(&str) -> String) -> Self {
        let words = std::iter::once(berth.get_program()).chain(berth.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().expect("UTF-8"))).collect();
        let words = vec!["-c".into(), script(&words.join(" ")).into()];
        Self::open_program(berth, "/bin/bash".into(), words, columns)
    }

    /// `berth` says in which directory and with which variables.
    fn open_program(berth: &Command, program: OsString, words: Vec<OsString>, columns: usize) -> Self {
        let (terminal, program_side) = pty_process::blocking::open().expect("a pseudo-terminal");
        terminal.resize(Size::new(24, u16::try_from(columns).expect("a small number"))).expect("a terminal");
        let mut client = pty_process::blocking::Command::new(program).args(words).env_clear();
        for (name, value) in berth.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            client = client.env(name, value);
        }
        client = client.env("TERM", "xterm").env("SHELL", "/bin/sh");
        let client = client.current_dir(berth.get_current_dir().expect("a folder"));
        let client = client.spawn(program_side).expect("it can be started");
        let terminal = Arc::new(terminal);
        let output = Arc::clone(&terminal);
        let screen = Arc::new(Screen::default());
        let shared = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error once no program has the terminal any more.
            while let Ok(count @ 1..) = (&*output).read(&mut buffer) {
                shared.change(|shown| shown.0.extend_from_slice(&buffer[..count]));
            }
            shared.change(|shown| shown.1 = true);
        });
        Self { client, terminal, screen, seen: 0 }
    }

    /// A client that has logged in and shows its prompt.
    fn logged_in(place: &Place, target: &str, columns: usize) -> Self {
        let mut terminal = Self::open(&place.berth(&["--plaintext", target]), columns);
        terminal.expect(":/> ");
        terminal
    }

    fn type_keys(&mut self, keys: &str) {
        (&*self.terminal).write_all(keys.as_bytes()).expect("the terminal is open");
    }

    /// Types a line.
    fn enter(&mut self, line: &str) {
        self.type_keys(&format!("{line}\r"));
    }

    /// Waits until `text` is shown after what was read before. Returns what was shown up to it.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        let from = self.seen;
        let found = self.screen.wait(|shown| {
            let at = shown.0[from..].windows(text.len()).position(|window| window == text.as_bytes())?;
            Some((at + text.len(), String::from_utf8_lossy(&shown.0[from..from + at]).into_owned()))
        });
        let Some((length, before)) = found else { panic!("'{text}' is not shown, but:\n{}", self.rest()) };
        self.seen += length;
        before
    }

    /// Everything that was shown and looked at.
    fn shown(&self) -> String {
        let shown = self.screen.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown.0[..self.seen]).into_owned()
    }

    /// What was shown and not looked at.
    fn rest(&self) -> String {
        let shown = self.screen.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown.0[self.seen..]).into_owned()
    }

    /// Waits until the client has left; its exit code, and what it showed at the end.
    #[track_caller]
    fn ended(mut self) -> (Option<i32>, String) {
        let over = self.screen.wait(|shown| shown.1.then_some(()));
        assert!(over.is_some(), "it goes on:\n{}", self.rest());
        let status = self.client.wait().expect("our child");
        (status.code(), self.rest())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

impl Screen {
    fn change(&self, change: impl FnOnce(&mut (Vec<u8>, bool))) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits for what `find` finds; `None` when it is not found in time or never will be.
    fn wait<T>(&self, find: impl Fn(&(Vec<u8>, bool)) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = find(&shown);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || shown.1 || left.is_zero() {
                return found;
            }
            shown = self.changed.wait_timeout(shown, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn started() -> (Place, Server) {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    (place, server)
}

/// The same with a proxy in between: what to log in to.
fn behind_a_proxy() -> (Place, Server, Proxy, String) {
    let (place, server) = started();
    let proxy = Proxy::to(server.address);
    let target = crate::support::target("ann", proxy.address);
    (place, server, proxy, target)
}

fn part_of(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    path.with_file_name(format!(".{name}.berth-part"))
}

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";
const MIB: usize = 1024 * 1024;

#[test]
fn the_prompt_names_the_server_and_leaves_room_in_a_narrow_terminal() {
    let (place, server) = started();
    let target = server.target("ann");
    let add = ["host", "add", "nas", &target, "--plaintext", "--local-directory", "/no/such"];
    place.run(place.berth_over_tls(&add)).expect_code(0);
    for (columns, prompt) in [(40, "nas:…/summer-in-t…> "), (80, "nas:…/summer-in-the-mountains> ")] {
        let mut terminal = Terminal::open(&place.berth_over_tls(&["nas"]), columns);
        terminal.expect("the `local_directory` of this host");
        terminal.expect("nas:/> ");
        terminal.enter("mkdir -p photos/of/2026/summer-in-the-mountains; cd photos/of/2026/summer-in-the-mountains");
        terminal.expect(prompt);
        terminal.enter("cd -");
        terminal.expect("nas:/> ");
        terminal.enter("cd -; pwd");
        terminal.expect("/photos/of/2026/summer-in-the-mountains\r\n");
        terminal.expect(prompt);
    }
}

#[test]
fn a_session_from_the_hidden_password_to_ctrl_d() {
    let (place, server) = started();
    fs::write(place.home("ann", "notes.txt"), b"hello").expect("writable");
    let mut berth = place.berth(&["--plaintext", &server.target("ann")]);
    berth.env_remove("BERTH_PASSWORD");
    let mut terminal = Terminal::open(&berth, 80);
    terminal.expect("password for ann");
    terminal.enter(PASSWORD);
    let shown = terminal.expect(":/> ");
    assert!(!shown.contains(PASSWORD), "{shown}");
    terminal.enter("ls");
    terminal.expect("notes.txt");
    terminal.expect(":/> ");
    terminal.enter("mkdir sub; cd sub");
    terminal.expect(":/sub> ");
    terminal.enter("gte x");
    terminal.expect("did you mean 'get'?");
    terminal.expect(":/sub> ");
    terminal.enter("");
    terminal.expect(":/sub> ");
    terminal.type_keys(CTRL_D);
    assert_eq!(terminal.ended().0, Some(0));
}

/// What a new user types, and the words that the answer shows in this order; times, rates and dates are
/// not among them. The expected transcript of the next test.
const FIRST_SESSION: &[(&str, &[&str])] = &[
    ("ls", &["1 ", "big.bin\n"]),
    ("dir", &["-rw", " 12 ", " 1\n", "-rw", " 12M ", " big.bin\n"]),
    ("pwd", &["/\n"]),
    ("get 1", &["1", " 12 "]),
    ("get 2", &["berth: ", "/2", "no such file"]),
    ("get 1", &["1", "identical"]),
    ("put absent", &["berth: ", "absent", "no such"]),
    ("put notes", &["/notes", " 5 "]),
    ("put notes", &["/notes", "identical"]),
    (INTERRUPTED, &["interrupted"]),
    ("get big.bin", &["resum", " at ", "\n", "big.bin", " 12M"]),
];
const INTERRUPTED: &str = "get  big.bin";

#[test]
fn the_first_session_of_a_new_user_reports_each_step() {
    for columns in [40, 80, 120] {
        let (place, _server, proxy, target) = behind_a_proxy();
        let content = pattern(4, 12 * MIB);
        fs::write(place.home("ann", "1"), b"twelve bytes").expect("writable");
        fs::write(place.home("ann", "big.bin"), &content).expect("writable");
        fs::write(place.here("notes"), b"notes").expect("writable");
        let mut berth = place.berth(&["--plaintext", &target]);
        berth.env_remove("BERTH_PASSWORD");
        let mut terminal = Terminal::open(&berth, columns);
        terminal.expect("password for ann");
        terminal.enter(PASSWORD);
        let shown = terminal.expect(LINE_BEGINS);
        assert!(!shown.contains(PASSWORD), "{shown}");
        for (typed, words) in FIRST_SESSION {
            let part = part_of(&place.here("big.bin"));
            if *typed == INTERRUPTED {
                proxy.down.hold_after(6 * MIB as u64);
            }
            terminal.expect("/> ");
            terminal.enter(typed);
            terminal.expect(LINE_ENDS);
            if *typed == INTERRUPTED {
                wait_until("some of it is here", || fs::metadata(&part).is_ok_and(|part| part.len() > MIB as u64));
                terminal.type_keys(CTRL_C);
            }
            let lines = read_lines(&terminal.expect(LINE_BEGINS), columns);
            proxy.down.open();
            let mut rest = &lines[..];
            for word in *words {
                let Some((_, behind)) = rest.split_once(word) else {
                    panic!("{typed} at {columns}, {word:?}:\n{lines}")
                };
                rest = behind;
            }
            // An answer is a line, and another for what was interrupted or is resumed.
            let most = if *typed == INTERRUPTED { 3 } else { 2 };
            assert!(lines.lines().count() <= most, "{typed} at {columns}:\n{lines}");
            let is_table = ["ls", "dir", "pwd"].contains(typed);
            assert!(!is_table || lines.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{lines}");
        }
        assert!(fs::read(place.here("big.bin")).expect("fetched") == content);
        assert_eq!(fs::read(place.home("ann", "notes")).expect("stored"), b"notes");
        terminal.type_keys(CTRL_D);
        assert_eq!(terminal.ended().0, Some(0));
    }
}

/// How the line editor begins and ends the input of a line: with and without bracketed paste.
const LINE_BEGINS: &str = "\x1b[?2004h";
const LINE_ENDS: &str = "\x1b[?2004l\r\n";

/// The lines that stay readable, without the bars that others were drawn over; those fit the terminal.
#[track_caller]
fn read_lines(shown: &str, columns: usize) -> String {
    let mut lines = String::new();
    for line in shown.split_terminator("\r\n") {
        let drawn: Vec<String> = line.split('\r').map(without_escapes).collect();
        for bar in drawn.iter().filter(|drawn| drawn.contains(" %")) {
            // The terminal itself shows the key that interrupts.
            let bar = bar.trim_end_matches("^C");
            assert!(bar.chars().count() < columns, "{bar} in {columns} columns");
        }
        lines += drawn.last().map_or("", |last| last);
        lines.push('\n');
    }
    lines
}

/// `text` without what the terminal does with it.
fn plain_lines(shown: &str, columns: usize) -> Vec<String> {
    read_lines(shown, columns).lines().map(str::to_string).collect()
}

#[test]
fn the_result_of_one_file_has_size_time_and_rate_and_a_digest_only_on_request() {
    let (place, server) = started();
    let content = pattern(12, MIB);
    fs::write(place.here("a.bin"), &content).expect("writable");
    let target = server.target("ann");
    let berth = |arguments: &[&str]| place.berth(&[&["--plaintext", &target], arguments].concat());
    let digest = format!("  {}", crate::support::digest(&content));
    let is_moved = |line: &str, names: &str| {
        let parts: Vec<&str> = line.split("  ").collect();
        let [first, "1M", time, rate, "verified"] = parts[..] else { return false };
        let is_time = time.starts_with(|c: char| c.is_ascii_digit()) && time.ends_with('s');
        first == names && is_time && rate.ends_with("/s")
    };
    for columns in [40, 80, 120] {
        for (options, end) in [(&[][..], ""), (&["-v"], &digest[..])] {
            let put = [&["put", "-f"], options, &["a.bin", "/b.bin"]].concat();
            let get = [&["get"], options, &["b.bin", "c.bin"]].concat();
            for (arguments, names) in [(&put, "put a.bin -> /b.bin"), (&get, "get /b.bin -> c.bin")] {
                let (code, shown) = Terminal::open(&berth(arguments), columns).ended();
                let lines = plain_lines(&shown, columns);
                let line = lines.last().and_then(|line| line.strip_suffix(end)).unwrap_or_default();
                assert!(code == Some(0) && lines.len() == 1 && is_moved(line, names), "{columns}: {lines:?}");
                let (code, shown) = Terminal::open(&berth(arguments), columns).ended();
                let again = format!("{names}  1M  already there, identical{end}\r\n");
                assert!(code == Some(0) && shown.ends_with(&again), "{columns}: {shown}");
            }
            fs::remove_file(place.home("ann", "b.bin")).expect("stored");
            fs::remove_file(place.here("c.bin")).expect("fetched");
        }
    }
    // What a script reads is the same line; the program's option stands for that of each command.
    let ended = place.run(berth(&["put", "a.bin"])).expect_code(0);
    assert!(is_moved(ended.stdout.trim_end(), "put a.bin -> /a.bin"), "{ended:?}");
    let ended = place.run(berth(&["-v", "get", "a.bin"])).expect_code(0);
    assert_eq!(ended.stdout, format!("get /a.bin -> a.bin  1M  already there, identical{digest}\n"));
}

#[test]
fn the_summary_of_a_tree_leaves_out_what_is_zero() {
    let (place, server) = started();
    fs::create_dir(place.here("tree")).expect("writable");
    fs::write(place.here("tree/a"), b"hello").expect("writable");
    let target = server.target("ann");
    let run = |arguments: &[&str], summary: &str| {
        let arguments = [&["--plaintext", "--no-progress", &target], arguments].concat();
        let (code, shown) = Terminal::open(&place.berth(&arguments), 80).ended();
        let line = shown.trim_end().rsplit("\r\n").next().unwrap_or_default().to_string();
        assert!(code == Some(0) && line.starts_with(summary), "{shown}");
        assert!(!line.contains(", 0") && !line.contains("0/s"), "{line}");
    };
    run(&["put", "-r", "tree"], "put: 1 file, 5 bytes, ");
    run(&["put", "-r", "tree"], "put: 1 file, already there, ");
    fs::write(place.here("tree/b"), b"").expect("writable");
    run(&["put", "-r", "tree"], "put: 2 files, 1 already there, ");
    run(&["get", "-r", "tree", "."], "get: 2 files, all already there, ");
    run(&["mirror", "tree", "tree"], "mirror: 2 files, all already there, ");
    run(&["mirror", "--dry-run", "tree", "other"], "mirror --dry-run: 2 files, 5 bytes to move");
    fs::create_dir(place.here("empty")).expect("writable");
    run(&["put", "-r", "empty"], "put: no files, ");
}

#[test]
fn a_new_server_is_confirmed_and_remembered_after_the_login() {
    let place = Place::with(json!({"plaintext": false}));
    place.add("ann", &[]);
    let server = place.serve();
    let open = || Terminal::open(&place.berth_over_tls(&[&server.target("ann"), "pwd"]), 120);
    let known_hosts = place.path("user/state/berth/known_hosts.json");
    let fingerprint = place.admin(&["fingerprint"]).stdout;
    for (answer, code) in [("n", 4), ("", 4), ("y", 0)] {
        assert!(!known_hosts.exists());
        let mut terminal = open();
        terminal.expect(fingerprint.trim());
        terminal.expect("[y/N] ");
        terminal.enter(answer);
        assert_eq!(terminal.ended().0, Some(code), "{answer}");
    }
    assert!(known_hosts.exists());
    let mut terminal = open();
    terminal.expect("/");
    assert_eq!(terminal.ended().0, Some(0));
}

#[test]
fn without_encryption_the_prompt_for_the_password_says_so() {
    let (place, server) = started();
    let mut berth = place.berth(&[&server.target("ann"), "pwd"]);
    berth.env_remove("BERTH_PASSWORD");
    let mut terminal = Terminal::open(&berth, 80);
    terminal.expect("not encrypted");
    terminal.expect("password for ann: ");
    terminal.enter(PASSWORD);
    assert_eq!(terminal.ended().0, Some(0));
}

#[test]
fn ctrl_c_at_the_password_leaves_with_130() {
    let (place, server) = started();
    let mut berth = place.berth(&["--plaintext", &server.target("ann")]);
    berth.env_remove("BERTH_PASSWORD");
    let mut terminal = Terminal::open(&berth, 80);
    terminal.expect("password for ann");
    terminal.type_keys(CTRL_C);
    assert_eq!(terminal.ended().0, Some(130));
}

#[test]
fn ctrl_z_at_a_password_restores_the_terminal_and_fg_asks_again_without_echo() {
    let (place, server) = started();
    let mut berth = place.berth(&["--plaintext", &server.target("ann"), "pwd"]);
    berth.env_remove("BERTH_PASSWORD");
    let berthd = place.berthd(&["user", "passwd", "ann"]);
    for columns in [40, 80, 120] {
        for (program, prompts) in [(&berth, &["password for ann: "][..]), (&berthd, &["New password: ", "Again: "])] {
            let mut terminal = Terminal::open_as_job(program, columns);
            terminal.expect(prompts[0]);
            terminal.type_keys("abc");
            terminal.type_keys(CTRL_Z);
            terminal.expect("terminal: echo");
            for prompt in prompts {
                terminal.expect(prompt);
                terminal.enter(PASSWORD);
            }
            let end = terminal.expect("terminal: echo");
            assert!(!end.contains(PASSWORD) && !end.contains("abc"), "{end}");
            assert!(!terminal.shown().contains(PASSWORD), "{}", terminal.shown());
            assert_eq!(terminal.ended().0, Some(0));
        }
    }
}

#[test]
fn a_wrong_password_is_asked_for_again_and_the_key_is_not() {
    let place = Place::with(json!({"plaintext": false}));
    place.add("ann", &[]);
    let server = place.serve();
    let mut berth = place.berth_over_tls(&[&server.target("ann"), "pwd"]);
    berth.env_remove("BERTH_PASSWORD");
    for (columns, wrong, code) in [(40, 3, 4), (80, 2, 0), (120, 1, 0)] {
        let mut terminal = Terminal::open(&berth, columns);
        if columns <= 80 {
            terminal.expect("[y/N] ");
            terminal.enter("y");
        }
        for _ in 0..wrong {
            terminal.expect("password for ann: ");
            terminal.enter("wrong password");
        }
        if code == 0 {
            terminal.expect("try again");
            terminal.expect("password for ann: ");
            terminal.enter(PASSWORD);
        }
        let shown = terminal.shown();
        let (ended, rest) = terminal.ended();
        assert_eq!(ended, Some(code), "{shown}{rest}");
        assert_eq!(shown.matches("[y/N]").count(), usize::from(columns <= 80), "{shown}");
        assert!(!rest.contains("password for ann"), "{rest}");
    }
}

#[test]
fn a_signal_that_ends_the_program_at_a_password_leaves_the_echo_on() {
    let (place, server) = started();
    let mut berth = place.berth(&["--plaintext", &server.target("ann"), "pwd"]);
    berth.env_remove("BERTH_PASSWORD");
    let script = |line: &str| format!("set -m; {line}; echo \"terminal: $(stty -a | grep -ow -e '-echo' -e 'echo')\"");
    for keys in ["\x1c", CTRL_C] {
        let mut terminal = Terminal::open_in_shell(&berth, 80, script);
        terminal.expect("password for ann: ");
        terminal.type_keys(keys);
        terminal.expect("terminal: echo");
    }
}

#[test]
fn a_question_is_shown_again_after_ctrl_z_and_fg() {
    let place = Place::with(json!({"plaintext": false}));
    place.add("ann", &[]);
    let server = place.serve();
    let mut terminal = Terminal::open_as_job(&place.berth_over_tls(&[&server.target("ann"), "pwd"]), 80);
    terminal.expect("[y/N] ");
    terminal.type_keys(CTRL_Z);
    terminal.expect("terminal: echo");
    terminal.expect("[y/N] ");
    terminal.enter("y");
    terminal.expect("terminal: echo");
    assert_eq!(terminal.ended().0, Some(0));
}

#[test]
fn ctrl_c_at_the_prompt_clears_the_line() {
    let (place, server) = started();
    let mut terminal = Terminal::logged_in(&place, &server.target("ann"), 80);
    terminal.type_keys("mkdir unwanted");
    terminal.expect("unwanted");
    terminal.type_keys(CTRL_C);
    terminal.expect(":/> ");
    terminal.enter("pwd");
    terminal.expect("\n/\r\n");
    terminal.expect(":/> ");
    terminal.type_keys(CTRL_D);
    assert_eq!(terminal.ended().0, Some(0));
    assert!(!place.home("ann", "unwanted").exists());
}

#[test]
fn tab_completes_remote_and_local_names() {
    let (place, server) = started();
    fs::create_dir(place.home("ann", "my photos")).expect("writable");
    fs::write(place.home("ann", "my photos/summer day.jpg"), b"hello").expect("writable");
    fs::write(place.home("ann", ".hidden"), b"").expect("writable");
    fs::write(place.here("local file"), b"other").expect("writable");
    let mut terminal = Terminal::logged_in(&place, &server.target("ann"), 80);
    terminal.type_keys("sta\t");
    terminal.expect("stat ");
    terminal.type_keys("m\t");
    terminal.expect("my\\ photos/");
    terminal.type_keys("\t");
    terminal.expect("summer\\ day.jpg ");
    terminal.enter("");
    terminal.expect("kind      file");
    terminal.expect(":/> ");
    terminal.type_keys("put 'loc\t");
    terminal.expect("'local file' ");
    terminal.type_keys("my\t");
    terminal.expect("my\\ photos/");
    terminal.enter("");
    terminal.expect("-> /my photos/local file");
    terminal.expect(":/> ");
    terminal.type_keys("ls my\\ photos/lo\t");
    terminal.expect("local\\ file ");
    terminal.type_keys(CTRL_C);
    terminal.expect(":/> ");
    terminal.type_keys(CTRL_D);
    assert_eq!(terminal.ended().0, Some(0));
}

#[test]
fn completion_never_waits_long_for_the_server() {
    let (place, _server, proxy, target) = behind_a_proxy();
    fs::write(place.home("ann", "file"), b"hello").expect("writable");
    let mut terminal = Terminal::logged_in(&place, &target, 80);
    proxy.down.hold_after(0);
    terminal.type_keys("ls f\t");
    terminal.expect("\x07");
    terminal.type_keys("ile");
    terminal.expect("e");
    proxy.down.open();
    terminal.enter("");
    terminal.expect("file\r\n");
    terminal.expect(":/> ");
    terminal.type_keys("ls f\t");
    terminal.expect("file ");
}

#[test]
fn pasted_and_typed_ahead_lines_are_all_run() {
    let (place, _server, proxy, target) = behind_a_proxy();
    fs::write(place.home("ann", "file"), pattern(1, 2 * MIB)).expect("writable");
    let mut terminal = Terminal::logged_in(&place, &target, 80);
    terminal.type_keys("mkdir a\rcd a\rmkdir b\rcd b\rpwd\r");
    terminal.expect("\n/a/b\r\n");
    terminal.expect(":/a/b> ");
    proxy.down.hold_after(MIB as u64);
    terminal.enter("get /file");
    proxy.down.wait_held();
    terminal.type_keys("cd ..\rmkdir c\rcd c\rpwd\r");
    proxy.down.open();
    terminal.expect("\n/a/c\r\n");
    assert!(place.home("ann", "a/c").is_dir());
}

#[test]
fn an_upload_shows_a_bar_and_then_that_it_is_verified() {
    let (place, _server, proxy, target) = behind_a_proxy();
    fs::write(place.here("big.bin"), pattern(2, 8 * MIB)).expect("writable");
    for columns in [80, 40] {
        let mut terminal = Terminal::logged_in(&place, &target, columns);
        proxy.up.hold_after(4 * MIB as u64);
        terminal.enter("put -f big.bin");
        proxy.up.wait_held();
        terminal.expect(" %");
        proxy.down.hold_after(0);
        proxy.up.open();
        terminal.expect("verifying");
        proxy.down.open();
        terminal.expect("/big.bin  8M  ");
        let shown = terminal.shown();
        assert!(!shown.contains("100.00 %"), "{shown}");
        let bars: Vec<String> =
            shown.split(['\r', '\n']).map(without_escapes).filter(|line| line.contains(" %")).collect();
        let widest = bars.iter().map(|line| line.chars().count()).max();
        assert!((15..=columns).contains(&widest.expect("a bar")), "{widest:?} of {columns} columns: {bars:?}");
        terminal.expect(":/> ");
        // If it were there still, the refusal would race with what is held back.
        fs::remove_file(place.home("ann", "big.bin")).expect("stored");
        fs::write(place.here("big.bin"), pattern(3, 8 * MIB)).expect("writable");
    }
}

#[test]
fn a_tree_has_one_bar_and_a_line_for_each_file_also_after_a_lost_connection() {
    let (place, _server, proxy, target) = behind_a_proxy();
    // Large files take two connections, which is not to be seen.
    for (columns, mib, shown_first) in
        [(80, 3, "1/3 files "), (40, 3, "1/3 files "), (80, 5, "/3 files "), (40, 5, "/3 files ")]
    {
        let tree = format!("tree{columns}-{mib}");
        fs::create_dir(place.here(&tree)).expect("writable");
        for (at, name) in ["a", "b", "日本語"].iter().enumerate() {
            fs::write(place.here(&tree).join(name), pattern(at as u64, mib * MIB)).expect("writable");
        }
        let mut terminal = Terminal::logged_in(&place, &target, columns);
        proxy.up.hold_after((mib * MIB * 3 / 2) as u64);
        terminal.enter(&format!("put -r {tree} {tree}"));
        proxy.up.wait_held();
        terminal.expect(shown_first);
        terminal.expect(" %");
        proxy.cut();
        proxy.up.open();
        terminal.expect("reconnecting in a moment (1 of 7)");
        terminal.expect("resumed at ");
        terminal.expect(&format!("put: 3 files, {}M", 3 * mib));
        let shown = terminal.shown();
        for name in ["a", "b", "日本語"] {
            let line = format!("/{tree}/{name}  {mib}M\r\n");
            assert_eq!(shown.matches(&line).count(), 1, "{line}: {shown}");
        }
        let bars = shown.split(['\r', '\n']).map(without_escapes).filter(|line| line.contains(" %"));
        let widest = bars.map(|line| line.chars().count()).max().expect("a bar");
        assert!(widest < columns && !shown.contains("100.00 %"), "{widest}: {shown}");
        terminal.expect(":/> ");
    }
}

#[test]
fn a_client_in_the_background_draws_no_bar_over_what_is_typed() {
    let (place, _server, proxy, target) = behind_a_proxy();
    fs::write(place.home("ann", "big.bin"), pattern(3, 4 * MIB)).expect("writable");
    proxy.down.hold_after(2 * MIB as u64);
    let berth = place.berth(&["--plaintext", &target, "get", "big.bin"]);
    let script = |line: &str| format!("set -m; {line} & read -r _; echo typed; wait $!");
    let mut terminal = Terminal::open_in_shell(&berth, 80, script);
    let part = part_of(&place.here("big.bin"));
    wait_until("some of it is here", || fs::metadata(&part).is_ok_and(|part| part.len() > MIB as u64));
    terminal.enter("echo");
    terminal.expect("typed\r\n");
    proxy.down.open();
    let shown = terminal.shown();
    let (code, rest) = terminal.ended();
    assert!(code == Some(0) && !shown.contains('\x1b') && !rest.contains('\x1b'), "{shown:?}{rest:?}");
    assert!(rest.contains("big.bin"), "{rest:?}");
}

#[test]
fn a_bar_follows_the_terminal_when_it_is_made_narrower() {
    let (place, _server, proxy, target) = behind_a_proxy();
    fs::write(place.here("big.bin"), pattern(11, 16 * MIB)).expect("writable");
    let mut terminal = Terminal::logged_in(&place, &target, 80);
    proxy.up.hold_after(4 * MIB as u64);
    terminal.enter("!stty cols 50");
    terminal.expect(":/> ");
    terminal.enter("put big.bin");
    proxy.up.wait_held();
    terminal.expect("\rbig.bin ");
    let shown = terminal.expect(" %");
    assert!(shown.chars().count() + "big.bin  %".len() < 50, "{shown}");
    proxy.up.open();
    terminal.expect("  verified\r\n");
}

fn without_escapes(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_string();
    pieces.fold(first, |text, piece| {
        text + piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').get(1..).unwrap_or_default()
    })
}

#[test]
fn ctrl_c_during_a_download_keeps_the_session_and_the_part_and_the_next_get_resumes() {
    let (place, _server, proxy, target) = behind_a_proxy();
    let content = pattern(4, 16 * MIB);
    fs::write(place.home("ann", "big.bin"), &content).expect("writable");
    let mut terminal = Terminal::logged_in(&place, &target, 80);
    proxy.down.hold_after(6 * MIB as u64);
    terminal.enter("get big.bin");
    let part = part_of(&place.here("big.bin"));
    wait_until("some of it is here", || fs::metadata(&part).is_ok_and(|part| part.len() > MIB as u64));
    let pressed = Instant::now();
    terminal.type_keys(CTRL_C);
    terminal.expect("interrupted");
    terminal.expect(":/> ");
    assert!(pressed.elapsed() < PROMPT_BACK, "{:?}", pressed.elapsed());
    assert!(part.exists());
    proxy.down.open();
    terminal.enter("get big.bin");
    terminal.expect("resuming at ");
    terminal.expect("-> big.bin  16M  ");
    terminal.expect(":/> ");
    assert_eq!(fs::read(place.here("big.bin")).expect("there"), content);
    assert!(!part.exists());
    terminal.type_keys(CTRL_D);
    assert_eq!(terminal.ended().0, Some(0));
}

#[test]
fn ctrl_c_during_an_upload_keeps_the_session_and_the_partial_and_the_next_put_resumes() {
    let (place, _server, proxy, target) = behind_a_proxy();
    let content = pattern(5, 48 * MIB);
    fs::write(place.here("big.bin"), &content).expect("writable");
    let mut terminal = Terminal::logged_in(&place, &target, 80);
    proxy.up.hold_after(20 * MIB as u64);
    terminal.enter("put big.bin");
    proxy.up.wait_held();
    terminal.expect(" %");
    let pressed = Instant::now();
    terminal.type_keys(CTRL_C);
    terminal.expect("interrupted");
    terminal.expect(":/> ");
    assert!(pressed.elapsed() < PROMPT_BACK, "{:?}", pressed.elapsed());
    proxy.up.open();
    terminal.enter("partials");
    terminal.expect("/big.bin  ");
    terminal.expect(" of 48M  expires in ");
    terminal.enter("put big.bin");
    terminal.expect("resuming at ");
    terminal.expect("/big.bin  48M  ");
    terminal.expect(":/> ");
    assert_eq!(fs::read(place.home("ann", "big.bin")).expect("there"), content);
    let records = fs::read_dir(place.path("user/state/berth")).expect("there").flatten();
    assert!(!records.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("upload-")));
    terminal.type_keys(CTRL_D);
    assert_eq!(terminal.ended().0, Some(0));
}

#[test]
fn ctrl_c_at_a_command_that_was_given_as_arguments_exits_with_130_and_keeps_the_part() {
    let (place, _server, proxy, target) = behind_a_proxy();
    fs::write(place.home("ann", "big.bin"), pattern(7, 16 * MIB)).expect("writable");
    proxy.down.hold_after(6 * MIB as u64);
    let mut terminal = Terminal::open(&place.berth(&["--plaintext", &target, "get", "big.bin"]), 80);
    let part = part_of(&place.here("big.bin"));
    wait_until("some of it is here", || fs::metadata(&part).is_ok_and(|part| part.len() > MIB as u64));
    terminal.type_keys(CTRL_C);
    assert_eq!(terminal.ended().0, Some(130));
    assert!(part.exists() && !place.here("big.bin").exists());
    proxy.down.open();
    let again: Program = place.start(place.berth(&["--plaintext", &target, "get", "big.bin"]));
    let ended = { again }.wait().expect_code(0);
    assert!(ended.stderr.contains("resuming at "), "{ended:?}");
}

#[test]
fn a_command_after_ctrl_c_while_reconnecting_is_tried_at_once() {
    let (place, server, proxy, target) = behind_a_proxy();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    for columns in [40, 80, 120] {
        let mut terminal = Terminal::logged_in(&place, &target, columns);
        proxy.redirect(gone);
        proxy.cut();
        terminal.enter("mkdir -p new");
        terminal.expect("(3 of 7)");
        terminal.type_keys(CTRL_C);
        terminal.expect("/> ");
        proxy.redirect(server.address);
        terminal.enter("pwd; ls");
        terminal.expect("reconnecting in a moment (1 of 7)");
        terminal.expect("connected again");
        terminal.expect("/> ");
        terminal.type_keys(CTRL_D);
        assert_eq!(terminal.ended().0, Some(0));
    }
}

// ---- What commands show -------------------------------------------------------------------

/// A home with a directory, a program and names that are wide, narrow and hostile.
fn with_names(place: &Place) {
    fs::create_dir(place.home("ann", "folder")).expect("writable");
    for name in ["a", "bb.txt", "日本語.txt", "naïve.md", "x\x1b[2Jy", "a name of some length.tar.gz"] {
        fs::write(place.home("ann", name), name).expect("writable");
    }
    fs::set_permissions(place.home("ann", "a"), fs::Permissions::from_mode(0o755)).expect("ours");
}

/// What one command shows at a terminal, as its lines.
#[track_caller]
fn lines_of(mut command: Command, columns: usize, environment: &[(&str, &str)]) -> Vec<String> {
    command.envs(environment.iter().copied());
    let (code, shown) = Terminal::open(&command, columns).ended();
    assert_eq!(code, Some(0), "{shown}");
    shown.split_terminator("\r\n").map(str::to_string).collect()
}

#[test]
fn ls_has_columns_and_colours_like_the_local_ls() {
    let (place, server) = started();
    with_names(&place);
    let ls = |arguments: &[&str]| place.berth(&[&["--plaintext", &server.target("ann"), "ls"], arguments].concat());
    let at_80 = [
        "\x1b[01;32ma\x1b[0m                             bb.txt   naïve.md   日本語.txt",
        "a name of some length.tar.gz  \x1b[01;34mfolder\x1b[0m/  x\\x1b[2Jy",
    ];
    assert_eq!(lines_of(ls(&[]), 80, &[]), at_80);
    let at_40 = [
        "\x1b[01;32ma\x1b[0m",
        "a name of some length.tar.gz",
        "bb.txt",
        "\x1b[01;34mfolder\x1b[0m/",
        "naïve.md",
        "x\\x1b[2Jy",
        "日本語.txt",
    ];
    assert_eq!(lines_of(ls(&[]), 40, &[]), at_40);
    assert_eq!(lines_of(ls(&["-1", "*.md", "*.txt"]), 80, &[]), ["bb.txt", "naïve.md", "日本語.txt"]);
    let colourless = lines_of(ls(&[]), 80, &[("NO_COLOR", "1")]);
    assert!(colourless.len() == 2 && !colourless.concat().contains('\x1b'), "{colourless:?}");
    let own = lines_of(ls(&["-1", "folder", "*.md"]), 80, &[("LS_COLORS", "di=35:*.md=33")]);
    assert_eq!(own[0], "\x1b[33mnaïve.md\x1b[0m");
}

/// A terminal, or a caller, that says it cannot draw: as a script of the shell that starts `berth`.
const DRAWS_NOTHING: &[&str] = &["export TERM=dumb", "export TERM=", "unset TERM", "export CI=1"];

#[test]
fn a_terminal_that_cannot_draw_gets_nothing_but_text() {
    let (place, server) = started();
    with_names(&place);
    fs::write(place.here("big.bin"), pattern(2, 3 * MIB)).expect("writable");
    plant_tree(&place.here("tree"));
    for setting in DRAWS_NOTHING {
        let mut berth = place.berth(&["--plaintext", &server.target("ann")]);
        berth.env_remove("BERTH_PASSWORD").env("LS_COLORS", "di=1");
        let mut terminal = Terminal::open_in_shell(&berth, 80, |line| format!("{setting}; exec {line}"));
        terminal.expect("password for ann: ");
        terminal.enter(PASSWORD);
        for line in [
            "ls",
            "put -f big.bin",
            "get -f big.bin copy",
            "put -r tree",
            "mirror tree image",
            "gte",
            "rm -r tree image",
        ] {
            terminal.expect("/> ");
            terminal.enter(line);
        }
        terminal.expect("/> ");
        terminal.type_keys("pwd");
        terminal.type_keys(CTRL_C);
        terminal.expect("/> ");
        terminal.enter("mkdir after");
        terminal.expect("/> ");
        terminal.enter("rmdir after");
        terminal.expect("/> ");
        terminal.type_keys(CTRL_D);
        let text = terminal.shown().replace("\r\n", "\n");
        let (code, rest) = terminal.ended();
        assert_eq!(code, Some(0), "{setting}: {rest}");
        assert!(text.contains("did you mean 'get'?") && text.contains("/big.bin"), "{setting}:\n{text}");
        assert!(!text.contains(['\x1b', '\r', '\x07']) && !rest.contains('\x1b'), "{setting}: {text:?}{rest:?}");
    }
    for setting in DRAWS_NOTHING {
        for arguments in [&["put", "-f", "big.bin"][..], &["get", "-f", "big.bin", "copy"], &["ls"], &["get", "nope"]] {
            let berth = place.berth(&[&["--plaintext", &server.target("ann")], arguments].concat());
            let terminal = Terminal::open_in_shell(&berth, 80, |line| format!("{setting}; exec {line}"));
            let text = terminal.ended().1.replace("\r\n", "\n");
            assert!(!text.is_empty() && !text.contains(['\x1b', '\r']), "{setting} {arguments:?}: {text:?}");
        }
    }
}

#[test]
fn without_colours_no_hint_looks_like_what_was_typed() {
    let (place, server) = started();
    with_names(&place);
    let mut berth = place.berth(&["--plaintext", &server.target("ann")]);
    for no_color in ["", "1"] {
        berth.env("NO_COLOR", no_color);
        let mut terminal = Terminal::open(&berth, 80);
        for line in ["ls", "pwd"] {
            terminal.expect("/> ");
            terminal.enter(line);
        }
        terminal.expect("/\r\n");
        terminal.expect("/> ");
        terminal.type_keys("p");
        terminal.expect(if no_color.is_empty() { "p\x1b[2mwd" } else { "p" });
        terminal.type_keys(CTRL_C);
        let shown = terminal.expect("/> ");
        assert!(no_color.is_empty() || !shown.contains("wd"), "{shown:?}");
        assert_eq!(terminal.shown().contains("\x1b[01;"), no_color.is_empty(), "{}", terminal.shown());
    }
}

#[test]
fn piped_output_has_no_colours_and_ctrl_c_ends_both_programs() {
    let (place, server) = started();
    with_names(&place);
    let mut terminal = Terminal::logged_in(&place, &server.target("ann"), 80);
    terminal.enter("ls | sort -r");
    terminal.expect("\r\n日本語.txt\r\nx\\x1b[2Jy\r\nnaïve.md\r\nfolder/\r\n");
    terminal.expect("/> ");
    terminal.enter("ls | { echo ready; exec sleep 1000; }");
    terminal.expect("\nready\r\n");
    terminal.type_keys(CTRL_C);
    terminal.expect("interrupted");
    terminal.expect("/> ");
    terminal.type_keys(CTRL_D);
    assert_eq!(terminal.ended().0, Some(0));
}

#[test]
fn cat_escapes_control_characters() {
    let (place, server) = started();
    fs::write(place.home("ann", "f"), b"plain\ttext\n\x1b[2J\x1b]0;title\x07 \xff\n").expect("writable");
    let (code, shown) = Terminal::open(&place.berth(&["--plaintext", &server.target("ann"), "cat", "f"]), 80).ended();
    assert_eq!((code, &shown[..]), (Some(0), "plain\ttext\r\n\\x1b[2J\\x1b]0;title\\x07 \\xff\r\n"));
}

#[test]
fn ctrl_c_interrupts_a_local_command_but_not_the_shell() {
    let (place, server) = started();
    let mut terminal = Terminal::logged_in(&place, &server.target("ann"), 80);
    for _ in 0..2 {
        terminal.enter("!trap 'echo caught; exit 7' INT; echo waiting; while :; do read -r line; done");
        terminal.expect("waiting\r\n");
        terminal.type_keys(CTRL_C);
        terminal.expect("caught");
        terminal.expect("the command exited with 7");
        terminal.expect(":/> ");
    }
    terminal.enter("!echo ready; read -r answer; echo \"<$answer>\"");
    terminal.expect("ready\r\n");
    terminal.enter("for the program");
    terminal.expect("<for the program>");
    terminal.expect(":/> ");
    terminal.type_keys(CTRL_D);
    assert_eq!(terminal.ended().0, Some(0));
}

#[test]
fn put_from_the_terminal_says_how_the_content_ends() {
    let (place, server) = started();
    let mut terminal = Terminal::logged_in(&place, &server.target("ann"), 80);
    terminal.enter("put - notes");
    terminal.expect("Ctrl-D at the beginning of a line ends it\r\n");
    terminal.enter("typed");
    terminal.expect("typed\r\n");
    terminal.type_keys(CTRL_D);
    terminal.expect("verified\r\n");
    terminal.expect(":/> ");
    terminal.type_keys(CTRL_D);
    assert_eq!(terminal.ended().0, Some(0));
    assert_eq!(fs::read_to_string(place.home("ann", "notes")).expect("stored"), "typed\n");
}

/// Between Ctrl-C and the prompt; a second is the aim, the rest is for a busy machine.
const PROMPT_BACK: Duration = Duration::from_secs(3);

// ---- The server's ---------------------------------------------------------------------------

#[test]
fn a_watched_status_fits_the_terminal_and_ends_with_ctrl_c() {
    let (place, server) = started();
    let _sessions: Vec<_> = (0..40).map(|_| crate::support::peer::Peer::connect(server.address)).collect();
    for columns in [80, 40] {
        let mut terminal = Terminal::open(&place.berthd(&["status", "--watch"]), columns);
        terminal.expect("\x1b[2J\x1b[H");
        for _ in 0..2 {
            let screen = terminal.expect("\x1b[J");
            let lines: Vec<&str> = screen.trim_end_matches("\x1b[K\r\n").split("\x1b[K\r\n").collect();
            assert!(lines[0].starts_with("sessions 0  unauthenticated 40  "), "{lines:?}");
            assert!(lines.len() <= 24, "{lines:?}");
            assert!(lines.iter().any(|line| line.starts_with('…') && line.ends_with(" more")), "{lines:?}");
            assert!(lines.iter().all(|line| line.chars().count() < columns && !line.contains('\x1b')), "{lines:?}");
            terminal.expect("\x1b[H");
        }
        terminal.type_keys(CTRL_C);
        let (code, _) = terminal.ended();
        assert_eq!(code, Some(0));
    }
}

// ---- Files that are in the way ---------------------------------------------------------------

/// Five files to move; three of them are at the target already, and differ.
fn plant_differing(place: &Place, command: &str) -> std::path::PathBuf {
    let (here, there) = (place.here("tree"), place.home("ann", "tree"));
    let (source, target) = if command == "put" { (here, there) } else { (there, here) };
    let write = |directory: &Path, name: &str, content: &str, seconds: u64| {
        fs::create_dir_all(directory).expect("writable");
        let path = directory.join(name);
        fs::write(&path, content).expect("writable");
        let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("ours");
    };
    let _ = fs::remove_dir_all(&target);
    for name in ["a", "b", "c", "d", "e"] {
        write(&source, name, &format!("new {name}"), 1_500_000_000);
    }
    for name in ["a", "b", "c"] {
        write(&target, name, &format!("older {name}{}", "x".repeat(2000)), 1_400_000_000);
    }
    target
}

/// For each of the files `n` if it is the new one, `o` for the old one, `-` for none.
fn states(target: &Path) -> String {
    let state = |name| match fs::read_to_string(target.join(name)) {
        Ok(content) if content.starts_with("new") => 'n',
        Ok(_) => 'o',
        Err(_) => '-',
    };
    ["a", "b", "c", "d", "e"].into_iter().map(state).collect()
}

#[test]
fn the_question_about_an_existing_file_takes_all_none_and_quit_and_shows_both_sides() {
    let (place, server) = started();
    let target = server.target("ann");
    for command in ["put", "get"] {
        let new_files = if command == "put" { "nn" } else { "--" };
        for (columns, keys, code, after) in [
            (40, &["y", "n", "yes"][..], 1, "nonnn".to_string()),
            (80, &["a"], 0, "nnnnn".into()),
            (120, &["n", "ALL"], 1, "onnnn".into()),
            (40, &["o"], 1, "ooonn".into()),
            (80, &["y", "none"], 1, "noonn".into()),
            (120, &["", "what", "", "y"], 1, "oonnn".into()),
            (40, &["y", "q"], 1, format!("noo{new_files}")),
            (80, &["y", CTRL_D], 1, format!("noo{new_files}")),
            (80, &["y", CTRL_C], 130, format!("ooo{new_files}")),
        ] {
            let directory = plant_differing(&place, command);
            let arguments = ["--plaintext", "--no-progress", &target, command, "-r", "tree", "."];
            let mut terminal = Terminal::open(&place.berth(&arguments), columns);
            for key in keys {
                let shown = terminal.expect(": ");
                let (old, new) = if command == "put" { ("remote", "local ") } else { ("local ", "remote") };
                let facts = format!("\n  {old}  2K  May 13  2014\r\n  {new}  5 bytes  Jul 14  2017  newer\r\n");
                assert!(shown.contains(&facts) || shown.ends_with("please answer y, n, a, o or q"), "{shown}");
                match *key {
                    CTRL_C | CTRL_D => terminal.type_keys(key),
                    word => terminal.enter(word),
                }
            }
            let (ended, rest) = terminal.ended();
            assert_eq!((ended, states(&directory)), (Some(code), after), "{command} {keys:?}: {rest}");
            // What follows an answer stands on a line of its own.
            let lines: Vec<&str> = rest.split("\r\n").collect();
            let is_own_line = |text: &str| lines.iter().any(|line| line.starts_with(text));
            assert!(!rest.contains("\r\n\r\n"), "{rest}");
            if code == 130 {
                // `put` has sent new files before it asks.
                let told =
                    if command == "put" { "the transferred data is kept; run" } else { "nothing was transferred" };
                assert!(is_own_line(told), "{command}: {rest}");
            }
            match code {
                0 => assert!(!rest.contains("berth: "), "{rest}"),
                _ => assert!(is_own_line("berth: ") && rest.matches("berth: ").count() == 1, "{keys:?}: {rest}"),
            }
        }
    }
}

#[test]
fn a_single_existing_file_is_a_yes_or_no_question() {
    let (place, server) = started();
    for (columns, keys, replaced, end) in [
        (40, &["y"][..], true, "verified"),
        (80, &["all", "yes"], true, "verified"),
        (80, &[""], false, "berth: put: /tree/a was not replaced"),
        (120, &["n"], false, "berth: put: /tree/a was not replaced"),
        (80, &[CTRL_D], false, "berth: put: /tree/a was not replaced"),
    ] {
        let directory = plant_differing(&place, "put");
        let arguments = ["--plaintext", "--no-progress", &server.target("ann"), "put", "tree/a", "tree"];
        let mut terminal = Terminal::open(&place.berth(&arguments), columns);
        terminal.expect("replace remote /tree/a with local tree/a?\r\n");
        terminal.expect("Replace it? [y/N] ");
        for (at, key) in keys.iter().enumerate() {
            if at > 0 {
                terminal.expect("please answer yes or no: ");
            }
            match *key {
                CTRL_D => terminal.type_keys(key),
                word => terminal.enter(word),
            }
        }
        let (code, rest) = terminal.ended();
        assert_eq!((code, states(&directory).starts_with('n')), (Some(i32::from(!replaced)), replaced), "{rest}");
        assert!(rest.trim_end().lines().any(|line| line.ends_with(end)), "{rest}");
    }
}

#[test]
fn the_time_of_a_question_does_not_count_as_transfer_time() {
    let (place, server) = started();
    for command in ["put", "get"] {
        plant_differing(&place, command);
        let begun = Instant::now();
        let arguments = ["--plaintext", "--json", &server.target("ann"), command, "-r", "tree", "."];
        let mut terminal = Terminal::open(&place.berth(&arguments), 120);
        terminal.expect("[q]uit: ");
        let asked = Instant::now();
        wait_until("the question was open for a while", || asked.elapsed() > Duration::from_secs(2));
        let open_s = asked.elapsed().as_secs_f64();
        terminal.enter("all");
        let (code, rest) = terminal.ended();
        let total_s = begun.elapsed().as_secs_f64();
        assert_eq!(code, Some(0), "{rest}");
        let objects = rest.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let seconds = objects.filter_map(|object| object["seconds"].as_f64()).next_back().expect("a summary");
        assert!(seconds <= total_s - open_s, "{command}: {seconds} s of {total_s} s, {open_s} s of them a question");
    }
}

#[test]
fn the_key_question_starts_on_its_own_line() {
    let place = Place::with(json!({"plaintext": false}));
    place.add("ann", &[]);
    let server = place.serve();
    for (columns, keys, code) in [(40, CTRL_D, 4), (80, CTRL_C, 130), (120, "ab\x04\x04", 4)] {
        let mut terminal = Terminal::open(&place.berth_over_tls(&[&server.target("ann"), "pwd"]), columns);
        terminal.expect("[y/N] ");
        terminal.type_keys(keys);
        let (ended, rest) = terminal.ended();
        assert!(ended == Some(code) && rest.contains("\nberth: "), "{columns}: {rest}");
    }
}

// ---- Hashing ----------------------------------------------------------------------------------

/// A file without content that takes no machine less than minutes to hash.
fn plant_endless(path: &Path, bytes: u64) {
    fs::File::create(path).and_then(|file| file.set_len(bytes)).expect("the file system has sparse files");
}

#[test]
fn hashing_is_shown_with_its_side_and_ctrl_c_ends_it_on_both() {
    let (place, server) = started();
    let bytes = 1 << 40;
    plant_endless(&place.here("big.bin"), bytes);
    plant_endless(&place.home("ann", "big.bin"), bytes);
    let part = part_of(&place.here("resumed"));
    plant_endless(&part, bytes);
    let file = fs::File::open(&part).expect("ours");
    let mark = format!("{} resumed", std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("ours")));
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&file, "user.berth.part", mark.as_bytes(), flags).expect("extended attributes");
    drop(file);
    for columns in [40, 80, 120] {
        let mut terminal = Terminal::logged_in(&place, &server.target("ann"), columns);
        for (command, shown) in [
            ("put big.bin", "checking local big.bin  0 %"),
            ("get big.bin", "checking local big.bin  0 %"),
            ("get big.bin resumed", "checking local resumed  0 %"),
            ("sha256 big.bin", "checking remote big.bin  "),
        ] {
            terminal.enter(command);
            terminal.expect(&format!("\r{shown}"));
            let pressed = Instant::now();
            terminal.type_keys(CTRL_C);
            let told = terminal.expect("interrupted");
            assert_eq!(told.contains("nothing was transferred"), !command.starts_with("sha256"), "{told}");
            terminal.expect("/> ");
            assert!(pressed.elapsed() < PROMPT_BACK, "{command}: {:?}", pressed.elapsed());
            // The server does not go on with it, or the next answer would take as long.
            terminal.enter("ls");
            terminal.expect("big.bin\r\n");
            terminal.expect("/> ");
        }
        let shown = terminal.shown();
        let lines = shown.split(['\r', '\n']).map(without_escapes).filter(|line| line.contains("checking"));
        assert!(lines.clone().all(|line| line.chars().count() < columns && !line.ends_with(' ')), "{shown}");
        terminal.type_keys(CTRL_D);
        assert_eq!(terminal.ended().0, Some(0));
    }
}

#[test]
fn hashing_writes_lines_on_a_terminal_without_bars() {
    let (place, server) = started();
    plant_endless(&place.home("ann", "big.bin"), 1 << 40);
    let mut berth = place.berth(&["--plaintext", &server.target("ann"), "sha256", "big.bin"]);
    berth.env("CI", "true");
    let mut terminal = Terminal::open(&berth, 80);
    let before = terminal.expect("checking remote big.bin  ");
    assert_eq!(before, "");
    terminal.expect("s\r\n");
    terminal.type_keys(CTRL_C);
    assert_eq!(terminal.ended().0, Some(130));
}

#[test]
fn hashing_writes_nothing_without_a_terminal() {
    let (place, server) = started();
    for path in [place.here("a"), place.home("ann", "a")] {
        plant_endless(&path, 300 << 20);
    }
    let target = server.target("ann");
    for (command, shown) in [("put", "already there, identical"), ("sha256", "  /a")] {
        let ended = place.run(place.berth(&["--plaintext", &target, command, "a"])).expect_code(0);
        assert!(ended.stdout.trim_end().ends_with(shown) && ended.stderr.is_empty(), "{ended:?}");
    }
}

// ---- A tree that was interrupted --------------------------------------------------------------

/// A tree of three files, two of them large enough to be cut.
fn plant_tree(root: &Path) {
    fs::create_dir_all(root.join("sub")).expect("writable");
    fs::write(root.join("first"), b"first").expect("writable");
    fs::write(root.join("sub/large"), pattern(8, 8 * MIB)).expect("writable");
    fs::write(root.join("sub/last"), b"last").expect("writable");
}

fn has_tree(root: &Path) -> bool {
    let is = |name: &str, content: &[u8]| fs::read(root.join(name)).is_ok_and(|here| here == content);
    is("first", b"first") && is("sub/large", &pattern(8, 8 * MIB)) && is("sub/last", b"last")
}

#[test]
fn an_interrupted_tree_continues_in_its_new_directory_with_the_same_command() {
    for command in ["get", "put"] {
        let (place, _server, proxy, target) = behind_a_proxy();
        let (source, new, way) = match command {
            "get" => (place.home("ann", "tree"), place.here("NEW"), &proxy.down),
            _ => (place.here("tree"), place.home("ann", "NEW"), &proxy.up),
        };
        plant_tree(&source);
        let berth = place.berth(&["--plaintext", &target, command, "-r", "tree", "NEW"]);
        way.hold_after(4 * MIB as u64);
        let mut terminal = Terminal::open(&berth, 80);
        wait_until("the folder is made", || new.join("sub").exists());
        terminal.type_keys(CTRL_C);
        let (code, shown) = terminal.ended();
        assert!(code == Some(130) && shown.contains("the same command"), "{command}: {code:?} {shown}");
        way.open();
        let again = || place.run(place.berth(&["--plaintext", &target, command, "-r", "tree", "NEW"]));
        again().expect_code(0);
        assert!(has_tree(&new) && !new.join("tree").exists(), "{command}");
        // Now it is a directory like any other, which the tree goes into.
        again().expect_code(0);
        assert!(has_tree(&new.join("tree")), "{command}");
    }
}

#[test]
fn another_directory_in_place_of_an_unfinished_one_is_not_continued() {
    let (place, _server, proxy, target) = behind_a_proxy();
    plant_tree(&place.home("ann", "tree"));
    let new = place.here("NEW");
    let berth = || place.berth(&["--plaintext", &target, "get", "-r", "tree", "NEW"]);
    proxy.down.hold_after(4 * MIB as u64);
    let mut terminal = Terminal::open(&berth(), 80);
    wait_until("the folder is made", || new.join("sub").exists());
    terminal.type_keys(CTRL_C);
    assert_eq!(terminal.ended().0, Some(130));
    proxy.down.open();
    fs::rename(&new, place.here("OLD")).expect("ours");
    fs::create_dir(&new).expect("writable");
    place.run(berth()).expect_code(0);
    assert!(has_tree(&new.join("tree")) && !new.join("first").exists());
}

#[test]
fn a_mirror_shows_its_direction() {
    let (place, server) = started();
    fs::create_dir(place.here("photos")).expect("writable");
    let target = server.target("ann");
    for (columns, words, told) in [
        (40, &["photos", "backup"][..], format!("mirror: from the local photos to {target}:/backup")),
        (80, &["--from", "backup", "new"], format!("mirror: from {target}:/backup to the local new")),
    ] {
        let arguments = [&["--plaintext", &target, "mirror"][..], words].concat();
        let mut terminal = Terminal::open(&place.berth(&arguments), columns);
        terminal.expect(&told);
        assert_eq!(terminal.ended().0, Some(0));
    }
}
