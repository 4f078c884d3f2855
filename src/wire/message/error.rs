//! Why a request is refused or a transfer is aborted.

use serde::{Deserialize, Serialize};

use super::is_false;

/// The maximum length of an error text: a path and what is wrong with it. Even with each byte escaped, the frame stays
/// under `CONTROL_BYTES_MAX`.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// The maximum length of an error text before login.
pub const ERROR_MESSAGE_BYTES_MAX_BEFORE_LOGIN: usize = 512;

/// Body of an abort frame and of [`super::Reply::Error`].
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
    /// The server's disk failed, or a file system does not answer.
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
