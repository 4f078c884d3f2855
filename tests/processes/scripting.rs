//! What scripts rely on: exit codes, objects with the fields that docs/scripting.md lists, content
//! through pipes, and pipes that close.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::{Ended, Program};
use crate::support::proxy::Proxy;
use crate::support::visit::Visit;
use crate::support::{Place, digest, disk_usage, pattern, target, unlinked_files, wait_until};

impl Visit {
    /// Runs the client while nobody reads what it prints.
    fn run_unread(&self, arguments: &[&str]) -> Ended {
        Program::start_unread(self.command(arguments), &self.place.path("io")).wait()
    }

    /// `put - NAME` with these bytes on standard input.
    fn put(&self, bytes: &[u8], arguments: &[&str]) -> Ended {
        let stdin = self.place.path("io/stdin");
        fs::write(&stdin, bytes).expect("writable");
        let mut command = self.command(arguments);
        command.stdin(File::open(&stdin).expect("written"));
        self.place.run(command)
    }

    /// The content of a file in the home, if it exists.
    fn read_there(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.place.home("ann", name)).ok()
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

// ---- Objects ------------------------------------------------------------------------------

/// The fields of each kind of object, from the table of docs/scripting.md.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scripting.md")).expect("there");
    let table = page.split("<!-- json:begin -->").nth(1).and_then(|rest| rest.split("<!-- json:end -->").next());
    let rows = table.expect("the table").lines().skip(3).filter(|line| line.starts_with('|'));
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>();
    let mut kinds = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let suffix = if cells[0].ends_with(" of many") { " of many" } else { "" };
        let names = if cells[0].contains("a failure") { vec!["failure".into()] } else { quoted(cells[0]) };
        for name in names {
            kinds.insert(format!("{name}{suffix}"), quoted(cells[1]).into_iter().collect());
        }
    }
    kinds
}

fn kind_of(object: &Value) -> String {
    let command = object["command"].as_str().expect("every object names its command");
    match object["ok"].as_bool().expect("every object says whether it worked") {
        true if object.get("action").is_some() => command.into(),
        _ if object.get("files").is_some() && command != "du" => format!("{command} of many"),
        false => "failure".into(),
        true if object.get("dropped").is_some() => "partials drop".into(),
        true => command.into(),
    }
}

#[test]
fn every_command_prints_objects_with_exactly_the_fields_that_are_documented() {
    let visit = Visit::new(&["--quota", "100M"]);
    visit.write_here("a", b"hello");
    fs::create_dir(visit.place.here("tree")).expect("writable");
    visit.write_here("tree/b", b"b");
    let big = pattern(1, 8 << 20);
    visit.write_here("big", &big);
    let proxy = Proxy::to(visit.server.address);
    proxy.up.hold_after(4 << 20);
    let mut interrupted = visit.place.start(visit.command_to(&target("ann", proxy.address), &["put", "big"]));
    wait_until("some of it is kept", || {
        let directory = fs::read_dir(visit.place.home("ann", ".berth"));
        let sizes =
            directory.into_iter().flatten().flatten().map(|entry| entry.metadata().map_or(0, |part| part.len()));
        sizes.max().unwrap_or(0) > 2 << 20
    });
    interrupted.kill();
    let commands = "pwd; mkdir d e; put a; put -r tree; ls; dir d; lls; stat a; cat a; sha256 a; quota; df; du; \
                    get a c; get -r tree copy; mirror tree e; mv c d; mv a d; rm d/a; rmdir d; cd e; cd; lcd tree; lpwd; help; \
                    get nope; partials; partials drop --all; !true\nquit";
    let ended = visit.run(&["--json", "--keep-going", "-c", commands]).expect_code(1);
    let host = visit.place.run(visit.place.berth_over_tls(&["--json", "host", "add", "nas", "ann@nas"])).expect_code(0);
    let documented = documented();
    let mut seen = BTreeSet::new();
    for object in objects(&(ended.stdout + &host.stdout)) {
        let kind = kind_of(&object);
        let fields = documented.get(&kind).unwrap_or_else(|| panic!("docs/scripting.md has no '{kind}': {object}"));
        let own = object.as_object().expect("an object").keys().filter(|key| !matches!(&key[..], "command" | "ok"));
        assert_eq!(&own.cloned().collect::<BTreeSet<_>>(), fields, "{object}");
        seen.insert(kind);
    }
    assert_eq!(seen, documented.into_keys().collect(), "each row of the table is a kind of object");
}

#[test]
fn a_failure_before_the_login_is_an_object_too() {
    let visit = Visit::new(&[]);
    for (target, arguments, code, word) in [
        ("ann@127.0.0.1:1", &["pwd"][..], 3, "connection"),
        (&visit.server.target("ann"), &["gte", "x"], 2, "usage"),
        (&visit.server.target("nobody"), &["pwd"], 4, "login_failed"),
    ] {
        let ended = visit.place.run(visit.command_to(target, &[&["--json"], arguments].concat())).expect_code(code);
        let objects = objects(&ended.stdout);
        assert_eq!(
            (objects.len(), &objects[0]["ok"], objects[0]["code"].as_str()),
            (1, &Value::Bool(false), Some(word))
        );
    }
}

// ---- Pipes --------------------------------------------------------------------------------

#[test]
fn content_of_any_length_goes_through_pipes_both_ways_with_its_digest() {
    let visit = Visit::new(&[]);
    let mib = 1 << 20;
    for size in [0, 1, 65_535, 65_536, mib, 5 * mib + 1] {
        let content = pattern(size as u64, size);
        let digest = digest(&content);
        let ended = visit.put(&content, &["put", "-v", "-", "f"]).expect_code(0);
        let said = ended.stdout.trim_end();
        assert!(said.starts_with("put - -> /f  ") && said.ends_with(&format!("verified  {digest}")), "{ended:?}");
        assert!(visit.read_there("f").as_deref() == Some(&content[..]), "{size} bytes up");
        let out = visit.place.path("io/content");
        let mut command = visit.command(&["get", "f", "-"]);
        let output = command.stdout(File::create(&out).expect("writable")).stderr(Stdio::piped()).output();
        let output = output.expect("it runs");
        assert!((output.status.success(), &output.stderr[..]) == (true, b""), "{output:?}");
        assert!(fs::read(&out).expect("written") == content, "{size} bytes down");
        // Through a pipe, which takes less at a time.
        let output = visit.command(&["get", "f", "-"]).output().expect("it runs");
        assert!(output.stdout == content, "{size} bytes down a pipe");
        visit.run(&["rm", "f"]).expect_code(0);
    }
    assert_eq!(disk_usage(&visit.place.home("ann", "")), (0, 0), "nothing stays in staging");
}

#[test]
fn with_content_on_standard_output_objects_go_to_standard_error() {
    let visit = Visit::new(&[]);
    visit.put(b"hello", &["put", "-", "f"]).expect_code(0);
    let ended = visit.run(&["--json", "--keep-going", "-c", "get f -; get nope -; pwd"]).expect_code(1);
    assert_eq!(ended.stdout, "hello");
    let remarks = ended.stderr;
    let told: Vec<_> = objects(&remarks).iter().map(|object| object["ok"].clone()).collect();
    assert_eq!(told, [true, false, true]);
    assert_eq!(objects(&remarks)[0]["digest"], digest(b"hello"));
    let ended = visit.put(b"x", &["--json", "put", "-", "g"]).expect_code(0);
    assert_eq!(objects(&ended.stdout)[0]["local"], "-");
    // Without a server, a login, or the right words, too.
    let there = visit.server.target("ann");
    for (target, arguments, code) in [
        ("ann@127.0.0.1:1", &["get", "f", "-"][..], 3),
        (&visit.server.target("nobody"), &["get", "f", "-"], 4),
        (&there, &["get", "nope", "-"], 1),
        (&there, &["get", "-r", "f", "-"], 2),
        (&there, &["-c", "gte x; get f -"], 2),
    ] {
        let options = &["--json", "--retries", "0"];
        let ended = visit.place.run(visit.command_to(target, &[&options[..], arguments].concat())).expect_code(code);
        let is_told_on_stdout = code == 2 && arguments[0] == "-c";
        let (alone, told) = if is_told_on_stdout { ("", &ended.stdout) } else { (&ended.stdout[..], &ended.stderr) };
        assert_eq!(alone, "", "{arguments:?}: {ended:?}");
        assert_eq!(objects(told).len(), 1, "{arguments:?}: {ended:?}");
    }
}

#[test]
fn with_content_on_standard_output_progress_is_not_mixed_with_the_objects() {
    let place = Place::with(json!({"rates": {"session_down": "500K"}}));
    place.add("ann", &[]);
    let visit = Visit { server: place.serve(), place };
    let content = pattern(3, 5 << 20);
    fs::write(visit.place.home("ann", "f"), &content).expect("writable");
    for arguments in [&["--json", "get", "f", "-"][..], &["get", "f", "-"]] {
        let output = visit.command(arguments).output().expect("it runs");
        assert!(output.stdout == content, "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).expect("text");
        match arguments[0] {
            "--json" => assert_eq!(objects(&stderr).len(), 1, "{stderr}"),
            _ => assert!(stderr.starts_with("f: "), "the link is slow enough for progress: {stderr}"),
        }
    }
}

#[test]
fn a_pipe_replaces_a_file_only_with_f_and_needs_a_name() {
    let visit = Visit::new(&[]);
    visit.put(b"old", &["put", "-", "f"]).expect_code(0);
    fs::create_dir(visit.place.home("ann", "folder")).expect("writable");
    let refused = visit.put(&pattern(1, 3 << 20), &["put", "-", "f"]).expect_code(1);
    assert!(refused.stderr.contains("-f replaces it"), "{refused:?}");
    assert_eq!(visit.read_there("f").as_deref(), Some(&b"old"[..]));
    visit.put(b"new", &["put", "-f", "-", "f"]).expect_code(0);
    assert_eq!(visit.read_there("f").as_deref(), Some(&b"new"[..]));
    for arguments in [&["put", "-"][..], &["put", "-", "folder"], &["put", "-r", "-", "x"], &["put", "-", "f", "x"]] {
        visit.put(b"x", arguments).expect_code(2);
    }
    for arguments in [&["get", "-r", "folder", "-"][..], &["get", "f", "f", "-"]] {
        visit.run(arguments).expect_code(2);
    }
    let script = visit.put(b"put - x\nhello\n", &["-f", "-"]).expect_code(2);
    assert!(script.stderr.contains("standard input has the commands"), "{script:?}");
}

#[test]
fn a_refusal_does_not_wait_for_the_writer_of_the_pipe() {
    let visit = Visit::new(&["--quota", "1M"]);
    visit.put(b"old", &["put", "-", "f"]).expect_code(0);
    for (name, code) in [("f", 1), ("too-much", 6)] {
        let (reader, mut writer) = std::io::pipe().expect("descriptors are left");
        let mut command = visit.command(&["put", "-", name]);
        command.stdin(reader);
        let mut client = visit.place.start(command);
        // What the quota takes and a little more; then silence, but no end.
        let _ = writer.write_all(&pattern(1, (1 << 20) + 4096));
        client.wait().expect_code(code);
        drop(writer);
    }
    assert_eq!(disk_usage(&visit.place.home("ann", "")), (3, 1));
}

#[test]
fn ctrl_c_ends_an_upload_from_an_empty_pipe_and_leaves_nothing() {
    let visit = Visit::new(&[]);
    let (reader, mut writer) = std::io::pipe().expect("descriptors are left");
    let mut command = visit.command(&["put", "-", "f"]);
    command.stdin(reader);
    let mut client = visit.place.start(command);
    writer.write_all(b"some").expect("somebody reads");
    let (process, home) = (visit.server.program.pid(), visit.place.home("ann", ""));
    wait_until("the upload has begun", || !unlinked_files::uploads(process, &home).is_empty());
    client.signal(Signal::INT);
    client.wait().expect_code(130);
    wait_until("the server knows", || unlinked_files::uploads(process, &home).is_empty());
    assert_eq!(disk_usage(&home), (0, 0));
}

#[test]
fn piped_content_that_changes_in_transit_exits_with_5() {
    let visit = Visit::new(&[]);
    fs::write(visit.place.home("ann", "f"), pattern(1, 200_000)).expect("writable");
    let proxy = Proxy::to(visit.server.address);
    for arguments in [&["get", "f", "-"][..], &["cat", "f"]] {
        proxy.down.flip_after(100_000);
        let output = visit.command_to(&target("ann", proxy.address), arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(5), "{arguments:?}");
    }
}

#[test]
fn a_named_pipe_is_refused_with_the_command_that_sends_it() {
    let visit = Visit::new(&[]);
    let fifo = visit.place.here("tree/fifo");
    fs::create_dir(visit.place.here("tree")).expect("writable");
    visit.write_here("tree/file", b"x");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("ours");
    let (reader, mut writer) = std::io::pipe().expect("descriptors are left");
    writer.write_all(b"content").expect("room");
    for source in ["tree/fifo", "/dev/fd/0", "/proc/self/fd/0", "/proc/self/status"] {
        for target in [&[][..], &["n"]] {
            let mut command = visit.command(&[&["put", source], target].concat());
            command.stdin(reader.try_clone().expect("descriptors are left"));
            let ended = visit.place.run(command).expect_code(1);
            let told = ended.stderr.contains(source) && ended.stderr.contains("put - NAME");
            assert!(told && ended.stdout.is_empty(), "{source}: {ended:?}");
        }
    }
    assert_eq!(disk_usage(&visit.place.home("ann", "")), (0, 0));
    for (link, target) in [("tree/dangling", "nowhere"), ("tree/loop", "loop")] {
        std::os::unix::fs::symlink(target, visit.place.here(link)).expect("writable");
    }
    let ended = visit.run(&["put", "-r", "tree"]).expect_code(0);
    for left_out in ["tree/dangling", "tree/fifo", "tree/loop"] {
        assert!(ended.stderr.contains(&format!("{left_out} is not a regular file: skipped")), "{ended:?}");
    }
    assert_eq!(visit.read_there("tree/file").as_deref(), Some(&b"x"[..]));
    assert!(!visit.place.home("ann", "tree/fifo").exists());
    let mut command = visit.command(&["put", "-", "n"]);
    command.stdin(reader);
    drop(writer);
    visit.place.run(command).expect_code(0);
    assert_eq!(visit.read_there("n").as_deref(), Some(&b"content"[..]));
}

// ---- Pipes that close ---------------------------------------------------------------------

#[test]
fn commands_that_only_show_end_quietly_without_a_reader() {
    let visit = Visit::new(&[]);
    fs::write(visit.place.home("ann", "big"), pattern(1, 4 << 20)).expect("writable");
    for arguments in [
        &["ls"][..],
        &["cat", "big"],
        &["get", "big", "-"],
        &["--json", "cat", "big"],
        &["help"],
        &["-c", "pwd; cat big; quota"],
    ] {
        let ended = visit.run_unread(arguments).expect_code(0);
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}

#[test]
fn commands_that_change_something_are_carried_out_without_a_reader() {
    let visit = Visit::new(&[]);
    fs::create_dir(visit.place.here("tree")).expect("writable");
    let names: Vec<String> = (0..300).map(|i| format!("{i:0100}")).collect();
    for name in &names {
        visit.write_here(format!("tree/{name}"), name.as_bytes());
    }
    let ended = visit.run_unread(&["--json", "-c", "ls; put -r tree; ls; mkdir after"]).expect_code(0);
    assert_eq!(ended.stderr, "");
    assert!(names.iter().all(|name| visit.read_there(&format!("tree/{name}")).is_some()));
    assert!(visit.place.home("ann", "after").is_dir());
    visit.run_unread(&["--json", "get", "-r", "tree", "copy"]).expect_code(0);
    assert!(names.iter().all(|name| visit.place.here("copy").join(name).exists()));
    visit.run_unread(&["--json", "rm", "-r", "tree"]).expect_code(0);
    assert!(!visit.place.home("ann", "tree").exists());
}

#[test]
fn a_failure_is_reported_without_a_reader() {
    let visit = Visit::new(&[]);
    fs::write(visit.place.home("ann", "a"), "x").expect("writable");
    for arguments in [
        &["stat", "nope"][..],
        &["stat", "nope", "a"],
        &["--json", "stat", "nope", "a"],
        &["--json", "--keep-going", "-c", "ls; get nope; ls; pwd"],
        &["-c", "ls; rm nope"],
        &["ls", "nope", "a"],
    ] {
        let ended = visit.run_unread(arguments).expect_code(1);
        assert!(ended.stderr.contains("nope"), "{ended:?}");
    }
}

#[test]
fn a_full_disk_behind_standard_output_exits_with_6() {
    let visit = Visit::new(&[]);
    fs::write(visit.place.home("ann", "a"), pattern(1, 100_000)).expect("writable");
    for arguments in [&["ls"][..], &["--json", "pwd"], &["cat", "a"], &["get", "a", "-"], &["help"]] {
        let mut command = visit.command(arguments);
        command.stdout(File::options().write(true).open("/dev/full").expect("a device of every Linux"));
        let output = command.stderr(Stdio::piped()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(6), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{output:?}");
    }
    let mut help = visit.place.berth(&["--help"]);
    help.stdout(File::options().write(true).open("/dev/full").expect("a device of every Linux"));
    assert_eq!(help.status().expect("it runs").code(), Some(1));
}

// ---- Exit codes ---------------------------------------------------------------------------

#[test]
fn exit_code_is_0_if_everything_is_done_or_identical() {
    let visit = Visit::new(&[]);
    visit.write_here("a", b"x");
    visit.run(&["put", "a"]).expect_code(0);
    visit.run(&["put", "a"]).expect_code(0);
    visit.run(&["-c", ""]).expect_code(0);
    visit.run(&["-c", "quit; get nope"]).expect_code(0);
}

#[test]
fn exit_code_is_1_if_one_of_several_commands_fails() {
    let visit = Visit::new(&[]);
    visit.write_here("a", b"x");
    visit.run(&["get", "nope"]).expect_code(1);
    visit.run(&["put", "a", "nope", "/"]).expect_code(1);
    visit.run(&["--keep-going", "-c", "get nope; pwd"]).expect_code(1);
    visit.run(&["--keep-going", "-c", "rm nope; frobnicate", "--quiet"]).expect_code(2);
    visit.put(b"get nope\n", &[]).expect_code(1);
    visit.put(b"get nope\npwd\n", &["--keep-going"]).expect_code(1);
}

#[test]
fn with_json_invalid_arguments_are_one_object() {
    let place = Place::new();
    for arguments in
        [&["--json"][..], &["--json", "--nonsense", "ann@host"], &["--json", "--fingerprint", "x", "ann@host"]]
    {
        let ended = place.run(place.berth_over_tls(arguments)).expect_code(2);
        let objects = objects(&ended.stdout);
        assert_eq!(objects.len(), 1, "{arguments:?}: {ended:?}");
        assert_eq!((&objects[0]["ok"], &objects[0]["code"]), (&false.into(), &"usage".into()), "{ended:?}");
        assert!(objects[0]["message"].as_str().is_some_and(|text| text.len() > 10), "{ended:?}");
    }
}

#[test]
fn a_script_that_cannot_be_read_gets_a_plain_message() {
    let visit = Visit::new(&[]);
    for (script, code, told) in [
        (".", 1, "berth: script: .:1: is a directory\n"),
        ("nope", 2, "berth: cannot read the commands in nope: no such file or directory\n"),
    ] {
        assert_eq!(visit.run(&["-f", script]).expect_code(code).stderr, told);
    }
}

#[test]
fn exit_code_is_2_for_wrong_usage_also_in_the_middle_of_a_script() {
    let visit = Visit::new(&[]);
    visit.run(&["get"]).expect_code(2);
    visit.run(&["ls", "-x"]).expect_code(2);
    visit.put(b"pwd\nfrobnicate\n", &[]).expect_code(2);
    visit.put(b"pwd\nls 'open\n", &[]).expect_code(2);
    visit.put(b"cd 'open\npwd\n", &["--keep-going"]).expect_code(2);
}

#[test]
fn a_syntax_error_names_the_script_and_the_line() {
    let visit = Visit::new(&[]);
    visit.write_here("jobs.txt", b"pwd\n\nls 'open\n");
    let ended = visit.put(b"", &["-f", "jobs.txt"]).expect_code(2);
    assert!(ended.stderr.contains("jobs.txt:3: a quotation mark is not closed"), "{ended:?}");
    let ended = visit.put(b"pwd\nls 'open\n", &[]).expect_code(2);
    assert!(ended.stderr.contains("line 2: a quotation mark is not closed"), "{ended:?}");
}

#[test]
fn no_part_of_an_overlong_line_is_run() {
    let visit = Visit::new(&[]);
    let script = [b"mkdir kept gone\nrmdir gone ", &b"x"[..].repeat(1024 * 1024)[..], b" kept\nrmdir kept\n"].concat();
    let ended = visit.put(&script, &["--keep-going"]).expect_code(1);
    assert!(ended.stderr.contains("line 2: the line is longer than 1048576 bytes"), "{ended:?}");
    assert!(visit.place.home("ann", "gone").exists() && visit.place.home("ann", "kept").exists());
}

#[test]
fn exit_code_is_3_if_there_is_no_connection_or_it_ends() {
    let mut visit = Visit::new(&[]);
    let mut client = visit.command(&["--retries", "0"]);
    let (reader, mut writer) = std::io::pipe().expect("descriptors are left");
    client.stdin(reader);
    let mut client = visit.place.start(client);
    writer.write_all(b"mkdir a\n").expect("somebody reads");
    wait_until("it is logged in", || visit.place.home("ann", "a").exists());
    visit.server.program.kill();
    // It may have noticed and left before it is told.
    let _ = writer.write_all(b"mkdir b\n");
    client.wait().expect_code(3);
    visit.run(&["pwd"]).expect_code(3);
}

#[test]
fn exit_code_is_4_if_the_login_is_refused() {
    let visit = Visit::new(&[]);
    visit.place.run(visit.command_to(&visit.server.target("nobody"), &["pwd"])).expect_code(4);
}

#[test]
fn exit_code_is_6_if_the_quota_is_full() {
    let visit = Visit::new(&["--quota", "1K"]);
    visit.write_here("a", &[0; 2000]);
    visit.run(&["put", "a"]).expect_code(6);
    visit.put(&[0; 2000], &["put", "-", "a"]).expect_code(6);
}
