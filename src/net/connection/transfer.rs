//! Moves bytes between the socket and the buffers, within the rate limits.

use std::io;
use std::time::Instant;

use super::Connection;
use crate::base::buffers::{INPUT_BYTES_FIRST, SendBuffer};
use crate::net::transport::{Channel, Moved};
use crate::protocol::ProtocolEvent;
use crate::session::{Service, SessionError};

impl Connection {
    /// Tells the protocol before the first byte whether TLS is in use.
    pub(super) fn report_channel(&mut self, now: Instant) -> io::Result<()> {
        if self.is_channel_reported {
            return Ok(());
        }
        let Some(channel) = self.transport.channel()? else { return Ok(()) };
        self.is_channel_reported = true;
        match channel {
            Channel::Plain => {}
            Channel::Tls(binding) => self.tell(ProtocolEvent::TlsEstablished(binding), now),
            Channel::Refused => self.fail(SessionError::TlsRequired, now),
        }
        Ok(())
    }

    pub(super) fn fill(&mut self, service: &Service, now: Instant) -> io::Result<bool> {
        let may_have_input = self.is_readable || self.transport.holds_input();
        if !may_have_input || self.buffers.eof {
            return Ok(false);
        }
        let status = self.protocol.status();
        if status.is_closing || status.wants_tls {
            return Ok(false);
        }
        // Before login, unread replies stop further requests.
        if self.has_output() && self.is_unauthenticated() && !self.transport.is_handshaking() {
            return Ok(false);
        }
        let allowance = match self.allowance_up(service, now) {
            Some(allowance) => allowance,
            // Input is always read during an upload, because the client may abort it or be gone.
            None if self.data.is_some() => INPUT_BYTES_FIRST,
            None => return Ok(false),
        };
        // Enlarged before it is filled, because no event announces the bytes that then remain in the socket.
        self.enlarge_input(now);
        let capacity = self.buffers.input.capacity().min(self.buffers.input.filled().len().saturating_add(allowance));
        let moved = match self.transport.fill(&mut self.buffers.input, capacity) {
            // FTP commands end with a line break, so a missing close_notify loses nothing.
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof
                    && self.data.is_some()
                    && !self.transport.is_handshaking() =>
            {
                Moved::End
            }
            moved => moved?,
        };
        match moved {
            Moved::Bytes(count) => {
                self.record_up(service, count, now);
                self.enlarge_input(now);
                Ok(count > 0)
            }
            Moved::Blocked => {
                self.is_readable = false;
                Ok(false)
            }
            Moved::End => {
                self.buffers.eof = true;
                Ok(true)
            }
        }
    }

    pub(super) fn flush(&mut self, service: &Service, budget: usize, now: Instant) -> io::Result<bool> {
        if self.cannot_reply {
            self.buffers.output = SendBuffer::default();
        }
        if !self.is_writable || !self.has_output() {
            return Ok(false);
        }
        let allowance = self.allowance_down(service, !self.buffers.output.is_empty(), now).min(budget);
        match self.transport.flush(&mut self.buffers.output, allowance)? {
            Moved::Bytes(count) => {
                self.record_down(service, count, now);
                Ok(count > 0)
            }
            Moved::Blocked | Moved::End => {
                self.is_writable = false;
                Ok(false)
            }
        }
    }

    pub(super) fn has_output(&self) -> bool {
        !self.cannot_reply && self.has_unsent_bytes()
    }

    pub(super) fn has_unsent_bytes(&self) -> bool {
        !self.buffers.output.is_empty() || self.transport.wants_flush()
    }

    /// Frees memory before a sleep that may be long.
    pub(super) fn release_memory(&mut self) {
        if self.is_idle() || self.is_unauthenticated() {
            self.transport.release();
            self.buffers.input.release();
            self.buffers.output.release();
            if let Some(data) = &mut self.data {
                data.release();
            }
        }
    }
}
