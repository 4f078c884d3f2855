//! Protocols, each translated to session calls. A protocol sees its sockets only as [`ProtocolIo`] and
//! [`SpliceSource`], and time only as `now`.
//!
//! In a turn the connection fills the input, calls `step`, and flushes the output. A protocol stops when its
//! budget is spent or the output is full enough, and returns whether anything moved. A connection may
//! sleep only after a turn in which nothing moved.

pub mod admin;
pub mod data_connection;
pub mod ftp;
pub mod kind;
pub mod native;

use std::time::Instant;

use crate::auth::scram::Binding;
use crate::base::budget::Budget;
use crate::base::buffers::{IoBuffers, SpliceSource};
use crate::session::{Phase, Service, Session, SessionError};
use crate::store::syncer::Synced;
use admin::query::{Query, QueryResult};
use data_connection::DataConnection;

/// The bytes of requests that a protocol may decode ahead of the running one. Bounds what a peer can queue in a session
/// beyond its input.
pub const QUEUED_REQUEST_BYTES_MAX: usize = 128 * 1024;

/// What a protocol reads from and writes to. The sockets themselves belong to the connection.
pub struct ProtocolIo<'a> {
    /// The buffers of the control connection, or of the only one.
    pub buffers: &'a mut IoBuffers,
    /// The data connection of protocols that use one.
    pub data: Option<&'a mut dyn DataConnection>,
}

impl<'a> ProtocolIo<'a> {
    /// Makes that of a protocol without a data connection.
    pub fn single(buffers: &'a mut IoBuffers) -> Self {
        Self { buffers, data: None }
    }
}

/// The protocol of a connection.
pub trait Protocol {
    /// Processes input and produces output within `budget`. Returns whether anything moved.
    fn step(&mut self, io: ProtocolIo<'_>, service: &mut Service, budget: &mut Budget, now: Instant) -> bool;

    /// Handles an event that is not input.
    fn handle(&mut self, event: ProtocolEvent, io: ProtocolIo<'_>, now: Instant);

    /// Ends the session with a reply to the peer.
    fn fail(&mut self, buffers: &mut IoBuffers, why: SessionError, now: Instant);

    /// Ends the session of a peer that is gone.
    fn hang_up(&mut self, now: Instant);

    /// Returns what it is doing, and what it needs from its connection.
    fn status(&self) -> ProtocolStatus;

    /// Returns the session of a network peer.
    fn session(&self) -> Option<&Session> {
        None
    }

    /// Splices bytes of the data connection into an upload. Returns the number of bytes. If it is 0, the
    /// bytes must be read into the buffers instead. An error must be passed on as
    /// [`ProtocolEvent::TransferFailed`].
    fn store_from(
        &mut self,
        _incoming: SpliceSource<'_>,
        _service: &mut Service,
        _budget: &mut Budget,
    ) -> Result<usize, SessionError> {
        Ok(0)
    }

    /// Takes the query about all connections that the last step left.
    fn take_query(&mut self) -> Option<Query> {
        None
    }
}

/// An event that a connection passes on to its protocol. A protocol ignores those that cannot concern it.
pub enum ProtocolEvent {
    /// The peer has begun with TLS, and a login is bound to it. Comes before the first step with input.
    TlsEstablished(Binding),
    /// All further input is encrypted, because [`ProtocolStatus::wants_tls`] was set.
    TlsUpgraded,
    /// A sync has ended.
    Synced(Synced),
    /// The query of [`Protocol::take_query`] has a result.
    QueryAnswered(QueryResult),
    /// [`Protocol::store_from`] has failed: the running transfer is answered with this refusal and ends.
    TransferFailed(SessionError),
    /// The peer is gone and reads no more replies. Only a transfer can still finish, see
    /// [`ProtocolStatus::ends_with_transfer`]; other waiting requests are dropped.
    PeerReset,
}

/// What a protocol is doing between two steps, and what it needs from its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolStatus {
    /// What the session is waiting for.
    pub phase: Phase,
    /// The connection can be closed once the output is empty.
    pub is_closing: bool,
    /// The number of requests taken so far. A session that takes none is idle.
    pub requests: u64,
    /// A number that changes when a request or its data advances. Messages that a peer may send during a
    /// transfer, such as pings and `NOOP`, do not change it. A peer makes progress if this number changes, if it
    /// takes bytes of the data connection, or as `sends_results` says.
    pub progress: u64,
    /// The peer makes progress when it takes bytes from this connection. During an upload and every FTP transfer
    /// these bytes are only replies, so they do not count.
    pub sends_results: bool,
    /// When the session needs a turn without an event.
    pub wakes_at: Option<Instant>,
    /// The memory of requests that were decoded ahead.
    pub request_bytes: usize,
    /// A transfer waits for its data connection, so that none of its bytes has moved yet.
    pub awaits_data_connection: bool,
    /// The peer must begin TLS now. Until it has, nothing is read.
    pub wants_tls: bool,
    /// The session ends after the running transfer, because the peer sent QUIT after it and is gone.
    pub ends_with_transfer: bool,
}

impl ProtocolStatus {
    /// Returns the status of a session in this phase that has nothing to report.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            is_closing: false,
            requests: 0,
            progress: 0,
            sends_results: true,
            wakes_at: None,
            request_bytes: 0,
            awaits_data_connection: false,
            wants_tls: false,
            ends_with_transfer: false,
        }
    }

    /// Returns whether nothing is running, so that closing loses nothing but the output.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Login)
    }
}
