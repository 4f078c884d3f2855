//! Front-ends translate between a protocol and the session's verbs. All a front-end sees of a
//! socket is a [`Lane`]; all it knows of time is `now`.
//!
//! Each turn the connection calls `step` once, after it filled the inbox and before it flushes
//! the outbox. A front-end stops when its budget is spent or the outbox is full enough, and
//! says whether anything moved: only a turn in which nothing moved lets a connection sleep.

pub mod control;
pub mod ftp;
pub mod native;
mod pipeline;

use crate::account::AccountName;
use crate::lane::{Budget, Lane};
use crate::scram::Binding;
use crate::session::seat::Traffic;
use crate::session::{Phase, Refusal, Service};
use crate::store::syncer::Synced;
use control::Control;
use ftp::Ftp;
use ftp::port::DataPort;
use native::Native;
use std::rc::Rc;
use std::time::Instant;

/// The protocol spoken on a connection.
pub enum Front {
    /// berth's own.
    Native(Box<Native>),
    /// The one that existing clients speak.
    Ftp(Box<Ftp>),
    /// The administrator's, on the local socket.
    Control(Box<Control>),
}

impl Front {
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

    /// Lets the front-end work; whether anything moved.
    pub fn step(&mut self, lane: &mut Lane, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        match self {
            Self::Native(native) => native.step(lane, service, budget, now),
            Self::Ftp(ftp) => ftp.step(lane, service, budget, now),
            Self::Control(control) => control.step(lane, service, budget),
        }
    }

    /// Hands over the answer to a sync.
    pub fn synced(&mut self, lane: &mut Lane, synced: Synced, now: Instant) {
        match self {
            Self::Native(native) => native.synced(lane, synced, now),
            Self::Ftp(ftp) => ftp.synced(lane, synced, now),
            Self::Control(_) => {}
        }
    }

    /// Ends the session with a last word to the peer.
    pub fn fail(&mut self, lane: &mut Lane, why: Refusal, now: Instant) {
        match self {
            Self::Native(native) => native.fail(lane, why, now),
            Self::Ftp(ftp) => ftp.fail(lane, why, now),
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

    /// Whether the connection can be closed once the outbox is empty.
    pub fn is_closing(&self) -> bool {
        match self {
            Self::Native(native) => native.is_closing(),
            Self::Ftp(ftp) => ftp.is_closing(),
            Self::Control(control) => control.is_closing(),
        }
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
        match self {
            Self::Native(native) => native.session().account().is_none(),
            Self::Ftp(ftp) => ftp.session().account().is_none(),
            Self::Control(_) => false,
        }
    }

    /// What the session's account has moved.
    pub fn traffic(&self) -> Option<&Rc<Traffic>> {
        match self {
            Self::Native(native) => native.session().traffic(),
            Self::Ftp(ftp) => ftp.session().traffic(),
            Self::Control(_) => None,
        }
    }

    /// Whose account is logged in.
    pub fn account(&self) -> Option<&AccountName> {
        match self {
            Self::Native(native) => native.session().account(),
            Self::Ftp(ftp) => ftp.session().account(),
            Self::Control(_) => None,
        }
    }

    /// What the session is doing, in a word for the log.
    pub fn activity(&self) -> String {
        match self {
            Self::Native(native) => format!("{:?}", native.session().state_name()),
            Self::Ftp(ftp) => format!("{:?}", ftp.session().state_name()),
            Self::Control(_) => "Control".into(),
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
