//! Renewal and replacement of the server's certificate and key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Scene;
use crate::support::{Place, wait_until};

// ---- The certificate ----------------------------------------------------------------------

#[test]
fn the_key_is_private_and_every_program_shows_the_same_fingerprint() {
    let scene = Scene::new();
    let mode = |path: &str| fs::metadata(scene.place.path(path)).expect("made").permissions().mode() & 0o7777;
    assert_eq!((mode("conf/tls"), mode("conf/tls/key.pem"), mode("conf/tls/cert.pem")), (0o700, 0o600, 0o644));
    let fingerprint = scene.fingerprint();
    assert_eq!(scene.place.admin(&["fingerprint"]).stdout, format!("{fingerprint}\n"));
    let shown: Value = serde_json::from_str(&scene.place.admin(&["fingerprint", "--json"]).stdout).expect("JSON");
    assert_eq!(shown["fingerprint"], json!(fingerprint));
    assert!(scene.berth(&[], &["pwd"]).stderr.contains(&fingerprint));
    scene.place.admin(&["check"]);
}

#[test]
fn the_fingerprint_can_be_had_before_the_first_start_and_stays() {
    let place = Place::new();
    place.admin(&["check"]);
    assert!(!place.path("conf/tls").exists(), "checking makes nothing");
    let stdout = place.admin(&["fingerprint"]).stdout;
    let server = place.serve();
    wait_until("it prints the same", || server.program.stdout().contains(&format!("fingerprint {stdout}")));
}

#[test]
fn a_certificate_renewed_with_the_same_key_keeps_the_pin() {
    let mut scene = Scene::new();
    scene.berth(&["--accept-new"], &["pwd"]).expect_code(0);
    let certificate = scene.place.path("conf/tls/cert.pem");
    let first = fs::read(&certificate).expect("made");
    fs::remove_file(&certificate).expect("made");
    scene.restart();
    assert_ne!(fs::read(&certificate).expect("made anew"), first);
    assert_eq!(scene.berth(&[], &["pwd"]).expect_code(0).stderr, "");
}

#[test]
fn a_certificate_about_to_end_is_renewed_if_it_is_the_servers_own() {
    let mut scene = Scene::new();
    scene.berth(&["--accept-new"], &["pwd"]).expect_code(0);
    let certificate = scene.place.path("conf/tls/cert.pem");
    fs::write(&certificate, certificate_until_2020(&scene.place.path("conf/tls/key.pem"))).expect("writable");
    scene.restart();
    scene.berth(&[], &["pwd"]).expect_code(0);
    let shown = scene.place.admin(&["fingerprint", "--json"]).stdout;
    assert!(!shown.contains("2020-"), "{shown}");
}

#[test]
fn a_named_certificate_that_ends_is_warned_about_and_a_new_one_is_taken_on_sighup() {
    let place = Place::new();
    place.add("ann", &[]);
    drop(place.serve());
    let key = place.path("own.key");
    fs::rename(place.path("conf/tls/key.pem"), &key).expect("made");
    fs::write(place.path("own.crt"), certificate_until_2020(&key)).expect("writable");
    fs::remove_dir_all(place.path("conf/tls")).expect("made");
    let tls = json!({"plaintext": false, "tls": {"certificate": "own.crt", "key": "own.key"}});
    place.configure(tls);
    let scene = Scene::of(place);
    wait_until("it warns", || scene.server.program.stderr().contains("certificate ended on 2020-01-01"));
    assert!(!scene.place.path("conf/tls").exists(), "nothing is made where something is named");
    scene.berth(&["--accept-new"], &["pwd"]).expect_code(0);

    let other = Scene::new();
    for (own, made) in [("own.crt", "cert.pem"), ("own.key", "key.pem")] {
        fs::copy(other.place.path("conf/tls").join(made), scene.place.path(own)).expect("readable");
    }
    scene.server.program.signal(Signal::HUP);
    wait_until("it says so", || scene.server.program.stderr().contains(&other.fingerprint()));
    scene.berth(&["--fingerprint", &other.fingerprint()], &["pwd"]).expect_code(0);

    // One that cannot be used changes nothing.
    fs::write(scene.place.path("own.key"), "").expect("writable");
    scene.server.program.signal(Signal::HUP);
    wait_until("it says so", || scene.server.program.stderr().contains("stays as it was"));
    scene.berth(&[], &["pwd"]).expect_code(0);
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_file_and_key() {
    let place = Place::new();
    drop(place.serve());
    let (certificate, key) = (place.path("conf/tls/cert.pem"), place.path("conf/tls/key.pem"));
    let other = Scene::new().place;
    fs::write(place.path("empty"), "").expect("writable");
    for (named_certificate, named_key, blamed, problem) in [
        ("missing.pem".into(), key.clone(), "tls.certificate", "cannot be read"),
        ("empty".into(), key.clone(), "tls.certificate", "no certificate"),
        (key.clone(), key.clone(), "tls.certificate", "no certificate"),
        (certificate.clone(), "missing.pem".into(), "tls.key", "cannot be read"),
        (certificate.clone(), "empty".into(), "tls.key", "no private key"),
        (other.path("conf/tls/cert.pem"), key.clone(), "tls.key", "not the key of the certificate"),
    ] {
        let (named_certificate, named_key): (PathBuf, PathBuf) = (named_certificate, named_key);
        place.configure(json!({"tls": {"certificate": named_certificate, "key": named_key}}));
        for arguments in [&["serve"][..], &["check"], &["fingerprint"]] {
            let ended = place.run(place.berthd(arguments)).expect_code(2);
            let text = format!("berthd.json: {blamed}: ");
            assert!(ended.stderr.contains(&text) && ended.stderr.contains(problem), "{ended:?}");
        }
    }
    place.configure(json!({}));
    fs::remove_file(&key).expect("made");
    let ended = place.run(place.berthd(&["serve"])).expect_code(2);
    assert!(ended.stderr.contains("key.pem: is missing"), "{ended:?}");
}

fn certificate_until_2020(key: &std::path::Path) -> String {
    let key = rcgen::KeyPair::from_pem(&fs::read_to_string(key).expect("a key")).expect("a key");
    let mut params = rcgen::CertificateParams::new(["berth".to_string()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    params.self_signed(&key).expect("a certificate").pem()
}
