//! Many uploads compete for a quota with room for few: exactly as many succeed as fit, the limit holds at every
//! moment, and the others exit with 6.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::json;

use crate::support::peer::{Incoming, Peer};
use crate::support::process::Program;
use crate::support::proxy::Proxy;
use crate::support::{Place, disk_usage, pattern, target};
use berth::wire::message::{PutMode, QuotaReport};
use berth::wire::{ErrorCode, Reply, Request};

/// Asks for the quota without pause until it is stopped, and checks each answer.
struct Sampler {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Sampler {
    fn start(address: SocketAddr, account: &'static str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut peer = Peer::login(address, account);
            let mut samples = 0;
            while !flag.load(Ordering::SeqCst) {
                let QuotaReport { used_bytes, reserved_bytes, limit_bytes, used_files, limit_files, .. } =
                    quota(&mut peer);
                assert!(
                    used_bytes + reserved_bytes <= limit_bytes.expect("a limit"),
                    "{used_bytes} + {reserved_bytes}"
                );
                assert!(limit_files.is_none_or(|limit| used_files <= limit), "{used_files}");
                samples += 1;
            }
            samples
        });
        Self { is_over, thread: Some(thread) }
    }

    /// How many answers were checked.
    fn stop(mut self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.take().expect("not stopped before").join().expect("no sample was wrong")
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

fn quota(peer: &mut Peer) -> QuotaReport {
    match peer.ask(&Request::Quota {}) {
        Reply::Quota(report) => report,
        other => panic!("a report, not {other:?}"),
    }
}

/// What is used is what is on disk, and nothing is promised any more.
#[track_caller]
fn check_settled(place: &Place, address: SocketAddr) {
    let report = quota(&mut Peer::login(address, "ann"));
    assert_eq!((report.used_bytes, report.used_files), disk_usage(&place.home("ann", "")));
    assert_eq!(report.reserved_bytes, 0);
}

#[test]
fn of_twenty_clients_at_once_exactly_as_many_succeed_as_fit() {
    const CLIENTS: usize = 20;
    const FIT: usize = 7;
    const SIZE: usize = 200_000;
    let place = Place::new();
    place.add("ann", &["--quota", &(FIT * SIZE + SIZE / 2).to_string()]);
    let server = place.serve();
    let content = pattern(1, SIZE);
    fs::write(place.here("a"), &content).expect("writable");
    let sampler = Sampler::start(server.address, "ann");
    // Held back until all are logged in and have begun to send.
    let proxies: Vec<Proxy> = (0..CLIENTS).map(|_| Proxy::to(server.address)).collect();
    let mut clients: Vec<Program> = Vec::new();
    for (i, proxy) in proxies.iter().enumerate() {
        proxy.up.hold_after(500);
        let arguments = ["--quiet", &target("ann", proxy.address), "put", "a", &format!("a{i}")];
        clients.push(place.start(place.berth(&arguments)));
    }
    proxies.iter().for_each(|proxy| proxy.up.wait_held());
    proxies.iter().for_each(|proxy| proxy.up.open());
    let mut done = 0;
    for (i, client) in clients.iter_mut().enumerate() {
        let ended = client.wait();
        let stored = fs::read(place.home("ann", format!("a{i}"))).ok();
        match ended.code {
            Some(0) => assert!(stored.as_ref() == Some(&content), "client {i}"),
            Some(6) => assert!(stored.is_none() && ended.stderr.contains("quota"), "{ended:?}"),
            _ => panic!("{ended:?}"),
        }
        done += usize::from(ended.code == Some(0));
    }
    assert!(sampler.stop() > 0);
    // One that failed while others held promises may have been one too many only then.
    assert_eq!(done, FIT);
    check_settled(&place, server.address);
}

/// Sends `pieces` of each upload by turns, so that all of them are under way at once, and reads
/// what becomes of them.
fn upload_interleaved(address: SocketAddr, uploads: &[(String, Vec<u8>)]) -> Vec<Reply> {
    let mut peers: Vec<Peer> = uploads.iter().map(|_| Peer::login(address, "ann")).collect();
    let sent: Vec<Vec<u8>> = peers
        .iter_mut()
        .zip(uploads)
        .map(|(peer, (path, content))| peer.encode_put(path, content, PutMode::Replace))
        .collect();
    let longest = sent.iter().map(Vec::len).max().expect("one at least");
    for start in (0..longest).step_by(4096) {
        for (peer, bytes) in peers.iter_mut().zip(&sent) {
            if start < bytes.len() {
                peer.send(&bytes[start..bytes.len().min(start + 4096)]);
            }
        }
    }
    peers.iter_mut().map(Peer::reply).collect()
}

#[test]
fn fifty_uploads_race_for_the_last_byte() {
    const SIZE: u64 = 20_000;
    let place = Place::new();
    place.add("ann", &["--quota", &(13 * SIZE).to_string()]);
    let server = place.serve();
    let sampler = Sampler::start(server.address, "ann");
    let uploads: Vec<_> = (0..50).map(|i| (format!("/a{i}"), pattern(i, SIZE as usize))).collect();
    let replies = upload_interleaved(server.address, &uploads);
    let mut stored = 0;
    for ((path, content), reply) in uploads.iter().zip(&replies) {
        let found = fs::read(place.home("ann", &path[1..])).ok();
        match reply {
            Reply::Stored { .. } => assert_eq!(found.as_ref(), Some(content)),
            Reply::Error(error) => assert_eq!((error.code, found), (ErrorCode::QuotaBytes, None)),
            other => panic!("{other:?}"),
        }
        stored += u64::from(matches!(reply, Reply::Stored { .. }));
    }
    assert_eq!(stored, 13, "every byte of the quota is used");
    assert!(sampler.stop() > 0);
    check_settled(&place, server.address);
    let mut peer = Peer::login(server.address, "ann");
    assert_eq!(quota(&mut peer).free_bytes(), Some(0));
    let Reply::Error(error) = peer.put("/one", b"x", PutMode::Create) else { panic!("not a byte is left") };
    assert_eq!(error.code, ErrorCode::QuotaBytes);
    assert!(matches!(peer.put("/none", b"", PutMode::Create), Reply::Stored { .. }), "but no byte is needed here");
}

#[test]
fn fifty_uploads_race_for_the_last_file() {
    let place = Place::new();
    place.add("ann", &["--max-files", "9"]);
    let server = place.serve();
    let uploads: Vec<_> = (0..50).map(|i| (format!("/a{i}"), vec![7; 100])).collect();
    let replies = upload_interleaved(server.address, &uploads);
    let stored = replies.iter().filter(|reply| matches!(reply, Reply::Stored { .. })).count();
    assert_eq!(stored, 9);
    check_settled(&place, server.address);
}

#[test]
fn an_old_file_survives_an_upload_that_does_not_fit_and_room_is_exact_afterwards() {
    let place = Place::new();
    place.add("ann", &["--quota", "100000"]);
    let server = place.serve();
    let mut peer = Peer::login(server.address, "ann");
    let old = pattern(1, 60_000);
    assert!(matches!(peer.put("/a", &old, PutMode::Create), Reply::Stored { .. }));
    for size in [40_001, 70_000, 200_000] {
        let Reply::Error(error) = peer.put("/a", &pattern(2, size), PutMode::Replace) else {
            panic!("{size} fits not")
        };
        assert_eq!(error.code, ErrorCode::QuotaBytes);
        assert!(fs::read(place.home("ann", "a")).expect("there") == old);
        assert_eq!(quota(&mut peer).used_bytes, 60_000);
    }
    assert!(matches!(peer.put("/a", &pattern(3, 40_000), PutMode::Replace), Reply::Stored { .. }));
    assert_eq!(quota(&mut peer).used_bytes, 40_000, "the old file is credited");
    assert!(matches!(peer.put("/b", &pattern(4, 60_000), PutMode::Create), Reply::Stored { .. }));
    assert_eq!(quota(&mut peer).free_bytes(), Some(0));
    assert!(matches!(peer.ask(&Request::Mv { from: "/a".into(), to: "/b".into(), replace: true }), Reply::Done {}));
    assert_eq!(quota(&mut peer).used_bytes, 40_000);
    assert!(matches!(peer.ask(&Request::Rm { path: "/b".into() }), Reply::Done {}));
    assert_eq!(quota(&mut peer).used_bytes, 0);
    check_settled(&place, server.address);
}

#[test]
fn overwrites_deletes_and_renames_at_once_leave_an_exact_count() {
    const LIMIT: u64 = 300_000;
    let place = Place::with(json!({"sync": "data"}));
    place.add("ann", &["--quota", &LIMIT.to_string(), "--max-files", "60"]);
    let server = place.serve();
    let address = server.address;
    let sampler = Sampler::start(address, "ann");
    let workers: Vec<_> = (0..6)
        .map(|worker| {
            thread::spawn(move || {
                let mut peer = Peer::login(address, "ann");
                for step in 0..60u64 {
                    let (a, b) = (format!("/f{}", (worker + step) % 7), format!("/f{}", step % 5));
                    let reply = match (worker + step * 5) % 4 {
                        0 => peer.ask(&Request::Rm { path: a[..].into() }),
                        1 => peer.ask(&Request::Mv { from: a[..].into(), to: b[..].into(), replace: true }),
                        _ => peer.put(&a, &pattern(step, (step * 997 % 60_000) as usize), PutMode::Replace),
                    };
                    match reply {
                        Reply::Done {} | Reply::Stored { .. } => {}
                        Reply::Error(error) => assert!(
                            matches!(error.code, ErrorCode::NotFound | ErrorCode::QuotaBytes | ErrorCode::BadName),
                            "{error:?}"
                        ),
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no answer was wrong");
    }
    assert!(sampler.stop() > 0);
    check_settled(&place, address);
}

#[test]
fn two_who_write_one_name_leave_one_whole_file() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let contents: Vec<Vec<u8>> = (0..8).map(|seed| pattern(seed, 150_000)).collect();
    let uploads: Vec<_> = contents.iter().map(|content| ("/a".to_string(), content.clone())).collect();
    let replies = upload_interleaved(server.address, &uploads);
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Stored { .. })), "{replies:?}");
    assert!(contents.contains(&fs::read(place.home("ann", "a")).expect("there")));
    check_settled(&place, server.address);
}

#[test]
fn a_file_replaced_while_it_is_fetched_arrives_as_it_was() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let old = pattern(1, 16 << 20);
    fs::write(place.home("ann", "a"), &old).expect("writable");
    let mut reader = Peer::login(server.address, "ann");
    let mut writer = Peer::login(server.address, "ann");
    reader.request(&Request::Get { path: "/a".into(), offset: 0, etag: None, prefix_digest: None });
    assert!(matches!(reader.reply(), Reply::File { .. }));
    assert!(matches!(writer.put("/a", b"new", PutMode::Replace), Reply::Stored { .. }));
    let mut received = Vec::new();
    loop {
        match reader.receive().expect("the server goes on") {
            Incoming::Data(_, bytes) => received.extend(bytes),
            Incoming::End(_, end) => break assert_eq!(end.digest, berth::base::digest::Digest::of(&old)),
            other => panic!("{other:?}"),
        }
    }
    assert!(received == old);
    check_settled(&place, server.address);
}
