//! When an upload counts as stored: a file appears only after its bytes are on disk, a slow disk delays only its
//! own uploads, and a disk that fails leaves the old file.

use std::io;

use crate::support::in_memory::*;
use berth::base::buffers::{INPUT_BYTES, PIECE_BYTES};
use berth::config::SyncPolicy;
use berth::protocol::{Protocol, ProtocolEvent, ProtocolIo};
use berth::session::Phase;
use berth::session::state::StateName;
use berth::store::syncer::{Synced, UNSYNCED_BYTES_MAX};
use berth::wire::{ErrorCode, Reply, Request};

/// Lets the helper answer the oldest job of `peer` with `result`.
fn answer(server: &mut Server, peer: &mut Peer, result: io::Result<()>) {
    let synced = server.service.store.syncer.take_synced().expect("a job");
    assert_eq!(synced.owner, peer.id);
    let synced = Synced { result: result.map_err(Into::into), ..synced };
    peer.protocol.handle(ProtocolEvent::Synced(synced), ProtocolIo::single(&mut peer.buffers), server.now);
}

fn begin(server: &mut Server, sync: SyncPolicy) -> (Peer, u32) {
    server.set_sync(sync);
    write(&server.at("file"), b"old");
    let mut peer = server.log_in();
    peer.takes_syncs = false;
    let id = peer.request(&put("/file", Some(3)));
    peer.data(id, b"new");
    peer.end(id, b"new");
    (peer, id)
}

fn file(server: &Server) -> Vec<u8> {
    std::fs::read(server.at("file")).expect("there")
}

#[test]
fn sync_none_never_uses_the_sync_worker() {
    let mut server = Server::new();
    let (mut peer, _) = begin(&mut server, SyncPolicy::None);
    assert!(matches!(peer.exchange(&mut server)[..], [Got::Reply(_, Reply::Stored { .. })]));
    assert!(!server.service.store.syncer.has_work());
    assert_eq!(file(&server), b"new");
}

#[test]
fn an_upload_appears_only_after_its_bytes_are_synced() {
    let mut server = Server::new();
    let (mut peer, _) = begin(&mut server, SyncPolicy::Data);
    assert_eq!(peer.exchange(&mut server), []);
    assert_eq!(
        (
            peer.protocol.session().expect("of the network").state_name(),
            peer.protocol.session().expect("of the network").phase()
        ),
        (StateName::Commit, Phase::Working)
    );
    assert_eq!(file(&server), b"old");
    answer(&mut server, &mut peer, Ok(()));
    assert!(matches!(peer.exchange(&mut server)[..], [Got::Reply(_, Reply::Stored { .. })]));
    assert_eq!(file(&server), b"new");
}

#[test]
fn with_full_syncing_an_upload_is_acknowledged_only_after_its_directory_is_synced() {
    let mut server = Server::new();
    let (mut peer, _) = begin(&mut server, SyncPolicy::Full);
    assert_eq!(peer.exchange(&mut server), []);
    answer(&mut server, &mut peer, Ok(()));
    assert_eq!(peer.exchange(&mut server), []);
    assert_eq!(file(&server), b"new");
    answer(&mut server, &mut peer, Ok(()));
    assert!(matches!(peer.exchange(&mut server)[..], [Got::Reply(_, Reply::Stored { .. })]));
}

#[test]
fn every_policy_stores_files_in_directories_and_in_the_home_itself() {
    for sync in [SyncPolicy::None, SyncPolicy::Data, SyncPolicy::Full] {
        let mut server = Server::on_disk();
        server.set_sync(sync);
        std::fs::create_dir(server.at("folder")).expect("mkdir");
        let mut peer = server.log_in();
        for path in ["/file", "/folder/file", "/file"] {
            let reply = peer.put(&mut server, path, b"content");
            assert!(matches!(reply, Reply::Stored { size: 7, .. }), "{sync:?} {path}: {reply:?}");
            assert_eq!(peer.get(&mut server, path), Ok(b"content".to_vec()));
        }
        assert!(server.is_staging_empty());
    }
}

#[test]
fn replies_stay_in_order_behind_a_commit_that_waits() {
    let mut server = Server::new();
    let (mut peer, upload) = begin(&mut server, SyncPolicy::Data);
    let after = peer.request(&stat("/file"));
    assert_eq!(peer.exchange(&mut server), []);
    answer(&mut server, &mut peer, Ok(()));
    let got = peer.exchange(&mut server);
    let ids: Vec<u32> = got.iter().map(|got| if let Got::Reply(id, _) = got { *id } else { 0 }).collect();
    assert_eq!(ids, [upload, after]);
}

#[test]
fn a_sync_that_fails_leaves_the_old_file_and_the_session_goes_on() {
    let mut server = Server::new();
    let (mut peer, _) = begin(&mut server, SyncPolicy::Data);
    assert_eq!(peer.exchange(&mut server), []);
    answer(&mut server, &mut peer, Err(io::Error::from_raw_os_error(5)));
    assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::Io));
    assert_eq!(file(&server), b"old");
    assert!(server.is_staging_empty());
    assert_eq!(peer.quota(&mut server).reserved_bytes, 0);
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn a_full_disk_found_while_syncing_is_told_as_such() {
    let mut server = Server::new();
    let (mut peer, _) = begin(&mut server, SyncPolicy::Data);
    peer.pump(&mut server);
    answer(&mut server, &mut peer, Err(io::Error::from_raw_os_error(28)));
    assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::DiskFull));
    assert_eq!(file(&server), b"old");
}

#[test]
fn a_late_sync_result_is_ignored() {
    let mut server = Server::new();
    let (mut peer, id) = begin(&mut server, SyncPolicy::Data);
    peer.pump(&mut server);
    let synced = server.service.store.syncer.take_synced().expect("a job");
    let failed = Synced { result: Err(io::Error::from_raw_os_error(5).into()), ..synced };
    peer.protocol.handle(ProtocolEvent::Synced(failed), ProtocolIo::single(&mut peer.buffers), server.now);
    assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::Io));
    // The next upload has a ticket of its own.
    let again = peer.request(&put("/file", Some(3)));
    assert!(again > id);
    peer.data(again, b"two");
    peer.end(again, b"two");
    assert_eq!(peer.exchange(&mut server), []);
    let late = Synced { owner: synced.owner, ticket: synced.ticket, result: Ok(()) };
    peer.protocol.handle(ProtocolEvent::Synced(late), ProtocolIo::single(&mut peer.buffers), server.now);
    assert_eq!(peer.exchange(&mut server), []);
    assert_eq!(file(&server), b"old");
    answer(&mut server, &mut peer, Ok(()));
    assert!(matches!(peer.exchange(&mut server)[..], [Got::Reply(_, Reply::Stored { .. })]));
}

#[test]
fn a_connection_lost_while_its_commit_waits_leaves_the_old_file() {
    let mut server = Server::new();
    let (mut peer, _) = begin(&mut server, SyncPolicy::Data);
    peer.pump(&mut server);
    peer.reset(&server);
    server.run_syncs();
    assert_eq!(file(&server), b"old");
    assert!(server.is_staging_empty());
    assert_eq!(server.usage_in_ledger(), (3, 1));
}

#[test]
fn a_half_close_behind_an_upload_still_stores_it_once_synced() {
    let mut server = Server::new();
    let (mut peer, _) = begin(&mut server, SyncPolicy::Full);
    peer.half_close();
    assert_eq!(peer.exchange(&mut server), []);
    assert!(!peer.is_closing());
    peer.takes_syncs = true;
    assert!(matches!(peer.exchange(&mut server)[..], [Got::Reply(_, Reply::Stored { .. })]));
    assert!(peer.is_closing());
    assert_eq!(file(&server), b"new");
}

// ---- A disk that is behind ----------------------------------------------------------------

/// Begins to upload more than may wait for the disk, which does not answer.
fn behind(server: &mut Server) -> (Peer, u32, Vec<u8>) {
    server.set_sync(SyncPolicy::Data);
    let whole = content(1, UNSYNCED_BYTES_MAX as usize + 2 * MIB);
    let mut peer = server.log_in();
    peer.takes_syncs = false;
    let id = peer.request(&put("/file", None));
    peer.all_data(id, &whole);
    peer.end(id, &whole);
    peer.pump(server);
    (peer, id, whole)
}

#[test]
fn an_upload_is_not_read_while_the_disk_is_behind_and_others_are() {
    let mut server = Server::on_disk();
    let (mut peer, id, whole) = behind(&mut server);
    let written = server.staged_bytes();
    assert!((UNSYNCED_BYTES_MAX..UNSYNCED_BYTES_MAX + PIECE_BYTES as u64).contains(&written), "{written}");
    assert!(peer.unsent() > MIB && peer.buffers.input.filled().len() == INPUT_BYTES);
    assert_eq!(peer.protocol.session().expect("of the network").phase(), Phase::Working, "the peer is not to blame");
    assert!(!peer.step(&mut server), "and nothing spins");

    let mut other = server.log_in();
    assert!(matches!(other.ask(&mut server, &Request::Quota {}), Reply::Quota(_)));
    other.put(&mut server, "/other", b"small");
    assert_eq!(std::fs::read(server.at("other")).expect("stored meanwhile"), b"small");

    peer.takes_syncs = true;
    let reply = peer.only_reply(&mut server, id);
    assert!(matches!(reply, Reply::Stored { size, .. } if size == whole.len() as u64), "{reply:?}");
    assert!(file(&server) == whole);
}

#[test]
fn a_half_close_while_the_disk_is_behind_does_not_lose_the_upload() {
    let mut server = Server::on_disk();
    server.set_sync(SyncPolicy::Data);
    let whole = content(1, UNSYNCED_BYTES_MAX as usize + 100_000);
    let mut peer = server.log_in();
    peer.takes_syncs = false;
    let id = peer.request(&put("/file", None));
    peer.all_data(id, &whole);
    peer.end(id, &whole);
    peer.half_close();
    peer.pump(&mut server);
    assert!(peer.buffers.eof && !peer.is_closing());
    peer.takes_syncs = true;
    let reply = peer.only_reply(&mut server, id);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert!(file(&server) == whole);
}

#[test]
fn a_disk_that_fails_under_an_upload_ends_it_and_the_rest_is_thrown_away() {
    let mut server = Server::on_disk();
    let (mut peer, id, _) = behind(&mut server);
    answer(&mut server, &mut peer, Err(io::Error::from_raw_os_error(5)));
    let got = peer.exchange(&mut server);
    let [Got::Reply(replied, Reply::Error(error))] = &got[..] else { panic!("{got:?}") };
    assert_eq!((*replied, error.code), (id, ErrorCode::Io));
    assert_eq!(peer.unsent(), 0);
    assert!(server.is_staging_empty() && !server.at("file").exists());
    assert!(matches!(peer.ask(&mut server, &Request::Quota {}), Reply::Quota(report) if report.used_bytes == 0));
}
