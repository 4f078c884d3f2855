//! Maps session types to wire types: entries, paths, errors.

use crate::base::buffers::IoBuffers;
use crate::base::text::{Escaped, shortened};
use crate::base::virtual_path::VirtualPath;
use crate::session::SessionError;
use crate::store::listing::Listed;
use crate::store::meta::{EntryMeta, Kind, Meta};
use crate::store::staging::PartialUpload;
use crate::wire::ErrorCode;
use crate::wire::frame::{self, FrameType};
use crate::wire::message::{ERROR_MESSAGE_BYTES_MAX, Entry, EntryKind, ErrorReply, MessageError, Name, Partial};

pub(super) fn vpath(name: &Name) -> Result<VirtualPath, ErrorReply> {
    let invalid = |error| ErrorReply::new(ErrorCode::BadName, format!("{}: {error}", subject(&name.0)));
    name.to_vpath().map_err(invalid)
}

pub(super) fn entry(name: Vec<u8>, meta: &Meta) -> Entry {
    let (kind, Meta { size, mtime_ns, mode, .. }) = (entry_kind(meta.kind), *meta);
    Entry { name: Name(name), kind, size, mtime_ns, mode, unexamined: false }
}

pub(super) fn listed_entry(Listed { name, metadata, .. }: Listed) -> Entry {
    match metadata {
        EntryMeta::Examined(meta) => entry(name, &meta),
        EntryMeta::Unexamined(kind) => {
            let kind = kind.map_or(EntryKind::Other, entry_kind);
            Entry { name: Name(name), kind, size: 0, mtime_ns: 0, mode: 0, unexamined: true }
        }
    }
}

fn entry_kind(kind: Kind) -> EntryKind {
    match kind {
        Kind::File => EntryKind::File,
        Kind::Directory => EntryKind::Dir,
        Kind::Link => EntryKind::Link,
        Kind::Other => EntryKind::Other,
    }
}

/// Returns a function for `map_err` that makes the error reply to a request about `path`.
pub(super) fn error_about(path: &VirtualPath) -> impl Fn(SessionError) -> ErrorReply {
    move |refusal| error_reply(refusal, Some(path))
}

pub(super) fn put(buffers: &mut IoBuffers, kind: FrameType, id: u32, message: &impl serde::Serialize) {
    buffers.output.append(|out| frame::put_json(out, kind, id, message));
}

pub(super) fn malformed(error: &MessageError) -> ErrorReply {
    let code = match error {
        MessageError::Malformed(_) => ErrorCode::BadRequest,
        MessageError::Unsupported(_) => ErrorCode::Unsupported,
    };
    ErrorReply::new(code, shortened(error.to_string(), ERROR_MESSAGE_BYTES_MAX))
}

/// Maps a partial upload.
pub(super) fn partial(kept: PartialUpload) -> Partial {
    let PartialUpload { id: upload_id, record, length: offset, expires_ns } = kept;
    let (path, size, expires_s) = (Name(record.path), record.size, expires_ns / 1_000_000_000);
    Partial { upload_id, path, offset, size, expires_s }
}

/// Formats the subject of an error message.
fn subject(name: &[u8]) -> String {
    shortened(Escaped(name).to_string(), ERROR_MESSAGE_BYTES_MAX - SENTENCE_BYTES_MAX)
}

/// The longest text of an error message besides its subject.
const SENTENCE_BYTES_MAX: usize = 512;

/// Maps a session error to a reply. These two lists are mapped only here.
pub(super) fn error_reply(refusal: SessionError, path: Option<&VirtualPath>) -> ErrorReply {
    let (code, retry, fatal) = match refusal {
        SessionError::LoginRequired => (ErrorCode::LoginRequired, false, false),
        SessionError::WrongState | SessionError::LoginMalformed | SessionError::BadOffset => {
            (ErrorCode::BadRequest, false, false)
        }
        SessionError::LoginFailed => (ErrorCode::LoginFailed, false, false),
        SessionError::TooManyTries => (ErrorCode::LoginFailed, false, true),
        SessionError::TooManySessions => (ErrorCode::TooMany, true, false),
        SessionError::Displaced => (ErrorCode::TooMany, true, true),
        SessionError::AccountClosed => (ErrorCode::AccountClosed, false, true),
        SessionError::Kicked => (ErrorCode::Kicked, false, true),
        SessionError::NotFound => (ErrorCode::NotFound, false, false),
        SessionError::Exists | SessionError::UploadHeld(_) => (ErrorCode::Exists, false, false),
        SessionError::NotAFile => (ErrorCode::NotAFile, false, false),
        SessionError::NotADirectory => (ErrorCode::NotADirectory, false, false),
        SessionError::NotEmpty => (ErrorCode::NotEmpty, false, false),
        SessionError::BadName | SessionError::IntoItself => (ErrorCode::BadName, false, false),
        SessionError::OutsideHome | SessionError::LinkLoop => (ErrorCode::OutsideHome, false, false),
        SessionError::Denied | SessionError::InUse | SessionError::ReadOnly | SessionError::OtherFileSystem => {
            (ErrorCode::Denied, false, false)
        }
        SessionError::QuotaBytes(_) => (ErrorCode::QuotaBytes, false, false),
        SessionError::QuotaFiles(_) => (ErrorCode::QuotaFiles, false, false),
        SessionError::DiskFull => (ErrorCode::DiskFull, true, false),
        SessionError::Changed => (ErrorCode::Changed, true, false),
        SessionError::Mismatch | SessionError::SizeMismatch | SessionError::Cut => (ErrorCode::Mismatch, true, false),
        SessionError::Cancelled => (ErrorCode::Cancelled, false, false),
        SessionError::Superseded => (ErrorCode::Superseded, false, false),
        SessionError::Busy => (ErrorCode::Busy, true, false),
        SessionError::TooLarge => (ErrorCode::TooLarge, false, false),
        SessionError::Io | SessionError::Unwritten | SessionError::NoAnswer | SessionError::NotYet => {
            (ErrorCode::Io, true, false)
        }
        SessionError::Timeout => (ErrorCode::Timeout, true, true),
        SessionError::TlsRequired => (ErrorCode::TlsRequired, false, true),
        SessionError::Defect => (ErrorCode::Internal, false, true),
        SessionError::ShuttingDown => (ErrorCode::ShuttingDown, true, true),
    };
    let message = path.map_or_else(|| refusal.to_string(), |path| format!("{}: {refusal}", subject(path.as_bytes())));
    let advice = refusal.advice().map(str::to_string);
    ErrorReply { code, message, advice, read_only: refusal == SessionError::ReadOnly, retry, fatal }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::ledger::Shortage;

    const REFUSALS: [SessionError; 42] = [
        SessionError::LoginRequired,
        SessionError::WrongState,
        SessionError::LoginMalformed,
        SessionError::LoginFailed,
        SessionError::TooManyTries,
        SessionError::TooManySessions,
        SessionError::Displaced,
        SessionError::AccountClosed,
        SessionError::Kicked,
        SessionError::NotFound,
        SessionError::Exists,
        SessionError::NotAFile,
        SessionError::NotADirectory,
        SessionError::NotEmpty,
        SessionError::BadName,
        SessionError::OutsideHome,
        SessionError::LinkLoop,
        SessionError::OtherFileSystem,
        SessionError::IntoItself,
        SessionError::Denied,
        SessionError::InUse,
        SessionError::ReadOnly,
        SessionError::QuotaBytes(Shortage { needed: u64::MAX, free: 0, limit: u64::MAX }),
        SessionError::QuotaFiles(Shortage { needed: u64::MAX, free: 0, limit: u64::MAX }),
        SessionError::DiskFull,
        SessionError::Changed,
        SessionError::Mismatch,
        SessionError::SizeMismatch,
        SessionError::BadOffset,
        SessionError::UploadHeld(u64::MAX),
        SessionError::Cut,
        SessionError::Cancelled,
        SessionError::Superseded,
        SessionError::Busy,
        SessionError::TooLarge,
        SessionError::Io,
        SessionError::Unwritten,
        SessionError::NoAnswer,
        SessionError::Timeout,
        SessionError::TlsRequired,
        SessionError::Defect,
        SessionError::ShuttingDown,
    ];

    #[test]
    fn only_the_refusal_of_an_account_that_may_only_read_says_so() {
        for refusal in REFUSALS {
            assert_eq!(error_reply(refusal, None).read_only, refusal == SessionError::ReadOnly, "{refusal:?}");
        }
    }

    #[test]
    fn flags_of_errors_are_those_of_the_protocol_document() {
        let document = include_str!("../../../docs/protocol.md");
        for refusal in REFUSALS {
            let error = error_reply(refusal, None);
            let code = serde_json::to_value(error.code).expect("JSON");
            let start = format!("| `{}` | ", code.as_str().expect("a word"));
            let row = document.lines().rfind(|line| line.starts_with(&start)).expect("a row");
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert_eq!(cells[3] == "yes", error.retry, "{refusal:?}");
            match cells[4] {
                "yes" => assert!(error.fatal, "{refusal:?}"),
                "no" => assert!(!error.fatal, "{refusal:?}"),
                // These depend on the caller.
                _ => {}
            }
            assert!(error.message.len() + error.advice.map_or(0, |advice| advice.len()) < SENTENCE_BYTES_MAX);
        }
    }

    #[test]
    fn the_document_of_the_logs_lists_the_word_of_each_refusal_with_its_code() {
        let document = include_str!("../../../docs/logs.md");
        let (_, results) = document.split_once("\n## Results\n").expect("a section");
        let results = results.split("\n## ").next().expect("its text");
        let documented: BTreeSet<(&str, &str)> = results
            .lines()
            .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "))
            .flat_map(|(code, words)| words.split('`').skip(1).step_by(2).map(move |word| (code, word)))
            .collect();
        let codes = REFUSALS.map(|refusal| serde_json::to_value(error_reply(refusal, None).code).expect("JSON"));
        let code = |index: usize| codes[index].as_str().expect("a word");
        let words: BTreeSet<(&str, &str)> =
            REFUSALS.iter().enumerate().map(|(index, refusal)| (code(index), refusal.log_word())).collect();
        assert_eq!(documented, words);
    }
}
