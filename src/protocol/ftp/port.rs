//! The second socket of a session, as its protocol sees it: a buffers, what it wishes the loop to do
//! with that socket, and how far the loop has come.
//!
//! ```text
//! Closed ─listen─► Listening ─► Connected ─open─► Open ─finish─► Ended ─► Left
//!        ─connect─────────────►                       any ─close─► Closed
//!        any ─► Failed
//! ```

use crate::base::buffers::IoBuffers;
use crate::tls::Resumption;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Instant;

/// A data connection (RFC 959, section 3.2).
#[derive(Default)]
pub struct DataPort {
    /// Bytes that came, and bytes that go. Of use while it is [`ConnectionStage::Open`].
    pub buffers: IoBuffers,
    /// When the end had come that the buffers's is, if that was noticed before it was read.
    pub ended: Option<Instant>,
    /// What it proves by resuming a TLS session, once that is known.
    pub resumption: Option<Resumption>,
    /// The client has shown by it that it can resume any number of times.
    pub shows_reuse: bool,
    /// The loop looks again then whether the session that it resumes has logged in.
    pub undecided_until: Option<Instant>,
    /// More than one connection is taken while it listens: the peer has resumed before, so one that does not
    /// may be somebody else's.
    pub expects_resumption: bool,
    stage: ConnectionStage,
    wish: Option<Wish>,
}

/// How far the loop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionStage {
    /// There is no socket.
    #[default]
    Closed,
    /// The peer may connect to this address of ours.
    Listening(SocketAddr),
    /// The peer is connected; nothing was read or written yet.
    Connected,
    /// Bytes come and go.
    Open,
    /// The kernel has taken the last byte and the end of the stream.
    Ended,
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

/// What the loop is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Listen on one of these ports at the control connection's own address.
    Listen(RangeInclusive<u16>),
    /// Connect to the peer.
    Connect(SocketAddr),
    /// Begin to read and write.
    Open(Security),
    /// Say that nothing more comes, once all of it was sent.
    Finish,
    /// Let the socket go. What was sent may still arrive.
    Close,
    /// Let the socket go in a way that nobody takes for an end in good order.
    Reset,
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

impl DataPort {
    /// Wishes for something. One wish at a time: the loop sees to it before the next step.
    pub fn wish(&mut self, wish: Wish) {
        if matches!(wish, Wish::Close | Wish::Reset | Wish::Listen(_)) {
            (self.buffers, self.ended, self.resumption) = (IoBuffers::default(), None, None);
            (self.shows_reuse, self.undecided_until) = (false, None);
            self.stage = ConnectionStage::Closed;
        }
        self.wish = Some(wish);
    }

    /// How far the loop has come.
    pub fn stage(&self) -> ConnectionStage {
        self.stage
    }

    /// Whether the loop has yet to see to something.
    pub fn has_wish(&self) -> bool {
        self.wish.is_some()
    }

    /// For the loop: what is to be done.
    pub fn take_wish(&mut self) -> Option<Wish> {
        self.wish.take()
    }

    /// For the loop: what came of it.
    pub fn set_stage(&mut self, stage: ConnectionStage) {
        self.stage = stage;
    }

    /// Gives memory back before a sleep that may be long.
    pub fn release(&mut self) {
        self.buffers.input.release();
        self.buffers.output.release();
    }
}
