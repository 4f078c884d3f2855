//! One connection: its transport, its buffers, its protocol, and what is known of its socket's
//! readiness. A turn is fill, step, flush, each with an allowance of its own.

mod memory;
mod rates;
mod second;

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

/// What a connection wants after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterTurn {
    /// Another turn: something moved.
    Again,
    /// An event, or its deadline.
    Sleep,
    /// To be closed.
    Close,
}

/// A connected socket and all that belongs to it.
pub struct Connection {
    transport: Transport,
    buffers: IoBuffers,
    protocol: Box<dyn Protocol>,
    /// The second socket of protocols that have one.
    data: Option<Box<DataSocket>>,
    address: IpAddr,
    is_readable: bool,
    is_writable: bool,
    /// The protocol knows what kind of connection this is.
    is_introduced: bool,
    /// The peer is gone, and so is whoever would read the answers to what it sent last.
    is_reset: bool,
    /// The same, and its last transfer is still under way.
    is_unheard: bool,
    opened: Instant,
    /// When something other than waiting for a request was last under way.
    last_active: Instant,
    last_moved: Instant,
    /// What the protocol had done of its work after the last turn.
    progress: u64,
    rate_limiter: RateLimiter,
    /// What its account has moved, once it is known.
    account: Option<Rc<Traffic>>,
    /// What it holds without a charge, once its account is known.
    small_buffers: Option<SmallBuffers>,
    /// Bytes wait for this, because more have moved than the rates allow.
    held_until: Option<Instant>,
    requests: u64,
    /// The protocol is at work.
    is_stepping: bool,
    closing_since: Option<Instant>,
}

/// What came of a turn.
#[derive(Debug, Clone, Copy, Default)]
struct Worked {
    anything: bool,
    /// The peer took something of the connection itself.
    told: bool,
    /// It took something of the second socket.
    sent: bool,
}

impl Connection {
    /// A connection that was just accepted.
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

    /// The same of a protocol that has a second socket, and that knows without being told whether
    /// it is encrypted.
    pub(super) fn with_data(self, data: DataSocket) -> Self {
        Self { data: Some(Box::new(data)), is_introduced: true, ..self }
    }

    /// Notes what an event said; does no I/O.
    pub fn mark(&mut self, readable: bool, writable: bool) {
        self.is_readable |= readable;
        self.is_writable |= writable;
    }

    /// The same of an event that says that the connection failed. What the peer sent before, and was
    /// not taken up, would be done amid whatever its user does next on another connection.
    pub fn mark_reset(&mut self) {
        self.is_reset = true;
    }

    /// The same as [`Connection::mark`] of the second socket, and when its peer's end came.
    pub fn mark_data(&mut self, readable: bool, writable: bool, ended: Option<Instant>) {
        if let Some(data) = &mut self.data {
            data.mark(readable, writable, ended);
        }
    }

    /// One bounded turn, which sends at most about `flush_budget` bytes.
    pub fn turn(&mut self, service: &mut Service, flush_budget: usize, now: Instant) -> AfterTurn {
        let result = self.run(service, flush_budget, now);
        self.count_small_buffers();
        match result {
            Ok(turn) => turn,
            Err(_) if self.outlives_reset() => AfterTurn::Again,
            Err(error) => {
                // Reset by the peer, or its TLS is broken: nobody is left to be told.
                log::debug!("a connection from {} ended: {error}", self.address);
                self.protocol.hang_up(now);
                AfterTurn::Close
            }
        }
    }

    /// A client that has said that it goes, and closed the connection before it read all replies, still wants
    /// the transfer that is under way. Nobody is told what becomes of it.
    fn outlives_reset(&mut self) -> bool {
        if self.is_unheard || self.data.is_none() || self.protocol.is_closing() {
            return false;
        }
        // The system still has what came before the reset.
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

    /// Fills, steps, and sends over the second socket; again while hardly anything moves there: a
    /// small file that goes out with its end and all its replies wakes its peer once.
    fn work(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
        flush_budget: usize,
        now: Instant,
    ) -> io::Result<Worked> {
        let (mut worked, mut data_bytes) = (Worked::default(), 0);
        for _ in 0..ROUNDS_PER_TURN {
            // The control connection first: an upload whose peer is gone is not whole.
            let filled = self.fill(service, now)?;
            let received = self.fill_data(service, budget, flush_budget, now);
            self.introduce(now)?;
            let stepped = self.step(service, budget, now);
            self.tell_account();
            let received = received + self.advance_data_handshake(service, budget, flush_budget, now);
            // That a transfer begins is said before its first byte leaves, and that it has ended apart
            // from that.
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

    /// A peer that neither sends nor takes what its transfer is about is late, whatever else it says.
    /// Work counts, too: checking a long prefix, the server itself is what the peer waits for.
    fn note_progress(&mut self, worked: Worked, now: Instant) {
        let progress = self.protocol.progress();
        let has_advanced = std::mem::replace(&mut self.progress, progress) != progress;
        if has_advanced || worked.sent || (worked.told && self.protocol.sends_results()) {
            self.last_moved = now;
        }
    }

    /// Tells the protocol what kind of connection this is before it sees the first byte.
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

    /// Looks once more, now that the answer to what was asked is on its way, whether nothing has
    /// come meanwhile. A turn of its own for that would only delay the next request.
    fn is_answered(&mut self, service: &mut Service, budget: &mut Budget, now: Instant) -> io::Result<bool> {
        let is_quiet = !self.has_output() && !self.buffers.eof && !budget.is_spent();
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
        // Before login answers that are not read hold back what asks for more.
        if self.has_output() && self.protocol.is_stranger() && !self.transport.is_handshaking() {
            return Ok(false);
        }
        let allowance = match self.allowance_up(service, now) {
            Some(allowance) => allowance,
            // Whether the peer of an upload is still there, or aborts it, is always to be seen.
            None if self.data.is_some() => INPUT_BYTES_FIRST,
            None => return Ok(false),
        };
        // Before it is filled: nothing else tells of what then waits in the socket.
        self.enlarge_input(now);
        let capacity = self.buffers.input.capacity().min(self.buffers.input.filled().len().saturating_add(allowance));
        let moved = match self.transport.fill(&mut self.buffers.input, capacity) {
            // Commands have ends of their own, so those of FTP lose nothing to an end that TLS was not told.
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

    /// Gives memory back before a sleep that may be long.
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

    /// Lets the last words out, then says goodbye and waits a moment for the peer's: closing
    /// with unread bytes would reset the connection and destroy the words on their way.
    fn close_gently(&mut self, flushed: bool, now: Instant) -> AfterTurn {
        let since = *self.closing_since.get_or_insert(now);
        self.data = None;
        // Amid a handshake no last word can be sent, so nobody is waited for.
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

    /// Hands over the answer to a sync.
    pub fn synced(&mut self, synced: Synced, now: Instant) {
        // While the disk was behind, nothing was expected of the peer.
        self.last_moved = now;
        self.is_stepping = true;
        self.protocol.synced(sockets(&mut self.buffers, &mut self.data), synced, now);
        self.is_stepping = false;
    }

    /// What the last turn wants of all connections.
    pub fn take_question(&mut self) -> Option<Query> {
        self.protocol.take_question()
    }

    /// Hands over the answer to a question.
    pub fn answer(&mut self, answer: QueryResult) {
        self.protocol.answer(answer);
    }

    /// Ends the session with a last word to the peer.
    pub fn fail(&mut self, why: SessionError, now: Instant) {
        if !self.protocol.is_closing() {
            self.protocol.fail(&mut self.buffers, why, now);
            if let Some(data) = &mut self.data {
                data.reset();
            }
        }
    }

    /// Ends the session at once, with a last word if the socket takes it.
    pub fn dismiss(&mut self, service: &Service, why: SessionError, now: Instant) {
        self.fail(why, now);
        // Nobody waits for one that is not taken.
        let _ = self.flush(service, FLUSH_BUDGET_MIN, now);
    }

    /// Ends the session after a panic in its turn. The peer gets a last word if the protocol is
    /// what failed, not the way to the peer.
    pub fn break_off(&mut self, now: Instant) -> AfterTurn {
        if !self.is_stepping || self.protocol.is_closing() {
            return AfterTurn::Close;
        }
        self.buffers.output.take_back_unfinished();
        self.fail(SessionError::Defect, now);
        AfterTurn::Again
    }

    /// Ends the session without a word.
    pub fn hang_up(&mut self, now: Instant) {
        if !self.protocol.is_closing() {
            self.protocol.hang_up(now);
        }
    }

    /// When something must happen even if no event comes.
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        if let Some(since) = self.closing_since {
            return self.held_until.into_iter().chain([since + LINGER]).min();
        }
        // The peer cannot be late while it is held back.
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

    /// When the session wants a turn by itself. Where nobody reads what it has said, it says no more
    /// and so cannot use one: the turn would come again and again, and the peer would never be late.
    fn wakes_at(&self) -> Option<Instant> {
        let may_speak = self.buffers.output.has_room();
        let own = self.protocol.wakes_at().filter(|_| may_speak);
        let of_data = self.data.as_ref().and_then(|data| data.wakes_at()).filter(|_| may_speak);
        [self.held_until, own, of_data].into_iter().flatten().min()
    }

    /// Whether a deadline that has passed means that the peer was too slow, rather than that
    /// the session wants a turn.
    pub fn is_overdue(&self, timeouts: &Timeouts, now: Instant) -> bool {
        self.wakes_at().is_none_or(|at| at > now) && self.deadline(timeouts).is_some_and(|at| at <= now)
    }

    /// Why it wants a turn, now that it has slept, or has not.
    pub fn claim(&self, has_slept: bool) -> Priority {
        if self.protocol.is_stranger() {
            Priority::Stranger
        } else if has_slept && (self.is_idle() || self.protocol.awaits_connection()) {
            Priority::Asking
        } else {
            Priority::Working
        }
    }

    /// Whether nothing is under way, so that closing loses nothing.
    pub fn is_idle(&self) -> bool {
        matches!(self.protocol.phase(), Phase::Idle | Phase::Login) && self.buffers.output.is_empty()
    }

    /// The same, and its end has not begun.
    pub fn is_open_and_idle(&self) -> bool {
        self.is_idle() && !self.protocol.is_closing()
    }

    /// The protocol, for what the loop wants to know of the session.
    pub fn protocol(&self) -> &dyn Protocol {
        self.protocol.as_ref()
    }

    /// Where the peer is.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The transport, for deregistration.
    pub fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }
}

/// What the protocol sees of both sockets.
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
