//! Bounds on the resident memory of the server: unauthenticated connections, listings that nobody reads, and
//! sessions with large requests.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::ftp_client::{FtpClient, configuration, listening};
use crate::support::needs::tests;
use crate::support::peer::{Peer, put};
use crate::support::{Place, Server, pattern, wait_until};
use berth::base::digest::Digest;
use berth::tls::{Pinning, ReceiveResult, TlsSession};
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{End, ErrorReply, Name, PutMode, VERSION};
use berth::wire::{ErrorCode, Reply, Request};

tests! {
    []
        unauthenticated_clients_that_say_nothing_take_little_memory,
        unauthenticated_clients_that_begin_tls_and_say_no_more_take_little_memory,
        unauthenticated_clients_with_half_of_a_client_hello_take_little_memory,
        unauthenticated_clients_with_a_client_hello_that_is_too_large_take_little_memory,
        unauthenticated_clients_that_read_none_of_their_pongs_take_little_memory,
        unauthenticated_clients_that_read_none_of_their_pongs_over_tls_take_little_memory,
        unauthenticated_clients_that_ask_much_and_read_no_answer_take_little_memory,
        unauthenticated_clients_that_do_not_read_their_errors_take_little_memory,
        unauthenticated_clients_with_half_of_a_record_take_little_memory,
        unauthenticated_clients_whose_logins_fail_take_little_memory,
        unauthenticated_clients_that_read_no_reply_of_ftp_take_little_memory,
        unauthenticated_clients_with_half_of_a_line_of_ftp_take_little_memory,
        unauthenticated_clients_that_read_no_reply_of_ftps_take_little_memory,
        unauthenticated_clients_with_half_of_a_client_hello_for_ftps_take_little_memory,
        listings_that_nobody_reads_hold_little_memory_and_hinder_no_other_account,
        a_listing_waits_for_memory_until_others_give_it_back,
        a_listing_that_waits_can_be_cancelled,
        listings_by_ftp_wait_for_memory_and_are_refused_for_now,
        uploads_go_on_with_small_buffers_where_there_is_no_memory_for_large_ones,
        a_request_that_fits_no_small_buffer_waits_for_a_large_one,
        sessions_of_one_account_that_stop_amid_uploads_hold_a_share_of_the_memory,
        small_buffers_of_an_account_leave_less_room_for_its_own_listings_and_as_much_for_others;
}

/// As many descriptors as the system lets this process have, and the servers that it starts.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the hard limit");
}

/// Waits until the server has nothing left to do: for a while it uses no processor time.
fn wait_until_calm(server: &Server) {
    let mut last = (server.program.ticks(), Instant::now());
    wait_until("the server is calm", || {
        let ticks = server.program.ticks();
        if ticks != last.0 {
            last = (ticks, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(500)
    });
}

// ---- Before login -------------------------------------------------------------------------

const CONNECTIONS: usize = 1000;
/// What each may take beyond what the idle server has.
const CONNECTION_KIB_MAX: u64 = 40;
/// For what makes much work.
const FEW: usize = 200;
/// A server closes them only after the test.
const DEADLINES: &str = "10m";

/// A connection that nobody logs in to.
struct UnauthenticatedClient {
    stream: TcpStream,
    tls: Option<TlsSession>,
}

impl UnauthenticatedClient {
    /// From one of some addresses of this machine. The kernel holds little for it.
    fn connect(number: usize, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
        socket.set_recv_buffer_size(4096).expect("a socket");
        socket.set_send_buffer_size(4096).expect("a socket");
        // What a kernel sends ahead it counts by the segments that it may send.
        socket.set_tcp_mss(536).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 2 + (number % 7) as u8], 0)).into()).expect("loopback");
        socket.connect(&address.into()).expect("the server listens");
        Self { stream: socket.into(), tls: None }
    }

    fn encrypt(self) -> Self {
        self.encrypt_as(Pinning::new(None).client_config().expect("a configuration"))
    }

    /// The same to a server of FTPS, which refuses the protocol's own name.
    fn encrypt_for_ftps(self) -> Self {
        let mut config = Pinning::new(None).client_config().expect("a configuration");
        Arc::make_mut(&mut config).alpn_protocols.clear();
        self.encrypt_as(config)
    }

    fn encrypt_as(mut self, config: Arc<ClientConfig>) -> Self {
        let mut tls = TlsSession::client(config).expect("a configuration");
        while tls.is_handshaking() || tls.wants_flush() {
            tls.flush(&mut self.stream).expect("the server reads");
            if tls.is_handshaking() {
                let received = tls.receive(&mut self.stream, &mut [0; 4096]).expect("a handshake");
                assert!(matches!(received, ReceiveResult::Progress(_) | ReceiveResult::Bytes(_)));
            }
        }
        self.tls = Some(tls);
        self
    }

    /// Sends what the server takes of `bytes`. Returns whether it took any.
    fn push(&mut self, bytes: &[u8]) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let mut sent = 0;
        while sent < bytes.len() {
            let pushed = match &mut self.tls {
                Some(tls) => {
                    let taken = tls.encrypt(&bytes[sent..]).expect("open");
                    match tls.flush(&mut self.stream) {
                        Ok(true) => Ok(taken),
                        Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                        Err(error) => Err(error),
                    }
                }
                None => self.stream.write(&bytes[sent..]),
            };
            match pushed {
                Ok(count) => sent += count,
                // It closes those who send what it does not take.
                Err(_) => break,
            }
        }
        sent > 0
    }
}

fn control(id: u32, request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put_json(&mut bytes, FrameType::Control, id, request);
    bytes
}

fn pings(bytes: usize) -> Vec<u8> {
    let mut ping = Vec::new();
    frame::put_bytes(&mut ping, FrameType::Ping, 0, &[b'p'; 64]);
    ping.repeat(bytes / ping.len())
}

fn hello() -> Request {
    Request::Hello { versions: vec![VERSION], client: "test".into() }
}

/// The first `sent` bytes of a ClientHello of `length`, in records.
fn half_a_hello(length: usize, sent: usize) -> Vec<u8> {
    let mut message = vec![1, (length >> 16) as u8, (length >> 8) as u8, length as u8, 3, 3];
    message.resize(sent, 0);
    let mut records = Vec::new();
    for piece in message.chunks(16 * 1024) {
        records.extend_from_slice(&[0x16, 3, 1, (piece.len() >> 8) as u8, piece.len() as u8]);
        records.extend_from_slice(piece);
    }
    records
}

#[derive(Clone, Copy)]
enum Door {
    Native,
    Ftp,
    Ftps,
}

/// Lets `count` clients without a login `begin`, and then each send `rest` as far as the server takes it. Measures
/// what they cost, and that a user is served beside them.
#[track_caller]
fn check_memory(door: Door, count: usize, begin: impl Fn(UnauthenticatedClient) -> UnauthenticatedClient, rest: &[u8]) {
    raise_descriptors();
    let deadlines = json!({"timeouts": {"login": DEADLINES, "stall": DEADLINES}});
    let place = Place::with(configuration(json!({"listen_tls": "127.0.0.1:0"}), deadlines));
    place.add("ann", &[]);
    let server = place.serve();
    let address = match door {
        Door::Native => server.address,
        Door::Ftp => listening(&server, "ftp"),
        Door::Ftps => listening(&server, "ftps"),
    };
    drop(Peer::login(server.address, "ann"));
    // The pages of the program itself that one needs count for nobody.
    drop(begin(UnauthenticatedClient::connect(0, address)));
    wait_until_calm(&server);
    let before = server.program.resident_kib();
    let mut clients: Vec<UnauthenticatedClient> =
        (0..count).map(|number| begin(UnauthenticatedClient::connect(number, address))).collect();
    let mut most = 0;
    for _ in 0..4 {
        for client in &mut clients {
            client.push(rest);
        }
        wait_until_calm(&server);
        most = most.max(server.program.resident_kib());
    }
    let grown = most.saturating_sub(before);
    eprintln!("{count} clients: {grown} KiB beyond {before}");
    assert!(grown <= CONNECTION_KIB_MAX * count as u64, "{grown} KiB");
    let mut member = Peer::login(server.address, "ann");
    assert!(matches!(member.ask(&Request::Quota {}), Reply::Quota(_)));
}

fn unauthenticated_clients_that_say_nothing_take_little_memory() {
    check_memory(Door::Native, CONNECTIONS, |client| client, b"");
}

fn unauthenticated_clients_that_begin_tls_and_say_no_more_take_little_memory() {
    check_memory(Door::Native, CONNECTIONS, |client| client, &[0x16]);
}

fn unauthenticated_clients_with_half_of_a_client_hello_take_little_memory() {
    check_memory(Door::Native, CONNECTIONS, |client| client, &half_a_hello(16_000, 15_900));
}

fn unauthenticated_clients_with_a_client_hello_that_is_too_large_take_little_memory() {
    check_memory(Door::Native, CONNECTIONS, |client| client, &half_a_hello(65_000, 64_000));
}

fn unauthenticated_clients_that_read_none_of_their_pongs_take_little_memory() {
    check_memory(Door::Native, CONNECTIONS, |client| client, &pings(128 * 1024));
}

fn unauthenticated_clients_that_read_none_of_their_pongs_over_tls_take_little_memory() {
    check_memory(Door::Native, CONNECTIONS, UnauthenticatedClient::encrypt, &pings(128 * 1024));
}

fn unauthenticated_clients_that_ask_much_and_read_no_answer_take_little_memory() {
    let long = Request::Auth { mechanism: "m".repeat(3900), message: String::new() };
    let requests: Vec<u8> = (1..200).flat_map(|id| control(id, &long)).collect();
    check_memory(Door::Native, CONNECTIONS, UnauthenticatedClient::encrypt, &requests);
}

fn unauthenticated_clients_that_do_not_read_their_errors_take_little_memory() {
    let body = format!("{{\"type\":\"{}\"}}", "\\u0001".repeat(650));
    let mut requests = Vec::new();
    for id in 1..200 {
        requests.extend_from_slice(&frame::header(FrameType::Control, id, body.len()));
        requests.extend_from_slice(body.as_bytes());
    }
    check_memory(Door::Native, CONNECTIONS, UnauthenticatedClient::encrypt, &requests);
}

fn unauthenticated_clients_with_half_of_a_record_take_little_memory() {
    let half = [&control(1, &hello())[..], &[0, 0, 15, 0, 0, 0, 0, 2, 1, 0, 0, 0], &[b' '; 3000]].concat();
    check_memory(Door::Native, CONNECTIONS, UnauthenticatedClient::encrypt, &half);
}

fn unauthenticated_clients_whose_logins_fail_take_little_memory() {
    let first = "n,,n=ann,r=fyko+d2lbbFgONRv9qkxdawL".to_string();
    let requests = [
        control(1, &hello()),
        control(2, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message: first }),
        control(3, &Request::AuthNext { message: format!("c=biws,r=x,p={}=", "A".repeat(3000)) }),
    ];
    check_memory(Door::Native, CONNECTIONS, |client| client, &requests.concat());
}

fn unauthenticated_clients_that_read_no_reply_of_ftp_take_little_memory() {
    check_memory(Door::Ftp, FEW, |client| client, &b"HELP\r\n".repeat(1000));
}

fn unauthenticated_clients_with_half_of_a_line_of_ftp_take_little_memory() {
    check_memory(Door::Ftp, CONNECTIONS, |client| client, &[&b"USER ann\r\nPASS "[..], &[b'a'; 5000]].concat());
}

fn unauthenticated_clients_that_read_no_reply_of_ftps_take_little_memory() {
    check_memory(Door::Ftps, FEW, UnauthenticatedClient::encrypt_for_ftps, &b"HELP\r\n".repeat(1000));
}

fn unauthenticated_clients_with_half_of_a_client_hello_for_ftps_take_little_memory() {
    check_memory(Door::Ftps, CONNECTIONS, |client| client, &half_a_hello(16_000, 15_900));
}

// ---- Listings -----------------------------------------------------------------------------

fn list(path: &str) -> Request {
    Request::List { path: Name::from(path) }
}

/// Makes so many empty files with names of 250 bytes.
fn fill(place: &Place, account: &str, directory: &str, count: usize) {
    let directory = place.home(account, directory);
    fs::create_dir_all(&directory).expect("writable");
    for number in 0..count {
        File::create(directory.join(format!("{number:0>250}"))).expect("writable");
    }
}

/// Reads a listing to its end. Returns the number of entries, or the error.
fn entries(peer: &mut Peer) -> Result<usize, ErrorReply> {
    let mut count = 0;
    loop {
        match peer.reply() {
            Reply::Page { entries, last } => {
                count += entries.len();
                if last {
                    return Ok(count);
                }
            }
            Reply::Error(error) => return Err(error),
            other => panic!("a page, not {other:?}"),
        }
    }
}

/// Asks for a listing until there is memory for it.
fn listed(peer: &mut Peer, path: &str) -> usize {
    loop {
        peer.request(&list(path));
        match entries(peer) {
            Ok(count) => return count,
            Err(error) => assert!(error.code == ErrorCode::Busy && error.retry, "{error:?}"),
        }
    }
}

fn listings_that_nobody_reads_hold_little_memory_and_hinder_no_other_account() {
    const NAMES: usize = 131_000;
    let place = Place::with(json!({"timeouts": {"stall": DEADLINES}}));
    place.add("ann", &[]);
    place.add("bob", &[]);
    fill(&place, "ann", "large", NAMES);
    fill(&place, "ann", "small", 10);
    fill(&place, "bob", "large", 20_000);
    let server = place.serve();
    let mut bob = Peer::login(server.address, "bob");
    let mut readers: Vec<Peer> =
        (0..63).map(|_| Peer::connect_with_little_room(server.address).logged_in("ann")).collect();
    for reader in &mut readers {
        reader.request(&list("/large"));
    }
    wait_until("one has begun", || readers.iter().any(Peer::has_answer));
    assert_eq!(listed(&mut bob, "/large"), 20_000, "another account");
    assert_eq!(listed(&mut Peer::login(server.address, "ann"), "/small"), 10, "a small one of the same account");

    wait_until("all have begun or are refused", || readers.iter().all(Peer::has_answer));
    let peak = server.program.peak_resident_kib();
    eprintln!("63 listings that nobody reads: {peak} KiB at the most");
    assert!(peak <= 128 * 1024, "{peak} KiB");
    let (mut begun, mut refused) = (Vec::new(), Vec::new());
    for mut reader in readers {
        match reader.reply() {
            Reply::Page { .. } => begun.push(reader),
            Reply::Error(error) => {
                assert_eq!((error.code, error.retry, error.fatal), (ErrorCode::Busy, true, false), "{error:?}");
                refused.push(reader);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!begun.is_empty() && !refused.is_empty(), "{} begun", begun.len());
    let mut later = refused.remove(0);
    assert!(matches!(later.ask(&Request::Quota {}), Reply::Quota(_)), "the session goes on");
    drop(begun);
    assert_eq!(listed(&mut Peer::login(server.address, "ann"), "/large"), NAMES, "the others have gone");
}

/// A server whose accounts may hold so little that one listing of [`MANY`] long names leaves no room for
/// a second.
fn narrow_place() -> Place {
    let limits = json!({"strangers": 10, "memory": "9M"});
    let place = Place::with(configuration(json!({}), json!({"limits": limits, "timeouts": {"stall": DEADLINES}})));
    place.add("ann", &[]);
    fill(&place, "ann", "large", MANY);
    place
}

const MANY: usize = 10_000;

/// Listings that nobody reads, as many as there is memory for.
fn hold_memory(server: &Server) -> Peer {
    let mut reader = Peer::connect_with_little_room(server.address).logged_in("ann");
    reader.request(&list("/large"));
    wait_until("it has begun", || reader.has_answer());
    reader
}

fn a_listing_waits_for_memory_until_others_give_it_back() {
    let place = narrow_place();
    let server = place.serve();
    let (holder, mut waiting) = (hold_memory(&server), Peer::login(server.address, "ann"));
    let mut other = Peer::login(server.address, "ann");
    waiting.request(&list("/large"));
    assert!(matches!(other.ask(&Request::Quota {}), Reply::Quota(_)));
    assert!(!waiting.has_answer(), "there is no memory");
    drop(holder);
    assert_eq!(entries(&mut waiting).expect("there is memory"), MANY);
}

fn a_listing_that_waits_can_be_cancelled() {
    let place = narrow_place();
    let server = place.serve();
    let (_holder, mut waiting) = (hold_memory(&server), Peer::login(server.address, "ann"));
    let id = waiting.request(&list("/large"));
    let mut abort = Vec::new();
    let why = ErrorReply::new(ErrorCode::Cancelled, "");
    frame::put_json(&mut abort, FrameType::Abort, id, &why);
    waiting.send(&abort);
    assert_eq!(entries(&mut waiting).expect_err("given up").code, ErrorCode::Cancelled);
    assert!(matches!(waiting.ask(&Request::Quota {}), Reply::Quota(_)));
}

/// What a command sends over a data connection, and the last reply.
fn receive(client: &mut FtpClient, command: &str) -> (String, String) {
    let (mut data, mut received) = (client.begin(command), String::new());
    // A reset is an end, too.
    let _ = data.read_to_string(&mut received);
    (received, client.reply())
}

fn listings_by_ftp_wait_for_memory_and_are_refused_for_now() {
    let place = narrow_place();
    let server = place.serve();
    let (holder, mut client) = (hold_memory(&server), FtpClient::login(&server));
    client.ask("CWD /large");
    for command in ["NLST", "LIST -Rt"] {
        let (received, reply) = receive(&mut client, command);
        assert!(received.len() < 1000 && reply.starts_with("450"), "{command}: {reply}");
    }
    assert!(client.ask("PWD").starts_with("257"));
    drop(holder);
    let (received, reply) = receive(&mut client, "NLST");
    assert_eq!((received.lines().count(), &reply[..3]), (MANY, "226"));
}

// ---- Large buffers ------------------------------------------------------------------------

fn uploads_go_on_with_small_buffers_where_there_is_no_memory_for_large_ones() {
    let place = narrow_place();
    let server = place.serve();
    let _holder = hold_memory(&server);
    let content = pattern(3, 1 << 20);
    let half = content.len() / 2;
    let begin = |number: usize| {
        let mut peer = Peer::login(server.address, "ann");
        let id = peer.request(&put(&format!("/{number}"), content.len() as u64, PutMode::Create));
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Data, id, &content);
        peer.send(&bytes[..half]);
        (peer, id, bytes)
    };
    // The first ones hold what there is until they are done.
    let mut uploads: Vec<_> = (0..12).map(begin).collect();
    for (peer, id, bytes) in uploads.iter_mut().rev() {
        peer.send(&bytes[half..]);
        let mut end = Vec::new();
        frame::put_json(
            &mut end,
            FrameType::End,
            *id,
            &End { size: content.len() as u64, digest: Digest::of(&content) },
        );
        peer.send(&end);
        let reply = peer.reply();
        assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    }
}

fn a_request_that_fits_no_small_buffer_waits_for_a_large_one() {
    let place = narrow_place();
    let server = place.serve();
    // Whatever the listing leaves is taken by uploads that do not go on.
    let holder = hold_memory(&server);
    let mut uploads: Vec<Peer> = (0..12).map(|_| Peer::login(server.address, "ann")).collect();
    for (number, upload) in uploads.iter_mut().enumerate() {
        let id = upload.request(&put(&format!("/{number}"), 1 << 20, PutMode::Create));
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Data, id, &pattern(4, 1 << 20));
        upload.send(&bytes[..300_000]);
    }
    wait_until_calm(&server);
    let mut peer = Peer::login(server.address, "ann");
    let long = |letter: &str| Name(vec![letter.as_bytes()[0]; 4000]);
    let (_, mut request) = peer.encode(&Request::Mv { from: long("\u{1}"), to: long("\u{2}"), replace: false });
    assert!(request.len() > 16 * 1024);
    peer.send(&request);
    request.clear();
    assert!(!peer.has_answer());
    drop((holder, uploads));
    assert!(matches!(peer.reply(), Reply::Error(_)));
    assert!(matches!(peer.ask(&Request::Quota {}), Reply::Quota(_)));
}

fn sessions_of_one_account_that_stop_amid_uploads_hold_a_share_of_the_memory() {
    raise_descriptors();
    let place = Place::with(json!({"timeouts": {"stall": DEADLINES}}));
    place.add("ann", &[]);
    let server = place.serve();
    let before = server.program.resident_kib();
    let piece = pattern(5, 300_000);
    let mut uploads: Vec<Peer> = (0..600).map(|_| Peer::login(server.address, "ann")).collect();
    for (number, upload) in uploads.iter_mut().enumerate() {
        let id = upload.request(&put(&format!("/{number}"), 1 << 20, PutMode::Create));
        let mut bytes = frame::header(FrameType::Data, id, 1 << 20).to_vec();
        bytes.extend_from_slice(&piece);
        upload.send(&bytes);
    }
    wait_until_calm(&server);
    let grown = server.program.resident_kib() - before;
    eprintln!("600 uploads that stopped: {grown} KiB");
    assert!(grown <= 64 * 1024, "{grown} KiB");
}

fn small_buffers_of_an_account_leave_less_room_for_its_own_listings_and_as_much_for_others() {
    const NAMES: usize = 6_000;
    raise_descriptors();
    let limits = json!({"strangers": 10, "memory": "9M", "sessions_per_account": 1000, "sessions_per_address": 1000});
    let place = Place::with(json!({"limits": limits, "timeouts": {"stall": DEADLINES, "idle": DEADLINES}}));
    for account in ["ann", "bob"] {
        place.add(account, &[]);
        fill(&place, account, "large", NAMES);
    }
    let server = place.serve();
    let mut ann = Peer::login(server.address, "ann");
    assert_eq!(listed(&mut ann, "/large"), NAMES);

    // A request that is not whole takes a buffer of 8 KiB, and nobody can do without that.
    let mut half = frame::header(FrameType::Control, 1, 8000).to_vec();
    half.resize(4000, b' ');
    let mut asking: Vec<Peer> = (0..500).map(|_| Peer::login(server.address, "ann")).collect();
    asking.iter_mut().for_each(|peer| peer.send(&half));
    wait_until_calm(&server);
    ann.request(&list("/large"));
    let error = entries(&mut ann).expect_err("no room");
    assert!(error.code == ErrorCode::Busy && error.retry, "{error:?}");
    assert_eq!(listed(&mut Peer::login(server.address, "bob"), "/large"), NAMES, "another account");

    drop(asking);
    assert_eq!(listed(&mut ann, "/large"), NAMES, "they have gone");
}
