//! Syncs running uploads on the workers of their file systems, so that the sync at the end of an upload is short.
//! The workers report the results and wake the loop. The server does not wait for a file system that does not answer.
//! The sync at the end of an upload is a call of its operation, and does not pass through here.
//!
//! ```text
//! request ──► worker of the file system ──► result ──► take_synced
//!                        └─ no answer in time ──► NoAnswer, also for all later syncs until it answers
//! ```

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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::Poll;

    use super::*;
    use crate::base::disk_sync;
    use crate::store::workers::operations::CallError;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn file_system(device: u64, account: u64) -> FileSystem {
        let path: Rc<Path> = Path::new("/homes").into();
        FileSystem { device, account, home: Rc::clone(&path), path }
    }

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().expect("file"))
    }

    fn unsynced(syncer: &mut Syncer, caller: u64, account: u64, file: &Arc<File>) -> Unsynced {
        syncer.register_unsynced(caller, file_system(1, account), file, Rc::new(|| {}))
    }

    #[test]
    fn results_name_their_session_and_wake_the_loop() {
        let (wakes, woken) = channel();
        let mut syncer = Syncer::start(move || {
            let _ = wakes.send(());
        });
        let ticket = syncer.sync(7, &file_system(1, 1), file(), Rc::new(|| {}));
        woken.recv().expect("woken");
        let synced = syncer.take_synced().expect("answer");
        assert_eq!((synced.caller, synced.ticket, synced.result.is_ok()), (7, ticket, true));
        assert!(syncer.take_synced().is_none());
    }

    #[test]
    fn a_panic_ends_one_call_or_operation_and_tells_its_session() {
        let mut syncer = Syncer::held(disk_sync::sync);
        syncer.set_prompt(false);
        let file_system = syncer.home_file_system(file_system(1, 1), false);
        let end = |syncer: &mut Syncer, caller| {
            assert!(syncer.run_held(|waiting| waiting == caller));
            assert_eq!(syncer.operations().take_completed(), Some(caller));
        };
        let here = file_system.clone();
        let mut call = syncer.operations().begin(7, async move { here.run(|| panic!("a test")).await });
        end(&mut syncer, 7);
        assert!(matches!(call.take(), Poll::Ready(Some(Err::<(), _>(CallError::Defect)))));
        let here = file_system.clone();
        let mut operation = syncer.operations().begin(8, async move {
            let _ = here.run(|| ()).await;
            panic!("a test")
        });
        end(&mut syncer, 8);
        assert!(matches!(operation.take(), Poll::Ready(None::<()>)));
        let mut next = syncer.operations().begin(9, async move { file_system.run(|| 5).await });
        end(&mut syncer, 9);
        assert!(matches!(next.take(), Poll::Ready(Some(Ok(5)))));
    }

    #[test]
    fn without_threads_a_sync_waits_until_it_is_run() {
        let mut syncer = Syncer::held(disk_sync::sync);
        syncer.sync(1, &file_system(1, 1), file(), Rc::new(|| {}));
        assert!(syncer.has_held() && syncer.take_synced().is_none());
        assert!(!syncer.run_held(|caller| caller == 2) && syncer.run_held(|caller| caller == 1));
        assert!(syncer.take_synced().is_some_and(|synced| synced.result.is_ok()));
        assert!(!syncer.has_held() && !syncer.has_work());
    }

    #[test]
    fn an_upload_that_ends_leaves_the_total() {
        let (mut syncer, file) = (Syncer::held(disk_sync::sync), file());
        let (one, two) = (unsynced(&mut syncer, 1, 1, &file), unsynced(&mut syncer, 2, 1, &file));
        syncer.record_written(&one, UNSYNCED_BYTES_MAX_TOTAL, 0);
        syncer.record_written(&two, 5, 5);
        two.subtract(2);
        assert!(two.is_at_bound(), "the account has all there is");
        drop(one);
        assert!(!two.is_at_bound());
    }

    /// Each upload has one byte less than the size that triggers a sync.
    #[test]
    fn idle_uploads_of_one_account_are_synced_and_do_not_delay_another_account() {
        let (mut syncer, file) = (Syncer::held(disk_sync::sync), file());
        let idle: Vec<Unsynced> = (0..9).map(|caller| unsynced(&mut syncer, caller, 1, &file)).collect();
        for one in &idle[..8] {
            syncer.record_written(one, SYNC_STEP_BYTES - 1, SYNC_STEP_BYTES - 1);
        }
        assert!(!syncer.has_held());
        syncer.record_written(&idle[8], SYNC_STEP_BYTES - 1, SYNC_STEP_BYTES - 1);
        assert_eq!(syncer.pending.len(), 9, "the total is at its bound, so all uploads above their share are synced");
        let other = unsynced(&mut syncer, 100, 2, &file);
        syncer.record_written(&other, 1 << 20, 1 << 20);
        assert!(idle[0].is_at_bound() && !other.is_at_bound());
        while syncer.run_held(|_| true) {}
        while let Some(synced) = syncer.take_synced() {
            let (bytes, _) = idle[synced.caller as usize].end_sync(synced.ticket).expect("its own");
            idle[synced.caller as usize].subtract(bytes);
        }
        assert!(idle.iter().all(|one| !one.is_at_bound()));
    }

    #[test]
    fn bytes_of_a_paused_upload_are_synced_after_a_while() {
        let (mut syncer, file, began) = (Syncer::held(disk_sync::sync), file(), Instant::now());
        let one = unsynced(&mut syncer, 1, 1, &file);
        let check = |syncer: &mut Syncer| {
            let at = syncer.next_at(PATIENCE).expect("a check is due");
            syncer.tick(at, PATIENCE);
            at
        };
        syncer.tick(began, PATIENCE);
        assert_eq!(syncer.next_at(PATIENCE), None);
        syncer.record_written(&one, 10, 10);
        check(&mut syncer);
        syncer.record_written(&one, 10, 20);
        check(&mut syncer);
        assert!(!syncer.has_held(), "bytes have come since the last check");
        let at = check(&mut syncer);
        assert!(syncer.run_held(|_| true) && at <= began + unsynced::IDLE_SYNC_INTERVAL * 3);
        let synced = syncer.take_synced().expect("synced");
        assert_eq!(one.end_sync(synced.ticket), Some((20, 20)));
        one.subtract(20);
        assert_eq!(syncer.next_at(PATIENCE), None, "no further check is due");
    }

    /// A syncer whose workers hang after their first result, until the sender is dropped.
    fn stuck() -> (Syncer, std::sync::mpsc::Sender<()>, Receiver<()>) {
        let (go, wait) = channel::<()>();
        let (wakes, woken) = channel();
        let wait = Mutex::new(wait);
        let syncer = Syncer::start(move || {
            let _ = wakes.send(());
            let _ = wait.lock().map(|wait| wait.recv());
        });
        (syncer, go, woken)
    }

    #[test]
    fn a_file_system_that_does_not_answer_is_given_up_until_it_does() {
        let (mut syncer, go, woken) = stuck();
        syncer.tick(Instant::now(), PATIENCE);
        let failures = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&failures);
        syncer.sync(1, &file_system(1, 1), file(), Rc::new(|| {}));
        woken.recv().expect("it hangs from now on");
        assert!(syncer.take_synced().is_some());
        let on_failure: OnFailure = Rc::new(move || count.set(count.get() + 1));
        let waits = syncer.sync(2, &file_system(1, 1), file(), on_failure);
        let due = syncer.next_at(PATIENCE).expect("a sync is pending");
        syncer.tick(due - Duration::from_millis(1), PATIENCE);
        assert!(syncer.take_synced().is_none() && syncer.unresponsive_file_systems().is_empty());
        syncer.tick(due, PATIENCE);
        let synced = syncer.take_synced().expect("the result NoAnswer");
        assert_eq!((synced.caller, synced.ticket), (2, waits));
        assert!(matches!(synced.result, Err(SyncError::NoAnswer)) && failures.get() == 0);
        assert_eq!((syncer.next_at(PATIENCE), syncer.unresponsive_file_systems().len()), (None, 1));
        // Later syncs are refused at once, except on other file systems.
        syncer.sync(3, &file_system(1, 1), file(), Rc::new(|| {}));
        let synced = syncer.take_synced().expect("at once");
        assert!(synced.caller == 3 && matches!(synced.result, Err(SyncError::NoAnswer)));
        syncer.sync(4, &file_system(2, 1), file(), Rc::new(|| {}));
        woken.recv().expect("another disk");
        assert!(syncer.take_synced().is_some_and(|synced| synced.caller == 4 && synced.result.is_ok()));
        // Any result shows that the file system answers again.
        syncer.home_file_system(file_system(1, 1), true).close(1, file());
        drop(go);
        woken.recv().expect("the worker has closed a file");
        assert!(syncer.take_synced().is_none() && syncer.unresponsive_file_systems().is_empty());
        syncer.sync(5, &file_system(1, 1), file(), Rc::new(|| {}));
        woken.recv().expect("it works again");
        assert!(syncer.take_synced().is_some_and(|synced| synced.caller == 5 && synced.result.is_ok()));
        assert!(syncer.pending.is_empty());
    }
}
