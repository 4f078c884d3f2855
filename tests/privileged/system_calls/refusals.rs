//! File systems that refuse some calls of the server: a refused call costs only its own purpose, never the content
//! or the name of a file. `strace` refuses the calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use crate::support::needs::{ATTRIBUTES, SETFATTR, STRACE, TRACING, tests};
use crate::support::peer::{Peer, put};
use crate::support::{Place, Server, pattern, wait_until};
use berth::wire::message::PutMode;
use berth::wire::{Reply, Request};

tests! {
    [SETFATTR, STRACE, TRACING, ATTRIBUTES]
        what_a_file_system_refuses_costs_neither_content_nor_name_and_is_warned_of_once;
    [STRACE, TRACING]
        a_disk_that_fails_is_no_refusal;
}

/// Refuses calls of a running server until it is dropped.
struct Refusing(Child);

impl Refusing {
    fn new(place: &Place, server: &Server, injections: &[String]) -> Self {
        let calls: Vec<&str> = injections.iter().filter_map(|text| text.split(':').next()).collect();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", &format!("trace={}", calls.join(","))]);
        for injection in injections {
            strace.args(["-e", &format!("inject={injection}")]);
        }
        strace.arg("-o").arg(place.path("io/trace")).args(["-p", &server.program.pid().to_string()]);
        let said = place.path("io/attached");
        let stderr = fs::File::create(&said).expect("writable");
        let child = strace.stderr(stderr).stdin(Stdio::null()).spawn().expect("strace");
        let is_attached = || fs::read_to_string(&said).is_ok_and(|text| text.contains("attached"));
        wait_until("strace is attached", is_attached);
        Self(child)
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An upload of `content` with a time.
fn store(peer: &mut Peer, path: &str, content: &[u8]) -> Reply {
    let mut request = put(path, content.len() as u64, PutMode::Replace);
    if let Request::Put { mtime_ns, .. } = &mut request {
        *mtime_ns = Some(1_000_000_000);
    }
    let id = peer.request(&request);
    let mut bytes = Vec::new();
    for piece in content.chunks(256 * 1024) {
        berth::wire::frame::put_bytes(&mut bytes, berth::wire::frame::FrameType::Data, id, piece);
    }
    let end =
        berth::wire::message::End { size: content.len() as u64, digest: berth::base::digest::Digest::of(content) };
    berth::wire::frame::put_json(&mut bytes, berth::wire::frame::FrameType::End, id, &end);
    peer.send(&bytes);
    peer.reply()
}

fn what_a_file_system_refuses_costs_neither_content_nor_name_and_is_warned_of_once() {
    const CALLS: [(&str, &str); 7] = [
        ("utimensat", "utimensat"),
        ("fchmod", "fchmod"),
        ("fchown", "fchown"),
        ("fsetxattr", "setxattr"),
        ("linkat", ""),
        ("renameat2", ""),
        ("llistxattr,lgetxattr,fremovexattr", ""),
    ];
    for errno in ["EPERM", "ENOSYS", "EOPNOTSUPP", "EINVAL", "ENOTTY"] {
        for (calls, warned) in CALLS {
            let place = Place::new();
            place.add("ann", &[]);
            let server = place.serve();
            let injections: Vec<String> = calls.split(',').map(|call| format!("{call}:error={errno}")).collect();
            let what = format!("{calls} {errno}");
            let old = place.home("ann", "old");
            fs::write(&old, "old").expect("ours");
            fs::set_permissions(&old, fs::Permissions::from_mode(0o622)).expect("ours");
            let noted = Command::new("setfattr").args(["-n", "user.note", "-v", "x"]).arg(&old).status();
            assert!(noted.is_ok_and(|status| status.success()), "setfattr");
            if rustix::process::geteuid().is_root() {
                std::os::unix::fs::chown(&old, Some(4243), Some(4242)).expect("root may");
            }
            let refusing = Refusing::new(&place, &server, &injections);
            let mut peer = Peer::login(server.address, "ann");
            for (path, content) in
                [("/new", pattern(1, 1000)), ("/old", pattern(2, 1000)), ("/large", pattern(3, 3 << 20))]
            {
                for _ in 0..2 {
                    let reply = store(&mut peer, path, &content);
                    assert!(matches!(reply, Reply::Stored { .. }), "{what}: {reply:?}");
                    assert_eq!(fs::read(place.home("ann", &path[1..])).expect("stored"), content, "{what}");
                }
            }
            let moved = Request::Mv { from: "/new".into(), to: "/moved".into(), replace: false };
            assert!(matches!(peer.ask(&moved), Reply::Done {}), "{what}");
            assert!(matches!(store(&mut peer, "/new", b"again"), Reply::Stored { .. }), "{what}");
            let taken = Request::Mv { from: "/new".into(), to: "/moved".into(), replace: false };
            assert!(matches!(peer.ask(&taken), Reply::Error(_)), "{what}");
            assert_eq!(fs::read(place.home("ann", "moved")).expect("there"), pattern(1, 1000), "{what}");
            drop(refusing);
            let mode = fs::metadata(&old).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode & !0o622, 0, "{what}: {mode:o}");
            let stderr = server.program.stderr();
            let warnings = stderr.lines().filter(|line| line.contains("refuses") && line.contains("homes/ann")).count();
            let expected = usize::from(!warned.is_empty() || calls == "renameat2");
            assert!(
                warnings == expected || (warned == "fchown" && !rustix::process::geteuid().is_root()),
                "{what}: {stderr}"
            );
            assert!(warned.is_empty() || stderr.contains(&format!("({warned}) are left out")), "{what}: {stderr}");
        }
    }
}

fn a_disk_that_fails_is_no_refusal() {
    for (call, errno) in [("utimensat", "EIO"), ("utimensat", "ENOSPC"), ("linkat", "EIO"), ("linkat", "EDQUOT")] {
        let place = Place::new();
        place.add("ann", &[]);
        let server = place.serve();
        // One that works, so that the server knows what the file system can do.
        let mut peer = Peer::login(server.address, "ann");
        assert!(matches!(store(&mut peer, "/first", b"content"), Reply::Stored { .. }));
        let _refusing = Refusing::new(&place, &server, &[format!("{call}:error={errno}")]);
        let reply = store(&mut peer, "/new", b"content");
        assert!(matches!(reply, Reply::Error(_)), "{call} {errno}: {reply:?}");
        assert!(!place.home("ann", "new").exists());
    }
}
