//! Failures of commands, their advice for the user, and the exit codes that scripts rely on. Decisions depend on the
//! variant of a failure, never on its text.

mod exit_code;
mod link;
mod local;
mod refusal;

use std::fmt;

use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::config::ConfigError;
use crate::wire::message::{ErrorCode, ErrorReply};
pub use exit_code::{
    EXIT_CONNECTION, EXIT_DONE, EXIT_FAILED, EXIT_FULL, EXIT_INTERRUPTED, EXIT_LOGIN, EXIT_USAGE, EXIT_VERIFICATION,
};
pub use link::{LinkError, Loss};

/// Why a command failed. Its text is one line: the problem, and the advice if there is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The command line or a configuration file is invalid.
    Usage(Explanation),
    /// No command has this name.
    UnknownCommand(Explanation),
    /// A local error: a file, a directory or the terminal.
    Local(Explanation),
    /// The local system denies access, or the file system is read-only.
    LocalDenied(Explanation),
    /// The local disk is full.
    LocalFull(Explanation),
    /// The connection failed, and another one would not help.
    Connection(Explanation),
    /// The server violated the protocol; it may be a server of another kind.
    Violation(String),
    /// The connection was lost; another one may succeed.
    Lost(Loss),
    /// The login failed for a reason that the server did not give.
    Login(Explanation),
    /// The content failed verification.
    Verification(Explanation),
    /// The server refused the request.
    Refused(ErrorReply),
    /// Some of several items failed; each failure was reported.
    SomeFailed {
        /// The number of failed items.
        failed: usize,
        /// The total number of items.
        total: usize,
    },
    /// The user pressed Ctrl-C.
    Interrupted,
    /// The reader of the output has exited, which needs no message.
    OutputClosed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explanation().fmt(f)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// Returns what happened, without advice.
    pub fn problem(&self) -> String {
        self.explanation().problem
    }

    /// Returns what the user can do about it.
    pub fn advice(&self) -> Option<String> {
        self.explanation().advice
    }

    fn explanation(&self) -> Explanation {
        match self {
            Self::Usage(why)
            | Self::UnknownCommand(why)
            | Self::Local(why)
            | Self::LocalDenied(why)
            | Self::LocalFull(why)
            | Self::Connection(why)
            | Self::Login(why)
            | Self::Verification(why) => why.clone(),
            Self::Violation(why) => Explanation::new(Escaped(why.as_bytes()).to_string(), WRONG_SERVER_ADVICE),
            Self::Lost(loss) => Explanation::new(format!("connection lost: {loss}"), loss.advice()),
            Self::Refused(reply) => {
                Explanation { problem: refusal::printable(&reply.message), advice: refusal::advice(reply) }
            }
            Self::SomeFailed { failed, total } => format!("{failed} of {total} failed").into(),
            Self::Interrupted => "interrupted".into(),
            Self::OutputClosed => "the output was closed".into(),
        }
    }

    /// Replaces the server's message and advice in a refusal. Other failures stay unchanged.
    pub fn reworded(self, explanation: impl Into<Explanation>) -> Self {
        match self {
            Self::Refused(reply) => {
                let Explanation { problem: message, advice } = explanation.into();
                Self::Refused(ErrorReply { message, advice, ..reply })
            }
            failure => failure,
        }
    }

    /// Returns whether the server refused with this code.
    pub fn is_refusal(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Refused(reply) if reply.code == code)
    }

    /// Returns whether the server refused only this request, so that the session continues.
    pub fn refuses_request(&self) -> bool {
        matches!(self, Self::Refused(reply) if !reply.fatal)
    }

    /// Returns whether the account is read-only, so that each further change would fail too.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Refused(reply) if reply.read_only)
    }

    /// Returns whether the disk or the quota is full, so that the next file would fail too.
    pub fn is_full(&self) -> bool {
        self.exit_code() == EXIT_FULL
    }

    /// Returns the program's exit code for this failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::UnknownCommand(_) => EXIT_USAGE,
            Self::Local(_) | Self::LocalDenied(_) | Self::SomeFailed { .. } => EXIT_FAILED,
            Self::LocalFull(_) => EXIT_FULL,
            Self::Connection(_) | Self::Violation(_) | Self::Lost(_) => EXIT_CONNECTION,
            Self::Login(_) => EXIT_LOGIN,
            Self::Verification(_) => EXIT_VERIFICATION,
            Self::Refused(reply) => refusal::exit_code(reply.code),
            Self::Interrupted => EXIT_INTERRUPTED,
            Self::OutputClosed => EXIT_DONE,
        }
    }

    /// Returns whether no further command can run on this connection.
    pub fn ends_session(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Violation(_) | Self::Lost(_) | Self::Login(_) | Self::OutputClosed => true,
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
            Self::Connection(_) | Self::Violation(_) | Self::Lost(_) => "connection",
            Self::Login(_) => "login_failed",
            Self::Verification(_) => "verification",
            Self::Refused(reply) => {
                return serde_json::to_value(reply.code)
                    .ok()
                    .and_then(|value| value.as_str().map(str::to_string))
                    .unwrap_or_default();
            }
            Self::SomeFailed { .. } => "some_failed",
            Self::Interrupted => "interrupted",
            Self::OutputClosed => "output_closed",
        };
        word.into()
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Interrupted => Self::Interrupted,
            LinkError::ClosedWithReason(reply) => Self::Refused(reply),
            LinkError::Lost(loss) => Self::Lost(loss),
            LinkError::Distrusted(why) => Self::Login(why),
            LinkError::Protocol(why) => Self::Violation(why),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.into_explanation().or_advise("correct it, or restore it from a backup"))
    }
}

/// The advice about a peer that does not follow the protocol.
pub(in crate::client) const WRONG_SERVER_ADVICE: &str = "is this a berth server?";

/// Returns the failure for a reply of the wrong type.
pub fn unexpected() -> Failure {
    LinkError::Protocol("a reply of the wrong type".into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode, message: &str) -> Failure {
        Failure::Refused(ErrorReply::new(code, message))
    }

    #[test]
    fn exit_codes_are_the_ones_scripts_rely_on() {
        for (failure, code) in [
            (Failure::Usage("".into()), 2),
            (Failure::Local("".into()), 1),
            (Failure::LocalFull("".into()), 6),
            (Failure::Connection("".into()), 3),
            (Failure::Violation(String::new()), 3),
            (Failure::Lost(Loss::Closed), 3),
            (Failure::Login("".into()), 4),
            (Failure::Verification("".into()), 5),
            (Failure::SomeFailed { failed: 1, total: 2 }, 1),
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
    fn refusals_are_one_line_with_advice() {
        assert_eq!(
            refused(ErrorCode::NotEmpty, "/a is not empty").to_string(),
            "/a is not empty; 'rm -r' removes it with its contents"
        );
        assert_eq!(refused(ErrorCode::Denied, "read\x1b[2Jonly\n").to_string(), "read\\x1b[2Jonly\\n");
        assert_eq!(refused(ErrorCode::Denied, "/a\\\\b: no").to_string(), "/a\\\\b: no");
        assert_eq!(refused(ErrorCode::QuotaBytes, "").json_code(), "quota_bytes");
        assert_eq!(
            refused(ErrorCode::NotFound, "/a;b: no such file or directory").to_string(),
            "/a;b: no such file or directory; 'ls' lists what is on the server"
        );
        let stopping = Failure::Refused(ErrorReply::new(ErrorCode::ShuttingDown, "stopping").advise("wait\x1b"));
        assert_eq!((stopping.problem(), stopping.to_string()), ("stopping".into(), "stopping; wait\\x1b".into()));
    }
}
