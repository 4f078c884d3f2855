//! Why a session refuses a request: a closed list without protocol codes. Each protocol maps it
//! exhaustively.

use crate::store::StoreError;

/// A request is refused; the session continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SessionError {
    /// A login is required first.
    #[error("log in first")]
    LoginRequired,
    /// The request is not allowed in this state.
    #[error("this request does not fit what the session is doing")]
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
    /// The account has reached its number of sessions.
    #[error(
        "this account has as many sessions as the server's `limits.sessions_per_account` allows; close one and try again"
    )]
    TooManySessions,
    /// Evicted to admit another connection.
    #[error("the server needed the place of this connection, which nobody had logged in to; connect again")]
    Displaced,
    /// The account was locked or removed while logged in.
    #[error("this account was locked or removed by the administrator")]
    AccountClosed,
    /// Ended by the administrator.
    #[error("the administrator ended this session; ask why, and connect again to resume what was cut off")]
    Kicked,
    /// Nothing at the path.
    #[error("there is no such file or folder")]
    NotFound,
    /// The path exists already.
    #[error("this name is taken; choose another or ask to replace it")]
    Exists,
    /// Not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// Not a folder.
    #[error("not a folder")]
    NotADirectory,
    /// The folder is not empty.
    #[error("the folder is not empty; remove what is in it first")]
    NotEmpty,
    /// The name is too long, reserved, or the home itself.
    #[error("this name cannot be used")]
    BadName,
    /// A symlink that leads out of the home.
    #[error("this leads out of your home")]
    OutsideHome,
    /// A loop of symlinks.
    #[error("the links on this path lead in a circle; remove one of them")]
    LinkLoop,
    /// From one file system to another.
    #[error(
        "this would cross from one of the server's file systems to another; copy the file, or ask the administrator"
    )]
    OtherFileSystem,
    /// A folder into itself.
    #[error("a folder cannot be moved into itself")]
    IntoItself,
    /// File permissions on the server.
    #[error("the server's file permissions do not allow this; ask the administrator")]
    Denied,
    /// The path is in use, for example a mount point.
    #[error("the server's system is using this, for example as a mount point; ask the administrator")]
    InUse,
    /// The account is read-only.
    #[error("this account may only read")]
    ReadOnly,
    /// The quota of bytes is exceeded.
    #[error("your disk quota would be exceeded; free some space or ask for more")]
    QuotaBytes,
    /// The quota of files is exceeded.
    #[error("your quota of files and folders would be exceeded; remove some or ask for more")]
    QuotaFiles,
    /// The server's disk is full.
    #[error("the server's disk is full; tell the administrator")]
    DiskFull,
    /// The file has changed.
    #[error("the file changed meanwhile; try again")]
    Changed,
    /// The digest differs.
    #[error("what arrived is not what was sent: the SHA-256 differs; nothing was stored, try again")]
    Mismatch,
    /// More or fewer bytes than announced.
    #[error("more or fewer bytes came than were announced; nothing was stored")]
    SizeMismatch,
    /// The client would append to a file with a newer partial upload of this many bytes.
    #[error(
        "an interrupted upload of this file is held ({0} bytes); send the file whole with STOR, or delete it \
         first, which also deletes what is held"
    )]
    UploadHeld(u64),
    /// The file has fewer bytes than the client wants to skip.
    #[error("the offset lies past the end of the file; ask for its size first")]
    BadOffset,
    /// The data ended before the end of the transfer.
    #[error("the data was cut off before its end")]
    Cut,
    /// The client cancelled the transfer.
    #[error("cancelled")]
    Cancelled,
    /// Another session has resumed this upload.
    #[error("another session has taken this upload over")]
    Superseded,
    /// No memory is available.
    #[error("the server has no memory for this now, because other requests hold it; try again in a moment")]
    Busy,
    /// The request exceeds a bound.
    #[error("too large for the server to handle at once")]
    TooLarge,
    /// The server's disk failed.
    #[error("the server could not do this because its disk or system failed; its log says more")]
    Io,
    /// The disk failed during an upload.
    #[error(
        "the server's disk failed while it stored this upload, of which nothing is kept; send it again from its \
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
    #[error("nothing happened for too long")]
    Timeout,
    /// TLS is required.
    #[error("this server takes encrypted connections only; connect without --plaintext")]
    TlsRequired,
    /// An error in the server itself.
    #[error("a defect of the server ended this session; its log says more, tell the administrator")]
    Defect,
    /// The server is stopping.
    #[error("the server is being stopped; try again later")]
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
            StoreError::QuotaBytes => Self::QuotaBytes,
            StoreError::QuotaFiles => Self::QuotaFiles,
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
