//! The bodies of control, end and abort frames. Fields not known here are ignored, so that a
//! newer peer can add some; a request not known here is answered `unsupported`.

use crate::base::digest::Digest;
use crate::base::json::read_object;
use crate::base::upload_id::UploadId;
pub use crate::wire::name::Name;
use serde::{Deserialize, Serialize};

/// The only version of the protocol so far.
pub const VERSION: u32 = 1;

/// The feature of a server that keeps the permission bits it is told, and tells those it has.
pub const PERMISSIONS_FEATURE: &str = "permissions";

/// What a client asks. `op` names the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// The first request: which versions the client speaks.
    Hello {
        /// In order of preference.
        versions: Vec<u32>,
        /// Name and version of the program, for the log.
        #[serde(default)]
        client: String,
    },
    /// Begins a login.
    Auth {
        /// One that the server's hello offered.
        mechanism: String,
        /// SCRAM's client-first-message.
        message: String,
    },
    /// Goes on with a login.
    AuthNext {
        /// SCRAM's client-final-message.
        message: String,
    },
    /// The entries of a folder, or the one entry that a file is; answered in pages.
    List {
        /// What to list.
        path: Name,
    },
    /// Kind, size, time and etag of one entry.
    Stat {
        /// Of what.
        path: Name,
    },
    /// The digest of a file's content.
    Sha256 {
        /// Of what.
        path: Name,
    },
    /// Makes a folder.
    Mkdir {
        /// Which.
        path: Name,
        /// Make missing folders above it too, and do not mind if it is there.
        #[serde(default)]
        parents: bool,
        /// Its permission bits if it is new, as far as the server allows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permissions: Option<u32>,
    },
    /// Gives a file or folder permission bits, as far as the server allows.
    SetPermissions {
        /// Which.
        path: Name,
        /// As a number; only the lower nine count.
        permissions: u32,
    },
    /// Removes a file or a link.
    Rm {
        /// Which.
        path: Name,
    },
    /// Removes an empty folder.
    Rmdir {
        /// Which.
        path: Name,
    },
    /// Renames a file or folder.
    Mv {
        /// What.
        from: Name,
        /// Its new path, whole.
        to: Name,
        /// Replace a file that is there.
        #[serde(default)]
        replace: bool,
    },
    /// What the account uses and may use.
    Quota {},
    /// Downloads a file. Answered by [`Reply::File`], data frames and an end frame.
    Get {
        /// Which.
        path: Name,
        /// First byte wanted; honoured only when `etag` or `prefix_sha256` fits.
        #[serde(default, skip_serializing_if = "is_zero")]
        offset: u64,
        /// The etag the client's first bytes came with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
        /// The digest of the `offset` bytes the client has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix_sha256: Option<Digest>,
    },
    /// Uploads a file. Data frames and an end frame follow at once, or, with `resume`, after
    /// [`Reply::Ready`].
    Put {
        /// Its path.
        path: Name,
        /// Its size, if known: then so much quota is reserved, and exactly so much must come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Its modification time, in nanoseconds since the epoch; else the time of the upload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtime_ns: Option<i64>,
        /// Whether a file that is there may be replaced.
        #[serde(default)]
        mode: PutMode,
        /// Replace only the file that has this etag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_etag: Option<String>,
        /// A name for the upload, chosen by the client, under which it can be resumed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upload_id: Option<UploadId>,
        /// Go on with what the server kept of `upload_id`.
        #[serde(default, skip_serializing_if = "is_false")]
        resume: bool,
        /// Its permission bits if it is new, as far as the server allows; else those of any new file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permissions: Option<u32>,
        /// A file that is replaced gets them, too, instead of keeping its own.
        #[serde(default, skip_serializing_if = "is_false")]
        set_permissions: bool,
    },
    /// The uploads that can be resumed, running ones included; answered in pages.
    Partials {},
    /// Drops an interrupted upload.
    DropPartial {
        /// Which.
        upload_id: UploadId,
    },
}

/// Every `op` there is; a request with another one is [`ErrorCode::Unsupported`].
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

/// Why a control frame's body is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No JSON, or fields of the wrong type, or one missing.
    #[error("{0}")]
    Malformed(String),
    /// A request this version does not know.
    #[error("unknown request '{0}'")]
    Unsupported(String),
}

impl Request {
    /// Reads the body of a control frame.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        read_object(body).map_err(|error| match op_of(body) {
            Some(op) if !OPS.contains(&op.as_str()) => {
                MessageError::Unsupported(crate::base::text::Escaped(op.as_bytes()).to_string())
            }
            _ => MessageError::Malformed(error.to_string()),
        })
    }

    /// Whether `body`, which may be malformed otherwise, asks for an upload, so that its data
    /// follows.
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

/// Whether an upload may replace what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PutMode {
    /// Only a new name.
    #[default]
    Create,
    /// A new name, or instead of a file that is there.
    Replace,
}

/// What a server answers. `re` names the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// The version spoken from now on.
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
        /// In order.
        entries: Vec<Entry>,
        /// Whether the listing is complete.
        last: bool,
    },
    /// To [`Request::Stat`].
    Stat {
        /// What is there.
        #[serde(flatten)]
        entry: Entry,
        /// Names this content of this file; opaque. Files only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
    },
    /// To [`Request::Sha256`].
    Sha256 {
        /// Of the whole file.
        sha256: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// The request is carried out and has no other answer.
    Done {},
    /// To [`Request::SetPermissions`].
    Permissions {
        /// Those that the file or folder has now.
        permissions: u32,
    },
    /// To [`Request::Quota`].
    Quota(QuotaReport),
    /// To [`Request::Get`]; data frames and an end frame follow.
    File {
        /// The whole file's bytes.
        size: u64,
        /// Modification time in nanoseconds since the epoch.
        mtime_ns: i64,
        /// To be given when the download is resumed.
        etag: String,
        /// First byte sent: the one asked for, or 0.
        offset: u64,
        /// Permission bits, if the server tells them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
    },
    /// To [`Request::Put`] with `resume`: data may begin.
    Ready {
        /// First byte wanted; 0 when nothing was kept.
        offset: u64,
        /// The digest of the `offset` bytes the server has.
        prefix_sha256: Digest,
    },
    /// To [`Request::Put`]: the file is in place.
    Stored {
        /// Its bytes.
        size: u64,
        /// Its digest, computed by the server.
        sha256: Digest,
    },
    /// To [`Request::Partials`]; more follow unless it is the last.
    Partials {
        /// Oldest first.
        partials: Vec<Partial>,
        /// Whether that was all.
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
    /// Requests sent and not yet answered.
    pub in_flight: usize,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, without folders.
    pub name: Name,
    /// What it is; a link is not followed.
    pub kind: EntryKind,
    /// Bytes of a file's content; 0 for others.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Permission bits, such as 0o644 (420).
    pub mode: u32,
    /// The server's system refuses to examine it: only its name is known and, unless it is
    /// [`EntryKind::Other`], its kind. The other fields are 0.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unexamined: bool,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket; not served.
    Other,
}

/// What an account uses. Nothing is taken that would bring `used + reserved` over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaReport {
    /// Bytes on disk, interrupted uploads included.
    pub used_bytes: u64,
    /// Bytes promised to running uploads and not yet written.
    pub reserved_bytes: u64,
    /// Bytes allowed; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Files and folders there are, interrupted uploads included.
    pub used_files: u64,
    /// Files and folders allowed; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_files: Option<u64>,
    /// Bytes that the server's disk has for users; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
}

impl QuotaReport {
    /// Bytes that can still be stored, by the quota and by the disk; `None` if neither is known.
    pub fn available_bytes(&self) -> Option<u64> {
        self.free_bytes().into_iter().chain(self.disk_free_bytes).min()
    }

    /// Bytes that can still be reserved; `None` without a limit.
    pub fn free_bytes(&self) -> Option<u64> {
        Some(self.limit_bytes?.saturating_sub(self.used_bytes).saturating_sub(self.reserved_bytes))
    }
}

/// An interrupted upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// Its name.
    pub upload_id: UploadId,
    /// Where it will go.
    pub path: Name,
    /// Bytes kept.
    pub offset: u64,
    /// Bytes announced, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it is dropped, in seconds since the epoch.
    pub expires_s: i64,
}

/// Body of an end frame: all bytes were sent, and this is their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Of the whole file, in bytes.
    pub size: u64,
    /// Of the whole file.
    pub sha256: Digest,
}

/// Body of an abort frame and of [`Reply::Error`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What kind of failure; programs decide by this.
    pub code: ErrorCode,
    /// For people: what happened, to what, what to do next.
    pub message: String,
    /// The same request may succeed later.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retry: bool,
    /// The server closes the connection after this.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fatal: bool,
}

/// Every kind of failure there is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame or message is malformed, or came where it cannot.
    BadRequest,
    /// The request, version or mechanism is not known here.
    Unsupported,
    /// A login must come first.
    LoginRequired,
    /// The user or the password is wrong, or the account is locked.
    LoginFailed,
    /// The account was locked or removed while logged in.
    AccountClosed,
    /// The administrator ended the session.
    Kicked,
    /// As many sessions as the server, the address or the account may have.
    TooMany,
    /// There is nothing at the path.
    NotFound,
    /// There is something at the path.
    Exists,
    /// A file was needed.
    NotAFile,
    /// A folder was needed.
    NotADirectory,
    /// The folder is not empty.
    NotEmpty,
    /// The path cannot be a name here: too long, reserved, or with a NUL.
    BadName,
    /// The path leads out of the home.
    OutsideHome,
    /// The account or the file's mode does not allow it.
    Denied,
    /// The account's bytes are used up.
    QuotaBytes,
    /// The account's number of files is used up.
    QuotaFiles,
    /// The server's disk is full.
    DiskFull,
    /// The file changed while it was transferred, or has another etag.
    Changed,
    /// The digest or size of what arrived is not what was announced.
    Mismatch,
    /// The transfer was cancelled by the client.
    Cancelled,
    /// Another session took the upload over.
    Superseded,
    /// Other requests hold the memory that this one needs.
    Busy,
    /// More than the server handles at once.
    TooLarge,
    /// The server's disk failed.
    Io,
    /// A deadline passed.
    Timeout,
    /// The server is being stopped.
    ShuttingDown,
    /// The server takes no connection without TLS.
    TlsRequired,
    /// A defect of the server; its log says more.
    Internal,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}
