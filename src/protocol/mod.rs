//! Each protocol is translated to the session's verbs. All that it sees of its sockets is [`Sockets`], and
//! [`SpliceSource`] bytes that it passes on unseen; all that it knows of time is `now`.
//!
//! Each turn the connection calls `step` once, after it filled the input and before it flushes
//! the output. A protocol stops when its budget is spent or the output is full enough, and
//! says whether anything moved: only a turn in which nothing moved lets a connection sleep.

pub mod admin;
pub mod data_connection;
pub mod ftp;
pub mod native;

use crate::account::AccountName;
use crate::auth::scram::Binding;
use crate::base::buffers::{Budget, IoBuffers, SpliceSource};
use crate::base::memory::Share;
use crate::session::active_accounts::Traffic;
use crate::session::{Phase, Service, Session, SessionError};
use crate::store::syncer::Synced;
use admin::query::{Query, QueryResult};
use data_connection::DataConnection;
use std::rc::Rc;
use std::time::Instant;

/// What a protocol sees of its sockets.
pub struct Sockets<'a> {
    /// What comes and goes on the connection itself.
    pub buffers: &'a mut IoBuffers,
    /// The second socket, of protocols that use one.
    pub data: Option<&'a mut dyn DataConnection>,
}

impl<'a> Sockets<'a> {
    /// Of a protocol with one socket.
    pub fn single(buffers: &'a mut IoBuffers) -> Self {
        Self { buffers, data: None }
    }
}

/// The protocol spoken on a connection.
pub trait Protocol {
    /// Lets the protocol work. Returns whether anything moved.
    fn step(&mut self, sockets: Sockets<'_>, service: &mut Service, budget: &mut Budget, now: Instant) -> bool;

    /// Ends the session with a last word to the peer.
    fn fail(&mut self, buffers: &mut IoBuffers, why: SessionError, now: Instant);

    /// The peer has gone without a word.
    fn hang_up(&mut self, now: Instant);

    /// Whether the connection can be closed once the output is empty.
    fn is_closing(&self) -> bool;

    /// What the session is waiting for.
    fn phase(&self) -> Phase;

    /// The number of requests taken so far; a session that takes none is idle.
    fn requests(&self) -> u64;

    /// A number that changes with all work on requests and their data, but not with what a peer may send
    /// during a transfer, such as pings and `NOOP`.
    fn progress(&self) -> u64 {
        self.requests()
    }

    /// The session, if the peer is one of the network.
    fn session(&self) -> Option<&Session> {
        None
    }

    /// The connection is encrypted, and this ties a login to it. Told before the first step in
    /// which there is anything to read.
    fn set_binding(&mut self, _binding: Binding) {}

    /// Whether the peer was told to begin with TLS. Until it has, nothing is read.
    fn wants_tls(&self) -> bool {
        false
    }

    /// What comes from now on is encrypted.
    fn set_sealed(&mut self) {}

    /// Lets a protocol that would only store what comes by its second socket take it from there. Returns the
    /// number of bytes that it took; with 0 they are to come by the buffers. After an error
    /// [`Protocol::fail_transfer`] is to be called.
    fn store_from(
        &mut self,
        _incoming: SpliceSource<'_>,
        _service: &mut Service,
        _budget: &mut Budget,
    ) -> Result<usize, SessionError> {
        Ok(0)
    }

    /// Answers the transfer under way with a refusal and ends it.
    fn fail_transfer(&mut self, _sockets: Sockets<'_>, _refusal: SessionError, _now: Instant) {}

    /// Takes the result of a sync.
    fn synced(&mut self, _sockets: Sockets<'_>, _synced: Synced, _now: Instant) {}

    /// What the last step wants to know of all connections.
    fn take_question(&mut self) -> Option<Query> {
        None
    }

    /// Takes the answer to a question.
    fn answer(&mut self, _answer: QueryResult) {}

    /// The peer has gone and reads nothing any more. Returns whether the transfer under way is still wanted,
    /// because the peer said goodbye behind it. What else it asked for is not done.
    fn ends_with_transfer(&mut self, _buffers: &mut IoBuffers) -> bool {
        false
    }

    /// Whether a transfer waits for its second socket, so that nothing of it has moved yet.
    fn awaits_connection(&self) -> bool {
        false
    }

    /// When the session wants a turn by itself.
    fn wakes_at(&self) -> Option<Instant> {
        None
    }

    /// Whether bytes that the peer takes from this connection are progress. During an upload and during
    /// every FTP transfer they are only replies, and the data itself must make progress.
    fn sends_results(&self) -> bool {
        true
    }

    /// Memory of requests that were decoded ahead.
    fn request_bytes(&self) -> usize {
        0
    }

    /// Whether nobody has logged in, or has left: a peer of the network that is owed little.
    fn is_stranger(&self) -> bool {
        self.session().is_some_and(|session| session.account().is_none())
    }

    /// What the session's account has moved.
    fn traffic(&self) -> Option<&Rc<Traffic>> {
        self.session().and_then(Session::traffic)
    }

    /// What the session's account holds of memory.
    fn memory(&self) -> Option<&Rc<Share>> {
        self.session().and_then(Session::memory)
    }

    /// Whose account is logged in.
    fn account(&self) -> Option<&AccountName> {
        self.session().and_then(Session::account)
    }

    /// What the session is doing, in a word for the log.
    fn activity(&self) -> String {
        self.session().map_or_else(|| "Control".into(), |session| format!("{:?}", session.state_name()))
    }
}
