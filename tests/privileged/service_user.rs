//! A server started by root: server and administration become the configured user.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::process::Command;
use std::thread;

use nix::unistd::{Group, User};
use rustix::process::{Gid, Signal};
use serde_json::{Value, json};

use super::{assert_without_rights, open_to_all, owner_and_mode, statuses};
use crate::support::needs::{ROOT, tests};
use crate::support::peer::Peer;
use crate::support::process::Program;
use crate::support::{Place, listening, wait_until};
use berth::wire::message::PutMode;
use berth::wire::{Reply, Request};

tests! {
    [ROOT]
        started_by_root_a_server_becomes_its_user_and_keeps_no_rights_but_its_ports,
        all_that_root_has_made_for_the_server_belongs_to_its_user,
        a_reload_reads_files_with_the_rights_of_the_service_user,
        a_key_that_only_root_can_read_serves_until_it_is_to_be_read_again,
        a_configuration_that_its_user_could_change_is_warned_about,
        a_configuration_out_of_its_users_reach_is_named_at_the_start,
        a_home_its_user_cannot_make_or_use_is_named_with_what_to_do,
        root_makes_nothing_behind_a_link_that_its_user_planted,
        running_as_root_is_warned_about_with_what_to_do;
}

/// Users and groups that every system has.
const USER: &str = "nobody";
const OTHER_GROUP: &str = "daemon";

fn user() -> User {
    User::from_name(USER).expect("can be looked up").expect("every system has it")
}

fn user_id() -> u32 {
    user().uid.as_raw()
}

fn group_id() -> u32 {
    user().gid.as_raw()
}

/// A place whose server is to run as [`USER`], and in which everything belongs to root.
fn place(mut changes: Value) -> Place {
    changes["user"] = json!(USER);
    let place = Place::with(changes);
    open_to_all(&place.path(""));
    place
}

/// Starts a program as a user who is in more groups than one.
fn start_in_groups(place: &Place, command: Command) -> Program {
    let start = || {
        let groups = [4, 27].map(Gid::from_raw);
        rustix::thread::set_thread_groups(&groups).expect("root may");
        place.start(command)
    };
    thread::scope(|scope| scope.spawn(start).join().expect("no panic"))
}

fn started_by_root_a_server_becomes_its_user_and_keeps_no_rights_but_its_ports() {
    let group = Group::from_name(OTHER_GROUP).expect("can be looked up").expect("every system has it");
    // An address of this test's own, so that no port of it is taken.
    let [_, b, c, d] = std::process::id().to_be_bytes();
    let address = (Ipv4Addr::new(127, b.wrapping_add(64), c, d), 721);
    let place = place(json!({"listen": format!("{}:{}", address.0, address.1), "group": OTHER_GROUP}));
    place.add("ann", &[]);
    let server = start_in_groups(&place, place.berthd(&["serve"]));
    wait_until("it listens", || listening(&server.stdout()) == Some(address.into()));
    let server = crate::support::Server { program: server, address: address.into() };
    for thread in statuses(&server.program) {
        assert_eq!(thread["Uid"], [user_id(); 4].map(|id| id.to_string()).join(" "));
        assert_eq!(thread["Gid"], [group.gid.as_raw(); 4].map(|id| id.to_string()).join(" "));
        assert_eq!(thread["Groups"], "");
    }
    assert_without_rights(&server);
    Peer::login(server.address, "ann");
    assert!(!server.program.stderr().contains("running as root"), "{}", server.program.stderr());
}

fn all_that_root_has_made_for_the_server_belongs_to_its_user() {
    let place = place(json!({}));
    let logs = place.path("logs");
    place.add("ann", &[]);
    assert!(!logs.join("access.log").exists(), "nothing is logged without a server");
    let server = place.serve();
    place.add("bob", &["--home", "homes/team/bob"]);
    place.admin(&["user", "set", "ann", "--quota", "1G"]);
    let mut peer = Peer::login(server.address, "bob");
    assert!(matches!(peer.put("/file", b"content", PutMode::Create), Reply::Stored { .. }));
    assert!(place.admin(&["usage", "--json"]).stdout.contains("bob"), "the running server is asked");
    for (path, mode) in [
        ("conf/users", 0o700),
        ("conf/users/ann.json", 0o600),
        ("conf/users/bob.json", 0o600),
        ("conf/tls", 0o700),
        ("conf/tls/key.pem", 0o600),
        ("conf/tls/cert.pem", 0o644),
        ("conf/control.sock", 0o600),
        ("logs", 0o750),
        ("logs/access.log", 0o640),
        ("logs/transactions.log", 0o640),
        ("homes", 0o750),
        ("homes/ann", 0o750),
        ("homes/team", 0o750),
        ("homes/team/bob", 0o750),
        ("homes/team/bob/file", 0o644),
    ] {
        assert_eq!(owner_and_mode(&place, path), (user_id(), group_id(), mode), "{path}");
    }
    assert_eq!(owner_and_mode(&place, "conf/berthd.json").0, 0, "what decides about the user stays root's");
}

fn a_reload_reads_files_with_the_rights_of_the_service_user() {
    let place = place(json!({}));
    place.add("ann", &[]);
    let server = place.serve();
    super::ordinary_user::assert_that_it_reloads(&place, &server);
    place.configure(json!({"user": "daemon"}));
    server.program.signal(Signal::HUP);
    wait_until("it says so", || server.program.stderr().contains("a new value of `user` takes effect after a restart"));
}

fn a_key_that_only_root_can_read_serves_until_it_is_to_be_read_again() {
    let place = place(json!({}));
    drop(place.serve());
    for (made, named) in [("cert.pem", "named.crt"), ("key.pem", "named.key")] {
        fs::copy(place.path("conf/tls").join(made), place.path(named)).expect("readable");
    }
    fs::set_permissions(place.path("named.key"), fs::Permissions::from_mode(0o600)).expect("ours");
    place.configure(json!({"user": USER, "plaintext": false, "tls": {"certificate": "named.crt", "key": "named.key"}}));
    place.add("ann", &[]);
    place.admin(&["check"]);
    place.admin(&["fingerprint"]);
    let server = place.serve();
    wait_until("it warns", || server.program.stderr().contains("named.key; a renewed one is not noticed"));
    assert!(!server.program.stderr().contains("named.crt; a renewed"), "that one it can read");
    place.run(place.berth_over_tls(&["--accept-new", "--quiet", &server.target("ann"), "pwd"])).expect_code(0);
    server.program.signal(Signal::HUP);
    wait_until("it says so", || server.program.stderr().contains("the certificate stays as it was"));
    place.run(place.berth_over_tls(&["--quiet", &server.target("ann"), "pwd"])).expect_code(0);
}

fn a_configuration_that_its_user_could_change_is_warned_about() {
    let place = place(json!({}));
    let warning = "can change";
    let server = place.serve();
    assert!(!server.program.stderr().contains(warning), "{}", server.program.stderr());
    drop(server);
    chown(place.path("conf"), Some(user_id()), None).expect("root may");
    let server = place.serve();
    assert!(server.program.stderr().contains(warning), "{}", server.program.stderr());
}

fn a_configuration_out_of_its_users_reach_is_named_at_the_start() {
    let place = place(json!({}));
    fs::set_permissions(place.path("conf"), fs::Permissions::from_mode(0o700)).expect("ours");
    for arguments in [&["serve"][..], &["check"], &["user", "list"]] {
        let ended = place.run(place.berthd(arguments)).expect_code(2);
        for part in ["berthd.json: user: 'nobody' cannot read this file: ", "enter the directories above it"] {
            assert!(ended.stderr.contains(part), "{ended:?}");
        }
    }
}

fn a_home_its_user_cannot_make_or_use_is_named_with_what_to_do() {
    let place = place(json!({}));
    fs::create_dir(place.path("homes")).expect("writable");
    open_to_all(&place.path("homes"));
    let mut command = place.berthd(&["user", "add", "ann", "--password-stdin"]);
    fs::write(place.path("io/password"), "secret\n").expect("writable");
    command.stdin(fs::File::open(place.path("io/password")).expect("readable"));
    let ended = place.run(command).expect_code(1);
    assert!(ended.stderr.contains("homes/ann cannot be the home of ann: it cannot be made: "), "{ended:?}");
    assert!(ended.stderr.contains("make it yourself, give it to the user"), "{ended:?}");
    assert!(!place.path("conf/users/ann.json").exists(), "nothing half-written");

    fs::create_dir(place.home("ann", "")).expect("writable");
    place.add("ann", &[]);
    let ended = place.run(place.berthd(&["check"])).expect_code(2);
    assert!(ended.stderr.contains("homes/ann cannot be the home of ann: this user may not use it"), "{ended:?}");
    chown(place.home("ann", ""), Some(user_id()), None).expect("root may");
    place.admin(&["check"]);
    // That it lies in a directory of root's is no obstacle to serving it.
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    assert!(matches!(
        peer.ask(&Request::Mkdir { path: "/new".into(), parents: false, permissions: None }),
        Reply::Done {}
    ));
}

fn root_makes_nothing_behind_a_link_that_its_user_planted() {
    let place = place(json!({"home_roots": ["data/link/homes"]}));
    for directory in ["data", "elsewhere"] {
        fs::create_dir(place.path(directory)).expect("writable");
        open_to_all(&place.path(directory));
    }
    chown(place.path("data"), Some(user_id()), None).expect("root may");
    symlink(place.path("elsewhere"), place.path("data/link")).expect("writable");
    lchown(place.path("data/link"), Some(user_id()), None).expect("root may");
    let server = place.serve();
    assert!(server.program.stderr().contains("homes cannot lie in"), "{}", server.program.stderr());
    assert_eq!(fs::read_dir(place.path("elsewhere")).expect("readable").count(), 0);
}

fn running_as_root_is_warned_about_with_what_to_do() {
    let place = Place::new();
    let server = place.serve();
    let told = format!("running as root; name a user with fewer rights as `user` in {}", place.path("conf").display());
    assert!(server.program.stderr().contains(&told), "{}", server.program.stderr());
}
