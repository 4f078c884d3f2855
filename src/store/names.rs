//! Names and marks in the staging directory of a home.

use crate::base::upload_id::UploadId;

/// The directory at the top of a home that holds partial uploads. No command reaches it, no listing shows
/// it.
pub const STAGING: &str = ".berth";
/// The suffix of a file with an upload's bytes.
pub(super) const PART_SUFFIX: &str = ".part";
/// The suffix of a file with an upload's record.
pub(super) const RECORD_SUFFIX: &str = ".json";
/// The suffix of a record that is being written.
pub(super) const NEW_RECORD_SUFFIX: &str = ".new";
/// Marks a part whose upload met a full disk, as its modification time: setting it needs no space. The next
/// written byte clears the mark.
pub(super) const FULL_DISK_MTIME_NS: i64 = 0;

pub(super) fn part_name(id: &UploadId) -> String {
    format!("{id}{PART_SUFFIX}")
}

pub(super) fn record_name(id: &UploadId) -> String {
    format!("{id}{RECORD_SUFFIX}")
}
