//! Session reuse where it is offered but not required: of several connections to a data port, the one that resumes
//! the client's session is taken; a client that has shown that it can resume must; other clients are served as
//! before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ClientConfig;

use super::Scene;
use super::client::{Client, stream_to};
use super::tls::{Wire, config};
use crate::support::PASSWORD;

/// Connects to a data port in place of the client. Returns the bytes received.
fn intrude(stream: TcpStream, version: u8) -> Vec<u8> {
    intrude_with(stream, &config(&[version], false))
}

fn intrude_with(stream: TcpStream, tls: &Arc<ClientConfig>) -> Vec<u8> {
    let mut got = Vec::new();
    if let Ok(mut wire) = Wire::encrypted(stream, tls) {
        let _ = wire.write_all(b"planted");
        wire.close();
        let _ = wire.read_to_end(&mut got);
    }
    got
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("file", b"secret");
    scene
}

/// Logged in, and its session was resumed by a download.
fn resumed(scene: &Scene, version: u8) -> Client {
    let mut client = Client::login_over_tls(scene.ftp, "ann", config(&[version], true));
    let data = client.open("RETR file");
    assert!(data.wire.is_resumed());
    assert_eq!(data.read_all(), b"secret");
    client.reply().expect(&[226]);
    client
}

#[test]
fn the_client_takes_the_place_of_another_peer_that_was_there_first() {
    let scene = scene();
    for version in [13, 12] {
        let mut client = resumed(&scene, version);
        for round in 0..3 {
            for command in ["RETR file", "STOR new"] {
                let address = client.passive();
                let others = [stream_to(address), stream_to(address)];
                let own = stream_to(address);
                client.say(command);
                client.reply().expect(&[150]);
                for (number, mut other) in others.into_iter().enumerate() {
                    // One of them does not even speak TLS.
                    if number == round {
                        other.write_all(b"no TLS at all, and more than five bytes").expect("it reads");
                    } else {
                        assert_eq!(intrude(other, version), b"");
                    }
                }
                let mut wire = Wire::encrypted(own, &client.tls).expect("a handshake");
                assert!(wire.is_resumed());
                if command == "STOR new" {
                    wire.write_all(b"own").expect("it reads");
                }
                wire.close();
                let mut got = Vec::new();
                wire.read_to_end(&mut got).expect("a whole stream");
                client.reply().expect(&[226]);
                assert_eq!(got, if command == "RETR file" { &b"secret"[..] } else { b"" });
            }
            scene.holds("new", b"own");
        }
        client.ask("QUIT").expect(&[221]);
    }
}

/// curl 7.88 uses a ticket of TLS 1.3 once and reads no new one behind an upload.
#[test]
fn a_client_that_has_no_ticket_left_is_served() {
    let scene = scene();
    let mut client = resumed(&scene, 13);
    for _ in 0..3 {
        client.stores("up", b"content");
        let own = std::mem::replace(&mut client.tls, config(&[13], false));
        for _ in 0..3 {
            client.stores("up", b"more");
        }
        assert_eq!(client.get("RETR file"), b"secret");
        client.tls = own;
    }
}

/// rclone and `curl -Z` keep the ticket of one session for all of them.
#[test]
fn a_client_with_several_sessions_may_mix_their_tickets() {
    let scene = scene();
    for version in [13, 12] {
        let mut one = resumed(&scene, version);
        let mut other = resumed(&scene, version);
        std::mem::swap(&mut one.tls, &mut other.tls);
        for client in [&mut one, &mut other] {
            for _ in 0..3 {
                client.stores("up", b"content");
                assert_eq!(client.get("RETR file"), b"secret");
            }
        }
        // The last one may still have tickets of the other.
        other.ask("QUIT").expect(&[221]);
        one.stores("up", b"content");
        assert_eq!(one.get("RETR file"), b"secret");
        one.ask("QUIT").expect(&[221]);
    }
}

/// Has shown that it can resume any number of times, as with TLS 1.2 each session can be. What holds for a
/// client of TLS 1.3 that has used one ticket twice is tried in `tests/clients/python.rs`: rustls does not.
fn reusing(scene: &Scene) -> Client {
    let mut client = Client::login_over_tls(scene.ftp, "ann", config(&[12], true));
    client.stores("up", b"content");
    client
}

/// Another peer with this TLS that comes to the data port alone neither gets nor leaves anything.
#[track_caller]
fn check_refused(scene: &Scene, client: &mut Client, tls: &Arc<ClientConfig>) {
    for command in ["RETR file", "STOR file"] {
        let stream = stream_to(client.passive());
        client.say(command);
        client.reply().expect(&[150]);
        assert_eq!(intrude_with(stream, tls), b"", "{command}");
        client.reply().expect(&[522]);
    }
    scene.holds("file", b"secret");
    assert_eq!(client.get("RETR file"), b"secret");
    client.stores("up", b"more");
}

#[test]
fn another_peer_that_comes_alone_is_refused_once_the_client_has_shown_that_it_can_resume_repeatedly() {
    let scene = scene();
    let mut client = reusing(&scene);
    for version in [13, 12, 13] {
        check_refused(&scene, &mut client, &config(&[version], false));
    }
    client.ask("QUIT").expect(&[221]);
}

#[test]
fn a_ticket_issued_on_a_hijacked_data_connection_does_not_count() {
    let scene = scene();
    for version in [13, 12] {
        let mut client = Client::login_over_tls(scene.ftp, "ann", config(&[12], true));
        let other = config(&[version], true);
        // Nothing is known of the client yet.
        for _ in 0..2 {
            let stream = stream_to(client.passive());
            client.say("RETR file");
            client.reply().expect(&[150]);
            assert_eq!(intrude_with(stream, &other), b"secret");
            client.reply().expect(&[226]);
        }
        client.stores("up", b"content");
        check_refused(&scene, &mut client, &other);
        client.ask("QUIT").expect(&[221]);
    }
}

#[test]
fn a_session_of_another_account_proves_nothing() {
    let scene = scene();
    scene.place.add("bob", &[]);
    for version in [13, 12] {
        let mut client = reusing(&scene);
        let other = Client::login_over_tls(scene.ftp, "bob", config(&[version], true));
        check_refused(&scene, &mut client, &other.tls);
    }
}

/// rclone has one ticket for all its sessions: that of the last that has begun.
#[test]
fn a_ticket_counts_only_if_its_session_logs_in_to_the_same_account() {
    let scene = scene();
    for (password, code) in [(Some(PASSWORD), 226), (Some("wrong"), 522), (None, 522)] {
        let mut client = reusing(&scene);
        let mut other = Client::connect(scene.ftp);
        other.secure(Arc::clone(&client.tls));
        other.ask("USER ann").expect(&[331]);
        let stream = stream_to(client.passive());
        client.say("RETR file");
        client.reply().expect(&[150]);
        let mut wire = Wire::encrypted(stream, &client.tls).expect("a handshake");
        assert!(wire.is_resumed());
        match password {
            Some(password) => other.say(&format!("PASS {password}")),
            None => drop(other),
        }
        let mut got = Vec::new();
        let _ = wire.read_to_end(&mut got);
        wire.close();
        client.reply().expect(&[code]);
        assert_eq!(got, if code == 226 { &b"secret"[..] } else { b"" });
        client.ask("NOOP").expect(&[200]);
    }
}
