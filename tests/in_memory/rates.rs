//! Rate limits of requests and bytes, over socket pairs and with a clock that moves to the next deadline when
//! nobody has work, so that the measured times are exact.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use crate::support::in_memory::pair::Pair;
use crate::support::in_memory::*;
use crate::support::requests::Put;
use berth::base::digest::Digest;
use berth::base::token_bucket::Directions;
use berth::base::upload_id::UploadId;
use berth::config::{Rates, Timeouts};
use berth::net::RATE_STEPS_PER_SECOND;
use berth::net::connection::{AfterTurn, LINGER};
use berth::session::SessionError;
use berth::wire::Request;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{End, PutMode};

const RATE: u64 = MIB as u64;
/// What is fetched or sent: the first second's worth goes at once, the rest takes three seconds.
const SIZE: usize = 4 * MIB;

const TIMEOUTS: Timeouts = Timeouts {
    login: Duration::from_secs(1),
    idle: Duration::from_secs(1),
    stall: Duration::from_secs(1),
    drain: Duration::from_secs(1),
    storage: Duration::from_secs(1),
};

fn per_session() -> Rates {
    Rates { session: Directions { up: rate(RATE, RATE), down: rate(RATE, RATE) }, ..Rates::default() }
}

fn per_account() -> Rates {
    Rates { account: Directions { up: rate(RATE, RATE), down: rate(RATE, RATE) }, ..Rates::default() }
}

/// A peer that reads all bytes, and sends the rest of `unsent`.
struct Client {
    pair: Pair,
    unsent: Vec<u8>,
    /// When it was done, since the beginning.
    ended: Option<Duration>,
    sleeps: usize,
}

impl Client {
    fn new(pair: Pair) -> Self {
        Self { pair, unsent: Vec::new(), ended: None, sleeps: 0 }
    }

    /// Sends what the socket takes. Returns whether it took any.
    fn send(&mut self) -> bool {
        match self.pair.peer.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        true
    }

    /// Takes one turn. Returns whether anything happened.
    fn turn(&mut self, server: &mut Server) -> bool {
        let sent = !self.unsent.is_empty() && self.send();
        let turn = self.pair.turn(server);
        let received = self.pair.receive() > 0;
        sent || received || turn == AfterTurn::Again
    }

    /// Takes turns until nothing changes.
    fn run(&mut self, server: &mut Server) {
        while self.turn(server) {}
        self.sleeps += 1;
    }
}

/// Takes turns until all downloads have a digest. Returns how long each of them took.
fn run(server: &mut Server, clients: &mut [Client], mut check: impl FnMut(&[Client], Duration)) -> Vec<Duration> {
    let began = server.now;
    while clients.iter().any(|client| client.ended.is_none()) {
        while clients.iter_mut().fold(false, |moved, client| moved | client.turn(server)) {}
        for client in clients.iter_mut().filter(|client| client.ended.is_none()) {
            client.sleeps += 1;
            client.ended = client.pair.has_digest().then(|| server.now - began);
        }
        check(clients, server.now - began);
        let running = clients.iter().filter(|client| client.ended.is_none());
        let Some(next) = running.filter_map(|client| client.pair.connection.deadline(&TIMEOUTS)).min() else { break };
        assert!(next > server.now, "somebody wants a turn and sleeps");
        server.now = next;
        for client in clients.iter().filter(|client| client.ended.is_none()) {
            assert!(!client.pair.connection.is_overdue(&TIMEOUTS, server.now), "held back, and blamed for it");
        }
    }
    clients.iter().map(|client| client.ended.expect("it ended")).collect()
}

#[track_caller]
fn assert_about(took: Duration, seconds: f64) {
    assert!((took.as_secs_f64() - seconds).abs() < 0.15, "{took:?}, not {seconds} s");
}

/// A file whose digest is known, so that it is sent from the file.
fn known_file(server: &mut Server, name: &str) {
    let content = content(1, SIZE);
    write(&server.at(name), &content);
    let path = vpath(&format!("/{name}"));
    let meta = server.capability().stat(&path).expect("there");
    server.service.store.digests.insert(meta.identity, Digest::of(&content), i64::MAX);
}

#[test]
fn a_download_is_held_to_its_rate_whether_it_is_hashed_or_sent_from_the_file() {
    let mut server = Server::new();
    known_file(&mut server, "known");
    write(&server.at("unknown"), &content(1, SIZE));
    server.set_rates(per_session());
    for path in ["/unknown", "/known"] {
        let mut client = Client::new(Pair::logged_in(&mut server));
        client.pair.request(&get(path));
        let mut clients = [client];
        let took = run(&mut server, &mut clients, |clients, elapsed| {
            let most = RATE as f64 * (1.0 + elapsed.as_secs_f64() + 1.0 / RATE_STEPS_PER_SECOND as f64);
            assert!((clients[0].pair.received.len() as f64) <= most + 1000.0, "{path}: too much after {elapsed:?}");
        });
        assert_about(took[0], 3.0);
        // A step is shorter at the end of a frame.
        let most = 3 * RATE_STEPS_PER_SECOND as usize + 10;
        assert!(clients[0].sleeps <= most, "{path}: it woke up {} times", clients[0].sleeps);
        server.advance(Duration::from_secs(10));
    }
}

fn begin_upload(client: &mut Client, path: &str, size: usize) {
    let content = content(2, size);
    client.pair.request(&put(path, Some(size as u64)));
    let id = client.pair.last_id();
    for piece in content.chunks(MIB) {
        frame::put_bytes(&mut client.unsent, FrameType::Data, id, piece);
    }
    let end = End { size: size as u64, digest: Digest::of(&content) };
    frame::put_json(&mut client.unsent, FrameType::End, id, &end);
}

#[test]
fn an_upload_is_held_to_its_rate_and_arrives_whole() {
    let mut server = Server::new();
    server.set_rates(per_session());
    let mut clients = [Client::new(Pair::logged_in(&mut server))];
    begin_upload(&mut clients[0], "/up", SIZE);
    let took = run(&mut server, &mut clients, |_, _| {});
    assert_about(took[0], 3.0);
    assert!(std::fs::read(server.at("up")).expect("stored") == content(2, SIZE));
}

#[test]
fn the_sessions_of_an_account_share_its_rate_and_others_do_not_notice() {
    let mut server = Server::new();
    server.add_account("bob", Rights::default());
    server.set_rates(per_account());
    let mut clients: Vec<Client> =
        ["alice", "alice", "bob"].map(|user| Client::new(Pair::logged_in_as(&mut server, user))).into();
    for (index, client) in clients.iter_mut().enumerate() {
        begin_upload(client, &format!("/{index}"), SIZE);
    }
    let took = run(&mut server, &mut clients, |_, _| {});
    assert_about(took[0], 7.0);
    assert_about(took[1], 7.0);
    assert_about(took[2], 3.0);
}

#[test]
fn connecting_again_and_again_is_no_way_round_the_rate_of_an_account() {
    let mut server = Server::new();
    // A whole frame of it waits to be sent from the file.
    known_file(&mut server, "large");
    server.set_rates(per_account());
    let (began, mut received) = (server.now, 0);
    for _ in 0..200 {
        // It leaves as soon as nothing more comes, after a word that ends the session.
        let mut client = Client::new(Pair::logged_in(&mut server));
        client.pair.request(&get("/large"));
        client.run(&mut server);
        client.unsent = vec![0xff; 12];
        client.run(&mut server);
        received += client.pair.received.len() as u64;
        server.advance(Duration::from_millis(10));
    }
    let most = RATE as f64 * (1.2 + (server.now - began).as_secs_f64());
    assert!(received as f64 <= most, "{received} bytes, not {most}");
}

#[test]
fn waiting_longer_for_the_rate_than_the_stall_timeout_is_no_stall() {
    let mut server = Server::new();
    write(&server.at("small"), &content(1, 20_000));
    let slow = rate(1024, 1024);
    server.set_rates(Rates { session: Directions { up: slow, down: slow }, ..Rates::default() });
    let mut clients = [Client::new(Pair::logged_in(&mut server)), Client::new(Pair::logged_in(&mut server))];
    clients[0].pair.request(&get("/small"));
    begin_upload(&mut clients[1], "/up", 20_000);
    let took = run(&mut server, &mut clients, |_, _| {});
    assert!(took.iter().all(|took| took.as_secs() > 10), "{took:?}");
}

#[test]
fn requests_beyond_the_rate_wait_and_none_is_lost() {
    let mut server = Server::new();
    let mut client = Client::new(Pair::logged_in(&mut server));
    server.set_rates(Rates { requests: rate(10, 5), ..Rates::default() });
    for _ in 0..30 {
        client.pair.request(&Request::Quota {});
    }
    let began = server.now;
    let mut answered = Vec::new();
    loop {
        client.run(&mut server);
        while let Some(id) = client.pair.take_reply() {
            answered.push((id, server.now - began));
        }
        if answered.len() == 30 {
            break;
        }
        let connection = &client.pair.connection;
        server.now = connection.deadline(&TIMEOUTS).expect("there is more to do");
        assert!(!connection.is_overdue(&TIMEOUTS, server.now), "it waits for the server, not the other way round");
    }
    let first = answered[0].0;
    for (index, (id, at)) in answered.iter().enumerate() {
        assert_eq!(*id as usize, first as usize + index, "answers come in order");
        assert_eq!(at.as_millis(), 100 * index.saturating_sub(4) as u128);
    }
    assert!(client.sleeps <= 27, "it woke up {} times", client.sleeps);
}

#[test]
fn removing_a_rate_limit_takes_effect_at_the_next_turn() {
    let mut server = Server::new();
    write(&server.at("large"), &content(1, SIZE));
    server.set_rates(per_session());
    let mut client = Client::new(Pair::logged_in(&mut server));
    client.pair.request(&get("/large"));
    client.run(&mut server);
    assert!(!client.pair.has_digest());
    server.set_rates(Rates::default());
    client.run(&mut server);
    assert!(client.pair.has_digest());
}

#[test]
fn the_stall_timeout_applies_even_with_rate_limits() {
    let mut server = Server::new();
    write(&server.at("large"), &content(1, SIZE));
    server.set_rates(per_session());
    let mut pair = Pair::logged_in(&mut server);
    pair.request(&get("/large"));
    for _ in 0..100 {
        if pair.turn(&mut server) == AfterTurn::Sleep {
            server.now = pair.connection.deadline(&TIMEOUTS).expect("it waits for the peer");
            if pair.connection.is_overdue(&TIMEOUTS, server.now) {
                return;
            }
        }
    }
    panic!("it waits for ever");
}

#[test]
fn a_session_that_ends_while_it_is_held_back_is_closed_without_spinning() {
    let mut server = Server::new();
    write(&server.at("large"), &content(1, SIZE));
    // A piece, and then more than a minute of waiting.
    server.set_rates(Rates { session: Directions { up: None, down: rate(1024, 1024) }, ..Rates::default() });
    let mut pair = Pair::logged_in(&mut server);
    pair.request(&get("/large"));
    while pair.turn(&mut server) == AfterTurn::Again {
        pair.receive();
    }
    let ends = server.now;
    pair.connection.fail(SessionError::ShuttingDown, server.now);
    let mut turns = 0;
    while turns < 100 {
        turns += 1;
        match pair.turn(&mut server) {
            AfterTurn::Again => {}
            AfterTurn::Sleep => server.now = pair.connection.deadline(&TIMEOUTS).expect("an end"),
            AfterTurn::Close => break,
        }
        pair.receive();
    }
    assert!(turns < 10 && server.now <= ends + LINGER, "{turns} turns, {:?}", server.now - ends);
}

// ---- Stalls -------------------------------------------------------------------------------

/// Lets everything happen that can, and takes no byte that comes.
fn run_unread(pair: &mut Pair, server: &mut Server) {
    while pair.turn(server) == AfterTurn::Again {}
}

fn ping() -> Vec<u8> {
    let mut ping = Vec::new();
    frame::put_bytes(&mut ping, FrameType::Ping, 0, b"there");
    ping
}

/// The first four bytes of an upload, in a frame of this length.
fn begin_slowly(server: &mut Server, path: &str, frame_bytes: usize) -> Pair {
    let mut pair = Pair::logged_in(server);
    pair.request(&put(path, None));
    pair.send(&frame::header(FrameType::Data, pair.last_id(), frame_bytes));
    pair.send(b"some");
    run_unread(&mut pair, server);
    pair
}

#[test]
fn pings_do_not_postpone_the_end_of_a_transfer_whose_peer_does_nothing_for_it() {
    let mut server = Server::new();
    write(&server.at("large"), &content(1, 8 * MIB));
    for is_upload in [true, false] {
        let mut pair = if is_upload { begin_slowly(&mut server, "/up", 4) } else { Pair::logged_in(&mut server) };
        if !is_upload {
            pair.request(&get("/large"));
            run_unread(&mut pair, &mut server);
        }
        for is_late in [false, false, true] {
            assert_eq!(pair.connection.is_overdue(&TIMEOUTS, server.now), is_late);
            pair.send(&ping());
            // Nor do the answers, where they can be read.
            run_unread(&mut pair, &mut server);
            server.advance(TIMEOUTS.stall / 2);
        }
    }
}

/// Reading and hashing what the server holds takes the client its time, in which it has nothing to send.
#[test]
fn a_client_that_compares_a_prefix_is_waited_for_while_it_pings_and_not_for_ever() {
    let mut server = Server::new();
    let upload_id = UploadId::random().expect("random");
    let put = |resume| {
        Put {
            path: "/up".into(),
            size: Some(64 * MIB as u64),
            mode: PutMode::Replace,
            upload_id: Some(upload_id),
            resume,
            ..Put::default()
        }
        .request()
    };
    let mut cut = Client::new(Pair::logged_in(&mut server));
    cut.pair.request(&put(false));
    for piece in content(1, 32 * MIB).chunks(MIB) {
        frame::put_bytes(&mut cut.unsent, FrameType::Data, cut.pair.last_id(), piece);
    }
    while !cut.unsent.is_empty() {
        cut.run(&mut server);
    }
    drop(cut);
    let mut pair = Pair::logged_in(&mut server);
    pair.request(&put(true));
    run_unread(&mut pair, &mut server);
    // Four seconds for 32 MiB.
    for half_seconds in 0..12 {
        let is_late = pair.connection.is_overdue(&TIMEOUTS, server.now);
        assert_eq!(is_late, half_seconds >= 9, "after {half_seconds} half seconds");
        pair.send(&ping());
        run_unread(&mut pair, &mut server);
        server.advance(TIMEOUTS.stall / 2);
    }
}

#[test]
fn a_transfer_that_is_slow_but_moves_is_never_late() {
    let mut server = Server::new();
    write(&server.at("large"), &content(1, 32 * MIB));
    let mut upload = begin_slowly(&mut server, "/up", 1000);
    let mut download = Pair::logged_in(&mut server);
    download.request(&get("/large"));
    run_unread(&mut download, &mut server);
    for _ in 0..20 {
        server.advance(TIMEOUTS.stall - Duration::from_millis(1));
        for pair in [&mut upload, &mut download] {
            assert!(!pair.connection.is_overdue(&TIMEOUTS, server.now));
        }
        upload.send(b"1");
        download.receive();
        for pair in [&mut upload, &mut download] {
            run_unread(pair, &mut server);
        }
    }
}
