//! Lazy timers: activity does not move a timer. When a timer expires, the loop asks the connection for its
//! real deadline, and sets another timer or acts. A connection has at most one timer, so memory is bounded.

use std::collections::BTreeSet;
use std::time::Instant;

/// The timers with their slots, earliest first.
#[derive(Default)]
pub struct Timers(BTreeSet<(Instant, usize)>);

impl Timers {
    /// Sets a timer.
    pub fn set(&mut self, at: Instant, slot: usize) {
        self.0.insert((at, slot));
    }

    /// Cancels a timer.
    pub fn cancel(&mut self, at: Instant, slot: usize) {
        self.0.remove(&(at, slot));
    }

    /// Returns the next slot whose timer is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let (at, _) = self.0.first()?;
        if *at > now {
            return None;
        }
        self.0.pop_first().map(|(_, slot)| slot)
    }

    /// Returns when the next timer expires.
    pub fn next_at(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_expire_in_order_and_not_once_cancelled() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        timers.set(at(2), 2);
        timers.set(at(3), 3);
        timers.set(at(1), 1);
        timers.cancel(at(3), 3);
        assert_eq!(timers.next_at(), Some(at(1)));
        assert_eq!(timers.pop_due(now), None);
        assert_eq!(timers.pop_due(at(5)), Some(1));
        assert_eq!(timers.pop_due(at(5)), Some(2));
        assert_eq!(timers.pop_due(at(5)), None);
    }
}
