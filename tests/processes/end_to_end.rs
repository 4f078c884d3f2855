//! The two programs from the first start to every command of the client: output, exit codes, files of many sizes
//! and names in both directions.
//!
//! `BERTH_HUGE=1` sends 5 GiB instead of 1 GiB in the one test of a huge file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::process::{Ended, Program, without_rights};
use crate::support::proxy::{OVER_SOCKETS, Proxy};
use crate::support::visit::Visit;
use crate::support::{PASSWORD, Place, digest, listening, pattern, sha256, target, wait_until};

impl Visit {
    /// Runs the client, which fails. Returns its stderr.
    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        self.run(arguments).expect_code(code).stderr
    }
}

// ---- Starting -----------------------------------------------------------------------------

#[test]
fn quickstart_prints_a_password_and_a_client_command_that_works() {
    let place = Place::new();
    let programs = Path::new(env!("CARGO_BIN_EXE_berth")).parent().expect("a folder");
    let mut command = place.berthd(&["quickstart", "--dir", "fresh", "--listen", "127.0.0.1:0"]);
    command.env("PATH", programs);
    let mut server = place.start(command);
    wait_until("it says how to connect", || server.stdout().contains("demo@"));
    let stdout = server.stdout();
    let password = stdout.lines().find_map(|line| line.strip_prefix("password: ")).expect("a password");
    assert!(password.len() >= 12, "{stdout}");
    assert!(listening(&stdout).is_some_and(|address| address.ip().is_loopback()), "{stdout}");
    let line = stdout.lines().rfind(|line| line.contains("demo@")).expect("a command").trim();
    assert!(line.starts_with("berth "), "{line}");

    fs::write(place.here("commands"), "pwd\nquota\n").expect("writable");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", line]).current_dir(place.path("here")).env_clear().env("HOME", place.path("user"));
    shell
        .env("PATH", programs)
        .env("BERTH_PASSWORD", password)
        .stdin(File::open(place.here("commands")).expect("written"));
    let ended = place.run(shell).expect_code(0);
    assert!(ended.stdout.starts_with("/\nused "), "{ended:?}");
    assert!(ended.stdout.contains("1G"), "{ended:?}");

    server.signal(rustix::process::Signal::TERM);
    server.wait().expect_code(0);
    let on_disk = Command::new("grep").args(["-r", password]).arg(place.path("fresh")).output().expect("grep is there");
    assert_eq!(on_disk.stdout, b"", "the password is nowhere on disk");
}

#[test]
fn a_second_quickstart_keeps_the_account_and_says_how_to_set_another_password() {
    let place = Place::new();
    let arguments = ["quickstart", "--dir", "fresh", "--listen", "127.0.0.1:0"];
    drop(place.serve_as(place.berthd(&arguments)));
    let server = place.serve_as(place.berthd(&arguments));
    let stdout = server.program.stdout();
    assert!(!stdout.contains("password: ") && stdout.contains("user passwd demo"), "{stdout}");
    wait_until("it says how to connect", || server.program.stdout().contains("demo@"));
    let program = env!("CARGO_BIN_EXE_berth");
    assert!(
        server.program.stdout().contains(&format!("{program} --fingerprint SHA256:")),
        "the program is not in PATH"
    );
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let quickstart = place.berthd(&["quickstart", "--dir", "fresh", "--listen", &address]);
    place.configure(json!({"listen": address}));
    for command in [quickstart, place.berthd(&["serve"])] {
        let ended = place.run(command).expect_code(1);
        assert!(ended.stderr.contains(&address) && ended.stderr.contains("--listen"), "{ended:?}");
        assert!(!ended.stdout.contains("listening"), "{ended:?}");
        assert!(!ended.stdout.contains("password"), "nobody is shown what is no more: {ended:?}");
    }
    assert!(!place.path("fresh").exists());
    drop(taken);
    let (program, _) = quickstart_at_free_ports(&place);
    assert!(program.stdout().contains("password: "), "{}", program.stdout());
}

/// Starts a quickstart in `fresh` at two neighbouring ports, and returns it with the upper one. Other tests may take
/// ports that were free a moment ago, so it tries again.
fn quickstart_at_free_ports(place: &Place) -> (Program, u16) {
    for _ in 0..20 {
        let above = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = above.local_addr().expect("bound").port();
        let Ok(below) = TcpListener::bind(("127.0.0.1", port - 1)) else { continue };
        drop((above, below));
        let listen = format!("127.0.0.1:{port}");
        let mut program = place.start(place.berthd(&["quickstart", "--dir", "fresh", "--listen", &listen]));
        wait_until("it serves or not", || program.is_over() || program.stdout().contains("demo@"));
        if !program.is_over() {
            return (program, port);
        }
    }
    panic!("no two neighbouring ports were free");
}

#[test]
fn a_quickstart_at_another_port_serves_ftp_at_the_port_below() {
    let place = Place::new();
    let (program, port) = quickstart_at_free_ports(&place);
    let stdout = program.stdout();
    assert!(stdout.contains(&format!("listening on 127.0.0.1:{} (ftp)\n", port - 1)), "{stdout}");
}

#[test]
fn fingerprint_names_the_server_of_a_quickstart_in_this_directory() {
    let place = Place::new();
    let server = place.serve_as(place.berthd(&["quickstart", "--listen", "127.0.0.1:0"]));
    let fingerprint = |arguments: &[&str]| {
        let ended = place.run(place.berthd(&[&["fingerprint"], arguments].concat())).expect_code(0);
        (ended.stdout.trim().to_string(), ended.stderr)
    };
    let (shown, told) = fingerprint(&[]);
    assert!(server.program.stdout().contains(&format!("fingerprint {shown}\n")), "{shown}");
    assert!(told.contains("demo/conf/berthd.json") && told.contains("--config"), "{told}");
    assert!(!place.path("conf/tls").exists(), "no other key was made");
    let (own, told) = fingerprint(&["--config", "conf/berthd.json"]);
    assert!(own != shown && told.is_empty(), "{own} {told}");
    assert_eq!(fingerprint(&[]).0, own, "one that has a key is meant itself");
}

// ---- Commands -----------------------------------------------------------------------------

#[test]
fn every_command_does_what_its_help_says() {
    let visit = Visit::new(&[]);
    visit.write_here("a.txt", b"hello");
    assert_eq!(visit.ok(&["pwd"]), "/\n");
    assert_eq!(visit.ok(&["mkdir", "docs"]), "");
    assert_eq!(visit.ok(&["mkdir", "-p", "x/y/z", "docs"]), "");
    let with_digest = format!("  verified  {}\n", digest(b"hello"));
    let sent = |arguments: &[&str], to: &str, end: &str| {
        let said = visit.ok(&[&["put", "a.txt"], arguments].concat());
        assert!(said.starts_with(&format!("put a.txt -> {to}  5 bytes  ")) && said.ends_with(end), "{said}");
    };
    sent(&[], "/a.txt", "/s  verified\n");
    sent(&["-v", "docs"], "/docs/a.txt", &with_digest);
    sent(&[".hidden"], "/.hidden", "/s  verified\n");
    assert_eq!(visit.ok(&["ls"]), "a.txt\ndocs/\nx/\n");
    assert_eq!(visit.ok(&["ls", "-a"]), ".hidden\na.txt\ndocs/\nx/\n");
    assert_eq!(visit.ok(&["ls", "*.txt", "docs/*"]), "a.txt\ndocs/a.txt\n");
    let long = visit.ok(&["ls", "-l"]);
    assert!(long.starts_with("-rw-r--r-- 5 ") && long.contains("\ndrwxr-xr-x 0 "), "{long}");
    assert_eq!(visit.ok(&["dir"]), long);
    assert_eq!(visit.ok(&["-c", "cd docs; pwd; ls; cd ..; pwd; cd x/y; pwd; cd; pwd"]), "/docs\na.txt\n/\n/x/y\n/\n");
    let said = visit.ok(&["get", "/docs/a.txt", "b.txt"]);
    assert!(said.starts_with("get /docs/a.txt -> b.txt  5 bytes  ") && said.ends_with("/s  verified\n"), "{said}");
    assert_eq!(fs::read(visit.place.here("b.txt")).expect("fetched"), b"hello");
    assert_eq!(visit.ok(&["sha256", "a.txt"]), format!("{}  /a.txt\n", sha256(b"hello")));
    let stat = visit.ok(&["stat", "a.txt"]);
    for part in ["/a.txt\n", "kind      file", "5 (5 bytes)", "-rw-r--r--", "modified  20"] {
        assert!(stat.contains(part), "{stat}");
    }
    assert_eq!(visit.ok(&["mv", "a.txt", "c.txt"]), "");
    assert_eq!(visit.ok(&["mv", "c.txt", "x"]), "");
    assert_eq!(visit.ok(&["ls", "x"]), "c.txt\ny/\n");
    let quota = visit.ok(&["quota"]);
    assert!(quota.contains("used      15 (15 bytes)") && quota.contains("files     7\n"), "{quota}");
    assert_eq!(visit.ok(&["rm", "docs/a.txt", ".hidden"]), "");
    assert_eq!(visit.ok(&["rm", "-f", "never-was"]), "");
    assert_eq!(visit.ok(&["rmdir", "docs"]), "");
    assert_eq!(visit.ok(&["rm", "-r", "x"]), "");
    assert_eq!(visit.ok(&["ls"]), "");
    let here = visit.place.path("here").canonicalize().expect("there");
    let here = here.to_str().expect("UTF-8");
    assert_eq!(visit.ok(&["-c", "lpwd; lcd ..; lcd here; lls"]), format!("{here}\na.txt\nb.txt\n"));
    assert!(visit.ok(&["help"]).lines().count() >= 18);
    assert!(visit.ok(&["help", "get"]).contains("example: get "));
    assert_eq!(visit.ok(&["-c", "pwd; quit; pwd"]), "/\n");
}

#[test]
fn failed_commands_exit_with_1_and_say_why() {
    let visit = Visit::new(&[]);
    visit.write_here("here", b"new");
    fs::write(visit.there("file"), b"old").expect("writable");
    fs::create_dir_all(visit.there("folder/inner")).expect("writable");
    fs::create_dir(visit.place.here("tree")).expect("writable");
    for (arguments, why) in [
        (&["get", "never-was"][..], "no such file"),
        (&["get", "folder"], "-r"),
        (&["put", "never-was"], "never-was"),
        (&["put", "tree"], "-r"),
        (&["put", "here", "folder/no/file"], "remote directory /folder/no does not exist"),
        (&["rm", "never-was"], "no such file"),
        (&["rm", "folder"], "folder"),
        (&["rmdir", "folder"], "not empty"),
        (&["rmdir", "file"], "not a directory"),
        (&["mkdir", "folder"], "exists"),
        (&["mkdir", "no/folder"], "does not exist"),
        (&["cd", "file"], "is a file"),
        (&["cd", "never-was"], "no such"),
        (&["mv", "never-was", "x"], "no such file"),
        (&["mv", "folder", "folder/inner/x"], "into itself"),
        (&["stat", "never-was"], "no such file"),
        (&["sha256", "folder"], "is a directory"),
        (&["ls", "never-was"], "no such file"),
        (&["lcd", "never-was"], "never-was"),
        (&["ls", "file/x"], ""),
    ] {
        let stderr = visit.fails(1, arguments);
        assert!(stderr.starts_with(&format!("berth: {}: ", arguments[0])), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why) && stderr.trim_end().lines().count() == 1, "{arguments:?}: {stderr}");
    }
    assert_eq!(fs::read(visit.there("file")).expect("there"), b"old");
}

#[test]
fn invalid_arguments_exit_with_2_before_connecting() {
    let visit = Visit::new(&[]);
    let target = visit.server.target("ann");
    for (arguments, why) in [
        (&["--plaintext", &target, "gte", "x"][..], "did you mean 'get'"),
        (&[&target, "-c", "ls 'x"], "quotation"),
        (&[&target, "-c", "pwd; frobnicate"], "frobnicate"),
        (&[&target, "-f", "no-such-script"], "no-such-script"),
        (&["--no-such-option", &target], "--no-such-option"),
        (&[], "Usage"),
        (&["ann@127.0.0.1:0", "pwd"], "port"),
        (&["@127.0.0.1", "pwd"], "user name"),
        (&["--fingerprint", "SHA256:x", &target, "pwd"], "--fingerprint"),
    ] {
        let ended = visit.place.run(visit.place.berth(arguments)).expect_code(2);
        assert!(ended.stderr.contains(why) && ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    }
    assert_eq!(visit.place.log("access.log"), "", "nobody connected");
    for arguments in [&["get"][..], &["put", "-x", "a"], &["mv", "a"], &["quota", "all"], &["rm", "/"]] {
        assert!(visit.fails(2, arguments).starts_with(&format!("berth: {}: ", arguments[0])));
    }
    assert!(visit.place.run(visit.place.berth(&["--help"])).expect_code(0).stdout.contains("Exit: 0 done"));
}

#[test]
fn scripts_stop_at_the_first_failure_without_keep_going() {
    let visit = Visit::new(&[]);
    let script = "pwd\n# a comment\nget never-was\nmkdir 'after it'; ls\n";
    let file = visit.write_here("script", script.as_bytes());
    let with_stdin = |arguments: &[&str]| {
        let mut command = visit.command(arguments);
        command.stdin(File::open(&file).expect("written"));
        visit.place.run(command)
    };
    for stopped in [
        with_stdin(&["-f", "-"]),
        with_stdin(&[]),
        visit.place.run(visit.command(&["-f", "script"])),
        visit.place.run(visit.command(&["-c", "pwd; get never-was; mkdir 'after it'; ls"])),
    ] {
        let stopped = stopped.expect_code(1);
        assert_eq!(stopped.stdout, "/\n");
        assert!(stopped.stderr.contains("never-was"), "{stopped:?}");
        assert!(!visit.there("after it").exists());
    }
    let gone_on = with_stdin(&["--keep-going", "-f", "-"]).expect_code(1);
    assert_eq!(gone_on.stdout, "/\nafter it/\n");
    assert!(visit.there("after it").is_dir());
}

#[test]
fn a_byte_order_mark_at_the_beginning_of_a_file_is_no_part_of_it() {
    let with_mark = |text: &str| format!("\u{feff}{text}").into_bytes();
    let visit = Visit::new(&[]);
    let (address, target) = (visit.server.address.to_string(), visit.server.target("ann"));
    let script = visit.write_here("script", &with_mark("mkdir marked\r\nls\r\n"));
    assert_eq!(visit.ok(&["-f", "script"]), "marked/\n");
    visit.ok(&["rmdir", "marked"]);
    let mut command = visit.command(&[]);
    command.stdin(File::open(&script).expect("written"));
    assert_eq!(visit.place.run(command).expect_code(0).stdout, "marked/\n");

    let password = visit.write_here("password", &with_mark(&format!("{PASSWORD}\r\n")));
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("ours");
    let directory = visit.place.path("user/config/berth");
    fs::create_dir_all(&directory).expect("writable");
    let hosts = json!({"hosts": {"nas": {"address": address, "user": "ann", "plaintext": true}}});
    fs::write(directory.join("berth.json"), with_mark(&hosts.to_string())).expect("writable");
    for target in ["nas", &target] {
        let mut command = visit.place.berth(&["--password-file", "password", target, "pwd"]);
        command.env_remove("BERTH_PASSWORD");
        assert_eq!(visit.place.run(command).expect_code(0).stdout, "/\n", "{target}");
    }

    for file in ["conf/berthd.json", "conf/users/ann.json"] {
        let path = visit.place.path(file);
        let text = fs::read_to_string(&path).expect("written");
        fs::write(&path, with_mark(&text)).expect("writable");
    }
    visit.place.admin(&["check"]);
    assert!(visit.place.admin(&["user", "list"]).stdout.contains("ann"));
    assert_eq!(visit.ok(&["pwd"]), "/\n", "the account is read at each login");
}

#[test]
fn rm_r_of_a_symlink_removes_only_the_symlink() {
    let visit = Visit::new(&[]);
    fs::create_dir_all(visit.there("photos/sub")).expect("writable");
    fs::write(visit.there("photos/sub/one"), "kept").expect("writable");
    for (target, link) in [("photos", "link"), (".", "here"), ("..", "photos/up"), ("nowhere", "dangling")] {
        symlink(target, visit.there(link)).expect("writable");
    }
    for path in ["link/", "here", "photos/up", "dangling"] {
        visit.place.run(visit.command(&["rm", "-r", path])).expect_code(0);
        assert!(fs::symlink_metadata(visit.there(path.trim_end_matches('/'))).is_err(), "{path}");
    }
    assert_eq!(fs::read_to_string(visit.there("photos/sub/one")).expect("there"), "kept");
    visit.place.run(visit.command(&["rm", "-r", "photos"])).expect_code(0);
    assert!(!visit.there("photos").exists());
}

#[test]
fn put_refuses_a_standard_input_that_is_closed_and_keeps_the_file() {
    let visit = Visit::new(&[]);
    fs::write(visit.there("file"), "kept").expect("writable");
    let with_input = |redirection: &str| {
        let berth = visit.command(&["put", "-f", "-", "file"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$@\" {redirection}"), "sh"]).arg(berth.get_program()).args(berth.get_args());
        for (key, value) in berth.get_envs() {
            if let Some(value) = value {
                shell.env(key, value);
            }
        }
        shell.current_dir(visit.place.path("here"));
        visit.place.run(shell)
    };
    let refused = with_input("<&-").expect_code(1);
    assert!(refused.stderr.contains("standard input") && refused.stderr.contains("closed"), "{refused:?}");
    assert_eq!(fs::read_to_string(visit.there("file")).expect("there"), "kept");
    with_input("</dev/null").expect_code(0);
    assert_eq!(fs::read_to_string(visit.there("file")).expect("there"), "");
}

#[test]
fn with_json_every_line_is_one_object_that_says_whether_it_worked() {
    let visit = Visit::new(&[]);
    visit.write_here("a", b"hello");
    fs::write(visit.there(OsStr::from_bytes(b"not \xff UTF-8")), b"x").expect("writable");
    let commands = "pwd; mkdir d; put a; put a; ls; ls -l; stat a; sha256 a; quota; get a b; mv a d; rm d/a; \
                    rmdir d; help; lpwd; lls; cd /; get never-was; quit";
    let ended = visit.place.run(visit.command(&["--json", "--keep-going", "-c", commands])).expect_code(1);
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    for line in &lines {
        assert!(line["command"].is_string() && line["ok"].is_boolean(), "{line}");
    }
    let of = |command: &str| lines.iter().filter(|line| line["command"] == command).collect::<Vec<_>>();
    for transfer in [of("put")[0], of("put")[1], of("get")[0]] {
        assert_eq!((&transfer["digest"], &transfer["sha256"]), (&json!(digest(b"hello")), &Value::Null), "{transfer}");
    }
    let computed = of("sha256")[0];
    assert_eq!((&computed["sha256"], &computed["digest"]), (&json!(sha256(b"hello")), &Value::Null), "{computed}");
    assert_eq!((&of("put")[0]["status"], &of("put")[1]["status"]), (&json!("done"), &json!("identical")));
    assert_eq!(of("ls")[0]["entries"][0]["name"], "a");
    assert_eq!(of("ls")[0]["entries"][2]["name"]["b64"], "bm90IP8gVVRGLTg=");
    assert_eq!(of("quota")[0]["used_bytes"], 6);
    let failed = lines.iter().find(|line| line["ok"] == false).expect("one failed");
    assert_eq!((&failed["command"], &failed["code"]), (&json!("get"), &json!("not_found")));
}

#[test]
fn a_closed_pipe_ends_the_client_quietly() {
    let visit = Visit::new(&[]);
    for i in 0..300 {
        fs::write(visit.there(format!("a file with a long name {i:0200}")), b"").expect("writable");
    }
    for arguments in [&["ls"][..], &["--json", "ls", "-l"], &["-c", "pwd; ls; pwd"]] {
        let ended = Program::start_unread(visit.command(arguments), &visit.place.path("io")).wait().expect_code(0);
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn results_that_cannot_be_written_are_one_local_error() {
    let visit = Visit::new(&[]);
    fs::write(visit.there("f"), pattern(1, 300_000)).expect("writable");
    fs::write(visit.place.here("g"), b"content").expect("writable");
    let full = "berth: standard output: no space left on device; free some space here, then run the command again\n";
    let cases: [(&[&str], &str, i32, &str); 10] = [
        (&["ls"], ">/dev/full", 6, full),
        (&["ls", "-l"], ">/dev/full", 6, full),
        (&["cat", "f"], ">/dev/full", 6, full),
        (&["get", "f", "-"], ">/dev/full", 6, full),
        (&["--json", "quota"], ">/dev/full", 6, full),
        // Some programs open /dev/null for both, as the Rust runtime does in place of a closed descriptor.
        (&["ls"], "1<>/dev/null", 0, ""),
        (&["get", "f", "-"], "1<>/dev/null", 0, ""),
        (&["ls"], ">&-", 0, ""),
        (&["put", "g"], ">&-", 0, ""),
        (&["get", "f", "-"], "| head -c 1", 0, ""),
    ];
    for (arguments, redirection, code, told) in cases {
        let command = visit.command(arguments);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("\"$0\" \"$@\" {redirection}")).arg(command.get_program());
        shell.args(command.get_args()).env_clear().current_dir(visit.place.here(""));
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = visit.place.run(shell).expect_code(code);
        let expected = match arguments {
            ["--json", name, ..] | [name, ..] => told.replace("berth: ", &format!("berth: {name}: ")),
            [] => told.into(),
        };
        assert_eq!(ended.stderr, expected, "{arguments:?} {redirection}");
    }
    assert_eq!(fs::read(visit.there("g")).expect("stored"), b"content");
}

// ---- Transfers ----------------------------------------------------------------------------

#[test]
fn files_of_many_sizes_come_back_byte_for_byte_with_the_digest_that_was_shown() {
    let visit = Visit::new(&[]);
    let mib = 1 << 20;
    for size in [0, 1, 4095, mib - 1, mib, mib + 1, 20 * mib] {
        let (name, content) = (format!("f{size}"), pattern(size as u64, size));
        let digest = digest(&content);
        visit.write_here(&name, &content);
        let said = visit.ok(&["-v", "--no-progress", "put", &name]);
        assert!(said.ends_with(&format!("verified  {digest}\n")), "{said}");
        assert!(fs::read(visit.there(&name)).expect("stored") == content, "{size} bytes up");
        let said = visit.ok(&["-v", "--no-progress", "get", &name, "back"]);
        assert!(said.ends_with(&format!("verified  {digest}\n")), "{said}");
        assert!(fs::read(visit.place.here("back")).expect("fetched") == content, "{size} bytes down");
        fs::remove_file(visit.place.here("back")).expect("there");
        // A second time the server may know the digest and send the file another way.
        assert!(visit.ok(&["-v", "--no-progress", "get", &name, "back"]).contains(&digest));
        assert!(fs::read(visit.place.here("back")).expect("fetched") == content, "{size} bytes down again");
        fs::remove_file(visit.place.here("back")).expect("there");
    }
    assert_eq!(fs::read_dir(visit.there(".berth")).expect("made").count(), 0, "nothing stays in staging");
}

#[test]
fn a_huge_sparse_file_arrives_whole() {
    let size: u64 = if std::env::var_os("BERTH_HUGE").is_some() { 5 << 30 } else { 1 << 30 };
    let visit = Visit::new(&[]);
    File::create(visit.place.here("huge")).and_then(|file| file.set_len(size)).expect("a sparse file");
    let said = visit.ok(&["--quiet", "put", "-v", "huge"]);
    assert!(said.starts_with("put huge -> /huge  "), "{said}");
    assert_eq!(fs::metadata(visit.there("huge")).expect("stored").len(), size);
    let digest = said.trim_end().rsplit_once(' ').expect("a digest").1;
    if size == 1 << 30 {
        // As b3sum and sha256sum print them for a GiB of zeros.
        assert_eq!(digest, "blake3:94b4ec39d8d42ebda685fbb5429e8ab0086e65245e750142c1eea36a26abc24d");
        let sha256 = "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14";
        assert_eq!(visit.ok(&["--quiet", "sha256", "huge"]), format!("{sha256}  /huge\n"));
    }
}

#[test]
fn modification_times_are_kept_both_ways() {
    let visit = Visit::new(&[]);
    for (i, time) in [Duration::from_nanos(1_234_567_890_123_456_789), Duration::ZERO, Duration::from_secs(4 << 30)]
        .into_iter()
        .map(|since| UNIX_EPOCH + since)
        .enumerate()
    {
        let (name, back) = (format!("a{i}"), format!("b{i}"));
        let path = visit.write_here(&name, b"x");
        File::open(&path).and_then(|file| file.set_modified(time)).expect("ours");
        visit.ok(&["put", &name]);
        visit.ok(&["get", &name, &back]);
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).expect("there");
        assert_eq!((modified(&visit.there(&name)), modified(&visit.place.here(&back))), (time, time));
    }
}

#[test]
fn an_existing_file_is_replaced_only_with_f() {
    let visit = Visit::new(&[]);
    visit.write_here("a", b"new content");
    fs::write(visit.there("a"), b"old content").expect("writable");
    assert!(visit.fails(1, &["put", "a"]).contains("-f replaces it"));
    assert_eq!(fs::read(visit.there("a")).expect("there"), b"old content");
    visit.ok(&["put", "-f", "a"]);
    assert_eq!(fs::read(visit.there("a")).expect("there"), b"new content");

    visit.write_here("b", b"mine");
    fs::write(visit.there("b"), b"theirs").expect("writable");
    assert!(visit.fails(1, &["get", "b"]).contains("-f replaces it"));
    assert_eq!(fs::read(visit.place.here("b")).expect("there"), b"mine");
    visit.ok(&["get", "-f", "b"]);
    assert_eq!(fs::read(visit.place.here("b")).expect("there"), b"theirs");

    assert!(visit.fails(1, &["mv", "a", "b"]).contains("/b exists; mv -f replaces it"));
    visit.ok(&["mv", "-f", "a", "b"]);
    assert_eq!(fs::read(visit.there("b")).expect("there"), b"new content");
}

#[test]
fn an_identical_existing_file_is_reported_and_not_transferred() {
    let visit = Visit::new(&[]);
    visit.write_here("a", &pattern(1, 100_000));
    visit.ok(&["put", "a"]);
    let before = fs::metadata(visit.there("a")).and_then(|m| m.modified()).expect("there");
    for arguments in [["put", "a"], ["get", "a"]] {
        assert!(visit.ok(&arguments).ends_with("already there, identical\n"));
    }
    assert!(visit.ok(&["put", "-f", "a"]).ends_with("already there, identical\n"));
    assert_eq!(fs::metadata(visit.there("a")).and_then(|m| m.modified()).expect("there"), before);
    assert_eq!(visit.place.log("transactions.log").lines().count(), 1);
}

/// Everything below a directory: the content of each file, `None` for directories.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("readable").path();
            let below = path.strip_prefix(root).expect("below").to_path_buf();
            if path.is_dir() {
                found.insert(below, None);
                directories.push(path);
            } else {
                found.insert(below, Some(fs::read(&path).expect("readable")));
            }
        }
    }
    found
}

#[test]
fn trees_with_odd_names_go_both_ways_unchanged() {
    let visit = Visit::new(&[]);
    let names: [&[u8]; 14] = [
        b"plain",
        b"two words",
        b" leading and trailing ",
        b"it's",
        b"\"quoted\"",
        b"back\\slash",
        "gr\u{fc}\u{df}e \u{65e5}\u{672c}".as_bytes(),
        b"-r",
        b"new\nline",
        b"\xff\xfe\x80",
        b"\x1b[31mred",
        b"*?[a]",
        b";rm -rf x",
        b".hidden",
    ];
    let root = visit.place.here("tree");
    fs::create_dir_all(root.join("empty")).expect("writable");
    for (i, name) in names.iter().enumerate() {
        let directory = root.join(OsStr::from_bytes(&[b"in ", *name].concat()));
        fs::create_dir(&directory).expect("writable");
        fs::write(root.join(OsStr::from_bytes(name)), pattern(i as u64, i * 1000)).expect("writable");
        fs::write(directory.join(OsStr::from_bytes(name)), name).expect("writable");
    }
    let said = visit.ok(&["put", "-r", "tree"]);
    assert!(said.starts_with("put: 28 files, "), "{said}");
    assert_eq!(tree(&visit.there("tree")), tree(&root));
    let said = visit.ok(&["get", "-r", "tree", "copy"]);
    assert!(said.starts_with("get: 28 files, "), "{said}");
    assert_eq!(tree(&visit.place.here("copy")), tree(&root));
    let said = visit.ok(&["put", "-r", "tree"]);
    assert!(said.starts_with("put: 28 files, all already there, "), "{said}");
    // One by one, too, and shown without harm to the terminal.
    let listing = visit.ok(&["ls", "-a", "tree"]);
    assert!(!listing.contains('\x1b') && listing.contains("new\\nline\n"), "{listing}");
    visit.ok(&[
        "-c",
        "cd tree; rm -- -r '*?[a]' ';rm -rf x' \"it's\" '\"quoted\"' 'back\\slash' ' leading and trailing '",
    ]);
    visit.ok(&["rm", "-r", "tree"]);
    assert_eq!(visit.ok(&["ls", "-a"]), "");
}

#[test]
fn one_unreadable_local_file_is_reported_and_the_rest_of_the_tree_continues() {
    let visit = Visit::new(&[]);
    fs::create_dir_all(visit.place.here("tree/locked")).expect("writable");
    for name in ["tree/a", "tree/secret", "tree/z", "tree/locked/x"] {
        visit.write_here(name, name.as_bytes());
    }
    symlink("nowhere", visit.place.here("tree/dangling")).expect("writable");
    let forbid = |path: PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("ours");
    forbid(visit.place.here("tree/secret"));
    forbid(visit.place.here("tree/locked"));
    let mut command = visit.command(&["put", "-r", "tree"]);
    without_rights(&mut command, &visit.place.path(""));
    let ended = visit.place.run(command).expect_code(1);
    for part in ["tree/secret: permission denied", "tree/locked: permission denied", "tree/dangling"] {
        assert!(ended.stderr.contains(part), "{ended:?}");
    }
    assert!(ended.stderr.contains("2 of 4 failed"), "{ended:?}");
    assert!(ended.stdout.starts_with("put: 2 files, ") && ended.stdout.contains("2 failed"), "{ended:?}");
    assert_eq!(fs::read(visit.there("tree/z")).expect("stored"), b"tree/z");
    fs::set_permissions(visit.place.here("tree/locked"), fs::Permissions::from_mode(0o700)).expect("ours");
}

#[test]
fn one_unreadable_remote_file_is_reported_and_the_rest_of_the_tree_continues() {
    let place = Place::new();
    place.add("ann", &[]);
    fs::create_dir(place.home("ann", "tree")).expect("writable");
    for name in ["a", "secret", "z", "in-the-way"] {
        fs::write(place.home("ann", format!("tree/{name}")), name).expect("writable");
    }
    fs::set_permissions(place.home("ann", "tree/secret"), fs::Permissions::from_mode(0o000)).expect("ours");
    symlink("/etc/passwd", place.home("ann", "tree/out")).expect("writable");
    let mut command = place.berthd(&["serve"]);
    without_rights(&mut command, &place.path(""));
    let server = place.serve_as(command);
    fs::create_dir_all(place.here("tree/in-the-way")).expect("writable");
    let ended = place.run(place.berth(&[&server.target("ann"), "--quiet", "get", "-r", "tree"])).expect_code(1);
    assert!(ended.stderr.contains("/tree/secret: permission denied by the server's file system"), "{ended:?}");
    assert!(ended.stderr.contains("in-the-way is a local directory"), "{ended:?}");
    assert!(ended.stdout.starts_with("get: 2 files, ") && ended.stdout.contains("2 failed"), "{ended:?}");
    assert_eq!(fs::read(place.here("tree/z")).expect("fetched"), b"z");
    assert!(!place.here("tree/out").exists(), "a link is not followed out of the home");
}

/// STOR replaces it, too.
#[test]
fn put_f_replaces_a_dangling_symlink() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    fs::create_dir(place.here("tree")).expect("writable");
    let links = [("dangling", "none"), ("out", "/etc/passwd"), ("circle", "circle"), ("folder", "/etc")];
    for (name, _) in links {
        fs::write(place.here(format!("tree/{name}")), name).expect("writable");
    }
    let run = |words: &[&str]| place.run(place.berth(&[&[&server.target("ann")[..], "--quiet"], words].concat()));
    let plant = || {
        let _ = fs::remove_dir_all(place.home("ann", "tree"));
        fs::create_dir(place.home("ann", "tree")).expect("writable");
        for (name, target) in links {
            symlink(target, place.home("ann", format!("tree/{name}"))).expect("writable");
        }
    };
    let check = || {
        for (name, _) in links {
            let there = place.home("ann", format!("tree/{name}"));
            assert!(!there.is_symlink(), "{name}");
            assert_eq!(fs::read(there).expect("stored"), name.as_bytes());
        }
    };
    plant();
    for (name, _) in links {
        let (here, there) = (format!("tree/{name}"), format!("/tree/{name}"));
        run(&["put", &here, &there]).expect_code(1);
        assert!(place.home("ann", &here).is_symlink());
        run(&["put", "-f", &here, &there]).expect_code(0);
    }
    check();
    plant();
    run(&["put", "-r", "tree"]).expect_code(1);
    run(&["put", "-f", "-r", "tree"]).expect_code(0);
    check();
    assert_ne!(fs::read("/etc/passwd").expect("readable"), b"out");
}

// ---- Exit codes ---------------------------------------------------------------------------

#[test]
fn no_server_and_a_server_that_dies_midway_exit_with_3() {
    let mut visit = Visit::new(&[]);
    for path in [visit.there("big"), visit.place.here("up")] {
        File::create(path).and_then(|file| file.set_len(OVER_SOCKETS)).expect("a sparse file");
    }
    let proxies = [Proxy::to(visit.server.address), Proxy::to(visit.server.address)];
    let mut clients: Vec<Program> = Vec::new();
    for (proxy, arguments, valve) in
        [(&proxies[0], ["get", "big"], &proxies[0].down), (&proxies[1], ["put", "up"], &proxies[1].up)]
    {
        valve.hold_after(3 << 20);
        let command = visit
            .place
            .berth(&[&["--quiet", "--retries", "0", &target("ann", proxy.address)], &arguments[..]].concat());
        clients.push(visit.place.start(command));
        valve.wait_held();
    }
    visit.server.program.kill();
    proxies.iter().for_each(|proxy| proxy.down.open());
    for client in &mut clients {
        let ended = client.wait().expect_code(3);
        assert!(ended.stderr.contains("transfers resume"), "{ended:?}");
    }
    assert!(visit.place.here(".big.berth-part").is_file() && !visit.place.here("big").exists());
    assert!(!visit.there("up").exists());
    assert!(visit.fails(3, &["pwd"]).contains("that berthd is running there"));
}

#[test]
fn wrong_passwords_and_unknown_users_exit_with_4_and_the_same_words() {
    let visit = Visit::new(&[]);
    visit.place.add("locked", &[]);
    visit.place.admin(&["user", "lock", "locked"]);
    let refusal = |user: &str, password: &str| {
        let mut command = visit.place.berth(&["--plaintext", &visit.server.target(user), "pwd"]);
        command.env("BERTH_PASSWORD", password);
        visit.place.run(command).expect_code(4).stderr
    };
    let wrong = refusal("ann", "wrong");
    assert!(wrong.contains("wrong user or password"), "{wrong}");
    assert_eq!(refusal("nobody", PASSWORD), wrong);
    assert_eq!(refusal("locked", PASSWORD), wrong);
}

#[test]
fn bytes_that_change_in_transit_exit_with_5_and_leave_no_file() {
    let visit = Visit::new(&[]);
    let content = pattern(1, 200_000);
    fs::write(visit.there("a"), &content).expect("writable");
    visit.write_here("b", &content);
    let proxy = Proxy::to(visit.server.address);
    for (arguments, valve) in [(["get", "a"], &proxy.down), (["put", "b"], &proxy.up)] {
        valve.flip_after(100_000);
        let command = visit.place.berth(&[&["--quiet", &target("ann", proxy.address)], &arguments[..]].concat());
        visit.place.run(command).expect_code(5);
    }
    assert!(!visit.place.here("a").exists() && !visit.place.here(".a.berth-part").exists());
    assert!(!visit.there("b").exists());
    assert!(visit.ok(&["--json", "quota"]).contains("\"used_bytes\":200000,"));
}

#[test]
fn a_full_quota_exits_with_6_and_leaves_the_old_file() {
    let visit = Visit::new(&["--quota", "100K", "--max-files", "4"]);
    visit.write_here("small", &pattern(1, 60_000));
    visit.write_here("large", &pattern(2, 90_000));
    visit.ok(&["put", "small", "a"]);
    for arguments in [["put", "large", "b"].as_slice(), &["put", "-f", "large", "a"]] {
        assert!(visit.fails(6, arguments).contains("quota"));
    }
    assert_eq!(fs::read(visit.there("a")).expect("there"), pattern(1, 60_000));
    assert!(!visit.there("b").exists());
    visit.ok(&["mkdir", "x", "y", "z"]);
    assert!(visit.fails(6, &["mkdir", "w"]).contains("quota of files"));
    assert!(visit.ok(&["quota"]).contains("files     4 of 4\n"));
}

#[test]
fn a_read_only_account_reads_and_nothing_else() {
    let visit = Visit::new(&["--read-only"]);
    fs::write(visit.there("a"), b"x").expect("writable");
    visit.write_here("b", b"y");
    visit.ok(&["get", "a"]);
    for arguments in [&["put", "b"][..], &["rm", "a"], &["mkdir", "d"], &["mv", "a", "c"], &["rmdir", "a"]] {
        assert!(visit.fails(1, arguments).contains("read-only"), "{arguments:?}");
    }
}

// ---- Passwords ----------------------------------------------------------------------------

#[test]
fn a_password_comes_from_a_private_file_or_the_environment() {
    let visit = Visit::new(&[]);
    let file = visit.write_here("password", format!("{PASSWORD}\n").as_bytes());
    let run = |arguments: &[&str]| {
        let target = visit.server.target("ann");
        let mut command = visit.place.berth(&[arguments, &["--plaintext", &target, "pwd"]].concat());
        command.env_remove("BERTH_PASSWORD");
        visit.place.run(command)
    };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
    let refused = run(&["--password-file", "password"]).expect_code(2);
    assert!(refused.stderr.contains("chmod 600 password"), "{refused:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    assert_eq!(run(&["--password-file", "password"]).expect_code(0).stdout, "/\n");
    assert!(run(&["--password-file", "none"]).expect_code(2).stderr.contains("none: no such file"));

    let mut both = visit.place.berth(&["--password-file", "password", &visit.server.target("ann"), "pwd"]);
    both.env("BERTH_PASSWORD", "wrong");
    assert_eq!(visit.place.run(both).expect_code(0).stdout, "/\n", "the file goes first");
}

#[test]
fn without_a_terminal_the_client_says_where_a_password_can_come_from() {
    let visit = Visit::new(&[]);
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(env!("CARGO_BIN_EXE_berth")).args(["--plaintext", &visit.server.target("ann"), "pwd"]);
    command.env_remove("BERTH_PASSWORD").env("HOME", visit.place.path("user")).stdin(std::process::Stdio::null());
    let ended = visit.place.run(command).expect_code(2);
    assert!(ended.stderr.contains("--password-file"), "{ended:?}");
}

/// The length of the longest file in a directory that is a part of one.
fn longest_part(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let entries = entries.map(|entry| entry.expect("readable"));
    let parts = entries.filter(|entry| entry.file_name().as_bytes().ends_with(b"part"));
    parts.map(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).max().unwrap_or(0)
}

#[test]
fn ctrl_c_exits_with_130_keeps_the_part_and_the_next_try_resumes() {
    let visit = Visit::new(&[]);
    let content = [pattern(1, 8 << 20), vec![0; OVER_SOCKETS as usize]].concat();
    fs::write(visit.there("big"), &content).expect("writable");
    visit.write_here("up", &content);
    let proxy = Proxy::to(visit.server.address);
    let through = target("ann", proxy.address);
    for (arguments, valve) in [(["get", "big"], &proxy.down), (["put", "up"], &proxy.up)] {
        valve.hold_after(4 << 20);
        let mut client = visit.place.start(visit.place.berth(&[&[&through[..]], &arguments[..]].concat()));
        valve.wait_held();
        wait_until("enough has come to be kept", || {
            let lengths = [visit.place.here("."), visit.there(".berth")].map(|directory| longest_part(&directory));
            lengths.iter().any(|length| *length > 2 << 20)
        });
        client.signal(rustix::process::Signal::INT);
        // Its cancel still has to get through.
        wait_until("it noticed", || client.is_over() || client.stderr().contains("is kept"));
        valve.open();
        client.wait().expect_code(130);
        let ended = visit.place.run(visit.place.berth(&[&[&through[..]], &arguments[..]].concat())).expect_code(0);
        assert!(ended.stderr.contains("resuming at "), "{ended:?}");
    }
    assert!(fs::read(visit.place.here("big")).expect("fetched") == content);
    assert!(fs::read(visit.there("up")).expect("stored") == content);
}

#[test]
fn messages_go_to_stderr_and_quiet_suppresses_them() {
    let visit = Visit::new(&[]);
    let pwd = |options: &[&str]| {
        let target = visit.server.target("ann");
        let command = visit.place.berth_over_tls(&[&["--accept-new"], options, &[&target, "pwd"]].concat());
        visit.place.run(command).expect_code(0)
    };
    let ended = pwd(&[]);
    assert_eq!(ended.stdout, "/\n");
    assert!(ended.stderr.contains("is new here"), "{ended:?}");
    fs::remove_file(visit.place.path("user/state/berth/known_hosts.json")).expect("remembered");
    let ended = pwd(&["--quiet"]);
    assert_eq!((&ended.stdout[..], &ended.stderr[..]), ("/\n", ""));
}

/// Puts a file that is changed when some of it was sent.
fn put_amid_change(visit: &Visit, change: impl Fn(&File)) -> Ended {
    let path = visit.place.here("changing");
    File::create(&path).and_then(|file| file.set_len(OVER_SOCKETS)).expect("a sparse file");
    let proxy = Proxy::to(visit.server.address);
    proxy.up.hold_after(1 << 20);
    let mut client = visit.place.start(visit.place.berth(&[&target("ann", proxy.address), "put", "-f", "changing"]));
    proxy.up.wait_held();
    change(&File::options().read(true).write(true).open(&path).expect("there"));
    proxy.up.open();
    client.wait()
}

#[test]
fn a_file_that_is_rewritten_during_its_upload_is_not_stored() {
    let visit = Visit::new(&[]);
    let cut = |file: &File| file.set_len(1 << 20).expect("ours");
    let rewrite = |file: &File| file.write_all_at(b"other", 10).expect("ours");
    for change in [&cut as &dyn Fn(&File), &rewrite] {
        let ended = put_amid_change(&visit, |file| {
            change(file);
            file.set_modified(SystemTime::now() + Duration::from_secs(10)).expect("ours");
        });
        assert!(ended.expect_code(1).stderr.contains("changed while it was read"));
        assert!(!visit.there("changing").exists());
    }
    // What was not read yet when it was written is sent as it is now: that is one content.
    put_amid_change(&visit, |file| file.write_all_at(b"other", OVER_SOCKETS - 10).expect("ours")).expect_code(0);
    let [stored, here] =
        [visit.there("changing"), visit.place.here("changing")].map(|path| fs::read(path).expect("there"));
    assert!(stored == here);
}

#[test]
fn a_file_that_is_touched_or_grows_during_its_upload_is_stored_as_it_was() {
    let visit = Visit::new(&[]);
    let before = SystemTime::now() - Duration::from_secs(1000);
    let touch = |file: &File| file.set_modified(SystemTime::now() + Duration::from_nanos(1)).expect("ours");
    let append = |file: &File| file.write_all_at(b"more", OVER_SOCKETS).expect("ours");
    for (change, note) in [
        (&touch as &dyn Fn(&File), ""),
        (&append, "changing: 4 bytes were appended during the upload and were not sent"),
    ] {
        let ended = put_amid_change(&visit, change).expect_code(0);
        assert!(ended.stderr.contains(note), "{ended:?}");
        let stored = fs::metadata(visit.there("changing")).expect("stored");
        assert_eq!(stored.len(), OVER_SOCKETS);
        let here = fs::metadata(visit.place.here("changing")).expect("here");
        // So that the next mirror sends it again.
        assert!(stored.modified().expect("a time") < here.modified().expect("a time"));
        assert!(stored.modified().expect("a time") > before);
        // The same again would not be sent.
        fs::remove_file(visit.there("changing")).expect("ours");
    }
}
