//! Sending files. Many may be on their way: each is sent whole behind the other, and their
//! verdicts come back in order, so small files cost no round trip each. It asks no questions
//! and decides nothing about files that are there already; `commands::put` does.
//!
//! ```text
//! put ─┬─(small, or nothing kept)──────────> data … end ──> pending ──> verdict
//!      └─(record found) ── ready ─(same)───^        └─(refused early)─> abort ──> verdict
//!                            └─(other bytes)── abort, drop, put anew
//! ```

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use crate::client::incoming::{Event, Incoming};
use crate::client::link::LinkError;
use crate::client::local::{Source, shown};
use crate::client::outcome::Failure;
use crate::client::progress::Progress;
use crate::client::session::Session;
use crate::client::state::UploadRecord;
use crate::digest::Digest;
use crate::limits::{PIECE_BYTES, RESUME_BYTES_MIN};
use crate::text::Size;
use crate::upload_id::UploadId;
use crate::vpath::VPath;
use crate::wire::message::{End, ErrorCode, ErrorReply, PutMode};
use crate::wire::{Reply, Request};

/// A file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadJob {
    /// The file here.
    pub local: PathBuf,
    /// Its path there.
    pub remote: VPath,
    /// Whether it takes the place of a file that is there.
    pub mode: PutMode,
}

/// A file the server has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub size: u64,
    /// Its digest, computed on both sides.
    pub sha256: Digest,
    /// Bytes the server had kept of an earlier try.
    pub resumed_from: u64,
}

/// What became of one upload.
pub type Verdict = (UploadJob, Result<Stored, Failure>);

/// The uploads on their way.
#[derive(Default)]
pub struct Uploader {
    pending: VecDeque<Pending>,
    verdicts: VecDeque<Verdict>,
    /// Uploads of which the server keeps something that nobody will resume.
    useless: Vec<UploadId>,
}

struct Pending {
    id: u32,
    job: UploadJob,
    /// Under which the upload is remembered, and its name at the server.
    record: Option<(String, UploadId)>,
    resumed_from: u64,
    /// What was sent, or why it was given up; `None` while it is being sent.
    sent: Option<Result<End, Failure>>,
}

/// What the server says to resuming.
enum Offer {
    /// It has this much.
    Kept { id: u32, offset: u64, prefix_sha256: Digest },
    /// It does not know the upload.
    Nothing,
    /// It would not take the file at all.
    Refused(ErrorReply),
}

/// Sends files back to back, of `bytes` in all. `on_verdict` gets what became of each.
pub fn send_all(
    session: &mut Session,
    jobs: Vec<UploadJob>,
    bytes: u64,
    mut on_verdict: impl FnMut(&mut Session, Verdict) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut progress = Progress::new(session.progress, &format!("{} files", jobs.len()), bytes);
    let mut uploader = Uploader::default();
    for job in jobs {
        uploader.send(session, &mut progress, job)?;
        while let Some(verdict) = uploader.take_verdict() {
            on_verdict(session, verdict)?;
        }
    }
    progress.verify();
    uploader.finish(session)?;
    while let Some(verdict) = uploader.take_verdict() {
        on_verdict(session, verdict)?;
    }
    Ok(())
}

impl Uploader {
    /// Sends one file. Its verdict, and those of files before it, can be taken once they came.
    pub fn send(&mut self, session: &mut Session, progress: &mut Progress, job: UploadJob) -> Result<(), LinkError> {
        let mut source = match Source::open(&job.local) {
            Ok(source) => source,
            Err(failure) => {
                self.verdicts.push_back((job, Err(failure)));
                return Ok(());
            }
        };
        while !session.link.has_room() && !self.pending.is_empty() {
            self.settle_next(session)?;
        }
        if self.begin(session, progress, &mut source, job)? { self.stream(session, progress, source) } else { Ok(()) }
    }

    /// Whether an upload has no verdict yet.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Waits until every upload has its verdict.
    pub fn finish(&mut self, session: &mut Session) -> Result<(), LinkError> {
        while !self.pending.is_empty() {
            self.settle_next(session)?;
        }
        for upload_id in std::mem::take(&mut self.useless) {
            session.link.request(&Request::DropPartial { upload_id })?;
            // It expires anyway, so whether it was still there does not matter.
            session.link.receive()?;
        }
        Ok(())
    }

    /// The oldest verdict not yet taken.
    pub fn take_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    /// Sends the request; whether data may follow.
    fn begin(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        source: &mut Source,
        job: UploadJob,
    ) -> Result<bool, LinkError> {
        if source.mark().size < RESUME_BYTES_MIN {
            self.begin_anew(session, source, job, None)?;
            return Ok(true);
        }
        let key = record_key(session, &job);
        if let Some(record) = session.state.find_upload(&key) {
            match self.offer(session, source, &job, &record)? {
                Offer::Kept { id, offset, prefix_sha256 } => {
                    if has_prefix(session, source, offset, prefix_sha256)? {
                        session.output.note(resume_note(&job, offset));
                        progress.skip(offset);
                        self.push(id, job, Some((key, record.upload_id)), offset);
                        return Ok(true);
                    }
                    self.refuse_offer(session, id, record.upload_id)?;
                    session.output.note(format_args!("{}: starting over, the server kept something else", job.remote));
                }
                Offer::Nothing => {}
                Offer::Refused(error) => {
                    self.verdicts.push_back((job, Err(Failure::Refused(error))));
                    return Ok(false);
                }
            }
            session.state.drop_upload(&key);
            if let Err(failure) = source.rewind() {
                self.verdicts.push_back((job, Err(failure)));
                return Ok(false);
            }
        }
        self.begin_anew(session, source, job, Some(key))?;
        Ok(true)
    }

    /// Asks what the server kept of the upload in `record`.
    fn offer(
        &mut self,
        session: &mut Session,
        source: &Source,
        job: &UploadJob,
        record: &UploadRecord,
    ) -> Result<Offer, LinkError> {
        if record.source != source.mark() {
            session.output.note(format_args!("{} changed since the last try: starting over", shown(source.path())));
            self.useless.push(record.upload_id);
            return Ok(Offer::Nothing);
        }
        let id = session.link.request(&put_request(job, source, Some(record.upload_id), true))?;
        loop {
            match session.link.receive()? {
                Incoming { id: of, event: Event::Reply(Reply::Ready { offset, prefix_sha256 }) } if of == id => {
                    return Ok(Offer::Kept { id, offset, prefix_sha256 });
                }
                Incoming { id: of, event: Event::Reply(Reply::Error(error)) } if of == id => {
                    session.link.queue_abort(id);
                    return Ok(if is_unknown_upload(error.code) { Offer::Nothing } else { Offer::Refused(error) });
                }
                other => self.settle(session, other)?,
            }
        }
    }

    /// Gives up what the server offered to resume.
    fn refuse_offer(&mut self, session: &mut Session, id: u32, upload_id: UploadId) -> Result<(), LinkError> {
        session.link.queue_abort(id);
        self.useless.push(upload_id);
        session.link.receive().map(|_| ())
    }

    /// Begins an upload from its first byte. With a `key` it can be resumed; its record is kept
    /// first, because an upload without a record would be lost while a record without an upload
    /// costs one question.
    fn begin_anew(
        &mut self,
        session: &mut Session,
        source: &Source,
        job: UploadJob,
        key: Option<String>,
    ) -> Result<(), LinkError> {
        let record = key.and_then(|key| {
            let mut random = [0; 16];
            getrandom::fill(&mut random).ok()?;
            let record = UploadRecord { upload_id: UploadId(random), source: source.mark() };
            session.state.keep_upload(&key, &record).then_some((key, record.upload_id))
        });
        let upload_id = record.as_ref().map(|(_, upload_id)| *upload_id);
        let id = session.link.request(&put_request(&job, source, upload_id, false))?;
        self.push(id, job, record, 0);
        Ok(())
    }

    fn push(&mut self, id: u32, job: UploadJob, record: Option<(String, UploadId)>, resumed_from: u64) {
        self.pending.push_back(Pending { id, job, record, resumed_from, sent: None });
    }

    /// Sends the bytes of the newest upload, unless the server refuses it meanwhile.
    fn stream(&mut self, session: &mut Session, progress: &mut Progress, mut source: Source) -> Result<(), LinkError> {
        let Some(id) = self.pending.back().map(|pending| pending.id) else { return Ok(()) };
        // Pieces of a large file leave one by one, so that no byte is moved within the queue;
        // small files gather there, so that many leave in one call.
        let queued_max = if source.mark().size > PIECE_BYTES as u64 { 0 } else { QUEUED_BYTES_MAX };
        let mut failure = None;
        while !source.is_at_end() && failure.is_none() {
            if let Some(incoming) = session.link.drain(queued_max)? {
                self.settle(session, incoming)?;
                if self.pending.back().is_none_or(|pending| pending.id != id) {
                    session.link.queue_abort(id);
                    return Ok(());
                }
                continue;
            }
            match session.link.queue_data(id, PIECE_BYTES, |room| source.read(room)) {
                Ok([]) => failure = Some(changed(&source)),
                Ok(payload) => {
                    source.took(payload);
                    progress.advance(payload.len() as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failure = Some(Failure::local(source.path(), &error)),
            }
        }
        if failure.is_none() && !source.is_unchanged() {
            failure = Some(changed(&source));
        }
        self.end(session, id, source, failure);
        self.settle_while_sending(session)
    }

    /// Ends or aborts the newest upload.
    fn end(&mut self, session: &mut Session, id: u32, source: Source, failure: Option<Failure>) {
        let Some(pending) = self.pending.back_mut() else { return };
        pending.sent = Some(match failure {
            Some(failure) => {
                session.link.queue_abort(id);
                Err(failure)
            }
            None => {
                let end = End { size: source.read_bytes(), sha256: source.finish() };
                session.link.queue_end(id, &end);
                Ok(end)
            }
        });
    }

    /// Takes the verdicts that have come while what is queued leaves, but does not wait for any.
    fn settle_while_sending(&mut self, session: &mut Session) -> Result<(), LinkError> {
        while let Some(incoming) = session.link.drain(QUEUED_BYTES_MAX)? {
            self.settle(session, incoming)?;
        }
        Ok(())
    }

    fn settle_next(&mut self, session: &mut Session) -> Result<(), LinkError> {
        let incoming = session.link.receive()?;
        self.settle(session, incoming)
    }

    /// Turns the answer to the oldest upload into its verdict.
    fn settle(&mut self, session: &mut Session, incoming: Incoming) -> Result<(), LinkError> {
        let reply = match incoming.event {
            Event::Reply(reply @ (Reply::Stored { .. } | Reply::Error(_))) => reply,
            _ => return Err(LinkError::Protocol("an upload was answered with something else".into())),
        };
        let Some(pending) = self.pending.pop_front().filter(|pending| pending.id == incoming.id) else {
            return Err(LinkError::Protocol("an answer to no upload".into()));
        };
        let result = match (reply, pending.sent) {
            (_, Some(Err(failure))) => Err(failure),
            (Reply::Stored { size, sha256 }, Some(Ok(end))) if end == (End { size, sha256 }) => {
                Ok(Stored { size, sha256, resumed_from: pending.resumed_from })
            }
            (Reply::Error(error), _) => Err(Failure::Refused(error)),
            (_, _) => Err(Failure::Verification(format!(
                "{}: the server stored something else than was sent; put it again with -f",
                pending.job.remote
            ))),
        };
        if let Some((key, upload_id)) = pending.record
            && !matches!(&result, Err(Failure::Refused(error)) if may_resume(error))
        {
            session.state.drop_upload(&key);
            if matches!(&result, Err(Failure::Local(_) | Failure::LocalFull(_))) {
                self.useless.push(upload_id);
            }
        }
        self.verdicts.push_back((pending.job, result));
        Ok(())
    }
}

fn put_request(job: &UploadJob, source: &Source, upload_id: Option<UploadId>, resume: bool) -> Request {
    Request::Put {
        path: (&job.remote).into(),
        size: Some(source.mark().size),
        mtime_ns: Some(source.mark().mtime_ns),
        mode: job.mode,
        if_etag: None,
        upload_id,
        resume,
    }
}

/// Whether the first `offset` bytes of the file are those that the server has.
fn has_prefix(session: &mut Session, source: &mut Source, offset: u64, sha256: Digest) -> Result<bool, LinkError> {
    if offset > source.mark().size {
        return Ok(false);
    }
    match source.skip(offset, &mut || session.link.works_apart()) {
        Ok(digest) => Ok(digest == sha256 && source.read_bytes() == offset),
        Err(Failure::Interrupted) => Err(LinkError::Interrupted),
        Err(_) => Ok(false),
    }
}

/// Tells the uploads of one file to one place from all others.
fn record_key(session: &Session, job: &UploadJob) -> String {
    let local = std::path::absolute(&job.local).unwrap_or_else(|_| job.local.clone());
    format!("{}\n{}\n{}", session.peer, job.remote, shown(&local))
}

fn resume_note(job: &UploadJob, offset: u64) -> String {
    match offset {
        0 => format!("{}: starting over, the server kept nothing", job.remote),
        offset => format!("{}: resuming at {}", job.remote, Size(offset)),
    }
}

fn changed(source: &Source) -> Failure {
    Failure::Local(format!("{} changed while it was read; run the command again", shown(source.path())))
}

/// Answers to resuming that mean: put it anew.
fn is_unknown_upload(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotFound | ErrorCode::Changed | ErrorCode::Unsupported | ErrorCode::BadRequest)
}

/// Whether the same upload may go on later.
fn may_resume(error: &ErrorReply) -> bool {
    error.retry
        || matches!(
            error.code,
            ErrorCode::Cancelled
                | ErrorCode::Kicked
                | ErrorCode::ShuttingDown
                | ErrorCode::Timeout
                | ErrorCode::DiskFull
        )
}

/// Queued above this, nothing more is read from files, so that a cancel has little to wait for.
const QUEUED_BYTES_MAX: usize = 128 * 1024;
