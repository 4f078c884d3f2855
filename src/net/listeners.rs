//! Listening sockets: a bounded number of accepts per round, and a timed pause after the system ran out
//! of descriptors, because no new event announces connections that already wait.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::SendFlags;

use super::log_throttle::LogThrottle;
use crate::protocol::kind::ProtocolKind;

/// Connections accepted per round, so that a flood of them cannot starve running sessions.
const ACCEPTS_PER_ROUND: usize = 64;
/// The pause after the system had no descriptor or memory for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// One listening socket.
pub struct Listener {
    socket: ListenSocket,
    is_ready: bool,
    retry_at: Option<Instant>,
    failures: LogThrottle,
}

enum ListenSocket {
    Network(TcpListener, ProtocolKind),
    Local(UnixListener),
}

/// A connection that was just accepted.
pub enum Accepted {
    /// From the network.
    Network(TcpStream, SocketAddr, ProtocolKind),
    /// From this machine.
    Local(UnixStream),
}

impl Listener {
    /// Adds a network listener.
    pub fn network(mut socket: TcpListener, kind: ProtocolKind, registry: &Registry, token: Token) -> io::Result<Self> {
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self::new(ListenSocket::Network(socket, kind)))
    }

    /// Adds a Unix socket listener.
    pub fn local(socket: std::os::unix::net::UnixListener, registry: &Registry, token: Token) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let mut socket = UnixListener::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self::new(ListenSocket::Local(socket)))
    }

    fn new(socket: ListenSocket) -> Self {
        Self { socket, is_ready: false, retry_at: None, failures: LogThrottle::default() }
    }

    /// Records that connections wait.
    pub fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Returns when to accept again without an event.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Returns whether connections may wait.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Passes up to [`ACCEPTS_PER_ROUND`] waiting connections to `take`.
    pub fn accept(&mut self, now: Instant, mut take: impl FnMut(Accepted)) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            self.is_ready = true;
        }
        for _ in 0..ACCEPTS_PER_ROUND {
            if !self.is_ready || self.retry_at.is_some() {
                return;
            }
            let accepted = match &self.socket {
                ListenSocket::Network(socket, kind) => {
                    socket.accept().map(|(stream, peer)| Accepted::Network(stream, peer, *kind))
                }
                ListenSocket::Local(socket) => socket.accept().map(|(stream, _)| Accepted::Local(stream)),
            };
            match accepted {
                Ok(accepted) => take(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_ready = false,
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    if let Some(suppressed) = self.failures.record(now) {
                        log::warn!(
                            "cannot accept connections for the moment: {error}; {suppressed} more since the last such line"
                        );
                    }
                    self.retry_at = Some(now + ACCEPT_RETRY);
                }
            }
        }
    }
}

/// Returns whether an error belongs to the connection that was about to be accepted (accept(2)).
pub(super) fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// Sends the reason before the connection is closed, in plaintext. If it cannot be sent at once, the server does
/// not wait.
pub(super) fn refuse_connection(stream: impl AsFd, kind: ProtocolKind, bound: &str) {
    if let Some(reply) = kind.too_many_sessions(bound) {
        let _ = rustix::net::send(stream, &reply, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}
