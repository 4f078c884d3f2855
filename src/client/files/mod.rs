//! Local and remote files: names, listings and permission bits.

pub mod exclusions;
mod expand;
pub mod folder_cache;
pub mod local;
pub mod modes;
pub mod remote;
pub mod spellings;
