//! Both ends of a TLS session against each other, over a socket in memory that transfers few bytes at a time.

use std::collections::VecDeque;

use super::*;
use crate::tls::{Pinning, ServerIdentity, server_config};

/// The maximum size of a record (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 1 << 14;

/// A socket whose peer is the test: it transfers at most `step` bytes at a time.
struct Wire {
    step: usize,
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    is_cut: bool,
}

impl Wire {
    fn new(step: usize) -> Self {
        Self { step, incoming: VecDeque::new(), outgoing: Vec::new(), is_cut: false }
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(room.len()).min(self.incoming.len());
        if count == 0 && !self.is_cut {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.incoming.read(&mut room[..count])
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.step.min(bytes.len());
        self.outgoing.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct End {
    tls: TlsSession,
    wire: Wire,
    received: Vec<u8>,
}

impl End {
    fn run(&mut self, room_bytes: usize) -> io::Result<bool> {
        self.tls.flush(&mut self.wire)?;
        loop {
            let mut room = vec![0; room_bytes];
            match self.tls.receive(&mut self.wire, &mut room) {
                Ok(ReceiveResult::Bytes(count)) => self.received.extend_from_slice(&room[..count]),
                Ok(ReceiveResult::Progress(_)) => {}
                Ok(ReceiveResult::End) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

fn pair(step: usize) -> (End, End) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = crate::config::Config::default_for(&directory.path().join("berthd.json")).expect("valid");
    let identity = ServerIdentity::establish(&config, 1_800_000_000).expect("made");
    let mut server = TlsSession::server(server_config(&identity).expect("usable")).expect("usable");
    server.allow_large_records();
    let pinning = Pinning::new(Some(identity.fingerprint));
    let client = TlsSession::client(pinning.client_config().expect("usable")).expect("usable");
    let end = |tls| End { tls, wire: Wire::new(step), received: Vec::new() };
    (end(client), end(server))
}

fn exchange(client: &mut End, server: &mut End) {
    let bytes = std::mem::take(&mut client.wire.outgoing);
    server.wire.incoming.extend(bytes);
    let bytes = std::mem::take(&mut server.wire.outgoing);
    client.wire.incoming.extend(bytes);
}

fn agreed(step: usize) -> (End, End) {
    let (mut client, mut server) = pair(step);
    for _ in 0..10 {
        client.run(100).expect("a handshake");
        server.run(100).expect("a handshake");
        exchange(&mut client, &mut server);
    }
    assert!(!client.tls.is_handshaking() && !server.tls.is_handshaking());
    let bindings = (client.tls.binding().expect("agreed"), server.tls.binding().expect("agreed"));
    assert!(bindings.0 == bindings.1, "both sides tie a login to the same");
    (client, server)
}

#[test]
fn every_byte_arrives_however_little_is_read_at_a_time() {
    let content: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
    for (step, room) in [(1, 64), (2, 65_536), (7, 3), (1000, 1), (20_000, 8192), (usize::MAX, 65_536)] {
        let (mut client, mut server) = agreed(step);
        let mut left = &content[..];
        while !left.is_empty() {
            let count = client.tls.encrypt(left).expect("open");
            assert!(count > 0, "all was flushed before");
            left = &left[count..];
            assert!(client.tls.flush(&mut client.wire).expect("memory takes all"));
            exchange(&mut client, &mut server);
            assert!(!server.run(room).expect("whole"));
            assert!(!server.tls.holds_input(), "nothing is left that no event announces");
        }
        assert!(server.received == content, "{step} {room}");
        assert!(client.tls.close(&mut client.wire).expect("memory takes all"));
        exchange(&mut client, &mut server);
        assert!(server.run(room).expect("an end in good order"));
    }
}

#[test]
fn records_are_as_large_as_they_may_be() {
    let (client, server) = agreed(usize::MAX);
    for mut end in [client, server] {
        assert_eq!(end.tls.encrypt(&[0; 3 * RECORD_BYTES]).expect("open"), 3 * RECORD_BYTES);
        assert!(end.tls.flush(&mut end.wire).expect("memory takes all"));
        let mut left = &end.wire.outgoing[..];
        for _ in 0..3 {
            let length = usize::from(u16::from_be_bytes([left[3], left[4]]));
            // The content type and the tag are in the record, too (RFC 8446, 5.2).
            assert_eq!(length, RECORD_BYTES + 1 + 16);
            left = &left[5 + length..];
        }
        assert!(left.is_empty());
    }
}

#[test]
fn before_login_a_large_record_is_refused_and_a_small_one_is_not() {
    for (bytes, is_taken) in [(4 * 1024, true), (RECORD_BYTES, false)] {
        let (mut client, mut server) = agreed(usize::MAX);
        server.tls.buffer_limit = BufferLimit::BeforeLogin;
        client.tls.encrypt(&vec![0; bytes]).expect("open");
        assert!(client.tls.flush(&mut client.wire).expect("memory takes all"));
        exchange(&mut client, &mut server);
        assert_eq!(server.run(8192).is_ok(), is_taken, "{bytes}");
    }
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_not_left_unnoticed() {
    let (mut client, mut server) = agreed(usize::MAX);
    client.tls.encrypt(b"the last").expect("open");
    client.tls.close(&mut client.wire).expect("memory takes all");
    exchange(&mut client, &mut server);
    let mut room = [0; 100];
    assert_eq!(server.tls.receive(&mut server.wire, &mut room).expect("whole"), ReceiveResult::Bytes(8));
    assert!(server.tls.holds_input(), "no event announces it");
    assert_eq!(server.tls.receive(&mut server.wire, &mut room).expect("whole"), ReceiveResult::End);
}

#[test]
fn an_end_without_a_word_is_a_cut_and_a_changed_byte_is_an_error() {
    let (client, mut server) = agreed(usize::MAX);
    server.wire.is_cut = true;
    assert_eq!(server.run(10).map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    drop(client);
    let (mut client, mut server) = agreed(usize::MAX);
    client.tls.encrypt(b"hello").expect("open");
    client.tls.flush(&mut client.wire).expect("memory takes all");
    *client.wire.outgoing.last_mut().expect("a record") ^= 1;
    exchange(&mut client, &mut server);
    assert_eq!(server.run(10).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
    assert!(!server.wire.outgoing.is_empty(), "the peer is told by an alert");
    assert_eq!(server.received, b"");
}
