//! Full disks and full quotas: old files stay, what was begun is undone, other users are served, and once there is
//! room the failed operation works.
//!
//! A disk is made full for one server by a limit on the size of its files, which works for
//! everybody and can be lifted again; and, where the system allows mounts, by a tiny filesystem.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::needs::{MOUNT, OWN_MOUNTS, UNSHARE, tests};
use crate::support::peer::{Incoming, Peer, put};
use crate::support::process::{Ended, without_rights};
use crate::support::proxy::Proxy;
use crate::support::{Place, Server, disk_usage, pattern, target, wait_until};
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

tests! {
    []
        a_disk_that_fills_up_amid_an_upload_leaves_the_old_file_and_the_session_goes_on,
        a_quota_that_fills_up_amid_an_upload_leaves_the_old_file_and_the_session_goes_on,
        an_upload_that_met_a_full_disk_is_logged_once_kept_for_an_hour_and_resumed_once_there_is_room,
        a_full_log_disk_stops_nobody_and_is_told_on_stderr,
        a_log_disk_that_has_room_again_is_told_which_lines_are_missing,
        an_account_that_cannot_be_written_stays_as_it_was,
        a_download_that_finds_no_room_is_an_error_and_what_came_is_kept,
        a_tree_into_a_full_quota_ends_with_one_error_and_goes_on_once_there_is_room,
        a_tree_of_an_account_that_may_only_read_ends_with_one_error,
        a_tree_into_a_local_directory_that_cannot_be_written_ends_with_one_error,
        a_tree_whose_server_is_gone_ends_with_one_error_and_says_what_is_left;
    [MOUNT, UNSHARE, OWN_MOUNTS]
        a_tree_into_a_full_disk_of_either_side_ends_with_one_error_and_goes_on_once_there_is_room,
        on_a_full_file_system_changes_fail_cleanly_and_rm_frees_space,
        a_partial_whose_record_finds_no_room_is_not_kept_and_leaves_nothing;
}

/// Begins to put `content` and sends it until the server has enough of it; its refusal. The
/// session goes on.
fn refused_amid(peer: &mut Peer, path: &str, size: Option<u64>, content: &[u8]) -> ErrorCode {
    let mut request = put(path, 0, PutMode::Replace);
    if let Request::Put { size: announced, .. } = &mut request {
        *announced = size;
    }
    let id = peer.request(&request);
    for piece in content.chunks(64 * 1024) {
        let mut data = Vec::new();
        frame::put_bytes(&mut data, FrameType::Data, id, piece);
        peer.send(&data);
    }
    let Ok(Incoming::Reply(of, Reply::Error(error))) = peer.receive() else { panic!("{path} is refused") };
    assert_eq!((of, error.fatal), (id, false), "{error:?}");
    let mut abort = Vec::new();
    frame::put_bytes(&mut abort, FrameType::Abort, id, b"{}");
    peer.send(&abort);
    error.code
}

#[track_caller]
fn expect_stored(reply: &Reply) {
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
}

/// The ledger is the disk, and nobody holds a promise.
#[track_caller]
fn check_quota(peer: &mut Peer, home: &Path) {
    let Reply::Quota(report) = peer.ask(&Request::Quota {}) else { panic!("a report") };
    assert_eq!(((report.used_bytes, report.used_files), report.reserved_bytes), (disk_usage(home), 0));
}

fn is_staging_empty(place: &Place) -> bool {
    fs::read_dir(place.home("ann", ".berth")).map_or(0, Iterator::count) == 0
}

// ---- In the middle of an upload -----------------------------------------------------------

fn a_disk_that_fills_up_amid_an_upload_leaves_the_old_file_and_the_session_goes_on() {
    for sync in ["none", "data", "full"] {
        let place = Place::with(json!({"sync": sync}));
        place.add("ann", &[]);
        let server = place.serve();
        let (old, new) = (pattern(1, 300_000), pattern(2, 900_000));
        let mut peer = Peer::login(server.address, "ann");
        expect_stored(&peer.put("/file", &old, PutMode::Create));
        server.program.limit_files(Some(500_000));
        for size in [Some(new.len() as u64), None] {
            assert_eq!(refused_amid(&mut peer, "/file", size, &new), ErrorCode::DiskFull, "{sync}");
            assert!(fs::read(place.home("ann", "file")).expect("there") == old, "{sync}");
            check_quota(&mut peer, &place.home("ann", ""));
            assert!(is_staging_empty(&place), "{sync}");
        }
        expect_stored(&peer.put("/small", &old, PutMode::Create));
        server.program.limit_files(None);
        expect_stored(&peer.put("/file", &new, PutMode::Replace));
        assert!(fs::read(place.home("ann", "file")).expect("there") == new, "{sync}");
        check_quota(&mut peer, &place.home("ann", ""));
    }
}

fn a_quota_that_fills_up_amid_an_upload_leaves_the_old_file_and_the_session_goes_on() {
    let place = Place::new();
    place.add("ann", &["--quota", "1000000"]);
    let server = place.serve();
    let (old, new) = (pattern(1, 300_000), pattern(2, 900_000));
    let mut peer = Peer::login(server.address, "ann");
    expect_stored(&peer.put("/file", &old, PutMode::Create));
    assert_eq!(refused_amid(&mut peer, "/file", None, &new), ErrorCode::QuotaBytes);
    assert!(fs::read(place.home("ann", "file")).expect("there") == old);
    check_quota(&mut peer, &place.home("ann", ""));
    assert!(is_staging_empty(&place));
    expect_stored(&peer.put("/file", &new[..700_000], PutMode::Replace));
    check_quota(&mut peer, &place.home("ann", ""));
}

fn an_upload_that_met_a_full_disk_is_logged_once_kept_for_an_hour_and_resumed_once_there_is_room() {
    let place = Place::with(json!({"sync": "data"}));
    place.add("ann", &[]);
    let server = place.serve();
    let content = pattern(1, 4 << 20);
    fs::write(place.here("file"), &content).expect("writable");
    server.program.limit_files(Some(2 << 20));
    let berth = || place.run(place.berth(&[&server.target("ann"), "put", "file"]));
    let ended = berth().expect_code(6);
    assert!(ended.stderr.contains("the server's disk is full"), "{ended:?}");
    assert!(!place.home("ann", "file").exists());
    let partials = || place.run(place.berth(&[&server.target("ann"), "partials"])).expect_code(0).stdout;
    assert!(partials().contains("/file  2M of 4M  expires in 60 minutes"), "{}", partials());
    berth().expect_code(6);
    wait_until("the log tells of it", || server.program.stderr().contains("the disk is full"));
    assert_eq!(server.program.stderr().matches("the disk is full").count(), 1, "{}", server.program.stderr());
    server.program.limit_files(None);
    let ended = berth().expect_code(0);
    assert!(ended.stderr.contains("resuming at 2M"), "{ended:?}");
    assert!(fs::read(place.home("ann", "file")).expect("stored") == content);
    check_quota(&mut Peer::login(server.address, "ann"), &place.home("ann", ""));
    assert!(is_staging_empty(&place));
}

// ---- A filesystem without room for anything -----------------------------------------------

/// A server whose homes lie on a filesystem of one mebibyte and a few dozen entries, mounted for
/// it alone.
fn serve_on_tiny_filesystem(place: &Place) -> Server {
    let mount = "mount -t tmpfs -o size=1m,nr_inodes=40,mode=700 tiny homes && mkdir homes/ann";
    let mut command = crate::support::needs::own_mounts();
    command.args(["sh", "-c", &format!("{mount} && exec \"$0\" \"$@\"")]).arg(place.berthd(&[]).get_program());
    command.args(["serve"]).current_dir(place.path("")).stdin(Stdio::null());
    place.serve_as(command)
}

/// The home on a filesystem that only the server sees.
fn home_seen_by(server: &Server, place: &Place) -> PathBuf {
    let home = place.home("ann", "");
    let below_root = home.strip_prefix("/").expect("an absolute path");
    Path::new("/proc").join(server.program.pid().to_string()).join("root").join(below_root)
}

fn on_a_full_file_system_changes_fail_cleanly_and_rm_frees_space() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = serve_on_tiny_filesystem(&place);
    let home = home_seen_by(&server, &place);
    let mut peer = Peer::login(server.address, "ann");
    let old = pattern(1, 400_000);
    expect_stored(&peer.put("/file", &old, PutMode::Create));
    assert_eq!(refused_amid(&mut peer, "/file", Some(900_000), &pattern(2, 900_000)), ErrorCode::DiskFull);
    assert!(fs::read(home.join("file")).expect("there") == old);
    check_quota(&mut peer, &home);

    let df = place.run(place.berth(&[&target("ann", server.address), "df"])).expect_code(0).stdout;
    let available = df.lines().nth(1).and_then(|row| row.split_whitespace().nth(2));
    assert!(available.is_some_and(|bytes| bytes.ends_with('K')), "of a mebibyte some KiB are left: {df}");

    // Until there is not even room for a name.
    let mut refused = Vec::new();
    for number in 0..60 {
        let name = format!("/d{number}");
        match peer.ask(&Request::Mkdir { path: Name::from(name.as_str()), parents: false, permissions: None }) {
            Reply::Done {} => {}
            Reply::Error(error) => refused.push(error.code),
            other => panic!("{other:?}"),
        }
    }
    assert!(refused.len() > 10 && refused.iter().all(|code| *code == ErrorCode::DiskFull), "{refused:?}");
    assert_eq!(refused_amid(&mut peer, "/file", Some(3), b"new"), ErrorCode::DiskFull);
    assert!(fs::read(home.join("file")).expect("there") == old);
    check_quota(&mut peer, &home);
    let done = peer.ask(&Request::Mv { from: Name::from("/file"), to: Name::from("/moved"), replace: false });
    assert!(matches!(done, Reply::Done {}), "{done:?}");
    assert!(matches!(peer.ask(&Request::Rm { path: Name::from("/moved") }), Reply::Done {}));
    assert!(matches!(peer.ask(&Request::Rmdir { path: Name::from("/d0") }), Reply::Done {}));
    expect_stored(&peer.put("/file", &pattern(3, 700_000), PutMode::Create));
    check_quota(&mut peer, &home);
    assert_eq!(fs::read_dir(home.join(".berth")).map_or(0, Iterator::count), 0);
}

fn a_partial_whose_record_finds_no_room_is_not_kept_and_leaves_nothing() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = serve_on_tiny_filesystem(&place);
    let home = home_seen_by(&server, &place);
    // Its first data frame, from which on it is worth keeping, is just what there is room for.
    fs::write(place.here("file"), pattern(1, 2 << 20)).expect("writable");
    let ended = place.run(place.berth(&[&target("ann", server.address), "put", "file"])).expect_code(6);
    assert!(ended.stderr.contains("the server's disk is full"), "{ended:?}");
    let mut peer = Peer::login(server.address, "ann");
    check_quota(&mut peer, &home);
    let left: Vec<_> = fs::read_dir(home.join(".berth")).expect("there").collect();
    assert!(left.is_empty(), "{left:?}");
}

// ---- Logs ---------------------------------------------------------------------------------

fn a_full_log_disk_stops_nobody_and_is_told_on_stderr() {
    let place = Place::with(json!({"logs": {"access": "/dev/full", "transactions": "logs/transactions.log"}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    expect_stored(&peer.put("/file", b"content", PutMode::Create));
    wait_until("it complains", || server.program.stderr().contains("/dev/full: "));
    let stderr = server.program.stderr();
    assert!(stderr.contains(" lines lost so far: ") && stderr.contains("No space left"), "{stderr}");
    expect_stored(&peer.put("/file", b"more", PutMode::Replace));
    Peer::login(server.address, "ann");
    wait_until("the other log is written", || place.log("transactions.log").matches("result=ok").count() == 2);
    assert!(!server.program.is_over());
}

fn a_log_disk_that_has_room_again_is_told_which_lines_are_missing() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    let mut asked = 0;
    let mut ask = |times: usize| {
        for _ in 0..times {
            assert!(matches!(peer.ask(&Request::Stat { path: Name::from("/") }), Reply::Stat { .. }));
        }
        asked += times;
        asked
    };
    ask(10);
    server.program.limit_files(Some(4096));
    ask(100);
    wait_until("it complains", || server.program.stderr().contains("access.log: "));
    assert_eq!(fs::metadata(place.path("logs/access.log")).expect("there").len(), 4096);
    server.program.limit_files(None);
    let asked = ask(5);
    wait_until("it tells", || server.program.stderr().contains("access.log: is written again; "));
    drop(peer);
    wait_until("the session is logged", || place.log("access.log").contains("verb=close"));
    let log = place.log("access.log");
    let lost: Vec<usize> = log.lines().filter_map(|line| line.split_once(" lines_lost=")?.1.parse().ok()).collect();
    let whole = log.lines().filter(|line| line.contains("verb=stat") && line.ends_with("result=ok")).count();
    assert_eq!((lost.len(), whole + lost[0]), (1, asked), "{log}");
}

// ---- Other programs -----------------------------------------------------------------------

/// Runs `command` where no file may grow beyond `blocks` of 512 bytes. Its output goes to pipes,
/// which are no files.
fn run_limited(command: &Command, blocks: u64) -> Output {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    limited.args(command.get_args()).env_clear().stdin(Stdio::null());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(command.get_current_dir().expect("set for all of them"));
    limited.output().expect("there is a shell")
}

fn an_account_that_cannot_be_written_stays_as_it_was() {
    let place = Place::new();
    place.add("ann", &["--quota", "1M"]);
    let file = place.path("conf/users/ann.json");
    let before = fs::read(&file).expect("there");
    for arguments in [&["set", "ann", "--quota", "2M"][..], &["lock", "ann"]] {
        let ended = run_limited(&place.berthd(&[&["user"], arguments].concat()), 0);
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(stderr.contains("users/ann.json") && stderr.contains("too large"), "{stderr}");
        assert!(fs::read(&file).expect("there") == before);
        place.admin(&["user", "show", "ann"]);
    }
    let names: Vec<_> =
        fs::read_dir(place.path("conf/users")).expect("there").map(|e| e.expect("an entry").file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains(".tmp")), "{names:?}");
}

fn a_download_that_finds_no_room_is_an_error_and_what_came_is_kept() {
    let place = Place::new();
    place.add("ann", &[]);
    let content = pattern(1, 3 << 20);
    fs::write(place.home("ann", "file"), &content).expect("writable");
    let server = place.serve();
    let get = || place.berth(&[&server.target("ann"), "get", "file"]);
    let ended = run_limited(&get(), 2048);
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(stderr.starts_with("berth: get: local file: ") && stderr.contains("too large"), "{stderr}");
    assert!(!place.here("file").exists());
    let ended = place.run(get()).expect_code(0);
    assert!(ended.stderr.contains("resuming at "), "{ended:?}");
    assert!(fs::read(place.here("file")).expect("fetched") == content);
}

// ---- Trees --------------------------------------------------------------------------------

/// Makes `files` files of `bytes` bytes each, in the root of a tree and in a directory below it.
fn plant_tree(root: &Path, files: usize, bytes: usize) {
    fs::create_dir_all(root.join("sub")).expect("writable");
    for at in 0..files {
        let directory = if at % 2 == 0 { root.to_path_buf() } else { root.join("sub") };
        fs::write(directory.join(format!("f{at}")), pattern(at as u64, bytes)).expect("writable");
    }
}

fn files_below(root: &Path) -> usize {
    let is_file = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with('f');
    let count = |directory: PathBuf| fs::read_dir(directory).map_or(0, |all| all.flatten().filter(is_file).count());
    count(root.to_path_buf()) + count(root.join("sub"))
}

/// Checks that a command ended with one error that contains `why`, and with a summary of the files that are at
/// `target` and of those that are left. Returns the number of those that are there.
#[track_caller]
fn check_stopped(ended: Ended, code: i32, why: &str, target: &Path, files: usize) -> usize {
    let there = files_below(target);
    assert_eq!(told_as_done(ended, code, why, files), there);
    there
}

/// The same where a second connection may have done, or found done, what nobody waits for any more. Returns
/// the number of files that the summary tells of.
#[track_caller]
fn told_as_done(ended: Ended, code: i32, why: &str, files: usize) -> usize {
    let ended = ended.expect_code(code);
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("berth: ")).collect();
    assert!(matches!(errors[..], [error] if error.contains(why)), "{why}: {ended:?}");
    assert!(!ended.stderr.contains(" failed"), "{ended:?}");
    let summary = ended.stdout.trim_end();
    let (done, left) = summary.split_once("; left: ").unwrap_or_else(|| panic!("nothing is left: {ended:?}"));
    let count = |text: &str| text.split(' ').next().map(|word| word.parse().unwrap_or(0)).expect("a word");
    let (done, left) = (done.split_once(": ").map_or(0, |(_, done)| count(done)), count(left));
    assert!(summary.lines().count() == 1 && done + left == files, "{ended:?}");
    done
}

fn a_tree_into_a_full_quota_ends_with_one_error_and_goes_on_once_there_is_room() {
    // The last ones are large enough for a second connection.
    for (limit, value, more, files, bytes, why) in [
        ("--quota", "1M", "100M", 30, 100_000, "disk quota"),
        ("--max-files", "12", "100", 30, 100, "quota of files"),
        ("--quota", "25M", "1G", 8, 5 << 20, "disk quota"),
    ] {
        let place = Place::new();
        place.add("ann", &[limit, value]);
        let server = place.serve();
        plant_tree(&place.here("tree"), files, bytes);
        let many: Vec<String> = (0..files).step_by(2).map(|at| format!("tree/f{at}")).collect();
        let many: Vec<&str> = ["put"].into_iter().chain(many.iter().map(String::as_str)).chain(["."]).collect();
        for (command, target, files) in [
            (&["put", "-r", "tree"][..], "tree", files),
            (&["put", "-r", "tree", "new"], "new", files),
            (&["mirror", "tree", "image"], "image", files),
            (&many, "", files / 2),
        ] {
            let target = place.home("ann", target);
            let run = || place.run(place.berth(&[&["--no-progress", &server.target("ann")], command].concat()));
            place.admin(&["user", "set", "ann", limit, value]);
            if target == place.home("ann", "") && files < 10 {
                // All of them find room.
                continue;
            }
            for _ in 0..2 {
                // Another try changes nothing.
                let done = match bytes > 4 << 20 {
                    true => told_as_done(run(), 6, why, files),
                    false => check_stopped(run(), 6, why, &target, files),
                };
                assert!(
                    done <= files_below(&target) && (1..files).contains(&files_below(&target)),
                    "{command:?}: {done}"
                );
            }
            place.admin(&["user", "set", "ann", limit, more]);
            let ended = run().expect_code(0);
            assert!(ended.stdout.contains(&format!(": {files} files, ")), "{ended:?}");
            assert_eq!(files_below(&target), files, "{command:?}");
            place.run(place.berth(&[&server.target("ann"), "rm", "-r", "*"])).expect_code(0);
        }
    }
}

fn a_tree_of_an_account_that_may_only_read_ends_with_one_error() {
    let place = Place::new();
    place.add("ann", &["--read-only"]);
    let server = place.serve();
    plant_tree(&place.here("tree"), 10, 100);
    let run = |command: &[&str]| place.run(place.berth(&[&["--no-progress", &server.target("ann")], command].concat()));
    let why = "this account is read-only";
    check_stopped(run(&["put", "-r", "tree"]), 1, why, &place.home("ann", "tree"), 10);
    let files = ["put", "tree/f0", "tree/f2", "tree/f4", "."];
    check_stopped(run(&files), 1, why, &place.home("ann", "tree"), 3);
    // What is there already, and differs.
    let target = place.home("ann", "tree");
    plant_tree(&target, 10, 10);
    let mirror = |arguments: &[&str]| run(&[&["mirror"], arguments].concat()).expect_code(1).stderr;
    for stderr in [mirror(&["tree", "new"]), mirror(&["tree", "tree"]), mirror(&["--delete", "tree/sub", "tree"])] {
        assert!(stderr.matches("berth: ").count() == 1 && stderr.contains(why), "{stderr}");
    }
    let stderr = run(&["put", "-f", "-r", "tree"]).expect_code(1).stderr;
    assert!(stderr.matches("berth: ").count() == 1 && stderr.contains(why), "{stderr}");
    assert_eq!(files_below(&target), 10);
    assert!(fs::read(target.join("f0")).expect("there") == pattern(0, 10));
}

fn a_tree_into_a_local_directory_that_cannot_be_written_ends_with_one_error() {
    let place = Place::new();
    place.add("ann", &[]);
    plant_tree(&place.home("ann", "tree"), 10, 100);
    let server = place.serve();
    for (directory, command) in [
        ("a", &["get", "-r", "tree", "a"][..]),
        ("b/tree", &["get", "-r", "tree", "b"]),
        ("c", &["get", "tree/f0", "tree/f2", "tree/f4", "c"]),
        ("d", &["mirror", "--from", "tree", "d"]),
    ] {
        fs::create_dir_all(place.here(directory).join("sub")).expect("writable");
        let closed = place.here(directory);
        let mut berth = place.berth(&[&["--no-progress", &server.target("ann")], command].concat());
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("ours");
        without_rights(&mut berth, &place.path(""));
        let ended = place.run(berth).expect_code(1);
        let errors = ended.stderr.matches("berth: ").count();
        assert!(errors == 1 && ended.stderr.contains("permission denied"), "{command:?}: {ended:?}");
        assert!(!ended.stderr.contains(" failed"), "{ended:?}");
    }
}

fn a_tree_whose_server_is_gone_ends_with_one_error_and_says_what_is_left() {
    for command in [&["put", "-r", "tree"][..], &["get", "-r", "tree"], &["mirror", "tree", "image"]] {
        let place = Place::new();
        place.add("ann", &[]);
        let (is_get, files, bytes) = (command[0] == "get", 6, 300_000);
        plant_tree(&if is_get { place.home("ann", "tree") } else { place.here("tree") }, files, bytes);
        let server = place.serve();
        let proxy = Proxy::to(server.address);
        let way = if is_get { &proxy.down } else { &proxy.up };
        proxy.cut_after(way, [(bytes * 5 / 2) as u64]);
        let (direct, cut) = (server.target("ann"), target("ann", proxy.address));
        let arguments = [&["--no-progress", "--retries", "0", &cut], command].concat();
        let ended = place.run(place.berth(&arguments)).expect_code(3);
        let errors = ended.stderr.matches("berth: ").count();
        assert!(errors == 1 && ended.stderr.contains("connection lost"), "{ended:?}");
        assert!(ended.stdout.lines().count() == 1 && ended.stdout.contains("; left: "), "{ended:?}");
        let ended = place.run(place.berth(&[&[&*direct], command].concat())).expect_code(0);
        assert!(ended.stdout.contains(": 6 files, "), "{ended:?}");
    }
}

fn a_tree_into_a_full_disk_of_either_side_ends_with_one_error_and_goes_on_once_there_is_room() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = serve_on_tiny_filesystem(&place);
    plant_tree(&place.here("tree"), 10, 200_000);
    let berth = |command: &[&str]| place.berth(&[&["--no-progress", &server.target("ann")], command].concat());
    let home = home_seen_by(&server, &place);
    for (command, target) in [(&["put", "-r", "tree"][..], "tree"), (&["mirror", "tree", "image"], "image")] {
        let there = check_stopped(place.run(berth(command)), 6, "disk is full", &home.join(target), 10);
        assert!((1..10).contains(&there), "{there}");
        place.run(berth(&["rm", "-r", target])).expect_code(0);
    }
    // The same here: the target is mounted for the client alone, and grows for its second run.
    plant_tree(&home.join("fetched"), 3, 200_000);
    for (at, command) in ["get -r fetched small", "mirror --from fetched small/image"].into_iter().enumerate() {
        let small = place.here(format!("small{at}"));
        fs::create_dir(&small).expect("writable");
        let mount = format!("mount -t tmpfs -o size=500k small {}", small.display());
        let twice = format!(
            "{mount}; \"$0\" \"$@\"; echo \"exit $?\"; mount -o remount,size=5m {}; \"$0\" \"$@\"",
            small.display()
        );
        let arguments: Vec<String> =
            command.split(' ').map(|word| word.replace("small", &format!("small{at}"))).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let client = berth(&words);
        let mut command = crate::support::needs::own_mounts();
        command.args(["sh", "-c", &twice]).arg(client.get_program()).args(client.get_args());
        command.env_clear().stdin(Stdio::null()).current_dir(place.here(""));
        command.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = place.run(command).expect_code(0);
        let (first, second) = ended.stdout.split_once("exit 6\n").expect("no room at first");
        assert!(first.lines().count() == 1 && first.contains("; left: "), "{ended:?}");
        assert_eq!(ended.stderr.matches("berth: ").count(), 1, "{ended:?}");
        assert!(ended.stderr.contains("no storage space") || ended.stderr.contains("no space"), "{ended:?}");
        assert!(second.contains(": 3 files, ") && second.contains(" already there"), "{ended:?}");
    }
}
