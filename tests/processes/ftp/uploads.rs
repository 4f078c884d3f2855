//! Uploads: a file appears only when it is complete, the old file stays until then, an interrupted upload can be
//! resumed, and every byte counts.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Scene;
use super::client::{Client, reset, stream_to};
use super::configuration;
use super::tls::config;
use crate::support::random::Random;
use crate::support::{Place, disk_usage, pattern, sha256, wait_until};

/// Enough to be kept when it is interrupted.
pub(crate) const PART: usize = 2 << 20;
/// What an interrupted transfer is answered with.
pub(crate) const CUT: [u16; 4] = [426, 450, 451, 551];

/// An upload of `content` that is reset once `PART` bytes of it are on disk.
#[track_caller]
pub(crate) fn interrupt(scene: &Scene, client: &mut Client, command: &str, content: &[u8], kept: usize) {
    let count = || scene.parts().iter().filter(|&&part| part >= kept as u64).count();
    let before = count();
    let mut data = client.open(command);
    data.write(content);
    wait_until("all of it is on disk", || count() > before);
    data.reset();
    client.reply().expect(&CUT);
}

/// SIZE, as a number.
#[track_caller]
pub(crate) fn size(client: &mut Client, path: &str) -> usize {
    client.ask(&format!("SIZE {path}")).expect(&[213]).text().parse().expect("a number")
}

/// Bytes that AVBL tells.
#[track_caller]
fn available(client: &mut Client) -> u64 {
    client.ask("AVBL").expect(&[213]).text().parse().expect("a number")
}

fn with_quota(quota: &str) -> Scene {
    Scene::with(json!({}), json!({}), &["--quota", quota])
}

// ---- Atomic -------------------------------------------------------------------------------

#[test]
fn an_upload_appears_when_it_is_confirmed_and_not_before() {
    let scene = Scene::new();
    let (mut client, mut other) = (scene.login(), scene.login());
    let content = pattern(1, 3 << 20);
    let mut data = client.open("STOR new");
    data.write(&content[..PART]);
    scene.wait_for_part(1 << 20);
    assert!(!scene.exists("new"));
    for list in ["LIST", "LIST -a", "NLST", "MLSD"] {
        assert!(other.list(list).iter().all(|line| !line.ends_with("new") && !line.contains(".berth")), "{list}");
    }
    other.try_open("RETR new").err().expect("it is not there").expect(&[550]);
    data.write(&content[PART..]);
    data.finish();
    client.reply().expect(&[226]);
    scene.holds("new", &content);
    assert!(other.get("RETR new") == content);
    scene.check_ledger();
}

#[test]
fn what_was_there_stays_until_the_new_file_is_whole() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let mut client = scene.login();
    let content = pattern(1, 3 << 20);
    let mut data = client.open("STOR file");
    data.write(&content[..PART]);
    scene.wait_for_part(1 << 20);
    assert_eq!(scene.login().get("RETR file"), b"old");
    data.write(&content[PART..]);
    data.finish();
    client.reply().expect(&[226]);
    scene.holds("file", &content);
    scene.check_ledger();
}

#[test]
fn files_of_no_and_of_few_bytes_are_stored() {
    let scene = Scene::new();
    let mut client = scene.login();
    for count in [0, 1, 2, 1000, 65_537] {
        let content = pattern(3, count);
        client.stores("file", &content);
        scene.holds("file", &content);
        assert_eq!(client.get("RETR file"), content);
    }
    scene.check_ledger();
}

/// What waits is taken in one of two ways, by how much it is.
#[test]
fn bytes_stay_in_order_however_many_are_sent_at_once() {
    let scene = Scene::new();
    let mut client = scene.login();
    let (mut random, content) = (Random::new(7), pattern(3, 24 << 20));
    for command in ["STOR file", "APPE file"] {
        let mut data = client.open(command);
        let mut left = &content[..];
        while !left.is_empty() {
            let most = [100, 40_000, 3_000_000][random.below(3)];
            let (piece, rest) = left.split_at(left.len().min(1 + random.below(most)));
            data.write(piece);
            left = rest;
        }
        data.finish();
        client.reply().expect(&[226]);
    }
    scene.holds("file", &[&content[..], &content].concat());
    scene.check_ledger();
}

#[test]
fn an_upload_that_is_reset_leaves_the_old_file() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let mut client = scene.login();
    let content = pattern(1, PART);
    interrupt(&scene, &mut client, "STOR file", &content, PART);
    scene.holds("file", b"old");
    // A small one is not even kept.
    let mut data = client.open("STOR other");
    data.write(b"some");
    data.reset();
    client.reply().expect(&CUT);
    assert!(!scene.exists("other"));
    client.ask("PWD").expect(&[257]);
    scene.check_ledger();
}

#[test]
fn an_upload_that_is_aborted_leaves_the_old_file() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let mut client = scene.login();
    for abort in [&b"ABOR\r\n"[..], b"\xff\xf4\xff\xf2ABOR\r\n", b"\xff\xf4\xffABOR\r\n"] {
        let mut data = client.open("STOR file");
        data.write(b"new content");
        client.send(abort);
        client.reply().expect(&[426]);
        client.reply().expect(&[225, 226]);
        drop(data);
        scene.holds("file", b"old");
        assert_eq!(client.get("RETR file"), b"old");
    }
    scene.check_ledger();
}

#[test]
fn an_upload_may_be_shorter_or_longer_than_its_allo() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let mut client = scene.login();
    client.ask("ALLO 100").expect(&[200]);
    client.put("STOR file", &[1; 99]).expect(&[226]);
    scene.holds("file", &[1; 99]);
    client.ask("ALLO 100 R 10").expect(&[200]);
    client.put("STOR file", b"").expect(&[226]);
    scene.holds("file", b"");
    scene.check_ledger();
    client.ask("ALLO 100").expect(&[200]);
    client.put("STOR file", &[2; 100]).expect(&[226]);
    scene.holds("file", &[2; 100]);
    client.ask("ALLO 100").expect(&[200]);
    client.put("STOR file", &[3; 101]).expect(&[226]);
    scene.holds("file", &[3; 101]);
    client.put("STOR file", &[4; 5]).expect(&[226]);
    scene.holds("file", &[4; 5]);
    scene.check_ledger();
}

#[test]
fn an_upload_whose_control_connection_is_dead_is_not_stored() {
    let scene = Scene::new();
    scene.write("file", b"old");
    for is_reset in [false, true] {
        let mut client = scene.login();
        let mut data = client.open("STOR file");
        data.write(b"new content");
        if is_reset {
            reset(client.wire.stream());
        } else {
            // Closing it is not enough: a program that another test is starting may hold it, too.
            client.wire.stream().shutdown(Shutdown::Both).expect("connected");
        }
        drop(client);
        data.finish();
    }
    wait_until("both have ended", || {
        scene.place.log("transactions.log").lines().filter(|line| line.contains("path=/file")).count() == 2
    });
    assert!(!scene.place.log("transactions.log").contains("result=ok"), "{}", scene.place.log("transactions.log"));
    scene.holds("file", b"old");
    scene.check_ledger();
}

#[test]
fn a_client_that_says_quit_behind_its_upload_still_gets_it_stored() {
    let scene = Scene::new();
    let mut client = scene.login();
    let mut data = client.open("STOR file");
    client.say("QUIT");
    data.write(b"content");
    data.finish();
    client.reply().expect(&[226]);
    client.reply().expect(&[221]);
    client.expect_end();
    scene.holds("file", b"content");
}

/// Closes the control connection when a reply has come, which is not read: that is a reset.
fn leave_unread(client: &Client) {
    let stream = client.wire.stream();
    assert!(stream.peek(&mut [0]).expect("the transfer begins") > 0);
    reset(stream);
}

#[test]
fn a_client_that_has_said_quit_may_close_with_replies_unread() {
    let scene = Scene::new();
    let content = pattern(1, 3 << 20);
    for round in 0..10 {
        let name = format!("up{round}");
        let mut client = scene.login();
        let mut data = stream_to(client.passive());
        client.send(format!("STOR {name}\r\nQUIT\r\nMKD never\r\n").as_bytes());
        data.write_all(&content).expect("the server reads");
        data.shutdown(Shutdown::Write).expect("open");
        leave_unread(&client);
        wait_until("it is stored", || scene.exists(&name));
        scene.holds(&name, &content);
        let mut client = scene.login();
        let mut data = stream_to(client.passive());
        client.send(format!("RETR {name}\r\nQUIT\r\n").as_bytes());
        let mut got = vec![0; 1000];
        data.read_exact(&mut got).expect("the beginning");
        leave_unread(&client);
        data.read_to_end(&mut got).expect("the rest");
        assert!(got == content);
    }
    assert!(!scene.exists("never"));
    wait_until("nobody is left", || scene.admin(&["status"]).stdout.matches("ann").count() <= 1);
    scene.check_ledger();
}

#[test]
fn a_data_connection_that_is_cut_behind_quit_and_a_reset_stores_nothing() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let transfers = || scene.place.log("transactions.log").lines().filter(|line| line.contains("path=/file")).count();
    for (round, farewell) in ["QUIT\r\n", "NOOP\r\n", "ABOR\r\nQUIT\r\n"].into_iter().enumerate() {
        let mut client = scene.login();
        let mut data = stream_to(client.passive());
        client.send(format!("STOR file\r\n{farewell}").as_bytes());
        data.write_all(b"new").expect("the server reads");
        leave_unread(&client);
        if round == 0 {
            reset(&data);
        } else {
            let _ = data.shutdown(Shutdown::Write);
        }
        wait_until("it has ended", || transfers() > round);
        scene.holds("file", b"old");
    }
}

#[test]
fn a_cut_upload_is_told_whether_something_of_it_is_kept() {
    let scene = Scene::new();
    let mut client = scene.login();
    let mut data = client.open("STOR small");
    data.write(b"some");
    data.reset();
    let told = client.reply().expect(&[426]);
    assert!(told.text().contains("nothing is kept"), "{told:?}");
    let mut data = client.open("STOR large");
    data.write(&pattern(1, PART));
    scene.wait_for_part(PART as u64 - 64 * 1024);
    data.reset();
    let told = client.reply().expect(&[426]);
    assert!(told.text().contains("is kept for a while"), "{told:?}");
    scene.write("file", &vec![7; 24 << 20]);
    let data = client.open("RETR file");
    data.reset();
    let told = client.reply().expect(&[426]);
    assert!(!told.text().contains("kept"), "{told:?}");
}

#[test]
fn a_reset_at_any_byte_of_an_upload_never_commits_a_part_of_it() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let content = b"the whole of the new content";
    let mut client = scene.login();
    for count in 0..=content.len() {
        let mut data = client.open("STOR file");
        data.write(&content[..count]);
        data.reset();
        client.reply().expect(&CUT);
        scene.holds("file", b"old");
    }
    scene.check_ledger();
}

#[test]
fn a_conversation_cut_at_any_byte_leaves_whole_files() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let talk = b"CWD /\r\nMKD d\r\nRMD d\r\nSTOR file\r\n";
    for is_reset in [false, true] {
        for count in 0..=talk.len() {
            let mut client = scene.login();
            let address = client.passive();
            let data = super::client::stream_to(address);
            client.send(&talk[..count]);
            match is_reset {
                true => reset(client.wire.stream()),
                false => client.wire.stream().shutdown(Shutdown::Write).expect("open"),
            }
            drop(data);
            let _ = if is_reset { Vec::new() } else { client.last_words() };
        }
    }
    // What was asked for as a whole, and its data ended, may have been stored: as a whole, which is nothing.
    let held = scene.read("file");
    assert!(held == b"old" || held.is_empty(), "{held:?}");
    let mut client = scene.login();
    client.stores("file", b"new");
    let _ = client.ask("RMD d");
    scene.holds("file", b"new");
    scene.check_ledger();
}

#[test]
fn two_who_write_one_name_leave_one_whole_file() {
    let scene = Scene::new();
    let (mut one, mut two) = (scene.login(), scene.login());
    let (first, second) = (pattern(1, 3 << 20), pattern(2, 3 << 20));
    let mut data = one.open("STOR file");
    data.write(&first[..PART]);
    scene.wait_for_part(1 << 20);
    let reply = two.put("STOR file", &second);
    let _ = data.wire_write(&first[PART..]);
    data.finish();
    let other = one.reply();
    let held = scene.read("file");
    assert!(held == first || held == second, "{} bytes of both: {reply:?} {other:?}", held.len());
    assert!(reply.code == 226 || other.code == 226, "{reply:?} {other:?}");
    scene.check_ledger();
}

// ---- Resumed ------------------------------------------------------------------------------

#[test]
fn an_interrupted_upload_goes_on_by_size_rest_and_stor() {
    let scene = Scene::new();
    let mut client = scene.login();
    let content = pattern(1, 5 << 20);
    interrupt(&scene, &mut client, "STOR file", &content[..PART], PART);
    let mut client = scene.login();
    let at = size(&mut client, "file");
    assert_eq!(at, PART, "the part answers where no file is");
    client.ask(&format!("REST {at}")).expect(&[350]);
    interrupt(&scene, &mut client, "STOR file", &content[at..2 * PART], 2 * PART);
    assert!(!scene.exists("file"));
    let at = size(&mut client, "file");
    assert_eq!(at, 2 * PART);
    client.ask(&format!("REST {at}")).expect(&[350]);
    client.put("STOR file", &content[at..]).expect(&[226]);
    scene.holds("file", &content);
    assert_eq!((size(&mut client, "file"), scene.parts().len()), (content.len(), 0));
    scene.check_ledger();
}

#[test]
fn an_interrupted_upload_goes_on_by_appe() {
    let scene = Scene::new();
    let mut client = scene.login();
    let content = pattern(1, 5 << 20);
    interrupt(&scene, &mut client, "STOR file", &content[..PART], PART);
    assert!(!scene.exists("file"));
    assert_eq!(size(&mut client, "file"), PART);
    interrupt(&scene, &mut client, "APPE file", &content[PART..2 * PART], 2 * PART);
    assert_eq!(size(&mut client, "file"), 2 * PART);
    client.put("APPE file", &content[2 * PART..]).expect(&[226]);
    scene.holds("file", &content);
    scene.check_ledger();
}

#[test]
fn the_rest_of_one_version_is_not_appended_to_another() {
    let scene = Scene::new();
    let mut client = scene.login();
    client.stores("file", b"old");
    interrupt(&scene, &mut client, "STOR file", &pattern(1, PART), PART);
    for offset in [None, Some(1), Some(3), Some(PART - 1), Some(PART + 1)] {
        let mut client = scene.login();
        if let Some(offset) = offset {
            client.ask(&format!("REST {offset}")).expect(&[350]);
        }
        let refused = client.put(if offset.is_some() { "STOR file" } else { "APPE file" }, b" and more").expect(&[550]);
        let text = refused.text();
        assert!(text.contains(&format!("exists ({PART} bytes)")) && text.contains("whole") && text.contains("delete"));
        scene.holds("file", b"old");
        assert_eq!(scene.parts(), [PART as u64], "after {offset:?}");
    }
    // Sent whole, or deleted, it is out of the way.
    client.stores("file", b"whole");
    client.put("APPE file", b" and more").expect(&[226]);
    scene.holds("file", b"whole and more");
    interrupt(&scene, &mut client, "STOR file", &pattern(2, PART), PART);
    client.ask("DELE file").expect(&[250]);
    client.put("APPE file", b"new").expect(&[226]);
    scene.holds("file", b"new");
    assert!(scene.parts().is_empty());
    scene.check_ledger();
}

#[test]
fn a_replacement_resumes_only_with_rest_at_its_size() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let mut client = scene.login();
    let content = pattern(1, 2 * PART);
    interrupt(&scene, &mut client, "STOR file", &content[..PART], PART);
    client.ask(&format!("REST {PART}")).expect(&[350]);
    client.put("STOR file", &content[PART..]).expect(&[226]);
    scene.holds("file", &content);
    assert!(scene.parts().is_empty());
    scene.check_ledger();
}

#[test]
fn deleting_what_another_session_uploads_for_the_first_time_is_refused_and_disturbs_nothing() {
    let scene = Scene::new();
    for count in [1000, PART] {
        let (mut sender, mut other) = (scene.login(), scene.login());
        let content = pattern(1, count + 5);
        let mut data = sender.open("STOR new");
        data.write(&content[..count]);
        for command in ["DELE new", "RNFR new", "RETR new", "HASH new", "RMD new"] {
            let refused = match command {
                "RETR new" => other.try_open(command).err().expect("no file yet"),
                command => other.ask(command),
            };
            assert_eq!(refused.code, 550, "{command}: {refused:?}");
            let is_told = ["HASH new", "RMD new"].contains(&command) || refused.text().contains("in progress");
            assert!(is_told, "{command}: {refused:?}");
        }
        data.write(&content[count..]);
        data.finish();
        sender.reply().expect(&[226]);
        scene.holds("new", &content);
        scene.check_ledger();
        other.ask("DELE new").expect(&[250]);
    }
}

#[test]
fn an_interrupted_upload_goes_on_where_the_client_says() {
    let scene = Scene::new();
    let mut client = scene.login();
    let content = pattern(1, 3 << 20);
    interrupt(&scene, &mut client, "STOR file", &content[..PART], PART);
    // FileZilla and others go back a little.
    let at = PART - 5000;
    client.ask(&format!("REST {at}")).expect(&[350]);
    client.put("STOR file", &content[at..]).expect(&[226]);
    scene.holds("file", &content);
    scene.check_ledger();
}

#[test]
fn an_upload_from_the_beginning_forgets_the_interrupted_one() {
    let scene = Scene::new();
    let mut client = scene.login();
    interrupt(&scene, &mut client, "STOR file", &pattern(1, PART), PART);
    client.stores("file", b"another");
    scene.holds("file", b"another");
    assert_eq!((size(&mut client, "file"), scene.parts().len()), (7, 0));
    scene.check_ledger();
}

#[test]
fn size_reports_a_partial_upload_only_without_a_file() {
    let scene = Scene::new();
    scene.write("file", b"old");
    let past = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(scene.home("file")).expect("there").set_modified(past).expect("ours");
    let mut client = scene.login();
    let old_time = client.ask("MDTM file").expect(&[213]);
    interrupt(&scene, &mut client, "STOR file", &pattern(1, PART), PART);
    interrupt(&scene, &mut client, "STOR only", &pattern(2, PART), PART);
    assert_eq!((size(&mut client, "file"), size(&mut client, "only")), (3, PART));
    assert_eq!(client.ask("MDTM file").expect(&[213]), old_time);
    client.ask("MDTM only").expect(&[213]);
    assert_eq!(client.ask("XSHA256 file").expect(&[250]).text(), sha256(b"old"));
    client.ask("HASH only").expect(&[550]);
    for (name, size) in [("file", 3), ("only", PART)] {
        let facts = client.ask(&format!("MLST {name}")).expect(&[250]).inner()[0].to_lowercase();
        assert!(facts.contains(&format!("size={size};")), "{facts}");
    }
    let status = client.ask("STAT file").expect(&[211, 212, 213]);
    assert!(status.inner()[0].contains(" 3 "), "{status:?}");
    for list in ["LIST", "MLSD", "LIST -a"] {
        let lines = client.list(list);
        let [line] = &lines[..] else { panic!("{list}: {lines:?}") };
        assert!(line.ends_with(" file") && (line.contains(" 3 ") || line.to_lowercase().contains("size=3;")), "{line}");
    }
    assert_eq!(client.list("NLST"), ["file"]);
    assert_eq!(client.get("RETR file"), b"old");
    let refused = client.try_open("RETR only").err().expect("nobody gets a part").expect(&[550]);
    assert!(refused.text().contains(&format!("partial upload exists ({PART} bytes)")), "{refused:?}");
}

#[test]
fn a_newer_file_hides_the_partial_upload() {
    let scene = Scene::new();
    let mut client = scene.login();
    interrupt(&scene, &mut client, "STOR file", &pattern(1, PART), PART);
    scene.write("file", b"written since");
    let later = SystemTime::now() + Duration::from_secs(3600);
    File::options().write(true).open(scene.home("file")).expect("there").set_modified(later).expect("ours");
    assert_eq!(size(&mut client, "file"), 13);
    client.put("APPE file", b", and more").expect(&[226]);
    scene.holds("file", b"written since, and more");
}

#[test]
fn an_interrupted_upload_survives_the_kill_of_the_server() {
    let mut scene = Scene::new();
    let content = pattern(1, 4 << 20);
    let mut client = scene.login();
    let mut data = client.open("STOR file");
    data.write(&content[..PART]);
    scene.wait_for_part(PART as u64);
    scene.server.program.kill();
    assert!(!scene.exists("file"));
    scene.server = scene.place.serve();
    scene.ftp = super::listening(&scene.server, "ftp");
    let mut client = scene.login();
    let at = size(&mut client, "file");
    assert!(at <= PART, "{at}");
    client.ask(&format!("REST {at}")).expect(&[350]);
    client.put("STOR file", &content[at..]).expect(&[226]);
    scene.holds("file", &content);
    scene.check_ledger();
}

#[test]
fn rest_and_stor_change_a_file_from_there_on() {
    let scene = Scene::new();
    scene.write("file", b"0123456789");
    let mut client = scene.login();
    client.ask("REST 4").expect(&[350]);
    let mut data = client.open("STOR file");
    data.write(b"new");
    assert_eq!(scene.login().get("RETR file"), b"0123456789", "all at once, or not at all");
    data.reset();
    client.reply().expect(&CUT);
    scene.holds("file", b"0123456789");
    client.ask("REST 4").expect(&[350]);
    client.put("STOR file", b"new").expect(&[226]);
    scene.holds("file", b"0123new");
    client.put("STOR file", b"whole").expect(&[226]);
    scene.holds("file", b"whole");
    scene.check_ledger();
}

#[test]
fn appe_adds_to_a_file_and_makes_one_that_is_not_there() {
    let scene = Scene::new();
    let mut client = scene.login();
    for (piece, whole) in
        [(&b"one "[..], &b"one "[..]), (b"two ", b"one two "), (b"", b"one two "), (b"three", b"one two three")]
    {
        client.put("APPE file", piece).expect(&[226]);
        scene.holds("file", whole);
    }
    let mut data = client.open("APPE file");
    data.write(b" lost");
    data.reset();
    client.reply().expect(&CUT);
    scene.holds("file", b"one two three");
    scene.check_ledger();
}

#[test]
fn a_large_file_is_added_to_at_once_or_not_at_all() {
    let scene = Scene::new();
    let content = pattern(1, 20 << 20);
    scene.write("file", &content);
    let mut client = scene.login();
    let mut data = client.open("APPE file");
    data.write(&[b'x'; 100_000]);
    // What is appended to a file is never held, so it has no name that could be looked for.
    let received = format!(": {} bytes", content.len() + 100_000);
    wait_until("the upload has come so far", || client.ask("STAT").lines.iter().any(|line| line.contains(&received)));
    data.reset();
    client.reply().expect(&CUT);
    scene.holds("file", &content);
    // Its client is told of the file, and so sends all that is missing there.
    assert_eq!((size(&mut client, "file"), scene.parts().len()), (content.len(), 0));
    client.put("APPE file", b" and more").expect(&[226]);
    scene.holds("file", &[&content[..], b" and more"].concat());
    scene.check_ledger();
}

#[test]
fn an_offset_counts_for_one_transfer() {
    let scene = Scene::new();
    scene.write("file", b"0123456789");
    let mut client = scene.login();
    client.ask("REST 5").expect(&[350]);
    assert_eq!(client.get("RETR file"), b"56789");
    assert_eq!(client.get("RETR file"), b"0123456789");
    client.ask("REST 5").expect(&[350]);
    client.try_open("RETR none").err().expect("not there").expect(&[550]);
    client.put("STOR file", b"abc").expect(&[226]);
    scene.holds("file", b"abc");
}

/// Else the next upload would be spliced into what is there.
#[test]
fn an_offset_is_gone_with_its_transfer_even_if_that_was_refused_or_a_list() {
    let scene = Scene::new();
    let mut client = scene.login();
    let no_name = "n".repeat(300);
    for command in ["NLST", "LIST none", "MLSD", &format!("RETR {no_name}"), &format!("STOR {no_name}")] {
        scene.write("file", b"0123456789");
        client.ask("REST 5").expect(&[350]);
        match client.try_open(command) {
            Ok(data) => {
                data.read_all();
                client.reply().expect(&[226]);
            }
            Err(refusal) => drop(refusal.expect(&[501, 550, 553])),
        }
        client.stores("file", b"abc");
        scene.holds("file", b"abc");
    }
    // Agreeing on the data connection comes between.
    scene.write("file", b"0123456789");
    client.ask("REST 5").expect(&[350]);
    client.ask("TYPE I").expect(&[200]);
    client.passive_v4();
    client.stores("file", b"abc");
    scene.holds("file", b"01234abc");
}

#[test]
fn a_reservation_by_allo_ends_with_the_next_transfer() {
    let scene = Scene::new();
    let mut client = scene.login();
    for command in [&format!("STOR {}", "n".repeat(300)), "STOR .berth/x", "STOR /"] {
        client.ask("ALLO 100").expect(&[200]);
        client.try_open(command).err().expect("no name").expect(&[501, 550, 553]);
        client.stores("file", b"few");
    }
}

#[test]
fn dele_removes_the_partial_upload() {
    let scene = Scene::new();
    let mut client = scene.login();
    for is_there in [true, false] {
        if is_there {
            client.stores("file", b"old");
        }
        interrupt(&scene, &mut client, "STOR file", &pattern(1, PART), PART);
        client.ask("DELE file").expect(&[250]);
        client.ask("SIZE file").expect(&[550]);
        client.ask("DELE file").expect(&[550]);
        assert!(scene.parts().is_empty());
        client.put("APPE file", b"new").expect(&[226]);
        scene.holds("file", b"new");
        scene.check_ledger();
        client.ask("DELE file").expect(&[250]);
    }
    // What is still coming stays.
    client.stores("file", b"old");
    let mut data = client.open("STOR file");
    data.write(&pattern(1, PART));
    scene.wait_for_part(PART as u64);
    scene.login().ask("DELE file").expect(&[250]);
    data.finish();
    client.reply().expect(&[226]);
    scene.holds("file", &pattern(1, PART));
    scene.check_ledger();
}

// ---- Quota --------------------------------------------------------------------------------

#[test]
fn an_upload_over_the_quota_is_552_and_leaves_what_was_there() {
    let scene = with_quota("3M");
    let old = pattern(1, 1 << 20);
    scene.write("file", &old);
    let mut client = scene.login();
    assert_eq!(available(&mut client), 2 << 20);
    client.put("STOR file", &pattern(2, 4 << 20)).expect(&[552]);
    scene.holds("file", &old);
    scene.check_ledger();
    let (used, _) = disk_usage(&scene.home(""));
    assert!(used <= 3 << 20, "{used} of 3 MiB");
    assert_eq!(available(&mut client), (3 << 20) - used);
    client.put("APPE other", &pattern(2, 4 << 20)).expect(&[552]);
    assert!(!scene.exists("other"));
    scene.check_ledger();
    client.ask("PWD").expect(&[257]);
}

#[test]
fn an_upload_without_a_byte_of_room_is_refused_before_its_data() {
    let scene = with_quota("1M");
    scene.write("full", &pattern(1, 1 << 20));
    let mut client = scene.login();
    assert_eq!(available(&mut client), 0);
    for command in ["STOR a", "STOR full", "STOU"] {
        match client.try_open(command) {
            Ok(data) => panic!("{command}: {:?}", data.begun),
            Err(refusal) => assert!(refusal.expect(&[552]).text().contains("0 of 1M are free"), "{command}"),
        }
        scene.check_ledger();
    }
    client.ask("DELE full").expect(&[250]);
    client.stores("a", b"x");
    client.stores("nothing", b"");
}

#[test]
fn a_client_that_reads_replies_after_its_last_byte_is_told_of_the_quota() {
    let scene = with_quota("3M");
    let content = pattern(2, 40 << 20);
    for mut client in [scene.login(), Client::login_over_tls(scene.ftp, "ann", config(&[13], true))] {
        for command in ["STOR file", "APPE file"] {
            let mut data = client.open(command);
            data.wire.write_all(&content).expect("the connection is not reset");
            data.finish();
            client.reply().expect(&[552]);
            client.stores("small", b"x");
        }
        assert!(!scene.exists("file"));
        scene.check_ledger();
        // A client that sends no more finds the next data connection ready.
        let data = client.open("STOR file");
        let mut wire = data.wire;
        wire.write_all(&content[..8 << 20]).expect("the connection is not reset");
        client.reply().expect(&[552]);
        client.stores("small", b"y");
        drop(wire);
    }
}

#[test]
fn avbl_is_exact_after_every_operation() {
    let scene = with_quota("1M");
    let mut client = scene.login();
    let mut used = 0;
    let steps: &[(&str, usize, u64)] =
        &[("STOR a", 1000, 1000), ("STOR b", 500, 1500), ("STOR a", 10, 510), ("APPE a", 90, 600), ("STOR c", 0, 600)];
    for (command, count, sum) in steps {
        client.put(command, &pattern(1, *count)).expect(&[226]);
        used = *sum;
        assert_eq!(available(&mut client), (1 << 20) - used, "{command}");
    }
    client.ask("REST 50").expect(&[350]);
    client.put("STOR a", &[1; 10]).expect(&[226]);
    assert_eq!(available(&mut client), (1 << 20) - used + 40);
    client.ask("DELE b").expect(&[250]);
    client.ask("RNFR a").expect(&[350]);
    client.ask("RNTO c").expect(&[250, 550, 553]);
    scene.check_ledger();
    let (used, _) = disk_usage(&scene.home(""));
    assert_eq!(available(&mut client), (1 << 20) - used);
}

#[test]
fn room_that_allo_asks_for_and_is_not_there_is_refused_before_the_data() {
    let scene = with_quota("1M");
    let mut client = scene.login();
    let reply = client.ask("ALLO 2000000");
    if reply.expect(&[200, 552]).code == 200 {
        client.put("STOR file", b"little").expect(&[552]);
    }
    assert!(!scene.exists("file"));
    client.stores("file", b"little");
    scene.check_ledger();
}

#[test]
fn pieces_that_are_appended_do_not_slip_past_a_quota() {
    let scene = with_quota("1M");
    let mut client = scene.login();
    let mut stored = 0;
    let refused = (0..20).any(|_| {
        let reply = client.put("APPE file", &[7; 100 << 10]);
        stored += if reply.code == 226 { 100 << 10 } else { 0 };
        scene.check_ledger();
        reply.expect(&[226, 552]).code == 552
    });
    assert!(refused, "two megabytes in one");
    assert_eq!(scene.read("file").len(), stored);
}

#[test]
fn an_interrupted_upload_counts_until_it_is_gone_on_with_or_replaced() {
    let scene = with_quota("10M");
    let mut client = scene.login();
    let content = pattern(1, 3 << 20);
    interrupt(&scene, &mut client, "STOR file", &content[..PART], PART);
    wait_until("it is counted", || available(&mut client) == (10 << 20) - PART as u64);
    client.ask(&format!("REST {PART}")).expect(&[350]);
    client.put("STOR file", &content[PART..]).expect(&[226]);
    assert_eq!(available(&mut client), 7 << 20);
    scene.check_ledger();
}

#[test]
fn a_limit_of_files_holds() {
    let scene = Scene::with(json!({}), json!({}), &["--max-files", "3"]);
    let mut client = scene.login();
    for name in ["a", "b"] {
        client.stores(name, b"x");
    }
    client.ask("MKD c").expect(&[257]);
    client.put("STOR d", b"x").expect(&[552]);
    client.ask("MKD d").expect(&[550, 552]);
    client.ask("DELE b").expect(&[250]);
    client.stores("a", b"replaced");
    scene.check_ledger();
}

#[test]
fn eight_uploads_at_once_for_room_for_four_are_whole_or_refused() {
    let scene = with_quota("4M");
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let upload = |number: u64| {
            let mut client = scene.login();
            client.put(&format!("STOR file{number}"), &pattern(number, 1 << 20)).expect(&[226, 552]).code
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || upload(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
    });
    for (number, code) in codes.iter().enumerate() {
        match code {
            226 => scene.holds(&format!("file{number}"), &pattern(number as u64, 1 << 20)),
            _ => assert!(!scene.exists(&format!("file{number}"))),
        }
    }
    assert!(codes.iter().filter(|&&code| code == 226).count() <= 4, "{codes:?}");
    scene.check_ledger();
}

// ---- What is left of them -----------------------------------------------------------------

#[test]
fn each_upload_leaves_a_line_in_the_log() {
    let scene = Scene::new();
    let mut client = scene.login();
    client.stores("a b", b"0123456789");
    let line = scene.transaction("path=");
    for field in ["user=ann", "bytes=10", "offset=0", "digest=-", "result=ok"] {
        assert!(line.contains(field), "{field}: {line}");
    }
}

#[test]
fn uploads_are_hashed_where_the_configuration_asks() {
    let place = Place::with(configuration(json!({"hash_uploads": true}), json!({})));
    place.add("ann", &[]);
    let scene = Scene::of(place);
    let content = pattern(1, 100_000);
    scene.login().stores("file", &content);
    assert!(scene.transaction("path=/file").contains(&format!("digest=sha256:{}", sha256(&content))));
}

#[test]
fn a_file_stored_by_ftp_is_one_for_the_native_client_too() {
    let scene = Scene::new();
    let content = pattern(1, 100_000);
    scene.login().stores("file", &content);
    let target = scene.server.target("ann");
    let ended = scene.place.run(scene.place.berth(&["--quiet", &target, "sha256", "file"])).expect_code(0);
    assert!(ended.stdout.contains(&sha256(&content)), "{ended:?}");
}

#[test]
fn of_two_that_append_at_once_neither_record_is_lost() {
    let scene = Scene::new();
    // From a mebibyte on, interrupted uploads are held.
    for (old, records) in [
        (Some(&b"one\n"[..]), [b"two\n".to_vec(), b"three\n".to_vec()]),
        (None, [b"two\n".to_vec(), b"three\n".to_vec()]),
        (Some(b"one\n"), [pattern(1, 2 << 20), pattern(2, 3 << 20)]),
    ] {
        for order in [[0, 1], [1, 0]] {
            let mut first_client = scene.login();
            first_client.ask("DELE log").expect(&[250, 550]);
            if let Some(old) = old {
                first_client.stores("log", old);
            }
            let mut clients = [scene.login(), scene.login()];
            let mut data: Vec<_> = clients.iter_mut().map(|client| Some(client.open("APPE log"))).collect();
            for (data, record) in data.iter_mut().zip(&records) {
                data.as_mut().expect("open").write(record);
            }
            let [first, last] = order;
            data[first].take().expect("open").finish();
            clients[first].reply().expect(&[226]);
            data[last].take().expect("open").finish();
            let refusal = clients[last].reply().expect(&[450, 451]);
            let mut content = [old.unwrap_or_default(), &records[first]].concat();
            scene.holds("log", &content);
            // Trying again is all it takes.
            clients[last].put("APPE log", &records[last]).expect(&[226]);
            content.extend_from_slice(&records[last]);
            assert!(scene.read("log") == content, "{refusal:?}");
            assert!(scene.parts().is_empty());
        }
    }
    scene.check_ledger();
}

#[test]
fn an_upload_that_goes_on_with_a_file_never_replaces_a_newer_one() {
    let scene = Scene::new();
    for (before, command) in [("REST 4", "STOR file"), ("NOOP", "APPE file")] {
        let (mut one, mut two) = (scene.login(), scene.login());
        two.stores("file", b"old file");
        one.ask(before).expect(&[200, 350]);
        let data = one.open(command);
        two.stores("file", b"newer");
        data.finish();
        one.reply().expect(&[450, 451]);
        scene.holds("file", b"newer");
    }
    scene.check_ledger();
    // A link is replaced itself, as by any upload.
    std::os::unix::fs::symlink("file", scene.home("link")).expect("ours");
    scene.login().put("APPE link", b" one").expect(&[226]);
    scene.holds("link", b"newer one");
}

#[test]
fn an_idle_upload_writes_its_buffered_bytes() {
    let scene = Scene::new();
    let mut client = scene.login();
    let content = pattern(5, PART + 10);
    let mut data = client.open("STOR file");
    data.write(&content[..PART]);
    scene.wait_for_part(PART as u64);
    data.write(&content[PART..]);
    scene.wait_for_part(content.len() as u64);
    data.finish();
    client.reply().expect(&[226]);
    scene.holds("file", &content);
}

// ---- What a newer file makes of a partial upload --------------------------------------------

#[test]
fn a_held_part_is_dropped_once_a_newer_file_has_its_name_and_never_comes_back() {
    let scene = Scene::new();
    let mut client = scene.login();
    for way in ["native", "renamed"] {
        interrupt(&scene, &mut client, "STOR file", &pattern(1, PART), PART);
        assert_eq!(size(&mut client, "file"), PART);
        if way == "native" {
            let mut peer = crate::support::peer::Peer::login(scene.server.address, "ann");
            let stored = peer.put("/file", b"newer", berth::wire::message::PutMode::Replace);
            assert!(matches!(stored, berth::wire::Reply::Stored { .. }), "{stored:?}");
        } else {
            client.put("STOR other", b"newer").expect(&[226]);
            client.ask("RNFR other").expect(&[350]);
            client.ask("RNTO file").expect(&[250]);
        }
        assert_eq!(size(&mut client, "file"), 5, "{way}");
        client.ask("DELE file").expect(&[250]);
        client.ask("SIZE file").expect(&[550]);
        assert_eq!(scene.parts(), [0u64; 0], "{way}");
    }
}

#[test]
fn size_ignores_a_partial_upload_in_a_removed_directory() {
    let scene = Scene::new();
    let mut client = scene.login();
    client.ask("MKD folder").expect(&[257]);
    interrupt(&scene, &mut client, "STOR folder/file", &pattern(1, PART), PART);
    client.ask("RNFR folder").expect(&[350]);
    client.ask("RNTO moved").expect(&[250]);
    client.ask("SIZE folder/file").expect(&[550]);
    client.ask("RNFR moved").expect(&[350]);
    client.ask("RNTO folder").expect(&[250]);
    assert_eq!(size(&mut client, "folder/file"), PART);
}

#[test]
fn of_two_names_of_one_file_the_first_is_gone_after_it_is_renamed_to_the_second() {
    let scene = Scene::new();
    let mut client = scene.login();
    client.put("STOR one", b"content").expect(&[226]);
    std::fs::hard_link(scene.home("one"), scene.home("two")).expect("ours");
    std::os::unix::fs::symlink(".", scene.home("here")).expect("ours");
    // Another path to the same entry.
    client.ask("RNFR here/two").expect(&[350]);
    client.ask("RNTO two");
    assert!(scene.exists("one") && scene.exists("two"));
    client.ask("RNFR one").expect(&[350]);
    client.ask("RNTO two").expect(&[250]);
    assert!(!scene.exists("one") && scene.read("two") == b"content");
}
