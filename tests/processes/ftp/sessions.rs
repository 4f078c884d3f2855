//! Limits on sessions and on their idle time.

use std::net::Shutdown;

use serde_json::json;

use super::Scene;
use super::client::{Client, stream_to};
use crate::support::{PASSWORD, wait_until};

#[test]
fn an_account_has_so_many_sessions_and_no_more() {
    let scene = Scene::with(json!({}), json!({"limits": {"sessions_per_account": 2}}), &[]);
    let (first, _second) = (scene.login(), scene.login());
    let mut third = Client::connect(scene.ftp);
    let reply = third.enter("ann", PASSWORD).expect(&[421, 530]);
    assert!(reply.text().contains("limits.sessions_per_account"), "{}", reply.text());
    drop(first);
    wait_until("there is room again", || Client::connect(scene.ftp).enter("ann", PASSWORD).code == 230);
}

#[test]
fn an_address_has_so_many_sessions_and_no_more() {
    let scene = Scene::with(json!({}), json!({"limits": {"sessions_per_address": 2}}), &[]);
    let (_first, _second) = (scene.login(), scene.login());
    let mut third = Client::over(scene.ftp, stream_to(scene.ftp));
    match third.next_reply() {
        Ok(reply) if reply.code == 220 => drop(third.enter("ann", PASSWORD).expect(&[421, 530])),
        Ok(reply) => {
            let reply = reply.expect(&[421]);
            assert!(reply.text().contains("limits.sessions_per_address"), "{}", reply.text());
        }
        Err(_) => {}
    }
}

#[test]
fn data_connections_count_as_no_sessions() {
    let limits =
        json!({"limits": {"sessions": 1, "sessions_per_account": 1, "sessions_per_address": 1, "strangers": 1}});
    let scene = Scene::with(json!({}), limits, &[]);
    let mut client = scene.login();
    for _ in 0..3 {
        client.stores("file", b"content");
        assert_eq!(client.get("RETR file"), b"content");
    }
}

#[test]
fn who_asks_for_nothing_is_told_421_and_closed() {
    let scene = Scene::with(json!({}), json!({"timeouts": {"idle": 1}}), &[]);
    let mut client = scene.login();
    client.reply().expect(&[421]);
    client.expect_end();
}

#[test]
fn who_does_not_log_in_is_told_421_and_closed() {
    let scene = Scene::with(json!({}), json!({"timeouts": {"login": 1}}), &[]);
    let mut client = Client::connect(scene.ftp);
    client.ask("USER ann").expect(&[331]);
    client.reply().expect(&[421]);
    client.expect_end();
    let silent = stream_to(scene.ftp);
    let mut client = Client::over(scene.ftp, silent);
    let codes: Vec<u16> = client.last_words().iter().map(|reply| reply.code).collect();
    assert_eq!(codes, [220, 421]);
}

#[test]
fn a_long_transfer_is_not_idle() {
    let scene = Scene::with(json!({}), json!({"timeouts": {"idle": 1}, "rates": {"session_up": "1M"}}), &[]);
    let mut client = scene.login();
    let content = crate::support::pattern(1, 3 << 20);
    client.stores("file", &content);
    scene.holds("file", &content);
}

#[test]
fn a_transfer_that_stalls_is_ended_and_nothing_of_it_appears() {
    let scene = Scene::with(json!({}), json!({"timeouts": {"stall": 1}}), &[]);
    scene.write("file", b"old");
    let mut client = scene.login();
    let mut data = client.open("STOR file");
    data.write(b"some");
    client.reply().expect(&[421, 425, 426, 451]);
    scene.holds("file", b"old");
    let mut client = scene.login();
    scene.write("large", &vec![1; 48 << 20]);
    let mut data = client.open("RETR large");
    data.read_exact(1000);
    client.reply().expect(&[421, 425, 426, 451]);
}

#[test]
fn closing_without_quit_frees_the_session() {
    let scene = Scene::with(json!({}), json!({"limits": {"sessions_per_account": 1}}), &[]);
    let client = scene.login();
    client.wire.stream().shutdown(Shutdown::Write).expect("open");
    wait_until("the seat is free", || Client::connect(scene.ftp).enter("ann", PASSWORD).code == 230);
}

#[test]
fn rates_hold_for_ftp_and_slow_down_without_cutting_off() {
    let scene = Scene::with(json!({}), json!({"rates": {"session_down": "2M", "session_up": "2M"}}), &[]);
    let content = crate::support::pattern(1, 5 << 20);
    let mut client = scene.login();
    let began = std::time::Instant::now();
    client.stores("file", &content);
    assert!(began.elapsed() > std::time::Duration::from_millis(900), "{:?}", began.elapsed());
    let began = std::time::Instant::now();
    assert!(client.get("RETR file") == content);
    assert!(began.elapsed() > std::time::Duration::from_millis(900), "{:?}", began.elapsed());
}
