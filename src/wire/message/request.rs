//! Requests of a client, as the bodies of control frames.

use serde::{Deserialize, Serialize};

use super::{is_false, is_zero, optional_digest_of_transfer};
use crate::base::digest::{Digest, DigestAlgorithm};
use crate::base::json::read_object;
use crate::base::text::Escaped;
use crate::base::upload_id::UploadId;
use crate::wire::name::Name;

/// A client's request. `op` names the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// The first request: the versions of the client.
    Hello {
        /// In order of preference.
        versions: Vec<u32>,
        /// Name and version of the program, for the log.
        #[serde(default)]
        client: String,
    },
    /// Begins a login.
    Auth {
        /// A mechanism of the server's hello.
        mechanism: String,
        /// SCRAM's client-first-message.
        message: String,
    },
    /// Continues a login.
    AuthNext {
        /// SCRAM's client-final-message.
        message: String,
    },
    /// Lists the entries of a directory, or a file as its only entry. Answered in pages.
    List {
        /// The directory or file.
        path: Name,
    },
    /// Returns kind, size, time and etag of one entry.
    Stat {
        /// The entry.
        path: Name,
    },
    /// Computes the digest of a file's content.
    Digest {
        /// The file.
        path: Name,
        /// The algorithm. Absent: that of transfers.
        #[serde(default = "algorithm_of_transfers", skip_serializing_if = "is_algorithm_of_transfers")]
        algorithm: DigestAlgorithm,
    },
    /// Makes a directory.
    Mkdir {
        /// The directory.
        path: Name,
        /// Make missing parents too, and accept an existing directory.
        #[serde(default)]
        parents: bool,
        /// The permission bits of a new directory, as far as the server allows. Absent: the default ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permissions: Option<u32>,
    },
    /// Gives a file or directory permission bits, as far as the server allows.
    SetPermissions {
        /// The file or directory.
        path: Name,
        /// The permission bits. Only the lower nine are used.
        permissions: u32,
    },
    /// Removes a file or a symlink.
    Rm {
        /// The file or symlink.
        path: Name,
    },
    /// Removes an empty directory.
    Rmdir {
        /// The directory.
        path: Name,
    },
    /// Renames a file or directory.
    Mv {
        /// The present path.
        from: Name,
        /// The new path, including the name.
        to: Name,
        /// Replace an existing file.
        #[serde(default)]
        replace: bool,
    },
    /// Returns usage and limits of the account.
    Quota {},
    /// Downloads a file. Answered by [`super::Reply::File`], data frames and an end frame.
    Get {
        /// The file.
        path: Name,
        /// First byte wanted; honoured only if `etag` or `prefix_digest` matches.
        #[serde(default, skip_serializing_if = "is_zero")]
        offset: u64,
        /// The etag that came with the client's first bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
        /// The digest of the client's first `offset` bytes.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_digest_of_transfer")]
        prefix_digest: Option<Digest>,
    },
    /// Uploads a file. Data frames and an end frame follow at once, or, with `resume`, after
    /// [`super::Reply::Ready`].
    Put {
        /// Its path.
        path: Name,
        /// Its size, if known: then this much quota is reserved, and exactly this many bytes must come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Its modification time, in nanoseconds since the epoch. Default: the time of the upload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtime_ns: Option<i64>,
        /// Whether an existing file may be replaced. These are not permission bits.
        #[serde(default)]
        mode: PutMode,
        /// Replace only the file that has this etag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_etag: Option<String>,
        /// The client's id of the upload, by which the upload can be resumed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upload_id: Option<UploadId>,
        /// Continue the partial upload `upload_id`.
        #[serde(default, skip_serializing_if = "is_false")]
        resume: bool,
        /// The permission bits of a new file, as far as the server allows. Absent: the default ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permissions: Option<u32>,
        /// Whether a replaced file gets `permissions` too, instead of keeping its own.
        #[serde(default, skip_serializing_if = "is_false")]
        set_permissions: bool,
    },
    /// Lists the uploads that can be resumed, including running ones. Answered in pages.
    Partials {},
    /// Drops a partial upload.
    DropPartial {
        /// The id of the upload.
        upload_id: UploadId,
    },
}

/// The `op` of every variant of [`Request`]. A request with another one is answered
/// [`super::ErrorCode::Unsupported`]. If a variant is missing here, a malformed request of it is answered so
/// too.
const OPS: [&str; 16] = [
    "hello",
    "auth",
    "auth_next",
    "list",
    "stat",
    "digest",
    "mkdir",
    "set_permissions",
    "rm",
    "rmdir",
    "mv",
    "quota",
    "get",
    "put",
    "partials",
    "drop_partial",
];

/// Why a control frame's body is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Invalid JSON, a field of the wrong type, or a missing field.
    #[error("{0}")]
    Malformed(String),
    /// A request that this version does not know.
    #[error("unknown request '{0}'")]
    Unsupported(String),
}

impl Request {
    /// Parses the body of a control frame.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        read_object(body).map_err(|error| match op_of(body) {
            Some(op) if !OPS.contains(&op.as_str()) => MessageError::Unsupported(Escaped(op.as_bytes()).to_string()),
            _ => MessageError::Malformed(error.to_string()),
        })
    }

    /// Returns whether `body` requests an upload, even if it is malformed otherwise. Data frames may follow
    /// it.
    pub fn is_put(body: &[u8]) -> bool {
        op_of(body).as_deref() == Some("put")
    }
}

fn algorithm_of_transfers() -> DigestAlgorithm {
    DigestAlgorithm::OF_TRANSFERS
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_algorithm_of_transfers(algorithm: &DigestAlgorithm) -> bool {
    *algorithm == DigestAlgorithm::OF_TRANSFERS
}

fn op_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Op {
        op: String,
    }
    read_object::<Op>(body).ok().map(|Op { op }| op)
}

/// Whether an upload may replace a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PutMode {
    /// Only create a new file.
    #[default]
    Create,
    /// Create or replace a file.
    Replace,
}
