//! Operations: work of a session that waits for calls on worker threads. An operation is a future that runs on
//! the loop, so its bookkeeping needs no locks. It begins at once, and completes at once if all its calls run
//! on the loop.
//!
//! An operation always runs to its end, because what its calls have changed on the disk must be accounted for.
//! If its session has ended or waits no longer, only its result is dropped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;

use async_task::Runnable;

/// The `caller` of an operation that no session waits for. No session has this number.
pub(in crate::store) const NO_CALLER: u64 = u64::MAX;

/// Why a call has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The file system does not answer, and the call was not begun.
    NoAnswer,
    /// The call panicked.
    Defect,
}

/// The operations of all sessions.
#[derive(Clone)]
pub struct Operations(Rc<Shared>);

struct Shared {
    /// The operations whose call has a result, as workers send them.
    ready: Receiver<Runnable>,
    ready_sender: Sender<Runnable>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// The session of the operation that runs now.
    caller: Cell<u64>,
    /// The sessions of operations that have completed after a wait.
    completed: RefCell<VecDeque<u64>>,
}

/// The result of an operation that was begun. Dropping it does not end the operation.
pub struct Operation<T> {
    /// The operation has the other reference until it ends.
    result: Rc<Cell<Option<T>>>,
}

impl Operations {
    /// Makes the set of operations. `wake` wakes the loop and is called on worker threads.
    pub(in crate::store) fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        let (ready_sender, ready) = channel();
        let (caller, completed) = (Cell::new(0), RefCell::default());
        Self(Rc::new(Shared { ready, ready_sender, wake, caller, completed }))
    }

    /// Begins an operation of the session with this number, and runs it as far as possible without waiting.
    pub fn begin<T: 'static>(&self, caller: u64, work: impl Future<Output = T> + 'static) -> Operation<T> {
        let result = Rc::new(Cell::new(None));
        let value = Rc::clone(&result);
        self.run(caller, Box::pin(async move { value.set(Some(work.await)) }));
        Operation { result }
    }

    /// Begins an operation that no session waits for.
    pub(in crate::store) fn begin_detached(&self, work: impl Future<Output = ()> + 'static) {
        self.run(NO_CALLER, Box::pin(work));
    }

    fn run(&self, caller: u64, mut work: Pin<Box<dyn Future<Output = ()>>>) {
        let mut end = OperationEnd { shared: Rc::clone(&self.0), caller, has_waited: false };
        let work = async move {
            poll_fn(|context| {
                // An operation may begin another one.
                let before = end.shared.caller.replace(caller);
                let polled = work.as_mut().poll(context);
                end.shared.caller.set(before);
                end.has_waited |= polled.is_pending();
                polled
            })
            .await;
            drop(work);
        };
        let (sender, wake) = (self.0.ready_sender.clone(), Arc::clone(&self.0.wake));
        let schedule = move |runnable| {
            // The loop has ended. An operation must not be dropped on a worker thread, and the process ends soon.
            if let Err(unsent) = sender.send(runnable) {
                std::mem::forget(unsent);
            }
            wake();
        };
        let (runnable, task) = async_task::spawn_local(work, schedule);
        task.detach();
        runnable.run();
    }

    /// Returns the session of the operation that runs now.
    pub(super) fn caller(&self) -> u64 {
        self.0.caller.get()
    }

    /// Continues the operations whose calls have results.
    pub fn run_ready(&self) {
        while let Ok(runnable) = self.0.ready.try_recv() {
            // After a panic the operation has no result. Its session is woken and gets an error.
            if catch_unwind(AssertUnwindSafe(|| runnable.run())).is_err() {
                log::error!("a defect ended an operation of a session");
            }
        }
    }

    /// Wakes a session as if its operation had completed.
    pub(super) fn wake(&self, caller: u64) {
        self.0.completed.borrow_mut().push_back(caller);
    }

    /// Returns a session whose operation has completed after a wait.
    pub fn take_completed(&self) -> Option<u64> {
        self.0.completed.borrow_mut().pop_front()
    }
}

/// Wakes the session of an operation that has waited, when the operation ends, even by a panic.
struct OperationEnd {
    shared: Rc<Shared>,
    caller: u64,
    has_waited: bool,
}

impl Drop for OperationEnd {
    fn drop(&mut self) {
        if self.has_waited {
            self.shared.completed.borrow_mut().push_back(self.caller);
        }
    }
}

impl<T> Operation<T> {
    /// Returns whether it has not completed yet.
    pub fn is_running(&self) -> bool {
        Rc::strong_count(&self.result) > 1
    }

    /// Returns the result once it exists. `Ready(None)`: the operation panicked, or the result was taken before.
    pub fn take(&mut self) -> Poll<Option<T>> {
        match self.result.take() {
            None if self.is_running() => Poll::Pending,
            result => Poll::Ready(result),
        }
    }
}
