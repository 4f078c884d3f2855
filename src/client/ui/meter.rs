//! The transfer rate over the last seconds. The caller passes the current time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Measures bytes over time.
pub struct RateMeter {
    started: Instant,
    moved_bytes: u64,
    /// Times and byte counts. The oldest mark is just outside the window.
    marks: VecDeque<(Instant, u64)>,
}

impl RateMeter {
    /// Creates a meter that has counted no bytes.
    pub fn new(now: Instant) -> Self {
        Self { started: now, moved_bytes: 0, marks: VecDeque::from([(now, 0)]) }
    }

    /// Sets the total to `bytes`.
    pub fn reach(&mut self, bytes: u64, now: Instant) {
        self.add_at(bytes.saturating_sub(self.moved_bytes), now);
    }

    /// Adds `bytes` at the time `now`.
    pub fn add_at(&mut self, bytes: u64, now: Instant) {
        self.moved_bytes = self.moved_bytes.saturating_add(bytes);
        if self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= STEP) {
            self.marks.push_back((now, self.moved_bytes));
            while self.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
                self.marks.pop_front();
            }
        }
    }

    /// Returns the bytes per second over the last seconds.
    pub fn rate(&self, now: Instant) -> u64 {
        let counts = |mark: &&(Instant, u64)| now.duration_since(mark.0) <= WINDOW + STEP;
        let (since, before) = self.marks.iter().find(counts).copied().unwrap_or((now, self.moved_bytes));
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds < 0.001 { 0 } else { ((self.moved_bytes - before) as f64 / seconds) as u64 }
    }

    /// Returns the time since the meter was created.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The period over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(5);
/// The resolution of the measurement.
const STEP: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_seconds_count() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut pace = RateMeter::new(start);
        assert_eq!(pace.rate(start), 0);
        for step in 1..=100 {
            pace.add_at(1000, at(step * 100));
        }
        assert_eq!(pace.rate(at(10_000)) / 100, 100, "10,000 a second");
        for step in 101..=200 {
            pace.add_at(100, at(step * 100));
        }
        assert_eq!(pace.rate(at(20_000)) / 10, 100, "1,000 a second now");
        assert!(pace.rate(at(22_000)) < 700, "it stands still");
        assert_eq!(pace.rate(at(60_000)), 0);
        assert!(pace.marks.len() < 30, "bounded");
    }
}
