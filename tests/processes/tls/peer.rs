//! A minimal client and a minimal server over blocking sockets and TLS.

use std::net::{SocketAddr, TcpStream};

use crate::support::{PASSWORD, PATIENCE};
use berth::auth::scram::{Binding, ClientExchange};
use berth::tls::{Pinning, ReceiveResult, TlsSession};
use berth::wire::frame::{self, Frame, FrameType};
use berth::wire::message::VERSION;
use berth::wire::{Reply, Request};

/// One end of a TLS connection over a blocking socket.
pub(crate) struct TlsPeer {
    pub(crate) stream: TcpStream,
    pub(crate) tls: TlsSession,
    input: Vec<u8>,
    next_id: u32,
}

impl TlsPeer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let config = Pinning::new(None).client_config().expect("a configuration");
        let stream = TcpStream::connect(address).expect("the server listens");
        Self::over(stream, TlsSession::client(config).expect("a configuration"))
    }

    pub(crate) fn over(stream: TcpStream, tls: TlsSession) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        stream.set_write_timeout(Some(PATIENCE)).expect("a positive time");
        let mut peer = Self { stream, tls, input: Vec::new(), next_id: 1 };
        while peer.tls.is_handshaking() || peer.tls.wants_flush() {
            peer.tls.flush(&mut peer.stream).expect("the peer reads");
            if peer.tls.is_handshaking() {
                let mut room = [0; 4096];
                match peer.tls.receive(&mut peer.stream, &mut room).expect("a handshake") {
                    ReceiveResult::Bytes(count) => peer.input.extend_from_slice(&room[..count]),
                    ReceiveResult::Progress(_) => {}
                    ReceiveResult::End => panic!("an end within the handshake"),
                }
            }
        }
        peer
    }

    pub(crate) fn login(address: SocketAddr) -> Self {
        let mut peer = Self::connect(address);
        let binding = peer.tls.binding().expect("agreed");
        peer.greet();
        let reply = peer.prove(binding, binding.mechanism());
        assert!(matches!(reply, Reply::Welcome { .. }), "{reply:?}");
        peer
    }

    pub(crate) fn greet(&mut self) -> Reply {
        self.ask(&Request::Hello { versions: vec![VERSION], client: "test".into() })
    }

    pub(crate) fn prove(&mut self, binding: Binding, mechanism: &str) -> Reply {
        let (exchange, message) = ClientExchange::new("ann", PASSWORD, binding).expect("a user name");
        let reply = self.ask(&Request::Auth { mechanism: mechanism.into(), message });
        let Reply::Challenge { message } = reply else { return reply };
        let (_, message) = exchange.answer(&message).expect("a challenge");
        self.ask(&Request::AuthNext { message })
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        let mut bytes = Vec::new();
        frame::put_json(&mut bytes, FrameType::Control, self.next_id, request);
        self.next_id += 1;
        self.write(&bytes);
        loop {
            if let Some((Frame::Control { body, .. }, used)) = frame::decode(&self.input, 65_536).expect("a frame") {
                let reply = serde_json::from_slice(body).expect("a reply");
                self.input.drain(..used);
                return reply;
            }
            let bytes = self.read_some().expect("an answer");
            self.input.extend_from_slice(&bytes);
        }
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.tls.encrypt(bytes).expect("open");
            bytes = &bytes[count..];
            self.tls.flush(&mut self.stream).expect("the peer reads");
        }
    }

    /// What came with the end of the handshake, or else the next that comes.
    pub(crate) fn read_next(&mut self) -> Option<Vec<u8>> {
        if self.input.is_empty() { self.read_some() } else { Some(std::mem::take(&mut self.input)) }
    }

    pub(crate) fn read_some(&mut self) -> Option<Vec<u8>> {
        let mut room = vec![0; 65_536];
        loop {
            match self.tls.receive(&mut self.stream, &mut room) {
                Ok(ReceiveResult::Bytes(count)) => {
                    room.truncate(count);
                    return Some(room);
                }
                Ok(ReceiveResult::Progress(_)) => {}
                Ok(ReceiveResult::End) | Err(_) => return None,
            }
        }
    }
}
