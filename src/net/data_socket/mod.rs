//! The socket of a data connection: it listens or connects, verifies that the peer is the
//! session's client, and moves bytes between the kernel and the protocol.

mod control;
mod setup;
mod state;
mod transfer;
mod verify;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use crate::base::buffers::IoBuffers;
use crate::net::transport::SessionTls;
use crate::protocol::data_connection::DataFailure;
use crate::tls::Resumption;
use state::{DataState, Open};

/// The number of connections to one passive port that one turn examines.
pub(super) const DATA_ACCEPTS_PER_TURN: usize = 8;

/// The socket of a data connection. [`DataState`] is its state machine.
pub(super) struct DataSocket {
    /// The addresses of the control connection, local and remote.
    local: IpAddr,
    peer: IpAddr,
    /// The interface of both connections if their addresses are link-local; else 0.
    scope: u32,
    /// The TLS settings of both connections.
    session_tls: SessionTls,
    watch: SocketWatch,
    state: DataState,
    /// Received bytes and bytes to send.
    buffers: IoBuffers,
    /// What the data connection proves by resuming a TLS session, once known.
    resumption: Option<Resumption>,
    /// The client has shown that it can resume sessions any number of times.
    shows_reuse: bool,
    is_readable: bool,
    is_writable: bool,
    unauthenticated_time: Duration,
}

/// The registry, and the token of a slot's data connection.
pub(super) struct SocketWatch {
    pub(super) registry: Rc<Registry>,
    pub(super) token: Token,
}

impl DataSocket {
    /// Makes a closed data connection for a session between these addresses.
    pub(super) fn new(local: SocketAddr, peer: IpAddr, session_tls: SessionTls, watch: SocketWatch) -> Self {
        Self {
            local: local.ip().to_canonical(),
            peer,
            scope: if let SocketAddr::V6(local) = local { local.scope_id() } else { 0 },
            session_tls,
            watch,
            state: DataState::Closed,
            buffers: IoBuffers::default(),
            resumption: None,
            shows_reuse: false,
            is_readable: false,
            is_writable: false,
            unauthenticated_time: Duration::ZERO,
        }
    }

    /// Returns the TLS settings.
    pub(super) fn session_tls(&mut self) -> &mut SessionTls {
        &mut self.session_tls
    }

    /// Records an event; does no I/O.
    pub(super) fn mark(&mut self, readable: bool, writable: bool, ended: Option<Instant>) {
        self.is_readable |= readable;
        self.is_writable |= writable;
        if let DataState::Open(open) = &mut self.state {
            open.end_event_at = open.end_event_at.or(ended);
        }
    }

    /// Clears a timer that has expired.
    pub(super) fn begin_turn(&mut self, now: Instant) {
        if let DataState::Open(Open { withheld: Some(withheld), .. }) = &mut self.state {
            withheld.check_at = withheld.check_at.filter(|at| *at > now);
        }
    }

    /// Marks the listener as ready before its event arrives. Returns whether it listens.
    pub(super) fn expect_connection(&mut self) -> bool {
        let is_listening = matches!(self.state, DataState::Listening { .. });
        self.is_readable |= is_listening;
        is_listening
    }

    /// Returns when it needs a turn without an event.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        match &self.state {
            DataState::Open(Open { withheld: Some(withheld), .. }) => withheld.check_at,
            _ => None,
        }
    }

    // ---- Moving bytes ---------------------------------------------------------------------

    /// Accepts, connects, or receives at most `allowance` bytes. Returns the number of bytes, or 1 for any
    /// other progress.
    pub(super) fn fill(&mut self, allowance: usize) -> usize {
        let result = match &mut self.state {
            DataState::Listening { .. } => self.accept(),
            DataState::Connecting(_) => self.take_connection(),
            DataState::Open(_) => self.receive(allowance),
            DataState::Discarding { .. } => Ok(self.drop_input()),
            DataState::Closed
            | DataState::Addressed(_)
            | DataState::Connected { .. }
            | DataState::Ended
            | DataState::Failed(_) => Ok(0),
        };
        result.unwrap_or_else(|failure| self.fail(failure))
    }

    /// Returns whether the user's bytes can move.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, DataState::Open(_))
    }

    /// Returns whether input may be waiting that is dropped.
    pub(super) fn discards(&self) -> bool {
        matches!(self.state, DataState::Discarding { .. }) && self.is_readable
    }

    /// Returns whether the TLS handshake is incomplete.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.state, DataState::Open(Open { transport, .. }) if transport.is_handshaking())
    }

    /// Takes the time spent on unauthenticated peers.
    pub(super) fn take_unauthenticated_time(&mut self) -> Duration {
        std::mem::take(&mut self.unauthenticated_time)
    }

    fn fail(&mut self, failure: DataFailure) -> usize {
        self.reset_socket();
        self.state = DataState::Failed(failure);
        1
    }

    /// Returns the bytes of memory that no charge covers, see [`Transport::uncharged_bytes`].
    pub(super) fn uncharged_bytes(&self) -> usize {
        match &self.state {
            DataState::Open(Open { transport, .. }) | DataState::Discarding { transport, .. } => {
                transport.uncharged_bytes(&self.buffers)
            }
            _ => self.buffers.input.uncharged_bytes() + self.buffers.output.uncharged_bytes(),
        }
    }

    /// Frees memory before a sleep that may be long.
    pub(super) fn release(&mut self) {
        if let DataState::Open(Open { transport, .. }) | DataState::Discarding { transport, .. } = &mut self.state {
            transport.release();
        }
        self.buffers.input.release();
        self.buffers.output.release();
    }
}

impl Drop for DataSocket {
    /// Resets a connection that is dropped during a transfer, because otherwise its data would look complete.
    fn drop(&mut self) {
        self.reset_socket();
    }
}
