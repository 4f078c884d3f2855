//! The partial uploads of a home: which are interrupted, and how many running ones have a record.
//!
//! A home keeps at most [`PARTIALS_PER_HOME_MAX`] interrupted uploads. When one more is interrupted,
//! the one with the oldest write is dropped. At most the same number of running uploads have a record, with
//! which they survive a crash of the server; the others get a record when they are interrupted.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Dir;

use super::directory::{StagedUpload, part_meta, staged_names, staged_upload};
use super::record::{PartialUpload, Record};
use crate::base::budget::{Budget, ENTRY_COST};
use crate::base::memory::Charge;
use crate::base::upload_id::UploadId;
use crate::store::StoreError;
use crate::store::home::{Home, HomeDirectory};
use crate::store::listing::PAGE_BYTES_TARGET;
use crate::store::names::RECORD_SUFFIX;
use crate::store::staging::PARTIALS_PER_HOME_MAX;

/// Cost of reading the record of a partial upload: open, read, parse and close a small file.
const RECORD_COST: u64 = 32 * 1024;

impl Home {
    /// Records that the upload `id`, whose part has this change time, was interrupted. Above the maximum, drops
    /// the oldest.
    pub(super) async fn record_interrupted(&self, id: UploadId, ctime_ns: i64) {
        self.partials.forget(&id);
        if let Some(interrupted) = &mut *self.partials.interrupted.borrow_mut() {
            interrupted.push((ctime_ns, id));
        }
        self.drop_surplus().await;
    }

    async fn drop_surplus(&self) {
        let found = self.partials.interrupted.borrow_mut().take();
        let mut interrupted = match found {
            Some(interrupted) => interrupted,
            None => match self.find_interrupted().await {
                Ok(interrupted) => interrupted,
                // The next interruption tries again.
                Err(_) => return,
            },
        };
        interrupted.sort_unstable_by_key(|&(ctime_ns, id)| (ctime_ns, id.0));
        let surplus = interrupted.len().saturating_sub(PARTIALS_PER_HOME_MAX);
        let oldest: Vec<_> = interrupted.drain(..surplus).collect();
        *self.partials.interrupted.borrow_mut() = Some(interrupted);
        for (_, id) in oldest {
            if let Err(error) = self.drop_partial(id).await {
                log::warn!("an interrupted upload cannot be dropped to make room for a newer one: {error}");
            }
        }
    }

    async fn find_interrupted(&self) -> Result<Vec<(i64, UploadId)>, StoreError> {
        let found = self.run(HomeDirectory::recorded).await?;
        let interrupted = found.into_iter().filter(|(_, id)| !self.claims.is_running(id));
        Ok(interrupted.collect())
    }
}

impl HomeDirectory {
    /// Returns the uploads with a record and a part, with the change times of their parts.
    fn recorded(&self) -> Result<Vec<(i64, UploadId)>, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(Vec::new()) };
        let names = staged_names(&staging)?;
        let recorded = names.iter().filter(|(_, suffix)| *suffix == RECORD_SUFFIX);
        Ok(recorded.filter_map(|&(id, _)| Some((part_meta(&staging, &id)?.identity.ctime_ns, id))).collect())
    }
}

/// Reads the partial uploads of a home that have a record, in slices, which also a worker can run.
pub struct PartialUploadListing {
    staging: Option<Arc<OwnedFd>>,
    /// The entries of the staging directory, until all are read.
    names: Option<Dir>,
    /// The uploads whose records are still to be read.
    recorded: Vec<UploadId>,
    found: Vec<StagedUpload>,
    /// The charge for `found`.
    charge: Charge,
}

/// The result of [`PartialUploadListing::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartialUploadStep {
    /// All are read.
    End,
    /// The budget is spent.
    Later,
    /// No memory is available for the next one.
    NoRoom,
}

impl PartialUploadListing {
    /// Begins to read those of `home`. Their memory is charged to `charge`.
    pub fn begin(home: &HomeDirectory, charge: Charge) -> Result<Self, StoreError> {
        let staging = home.staging(false)?;
        let names = staging.as_ref().map(Dir::read_from).transpose()?;
        Ok(Self { staging, names, recorded: Vec::new(), found: Vec::new(), charge })
    }

    /// Continues within `budget`.
    pub fn read(&mut self, budget: &mut Budget) -> Result<PartialUploadStep, StoreError> {
        while let Some(names) = &mut self.names {
            if budget.is_spent() {
                return Ok(PartialUploadStep::Later);
            }
            budget.spend(ENTRY_COST);
            match names.read() {
                None => self.names = None,
                Some(entry) => self.recorded.extend(recorded_id(entry?.file_name().to_bytes())),
            }
        }
        while let (Some(id), Some(staging)) = (self.recorded.pop(), &self.staging) {
            if budget.is_spent() {
                self.recorded.push(id);
                return Ok(PartialUploadStep::Later);
            }
            budget.spend(RECORD_COST);
            let Some(upload) = staged_upload(staging, id) else { continue };
            if !self.charge.resize(self.charge.bytes() + held_bytes(&upload)) {
                self.recorded.push(id);
                // A listing that kept its memory could wait for another one that waits for it.
                self.recorded.extend(self.found.drain(..).map(|upload| upload.id));
                self.charge.resize(0);
                return Ok(PartialUploadStep::NoRoom);
            }
            self.found.push(upload);
        }
        Ok(PartialUploadStep::End)
    }

    /// Returns the uploads that were read, as pages.
    pub fn pages(self, home: &Home) -> PartialUploadPages {
        let mut uploads = home.with_expiry(self.found);
        uploads.retain(|upload| home.is_listed(upload));
        uploads.reverse();
        PartialUploadPages { uploads, _charge: self.charge }
    }
}

/// Pages of partial uploads, those that expire first on the first page.
pub struct PartialUploadPages {
    /// The next one is last.
    uploads: Vec<PartialUpload>,
    _charge: Charge,
}

impl PartialUploadPages {
    /// Returns the next page, and whether it is the last.
    pub fn next_page(&mut self) -> (Vec<PartialUpload>, bool) {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some(upload) =
            self.uploads.pop_if(|next| page.is_empty() || bytes + path_bytes(&next.record) <= PAGE_BYTES_TARGET)
        {
            bytes += path_bytes(&upload.record);
            page.push(upload);
        }
        (page, self.uploads.is_empty())
    }
}

fn recorded_id(name: &[u8]) -> Option<UploadId> {
    std::str::from_utf8(name).ok()?.strip_suffix(RECORD_SUFFIX)?.parse().ok()
}

fn held_bytes(upload: &StagedUpload) -> usize {
    size_of::<StagedUpload>().max(size_of::<PartialUpload>()) + path_bytes(&upload.record)
}

fn path_bytes(record: &Record) -> usize {
    record.path.len()
}

impl Home {
    /// Returns whether a listing shows `upload`: an expired one only while it is running.
    pub(in crate::store) fn is_listed(&self, upload: &PartialUpload) -> bool {
        !self.has_expired(upload.expires_ns, self.clock.now_ns()) || self.claims.is_running(&upload.id)
    }
}
