//! The monotonic clock. It is read only to measure calls to file systems. Elsewhere below the loop, the time is an
//! argument.

use std::time::Instant;

/// Returns the time.
pub fn now() -> Instant {
    Instant::now()
}
