//! The user interface: results, progress, listings and colours.

pub mod amounts;
pub mod colors;
pub mod confirm;
pub mod failures;
pub mod hashing;
pub mod listing;
pub mod local_time;
pub mod meter;
pub mod output;
pub mod progress;
pub mod results;
mod status_line;
pub mod stopwatch;
pub mod summary;
pub mod terminal;
