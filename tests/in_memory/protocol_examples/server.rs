//! A server in memory, driven as `net::connection` drives it, but with neither socket nor thread.

use berth::account::{Account, AccountName, Accounts};
use berth::auth::scram::{Binding, ClientExchange, Verifier};
use berth::base::buffers::{Budget, IoBuffers, Piece};
use berth::base::limits::{INPUT_BYTES, TURN_BUDGET};
use berth::config::{Config, SyncPolicy};
use berth::protocol::native::Native;
use berth::protocol::{Protocol, Sockets};
use berth::session::{Phase, Policy, Service, Session};
use berth::store::Store;
use berth::store::syncer::Syncer;
use berth::wire::frame::{self, FrameType, HEADER_BYTES};
use berth::wire::message::VERSION;
use berth::wire::{Reply, Request};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

/// The user of the examples and its password.
pub(crate) const USER: &str = "user";
pub(crate) const PASSWORD: &str = "pencil";

/// What all sessions share. Uploads are not synced.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    service: Service,
    sessions: u64,
}

impl Server {
    /// A server with one account, whose home is empty.
    pub(crate) fn new(quota_bytes: u64) -> Self {
        // The examples show permission bits of what is uploaded.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let folder = tempfile::tempdir().expect("temporary folder");
        let config = Config::default_for(&folder.path().join("conf/berthd.json")).expect("defaults are valid");
        let accounts = Accounts::open(&config).expect("accounts");
        let name: AccountName = USER.parse().expect("account name");
        let account = Account {
            home: accounts.default_home(&name),
            name,
            verifier: Verifier::from_password(PASSWORD, 4096).expect("password"),
            quota_bytes: Some(quota_bytes),
            quota_files: None,
            read_only: false,
            locked: false,
        };
        accounts.add(&account).expect("account added");
        let policy = Policy { sync: SyncPolicy::None, ..Policy::from(&config) };
        let store = Store::new(config.home_roots, config.partial_expiry, Syncer::inline()).expect("store");
        Self { folder, service: Service::new(accounts, store, policy), sessions: 0 }
    }

    /// A path in the home.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("homes").join(USER).join(path)
    }

    /// What all sessions share.
    pub(crate) fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// Somebody who has connected.
    pub(crate) fn connect(&mut self) -> Peer {
        self.sessions += 1;
        let session = Session::new(self.sessions, SocketAddr::from(([127, 0, 0, 1], 4000)));
        Peer {
            protocol: Native::new(session, false),
            buffers: IoBuffers::roomy(),
            unread: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Somebody who has said hello and logged in.
    pub(crate) fn log_in(&mut self) -> Peer {
        let mut peer = self.connect();
        peer.request(1, &Request::Hello { versions: vec![VERSION], client: String::new() });
        let (exchange, message) = ClientExchange::new(USER, PASSWORD, Binding::None).expect("a valid user");
        peer.request(2, &Request::Auth { mechanism: Binding::None.mechanism().into(), message });
        peer.run(self);
        let Reply::Challenge { message } = peer.take_replies().remove(1).1 else { panic!("no challenge") };
        let (proved, message) = exchange.answer(&message).expect("a challenge");
        peer.request(3, &Request::AuthNext { message });
        peer.run(self);
        let Reply::Welcome { message } = peer.take_replies().remove(0).1 else { panic!("no welcome") };
        proved.verify(&message).expect("the server knows the account");
        peer
    }
}

/// A client's end of a connection.
pub(crate) struct Peer {
    protocol: Native,
    buffers: IoBuffers,
    /// Sent, and not yet in the server's input.
    unread: Vec<u8>,
    received: Vec<u8>,
}

impl Peer {
    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    pub(crate) fn request(&mut self, id: u32, request: &Request) {
        self.json(FrameType::Control, id, request);
    }

    pub(crate) fn control(&mut self, id: u32, body: &[u8]) {
        frame::put_bytes(&mut self.unread, FrameType::Control, id, body);
    }

    pub(crate) fn data(&mut self, id: u32, bytes: &[u8]) {
        frame::put_bytes(&mut self.unread, FrameType::Data, id, bytes);
    }

    pub(crate) fn json(&mut self, kind: FrameType, id: u32, message: &impl serde::Serialize) {
        frame::put_json(&mut self.unread, kind, id, message);
    }

    /// Takes one turn of the server. Returns whether anything changed.
    pub(crate) fn turn(&mut self, server: &mut Server) -> bool {
        let room = self.buffers.input.room(INPUT_BYTES);
        let count = room.len().min(self.unread.len());
        room[..count].copy_from_slice(&self.unread[..count]);
        self.buffers.input.commit(count);
        self.unread.drain(..count);
        let mut budget = Budget::new(TURN_BUDGET);
        let stepped =
            self.protocol.step(Sockets::single(&mut self.buffers), &mut server.service, &mut budget, Instant::now());
        let held = self.received.len();
        while let Some(Piece::Bytes(bytes)) = self.buffers.output.front() {
            let count = bytes.len();
            self.received.extend_from_slice(bytes);
            self.buffers.output.advance(count);
        }
        count > 0 || stepped || self.received.len() > held
    }

    /// Takes turns until nothing changes.
    pub(crate) fn run(&mut self, server: &mut Server) {
        while !self.is_closed() && self.turn(server) {}
    }

    /// Whether the server has said its last word.
    pub(crate) fn is_closed(&self) -> bool {
        self.protocol.is_closing()
    }

    /// Leaves without a word.
    pub(crate) fn hang_up(mut self) {
        self.protocol.hang_up(Instant::now());
    }

    /// What the server waits for.
    pub(crate) fn phase(&self) -> Phase {
        self.protocol.phase()
    }

    /// What was sent and has not arrived.
    pub(crate) fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// The server's end, to be driven otherwise.
    pub(crate) fn into_front(self) -> Box<dyn Protocol> {
        Box::new(self.protocol)
    }

    /// Everything received and not yet taken.
    pub(crate) fn received(&mut self) -> &mut Vec<u8> {
        &mut self.received
    }

    /// The replies received and not yet taken; nothing else may have come.
    pub(crate) fn take_replies(&mut self) -> Vec<(u32, Reply)> {
        let mut bytes = std::mem::take(&mut self.received);
        let mut replies = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
            let id = u32::from_be_bytes(bytes[4..8].try_into().expect("four bytes"));
            assert_eq!(bytes[8], FrameType::Control as u8, "no reply: {:?}", &bytes[..HEADER_BYTES]);
            let body = &bytes[HEADER_BYTES..HEADER_BYTES + length];
            replies.push((id, serde_json::from_slice(body).expect("a reply")));
            bytes.drain(..HEADER_BYTES + length);
        }
        replies
    }
}
