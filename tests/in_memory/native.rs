//! The native protocol, driven as the loop drives it: any read size, broken framing, lost connections, peers that
//! do not read.

use crate::support::effort::tries;
use crate::support::in_memory::*;
use berth::base::budget::{Budget, REQUEST_COST};
use berth::base::buffers::{INPUT_BYTES, OUTPUT_BYTES_HIGH, PIECE_BYTES};
use berth::base::digest::{Digest, DigestAlgorithm};
use berth::protocol::{Protocol, ProtocolIo};
use berth::wire::frame::{self, CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, Frame, FrameType, HEADER_BYTES};
use berth::wire::message::{ErrorReply, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

// ---- One conversation ---------------------------------------------------------------------

/// What a client reads, in a word or two for each frame.
fn describe(got: &Got) -> String {
    match got {
        Got::Reply(id, Reply::Error(error)) => format!("{id} error {:?}", error.code),
        Got::Reply(id, Reply::Page { entries, last }) => {
            let names: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name.0)).collect();
            format!("{id} page {} last={last}", names.join(","))
        }
        Got::Reply(id, Reply::Stat { entry, etag }) => {
            format!("{id} stat {:?} {} etag={}", entry.kind, entry.size, etag.is_some())
        }
        Got::Reply(id, Reply::Quota(quota)) => {
            format!("{id} quota {} {} {}", quota.used_bytes, quota.reserved_bytes, quota.used_files)
        }
        Got::Reply(id, Reply::File { size, offset, .. }) => format!("{id} file {size} from {offset}"),
        Got::Reply(id, Reply::Stored { size, .. }) => format!("{id} stored {size}"),
        Got::Reply(id, Reply::Digest { size, .. }) => format!("{id} digest {size}"),
        Got::Reply(id, Reply::Done {}) => format!("{id} done"),
        Got::Reply(id, other) => format!("{id} {other:?}"),
        Got::Data(id, bytes) => format!("{id} data {}", bytes.len()),
        Got::End(id, end) => format!("{id} end {}", end.size),
        Got::Abort(id, error) => format!("{id} abort {:?}", error.code),
        Got::Pong(body) => format!("pong {}", String::from_utf8_lossy(body)),
    }
}

/// Frames with what is different in every run blanked: etags, and the times of directories.
fn blanked(bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let (mut rest, mut frames) = (bytes, Vec::new());
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().expect("4 bytes")) as usize;
        let id = u32::from_be_bytes(rest[4..8].try_into().expect("4 bytes"));
        let (kind, mut body) = (rest[8], rest[HEADER_BYTES..HEADER_BYTES + length].to_vec());
        if let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(&body)
            && kind == FrameType::Control as u8
        {
            blank(&mut value);
            body = value.to_string().into_bytes();
        }
        frames.push((kind, id, body));
        rest = &rest[HEADER_BYTES + length..];
    }
    frames
}

fn blank(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(blank),
        serde_json::Value::Object(fields) => {
            let is_directory = fields.get("kind").is_some_and(|kind| kind == "dir");
            for (key, value) in fields {
                if matches!(key.as_str(), "etag" | "disk_free_bytes")
                    || (is_directory && matches!(key.as_str(), "mtime_ns" | "mode"))
                {
                    *value = "blanked".into();
                }
                blank(value);
            }
        }
        _ => {}
    }
}

/// A client that does everything once. What it reads must not depend on how its bytes arrive.
fn conversation(delivery: usize) -> Vec<u8> {
    let mut server = Server::with_quota(5 << 20);
    let mut peer = server.log_in();
    peer.take_bytes();
    peer.delivery = delivery;
    let large = content(1, 3 * MIB);
    let put_at = |path: &str, size, mode| {
        let mut request = put_mode(path, size, mode);
        if let Request::Put { mtime_ns, .. } = &mut request {
            *mtime_ns = Some(1_000_000_007);
        }
        request
    };

    peer.request_as(10, &mkdir("/folder"));
    peer.request_as(11, &put_at("/folder/small", Some(5), PutMode::Create));
    peer.data(11, b"he");
    peer.data(11, b"");
    peer.data(11, b"llo");
    peer.end(11, b"hello");
    peer.request_as(12, &put_at("/large", None, PutMode::Create));
    peer.all_data(12, &large);
    peer.end(12, &large);
    peer.request_as(13, &Request::List { path: "/".into() });
    peer.request_as(14, &Request::List { path: "/folder/small".into() });
    peer.request_as(15, &stat("/large"));
    peer.request_as(16, &Request::Digest { path: "/large".into(), algorithm: DigestAlgorithm::OF_TRANSFERS });
    peer.pump(&mut server);
    peer.ping(b"mid-way");
    peer.pump(&mut server);

    peer.request_as(20, &get("/folder/small"));
    peer.request_as(21, &get("/large"));
    peer.request_as(22, &mv("/folder/small", "/moved"));
    peer.request_as(23, &rm("/moved"));
    peer.request_as(24, &rmdir("/folder"));
    peer.request_as(25, &Request::Quota {});
    peer.pump(&mut server);

    peer.send(&control(30, br#"{"op":"stat"}"#));
    peer.send(&control(31, br#"{"op":"chmod","path":"/large"}"#));
    peer.request_as(32, &put_at("/large", Some(3), PutMode::Create));
    peer.data(32, b"thrown away");
    peer.data(32, &content(2, 100_000));
    peer.end(32, b"whatever");
    peer.request_as(33, &put_at("/more", Some(3 << 20), PutMode::Create));
    peer.data(33, &content(3, 70_000));
    peer.cancel(33);
    peer.request_as(34, &get("/missing"));
    peer.request_as(35, &Request::Partials {});
    peer.pump(&mut server);

    // A download given up in its middle: the client reads nothing until its wish has arrived.
    peer.request_as(40, &get("/large"));
    arrive(&mut peer, &mut server);
    peer.cancel(40);
    arrive(&mut peer, &mut server);
    peer.ping(b"still here");
    peer.request_as(41, &stat("/large"));
    peer.pump(&mut server);
    assert!(!peer.is_closing());
    peer.take_bytes()
}

/// Everything sent arrives and is worked on as far as is possible without being read.
fn arrive(peer: &mut Peer, server: &mut Server) {
    while peer.deliver(peer.delivery) | peer.step(server) {}
}

fn control(id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put_bytes(&mut bytes, FrameType::Control, id, body);
    bytes
}

#[test]
fn a_conversation_reads_the_same_however_its_bytes_arrive() {
    let whole = blanked(&conversation(usize::MAX));
    for delivery in [1, 2, 3, 7, 64, 10_007] {
        assert!(blanked(&conversation(delivery)) == whole, "differs when {delivery} bytes arrive at a time");
    }
}

#[test]
fn every_request_of_a_conversation_gets_its_answer_in_order() {
    let mut server = Server::new();
    let mut peer = server.connect();
    // Only to cut it into frames.
    peer.buffers.output.put(&conversation(usize::MAX));
    peer.drain(usize::MAX);
    let got: Vec<String> = peer.take_received().iter().map(describe).collect();
    let piece = PIECE_BYTES;
    let mut expected: Vec<String> = [
        "10 done",
        "11 stored 5",
        "12 stored 3145728",
        "13 page folder,large last=true",
        "14 page small last=true",
        "15 stat File 3145728 etag=true",
        "16 digest 3145728",
        "pong mid-way",
        "20 file 5 from 0",
        "20 data 5",
        "20 end 5",
        "21 file 3145728 from 0",
    ]
    .map(String::from)
    .into();
    expected.extend(vec![format!("21 data {piece}"); 3 * MIB / piece]);
    expected.extend(
        [
            "21 end 3145728",
            "22 done",
            "23 done",
            "24 done",
            "25 quota 3145728 0 1",
            "30 error BadRequest",
            "31 error Unsupported",
            "32 error Exists",
            "33 error QuotaBytes",
            "34 error NotFound",
            "35 Partials { partials: [], last: true }",
            "40 file 3145728 from 0",
            &format!("40 data {piece}"),
            "40 abort Cancelled",
            "pong still here",
            "41 stat File 3145728 etag=true",
        ]
        .map(String::from),
    );
    assert_eq!(got, expected);
}

// ---- Before login -------------------------------------------------------------------------

#[test]
fn before_login_every_request_but_hello_and_login_is_answered_login_required() {
    let mut server = Server::new();
    write(&server.at("file"), b"x");
    let upload_id = berth::base::upload_id::UploadId([1; 16]);
    for request in [
        stat("/file"),
        mkdir("/new"),
        rm("/file"),
        rmdir("/file"),
        mv("/file", "/new"),
        get("/file"),
        put("/new", Some(3)),
        put_as("/new", 3, upload_id, true),
        Request::List { path: "/".into() },
        Request::Digest { path: "/file".into(), algorithm: DigestAlgorithm::OF_TRANSFERS },
        Request::Quota {},
        Request::Partials {},
        Request::DropPartial { upload_id },
    ] {
        let mut peer = server.connect();
        assert_eq!(peer.refused(&mut server, &request), ErrorCode::LoginRequired, "{request:?}");
        assert!(!peer.is_closing());
    }
    assert!(server.at("file").exists() && !server.at("new").exists() && !server.at(".berth").exists());
}

#[test]
fn a_login_after_refused_requests_works_on_the_same_connection() {
    let mut server = Server::new();
    let mut peer = server.connect();
    let id = peer.request(&put("/new", Some(3)));
    peer.data(id, b"abc");
    peer.end(id, b"abc");
    assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::LoginRequired));
    assert!(matches!(peer.log_in(&mut server, USER), Reply::Welcome { .. }));
    assert!(!server.at("new").exists());
}

#[test]
fn a_login_without_hello_is_a_bad_request() {
    let mut server = Server::new();
    let mut peer = server.connect();
    let auth = Request::Auth { mechanism: "SCRAM-SHA-256".into(), message: "n,,n=alice,r=abc".into() };
    assert_eq!(peer.refused(&mut server, &auth), ErrorCode::BadRequest);
}

#[test]
fn a_wrong_proof_holds_the_next_back_and_the_connection_is_closed_after_three() {
    let mut server = Server::new();
    let mut peer = server.connect();
    peer.ask(&mut server, &Request::Hello { versions: vec![1], client: String::new() });
    for attempt in 1..=3 {
        // The right keys for the wrong name.
        let (exchange, message) =
            berth::auth::scram::ClientExchange::new("mallory", "guess", berth::auth::scram::Binding::None)
                .expect("user");
        let reply = peer.ask(&mut server, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
        let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
        let message = forged(exchange, &message);
        let id = peer.request(&Request::AuthNext { message });
        if attempt > 1 {
            assert_eq!(peer.exchange(&mut server), [], "it is not checked yet");
            server.now = peer.protocol.status().wakes_at.expect("its time comes");
        }
        let reply = peer.only_reply(&mut server, id);
        let Reply::Error(error) = reply else { panic!("{reply:?}") };
        assert_eq!((error.code, error.fatal), (ErrorCode::LoginFailed, attempt == 3));
    }
    assert!(peer.is_closing());
}

/// An answer shaped as it must be, without the 100,000 rounds that a decoy asks for.
fn forged(_: berth::auth::scram::ClientExchange<'_>, challenge: &str) -> String {
    let nonce = challenge.split(',').next().expect("a nonce");
    format!("c=biws,{nonce},p={}=", "A".repeat(43))
}

// ---- Broken framing -----------------------------------------------------------------------

/// Sends `bytes` to a session that is logged in. Returns the last frame of the server.
fn last_word(bytes: &[u8]) -> ErrorReply {
    let mut server = Server::new();
    let mut peer = server.log_in();
    peer.send(bytes);
    peer.ping(b"never read");
    let got = peer.exchange(&mut server);
    let [Got::Reply(0, Reply::Error(error))] = &got[..] else { panic!("{got:?}") };
    assert!(peer.is_closing());
    assert!(server.is_staging_empty());
    peer.ping(b"never read");
    assert_eq!(peer.exchange(&mut server), [], "nothing after the last word");
    error.clone()
}

#[test]
fn broken_framing_gets_one_fatal_error_and_the_end() {
    let header = |kind: u8, length: u32| {
        let mut header = frame::header(FrameType::Control, 1, 0);
        header[..4].copy_from_slice(&length.to_be_bytes());
        header[8] = kind;
        header
    };
    let mut reserved = header(1, 0);
    reserved[11] = 1;
    for bytes in [
        header(0, 0),
        header(7, 0),
        header(255, 0),
        header(1, CONTROL_BYTES_MAX as u32 + 1),
        header(1, u32::MAX),
        header(2, (1 << 20) + 1),
        header(5, 65),
        reserved,
        *b"GET / HTTP/1",
    ] {
        let error = last_word(&bytes);
        assert_eq!((error.code, error.fatal), (ErrorCode::BadRequest, true), "{}", bytes.escape_ascii());
    }
}

#[test]
fn ids_that_are_zero_or_in_use_end_the_connection() {
    assert_eq!(last_word(&control(0, br#"{"op":"quota"}"#)).code, ErrorCode::BadRequest);
    let mut twice = Vec::new();
    frame::put_json(&mut twice, FrameType::Control, 9, &put("/x", None));
    let server = &mut Server::new();
    let mut peer = server.log_in();
    peer.send(&twice);
    peer.send(&twice);
    let got = peer.exchange(server);
    assert!(matches!(&got[..], [Got::Reply(0, Reply::Error(error))] if error.fatal), "{got:?}");
}

#[test]
fn an_id_may_be_used_again_once_it_was_answered() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    for _ in 0..3 {
        peer.request_as(7, &Request::Quota {});
        assert!(matches!(peer.only_reply(&mut server, 7), Reply::Quota(_)));
    }
}

#[test]
fn data_or_an_end_that_belongs_to_no_upload_ends_the_connection() {
    let mut data = frame::header(FrameType::Data, 5, 3).to_vec();
    data.extend_from_slice(b"abc");
    assert_eq!(last_word(&data).code, ErrorCode::BadRequest);
    let mut end = Vec::new();
    frame::put_bytes(&mut end, FrameType::End, 5, b"{}");
    assert_eq!(last_word(&end).code, ErrorCode::BadRequest);
}

#[test]
fn a_control_frame_of_4_kib_is_too_long_only_before_login() {
    let mut server = Server::new();
    let long = format!(r#"{{"op":"quota","padding":"{}"}}"#, "x".repeat(CONTROL_BYTES_MAX_BEFORE_LOGIN));
    let mut peer = server.connect();
    peer.send(&control(1, long.as_bytes()));
    assert!(matches!(&peer.exchange(&mut server)[..], [Got::Reply(0, Reply::Error(error))] if error.fatal));
    let mut peer = server.log_in();
    peer.send(&control(9, long.as_bytes()));
    assert!(matches!(peer.only_reply(&mut server, 9), Reply::Quota(_)));
    let longest = format!(r#"{{"op":"quota","padding":"{}"}}"#, "x".repeat(CONTROL_BYTES_MAX - 27));
    assert_eq!(longest.len(), CONTROL_BYTES_MAX);
    peer.send(&control(10, longest.as_bytes()));
    assert!(matches!(peer.only_reply(&mut server, 10), Reply::Quota(_)));
}

// ---- Many requests, no reader -------------------------------------------------------------

/// Sends `count` requests to a session whose client reads nothing, then lets it read.
fn flood(server: &mut Server, count: u32, request: impl Fn(&mut Peer, u32)) -> Vec<Got> {
    let mut peer = server.log_in();
    for i in 0..count {
        request(&mut peer, i);
    }
    let sent = peer.unsent();
    while peer.deliver(usize::MAX) | peer.step(server) {
        assert!(peer.buffers.input.filled().len() <= INPUT_BYTES);
        assert!(peer.buffers.output.held_bytes() <= OUTPUT_BYTES_HIGH + CONTROL_BYTES_MAX + PIECE_BYTES);
    }
    assert!(peer.unsent() > sent / 3, "it stopped reading");
    assert!(peer.buffers.output.held_bytes() >= OUTPUT_BYTES_HIGH, "because nobody reads what it wrote");
    assert!(!peer.step(server), "and it does not spin");
    peer.exchange(server)
}

#[test]
fn ten_thousand_pings_and_no_reader_stay_bounded_and_are_all_answered() {
    let mut server = Server::new();
    let body = |i: u32| format!("{i:064}").into_bytes();
    let got = flood(&mut server, 10_000, |peer, i| peer.ping(&body(i)));
    assert_eq!(got.len(), 10_000);
    for (i, got) in got.iter().enumerate() {
        assert_eq!(*got, Got::Pong(body(i as u32)));
    }
}

#[test]
fn ten_thousand_requests_and_no_reader_stay_bounded_and_are_answered_in_order() {
    let mut server = Server::new();
    let got = flood(&mut server, 10_000, |peer, _| {
        peer.request(&stat("/there/is/no/such/file"));
    });
    assert_eq!(got.len(), 10_000);
    let ids: Vec<u32> =
        got.iter().map(|got| if let Got::Reply(id, _) = got { *id } else { panic!("{got:?}") }).collect();
    assert!(ids.is_sorted());
}

#[test]
fn listings_and_downloads_and_no_reader_stay_bounded() {
    let mut server = Server::new();
    for i in 0..300 {
        write(&server.at(&format!("{i:0250}")), b"");
    }
    write(&server.at("large"), &content(1, MIB));
    flood(&mut server, 200, |peer, i| {
        peer.request(&if i % 20 == 0 { get("/large") } else { Request::List { path: "/".into() } });
        (0..50).for_each(|_| peer.ping(&[b'x'; 64]));
    });
}

// ---- Uploads that are refused -------------------------------------------------------------

#[test]
fn an_upload_with_a_wrong_digest_or_size_leaves_the_old_file() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    write(&server.at("file"), b"old");
    for (declared, size, digest) in [
        (Some(3), 3, Digest::of(b"neW")),
        (None, 3, Digest::of(b"neW")),
        (None, 2, Digest::of(b"new")),
        (None, 4, Digest::of(b"new")),
        (Some(4), 3, Digest::of(b"new")),
        (Some(4), 4, Digest::of(b"new")),
    ] {
        let id = peer.request(&put("/file", declared));
        peer.data(id, b"new");
        peer.end_with(id, size, digest);
        let reply = peer.only_reply(&mut server, id);
        assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Mismatch), "{reply:?}");
        assert_eq!(std::fs::read(server.at("file")).expect("there"), b"old");
        assert!(server.is_staging_empty());
    }
    assert_eq!(peer.get(&mut server, "/file"), Ok(b"old".to_vec()));
}

#[test]
fn an_upload_that_brings_more_than_it_announced_leaves_the_old_file() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    write(&server.at("file"), b"old");
    let reply = peer.put_with(&mut server, &put("/file", Some(2)), b"new");
    assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Mismatch), "{reply:?}");
    assert_eq!(peer.get(&mut server, "/file"), Ok(b"old".to_vec()));
    assert_eq!(peer.quota(&mut server).reserved_bytes, 0);
}

#[test]
fn offsets_that_cannot_be_are_refused_or_start_over_and_make_no_hole() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    write(&server.at("file"), b"hello");
    for (id, offset, expected) in [
        (10, "-1", Err(ErrorCode::BadRequest)),
        (11, "1.5", Err(ErrorCode::BadRequest)),
        (12, "18446744073709551616", Err(ErrorCode::BadRequest)),
        (13, "6", Ok(())),
        (14, "9223372036854775807", Ok(())),
        (15, "9223372036854775808", Ok(())),
        (16, "18446744073709551615", Ok(())),
    ] {
        for proof in ["", r#","etag":"x""#, &format!(r#","prefix_digest":"{}""#, Digest::of(b"hello"))] {
            peer.send(&control(id, format!(r#"{{"op":"get","path":"/file","offset":{offset}{proof}}}"#).as_bytes()));
            let got = peer.exchange(&mut server);
            // From the beginning, since nobody has so much of it.
            assert_eq!(downloaded(&got, id).map(|bytes| assert_eq!(bytes, b"hello")), expected, "{offset}{proof}");
        }
    }
    // An upload has no offset to choose: it begins at the beginning, or where the server says.
    let upload_id = "07".repeat(16);
    for extra in
        [r#""offset":1000000"#, r#""offset":-1"#, &format!(r#""offset":5,"upload_id":"{upload_id}","resume":true"#)]
    {
        peer.send(&control(
            20,
            format!(r#"{{"op":"put","path":"/new","mode":"replace","size":3,{extra}}}"#).as_bytes(),
        ));
        peer.data(20, b"new");
        peer.end(20, b"new");
        let got = peer.exchange(&mut server);
        assert!(matches!(got.last(), Some(Got::Reply(20, Reply::Stored { size: 3, .. }))), "{extra}: {got:?}");
        assert_eq!(std::fs::read(server.at("new")).expect("there"), b"new");
    }
    assert_eq!(server.usage_in_ledger(), (8, 2));
    assert_eq!(server.usage_on_disk(), (8, 2));
}

#[test]
fn an_end_that_cannot_be_understood_drops_the_upload_and_the_session_goes_on() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    let [blake3, sha256] = [DigestAlgorithm::Blake3, DigestAlgorithm::Sha256].map(|by| Digest::by(by, b"new"));
    let with = |digest: String| format!(r#"{{"size":3,"digest":"{digest}"}}"#).into_bytes();
    for end in [
        &b"{}"[..],
        b"",
        br#"{"size":-1,"digest":"00"}"#,
        br#"{"size":3}"#,
        &format!(r#"{{"size":3,"sha256":"{}"}}"#, sha256.hex()).into_bytes(),
        &with(sha256.to_string()),
        &with(sha256.hex()),
        &with(format!("md5:{}", blake3.hex())),
        &with(format!("BLAKE3:{}", blake3.hex())),
        &with(format!("blake3:{}", &blake3.hex()[1..])),
    ] {
        let id = peer.request(&put("/file", None));
        peer.data(id, b"new");
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::End, id, end);
        peer.send(&bytes);
        let reply = peer.only_reply(&mut server, id);
        assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::BadRequest), "{reply:?}");
        assert!(server.is_staging_empty() && !server.at("file").exists());
    }
}

#[test]
fn a_digest_by_an_algorithm_that_is_not_known_or_not_meant_there_is_refused() {
    let mut server = Server::new();
    write(&server.at("file"), b"hello");
    let mut peer = server.log_in();
    let [blake3, sha256] = [DigestAlgorithm::Blake3, DigestAlgorithm::Sha256].map(|by| Digest::by(by, b"he"));
    let get = |prefix: String| format!(r#"{{"op":"get","path":"/file","offset":2,"prefix_digest":"{prefix}"}}"#);
    let digest = |algorithm: &str| format!(r#"{{"op":"digest","path":"/file","algorithm":{algorithm}}}"#);
    for (id, body, word) in [
        (10, get(sha256.to_string()), "transfers are verified with blake3, not with sha256"),
        (11, get(sha256.hex()), "a digest names its algorithm"),
        (12, get(format!("blake4:{}", blake3.hex())), "unknown digest algorithm, expected blake3 or sha256"),
        (13, digest("\"md5\""), "expected `blake3` or `sha256`"),
        (14, digest("\"SHA-256\""), "expected `blake3` or `sha256`"),
        (15, digest("7"), ""),
    ] {
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Control, id, body.as_bytes());
        peer.send(&bytes);
        let Reply::Error(error) = peer.only_reply(&mut server, id) else { panic!("{body}") };
        assert_eq!((error.code, error.fatal), (ErrorCode::BadRequest, false), "{body}");
        assert!(error.message.contains(word), "{error:?}");
    }
    let mut bytes = Vec::new();
    frame::put_bytes(&mut bytes, FrameType::Control, 16, br#"{"op":"sha256","path":"/file"}"#);
    peer.send(&bytes);
    let Reply::Error(error) = peer.only_reply(&mut server, 16) else { panic!("there is no such request") };
    assert_eq!(error.code, ErrorCode::Unsupported);
    let mut bytes = Vec::new();
    frame::put_bytes(&mut bytes, FrameType::Control, 17, br#"{"op":"digest","path":"/file"}"#);
    peer.send(&bytes);
    assert_eq!(peer.only_reply(&mut server, 17), Reply::Digest { digest: Digest::of(b"hello"), size: 5 });
}

#[test]
fn an_upload_that_may_only_create_leaves_what_is_there() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    write(&server.at("file"), b"old");
    std::fs::create_dir(server.at("folder")).expect("mkdir");
    for (path, mode, code) in [
        ("/file", PutMode::Create, ErrorCode::Exists),
        ("/folder", PutMode::Replace, ErrorCode::NotAFile),
        ("/file/below", PutMode::Create, ErrorCode::NotADirectory),
        ("/missing/below", PutMode::Create, ErrorCode::NotFound),
        ("/", PutMode::Replace, ErrorCode::NotAFile),
    ] {
        let reply = peer.put_with(&mut server, &put_mode(path, Some(3), mode), b"new");
        assert!(matches!(&reply, Reply::Error(error) if error.code == code), "{path}: {reply:?}");
        assert!(server.is_staging_empty());
    }
    assert_eq!(peer.get(&mut server, "/file"), Ok(b"old".to_vec()));
}

#[test]
fn a_name_taken_while_an_upload_runs_is_not_replaced() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    let id = peer.request(&put_mode("/file", Some(3), PutMode::Create));
    peer.data(id, b"new");
    assert_eq!(peer.exchange(&mut server), []);
    write(&server.at("file"), b"other");
    peer.end(id, b"new");
    let reply = peer.only_reply(&mut server, id);
    assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Exists), "{reply:?}");
    assert_eq!(peer.get(&mut server, "/file"), Ok(b"other".to_vec()));
    assert!(server.is_staging_empty());
}

#[test]
fn only_the_file_with_the_etag_asked_for_is_replaced() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    peer.put(&mut server, "/file", b"one");
    let Reply::Stat { etag, .. } = peer.ask(&mut server, &stat("/file")) else { panic!("a file") };
    let mut request = put("/file", Some(3));
    if let Request::Put { if_etag, .. } = &mut request {
        if_etag.clone_from(&etag);
    }
    assert!(matches!(peer.put_with(&mut server, &request, b"two"), Reply::Stored { .. }));
    let reply = peer.put_with(&mut server, &request, b"six");
    assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Changed), "{reply:?}");
    assert_eq!(peer.get(&mut server, "/file"), Ok(b"two".to_vec()));
}

#[test]
fn upload_over_quota_leaves_the_old_file() {
    let mut server = Server::with_quota(100_000);
    let mut peer = server.log_in();
    peer.put(&mut server, "/file", b"old");
    let large = content(1, 150_000);
    for declared in [Some(150_000), None] {
        let reply = peer.put_with(&mut server, &put("/file", declared), &large);
        assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::QuotaBytes), "{reply:?}");
        assert_eq!(peer.get(&mut server, "/file"), Ok(b"old".to_vec()));
        assert!(server.is_staging_empty());
        let quota = peer.quota(&mut server);
        assert_eq!((quota.used_bytes, quota.reserved_bytes), (3, 0));
    }
    assert!(matches!(peer.put(&mut server, "/file", &large[..99_000]), Reply::Stored { .. }), "the session goes on");
}

// ---- Cut connections ----------------------------------------------------------------------

/// An upload as a client sends it.
fn upload_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put_json(&mut bytes, FrameType::Control, 100, &put("/file", Some(5)));
    frame::put_bytes(&mut bytes, FrameType::Data, 100, b"he");
    frame::put_bytes(&mut bytes, FrameType::Data, 100, b"llo");
    let end = berth::wire::message::End { size: 5, digest: Digest::of(b"hello") };
    frame::put_json(&mut bytes, FrameType::End, 100, &end);
    bytes
}

#[test]
fn a_half_close_at_any_byte_of_an_upload_never_commits_a_part_of_it() {
    let bytes = upload_bytes();
    for policy in [berth::config::SyncPolicy::None, berth::config::SyncPolicy::Full] {
        let mut server = Server::new();
        server.set_sync(policy);
        write(&server.at("file"), b"old");
        for cut in 0..=bytes.len() {
            let mut peer = server.log_in();
            peer.send(&bytes[..cut]);
            peer.half_close();
            let got = peer.exchange(&mut server);
            let is_whole = cut == bytes.len();
            assert_eq!(got.len(), usize::from(is_whole), "{got:?} when cut at {cut}");
            let expected: &[u8] = if is_whole { b"hello" } else { b"old" };
            assert_eq!(std::fs::read(server.at("file")).expect("there"), expected, "cut at {cut}");
            assert!(peer.is_closing() && server.is_staging_empty(), "cut at {cut}");
        }
    }
}

#[test]
fn a_reset_at_any_byte_of_an_upload_never_commits_a_part_of_it() {
    let bytes = upload_bytes();
    let mut server = Server::new();
    write(&server.at("file"), b"old");
    for cut in 0..bytes.len() {
        let mut peer = server.log_in();
        peer.send(&bytes[..cut]);
        peer.pump(&mut server);
        peer.reset(&server);
        assert_eq!(std::fs::read(server.at("file")).expect("there"), b"old", "cut at {cut}");
        assert!(server.is_staging_empty(), "cut at {cut}");
    }
}

/// Everything a client may say after its login, frame by frame.
fn everything() -> Vec<Vec<u8>> {
    let upload_id = berth::base::upload_id::UploadId([5; 16]);
    let mut frames = Vec::new();
    let mut id = 100;
    let mut ask = |request: &Request, content: Option<&[u8]>| {
        id += 1;
        let mut frame = Vec::new();
        frame::put_json(&mut frame, FrameType::Control, id, request);
        frames.push(frame);
        for piece in content.into_iter().flat_map(|content| content.chunks(3)) {
            let mut frame = Vec::new();
            frame::put_bytes(&mut frame, FrameType::Data, id, piece);
            frames.push(frame);
        }
        if let Some(content) = content {
            let mut frame = Vec::new();
            let end = berth::wire::message::End { size: content.len() as u64, digest: Digest::of(content) };
            frame::put_json(&mut frame, FrameType::End, id, &end);
            frames.push(frame);
        }
    };
    ask(&mkdir("/d"), None);
    ask(&put("/d/a", Some(5)), Some(b"hello"));
    ask(&put("/d/a", None), Some(b"hallo!"));
    ask(&put_mode("/d/a", Some(3), PutMode::Create), Some(b"new"));
    ask(&put_as("/d/b", 4, upload_id, false), Some(b"some"));
    ask(&put_as("/d/c", 4, upload_id, true), Some(b"more"));
    ask(&Request::List { path: "/d".into() }, None);
    ask(&stat("/d/a"), None);
    ask(&Request::Digest { path: "/d/a".into(), algorithm: DigestAlgorithm::OF_TRANSFERS }, None);
    ask(&get("/d/a"), None);
    ask(&mv("/d/a", "/d/e"), None);
    ask(&mv("/d/none", "/d/e"), None);
    ask(&get("/d/e"), None);
    ask(&Request::Quota {}, None);
    ask(&Request::Partials {}, None);
    ask(&Request::DropPartial { upload_id }, None);
    ask(&rm("/d/e"), None);
    ask(&rmdir("/d"), None);
    let mut others = vec![Vec::new(); 3];
    frame::put_bytes(&mut others[0], FrameType::Control, 900, b"no JSON");
    frame::put_bytes(&mut others[1], FrameType::Abort, 901, b"{}");
    frame::put_bytes(&mut others[2], FrameType::Ping, 0, b"there?");
    frames.extend(others);
    frames
}

/// Leaves nothing in the home.
fn empty(server: &mut Server) {
    for entry in std::fs::read_dir(server.home()).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("removed");
    }
    server.capability().ledger().begin_recount();
}

#[test]
fn a_conversation_cut_at_any_byte_leaves_whole_files_and_an_exact_ledger() {
    let frames = everything();
    let bytes = frames.concat();
    let mut server = Server::new();
    let mut peer = server.log_in();
    // After so many bytes there have been so many answers.
    let mut answers = vec![(0, 0)];
    let mut whole = Vec::new();
    for frame in &frames {
        peer.send(frame);
        whole.extend(peer.exchange(&mut server).iter().map(describe));
        answers.push((answers.last().expect("the first").0 + frame.len(), whole.len()));
    }
    assert!(whole.len() > 20 && !peer.is_closing(), "{whole:#?}");
    peer.reset(&server);
    for cut in (0..=bytes.len()).step_by(tries(7, 1)).chain([bytes.len()]) {
        for by_reset in [false, true] {
            empty(&mut server);
            let mut peer = server.log_in();
            peer.send(&bytes[..cut]);
            if !by_reset {
                peer.half_close();
            }
            let mut got: Vec<String> = peer.exchange(&mut server).iter().map(describe).collect();
            // A pong overtakes what waits.
            got.sort_by_key(|line| line.starts_with("pong"));
            let (_, expected) = answers.iter().rfind(|(sent, _)| *sent <= cut).expect("the first");
            assert_eq!(got, whole[..*expected], "cut at {cut}");
            assert_eq!(peer.is_closing(), !by_reset, "cut at {cut}");
            peer.reset(&server);
            for (name, contents) in [("a", &[&b"hello"[..], b"hallo!"][..]), ("b", &[b"some"]), ("c", &[b"more"])] {
                let found = std::fs::read(server.at("d").join(name));
                assert!(found.is_err() || found.is_ok_and(|found| contents.contains(&&found[..])), "cut at {cut}");
            }
            assert!(server.is_staging_empty(), "cut at {cut}");
            let ledger = server.capability().ledger().state();
            assert!(!ledger.is_counted || (ledger.used.bytes, ledger.used.files) == server.usage_on_disk());
            assert_eq!((ledger.reserved.bytes, ledger.reserved.files), (0, 0), "cut at {cut}");
        }
    }
}

#[test]
fn a_login_cut_at_any_byte_is_none() {
    let mut server = Server::new();
    let begin = |server: &mut Server| {
        let mut peer = server.connect();
        peer.ask(server, &Request::Hello { versions: vec![1], client: String::new() });
        let binding = berth::auth::scram::Binding::None;
        let (exchange, message) = berth::auth::scram::ClientExchange::new(USER, keys(), binding).expect("user");
        let reply = peer.ask(server, &Request::Auth { mechanism: binding.mechanism().into(), message });
        let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
        let mut proof = Vec::new();
        let message = exchange.answer(&message).expect("challenge").1;
        frame::put_json(&mut proof, FrameType::Control, 9, &Request::AuthNext { message });
        (peer, proof)
    };
    let length = begin(&mut server).1.len();
    for cut in 0..=length {
        for by_reset in [false, true] {
            let (mut peer, proof) = begin(&mut server);
            peer.send(&proof[..cut]);
            if !by_reset {
                peer.half_close();
            }
            let got = peer.exchange(&mut server);
            let is_in = matches!(got[..], [Got::Reply(9, Reply::Welcome { .. })]);
            assert_eq!((is_in, got.len()), (cut == length, usize::from(cut == length)), "cut at {cut}: {got:?}");
            assert_eq!(peer.is_closing(), !by_reset, "cut at {cut}");
            peer.reset(&server);
        }
    }
}

#[test]
fn requests_sent_before_a_half_close_are_all_answered() {
    let mut server = Server::new();
    for count in [1, 70, 3000] {
        let mut peer = server.log_in();
        for _ in 0..count {
            peer.request(&stat("/"));
            peer.ping(&[b'x'; 64]);
        }
        peer.half_close();
        assert_eq!(peer.exchange(&mut server).len(), 2 * count);
        assert!(peer.is_closing());
    }
}

#[test]
fn requests_sent_before_a_half_close_wait_for_a_slow_reader() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    for _ in 0..3000 {
        peer.ping(&[b'x'; 64]);
    }
    peer.half_close();
    while peer.deliver(usize::MAX) | peer.step(&mut server) {}
    assert!(!peer.is_closing(), "there is more to answer once this is read");
    assert_eq!(peer.exchange(&mut server).len(), 3000);
    assert!(peer.is_closing());
}

// ---- Odd orders ---------------------------------------------------------------------------

#[test]
fn the_data_of_a_queued_upload_waits_for_its_turn() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    write(&server.at("large"), &content(1, MIB));
    let first = peer.request(&get("/large"));
    let second = peer.request(&put("/new", Some(3)));
    peer.data(second, b"new");
    peer.end(second, b"new");
    let got = peer.exchange(&mut server);
    assert!(matches!(got.last(), Some(Got::Reply(id, Reply::Stored { size: 3, .. })) if *id == second));
    assert_eq!(downloaded(&got, first).expect("whole").len(), MIB);
}

#[test]
fn requests_between_an_upload_and_its_data_do_not_stop_it() {
    let mut server = Server::new();
    for padding in [0, 60_000] {
        let mut peer = server.log_in();
        let upload = peer.request(&put("/new", Some(3)));
        let body = format!(r#"{{"op":"quota","padding":"{}"}}"#, "x".repeat(padding));
        for id in 1000..1063 {
            peer.send(&control(id, body.as_bytes()));
        }
        peer.data(upload, b"new");
        peer.end(upload, b"new");
        let got = peer.exchange(&mut server);
        let is_stored = matches!(&got[0], Got::Reply(id, Reply::Stored { .. }) if *id == upload);
        let is_ended = matches!(got.last(), Some(Got::Reply(0, Reply::Error(error))) if error.fatal);
        assert!(is_stored && got.len() == 64 || is_ended, "{} answers, then silence", got.len());
    }
}

#[test]
fn a_cancel_overtakes_requests_that_wait() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    write(&server.at("large"), &content(1, MIB));
    let running = peer.request(&get("/large"));
    let waiting = peer.request(&mkdir("/folder"));
    let after = peer.request(&stat("/large"));
    peer.cancel(waiting);
    peer.cancel(running);
    let got = peer.exchange(&mut server);
    let codes: Vec<_> = got.iter().filter_map(Got::code).collect();
    assert_eq!(codes, [ErrorCode::Cancelled, ErrorCode::Cancelled]);
    assert!(matches!(got.last(), Some(Got::Reply(id, Reply::Stat { .. })) if *id == after));
    assert!(!server.at("folder").exists());
}

#[test]
fn a_cancel_of_what_is_answered_or_unknown_does_nothing() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    let id = peer.request(&Request::Quota {});
    peer.cancel(id);
    peer.cancel(77);
    peer.cancel(0);
    peer.ping(b"on");
    let got = peer.exchange(&mut server);
    assert!(got.contains(&Got::Pong(b"on".to_vec())) && got.len() == 2, "{got:?}");
}

#[test]
fn a_cancelled_upload_leaves_nothing_and_its_room_is_free_again() {
    let mut server = Server::with_quota(100);
    let mut peer = server.log_in();
    for _ in 0..3 {
        let id = peer.request(&put("/file", Some(100)));
        peer.data(id, &[1; 60]);
        peer.cancel(id);
        let reply = peer.only_reply(&mut server, id);
        assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Cancelled), "{reply:?}");
        assert!(server.is_staging_empty());
    }
    assert_eq!(peer.quota(&mut server).used_bytes, 0);
}

#[test]
fn a_turn_ends_when_its_budget_is_spent() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    for _ in 0..50 {
        peer.request(&stat("/"));
    }
    peer.deliver(usize::MAX);
    let mut budget = Budget::new(10 * REQUEST_COST);
    peer.protocol.step(ProtocolIo::single(&mut peer.buffers), &mut server.service, &mut budget, server.now);
    assert!(budget.is_spent());
    peer.drain(usize::MAX);
    assert_eq!(peer.take_received().len(), 10);
}

#[test]
fn a_frame_the_server_writes_is_never_over_the_limits_it_announced() {
    let mut server = Server::new();
    for i in 0..600 {
        let name: Vec<u8> = format!("{i:04}").into_bytes().into_iter().chain([1; 200]).collect();
        write(&server.home().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&name)), b"");
    }
    let mut peer = server.log_in();
    peer.take_bytes();
    peer.request(&Request::List { path: "/".into() });
    peer.pump(&mut server);
    let bytes = peer.take_bytes();
    let (mut rest, mut frames) = (&bytes[..], 0);
    while let Some((frame, size)) = frame::decode(rest, CONTROL_BYTES_MAX).expect("within the limits") {
        assert!(matches!(frame, Frame::Control { .. }));
        rest = &rest[size..];
        frames += 1;
    }
    assert!(frames > 1 && rest.is_empty());
}
