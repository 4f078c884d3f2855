//! Why a session refuses a request: a closed list without protocol codes. Each protocol maps it
//! exhaustively.

use crate::store::StoreError;
use crate::store::ledger::Shortage;

/// Why a request is refused or a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SessionError {
    /// A login is required first.
    #[error("log in first")]
    LoginRequired,
    /// The state of the session does not allow the call.
    #[error("this request is not allowed in the present state of the session")]
    WrongState,
    /// The login message cannot be parsed.
    #[error("the login message is malformed")]
    LoginMalformed,
    /// Wrong user or password, or a locked account; deliberately not distinguished.
    #[error("login refused: wrong user or password, or the account is locked")]
    LoginFailed,
    /// Too many failed logins on one connection.
    #[error("too many failed logins on this connection")]
    TooManyTries,
    /// The account already has the maximum number of sessions.
    #[error("too many sessions for this account (limits.sessions_per_account)")]
    TooManySessions,
    /// Closed before its login, to make room for another connection.
    #[error("the server is full; connection closed before login")]
    Displaced,
    /// The account was locked or removed while logged in.
    #[error("this account was locked or removed by the administrator")]
    AccountClosed,
    /// The administrator ended this session. The account may log in again.
    #[error("the administrator ended this session")]
    Kicked,
    /// The path does not exist.
    #[error("no such file or directory")]
    NotFound,
    /// The path exists already.
    #[error("already exists")]
    Exists,
    /// Not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// Not a directory.
    #[error("not a directory")]
    NotADirectory,
    /// The directory to remove is not empty.
    #[error("directory not empty")]
    NotEmpty,
    /// The name is too long or reserved, or the path is the home itself.
    #[error("invalid name: too long, reserved, or the home directory itself")]
    BadName,
    /// A symlink leads out of the home.
    #[error("the path leads outside your home directory")]
    OutsideHome,
    /// Symlinks form a loop.
    #[error("the symbolic links on this path form a loop")]
    LinkLoop,
    /// A rename cannot move an entry to another file system.
    #[error("source and target are on different file systems of the server")]
    OtherFileSystem,
    /// A directory cannot be moved into itself.
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    /// The server's file system does not permit it.
    #[error("permission denied by the server's file system")]
    Denied,
    /// The entry is in use by the system, for example as a mount point.
    #[error("in use by the server's system, for example as a mount point")]
    InUse,
    /// The account may only read.
    #[error("this account is read-only")]
    ReadOnly,
    /// The account's quota of bytes is exceeded.
    #[error("disk quota exceeded: {}", .0.in_bytes())]
    QuotaBytes(Shortage),
    /// The account's quota of files and directories is exceeded.
    #[error("quota of files and directories exceeded: {}", .0.in_files())]
    QuotaFiles(Shortage),
    /// The server's disk is full.
    #[error("the server's disk is full")]
    DiskFull,
    /// The file changed during the transfer.
    #[error("the file changed during the transfer")]
    Changed,
    /// The received bytes do not have the digest that the client sent.
    #[error("the digest of the received data differs from that of the sent data")]
    Mismatch,
    /// The client sent more or fewer bytes than it announced.
    #[error("the client sent more or fewer bytes than it announced; nothing was stored")]
    SizeMismatch,
    /// The client wants to append to a file, but a newer partial upload of it exists. Holds the size of
    /// the partial upload.
    #[error("a partial upload of this file exists ({0} bytes)")]
    UploadHeld(u64),
    /// The client wants to skip more bytes than exist.
    #[error("the offset is past the end of the file")]
    BadOffset,
    /// The connection closed before the end of the data.
    #[error("the connection closed before the end of the data")]
    Cut,
    /// The client cancelled the transfer.
    #[error("cancelled")]
    Cancelled,
    /// Another session has resumed this upload.
    #[error("another session has resumed this upload")]
    Superseded,
    /// No memory is free for the request, because other sessions use it.
    #[error("the server has no memory for this request now")]
    Busy,
    /// The request exceeds a bound.
    #[error("too large for the server to handle at once")]
    TooLarge,
    /// The server's disk failed.
    #[error("the server's disk or system failed")]
    Io,
    /// The disk failed during an upload.
    #[error("the server's disk failed while it stored this upload, and nothing is kept")]
    Unwritten,
    /// The file system does not answer. The received part of an upload is kept as after a lost connection.
    #[error("the server's file system does not answer, so this is not confirmed")]
    NoAnswer,
    /// A call waits for the file system. Never sent, because the request is then handled again.
    #[error("not yet")]
    NotYet,
    /// A deadline passed.
    #[error("timed out: no activity for too long")]
    Timeout,
    /// The server accepts only encrypted connections.
    #[error("this server requires encryption")]
    TlsRequired,
    /// A defect of the server ended the session.
    #[error("an internal error of the server ended this session")]
    Defect,
    /// The server is shutting down.
    #[error("the server is stopping")]
    ShuttingDown,
}

impl SessionError {
    /// Returns the word for it in the logs, without its numbers. `docs/logs.md` lists the words, and scripts search
    /// for them.
    pub fn log_word(self) -> &'static str {
        match self {
            Self::LoginRequired => "LoginRequired",
            Self::WrongState => "WrongState",
            Self::LoginMalformed => "LoginMalformed",
            Self::LoginFailed => "LoginFailed",
            Self::TooManyTries => "TooManyTries",
            Self::TooManySessions => "TooManySessions",
            Self::Displaced => "Displaced",
            Self::AccountClosed => "AccountClosed",
            Self::Kicked => "Kicked",
            Self::NotFound => "NotFound",
            Self::Exists => "Exists",
            Self::NotAFile => "NotAFile",
            Self::NotADirectory => "NotADirectory",
            Self::NotEmpty => "NotEmpty",
            Self::BadName => "BadName",
            Self::OutsideHome => "OutsideHome",
            Self::LinkLoop => "LinkLoop",
            Self::OtherFileSystem => "OtherFileSystem",
            Self::IntoItself => "IntoItself",
            Self::Denied => "Denied",
            Self::InUse => "InUse",
            Self::ReadOnly => "ReadOnly",
            Self::QuotaBytes(_) => "QuotaBytes",
            Self::QuotaFiles(_) => "QuotaFiles",
            Self::DiskFull => "DiskFull",
            Self::Changed => "Changed",
            Self::Mismatch => "Mismatch",
            Self::SizeMismatch => "SizeMismatch",
            Self::UploadHeld(_) => "UploadHeld",
            Self::BadOffset => "BadOffset",
            Self::Cut => "Cut",
            Self::Cancelled => "Cancelled",
            Self::Superseded => "Superseded",
            Self::Busy => "Busy",
            Self::TooLarge => "TooLarge",
            Self::Io => "Io",
            Self::Unwritten => "Unwritten",
            Self::NoAnswer => "NoAnswer",
            Self::NotYet => "NotYet",
            Self::Timeout => "Timeout",
            Self::TlsRequired => "TlsRequired",
            Self::Defect => "Defect",
            Self::ShuttingDown => "ShuttingDown",
        }
    }

    /// Returns what the user can do about it. The `Display` text is the problem alone.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::LoginFailed => "ask the administrator if this persists",
            Self::TooManyTries => "connect again",
            Self::TooManySessions => "close one and try again",
            Self::Displaced => "try again in a moment",
            Self::Kicked => "connect again to resume interrupted transfers",
            Self::LinkLoop => "remove one of them",
            Self::OtherFileSystem => "copy the file, or ask the administrator",
            Self::Denied => "ask the administrator",
            Self::InUse => "ask the administrator",
            Self::QuotaBytes(_) => "remove files or ask for a larger quota",
            Self::QuotaFiles(_) => "remove some or ask for a larger quota",
            Self::DiskFull => "tell the administrator",
            Self::Changed => "try again",
            Self::Mismatch => "nothing was stored, try again",
            Self::BadOffset => "check its size first",
            Self::Busy => "try again in a moment",
            Self::Io => "its log has details",
            Self::TlsRequired => "connect without --plaintext",
            Self::Defect => "its log has details, tell the administrator",
            Self::ShuttingDown => "try again later",
            Self::UploadHeld(_) => {
                "send the whole file with STOR, or delete it first, which also deletes the partial upload"
            }
            Self::Unwritten => "send the file again from its beginning, and tell the administrator if that fails too",
            Self::NoAnswer => "try again later, and tell the administrator if that does not help",
            Self::LoginRequired
            | Self::WrongState
            | Self::LoginMalformed
            | Self::AccountClosed
            | Self::NotFound
            | Self::Exists
            | Self::NotAFile
            | Self::NotADirectory
            | Self::NotEmpty
            | Self::BadName
            | Self::OutsideHome
            | Self::IntoItself
            | Self::ReadOnly
            | Self::SizeMismatch
            | Self::Cut
            | Self::Cancelled
            | Self::Superseded
            | Self::NotYet
            | Self::TooLarge
            | Self::Timeout => return None,
        })
    }

    /// Returns the problem and the advice in one line.
    pub fn with_advice(self) -> String {
        match self.advice() {
            Some(advice) => format!("{self}; {advice}"),
            None => self.to_string(),
        }
    }
}

impl From<&StoreError> for SessionError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound,
            StoreError::Exists => Self::Exists,
            StoreError::NotAFile => Self::NotAFile,
            StoreError::NotADirectory => Self::NotADirectory,
            StoreError::NotEmpty => Self::NotEmpty,
            StoreError::BadName => Self::BadName,
            StoreError::OutsideHome => Self::OutsideHome,
            StoreError::LinkLoop => Self::LinkLoop,
            StoreError::OtherFileSystem => Self::OtherFileSystem,
            StoreError::IntoItself => Self::IntoItself,
            StoreError::Denied => Self::Denied,
            StoreError::InUse => Self::InUse,
            StoreError::DiskFull => Self::DiskFull,
            StoreError::TooLarge => Self::TooLarge,
            StoreError::QuotaBytes(shortage) => Self::QuotaBytes(*shortage),
            StoreError::QuotaFiles(shortage) => Self::QuotaFiles(*shortage),
            StoreError::Changed => Self::Changed,
            StoreError::Superseded => Self::Superseded,
            StoreError::Unwritten => Self::Unwritten,
            StoreError::NoAnswer => Self::NoAnswer,
            StoreError::Io(_) => Self::Io,
        }
    }
}

impl From<StoreError> for SessionError {
    /// Logs the system's error text. The peer gets only its kind.
    fn from(error: StoreError) -> Self {
        if let StoreError::Io(error) = &error {
            log::error!("storage: {error}");
        }
        Self::from(&error)
    }
}
