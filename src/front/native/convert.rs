//! The session's words in the wire's: entries, paths, refusals.

use crate::lane::{Lane, Outbox};
use crate::limits::ERROR_MESSAGE_BYTES_MAX;
use crate::session::Refusal;
use crate::store::home::{Kind, Meta};
use crate::text::Escaped;
use crate::vpath::VPath;
use crate::wire::frame::{self, FrameType};
use crate::wire::message::{Entry, EntryKind, ErrorReply, MessageError, Name};
use crate::wire::{ErrorCode, Reply};

pub(super) fn vpath(name: &Name) -> Result<VPath, ErrorReply> {
    name.to_vpath().map_err(|error| ErrorReply {
        code: ErrorCode::BadName,
        message: format!("{}: {error}", subject(&name.0)),
        retry: false,
        fatal: false,
    })
}

pub(super) fn entry(name: Vec<u8>, meta: &Meta) -> Entry {
    let kind = match meta.kind {
        Kind::File => EntryKind::File,
        Kind::Folder => EntryKind::Dir,
        Kind::Link => EntryKind::Link,
        Kind::Other => EntryKind::Other,
    };
    Entry { name: Name(name), kind, size: meta.size, mtime_ns: meta.mtime_ns, mode: meta.mode }
}

pub(super) fn done(id: u32, lane: &mut Lane, path: &VPath, result: Result<(), Refusal>) -> Result<(), ErrorReply> {
    result.map(|()| reply(lane, id, Reply::Done {})).map_err(|refusal| error_reply(refusal, Some(path)))
}

pub(super) fn reply(lane: &mut Lane, id: u32, reply: Reply) {
    put_reply(&mut lane.outbox, id, &reply);
}

pub(super) fn put_reply(outbox: &mut Outbox, id: u32, reply: &Reply) {
    outbox.append(|out| frame::put_json(out, FrameType::Control, id, reply));
}

pub(super) fn put_abort(outbox: &mut Outbox, id: u32, error: &ErrorReply) {
    outbox.append(|out| frame::put_json(out, FrameType::Abort, id, error));
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

/// What an error is about.
fn subject(name: &[u8]) -> String {
    shortened(Escaped(name).to_string(), ERROR_MESSAGE_BYTES_MAX - SENTENCE_BYTES_MAX)
}

/// What repeats a peer's text is as long as the peer likes, but its frame must not be.
fn shortened(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max - '…'.len_utf8()).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// More than any sentence about a subject here has.
const SENTENCE_BYTES_MAX: usize = 512;

/// A refusal on the wire: the one place where the session's list meets the wire's.
pub(super) fn error_reply(refusal: Refusal, path: Option<&VPath>) -> ErrorReply {
    let (code, retry, fatal) = match refusal {
        Refusal::LoginRequired => (ErrorCode::LoginRequired, false, false),
        Refusal::WrongState | Refusal::LoginMalformed => (ErrorCode::BadRequest, false, false),
        Refusal::LoginFailed => (ErrorCode::LoginFailed, false, false),
        Refusal::TooManyTries => (ErrorCode::LoginFailed, false, true),
        Refusal::TooManySessions => (ErrorCode::TooMany, true, false),
        Refusal::AccountClosed => (ErrorCode::AccountClosed, false, true),
        Refusal::NotFound => (ErrorCode::NotFound, false, false),
        Refusal::Exists => (ErrorCode::Exists, false, false),
        Refusal::NotAFile => (ErrorCode::NotAFile, false, false),
        Refusal::NotADirectory => (ErrorCode::NotADirectory, false, false),
        Refusal::NotEmpty => (ErrorCode::NotEmpty, false, false),
        Refusal::BadName | Refusal::IntoItself => (ErrorCode::BadName, false, false),
        Refusal::OutsideHome => (ErrorCode::OutsideHome, false, false),
        Refusal::Denied | Refusal::ReadOnly => (ErrorCode::Denied, false, false),
        Refusal::QuotaBytes => (ErrorCode::QuotaBytes, false, false),
        Refusal::QuotaFiles => (ErrorCode::QuotaFiles, false, false),
        Refusal::DiskFull => (ErrorCode::DiskFull, true, false),
        Refusal::Changed => (ErrorCode::Changed, true, false),
        Refusal::Mismatch | Refusal::SizeMismatch => (ErrorCode::Mismatch, true, false),
        Refusal::Cancelled => (ErrorCode::Cancelled, false, false),
        Refusal::Superseded => (ErrorCode::Superseded, false, false),
        Refusal::TooLarge => (ErrorCode::TooLarge, false, false),
        Refusal::Io => (ErrorCode::Io, true, false),
        Refusal::Timeout => (ErrorCode::Timeout, true, true),
        Refusal::ShuttingDown => (ErrorCode::ShuttingDown, true, true),
    };
    let message = path.map_or_else(|| refusal.to_string(), |path| format!("{}: {refusal}", subject(path.as_bytes())));
    ErrorReply { code, message, retry, fatal }
}
