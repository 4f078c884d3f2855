//! Failures of a connection, below the commands.

use std::io::{self, ErrorKind};

use super::refusal;
use crate::base::explanation::Explanation;
use crate::wire::WireError;
use crate::wire::message::ErrorReply;

/// Why a connection cannot continue or was left.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection ended or failed.
    #[error("{0}")]
    Lost(Loss),
    /// The server closed the connection and gave a reason.
    #[error("{}", .0.message)]
    ClosedWithReason(ErrorReply),
    /// The server violated the protocol.
    #[error("the server violated the protocol: {0}")]
    Protocol(String),
    /// The server's proof of its identity is wrong; it may be another server.
    #[error("{0}")]
    Distrusted(Explanation),
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

/// How a connection was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The connection was reset, or its TLS session ended without a close notification.
    #[error("{0}")]
    Cut(String),
    /// The server was silent for this number of seconds.
    #[error("the server did not answer within {0} s")]
    NoAnswer(u64),
    /// The server gave a reason before it proved its identity.
    #[error("{}", refusal::printable(&.0.message))]
    Unproved(ErrorReply),
    /// Another error of the network or of TLS.
    #[error("{0}")]
    Other(String),
    /// The attempts to reconnect are used up.
    #[error("{cause}; gave up after {tries} tries")]
    GaveUp {
        /// Why the last attempt failed.
        cause: String,
        /// The number of attempts.
        tries: u32,
    },
}

impl Loss {
    /// Returns what the user can do about it.
    pub(super) fn advice(&self) -> String {
        let again = "run the same command again, transfers resume";
        match self {
            Self::Unproved(ErrorReply { advice: Some(advice), .. }) => {
                format!("{}; {again}", refusal::printable(advice))
            }
            _ => again.into(),
        }
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => Self::Cut(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}
