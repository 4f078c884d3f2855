//! Relays that read, change or cut connections, and peers that break TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Scene;
use super::peer::TlsPeer;
use crate::support::effort::tries;
use crate::support::peer::put;
use crate::support::{PATIENCE, disk_usage, pattern, target, wait_until};
use berth::auth::scram::Binding;
use berth::base::digest::Digest;
use berth::tls::{Pinning, TlsSession};
use berth::wire::frame::{self, Frame, FrameType};
use berth::wire::message::{End, ErrorReply, PutMode, WireLimits};
use berth::wire::{ErrorCode, Reply, Request};

// ---- In the middle ------------------------------------------------------------------------

#[test]
fn a_relay_with_a_certificate_of_its_own_is_refused_even_at_first_contact() {
    let scene = Scene::new();
    let other = Scene::new();
    let relay = Relay::start(&other.place.path("conf/tls"), scene.server.address);
    let target = target("ann", relay);
    let ended = scene.place.run(scene.place.berth_over_tls(&["--accept-new", &target, "pwd"])).expect_code(4);
    // The relay got as far as it could: only the login itself told it apart.
    assert!(ended.stderr.contains(&other.fingerprint()), "{ended:?}");
    assert!(ended.stderr.contains("login refused"), "{ended:?}");
    assert!(!scene.known_hosts().exists());
    wait_until("the server refused it", || scene.place.log("access.log").contains("result=LoginFailed"));
}

/// What a server with these keys presents itself with.
fn server_config(keys: &Path) -> Arc<rustls::ServerConfig> {
    let certificate = CertificateDer::from_pem_file(keys.join("cert.pem")).expect("made by a server");
    let key = PrivateKeyDer::from_pem_file(keys.join("key.pem")).expect("made by a server");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("TLS 1.3").with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate], key).expect("a pair");
    config.alpn_protocols = vec![b"berth/1".to_vec()];
    Arc::new(config)
}

/// Ends the client's TLS with its own key, and begins another with the server.
struct Relay;

impl Relay {
    fn start(keys: &Path, server: SocketAddr) -> SocketAddr {
        let config = server_config(keys);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            let (client, _) = listener.accept().expect("a client");
            let mut near = TlsPeer::over(client, TlsSession::server(config).expect("a configuration"));
            let mut far = TlsPeer::connect(server);
            // What a client sends and a server answers come in turns, as a login does.
            while let Some(bytes) = near.read_next() {
                far.write(&bytes);
                let Some(bytes) = far.read_some() else { return };
                near.write(&bytes);
            }
        });
        address
    }
}

/// What an impostor says to a request.
type Answer = fn(&Request) -> Reply;

/// A server of its own, which knows no account and gives the client these answers in turn.
fn impostor(keys: &Path, answers: Vec<Answer>) -> SocketAddr {
    let config = server_config(keys);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let (client, _) = listener.accept().expect("a client");
        let mut peer = TlsPeer::over(client, TlsSession::server(config).expect("a configuration"));
        for (at, answer) in answers.into_iter().enumerate() {
            let Some(bytes) = peer.read_next() else { return };
            let Ok(Some((Frame::Control { id, body }, _))) = frame::decode(&bytes, 65_536) else { return };
            let reply = answer(&Request::decode(body).expect("our client's"));
            assert_eq!(id, at as u32 + 1);
            let mut bytes = Vec::new();
            frame::put_json(&mut bytes, FrameType::Control, id, &reply);
            peer.write(&bytes);
        }
        // Whatever else comes is listened to and never answered.
        while peer.read_next().is_some() {}
    });
    address
}

fn hello(mechanism: &str) -> Reply {
    Reply::Hello {
        version: 1,
        server: "impostor".into(),
        mechanisms: vec![mechanism.into()],
        features: vec![],
        limits: WireLimits { control_bytes: 65_536, data_bytes: 1 << 20, in_flight: 64 },
    }
}

fn challenge(request: &Request, rounds: u32) -> Reply {
    let Request::Auth { message, .. } = request else { panic!("a login, not {request:?}") };
    let nonce = message.rsplit_once("r=").expect("a nonce").1;
    Reply::Challenge { message: format!("r={nonce}more,s=c2FsdHNhbHRzYWx0,i={rounds}") }
}

#[test]
fn an_impostor_that_cheats_at_the_login_is_left_with_exit_code_4_and_not_remembered() {
    let scene = Scene::new();
    let keys = scene.place.path("conf/tls");
    let bound: Answer = |_| hello("SCRAM-SHA-256-PLUS");
    let forged: Answer = |_| Reply::Welcome { message: format!("v={}=", "A".repeat(43)) };
    let cases: [(&str, Vec<Answer>); 5] = [
        ("SCRAM-SHA-256-PLUS", vec![|_| hello("SCRAM-SHA-256")]),
        ("1 password rounds", vec![bound, |request| challenge(request, 1)]),
        ("1000000000 password rounds", vec![bound, |request| challenge(request, 1_000_000_000)]),
        ("could not prove", vec![bound, |request| challenge(request, 4096), forged]),
        ("malformed", vec![bound, |request| challenge(request, 4096), |_| Reply::Welcome { message: "v=".into() }]),
    ];
    for (why, answers) in cases {
        let target = target("ann", impostor(&keys, answers));
        let ended = scene.place.run(scene.place.berth_over_tls(&["--accept-new", &target, "pwd"])).expect_code(4);
        assert!(ended.stderr.contains(why) && ended.stderr.contains("do not trust it"), "{ended:?}");
        assert!(ended.stdout.is_empty() && !scene.known_hosts().exists(), "{why}");
    }
}

#[test]
fn a_login_over_tls_is_bound_to_it_or_refused() {
    let scene = Scene::new();
    let mut peer = TlsPeer::connect(scene.server.address);
    let binding = peer.tls.binding().expect("agreed");
    let Reply::Hello { mechanisms, .. } = peer.greet() else { panic!("a greeting") };
    assert_eq!(mechanisms, ["SCRAM-SHA-256-PLUS"]);
    let refusal = |reply: Reply| match reply {
        Reply::Error(ErrorReply { code, .. }) => code,
        other => panic!("a refusal, not {other:?}"),
    };
    assert_eq!(refusal(peer.prove(Binding::None, "SCRAM-SHA-256")), ErrorCode::Unsupported);
    assert_eq!(refusal(peer.prove(Binding::None, "SCRAM-SHA-256-PLUS")), ErrorCode::LoginFailed);
    let other = TlsPeer::connect(scene.server.address).tls.binding().expect("agreed");
    assert_eq!(refusal(peer.prove(other, "SCRAM-SHA-256-PLUS")), ErrorCode::LoginFailed);
    let mut peer = TlsPeer::connect(scene.server.address);
    assert!(matches!(peer.greet(), Reply::Hello { .. }));
    assert_eq!(refusal(peer.prove(binding, "SCRAM-SHA-256-PLUS")), ErrorCode::LoginFailed, "of another connection");
    TlsPeer::login(scene.server.address);
}

// ---- Cut short ----------------------------------------------------------------------------

/// The TCP connection ends in good order or by a reset, TLS without its last word.
#[test]
fn an_upload_without_close_notify_is_not_stored() {
    let scene = Scene::new();
    let content = pattern(7, 90);
    let encrypted = |peer: &mut TlsPeer| {
        let mut frames = vec![Vec::new(); 5];
        frame::put_json(&mut frames[0], FrameType::Control, 9, &put("/a", 90, PutMode::Replace));
        for (frame, piece) in frames[1..4].iter_mut().zip(content.chunks(30)) {
            frame::put_bytes(frame, FrameType::Data, 9, piece);
        }
        let end = End { size: 90, digest: Digest::of(&content) };
        frame::put_json(&mut frames[4], FrameType::End, 9, &end);
        // A record for each frame.
        let mut bytes = Vec::new();
        for frame in &frames {
            assert_eq!(peer.tls.encrypt(frame).expect("open"), frame.len());
            assert!(peer.tls.flush(&mut bytes).expect("memory takes all"));
        }
        bytes
    };
    let length = encrypted(&mut TlsPeer::login(scene.server.address)).len();
    for cut in (0..length).step_by(tries(17, 1)).chain([length - 1]) {
        for by_reset in [false, true] {
            let mut peer = TlsPeer::login(scene.server.address);
            let bytes = encrypted(&mut peer);
            peer.stream.write_all(&bytes[..cut]).expect("it reads");
            if by_reset {
                socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
                continue;
            }
            peer.stream.shutdown(Shutdown::Write).expect("open");
            let mut rest = Vec::new();
            let _ = peer.stream.read_to_end(&mut rest);
            assert!(!scene.place.home("ann", "a").exists(), "cut at {cut} of {length}");
        }
    }
    wait_until("all are gone", || {
        let log = scene.place.log("access.log");
        log.matches("verb=connect").count() == log.matches("verb=close").count()
    });
    assert!(!scene.place.home("ann", "a").exists());
    assert_eq!(disk_usage(&scene.place.home("ann", "")).0, 0);
    // Nothing was wrong with it but that it was cut.
    let mut peer = TlsPeer::login(scene.server.address);
    let bytes = encrypted(&mut peer);
    peer.stream.write_all(&bytes).expect("it reads");
    wait_until("it is stored", || scene.place.home("ann", "a").exists());
}

/// What a client sends of a handshake: its hello, and after the server's answer the rest.
fn shake_hands_up_to(server: SocketAddr, count: usize) -> (TcpStream, bool) {
    let config = Pinning::new(None).client_config().expect("a configuration");
    let mut tls = TlsSession::client(config).expect("a configuration");
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    let mut left = count;
    loop {
        let mut bytes = Vec::new();
        tls.flush(&mut bytes).expect("memory takes all");
        stream.write_all(&bytes[..bytes.len().min(left)]).expect("it reads");
        if bytes.len() > left {
            return (stream, false);
        }
        left -= bytes.len();
        if !tls.is_handshaking() {
            return (stream, left > 0);
        }
        if !tls.wants_flush() {
            tls.receive(&mut stream, &mut [0; 64]).expect("the server's side of it");
        }
    }
}

#[test]
fn handshakes_that_break_off_at_any_byte_or_are_garbage_cost_nothing() {
    let scene = Scene::new();
    TlsPeer::login(scene.server.address);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", scene.server.program.pid())).expect("it runs").count();
    let before = descriptors();
    let mut count = 0;
    loop {
        // An RST, and an end in good order.
        let (reset, is_over) = shake_hands_up_to(scene.server.address, count);
        socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
        drop(shake_hands_up_to(scene.server.address, count));
        if is_over {
            break;
        }
        count += 1;
    }
    assert!(count > 200, "a hello and a finish have more than {count} bytes");
    for garbage in [&[0x16; 5000][..], b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff", b"\x16\x03\x03\0\0"] {
        let mut stream = TcpStream::connect(scene.server.address).expect("it listens");
        stream.write_all(garbage).expect("it reads");
        // The server may have ended it already.
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 100, "an alert at most");
    }
    wait_until("all of them are gone", || descriptors() <= before);
    let (began, used) = (Instant::now(), scene.server.program.ticks());
    wait_until("half a second is over", || began.elapsed() >= Duration::from_millis(500));
    assert!(scene.server.program.ticks() - used < 10, "it spins");
    TlsPeer::login(scene.server.address);
    let stderr = scene.server.program.stderr();
    assert!(!stderr.contains("defect") && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn another_protocol_within_tls_is_refused() {
    let scene = Scene::new();
    let pinning = Pinning::new(None);
    let mut config = Arc::unwrap_or_clone(pinning.client_config().expect("a configuration"));
    for protocols in [vec![b"h2".to_vec()], vec![]] {
        config.alpn_protocols = protocols;
        let name = "berth".try_into().expect("a name");
        let mut client = rustls::ClientConnection::new(Arc::new(config.clone()), name).expect("a configuration");
        let mut stream = TcpStream::connect(scene.server.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        let mut tls = rustls::Stream::new(&mut client, &mut stream);
        let _ = tls.write_all(&[0; 12]).and_then(|()| tls.flush());
        let mut rest = Vec::new();
        let _ = tls.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
}
