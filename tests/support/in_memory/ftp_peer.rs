//! An FTP session in memory: the real protocol, driven by the test instead of the loop, with the test as client on
//! both connections. Time stands still unless the server's clock moves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Instant;

use super::{PASSWORD, Server, USER};
use berth::base::budget::{Budget, TURN_BUDGET};
use berth::base::buffers::{INPUT_BYTES, IoBuffers, NextChunk};
use berth::config;
use berth::config::defaults::{DATA_CONNECTION_TIMEOUT_DEFAULT, DATA_PORTS};
use berth::protocol::data_connection::{DataConnection, DataEnd, DataFailure, Security};
use berth::protocol::ftp::{FTP_END_GRACE_MAX, Ftp};
use berth::protocol::{Protocol, ProtocolIo};
use berth::tls::Resumption;

/// See the module.
pub struct FtpPeer {
    pub protocol: Ftp,
    buffers: IoBuffers,
    pub data: Data,
    /// What came over data connections.
    pub received: Vec<u8>,
    /// It does not end its side of a data connection when the server has.
    pub stays: bool,
    /// The number of turns that it was given.
    pub turns: usize,
}

impl FtpPeer {
    /// A client that has logged in without encryption.
    pub fn log_in(server: &mut Server) -> Self {
        let settings = config::FtpConfig {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            plaintext: true,
            passive_ports: DATA_PORTS,
            data_timeout: DATA_CONNECTION_TIMEOUT_DEFAULT,
            public_address: None,
            is_active_allowed: false,
            requires_session_reuse: false,
            requires_close_notify: true,
            hashes_uploads: false,
        };
        let protocol = Ftp::new(server.new_session(), Rc::new(settings), IpAddr::from(Ipv4Addr::LOCALHOST), false);
        let mut peer = Self {
            protocol,
            buffers: IoBuffers::large_uncharged(),
            data: Data::default(),
            received: Vec::new(),
            stays: false,
            turns: 0,
        };
        assert!(peer.replies(server).starts_with("220 "));
        assert!(peer.ask(server, &format!("USER {USER}")).starts_with("331 "));
        assert!(peer.ask(server, &format!("PASS {PASSWORD}")).starts_with("230 "));
        peer
    }

    /// Sends a command. Returns the replies that need no data connection.
    pub fn ask(&mut self, server: &mut Server, command: &str) -> String {
        let line = format!("{command}\r\n");
        self.buffers.input.room(INPUT_BYTES)[..line.len()].copy_from_slice(line.as_bytes());
        self.buffers.input.commit(line.len());
        self.replies(server)
    }

    /// Sends EPSV and a command that needs a data connection, and does not connect yet.
    pub fn begin(&mut self, server: &mut Server, command: &str) -> String {
        assert!(self.ask(server, "EPSV").starts_with("229 "));
        self.ask(server, command)
    }

    /// Connects to where the server listens for data.
    pub fn connect(&mut self, server: &mut Server) -> String {
        self.data.stage = DataStage::Connected;
        self.replies(server)
    }

    /// Uploads. Returns the last reply.
    pub fn put(&mut self, server: &mut Server, command: &str, content: &[u8]) -> String {
        let begun = self.begin(server, command);
        if !begun.starts_with("150 ") {
            return begun;
        }
        self.connect(server);
        self.send(server, content);
        self.end(server)
    }

    /// Downloads or lists. Returns the bytes received.
    pub fn get(&mut self, server: &mut Server, command: &str) -> Vec<u8> {
        let begun = self.begin(server, command);
        assert!(begun.starts_with("150 "), "{command}: {begun}");
        let ended = self.connect(server);
        assert!(ended.starts_with("226 "), "{command}: {ended}");
        std::mem::take(&mut self.received)
    }

    /// Sends data. The server takes all of it.
    pub fn send(&mut self, server: &mut Server, content: &[u8]) {
        for piece in content.chunks(INPUT_BYTES / 2) {
            let input = &mut self.data.buffers.input;
            input.room(INPUT_BYTES)[..piece.len()].copy_from_slice(piece);
            input.commit(piece.len());
            assert_eq!(self.replies(server), "");
        }
    }

    /// Ends the data and waits for the grace period. Returns the replies.
    pub fn end(&mut self, server: &mut Server) -> String {
        let said = self.end_data(server);
        server.advance(FTP_END_GRACE_MAX);
        said + &self.replies(server)
    }

    /// Ends the data. Returns the replies before the grace period.
    pub fn end_data(&mut self, server: &mut Server) -> String {
        self.data.buffers.eof = true;
        self.replies(server)
    }

    /// Ends the control connection. Returns the last replies.
    pub fn hang_up(&mut self, server: &mut Server) -> String {
        self.buffers.eof = true;
        self.replies(server)
    }

    /// Takes turns until nothing changes. Returns the replies.
    pub fn replies(&mut self, server: &mut Server) -> String {
        while self.step(server) | self.drain_data() {}
        String::from_utf8(drained(&mut self.buffers)).expect("UTF-8")
    }

    fn step(&mut self, server: &mut Server) -> bool {
        let mut budget = Budget::new(TURN_BUDGET);
        self.turns += 1;
        let io = ProtocolIo { buffers: &mut self.buffers, data: Some(&mut self.data) };
        self.protocol.step(io, &mut server.service, &mut budget, server.now)
            // An upload that has ended is looked at once more, as the loop does at its time.
            || self.protocol.status().wakes_at.is_some_and(|at| at <= server.now && !self.protocol.status().awaits_data_connection)
    }

    fn drain_data(&mut self) -> bool {
        let data = drained(&mut self.data.buffers);
        self.received.extend(&data);
        let is_finished = std::mem::take(&mut self.data.is_finishing);
        if is_finished {
            self.data.stage = if self.stays { DataStage::Sent } else { DataStage::PeerClosed };
        }
        is_finished || (self.data.stage == DataStage::Open && !data.is_empty())
    }
}

/// How far a data connection without a socket is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum DataStage {
    #[default]
    Closed,
    Listening,
    Connected,
    Open,
    Sent,
    PeerClosed,
}

/// A data connection without a socket.
#[derive(Default)]
pub struct Data {
    buffers: IoBuffers,
    pub stage: DataStage,
    /// When the client's end came, if that was noticed before it was read.
    pub ended_at: Option<Instant>,
    is_finishing: bool,
}

impl DataConnection for Data {
    fn listen(&mut self, _ports: RangeInclusive<u16>, _expects_resumption: bool) -> Result<SocketAddr, DataFailure> {
        *self = Self { stage: DataStage::Listening, ..Self::default() };
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)))
    }

    fn set_address(&mut self, _address: SocketAddr) {
        panic!("the server connects to nobody here");
    }

    fn is_available(&self) -> bool {
        matches!(self.stage, DataStage::Listening | DataStage::Connected)
    }

    fn connect(&mut self) -> bool {
        false
    }

    fn open(&mut self, _security: Security) -> Result<bool, DataFailure> {
        let is_connected = self.stage == DataStage::Connected;
        if is_connected {
            self.stage = DataStage::Open;
        }
        Ok(is_connected)
    }

    fn check(&self) -> Result<(), DataFailure> {
        Ok(())
    }

    fn finish(&mut self) -> DataEnd {
        match self.stage {
            DataStage::Sent => DataEnd::Sent,
            DataStage::PeerClosed => DataEnd::PeerClosed,
            _ => {
                self.is_finishing = true;
                DataEnd::Sending
            }
        }
    }

    fn close(&mut self) {
        *self = Self::default();
    }

    fn reset(&mut self) {
        self.close();
    }

    fn discard(&mut self) -> bool {
        self.close();
        true
    }

    fn is_closed(&self) -> bool {
        matches!(self.stage, DataStage::Closed | DataStage::PeerClosed)
    }

    fn buffers(&self) -> &IoBuffers {
        &self.buffers
    }

    fn buffers_mut(&mut self) -> &mut IoBuffers {
        &mut self.buffers
    }

    fn ended_at(&self) -> Option<Instant> {
        self.ended_at
    }

    fn resumption(&self) -> Option<Resumption> {
        None
    }

    fn shows_reuse(&self) -> bool {
        false
    }
}

/// All that goes, from files as from memory.
fn drained(buffers: &mut IoBuffers) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = buffers.output.front() {
        let piece = match piece {
            NextChunk::Bytes(bytes) => bytes.to_vec(),
            NextChunk::Range(range) => {
                let mut bytes = vec![0; usize::try_from(range.length).expect("it fits")];
                let count = rustix::io::pread(&range.file, &mut bytes[..], range.offset).expect("readable");
                assert_eq!(count, bytes.len(), "as long as it was");
                bytes
            }
        };
        buffers.output.advance(piece.len());
        all.extend(piece);
    }
    all
}
