//! Turns that took too long, in the log.

use super::connection::Connection;
use crate::limits::TURN_WARN_INTERVAL;
use std::time::{Duration, Instant};

/// Turns that took too long. A slow disk makes many, and one line now and then tells as much.
#[derive(Default)]
pub(super) struct SlowTurns {
    silent_until: Option<Instant>,
    unsaid: u32,
}

impl SlowTurns {
    /// Takes note of one.
    pub(super) fn note(&mut self, connection: &Connection, took: Duration, now: Instant) {
        if self.silent_until.is_some_and(|until| now < until) {
            self.unsaid += 1;
            return;
        }
        let account = connection.front().account().map_or("-", |account| account.as_str());
        let activity = connection.front().activity();
        let (took, unsaid) = (took.as_millis(), std::mem::take(&mut self.unsaid));
        log::warn!(
            "a turn of {account}, now in state {activity}, took {took} ms; {unsaid} more since the last such line"
        );
        self.silent_until = Some(now + TURN_WARN_INTERVAL);
    }
}
