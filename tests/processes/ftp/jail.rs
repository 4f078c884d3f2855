//! No path leads out of a home by FTP: siblings, homes that became links, directories that are exchanged with links,
//! renames. `hostile` has spellings, links and special files; `tests/in_memory/jail.rs` checks the native protocol.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};

use rustix::fs::{Mode, OFlags};

use super::Scene;
use super::client::Client;
use super::hostile::snapshot;
use super::uploads::{PART, interrupt, size};
use crate::support::effort::tries;
use crate::support::exchange_names::while_flipping;
use crate::support::random::Random;
use crate::support::{PASSWORD, pattern};

// ---- Homes (threats 3 and 6) --------------------------------------------------------------

#[test]
fn a_home_with_the_same_prefix_is_not_accessible() {
    let mut scene = Scene::new();
    for name in ["bob", "bob2"] {
        scene.place.add(name, &[]);
    }
    let sibling = scene.place.home("bob2", "");
    fs::write(sibling.join("secret"), b"of bob2").expect("ours");
    symlink("../bob2", scene.place.home("bob", "link")).expect("ours");
    symlink(&sibling, scene.place.home("bob", "direct")).expect("ours");
    let before = snapshot(&sibling);
    let mut client = Client::login(scene.ftp, "bob");
    for directory in ["/../bob2", "../bob2", "/../../homes/bob2", "2", "/2", "../bob/../bob2", "/link", "/direct"] {
        let path = format!("{directory}/secret");
        for verb in ["SIZE", "MDTM", "MLST", "STAT", "HASH", "DELE", "RNFR"] {
            client.ask(&format!("{verb} {path}")).expect(&[550]);
        }
        client.ask(&format!("CWD {directory}")).expect(&[550]);
        for verb in ["RETR", "LIST", "STOR", "APPE"] {
            client.try_open(&format!("{verb} {path}")).err().expect("another world").expect(&[550, 553]);
        }
    }
    assert!(snapshot(&sibling) == before);
    drop(client);
    scene.check_served();
}

#[test]
fn a_home_that_became_a_link_lets_nobody_in() {
    let mut scene = Scene::new();
    scene.place.add("ben", &[]);
    let elsewhere = scene.place.path("elsewhere");
    fs::create_dir(&elsewhere).expect("ours");
    fs::remove_dir(scene.place.home("ben", "")).expect("empty");
    symlink(&elsewhere, scene.place.path("homes/ben")).expect("ours");
    let mut client = Client::connect(scene.ftp);
    client.enter("ben", PASSWORD).expect(&[451, 530]);
    client.ask("MKD new").expect(&[530]);
    client.ask("EPSV").expect(&[530]);
    assert_eq!(snapshot(&elsewhere), []);
    drop(client);
    scene.check_served();
}

#[test]
fn a_home_that_is_moved_away_for_a_link_takes_its_session_along() {
    let scene = Scene::new();
    let (elsewhere, moved) = (scene.place.path("elsewhere"), scene.place.path("homes/moved"));
    fs::create_dir(&elsewhere).expect("ours");
    fs::write(elsewhere.join("secret"), b"of somebody else").expect("ours");
    let mut client = scene.login();
    client.stores("file", b"of ann");
    fs::rename(scene.home(""), &moved).expect("ours");
    symlink(&elsewhere, scene.place.path("homes/ann")).expect("ours");
    let before = snapshot(&elsewhere);
    assert_eq!(client.list("NLST"), ["file"]);
    client.try_open("RETR secret").err().expect("not in the home").expect(&[550]);
    client.stores("other", b"of ann, too");
    client.ask("DELE file").expect(&[250]);
    assert!(snapshot(&elsewhere) == before);
    assert_eq!(fs::read(moved.join("other")).expect("stored"), b"of ann, too");
    Client::connect(scene.ftp).enter("ann", PASSWORD).expect(&[451, 530]);
}

// ---- Renames (threat 7) -------------------------------------------------------------------

#[test]
fn nothing_moves_out_of_the_home_onto_it_or_into_itself() {
    let mut scene = Scene::new();
    let outside = scene.place.path("outside");
    fs::create_dir(&outside).expect("ours");
    scene.write("folder/file", b"inside");
    scene.write("folder/deep/other", b"inside");
    symlink("folder", scene.home("inside")).expect("ours");
    symlink(&outside, scene.home("out")).expect("ours");
    let before = (snapshot(&scene.home("")), snapshot(&outside));
    let mut client = scene.login();
    for from in ["/", "..", ".", "folder/..", "missing", "folder/missing", "out/x", ""] {
        assert!(client.ask(&format!("RNFR {from}")).code >= 500 || refuses(&mut client, "/new"), "{from}");
    }
    for (from, to) in [
        ("folder", "/"),
        ("folder", ".."),
        ("folder", "."),
        ("folder", "folder/deep/below"),
        ("folder", "folder/deep"),
        ("folder", "inside/deep/below"),
        ("folder", "folder/file"),
        ("folder/file", "folder/deep"),
        ("folder/file", "/../../outside/x"),
        ("folder/file", "out/x"),
        ("folder/file", "/missing/x"),
        ("folder/file", "folder/file/x"),
        ("folder/deep", "folder/file/x"),
        ("folder/file", ".berth"),
        ("folder/file", ".berth/x"),
        ("folder/file", ""),
    ] {
        client.ask(&format!("RNFR {from}")).expect(&[350]);
        assert!(refuses(&mut client, to), "{from} to {to}");
        client.ask("RNTO /again").expect(&[503]);
    }
    assert!((snapshot(&scene.home("")), snapshot(&outside)) == before);
    drop(client);
    scene.check_ledger();
    scene.check_served();
}

fn refuses(client: &mut Client, to: &str) -> bool {
    [501, 503, 550, 553].contains(&client.ask(&format!("RNTO {to}")).code)
}

#[test]
fn a_rename_onto_another_name_of_the_same_file_loses_nothing() {
    let scene = Scene::new();
    scene.write("a", b"x");
    fs::hard_link(scene.home("a"), scene.home("b")).expect("ours");
    let mut client = scene.login();
    for to in ["a", "b"] {
        client.ask("RNFR a").expect(&[350]);
        client.ask(&format!("RNTO {to}")).expect(&[250]);
        assert_eq!(client.get(&format!("RETR {to}")), b"x");
    }
    scene.check_ledger();
}

// ---- Races (threat 5) ---------------------------------------------------------------------

#[test]
fn a_directory_that_flips_to_a_link_outside_lets_nothing_through() {
    let mut scene = Scene::new();
    let outside = scene.place.path("outside");
    fs::create_dir(&outside).expect("ours");
    for name in ["victim", "one", "two"] {
        fs::write(outside.join(name), b"OUTSIDE").expect("ours");
    }
    let marks = || ["", "victim", "one"].map(|name| outside.join(name).metadata().expect("there").ctime_nsec());
    let before = (snapshot(&outside), marks());
    fs::create_dir(scene.home("real")).expect("ours");
    // By a handle, since the name may be that of the link just then.
    let inside = File::open(scene.home("real")).expect("ours");
    symlink(&outside, scene.home("link")).expect("ours");
    let make_victim = || {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY;
        let file = rustix::fs::openat(&inside, "victim", flags, Mode::RWXU).expect("made");
        rustix::io::write(&file, b"inside").expect("written");
    };
    make_victim();
    let mut client = scene.login();
    let (mut happened, mut refused) = (0, 0);
    while_flipping(&scene.home("real"), &scene.home("link"), || {
        let mut random = Random::new(5);
        for number in 0..tries(3000, 30_000) {
            let command = *random.pick(&COMMANDS);
            match carry_out(&mut client, command) {
                200..400 => happened += 1,
                550 | 553 | 451 => refused += 1,
                code => panic!("{command}: {code}"),
            }
            if number % 20 == 0 {
                make_victim();
            }
        }
    });
    assert!((snapshot(&outside), marks()) == before);
    assert!(happened > 100 && refused > 100, "no race: {happened} happened, {refused} refused");
    drop(client);
    scene.check_served();
}

const COMMANDS: [&str; 13] = [
    "SIZE real/victim",
    "RETR real/victim",
    "RETR real/victim",
    "MLSD real",
    "STAT real",
    "DELE real/victim",
    "MKD real/made",
    "RMD real/made",
    "RNFR real/victim",
    "STOR real/victim",
    "APPE real/victim",
    "MFMT 20200101000000 real/victim",
    "SITE CHMOD 640 real/victim",
];

/// The code a command ends with. Nothing that lies outside comes back.
fn carry_out(client: &mut Client, command: &str) -> u16 {
    match command.split(' ').next() {
        Some("RETR" | "MLSD") => match client.try_open(command) {
            Ok(data) => {
                let got = String::from_utf8(data.read_all()).expect("UTF-8");
                assert!(!got.contains("OUTSIDE") && !got.contains("; one"), "{command}: {got}");
                client.reply().code
            }
            Err(refusal) => refusal.code,
        },
        Some("STOR") => client.put(command, b"inside").code,
        Some("APPE") => client.put(command, b"").code,
        Some("RNFR") => match client.ask(command).code {
            350 => client.ask("RNTO real/moved").code,
            code => code,
        },
        _ => {
            let reply = client.ask(command);
            assert!(!reply.lines.concat().contains(" one") && !reply.text().starts_with('7'), "{command}: {reply:?}");
            reply.code
        }
    }
}

#[test]
fn the_staging_directory_is_not_reached_through_a_link_to_the_home() {
    let scene = Scene::new();
    let mut client = scene.login();
    symlink(".", scene.home("me")).expect("ours");
    interrupt(&scene, &mut client, "STOR file", &pattern(1, PART), PART);
    for command in
        ["RNFR me/.berth", "CWD me/.berth", "MLST me/.berth", "RMD me/.berth", "SIZE me/.berth", "MKD me/.berth"]
    {
        let reply = client.ask(command);
        assert!(reply.code >= 500, "{command}: {reply:?}");
    }
    for list in ["LIST -a me", "NLST me", "MLSD me"] {
        assert!(client.list(list).iter().all(|line| !line.contains(".berth")), "{list}");
    }
    assert_eq!(size(&mut client, "file"), PART);
}
