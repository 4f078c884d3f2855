//! Python's ftplib, driven by the scripts beside this file.

use std::net::SocketAddr;

use super::Scene;
use crate::support::PASSWORD;
use crate::support::needs::{IPV6, PYTHON, tests};

tests! {
    [PYTHON]
        ftplib_speaks_to_the_server_in_plain_text,
        ftplib_speaks_to_the_server_over_tls,
        ftplib_uploads_as_often_as_it_wants_over_a_session_that_every_connection_resumes,
        another_peer_gets_nothing_where_the_client_has_used_one_ticket_of_tls_1_3_repeatedly;
    [PYTHON, IPV6]
        ftplib_speaks_to_the_server_over_ipv6;
}

#[track_caller]
fn run(scene: &Scene, kind: &str, address: SocketAddr) {
    let mut command = scene.client("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/ftplib_session.py"));
    command.args([kind, &address.ip().to_string(), &address.port().to_string(), "ann", PASSWORD]);
    let ended = scene.place.run(command).expect_code(0);
    assert_eq!(ended.stdout, "done\n", "{ended:?}");
    scene.check();
}

fn ftplib_speaks_to_the_server_in_plain_text() {
    let scene = Scene::new();
    run(&scene, "plain", scene.ftp);
}

fn ftplib_speaks_to_the_server_over_tls() {
    let scene = Scene::new();
    run(&scene, "tls", scene.ftp);
    run(&scene, "tls1.2", scene.ftp);
}

fn ftplib_speaks_to_the_server_over_ipv6() {
    let scene = Scene::on("[::1]:0");
    run(&scene, "plain", scene.ftp);
    run(&scene, "tls", scene.ftp);
}

/// As FileZilla insists.
fn ftplib_uploads_as_often_as_it_wants_over_a_session_that_every_connection_resumes() {
    let scene = Scene::with(serde_json::json!({"session_reuse": "required"}));
    for version in ["1.3", "1.2"] {
        for ticket in ["first", "newest"] {
            let mut command = scene.client("python3");
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/ftplib_reuse.py"));
            let (host, port) = (scene.ftp.ip().to_string(), scene.ftp.port().to_string());
            command.args([&host, &port, PASSWORD, version, ticket, "100"]);
            assert_eq!(scene.place.run(command).expect_code(0).stdout, "done\n", "{version}, {ticket}");
            scene.holds("file", b"99");
        }
    }
    scene.check();
}

fn another_peer_gets_nothing_where_the_client_has_used_one_ticket_of_tls_1_3_repeatedly() {
    let scene = Scene::new();
    std::fs::write(scene.home("file"), b"secret").expect("writable");
    let mut command = scene.client("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/ftplib_hijack.py"));
    command.args([&scene.ftp.ip().to_string(), &scene.ftp.port().to_string(), PASSWORD]);
    assert_eq!(scene.place.run(command).expect_code(0).stdout, "done\n");
    scene.check();
}
