//! How fast something moved in the last seconds. It knows what time it is only from whoever asks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes over time.
pub struct RateMeter {
    started: Instant,
    moved_bytes: u64,
    /// When how much had moved, the oldest just outside of what counts.
    marks: VecDeque<(Instant, u64)>,
}

impl RateMeter {
    /// Nothing has moved.
    pub fn new(now: Instant) -> Self {
        Self { started: now, moved_bytes: 0, marks: VecDeque::from([(now, 0)]) }
    }

    /// `bytes` have moved in all.
    pub fn reach(&mut self, bytes: u64, now: Instant) {
        self.add_at(bytes.saturating_sub(self.moved_bytes), now);
    }

    /// The same at `now`.
    pub fn add_at(&mut self, bytes: u64, now: Instant) {
        self.moved_bytes = self.moved_bytes.saturating_add(bytes);
        if self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= STEP) {
            self.marks.push_back((now, self.moved_bytes));
            while self.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
                self.marks.pop_front();
            }
        }
    }

    /// Bytes per second over the last seconds.
    pub fn rate(&self, now: Instant) -> u64 {
        let counts = |mark: &&(Instant, u64)| now.duration_since(mark.0) <= WINDOW + STEP;
        let (since, before) = self.marks.iter().find(counts).copied().unwrap_or((now, self.moved_bytes));
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds < 0.001 { 0 } else { ((self.moved_bytes - before) as f64 / seconds) as u64 }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// What counts as the last seconds.
const WINDOW: Duration = Duration::from_secs(5);
/// How finely.
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
