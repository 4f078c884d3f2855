//! Receives one requested file into its part, and verifies it.

use super::{PART_BYTES_MIN, QueuedDownload, ReceiveError};
use crate::base::explanation::Explanation;
use crate::base::text::Size;
use crate::client::connection::incoming::Event;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, LinkError};
use crate::client::transfer::job::{TransferJob, Transferred};
use crate::client::transfer::part::Part;
use crate::client::ui::hashing::Hashing;
use crate::client::ui::progress::Progress;
use crate::wire::Reply;
use crate::wire::message::ErrorCode;

/// Receives a file. If the connection is lost, the received part stays in `wanted`.
pub(super) fn receive_file(
    session: &mut Session,
    progress: &mut Progress,
    id: u32,
    wanted: &mut QueuedDownload,
) -> Result<Transferred, ReceiveError> {
    let (size, mtime_ns, offset, mode) = match receive_reply(session, progress, wanted)? {
        Event::Reply(Reply::File { size, mtime_ns, offset, mode, .. }) => (size, mtime_ns, offset, mode),
        Event::Reply(Reply::Error(error)) | Event::Aborted(error) => return Err(Failure::Refused(error).into()),
        _ => return Err(LinkError::Protocol("an unexpected reply to a download".into()).into()),
    };
    let mut part = match prepare(session, wanted, offset) {
        Ok(part) => part,
        Err(failure) => {
            session.link.abandon(id);
            return Err(failure.into());
        }
    };
    wanted.show_at(progress, offset);
    let resumed_from = wanted.resumed_from.map_or(offset, |first| first.min(offset));
    wanted.resumed_from = Some(resumed_from);
    session.note_resumed(progress.percent());
    loop {
        let event = match session.link.receive() {
            Ok(incoming) => incoming.event,
            Err(error) => {
                wanted.part = Some(part);
                return Err(error.into());
            }
        };
        match event {
            Event::Data => {
                if let Err(failure) = write_chunk(session, &mut part, size) {
                    session.link.abandon(id);
                    return Err(discard_if_wrong(part, failure).into());
                }
                let bytes = session.link.chunk().len() as u64;
                wanted.shown_bytes += bytes;
                progress.advance(bytes);
                session.note_new_bytes(wanted.shown_bytes.saturating_sub(wanted.furthest_byte));
                wanted.furthest_byte = wanted.furthest_byte.max(wanted.shown_bytes);
            }
            Event::End(end) => {
                progress.begin_verification();
                let digest = part.digest();
                if (end.size, end.digest) != (part.received_bytes(), digest) || end.size != size {
                    return Err(discard_if_wrong(part, digest_mismatch(&wanted.job)).into());
                }
                let mode = wanted.job.modes.wanted(mode.or(wanted.job.source_mode).unwrap_or_default());
                part.finish(mtime_ns, mode, wanted.replaced)?;
                session.note_progress();
                return Ok(Transferred { size, digest, resumed_from });
            }
            Event::Aborted(error) => {
                if error.code == ErrorCode::Changed {
                    part.discard();
                }
                return Err(Failure::Refused(error).into());
            }
            Event::Reply(_) => return Err(LinkError::Protocol("a reply in the middle of a download".into()).into()),
        }
    }
}

/// Receives the response to the request for a file. If a part was offered, the server first hashes the same
/// range of its file, so the wait shows a hashing display.
fn receive_reply(session: &mut Session, progress: &Progress, wanted: &QueuedDownload) -> Result<Event, LinkError> {
    let has_part = wanted.part.as_ref().is_some_and(|part| part.received_bytes() > 0);
    let hashing = has_part.then(|| Hashing::for_remote(session.progress, &wanted.job.remote));
    if let Some(hashing) = &hashing {
        session.link.set_on_wait(hashing.ticker());
    }
    let reply = session.link.receive();
    if hashing.is_some() {
        session.link.set_on_wait(progress.ticker());
    }
    Ok(reply?.event)
}

/// Returns the part that takes the file's bytes from `offset`.
fn prepare(session: &mut Session, wanted: &mut QueuedDownload, offset: u64) -> Result<Part, Failure> {
    let (part, job) = (wanted.part.take(), &wanted.job);
    let Some(mut part) = part else {
        return match offset {
            0 => Part::create(&job.local, &wanted.reserved, job.size >= PART_BYTES_MIN),
            _ => Err(digest_mismatch(job)),
        };
    };
    if offset == part.received_bytes() {
        // After a lost connection, the session reports the overall progress instead.
        if offset > 0 && !session.was_lost {
            session.output.note(format_args!("{}: resuming at {}", job.remote, Size(offset)));
        }
        return Ok(part);
    }
    if offset != 0 {
        return Err(digest_mismatch(job));
    }
    session.output.note(format_args!("{}: starting over, the local partial download does not match", job.remote));
    part.restart()?;
    Ok(part)
}

fn write_chunk(session: &Session, part: &mut Part, size: u64) -> Result<(), Failure> {
    let chunk = session.link.chunk();
    if chunk.len() as u64 > size.saturating_sub(part.received_bytes()) {
        return Err(Failure::Verification(
            "the server sent more bytes than the file has; the received content was discarded".into(),
        ));
    }
    part.write(chunk)
}

/// Discards the part if its bytes are wrong, because they must not be resumed.
fn discard_if_wrong(part: Part, failure: Failure) -> Failure {
    if matches!(failure, Failure::Verification(_)) {
        part.discard();
    }
    failure
}

fn digest_mismatch(job: &TransferJob) -> Failure {
    Failure::Verification(Explanation::new(
        format!("{}: the received content differs from the server's", job.remote),
        "run the command again",
    ))
}
