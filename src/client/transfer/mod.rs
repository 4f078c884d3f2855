//! File transfers in both directions. `engine` drives the pipelines of `upload` and `download`; `batch` is what a
//! command does with many files: existing ones, failures and the summary. `pipes` transfers content without a local
//! file. `local_tree` walks the local tree of a transfer, and `unfinished_tree` records interrupted ones.

pub mod batch;
pub mod compare;
mod download;
pub mod engine;
pub mod job;
pub mod local_tree;
pub mod overwrite;
pub mod part;
mod pipeline;
pub mod pipes;
pub mod report;
pub mod unfinished_tree;
mod upload;
