//! Commands that exist in local shells, such as `ls` and `cat`: they show and sort as the local ones do, also
//! without a terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::visit::Visit;

impl Visit {
    /// A file in the home, changed so many seconds after the epoch.
    fn file(&self, name: &str, size: usize, modified_s: u64) -> PathBuf {
        let path = self.place.home("ann", name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(&path, vec![b'x'; size]).expect("writable");
        let time = UNIX_EPOCH + Duration::from_secs(modified_s);
        File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("ours");
        path
    }
}

#[test]
fn ls_sorts_by_name_size_or_time_and_in_reverse() {
    let visit = Visit::new(&[]);
    visit.file("a", 5, 300);
    visit.file("b", 900, 100);
    visit.file(".c", 70, 200);
    for (letters, names) in [
        ("-1", "a b"),
        ("-r", "b a"),
        ("-S", "b a"),
        ("-Sr", "a b"),
        ("-t", "a b"),
        ("-tr", "b a"),
        ("-aS", "b .c a"),
        ("-at", "a .c b"),
    ] {
        assert_eq!(visit.ok(&["ls", letters]).split_whitespace().collect::<Vec<_>>().join(" "), names, "{letters}");
    }
    let long = visit.ok(&["dir", "-aS"]);
    let sizes: Vec<&str> = long.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(sizes, ["900", "70", "5"]);
    assert_eq!(visit.ok(&["ls", "-lah"]), visit.ok(&["ls", "-la"]), "sizes are for people anyway");
}

#[test]
fn times_are_shown_in_the_time_zone_of_the_user_and_told_to_programs_in_utc() {
    let visit = Visit::new(&[]);
    // 2001-02-03 23:30 UTC
    visit.file("f", 5, 981_243_000);
    for (zone, day, time) in [
        ("UTC", "Feb  3  2001", "2001-02-03 23:30:00.000 +0000"),
        ("CST-8", "Feb  4  2001", "2001-02-04 07:30:00.000 +0800"),
        ("NST3:30NDT,M3.2.0,M11.1.0", "Feb  3  2001", "2001-02-03 20:00:00.000 -0330"),
        ("No/Such_Zone", "Feb  3  2001", "2001-02-03 23:30:00.000 +0000"),
        ("", "Feb  3  2001", "2001-02-03 23:30:00.000 +0000"),
    ] {
        let shown = |arguments: &[&str]| {
            let mut command = visit.place.berth(&[&[&visit.server.target("ann")[..]], arguments].concat());
            command.env("TZ", zone);
            visit.place.run(command).expect_code(0).stdout
        };
        for arguments in [&["ls", "-l"][..], &["dir"], &["ll", "f"]] {
            assert!(shown(arguments).ends_with(&format!(" 5 {day} f\n")), "{zone}: {}", shown(arguments));
        }
        let told = shown(&["stat", "f"]);
        assert!(told.contains(&format!("  modified  {time}\n")), "{zone}: {told}");
        let object: Value = serde_json::from_str(&shown(&["--json", "stat", "f"])).expect("JSON");
        assert_eq!(object["mtime_ns"], json!(981_243_000_000_000_000_i64), "{zone}");
    }
}

#[test]
fn ls_of_several_directories_shows_files_first_and_titles_like_the_local_ls() {
    let visit = Visit::new(&[]);
    for name in ["one/x", "two/y", "f.txt", "g.txt"] {
        visit.file(name, 1, 0);
    }
    assert_eq!(visit.ok(&["ls", "one", "*.txt", "two"]), "f.txt\ng.txt\n\n/one:\nx\n\n/two:\ny\n");
    assert_eq!(visit.ok(&["-c", "lcd ../homes/ann; lls one *.txt two"]), "f.txt\ng.txt\n\none:\nx\n\ntwo:\ny\n");
    assert_eq!(visit.ok(&["ls", "one"]), "x\n");
    let ended = visit.run(&["ls", "one", "nope"]).expect_code(1);
    assert!(ended.stdout == "/one:\nx\n" && ended.stderr.contains("/nope"), "{ended:?}");
}

#[test]
fn without_a_terminal_there_are_no_colours_and_one_name_on_a_line() {
    let visit = Visit::new(&[]);
    visit.file("folder/x", 1, 0);
    visit.file("b", 1, 0);
    let mut command = visit.place.berth(&[&visit.server.target("ann"), "ls"]);
    command.env("TERM", "xterm").env("LS_COLORS", "di=1");
    assert_eq!(visit.place.run(command).expect_code(0).stdout, "b\nfolder/\n");
}

#[test]
fn cat_writes_the_bytes_of_each_file_and_nothing_else() {
    let visit = Visit::new(&[]);
    let bytes: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    fs::write(visit.place.home("ann", "all"), &bytes).expect("writable");
    fs::write(visit.place.home("ann", "b.txt"), "no line end").expect("writable");
    fs::write(visit.place.home("ann", "empty"), "").expect("writable");
    let out = visit.place.path("io/out");
    let mut command = visit.place.berth(&[&visit.server.target("ann"), "cat", "all", "empty", "b.txt"]);
    let status = command.stdout(File::create(&out).expect("writable")).status().expect("it runs");
    assert!(status.success());
    assert!(fs::read(&out).expect("written") == [&bytes[..], b"no line end"].concat());

    let ended = visit.run(&["cat", "b.txt", "nope", "empty", "b.txt"]).expect_code(1);
    assert_eq!(ended.stdout, "no line endno line end");
    assert!(ended.stderr.contains("/nope"), "{ended:?}");
    assert!(visit.run(&["cat", "."]).expect_code(1).stderr.contains("is a directory"));
}

#[test]
fn cat_gives_programs_one_object_with_the_content() {
    let visit = Visit::new(&[]);
    fs::write(visit.place.home("ann", "a"), "text\n").expect("writable");
    fs::write(visit.place.home("ann", "b"), b"\xff").expect("writable");
    let stdout = visit.ok(&["--json", "cat", "a", "b"]);
    let objects: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&objects[0]["content"], &objects[0]["size"]), (&json!("text\n"), &json!(5)));
    assert_eq!(objects[1]["content"], json!({"b64": "/w=="}));
    let huge = File::create(visit.place.home("ann", "huge")).expect("writable");
    huge.set_len(17 << 20).expect("a sparse file");
    let ended = visit.run(&["--json", "cat", "huge"]).expect_code(1);
    assert!(ended.stderr.contains("'get /huge -'"), "{ended:?}");
}

#[test]
fn du_sums_directories_and_reports_unreadable_ones() {
    let visit = Visit::new(&[]);
    visit.file("a/b/one", 1000, 0);
    visit.file("a/two", 2048, 0);
    visit.file("top", 24, 0);
    assert_eq!(visit.ok(&["du"]), " 1000  /a/b\n   3K  /a\n   3K  /\n");
    assert_eq!(visit.ok(&["du", "-s", "a", "top"]), "   3K  /a\n   24  /top\n");
    assert_eq!(visit.ok(&["-c", "cd a; du -a"]), " 1000  /a/b/one\n 1000  /a/b\n   2K  /a/two\n   3K  /a\n");
    let object: Value = serde_json::from_str(&visit.ok(&["--json", "du", "-s"])).expect("one object");
    assert_eq!(object, json!({"command": "du", "ok": true, "path": "/", "bytes": 3072, "files": 3}));
    assert!(visit.run(&["du", "nope"]).expect_code(1).stderr.contains("/nope"));
}

#[test]
fn df_shows_the_quota_in_one_line() {
    let visit = Visit::new(&["--quota", "1M"]);
    visit.file("a", 512 * 1024, 0);
    assert_eq!(visit.ok(&["df"]), " Size  Used Avail  Use%  Files\n   1M  512K  512K   50%  1\n");
}

#[test]
fn a_line_after_an_exclamation_mark_is_run_by_the_users_shell() {
    let visit = Visit::new(&[]);
    assert_eq!(visit.ok(&["-c", "pwd; !echo \"a  b\"; echo $((1+1))\npwd"]), "/\na  b\n2\n/\n");
    assert_eq!(visit.ok(&["!", "echo", "x"]), "x\n");
    let ended = visit.run(&["-c", "!exit 3\npwd"]).expect_code(1);
    assert!(ended.stdout.is_empty() && ended.stderr.contains("exited with 3"), "{ended:?}");
    let ended = visit.run(&["--json", "-c", "!echo words"]).expect_code(0);
    let object: Value = serde_json::from_str(&ended.stdout).expect("only an object");
    assert_eq!((&object["line"], &ended.stderr[..]), (&json!("echo words"), "words\n"));
}

#[test]
fn a_program_after_a_bar_reads_the_output_of_a_command() {
    let visit = Visit::new(&[]);
    for name in ["a", "b", "c"] {
        visit.file(name, 100_000, 0);
    }
    fs::write(visit.place.here("local"), b"local").expect("writable");
    assert_eq!(visit.ok(&["-c", "ls | sort -r | head -2; echo end\npwd | cat"]), "c\nb\nend\n/\n");
    assert_eq!(visit.ok(&["-c", "cat a b c | head -c 3"]), "xxx", "a reader that leaves early is no failure");
    assert_eq!(visit.ok(&["-c", "get a - | wc -c"]).trim(), "100000");
    assert!(visit.ok(&["-c", "put local | head -c 0\nls local"]).ends_with("local\n"), "a change is made all the same");
    let object: Value = serde_json::from_str(&visit.ok(&["--json", "-c", "pwd | cat"])).expect("one object");
    assert_eq!(object["path"], json!("/"));
    for (line, words) in [
        ("ls | exit 3\npwd", &["ls", "'exit 3' exited with 3"][..]),
        ("ls nope | cat\npwd", &["/nope"]),
        ("pwd | printenv BERTH_PASSWORD\npwd", &["exited with 1"]),
        ("nope | cat\npwd", &["unknown command 'nope'"]),
    ] {
        let code = if line.starts_with("nope") { 2 } else { 1 };
        let ended = visit.run(&["-c", line]).expect_code(code);
        assert!(ended.stdout.is_empty() && words.iter().all(|word| ended.stderr.contains(word)), "{line}: {ended:?}");
    }
    assert!(visit.run(&["-c", "ls |"]).expect_code(2).stderr.contains("no command after the |"));
    assert_eq!(visit.ok(&["ls", "local", "-1"]), "local\n");
    assert!(visit.run(&["ls", "|", "cat"]).expect_code(1).stderr.contains("/|"), "another shell has read this line");
}

// ---- Where files go -------------------------------------------------------------------------

#[test]
fn put_with_an_expanded_pattern_does_not_treat_the_last_name_as_the_destination() {
    let visit = Visit::new(&[]);
    for name in ["a.dat", "b.dat"] {
        fs::write(visit.place.here(name), name).expect("writable");
    }
    for directory in ["t1", "t2"] {
        fs::create_dir(visit.place.here(directory)).expect("writable");
    }
    for (command, told) in [
        (
            &["put", "a.dat", "b.dat"][..],
            "'put a.dat b.dat .' to transfer all of them, or 'put a.dat -- b.dat' to give the copy that name",
        ),
        (&["put", "-f", "a.dat", "b.dat"], "'put -f a.dat b.dat .'"),
        (&["put", "-r", "t1", "t2"], "'put -r t1 t2 .'"),
        (&["put", "-r", "a.dat", "b.dat", "t1", "t2"], "'put ... .'"),
        (&["-c", "put *.dat b.dat"], "'put *.dat b.dat .'"),
    ] {
        let ended = visit.run(command).expect_code(2);
        assert!(ended.stderr.contains(told) && ended.stderr.lines().count() == 1, "{ended:?}");
        assert!(visit.ok(&["ls", "-1"]).is_empty(), "nothing was stored");
    }
    let stored = |name: &str| fs::read_to_string(visit.place.home("ann", name)).expect("stored");
    visit.run(&["put", "a.dat", "--", "b.dat"]).expect_code(0);
    assert_eq!(stored("b.dat"), "a.dat");
    visit.run(&["put", "-f", "a.dat", "b.dat", "."]).expect_code(0);
    assert_eq!((stored("a.dat"), stored("b.dat")), ("a.dat".into(), "b.dat".into()));
    visit.run(&["put", "a.dat", "a.dat"]).expect_code(0);
    visit.run(&["put", "a.dat", "new.dat"]).expect_code(0);
    visit.run(&["put", "-r", "t1", "--", "t2"]).expect_code(0);
    assert_eq!(visit.ok(&["ls", "-1"]), "a.dat\nb.dat\nnew.dat\nt2/\n");
    visit.run(&["put", "a.dat", "t2"]).expect_code(0);
    assert_eq!(stored("t2/a.dat"), "a.dat", "a remote directory is where to");
}

#[test]
fn get_with_two_existing_names_downloads_both() {
    let visit = Visit::new(&[]);
    for name in ["a.dat", "b.dat"] {
        fs::write(visit.place.home("ann", name), name).expect("writable");
    }
    let here = |name: &str| fs::read_to_string(visit.place.here(name)).expect("here");
    fs::write(visit.place.here("b.dat"), "mine").expect("writable");
    for command in [&["get", "a.dat", "b.dat"][..], &["get", "-f", "a.dat", "b.dat"], &["-c", "get -f *.dat b.dat"]] {
        let ended = visit.run(command).expect_code(2);
        assert!(ended.stderr.contains(" .' to transfer all of them"), "{ended:?}");
        assert_eq!(here("b.dat"), "mine");
    }
    visit.run(&["get", "-f", "a.dat", "b.dat", "."]).expect_code(0);
    assert_eq!((here("a.dat"), here("b.dat")), ("a.dat".into(), "b.dat".into()));
    visit.run(&["get", "-f", "a.dat", "--", "b.dat"]).expect_code(0);
    assert_eq!(here("b.dat"), "a.dat");
    visit.run(&["get", "b.dat", "c.dat"]).expect_code(0);
    assert_eq!(here("c.dat"), "b.dat");
}

#[test]
fn a_missing_directory_is_named_with_the_command_that_creates_it() {
    let visit = Visit::new(&[]);
    fs::write(visit.place.home("ann", "a"), "a").expect("writable");
    fs::write(visit.place.here("a"), "a").expect("writable");
    for (command, told) in [
        (&["get", "a", "nope/"][..], "nope/ is not a local directory; create it with mkdir nope/"),
        (&["put", "a", "nope/"], "/nope is not a remote directory; create it with mkdir /nope"),
    ] {
        let ended = visit.run(command).expect_code(2);
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
}

/// What a message advises between `; ` and ` creates it`.
fn advised(stderr: &str) -> &str {
    let text = stderr.trim_end().strip_suffix(" creates it").unwrap_or_else(|| panic!("no advice: {stderr}"));
    text.split_once(" does not exist; ").expect("advice").1
}

#[test]
fn an_advised_command_works_as_it_is_written_at_the_prompt_and_in_sh() {
    let visit = Visit::new(&[]);
    visit.file("f", 1, 0);
    fs::write(visit.place.here("f"), "f").expect("writable");
    let berth = visit.place.berth(&[&visit.server.target("ann")]);
    let words = std::iter::once(berth.get_program()).chain(berth.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().expect("UTF-8"))).collect();
    let in_sh = |line: &str| {
        let mut sh = Command::new("/bin/sh");
        sh.args(["-c", line]).envs(berth.get_envs().filter_map(|(name, value)| Some((name, value?))));
        sh.current_dir(visit.place.here(""));
        visit.place.run(sh).expect_code(0)
    };
    for name in ["a b", "it's", "*", "$HOME", "-n", "~", "a;b", "#x", "!x", "[a-c]", "\\", "\"", "grüße"] {
        let quoted = format!("'{}'", name.replace('\'', r"'\''"));
        let there = visit.place.home("ann", name);
        let told = visit.run(&["-c", &format!("put f /{quoted}/f")]).expect_code(1).stderr;
        visit.run(&["-c", advised(&told)]).expect_code(0);
        fs::remove_dir(&there).expect("it was made");
        let told = visit.run(&["-c", &format!("get f ./{quoted}/f")]).expect_code(1).stderr;
        visit.run(&["-c", advised(&told)]).expect_code(0);
        fs::remove_dir(visit.place.here(name)).expect("it was made");
        let told = visit.run(&["put", "f", &format!("/{name}/f")]).expect_code(1).stderr;
        in_sh(&format!("{} {}", words.join(" "), advised(&told)));
        fs::remove_dir(&there).expect("it was made");
        let told = visit.run(&["get", "f", &format!("./{name}/f")]).expect_code(1).stderr;
        in_sh(advised(&told));
        fs::remove_dir(visit.place.here(name)).expect("it was made");
    }
    for name in ["a\tb", "\u{1b}[2J", "a\nb"] {
        let ended = visit.run(&["put", "f", &format!("/{name}/f")]).expect_code(1);
        assert_eq!(advised(&ended.stderr), "mkdir -p", "a name that nobody can type is left out");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

#[test]
fn advice_quotes_the_names_that_it_repeats() {
    let visit = Visit::new(&[]);
    visit.file("f", 1, 0);
    for name in ["f", "b c"] {
        fs::write(visit.place.here(name), "f").expect("writable");
    }
    for (command, told) in [
        (&["put", "f", "my files/"][..], "create it with mkdir '/my files'"),
        (&["mv", "f", "my files/"], "create it with mkdir '/my files'"),
        (&["get", "f", "my files/"], "create it with mkdir 'my files/'"),
        (&["-c", "get f 'my files/'"], "create it with !mkdir 'my files/'"),
        (&["put", "-", "my files/"], "create it with mkdir '/my files'"),
        (
            &["put", "f", "b c"],
            "'put f 'b c' .' to transfer all of them, or 'put f -- 'b c'' to give the copy that name",
        ),
        (
            &["put", "f", "b c", "-r"],
            "'put f -r 'b c' .' to transfer all of them, or 'put f -r -- 'b c'' to give the copy that name",
        ),
        (
            &["-c", "put [f] 'b c'"],
            r"'put [f] b\ c .' to transfer all of them, or 'put [f] -- b\ c' to give the copy that name",
        ),
    ] {
        let ended = visit.run(command).expect_code(2);
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
}

#[test]
fn commands_without_arguments_refuse_them() {
    let visit = Visit::new(&[]);
    for command in ["pwd", "quota", "df", "lpwd", "quit", "exit", "bye"] {
        for arguments in [&["x"][..], &["a", "b"], &["--", "x"]] {
            let ended = visit.run(&[&[command], arguments].concat()).expect_code(2);
            assert!(ended.stderr.contains("it takes no arguments; usage: "), "{ended:?}");
        }
        let ended = visit.run(&[command, "--foo"]).expect_code(2);
        assert!(ended.stderr.contains("unknown option --foo"), "{ended:?}");
    }
    assert_eq!(visit.run(&["-c", "quit now; pwd"]).expect_code(2).stdout, "");
}

#[test]
fn an_unknown_command_is_named_once() {
    let visit = Visit::new(&[]);
    let told = "berth: unknown command 'frob'; 'help' lists the commands\n";
    fs::write(visit.place.here("script"), "frob x\n").expect("writable");
    for arguments in [&["frob", "x"][..], &["-c", "frob"], &["help", "frob"], &["-f", "script"]] {
        assert_eq!(visit.run(arguments).expect_code(2).stderr, told, "{arguments:?}");
    }
    let ended = visit.run(&["--json", "-f", "script"]).expect_code(2);
    let object: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&object["command"], &object["code"]), (&json!("frob"), &json!("usage")));
}

#[test]
fn a_read_only_account_gets_one_error_for_many_names() {
    let visit = Visit::new(&["--read-only"]);
    for name in ["a", "b", "c", "d/x"] {
        visit.file(name, 1, 0);
    }
    for name in ["x", "y", "z"] {
        fs::write(visit.place.here(name), "x").expect("writable");
    }
    for command in [
        &["rm", "*"][..],
        &["rm", "-r", "*"],
        &["rmdir", "*"],
        &["mv", "a", "b", "c", "d"],
        &["mkdir", "x", "y", "z"],
        &["-c", "put [x-z] d"],
        &["-c", "put -f [x-z] d/"],
    ] {
        let ended = visit.run(command).expect_code(1);
        let errors = ended.stderr.lines().filter(|line| line.contains("this account is read-only")).count();
        assert_eq!((errors, ended.stderr.lines().count()), (1, 1), "{command:?}: {ended:?}");
    }
}

#[test]
fn a_file_against_a_directory_is_one_error_with_both_sides_and_nothing_is_lost() {
    let visit = Visit::new(&[]);
    visit.file("there/sub", 3, 0);
    visit.file("over/f/inside", 3, 0);
    visit.file("file", 3, 0);
    let here = |name: &str| visit.place.here(name);
    fs::create_dir_all(here("there/sub")).expect("writable");
    fs::create_dir(here("over")).expect("writable");
    for name in ["there/sub/x", "over/f", "local"] {
        fs::write(here(name), "here").expect("writable");
    }
    let home = visit.place.home("ann", "");
    let remote_is_file = "sub: a directory locally, a file on the server; --delete replaces the remote one";
    let local_is_file = "f: a file locally, a directory on the server; --delete replaces the local one";
    for (command, told) in [
        (&["put", "-r", "there", "/"][..], "remote /there/sub exists and is not a directory"),
        (&["put", "-rf", "there", "/"], "remote /there/sub exists and is not a directory"),
        (&["put", "-r", "over", "/"], "remote /over/f is a directory"),
        (&["put", "-rf", "over", "/"], "remote /over/f is a directory"),
        (&["get", "-r", "there", "."], "there/sub is a local directory"),
        (&["get", "-rf", "there", "."], "there/sub is a local directory"),
        (&["get", "-r", "over", "."], "local ./over/f is a file, not a directory"),
        (&["get", "-rf", "over", "."], "local ./over/f is a file, not a directory"),
        (&["put", "-r", "there", "file"], "remote /file is a file, and local there is a directory"),
        (&["get", "-r", "there", "local"], "local local is a file, not a directory"),
        (&["get", "file", "local/x"], "a directory above local local/x is a file"),
        (&["get", "file", "local/x/y"], "a directory above local local/x/y is a file"),
        (&["get", "file", "--", "local/y"], "a directory above local local/y is a file"),
        (&["get", "-r", "there", "--", "local/x"], "a directory above local local/x is a file"),
        (&["mirror", "there", "there"], remote_is_file),
        (&["mirror", "--from", "over", "over"], local_is_file),
    ] {
        let ended = visit.run(command).expect_code(1);
        let errors = ended.stderr.lines().filter(|line| !line.ends_with(" failed")).collect::<Vec<_>>();
        assert!(errors.len() == 1 && errors[0].contains(told), "{command:?}: {ended:?}");
        for (path, content) in [
            (home.join("there/sub"), "xxx"),
            (home.join("over/f/inside"), "xxx"),
            (here("there/sub/x"), "here"),
            (here("over/f"), "here"),
            (here("local"), "here"),
        ] {
            assert_eq!(fs::read_to_string(&path).expect("kept"), content, "{command:?}");
        }
    }
}

#[test]
fn a_target_of_the_wrong_kind_is_reported_with_useful_advice() {
    let visit = Visit::new(&[]);
    visit.file("file", 1, 0);
    visit.file("other", 2, 0);
    visit.file("folder/inside", 3, 0);
    fs::create_dir_all(visit.place.here("up/file")).expect("writable");
    for name in ["a", "here", "folder"] {
        fs::write(visit.place.here(name), "a").expect("writable");
    }
    let in_way = "local here/ is a file, not a directory; choose another directory";
    let no_directory = "remote /file is a file, not a directory; choose another directory";
    for (code, command, told) in [
        (2, &["get", "file", "here/"][..], in_way),
        (2, &["get", "file", "other", "here/"], in_way),
        (2, &["put", "a", "file/"], no_directory),
        (2, &["put", "a", "here", "file"], no_directory),
        (2, &["mv", "other", "file/"], no_directory),
        (2, &["mv", "other", "folder", "file"], no_directory),
        (1, &["put", "a", "file/x"], "a directory above remote /file/x is a file; choose another path"),
        (1, &["mv", "other", "file/x"], "a directory above remote /file/x is a file"),
        (1, &["stat", "file/x"], "a directory above remote /file/x is a file"),
        (1, &["cat", "file/x"], "a directory above remote /file/x is a file"),
        (1, &["rm", "file/x"], "a directory above remote /file/x is a file"),
        (1, &["rmdir", "file/x"], "a directory above remote /file/x is a file"),
        (1, &["mkdir", "file/x"], "a directory above remote /file/x is a file"),
        (1, &["mkdir", "-p", "file/x"], "a directory above remote /file/x is a file"),
        (1, &["sha256", "file/x"], "a directory above remote /file/x is a file"),
        (1, &["put", "folder"], "/folder is a directory; put FILE /folder/NAME stores the file in it"),
        (1, &["put", "a", "folder", "/"], "/folder is a directory; put FILE /folder/NAME stores the file in it"),
        (1, &["put", "-r", "up/file", "/"], "/file exists and is not a directory; choose another name"),
        (1, &["mirror", "--from", "folder", "here/x"], "a directory above local here/x is a file; choose another path"),
        (1, &["mirror", "--from", "folder", "here/x/y"], "a directory above local here/x/y is a file"),
        (1, &["get", "file", "no/x"], "local directory no does not exist; mkdir -p no creates it"),
        (1, &["get", "folder", "-"], "/folder is a directory; only a file goes to standard output"),
        (1, &["rmdir", "/"], "the home directory itself cannot be removed; rm -r '/*' removes its contents"),
        (2, &["-c", "rm -r /"], "the home directory itself cannot be removed; rm -r /* removes its contents"),
        (2, &["put", "-", "folder"], "remote /folder is a directory; put - /folder/NAME stores standard input in it"),
        (
            2,
            &["mkdir", &"x".repeat(300)],
            &format!("'{}…': a name in the path is longer than 255 bytes", "x".repeat(77)),
        ),
        (2, &["put", ""], "'': the path is empty"),
        (2, &["get", "file", ""], "'': the path is empty"),
        (2, &["lcd", ""], "'': the path is empty"),
        (2, &["lls", ""], "'': the path is empty"),
    ] {
        let ended = visit.run(command).expect_code(code);
        assert!(ended.stderr.contains(told), "{command:?}: {ended:?}");
    }
    assert_eq!(fs::read(visit.place.here("here")).expect("kept"), b"a");
}

// ---- What was meant -------------------------------------------------------------------------

#[test]
fn an_invalid_server_is_refused_with_what_to_write_and_without_the_password() {
    let visit = Visit::new(&[]);
    for (arguments, told) in [
        (&["put", "x"][..], "'put' is a command; name the server before it: berth [USER@]HOST put"),
        (&["ls"], "'ls' is a command"),
        (&["ann:secret@host", "ls"], "write ann@host"),
        (
            &["ftp://ann:secret@host/a", "ls"],
            "'ftp://' is not supported here; write ann@host and the path /a in the command",
        ),
        (&["host", "add", "nas", "ann:secret@host"], "write ann@host"),
        (&["127.0.0.1:2121", "ls"], "the user name is missing; write USER@127.0.0.1:2121"),
        (&["::1", "ls"], "the user name is missing; write USER@::1"),
        (&["host", "lst"], "unknown command 'lst'; 'berth host' lists the commands for named hosts"),
        (&["nas2", "--bogus"], "unknown option '--bogus'; 'berth --help' lists the options"),
        (&["nas2", "ls"], "'nas2' is not a named host ('berth host list'); for a server write USER@nas2"),
    ] {
        let command = visit.place.berth_over_tls(arguments);
        let ended = visit.place.run(command).expect_code(2);
        assert!(ended.stderr.contains(told) && !ended.stderr.contains("secret"), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

#[test]
fn every_command_shows_its_help_and_names_an_unknown_option() {
    let visit = Visit::new(&[]);
    for command in ["ls", "put", "get", "mirror", "cd", "mv"] {
        assert_eq!(visit.ok(&[command, "--help"]), visit.ok(&["help", command]));
    }
    for command in [&["ls", "--foo"][..], &["put", "--foo", "x"], &["mirror", "--foo", "a", "b"]] {
        let ended = visit.run(command).expect_code(2);
        assert!(ended.stderr.contains("unknown option --foo"), "{ended:?}");
    }
}

#[test]
fn a_missing_directory_of_a_named_host_is_reported_with_its_setting() {
    let visit = Visit::new(&[]);
    let target = visit.server.target("ann");
    let run = |arguments: &[&str]| visit.place.run(visit.place.berth_over_tls(arguments));
    run(&["host", "add", "nas", &target, "--plaintext", "--directory", "nope"]).expect_code(0);
    let ended = run(&["nas", "pwd"]).expect_code(1);
    let problem = "the `directory` of this host cannot be opened: /nope: no such file or directory; create it";
    assert!(ended.stderr.contains(problem), "one advice: {ended:?}");
    let file = visit.place.path("user/config/berth/berth.json");
    let remedy =
        format!("; create it with 'berth nas mkdir -p /nope', or change hosts.nas.directory in {}\n", file.display());
    assert!(file.exists() && ended.stderr.ends_with(&remedy), "{ended:?}");
    fs::write(visit.place.here("file"), "content").expect("writable");
    for relative in [&["ls"][..], &["put", "file"], &["get", "x", "/y"], &["mkdir", "nope"], &["rm", "-r", "x"]] {
        assert!(run(&[&["nas"], relative].concat()).expect_code(1).stderr.contains("`directory`"), "{relative:?}");
    }
    // What names its paths from the root does not need the directory, and is told of it all the same.
    for absolute in [&["ls", "/"][..], &["put", "file", "/file"], &["get", "/file", "copy"], &["mkdir", "/nope"]] {
        assert!(run(&[&["nas"], absolute].concat()).expect_code(0).stderr.contains("`directory`"), "{absolute:?}");
    }
    assert_eq!(run(&["nas", "pwd"]).expect_code(0).stdout, "/nope\n");
}

#[test]
fn cd_with_a_dash_goes_back_and_shows_where() {
    let visit = Visit::new(&[]);
    fs::create_dir_all(visit.place.home("ann", "a/b")).expect("writable");
    fs::create_dir_all(visit.place.home("ann", "-")).expect("writable");
    assert_eq!(visit.ok(&["-c", "cd a/b; cd /a; cd -; pwd; cd -; cd /; cd ./-; pwd"]), "/a/b\n/a/b\n/a\n/-\n");
    let ended = visit.run(&["cd", "-"]).expect_code(2);
    assert!(ended.stderr.contains("there is no previous directory yet"), "{ended:?}");
}

#[test]
fn an_unreadable_file_of_known_keys_trusts_no_server_and_is_kept() {
    let visit = Visit::new(&[]);
    let target = visit.server.target("ann");
    let file = visit.place.path("user/state/berth/known_hosts.json");
    let run = || visit.place.run(visit.place.berth_over_tls(&["--accept-new", &target, "pwd"]));
    run().expect_code(0);
    let good = fs::read(&file).expect("the key is remembered");
    let cut = &good[..good.len() / 2];
    for damaged in [&b""[..], cut, b"[]", b"[{}]", b"5", b"{}", b"{\"hosts\":[]}", b"{\"hosts\":{}} x", b"\xff\xfe"] {
        fs::write(&file, damaged).expect("writable");
        let ended = run().expect_code(1);
        assert!(ended.stderr.contains(&file.display().to_string()), "{ended:?}");
        assert!(ended.stderr.contains("restore it from a backup, or remove it"), "{ended:?}");
        assert!(ended.stderr.lines().count() == 1 && !ended.stderr.contains("struct"), "{ended:?}");
        assert_eq!(fs::read(&file).expect("there"), damaged, "what may be repaired stays");
    }
    fs::remove_file(&file).expect("ours");
    fs::create_dir(&file).expect("writable");
    assert!(run().expect_code(1).stderr.contains("remove it"));
    fs::remove_dir(&file).expect("ours");
    std::os::unix::fs::symlink("elsewhere", &file).expect("writable");
    assert!(run().expect_code(1).stderr.contains("remove it"));
    assert!(file.is_symlink());
}

#[test]
fn a_mirror_without_its_source_shows_the_command_of_the_other_direction() {
    let visit = Visit::new(&[]);
    fs::create_dir(visit.place.here("photos")).expect("writable");
    let wrong = visit.run(&["mirror", "backup", "here"]).expect_code(1);
    assert!(wrong.stderr.contains("write: mirror --from REMOTE LOCAL"), "{wrong:?}");
    let wrong = visit.run(&["mirror", "--from", "photos", "there"]).expect_code(1);
    assert!(wrong.stderr.contains("write: mirror LOCAL REMOTE"), "{wrong:?}");
}

#[test]
fn a_server_of_another_kind_is_reported_in_one_line() {
    let visit = Visit::new(&[]);
    let run = |arguments: &[&str]| visit.place.run(visit.place.berth_over_tls(arguments));
    let ended = run(&["ann@no-such-host.invalid", "ls"]).expect_code(3);
    assert!(ended.stderr.contains("host no-such-host.invalid not found"), "{ended:?}");
    // One speaks first, as FTP servers do; one answers nothing and closes.
    for (greeting, told) in [
        (&b"220 (vsFTPd 3.0.5) ready\r\n"[..], "does not speak berth's protocol at port"),
        (b"", "closed the connection to port"),
    ] {
        for plaintext in [&["--plaintext"][..], &[]] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let target = format!("ann@{}", listener.local_addr().expect("bound"));
            let peer = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("it connects");
                stream.write_all(greeting).expect("it reads");
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            });
            let ended = run(&[plaintext, &[&target, "ls"]].concat()).expect_code(3);
            peer.join().expect("no panic");
            assert!(ended.stderr.starts_with("berth: 127.0.0.1 ") && ended.stderr.contains(told), "{ended:?}");
            assert!(!ended.stderr.contains("run the same command again"), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        }
    }
}

#[test]
fn help_needs_no_server_and_lists_the_commands_in_short_lines() {
    let visit = Visit::new(&[]);
    let run = |arguments: &[&str]| visit.place.run(visit.place.berth_over_tls(arguments)).expect_code(0).stdout;
    let help = run(&["--help"]);
    for command in ["ls", "get", "put", "mirror", "quit"] {
        assert!(help.lines().any(|line| line.starts_with(&format!("  {command} "))), "{command}: {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    let of_session = visit.ok(&["help", "get"]);
    let ways = [
        &["help", "get"][..],
        &["get", "--help"],
        &["get", "x", "--help"],
        &["no-such-host.invalid", "get", "--help"],
        &["ann@no-such-host.invalid", "help", "get"],
    ];
    for arguments in ways {
        assert_eq!(run(arguments), of_session, "{arguments:?}");
    }
    assert_eq!(run(&["help"]), visit.ok(&["help"]));
    let object: Value = serde_json::from_str(&run(&["--json", "get", "--help"])).expect("JSON");
    assert_eq!(object["name"], "get");
    assert!(run(&["host", "--help"]).contains("berth host"));
    let wrong = visit.place.run(visit.place.berth_over_tls(&["help", "frob"])).expect_code(2);
    assert!(wrong.stderr.contains("unknown command 'frob'"), "{wrong:?}");
}

#[test]
fn a_quota_that_is_exceeded_says_how_much_is_needed_and_free() {
    let visit = Visit::new(&["--quota", "5M", "--max-files", "2"]);
    visit.file("some", 600_000, 1);
    let large = File::create(visit.place.here("large")).expect("writable");
    large.set_len(50 << 20).expect("writable");
    let ended = visit.run(&["put", "large"]).expect_code(6);
    assert!(ended.stderr.contains("disk quota exceeded: needs 50M, 4.4M of 5M are free;"), "{ended:?}");
    visit.ok(&["mkdir", "one"]);
    let ended = visit.run(&["mkdir", "two"]).expect_code(6);
    assert!(ended.stderr.contains("needs 1, 0 of 2 are free;"), "{ended:?}");
}

#[test]
fn a_refusal_says_on_which_side_and_what_to_write() {
    let visit = Visit::new(&[]);
    fs::create_dir(visit.place.home("ann", "t2")).expect("writable");
    for name in ["a.dat", "b.dat"] {
        fs::write(visit.place.home("ann", name), name).expect("writable");
        fs::write(visit.place.here(name), name).expect("writable");
    }
    let here = fs::canonicalize(visit.place.here("")).expect("a folder");
    for (command, told) in [
        (&["rm", "t2"][..], "berth: rm: /t2 is a directory; rm -r removes it".to_string()),
        (&["mv", "a.dat", "b.dat"], "berth: mv: /b.dat exists; mv -f replaces it".into()),
        (&["put", "nope"], format!("berth: put: nope: no such local file (in {})", here.display())),
        (&["put", "/nope/x"], "berth: put: /nope/x: no such local file".into()),
        (&["lcd", "nope"], format!("berth: lcd: nope: no such local directory (in {})", here.display())),
        (&["cat", "t2"], "berth: cat: /t2 is a directory; ls lists it".into()),
        (&["sha256", "t2"], "berth: sha256: /t2 is a directory; sha256 takes files".into()),
        (&["mkdir", "t2"], "berth: mkdir: directory /t2 exists; mkdir -p accepts that".into()),
        (&["mkdir", "a.dat"], "berth: mkdir: /a.dat exists and is not a directory; choose another name".into()),
        (&["mkdir", "x/y"], "berth: mkdir: remote directory /x does not exist; mkdir -p /x creates it".into()),
        (&["mv", "a.dat", "x/y"], "berth: mv: remote directory /x does not exist; mkdir -p /x creates it".into()),
        (&["rmdir", "a.dat"], "berth: rmdir: /a.dat is not a directory; rm removes files".into()),
        (&["get", "nope"], "berth: get: /nope: no such file or directory; 'ls' lists what is on the server".into()),
        (
            &["put", "a.dat", "/nosuchdir/x"],
            "berth: put: remote directory /nosuchdir does not exist; mkdir -p /nosuchdir creates it".into(),
        ),
    ] {
        let ended = visit.run(command).expect_code(1);
        assert_eq!(ended.stderr.trim_end(), told);
    }
}

#[test]
fn a_semicolon_in_a_name_hides_no_advice() {
    let visit = Visit::new(&[]);
    fs::create_dir_all(visit.place.home("ann", "d;1/x")).expect("writable");
    for (command, told) in [
        (&["cat", "a;b"][..], "cat: /a;b: no such file or directory; 'ls' lists what is on the server"),
        (&["rmdir", "d;1"], "rmdir: /d;1: directory not empty; 'rm -r' removes it with its contents"),
        (&["rm", "d;1"], "rm: /d;1 is a directory; rm -r removes it"),
        (&["put", "a;b"], "put: a;b: no such local file (in HERE)"),
    ] {
        let here = fs::canonicalize(visit.place.here("")).expect("a folder");
        let told = told.replace("HERE", &here.display().to_string());
        assert_eq!(visit.run(command).expect_code(1).stderr, format!("berth: {told}\n"));
    }
}

#[test]
fn an_invalid_number_is_refused_with_the_valid_range() {
    let visit = Visit::new(&[]);
    let run = |arguments: &[&str]| visit.place.run(visit.place.berth_over_tls(arguments)).expect_code(2).stderr;
    for number in ["x", "", "-1", "1.5", "10001", "99999999999999999999"] {
        let told = format!(
            "error: invalid value '{number}' for '--retries <N>': write a whole number from 0, which means never, to 10000\n"
        );
        assert!(run(&["--retries", number, "ann@host", "ls"]).starts_with(&told), "{number}");
    }
    for port in ["x", "", "-1", "0", "65536", "99999999999999999999"] {
        let told = "berth: host: the port after ':' is not a number from 1 to 65535; leave it out for port 2121\n";
        let target = format!("ann@host:{port}");
        assert_eq!(run(&[&target, "ls"]), told, "{port}");
        assert_eq!(run(&["host", "add", "nas", &target]), told, "{port}");
    }
}
