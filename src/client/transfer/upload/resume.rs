//! Uploads after their connection was lost: what the server has whole counts as moved, what it
//! refuses because that is there too, and the rest is sent again.

use std::collections::VecDeque;

use super::{Pending, Stored, Unsent, UploadJob, Uploader};
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::Source;
use crate::client::mirror::times::{TimeMatch, compare_times};
use crate::client::ui::hashing::Hashing;
use crate::wire::message::{End, PutMode};
use crate::wire::{Reply, Request};

impl Uploader {
    /// What was under way is sent again, but for what the server has whole.
    pub(super) fn take_up_again(&mut self, session: &mut Session) -> Result<(), Failure> {
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
        let (stored, asked) = match session.look_back(|session| which_are_stored(session, &asked)) {
            Ok(stored) => (stored, Ok(())),
            Err(failure) => (vec![false; asked.len()], Err(failure)),
        };
        if stored.contains(&true) {
            session.gets_on();
        }
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
    pub(super) fn unfinished(&mut self) -> Vec<Unsent> {
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
    pub(super) fn settle_doubtful(&mut self, session: &mut Session) -> Result<(), Failure> {
        let asked: Vec<(&UploadJob, End)> = self.doubtful.iter().map(|(job, end, _)| (job, *end)).collect();
        let stored = which_are_stored(session, &asked)?;
        for ((job, end, failure), is_stored) in self.doubtful.drain(..).zip(stored) {
            self.verdicts.push_back((job, if is_stored { Ok(end.into()) } else { Err(failure) }));
        }
        Ok(())
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
    let hashing = uploads.first().map(|(job, _)| Hashing::of_remote(session.progress, &job.remote));
    if let Some(hashing) = &hashing {
        session.link.set_on_wait(hashing.ticker());
    }
    let mut replies = Vec::with_capacity(requests.len());
    session.call_each(&requests, |_, _, result| replies.push(result.ok()))?;
    Ok(uploads.iter().zip(replies.chunks(2)).map(|((job, end), replies)| is_stored(job, *end, replies)).collect())
}

/// Whether a file can have got the time of its source.
fn is_like(source_ns: i64, stored_ns: i64) -> bool {
    matches!(compare_times(source_ns, stored_ns), TimeMatch::Same | TimeMatch::Near)
}

fn is_stored(job: &UploadJob, end: End, replies: &[Option<Reply>]) -> bool {
    let [Some(Reply::Stat { entry, .. }), Some(Reply::Sha256 { sha256, .. })] = replies else { return false };
    let is_its_time = || Source::open(&job.local).is_ok_and(|source| is_like(source.mark().mtime_ns, entry.mtime_ns));
    entry.size == end.size && *sha256 == end.sha256 && (job.mode == PutMode::Create || is_its_time())
}
