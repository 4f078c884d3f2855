//! Downloads of files. Requests are pipelined, and the files arrive one after the other. Each goes to a partial
//! file beside its destination, which is renamed only when digest and size are verified. This module asks no
//! questions and does not decide about existing files; `commands::get` does.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::digest::Digest;
use crate::base::limits::PART_BYTES_MIN;
use crate::base::text::Size;
use crate::base::virtual_path::VPath;
use crate::client::connection::incoming::Event;
use crate::client::connection::session::Session;
use crate::client::connection::state::SourceMark;
use crate::client::error::{Failure, LinkError};
use crate::client::files::local::{destination, mark_of};
use crate::client::files::modes::ModePolicy;
use crate::client::transfer::parallel::{Jobs, Tell, move_all};
use crate::client::transfer::part::{Part, Reserved};
use crate::client::transfer::part_names::{looks_like_part, part_path, remove_part};
use crate::client::ui::hashing::Hashing;
use crate::client::ui::progress::Progress;
use crate::wire::message::ErrorCode;
use crate::wire::{Reply, Request};

/// A file to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadJob {
    /// The remote path.
    pub remote: VPath,
    /// The local destination.
    pub local: PathBuf,
    /// The size in bytes at the time of the listing.
    pub size: u64,
    /// Whether the download may replace an existing file.
    pub replace: bool,
    /// Whether the local file gets the permission bits of the remote file.
    pub modes: ModePolicy,
    /// The permission bits at the time of the listing. Older servers do not send them with the content.
    pub listed_mode: u32,
}

/// A completed download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// The size in bytes.
    pub size: u64,
    /// The digest, computed on both sides.
    pub sha256: Digest,
    /// The number of bytes that an earlier attempt had received.
    pub resumed_from: u64,
}

/// A job and its result.
pub type Outcome = (DownloadJob, Result<Fetched, Failure>);

/// The downloads of one connection, in order.
#[derive(Default)]
struct Downloader {
    /// Taken from the jobs, but not yet requested on this connection.
    wanted: VecDeque<Wanted>,
    asked: VecDeque<(u32, Wanted)>,
}

/// A file to download and its progress.
struct Wanted {
    job: DownloadJob,
    /// Destinations of the same download; no part may use one as its path.
    reserved: Arc<Reserved>,
    /// The file that the download may replace, as it was at planning time.
    replaced: Option<SourceMark>,
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
enum Stop {
    File(Failure),
    Link(LinkError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::File(failure)
    }
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// Downloads files with as many requests ahead as the server allows, and resumes after a lost connection.
/// `on_outcome` gets the result of each job.
pub fn fetch_all(
    session: &mut Session,
    jobs: Vec<DownloadJob>,
    progress: &mut Progress,
    mut on_outcome: impl FnMut(&mut Session, Outcome) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // Remote files may have names that look like parts.
    let like_parts: Reserved =
        jobs.iter().map(|job| &job.local).filter(|local| looks_like_part(local)).cloned().collect();
    like_parts.iter().for_each(|path| remove_part(path));
    let reserved = Arc::new(like_parts);
    let wanted = jobs.into_iter().map(|job| Wanted::new(job, Arc::clone(&reserved))).collect();
    move_all(session, wanted, |wanted| wanted.job.size, progress, fetch_jobs, &mut on_outcome)
}

/// Downloads on one connection until no job is left.
fn fetch_jobs(
    session: &mut Session,
    jobs: &mut Jobs<Wanted>,
    progress: &mut Progress,
    on_outcome: Tell<'_, Outcome>,
) -> Result<(), Failure> {
    let mut downloader = Downloader::default();
    loop {
        session.link.set_on_wait(progress.ticker());
        match downloader.next(session, jobs, progress) {
            Ok(Some(outcome)) => {
                if let (job, Ok(fetched)) = &outcome {
                    progress.finish_file(&job.remote, fetched.size);
                }
                on_outcome(session, outcome)?;
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let again = session.reconnect(error.into());
                downloader.ask_again();
                if again.is_err() {
                    jobs.give_back(downloader.wanted);
                    return again;
                }
            }
        }
    }
}

impl Downloader {
    /// Sends requests ahead and receives the oldest requested file. Returns `None` when no file is left.
    fn next(
        &mut self,
        session: &mut Session,
        jobs: &mut Jobs<Wanted>,
        progress: &mut Progress,
    ) -> Result<Option<Outcome>, LinkError> {
        while session.link.has_room()
            && let Some(mut wanted) = self.next_wanted(jobs)
        {
            if let Err(failure) = wanted.look_for_part(session) {
                return Ok(Some((wanted.job, Err(failure))));
            }
            // If the request cannot be sent, the file stays in the queue.
            match session.link.request(&wanted.request()) {
                Ok(id) => self.asked.push_back((id, wanted)),
                Err(error) => {
                    self.wanted.push_front(wanted);
                    return Err(error);
                }
            }
        }
        let Some((id, wanted)) = self.asked.front_mut() else { return Ok(None) };
        let result = match receive_file(session, progress, *id, wanted) {
            Err(Stop::Link(error)) => return Err(error),
            Err(Stop::File(failure)) => Err(failure),
            Ok(fetched) => Ok(fetched),
        };
        Ok(self.asked.pop_front().map(|(_, wanted)| (wanted.job, result)))
    }

    /// Takes the next file. From the shared queue it takes only one ahead, because another connection could
    /// take the rest.
    fn next_wanted(&mut self, jobs: &mut Jobs<Wanted>) -> Option<Wanted> {
        let has_one_ahead = self.asked.len() > 1;
        let shared = |jobs: &mut Jobs<_>| if has_one_ahead { None } else { jobs.take_shared() };
        self.wanted.pop_front().or_else(|| jobs.take_own()).or_else(|| shared(jobs))
    }

    /// Puts all requested files back in the queue, because their responses are lost.
    fn ask_again(&mut self) {
        while let Some((_, wanted)) = self.asked.pop_back() {
            self.wanted.push_front(wanted);
        }
    }
}

impl Wanted {
    fn new(job: DownloadJob, reserved: Arc<Reserved>) -> Self {
        let replaced = if job.replace { mark_of_destination(&job.local) } else { None };
        Self { job, reserved, replaced, part: None, shown_bytes: 0, furthest_byte: 0, resumed_from: None }
    }

    fn look_for_part(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.part.is_none() && self.job.size >= PART_BYTES_MIN {
            let (local, size) = (&self.job.local, self.job.size);
            let part_bytes = part_path(local, 0).ok().and_then(|path| fs::metadata(path).ok());
            let part_bytes = part_bytes.map_or(size, |metadata| metadata.len());
            let hashing = Hashing::of_local(session.progress, local, part_bytes);
            self.part = Part::find(local, &self.reserved, size, &mut |bytes| {
                hashing.reach(bytes);
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
        progress.redo(self.shown_bytes.saturating_sub(bytes));
        progress.found(bytes.saturating_sub(self.shown_bytes));
        self.shown_bytes = bytes;
        if self.resumed_from.is_none() {
            self.furthest_byte = bytes;
        }
    }
}

/// Receives a file. If the connection is lost, the received part stays in `wanted`.
fn receive_file(session: &mut Session, progress: &mut Progress, id: u32, wanted: &mut Wanted) -> Result<Fetched, Stop> {
    let (size, mtime_ns, offset, mode) = match receive_answer(session, progress, wanted)? {
        Event::Reply(Reply::File { size, mtime_ns, offset, mode, .. }) => (size, mtime_ns, offset, mode),
        Event::Reply(Reply::Error(error)) | Event::Aborted(error) => return Err(Failure::Refused(error).into()),
        _ => return Err(LinkError::Protocol("a download was answered with something else".into()).into()),
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
                if let Err(failure) = take_chunk(session, &mut part, size) {
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
                progress.verify();
                let sha256 = part.digest();
                if (end.size, end.sha256) != (part.received_bytes(), sha256) || end.size != size {
                    return Err(discard_if_wrong(part, wrong_content(&wanted.job)).into());
                }
                let mode = wanted.job.modes.wanted(mode.unwrap_or(wanted.job.listed_mode));
                part.finish(mtime_ns, mode, wanted.replaced)?;
                session.note_progress();
                return Ok(Fetched { size, sha256, resumed_from });
            }
            Event::Aborted(error) => {
                if error.code == ErrorCode::Changed {
                    part.discard();
                }
                return Err(Failure::Refused(error).into());
            }
            Event::Reply(_) => return Err(LinkError::Protocol("a reply amid a download".into()).into()),
        }
    }
}

/// Receives the response to the request for a file. If a part was offered, the server first hashes the same
/// range of its file, so the wait shows a hashing display.
fn receive_answer(session: &mut Session, progress: &Progress, wanted: &Wanted) -> Result<Event, LinkError> {
    let has_part = wanted.part.as_ref().is_some_and(|part| part.received_bytes() > 0);
    let hashing = has_part.then(|| Hashing::of_remote(session.progress, &wanted.job.remote));
    if let Some(hashing) = &hashing {
        session.link.set_on_wait(hashing.ticker());
    }
    let answer = session.link.receive();
    if hashing.is_some() {
        session.link.set_on_wait(progress.ticker());
    }
    Ok(answer?.event)
}

/// Returns the part that takes the file's bytes from `offset`.
fn prepare(session: &mut Session, wanted: &mut Wanted, offset: u64) -> Result<Part, Failure> {
    let (part, job) = (wanted.part.take(), &wanted.job);
    let Some(mut part) = part else {
        return match offset {
            0 => Part::create(&job.local, &wanted.reserved, job.size >= PART_BYTES_MIN),
            _ => Err(wrong_content(job)),
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
        return Err(wrong_content(job));
    }
    session.output.note(format_args!("{}: starting over, what is here is not the beginning of that file", job.remote));
    part.restart()?;
    Ok(part)
}

fn take_chunk(session: &Session, part: &mut Part, size: u64) -> Result<(), Failure> {
    let chunk = session.link.chunk();
    if chunk.len() as u64 > size.saturating_sub(part.received_bytes()) {
        return Err(Failure::Verification("the server sent more than it announced; what came was thrown away".into()));
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

fn wrong_content(job: &DownloadJob) -> Failure {
    Failure::Verification(format!("{}: the received content differs from the server's; get it again", job.remote))
}

/// Returns the mark of the file at the destination, or `None` if no file exists. If the file cannot be
/// examined, a later step refuses to replace it.
fn mark_of_destination(local: &Path) -> Option<SourceMark> {
    destination(local).ok().flatten().as_ref().map(mark_of)
}
