//! Moves bytes between a socket and its buffers. Higher layers know neither the socket nor whether it
//! is encrypted.
//!
//! One port serves TLS and plaintext. The first byte decides, and is only peeked at: a TLS handshake
//! begins with 0x16, a frame with the highest byte of its length, which is 0.

mod plain;
mod session_tls;
mod socket;
mod tls;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use rustls::ServerConfig;

use crate::auth::scram::Binding;
use crate::base::buffers::{IoBuffers, ReceiveBuffer, SendBuffer};
use crate::tls::TlsSession;
use plain::{Unsendable, flush_plain};
pub use session_tls::SessionTls;
use socket::Socket;
use tls::{fill_tls, flush_tls};

/// The transport of a connection.
pub struct Transport {
    socket: Socket,
    layer: Layer,
    /// Whether missing bytes of a truncated file are replaced by zeros, because its length was announced.
    pads_truncated_ranges: bool,
    /// The write side is shut down.
    is_shut: bool,
    /// The last file that sendfile(2) refused.
    unsendable: Unsendable,
}

enum Layer {
    /// The first byte has not come yet.
    Undetected(TlsPolicy),
    /// Plaintext.
    Plain,
    /// Plaintext, which the policy refuses: input is dropped.
    Refused,
    Tls(Box<TlsSession>),
}

/// The TLS policy of network listeners.
#[derive(Clone)]
pub struct TlsPolicy {
    /// The TLS configuration with the server's certificate.
    pub tls: Arc<ServerConfig>,
    /// The configuration from which [`SessionTls`] derives that of a session with data connections.
    pub session_tls: Arc<ServerConfig>,
    /// Whether plaintext is allowed.
    pub allows_plaintext: bool,
}

/// The channel that a peer has chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Plaintext.
    Plain,
    /// TLS; a login is bound to it.
    Tls(Binding),
    /// Plaintext, which the policy refuses.
    Refused,
}

/// The result of one attempt to move bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes moved; more may follow.
    Bytes(usize),
    /// The socket is not ready.
    Blocked,
    /// The peer has closed its side.
    End,
}

impl Transport {
    fn new(socket: Socket, layer: Layer) -> Self {
        Self { socket, layer, pads_truncated_ranges: true, is_shut: false, unsendable: Unsendable::default() }
    }

    /// Makes the transport of a network peer that has yet to choose between plaintext and TLS.
    pub fn network(stream: TcpStream, tls_policy: TlsPolicy) -> Self {
        Self::new(Socket::Network(stream), Layer::Undetected(tls_policy))
    }

    /// Makes the transport of a peer that has chosen plaintext.
    pub fn plain(stream: TcpStream) -> Self {
        Self::new(Socket::Network(stream), Layer::Plain)
    }

    /// Makes the transport of a control connection that begins with TLS.
    pub fn tls_control(stream: TcpStream, session_tls: &mut SessionTls) -> io::Result<Self> {
        let mut transport = Self::plain(stream);
        transport.start_tls(session_tls)?;
        Ok(transport)
    }

    /// Switches this control connection to TLS.
    pub fn start_tls(&mut self, session_tls: &mut SessionTls) -> io::Result<()> {
        self.layer = Layer::Tls(Box::new(TlsSession::server(Arc::clone(&session_tls.own()?.control))?));
        Ok(())
    }

    /// Makes the transport of a data connection without TLS. Only its end marks the end of the file, so a truncated
    /// file is an error, `UnexpectedEof`.
    pub fn plain_data(stream: TcpStream) -> Self {
        Self { pads_truncated_ranges: false, ..Self::plain(stream) }
    }

    /// Makes the transport of a data connection with TLS. During an upload the peer reads nothing.
    pub fn tls_data(stream: TcpStream, session_tls: &mut SessionTls, is_upload: bool) -> io::Result<Self> {
        let own = session_tls.own()?.data();
        own.forget_ticket();
        let mut tls = match is_upload {
            true => TlsSession::server_of_upload(Arc::clone(&own.upload))?,
            false => TlsSession::server(Arc::clone(&own.download))?,
        };
        tls.allow_large_records();
        Ok(Self { layer: Layer::Tls(Box::new(tls)), ..Self::plain_data(stream) })
    }

    /// Makes the transport of a program on this machine.
    pub fn local(stream: UnixStream) -> Self {
        Self::new(Socket::Local(stream), Layer::Plain)
    }

    /// Returns the socket, for registration.
    pub fn socket(&mut self) -> &mut dyn Source {
        self.socket.source()
    }

    /// Returns the peer's choice, once it is known and the handshake is complete.
    pub fn channel(&self) -> io::Result<Option<Channel>> {
        match &self.layer {
            Layer::Undetected(_) => Ok(None),
            Layer::Plain => Ok(Some(Channel::Plain)),
            Layer::Refused => Ok(Some(Channel::Refused)),
            Layer::Tls(tls) if tls.is_handshaking() => Ok(None),
            Layer::Tls(tls) => tls.binding().map(|binding| Some(Channel::Tls(binding))),
        }
    }

    /// Returns whether the handshake is incomplete.
    pub fn is_handshaking(&self) -> bool {
        matches!(&self.layer, Layer::Tls(tls) if tls.is_handshaking())
    }

    /// Returns whether the connection is plaintext.
    pub fn is_plain(&self) -> bool {
        matches!(self.layer, Layer::Plain)
    }

    /// Returns whether [`Transport::fill`] has bytes that no event will announce.
    pub fn holds_input(&self) -> bool {
        matches!(&self.layer, Layer::Tls(tls) if tls.holds_input())
    }

    /// Returns whether [`Transport::flush`] has bytes to send besides the output.
    pub fn wants_flush(&self) -> bool {
        matches!(&self.layer, Layer::Tls(tls) if tls.wants_flush())
    }

    /// Receives once, so that the input holds at most `capacity` bytes. Reads nothing at that size. Some of
    /// the counted bytes may still be inside TLS.
    pub fn fill(&mut self, input: &mut ReceiveBuffer, capacity: usize) -> io::Result<Moved> {
        if let Layer::Undetected(_) = self.layer {
            match self.detect_tls()? {
                Moved::Bytes(1..) => {}
                other => return Ok(other),
            }
        }
        match &mut self.layer {
            Layer::Tls(tls) => fill_tls(tls, &mut self.socket, input, capacity),
            _ => {
                let room = input.room(capacity);
                if room.is_empty() {
                    return Ok(Moved::Bytes(0));
                }
                let moved = moved(self.socket.read(room))?;
                if let Moved::Bytes(count) = moved {
                    input.commit(count);
                }
                Ok(moved)
            }
        }
    }

    /// Peeks at the first byte, which tells whether the peer uses TLS.
    fn detect_tls(&mut self) -> io::Result<Moved> {
        let (Layer::Undetected(tls_policy), Socket::Network(stream)) = (&self.layer, &self.socket) else {
            return Ok(Moved::Bytes(1));
        };
        let mut first = [0];
        let moved = moved(stream.peek(&mut first))?;
        if let Moved::Bytes(1..) = moved {
            self.layer = match first {
                [TLS_HANDSHAKE] => Layer::Tls(Box::new(TlsSession::server(Arc::clone(&tls_policy.tls))?)),
                _ if tls_policy.allows_plaintext => Layer::Plain,
                _ => Layer::Refused,
            };
        }
        Ok(moved)
    }

    /// Sends output, about `allowance` bytes at most.
    pub fn flush(&mut self, output: &mut SendBuffer, allowance: usize) -> io::Result<Moved> {
        match &mut self.layer {
            Layer::Tls(tls) => flush_tls(tls, &mut self.socket, output, allowance),
            _ => flush_plain(&mut self.socket, output, allowance, self.pads_truncated_ranges, &mut self.unsendable),
        }
    }

    /// Shuts down the write side. While [`Transport::wants_flush`] returns true, call it again.
    pub fn shutdown(&mut self) {
        // The peer may be gone already.
        if let Layer::Tls(tls) = &mut self.layer
            && !tls.close(&mut self.socket).unwrap_or(true)
        {
            return;
        }
        // Each call causes an event, even when there is nothing to send: the loop would spin.
        if std::mem::replace(&mut self.is_shut, true) {
            return;
        }
        let _ = self.socket.shutdown();
    }

    /// Allows large records after login.
    pub fn allow_large_records(&mut self) {
        if let Layer::Tls(tls) = &mut self.layer {
            tls.allow_large_records();
        }
    }

    /// Returns the memory of `buffers` and of TLS that no charge covers.
    pub fn uncharged_bytes(&self, buffers: &IoBuffers) -> usize {
        let (received, unsent) = match &self.layer {
            Layer::Tls(tls) => (tls.received_bytes(), tls.unsent_bytes()),
            _ => (0, 0),
        };
        let (input, output) = (&buffers.input, &buffers.output);
        let received = if input.is_large() { 0 } else { input.uncharged_bytes() + received };
        let unsent = if output.is_large() { 0 } else { output.uncharged_bytes() + unsent };
        received + unsent
    }

    /// Frees memory before a sleep that may be long.
    pub fn release(&mut self) {
        if let Layer::Tls(tls) = &mut self.layer {
            tls.release();
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn moved(result: io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::Blocked),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Moved::Bytes(0)),
        Err(error) => Err(error),
    }
}

/// The record type that begins a TLS connection (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
