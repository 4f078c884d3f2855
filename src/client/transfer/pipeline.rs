//! The interface between the engine and each direction, and what both directions share: the queue of files and the
//! results.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::transfer::job::{TransferJob, TransferResult};
use crate::client::ui::progress::Progress;

/// The transfers in one direction on one connection. Requests are sent ahead, and the replies arrive in their order,
/// so small files cost no round trip each.
pub(super) trait TransferPipeline: Default + 'static {
    /// A file and its progress on earlier connections.
    type Item: Send;

    /// Prepares the files of one command.
    fn items(jobs: Vec<TransferJob>) -> Vec<Self::Item>;

    /// Returns the size of a file in bytes, as planned.
    fn size(item: &Self::Item) -> u64;

    /// Transfers a file or waits for the next reply. Returns false when no file is left.
    fn step(
        &mut self,
        session: &mut Session,
        queue: &mut TransferQueue<Self::Item>,
        progress: &mut Progress,
    ) -> Result<bool, Failure>;

    /// Queues again what a lost connection left unconfirmed.
    fn resume(&mut self, session: &mut Session, progress: &mut Progress) -> Result<(), Failure>;

    /// Returns the files that this connection will not finish, because `failure` ends its transfers.
    fn give_up(&mut self, session: &mut Session, failure: &Failure) -> Vec<Self::Item>;

    /// Returns the results that have not been reported yet.
    fn results(&mut self) -> &mut ResultQueue;
}

/// The files that wait on one connection: its own, and those that it shares with the other connection.
pub(super) struct TransferQueue<I> {
    own: VecDeque<I>,
    shared: Arc<Mutex<VecDeque<I>>>,
}

impl<I> TransferQueue<I> {
    /// Creates the queue of a connection that shares no files.
    pub(super) fn unshared(own: Vec<I>) -> Self {
        Self { own: own.into(), shared: Arc::default() }
    }

    /// Creates the queues of two connections. Only the first one takes `own` files.
    pub(super) fn for_two_connections(own: Vec<I>, shared: Vec<I>) -> (Self, Self) {
        let shared = Arc::new(Mutex::new(VecDeque::from(shared)));
        let second = Self { own: VecDeque::new(), shared: Arc::clone(&shared) };
        (Self { own: own.into(), shared }, second)
    }

    /// Takes the next file that only this connection may take.
    pub(super) fn take_own(&mut self) -> Option<I> {
        self.own.pop_front()
    }

    /// Takes the next file that the other connection could also take.
    pub(super) fn take_shared(&mut self) -> Option<I> {
        self.shared().pop_front()
    }

    /// Puts files back into the shared queue for the other connection, because this connection has failed.
    pub(super) fn requeue(&mut self, items: Vec<I>) {
        self.shared().extend(items);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared().is_empty()
    }

    fn shared(&self) -> MutexGuard<'_, VecDeque<I>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The results that wait to be reported. While a long file is transferred, they are only shown.
#[derive(Default)]
pub(super) struct ResultQueue {
    waiting: VecDeque<TransferResult>,
    /// The number of these that the progress display has counted.
    shown: usize,
}

impl ResultQueue {
    pub(super) fn push(&mut self, result: TransferResult) {
        self.waiting.push_back(result);
    }

    /// Takes the oldest result. The caller has shown it.
    pub(super) fn pop(&mut self) -> Option<TransferResult> {
        let result = self.waiting.pop_front();
        self.shown = self.shown.saturating_sub(1);
        result
    }

    /// Shows which files are done.
    pub(super) fn show(&mut self, progress: &mut Progress) {
        for (job, result) in self.waiting.iter().skip(self.shown) {
            if let Ok(transferred) = result {
                progress.finish_file(&job.remote, transferred.size);
            }
        }
        self.shown = self.waiting.len();
    }
}
