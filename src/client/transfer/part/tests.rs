use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use super::*;

/// Opens a part, again while it is locked: a child that another test forks has a copy of the descriptor, and so the
/// lock, until it runs its program.
fn when_unlocked<T>(open: impl Fn() -> Result<T, Failure>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match open() {
            Err(Failure::Local(why)) if why.problem.contains("another berth") && Instant::now() < deadline => {}
            opened => return opened.expect("a part"),
        }
    }
}

fn create(destination: &Path) -> Part {
    when_unlocked(|| Part::create(destination, &Reserved::new(), true))
}

#[test]
fn a_part_becomes_the_file_only_when_it_is_finished() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let destination = directory.path().join("a");
    let mut part = create(&destination);
    part.write(b"hello").expect("write");
    let metadata = fs::metadata(directory.path().join(".a.berth-part")).expect("it is there");
    assert!(!destination.exists() && metadata.mode() & 0o077 == 0, "{:o}", metadata.mode());
    assert_eq!(part.digest(), Digest::of(b"hello"));
    part.finish(1_000_000_000, None, None).expect("finish");
    assert_eq!(fs::read(&destination).expect("read"), b"hello");
    let metadata = fs::metadata(&destination).expect("metadata");
    assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (1, 0o644 & !crate::client::files::modes::umask()));
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 1);
}

#[test]
fn a_replaced_file_keeps_its_mode() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let destination = directory.path().join("a");
    for mode in [0o600, 0o755, 0o664, 0o444] {
        fs::write(&destination, b"old").expect("write");
        fs::set_permissions(&destination, fs::Permissions::from_mode(mode)).expect("ours");
        let seen = stamp_of(&fs::metadata(&destination).expect("there"));
        let mut part = create(&destination);
        part.write(b"new").expect("write");
        part.finish(0, None, Some(seen)).expect("finish");
        assert_eq!(fs::metadata(&destination).expect("there").mode() & 0o7777, mode);
        fs::remove_file(&destination).expect("ours");
    }
}

#[test]
fn a_part_is_found_again_and_an_empty_one_is_not_kept() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let destination = directory.path().join("a");
    drop(create(&destination));
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 0);
    create(&destination).write(b"half").expect("write");
    let found = when_unlocked(|| Part::find(&destination, &Reserved::new(), 1 << 20, &mut |_| false));
    let mut part = found.expect("there");
    assert_eq!((part.received_bytes(), part.digest()), (4, Digest::of(b"half")));
    assert!(Part::find(&destination, &Reserved::new(), 1 << 20, &mut |_| false).is_err(), "locked");
    part.write(b"way").expect("write");
    part.finish(0, None, None).expect("finish");
    assert_eq!(fs::read(&destination).expect("read"), b"halfway");
}

#[test]
fn a_new_file_at_the_destination_stays_and_a_symlink_is_not_followed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let destination = directory.path().join("a");
    let part = create(&destination);
    fs::write(&destination, b"old").expect("write");
    assert!(part.finish(0, None, None).is_err());
    assert_eq!(fs::read(&destination).expect("read"), b"old");
    let other = directory.path().join("other");
    fs::write(&other, b"safe").expect("write");
    std::os::unix::fs::symlink(&other, directory.path().join(".b.berth-part")).expect("link");
    assert!(Part::create(&directory.path().join("b"), &Reserved::new(), true).is_err());
    assert_eq!(fs::read(&other).expect("read"), b"safe");
}

#[test]
fn only_regular_files_are_replaced() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    assert!(matches!(destination(&path("none")), Ok(None)));
    fs::write(path("file"), b"old").expect("write");
    assert!(matches!(destination(&path("file")), Ok(Some(_))));
    std::os::unix::fs::symlink("file", path("link")).expect("link");
    std::os::unix::fs::symlink("nowhere", path("dangling")).expect("link");
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("socket");
    for name in ["link", "dangling", "socket", ".", "/dev/null"] {
        assert!(destination(&path(name)).is_err(), "{name}");
    }
    let seen = stamp_of(&fs::metadata(path("file")).expect("there"));
    let part = create(&path("later"));
    std::os::unix::fs::symlink("file", path("later")).expect("link");
    assert!(part.finish(0, None, Some(seen)).is_err());
    assert_eq!(fs::read(path("file")).expect("read"), b"old");
}

#[test]
fn an_unmarked_part_is_copied_and_never_written_to() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (destination, path) = (directory.path().join("a"), directory.path().join(".a.berth-part"));
    fs::write(&path, b"half").expect("write");
    let find = |bytes_max| when_unlocked(|| Part::find(&destination, &Reserved::new(), bytes_max, &mut |_| false));
    assert!(find(3).is_none(), "longer than the file");
    let mut part = find(10).expect("copied");
    assert_eq!((part.received_bytes(), part.digest()), (4, Digest::of(b"half")));
    part.restart().expect("restart");
    part.write(b"other").expect("write");
    drop(part);
    assert_eq!(fs::read(&path).expect("read"), b"half");
    let part = find(10).expect("ours comes before what may be anybody's");
    assert_eq!(part.digest(), Digest::of(b"other"));
    part.finish(0, None, None).expect("finish");
    assert_eq!(
        (fs::read(&destination).expect("read"), fs::read(&path).expect("read")),
        (b"other".to_vec(), b"half".to_vec())
    );
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 2);
}

#[test]
fn a_file_that_grew_during_the_download_stays_and_a_touched_one_is_replaced() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let destination = directory.path().join("a");
    fs::write(&destination, b"old").expect("write");
    let seen = || stamp_of(&fs::metadata(&destination).expect("there"));
    let part = || {
        let mut part = create(&destination);
        part.write(b"new").expect("write");
        part
    };
    let before = seen();
    fs::write(&destination, b"older").expect("write");
    let failure = part().finish(0, None, Some(before)).expect_err("it grew");
    assert!(failure.to_string().contains("changed during the download"), "{failure}");
    assert_eq!(fs::read(&destination).expect("read"), b"older");
    let before = FileStamp { mtime_ns: 7, ..seen() };
    part().finish(0, None, Some(before)).expect("touched");
    assert_eq!(fs::read(&destination).expect("read"), b"new");
    let before = seen();
    fs::remove_file(&destination).expect("ours");
    part().finish(0, None, Some(before)).expect("it is gone");
}
