//! Sockets and readiness: the only code that does network I/O. One thread, one poll.

mod account_watch;
mod admission;
pub mod connection;
mod data_socket;
mod descriptors;
pub mod event_loop;
pub mod listeners;
mod log_throttle;
mod rate_limits;
pub mod scheduler;
mod slow_turn_log;
pub mod timers;
pub mod transport;

/// How often a second a rate-limited session moves bytes, so that a progress bar moves smoothly.
pub const RATE_STEPS_PER_SECOND: u64 = 20;
