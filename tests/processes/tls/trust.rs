//! Which keys the client trusts, and what it sends before it does.

use std::fs;

use serde_json::{Value, json};

use super::Scene;
use crate::support::peer::Peer;
use crate::support::{pattern, sha256};
use berth::wire::{ErrorCode, Reply};

// ---- Trust --------------------------------------------------------------------------------

#[test]
fn files_travel_encrypted_and_arrive_whole() {
    let scene = Scene::new();
    let content = pattern(1, 3_000_001);
    fs::write(scene.place.here("up"), &content).expect("writable");
    scene.berth(&["--accept-new"], &["put", "up"]).expect_code(0);
    assert!(fs::read(scene.place.home("ann", "up")).expect("stored") == content);
    let ended = scene.berth(&[], &["get", "up", "down"]).expect_code(0);
    assert_eq!(ended.stderr, "", "a known server is no news");
    assert!(fs::read(scene.place.here("down")).expect("fetched") == content);
    let stdout = scene.berth(&["--json"], &["sha256", "up"]).expect_code(0).stdout;
    assert!(stdout.contains(&sha256(&content)), "{stdout}");
    for i in 0..300 {
        fs::create_dir_all(scene.place.here("many")).expect("writable");
        fs::write(scene.place.here(format!("many/{i}")), pattern(i, (i * 37) as usize)).expect("writable");
    }
    scene.berth(&[], &["put", "-r", "many"]).expect_code(0);
    scene.berth(&[], &["get", "-r", "many", "back"]).expect_code(0);
    for i in 0..300 {
        assert_eq!(fs::read(scene.place.here(format!("back/{i}"))).expect("fetched"), pattern(i, (i * 37) as usize));
    }
}

#[test]
fn a_server_never_seen_before_is_trusted_only_if_told_so() {
    let scene = Scene::new();
    let fingerprint = scene.fingerprint();
    let ended = scene.berth(&[], &["pwd"]).expect_code(4);
    assert!(ended.stderr.contains(&fingerprint) && ended.stderr.contains("--accept-new"), "{ended:?}");
    assert!(!scene.known_hosts().exists());
    let ended = scene.berth(&["--accept-new"], &["pwd"]).expect_code(0);
    assert!(ended.stderr.contains(&fingerprint), "{ended:?}");
    assert_eq!(scene.berth(&[], &["pwd"]).expect_code(0).stderr, "");
    let known: Value = serde_json::from_slice(&fs::read(scene.known_hosts()).expect("remembered")).expect("JSON");
    assert_eq!(known["hosts"][scene.proxy.address.to_string()], json!(fingerprint));
}

#[test]
fn a_key_is_remembered_only_after_the_login() {
    let scene = Scene::new();
    let mut command = scene.place.berth_over_tls(&["--accept-new", &scene.target(), "pwd"]);
    command.env("BERTH_PASSWORD", "wrong");
    scene.place.run(command).expect_code(4);
    assert!(!scene.known_hosts().exists());
}

#[test]
fn a_fingerprint_is_compared_exactly() {
    let scene = Scene::new();
    let fingerprint = scene.fingerprint();
    let wrong = format!("SHA256:{}", "A".repeat(43));
    let ended = scene.berth(&["--fingerprint", &wrong], &["pwd"]).expect_code(4);
    assert!(ended.stderr.contains(&fingerprint) && ended.stderr.contains(&wrong), "{ended:?}");
    for no_fingerprint in [&fingerprint[..20], &fingerprint[7..], "", "SHA256:"] {
        scene.berth(&["--fingerprint", no_fingerprint], &["pwd"]).expect_code(2);
    }
    assert!(!scene.known_hosts().exists());
    assert_eq!(scene.berth(&["--fingerprint", &fingerprint], &["pwd"]).expect_code(0).stderr, "");
    scene.berth(&[], &["pwd"]).expect_code(0);
    scene.berth(&["--plaintext", "--fingerprint", &fingerprint], &["pwd"]).expect_code(2);
}

#[test]
fn a_changed_key_is_refused_until_fingerprint_is_given() {
    let mut scene = Scene::new();
    let before = scene.fingerprint();
    scene.berth(&["--accept-new"], &["pwd"]).expect_code(0);
    fs::remove_dir_all(scene.place.path("conf/tls")).expect("made by the server");
    scene.restart();
    let after = scene.fingerprint();
    assert_ne!(before, after);
    for options in [&[][..], &["--accept-new"]] {
        let ended = scene.berth(options, &["pwd"]).expect_code(4);
        for part in [&before, &after, "berthd fingerprint"] {
            assert!(ended.stderr.contains(part), "{ended:?}");
        }
    }
    scene.berth(&["--fingerprint", &after], &["pwd"]).expect_code(0);
    scene.berth(&[], &["pwd"]).expect_code(0);
}

#[test]
fn a_damaged_list_of_keys_trusts_nobody() {
    let scene = Scene::new();
    scene.berth(&["--accept-new"], &["pwd"]).expect_code(0);
    fs::write(scene.known_hosts(), "{").expect("writable");
    let ended = scene.berth(&["--accept-new"], &["pwd"]).expect_code(1);
    assert!(ended.stderr.contains("known_hosts.json is damaged"), "{ended:?}");
}

// ---- Plaintext ----------------------------------------------------------------------------

#[test]
fn plaintext_is_refused_with_one_clear_message_where_it_is_not_allowed() {
    let scene = Scene::new();
    let ended = scene.berth(&["--plaintext"], &["pwd"]).expect_code(3);
    assert!(ended.stderr.contains("requires encryption"), "{ended:?}");
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 12], &[0xff; 5000]] {
        let mut peer = Peer::connect(scene.server.address);
        peer.send(bytes);
        let Reply::Error(error) = peer.reply() else { panic!("a refusal") };
        assert_eq!((error.code, error.fatal), (ErrorCode::TlsRequired, true));
        assert!(peer.receive().is_err(), "closed");
    }
}

#[test]
fn one_port_serves_both_where_plaintext_is_allowed() {
    let scene = Scene::with(json!({}));
    scene.berth(&["--plaintext"], &["pwd"]).expect_code(0);
    scene.berth(&["--accept-new"], &["pwd"]).expect_code(0);
}

#[test]
fn a_server_that_is_full_says_so_to_an_encrypted_client_too() {
    let scene = Scene::with(json!({"limits": {"sessions": 1}}));
    let _first = Peer::login(scene.server.address, "ann");
    let ended = scene.berth(&["--accept-new"], &["pwd"]).expect_code(3);
    // The words may get lost, because the server closes at once.
    assert!(["the server is full", "connection lost"].iter().any(|text| ended.stderr.contains(text)), "{ended:?}");
}
