//! Sets up a data connection: listens, accepts and connects.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::RangeInclusive;
use std::time::Instant;

use log::Level;
use mio::Interest;
use mio::net::{TcpListener, TcpStream};

use super::DataSocket;
use super::state::DataState;
use crate::logging::{self, STDERR};
use crate::net::data_socket::DATA_ACCEPTS_PER_TURN;
use crate::net::listeners::is_connection_error;
use crate::protocol::data_connection::DataFailure;
use crate::session::origin::Origin;

/// The number of ports of a range that one turn tries.
const DATA_PORT_TRIES: u32 = 64;

/// A prime, so that every port of a short range is tried.
const DATA_PORT_STRIDE: u32 = 7919;

impl DataSocket {
    pub(super) fn try_listen(
        &mut self,
        ports: RangeInclusive<u16>,
        expects_resumption: bool,
    ) -> io::Result<SocketAddr> {
        let mut listener = self.listen_within(&ports)?;
        self.watch.registry.register(&mut listener, self.watch.token, Interest::READABLE)?;
        let address = listener.local_addr()?;
        (self.is_readable, self.is_writable) = (false, false);
        self.state = DataState::Listening { listener, expects_resumption };
        Ok(address)
    }

    /// Tries a bounded number of ports, so that a full range does not stall the loop: a random one, then
    /// distant ones, because ports in use are often adjacent.
    pub(super) fn listen_within(&self, ports: &RangeInclusive<u16>) -> io::Result<TcpListener> {
        let count = u32::from(*ports.end() - *ports.start()) + 1;
        let first = getrandom::u32()? % count;
        let mut result = Err(io::ErrorKind::AddrInUse.into());
        for number in 0..count.min(DATA_PORT_TRIES) {
            let port = ports.start() + ((first + number * DATA_PORT_STRIDE) % count) as u16;
            result = TcpListener::bind(self.on_link(self.local, port));
            match &result {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                _ => break,
            }
        }
        result
    }

    pub(super) fn on_link(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match ip {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope).into(),
        }
    }

    pub(super) fn try_connect(&mut self, address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.on_link(address.ip(), address.port()))?;
        self.watch.registry.register(&mut stream, self.watch.token, Interest::READABLE | Interest::WRITABLE)?;
        (self.is_readable, self.is_writable) = (false, false);
        Ok(stream)
    }

    /// Accepts the first connection from the client's address and closes others.
    pub(super) fn accept(&mut self) -> Result<usize, DataFailure> {
        let DataState::Listening { listener, .. } = &self.state else { return Ok(0) };
        let mut began = Instant::now();
        for _ in 0..DATA_ACCEPTS_PER_TURN {
            if !self.is_readable {
                return Ok(0);
            }
            match listener.accept() {
                Ok((stream, from)) if from.ip().to_canonical() == self.peer => {
                    let stream = self.watched(stream)?;
                    let listener = match self.state.take() {
                        DataState::Listening { listener, expects_resumption: true } => Some(listener),
                        _ => None,
                    };
                    self.state = DataState::Connected { stream, listener };
                    return Ok(1);
                }
                Ok((_, from)) => {
                    self.refuse(from);
                    let now = Instant::now();
                    self.unauthenticated_time += now.saturating_duration_since(std::mem::replace(&mut began, now));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) if is_connection_error(&error) => {
                    log::debug!("a data connection of {} failed: {error}", self.peer);
                }
                // Without descriptors or memory a retry would fail at once, for ever.
                Err(error) => {
                    log::warn!("cannot accept a data connection of {}: {error}", self.peer);
                    return Err(DataFailure::NoPort);
                }
            }
        }
        Ok(1)
    }

    pub(super) fn watched(&self, mut stream: TcpStream) -> Result<TcpStream, DataFailure> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.watch.registry.register(&mut stream, self.watch.token, interest).map_err(|_| DataFailure::NoPort)?;
        Ok(stream)
    }

    /// Logs a refused connection. The lines are limited, because any peer can cause them.
    pub(super) fn refuse(&self, from: SocketAddr) {
        let origin = Origin::of(from.ip()).networks().next_back();
        let line = format!("a data connection of {} from {from} was refused", self.peer);
        logging::log_rate_limited(STDERR, Level::Warn, (&"data connection", &origin), &line);
    }

    pub(super) fn take_connection(&mut self) -> Result<usize, DataFailure> {
        if !self.is_writable {
            return Ok(0);
        }
        let DataState::Connecting(stream) = self.state.take() else {
            return Ok(0);
        };
        if !matches!(stream.take_error(), Ok(None)) || stream.peer_addr().is_err() {
            return Err(DataFailure::Unreachable);
        }
        self.state = DataState::Connected { stream, listener: None };
        Ok(1)
    }
}
