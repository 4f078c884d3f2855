//! Why a session refuses a request: a closed list without protocol codes. Each protocol maps it
//! exhaustively.

use crate::store::StoreError;
use crate::store::ledger::Shortage;

/// A request is refused; the session continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SessionError {
    /// A login is required first.
    #[error("log in first")]
    LoginRequired,
    /// This cannot be asked now.
    #[error("this request is not allowed in the present state of the session")]
    WrongState,
    /// The login message cannot be parsed.
    #[error("the login message is malformed")]
    LoginMalformed,
    /// Wrong user or password, or a locked account; deliberately not distinguished.
    #[error("login refused: wrong user or password, or the account is locked; ask the administrator if this persists")]
    LoginFailed,
    /// Too many failed logins on one connection.
    #[error("too many failed logins on this connection; connect again")]
    TooManyTries,
    /// As many sessions as the account may have.
    #[error("too many sessions for this account (limits.sessions_per_account); close one and try again")]
    TooManySessions,
    /// Others need the connection.
    #[error("the server is full; connection closed before login; try again in a moment")]
    Displaced,
    /// The account was locked or removed while logged in.
    #[error("this account was locked or removed by the administrator")]
    AccountClosed,
    /// Ended by the administrator, who lets others begin.
    #[error("the administrator ended this session; connect again to resume interrupted transfers")]
    Kicked,
    /// Nothing at the path.
    #[error("no such file or directory")]
    NotFound,
    /// Something at the path.
    #[error("already exists")]
    Exists,
    /// Not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// Not a directory.
    #[error("not a directory")]
    NotADirectory,
    /// Something is in it.
    #[error("directory not empty")]
    NotEmpty,
    /// Too long, reserved, or the home itself.
    #[error("invalid name: too long, reserved, or the home directory itself")]
    BadName,
    /// A link that leads out.
    #[error("the path leads outside your home directory")]
    OutsideHome,
    /// Links that lead to each other.
    #[error("the symbolic links on this path form a loop; remove one of them")]
    LinkLoop,
    /// From one file system to another.
    #[error("source and target are on different file systems of the server; copy the file, or ask the administrator")]
    OtherFileSystem,
    /// A directory into itself.
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    /// File permissions on the server.
    #[error("permission denied by the server's file system; ask the administrator")]
    Denied,
    /// A mount point, for one.
    #[error("in use by the server's system, for example as a mount point; ask the administrator")]
    InUse,
    /// The account may only read.
    #[error("this account is read-only")]
    ReadOnly,
    /// Bytes.
    #[error("disk quota exceeded: {}; remove files or ask for a larger quota", .0.in_bytes())]
    QuotaBytes(Shortage),
    /// Number of files.
    #[error("quota of files and directories exceeded: {}; remove some or ask for a larger quota", .0.in_files())]
    QuotaFiles(Shortage),
    /// The server's disk.
    #[error("the server's disk is full; tell the administrator")]
    DiskFull,
    /// The file is not what it was.
    #[error("the file changed during the transfer; try again")]
    Changed,
    /// The digest differs.
    #[error("the SHA-256 of the received data differs from that of the sent data; nothing was stored, try again")]
    Mismatch,
    /// More or fewer bytes than announced.
    #[error("the client sent more or fewer bytes than it announced; nothing was stored")]
    SizeMismatch,
    /// The client would append to a file with a newer partial upload of this many bytes.
    #[error(
        "an interrupted upload of this file is held ({0} bytes); send the whole file with STOR, or delete it \
         first, which also deletes the held part"
    )]
    UploadHeld(u64),
    /// Fewer bytes than the client wants to skip.
    #[error("the offset is past the end of the file; check its size first")]
    BadOffset,
    /// The bytes ended without their end.
    #[error("the connection closed before the end of the data")]
    Cut,
    /// The client cancelled the transfer.
    #[error("cancelled")]
    Cancelled,
    /// Another session goes on with this upload.
    #[error("another session has resumed this upload")]
    Superseded,
    /// Others hold the memory for it.
    #[error("the server has no memory for this request now; try again in a moment")]
    Busy,
    /// The request exceeds a bound.
    #[error("too large for the server to handle at once")]
    TooLarge,
    /// The server's disk failed.
    #[error("the server's disk or system failed; its log has details")]
    Io,
    /// The disk failed during an upload.
    #[error(
        "the server's disk failed while it stored this upload, and nothing is kept; send the file again from its \
         beginning, and tell the administrator if that fails too"
    )]
    Unwritten,
    /// The disk does not answer. The received part of an upload is kept as after a lost connection.
    #[error(
        "the server's disk does not answer, so this is not confirmed; try again later, and tell the administrator \
         if that does not help"
    )]
    NoAnswer,
    /// A deadline passed.
    #[error("timed out: no activity for too long")]
    Timeout,
    /// Encryption is not a choice here.
    #[error("this server requires encryption; connect without --plaintext")]
    TlsRequired,
    /// The server itself is at fault.
    #[error("an internal error of the server ended this session; its log has details, tell the administrator")]
    Defect,
    /// The server stops.
    #[error("the server is stopping; try again later")]
    ShuttingDown,
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
    /// The system's error text goes to the log only; the peer gets its kind.
    fn from(error: StoreError) -> Self {
        if let StoreError::Io(error) = &error {
            log::error!("storage: {error}");
        }
        Self::from(&error)
    }
}
