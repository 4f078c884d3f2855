//! Homes with entries that the server's user cannot examine: the rest of the home works, and each entry is
//! reported.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::ftp_client::{FtpClient, configuration};
use crate::support::needs::{FUSE, MOUNT, MOUNTS, ROOT, tests};
use crate::support::process::without_rights;
use crate::support::{Place, Server, pattern, wait_until};

tests! {
    [ROOT]
        a_directory_that_may_not_be_entered_counts_as_one_entry_and_is_named_once,
        a_directory_that_can_be_read_and_not_searched_is_listed;
    [MOUNT, ROOT, MOUNTS, FUSE]
        a_dead_mount_does_not_affect_other_entries;
}

/// A server of an ordinary user, in whose account's home `prepare` has put something.
fn serve(prepare: impl FnOnce(&Place)) -> (Place, Server) {
    let place = Place::with(configuration(json!({"plaintext": true}), json!({"user": null})));
    place.add("ann", &["--quota", "1M"]);
    let mut command = place.berthd(&["serve"]);
    fs::write(place.home("ann", "file"), pattern(1, 1000)).expect("writable");
    for name in ["d", "drop", "box"] {
        fs::create_dir(place.home("ann", name)).expect("writable");
        fs::write(place.home("ann", name).join("inner"), pattern(2, 50)).expect("writable");
    }
    without_rights(&mut command, &place.path(""));
    prepare(&place);
    let server = place.serve_as(command);
    (place, server)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

/// As `mkfs` and root leave it.
fn add_lost_and_found(place: &Place) {
    let path = place.home("ann", "lost+found");
    fs::create_dir(&path).expect("writable");
    chown(&path, Some(0), Some(0)).expect("root may");
    set_mode(&path, 0);
}

/// A file system of FUSE whose program has ended: each call on it is ENOTCONN.
struct DeadMount(PathBuf);

impl DeadMount {
    fn at(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("writable");
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("may be opened");
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
        let mount =
            Command::new("mount").args(["-i", "-t", "fuse", "-o", options, "dead"]).arg(&path).stdin(device).output();
        assert!(mount.as_ref().is_ok_and(|ended| ended.status.success()), "{mount:?}");
        Self(path)
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
        assert!(ended.is_ok_and(|ended| ended.success()), "umount {}", self.0.display());
    }
}

// ---- Asking -------------------------------------------------------------------------------

/// What a command of the client prints for `--json`; its exit code.
fn ask(place: &Place, server: &Server, words: &[&str]) -> (i32, Vec<Value>, String) {
    let target = server.target("ann");
    let ended = place.run(place.berth(&[&["--json", &target], words].concat()));
    let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line"));
    (ended.code.unwrap_or(-1), lines.collect(), ended.stderr.clone())
}

fn entries(place: &Place, server: &Server, directory: &str) -> Vec<Value> {
    let (code, lines, stderr) = ask(place, server, &["ls", "-a", directory]);
    assert_eq!(code, 0, "{stderr}");
    lines[0]["entries"].as_array().expect("entries").clone()
}

/// Every kind of change, and what is told of room.
fn assert_that_the_rest_works(place: &Place, server: &Server, used: (u64, u64)) {
    let told = |used: (u64, u64)| {
        let (code, lines, stderr) = ask(place, server, &["quota"]);
        assert_eq!(
            (code, &lines[0]["used_bytes"], &lines[0]["used_files"]),
            (0, &json!(used.0), &json!(used.1)),
            "{stderr}"
        );
    };
    told(used);
    fs::write(place.here("new"), pattern(3, 100)).expect("writable");
    for (words, used) in [
        (&["put", "new"][..], (used.0 + 100, used.1 + 1)),
        (&["mkdir", "folder"], (used.0 + 100, used.1 + 2)),
        (&["mv", "new", "folder"], (used.0 + 100, used.1 + 2)),
        (&["rm", "-r", "folder"], used),
    ] {
        let (code, _, stderr) = ask(place, server, words);
        assert_eq!(code, 0, "{words:?}: {stderr}");
        told(used);
    }
    assert_eq!(ask(place, server, &["df"]).0, 0);
    let mut ftp = FtpClient::login(server);
    assert!(ftp.ask("AVBL").starts_with("213 "), "AVBL");
}

fn list(client: &mut FtpClient, command: &str) -> String {
    let (mut data, mut listing) = (client.begin(command), String::new());
    data.read_to_string(&mut listing).expect("text");
    assert!(client.reply().starts_with("226 "), "{command}");
    listing
}

fn named_in(stderr: &str, place: &Place, name: &str) -> usize {
    let path = place.home("ann", name);
    stderr.lines().filter(|line| line.contains(&format!("{} cannot be examined: ", path.display()))).count()
}

// ---- Tests --------------------------------------------------------------------------------

fn a_directory_that_may_not_be_entered_counts_as_one_entry_and_is_named_once() {
    let (place, server) = serve(|place| {
        add_lost_and_found(place);
        set_mode(&place.home("ann", "drop"), 0o311);
        set_mode(&place.home("ann", "box"), 0o333);
    });
    // Files: `file`, `d`, `d/inner`, `drop`, `box`, `lost+found`.
    assert_that_the_rest_works(&place, &server, (1050, 6));
    let usage = place.admin(&["usage", "--verify"]).stdout;
    for name in ["lost+found", "drop", "box"] {
        assert_eq!(named_in(&server.program.stderr(), &place, name), 1, "{}", server.program.stderr());
        assert!(usage.contains(&format!("\n  {name} cannot be examined: Permission denied")), "{usage}");
    }
    let told: Value = serde_json::from_str(&place.admin(&["usage", "--json"]).stdout).expect("JSON");
    assert_eq!((&told["unexamined"], &told["error"]), (&json!(3), &Value::Null));
    place.admin(&["usage", "--repair"]);
    assert_eq!(named_in(&server.program.stderr(), &place, "drop"), 1, "once");

    let mut check = place.berthd(&["check"]);
    check.uid(65534).gid(65534);
    let check = place.run(check).expect_code(0);
    assert_eq!(named_in(&check.stderr, &place, "lost+found"), 1, "{}", check.stderr);
    assert!(check.stdout.contains(": valid; 1 account\n"), "{}", check.stdout);

    let names: Vec<_> = entries(&place, &server, "/").iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["box", "d", "drop", "file", "lost+found"]);
    let (code, _, stderr) = ask(&place, &server, &["ls", "drop"]);
    assert_eq!((code, stderr.contains("drop")), (1, true), "{stderr}");
    for words in [&["du"][..], &["get", "-r", "/", "all"]] {
        let (code, _, stderr) = ask(&place, &server, words);
        assert_eq!(code, 1, "{words:?}");
        for name in ["/box", "/drop", "/lost+found"] {
            assert_eq!(stderr.lines().filter(|line| line.contains(name)).count(), 1, "{words:?} {name}: {stderr}");
        }
    }
    assert_eq!(fs::read(place.here("all/file")).expect("the rest"), pattern(1, 1000));
    assert_eq!(fs::read(place.here("all/d/inner")).expect("the rest"), pattern(2, 50));
}

fn a_directory_that_can_be_read_and_not_searched_is_listed() {
    let (place, server) = serve(|place| {
        fs::create_dir(place.home("ann", "d/below")).expect("ours");
        set_mode(&place.home("ann", "d"), 0o444);
    });
    // All but the content of `d/inner`.
    assert_that_the_rest_works(&place, &server, (1100, 8));
    assert_eq!(named_in(&server.program.stderr(), &place, "d"), 1, "{}", server.program.stderr());
    let unknown =
        |name: &str, kind: &str| json!({"name": name, "kind": kind, "size": null, "mtime_ns": null, "mode": null});
    assert_eq!(entries(&place, &server, "d"), [unknown("below", "dir"), unknown("inner", "file")]);
    let target = server.target("ann");
    let long = place.run(place.berth(&[&target, "ls", "-l", "d"])).expect_code(0).stdout;
    assert!(long.starts_with("d????????? ") && long.contains("\n-????????? "), "{long}");

    let mut ftp = FtpClient::login(&server);
    assert_eq!(list(&mut ftp, "MLSD d"), "type=dir; below\r\ntype=file; inner\r\n");
    assert_eq!(list(&mut ftp, "NLST d").replace("d/", ""), "below\r\ninner\r\n");
    let lines = list(&mut ftp, "LIST d");
    let fields: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(fields[0], ["d---------", "1", "berth", "berth", "0", "Jan", "1", "1970", "below"]);
    assert_eq!(fields[1], ["----------", "1", "berth", "berth", "0", "Jan", "1", "1970", "inner"]);

    let (code, _, stderr) = ask(&place, &server, &["get", "-r", "/", "all"]);
    assert_eq!((code, stderr.matches("/d/inner").count()), (1, 1), "{stderr}");
    assert_eq!(fs::read(place.here("all/box/inner")).expect("the rest"), pattern(2, 50));
    let (code, _, stderr) = ask(&place, &server, &["rm", "-r", "d"]);
    assert_eq!((code, stderr.matches("/d/inner").count(), stderr.contains("not empty")), (1, 1, false), "{stderr}");
}

fn a_dead_mount_does_not_affect_other_entries() {
    let mut dead = None;
    let (place, server) = serve(|place| dead = Some(DeadMount::at(place.home("ann", "dead"))));
    assert_that_the_rest_works(&place, &server, (1150, 8));
    wait_until("it is named", || named_in(&server.program.stderr(), &place, "dead") == 1);
    let listed = entries(&place, &server, "/");
    let names: Vec<_> = listed.iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["box", "d", "dead", "drop", "file"]);
    assert_eq!((&listed[2]["kind"], &listed[2]["size"]), (&json!("dir"), &Value::Null));
    let mut ftp = FtpClient::login(&server);
    assert!(list(&mut ftp, "MLSD").contains("\r\ntype=dir; dead\r\n"));
    assert_eq!(list(&mut ftp, "NLST"), "box\r\nd\r\ndead\r\ndrop\r\nfile\r\n");
    assert!(list(&mut ftp, "LIST").contains(" dead\r\n"));
    for words in [&["du"][..], &["mirror", "--from", "/", "copy"]] {
        let (code, _, stderr) = ask(&place, &server, words);
        assert_eq!((code, stderr.matches("/dead").count()), (1, 1), "{words:?}: {stderr}");
    }
    assert_eq!(fs::read(place.here("copy/file")).expect("the rest"), pattern(1, 1000));
    drop(server);
    drop(dead);
}
