//! Work that takes many turns: listing a directory or partial uploads, hashing a file, making many
//! directories. A session has at most one such task.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use sha2::{Digest as _, Sha256};

use super::error::SessionError;
use crate::base::budget::Budget;
use crate::base::buffers::PIECE_BYTES;
use crate::base::digest::Digest;
use crate::base::memory::MEMORY_WAIT_STEP;
use crate::store::listing::{Listed, Listing, ListingStep, PAGE_BYTES_TARGET};
use crate::store::meta::{Meta, meta_of};
use crate::store::new_directories::NewDirectories;
use crate::store::staging::{PartialUpload, PartialUploadListing, PartialUploadPage};
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
    Directories(Box<NewDirectories>),
    /// Listing partial uploads.
    PartialUploads(Box<PartialUploadList>),
}

/// The result of a step of a task.
#[derive(Debug)]
pub enum TaskStep {
    /// The budget is spent.
    Later,
    /// No memory is available; the task retries by timer.
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

    /// Continues within `budget`.
    pub fn run(&mut self, store: &mut Store, budget: &mut Budget, now: Instant) -> Result<TaskStep, SessionError> {
        match self {
            Self::List(list) => list.next_page(budget, now),
            Self::Digest(hash) => Ok(hash
                .advance(store, budget)?
                .map_or(TaskStep::Later, |(digest, size)| TaskStep::Digest(digest, size))),
            Self::Directories(directories) => {
                Ok(if directories.advance(budget)? { TaskStep::DirectoriesMade } else { TaskStep::Later })
            }
            Self::PartialUploads(list) => list.next_page(budget, now),
        }
    }
}

/// A listing of a directory, page by page.
pub struct DirectoryList {
    listing: Listing,
    page: Vec<Listed>,
    wait: MemoryWait,
}

/// A listing of partial uploads, page by page.
pub struct PartialUploadList {
    listing: PartialUploadListing,
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
        Self { listing, wait: MemoryWait::default() }
    }

    fn next_page(&mut self, budget: &mut Budget, now: Instant) -> Result<TaskStep, SessionError> {
        if self.wait.lasts(now) {
            return Ok(TaskStep::Waits);
        }
        match self.listing.next(budget)? {
            PartialUploadPage::Page(page, is_last) => Ok(TaskStep::PartialUploads(page, is_last)),
            PartialUploadPage::Later => Ok(TaskStep::Later),
            PartialUploadPage::NoRoom => self.wait.begin(now),
        }
    }
}

impl DirectoryList {
    /// Divides the entries that `listing` finds into pages.
    pub fn new(listing: Listing) -> Self {
        Self { listing, page: Vec::new(), wait: MemoryWait::default() }
    }

    fn next_page(&mut self, budget: &mut Budget, now: Instant) -> Result<TaskStep, SessionError> {
        if self.wait.lasts(now) {
            return Ok(TaskStep::Waits);
        }
        match fill_page(&mut self.listing, &mut self.page, budget)? {
            Some(step) => Ok(step),
            None => self.wait.begin(now),
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
    hash: Sha256,
    next: u64,
    second_reading: SecondReading,
}

impl FileHash {
    /// Begins to hash `file`.
    pub fn new(file: OpenFile, meta: Meta) -> Self {
        Self { file, meta, hash: Sha256::new(), next: 0, second_reading: SecondReading::default() }
    }

    /// Continues. Returns the digest and size once the file is hashed.
    fn advance(&mut self, store: &mut Store, budget: &mut Budget) -> Result<Option<(Digest, u64)>, StoreError> {
        if let Some(digest) = store.digests.get(&self.meta.identity) {
            return Ok(Some((digest, self.meta.size)));
        }
        if !hash_range(&self.file, &mut self.hash, &mut self.next, self.meta.size, budget)? {
            return Ok(None);
        }
        let digest = Digest::finish(self.hash.clone());
        let (now, then) = (meta_of(&self.file)?.identity, self.meta.identity);
        if now == then {
            store.digests.insert(then, digest, store.clock.now_ns());
        } else if !now.has_content_of(&then) && !self.second_reading.verify(&self.file, then.size, digest, budget)? {
            return Ok(None);
        }
        Ok(Some((digest, then.size)))
    }
}

/// Reads a file once more, because its times or size changed while it was read. If it was only touched or
/// appended to, its first bytes are the same.
#[derive(Default)]
pub struct SecondReading {
    hash: Sha256,
    next: u64,
}

impl SecondReading {
    /// Continues. Returns true once the first `size` bytes are read and have this digest. If they have
    /// another, returns the error `Changed`.
    pub fn verify(&mut self, file: &File, size: u64, digest: Digest, budget: &mut Budget) -> Result<bool, StoreError> {
        if !hash_range(file, &mut self.hash, &mut self.next, size, budget)? {
            return Ok(false);
        }
        if Digest::finish(self.hash.clone()) == digest { Ok(true) } else { Err(StoreError::Changed) }
    }
}

/// Hashes `file` from `next` up to `end` within `budget`. Returns true at the end.
pub fn hash_range(
    file: &File,
    hash: &mut Sha256,
    next: &mut u64,
    end: u64,
    budget: &mut Budget,
) -> Result<bool, StoreError> {
    let mut piece = Vec::with_capacity(PIECE_BYTES.min(usize::try_from(end - *next).unwrap_or(PIECE_BYTES)));
    while *next < end {
        if budget.is_spent() {
            return Ok(false);
        }
        piece.clear();
        let count = rustix::io::pread(file, spare_capacity(&mut piece), *next)?;
        if count == 0 {
            return Err(StoreError::Changed);
        }
        let wanted = usize::try_from(end - *next).unwrap_or(usize::MAX).min(count);
        hash.update(&piece[..wanted]);
        *next += wanted as u64;
        budget.spend(wanted as u64);
    }
    Ok(true)
}
