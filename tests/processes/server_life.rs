//! The life of a server: draining, reloading, administration while it serves, and its logs.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::peer::{Incoming, Peer, put};
use crate::support::process::{Program, without_rights};
use crate::support::proxy::Proxy;
use crate::support::requests::Put;
use crate::support::{PASSWORD, Place, digest, pattern, target, unlinked_files, wait_until};
use berth::wire::message::{End, Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

fn list() -> Request {
    Request::List { path: Name::from("/") }
}

// ---- Signals ------------------------------------------------------------------------------

#[test]
fn sigterm_lets_running_transfers_finish_and_refuses_new_connections() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut server = place.serve();
    // Longer than all the sockets on the way can hold.
    let content = [pattern(1, 8 << 20), vec![0; 40 << 20]].concat();
    fs::write(place.home("ann", "down"), &content).expect("writable");
    fs::write(place.here("up"), &content).expect("writable");
    let mut idle = Peer::login(server.address, "ann");
    let proxies = [Proxy::to(server.address), Proxy::to(server.address)];
    proxies[0].up.hold_after(2 << 20);
    proxies[1].down.hold_after(2 << 20);
    let start = |proxy: &Proxy, arguments: &[&str]| {
        place.start(place.berth(&[&["--quiet", &target("ann", proxy.address)], arguments].concat()))
    };
    let mut clients = [start(&proxies[0], &["put", "up"]), start(&proxies[1], &["get", "down"])];
    proxies[0].up.wait_held();
    proxies[1].down.wait_held();

    server.program.signal(Signal::TERM);
    let Ok(Incoming::Reply(0, Reply::Error(error))) = idle.receive() else { panic!("the idle one is told") };
    assert_eq!((error.code, error.fatal), (ErrorCode::ShuttingDown, true));
    assert!(idle.receive().is_err(), "and nothing more");
    drop(idle);
    wait_until("connections are refused", || TcpStream::connect(server.address).is_err());
    assert!(!server.program.is_over(), "two transfers are running");

    proxies[0].up.open();
    proxies[1].down.open();
    for client in &mut clients {
        client.wait().expect_code(0);
    }
    server.program.wait().expect_code(0);
    assert!(fs::read(place.home("ann", "up")).expect("stored") == content);
    assert!(fs::read(place.here("down")).expect("fetched") == content);
    let transactions = place.log("transactions.log");
    assert_eq!(transactions.matches(" result=ok\n").count(), 2, "{transactions}");
}

#[test]
fn a_second_sigterm_stops_at_once_and_what_was_sent_is_kept() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut server = place.serve();
    let content = pattern(1, 8 << 20);
    fs::write(place.here("up"), &content).expect("writable");
    let proxy = Proxy::to(server.address);
    let through = target("ann", proxy.address);
    proxy.up.hold_after(4 << 20);
    let mut client = place.start(place.berth(&["--retries", "0", &through, "put", "up"]));
    proxy.up.wait_held();
    let part_bytes = || {
        let parts = fs::read_dir(place.home("ann", ".berth")).expect("made").map(|entry| entry.expect("readable"));
        parts.map(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).max().unwrap_or(0)
    };
    wait_until("enough has come to be kept", || part_bytes() > 2 << 20);
    server.program.signal(Signal::TERM);
    wait_until("it drains", || server.program.stderr().contains("stopping"));
    assert!(!server.program.is_over());
    server.program.signal(Signal::TERM);
    server.program.wait().expect_code(0);
    client.wait().expect_code(3);
    proxy.up.open();

    let server = place.serve();
    proxy.redirect(server.address);
    let ended = place.run(place.berth(&[&through, "put", "up"])).expect_code(0);
    assert!(ended.stderr.contains("resuming at "), "{ended:?}");
    assert!(fs::read(place.home("ann", "up")).expect("stored") == content);
}

#[test]
fn a_drain_ends_at_its_deadline_with_a_word_to_who_is_still_there() {
    let place = Place::with(json!({"timeouts": {"drain": 0}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    let id = peer.request(&put("/a", 1000, PutMode::Create));
    let process = server.program.pid();
    wait_until("the upload has begun", || !unlinked_files::uploads(process, &place.home("ann", "")).is_empty());
    server.program.signal(Signal::TERM);
    let Ok(Incoming::Reply(of, Reply::Error(error))) = peer.receive() else { panic!("it is told") };
    assert_eq!((of, error.code), (id, ErrorCode::ShuttingDown));
    drop(peer);
    server.program.wait().expect_code(0);
}

#[test]
fn sighup_opens_moved_logs_again_and_reads_the_configuration_again() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut server = place.serve();
    let login = || place.run(place.berth(&["--quiet", &server.target("ann"), "ls"])).expect_code(0);
    login();
    wait_until("the session is logged", || place.log("access.log").contains("verb=close"));
    let (log, moved) = (place.path("logs/access.log"), place.path("logs/access.log.1"));
    fs::rename(&log, &moved).expect("ours");
    place.configure(json!({"limits": {"sessions_per_account": 1}}));
    server.program.signal(Signal::HUP);
    wait_until("it has read the configuration", || server.program.stderr().contains("configuration read again"));
    assert!(log.exists());
    login();
    wait_until("the session is logged", || place.log("access.log").contains("verb=close"));
    assert_eq!(fs::read_to_string(&moved).expect("there").matches("verb=close").count(), 1);

    let first = Peer::login(server.address, "ann");
    let mut second = Peer::connect(server.address);
    second.greet();
    let Reply::Error(error) = second.prove("ann", PASSWORD) else { panic!("one session is allowed") };
    assert_eq!((error.code, error.retry), (ErrorCode::TooMany, true));
    assert!(error.message.contains("limits.sessions_per_account"), "{}", error.message);
    drop(first);
    assert!(!server.program.is_over());
}

#[test]
fn a_key_that_needs_a_restart_keeps_its_value_at_each_sighup() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    place.configure(json!({"partial_expiry": 86_400, "home_roots": [place.path("elsewhere")]}));
    for count in 1..=2 {
        server.program.signal(Signal::HUP);
        wait_until("it has read the configuration", || {
            server.program.stderr().matches("configuration read again").count() == count
        });
        for key in ["partial_expiry", "home_roots"] {
            let warning = format!("a new value of `{key}` takes effect after a restart");
            assert_eq!(server.program.stderr().matches(&warning).count(), count, "{}", server.program.stderr());
        }
        assert!(matches!(Peer::login(server.address, "ann").ask(&list()), Reply::Page { .. }));
    }
}

#[test]
fn a_rate_that_is_lifted_at_sighup_holds_nobody_any_more() {
    // At this rate the upload would take longer than anybody here waits.
    let place = Place::with(json!({"rates": {"session_up": "1K"}}));
    place.add("ann", &[]);
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    let upload = peer.encode_put("/a", &pattern(1, 200_000), PutMode::Create);
    peer.send(&upload);
    let process = server.program.pid();
    wait_until("it has begun", || !unlinked_files::uploads(process, &place.home("ann", "")).is_empty());
    place.configure(json!({}));
    server.program.signal(Signal::HUP);
    assert!(matches!(peer.reply(), Reply::Stored { .. }));
}

#[test]
fn a_transfer_that_its_rate_makes_wait_longer_than_the_stall_timeout_goes_on() {
    let rates = json!({"session_up": "3K", "account_down": "3K"});
    let place = Place::with(json!({"rates": rates, "timeouts": {"stall": 1}}));
    place.add("ann", &[]);
    let server = place.serve();
    fs::write(place.here("a"), pattern(1, 12_000)).expect("writable");
    let berth = |arguments: &[&str]| {
        let target = server.target("ann");
        let command = place.berth_over_tls(&[&["--quiet", "--accept-new", &target], arguments].concat());
        place.run(command).expect_code(0);
    };
    berth(&["put", "a"]);
    berth(&["get", "a", "b"]);
    assert!(fs::read(place.here("b")).expect("fetched") == pattern(1, 12_000));
}

#[test]
fn sighup_under_load_disturbs_no_transfer_and_loses_no_line_of_the_logs() {
    const RELOADS: usize = 12;
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let is_over = Arc::new(AtomicBool::new(false));
    let busy = |number: u64| {
        let (address, is_over) = (server.address, Arc::clone(&is_over));
        thread::spawn(move || {
            let (mut peer, mut transfers) = (Peer::login(address, "ann"), 0);
            while !is_over.load(Ordering::SeqCst) {
                let content = pattern(transfers as u64, 300_000);
                let reply = peer.put(&format!("/{number}"), &content, PutMode::Replace);
                assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
                transfers += 1;
            }
            transfers
        })
    };
    let busy: Vec<_> = (0..4).map(busy).collect();
    for number in 0..RELOADS {
        for log in ["access.log", "transactions.log"] {
            fs::rename(place.path("logs").join(log), place.path(format!("logs/{log}.{number}"))).expect("ours");
        }
        let sync = ["none", "data", "full"][number % 3];
        place.configure(json!({"sync": sync, "limits": {"sessions_per_account": 10 + number}}));
        server.program.signal(Signal::HUP);
        wait_until("it has read the configuration", || {
            server.program.stderr().matches("configuration read again").count() == number + 1
        });
    }
    is_over.store(true, Ordering::SeqCst);
    let transfers: usize = busy.into_iter().map(|busy| busy.join().expect("no transfer fails")).sum();
    wait_until("all sessions are logged", || place.log("access.log").matches("verb=close").count() == 4);
    let whole = |log: &str| -> String {
        let rotated = (0..RELOADS).map(|number| place.log(&format!("{log}.{number}")));
        rotated.chain([place.log(log)]).collect()
    };
    let transactions = whole("transactions.log");
    assert_eq!(transactions.lines().filter(|line| fields(line)["result"] == "ok").count(), transfers);
    assert_eq!(whole("access.log").matches("verb=login result=ok").count(), 4);
    assert!(!server.program.stderr().contains("ERROR"), "{}", server.program.stderr());
}

#[test]
fn a_broken_configuration_changes_nothing_at_sighup() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    for (i, broken) in ["{", r#"{"colour": "red"}"#, r#"{"limits": {"sessions": 0}}"#].into_iter().enumerate() {
        fs::write(place.path("conf/berthd.json"), broken).expect("writable");
        server.program.signal(Signal::HUP);
        wait_until("it complains", || {
            server.program.stderr().matches("the configuration stays as it was").count() == i + 1
        });
    }
    assert!(server.program.stderr().contains("berthd.json: limits.sessions: "));
    assert!(matches!(peer.ask(&list()), Reply::Page { .. }), "the session goes on");
    Peer::login(server.address, "ann");
    assert!(!server.program.is_over());
}

// ---- Administration while it serves -------------------------------------------------------

#[test]
fn locking_or_removing_an_account_ends_its_sessions_within_two_seconds() {
    let place = Place::new();
    for name in ["ann", "bob", "eve"] {
        place.add(name, &[]);
    }
    let server = place.serve();
    let mut untouched = Peer::login(server.address, "ann");
    for (name, change) in [("bob", "lock"), ("eve", "remove")] {
        let mut idle = Peer::login(server.address, name);
        let mut busy = Peer::login(server.address, name);
        let id = busy.request(&put("/a", 1000, PutMode::Create));
        // A directory that changed just before must not hide the next change.
        place.admin(&["user", "set", "ann", "--quota", "none"]);
        place.admin(&["user", change, name]);
        let began = Instant::now();
        for peer in [&mut idle, &mut busy] {
            let Ok(Incoming::Reply(of, Reply::Error(error))) = peer.receive() else { panic!("it is told") };
            assert_eq!((error.code, error.fatal), (ErrorCode::AccountClosed, true));
            assert!(of == 0 || of == id);
            assert!(peer.receive().is_err(), "and nothing more");
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let ended = place.run(place.berth(&["--quiet", &server.target(name), "pwd"])).expect_code(4);
        assert!(ended.stderr.contains("wrong user or password"), "{ended:?}");
        assert!(!place.home(name, "a").exists());
    }
    assert!(matches!(untouched.ask(&list()), Reply::Page { .. }));
    place.admin(&["user", "unlock", "bob"]);
    Peer::login(server.address, "bob");
}

#[test]
fn new_quotas_passwords_and_rights_hold_from_the_next_login() {
    let place = Place::new();
    place.add("ann", &["--quota", "1K"]);
    let server = place.serve();
    fs::write(place.here("a"), pattern(1, 2000)).expect("writable");
    let put = |arguments: &[&str]| {
        let mut command = place.berth(&["--quiet", &server.target("ann"), "put", "-f", "a"]);
        command.env("BERTH_PASSWORD", arguments.first().unwrap_or(&PASSWORD));
        place.run(command)
    };
    put(&[]).expect_code(6);
    place.admin(&["user", "set", "ann", "--quota", "2K"]);
    put(&[]).expect_code(0);
    place.admin(&["user", "set", "ann", "--read-only"]);
    fs::write(place.here("a"), b"changed").expect("writable");
    put(&[]).expect_code(1);
    place.admin(&["user", "set", "ann", "--read-write"]);
    put(&[]).expect_code(0);

    fs::write(place.path("io/other"), "battery staple\n").expect("writable");
    let mut command = place.berthd(&["user", "passwd", "ann", "--password-stdin"]);
    command.stdin(fs::File::open(place.path("io/other")).expect("written"));
    place.run(command).expect_code(0);
    put(&[]).expect_code(4);
    put(&["battery staple"]).expect_code(0);
    place.add("new", &[]);
    Peer::login(server.address, "new");
}

#[test]
fn a_damaged_account_file_lets_nobody_in_and_is_named_in_the_log_only() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    fs::write(place.path("conf/users/ann.json"), "{").expect("writable");
    let ended = place.run(place.berth(&["--quiet", &server.target("ann"), "pwd"])).expect_code(4);
    assert!(ended.stderr.contains("wrong user or password") && !ended.stderr.contains("json"), "{ended:?}");
    assert!(server.program.stderr().contains("conf/users/ann.json"), "{}", server.program.stderr());
}

// ---- Logs ---------------------------------------------------------------------------------

/// `key=value` fields of a log line behind its time, which must be UTC to the millisecond.
fn fields(line: &str) -> BTreeMap<String, String> {
    let (time, mut rest) = line.split_once(' ').expect("a time");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
    let mut fields = BTreeMap::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=').expect("a field");
        let end = match value.strip_prefix('"') {
            Some(quoted) => quoted.replace("\\\\", "__").replace("\\\"", "__").find('"').expect("a closing quote") + 2,
            None => value.find(' ').unwrap_or(value.len()),
        };
        fields.insert(key.to_string(), value[..end].to_string());
        rest = value[end..].strip_prefix(' ').unwrap_or_default();
    }
    fields
}

#[test]
fn transactions_have_one_line_each_with_every_field() {
    let place = Place::new();
    place.add("ann", &["--quota", "10M"]);
    let server = place.serve();
    let content = pattern(1, 5 << 20);
    fs::write(place.here("a"), &content).expect("writable");
    fs::write(place.here("too-much"), pattern(2, 6 << 20)).expect("writable");
    let berth = |arguments: &[&str]| place.run(place.berth(&[&["--quiet", &server.target("ann")], arguments].concat()));
    berth(&["put", "a"]).expect_code(0);
    berth(&["get", "a", "b"]).expect_code(0);
    fs::write(place.here(".c.berth-part"), &content[..2 << 20]).expect("writable");
    berth(&["get", "a", "c"]).expect_code(0);
    berth(&["put", "too-much"]).expect_code(6);
    let mut peer = Peer::login(server.address, "ann");
    let id = peer.request(&put("/cut", 1000, PutMode::Create));
    let mut frame = Vec::new();
    berth::wire::frame::put_bytes(&mut frame, berth::wire::frame::FrameType::Data, id, &[7; 300]);
    peer.send(&frame);
    drop(peer);
    wait_until("all is logged", || place.log("transactions.log").contains("path=/cut"));

    let log = place.log("transactions.log");
    let lines: Vec<_> = log.lines().map(fields).collect();
    let keys = ["bytes", "digest", "offset", "path", "peer", "result", "seconds", "session", "user", "verb"];
    for line in &lines {
        assert_eq!(line.keys().map(String::as_str).collect::<Vec<_>>(), keys);
        assert_eq!(line["user"], "ann");
        assert!(line["peer"].starts_with("127.0.0.1:") && line["seconds"].parse::<f64>().is_ok(), "{line:?}");
    }
    let told = |line: &BTreeMap<String, String>| {
        ["verb", "path", "bytes", "offset", "result"].map(|key| line[key].clone()).join(" ")
    };
    let told: Vec<String> = lines.iter().map(told).collect();
    assert_eq!(
        told,
        ["put /a 5242880 0 ok", "get /a 5242880 0 ok", "get /a 3145728 2097152 ok", "put /cut 300 0 Cancelled",]
    );
    for line in &lines[..3] {
        assert_eq!(line["digest"], digest(&content));
    }
    assert!(place.log("access.log").contains("verb=put path=/too-much result=QuotaBytes\n"));
}

#[test]
fn access_lines_tell_connections_logins_commands_and_refusals() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let berth = |password: &str, arguments: &[&str]| {
        let mut command = place.berth(&[&["--quiet", &server.target("ann")], arguments].concat());
        command.env("BERTH_PASSWORD", password);
        place.run(command)
    };
    berth("wrong", &["pwd"]).expect_code(4);
    berth(PASSWORD, &["-c", "mkdir d; stat d; ls d; rmdir d"]).expect_code(0);
    berth(PASSWORD, &["rm", "never-was"]).expect_code(1);
    wait_until("all is logged", || place.log("access.log").matches("verb=close").count() == 3);
    let log = place.log("access.log");
    for part in [
        "user=- verb=connect result=ok",
        "user=- verb=login claimed=ann result=LoginFailed",
        "user=ann verb=login result=ok",
        "user=ann verb=mkdir path=/d result=ok",
        "user=ann verb=stat path=/d result=ok",
        "user=ann verb=list path=/d result=ok",
        "user=ann verb=rmdir path=/d result=ok",
        "user=ann verb=rm path=/never-was result=NotFound",
        "user=ann verb=close result=ok",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    log.lines().for_each(|line| drop(fields(line)));
    assert!(!log.contains("wrong") && !log.contains(PASSWORD), "no password in the log");
}

#[test]
fn fields_of_both_logs_come_in_the_order_of_the_documents_with_the_number_that_status_shows() {
    let document = include_str!("../../docs/logs.md");
    let documented: Vec<&str> =
        document.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0)).collect();
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    assert!(matches!(peer.put("/file", b"content", PutMode::Create), Reply::Stored { .. }));
    let moved = peer.ask(&Request::Mv { from: Name::from("/file"), to: Name::from("/moved"), replace: false });
    assert!(matches!(moved, Reply::Done {}), "{moved:?}");
    assert!(matches!(Peer::connect(server.address).prove("nobody", "y"), Reply::Error(_)));
    let status = place.admin(&["status", "--json"]).stdout;
    let reports = status.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let session = reports.filter(|report| report["user"] == "ann").find_map(|report| report["session"].as_u64());
    let session = session.expect("a session of ann's").to_string();
    drop(peer);
    wait_until("all is logged", || place.log("access.log").contains("user=ann verb=close"));
    for log in [place.log("access.log"), place.log("transactions.log")] {
        assert!(log.contains("user=ann"), "{log}");
        for line in log.lines() {
            let keys: Vec<&str> = line.split(' ').filter_map(|field| Some(field.split_once('=')?.0)).collect();
            let places: Option<Vec<usize>> =
                keys.iter().map(|key| documented.iter().position(|documented| documented == key)).collect();
            assert!(places.is_some_and(|places| places.is_sorted()), "{line}");
            let fields = fields(line);
            assert!(keys.starts_with(&["session", "peer", "user", "verb"]), "{line}");
            assert!(fields["user"] != "ann" || fields["session"] == session, "{line}");
        }
    }
}

#[test]
fn foreign_bytes_are_escaped_on_one_line_of_the_logs() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let mut other = Peer::connect(server.address);
    other.greet();
    let name = "x result=ok\"\u{2028}";
    assert!(matches!(other.prove(name, "y"), Reply::Error(_)));
    let mut peer = Peer::login(server.address, "ann");
    let path = Name(b"/a\nuser=root\r\x1b[2J \"q\"\xff=\\".to_vec());
    assert!(matches!(
        peer.ask(&Request::Mkdir { path: path.clone(), parents: false, permissions: None }),
        Reply::Done {}
    ));
    let put = Put { path: Name([&path.0[..], b"/f\n"].concat()), size: Some(0), ..Put::default() }.request();
    let id = peer.request(&put);
    let mut end = Vec::new();
    let digest = berth::base::digest::Digest::of(b"");
    berth::wire::frame::put_json(&mut end, berth::wire::frame::FrameType::End, id, &End { size: 0, digest });
    peer.send(&end);
    assert!(matches!(peer.reply(), Reply::Stored { .. }));
    drop((peer, other));
    wait_until("all is logged", || place.log("access.log").matches("verb=close").count() == 2);
    let escaped = r#""/a\nuser=root\r\x1b[2J \"q\"\xff=\\"#;
    let (access, transactions) = (place.log("access.log"), place.log("transactions.log"));
    assert_eq!(access.lines().count(), 2 + 2 + 1 + 2, "{access}");
    assert!(access.contains(&format!("verb=mkdir path={escaped}\" result=ok\n")), "{access}");
    assert!(access.contains(" claimed=- result=LoginFailed"), "{access}");
    assert_eq!(transactions.lines().count(), 1);
    assert!(transactions.contains(&format!("path={escaped}/f\\n\" ")), "{transactions}");
    for line in access.lines().chain(transactions.lines()) {
        assert!(!line.contains(|c: char| c.is_control()), "{line}");
    }
    assert!(
        fs::read_dir(place.home("ann", ""))
            .expect("there")
            .any(|entry| { entry.expect("readable").file_name().as_bytes() == &path.0[1..] })
    );
}

// ---- What keeps it from starting ----------------------------------------------------------

#[test]
fn serve_with_a_wrong_configuration_exits_with_2_naming_file_and_key() {
    for (configuration, key) in [
        (r#"{"listn": "127.0.0.1:0"}"#, "listn"),
        (r#"{"timeouts": {"login": "soon"}}"#, "timeouts.login"),
        (r#"{"sync": "sometimes"}"#, "sync"),
        (r#"{"scram_rounds": 1}"#, "scram_rounds"),
        (r#"{"logs": {"access": "l", "transactions": "l"}}"#, "logs.transactions"),
        ("[]", "in braces"),
    ] {
        let place = Place::new();
        fs::write(place.path("conf/berthd.json"), configuration).expect("writable");
        let ended = place.run(place.berthd(&["serve"])).expect_code(2);
        let named = ["conf/berthd.json: ", key].iter().all(|part| ended.stderr.contains(part));
        assert!(named && ended.stdout.is_empty(), "{ended:?}");
        assert!(!place.path("logs").exists() && !place.path("homes").exists(), "nothing was made");
    }
}

#[test]
fn plaintext_where_others_can_listen_is_warned_of_at_the_start_and_by_check() {
    let ftp = |listen: &str, plaintext: bool| json!({"ftp": {"listen": listen, "plaintext": plaintext}});
    for (changes, key) in [
        (ftp("0.0.0.0:0", true), Some("`ftp.plaintext`")),
        (ftp("[::]:0", true), Some("`ftp.plaintext`")),
        (ftp("127.0.0.1:0", true), None),
        (ftp("0.0.0.0:0", false), None),
        (json!({"listen": "0.0.0.0:0", "plaintext": true}), Some("`plaintext`")),
        (json!({"listen": "0.0.0.0:0", "plaintext": false}), None),
    ] {
        let place = Place::with(changes.clone());
        place.add("ann", &[]);
        let mut command = place.berthd(&["serve"]);
        command.env("RUST_LOG", "info");
        let server = place.serve_as(command);
        let checked = place.run(place.berthd(&["check"])).expect_code(0);
        for stderr in [server.program.stderr(), checked.stderr] {
            let warnings: Vec<_> = stderr.lines().filter(|line| line.contains("plaintext` is true")).collect();
            assert_eq!(warnings.len(), usize::from(key.is_some()), "{changes}: {stderr}");
            assert!(key.is_none_or(|key| warnings[0].contains(key)), "{changes}: {stderr}");
        }
    }
}

#[test]
fn a_directory_for_logs_that_cannot_be_written_is_named() {
    let place = Place::new();
    fs::create_dir(place.path("logs")).expect("writable");
    fs::set_permissions(place.path("logs"), fs::Permissions::from_mode(0o555)).expect("ours");
    let mut command = place.berthd(&["serve"]);
    without_rights(&mut command, &place.path(""));
    let ended = place.run(command).expect_code(1);
    for part in ["logs/access.log", "ermission denied", "`logs` in "] {
        assert!(ended.stderr.contains(part), "{ended:?}");
    }
}

#[test]
fn several_listeners_are_all_served() {
    let place = Place::with(json!({"listen": ["127.0.0.1:0", "[::1]:0"]}));
    if TcpStream::connect("[::1]:9").is_err_and(|error| error.kind() != std::io::ErrorKind::ConnectionRefused) {
        place.configure(json!({"listen": ["127.0.0.1:0", "127.0.0.1:0"]}));
    }
    place.add("ann", &[]);
    let server = place.serve();
    let mut addresses = Vec::new();
    wait_until("both are told", || {
        let stdout = server.program.stdout();
        let told = stdout.lines().filter_map(|line| line.strip_prefix("listening on ")?.parse().ok());
        addresses = told.collect::<Vec<std::net::SocketAddr>>();
        addresses.len() == 2
    });
    for address in addresses {
        place.run(place.berth(&["--quiet", &target("ann", address), "pwd"])).expect_code(0);
    }
}

#[test]
fn nobody_reading_what_the_server_prints_does_not_stop_it() {
    let place = Place::new();
    let mut server = Program::start_unread(place.berthd(&["serve"]), &place.path("io"));
    wait_until("it is about to serve", || server.stderr().contains("confinement"));
    server.signal(Signal::TERM);
    server.wait().expect_code(0);
}
