//! The session's words in the wire's: entries, paths, refusals.

use crate::base::buffers::Lane;
use crate::base::limits::ERROR_MESSAGE_BYTES_MAX;
use crate::base::text::{Escaped, shortened};
use crate::base::virtual_path::VPath;
use crate::session::Refusal;
use crate::store::listing::Listed;
use crate::store::meta::{Kind, Meta, Seen};
use crate::store::staging::KeptUpload;
use crate::wire::ErrorCode;
use crate::wire::frame::{self, FrameType};
use crate::wire::message::{Entry, EntryKind, ErrorReply, MessageError, Name, Partial};

pub(super) fn vpath(name: &Name) -> Result<VPath, ErrorReply> {
    name.to_vpath().map_err(|error| ErrorReply {
        code: ErrorCode::BadName,
        message: format!("{}: {error}", subject(&name.0)),
        retry: false,
        fatal: false,
    })
}

pub(super) fn entry(name: Vec<u8>, meta: &Meta) -> Entry {
    let (kind, Meta { size, mtime_ns, mode, .. }) = (entry_kind(meta.kind), *meta);
    Entry { name: Name(name), kind, size, mtime_ns, mode, unexamined: false }
}

pub(super) fn listed_entry(Listed { name, seen, .. }: Listed) -> Entry {
    match seen {
        Seen::Examined(meta) => entry(name, &meta),
        Seen::Unexamined(kind) => {
            let kind = kind.map_or(EntryKind::Other, entry_kind);
            Entry { name: Name(name), kind, size: 0, mtime_ns: 0, mode: 0, unexamined: true }
        }
    }
}

fn entry_kind(kind: Kind) -> EntryKind {
    match kind {
        Kind::File => EntryKind::File,
        Kind::Folder => EntryKind::Dir,
        Kind::Link => EntryKind::Link,
        Kind::Other => EntryKind::Other,
    }
}

/// For `map_err`: the refusal of a request about `path`.
pub(super) fn at(path: &VPath) -> impl Fn(Refusal) -> ErrorReply {
    move |refusal| error_reply(refusal, Some(path))
}

pub(super) fn put(lane: &mut Lane, kind: FrameType, id: u32, message: &impl serde::Serialize) {
    lane.outbox.append(|out| frame::put_json(out, kind, id, message));
}

pub(super) fn malformed(error: &MessageError) -> ErrorReply {
    let code = match error {
        MessageError::Malformed(_) => ErrorCode::BadRequest,
        MessageError::Unsupported(_) => ErrorCode::Unsupported,
    };
    ErrorReply { code, message: shortened(error.to_string(), ERROR_MESSAGE_BYTES_MAX), retry: false, fatal: false }
}

/// A partial upload as the wire has it.
pub(super) fn partial(kept: KeptUpload) -> Partial {
    let KeptUpload { id: upload_id, record, length: offset, expires_ns } = kept;
    let (path, size, expires_s) = (Name(record.path), record.size, expires_ns / 1_000_000_000);
    Partial { upload_id, path, offset, size, expires_s }
}

/// What an error is about.
fn subject(name: &[u8]) -> String {
    shortened(Escaped(name).to_string(), ERROR_MESSAGE_BYTES_MAX - SENTENCE_BYTES_MAX)
}

/// More than any sentence about a subject here has.
const SENTENCE_BYTES_MAX: usize = 512;

/// A refusal on the wire: the one place where the session's list meets the wire's.
pub(super) fn error_reply(refusal: Refusal, path: Option<&VPath>) -> ErrorReply {
    let (code, retry, fatal) = match refusal {
        Refusal::LoginRequired => (ErrorCode::LoginRequired, false, false),
        Refusal::WrongState | Refusal::LoginMalformed | Refusal::BadOffset => (ErrorCode::BadRequest, false, false),
        Refusal::LoginFailed => (ErrorCode::LoginFailed, false, false),
        Refusal::TooManyTries => (ErrorCode::LoginFailed, false, true),
        Refusal::TooManySessions => (ErrorCode::TooMany, true, false),
        Refusal::Displaced => (ErrorCode::TooMany, true, true),
        Refusal::AccountClosed => (ErrorCode::AccountClosed, false, true),
        Refusal::Kicked => (ErrorCode::Kicked, false, true),
        Refusal::NotFound => (ErrorCode::NotFound, false, false),
        Refusal::Exists | Refusal::UploadHeld(_) => (ErrorCode::Exists, false, false),
        Refusal::NotAFile => (ErrorCode::NotAFile, false, false),
        Refusal::NotADirectory => (ErrorCode::NotADirectory, false, false),
        Refusal::NotEmpty => (ErrorCode::NotEmpty, false, false),
        Refusal::BadName | Refusal::IntoItself => (ErrorCode::BadName, false, false),
        Refusal::OutsideHome | Refusal::LinkLoop => (ErrorCode::OutsideHome, false, false),
        Refusal::Denied | Refusal::InUse | Refusal::ReadOnly | Refusal::OtherFileSystem => {
            (ErrorCode::Denied, false, false)
        }
        Refusal::QuotaBytes => (ErrorCode::QuotaBytes, false, false),
        Refusal::QuotaFiles => (ErrorCode::QuotaFiles, false, false),
        Refusal::DiskFull => (ErrorCode::DiskFull, true, false),
        Refusal::Changed => (ErrorCode::Changed, true, false),
        Refusal::Mismatch | Refusal::SizeMismatch | Refusal::Cut => (ErrorCode::Mismatch, true, false),
        Refusal::Cancelled => (ErrorCode::Cancelled, false, false),
        Refusal::Superseded => (ErrorCode::Superseded, false, false),
        Refusal::Busy => (ErrorCode::Busy, true, false),
        Refusal::TooLarge => (ErrorCode::TooLarge, false, false),
        Refusal::Io | Refusal::Unwritten | Refusal::NoAnswer => (ErrorCode::Io, true, false),
        Refusal::Timeout => (ErrorCode::Timeout, true, true),
        Refusal::TlsRequired => (ErrorCode::TlsRequired, false, true),
        Refusal::Defect => (ErrorCode::Internal, false, true),
        Refusal::ShuttingDown => (ErrorCode::ShuttingDown, true, true),
    };
    let message = path.map_or_else(|| refusal.to_string(), |path| format!("{}: {refusal}", subject(path.as_bytes())));
    ErrorReply { code, message, retry, fatal }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSALS: [Refusal; 41] = [
        Refusal::LoginRequired,
        Refusal::WrongState,
        Refusal::LoginMalformed,
        Refusal::LoginFailed,
        Refusal::TooManyTries,
        Refusal::TooManySessions,
        Refusal::Displaced,
        Refusal::AccountClosed,
        Refusal::Kicked,
        Refusal::NotFound,
        Refusal::Exists,
        Refusal::NotAFile,
        Refusal::NotADirectory,
        Refusal::NotEmpty,
        Refusal::BadName,
        Refusal::OutsideHome,
        Refusal::LinkLoop,
        Refusal::OtherFileSystem,
        Refusal::IntoItself,
        Refusal::Denied,
        Refusal::InUse,
        Refusal::ReadOnly,
        Refusal::QuotaBytes,
        Refusal::QuotaFiles,
        Refusal::DiskFull,
        Refusal::Changed,
        Refusal::Mismatch,
        Refusal::SizeMismatch,
        Refusal::BadOffset,
        Refusal::UploadHeld(u64::MAX),
        Refusal::Cut,
        Refusal::Cancelled,
        Refusal::Superseded,
        Refusal::Busy,
        Refusal::TooLarge,
        Refusal::Io,
        Refusal::Unwritten,
        Refusal::NoAnswer,
        Refusal::TlsRequired,
        Refusal::Defect,
        Refusal::ShuttingDown,
    ];

    #[test]
    fn flags_of_errors_are_those_of_the_protocol_document() {
        let document = include_str!("../../wire/PROTOCOL.md");
        for refusal in REFUSALS.into_iter().chain([Refusal::Timeout]) {
            let error = error_reply(refusal, None);
            let code = serde_json::to_value(error.code).expect("JSON");
            let start = format!("| `{}` | ", code.as_str().expect("a word"));
            let row = document.lines().rfind(|line| line.starts_with(&start)).expect("a row");
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert_eq!(cells[3] == "yes", error.retry, "{refusal:?}");
            match cells[4] {
                "yes" => assert!(error.fatal, "{refusal:?}"),
                "no" => assert!(!error.fatal, "{refusal:?}"),
                // It depends on where it happens.
                _ => {}
            }
            assert!(error.message.len() < SENTENCE_BYTES_MAX);
        }
    }
}
