//! Worker threads: one for each file system, started when needed and ended when idle. They run calls that may
//! have to wait, sync files and close them. A file system that is slow or does not answer delays only its users.

mod home_file_system;
mod inline_rule;
pub mod operations;
mod queue;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::base::disk_sync;
use crate::store::monotonic;
pub use home_file_system::HomeFileSystem;
use inline_rule::InlineRule;
use queue::WorkerShared;
pub use queue::{SyncError, Ticket};
pub(in crate::store) use queue::{SyncFunction, SyncTask, WorkerReport, WorkerTask};

/// The maximum number of threads. With more file systems, the last thread serves all the others.
const WORKERS_MAX: usize = 16;
/// The maximum number of closes in the queue of one worker. The loop closes further files itself. Calls and syncs
/// need no bound, because each session has few of them.
const CLOSES_MAX: usize = 4096;
/// A call that can be divided ends after this time, so that the worker serves the next account.
pub const CALL_SLICE: Duration = Duration::from_millis(10);
/// The stack of a worker. Its calls keep what is large on the heap.
const STACK_BYTES: usize = 256 * 1024;
/// The worker of file systems without their own; no device has this number.
const SHARED_WORKER: u64 = u64::MAX;

/// A file system that a home uses, with the names for messages.
#[derive(Debug, Clone)]
pub struct FileSystem {
    /// The device number.
    pub device: u64,
    /// The number of the account. Queued work is served round robin between accounts.
    pub account: u64,
    /// Its name in messages: the home root, or the home if that has its own file system.
    pub path: Rc<Path>,
    /// The home, which may contain other file systems.
    pub home: Rc<Path>,
}

impl FileSystem {
    /// Returns the file system with this device number, seen from the same home.
    pub fn on(&self, device: u64) -> Self {
        let path = if device == self.device { &self.path } else { &self.home };
        Self { device, path: Rc::clone(path), home: Rc::clone(&self.home), ..*self }
    }
}

struct Worker {
    shared: Arc<WorkerShared>,
    /// The name of its file system.
    path: Rc<Path>,
    /// The start of the wait for its next result: when it last finished a task, as far as known here, or when
    /// the first of its pending tasks was requested.
    since: Option<Instant>,
    /// Its number of finished tasks at that time.
    done: u64,
    is_unresponsive: bool,
}

impl Worker {
    fn is_idle(&self) -> bool {
        !self.shared.lock().is_running
    }

    /// Returns when it becomes unresponsive, unless it finishes a task before.
    fn due(&self, patience: Duration) -> Option<Instant> {
        let waits = self.shared.left.load(Relaxed) > 0 && !self.is_unresponsive;
        self.since.filter(|_| waits).map(|since| since + patience)
    }
}

/// A worker that has finished nothing for too long.
pub(in crate::store) struct UnresponsiveWorker {
    pub(in crate::store) worker: u64,
    /// The syncs that it had not begun. They are removed from its queue.
    pub(in crate::store) dropped: Vec<Ticket>,
    /// The session whose call it runs.
    pub(in crate::store) caller: Option<u64>,
}

/// All workers.
pub(in crate::store) struct Workers {
    by_device: BTreeMap<u64, Worker>,
    inline_rule: InlineRule,
    sync: Arc<SyncFunction>,
    reports: Sender<WorkerReport>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// Set if there are no threads: calls and syncs wait here until they are run.
    held: Option<Held>,
    unresponsive: usize,
    /// The time of the last check.
    now: Option<Instant>,
}

/// The tasks of workers without threads.
pub(in crate::store) struct Held {
    tasks: Vec<WorkerTask>,
    /// Whether the loop calls the file systems itself.
    pub(in crate::store) is_prompt: bool,
}

impl Workers {
    pub(in crate::store) fn new(reports: Sender<WorkerReport>, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            by_device: BTreeMap::new(),
            inline_rule: InlineRule::default(),
            sync: Arc::new(disk_sync::sync),
            reports,
            wake,
            held: None,
            unresponsive: 0,
            now: None,
        }
    }

    /// Makes workers without threads. Their tasks wait until [`Held::take`] takes them.
    pub(in crate::store) fn held(reports: Sender<WorkerReport>, sync: Arc<SyncFunction>) -> Self {
        let mut workers = Self::new(reports, Arc::new(|| {}));
        (workers.sync, workers.held) = (sync, Some(Held { tasks: Vec::new(), is_prompt: true }));
        workers
    }

    /// Returns the tasks of workers without threads.
    pub(in crate::store) fn held_mut(&mut self) -> Option<&mut Held> {
        self.held.as_mut()
    }

    /// Returns the function that syncs files.
    pub(in crate::store) fn sync(&self) -> Arc<SyncFunction> {
        Arc::clone(&self.sync)
    }

    /// Returns whether the loop may call the file system of this device itself.
    fn is_prompt(&self, device: u64) -> bool {
        match &self.held {
            Some(held) => held.is_prompt,
            None => self.inline_rule.allows(device, monotonic::now()),
        }
    }

    /// Returns whether files are closed by threads.
    fn takes_closes(&self) -> bool {
        self.held.is_none()
    }

    /// Queues a task. Returns the key of its worker, or the task if there is no thread or no room for it.
    pub(in crate::store) fn push(&mut self, file_system: &FileSystem, task: WorkerTask) -> Result<u64, WorkerTask> {
        if let Some(held) = &mut self.held {
            held.tasks.push(task);
            return Ok(file_system.device);
        }
        let key = self.key(file_system.device);
        let worker = self.by_device.entry(key).or_insert_with(|| Worker {
            shared: Arc::default(),
            path: Rc::clone(&file_system.path),
            since: self.now,
            done: 0,
            is_unresponsive: false,
        });
        let mut queue = worker.shared.lock();
        if matches!(task, WorkerTask::Close(..)) && queue.closes >= CLOSES_MAX {
            return Err(task);
        }
        if !queue.is_running {
            let started = start(key, &worker.shared, &self.sync, &self.reports, &self.wake);
            if let Err(error) = started {
                drop(queue);
                log::error!("no thread can be started for a file system, so the server itself waits for it: {error}");
                return Err(task);
            }
            queue.is_running = true;
        }
        queue.push(file_system.account, task);
        if worker.shared.left.fetch_add(1, Relaxed) == 0 {
            worker.since = self.now;
        }
        drop(queue);
        worker.shared.is_changed.notify_one();
        Ok(key)
    }

    /// Returns the key of the worker that serves this device.
    fn key(&mut self, device: u64) -> u64 {
        if !self.by_device.contains_key(&device) && self.by_device.len() >= WORKERS_MAX - 1 {
            self.by_device.retain(|_, worker| worker.is_unresponsive || !worker.is_idle());
        }
        let has_own = self.by_device.contains_key(&device) || self.by_device.len() < WORKERS_MAX - 1;
        if has_own { device } else { SHARED_WORKER }
    }

    /// Records that a worker has finished a task.
    pub(in crate::store) fn record(&mut self, report: &WorkerReport) {
        let Some(worker) = self.by_device.get_mut(&report.worker) else { return };
        (worker.since, worker.done) = (self.now, worker.shared.done.load(Relaxed));
        if std::mem::replace(&mut worker.is_unresponsive, false) {
            self.unresponsive -= 1;
            log::info!("{}: the file system answers again", worker.path.display());
        }
    }

    /// Returns the workers that have finished nothing for `patience`, and removes the syncs that they have not
    /// begun. The running task may finish later, or never.
    pub(in crate::store) fn find_unresponsive(&mut self, now: Instant, patience: Duration) -> Vec<UnresponsiveWorker> {
        self.now = Some(now);
        let mut found = Vec::new();
        for (&key, worker) in &mut self.by_device {
            if worker.due(patience).is_none_or(|due| due > now) {
                continue;
            }
            let mut queue = worker.shared.lock();
            // Closes are not reported, so the counter shows whether it has finished any.
            let before = std::mem::replace(&mut worker.done, worker.shared.done.load(Relaxed));
            if worker.done != before {
                worker.since = Some(now);
                continue;
            }
            let waiting = queue.take_waiting();
            queue.is_watched = true;
            let caller = queue.caller;
            drop(queue);
            worker.shared.left.fetch_sub(waiting.len(), Relaxed);
            worker.is_unresponsive = true;
            self.unresponsive += 1;
            let path = worker.path.display();
            let seconds = patience.as_secs();
            log::warn!(
                "{path}: the file system has not answered for {seconds} s; requests are refused there until it does"
            );
            // A call that is dropped ends with `NoAnswer`.
            let sync = |task| if let WorkerTask::Sync(sync_task) = task { Some(sync_task.ticket) } else { None };
            found.push(UnresponsiveWorker {
                worker: key,
                dropped: waiting.into_iter().filter_map(sync).collect(),
                caller,
            });
        }
        found
    }

    /// Returns whether the file system does not answer.
    pub(in crate::store) fn is_unresponsive(&self, device: u64) -> bool {
        // A file system without its own worker is served by the shared one only while there are too many.
        let find = |key| self.by_device.get(&key);
        self.unresponsive > 0
            && find(device).or_else(|| find(SHARED_WORKER)).is_some_and(|worker| worker.is_unresponsive)
    }

    /// Returns the names of file systems that do not answer.
    pub(in crate::store) fn unresponsive(&self) -> impl Iterator<Item = &Rc<Path>> {
        self.by_device.values().filter(|worker| worker.is_unresponsive).map(|worker| &worker.path)
    }

    /// Makes a file system known. `is_local`: it needs neither a network nor another program to answer.
    pub(in crate::store) fn add_file_system(&mut self, device: u64, is_local: bool) {
        self.inline_rule.add(device, is_local);
    }

    /// Returns when the next worker becomes unresponsive, unless it finishes a task before.
    pub(in crate::store) fn next_due(&self, patience: Duration) -> Option<Instant> {
        self.by_device.values().filter_map(|worker| worker.due(patience)).min()
    }
}

impl Held {
    /// Takes the first call or sync whose session `chooses` accepts.
    pub(in crate::store) fn take(&mut self, chooses: impl Fn(u64) -> bool) -> Option<WorkerTask> {
        let caller = |task: &WorkerTask| match task {
            WorkerTask::Call(caller, _) => Some(*caller),
            WorkerTask::Sync(sync_task) => Some(sync_task.caller),
            WorkerTask::Close(..) => None,
        };
        let index = self.tasks.iter().position(|task| caller(task).is_some_and(&chooses))?;
        Some(self.tasks.remove(index))
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in self.by_device.values() {
            worker.shared.lock().is_closed = true;
            worker.shared.is_changed.notify_one();
        }
    }
}

/// Starts the thread of the worker `key`.
fn start(
    key: u64,
    shared: &Arc<WorkerShared>,
    sync: &Arc<SyncFunction>,
    reports: &Sender<WorkerReport>,
    wake: &Arc<dyn Fn() + Send + Sync>,
) -> io::Result<()> {
    let (shared, sync, reports, wake) = (Arc::clone(shared), Arc::clone(sync), reports.clone(), Arc::clone(wake));
    let work = move || {
        while let Some(task) = shared.next() {
            let answer = match task {
                WorkerTask::Call(_, runnable) => {
                    // If the call panics, its result is missing, and its operation fails.
                    let _ = catch_unwind(AssertUnwindSafe(|| runnable.run()));
                    None
                }
                WorkerTask::Sync(sync_task) => Some(sync_task.run(&*sync)),
                WorkerTask::Close(file, waiting) => {
                    drop(file);
                    waiting.fetch_sub(1, Relaxed);
                    None
                }
            };
            let is_watched = shared.count_done();
            if answer.is_some() || is_watched {
                if reports.send(WorkerReport { worker: key, answer }).is_err() {
                    return;
                }
                wake();
            }
        }
    };
    std::thread::Builder::new().name("disk".into()).stack_size(STACK_BYTES).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_file_systems_than_workers_share_the_last() {
        let (reports, _answers) = std::sync::mpsc::channel();
        let mut workers = Workers::new(reports, Arc::new(|| {}));
        let path: Rc<Path> = Path::new("/homes").into();
        let file = Arc::new(tempfile::tempfile().expect("file"));
        for device in 0..100 {
            let file_system = FileSystem { device, account: 1, path: Rc::clone(&path), home: Rc::clone(&path) };
            let sync_task = SyncTask { caller: 1, ticket: Ticket(device), file: Arc::clone(&file) };
            assert!(workers.push(&file_system, WorkerTask::Sync(sync_task)).is_ok());
        }
        assert_eq!(workers.by_device.len(), WORKERS_MAX);
        assert!(workers.by_device.contains_key(&SHARED_WORKER));
    }
}
