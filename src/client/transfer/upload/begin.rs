//! The start of an upload: at its first byte, or where an earlier attempt stopped. It resumes only if the bytes
//! that the server kept are the beginning of the local file.

use super::{PendingUpload, Uploader};
use crate::base::digest::Digest;
use crate::base::text::Size;
use crate::base::upload_id::{RESUME_BYTES_MIN, UploadId};
use crate::client::connection::incoming::{Event, Incoming};
use crate::client::connection::session::Session;
use crate::client::connection::state::UploadRecord;
use crate::client::error::{Failure, LinkError};
use crate::client::files::local::{UploadSource, shown};
use crate::client::transfer::job::TransferJob;
use crate::client::ui::hashing::Hashing;
use crate::client::ui::progress::Progress;
use crate::wire::message::{ErrorCode, ErrorReply, PutMode};
use crate::wire::{Reply, Request};

/// The server's response to a resume request.
enum ResumeReply {
    /// The server kept the first `offset` bytes.
    Kept { id: u32, offset: u64, prefix_digest: Digest },
    /// The server does not know the upload.
    Unknown,
    /// The server refuses the file.
    Refused(ErrorReply),
}

impl Uploader {
    /// Sends the request for the current upload. The upload is then pending, unless the server refused it.
    pub(super) fn begin(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        source: &mut UploadSource,
    ) -> Result<(), LinkError> {
        let Some(current) = &self.current else { return Ok(()) };
        let (job, is_begun, sent_before) = (current.job.clone(), current.is_begun, current.sent_before);
        if source.stamp().size < RESUME_BYTES_MIN {
            return self.begin_at_first_byte(session, progress, source, None);
        }
        let key = record_key(session, &job);
        if let Some(record) = session.state.find_upload(&key) {
            let hashing = Hashing::for_files(session.progress, 1);
            let offer = self.request_resume(session, source, &job, &record, &hashing);
            session.link.set_on_wait(progress.ticker());
            match offer? {
                ResumeReply::Kept { id, offset, prefix_digest } => {
                    if has_prefix(session, source, offset, prefix_digest, &hashing)? {
                        if !is_begun {
                            session.output.note(resume_note(&job, offset));
                        }
                        self.add_pending(session, progress, id, Some((key, record.upload_id)), offset);
                        return Ok(());
                    }
                    self.decline_resume(session, id, record.upload_id)?;
                    session.output.note(format_args!(
                        "{}: starting over, the partial upload does not match the local file",
                        job.remote
                    ));
                }
                ResumeReply::Unknown => {}
                ResumeReply::Refused(error) => {
                    self.record_result(job, sent_before, Err(Failure::Refused(error)));
                    return Ok(());
                }
            }
            session.state.remove_upload(&key);
            if let Err(failure) = source.rewind() {
                self.results.push((job, Err(failure)));
                return Ok(());
            }
        }
        self.begin_at_first_byte(session, progress, source, Some(key))
    }

    /// Asks the server what it kept of the upload in `record`.
    fn request_resume(
        &mut self,
        session: &mut Session,
        source: &UploadSource,
        job: &TransferJob,
        record: &UploadRecord,
        hashing: &Hashing,
    ) -> Result<ResumeReply, LinkError> {
        if record.source != source.stamp() {
            session.output.note(format_args!("{} changed since the last try: starting over", shown(source.path())));
            self.useless.push(record.upload_id);
            return Ok(ResumeReply::Unknown);
        }
        let id = session.link.request(&put_request(job, source, Some(record.upload_id), true))?;
        hashing.next_remote(&job.remote);
        session.link.set_on_wait(hashing.ticker());
        loop {
            match session.link.receive()? {
                Incoming { id: of, event: Event::Reply(Reply::Ready { offset, prefix_digest }) } if of == id => {
                    return Ok(ResumeReply::Kept { id, offset, prefix_digest });
                }
                Incoming { id: of, event: Event::Reply(Reply::Error(error)) } if of == id => {
                    session.link.queue_abort(id);
                    return Ok(if is_unknown_upload(error.code) {
                        ResumeReply::Unknown
                    } else {
                        ResumeReply::Refused(error)
                    });
                }
                other => self.take_reply(session, other)?,
            }
        }
    }

    /// Declines to resume what the server kept. The next reply belongs to the request `id`: its `Ready` has arrived, and
    /// with it the replies to all earlier requests.
    fn decline_resume(&mut self, session: &mut Session, id: u32, upload_id: UploadId) -> Result<(), LinkError> {
        session.link.queue_abort(id);
        self.useless.push(upload_id);
        session.link.receive().map(|_| ())
    }

    /// Starts the current upload at its first byte. With a `key` it can be resumed later. The record is written
    /// first: an upload without a record would be lost, while a record without an upload costs one request.
    fn begin_at_first_byte(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        source: &UploadSource,
        key: Option<String>,
    ) -> Result<(), LinkError> {
        let record = key.and_then(|key| {
            let mut random = [0; 16];
            getrandom::fill(&mut random).ok()?;
            let record = UploadRecord { upload_id: UploadId(random), source: source.stamp() };
            session.state.keep_upload(&key, &record).then_some((key, record.upload_id))
        });
        let upload_id = record.as_ref().map(|(_, upload_id)| *upload_id);
        let Some(current) = &self.current else { return Ok(()) };
        let id = session.link.request(&put_request(&current.job, source, upload_id, false))?;
        self.add_pending(session, progress, id, record, 0);
        Ok(())
    }

    /// Moves the current upload to the pending ones, with `offset` as its position.
    fn add_pending(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        id: u32,
        record: Option<(String, UploadId)>,
        offset: u64,
    ) {
        let Some(mut upload) = self.current.take() else { return };
        progress.take_back(upload.shown_bytes.saturating_sub(offset));
        progress.skip(offset.saturating_sub(upload.shown_bytes));
        upload.shown_bytes = offset;
        session.note_resumed(progress.percent());
        // Only bytes beyond the earlier maximum count as progress.
        session.note_new_bytes(offset.saturating_sub(upload.kept_bytes));
        upload.kept_bytes = upload.kept_bytes.max(offset);
        let resumed_from = upload.resumed_from.map_or(offset, |first| first.min(offset));
        upload.resumed_from = Some(resumed_from);
        self.pending.push_back(PendingUpload { id, upload, record, resumed_from, sent: None });
    }
}

fn put_request(job: &TransferJob, source: &UploadSource, upload_id: Option<UploadId>, resume: bool) -> Request {
    let mode = job.modes.wanted(source.mode());
    Request::Put {
        path: (&job.remote).into(),
        size: Some(source.stamp().size),
        mtime_ns: Some(source.stamp().mtime_ns),
        mode: if job.replace { PutMode::Replace } else { PutMode::Create },
        if_etag: None,
        upload_id,
        resume,
        permissions: mode.map(|mode| mode.bits),
        set_permissions: mode.is_some_and(|mode| mode.applies_to_replaced_file),
    }
}

/// Returns whether the server's bytes are the first `offset` bytes of the file.
fn has_prefix(
    session: &mut Session,
    source: &mut UploadSource,
    offset: u64,
    kept: Digest,
    hashing: &Hashing,
) -> Result<bool, LinkError> {
    if offset > source.stamp().size {
        return Ok(false);
    }
    hashing.begin_local(source.path(), offset);
    let mut watch = |bytes| {
        hashing.set_done(bytes);
        session.link.keep_alive()
    };
    match source.hash_prefix(offset, &mut watch) {
        Ok(digest) => Ok(digest == kept && source.read_bytes() == offset),
        Err(Failure::Interrupted) => Err(LinkError::Interrupted),
        Err(_) => Ok(false),
    }
}

/// Returns the key of the upload record for one local file and one destination.
fn record_key(session: &Session, job: &TransferJob) -> String {
    let local = std::path::absolute(&job.local).unwrap_or_else(|_| job.local.clone());
    format!("{}\n{}\n{}", session.peer, job.remote, shown(&local))
}

fn resume_note(job: &TransferJob, offset: u64) -> String {
    match offset {
        0 => format!("{}: starting over, the server has no partial upload", job.remote),
        offset => format!("{}: resuming at {}", job.remote, Size(offset)),
    }
}

/// Returns whether an error response to a resume request means that the upload must start over.
fn is_unknown_upload(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotFound | ErrorCode::Changed | ErrorCode::Unsupported | ErrorCode::BadRequest)
}
