//! `berthd usage`, with and without a running server.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Place, disk_usage, pattern};

fn usage(place: &Place, options: &[&str], code: i32) -> Vec<Value> {
    let mut arguments = vec!["usage", "--json"];
    arguments.extend_from_slice(options);
    let ended = place.run(place.berthd(&arguments)).expect_code(code);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

/// Bytes and files by the ledger.
fn used(of: &Value) -> (u64, u64) {
    (of["used_bytes"].as_u64().expect("bytes"), of["used_files"].as_u64().expect("files"))
}

/// Bytes and files found on disk.
fn found(of: &Value) -> (u64, u64) {
    (of["disk_bytes"].as_u64().expect("bytes"), of["disk_files"].as_u64().expect("files"))
}

#[test]
fn without_a_server_the_disk_is_counted() {
    let place = Place::new();
    place.add("ann", &["--quota", "1M"]);
    place.add("ben", &[]);
    fs::create_dir(place.home("ann", "d")).expect("mkdir");
    fs::write(place.home("ann", "d/f"), pattern(1, 1000)).expect("write");
    let all = usage(&place, &[], 0);
    assert_eq!(all.iter().map(|of| of["user"].as_str().expect("name")).collect::<Vec<_>>(), ["ann", "ben"]);
    assert_eq!(used(&all[0]), disk_usage(&place.home("ann", "")));
    assert_eq!((used(&all[0]), &all[0]["limit_bytes"]), ((1000, 2), &json!(1 << 20)));
    assert_eq!(used(&usage(&place, &["ben"], 0)[0]), (0, 0));
    assert_eq!((&all[1]["limit_bytes"], &all[1]["limit_files"]), (&json!(null), &json!(null)));
    let unknown = place.run(place.berthd(&["usage", "nobody"])).expect_code(1);
    assert!(unknown.stderr.contains("no account nobody"), "{}", unknown.stderr);
}

#[test]
fn a_running_server_verifies_without_changing_and_repairs_when_told() {
    let place = Place::new();
    place.add("ann", &["--quota", "1M"]);
    let server = place.serve();
    fs::write(place.here("f"), pattern(1, 5000)).expect("write");
    place.run(place.berth(&["--quiet", &server.target("ann"), "put", "f"])).expect_code(0);
    assert_eq!(used(&usage(&place, &["ann"], 0)[0]), (5000, 1));
    assert_eq!(found(&usage(&place, &["--verify"], 0)[0]), (5000, 1));

    fs::write(place.home("ann", "copied in"), pattern(2, 700)).expect("write");
    let verified = usage(&place, &["--verify"], 1);
    assert_eq!((used(&verified[0]), found(&verified[0])), ((5000, 1), (5700, 2)));
    assert_eq!(used(&usage(&place, &[], 0)[0]), (5000, 1), "verifying changed the ledger");

    assert_eq!(found(&usage(&place, &["ann", "--repair"], 0)[0]), (5700, 2));
    assert_eq!(used(&usage(&place, &[], 0)[0]), (5700, 2));
    usage(&place, &["--verify"], 0);
}

#[test]
fn usage_and_status_tell_of_an_account_with_the_same_keys() {
    let place = Place::new();
    place.add("ann", &["--quota", "none"]);
    let without_server = usage(&place, &[], 0);
    let _server = place.serve();
    let ended = place.run(place.berthd(&["status", "--all", "--json"])).expect_code(0);
    let mut reports = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut status = reports.find(|report| report["report"] == "user").expect("a user");
    let status = status.as_object_mut().expect("an object");
    status.remove("report");
    status.remove("sessions");
    for usage in [&without_server[0], &usage(&place, &[], 0)[0]] {
        let mut usage = usage.as_object().expect("an object").clone();
        // Where the disk was counted, usage tells what was found.
        usage.retain(|key, _| !key.starts_with("disk_"));
        assert_eq!(usage.keys().collect::<Vec<_>>(), status.keys().collect::<Vec<_>>());
    }
}

#[test]
fn each_documented_exit_code_happens() {
    let document = include_str!("../../docs/server.md");
    let table = document.split("| exit | means |\n").nth(1).expect("a table");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut documented: Vec<i32> =
        rows.map(|row| row.split('|').nth(1).expect("a cell").trim().parse().expect("a number")).collect();
    let place = Place::new();
    place.add("ann", &[]);
    let mut seen = Vec::new();
    for (arguments, code) in [
        (&["user", "list"][..], 0),
        (&["check"], 0),
        (&["user", "show", "nobody"], 1),
        (&["kick", "ann"], 1),
        (&["--bogus"], 2),
        (&["user", "add", "-x"], 2),
    ] {
        place.run(place.berthd(arguments)).expect_code(code);
        seen.push(code);
    }
    let mut server = place.serve();
    place.run(place.berthd(&["serve"])).expect_code(1);
    server.program.signal(rustix::process::Signal::TERM);
    server.program.wait().expect_code(0);
    fs::write(place.path("conf/users/ann.json"), "{").expect("writable");
    place.run(place.berthd(&["check"])).expect_code(2);
    fs::write(place.path("conf/berthd.json"), "{").expect("writable");
    for command in ["check", "serve", "usage"] {
        place.run(place.berthd(&[command])).expect_code(2);
    }
    seen.dedup();
    documented.sort_unstable();
    assert_eq!(seen, documented);
}

#[test]
fn a_server_is_asked_where_its_socket_is_to_be() {
    let place = Place::with(json!({"control_folder": "run/berth"}));
    place.add("ann", &[]);
    usage(&place, &[], 0);
    let _server = place.serve();
    assert!(place.path("run/berth/control.sock").exists() && !place.path("conf/control.sock").exists());
    fs::write(place.home("ann", "copied in"), "x").expect("write");
    let verified = usage(&place, &["--repair"], 0);
    assert_eq!(found(&verified[0]), (1, 1));
    place.run(place.berthd(&["serve"])).expect_code(1);
}

#[test]
fn files_copied_in_before_the_first_login_count_against_the_quota() {
    let place = Place::new();
    place.add("ann", &["--quota", "1000"]);
    fs::write(place.home("ann", "copied in"), pattern(1, 900)).expect("write");
    fs::write(place.here("f"), pattern(2, 101)).expect("write");
    let server = place.serve();
    place.run(place.berth(&["--quiet", &server.target("ann"), "put", "f"])).expect_code(6);
    fs::write(place.here("f"), pattern(2, 100)).expect("write");
    place.run(place.berth(&["--quiet", &server.target("ann"), "put", "f"])).expect_code(0);
}

#[test]
fn a_second_server_with_the_same_configuration_is_refused() {
    let place = Place::new();
    place.add("ann", &[]);
    let _server = place.serve();
    let second = place.run(place.berthd(&["serve"])).expect_code(1);
    assert!(second.stderr.contains("running already"), "{}", second.stderr);
    assert_eq!(usage(&place, &[], 0).len(), 1, "the first still answers");
}
