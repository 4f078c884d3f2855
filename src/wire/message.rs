//! The bodies of control, end and abort frames. Unknown fields are ignored, so that a newer peer can
//! add some; an unknown request is answered `unsupported`.

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::json::read_object;
use crate::base::upload_id::UploadId;
pub use crate::wire::name::Name;

/// Text of an error: a path and what is wrong with it. Even with each byte escaped, the frame stays
/// under `CONTROL_BYTES_MAX`.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Text of an error before login.
pub const ERROR_MESSAGE_BYTES_MAX_BEFORE_LOGIN: usize = 512;
/// Requests that a client may have sent without their replies.
pub const IN_FLIGHT_MAX: usize = 64;

/// The only version of the protocol so far.
pub const VERSION: u32 = 1;

/// The feature of a server that sets the permission bits in a request, and sends those of its files.
pub const PERMISSIONS_FEATURE: &str = "permissions";

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
    Sha256 {
        /// The file.
        path: Name,
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
    /// Downloads a file. Answered by [`Reply::File`], data frames and an end frame.
    Get {
        /// The file.
        path: Name,
        /// First byte wanted; honoured only if `etag` or `prefix_sha256` matches.
        #[serde(default, skip_serializing_if = "is_zero")]
        offset: u64,
        /// The etag that came with the client's first bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
        /// The digest of the client's first `offset` bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix_sha256: Option<Digest>,
    },
    /// Uploads a file. Data frames and an end frame follow at once, or, with `resume`, after
    /// [`Reply::Ready`].
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
/// [`ErrorCode::Unsupported`]. If a variant is missing here, a malformed request of it is answered so too.
const OPS: [&str; 16] = [
    "hello",
    "auth",
    "auth_next",
    "list",
    "stat",
    "sha256",
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
            Some(op) if !OPS.contains(&op.as_str()) => {
                MessageError::Unsupported(crate::base::text::Escaped(op.as_bytes()).to_string())
            }
            _ => MessageError::Malformed(error.to_string()),
        })
    }

    /// Returns whether `body` requests an upload, even if it is malformed otherwise. Data frames may follow
    /// it.
    pub fn is_put(body: &[u8]) -> bool {
        op_of(body).as_deref() == Some("put")
    }
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

/// A server's reply. `re` names the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// The version in use from now on.
        version: u32,
        /// Name and version of the program.
        server: String,
        /// Login mechanisms, best first.
        mechanisms: Vec<String>,
        /// Extensions beyond the version, such as [`PERMISSIONS_FEATURE`].
        #[serde(default)]
        features: Vec<String>,
        /// The server's bounds.
        limits: WireLimits,
    },
    /// SCRAM's server-first-message, to [`Request::Auth`].
    Challenge {
        /// `r=…,s=…,i=…`.
        message: String,
    },
    /// SCRAM's server-final-message, to [`Request::AuthNext`]: the login is done.
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
    /// To [`Request::Stat`].
    Stat {
        /// The entry.
        #[serde(flatten)]
        entry: Entry,
        /// Identifies this content of this file; opaque. Files only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
    },
    /// To [`Request::Sha256`].
    Sha256 {
        /// The digest of the whole file.
        sha256: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// The request is done and has no other result.
    Done {},
    /// To [`Request::SetPermissions`].
    Permissions {
        /// The permission bits that the file or directory has now.
        permissions: u32,
    },
    /// To [`Request::Quota`].
    Quota(QuotaReport),
    /// To [`Request::Get`]; data frames and an end frame follow.
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
    /// To [`Request::Put`] with `resume`: data may begin.
    Ready {
        /// First byte wanted; 0 if the server has no part of the upload.
        offset: u64,
        /// The digest of the server's first `offset` bytes.
        prefix_sha256: Digest,
    },
    /// To [`Request::Put`]: the file is stored.
    Stored {
        /// Its size.
        size: u64,
        /// Its digest, computed by the server.
        sha256: Digest,
    },
    /// To [`Request::Partials`]; more pages follow unless it is the last.
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

/// Body of an end frame: all bytes were sent, and this is their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The size of the whole file.
    pub size: u64,
    /// The digest of the whole file.
    pub sha256: Digest,
}

/// Body of an abort frame and of [`Reply::Error`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// The kind of failure, for programs.
    pub code: ErrorCode,
    /// Text for people: what happened, to what.
    pub message: String,
    /// Text for people: what they can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The account is read-only, so the server refuses each other change too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// The same request may succeed later.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retry: bool,
    /// The server closes the connection after this.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fatal: bool,
}

impl ErrorReply {
    /// Creates a refusal of one request that cannot succeed later.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), advice: None, read_only: false, retry: false, fatal: false }
    }

    /// Adds what the user can do.
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame or message is malformed, or not allowed in this state.
    BadRequest,
    /// The request, version or mechanism is not known.
    Unsupported,
    /// A login is required first.
    LoginRequired,
    /// The user or the password is wrong, or the account is locked.
    LoginFailed,
    /// The account was locked or removed while logged in.
    AccountClosed,
    /// The administrator ended the session.
    Kicked,
    /// The server, the address or the account has reached its number of sessions.
    TooMany,
    /// There is nothing at the path.
    NotFound,
    /// The path exists already.
    Exists,
    /// The path is not a file.
    NotAFile,
    /// The path is not a directory.
    NotADirectory,
    /// The directory is not empty.
    NotEmpty,
    /// The path is not a valid name: too long, reserved, or with a NUL.
    BadName,
    /// The path leads out of the home.
    OutsideHome,
    /// The account or the file's mode does not allow it.
    Denied,
    /// The account's quota of bytes is exceeded.
    QuotaBytes,
    /// The account's quota of files is exceeded.
    QuotaFiles,
    /// The server's disk is full.
    DiskFull,
    /// The file changed while it was transferred, or has another etag.
    Changed,
    /// The digest or size of the received bytes is not as announced.
    Mismatch,
    /// The client cancelled the transfer.
    Cancelled,
    /// Another session has resumed the upload.
    Superseded,
    /// Other requests hold the memory that this one needs.
    Busy,
    /// The request exceeds a bound.
    TooLarge,
    /// The server's disk failed.
    Io,
    /// A deadline passed.
    Timeout,
    /// The server is stopping.
    ShuttingDown,
    /// The server requires TLS.
    TlsRequired,
    /// An error in the server; its log has the details.
    Internal,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}
