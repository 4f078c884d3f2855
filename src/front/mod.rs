//! Front-ends translate between a protocol and the session's verbs. All a front-end sees of a
//! socket is a [`Lane`]; all it knows of time is `now`.
//!
//! Each turn the connection calls `step` once, after it filled the inbox and before it flushes
//! the outbox. A front-end stops when its budget is spent or the outbox is full enough, and
//! says whether anything moved: only a turn in which nothing moved lets a connection sleep.

pub mod native;
mod pipeline;

use crate::lane::{Budget, Lane};
use crate::session::{Refusal, Service, Session};
use crate::store::syncer::Synced;
use native::Native;
use std::time::Instant;

/// The protocol spoken on a connection.
pub enum Front {
    /// berth's own.
    Native(Box<Native>),
}

impl Front {
    /// Lets the front-end work; whether anything moved.
    pub fn step(&mut self, lane: &mut Lane, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        match self {
            Self::Native(native) => native.step(lane, service, budget, now),
        }
    }

    /// Hands over the answer to a sync.
    pub fn synced(&mut self, lane: &mut Lane, synced: Synced, now: Instant) {
        match self {
            Self::Native(native) => native.synced(lane, synced, now),
        }
    }

    /// Ends the session with a last word to the peer.
    pub fn fail(&mut self, lane: &mut Lane, why: Refusal, now: Instant) {
        match self {
            Self::Native(native) => native.fail(lane, why, now),
        }
    }

    /// The peer has gone without a word.
    pub fn hang_up(&mut self, now: Instant) {
        match self {
            Self::Native(native) => native.hang_up(now),
        }
    }

    /// Whether the connection can be closed once the outbox is empty.
    pub fn is_closing(&self) -> bool {
        match self {
            Self::Native(native) => native.is_closing(),
        }
    }

    /// The session behind the front-end.
    pub fn session(&self) -> &Session {
        match self {
            Self::Native(native) => native.session(),
        }
    }

    /// Requests taken so far; a session that takes none is idle.
    pub fn requests(&self) -> u64 {
        match self {
            Self::Native(native) => native.requests(),
        }
    }
}
