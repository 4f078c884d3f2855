//! The queue of a worker, served round robin between accounts.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_task::Runnable;

use crate::base::disk_sync::SyncKind;

/// A worker without work ends after this.
const WORKER_IDLE: Duration = Duration::from_secs(60);

/// Identifies a sync, so that its result is not taken for that of another upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(in crate::store) u64);

/// Why written bytes are not on disk, or not known to be.
#[derive(Debug)]
pub enum SyncError {
    /// The file system reported an error.
    Failed(io::Error),
    /// The file system has not answered in time. The sync may still end.
    NoAnswer,
}

impl From<io::Error> for SyncError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// A sync of one file's content.
pub(in crate::store) struct SyncTask {
    /// The session that requested it.
    pub(in crate::store) caller: u64,
    pub(in crate::store) ticket: Ticket,
    pub(in crate::store) file: Arc<File>,
}

impl SyncTask {
    pub(in crate::store) fn run(self, sync: &SyncFunction) -> (Ticket, Result<(), SyncError>) {
        let done = catch_unwind(AssertUnwindSafe(|| sync(&self.file, SyncKind::Data)));
        let done = done.unwrap_or_else(|_| Err(io::Error::other("a defect ended the sync of a file")));
        (self.ticket, done.map_err(SyncError::Failed))
    }
}

/// Syncs a file. [`crate::base::disk_sync::sync`], except in tests.
pub(in crate::store) type SyncFunction = dyn Fn(&File, SyncKind) -> io::Result<()> + Send + Sync;

/// The work of a worker.
pub(in crate::store) enum WorkerTask {
    /// A call whose result the session with this number waits for. Dropping it cancels it.
    Call(u64, Runnable),
    Sync(SyncTask),
    /// Also decrements the home's number of pending closes.
    Close(Arc<File>, Arc<AtomicUsize>),
}

/// What a worker sends after each sync, and after the next task if it is watched.
pub(in crate::store) struct WorkerReport {
    pub(super) worker: u64,
    /// The result of a sync; `None` after a call or a close.
    pub(in crate::store) answer: Option<(Ticket, Result<(), SyncError>)>,
}

/// The queued tasks of one worker by account, and its state.
#[derive(Default)]
pub(super) struct Queue {
    accounts: BTreeMap<u64, VecDeque<WorkerTask>>,
    /// The accounts with queued work, in order of their turns.
    turns: VecDeque<u64>,
    pub(super) closes: usize,
    pub(super) is_running: bool,
    /// No more work will come.
    pub(super) is_closed: bool,
    /// The next completed task is reported, even a call or a close.
    pub(super) is_watched: bool,
    /// The session whose call is running.
    pub(super) caller: Option<u64>,
}

impl Queue {
    pub(super) fn push(&mut self, account: u64, task: WorkerTask) {
        self.closes += usize::from(matches!(task, WorkerTask::Close(..)));
        let tasks = self.accounts.entry(account).or_default();
        if tasks.is_empty() {
            self.turns.push_back(account);
        }
        tasks.push_back(task);
    }

    fn pop(&mut self) -> Option<WorkerTask> {
        let account = self.turns.pop_front()?;
        let tasks = self.accounts.get_mut(&account)?;
        let task = tasks.pop_front();
        if tasks.is_empty() {
            self.accounts.remove(&account);
        } else {
            self.turns.push_back(account);
        }
        self.closes -= usize::from(matches!(task, Some(WorkerTask::Close(..))));
        task
    }

    /// Removes all queued calls and syncs. Closes stay.
    pub(super) fn take_waiting(&mut self) -> Vec<WorkerTask> {
        let mut taken = Vec::new();
        self.accounts.retain(|_, tasks| {
            let (closes, waiting) =
                std::mem::take(tasks).into_iter().partition(|task| matches!(task, WorkerTask::Close(..)));
            *tasks = closes;
            taken.extend::<VecDeque<_>>(waiting);
            !tasks.is_empty()
        });
        self.turns.retain(|account| self.accounts.contains_key(account));
        taken
    }
}

#[derive(Default)]
pub(super) struct WorkerShared {
    queue: Mutex<Queue>,
    /// Signalled when work was pushed or the queue closed.
    pub(super) is_changed: Condvar,
    /// The number of tasks that are queued or running.
    pub(super) left: AtomicUsize,
    /// The number of finished tasks since the worker was created.
    pub(super) done: AtomicU64,
}

impl WorkerShared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a finished task. Returns whether to report it.
    pub(super) fn count_done(&self) -> bool {
        let mut queue = self.lock();
        queue.caller = None;
        self.done.fetch_add(1, Relaxed);
        self.left.fetch_sub(1, Relaxed);
        std::mem::take(&mut queue.is_watched)
    }

    /// Waits for a task. Returns `None` when the worker must end.
    pub(super) fn next(&self) -> Option<WorkerTask> {
        let mut queue = self.lock();
        loop {
            if let Some(task) = queue.pop() {
                queue.caller = if let WorkerTask::Call(caller, _) = &task { Some(*caller) } else { None };
                return Some(task);
            }
            let (after, waited) =
                self.is_changed.wait_timeout(queue, WORKER_IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = after;
            if queue.turns.is_empty() && (queue.is_closed || waited.timed_out()) {
                queue.is_running = false;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> WorkerTask {
        WorkerTask::Close(Arc::new(tempfile::tempfile().expect("file")), Arc::default())
    }

    #[test]
    fn accounts_take_turns_however_much_one_of_them_has_to_be_done() {
        let mut queue = Queue::default();
        let file = Arc::new(tempfile::tempfile().expect("file"));
        let sync = |ticket| WorkerTask::Sync(SyncTask { caller: 1, ticket: Ticket(ticket), file: Arc::clone(&file) });
        (1..=4).for_each(|ticket| queue.push(7, sync(ticket)));
        queue.push(8, sync(5));
        queue.push(9, task());
        queue.push(9, sync(6));
        let mut order = Vec::new();
        while let Some(task) = queue.pop() {
            order.push(if let WorkerTask::Sync(sync_task) = task { sync_task.ticket.0 } else { 0 });
        }
        assert_eq!(order, [1, 5, 0, 2, 6, 3, 4]);
        assert_eq!((queue.closes, queue.accounts.len()), (0, 0));
    }

    #[test]
    fn closes_stay_in_a_queue_whose_waiting_work_is_taken() {
        let mut queue = Queue::default();
        let file = Arc::new(tempfile::tempfile().expect("file"));
        queue.push(1, task());
        for ticket in [1, 2] {
            queue.push(
                ticket,
                WorkerTask::Sync(SyncTask { caller: 1, ticket: Ticket(ticket), file: Arc::clone(&file) }),
            );
        }
        assert_eq!(queue.take_waiting().len(), 2);
        assert!(matches!(queue.pop(), Some(WorkerTask::Close(..))) && queue.pop().is_none());
    }
}
