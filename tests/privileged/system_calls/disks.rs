//! Disks that are slow or do not answer: they delay only what needs them, and no wait is endless.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::trace::{self, Call, watched};
use crate::support::ftp_client::{configuration, listening};
use crate::support::needs::{CURL, STRACE, TRACING, tests};
use crate::support::peer::{Incoming, Peer, put};
use crate::support::process::{Ended, kill};
use crate::support::{PASSWORD, Place, Server, pattern, wait_until};
use berth::base::digest::Digest;
use berth::base::upload_id::UploadId;
use berth::store::syncer::SYNC_STEP_BYTES;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{End, ErrorCode, PutMode};
use berth::wire::{Reply, Request};

tests! {
    [STRACE, TRACING]
        an_upload_to_one_disk_is_acknowledged_while_the_sync_of_another_hangs,
        an_upload_refused_because_of_a_hanging_disk_can_be_resumed_later,
        a_sync_that_fails_after_it_was_given_up_leaves_nothing_to_be_resumed,
        a_name_whose_directory_the_disk_does_not_sync_is_not_acknowledged,
        idle_uploads_of_one_account_do_not_make_another_account_sync_each_piece,
        bytes_of_an_upload_that_stands_still_are_synced_without_its_end,
        removing_a_file_or_directory_leaves_to_the_worker_what_takes_long;
    [CURL, STRACE, TRACING]
        an_upload_that_waits_for_a_disk_without_an_answer_is_refused_and_the_session_goes_on;
}

/// Longer than any test.
const HANG: &str = "delay_enter=1000000000";

/// The first of these on another file system than `place`.
fn other_disk(place: &Place) -> tempfile::TempDir {
    let device = |path: &Path| fs::metadata(path).map(|directory| directory.dev()).ok();
    let own = device(&place.path("conf"));
    let directories = ["/dev/shm", "/tmp", env!("CARGO_TARGET_TMPDIR")].map(Path::new);
    let other = directories.into_iter().find(|directory| device(directory).is_some_and(|other| Some(other) != own));
    let other = other.expect("this test needs two file systems: mount a tmpfs at /dev/shm");
    tempfile::tempdir_in(other).expect("writable")
}

/// A server that syncs, with the account `ann`, to whose calls strace does this.
fn serve(changes: Value, inject: &str) -> (Place, WatchState) {
    let place = place(changes);
    let server = serve_with(&place, inject);
    (place, server)
}

fn place(mut changes: Value) -> Place {
    if changes.get("sync").is_none() {
        changes["sync"] = "data".into();
    }
    let place = Place::with(configuration(json!({}), changes));
    place.add("ann", &[]);
    // Its key is made before the calls are counted.
    drop(place.serve());
    place
}

/// A server under strace. A call that strace holds back keeps it from noticing the end of the program.
struct WatchState(Server);

impl WatchState {
    /// Lets all calls go on.
    fn release(&self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.program.pid())).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok());
        tracer.filter(|&tracer| tracer != 0).into_iter().for_each(|tracer| kill(tracer, Signal::KILL));
    }
}

impl std::ops::Deref for WatchState {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Drop for WatchState {
    fn drop(&mut self) {
        self.release();
    }
}

fn serve_with(place: &Place, inject: &str) -> WatchState {
    let name = inject.split(':').next().expect("a call");
    // One that hangs is written down when another thread makes a call.
    let calls = format!("{name},fdatasync,epoll_wait,epoll_pwait");
    let inject = format!("inject={inject}");
    WatchState(place.serve_as(watched(&place.berthd(&["serve"]), &trace::file(place), &calls, &["-e", &inject])))
}

fn store(peer: &mut Peer, path: &str, content: &[u8]) {
    let reply = peer.put(path, content, PutMode::Create);
    assert!(matches!(reply, Reply::Stored { .. }), "{path}: {reply:?}");
}

/// Sends a request and the data of an upload, and its end.
fn send_upload(peer: &mut Peer, request: &Request, content: &[u8], whole: &[u8]) {
    let id = peer.request(request);
    send_data(peer, id, content);
    let mut end = Vec::new();
    let digest = Digest::of(whole);
    frame::put_json(&mut end, FrameType::End, id, &End { size: whole.len() as u64, digest });
    peer.send(&end);
}

fn send_data(peer: &mut Peer, id: u32, content: &[u8]) {
    for piece in content.chunks(256 * 1024) {
        let mut data = Vec::new();
        frame::put_bytes(&mut data, FrameType::Data, id, piece);
        peer.send(&data);
    }
}

fn resumable(path: &str, size: usize, resume: bool) -> Request {
    let mut request = put(path, size as u64, PutMode::Create);
    if let Request::Put { upload_id, resume: resumes, .. } = &mut request {
        (*upload_id, *resumes) = (Some(UploadId([7; 16])), resume);
    }
    request
}

#[track_caller]
fn expect_no_answer(reply: &Reply, path: &str) {
    let Reply::Error(error) = reply else { panic!("an error, not {reply:?}") };
    assert_eq!((error.code, error.retry, error.fatal), (ErrorCode::Io, true, false), "{error:?}");
    assert!(error.message.starts_with(&format!("{path}: ")), "{error:?}");
    assert!(error.message.contains("file system does not answer"), "{error:?}");
}

/// The second sync of each thread never ends. The test counts the sessions that get a reply.
fn an_upload_to_one_disk_is_acknowledged_while_the_sync_of_another_hangs() {
    let place = place(json!({"timeouts": {"storage": "1h"}}));
    let other = other_disk(&place);
    let roots = json!(["homes", other.path()]);
    place.configure(configuration(
        json!({}),
        json!({"sync": "data", "home_roots": roots, "timeouts": {"storage": "1h"}}),
    ));
    place.add("bob", &["--home", other.path().join("bob").to_str().expect("UTF-8")]);
    let server = serve_with(&place, &format!("fdatasync:{HANG}:when=2"));
    let (mut ann, mut bob) = (Peer::login(server.address, "ann"), Peer::login(server.address, "bob"));
    store(&mut ann, "/first", b"one");
    send_upload(&mut ann, &put("/second", 3, PutMode::Create), b"two", b"two");
    wait_until("the disk was asked", || used(&mut bob) == 0 && trace::begun(&place, "fdatasync") == 2);
    store(&mut bob, "/file", b"bob's");
    assert_eq!(fs::read(other.path().join("bob/file")).expect("stored"), b"bob's");
    assert!(!ann.has_answer() && !place.home("ann", "second").exists());
}

fn an_upload_that_waits_for_a_disk_without_an_answer_is_refused_and_the_session_goes_on() {
    let (place, mut server) =
        serve(json!({"timeouts": {"storage": 1, "drain": 0}}), &format!("fdatasync:{HANG}:when=2"));
    let mut ann = Peer::login(server.address, "ann");
    store(&mut ann, "/first", b"one");
    // One waits for the disk, the other behind it.
    let mut other = Peer::login(server.address, "ann");
    send_upload(&mut ann, &put("/second", 3, PutMode::Create), b"two", b"two");
    wait_until("the disk was asked", || used(&mut other) > 0 && trace::begun(&place, "fdatasync") == 2);
    send_upload(&mut other, &put("/third", 3, PutMode::Create), b"tri", b"tri");
    expect_no_answer(&ann.reply(), "/second");
    expect_no_answer(&other.reply(), "/third");
    // From now on nobody waits.
    expect_no_answer(&ann.put("/fourth", b"new", PutMode::Create), "/fourth");
    // The file that the disk was asked for is open there, and charged for.
    assert_eq!(used(&mut ann), 6);
    let ended = curl_put(&place, &server, "fifth");
    assert!(
        ended.stderr.contains("451 The server's file system does not answer"),
        "nobody enters a home there: {ended:?}"
    );
    let status = place.admin(&["status"]).stdout;
    let homes = place.path("homes").display().to_string();
    assert!(status.contains(&format!("{homes}: the file system does not answer")), "{status}");
    let said = server.program.stderr();
    assert_eq!(said.matches("has not answered").count(), 1, "{said}");
    assert!(said.contains(&format!("{homes}: the file system has not answered for 1 s")), "{said}");
    assert_eq!(trace::begun(&place, "fdatasync"), 2, "the disk was asked no more");
    for name in ["second", "third", "fourth"] {
        assert!(!place.home("ann", name).exists(), "{name}");
    }
    server.program.signal(Signal::TERM);
    wait_until("it has stopped", || server.program.stderr().contains("INFO  stopped"));
    server.release();
    server.0.program.wait().expect_code(0);
}

fn curl_put(place: &Place, server: &Server, path: &str) -> Ended {
    fs::write(place.here("up"), b"content").expect("writable");
    let mut command = std::process::Command::new("curl");
    let url = format!("ftp://{}/{path}", listening(server, "ftp"));
    command.args(["-sSv", "-u", &format!("ann:{PASSWORD}"), "-T", "up", &url]).current_dir(place.path("here"));
    place.run(command)
}

/// Amid an upload, so that there is something to be gone on with.
fn an_upload_refused_because_of_a_hanging_disk_can_be_resumed_later() {
    let content = pattern(1, 40 << 20);
    let (place, server) = serve(json!({"timeouts": {"storage": 1}}), "fdatasync:delay_enter=5000000:when=2");
    let mut ann = Peer::login(server.address, "ann");
    let id = ann.request(&resumable("/file", content.len(), false));
    send_data(&mut ann, id, &content[..20 << 20]);
    expect_no_answer(&ann.reply(), "/file");
    wait_until("the disk answers", || server.program.stderr().contains("the file system answers again"));
    // What comes late is not taken for the answer to anything else.
    let mut again = Peer::login(server.address, "ann");
    let id = again.request(&resumable("/file", content.len(), true));
    let reply = again.reply();
    let Reply::Ready { offset, .. } = reply else { panic!("it is offered, not {reply:?}") };
    assert!(offset >= 16 << 20, "{offset} bytes are kept");
    send_data(&mut again, id, &content[offset as usize..]);
    let mut end = Vec::new();
    frame::put_json(&mut end, FrameType::End, id, &End { size: content.len() as u64, digest: Digest::of(&content) });
    again.send(&end);
    let reply = again.reply();
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert!(fs::read(place.home("ann", "file")).expect("stored") == content);
    place.admin(&["usage", "ann", "--verify"]);
}

/// The answer was given up, and the disk has lost the bytes all the same.
fn a_sync_that_fails_after_it_was_given_up_leaves_nothing_to_be_resumed() {
    let content = pattern(1, 40 << 20);
    let inject = "fdatasync:error=EIO:delay_enter=4000000:when=2";
    let (place, server) = serve(json!({"timeouts": {"storage": 1}}), inject);
    let mut ann = Peer::login(server.address, "ann");
    let id = ann.request(&resumable("/file", content.len(), false));
    send_data(&mut ann, id, &content[..20 << 20]);
    expect_no_answer(&ann.reply(), "/file");
    wait_until("the disk answers", || server.program.stderr().contains("the file system answers again"));
    wait_until("nothing is kept", || fs::read_dir(place.home("ann", ".berth")).map_or(0, Iterator::count) == 0);
    let mut again = Peer::login(server.address, "ann");
    again.request(&resumable("/file", content.len(), true));
    let reply = again.reply();
    assert!(matches!(reply, Reply::Ready { offset: 0, .. }), "{reply:?}");
}

fn a_name_whose_directory_the_disk_does_not_sync_is_not_acknowledged() {
    let (place, server) = serve(json!({"sync": "full", "timeouts": {"storage": 1}}), &format!("fsync:{HANG}:when=1"));
    let mut ann = Peer::login(server.address, "ann");
    expect_no_answer(&ann.put("/file", b"content", PutMode::Create), "/file");
    assert!(matches!(ann.ask(&Request::Quota {}), Reply::Quota(report) if report.used_files == 1));
    assert!(place.home("ann", "file").exists(), "it may be there, and may not be after a power cut");
}

// ---- What is written and not yet synced ---------------------------------------------------

fn syncs_of(place: &Place, account: &str) -> usize {
    let home = format!("/homes/{account}/");
    let is_its = |call: &&Call| call.name == "fdatasync" && call.path().contains(&home);
    trace::so_far(place).iter().filter(is_its).count()
}

/// Begins an upload and sends this much of it.
fn begin_idle(place: &Place, server: &Server, name: &str, bytes: usize) -> Peer {
    let mut peer = Peer::login(server.address, "ann");
    let before = used(&mut peer);
    let id = peer.request(&put(&format!("/{name}"), 1 << 30, PutMode::Create));
    send_data(&mut peer, id, &pattern(1, bytes));
    let mut watch = Peer::login(server.address, "ann");
    wait_until("all has come", || used(&mut watch) >= before + bytes as u64);
    let _ = place;
    peer
}

fn used(peer: &mut Peer) -> u64 {
    match peer.ask(&Request::Quota {}) {
        Reply::Quota(report) => report.used_bytes,
        other => panic!("a report, not {other:?}"),
    }
}

/// Each upload holds as much as it may without being synced. A sync takes 10 ms.
fn idle_uploads_of_one_account_do_not_make_another_account_sync_each_piece() {
    let (place, server) = serve(json!({}), "fdatasync:delay_enter=10000");
    place.add("bob", &[]);
    let held = SYNC_STEP_BYTES as usize - 1;
    let idle: Vec<Peer> = (0..9).map(|n| begin_idle(&place, &server, &format!("idle{n}"), held)).collect();
    let content = pattern(2, 64 << 20);
    let mut bob = Peer::login(server.address, "bob");
    store(&mut bob, "/file", &content);
    let syncs = syncs_of(&place, "bob");
    let steps = content.len() / SYNC_STEP_BYTES as usize;
    assert!(syncs <= 2 * steps, "{syncs} syncs of {steps} times what is synced at once");
    drop(idle);
}

fn bytes_of_an_upload_that_stands_still_are_synced_without_its_end() {
    let (place, server) = serve(json!({}), "fdatasync:delay_enter=1");
    let _idle = begin_idle(&place, &server, "idle", 3 << 20);
    wait_until("it is synced", || syncs_of(&place, "ann") == 1);
    let record = |entry: fs::DirEntry| fs::read_to_string(entry.path()).unwrap_or_default();
    assert!(
        !fs::read_dir(place.home("ann", ".berth"))
            .into_iter()
            .flatten()
            .flatten()
            .map(record)
            .any(|r| r.contains("\"synced\":1"))
    );
}

// ---- What is removed ----------------------------------------------------------------------

/// A directory on a disk, where what a file fills takes long to be freed.
fn disk_directory() -> tempfile::TempDir {
    let is_disk = |directory: &&Path| {
        let kinds = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1];
        rustix::fs::statfs(*directory).is_ok_and(|stat| kinds.contains(&stat.f_type))
    };
    let (own, target) = (std::env::temp_dir(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let directory = [own.as_path(), target].into_iter().find(is_disk);
    let directory = directory.expect("this test needs TMPDIR or the target folder on ext4, XFS, Btrfs, F2FS or ZFS");
    tempfile::tempdir_in(directory).expect("writable")
}

/// Freeing takes a hundred times as long as removing a name, and waits for the file system's journal.
fn removing_a_file_or_directory_leaves_to_the_worker_what_takes_long() {
    let disk = disk_directory();
    let place = Place::with(json!({"sync": "data", "home_roots": [disk.path()]}));
    place.add("ann", &[]);
    let server = WatchState(place.serve_as(watched(
        &place.berthd(&["serve"]),
        &trace::file(&place),
        "openat,unlinkat,renameat2,renameat,close",
        &[],
    )));
    let mut ann = Peer::login(server.address, "ann");
    for name in ["/file", "/moved", "/replaced"] {
        store(&mut ann, name, b"content");
    }
    let done = |reply: Reply| assert!(matches!(reply, Reply::Done {}), "{reply:?}");
    done(ann.ask(&Request::Mkdir { path: "/folder".into(), parents: false, permissions: None }));
    done(ann.ask(&Request::Rm { path: "/file".into() }));
    done(ann.ask(&Request::Rmdir { path: "/folder".into() }));
    done(ann.ask(&Request::Mv { from: "/moved".into(), to: "/replaced".into(), replace: true }));
    let calls = |place: &Place| trace::so_far(place);
    let home = disk.path().join("ann").display().to_string();
    for name in ["file", "folder", "replaced"] {
        let path = format!("{home}/{name}");
        let is_held = |call: &Call| call.name == "openat" && call.arguments.contains("O_PATH") && call.opened() == path;
        wait_until(name, || {
            let calls = calls(&place);
            let Some(held) = calls.iter().find(|call| is_held(call)) else { return false };
            let is_its =
                |call: &&Call| call.name == "close" && call.began > held.ended && call.path().starts_with(&path);
            let thread = calls.iter().find(is_its).map(|closed| closed.thread);
            assert!(thread != Some(held.thread), "{name} was freed within the loop");
            thread.is_some()
        });
    }
    // Many at once: replies in order, and nothing is charged for in the end.
    let content = vec![b'x'; 5000];
    for number in 0..200 {
        store(&mut ann, &format!("/many{number}"), &content);
    }
    let ids: Vec<u32> =
        (0..200).map(|n| ann.request(&Request::Rm { path: format!("/many{n}").as_str().into() })).collect();
    for id in ids {
        match ann.receive() {
            Ok(Incoming::Reply(answered, Reply::Done {})) => assert_eq!(answered, id),
            other => panic!("the answer to {id}, not {other:?}"),
        }
    }
    assert_eq!(used(&mut ann), 7);
    place.admin(&["usage", "ann", "--verify"]);
}
