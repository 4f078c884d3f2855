//! A panic in the server's own code ends only the session whose turn it is, with a last message to the peer, and
//! releases what that session held.

// The two kinds of test share a file of chance.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::peer::{Incoming, Peer, put};
use berth::net::event_loop::EventLoop;
use berth::net::transport::TlsPolicy;
use berth::protocol::kind::ProtocolKind;
use berth::store::clock::WallClock;
use berth::tls::{ServerIdentity, ftp_server_config, server_config};
use berth::wire::message::{Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

/// A server on a thread, whose clock panics when it is told to: a stand-in for any defect.
struct Broken {
    address: SocketAddr,
    is_broken: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Broken {
    fn start() -> Self {
        let (is_broken, is_over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let flags = (Arc::clone(&is_broken), Arc::clone(&is_over));
        let (told, address) = channel();
        let thread = thread::spawn(move || {
            let (is_broken, is_over) = flags;
            let mut server = crate::support::in_memory::Server::new();
            let system = WallClock::default();
            server.service.store.clock = WallClock::new(move || {
                assert!(!is_broken.load(Ordering::SeqCst), "a defect on purpose");
                system.now_ns()
            });
            let mut event_loop = event_loop(&server.config, server.service);
            let socket = mio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
            told.send(socket.local_addr().expect("bound")).expect("waited for");
            event_loop.listen(socket, ProtocolKind::Native).expect("watched");
            let mut events = EventLoop::events();
            while !is_over.load(Ordering::SeqCst) {
                event_loop.wake_at(Instant::now() + Duration::from_millis(10));
                event_loop.run_once(&mut events).expect("a round");
            }
        });
        Self { address: address.recv().expect("it listens"), is_broken, is_over, thread: Some(thread) }
    }

    fn set_broken(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::SeqCst);
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the defect reached the loop");
    }
}

fn event_loop(config: &berth::config::Config, service: berth::session::Service) -> EventLoop {
    let identity = ServerIdentity::establish(config, 0).expect("a certificate");
    let entrance = TlsPolicy {
        tls: server_config(&identity).expect("usable"),
        session_tls: ftp_server_config(&identity).expect("usable"),
        allows_plaintext: true,
    };
    let poll = mio::Poll::new().expect("descriptors are left");
    EventLoop::new(poll, service, config.limits, config.timeouts, entrance, Instant::now())
        .expect("descriptors are left")
}

fn mkdir(path: &str) -> Request {
    Request::Mkdir { path: Name::from(path), parents: false, permissions: None }
}

fn quota(peer: &mut Peer) -> (u64, u64) {
    match peer.ask(&Request::Quota {}) {
        Reply::Quota(report) => (report.used_bytes + report.reserved_bytes, report.used_files),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_ends_one_session_with_a_last_word_and_no_other() {
    let server = Broken::start();
    let mut other = Peer::login(server.address, crate::support::in_memory::USER);
    assert_eq!(quota(&mut other), (0, 0));
    for _ in 0..3 {
        let mut peer = Peer::login(server.address, crate::support::in_memory::USER);
        // What was answered before the panic is answered; half a frame would spoil the rest.
        let (first, mut bytes) = peer.encode(&Request::Stat { path: Name::from("/") });
        let (_, more) = peer.encode(&mkdir("/d"));
        bytes.extend(more);
        server.set_broken(true);
        peer.send(&bytes);
        let Ok(Incoming::Reply(id, Reply::Stat { .. })) = peer.receive() else { panic!("the first is answered") };
        assert_eq!(id, first);
        let Ok(Incoming::Reply(_, Reply::Error(error))) = peer.receive() else { panic!("it is told") };
        assert_eq!((error.code, error.retry, error.fatal), (ErrorCode::Internal, false, true), "{error:?}");
        assert!(peer.receive().is_err(), "and nothing more");
        server.set_broken(false);
        assert_eq!(quota(&mut other), (0, 0), "the other session goes on");
    }
}

#[test]
fn a_panic_in_an_upload_gives_back_what_it_held_and_leaves_the_old_file() {
    let server = Broken::start();
    let mut other = Peer::login(server.address, crate::support::in_memory::USER);
    assert!(matches!(other.put("/file", b"old", PutMode::Create), Reply::Stored { .. }));
    let mut peer = Peer::login(server.address, crate::support::in_memory::USER);
    let id = peer.request(&put("/file", 1000, PutMode::Replace));
    crate::support::wait_until("the upload has begun", || quota(&mut other) == (1003, 2));
    server.set_broken(true);
    let mut frame = Vec::new();
    berth::wire::frame::put_bytes(&mut frame, berth::wire::frame::FrameType::Data, id, &[7; 500]);
    peer.send(&frame);
    let Ok(Incoming::Reply(of, Reply::Error(error))) = peer.receive() else { panic!("it is told") };
    assert_eq!((of, error.code), (id, ErrorCode::Internal));
    server.set_broken(false);
    assert_eq!(quota(&mut other), (3, 1));
    let get = Request::Get { path: Name::from("/file"), offset: 0, etag: None, prefix_digest: None };
    assert!(matches!(other.ask(&get), Reply::File { size: 3, .. }));
}

#[test]
fn a_panic_amid_a_frame_leaves_no_half_of_it_behind() {
    let server = Broken::start();
    let mut peer = Peer::login(server.address, crate::support::in_memory::USER);
    assert!(matches!(peer.put("/file", b"new", PutMode::Create), Reply::Stored { .. }));
    server.set_broken(true);
    let get = Request::Get { path: Name::from("/file"), offset: 0, etag: None, prefix_digest: None };
    assert!(matches!(peer.ask(&get), Reply::File { size: 3, .. }));
    let Ok(Incoming::Data(id, bytes)) = peer.receive() else { panic!("its data") };
    assert_eq!(bytes, b"new");
    // The clock is asked about its digest, while the next frame is being made.
    let Ok(Incoming::Reply(of, Reply::Error(error))) = peer.receive() else { panic!("it is told") };
    assert_eq!((of, error.code), (id, ErrorCode::Internal));
    assert!(peer.receive().is_err(), "and nothing more");
}
