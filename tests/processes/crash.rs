//! kill -9 of a server, a client or a command in the middle of whatever it does: a name holds the
//! old bytes or the new, whole; the quota is what the disk says; an account is as before or as
//! after; and what was cut off can be done again, or goes on where it was.
//!
//! By default some dozen moments spread over each test are tried. `BERTH_CRASHES=1000` tries so
//! many in each of them, in release as in debug, which takes an hour or so:
//!
//! ```text
//! BERTH_CRASHES=1000 cargo test --release --test processes crash::
//! ```

mod accounts;
mod changes;
mod uploads;

/// How often one of these tests kills something.
fn crashes(by_default: u64) -> u64 {
    std::env::var("BERTH_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(by_default)
}
