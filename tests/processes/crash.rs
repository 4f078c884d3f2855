//! SIGKILL of a server, a client or a command at any moment: a file is the old one or the new one, the quota equals
//! the disk, an account is as before or as after, and an interrupted transfer can be repeated or resumed.
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
