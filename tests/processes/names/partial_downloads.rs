//! Files with names like partial downloads, and partial downloads of other owners.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;

use super::{Visit, files};
use crate::support::proxy::Proxy;
use crate::support::{pattern, target, wait_until};

#[test]
fn a_tree_with_a_file_named_like_a_partial_download_is_whole() {
    let visit = Visit::new(&[]);
    let large = pattern(1, 200_000);
    visit.plant_there(&["t/small", "t/.small.berth-part", "t/..small.berth-part.berth-part", "t/.small.1.berth-part"]);
    fs::write(visit.there("t/x"), &large).expect("writable");
    // The beginning of the file, as an interrupted download would have left it.
    fs::write(visit.there("t/.x.berth-part"), &large[..100_000]).expect("writable");
    let whole = files(&visit.there("t"));
    for line in [&["get", "-r", "t"][..], &["get", "-r", "-f", "t"], &["mirror", "--from", "t", "m"]] {
        visit.ok(line);
        let copy = if line[0] == "get" { "t" } else { "m" };
        assert_eq!(files(&visit.place.here(copy)), whole);
        for name in &whole {
            assert!(
                fs::read(visit.place.here(copy).join(name)).expect("here")
                    == fs::read(visit.there("t").join(name)).expect("there"),
                "{name}"
            );
        }
    }
    visit.ok(&["put", "-r", "t", "again"]);
    visit.ok(&["mirror", "m", "image"]);
    assert_eq!((files(&visit.there("again")), files(&visit.there("image"))), (whole.clone(), whole));
}

#[test]
fn a_user_file_named_like_a_partial_download_is_kept() {
    for size in [10, 100_000] {
        let visit = Visit::new(&[]);
        let content = pattern(2, size);
        fs::write(visit.there("x"), &content).expect("writable");
        for mine in [&b"mine"[..], &content[..5]] {
            fs::write(visit.place.here(".x.berth-part"), mine).expect("writable");
            visit.run(&["get", "x"]).expect_code(0);
            assert!(fs::read(visit.place.here("x")).expect("fetched") == content);
            assert_eq!(fs::read(visit.place.here(".x.berth-part")).expect("kept"), mine);
            fs::remove_file(visit.place.here("x")).expect("ours");
        }
        assert_eq!(files(&visit.place.here("")), [".x.berth-part"]);
    }
}

/// Fetches `x` until some of it is here, and ends the client by `signal`.
fn interrupt(visit: &Visit, size: usize, signal: Signal) {
    fs::write(visit.there("x"), pattern(3, size)).expect("writable");
    let proxy = Proxy::to(visit.server.address);
    proxy.down.hold_after(size as u64 / 2);
    let mut client = visit.place.start(visit.place.berth(&[&target("ann", proxy.address), "get", "x"]));
    let part = visit.place.here(".x.berth-part");
    wait_until("half of it is here", || fs::metadata(&part).is_ok_and(|part| part.len() > size as u64 / 4));
    client.signal(signal);
    client.wait();
}

#[test]
fn a_partial_download_resumes_and_gives_way_to_a_file_of_its_name() {
    let visit = Visit::new(&[]);
    interrupt(&visit, 4 << 20, Signal::KILL);
    let ended = visit.run(&["get", "x"]).expect_code(0);
    assert!(ended.stderr.contains("resuming at"), "{ended:?}");
    assert_eq!(files(&visit.place.here("")), ["x"]);
    fs::remove_file(visit.place.here("x")).expect("ours");

    interrupt(&visit, 4 << 20, Signal::INT);
    visit.ok(&["put", "-r", ".", "copy"]);
    assert_eq!(files(&visit.there("copy")), [""; 0], "what is unfinished is not sent");
    visit.plant_there(&[".x.berth-part"]);
    visit.ok(&["get", ".x.berth-part"]);
    assert_eq!(fs::read(visit.place.here(".x.berth-part")).expect("fetched"), b".x.berth-part");
}

#[test]
fn a_partial_download_of_another_owner_is_not_written_to() {
    let secret = pattern(4, 100_000);
    let is_kept = |path: &Path| fs::read(path).expect("there") == b"theirs";
    for (kind, code) in [("hard link", 0), ("symlink", 1), ("folder", 0)] {
        let visit = Visit::new(&[]);
        fs::write(visit.there("x"), &secret).expect("writable");
        let (theirs, part) = (visit.place.path("theirs"), visit.place.here(".x.berth-part"));
        fs::write(&theirs, "theirs").expect("writable");
        match kind {
            "hard link" => fs::hard_link(&theirs, &part).expect("writable"),
            "symlink" => symlink(&theirs, &part).expect("writable"),
            _ => fs::create_dir(&part).expect("writable"),
        }
        let ended = visit.run(&["get", "x"]).expect_code(code);
        assert!(is_kept(&theirs) && (part.is_dir() || is_kept(&part)), "{kind}: {ended:?}");
        assert_eq!(fs::read(visit.place.here("x")).ok().as_ref(), (code == 0).then_some(&secret), "{kind}");
    }
}

#[test]
fn two_files_with_one_local_name_are_reported_and_the_first_stays() {
    let visit = Visit::new(&[]);
    visit.plant_there(&["a/x", "b/x"]);
    let ended = visit.run(&["get", "a/x", "b/x", "."]).expect_code(1);
    assert_eq!(fs::read(visit.place.here("x")).expect("the first"), b"a/x", "{ended:?}");
    let ended = visit.run(&["get", "-f", "a/x", "b/x", "."]).expect_code(1);
    assert!(ended.stderr.contains("remote /a/x and /b/x would both become local ./x"), "{ended:?}");
    assert_eq!(fs::read(visit.place.here("x")).expect("the first"), b"a/x");
    fs::remove_file(visit.place.here("x")).expect("ours");
    let ended = visit.run(&["get", "-f", "a/x", "b/x", "."]).expect_code(1);
    assert!(ended.stderr.contains("remote /a/x and /b/x would both become local ./x"), "{ended:?}");
    assert_eq!(fs::read(visit.place.here("x")).expect("the first"), b"a/x");
}

#[test]
fn two_files_with_one_remote_name_are_reported_and_the_first_stays() {
    let visit = Visit::new(&[]);
    visit.plant_here(&["a/x", "b/x"]);
    let ended = visit.run(&["put", "-f", "a/x", "b/x", "/"]).expect_code(1);
    assert!(ended.stderr.contains("b/x and a/x would both become remote /x"), "{ended:?}");
    assert_eq!(fs::read(visit.there("x")).expect("the first"), b"a/x");
}

#[test]
fn a_local_file_that_grows_during_its_replacement_is_kept() {
    let visit = Visit::new(&[]);
    fs::write(visit.there("x"), pattern(3, 4 << 20)).expect("writable");
    for grows in [true, false] {
        fs::write(visit.place.here("x"), "log\n").expect("writable");
        let proxy = Proxy::to(visit.server.address);
        proxy.down.hold_after(2 << 20);
        let mut client = visit.place.start(visit.place.berth(&[&target("ann", proxy.address), "get", "-f", "x"]));
        let part = visit.place.here(".x.berth-part");
        wait_until("half of it is here", || fs::metadata(&part).is_ok_and(|part| part.len() > 1 << 20));
        fs::write(visit.place.here("x"), if grows { "log\nmore\n" } else { "log\n" }).expect("writable");
        proxy.down.open();
        let ended = client.wait().expect_code(if grows { 1 } else { 0 });
        if grows {
            assert!(ended.stderr.contains("changed during the download"), "{ended:?}");
            assert_eq!(fs::read(visit.place.here("x")).expect("kept"), b"log\nmore\n");
            visit.run(&["get", "-f", "x"]).expect_code(0);
        }
        assert!(fs::read(visit.place.here("x")).expect("here") == pattern(3, 4 << 20));
        assert_eq!(files(&visit.place.here("")), ["x"]);
    }
}
