//! The time of day as the store sees it. It may jump; only what must outlive the server or is
//! compared with the times of files is measured by it.

use crate::text::unix_ns;
use std::rc::Rc;
use std::time::SystemTime;

/// Tells nanoseconds since the epoch.
#[derive(Clone)]
pub struct WallClock(Rc<dyn Fn() -> i64>);

impl WallClock {
    /// A clock that tells what `tell` does.
    pub fn new(tell: impl Fn() -> i64 + 'static) -> Self {
        Self(Rc::new(tell))
    }

    /// What it shows now.
    pub fn now_ns(&self) -> i64 {
        (self.0)()
    }
}

impl Default for WallClock {
    /// The system's.
    fn default() -> Self {
        Self::new(|| unix_ns(SystemTime::now()))
    }
}
