//! Protocols, each translated to session verbs. A protocol sees its sockets only as [`Sockets`] and
//! [`SpliceSource`], and time only as `now`.
//!
//! In a turn the connection fills the input, calls `step`, and flushes the output. A protocol stops when its
//! budget is spent or the output is full enough, and returns whether anything moved. A connection may
//! sleep only after a turn in which nothing moved.

pub mod admin;
pub mod data_connection;
pub mod ftp;
pub mod native;

use std::rc::Rc;
use std::time::Instant;

use crate::account::AccountName;
use crate::auth::scram::Binding;
use crate::base::budget::Budget;
use crate::base::buffers::{IoBuffers, SpliceSource};
use crate::base::memory::Share;
use crate::session::active_accounts::Traffic;
use crate::session::{Phase, Service, Session, SessionError};
use crate::store::syncer::Synced;
use admin::query::{Query, QueryResult};
use data_connection::DataConnection;

/// What a protocol reads from and writes to. The sockets themselves belong to the connection.
pub struct Sockets<'a> {
    /// The buffers of the control connection, or of the only one.
    pub buffers: &'a mut IoBuffers,
    /// The data connection of protocols that use one.
    pub data: Option<&'a mut dyn DataConnection>,
}

impl<'a> Sockets<'a> {
    /// Makes the sockets of a protocol without a data connection.
    pub fn single(buffers: &'a mut IoBuffers) -> Self {
        Self { buffers, data: None }
    }
}

/// The protocol of a connection.
pub trait Protocol {
    /// Processes input and produces output within `budget`. Returns whether anything moved.
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

    /// Returns a number that changes when a request or its data advances. Messages that a peer may send during
    /// a transfer, such as pings and `NOOP`, do not change it. A peer makes progress if this number changes,
    /// if it takes bytes of the data connection, or as [`Protocol::sends_results`] says.
    fn progress(&self) -> u64 {
        self.requests()
    }

    /// Returns the session of a network peer.
    fn session(&self) -> Option<&Session> {
        None
    }

    /// Records that the connection uses TLS, and the channel binding for a login. Called before the first
    /// step with input.
    fn set_binding(&mut self, _binding: Binding) {}

    /// Returns whether the peer must begin TLS now. Until it has, nothing is read.
    fn wants_tls(&self) -> bool {
        false
    }

    /// Records that all further input is encrypted.
    fn set_encrypted(&mut self) {}

    /// Splices bytes of the data connection into an upload. Returns the number of bytes. If it is 0, the
    /// bytes must be read into the buffers instead. After an error [`Protocol::fail_transfer`] must be called.
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

    /// Takes the query about all connections that the last step left.
    fn take_query(&mut self) -> Option<Query> {
        None
    }

    /// Passes the result of a query on.
    fn answer(&mut self, _answer: QueryResult) {}

    /// Records that the peer is gone and reads no more replies. Returns whether the running transfer must
    /// still finish, because the peer sent QUIT after it. Other waiting requests are dropped.
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

    /// Returns whether the peer makes progress when it takes bytes from this connection, see
    /// [`Protocol::progress`]. During an upload and every FTP transfer these bytes are only replies, so they
    /// do not count.
    fn sends_results(&self) -> bool {
        true
    }

    /// Returns the memory of requests that were decoded ahead.
    fn request_bytes(&self) -> usize {
        0
    }

    /// Returns whether the peer came over the network and is not logged in (any more).
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
