//! The session calls of tasks. The work of a turn is in [`Task`].

use std::rc::Rc;
use std::time::Instant;

use super::Session;
use super::calls::Answer;
use super::error::SessionError;
use super::service::Service;
use super::state::State;
use super::task::{DirectoryList, FileHash, PartialUploadList, Task, TaskStep};
use super::verb::Verb;
use crate::base::budget::Budget;
use crate::base::digest::DigestAlgorithm;
use crate::base::memory::Charge;
use crate::base::virtual_path::VirtualPath;
use crate::store::OpenFile;
use crate::store::home::{Home, HomeDirectory};
use crate::store::listing::Listing;
use crate::store::meta::Meta;
use crate::store::staging::PartialUploadListing;

impl Session {
    /// Begins to list the partial uploads of the account.
    pub fn begin_partial_uploads(&mut self) -> Result<(), SessionError> {
        let user = self.user(Verb::PartialUploads)?;
        let charge = Charge::to(&user.active_account.memory);
        let listing = self.last_call(&user.home, move |home| async move {
            home.run(move |directory| PartialUploadListing::begin(directory, charge)).await
        });
        let listing = self.logged_with("partials", &[], listing)?;
        self.begin_task(Task::PartialUploads(Box::new(PartialUploadList::new(listing))))
    }

    /// Begins to list a directory by name.
    pub fn begin_list(&mut self, path: &VirtualPath) -> Result<(), SessionError> {
        self.begin_list_as(path, |listing| listing)
    }

    /// Begins to list a directory. `choose` sets the order of the listing and what it contains.
    pub fn begin_list_as(
        &mut self,
        path: &VirtualPath,
        choose: impl FnOnce(Listing) -> Listing,
    ) -> Result<(), SessionError> {
        let user = self.user(Verb::List)?;
        let (asked, charge) = (path.clone(), Charge::to(&user.active_account.memory));
        let listing = self.last_call(&user.home, move |home| async move {
            let open = move |directory: &HomeDirectory| {
                let (directory, is_root) = directory.open_to_list(&asked)?;
                Listing::new(directory, is_root, charge)
            };
            home.run(open).await
        });
        let listing = self.logged("list", path, listing)?;
        self.begin_task(Task::List(Box::new(DirectoryList::new(choose(listing)))))
    }

    /// Begins to hash a file.
    pub fn begin_digest(&mut self, path: &VirtualPath, algorithm: DigestAlgorithm) -> Result<(), SessionError> {
        let opened = self.open(&self.user(Verb::Digest)?.home, path);
        let verb = if algorithm == DigestAlgorithm::Sha256 { "sha256" } else { "digest" };
        let (file, meta) = self.logged(verb, path, opened)?;
        self.begin_task(Task::Digest(Box::new(FileHash::new(file, meta, algorithm))))
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, home: &Rc<Home>, path: &VirtualPath) -> Answer<(OpenFile, Meta)> {
        let asked = path.clone();
        self.last_call(home, move |home| async move { home.open(asked).await })
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
        let State::Command(user, current) = &mut self.state else { return Err(SessionError::WrongState) };
        let Some(task) = current else { return Err(SessionError::WrongState) };
        let site = user.site(self.caller);
        let step = match self.is_unanswered.take() {
            true => Err(SessionError::NoAnswer),
            false => task.run(site, &mut service.store, budget, now),
        };
        if matches!(
            step,
            Ok(TaskStep::Later | TaskStep::Waits | TaskStep::Page(_, false) | TaskStep::PartialUploads(_, false))
        ) {
            return step;
        }
        if let Some(Task::Directories(directories)) = current.take() {
            self.log_path("mkdir", &directories.path, &step);
        }
        step
    }
}
