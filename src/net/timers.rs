//! Lazy timers: a heap of alarms that activity never touches. When one rings, the loop asks
//! the connection for its real deadline and sets the alarm again or acts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Whom an alarm is for: a slot and the serial number of the connection that set it.
pub type Alarm = (usize, u64);

/// The alarms, earliest first.
#[derive(Default)]
pub struct Timers(BinaryHeap<Reverse<(Instant, Alarm)>>);

impl Timers {
    /// Sets an alarm.
    pub fn set(&mut self, at: Instant, alarm: Alarm) {
        self.0.push(Reverse((at, alarm)));
    }

    /// The next alarm that is due, with the time it was set to.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, Alarm)> {
        let Reverse((at, _)) = self.0.peek()?;
        if *at > now {
            return None;
        }
        self.0.pop().map(|Reverse(due)| due)
    }

    /// When the next alarm rings.
    pub fn next_at(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn alarms_ring_in_order_and_only_when_due() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        timers.set(at(2), (2, 0));
        timers.set(at(1), (1, 0));
        assert_eq!(timers.next_at(), Some(at(1)));
        assert_eq!(timers.pop_due(now), None);
        assert_eq!(timers.pop_due(at(5)), Some((at(1), (1, 0))));
        assert_eq!(timers.pop_due(at(5)), Some((at(2), (2, 0))));
        assert_eq!(timers.pop_due(at(5)), None);
    }
}
