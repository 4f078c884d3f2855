//! TLS over another stream. It knows no keys except those that a [`Pinning`] accepts.

use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use crate::auth::scram::Binding;
use crate::client::connection::stream::Stream;
use crate::client::error::{LinkError, Loss};
use crate::client::interrupt::{Interrupt, POLL_MAX};
use crate::tls::{Pinning, ReceiveResult, TlsSession};
use crate::wire::Reply;
use crate::wire::frame::{self, CONTROL_BYTES_MAX_BEFORE_LOGIN, Frame};

/// How long a client waits for the server's part of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// A TLS client connection over the stream `P`.
pub struct TlsStream<P: Stream> {
    stream: P,
    tls: TlsSession,
    /// The number of bytes of the last `send` that are encrypted but neither flushed nor reported as sent. The next
    /// `send` gets the same bytes again, because `Stream::send` reports only bytes that were flushed.
    unreported: usize,
}

impl<P: Stream> TlsStream<P> {
    /// Does the TLS handshake with a server whose key `pinning` accepts. Also returns the binding that ties a
    /// login to this connection.
    pub fn connect(
        stream: P,
        pinning: &std::sync::Arc<Pinning>,
        interrupt: &Interrupt,
    ) -> Result<(Self, Binding), LinkError> {
        let config = pinning.client_config().map_err(|error| LinkError::Lost(Loss::Other(error.to_string())))?;
        let tls = TlsSession::client(config).map_err(|error| LinkError::Lost(Loss::Other(error.to_string())))?;
        let mut stream = Self { stream, tls, unreported: 0 };
        let mut first_bytes = Vec::new();
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        while stream.tls.is_handshaking() || stream.tls.wants_flush() {
            if interrupt.is_set() {
                return Err(LinkError::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(LinkError::Lost(Loss::NoAnswer(HANDSHAKE_TIMEOUT.as_secs())));
            }
            stream.handshake_step(&mut first_bytes).map_err(|error| explain(&first_bytes, error))?;
        }
        let binding = stream.tls.binding().map_err(|error| explain(&[], error))?;
        Ok((stream, binding))
    }

    /// Does one round of the handshake.
    fn handshake_step(&mut self, first_bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut socket = StreamIo { stream: &mut self.stream, first_bytes: Some(first_bytes) };
        self.tls.flush(&mut socket)?;
        if !self.tls.is_handshaking() {
            return Ok(());
        }
        match self.tls.receive(&mut socket, &mut [0]) {
            Ok(ReceiveResult::Progress(_)) => Ok(()),
            Ok(ReceiveResult::Bytes(_)) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the server sent data during the handshake"))
            }
            Ok(ReceiveResult::End) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stream.wait(self.tls.wants_flush(), POLL_MAX)
            }
            Err(error) => Err(error),
        }
    }
}

/// Explains why the handshake failed. A server without a free connection slot says so without encryption. That
/// text is reported, but only as a lost connection, because it is not authenticated.
fn explain(first_bytes: &[u8], error: io::Error) -> LinkError {
    if let Ok(Some((Frame::Control { body, .. }, _))) = frame::decode(first_bytes, CONTROL_BYTES_MAX_BEFORE_LOGIN)
        && let Ok(Reply::Error(error)) = serde_json::from_slice(body)
    {
        return LinkError::Lost(Loss::Unproved(error));
    }
    match error.kind() {
        io::ErrorKind::InvalidData => LinkError::Protocol(format!("the TLS handshake failed: {error}")),
        _ => LinkError::Lost(error.into()),
    }
}

impl<P: Stream> Stream for TlsStream<P> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = StreamIo { stream: &mut self.stream, first_bytes: None };
        if !self.tls.flush(&mut socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut sent = std::mem::take(&mut self.unreported).min(bytes.len());
        while sent < bytes.len().min(SEND_BYTES_MAX) {
            let count = self.tls.encrypt(&bytes[sent..])?;
            if !self.tls.flush(&mut socket)? {
                self.unreported = count;
                break;
            }
            sent += count;
        }
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    fn recv(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut socket = StreamIo { stream: &mut self.stream, first_bytes: None };
        // Send what TLS itself has queued. If this fails, the next `send` reports the error.
        let _ = self.tls.flush(&mut socket);
        match self.tls.receive(&mut socket, room)? {
            ReceiveResult::Bytes(count) => Ok(count),
            ReceiveResult::Progress(_) => Err(io::ErrorKind::WouldBlock.into()),
            ReceiveResult::End => Ok(0),
        }
    }

    fn wait(&mut self, for_write: bool, timeout: Duration) -> io::Result<()> {
        if self.tls.holds_input() {
            return Ok(());
        }
        self.stream.wait(for_write || self.tls.wants_flush(), timeout)
    }

    fn end_with_reset(&mut self) {
        self.stream.end_with_reset();
    }
}

impl<P: Stream> Drop for TlsStream<P> {
    fn drop(&mut self) {
        // A close notification lets the server tell a normal end from a cut. If it fails, the server loses
        // nothing.
        let _ = self.tls.close(&mut StreamIo { stream: &mut self.stream, first_bytes: None });
    }
}

/// Adapts a stream to rustls.
struct StreamIo<'a, P> {
    stream: &'a mut P,
    /// Collects the first bytes that arrive, if set.
    first_bytes: Option<&'a mut Vec<u8>>,
}

impl<P: Stream> Read for StreamIo<'_, P> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.recv(room)?;
        if let Some(first_bytes) = &mut self.first_bytes {
            let kept = count.min(CONTROL_BYTES_MAX_BEFORE_LOGIN.saturating_sub(first_bytes.len()));
            first_bytes.extend_from_slice(&room[..kept]);
        }
        Ok(count)
    }
}

impl<P: Stream> Write for StreamIo<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.send(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.send_parts(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The maximum number of bytes encrypted and sent in one call, before the input is checked.
const SEND_BYTES_MAX: usize = 256 * 1024;
