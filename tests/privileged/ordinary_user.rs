//! A server started by an ordinary user: no special rights, and no requirements on owners.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use rustix::process::{Gid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use serde_json::json;

use super::{assert_without_rights, open_to_all};
use crate::support::needs::{ROOT, tests};
use crate::support::peer::Peer;
use crate::support::process::{Program, without_rights};
use crate::support::{Place, Server, listening, wait_until};
use berth::wire::message::{Name, PutMode};
use berth::wire::{Reply, Request};

tests! {
    []
        an_ordinary_user_serves_without_rights_and_reloads,
        a_server_that_may_not_write_among_the_accounts_serves_them_and_those_added_later,
        directories_that_cannot_be_made_are_named_with_what_to_do,
        accounts_out_of_reach_are_told_with_who_may_reach_them,
        a_user_or_group_that_cannot_be_is_named_by_file_and_key,
        a_server_of_another_user_is_not_started,
        a_server_whose_own_user_starts_it_needs_no_root;
    [ROOT]
        homes_may_belong_to_whomever_as_long_as_they_can_be_used,
        a_capability_that_opens_a_port_is_given_up_once_the_port_is_open,
        only_the_servers_user_and_root_may_ask_a_running_server,
        a_part_of_another_owner_is_not_written_into;
}

/// A server of an ordinary user. If root runs the tests, it is another user.
fn serve(place: &Place) -> Server {
    let mut command = place.berthd(&["serve"]);
    without_rights(&mut command, &place.path(""));
    place.serve_as(command)
}

/// An account that is added while a server runs, moved logs and a certificate to be made again.
pub(crate) fn assert_that_it_reloads(place: &Place, server: &Server) {
    let stderr = || server.program.stderr();
    fs::rename(place.path("logs/access.log"), place.path("logs/access.log.1")).expect("ours");
    fs::remove_file(place.path("conf/tls/cert.pem")).expect("made");
    server.program.signal(Signal::HUP);
    wait_until("it has read the configuration", || stderr().contains("configuration read again"));
    wait_until("it has a certificate again", || place.path("conf/tls/cert.pem").exists());
    place.add("new", &[]);
    assert_eq!(stderr().matches(" WARN ").count(), 0, "{}", stderr());
    let mut peer = Peer::login(server.address, "new");
    assert!(matches!(peer.put("/a", b"content", PutMode::Create), Reply::Stored { .. }));
    let moved = Request::Mv { from: "/a".into(), to: "/d/a".into(), replace: false };
    assert!(matches!(
        peer.ask(&Request::Mkdir { path: "/d".into(), parents: false, permissions: None }),
        Reply::Done {}
    ));
    assert!(matches!(peer.ask(&moved), Reply::Done {}));
    wait_until("it logs under the old name", || place.log("access.log").contains("user=new verb=mv"));
    assert!(!stderr().contains("cannot be reopened") && !stderr().contains("stays as it was"), "{}", stderr());
}

fn an_ordinary_user_serves_without_rights_and_reloads() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = serve(&place);
    assert_without_rights(&server);
    assert!(!server.program.stderr().contains("running as root"), "{}", server.program.stderr());
    if rustix::process::geteuid().is_root() {
        // Root adds the account, and what it makes goes to the owner of the directory.
        assert_ne!(super::owner_and_mode(&place, "conf/users/ann.json").0, 0);
    }
    assert_that_it_reloads(&place, &server);
}

fn a_server_that_may_not_write_among_the_accounts_serves_them_and_those_added_later() {
    let place = Place::new();
    let users = place.path("conf/users");
    fs::create_dir(&users).expect("writable");
    let allow = |mode| fs::set_permissions(&users, fs::Permissions::from_mode(mode)).expect("ours");
    allow(0o500);
    let server = serve(&place);
    assert_eq!(fs::read_dir(&users).expect("readable").count(), 0);
    assert_eq!(server.program.stderr().matches(" WARN ").count(), 0, "{}", server.program.stderr());
    let mut client = Peer::connect(server.address);
    client.greet();
    assert!(matches!(client.prove("ann", "wrong"), Reply::Error(_)));
    allow(0o700);
    place.add("ann", &[]);
    allow(0o500);
    assert!(users.join(".decoy").exists(), "created by a user who may");
    server.program.signal(Signal::HUP);
    wait_until("it has read the configuration", || server.program.stderr().contains("configuration read again"));
    let mut peer = Peer::login(server.address, "ann");
    assert!(matches!(peer.put("/a", b"content", PutMode::Create), Reply::Stored { .. }));
    drop(server);
    drop(serve(&place));
    allow(0o700);
    fs::remove_file(users.join(".decoy")).expect("made");
    allow(0o500);
    let server = serve(&place);
    let stderr = server.program.stderr();
    for part in ["attackers can find out names of accounts", "conf/users", "give it to the user the server runs as"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    Peer::login(server.address, "ann");
}

fn directories_that_cannot_be_made_are_named_with_what_to_do() {
    for missing in ["conf/users", "conf/tls", "logs"] {
        let place = Place::with(json!({"plaintext": false}));
        for directory in ["conf/users", "conf/tls", "logs", "homes"].iter().filter(|directory| **directory != missing) {
            fs::create_dir(place.path(directory)).expect("writable");
        }
        let above = place.path(missing).parent().expect("a folder").to_path_buf();
        let mut command = place.berthd(&["serve"]);
        without_rights(&mut command, &place.path(""));
        fs::set_permissions(&above, fs::Permissions::from_mode(0o555)).expect("ours");
        let ended = place.run(command);
        fs::set_permissions(&above, fs::Permissions::from_mode(0o755)).expect("ours");
        assert_ne!(ended.code, Some(0), "{ended:?}");
        let remedy =
            if missing == "logs" { "let the user the server runs as write there" } else { "make it, and give it to" };
        assert!(ended.stderr.contains(missing) && ended.stderr.contains(remedy), "{}", ended.stderr);
    }
}

fn accounts_out_of_reach_are_told_with_who_may_reach_them() {
    let place = Place::new();
    place.add("ann", &[]);
    for arguments in [&["user", "list"][..], &["user", "lock", "ann"], &["user", "show", "ann"], &["check"]] {
        let mut command = place.berthd(arguments);
        without_rights(&mut command, &place.path(""));
        fs::set_permissions(place.path("conf/users"), fs::Permissions::from_mode(0o0)).expect("ours");
        let ended = place.run(command);
        fs::set_permissions(place.path("conf/users"), fs::Permissions::from_mode(0o700)).expect("ours");
        assert_ne!(ended.code, Some(0), "{ended:?}");
        let told = "; run this as root or as the server's user\n";
        assert!(ended.stderr.contains("Permission denied") && ended.stderr.ends_with(told), "{arguments:?}: {ended:?}");
    }
}

fn homes_may_belong_to_whomever_as_long_as_they_can_be_used() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = serve(&place);
    for path in ["homes", "homes/ann"] {
        std::os::unix::fs::chown(place.path(path), Some(0), Some(0)).expect("root may");
        open_to_all(&place.path(path));
    }
    let put = |name: &str| Peer::login(server.address, "ann").put(name, b"content", PutMode::Create);
    assert!(matches!(put("/refused"), Reply::Error(_)), "others may only look");
    fs::set_permissions(place.home("ann", ""), fs::Permissions::from_mode(0o777)).expect("ours");
    assert!(matches!(put("/stored"), Reply::Stored { .. }));
    let page = Peer::login(server.address, "ann").ask(&Request::List { path: Name::from("/") });
    assert!(matches!(page, Reply::Page { .. }), "{page:?}");
}

fn a_capability_that_opens_a_port_is_given_up_once_the_port_is_open() {
    let [_, b, c, d] = std::process::id().to_be_bytes();
    let address = (Ipv4Addr::new(127, b.wrapping_add(128), c, d), 721);
    let place = Place::with(json!({"listen": format!("{}:{}", address.0, address.1)}));
    place.add("ann", &[]);
    let mut command = place.berthd(&["serve"]);
    without_rights(&mut command, &place.path(""));
    let start = || -> Program {
        // Only this thread becomes somebody else, and whom it starts.
        let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
        rustix::thread::set_keep_capabilities(true).expect("root may");
        rustix::thread::set_thread_res_gid(group, group, group).expect("root may");
        rustix::thread::set_thread_res_uid(user, user, user).expect("root may");
        let set = CapabilitySet::NET_BIND_SERVICE;
        set_capabilities(None, CapabilitySets { effective: set, permitted: set, inheritable: set }).expect("kept");
        rustix::thread::configure_capability_in_ambient_set(set, true).expect("inheritable");
        place.start(command)
    };
    let program = thread::scope(|scope| scope.spawn(start).join().expect("no panic"));
    wait_until("it listens", || listening(&program.stdout()) == Some(address.into()));
    let server = Server { program, address: address.into() };
    assert_without_rights(&server);
    Peer::login(server.address, "ann");
}

fn only_the_servers_user_and_root_may_ask_a_running_server() {
    let place = Place::new();
    let server = place.serve();
    let socket = place.path("conf/control.sock");
    for arguments in [&["status"][..], &["status", "--json"], &["kick", "ann"], &["usage"]] {
        let ask = |owner: u32| {
            let mut command = place.berthd(arguments);
            without_rights(&mut command, &place.path(""));
            std::os::unix::fs::chown(&socket, Some(owner), None).expect("root may");
            place.run(command).expect_code(1)
        };
        let ended = ask(0);
        assert!(ended.stderr.contains("Permission denied") && ended.stderr.contains("root?"), "{}", ended.stderr);
        // Even a user whom the socket's mode admits gets no reply.
        let ended = ask(65534);
        assert!(ended.stderr.contains("the server ended before"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(server.program.stderr().matches("from another user was refused").count(), 4);
    place.admin(&["status"]);
    drop(server);

    let place = Place::new();
    let _server = serve(&place);
    place.admin(&["status"]);
}

/// Its name is that of a part of a download.
fn a_part_of_another_owner_is_not_written_into() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    fs::write(place.home("ann", "x"), "content").expect("writable");
    let part = place.here(".x.berth-part");
    fs::write(&part, "theirs").expect("writable");
    std::os::unix::fs::lchown(&part, Some(65534), Some(65534)).expect("root may");
    place.run(place.berth(&[&server.target("ann"), "get", "x"])).expect_code(0);
    assert_eq!(fs::read(&part).expect("there"), b"theirs");
    assert_eq!(fs::read(place.here("x")).expect("fetched"), b"content");
}

// ---- The keys `user` and `group` ----------------------------------------------------------

fn a_user_or_group_that_cannot_be_is_named_by_file_and_key() {
    for (keys, key, problem) in [
        (json!({"user": "no-such-user"}), "user", "there is no user 'no-such-user'"),
        (json!({"user": ""}), "user", "there is no"),
        (json!({"user": "a\u{0}b"}), "user", "there is no"),
        (json!({"user": "root"}), "user", "is root"),
        (json!({"user": 65534}), "user", "invalid type"),
        (json!({"user": "nobody", "group": "no-such-group"}), "group", "there is no group 'no-such-group'"),
        (json!({"group": "daemon"}), "group", "without `user`"),
    ] {
        let place = Place::with(keys.clone());
        for arguments in [&["check"][..], &["serve"], &["user", "add", "ann", "--password-stdin"], &["fingerprint"]] {
            let ended = place.run(place.berthd(arguments)).expect_code(2);
            let named = format!("conf/berthd.json: {key}: ");
            assert!(ended.stderr.contains(&named) && ended.stderr.contains(problem), "{keys}: {ended:?}");
        }
        for made in ["logs", "homes", "conf/users", "conf/tls", "conf/control.sock"] {
            assert!(!place.path(made).exists(), "{keys}: {made} was made");
        }
    }
}

fn a_server_of_another_user_is_not_started() {
    // Nobody runs tests as this one.
    let place = Place::with(json!({"user": "daemon"}));
    let mut command = place.berthd(&["serve"]);
    without_rights(&mut command, &place.path(""));
    let ended = place.run(command).expect_code(2);
    assert!(
        ended.stderr.contains("berthd.json: user: is not the user that starts this server; start it as root"),
        "{ended:?}"
    );
    assert!(!place.path("logs").exists());
}

fn a_server_whose_own_user_starts_it_needs_no_root() {
    let place = Place::new();
    let me = if rustix::process::geteuid().is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    let user = nix::unistd::User::from_uid(me.into()).expect("can be looked up");
    let user = user.expect("the user who runs the tests has a name");
    place.configure(json!({"user": user.name}));
    let server = serve(&place);
    assert_without_rights(&server);
    assert!(matches!(Peer::connect(server.address).greet(), Reply::Hello { .. }));
}
