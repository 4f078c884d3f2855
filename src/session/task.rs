//! Work that takes many turns: listing a folder or partial uploads, hashing a file, making many
//! folders. A session has at most one such task.

use super::Session;
use super::error::SessionError;
use super::service::Service;
use super::state::State;
use super::verb::Verb;
use crate::base::buffers::Budget;
use crate::base::digest::Digest;
use crate::base::limits::{LISTING_WAIT_MAX, MEMORY_WAIT_STEP, PAGE_BYTES_TARGET, PAGE_ENTRIES_MAX, PIECE_BYTES};
use crate::base::memory::Charge;
use crate::base::virtual_path::VPath;
use crate::store::listing::{Listed, Listing, ListingStep};
use crate::store::meta::{Meta, meta_of};
use crate::store::new_folders::NewFolders;
use crate::store::staging::{KeptListing, KeptStep, KeptUpload};
use crate::store::{OpenFile, Store, StoreError};
use rustix::buffer::spare_capacity;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::rc::Rc;
use std::time::Instant;

/// A task of a session.
pub enum Task {
    /// Listing a folder.
    List(Box<FolderList>),
    /// Hashing a whole file.
    Digest(Box<FileHash>),
    /// Making a folder and its parents.
    Folders(Box<NewFolders>),
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
    /// The folders exist.
    FoldersMade,
    /// Partial uploads, and whether they are the last.
    PartialUploads(Vec<KeptUpload>, bool),
}

impl Task {
    /// Returns when it continues by timer.
    pub fn wakes_at(&self) -> Option<Instant> {
        match self {
            Self::List(list) => list.wait.wakes_at,
            Self::PartialUploads(list) => list.wait.wakes_at,
            Self::Digest(_) | Self::Folders(_) => None,
        }
    }

    /// Continues within `budget`.
    pub fn run(&mut self, store: &mut Store, budget: &mut Budget, now: Instant) -> Result<TaskStep, SessionError> {
        match self {
            Self::List(list) => list.next_page(budget, now),
            Self::Digest(hash) => {
                Ok(hash.finish(store, budget)?.map_or(TaskStep::Later, |(digest, size)| TaskStep::Digest(digest, size)))
            }
            Self::Folders(folders) => {
                Ok(if folders.advance(budget)? { TaskStep::FoldersMade } else { TaskStep::Later })
            }
            Self::PartialUploads(list) => list.next_page(budget, now),
        }
    }
}

impl Session {
    /// Begins to list the partial uploads of the account.
    pub fn begin_partial_uploads(&mut self) -> Result<(), SessionError> {
        let member = self.member(Verb::PartialUploads)?;
        let listing = KeptListing::begin(Rc::clone(&member.home), Charge::to(&member.active_account.memory))
            .map_err(SessionError::from);
        self.log_access("partials", &[], &listing);
        self.begin_task(Task::PartialUploads(Box::new(PartialUploadList::new(listing?))))
    }

    /// Begins to list a folder by name.
    pub fn begin_list(&mut self, path: &VPath) -> Result<(), SessionError> {
        self.begin_list_as(path, |listing| listing)
    }

    /// Begins to list a folder. `choose` sets the order of the listing and what it contains.
    pub fn begin_list_as(&mut self, path: &VPath, choose: impl FnOnce(Listing) -> Listing) -> Result<(), SessionError> {
        let member = self.member(Verb::List)?;
        let listing = member.home.list(path, Charge::to(&member.active_account.memory)).map_err(SessionError::from);
        self.log_path("list", path, &listing);
        self.begin_task(Task::List(Box::new(FolderList::new(choose(listing?)))))
    }

    /// Begins to hash a file.
    pub fn begin_digest(&mut self, path: &VPath) -> Result<(), SessionError> {
        let opened = self.member(Verb::Digest)?.home.open(path).map_err(SessionError::from);
        self.log_path("sha256", path, &opened);
        let (file, meta) = opened?;
        self.begin_task(Task::Digest(Box::new(FileHash::new(file, meta))))
    }

    pub(super) fn begin_task(&mut self, task: Task) -> Result<(), SessionError> {
        let State::Command(_, current @ None) = &mut self.state else { return Err(SessionError::WrongState) };
        *current = Some(task);
        Ok(())
    }

    /// Returns whether a task is running.
    pub fn has_task(&self) -> bool {
        matches!(self.state, State::Command(_, Some(_)))
    }

    /// Continues the task. It ends with its last page, its digest or a refusal.
    pub fn run_task(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<TaskStep, SessionError> {
        self.check(Verb::RunTask)?;
        let State::Command(_, current) = &mut self.state else { return Err(SessionError::WrongState) };
        let Some(task) = current else { return Err(SessionError::WrongState) };
        let step = task.run(&mut service.store, budget, now);
        if matches!(
            step,
            Ok(TaskStep::Later | TaskStep::Waits | TaskStep::Page(_, false) | TaskStep::PartialUploads(_, false))
        ) {
            return step;
        }
        if let Some(Task::Folders(folders)) = current.take() {
            self.log_path("mkdir", folders.path(), &step);
        }
        step
    }
}

/// A listing of a folder, page by page.
pub struct FolderList {
    listing: Listing,
    page: Vec<Listed>,
    wait: MemoryWait,
}

/// A listing of partial uploads, page by page.
pub struct PartialUploadList {
    listing: KeptListing,
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
    /// Lists what `listing` finds.
    pub fn new(listing: KeptListing) -> Self {
        Self { listing, wait: MemoryWait::default() }
    }

    fn next_page(&mut self, budget: &mut Budget, now: Instant) -> Result<TaskStep, SessionError> {
        if self.wait.lasts(now) {
            return Ok(TaskStep::Waits);
        }
        match self.listing.next(budget)? {
            KeptStep::Page(page, is_last) => Ok(TaskStep::PartialUploads(page, is_last)),
            KeptStep::Later => Ok(TaskStep::Later),
            KeptStep::NoRoom => self.wait.begin(now),
        }
    }
}

impl FolderList {
    /// Lists what `listing` finds.
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

/// Returns `None` without memory.
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
    second: SecondReading,
}

impl FileHash {
    /// Begins to hash `file`.
    pub fn new(file: OpenFile, meta: Meta) -> Self {
        Self { file, meta, hash: Sha256::new(), next: 0, second: SecondReading::default() }
    }

    /// Continues. Returns the digest and size at the end.
    fn finish(&mut self, store: &mut Store, budget: &mut Budget) -> Result<Option<(Digest, u64)>, StoreError> {
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
        } else if !now.has_content_of(&then) && !self.second.finds(&self.file, then.size, digest, budget)? {
            return Ok(None);
        }
        Ok(Some((digest, then.size)))
    }
}

/// Reads a file once more whose times or size changed while it was read: if it was only touched or
/// appended to, its first bytes are the same.
#[derive(Default)]
pub struct SecondReading {
    hash: Sha256,
    next: u64,
}

impl SecondReading {
    /// Continues. Returns true once the first `size` bytes have proved unchanged; otherwise the error
    /// `Changed`.
    pub fn finds(&mut self, file: &File, size: u64, digest: Digest, budget: &mut Budget) -> Result<bool, StoreError> {
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
