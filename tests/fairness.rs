//! Fairness counted in turns: real connections over socket pairs, driven round robin as the loop
//! drives them, without a clock.

mod support;

use berth::front::Front;
use berth::front::native::Native;
use berth::limits::{CONTROL_BYTES_MAX, FLUSH_BUDGET};
use berth::net::connection::{Connection, Turn};
use berth::net::transport::Transport;
use berth::scram::{Binding, ClientExchange};
use berth::session::Session;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::VERSION;
use berth::wire::{Frame, Reply, Request};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use support::*;

/// A connection and the peer's end of its socket.
struct Pair {
    connection: Connection,
    peer: UnixStream,
    received: Vec<u8>,
    turns: usize,
    last_id: u32,
}

impl Pair {
    fn logged_in(server: &mut Server) -> Self {
        let (ours, peer) = UnixStream::pair().expect("socket pair");
        ours.set_nonblocking(true).expect("non-blocking");
        peer.set_nonblocking(true).expect("non-blocking");
        let session = Session::new(1, "127.0.0.1:1".parse().expect("address"));
        let front = Front::Native(Box::new(Native::new(session, false)));
        let transport = Transport::local(mio::net::UnixStream::from_std(ours));
        let address = "127.0.0.1".parse().expect("address");
        let connection = Connection::new(transport, front, address, server.now);
        let mut pair = Self { connection, peer, received: vec![], turns: 0, last_id: 0 };
        pair.log_in(server);
        pair
    }

    fn log_in(&mut self, server: &mut Server) {
        let (exchange, message) = ClientExchange::new(USER, keys(), Binding::None).expect("a user and a key");
        self.ask(server, &Request::Hello { versions: vec![VERSION], client: String::new() });
        let mechanism = Binding::None.mechanism().into();
        let Reply::Challenge { message } = self.ask(server, &Request::Auth { mechanism, message }) else {
            panic!("no challenge");
        };
        let (_, message) = exchange.answer(&message).expect("an honest server");
        assert!(matches!(self.ask(server, &Request::AuthNext { message }), Reply::Welcome { .. }));
    }

    fn ask(&mut self, server: &mut Server, request: &Request) -> Reply {
        self.request(request);
        self.turn(server);
        self.receive();
        let Ok(Some((Frame::Control { body, .. }, size))) = frame::decode(&self.received, CONTROL_BYTES_MAX) else {
            panic!("no reply");
        };
        let reply = serde_json::from_slice(body).expect("a reply");
        assert_eq!(size, self.received.len());
        self.received.clear();
        reply
    }

    fn request(&mut self, request: &Request) {
        self.last_id += 1;
        let mut bytes = Vec::new();
        frame::put_json(&mut bytes, FrameType::Control, self.last_id, request);
        self.send(&bytes);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).expect("a small message fits the socket");
    }

    /// One turn, as after an event that says both.
    fn turn(&mut self, server: &mut Server) -> Turn {
        self.turns += 1;
        self.connection.mark(true, true);
        self.connection.turn(&mut server.service, server.now)
    }

    /// Takes what has arrived; how much.
    fn receive(&mut self) -> usize {
        let mut piece = vec![0; 4 << 20];
        match self.peer.read(&mut piece) {
            Ok(count) => {
                self.received.extend_from_slice(&piece[..count]);
                count
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether a download has come to its end frame.
    fn has_digest(&self) -> bool {
        let tail = &self.received[self.received.len().saturating_sub(200)..];
        tail.windows(9).any(|window| window == b"\"sha256\":")
    }
}

#[test]
fn a_small_command_waits_one_round_behind_eight_greedy_downloads() {
    let mut server = Server::new();
    write(&server.at("large"), &content(1, 16 * MIB));
    let mut greedy: Vec<Pair> = (0..8).map(|_| Pair::logged_in(&mut server)).collect();
    for pair in &mut greedy {
        pair.request(&get("/large"));
    }
    let mut modest = Pair::logged_in(&mut server);
    for round in 0..20 {
        for pair in &mut greedy {
            assert_eq!(pair.turn(&mut server), Turn::Again, "a download always has more to send");
            let moved = pair.receive();
            assert!(moved <= FLUSH_BUDGET, "a turn moved {moved} bytes");
        }
        assert!(matches!(modest.ask(&mut server, &Request::Quota {}), Reply::Quota(_)), "round {round}");
    }
}

#[test]
fn greedy_downloads_advance_alike() {
    let mut server = Server::new();
    write(&server.at("large"), &content(2, 8 * MIB));
    let mut pairs: Vec<Pair> = (0..10).map(|_| Pair::logged_in(&mut server)).collect();
    for pair in &mut pairs {
        pair.turns = 0;
        pair.request(&get("/large"));
    }
    let mut ended_after = Vec::new();
    let mut rounds = 0;
    while ended_after.len() < pairs.len() {
        rounds += 1;
        assert!(rounds < 10_000, "the downloads never end");
        for pair in &mut pairs {
            if pair.has_digest() {
                continue;
            }
            pair.turn(&mut server);
            pair.receive();
            if pair.has_digest() {
                ended_after.push(pair.turns);
            }
        }
    }
    let (fewest, most) = (ended_after.iter().min().copied(), ended_after.iter().max().copied());
    assert!(most <= fewest.map(|turns| turns + 1), "{ended_after:?}");
}

#[test]
fn a_stranger_who_floods_with_pings_gets_one_turn_a_round_like_anybody() {
    let mut server = Server::new();
    let mut modest = Pair::logged_in(&mut server);
    let mut flood = Pair::logged_in(&mut server);
    let mut pings = Vec::new();
    for _ in 0..2000 {
        frame::put_bytes(&mut pings, FrameType::Ping, 0, b"still there?");
    }
    flood.send(&pings);
    flood.turn(&mut server);
    assert!(flood.receive() < pings.len(), "one turn answered everything");
    assert!(matches!(modest.ask(&mut server, &Request::Quota {}), Reply::Quota(_)));
}
