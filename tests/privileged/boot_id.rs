//! A sandbox that hides `/proc/sys`: the server does not know the boot id, and must not take another boot for the
//! same one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::needs::{MOUNT, OWN_MOUNTS, ROOT, UNSHARE, tests};
use crate::support::peer::Peer;
use crate::support::requests::Put;
use crate::support::{Place, Server, pattern, wait_until};
use berth::base::upload_id::UploadId;
use berth::wire::frame::{self, FrameType};
use berth::wire::{Reply, Request};

tests! {
    [MOUNT, UNSHARE, ROOT, OWN_MOUNTS]
        a_server_that_cannot_tell_starts_of_the_machine_apart_trusts_what_was_synced_alone;
}

const MIB: usize = 1 << 20;
const ID: UploadId = UploadId([7; 16]);

/// A server that sees nothing in `/proc/sys`, and what the service manager tells it.
fn serve_hidden(place: &Place, boot: Option<&str>) -> Server {
    let plain = place.berthd(&["serve"]);
    let mut command = Command::new("unshare");
    let script = r#"mount -t tmpfs none /proc/sys && exec "$0" "$@""#;
    command.args(["-m", "sh", "-c", script]).arg(plain.get_program()).args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.envs(boot.map(|boot| ("BERTH_BOOT_ID", boot)));
    command.current_dir(plain.get_current_dir().expect("set for all of them"));
    place.serve_as(command)
}

fn put(resume: bool) -> Request {
    Put { path: "/file".into(), size: Some(3 * MIB as u64), upload_id: Some(ID), resume, ..Put::default() }.request()
}

fn record(place: &Place) -> PathBuf {
    place.home("ann", ".berth").join(format!("{ID}.json"))
}

/// Sends 2 MiB of 3 and is cut off.
fn interrupt(place: &Place, server: &Server) {
    let mut peer = Peer::login(server.address, "ann");
    let (id, mut bytes) = peer.encode(&put(false));
    for chunk in pattern(1, 2 * MIB).chunks(MIB / 2) {
        frame::put_bytes(&mut bytes, FrameType::Data, id, chunk);
    }
    peer.send(&bytes);
    let part = record(place).with_extension("part");
    wait_until("it has all that was sent", || fs::metadata(&part).is_ok_and(|part| part.len() == 2 * MIB as u64));
    peer.reset();
    wait_until("it is interrupted", || offered(server) == Some(2 * MIB as u64));
}

/// The byte at which the server goes on.
fn offered(server: &Server) -> Option<u64> {
    let mut peer = Peer::login(server.address, "ann");
    match peer.ask(&put(true)) {
        Reply::Ready { offset, .. } => Some(offset),
        _ => None,
    }
}

fn a_server_that_cannot_tell_starts_of_the_machine_apart_trusts_what_was_synced_alone() {
    let same = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    for (first, second, expected) in [
        (None, None, MIB),
        (Some("%b"), Some("%b"), MIB),
        (Some(same), Some("1a1b2c3d4e5f60718293a4b5c6d7e8f9"), MIB),
        (Some(same), None, MIB),
        (Some(same), Some("0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9\n"), 2 * MIB),
    ] {
        let place = Place::new();
        place.add("ann", &[]);
        let mut server = serve_hidden(&place, first);
        interrupt(&place, &server);
        server.program.kill();
        // Half of it was on disk when the machine went down.
        let mut kept: Value = serde_json::from_slice(&fs::read(record(&place)).expect("kept")).expect("JSON");
        kept["synced"] = MIB.into();
        fs::write(record(&place), kept.to_string()).expect("ours");
        let server = serve_hidden(&place, second);
        assert_eq!(offered(&server), Some(expected as u64), "{first:?}, {second:?}");
    }
}
