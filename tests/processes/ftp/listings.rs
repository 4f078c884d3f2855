//! Listings, as programs parse them.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Scene;

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("a file", b"0123456789");
    scene.write("b.txt", b"x");
    scene.write("c.txt", b"");
    scene.write("folder/inner", b"abc");
    scene.write(".hidden", b"h");
    fs::create_dir(scene.home("empty")).expect("ours");
    scene
}

fn touch(scene: &Scene, path: &str, time: SystemTime) {
    File::options().write(true).open(scene.home(path)).expect("there").set_modified(time).expect("ours");
}

/// The fields of a line of `ls -l`: mode, links, owner, group, size, three of the date, name.
fn fields(line: &str) -> (Vec<&str>, &str) {
    let mut rest = line;
    let mut fields = Vec::new();
    for _ in 0..8 {
        let (field, after) = rest.split_once(' ').unwrap_or_else(|| panic!("too few fields: {line}"));
        fields.push(field);
        rest = if fields.len() < 8 { after.trim_start() } else { after };
    }
    (fields, rest)
}

#[test]
fn the_long_form_is_that_of_ls() {
    let scene = scene();
    fs::set_permissions(scene.home("b.txt"), fs::Permissions::from_mode(0o640)).expect("ours");
    touch(&scene, "b.txt", UNIX_EPOCH + Duration::from_secs(1_583_298_367));
    touch(&scene, "c.txt", SystemTime::now() + Duration::from_secs(400 * 24 * 3600));
    let lines = scene.login().list("LIST");
    let find = |name: &str| {
        let found = lines.iter().map(|line| fields(line)).find(|(_, it)| *it == name);
        found.unwrap_or_else(|| panic!("{name}: {lines:?}")).0
    };
    let old = find("b.txt");
    assert_eq!((old[0], old[4], &old[5..]), ("-rw-r-----", "1", &["Mar", "4", "2020"][..]));
    assert!(old[1].parse::<u32>().is_ok(), "{old:?}");
    let recent = find("a file");
    assert!(recent[0].starts_with("-rw") && recent[4] == "10" && recent[7].contains(':'), "{recent:?}");
    assert!(!find("c.txt")[7].contains(':'), "a date to come has its year");
    assert!(find("folder")[0].starts_with("drwx"));
    assert_eq!(find("empty")[0].len(), 10);
}

#[test]
fn listings_are_sorted_and_complete() {
    let scene = scene();
    let mut client = scene.login();
    let names = client.list("NLST");
    let mut visible: Vec<String> = names.iter().filter(|name| !name.starts_with('.')).cloned().collect();
    assert_eq!(visible, ["a file", "b.txt", "c.txt", "empty", "folder"]);
    visible.push(".hidden".into());
    let all = client.list("MLSD");
    let mut named: Vec<&str> = all.iter().map(|line| line.split_once("; ").expect("facts").1).collect();
    named.retain(|name| ![".", "..", "/"].contains(name));
    visible.sort();
    named.sort_unstable();
    assert_eq!(named, visible);
    for options in ["LIST -a", "LIST -la", "LIST -al", "LIST -l -a", "NLST -a"] {
        let lines = client.list(options);
        assert!(lines.iter().any(|line| line.ends_with(".hidden")), "{options}: {lines:?}");
        assert!(lines.iter().all(|line| !line.contains(".berth")), "{options}: {lines:?}");
    }
}

#[test]
fn a_directory_a_file_and_a_pattern_can_be_listed() {
    let scene = scene();
    let mut client = scene.login();
    for command in ["LIST folder", "LIST /folder", "LIST folder/", "LIST -la folder", "LIST -l /folder"] {
        let lines = client.list(command);
        assert!(lines.iter().any(|line| line.ends_with(" inner")), "{command}: {lines:?}");
    }
    assert!(client.list("LIST a file")[0].ends_with("a file"));
    assert_eq!(client.list("LIST b.txt").len(), 1);
    assert_eq!(client.list("LIST empty").iter().filter(|line| !line.ends_with('.')).count(), 0);
    assert_eq!(client.list("NLST empty"), [""; 0]);
    let inner = client.list("NLST folder");
    assert!(inner == ["inner"] || inner == ["folder/inner"], "{inner:?}");
    for (pattern, names) in [
        ("*.txt", &["b.txt", "c.txt"][..]),
        ("b*", &["b.txt"]),
        ("?.txt", &["b.txt", "c.txt"]),
        ("[bx].txt", &["b.txt"]),
    ] {
        assert_eq!(client.list(&format!("NLST {pattern}")), names, "{pattern}");
        assert_eq!(client.list(&format!("LIST {pattern}")).len(), names.len(), "{pattern}");
    }
    client.ask("CWD folder").expect(&[250]);
    assert_eq!(client.list("NLST"), ["inner"]);
    assert_eq!(client.list("NLST *"), ["inner"]);
}

#[test]
fn what_is_not_there_is_not_listed() {
    let scene = scene();
    let mut client = scene.login();
    // RFC 3659, section 7.2.1.
    client.try_open("MLSD b.txt").err().expect("no folder").expect(&[501]);
    for command in ["LIST none", "NLST none", "MLSD none", "MLSD b.txt/x", "LIST folder/none"] {
        client.try_open(command).err().unwrap_or_else(|| panic!("{command} began")).expect(&[450, 501, 550]);
    }
    for command in ["NLST *.none", "LIST *.none"] {
        match client.try_open(command) {
            Ok(data) => {
                assert_eq!(data.read_all(), b"");
                client.reply().expect(&[226]);
            }
            Err(refusal) => drop(refusal.expect(&[450, 550])),
        }
    }
    client.ask("PWD").expect(&[257]);
}

#[test]
fn machine_listings_are_exact() {
    let scene = scene();
    touch(&scene, "b.txt", UNIX_EPOCH + Duration::new(1_583_298_367, 0));
    fs::set_permissions(scene.home("b.txt"), fs::Permissions::from_mode(0o604)).expect("ours");
    let lines = scene.login().list("MLSD");
    let facts = |name: &str| {
        let line = lines.iter().find(|line| line.ends_with(&format!("; {name}")));
        line.unwrap_or_else(|| panic!("{name}: {lines:?}")).split_once("; ").expect("found").0.to_lowercase()
    };
    let file = facts("b.txt");
    for fact in ["type=file", "size=1", "modify=20200304050607", "unix.mode=0604"] {
        assert!(file.split(';').any(|it| it == fact), "{fact}: {file}");
    }
    let value = |facts: &str, name: &str| facts.split(';').find_map(|it| Some(it.strip_prefix(name)?.to_string()));
    let perm = value(&file, "perm=").expect("the fact");
    assert!(["a", "d", "f", "r", "w"].iter().all(|right| perm.contains(right)), "{perm}");
    let directory = facts("folder");
    let perm = value(&directory, "perm=").expect("the fact");
    assert!(["c", "d", "e", "f", "l", "m", "p"].iter().all(|right| perm.contains(right)), "{perm}");
    assert!(directory.contains("type=dir"), "{directory}");
    let unique: Vec<_> = ["b.txt", "c.txt", "folder"].iter().map(|name| value(&facts(name), "unique=")).collect();
    assert!(unique.iter().all(Option::is_some) && unique[0] != unique[1] && unique[1] != unique[2], "{unique:?}");
}

#[test]
fn ten_thousand_entries_are_listed_whole_in_every_form() {
    let scene = Scene::new();
    fs::create_dir(scene.home("many")).expect("ours");
    let names: Vec<String> = (0..10_000).map(|number| format!("entry {number:05}")).collect();
    for name in &names {
        File::create(scene.home("many").join(name)).expect("writable");
    }
    let mut client = scene.login();
    let listed = client.list("NLST many");
    let listed: Vec<&str> = listed.iter().map(|name| name.trim_start_matches("many/")).collect();
    assert!(listed == names);
    client.ask("CWD many").expect(&[250]);
    assert!(client.list("NLST") == names);
    let long: Vec<String> = client.list("LIST").iter().map(|line| fields(line).1.to_string()).collect();
    assert!(long == names);
    let machine = client.list("MLSD");
    let machine: Vec<&str> = machine
        .iter()
        .map(|line| line.split_once("; ").expect("facts").1)
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert!(machine == names);
    assert_eq!(client.list("NLST *0000").len(), 1);
}

#[test]
fn a_listing_nobody_reads_to_its_end_can_be_aborted() {
    let scene = Scene::new();
    fs::create_dir(scene.home("many")).expect("ours");
    for number in 0..20_000 {
        File::create(scene.home("many").join(format!("{number:0200}"))).expect("writable");
    }
    let mut client = scene.login();
    let mut data = client.open("LIST many");
    data.read_exact(1000);
    client.say("ABOR");
    // All of it may have fitted into the sockets on the way.
    client.reply().expect(&[226, 426]);
    client.reply().expect(&[225, 226]);
    drop(data);
    client.ask("PWD").expect(&[257]);
}

#[test]
fn one_entry_is_one_line_whatever_its_name() {
    let scene = Scene::new();
    for name in [
        &b"line\nbreak"[..],
        b"carriage\rreturn",
        b"both\r\n226 done",
        b"esc\x1b[31m",
        b"caf\xe9",
        b"-rw-r--r--",
        b" lead",
    ] {
        File::create(scene.home("").join(std::ffi::OsStr::from_bytes(name))).expect("writable");
    }
    let mut client = scene.login();
    for command in ["LIST", "NLST", "MLSD"] {
        let text = client.get(command);
        let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        let entries: Vec<_> = lines[..lines.len() - 1]
            .iter()
            .filter(|line| !line.ends_with(b"; .\r") && !line.ends_with(b"; ..\r"))
            .collect();
        assert_eq!(entries.len(), 7, "{command}: {}", String::from_utf8_lossy(&text));
        assert!(
            entries.iter().all(|line| line.iter().filter(|&&byte| byte == b'\r').count() == 1 && line.ends_with(b"\r"))
        );
    }
    // Names on the control connection break no line either.
    for command in ["STAT /", "STAT"] {
        client.ask(command).expect(&[211, 212, 213]);
    }
    client.ask("PWD").expect(&[257]);
}

#[test]
fn links_are_listed_as_what_they_are_or_lead_to_within_the_home() {
    let scene = scene();
    symlink("b.txt", scene.home("link")).expect("ours");
    symlink("/etc", scene.home("out")).expect("ours");
    symlink("none", scene.home("dangling")).expect("ours");
    let mut client = scene.login();
    let lines = client.list("LIST");
    let find = |name: &str| {
        lines
            .iter()
            .find(|line| fields(line).1.split(" -> ").next() == Some(name))
            .unwrap_or_else(|| panic!("{name}: {lines:?}"))
    };
    for name in ["link", "out", "dangling"] {
        assert!(find(name).starts_with(['l', '-']), "{lines:?}");
    }
    for command in ["CWD out", "LIST out/hosts", "MLSD out", "SIZE out/hosts", "STAT out/hosts"] {
        let reply = match command.split(' ').next() {
            Some("LIST" | "MLSD") => client.try_open(command).err().expect("it leads out"),
            _ => client.ask(command),
        };
        reply.expect(&[450, 550, 553]);
    }
    assert_eq!(scene.home("out").symlink_metadata().expect("there").size(), 4, "nobody touched it");
}

#[test]
fn a_dangling_symlink_is_listed_as_a_symlink_and_a_refusal_says_why() {
    let scene = scene();
    symlink("none", scene.home("dangling")).expect("ours");
    symlink("circle", scene.home("circle")).expect("ours");
    symlink("/etc", scene.home("out")).expect("ours");
    let mut client = scene.login();
    let facts = client.ask("MLST dangling").expect(&[250]);
    assert!(facts.inner()[0].to_lowercase().contains("slink"), "{facts:?}");
    let status = client.ask("STAT dangling").expect(&[213]);
    assert!(status.inner().iter().any(|line| line.contains("dangling")), "{status:?}");
    for command in ["LIST dangling", "NLST dangling"] {
        let lines = client.list(command);
        assert!(lines.len() == 1 && lines[0].contains("dangling"), "{command}: {lines:?}");
    }
    client.ask("CWD dangling").expect(&[550]);
    for (link, reason) in [("circle", "form a loop"), ("circle/x", "form a loop"), ("out", "outside your home")] {
        for command in ["MLST", "STAT", "CWD", "SIZE", "MDTM", "LIST", "NLST", "MLSD", "RETR"] {
            let line = format!("{command} {link}");
            let refusal = match command {
                "LIST" | "NLST" | "MLSD" | "RETR" => client.try_open(&line).err().expect("it is refused"),
                _ => client.ask(&line),
            };
            assert!(refusal.code == 550 && refusal.text().contains(reason), "{line}: {refusal:?}");
        }
    }
}

#[test]
fn two_sessions_list_at_once() {
    let scene = scene();
    let (mut one, mut two) = (scene.login(), scene.login());
    let (first, second) = (one.open("NLST"), two.open("NLST"));
    assert_eq!(second.read_all(), first.read_all());
    one.reply().expect(&[226]);
    two.reply().expect(&[226]);
}

#[test]
fn links_are_told_with_where_they_lead_unless_that_is_outside() {
    let scene = scene();
    for (target, name) in [
        ("b.txt", "link"),
        ("folder/inner", "deep"),
        ("../b.txt", "folder/up"),
        ("none", "dangling"),
        ("/etc/passwd", "out"),
        ("../../secret", "above"),
        ("folder/../../secret", "around"),
        ("b.txt", "arrow -> x"),
        ("b.txt", "blank "),
    ] {
        symlink(target, scene.home(name)).expect("ours");
    }
    let mut client = scene.login();
    let lines = [client.list("LIST"), client.list("LIST folder")].concat();
    for shown in ["link -> b.txt", "deep -> folder/inner", "up -> ../b.txt", "dangling -> none"] {
        assert!(lines.iter().any(|line| line.starts_with('l') && fields(line).1 == shown), "{shown}: {lines:?}");
    }
    for shown in ["out -> ?", "above -> ?", "around -> ?"] {
        assert!(lines.iter().any(|line| line.starts_with('l') && fields(line).1 == shown), "{shown}: {lines:?}");
    }
    // Programs would take these for links of another name, or give up the whole listing.
    for shown in ["arrow -> x", "blank "] {
        assert!(lines.iter().any(|line| line.starts_with('-') && fields(line).1 == shown), "{shown}: {lines:?}");
    }
    assert!(!lines.concat().contains("secret") && !lines.concat().contains("passwd"), "{lines:?}");
    let status = client.ask("STAT /").expect(&[212]);
    assert!(status.inner().iter().any(|line| line.ends_with(" link -> b.txt")), "{status:?}");
    assert!(client.list("NLST").iter().any(|name| name == "link"));
}
