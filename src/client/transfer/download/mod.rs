//! The pipeline of downloads: requests are sent ahead, and the files arrive one after the other. Each goes to a
//! partial file beside its destination, which is renamed only when digest and size are verified.

mod receive;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::client::connection::session::Session;
use crate::client::error::{Failure, LinkError};
use crate::client::files::local::{FileStamp, destination, stamp_of};
use crate::client::transfer::job::TransferJob;
use crate::client::transfer::part::names::{looks_like_part, part_path, remove_part};
use crate::client::transfer::part::{Part, Reserved};
use crate::client::transfer::pipeline::{ResultQueue, TransferPipeline, TransferQueue};
use crate::client::ui::hashing::Hashing;
use crate::client::ui::progress::Progress;
use crate::wire::Request;
use receive::receive_file;

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

impl TransferPipeline for Downloader {
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
        queue: &mut TransferQueue<QueuedDownload>,
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
    fn next_wanted(&mut self, queue: &mut TransferQueue<QueuedDownload>) -> Option<QueuedDownload> {
        // The first of the requested files is the one being received.
        let has_request_ahead = self.requested.len() > 1;
        let shared = |queue: &mut TransferQueue<_>| if has_request_ahead { None } else { queue.take_shared() };
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
            prefix_digest: part.map(Part::digest),
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

/// Returns the stamp of the file at the destination, or `None` if no file exists. If the file cannot be
/// examined, a later step refuses to replace it.
fn stamp_of_destination(local: &Path) -> Option<FileStamp> {
    destination(local).ok().flatten().as_ref().map(stamp_of)
}
