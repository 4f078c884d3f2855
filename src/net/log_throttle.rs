//! Limits the rate of repeated log lines.

use std::time::Instant;

use crate::base::refusals::WARN_INTERVAL;

/// Limits one kind of log line.
#[derive(Default)]
pub(super) struct LogThrottle {
    silent_until: Option<Instant>,
    suppressed: u32,
}

impl LogThrottle {
    /// Counts an event. If it should be logged now, returns the number of events that were not logged
    /// before it.
    pub(super) fn record(&mut self, now: Instant) -> Option<u32> {
        if self.silent_until.is_some_and(|until| now < until) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.silent_until = Some(now + WARN_INTERVAL);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_logged_and_the_others_are_counted() {
        let (mut throttle, now) = (LogThrottle::default(), Instant::now());
        let said: Vec<_> = (0..5).map(|_| throttle.record(now)).collect();
        assert_eq!(said, [Some(0), None, None, None, None]);
        assert_eq!(throttle.record(now + WARN_INTERVAL), Some(4));
    }
}
