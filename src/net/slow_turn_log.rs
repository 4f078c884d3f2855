//! Logs turns that took too long.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::log_throttle::LogThrottle;

/// Logs slow turns. A slow file system causes many, so their rate is limited.
#[derive(Default)]
pub(super) struct SlowTurnLog(LogThrottle);

impl SlowTurnLog {
    /// Counts a slow turn.
    pub(super) fn record(&mut self, connection: &Connection, took: Duration, now: Instant) {
        let Some(suppressed) = self.0.record(now) else { return };
        let account = connection.account().map_or("-", |account| account.as_str());
        let state = connection.session().map_or("admin", |session| session.state_name().word());
        let took = took.as_millis();
        log::warn!(
            "a turn of {account}, now in state {state}, took {took} ms; {suppressed} more since the last such line"
        );
    }
}
