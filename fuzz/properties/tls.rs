//! Encrypted connections whose peer breaks TLS, or whose bytes somebody changes on the way.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use super::script::content;
use berth::config::Config;
use berth::tls::{Pinning, ReceiveResult, ServerIdentity, TlsSession, server_config};

/// A socket in memory.
#[derive(Default)]
struct Wire {
    step: usize,
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(room.len()).min(self.incoming.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.incoming.read(&mut room[..count])
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
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
    fn new(tls: TlsSession, step: usize) -> Self {
        Self { tls, wire: Wire { step: step.max(1), ..Wire::default() }, received: Vec::new() }
    }

    fn server(step: usize) -> Self {
        let mut tls = TlsSession::server(Arc::clone(&configs().0)).expect("usable");
        tls.allow_large_records();
        Self::new(tls, step)
    }

    fn client(step: usize) -> Self {
        Self::new(TlsSession::client(Arc::clone(&configs().1)).expect("usable"), step)
    }

    /// Takes all there is; false once it has failed.
    fn run(&mut self) -> bool {
        let mut room = [0; 9000];
        loop {
            if self.tls.flush(&mut self.wire).is_err() {
                return false;
            }
            match self.tls.receive(&mut self.wire, &mut room) {
                Ok(ReceiveResult::Bytes(count)) => self.received.extend_from_slice(&room[..count]),
                Ok(ReceiveResult::Progress(count)) => assert!(count > 0),
                Ok(ReceiveResult::End) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(!self.tls.holds_input(), "nothing would announce it");
                    return true;
                }
                Err(_) => return false,
            }
        }
    }
}

fn configs() -> &'static (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    static CONFIGS: OnceLock<(Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>)> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let config = Config::default_for(&directory.path().join("conf/berthd.json")).expect("defaults are valid");
        let identity = ServerIdentity::establish(&config, 1_800_000_000).expect("a new one");
        let pinning = Pinning::new(Some(identity.fingerprint));
        (server_config(&identity).expect("usable"), pinning.client_config().expect("usable"))
    })
}

/// The first byte says how the others are cut. Neither side takes a byte for plaintext that did
/// not come from the other, and neither says much to a peer that talks nonsense.
pub(super) fn server(input: &[u8]) {
    let Some((&step, bytes)) = input.split_first() else { return };
    for mut end in [End::server(usize::from(step)), End::client(usize::from(step))] {
        end.wire.incoming.extend(bytes);
        end.run();
        assert!(end.received.is_empty(), "plaintext from nowhere");
        assert!(end.wire.outgoing.len() < 4096 + bytes.len());
        assert!(end.tls.binding().is_err(), "nothing was agreed");
    }
}

/// After a handshake each pair of bytes encrypts, delivers, changes or cuts off something. What
/// arrives is what was sent, from its beginning, and all of it where nothing was changed.
pub(super) fn damage(input: &[u8]) {
    let (mut client, mut server) = agreed();
    let (mut sent, mut is_damaged, mut is_open) = (Vec::new(), false, true);
    for pair in input.chunks_exact(2).take(200) {
        let amount = usize::from(pair[1]);
        let pending = &mut client.wire.outgoing;
        match pair[0] % 4 {
            0 => {
                let bytes = content(sent.len(), amount * 100);
                let count = client.tls.encrypt(&bytes).expect("open");
                sent.extend_from_slice(&bytes[..count]);
                assert!(client.tls.flush(&mut client.wire).expect("memory takes all"));
            }
            1 => {
                let count = pending.len().min(amount * 50);
                server.wire.incoming.extend(pending.drain(..count));
                is_open = is_open && server.run();
            }
            2 if !pending.is_empty() => {
                let at = amount * 31 % pending.len();
                pending[at] ^= 1 << (pair[0] / 4 % 8);
                is_damaged = true;
            }
            3 if amount > 0 && !pending.is_empty() => {
                pending.remove(amount % pending.len());
                is_damaged = true;
            }
            _ => {}
        }
        assert!(sent.starts_with(&server.received), "not what was sent");
        assert!(is_open || is_damaged, "a whole connection ended");
    }
    server.wire.incoming.extend(std::mem::take(&mut client.wire.outgoing));
    is_open = is_open && server.run();
    assert!(sent.starts_with(&server.received));
    assert!(is_damaged || (is_open && sent == server.received), "something is missing");
}

fn agreed() -> (End, End) {
    let (mut client, mut server) = (End::client(usize::MAX), End::server(usize::MAX));
    while client.tls.is_handshaking() || server.tls.is_handshaking() {
        assert!(client.run() && server.run(), "both keep to TLS");
        server.wire.incoming.extend(std::mem::take(&mut client.wire.outgoing));
        client.wire.incoming.extend(std::mem::take(&mut server.wire.outgoing));
    }
    (client, server)
}
