//! One connection: its transport, buffers, protocol and readiness. A turn fills, steps and flushes,
//! each within its own limit.

mod data;
mod deadlines;
mod end;
mod memory;
mod rates;
mod transfer;

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::data_socket::DataSocket;
use super::rate_limits::RateLimiter;
use super::scheduler::Priority;
use super::transport::Transport;
use crate::account::AccountName;
use crate::base::budget::{Budget, FLUSH_BUDGET_MIN, TURN_BUDGET};
use crate::base::buffers::IoBuffers;
use crate::base::memory::SmallBuffers;
use crate::protocol::admin::query::{Query, QueryResult};
use crate::protocol::data_connection::DataConnection;
use crate::protocol::{Protocol, ProtocolEvent, ProtocolStatus, Sockets};
use crate::session::active_accounts::Traffic;
use crate::session::{Phase, Service, Session};
use crate::store::syncer::Synced;

/// How often one turn of a session with a data connection may fill, step and send on both sockets while
/// little moves there. A small file takes this many from connection to end.
const ROUNDS_PER_TURN: usize = 5;
/// How long a closed session may take to read its last reply.
pub const LINGER: Duration = Duration::from_secs(5);

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
    /// The protocol knows whether TLS is in use.
    is_channel_reported: bool,
    /// The peer has reset the connection and cannot read replies.
    is_reset: bool,
    /// The peer has reset the connection, but its last transfer still runs.
    cannot_reply: bool,
    opened: Instant,
    /// When the session last did something other than wait for a request.
    last_active: Instant,
    last_moved: Instant,
    /// The protocol's progress counter after the last turn.
    progress: u64,
    rate_limiter: RateLimiter,
    /// The account's traffic, once logged in.
    account_traffic: Option<Rc<Traffic>>,
    /// Buffers without a charge, once logged in.
    small_buffers: Option<SmallBuffers>,
    /// Transfers pause until then, because of the rate limit or missing memory.
    paused_until: Option<Instant>,
    requests: u64,
    /// The protocol is being called.
    is_stepping: bool,
    closing_since: Option<Instant>,
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
            is_channel_reported: false,
            is_reset: false,
            cannot_reply: false,
            opened: now,
            last_active: now,
            last_moved: now,
            progress: 0,
            rate_limiter: RateLimiter::default(),
            account_traffic: None,
            small_buffers: None,
            paused_until: None,
            requests: 0,
            is_stepping: false,
            closing_since: None,
        }
    }

    /// Adds a data connection, for a protocol that knows by itself whether TLS is in use.
    pub(super) fn with_data(self, data: DataSocket) -> Self {
        Self { data: Some(Box::new(data)), is_channel_reported: true, ..self }
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

    fn step(&mut self, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        self.is_stepping = true;
        let moved = self.protocol.step(sockets(&mut self.buffers, &mut self.data), service, budget, now);
        self.is_stepping = false;
        self.enlarge_output();
        moved
    }

    /// Passes the result of a sync on.
    pub fn synced(&mut self, synced: Synced, now: Instant) {
        // While the disk was behind, the peer was not expected to send.
        self.last_moved = now;
        self.tell(ProtocolEvent::Synced(synced), now);
    }

    fn tell(&mut self, event: ProtocolEvent, now: Instant) {
        self.is_stepping = true;
        self.protocol.handle(event, sockets(&mut self.buffers, &mut self.data), now);
        self.is_stepping = false;
    }

    /// Takes the admin query of the last turn.
    pub fn take_query(&mut self) -> Option<Query> {
        self.protocol.take_query()
    }

    /// Passes the result of an admin query on.
    pub fn answer(&mut self, answer: QueryResult, now: Instant) {
        self.tell(ProtocolEvent::QueryAnswered(answer), now);
    }

    /// Returns the priority of its next turn.
    pub fn priority(&self, has_slept: bool) -> Priority {
        if self.is_unauthenticated() {
            Priority::Unauthenticated
        } else if has_slept && (self.is_idle() || self.protocol.status().awaits_data_connection) {
            Priority::Woken
        } else {
            Priority::Busy
        }
    }

    /// Returns whether nothing is running, so that closing loses nothing.
    pub fn is_idle(&self) -> bool {
        matches!(self.protocol.status().phase, Phase::Idle | Phase::Login) && self.buffers.output.is_empty()
    }

    /// Like [`Connection::is_idle`], and not closing.
    pub fn is_open_and_idle(&self) -> bool {
        self.is_idle() && !self.protocol.status().is_closing
    }

    /// Returns what the protocol is doing.
    pub fn status(&self) -> ProtocolStatus {
        self.protocol.status()
    }

    /// Returns the session of a network peer.
    pub fn session(&self) -> Option<&Session> {
        self.protocol.session()
    }

    /// Returns the account that is logged in.
    pub fn account(&self) -> Option<&AccountName> {
        self.session().and_then(Session::account)
    }

    /// Returns whether the peer came over the network and is not logged in (any more).
    pub fn is_unauthenticated(&self) -> bool {
        self.session().is_some_and(|session| session.account().is_none())
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

fn earliest(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::protocol::native::Native;

    #[test]
    fn a_connection_that_has_not_sent_its_last_reply_is_not_idle() {
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
