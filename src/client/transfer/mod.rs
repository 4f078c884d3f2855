//! File transfers in both directions. `engine` drives the pipelines of `upload` and `download`; `batch` is what a
//! command does with many files: existing ones, failures and the summary. `pipes` transfers content without a local
//! file.

pub mod batch;
pub mod compare;
mod download;
pub mod engine;
pub mod job;
pub mod overwrite;
pub mod part;
mod pipeline;
pub mod pipes;
pub mod report;
pub mod unfinished_tree;
mod upload;
