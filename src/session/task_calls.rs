//! The session calls of tasks. The work of a turn is in [`Task`].

use std::rc::Rc;
use std::time::Instant;

use super::Session;
use super::error::SessionError;
use super::service::Service;
use super::state::State;
use super::task::{DirectoryList, FileHash, PartialUploadList, Task, TaskStep};
use super::verb::Verb;
use crate::base::budget::Budget;
use crate::base::memory::Charge;
use crate::base::virtual_path::VirtualPath;
use crate::store::listing::Listing;
use crate::store::staging::PartialUploadListing;

impl Session {
    /// Begins to list the partial uploads of the account.
    pub fn begin_partial_uploads(&mut self) -> Result<(), SessionError> {
        let member = self.member(Verb::PartialUploads)?;
        let listing = PartialUploadListing::begin(Rc::clone(&member.home), Charge::to(&member.active_account.memory))
            .map_err(SessionError::from);
        self.log_access("partials", &[], &listing);
        self.begin_task(Task::PartialUploads(Box::new(PartialUploadList::new(listing?))))
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
        let member = self.member(Verb::List)?;
        let listing = member.home.list(path, Charge::to(&member.active_account.memory)).map_err(SessionError::from);
        self.log_path("list", path, &listing);
        self.begin_task(Task::List(Box::new(DirectoryList::new(choose(listing?)))))
    }

    /// Begins to hash a file.
    pub fn begin_digest(&mut self, path: &VirtualPath) -> Result<(), SessionError> {
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
        if let Some(Task::Directories(directories)) = current.take() {
            self.log_path("mkdir", directories.path(), &step);
        }
        step
    }
}
