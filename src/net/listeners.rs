//! Listening sockets: a bounded number of accepts per round, and a pause by timer after the
//! system ran out of descriptors, because no new edge announces connections that already wait.

use crate::limits::{ACCEPT_RETRY, ACCEPTS_PER_ROUND};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// One listening socket.
pub struct Listener {
    socket: TcpListener,
    is_ready: bool,
    retry_at: Option<Instant>,
}

impl Listener {
    /// Listens on `address`.
    pub fn bind(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = TcpListener::bind(address)?;
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self { socket, is_ready: false, retry_at: None })
    }

    /// The address with the port the system chose.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Notes that connections wait.
    pub fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// When accepting is to be tried again without an event.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether connections may wait.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Hands up to [`ACCEPTS_PER_ROUND`] waiting connections to `take`.
    pub fn accept(&mut self, now: Instant, mut take: impl FnMut(TcpStream, SocketAddr)) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            self.is_ready = true;
        }
        for _ in 0..ACCEPTS_PER_ROUND {
            if !self.is_ready || self.retry_at.is_some() {
                return;
            }
            match self.socket.accept() {
                Ok((stream, peer)) => take(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_ready = false,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    log::warn!("cannot accept connections for the moment: {error}");
                    self.retry_at = Some(now + ACCEPT_RETRY);
                }
            }
        }
    }
}

/// Errors that belong to the connection that was about to be accepted (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
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
