//! The pipeline of downloads: requests are sent ahead, and the files arrive one after the other. Each goes to a
//! partial file beside its destination, which is renamed only when digest and size are verified.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::base::explanation::Explanation;
use crate::base::text::Size;
use crate::client::connection::incoming::Event;
use crate::client::connection::session::Session;
use crate::client::connection::state::FileStamp;
use crate::client::error::{Failure, LinkError};
use crate::client::files::local::{destination, stamp_of};
use crate::client::transfer::job::{TransferJob, Transferred};
use crate::client::transfer::part::names::{looks_like_part, part_path, remove_part};
use crate::client::transfer::part::{Part, Reserved};
use crate::client::transfer::pipeline::{Pipeline, Queue, ResultQueue};
use crate::client::ui::hashing::Hashing;
use crate::client::ui::progress::Progress;
use crate::wire::message::ErrorCode;
use crate::wire::{Reply, Request};

/// A smaller download starts at its first byte, because examining a partial file would take longer.
const PART_BYTES_MIN: u64 = 8 * 1024;

/// The downloads of one connection, in order.
#[derive(Default)]
pub(super) struct Downloader {
    /// Taken from the queue, but not yet requested on this connection.
    wanted: VecDeque<QueuedDownload>,
    requested: VecDeque<(u32, QueuedDownload)>,
    results: ResultQueue,
}

/// A file to download and its progress.
pub(super) struct QueuedDownload {
    job: TransferJob,
    /// Destinations of the same download; no part may use one as its path.
    reserved: Arc<Reserved>,
    /// The file that the download may replace, as it was at planning time.
    replaced: Option<FileStamp>,
    /// What an earlier attempt or an earlier connection received.
    part: Option<Part>,
    /// The bytes of this file that the progress display counts.
    shown_bytes: u64,
    /// The highest number of bytes received so far.
    furthest_byte: u64,
    /// The number of bytes that an earlier run had received, once it is known.
    resumed_from: Option<u64>,
}

/// Why a download stopped: the file itself failed, or the connection did.
enum ReceiveError {
    File(Failure),
    Link(LinkError),
}

impl From<Failure> for ReceiveError {
    fn from(failure: Failure) -> Self {
        Self::File(failure)
    }
}

impl From<LinkError> for ReceiveError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl Pipeline for Downloader {
    type Item = QueuedDownload;

    fn items(jobs: Vec<TransferJob>) -> Vec<QueuedDownload> {
        // Remote files may have names that look like parts.
        let like_parts: Reserved =
            jobs.iter().map(|job| &job.local).filter(|local| looks_like_part(local)).cloned().collect();
        like_parts.iter().for_each(|path| remove_part(path));
        let reserved = Arc::new(like_parts);
        jobs.into_iter().map(|job| QueuedDownload::new(job, Arc::clone(&reserved))).collect()
    }

    fn size(wanted: &QueuedDownload) -> u64 {
        wanted.job.size
    }

    /// Sends requests ahead and receives the oldest requested file.
    fn step(
        &mut self,
        session: &mut Session,
        queue: &mut Queue<QueuedDownload>,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        while session.link.has_room()
            && let Some(mut wanted) = self.next_wanted(queue)
        {
            if let Err(failure) = wanted.find_part(session) {
                self.results.push((wanted.job, Err(failure)));
                return Ok(true);
            }
            // If the request cannot be sent, the file stays in the queue.
            match session.link.request(&wanted.request()) {
                Ok(id) => self.requested.push_back((id, wanted)),
                Err(error) => {
                    self.wanted.push_front(wanted);
                    return Err(error.into());
                }
            }
        }
        let Some((id, wanted)) = self.requested.front_mut() else { return Ok(false) };
        let result = match receive_file(session, progress, *id, wanted) {
            Err(ReceiveError::Link(error)) => return Err(error.into()),
            Err(ReceiveError::File(failure)) => Err(failure),
            Ok(transferred) => Ok(transferred),
        };
        if let Some((_, wanted)) = self.requested.pop_front() {
            self.results.push((wanted.job, result));
        }
        Ok(true)
    }

    fn resume(&mut self, _: &mut Session, _: &mut Progress) -> Result<(), Failure> {
        self.request_again();
        Ok(())
    }

    fn give_up(&mut self, _: &mut Session, _: &Failure) -> Vec<QueuedDownload> {
        self.request_again();
        self.wanted.drain(..).collect()
    }

    fn results(&mut self) -> &mut ResultQueue {
        &mut self.results
    }
}

impl Downloader {
    /// Takes the next file. From the shared queue it takes at most one file beyond the one being received, because
    /// another connection could take the rest.
    fn next_wanted(&mut self, queue: &mut Queue<QueuedDownload>) -> Option<QueuedDownload> {
        // The first of the requested files is the one being received.
        let has_request_ahead = self.requested.len() > 1;
        let shared = |queue: &mut Queue<_>| if has_request_ahead { None } else { queue.take_shared() };
        self.wanted.pop_front().or_else(|| queue.take_own()).or_else(|| shared(queue))
    }

    /// Puts all requested files back in the queue, because their responses are lost.
    fn request_again(&mut self) {
        while let Some((_, wanted)) = self.requested.pop_back() {
            self.wanted.push_front(wanted);
        }
    }
}

impl QueuedDownload {
    fn new(job: TransferJob, reserved: Arc<Reserved>) -> Self {
        let replaced = if job.replace { stamp_of_destination(&job.local) } else { None };
        Self { job, reserved, replaced, part: None, shown_bytes: 0, furthest_byte: 0, resumed_from: None }
    }

    fn find_part(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.part.is_none() && self.job.size >= PART_BYTES_MIN {
            let (local, size) = (&self.job.local, self.job.size);
            let part_bytes = part_path(local, 0).ok().and_then(|path| fs::metadata(path).ok());
            let part_bytes = part_bytes.map_or(size, |metadata| metadata.len());
            let hashing = Hashing::for_local(session.progress, local, part_bytes);
            self.part = Part::find(local, &self.reserved, size, &mut |bytes| {
                hashing.set_done(bytes);
                session.link.keep_alive()
            })?;
        }
        Ok(())
    }

    /// Offers the partial file with its digest. The server resumes there only if its file begins with the same
    /// bytes.
    fn request(&self) -> Request {
        let part = self.part.as_ref().filter(|part| part.received_bytes() > 0);
        Request::Get {
            path: (&self.job.remote).into(),
            offset: part.map_or(0, Part::received_bytes),
            etag: None,
            prefix_sha256: part.map(Part::digest),
        }
    }

    /// Moves the progress display of this file to `bytes`, forwards or backwards.
    fn show_at(&mut self, progress: &mut Progress, bytes: u64) {
        progress.take_back(self.shown_bytes.saturating_sub(bytes));
        progress.skip(bytes.saturating_sub(self.shown_bytes));
        self.shown_bytes = bytes;
        if self.resumed_from.is_none() {
            self.furthest_byte = bytes;
        }
    }
}

/// Receives a file. If the connection is lost, the received part stays in `wanted`.
fn receive_file(
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
                let sha256 = part.digest();
                if (end.size, end.sha256) != (part.received_bytes(), sha256) || end.size != size {
                    return Err(discard_if_wrong(part, digest_mismatch(&wanted.job)).into());
                }
                let mode = wanted.job.modes.wanted(mode.or(wanted.job.source_mode).unwrap_or_default());
                part.finish(mtime_ns, mode, wanted.replaced)?;
                session.note_progress();
                return Ok(Transferred { size, sha256, resumed_from });
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

/// Returns the stamp of the file at the destination, or `None` if no file exists. If the file cannot be
/// examined, a later step refuses to replace it.
fn stamp_of_destination(local: &Path) -> Option<FileStamp> {
    destination(local).ok().flatten().as_ref().map(stamp_of)
}
