//! The partial uploads of a home: which are interrupted, and how many running ones have a record.
//!
//! A home keeps at most [`PARTIALS_PER_HOME_MAX`] interrupted uploads. When one more is interrupted,
//! the one with the oldest write is dropped. At most the same number of running uploads have a record, with
//! which they survive a crash of the server; the others get a record when they are interrupted.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::Dir;

use super::directory::{part_meta, staged_names, staged_upload};
use super::record::PartialUpload;
use crate::base::budget::{Budget, ENTRY_COST};
use crate::base::memory::Charge;
use crate::base::upload_id::UploadId;
use crate::store::StoreError;
use crate::store::home::Home;
use crate::store::listing::PAGE_BYTES_TARGET;
use crate::store::names::RECORD_SUFFIX;
use crate::store::staging::PARTIALS_PER_HOME_MAX;

/// Cost of reading the record of a partial upload: open, read, parse and close a small file.
const RECORD_COST: u64 = 32 * 1024;

impl Home {
    /// Records that the upload `id`, whose part has this change time, was interrupted. Above the maximum, drops
    /// the oldest.
    pub(super) fn record_interrupted(&self, id: UploadId, ctime_ns: i64) {
        self.partials.forget(&id);
        if let Some(interrupted) = &mut *self.partials.interrupted.borrow_mut() {
            interrupted.push((ctime_ns, id));
        }
        self.drop_surplus();
    }

    fn drop_surplus(&self) {
        let found = self.partials.interrupted.borrow_mut().take();
        let mut interrupted = found.unwrap_or_else(|| self.find_interrupted().unwrap_or_default());
        interrupted.sort_unstable_by_key(|&(ctime_ns, id)| (ctime_ns, id.0));
        let surplus = interrupted.len().saturating_sub(PARTIALS_PER_HOME_MAX);
        let oldest: Vec<_> = interrupted.drain(..surplus).collect();
        *self.partials.interrupted.borrow_mut() = Some(interrupted);
        for (_, id) in oldest {
            if let Err(error) = self.drop_partial_upload(&id) {
                log::warn!("an interrupted upload cannot be dropped to make room for a newer one: {error}");
            }
        }
    }

    fn find_interrupted(&self) -> Result<Vec<(i64, UploadId)>, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(Vec::new()) };
        let names = staged_names(&staging)?;
        let recorded = names.iter().filter(|(id, suffix)| *suffix == RECORD_SUFFIX && !self.claims.is_running(id));
        let found = recorded.filter_map(|&(id, _)| Some((part_meta(&staging, &id)?.identity.ctime_ns, id)));
        Ok(found.collect())
    }
}

/// Lists the partial uploads that have a record, in slices, oldest first.
pub struct PartialUploadListing {
    home: Rc<Home>,
    staging: Option<Arc<OwnedFd>>,
    names: Option<Dir>,
    recorded: Vec<UploadId>,
    /// All uploads, once read; the next one is last.
    found: Vec<PartialUpload>,
    is_sorted: bool,
    /// The charge for `found`.
    charge: Charge,
}

/// The result of [`PartialUploadListing::next`].
pub enum PartialUploadPage {
    /// Some uploads, and whether they are the last.
    Page(Vec<PartialUpload>, bool),
    /// The budget is spent.
    Later,
    /// No memory is available for the next one.
    NoRoom,
}

impl PartialUploadListing {
    /// Lists those of `home`. Their memory is charged to `charge`.
    pub fn begin(home: Rc<Home>, charge: Charge) -> Result<Self, StoreError> {
        let staging = home.staging(false)?;
        let names = staging.as_ref().map(Dir::read_from).transpose()?;
        Ok(Self { home, staging, names, recorded: Vec::new(), found: Vec::new(), is_sorted: false, charge })
    }

    /// Returns the next page.
    pub fn next(&mut self, budget: &mut Budget) -> Result<PartialUploadPage, StoreError> {
        if !self.read_names(budget)? {
            return Ok(PartialUploadPage::Later);
        }
        if let Some(obstacle) = self.read_records(budget) {
            return Ok(obstacle);
        }
        if !self.is_sorted {
            self.is_sorted = true;
            self.found.sort_by_key(|upload| std::cmp::Reverse(upload.expires_ns));
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some(upload) =
            self.found.pop_if(|next| page.is_empty() || bytes + path_bytes(next) <= PAGE_BYTES_TARGET)
        {
            bytes += path_bytes(&upload);
            page.push(upload);
        }
        self.charge.resize(self.found.iter().map(held_bytes).sum());
        Ok(PartialUploadPage::Page(page, self.found.is_empty()))
    }

    fn read_names(&mut self, budget: &mut Budget) -> Result<bool, StoreError> {
        while let Some(names) = &mut self.names {
            if budget.is_spent() {
                return Ok(false);
            }
            budget.spend(ENTRY_COST);
            match names.read() {
                None => self.names = None,
                Some(entry) => self.recorded.extend(recorded_id(entry?.file_name().to_bytes())),
            }
        }
        Ok(true)
    }

    /// Reads the records within `budget`. Returns `None` once all are read, otherwise why it stopped.
    fn read_records(&mut self, budget: &mut Budget) -> Option<PartialUploadPage> {
        while let (Some(id), Some(staging)) = (self.recorded.pop(), &self.staging) {
            if budget.is_spent() {
                self.recorded.push(id);
                return Some(PartialUploadPage::Later);
            }
            budget.spend(RECORD_COST);
            let staged = staged_upload(staging, id).into_iter().collect();
            let upload = self.home.with_expiry(staged).pop().filter(|upload| self.home.is_listed(upload));
            if let Some(upload) = &upload
                && !self.charge.resize(self.charge.bytes() + held_bytes(upload))
            {
                self.recorded.push(id);
                // A listing that kept its memory could wait for another one that waits for it.
                self.recorded.extend(self.found.drain(..).map(|upload| upload.id));
                self.charge.resize(0);
                return Some(PartialUploadPage::NoRoom);
            }
            self.found.extend(upload);
        }
        None
    }
}

fn recorded_id(name: &[u8]) -> Option<UploadId> {
    std::str::from_utf8(name).ok()?.strip_suffix(RECORD_SUFFIX)?.parse().ok()
}

fn held_bytes(upload: &PartialUpload) -> usize {
    size_of::<PartialUpload>() + path_bytes(upload)
}

fn path_bytes(upload: &PartialUpload) -> usize {
    upload.record.path.len()
}

impl Home {
    /// Returns whether a listing shows `upload`: an expired one only while it is running.
    pub(in crate::store) fn is_listed(&self, upload: &PartialUpload) -> bool {
        !self.has_expired(upload.expires_ns, self.clock.now_ns()) || self.claims.is_running(&upload.id)
    }
}
