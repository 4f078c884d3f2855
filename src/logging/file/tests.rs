//! Log files that are rotated, full, moved away, or cannot be written.

use super::*;

const LARGE: u64 = 1 << 30;

fn open_log(path: &Path, bytes_max: u64) -> LogFile {
    LogFile::open(path.to_path_buf(), bytes_max).expect("writable")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("there")
}

#[test]
fn a_rotated_log_goes_on_under_its_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (path, old) = (directory.path().join("logs/access.log"), directory.path().join("logs/access.log.1"));
    let mut log = open_log(&path, LARGE);
    assert_eq!(log.put(b"one\n", 0), None);
    fs::rename(&path, &old).expect("writable");
    assert_eq!(log.open_again(), None);
    assert_eq!(log.put(b"two\n", 0), None);
    assert_eq!((text(&old).as_str(), text(&path).as_str()), ("one\n", "two\n"));

    fs::remove_file(&path).expect("writable");
    fs::create_dir(&path).expect("writable");
    assert!(log.open_again().is_some_and(|message| message.contains("cannot be reopened")));
}

#[test]
fn a_full_log_begins_again_and_one_old_one_is_kept() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (path, old) = (directory.path().join("access.log"), directory.path().join("access.log.old"));
    let mut log = open_log(&path, 10);
    for number in 0..9 {
        assert_eq!(log.put(format!("{number}23\n").as_bytes(), 0), None);
    }
    assert_eq!((text(&old).as_str(), text(&path).as_str()), ("623\n723\n", "823\n"));
    assert_eq!(log.put(b"a\nb\nc\nd\ne\nf\ng\n", 0), None);
    assert_eq!((text(&old).as_str(), text(&path).as_str()), ("823\na\nb\nc\n", "d\ne\nf\ng\n"));
    assert_eq!(open_log(&path, 10).size, Some(8), "what is there already counts");
}

#[test]
fn a_full_log_that_was_moved_already_moves_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let mut log = open_log(&path, 10);
    log.put(b"12345678\n", 0);
    fs::rename(&path, &moved).expect("writable");
    fs::write(&path, "x\n").expect("writable");
    assert_eq!(log.put(b"abc\n", 0), None);
    assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("12345678\n", "x\nabc\n"));
    assert!(!directory.path().join("access.log.old").exists());
}

#[test]
fn a_full_log_that_cannot_be_renamed_grows_no_further() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("access.log");
    fs::create_dir(directory.path().join("access.log.old")).expect("writable");
    let mut log = open_log(&path, 10);
    assert_eq!(log.put(b"12345678\n", 0), None);
    let message = log.put(b"abc\ndef\n", 0).expect("it is full");
    assert!(message.contains(": 2 lines lost so far: it is full, and cannot become "), "{message}");
    fs::remove_dir(directory.path().join("access.log.old")).expect("writable");
    log.bytes_max = 100;
    assert!(log.put(b"ghi\n", 0).is_some_and(|message| message.ends_with(": is written again; 2 lines are missing")));
    assert!(text(&path).ends_with(" lines_lost=2\nghi\n"));
}

#[test]
fn a_link_to_a_log_stays_a_link() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (path, link) = (directory.path().join("real.log"), directory.path().join("access.log"));
    std::os::unix::fs::symlink(&path, &link).expect("writable");
    let mut log = open_log(&link, 10);
    log.put(b"12345678\nabc\n", 0);
    assert!(link.is_symlink());
    assert_eq!((text(&directory.path().join("real.log.old")).as_str(), text(&path).as_str()), ("12345678\n", "abc\n"));
}

#[test]
fn a_full_disk_costs_lines_and_says_so_once_a_minute() {
    let mut log = open_log(Path::new("/dev/full"), LARGE);
    let message = log.put(b"x\nx\nx\n", 0).expect("the device is full");
    assert!(message.starts_with("/dev/full: 3 lines lost so far: "), "{message}");
    for _ in 0..1000 {
        assert_eq!(log.put(b"x\n", 0), None, "within the minute");
    }
    log.warned = None;
    assert!(log.put(b"x\n", 3).is_some_and(|message| message.contains(" 1007 lines lost")));
}

#[test]
fn once_there_is_room_again_the_log_and_stderr_tell_what_is_missing_and_where() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("access.log");
    let mut log = open_log(&path, LARGE);
    assert_eq!(log.put(b"one\n", 0), None);
    let file = std::mem::replace(&mut log.file, OpenOptions::new().append(true).open("/dev/full").expect("there"));
    assert!(log.put(b"two\nthree\n", 0).is_some_and(|message| message.contains(" 2 lines lost so far: ")));
    log.file = file;
    // As if the disk had taken the beginning of a line.
    assert!(log.write(b"tw").1.is_ok() && log.has_partial_line);
    assert!(log.put(b"four\n", 0).is_some_and(|message| message.ends_with(": is written again; 2 lines are missing")));
    assert_eq!(log.put(b"five\n", 0), None);
    // Lines that memory had no room for.
    assert!(log.put(b"six\n", 3).is_some_and(|message| message.ends_with(": is written again; 3 lines are missing")));
    let text = text(&path);
    let ends: Vec<_> = text.lines().map(|line| line.rsplit(' ').next().unwrap_or_default()).collect();
    assert_eq!(ends, ["one", "tw", "lines_lost=2", "four", "five", "six", "lines_lost=3"], "{text}");
}
