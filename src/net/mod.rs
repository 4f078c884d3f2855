//! Sockets and readiness: the only code that does network I/O. One thread, one poll.

mod account_watch;
pub mod connection;
mod crowd;
mod data_socket;
mod descriptors;
pub mod event_loop;
pub mod listeners;
mod seldom;
mod slow_turns;
mod throttle;
pub mod timers;
pub mod transport;
pub mod turns;
