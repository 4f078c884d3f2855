//! Uploads of protocols without upload ids and digests, such as FTP: an interrupted upload is kept by its path and
//! can be resumed, appending writes a copy, and a file appears only when it is complete.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::support::in_memory::{MIB, PASSWORD, Random, Rights, Server, USER, content, counted, vpath, write};
use berth::base::budget::{Budget, TURN_BUDGET};
use berth::base::buffers::PIECE_BYTES;
use berth::base::digest::{Digest, DigestAlgorithm};
use berth::base::upload_id::{RESUME_BYTES_MIN, UploadId};
use berth::config::SyncPolicy;
use berth::session::download::{DownloadPlan, DownloadStart, Fetched};
use berth::session::login::LoginProgress;
use berth::session::state::StateName;
use berth::session::upload::{Length, Stored, UploadPlan, UploadStart};
use berth::session::{Phase, Session, SessionError};
use berth::store::ledger::{QuotaState, Shortage};
use berth::store::staging::TRUNCATED_BYTES_PER_TURN;
use berth::store::syncer::{Synced, UNSYNCED_BYTES_MAX};

const KEPT_FROM: usize = RESUME_BYTES_MIN as usize;

fn log_in(server: &mut Server) -> Session {
    let mut session = server.new_session();
    let (password, mut budget) = (Zeroizing::new(PASSWORD.to_string()), Budget::new(u64::MAX));
    session.begin_password_login(&mut server.service, USER, &password, server.now).expect("begins");
    let login = session.advance_login(&mut server.service, &mut budget, server.now);
    assert_eq!(login, Ok(LoginProgress::Welcome(None)));
    session
}

/// The request for an upload by a client that knows a path and an offset.
fn plan(path: &str, start: UploadStart) -> UploadPlan {
    let path = vpath(path);
    let id = Some(UploadId::of_path(&path));
    UploadPlan {
        path,
        length: Length::Unknown,
        mtime_ns: None,
        replace: true,
        if_etag: None,
        id,
        start,
        hash: None,
        wanted_mode: None,
    }
}

fn begin(server: &mut Server, session: &mut Session, plan: UploadPlan) -> Result<u64, SessionError> {
    begin_unprepared(server, session, plan)?;
    prepare(server, session).map(|(offset, _)| offset)
}

fn begin_unprepared(server: &mut Server, session: &mut Session, plan: UploadPlan) -> Result<(), SessionError> {
    counted(session).begin_upload(&server.service, plan, server.now)
}

/// Takes turns until the session accepts data. Each turn keeps to its budget.
fn prepare(server: &mut Server, session: &mut Session) -> Result<(u64, Option<Digest>), SessionError> {
    loop {
        let before = server.staged_bytes();
        let ready = session.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET))?;
        let after = server.staged_bytes();
        assert!(after <= before + TURN_BUDGET && before <= after + TRUNCATED_BYTES_PER_TURN, "{before} to {after}");
        if let Some(ready) = ready {
            return Ok(ready);
        }
        deliver_syncs(server, session);
    }
}

fn deliver_syncs(server: &mut Server, session: &mut Session) {
    while server.service.store.syncer.run_held(|_| true) {}
    while let Some(synced) = server.service.store.syncer.take_synced() {
        session.synced(synced).expect("the disk works");
    }
}

fn send(server: &mut Server, session: &mut Session, mut bytes: &[u8]) -> Result<(), SessionError> {
    while !bytes.is_empty() {
        let count = counted(session).store(&mut server.service, &bytes[..bytes.len().min(PIECE_BYTES)])?;
        if count == 0 {
            deliver_syncs(server, session);
        }
        bytes = &bytes[count..];
    }
    Ok(())
}

fn complete(server: &mut Server, session: &mut Session) -> Result<Stored, SessionError> {
    session.complete_upload(server.now)?;
    loop {
        if let Some(stored) = counted(session).advance_commit(&mut server.service, server.now)? {
            return Ok(stored);
        }
        deliver_syncs(server, session);
    }
}

fn put(server: &mut Server, session: &mut Session, plan: UploadPlan, bytes: &[u8]) -> Result<Stored, SessionError> {
    begin(server, session, plan)?;
    send(server, session, bytes)?;
    complete(server, session)
}

/// Sends `bytes` from byte `at` of the whole on, and is cut off.
fn cut(server: &mut Server, path: &str, start: UploadStart, bytes: &[u8]) {
    let mut session = log_in(server);
    begin(server, &mut session, plan(path, start)).expect("begins");
    send(server, &mut session, bytes).expect("room");
    session.abort(SessionError::Cut, server.now).expect("an upload is running");
    assert_eq!(session.state_name(), StateName::Command);
}

/// The machine goes down when so many bytes of what is held for `path` are on disk, and comes back.
fn restart_the_machine(server: &mut Server, path: &str, synced: usize) {
    let record = record_of(server, path);
    let mut kept = read_record(&record);
    (kept["boot"], kept["synced"]) = ("of another start of the machine".into(), synced.into());
    write(&record, kept.to_string().as_bytes());
    server.restart();
}

fn record_of(server: &Server, path: &str) -> PathBuf {
    server.at(".berth").join(format!("{}.json", UploadId::of_path(&vpath(path))))
}

fn read_record(record: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(record).expect("there")).expect("JSON")
}

/// Puts `content` at `path` without the server, so that it is newer than every partial upload for it.
fn write_newer(server: &mut Server, path: &str, content: &[u8]) {
    let held = part_ctime(server, path);
    while fs::metadata(server.at(path)).map_or(0, |meta| ctime(&meta)) <= held {
        write(&server.at(path), content);
    }
}

fn part_ctime(server: &Server, path: &str) -> i128 {
    let part = server.at(".berth").join(format!("{}.part", UploadId::of_path(&vpath(path))));
    fs::metadata(part).map_or(0, |meta| ctime(&meta))
}

fn ctime(meta: &fs::Metadata) -> i128 {
    i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec())
}

/// Old content, whose time is surely past when an upload begins.
fn write_older(server: &mut Server, path: &str, content: &[u8]) {
    write(&server.at(path), content);
    let (written, probe) = (ctime(&fs::metadata(server.at(path)).expect("there")), server.root().join("probe"));
    loop {
        write(&probe, b"");
        if ctime(&fs::metadata(&probe).expect("there")) > written {
            return;
        }
    }
}

fn size_told(session: &mut Session, path: &str) -> Result<u64, SessionError> {
    session.stat_resumable(&vpath(path)).map(|meta| meta.size)
}

#[track_caller]
fn check_ledger(server: &mut Server) {
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    assert_eq!(server.capability().ledger().state().reserved.bytes, 0);
}

fn read(server: &Server, path: &str) -> Vec<u8> {
    fs::read(server.at(path)).expect("there")
}

// ---- Ends without proof -------------------------------------------------------------------

#[test]
fn an_upload_without_size_or_digest_appears_when_its_data_ends() {
    for hash in [None, Some(DigestAlgorithm::Sha256), Some(DigestAlgorithm::Blake3)] {
        let mut server = Server::new();
        let (mut session, whole) = (log_in(&mut server), content(1, MIB + 5));
        write(&server.at("file"), b"old");
        let plan = UploadPlan { hash, ..plan("/file", UploadStart::Empty) };
        begin(&mut server, &mut session, plan).expect("begins");
        send(&mut server, &mut session, &whole).expect("room");
        assert_eq!(server.staged_bytes(), whole.len() as u64);
        assert_eq!(read(&server, "file"), b"old");
        let stored = complete(&mut server, &mut session).expect("stored");
        assert_eq!(
            stored,
            Stored { size: whole.len() as u64, digest: hash.map(|algorithm| Digest::by(algorithm, &whole)) }
        );
        assert!(session.transfer().is_none());
        assert!(read(&server, "file") == whole);
        assert!(server.is_staging_empty());
        check_ledger(&mut server);
    }
}

#[test]
fn an_upload_may_be_shorter_or_longer_than_its_reservation() {
    let mut server = Server::with_quota(10 * MIB as u64);
    let (mut session, whole) = (log_in(&mut server), content(2, 2 * MIB));
    write(&server.at("file"), b"old");
    let reserved = |start| UploadPlan { length: Length::Reserved(2 * MIB as u64), ..plan("/file", start) };
    begin(&mut server, &mut session, reserved(UploadStart::Empty)).expect("begins");
    assert_eq!(server.capability().ledger().state().reserved.bytes, 2 * MIB as u64, "reserved at once");
    send(&mut server, &mut session, &whole[..2 * MIB - 1]).expect("room");
    assert!(complete(&mut server, &mut session).is_ok(), "fewer bytes are welcome");
    assert!(read(&server, "file") == whole[..2 * MIB - 1]);
    check_ledger(&mut server);
    assert_eq!(size_told(&mut session, "/file"), Ok(2 * MIB as u64 - 1));
    let more = [&whole[..], b"more"].concat();
    assert_eq!(begin(&mut server, &mut session, reserved(UploadStart::End)), Ok(2 * MIB as u64 - 1));
    send(&mut server, &mut session, &more[2 * MIB - 1..]).expect("room");
    assert!(complete(&mut server, &mut session).is_ok(), "more bytes are welcome");
    assert!(read(&server, "file") == more);
    let too_much = UploadPlan { length: Length::Reserved(20 * MIB as u64), ..plan("/new", UploadStart::Empty) };
    let refused = begin(&mut server, &mut session, too_much);
    assert!(matches!(refused, Err(SessionError::QuotaBytes(_))), "{refused:?}");
    check_ledger(&mut server);
}

#[test]
fn an_interrupted_upload_is_reported_by_size_and_resumes_at_any_earlier_byte() {
    let whole = content(3, 3 * MIB);
    for start in
        [UploadStart::End, UploadStart::At(2 * MIB as u64 + 3), UploadStart::At(KEPT_FROM as u64), UploadStart::At(9)]
    {
        for hash in [None, Some(DigestAlgorithm::Sha256), Some(DigestAlgorithm::Blake3)] {
            let mut server = Server::new();
            cut(&mut server, "/file", UploadStart::Empty, &whole[..2 * MIB + 3]);
            check_ledger(&mut server);
            let mut session = log_in(&mut server);
            assert_eq!(size_told(&mut session, "/file"), Ok(2 * MIB as u64 + 3));
            assert_eq!(session.stat(&server.service, &vpath("/file")).err(), Some(SessionError::NotFound));
            let plan = UploadPlan { hash, ..plan("/file", start) };
            let offset = begin(&mut server, &mut session, plan).expect("begins");
            assert!(matches!(start, UploadStart::End) || start == UploadStart::At(offset), "{start:?} at {offset}");
            send(&mut server, &mut session, &whole[offset as usize..]).expect("room");
            let stored = complete(&mut server, &mut session).expect("stored");
            assert_eq!(stored.digest, hash.map(|algorithm| Digest::by(algorithm, &whole)));
            assert!(read(&server, "file") == whole, "{start:?}");
            assert!(server.is_staging_empty(), "{:?}", server.staged_names());
            assert_eq!(size_told(&mut session, "/file"), Ok(whole.len() as u64));
            check_ledger(&mut server);
        }
    }
}

#[test]
fn a_replacement_resumes_only_at_the_exact_size_of_the_partial_upload() {
    let (old, whole) = (content(23, MIB), content(3, 3 * MIB));
    let held = 2 * MIB as u64;
    for (start, replaces) in [
        (UploadStart::End, false),
        (UploadStart::At(MIB as u64), false),
        (UploadStart::At(held - 1), false),
        (UploadStart::At(held + 1), false),
        (UploadStart::At(held), true),
        (UploadStart::Empty, true),
    ] {
        let mut server = Server::new();
        write_older(&mut server, "file", &old);
        cut(&mut server, "/file", UploadStart::Empty, &whole[..2 * MIB]);
        let mut session = log_in(&mut server);
        assert_eq!(size_told(&mut session, "/file"), Ok(MIB as u64), "a client is told of what it can have");
        let begun = begin(&mut server, &mut session, plan("/file", start));
        match replaces {
            true => {
                let at = begun.expect("begins");
                send(&mut server, &mut session, &whole[at as usize..]).expect("room");
                complete(&mut server, &mut session).expect("stored");
                assert!(server.is_staging_empty(), "{start:?}");
            }
            false => assert_eq!(begun, Err(SessionError::UploadHeld(held)), "{start:?}"),
        }
        assert!(read(&server, "file") == if replaces { &whole[..] } else { &old[..] }, "{start:?}");
        check_ledger(&mut server);
    }
}

#[test]
fn a_partial_upload_as_long_as_the_old_file_does_not_count_as_complete() {
    let mut server = Server::new();
    write_older(&mut server, "file", &content(4, 2 * MIB));
    cut(&mut server, "/file", UploadStart::Empty, &content(5, 2 * MIB));
    let mut session = log_in(&mut server);
    let begun = begin(&mut server, &mut session, plan("/file", UploadStart::At(2 * MIB as u64)));
    assert_eq!(begun, Err(SessionError::UploadHeld(2 * MIB as u64)));
    check_ledger(&mut server);
}

#[test]
fn a_resume_at_an_earlier_byte_truncates_and_less_than_1_mib_is_dropped() {
    for (at, is_kept) in [(KEPT_FROM + 1, true), (KEPT_FROM, true), (KEPT_FROM - 1, false), (0, false)] {
        let mut server = Server::new();
        cut(&mut server, "/file", UploadStart::Empty, &content(4, 2 * MIB));
        cut(&mut server, "/file", UploadStart::At(at as u64), b"");
        assert_eq!(server.is_staging_empty(), !is_kept, "at {at}");
        let told = size_told(&mut log_in(&mut server), "/file");
        assert_eq!(told, if is_kept { Ok(at as u64) } else { Err(SessionError::NotFound) });
        check_ledger(&mut server);
    }
}

#[test]
fn truncating_a_large_partial_upload_takes_several_turns_and_an_abort_keeps_the_rest() {
    let (held, at, slice) = (6 * MIB, MIB + 1, TRUNCATED_BYTES_PER_TURN as usize);
    let whole = content(21, held);
    for turns in 0..=4 {
        let mut server = Server::new();
        cut(&mut server, "/file", UploadStart::Empty, &whole);
        let mut session = log_in(&mut server);
        begin_unprepared(&mut server, &mut session, plan("/file", UploadStart::At(at as u64))).expect("begins");
        let mut ready = None;
        for _ in 0..turns {
            ready = session.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET)).expect("cut");
            check_ledger(&mut server);
        }
        let left = at.max(held.saturating_sub(turns * slice));
        assert_eq!((server.staged_bytes(), ready.is_some()), (left as u64, left == at), "after {turns} turns");
        assert_eq!(session.transfer().map(|transfer| (transfer.bytes, transfer.offset)), Some((0, at as u64)));
        session.abort(SessionError::Cut, server.now).expect("running");
        assert_eq!(size_told(&mut session, "/file"), Ok(left as u64));
        // Whatever was cut, the rest goes on to the same file.
        begin(&mut server, &mut session, plan("/file", UploadStart::End)).expect("begins");
        send(&mut server, &mut session, &whole[left..]).expect("room");
        complete(&mut server, &mut session).expect("stored");
        assert!(read(&server, "file") == whole);
        check_ledger(&mut server);
    }
}

#[test]
fn data_is_refused_until_the_truncation_is_done_and_a_drop_ends_it() {
    let mut server = Server::new();
    cut(&mut server, "/file", UploadStart::Empty, &content(22, 6 * MIB));
    let (mut first, mut second) = (log_in(&mut server), log_in(&mut server));
    counted(&mut first)
        .begin_upload(&server.service, plan("/file", UploadStart::At(MIB as u64)), server.now)
        .expect("begins");
    assert_eq!(first.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET)), Ok(None));
    assert_eq!(first.phase(), Phase::Working);
    assert_eq!(counted(&mut first).store(&mut server.service, b"early"), Err(SessionError::WrongState));
    assert_eq!(first.complete_upload(server.now), Err(SessionError::WrongState));
    counted(&mut second).drop_partial_upload(&UploadId::of_path(&vpath("/file"))).expect("there");
    assert!(first.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET)).is_err());
    first.abort(SessionError::Cut, server.now).expect("running");
    assert!(server.is_staging_empty());
    check_ledger(&mut server);
}

#[test]
fn after_a_reboot_unsynced_bytes_are_truncated_in_slices_and_never_reused() {
    let whole = content(23, 6 * MIB);
    for turns in [0, 1, 2, 10] {
        let mut server = Server::new();
        cut(&mut server, "/file", UploadStart::Empty, &whole);
        restart_the_machine(&mut server, "/file", MIB + 7);
        let mut session = log_in(&mut server);
        begin_unprepared(&mut server, &mut session, plan("/file", UploadStart::End)).expect("begins");
        for _ in 0..turns {
            session.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET)).expect("cut");
        }
        server.restart();
        let mut session = log_in(&mut server);
        assert_eq!(size_told(&mut session, "/file"), Ok(MIB as u64 + 7), "after {turns} turns");
        assert_eq!(begin(&mut server, &mut session, plan("/file", UploadStart::End)), Ok(MIB as u64 + 7));
        send(&mut server, &mut session, &whole[MIB + 7..]).expect("room");
        complete(&mut server, &mut session).expect("stored");
        assert!(read(&server, "file") == whole);
        check_ledger(&mut server);
    }
}

#[test]
fn after_a_reboot_size_reports_the_synced_bytes_and_the_upload_resumes_there() {
    let whole = content(5, 3 * MIB);
    let mut server = Server::new();
    cut(&mut server, "/file", UploadStart::Empty, &whole[..2 * MIB]);
    restart_the_machine(&mut server, "/file", MIB + 7);
    let mut session = log_in(&mut server);
    assert_eq!(size_told(&mut session, "/file"), Ok(MIB as u64 + 7));
    assert_eq!(begin(&mut server, &mut session, plan("/file", UploadStart::End)), Ok(MIB as u64 + 7));
    send(&mut server, &mut session, &whole[MIB + 7..]).expect("room");
    complete(&mut server, &mut session).expect("stored");
    assert!(read(&server, "file") == whole);
    check_ledger(&mut server);
}

#[test]
fn bytes_written_anew_after_a_cut_back_are_not_trusted_as_synced() {
    let mut server = Server::new();
    server.set_sync(SyncPolicy::Data);
    let (mut session, size) = (log_in(&mut server), 9 * MIB);
    begin(&mut server, &mut session, plan("/file", UploadStart::Empty)).expect("begins");
    send(&mut server, &mut session, &content(6, size)).expect("room");
    deliver_syncs(&mut server, &mut session);
    session.abort(SessionError::Cut, server.now).expect("running");
    let record = record_of(&server, "/file");
    let synced = || read_record(&record)["synced"].as_u64().expect("a number");
    assert!(synced() >= 8 * MIB as u64);
    cut(&mut server, "/file", UploadStart::At(2 * MIB as u64), &content(7, MIB));
    assert_eq!(synced(), 2 * MIB as u64);
}

#[test]
fn a_partial_upload_older_than_the_file_is_dropped() {
    for (start, arrives) in [
        (UploadStart::Empty, &b"!"[..]),
        (UploadStart::At(3), b"new!"),
        (UploadStart::At(0), b"!"),
        (UploadStart::End, b"newer!"),
    ] {
        let mut server = Server::new();
        cut(&mut server, "/file", UploadStart::Empty, &content(8, 2 * MIB));
        write_newer(&mut server, "file", b"newer");
        // What a user says of its time does not matter.
        let mut session = log_in(&mut server);
        counted(&mut session).set_mtime(&vpath("/file"), 1_000_000_000).expect("set");
        assert_eq!(size_told(&mut session, "/file"), Ok(5));
        put(&mut server, &mut session, plan("/file", start), b"!").expect("stored");
        assert_eq!(read(&server, "file"), arrives, "{start:?}");
        assert!(server.is_staging_empty(), "{start:?}: {:?}", server.staged_names());
        server.capability().ledger().begin_recount();
        check_ledger(&mut server);
    }
}

#[test]
fn renaming_a_file_to_the_name_drops_the_partial_upload() {
    let mut server = Server::new();
    write_older(&mut server, "other", b"other");
    cut(&mut server, "/file", UploadStart::Empty, &content(9, 2 * MIB));
    let mut session = log_in(&mut server);
    let held = part_ctime(&server, "/file");
    let (mut from, mut to) = ("/other", "/file");
    loop {
        counted(&mut session).rename(&vpath(from), &vpath(to), true).expect("moved");
        if to == "/file" && ctime(&fs::metadata(server.at("file")).expect("there")) > held {
            break;
        }
        (from, to) = (to, from);
    }
    assert_eq!(size_told(&mut session, "/file"), Ok(5));
}

#[test]
fn an_expired_partial_upload_is_not_reported() {
    let mut server = Server::new();
    cut(&mut server, "/file", UploadStart::Empty, &content(10, 2 * MIB));
    server.let_pass(std::time::Duration::from_secs(8 * 24 * 3600));
    let mut session = log_in(&mut server);
    assert_eq!(size_told(&mut session, "/file"), Err(SessionError::NotFound));
    assert_eq!(begin(&mut server, &mut session, plan("/file", UploadStart::End)), Ok(0));
    session.abort(SessionError::Cut, server.now).expect("running");
    assert!(server.is_staging_empty());
}

#[test]
fn offsets_past_the_end_are_refused_and_change_nothing() {
    let mut server = Server::new();
    let mut session = log_in(&mut server);
    write_older(&mut server, "file", b"0123456789");
    let at = |path, offset| plan(path, UploadStart::At(offset));
    assert_eq!(begin(&mut server, &mut session, at("/file", 11)), Err(SessionError::BadOffset));
    assert_eq!(begin(&mut server, &mut session, at("/none", 1)), Err(SessionError::BadOffset));
    assert!(server.is_staging_empty());
    cut(&mut server, "/new", UploadStart::Empty, &content(11, 2 * MIB));
    assert_eq!(begin(&mut server, &mut session, at("/new", 2 * MIB as u64 + 1)), Err(SessionError::BadOffset));
    assert_eq!(size_told(&mut session, "/new"), Ok(2 * MIB as u64));
    let announced = UploadPlan { length: Length::Exactly(5), ..at("/new", 6) };
    assert_eq!(begin(&mut server, &mut session, announced), Err(SessionError::SizeMismatch));
    assert_eq!(session.state_name(), StateName::Command);
    check_ledger(&mut server);
}

// ---- Going on with a file -----------------------------------------------------------------

#[test]
fn appending_writes_a_copy_and_replaces_the_file_at_the_end() {
    let old = content(12, 2 * MIB + 77);
    for (start, kept) in
        [(UploadStart::End, old.len()), (UploadStart::At(MIB as u64 + 1), MIB + 1), (UploadStart::At(0), 0)]
    {
        for hash in [None, Some(DigestAlgorithm::Sha256), Some(DigestAlgorithm::Blake3)] {
            let mut server = Server::new();
            let mut session = log_in(&mut server);
            write(&server.at("file"), &old);
            fs::set_permissions(server.at("file"), fs::Permissions::from_mode(0o640)).expect("changed");
            let plan = UploadPlan { hash, ..plan("/file", start) };
            assert_eq!(begin(&mut server, &mut session, plan), Ok(kept as u64));
            assert_eq!(server.staged_bytes(), kept as u64);
            send(&mut server, &mut session, b"and more").expect("room");
            assert!(read(&server, "file") == old);
            let whole = [&old[..kept], b"and more"].concat();
            let stored = complete(&mut server, &mut session).expect("stored");
            assert_eq!(
                stored,
                Stored { size: whole.len() as u64, digest: hash.map(|algorithm| Digest::by(algorithm, &whole)) }
            );
            assert!(read(&server, "file") == whole, "{start:?}");
            let mode = fs::metadata(server.at("file")).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o640, "it is the same file to its user");
            assert!(server.is_staging_empty());
            server.capability().ledger().begin_recount();
            check_ledger(&mut server);
        }
    }
}

#[test]
fn appending_to_nothing_makes_a_file() {
    let mut server = Server::new();
    let mut session = log_in(&mut server);
    put(&mut server, &mut session, plan("/log", UploadStart::End), b"one,").expect("stored");
    put(&mut server, &mut session, plan("/log", UploadStart::End), b"two").expect("stored");
    assert_eq!(read(&server, "log"), b"one,two");
    check_ledger(&mut server);
}

#[test]
fn a_copy_wherever_it_is_cut_off_leaves_the_file_and_nothing_else() {
    let old = content(13, 2 * MIB);
    for turns in 0..=2 * MIB / PIECE_BYTES {
        for is_killed in [false, true] {
            let mut server = Server::new();
            let mut session = log_in(&mut server);
            write_older(&mut server, "file", &old);
            begin_unprepared(&mut server, &mut session, plan("/file", UploadStart::End)).expect("begins");
            assert_eq!(session.phase(), Phase::Working);
            for _ in 0..turns {
                assert_eq!(
                    session.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET)).map(drop),
                    Ok(())
                );
            }
            let early = counted(&mut session).store(&mut server.service, b"early");
            assert_eq!(early.is_ok(), turns == 2 * MIB / PIECE_BYTES, "after {turns} turns: {early:?}");
            if is_killed {
                std::mem::forget(session);
                server = server.restarted_after_a_kill();
            } else {
                let ledger = server.capability();
                assert_eq!(ledger.ledger().state().used.bytes, server.usage_on_disk().0, "after {turns} turns");
                session.close(None, server.now);
            }
            assert!(read(&server, "file") == old);
            check_ledger(&mut server);
            assert!(server.is_staging_empty(), "after {turns} turns: its client is told of the file");
            assert_eq!(size_told(&mut log_in(&mut server), "/file"), Ok(2 * MIB as u64), "after {turns} turns");
        }
    }
}

#[test]
fn an_upload_is_not_complete_before_its_copy_is() {
    let mut server = Server::new();
    let mut session = log_in(&mut server);
    write(&server.at("file"), &content(14, MIB));
    begin_unprepared(&mut server, &mut session, plan("/file", UploadStart::End)).expect("begins");
    assert_eq!(session.complete_upload(server.now), Err(SessionError::WrongState));
    assert_eq!(session.state_name(), StateName::Upload);
}

#[test]
fn appending_fails_if_the_file_changes_during_the_copy() {
    let mut server = Server::new();
    let mut session = log_in(&mut server);
    for other in [b"short".to_vec(), content(16, 2 * MIB)] {
        write_older(&mut server, "file", &content(15, 2 * MIB));
        begin_unprepared(&mut server, &mut session, plan("/file", UploadStart::End)).expect("begins");
        assert_eq!(session.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET)), Ok(None));
        write(&server.at("file"), &other);
        assert_eq!(prepare(&mut server, &mut session), Err(SessionError::Changed));
        session.abort(SessionError::Changed, server.now).expect("running");
        assert!(server.is_staging_empty());
        assert_eq!(server.capability().ledger().state().reserved.bytes, 0);
    }
}

#[test]
fn a_copy_needs_room_beside_the_file_and_is_refused_at_once_without() {
    let mut server = Server::with_quota(5 * MIB as u64);
    let mut session = log_in(&mut server);
    write(&server.at("file"), &content(17, 3 * MIB));
    let refused = begin(&mut server, &mut session, plan("/file", UploadStart::End));
    let shortage = Shortage { needed: 3 * MIB as u64, free: 2 * MIB as u64, limit: 5 * MIB as u64 };
    assert_eq!(refused, Err(SessionError::QuotaBytes(shortage)));
    assert_eq!(begin(&mut server, &mut session, plan("/file", UploadStart::At(MIB as u64))), Ok(MIB as u64));
    let stored = send(&mut server, &mut session, &content(18, 2 * MIB));
    let Err(refusal @ SessionError::QuotaBytes(_)) = stored else { panic!("{stored:?}") };
    session.abort(refusal, server.now).expect("running");
    assert!(read(&server, "file") == content(17, 3 * MIB));
    check_ledger(&mut server);
}

#[test]
fn a_copy_waits_for_a_disk_that_is_behind() {
    let mut server = Server::new();
    server.set_sync(SyncPolicy::Data);
    let mut session = log_in(&mut server);
    write(&server.at("file"), &content(19, 20 * MIB));
    begin_unprepared(&mut server, &mut session, plan("/file", UploadStart::End)).expect("begins");
    let mut ready = Ok(None);
    while ready == Ok(None) && !session.waits_for_sync() {
        ready = session.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET));
    }
    assert_eq!((ready, server.staged_bytes()), (Ok(None), UNSYNCED_BYTES_MAX));
    assert_eq!(session.phase(), Phase::Working);
    let still = session.prepare_upload(&mut server.service, &mut Budget::new(TURN_BUDGET));
    assert_eq!((still, server.staged_bytes()), (Ok(None), UNSYNCED_BYTES_MAX), "nothing more is written");
    assert!(server.service.store.syncer.has_held(), "it was asked for a sync");
    assert_eq!(prepare(&mut server, &mut session), Ok((20 * MIB as u64, None)));
    complete(&mut server, &mut session).expect("stored");
    assert!(read(&server, "file") == content(19, 20 * MIB));
}

// ---- Two at once --------------------------------------------------------------------------

#[test]
fn two_uploads_of_one_name_at_once_both_arrive_and_the_last_stays() {
    let (one, two) = (content(20, 2 * MIB), content(21, 2 * MIB + 9));
    for first_ends_first in [true, false] {
        let mut server = Server::new();
        let (mut first, mut second) = (log_in(&mut server), log_in(&mut server));
        begin(&mut server, &mut first, plan("/file", UploadStart::Empty)).expect("begins");
        send(&mut server, &mut first, &one[..MIB + 1]).expect("room");
        begin(&mut server, &mut second, plan("/file", UploadStart::Empty)).expect("begins");
        send(&mut server, &mut second, &two).expect("room");
        send(&mut server, &mut first, &one[MIB + 1..]).expect("nobody took it over");
        let (earlier, later) = if first_ends_first { (&mut first, &mut second) } else { (&mut second, &mut first) };
        complete(&mut server, earlier).expect("stored");
        complete(&mut server, later).expect("stored");
        assert!(read(&server, "file") == if first_ends_first { &two[..] } else { &one[..] });
        assert!(server.is_staging_empty());
        check_ledger(&mut server);
    }
}

#[test]
fn a_reconnecting_client_takes_over_its_running_upload() {
    let whole = content(22, 3 * MIB);
    let mut server = Server::new();
    let (mut lost, mut back) = (log_in(&mut server), log_in(&mut server));
    begin(&mut server, &mut lost, plan("/file", UploadStart::Empty)).expect("begins");
    send(&mut server, &mut lost, &whole[..2 * MIB]).expect("room");
    assert_eq!(size_told(&mut back, "/file"), Ok(2 * MIB as u64));
    assert_eq!(begin(&mut server, &mut back, plan("/file", UploadStart::End)), Ok(2 * MIB as u64));
    assert_eq!(send(&mut server, &mut lost, b"late"), Err(SessionError::Superseded));
    lost.abort(SessionError::Superseded, server.now).expect("running");
    send(&mut server, &mut back, &whole[2 * MIB..]).expect("room");
    complete(&mut server, &mut back).expect("stored");
    assert!(read(&server, "file") == whole);
    assert!(server.is_staging_empty());
    check_ledger(&mut server);
}

#[test]
fn of_two_that_append_to_a_small_file_at_once_the_second_is_refused_and_nothing_is_lost() {
    let mut server = Server::new();
    let (mut one, mut two) = (log_in(&mut server), log_in(&mut server));
    write(&server.at("log"), b"log:");
    assert_eq!(begin(&mut server, &mut one, plan("/log", UploadStart::End)), Ok(4));
    assert_eq!(begin(&mut server, &mut two, plan("/log", UploadStart::End)), Ok(4));
    send(&mut server, &mut one, b"one").expect("room");
    send(&mut server, &mut two, b"two").expect("room");
    complete(&mut server, &mut one).expect("stored");
    assert_eq!(complete(&mut server, &mut two), Err(SessionError::Changed));
    assert_eq!(read(&server, "log"), b"log:one");
    assert!(server.is_staging_empty());
    assert_eq!(begin(&mut server, &mut two, plan("/log", UploadStart::End)), Ok(7));
    send(&mut server, &mut two, b"two").expect("room");
    complete(&mut server, &mut two).expect("stored");
    assert_eq!(read(&server, "log"), b"log:onetwo");
    check_ledger(&mut server);
}

#[test]
fn whatever_uploads_of_a_few_names_do_to_each_other_the_ledger_is_the_disk() {
    for seed in 0..12 {
        let mut server = Server::with_quota(9 * MIB as u64);
        server.set_sync(if seed % 2 == 0 { SyncPolicy::None } else { SyncPolicy::Data });
        let (mut random, bytes) = (Random::new(seed), content(seed, 2 * MIB));
        let mut sessions: Vec<Session> = (0..3).map(|_| log_in(&mut server)).collect();
        let (mut committed, mut refused) = (0, 0);
        for step in 0..300 {
            let (before, already) = (visible(&server), committed);
            let index = random.below(sessions.len());
            let session = &mut sessions[index];
            let result = match (session.state_name(), random.below(10)) {
                (StateName::Command, _) => {
                    let most = 2 * MIB as u64;
                    let start = match random.below(4) {
                        0 => UploadStart::Empty,
                        1 => UploadStart::End,
                        _ => UploadStart::At(random.below(2 * MIB) as u64),
                    };
                    let length = [Length::Unknown, Length::Reserved(most)][random.below(2)];
                    let path = ["/one", "/two"][random.below(2)];
                    let plan = UploadPlan {
                        length,
                        hash: (random.below(2) == 0).then_some(DigestAlgorithm::Sha256),
                        ..plan(path, start)
                    };
                    counted(session).begin_upload(&server.service, plan, server.now)
                }
                (StateName::Upload, 0) => session.abort(SessionError::Cut, server.now),
                (StateName::Upload, 1) => session.complete_upload(server.now),
                (StateName::Upload, 2..5) => {
                    let mut budget = Budget::new(random.below(MIB) as u64);
                    session.prepare_upload(&mut server.service, &mut budget).map(drop)
                }
                (StateName::Upload, _) => {
                    let count = random.below(700_000);
                    counted(session).store(&mut server.service, &bytes[..count]).map(drop)
                }
                (StateName::Commit, _) => {
                    let stored = counted(session).advance_commit(&mut server.service, server.now);
                    committed += u32::from(matches!(stored, Ok(Some(_))));
                    stored.map(drop)
                }
                (state, _) => panic!("{state:?}"),
            };
            // What failed is given up, as every protocol does; what came too early is not.
            if result.is_err_and(|refusal| refusal != SessionError::WrongState) {
                refused += 1;
                let _ = session.abort(SessionError::Cut, server.now);
            }
            while server.service.store.syncer.run_held(|_| true) {}
            while let Some(synced) = server.service.store.syncer.take_synced() {
                let Synced { caller, ticket, .. } = synced;
                for session in &mut sessions {
                    session.synced(Synced { caller, ticket, result: Ok(()) }).expect("the disk works");
                }
            }
            let used = server.capability().ledger().state().used;
            assert_eq!((used.bytes, used.files), server.usage_on_disk(), "seed {seed}, step {step}");
            let QuotaState { used, reserved, .. } = server.capability().ledger().state();
            assert!(used.bytes + reserved.bytes <= 9 * MIB as u64, "seed {seed}, step {step}");
            assert!(visible(&server) == before || committed > already, "seed {seed}, step {step}");
        }
        assert!(committed > 0 && refused > 0, "seed {seed} did both: {committed}, {refused}");
        sessions.into_iter().for_each(|mut session| session.close(None, server.now));
        check_ledger(&mut server);
    }
}

/// Size and time of what others see.
fn visible(server: &Server) -> Vec<Option<(u64, i128)>> {
    ["one", "two"].map(|path| fs::metadata(server.at(path)).ok().map(|meta| (meta.len(), ctime(&meta)))).to_vec()
}

// ---- Downloads and attributes -------------------------------------------------------------

/// All there is from `start` on, and how the download ended. Ranges are read as the loop would.
fn download(
    server: &mut Server,
    path: &str,
    start: DownloadStart,
    hash: bool,
) -> Result<(Vec<u8>, u64, Option<Digest>, u32), SessionError> {
    let mut session = log_in(server);
    session.begin_download(&server.service, DownloadPlan { path: vpath(path), start, hash }, server.now)?;
    while session.prepare_download(&server.service, &mut Budget::new(TURN_BUDGET))?.is_none() {}
    let (mut all, mut ranges) = (Vec::new(), 0);
    loop {
        let mut budget = Budget::new(TURN_BUDGET);
        match session.fetch(&mut server.service, &mut all, usize::MAX, Some(usize::MAX), &mut budget, server.now)? {
            Fetched::Bytes(_) | Fetched::Later | Fetched::Waits => {}
            Fetched::Range(range) => {
                let mut bytes = vec![0; range.length as usize];
                assert_eq!(rustix::io::pread(&*range.file, &mut bytes[..], range.offset), Ok(bytes.len()));
                all.extend_from_slice(&bytes);
                ranges += 1;
            }
            Fetched::End(size, digest) => return Ok((all, size, digest, ranges)),
        }
    }
}

#[test]
fn a_download_begins_at_the_byte_asked_for_and_is_hashed_only_on_request() {
    let mut server = Server::new();
    let whole = content(23, MIB + 11);
    write(&server.at("file"), &whole);
    for at in [0, 1, MIB, whole.len()] {
        let size = whole.len() as u64;
        let got = download(&mut server, "/file", DownloadStart::At(at as u64), false).expect("readable");
        assert!(got.0 == whole[at..], "at {at}");
        // A rest of a few bytes is read at once, so that nobody can change it while it is sent.
        assert_eq!((got.1, got.2, got.3 > 0), (size, None, at < MIB), "at {at}: nothing is read here");
        let got = download(&mut server, "/file", DownloadStart::At(at as u64), true).expect("readable");
        assert!(got.0 == whole[at..], "at {at}");
        assert_eq!((got.1, got.2, got.3), (size, Some(Digest::of(&whole)), 0), "at {at}");
    }
    let past = download(&mut server, "/file", DownloadStart::At(whole.len() as u64 + 1), false);
    assert_eq!(past.err(), Some(SessionError::BadOffset));
}

#[test]
fn setting_times_and_modes_never_follows_a_link_out_of_the_home() {
    let mut server = Server::new();
    let mut session = log_in(&mut server);
    write(&server.at("file"), b"content");
    fs::create_dir(server.at("folder")).expect("mkdir");
    write(&server.root().join("outside"), b"out");
    std::os::unix::fs::symlink("../../outside", server.at("out")).expect("symlink");
    std::os::unix::fs::symlink("file", server.at("in")).expect("symlink");
    rustix::fs::mknodat(rustix::fs::CWD, server.at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("mkfifo");
    let mode = |path: &str| fs::metadata(server.at(path)).expect("there").permissions().mode() & 0o7777;
    for time in [-1_500_000_000, 0, 1_700_000_000_123_456_789] {
        for path in ["/file", "/folder", "/in"] {
            counted(&mut session).set_mtime(&vpath(path), time).expect("set");
            let meta = session.stat(&server.service, &vpath(path)).expect("there").0;
            assert_eq!(meta.mtime_ns, time, "{path}");
        }
    }
    counted(&mut session).set_mode(&vpath("/in"), 0o7755).expect("set");
    assert_eq!(mode("file"), 0o755, "no more than permissions");
    counted(&mut session).set_mode(&vpath("/file"), 0).expect("set");
    counted(&mut session).set_mode(&vpath("/folder"), 0).expect("set");
    assert_eq!((mode("file"), mode("folder")), (0o400, 0o700), "the server can still read and count");
    counted(&mut session).set_mode(&vpath("/file"), 0o640).expect("set again");
    for (path, refusal) in [
        ("/", SessionError::BadName),
        ("/.berth", SessionError::BadName),
        ("/out", SessionError::OutsideHome),
        ("/pipe", SessionError::NotAFile),
        ("/none", SessionError::NotFound),
        ("/file/below", SessionError::NotADirectory),
    ] {
        assert_eq!(counted(&mut session).set_mode(&vpath(path), 0o600), Err(refusal), "{path}");
        assert_eq!(counted(&mut session).set_mtime(&vpath(path), 0), Err(refusal), "{path}");
    }
    let mut server = Server::with(Rights { read_only: true, ..Rights::default() });
    write(&server.at("file"), b"content");
    let mut session = log_in(&mut server);
    assert_eq!(counted(&mut session).set_mode(&vpath("/file"), 0o600), Err(SessionError::ReadOnly));
    assert_eq!(counted(&mut session).set_mtime(&vpath("/file"), 0), Err(SessionError::ReadOnly));
}
