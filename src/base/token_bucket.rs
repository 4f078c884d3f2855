//! Rates and token buckets. The caller passes the time. The state of a bucket is a single instant, so each
//! session can have several buckets.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// An average rate of tokens, and a burst after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens added each second.
    pub per_second: NonZeroU64,
    /// Tokens in a full bucket.
    pub burst: NonZeroU64,
}

impl Rate {
    /// Makes a rate whose burst is the tokens of one second.
    pub fn per_second(tokens: NonZeroU64) -> Self {
        Self { per_second: tokens, burst: tokens }
    }

    /// Returns the time in which `tokens` are added.
    fn time_for(self, tokens: u64) -> Duration {
        let nanoseconds = (u128::from(tokens) * 1_000_000_000).div_ceil(u128::from(self.per_second.get()));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// A token bucket. A caller may take more tokens than it holds. It then waits until
/// [`TokenBucket::ready_at`] before it takes more. A new bucket is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenBucket {
    ready_at: Option<Instant>,
}

impl TokenBucket {
    /// Returns when the next token becomes or became available; `None` for a bucket that was never used.
    pub fn ready_at(self) -> Option<Instant> {
        self.ready_at
    }

    /// Takes `tokens` at `now`. Returns when the next token is available.
    pub fn take(&mut self, tokens: u64, rate: Rate, now: Instant) -> Instant {
        let full = now.checked_sub(rate.time_for(rate.burst.get() - 1)).unwrap_or(now);
        let ready_at = self.ready_at.map_or(full, |at| at.max(full)) + rate.time_for(tokens);
        self.ready_at = Some(ready_at);
        ready_at
    }
}

/// One value for each direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directions<T> {
    /// To the server (uploads).
    pub up: T,
    /// From the server (downloads).
    pub down: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u64, burst: u64) -> Rate {
        let positive = |number| NonZeroU64::new(number).expect("positive");
        Rate { per_second: positive(per_second), burst: positive(burst) }
    }

    /// Returns the number of single tokens that can be taken in `milliseconds`, with one try each
    /// millisecond.
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
