//! The second socket of a session, as its protocol uses it. The event loop has the socket.
//!
//! ```text
//! Closed ─listen─► Listening ─► Connected ─open─► Open ─finish─► Sent ─► Left
//!        ─connect─► Connecting ──►                  any ─close, reset─► Closed
//!        any ─► Failed
//! ```

use crate::base::buffers::IoBuffers;
use crate::tls::Resumption;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Instant;

/// A data connection (RFC 959, section 3.2).
pub trait DataConnection {
    /// Listens on one of these ports at the control connection's own address, and returns where. What was there
    /// before is closed. Where the peer is expected to resume a TLS session, several connections are taken: the
    /// one that does not may be somebody else's.
    fn listen(&mut self, ports: RangeInclusive<u16>, expects_resumption: bool) -> Result<SocketAddr, Failure>;

    /// Connects to the peer.
    fn connect(&mut self, address: SocketAddr);

    /// Begins to read and write.
    fn open(&mut self, security: Security);

    /// Says that nothing more comes, once all of the output was sent.
    fn finish(&mut self);

    /// Lets the socket go. What was sent may still arrive.
    fn close(&mut self);

    /// Lets the socket go in a way that nobody takes for an end in good order.
    fn reset(&mut self);

    /// How far it has come.
    fn stage(&self) -> ConnectionStage;

    /// Bytes that came, and bytes that go, once it is open.
    fn buffers(&self) -> &IoBuffers;

    /// The same, to take from and to add to.
    fn buffers_mut(&mut self) -> &mut IoBuffers;

    /// When the peer's end came, if that was noticed before it was read.
    fn ended_at(&self) -> Option<Instant>;

    /// What it proves by resuming a TLS session, once that is known.
    fn resumption(&self) -> Option<Resumption>;

    /// Whether the client has shown by it that it can resume any number of times.
    fn shows_reuse(&self) -> bool;
}

/// How far a data connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionStage {
    /// There is no socket.
    #[default]
    Closed,
    /// The peer may connect.
    Listening,
    /// The peer has yet to answer.
    Connecting,
    /// The peer is connected; nothing was read or written yet.
    Connected,
    /// Bytes come and go.
    Open,
    /// The kernel has taken the last byte and the end of the stream.
    Sent,
    /// The same, and the peer has closed its side as well.
    Left,
    /// It cannot go on.
    Failed(Failure),
}

/// Why a data connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No port to listen on, or none that can be watched.
    NoPort,
    /// The peer takes no connection.
    Unreachable,
    /// Reset, or ended in a way that its content may not be whole.
    Cut,
    /// The file that is sent has become shorter.
    Shorter,
    /// Its TLS does not resume that of the control connection, or of another session of the account, though it
    /// has to.
    NotResumed,
}

/// How the bytes of a data connection travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// As they are.
    Plain,
    /// Within TLS.
    Sealed {
        /// The peer only sends.
        is_upload: bool,
        /// What it has to prove by resuming a session.
        needs: Resumption,
        /// An end without a word for it is a cut.
        needs_close_notify: bool,
    },
}
