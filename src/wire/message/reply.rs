//! Replies of a server, as the bodies of control frames.

use serde::{Deserialize, Serialize};

use super::error::ErrorReply;
use super::{digest_of_transfer, is_false};
use crate::base::digest::Digest;
use crate::base::upload_id::UploadId;
use crate::wire::name::Name;

/// A server's reply. `re` names the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "snake_case")]
pub enum Reply {
    /// To [`super::Request::Hello`].
    Hello {
        /// The version in use from now on.
        version: u32,
        /// Name and version of the program.
        server: String,
        /// Login mechanisms, best first.
        mechanisms: Vec<String>,
        /// Extensions beyond the version, such as [`super::PERMISSIONS_FEATURE`].
        #[serde(default)]
        features: Vec<String>,
        /// The server's bounds.
        limits: WireLimits,
    },
    /// SCRAM's server-first-message, to [`super::Request::Auth`].
    Challenge {
        /// `r=…,s=…,i=…`.
        message: String,
    },
    /// SCRAM's server-final-message, to [`super::Request::AuthNext`]: the login is done.
    Welcome {
        /// `v=…`.
        message: String,
    },
    /// Some entries of a listing, sorted by name; more pages follow unless it is the last.
    Page {
        /// The entries, in order.
        entries: Vec<Entry>,
        /// Whether this is the last page.
        last: bool,
    },
    /// To [`super::Request::Stat`].
    Stat {
        /// The entry.
        #[serde(flatten)]
        entry: Entry,
        /// Identifies this content of this file; opaque. Files only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
    },
    /// To [`super::Request::Digest`].
    Digest {
        /// The digest of the whole file, by the requested algorithm.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// The request is done and has no other result.
    Done {},
    /// To [`super::Request::SetPermissions`].
    Permissions {
        /// The permission bits that the file or directory has now.
        permissions: u32,
    },
    /// To [`super::Request::Quota`].
    Quota(QuotaReport),
    /// To [`super::Request::Get`]; data frames and an end frame follow.
    File {
        /// The size of the whole file.
        size: u64,
        /// Modification time in nanoseconds since the epoch.
        mtime_ns: i64,
        /// For resuming the download.
        etag: String,
        /// First byte sent: the requested one, or 0.
        offset: u64,
        /// Permission bits, if the server tells them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
    },
    /// To [`super::Request::Put`] with `resume`: data may begin.
    Ready {
        /// First byte wanted; 0 if the server has no part of the upload.
        offset: u64,
        /// The digest of the server's first `offset` bytes.
        #[serde(deserialize_with = "digest_of_transfer")]
        prefix_digest: Digest,
    },
    /// To [`super::Request::Put`]: the file is stored.
    Stored {
        /// Its size.
        size: u64,
        /// Its digest, computed by the server.
        #[serde(deserialize_with = "digest_of_transfer")]
        digest: Digest,
    },
    /// To [`super::Request::Partials`]; more pages follow unless it is the last.
    Partials {
        /// The uploads, oldest first.
        partials: Vec<Partial>,
        /// Whether this is the last page.
        last: bool,
    },
    /// The request is refused.
    Error(ErrorReply),
}

/// The bounds a client must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireLimits {
    /// Body of a control frame after login, in bytes.
    pub control_bytes: usize,
    /// Body of a data frame, in bytes.
    pub data_bytes: usize,
    /// Requests in flight.
    pub in_flight: usize,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, without directories.
    pub name: Name,
    /// Its kind; a symlink is not followed.
    pub kind: EntryKind,
    /// Size of a file; 0 for others.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Permission bits, such as 0o644 (420).
    pub mode: u32,
    /// The server could not read it: only its name is known and, unless it is [`EntryKind::Other`], its
    /// kind. The other fields are 0.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unexamined: bool,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket; not served.
    Other,
}

/// Usage and limits of an account. Requests that would bring `used + reserved` over a limit are
/// refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaReport {
    /// Bytes on disk, including partial uploads.
    pub used_bytes: u64,
    /// Bytes reserved for running uploads and not yet written.
    pub reserved_bytes: u64,
    /// The limit in bytes; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Files and directories, including partial uploads.
    pub used_files: u64,
    /// The limit in files and directories; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_files: Option<u64>,
    /// Free bytes on the server's disk; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
}

impl QuotaReport {
    /// Returns the bytes that can still be stored, by quota and disk; `None` if neither is known.
    pub fn available_bytes(&self) -> Option<u64> {
        self.free_bytes().into_iter().chain(self.disk_free_bytes).min()
    }

    /// Returns the bytes that can still be reserved; `None` without a limit.
    pub fn free_bytes(&self) -> Option<u64> {
        Some(self.limit_bytes?.saturating_sub(self.used_bytes).saturating_sub(self.reserved_bytes))
    }
}

/// A partial upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// The id of the upload.
    pub upload_id: UploadId,
    /// The path of the file.
    pub path: Name,
    /// Stored bytes.
    pub offset: u64,
    /// The announced size, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it expires, in seconds since the epoch.
    pub expires_s: i64,
}
