//! A byte stream to the server, without blocking. Nothing else in the client touches the socket, so a test or
//! TLS can replace it. This module knows no frames.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::interrupt::StopCheck;

/// A client that waits for a server and hears nothing for this long, not even a pong, treats the
/// connection as lost. Half of the server's stall timeout.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// One connection. `send` and `recv` fail with `WouldBlock` instead of waiting.
pub trait Stream {
    /// Sends some of `bytes`. Returns the number of bytes sent. The caller must offer the rest again, first,
    /// because a stream may have begun with it.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Sends some of the bytes in `parts`, in order. Returns the number of bytes sent.
    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(parts.iter().find(|part| !part.is_empty()).map_or(&[], |part| part))
    }

    /// Receives into `room`, which is not empty. Returns the number of bytes; 0 means that the server has closed its
    /// side of the connection.
    fn recv(&mut self, room: &mut [u8]) -> io::Result<usize>;

    /// Waits until bytes arrive, or with `for_write` until bytes can be sent. Also returns on a timeout or a
    /// signal, and may return early for no reason.
    fn wait(&mut self, for_write: bool, timeout: Duration) -> io::Result<()>;

    /// Makes the later drop discard all bytes that were not delivered, and reset the connection. The server then
    /// knows that no client waits for its replies.
    fn end_with_reset(&mut self) {}
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The host has no known address, with the reason of the resolver.
    UnknownHost(String),
    /// The lookup failed on this machine, or no address accepts a connection.
    Failed(io::Error),
}

impl ConnectError {
    /// The resolver's own answers have no system error.
    fn lookup(error: io::Error) -> Self {
        if error.raw_os_error().is_some() {
            return Self::Failed(error);
        }
        let text = error.to_string();
        Self::UnknownHost(text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).into())
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// A plain TCP connection.
pub struct PlainStream(TcpStream);

impl PlainStream {
    /// Connects to the first address of `host` that answers. `is_stopped` cancels the attempt.
    pub fn connect(host: &str, port: u16, is_stopped: StopCheck) -> Result<Self, ConnectError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs().map_err(ConnectError::lookup)? {
            match connect_to(address, is_stopped) {
                Ok(stream) => return Ok(Self::new(stream)?),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // A cancelled upload then has few bytes left to send, however large the kernel makes the send buffer of
        // a slow connection.
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        // The kernel detects a peer that vanished, without any traffic of the client. The connection also works
        // without these options, so errors are ignored.
        let _ = sockopt::set_socket_keepalive(&stream, true);
        let _ = sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE);
        let _ = sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL);
        let _ = sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES);
        let _ = sockopt::set_tcp_user_timeout(&stream, UNACKED_MAX.as_millis() as u32);
        Ok(Self(stream))
    }
}

impl Stream for PlainStream {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(parts)
    }

    fn recv(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }

    fn wait(&mut self, for_write: bool, timeout: Duration) -> io::Result<()> {
        let interest = if for_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&self.0, interest)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn end_with_reset(&mut self) {
        let _ = socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }
}

/// Opens a connected socket in non-blocking mode.
fn connect_to(address: SocketAddr, is_stopped: StopCheck) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        if matches!(poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&timeout)), Ok(1..)) {
            return socket.take_error()?.map_or(Ok(socket.into()), Err);
        }
        if is_stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
        }
    }
}

/// The kernel accepts no more bytes while more than this are unsent.
const UNSENT_BYTES_MAX: u32 = 256 * 1024;
/// The timeout for one address. A name may have several addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The idle time after which the kernel sends keepalive probes …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// … the interval between the probes …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and the number of unanswered probes after which the connection is lost.
const KEEPALIVE_PROBES: u32 = 3;
/// The maximum time without an acknowledgement of sent bytes. It bounds the keepalive probes too.
const UNACKED_MAX: Duration = SILENCE_MAX;
