//! The codec of the native protocol: every frame and message, cut at any byte, too long, or malformed.

use std::collections::HashSet;
use std::mem::discriminant;

use crate::support::requests::Put;
use berth::base::buffers::DATA_BYTES_MAX;
use berth::base::digest::{Digest, DigestAlgorithm};
use berth::base::upload_id::UploadId;
use berth::base::virtual_path::PATH_BYTES_MAX;
use berth::wire::control::{
    AccountUsage, ControlReply, ControlRequest, KickTarget, ServerReport, SessionReport, TurnTimes, UsageMode,
    UserReport,
};
use berth::wire::frame::{self, CONTROL_BYTES_MAX, Frame, FrameType, HEADER_BYTES, PING_BYTES_MAX, WireError};
use berth::wire::message::{
    End, Entry, EntryKind, ErrorReply, MessageError, Name, Partial, PutMode, QuotaReport, WireLimits,
};
use berth::wire::{ErrorCode, Reply, Request};

const LIMIT: usize = 4096;

// ---- Frames -------------------------------------------------------------------------------

/// One frame of each type, and what it decodes to.
fn vectors() -> Vec<(Vec<u8>, Frame<'static>)> {
    let frame = |kind, id, body: &[u8]| {
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, kind, id, body);
        bytes
    };
    vec![
        (frame(FrameType::Control, 1, b"{}"), Frame::Control { id: 1, body: b"{}" }),
        (frame(FrameType::Control, u32::MAX, b""), Frame::Control { id: u32::MAX, body: b"" }),
        (frame(FrameType::Data, 7, b""), Frame::Data { id: 7, length: 0 }),
        (frame(FrameType::End, 7, b"{\"x\":1}"), Frame::End { id: 7, body: b"{\"x\":1}" }),
        (frame(FrameType::Abort, 8, b"{}"), Frame::Abort { id: 8, body: b"{}" }),
        (frame(FrameType::Ping, 0, b"12345678"), Frame::Ping { body: b"12345678" }),
        (frame(FrameType::Pong, 0, b""), Frame::Pong { body: b"" }),
    ]
}

#[test]
fn a_frame_is_twelve_bytes_of_header_and_its_body() {
    let mut bytes = Vec::new();
    frame::put_bytes(&mut bytes, FrameType::End, 0x0102_0304, b"{}");
    assert_eq!(bytes, [0, 0, 0, 2, 1, 2, 3, 4, 3, 0, 0, 0, b'{', b'}']);
    let mut json = Vec::new();
    frame::put_json(&mut json, FrameType::End, 0x0102_0304, &serde_json::json!({}));
    assert_eq!(json, bytes);
}

#[test]
fn every_frame_decodes_whole_and_with_bytes_behind_it() {
    for (bytes, frame) in vectors() {
        assert_eq!(frame::decode(&bytes, LIMIT), Ok(Some((frame, bytes.len()))));
        let longer = [&bytes[..], &[0xff; 30]].concat();
        assert_eq!(frame::decode(&longer, LIMIT), Ok(Some((frame, bytes.len()))));
    }
}

#[test]
fn a_frame_that_is_not_whole_is_no_frame_yet() {
    for (bytes, frame) in vectors() {
        for length in 0..bytes.len() {
            assert_eq!(frame::decode(&bytes[..length], LIMIT), Ok(None), "{frame:?} cut at {length}");
        }
    }
}

#[test]
fn frames_come_out_one_by_one_however_they_are_cut() {
    let stream: Vec<u8> = vectors().into_iter().flat_map(|(bytes, _)| bytes).collect();
    for cut in [1, 2, 3, 7, 64, stream.len()] {
        let (mut buffer, mut seen) = (Vec::new(), 0);
        for piece in stream.chunks(cut) {
            buffer.extend_from_slice(piece);
            while let Some((frame, size)) = frame::decode(&buffer, LIMIT).expect("well-formed") {
                assert_eq!(frame, vectors()[seen].1);
                seen += 1;
                buffer.drain(..size);
            }
        }
        assert_eq!((seen, buffer.len()), (vectors().len(), 0));
    }
}

#[test]
fn a_data_frame_needs_no_more_than_its_header() {
    let header = frame::header(FrameType::Data, 9, DATA_BYTES_MAX);
    let frame = Frame::Data { id: 9, length: DATA_BYTES_MAX as u32 };
    assert_eq!(frame::decode(&header, LIMIT), Ok(Some((frame, HEADER_BYTES))));
}

#[test]
fn a_body_over_its_limit_is_refused_from_the_header_alone() {
    for (kind, limit) in [
        (FrameType::Control, LIMIT),
        (FrameType::End, LIMIT),
        (FrameType::Abort, LIMIT),
        (FrameType::Data, DATA_BYTES_MAX),
        (FrameType::Ping, PING_BYTES_MAX),
        (FrameType::Pong, PING_BYTES_MAX),
    ] {
        assert!(frame::decode(&frame::header(kind, 1, limit), LIMIT).is_ok(), "{kind:?} at its limit");
        for length in [limit + 1, u32::MAX as usize] {
            let error = WireError::TooLong { length: length as u32, limit };
            assert_eq!(frame::decode(&frame::header(kind, 1, length), LIMIT), Err(error), "{kind:?} of {length}");
        }
    }
}

#[test]
fn unknown_types_and_reserved_bytes_are_refused_from_the_header_alone() {
    for kind in (0..=u8::MAX).filter(|kind| !(1..=6).contains(kind)) {
        let mut header = frame::header(FrameType::Control, 1, 0);
        header[8] = kind;
        assert_eq!(frame::decode(&header, LIMIT), Err(WireError::UnknownType(kind)));
    }
    for reserved in 9..HEADER_BYTES {
        let mut header = frame::header(FrameType::Control, 1, 0);
        header[reserved] = 1;
        assert_eq!(frame::decode(&header, LIMIT), Err(WireError::Reserved));
    }
}

#[test]
fn other_protocols_are_refused_by_their_first_bytes() {
    for greeting in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"USER anonymous\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\x01",
    ] {
        assert!(frame::decode(greeting, LIMIT).is_err(), "{}", greeting.escape_ascii());
    }
}

// ---- Messages -----------------------------------------------------------------------------

fn name() -> Name {
    "/a \"b\"/ü".into()
}

fn upload_id() -> UploadId {
    UploadId([0xab; 16])
}

/// Every request with all its fields set, and with as few as there can be.
fn requests() -> Vec<Request> {
    let digest = Some(Digest::of(b"x"));
    vec![
        Request::Hello { versions: vec![1, 2], client: "berth/1".into() },
        Request::Auth { mechanism: "SCRAM-SHA-256".into(), message: "n,,n=u,r=x".into() },
        Request::AuthNext { message: "c=biws,r=x,p=y".into() },
        Request::List { path: name() },
        Request::Stat { path: name() },
        Request::Digest { path: name(), algorithm: DigestAlgorithm::OF_TRANSFERS },
        Request::Mkdir { path: name(), parents: true, permissions: None },
        Request::SetPermissions { path: name(), permissions: 0o755 },
        Request::Rm { path: name() },
        Request::Rmdir { path: name() },
        Request::Mv { from: name(), to: "/c".into(), replace: true },
        Request::Quota {},
        Request::Get { path: name(), offset: 0, etag: None, prefix_digest: None },
        Request::Get { path: name(), offset: u64::MAX, etag: Some("e".into()), prefix_digest: digest },
        Put { path: name(), ..Put::default() }.request(),
        Request::Put {
            path: Name(b"/\xff".to_vec()),
            size: Some(u64::MAX),
            mtime_ns: Some(i64::MIN),
            mode: PutMode::Replace,
            if_etag: Some("e".into()),
            upload_id: Some(upload_id()),
            resume: true,
            permissions: Some(u32::MAX),
            set_permissions: true,
        },
        Request::Partials {},
        Request::DropPartial { upload_id: upload_id() },
    ]
}

fn replies() -> Vec<Reply> {
    let entry = |name: Name, kind| Entry { name, kind, size: 5, mtime_ns: -1, mode: 0o644, unexamined: false };
    let limits = WireLimits { control_bytes: 1, data_bytes: 2, in_flight: 3 };
    vec![
        Reply::Hello {
            version: 1,
            server: "berthd".into(),
            mechanisms: vec!["SCRAM-SHA-256".into()],
            features: vec![],
            limits,
        },
        Reply::Challenge { message: "r=".into() },
        Reply::Welcome { message: "v=".into() },
        Reply::Page { entries: vec![], last: true },
        Reply::Page {
            entries: vec![
                entry(name(), EntryKind::File),
                entry(Name(vec![0x80]), EntryKind::Dir),
                entry("l".into(), EntryKind::Link),
                entry("o".into(), EntryKind::Other),
            ],
            last: false,
        },
        Reply::Stat { entry: entry(name(), EntryKind::Dir), etag: None },
        Reply::Stat { entry: entry(name(), EntryKind::File), etag: Some("e".into()) },
        Reply::Digest { digest: Digest::of(b""), size: u64::MAX },
        Reply::Done {},
        Reply::Quota(QuotaReport {
            used_bytes: u64::MAX,
            reserved_bytes: 1,
            limit_bytes: None,
            used_files: 2,
            limit_files: None,
            disk_free_bytes: None,
        }),
        Reply::Quota(QuotaReport {
            used_bytes: 0,
            reserved_bytes: 0,
            limit_bytes: Some(0),
            used_files: 0,
            limit_files: Some(u64::MAX),
            disk_free_bytes: Some(0),
        }),
        Reply::File { size: 1, mtime_ns: i64::MAX, etag: "e".into(), offset: 1, mode: None },
        Reply::File { size: 1, mtime_ns: 0, etag: "e".into(), offset: 0, mode: Some(0o644) },
        Reply::Permissions { permissions: u32::MAX },
        Reply::Ready { offset: 3, prefix_digest: Digest::of(b"abc") },
        Reply::Stored { size: 3, digest: Digest::of(b"abc") },
        Reply::Partials { partials: vec![], last: true },
        Reply::Partials {
            partials: vec![
                Partial { upload_id: upload_id(), path: name(), offset: 1, size: None, expires_s: -1 },
                Partial { upload_id: upload_id(), path: name(), offset: 1, size: Some(2), expires_s: 3 },
            ],
            last: false,
        },
        Reply::Error(error(ErrorCode::Internal, true)),
    ]
}

fn error(code: ErrorCode, flag: bool) -> ErrorReply {
    let advice = flag.then(|| "do \"this\"\n".into());
    ErrorReply { code, message: "what \"happened\"\n".into(), advice, read_only: flag, retry: flag, fatal: flag }
}

#[test]
fn every_request_comes_back_as_it_was() {
    for request in requests() {
        let body = serde_json::to_vec(&request).expect("serializes");
        assert_eq!(Request::decode(&body), Ok(request));
    }
    assert_eq!(requests().iter().map(discriminant).collect::<HashSet<_>>().len(), 16, "one of each is here");
}

#[test]
fn every_reply_comes_back_as_it_was() {
    for reply in replies() {
        let body = serde_json::to_vec(&reply).expect("serializes");
        let read: Reply = serde_json::from_slice(&body).expect("reads back");
        assert_eq!(read, reply);
    }
    assert_eq!(replies().iter().map(discriminant).collect::<HashSet<_>>().len(), 14, "one of each is here");
}

#[test]
fn ends_and_errors_come_back_as_they_were() {
    let end = End { size: u64::MAX, digest: Digest::of(b"abc") };
    let text = serde_json::to_string(&end).expect("serializes");
    assert_eq!(serde_json::from_str::<End>(&text).expect("reads back"), end);
    for (flag, fields) in [(true, 6), (false, 2)] {
        let error = error(ErrorCode::QuotaBytes, flag);
        let value = serde_json::to_value(&error).expect("serializes");
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(fields), "what says nothing is left out");
        assert_eq!(value["code"], "quota_bytes");
        assert_eq!(serde_json::from_value::<ErrorReply>(value).expect("reads back"), error);
    }
}

#[test]
fn optional_fields_may_be_missing() {
    for (body, request) in [
        (r#"{"op":"hello","versions":[1]}"#, Request::Hello { versions: vec![1], client: String::new() }),
        (r#"{"op":"mkdir","path":"a"}"#, Request::Mkdir { path: "a".into(), parents: false, permissions: None }),
        (r#"{"op":"mv","from":"a","to":"b"}"#, Request::Mv { from: "a".into(), to: "b".into(), replace: false }),
        (r#"{"op":"get","path":"a"}"#, Request::Get { path: "a".into(), offset: 0, etag: None, prefix_digest: None }),
        (r#"{"op":"put","path":"a"}"#, Put { path: "a".into(), ..Put::default() }.request()),
    ] {
        assert_eq!(Request::decode(body.as_bytes()), Ok(request), "{body}");
    }
}

#[test]
fn fields_not_known_here_are_ignored_in_every_message() {
    let extended = |message: serde_json::Value| {
        let mut message = message;
        let fields = message.as_object_mut().expect("messages are objects");
        fields.insert("from_the_future".into(), serde_json::json!({"deep": [1, {"er": null}]}));
        serde_json::to_vec(&message).expect("serializes")
    };
    for request in requests() {
        let body = extended(serde_json::to_value(&request).expect("serializes"));
        assert_eq!(Request::decode(&body), Ok(request));
    }
    for reply in replies() {
        let body = extended(serde_json::to_value(&reply).expect("serializes"));
        assert_eq!(serde_json::from_slice::<Reply>(&body).expect("reads"), reply);
    }
}

#[test]
fn a_request_not_known_here_is_unsupported_and_named() {
    let decode = |body: &str| Request::decode(body.as_bytes());
    assert_eq!(decode(r#"{"op":"chmod","path":1}"#), Err(MessageError::Unsupported("chmod".into())));
    assert_eq!(decode("{\"op\":\"a\\nb\\u001b\"}"), Err(MessageError::Unsupported("a\\nb\\x1b".into())));
    for known in requests() {
        let op = serde_json::to_value(&known).expect("serializes")["op"].clone();
        let body = serde_json::json!({ "op": op, "path": 1, "from": 1, "versions": 1, "message": 1, "upload_id": 1 });
        match Request::decode(body.to_string().as_bytes()) {
            Err(MessageError::Malformed(_)) => {}
            other => assert!(matches!(known, Request::Quota {} | Request::Partials {}), "{op}: {other:?}"),
        }
    }
}

#[test]
fn malformed_requests_are_errors_and_never_a_panic() {
    let deep = |open: &str, close: &str| {
        format!("{{\"op\":\"quota\",\"x\":{}{}}}", open.repeat(100_000), close.repeat(100_000))
    };
    for body in [
        "".to_string(),
        "null".into(),
        "[]".into(),
        "\"op\"".into(),
        "{".into(),
        "{}".into(),
        r#"{"op":null}"#.into(),
        r#"{"op":"stat"}"#.into(),
        r#"{"op":"quota"} {}"#.into(),
        r#"{"op":"stat","path":null}"#.into(),
        r#"{"op":"stat","path":["a"]}"#.into(),
        r#"{"op":"stat","path":"a","path":"b"}"#.into(),
        r#"{"op":"stat","op":"rm","path":"a"}"#.into(),
        r#"{"op":"chmod","op":"chown"}"#.into(),
        r#"{"op":"stat","path":"\ud800"}"#.into(),
        r#"{"op":"stat","path":"\udc00\ud800"}"#.into(),
        r#"{"op":"\ud800"}"#.into(),
        "{\"op\":\"stat\",\"path\":\"a\nb\"}".into(),
        deep("[", "]"),
        deep("{\"x\":", "}"),
        "[".repeat(100_000),
    ] {
        let decoded = Request::decode(body.as_bytes());
        assert!(matches!(decoded, Err(MessageError::Malformed(_))), "{decoded:?} from {:.80}", body);
    }
    for body in [&b"{\"op\":\"stat\",\"path\":\"\xff\"}"[..], b"\xff\xfe{\0}\0", b"{\"op\":\"quota\"}\0"] {
        assert!(matches!(Request::decode(body), Err(MessageError::Malformed(_))), "{}", body.escape_ascii());
    }
}

#[test]
fn a_list_of_the_right_values_is_no_message() {
    for body in [r#"["quota"]"#, r#"["stat","a"]"#, r#"["put","a"]"#, r#" ["rm", "a"]"#, r#"["chmod"]"#] {
        let decoded = Request::decode(body.as_bytes());
        assert!(matches!(decoded, Err(MessageError::Malformed(_))), "{body}: {decoded:?}");
        assert!(!Request::is_put(body.as_bytes()), "{body}");
    }
    let list = r#"{"op":"stat","path":["Yf8="]}"#;
    assert!(matches!(Request::decode(list.as_bytes()), Err(MessageError::Malformed(_))), "a name in a list");
}

#[test]
fn numbers_that_are_no_sizes_are_errors() {
    for number in ["-1", "1.5", "1e400", "-1e400", "18446744073709551616", "1e3", "\"1\"", "null1", "0x10", "01", "NaN"]
    {
        for field in ["size", "offset"] {
            let op = if field == "size" { "put" } else { "get" };
            let body = format!(r#"{{"op":"{op}","path":"a","{field}":{number}}}"#);
            let decoded = Request::decode(body.as_bytes());
            assert!(matches!(decoded, Err(MessageError::Malformed(_))), "{body}: {decoded:?}");
        }
    }
    let largest = r#"{"op":"put","path":"a","size":18446744073709551615}"#;
    assert!(matches!(Request::decode(largest.as_bytes()), Ok(Request::Put { size: Some(u64::MAX), .. })));
}

/// What no message may make of JSON that means harm: a crash, or a value.
fn check_refused<T: serde::de::DeserializeOwned + serde::Serialize>(good: &T) {
    let good = serde_json::to_string(good).expect("serializes");
    assert!(serde_json::from_str::<T>(&good).is_ok(), "{good}");
    let behind = |field: &str| format!("{},{field}}}", &good[..good.len() - 1]);
    let first_key = good[1..].split(':').next().expect("a field");
    // An unknown field may be ignored with its content, and changes nothing.
    for field in [
        format!("\"x\":{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("\"x\":{}1{}", "{\"x\":".repeat(100_000), "}".repeat(100_000)),
        "\"x\":1e400".into(),
        "\"x\":-1e400".into(),
        "\"x\":\"\\ud800\"".into(),
        "\"x\":1,\"x\":2".into(),
    ] {
        if let Ok(read) = serde_json::from_str::<T>(&behind(&field)) {
            assert_eq!(serde_json::to_string(&read).expect("serializes"), good, "{field:.80}");
        }
    }
    for body in [
        "[".repeat(100_000),
        "{\"x\":".repeat(100_000),
        behind(&format!("\"x\":{}", "[".repeat(100_000))),
        behind(&format!("{first_key}:null")),
        behind("\"x\":\"a\nb\""),
        behind("\"x\":01"),
        behind("\"\\udc00\":1"),
        format!("{good}{good}"),
        format!("{good}\0"),
        good[..good.len() - 1].to_string(),
        good.replacen('"', "'", 2),
    ] {
        assert!(serde_json::from_str::<T>(&body).is_err(), "{:.200}", body);
    }
    // Each number in turn is none that fits.
    for (at, _) in good.char_indices().filter(|(at, c)| c.is_ascii_digit() && good[..*at].ends_with(':')) {
        let rest = good[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        for number in ["-9223372036854775809", "1.5", "1e400", "18446744073709551616", "1e3", "\"1\"", "NaN", "[]"] {
            let body = format!("{}{number}{rest}", &good[..at]);
            assert!(serde_json::from_str::<T>(&body).is_err(), "{body}");
        }
    }
}

#[test]
fn json_that_means_harm_is_an_error_in_every_message_and_never_a_panic() {
    requests().iter().for_each(check_refused);
    replies().iter().for_each(check_refused);
    check_refused(&End { size: 1, digest: Digest::of(b"") });
    check_refused(&error(ErrorCode::Io, true));
    check_refused(&ControlRequest::Usage { user: Some("ann".into()), mode: UsageMode::Repair });
    check_refused(&ControlReply::Error { message: "m".into() });
    let usage = AccountUsage {
        user: "ann".into(),
        used_bytes: 1,
        used_files: 2,
        reserved_bytes: 3,
        limit_bytes: Some(4),
        limit_files: Some(5),
        disk_bytes: Some(6),
        disk_files: Some(7),
        unexamined: 0,
        unexamined_entries: Vec::new(),
        error: None,
    };
    check_refused(&ControlReply::Usage(usage));
    check_refused(&ControlRequest::Status { all: true });
    check_refused(&ControlRequest::Kick { target: KickTarget::Session(1) });
    check_refused(&ControlRequest::Kick { target: KickTarget::User("ann".into()) });
    check_refused(&ControlReply::Kicked { sessions: 1 });
    let session = SessionReport {
        session: 1,
        user: Some("ann".into()),
        address: "a".into(),
        state: "upload".into(),
        path: Some(Name::from("/p")),
        size: Some(2),
        position: Some(3),
        rate: Some(4),
    };
    check_refused(&ControlReply::Session(session));
    let user = UserReport {
        user: "ann".into(),
        sessions: 1,
        used_bytes: Some(2),
        used_files: Some(3),
        reserved_bytes: 4,
        limit_bytes: Some(5),
        limit_files: Some(6),
        error: Some("e".into()),
    };
    check_refused(&ControlReply::User(user));
    let server = ServerReport {
        seconds: 1,
        sessions: 2,
        unauthenticated: 3,
        uploading: 4,
        downloading: 5,
        uploads: 6,
        downloads: 7,
        bytes_up: 8,
        bytes_down: 9,
        turns: vec![TurnTimes { below_us: Some(1), count: 2 }],
        unresponsive_directories: vec![Name::from("/homes")],
    };
    check_refused(&ControlReply::Server(server));
}

#[test]
fn digests_and_upload_ids_are_exactly_their_digits() {
    for id in ["", "ab", &"g".repeat(32), &"a".repeat(31), &"a".repeat(33), &"a".repeat(64), &"+".repeat(32)] {
        let body = format!(r#"{{"op":"drop_partial","upload_id":"{id}"}}"#);
        assert!(Request::decode(body.as_bytes()).is_err(), "{body}");
        let body = format!(r#"{{"size":1,"digest":"blake3:{id}{id}"}}"#);
        assert_eq!(serde_json::from_str::<End>(&body).is_ok(), id.len() == 32 && id.starts_with('a'), "{body}");
    }
}

// ---- Names --------------------------------------------------------------------------------

#[test]
fn a_name_is_a_string_if_it_is_utf8_and_base64_if_not() {
    let json = |name: &[u8]| serde_json::to_string(&Name(name.to_vec())).expect("serializes");
    assert_eq!(json("grüße".as_bytes()), "\"grüße\"");
    assert_eq!(json(b"a\nb\0"), "\"a\\nb\\u0000\"");
    assert_eq!(json(b"a\xff"), r#"{"b64":"Yf8="}"#);
    assert_eq!(json(b"\xed\xa0\x80"), r#"{"b64":"7aCA"}"#, "a surrogate in UTF-8 is no UTF-8");
    assert_eq!(json(b""), "\"\"");
}

#[test]
fn every_byte_survives_in_a_name() {
    for name in [(0..=255).collect::<Vec<u8>>(), (1..128).collect(), vec![0xc3], b"\xf0\x9f\x98\x80".to_vec()] {
        let text = serde_json::to_string(&Name(name.clone())).expect("serializes");
        assert_eq!(serde_json::from_str::<Name>(&text).expect("reads back"), Name(name));
    }
}

#[test]
fn a_name_that_is_neither_is_an_error() {
    for text in [
        "1",
        "null",
        "[]",
        "{}",
        r#"["Yf8="]"#,
        r#"{"b64":1}"#,
        r#"{"b64":"%"}"#,
        r#"{"b64":"Yf8"}"#,
        r#"{"b32":"AA"}"#,
    ] {
        assert!(serde_json::from_str::<Name>(text).is_err(), "{text}");
    }
    // A string that looks like base64 is a string.
    assert_eq!(serde_json::from_str::<Name>("\"Yf8=\"").expect("a string"), Name::from("Yf8="));
}

#[test]
fn the_largest_path_fits_a_control_frame_however_it_is_written() {
    for byte in [b'a', 1, 0xff] {
        let path = Name(vec![byte; PATH_BYTES_MAX]);
        let body =
            serde_json::to_vec(&Request::Mv { from: path.clone(), to: path, replace: true }).expect("serializes");
        assert!(body.len() <= CONTROL_BYTES_MAX, "{} bytes", body.len());
    }
}
