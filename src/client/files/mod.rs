//! Local files: names, times, permission bits, and the entries that a mirror leaves alone.

pub mod exclusions;
pub mod local;
pub mod modes;
pub mod spellings;
pub mod times;
