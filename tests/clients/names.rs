//! Each client finds every file in a home whose names are hard to parse.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::time::{Duration, UNIX_EPOCH};

use super::Scene;
use crate::support::PASSWORD;
use crate::support::needs::{CURL, LFTP, NCFTP, PYTHON, RCLONE, tests};

tests! {
    [CURL, PYTHON]
        curl_lists_every_name_and_its_wildcards_take_the_listing;
    [LFTP]
        lftp_lists_and_mirrors_every_name;
    [RCLONE]
        rclone_lists_every_name_once_with_and_without_mlsd;
    [NCFTP]
        ncftp_lists_every_name_and_fetches_a_tree;
}

const DIRECTORIES: [&str; 6] = ["-old", "-la", "dir[1]", "{a,b}", "st*r", "say \"hi\""];
const FILES: [&str; 18] = [
    "-file.txt",
    "[x].txt",
    "x.txt",
    "*",
    "a?b",
    "~ann",
    "\"quoted\"",
    "trail ",
    "two  blanks",
    "back\\slash",
    "gr\u{fc}\u{df}e",
    "a -> b",
    "-",
    "--",
    "a=b; c",
    "total 5",
    "old",
    "large",
];
const LINKS: [(&str, &str); 4] = [("x.txt", "link"), (".", "loop"), ("/etc", "out"), ("none", "dangling")];

/// The home, and the names in its directory `odd` in order.
fn scene() -> (Scene, Vec<String>) {
    let scene = Scene::new();
    for directory in DIRECTORIES {
        fs::create_dir_all(scene.home("odd").join(directory)).expect("writable");
        fs::write(scene.home("odd").join(directory).join("inner"), directory).expect("writable");
    }
    for file in FILES {
        fs::write(scene.home("odd").join(file), file).expect("writable");
    }
    for (target, name) in LINKS {
        symlink(target, scene.home("odd").join(name)).expect("ours");
    }
    // No bytes on disk, but a number of 13 digits; and times before and long after.
    let open = |name: &str| File::options().write(true).open(scene.home("odd").join(name)).expect("there");
    open("large").set_len(1 << 41).expect("sparse files");
    let long = Duration::from_secs(500_000_000);
    open("old").set_times(FileTimes::new().set_modified(UNIX_EPOCH - long)).expect("ours");
    open("x.txt").set_times(FileTimes::new().set_modified(UNIX_EPOCH + 10 * long)).expect("ours");
    let links = LINKS.iter().map(|(_, name)| *name);
    let mut names: Vec<String> = DIRECTORIES.into_iter().chain(FILES).chain(links).map(str::to_string).collect();
    names.sort();
    (scene, names)
}

/// The lines of a program's output in order, each without the mark of a directory or link.
fn lines(output: &str) -> Vec<String> {
    let lines = output.lines().map(|line| line.strip_prefix("./").unwrap_or(line).trim_end_matches(['/', '@']));
    let mut lines: Vec<String> = lines.map(str::to_string).collect();
    lines.sort();
    lines
}

fn curl_lists_every_name_and_its_wildcards_take_the_listing() {
    let (scene, names) = scene();
    let login = format!("ann:{PASSWORD}");
    let mut command = scene.client("curl");
    command.args(["-sSg", "-u", &login, "--list-only", &format!("ftp://{}/odd/", scene.ftp)]);
    assert_eq!(lines(&scene.place.run(command).expect_code(0).stdout), names);
    let mut command = scene.client("curl");
    command.args(["-sSg", "-u", &login, "--list-only", &format!("ftp://{}/odd/-old/", scene.ftp)]);
    assert_eq!(lines(&scene.place.run(command).expect_code(0).stdout), ["inner"]);
    let mut command = scene.client("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/libcurl_wildcard.py"));
    command.args([&format!("ftp://{}/odd/*", scene.ftp), &login]);
    let output = scene.place.run(command).expect_code(0).stdout;
    let mut found: Vec<_> =
        output.lines().map(|line| line.split_once(' ').expect("kind and name").1.to_string()).collect();
    found.sort();
    // Its own pattern `*` leaves out nothing but what begins with a dot.
    assert_eq!(found, names);
}

fn lftp_lists_and_mirrors_every_name() {
    let (scene, names) = scene();
    let run = |script: &str| {
        let mut command = scene.client("lftp");
        let settings = "set cmd:fail-exit yes; set ftp:ssl-allow no; set net:max-retries 1";
        command.args(["--norc", "-e", &format!("{settings}; {script}; exit"), "-u", &format!("ann,{PASSWORD}")]);
        command.arg(format!("ftp://{}", scene.ftp));
        scene.place.run(command).expect_code(0).stdout
    };
    assert_eq!(lines(&run("cd odd; nlist")), names);
    for mlsd in ["yes", "no"] {
        run(&format!("set ftp:use-mlsd {mlsd}; mirror -X large odd copy"));
        let copied = fs::read_dir(scene.place.here("copy")).expect("copied");
        let mut copied: Vec<String> =
            copied.map(|entry| entry.expect("one").file_name().into_string().expect("UTF-8")).collect();
        copied.push("large".into());
        copied.sort();
        assert_eq!(copied, names, "MLSD {mlsd}");
        for directory in DIRECTORIES {
            let inner = fs::read(scene.place.here("copy").join(directory).join("inner")).expect("copied");
            assert_eq!(inner, directory.as_bytes());
        }
        fs::remove_dir_all(scene.place.here("copy")).expect("ours");
    }
}

fn rclone_lists_every_name_once_with_and_without_mlsd() {
    let (scene, names) = scene();
    for options in [&[][..], &["--ftp-disable-mlsd"]] {
        let words = [&["lsf", "--ftp-encoding", "Slash", "berth:odd"][..], options].concat();
        let ended = scene.place.run(scene.rclone(&[], &words)).expect_code(0);
        assert_eq!(lines(&ended.stdout), names, "{options:?}");
        let words = [&["lsf", "-R", "--files-only", "--ftp-encoding", "Slash", "berth:odd"][..], options].concat();
        let ended = scene.place.run(scene.rclone(&[], &words)).expect_code(0);
        assert_eq!(ended.stdout.lines().count(), names.len(), "each folder has one file: {options:?} {ended:?}");
    }
}

fn ncftp_lists_every_name_and_fetches_a_tree() {
    let (scene, names) = scene();
    let login = ["-u", "ann", "-p", PASSWORD];
    for form in [&["-1"][..], &[]] {
        let mut command = scene.client("ncftpls");
        command.args(login).args(form).arg(format!("ftp://{}/odd/", scene.ftp));
        assert_eq!(lines(&scene.place.run(command).expect_code(0).stdout), names, "{form:?}");
    }
    let mut command = scene.client("ncftpget");
    let port = scene.ftp.port().to_string();
    command.args(login).args(["-R", "-V", "-P", &port, &scene.ftp.ip().to_string(), ".", "/odd/-old"]);
    scene.place.run(command).expect_code(0);
    assert_eq!(fs::read(scene.place.here("-old/inner")).expect("fetched"), b"-old");
}
