//! Clients that break the native protocol: the server refuses and closes, bounds memory and descriptors, and serves
//! other clients meanwhile.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::effort::tries;
use crate::support::peer::{Incoming, Peer, put};
use crate::support::requests::Put;
use crate::support::{PASSWORD, Place, Server, disk_usage, pattern, wait_until};
use berth::wire::frame::{self, CONTROL_BYTES_MAX_BEFORE_LOGIN, FrameType};
use berth::wire::message::{End, Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

fn scene() -> (Place, Server) {
    let place = Place::new();
    place.add("ann", &["--quota", "50M"]);
    let server = place.serve();
    (place, server)
}

fn list(path: &str) -> Request {
    Request::List { path: path.into() }
}

/// The last reply before the server closed; `None` if there was none.
fn last_word(peer: &mut Peer) -> Option<Reply> {
    let mut last = None;
    while let Ok(incoming) = peer.receive() {
        last = match incoming {
            Incoming::Reply(_, reply) => Some(reply),
            other => panic!("{other:?}"),
        };
    }
    last
}

#[track_caller]
fn expect_refusal(reply: Option<Reply>, code: ErrorCode) {
    let Some(Reply::Error(error)) = reply else { panic!("a refusal, not {reply:?}") };
    assert_eq!((error.code, error.fatal), (code, true), "{error:?}");
}

/// Everybody else is served.
#[track_caller]
fn check_served(server: &mut Server) {
    assert!(!server.program.is_over(), "{}", server.program.stderr());
    let mut peer = Peer::login(server.address, "ann");
    assert!(matches!(peer.ask(&list("/")), Reply::Page { .. }));
    let stderr = server.program.stderr();
    assert!(!stderr.contains("defect") && !stderr.contains("panicked"), "{stderr}");
}

// ---- Framing ------------------------------------------------------------------------------

#[test]
fn a_length_over_the_limit_is_refused_at_its_header_even_if_it_trickles_in() {
    let (_place, mut server) = scene();
    let header = |length: u32, kind: u8| [&length.to_be_bytes()[..], &[0, 0, 0, 1, kind, 0, 0, 0]].concat();
    let over = CONTROL_BYTES_MAX_BEFORE_LOGIN as u32 + 1;
    for bytes in [
        header(u32::MAX, 1),
        header(over, 1),
        header(u32::MAX, 2),
        header((1 << 20) + 1, 2),
        header(65, 5),
        header(10, 0),
        header(10, 7),
        [&header(10, 1)[..9], &[1, 0, 0]].concat(),
    ] {
        let mut peer = Peer::connect(server.address);
        for byte in &bytes {
            peer.send(std::slice::from_ref(byte));
        }
        expect_refusal(last_word(&mut peer), ErrorCode::BadRequest);
    }
    // A frame of no bytes at all is one, but no request.
    let mut peer = Peer::connect(server.address);
    peer.send(&header(0, 1));
    let Reply::Error(error) = peer.reply() else { panic!("a refusal") };
    assert_eq!((error.code, error.fatal), (ErrorCode::BadRequest, false));
    assert!(matches!(peer.greet(), Reply::Hello { .. }));
    check_served(&mut server);
}

#[test]
fn other_protocols_on_the_port_are_told_off_and_closed() {
    let (_place, mut server) = scene();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"USER anonymous\r\n",
        &[0xff; 5000],
        &[0; 12],
    ] {
        let mut peer = Peer::connect(server.address);
        peer.send(bytes);
        let began = Instant::now();
        expect_refusal(last_word(&mut peer), ErrorCode::BadRequest);
        assert!(began.elapsed() < Duration::from_secs(4), "it did not wait for more");
    }
    check_served(&mut server);
}

#[test]
fn before_login_only_hello_and_login_are_answered() {
    let (place, mut server) = scene();
    let requests = [
        list("/"),
        Request::Stat { path: "/".into() },
        Request::Digest { path: "/a".into(), algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS },
        Request::Mkdir { path: "/d".into(), parents: true, permissions: None },
        Request::SetPermissions { path: "/a".into(), permissions: 0o777 },
        Request::Rm { path: "/a".into() },
        Request::Rmdir { path: "/d".into() },
        Request::Mv { from: "/a".into(), to: "/b".into(), replace: true },
        Request::Quota {},
        Request::Get { path: "/a".into(), offset: 0, etag: None, prefix_digest: None },
        Request::Partials {},
    ];
    let mut peer = Peer::connect(server.address);
    let check = |peer: &mut Peer| {
        for request in &requests {
            let Reply::Error(error) = peer.ask(request) else { panic!("{request:?} is refused") };
            assert_eq!((error.code, error.fatal), (ErrorCode::LoginRequired, false), "{request:?}");
        }
        let Reply::Error(error) = peer.put("/a", b"x", PutMode::Create) else { panic!("put is refused") };
        assert_eq!(error.code, ErrorCode::LoginRequired);
    };
    check(&mut peer);
    peer.greet();
    check(&mut peer);
    assert!(matches!(peer.prove("ann", PASSWORD), Reply::Welcome { .. }), "and then it may log in");
    assert!(matches!(peer.ask(&list("/")), Reply::Page { .. }));
    assert_eq!(fs::read_dir(place.home("ann", "")).expect("there").count(), 0);

    let mut peer = Peer::connect(server.address);
    let Reply::Error(error) = peer.prove("ann", PASSWORD) else { panic!("hello comes first") };
    assert_eq!(error.code, ErrorCode::BadRequest);
    let mut peer = Peer::connect(server.address);
    let mut data = Vec::new();
    frame::put_bytes(&mut data, FrameType::Data, 1, &[0; 1000]);
    peer.send(&data);
    expect_refusal(last_word(&mut peer), ErrorCode::BadRequest);
    check_served(&mut server);
}

#[test]
fn malformed_requests_are_refused_and_the_session_goes_on() {
    let (_place, mut server) = scene();
    let mut peer = Peer::login(server.address, "ann");
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    for body in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"\xff\xff",
        br#"{"op":"get"}"#,
        br#"{"op":"get","path":"/a","offset":-1}"#,
        br#"{"op":"get","path":"/a","offset":1.5}"#,
        br#"{"op":"get","path":"/a","offset":1e400}"#,
        br#"{"op":"put","path":"/a","size":18446744073709551616}"#,
        br#"{"op":"stat","path":"\ud800"}"#,
        br#"{"op":"stat","path":{"b64":"***"}}"#,
        br#"{"op":"stat","path":"/a","path":"/b"}"#,
        br#"{"op":"mkdir","path":["/a"]}"#,
        deep.as_bytes(),
    ] {
        let mut bytes = Vec::new();
        let (id, _) = peer.encode(&Request::Quota {});
        frame::put_bytes(&mut bytes, FrameType::Control, id, body);
        if body.starts_with(br#"{"op":"put""#) {
            // Its data would follow.
            frame::put_bytes(&mut bytes, FrameType::Abort, id, b"");
        }
        peer.send(&bytes);
        let Reply::Error(error) = peer.reply() else { panic!("{body:?} is refused") };
        assert_eq!((error.code, error.fatal), (ErrorCode::BadRequest, false), "{error:?}");
    }
    let (id, _) = peer.encode(&Request::Quota {});
    let mut bytes = Vec::new();
    frame::put_bytes(&mut bytes, FrameType::Control, id, br#"{"op":"fly","to":"the moon"}"#);
    peer.send(&bytes);
    let Reply::Error(error) = peer.reply() else { panic!("nobody flies") };
    assert_eq!(error.code, ErrorCode::Unsupported);
    assert!(matches!(peer.ask(&list("/")), Reply::Page { .. }));
    check_served(&mut server);
}

#[test]
fn json_that_means_harm_is_refused_before_login_and_in_an_end() {
    let (place, mut server) = scene();
    let mut peer = Peer::connect(server.address);
    let deep = "[".repeat(CONTROL_BYTES_MAX_BEFORE_LOGIN);
    for body in [
        &deep[..],
        r#"{"op":"hello","versions":[-1]}"#,
        r#"{"op":"hello","versions":[1.5]}"#,
        r#"{"op":"hello","versions":[1e400]}"#,
        r#"{"op":"hello","versions":[1],"versions":[1]}"#,
        r#"{"op":"auth","mechanism":"SCRAM-SHA-256","message":"\ud800"}"#,
        r#"{"op":"auth","mechanism":"SCRAM-SHA-256","message":"n,,n=ann,r=x","message":"n,,n=root,r=x"}"#,
        r#"{"op":"auth_next","op":"auth","message":"x"}"#,
    ] {
        let mut bytes = Vec::new();
        let (id, _) = peer.encode(&Request::Quota {});
        frame::put_bytes(&mut bytes, FrameType::Control, id, body.as_bytes());
        peer.send(&bytes);
        let Reply::Error(error) = peer.reply() else { panic!("{body:.80} is refused") };
        assert_eq!((error.code, error.fatal), (ErrorCode::BadRequest, false), "{body:.80}: {error:?}");
    }
    peer.greet();
    assert!(matches!(peer.prove("ann", PASSWORD), Reply::Welcome { .. }), "and then it may log in");
    let digest = berth::base::digest::Digest::of(b"x");
    for end in [
        "[".repeat(60_000),
        format!(r#"{{"size":-1,"digest":"{digest}"}}"#),
        format!(r#"{{"size":1.5,"digest":"{digest}"}}"#),
        format!(r#"{{"size":1e400,"digest":"{digest}"}}"#),
        format!(r#"{{"size":1,"size":1,"digest":"{digest}"}}"#),
        format!(r#"{{"size":18446744073709551617,"digest":"{digest}"}}"#),
    ] {
        let id = peer.request(&put("/a", 1, PutMode::Create));
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Data, id, b"x");
        frame::put_bytes(&mut bytes, FrameType::End, id, end.as_bytes());
        peer.send(&bytes);
        let Reply::Error(error) = peer.reply() else { panic!("{end:.80} is refused") };
        assert_eq!((error.code, error.fatal), (ErrorCode::BadRequest, false), "{end:.80}");
        assert!(!place.home("ann", "a").exists());
    }
    // A hundred thousand levels are longer than a frame may be: its header is enough.
    peer.send(&frame::header(FrameType::Control, 900, 100_000));
    expect_refusal(last_word(&mut peer), ErrorCode::BadRequest);
    check_served(&mut server);
}

#[test]
fn unread_responses_use_bounded_memory_and_delay_nobody() {
    let (place, mut server) = scene();
    for i in 0..200 {
        fs::write(place.home("ann", format!("{i:0200}")), b"").expect("writable");
    }
    // Once to warm up.
    check_served(&mut server);
    let before = server.program.resident_kib();
    let peers: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut peer = Peer::login(server.address, "ann");
            let bytes: Vec<u8> = (0..10_000).flat_map(|_| peer.encode(&list("/")).1).collect();
            let mut stream = peer.stream.try_clone().expect("descriptors are left");
            // The server stops reading when nobody reads its answers; the rest waits in the
            // kernel, or here.
            stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a positive time");
            let _ = stream.write_all(&bytes);
            peer.stream
        })
        .collect();
    let mut other = Peer::login(server.address, "ann");
    for _ in 0..50 {
        let began = Instant::now();
        assert!(matches!(other.ask(&Request::Quota {}), Reply::Quota(_)));
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    let grown = server.program.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    drop(peers);
    check_served(&mut server);
}

/// An upload that ends neither itself nor the connection: what fits is stored, the rest is thrown
/// away as it comes.
#[test]
fn an_endless_upload_over_the_quota_uses_little_memory() {
    let (place, mut server) = scene();
    check_served(&mut server);
    let before = server.program.resident_kib();
    let (mut peer, mut other) = (Peer::login(server.address, "ann"), Peer::login(server.address, "ann"));
    let id = peer.request(&put_of_unknown_size("/a"));
    let piece = vec![7; 1 << 20];
    let bytes = [&frame::header(FrameType::Data, id, piece.len()), &piece[..]].concat();
    for _ in 0..tries(100, 1024) {
        peer.send(&bytes);
        assert!(matches!(other.ask(&Request::Quota {}), Reply::Quota(report) if report.used_bytes <= 50 << 20));
    }
    let grown = server.program.resident_kib().saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB");
    let Reply::Error(error) = peer.reply() else { panic!("a refusal") };
    assert_eq!((error.code, error.fatal), (ErrorCode::QuotaBytes, false));
    assert_eq!(disk_usage(&place.home("ann", "")).0, 0);
    drop(peer);
    check_served(&mut server);
}

#[test]
fn an_upload_that_stops_amid_a_frame_is_closed_when_it_stalls() {
    let place = Place::with(json!({"timeouts": {"stall": 1}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    let id = peer.request(&put_of_unknown_size("/a"));
    let mut bytes = Vec::new();
    frame::put_bytes(&mut bytes, FrameType::Data, id, &[7; 1000]);
    peer.send(&bytes[..500]);
    expect_refusal(last_word(&mut peer), ErrorCode::Timeout);
    assert!(!place.home("ann", "a").exists());
    assert_eq!(disk_usage(&place.home("ann", "")).0, 0);
    check_served(&mut server);
}

fn put_of_unknown_size(path: &str) -> Request {
    Put { path: path.into(), ..Put::default() }.request()
}

/// The same before a login, of a control frame: its sender has as long as anybody to log in.
#[test]
fn a_frame_before_login_without_an_end_lasts_until_the_login_deadline() {
    let place = Place::with(json!({"timeouts": {"login": 4}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::connect(server.address);
    peer.send(&frame::header(FrameType::Control, 1, CONTROL_BYTES_MAX_BEFORE_LOGIN));
    peer.send(&[b' '; CONTROL_BYTES_MAX_BEFORE_LOGIN - 1]);
    expect_refusal(last_word(&mut peer), ErrorCode::Timeout);
    check_served(&mut server);
}

// ---- Cuts ---------------------------------------------------------------------------------

/// Everything of an upload after the login, cut after `count` bytes.
fn cut_upload(server: &Server, content: &[u8], count: usize, by_reset: bool) {
    let mut peer = Peer::login(server.address, "ann");
    let bytes = peer.encode_put("/a", content, PutMode::Replace);
    peer.send(&bytes[..count.min(bytes.len() - 1)]);
    if by_reset {
        rustix::net::sockopt::set_socket_linger(&peer.stream, Some(Duration::ZERO)).expect("a TCP socket");
        return;
    }
    peer.stream.shutdown(Shutdown::Write).expect("connected");
    while let Ok(incoming) = peer.receive() {
        assert!(!matches!(incoming, Incoming::Reply(_, Reply::Stored { .. })), "cut at {count}");
    }
}

#[test]
fn an_upload_cut_anywhere_is_never_committed() {
    let (place, mut server) = scene();
    let old = pattern(1, 5000);
    assert!(matches!(Peer::login(server.address, "ann").put("/a", &old, PutMode::Create), Reply::Stored { .. }));
    let content = pattern(2, 10_000);
    let length = Peer::connect(server.address).encode_put("/a", &content, PutMode::Replace).len();
    let end = length - 130;
    let points =
        (0..140).step_by(9).chain((140..end).step_by(1500)).chain((end..length).step_by(7)).chain([length - 1]);
    for (i, point) in points.enumerate() {
        cut_upload(&server, &content, point, i % 2 == 0);
    }
    wait_until("all are gone", || {
        let log = place.log("access.log");
        log.matches("verb=connect").count() == log.matches("verb=close").count()
    });
    assert_eq!(fs::read(place.home("ann", "a")).expect("there"), old);
    assert_eq!(fs::read_dir(place.home("ann", ".berth")).expect("there").count(), 0);
    let Reply::Quota(report) = Peer::login(server.address, "ann").ask(&Request::Quota {}) else { panic!("a report") };
    assert_eq!((report.used_bytes, report.used_files), disk_usage(&place.home("ann", "")));
    assert_eq!(report.reserved_bytes, 0);
    check_served(&mut server);
}

#[test]
fn a_half_closed_conversation_gets_all_its_answers() {
    let (_place, mut server) = scene();
    let mut peer = Peer::login(server.address, "ann");
    let mut bytes = peer.encode_put("/a", &pattern(1, 100_000), PutMode::Create);
    bytes.extend(
        peer.encode(&Request::Digest {
            path: "/a".into(),
            algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS,
        })
        .1,
    );
    bytes.extend(peer.encode(&Request::Get { path: "/a".into(), offset: 0, etag: None, prefix_digest: None }).1);
    peer.send(&bytes);
    peer.stream.shutdown(Shutdown::Write).expect("connected");
    assert!(matches!(peer.reply(), Reply::Stored { .. }));
    assert!(matches!(peer.reply(), Reply::Digest { .. }));
    assert!(matches!(peer.reply(), Reply::File { .. }));
    let mut last = None;
    while let Ok(incoming) = peer.receive() {
        last = Some(incoming);
    }
    assert!(matches!(last, Some(Incoming::End(..))), "{last:?}");
    check_served(&mut server);
}

#[test]
fn wrong_sizes_and_digests_are_refused_and_leave_nothing() {
    let (place, mut server) = scene();
    let mut peer = Peer::login(server.address, "ann");
    let content = pattern(1, 1000);
    let digest = berth::base::digest::Digest::of(&content);
    for (announced, told, digest) in [
        (999, 1000, digest),
        (1001, 1000, digest),
        (1000, 999, digest),
        (1000, u64::MAX, digest),
        (1000, 1000, berth::base::digest::Digest::of(b"")),
    ] {
        let id = peer.request(&put("/a", announced, PutMode::Create));
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Data, id, &content);
        frame::put_json(&mut bytes, FrameType::End, id, &End { size: told, digest });
        peer.send(&bytes);
        let Reply::Error(error) = peer.reply() else { panic!("{announced} {told}") };
        assert_eq!(error.code, ErrorCode::Mismatch);
    }
    let Reply::Error(error) = peer.ask(&put("/a", u64::MAX, PutMode::Create)) else { panic!("it fits nowhere") };
    assert_eq!(error.code, ErrorCode::QuotaBytes);
    assert!(!place.home("ann", "a").exists());
    check_served(&mut server);
}

// ---- Login --------------------------------------------------------------------------------

#[test]
fn known_and_unknown_users_fail_alike_in_every_answer() {
    let (place, mut server) = scene();
    place.add("locked", &[]);
    place.admin(&["user", "lock", "locked"]);
    let mut transcripts = Vec::new();
    for user in ["ann", "nobody", "locked", "../ann"] {
        let mut peer = Peer::connect(server.address);
        peer.greet();
        let reply = peer.prove(user, "wrong");
        transcripts.push(format!("{reply:?}"));
    }
    assert!(transcripts[0].contains("LoginFailed"), "{transcripts:?}");
    assert!(transcripts.iter().all(|transcript| *transcript == transcripts[0]), "{transcripts:?}");

    // The challenge, too, has the same shape, and an unknown user's salt is stable.
    let challenge = |user: &str| {
        let mut peer = Peer::connect(server.address);
        peer.greet();
        let message = format!("n,,n={user},r=fyko+d2lbbFgONRv9qkxdawL");
        let reply = peer.ask(&Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
        let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
        let fields: Vec<String> = message.split(',').map(str::to_string).collect();
        assert!(fields[0].starts_with("r=fyko+d2lbbFgONRv9qkxdawL"));
        fields
    };
    let (known, unknown, again) = (challenge("ann"), challenge("nobody"), challenge("nobody"));
    assert_eq!(unknown[1], again[1], "a salt that changes gives it away");
    assert_ne!(known[1], unknown[1]);
    let shape = |fields: &[String]| fields.iter().map(String::len).collect::<Vec<_>>();
    assert_eq!(shape(&known)[..2], shape(&unknown)[..2]);
    check_served(&mut server);
}

#[test]
fn rounds_do_not_tell_known_users_from_unknown_ones() {
    let (_place, server) = scene();
    let rounds = |user: &str| {
        let mut peer = Peer::connect(server.address);
        peer.greet();
        let message = format!("n,,n={user},r=fyko+d2lbbFgONRv9qkxdawL");
        let reply = peer.ask(&Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
        let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
        message.rsplit_once(",i=").expect("rounds").1.to_string()
    };
    assert_eq!(rounds("ann"), rounds("nobody"));
}

#[test]
fn login_tries_failed_logins_close_the_connection_but_do_not_lock_the_account() {
    let place = Place::with(json!({"limits": {"login_tries": 2}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::connect(server.address);
    peer.greet();
    let Reply::Error(first) = peer.prove("ann", "wrong") else { panic!("refused") };
    let Reply::Error(second) = peer.prove("ann", "wrong") else { panic!("refused") };
    assert_eq!((first.fatal, second.fatal), (false, true));
    assert!(peer.receive().is_err(), "closed");
    let began = Instant::now();
    check_served(&mut server);
    assert!(began.elapsed() < Duration::from_secs(2), "a right password is not delayed");
}

/// A login that has its challenge and not yet given its proof must not outlive what it began with.
#[test]
fn an_account_locked_or_changed_between_challenge_and_proof_lets_nobody_in() {
    let (place, mut server) = scene();
    place.add("bob", &[]);
    let begin = |account: &str| {
        let mut peer = Peer::connect(server.address);
        peer.greet();
        let proof = peer.begin_proof(account, PASSWORD);
        (peer, proof)
    };
    let mut witness = Peer::login(server.address, "bob");
    let (mut locked, proof_of_locked) = begin("bob");
    let (mut changed, proof_of_changed) = begin("ann");
    place.admin(&["user", "lock", "bob"]);
    place.admin(&["user", "passwd", "ann", "--password-stdin"]);
    assert!(matches!(witness.reply(), Reply::Error(_)), "the server has ended the sessions there were");
    for (peer, message) in [(&mut locked, proof_of_locked), (&mut changed, proof_of_changed)] {
        let Reply::Error(error) = peer.ask(&Request::AuthNext { message }) else { panic!("it got in") };
        assert_eq!(error.code, ErrorCode::LoginFailed);
    }
    check_served(&mut server);
}

#[test]
fn who_asks_for_nothing_is_told_so_and_closed() {
    let place = Place::with(json!({"timeouts": {"idle": 1}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    let began = Instant::now();
    expect_refusal(last_word(&mut peer), ErrorCode::Timeout);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    check_served(&mut server);
}

#[test]
fn who_does_not_log_in_is_closed_at_the_deadline_whatever_it_sends() {
    let place = Place::with(json!({"timeouts": {"login": 1}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut silent = Peer::connect(server.address);
    let mut chatty = Peer::connect(server.address);
    chatty.greet();
    chatty.request(&Request::Hello { versions: vec![1], client: "again".into() });
    for peer in [&mut silent, &mut chatty] {
        expect_refusal(last_word(peer), ErrorCode::Timeout);
    }
    check_served(&mut server);
}

/// The answer to its wrong proof is due, but there is no room for it: that must not keep it alive.
#[test]
fn an_unauthenticated_client_that_reads_none_of_its_answers_is_closed_at_the_deadline_and_spins_nothing() {
    let place = Place::with(json!({"timeouts": {"login": 3}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    // Two failures of its address, so that its own guess is held back until its answers fill the buffers.
    let mut others = [Peer::connect(server.address), Peer::connect(server.address)];
    others.iter_mut().for_each(|peer| peer.guess("ann"));
    wait_until("they have failed", || place.log("access.log").matches("result=LoginFailed").count() == 2);
    let mut peer = Peer::connect(server.address);
    peer.guess("ann");
    let mut ping = Vec::new();
    frame::put_bytes(&mut ping, FrameType::Ping, 0, &[0; 64]);
    let pings = ping.repeat(1000);
    peer.stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a positive time");
    while peer.stream.write_all(&pings).is_ok() {}
    let (began, used) = (Instant::now(), server.program.ticks());
    wait_until("three connections are closed", || {
        place.log("access.log").matches("verb=close result=Timeout").count() == 3
    });
    wait_until("its time is over", || began.elapsed() > Duration::from_secs(3));
    assert!(server.program.ticks() - used < 15, "{} ticks", server.program.ticks() - used);
    check_served(&mut server);
}

// ---- Resources ----------------------------------------------------------------------------

#[test]
fn five_hundred_idle_connections_cost_little() {
    const COUNT: u64 = 500;
    let (_place, mut server) = scene();
    check_served(&mut server);
    let before = server.program.resident_kib();
    let idle: Vec<TcpStream> =
        (0..COUNT).map(|_| TcpStream::connect(server.address).expect("the server listens")).collect();
    let mut members: Vec<Peer> = (0..20).map(|_| Peer::login(server.address, "ann")).collect();
    for peer in &mut members {
        assert!(matches!(peer.ask(&list("/")), Reply::Page { .. }));
    }
    let grown = server.program.resident_kib().saturating_sub(before);
    assert!(grown < 4 * COUNT + 2048, "{grown} KiB for {COUNT} connections");
    drop(idle);
    check_served(&mut server);
}

#[test]
fn a_large_directory_is_listed_while_others_are_answered() {
    const COUNT: usize = 20_000;
    let (place, mut server) = scene();
    fs::create_dir(place.home("ann", "large")).expect("writable");
    for i in 0..COUNT {
        fs::write(place.home("ann", format!("large/{i:06}")), b"").expect("writable");
    }
    let (address, reads) = (server.address, 1);
    let lister = thread::spawn(move || {
        let mut peer = Peer::login(address, "ann");
        for _ in 0..reads {
            peer.request(&list("/large"));
            let mut names: Vec<Name> = Vec::new();
            loop {
                let Reply::Page { entries, last } = peer.reply() else { panic!("a page") };
                names.extend(entries.into_iter().map(|entry| entry.name));
                if last {
                    break;
                }
            }
            assert_eq!(names.len(), COUNT);
            assert!(names.is_sorted(), "in order");
        }
    });
    let mut other = Peer::login(server.address, "ann");
    let mut slowest = Duration::ZERO;
    let mut answered = 0;
    while !lister.is_finished() {
        let began = Instant::now();
        assert!(matches!(other.ask(&Request::Stat { path: "/large".into() }), Reply::Stat { .. }));
        slowest = slowest.max(began.elapsed());
        answered += 1;
    }
    lister.join().expect("the listing is whole");
    assert!(answered > 5, "{answered} answers beside {reads} listings");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    check_served(&mut server);
}

#[test]
fn more_sessions_than_allowed_are_refused_with_a_word() {
    let place = Place::with(json!({"limits": {"sessions": 3}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let members: Vec<Peer> = (0..3).map(|_| Peer::login(server.address, "ann")).collect();
    let mut surplus = Peer::connect(server.address);
    expect_refusal(last_word(&mut surplus), ErrorCode::TooMany);
    drop(members);
    wait_until("they are gone", || place.log("access.log").matches("verb=close").count() == 3);
    check_served(&mut server);
}

#[test]
fn a_reader_that_never_reads_its_download_is_closed_when_it_stalls() {
    let place = Place::with(json!({"timeouts": {"stall": 1}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    fs::File::create(place.home("ann", "big")).and_then(|file| file.set_len(64 << 20)).expect("a sparse file");
    let mut peer = Peer::login(server.address, "ann");
    peer.request(&Request::Get { path: "/big".into(), offset: 0, etag: None, prefix_digest: None });
    wait_until("it is logged", || place.log("transactions.log").contains("path=/big"));
    let log = place.log("transactions.log");
    assert!(log.contains("result=Timeout"), "{log}");
    let mut rest = Vec::new();
    let _ = peer.stream.read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20);
    check_served(&mut server);
}
