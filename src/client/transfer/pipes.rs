//! Transfers without a local file: a download whose bytes go to a callback, and an upload from standard input.
//! Both are verified like every transfer, but a download only at its end, after the bytes have been handed on.
//! A later run cannot resume such a transfer.

use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::base::buffers::PIECE_BYTES;
use crate::base::digest::{ContentHash, Digest, DigestAlgorithm};
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::incoming::Event;
use crate::client::connection::link::Link;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, LinkError};
use crate::client::transfer::job::Transferred;
use crate::client::ui::output::Output;
use crate::client::ui::progress::Progress;
use crate::client::ui::results::{is_closed, is_ready};
use crate::wire::message::{End, PutMode};
use crate::wire::{Reply, Request};

/// Downloads the content of the file `remote`. `sink` gets the bytes as they arrive; an error from it ends the
/// transfer. After a lost connection, the download resumes after the bytes that were received, if the file still
/// begins with them.
pub fn download_to(
    session: &mut Session,
    remote: &VirtualPath,
    progress: &mut Progress,
    mut sink: impl FnMut(&mut Output, &mut Link, &[u8]) -> Result<(), Failure>,
) -> Result<Transferred, Failure> {
    let mut received = Received { hash: ContentHash::of_transfer(), bytes: 0, chunk: Vec::new() };
    session.retry_whole(|session| {
        session.link.set_on_wait(progress.ticker());
        received.fetch_rest(session, remote, progress, &mut sink)
    })
}

/// The bytes that were received and handed on.
struct Received {
    hash: ContentHash,
    bytes: u64,
    chunk: Vec<u8>,
}

impl Received {
    fn fetch_rest(
        &mut self,
        session: &mut Session,
        remote: &VirtualPath,
        progress: &mut Progress,
        sink: &mut impl FnMut(&mut Output, &mut Link, &[u8]) -> Result<(), Failure>,
    ) -> Result<Transferred, Failure> {
        let prefix_digest = (self.bytes > 0).then(|| self.hash.digest());
        let request = Request::Get { path: remote.into(), offset: self.bytes, etag: None, prefix_digest };
        let id = session.link.request(&request)?;
        let size = match session.link.receive()?.event {
            Event::Reply(Reply::File { size, offset, .. }) if offset == self.bytes => size,
            Event::Reply(Reply::File { .. }) => {
                session.link.abandon(id);
                return Err(digest_mismatch(remote));
            }
            Event::Reply(Reply::Error(error)) | Event::Aborted(error) => return Err(Failure::Refused(error)),
            _ => return Err(LinkError::Protocol("an unexpected reply to a download".into()).into()),
        };
        session.note_resumed(progress.percent());
        loop {
            match session.link.receive()?.event {
                Event::Data => {
                    let received = self.hand_on(session, size, sink).unwrap_or_else(|| Err(digest_mismatch(remote)));
                    if let Err(failure) = received {
                        session.link.abandon(id);
                        return Err(failure);
                    }
                    progress.advance(self.chunk.len() as u64);
                    session.note_new_bytes(self.chunk.len() as u64);
                }
                Event::End(end) => {
                    let digest = self.hash.digest();
                    let is_whole = (end.size, end.digest) == (self.bytes, digest) && end.size == size;
                    return if is_whole {
                        Ok(Transferred { size, digest, resumed_from: 0 })
                    } else {
                        Err(digest_mismatch(remote))
                    };
                }
                Event::Aborted(error) => return Err(Failure::Refused(error)),
                Event::Reply(_) => return Err(LinkError::Protocol("a reply in the middle of a download".into()).into()),
            }
        }
    }

    /// Hands the link's chunk on. Returns `None` if the server sends more bytes than the file has.
    fn hand_on(
        &mut self,
        session: &mut Session,
        size: u64,
        sink: &mut impl FnMut(&mut Output, &mut Link, &[u8]) -> Result<(), Failure>,
    ) -> Option<Result<(), Failure>> {
        self.chunk.clear();
        self.chunk.extend_from_slice(session.link.chunk());
        self.hash.update(&self.chunk);
        self.bytes += self.chunk.len() as u64;
        (self.bytes <= size).then(|| sink(&mut session.output, &mut session.link, &self.chunk))
    }
}

/// Uploads standard input as the file `remote`. The size is known only at the end. The bytes that were sent
/// cannot be read again, so a lost connection ends the upload. If all bytes had been sent, the client asks the
/// server whether it stored them.
pub fn upload_stdin(
    session: &mut Session,
    remote: &VirtualPath,
    mode: PutMode,
    progress: &mut Progress,
) -> Result<Transferred, Failure> {
    if is_closed(io::stdin()) {
        let advice = "give '-' a file or a pipe, or </dev/null for an empty file";
        return Err(Failure::Local(Explanation::new("standard input: is closed", advice)));
    }
    session.check_link()?;
    let request = Request::Put {
        path: remote.into(),
        size: None,
        mtime_ns: None,
        mode,
        if_etag: None,
        upload_id: None,
        resume: false,
        permissions: None,
        set_permissions: false,
    };
    let mut sent = None;
    session.link.set_on_wait(progress.ticker());
    let result = send_once(session, &request, remote, progress, &mut sent);
    let Err(failure) = result else { return result };
    let Some(End { size, digest }) = sent else {
        return Err(match failure {
            Failure::Lost(why) => Failure::Connection(Explanation::new(
                format!("connection lost: {why}"),
                format!("{remote} must be sent again"),
            )),
            failure => failure,
        });
    };
    session.reconnect(failure)?;
    match session.call(&Request::Digest { path: remote.into(), algorithm: DigestAlgorithm::OF_TRANSFERS }) {
        Ok(Reply::Digest { digest: stored, .. }) if stored == digest => {
            Ok(Transferred { size, digest, resumed_from: 0 })
        }
        Err(failure) if failure.ends_session() => Err(failure),
        _ => Err(Failure::Connection(Explanation::new(
            format!("the connection was lost before {remote} was stored"),
            "send it again",
        ))),
    }
}

/// Sends the content once. Sets `sent` when all bytes have been sent.
fn send_once(
    session: &mut Session,
    request: &Request,
    remote: &VirtualPath,
    progress: &mut Progress,
    sent: &mut Option<End>,
) -> Result<Transferred, Failure> {
    let id = session.link.request(request)?;
    match send_bytes(&mut session.link, id, progress) {
        Ok(Ok(end)) => {
            *sent = Some(end);
            progress.begin_verification();
            check_reply(remote, end, session.link.receive()?.event)
        }
        Ok(Err(answered)) => {
            session.link.queue_abort(id);
            check_reply(remote, End { size: 0, digest: Digest::of(b"") }, answered)
        }
        Err(failure) => {
            session.link.abandon(id);
            Err(failure)
        }
    }
}

/// Sends standard input to its end. Returns the `End` that was sent, or the server's early response.
fn send_bytes(link: &mut Link, id: u32, progress: &mut Progress) -> Result<Result<End, Event>, Failure> {
    let (stdin, mut hash, mut size) = (io::stdin(), ContentHash::of_transfer(), 0);
    link.await_proof()?;
    loop {
        if let Some(incoming) = link.drain(0)? {
            return Ok(Err(incoming.event));
        }
        if !is_ready(&stdin, PollFlags::IN) {
            if link.keep_alive() {
                return Err(Failure::Interrupted);
            }
            // The writer of the pipe may take hours, but a refusal must be reported at once.
            if let Some(incoming) = link.receive_until(Instant::now() + REPLY_WAIT)? {
                return Ok(Err(incoming.event));
            }
            continue;
        }
        match link.queue_data(id, PIECE_BYTES, |room| stdin.lock().read(room)) {
            Ok([]) => break,
            Ok(payload) => {
                hash.update(payload);
                size += payload.len() as u64;
                progress.advance(payload.len() as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::local(Path::new("standard input"), &error)),
        }
    }
    let end = End { size, digest: hash.digest() };
    link.queue_end(id, &end);
    Ok(Ok(end))
}

fn check_reply(remote: &VirtualPath, end: End, answer: Event) -> Result<Transferred, Failure> {
    match answer {
        Event::Reply(Reply::Stored { size, digest }) if end == (End { size, digest }) => {
            Ok(Transferred { size, digest, resumed_from: 0 })
        }
        Event::Reply(Reply::Stored { .. }) => {
            let why = Explanation::new(
                format!("{remote}: the stored content differs from the sent content"),
                "run put -f again",
            );
            Err(Failure::Verification(why))
        }
        Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
        _ => Err(LinkError::Protocol("an unexpected reply to an upload".into()).into()),
    }
}

fn digest_mismatch(remote: &VirtualPath) -> Failure {
    Failure::Verification(Explanation::new(
        format!("{remote}: the received content differs from the server's"),
        "do not use it, and run the command again",
    ))
}

/// Long enough to see whether a response has arrived.
const REPLY_WAIT: Duration = Duration::from_millis(1);
