//! The tables and examples of the document against the codec, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::protocol_document::{Sender, Shown, TEXT, example, examples, headings, section, table, unhex};
use berth::account::{ACCOUNT_NAME_BYTES_MAX, AccountName};
use berth::auth::scram::{
    Binding, ClientExchange, ClientFirst, PASSWORD_BYTES_MAX, SCRAM_ROUNDS_MAX, SCRAM_ROUNDS_MIN, check_password,
    hmac_sha256,
};
use berth::base::buffers::DATA_BYTES_MAX;
use berth::base::digest::{Digest, DigestAlgorithm};
use berth::base::memory::{LISTING_BYTES_MAX, LISTING_ENTRIES_MAX};
use berth::base::upload_id::{RESUME_BYTES_MIN, UploadId};
use berth::base::virtual_path::{NAME_BYTES_MAX, PATH_BYTES_MAX, VirtualPath};
use berth::config::defaults::{
    DRAIN_TIMEOUT_DEFAULT, IDLE_TIMEOUT_DEFAULT, LOGIN_TIMEOUT_DEFAULT, LOGIN_TRIES_DEFAULT, PARTIAL_EXPIRY_DEFAULT,
    STALL_TIMEOUT_DEFAULT,
};
use berth::net::connection::LINGER;
use berth::protocol::QUEUED_REQUEST_BYTES_MAX;
use berth::protocol::native::pipeline::IN_FLIGHT_BEFORE_LOGIN;
use berth::session::login_guard::{LOGIN_DELAY_FIRST, LOGIN_DELAY_MAX, LOGIN_FAILURE_MEMORY};
use berth::session::task::PAGE_ENTRIES_MAX;
use berth::store::staging::PARTIALS_PER_HOME_MAX;
use berth::wire::frame::{
    self, CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, Frame, FrameType, HEADER_BYTES, PING_BYTES_MAX,
};
use berth::wire::message::{
    ERROR_MESSAGE_BYTES_MAX, End, Entry, EntryKind, ErrorCode, ErrorReply, IN_FLIGHT_MAX, Partial, PutMode,
    QuotaReport, VERSION, WireLimits,
};
use berth::wire::{Reply, Request};

// ---- Examples -----------------------------------------------------------------------------

#[test]
fn every_frame_of_the_examples_is_read_and_written_the_same() {
    let examples = examples();
    assert!(examples.len() >= 15);
    for (title, frames) in examples {
        assert!(!frames.is_empty(), "{title}");
        for frame in frames {
            check_frame(&title, &frame);
        }
    }
}

fn check_frame(title: &str, shown: &Shown) {
    let decoded = frame::decode(&shown.bytes, CONTROL_BYTES_MAX);
    if shown.sender == Sender::Broken {
        assert!(decoded.is_err(), "{title}");
        return;
    }
    let (frame, size) = decoded.expect(title).expect(title);
    let mut written = Vec::new();
    let is_data = matches!(frame, Frame::Data { .. });
    assert_eq!(size, if is_data { HEADER_BYTES } else { shown.bytes.len() }, "{title}");
    match frame {
        Frame::Control { id, body } if shown.sender == Sender::Server => {
            frame::put_json(&mut written, FrameType::Control, id, &read::<Reply>(body));
        }
        Frame::Control { id, body } => match Request::decode(body) {
            Ok(request) => frame::put_json(&mut written, FrameType::Control, id, &request),
            Err(_) => {
                assert_eq!(title, "An unknown request");
                frame::put_bytes(&mut written, FrameType::Control, id, body);
            }
        },
        Frame::Data { id, .. } => frame::put_bytes(&mut written, FrameType::Data, id, shown.body()),
        Frame::End { id, body } => frame::put_json(&mut written, FrameType::End, id, &read::<End>(body)),
        Frame::Abort { id, body } => frame::put_json(&mut written, FrameType::Abort, id, &read::<ErrorReply>(body)),
        Frame::Ping { body } => frame::put_bytes(&mut written, FrameType::Ping, 0, body),
        Frame::Pong { body } => frame::put_bytes(&mut written, FrameType::Pong, 0, body),
    }
    assert_eq!(written.escape_ascii().to_string(), shown.bytes.escape_ascii().to_string(), "{title}");
}

fn read<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", body.escape_ascii()))
}

#[test]
fn the_ping_is_the_bytes_that_are_spelled_out() {
    let start = TEXT.find("`00 00 00 04").expect("spelled out") + 1;
    let bytes = TEXT[start..].split('`').next().expect("closed");
    assert_eq!(unhex(&bytes.replace('\n', " ")), example("Ping")[0].bytes);
}

/// Whoever has only the document computes the login from the formulas in it.
#[test]
fn the_login_follows_from_the_formulas() {
    let message = |index: usize| {
        let body: Value = read(example("Login")[index].body());
        body["message"].as_str().expect("a message").to_string()
    };
    let (first, challenge, last, welcome) = (message(0), message(1), message(2), message(3));
    let bare = first.strip_prefix("n,,").expect("no binding");
    assert_eq!(ClientFirst::parse(&first).map(|first| first.user().to_string()), Ok("user".into()));
    let part = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name)).expect("there");
    let (nonce, salt, rounds) = (part("r="), BASE64.decode(part("s=")).expect("base64"), part("i=").parse());
    assert!(nonce.len() > "rOprNGfwEbeRWgbNEkqO".len() && nonce.starts_with("rOprNGfwEbeRWgbNEkqO"));
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(b"pencil", &salt, rounds.expect("a number"), &mut salted);
    let client_key = hmac_sha256(&salted, b"Client Key");
    let stored_key: [u8; 32] = Sha256::digest(client_key).into();
    let server_key = hmac_sha256(&salted, b"Server Key");
    let unproved = format!("c={},r={nonce}", BASE64.encode("n,,"));
    let signed = format!("{bare},{challenge},{unproved}");
    let mut proof = hmac_sha256(&stored_key, signed.as_bytes());
    proof.iter_mut().zip(client_key).for_each(|(byte, key)| *byte ^= key);
    let signature = hmac_sha256(&server_key, signed.as_bytes());
    assert_eq!(last, format!("{unproved},p={}", BASE64.encode(proof)));
    assert_eq!(welcome, format!("v={}", BASE64.encode(signature)));

    let shown = section(TEXT, "### Login");
    for (name, value) in [
        ("salted", salted),
        ("client_key", client_key),
        ("stored_key", stored_key),
        ("server_key", server_key),
        ("proof", proof),
        ("signature", signature),
    ] {
        let line = format!("{name:<11} = {}", hex(&value));
        assert!(shown.lines().any(|shown| shown == line), "{line}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// ---- What there is ------------------------------------------------------------------------

/// The words that serde expects in place of a wrong one: all variants of an enumeration.
fn words<T: DeserializeOwned + std::fmt::Debug>(wrong: &str) -> BTreeSet<String> {
    let error = serde_json::from_str::<T>(wrong).expect_err("no such word").to_string();
    let (_, list) = error.split_once("expected one of ").expect("serde lists what it expects");
    list.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

fn set(words: impl IntoIterator<Item = impl Into<String>>) -> BTreeSet<String> {
    words.into_iter().map(Into::into).collect()
}

#[test]
fn requests_replies_and_errors_are_those_of_the_code() {
    assert_eq!(set(headings(section(TEXT, "## Requests"), 3)), words::<Request>(r#"{"op":"?"}"#));
    assert_eq!(set(headings(section(TEXT, "## Responses"), 3)), words::<Reply>(r#"{"re":"?"}"#));
    let codes = table(section(TEXT, "## Errors"), "code").into_iter().map(|row| row[0].replace('`', ""));
    assert_eq!(codes.collect::<BTreeSet<_>>(), words::<ErrorCode>(r#""?""#));
    for kind in words::<EntryKind>(r#""?""#) {
        assert!(section(TEXT, "### `page`").contains(&format!("`\"{kind}\"`")), "{kind}");
    }
    assert!(TEXT.starts_with(&format!("# The berth protocol, version {VERSION}\n")));
}

#[test]
fn frame_types_are_those_of_the_code() {
    let named: Vec<(u8, String)> = table(section(TEXT, "## Frames"), "type")
        .into_iter()
        .map(|row| (row[0].parse().expect("a number"), row[1].to_string()))
        .collect();
    for (byte, name) in &named {
        let kind = FrameType::try_from(*byte).expect("a type");
        assert_eq!(format!("{kind:?}").to_uppercase(), *name);
    }
    for byte in 0..=u8::MAX {
        assert_eq!(FrameType::try_from(byte).is_ok(), named.iter().any(|(named, _)| *named == byte), "{byte}");
    }
}

/// Every message with every field, as the tables name them.
#[test]
fn fields_are_those_of_the_code_and_optional_where_it_says_so() {
    let digest = Digest::of(b"");
    let upload_id = UploadId([1; 16]);
    let requests = [
        Request::Hello { versions: vec![1], client: "x".into() },
        Request::Auth { mechanism: "x".into(), message: "x".into() },
        Request::AuthNext { message: "x".into() },
        Request::List { path: "/".into() },
        Request::Stat { path: "/".into() },
        Request::Digest { path: "/".into(), algorithm: DigestAlgorithm::Sha256 },
        Request::Mkdir { path: "/".into(), parents: true, permissions: Some(1) },
        Request::SetPermissions { path: "/".into(), permissions: 1 },
        Request::Rm { path: "/".into() },
        Request::Rmdir { path: "/".into() },
        Request::Mv { from: "/".into(), to: "/".into(), replace: true },
        Request::Quota {},
        Request::Get { path: "/".into(), offset: 1, etag: Some("x".into()), prefix_digest: Some(digest) },
        Request::Put {
            path: "/".into(),
            size: Some(1),
            mtime_ns: Some(1),
            mode: PutMode::Replace,
            if_etag: Some("x".into()),
            upload_id: Some(upload_id),
            resume: true,
            permissions: Some(1),
            set_permissions: true,
        },
        Request::Partials {},
        Request::DropPartial { upload_id },
    ];
    check_fields("op", "## Requests", &requests);
    let entry = Entry { name: "x".into(), kind: EntryKind::File, size: 1, mtime_ns: 1, mode: 1, unexamined: true };
    let partial = Partial { upload_id, path: "/".into(), offset: 1, size: Some(1), expires_s: 1 };
    let error = ErrorReply {
        code: ErrorCode::Io,
        message: "x".into(),
        advice: Some("x".into()),
        read_only: true,
        retry: true,
        fatal: true,
    };
    let quota = QuotaReport {
        used_bytes: 1,
        reserved_bytes: 1,
        limit_bytes: Some(1),
        used_files: 1,
        limit_files: Some(1),
        disk_free_bytes: Some(1),
    };
    let replies = [
        Reply::Hello {
            version: 1,
            server: "x".into(),
            mechanisms: vec![],
            features: vec![],
            limits: WireLimits { control_bytes: 1, data_bytes: 1, in_flight: 1 },
        },
        Reply::Challenge { message: "x".into() },
        Reply::Welcome { message: "x".into() },
        Reply::Page { entries: vec![entry.clone()], last: true },
        Reply::Stat { entry, etag: Some("x".into()) },
        Reply::Digest { digest, size: 1 },
        Reply::Done {},
        Reply::Quota(quota),
        Reply::File { size: 1, mtime_ns: 1, etag: "x".into(), offset: 1, mode: Some(1) },
        Reply::Permissions { permissions: 1 },
        Reply::Ready { offset: 1, prefix_digest: digest },
        Reply::Stored { size: 1, digest },
        Reply::Partials { partials: vec![partial], last: true },
        Reply::Error(error),
    ];
    check_fields("re", "## Responses", &replies);
    let end = serde_json::to_value(End { size: 1, digest }).expect("JSON");
    check_table("END", &described(section(TEXT, "## END")), &end, |value| serde_json::from_value::<End>(value).is_ok());
}

fn check_fields<T: Serialize + DeserializeOwned>(tag: &str, heading: &str, messages: &[T]) {
    let part = section(TEXT, heading);
    let mut seen = BTreeSet::new();
    for message in messages {
        let mut value = serde_json::to_value(message).expect("JSON");
        let name = value[tag].as_str().expect("a name").to_string();
        let mut fields = described(section(part, &format!("### `{name}`")));
        match &name[..] {
            // What a list holds is described behind the list.
            "page" => nest(&mut fields, &mut value, "entries"),
            "partials" if tag == "re" => nest(&mut fields, &mut value, "partials"),
            "stat" if tag == "re" => fields.extend(entry_fields()),
            "hello" if tag == "re" => {
                let limits = value["limits"].as_object().expect("an object").clone();
                assert!(limits.keys().all(|limit| fields.remove(&format!("limits.{limit}")) == Some(false)));
            }
            _ => {}
        }
        check_table(&name, &fields, &value, |value| serde_json::from_value::<T>(value).is_ok());
        seen.insert(name);
    }
    assert_eq!(seen, set(headings(part, 3)));
}

/// Takes the fields of the only item in `list` out of the table of the message and checks them.
fn nest(fields: &mut BTreeMap<String, bool>, value: &mut Value, list: &str) {
    let item = value[list][0].as_object().expect("an object").clone();
    let inner: BTreeMap<_, _> = item.keys().filter_map(|key| fields.remove_entry(key)).collect();
    let reads = |value| match list {
        "entries" => serde_json::from_value::<Entry>(value).is_ok(),
        _ => serde_json::from_value::<Partial>(value).is_ok(),
    };
    check_table(list, &inner, &Value::Object(item), reads);
}

fn entry_fields() -> BTreeMap<String, bool> {
    let mut fields = described(section(TEXT, "### `page`"));
    assert!(fields.remove("entries").is_some() && fields.remove("last").is_some());
    fields
}

/// The fields in the tables of `text` and whether they are optional.
fn described(text: &str) -> BTreeMap<String, bool> {
    let row = |row: Vec<&str>| (row[0].replace('`', ""), row[1].contains("optional"));
    table(text, "field").into_iter().map(row).collect()
}

fn check_table(name: &str, fields: &BTreeMap<String, bool>, whole: &Value, reads: impl Fn(Value) -> bool) {
    let whole = whole.as_object().expect("an object");
    let keys = whole.keys().filter(|key| !matches!(&key[..], "op" | "re"));
    assert_eq!(set(keys.cloned()), set(fields.keys().cloned()), "{name}");
    assert!(reads(Value::Object(whole.clone())), "{name}");
    for (field, is_optional) in fields {
        let mut without = whole.clone();
        without.remove(field);
        assert_eq!(reads(Value::Object(without)), *is_optional, "{name}.{field}");
    }
}

#[test]
fn links_lead_to_headings() {
    let mut anchors: Vec<String> = Vec::new();
    for line in TEXT.lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase().replace('`', "").replace(' ', "-");
        let before = anchors.iter().filter(|anchor| anchor.trim_end_matches("-1") == heading).count();
        anchors.push(if before == 0 { heading } else { format!("{heading}-{before}") });
    }
    for link in TEXT.split("](#").skip(1) {
        let link = link.split(')').next().expect("closed");
        assert!(anchors.iter().any(|anchor| anchor == link), "#{link}");
    }
}

// ---- Bounds -------------------------------------------------------------------------------

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let start = digits.len() % 3;
    let groups = digits.as_bytes()[start..].chunks(3).map(|group| std::str::from_utf8(group).expect("ASCII"));
    let first = (start > 0).then_some(&digits[..start]);
    first.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

#[test]
fn bounds_are_those_of_the_code() {
    let bytes = |count: usize| format!("{} bytes", grouped(count as u64));
    let number = |count: usize| grouped(count as u64);
    let seconds = |time: std::time::Duration| format!("{} s", grouped(time.as_secs()));
    let expected = [
        ("header", bytes(HEADER_BYTES)),
        ("body of CONTROL, END and ABORT, to the server before `welcome`", bytes(CONTROL_BYTES_MAX_BEFORE_LOGIN)),
        ("body of CONTROL, END and ABORT, otherwise", bytes(CONTROL_BYTES_MAX)),
        ("body of DATA", bytes(DATA_BYTES_MAX)),
        ("body of PING and PONG", bytes(PING_BYTES_MAX)),
        ("requests in flight", number(IN_FLIGHT_MAX)),
        ("requests read ahead, with headers", bytes(QUEUED_REQUEST_BYTES_MAX)),
        ("requests read ahead before `welcome`", number(IN_FLIGHT_BEFORE_LOGIN)),
        ("entries in a page", number(PAGE_ENTRIES_MAX)),
        ("entries of a directory that can be listed", number(LISTING_ENTRIES_MAX)),
        ("names of a directory that can be listed", bytes(LISTING_BYTES_MAX)),
        ("`message` of an error", bytes(ERROR_MESSAGE_BYTES_MAX)),
        ("one component of a path", bytes(NAME_BYTES_MAX)),
        ("a path", bytes(PATH_BYTES_MAX)),
        ("an account's name", bytes(ACCOUNT_NAME_BYTES_MAX)),
        ("a password", bytes(PASSWORD_BYTES_MAX)),
        ("SCRAM nonce, both parts", bytes(512)),
        ("SCRAM salt", "8 to 256 bytes".into()),
        ("SCRAM rounds", format!("{} to {}", number(SCRAM_ROUNDS_MIN as usize), number(SCRAM_ROUNDS_MAX as usize))),
        ("failed logins on one connection", number(LOGIN_TRIES_DEFAULT as usize)),
        (
            "delay of the next login from the same address, after one failure",
            format!("{} ms", LOGIN_DELAY_FIRST.as_millis()),
        ),
        ("the longest delay", seconds(LOGIN_DELAY_MAX)),
        ("failed logins forgotten after", seconds(LOGIN_FAILURE_MEMORY)),
        ("an upload can be resumed from", bytes(RESUME_BYTES_MIN as usize)),
        ("partial uploads per home", number(PARTIALS_PER_HOME_MAX)),
        ("partial uploads kept for", seconds(PARTIAL_EXPIRY_DEFAULT)),
        ("login deadline", seconds(LOGIN_TIMEOUT_DEFAULT)),
        ("idle deadline", seconds(IDLE_TIMEOUT_DEFAULT)),
        ("stall deadline", seconds(STALL_TIMEOUT_DEFAULT)),
        ("transfers after the server is told to stop", seconds(DRAIN_TIMEOUT_DEFAULT)),
        ("last frame to the close at most", seconds(LINGER)),
    ];
    let named: Vec<_> = table(section(TEXT, "## Bounds"), "bound");
    let named: Vec<_> = named.iter().map(|row| (row[0], row[1].to_string())).collect();
    assert_eq!(named, expected);
    let deadlines = table(section(TEXT, "### Deadlines"), "deadline");
    let deadlines: Vec<_> = deadlines.iter().map(|row| row[1].to_string()).collect();
    assert_eq!(deadlines, [LOGIN_TIMEOUT_DEFAULT, IDLE_TIMEOUT_DEFAULT, STALL_TIMEOUT_DEFAULT].map(seconds));
}

/// A number that the text repeats is one that the table of bounds holds to the code, or one of
/// the few that are no bounds.
#[test]
fn numbers_in_the_text_are_bounds() {
    let end = TEXT.find("\n## Examples").expect("examples");
    let bounds = section(TEXT, "## Bounds");
    let text = TEXT[..end].replace(bounds, "");
    for word in text.split(|c: char| !c.is_ascii_digit() && c != ',') {
        let number = word.trim_matches(',');
        if number.contains(',') {
            assert!(bounds.contains(&format!(" {number} ")), "{number}");
        }
    }
}

/// The bounds of SCRAM that have no name outside of it, by what is taken and what is not.
#[test]
fn scram_bounds_are_what_scram_takes() {
    let first = |bytes: usize| ClientFirst::parse(&format!("n,,n=user,r={}", "a".repeat(bytes))).is_ok();
    assert!(first(512) && !first(513));
    let answers = |nonce: usize, salt: usize, rounds: u32| {
        let (client, first) = ClientExchange::new("user", "pencil", Binding::None).expect("valid");
        let own = first.split("r=").nth(1).expect("a nonce").to_string();
        assert_eq!(own.len(), 24);
        let salt = BASE64.encode(vec![7; salt]);
        client.answer(&format!("r={own}{},s={salt},i={rounds}", "b".repeat(nonce - own.len()))).is_ok()
    };
    assert!(answers(512, 8, 4096) && answers(25, 256, 4096));
    assert!(!answers(513, 8, 4096) && !answers(25, 7, 4096) && !answers(25, 257, 4096));
    assert!(!answers(25, 8, SCRAM_ROUNDS_MIN - 1) && !answers(25, 8, SCRAM_ROUNDS_MAX + 1));
    assert!(check_password(&"x".repeat(PASSWORD_BYTES_MAX)).is_ok());
    assert!("x".repeat(ACCOUNT_NAME_BYTES_MAX).parse::<AccountName>().is_ok());
}

/// What the text says of spelling.
#[test]
fn paths_are_normalized_as_described() {
    for (sent, meant) in
        [("", None), ("/", Some("/")), ("a", Some("/a")), ("/a//./b/", Some("/a/b")), ("/../../a/../b", Some("/b"))]
    {
        assert_eq!(
            VirtualPath::parse(sent.as_bytes()).ok(),
            meant.map(|path| VirtualPath::parse(path.as_bytes()).expect("valid"))
        );
    }
    let name: berth::wire::message::Name = serde_json::from_str(r#"{"b64":"Y2Fm6Q=="}"#).expect("a name");
    assert_eq!(name.0, b"caf\xe9");
    assert!(TEXT.contains(r#"`{"b64":"Y2Fm6Q=="}`"#));
}
