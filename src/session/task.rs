//! Work that takes many turns: listing a directory or partial uploads, hashing a file, making many
//! directories. A session has at most one such task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::SessionError;
use super::lent::Lent;
use super::range_hash::RangeHash;
use super::sliced::{Site, Sliced};
use crate::base::budget::Budget;
use crate::base::digest::{Digest, DigestAlgorithm};
use crate::base::memory::MEMORY_WAIT_STEP;
use crate::base::virtual_path::VirtualPath;
use crate::store::listing::{Listed, Listing, ListingStep, PAGE_BYTES_TARGET};
use crate::store::meta::Meta;
use crate::store::new_directories::NewDirectories;
use crate::store::staging::{PartialUpload, PartialUploadListing, PartialUploadPages, PartialUploadStep};
use crate::store::{OpenFile, Store, StoreError};

/// Entries in one page of a listing. The page also ends at `PAGE_BYTES_TARGET`.
pub const PAGE_ENTRIES_MAX: usize = 256;
/// A listing that gets no memory for this long is refused, so that its client can decide what to do.
const LISTING_WAIT_MAX: Duration = Duration::from_secs(10);

/// A task of a session.
pub enum Task {
    /// Listing a directory.
    List(Box<DirectoryList>),
    /// Hashing a whole file.
    Digest(Box<FileHash>),
    /// Making a directory and its parents.
    Directories(Box<DirectoryMaking>),
    /// Listing partial uploads.
    PartialUploads(Box<PartialUploadList>),
}

/// The result of a step of a task.
#[derive(Debug)]
pub enum TaskStep {
    /// The budget is spent.
    Later,
    /// Nothing was done: a worker continues the task, another change of the home is running, or no memory is
    /// available and a timer is set.
    Waits,
    /// Entries of a listing, and whether they are the last.
    Page(Vec<Listed>, bool),
    /// The digest and size of a file.
    Digest(Digest, u64),
    /// The directories exist.
    DirectoriesMade,
    /// Partial uploads, and whether they are the last.
    PartialUploads(Vec<PartialUpload>, bool),
}

impl Task {
    /// Returns when it continues by timer.
    pub fn wakes_at(&self) -> Option<Instant> {
        match self {
            Self::List(list) => list.wait.wakes_at,
            Self::PartialUploads(list) => list.wait.wakes_at,
            Self::Digest(_) | Self::Directories(_) => None,
        }
    }

    /// Returns whether a worker continues it.
    pub fn awaits_storage(&self) -> bool {
        match self {
            Self::List(list) => list.work.awaits_storage(),
            Self::Digest(hash) => hash.reading.awaits_storage(),
            Self::Directories(directories) => directories.lent.is_away(),
            Self::PartialUploads(list) => list.reading.awaits_storage(),
        }
    }

    /// Continues within `budget`.
    pub(super) fn run(
        &mut self,
        site: Site<'_>,
        store: &mut Store,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<TaskStep, SessionError> {
        match self {
            Self::List(list) => list.next_page(site, budget, now),
            Self::Digest(hash) => Ok(match hash.advance(site, store, budget)? {
                Some((digest, size)) => TaskStep::Digest(digest, size),
                None if hash.reading.awaits_storage() => TaskStep::Waits,
                None => TaskStep::Later,
            }),
            Self::Directories(directories) => directories.advance(site, budget),
            Self::PartialUploads(list) => list.next_page(site, budget, now),
        }
    }
}

/// Directories that are being made, step by step.
pub struct DirectoryMaking {
    lent: Lent<NewDirectories>,
    /// The requested path, for the log.
    pub(super) path: VirtualPath,
}

impl DirectoryMaking {
    /// Makes the task of these directories.
    pub fn new(directories: NewDirectories) -> Self {
        Self { path: directories.path().clone(), lent: Lent::Here(directories) }
    }

    fn advance(&mut self, site: Site<'_>, budget: &mut Budget) -> Result<TaskStep, SessionError> {
        loop {
            let Some(cost) = self.lent.take_result()? else { return Ok(TaskStep::Waits) };
            budget.spend(cost);
            if self.lent.get().is_some_and(NewDirectories::is_complete) {
                return Ok(TaskStep::DirectoriesMade);
            }
            // A count, or another change, must finish first.
            if !site.home.settle(site.caller, budget)? {
                let is_changing = site.home.file_system().is_changing(site.caller);
                return Ok(if is_changing { TaskStep::Waits } else { TaskStep::Later });
            }
            if budget.is_spent() {
                return Ok(TaskStep::Later);
            }
            self.lent.lend(site, async |directories| directories.step().await);
        }
    }
}

/// A listing of a directory, page by page.
pub struct DirectoryList {
    work: Sliced<Pages, Result<Option<TaskStep>, StoreError>>,
    wait: MemoryWait,
}

/// A listing, and the entries of its next page.
struct Pages {
    listing: Listing,
    page: Vec<Listed>,
}

/// A listing of partial uploads, page by page.
pub struct PartialUploadList {
    reading: Sliced<PartialUploadListing, Result<PartialUploadStep, StoreError>>,
    /// All uploads, once read.
    pages: Option<PartialUploadPages>,
    wait: MemoryWait,
}

/// How a listing waits for memory.
#[derive(Default)]
struct MemoryWait {
    /// The end of the wait, set when memory was first missing.
    until: Option<Instant>,
    /// When it tries again.
    wakes_at: Option<Instant>,
}

impl MemoryWait {
    /// Returns whether it is too early to try again.
    fn lasts(&mut self, now: Instant) -> bool {
        self.wakes_at = self.wakes_at.filter(|at| *at > now);
        self.wakes_at.is_some()
    }

    /// Waits for memory. An error if it has waited for too long.
    fn begin(&mut self, now: Instant) -> Result<TaskStep, SessionError> {
        if now >= *self.until.get_or_insert(now + LISTING_WAIT_MAX) {
            return Err(SessionError::Busy);
        }
        self.wakes_at = Some(now + MEMORY_WAIT_STEP);
        Ok(TaskStep::Waits)
    }
}

impl PartialUploadList {
    /// Divides the uploads that `listing` finds into pages.
    pub fn new(listing: PartialUploadListing) -> Self {
        Self { reading: Sliced::Here(listing), pages: None, wait: MemoryWait::default() }
    }

    fn next_page(&mut self, site: Site<'_>, budget: &mut Budget, now: Instant) -> Result<TaskStep, SessionError> {
        if self.wait.lasts(now) {
            return Ok(TaskStep::Waits);
        }
        let pages = match &mut self.pages {
            Some(pages) => pages,
            None => {
                let is_unfinished = |step: &Result<_, _>| matches!(step, Ok(PartialUploadStep::Later));
                let step = self.reading.advance(site, budget, PartialUploadListing::read, is_unfinished)?;
                match step.transpose()? {
                    None => return Ok(TaskStep::Waits),
                    Some(PartialUploadStep::Later) => return Ok(TaskStep::Later),
                    Some(PartialUploadStep::NoRoom) => return self.wait.begin(now),
                    Some(PartialUploadStep::End) => {}
                }
                let listing = self.reading.take().ok_or(SessionError::Defect)?;
                self.pages.insert(listing.pages(site.home))
            }
        };
        let (page, is_last) = pages.next_page();
        Ok(TaskStep::PartialUploads(page, is_last))
    }
}

impl DirectoryList {
    /// Divides the entries that `listing` finds into pages.
    pub fn new(listing: Listing) -> Self {
        Self { work: Sliced::Here(Pages { listing, page: Vec::new() }), wait: MemoryWait::default() }
    }

    fn next_page(&mut self, site: Site<'_>, budget: &mut Budget, now: Instant) -> Result<TaskStep, SessionError> {
        if self.wait.lasts(now) {
            return Ok(TaskStep::Waits);
        }
        let fill = |pages: &mut Pages, budget: &mut Budget| fill_page(&mut pages.listing, &mut pages.page, budget);
        let step = self.work.advance(site, budget, fill, |step| matches!(step, Ok(Some(TaskStep::Later))))?;
        match step.transpose()? {
            None => Ok(TaskStep::Waits),
            Some(Some(step)) => Ok(step),
            Some(None) => self.wait.begin(now),
        }
    }
}

/// Reads entries into `page` until it is full or the budget is spent. Returns `None` if no memory is
/// available.
fn fill_page(
    listing: &mut Listing,
    page: &mut Vec<Listed>,
    budget: &mut Budget,
) -> Result<Option<TaskStep>, StoreError> {
    loop {
        match listing.next(budget)? {
            ListingStep::Entry(entry) => page.push(entry),
            ListingStep::Later => return Ok(Some(TaskStep::Later)),
            ListingStep::NoRoom => return Ok(None),
            ListingStep::End => return Ok(Some(TaskStep::Page(std::mem::take(page), true))),
        }
        let bytes: usize = page.iter().map(|entry| entry.name.len() + entry.target.as_ref().map_or(0, Vec::len)).sum();
        if page.len() >= PAGE_ENTRIES_MAX || bytes >= PAGE_BYTES_TARGET {
            return Ok(Some(TaskStep::Page(std::mem::take(page), false)));
        }
    }
}

/// A running digest of an open file, read from its beginning.
pub struct FileHash {
    file: OpenFile,
    meta: Meta,
    algorithm: DigestAlgorithm,
    reading: RangeHash,
    /// The digest of the first reading, if the file must be read once more: its times or size changed while it
    /// was read. If it was only touched or appended to, its first bytes are the same.
    first_digest: Option<Digest>,
}

impl FileHash {
    /// Begins to hash `file`.
    pub fn new(file: OpenFile, meta: Meta, algorithm: DigestAlgorithm) -> Self {
        let reading = RangeHash::of_first(meta.size, Arc::clone(file.shared()), algorithm);
        Self { file, meta, algorithm, reading, first_digest: None }
    }

    /// Continues. Returns the digest and size once the file is hashed.
    fn advance(
        &mut self,
        site: Site<'_>,
        store: &mut Store,
        budget: &mut Budget,
    ) -> Result<Option<(Digest, u64)>, SessionError> {
        if let Some(digest) = store.digests.get(&self.meta.identity, self.algorithm) {
            return Ok(Some((digest, self.meta.size)));
        }
        let Some((hash, now)) = self.reading.advance(site, budget)? else { return Ok(None) };
        let (digest, then) = (hash.digest(), self.meta.identity);
        match self.first_digest {
            Some(first) if first != digest => return Err(SessionError::Changed),
            None if now.identity == then => store.digests.insert(then, digest, store.clock.now_ns()),
            None if !now.identity.has_content_of(&then) => {
                self.first_digest = Some(digest);
                self.reading = RangeHash::of_first(then.size, Arc::clone(self.file.shared()), self.algorithm);
                return Ok(None);
            }
            _ => {}
        }
        Ok(Some((digest, then.size)))
    }
}
