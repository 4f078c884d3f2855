//! Resumed transfers, and files that change during a transfer: the same bytes arrive, or the transfer starts again
//! or fails with a reason.

use std::fs::OpenOptions;

use crate::support::in_memory::*;
use berth::base::buffers::{DATA_BYTES_MAX, PIECE_BYTES};
use berth::base::digest::{Digest, DigestAlgorithm};
use berth::base::upload_id::{RESUME_BYTES_MIN, UploadId};
use berth::store::staging::PARTIALS_PER_HOME_MAX;
use berth::wire::message::{Partial, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

const ID: UploadId = UploadId([7; 16]);
const KEPT_FROM: usize = RESUME_BYTES_MIN as usize;

/// Begins to upload `content` as `ID` and sends its first `length` bytes.
fn begin(server: &mut Server, path: &str, content: &[u8], length: usize) -> (Peer, u32) {
    let mut peer = server.log_in();
    let id = peer.request(&put_as(path, content.len() as u64, ID, false));
    peer.all_data(id, &content[..length]);
    assert_eq!(peer.exchange(server), []);
    (peer, id)
}

/// Claims `ID` in a new session: where it goes on.
fn claim(server: &mut Server, request: &Request) -> (Peer, u32, u64, Digest) {
    let mut peer = server.log_in();
    let id = peer.request(request);
    match peer.only_reply(server, id) {
        Reply::Ready { offset, prefix_digest } => (peer, id, offset, prefix_digest),
        other => panic!("{other:?}"),
    }
}

fn finish(server: &mut Server, (mut peer, id): (Peer, u32), content: &[u8], offset: u64) -> Reply {
    peer.all_data(id, &content[offset as usize..]);
    peer.end(id, content);
    peer.only_reply(server, id)
}

fn partials(server: &mut Server) -> Vec<Partial> {
    let mut peer = server.log_in();
    peer.request(&Request::Partials {});
    let mut all = Vec::new();
    for got in peer.exchange(server) {
        match got {
            Got::Reply(_, Reply::Partials { partials, .. }) => all.extend(partials),
            other => panic!("{other:?}"),
        }
    }
    all
}

// ---- Uploads ------------------------------------------------------------------------------

#[test]
fn an_upload_cut_anywhere_goes_on_where_it_was_and_the_whole_file_arrives() {
    let whole = content(1, 2 * MIB + 1000);
    for cut in [0, 1, KEPT_FROM - 1, KEPT_FROM, KEPT_FROM + 1, MIB + 70_001, 2 * MIB, whole.len() - 1, whole.len()] {
        for is_killed in [false, true] {
            let mut server = Server::new();
            write(&server.at("file"), b"old");
            let (peer, _) = begin(&mut server, "/file", &whole, cut);
            if is_killed {
                // Nothing of the server's memory gets to do anything any more.
                std::mem::forget(peer);
                server = server.restarted_after_a_kill();
            } else {
                peer.reset(&server);
            }
            let kept = if cut >= KEPT_FROM { cut } else { 0 };
            let (peer, id, offset, prefix) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
            assert_eq!((offset, prefix), (kept as u64, Digest::of(&whole[..kept])), "cut at {cut}");
            assert_eq!(std::fs::read(server.at("file")).expect("there"), b"old");
            let reply = finish(&mut server, (peer, id), &whole, offset);
            let stored = Reply::Stored { size: whole.len() as u64, digest: Digest::of(&whole) };
            assert_eq!(reply, stored, "cut at {cut}");
            assert!(std::fs::read(server.at("file")).expect("there") == whole, "cut at {cut}");
            assert!(server.is_staging_empty(), "cut at {cut}: {:?}", server.staged_names());
            assert_eq!(server.usage_in_ledger(), server.usage_on_disk(), "cut at {cut}");
        }
    }
}

#[test]
fn an_upload_cut_again_and_again_arrives_whole() {
    let whole = content(2, 3 * MIB);
    let mut server = Server::new();
    begin(&mut server, "/file", &whole, KEPT_FROM).0.reset(&server);
    let mut random = Random::new(2);
    loop {
        let (mut peer, id, offset, prefix) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
        let offset = offset as usize;
        assert_eq!(prefix, Digest::of(&whole[..offset]));
        let next = offset + random.below(500_000);
        if next >= whole.len() {
            let reply = finish(&mut server, (peer, id), &whole, offset as u64);
            assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
            break;
        }
        peer.all_data(id, &whole[offset..next]);
        peer.pump(&mut server);
        peer.reset(&server);
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
    assert!(std::fs::read(server.at("file")).expect("there") == whole);
}

#[test]
fn after_a_reboot_only_synced_bytes_are_resumed() {
    let whole = content(3, 3 * MIB);
    let mut server = Server::new();
    let (peer, _) = begin(&mut server, "/file", &whole, 2 * MIB);
    std::mem::forget(peer);
    let record = server.at(".berth").join(format!("{ID}.json"));
    let mut kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&record).expect("there")).expect("a record is JSON");
    (kept["boot"], kept["synced"]) = ("of another start of the machine".into(), MIB.into());
    std::fs::write(&record, kept.to_string()).expect("writable");
    // What was not synced may be anything after a power failure.
    let part = OpenOptions::new().write(true).open(server.at(".berth").join(format!("{ID}.part"))).expect("there");
    std::os::unix::fs::FileExt::write_all_at(&part, &[0; 4096], MIB as u64 + 4096).expect("writable");
    server = server.restarted_after_a_kill();
    let (peer, id, offset, prefix) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
    assert_eq!((offset, prefix), (MIB as u64, Digest::of(&whole[..MIB])));
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    let reply = finish(&mut server, (peer, id), &whole, offset);
    assert_eq!(reply, Reply::Stored { size: whole.len() as u64, digest: Digest::of(&whole) });
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn bytes_sent_after_a_crash_of_the_machine_are_kept_at_the_next_cut() {
    let whole = content(17, 3 * MIB);
    let mut server = Server::new();
    begin(&mut server, "/file", &whole, 2 * MIB).0.reset(&server);
    let record = server.at(".berth").join(format!("{ID}.json"));
    let mut kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&record).expect("there")).expect("a record is JSON");
    (kept["boot"], kept["synced"]) = ("of another start of the machine".into(), MIB.into());
    std::fs::write(&record, kept.to_string()).expect("writable");
    let mut server = server.restarted_after_a_kill();
    let (mut peer, id, offset, _) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
    assert_eq!(offset, MIB as u64);
    peer.all_data(id, &whole[MIB..2 * MIB + 5]);
    peer.pump(&mut server);
    peer.reset(&server);
    let (_, _, offset, prefix) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
    assert_eq!((offset, prefix), (2 * MIB as u64 + 5, Digest::of(&whole[..2 * MIB + 5])));
}

#[test]
fn a_resume_of_something_else_under_the_same_id_starts_at_the_beginning() {
    let whole = content(3, 2 * MIB);
    let size = whole.len() as u64;
    let mut dated = put_as("/file", size, ID, true);
    if let Request::Put { mtime_ns, .. } = &mut dated {
        *mtime_ns = Some(5);
    }
    for request in [put_as("/other", size, ID, true), put_as("/file", size - 1, ID, true), dated] {
        let mut server = Server::new();
        begin(&mut server, "/file", &whole, KEPT_FROM + 5).0.reset(&server);
        let (mut peer, id, offset, prefix) = claim(&mut server, &request);
        assert_eq!((offset, prefix), (0, Digest::of(b"")), "{request:?}");
        peer.data(id, b"new");
        peer.pump(&mut server);
        assert_eq!((server.usage_on_disk(), server.staged_bytes()), ((0, 0), 3), "what was kept is gone");
        assert_eq!(server.usage_in_ledger(), (0, 0));
        assert_eq!(server.capability().ledger().state().stored().bytes, 3);
    }
}

#[test]
fn a_resume_of_nothing_starts_at_the_beginning() {
    let mut server = Server::new();
    let (peer, id, offset, prefix) = claim(&mut server, &put_as("/file", 3, ID, true));
    assert_eq!((offset, prefix), (0, Digest::of(b"")));
    assert!(matches!(finish(&mut server, (peer, id), b"new", 0), Reply::Stored { size: 3, .. }));
}

#[test]
fn a_partial_that_was_tampered_with_does_not_become_a_file() {
    let whole = content(4, 2 * MIB);
    let mut server = Server::new();
    begin(&mut server, "/file", &whole, KEPT_FROM).0.reset(&server);
    let part = server.at(".berth").join(format!("{ID}.part"));
    let mut poisoned = whole[..KEPT_FROM].to_vec();
    poisoned[1000] ^= 1;
    write(&part, &poisoned);
    let (peer, id, offset, prefix) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
    assert_eq!(prefix, Digest::of(&poisoned), "the client can tell");
    // A client that does not care is told at the end, and the next try starts from nothing.
    let reply = finish(&mut server, (peer, id), &whole, offset);
    assert!(matches!(&reply, Reply::Error(error) if error.code == ErrorCode::Mismatch), "{reply:?}");
    assert!(!server.at("file").exists() && server.is_staging_empty());
    let (_, _, offset, _) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
    assert_eq!(offset, 0);
}

#[test]
fn a_damaged_record_costs_the_partial_and_nothing_else() {
    let whole = content(5, 2 * MIB);
    for damage in [&b""[..], b"{", b"null", b"{\"path\":\"%\",\"size\":null}", &[0; 400_000]] {
        let mut server = Server::new();
        begin(&mut server, "/file", &whole, KEPT_FROM).0.reset(&server);
        write(&server.at(".berth").join(format!("{ID}.json")), damage);
        assert_eq!(partials(&mut server), []);
        let (peer, id, offset, _) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
        assert_eq!(offset, 0);
        assert!(matches!(finish(&mut server, (peer, id), &whole, 0), Reply::Stored { .. }));
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
        assert!(server.is_staging_empty());
    }
}

// ---- Two claims on one upload -------------------------------------------------------------

#[test]
fn a_record_that_an_earlier_build_wrote_is_resumed_and_a_digest_in_it_is_ignored() {
    let whole = content(1, 2 * MIB);
    // As builds wrote them that verified with SHA-256, and one that noted what it had hashed.
    let sha256 = Digest::by(DigestAlgorithm::Sha256, &whole[..2 * MIB - 5]).hex();
    for extra in [String::new(), format!(r#","sha256":"{sha256}""#), format!(r#","prefix_sha256":"{sha256}""#)] {
        let mut server = Server::new();
        let (peer, _) = begin(&mut server, "/file", &whole, 2 * MIB - 5);
        peer.reset(&server);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
        let record = format!(
            r#"{{"path":"L2ZpbGU=","size":{},"mtime_ns":null,"synced":0,"boot":"{}"{extra}}}"#,
            whole.len(),
            boot.trim()
        );
        let path = server.at(".berth").join(format!("{ID}.json"));
        if extra.is_empty() {
            assert_eq!(std::fs::read_to_string(&path).expect("there"), record, "nothing else has changed in it");
        }
        write(&path, record.as_bytes());
        server = server.restarted_after_a_kill();
        let (peer, id, offset, prefix) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
        assert_eq!((offset, prefix), (2 * MIB as u64 - 5, Digest::of(&whole[..2 * MIB - 5])), "{extra}");
        let reply = finish(&mut server, (peer, id), &whole, offset);
        assert_eq!(reply, Reply::Stored { size: whole.len() as u64, digest: Digest::of(&whole) }, "{extra}");
        assert!(server.is_staging_empty(), "{extra}");
    }
}

#[test]
fn resuming_a_running_upload_supersedes_it() {
    let whole = content(6, 2 * MIB);
    for sent in [100, KEPT_FROM + 100] {
        let mut server = Server::with_quota(whole.len() as u64);
        let (mut first, id) = begin(&mut server, "/file", &whole, sent);
        let (second, second_id, offset, _) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
        assert_eq!(offset, if sent >= KEPT_FROM { sent as u64 } else { 0 });
        first.data(id, &whole[sent..sent + 50]);
        let got = first.exchange(&mut server);
        assert_eq!(got[0].code(), Some(ErrorCode::Superseded), "{got:?}");
        first.end(id, &whole);
        assert_eq!(first.exchange(&mut server), []);
        assert!(matches!(first.ask(&mut server, &stat("/")), Reply::Stat { .. }), "its session goes on");
        first.reset(&server);
        let reply = finish(&mut server, (second, second_id), &whole, offset);
        assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
        assert!(std::fs::read(server.at("file")).expect("there") == whole);
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
}

#[test]
fn a_superseded_upload_that_only_ends_is_not_stored() {
    let whole = content(7, 2 * MIB);
    let mut server = Server::new();
    let (mut first, id) = begin(&mut server, "/file", &whole, whole.len());
    let (second, second_id, offset, _) = claim(&mut server, &put_as("/file", whole.len() as u64, ID, true));
    first.end(id, &whole);
    let got = first.exchange(&mut server);
    assert_eq!(got[0].code(), Some(ErrorCode::Superseded), "{got:?}");
    assert!(!server.at("file").exists());
    assert!(matches!(finish(&mut server, (second, second_id), &whole, offset), Reply::Stored { .. }));
}

#[test]
fn a_new_upload_under_a_running_id_ends_the_old_one() {
    let whole = content(8, 2 * MIB);
    let mut server = Server::new();
    let (mut first, id) = begin(&mut server, "/file", &whole, KEPT_FROM);
    let mut second = server.log_in();
    let reply = second.put_with(&mut server, &put_as("/file", 3, ID, false), b"new");
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    first.data(id, b"more");
    first.end(id, &whole);
    assert_eq!(first.exchange(&mut server)[0].code(), Some(ErrorCode::Superseded));
    assert_eq!(std::fs::read(server.at("file")).expect("there"), b"new");
    assert_eq!(server.usage_in_ledger(), (3, 1));
    assert_eq!(server.usage_on_disk(), (3, 1));
}

#[test]
fn dropping_a_partial_ends_the_session_that_writes_it() {
    let whole = content(9, 2 * MIB);
    let mut server = Server::new();
    let (mut first, id) = begin(&mut server, "/file", &whole, KEPT_FROM);
    let mut second = server.log_in();
    assert_eq!(second.ask(&mut server, &Request::DropPartial { upload_id: ID }), Reply::Done {});
    first.data(id, b"more");
    assert_eq!(first.exchange(&mut server)[0].code(), Some(ErrorCode::Superseded));
    first.reset(&server);
    assert!(server.is_staging_empty());
    assert_eq!(server.usage_in_ledger(), (0, 0));
}

// ---- Partials -----------------------------------------------------------------------------

#[test]
fn partials_are_listed_count_against_the_quota_and_can_be_dropped() {
    let whole = content(10, 2 * MIB);
    let mut server = Server::new();
    begin(&mut server, "/\u{fc}", &whole, 0).0.reset(&server);
    assert_eq!(partials(&mut server), [], "not worth keeping");
    begin(&mut server, "/file", &whole, KEPT_FROM + 5).0.reset(&server);
    let listed = partials(&mut server);
    let [partial] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((partial.upload_id, &partial.path, partial.offset), (ID, &"/file".into(), KEPT_FROM as u64 + 5));
    assert_eq!(partial.size, Some(whole.len() as u64));
    assert_eq!(server.usage_in_ledger(), (KEPT_FROM as u64 + 5, 1));

    let mut peer = server.log_in();
    assert_eq!(peer.list(&mut server, "/"), Ok(vec![]));
    assert_eq!(peer.ask(&mut server, &Request::DropPartial { upload_id: ID }), Reply::Done {});
    assert_eq!(peer.refused(&mut server, &Request::DropPartial { upload_id: ID }), ErrorCode::NotFound);
    assert_eq!(server.usage_in_ledger(), (0, 0));
    assert!(server.is_staging_empty());
}

#[test]
fn a_cancelled_upload_with_a_name_is_kept() {
    let whole = content(11, 2 * MIB);
    let mut server = Server::new();
    let (mut peer, id) = begin(&mut server, "/file", &whole, KEPT_FROM);
    peer.cancel(id);
    assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::Cancelled));
    assert_eq!(partials(&mut server).len(), 1);
}

#[test]
fn the_oldest_partial_goes_when_there_are_too_many() {
    let mut server = Server::new();
    let half = content(12, KEPT_FROM);
    let mut peer = server.log_in();
    for i in 0..=PARTIALS_PER_HOME_MAX {
        let id = peer.request(&put_as("/file", 2 * MIB as u64, UploadId([i as u8; 16]), false));
        peer.all_data(id, &half);
        peer.cancel(id);
        assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::Cancelled));
    }
    let ids: Vec<u8> = partials(&mut server).iter().map(|partial| partial.upload_id.0[0]).collect();
    assert_eq!(ids.len(), PARTIALS_PER_HOME_MAX);
    assert!(ids.contains(&(PARTIALS_PER_HOME_MAX as u8)), "the newest is there");
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

/// Uploads that are running and large enough to be kept, the first under the id of `first`.
fn running(server: &mut Server, first: u8, count: usize) -> Vec<(Peer, u32)> {
    let half = content(12, KEPT_FROM);
    let mut peers = Vec::new();
    for number in 0..count {
        let mut peer = server.log_in();
        let id = UploadId([first + number as u8; 16]);
        let id = peer.request(&put_as(&format!("/{first}-{number}"), 2 * MIB as u64, id, false));
        peer.all_data(id, &half);
        assert_eq!(peer.exchange(server), []);
        peers.push((peer, id));
    }
    peers
}

fn numbers(partials: &[Partial]) -> Vec<u8> {
    let mut numbers: Vec<u8> = partials.iter().map(|partial| partial.upload_id.0[0]).collect();
    numbers.sort_unstable();
    numbers
}

fn records(server: &Server) -> usize {
    server.staged_names().iter().filter(|name| name.ends_with(".json")).count()
}

/// More uploads of one home than are kept of it.
const TOO_MANY: usize = PARTIALS_PER_HOME_MAX + 6;

#[test]
fn of_too_many_uploads_cut_at_once_the_newest_are_kept() {
    let mut server = Server::new();
    let peers = running(&mut server, 0, TOO_MANY);
    assert!(records(&server) <= PARTIALS_PER_HOME_MAX, "{} have a record while they run", records(&server));
    peers.into_iter().for_each(|(peer, _)| peer.reset(&server));
    let kept = numbers(&partials(&mut server));
    assert_eq!(kept.len(), PARTIALS_PER_HOME_MAX);
    assert_eq!(records(&server), PARTIALS_PER_HOME_MAX);
    assert!(kept.ends_with(&[TOO_MANY as u8 - 1]), "the last one that was written to is there: {kept:?}");
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    assert_eq!(server.nameless_bytes(), 0);
    // One that had no record while it was running goes on where it was.
    let whole = content(12, 2 * MIB);
    let last = UploadId([TOO_MANY as u8 - 1; 16]);
    let path = format!("/0-{}", TOO_MANY - 1);
    let (peer, id, offset, _) = claim(&mut server, &put_as(&path, whole.len() as u64, last, true));
    assert_eq!(offset, KEPT_FROM as u64);
    let whole = [content(12, KEPT_FROM), content(13, 2 * MIB - KEPT_FROM)].concat();
    assert!(matches!(finish(&mut server, (peer, id), &whole, offset), Reply::Stored { .. }));
}

#[test]
fn uploads_that_are_running_drop_none_that_were_interrupted() {
    let mut server = Server::new();
    let first = running(&mut server, 0, PARTIALS_PER_HOME_MAX);
    first.into_iter().for_each(|(peer, _)| peer.reset(&server));
    let second = running(&mut server, 100, TOO_MANY);
    let kept = numbers(&partials(&mut server));
    assert!((0..PARTIALS_PER_HOME_MAX as u8).all(|number| kept.contains(&number)), "{kept:?}");
    assert!(kept.len() <= 2 * PARTIALS_PER_HOME_MAX, "{kept:?}");
    // Those that end well leave them alone, too.
    for (mut peer, id) in second {
        peer.end_with(id, 1, Digest::of(b"something else"));
        assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::Mismatch));
    }
    assert_eq!(numbers(&partials(&mut server)), (0..PARTIALS_PER_HOME_MAX as u8).collect::<Vec<_>>());
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn each_upload_that_is_interrupted_takes_the_place_of_the_oldest() {
    let mut server = Server::new();
    let first = running(&mut server, 0, PARTIALS_PER_HOME_MAX);
    first.into_iter().for_each(|(peer, _)| peer.reset(&server));
    let second = running(&mut server, 100, 3);
    second.into_iter().for_each(|(peer, _)| peer.reset(&server));
    let kept = numbers(&partials(&mut server));
    assert_eq!(kept.len(), PARTIALS_PER_HOME_MAX);
    assert!([100, 101, 102].iter().all(|number| kept.contains(number)), "{kept:?}");
}

#[test]
fn a_killed_server_keeps_no_more_than_the_newest() {
    let mut server = Server::new();
    let first = running(&mut server, 0, PARTIALS_PER_HOME_MAX);
    first.into_iter().for_each(|(peer, _)| peer.reset(&server));
    running(&mut server, 100, TOO_MANY).into_iter().for_each(std::mem::forget);
    let mut server = server.restarted_after_a_kill();
    let mut peer = server.log_in();
    peer.quota(&mut server);
    let kept = numbers(&partials(&mut server));
    assert_eq!(kept.len(), PARTIALS_PER_HOME_MAX);
    assert!(kept.iter().all(|number| *number >= 100), "{kept:?}");
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn uploads_that_are_taken_up_again_stay_bounded() {
    let mut server = Server::new();
    let mut resumed = Vec::new();
    for round in 0..3 {
        let first = running(&mut server, round * PARTIALS_PER_HOME_MAX as u8, PARTIALS_PER_HOME_MAX);
        first.into_iter().for_each(|(peer, _)| peer.reset(&server));
        for number in 0..PARTIALS_PER_HOME_MAX {
            let first = round * PARTIALS_PER_HOME_MAX as u8;
            let id = UploadId([first + number as u8; 16]);
            let request = put_as(&format!("/{first}-{number}"), 2 * MIB as u64, id, true);
            let (peer, _, offset, _) = claim(&mut server, &request);
            assert_eq!(offset, KEPT_FROM as u64);
            resumed.push(peer);
        }
        assert!(records(&server) <= PARTIALS_PER_HOME_MAX, "{} records of uploads that run", records(&server));
    }
    resumed.into_iter().for_each(|peer: Peer| peer.reset(&server));
    assert_eq!(partials(&mut server).len(), PARTIALS_PER_HOME_MAX);
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn partials_are_read_a_few_at_a_time() {
    let mut server = Server::new();
    let peers = running(&mut server, 0, PARTIALS_PER_HOME_MAX);
    let mut asking = server.log_in();
    for _ in 0..10 {
        asking.request(&Request::Partials {});
    }
    let (mut turns, mut answers) = (0, 0);
    while answers < 10 {
        asking.deliver(usize::MAX);
        asking.step(&mut server);
        asking.drain(usize::MAX);
        answers += asking.take_received().len();
        turns += 1;
    }
    assert!(turns >= 10 * PARTIALS_PER_HOME_MAX / 8, "{turns} turns");
    drop(peers);
}

#[test]
fn what_a_killed_server_left_is_swept_or_resumable() {
    let whole = content(13, 2 * MIB);
    let mut server = Server::new();
    std::fs::create_dir(server.at(".berth")).expect("mkdir");
    write(&server.at(".berth").join(format!("{}.part", UploadId([1; 16]))), b"a part without a record");
    write(
        &server.at(".berth").join(format!("{}.json", UploadId([2; 16]))),
        b"{\"path\":\"\",\"size\":null,\"mtime_ns\":null}",
    );
    write(&server.at(".berth/left by an administrator"), b"kept");
    let (peer, _) = begin(&mut server, "/file", &whole, KEPT_FROM);
    std::mem::forget(peer);
    let mut server = server.restarted_after_a_kill();
    assert_eq!(server.usage_in_ledger(), (KEPT_FROM as u64, 1));
    let names = [format!("{ID}.json"), format!("{ID}.part"), "left by an administrator".into()];
    assert_eq!(server.staged_names(), names);
}

#[test]
fn an_expired_partial_is_swept() {
    let whole = content(14, 2 * MIB);
    let mut server = Server::new();
    begin(&mut server, "/file", &whole, KEPT_FROM).0.reset(&server);
    server.config.partial_expiry = std::time::Duration::ZERO;
    server.restart();
    assert_eq!(server.usage_in_ledger(), (0, 0));
    assert!(server.is_staging_empty());
}

#[test]
fn ten_resumed_pieces_do_not_slip_past_a_quota() {
    let whole = content(15, 3 * MIB);
    let mut server = Server::with_quota(2 * MIB as u64);
    let mut sent = KEPT_FROM;
    let mut peer = server.log_in();
    let mut request = put_as("/file", 0, ID, false);
    if let Request::Put { size, .. } = &mut request {
        *size = None;
    }
    let id = peer.request(&request);
    peer.all_data(id, &whole[..sent]);
    peer.pump(&mut server);
    peer.reset(&server);
    if let Request::Put { resume, .. } = &mut request {
        *resume = true;
    }
    let mut refused = 0;
    for _ in 0..10 {
        let (mut peer, id, offset, _) = claim(&mut server, &request);
        assert_eq!(offset, sent as u64);
        peer.all_data(id, &whole[sent..sent + 200_000]);
        let got = peer.exchange(&mut server);
        match got.first().and_then(Got::code) {
            None => sent += 200_000,
            Some(code) => {
                assert_eq!(code, ErrorCode::QuotaBytes);
                // What fitted of the piece was stored.
                sent = server.usage_on_disk().0 as usize;
                refused += 1;
            }
        }
        peer.reset(&server);
        let (used, _) = server.usage_in_ledger();
        assert!(used <= 2 * MIB as u64);
        assert_eq!(used, server.usage_on_disk().0);
    }
    assert!(refused > 0);
}

// ---- Downloads ----------------------------------------------------------------------------

fn get_from(offset: u64, etag: Option<&str>, prefix: Option<Digest>) -> Request {
    Request::Get { path: "/file".into(), offset, etag: etag.map(String::from), prefix_digest: prefix }
}

/// Asks for the rest of the file: where it begins and what comes.
fn resumed(peer: &mut Peer, server: &mut Server, request: &Request) -> (u64, Vec<u8>, Digest) {
    peer.request(request);
    let (mut offset, mut bytes) = (u64::MAX, Vec::new());
    for got in peer.exchange(server) {
        match got {
            Got::Reply(_, Reply::File { offset: from, .. }) => offset = from,
            Got::Data(_, data) => bytes.extend(data),
            Got::End(_, end) => return (offset, bytes, end.digest),
            other => panic!("{other:?}"),
        }
    }
    panic!("no end");
}

#[test]
fn a_download_goes_on_where_it_was_only_if_the_file_is_the_same() {
    let whole = content(20, MIB);
    let size = whole.len() as u64;
    let mut server = Server::new();
    write(&server.at("file"), &whole);
    for over in [false, true] {
        let mut peer = server.connect_over(over);
        peer.log_in(&mut server, USER);
        let Reply::Stat { etag: Some(etag), .. } = peer.ask(&mut server, &stat("/file")) else { panic!("a file") };
        let etag = Some(etag.as_str());
        let right = |offset: u64| Some(Digest::of(&whole[..offset as usize]));
        let wrong = Some(Digest::of(b"another"));
        for (request, from) in [
            (get_from(1, etag, None), 1),
            (get_from(300_000, etag, None), 300_000),
            (get_from(size, etag, None), size),
            (get_from(size + 1, etag, None), 0),
            (get_from(u64::MAX, etag, None), 0),
            (get_from(i64::MAX as u64, etag, right(5)), 0),
            (get_from(300_000, None, right(300_000)), 300_000),
            (get_from(size, None, right(size)), size),
            (get_from(300_000, None, right(299_999)), 0),
            (get_from(300_000, None, wrong), 0),
            (get_from(300_000, etag, wrong), 0),
            (get_from(300_000, Some("another"), right(300_000)), 300_000),
            (get_from(300_000, Some("another"), None), 0),
            (get_from(300_000, Some(""), None), 0),
            (get_from(300_000, None, None), 0),
        ] {
            let (offset, bytes, digest) = resumed(&mut peer, &mut server, &request);
            assert_eq!(offset, from, "{request:?}");
            assert!(bytes == whole[from as usize..], "{request:?}");
            assert_eq!(digest, Digest::of(&whole), "the whole file's: {request:?}");
        }
        // Once more with the digest known, so that files go out as ranges where they can.
        remember_digest(&mut server, "file", &whole);
    }
}

/// Makes the server know the digest, as it does of files that have not changed for a while.
fn remember_digest(server: &mut Server, path: &str, content: &[u8]) {
    let meta = server.capability().stat(&vpath(path)).expect("there");
    server.service.store.digests.insert(meta.identity, Digest::of(content), i64::MAX);
}

#[test]
fn a_file_of_known_digest_goes_out_as_ranges_and_is_the_same() {
    let whole = content(21, 3 * MIB + 17);
    let mut server = Server::new();
    write(&server.at("file"), &whole);
    remember_digest(&mut server, "file", &whole);
    let mut peer = server.connect_over(true);
    peer.log_in(&mut server, USER);
    let id = peer.request(&get("/file"));
    while peer.deliver(usize::MAX) | peer.step(&mut server) {}
    assert!(peer.buffers.output.has_ranges() && peer.buffers.output.held_bytes() < 1000, "nothing was read");
    let got = peer.exchange(&mut server);
    assert!(matches!(&got[1], Got::Data(_, bytes) if bytes.len() == DATA_BYTES_MAX));
    assert!(downloaded(&got, id) == Ok(whole));
}

#[test]
fn files_of_every_size_around_the_borders_arrive_whole() {
    let mut server = Server::new();
    for size in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, DATA_BYTES_MAX, DATA_BYTES_MAX + 1] {
        let whole = content(size as u64, size);
        for over in [false, true] {
            let mut peer = server.connect_over(over);
            peer.log_in(&mut server, USER);
            assert!(matches!(peer.put(&mut server, "/file", &whole), Reply::Stored { .. }));
            assert!(peer.get(&mut server, "/file") == Ok(whole.clone()), "{size}");
            remember_digest(&mut server, "file", &whole);
            assert!(peer.get(&mut server, "/file") == Ok(whole.clone()), "{size} once its digest is known");
        }
    }
}

/// Begins to download `/file`, lets `change` happen after the first bytes, and reads to the end.
fn changed_under_way(over: bool, change: impl Fn(&std::path::Path)) -> Vec<Got> {
    let whole = content(22, 3 * MIB);
    let mut server = Server::new();
    write(&server.at("file"), &whole);
    if over {
        remember_digest(&mut server, "file", &whole);
    }
    let mut peer = server.connect_over(over);
    peer.log_in(&mut server, USER);
    peer.request(&get("/file"));
    while peer.deliver(usize::MAX) | peer.step(&mut server) {}
    peer.drain(10_000);
    change(&server.at("file"));
    let got = peer.exchange(&mut server);
    // Framing holds: the session goes on.
    assert!(matches!(peer.ask(&mut server, &Request::Quota {}), Reply::Quota(_)));
    got
}

#[test]
fn a_file_that_changes_while_it_is_downloaded_is_aborted_as_changed() {
    let truncate = |path: &std::path::Path, length| {
        OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(length)).expect("truncated");
    };
    for over in [false, true] {
        for length in [0, 5000, 2 * MIB as u64, 3 * MIB as u64 - 1] {
            let got = changed_under_way(over, |path| truncate(path, length));
            assert_eq!(got.last().and_then(Got::code), Some(ErrorCode::Changed), "{length}");
            assert!(matches!(got.last(), Some(Got::Abort(..))));
        }
        let got = changed_under_way(over, |path| {
            write(path, &content(23, 3 * MIB));
            // Clocks of filesystems are coarse: not within the same tick.
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
            OpenOptions::new().write(true).open(path).and_then(|file| file.set_modified(later)).expect("dated");
        });
        assert_eq!(got.last().and_then(Got::code), Some(ErrorCode::Changed));
    }
}

#[test]
fn a_file_that_grows_or_is_touched_while_it_is_downloaded_arrives_as_it_was() {
    let whole = content(22, 3 * MIB);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    let open = |path: &std::path::Path| OpenOptions::new().write(true).open(path).expect("there");
    let grow = |path: &std::path::Path| {
        let file = open(path);
        file.set_len(4 * MIB as u64).and_then(|()| file.set_modified(later)).expect("longer");
    };
    let touch = |path: &std::path::Path| open(path).set_modified(later).expect("dated");
    for over in [false, true] {
        for change in [&grow as &dyn Fn(&std::path::Path), &touch] {
            let got = changed_under_way(over, change);
            let mut arrived = Vec::new();
            for got in &got {
                match got {
                    Got::Data(_, bytes) => arrived.extend_from_slice(bytes),
                    Got::End(_, end) => assert_eq!((end.size, end.digest), (whole.len() as u64, Digest::of(&whole))),
                    _ => {}
                }
            }
            assert!(matches!(got.last(), Some(Got::End(..))), "{:?}", got.last().and_then(Got::code));
            assert!(arrived == whole);
        }
    }
}

#[test]
fn a_file_replaced_removed_or_renamed_while_it_is_downloaded_arrives_as_it_was() {
    let whole = content(22, 3 * MIB);
    for over in [false, true] {
        let renamed = |path: &std::path::Path| std::fs::rename(path, path.with_extension("x")).expect("renamed");
        let removed = |path: &std::path::Path| std::fs::remove_file(path).expect("removed");
        let replaced = |path: &std::path::Path| {
            write(&path.with_extension("new"), b"new");
            std::fs::rename(path.with_extension("new"), path).expect("renamed");
        };
        for change in [&renamed as &dyn Fn(&std::path::Path), &removed, &replaced] {
            let got = changed_under_way(over, change);
            let Some(Got::End(id, _)) = got.last() else { panic!("{:?}", got.last()) };
            assert!(downloaded(&got, *id) == Ok(whole.clone()));
        }
    }
}

#[test]
fn a_file_that_changes_while_its_prefix_is_checked_is_refused_as_changed() {
    let whole = content(24, 2 * MIB);
    let mut server = Server::new();
    write(&server.at("file"), &whole);
    let mut peer = server.log_in();
    let id = peer.request(&get_from(whole.len() as u64, None, Some(Digest::of(&whole))));
    peer.deliver(usize::MAX);
    assert!(peer.step(&mut server), "one turn does not hash it all");
    write(&server.at("file"), &whole[..MIB]);
    let Reply::Error(error) = peer.only_reply(&mut server, id) else { panic!("an error") };
    assert_eq!(error.code, ErrorCode::Changed);
}

#[test]
fn the_target_of_an_upload_removed_or_moved_under_way_is_no_obstacle() {
    let mut server = Server::new();
    std::fs::create_dir(server.at("folder")).expect("mkdir");
    let mut peer = server.log_in();
    let id = peer.request(&put_mode("/folder/file", Some(3), PutMode::Create));
    peer.data(id, b"new");
    peer.pump(&mut server);
    std::fs::rename(server.at("folder"), server.at("moved")).expect("renamed");
    peer.end(id, b"new");
    let Reply::Error(error) = peer.only_reply(&mut server, id) else { panic!("an error") };
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(server.is_staging_empty());
    assert_eq!(server.usage_in_ledger(), (0, 1));
}
