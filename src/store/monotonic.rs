//! The monotonic clock. Calls to a file system are timed where they are made; everywhere else below the loop the time
//! is an argument.

use std::time::Instant;

/// Returns the time.
pub fn now() -> Instant {
    Instant::now()
}
