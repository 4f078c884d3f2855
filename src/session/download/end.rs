//! The end of a download: the file is compared with what was sent.

use std::sync::Arc;
use std::task::Poll;

use super::write_detection::{EndCheck, WriteDetection};
use super::{Download, Fetched};
use crate::base::budget::Budget;
use crate::session::error::SessionError;
use crate::session::range_hash::RangeHash;
use crate::session::sliced::Site;
use crate::store::meta::meta_of;
use crate::store::workers::operations::Operation;
use crate::store::{Store, StoreError};

/// An end check that a worker makes.
pub(super) type RunningEndCheck = Operation<Result<Result<EndCheck, StoreError>, SessionError>>;

impl Download {
    /// Ends the download with the digest, or refuses with `Changed` if the sent bytes may be a mixture of
    /// versions. The file may have been replaced, renamed, touched or appended to since.
    pub(super) fn end(
        &mut self,
        site: Site<'_>,
        store: &mut Store,
        budget: &mut Budget,
    ) -> Result<Fetched, SessionError> {
        let Some(check) = self.check_end(site)? else { return Ok(Fetched::Waits) };
        let (now, then) = (check.identity, self.meta.identity);
        let digest = match (self.cached_digest, &self.hash) {
            (None, Some(hash)) if self.plan.hash => Some(hash.digest()),
            (known, _) => known,
        };
        if now.size < then.size {
            return Err(SessionError::Changed);
        }
        if !now.has_content_of(&then) {
            match digest {
                Some(digest) => {
                    let first = || RangeHash::of_first(then.size, Arc::clone(self.file.shared()), digest.algorithm());
                    let reading = self.second_reading.get_or_insert_with(first);
                    match reading.advance(site, budget)? {
                        None if reading.awaits_storage() => return Ok(Fetched::Waits),
                        None => return Ok(Fetched::Later),
                        Some((hash, _)) if hash.digest() != digest => return Err(SessionError::Changed),
                        Some(_) => {}
                    }
                }
                None if self.was_rewritten(&check) => return Err(SessionError::Changed),
                None => {}
            }
        }
        if let Some(digest) = digest.filter(|_| now == then) {
            store.digests.insert(now, digest, store.clock.now_ns());
        }
        Ok(Fetched::End(self.meta.size, digest))
    }

    /// Looks at the file after its last byte was read. `None`: a worker does that.
    fn check_end(&mut self, site: Site<'_>) -> Result<Option<EndCheck>, SessionError> {
        if self.end.is_some() {
            return Ok(self.end);
        }
        let mut checking = self.end_check.take().unwrap_or_else(|| self.begin_end_check(site));
        self.end = match checking.take() {
            Poll::Pending => {
                self.end_check = Some(checking);
                None
            }
            Poll::Ready(checked) => Some(checked.unwrap_or(Err(SessionError::Defect))??),
        };
        Ok(self.end)
    }

    fn begin_end_check(&self, site: Site<'_>) -> RunningEndCheck {
        let samples =
            if let WriteDetection::Watched(_, samples) = &self.write_detection { samples.clone() } else { Vec::new() };
        let (file, then) = (Arc::clone(self.file.shared()), self.meta.identity);
        site.begin(move || {
            let identity = meta_of(&*file)?.identity;
            let is_as_sent = identity.has_content_of(&then) || samples.iter().all(|sample| sample.is_in(&file));
            Ok(EndCheck { identity, is_as_sent })
        })
    }
}
