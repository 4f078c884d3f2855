//! Syncs running uploads on the workers of their file systems, so that the sync at the end of an upload is short.
//! The workers report the results and wake the loop. The server does not wait for a file system that does not answer.
//! The sync at the end of an upload is a call of its operation, and does not pass through here.
//!
//! ```text
//! request ──► worker of the file system ──► result ──► take_synced
//!                        └─ no answer in time ──► NoAnswer, also for all later syncs until it answers
//! ```

#[cfg(test)]
mod tests;
mod unsynced;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::base::disk_sync::SyncKind;
use crate::store::workers::operations::Operations;
use crate::store::workers::{
    FileSystem, HomeFileSystem, SyncError, SyncTask, Ticket, WorkerReport, WorkerTask, Workers,
};
pub use unsynced::{OnFailure, Unsynced};
use unsynced::{UnsyncedUpload, UnsyncedUploads};

/// The written and unsynced bytes of one upload above which its input is not read.
pub const UNSYNCED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The unsynced bytes of all uploads to one file system above which accounts with more than their share wait.
/// An account below its share does not wait.
pub const UNSYNCED_BYTES_MAX_TOTAL: u64 = 64 * 1024 * 1024;
/// A sync begins whenever this many bytes have been written since the last one.
pub const SYNC_STEP_BYTES: u64 = 8 * 1024 * 1024;

/// The result of a sync.
#[derive(Debug)]
pub struct Synced {
    /// The session that requested it.
    pub caller: u64,
    /// The ticket that the request returned.
    pub ticket: Ticket,
    /// Whether the written bytes are on disk.
    pub result: Result<(), SyncError>,
}

/// A sync without a result.
struct Pending {
    caller: u64,
    /// The worker that runs it or has it in its queue, if any.
    worker: Option<u64>,
    /// Called on failure, because the session may have ended by then.
    on_failure: Option<OnFailure>,
    /// `NoAnswer` was returned for it.
    is_given_up: bool,
}

/// The unsynced bytes and pending syncs of all uploads. Also owns the workers and the operations of the loop.
pub struct Syncer {
    workers: Rc<RefCell<Workers>>,
    reports: Receiver<WorkerReport>,
    /// Results of syncs for which there was no thread.
    done: VecDeque<(Ticket, Result<(), SyncError>)>,
    pending: BTreeMap<Ticket, Pending>,
    /// Syncs for which `NoAnswer` is to be returned.
    unanswered: VecDeque<Ticket>,
    /// Sessions that wait for a call to a file system that does not answer.
    unanswered_callers: VecDeque<u64>,
    operations: Operations,
    uploads: UnsyncedUploads,
    next_ticket: u64,
    /// The time of the last tick.
    now: Option<Instant>,
}

impl Syncer {
    /// Makes a syncer with threads, which are started when needed. They call `wake` after each sync, and when an
    /// operation can continue.
    pub fn start(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let ((reports, input), wake) = (channel(), Arc::new(wake) as Arc<dyn Fn() + Send + Sync>);
        Self::new(Workers::new(reports, Arc::clone(&wake)), input, Operations::new(wake))
    }

    /// Makes a syncer without threads. The loop calls file systems itself, and syncs wait for
    /// [`Syncer::run_held`], which syncs files with `sync`.
    pub fn held(sync: impl Fn(&File, SyncKind) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let (reports, input) = channel();
        Self::new(Workers::held(reports, Arc::new(sync)), input, Operations::new(Arc::new(|| {})))
    }

    fn new(workers: Workers, reports: Receiver<WorkerReport>, operations: Operations) -> Self {
        Self {
            workers: Rc::new(RefCell::new(workers)),
            reports,
            done: VecDeque::new(),
            pending: BTreeMap::new(),
            unanswered: VecDeque::new(),
            unanswered_callers: VecDeque::new(),
            operations,
            uploads: UnsyncedUploads::default(),
            next_ticket: 0,
            now: None,
        }
    }

    // ---- Without threads ------------------------------------------------------------------

    /// Sets whether the loop calls file systems itself, in a syncer without threads. If not, all calls wait for
    /// [`Syncer::run_held`].
    pub fn set_prompt(&mut self, is_prompt: bool) {
        if let Some(held) = self.workers.borrow_mut().held_mut() {
            held.is_prompt = is_prompt;
        }
    }

    /// Runs the first waiting call or sync whose session `chooses` accepts. Returns whether there was one.
    pub fn run_held(&mut self, chooses: impl Fn(u64) -> bool) -> bool {
        let Some(task) = self.take_held(chooses) else { return false };
        self.run(task);
        self.operations.run_ready();
        true
    }

    /// Like [`Syncer::run_held`], but drops the call or sync, as if the file system did not answer.
    pub fn drop_held(&mut self, chooses: impl Fn(u64) -> bool) -> bool {
        let Some(task) = self.take_held(chooses) else { return false };
        match task {
            WorkerTask::Sync(SyncTask { ticket, .. }) => self.done.push_back((ticket, Err(SyncError::NoAnswer))),
            WorkerTask::Call(_, runnable) => drop(runnable),
            WorkerTask::Close(..) => {}
        }
        self.operations.run_ready();
        true
    }

    fn take_held(&self, chooses: impl Fn(u64) -> bool) -> Option<WorkerTask> {
        self.workers.borrow_mut().held_mut()?.take(chooses)
    }

    fn run(&mut self, task: WorkerTask) {
        match task {
            WorkerTask::Sync(sync_task) => {
                let sync = self.workers.borrow().sync();
                self.done.push_back(sync_task.run(&*sync));
            }
            WorkerTask::Call(_, runnable) => drop(runnable.run()),
            WorkerTask::Close(..) => {}
        }
    }

    // ---- Requests -------------------------------------------------------------------------

    /// Requests a sync of a file's content. [`Syncer::take_synced`] returns the result. If the sync fails, `on_failure`
    /// is called, before the result is returned or, if `NoAnswer` was returned, when the failure becomes known.
    fn sync(&mut self, caller: u64, file_system: &FileSystem, file: Arc<File>, on_failure: OnFailure) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let mut pending = Pending { caller, worker: None, on_failure: Some(on_failure), is_given_up: false };
        if self.is_unresponsive(file_system.device) {
            // Nothing was tried, so nothing has failed.
            pending.on_failure = None;
            self.unanswered.push_back(ticket);
        } else {
            pending.worker = self.push_sync(file_system, SyncTask { caller, ticket, file });
        }
        self.pending.insert(ticket, pending);
        ticket
    }

    /// Queues a sync. Returns the key of its worker. Without a thread, syncs at once.
    fn push_sync(&mut self, file_system: &FileSystem, sync_task: SyncTask) -> Option<u64> {
        let pushed = self.workers.borrow_mut().push(file_system, WorkerTask::Sync(sync_task));
        pushed.map_err(|task| self.run(task)).ok()
    }

    // ---- Unsynced bytes -------------------------------------------------------------------

    /// Registers the unsynced bytes of an upload to `file`. A failed sync of them calls `on_failure`.
    pub fn register_unsynced(
        &mut self,
        caller: u64,
        file_system: FileSystem,
        file: &Arc<File>,
        on_failure: OnFailure,
    ) -> Unsynced {
        self.uploads.add(caller, file_system, file, on_failure)
    }

    /// Records bytes written to a file of size `length`, and begins the syncs that are due.
    pub fn record_written(&mut self, unsynced: &Unsynced, bytes: u64, length: u64) {
        for upload in self.uploads.record_written(unsynced, bytes, length, self.now) {
            self.start_sync(&upload);
        }
    }

    /// Syncs the written bytes of an upload, unless a sync is running.
    pub fn request(&mut self, unsynced: &Unsynced) {
        self.start_sync(&unsynced.0);
    }

    fn start_sync(&mut self, upload: &Rc<UnsyncedUpload>) {
        if let Some(file) = upload.unsynced_file() {
            let ticket = self.sync(upload.caller, &upload.file_system, file, Rc::clone(&upload.on_failure));
            upload.begin_sync(ticket);
        }
    }

    // ---- Time -----------------------------------------------------------------------------

    /// Runs timed work: syncs paused uploads, and lets the syncs of file systems that have not answered for
    /// `patience` end with `NoAnswer`.
    pub fn tick(&mut self, now: Instant, patience: Duration) {
        self.now = Some(now);
        for upload in self.uploads.take_idle(now) {
            self.start_sync(&upload);
        }
        for found in self.workers.borrow_mut().find_unresponsive(now, patience) {
            let mut given_up: Vec<Ticket> = Vec::new();
            for (ticket, pending) in &mut self.pending {
                if pending.worker == Some(found.worker) && !pending.is_given_up {
                    given_up.push(*ticket);
                    if found.dropped.contains(ticket) {
                        (pending.worker, pending.on_failure) = (None, None);
                    }
                }
            }
            self.unanswered.extend(given_up);
            self.unanswered_callers.extend(found.caller);
        }
    }

    /// Returns when [`Syncer::tick`] has work.
    pub fn next_at(&self, patience: Duration) -> Option<Instant> {
        let due = self.workers.borrow().next_due(patience);
        due.into_iter().chain(self.uploads.next_check_at()).min()
    }

    /// Returns whether the file system of this device does not answer.
    pub fn is_unresponsive(&self, device: u64) -> bool {
        self.workers.borrow().is_unresponsive(device)
    }

    /// Returns the names of the file systems that do not answer.
    pub fn unresponsive_file_systems(&self) -> Vec<Rc<Path>> {
        self.workers.borrow().unresponsive().map(Rc::clone).collect()
    }

    // ---- Results --------------------------------------------------------------------------

    /// Returns the next result, if there is one.
    pub fn take_synced(&mut self) -> Option<Synced> {
        if let Some(synced) = self.take_unanswered() {
            return Some(synced);
        }
        while let Some((ticket, result)) = self.next_answer() {
            let Some(Pending { caller, on_failure, is_given_up, .. }) = self.pending.remove(&ticket) else { continue };
            if result.is_err()
                && let Some(on_failure) = on_failure
            {
                on_failure();
            }
            if !is_given_up {
                return Some(Synced { caller, ticket, result });
            }
        }
        None
    }

    fn take_unanswered(&mut self) -> Option<Synced> {
        while let Some(ticket) = self.unanswered.pop_front() {
            let Some(pending) = self.pending.get_mut(&ticket) else { continue };
            let caller = pending.caller;
            pending.is_given_up = true;
            // A sync that its worker has begun may still fail.
            if pending.worker.is_none() {
                self.pending.remove(&ticket);
            }
            return Some(Synced { caller, ticket, result: Err(SyncError::NoAnswer) });
        }
        None
    }

    fn next_answer(&mut self) -> Option<(Ticket, Result<(), SyncError>)> {
        while let Ok(report) = self.reports.try_recv() {
            self.workers.borrow_mut().record(&report);
            if report.answer.is_some() {
                return report.answer;
            }
        }
        self.done.pop_front()
    }

    /// Returns whether [`Syncer::take_synced`] has work.
    pub fn has_work(&self) -> bool {
        !self.done.is_empty() || !self.unanswered.is_empty()
    }

    /// Returns whether calls or syncs wait for [`Syncer::run_held`].
    pub fn has_held(&self) -> bool {
        self.workers.borrow_mut().held_mut().is_some_and(|held| !held.is_empty())
    }

    /// Returns a session that waits for a call to a file system that does not answer. The call may still complete.
    pub fn take_unanswered_caller(&mut self) -> Option<u64> {
        self.unanswered_callers.pop_front()
    }

    // ---- Calls ----------------------------------------------------------------------------

    /// Returns the operations of sessions.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Like [`Syncer::home_file_system`], but leaves what is known about the file system.
    pub(super) fn known_file_system(&self, file_system: FileSystem) -> HomeFileSystem {
        HomeFileSystem::new(Rc::clone(&self.workers), self.operations.clone(), file_system)
    }

    /// Returns the file system of a home, and makes it known. `is_local`: it needs neither a network nor another
    /// program to answer.
    pub fn home_file_system(&self, file_system: FileSystem, is_local: bool) -> HomeFileSystem {
        self.workers.borrow_mut().add_file_system(file_system.device, is_local);
        self.known_file_system(file_system)
    }
}
