//! No path leads out of a home or into the staging directory: links, races, special files, unusual names, renames. On
//! real directories.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::support::exchange_names::while_flipping;
use crate::support::in_memory::*;
use crate::support::requests::Put;
use berth::auth::scram::{Binding, ClientExchange, ScramError};
use berth::base::upload_id::UploadId;
use berth::wire::message::{EntryKind, Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

/// A home beside a directory with a secret, with links of all kinds in it.
fn server_with_links() -> Server {
    let server = Server::new();
    let outside = server.root().join("outside");
    std::fs::create_dir_all(outside.join("folder")).expect("mkdir");
    write(&outside.join("secret"), b"secret");
    std::fs::create_dir_all(server.at("folder/deep")).expect("mkdir");
    write(&server.at("folder/file"), b"inside");
    for (name, target) in [
        ("absolute", outside.to_str().expect("UTF-8")),
        ("relative", "../../outside"),
        ("winding", "folder/../../../outside"),
        ("chain", "relative"),
        ("folder/up", "../../../outside"),
        ("file_absolute", outside.join("secret").to_str().expect("UTF-8")),
        ("file_relative", "../../outside/secret"),
        ("file_chain", "chain/secret"),
        ("system", "/etc"),
        ("process", "/proc/self/root"),
        ("loop", "loop"),
        ("dangling", "../../outside/none"),
        ("inside", "folder"),
        ("inside_file", "folder/file"),
        ("inside_winding", "folder/deep/../file"),
    ] {
        symlink(target, server.at(name)).expect("symlink");
    }
    server
}

/// Every path below `directory` with what tells whether it was touched.
fn snapshot(directory: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let (mut directories, mut seen) = (vec![directory.to_path_buf()], Vec::new());
    while let Some(at) = directories.pop() {
        for entry in std::fs::read_dir(at).expect("readable") {
            let path = entry.expect("entry").path();
            let meta = path.symlink_metadata().expect("metadata");
            if meta.is_dir() {
                directories.push(path.clone());
            }
            seen.push((path, meta.ino(), meta.ctime(), meta.ctime_nsec()));
        }
    }
    seen.sort();
    seen
}

/// Every request that names `path`, the destructive ones last.
fn every_request(path: &str) -> Vec<Request> {
    let replacing = |from: &str, to: &str| Request::Mv { from: from.into(), to: to.into(), replace: true };
    vec![
        stat(path),
        Request::List { path: path.into() },
        Request::Digest { path: path.into(), algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS },
        get(path),
        put_mode(path, Some(3), PutMode::Create),
        put_mode(path, None, PutMode::Replace),
        put_as(path, 3, UploadId([9; 16]), true),
        Request::SetPermissions { path: path.into(), permissions: 0o777 },
        mkdir(path),
        Request::Mkdir { path: path.into(), parents: true, permissions: Some(0o777) },
        Request::Mkdir { path: format!("{path}/new").as_str().into(), parents: true, permissions: None },
        mv(path, "/stolen"),
        replacing(path, "/stolen"),
        mv("/folder/file", path),
        replacing("/folder/file", path),
        rmdir(path),
        rm(path),
    ]
}

/// Sends the request, with data behind it if it is an upload; its refusal, if it is refused.
fn outcome(peer: &mut Peer, server: &mut Server, request: &Request) -> Option<ErrorCode> {
    let id = peer.request(request);
    if matches!(request, Request::Put { .. }) {
        peer.data(id, b"bad");
        peer.end(id, b"bad");
    }
    let got = peer.exchange(server);
    assert!(!peer.is_closing(), "{request:?} ended the session: {got:?}");
    got.iter().find_map(Got::code)
}

// ---- Spellings ----------------------------------------------------------------------------

#[test]
fn no_spelling_of_a_path_leads_out_with_any_request() {
    let mut server = server_with_links();
    let outside = server.root().join("outside");
    let before = snapshot(&outside);
    let absolute = outside.to_str().expect("UTF-8").to_string();
    let mut peer = server.log_in();
    for spelling in [
        "../../outside",
        "/../../outside",
        "//..//..//outside/",
        "./.././../outside",
        "folder/../../../outside",
        "/folder/deep/../../../../../outside",
        "/inside/../../../outside",
        "\\..\\..\\outside",
        "..\\..\\outside",
        "%2e%2e/%2e%2e/outside",
        "..\u{2215}..\u{2215}outside",
        &absolute,
        "..",
        ".",
        "/",
        "//",
        "",
    ] {
        for path in [spelling.to_string(), format!("{spelling}/secret"), format!("{spelling}/new")] {
            for request in every_request(&path) {
                let id = peer.request(&request);
                if matches!(request, Request::Put { .. }) {
                    peer.data(id, b"bad");
                    peer.end(id, b"bad");
                }
                let got = peer.exchange(&mut server);
                assert!(!peer.is_closing(), "{request:?}: {got:?}");
                let leaked = got.iter().any(|got| matches!(got, Got::Data(_, bytes) if bytes == b"secret"));
                assert!(!leaked && snapshot(&outside) == before, "{request:?}: {got:?}");
            }
        }
    }
    let beside: Vec<_> = std::fs::read_dir(server.root().join("homes")).expect("readable").collect();
    assert_eq!(beside.len(), 1, "nothing is made beside the home");
    server.capability().ledger().begin_recount();
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

/// With the right password for the file that such a name would lead to.
#[test]
fn a_user_name_that_is_a_path_gets_the_answer_of_an_unknown_name() {
    let mut server = Server::new();
    let accounts = server.root().join("conf/users");
    let account = std::fs::read(accounts.join("alice.json")).expect("there");
    for copy in ["../evil.json", ".hidden.json", "-x.json", "with space.json"] {
        write(&accounts.join(copy), &account);
    }
    let absolute = server.root().join("conf/evil").to_str().expect("UTF-8").to_string();
    let long = "a".repeat(300);
    for name in [
        "../evil",
        "../../conf/evil",
        &absolute,
        "./alice",
        "alice/",
        "alice/.",
        "../users/alice",
        "alice.json",
        ".hidden",
        ".decoy",
        "-x",
        "with space",
        "ALICE",
        " alice",
        ".",
        "..",
        "/",
        &long,
    ] {
        let mut peer = server.connect();
        peer.ask(&mut server, &Request::Hello { versions: vec![1], client: String::new() });
        let (exchange, message) = ClientExchange::new(name, keys(), Binding::None).expect("a name");
        let reply = peer.ask(&mut server, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
        let Reply::Challenge { message } = reply else { panic!("{name}: {reply:?}") };
        assert_eq!(exchange.answer(&message).err(), Some(ScramError::KeysOutdated), "{name}: another salt");
    }
    assert!(matches!(server.connect().log_in(&mut server, USER), Reply::Welcome { .. }));
}

// ---- Links --------------------------------------------------------------------------------

#[test]
fn no_request_goes_through_a_link_that_leads_out() {
    let mut server = server_with_links();
    let before = snapshot(&server.root().join("outside"));
    let mut peer = server.log_in();
    for link in ["absolute", "relative", "winding", "chain", "folder/up", "inside/up", "system", "process", "loop"] {
        for below in ["secret", "folder", "new", "folder/new", "none/none", "hosts", "tmp"] {
            let path = format!("/{link}/{below}");
            for request in every_request(&path) {
                let code = outcome(&mut peer, &mut server, &request);
                assert_eq!(code, Some(ErrorCode::OutsideHome), "{request:?}");
            }
        }
    }
    assert_eq!(snapshot(&server.root().join("outside")), before);
    assert!(!server.at("stolen").exists());
}

#[test]
fn a_link_that_leads_out_is_not_followed_but_can_be_moved_and_removed() {
    let mut server = server_with_links();
    let before = snapshot(&server.root().join("outside"));
    let mut peer = server.log_in();
    for link in ["file_chain", "chain", "absolute", "relative", "file_absolute", "file_relative", "system", "dangling"]
    {
        let path = format!("/{link}");
        for request in [
            stat(&path),
            get(&path),
            Request::Digest {
                path: path.as_str().into(),
                algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS,
            },
        ] {
            let code = outcome(&mut peer, &mut server, &request);
            assert_eq!(code, Some(ErrorCode::OutsideHome), "{request:?}");
        }
        let code = outcome(&mut peer, &mut server, &Request::List { path: path.as_str().into() });
        assert_eq!(code, Some(ErrorCode::OutsideHome), "{path}");
        for request in [put_mode(&path, Some(3), PutMode::Create), mkdir(&path), mv("/folder/file", &path)] {
            assert_eq!(outcome(&mut peer, &mut server, &request), Some(ErrorCode::Exists), "{request:?}");
        }
        assert_eq!(outcome(&mut peer, &mut server, &rmdir(&path)), Some(ErrorCode::NotADirectory), "{path}");
        assert_eq!(outcome(&mut peer, &mut server, &mv(&path, "/moved")), None, "{path}");
        assert!(server.at("moved").is_symlink());
        assert_eq!(outcome(&mut peer, &mut server, &rm("/moved")), None, "{path}");
    }
    assert_eq!(snapshot(&server.root().join("outside")), before);
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn an_upload_onto_a_link_replaces_the_link_and_not_what_it_names() {
    let mut server = server_with_links();
    let before = snapshot(&server.root().join("outside"));
    let mut peer = server.log_in();
    for link in ["file_absolute", "file_relative", "absolute", "dangling", "loop", "inside_file"] {
        assert!(matches!(peer.put(&mut server, &format!("/{link}"), b"mine"), Reply::Stored { .. }));
        assert!(!server.at(link).is_symlink());
        assert_eq!(peer.get(&mut server, &format!("/{link}")), Ok(b"mine".to_vec()));
    }
    assert_eq!(snapshot(&server.root().join("outside")), before);
    assert_eq!(std::fs::read(server.at("folder/file")).expect("there"), b"inside");
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn links_that_stay_inside_work() {
    let mut server = server_with_links();
    let mut peer = server.log_in();
    for path in ["/inside/file", "/inside_file", "/inside_winding", "/inside/deep/../file"] {
        assert_eq!(peer.get(&mut server, path), Ok(b"inside".to_vec()), "{path}");
        let reply = peer.ask(&mut server, &stat(path));
        assert!(matches!(&reply, Reply::Stat { entry, .. } if entry.kind == EntryKind::File && entry.size == 6));
    }
    assert_eq!(peer.list(&mut server, "/inside").map(|names| names.len()), Ok(3));
    assert!(matches!(peer.put(&mut server, "/inside/new", b"new"), Reply::Stored { .. }));
    assert_eq!(peer.ask(&mut server, &mkdir("/inside/made")), Reply::Done {});
    assert_eq!(peer.ask(&mut server, &mv("/inside/new", "/inside/made/newer")), Reply::Done {});
    assert_eq!(peer.get(&mut server, "/folder/made/newer"), Ok(b"new".to_vec()));
    assert_eq!(peer.ask(&mut server, &rm("/inside/made/newer")), Reply::Done {});
    assert_eq!(peer.ask(&mut server, &rmdir("/inside/made")), Reply::Done {});
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn a_listing_shows_links_as_links() {
    let mut server = server_with_links();
    let mut peer = server.log_in();
    let Reply::Page { entries, last: true } = peer.ask(&mut server, &Request::List { path: "/".into() }) else {
        panic!("a page")
    };
    let links = entries.iter().filter(|entry| entry.kind == EntryKind::Link);
    assert_eq!(links.count(), entries.len() - 1, "all but the folder");
}

#[test]
fn a_home_with_the_same_prefix_is_not_accessible() {
    let mut server = Server::new();
    server.add_account("bob", Rights::default());
    server.add_account("bob2", Rights::default());
    write(&server.home_of("bob2").join("secret"), b"secret");
    symlink("../bob2", server.home_of("bob").join("link")).expect("symlink");
    symlink(server.home_of("bob2"), server.home_of("bob").join("direct")).expect("symlink");
    let mut peer = server.log_in_as("bob");
    for path in ["/../bob2/secret", "../bob2/secret", "/../../homes/bob2/secret", "bob2/secret", "/2/secret"] {
        assert_eq!(peer.get(&mut server, path), Err(ErrorCode::NotFound), "{path}");
    }
    for path in ["/link/secret", "/direct/secret"] {
        assert_eq!(peer.get(&mut server, path), Err(ErrorCode::OutsideHome), "{path}");
    }
}

#[test]
fn a_home_that_became_a_link_lets_nobody_in() {
    let mut server = Server::new();
    let elsewhere = server.root().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("mkdir");
    std::fs::remove_dir(server.home()).expect("rmdir");
    symlink(&elsewhere, server.home()).expect("symlink");
    let mut peer = server.connect();
    assert!(matches!(peer.log_in(&mut server, USER), Reply::Error(error) if error.code == ErrorCode::Io));
    assert_eq!(peer.refused(&mut server, &mkdir("/new")), ErrorCode::LoginRequired);
    assert_eq!(snapshot(&elsewhere), []);
}

// ---- Special files ------------------------------------------------------------------------

#[test]
fn pipes_sockets_and_devices_are_refused_and_never_block() {
    let mut server = Server::new();
    write(&server.at("file"), b"x");
    let node = |name: &str, kind, device| rustix::fs::mknodat(CWD, server.at(name), kind, Mode::RWXU, device);
    node("pipe", FileType::Fifo, 0).expect("mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(server.at("socket")).expect("bind");
    let mut names = vec!["pipe", "socket"];
    // Only root may make devices, and not everywhere.
    if node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)).is_ok() {
        names.push("null");
    }
    if node("driverless", FileType::BlockDevice, rustix::fs::makedev(250, 77)).is_ok() {
        names.push("driverless");
    }
    for name in names {
        symlink(name, server.at("link")).expect("symlink");
        server.capability().ledger().begin_recount();
        let path = format!("/{name}");
        let mut peer = server.log_in();
        for path in [path.as_str(), "/link"] {
            for request in [
                get(path),
                Request::Digest { path: path.into(), algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS },
            ] {
                assert_eq!(outcome(&mut peer, &mut server, &request), Some(ErrorCode::NotAFile), "{request:?}");
            }
            assert_eq!(peer.refused(&mut server, &stat(&format!("{path}/x"))), ErrorCode::NotADirectory, "{path}");
        }
        let reply = peer.ask(&mut server, &stat(&path));
        assert!(matches!(&reply, Reply::Stat { entry, etag: None } if entry.kind == EntryKind::Other), "{reply:?}");
        assert_eq!(peer.list(&mut server, &path), Ok(vec![name.to_string()]));
        for request in [put_mode(&path, Some(3), PutMode::Create), mkdir(&path), mv("/file", &path)] {
            assert_eq!(outcome(&mut peer, &mut server, &request), Some(ErrorCode::Exists), "{request:?}");
        }
        assert!(matches!(peer.put(&mut server, &path, b"a file instead"), Reply::Stored { .. }), "{path}");
        assert_eq!(peer.get(&mut server, &path), Ok(b"a file instead".to_vec()));
        assert_eq!(peer.ask(&mut server, &rm(&path)), Reply::Done {});
        assert_eq!(peer.ask(&mut server, &rm("/link")), Reply::Done {});
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
}

// ---- Staging ------------------------------------------------------------------------------

const ID: UploadId = UploadId([7; 16]);

/// A home with a partial upload in it. In a restarted server nobody has opened staging yet.
fn server_with_partial(is_restarted: bool) -> (Server, PathBuf) {
    let mut server = Server::new();
    std::fs::create_dir_all(server.at("folder/deep")).expect("mkdir");
    write(&server.at("folder/file"), b"inside");
    let mut peer = server.log_in();
    let id = peer.request(&put_as("/file", 2 * MIB as u64, ID, false));
    peer.all_data(id, &content(1, MIB + 5));
    peer.pump(&mut server);
    peer.reset(&server);
    if is_restarted {
        server.restart();
    }
    let part = server.at(".berth").join(format!("{ID}.part"));
    assert_eq!(part.metadata().expect("there").len(), MIB as u64 + 5);
    (server, part)
}

#[test]
fn staging_cannot_be_named() {
    for is_restarted in [false, true] {
        let (mut server, _) = server_with_partial(is_restarted);
        let before = snapshot(&server.at(".berth"));
        let mut peer = server.log_in();
        for path in ["/.berth", ".berth", "//.berth/", "/folder/../.berth", "/./.berth", "/../.berth"] {
            for path in [path.to_string(), format!("{path}/{ID}.part"), format!("{path}/new")] {
                for request in every_request(&path) {
                    let code = outcome(&mut peer, &mut server, &request);
                    assert_eq!(code, Some(ErrorCode::BadName), "{request:?}");
                }
            }
        }
        assert_eq!(snapshot(&server.at(".berth")), before);
        assert_eq!(peer.list(&mut server, "/"), Ok(vec!["folder".into()]));
    }
}

#[test]
fn staging_cannot_be_made_before_it_is_there() {
    let mut server = server_with_links();
    let mut peer = server.log_in();
    for request in every_request("/.berth") {
        assert_eq!(outcome(&mut peer, &mut server, &request), Some(ErrorCode::BadName), "{request:?}");
    }
    assert!(!server.at(".berth").exists());
}

#[test]
fn staging_cannot_be_reached_through_a_link() {
    for is_restarted in [false, true] {
        let (mut server, part) = server_with_partial(is_restarted);
        symlink(".berth", server.at("link")).expect("symlink");
        symlink("../../.berth", server.at("folder/deep/link")).expect("symlink");
        symlink("folder/deep/link", server.at("chain")).expect("symlink");
        let before = snapshot(&server.at(".berth"));
        let mut peer = server.log_in();
        for link in ["/link", "/folder/deep/link", "/chain"] {
            for name in [format!("{ID}.part"), format!("{ID}.json"), "new".into()] {
                for request in every_request(&format!("{link}/{name}")) {
                    let code = outcome(&mut peer, &mut server, &request);
                    let is_missing = name == "new" && code == Some(ErrorCode::NotFound);
                    assert!(is_missing || code == Some(ErrorCode::BadName), "{request:?}: {code:?}");
                }
            }
            for request in [stat(link), Request::List { path: link.into() }] {
                assert_eq!(outcome(&mut peer, &mut server, &request), Some(ErrorCode::BadName), "{request:?}");
            }
        }
        assert_eq!(snapshot(&server.at(".berth")), before);

        symlink(Path::new(".berth").join(part.file_name().expect("a name")), server.at("direct")).expect("symlink");
        symlink("direct", server.at("folder/indirect")).expect("symlink");
        symlink("../direct", server.at("folder/indirectly")).expect("symlink");
        for path in ["/direct", "/folder/indirectly"] {
            for request in [
                get(path),
                Request::Digest { path: path.into(), algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS },
                stat(path),
            ] {
                assert_eq!(outcome(&mut peer, &mut server, &request), Some(ErrorCode::BadName), "{request:?}");
            }
        }
    }
}

#[test]
fn dot_berth_is_reserved_only_at_the_top_of_the_home() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    for request in [mkdir("/folder"), mkdir("/folder/.berth")] {
        assert_eq!(peer.ask(&mut server, &request), Reply::Done {});
    }
    assert!(matches!(peer.put(&mut server, "/folder/.berth/file", b"x"), Reply::Stored { .. }));
    assert!(matches!(peer.put(&mut server, "/.berth2", b"x"), Reply::Stored { .. }));
    assert_eq!(peer.list(&mut server, "/folder"), Ok(vec![".berth".into()]));
    assert_eq!(peer.list(&mut server, "/"), Ok(vec![".berth2".into(), "folder".into()]));
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn staging_that_was_removed_by_an_administrator_is_made_again() {
    let (mut server, _) = server_with_partial(false);
    let mut peer = server.log_in();
    std::fs::remove_dir_all(server.at(".berth")).expect("removed");
    assert!(matches!(peer.put(&mut server, "/file", b"x"), Reply::Stored { .. }));
    assert_eq!(peer.ask(&mut server, &Request::Partials {}), Reply::Partials { partials: vec![], last: true });
}

// ---- Renames ------------------------------------------------------------------------------

#[test]
fn nothing_moves_out_of_the_home_onto_it_or_into_itself() {
    let mut server = server_with_links();
    let before = snapshot(&server.home());
    let mut peer = server.log_in();
    for (from, to, code) in [
        ("/", "/new", ErrorCode::BadName),
        ("/", "/", ErrorCode::BadName),
        ("/folder", "/", ErrorCode::BadName),
        ("/folder", "..", ErrorCode::BadName),
        ("/folder", "/folder/deep/below", ErrorCode::BadName),
        ("/folder", "/folder/deep", ErrorCode::BadName),
        ("/folder", "/inside/deep/below", ErrorCode::BadName),
        ("/folder", "/folder", ErrorCode::Exists),
        ("/folder/file", "/folder/file", ErrorCode::Exists),
        ("/folder/file", "/folder/deep", ErrorCode::Exists),
        ("/folder/file", "/../../outside/x", ErrorCode::NotFound),
        ("/folder/file", "/missing/x", ErrorCode::NotFound),
        ("/missing", "/x", ErrorCode::NotFound),
        ("/folder/file", "/folder/file/x", ErrorCode::BadName),
        ("/folder/deep", "/folder/file/x", ErrorCode::NotADirectory),
    ] {
        assert_eq!(peer.refused(&mut server, &mv(from, to)), code, "{from} to {to}");
        let replacing = Request::Mv { from: from.into(), to: to.into(), replace: true };
        if from != to || from == "/" {
            assert_eq!(peer.refused(&mut server, &replacing), code, "{from} over {to}");
        }
    }
    for path in ["/", "..", "/folder/.."] {
        for request in [rm(path), rmdir(path)] {
            assert_eq!(peer.refused(&mut server, &request), ErrorCode::BadName, "{request:?}");
        }
        assert_eq!(peer.refused(&mut server, &mkdir(path)), ErrorCode::Exists);
    }
    assert_eq!(snapshot(&server.home()), before);
}

#[test]
fn a_rename_onto_another_name_of_the_same_file_loses_nothing() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    peer.put(&mut server, "/a", b"x");
    std::fs::hard_link(server.at("a"), server.at("b")).expect("link");
    for (from, to) in [("/a", "/a"), ("/a", "/b")] {
        let request = Request::Mv { from: from.into(), to: to.into(), replace: true };
        assert_eq!(peer.ask(&mut server, &request), Reply::Done {});
        assert_eq!(peer.get(&mut server, to), Ok(b"x".to_vec()));
    }
    server.capability().ledger().begin_recount();
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

// ---- Names --------------------------------------------------------------------------------

#[test]
fn any_byte_but_nul_and_slash_can_be_in_a_name() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    let all_bytes: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
    let names: [&[u8]; 9] =
        [b"two\r\nlines", b"\x1b[2J\x07", b"\xff\xfe", b"a\xc3", b"\"quoted\\", b" ", b"-rf", &all_bytes, &[b'n'; 255]];
    for name in names {
        let path = |directory: &[u8]| Name([directory, name].concat());
        let request = Put { path: path(b"/"), size: Some(1), ..Put::default() }.request();
        assert!(matches!(peer.put_with(&mut server, &request, b"x"), Reply::Stored { .. }), "{:?}", path(b"/"));
        let Reply::Page { entries, .. } = peer.ask(&mut server, &Request::List { path: "/".into() }) else {
            panic!("a page")
        };
        assert_eq!(entries.iter().map(|entry| &entry.name.0[..]).collect::<Vec<_>>(), [name]);
        assert_eq!(peer.ask(&mut server, &mkdir("/folder")), Reply::Done {});
        let moved = Request::Mv { from: path(b"/"), to: path(b"/folder/"), replace: false };
        assert_eq!(peer.ask(&mut server, &moved), Reply::Done {});
        let id = peer.request(&Request::Get { path: path(b"/folder/"), offset: 0, etag: None, prefix_digest: None });
        let got = peer.exchange(&mut server);
        assert_eq!(downloaded(&got, id), Ok(b"x".to_vec()));
        let message = match peer.ask(&mut server, &Request::Rm { path: path(b"/") }) {
            Reply::Error(error) => error.message,
            other => panic!("{other:?}"),
        };
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert_eq!(peer.ask(&mut server, &Request::Rm { path: path(b"/folder/") }), Reply::Done {});
        assert_eq!(peer.ask(&mut server, &rmdir("/folder")), Reply::Done {});
    }
}

#[test]
fn invalid_names_are_refused_by_every_request() {
    let mut server = server_with_links();
    let before = snapshot(&server.home());
    let mut peer = server.log_in();
    for path in ["", "a\0b", "/\0", &"n".repeat(256), &"n/".repeat(2100)] {
        for request in every_request(path) {
            // An empty path with something below it is not empty.
            if !matches!(&request, Request::Mkdir { path: Name(bytes), .. } if bytes == b"/new") {
                let code = outcome(&mut peer, &mut server, &request);
                assert_eq!(code, Some(ErrorCode::BadName), "{request:?}");
            }
        }
    }
    assert_eq!(snapshot(&server.home()), before);
}

#[test]
fn a_thousand_levels_are_counted_listed_and_removed() {
    let mut server = Server::new();
    let name = "d".repeat(255);
    let open = |at: &File| rustix::fs::openat(at, &name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut at = open(&{
        let home = File::open(server.home()).expect("open");
        rustix::fs::mkdirat(&home, &name, Mode::RWXU).expect("mkdir");
        home
    })
    .map(File::from)
    .expect("open");
    for _ in 1..1000 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("mkdir");
        at = open(&at).expect("open").into();
    }
    let mut peer = server.log_in();
    assert_eq!(peer.quota(&mut server).used_files, 1000);
    let path = |levels: usize| format!("/{name}").repeat(levels);
    assert_eq!(peer.list(&mut server, &path(15)), Ok(vec![name.clone()]));
    assert_eq!(peer.refused(&mut server, &rmdir(&path(15))), ErrorCode::NotEmpty);
    assert_eq!(peer.refused(&mut server, &stat(&path(16))), ErrorCode::BadName, "longer than a path may be");
    // What is out of reach is brought up in pieces of as many levels as a path has.
    let mut left = 1000;
    while left > 15 {
        assert_eq!(peer.ask(&mut server, &mv(&path(15), "/up")), Reply::Done {}, "{left} levels are left");
        assert_eq!(peer.list(&mut server, "/up"), Ok(if left > 15 { vec![name.clone()] } else { vec![] }));
        for levels in (1..15).rev() {
            assert_eq!(peer.ask(&mut server, &rmdir(&path(levels))), Reply::Done {});
        }
        assert_eq!(peer.ask(&mut server, &mv("/up", &path(1))), Reply::Done {});
        left -= 14;
    }
    for levels in (1..=left).rev() {
        assert_eq!(peer.ask(&mut server, &rmdir(&path(levels))), Reply::Done {}, "{levels} of the last {left}");
    }
    assert_eq!(peer.quota(&mut server).used_files, 0);
    assert_eq!(server.usage_on_disk(), (0, 0));
}

#[test]
fn directories_above_are_made_down_to_the_longest_path_and_only_what_is_missing() {
    let mut server = server_with_links();
    let parents = |path: &str| Request::Mkdir { path: path.into(), parents: true, permissions: None };
    let mut peer = server.log_in();
    assert_eq!(peer.ask(&mut server, &parents("/inside/deep/er/still")), Reply::Done {});
    assert!(server.at("folder/deep/er/still").is_dir());
    for (path, code) in [
        ("/folder/file", ErrorCode::Exists),
        ("/folder/file/x/y", ErrorCode::Exists),
        ("/inside_file/x/y", ErrorCode::Exists),
        ("/absolute/x/y", ErrorCode::OutsideHome),
        ("/dangling/x", ErrorCode::OutsideHome),
        ("/loop/x/y/z", ErrorCode::OutsideHome),
        ("/.berth/x/y", ErrorCode::BadName),
    ] {
        assert_eq!(peer.refused(&mut server, &parents(path)), code, "{path}");
    }
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());

    let mut server = Server::new();
    let mut peer = server.log_in();
    let longest = "/a".repeat(2047);
    for path in ["/a/a", &longest, &longest, "/a/a/a", "/"] {
        assert_eq!(peer.ask(&mut server, &parents(path)), Reply::Done {}, "{path:.20}");
    }
    assert_eq!(peer.quota(&mut server).used_files, 2047);

    let mut server = Server::with(Rights { files: Some(5), ..Rights::default() });
    let mut peer = server.log_in();
    assert_eq!(peer.refused(&mut server, &parents("/1/2/3/4/5/6/7")), ErrorCode::QuotaFiles);
    assert!(server.at("1/2/3/4/5").is_dir(), "as many as may be");
    assert_eq!(server.usage_in_ledger(), (0, 5));
}

// ---- Races --------------------------------------------------------------------------------

#[test]
fn a_directory_that_flips_to_a_link_outside_lets_nothing_through() {
    let operations = crate::support::effort::tries(20_000, 100_000);
    let mut server = Server::new();
    let outside = server.root().join("outside");
    std::fs::create_dir(&outside).expect("mkdir");
    // So large that counting it could not go unnoticed.
    File::create(outside.join("victim")).and_then(|file| file.set_len(1 << 40)).expect("sparse");
    for name in ["one", "two"] {
        write(&outside.join(name), b"OUTSIDE");
    }
    let before = snapshot(&outside);
    std::fs::create_dir(server.at("real")).expect("mkdir");
    let inside = open(&server.at("real"));
    symlink(&outside, server.at("link")).expect("symlink");
    let make_victim = || {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY;
        let file = rustix::fs::openat(&inside, "victim", flags, Mode::RWXU).expect("made");
        rustix::io::write(&file, b"inside").expect("written");
    };
    make_victim();

    let mut peer = server.log_in();
    let (mut happened, mut refused) = (0, 0);
    let (real, link) = (server.at("real"), server.at("link"));
    while_flipping(&real, &link, || {
        let mut random = Random::new(5);
        for i in 0..operations {
            let request = match random.below(9) {
                0 => stat("/real/victim"),
                1 | 2 => get("/real/victim"),
                3 => Request::List { path: "/real".into() },
                4 => rm("/real/victim"),
                5 => mkdir("/real/made"),
                6 => rmdir("/real/made"),
                7 => mv("/real/victim", "/real/moved"),
                _ => put("/real/victim", Some(6)),
            };
            let id = peer.request(&request);
            if matches!(request, Request::Put { .. }) {
                peer.data(id, b"inside");
                peer.end(id, b"inside");
            }
            let got = peer.exchange(&mut server);
            match got.iter().find_map(Got::code) {
                Some(ErrorCode::OutsideHome) => refused += 1,
                Some(ErrorCode::NotFound | ErrorCode::NotADirectory | ErrorCode::Exists) => {}
                Some(code) => panic!("{request:?}: {code:?}"),
                None => happened += 1,
            }
            for got in &got {
                match got {
                    Got::Data(_, bytes) => assert_eq!(bytes, b"inside"),
                    Got::Reply(_, Reply::File { size, .. }) => assert!(*size < 100),
                    Got::Reply(_, Reply::Stat { entry, .. }) => assert!(entry.size < 100),
                    Got::Reply(_, Reply::Page { entries, .. }) => {
                        assert!(entries.iter().all(|entry| entry.size < 100 && entry.name != Name::from("one")));
                    }
                    _ => {}
                }
            }
            if i % 50 == 0 {
                make_victim();
                server.capability().ledger().begin_recount();
                assert!(server.usage_in_ledger().0 < 1000);
            }
        }
    });
    assert_eq!(snapshot(&outside), before);
    assert!(happened > 100 && refused > 100, "no race: {happened} happened, {refused} refused");
}
