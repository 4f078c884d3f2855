//! Hostile peers: the server stays up and fair, nothing outside of a home is reachable, memory stays bounded, and
//! the peer gets a clear reply.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::Scene;
use super::client::{Client, reset, stream_to};
use crate::support::effort::tries;
use crate::support::{PASSWORD, pattern, wait_until};

// ---- Lines (threats 13, 14, 17, 18, 44) ----------------------------------------------------

#[test]
fn a_line_of_a_megabyte_is_refused_once_and_kept_by_nobody() {
    let mut scene = Scene::new();
    let mut client = scene.login();
    let before = scene.server.program.resident_kib();
    for _ in 0..20 {
        let mut line = b"CWD ".to_vec();
        line.resize(1 << 20, b'a');
        client.ask_bytes(&line).expect(&[500, 501]);
    }
    client.ask("PWD").expect(&[257]);
    let grown = scene.server.program.resident_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB");
    scene.check_served();
}

#[test]
fn an_unauthenticated_client_that_never_ends_a_line_is_not_kept_in_memory() {
    let mut scene = Scene::with(json!({}), json!({"timeouts": {"login": 2}}), &[]);
    let mut client = Client::connect(scene.ftp);
    let before = scene.server.program.resident_kib();
    let piece = vec![b'a'; 1 << 20];
    for _ in 0..200 {
        if client.wire.write_all(&piece).is_err() {
            break;
        }
    }
    let grown = scene.server.program.resident_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB");
    scene.check_served();
}

#[test]
fn telnet_line_feeds_and_eight_bits_are_what_clients_mean_by_them() {
    let scene = Scene::new();
    let mut client = scene.login();
    for line in [
        &b"PWD\r\n"[..],
        b"PWD\n",
        b"\nPWD\r\n",
        b"\r\nPWD\r\n",
        b"\xff\xf4\xff\xf2PWD\r\n",
        b"\xff\xfb\x01\xff\xfd\x03PWD\r\n",
        b"P\xff\xf1WD\r\n",
        b"pwd\r\n",
    ] {
        client.send(line);
        let reply = client.reply();
        assert_eq!(reply.code, 257, "{line:?}: {reply:?}");
    }
    client.send(b"MKD na\xc3\xafve\r\n");
    client.reply().expect(&[257]);
    assert!(scene.exists("na\u{ef}ve"));
    for line in [&b"\r\n"[..], b"\n", b"   \r\n", b"\0\r\n", b"\xfe\xfd\r\n", b"PWD\0\r\n", b"\xff\xff\r\n"] {
        client.send(line);
    }
    client.say("NOOP");
    let answers: Vec<_> = std::iter::from_fn(|| Some(client.reply())).take_while(|reply| reply.code != 200).collect();
    assert!(answers.len() <= 7 && answers.iter().all(|reply| reply.code >= 500), "{answers:?}");
}

#[test]
fn a_line_may_come_byte_by_byte_and_many_may_come_at_once() {
    let scene = Scene::new();
    let mut client = scene.login();
    for byte in b"MKD slow\r\nPWD\r\n" {
        client.send(&[*byte]);
    }
    assert_eq!([client.reply().code, client.reply().code], [257, 257]);
    client.send(b"PWD\r\nNOOP\r\nSYST\r\n".repeat(30).as_slice());
    for _ in 0..30 {
        assert_eq!([client.reply().code, client.reply().code, client.reply().code], [257, 200, 215]);
    }
}

#[test]
fn pipelined_commands_without_a_reader_use_bounded_memory_and_are_answered_in_order() {
    let mut scene = Scene::new();
    let mut client = scene.login();
    let before = scene.server.program.resident_kib();
    let stream = client.wire.stream().try_clone().expect("descriptors");
    let asked = 20_000;
    let sender = std::thread::spawn(move || {
        let mut stream = stream;
        for _ in 0..asked / 100 {
            stream.write_all(&b"HELP\r\nPWD\r\n".repeat(50)).expect("it is read in the end");
        }
    });
    // All that anybody keeps of it is in the sockets and two small buffers.
    let mut most = 0;
    for _ in 0..5 {
        scene.login().ask("PWD").expect(&[257]);
        most = most.max(scene.server.program.resident_kib());
    }
    for number in 0..asked {
        let code = client.reply().code;
        assert!(if number % 2 == 0 { code == 214 || code == 211 } else { code == 257 }, "answer {number}: {code}");
    }
    sender.join().expect("it sent all");
    assert!(most.saturating_sub(before) < 8192, "{} KiB", most - before);
    scene.check_served();
}

#[test]
fn other_protocols_on_the_port_are_told_off() {
    let mut scene = Scene::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0xff; 5000],
        &[0; 5000],
    ] {
        let mut client = Client::connect(scene.ftp);
        client.send(bytes);
        client.wire.stream().shutdown(Shutdown::Write).expect("open");
        let words = client.last_words();
        assert!(words.iter().all(|reply| reply.code >= 421), "{bytes:?}: {words:?}");
    }
    scene.check_served();
}

/// Replies to every command with every kind of argument are well formed, and nothing breaks.
#[test]
fn no_command_with_any_argument_breaks_a_session() {
    let mut scene = Scene::with(json!({"data_timeout": 1}), json!({}), &[]);
    scene.write("file", b"0123456789");
    let long = "x".repeat(5000);
    let arguments: [&[u8]; 14] = [
        b"",
        b" ",
        b" -",
        b" /",
        b" ..",
        b" file",
        b" \"",
        b" %s%n",
        b" \x1b[31m",
        b" \xff\xff",
        b" 99999999999999999999",
        b" -1",
        b" a b c d e",
        long.as_bytes(),
    ];
    let mut client = scene.login();
    for verb in [
        "USER",
        "PASS",
        "ACCT",
        "CWD",
        "CDUP",
        "SMNT",
        "REIN",
        "PORT",
        "PASV",
        "TYPE",
        "STRU",
        "MODE",
        "RETR",
        "STOR",
        "STOU",
        "APPE",
        "ALLO",
        "REST",
        "RNFR",
        "RNTO",
        "ABOR",
        "DELE",
        "RMD",
        "MKD",
        "PWD",
        "LIST",
        "NLST",
        "SITE",
        "SYST",
        "STAT",
        "HELP",
        "NOOP",
        "AUTH",
        "ADAT",
        "PROT",
        "PBSZ",
        "CCC",
        "MIC",
        "CONF",
        "ENC",
        "FEAT",
        "OPTS",
        "EPRT",
        "EPSV",
        "LPRT",
        "LPSV",
        "MDTM",
        "MFMT",
        "MFCT",
        "MFF",
        "SIZE",
        "MLST",
        "MLSD",
        "HASH",
        "XSHA256",
        "XCRC",
        "XMD5",
        "RANG",
        "AVBL",
        "LANG",
        "CLNT",
        "HOST",
        "CSID",
        "XPWD",
        "XCWD",
        "XMKD",
        "XRMD",
        "XCUP",
        "SITE CHMOD",
        "SITE QUOTA",
        "SITE HELP",
        "SITE UTIME",
        "OPTS MLST",
        "OPTS UTF8",
        "OPTS HASH",
        "COMB",
        "DSIZ",
    ] {
        for argument in arguments {
            if verb == "AUTH" && argument.is_empty() {
                continue;
            }
            let mut reply = client.ask_bytes(&[verb.as_bytes(), argument].concat());
            // Text only, and never the end of the session.
            while reply.code < 200 {
                reply = client.reply();
            }
            assert!(reply.code != 421, "{verb} {}: {reply:?}", String::from_utf8_lossy(argument));
            // A path is told as it is, so that it can be used; nothing else a peer sent comes back raw.
            let clean = reply.lines.iter().all(|line| !line.contains(['\x1b', '\x07']));
            assert!(clean || [257, 250, 211, 212, 213].contains(&reply.code), "{verb}: {reply:?}");
        }
    }
    drop(client);
    scene.check_served();
}

// ---- Paths (threats 1 to 12) --------------------------------------------------------------

/// Every file and directory below, with what is in it.
pub(crate) fn snapshot(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        let content = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap_or_default() };
        seen.push((path.to_string_lossy().into_owned(), content));
        if path.is_dir() {
            seen.extend(snapshot(&path));
        }
    }
    seen.sort();
    seen
}

/// Tries everything that names `path`; nothing of what is there comes back.
#[track_caller]
fn try_everything(client: &mut Client, path: &str) {
    for verb in [
        "CWD",
        "SIZE",
        "MDTM",
        "MLST",
        "STAT",
        "HASH",
        "XSHA256",
        "AVBL",
        "MFMT 20200101000000",
        "SITE CHMOD 777",
        "MKD",
    ] {
        let reply = client.ask(&format!("{verb} {path}"));
        assert!(!reply.lines.concat().contains("secret inside"), "{verb} {path}: {reply:?}");
        client.ask("CWD /").expect(&[250]);
    }
    for verb in ["RETR", "LIST", "NLST", "MLSD"] {
        if let Ok(data) = client.try_open(&format!("{verb} {path}")) {
            let got = data.read_all();
            assert!(
                !String::from_utf8_lossy(&got).contains("inside"),
                "{verb} {path}: {}",
                String::from_utf8_lossy(&got)
            );
            client.reply();
        }
    }
    for verb in ["STOR", "APPE"] {
        client.put(&format!("{verb} {path}"), b"bad");
    }
    if client.ask(&format!("RNFR {path}")).code == 350 {
        client.ask("RNTO /stolen");
        client.ask("RNFR /stolen");
        client.ask(&format!("RNTO {path}"));
    }
    for verb in ["RMD", "DELE"] {
        client.ask(&format!("{verb} {path}"));
    }
}

#[test]
fn no_spelling_of_a_path_leads_out_with_any_command() {
    let mut scene = Scene::new();
    let outside = scene.place.path("outside");
    fs::create_dir_all(outside.join("folder")).expect("ours");
    fs::write(outside.join("secret"), b"secret inside").expect("ours");
    fs::write(outside.join("folder/inside"), b"secret inside").expect("ours");
    scene.write("folder/deep/file", b"x");
    let before = snapshot(&outside);
    let absolute = outside.to_str().expect("UTF-8").to_string();
    let mut client = scene.login();
    for spelling in [
        "../../outside",
        "/../../outside",
        "//..//..//outside/",
        "./.././../outside",
        "folder/../../../outside",
        "/folder/deep/../../../../../outside",
        "\\..\\..\\outside",
        "..\\..\\outside",
        "%2e%2e/%2e%2e/outside",
        &absolute,
        "~",
        "~root",
        "~/../../outside",
        "..",
        "...",
        "//",
    ] {
        for path in [spelling.to_string(), format!("{spelling}/secret"), format!("{spelling}/new")] {
            try_everything(&mut client, &path);
            assert!(snapshot(&outside) == before, "{path}");
        }
    }
    drop(client);
    assert_eq!(fs::read_dir(scene.place.path("homes")).expect("there").count(), 1, "nothing is made beside the home");
    scene.check_ledger();
    scene.check_served();
}

#[test]
fn no_command_goes_through_a_link_that_leads_out() {
    let mut scene = Scene::new();
    let outside = scene.place.path("outside");
    fs::create_dir_all(outside.join("folder")).expect("ours");
    fs::write(outside.join("secret"), b"secret inside").expect("ours");
    scene.write("folder/file", b"x");
    let before = snapshot(&outside);
    let mut client = scene.login();
    for (link, target) in [
        ("absolute", outside.to_str().expect("UTF-8")),
        ("relative", "../../outside"),
        ("folder/up", "../../../outside"),
        ("loop", "loop"),
    ] {
        symlink(target, scene.home(link)).expect("ours");
        for below in ["secret", "folder", "new", "folder/new", ""] {
            let path = if below.is_empty() { format!("/{link}/.") } else { format!("/{link}/{below}") };
            try_everything(&mut client, &path);
            assert!(snapshot(&outside) == before, "{path}");
        }
    }
    // The links themselves can be replaced and removed.
    client.stores("absolute", b"mine");
    scene.holds("absolute", b"mine");
    assert!(!scene.home("absolute").is_symlink());
    // Removing it by a path that ends in it may have worked already.
    let _ = symlink("../../outside", scene.home("relative"));
    client.ask("DELE relative").expect(&[250]);
    assert!(snapshot(&outside) == before);
    drop(client);
    scene.check_served();
}

#[test]
fn pipes_and_sockets_are_refused_and_block_nobody() {
    let mut scene = Scene::new();
    assert!(Command::new("mkfifo").arg(scene.home("pipe")).status().expect("coreutils").success());
    let _socket = UnixListener::bind(scene.home("socket")).expect("ours");
    let mut client = scene.login();
    for name in ["pipe", "socket"] {
        client.try_open(&format!("RETR {name}")).err().expect("no file").expect(&[550, 553]);
        client.ask(&format!("HASH {name}")).expect(&[550, 553]);
        let reply = client.put(&format!("APPE {name}"), b"x");
        assert!(reply.code >= 400 || scene.home(name).is_file(), "{reply:?}");
    }
    drop(client);
    scene.check_served();
}

#[test]
fn staging_cannot_be_named() {
    let mut scene = Scene::new();
    let mut client = scene.login();
    let mut data = client.open("STOR file");
    data.write(&pattern(1, 2 << 20));
    scene.wait_for_part(1 << 20);
    data.reset();
    client.reply();
    let parts = scene.parts();
    symlink(".berth", scene.home("link")).expect("ours");
    let name = fs::read_dir(scene.home(".berth")).expect("made").next().expect("a part").expect("readable").file_name();
    let name = name.to_str().expect("hexadecimal").to_string();
    for directory in [".berth", "/.berth", "./.berth/", "x/../.berth", "link/."] {
        for path in [directory.to_string(), format!("{directory}/{name}"), format!("{directory}/new")] {
            // What names the link itself could remove that.
            let verbs = ["CWD", "SIZE", "MKD", "HASH", "MLST", "SITE CHMOD 777", "DELE", "RMD"];
            for verb in &verbs[..if path == "link/." { 1 } else { verbs.len() }] {
                let reply = client.ask(&format!("{verb} {path}"));
                assert!(reply.code >= 400, "{verb} {path}: {reply:?}");
            }
            for verb in ["RETR", "MLSD", "STOR", "APPE"] {
                if path != "link/." || verb == "MLSD" {
                    assert!(client.try_open(&format!("{verb} {path}")).is_err(), "{verb} {path}");
                }
            }
        }
    }
    for pattern in ["NLST .*", "NLST .berth/*", "LIST -a", "NLST -a", "MLSD", "NLST *"] {
        let text = match client.try_open(pattern) {
            Ok(data) => {
                let text = String::from_utf8_lossy(&data.read_all()).into_owned();
                client.reply();
                text
            }
            Err(_) => continue,
        };
        assert!(!text.replace("-> .berth", "").contains(".berth") && !text.contains(&name), "{pattern}: {text}");
    }
    assert_eq!(scene.parts(), parts);
    drop(client);
    scene.check_served();
}

#[test]
fn names_of_any_bytes_are_one_line_and_come_back() {
    let mut scene = Scene::new();
    let mut client = scene.login();
    for name in [
        &b"esc\x1b]0;x\x07"[..],
        b"tab\there",
        b"quote\"d",
        b"back\\slash",
        b"\xc3\x28",
        b"cr\r\0here",
        b"*?[a]",
        b"-la",
        b"\x01\x7f",
    ] {
        let made = client.ask_bytes(&[b"MKD ", name].concat()).expect(&[257]);
        assert!(!made.text().contains(['\x1b', '\x07', '\x01']) || made.text().starts_with('"'), "{made:?}");
        client.ask_bytes(&[b"CWD ", name].concat()).expect(&[250]);
        client.ask("PWD").expect(&[257]);
        client.ask("CWD /").expect(&[250]);
        let on_disk: Vec<u8> = name.iter().copied().filter(|&byte| byte != 0).collect();
        assert!(scene.home("").join(std::ffi::OsStr::from_bytes(&on_disk)).is_dir(), "{on_disk:?}");
    }
    client.ask_bytes(b"MKD nul\0inside").expect(&[257, 500, 501, 550, 553]);
    client.ask(&format!("MKD {}", "x".repeat(256))).expect(&[501, 550, 553]);
    client.ask(&format!("MKD {}", "x".repeat(255))).expect(&[257]);
    drop(client);
    scene.check_served();
}

#[test]
fn patterns_that_could_take_for_ever_do_not() {
    let mut scene = Scene::new();
    for number in 0..200 {
        scene.write(&format!("{}{number}", "a".repeat(200)), b"");
    }
    let mut client = scene.login();
    let pattern = format!("NLST {}b", "a*".repeat(100));
    match client.try_open(&pattern) {
        Ok(data) => {
            assert_eq!(data.read_all(), b"");
            client.reply();
        }
        Err(refusal) => drop(refusal.expect(&[450, 501, 550])),
    }
    for pattern in ["*/*/*/*/*/*/*/*", "[", "[a", "[!", "{a,b,c}", "**", "?", "\\", "[z-a]"] {
        if let Ok(data) = client.try_open(&format!("NLST {pattern}")) {
            let _ = data.read_all();
            client.reply();
        }
    }
    drop(client);
    scene.check_served();
}

#[test]
fn a_thousand_levels_are_entered_listed_and_left() {
    let scene = Scene::new();
    let mut client = scene.login();
    let levels = tries(100, 300);
    for level in 0..levels {
        client.ask("MKD ten-letters").expect(&[257]);
        assert_eq!(client.ask("CWD ten-letters").code, 250, "level {level}");
    }
    assert_eq!(client.ask("PWD").expect(&[257]).text().matches("ten-letters").count(), levels);
    assert_eq!(client.list("NLST"), [""; 0]);
    for _ in 0..levels {
        client.ask("CDUP").expect(&[200, 250]);
        client.ask("RMD ten-letters").expect(&[250]);
    }
    scene.check_ledger();
}

// ---- Offsets (threats 20 and 49) ----------------------------------------------------------

#[test]
fn offsets_that_cannot_be_are_refused_and_make_no_hole() {
    let scene = Scene::new();
    scene.write("file", b"0123456789");
    let mut client = scene.login();
    for at in [
        "-1",
        "11",
        "4611686018427387904",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e3",
        "0x5",
    ] {
        for command in ["RETR file", "STOR file", "APPE file", "STOR new"] {
            let reply = client.ask(&format!("REST {at}"));
            if reply.code == 501 {
                continue;
            }
            reply.expect(&[350, 501, 504, 554]);
            match client.try_open(command) {
                Ok(data) => {
                    data.finish();
                    let reply = client.reply();
                    // What APPE does with an offset is its own; never a hole.
                    assert!(reply.code >= 400 || command.starts_with("APPE"), "REST {at}, {command}: {reply:?}");
                }
                Err(refusal) => drop(refusal.expect(&[450, 501, 550, 551, 554])),
            }
            client.ask("REST 0").expect(&[350]);
            scene.holds("file", b"0123456789");
            assert!(!scene.exists("new"));
        }
    }
    scene.check_ledger();
}

#[test]
fn allo_reserves_nothing_for_invalid_numbers() {
    let scene = Scene::with(json!({}), json!({}), &["--quota", "1M"]);
    let mut client = scene.login();
    for size in ["-1", "18446744073709551615", "18446744073709551616", "9223372036854775808", "1.5", "", "1 R", "1 R x"]
    {
        client.ask(&format!("ALLO {size}")).expect(&[200, 202, 501, 504, 552]);
        client.ask("ALLO 0").expect(&[200, 202]);
    }
    client.stores("file", b"x");
    scene.check_ledger();
    // Nor more than any file has, where there is no quota: nobody else could promise anything then.
    let scene = Scene::new();
    let mut client = scene.login();
    for size in ["9223372036854775808", "18446744073709551615"] {
        client.ask(&format!("ALLO {size}")).expect(&[501]);
    }
    client.stores("file", b"x");
}

// ---- Connections (threats 19, 36, 38, 48, 50, 51) ------------------------------------------

#[test]
fn a_login_cut_at_any_byte_does_not_log_in() {
    let mut scene = Scene::new();
    let talk = format!("USER ann\r\nPASS {PASSWORD}\r\nMKD d\r\n");
    for count in 0..talk.len() {
        for is_reset in [false, true] {
            let mut client = Client::connect(scene.ftp);
            client.send(&talk.as_bytes()[..count]);
            if is_reset {
                reset(client.wire.stream());
            } else {
                client.wire.stream().shutdown(Shutdown::Write).expect("open");
                client.last_words();
            }
        }
    }
    // The whole line but for its last byte is none: LF ends it.
    assert!(!scene.exists("d"));
    scene.check_served();
}

#[test]
fn a_handshake_reset_at_any_byte_costs_nothing() {
    let mut scene = Scene::new();
    // The first flight of a client, as it is sent.
    let tls = super::tls::config(&[13], true);
    let name = rustls::pki_types::ServerName::try_from("berth").expect("a name");
    let mut flight = Vec::new();
    rustls::ClientConnection::new(tls, name).expect("a client").write_tls(&mut flight).expect("memory");
    for count in (0..=flight.len()).step_by(if tries(0, 1) == 1 { 1 } else { 7 }) {
        let mut client = Client::connect(scene.ftp);
        client.ask("AUTH TLS").expect(&[234]);
        client.send(&flight[..count]);
        reset(client.wire.stream());
    }
    scene.check_served();
    let before = scene.server.program.ticks();
    scene.login().ask("PWD").expect(&[257]);
    assert!(scene.server.program.ticks() - before < 100, "it spins");
}

#[test]
fn silent_unauthenticated_clients_lock_nobody_out() {
    let mut scene = Scene::with(json!({}), json!({"limits": {"strangers": 50}}), &[]);
    let mut member = scene.login();
    let crowd: Vec<_> = (0..100).map(|_| stream_to(scene.ftp)).collect();
    member.ask("PWD").expect(&[257]);
    scene.login().ask("PWD").expect(&[257]);
    drop(crowd);
    scene.check_served();
}

#[test]
fn sessions_that_do_nothing_cost_little() {
    let mut scene = Scene::new();
    let before = scene.server.program.resident_kib();
    let mut sessions: Vec<_> = (0..300).map(|_| scene.login()).collect();
    let grown = scene.server.program.resident_kib().saturating_sub(before);
    assert!(grown < 300 * 24, "{grown} KiB");
    for client in &mut sessions {
        client.ask("PWD").expect(&[257]);
    }
    drop(sessions);
    scene.check_served();
}

#[test]
fn a_reader_that_never_reads_keeps_nobody_from_anything() {
    let mut scene = Scene::new();
    scene.write("large", &vec![1; 48 << 20]);
    let mut stuck: Vec<_> = (0..8).map(|_| scene.login()).collect();
    let transfers: Vec<_> = stuck.iter_mut().map(|client| client.open("RETR large")).collect();
    let before = scene.server.program.resident_kib();
    let mut client = scene.login();
    client.stores("small", b"content");
    assert_eq!(client.get("RETR small"), b"content");
    assert!(scene.server.program.resident_kib() < before + 8192);
    drop((transfers, stuck, client));
    scene.check_served();
}

#[test]
fn user_in_the_middle_of_a_session_changes_nothing() {
    let scene = Scene::new();
    scene.place.add("ben", &[]);
    fs::write(scene.place.home("ben", "secret"), b"of ben").expect("ours");
    let mut client = scene.login();
    client.ask("CWD /").expect(&[250]);
    let mut data = client.open("STOR file");
    client.say("USER ben");
    client.say(&format!("PASS {PASSWORD}"));
    data.write(b"of ann");
    data.finish();
    // Answered behind the transfer, or while it runs.
    let mut codes: Vec<u16> = (0..3).map(|_| client.reply().code).collect();
    codes.sort_unstable();
    assert_eq!(codes[0], 226, "{codes:?}");
    assert!(codes.iter().all(|&code| code != 331), "{codes:?}");
    scene.holds("file", b"of ann");
    assert_eq!(client.list("NLST"), ["file"]);
}

#[test]
fn two_transfers_at_once_on_one_session_are_one_behind_the_other() {
    let scene = Scene::new();
    scene.write("large", &vec![7; 20 << 20]);
    let mut client = scene.login();
    let data = client.open("RETR large");
    client.send(b"RETR large\r\nSTOR other\r\nPWD\r\n");
    assert_eq!(data.read_all().len(), 20 << 20);
    let codes: Vec<u16> = (0..4).map(|_| client.reply().code).collect();
    assert_eq!(codes, [226, 425, 425, 257]);
    assert!(!scene.exists("other"));
}

#[test]
fn a_hundred_aborts_in_a_row_leave_an_ordinary_session_and_no_descriptor() {
    let scene = Scene::new();
    scene.write("large", &vec![7; 20 << 20]);
    let mut client = scene.login();
    let before = scene.server.program.descriptors();
    for _ in 0..tries(30, 300) {
        let mut data = client.open("RETR large");
        data.read_exact(1000);
        client.say("ABOR");
        client.reply().expect(&[426]);
        client.reply().expect(&[225, 226]);
    }
    wait_until("nothing is left open", || scene.server.program.descriptors() <= before);
    client.stores("small", b"x");
}

#[test]
fn a_session_cannot_use_another_sessions_data_connection() {
    let scene = Scene::new();
    scene.place.add("ben", &[]);
    fs::write(scene.place.home("ben", "secret"), b"of ben").expect("ours");
    let (mut ann, mut ben) = (scene.login(), Client::login(scene.ftp, "ben"));
    let (first, second) = (ann.passive(), ben.passive());
    assert_ne!(first.port(), second.port());
    let (mut stream, other) = (stream_to(first), stream_to(second));
    ben.say("RETR secret");
    assert_eq!(ben.begin_now(other).read_all(), b"of ben");
    ben.reply().expect(&[226]);
    ann.say("NLST");
    ann.reply().expect(&[150]);
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("a whole stream");
    assert_eq!(got, b"");
    ann.reply().expect(&[226]);
}
