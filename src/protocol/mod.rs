//! Each protocol is translated to the session's verbs. All that it sees of a socket is an [`IoBuffers`], and
//! [`SpliceSource`] bytes that it passes on unseen; all that it knows of time is `now`.
//!
//! Each turn the connection calls `step` once, after it filled the input and before it flushes
//! the output. A protocol stops when its budget is spent or the output is full enough, and
//! says whether anything moved: only a turn in which nothing moved lets a connection sleep.

pub mod admin;
pub mod ftp;
pub mod native;

use crate::account::AccountName;
use crate::auth::scram::Binding;
use crate::base::buffers::{Budget, IoBuffers, SpliceSource};
use crate::base::memory::Share;
use crate::session::active_accounts::Traffic;
use crate::session::{Phase, Service, Session, SessionError};
use crate::store::syncer::Synced;
use admin::Control;
use admin::query::{Query, QueryResult};
use ftp::Ftp;
use ftp::port::DataPort;
use native::Native;
use std::rc::Rc;
use std::time::Instant;

/// The protocol spoken on a connection.
pub enum Protocol {
    /// berth's own.
    Native(Box<Native>),
    /// The one that existing clients speak.
    Ftp(Box<Ftp>),
    /// The administrator's, on the local socket.
    Control(Box<Control>),
}

impl Protocol {
    /// The connection is encrypted, and this ties a login to it. Told before the first step in
    /// which there is anything to read.
    pub fn set_binding(&mut self, binding: Binding) {
        match self {
            Self::Native(native) => native.set_binding(binding),
            Self::Ftp(_) | Self::Control(_) => {}
        }
    }

    /// Whether the peer was told to begin with TLS. Until it has, nothing is read.
    pub fn wants_tls(&self) -> bool {
        matches!(self, Self::Ftp(ftp) if ftp.wants_tls())
    }

    /// What comes from now on is encrypted.
    pub fn set_sealed(&mut self) {
        if let Self::Ftp(ftp) = self {
            ftp.set_sealed();
        }
    }

    /// The second socket, of protocols that have one.
    pub fn data_port(&mut self) -> Option<&mut DataPort> {
        match self {
            Self::Ftp(ftp) => Some(ftp.data_port()),
            Self::Native(_) | Self::Control(_) => None,
        }
    }

    /// Lets the protocol work; whether anything moved.
    pub fn step(&mut self, buffers: &mut IoBuffers, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        match self {
            Self::Native(native) => native.step(buffers, service, budget, now),
            Self::Ftp(ftp) => ftp.step(buffers, service, budget, now),
            Self::Control(control) => control.step(buffers, service, budget, now),
        }
    }

    /// Lets a protocol that would only store what comes by its second socket take it from there; how
    /// many bytes it did. 0: they are to come by its buffers.
    pub fn store_from(
        &mut self,
        incoming: SpliceSource<'_>,
        buffers: &mut IoBuffers,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> usize {
        match self {
            Self::Ftp(ftp) => ftp.store_from(incoming, buffers, service, budget, now),
            Self::Native(_) | Self::Control(_) => 0,
        }
    }

    /// Hands over the answer to a sync.
    pub fn synced(&mut self, buffers: &mut IoBuffers, synced: Synced, now: Instant) {
        match self {
            Self::Native(native) => native.synced(buffers, synced, now),
            Self::Ftp(ftp) => ftp.synced(buffers, synced, now),
            Self::Control(_) => {}
        }
    }

    /// What the last step wants of all connections.
    pub fn take_question(&mut self) -> Option<Query> {
        match self {
            Self::Native(_) | Self::Ftp(_) => None,
            Self::Control(control) => control.take_question(),
        }
    }

    /// Hands over the answer to a question.
    pub fn answer(&mut self, answer: QueryResult) {
        match self {
            Self::Native(_) | Self::Ftp(_) => {}
            Self::Control(control) => control.answer(answer),
        }
    }

    /// Ends the session with a last word to the peer.
    pub fn fail(&mut self, buffers: &mut IoBuffers, why: SessionError, now: Instant) {
        match self {
            Self::Native(native) => native.fail(buffers, why, now),
            Self::Ftp(ftp) => ftp.fail(buffers, why, now),
            Self::Control(control) => control.hang_up(),
        }
    }

    /// The peer has gone without a word.
    pub fn hang_up(&mut self, now: Instant) {
        match self {
            Self::Native(native) => native.hang_up(now),
            Self::Ftp(ftp) => ftp.hang_up(now),
            Self::Control(control) => control.hang_up(),
        }
    }

    /// Whether the connection can be closed once the output is empty.
    pub fn is_closing(&self) -> bool {
        match self {
            Self::Native(native) => native.is_closing(),
            Self::Ftp(ftp) => ftp.is_closing(),
            Self::Control(control) => control.is_closing(),
        }
    }

    /// The peer has gone and reads nothing any more: whether the transfer under way is still wanted, because
    /// the peer said goodbye behind it. What else it asked for is not done.
    pub fn ends_with_transfer(&mut self, buffers: &mut IoBuffers) -> bool {
        match self {
            Self::Ftp(ftp) => ftp.ends_with_transfer(buffers),
            Self::Native(_) | Self::Control(_) => false,
        }
    }

    /// Whether a transfer waits for its second socket, so that nothing of it has moved yet.
    pub fn awaits_connection(&self) -> bool {
        matches!(self, Self::Ftp(ftp) if ftp.awaits_connection())
    }

    /// What the session is waiting for.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Native(native) => native.phase(),
            Self::Ftp(ftp) => ftp.phase(),
            Self::Control(control) => control.phase(),
        }
    }

    /// When the session wants a turn by itself.
    pub fn wakes_at(&self) -> Option<Instant> {
        match self {
            Self::Native(native) => native.wakes_at(),
            Self::Ftp(ftp) => ftp.wakes_at(),
            Self::Control(_) => None,
        }
    }

    /// Whether nobody has logged in, or has left: a peer of the network that is owed little.
    pub fn is_stranger(&self) -> bool {
        self.session().is_some_and(|session| session.account().is_none())
    }

    /// The session, if this is one of the network.
    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::Native(native) => Some(native.session()),
            Self::Ftp(ftp) => Some(ftp.session()),
            Self::Control(_) => None,
        }
    }

    /// What the session's account has moved.
    pub fn traffic(&self) -> Option<&Rc<Traffic>> {
        self.session().and_then(Session::traffic)
    }

    /// Memory of requests that were decoded ahead.
    pub fn request_bytes(&self) -> usize {
        match self {
            Self::Native(native) => native.request_bytes(),
            Self::Ftp(_) | Self::Control(_) => 0,
        }
    }

    /// What the session's account holds of memory.
    pub fn memory(&self) -> Option<&Rc<Share>> {
        self.session().and_then(Session::memory)
    }

    /// Whose account is logged in.
    pub fn account(&self) -> Option<&AccountName> {
        self.session().and_then(Session::account)
    }

    /// What the session is doing, in a word for the log.
    pub fn activity(&self) -> String {
        self.session().map_or_else(|| "Control".into(), |session| format!("{:?}", session.state_name()))
    }

    /// A number that changes with all work on requests and their data, but not with what a peer may send
    /// during a transfer, such as pings and `NOOP`.
    pub fn progress(&self) -> u64 {
        match self {
            Self::Native(native) => native.progress(),
            Self::Ftp(ftp) => ftp.progress(),
            Self::Control(control) => control.requests(),
        }
    }

    /// Whether bytes that the peer takes from this connection are progress. During an upload and during
    /// every FTP transfer they are only replies, and the data itself must make progress.
    pub fn sends_results(&self) -> bool {
        match self {
            Self::Native(native) => !native.takes_upload(),
            Self::Ftp(ftp) => ftp.phase() != Phase::Transfer,
            Self::Control(_) => true,
        }
    }

    /// Requests taken so far; a session that takes none is idle.
    pub fn requests(&self) -> u64 {
        match self {
            Self::Native(native) => native.requests(),
            Self::Ftp(ftp) => ftp.requests(),
            Self::Control(control) => control.requests(),
        }
    }
}
