//! FTPS: explicit and implicit, TLS 1.2 and 1.3, and how a data connection is bound to its control connection.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};
use serde_json::json;

use super::Scene;
use super::client::{Client, stream_to};
use super::listening;
use super::tls::{Wire, config};
use super::uploads::{CUT, PART, size};
use crate::support::{PASSWORD, Place, pattern, wait_until};

/// Encrypted only.
fn scene(ftp: serde_json::Value) -> Scene {
    let mut keys = json!({"plaintext": false});
    for (key, value) in ftp.as_object().expect("an object") {
        keys[key] = value.clone();
    }
    Scene::with(keys, json!({}), &[])
}

fn login(scene: &Scene, tls: Arc<ClientConfig>) -> Client {
    Client::login_over_tls(scene.ftp, "ann", tls)
}

/// Uploads, downloads and lists.
#[track_caller]
fn check_transfers(scene: &Scene, client: &mut Client) {
    for count in [0, 1, 20_000, 3 << 20] {
        let content = pattern(count as u64, count);
        client.stores("file", &content);
        scene.holds("file", &content);
        assert!(client.get("RETR file") == content, "{count} bytes");
    }
    assert_eq!(client.list("NLST"), ["file"]);
    assert_eq!(client.list("LIST").len(), 1);
    client.ask("REST 5").expect(&[350]);
    assert!(client.get("RETR file") == pattern(3 << 20, 3 << 20)[5..]);
}

#[test]
fn everything_works_over_tls_1_3_and_1_2_with_and_without_sessions() {
    let scene = scene(json!({}));
    for version in [13, 12] {
        for resumes in [true, false] {
            check_transfers(&scene, &mut login(&scene, config(&[version], resumes)));
        }
    }
}

#[test]
fn implicit_tls_has_a_port_of_its_own() {
    let place = Place::with(json!({"plaintext": false, "ftp": {"listen_tls": "127.0.0.1:0"}}));
    place.add("ann", &[]);
    let server = place.serve();
    let ftp = listening(&server, "ftps");
    let scene = Scene { place, server, ftp };
    for version in [13, 12] {
        let mut client = Client::over(ftp, stream_to(ftp));
        client.shake(config(&[version], true));
        client.reply().expect(&[220]);
        client.enter("ann", PASSWORD).expect(&[230]);
        // Whether or not PBSZ and PROT were said: such clients expect what they have.
        if version == 13 {
            client.ask("PBSZ 0").expect(&[200]);
        }
        client.ask("PROT P").expect(&[200]);
        client.is_private = true;
        client.ask("TYPE I").expect(&[200]);
        check_transfers(&scene, &mut client);
        client.ask("AUTH TLS").expect(&[503, 534, 504]);
    }
    // What is not encrypted gets no answer in plain text.
    let mut client = Client::over(ftp, stream_to(ftp));
    client.say("USER ann");
    let mut bytes = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.wire, &mut bytes);
    assert!(!bytes.starts_with(b"220") && !bytes.starts_with(b"331"), "{bytes:?}");
}

#[test]
fn data_connections_take_the_session_up_again_if_the_client_wants_to() {
    for reuse in ["offered", "required"] {
        let scene = scene(json!({"session_reuse": reuse}));
        for version in [13, 12] {
            let mut client = login(&scene, config(&[version], true));
            let mut resumed = 0;
            for number in 0..20 {
                let mut data = client.open(&format!("STOR file{}", number % 3));
                resumed += usize::from(data.wire.is_resumed());
                data.write(b"content");
                data.finish();
                client.reply().expect(&[226]);
                let data = client.open("RETR file0");
                resumed += usize::from(data.wire.is_resumed());
                assert_eq!(data.read_all(), b"content");
                client.reply().expect(&[226]);
            }
            assert_eq!(resumed, 40, "{reuse}, TLS 1.{}", version - 10);
        }
    }
}

/// A client of TLS 1.3 forgets a ticket that it has used.
#[test]
fn a_session_that_only_uploads_never_runs_out_of_tickets() {
    let scene = scene(json!({"session_reuse": "required"}));
    for (version, uploads) in [(13, 1000), (12, 100)] {
        let mut client = login(&scene, config(&[version], true));
        for number in 0..uploads {
            let mut data = client.open("STOR file");
            assert!(data.wire.is_resumed(), "upload {number} over TLS 1.{}", version - 10);
            data.write(format!("{number}").as_bytes());
            data.finish();
            client.reply().expect(&[226]);
        }
        scene.holds("file", format!("{}", uploads - 1).as_bytes());
    }
}

#[test]
fn uploads_that_are_cut_leave_tickets_for_the_next() {
    let scene = scene(json!({"session_reuse": "required"}));
    let mut client = login(&scene, config(&[13], true));
    for number in 0..20 {
        let mut data = client.open("STOR file");
        data.write(b"cut");
        data.cut();
        client.reply().expect(&CUT);
        client.stores("file", format!("{number}").as_bytes());
    }
}

#[test]
fn a_data_connection_without_the_session_is_refused_where_it_is_required() {
    let scene = scene(json!({"session_reuse": "required"}));
    scene.write("file", b"old");
    for version in [13, 12] {
        let mut client = login(&scene, config(&[version], true));
        let own = std::mem::replace(&mut client.tls, config(&[version], false));
        check_refused(&scene, &mut client);
        // One that belongs to another control connection is as good as none.
        let mut other = login(&scene, config(&[version], true));
        other.stores("other", b"x");
        client.tls = Arc::clone(&other.tls);
        check_refused(&scene, &mut client);
        client.tls = own;
        assert_eq!(client.get("RETR file"), b"old");
        client.ask("QUIT").expect(&[221]);
    }
}

/// Neither upload nor download works.
#[track_caller]
fn check_refused(scene: &Scene, client: &mut Client) {
    for command in ["STOR file", "RETR file"] {
        let address = client.passive();
        let stream = stream_to(address);
        client.say(command);
        client.reply().expect(&[150]);
        let mut got = Vec::new();
        if let Ok(mut wire) = Wire::encrypted(stream, &client.tls) {
            let _ = wire.write_all(b"planted");
            wire.close();
            let _ = wire.stream().shutdown(Shutdown::Write);
            if command.starts_with("RETR") {
                let _ = std::io::Read::read_to_end(&mut wire, &mut got);
            }
        }
        assert_eq!(got, b"", "what was sent over it");
        client.reply().expect(&[425, 426, 450, 521, 522, 534]);
    }
    scene.holds("file", b"old");
}

/// Else somebody at the client's address could plant bytes into what its owner goes on with.
#[test]
fn a_data_connection_that_is_refused_adds_nothing_to_an_interrupted_upload() {
    let scene = scene(json!({"session_reuse": "required"}));
    let content = pattern(1, PART + 10);
    for version in [13, 12] {
        let mut client = login(&scene, config(&[version], true));
        let mut data = client.open("STOR file");
        data.write(&content[..PART]);
        scene.wait_for_part(PART as u64 - 64 * 1024);
        data.reset();
        client.reply().expect(&CUT);
        let at = size(&mut client, "file");
        let own = std::mem::replace(&mut client.tls, config(&[version], false));
        for command in ["APPE file", "STOR file"] {
            client.ask(&format!("REST {at}")).expect(&[350]);
            let stream = stream_to(client.passive());
            client.say(command);
            client.reply().expect(&[150]);
            let _wire = Wire::encrypted_saying(&[b'x'; 1000], stream, &client.tls);
            client.reply().expect(&[522]);
            assert_eq!(size(&mut client, "file"), at, "TLS 1.{}", version - 10);
        }
        client.tls = own;
        client.ask(&format!("REST {at}")).expect(&[350]);
        client.put("STOR file", &content[at..]).expect(&[226]);
        scene.holds("file", &content);
        client.ask("DELE file").expect(&[250]);
    }
}

/// Small enough to wait in memory as a whole.
#[test]
fn a_download_of_which_nothing_was_sent_is_not_logged_as_done() {
    let scene = scene(json!({"session_reuse": "required"}));
    scene.write("file", &pattern(1, 20_000));
    let mut client = login(&scene, config(&[13], true));
    let own = std::mem::replace(&mut client.tls, config(&[13], false));
    let stream = stream_to(client.passive());
    client.say("RETR file");
    client.reply().expect(&[150]);
    let _ = Wire::encrypted(stream, &client.tls);
    client.reply().expect(&[522]);
    client.tls = own;
    let _silent = stream_to(client.passive());
    client.say("RETR file");
    client.reply().expect(&[150]);
    client.ask("ABOR").expect(&[426]);
    client.reply().expect(&[226]);
    assert!(client.get("RETR file") == pattern(1, 20_000));
    let results = || -> Vec<String> {
        let log = scene.place.log("transactions.log");
        log.lines().filter_map(|line| Some(line.split_once(" result=")?.1.to_string())).collect()
    };
    wait_until("all are logged", || results().len() == 3);
    assert_eq!(results(), ["Cut", "Cancelled", "ok"]);
}

#[test]
fn an_upload_that_ends_without_close_notify_is_not_stored() {
    let scene = scene(json!({}));
    scene.write("file", b"old");
    let content = pattern(1, 2 << 20);
    for version in [13, 12] {
        let mut client = login(&scene, config(&[version], true));
        let mut data = client.open("STOR file");
        data.write(b"new");
        data.cut();
        client.reply().expect(&[426, 450, 451, 551]);
        scene.holds("file", b"old");
        let mut data = client.open("STOR file");
        data.write(&content);
        scene.wait_for_part(1 << 20);
        data.reset();
        client.reply().expect(&[426, 450, 451, 551]);
        scene.holds("file", b"old");
    }
    scene.check_ledger();
}

/// What a client has to say is at its end as soon as a download begins.
#[test]
fn a_download_whose_client_closes_its_own_direction_without_close_notify_arrives_whole() {
    let scene = scene(json!({}));
    let content = pattern(1, 8 << 20);
    scene.write("file", &content);
    for version in [13, 12] {
        let mut client = login(&scene, config(&[version], true));
        for command in ["RETR file", "NLST"] {
            let data = client.open(command);
            data.wire.stream().shutdown(Shutdown::Write).expect("open");
            let got = data.read_all();
            assert!(got == if command == "NLST" { b"file\r\n".to_vec() } else { content.clone() }, "{command}");
            client.reply().expect(&[226]);
        }
    }
}

#[test]
fn an_upload_may_end_without_close_notify_where_the_configuration_says_so() {
    let scene = scene(json!({"close_notify": "optional"}));
    for version in [13, 12] {
        let mut client = login(&scene, config(&[version], true));
        let mut data = client.open("STOR file");
        data.write(b"new");
        data.wire.stream().shutdown(Shutdown::Write).expect("open");
        client.reply().expect(&[226]);
        scene.holds("file", b"new");
        drop(data);
        // A reset is a cut all the same.
        let mut data = client.open("STOR file");
        data.write(b"other");
        data.reset();
        client.reply().expect(&[426, 450, 451, 551]);
        scene.holds("file", b"new");
    }
}

/// Tickets that lie unread in its socket would make closing it a reset.
#[test]
fn an_upload_whose_client_reads_nothing_back_is_stored() {
    let scene = scene(json!({}));
    for version in [13, 12] {
        let mut client = login(&scene, config(&[version], true));
        for count in [0, 1000, 3 << 20] {
            let content = pattern(count as u64, count);
            let mut data = client.open("STOR file");
            data.write(&content);
            data.finish_unread();
            client.reply().expect(&[226]);
            scene.holds("file", &content);
        }
    }
}

#[test]
fn text_queued_behind_auth_tls_is_thrown_away() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.ftp);
    client.send(b"AUTH TLS\r\nUSER mallory\r\nMKD planted\r\nNOOP\r\n");
    client.reply().expect(&[234]);
    let stream = client.wire.stream().try_clone().expect("descriptors");
    let Ok(wire) = Wire::encrypted(stream, &config(&[13], true)) else { return };
    client.wire = wire;
    // The first answer is to the first command within.
    client.say("PWD");
    if let Ok(reply) = client.next_reply() {
        assert_eq!(reply.code, 530, "{reply:?}");
        client.enter("ann", PASSWORD).expect(&[230]);
    }
    assert!(!scene.exists("planted"));
}

#[test]
fn what_was_said_before_tls_counts_for_nothing_behind_it() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.ftp);
    client.ask("USER ann").expect(&[331]);
    client.secure(config(&[13], true));
    client.ask(&format!("PASS {PASSWORD}")).expect(&[503]);
    client.enter("ann", PASSWORD).expect(&[230]);
}

#[test]
fn protection_is_agreed_upon_as_rfc_4217_says() {
    let scene = scene(json!({}));
    let mut client = Client::connect(scene.ftp);
    client.ask("PBSZ 0").expect(&[503]);
    client.ask("PROT P").expect(&[503]);
    client.ask("AUTH").expect(&[501]);
    client.ask("AUTH KERBEROS_V4").expect(&[504]);
    client.secure(config(&[13], true));
    client.ask("AUTH TLS").expect(&[503, 534]);
    client.enter("ann", PASSWORD).expect(&[230]);
    client.ask("PROT P").expect(&[503]);
    client.ask("PBSZ x").expect(&[501]);
    assert!(client.ask("PBSZ 1000").expect(&[200]).text().contains("PBSZ=0"));
    client.ask("PROT S").expect(&[504, 536]);
    client.ask("PROT E").expect(&[504, 536]);
    client.ask("PROT X").expect(&[501, 504]);
    client.ask("PROT").expect(&[501]);
    client.ask("PROT C").expect(&[534, 536]);
    client.ask("PROT P").expect(&[200]);
    client.ask("CCC").expect(&[533]);
    client.ask("PWD").expect(&[257]);
}

#[test]
fn auth_ssl_is_what_old_clients_call_it() {
    let scene = scene(json!({}));
    for mechanism in ["TLS", "tls", "TLS-C", "SSL"] {
        let mut client = Client::connect(scene.ftp);
        if client.ask(&format!("AUTH {mechanism}")).expect(&[234, 504]).code == 234 {
            client.shake(config(&[13], true));
            client.enter("ann", PASSWORD).expect(&[230]);
        } else {
            assert!(mechanism.len() != 3 || mechanism == "SSL", "{mechanism}");
        }
    }
}

#[test]
fn data_in_plain_text_is_refused_where_that_is_not_allowed() {
    let scene = scene(json!({}));
    scene.write("file", b"old");
    let mut client = Client::connect(scene.ftp);
    client.secure(config(&[13], true));
    client.enter("ann", PASSWORD).expect(&[230]);
    for command in ["LIST", "RETR file", "STOR file", "MLSD"] {
        let refusal = match client.ask("EPSV") {
            reply if reply.code == 229 => {
                let port = reply.text().split('|').nth(3).and_then(|port| port.parse().ok()).expect("a port");
                let stream = std::net::TcpStream::connect(std::net::SocketAddr::new(scene.ftp.ip(), port));
                client.say(command);
                drop(stream);
                client.reply()
            }
            refusal => refusal,
        };
        refusal.expect(&[425, 503, 521, 522, 534]);
    }
    scene.holds("file", b"old");
}

#[test]
fn data_may_go_in_plain_text_where_that_is_allowed() {
    let scene = Scene::new();
    let mut client = Client::login_over_tls(scene.ftp, "ann", config(&[13], true));
    client.stores("file", b"content");
    client.ask("PROT C").expect(&[200]);
    client.is_private = false;
    assert_eq!(client.get("RETR file"), b"content");
    client.ask("PROT P").expect(&[200]);
    client.is_private = true;
    assert_eq!(client.get("RETR file"), b"content");
}

#[test]
fn a_client_that_speaks_no_tls_behind_auth_tls_costs_only_itself() {
    let mut scene = Scene::new();
    for junk in [&b"USER ann\r\n"[..], &[0xff; 3000], b"\x16\x03\x01\xff\xff", b""] {
        let mut client = Client::connect(scene.ftp);
        client.ask("AUTH TLS").expect(&[234]);
        client.send(junk);
        let _ = client.wire.stream().shutdown(Shutdown::Write);
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut client.wire, &mut bytes);
        assert!(!bytes.starts_with(b"331"), "{bytes:?}");
    }
    scene.check_served();
}

#[test]
fn a_data_connection_that_speaks_no_tls_gets_and_stores_nothing() {
    let scene = scene(json!({}));
    scene.write("file", b"old");
    let mut client = login(&scene, config(&[13], true));
    for command in ["STOR file", "RETR file", "LIST"] {
        let mut stream = stream_to(client.passive());
        client.say(command);
        client.reply().expect(&[150]);
        let _ = stream.write_all(b"no handshake, and more than five bytes of that");
        let _ = stream.shutdown(Shutdown::Write);
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut bytes);
        assert!(!bytes.windows(3).any(|it| it == b"old"), "{bytes:?}");
        client.reply().expect(&[425, 426, 450, 451, 522]);
        scene.holds("file", b"old");
    }
    client.stores("file", b"new");
}

#[test]
fn interrupted_uploads_go_on_over_tls() {
    let scene = scene(json!({}));
    let content = pattern(1, 4 << 20);
    let mut client = login(&scene, config(&[13], true));
    let mut data = client.open("STOR file");
    data.write(&content[..2 << 20]);
    scene.wait_for_part(1 << 20);
    data.cut();
    client.reply().expect(&[426, 450, 451, 551]);
    let at: usize = client.ask("SIZE file").expect(&[213]).text().parse().expect("a number");
    assert!((1 << 20..=2 << 20).contains(&at), "{at}");
    client.ask(&format!("REST {at}")).expect(&[350]);
    client.put("STOR file", &content[at..]).expect(&[226]);
    scene.holds("file", &content);
    scene.check_ledger();
}

#[test]
fn an_abort_over_tls_leaves_an_ordinary_session() {
    let scene = scene(json!({}));
    scene.write("large", &vec![7; 48 << 20]);
    scene.write("small", b"0123456789");
    for version in [13, 12] {
        let mut client = login(&scene, config(&[version], true));
        let mut data = client.open("RETR large");
        data.read_exact(100_000);
        client.send(b"\xff\xf4\xff\xf2ABOR\r\n");
        client.reply().expect(&[426]);
        client.reply().expect(&[225, 226]);
        drop(data);
        assert_eq!(client.get("RETR small"), b"0123456789");
    }
}

#[test]
fn a_data_connection_that_ends_before_its_tls_began_is_told_at_once_and_stores_nothing() {
    for close_notify in ["required", "optional"] {
        let scene = scene(json!({"close_notify": close_notify}));
        std::fs::write(scene.home("file"), pattern(1, 100_000)).expect("writable");
        let mut client = login(&scene, config(&[13], true));
        for command in ["RETR file", "LIST", "STOR other"] {
            let data = stream_to(client.passive());
            client.say(command);
            client.reply().expect(&[150]);
            drop(data);
            client.reply().expect(&[425, 426]);
            client.ask("NOOP").expect(&[200]);
        }
        assert!(!scene.home("other").exists());
    }
}

/// Some clients end an empty upload with the first reply, before they know whether TLS is agreed on.
#[test]
fn a_client_that_has_begun_tls_is_answered_before_the_first_reply() {
    let scene = scene(json!({}));
    scene.write("file", b"content");
    for command in ["STOR empty", "RETR file", "NLST"] {
        for version in [13, 12] {
            let tls = config(&[version], false);
            let mut client = login(&scene, Arc::clone(&tls));
            let mut data = stream_to(client.passive());
            let name = "localhost".try_into().expect("a name");
            let mut hello = Vec::new();
            ClientConnection::new(tls, name).expect("a client").write_tls(&mut hello).expect("memory");
            data.write_all(&hello).expect("the server listens");
            client.ask(command).expect(&[150]);
            data.set_nonblocking(true).expect("a socket");
            assert!(data.peek(&mut [0]).is_ok_and(|count| count > 0), "{command}, TLS {version}");
        }
    }
}
