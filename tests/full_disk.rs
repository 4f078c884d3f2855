//! Disks and quotas that are full, and full at the worst moment: what was there stays, what was
//! begun is taken back, everybody goes on, and once there is room so does what failed.
//!
//! A disk is made full for one server by a limit on the size of its files, which works for
//! everybody and can be lifted again; and, where the system allows mounts, by a tiny filesystem.

mod common;

use crate::common::needs::{MOUNT, OWN_MOUNTS, UNSHARE, tests};
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};
use common::peer::{Incoming, Peer, put};
use common::{Place, Server, disk_usage, pattern, target, wait_until};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

tests! {
    []
        a_disk_that_fills_up_amid_an_upload_leaves_the_old_file_and_the_session_goes_on,
        a_quota_that_fills_up_amid_an_upload_leaves_the_old_file_and_the_session_goes_on,
        an_upload_that_met_a_full_disk_is_logged_once_kept_for_an_hour_and_resumed_once_there_is_room,
        a_full_log_disk_stops_nobody_and_is_told_on_stderr,
        a_log_disk_that_has_room_again_is_told_which_lines_are_missing,
        an_account_that_cannot_be_written_stays_as_it_was,
        a_download_that_finds_no_room_is_an_error_and_what_came_is_kept;
    [MOUNT, UNSHARE, OWN_MOUNTS]
        on_a_filesystem_without_room_every_change_is_refused_or_whole_and_removing_makes_room,
        a_partial_whose_record_finds_no_room_is_not_kept_and_leaves_nothing;
}

fn main() -> std::process::ExitCode {
    common::needs::run(&[TESTS])
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
    let mut command = common::needs::own_mounts();
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

fn on_a_filesystem_without_room_every_change_is_refused_or_whole_and_removing_makes_room() {
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
    wait_until("it tells", || server.program.stderr().contains("access.log: goes on; "));
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
    assert!(stderr.contains("too large"), "{stderr}");
    assert!(!place.here("file").exists());
    let ended = place.run(get()).expect_code(0);
    assert!(ended.stderr.contains("resuming at "), "{ended:?}");
    assert!(fs::read(place.here("file")).expect("fetched") == content);
}
