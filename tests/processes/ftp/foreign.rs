//! Peers that speak another protocol, such as a browser that was led to this port (ALPACA, threat 61), and clients
//! that try unsupported commands.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{AlertDescription, ClientConfig, Error};
use serde_json::json;

use super::Scene;
use super::client::{Client, Reply, stream_to};
use super::listening;
use super::tls::{Wire, config};
use crate::support::{PASSWORD, Place};

fn offering(protocols: &[&str], version: u8) -> Arc<ClientConfig> {
    let mut tls = Arc::unwrap_or_clone(config(&[version], true));
    tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(tls)
}

/// Returns whether the server completes a handshake with a client that offers these. If not, it must say why.
#[track_caller]
fn is_served(client: Client, protocols: &[&str], version: u8) -> bool {
    let stream = client.wire.stream().try_clone().expect("descriptors");
    match Wire::encrypted(stream, &offering(protocols, version)) {
        Ok(_) => true,
        Err(error) => {
            let alert = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
            assert_eq!(alert, Some(&Error::AlertReceived(AlertDescription::NoApplicationProtocol)), "{error}");
            false
        }
    }
}

fn explicit(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.ask("AUTH TLS").expect(&[234]);
    client
}

const OTHERS: [&[&str]; 6] = [&["http/1.1"], &["h2", "http/1.1"], &["imap"], &["ftp-data"], &["berth/1"], &["FTP"]];

#[test]
fn a_tls_client_that_asks_for_another_protocol_is_refused_with_the_alert_for_it() {
    let place = Place::with(json!({"plaintext": false, "ftp": {"listen": "127.0.0.1:0", "listen_tls": "127.0.0.1:0"}}));
    place.add("ann", &[]);
    let server = place.serve();
    let (ftp, ftps) = (listening(&server, "ftp"), listening(&server, "ftps"));
    for version in [13, 12] {
        for (protocols, is_ftp) in [(&["ftp"][..], true), (&["x-other", "ftp"], true), (&[], true)]
            .into_iter()
            .chain(OTHERS.map(|it| (it, false)))
        {
            assert_eq!(is_served(explicit(ftp), protocols, version), is_ftp, "explicit: {protocols:?}");
            let implicit = Client::over(ftps, stream_to(ftps));
            assert_eq!(is_served(implicit, protocols, version), is_ftp, "implicit: {protocols:?}");
        }
    }
}

/// A browser that was led to a data connection would take a file for a web page.
#[test]
fn a_data_connection_that_asks_for_another_protocol_gets_no_byte_of_the_file() {
    let scene = Scene::new();
    scene.write("page", b"<script>");
    for version in [13, 12] {
        let mut client = Client::login_over_tls(scene.ftp, "ann", offering(&["ftp"], version));
        for (protocols, is_ftp) in [(&["http/1.1"][..], false), (&["ftp-data"], true), (&["ftp"], true), (&[], true)] {
            let stream = stream_to(client.passive());
            client.say("RETR page");
            client.reply().expect(&[150]);
            match Wire::encrypted(stream, &offering(protocols, version)) {
                Ok(mut wire) => {
                    assert!(is_ftp, "{protocols:?}");
                    let mut content = Vec::new();
                    wire.read_to_end(&mut content).expect("a whole stream");
                    assert_eq!(content, b"<script>");
                    wire.close();
                    client.reply().expect(&[226]);
                }
                Err(error) => {
                    assert!(!is_ftp, "{protocols:?}: {error}");
                    client.reply().expect(&[426]);
                }
            }
        }
    }
}

/// What the server says to a line, up to the end of the connection.
#[track_caller]
fn words_to(mut client: Client, line: &str) -> Vec<Reply> {
    // What follows the request must not be carried out.
    client.say(&format!("{line}\r\nUSER ann\r\nPASS {PASSWORD}\r\nMKD made"));
    client.last_words()
}

#[test]
fn a_request_of_http_or_smtp_ends_the_connection_before_and_after_the_login() {
    let mut scene = Scene::new();
    for line in [
        "GET / HTTP/1.1",
        "HEAD / HTTP/1.0",
        "POST /upload HTTP/1.1",
        "PUT /x HTTP/1.1",
        "DELETE /x HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT a:21 HTTP/1.1",
        "TRACE / HTTP/1.1",
        "PATCH / HTTP/1.1",
        "PRI * HTTP/2.0",
        "PROPFIND / HTTP/1.1",
        "get",
        "EHLO browser",
        "HELO browser",
        "MAIL FROM:<a@b>",
        "SSH-2.0-x",
        &format!("POST /{} HTTP/1.1", "x".repeat(5000)),
    ] {
        for client in [Client::connect(scene.ftp), scene.login()] {
            let words = words_to(client, line);
            let [only] = &words[..] else { panic!("{line:.20}: {words:?}") };
            assert_eq!(only.code / 100, 5, "{line:.20}: {only:?}");
            let shown = only.lines.concat();
            assert!(!shown.contains("upload") && !shown.contains("xxx"), "nothing of it comes back: {shown}");
        }
    }
    assert!(!scene.exists("made"));
    scene.check_served();
}

#[test]
fn ten_lines_that_are_no_command_end_a_connection_that_has_not_logged_in() {
    let mut scene = Scene::new();
    for line in ["NONSENSE", "PORT 1", "MODE Z", "\u{1b}[0m", "XSEN a"] {
        let mut client = Client::connect(scene.ftp);
        client.say(&format!("{line}\r\n").repeat(20_000 / 1000));
        let words = client.last_words();
        assert_eq!(words.len(), 10, "{line}: {words:?}");
        assert!(words[..9].iter().all(|reply| reply.code / 100 == 5), "{line}: {words:?}");
        assert_eq!(words[9].code, 421, "{line}");
    }
    // A login between them makes a difference, and TLS does not.
    let mut client = Client::connect(scene.ftp);
    for _ in 0..5 {
        client.ask("NONSENSE").expect(&[500]);
    }
    client.secure(config(&[13, 12], true));
    for _ in 0..4 {
        client.ask("NONSENSE").expect(&[500]);
    }
    client.enter("ann", PASSWORD).expect(&[230]);
    for _ in 0..100 {
        client.ask("NONSENSE").expect(&[500]);
    }
    scene.check_served();
}

#[test]
fn what_clients_try_before_the_login_does_not_end_the_connection() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.ftp);
    for line in [
        "HOST localhost",
        "AUTH GSSAPI",
        "AUTH KERBEROS_V4",
        "ADAT AAAA",
        "PBSZ 0",
        "FEAT",
        "SYST",
        "OPTS UTF8 ON",
        "OPTS UTF-8 NLST",
        "CLNT FileZilla",
        "CSID Name=x;",
        "LANG en",
        "NOOP",
        "PWD",
        "TYPE I",
    ] {
        let reply = client.ask(line);
        assert!(reply.code != 421, "{line}: {reply:?}");
    }
    client.ask("AUTH SSL").expect(&[234]);
    client.shake(config(&[13, 12], true));
    client.enter("ann", PASSWORD).expect(&[230]);
}
