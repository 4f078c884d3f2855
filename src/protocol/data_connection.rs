//! The data connection of a session, as its protocol uses it. The event loop owns the socket and its state; the
//! protocol asks for the next step, and learns how far it is.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Instant;

use crate::base::buffers::IoBuffers;
use crate::tls::Resumption;

/// A data connection (RFC 959, section 3.2).
pub trait DataConnection {
    /// Closes the present connection, listens on one of these ports at the control connection's local
    /// address, and returns the address. If `expects_resumption` is set, several connections are accepted, because
    /// one that does not resume a TLS session may be another peer's.
    fn listen(&mut self, ports: RangeInclusive<u16>, expects_resumption: bool) -> Result<SocketAddr, DataFailure>;

    /// Closes the present connection. [`DataConnection::connect`] connects to this address of the peer.
    fn set_address(&mut self, address: SocketAddr);

    /// Returns whether a transfer can use it: the peer can connect or has connected, or its address is set. Once a
    /// transfer has begun to connect or to move bytes, no other can.
    fn is_available(&self) -> bool;

    /// Connects to the peer if its address is set. Returns false if the peer connects.
    fn connect(&mut self) -> bool;

    /// Begins to read and write once the peer is connected. Returns whether it is.
    fn open(&mut self, security: Security) -> Result<bool, DataFailure>;

    /// Returns an error if it has failed.
    fn check(&self) -> Result<(), DataFailure>;

    /// Shuts down the write side once all output is sent. Returns how far that is.
    fn finish(&mut self) -> DataEnd;

    /// Closes the socket. Sent bytes may still arrive.
    fn close(&mut self);

    /// Resets the connection, so that the peer sees a failure.
    fn reset(&mut self);

    /// Drops what the peer still sends, up to a bound, and then resets the connection. Some peers read replies only
    /// after they have sent their last byte. Returns whether the peer may still send.
    fn discard(&mut self) -> bool;

    /// Returns whether it is closed, by this side or after the last byte by the peer.
    fn is_closed(&self) -> bool;

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

/// How far the end of the sent data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataEnd {
    /// The kernel has yet to take the last byte.
    Sending,
    /// The kernel has taken the last byte and the end of the stream.
    Sent,
    /// The peer has closed its side as well.
    PeerClosed,
}

/// Why a data connection has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataFailure {
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
