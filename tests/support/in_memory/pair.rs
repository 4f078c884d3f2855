//! A real connection over a socket pair, driven by the test as the loop drives it, without a clock.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::{Server, USER, keys};
use berth::auth::scram::{Binding, ClientExchange};
use berth::base::budget::FLUSH_BUDGET;
use berth::net::connection::{AfterTurn, Connection};
use berth::net::transport::Transport;
use berth::protocol::native::Native;
use berth::wire::frame::{self, CONTROL_BYTES_MAX, FrameType};
use berth::wire::message::VERSION;
use berth::wire::{Frame, Reply, Request};

/// A connection and the peer's end of its socket.
pub struct Pair {
    pub connection: Connection,
    pub peer: UnixStream,
    pub received: Vec<u8>,
    pub turns: usize,
    /// What a turn may send.
    pub flush_budget: usize,
    last_id: u32,
}

impl Pair {
    /// A client that has logged in to the account every server has.
    pub fn logged_in(server: &mut Server) -> Self {
        Self::logged_in_as(server, USER)
    }

    /// A client that has logged in to this account.
    pub fn logged_in_as(server: &mut Server, user: &str) -> Self {
        let mut pair = Self::unauthenticated(server);
        pair.log_in(server, user);
        pair
    }

    /// An unauthenticated client.
    pub fn unauthenticated(server: &mut Server) -> Self {
        let (ours, peer) = UnixStream::pair().expect("socket pair");
        ours.set_nonblocking(true).expect("non-blocking");
        peer.set_nonblocking(true).expect("non-blocking");
        let protocol = Box::new(Native::new(server.new_session(), true));
        let transport = Transport::local(mio::net::UnixStream::from_std(ours));
        let address = "127.0.0.1".parse().expect("address");
        let connection = Connection::new(transport, protocol, address, server.now);
        Self { connection, peer, received: vec![], turns: 0, flush_budget: FLUSH_BUDGET, last_id: 0 }
    }

    fn log_in(&mut self, server: &mut Server, user: &str) {
        let (exchange, message) = ClientExchange::new(user, keys(), Binding::None).expect("a user and a key");
        self.ask(server, &Request::Hello { versions: vec![VERSION], client: String::new() });
        let mechanism = Binding::None.mechanism().into();
        let Reply::Challenge { message } = self.ask(server, &Request::Auth { mechanism, message }) else {
            panic!("no challenge");
        };
        let (_, message) = exchange.answer(&message).expect("an honest server");
        assert!(matches!(self.ask(server, &Request::AuthNext { message }), Reply::Welcome { .. }));
    }

    /// Sends a request and takes one turn. Returns the reply.
    pub fn ask(&mut self, server: &mut Server, request: &Request) -> Reply {
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

    /// Takes the next reply of what was received. Returns the id of its request.
    pub fn take_reply(&mut self) -> Option<u32> {
        let (Frame::Control { id, .. }, size) = frame::decode(&self.received, CONTROL_BYTES_MAX).expect("frames")?
        else {
            panic!("not a reply");
        };
        self.received.drain(..size);
        Some(id)
    }

    /// The id of the last request.
    pub fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Sends a request under the next id.
    pub fn request(&mut self, request: &Request) {
        self.last_id += 1;
        let mut bytes = Vec::new();
        frame::put_json(&mut bytes, FrameType::Control, self.last_id, request);
        self.send(&bytes);
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).expect("a small message fits the socket");
    }

    /// Takes one turn, as after an event for reading and writing.
    pub fn turn(&mut self, server: &mut Server) -> AfterTurn {
        self.turns += 1;
        self.connection.mark(true, true);
        self.connection.turn(&mut server.service, self.flush_budget, server.now)
    }

    /// Receives what has arrived. Returns the number of bytes.
    pub fn receive(&mut self) -> usize {
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
    pub fn has_digest(&self) -> bool {
        let tail = &self.received[self.received.len().saturating_sub(200)..];
        tail.windows(9).any(|window| window == b"\"digest\":")
    }
}
