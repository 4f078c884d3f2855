//! File transfers in both directions: starting, resuming and verifying them.

pub mod compare;
pub mod download;
pub mod overwrite;
pub mod parallel;
pub mod part;
pub mod part_names;
pub mod pipes;
pub mod upload;
