//! The file system of a home: runs calls there, on the loop or on a worker, and closes files there.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::operations::{CallError, Operations};
use super::{FileSystem, SyncError, WorkerTask, Workers};
use crate::base::disk_sync::SyncKind;
use crate::store::monotonic;

/// The maximum number of queued closes of one home. Further requests to the home wait for them.
const CLOSES_PER_HOME: usize = 64;

/// The file system of one home.
#[derive(Clone)]
pub struct HomeFileSystem {
    workers: Rc<RefCell<Workers>>,
    operations: Operations,
    file_system: FileSystem,
    /// The number of queued closes.
    closes: Arc<AtomicUsize>,
    /// The number of calls that a worker runs or has in its queue.
    calls: Rc<Cell<usize>>,
    changes: Rc<RunningChanges>,
}

impl HomeFileSystem {
    pub(in crate::store) fn new(
        workers: Rc<RefCell<Workers>>,
        operations: Operations,
        file_system: FileSystem,
    ) -> Self {
        Self { workers, operations, file_system, closes: Arc::default(), calls: Rc::default(), changes: Rc::default() }
    }

    /// Returns the operations of sessions.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    // ---- Calls ----------------------------------------------------------------------------

    /// Runs a call that may wait for the file system. The calls of a home run one after the other.
    pub async fn run<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> Result<T, CallError> {
        if self.is_unresponsive() {
            return Err(CallError::NoAnswer);
        }
        if self.is_prompt() {
            return Ok(self.run_now(call));
        }
        let _counted = CallCount::one_more(&self.calls);
        let timed = move || {
            let began = monotonic::now();
            (call(), began.elapsed())
        };
        let (value, took) = self.run_on_worker(timed).await?;
        self.record(took);
        Ok(value)
    }

    /// Runs a call on a worker even if the file system is prompt, because the call takes long.
    pub async fn run_on_worker<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CallError> {
        if self.is_unresponsive() {
            return Err(CallError::NoAnswer);
        }
        let result = Arc::new(Mutex::new(None));
        let value = Arc::clone(&result);
        self.hand_over(Box::new(move || *lock(&value) = Some(call()))).await?;
        let value = lock(&result).take();
        value.ok_or(CallError::Defect)
    }

    /// Runs a job on a worker. Not generic, because each instance would add kilobytes of code.
    async fn hand_over(&self, job: Box<dyn FnOnce() + Send>) -> Result<(), CallError> {
        let job = async move { catch_unwind(AssertUnwindSafe(job)).map_err(|_| CallError::Defect) };
        let (runnable, ended) = async_task::spawn(job, |_| {});
        let pushed =
            self.workers.borrow_mut().push(&self.file_system, WorkerTask::Call(self.operations.caller(), runnable));
        if let Err(WorkerTask::Call(_, runnable)) = pushed {
            runnable.run();
        }
        // A call without a result was dropped, because the file system does not answer.
        ended.fallible().await.unwrap_or(Err(CallError::NoAnswer))
    }

    /// Syncs a file on a worker.
    pub async fn sync(&self, file: Arc<File>, kind: SyncKind) -> Result<(), SyncError> {
        let sync = self.workers.borrow().sync();
        match self.run_on_worker(move || sync(&file, kind)).await {
            Ok(synced) => Ok(synced?),
            Err(CallError::NoAnswer) => Err(SyncError::NoAnswer),
            Err(CallError::Defect) => Err(io::Error::other("a defect ended the sync of a file").into()),
        }
    }

    // ---- Changes --------------------------------------------------------------------------

    /// Marks the home as changing until the result is dropped.
    pub fn begin_change(&self) -> Changing {
        self.changes.running.set(self.changes.running.get() + 1);
        Changing { changes: Rc::clone(&self.changes), operations: self.operations.clone() }
    }

    /// Waits until no operation changes the home, and then marks it as changing. For operations that no session begins;
    /// sessions check [`Self::is_changing`].
    pub async fn begin_change_alone(&self) -> Changing {
        poll_fn(|context| {
            if self.changes.running.get() == 0 {
                return Poll::Ready(());
            }
            self.changes.waiting_operations.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.begin_change()
    }

    /// Returns whether an operation that changes the home is waiting for its file system. The ledger does not know
    /// its effect before it has completed, so no other change may begin. The session `caller` is woken then.
    pub fn is_changing(&self, caller: u64) -> bool {
        let is_changing = self.changes.running.get() > 0;
        let mut waiting = self.changes.waiting.borrow_mut();
        if is_changing && !waiting.contains(&caller) {
            waiting.push(caller);
        }
        is_changing
    }

    /// Returns whether the loop may call the file system itself, by [the rule](super::InlineRule).
    pub fn is_prompt(&self) -> bool {
        self.calls.get() == 0 && self.workers.borrow().is_prompt(self.file_system.device)
    }

    /// Makes the file system of this device known, unless it is known already. It may be mounted in the home.
    /// `is_local` returns whether it needs neither a network nor another program to answer.
    pub async fn learn(&self, device: u64, is_local: impl FnOnce() -> bool + Send + 'static) -> Result<(), CallError> {
        if self.workers.borrow().inline_rule.is_known(device) {
            return Ok(());
        }
        let is_local = self.on(device).run_on_worker(is_local).await?;
        self.workers.borrow_mut().add_file_system(device, is_local);
        Ok(())
    }

    /// Returns whether the file system needs neither a network nor another program to answer.
    pub fn is_local(&self) -> bool {
        let workers = self.workers.borrow();
        !workers.takes_closes() || workers.inline_rule.is_local(self.file_system.device)
    }

    /// Runs a call on the loop, while the file system [is prompt](Self::is_prompt).
    pub fn run_now<T>(&self, call: impl FnOnce() -> T) -> T {
        let began = monotonic::now();
        let value = call();
        self.record(began.elapsed());
        value
    }

    fn record(&self, took: Duration) {
        self.workers.borrow_mut().inline_rule.record(self.file_system.device, took, monotonic::now());
    }

    // ---- Closes ---------------------------------------------------------------------------

    /// Returns whether a worker can close another file.
    pub fn has_room(&self) -> bool {
        self.workers.borrow().takes_closes() && self.closes.load(Relaxed) < CLOSES_PER_HOME
    }

    /// Returns whether the queue of files to close is full, so that the home must wait for its file system.
    pub fn is_behind(&self) -> bool {
        self.closes.load(Relaxed) >= CLOSES_PER_HOME && !self.is_unresponsive()
    }

    /// Returns whether the home's file system does not answer.
    pub fn is_unresponsive(&self) -> bool {
        self.workers.borrow().is_unresponsive(self.file_system.device)
    }

    /// Returns the file system of this device, with the names of the home.
    pub fn file_system_on(&self, device: u64) -> FileSystem {
        self.file_system.on(device)
    }

    /// Like [`HomeFileSystem::file_system_on`], to run calls there.
    pub fn on(&self, device: u64) -> Self {
        Self { file_system: self.file_system.on(device), ..self.clone() }
    }

    /// Closes a `file` of this device on a worker, or at once if no worker can take it.
    pub fn close(&self, device: u64, file: Arc<File>) {
        let mut workers = self.workers.borrow_mut();
        if workers.takes_closes() {
            self.closes.fetch_add(1, Relaxed);
            let task = WorkerTask::Close(file, Arc::clone(&self.closes));
            // If the task is returned, dropping it closes the file.
            if workers.push(&self.file_system.on(device), task).is_err() {
                self.closes.fetch_sub(1, Relaxed);
            }
        }
    }
}

/// The operations that change a home.
#[derive(Default)]
struct RunningChanges {
    running: Cell<usize>,
    /// The sessions to wake when none is left.
    waiting: RefCell<Vec<u64>>,
    /// The operations to wake then, before the sessions.
    waiting_operations: RefCell<Vec<Waker>>,
}

/// Marks a home as changing. The next change may begin when all of them are dropped.
pub struct Changing {
    changes: Rc<RunningChanges>,
    operations: Operations,
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.changes.running.set(self.changes.running.get() - 1);
        if self.changes.running.get() == 0 {
            self.changes.waiting_operations.take().into_iter().for_each(Waker::wake);
            self.changes.waiting.take().into_iter().for_each(|caller| self.operations.wake(caller));
        }
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a call while it exists.
struct CallCount(Rc<Cell<usize>>);

impl CallCount {
    fn one_more(calls: &Rc<Cell<usize>>) -> Self {
        calls.set(calls.get() + 1);
        Self(Rc::clone(calls))
    }
}

impl Drop for CallCount {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
