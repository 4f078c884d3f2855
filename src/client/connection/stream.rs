//! Bytes to and from the server, without blocking. Nothing else in the client touches the
//! socket, so that a test or TLS can stand in for it. This module knows no frames.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::base::limits::SILENCE_MAX;
use crate::client::shell::interrupt::Stopped;

/// One connection. `send` and `recv` fail with `WouldBlock` instead of waiting.
pub trait Stream {
    /// Sends some of `bytes`; how many. Bytes that were offered and not sent are to be offered
    /// again, first: a pipe may have begun with them.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Sends some of what `parts` hold, in their order; how many bytes.
    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(parts.iter().find(|part| !part.is_empty()).map_or(&[], |part| part))
    }

    /// Receives into `room`, which is not empty; 0 means that the server will send no more.
    fn recv(&mut self, room: &mut [u8]) -> io::Result<usize>;

    /// Waits until bytes came, or with `for_write` until some can be sent, or the time is over,
    /// or a signal arrived. It may return early for no reason.
    fn wait(&mut self, for_write: bool, timeout: Duration) -> io::Result<()>;

    /// Once this is dropped, what was sent and has not arrived is thrown away, and the server learns
    /// that nobody is left to be answered.
    fn end_with_reset(&mut self) {}
}

/// A plain TCP connection.
pub struct PlainStream(TcpStream);

impl PlainStream {
    /// Connects to the first address of `host` that answers, unless `is_stopped` meanwhile.
    pub fn connect(host: &str, port: u16, is_stopped: Stopped) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs()? {
            match connect_to(address, is_stopped) {
                Ok(stream) => return Self::new(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // What a cancelled upload still has to send is little, however large the kernel would
        // make the buffer of a slow connection.
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        // A peer that vanished is noticed by the kernel, without any traffic of ours. Where a
        // socket does not know one of these the connection works all the same.
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

/// A socket that is connected and does not block.
fn connect_to(address: SocketAddr, is_stopped: Stopped) -> io::Result<TcpStream> {
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

/// Bytes taken by the kernel and not yet on their way, above which it takes no more.
const UNSENT_BYTES_MAX: u32 = 256 * 1024;
/// For one address; a name may have several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the kernel asks whether the server is still there …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// … how often it asks …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and after how many questions without answer the connection is lost.
const KEEPALIVE_PROBES: u32 = 3;
/// How long what was sent may stay without an acknowledgement. It bounds the questions too.
const UNACKED_MAX: Duration = SILENCE_MAX;
