//! Tests that need a race or many tries are short by default. `BERTH_FULL=1 cargo test --release`
//! runs them in full.

/// Returns the number of tries: `short`, or `full` with `BERTH_FULL`.
pub(crate) fn tries(short: usize, full: usize) -> usize {
    if std::env::var_os("BERTH_FULL").is_some() { full } else { short }
}
