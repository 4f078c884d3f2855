//! Downloads: whole or from an offset, aborted, observed while they run, and never confirmed before the last byte.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Scene;
use super::client::Client;
use crate::support::{pattern, wait_until};

/// More than all the sockets on the way hold.
const LARGE: usize = 48 << 20;

fn with_large() -> (Scene, Vec<u8>) {
    let scene = Scene::new();
    let content = [pattern(1, 8 << 20), vec![0; LARGE - (8 << 20)]].concat();
    scene.write("large", &content);
    scene.write("small", b"0123456789");
    (scene, content)
}

#[test]
fn files_arrive_as_they_are() {
    let (scene, content) = with_large();
    scene.write("empty", b"");
    let mut client = scene.login();
    assert!(client.get("RETR large") == content);
    assert_eq!(client.get("RETR empty"), b"");
    assert_eq!(client.get("RETR small"), b"0123456789");
    let line = scene.transaction("path=/large");
    assert!(line.contains(&format!("bytes={LARGE}")) && line.contains("result=ok"), "{line}");
}

#[test]
fn a_download_begins_at_the_offset_that_rest_named() {
    let (scene, content) = with_large();
    let mut client = scene.login();
    for at in [1, 4096, LARGE - 1, LARGE] {
        client.ask(&format!("REST {at}")).expect(&[350]);
        assert!(client.get("RETR large") == content[at..], "from {at}");
    }
    // The order in which many clients say it.
    let address = client.passive();
    let stream = super::client::stream_to(address);
    client.ask("REST 5").expect(&[350]);
    client.say("RETR small");
    assert_eq!(client.begin_now(stream).read_all(), b"56789");
    client.reply().expect(&[226]);
}

#[test]
fn an_offset_past_the_end_is_refused() {
    let (scene, _) = with_large();
    let mut client = scene.login();
    client.ask("REST 11").expect(&[350]);
    let refusal = client.try_open("RETR small").err().expect("there is no such byte");
    refusal.expect(&[501, 550, 551, 554]);
    assert_eq!(client.get("RETR small"), b"0123456789");
}

#[test]
fn retr_of_a_directory_or_pipe_is_refused() {
    let (scene, _) = with_large();
    std::fs::create_dir(scene.home("folder")).expect("ours");
    let mut client = scene.login();
    for path in ["none", "folder", "folder/none", "small/none", "/"] {
        client.try_open(&format!("RETR {path}")).err().expect("no file").expect(&[550, 553]);
    }
    assert_eq!(client.get("RETR small"), b"0123456789");
}

/// Begins a download that cannot end, since nobody reads it.
fn begin(client: &mut Client) -> super::client::Data {
    let mut data = client.open("RETR large");
    data.read_exact(100_000);
    data
}

#[test]
fn after_an_abort_in_the_middle_the_next_transfer_is_an_ordinary_one() {
    let (scene, _) = with_large();
    let mut client = scene.login();
    for abort in [&b"ABOR\r\n"[..], b"\xff\xf4\xff\xf2ABOR\r\n", b"\xff\xf4\xffABOR\r\n"] {
        let data = begin(&mut client);
        client.send(abort);
        client.reply().expect(&[426]);
        client.reply().expect(&[225, 226]);
        drop(data);
        assert_eq!(client.get("RETR small"), b"0123456789");
        client.stores("other", b"content");
        assert_eq!(client.list("NLST").len(), 3);
    }
    let line = scene.transaction("path=/large");
    assert!(!line.contains("result=ok"), "{line}");
}

#[test]
fn an_abort_with_the_urgent_byte_of_telnet_is_understood() {
    let (scene, _) = with_large();
    let mut client = scene.login();
    let data = begin(&mut client);
    client.send(b"\xff\xf4");
    let sent = socket2::SockRef::from(client.wire.stream()).send_out_of_band(b"\xff\xf2").expect("a socket");
    assert_eq!(sent, 2);
    client.send(b"ABOR\r\n");
    client.reply().expect(&[426]);
    client.reply().expect(&[225, 226]);
    drop(data);
    assert_eq!(client.get("RETR small"), b"0123456789");
}

#[test]
fn an_abort_without_a_transfer_is_answered_and_takes_a_waiting_address_back() {
    let (scene, _) = with_large();
    let mut client = scene.login();
    client.ask("ABOR").expect(&[225, 226]);
    client.passive();
    client.ask("ABOR").expect(&[225, 226]);
    assert_eq!(client.get("RETR small"), b"0123456789");
}

#[test]
fn a_reader_that_closes_in_the_middle_is_told_and_the_session_goes_on() {
    let (scene, _) = with_large();
    let mut client = scene.login();
    for is_reset in [false, true] {
        let data = begin(&mut client);
        match is_reset {
            true => data.reset(),
            false => data.cut(),
        }
        client.reply().expect(&[426, 451]);
        assert_eq!(client.get("RETR small"), b"0123456789");
    }
}

#[test]
fn a_running_transfer_tells_how_far_it_is() {
    let (scene, content) = with_large();
    let mut client = scene.login();
    let data = begin(&mut client);
    let status = client.ask("STAT").expect(&[211, 213]);
    let text = status.lines.join("\n");
    assert!(text.contains("large") && text.contains(&LARGE.to_string()), "{text}");
    assert!(data.read_all() == content[100_000..]);
    client.reply().expect(&[226]);
}

#[test]
fn commands_sent_during_a_transfer_are_answered_behind_it_in_order() {
    let (scene, content) = with_large();
    let mut client = scene.login();
    let data = begin(&mut client);
    client.send(b"NOOP\r\nPWD\r\nSIZE small\r\n");
    assert!(data.read_all() == content[100_000..]);
    let codes: Vec<u16> = (0..4).map(|_| client.reply().code).collect();
    assert!(codes == [226, 200, 257, 213] || codes == [200, 226, 257, 213], "{codes:?}");
}

#[test]
fn reply_226_is_sent_after_the_last_byte() {
    let (scene, _) = with_large();
    let mut client = scene.login();
    let mut data = begin(&mut client);
    client.wire.stream().set_nonblocking(true).expect("a socket");
    let early = client.wire.stream().peek(&mut [0]);
    client.wire.stream().set_nonblocking(false).expect("a socket");
    assert!(early.is_err(), "a word before the end");
    let mut rest = Vec::new();
    data.wire.read_to_end(&mut rest).expect("all of it");
    assert_eq!(rest.len(), LARGE - 100_000);
    client.reply().expect(&[226]);
}

#[test]
fn a_file_cut_while_it_is_sent_is_never_confirmed() {
    let (scene, _) = with_large();
    let mut client = scene.login();
    let mut data = begin(&mut client);
    File::options().write(true).open(scene.home("large")).expect("there").set_len(1 << 20).expect("ours");
    let mut rest = Vec::new();
    let _ = data.wire.read_to_end(&mut rest);
    drop(data);
    client.reply().expect(&[426, 450, 451, 550, 551]);
    assert_eq!(client.get("RETR small"), b"0123456789");
}

/// More than one piece, and more than the sockets on the way hold.
#[test]
fn a_file_that_grows_or_is_touched_while_it_is_sent_arrives_as_it_was() {
    use std::os::unix::fs::PermissionsExt;
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 6] = [
        ("touched", |path| File::open(path).and_then(|file| file.set_modified(UNIX_EPOCH)).expect("ours")),
        ("touched now", |path| File::open(path).and_then(|file| file.set_modified(SystemTime::now())).expect("ours")),
        ("appended to", |path| {
            File::options().append(true).open(path).and_then(|mut file| file.write_all(b"more")).expect("ours");
        }),
        ("given another mode", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours")),
        ("linked", |path| fs::hard_link(path, path.with_extension("link")).expect("ours")),
        ("removed", |path| fs::remove_file(path).expect("ours")),
    ];
    for is_private in [false, true] {
        let (scene, content) = with_large();
        let mut client = match is_private {
            true => Client::login_over_tls(scene.ftp, "ann", super::tls::config(&[13], true)),
            false => scene.login(),
        };
        for (what, change) in changes {
            scene.write("large", &content);
            client.ask("REST 1000").expect(&[350]);
            let data = begin(&mut client);
            change(&scene.home("large"));
            assert!(data.read_all() == content[101_000..], "{what}");
            client.reply().expect(&[226]);
        }
    }
}

#[test]
fn a_file_written_anew_while_it_is_sent_is_never_confirmed() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 3] = [
        ("in the middle", |path| {
            let file = File::options().write(true).open(path).expect("there");
            file.write_all_at(b"other", LARGE as u64 / 2).expect("ours");
        }),
        ("as a whole", |path| fs::write(path, pattern(7, LARGE)).expect("ours")),
        ("as a whole, and longer", |path| fs::write(path, pattern(7, LARGE + 10)).expect("ours")),
    ];
    for is_private in [false, true] {
        let (scene, content) = with_large();
        let mut client = match is_private {
            true => Client::login_over_tls(scene.ftp, "ann", super::tls::config(&[13], true)),
            false => scene.login(),
        };
        for (what, change) in changes {
            scene.write("large", &content);
            let mut data = begin(&mut client);
            change(&scene.home("large"));
            let _ = data.wire.read_to_end(&mut Vec::new());
            drop(data);
            let reply = client.reply();
            assert!([426, 450, 451].contains(&reply.code), "{what}: {reply:?}");
        }
    }
}

#[test]
fn a_file_replaced_while_it_is_sent_arrives_as_it_was() {
    let (scene, content) = with_large();
    let mut client = scene.login();
    let data = begin(&mut client);
    scene.login().stores("large", b"another");
    assert!(data.read_all() == content[100_000..]);
    client.reply().expect(&[226]);
    assert_eq!(client.get("RETR large"), b"another");
}

#[test]
fn eight_downloads_at_once_all_arrive() {
    let (scene, content) = with_large();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(scene.login().get("RETR large") == content));
        }
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_download_ends_it() {
    let (scene, _) = with_large();
    let mut client = scene.login();
    let data = begin(&mut client);
    client.wire.stream().shutdown(Shutdown::Both).expect("open");
    drop(client);
    wait_until("the transfer has ended", || scene.place.log("transactions.log").contains("path=/large"));
    assert!(!scene.transaction("path=/large").contains("result=ok"));
    drop(data);
    assert_eq!(scene.login().get("RETR small"), b"0123456789");
}
