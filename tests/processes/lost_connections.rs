//! Lost connections and restarted servers: the client reconnects and resumes, transfers no byte twice, and reports
//! nothing that it does not know.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::json;

use crate::support::peer::Peer;
use crate::support::process::Ended;
use crate::support::proxy::Valve;
use crate::support::random::Random;
use crate::support::requests::Put;
use crate::support::visit::ProxiedVisit;
use crate::support::{pattern, target, unlinked_files, wait_until};
use berth::client::connection::link::Link;
use berth::client::connection::stream::PlainStream;
use berth::client::error::{LinkError, Loss};
use berth::client::interrupt::Interrupt;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::PutMode;
use berth::wire::{ErrorCode, Reply, Request};

const MIB: usize = 1024 * 1024;

/// Files of many sizes, some of which are worth resuming.
fn plant(root: &Path, seed: u64) -> u64 {
    let mut bytes = 0;
    for directory in 0..8 {
        let directory = root.join(format!("folder{directory}/inner"));
        fs::create_dir_all(&directory).expect("writable");
        for file in 0..25 {
            let size = if file == 0 { 2 * MIB } else { 1000 * file };
            bytes += size as u64;
            fs::write(directory.join(format!("{file}")), pattern(seed + file as u64, size)).expect("writable");
        }
    }
    bytes
}

fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("readable").path();
            let content = path.is_file().then(|| fs::read(&path).expect("readable"));
            if content.is_none() {
                directories.push(path.clone());
            }
            found.insert(path.strip_prefix(root).expect("below").to_path_buf(), content);
        }
    }
    found
}

/// It tells what happened, and by lines alone.
#[track_caller]
fn expect_told(ended: &Ended, words: &[&str]) {
    for word in words {
        assert!(ended.stderr.contains(word), "'{word}' is not told: {ended:?}");
    }
    assert!(!ended.stderr.contains('\r') && !ended.stderr.contains('\x1b'), "{ended:?}");
}

// ---- Transfers ----------------------------------------------------------------------------

#[test]
fn a_download_resumes_after_each_lost_connection() {
    let visit = ProxiedVisit::new();
    let content = pattern(1, 24 * MIB);
    fs::write(visit.there("big"), &content).expect("writable");
    let passed = visit.proxy.down.passed();
    visit.proxy.cut_after(&visit.proxy.down, [1500, 2 * MIB as u64, 5 * MIB as u64, 7 * MIB as u64]);
    let ended = visit.start(&["get", "big"]).wait().expect_code(0);
    expect_told(&ended, &["connection lost", "reconnecting in a moment (1 of 7)", "resumed at "]);
    assert!(fs::read(visit.here("big")).expect("fetched") == content);
    assert!(visit.proxy.connections() >= 4, "{}", visit.proxy.connections());
    assert!(visit.proxy.down.passed() - passed < 36 * MIB as u64, "most is moved once: {}", visit.proxy.down.passed());
}

#[test]
fn an_upload_resumes_after_each_lost_connection() {
    let visit = ProxiedVisit::new();
    let content = pattern(2, 48 * MIB);
    fs::write(visit.here("big"), &content).expect("writable");
    visit.proxy.cut_after(&visit.proxy.up, [1000, 3 * MIB as u64, 9 * MIB as u64, 20 * MIB as u64]);
    let ended = visit.start(&["put", "big"]).wait().expect_code(0);
    expect_told(&ended, &["connection lost", "resumed at "]);
    assert!(fs::read(visit.there("big")).expect("stored") == content);
    let kept = fs::read_dir(visit.there(".berth")).expect("there").count();
    assert_eq!(kept, 0, "nothing is left of the tries");
}

#[test]
fn trees_are_whole_after_many_lost_connections_and_no_file_is_transferred_twice() {
    for (seed, arguments, goes_up, image) in [
        (1, &["put", "-r", "src", "image"][..], true, "image"),
        (2, &["get", "-r", "src", "image"], false, "image"),
        (3, &["mirror", "src", "image"], true, "image"),
        (4, &["mirror", "--from", "src", "image"], false, "image"),
    ] {
        let visit = ProxiedVisit::new();
        let source = if goes_up { visit.here("src") } else { visit.there("src") };
        let bytes = plant(&source, seed);
        let valve: &Arc<Valve> = if goes_up { &visit.proxy.up } else { &visit.proxy.down };
        let mut random = Random::new(seed);
        visit.proxy.cut_after(valve, (0..12).map(|_| random.below(4 * MIB) as u64));
        let mut program = visit.start(arguments);
        let ended = program.wait().expect_code(0);
        let target = if goes_up { visit.there(image) } else { visit.here(image) };
        assert!(tree(&target) == tree(&source), "{arguments:?}");
        expect_told(&ended, &["connection lost", "resumed at "]);
        assert!(ended.stdout.contains(": 200 files, ") && !ended.stdout.contains("failed"), "{arguments:?} {ended:?}");
        // What was in the sockets at a cut may move again.
        let most = bytes * 3;
        assert!(valve.passed() < most, "{arguments:?}: {} of {bytes} bytes", valve.passed());
    }
}

#[test]
fn files_that_were_stored_before_their_replies_were_lost_count_as_transferred() {
    let visit = ProxiedVisit::new();
    fs::create_dir(visit.here("src")).expect("writable");
    for file in 0..20 {
        fs::write(visit.here(&format!("src/{file}")), pattern(file, 2000)).expect("writable");
    }
    for (arguments, image) in [(&["put", "-r", "src", "a"][..], "a"), (&["mirror", "src", "b"], "b")] {
        visit.proxy.down.hold_after_mark(b"\"re\":\"stored\"", 0);
        let mut program = visit.start(arguments);
        let all_are_there = || fs::read_dir(visit.there(image)).is_ok_and(|entries| entries.count() == 20);
        wait_until("all files are stored", all_are_there);
        visit.proxy.down.wait_held();
        visit.proxy.cut();
        visit.proxy.down.open();
        let ended = program.wait().expect_code(0);
        assert!(ended.stdout.contains(": 20 files, 39K") && !ended.stdout.contains("already"), "{ended:?}");
        expect_told(&ended, &["connected again"]);
    }
}

#[test]
fn get_to_a_pipe_resumes_after_the_bytes_already_written() {
    let visit = ProxiedVisit::new();
    let content = vec![b'x'; 9 * MIB];
    fs::write(visit.there("text"), &content).expect("writable");
    visit.proxy.cut_after(&visit.proxy.down, [3 * MIB as u64, 2 * MIB as u64]);
    let ended = visit.start(&["get", "text", "-"]).wait().expect_code(0);
    assert!(ended.stdout.as_bytes() == content, "{} bytes", ended.stdout.len());
    expect_told(&ended, &["resumed at "]);
}

#[test]
fn content_from_a_pipe_cannot_be_sent_again_and_the_message_says_so() {
    let visit = ProxiedVisit::new();
    fs::write(visit.here("content"), pattern(5, 9 * MIB)).expect("writable");
    let through = target("ann", visit.proxy.address);
    let mut command = visit.place.berth(&[&through, "put", "-", "stored"]);
    command.stdin(fs::File::open(visit.here("content")).expect("there"));
    visit.proxy.cut_after(&visit.proxy.up, [3 * MIB as u64]);
    let ended = visit.place.run(command).expect_code(3);
    assert!(ended.stderr.contains("/stored must be sent again"), "{ended:?}");
    assert!(!visit.there("stored").exists());
}

// ---- What an earlier run had sent, and the server takes up late ---------------------------

/// Takes over the one upload that is under way, as a request of an earlier run does, and gives it up.
fn take_over(earlier: &mut Peer, local: &Path) {
    let Reply::Partials { partials, .. } = earlier.ask(&Request::Partials {}) else { panic!("a page") };
    let [upload] = &partials[..] else { return };
    let modified = fs::metadata(local).and_then(|metadata| metadata.modified()).expect("there");
    let id = earlier.request(
        &Put {
            path: upload.path.clone(),
            size: upload.size,
            mtime_ns: Some(modified.duration_since(UNIX_EPOCH).expect("now").as_nanos() as i64),
            upload_id: Some(upload.upload_id),
            resume: true,
            ..Put::default()
        }
        .request(),
    );
    let reply = earlier.reply();
    // Its client may take it back before the server has read what there is.
    let is_taken_back = matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Superseded);
    assert!(is_taken_back || matches!(reply, Reply::Ready { .. }), "{reply:?}");
    let mut abort = Vec::new();
    frame::put_bytes(&mut abort, FrameType::Abort, id, b"{}");
    earlier.send(&abort);
    if is_taken_back {
        return;
    }
    let reply = earlier.reply();
    assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Cancelled), "{reply:?}");
}

#[test]
fn an_upload_that_a_late_request_of_an_earlier_run_takes_over_continues() {
    for arguments in [&["put", "src/big", "dst"][..], &["put", "-r", "src/big", "dst"], &["mirror", "src", "dst"]] {
        let visit = ProxiedVisit::new();
        fs::create_dir(visit.here("src")).expect("writable");
        fs::create_dir(visit.there("dst")).expect("writable");
        let content = pattern(12, 8 * MIB);
        fs::write(visit.here("src/big"), &content).expect("writable");
        visit.proxy.up.hold_after(4 * MIB as u64);
        let mut program = visit.start(arguments);
        visit.proxy.up.wait_held();
        wait_until("the server has most of that", || bytes_below(&visit.there(".berth")) > 3 * MIB as u64);
        take_over(&mut Peer::login(visit.server.address, "ann"), &visit.here("src/big"));
        visit.proxy.up.open();
        let ended = program.wait().expect_code(0);
        assert!(fs::read(visit.there("dst/big")).expect("stored") == content, "{ended:?}");
        assert!(visit.proxy.up.passed() < 16 * MIB as u64, "it goes on where it was: {}", visit.proxy.up.passed());
        assert_eq!(fs::read_dir(visit.there(".berth")).expect("there").count(), 0);
    }
}

#[test]
fn an_upload_that_others_take_over_repeatedly_is_left_to_them() {
    let visit = ProxiedVisit::with(json!({"rates": {"session_up": "4M"}}));
    fs::write(visit.here("big"), pattern(13, 48 * MIB)).expect("writable");
    let mut others = Peer::login(visit.server.address, "ann");
    let mut program = visit.start(&["put", "big"]);
    wait_until("it is left", || {
        take_over(&mut others, &visit.here("big"));
        program.is_over()
    });
    let ended = program.wait().expect_code(1);
    expect_told(&ended, &["another session has resumed this upload"]);
    assert!(!visit.there("big").exists());
}

#[test]
fn requests_of_a_reset_connection_are_not_carried_out_later() {
    let visit = ProxiedVisit::with(json!({"rates": {"session_up": "16K"}}));
    let mut earlier = Peer::login(visit.server.address, "ann");
    let bytes = earlier.encode_put("/file", &pattern(14, 64 * 1024), PutMode::Create);
    earlier.send(&bytes);
    let (server, home) = (visit.server.program.pid(), visit.there(""));
    let begun = || unlinked_files::uploads(server, &home).iter().sum::<u64>() > 0;
    wait_until("it has begun", begun);
    earlier.reset();
    wait_until("the server knows", || visit.place.log("access.log").contains(" verb=close "));
    assert!(!visit.there("file").exists());
    assert_eq!(bytes_below(&visit.there("")), 0, "nothing is left");
}

#[test]
fn the_same_command_right_after_ctrl_c_ends_in_the_same_tree_on_a_slow_server_too() {
    for (arguments, image) in [(&["put", "-r", "src"][..], "src"), (&["mirror", "src", "dst"], "dst")] {
        let visit = ProxiedVisit::with(json!({"rates": {"account_up": "6M"}}));
        fs::create_dir(visit.here("src")).expect("writable");
        for (at, size) in [5 * MIB, 5 * MIB, 5 * MIB].into_iter().chain([10_000; 60]).enumerate() {
            fs::write(visit.here(&format!("src/{at}")), pattern(at as u64, size)).expect("writable");
        }
        let start = || {
            let direct = target("ann", visit.server.address);
            visit.place.start(visit.place.berth(&[&[&direct[..]], arguments].concat()))
        };
        for _ in 0..3 {
            let mut program = start();
            let before = bytes_below(&visit.there(""));
            wait_until("something moved", || bytes_below(&visit.there("")) > before + 100_000 || program.is_over());
            program.signal(Signal::INT);
            program.wait();
        }
        let ended = start().wait().expect_code(0);
        assert!(tree(&visit.there(image)) == tree(&visit.here("src")), "{ended:?}");
    }
}

/// Bytes of all files in a directory, which may not be there, and in those below it.
fn bytes_below(directory: &Path) -> u64 {
    let (mut bytes, mut directories) = (0, vec![directory.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                // It has its name by now.
                Err(_) => {}
            }
        }
    }
    bytes
}

// ---- Servers that go and come back --------------------------------------------------------

#[test]
fn transfers_survive_a_server_that_is_killed_or_stopped_and_started_again() {
    for (signal, arguments) in [
        (Signal::KILL, ["put", "big"]),
        (Signal::KILL, ["get", "big"]),
        (Signal::TERM, ["put", "big"]),
        (Signal::TERM, ["get", "big"]),
    ] {
        let mut visit = ProxiedVisit::with(json!({"timeouts": {"drain": 0}}));
        let content = pattern(7, 40 * MIB);
        let is_put = arguments[0] == "put";
        let source = if is_put { visit.here("big") } else { visit.there("big") };
        let image = if is_put { visit.there("big") } else { visit.here("big") };
        fs::write(source, &content).expect("writable");
        let valve = Arc::clone(if is_put { &visit.proxy.up } else { &visit.proxy.down });
        valve.hold_after(9 * MIB as u64);
        let mut program = visit.start(&arguments);
        valve.wait_held();
        visit.server.program.signal(signal);
        visit.server.program.wait();
        visit.serve_again();
        valve.open();
        let ended = program.wait().expect_code(0);
        expect_told(&ended, &["reconnecting in ", "resumed at "]);
        assert!(fs::read(image).expect("whole") == content, "{arguments:?}");
    }
}

#[test]
fn a_server_that_stays_away_for_all_retries_exits_with_3() {
    let mut visit = ProxiedVisit::new();
    fs::write(visit.here("big"), pattern(8, 40 * MIB)).expect("writable");
    visit.proxy.up.hold_after(9 * MIB as u64);
    let mut program = visit.start_with(&["--retries", "2"], &["put", "big"]);
    visit.proxy.up.wait_held();
    visit.server.program.kill();
    visit.proxy.up.open();
    let ended = program.wait().expect_code(3);
    expect_told(
        &ended,
        &["(1 of 2)", "(2 of 2)", "gave up after 2 tries; run the same command again, transfers resume"],
    );
    assert!(
        !ended.stderr.contains("of 2)\nconnected") && ended.stderr.matches("reconnecting in").count() == 2,
        "{ended:?}"
    );
}

// ---- Servers that bring nothing nearer ----------------------------------------------------

/// The bytes before the content of a data frame.
const HEADER: usize = 12;

/// It gives up after these tries, and not one more.
#[track_caller]
fn expect_given_up(visit: &ProxiedVisit, retries: usize, arguments: &[&str]) {
    let before = visit.proxy.connections();
    let ended = visit.start_with(&["--retries", &retries.to_string()], arguments).wait().expect_code(3);
    expect_told(&ended, &[&format!("gave up after {retries} tries")]);
    assert_eq!(visit.proxy.connections() - before, 1 + retries, "{ended:?}");
}

#[test]
fn a_download_that_gains_one_byte_for_each_connection_is_given_up() {
    let visit = ProxiedVisit::new();
    fs::write(visit.there("big"), pattern(1, MIB)).expect("writable");
    visit.proxy.cut_each(&visit.proxy.down, b"\"re\":\"file\"", |_| Some(HEADER + 1), || ());
    expect_given_up(&visit, 2, &["get", "big"]);
    expect_given_up(&visit, 2, &["get", "big", "-"]);
    expect_given_up(&visit, 2, &["mirror", "--from", "/", "mirrored"]);
}

#[test]
fn a_download_that_restarts_on_each_connection_is_given_up() {
    let visit = ProxiedVisit::new();
    let there = visit.there("big");
    fs::write(&there, pattern(0, MIB)).expect("writable");
    let count = std::sync::atomic::AtomicU64::new(0);
    visit.proxy.cut_each(
        &visit.proxy.down,
        b"\"re\":\"file\"",
        |_| Some(HEADER + 200_000),
        move || {
            let seed = 1 + count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            fs::write(&there, pattern(seed, MIB)).expect("writable");
        },
    );
    // The first connection brought something that was new.
    let ended = visit.start_with(&["--retries", "3"], &["get", "big"]).wait().expect_code(3);
    expect_told(&ended, &["starting over", "gave up after 3 tries"]);
    assert!(visit.proxy.connections() <= 5, "{}: {ended:?}", visit.proxy.connections());
}

#[test]
fn an_upload_whose_end_never_arrives_is_given_up() {
    let visit = ProxiedVisit::new();
    for (name, bytes) in [("small", 1000), ("large", 2 * MIB)] {
        fs::write(visit.here(name), pattern(1, bytes)).expect("writable");
    }
    visit.proxy.cut_each(&visit.proxy.up, b",\"digest\":\"", |_| None, || ());
    expect_given_up(&visit, 2, &["put", "small"]);
    // What the server keeps of the large one is something, once.
    let before = visit.proxy.connections();
    let ended = visit.start_with(&["--retries", "2"], &["put", "large"]).wait().expect_code(3);
    assert!(visit.proxy.connections() - before <= 2 * 3, "{ended:?}");
}

#[test]
fn an_upload_that_gains_one_byte_for_each_connection_is_given_up() {
    let visit = ProxiedVisit::new();
    fs::write(visit.here("large"), pattern(1, 4 * MIB)).expect("writable");
    let first = |number| Some(HEADER + if number == 1 { 2 * MIB } else { 1 });
    visit.proxy.cut_each(&visit.proxy.up, b"\"put\"", first, || ());
    let ended = visit.start_with(&["--retries", "3"], &["put", "large"]).wait().expect_code(3);
    expect_told(&ended, &["resumed at ", "gave up after 3 tries"]);
    assert!(visit.proxy.connections() <= 2 + 3, "{}: {ended:?}", visit.proxy.connections());
}

#[test]
fn a_listing_that_each_connection_loses_is_given_up() {
    let visit = ProxiedVisit::new();
    for number in 0..3000 {
        fs::write(visit.there(&format!("file{number}")), b"").expect("writable");
    }
    visit.proxy.cut_each(&visit.proxy.down, b"\"re\":\"page\"", |_| Some(0), || ());
    for arguments in [&["ls"][..], &["get", "-r", "/", "copy"], &["mirror", "--from", "/", "copy"]] {
        expect_given_up(&visit, 2, arguments);
    }
}

// ---- Logins -------------------------------------------------------------------------------

#[test]
fn a_login_that_is_refused_at_reconnecting_is_not_retried() {
    let visit = ProxiedVisit::new();
    fs::write(visit.there("big"), pattern(9, 40 * MIB)).expect("writable");
    visit.proxy.down.hold_after(9 * MIB as u64);
    let mut program = visit.start(&["get", "big"]);
    visit.proxy.down.wait_held();
    visit.proxy.cut();
    visit.place.admin(&["user", "lock", "ann"]);
    visit.proxy.down.open();
    let ended = program.wait().expect_code(4);
    assert!(ended.stderr.matches("reconnecting in").count() <= 1, "{ended:?}");
}

#[test]
fn a_key_that_changes_before_a_reconnect_is_refused_even_if_not_pinned() {
    let mut visit = ProxiedVisit::new();
    fs::write(visit.there("big"), pattern(10, 40 * MIB)).expect("writable");
    visit.proxy.down.hold_after(9 * MIB as u64);
    let through = target("ann", visit.proxy.address);
    let mut command = visit.place.berth_over_tls(&["--accept-new", &through, "get", "big"]);
    for name in ["HOME", "XDG_STATE_HOME"] {
        command.env_remove(name);
    }
    let mut program = visit.place.start(command);
    visit.proxy.down.wait_held();
    visit.server.program.kill();
    for file in ["key.pem", "cert.pem"] {
        fs::remove_file(visit.place.path("conf/tls").join(file)).expect("made at the first start");
    }
    visit.serve_again();
    visit.proxy.down.open();
    let ended = program.wait().expect_code(4);
    expect_told(&ended, &["has changed"]);
    assert_eq!(ended.stderr.matches("reconnecting in").count(), 1, "{ended:?}");
}

// ---- Commands -----------------------------------------------------------------------------

#[test]
fn the_current_directory_outlives_the_connection() {
    let visit = ProxiedVisit::new();
    fs::create_dir(visit.there("sub")).expect("writable");
    let mut command = visit.place.berth(&[&target("ann", visit.proxy.address)]);
    let (reader, mut writer) = std::io::pipe().expect("descriptors are left");
    command.stdin(reader);
    let mut program = visit.place.start(command);
    writer.write_all(b"cd sub\nmkdir a\n").expect("somebody reads");
    wait_until("the first command is done", || visit.there("sub/a").exists());
    visit.proxy.cut();
    writer.write_all(b"mkdir b\n").expect("somebody reads");
    wait_until("the second is done", || visit.there("sub/b").exists());
    drop(writer);
    let ended = program.wait().expect_code(0);
    expect_told(&ended, &["connected again"]);
}

#[test]
fn after_a_lost_response_the_client_checks_the_result_and_reports_it() {
    let visit = ProxiedVisit::new();
    fs::write(visit.there("file"), b"x").expect("writable");
    for (arguments, trace, is_there_after, word) in [
        (&["mkdir", "new"][..], "new", true, "the directory /new exists"),
        (&["mv", "file", "moved"], "moved", true, "/file no longer exists and /moved exists"),
        (&["rm", "moved"], "moved", false, "/moved no longer exists"),
        (&["rmdir", "new"], "new", false, "/new no longer exists"),
    ] {
        visit.proxy.down.hold_after_mark(b"\"re\":\"done\"", 0);
        let mut program = visit.start(arguments);
        wait_until("it was done", || visit.there(trace).exists() == is_there_after);
        visit.proxy.down.wait_held();
        visit.proxy.cut();
        visit.proxy.down.open();
        let ended = program.wait().expect_code(0);
        expect_told(&ended, &["the reply was lost with the connection, but", word]);
    }
}

#[test]
fn a_lost_response_that_cannot_be_checked_exits_with_3_and_says_unknown() {
    let mut visit = ProxiedVisit::new();
    fs::write(visit.there("file"), b"x").expect("writable");
    visit.proxy.down.hold_after_mark(b"\"re\":\"done\"", 0);
    let mut program = visit.start_with(&["--retries", "1"], &["rm", "file"]);
    wait_until("it was done", || !visit.there("file").exists());
    visit.proxy.down.wait_held();
    visit.server.program.kill();
    visit.proxy.cut();
    visit.proxy.down.open();
    let ended = program.wait().expect_code(3);
    expect_told(&ended, &["the result of the last request is not known"]);
}

// ---- Silence ------------------------------------------------------------------------------

#[test]
fn a_silent_server_is_given_up_after_a_minute() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let pipe = PlainStream::connect("127.0.0.1", address.port(), &mut || false).expect("it listens");
    let mut link = Link::new(Box::new(pipe), Interrupt::default());
    link.set_silence_max(Duration::from_millis(50));
    link.request(&Request::Quota {}).expect("there is room");
    match link.receive() {
        Err(LinkError::Lost(Loss::NoAnswer(_))) => {}
        other => panic!("{other:?}"),
    }
}
