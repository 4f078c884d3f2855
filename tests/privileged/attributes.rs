//! Owner, mode, access control list and extended attributes: new files inherit them from their directory, replaced
//! files keep theirs, and a file that the server's user may not write is refused before the first byte.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::support::needs::{
    ACCESS_LISTS, APPEND_ONLY, ATTRIBUTES, BINDFS, CHATTR, FUSE, GETFATTR, MOUNT, MOUNTS, ROOT, SETFACL, SETFATTR,
    tests,
};
use crate::support::peer::{Peer, put};
use crate::support::process::without_rights;
use crate::support::{Place, Server, disk_usage, pattern, wait_until};
use berth::base::digest::Digest;
use berth::base::upload_id::UploadId;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{End, Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

tests! {
    [SETFACL, GETFATTR, ROOT, ACCESS_LISTS]
        new_files_and_directories_get_what_the_kernel_gives_in_their_directory;
    [SETFACL, ACCESS_LISTS]
        rules_of_the_home_itself_do_not_open_the_staging_directory;
    [SETFACL, SETFATTR, ROOT, ACCESS_LISTS, ATTRIBUTES]
        a_replaced_file_keeps_owner_group_mode_list_and_attributes;
    [ROOT]
        a_file_whose_group_the_server_may_not_give_is_open_to_nobody_more,
        what_the_server_may_not_write_is_refused_before_a_byte_is_taken;
    []
        a_hard_link_is_left_with_the_old_content_and_the_quota_is_exact;
    [CHATTR, ROOT, APPEND_ONLY]
        what_can_only_be_appended_to_is_refused_before_a_byte_is_taken;
    [MOUNT, ROOT, MOUNTS]
        a_mount_point_is_neither_removed_nor_moved_and_the_reason_is_told,
        uploads_to_a_file_system_mounted_in_a_home_work_and_leave_nothing_when_they_are_cut,
        a_read_only_file_system_in_a_home_refuses_at_once,
        the_staging_directory_is_refused_and_hidden_under_any_spelling;
    [BINDFS, MOUNT, ROOT, MOUNTS, FUSE]
        uploads_work_where_a_file_system_in_a_home_makes_no_files_without_a_name;
}

/// A group and a user that nobody here is.
const TEAM: u32 = 4242;
const OTHER_USER: u32 = 4243;
/// Enough for a record.
const LARGE: usize = 3 << 20;

/// What a program prints that works on `path`.
fn output(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?} {path:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Owner, group, mode, access control list and extended attributes.
fn attributes(path: &Path) -> (u32, u32, u32, String, String) {
    let metadata = fs::symlink_metadata(path).expect("there");
    let acl = output("getfacl", &["-c", "-p", "-n"], path);
    let extended = output("getfattr", &["-d", "--absolute-names"], path);
    let values = extended.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777, acl, values)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

/// A put under a name by which it can be resumed.
fn named_put(path: &str, size: u64, mode: PutMode, number: u8, resumes: bool) -> Request {
    let mut request = put(path, size, mode);
    if let Request::Put { upload_id, resume, .. } = &mut request {
        (*upload_id, *resume) = (Some(UploadId([number; 16])), resumes);
    }
    request
}

/// Uploads `content` and is cut off on the way, then goes on in another session.
fn put_in_two_sessions(place: &Place, server: &Server, path: &str, content: &[u8], mode: PutMode, number: u8) {
    let mut peer = Peer::login(server.address, "ann");
    let id = peer.request(&named_put(path, content.len() as u64, mode, number, false));
    for piece in content[..2 << 20].chunks(256 * 1024) {
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Data, id, piece);
        peer.send(&bytes);
    }
    let record = place.home("ann", format!(".berth/{}.json", UploadId([number; 16])));
    wait_until("it has a record", || record.exists());
    drop(peer);
    let mut peer = Peer::login(server.address, "ann");
    let id = peer.request(&named_put(path, content.len() as u64, mode, number, true));
    let Reply::Ready { offset, .. } = peer.reply() else { panic!("it is ready") };
    let offset = offset as usize;
    assert!(offset >= 1 << 20, "it resumes at {offset}");
    let mut bytes = Vec::new();
    for piece in content[offset..].chunks(256 * 1024) {
        frame::put_bytes(&mut bytes, FrameType::Data, id, piece);
    }
    let end = End { size: content.len() as u64, digest: Digest::of(content) };
    frame::put_json(&mut bytes, FrameType::End, id, &end);
    peer.send(&bytes);
    let reply = peer.reply();
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
}

#[track_caller]
fn expect_stored(reply: &Reply) {
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
}

#[track_caller]
fn expect_refused(reply: &Reply, expected: ErrorCode) {
    assert!(matches!(reply, Reply::Error(error) if error.code == expected), "{expected:?}, not {reply:?}");
}

#[track_caller]
fn check_quota(place: &Place, server: &Server) {
    let Reply::Quota(report) = Peer::login(server.address, "ann").ask(&Request::Quota {}) else { panic!("a report") };
    let found = (report.used_bytes, report.used_files);
    assert_eq!((found, report.reserved_bytes), (disk_usage(&place.home("ann", "")), 0));
}

// ---- New ones -----------------------------------------------------------------------------

fn new_files_and_directories_get_what_the_kernel_gives_in_their_directory() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    for (number, (directory, rules)) in
        [("plain", None), ("team", None), ("closed", Some("g:4242:rwx,o::-")), ("open", Some("u:4243:rwx,g::-"))]
            .into_iter()
            .enumerate()
    {
        let path = place.home("ann", directory);
        fs::create_dir(&path).expect("ours");
        if directory == "team" {
            chown(&path, None, Some(TEAM)).expect("root may");
            set_mode(&path, 0o2775);
        }
        if let Some(rules) = rules {
            output("setfacl", &["-d", "-m", rules], &path);
        }
        // As a shell with the server's umask makes them.
        let made = Command::new("sh").arg("-c").arg("umask 022; touch file; mkdir folder").current_dir(&path).status();
        assert!(made.expect("sh").success());
        let mut peer = Peer::login(server.address, "ann");
        expect_stored(&peer.put(&format!("/{directory}/small"), b"content", PutMode::Create));
        assert!(matches!(
            peer.ask(&Request::Mkdir {
                path: Name::from(format!("/{directory}/a/b").as_str()),
                parents: true,
                permissions: None
            }),
            Reply::Done {}
        ));
        let large = format!("/{directory}/large");
        put_in_two_sessions(&place, &server, &large, &pattern(1, LARGE), PutMode::Create, number as u8);
        for name in ["small", "large"] {
            assert_eq!(attributes(&path.join(name)), attributes(&path.join("file")), "{directory}/{name}");
        }
        assert_eq!(attributes(&path.join("a")), attributes(&path.join("folder")), "{directory}/a");
    }
    assert_eq!(fs::metadata(place.home("ann", "plain/small")).expect("there").mode() & 0o7777, 0o644);
    assert_eq!(fs::metadata(place.home("ann", "team/small")).expect("there").gid(), TEAM);
}

fn rules_of_the_home_itself_do_not_open_the_staging_directory() {
    let place = Place::new();
    place.add("ann", &[]);
    output("setfacl", &["-d", "-m", "o::rwx,u:4243:rwx"], &place.home("ann", ""));
    let server = place.serve();
    let content = pattern(1, LARGE);
    put_in_two_sessions(&place, &server, "/large", &content, PutMode::Create, 1);
    let staging = place.home("ann", ".berth");
    assert_eq!(fs::metadata(&staging).expect("made").mode() & 0o7777, 0o700);
    assert_eq!(output("getfacl", &["-c", "-p", "-n", "-s"], &staging), "");
}

// ---- Replaced ones ------------------------------------------------------------------------

fn a_replaced_file_keeps_owner_group_mode_list_and_attributes() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    for (number, (mode, acl, inherits)) in [
        (0o640, None, false),
        (0o400, None, false),
        (0o4755, None, false),
        (0o660, Some("u:4243:r,g:4242:rw"), false),
        (0o600, None, true),
    ]
    .into_iter()
    .enumerate()
    {
        let directory = place.home("ann", format!("folder{number}"));
        fs::create_dir(&directory).expect("ours");
        for name in ["small", "large"] {
            let path = directory.join(name);
            fs::write(&path, "old").expect("ours");
            output("setfattr", &["-n", "user.note", "-v", "kept"], &path);
            if let Some(acl) = acl {
                output("setfacl", &["-m", acl], &path);
            }
            chown(&path, Some(OTHER_USER), Some(TEAM)).expect("root may");
            set_mode(&path, mode);
        }
        if inherits {
            output("setfacl", &["-d", "-m", "u:4243:rwx,o::rwx"], &directory);
        }
        let mut before = attributes(&directory.join("small"));
        // Whoever writes to a program as an ordinary user takes these away.
        before.2 &= 0o777;
        before.3 = before.3.lines().filter(|line| !line.starts_with("# flags")).collect::<Vec<_>>().join("\n");
        let small = format!("/folder{number}/small");
        expect_stored(&Peer::login(server.address, "ann").put(&small, b"new", PutMode::Replace));
        let large = format!("/folder{number}/large");
        put_in_two_sessions(&place, &server, &large, &pattern(1, LARGE), PutMode::Replace, number as u8);
        for name in ["small", "large"] {
            let mut after = attributes(&directory.join(name));
            after.3 = after.3.trim_end().into();
            before.3 = before.3.trim_end().into();
            assert_eq!(after, before, "{mode:o} {acl:?} {name}");
            assert_ne!(fs::read(directory.join(name)).expect("readable"), b"old");
        }
    }
}

fn a_file_whose_group_the_server_may_not_give_is_open_to_nobody_more() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut command = place.berthd(&["serve"]);
    without_rights(&mut command, &place.path(""));
    let server = place.serve_as(command);
    let server_user = fs::metadata(place.home("ann", "")).expect("there").uid();
    for (mode, expected) in [(0o660, 0o600), (0o644, 0o644), (0o664, 0o644), (0o606, 0o600)] {
        let path = place.home("ann", "file");
        let _ = fs::remove_file(&path);
        fs::write(&path, "old").expect("ours");
        chown(&path, Some(server_user), Some(TEAM)).expect("root may");
        set_mode(&path, mode);
        expect_stored(&Peer::login(server.address, "ann").put("/file", b"new", PutMode::Replace));
        let after = fs::metadata(&path).expect("there");
        assert_eq!((after.mode() & 0o7777, fs::read(&path).expect("ours")), (expected, b"new".to_vec()), "{mode:o}");
    }
}

fn a_hard_link_is_left_with_the_old_content_and_the_quota_is_exact() {
    let place = Place::new();
    place.add("ann", &["--quota", "1M"]);
    let server = place.serve();
    fs::write(place.home("ann", "a"), [1; 1000]).expect("ours");
    fs::hard_link(place.home("ann", "a"), place.home("ann", "b")).expect("one file system");
    expect_stored(&Peer::login(server.address, "ann").put("/a", &[2; 10], PutMode::Replace));
    assert_eq!(fs::read(place.home("ann", "b")).expect("there"), [1; 1000]);
    expect_stored(&Peer::login(server.address, "ann").put("/c", &[2; 10], PutMode::Create));
    check_quota(&place, &server);
}

// ---- What may not be written --------------------------------------------------------------

/// What a put of a file that is much too large to be sent in vain is answered at once.
fn announce(server: &Server, path: &str, mode: PutMode) -> Reply {
    Peer::login(server.address, "ann").ask(&named_put(path, 40 << 20, mode, 77, true))
}

fn what_the_server_may_not_write_is_refused_before_a_byte_is_taken() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut command = place.berthd(&["serve"]);
    without_rights(&mut command, &place.path(""));
    let user = fs::metadata(place.home("ann", "")).expect("there").uid();
    let server = place.serve_as(command);
    let make = |path: &str, owner: u32, mode: u32| {
        let path = place.home("ann", path);
        fs::write(&path, "old").expect("root may");
        chown(&path, Some(owner), Some(owner)).expect("root may");
        set_mode(&path, mode);
    };
    let directory = |path: &str, owner: u32, mode: u32| {
        fs::create_dir(place.home("ann", path)).expect("root may");
        chown(place.home("ann", path), Some(owner), Some(owner)).expect("root may");
        set_mode(&place.home("ann", path), mode);
    };
    make("readonly", user, 0o444);
    make("foreign", 0, 0o644);
    directory("closed", 0, 0o755);
    make("closed/open", user, 0o666);
    directory("sticky", 0, 0o1777);
    make("sticky/foreign", OTHER_USER, 0o666);
    make("sticky/own", user, 0o644);
    for path in ["/readonly", "/foreign", "/closed/open", "/closed/new", "/sticky/foreign"] {
        expect_refused(&announce(&server, path, PutMode::Replace), ErrorCode::Denied);
    }
    for path in ["/sticky/own", "/sticky/new", "/new"] {
        assert!(matches!(announce(&server, path, PutMode::Replace), Reply::Ready { .. }), "{path}");
    }
    let mut peer = Peer::login(server.address, "ann");
    expect_refused(
        &peer.ask(&Request::Mkdir { path: "/closed/d".into(), parents: false, permissions: None }),
        ErrorCode::Denied,
    );
    expect_refused(&peer.ask(&Request::Rm { path: "/closed/open".into() }), ErrorCode::Denied);
    expect_refused(&peer.ask(&Request::Rm { path: "/sticky/foreign".into() }), ErrorCode::Denied);
    for path in ["readonly", "foreign", "closed/open", "sticky/foreign"] {
        assert_eq!(fs::read(place.home("ann", path)).expect("there"), b"old", "{path}");
    }
    check_quota(&place, &server);
}

/// A file or directory that can only grow, until this is dropped.
struct AppendOnly<'a>(&'a Path);

impl<'a> AppendOnly<'a> {
    fn new(at: &'a Path) -> Self {
        output("chattr", &["+a"], at);
        Self(at)
    }
}

impl Drop for AppendOnly<'_> {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-a").arg(self.0).status();
    }
}

fn what_can_only_be_appended_to_is_refused_before_a_byte_is_taken() {
    let place = Place::new();
    place.add("ann", &[]);
    let (file, directory) = (place.home("ann", "grows"), place.home("ann", "only"));
    fs::create_dir(&directory).expect("root may");
    fs::write(&file, "old").expect("root may");
    fs::write(directory.join("old"), "old").expect("root may");
    let _held = (AppendOnly::new(&file), AppendOnly::new(&directory));
    let server = place.serve();
    for path in ["/grows", "/only/old"] {
        expect_refused(&announce(&server, path, PutMode::Replace), ErrorCode::Denied);
    }
    assert!(matches!(announce(&server, "/only/new", PutMode::Replace), Reply::Ready { .. }));
    check_quota(&place, &server);
}

// ---- Other file systems -------------------------------------------------------------------

/// A file system of its own inside a home, until this is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(at: &'a Path, arguments: &[&str]) -> Self {
        Self::by("mount", at, arguments)
    }

    fn by(program: &str, at: &'a Path, arguments: &[&str]) -> Self {
        fs::create_dir_all(at).expect("writable");
        output(program, arguments, at);
        Self(at)
    }

    /// A file system in memory.
    fn in_memory(at: &'a Path, options: &str) -> Self {
        Self::new(at, &["-t", "tmpfs", "-o", options, "tmpfs"])
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn a_mount_point_is_neither_removed_nor_moved_and_the_reason_is_told() {
    let place = Place::new();
    place.add("ann", &[]);
    let at = place.home("ann", "mnt");
    let _mounted = Mounted::in_memory(&at, "size=1m,mode=755");
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    expect_refused(&peer.ask(&Request::Rmdir { path: "/mnt".into() }), ErrorCode::Denied);
    let moved = Request::Mv { from: "/mnt".into(), to: "/elsewhere".into(), replace: false };
    expect_refused(&peer.ask(&moved), ErrorCode::Denied);
}

fn uploads_to_a_file_system_mounted_in_a_home_work_and_leave_nothing_when_they_are_cut() {
    let place = Place::new();
    let elsewhere = place.path("elsewhere");
    fs::create_dir(&elsewhere).expect("ours");
    // The second has the device number of the home, and links to it are refused all the same.
    for arguments in
        [&["-t", "tmpfs", "-o", "size=32m,mode=755", "tmpfs"][..], &["--bind", elsewhere.to_str().expect("UTF-8")]]
    {
        uploads_to_a_mount_work(|at| Mounted::new(at, arguments));
    }
}

/// A file system of a program (FUSE) makes no files without a name, like FAT and exFAT on a USB disk.
fn uploads_work_where_a_file_system_in_a_home_makes_no_files_without_a_name() {
    let place = Place::new();
    let elsewhere = place.path("elsewhere");
    fs::create_dir(&elsewhere).expect("ours");
    uploads_to_a_mount_work(|at| Mounted::by("bindfs", at, &[elsewhere.to_str().expect("UTF-8")]));
}

fn uploads_to_a_mount_work(mount: impl for<'a> Fn(&'a Path) -> Mounted<'a>) {
    let place = Place::new();
    place.add("ann", &[]);
    let at = place.home("ann", "mnt");
    let _mounted = mount(&at);
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    expect_stored(&peer.put("/mnt/file", b"content", PutMode::Create));
    set_mode(&at.join("file"), 0o600);
    expect_stored(&peer.put("/mnt/file", &pattern(1, LARGE), PutMode::Replace));
    assert_eq!(fs::read(at.join("file")).expect("there"), pattern(1, LARGE));
    assert_eq!(fs::metadata(at.join("file")).expect("there").mode() & 0o7777, 0o600);
    let large = pattern(2, LARGE);
    let id = peer.request(&named_put("/mnt/cut", 8 << 20, PutMode::Create, 9, false));
    let mut bytes = Vec::new();
    large.chunks(256 * 1024).for_each(|piece| frame::put_bytes(&mut bytes, FrameType::Data, id, piece));
    peer.send(&bytes);
    let used = || {
        let report = Peer::login(server.address, "ann").ask(&Request::Quota {});
        if let Reply::Quota(report) = report { report.used_bytes } else { panic!("a report, not {report:?}") }
    };
    wait_until("all has come", || used() == 2 * LARGE as u64);
    drop(peer);
    wait_until("the session has ended", || used() == LARGE as u64);
    let names = fs::read_dir(&at).expect("there").map(|entry| entry.expect("readable").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["file"]);
    let mut peer = Peer::login(server.address, "ann");
    assert!(matches!(peer.ask(&Request::Partials {}), Reply::Partials { ref partials, .. } if partials.is_empty()));
    let across = Request::Mv { from: "/mnt/file".into(), to: "/file".into(), replace: false };
    let Reply::Error(error) = peer.ask(&across) else { panic!("it cannot be renamed") };
    assert!(error.message.contains("file systems"), "{error:?}");
    check_quota(&place, &server);
}

fn a_read_only_file_system_in_a_home_refuses_at_once() {
    let place = Place::new();
    place.add("ann", &[]);
    let at = place.home("ann", "mnt");
    let _mounted = Mounted::in_memory(&at, "size=1m,mode=777");
    fs::write(at.join("file"), "old").expect("writable");
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&at).status().expect("mount").success());
    let server = place.serve();
    for path in ["/mnt/file", "/mnt/new"] {
        expect_refused(&announce(&server, path, PutMode::Replace), ErrorCode::Denied);
    }
}

/// What a file system that ignores case does, done by a mount: another spelling leads to the same directory.
fn the_staging_directory_is_refused_and_hidden_under_any_spelling() {
    let place = Place::new();
    place.add("ann", &[]);
    let staging = place.home("ann", ".berth");
    fs::create_dir(&staging).expect("ours");
    let at = place.home("ann", ".BERTH");
    let _mounted = Mounted::new(&at, &["--bind", staging.to_str().expect("UTF-8")]);
    fs::write(staging.join("secret.part"), "secret").expect("ours");
    fs::create_dir(place.home("ann", ".Berth")).expect("ours");
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    for request in [
        Request::Stat { path: "/.BERTH".into() },
        Request::List { path: "/.BERTH".into() },
        Request::Rmdir { path: "/.BERTH".into() },
        Request::Rm { path: "/.BERTH/secret.part".into() },
        Request::Mv { from: "/.BERTH".into(), to: "/x".into(), replace: false },
        Request::Mkdir { path: "/.BERTH/x".into(), parents: true, permissions: None },
    ] {
        let reply = peer.ask(&request);
        assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::BadName), "{request:?}: {reply:?}");
    }
    for path in ["/.BERTH", "/.BERTH/x"] {
        expect_refused(&announce(&server, path, PutMode::Replace), ErrorCode::BadName);
    }
    expect_stored(&peer.put("/.Berth/file", b"content", PutMode::Create));
    let Reply::Page { entries, .. } = peer.ask(&Request::List { path: "/".into() }) else { panic!("a page") };
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(fs::read(staging.join("secret.part")).expect("there"), b"secret");
}
