//! `berthd status` and `berthd kick`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::peer::{Incoming, Peer};
use crate::support::process::{Ended, Program};
use crate::support::proxy::Proxy;
use crate::support::requests::Put;
use crate::support::{Place, Server, pattern, target, wait_until};
use berth::base::digest::Digest;
use berth::base::upload_id::UploadId;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

/// What the server says of itself.
struct Report(Vec<Value>);

impl Report {
    fn ask(place: &Place, options: &[&str]) -> Self {
        let ended = place.run(place.berthd(&[&["status", "--json"], options].concat())).expect_code(0);
        Self(ended.stdout.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect())
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["report"] == kind).collect()
    }

    fn sessions(&self) -> Vec<&Value> {
        self.all("session")
    }

    fn server(&self) -> &Value {
        assert_eq!(self.0.last().expect("not empty")["report"], "server", "it is the last");
        self.0.last().expect("not empty")
    }

    /// The number of the session that is in a state.
    fn number(&self, state: &str) -> u64 {
        let session = self.sessions().into_iter().find(|session| session["state"] == state);
        session.unwrap_or_else(|| panic!("nobody is in state {state}: {:?}", self.0))["session"].as_u64().expect("one")
    }
}

fn started() -> (Place, Server) {
    let place = Place::new();
    place.add("ann", &["--quota", "100M"]);
    place.add("ben", &[]);
    let server = place.serve();
    (place, server)
}

fn kick(place: &Place, arguments: &[&str], code: i32) -> Ended {
    place.run(place.berthd(&[&["kick"], arguments].concat())).expect_code(code)
}

const ID: UploadId = UploadId([7; 16]);

fn put(path: &str, size: u64, resume: bool) -> Request {
    Put { path: Name::from(path), size: Some(size), upload_id: Some(ID), resume, ..Put::default() }.request()
}

/// Begins an upload and sends the first part of it; its request.
fn begin_upload(peer: &mut Peer, path: &str, content: &[u8], sent: usize) -> u32 {
    let id = peer.request(&put(path, content.len() as u64, false));
    send_data(peer, id, &content[..sent]);
    id
}

fn send_data(peer: &mut Peer, id: u32, content: &[u8]) {
    let mut bytes = Vec::new();
    content.chunks(256 * 1024).for_each(|piece| frame::put_bytes(&mut bytes, FrameType::Data, id, piece));
    peer.send(&bytes);
}

fn finish_upload(peer: &mut Peer, id: u32, content: &[u8]) -> Reply {
    let mut bytes = Vec::new();
    let end = berth::wire::message::End { size: content.len() as u64, digest: Digest::of(content) };
    frame::put_json(&mut bytes, FrameType::End, id, &end);
    peer.send(&bytes);
    peer.reply()
}

/// The session's last word, behind which the server sends nothing.
fn last_word(peer: &mut Peer) -> (u32, ErrorCode) {
    let Ok(Incoming::Reply(id, Reply::Error(error))) = peer.receive() else { panic!("a last word") };
    assert!(error.fatal && !error.retry, "{error:?}");
    assert!(error.message.contains("administrator"), "{error:?}");
    assert!(peer.receive().is_err(), "and nothing more");
    (id, error.code)
}

/// Waits until an upload is as far as this.
fn wait_for_position(place: &Place, position: usize) -> Report {
    let mut report = Report::ask(place, &[]);
    wait_until("the bytes are stored", || {
        report = Report::ask(place, &[]);
        report.sessions().iter().any(|session| session["position"] == position)
    });
    report
}

// ---- Status -------------------------------------------------------------------------------

#[test]
fn sessions_are_listed_with_the_progress_of_their_transfers() {
    let (place, server) = started();
    let content = pattern(1, 4 << 20);
    fs::write(place.home("ben", "down"), vec![0; 64 << 20]).expect("writable");
    let (mut ann, mut ben) = (Peer::login(server.address, "ann"), Peer::login(server.address, "ben"));
    let idle = Peer::login(server.address, "ben");
    let before_login = Peer::connect(server.address);
    let id = begin_upload(&mut ann, "/held \u{1b}[2J open", &content, 3 << 20);
    ben.request(&Request::Get { path: Name::from("/down"), offset: 0, etag: None, prefix_digest: None });
    let mut report = wait_for_position(&place, 3 << 20);
    wait_until("the download has begun", || {
        report = Report::ask(&place, &[]);
        report.sessions().iter().any(|session| session["state"] == "download" && session["position"] != 0)
    });

    let sessions: BTreeMap<_, _> =
        report.sessions().iter().map(|session| (session["state"].as_str().expect("a word"), *session)).collect();
    let addresses = [("upload", &ann), ("download", &ben), ("idle", &idle), ("login", &before_login)];
    for (state, peer) in addresses {
        let address = peer.stream.local_addr().expect("connected").to_string();
        assert_eq!(sessions[state]["address"], address, "{sessions:?}");
    }
    let upload = sessions["upload"];
    assert_eq!((&upload["user"], &upload["path"]), (&json!("ann"), &json!("/held \u{1b}[2J open")));
    assert_eq!((&upload["size"], &upload["position"]), (&json!(4 << 20), &json!(3 << 20)));
    assert!(upload["rate"].is_u64(), "{upload}");
    let download = sessions["download"];
    assert_eq!((&download["user"], &download["size"]), (&json!("ben"), &json!(64 << 20)));
    for (state, user) in [("idle", json!("ben")), ("login", Value::Null)] {
        assert_eq!(sessions[state]["user"], user);
        assert!(["path", "size", "position", "rate"].iter().all(|key| sessions[state][key].is_null()), "{sessions:?}");
    }

    let counts = |report: &Report| {
        let keys = ["sessions", "strangers", "uploading", "downloading", "uploads", "downloads", "bytes_up"];
        keys.map(|key| report.server()[key].as_u64().expect("a number"))
    };
    assert_eq!(counts(&report), [3, 1, 1, 1, 0, 0, 3 << 20]);
    send_data(&mut ann, id, &content[3 << 20..]);
    assert!(matches!(finish_upload(&mut ann, id, &content), Reply::Stored { .. }));
    drop(ben);
    wait_until("the downloading user has disconnected", || Report::ask(&place, &[]).sessions().len() == 3);
    let report = Report::ask(&place, &[]);
    assert_eq!(counts(&report), [2, 1, 0, 0, 1, 0, 4 << 20], "what has ended is counted once");
    assert!(report.server()["bytes_down"].as_u64() > Some(0), "what was broken off counts too");
}

#[test]
fn a_report_for_people_shows_no_control_characters_of_others() {
    let (place, server) = started();
    let mut ann = Peer::login(server.address, "ann");
    begin_upload(&mut ann, "/a\u{1b}[2J\u{202e}b", &pattern(1, 4 << 20), 2 << 20);
    wait_for_position(&place, 2 << 20);
    let shown = place.run(place.berthd(&["status"])).expect_code(0).stdout;
    let line = shown.lines().find(|line| line.contains("upload")).expect("a line");
    assert!(line.ends_with(r" 50% /a\x1b[2J\xe2\x80\xaeb"), "{line}");
    assert!(line.contains(" ann ") && line.contains(&ann.stream.local_addr().expect("connected").to_string()));
    assert!(!shown.replace('\n', "").contains(char::is_control), "{shown:?}");
}

#[test]
fn users_are_listed_with_their_quotas_and_with_all_those_who_are_not_there_too() {
    let (place, server) = started();
    fs::write(place.home("ben", "copied in"), pattern(1, 700)).expect("writable");
    let mut ann = [Peer::login(server.address, "ann"), Peer::login(server.address, "ann")];
    let users =
        |options: &[&str]| -> Vec<Value> { Report::ask(&place, options).all("user").into_iter().cloned().collect() };
    let before = users(&[]);
    assert_eq!((before.len(), &before[0]["sessions"]), (1, &json!(2)));
    assert_eq!(before[0]["used_bytes"], Value::Null, "asking counts no home");
    assert!(matches!(ann[0].put("/f", &pattern(2, 5000), PutMode::Create), Reply::Stored { .. }));
    let after = users(&[]);
    assert_eq!((&after[0]["user"], &after[0]["used_bytes"]), (&json!("ann"), &json!(5000)));
    assert_eq!((&after[0]["limit_bytes"], &after[0]["limit_files"]), (&json!(100 << 20), &Value::Null));
    let all = users(&["--all"]);
    assert_eq!(all.iter().map(|user| user["user"].as_str().expect("a name")).collect::<Vec<_>>(), ["ann", "ben"]);
    assert_eq!((&all[0]["sessions"], &all[1]["sessions"]), (&json!(2), &json!(0)));
    assert_eq!((&all[1]["used_bytes"], &all[1]["used_files"]), (&json!(700), &json!(1)));
}

#[test]
fn hundreds_of_sessions_are_each_listed_once_while_others_come_and_go() {
    let (place, server) = started();
    let mut crowd: Vec<Peer> = (0..300).map(|_| Peer::connect(server.address)).collect();
    let ann: Vec<Peer> = (0..20).map(|_| Peer::login(server.address, "ann")).collect();
    let numbers = |report: &Report| {
        let numbers: Vec<u64> =
            report.sessions().iter().map(|session| session["session"].as_u64().expect("a number")).collect();
        let different: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(numbers.len(), different.len(), "one is listed twice");
        different
    };
    let report = Report::ask(&place, &[]);
    let first = numbers(&report);
    assert_eq!(first.len(), 320);
    assert_eq!((&report.server()["sessions"], &report.server()["strangers"]), (&json!(20), &json!(300)));
    // Every second slot becomes free, and some are taken again.
    let mut number = 0;
    crowd.retain(|_| {
        number += 1;
        number % 2 == 0
    });
    wait_until("they have gone", || Report::ask(&place, &[]).sessions().len() == 170);
    crowd.extend((0..50).map(|_| Peer::connect(server.address)));
    wait_until("others have come", || Report::ask(&place, &[]).sessions().len() == 220);
    let second = numbers(&Report::ask(&place, &[]));
    assert_eq!(second.difference(&first).count(), 50, "a number is never used again");
    assert_eq!(kick(&place, &["ann"], 0).stdout, "20 sessions were ended\n");
    drop(ann);
    assert_eq!(Report::ask(&place, &[]).sessions().len(), 200);
}

#[test]
fn the_histogram_counts_every_turn() {
    let (place, server) = started();
    let total = || -> u64 {
        let report = Report::ask(&place, &[]);
        let turns = report.server()["turns"].as_array().expect("steps").clone();
        let bounds: Vec<_> = turns.iter().map(|step| step["below_us"].as_u64()).collect();
        assert!(
            bounds.len() > 10 && bounds.windows(2).all(|pair| pair[1].is_none() || pair[1] > pair[0]),
            "{bounds:?}"
        );
        assert_eq!(bounds.iter().filter(|bound| bound.is_none()).count(), 1, "the last is all the rest");
        turns.iter().map(|step| step["count"].as_u64().expect("a number")).sum()
    };
    let before = total();
    let mut ann = Peer::login(server.address, "ann");
    (0..100).for_each(|_| drop(ann.ask(&Request::Quota {})));
    let after = total();
    assert!(after >= before + 100, "{before} {after}");
}

// ---- Watching -----------------------------------------------------------------------------

#[test]
fn without_a_terminal_one_report_follows_the_other_until_ctrl_c() {
    let (place, _server) = started();
    for (options, mark) in [(&["status", "--watch"][..], "running "), (&["status", "--watch", "--json"], "\"server\"")]
    {
        let mut watch = place.start(place.berthd(options));
        wait_until("there are three", || watch.stdout().matches(mark).count() >= 3);
        watch.signal(Signal::INT);
        let ended = watch.wait().expect_code(0);
        assert_eq!(ended.stderr, "");
        assert!(!ended.stdout.contains('\x1b'), "{}", ended.stdout);
    }
}

#[test]
fn a_watch_ends_quietly_when_nobody_reads_it_and_says_so_when_the_server_ends() {
    let (place, mut server) = started();
    for options in [&["status"][..], &["status", "--watch"], &["status", "--json"], &["status", "--watch", "--json"]] {
        let mut unread = Program::start_unread(place.berthd(options), &place.path("io"));
        assert_eq!(unread.wait().expect_code(0).stderr, "", "{options:?}");
    }
    let mut watch = place.start(place.berthd(&["status", "--watch"]));
    wait_until("there is one", || watch.stdout().contains("running "));
    server.program.signal(Signal::TERM);
    server.program.wait().expect_code(0);
    assert!(watch.wait().expect_code(1).stderr.contains("the server ended"));
}

// ---- Kick ---------------------------------------------------------------------------------

#[test]
fn status_shows_the_turn_histogram_only_with_turns() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let _peer = Peer::login(server.address, "ann");
    let short = place.admin(&["status"]).stdout;
    let last = short.lines().position(|line| line.starts_with("SESSION")).expect("sessions");
    assert!(
        short.lines().count() < 24 && short.lines().nth(last + 1).is_some_and(|line| line.contains("ann")),
        "{short}"
    );
    assert!(!short.contains("TURNS COUNT") && short.contains("\nturns "), "{short}");
    let long = place.admin(&["status", "--turns"]).stdout;
    assert!(long.contains("TURNS COUNT") && long.find("SESSION") < long.find("TURNS"), "{long}");
    let listed = place.admin(&["user", "list"]).stdout;
    assert!(listed.starts_with("NAME") && listed.contains("  MAX FILES  ACCESS"), "{listed}");
}

#[test]
fn a_session_kicked_by_number_ends_with_a_word_and_its_upload_goes_on_later() {
    let (place, server) = started();
    let content = pattern(1, 4 << 20);
    let mut others = [Peer::login(server.address, "ann"), Peer::login(server.address, "ben")];
    let other = begin_upload(&mut others[1], "/other", &content, 1 << 20);
    let mut ann = Peer::login(server.address, "ann");
    let id = begin_upload(&mut ann, "/kept", &content, 3 << 20);
    let report = wait_for_position(&place, 3 << 20);
    let session = report.sessions().into_iter().find(|session| session["path"] == "/kept").expect("it runs");
    let number = session["session"].as_u64().expect("a number");

    assert_eq!(kick(&place, &[&number.to_string()], 0).stdout, "1 session was ended\n");
    assert_eq!(last_word(&mut ann), (id, ErrorCode::Kicked));
    assert!(Report::ask(&place, &[]).sessions().iter().all(|session| session["session"] != number));
    kick(&place, &[&number.to_string()], 1);

    assert!(matches!(others[0].ask(&Request::Quota {}), Reply::Quota(_)), "the user's other session goes on");
    send_data(&mut others[1], other, &content[1 << 20..]);
    assert!(matches!(finish_upload(&mut others[1], other, &content), Reply::Stored { .. }), "others are not disturbed");

    let id = others[0].request(&put("/kept", content.len() as u64, true));
    let Reply::Ready { offset, prefix_digest } = others[0].reply() else { panic!("it can be resumed") };
    assert_eq!((offset, prefix_digest), (3 << 20, Digest::of(&content[..3 << 20])));
    send_data(&mut others[0], id, &content[3 << 20..]);
    assert!(matches!(finish_upload(&mut others[0], id, &content), Reply::Stored { .. }));
    assert!(fs::read(place.home("ann", "kept")).expect("stored") == content);
    wait_until("it is in the log", || place.log("transactions.log").contains("path=/kept bytes=3145728"));
    let transactions = place.log("transactions.log");
    let line = transactions.lines().find(|line| line.contains("path=/kept bytes=3145728")).expect("found above");
    assert!(line.ends_with(" result=Kicked"), "{line}");
}

#[test]
fn a_session_has_the_same_number_in_the_logs_and_for_the_administrator() {
    let (place, server) = started();
    let _others = [Peer::login(server.address, "ann"), Peer::login(server.address, "ann")];
    let mut ben = Peer::login(server.address, "ben");
    wait_until("the login is logged", || place.log("access.log").contains("user=ben verb=login"));
    let log = place.log("access.log");
    let line = log.lines().find(|line| line.contains("user=ben verb=login")).expect("found above");
    let (_, rest) = line.split_once("session=").expect("a number");
    let number = rest.split(' ').next().expect("a number");
    let report = Report::ask(&place, &[]);
    let session = report.sessions().into_iter().find(|session| session["user"] == "ben").expect("it runs");
    assert_eq!(session["session"].to_string(), number);
    assert_eq!(kick(&place, &[number], 0).stdout, "1 session was ended\n");
    assert_eq!(last_word(&mut ben), (0, ErrorCode::Kicked));
}

#[test]
fn all_sessions_of_a_user_are_kicked_and_those_of_others_are_not() {
    let (place, server) = started();
    let mut ann = [Peer::login(server.address, "ann"), Peer::login(server.address, "ann")];
    let mut ben = Peer::login(server.address, "ben");
    let mut before_login = Peer::connect(server.address);
    let ended = kick(&place, &["ann", "--json"], 0);
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).expect("JSON"), json!({"kicked": 2}));
    ann.iter_mut().for_each(|peer| assert_eq!(last_word(peer), (0, ErrorCode::Kicked)));
    assert!(matches!(ben.ask(&Request::Quota {}), Reply::Quota(_)));
    assert!(matches!(before_login.greet(), Reply::Hello { .. }));
    assert!(matches!(Peer::login(server.address, "ann").ask(&Request::Quota {}), Reply::Quota(_)), "not locked out");
    let number = Report::ask(&place, &[]).number("login").to_string();
    kick(&place, &[&number], 0);
    assert_eq!(last_word(&mut before_login), (0, ErrorCode::Kicked));
}

#[test]
fn the_client_that_is_kicked_says_so_and_resumes_when_it_is_told_again() {
    let (place, server) = started();
    let content = pattern(1, 8 << 20);
    fs::write(place.here("f"), &content).expect("writable");
    let proxy = Proxy::to(server.address);
    proxy.up.hold_after(4 << 20);
    let mut client = place.start(place.berth(&["--quiet", &target("ann", proxy.address), "put", "f"]));
    proxy.up.wait_held();
    wait_until("some of it is stored", || {
        let report = Report::ask(&place, &[]);
        report.sessions().iter().any(|session| session["position"].as_u64() > Some(2 << 20))
    });
    kick(&place, &["ann"], 0);
    proxy.up.open();
    let ended = client.wait().expect_code(3);
    assert!(ended.stderr.contains("the administrator ended this session"), "{}", ended.stderr);
    let again = place.run(place.berth(&["--json", &target("ann", proxy.address), "put", "f"])).expect_code(0);
    let result: Value = serde_json::from_str(again.stdout.lines().next().expect("a line")).expect("JSON");
    assert!(result["resumed_from"].as_u64() > Some(2 << 20), "{result}");
    assert!(fs::read(place.home("ann", "f")).expect("stored") == content);
}

#[test]
fn a_number_is_a_session_unless_it_is_said_to_be_a_user() {
    let (place, server) = started();
    place.add("1", &[]);
    let mut first = Peer::login(server.address, "ann");
    let mut one = Peer::login(server.address, "1");
    assert_eq!(Report::ask(&place, &[]).number("idle"), 1, "the first session, of ann");
    kick(&place, &["1", "--user"], 0);
    assert_eq!(last_word(&mut one).1, ErrorCode::Kicked);
    assert!(matches!(first.ask(&Request::Quota {}), Reply::Quota(_)));
}

#[test]
fn kick_reports_unknown_sessions_and_a_stopped_server() {
    let place = Place::new();
    place.add("ann", &[]);
    for arguments in [&["status"][..], &["status", "--watch"], &["status", "--json"], &["kick", "ann"]] {
        let ended = place.run(place.berthd(arguments)).expect_code(1);
        assert!(ended.stderr.contains("no server runs with"), "{}", ended.stderr);
        assert!(ended.stderr.contains("berthd serve --config"), "{}", ended.stderr);
    }
    let _server = place.serve();
    for (whom, code, message) in [
        ("ann", 1, "nobody is logged in as ann"),
        ("12", 1, "there is no session 12"),
        ("18446744073709551615", 1, "there is no session 18446744073709551615"),
        ("../ann", 2, "neither the number of a session nor a user"),
        ("\u{1b}[2J", 2, "neither the number of a session nor a user"),
    ] {
        let ended = kick(&place, &[whom], code);
        assert!(ended.stderr.contains(message) && !ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    }
}

/// Its side of the connection stays open for a while, and each turn used to make the next event.
#[test]
fn a_peer_that_does_not_leave_after_its_last_word_costs_no_turns() {
    let (place, server) = started();
    let ann = Peer::login(server.address, "ann");
    kick(&place, &["ann"], 0);
    let turns = || -> u64 {
        let report = Report::ask(&place, &[]);
        report.server()["turns"]
            .as_array()
            .expect("steps")
            .iter()
            .map(|step| step["count"].as_u64().expect("one"))
            .sum()
    };
    let before = turns();
    (0..5).for_each(|_| assert!(turns() > before));
    let after = turns();
    assert!(after - before < 100, "{} turns", after - before);
    drop(ann);
}

// ---- The document ---------------------------------------------------------------------------

#[test]
fn every_object_has_exactly_the_fields_that_are_documented() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/server.md")).expect("it is there");
    let table = page.split("<!-- status:begin -->").nth(1).and_then(|rest| rest.split("<!-- status:end -->").next());
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_string).collect::<BTreeSet<_>>();
    let rows = table.expect("the table").lines().skip(3).filter(|line| line.starts_with('|'));
    let listed: BTreeMap<String, BTreeSet<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            (quoted(cells[0]).into_iter().next().expect("a name"), quoted(cells[1]))
        })
        .collect();
    let (place, server) = started();
    let _ann = Peer::login(server.address, "ann");
    let report = Report::ask(&place, &[]);
    let mut seen = BTreeSet::new();
    for object in &report.0 {
        let kind = object["report"].as_str().expect("a word");
        let fields: BTreeSet<String> = object.as_object().expect("an object").keys().cloned().collect();
        let expected = listed[kind].iter().cloned().chain(["report".into()]).collect();
        assert_eq!(fields, expected, "{kind}");
        seen.insert(kind.to_string());
    }
    assert_eq!(seen, listed.keys().cloned().collect());
}
