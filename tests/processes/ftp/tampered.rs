//! Partial uploads that somebody else has changed (threat 25). FTP promises no digest unless `ftp.hash_uploads`
//! asks for one, but the server does not silently store a change that it can detect.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::json;

use super::Scene;
use super::client::Client;
use super::uploads::{PART, interrupt, size};
use crate::support::{pattern, sha256, wait_until};

/// What lies in staging with this ending.
fn staged(scene: &Scene, ending: &str) -> PathBuf {
    let entries = fs::read_dir(scene.home(".berth")).expect("there").map(|entry| entry.expect("readable").path());
    let mut fitting = entries.filter(|path| path.extension().is_some_and(|extension| extension == ending));
    fitting.next().unwrap_or_else(|| panic!("nothing ends in {ending}"))
}

fn part(scene: &Scene) -> File {
    File::options().read(true).write(true).open(staged(scene, "part")).expect("ours")
}

/// Sends REST and STOR. Returns the code of the last reply.
#[track_caller]
fn go_on(client: &mut Client, at: usize, rest: &[u8]) -> u16 {
    client.ask(&format!("REST {at}")).expect(&[350]);
    client.put("STOR file", rest).code
}

#[test]
fn a_part_that_got_shorter_between_tries_is_gone_on_with_from_what_is_left() {
    let mut scene = Scene::new();
    let content = pattern(1, 2 * PART);
    let mut client = scene.login();
    interrupt(&scene, &mut client, "STOR file", &content[..PART], PART);
    let left = PART - 300_000;
    part(&scene).set_len(left as u64).expect("ours");
    // Who remembers how much was sent would leave a hole.
    assert_eq!(go_on(&mut client, PART, &content[PART..]), 554);
    assert!(!scene.exists("file"));
    assert_eq!(size(&mut client, "file"), left, "it is told as it is");
    assert_eq!(go_on(&mut client, left, &content[left..]), 226);
    scene.holds("file", &content);
    drop(client);
    scene.check_served();
}

#[test]
fn a_part_that_got_longer_between_tries_is_cut_to_where_the_client_goes_on() {
    let scene = Scene::new();
    let content = pattern(1, 2 * PART);
    let mut client = scene.login();
    interrupt(&scene, &mut client, "STOR file", &content[..PART], PART);
    part(&scene).write_all_at(b"planted", PART as u64).expect("ours");
    assert_eq!(go_on(&mut client, PART, &content[PART..PART + 10]), 226);
    scene.holds("file", &content[..PART + 10]);
}

#[test]
fn a_part_whose_size_changes_while_it_is_written_is_not_stored() {
    let mut scene = Scene::new();
    scene.write("file", b"old");
    let content = pattern(1, PART);
    let mut client = scene.login();
    for size_then in [PART as u64 + 7, PART as u64 - 7, 0] {
        let mut data = client.open("STOR file");
        data.write(&content);
        scene.wait_for_part(PART as u64);
        part(&scene).set_len(size_then).expect("ours");
        data.finish();
        client.reply().expect(&[451]);
        scene.holds("file", b"old");
        assert_eq!(size(&mut client, "file"), 3, "nobody is offered to go on with it");
        assert!(scene.parts().is_empty(), "{size_then}");
    }
    // Nor is it kept when it is interrupted.
    let mut data = client.open("STOR file");
    data.write(&content);
    scene.wait_for_part(PART as u64);
    part(&scene).set_len(PART as u64 + 7).expect("ours");
    data.reset();
    client.reply().expect(&super::uploads::CUT);
    assert_eq!((size(&mut client, "file"), scene.parts().len()), (3, 0));
    client.stores("file", &content);
    scene.holds("file", &content);
    drop(client);
    scene.check_served();
}

#[test]
fn a_part_without_its_record_or_with_a_damaged_one_is_not_gone_on_with() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let content = pattern(1, PART);
    let mut client = scene.login();
    for damage in [None, Some(&b""[..]), Some(b"{\"path\":"), Some(b"null"), Some(&[0xff; 5000])] {
        interrupt(&scene, &mut client, "STOR file", &content, PART);
        let record = staged(&scene, "json");
        match damage {
            None => fs::remove_file(&record).expect("ours"),
            Some(text) => fs::write(&record, text).expect("ours"),
        }
        assert_eq!(size(&mut client, "file"), 3, "{damage:?}");
        assert_eq!(go_on(&mut client, PART, b"more"), 554, "{damage:?}");
        client.put("STOR file", b"old").expect(&[226]);
        scene.holds("file", b"old");
    }
}

#[test]
fn a_tampered_part_has_a_digest_in_the_log_that_tells_where_uploads_are_hashed() {
    let scene = Scene::with(json!({"hash_uploads": true}), json!({}), &[]);
    let content = pattern(1, 2 * PART);
    let mut client = scene.login();
    interrupt(&scene, &mut client, "STOR file", &content[..PART], PART);
    part(&scene).write_all_at(b"planted", 1000).expect("ours");
    assert_eq!(go_on(&mut client, PART, &content[PART..]), 226);
    let stored = scene.read("file");
    assert!(stored != content && stored.len() == content.len());
    wait_until("it is logged", || scene.place.log("transactions.log").contains("result=ok"));
    let line = scene.transaction("result=ok");
    assert!(line.contains(&format!("digest=sha256:{}", sha256(&stored))), "that of what lies there: {line}");
    assert_ne!(sha256(&stored), sha256(&content));
    assert!(client.ask("XSHA256 file").expect(&[250]).text().contains(&sha256(&stored)));
}

#[test]
fn a_source_that_changed_between_tries_of_a_download_is_never_sent_past_its_end() {
    let scene = Scene::new();
    scene.write("file", &pattern(1, 1000));
    let mut client = scene.login();
    scene.write("file", b"0123456789");
    client.ask("REST 500").expect(&[350]);
    client.try_open("RETR file").err().expect("it is shorter now").expect(&[550, 554]);
    client.ask("REST 10").expect(&[350]);
    assert_eq!(client.get("RETR file"), b"");
    assert_eq!(client.get("RETR file"), b"0123456789");
}
