//! Measures how long work takes, without the time in which the user was asked a question.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A running measurement.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    started: Instant,
    asked_us: u64,
}

impl Stopwatch {
    /// Starts a measurement.
    pub fn start() -> Self {
        Self { started: Instant::now(), asked_us: ASKED_US.load(Ordering::Relaxed) }
    }

    /// Returns the time since the start without that of questions.
    pub fn elapsed(&self) -> Duration {
        let asked_us = ASKED_US.load(Ordering::Relaxed).saturating_sub(self.asked_us);
        self.started.elapsed().saturating_sub(Duration::from_micros(asked_us))
    }
}

/// Asks the user with `ask`, and leaves the time out of all measurements.
pub fn paused<T>(ask: impl FnOnce() -> T) -> T {
    let asked = Instant::now();
    let answer = ask();
    let asked_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
    ASKED_US.fetch_add(asked_us, Ordering::Relaxed);
    answer
}

/// How long questions have been open, in microseconds. It is a static because there is only one terminal.
static ASKED_US: AtomicU64 = AtomicU64::new(0);
