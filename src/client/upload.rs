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

use crate::client::beside::{Jobs, Tell, move_all};
use crate::client::incoming::{Event, Incoming};
use crate::client::link::LinkError;
use crate::client::local::{Source, shown};
use crate::client::mirror::is_same_time;
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
    /// Its bytes, when it was looked at.
    pub size: u64,
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

/// Uploads, back to back.
#[derive(Default)]
struct Uploader {
    /// Taken from the jobs, and not begun on this connection.
    unsent: VecDeque<Unsent>,
    /// Being begun.
    current: Option<Unsent>,
    pending: VecDeque<Pending>,
    verdicts: VecDeque<Verdict>,
    /// So many of them the progress shows.
    shown_verdicts: usize,
    /// Refused because something is there, which may be what was sent before a connection was lost.
    doubtful: Vec<(UploadJob, End, Failure)>,
    /// Uploads of which the server keeps something that nobody will resume.
    useless: Vec<UploadId>,
}

/// A file to be sent, and how far that was before.
struct Unsent {
    job: UploadJob,
    /// Bytes of it that the progress counts.
    shown_bytes: u64,
    /// Bytes of it that the server last said it has.
    kept_bytes: u64,
    /// Bytes of it that an earlier run had sent, once that is known.
    resumed_from: Option<u64>,
    /// It was begun on a connection that was lost.
    is_begun: bool,
    /// All of it was sent once, and the answer was lost.
    sent_before: Option<End>,
}

struct Pending {
    id: u32,
    unsent: Unsent,
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

/// Sends files back to back, and goes on where it was when the connection is lost. `on_verdict` gets
/// what became of each.
pub fn send_all(
    session: &mut Session,
    jobs: Vec<UploadJob>,
    progress: &mut Progress,
    mut on_verdict: impl FnMut(&mut Session, Verdict) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    session.check_link()?;
    let unsent = jobs.into_iter().map(Unsent::from).collect();
    move_all(session, unsent, |unsent| unsent.job.size, progress, send_jobs, &mut on_verdict)
}

/// The same on one connection, until no job is left.
fn send_jobs(
    session: &mut Session,
    jobs: &mut Jobs<Unsent>,
    progress: &mut Progress,
    on_verdict: Tell<'_, Verdict>,
) -> Result<(), Failure> {
    let mut uploader = Uploader::default();
    loop {
        session.link.set_on_wait(progress.ticker());
        let Err(failure) = uploader.send_rest(session, jobs, progress, on_verdict) else {
            session.gets_on();
            return Ok(());
        };
        let again = session.reconnect(failure).and_then(|()| {
            progress.go_on();
            uploader.take_up_again(session)
        });
        if again.is_err() {
            jobs.give_back(uploader.unfinished());
            // What is known is told, whatever the end.
            let _ = uploader.tell(session, progress, on_verdict);
            return again;
        }
    }
}

impl Uploader {
    fn send_rest(
        &mut self,
        session: &mut Session,
        jobs: &mut Jobs<Unsent>,
        progress: &mut Progress,
        on_verdict: Tell<'_, Verdict>,
    ) -> Result<(), Failure> {
        self.tell(session, progress, on_verdict)?;
        while let Some(unsent) = self.next(jobs) {
            self.send(session, progress, unsent)?;
            self.tell(session, progress, on_verdict)?;
        }
        if !self.pending.is_empty() {
            progress.verify_all();
        }
        while !self.pending.is_empty() {
            self.settle_next(session)?;
            self.tell(session, progress, on_verdict)?;
        }
        self.settle_doubtful(session)?;
        self.drop_useless(session)?;
        self.tell(session, progress, on_verdict)
    }

    fn next(&mut self, jobs: &mut Jobs<Unsent>) -> Option<Unsent> {
        self.unsent.pop_front().or_else(|| jobs.take_own()).or_else(|| jobs.take_shared())
    }

    /// Tells the verdicts that have come.
    fn tell(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        on_verdict: Tell<'_, Verdict>,
    ) -> Result<(), Failure> {
        self.show_verdicts(progress);
        while let Some(verdict) = self.verdicts.pop_front() {
            self.shown_verdicts -= 1;
            on_verdict(session, verdict)?;
        }
        Ok(())
    }

    /// Shows which files are done, also while a long one is being sent.
    fn show_verdicts(&mut self, progress: &mut Progress) {
        for (job, result) in self.verdicts.iter().skip(self.shown_verdicts) {
            if let Ok(stored) = result {
                progress.finish_file(&job.remote, stored.size);
            }
        }
        self.shown_verdicts = self.verdicts.len();
    }

    /// Sends one file. Its verdict, and those of files before it, can be taken once they came.
    fn send(&mut self, session: &mut Session, progress: &mut Progress, unsent: Unsent) -> Result<(), LinkError> {
        let mut source = match Source::open(&unsent.job.local) {
            Ok(source) => source,
            Err(failure) => {
                self.verdicts.push_back((unsent.job, Err(failure)));
                return Ok(());
            }
        };
        // Whatever fails from here on, it is not forgotten.
        self.current = Some(unsent);
        while !session.link.has_room() && !self.pending.is_empty() {
            self.settle_next(session)?;
        }
        self.begin(session, progress, &mut source)?;
        match self.current.take() {
            // It was refused.
            Some(_) => Ok(()),
            None => self.stream(session, progress, source),
        }
    }

    fn drop_useless(&mut self, session: &mut Session) -> Result<(), LinkError> {
        while let Some(upload_id) = self.useless.pop() {
            session.link.request(&Request::DropPartial { upload_id })?;
            // It expires anyway, so whether it was still there does not matter.
            session.link.receive()?;
        }
        Ok(())
    }

    // ---- After a lost connection ----------------------------------------------------------

    /// What was under way is sent again, but for what the server has whole.
    fn take_up_again(&mut self, session: &mut Session) -> Result<(), Failure> {
        let (mut unsure, mut again) = (Vec::new(), VecDeque::new());
        for Pending { unsent, record, sent, .. } in self.pending.drain(..) {
            match sent {
                Some(Err(failure)) => self.verdicts.push_back((unsent.job, Err(failure))),
                Some(Ok(end)) => unsure.push((unsent, record, end)),
                None => again.push_back(Unsent { is_begun: true, ..unsent }),
            }
        }
        again.extend(self.current.take());
        let asked: Vec<(&UploadJob, End)> = unsure.iter().map(|(unsent, _, end)| (&unsent.job, *end)).collect();
        // How far all of it is, is told once it goes on.
        let was_lost = std::mem::take(&mut session.was_lost);
        // Where nobody answers, all of it is as unsure as before.
        let (stored, asked) = match which_are_stored(session, &asked) {
            Ok(stored) => (stored, Ok(())),
            Err(failure) => (vec![false; asked.len()], Err(failure)),
        };
        session.was_lost |= was_lost;
        for ((unsent, record, end), is_stored) in unsure.into_iter().zip(stored).rev() {
            if is_stored {
                if let Some((key, _)) = record {
                    session.state.drop_upload(&key);
                }
                let stored = Stored { resumed_from: unsent.resumed_from.unwrap_or(0), ..end.into() };
                self.verdicts.push_back((unsent.job, Ok(stored)));
            } else {
                again.push_front(Unsent { sent_before: Some(end), ..unsent });
            }
        }
        again.append(&mut self.unsent);
        self.unsent = again;
        asked
    }

    /// What this connection will not finish, for another one.
    fn unfinished(&mut self) -> Vec<Unsent> {
        let pending = self.pending.drain(..).map(|Pending { unsent, sent, .. }| Unsent {
            is_begun: true,
            sent_before: sent.and_then(Result::ok).or(unsent.sent_before),
            ..unsent
        });
        let doubtful = self.doubtful.drain(..).map(|(job, end, _)| Unsent {
            shown_bytes: end.size,
            sent_before: Some(end),
            ..Unsent::from(job)
        });
        pending.chain(doubtful).chain(self.current.take()).chain(self.unsent.drain(..)).collect()
    }

    /// What was refused because something is there is stored if that is what was sent before.
    fn settle_doubtful(&mut self, session: &mut Session) -> Result<(), Failure> {
        let asked: Vec<(&UploadJob, End)> = self.doubtful.iter().map(|(job, end, _)| (job, *end)).collect();
        let stored = which_are_stored(session, &asked)?;
        for ((job, end, failure), is_stored) in self.doubtful.drain(..).zip(stored) {
            self.verdicts.push_back((job, if is_stored { Ok(end.into()) } else { Err(failure) }));
        }
        Ok(())
    }

    // ---- One file -------------------------------------------------------------------------

    /// Sends the request for the current upload, which is pending then, unless it was refused.
    fn begin(&mut self, session: &mut Session, progress: &mut Progress, source: &mut Source) -> Result<(), LinkError> {
        let Some(current) = &self.current else { return Ok(()) };
        let (job, is_begun) = (current.job.clone(), current.is_begun);
        if source.mark().size < RESUME_BYTES_MIN {
            return self.begin_anew(session, progress, source, None);
        }
        let key = record_key(session, &job);
        if let Some(record) = session.state.find_upload(&key) {
            match self.offer(session, source, &job, &record)? {
                Offer::Kept { id, offset, prefix_sha256 } => {
                    if has_prefix(session, source, offset, prefix_sha256)? {
                        if !is_begun {
                            session.output.note(resume_note(&job, offset));
                        }
                        self.push(session, progress, id, Some((key, record.upload_id)), offset);
                        return Ok(());
                    }
                    self.refuse_offer(session, id, record.upload_id)?;
                    session.output.note(format_args!("{}: starting over, the server kept something else", job.remote));
                }
                Offer::Nothing => {}
                Offer::Refused(error) => {
                    self.verdicts.push_back((job, Err(Failure::Refused(error))));
                    return Ok(());
                }
            }
            session.state.drop_upload(&key);
            if let Err(failure) = source.rewind() {
                self.verdicts.push_back((job, Err(failure)));
                return Ok(());
            }
        }
        self.begin_anew(session, progress, source, Some(key))
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

    /// Begins the current upload from its first byte. With a `key` it can be resumed; its record is
    /// kept first, because an upload without a record would be lost while a record without an upload
    /// costs one question.
    fn begin_anew(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        source: &Source,
        key: Option<String>,
    ) -> Result<(), LinkError> {
        let record = key.and_then(|key| {
            let mut random = [0; 16];
            getrandom::fill(&mut random).ok()?;
            let record = UploadRecord { upload_id: UploadId(random), source: source.mark() };
            session.state.keep_upload(&key, &record).then_some((key, record.upload_id))
        });
        let upload_id = record.as_ref().map(|(_, upload_id)| *upload_id);
        let Some(current) = &self.current else { return Ok(()) };
        let id = session.link.request(&put_request(&current.job, source, upload_id, false))?;
        self.push(session, progress, id, record, 0);
        Ok(())
    }

    /// The current upload is pending from now on, and stands at `offset`.
    fn push(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        id: u32,
        record: Option<(String, UploadId)>,
        offset: u64,
    ) {
        let Some(mut unsent) = self.current.take() else { return };
        progress.redo(unsent.shown_bytes.saturating_sub(offset));
        progress.found(offset.saturating_sub(unsent.shown_bytes));
        unsent.shown_bytes = offset;
        session.resumes(progress.percent());
        if offset > unsent.kept_bytes {
            // The server has more than before.
            session.gets_on();
        }
        unsent.kept_bytes = offset;
        let resumed_from = unsent.resumed_from.map_or(offset, |first| first.min(offset));
        unsent.resumed_from = Some(resumed_from);
        self.pending.push_back(Pending { id, unsent, record, resumed_from, sent: None });
    }

    /// Sends the bytes of the newest upload, unless the server refuses it meanwhile.
    fn stream(&mut self, session: &mut Session, progress: &mut Progress, mut source: Source) -> Result<(), LinkError> {
        let Some(id) = self.pending.back().map(|pending| pending.id) else { return Ok(()) };
        session.link.await_proof()?;
        // Pieces of a large file leave one by one, so that no byte is moved within the queue;
        // small files gather there, so that many leave in one call.
        let queued_max = if source.mark().size > PIECE_BYTES as u64 { 0 } else { QUEUED_BYTES_MAX };
        let mut failure = None;
        while !source.is_at_end() && failure.is_none() {
            if let Some(incoming) = session.link.drain(queued_max)? {
                self.settle(session, incoming)?;
                self.show_verdicts(progress);
                if self.pending.back().is_none_or(|pending| pending.id != id) {
                    session.link.queue_abort(id);
                    return Ok(());
                }
                continue;
            }
            match session.link.queue_data(id, PIECE_BYTES, |room| source.read(room)) {
                Ok([]) => failure = Some(changed(&source)),
                Ok(payload) => {
                    let bytes = payload.len() as u64;
                    source.took(payload);
                    progress.advance(bytes);
                    if let Some(pending) = self.pending.back_mut() {
                        pending.unsent.shown_bytes += bytes;
                    }
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
        if self.pending.front().is_none_or(|pending| pending.id != incoming.id) {
            return Err(LinkError::Protocol("an answer to no upload".into()));
        }
        let Some(Pending { unsent: Unsent { job, sent_before, .. }, record, resumed_from, sent, .. }) =
            self.pending.pop_front()
        else {
            return Ok(());
        };
        session.gets_on();
        let result = match (reply, sent) {
            (_, Some(Err(failure))) => Err(failure),
            (Reply::Stored { size, sha256 }, Some(Ok(end))) if end == (End { size, sha256 }) => {
                Ok(Stored { size, sha256, resumed_from })
            }
            (Reply::Error(error), _) => Err(Failure::Refused(error)),
            (_, _) => Err(Failure::Verification(format!(
                "{}: the server stored something else than was sent; put it again with -f",
                job.remote
            ))),
        };
        if let Some((key, upload_id)) = record
            && !matches!(&result, Err(Failure::Refused(error)) if may_resume(error))
        {
            session.state.drop_upload(&key);
            if matches!(&result, Err(Failure::Local(_) | Failure::LocalFull(_))) {
                self.useless.push(upload_id);
            }
        }
        match (result, sent_before) {
            (Err(failure), Some(end)) if is_exists(&failure) => self.doubtful.push((job, end, failure)),
            (result, _) => self.verdicts.push_back((job, result)),
        }
        Ok(())
    }
}

impl From<UploadJob> for Unsent {
    fn from(job: UploadJob) -> Self {
        Self { job, shown_bytes: 0, kept_bytes: 0, resumed_from: None, is_begun: false, sent_before: None }
    }
}

impl From<End> for Stored {
    /// What was sent on a connection that was lost, and is there.
    fn from(end: End) -> Self {
        Self { size: end.size, sha256: end.sha256, resumed_from: 0 }
    }
}

/// Of uploads that were sent to their end, and not answered: which of them the server has. One that
/// replaces another file is there when its time is too, as the same content may have been before.
fn which_are_stored(session: &mut Session, uploads: &[(&UploadJob, End)]) -> Result<Vec<bool>, Failure> {
    let mut requests = Vec::with_capacity(uploads.len() * 2);
    for (job, _) in uploads {
        requests.push(Request::Stat { path: (&job.remote).into() });
        requests.push(Request::Sha256 { path: (&job.remote).into() });
    }
    let mut replies = Vec::with_capacity(requests.len());
    session.call_each(&requests, |_, _, result| replies.push(result.ok()))?;
    Ok(uploads.iter().zip(replies.chunks(2)).map(|((job, end), replies)| is_stored(job, *end, replies)).collect())
}

fn is_stored(job: &UploadJob, end: End, replies: &[Option<Reply>]) -> bool {
    let [Some(Reply::Stat { entry, .. }), Some(Reply::Sha256 { sha256, .. })] = replies else { return false };
    let is_its_time =
        || Source::open(&job.local).is_ok_and(|source| is_same_time(source.mark().mtime_ns, entry.mtime_ns));
    entry.size == end.size && *sha256 == end.sha256 && (job.mode == PutMode::Create || is_its_time())
}

fn is_exists(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(error) if error.code == ErrorCode::Exists)
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
