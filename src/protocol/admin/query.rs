//! Queries of a protocol about all connections. A protocol sees only its own connection, so a step
//! leaves a query behind, and the loop answers it after the turn: one page per turn of the
//! administrator's connection.
//!
//! The alternative, a shared table that every session updates, would cost each turn something even
//! without queries, and two places would have to agree.

use std::time::Duration;

use crate::account::AccountName;
use crate::base::histogram::Histogram;
use crate::session::session_info::SessionInfo;

/// A query for one page.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// The job.
    pub job: QueryJob,
    /// The first slot: 0, or the `next` of the page before.
    pub from: usize,
}

/// What to do with connections of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryJob {
    /// Report their state.
    Report,
    /// End the selected ones.
    Kick(Selector),
}

/// A selection of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The session with this number.
    Session(u64),
    /// The sessions of this account.
    User(AccountName),
}

/// One page of results.
pub struct QueryResult {
    /// The sessions found.
    pub rows: Vec<SessionRow>,
    /// The number of ended sessions.
    pub kicked: u64,
    /// The first slot of the next page; `None` on the last page.
    pub next: Option<usize>,
    /// A histogram of turn durations.
    pub turns: Histogram,
    /// The server's uptime.
    pub uptime: Duration,
}

/// One session of a page.
pub struct SessionRow {
    /// The number of the session.
    pub session: u64,
    /// Its state.
    pub info: SessionInfo,
}
