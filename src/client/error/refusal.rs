//! The exit code of a server's refusal, and advice where the server gives none.

use super::exit_code::{EXIT_CONNECTION, EXIT_FAILED, EXIT_FULL, EXIT_INTERRUPTED, EXIT_LOGIN, EXIT_VERIFICATION};
use crate::base::text::Escaped;
use crate::wire::message::{ErrorCode, ErrorReply};

/// Returns the server's advice, or else the client's for this code.
pub(super) fn advice(reply: &ErrorReply) -> Option<String> {
    match &reply.advice {
        Some(advice) => Some(printable(advice)),
        None => advice_for(reply.code).map(str::to_string),
    }
}

/// Returns a text from the server without control characters. Names in it are escaped already, so a backslash stays
/// as it is.
pub(super) fn printable(text: &str) -> String {
    let parts: Vec<String> = text.split('\\').map(|part| Escaped(part.as_bytes()).to_string()).collect();
    parts.join("\\")
}

/// Returns the exit code for a refusal.
pub(super) fn exit_code(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::BadRequest
        | ErrorCode::Unsupported
        | ErrorCode::NotFound
        | ErrorCode::Exists
        | ErrorCode::NotAFile
        | ErrorCode::NotADirectory
        | ErrorCode::NotEmpty
        | ErrorCode::BadName
        | ErrorCode::OutsideHome
        | ErrorCode::Denied
        | ErrorCode::Changed
        | ErrorCode::Superseded
        | ErrorCode::Busy
        | ErrorCode::TooLarge
        | ErrorCode::Io
        | ErrorCode::Internal => EXIT_FAILED,
        ErrorCode::LoginRequired | ErrorCode::LoginFailed | ErrorCode::AccountClosed => EXIT_LOGIN,
        ErrorCode::Kicked
        | ErrorCode::TooMany
        | ErrorCode::Timeout
        | ErrorCode::ShuttingDown
        | ErrorCode::TlsRequired => EXIT_CONNECTION,
        ErrorCode::QuotaBytes | ErrorCode::QuotaFiles | ErrorCode::DiskFull => EXIT_FULL,
        ErrorCode::Mismatch => EXIT_VERIFICATION,
        ErrorCode::Cancelled => EXIT_INTERRUPTED,
    }
}

fn advice_for(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::Unsupported => "this server does not support it; a newer one may",
        ErrorCode::LoginFailed => "check the user name and the password",
        ErrorCode::AccountClosed => "ask the administrator of the server",
        ErrorCode::TooMany => "try again in a moment",
        ErrorCode::NotFound => "'ls' lists what is on the server",
        ErrorCode::Exists => "-f replaces it",
        ErrorCode::NotEmpty => "'rm -r' removes it with its contents",
        ErrorCode::BadName => "choose another name",
        ErrorCode::QuotaBytes | ErrorCode::QuotaFiles => "'quota' shows what is used; 'rm' makes room",
        ErrorCode::DiskFull => "ask the administrator of the server",
        ErrorCode::Changed => "run the command again",
        ErrorCode::Mismatch => "run the command again",
        ErrorCode::Busy => "run the command again in a moment",
        ErrorCode::Io => "ask the administrator of the server",
        ErrorCode::Timeout => "connect again",
        ErrorCode::ShuttingDown => "connect again later; transfers resume",
        ErrorCode::TlsRequired => "leave out --plaintext",
        ErrorCode::Internal => "the server's log has details",
        ErrorCode::BadRequest
        | ErrorCode::LoginRequired
        | ErrorCode::Kicked
        | ErrorCode::NotAFile
        | ErrorCode::NotADirectory
        | ErrorCode::OutsideHome
        | ErrorCode::Denied
        | ErrorCode::Cancelled
        | ErrorCode::Superseded
        | ErrorCode::TooLarge => return None,
    })
}
