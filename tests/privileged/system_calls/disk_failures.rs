//! System calls that fail: bytes that a disk did not take are never trusted again, and an unsupported call costs
//! only its own purpose.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::trace::{self, watched};
use crate::support::ftp_client::{configuration, listening};
use crate::support::needs::{CURL, STRACE, TRACING, tests};
use crate::support::peer::{Peer, put};
use crate::support::process::Ended;
use crate::support::{PASSWORD, Place, Server, pattern, wait_until};
use berth::base::digest::Digest;
use berth::base::upload_id::UploadId;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{End, ErrorCode, PutMode};
use berth::wire::{Reply, Request};

tests! {
    [STRACE, TRACING]
        an_upload_that_the_disk_did_not_take_is_refused_and_nothing_of_it_is_kept,
        another_upload_is_stored_beside_one_that_the_disk_did_not_take,
        a_sync_that_fails_after_its_session_has_ended_leaves_nothing_to_be_resumed,
        a_sync_that_fails_after_another_session_took_the_upload_over_ends_that_too,
        an_account_is_changed_where_nothing_can_be_synced_and_stays_as_it_was_where_that_fails;
    [CURL, STRACE, TRACING]
        files_are_sent_where_the_kernel_cannot_send_them_by_itself,
        files_are_stored_where_nothing_can_be_spliced,
        advice_that_is_refused_costs_nothing,
        an_unsupported_fdatasync_falls_back_to_fsync_with_one_warning,
        a_sync_that_fails_is_never_replaced_by_another;
}

const ID: UploadId = UploadId([7; 16]);
/// More than is written between two syncs.
const BYTES: usize = 20 << 20;

/// A server that syncs, with the account `ann`; strace does this `inject` to its calls.
fn serve(sync: &str, injects: &[&str]) -> (Place, Server) {
    let place = Place::with(configuration(json!({}), json!({"sync": sync})));
    place.add("ann", &[]);
    let server = serve_again(&place, injects);
    (place, server)
}

fn serve_again(place: &Place, injects: &[&str]) -> Server {
    let expressions: Vec<String> = injects.iter().map(|inject| format!("inject={inject}")).collect();
    let more: Vec<&str> = expressions.iter().flat_map(|expression| ["-e", expression]).collect();
    let names: Vec<&str> = injects.iter().filter_map(|inject| inject.split(':').next()).collect();
    place.serve_as(watched(&place.berthd(&["serve"]), &trace::file(place), &names.join(","), &more))
}

fn request(size: u64, resume: bool) -> Request {
    let mut request = put("/file", size, PutMode::Create);
    if let Request::Put { upload_id, resume: resumes, .. } = &mut request {
        (*upload_id, *resumes) = (Some(ID), resume);
    }
    request
}

fn send_data(peer: &mut Peer, id: u32, content: &[u8]) {
    for piece in content.chunks(256 * 1024) {
        let mut data = Vec::new();
        frame::put_bytes(&mut data, FrameType::Data, id, piece);
        peer.send(&data);
    }
}

fn send_end(peer: &mut Peer, id: u32, content: &[u8]) {
    let mut end = Vec::new();
    frame::put_json(&mut end, FrameType::End, id, &End { size: content.len() as u64, digest: Digest::of(content) });
    peer.send(&end);
}

#[track_caller]
fn expect_io(reply: &Reply) {
    match reply {
        Reply::Error(error) => {
            assert_eq!(error.code, ErrorCode::Io, "{error:?}");
            let advice = error.advice.as_deref().unwrap_or_default();
            assert!(advice.contains("send the file again from its beginning"), "{error:?}");
        }
        other => panic!("an error, not {other:?}"),
    }
}

fn staged(place: &Place) -> usize {
    fs::read_dir(place.home("ann", ".berth")).map_or(0, Iterator::count)
}

/// Nothing is kept, and the next upload begins at its first byte and is stored.
#[track_caller]
fn check_begins_anew(place: &Place, server: &Server, content: &[u8]) {
    wait_until("nothing is kept", || staged(place) == 0);
    let mut peer = Peer::login(server.address, "ann");
    peer.request(&request(content.len() as u64, true));
    let reply = peer.reply();
    assert!(matches!(&reply, Reply::Ready { offset: 0, .. }), "{reply:?}");
    let mut peer = Peer::login(server.address, "ann");
    let reply = peer.put("/file", content, PutMode::Create);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert!(fs::read(place.home("ann", "file")).expect("stored") == content);
    place.admin(&["usage", "ann", "--verify"]);
}

/// The first two are during the upload. The third is at its end, and need not wait for the others.
fn an_upload_that_the_disk_did_not_take_is_refused_and_nothing_of_it_is_kept() {
    let content = pattern(1, BYTES);
    let late = "delay_enter=500000:when=2";
    for (when, is_named) in [("when=1", true), ("when=2", true), ("when=3", true), (late, true), (late, false)] {
        let (place, server) = serve("data", &[&format!("fdatasync:error=EIO:{when}")]);
        let mut peer = Peer::login(server.address, "ann");
        let by_id = request(BYTES as u64, false);
        let id = peer.request(&if is_named { by_id } else { put("/file", BYTES as u64, PutMode::Create) });
        send_data(&mut peer, id, &content);
        send_end(&mut peer, id, &content);
        expect_io(&peer.reply());
        assert!(!place.home("ann", "file").exists());
        check_begins_anew(&place, &server, &content);
    }
}

fn another_upload_is_stored_beside_one_that_the_disk_did_not_take() {
    let (place, server) = serve("data", &["fdatasync:error=EIO:when=1"]);
    let mut peer = Peer::login(server.address, "ann");
    let id = peer.request(&request(BYTES as u64, false));
    send_data(&mut peer, id, &pattern(1, 9 << 20));
    expect_io(&peer.reply());
    let mut other = Peer::login(server.address, "ann");
    let reply = other.put("/other", b"content", PutMode::Create);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert_eq!(staged(&place), 0);
}

/// The answer of the disk comes when nobody is there to take it.
fn a_sync_that_fails_after_its_session_has_ended_leaves_nothing_to_be_resumed() {
    let content = pattern(1, BYTES);
    let (place, server) = serve("data", &["fdatasync:error=EIO:delay_enter=2000000:when=1"]);
    let mut peer = Peer::login(server.address, "ann");
    let id = peer.request(&request(BYTES as u64, false));
    send_data(&mut peer, id, &content[..9 << 20]);
    wait_until("a record is there", || staged(&place) == 2);
    wait_until("the disk was asked", || part_bytes(&place) >= 9 << 20);
    peer.reset();
    check_begins_anew(&place, &server, &content);
}

/// The session that goes on with the bytes is another than the one that wrote them.
fn a_sync_that_fails_after_another_session_took_the_upload_over_ends_that_too() {
    let content = pattern(1, BYTES);
    let (place, server) = serve("data", &["fdatasync:error=EIO:delay_enter=8000000:when=1"]);
    let mut first = Peer::login(server.address, "ann");
    let id = first.request(&request(BYTES as u64, false));
    send_data(&mut first, id, &content[..9 << 20]);
    wait_until("the disk was asked", || part_bytes(&place) >= 9 << 20);
    let mut second = Peer::login(server.address, "ann");
    let id = second.request(&request(BYTES as u64, true));
    match second.reply() {
        // A slow machine may be told of the failure before the second session begins.
        Reply::Ready { offset: 0, .. } => {
            send_data(&mut second, id, &content);
            send_end(&mut second, id, &content);
            let reply = second.reply();
            assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
            return assert!(fs::read(place.home("ann", "file")).expect("stored") == content);
        }
        Reply::Ready { offset, .. } => {
            send_data(&mut second, id, &content[offset as usize..]);
            send_end(&mut second, id, &content);
            expect_io(&second.reply());
        }
        // It waited for the sync.
        reply => expect_io(&reply),
    }
    assert!(!place.home("ann", "file").exists());
    drop((first, second));
    check_begins_anew(&place, &server, &content);
}

fn part_bytes(place: &Place) -> u64 {
    let parts = fs::read_dir(place.home("ann", ".berth")).into_iter().flatten().filter_map(Result::ok);
    parts.filter_map(|part| Some(part.metadata().ok()?.len())).max().unwrap_or(0)
}

// ---- What a file system does not know -----------------------------------------------------

fn curl(place: &Place, server: &Server, options: &[&str], path: &str) -> Ended {
    let mut command = Command::new("curl");
    command.args(["-sS", "-u", &format!("ann:{PASSWORD}")]).args(options);
    command.arg(format!("ftp://{}/{path}", listening(server, "ftp"))).current_dir(place.path("here"));
    place.run(command)
}

/// Uploads and downloads by both protocols.
#[track_caller]
fn check_content(place: &Place, server: &Server) {
    let content = pattern(3, 3 << 20);
    fs::write(place.here("up"), &content).expect("writable");
    curl(place, server, &["-T", "up"], "by-ftp").expect_code(0);
    curl(place, server, &["-o", "down"], "by-ftp").expect_code(0);
    assert!(fs::read(place.here("down")).expect("fetched") == content);
    for arguments in
        [&["put", "up", "by-berth"][..], &["get", "by-berth", "down2"], &["get", "-f", "by-berth", "down2"]]
    {
        place.run(place.berth(&[&["--quiet", &server.target("ann")][..], arguments].concat())).expect_code(0);
    }
    assert!(fs::read(place.here("down2")).expect("fetched") == content);
    for name in ["by-ftp", "by-berth"] {
        assert!(fs::read(place.home("ann", name)).expect("stored") == content, "{name}");
    }
}

fn files_are_sent_where_the_kernel_cannot_send_them_by_itself() {
    for error in ["EINVAL", "ENOSYS", "EOPNOTSUPP"] {
        let (place, server) = serve("none", &[&format!("sendfile:error={error}")]);
        check_content(&place, &server);
        // Asked once for each transfer.
        let calls = trace::so_far(&place).iter().filter(|call| call.name == "sendfile").count();
        assert!((1..=3).contains(&calls), "{calls} calls");
    }
}

fn files_are_stored_where_nothing_can_be_spliced() {
    for error in ["EINVAL", "ENOSYS", "EOPNOTSUPP"] {
        for when in ["1+", "2+"] {
            let (place, server) = serve("none", &[&format!("splice:error={error}:when={when}")]);
            check_content(&place, &server);
        }
    }
}

fn advice_that_is_refused_costs_nothing() {
    let (place, server) = serve("none", &["fadvise64:error=EINVAL"]);
    check_content(&place, &server);
}

fn an_unsupported_fdatasync_falls_back_to_fsync_with_one_warning() {
    for error in ["EINVAL", "ENOSYS", "EOPNOTSUPP", "ENOTTY"] {
        let one = format!("fdatasync:error={error}");
        let (place, server) = serve("full", &[&one]);
        check_content(&place, &server);
        assert!(!server.program.stderr().contains("left out"), "fsync does it");
        let all = [one, format!("fsync:error={error}"), format!("syncfs:error={error}")];
        drop((place, server));
        let (place, server) = serve_with_key("full", &all.iter().map(String::as_str).collect::<Vec<_>>());
        check_content(&place, &server);
        let stderr = server.program.stderr();
        let home = place.path("homes/ann").display().to_string();
        for what in ["files", "directories"] {
            let told = format!("{home}: syncs of {what} (fsync) are left out, because the file system refuses them");
            assert_eq!(stderr.matches(&told).count(), 1, "{stderr}");
        }
        assert_eq!(stderr.matches("are left out").count(), 2, "{stderr}");
    }
}

fn a_sync_that_fails_is_never_replaced_by_another() {
    for error in ["EIO", "ENOSPC", "EDQUOT", "ESTALE"] {
        let (place, server) = serve("data", &[&format!("fdatasync:error={error}")]);
        fs::write(place.here("up"), pattern(3, 1000)).expect("writable");
        let ended = curl(&place, &server, &["-T", "up"], "by-ftp");
        assert!(ended.code != Some(0) && !place.home("ann", "by-ftp").exists(), "{error}: {ended:?}");
        let mut peer = Peer::login(server.address, "ann");
        let reply = peer.put("/by-berth", b"content", PutMode::Create);
        assert!(matches!(reply, Reply::Error(_)), "{reply:?}");
        assert_eq!(staged(&place), 0, "{error}");
    }
}

/// Its key was made before, by a server whose calls were left alone.
fn serve_with_key(sync: &str, injects: &[&str]) -> (Place, Server) {
    let place = Place::with(configuration(json!({}), json!({"sync": sync})));
    place.add("ann", &[]);
    drop(place.serve());
    let server = serve_again(&place, injects);
    (place, server)
}

fn an_account_is_changed_where_nothing_can_be_synced_and_stays_as_it_was_where_that_fails() {
    let place = Place::new();
    place.add("ann", &[]);
    let file = place.path("conf/users/ann.json");
    let lock = |error: &str| {
        let injects: Vec<String> =
            ["fsync", "syncfs"].iter().map(|name| format!("inject={name}:error={error}")).collect();
        let more: Vec<&str> = injects.iter().flat_map(|inject| ["-e", inject]).collect();
        place.run(watched(&place.berthd(&["user", "lock", "ann"]), &trace::file(&place), "fsync,syncfs", &more))
    };
    let before = fs::read(&file).expect("there");
    for error in ["EIO", "ENOSPC"] {
        let ended = lock(error);
        assert!(ended.code != Some(0) && !ended.stderr.is_empty(), "{ended:?}");
        assert!(fs::read(&file).expect("there") == before, "{error}");
        assert_eq!(
            fs::read_dir(place.path("conf/users"))
                .expect("there")
                .filter(|entry| {
                    entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
                })
                .count(),
            0
        );
    }
    lock("EINVAL").expect_code(0);
    assert!(fs::read(&file).expect("there") != before);
}
