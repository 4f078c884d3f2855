//! FTP sessions while the server drains, is administered, and writes its logs.

use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::json;

use super::client::{Client, stream_to};
use super::{Scene, addresses, configuration};
use crate::support::{PASSWORD, Place, pattern, wait_until};

#[test]
fn sigterm_lets_running_transfers_finish_and_tells_the_others_421() {
    let mut scene = Scene::new();
    let content = pattern(1, 48 << 20);
    scene.write("down", &content);
    let (mut idle, mut up, mut down) = (scene.login(), scene.login(), scene.login());
    let mut upload = up.open("STOR up");
    upload.write(&content[..2 << 20]);
    let mut download = down.open("RETR down");
    let mut received = download.read_exact(100_000);
    scene.wait_for_part(1 << 20);
    scene.server.program.signal(Signal::TERM);
    idle.reply().expect(&[421]);
    idle.expect_end();
    wait_until("connections are refused", || TcpStream::connect(scene.ftp).is_err());
    assert!(!scene.server.program.is_over(), "two transfers are running");
    upload.write(&content[2 << 20..]);
    upload.finish();
    up.reply().expect(&[226]);
    received.extend(download.read_all());
    down.reply().expect(&[226]);
    let words: Vec<u16> = up.last_words().iter().chain(&down.last_words()).map(|reply| reply.code).collect();
    assert!(words.iter().all(|&code| code == 421), "{words:?}");
    scene.server.program.wait().expect_code(0);
    scene.holds("up", &content);
    assert!(received == content);
}

#[test]
fn a_drain_ends_at_its_deadline_and_keeps_what_came() {
    let mut scene = Scene::with(json!({}), json!({"timeouts": {"drain": 0}}), &[]);
    let mut client = scene.login();
    let content = pattern(1, 3 << 20);
    let mut data = client.open("STOR file");
    data.write(&content[..2 << 20]);
    scene.wait_for_part(2 << 20);
    scene.server.program.signal(Signal::TERM);
    let words: Vec<u16> = client.last_words().iter().map(|reply| reply.code).collect();
    assert!(words.iter().all(|code| [421, 426].contains(code)) && !words.is_empty(), "{words:?}");
    scene.server.program.wait().expect_code(0);
    drop(data);
    assert!(!scene.exists("file"));
    scene.server = scene.place.serve();
    scene.ftp = super::listening(&scene.server, "ftp");
    let mut client = scene.login();
    assert_eq!(client.ask("SIZE file").expect(&[213]).text(), (2 << 20).to_string());
    client.put("APPE file", &content[2 << 20..]).expect(&[226]);
    scene.holds("file", &content);
}

#[test]
fn locking_or_removing_an_account_ends_its_sessions() {
    let scene = Scene::new();
    scene.place.add("ben", &[]);
    let (mut ann, mut ben) = (scene.login(), Client::login(scene.ftp, "ben"));
    let mut data = ann.open("STOR file");
    data.write(b"some");
    scene.admin(&["user", "lock", "ann"]);
    let words = ann.last_words();
    assert!(words.iter().any(|reply| reply.code == 421) && words.iter().all(|reply| reply.code >= 400), "{words:?}");
    assert!(!scene.exists("file"));
    scene.admin(&["user", "remove", "ben"]);
    ben.reply().expect(&[421]);
    ben.expect_end();
}

#[test]
fn a_new_quota_holds_from_the_next_login() {
    let scene = Scene::with(json!({}), json!({}), &["--quota", "1M"]);
    scene.login().ask("AVBL").expect(&[213]);
    scene.admin(&["user", "set", "ann", "--quota", "2M"]);
    assert_eq!(scene.login().ask("AVBL").expect(&[213]).text(), (2 << 20).to_string());
}

#[test]
fn sighup_disturbs_no_transfer() {
    let scene = Scene::new();
    let mut client = scene.login();
    let content = pattern(1, 3 << 20);
    let mut data = client.open("STOR file");
    data.write(&content[..1 << 20]);
    scene.server.program.signal(Signal::HUP);
    wait_until("it has read the configuration", || scene.server.program.stderr().contains("configuration read again"));
    data.write(&content[1 << 20..]);
    data.finish();
    client.reply().expect(&[226]);
    scene.holds("file", &content);
}

#[test]
fn foreign_bytes_are_escaped_on_one_line_of_the_logs() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.ftp);
    client.ask_bytes(b"USER ann\x1b[31m result=ok\"").expect(&[331, 501, 530]);
    client.ask("PASS wrong").expect(&[503, 530]);
    client.enter("ann", PASSWORD).expect(&[230]);
    client.ask_bytes(b"MKD esc\x1b[31m").expect(&[257]);
    client.ask_bytes(b"MKD cr\r\0user=root").expect(&[257]);
    client.ask_bytes(b"DELE \"quoted\" result=ok").expect(&[550]);
    client.put("STOR a \"b\" result=lie\x07", b"x").expect(&[226]);
    drop(client);
    wait_until("the session is logged", || scene.place.log("access.log").contains("verb=close"));
    for log in ["access.log", "transactions.log"] {
        let text = scene.place.log(log);
        assert!(text.bytes().all(|byte| byte == b'\n' || (32..127).contains(&byte)), "{text:?}");
        assert!(
            text.lines().all(|line| line.starts_with("20") && line.contains(" peer=") || line.contains("user=")),
            "{text}"
        );
        assert!(text.lines().all(|line| !line.starts_with("user=root")), "{text}");
    }
}

#[test]
fn every_listener_is_announced_and_serves() {
    let ftp = json!({"listen": ["127.0.0.1:0", "127.0.0.1:0"], "listen_tls": "127.0.0.1:0"});
    let place = Place::with(configuration(ftp, json!({})));
    place.add("ann", &[]);
    let server = place.serve();
    wait_until("all are announced", || server.program.stdout().matches("listening on ").count() == 4);
    let plain = addresses(&server, "ftp");
    assert_eq!(plain.len(), 2);
    for address in plain {
        Client::login(address, "ann").ask("PWD").expect(&[257]);
    }
    let address = addresses(&server, "ftps")[0];
    let mut client = Client::over(address, stream_to(address));
    client.shake(super::tls::config(&[13], true));
    client.reply().expect(&[220]);
    client.enter("ann", PASSWORD).expect(&[230]);
}

#[test]
fn without_its_keys_ftp_is_not_spoken() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    wait_until("it has printed its fingerprint", || server.program.stdout().contains("fingerprint "));
    assert!(!server.program.stdout().contains("(ftp"), "{}", server.program.stdout());
}

#[test]
fn a_wrong_configuration_of_ftp_is_named_by_its_key() {
    for (ftp, key) in [
        (json!({"listen": "nowhere"}), "ftp.listen"),
        (json!({"passive_ports": "5-4"}), "ftp.passive_ports"),
        (json!({"passive_ports": "80-90"}), "ftp.passive_ports"),
        (json!({"public_address": "::1"}), "ftp.public_address"),
        (json!({"session_reuse": "maybe"}), "ftp.session_reuse"),
        (json!({"close_notify": true}), "ftp.close_notify"),
        (json!({"surprise": true}), "surprise"),
    ] {
        let place = Place::with(configuration(ftp.clone(), json!({})));
        let ended = place.run(place.berthd(&["check"])).expect_code(2);
        assert!(ended.stderr.contains(key) && ended.stderr.contains("berthd.json"), "{ftp}: {}", ended.stderr);
    }
}
