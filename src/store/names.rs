//! Names and marks in the staging folder of a home.

use crate::base::upload_id::UploadId;

/// The folder at the top of a home where uploads wait until they are whole. No command reaches
/// it, no listing shows it.
pub const STAGING: &str = ".berth";
/// Ends the name of a file that holds an upload's bytes.
pub(super) const PART_SUFFIX: &str = ".part";
/// Ends the name of a file that holds an upload's record.
pub(super) const RECORD_SUFFIX: &str = ".json";
/// Ends the name of a record that is being written.
pub(super) const NEW_RECORD_SUFFIX: &str = ".new";
/// The modification time of a part that the disk had no room for the rest of: a mark that needs no room
/// itself. The next byte that is written takes it away.
pub(super) const FULL_DISK_MTIME_NS: i64 = 0;

pub(super) fn part_name(id: &UploadId) -> String {
    format!("{id}{PART_SUFFIX}")
}

pub(super) fn record_name(id: &UploadId) -> String {
    format!("{id}{RECORD_SUFFIX}")
}
