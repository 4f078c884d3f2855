//! Amounts in human-readable units: bytes, times and rates.

use std::fmt;
use std::time::Duration;

use crate::base::text::Size;

/// `1 byte`, `812 bytes`, `1.5M`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 byte"),
            bytes @ 0..1024 => write!(f, "{bytes} bytes"),
            bytes => Size(bytes).fmt(f),
        }
    }
}

/// `4ms`, `0.3s`, `12s`, `1m05s`, `2h03m`.
pub struct Elapsed(pub Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match self.0.as_millis() {
            0 => f.write_str("1ms"),
            millis @ 1..95 => write!(f, "{millis}ms"),
            95..9_950 => write!(f, "{:.1}s", self.0.as_secs_f64()),
            9_950..60_000 => write!(f, "{:.0}s", self.0.as_secs_f64().min(59.0)),
            60_000..3_600_000 => write!(f, "{}m{:02}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        }
    }
}

/// `12M/s`: a number of bytes and the time that their transfer took.
pub struct TransferRate(pub u64, pub Duration);

impl fmt::Display for TransferRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes, elapsed) = self;
        write!(f, "{}/s", Bytes((*bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_a_time_is_never_zero() {
        for (millis, shown) in [
            (0, "1ms"),
            (4, "4ms"),
            (94, "94ms"),
            (95, "0.1s"),
            (340, "0.3s"),
            (9_949, "9.9s"),
            (9_950, "10s"),
            (59_999, "59s"),
            (65_000, "1m05s"),
            (7_380_000, "2h03m"),
        ] {
            assert_eq!(Elapsed(Duration::from_millis(millis)).to_string(), shown, "{millis}");
        }
        for (bytes, shown) in [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1536, "1.5K")] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
        assert_eq!(TransferRate(3 << 20, Duration::from_secs(2)).to_string(), "1.5M/s");
        assert_eq!(TransferRate(5, Duration::ZERO).to_string(), "4.9K/s");
    }
}
