//! Names in FTP commands: an existing name takes precedence over options, patterns, quotes and times, and no byte
//! of it is lost in either direction.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::Scene;
use super::client::Client;

/// Names that a shell, a pattern, an option parser or Telnet would read in another way.
const ODD: [&[u8]; 24] = [
    b"-old",
    b"-la",
    b"-",
    b"--",
    b"-file.txt",
    b"-la x",
    b"*",
    b"st*r",
    b"a?b",
    b"[x].txt",
    b"dir[1]",
    b"{a,b}",
    b"~",
    b"~ann",
    b"\"quoted\"",
    b"say \"hi\"",
    b"back\\slash",
    b" lead",
    b"trail ",
    b"trail\t",
    b"two  blanks",
    b"20200101000000 x",
    b"caf\xe9 \xf0\xfa",
    b"tab\tx",
];

fn home(scene: &Scene, name: &[u8]) -> PathBuf {
    scene.home("").join(OsStr::from_bytes(name))
}

fn command(verb: &str, name: &[u8]) -> Vec<u8> {
    [verb.as_bytes(), b" ", name].concat()
}

/// A listing by a command that is no UTF-8, as lines.
#[track_caller]
fn list(client: &mut Client, command: &[u8]) -> Vec<Vec<u8>> {
    let text = client.get_bytes(command);
    text.split(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\r").map(<[u8]>::to_vec)).collect()
}

#[test]
fn a_directory_of_exactly_the_given_name_is_listed() {
    let scene = Scene::new();
    for name in ODD {
        fs::create_dir(home(&scene, name)).expect("ours");
        fs::write(home(&scene, name).join("inner"), name).expect("writable");
    }
    let mut client = scene.login();
    for name in ODD {
        let shown = name.escape_ascii();
        let names = list(&mut client, &command("NLST", name));
        assert_eq!(names, [[name, b"/inner"].concat()], "NLST {shown}");
        for verb in ["LIST", "LIST -la", "LIST --", "MLSD"] {
            let lines = list(&mut client, &command(verb, name));
            assert_eq!(lines.len(), 1, "{verb} {shown}: {lines:?}");
            assert!(lines[0].ends_with(b" inner"), "{verb} {shown}: {lines:?}");
        }
        for verb in ["STAT", "STAT -l"] {
            let reply = client.ask_bytes(&command(verb, name)).expect(&[212]);
            assert!(matches!(reply.inner(), [line] if line.ends_with(" inner")), "{verb} {shown}: {reply:?}");
        }
        client.ask_bytes(&command("CWD", name)).expect(&[250]);
        assert_eq!(client.list("NLST"), ["inner"], "CWD {shown}");
        client.ask("CDUP").expect(&[250]);
        client.ask_bytes(&command("MDTM", name)).expect(&[213]);
    }
}

#[test]
fn a_file_of_exactly_the_given_name_is_meant_by_every_command() {
    let scene = Scene::new();
    for (index, name) in ODD.iter().enumerate() {
        fs::write(home(&scene, name), vec![b'x'; 100 + index]).expect("writable");
    }
    // Neighbours that patterns, quotes or times would find.
    for name in ["star", "acb", "x.txt", "dir1", "quoted", "x", "trail", "lead"] {
        scene.write(name, b"another");
    }
    let mut client = scene.login();
    for (index, name) in ODD.iter().enumerate() {
        let (size, shown) = (100 + index, name.escape_ascii());
        assert_eq!(client.ask_bytes(&command("SIZE", name)).expect(&[213]).text(), size.to_string(), "{shown}");
        let lines = list(&mut client, &command("LIST", name));
        assert!(matches!(&lines[..], [line] if line.ends_with(name)), "LIST {shown}: {lines:?}");
        assert_eq!(list(&mut client, &command("NLST", name)), [name.to_vec()], "{shown}");
        let hash = client.ask_bytes(&command("HASH", name)).expect(&[213]);
        assert!(hash.text().contains(&format!(" 0-{size} ")), "{shown}: {hash:?}");
        let old = client.ask_bytes(&command("XSHA256", name)).expect(&[250]);
        assert!(hash.text().contains(old.text()), "{shown}: {hash:?} {old:?}");
        client.ask_bytes(&command("MDTM", name)).expect(&[213]);
        client.ask_bytes(&command("SITE CHMOD 600", name)).expect(&[200]);
        client.ask_bytes(&command("MFMT 20020203040506", name)).expect(&[213]);
        client.ask_bytes(&command("SITE UTIME 20010203040506", name)).expect(&[200]);
        let time = home(&scene, name).metadata().expect("there").modified().expect("one");
        assert_eq!(time, UNIX_EPOCH + Duration::from_secs(981_173_106), "{shown}");
        assert_eq!(client.get_bytes(&command("RETR", name)).len(), size, "{shown}");
        client.ask_bytes(&command("RNFR", name)).expect(&[350]);
        client.ask("RNTO moved").expect(&[250]);
        client.ask("RNFR moved").expect(&[350]);
        client.ask_bytes(&command("RNTO", name)).expect(&[250]);
        client.ask_bytes(&command("DELE", name)).expect(&[250]);
        assert!(!home(&scene, name).exists(), "{shown}");
    }
    let left = fs::read_dir(scene.home(""))
        .expect("there")
        .filter(|entry| entry.as_ref().expect("one").file_name() != ".berth");
    assert_eq!(left.count(), 8, "no neighbour was touched");
}

#[test]
fn every_byte_of_a_name_reaches_each_reply() {
    let scene = Scene::new();
    for name in ["trail ", "trail\t", " lead", "two  \t blanks \t "] {
        scene.write(name, b"x");
    }
    let mut client = scene.login();
    for name in ["trail ", "trail\t", " lead", "two  \t blanks \t "] {
        let facts = client.ask(&format!("MLST {name}")).expect(&[250]);
        assert!(facts.inner()[0].ends_with(&format!("; /{name}")), "{facts:?}");
        let status = client.ask(&format!("STAT {name}")).expect(&[213]);
        assert!(status.inner()[0].ends_with(&format!(" {name}")), "{status:?}");
        let refusal = client.ask(&format!("CWD {name}")).expect(&[550]);
        assert!(refusal.text().starts_with(&format!("/{}: ", name.replace('\t', "\\t"))), "{refusal:?}");
        let made = client.ask(&format!("MKD {name}d{name}")).expect(&[257]);
        assert!(made.text().starts_with(&format!("\"/{name}d{name}\"")), "{made:?}");
    }
    let all = client.ask("STAT /").expect(&[212]);
    assert!(all.inner().iter().any(|line| line.ends_with(" two  \t blanks \t ")), "{all:?}");
    for gone in ["trail", "lead", "two", "two  \t blanks"] {
        client.ask(&format!("MLST {gone}")).expect(&[550]);
        client.ask(&format!("STAT {gone}")).expect(&[550]);
    }
}

#[test]
fn a_carriage_return_of_a_name_reaches_each_reply() {
    let scene = Scene::new();
    for name in ["two\rparts", "end\r"] {
        scene.write(name, b"x");
        std::fs::create_dir(scene.home(&format!("folder {name}"))).expect("ours");
        symlink(name, scene.home(&format!("link {name}"))).expect("ours");
    }
    let mut client = scene.login();
    for name in ["two\rparts", "end\r"] {
        let sent = name.replace('\r', "\r\0");
        for (command, place) in [("MLST ", "; /"), ("STAT ", " "), ("STAT -F folder ", "")] {
            let told = client.ask(&format!("{command}{sent}"));
            assert!(place.is_empty() || told.inner()[0].ends_with(&format!("{place}{sent}")), "{told:?}");
        }
        let all = client.ask("STAT /").expect(&[212]);
        for end in [format!(" {sent}"), format!(" folder {sent}"), format!(" link {sent} -> {sent}")] {
            assert!(all.inner().iter().any(|line| line.ends_with(&end)), "{all:?}");
        }
        // Lines over a data connection have no way to write one.
        let shown = name.replace('\r', "?");
        assert_eq!(client.list(&format!("NLST {sent}")), [shown]);
    }
}

#[test]
fn a_byte_255_is_part_of_a_name_and_telnet_within_one_is_refused() {
    let scene = Scene::new();
    let mut client = scene.login();
    for (sent, made) in [
        (&b"\xff"[..], &b"\xff"[..]),
        (b"pay\xffs", b"pay\xffs"),
        (b"end\xff", b"end\xff"),
        (b"\xff\xff\xf1", b"\xff\xf1"),
        (b"\xf1\xf4\xfa\xfe", b"\xf1\xf4\xfa\xfe"),
    ] {
        client.ask_bytes(&command("MKD", sent)).expect(&[257]);
        assert!(home(&scene, made).is_dir(), "{}", sent.escape_ascii());
        client.ask_bytes(&command("RMD", sent)).expect(&[250]);
    }
    for refused in [&b"a\xff\xf1b"[..], b"a\xff\xfb\x01b", b"a\0b", b"a\0", b"\0"] {
        for verb in ["MKD", "STOR", "DELE", "LIST", "SITE CHMOD 600", "CWD"] {
            client.ask_bytes(&command(verb, refused)).expect(&[501]);
        }
    }
    assert_eq!(fs::read_dir(scene.home("")).expect("there").count(), 0);
    // What clients send before ABOR is no part of a name.
    client.send(b"\xff\xf4\xff\xf2ABOR\r\n");
    client.reply().expect(&[225, 226]);
    client.send(b"\xff\xf4\xffABOR\r\n");
    client.reply().expect(&[225, 226]);
}

#[test]
fn options_work_as_those_of_ls() {
    let scene = Scene::new();
    for (name, size, seconds) in
        [("a", 10, 4000), ("b", 3_000, 1000), ("c", 20, 3000), ("d/e/f", 1, 100), ("d/g", 7, 200), (".h", 1, 9000)]
    {
        scene.write(name, &vec![0; size]);
        set_time(&scene, name, seconds);
    }
    for (name, seconds) in [("d/e", 50), ("d", 2000)] {
        File::open(scene.home(name)).expect("there").set_times(times(seconds)).expect("ours");
    }
    let mut client = scene.login();
    let names = |client: &mut Client, command: &str| {
        let names = client.list(command).into_iter().map(|line| match command.contains("LIST") {
            true => line.rsplit(' ').next().unwrap_or_default().to_string(),
            false => line,
        });
        names.filter(|name| !name.starts_with('.')).collect::<Vec<_>>()
    };
    for (options, expected) in [
        ("", ["a", "b", "c", "d"]),
        ("-1", ["a", "b", "c", "d"]),
        ("-r", ["d", "c", "b", "a"]),
        ("-t", ["a", "c", "d", "b"]),
        ("-tr", ["b", "d", "c", "a"]),
        ("-t -r", ["b", "d", "c", "a"]),
        ("-S", ["b", "c", "a", "d"]),
        ("-rS", ["d", "a", "c", "b"]),
        ("-latr", ["b", "d", "c", "a"]),
        ("-St", ["a", "c", "d", "b"]),
    ] {
        for verb in ["LIST", "NLST"] {
            if verb == "NLST" && options.contains('l') {
                continue;
            }
            let command = format!("{verb} {options}");
            assert_eq!(names(&mut client, command.trim_end()), expected, "{command}");
            let with_pattern = format!("{} *", command.trim_end());
            assert_eq!(names(&mut client, &with_pattern), expected, "{with_pattern}");
        }
        let status = client.ask(&format!("STAT -l {options} /").replace("  ", " ")).expect(&[212]);
        let told: Vec<_> = status.inner().iter().map(|line| line.rsplit(' ').next().expect("one")).collect();
        let told: Vec<_> = told.into_iter().filter(|name| !name.starts_with('.')).collect();
        assert_eq!(told, expected, "STAT {options}");
    }
    assert_eq!(client.list("NLST -l"), client.list("LIST"));
    assert_eq!(client.list("NLST -d d"), ["d"]);
    assert!(matches!(&client.list("LIST -ld d")[..], [line] if line.starts_with('d') && line.ends_with(" d")));
    assert_eq!(client.list("NLST -CF d"), ["d/e/", "d/g"]);
    assert!(client.list("LIST -F").iter().any(|line| line.ends_with(" d/")));
    let tree = [".:", ".h", "a", "b", "c", "d", "", "./d:", "e", "g", "", "./d/e:", "f"];
    assert_eq!(client.list("NLST -R"), tree);
    let long: Vec<_> =
        client.list("LIST -R").iter().map(|line| line.rsplit(' ').next().expect("one").into()).collect::<Vec<String>>();
    assert_eq!(long, tree);
    assert_eq!(client.list("NLST -R d"), ["d:", "e", "g", "", "d/e:", "f"]);
    assert_eq!(client.list("NLST -R /d/"), ["/d:", "e", "g", "", "/d/e:", "f"]);
    assert_eq!(client.list("NLST -rR d"), ["d:", "g", "e", "", "d/e:", "f"]);
    assert_eq!(client.list("NLST -R a"), ["a"]);
    assert_eq!(client.list("NLST -R d*"), [".:", "d", "", "./d:", "e", "g", "", "./d/e:", "f"]);
    client.ask("CWD d").expect(&[250]);
    assert_eq!(client.list("NLST -R"), [".:", "e", "g", "", "./e:", "f"]);
}

#[test]
fn directories_of_a_tree_come_in_the_order_of_ls_and_links_are_not_followed() {
    let scene = Scene::new();
    for name in ["a/x/1", "a/y/2", "b/3", "c/z/4"] {
        scene.write(name, b"");
    }
    symlink(".", scene.home("loop")).expect("ours");
    symlink("a", scene.home("b/link")).expect("ours");
    let mut client = scene.login();
    let headings = |lines: Vec<String>| lines.into_iter().filter(|line| line.ends_with(':')).collect::<Vec<_>>();
    let sorted = [".:", "./a:", "./a/x:", "./a/y:", "./b:", "./c:", "./c/z:"];
    assert_eq!(headings(client.list("NLST -R")), sorted);
    let reversed = [".:", "./c:", "./c/z:", "./b:", "./a:", "./a/y:", "./a/x:"];
    assert_eq!(headings(client.list("NLST -Rr")), reversed);
    // However many there are, others are served meanwhile, and nothing of it is forgotten.
    for number in 0..3000 {
        fs::create_dir_all(scene.home(&format!("many/{number:04}/inner"))).expect("ours");
    }
    let lines = headings(client.list("NLST -R many"));
    assert_eq!(lines.len(), 1 + 2 * 3000);
    assert_eq!(
        (&lines[1][..], &lines[2][..], &lines[6000][..]),
        ("many/0000:", "many/0000/inner:", "many/2999/inner:")
    );
}

#[test]
fn an_option_that_is_not_known_is_refused_by_its_letter() {
    let scene = Scene::new();
    scene.write("file", b"x");
    let mut client = scene.login();
    for (line, letter) in [
        ("LIST -zzz", "-z"),
        ("LIST -laz", "-z"),
        ("NLST -q file", "-q"),
        ("LIST --all", "--"),
        ("LIST -file.txt", "-f"),
        ("NLST -x", "-x"),
    ] {
        let refusal = client.try_open(line).err().unwrap_or_else(|| panic!("{line} began")).expect(&[501, 504]);
        assert!(refusal.text().starts_with(&format!("{letter}:")), "{refusal:?}");
    }
    client.ask("STAT -z /").expect(&[501, 504]);
    client.ask("STAT -R /").expect(&[501, 504]);
}

fn times(seconds: u64) -> FileTimes {
    FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(1_500_000_000 + seconds))
}

fn set_time(scene: &Scene, name: &str, seconds: u64) {
    File::options().write(true).open(scene.home(name)).expect("there").set_times(times(seconds)).expect("ours");
}

/// `-l ..` and the like name no directory that a `..` behind it could leave again.
#[test]
fn options_before_a_path_with_dotdot_are_parsed() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.home("one/two/three")).expect("ours");
    scene.write("one/two/file", b"x");
    scene.write("one/two/\"a", b"y");
    let mut client = scene.login();
    client.ask("CWD one/two").expect(&[250]);
    for path in ["../..", "../../", "three/../../..", "/one/.."] {
        for options in ["-l", "-la", "-l -a", "-a --"] {
            let lines = client.list(&format!("LIST {options} {path}"));
            assert!(matches!(&lines[..], [line] if line.ends_with(" one")), "{options} {path}: {lines:?}");
            let names = client.list(&format!("NLST {} {path}", options.replace('l', "a")));
            let name = if path.ends_with('/') { format!("{path}one") } else { format!("{path}/one") };
            assert_eq!(names, [name], "{options} {path}");
            let told = client.ask(&format!("STAT {options} {path}")).expect(&[212]);
            assert!(matches!(told.inner(), [line] if line.ends_with(" one")), "{options} {path}: {told:?}");
        }
        let lines = client.list(&format!("LIST -d {path}"));
        assert!(matches!(&lines[..], [line] if line.ends_with(" /")), "{path}: {lines:?}");
    }
    let names = client.list("NLST -R ../two/three/..");
    assert_eq!(names[0], "../two/three/..:");
    client.ask("MDTM 20010101000000 three/../file").expect(&[213]);
    let changed = scene.home("one/two/file").metadata().expect("there").modified().expect("one");
    assert_eq!(changed.duration_since(UNIX_EPOCH).expect("after 1970").as_secs(), 978_307_200);
    client.ask("XSHA256 \"three/../file\" 0 1").expect(&[504]);
    // A directory that is really called so is meant, and what a path leads to through it.
    std::fs::create_dir(scene.home("one/two/-l three")).expect("ours");
    assert_eq!(client.list("NLST -l three/../..").len(), 1);
}

#[test]
fn a_file_named_like_a_time_and_a_path_takes_precedence() {
    let scene = Scene::new();
    let tail = "19990101000000 20000229123456 19990101000000 UTC";
    for name in ["a", "20010101000000 a", &format!("a {tail}")] {
        scene.write(name, b"x");
    }
    let mut client = scene.login();
    let seconds = |name: &str| {
        let time = scene.home(name).metadata().expect("there").modified().expect("one");
        time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
    };
    // MDTM with a time sets it only if no file has all of that as its name.
    client.ask("MDTM 20010101000000 a").expect(&[213]);
    assert_ne!(seconds("a"), 978_307_200);
    client.ask(&format!("SITE UTIME a {tail}")).expect(&[200]);
    assert_eq!(seconds("a"), 951_827_696);
    client.ask(&format!("SITE UTIME 20010101000000 a {tail}")).expect(&[200]);
    assert_eq!(seconds(&format!("a {tail}")), 978_307_200);
    client.ask(&format!("DELE a {tail}")).expect(&[250]);
    client.ask(&format!("SITE UTIME 20010101000000 a {tail}")).expect(&[200]);
    assert_eq!(seconds("20010101000000 a"), 951_827_696);
    client.ask("DELE 20010101000000 a").expect(&[250]);
    client.ask("MDTM 20010101000000 a").expect(&[213]);
    assert_eq!(seconds("a"), 978_307_200);
    client.ask("XSHA256 \"a\"").expect(&[250]);
    client.ask("XSHA256 \"a\" 0 1").expect(&[504]);
    scene.write("\"a\" 0 1", b"y");
    client.ask("XSHA256 \"a\" 0 1").expect(&[250]);
}
