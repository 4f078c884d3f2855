//! Where session reuse is offered: of several connections to a data port of a client that has resumed, the one
//! that resumes is taken; and clients that cannot are served as ever.

use crate::Scene;
use crate::client::{Client, stream_to};
use crate::tls::{Wire, config};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Tries to be the client on a data connection; what it gets.
fn intrude(stream: TcpStream, version: u8) -> Vec<u8> {
    let mut got = Vec::new();
    if let Ok(mut wire) = Wire::sealed(stream, &config(&[version], false)) {
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
fn the_client_takes_the_place_of_a_stranger_who_was_there_first() {
    let scene = scene();
    for version in [13, 12] {
        let mut client = resumed(&scene, version);
        for round in 0..3 {
            for command in ["RETR file", "STOR new"] {
                let address = client.passive();
                let strangers = [stream_to(address), stream_to(address)];
                let own = stream_to(address);
                client.say(command);
                client.reply().expect(&[150]);
                for (number, mut stranger) in strangers.into_iter().enumerate() {
                    // One of them does not even speak TLS.
                    if number == round {
                        stranger.write_all(b"no TLS at all, and more than five bytes").expect("it reads");
                    } else {
                        assert_eq!(intrude(stranger, version), b"");
                    }
                }
                let mut wire = Wire::sealed(own, &client.tls).expect("a handshake");
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
