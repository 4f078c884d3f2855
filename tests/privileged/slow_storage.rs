//! A home on a file system that stands still holds up nobody else, and what was asked of it is accounted for when
//! the file system continues.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ftp_client::{FtpClient, configuration};
use crate::support::needs::{BINDFS, FUSE, MOUNTS, tests};
use crate::support::peer::Peer;
use crate::support::process::Program;
use crate::support::{Place, Server, pattern, wait_until};
use berth::wire::frame::{self, FrameType};
use berth::wire::message::ErrorCode;
use berth::wire::{Reply, Request};

tests! {
    [BINDFS, FUSE, MOUNTS]
        a_request_to_a_file_system_that_stands_still_is_answered_when_it_goes_on,
        requests_to_a_file_system_that_does_not_answer_are_refused_until_it_does,
        a_change_is_accounted_for_even_if_its_session_has_given_it_up_or_has_ended,
        a_download_from_a_slow_file_system_is_whole_and_can_be_cancelled,
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

    /// The path of `name` in the home of `ann`, past the slow file system. It knows nothing of a new name yet.
    fn source(&self, name: &str) -> PathBuf {
        self.place.path("source").join("ann").join(name)
    }

    fn stop(&self) {
        self.file_system.signal(Signal::STOP);
    }

    fn go_on(&self) {
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
        self.go_on();
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
    assert!(error.message.contains("disk does not answer"), "{error:?}");
}

fn stat(path: &str) -> Request {
    Request::Stat { path: path.into() }
}

fn a_request_to_a_file_system_that_stands_still_is_answered_when_it_goes_on() {
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
        slow.stop();
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
        slow.go_on();
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
    slow.stop();
    // One waits for the file system, another behind it, and the last comes later.
    sessions[0].request(&stat("/one"));
    sessions[1].request(&stat("/two"));
    sessions[..2].iter_mut().for_each(|session| expect_no_answer(&session.reply()));
    expect_no_answer(&sessions[2].ask(&stat("/three")));
    let reply = bob.ask(&stat("/"));
    assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
    let status = slow.place.admin(&["status"]).stdout;
    assert!(status.contains("slow: the file system does not answer"), "{status}");
    slow.go_on();
    slow.wait_for_answer();
    for (session, name) in sessions.iter_mut().zip(["/one", "/two", "/three"]) {
        let reply = session.ask(&stat(name));
        assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
    }
    let status = slow.place.admin(&["status"]).stdout;
    assert!(!status.contains("does not answer"), "{status}");
    // The home was not counted yet, so this needs the file system.
    let mut session = Peer::login(slow.server.address, "ann");
    slow.stop();
    expect_no_answer(&session.ask(&Request::Quota {}));
    slow.go_on();
    wait_until("it answers once more", || slow.server.program.stderr().matches("answers again").count() == 2);
    let reply = session.ask(&Request::List { path: "/".into() });
    assert!(matches!(reply, Reply::Page { .. }), "what was given up concerns no later request: {reply:?}");
}

fn a_change_is_accounted_for_even_if_its_session_has_given_it_up_or_has_ended() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": 1}}));
    for name in ["given-up", "left", "waiting"] {
        fs::write(slow.source(name), name).expect("writable");
    }
    let mut ann = Peer::login(slow.server.address, "ann");
    assert_eq!(used(&mut ann), (19, 3));
    slow.stop();
    expect_no_answer(&ann.ask(&Request::Rm { path: "/given-up".into() }));
    slow.go_on();
    slow.wait_for_answer();
    wait_until("it is removed", || used(&mut ann) == (11, 2));
    let mut leaving = Peer::login(slow.server.address, "ann");
    slow.stop();
    leaving.request(&Request::Rm { path: "/left".into() });
    ann.request(&Request::Rm { path: "/waiting".into() });
    drop(leaving);
    slow.go_on();
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
    slow.stop();
    let get = Request::Get { path: "/other".into(), offset: 0, etag: None, prefix_digest: None };
    let id = ann.request(&get);
    let mut cancel = Vec::new();
    frame::put_bytes(&mut cancel, FrameType::Abort, id, b"{}");
    ann.send(&cancel);
    slow.go_on();
    let reply = ann.reply();
    assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Cancelled), "{reply:?}");
    let reply = ann.ask(&stat("/other"));
    assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
}

fn commands_of_ftp_that_wait_are_answered_in_order() {
    let slow = SlowHome::new(json!({"timeouts": {"storage": "1h"}}));
    fs::create_dir(slow.source("directory")).expect("writable");
    fs::write(slow.source("directory/file"), "content").expect("writable");
    let mut ftp = FtpClient::login(&slow.server);
    slow.stop();
    for command in ["CWD directory", "SIZE file", "NOOP", "RNFR file", "RNTO other", "DELE other", "DELE other", "PWD"]
    {
        ftp.say(command);
    }
    let mut bob = Peer::login(slow.server.address, "bob");
    let reply = bob.ask(&stat("/"));
    assert!(matches!(reply, Reply::Stat { .. }), "{reply:?}");
    slow.go_on();
    let replies: Vec<String> = (0..8).map(|_| ftp.reply()[..3].to_string()).collect();
    assert_eq!(replies, ["250", "213", "200", "350", "250", "250", "550", "257"]);
    slow.stop();
    ftp.say("SIZE nothing");
    assert_eq!(&ftp.ask("ABOR")[..3], "426");
    assert_eq!(&ftp.reply()[..3], "226");
    assert_eq!(&ftp.ask("NOOP")[..3], "200", "the session goes on");
    slow.go_on();
    slow.verify();
}
