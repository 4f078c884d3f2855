//! The examples of the document, played against a server in memory.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::in_memory::{Peer, Server};
use crate::support::protocol_document::{Sender, Shown, example, examples};
use berth::wire::frame::{FrameType, HEADER_BYTES};

const QUOTA: u64 = 1 << 30;

/// What the examples find in the home.
fn server() -> Server {
    // The examples show permission bits of what is uploaded.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let server = Server::with_quota(QUOTA);
    std::fs::create_dir_all(server.at("docs/photos")).expect("writable");
    std::fs::write(server.at("docs/notes.txt"), b"notes\n").expect("writable");
    std::fs::write(server.at("long.bin"), vec![b'a'; 1 << 20]).expect("writable");
    date(&server.at("docs/notes.txt"), 0o644, 1_700_000_000_000_000_000);
    date(&server.at("docs/photos"), 0o755, 1_700_000_001_500_000_000);
    date(&server.at("long.bin"), 0o644, 1_700_000_000_000_000_000);
    server
}

fn date(path: &Path, mode: u32, mtime_ns: u64) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(mtime_ns);
    File::open(path).and_then(|file| file.set_times(FileTimes::new().set_modified(time))).expect("ours");
}

/// What a server may say otherwise each time, or tomorrow.
fn blanked(frame: &[u8]) -> (Vec<u8>, Value) {
    let (header, body) = frame.split_at(HEADER_BYTES);
    let mut value = match header[8] {
        kind if kind == FrameType::Data as u8 || kind == FrameType::Pong as u8 => Value::from(body),
        _ => serde_json::from_slice(body).expect("JSON"),
    };
    for key in ["etag", "server", "message", "advice"] {
        if let Some(text) = value.get_mut(key) {
            assert!(text.as_str().is_some_and(|text| !text.is_empty()));
            *text = "*".into();
        }
    }
    (header[4..].to_vec(), value)
}

/// Sends what the client sends and compares what the server answers.
fn play(title: &str, peer: &mut Peer, server: &mut Server) {
    for Shown { sender, bytes } in example(title) {
        match sender {
            Sender::Client | Sender::Broken => peer.send(&bytes),
            Sender::Server => {
                let answer = next_frame(peer, server).unwrap_or_else(|| panic!("{title}: no answer"));
                assert_eq!(blanked(&answer), blanked(&bytes), "{title}");
            }
        }
    }
    peer.pump(server);
    assert_eq!(peer.take_bytes().escape_ascii().to_string(), "", "{title}");
}

/// Takes turns until a frame has come.
fn next_frame(peer: &mut Peer, server: &mut Server) -> Option<Vec<u8>> {
    loop {
        if let Some(frame) = peer.take_frame() {
            return Some(frame);
        }
        if !peer.turn(server) {
            return None;
        }
    }
}

/// In one session, one after the other; only the login itself is random.
const IN_ONE_SESSION: [&str; 8] = [
    "Ping",
    "Listing a directory",
    "Uploading a small file",
    "Downloading it",
    "Resuming a download",
    "Cancelling a download",
    "An upload that is refused",
    "An upload that is interrupted",
];
/// Played on a connection of its own without a login. The server closes the connection after some of them.
const BEFORE_LOGIN: [(&str, bool); 6] = [
    ("Ping", false),
    ("Hello", false),
    ("A request before login", false),
    ("An unknown request", false),
    ("No common version", true),
    ("Broken framing", true),
];

#[test]
fn a_session_goes_as_the_examples_show() {
    let mut server = server();
    let mut peer = server.log_in();
    for title in IN_ONE_SESSION {
        play(title, &mut peer, &mut server);
        assert!(!peer.is_closing(), "{title}");
    }
    peer.reset(&server);
    assert_eq!(std::fs::read(server.at("hello.txt")).ok().as_deref(), Some(&b"hello\n"[..]));
    play("Resuming it", &mut server.log_in(), &mut server);
    assert_eq!(std::fs::metadata(server.at("large.bin")).map(|meta| meta.len()).ok(), Some(1_048_582));
}

#[test]
fn what_happens_before_a_login_is_as_the_examples_show() {
    let mut server = server();
    for (title, is_closed) in BEFORE_LOGIN {
        let mut peer = server.connect();
        play(title, &mut peer, &mut server);
        assert_eq!(peer.is_closing(), is_closed, "{title}");
    }
}

/// The login is random, so `codec` checks it.
#[test]
fn every_example_is_tested() {
    let played = IN_ONE_SESSION.into_iter().chain(BEFORE_LOGIN.map(|(title, _)| title));
    let played: Vec<_> = played.chain(["Login", "Resuming it"]).collect();
    for (title, _) in examples() {
        assert!(played.contains(&&title[..]), "{title}");
    }
}
