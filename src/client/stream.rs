//! Content that is in no file here: fetched into whatever takes its bytes, sent from standard
//! input. It is proved as every transfer is, but what is fetched only at its end, when the bytes
//! have been handed on. It cannot be resumed.

use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use sha2::{Digest as _, Sha256};

use crate::client::incoming::Event;
use crate::client::link::{Link, LinkError};
use crate::client::outcome::Failure;
use crate::client::output::Output;
use crate::client::progress::Progress;
use crate::client::results::is_ready;
use crate::client::session::Session;
use crate::digest::Digest;
use crate::limits::PIECE_BYTES;
use crate::vpath::VPath;
use crate::wire::message::{End, PutMode};
use crate::wire::{Reply, Request};

/// Content that was moved, whole and proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streamed {
    /// Its bytes.
    pub size: u64,
    /// Its digest, computed on both sides.
    pub sha256: Digest,
}

/// Fetches the content of the file `remote`. `take` gets the bytes as they come; what it refuses
/// ends the transfer.
pub fn fetch(
    session: &mut Session,
    remote: &VPath,
    progress: &mut Progress,
    mut take: impl FnMut(&mut Output, &mut Link, &[u8]) -> Result<(), Failure>,
) -> Result<Streamed, Failure> {
    let request = Request::Get { path: remote.into(), offset: 0, etag: None, prefix_sha256: None };
    let id = session.link.request(&request)?;
    let size = match session.link.receive()?.event {
        Event::Reply(Reply::File { size, offset: 0, .. }) => size,
        Event::Reply(Reply::Error(error)) | Event::Aborted(error) => return Err(Failure::Refused(error)),
        _ => return Err(LinkError::Protocol("a download was answered with something else".into()).into()),
    };
    let (mut hash, mut received, mut chunk) = (Sha256::new(), 0, Vec::new());
    loop {
        match session.link.receive()?.event {
            Event::Data => {
                chunk.clear();
                chunk.extend_from_slice(session.link.chunk());
                hash.update(&chunk);
                received += chunk.len() as u64;
                let taken = if received > size {
                    Err(wrong(remote))
                } else {
                    take(&mut session.output, &mut session.link, &chunk)
                };
                if let Err(failure) = taken {
                    session.link.abandon(id);
                    return Err(failure);
                }
                progress.advance(chunk.len() as u64);
            }
            Event::End(end) => {
                let sha256 = Digest::finish(hash);
                let is_whole = (end.size, end.sha256) == (received, sha256) && end.size == size;
                return if is_whole { Ok(Streamed { size, sha256 }) } else { Err(wrong(remote)) };
            }
            Event::Aborted(error) => return Err(Failure::Refused(error)),
            Event::Reply(_) => return Err(LinkError::Protocol("a reply amid a download".into()).into()),
        }
    }
}

/// Sends what comes through standard input as the file `remote`; how much that is turns out at
/// its end.
pub fn send(session: &mut Session, remote: &VPath, mode: PutMode) -> Result<Streamed, Failure> {
    let id = session.link.request(&Request::Put {
        path: remote.into(),
        size: None,
        mtime_ns: None,
        mode,
        if_etag: None,
        upload_id: None,
        resume: false,
    })?;
    match send_bytes(&mut session.link, id) {
        Ok(Ok(end)) => conclude(remote, end, session.link.receive()?.event),
        Ok(Err(answered)) => {
            session.link.queue_abort(id);
            conclude(remote, End { size: 0, sha256: Digest::of(b"") }, answered)
        }
        Err(failure) => {
            session.link.abandon(id);
            Err(failure)
        }
    }
}

/// Sends all there is; its end, or what the server answered before that.
fn send_bytes(link: &mut Link, id: u32) -> Result<Result<End, Event>, Failure> {
    let (stdin, mut hash, mut size) = (io::stdin(), Sha256::new(), 0);
    loop {
        if let Some(incoming) = link.drain(0)? {
            return Ok(Err(incoming.event));
        }
        if !is_ready(&stdin, PollFlags::IN) {
            if link.works_apart() {
                return Err(Failure::Interrupted);
            }
            // Whoever fills the pipe may take hours; a refusal is told at once.
            if let Some(incoming) = link.receive_until(Instant::now() + A_MOMENT)? {
                return Ok(Err(incoming.event));
            }
            continue;
        }
        match link.queue_data(id, PIECE_BYTES, |room| stdin.lock().read(room)) {
            Ok([]) => break,
            Ok(payload) => {
                hash.update(payload);
                size += payload.len() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::local(Path::new("standard input"), &error)),
        }
    }
    let end = End { size, sha256: Digest::finish(hash) };
    link.queue_end(id, &end);
    Ok(Ok(end))
}

fn conclude(remote: &VPath, end: End, answer: Event) -> Result<Streamed, Failure> {
    match answer {
        Event::Reply(Reply::Stored { size, sha256 }) if end == (End { size, sha256 }) => Ok(Streamed { size, sha256 }),
        Event::Reply(Reply::Stored { .. }) => {
            let text = format!("{remote}: the server stored something else than was sent; put it again with -f");
            Err(Failure::Verification(text))
        }
        Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
        _ => Err(LinkError::Protocol("an upload was answered with something else".into()).into()),
    }
}

fn wrong(remote: &VPath) -> Failure {
    Failure::Verification(format!("{remote}: what came is not what the server has; do not use it, get it again"))
}

/// Enough to look whether something came.
const A_MOMENT: Duration = Duration::from_millis(1);
