//! One connection: its transport, buffers, protocol and readiness. A turn fills, steps and flushes,
//! each within its own limit.

mod data;
mod deadlines;
mod end;
mod memory;
mod rates;
mod turn;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::data_socket::DataSocket;
use super::rate_limits::RateLimiter;
use super::scheduler::Priority;
use super::transport::Transport;
use crate::account::AccountName;
use crate::base::buffers::IoBuffers;
use crate::base::memory::SmallBuffers;
use crate::protocol::admin::query::{Query, QueryResult};
use crate::protocol::data_connection::DataConnection;
use crate::protocol::{Protocol, ProtocolEvent, ProtocolIo, ProtocolStatus};
use crate::session::Session;
use crate::session::active_accounts::Traffic;
use crate::store::syncer::Synced;
pub use turn::AfterTurn;

/// How long a closed session may take to read its last reply.
pub const LINGER: Duration = Duration::from_secs(5);

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
    /// Whether the protocol knows if TLS is in use.
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
    /// Until this time, transfers pause because of the rate limit or missing memory.
    paused_until: Option<Instant>,
    requests: u64,
    /// The protocol is being called.
    is_stepping: bool,
    closing_since: Option<Instant>,
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

    /// Passes the result of a sync on.
    pub fn synced(&mut self, synced: Synced, now: Instant) {
        // During the sync, the peer was not expected to send.
        self.last_moved = now;
        self.tell(ProtocolEvent::Synced(synced), now);
    }

    /// Passes an event on. After a panic in it, the peer still gets a reply.
    fn tell(&mut self, event: ProtocolEvent, now: Instant) {
        self.is_stepping = true;
        self.protocol.handle(event, protocol_io(&mut self.buffers, &mut self.data), now);
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
        self.protocol.status().is_idle() && self.buffers.output.is_empty()
    }

    /// Like [`Connection::is_idle`], and not closing.
    pub fn is_open_and_idle(&self) -> bool {
        let status = self.protocol.status();
        status.is_idle() && !status.is_closing && self.buffers.output.is_empty()
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

/// Returns what the protocol reads from and writes to.
fn protocol_io<'a>(buffers: &'a mut IoBuffers, data: &'a mut Option<Box<DataSocket>>) -> ProtocolIo<'a> {
    ProtocolIo { buffers, data: data.as_mut().map(|data| &mut **data as &mut dyn DataConnection) }
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
