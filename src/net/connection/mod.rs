//! One connection: its transport, buffers, protocol and readiness. A turn fills, steps and flushes,
//! each within its own limit.

mod data;
mod memory;
mod rates;

use super::data_socket::DataSocket;
use super::rate_limits::RateLimiter;
use super::scheduler::Priority;
use super::transport::{Channel, Moved, Transport};
use crate::base::buffers::{Budget, IoBuffers, SendBuffer};
use crate::base::limits::{
    FLUSH_BUDGET_MIN, HALF_CLOSED_STALL, INPUT_BYTES_FIRST, LINGER, ROUNDS_PER_TURN, TURN_BUDGET,
};
use crate::base::memory::SmallBuffers;
use crate::config::Timeouts;
use crate::protocol::admin::query::{Query, QueryResult};
use crate::protocol::data_connection::DataConnection;
use crate::protocol::{Protocol, Sockets};
use crate::session::active_accounts::Traffic;
use crate::session::{Phase, Service, SessionError};
use crate::store::syncer::Synced;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

/// What a connection needs after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterTurn {
    /// Another turn: something moved.
    Again,
    /// An event or its deadline.
    Sleep,
    /// To be closed.
    Close,
}

/// A connected socket with its protocol.
pub struct Connection {
    transport: Transport,
    buffers: IoBuffers,
    protocol: Box<dyn Protocol>,
    /// The data connection of protocols that have one.
    data: Option<Box<DataSocket>>,
    address: IpAddr,
    is_readable: bool,
    is_writable: bool,
    /// The protocol has been told whether TLS is in use.
    is_introduced: bool,
    /// The peer has reset the connection and cannot read replies.
    is_reset: bool,
    /// The peer has reset the connection, but its last transfer is still running.
    is_unheard: bool,
    opened: Instant,
    /// When the session last did something other than wait for a request.
    last_active: Instant,
    last_moved: Instant,
    /// The protocol's progress counter after the last turn.
    progress: u64,
    rate_limiter: RateLimiter,
    /// The account's traffic, once logged in.
    account: Option<Rc<Traffic>>,
    /// Buffers without a charge, once logged in.
    small_buffers: Option<SmallBuffers>,
    /// Transfers pause until then, because the rate limit is exceeded.
    held_until: Option<Instant>,
    requests: u64,
    /// The protocol is being called.
    is_stepping: bool,
    closing_since: Option<Instant>,
}

/// The result of a turn.
#[derive(Debug, Clone, Copy, Default)]
struct Worked {
    anything: bool,
    /// The peer took bytes of the control connection.
    told: bool,
    /// The peer took bytes of the data connection.
    sent: bool,
}

impl Connection {
    /// Makes a connection that was just accepted.
    pub fn new(transport: Transport, protocol: Box<dyn Protocol>, address: IpAddr, now: Instant) -> Self {
        Self {
            transport,
            buffers: IoBuffers::default(),
            protocol,
            data: None,
            address,
            is_readable: false,
            is_writable: true,
            is_introduced: false,
            is_reset: false,
            is_unheard: false,
            opened: now,
            last_active: now,
            last_moved: now,
            progress: 0,
            rate_limiter: RateLimiter::default(),
            account: None,
            small_buffers: None,
            held_until: None,
            requests: 0,
            is_stepping: false,
            closing_since: None,
        }
    }

    /// Adds a data connection, for a protocol that knows by itself whether TLS is in use.
    pub(super) fn with_data(self, data: DataSocket) -> Self {
        Self { data: Some(Box::new(data)), is_introduced: true, ..self }
    }

    /// Records an event; does no I/O.
    pub fn mark(&mut self, readable: bool, writable: bool) {
        self.is_readable |= readable;
        self.is_writable |= writable;
    }

    /// Records that the connection failed. Unprocessed input is dropped: it could run concurrently with the
    /// user's next connection.
    pub fn mark_reset(&mut self) {
        self.is_reset = true;
    }

    /// Like [`Connection::mark`], for the data connection, with the time at which its peer closed it.
    pub fn mark_data(&mut self, readable: bool, writable: bool, ended: Option<Instant>) {
        if let Some(data) = &mut self.data {
            data.mark(readable, writable, ended);
        }
    }

    /// Runs one bounded turn, which sends about `flush_budget` bytes at most.
    pub fn turn(&mut self, service: &mut Service, flush_budget: usize, now: Instant) -> AfterTurn {
        let result = self.run(service, flush_budget, now);
        self.count_small_buffers();
        match result {
            Ok(turn) => turn,
            Err(_) if self.outlives_reset() => AfterTurn::Again,
            Err(error) => {
                // The peer has reset the connection, or its TLS failed: no reply can reach it.
                log::debug!("a connection from {} ended: {error}", self.address);
                self.protocol.hang_up(now);
                AfterTurn::Close
            }
        }
    }

    /// Returns whether the running transfer outlives a reset: a client that sent QUIT and closed the
    /// connection before it read all replies still wants its transfer. No reply reports the result.
    fn outlives_reset(&mut self) -> bool {
        if self.is_unheard || self.data.is_none() || self.protocol.is_closing() {
            return false;
        }
        // The kernel still has the bytes that came before the reset.
        let _ = self.transport.fill(&mut self.buffers.input, INPUT_BYTES_FIRST);
        self.is_unheard = self.protocol.ends_with_transfer(&mut self.buffers);
        self.buffers.eof |= self.is_unheard;
        self.is_unheard
    }

    fn run(&mut self, service: &mut Service, flush_budget: usize, now: Instant) -> io::Result<AfterTurn> {
        if self.is_reset && !self.is_unheard {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.held_until = None;
        if let Some(data) = &mut self.data {
            data.begin_turn(now);
        }
        if self.account.is_none() {
            self.account = self.protocol.traffic().cloned();
            if self.account.is_some() {
                self.transport.allow_large_records();
            }
        }
        let mut budget = Budget::new(TURN_BUDGET);
        let mut worked = self.work(service, &mut budget, flush_budget, now)?;
        let flushed = self.flush(service, flush_budget, now)? | self.seal()?;
        worked.told |= flushed;
        self.note_progress(worked, now);
        let worked = worked.anything;
        if self.protocol.requests() != self.requests || self.protocol.phase() != Phase::Idle {
            self.requests = self.protocol.requests();
            self.last_active = now;
        }
        if self.protocol.is_closing() {
            return Ok(self.close_gently(flushed, now));
        }
        if (worked || flushed) && !self.is_answered(service, &mut budget, now)? {
            return Ok(AfterTurn::Again);
        }
        self.rest();
        Ok(AfterTurn::Sleep)
    }

    /// Fills, steps and sends on the data connection. Repeats while little moves there, so that a small
    /// file, its end and its replies wake the peer once.
    fn work(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
        flush_budget: usize,
        now: Instant,
    ) -> io::Result<Worked> {
        let (mut worked, mut data_bytes) = (Worked::default(), 0);
        for _ in 0..ROUNDS_PER_TURN {
            // The control connection first: an upload whose client is gone is not complete.
            let filled = self.fill(service, now)?;
            let received = self.fill_data(service, budget, flush_budget, now);
            self.introduce(now)?;
            let stepped = self.step(service, budget, now);
            self.tell_account();
            let received = received + self.advance_data_handshake(service, budget, flush_budget, now);
            // The reply that a transfer begins leaves before its first byte, and the reply that it has ended in
            // another segment.
            let told = self.data.is_some() && self.flush(service, flush_budget, now)?;
            let sent = if self.has_output() { 0 } else { self.flush_data(service, flush_budget, now) };
            data_bytes += received + sent;
            let works = filled || received > 0 || stepped || told || sent > 0;
            worked.anything |= works;
            worked.told |= told;
            worked.sent |= sent > 0;
            if !works || self.data.is_none() || data_bytes >= FLUSH_BUDGET_MIN || budget.is_spent() {
                break;
            }
        }
        Ok(worked)
    }

    /// Updates the stall deadline. A peer that moves no bytes of its transfer is late, whatever else it
    /// sends. The server's own work counts as progress: while it checks a long prefix, the peer waits for
    /// it.
    fn note_progress(&mut self, worked: Worked, now: Instant) {
        let progress = self.protocol.progress();
        let has_advanced = std::mem::replace(&mut self.progress, progress) != progress;
        if has_advanced || worked.sent || (worked.told && self.protocol.sends_results()) {
            self.last_moved = now;
        }
    }

    /// Tells the protocol before the first byte whether TLS is in use.
    fn introduce(&mut self, now: Instant) -> io::Result<()> {
        if self.is_introduced {
            return Ok(());
        }
        let Some(channel) = self.transport.channel()? else { return Ok(()) };
        self.is_introduced = true;
        match channel {
            Channel::Plain => {}
            Channel::Sealed(binding) => self.protocol.set_binding(binding),
            Channel::Refused => self.fail(SessionError::TlsRequired, now),
        }
        Ok(())
    }

    /// Checks once more whether the socket is empty, now that the replies are sent. A separate turn for
    /// that would delay the next request.
    fn is_answered(&mut self, service: &mut Service, budget: &mut Budget, now: Instant) -> io::Result<bool> {
        let discards = self.data.as_ref().is_some_and(|data| data.discards());
        let is_quiet = !self.has_output() && !self.buffers.eof && !budget.is_spent() && !discards;
        Ok(is_quiet && self.is_open_and_idle() && !self.fill(service, now)? && !self.step(service, budget, now))
    }

    fn step(&mut self, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        self.is_stepping = true;
        let moved = self.protocol.step(sockets(&mut self.buffers, &mut self.data), service, budget, now);
        self.is_stepping = false;
        self.enlarge_output();
        moved
    }

    fn fill(&mut self, service: &Service, now: Instant) -> io::Result<bool> {
        let may_have_input = self.is_readable || self.transport.holds_input();
        if !may_have_input || self.buffers.eof || self.protocol.is_closing() || self.protocol.wants_tls() {
            return Ok(false);
        }
        // Before login, unread replies stop further requests.
        if self.has_output() && self.protocol.is_stranger() && !self.transport.is_handshaking() {
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
                self.pay_up(service, count, now);
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

    fn flush(&mut self, service: &Service, budget: usize, now: Instant) -> io::Result<bool> {
        if self.is_unheard {
            self.buffers.output = SendBuffer::default();
        }
        if !self.is_writable || !self.has_output() {
            return Ok(false);
        }
        let allowance = self.allowance_down(service, !self.buffers.output.is_empty(), now).min(budget);
        match self.transport.flush(&mut self.buffers.output, allowance)? {
            Moved::Bytes(count) => {
                self.pay_down(service, count, now);
                Ok(count > 0)
            }
            Moved::Blocked | Moved::End => {
                self.is_writable = false;
                Ok(false)
            }
        }
    }

    fn has_output(&self) -> bool {
        !self.is_unheard && self.has_words()
    }

    fn has_words(&self) -> bool {
        !self.buffers.output.is_empty() || self.transport.wants_flush()
    }

    /// Frees memory before a sleep that may be long.
    fn rest(&mut self) {
        if self.is_idle() || self.protocol.is_stranger() {
            self.transport.release();
            self.buffers.input.release();
            self.buffers.output.release();
            if let Some(data) = &mut self.data {
                data.release();
            }
        }
    }

    /// Sends the last replies, then shuts down and waits briefly for the peer to close. Closing with unread
    /// bytes would reset the connection and destroy replies on their way.
    fn close_gently(&mut self, flushed: bool, now: Instant) -> AfterTurn {
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

    fn drain_input(&mut self) -> AfterTurn {
        let unread = self.buffers.input.filled().len();
        self.buffers.input.consume(unread);
        match self.transport.fill(&mut self.buffers.input, INPUT_BYTES_FIRST) {
            Ok(Moved::Bytes(_)) => AfterTurn::Again,
            Ok(Moved::Blocked) => AfterTurn::Sleep,
            Ok(Moved::End) | Err(_) => AfterTurn::Close,
        }
    }

    /// Passes the result of a sync on.
    pub fn synced(&mut self, synced: Synced, now: Instant) {
        // While the disk was behind, the peer was not expected to send.
        self.last_moved = now;
        self.is_stepping = true;
        self.protocol.synced(sockets(&mut self.buffers, &mut self.data), synced, now);
        self.is_stepping = false;
    }

    /// Takes the admin query of the last turn.
    pub fn take_question(&mut self) -> Option<Query> {
        self.protocol.take_question()
    }

    /// Passes the result of an admin query on.
    pub fn answer(&mut self, answer: QueryResult) {
        self.protocol.answer(answer);
    }

    /// Ends the session with a reply to the peer.
    pub fn fail(&mut self, why: SessionError, now: Instant) {
        if !self.protocol.is_closing() {
            self.protocol.fail(&mut self.buffers, why, now);
            if let Some(data) = &mut self.data {
                data.reset();
            }
        }
    }

    /// Ends the session at once, with a reply if the socket accepts it.
    pub fn dismiss(&mut self, service: &Service, why: SessionError, now: Instant) {
        self.fail(why, now);
        // There is no wait for a reply that the socket does not accept.
        let _ = self.flush(service, FLUSH_BUDGET_MIN, now);
    }

    /// Ends the session after a panic in its turn. The peer gets a reply if the protocol panicked and not
    /// the transport.
    pub fn break_off(&mut self, now: Instant) -> AfterTurn {
        if !self.is_stepping || self.protocol.is_closing() {
            return AfterTurn::Close;
        }
        self.buffers.output.take_back_unfinished();
        self.fail(SessionError::Defect, now);
        AfterTurn::Again
    }

    /// Ends the session without a reply.
    pub fn hang_up(&mut self, now: Instant) {
        if !self.protocol.is_closing() {
            self.protocol.hang_up(now);
        }
    }

    /// Returns when the connection needs a turn even without an event.
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        if let Some(since) = self.closing_since {
            return self.held_until.into_iter().chain([since + LINGER]).min();
        }
        // Pauses by the rate limit do not count against the peer.
        let since = |moment: Instant| self.held_until.map_or(moment, |until| until.max(moment));
        let patience = if self.buffers.eof && self.data.is_some() {
            timeouts.stall.min(HALF_CLOSED_STALL)
        } else {
            timeouts.stall
        };
        let stalled = since(self.last_moved) + patience;
        let patience = match self.protocol.phase() {
            Phase::Login => Some(self.opened + timeouts.login),
            _ if self.has_output() => Some(stalled),
            Phase::Transfer => Some(stalled),
            Phase::Idle => Some(since(self.last_active) + timeouts.idle),
            Phase::Working => None,
        };
        [patience, self.wakes_at()].into_iter().flatten().min()
    }

    /// Returns when the session needs a turn without an event. With unsent output it can do nothing: the
    /// turns would repeat for ever, and the peer would never be late.
    fn wakes_at(&self) -> Option<Instant> {
        let may_speak = self.buffers.output.has_room();
        let own = self.protocol.wakes_at().filter(|_| may_speak);
        let of_data = self.data.as_ref().and_then(|data| data.wakes_at()).filter(|_| may_speak);
        [self.held_until, own, of_data].into_iter().flatten().min()
    }

    /// Returns whether a passed deadline means that the peer was too slow, rather than that the session
    /// needs a turn.
    pub fn is_overdue(&self, timeouts: &Timeouts, now: Instant) -> bool {
        self.wakes_at().is_none_or(|at| at > now) && self.deadline(timeouts).is_some_and(|at| at <= now)
    }

    /// Returns the priority of its next turn.
    pub fn claim(&self, has_slept: bool) -> Priority {
        if self.protocol.is_stranger() {
            Priority::Stranger
        } else if has_slept && (self.is_idle() || self.protocol.awaits_connection()) {
            Priority::Asking
        } else {
            Priority::Working
        }
    }

    /// Returns whether nothing is running, so that closing loses nothing.
    pub fn is_idle(&self) -> bool {
        matches!(self.protocol.phase(), Phase::Idle | Phase::Login) && self.buffers.output.is_empty()
    }

    /// Like [`Connection::is_idle`], and not closing.
    pub fn is_open_and_idle(&self) -> bool {
        self.is_idle() && !self.protocol.is_closing()
    }

    /// Returns the protocol, for queries about the session.
    pub fn protocol(&self) -> &dyn Protocol {
        self.protocol.as_ref()
    }

    /// Returns the peer's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the transport, for deregistration.
    pub fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }
}

/// Returns both sockets as the protocol sees them.
fn sockets<'a>(buffers: &'a mut IoBuffers, data: &'a mut Option<Box<DataSocket>>) -> Sockets<'a> {
    Sockets { buffers, data: data.as_mut().map(|data| &mut **data as &mut dyn DataConnection) }
}

fn sooner(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::native::Native;
    use crate::session::Session;
    use std::net::TcpListener;

    #[test]
    fn a_connection_that_has_not_sent_its_last_answer_is_not_idle() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stream = mio::net::TcpStream::connect(address).expect("it listens");
        let protocol = Box::new(Native::new(Session::new(1, address), true));
        let mut connection = Connection::new(Transport::plain(stream), protocol, address.ip(), Instant::now());
        assert!(connection.is_idle());
        connection.buffers.output.put(b"the end of a file");
        assert!(!connection.is_idle(), "a drain would cut it off");
    }
}
