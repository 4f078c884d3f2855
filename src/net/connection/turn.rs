//! One bounded turn of a connection: it fills the input, lets the protocol step, and flushes the output, within the
//! rate limits.

use std::io;
use std::time::Instant;

use super::{Connection, protocol_io};
use crate::base::budget::{Budget, FLUSH_BUDGET_MIN, TURN_BUDGET};
use crate::base::buffers::{INPUT_BYTES_FIRST, SendBuffer};
use crate::net::transport::{Channel, Moved};
use crate::protocol::{ProtocolEvent, ProtocolStatus};
use crate::session::{Phase, Service, Session, SessionError};

/// How often one turn of a session with a data connection may fill, step and send on both sockets while
/// little moves there. A small file takes this many from connection to end.
const ROUNDS_PER_TURN: usize = 5;

/// What a connection waits for after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterTurn {
    /// Another turn, because something moved.
    Again,
    /// An event, or its deadline.
    Sleep,
    /// Nothing: it is to be closed.
    Close,
}

/// The result of a turn.
#[derive(Debug, Clone, Copy, Default)]
struct TurnProgress {
    any: bool,
    /// The peer took bytes of the control connection.
    control_sent: bool,
    /// The peer took bytes of the data connection.
    data_sent: bool,
}

impl Connection {
    /// Runs one bounded turn, which sends about `flush_budget` bytes at most.
    pub fn turn(&mut self, service: &mut Service, flush_budget: usize, now: Instant) -> AfterTurn {
        let result = self.run(service, flush_budget, now);
        self.count_small_buffers();
        match result {
            Ok(turn) => turn,
            Err(_) if self.outlives_reset(now) => AfterTurn::Again,
            Err(error) => {
                // The peer has reset the connection, or its TLS failed: no reply can reach it.
                log::debug!("a connection from {} ended: {error}", self.address);
                self.protocol.hang_up(now);
                AfterTurn::Close
            }
        }
    }

    fn run(&mut self, service: &mut Service, flush_budget: usize, now: Instant) -> io::Result<AfterTurn> {
        if self.is_reset && !self.cannot_reply {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.paused_until = None;
        if let Some(data) = &mut self.data {
            data.begin_turn(now);
        }
        if self.account_traffic.is_none() {
            self.account_traffic = self.session().and_then(Session::traffic).cloned();
            if self.account_traffic.is_some() {
                self.transport.allow_large_records();
            }
        }
        let mut budget = Budget::new(TURN_BUDGET);
        let mut progress = self.work(service, &mut budget, flush_budget, now)?;
        let flushed = self.flush(service, flush_budget, now)? | self.start_tls(now)?;
        progress.control_sent |= flushed;
        let status = self.protocol.status();
        self.record_progress(progress, &status, now);
        if status.requests != self.requests || status.phase != Phase::Idle {
            self.requests = status.requests;
            self.last_active = now;
        }
        if status.is_closing {
            return Ok(self.close_gently(flushed, now));
        }
        if (progress.any || flushed) && !self.is_answered(service, &mut budget, now)? {
            return Ok(AfterTurn::Again);
        }
        self.release_memory();
        Ok(AfterTurn::Sleep)
    }

    /// Fills, steps and sends on the data connection. Repeats this while little data moves, so that a small
    /// file, its end and its replies need one turn and wake the peer once.
    fn work(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
        flush_budget: usize,
        now: Instant,
    ) -> io::Result<TurnProgress> {
        let (mut progress, mut data_bytes) = (TurnProgress::default(), 0);
        for _ in 0..ROUNDS_PER_TURN {
            // The control connection first: an upload whose client is gone is not complete.
            let filled = self.fill(service, now)?;
            let received = self.fill_data(service, budget, flush_budget, now);
            self.report_channel(now)?;
            let stepped = self.step(service, budget, now);
            self.set_tls_account();
            let received = received + self.advance_data_handshake(service, budget, flush_budget, now);
            // The reply that a transfer begins leaves before its first byte, and the reply that it has ended in
            // another segment.
            let replied = self.data.is_some() && self.flush(service, flush_budget, now)?;
            let sent = if self.has_output() { 0 } else { self.flush_data(service, flush_budget, now) };
            data_bytes += received + sent;
            let works = filled || received > 0 || stepped || replied || sent > 0;
            progress.any |= works;
            progress.control_sent |= replied;
            progress.data_sent |= sent > 0;
            if !works || self.data.is_none() || data_bytes >= FLUSH_BUDGET_MIN || budget.is_spent() {
                break;
            }
        }
        Ok(progress)
    }

    /// Updates the stall deadline. A peer that moves no bytes of its transfer is late, whatever else it
    /// sends. The server's own work counts as progress: while it checks a long prefix, the peer waits for
    /// it.
    fn record_progress(&mut self, turn: TurnProgress, status: &ProtocolStatus, now: Instant) {
        let has_advanced = std::mem::replace(&mut self.progress, status.progress) != status.progress;
        if has_advanced || turn.data_sent || (turn.control_sent && status.sends_results) {
            self.last_moved = now;
        }
    }

    /// Checks once more whether the socket is empty, now that the replies are sent. A separate turn for
    /// that would delay the next request.
    fn is_answered(&mut self, service: &mut Service, budget: &mut Budget, now: Instant) -> io::Result<bool> {
        let discards = self.data.as_ref().is_some_and(|data| data.discards());
        let is_quiet = !self.has_output() && !self.buffers.eof && !budget.is_spent() && !discards;
        Ok(is_quiet && self.is_open_and_idle() && !self.fill(service, now)? && !self.step(service, budget, now))
    }

    pub(super) fn step(&mut self, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        self.is_stepping = true;
        let moved = self.protocol.step(protocol_io(&mut self.buffers, &mut self.data), service, budget, now);
        self.is_stepping = false;
        self.enlarge_output();
        moved
    }

    // ---- Moving bytes ---------------------------------------------------------------------

    /// Tells the protocol before the first byte whether TLS is in use.
    fn report_channel(&mut self, now: Instant) -> io::Result<()> {
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

    /// Receives from the connection. Returns whether anything was received.
    fn fill(&mut self, service: &Service, now: Instant) -> io::Result<bool> {
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
            // The commands of a control connection end with a line break, so a missing close_notify loses nothing.
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

    /// Sends output, about `budget` bytes at most. Returns whether anything was sent.
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

    fn has_unsent_bytes(&self) -> bool {
        !self.buffers.output.is_empty() || self.transport.wants_flush()
    }

    /// Frees memory before a sleep that may be long.
    fn release_memory(&mut self) {
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
