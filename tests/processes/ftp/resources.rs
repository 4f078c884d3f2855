//! Exhausted resources during FTP transfers: descriptors, the disk, the disk of the logs. Sessions get a reply and
//! continue, nothing spins, and everything works once there is room.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Scene;
use super::client::{Client, stream_to};
use crate::support::{disk_usage, pattern, wait_until};

// ---- Descriptors (threat 37) --------------------------------------------------------------

/// More than the server ever needs here.
const ENOUGH: u64 = 1000;
/// Fewer than it has.
const NONE: u64 = 3;

/// Waits for `condition` and one second more, in which the server must not spin.
fn check_calm(scene: &Scene, what: &str, mut condition: impl FnMut() -> bool) {
    let (began, used) = (Instant::now(), scene.server.program.ticks());
    wait_until(what, || condition() && began.elapsed() > Duration::from_secs(1));
    let spent = scene.server.program.ticks() - used;
    assert!(spent <= 30, "{spent} ticks of 100: {what}");
}

#[test]
fn a_data_connection_that_finds_no_descriptor_is_425_and_nothing_spins() {
    let mut scene = Scene::new();
    scene.write("file", b"content");
    let mut client = scene.login();
    // The client connects while its command waits for it.
    for command in ["NLST", "RETR file", "STOR new"] {
        let address = client.passive();
        client.say(command);
        client.reply().expect(&[150]);
        scene.server.program.limit_descriptors(NONE);
        let stream = stream_to(address);
        check_calm(&scene, "a data connection waits to be accepted", || true);
        client.reply().expect(&[425]);
        scene.server.program.limit_descriptors(ENOUGH);
        drop(stream);
        assert_eq!(client.get("RETR file"), b"content", "the session goes on");
    }
    // It connects before its command.
    let address = client.passive();
    scene.server.program.limit_descriptors(NONE);
    let stream = stream_to(address);
    check_calm(&scene, "a data connection waits for its command", || true);
    client.ask("NLST").expect(&[425, 450, 451]);
    scene.server.program.limit_descriptors(ENOUGH);
    drop(stream);
    assert!(!scene.exists("new"));
    assert_eq!(client.list("NLST"), ["file"]);
    drop(client);
    scene.check_ledger();
    scene.check_served();
}

#[test]
fn commands_that_find_no_descriptor_are_refused_for_now_and_the_session_goes_on() {
    let mut scene = Scene::with(json!({"active": true}), json!({}), &[]);
    scene.write("file", b"content");
    let mut client = scene.login();
    client.stores("stored", b"x");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    for command in ["EPSV", "PASV"] {
        scene.server.program.limit_descriptors(NONE);
        client.ask(command).expect(&[425]);
        client.ask("PWD").expect(&[257]);
        scene.server.program.limit_descriptors(ENOUGH);
    }
    for command in ["RETR file", "STOR new", "APPE file", "STOU", "LIST", "MLSD"] {
        client.passive();
        scene.server.program.limit_descriptors(NONE);
        client.ask(command).expect(&[425, 450, 451]);
        client.ask("NOOP").expect(&[200]);
        scene.server.program.limit_descriptors(ENOUGH);
        client.ask("ABOR").expect(&[226]);
    }
    // A list of a file is all there before the server finds that it cannot connect.
    client.ask(&format!("EPRT |1|{}|{}|", address.ip(), address.port())).expect(&[200]);
    scene.server.program.limit_descriptors(NONE);
    client.ask("LIST file").expect(&[425, 450, 451]);
    scene.server.program.limit_descriptors(ENOUGH);
    assert_eq!(client.get("RETR file"), b"content");
    client.stores("stored", b"more");
    drop(client);
    scene.check_ledger();
    scene.check_served();
}

#[test]
fn without_descriptors_newcomers_wait_and_who_is_in_goes_on() {
    let mut scene = Scene::new();
    let content = pattern(1, 24 << 20);
    scene.write("large", &content);
    let (mut client, mut other) = (scene.login(), scene.login());
    let mut download = client.open("RETR large");
    let mut received = download.read_exact(1000);
    let mut upload = other.open("STOR up");
    upload.write(&content[..1 << 20]);
    scene.wait_for_part(1 << 20);
    scene.server.program.limit_descriptors(NONE);
    let waiting: Vec<_> = (0..20).map(|_| stream_to(scene.ftp)).collect();
    let stderr = || scene.server.program.stderr();
    check_calm(&scene, "it has run out", || stderr().contains("cannot accept connections"));
    received.extend(download.read_all());
    client.reply().expect(&[226]);
    assert!(received == content);
    upload.write(&content[1 << 20..]);
    upload.finish();
    // Its directory may be one descriptor too many; what came is kept then.
    other.reply().expect(&[226, 451]);
    scene.server.program.limit_descriptors(ENOUGH);
    drop(waiting);
    scene.login().stores("late", b"x");
    drop((client, other));
    scene.check_ledger();
    scene.check_served();
}

/// A server that may have so few descriptors that transfers take the last of them.
#[test]
fn transfers_that_take_the_last_descriptors_end_in_answers_and_leave_none_open() {
    let mut scene = Scene::new();
    // More than the buffers of a connection take (tcp_wmem and tcp_rmem of Linux), so that
    // nobody's transfer has ended before the next one begins.
    let large = pattern(1, 40 << 20);
    scene.write("large", &large);
    scene.write("small", b"content");
    let mut clients: Vec<Client> = (0..12).map(|_| scene.login()).collect();
    // All of them were served once, so that nothing is opened for the first time below.
    for client in &mut clients {
        client.ask("SIZE large").expect(&[213]);
    }
    let before = scene.server.program.descriptors();
    // Each wants three: to listen, to transfer, and its file.
    scene.server.program.limit_descriptors(before as u64 + 14);
    let mut codes = Vec::new();
    let mut running = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        match passive(client) {
            Some(address) => {
                let stream = stream_to(address);
                client.say("RETR large");
                match client.begin(stream) {
                    Ok(data) => running.push((number, data)),
                    Err(refusal) => codes.push(refusal.code),
                }
            }
            None => codes.push(425),
        }
    }
    assert!(!codes.is_empty() && codes.iter().all(|code| [425, 451].contains(code)), "{codes:?}");
    assert!(running.len() >= 4, "{} of 12", running.len());
    for (number, mut data) in running {
        let mut got = Vec::new();
        let _ = std::io::Read::read_to_end(&mut data.wire, &mut got);
        let code = clients[number].reply().expect(&[226, 425, 426]).code;
        assert!(code != 226 || got == large, "{number}");
    }
    for client in &mut clients {
        client.ask("ABOR").expect(&[226]);
    }
    wait_until("nothing is left open", || scene.server.program.descriptors() <= before);
    scene.server.program.limit_descriptors(ENOUGH);
    for client in &mut clients {
        assert!(client.get("RETR small") == b"content");
    }
    drop(clients);
    scene.check_served();
}

/// Where the server listens for data, if it finds a descriptor for that.
fn passive(client: &mut Client) -> Option<SocketAddr> {
    let reply = client.ask("EPSV").expect(&[229, 425]);
    let port = (reply.code == 229).then(|| reply.text().split('|').nth(3)?.parse().ok())?;
    port.map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)))
}

// ---- Disks (threats 28 and 41) ------------------------------------------------------------

#[test]
fn a_disk_that_fills_up_amid_an_upload_is_452_and_leaves_what_was_there() {
    for sync in ["none", "data"] {
        let scene = Scene::with(json!({}), json!({"sync": sync}), &[]);
        let (old, new) = (pattern(1, 300_000), pattern(2, 3 << 20));
        scene.write("file", &old);
        let mut client = scene.login();
        scene.server.program.limit_files(Some(500_000));
        for command in ["STOR file", "STOR new", "APPE file"] {
            client.put(command, &new).expect(&[452]);
            scene.holds("file", &old);
            assert!(!scene.exists("new") && scene.parts().is_empty(), "{command}");
            scene.check_ledger();
        }
        client.stores("small", &old);
        scene.server.program.limit_files(Some(2 << 20));
        client.put("STOR file", &new).expect(&[452]);
        scene.holds("file", &old);
        scene.server.program.limit_files(None);
        assert_eq!(super::uploads::size(&mut client, "file"), old.len());
        // What came is held for a client that knows how much it was.
        let at = 2 << 20;
        client.ask(&format!("REST {at}")).expect(&[350]);
        client.put("STOR file", &new[at..]).expect(&[226]);
        scene.holds("file", &new);
        assert!(scene.parts().is_empty());
        scene.check_ledger();
    }
}

#[test]
fn a_full_log_disk_stops_no_transfer_and_is_told_on_stderr() {
    for log in ["access", "transactions"] {
        check_full_log(log);
    }
}

/// Transfers while one of the logs has no room.
fn check_full_log(log: &str) {
    let mut logs = json!({"access": "logs/access.log", "transactions": "logs/transactions.log"});
    logs[log] = json!("/dev/full");
    let mut scene = Scene::with(json!({}), json!({"logs": logs}), &[]);
    let content = pattern(1, 8 << 20);
    scene.write("down", &content);
    let (mut up, mut down) = (scene.login(), scene.login());
    let mut upload = up.open("STOR up");
    let mut download = down.open("RETR down");
    let mut received = download.read_exact(1000);
    upload.write(&content[..2 << 20]);
    // Lines of others that find no room, while both run.
    for _ in 0..20 {
        let mut client = scene.login();
        client.stores("small", b"x");
        client.ask("SIZE none").expect(&[550]);
    }
    wait_until("it complains", || scene.server.program.stderr().contains("/dev/full: "));
    upload.write(&content[2 << 20..]);
    upload.finish();
    up.reply().expect(&[226]);
    received.extend(download.read_all());
    down.reply().expect(&[226]);
    scene.holds("up", &content);
    assert!(received == content);
    let stderr = scene.server.program.stderr();
    assert!(stderr.contains(" lines lost so far: ") && stderr.contains("No space left"), "{stderr}");
    assert!(stderr.lines().count() < 20, "once in a while, not for each line: {stderr}");
    drop((up, down));
    scene.check_ledger();
    scene.check_served();
}

#[test]
fn a_log_that_has_room_again_tells_what_is_missing_of_transfers() {
    let scene = Scene::new();
    let mut client = scene.login();
    let mut stored = 0;
    let mut store = |client: &mut Client, times: u64| {
        (0..times).for_each(|_| client.stores("file", b"x"));
        stored += times;
        stored
    };
    store(&mut client, 5);
    scene.server.program.limit_files(Some(4096));
    store(&mut client, 60);
    wait_until("it complains", || scene.server.program.stderr().contains("transactions.log: "));
    scene.server.program.limit_files(None);
    let stored = store(&mut client, 5);
    wait_until("it tells", || scene.server.program.stderr().contains("transactions.log: is written again; "));
    client.ask("QUIT").expect(&[221]);
    let missing = |log: &str| -> Option<u64> {
        let lost: Vec<u64> = log.lines().filter_map(|line| line.split_once(" lines_lost=")?.1.parse().ok()).collect();
        let whole = log.lines().filter(|line| line.contains("verb=put") && line.ends_with("result=ok")).count();
        Some(whole as u64 + lost.first()?)
    };
    wait_until("all are there or told", || missing(&scene.place.log("transactions.log")) == Some(stored));
    assert_eq!(disk_usage(&scene.home("")).0, 1);
}
