//! Encryption over another pipe. It knows no keys but what a [`Pinning`] says of them.

use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use crate::auth::scram::Binding;
use crate::base::limits::{CONTROL_BYTES_MAX_BEFORE_LOGIN, HANDSHAKE_TIMEOUT};
use crate::base::text::Escaped;
use crate::client::connection::stream::Stream;
use crate::client::error::LinkError;
use crate::client::shell::interrupt::Interrupt;
use crate::tls::{Pinning, Received, Sealed};
use crate::wire::Reply;
use crate::wire::frame::{self, Frame};

/// See the module.
pub struct TlsStream<P: Stream> {
    pipe: P,
    sealed: Sealed,
    /// Bytes of the last `send` that are sealed, but neither flushed nor reported yet: whoever
    /// sends again offers them again.
    unreported: usize,
}

impl<P: Stream> TlsStream<P> {
    /// Agrees on keys with a server whose own key `pinning` accepts. What ties a login to this
    /// connection comes with it.
    pub fn connect(
        pipe: P,
        pinning: &std::sync::Arc<Pinning>,
        interrupt: &Interrupt,
    ) -> Result<(Self, Binding), LinkError> {
        let config = pinning.client_config().map_err(|error| LinkError::Lost(error.to_string()))?;
        let sealed = Sealed::client(config).map_err(|error| LinkError::Lost(error.to_string()))?;
        let mut pipe = Self { pipe, sealed, unreported: 0 };
        let mut heard = Vec::new();
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        while pipe.sealed.is_handshaking() || pipe.sealed.wants_flush() {
            if interrupt.is_set() {
                return Err(LinkError::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(LinkError::Lost(format!(
                    "the server did not answer within {} s",
                    HANDSHAKE_TIMEOUT.as_secs()
                )));
            }
            pipe.shake_hands(&mut heard).map_err(|error| explain(&heard, &error))?;
        }
        let binding = pipe.sealed.binding().map_err(|error| explain(&[], &error))?;
        Ok((pipe, binding))
    }

    /// One step of the handshake.
    fn shake_hands(&mut self, heard: &mut Vec<u8>) -> io::Result<()> {
        let mut socket = Raw { pipe: &mut self.pipe, heard: Some(heard) };
        self.sealed.flush(&mut socket)?;
        if !self.sealed.is_handshaking() {
            return Ok(());
        }
        match self.sealed.receive(&mut socket, &mut [0]) {
            Ok(Received::Progress(_)) => Ok(()),
            Ok(Received::Bytes(_)) => Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks before it is asked")),
            Ok(Received::End) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.pipe.wait(self.sealed.wants_flush(), WAIT_MAX)
            }
            Err(error) => Err(error),
        }
    }
}

/// Why the handshake failed. A server that has no room says so without encryption: that is told,
/// but as no more than what it is.
fn explain(heard: &[u8], error: &io::Error) -> LinkError {
    if let Ok(Some((Frame::Control { body, .. }, _))) = frame::decode(heard, CONTROL_BYTES_MAX_BEFORE_LOGIN)
        && let Ok(Reply::Error(error)) = serde_json::from_slice(body)
    {
        return LinkError::Lost(Escaped(error.message.as_bytes()).to_string());
    }
    match error.kind() {
        io::ErrorKind::InvalidData => LinkError::Protocol(format!("no encrypted connection: {error}")),
        _ => LinkError::Lost(error.to_string()),
    }
}

impl<P: Stream> Stream for TlsStream<P> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = Raw { pipe: &mut self.pipe, heard: None };
        if !self.sealed.flush(&mut socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut sent = std::mem::take(&mut self.unreported).min(bytes.len());
        while sent < bytes.len().min(SEND_BYTES_MAX) {
            let sealed = self.sealed.seal(&bytes[sent..])?;
            if !self.sealed.flush(&mut socket)? {
                self.unreported = sealed;
                break;
            }
            sent += sealed;
        }
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    fn recv(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut socket = Raw { pipe: &mut self.pipe, heard: None };
        // What TLS itself has to say. A failure is met again by whoever sends.
        let _ = self.sealed.flush(&mut socket);
        match self.sealed.receive(&mut socket, room)? {
            Received::Bytes(count) => Ok(count),
            Received::Progress(_) => Err(io::ErrorKind::WouldBlock.into()),
            Received::End => Ok(0),
        }
    }

    fn wait(&mut self, for_write: bool, timeout: Duration) -> io::Result<()> {
        if self.sealed.holds_input() {
            return Ok(());
        }
        self.pipe.wait(for_write || self.sealed.wants_flush(), timeout)
    }

    fn end_with_reset(&mut self) {
        self.pipe.end_with_reset();
    }
}

impl<P: Stream> Drop for TlsStream<P> {
    fn drop(&mut self) {
        // So that the server can tell our leaving from a cut. It loses nothing either way.
        let _ = self.sealed.close(&mut Raw { pipe: &mut self.pipe, heard: None });
    }
}

/// A pipe as rustls wants it.
struct Raw<'a, P> {
    pipe: &'a mut P,
    /// The first bytes that came, if anybody wants to see them.
    heard: Option<&'a mut Vec<u8>>,
}

impl<P: Stream> Read for Raw<'_, P> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.recv(room)?;
        if let Some(heard) = &mut self.heard {
            let kept = count.min(CONTROL_BYTES_MAX_BEFORE_LOGIN.saturating_sub(heard.len()));
            heard.extend_from_slice(&room[..kept]);
        }
        Ok(count)
    }
}

impl<P: Stream> Write for Raw<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.send(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.pipe.send_parts(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ctrl-C is noticed after this, even where a signal does not end the wait.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// Sealed and sent in one call, before it is looked whether something came.
const SEND_BYTES_MAX: usize = 256 * 1024;
