//! Failures of commands, their advice for the user, and the exit codes that scripts rely on.

use crate::base::text::Escaped;
use crate::wire::WireError;
use crate::wire::message::{ErrorCode, ErrorReply, READ_ONLY};

/// Everything succeeded.
pub const EXIT_DONE: u8 = 0;
/// A command failed.
pub const EXIT_FAILED: u8 = 1;
/// The command line is invalid.
pub const EXIT_USAGE: u8 = 2;
/// The connection failed or was lost.
pub const EXIT_CONNECTION: u8 = 3;
/// The login or the server's fingerprint was refused.
pub const EXIT_LOGIN: u8 = 4;
/// The received content differs from the sent content.
pub const EXIT_VERIFICATION: u8 = 5;
/// The quota is used up or a disk is full.
pub const EXIT_FULL: u8 = 6;
/// The user pressed Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a command failed. Each text is one line that says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// No command has this name.
    #[error("{0}")]
    UnknownCommand(String),
    /// A local error: a file, a directory or the terminal.
    #[error("{0}")]
    Local(String),
    /// The local system denies access, or the file system is read-only.
    #[error("{0}")]
    LocalDenied(String),
    /// The local disk is full.
    #[error("{0}; free some space here, then run the command again")]
    LocalFull(String),
    /// The connection failed, and another one would not help.
    #[error("{0}")]
    Connection(String),
    /// The connection was lost; another one may succeed.
    #[error("connection lost: {0}; run the same command again, transfers resume")]
    Lost(String),
    /// The login failed for a reason that the server did not give.
    #[error("{0}")]
    Login(String),
    /// The content failed verification.
    #[error("{0}")]
    Verification(String),
    /// The server refused the request.
    #[error("{}", explain(.0))]
    Refused(ErrorReply),
    /// Some of several items failed; each failure was reported.
    #[error("{failed} of {total} failed")]
    Some {
        /// The number of failed items.
        failed: usize,
        /// The total number of items.
        total: usize,
    },
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The reader of the output has exited, which needs no message.
    #[error("the output was closed")]
    OutputClosed,
}

impl Failure {
    /// Creates a failure of the local file system that concerns `subject`.
    pub fn local(subject: &std::path::Path, error: &std::io::Error) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let subject = subject.as_os_str().as_bytes();
        let side = if subject.starts_with(b"standard ") { "" } else { "local " };
        let text = format!("{side}{}: {}", Escaped(subject), plain(error));
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::LocalFull(text),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Self::LocalDenied(text),
            _ => Self::Local(text),
        }
    }

    /// Replaces the server's message in a refusal. Other failures stay unchanged.
    pub fn reworded(self, message: impl Into<String>) -> Self {
        match self {
            Self::Refused(reply) => Self::Refused(ErrorReply { message: message.into(), ..reply }),
            failure => failure,
        }
    }

    /// Creates the failure for a local file that cannot be examined. If a file with a relative path is missing, the
    /// text names the current directory.
    pub fn missing_local_file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::missing("file", path, error)
    }

    /// Creates the failure for a local directory that cannot be examined, like [`Failure::missing_local_file`].
    pub fn missing_local_directory(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::missing("directory", path, error)
    }

    /// Creates the failure for a local path that leads through a file.
    pub fn file_above_local(path: &std::path::Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let path = Escaped(path.as_os_str().as_bytes());
        Self::Local(format!("a directory above local {path} is a file; choose another path"))
    }

    fn missing(kind: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let directory = std::env::current_dir().ok().filter(|_| path.is_relative());
        if error.kind() != std::io::ErrorKind::NotFound {
            return Self::local(path, error);
        }
        if path.as_os_str().is_empty() {
            return Self::Usage("'': the path is empty".into());
        }
        let directory = directory.map(|directory| format!(" (in {})", Escaped(directory.as_os_str().as_bytes())));
        Self::Local(format!(
            "{}: no such local {kind}{}",
            Escaped(path.as_os_str().as_bytes()),
            directory.unwrap_or_default()
        ))
    }

    /// Returns whether the server refused with this code.
    pub fn is_refusal(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Refused(reply) if reply.code == code)
    }

    /// Returns whether the account is read-only, so that each further change would fail too.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Refused(reply) if reply.code == ErrorCode::Denied && reply.message.ends_with(READ_ONLY))
    }

    /// Returns whether the disk or the quota is full, so that the next file would fail too.
    pub fn is_full(&self) -> bool {
        self.exit_code() == EXIT_FULL
    }

    /// Returns the program's exit code for this failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::UnknownCommand(_) => EXIT_USAGE,
            Self::Local(_) | Self::LocalDenied(_) | Self::Some { .. } => EXIT_FAILED,
            Self::LocalFull(_) => EXIT_FULL,
            Self::Connection(_) | Self::Lost(_) => EXIT_CONNECTION,
            Self::Login(_) => EXIT_LOGIN,
            Self::Verification(_) => EXIT_VERIFICATION,
            Self::Refused(reply) => meaning(reply.code).0,
            Self::Interrupted => EXIT_INTERRUPTED,
            Self::OutputClosed => EXIT_DONE,
        }
    }

    /// Returns whether no further command can run on this connection.
    pub fn ends_session(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Lost(_) | Self::Login(_) | Self::OutputClosed => true,
            Self::Refused(reply) => reply.fatal,
            _ => false,
        }
    }

    /// Returns whether only the connection failed, so that another connection may succeed.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused(reply) => {
                let may_pass = matches!(reply.code, ErrorCode::Timeout | ErrorCode::ShuttingDown | ErrorCode::TooMany);
                reply.fatal && may_pass
            }
            _ => false,
        }
    }

    /// Returns whether no other connection attempt should follow: the user pressed Ctrl-C, or the login or the
    /// server's key was refused.
    pub fn forbids_retry(&self) -> bool {
        matches!(self, Self::Interrupted) || self.exit_code() == EXIT_LOGIN
    }

    /// Returns the code of the failure for `--json`.
    pub fn json_code(&self) -> String {
        let word = match self {
            Self::Usage(_) | Self::UnknownCommand(_) => "usage",
            Self::Local(_) | Self::LocalDenied(_) => "local",
            Self::LocalFull(_) => "local_full",
            Self::Connection(_) | Self::Lost(_) => "connection",
            Self::Login(_) => "login_failed",
            Self::Verification(_) => "verification",
            Self::Refused(reply) => {
                return serde_json::to_value(reply.code)
                    .ok()
                    .and_then(|value| value.as_str().map(str::to_string))
                    .unwrap_or_default();
            }
            Self::Some { .. } => "some_failed",
            Self::Interrupted => "interrupted",
            Self::OutputClosed => "output_closed",
        };
        word.into()
    }
}

/// Why a connection cannot continue or was left.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection ended or failed.
    #[error("{0}")]
    Lost(String),
    /// The server closed the connection and gave a reason.
    #[error("{}", .0.message)]
    HungUp(ErrorReply),
    /// The server violated the protocol.
    #[error("the server violated the protocol: {0}")]
    Protocol(String),
    /// The server's proof of its identity is wrong; it may be another server.
    #[error("{0}")]
    Distrusted(String),
    /// The user pressed Ctrl-C. The connection itself is intact.
    #[error("interrupted")]
    Interrupted,
}

impl From<serde_json::Error> for LinkError {
    fn from(error: serde_json::Error) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Interrupted => Self::Interrupted,
            LinkError::HungUp(reply) => Self::Refused(reply),
            LinkError::Lost(why) => Self::Lost(why),
            LinkError::Distrusted(why) => Self::Login(why),
            LinkError::Protocol(why) => Self::Connection(format!("{}{IS_BERTH}", Escaped(why.as_bytes()))),
        }
    }
}

/// The end of a message about a peer that does not follow the protocol.
pub(in crate::client) const IS_BERTH: &str = "; is this a berth server?";

/// Returns the exit code of a refusal, and the advice where the server's message cannot give it.
fn meaning(code: ErrorCode) -> (u8, &'static str) {
    match code {
        ErrorCode::BadRequest => (EXIT_FAILED, ""),
        ErrorCode::Unsupported => (EXIT_FAILED, "this server does not support it; a newer one may"),
        ErrorCode::LoginRequired => (EXIT_LOGIN, ""),
        ErrorCode::LoginFailed => (EXIT_LOGIN, "check the user name and the password"),
        ErrorCode::AccountClosed => (EXIT_LOGIN, "ask the administrator of the server"),
        ErrorCode::Kicked => (EXIT_CONNECTION, ""),
        ErrorCode::TooMany => (EXIT_CONNECTION, "try again in a moment"),
        ErrorCode::NotFound => (EXIT_FAILED, "'ls' lists what is on the server"),
        ErrorCode::Exists => (EXIT_FAILED, "-f replaces it"),
        ErrorCode::NotAFile => (EXIT_FAILED, ""),
        ErrorCode::NotADirectory => (EXIT_FAILED, ""),
        ErrorCode::NotEmpty => (EXIT_FAILED, "'rm -r' removes it with its contents"),
        ErrorCode::BadName => (EXIT_FAILED, "choose another name"),
        ErrorCode::OutsideHome => (EXIT_FAILED, ""),
        ErrorCode::Denied => (EXIT_FAILED, ""),
        ErrorCode::QuotaBytes | ErrorCode::QuotaFiles => (EXIT_FULL, "'quota' shows what is used; 'rm' makes room"),
        ErrorCode::DiskFull => (EXIT_FULL, "ask the administrator of the server"),
        ErrorCode::Changed => (EXIT_FAILED, "run the command again"),
        ErrorCode::Mismatch => (EXIT_VERIFICATION, "run the command again"),
        ErrorCode::Cancelled => (EXIT_INTERRUPTED, ""),
        ErrorCode::Superseded => (EXIT_FAILED, "another session has resumed this upload"),
        ErrorCode::Busy => (EXIT_FAILED, "run the command again in a moment"),
        ErrorCode::TooLarge => (EXIT_FAILED, ""),
        ErrorCode::Io => (EXIT_FAILED, "ask the administrator of the server"),
        ErrorCode::Timeout => (EXIT_CONNECTION, "connect again"),
        ErrorCode::ShuttingDown => (EXIT_CONNECTION, "connect again later; transfers resume"),
        ErrorCode::TlsRequired => (EXIT_CONNECTION, "leave out --plaintext"),
        ErrorCode::Internal => (EXIT_FAILED, "the server's log has details"),
    }
}

fn explain(reply: &ErrorReply) -> String {
    // Names in the message are escaped already, so a backslash stays as it is.
    let parts = reply.message.split('\\').map(|part| Escaped(part.as_bytes()).to_string());
    let message = parts.collect::<Vec<_>>().join("\\");
    match meaning(reply.code).1 {
        "" => message,
        hint if reply.message.contains(';') || reply.message.contains(hint) => message,
        hint => format!("{message}; {hint}"),
    }
}

/// Formats an error without the number that Rust appends.
pub(in crate::client) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

/// Returns the failure for a reply of the wrong type.
pub fn unexpected() -> Failure {
    LinkError::Protocol("an answer of the wrong kind".into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode, message: &str) -> Failure {
        Failure::Refused(ErrorReply { code, message: message.into(), retry: false, fatal: false })
    }

    #[test]
    fn exit_codes_are_the_ones_scripts_rely_on() {
        for (failure, code) in [
            (Failure::Usage(String::new()), 2),
            (Failure::Local(String::new()), 1),
            (Failure::LocalFull(String::new()), 6),
            (Failure::Connection(String::new()), 3),
            (Failure::Lost(String::new()), 3),
            (Failure::Login(String::new()), 4),
            (Failure::Verification(String::new()), 5),
            (Failure::Some { failed: 1, total: 2 }, 1),
            (Failure::Interrupted, 130),
            (Failure::OutputClosed, 0),
            (refused(ErrorCode::NotFound, ""), 1),
            (refused(ErrorCode::LoginFailed, ""), 4),
            (refused(ErrorCode::AccountClosed, ""), 4),
            (refused(ErrorCode::QuotaBytes, ""), 6),
            (refused(ErrorCode::QuotaFiles, ""), 6),
            (refused(ErrorCode::DiskFull, ""), 6),
            (refused(ErrorCode::Mismatch, ""), 5),
            (refused(ErrorCode::ShuttingDown, ""), 3),
            (refused(ErrorCode::Kicked, ""), 3),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }

    #[test]
    fn refusals_are_one_line_and_say_what_to_do() {
        assert_eq!(
            refused(ErrorCode::NotEmpty, "/a is not empty").to_string(),
            "/a is not empty; 'rm -r' removes it with its contents"
        );
        assert_eq!(refused(ErrorCode::Denied, "read\x1b[2Jonly\n").to_string(), "read\\x1b[2Jonly\\n");
        assert_eq!(refused(ErrorCode::Denied, "/a\\\\b: no").to_string(), "/a\\\\b: no");
        assert_eq!(refused(ErrorCode::QuotaBytes, "").json_code(), "quota_bytes");
    }
}
