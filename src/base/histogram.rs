//! Counts durations in buckets. The bound of each bucket is twice that of the one before. The size is fixed, and a
//! duration costs one addition.

use std::time::Duration;

/// Buckets of a histogram. Their bounds go from a microsecond to half a second; the last bucket has none.
const HISTOGRAM_BUCKETS: usize = 21;

/// A histogram of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram([u64; HISTOGRAM_BUCKETS]);

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.0[bucket.min(HISTOGRAM_BUCKETS - 1)] += 1;
    }

    /// Returns the upper bound of each bucket in microseconds, and its count. The last bucket has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let below_us = |bucket| (bucket + 1 < HISTOGRAM_BUCKETS).then(|| 1_u64 << bucket);
        self.0.iter().enumerate().map(move |(bucket, &count)| (below_us(bucket), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_of(took: Duration) -> Option<u64> {
        let mut histogram = Histogram::default();
        histogram.record(took);
        let buckets: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!((buckets.len(), buckets[0].1), (1, 1));
        buckets[0].0
    }

    #[test]
    fn each_time_is_counted_below_the_first_power_of_two_above_it() {
        for (ns, below_us) in [(0, 1), (999, 1), (1000, 2), (1999, 2), (2000, 4), (524_287_999, 1 << 19)] {
            assert_eq!(bucket_of(Duration::from_nanos(ns)), Some(below_us), "{ns}");
        }
        for long in [Duration::from_secs(2), Duration::MAX] {
            assert_eq!(bucket_of(long), None);
        }
    }
}
