//! Scheduler that took too long, in the log.

use super::connection::Connection;
use super::log_throttle::LogThrottle;
use std::time::{Duration, Instant};

/// Scheduler that took too long. A slow disk makes many, and one line now and then tells as much.
#[derive(Default)]
pub(super) struct SlowTurnLog(LogThrottle);

impl SlowTurnLog {
    /// Takes note of one.
    pub(super) fn note(&mut self, connection: &Connection, took: Duration, now: Instant) {
        let Some(unsaid) = self.0.note(now) else { return };
        let account = connection.protocol().account().map_or("-", |account| account.as_str());
        let (activity, took) = (connection.protocol().activity(), took.as_millis());
        log::warn!(
            "a turn of {account}, now in state {activity}, took {took} ms; {unsaid} more since the last such line"
        );
    }
}
