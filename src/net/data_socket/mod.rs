//! The data connection of an FTP session: it listens or connects, verifies that the peer is the
//! session's client, and moves bytes between the kernel and the protocol.

mod setup;
mod transfer;
mod verify;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Registry, Token};
use rustix::net::sockopt::set_socket_linger;

use crate::base::buffers::{IoBuffers, ReceiveBuffer};
use crate::net::transport::{FtpTlsSettings, Transport};
use crate::protocol::data_connection::{ConnectionStage, DataConnection, Failure, Security};
use crate::tls::Resumption;

/// Connections to one passive port that one turn examines.
pub(super) const DATA_ACCEPTS_PER_TURN: usize = 8;
/// How many bytes of a refused upload are dropped, so that the client reads the reply: curl and ftplib read it after
/// their last byte. Other servers reset the connection at once.
const FTP_DISCARDED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The state machine of a data connection.
pub(super) struct DataSocket {
    /// The addresses of the control connection, local and remote.
    local: IpAddr,
    peer: IpAddr,
    /// The interface of both connections if their addresses are link-local; else 0.
    scope: u32,
    /// The TLS settings of both connections.
    ftp_tls: FtpTlsSettings,
    watch: SocketWatch,
    state: SocketState,
    /// Received bytes and bytes to send.
    buffers: IoBuffers,
    /// When the event of the peer's end of data arrived; set once that end was read.
    ended_at: Option<Instant>,
    /// What the data connection proves by resuming a TLS session, once known.
    resumption: Option<Resumption>,
    /// The client has shown that it can resume sessions any number of times.
    shows_reuse: bool,
    /// When to check again whether the resumed session has logged in.
    undecided_until: Option<Instant>,
    /// The client has resumed a TLS session before, so a connection that does not may be another peer's.
    /// Several connections are therefore accepted while it listens.
    expects_resumption: bool,
    is_readable: bool,
    is_writable: bool,
    is_busy: bool,
    /// When the event of the peer's end of data arrived. The bytes before the end may still be unread.
    end_event_at: Option<Instant>,
    unauthenticated_time: Duration,
    /// The number of bytes of a refused upload that are still dropped.
    discards_bytes: u64,
}

enum SocketState {
    Closed,
    Listening(TcpListener),
    Connecting(TcpStream),
    /// The listener stays open for further connections, see [`DataSocket::expects_resumption`].
    Connected(TcpStream, Option<TcpListener>),
    Open(Open),
    /// All is sent, or a transfer was refused. Remaining input is dropped until the peer closes.
    Lingering(Transport),
    /// All is sent, and the peer has closed its side as well.
    Left,
    Failed(Failure),
}

/// An open data connection.
struct Open {
    transport: Transport,
    is_upload: bool,
    needs: Resumption,
    needs_close_notify: bool,
    /// Bytes received during the handshake, if the connection may be another peer's, and when they came.
    withheld: Option<(ReceiveBuffer, Instant)>,
    /// The listener for further connections, until the handshake is complete.
    listener: Option<TcpListener>,
    /// The output holds all that will be sent.
    is_finishing: bool,
}

/// The registry, and the token of a slot's data connection.
pub(super) struct SocketWatch {
    pub(super) registry: Rc<Registry>,
    pub(super) token: Token,
}

impl DataSocket {
    /// Makes a closed data connection for a session between these addresses.
    pub(super) fn new(local: SocketAddr, peer: IpAddr, ftp_tls: FtpTlsSettings, watch: SocketWatch) -> Self {
        Self {
            local: local.ip().to_canonical(),
            peer,
            scope: if let SocketAddr::V6(local) = local { local.scope_id() } else { 0 },
            ftp_tls,
            watch,
            state: SocketState::Closed,
            buffers: IoBuffers::default(),
            ended_at: None,
            resumption: None,
            shows_reuse: false,
            undecided_until: None,
            expects_resumption: false,
            is_readable: false,
            is_writable: false,
            is_busy: false,
            end_event_at: None,
            unauthenticated_time: Duration::ZERO,
            discards_bytes: u64::MAX,
        }
    }

    /// Returns the TLS settings.
    pub(super) fn ftp_tls(&mut self) -> &mut FtpTlsSettings {
        &mut self.ftp_tls
    }

    /// Records an event; does no I/O.
    pub(super) fn mark(&mut self, readable: bool, writable: bool, ended: Option<Instant>) {
        self.is_readable |= readable;
        self.is_writable |= writable;
        self.end_event_at = self.end_event_at.or(ended);
    }

    /// Clears a timer that has expired.
    pub(super) fn begin_turn(&mut self, now: Instant) {
        self.undecided_until = self.undecided_until.filter(|until| *until > now);
    }

    /// Marks the listener as ready before its event arrives. Returns whether it listens.
    pub(super) fn expect_connection(&mut self) -> bool {
        let is_listening = matches!(self.state, SocketState::Listening(_));
        self.is_readable |= is_listening;
        is_listening
    }

    /// Returns when it needs a turn without an event.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.undecided_until
    }

    /// Resets the state of the last transfer.
    fn clear(&mut self) {
        self.discards_bytes = u64::MAX;
        (self.buffers, self.ended_at, self.resumption) = (IoBuffers::default(), None, None);
        (self.shows_reuse, self.undecided_until) = (false, None);
    }

    fn try_open(&mut self, security: Security) -> Result<(), Failure> {
        let SocketState::Connected(stream, listener) = std::mem::replace(&mut self.state, SocketState::Closed) else {
            return Err(Failure::Cut);
        };
        let _ = stream.set_nodelay(true);
        (self.is_readable, self.is_writable, self.is_busy, self.end_event_at) = (true, true, false, None);
        let open = |transport| Open {
            transport,
            is_upload: false,
            needs: Resumption::None,
            needs_close_notify: false,
            withheld: None,
            listener: None,
            is_finishing: false,
        };
        self.state = SocketState::Open(match security {
            Security::Plain => open(Transport::plain_data(stream)),
            Security::Tls { is_upload, needs, needs_close_notify } => {
                let tls = Transport::tls_data(stream, &mut self.ftp_tls, is_upload).map_err(|_| Failure::Cut)?;
                Open { is_upload, needs, needs_close_notify, listener, ..open(tls) }
            }
        });
        Ok(())
    }

    fn close_socket(&mut self) {
        match &mut self.state {
            // The peer of a TLS upload may wait for close_notify. If it cannot be sent at once, the server does not
            // wait.
            SocketState::Open(Open { transport, .. }) => transport.shutdown(),
            // Connections that have come are closed in order. Closing the listener alone would reset them, and some
            // clients would then try another way to connect instead of reading the reply.
            SocketState::Listening(listener) => {
                (0..DATA_ACCEPTS_PER_TURN).map_while(|_| listener.accept().ok()).for_each(drop);
            }
            _ => {}
        }
        self.state = SocketState::Closed;
    }

    fn reset_socket(&mut self) {
        if let SocketState::Open(Open { transport, .. }) = &self.state {
            // If the reset cannot be sent, the peer still gets the end and the reply.
            let _ = set_socket_linger(transport, Some(Duration::ZERO));
        }
        self.state = SocketState::Closed;
    }

    // ---- Moving bytes ---------------------------------------------------------------------

    /// Accepts, connects, or receives at most `allowance` bytes. Returns the number of bytes, or 1 for any
    /// other progress.
    pub(super) fn fill(&mut self, allowance: usize) -> usize {
        let result = match &mut self.state {
            SocketState::Listening(_) => self.accept(),
            SocketState::Connecting(_) => self.take_connection(),
            SocketState::Open(_) => self.receive(allowance),
            SocketState::Lingering(_) => Ok(self.linger()),
            SocketState::Closed | SocketState::Connected(..) | SocketState::Left | SocketState::Failed(_) => Ok(0),
        };
        result.unwrap_or_else(|failure| self.fail(failure))
    }

    /// Returns whether the user's bytes can move.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, SocketState::Open(_))
    }

    /// Returns whether input may be waiting that is dropped.
    pub(super) fn discards(&self) -> bool {
        matches!(self.state, SocketState::Lingering(_)) && self.is_readable
    }

    /// Returns whether the TLS handshake is incomplete.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.state, SocketState::Open(Open { transport, .. }) if transport.is_handshaking())
    }

    /// Takes the time spent on unauthenticated peers.
    pub(super) fn take_unauthenticated_time(&mut self) -> Duration {
        std::mem::take(&mut self.unauthenticated_time)
    }

    fn fail(&mut self, failure: Failure) -> usize {
        self.reset_socket();
        self.state = SocketState::Failed(failure);
        1
    }

    /// Returns the bytes of memory that no charge covers, see [`Transport::uncharged_bytes`].
    pub(super) fn uncharged_bytes(&self) -> usize {
        match &self.state {
            SocketState::Open(Open { transport, .. }) | SocketState::Lingering(transport) => {
                transport.uncharged_bytes(&self.buffers)
            }
            _ => self.buffers.input.uncharged_bytes() + self.buffers.output.uncharged_bytes(),
        }
    }

    /// Frees memory before a sleep that may be long.
    pub(super) fn release(&mut self) {
        if let SocketState::Open(Open { transport, .. }) | SocketState::Lingering(transport) = &mut self.state {
            transport.release();
        }
        self.buffers.input.release();
        self.buffers.output.release();
    }
}

impl DataConnection for DataSocket {
    fn listen(&mut self, ports: RangeInclusive<u16>, expects_resumption: bool) -> Result<SocketAddr, Failure> {
        // Close the old listener first: its port may be the only free one.
        self.state = SocketState::Closed;
        self.clear();
        self.expects_resumption = expects_resumption;
        self.try_listen(ports).map_err(|error| {
            log::warn!("no port for a data connection: {error}");
            self.state = SocketState::Failed(Failure::NoPort);
            Failure::NoPort
        })
    }

    fn connect(&mut self, address: SocketAddr) {
        if let Err(error) = self.try_connect(address) {
            log::debug!("no data connection to {address}: {error}");
            self.state = SocketState::Failed(Failure::Unreachable);
        }
    }

    fn open(&mut self, security: Security) {
        if let Err(failure) = self.try_open(security) {
            self.state = SocketState::Failed(failure);
        }
    }

    fn finish(&mut self) {
        match &mut self.state {
            SocketState::Open(open) => open.is_finishing = true,
            _ => self.state = SocketState::Failed(Failure::Cut),
        }
    }

    fn close(&mut self) {
        self.clear();
        self.close_socket();
    }

    fn reset(&mut self) {
        self.clear();
        self.reset_socket();
    }

    fn discard(&mut self) {
        let has_ended = self.buffers.eof;
        self.clear();
        self.state = match std::mem::replace(&mut self.state, SocketState::Closed) {
            SocketState::Open(open) if !has_ended => SocketState::Lingering(open.transport),
            state => {
                self.state = state;
                return self.close_socket();
            }
        };
        self.discards_bytes = FTP_DISCARDED_BYTES_MAX;
    }

    fn stage(&self) -> ConnectionStage {
        match self.state {
            SocketState::Closed => ConnectionStage::Closed,
            SocketState::Listening(_) => ConnectionStage::Listening,
            SocketState::Connecting(_) => ConnectionStage::Connecting,
            SocketState::Connected(..) => ConnectionStage::Connected,
            SocketState::Open(_) => ConnectionStage::Open,
            SocketState::Lingering(_) => ConnectionStage::Sent,
            SocketState::Left => ConnectionStage::Left,
            SocketState::Failed(failure) => ConnectionStage::Failed(failure),
        }
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
        self.resumption
    }

    fn shows_reuse(&self) -> bool {
        self.shows_reuse
    }
}

impl Drop for DataSocket {
    /// A connection that is dropped during a transfer must be reset, or its data would look complete.
    fn drop(&mut self) {
        self.reset_socket();
    }
}
