//! Rates, and the token bucket that holds somebody to one. It has no clock: the time is told, and
//! all it remembers is one instant, so that every session can have several.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// So many tokens a second on average, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that flow in each second.
    pub per_second: NonZeroU64,
    /// Tokens that a full bucket holds.
    pub burst: NonZeroU64,
}

impl Rate {
    /// A rate of which a second's worth may be taken at once.
    pub fn per_second(tokens: NonZeroU64) -> Self {
        Self { per_second: tokens, burst: tokens }
    }

    /// How long `tokens` take to flow in.
    fn time_for(self, tokens: u64) -> Duration {
        let nanoseconds = (u128::from(tokens) * 1_000_000_000).div_ceil(u128::from(self.per_second.get()));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// A bucket that tokens flow into until it is full. More can be taken than it holds: that is a
/// debt, and until it is paid nothing should be taken. A bucket never used is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenBucket {
    ready_at: Option<Instant>,
}

impl TokenBucket {
    /// When there is a token again, or since when there is one; `None`: since ever.
    pub fn ready_at(self) -> Option<Instant> {
        self.ready_at
    }

    /// Takes `tokens` at `now`; when there is a token again.
    pub fn take(&mut self, tokens: u64, rate: Rate, now: Instant) -> Instant {
        let full = now.checked_sub(rate.time_for(rate.burst.get() - 1)).unwrap_or(now);
        let ready_at = self.ready_at.map_or(full, |at| at.max(full)) + rate.time_for(tokens);
        self.ready_at = Some(ready_at);
        ready_at
    }
}

/// One for each direction of the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directions<T> {
    /// To the server.
    pub up: T,
    /// From the server.
    pub down: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u64, burst: u64) -> Rate {
        let positive = |number| NonZeroU64::new(number).expect("positive");
        Rate { per_second: positive(per_second), burst: positive(burst) }
    }

    /// How many single tokens can be taken within a while, looking each millisecond.
    fn taken(bucket: &mut TokenBucket, rate: Rate, start: Instant, milliseconds: u64) -> u64 {
        let mut taken = 0;
        for now in (0..=milliseconds).map(|ms| start + Duration::from_millis(ms)) {
            while bucket.ready_at().is_none_or(|at| at <= now) {
                bucket.take(1, rate, now);
                taken += 1;
            }
        }
        taken
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate_holds() {
        let (rate, start) = (rate(10, 5), Instant::now());
        let mut bucket = TokenBucket::default();
        assert_eq!(taken(&mut bucket, rate, start, 0), 5);
        assert_eq!(taken(&mut bucket, rate, start, 0), 0);
        assert_eq!(taken(&mut bucket, rate, start, 2000), 20);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!(taken(&mut bucket, rate, much_later, 0), 5, "a bucket holds no more than its burst");
    }

    #[test]
    fn a_debt_is_paid_before_anything_else_is_taken() {
        let (rate, start) = (rate(1000, 1000), Instant::now());
        let mut bucket = TokenBucket::default();
        let ready_at = bucket.take(3000, rate, start);
        assert_eq!(ready_at, start + Duration::from_millis(2001));
        assert_eq!(bucket.ready_at(), Some(ready_at));
    }

    #[test]
    fn no_number_is_too_large() {
        let (slow, fast, now) = (rate(1, u64::MAX), rate(u64::MAX, u64::MAX), Instant::now());
        assert!(TokenBucket::default().take(u64::MAX, slow, now) >= now);
        assert!(TokenBucket::default().take(1 << 20, fast, now) <= now);
    }
}
