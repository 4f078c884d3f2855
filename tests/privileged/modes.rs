//! Modes of files do not depend on the umask of the server.

use std::fs;
use std::process::Command;

use super::owner_and_mode;
use crate::support::needs::tests;
use crate::support::peer::{Peer, put};
use crate::support::{Place, wait_until};
use berth::base::upload_id::UploadId;
use berth::wire::frame::{FrameType, put_bytes};
use berth::wire::message::PutMode;
use berth::wire::{Reply, Request};

tests! {
    []
        a_hostile_umask_changes_no_mode;
}

/// `berthd` under another mask.
fn masked(place: &Place, mask: &str, arguments: &[&str]) -> Command {
    let command = place.berthd(arguments);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("umask {mask}; exec \"$0\" \"$@\"")).arg(command.get_program());
    shell.args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(place.path(""));
    shell
}

/// An upload that goes on until the peer is dropped, with enough of it for a record.
fn begin_upload(peer: &mut Peer) {
    let Request::Put { path, size, mtime_ns, mode, if_etag, resume, .. } = put("/partial", 4 << 20, PutMode::Create)
    else {
        unreachable!()
    };
    let upload_id = Some(UploadId([7; 16]));
    let id = peer.request(&Request::Put {
        path,
        size,
        mtime_ns,
        mode,
        if_etag,
        resume,
        upload_id,
        permissions: None,
        set_permissions: false,
    });
    let mut bytes = Vec::new();
    for _ in 0..8 {
        put_bytes(&mut bytes, FrameType::Data, id, &[7; 256 * 1024]);
    }
    peer.send(&bytes);
}

fn a_hostile_umask_changes_no_mode() {
    for mask in ["000", "077", "777"] {
        let place = Place::new();
        fs::write(place.path("io/password"), "correct horse\n").expect("writable");
        let mut add = masked(&place, mask, &["user", "add", "ann", "--home", "homes/team/ann", "--password-stdin"]);
        add.stdin(fs::File::open(place.path("io/password")).expect("readable"));
        place.run(add).expect_code(0);
        let server = place.serve_as(masked(&place, mask, &["serve"]));
        let mut peer = Peer::login(server.address, "ann");
        assert!(matches!(
            peer.ask(&Request::Mkdir { path: "/d".into(), parents: false, permissions: None }),
            Reply::Done {}
        ));
        assert!(matches!(peer.put("/d/file", b"content", PutMode::Create), Reply::Stored { .. }));
        begin_upload(&mut peer);
        let staging = place.path("homes/team/ann/.berth");
        let ends_with = |suffix: &str| {
            let entries = fs::read_dir(&staging).into_iter().flatten();
            let names = entries.map(|entry| entry.expect("readable").file_name());
            let mut names = names.filter_map(|name| name.into_string().ok());
            names.find(|name| name.ends_with(suffix)).map(|name| format!("homes/team/ann/.berth/{name}"))
        };
        wait_until("the upload has a record", || ends_with(".json").is_some());
        for (path, mode) in [
            ("conf/users", 0o700),
            ("conf/users/ann.json", 0o600),
            ("conf/users/.decoy", 0o600),
            ("conf/users/.lock", 0o600),
            ("conf/tls", 0o700),
            ("conf/tls/key.pem", 0o600),
            ("conf/tls/cert.pem", 0o644),
            ("conf/control.sock", 0o600),
            ("logs", 0o750),
            ("logs/access.log", 0o640),
            ("logs/transactions.log", 0o640),
            ("homes", 0o750),
            ("homes/team", 0o750),
            ("homes/team/ann", 0o750),
            ("homes/team/ann/.berth", 0o700),
            (&ends_with(".part").expect("being written"), 0o644),
            (&ends_with(".json").expect("just seen"), 0o600),
            ("homes/team/ann/d", 0o755),
            ("homes/team/ann/d/file", 0o644),
        ] {
            assert_eq!(owner_and_mode(&place, path).2, mode, "umask {mask}: {path}");
        }
    }
}
