//! When a connection needs a turn without an event, and when its peer is too slow.

use std::time::{Duration, Instant};

use super::Connection;
use crate::config::Timeouts;
use crate::net::connection::LINGER;
use crate::session::Phase;

/// How long a client that has closed its control connection may read nothing of a download. Such a client
/// may be gone, although its data connection still looks open.
const HALF_CLOSED_STALL: Duration = Duration::from_secs(10);

impl Connection {
    /// Returns when the connection needs a turn even without an event.
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        if let Some(since) = self.closing_since {
            return self.paused_until.into_iter().chain([since + LINGER]).min();
        }
        // The time of a pause does not count against the peer.
        let since = |moment: Instant| self.paused_until.map_or(moment, |until| until.max(moment));
        let patience = if self.buffers.eof && self.data.is_some() {
            timeouts.stall.min(HALF_CLOSED_STALL)
        } else {
            timeouts.stall
        };
        let stalled = since(self.last_moved) + patience;
        let patience = match self.protocol.status().phase {
            Phase::Login => Some(self.opened + timeouts.login),
            _ if self.has_output() => Some(stalled),
            Phase::Transfer => Some(stalled),
            Phase::Idle => Some(since(self.last_active) + timeouts.idle),
            Phase::Working => None,
        };
        [patience, self.wakes_at()].into_iter().flatten().min()
    }

    /// Returns when the session needs a turn without an event. `None` while the output is full: the session
    /// could do nothing in its turns, so they would repeat for ever, and the peer would never be late.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let has_room = self.buffers.output.has_room();
        let own = self.protocol.status().wakes_at.filter(|_| has_room);
        let of_data = self.data.as_ref().and_then(|data| data.wakes_at()).filter(|_| has_room);
        [self.paused_until, own, of_data].into_iter().flatten().min()
    }

    /// Returns whether a passed deadline means that the peer was too slow, rather than that the session
    /// needs a turn.
    pub fn is_overdue(&self, timeouts: &Timeouts, now: Instant) -> bool {
        self.wakes_at().is_none_or(|at| at > now) && self.deadline(timeouts).is_some_and(|at| at <= now)
    }
}
