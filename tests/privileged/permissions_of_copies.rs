//! Permission bits of transferred files, in both directions, with and without directories, and what a replaced file
//! keeps.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs::{
    ACCESS_LISTS, ATTRIBUTES, BINDFS, FUSE, FUSEFAT, GETFATTR, MKFS_VFAT, MOUNT, MOUNTS, ROOT, SETFACL, SETFATTR,
    TIME_ZONES, tests,
};
use crate::support::peer::{Peer, put};
use crate::support::process::Ended;
use crate::support::visit::Visit;
use crate::support::{Place, pattern, wait_until};
use berth::base::upload_id::UploadId;
use berth::wire::frame::{FrameType, put_bytes};
use berth::wire::message::PutMode;
use berth::wire::{Reply, Request};

tests! {
    []
        a_new_file_has_the_permissions_of_its_source_less_the_mask,
        a_new_directory_has_the_permissions_of_its_source_and_is_open_to_its_owner,
        without_permissions_new_files_get_the_usual_ones,
        a_file_that_is_replaced_keeps_its_permissions_and_loses_setuid,
        a_mirror_gives_the_target_the_permissions_of_the_source_and_moves_nothing_for_that,
        a_mirror_replaces_content_and_permissions_at_once,
        mirror_does_not_retry_permission_bits_that_the_umask_removes,
        a_part_is_never_more_open_than_its_file_will_be;
    [SETFACL, ACCESS_LISTS]
        the_default_list_of_a_directory_limits_the_permissions_of_a_source;
    [SETFACL, SETFATTR, GETFATTR, ACCESS_LISTS, ATTRIBUTES]
        a_local_file_that_is_replaced_keeps_its_list_and_attributes;
    [BINDFS, MOUNT, ROOT, MOUNTS, FUSE]
        a_file_system_without_permissions_is_told_of_once_and_keeps_the_content;
    [FUSEFAT, MKFS_VFAT, MOUNT, ROOT, MOUNTS, FUSE]
        names_that_a_file_system_takes_for_one_never_replace_each_other,
        a_mirror_with_delete_keeps_what_the_target_has_under_another_spelling,
        a_mirror_with_delete_keeps_what_has_just_arrived_in_a_directory_of_another_spelling;
    [TIME_ZONES]
        times_are_those_of_a_named_zone;
}

/// Files of a tree, the permission bits they have, and those that a copy has under the mask 022.
const FILES: [(&str, u32, u32); 8] = [
    ("run.sh", 0o755, 0o755),
    ("secret", 0o600, 0o600),
    ("shared", 0o664, 0o644),
    ("all", 0o777, 0o755),
    ("fixed", 0o444, 0o444),
    ("own", 0o400, 0o400),
    ("setuid", 0o6711, 0o711),
    ("in/a/folder", 0o750, 0o750),
];

impl Visit {
    /// Runs the client, whose umask is 022.
    #[track_caller]
    fn berth(&self, arguments: &[&str]) -> Ended {
        self.berth_under("022", arguments).expect_code(0)
    }

    fn berth_under(&self, mask: &str, arguments: &[&str]) -> Ended {
        let command = self.place.berth(&[&[self.server.target("ann").as_str()], arguments].concat());
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("umask {mask}; exec \"$0\" \"$@\"")).arg(command.get_program());
        shell.args(command.get_args()).env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(self.place.path("here"));
        self.place.run(shell)
    }
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    fs::write(path, content).expect("writable");
    set_mode(path, mode);
}

fn plant(root: &Path) {
    FILES.iter().for_each(|(name, mode, _)| write(&root.join(name), name.as_bytes(), *mode));
}

#[track_caller]
fn check(root: &Path) {
    for (name, _, expected) in FILES {
        let found = mode(&root.join(name));
        assert_eq!(found, expected, "{name}: {found:o} instead of {expected:o}");
        assert_eq!(fs::read(root.join(name)).expect("readable"), name.as_bytes());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?} {path:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An access control list and the extended attributes.
fn rules(path: &Path) -> (String, String) {
    let extended = run("getfattr", &["-d", "--absolute-names"], path);
    let values = extended.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    (run("getfacl", &["-c", "-p", "-n"], path), values)
}

// ---- New ones -----------------------------------------------------------------------------

fn a_new_file_has_the_permissions_of_its_source_less_the_mask() {
    let visit = Visit::new(&[]);
    plant(&visit.here("t"));
    visit.berth(&["put", "-r", "t", "tree"]);
    check(&visit.there("tree"));
    visit.berth(&["mirror", "t", "mirrored"]);
    check(&visit.there("mirrored"));
    plant(&visit.there("u"));
    visit.berth(&["get", "-r", "u", "--", "tree"]);
    check(&visit.here("tree"));
    visit.berth(&["mirror", "--from", "u", "mirrored"]);
    check(&visit.here("mirrored"));
    for (name, _, expected) in FILES {
        visit.berth(&["put", &format!("t/{name}"), "/one"]);
        assert_eq!(mode(&visit.there("one")), expected, "put {name}");
        visit.berth(&["get", &format!("u/{name}"), "--", "one"]);
        assert_eq!(mode(&visit.here("one")), expected, "get {name}");
        fs::remove_file(visit.there("one")).expect("there");
        fs::remove_file(visit.here("one")).expect("here");
    }
    // Large ones have parts that can be resumed.
    let large = pattern(1, 3 << 20);
    write(&visit.here("large"), &large, 0o711);
    visit.berth(&["put", "large", "sent"]);
    visit.berth(&["get", "sent", "back"]);
    assert_eq!((mode(&visit.there("sent")), mode(&visit.here("back"))), (0o711, 0o711));
    assert!(visit.berth_under("077", &["get", "u/run.sh", "masked"]).code == Some(0));
    assert_eq!(mode(&visit.here("masked")), 0o700, "the user's own mask");
}

fn a_new_directory_has_the_permissions_of_its_source_and_is_open_to_its_owner() {
    let visit = Visit::new(&[]);
    let directories =
        [("t", 0o750, 0o750), ("t/private", 0o700, 0o700), ("t/fixed", 0o555, 0o755), ("t/all", 0o777, 0o755)];
    for root in [visit.here(""), visit.there("")] {
        for (directory, ..) in directories {
            write(&root.join(directory).join("file"), b"content", 0o644);
        }
        directories.iter().rev().for_each(|(directory, mode, _)| set_mode(&root.join(directory), *mode));
    }
    let cases: [(&[&str], bool, &str); 4] = [
        (&["put", "-r", "t", "sent"], false, "sent"),
        (&["mirror", "t", "above/mirrored"], false, "above/mirrored"),
        (&["get", "-r", "t", "fetched"], true, "fetched"),
        (&["mirror", "--from", "t", "above/mirrored"], true, "above/mirrored"),
    ];
    for (arguments, is_here, target) in cases {
        visit.berth(arguments);
        let root = if is_here { visit.here(target) } else { visit.there(target) };
        for (directory, _, expected) in directories {
            let path = root.join(directory.strip_prefix("t/").unwrap_or(""));
            assert_eq!(mode(&path), expected, "{arguments:?}: {directory}");
            assert_eq!(fs::read(path.join("file")).expect("readable"), b"content");
        }
    }
}

fn without_permissions_new_files_get_the_usual_ones() {
    let visit = Visit::new(&[]);
    plant(&visit.here("t"));
    plant(&visit.there("u"));
    set_mode(&visit.here("t/in"), 0o700);
    visit.berth(&["put", "-r", "--no-perms", "t", "tree"]);
    visit.berth(&["put", "--no-perms", "t/run.sh", "one"]);
    visit.berth(&["mirror", "--no-perms", "t", "mirrored"]);
    visit.berth(&["get", "--no-perms", "-r", "u", "--", "tree"]);
    visit.berth(&["get", "u/run.sh", "--no-perms", "--", "one"]);
    visit.berth(&["mirror", "--no-perms", "--from", "u", "mirrored"]);
    for root in [visit.here("tree"), visit.there("tree"), visit.here("mirrored"), visit.there("mirrored")] {
        for (name, ..) in FILES {
            assert_eq!(mode(&root.join(name)), 0o644, "{}", root.join(name).display());
        }
        assert_eq!(mode(&root.join("in")), 0o755, "{}", root.display());
    }
    assert_eq!((mode(&visit.here("one")), mode(&visit.there("one"))), (0o644, 0o644));
    let ended = visit.berth_under("022", &["ls", "--no-perms"]);
    assert!(ended.code == Some(2), "only commands that copy know it: {ended:?}");
}

fn a_part_is_never_more_open_than_its_file_will_be() {
    let visit = Visit::new(&[]);
    let mut peer = Peer::login(visit.server.address, "ann");
    let mut request = put("/secret", 4 << 20, PutMode::Create);
    if let Request::Put { upload_id, permissions, .. } = &mut request {
        (*upload_id, *permissions) = (Some(UploadId([7; 16])), Some(0o400));
    }
    let id = peer.request(&request);
    let mut bytes = Vec::new();
    for _ in 0..8 {
        put_bytes(&mut bytes, FrameType::Data, id, &[7; 256 * 1024]);
    }
    peer.send(&bytes);
    let part = visit.there(format!(".berth/{}.part", UploadId([7; 16])));
    wait_until("the upload has a part", || part.exists());
    assert_eq!(mode(&part), 0o600);
}

fn the_default_list_of_a_directory_limits_the_permissions_of_a_source() {
    let visit = Visit::new(&[]);
    for root in [visit.here("closed"), visit.there("closed")] {
        fs::create_dir(&root).expect("writable");
        run("setfacl", &["-d", "-m", "g::r-x,o::-"], &root);
    }
    let large = pattern(1, 3 << 20);
    for (name, content) in [("small", &b"content"[..]), ("large", &large)] {
        write(&visit.here(name), content, 0o755);
        write(&visit.there(name), content, 0o755);
        visit.berth(&["put", name, "closed/"]);
        visit.berth(&["get", name, "closed/"]);
        for path in [visit.here("closed"), visit.there("closed")] {
            assert_eq!(mode(&path.join(name)), 0o750, "{}", path.join(name).display());
        }
    }
    // A mirror does not open it later either.
    fs::create_dir(visit.here("open")).expect("writable");
    write(&visit.here("open/small"), b"content", 0o755);
    visit.berth(&["mirror", "open", "closed"]);
    visit.berth(&["mirror", "open", "closed"]);
    assert_eq!(mode(&visit.there("closed/small")), 0o750);
    fs::create_dir(visit.there("open")).expect("writable");
    write(&visit.there("open/small"), b"content", 0o755);
    visit.berth(&["mirror", "--from", "open", "closed"]);
    visit.berth(&["mirror", "--from", "open", "closed"]);
    assert_eq!(mode(&visit.here("closed/small")), 0o750);
}

// ---- Replaced ones ------------------------------------------------------------------------

fn a_file_that_is_replaced_keeps_its_permissions_and_loses_setuid() {
    let visit = Visit::new(&[]);
    for (old, expected) in [(0o600, 0o600), (0o640, 0o640), (0o4755, 0o755), (0o2750, 0o750), (0o664, 0o664)] {
        write(&visit.here("new"), b"new", 0o755);
        write(&visit.there("file"), b"old", old);
        visit.berth(&["put", "-f", "new", "--", "file"]);
        assert_eq!(
            (mode(&visit.there("file")), fs::read(visit.there("file")).expect("there")),
            (expected, b"new".to_vec())
        );
        write(&visit.there("new"), b"new", 0o755);
        write(&visit.here("file"), b"old", old);
        visit.berth(&["get", "-f", "new", "--", "file"]);
        assert_eq!(
            (mode(&visit.here("file")), fs::read(visit.here("file")).expect("here")),
            (expected, b"new".to_vec())
        );
    }
}

fn a_local_file_that_is_replaced_keeps_its_list_and_attributes() {
    let visit = Visit::new(&[]);
    for (command, number) in [("get", 0), ("mirror", 1)] {
        let path = visit.here(format!("{number}/file"));
        write(&path, b"old", 0o4640);
        run("setfacl", &["-m", "u:4243:r,g:4242:rw"], &path);
        run("setfattr", &["-n", "user.note", "-v", "kept"], &path);
        set_mode(&path, mode(&path) | 0o4000);
        let before = rules(&path);
        write(&visit.there("t/file"), b"newer", 0o640);
        match command {
            "get" => visit.berth(&["get", "-f", "t/file", "0/file"]),
            _ => visit.berth(&["mirror", "--no-perms", "--from", "t", "1"]),
        };
        assert_eq!(fs::read(&path).expect("here"), b"newer");
        assert_eq!(mode(&path) & 0o7000, 0, "{command}");
        let (list, values) = before;
        assert_eq!(rules(&path), (list.replace("# flags: s--\n", ""), values), "{command}");
    }
}

// ---- Mirrors ------------------------------------------------------------------------------

fn a_mirror_gives_the_target_the_permissions_of_the_source_and_moves_nothing_for_that() {
    for is_from in [false, true] {
        let visit = Visit::new(&[]);
        let (source, image) =
            if is_from { (visit.there("t"), visit.here("t")) } else { (visit.here("t"), visit.there("t")) };
        let arguments = |options: &[&'static str]| {
            let direction: &[&str] = if is_from { &["--from", "t", "t"] } else { &["t", "t"] };
            [&["mirror"], options, direction].concat()
        };
        plant(&source);
        visit.berth(&arguments(&[]));
        let inode = fs::metadata(image.join("secret")).expect("copied").ino();
        set_mode(&source.join("secret"), 0o644);
        set_mode(&source.join("run.sh"), 0o700);
        set_mode(&source.join("in"), 0o710);
        let ended = visit.berth(&arguments(&["--no-perms"]));
        assert!(!ended.stdout.contains("mode"), "{ended:?}");
        assert_eq!(mode(&image.join("secret")), 0o600);
        let ended = visit.berth(&arguments(&["--dry-run"]));
        assert!(ended.stdout.contains("chmod secret\n") && ended.stdout.contains("3 modes to change"), "{ended:?}");
        assert_eq!(mode(&image.join("secret")), 0o600);
        let ended = visit.berth(&arguments(&[]));
        assert!(ended.stdout.contains("8 files, all already there, 3 modes changed"), "{ended:?}");
        assert_eq!(ended.stderr, "");
        for (name, expected) in [("secret", 0o644), ("run.sh", 0o700), ("in", 0o710)] {
            assert_eq!(mode(&image.join(name)), expected, "{name}");
        }
        assert_eq!(fs::metadata(image.join("secret")).expect("there").ino(), inode, "no data moves");
        let ended = visit.berth(&arguments(&["--checksum"]));
        assert!(!ended.stdout.contains("mode"), "{ended:?}");
    }
}

fn a_mirror_replaces_content_and_permissions_at_once() {
    for is_from in [false, true] {
        let visit = Visit::new(&[]);
        let (source, image) =
            if is_from { (visit.there("t"), visit.here("t")) } else { (visit.here("t"), visit.there("t")) };
        let arguments: &[&str] = if is_from { &["mirror", "--from", "t", "t"] } else { &["mirror", "t", "t"] };
        write(&source.join("file"), b"new content", 0o600);
        write(&image.join("file"), b"old", 0o4644);
        let ended = visit.berth(arguments);
        assert!(!ended.stdout.contains("mode"), "it is one change: {ended:?}");
        assert_eq!(mode(&image.join("file")), 0o600);
        assert_eq!(fs::read(image.join("file")).expect("there"), b"new content");
    }
}

fn mirror_does_not_retry_permission_bits_that_the_umask_removes() {
    let visit = Visit::new(&[]);
    write(&visit.here("t/shared"), b"content", 0o664);
    visit.berth(&["mirror", "t", "t"]);
    assert_eq!(mode(&visit.there("t/shared")), 0o644);
    let ended = visit.berth(&["mirror", "t", "t"]);
    assert!(!ended.stdout.contains("mode"), "{ended:?}");
    assert!(!visit.place.log("access.log").contains("verb=chmod"));
    // Where somebody else has given them, they stay.
    set_mode(&visit.there("t/shared"), 0o664);
    set_mode(&visit.here("t/shared"), 0o775);
    visit.berth(&["mirror", "t", "t"]);
    assert_eq!(mode(&visit.there("t/shared")), 0o775);
}

// ---- File systems without permissions -----------------------------------------------------

/// A directory in which no permission bits can be changed, until this is dropped.
struct Unchangeable(PathBuf);

impl Unchangeable {
    fn new(at: PathBuf) -> Self {
        fs::create_dir_all(&at).expect("writable");
        let status = Command::new("bindfs").arg("--chmod-deny").args([&at, &at]).status().expect("bindfs");
        assert!(status.success(), "it is mounted");
        Self(at)
    }
}

impl Drop for Unchangeable {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn a_file_system_without_permissions_is_told_of_once_and_keeps_the_content() {
    let visit = Visit::new(&[]);
    let _here = Unchangeable::new(visit.here("fat"));
    let _there = Unchangeable::new(visit.there("fat"));
    plant(&visit.here("t"));
    plant(&visit.there("t"));
    for arguments in [["mirror", "t", "fat/t", ""], ["mirror", "--from", "t", "fat/t"]] {
        let arguments: Vec<&str> = arguments.into_iter().filter(|argument| !argument.is_empty()).collect();
        let root = if arguments.len() == 4 { visit.here("fat/t") } else { visit.there("fat/t") };
        visit.berth(&arguments);
        for (name, ..) in FILES {
            assert_eq!(fs::read(root.join(name)).expect("copied"), name.as_bytes(), "{arguments:?}");
        }
        let ended = visit.berth(&arguments);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains("permissions") && ended.stderr.contains("--no-perms"), "{ended:?}");
        assert!(ended.stdout.contains("8 files, all already there"), "{ended:?}");
        let quiet: Vec<&str> = [&["mirror", "--no-perms"], &arguments[1..]].concat();
        assert_eq!(visit.berth(&quiet).stderr, "");
    }
    assert!(matches!(
        Peer::login(visit.server.address, "ann")
            .ask(&Request::SetPermissions { path: "/fat/t/secret".into(), permissions: 0o600 }),
        Reply::Error(_)
    ));
}

// ---- Names that are one --------------------------------------------------------------------

/// A FAT file system, on which `a` is `A`, mounted until this is dropped.
struct Fat(PathBuf);

impl Fat {
    fn new(place: &Place, at: PathBuf, image: &str) -> Self {
        let image = place.path(image);
        fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).expect("disk space");
        run("mkfs.vfat", &[], &image);
        fs::create_dir_all(&at).expect("writable");
        let output = Command::new("fusefat").args(["-o", "rw+"]).args([&image, &at]).output().expect("fusefat");
        assert!(output.status.success(), "{output:?}");
        Self(at)
    }
}

impl Drop for Fat {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn names_that_a_file_system_takes_for_one_never_replace_each_other() {
    let visit = Visit::new(&[]);
    let _here = Fat::new(&visit.place, visit.here("fat"), "image1");
    let _there = Fat::new(&visit.place, visit.there("fat"), "image2");
    for root in [visit.here("t"), visit.there("t")] {
        for (name, content) in [("A", "first"), ("a", "second"), ("b", "other"), ("D/x", "1"), ("d/y", "2")] {
            write(&root.join(name), content.as_bytes(), 0o644);
        }
    }
    let cases: [(&[&str], PathBuf); 8] = [
        (&["get", "-r", "t", "fat/get"], visit.here("fat/get")),
        (&["get", "-f", "-r", "t", "fat/get"], visit.here("fat/get")),
        (&["mirror", "--from", "t", "fat/mirror"], visit.here("fat/mirror")),
        (&["mirror", "--delete", "--from", "t", "fat/mirror"], visit.here("fat/mirror")),
        (&["put", "-r", "t", "fat/put"], visit.there("fat/put")),
        (&["put", "-f", "-r", "t", "fat/put"], visit.there("fat/put")),
        (&["mirror", "t", "fat/mirror"], visit.there("fat/mirror")),
        (&["mirror", "--delete", "t", "fat/mirror"], visit.there("fat/mirror")),
    ];
    for (arguments, root) in cases {
        let ended = visit.berth_under("022", arguments).expect_code(1);
        // Of files and of directories, the second of each is left out, with a line that names both.
        let told =
            ended.stderr.lines().filter(|line| line.contains("the same to the") || line.contains("another spelling"));
        assert_eq!(told.count(), 2, "{arguments:?}: {ended:?}");
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
        let (file, other) = (read("a"), read("b"));
        assert!(file == "first" || file == "second", "{arguments:?}: {file}");
        assert_eq!(other, "other", "the rest moves: {arguments:?}");
        let directory = fs::read_dir(root.join("d")).expect("one of them").count();
        assert_eq!(directory, 1, "nothing is mixed: {arguments:?}");
        let names = fs::read_dir(&root).expect("copied").map(|entry| entry.expect("readable").file_name());
        let first = names.map(|name| name.into_string().expect("ASCII")).find(|name| name.eq_ignore_ascii_case("a"));
        assert_eq!(first.as_deref() == Some("A"), file == "first", "{arguments:?}: it has the name of its content");
    }
}

fn a_mirror_with_delete_keeps_what_the_target_has_under_another_spelling() {
    for is_from in [false, true] {
        let visit = Visit::new(&[]);
        let (source, image) =
            if is_from { (visit.there("t"), visit.here("fat")) } else { (visit.here("t"), visit.there("fat")) };
        let _fat = Fat::new(&visit.place, image.clone(), "image");
        write(&source.join("a"), b"new", 0o644);
        fs::write(image.join("A"), b"older").expect("writable");
        let arguments: &[&str] =
            if is_from { &["mirror", "--delete", "--from", "t", "fat"] } else { &["mirror", "--delete", "t", "fat"] };
        visit.berth(arguments);
        assert_eq!(fs::read(image.join("a")).expect("kept"), b"new");
    }
}

fn a_mirror_with_delete_keeps_what_has_just_arrived_in_a_directory_of_another_spelling() {
    for is_from in [false, true] {
        for exclude in [&[][..], &["--exclude", "*.tmp"]] {
            let visit = Visit::new(&[]);
            let (source, image) =
                if is_from { (visit.there("t"), visit.here("fat")) } else { (visit.here("t"), visit.there("fat")) };
            let _fat = Fat::new(&visit.place, image.clone(), "image");
            for name in ["photos/2026/a", "photos/b", "music/c"] {
                write(&source.join(name), b"new", 0o644);
            }
            for name in ["Photos/2026/a", "Photos/B", "Photos/2026/x.tmp", "old/d"] {
                let path = image.join(name);
                fs::create_dir_all(path.parent().expect("a directory")).expect("writable");
                fs::write(path, b"older").expect("writable");
            }
            let direction: &[&str] = if is_from { &["--from", "t", "fat"] } else { &["t", "fat"] };
            let arguments = [&["mirror", "--delete"], exclude, direction].concat();
            let ended = visit.berth(&arguments);
            for name in ["photos/2026/a", "photos/b", "music/c"] {
                assert_eq!(fs::read(image.join(name)).expect("kept"), b"new", "{arguments:?}: {name}: {ended:?}");
            }
            assert!(!image.join("old").exists(), "{arguments:?}: {ended:?}");
        }
    }
}

// ---- Times --------------------------------------------------------------------------------

fn times_are_those_of_a_named_zone() {
    let visit = Visit::new(&[]);
    write(&visit.there("f"), b"12345", 0o644);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(981_243_000);
    fs::File::options().write(true).open(visit.there("f")).and_then(|file| file.set_modified(time)).expect("ours");
    for (zone, day, time) in [
        ("UTC", "Feb  3  2001", "2001-02-03 23:30:00.000 +0000"),
        ("Asia/Shanghai", "Feb  4  2001", "2001-02-04 07:30:00.000 +0800"),
        ("America/St_Johns", "Feb  3  2001", "2001-02-03 20:00:00.000 -0330"),
        ("Unknown/Zone", "Feb  3  2001", "2001-02-03 23:30:00.000 +0000"),
    ] {
        for (words, shown) in [(["ls", "-l"], day), (["stat", "f"], time)] {
            let mut command = visit.place.berth(&[&[visit.server.target("ann").as_str()], &words[..]].concat());
            command.env("TZ", zone);
            let ended = visit.place.run(command).expect_code(0);
            assert!(ended.stdout.contains(shown), "{zone}: {ended:?}");
        }
    }
}
