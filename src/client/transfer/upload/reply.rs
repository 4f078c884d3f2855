//! Replies to uploads. They arrive in the order of the uploads.

use super::{PendingUpload, QUEUED_BYTES_MAX, QueuedUpload, Uploader};
use crate::base::explanation::Explanation;
use crate::base::upload_id::RESUME_BYTES_MIN;
use crate::client::connection::incoming::{Event, Incoming};
use crate::client::connection::session::Session;
use crate::client::error::{Failure, LinkError};
use crate::client::transfer::job::{TransferJob, Transferred};
use crate::client::ui::progress::{Progress, note_dropped};
use crate::wire::Reply;
use crate::wire::message::{End, ErrorCode, ErrorReply};

/// How often a client resumes an upload that another session has taken over. Once, data of an earlier, interrupted run
/// may reach the server late. With a limit, two running clients do not take the upload from each other for ever.
pub(super) const RECLAIMS_MAX: u32 = 3;

impl Uploader {
    /// Sends queued bytes and takes the responses that have arrived. Does not wait for a response.
    pub(super) fn take_replies_while_sending(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
    ) -> Result<(), LinkError> {
        while let Some(incoming) = session.link.drain(QUEUED_BYTES_MAX)? {
            self.take_reply(session, incoming)?;
            self.results.show(progress);
        }
        Ok(())
    }

    pub(super) fn wait_for_reply(&mut self, session: &mut Session) -> Result<(), LinkError> {
        let incoming = session.link.receive()?;
        self.take_reply(session, incoming)
    }

    /// Turns the response to the oldest upload into its result.
    pub(super) fn take_reply(&mut self, session: &mut Session, incoming: Incoming) -> Result<(), LinkError> {
        let reply = match incoming.event {
            Event::Reply(reply @ (Reply::Stored { .. } | Reply::Error(_))) => reply,
            _ => return Err(LinkError::Protocol("an unexpected reply to an upload".into())),
        };
        if self.pending.front().is_none_or(|pending| pending.id != incoming.id) {
            return Err(LinkError::Protocol("a reply without an upload".into()));
        }
        let Some(PendingUpload { upload, record, resumed_from, sent, .. }) = self.pending.pop_front() else {
            return Ok(());
        };
        session.note_progress();
        let end = sent.as_ref().and_then(|sent| sent.as_ref().ok().copied());
        let result = match (reply, sent) {
            (_, Some(Err(failure))) => Err(failure),
            (Reply::Stored { size, digest }, Some(Ok(end))) if end == (End { size, digest }) => {
                Ok(Transferred { size, digest, resumed_from })
            }
            (Reply::Error(error), _) => Err(Failure::Refused(error)),
            (_, _) => Err(Failure::Verification(Explanation::new(
                format!("{}: the stored content differs from the sent content", upload.job.remote),
                "run put -f again",
            ))),
        };
        let is_superseded = matches!(&result, Err(failure) if failure.is_refusal(ErrorCode::Superseded));
        if is_superseded && upload.reclaims < RECLAIMS_MAX {
            let (reclaims, sent_before) = (upload.reclaims + 1, end.or(upload.sent_before));
            self.unsent.push_front(QueuedUpload { is_begun: true, reclaims, sent_before, ..upload });
            return Ok(());
        }
        if matches!(&result, Err(Failure::Refused(error)) if !may_resume(error)) {
            note_dropped(upload.shown_bytes);
        }
        if let Some((key, upload_id)) = record
            && !matches!(&result, Err(Failure::Refused(error)) if may_resume(error))
        {
            session.state.remove_upload(&key);
            if is_useless(&result, upload.shown_bytes) {
                self.useless.push(upload_id);
            }
        }
        self.record_result(upload.job, upload.sent_before, result);
        Ok(())
    }

    /// Records the result. If the destination exists and may be the file that was sent before, the result
    /// stays open.
    pub(super) fn record_result(
        &mut self,
        job: TransferJob,
        sent_before: Option<End>,
        result: Result<Transferred, Failure>,
    ) {
        match (result, sent_before) {
            (Err(failure), Some(end)) if failure.is_refusal(ErrorCode::Exists) => {
                self.doubtful.push((job, end, failure))
            }
            (result, _) => self.results.push((job, result)),
        }
    }
}

/// Returns whether the server may keep part of an upload that no run will resume.
fn is_useless(result: &Result<Transferred, Failure>, sent_bytes: u64) -> bool {
    match result {
        Err(Failure::Local(_) | Failure::LocalDenied(_) | Failure::LocalFull(_)) => true,
        // Another session owns it.
        Err(Failure::Refused(error)) => error.code != ErrorCode::Superseded && sent_bytes >= RESUME_BYTES_MIN,
        _ => false,
    }
}

/// Returns whether a later attempt may resume the same upload.
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
