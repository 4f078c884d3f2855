//! A wall clock that jumps: partial uploads neither expire early nor stay for ever, cached digests stay true, and
//! no deadline moves.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::time::Duration;

use crate::support::in_memory::ftp_peer::FtpPeer;
use crate::support::in_memory::*;
use berth::auth::scram::{Binding, ClientExchange};
use berth::base::digest::{Digest, DigestAlgorithm};
use berth::base::upload_id::{RESUME_BYTES_MIN, UploadId};
use berth::config::defaults::{DATA_CONNECTION_TIMEOUT_DEFAULT, PARTIAL_EXPIRY_DEFAULT};
use berth::protocol::Protocol;
use berth::session::Phase;
use berth::session::login_guard::LOGIN_DELAY_FIRST;
use berth::store::EXPIRY_STEADY_CLOCK;
use berth::store::clock::WallClock;
use berth::store::digest_cache::DIGEST_SETTLE;
use berth::store::ledger::RECOUNT_AFTER;
use berth::tls::ServerIdentity;
use berth::wire::message::VERSION;
use berth::wire::{ErrorCode, Reply, Request};

const ID: UploadId = UploadId([7; 16]);
const KEPT: usize = RESUME_BYTES_MIN as usize;
const DAY_S: i64 = 86_400;
const MINUTE: Duration = Duration::from_secs(60);

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).expect("few")
}

/// Begins to upload `whole` as `upload_id`, and is cut off where it is just worth keeping.
fn interrupt(server: &mut Server, upload_id: UploadId, whole: &[u8]) {
    let mut peer = server.log_in();
    let id = peer.request(&put_as("/file", whole.len() as u64, upload_id, false));
    peer.all_data(id, &whole[..KEPT]);
    assert_eq!(peer.exchange(server), []);
    peer.reset(server);
}

fn listed(peer: &mut Peer, server: &mut Server) -> usize {
    match peer.ask(server, &Request::Partials {}) {
        Reply::Partials { partials, last: true } => partials.len(),
        other => panic!("{other:?}"),
    }
}

/// Goes on with `ID`: the offset the server offers.
fn resume(peer: &mut Peer, server: &mut Server, whole: &[u8]) -> (u32, usize) {
    let id = peer.request(&put_as("/file", whole.len() as u64, ID, true));
    match peer.only_reply(server, id) {
        Reply::Ready { offset, prefix_digest } => {
            assert_eq!(prefix_digest, Digest::of(&whole[..offset as usize]));
            (id, offset as usize)
        }
        other => panic!("{other:?}"),
    }
}

fn complete(peer: &mut Peer, server: &mut Server, whole: &[u8], (id, from): (u32, usize)) {
    peer.all_data(id, &whole[from..]);
    peer.end(id, whole);
    let reply = peer.only_reply(server, id);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert!(std::fs::read(server.at("file")).expect("stored") == whole);
}

// ---- Interrupted uploads ------------------------------------------------------------------

#[test]
fn an_expired_partial_is_gone_for_a_session_that_was_there_all_the_time() {
    let whole = content(1, 2 * MIB);
    let mut server = Server::new();
    let mut peer = server.log_in();
    interrupt(&mut server, ID, &whole);
    assert_eq!((listed(&mut peer, &mut server), peer.quota(&mut server).used_bytes), (1, KEPT as u64));

    server.let_pass(PARTIAL_EXPIRY_DEFAULT - MINUTE);
    assert_eq!((listed(&mut peer, &mut server), peer.quota(&mut server).used_bytes), (1, KEPT as u64));
    server.let_pass(2 * MINUTE);
    assert_eq!(listed(&mut peer, &mut server), 0, "listing alone counts nothing, and shows it no more");
    assert_eq!(peer.refused(&mut server, &Request::DropPartial { upload_id: ID }), ErrorCode::NotFound);
    assert_eq!(peer.quota(&mut server).used_bytes, 0);
    assert!(server.is_staging_empty(), "{:?}", server.staged_names());
}

#[test]
fn an_expired_partial_is_not_resumed_and_the_upload_starts_over() {
    let whole = content(2, 2 * MIB);
    let mut server = Server::new();
    let mut peer = server.log_in();
    interrupt(&mut server, ID, &whole);
    server.let_pass(PARTIAL_EXPIRY_DEFAULT + MINUTE);
    let begun = resume(&mut peer, &mut server, &whole);
    assert_eq!(begun.1, 0);
    complete(&mut peer, &mut server, &whole, begun);
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn the_room_of_an_expired_partial_is_there_for_the_next_upload() {
    let whole = content(3, 2 * MIB);
    let mut server = Server::with_quota(2 * MIB as u64);
    let mut peer = server.log_in();
    interrupt(&mut server, ID, &whole);
    let other = content(4, 2 * MIB);
    let reply = peer.put(&mut server, "/other", &other);
    assert!(matches!(reply, Reply::Error(error) if error.code == ErrorCode::QuotaBytes));
    server.let_pass(PARTIAL_EXPIRY_DEFAULT + MINUTE);
    let reply = peer.put(&mut server, "/other", &other);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn each_partial_expires_in_its_own_time() {
    let mut server = Server::new();
    let start_ns = WallClock::default().now_ns();
    let wall_ns = Rc::new(Cell::new(start_ns));
    let (told_ns, passed_ns) = (Rc::clone(&wall_ns), Rc::clone(&wall_ns));
    let uptime = move || Duration::from_nanos((passed_ns.get() - start_ns).unsigned_abs());
    server.service.store.clock = WallClock::with_uptime(move || told_ns.get(), uptime);
    let (mut peer, home) = (server.log_in(), server.capability());
    for number in 0..3 {
        let id = peer.request(&put_as("/file", 2 * MIB as u64, UploadId([number; 16]), false));
        peer.all_data(id, &content(5, KEPT));
        peer.cancel(id);
        assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::Cancelled));
    }
    let kept = home.partial_uploads().expect("readable");
    assert_eq!(kept.len(), 3);
    let mut times: Vec<i64> = kept.iter().map(|upload| upload.expires_ns).collect();
    // Two that were written within one tick of the kernel expire together.
    times.dedup();
    for (number, expires_ns) in times.into_iter().enumerate() {
        wall_ns.set(expires_ns - 1);
        let left = kept.iter().filter(|other| other.expires_ns >= expires_ns).count();
        assert_eq!(peer.quota(&mut server).used_bytes, (left * KEPT) as u64, "before number {number}");
        wall_ns.set(expires_ns);
        let left = kept.iter().filter(|other| other.expires_ns > expires_ns).count();
        assert_eq!(peer.quota(&mut server).used_bytes, (left * KEPT) as u64, "after number {number}");
    }
    assert!(server.is_staging_empty());
}

#[test]
fn a_partial_of_a_week_survives_a_clock_that_jumps_a_day_forward_or_back() {
    for jump_s in [DAY_S, -DAY_S] {
        let whole = content(6, 2 * MIB);
        let mut server = Server::new();
        interrupt(&mut server, ID, &whole);
        server.set_clock(jump_s);
        for is_restarted in [false, true] {
            if is_restarted {
                server.restart();
            }
            let mut peer = server.log_in();
            assert_eq!(listed(&mut peer, &mut server), 1, "{jump_s}");
            assert_eq!(peer.quota(&mut server).used_bytes, KEPT as u64);
        }
        let mut peer = server.log_in();
        let begun = resume(&mut peer, &mut server, &whole);
        assert_eq!(begun.1, KEPT, "{jump_s}");
        complete(&mut peer, &mut server, &whole, begun);
    }
}

#[test]
fn a_running_upload_never_expires_however_far_the_clock_jumps() {
    let whole = content(7, 2 * MIB);
    for jump_s in [365 * DAY_S, -365 * DAY_S] {
        let mut server = Server::new();
        // Another one, which does expire, has the server look for what has.
        interrupt(&mut server, UploadId([8; 16]), &whole);
        let (mut peer, mut other) = (server.log_in(), server.log_in());
        let id = peer.request(&put_as("/file", whole.len() as u64, ID, false));
        peer.all_data(id, &whole[..KEPT]);
        assert_eq!(peer.exchange(&mut server), []);
        server.set_clock(jump_s);
        assert!(matches!(other.put(&mut server, "/other", b"x"), Reply::Stored { .. }));
        assert_eq!(listed(&mut other, &mut server), 2);
        // A clock that goes on like this is believed.
        server.let_pass(EXPIRY_STEADY_CLOCK);
        assert!(matches!(other.put(&mut server, "/other", b"x"), Reply::Stored { .. }));
        assert_eq!(listed(&mut other, &mut server), if jump_s > 0 { 1 } else { 2 });
        complete(&mut peer, &mut server, &whole, (id, KEPT));
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
}

#[test]
fn a_clock_that_is_20_years_ahead_for_less_than_an_hour_costs_no_partial() {
    for starts_so in [false, true] {
        let whole = content(11, 2 * MIB);
        let mut server = Server::new();
        interrupt(&mut server, ID, &whole);
        server.set_clock(20 * 365 * DAY_S);
        if starts_so {
            server.restart();
        }
        for _ in 0..3 {
            let mut peer = server.log_in();
            assert!(matches!(peer.put(&mut server, "/other", b"x"), Reply::Stored { .. }));
            assert_eq!(listed(&mut peer, &mut server), 1);
            server.let_pass(EXPIRY_STEADY_CLOCK / 3 - MINUTE);
        }
        server.set_clock(-20 * 365 * DAY_S);
        server.let_pass(2 * EXPIRY_STEADY_CLOCK);
        let mut peer = server.log_in();
        let begun = resume(&mut peer, &mut server, &whole);
        assert_eq!(begun.1, KEPT);
        complete(&mut peer, &mut server, &whole, begun);
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
}

#[test]
fn a_clock_that_stays_20_years_ahead_is_believed_after_an_hour() {
    let whole = content(12, 2 * MIB);
    let mut server = Server::new();
    interrupt(&mut server, ID, &whole);
    let mut peer = server.log_in();
    server.set_clock(20 * 365 * DAY_S);
    assert_eq!(listed(&mut peer, &mut server), 1, "the jump is noticed");
    server.let_pass(EXPIRY_STEADY_CLOCK);
    assert_eq!((listed(&mut peer, &mut server), peer.quota(&mut server).used_bytes), (0, 0));
    assert!(server.is_staging_empty());
}

#[test]
fn a_partial_upload_dated_in_the_future_expires_in_time() {
    let whole = content(13, 2 * MIB);
    let mut server = Server::new();
    interrupt(&mut server, ID, &whole);
    let part = server
        .at(".berth")
        .join(server.staged_names().into_iter().find(|name| name.ends_with(".part")).expect("one part"));
    let changed = || {
        let meta = std::fs::metadata(&part).expect("kept");
        (meta.ctime(), meta.ctime_nsec())
    };
    let before = changed();
    server.set_clock(-20 * 365 * DAY_S);
    let mut peer = server.log_in();
    assert_eq!(peer.quota(&mut server).used_bytes, KEPT as u64);
    assert!(matches!(peer.put(&mut server, "/other", b"x"), Reply::Stored { .. }));
    assert_eq!(changed(), before, "a clock that was just set is not believed");
    server.let_pass(EXPIRY_STEADY_CLOCK);
    assert!(matches!(peer.put(&mut server, "/other", b"x"), Reply::Stored { .. }));
    assert!(changed() > before, "its time begins anew");
    assert_eq!(listed(&mut peer, &mut server), 1);
}

// ---- What is remembered -------------------------------------------------------------------

#[test]
fn files_copied_in_are_noticed_at_the_next_login_though_the_clock_was_set_back() {
    for jump_s in [DAY_S, -DAY_S, seconds(RECOUNT_AFTER), -2 * seconds(RECOUNT_AFTER)] {
        let mut server = Server::new();
        let mut peer = server.log_in();
        assert_eq!(peer.quota(&mut server).used_bytes, 0);
        peer.reset(&server);
        write(&server.at("copied in"), b"by somebody else");
        server.set_clock(jump_s);
        let mut peer = server.log_in();
        assert_eq!(peer.quota(&mut server).used_bytes, 16, "{jump_s}");
    }
}

fn is_remembered(server: &mut Server, path: &str) -> bool {
    remembered(server, path, DigestAlgorithm::OF_TRANSFERS).is_some()
}

fn remembered(server: &mut Server, path: &str, algorithm: DigestAlgorithm) -> Option<Digest> {
    let meta = server.capability().stat(&vpath(path)).expect("there");
    server.service.store.digests.get(&meta.identity, algorithm)
}

#[test]
fn a_digest_by_one_algorithm_is_remembered_beside_that_by_the_other() {
    use DigestAlgorithm::{Blake3, Sha256};
    let content = vec![3; 3 << 20];
    let (by_blake3, by_sha256) = (Digest::by(Blake3, &content), Digest::by(Sha256, &content));
    for algorithms in [[Blake3, Sha256, Blake3, Sha256], [Sha256, Blake3, Sha256, Blake3]] {
        let mut server = Server::new();
        let mut peer = server.log_in();
        write(&server.at("file"), &content);
        server.set_clock(seconds(DIGEST_SETTLE) + 1);
        for (at, algorithm) in algorithms.into_iter().enumerate() {
            let is_known = at >= 2;
            assert_eq!(
                remembered(&mut server, "/file", algorithm).is_some(),
                is_known,
                "{algorithm} in {algorithms:?}"
            );
            let id = peer.request(&Request::Digest { path: "/file".into(), algorithm });
            let digest = Digest::by(algorithm, &content);
            assert_eq!(peer.only_reply(&mut server, id), Reply::Digest { digest, size: content.len() as u64 });
        }
        // A download knows its digest from the request, and leaves the other one alone.
        assert!(peer.get(&mut server, "/file") == Ok(content.clone()));
        assert_eq!(remembered(&mut server, "/file", Blake3), Some(by_blake3));
        assert_eq!(remembered(&mut server, "/file", Sha256), Some(by_sha256));
    }
}

#[test]
fn a_digest_stays_true_when_the_clock_jumps_a_day_forward_or_back() {
    for jump_s in [DAY_S, -DAY_S] {
        let mut server = Server::new();
        let mut peer = server.log_in();
        write(&server.at("file"), b"one");
        server.set_clock(seconds(DIGEST_SETTLE) + 1);
        assert_eq!(peer.get(&mut server, "/file"), Ok(b"one".to_vec()));
        assert!(is_remembered(&mut server, "/file"));
        server.set_clock(jump_s);
        write(&server.at("file"), b"two");
        // Both may have been written within one tick of the kernel.
        let file = std::fs::OpenOptions::new().write(true).open(server.at("file")).expect("ours");
        file.set_modified(std::time::SystemTime::now() + Duration::from_secs(1)).expect("ours");
        assert_eq!(peer.get(&mut server, "/file"), Ok(b"two".to_vec()), "{jump_s}");
        // By a clock that was set back the file is of tomorrow: hashed each time, and right.
        assert_eq!(is_remembered(&mut server, "/file"), jump_s > 0);
        assert_eq!(peer.get(&mut server, "/file"), Ok(b"two".to_vec()), "{jump_s}");
    }
}

#[test]
fn a_file_from_a_client_whose_clock_is_ahead_is_remembered_all_the_same() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    let mut request = put("/file", Some(3));
    if let Request::Put { mtime_ns, .. } = &mut request {
        *mtime_ns = Some(i64::MAX);
    }
    assert!(matches!(peer.put_with(&mut server, &request, b"new"), Reply::Stored { .. }));
    assert_eq!(peer.get(&mut server, "/file"), Ok(b"new".to_vec()));
    assert!(!is_remembered(&mut server, "/file"), "it has just changed");
    server.set_clock(seconds(DIGEST_SETTLE) + 1);
    assert_eq!(peer.get(&mut server, "/file"), Ok(b"new".to_vec()));
    assert!(is_remembered(&mut server, "/file"));
}

#[test]
fn a_certificate_made_by_a_clock_a_day_off_is_neither_renewed_nor_refused_and_its_key_always_stays() {
    let server = Server::new();
    let now_s = WallClock::default().now_ns() / 1_000_000_000;
    let made = ServerIdentity::establish(&server.config, now_s).expect("made");
    let certificate = std::fs::read(&server.config.tls.certificate).expect("written");
    for jump_s in [DAY_S, -DAY_S, -20_000 * DAY_S] {
        let identity = ServerIdentity::establish(&server.config, now_s + jump_s).expect("usable");
        assert_eq!(identity.fingerprint, made.fingerprint);
        assert!(std::fs::read(&server.config.tls.certificate).expect("there") == certificate, "{jump_s}");
    }
    // A machine that thought it was 1970 when it made its certificate finds it ended.
    std::fs::remove_file(&server.config.tls.certificate).expect("ours");
    let early = ServerIdentity::establish(&server.config, 0).expect("made");
    let renewed = ServerIdentity::establish(&server.config, now_s).expect("renewed");
    assert_eq!([early.fingerprint, renewed.fingerprint], [made.fingerprint; 2]);
    assert!(early.ends_s < now_s && now_s < renewed.ends_s);
}

// ---- Deadlines ----------------------------------------------------------------------------

#[test]
fn the_login_delay_does_not_depend_on_the_wall_clock() {
    for jump_s in [DAY_S, -DAY_S] {
        let mut server = Server::new();
        let mut peer = server.connect();
        peer.ask(&mut server, &Request::Hello { versions: vec![VERSION], client: "test".into() });
        let mut guess = |server: &mut Server| {
            let (exchange, message) = ClientExchange::new(USER, "wrong", Binding::None).expect("user name");
            let auth = Request::Auth { mechanism: "SCRAM-SHA-256".into(), message };
            let Reply::Challenge { message } = peer.ask(server, &auth) else { panic!("a challenge") };
            let (_, message) = exchange.answer(&message).expect("challenge");
            peer.request(&Request::AuthNext { message });
            peer.exchange(server)
        };
        assert_eq!(guess(&mut server)[0].code(), Some(ErrorCode::LoginFailed), "{jump_s}");
        assert_eq!(guess(&mut server), [], "{jump_s}");
        server.set_clock(jump_s);
        assert_eq!(peer.protocol.status().wakes_at, Some(server.now + LOGIN_DELAY_FIRST));
        server.advance(LOGIN_DELAY_FIRST - Duration::from_millis(1));
        assert_eq!(peer.exchange(&mut server), [], "{jump_s}");
        server.advance(Duration::from_millis(1));
        assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::LoginFailed), "{jump_s}");
        assert_eq!(peer.protocol.status().phase, Phase::Login);
    }
}

// ---- FTP ----------------------------------------------------------------------------------

/// Begins to store `whole` by FTP, and is aborted where it is just worth keeping.
fn interrupt_ftp(peer: &mut FtpPeer, server: &mut Server, whole: &[u8]) {
    assert!(peer.begin(server, "STOR file").starts_with("150 "));
    assert_eq!(peer.connect(server), "");
    peer.send(server, &whole[..KEPT]);
    assert!(peer.ask(server, "ABOR").starts_with("426 "));
}

/// Resumes the upload at `at`. Returns the last reply.
fn resume_ftp(peer: &mut FtpPeer, server: &mut Server, at: usize, whole: &[u8]) -> String {
    assert!(peer.ask(server, &format!("REST {at}")).starts_with("350 "));
    peer.put(server, "STOR file", &whole[at..])
}

#[test]
fn what_ftp_holds_of_an_upload_survives_a_clock_that_jumps_a_day_forward_or_back() {
    for jump_s in [DAY_S, -DAY_S] {
        for is_restarted in [false, true] {
            let whole = content(8, 2 * MIB);
            let mut server = Server::new();
            let mut peer = FtpPeer::log_in(&mut server);
            interrupt_ftp(&mut peer, &mut server, &whole);
            server.set_clock(jump_s);
            if is_restarted {
                server.restart();
                peer = FtpPeer::log_in(&mut server);
            }
            assert_eq!(peer.ask(&mut server, "SIZE file"), format!("213 {KEPT}\r\n"), "{jump_s}");
            let reply = resume_ftp(&mut peer, &mut server, KEPT, &whole);
            assert!(reply.starts_with("226 "), "{jump_s}: {reply}");
            assert!(std::fs::read(server.at("file")).expect("stored") == whole);
            assert!(server.is_staging_empty());
            assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
        }
    }
}

#[test]
fn what_ftp_holds_of_an_upload_expires_for_a_session_that_was_there_all_the_time() {
    let whole = content(9, 2 * MIB);
    let mut server = Server::with_quota(2 * MIB as u64);
    let mut peer = FtpPeer::log_in(&mut server);
    interrupt_ftp(&mut peer, &mut server, &whole);
    server.let_pass(PARTIAL_EXPIRY_DEFAULT - MINUTE);
    assert_eq!(peer.ask(&mut server, "SIZE file"), format!("213 {KEPT}\r\n"));
    server.let_pass(2 * MINUTE);
    for command in ["SIZE file", "MDTM file", "MLST file"] {
        assert!(peer.ask(&mut server, command).starts_with("550 "), "{command}");
    }
    let reply = resume_ftp(&mut peer, &mut server, KEPT, &whole);
    assert!(reply.starts_with("554 "), "a hole is made for nobody: {reply}");
    let reply = peer.put(&mut server, "APPE file", b"new");
    assert!(reply.starts_with("226 "), "{reply}");
    assert_eq!(std::fs::read(server.at("file")).expect("stored"), b"new");
    // Its room is there again.
    let reply = peer.put(&mut server, "STOR other", &whole[4..]);
    assert!(reply.starts_with("226 "), "{reply}");
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

#[test]
fn an_upload_that_runs_over_ftp_never_expires_and_ends_however_far_the_clock_jumps() {
    let whole = content(10, 2 * MIB);
    for jump_s in [365 * DAY_S, -365 * DAY_S] {
        let mut server = Server::new();
        let (mut peer, mut other) = (FtpPeer::log_in(&mut server), FtpPeer::log_in(&mut server));
        peer.begin(&mut server, "STOR file");
        peer.connect(&mut server);
        peer.send(&mut server, &whole[..KEPT]);
        server.set_clock(jump_s);
        assert!(other.put(&mut server, "STOR other", b"x").starts_with("226 "));
        assert_eq!(other.ask(&mut server, "SIZE file"), format!("213 {KEPT}\r\n"), "{jump_s}");
        peer.send(&mut server, &whole[KEPT..]);
        // The moment in which the client must still be there is none of the clock on the wall.
        assert!(peer.end(&mut server).starts_with("226 "), "{jump_s}");
        assert!(std::fs::read(server.at("file")).expect("stored") == whole);
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
}

#[test]
fn the_data_timeout_does_not_depend_on_the_wall_clock() {
    for jump_s in [DAY_S, -DAY_S] {
        for command in ["RETR file", "STOR new", "LIST"] {
            let mut server = Server::new();
            write(&server.at("file"), b"content");
            let mut peer = FtpPeer::log_in(&mut server);
            assert!(peer.begin(&mut server, command).starts_with("150 "), "{command}");
            server.set_clock(jump_s);
            assert_eq!(peer.protocol.status().wakes_at, Some(server.now + DATA_CONNECTION_TIMEOUT_DEFAULT));
            server.advance(DATA_CONNECTION_TIMEOUT_DEFAULT - Duration::from_millis(1));
            assert_eq!(peer.replies(&mut server), "", "{command}");
            server.advance(Duration::from_millis(1));
            assert!(peer.replies(&mut server).starts_with("425 "), "{command}");
            assert_eq!(peer.get(&mut server, "RETR file"), b"content");
        }
    }
}

#[test]
fn listed_times_do_not_depend_on_the_wall_clock() {
    let mut server = Server::new();
    write(&server.at("file"), b"content");
    let mut peer = FtpPeer::log_in(&mut server);
    let told = |peer: &mut FtpPeer, server: &mut Server| {
        [
            peer.ask(server, "MDTM file").into_bytes(),
            peer.ask(server, "MLST file").into_bytes(),
            peer.get(server, "MLSD"),
        ]
    };
    let list = |peer: &mut FtpPeer, server: &mut Server| {
        String::from_utf8(peer.get(server, "LIST")).expect("UTF-8").split_whitespace().nth(7).map(str::to_string)
    };
    let before = told(&mut peer, &mut server);
    let hour = list(&mut peer, &mut server).expect("a line");
    assert!(hour.contains(':'), "{hour}");
    for (jump_s, is_recent) in [(DAY_S, true), (-DAY_S, true), (-DAY_S, false), (400 * DAY_S, false)] {
        server.set_clock(jump_s);
        assert_eq!(told(&mut peer, &mut server), before);
        // A file of tomorrow, or of long ago, is listed with its year, as ls does.
        let column = list(&mut peer, &mut server).expect("a line");
        assert_eq!(column.contains(':'), is_recent, "{column}");
    }
    assert!(peer.ask(&mut server, "MFMT 20200102030405 file").starts_with("213 "));
    assert_eq!(peer.ask(&mut server, "MDTM file"), "213 20200102030405\r\n");
}
