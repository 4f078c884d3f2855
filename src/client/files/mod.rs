//! Local files: directories, patterns, times, permission bits, and the entries that a mirror ignores.

pub mod directory;
pub mod exclusions;
pub mod local;
pub mod modes;
pub mod patterns;
pub mod spellings;
pub mod times;
