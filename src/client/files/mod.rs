//! Local and remote files: names, listings and permission bits.

pub mod directory_cache;
pub mod exclusions;
mod expand;
pub mod local;
pub mod modes;
pub mod remote;
pub mod spellings;
