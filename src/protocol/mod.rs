//! Protocols, each translated to session verbs. A protocol sees its sockets only as [`Sockets`] and
//! [`SpliceSource`], and time only as `now`.
//!
//! Each turn the connection calls `step` once, after it filled the input and before it flushes the
//! output. A protocol stops when its budget is spent or the output is full enough, and returns whether
//! anything moved: only after a turn in which nothing moved may a connection sleep.

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

/// The sockets of a protocol.
pub struct Sockets<'a> {
    /// The buffers of the control connection, or of the only one.
    pub buffers: &'a mut IoBuffers,
    /// The data connection of protocols that use one.
    pub data: Option<&'a mut dyn DataConnection>,
}

impl<'a> Sockets<'a> {
    /// The sockets of a protocol without a data connection.
    pub fn single(buffers: &'a mut IoBuffers) -> Self {
        Self { buffers, data: None }
    }
}

/// The protocol of a connection.
pub trait Protocol {
    /// Lets the protocol work. Returns whether anything moved.
    fn step(&mut self, sockets: Sockets<'_>, service: &mut Service, budget: &mut Budget, now: Instant) -> bool;

    /// Ends the session with a reply to the peer.
    fn fail(&mut self, buffers: &mut IoBuffers, why: SessionError, now: Instant);

    /// Ends the session of a peer that is gone.
    fn hang_up(&mut self, now: Instant);

    /// Returns whether the connection can be closed once the output is empty.
    fn is_closing(&self) -> bool;

    /// Returns what the session is waiting for.
    fn phase(&self) -> Phase;

    /// Returns the number of requests taken so far. A session that takes none is idle.
    fn requests(&self) -> u64;

    /// Returns a number that changes with all work on requests and their data, but not with messages that a
    /// peer may send during a transfer, such as pings and `NOOP`.
    fn progress(&self) -> u64 {
        self.requests()
    }

    /// Returns the session of a network peer.
    fn session(&self) -> Option<&Session> {
        None
    }

    /// Tells that the connection uses TLS, with the channel binding for a login. Called before the first
    /// step with input.
    fn set_binding(&mut self, _binding: Binding) {}

    /// Returns whether the peer must begin TLS now. Until it has, nothing is read.
    fn wants_tls(&self) -> bool {
        false
    }

    /// Tells that all further input is encrypted.
    fn set_sealed(&mut self) {}

    /// Splices bytes of the data connection into an upload. Returns the number of bytes; with 0 they must
    /// come through the buffers. After an error [`Protocol::fail_transfer`] must be called.
    fn store_from(
        &mut self,
        _incoming: SpliceSource<'_>,
        _service: &mut Service,
        _budget: &mut Budget,
    ) -> Result<usize, SessionError> {
        Ok(0)
    }

    /// Answers the running transfer with a refusal and ends it.
    fn fail_transfer(&mut self, _sockets: Sockets<'_>, _refusal: SessionError, _now: Instant) {}

    /// Passes the result of a sync on.
    fn synced(&mut self, _sockets: Sockets<'_>, _synced: Synced, _now: Instant) {}

    /// Takes the last step's query about all connections.
    fn take_query(&mut self) -> Option<Query> {
        None
    }

    /// Passes the result of a query on.
    fn answer(&mut self, _answer: QueryResult) {}

    /// Tells that the peer is gone and reads nothing more. Returns whether the running transfer must still
    /// finish, because the peer sent QUIT after it. Other waiting requests are dropped.
    fn ends_with_transfer(&mut self, _buffers: &mut IoBuffers) -> bool {
        false
    }

    /// Returns whether a transfer waits for its data connection, so that none of its bytes has moved yet.
    fn awaits_connection(&self) -> bool {
        false
    }

    /// Returns when the session needs a turn without an event.
    fn wakes_at(&self) -> Option<Instant> {
        None
    }

    /// Returns whether bytes that the peer takes from this connection are progress. During an upload and
    /// during every FTP transfer they are only replies, and the data itself must make progress.
    fn sends_results(&self) -> bool {
        true
    }

    /// Returns the memory of requests that were decoded ahead.
    fn request_bytes(&self) -> usize {
        0
    }

    /// Returns whether the peer is of the network and not logged in, or has logged out.
    fn is_unauthenticated(&self) -> bool {
        self.session().is_some_and(|session| session.account().is_none())
    }

    /// Returns the account's traffic.
    fn traffic(&self) -> Option<&Rc<Traffic>> {
        self.session().and_then(Session::traffic)
    }

    /// Returns the account's share of memory.
    fn memory(&self) -> Option<&Rc<Share>> {
        self.session().and_then(Session::memory)
    }

    /// Returns the account that is logged in.
    fn account(&self) -> Option<&AccountName> {
        self.session().and_then(Session::account)
    }

    /// Returns the session's activity as a word for the log.
    fn activity(&self) -> String {
        self.session().map_or_else(|| "Control".into(), |session| format!("{:?}", session.state_name()))
    }
}
