//! What a protocol asks about all connections. It sees its own alone, so a step leaves a question
//! behind, and the loop, which has them all, answers it after the turn: one page for each turn of
//! whoever asks.
//!
//! The other way would be for every session to keep an entry of a board that all protocols can
//! read. That costs each turn something even when nobody asks, and two places would have to agree.

use crate::account::AccountName;
use crate::base::histogram::Histogram;
use crate::session::session_info::SessionInfo;
use std::time::Duration;

/// One page of what is to be done.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// What to do.
    pub errand: QueryJob,
    /// Where to begin: 0, or what the page before says.
    pub from: usize,
}

/// What to do with connections of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryJob {
    /// Tell what they do.
    Look,
    /// End these.
    Kick(Selector),
}

/// Some sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The one with this number.
    Session(u64),
    /// Those of this account.
    User(AccountName),
}

/// One page of an answer.
pub struct QueryResult {
    /// What was found.
    pub seen: Vec<SessionRow>,
    /// How many were ended.
    pub kicked: u64,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<usize>,
    /// How long turns took.
    pub turns: Histogram,
    /// How long the server runs.
    pub uptime: Duration,
}

/// One session that was found.
pub struct SessionRow {
    /// Its number.
    pub session: u64,
    /// What it does.
    pub overview: SessionInfo,
}
