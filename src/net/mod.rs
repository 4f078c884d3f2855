//! Sockets and readiness: the only code that does network I/O. One thread, one poll.

mod account_watch;
pub mod connection;
pub mod event_loop;
pub mod listeners;
mod slow_turns;
pub mod timers;
pub mod transport;
