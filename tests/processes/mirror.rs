//! `mirror`: only what differs is transferred, and repeating it after an interruption completes the copy.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{XattrFlags, fsetxattr};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::process::{Ended, without_rights};
use crate::support::proxy::{OVER_SOCKETS, Proxy};
use crate::support::visit::Visit;
use crate::support::{pattern, target, wait_until};

impl Visit {
    fn mirror_command(&self, arguments: &[&str]) -> Command {
        self.command(&[&["mirror"], arguments].concat())
    }

    /// Runs `mirror`, which succeeds and has nothing to remark; its summary without the times.
    #[track_caller]
    fn mirror(&self, arguments: &[&str]) -> String {
        let ended = self.place.run(self.mirror_command(arguments)).expect_code(0);
        assert_eq!(ended.stderr, "", "{arguments:?}");
        summary(&ended)
    }

    fn mirror_fails(&self, code: i32, arguments: &[&str]) -> Ended {
        self.place.run(self.mirror_command(arguments)).expect_code(code)
    }
}

/// The last line without rate and time.
fn summary(ended: &Ended) -> String {
    let line = ended.stdout.lines().last().unwrap_or_default();
    let is_time = |part: &str| part.ends_with('s') && part.trim_end_matches(['m', 's']).ends_with(char::is_numeric);
    let counts = line.split(", ").filter(|part| !part.ends_with("/s") && !is_time(part));
    counts.collect::<Vec<_>>().join(", ")
}

/// A file with these bytes and an old time, its directories made.
fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    fs::write(path, content).expect("writable");
    set_time(path, 1_000_000_000);
}

fn set_time(path: &Path, seconds: u64) {
    let time = UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("ours");
}

/// Everything below a directory: content and time of each file, `None` for directories and links.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<(Vec<u8>, SystemTime)>> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("readable").path();
            let below = path.strip_prefix(root).expect("below").to_path_buf();
            if path.is_symlink() {
                found.insert(below, None);
            } else if path.is_dir() {
                found.insert(below, None);
                directories.push(path);
            } else {
                let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("readable");
                found.insert(below, Some((fs::read(&path).expect("readable"), modified)));
            }
        }
    }
    found
}

/// A tree with directories, an empty one too, odd names and files of several sizes.
fn plant(root: &Path) {
    for (name, size) in
        [("a", 0), ("b/c", 1), ("b/d/e", 70_000), ("b/d/f \u{65e5}\u{672c}", 10), (".hidden", 5), ("b-c", 3)]
    {
        write(&root.join(name), &pattern(size, size as usize));
    }
    fs::create_dir_all(root.join("empty/inner")).expect("writable");
}

#[test]
fn a_tree_becomes_the_image_of_another_in_both_directions() {
    let visit = Visit::new(&[]);
    plant(&visit.here("src"));
    assert_eq!(visit.mirror(&["src", "deep/dst"]), "mirror: 6 files, 68K");
    assert_eq!(tree(&visit.there("deep/dst")), tree(&visit.here("src")));
    assert_eq!(visit.mirror(&["src", "deep/dst"]), "mirror: 6 files, all already there");
    assert_eq!(visit.mirror(&["--from", "deep/dst", "new/copy"]), "mirror: 6 files, 68K");
    assert_eq!(tree(&visit.here("new/copy")), tree(&visit.here("src")));
    assert_eq!(visit.mirror(&["--from", "deep/dst", "new/copy"]), "mirror: 6 files, all already there");
}

#[test]
fn only_files_with_another_size_or_time_are_transferred() {
    for is_from in [false, true] {
        let visit = Visit::new(&[]);
        let (source, image) =
            if is_from { (visit.there("t"), visit.here("t")) } else { (visit.here("t"), visit.there("t")) };
        let arguments = if is_from { &["--from", "t", "t"][..] } else { &["t", "t"] };
        plant(&source);
        visit.mirror(arguments);
        write(&source.join("b/c"), b"longer");
        set_time(&source.join("b/d/e"), 1_000_000_001);
        write(&source.join("new"), b"new");
        assert_eq!(visit.mirror(arguments), "mirror: 7 files, 68K, 4 already there");
        assert_eq!(tree(&image), tree(&source));
        // A content that changed with size and time kept is only found by its digest.
        write(&source.join("b/c"), b"LONGER");
        set_time(&image.join("new"), 5);
        let with_checksum: Vec<&str> = [&["--checksum"], arguments].concat();
        assert_eq!(visit.mirror(&with_checksum), "mirror: 7 files, 6 bytes, 6 already there");
        assert_eq!(fs::read(image.join("b/c")).expect("there"), b"LONGER");
        assert_eq!(visit.mirror(arguments), "mirror: 7 files, 3 bytes, 6 already there");
        assert_eq!(tree(&image), tree(&source));
    }
}

#[test]
fn coarse_or_shifted_times_cause_no_transfer_but_small_changes_are_found() {
    const FAT_NS: i64 = 2_000_000_000;
    const HOUR_NS: i64 = 3_600_000_000_000;
    let time_ns = |path: &Path| {
        let metadata = fs::metadata(path).expect("there");
        metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
    };
    let set_time_ns = |path: &Path, ns: i64| {
        let time = UNIX_EPOCH + Duration::from_nanos(ns.unsigned_abs());
        File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("ours");
    };
    for is_from in [false, true] {
        let visit = Visit::new(&[]);
        let (source, image) =
            if is_from { (visit.there("t"), visit.here("t")) } else { (visit.here("t"), visit.there("t")) };
        let arguments = if is_from { &["--from", "t", "t"][..] } else { &["t", "t"] };
        let names = ["small", "large"];
        write(&source.join("small"), b"content");
        write(&source.join("large"), &pattern(1, 3 << 20));
        visit.mirror(arguments);
        let exact_ns = names.map(|name| time_ns(&source.join(name)));
        let inodes = || names.map(|name| fs::metadata(image.join(name)).expect("there").ino());
        let mut before = inodes();
        for (unit_ns, shift_ns) in [(100, 0), (1_000, 0), (10_000_000, 0), (1_000_000_000, 0), (FAT_NS, 0)]
            .into_iter()
            .chain([(FAT_NS, FAT_NS), (FAT_NS, HOUR_NS), (FAT_NS, -HOUR_NS), (FAT_NS, 11 * HOUR_NS / 2)])
        {
            for (name, ns) in names.into_iter().zip(exact_ns) {
                set_time_ns(&image.join(name), ns.div_euclid(unit_ns) * unit_ns + shift_ns);
            }
            let what = format!("{is_from}: {unit_ns} ns, shifted by {shift_ns}");
            assert_eq!(visit.mirror(arguments), "mirror: 2 files, all already there", "{what}");
            assert_eq!(inodes(), before, "{what}");
            // The same size, and a time that a coarse clock takes for the same.
            let is_hidden = unit_ns < 1_000_000_000;
            if !is_hidden {
                fs::write(image.join("small"), b"CONTENT").expect("writable");
                set_time_ns(&image.join("small"), exact_ns[0].div_euclid(unit_ns) * unit_ns + shift_ns);
                assert_eq!(visit.mirror(arguments), "mirror: 2 files, 7 bytes, 1 already there", "{what}");
                assert_eq!(fs::read(image.join("small")).expect("there"), b"content", "{what}");
                before = inodes();
            }
        }
        for far_ns in [FAT_NS, HOUR_NS + 2 * FAT_NS, 27 * HOUR_NS] {
            set_time_ns(&image.join("small"), exact_ns[0] + far_ns);
            assert_eq!(
                visit.mirror(arguments),
                "mirror: 2 files, 7 bytes, 1 already there",
                "{is_from}: {far_ns} ns later"
            );
        }
    }
}

#[test]
fn delete_removes_what_the_source_does_not_have_and_nothing_else() {
    for is_from in [false, true] {
        let visit = Visit::new(&[]);
        let (source, image) =
            if is_from { (visit.there("t"), visit.here("t")) } else { (visit.here("t"), visit.there("t")) };
        let arguments = if is_from { &["--from", "t", "t"][..] } else { &["t", "t"] };
        plant(&source);
        write(&image.join("old/deep/file"), b"x");
        write(&image.join("b/old"), b"x");
        write(&image.join("a/was/a/folder"), b"x");
        write(&image.join("empty/inner"), b"was a file");
        symlink("../../..", image.join("old/link")).expect("writable");
        write(&visit.place.path(if is_from { "here/beside" } else { "homes/ann/beside" }), b"untouched");

        let blocked = visit.mirror_fails(1, arguments);
        let sides = match is_from {
            true => [
                "a: a directory locally, a file on the server",
                "empty/inner: a file locally, a directory on the server",
            ],
            false => [
                "a: a file locally, a directory on the server",
                "empty/inner: a directory locally, a file on the server",
            ],
        };
        assert!(sides.iter().all(|side| blocked.stderr.contains(&format!("berth: mirror: {side}"))), "{blocked:?}");
        assert!(image.join("old/deep/file").exists() && image.join("b/d/e").exists());

        let dry: Vec<&str> = [&["--delete", "--dry-run"], arguments].concat();
        let before = tree(&image);
        let shown = visit.place.run(visit.mirror_command(&dry)).expect_code(0).stdout;
        assert_eq!(tree(&image), before, "a dry run changes nothing");
        for line in
            ["rm    a/was/a/folder", "rm    a", "rm    empty/inner", "mkdir empty/inner", "rm    old/link", "rm    old"]
        {
            assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
        }
        assert!(shown.ends_with("mirror --dry-run: 6 files, 5 already there, 10 to remove\n"), "{shown}");

        let with_delete: Vec<&str> = [&["--delete"], arguments].concat();
        assert_eq!(visit.mirror(&with_delete), "mirror: 6 files, 5 already there, 10 removed");
        assert_eq!(tree(&image), tree(&source));
        assert!(visit.place.path(if is_from { "here/beside" } else { "homes/ann/beside" }).exists());
        assert_eq!(visit.mirror(&with_delete), "mirror: 6 files, all already there");
    }
}

#[test]
fn a_dry_run_shows_the_transfers_and_creates_no_directory() {
    let visit = Visit::new(&[]);
    plant(&visit.here("src"));
    let ended = visit.place.run(visit.mirror_command(&["--dry-run", "src", "dst"])).expect_code(0);
    assert!(ended.stdout.contains("put   b/d/e  68K\n") && ended.stdout.contains("mkdir empty\n"), "{ended:?}");
    assert!(ended.stdout.ends_with("mirror --dry-run: 6 files, 68K to move\n"), "{ended:?}");
    assert!(!visit.there("dst").exists());
    let mut json = visit.place.berth(&["--json", &visit.server.target("ann"), "mirror", "--dry-run", "src", "dst"]);
    json.env("TERM", "dumb");
    let ended = visit.place.run(json).expect_code(0);
    let objects: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(objects.iter().any(|object| object["path"] == "b/d/e" && object["status"] == "planned"), "{ended:?}");
}

#[test]
fn excluded_entries_are_neither_transferred_nor_removed() {
    for is_from in [false, true] {
        let visit = Visit::new(&[]);
        let (source, image) =
            if is_from { (visit.there("t"), visit.here("t")) } else { (visit.here("t"), visit.there("t")) };
        for name in ["keep", "a.tmp", "cache/x", "sub/cache", "sub/b.tmp", "build/a.o", "sub/build/b.o"] {
            write(&source.join(name), b"source");
        }
        for name in ["old/c.tmp", "old/plain", "cache/y", "gone"] {
            write(&image.join(name), b"image");
        }
        let options = ["--delete", "--exclude", "*.tmp", "--exclude=cache/", "--exclude", "build/*.o"];
        let arguments = if is_from { &["--from", "t", "t"][..] } else { &["t", "t"] };
        assert_eq!(visit.mirror(&[&options[..], arguments].concat()), "mirror: 3 files, 18 bytes, 2 removed");
        let names: Vec<String> = tree(&image)
            .into_iter()
            .filter(|(_, file)| file.is_some())
            .map(|(path, _)| path.to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["cache/y", "keep", "old/c.tmp", "sub/build/b.o", "sub/cache"]);
    }
}

#[test]
fn an_interrupted_mirror_is_finished_by_repeating_it() {
    let visit = Visit::new(&[]);
    plant(&visit.here("src"));
    write(&visit.here("src/m-big"), &pattern(9, OVER_SOCKETS as usize));
    write(&visit.there("dst/extra"), b"x");
    let proxy = Proxy::to(visit.server.address);
    let through = target("ann", proxy.address);
    for (signal, code, valve, arguments, place) in [
        (Signal::INT, Some(130), &proxy.up, &["mirror", "--delete", "src", "dst"][..], visit.there(".berth")),
        (Signal::KILL, None, &proxy.up, &["mirror", "--delete", "src", "dst2"], visit.there(".berth")),
        (Signal::INT, Some(130), &proxy.down, &["mirror", "--delete", "--from", "dst", "back"], visit.here("back")),
        (Signal::KILL, None, &proxy.down, &["mirror", "--delete", "--from", "dst", "back2"], visit.here("back2")),
    ] {
        valve.hold_after(4 << 20);
        let mut client = visit.place.start(visit.place.berth(&[&[&through[..]], arguments].concat()));
        wait_until("a part of the big file is there", || {
            let entries = fs::read_dir(&place).into_iter().flatten().flatten();
            let parts = entries.filter(|entry| entry.file_name().to_string_lossy().contains("part"));
            parts.map(|part| part.metadata().map_or(0, |part| part.len())).max().unwrap_or(0) > 2 << 20
        });
        client.signal(signal);
        wait_until("it noticed", || client.is_over() || client.stderr().contains("is kept"));
        valve.open();
        assert_eq!(client.wait().code, code, "{arguments:?}");
        let ended = visit.place.run(visit.place.berth(&[&[&through[..]], arguments].concat())).expect_code(0);
        assert!(ended.stderr.contains("m-big: resuming at "), "{arguments:?}: {ended:?}");
    }
    let source = tree(&visit.here("src"));
    for image in [visit.there("dst"), visit.there("dst2"), visit.here("back"), visit.here("back2")] {
        assert!(tree(&image) == source, "{}", image.display());
    }
}

#[test]
fn requests_of_an_interrupted_mirror_may_be_carried_out_during_the_next_one() {
    let visit = Visit::new(&[]);
    for (name, content) in [("same", "as sent"), ("other", "newer"), ("new/same", "too"), ("new/more", "x")] {
        write(&visit.here(format!("src/{name}")), content.as_bytes());
    }
    write(&visit.there("dst/extra"), b"goes");
    let proxy = Proxy::to(visit.server.address);
    proxy.up.hold_after_mark(b"{\"op\":\"mkdir\"", 0);
    let through = target("ann", proxy.address);
    let mut client = visit.place.start(visit.place.berth(&[&through, "mirror", "--delete", "src", "dst"]));
    proxy.up.wait_held();
    // Everything was looked at, and nothing has been done.
    write(&visit.there("dst/same"), b"as sent");
    write(&visit.there("dst/other"), b"old");
    write(&visit.there("dst/new/same"), b"too");
    fs::remove_file(visit.there("dst/extra")).expect("ours");
    proxy.up.open();
    let ended = client.wait().expect_code(0);
    assert_eq!(summary(&ended), "mirror: 4 files, 6 bytes, 2 already there", "{ended:?}");
    assert_eq!(ended.stderr, "");
    assert!(tree(&visit.here("src")) == tree(&visit.there("dst")));
}

#[test]
fn delete_removes_partial_downloads_of_removed_files() {
    let visit = Visit::new(&[]);
    write(&visit.there("t/a"), b"x");
    for name in [".gone.berth-part", "old/.gone.berth-part"] {
        write_part(&visit.here("t").join(name), "gone");
    }
    assert_eq!(visit.mirror(&["--from", "t", "t"]), "mirror: 1 file, 1 byte");
    assert!(visit.here("t/.gone.berth-part").exists());
    assert_eq!(visit.mirror(&["--delete", "--from", "t", "t"]), "mirror: 1 file, already there, 1 removed");
    assert_eq!(tree(&visit.here("t")), tree(&visit.there("t")));
    write_part(&visit.here("t/.gone.berth-part"), "gone");
    write(&visit.here("t/.mine.berth-part"), b"mine");
    visit.mirror(&["t", "up"]);
    let sent = tree(&visit.there("up"));
    assert_eq!(sent.len(), 2, "parts are not sent, but what is only called so");
    assert_eq!(visit.mirror(&["--delete", "--from", "t", "t"]), "mirror: 1 file, already there, 1 removed");
    assert!(!visit.here("t/.gone.berth-part").exists(), "and it is not counted");
}

/// What an interrupted download of `name` leaves, with the mark by which it is known.
fn write_part(path: &Path, name: &str) {
    write(path, b"half");
    let file = fs::File::open(path).expect("written");
    let mark = format!("{} {name}", file.metadata().expect("there").ino());
    fsetxattr(file, "user.berth.part", mark.as_bytes(), XattrFlags::empty()).expect("extended attributes");
}

#[test]
fn one_failed_file_of_a_mirror_is_reported_and_the_rest_continues() {
    let visit = Visit::new(&[]);
    plant(&visit.here("src"));
    write(&visit.there("dst/extra"), b"x");
    let forbid = |path: PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("ours");
    forbid(visit.here("src/b/c"));
    write(&visit.here("src/0"), b"the first, in the root");
    forbid(visit.here("src/0"));
    symlink("nowhere", visit.here("src/dangling")).expect("writable");
    symlink("b", visit.here("src/link-to-folder")).expect("writable");
    symlink("a", visit.here("src/link-to-file")).expect("writable");
    write(&visit.there("dst/link-to-folder/stays"), b"x");
    let mut command = visit.mirror_command(&["--delete", "src", "dst"]);
    without_rights(&mut command, &visit.place.path(""));
    let ended = visit.place.run(command).expect_code(1);
    assert!(ended.stderr.contains("src/b/c: permission denied") && ended.stderr.contains("2 of 8 failed"), "{ended:?}");
    assert!(ended.stderr.contains("dangling is not a regular file: skipped"), "{ended:?}");
    assert!(ended.stdout.contains("6 files, 68K, 1 removed, 2 failed"), "{ended:?}");
    assert!(visit.there("dst/b/d/e").exists() && visit.there("dst/link-to-file").exists());
    assert!(visit.there("dst/link-to-folder/stays").exists() && !visit.there("dst/extra").exists());
}

#[test]
fn nothing_is_removed_if_part_of_the_source_cannot_be_read() {
    let visit = Visit::new(&[]);
    write(&visit.here("src/locked/x"), b"x");
    write(&visit.here("src/a"), b"x");
    write(&visit.there("dst/locked/x"), b"saved before");
    write(&visit.there("dst/extra"), b"x");
    fs::set_permissions(visit.here("src/locked"), fs::Permissions::from_mode(0o000)).expect("ours");
    let mut command = visit.mirror_command(&["--delete", "src", "dst"]);
    without_rights(&mut command, &visit.place.path(""));
    let ended = visit.place.run(command).expect_code(1);
    assert!(ended.stderr.contains("removes nothing"), "{ended:?}");
    assert!(visit.there("dst/locked/x").exists() && visit.there("dst/extra").exists() && visit.there("dst/a").exists());
    fs::set_permissions(visit.here("src/locked"), fs::Permissions::from_mode(0o700)).expect("ours");
}

#[test]
fn local_symlinks_are_never_followed_out_of_a_downloaded_tree() {
    let visit = Visit::new(&[]);
    write(&visit.there("t/folder/file"), b"from the server");
    write(&visit.there("t/file"), b"from the server");
    write(&visit.here("outside/file"), b"safe");
    fs::create_dir(visit.here("t")).expect("writable");
    symlink("../outside", visit.here("t/folder")).expect("writable");
    symlink("../outside/file", visit.here("t/file")).expect("writable");
    let ended = visit.mirror_fails(1, &["--from", "t", "t"]);
    assert!(ended.stderr.contains("folder: a symlink locally, a directory on the server"), "{ended:?}");
    visit.mirror(&["--delete", "--from", "t", "t"]);
    assert_eq!(tree(&visit.here("t")), tree(&visit.there("t")));
    assert_eq!(fs::read(visit.here("outside/file")).expect("there"), b"safe");
}

#[test]
fn invalid_arguments_are_refused_before_any_change() {
    let visit = Visit::new(&[]);
    write(&visit.here("file"), b"x");
    write(&visit.there("file"), b"x");
    fs::create_dir(visit.here("folder")).expect("writable");
    for (code, arguments, why) in [
        (2, &["folder"][..], "two directories"),
        (2, &["folder", "x", "y"], "two directories"),
        (2, &["--nonsense", "folder", "x"], "unknown option --nonsense"),
        (2, &["folder", "x", "--exclude"], "--exclude needs a pattern"),
        (1, &["nope", "x"], "nope: no such local directory; to fetch"),
        (1, &["--from", "nope", "x"], "/nope: no such remote directory; to send"),
        (1, &["file", "x"], "file is not a directory"),
        (1, &["folder", "file"], "/file is not a directory"),
        (1, &["--from", "/", "file"], "file is not a directory"),
    ] {
        let ended = visit.mirror_fails(code, arguments);
        assert!(ended.stderr.contains(why), "{arguments:?}: {ended:?}");
    }
    assert!(!visit.there("x").exists() && !visit.here("x").exists());
}

#[test]
fn a_whole_home_can_be_mirrored() {
    let visit = Visit::new(&[]);
    plant(&visit.here("src"));
    assert_eq!(visit.mirror(&["src", "/"]), "mirror: 6 files, 68K");
    assert_eq!(visit.mirror(&["--from", "/", "back"]), "mirror: 6 files, 68K");
    assert_eq!(tree(&visit.here("back")), tree(&visit.here("src")));
    fs::create_dir(visit.here("nothing")).expect("writable");
    assert_eq!(visit.mirror(&["--delete", "--allow-empty", "nothing", "."]), "mirror: no files, 10 removed");
    assert_eq!(visit.mirror(&["--from", "/", "nothing"]), "mirror: no files");
}

#[test]
fn a_full_quota_ends_a_mirror_with_one_error_and_a_count_of_what_is_left() {
    let visit = Visit::new(&["--quota", "100K"]);
    plant(&visit.here("src"));
    write(&visit.here("src/too-much"), &pattern(1, 90_000));
    let ended = visit.mirror_fails(6, &["src", "dst"]);
    assert_eq!(ended.stderr.matches("disk quota exceeded").count(), 1, "{ended:?}");
    assert!(ended.stdout.contains("6 files, 68K, ") && ended.stdout.ends_with("; left: 1 file, 88K\n"), "{ended:?}");
}

#[test]
fn delete_with_a_source_without_files_removes_nothing_unless_told_so() {
    let visit = Visit::new(&[]);
    write(&visit.there("full/a"), b"a");
    write(&visit.here("full/a"), b"a");
    fs::create_dir_all(visit.here("empty/mount")).expect("writable");
    fs::create_dir_all(visit.there("empty/mount")).expect("writable");
    for (arguments, kept) in [
        (&["--delete", "empty", "full"][..], visit.there("full/a")),
        (&["--delete", "--from", "empty", "full"], visit.here("full/a")),
    ] {
        let ended = visit.mirror_fails(1, arguments);
        assert!(ended.stderr.contains("has no files") && ended.stderr.contains("--allow-empty"), "{}", ended.stderr);
        assert!(kept.exists(), "{arguments:?}");
        let dry = visit.place.run(visit.mirror_command(&[&["--dry-run"], arguments].concat())).expect_code(0);
        assert!(dry.stdout.contains("rm") && dry.stdout.contains('a'), "{}", dry.stdout);
        visit.place.run(visit.mirror_command(&[&["--allow-empty"], arguments].concat())).expect_code(0);
        assert!(!kept.exists(), "{arguments:?}");
        write(&kept, b"a");
    }
}
