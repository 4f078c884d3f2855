//! The ways in which a connection ends.
//!
//! | Method | Reply to the peer | The socket |
//! |---|---|---|
//! | `fail` | sent in the next turns | closed gently |
//! | `end_at_once` | sent if the socket accepts it now | closed by the caller |
//! | `end_after_panic` | as `fail`, if the protocol panicked and not the transport | closed gently |
//! | `hang_up` | none | closed by the caller |

use std::time::Instant;

use super::{AfterTurn, Connection};
use crate::base::budget::FLUSH_BUDGET_MIN;
use crate::base::buffers::INPUT_BYTES_FIRST;
use crate::net::connection::LINGER;
use crate::net::transport::Moved;
use crate::protocol::ProtocolEvent;
use crate::protocol::data_connection::DataConnection;
use crate::session::{Service, SessionError};

impl Connection {
    /// Sends the last replies, then shuts down and waits briefly for the peer to close. Closing with unread
    /// bytes would reset the connection and destroy replies on their way.
    pub(super) fn close_gently(&mut self, flushed: bool, now: Instant) -> AfterTurn {
        let since = *self.closing_since.get_or_insert(now);
        self.data = None;
        // During a handshake no reply can be sent, so there is nothing to wait for.
        if now.saturating_duration_since(since) >= LINGER || self.transport.is_handshaking() {
            return AfterTurn::Close;
        }
        if self.has_output() {
            return if flushed { AfterTurn::Again } else { AfterTurn::Sleep };
        }
        self.transport.shutdown();
        if self.buffers.eof {
            return AfterTurn::Close;
        }
        self.drain_input()
    }

    pub(super) fn drain_input(&mut self) -> AfterTurn {
        let unread = self.buffers.input.filled().len();
        self.buffers.input.consume(unread);
        match self.transport.fill(&mut self.buffers.input, INPUT_BYTES_FIRST) {
            Ok(Moved::Bytes(_)) => AfterTurn::Again,
            Ok(Moved::Blocked) => AfterTurn::Sleep,
            Ok(Moved::End) | Err(_) => AfterTurn::Close,
        }
    }

    /// Ends the session with a reply to the peer.
    pub fn fail(&mut self, why: SessionError, now: Instant) {
        if !self.protocol.status().is_closing {
            self.protocol.fail(&mut self.buffers, why, now);
            if let Some(data) = &mut self.data {
                data.reset();
            }
        }
    }

    /// Ends the session at once, with a reply if the socket accepts it.
    pub fn end_at_once(&mut self, service: &Service, why: SessionError, now: Instant) {
        self.fail(why, now);
        // There is no wait for a reply that the socket does not accept.
        let _ = self.flush(service, FLUSH_BUDGET_MIN, now);
    }

    /// Ends the session after a panic in its turn. The peer gets a reply if the protocol panicked and not
    /// the transport.
    pub fn end_after_panic(&mut self, now: Instant) -> AfterTurn {
        if !self.is_stepping || self.protocol.status().is_closing {
            return AfterTurn::Close;
        }
        self.buffers.output.take_back_unfinished();
        self.fail(SessionError::Defect, now);
        AfterTurn::Again
    }

    /// Ends the session without a reply.
    pub fn hang_up(&mut self, now: Instant) {
        if !self.protocol.status().is_closing {
            self.protocol.hang_up(now);
        }
    }

    /// Returns whether the running transfer outlives a reset: a client that sent QUIT and closed the
    /// connection before it read all replies still wants its transfer. No reply reports the result.
    pub(super) fn outlives_reset(&mut self, now: Instant) -> bool {
        if self.cannot_reply || self.data.is_none() || self.protocol.status().is_closing {
            return false;
        }
        // The kernel still has the bytes that came before the reset.
        let _ = self.transport.fill(&mut self.buffers.input, INPUT_BYTES_FIRST);
        self.tell(ProtocolEvent::PeerReset, now);
        self.cannot_reply = self.protocol.status().ends_with_transfer;
        self.buffers.eof |= self.cannot_reply;
        self.cannot_reply
    }
}
