//! The record of an upload, which makes it resumable after its session ends.

use std::fs::File;
use std::io;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::base::atomic_file::SMALL_FILE_BYTES_MAX;
use crate::base::upload_id::UploadId;
use crate::store::StoreError;
use crate::store::names::{NEW_RECORD_SUFFIX, record_name};

/// The announced properties of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its path in the home.
    #[serde(with = "bytes_as_base64")]
    pub path: Vec<u8>,
    /// The announced size, if there is one.
    pub size: Option<u64>,
    /// Modification time of the source, nanoseconds since the epoch, if announced.
    pub mtime_ns: Option<i64>,
}

/// A record as it is stored in its file.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredRecord {
    #[serde(flatten)]
    pub(super) record: Record,
    /// Bytes known to be on disk.
    pub(super) synced: u64,
    /// The boot ID of the machine when the other bytes were written; they are valid until it reboots.
    pub(super) boot: String,
}

/// An upload that can be resumed: it is interrupted, or still running.
#[derive(Debug, Clone)]
pub struct PartialUpload {
    /// The ID of the upload.
    pub id: UploadId,
    /// Its announced properties.
    pub record: Record,
    /// The number of stored bytes.
    pub length: u64,
    /// When it expires, nanoseconds since the epoch.
    pub expires_ns: i64,
}

/// Returns the record of an upload, if there is one that can be read.
pub(super) fn read_record(staging: &OwnedFd, id: &UploadId) -> Option<StoredRecord> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(staging, record_name(id), flags, Mode::empty()).ok()?);
    let mut text = Vec::new();
    file.take(SMALL_FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Returns the text of a record's file.
pub(super) fn record_text(kept: &StoredRecord) -> io::Result<Vec<u8>> {
    serde_json::to_vec(kept).map_err(io::Error::other)
}

/// Replaces the record as a whole, without syncing it. If it is lost at a power failure, the transfer starts
/// again. A damaged record is ignored.
pub(super) fn write_record_text(staging: &OwnedFd, id: &UploadId, text: &[u8]) -> Result<(), StoreError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = format!("{id}{NEW_RECORD_SUFFIX}");
    let mut file = File::from(rustix::fs::openat(staging, &new, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file.write_all(text);
    let replaced = written.and_then(|()| Ok(rustix::fs::renameat(staging, &new, staging, record_name(id))?));
    if replaced.is_err() {
        // If that fails too, the next try overwrites it.
        let _ = rustix::fs::unlinkat(staging, &new, AtFlags::empty());
    }
    Ok(replaced?)
}

mod bytes_as_base64 {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::store) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in crate::store) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
