//! Landlock, as a running server shows it. Unit tests beside the code check what each path allows.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;
use serde_json::json;

use crate::support::needs::{LANDLOCK, tests};
use crate::support::peer::Peer;
use crate::support::{Place, Server, wait_until};
use berth::wire::message::PutMode;
use berth::wire::{Reply, Request};

tests! {
    [LANDLOCK]
        landlock_blocks_homes_behind_a_symlink_created_after_the_start,
        certificates_in_another_directory_are_out_of_reach_until_a_restart;
    []
        certificates_behind_links_are_followed_when_the_links_are_renewed,
        homes_made_before_and_while_it_serves_can_be_used_alike;
}

/// The server says that it is confined.
#[track_caller]
fn assert_confined(server: &Server) {
    let stderr = server.program.stderr();
    let (_, told) = stderr.split_once("confinement by Landlock: ").expect("the log says so");
    assert!(told.starts_with("full") || told.starts_with("partial"), "{told}");
}

fn landlock_blocks_homes_behind_a_symlink_created_after_the_start() {
    let place = Place::new();
    place.add("ann", &[]);
    let elsewhere = place.path("elsewhere");
    fs::create_dir_all(elsewhere.join("ann")).expect("writable");
    fs::write(elsewhere.join("ann/secret"), "content").expect("writable");
    let server = place.serve();
    assert_confined(&server);
    // A capability of the home cannot help here: the link is above it, where only others may.
    fs::rename(place.path("homes"), place.path("homes.old")).expect("ours");
    symlink(&elsewhere, place.path("homes")).expect("ours");
    let refused = |server: &Server| {
        let mut peer = Peer::connect(server.address);
        peer.greet();
        match peer.prove("ann", crate::support::PASSWORD) {
            Reply::Welcome { .. } => matches!(peer.put("/new", b"content", PutMode::Create), Reply::Error(_)),
            reply => matches!(reply, Reply::Error(_)),
        }
    };
    assert!(refused(&server));
    assert!(!elsewhere.join("ann/new").exists() && !elsewhere.join("ann/.berth").exists());
    drop(server);
    assert!(!refused(&place.serve()), "a server that finds the link at its start is confined to where it leads");
}

fn certificates_in_another_directory_are_out_of_reach_until_a_restart() {
    let place = Place::with(json!({"plaintext": false}));
    place.add("ann", &[]);
    let server = place.serve();
    assert_confined(&server);
    fs::create_dir(place.path("other")).expect("writable");
    for (made, named) in [("cert.pem", "other/named.crt"), ("key.pem", "other/named.key")] {
        fs::copy(place.path("conf/tls").join(made), place.path(named)).expect("readable");
    }
    place.configure(json!({"plaintext": false, "tls": {"certificate": "other/named.crt", "key": "other/named.key"}}));
    let stderr = || server.program.stderr();
    server.program.signal(Signal::HUP);
    wait_until("it complains", || stderr().contains("the certificate stays as it was"));
    for part in ["other/named.crt cannot be read: Permission denied", "can read them only after a restart"] {
        assert!(stderr().contains(part), "{}", stderr());
    }
    drop(server);
    let server = place.serve();
    place.run(place.berth_over_tls(&["--accept-new", "--quiet", &server.target("ann"), "pwd"])).expect_code(0);
    server.program.signal(Signal::HUP);
    wait_until("it reads them again", || server.program.stderr().contains("configuration read again"));
    assert!(!server.program.stderr().contains("stays as it was"), "{}", server.program.stderr());
}

fn certificates_behind_links_are_followed_when_the_links_are_renewed() {
    let place = Place::with(json!({"plaintext": false}));
    place.add("ann", &[]);
    drop(place.serve());
    // As ACME clients keep them: `live` holds links to what is in `archive`.
    for directory in ["live", "archive"] {
        fs::create_dir(place.path(directory)).expect("writable");
    }
    let renew = |number: u32| {
        for name in ["cert.pem", "key.pem"] {
            let (kept, link) = (format!("archive/{number}-{name}"), place.path("live").join(name));
            fs::copy(place.path("conf/tls").join(name), place.path(&kept)).expect("readable");
            let _ = fs::remove_file(&link);
            symlink(format!("../{kept}"), link).expect("writable");
        }
    };
    renew(1);
    place.configure(json!({"plaintext": false, "tls": {"certificate": "live/cert.pem", "key": "live/key.pem"}}));
    let server = place.serve();
    renew(2);
    fs::remove_file(place.path("archive/1-cert.pem")).expect("made");
    server.program.signal(Signal::HUP);
    wait_until("it reads again", || server.program.stderr().contains("configuration read again"));
    place.run(place.berth_over_tls(&["--accept-new", "--quiet", &server.target("ann"), "pwd"])).expect_code(0);
    assert!(!server.program.stderr().contains("stays as it was"), "{}", server.program.stderr());
}

fn homes_made_before_and_while_it_serves_can_be_used_alike() {
    let place = Place::with(json!({"home_roots": ["homes", "more/homes"]}));
    let server = place.serve();
    assert!(place.path("more/homes").is_dir(), "made at the start, so that it can be within reach");
    place.add("ann", &[]);
    place.add("bob", &["--home", "more/homes/bob"]);
    for account in ["ann", "bob"] {
        let mut peer = Peer::login(server.address, account);
        assert!(matches!(
            peer.ask(&Request::Mkdir { path: "/d".into(), parents: false, permissions: None }),
            Reply::Done {}
        ));
        for (path, mode) in [("/d/a", PutMode::Create), ("/d/a", PutMode::Replace)] {
            assert!(matches!(peer.put(path, b"content", mode), Reply::Stored { .. }));
        }
        let moved = Request::Mv { from: "/d/a".into(), to: "/a".into(), replace: false };
        assert!(matches!(peer.ask(&moved), Reply::Done {}));
        for request in [Request::Rmdir { path: "/d".into() }, Request::Rm { path: "/a".into() }] {
            assert!(matches!(peer.ask(&request), Reply::Done {}), "{request:?}");
        }
    }
}
