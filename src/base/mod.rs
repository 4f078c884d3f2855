//! What every layer uses, without network: paths, text, numbers, buffers, and files that are replaced
//! as a whole.

pub mod atomic_file;
pub mod attributes;
pub mod budget;
pub mod buffers;
pub mod calendar;
pub mod digest;
pub mod disk_sync;
pub mod explanation;
pub mod file_system_type;
pub mod glob;
pub mod histogram;
pub mod json;
pub mod memory;
pub mod refusals;
pub mod text;
pub mod token_bucket;
pub mod upload_id;
pub mod virtual_path;
