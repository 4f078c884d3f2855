//! Files on both sides, by name.

pub mod exclusions;
pub mod folder_cache;
pub mod local;
pub mod modes;
pub mod remote;
pub mod spellings;
