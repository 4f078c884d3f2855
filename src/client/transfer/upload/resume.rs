//! Uploads whose connection was lost. A file that the server has completely counts as sent, even if the server
//! refuses it because it exists. Everything else is sent again.

use std::collections::VecDeque;

use super::{PendingUpload, QueuedUpload, Uploader};
use crate::base::digest::DigestAlgorithm;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::UploadSource;
use crate::client::files::times::{TimeMatch, compare_times};
use crate::client::transfer::job::{TransferJob, Transferred};
use crate::client::ui::hashing::Hashing;
use crate::wire::message::End;
use crate::wire::{Reply, Request};

impl Uploader {
    /// Queues the pending uploads again, except those that the server has completely.
    pub(super) fn queue_pending_again(&mut self, session: &mut Session) -> Result<(), Failure> {
        let (mut unsure, mut again) = (Vec::new(), VecDeque::new());
        for PendingUpload { upload, record, sent, .. } in self.pending.drain(..) {
            match sent {
                Some(Err(failure)) => self.results.push((upload.job, Err(failure))),
                Some(Ok(end)) => unsure.push((upload, record, end)),
                None => again.push_back(QueuedUpload { is_begun: true, ..upload }),
            }
        }
        again.extend(self.current.take());
        let asked: Vec<(&TransferJob, End)> = unsure.iter().map(|(upload, _, end)| (&upload.job, *end)).collect();
        // The overall progress is reported when the transfer resumes, not here.
        let was_lost = std::mem::take(&mut session.was_lost);
        // If the server does not answer, every upload remains uncertain.
        let (stored, asked) = match session.check_after_loss(|session| find_stored(session, &asked)) {
            Ok(stored) => (stored, Ok(())),
            Err(failure) => (vec![false; asked.len()], Err(failure)),
        };
        if stored.contains(&true) {
            session.note_progress();
        }
        session.was_lost |= was_lost;
        for ((upload, record, end), is_stored) in unsure.into_iter().zip(stored).rev() {
            if is_stored {
                if let Some((key, _)) = record {
                    session.state.remove_upload(&key);
                }
                let transferred = Transferred { resumed_from: upload.resumed_from.unwrap_or(0), ..end.into() };
                self.results.push((upload.job, Ok(transferred)));
            } else {
                again.push_front(QueuedUpload { sent_before: Some(end), ..upload });
            }
        }
        again.append(&mut self.unsent);
        self.unsent = again;
        asked
    }

    /// Returns the uploads that this connection will not finish, for another connection.
    pub(super) fn unfinished(&mut self) -> Vec<QueuedUpload> {
        let pending = self.pending.drain(..).map(|PendingUpload { upload, sent, .. }| QueuedUpload {
            is_begun: true,
            sent_before: sent.and_then(Result::ok).or(upload.sent_before),
            ..upload
        });
        let doubtful = self.doubtful.drain(..).map(|(job, end, _)| QueuedUpload {
            shown_bytes: end.size,
            sent_before: Some(end),
            ..QueuedUpload::from(job)
        });
        pending.chain(doubtful).chain(self.current.take()).chain(self.unsent.drain(..)).collect()
    }

    /// Checks uploads that were refused because the destination exists. If the existing file is the one that
    /// was sent before, the upload counts as stored.
    pub(super) fn check_doubtful(&mut self, session: &mut Session) -> Result<(), Failure> {
        let asked: Vec<(&TransferJob, End)> = self.doubtful.iter().map(|(job, end, _)| (job, *end)).collect();
        let stored = find_stored(session, &asked)?;
        for ((job, end, failure), is_stored) in self.doubtful.drain(..).zip(stored) {
            self.results.push((job, if is_stored { Ok(end.into()) } else { Err(failure) }));
        }
        Ok(())
    }
}

/// Returns which of the `uploads` the server has stored. All of them were sent completely, but not answered. An
/// upload that replaces a file counts as stored only if the modification time matches too, because the old file
/// may have had the same content.
fn find_stored(session: &mut Session, uploads: &[(&TransferJob, End)]) -> Result<Vec<bool>, Failure> {
    let mut requests = Vec::with_capacity(uploads.len() * 2);
    for (job, _) in uploads {
        requests.push(Request::Stat { path: (&job.remote).into() });
        requests.push(Request::Digest { path: (&job.remote).into(), algorithm: DigestAlgorithm::OF_TRANSFERS });
    }
    let hashing = uploads.first().map(|(job, _)| Hashing::for_remote(session.progress, &job.remote));
    if let Some(hashing) = &hashing {
        session.link.set_on_wait(hashing.ticker());
    }
    let mut replies = Vec::with_capacity(requests.len());
    session.call_each(&requests, |_, _, result| replies.push(result.ok()))?;
    Ok(uploads.iter().zip(replies.chunks(2)).map(|((job, end), replies)| is_stored(job, *end, replies)).collect())
}

/// Returns whether the stored time can be the time of the source.
fn may_be_same_time(source_ns: i64, stored_ns: i64) -> bool {
    matches!(compare_times(source_ns, stored_ns), TimeMatch::Same | TimeMatch::Near)
}

fn is_stored(job: &TransferJob, end: End, replies: &[Option<Reply>]) -> bool {
    let [Some(Reply::Stat { entry, .. }), Some(Reply::Digest { digest, .. })] = replies else { return false };
    let is_its_time =
        || UploadSource::open(&job.local).is_ok_and(|source| may_be_same_time(source.stamp().mtime_ns, entry.mtime_ns));
    entry.size == end.size && *digest == end.digest && (!job.replace || is_its_time())
}
