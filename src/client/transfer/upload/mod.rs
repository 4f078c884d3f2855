//! The pipeline of uploads: files are sent one after the other, and the replies arrive in the same order.
//!
//! ```text
//!  unsent ──> current ─┬─ small, or no record of an earlier run ──> pending ──(reply)──> results
//!                      │                                          ^       └─(the file exists,
//!                      └─ record: the server offers what it kept ─┤          but was sent before)──> doubtful
//!                           ├─ it is the beginning of the file ───┤
//!                           └─ it is not: abort, start over ──────┘
//! ```
//!
//! The server may still process bytes of an earlier run of this client that was killed. Then it reports `superseded`,
//! and the upload is resumed again, at most `RECLAIMS_MAX` times.
//!
//! `begin` starts an upload, `reply` takes the replies, and `resume` handles uploads whose connection was lost.

mod begin;
mod reply;
mod resume;

use std::collections::VecDeque;
use std::io;

use crate::base::buffers::{PIECE_BYTES, aligned_piece};
use crate::base::explanation::Explanation;
use crate::base::upload_id::UploadId;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, LinkError};
use crate::client::files::local::{Reading, UploadSource, shown};
use crate::client::transfer::job::TransferJob;
use crate::client::transfer::pipeline::{ResultQueue, TransferPipeline, TransferQueue};
use crate::client::ui::hashing::Hashing;
use crate::client::ui::progress::Progress;
use crate::wire::Request;
use crate::wire::message::End;

/// The uploads of one connection, in order.
#[derive(Default)]
pub(super) struct Uploader {
    /// Taken from the queue, but not yet started on this connection.
    unsent: VecDeque<QueuedUpload>,
    /// The upload whose request is being sent.
    current: Option<QueuedUpload>,
    /// Their requests are sent. The newest one may still be sending its bytes.
    pending: VecDeque<PendingUpload>,
    results: ResultQueue,
    /// Refused because the destination exists. The existing file may be the one that was sent before the
    /// connection was lost.
    doubtful: Vec<(TransferJob, End, Failure)>,
    /// Partial uploads that the server may keep, but that no later run will resume. They are dropped.
    useless: Vec<UploadId>,
}

/// A file to upload and its progress on earlier connections.
pub(super) struct QueuedUpload {
    job: TransferJob,
    /// The bytes of this file that the progress display counts.
    shown_bytes: u64,
    /// The highest number of bytes that the server has reported as kept.
    kept_bytes: u64,
    /// The number of bytes that an earlier run had sent, once it is known.
    resumed_from: Option<u64>,
    /// The upload was started on a connection that was lost.
    is_begun: bool,
    /// All bytes were sent once, but the response was lost.
    sent_before: Option<End>,
    /// How often this session resumed the upload again after another session had taken it over.
    reclaims: u32,
}

/// An upload whose request is sent and whose reply has not arrived.
struct PendingUpload {
    id: u32,
    upload: QueuedUpload,
    /// The key of the upload record and the upload's id on the server.
    record: Option<(String, UploadId)>,
    resumed_from: u64,
    /// What was sent, or why the upload was aborted; `None` while the bytes are being sent.
    sent: Option<Result<End, Failure>>,
}

impl TransferPipeline for Uploader {
    type Item = QueuedUpload;

    fn items(jobs: Vec<TransferJob>) -> Vec<QueuedUpload> {
        jobs.into_iter().map(QueuedUpload::from).collect()
    }

    fn size(upload: &QueuedUpload) -> u64 {
        upload.job.size
    }

    /// Sends the next file, or waits for the reply to an earlier one.
    fn step(
        &mut self,
        session: &mut Session,
        queue: &mut TransferQueue<QueuedUpload>,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        if let Some(upload) = self.next(queue) {
            progress.resume();
            self.send(session, progress, upload)?;
        } else if !self.pending.is_empty() {
            progress.begin_verification_of_all();
            self.wait_for_reply(session)?;
        } else {
            self.check_doubtful(session)?;
            self.drop_useless(session)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Queues the pending uploads again, except those that the server has completely.
    fn resume(&mut self, session: &mut Session, progress: &mut Progress) -> Result<(), Failure> {
        progress.resume();
        self.queue_pending_again(session)
    }

    fn give_up(&mut self, session: &mut Session, failure: &Failure) -> Vec<QueuedUpload> {
        if !failure.ends_session() && *failure != Failure::Interrupted {
            // The server stores or refuses completely sent files within a moment, so wait for its replies.
            while !self.pending.is_empty() && self.wait_for_reply(session).is_ok() {}
        }
        self.unfinished()
    }

    fn results(&mut self) -> &mut ResultQueue {
        &mut self.results
    }
}

impl Uploader {
    fn next(&mut self, queue: &mut TransferQueue<QueuedUpload>) -> Option<QueuedUpload> {
        self.unsent.pop_front().or_else(|| queue.take_own()).or_else(|| queue.take_shared())
    }

    /// Sends one file. Its result, and those of earlier files, become available when the replies arrive.
    fn send(&mut self, session: &mut Session, progress: &mut Progress, upload: QueuedUpload) -> Result<(), LinkError> {
        let mut source = match UploadSource::open(&upload.job.local) {
            Ok(source) => source,
            Err(failure) => {
                self.results.push((upload.job, Err(failure)));
                return Ok(());
            }
        };
        // From here on a failure cannot lose the file, because it stays in `current`.
        self.current = Some(upload);
        while !session.link.has_room() && !self.pending.is_empty() {
            self.wait_for_reply(session)?;
        }
        self.begin(session, progress, &mut source)?;
        match self.current.take() {
            // The server refused it.
            Some(_) => Ok(()),
            None => self.send_content(session, progress, source),
        }
    }

    fn drop_useless(&mut self, session: &mut Session) -> Result<(), LinkError> {
        let mut asked = 0;
        while asked > 0 || !self.useless.is_empty() {
            while session.link.has_room()
                && let Some(upload_id) = self.useless.pop()
            {
                session.link.request(&Request::DropPartial { upload_id })?;
                asked += 1;
            }
            // The server lets it expire anyway, so the response does not matter.
            session.link.receive()?;
            asked -= 1;
        }
        Ok(())
    }

    /// Sends the bytes of the newest upload, unless the server refuses the upload meanwhile.
    fn send_content(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        mut source: UploadSource,
    ) -> Result<(), LinkError> {
        let Some(id) = self.pending.back().map(|pending| pending.id) else { return Ok(()) };
        session.link.await_proof()?;
        // Pieces of a large file are sent one by one, so that the queue never copies bytes. Small files collect
        // in the queue, so that one call sends many of them.
        let queued_max = if source.stamp().size > PIECE_BYTES as u64 { 0 } else { QUEUED_BYTES_MAX };
        let mut failure = None;
        while !source.is_at_end() && failure.is_none() {
            if let Some(incoming) = session.link.drain(queued_max)? {
                self.take_reply(session, incoming)?;
                self.results.show(progress);
                if self.pending.back().is_none_or(|pending| pending.id != id) {
                    session.link.queue_abort(id);
                    return Ok(());
                }
                continue;
            }
            let piece_bytes = aligned_piece(source.read_bytes(), PIECE_BYTES);
            match session.link.queue_data(id, piece_bytes, |room| source.read(room)) {
                Ok([]) => failure = Some(source_changed(&source)),
                Ok(payload) => {
                    let bytes = payload.len() as u64;
                    source.hash_read(payload);
                    progress.advance(bytes);
                    if let Some(pending) = self.pending.back_mut() {
                        pending.upload.shown_bytes += bytes;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failure = Some(Failure::local(source.path(), &error)),
            }
        }
        if failure.is_none() {
            let (style, path, size) = (session.progress, source.path().to_path_buf(), source.stamp().size);
            let mut hashing = None;
            failure = match source.check_unchanged(&mut |bytes| {
                hashing.get_or_insert_with(|| Hashing::for_local(style, &path, size)).set_done(bytes);
                session.link.keep_alive()
            }) {
                Ok(Reading::Whole { appended: 0 }) => None,
                Ok(Reading::Whole { appended }) => {
                    session.output.note(format_args!(
                        "local {}: {appended} bytes were appended during the upload and were not sent; put -f sends the whole file",
                        shown(source.path())
                    ));
                    None
                }
                Ok(Reading::Torn) => Some(source_changed(&source)),
                Err(Failure::Interrupted) => return Err(LinkError::Interrupted),
                Err(failure) => Some(failure),
            };
        }
        self.end(session, id, source, failure);
        self.take_replies_while_sending(session, progress)
    }

    /// Ends or aborts the newest upload.
    fn end(&mut self, session: &mut Session, id: u32, source: UploadSource, failure: Option<Failure>) {
        let Some(pending) = self.pending.back_mut() else { return };
        pending.sent = Some(match failure {
            Some(failure) => {
                session.link.queue_abort(id);
                Err(failure)
            }
            None => {
                let end = End { size: source.read_bytes(), digest: source.finish() };
                session.link.queue_end(id, &end);
                Ok(end)
            }
        });
    }
}

impl From<TransferJob> for QueuedUpload {
    fn from(job: TransferJob) -> Self {
        Self { job, shown_bytes: 0, kept_bytes: 0, resumed_from: None, is_begun: false, sent_before: None, reclaims: 0 }
    }
}

fn source_changed(source: &UploadSource) -> Failure {
    Failure::Local(Explanation::new(
        format!("{} changed while it was read", shown(source.path())),
        "run the command again",
    ))
}

/// If more bytes than this are queued, no more are read from files, so that a cancel takes effect quickly.
const QUEUED_BYTES_MAX: usize = 128 * 1024;
