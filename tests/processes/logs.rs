//! The cost of logs: clients cannot make them grow faster than they send, repeated events are counted, full files
//! are rotated, and nothing waits for a log or a lock.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::process::Signal;
use serde_json::json;

use crate::support::peer::Peer;
use crate::support::{PASSWORD, Place, Server, events, ftp_client, wait_until};
use berth::wire::message::{Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

/// What all logs of a server have taken.
fn log_bytes(place: &Place, server: &Server) -> usize {
    place.log("access.log").len() + place.log("transactions.log").len() + server.program.stderr().len()
}

fn stop(server: &mut Server) {
    server.program.signal(Signal::TERM);
    server.program.wait().expect_code(0);
}

/// The segments of a handshake, which a client sends before the first byte.
const HANDSHAKE_BYTES: usize = 60;

// ---- Before login (threat 56) -------------------------------------------------------------

/// Sends `bytes` and reads what comes, up to the end. Returns the number of bytes sent.
fn send(address: SocketAddr, bytes: &[u8]) -> usize {
    let mut stream = TcpStream::connect(address).expect("it listens");
    // It may have had enough before the end.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let _ = stream.read_to_end(&mut Vec::new());
    HANDSHAKE_BYTES + bytes.len()
}

#[test]
fn unauthenticated_clients_write_no_more_into_the_logs_than_they_send() {
    let keys = ftp_client::configuration(json!({"listen": "127.0.0.1:0", "listen_tls": "127.0.0.1:0"}), json!({}));
    let place = Place::with(keys);
    place.add("ann", &[]);
    let mut server = place.serve();
    let (ftp, ftps) = (ftp_client::listening(&server, "ftp"), ftp_client::listening(&server, "ftps"));
    let long = "\u{1}".repeat(200);
    let mut sent = Vec::new();
    for address in [server.address, ftp, ftps] {
        for bytes in [
            &b""[..],
            b"x",
            &[0, 0, 15],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            // The beginning of a ClientHello, and something that is none.
            &[22, 3, 1, 2, 0, 1, 0, 1, 252],
            &[22, 3, 1, 0, 4, 9, 9, 9, 9],
            b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
            b"XYZW\r\nABCD x\r\nUSER\r\nPASS\r\nLIST\r\n",
            format!("CWD {long}\r\nUSER {long}\r\n").as_bytes(),
        ] {
            let bytes: Vec<usize> = (0..40).map(|_| send(address, bytes)).collect();
            sent.extend(bytes);
        }
    }
    wait_until("all have ended", || {
        server.program.descriptors() < 40 && place.log("access.log").contains("verb=close")
    });
    stop(&mut server);
    let (log, sent_bytes) = (place.log("access.log"), sent.iter().sum::<usize>());
    assert_eq!(events(&log, "verb=connect result=ok"), sent.len(), "{log}");
    assert_eq!(events(&log, "verb=close"), sent.len(), "{log}");
    assert!(log.matches("verb=connect").count() < 10, "{log}");
    let logged = log_bytes(&place, &server);
    assert!(logged * 10 <= sent_bytes, "{logged} bytes for {sent_bytes}: {log}{}", server.program.stderr());
}

#[test]
fn unauthenticated_clients_from_many_addresses_cannot_amplify_the_logs() {
    let place = Place::new();
    let mut server = place.serve();
    let mut sent = 0;
    for number in 0..1000 {
        drop(Peer::connect_from(2 + (number % 250) as u8, server.address));
        sent += HANDSHAKE_BYTES;
    }
    wait_until("the server has seen all", || server.program.descriptors() < 40);
    stop(&mut server);
    let log = place.log("access.log");
    assert_eq!(events(&log, "verb=connect result=ok"), 1000, "{log}");
    let logged = log_bytes(&place, &server);
    assert!(logged <= sent, "{logged} bytes for {sent}");
}

#[test]
fn a_password_that_is_typed_as_a_name_is_in_no_log() {
    let place = Place::with(ftp_client::configuration(json!({"listen": "127.0.0.1:0"}), json!({})));
    place.add("ann", &[]);
    place.add("ben", &[]);
    place.admin(&["user", "lock", "ben"]);
    let mut server = place.serve();
    let ftp = ftp_client::listening(&server, "ftp");
    for (number, name) in ["ann:hunter2", "hunter2", "ann hunter2", "ann", "ben"].into_iter().enumerate() {
        let mut control = BufReader::new(TcpStream::connect(ftp).expect("it listens"));
        control.get_mut().write_all(format!("USER {name}\r\nPASS wrong\r\n").as_bytes()).expect("it reads");
        let refused = control.by_ref().lines().map(|line| line.expect("a reply")).find(|line| line.starts_with("530"));
        assert!(refused.is_some(), "{name}");
        // Each is let in from another address, or the wait after a failure would be long.
        let mut peer = Peer::connect_from(2 + number as u8, server.address);
        peer.guess(name);
        assert!(matches!(peer.reply(), Reply::Error(error) if error.code == ErrorCode::LoginFailed), "{name}");
    }
    stop(&mut server);
    let log = place.log("access.log");
    for (claimed, count) in [("-", 6), ("ann", 2), ("ben", 2)] {
        assert_eq!(events(&log, &format!("claimed={claimed} result=LoginFailed")), count, "{claimed}: {log}");
    }
    assert!(!log.contains("hunter2") && !server.program.stderr().contains("hunter2"), "{log}");
}

#[test]
fn wrong_logins_are_listed_at_first_and_then_counted_and_unknown_names_are_left_out() {
    let place = Place::with(ftp_client::configuration(json!({"listen": "127.0.0.1:0"}), json!({})));
    let mut server = place.serve();
    let ftp = ftp_client::listening(&server, "ftp");
    let mut sent = 0;
    for number in 0..20 {
        let name = format!("user-{number}-{}", "\\".repeat(900));
        // Each is let in from another address, or the wait after a failure would be long.
        let mut peer = Peer::connect_from(2 + number % 4, server.address);
        peer.guess(&name);
        sent += HANDSHAKE_BYTES + name.len() + 100;
        assert!(matches!(peer.reply(), Reply::Error(error) if error.code == ErrorCode::LoginFailed));
    }
    let name = "x".repeat(400);
    let mut control = BufReader::new(TcpStream::connect(ftp).expect("it listens"));
    let line = format!("USER {name}\r\nPASS wrong\r\n");
    control.get_mut().write_all(line.as_bytes()).expect("it reads");
    sent += HANDSHAKE_BYTES + line.len();
    let refused = control.by_ref().lines().map(|line| line.expect("a reply")).find(|line| line.starts_with("530"));
    assert!(refused.is_some());
    drop(control);
    stop(&mut server);
    let log = place.log("access.log");
    assert_eq!(events(&log, "result=LoginFailed"), 21, "{log}");
    assert!(log.contains(" claimed=- result=LoginFailed"), "{log}");
    assert!(!log.contains("user-1") && !log.contains("xxx"), "{log}");
    assert!(log.lines().all(|line| line.len() < 250), "{log}");
    let logged = log_bytes(&place, &server);
    assert!(logged <= sent, "{logged} bytes for {sent}");
}

#[test]
fn logins_are_logged_even_while_repeats_are_counted() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut server = place.serve();
    for _ in 0..50 {
        drop(TcpStream::connect(server.address).expect("it listens"));
    }
    for _ in 0..20 {
        Peer::login(server.address, "ann");
    }
    let together: Vec<Peer> = (0..20).map(|_| Peer::login(server.address, "ann")).collect();
    let ports: Vec<u16> = together.iter().map(|peer| peer.stream.local_addr().expect("bound").port()).collect();
    drop(together);
    stop(&mut server);
    let log = place.log("access.log");
    assert_eq!(events(&log, "verb=connect"), 90, "{log}");
    for mark in ["user=ann verb=login result=ok", "user=ann verb=close "] {
        assert_eq!(log.matches(mark).count(), 40, "{log}");
    }
    for port in ports {
        assert!(log.contains(&format!("peer=127.0.0.1:{port} user=- verb=connect result=ok\n")), "{log}");
    }
}

#[test]
fn other_peers_at_a_waiting_data_port_are_counted_and_cost_its_user_nothing() {
    let changes = json!({"rates": {"session_up": "1K"}});
    let place = Place::with(ftp_client::configuration(json!({"listen": "127.0.0.1:0"}), changes));
    place.add("ann", &[]);
    fs::write(place.home("ann", "file"), "content").expect("writable");
    let mut server = place.serve();
    let mut control = BufReader::new(TcpStream::connect(ftp_client::listening(&server, "ftp")).expect("it listens"));
    let mut ask = |command: &str| {
        control.get_mut().write_all(command.as_bytes()).expect("it reads");
        let reply = control.by_ref().lines().map(|line| line.expect("a reply")).find(|line| &line[3..4] == " ");
        reply.expect("a reply")
    };
    ask("");
    ask("USER ann\r\n");
    assert!(ask(&format!("PASS {PASSWORD}\r\n")).starts_with("230"));
    let reply = ask("EPSV\r\n");
    let port: u16 = reply.split('|').nth(3).and_then(|port| port.parse().ok()).expect("a port");
    let data = SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..200 {
        let mut foreign = Peer::connect_from(2, data).stream;
        assert_eq!(foreign.read(&mut [0]).unwrap_or(0), 0);
    }
    let mut own = TcpStream::connect(data).expect("it listens");
    assert!(ask("RETR file\r\n").starts_with("150"));
    let mut content = String::new();
    own.read_to_string(&mut content).expect("it is sent");
    assert_eq!(content, "content");
    stop(&mut server);
    let stderr = server.program.stderr();
    assert_eq!(events(&stderr, "a data connection of 127.0.0.1 from 127.0.0.2:"), 200, "{stderr}");
    assert!(stderr.matches(" was refused").count() < 10, "{stderr}");
}

// ---- Users --------------------------------------------------------------------------------

fn stat(path: &[u8]) -> Request {
    Request::Stat { path: Name(path.to_vec()) }
}

#[test]
fn repeated_refusals_are_counted_and_changes_are_always_logged() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    let long = [b"/begin/".to_vec(), b"\x01/".repeat(1800), b"end".to_vec()].concat();
    for _ in 0..500 {
        assert!(matches!(peer.ask(&stat(&long)), Reply::Error(_)));
        assert!(matches!(peer.ask(&Request::Rm { path: Name::from("/none") }), Reply::Error(_)));
    }
    for _ in 0..30 {
        assert!(matches!(peer.put("/file", b"content", PutMode::Create), Reply::Stored { .. }));
        assert!(matches!(peer.ask(&Request::Rm { path: Name::from("/file") }), Reply::Done {}));
    }
    drop(peer);
    stop(&mut server);
    let log = place.log("access.log");
    assert_eq!(events(&log, "verb=stat path=/begin/"), 500, "{log}");
    assert_eq!(events(&log, "verb=rm path=/none result=NotFound"), 500);
    assert_eq!(log.matches("verb=rm path=/file result=ok").count(), 30);
    assert_eq!(place.log("transactions.log").matches("result=ok").count(), 30);
    assert!(log.lines().all(|line| line.len() < 450), "{log}");
    assert!(log.contains("\\x01/end result="), "the end of a path is told, too: {log}");
    assert!(log.len() < 10_000, "{}", log.len());
}

// ---- Size ---------------------------------------------------------------------------------

#[test]
fn a_log_that_is_full_begins_again_and_no_more_than_one_old_one_is_kept() {
    let place = Place::with(json!({"logs": {"bytes_max": "64K"}}));
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    let (log, old, moved) = ("access.log", place.path("logs/access.log.old"), place.path("logs/access.log.1"));
    let fill = |peer: &mut Peer| (0..400).for_each(|_| drop(peer.ask(&stat(b"/"))));
    wait_until("it is full", || {
        fill(&mut peer);
        old.exists()
    });
    // An administrator's rotation and the server's own do not disturb each other.
    fs::rename(place.path("logs").join(log), &moved).expect("ours");
    server.program.signal(Signal::HUP);
    wait_until("it is opened again", || place.path("logs").join(log).exists());
    let first = fs::metadata(&old).expect("there").ino();
    wait_until("it is full again", || {
        fill(&mut peer);
        fs::metadata(&old).expect("there").ino() != first
    });
    drop(peer);
    wait_until("the end is noticed", || place.log(log).contains("verb=close"));
    stop(&mut server);
    let mut names: Vec<_> =
        fs::read_dir(place.path("logs")).expect("there").map(|entry| entry.expect("there")).collect();
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in &names {
        let bytes = entry.metadata().expect("there").len();
        assert!(bytes <= 64 * 1024, "{entry:?}: {bytes}");
    }
    let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names, ["access.log", "access.log.1", "access.log.old", "transactions.log"]);
    for text in [place.log("access.log"), place.log("access.log.old")] {
        assert!(text.lines().all(|line| line.contains(" peer=")) && text.ends_with('\n'), "whole lines");
    }
    assert!(place.log("access.log").ends_with("verb=close result=ok\n"));
    assert!(!server.program.stderr().contains("lost"), "{}", server.program.stderr());
}

#[test]
fn a_full_log_that_cannot_be_put_aside_grows_no_further_and_says_so() {
    let place = Place::with(json!({"logs": {"bytes_max": "64K"}}));
    place.add("ann", &[]);
    let server = place.serve();
    fs::create_dir(place.path("logs/access.log.old")).expect("ours");
    let mut peer = Peer::login(server.address, "ann");
    wait_until("it complains", || {
        (0..400).for_each(|_| drop(peer.ask(&stat(b"/"))));
        server.program.stderr().contains("access.log: ")
    });
    assert!(server.program.stderr().contains(" lines lost so far: it is full, and cannot become "));
    assert!(place.log("access.log").len() <= 64 * 1024);
}

// ---- Waiting (check of blocking calls) ----------------------------------------------------

/// A FIFO that is full, with its end to read.
fn full_fifo(path: &Path) -> File {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, Mode::from(0o600), 0).expect("writable");
    let flags = OFlags::RDWR | OFlags::NONBLOCK;
    let mut fifo = File::from(rustix::fs::open(path, flags, Mode::empty()).expect("ours"));
    while fifo.write(&[b'\n'; 4096]).is_ok() {}
    fifo
}

#[test]
fn a_server_whose_stderr_nobody_reads_serves_and_tells_later_what_is_missing() {
    let place = Place::new();
    place.add("ann", &[]);
    let path = place.path("io/stderr");
    let mut fifo = full_fifo(&path);
    let command = place.berthd(&[]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec \"$0\" serve 2>\"$1\"", env!("CARGO_BIN_EXE_berthd")]).arg(&path).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Each connection is worth some lines.
    shell.env("RUST_LOG", "trace").current_dir(place.path(""));
    let mut server = place.serve_as(shell);
    for _ in 0..1000 {
        drop(TcpStream::connect(server.address).expect("it listens"));
    }
    let mut peer = Peer::login(server.address, "ann");
    assert!(matches!(peer.put("/file", b"content", PutMode::Create), Reply::Stored { .. }));
    server.program.signal(Signal::HUP);
    wait_until("the other logs are written", || place.log("transactions.log").contains("path=/file"));
    let mut text = Vec::new();
    let is_told = |text: &[u8]| String::from_utf8_lossy(text).contains(" lines are missing here\n");
    wait_until("it tells", || {
        let mut piece = [0; 4096];
        while let Ok(count) = fifo.read(&mut piece) {
            text.extend_from_slice(&piece[..count]);
        }
        is_told(&text)
    });
    assert!(String::from_utf8_lossy(&text).contains("confinement by Landlock"), "the first lines are there");
    while fifo.write(&[b'\n'; 4096]).is_ok() {}
    drop(peer);
    // Nor does the end wait for ever.
    stop(&mut server);
}

#[test]
fn a_reload_waits_for_no_lock_that_another_program_holds() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    // Both are to be made anew.
    let certificate = place.path("conf/tls/cert.pem");
    fs::remove_file(place.path("conf/users/.decoy")).expect("ours");
    fs::remove_file(&certificate).expect("ours");
    let (tls, users) = (File::open(place.path("conf/tls")), File::open(place.path("conf/users/.lock")));
    let held = [tls.expect("there"), users.expect("there")];
    held.iter().for_each(|file| flock(file, FlockOperation::LockExclusive).expect("free"));
    let reload = |times: usize| {
        server.program.signal(Signal::HUP);
        let done = || server.program.stderr().matches("configuration read again").count() == times;
        wait_until("it has read the configuration again", done);
    };
    for times in 1..=3 {
        reload(times);
        assert!(matches!(peer.ask(&stat(b"/")), Reply::Stat { .. }));
        Peer::login(server.address, "ann");
    }
    let stderr = server.program.stderr();
    assert_eq!(stderr.matches("the certificate stays as it was until").count(), 1, "{stderr}");
    drop(held);
    wait_until("it looks again by itself", || certificate.exists());
    stop(&mut server);
}

#[test]
fn a_fifo_in_place_of_a_lock_or_file_stops_no_reload() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    for name in ["users/.lock", "users/.decoy", "users/bob.json", "tls/key.pem", "berthd.json"] {
        let path = place.path("conf").join(name);
        let _ = fs::remove_file(&path);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::from(0o600), 0).expect("ours");
    }
    let mut client = Peer::connect(server.address);
    client.greet();
    assert!(matches!(client.prove("bob", "x"), Reply::Error(_)));
    server.program.signal(Signal::HUP);
    wait_until("it complains", || server.program.stderr().contains("the configuration stays as it was"));
    wait_until("about the key, too", || server.program.stderr().contains("the certificate stays as it was"));
    assert!(matches!(peer.ask(&stat(b"/")), Reply::Stat { .. }));
}
