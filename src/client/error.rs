//! How a command ends: failures, what they tell people to do next, and the exit codes that
//! scripts rely on. It knows no command.

use crate::base::text::Escaped;
use crate::wire::WireError;
use crate::wire::message::{ErrorCode, ErrorReply};

/// Everything was done.
pub const EXIT_DONE: u8 = 0;
/// A command failed.
pub const EXIT_FAILED: u8 = 1;
/// The command line makes no sense.
pub const EXIT_USAGE: u8 = 2;
/// No connection, or it was lost.
pub const EXIT_CONNECTION: u8 = 3;
/// The login or the server's fingerprint was refused.
pub const EXIT_LOGIN: u8 = 4;
/// What arrived is not what was sent.
pub const EXIT_VERIFICATION: u8 = 5;
/// The quota is used up or a disk is full.
pub const EXIT_FULL: u8 = 6;
/// Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a command was not carried out. Each text is one line that says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Something on this machine: a file, a folder, the terminal.
    #[error("{0}")]
    Local(String),
    /// This machine allows it not, or has it read-only.
    #[error("{0}")]
    LocalDenied(String),
    /// This machine's disk is full.
    #[error("{0}; free some space here, then run the command again")]
    LocalFull(String),
    /// No connection, and another one would not help.
    #[error("{0}")]
    Connection(String),
    /// The connection there was is lost; another one may come about.
    #[error("connection lost: {0}; run the same command again, transfers resume")]
    Lost(String),
    /// The login failed for a reason that the server did not give.
    #[error("{0}")]
    Login(String),
    /// The content is not what it should be.
    #[error("{0}")]
    Verification(String),
    /// The server refused.
    #[error("{}", explain(.0))]
    Refused(ErrorReply),
    /// Several things were done, and some failed; each was reported.
    #[error("{failed} of {total} failed")]
    Some {
        /// How many failed.
        failed: usize,
        /// Of how many.
        total: usize,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads our output any more: not worth a word.
    #[error("the output was closed")]
    OutputClosed,
}

impl Failure {
    /// A failure of this machine's filesystem, about `subject`.
    pub fn local(subject: &std::path::Path, error: &std::io::Error) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let text = format!("{}: {}", Escaped(subject.as_os_str().as_bytes()), plain(error));
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::LocalFull(text),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Self::LocalDenied(text),
            _ => Self::Local(text),
        }
    }

    /// The same refusal with a message of this program, which knows what was asked.
    pub fn reworded(self, message: impl Into<String>) -> Self {
        match self {
            Self::Refused(reply) => Self::Refused(ErrorReply { message: message.into(), ..reply }),
            failure => failure,
        }
    }

    /// A local file that cannot be looked at; of one that is missing it says where it was looked for.
    pub fn missing_here(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::missing("file", path, error)
    }

    /// The same for a local directory.
    pub fn missing_folder_here(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::missing("directory", path, error)
    }

    fn missing(kind: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let folder = std::env::current_dir().ok().filter(|_| path.is_relative());
        if error.kind() != std::io::ErrorKind::NotFound {
            return Self::local(path, error);
        }
        if path.as_os_str().is_empty() {
            return Self::Usage("'': the path is empty".into());
        }
        let folder = folder.map(|folder| format!(" (in {})", Escaped(folder.as_os_str().as_bytes())));
        Self::Local(format!(
            "{}: no such local {kind}{}",
            Escaped(path.as_os_str().as_bytes()),
            folder.unwrap_or_default()
        ))
    }

    /// Whether the server refused with this code.
    pub fn is_refusal(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Refused(reply) if reply.code == code)
    }

    /// Whether there is no room, so that the next file will not find any either.
    pub fn is_full(&self) -> bool {
        self.exit_code() == EXIT_FULL
    }

    /// What the program exits with when this was its end.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
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

    /// Whether no further command can be carried out on this connection.
    pub fn ends_session(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Lost(_) | Self::Login(_) | Self::OutputClosed => true,
            Self::Refused(reply) => reply.fatal,
            _ => false,
        }
    }

    /// Whether only the connection failed, so that the same may succeed on another one.
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

    /// Whether no other try to log in can end otherwise: the server was found, and the login or its
    /// key refused.
    pub fn forbids_retry(&self) -> bool {
        matches!(self, Self::Interrupted) || self.exit_code() == EXIT_LOGIN
    }

    /// A word for programs, for `--json`.
    pub fn word(&self) -> String {
        let word = match self {
            Self::Usage(_) => "usage",
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

/// Why the conversation cannot go on, or was left.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection ended or failed.
    #[error("{0}")]
    Lost(String),
    /// The server said why it hangs up.
    #[error("{}", .0.message)]
    HungUp(ErrorReply),
    /// The server sent what it may not send.
    #[error("the server violated the protocol: {0}")]
    Protocol(String),
    /// What the server says of itself is wrong; it may be another one.
    #[error("{0}")]
    Distrusted(String),
    /// Ctrl-C. The conversation itself is whole.
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

/// How the failure of a conversation ends that follows no rule of the protocol.
pub(in crate::client) const IS_BERTH: &str = "; is this a berth server?";

/// Each kind of refusal: the exit code, and what to do next where the message cannot know it.
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
    let message = Escaped(reply.message.as_bytes());
    match meaning(reply.code).1 {
        "" => message.to_string(),
        hint if reply.message.contains(';') || reply.message.contains(hint) => message.to_string(),
        hint => format!("{message}; {hint}"),
    }
}

/// What went wrong, without the number that Rust appends.
pub(in crate::client) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

/// The server answered with something else than it was asked for.
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
        assert_eq!(refused(ErrorCode::QuotaBytes, "").word(), "quota_bytes");
    }
}
