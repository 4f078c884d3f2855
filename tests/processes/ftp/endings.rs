//! How transfers and sessions end: the order of replies, queued commands, and clients that leave early.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Scene;
use super::client::{Client, stream_to};
use super::tls::{Wire, config};
use super::uploads::PART;
use crate::support::{pattern, wait_until};
use berth::protocol::ftp::FTP_REPLY_GAP;

/// More than the kernel takes for a client that does not read.
const LARGE: usize = 24 << 20;

fn with_files() -> (Scene, Vec<u8>) {
    let scene = Scene::with(json!({"active": true}), json!({}), &[]);
    let content = pattern(1, LARGE);
    scene.write("large", &content);
    scene.write("small", b"0123456789");
    scene.write("empty", b"");
    std::fs::create_dir(scene.home("folder")).expect("ours");
    (scene, content)
}

/// In plain text, and over TLS.
fn clients(scene: &Scene) -> [Client; 2] {
    [scene.login(), Client::login_over_tls(scene.ftp, "ann", config(&[13], true))]
}

/// How many replies of one line wait in the socket, unread. Over TLS each is a record.
fn replies_waiting(client: &Client) -> usize {
    let stream = client.wire.stream();
    stream.set_nonblocking(true).expect("a socket");
    let mut waiting = vec![0; 64 * 1024];
    let count = match stream.peek(&mut waiting) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        count => count.expect("open"),
    };
    stream.set_nonblocking(false).expect("a socket");
    let waiting = &waiting[..count];
    if matches!(client.wire, Wire::Plain(_)) {
        return waiting.iter().filter(|&&byte| byte == b'\n').count();
    }
    let (mut at, mut records) = (0, 0);
    while at < count {
        at += 5 + usize::from(u16::from_be_bytes([waiting[at + 3], waiting[at + 4]]));
        records += 1;
    }
    records
}

/// Begins a transfer without taking the word that it begins.
fn begin_unread(client: &mut Client, command: &str, is_active: bool) -> Wire {
    let stream = if is_active {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        client.ask(&format!("EPRT |1|127.0.0.1|{port}|")).expect(&[200]);
        client.say(command);
        listener.accept().expect("the server connects").0
    } else {
        let stream = stream_to(client.passive());
        client.say(command);
        stream
    };
    match client.is_private {
        true => Wire::encrypted(stream, &client.tls).expect("a handshake"),
        false => Wire::Plain(stream),
    }
}

/// Some clients take what has come in one piece and wait for the rest of it for ever.
#[test]
fn reply_150_is_sent_before_the_data_and_226_in_a_separate_segment() {
    let (scene, _) = with_files();
    for mut client in clients(&scene) {
        for is_active in [false, true] {
            for command in ["RETR empty", "RETR small", "NLST folder", "LIST", "MLSD", "RETR large"] {
                let mut is_seen = false;
                for _ in 0..100 {
                    let began = Instant::now();
                    let mut data = begin_unread(&mut client, command, is_active);
                    data.read_to_end(&mut Vec::new()).expect("whole");
                    let waiting = replies_waiting(&client);
                    // A client that slept so long meanwhile need not find them apart.
                    let was_awake = began.elapsed() < FTP_REPLY_GAP;
                    assert!(waiting >= 1, "{command}: the data came first");
                    client.reply().expect(&[150]);
                    data.close();
                    drop(data);
                    client.reply().expect(&[226]);
                    if was_awake || command == "RETR large" {
                        assert!(waiting == 1 || !was_awake, "{command}: {waiting} replies at once");
                        is_seen = true;
                        break;
                    }
                }
                assert!(is_seen, "{command}: this machine is too busy to tell");
            }
        }
    }
}

#[test]
fn reply_226_is_sent_even_if_the_client_keeps_the_data_connection_open() {
    let (scene, _) = with_files();
    for mut client in clients(&scene) {
        let mut data = client.open("RETR small");
        let mut content = Vec::new();
        data.wire.read_to_end(&mut content).expect("whole");
        client.reply().expect(&[226]);
        assert_eq!(content, b"0123456789");
        client.ask("NOOP").expect(&[200]);
    }
}

#[test]
fn uploads_are_begun_and_confirmed_in_two_replies_apart() {
    let (scene, _) = with_files();
    for mut client in clients(&scene) {
        for content in [&b""[..], b"few"] {
            let mut data = begin_unread(&mut client, "STOR new", false);
            client.reply().expect(&[150]);
            assert_eq!(replies_waiting(&client), 0);
            data.write_all(content).expect("the server reads");
            data.close();
            let _ = data.stream().shutdown(Shutdown::Write);
            client.reply().expect(&[226]);
            scene.holds("new", content);
        }
    }
}

// ---- QUIT and half-closes ------------------------------------------------------------------

#[test]
fn transfers_queued_before_quit_complete() {
    let (scene, content) = with_files();
    for is_told in [true, false] {
        for mut client in clients(&scene) {
            for (command, expected) in
                [("RETR large", &content[..]), ("RETR small", b"0123456789"), ("NLST folder", b"")]
            {
                let address = client.passive();
                client
                    .send(if is_told { format!("{command}\r\nQUIT\r\n") } else { format!("{command}\r\n") }.as_bytes());
                // Over TLS with its last word, or without.
                if is_told {
                    client.wire.close();
                }
                client.wire.stream().shutdown(Shutdown::Write).expect("open");
                let data = client.begin_now(stream_to(address));
                assert!(data.read_all() == expected, "{command}");
                let words: Vec<u16> = client.last_words().iter().map(|reply| reply.code).collect();
                assert_eq!(words, if is_told { &[226, 221][..] } else { &[226] }, "{command}");
                client = if client.is_private {
                    Client::login_over_tls(scene.ftp, "ann", config(&[13], true))
                } else {
                    scene.login()
                };
            }
        }
    }
    let log = scene.place.log("transactions.log");
    assert!(!log.lines().any(|line| line.contains("verb=get") && !line.contains("result=ok")), "{log}");
}

#[test]
fn a_whole_session_in_one_write_is_carried_out_to_its_end() {
    let (scene, content) = with_files();
    let mut client = Client::connect(scene.ftp);
    let talk = format!(
        "USER ann\r\nPASS {}\r\nEPSV\r\nRETR small\r\nEPSV\r\nRETR large\r\nEPSV\r\nSTOR new\r\nSIZE new\r\nQUIT\r\n",
        crate::support::PASSWORD
    );
    client.send(talk.as_bytes());
    client.wire.stream().shutdown(Shutdown::Write).expect("open");
    client.reply().expect(&[331]);
    client.reply().expect(&[230]);
    for expected in [&b"0123456789"[..], &content] {
        let stream = stream_to(announced(&mut client, scene.ftp));
        assert!(client.begin_now(stream).read_all() == expected);
        client.reply().expect(&[226]);
    }
    let stream = stream_to(announced(&mut client, scene.ftp));
    let mut data = client.begin_now(stream);
    data.write(b"content");
    data.finish();
    client.reply().expect(&[226]);
    assert_eq!(client.reply().expect(&[213]).text(), "7");
    client.reply().expect(&[221]);
    client.expect_end();
    scene.holds("new", b"content");
}

fn announced(client: &mut Client, mut address: SocketAddr) -> SocketAddr {
    let reply = client.reply().expect(&[229]);
    let port = reply.text().split('|').nth(3).and_then(|port| port.parse().ok());
    address.set_port(port.unwrap_or_else(|| panic!("{reply:?}")));
    address
}

#[test]
fn a_client_that_has_ended_both_connections_is_forgotten_at_once() {
    let scene = Scene::with(json!({}), json!({"limits": {"sessions_per_account": 1}}), &[]);
    scene.write("large", &pattern(1, LARGE));
    for says_quit in [false, true] {
        let mut client = scene.login();
        let mut data = client.open("RETR large");
        data.read_exact(1000);
        if says_quit {
            client.say("QUIT");
        }
        client.wire.stream().shutdown(Shutdown::Write).expect("open");
        data.wire.stream().shutdown(Shutdown::Write).expect("open");
        let began = Instant::now();
        wait_until("the seat is free", || {
            Client::connect(scene.ftp).enter("ann", crate::support::PASSWORD).code == 230
        });
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        drop(data);
    }
}

#[test]
fn an_upload_with_quit_behind_it_is_stored_though_its_client_leaves_at_once() {
    let scene = Scene::new();
    for (number, (count, quits_first)) in
        [(0, false), (10, false), (PART, false), (0, true), (10, true), (PART, true)].into_iter().enumerate()
    {
        let (name, content) = (format!("file{number}"), pattern(number as u64, count));
        let mut client = scene.login();
        let mut data = client.open(&format!("STOR {name}"));
        if quits_first {
            client.say("NOOP\r\nQUIT");
            client.wire.stream().shutdown(Shutdown::Both).expect("open");
            drop(client);
            data.write(&content);
            data.finish();
        } else {
            data.write(&content);
            data.finish_unread();
            client.say("QUIT");
            client.wire.stream().shutdown(Shutdown::Both).expect("open");
        }
        wait_until("it is stored", || scene.exists(&name));
        scene.holds(&name, &content);
    }
    // Without it, nobody knows whether that was all.
    let mut client = scene.login();
    let mut data = client.open("STOR none");
    data.write(&pattern(1, PART));
    client.wire.stream().shutdown(Shutdown::Both).expect("open");
    drop(client);
    assert!(!scene.transaction("path=/none").contains("result=ok"));
    data.finish();
    assert!(!scene.exists("none"));
    scene.check_ledger();
}

// ---- The queue -----------------------------------------------------------------------------

fn codes(client: &mut Client, count: usize) -> Vec<u16> {
    (0..count).map(|_| client.reply().code).collect()
}

const QUEUES: [(&[u8], &[u16]); 7] = [
    (b"ABOR\r\n", &[426, 226]),
    (b"NOOP\r\nABOR now\r\n", &[426, 200, 226]),
    (b"NOOP\r\nABOR\r\n", &[426, 200, 226]),
    (b"NOOP\r\nPWD\r\n\xff\xf4\xff\xf2ABOR\r\nSYST\r\n", &[426, 200, 257, 226, 215]),
    (b"NOOP\r\n\xff\xf4\xffabor \r\nNOOP\r\n", &[426, 200, 226, 200]),
    (b"RETR small\r\nABOR\r\n", &[426, 425, 226]),
    (b"ABOR\r\nABOR\r\n", &[426, 226, 226]),
];

#[test]
fn an_abort_is_heeded_wherever_it_stands_and_commands_are_answered_in_their_order() {
    let (scene, content) = with_files();
    scene.write("file", b"old");
    for mut client in clients(&scene) {
        for (queue, expected) in QUEUES {
            for command in ["RETR large", "STOR file"] {
                let mut data = client.open(command);
                match command {
                    "STOR file" => data.write(&content[..PART]),
                    _ => drop(data.read_exact(1000)),
                }
                client.send(queue);
                assert_eq!(codes(&mut client, expected.len()), expected, "{command}, {}", queue.escape_ascii());
                drop(data);
                // The next transfer is an ordinary one.
                assert_eq!(client.get("RETR file"), b"old");
                client.stores("other", b"content");
                client.stores("file", b"old");
            }
        }
    }
    scene.check_ledger();
}

#[test]
fn an_abort_behind_thousands_of_commands_is_heeded() {
    let (scene, _) = with_files();
    let mut client = scene.login();
    let mut data = client.open("STOR file");
    data.write(b"some");
    client.send(&[&b"NOOP\r\n".repeat(5000)[..], b"ABOR\r\n"].concat());
    client.reply().expect(&[426]);
    assert!(codes(&mut client, 5000).iter().all(|&code| code == 200));
    client.reply().expect(&[226]);
    data.finish();
    assert!(!scene.exists("file"));
}

/// The data has ended when the server hears of it, or not yet: neither makes a file of it.
#[test]
fn an_upload_that_its_client_aborted_is_never_stored() {
    let scene = Scene::new();
    scene.write("file", b"old");
    for mut client in clients(&scene) {
        for _ in 0..20 {
            let mut data = client.open("STOR file");
            data.write(b"new content");
            client.send(b"NOOP\r\nABOR\r\n");
            data.finish_unread();
            assert_eq!(codes(&mut client, 3), [426, 200, 226]);
            scene.holds("file", b"old");
        }
    }
    scene.check_ledger();
}

#[test]
fn how_far_a_transfer_is_can_be_asked_behind_commands_that_wait() {
    let (scene, content) = with_files();
    for mut client in clients(&scene) {
        let data = client.open("RETR large");
        client.send(b"NOOP\r\nPWD\r\nSTAT\r\nSTAT\r\nSYST\r\n");
        for _ in 0..2 {
            let status = client.reply().expect(&[211]);
            assert!(status.lines.join("\n").contains("large"), "{status:?}");
        }
        assert!(data.read_all() == content);
        assert_eq!(codes(&mut client, 4), [226, 200, 257, 215]);
    }
}

// ---- Stalls --------------------------------------------------------------------------------

/// Repeats `command` while the transfer stalls. Returns the first reply that does not answer it.
fn ended_while_saying(client: &mut Client, command: &str) -> u16 {
    client.wire.stream().set_read_timeout(Some(Duration::from_millis(100))).expect("a positive time");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        if client.wire.write_all(format!("{command}\r\n").as_bytes()).is_err() {
            break;
        }
        let mut room = [0; 4096];
        match client.wire.stream().peek(&mut room) {
            Ok(count) => {
                let text = String::from_utf8_lossy(&room[..count]).into_owned();
                if let Some(line) = text.lines().find(|line| line.starts_with('4')) {
                    return line[..3].parse().expect("a code");
                }
                let _ = client.wire.read(&mut room);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    panic!("{command} kept it alive for {:?}", began.elapsed());
}

#[test]
fn commands_do_not_postpone_the_end_of_a_transfer_that_stalls() {
    let scene = Scene::with(json!({}), json!({"timeouts": {"stall": 1}}), &[]);
    scene.write("large", &pattern(1, LARGE));
    for command in ["NOOP", "STAT", "ALLO 1"] {
        let mut client = scene.login();
        let mut data = client.open("STOR file");
        data.write(b"some");
        assert_eq!(ended_while_saying(&mut client, command), 421, "{command} beside an upload");
        assert!(!scene.exists("file"));
        let mut client = scene.login();
        let mut data = client.open("RETR large");
        data.read_exact(1000);
        assert_eq!(ended_while_saying(&mut client, command), 421, "{command} beside a download");
    }
}

#[test]
fn a_transfer_that_is_slow_but_moves_lives() {
    let scene = Scene::with(json!({}), json!({"timeouts": {"stall": 2}}), &[]);
    let mut client = scene.login();
    let mut data = client.open("STOR file");
    let control = client.wire.stream().try_clone().expect("descriptors");
    control.set_read_timeout(Some(Duration::from_millis(300))).expect("a positive time");
    for _ in 0..12 {
        data.write(b"x");
        // Nothing comes: it only passes time.
        assert!(control.peek(&mut [0]).is_err(), "it was ended");
    }
    control.set_read_timeout(Some(crate::support::PATIENCE)).expect("a positive time");
    data.finish();
    client.reply().expect(&[226]);
    scene.holds("file", &[b'x'; 12]);
}

#[test]
fn a_stalled_download_of_a_half_closed_session_ends_with_421() {
    let scene = Scene::with(json!({}), json!({"timeouts": {"stall": 1}}), &[]);
    scene.write("large", &pattern(1, LARGE));
    let mut client = scene.login();
    let mut data = client.open("RETR large");
    data.read_exact(1000);
    client.wire.stream().shutdown(Shutdown::Write).expect("open");
    let words: Vec<u16> = client.last_words().iter().map(|reply| reply.code).collect();
    assert_eq!(words, [421]);
}

// ---- Logins --------------------------------------------------------------------------------

/// The first byte of a TLS connection, and nothing more.
#[test]
fn a_handshake_that_does_not_go_on_ends_with_the_time_for_a_login() {
    let scene = Scene::with(json!({"listen_tls": "127.0.0.1:0"}), json!({"timeouts": {"login": 1}}), &[]);
    let implicit = super::listening(&scene.server, "ftps");
    let native = scene.server.address;
    for (address, says) in [(implicit, &b""[..]), (native, b""), (scene.ftp, b"AUTH TLS\r\n")] {
        let began = Instant::now();
        let mut stream: TcpStream = stream_to(address);
        stream.write_all(says).expect("open");
        if !says.is_empty() {
            let mut said = Vec::new();
            while !said.ends_with(b"\r\n") || !said.windows(4).any(|window| window == b"234 ") {
                let mut room = [0; 512];
                let count = stream.read(&mut room).expect("a reply");
                said.extend_from_slice(&room[..count]);
            }
        }
        stream.write_all(&[0x16]).expect("open");
        let _ = stream.read_to_end(&mut Vec::new());
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    }
}
