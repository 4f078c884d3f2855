//! A home on a file system that hangs delays no other home. Requests to it are accounted for when the file system
//! continues.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ftp_client::{FtpClient, configuration};
use crate::support::needs::{BINDFS, FUSE, MOUNTS, tests};
use crate::support::peer::{Incoming, Peer};
use crate::support::process::Program;
use crate::support::requests::Put;
use crate::support::{Place, Server, pattern, wait_until};
use berth::base::digest::Digest;
use berth::base::upload_id::UploadId;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{End, ErrorCode, PutMode};
use berth::wire::{Reply, Request};

tests! {
    [BINDFS, FUSE, MOUNTS]
        a_request_to_a_file_system_that_hangs_is_answered_when_it_continues,
        requests_to_a_file_system_that_does_not_answer_are_refused_until_it_does,
        a_change_is_accounted_for_even_if_its_session_has_given_it_up_or_has_ended,
        a_download_from_a_slow_file_system_is_whole_and_can_be_cancelled,
        an_upload_waits_wherever_its_file_system_hangs,
        an_upload_that_gets_no_answer_is_refused_and_can_be_resumed,
        an_upload_that_is_cut_off_while_its_file_system_hangs_can_be_resumed,
        uploads_over_ftp_wait_and_are_stored_in_order,
        a_file_system_mounted_in_a_home_delays_only_that_home,
        commands_of_ftp_that_wait_are_answered_in_order;
}

/// A file system of another program, mounted at a home root. `ann` has her home there, and `bob` elsewhere.
struct SlowHome {
    place: Place,
    server: Server,
    file_system: Program,
}

impl SlowHome {
    fn new(mut changes: Value) -> Self {
        changes["home_roots"] = json!(["homes", "slow"]);
        let place = Place::with(configuration(json!({}), changes));
        let (mounted, source) = (place.path("slow"), place.path("source"));
        [&mounted, &source].into_iter().for_each(|directory| fs::create_dir(directory).expect("writable"));
        let mut command = Command::new("bindfs");
        // Nothing is cached by the kernel, so that each request needs the file system.
        command.args(["-f", "-o", "entry_timeout=0,attr_timeout=0,negative_timeout=0"]).args([&source, &mounted]);
        let file_system = Program::start(command, place.path("here").as_path());
        wait_until("it is mounted", || is_mount(&mounted));
        place.add("ann", &["--home", mounted.join("ann").to_str().expect("UTF-8")]);
        place.add("bob", &[]);
        let server = place.serve();
        Self { place, server, file_system }
    }

    /// The path of `name` in the home of `ann`, below the slow file system, which does not delay access to it.
    fn source(&self, name: &str) -> PathBuf {
        self.place.path("source").join("ann").join(name)
    }

    fn freeze(&self) {
        self.file_system.signal(Signal::STOP);
    }

    fn thaw(&self) {
        self.file_system.signal(Signal::CONT);
    }

    fn wait_for_answer(&self) {
        wait_until("it answers", || self.server.program.stderr().contains("the file system answers again"));
    }

    fn verify(&self) {
        self.place.admin(&["usage", "ann", "--verify"]);
    }
}

impl Drop for SlowHome {
    fn drop(&mut self) {
        self.thaw();
        let _ = Command::new("umount").arg("-l").arg(self.place.path("slow")).status();
    }
}

fn is_mount(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

fn used(peer: &mut Peer) -> (u64, u64) {
    let reply = peer.ask(&Request::Quota {});
    let Reply::Quota(report) = reply else { panic!("a report, not {reply:?}") };
    (report.used_bytes, report.used_files)
}

#[track_caller]
fn expect_no_answer(reply: &Reply) {
    let Reply::Error(error) = reply else { panic!("an error, not {reply:?}") };
    assert_eq!((error.code, error.retry, error.fatal), (ErrorCode::Io, true, false), "{error:?}");
    assert!(error.message.contains("file system does not answer"), "{error:?}");
}

fn stat(path: &str) -> Request {
    Request::Stat { path: path.into() }
}

fn a_request_to_a_file_system_that_hangs_is_answered_when_it_continues() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": "1h"}}));
    let directories = ["listed", "empty"];
    directories.into_iter().for_each(|name| fs::create_dir(slow.source(name)).expect("writable"));
    for name in ["looked-at", "listed/entry", "hashed", "removed", "renamed", "touched"] {
        fs::write(slow.source(name), name).expect("writable");
    }
    let path = |name: &str| format!("/{name}").as_str().into();
    let requests = [
        stat("/looked-at"),
        Request::List { path: path("listed") },
        Request::Digest { path: path("hashed"), algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS },
        Request::Mkdir { path: path("made"), parents: false, permissions: None },
        Request::Rm { path: path("removed") },
        Request::Rmdir { path: path("empty") },
        Request::Mv { from: path("renamed"), to: path("new-name"), replace: false },
        Request::SetPermissions { path: path("touched"), permissions: 0o600 },
    ];
    let mut bob = Peer::login(slow.server.address, "bob");
    for request in requests {
        let mut ann = Peer::login(slow.server.address, "ann");
        used(&mut ann);
        slow.freeze();
        ann.request(&request);
        let made = Request::Mkdir { path: "/directory".into(), parents: false, permissions: None };
        for (request, is_right) in [
            (made, (|reply| matches!(reply, Reply::Done {})) as fn(&Reply) -> bool),
            (stat("/directory"), |reply| matches!(reply, Reply::Stat { .. })),
            (Request::Rmdir { path: "/directory".into() }, |reply| matches!(reply, Reply::Done {})),
        ] {
            let reply = bob.ask(&request);
            assert!(is_right(&reply), "{reply:?}");
        }
        assert!(!ann.has_answer(), "{request:?} waits");
        slow.thaw();
        let reply = ann.reply();
        assert!(!matches!(reply, Reply::Error(_)), "{request:?}: {reply:?}");
    }
    assert!(slow.source("made").is_dir() && slow.source("new-name").is_file());
    assert!(!slow.source("removed").exists() && !slow.source("empty").exists());
    slow.verify();
}

fn requests_to_a_file_system_that_does_not_answer_are_refused_until_it_does() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": 1}}));
    for name in ["one", "two", "three"] {
        fs::write(slow.source(name), name).expect("writable");
    }
    let mut sessions: Vec<Peer> = (0..3).map(|_| Peer::login(slow.server.address, "ann")).collect();
    let mut bob = Peer::login(slow.server.address, "bob");
    slow.freeze();
    // The first request is running, the second is queued behind it, and the third comes later.
    sessions[0].request(&stat("/one"));
    sessions[1].request(&stat("/two"));
    sessions[..2].iter_mut().for_each(|session| expect_no_answer(&session.reply()));
    expect_no_answer(&sessions[2].ask(&stat("/three")));
    let reply = bob.ask(&stat("/"));
    assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
    let status = slow.place.admin(&["status"]).stdout;
    assert!(status.contains("slow: the file system does not answer"), "{status}");
    slow.thaw();
    slow.wait_for_answer();
    for (session, name) in sessions.iter_mut().zip(["/one", "/two", "/three"]) {
        let reply = session.ask(&stat(name));
        assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
    }
    let status = slow.place.admin(&["status"]).stdout;
    assert!(!status.contains("does not answer"), "{status}");
    // The home has not been counted yet, so this request needs the file system.
    let mut session = Peer::login(slow.server.address, "ann");
    slow.freeze();
    expect_no_answer(&session.ask(&Request::Quota {}));
    slow.thaw();
    wait_until("it answers once more", || slow.server.program.stderr().matches("answers again").count() == 2);
    let reply = session.ask(&Request::List { path: "/".into() });
    assert!(matches!(reply, Reply::Page { .. }), "the refused request does not affect a later one: {reply:?}");
}

fn a_change_is_accounted_for_even_if_its_session_has_given_it_up_or_has_ended() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": 1}}));
    for name in ["given-up", "left", "waiting"] {
        fs::write(slow.source(name), name).expect("writable");
    }
    let mut ann = Peer::login(slow.server.address, "ann");
    assert_eq!(used(&mut ann), (19, 3));
    slow.freeze();
    expect_no_answer(&ann.ask(&Request::Rm { path: "/given-up".into() }));
    slow.thaw();
    slow.wait_for_answer();
    wait_until("it is removed", || used(&mut ann) == (11, 2));
    let mut leaving = Peer::login(slow.server.address, "ann");
    slow.freeze();
    leaving.request(&Request::Rm { path: "/left".into() });
    ann.request(&Request::Rm { path: "/waiting".into() });
    drop(leaving);
    slow.thaw();
    let reply = ann.reply();
    assert!(matches!(reply, Reply::Done {}), "{reply:?}");
    wait_until("both are removed", || used(&mut ann) == (0, 0));
    slow.verify();
}

fn a_download_from_a_slow_file_system_is_whole_and_can_be_cancelled() {
    let slow = SlowHome::new(json!({}));
    let content = pattern(7, 3 << 20);
    fs::write(slow.source("file"), &content).expect("writable");
    for _ in 0..2 {
        slow.place.run(slow.place.berth(&[&slow.server.target("ann"), "get", "-f", "file", "copy"])).expect_code(0);
        assert!(fs::read(slow.place.here("copy")).expect("downloaded") == content);
    }
    let mut ftp = FtpClient::login(&slow.server);
    ftp.ask("TYPE I");
    let mut data = ftp.begin("RETR file");
    let mut received = Vec::new();
    std::io::Read::read_to_end(&mut data, &mut received).expect("all of it");
    assert!(received == content);
    assert!(ftp.reply().starts_with("226"));
    let mut ann = Peer::login(slow.server.address, "ann");
    fs::write(slow.source("other"), &content).expect("writable");
    slow.freeze();
    let get = Request::Get { path: "/other".into(), offset: 0, etag: None, prefix_digest: None };
    let id = ann.request(&get);
    let mut cancel = Vec::new();
    frame::put_bytes(&mut cancel, FrameType::Abort, id, b"{}");
    ann.send(&cancel);
    let reply = ann.reply();
    assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Cancelled), "{reply:?}");
    slow.thaw();
    let reply = ann.ask(&stat("/other"));
    assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
}

/// The frames of data of an upload.
fn data(id: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    content.chunks(256 * 1024).for_each(|piece| frame::put_bytes(&mut bytes, FrameType::Data, id, piece));
    bytes
}

/// The frame that ends an upload.
fn end(id: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put_json(&mut bytes, FrameType::End, id, &End { size: content.len() as u64, digest: Digest::of(content) });
    bytes
}

fn resumable(path: &str, size: usize, resume: bool) -> Request {
    let upload_id = Some(UploadId([7; 16]));
    let size = Some(size as u64);
    Put { path: path.into(), size, mode: PutMode::Replace, upload_id, resume, ..Put::default() }.request()
}

/// Expects that an upload and a request to another home are answered.
#[track_caller]
fn expect_served(peer: &mut Peer) {
    let reply = peer.put("/served", b"content", PutMode::Replace);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    let reply = peer.ask(&stat("/served"));
    assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
}

/// A part of a pipelined upload is sent before the file system hangs, and the rest meanwhile.
fn an_upload_waits_wherever_its_file_system_hangs() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": "1h"}, "sync": "full"}));
    let mut bob = Peer::login(slow.server.address, "bob");
    let content = pattern(3, 1 << 20);
    (0..4).for_each(|number| fs::write(slow.source(&format!("replaced{number}")), "old").expect("writable"));
    for (number, sent) in ["nothing", "request", "half", "all"].into_iter().enumerate() {
        for name in ["new", "replaced"] {
            let path = format!("/{name}{number}");
            let mut ann = Peer::login(slow.server.address, "ann");
            let before = used(&mut ann);
            let (id, request) = ann.encode(&resumable(&path, content.len(), false));
            let all = [request.clone(), data(id, &content), end(id, &content)].concat();
            let first = match sent {
                "nothing" => 0,
                "request" => request.len(),
                "half" => all.len() / 2,
                _ => all.len() - 1,
            };
            ann.send(&all[..first]);
            if sent == "half" {
                wait_until("a part is stored", || used(&mut Peer::login(slow.server.address, "ann")) > before);
            }
            slow.freeze();
            ann.send(&all[first..]);
            let after = ann.request(&stat(&path));
            expect_served(&mut bob);
            assert!(!ann.has_answer(), "{path} waits after {sent}");
            slow.thaw();
            let reply = ann.reply();
            assert!(matches!(reply, Reply::Stored { size: 1_048_576, .. }), "{path} after {sent}: {reply:?}");
            match ann.receive() {
                Ok(Incoming::Reply(id, Reply::Stat { .. })) => assert_eq!(id, after),
                other => panic!("the next reply, not {other:?}"),
            }
            assert!(fs::read(slow.source(&path[1..])).expect("stored") == content, "{path}");
        }
    }
    slow.verify();
}

fn an_upload_that_gets_no_answer_is_refused_and_can_be_resumed() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": 1}, "sync": "data"}));
    let content = pattern(4, 2 << 20);
    let mut ann = Peer::login(slow.server.address, "ann");
    used(&mut ann);
    slow.freeze();
    expect_no_answer(&ann.ask(&resumable("/file", content.len(), false)));
    slow.thaw();
    slow.wait_for_answer();
    drop(ann);
    let mut ann = Peer::login(slow.server.address, "ann");
    let id = ann.request(&resumable("/file", content.len(), false));
    ann.send(&data(id, &content[..1 << 20]));
    wait_until("half is stored", || used(&mut Peer::login(slow.server.address, "ann")).0 == 1 << 20);
    slow.freeze();
    ann.send(&data(id, &content[1 << 20..]));
    expect_no_answer(&ann.reply());
    slow.thaw();
    wait_until("it answers", || slow.server.program.stderr().matches("answers again").count() == 2);
    ann.send(&end(id, &content));
    let id = ann.request(&resumable("/file", content.len(), true));
    let Reply::Ready { offset, prefix_digest } = ann.reply() else { panic!("it can be resumed") };
    let offset = usize::try_from(offset).expect("small");
    assert!(offset >= 1 << 20 && prefix_digest == Digest::of(&content[..offset]), "{offset}");
    ann.send(&[data(id, &content[offset..]), end(id, &content)].concat());
    let reply = ann.reply();
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert!(fs::read(slow.source("file")).expect("stored") == content);
    assert_eq!(used(&mut ann), (2 << 20, 1));
    slow.verify();
}

fn an_upload_that_is_cut_off_while_its_file_system_hangs_can_be_resumed() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": "1h"}}));
    let content = pattern(5, 2 << 20);
    let mut ann = Peer::login(slow.server.address, "ann");
    used(&mut ann);
    let id = ann.request(&resumable("/file", content.len(), false));
    ann.send(&data(id, &content[..1 << 20]));
    wait_until("half is stored", || used(&mut Peer::login(slow.server.address, "ann")).0 == 1 << 20);
    let mut other = Peer::login(slow.server.address, "ann");
    slow.freeze();
    ann.send(&data(id, &content[1 << 20..(1 << 20) + 100_000]));
    drop(ann);
    let id = other.request(&resumable("/file", content.len(), true));
    expect_served(&mut Peer::login(slow.server.address, "bob"));
    assert!(!other.has_answer());
    slow.thaw();
    let Reply::Ready { offset, prefix_digest } = other.reply() else { panic!("it can be resumed") };
    let offset = usize::try_from(offset).expect("small");
    assert!(offset >= 1 << 20 && prefix_digest == Digest::of(&content[..offset]), "{offset}");
    other.send(&[data(id, &content[offset..]), end(id, &content)].concat());
    let reply = other.reply();
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert!(fs::read(slow.source("file")).expect("stored") == content);
    slow.verify();
}

fn uploads_over_ftp_wait_and_are_stored_in_order() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": "1h"}, "sync": "data"}));
    let content = pattern(6, 700_000);
    let mut bob = Peer::login(slow.server.address, "bob");
    let mut expected = Vec::new();
    let mut ftp = FtpClient::login(&slow.server);
    ftp.ask("TYPE I");
    for command in ["STOR file", "APPE file", "STOU"] {
        let passive = ftp.ask("EPSV");
        let port = passive.split('|').nth(3).expect("a port").parse::<u16>().expect("a number");
        slow.freeze();
        let mut data = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        ftp.say(command);
        expect_served(&mut bob);
        slow.thaw();
        let begun = ftp.reply();
        assert!(begun.starts_with("150 "), "{command}: {begun}");
        slow.freeze();
        std::io::Write::write_all(&mut data, &content[..100_000]).expect("the server reads");
        expect_served(&mut bob);
        slow.thaw();
        std::io::Write::write_all(&mut data, &content[100_000..]).expect("the server reads");
        drop(data);
        let stored = ftp.reply();
        assert!(stored.starts_with("226 "), "{command}: {stored}");
        if command == "STOU" {
            let name = begun.trim().strip_prefix("150 FILE: ").expect("the name");
            assert!(fs::read(slow.source(name)).expect("stored") == content);
        } else {
            expected.extend_from_slice(&content);
            assert!(fs::read(slow.source("file")).expect("stored") == expected, "{command}");
        }
    }
    slow.verify();
}

/// The home itself is on a quick file system.
fn a_file_system_mounted_in_a_home_delays_only_that_home() {
    let place = Place::with(configuration(json!({}), json!({"timeouts": {"storage": "1h"}})));
    let source = place.path("source");
    fs::create_dir(&source).expect("writable");
    place.add("ann", &[]);
    place.add("bob", &[]);
    let mounted = place.home("ann", "disk");
    fs::create_dir(&mounted).expect("writable");
    let mut command = Command::new("bindfs");
    command.args(["-f", "-o", "entry_timeout=0,attr_timeout=0,negative_timeout=0"]).args([&source, &mounted]);
    let file_system = Program::start(command, place.path("here").as_path());
    wait_until("it is mounted", || is_mount(&mounted));
    let _guard = MountGuard { file_system: &file_system, at: mounted };
    let server = place.serve();
    let (mut ann, mut bob) = (Peer::login(server.address, "ann"), Peer::login(server.address, "bob"));
    let reply = ann.put("/disk/file", b"content", PutMode::Create);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    file_system.signal(Signal::STOP);
    ann.request(&stat("/disk/file"));
    expect_served(&mut bob);
    expect_served(&mut Peer::login(server.address, "bob"));
    assert!(!ann.has_answer());
    file_system.signal(Signal::CONT);
    let reply = ann.reply();
    assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
    expect_served(&mut ann);
}

/// Continues a file system and unmounts it when dropped.
struct MountGuard<'a> {
    file_system: &'a Program,
    at: PathBuf,
}

impl Drop for MountGuard<'_> {
    fn drop(&mut self) {
        self.file_system.signal(Signal::CONT);
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn commands_of_ftp_that_wait_are_answered_in_order() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": "1h"}}));
    fs::create_dir(slow.source("directory")).expect("writable");
    fs::write(slow.source("directory/file"), "content").expect("writable");
    let mut ftp = FtpClient::login(&slow.server);
    slow.freeze();
    for command in ["CWD directory", "SIZE file", "NOOP", "RNFR file", "RNTO other", "DELE other", "DELE other", "PWD"]
    {
        ftp.say(command);
    }
    let mut bob = Peer::login(slow.server.address, "bob");
    let reply = bob.ask(&stat("/"));
    assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
    slow.thaw();
    let replies: Vec<String> = (0..8).map(|_| ftp.reply()[..3].to_string()).collect();
    assert_eq!(replies, ["250", "213", "200", "350", "250", "250", "550", "257"]);
    slow.freeze();
    ftp.say("SIZE nothing");
    assert_eq!(&ftp.ask("ABOR")[..3], "426");
    assert_eq!(&ftp.reply()[..3], "226");
    assert_eq!(&ftp.ask("NOOP")[..3], "200", "the session continues");
    slow.thaw();
    slow.verify();
}
