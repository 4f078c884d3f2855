//! A server or a client killed at a certain byte of a transfer, and the same command repeated.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;

use super::crashes;
use crate::support::peer::{Peer, put};
use crate::support::process::{Program, kill};
use crate::support::proxy::Proxy;
use crate::support::{Place, Server, disk_usage, pattern, quota_usage, target, unlinked_files, wait_until};
use berth::wire::Request;
use berth::wire::message::PutMode;

/// A server behind a proxy, which keeps its address while the server is killed and started.
struct Scene {
    place: Place,
    server: Server,
    proxy: Proxy,
}

/// Large enough to be resumed, and for several syncs of the staged file to be asked for.
const FILE_BYTES: usize = 3 << 20;

impl Scene {
    fn new(sync: &str) -> Self {
        let place = Place::with(json!({"sync": sync}));
        place.add("ann", &["--quota", "20M"]);
        let server = place.serve();
        let proxy = Proxy::to(server.address);
        Self { place, server, proxy }
    }

    fn berth(&self, arguments: &[&str]) -> Program {
        let through = target("ann", self.proxy.address);
        self.place.start(self.place.berth(&[&[&through, "--no-progress", "--retries", "0"], arguments].concat()))
    }

    fn restart(&mut self) {
        self.server.program.kill();
        self.server = self.place.serve();
        self.proxy.redirect(self.server.address);
    }

    /// What is under `name`, which must be one of `allowed`; its position there.
    #[track_caller]
    fn content(&self, name: &str, allowed: &[Option<&[u8]>]) -> usize {
        let found = fs::read(self.home(name)).ok();
        let at = allowed.iter().position(|content| *content == found.as_deref());
        at.unwrap_or_else(|| panic!("{name} is torn: {:?} bytes", found.map(|bytes| bytes.len())))
    }

    fn home(&self, name: &str) -> PathBuf {
        self.place.home("ann", name)
    }

    /// The server's count is what a walk over the home finds, parts of uploads included.
    #[track_caller]
    fn check_quota(&self) {
        let ended = self.berth(&["--json", "quota"]).wait().expect_code(0);
        assert_eq!(quota_usage(&ended.stdout), disk_usage(&self.place.home("ann", "")));
        assert!(ended.stdout.contains("\"reserved_bytes\":0"), "{ended:?}");
    }

    /// A client that puts `file` and is held back after `count` bytes of it, most of which the
    /// server has written. Where the file `replaces` one, the client first hears that.
    fn put_up_to(&self, count: u64, replaces: bool) -> Program {
        let mark: &[u8] = if replaces { b"\"mode\":\"replace\"" } else { b"\"mode\":\"create\"" };
        self.proxy.up.hold_after_mark(mark, count + 200);
        let client = self.berth(&["put", "-f", "file"]);
        self.proxy.up.wait_held();
        let written = count.saturating_sub(400_000);
        wait_until("the server has what passed", || self.parts().iter().any(|length| *length >= written));
        client
    }

    /// Lengths of the uploads that are not whole: in the staging directory, or without a name.
    fn parts(&self) -> Vec<u64> {
        let entries = fs::read_dir(self.home(".berth")).into_iter().flatten();
        let parts = entries.map(|entry| entry.expect("readable").path());
        let parts = parts.filter(|path| path.extension() == Some("part".as_ref()));
        let named = parts.filter_map(|path| Some(fs::metadata(path).ok()?.len()));
        named.chain(unlinked_files::files(self.server.program.pid(), &self.home(""))).collect()
    }
}

/// Uploads a file over an old one or under a new name, kills the server at `moment` of `moments`,
/// checks everything, and puts the file again.
fn crash_once(scene: &mut Scene, old: Option<&[u8]>, new: &[u8], moment: u64, moments: u64) {
    let name = "file";
    let _ = fs::remove_file(scene.home(name));
    if let Some(old) = old {
        fs::write(scene.home(name), old).expect("writable");
    }
    scene.restart();
    fs::write(scene.place.here(name), new).expect("writable");

    // Some moments lie past the last byte, where the file is synced and renamed.
    let span = new.len() as u64 + 2000;
    let pid = scene.server.program.pid();
    let at = moment * span / moments;
    let flourish = (moment % 7) * 300;
    scene.proxy.up.act_after(at.min(new.len() as u64 + 600), move || {
        for _ in 0..flourish {
            std::thread::yield_now();
        }
        kill(pid, Signal::KILL);
    });
    let first = scene.berth(&["put", "-f", name]).wait();
    scene.server.program.kill();
    scene.proxy.up.act_no_more();
    assert!(matches!(first.code, Some(0 | 3)), "{first:?}");
    let outcome = scene.content(name, &[old, Some(new)]);
    assert!(first.code == Some(3) || outcome == 1, "what was acknowledged is there");

    scene.restart();
    scene.check_quota();
    let kept = scene.parts();
    let second = scene.berth(&["put", "-f", name]).wait().expect_code(0);
    assert_eq!(scene.content(name, &[Some(new)]), 0);
    match kept[..] {
        _ if outcome == 1 => assert!(second.stdout.contains("already there, identical"), "{second:?}"),
        [] => assert!(!second.stderr.contains("resuming"), "{second:?}"),
        [length] => assert!(length >= 1 << 20 && second.stderr.contains("resuming at "), "{length}: {second:?}"),
        _ => panic!("one upload left {kept:?}"),
    }
    assert!(scene.parts().is_empty(), "nothing stays in staging");
    scene.check_quota();
}

fn crash_often(sync: &str, moments: u64) {
    let mut scene = Scene::new(sync);
    let old = pattern(1, FILE_BYTES - 100_000);
    for moment in 0..moments {
        let new = pattern(2 + moment, FILE_BYTES);
        crash_once(&mut scene, (moment % 2 == 0).then_some(&old[..]), &new, moment, moments);
    }
}

#[test]
fn kill_9_of_the_server_leaves_the_old_file_or_the_new_one_and_an_exact_quota() {
    crash_often("none", crashes(10));
}

#[test]
fn kill_9_of_the_server_is_as_harmless_while_files_are_synced() {
    crash_often("data", crashes(6));
    crash_often("full", crashes(4));
}

#[test]
fn kill_9_among_many_small_uploads_leaves_each_file_whole_or_absent() {
    let mut scene = Scene::new("none");
    let moments = crashes(8);
    for moment in 0..moments {
        scene.restart();
        let mut peer = Peer::login(scene.proxy.address, "ann");
        let names: Vec<String> = (0..60).map(|i| format!("s{i}")).collect();
        let contents: Vec<Vec<u8>> = (0..60).map(|i| pattern(1000 * moment + i, 100 * i as usize)).collect();
        let befores: Vec<Option<Vec<u8>>> = names.iter().map(|name| fs::read(scene.home(name)).ok()).collect();
        let mut bytes = Vec::new();
        for (name, content) in names.iter().zip(&contents) {
            bytes.extend(peer.encode_put(name, content, PutMode::Replace));
        }
        let pid = scene.server.program.pid();
        let at = moment * bytes.len() as u64 / moments;
        scene.proxy.up.act_after(at, move || kill(pid, Signal::KILL));
        // The rest of it goes nowhere.
        let _ = std::io::Write::write_all(&mut peer.stream, &bytes);
        let acknowledged = std::iter::from_fn(|| peer.receive().ok()).take(60).collect::<Vec<_>>().len();
        scene.proxy.up.act_no_more();
        scene.server.program.kill();
        for (i, name) in names.iter().enumerate() {
            let outcome = scene.content(name, &[Some(&contents[i]), befores[i].as_deref()]);
            assert!(i >= acknowledged || outcome == 0, "{name} was acknowledged");
        }
        scene.restart();
        scene.check_quota();
        assert!(scene.parts().is_empty());
    }
}

#[test]
fn kill_9_of_the_client_keeps_what_came_and_the_next_try_goes_on_from_there() {
    let scene = Scene::new("none");
    let new = pattern(1, FILE_BYTES);
    fs::write(scene.place.here("file"), &new).expect("writable");
    let moments = crashes(8);
    for moment in 0..moments {
        // Through the server, which then knows of it.
        let old: Option<&[u8]> = (moment % 2 == 0).then_some(b"old");
        let mut peer = Peer::login(scene.server.address, "ann");
        peer.ask(&Request::Rm { path: "/file".into() });
        if let Some(old) = old {
            peer.put("/file", old, PutMode::Create);
        }
        let at = moment * FILE_BYTES as u64 / moments;
        let mut client = scene.put_up_to(at, old.is_some());
        client.kill();
        scene.proxy.cut();
        scene.proxy.up.open();
        assert_eq!(scene.content("file", &[old]), 0, "an upload cut short is never committed");
        drop(peer);
        wait_until("the server noticed", || {
            let log = scene.place.log("access.log");
            log.matches("verb=connect").count() == log.matches("verb=close").count()
        });
        let kept = scene.parts();
        match at {
            ..1_048_576 => assert!(kept.is_empty(), "{at}: {kept:?}"),
            1_048_576..1_448_576 => {}
            _ => assert!(kept.len() == 1, "{at}: {kept:?}"),
        }
        scene.check_quota();
        let second = scene.berth(&["put", "-f", "file"]).wait().expect_code(0);
        assert_eq!(second.stderr.contains("resuming at "), !kept.is_empty(), "{second:?}");
        assert_eq!(scene.content("file", &[Some(&new)]), 0);
        assert!(scene.parts().is_empty());
        scene.check_quota();
    }
}

#[test]
fn kill_9_of_the_client_keeps_its_part_of_a_download_and_the_next_try_goes_on_from_there() {
    let scene = Scene::new("none");
    let content = pattern(1, FILE_BYTES);
    fs::write(scene.home("file"), &content).expect("writable");
    let moments = crashes(6);
    for moment in 0..moments {
        let _ = fs::remove_file(scene.place.here("file"));
        scene.proxy.down.hold_after(1000 + moment * FILE_BYTES as u64 / moments);
        let mut client = scene.berth(&["get", "file"]);
        scene.proxy.down.wait_held();
        let part = scene.place.here(".file.berth-part");
        let kept = || fs::metadata(&part).map_or(0, |metadata| metadata.len());
        wait_until("what passed is written", || moment == 0 || kept() > 0);
        client.kill();
        scene.proxy.cut();
        scene.proxy.down.open();
        assert!(!scene.place.here("file").exists());
        let length = kept();
        let second = scene.berth(&["get", "file"]).wait().expect_code(0);
        assert_eq!(second.stderr.contains("resuming at "), length > 0, "{length}: {second:?}");
        assert!(fs::read(scene.place.here("file")).expect("fetched") == content);
        assert!(!part.exists());
    }
}

#[test]
fn a_source_that_changed_and_a_part_that_was_tampered_with_are_not_resumed() {
    let mut scene = Scene::new("none");
    let content = pattern(1, FILE_BYTES);
    let cut_upload = |scene: &Scene, replaces: bool| {
        let mut client = scene.put_up_to(2 << 20, replaces);
        client.kill();
        scene.proxy.cut();
        scene.proxy.up.open();
        // A server that is killed before it noticed keeps nothing of an upload without a name.
        let process = scene.server.program.pid();
        wait_until("the upload has a name", || unlinked_files::files(process, &scene.home("")).is_empty());
    };
    fs::write(scene.place.here("file"), &content).expect("writable");
    cut_upload(&scene, false);
    let changed = pattern(2, FILE_BYTES);
    fs::write(scene.place.here("file"), &changed).expect("writable");
    let ended = scene.berth(&["put", "-f", "file"]).wait().expect_code(0);
    assert!(ended.stderr.contains("changed since the last try"), "{ended:?}");
    assert_eq!(scene.content("file", &[Some(&changed)]), 0);
    wait_until("nothing is left of it", || scene.parts().is_empty());

    fs::write(scene.place.here("file"), &content).expect("writable");
    cut_upload(&scene, true);
    scene.restart();
    for entry in fs::read_dir(scene.home(".berth")).expect("there") {
        let path = entry.expect("readable").path();
        if path.extension() == Some("part".as_ref()) {
            let mut bytes = fs::read(&path).expect("readable");
            bytes[5000] ^= 1;
            fs::write(&path, bytes).expect("writable");
        }
    }
    let ended = scene.berth(&["put", "-f", "file"]).wait().expect_code(0);
    assert!(ended.stderr.contains("the partial upload does not match the local file"), "{ended:?}");
    assert_eq!(scene.content("file", &[Some(&content)]), 0);
    wait_until("nothing is left of it", || scene.parts().is_empty());

    let _ = fs::remove_file(scene.place.here("file"));
    fs::write(scene.place.here(".file.berth-part"), pattern(3, 100_000)).expect("writable");
    let ended = scene.berth(&["get", "file"]).wait().expect_code(0);
    assert!(ended.stderr.contains("starting over"), "{ended:?}");
    assert!(fs::read(scene.place.here("file")).expect("fetched") == content);
    scene.check_quota();
}

#[test]
fn an_upload_that_is_not_worth_keeping_leaves_nothing_after_a_crash() {
    let mut scene = Scene::new("none");
    let mut peer = Peer::login(scene.server.address, "ann");
    peer.request(&put("/a", 1000, PutMode::Create));
    wait_until("the upload has begun", || !scene.parts().is_empty());
    scene.restart();
    scene.check_quota();
    assert!(scene.parts().is_empty());
}
