//! How a link takes frames out of its input. Each frame belongs to the oldest request; the frames of abandoned
//! requests are discarded.
//!
//! | function | waits | returns |
//! |---|---|---|
//! | `next_frame` | no | the next frame, with whether its request was abandoned |
//! | `next_wanted` | no | the next frame that a caller waits for |
//! | [`Link::receive`], [`Link::receive_until`] | for a frame | the same |
//! | [`Link::drain`] | until enough is sent, or for a frame | the same |

use std::time::{Duration, Instant};

use super::Link;
use crate::base::buffers::aligned_for_hash;
use crate::client::connection::incoming::{Decoded, Event, Incoming};
use crate::client::error::LinkError;
use crate::client::interrupt::POLL_MAX;
use crate::wire::Reply;
use crate::wire::frame::{self, CONTROL_BYTES_MAX, FrameType};

/// The maximum number of bytes that a client reads without a reply that it waits for: pings, and the rest of cancelled
/// transfers, which can be large on a fast connection with high latency.
const DISCARDED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The extra bytes that each unwanted frame counts as, because a small frame also causes work.
const DISCARDED_FRAME_COST: usize = 1024;
/// With more bytes than this in the send queue, a client answers no ping, because the server does not read.
const PING_QUEUE_MAX: usize = 8 * 1024 * 1024;

impl Link {
    /// Checks without waiting whether the connection has ended. Called before a request is sent.
    pub fn check_idle(&mut self) -> Result<(), LinkError> {
        while self.requests.is_empty() && self.receive_some()? {
            if self.next_wanted()?.is_some() {
                return Err(LinkError::Protocol("an unexpected reply".into()));
            }
        }
        Ok(())
    }

    /// Waits for the next frame.
    pub fn receive(&mut self) -> Result<Incoming, LinkError> {
        loop {
            if let Some(incoming) = self.next_wanted()? {
                return Ok(incoming);
            }
            self.exchange(POLL_MAX)?;
        }
    }

    /// Waits for the next frame, until `deadline`.
    pub fn receive_until(&mut self, deadline: Instant) -> Result<Option<Incoming>, LinkError> {
        loop {
            let incoming = self.next_wanted()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if incoming.is_some() || left.is_zero() {
                return Ok(incoming);
            }
            self.exchange(left)?;
        }
    }

    /// Sends until at most `held_max` bytes are queued or a frame arrives. Returns that frame.
    pub fn drain(&mut self, held_max: usize) -> Result<Option<Incoming>, LinkError> {
        loop {
            let incoming = self.next_wanted()?;
            if incoming.is_some() || self.stream.queued_bytes() <= held_max {
                return Ok(incoming);
            }
            self.exchange(POLL_MAX)?;
        }
    }

    /// Sends and receives once: [`DuplexStream::exchange`].
    pub(super) fn exchange(&mut self, wait_max: Duration) -> Result<(), LinkError> {
        self.stream.exchange(wait_max, self.frame_bytes_left).map_err(|error| self.explain(error))
    }

    fn receive_some(&mut self) -> Result<bool, LinkError> {
        self.stream.receive_some(self.frame_bytes_left).map_err(|error| self.explain(error))
    }

    /// If the server gave a reason before the connection ended, that reason replaces `error`.
    fn explain(&self, error: LinkError) -> LinkError {
        match (&self.last_error, error) {
            (Some(reason), LinkError::Lost(_)) => LinkError::ClosedWithReason(reason.clone()),
            (_, error) => error,
        }
    }

    /// Reads the replies to abandoned requests until another request may be sent.
    pub(super) fn make_room(&mut self) -> Result<(), LinkError> {
        while !self.has_room() {
            if self.requests.front().is_some_and(|(_, is_abandoned)| !is_abandoned) {
                return Err(LinkError::Protocol("too many requests at once".into()));
            }
            if !self.discard_abandoned()? {
                self.exchange(POLL_MAX)?;
            }
        }
        Ok(())
    }

    fn discard_abandoned(&mut self) -> Result<bool, LinkError> {
        let before = self.requests.len();
        while self.requests.len() == before {
            match self.next_frame()? {
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Returns the next frame in the input that a caller waits for.
    fn next_wanted(&mut self) -> Result<Option<Incoming>, LinkError> {
        loop {
            match self.next_frame()? {
                Some((incoming, false)) => {
                    self.unwanted_bytes = 0;
                    return Ok(Some(incoming));
                }
                Some((_, true)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Returns the next frame in the input, and whether its request was abandoned.
    pub(super) fn next_frame(&mut self) -> Result<Option<(Incoming, bool)>, LinkError> {
        let taken = std::mem::take(&mut self.chunk_bytes);
        self.consume(taken);
        loop {
            if self.unwanted_bytes > DISCARDED_BYTES_MAX {
                return Err(LinkError::Protocol("the server keeps sending unexpected data".into()));
            }
            if self.frame_bytes_left > 0 {
                return self.next_chunk();
            }
            let decoded = match frame::decode(self.stream.input.filled(), CONTROL_BYTES_MAX)? {
                Some((frame, used)) => (Decoded::from_frame(frame)?, used),
                None => return Ok(None),
            };
            self.consume(decoded.1);
            self.unwanted_bytes += DISCARDED_FRAME_COST;
            match decoded.0 {
                Decoded::Ping(body) => self.queue_pong(&body)?,
                Decoded::Pong => {}
                Decoded::DataHeader { id, length } => {
                    self.requests.check_data(id)?;
                    self.frame_bytes_left = length;
                }
                Decoded::Event(incoming) => return self.match_request(incoming).map(Some),
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.stream.input.consume(bytes);
        self.unwanted_bytes += bytes;
    }

    fn queue_pong(&mut self, body: &[u8]) -> Result<(), LinkError> {
        if self.stream.queued_bytes() > PING_QUEUE_MAX {
            return Err(LinkError::Protocol("the server sends pings and does not read the replies".into()));
        }
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Pong, 0, body);
        self.stream.send_buffer.push(&bytes);
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<Option<(Incoming, bool)>, LinkError> {
        let Some((id, is_abandoned)) = self.requests.front() else {
            return Err(LinkError::Protocol("unexpected data".into()));
        };
        let available = self.stream.input.filled().len().min(self.frame_bytes_left);
        if available == 0 {
            return Ok(None);
        }
        let bytes = aligned_for_hash(available, self.frame_bytes_left);
        let incoming = Incoming { id, event: Event::Data };
        self.chunk_bytes = bytes;
        self.frame_bytes_left -= bytes;
        Ok(Some((incoming, is_abandoned)))
    }

    /// Matches `incoming` with its request. Returns it, and true if no caller waits for it.
    fn match_request(&mut self, incoming: Incoming) -> Result<(Incoming, bool), LinkError> {
        if let Event::Reply(Reply::Error(error)) = &incoming.event
            && error.fatal
        {
            self.last_error = Some(error.clone());
            return Err(LinkError::ClosedWithReason(error.clone()));
        }
        let is_abandoned = self.requests.accept(&incoming)?;
        match (self.pending_login.take(), incoming) {
            (Some((id, login_check)), Incoming { id: of, event: Event::Reply(reply) }) if of == id => {
                if let Err(error) = login_check(reply.clone()) {
                    // Send nothing more to an unproved peer.
                    self.stream.cannot_send = true;
                    return Err(error);
                }
                // No caller waits for the proof.
                Ok((Incoming { id, event: Event::Reply(reply) }, true))
            }
            (pending_login, incoming) => {
                self.pending_login = pending_login;
                Ok((incoming, is_abandoned))
            }
        }
    }
}
