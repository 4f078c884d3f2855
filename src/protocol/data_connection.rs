//! The data connection of a session, as its protocol uses it. The event loop owns the socket.
//!
//! ```text
//! Closed ─listen─► Listening ─► Connected ─open─► Open ─finish, discard─► Sent ─► Left
//!        ─connect─► Connecting ──►                  any ─close, reset─► Closed
//!        any ─► Failed
//! ```

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Instant;

use crate::base::buffers::IoBuffers;
use crate::tls::Resumption;

/// A data connection (RFC 959, section 3.2).
pub trait DataConnection {
    /// Closes the present connection, listens on one of these ports at the control connection's local
    /// address, and returns the address. If `expects_resumption`, several connections are accepted, because
    /// one that does not resume a TLS session may be another peer's.
    fn listen(&mut self, ports: RangeInclusive<u16>, expects_resumption: bool) -> Result<SocketAddr, Failure>;

    /// Connects to the peer.
    fn connect(&mut self, address: SocketAddr);

    /// Begins to read and write.
    fn open(&mut self, security: Security);

    /// Shuts down the write side once all output is sent.
    fn finish(&mut self);

    /// Closes the socket. Sent bytes may still arrive.
    fn close(&mut self);

    /// Resets the connection, so that the peer sees a failure.
    fn reset(&mut self);

    /// Drops what the peer still sends, up to a bound; then resets the connection. Some peers read replies only
    /// after they have sent their last byte.
    fn discard(&mut self);

    /// Returns its state.
    fn stage(&self) -> ConnectionStage;

    /// Returns its buffers, once it is open.
    fn buffers(&self) -> &IoBuffers;

    /// Returns its buffers for changes.
    fn buffers_mut(&mut self) -> &mut IoBuffers;

    /// Returns when the event of the peer's end of data arrived, if that end was read.
    fn ended_at(&self) -> Option<Instant>;

    /// Returns what it proves by resuming a TLS session, once known.
    fn resumption(&self) -> Option<Resumption>;

    /// Returns whether the client has shown that it can resume any number of times.
    fn shows_reuse(&self) -> bool;
}

/// The state of a data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionStage {
    /// There is no socket.
    #[default]
    Closed,
    /// The peer may connect.
    Listening,
    /// The peer has not answered yet.
    Connecting,
    /// The peer is connected. Nothing was read or written yet.
    Connected,
    /// Bytes are transferred.
    Open,
    /// The kernel has taken the last byte and the end of the stream.
    Sent,
    /// As `Sent`, and the peer has closed its side as well.
    Left,
    /// It has failed.
    Failed(Failure),
}

/// Why a data connection has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No port is free to listen on.
    NoPort,
    /// The peer refuses the connection.
    Unreachable,
    /// Reset, or ended so that the content may be incomplete.
    Cut,
    /// The file that is being sent was truncated.
    Shorter,
    /// TLS had to resume a session of the control connection, or of another session of the account, and did
    /// not.
    NotResumed,
}

/// The security of a data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Plaintext.
    Plain,
    /// Within TLS.
    Tls {
        /// The peer only sends.
        is_upload: bool,
        /// What it must prove by resuming a session.
        needs: Resumption,
        /// An end without close_notify counts as a truncation.
        needs_close_notify: bool,
    },
}
