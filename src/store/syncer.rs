//! What would stall the loop, done beside it. One helper thread owns nothing but the
//! descriptors it is handed: it syncs each, says so, and wakes the loop; or it only closes it,
//! which for the last descriptor of a removed file means freeing what may be gigabytes. A slow
//! disk thereby holds up the uploads that need it and nobody else.

pub use crate::disk_sync::Flush;
use crate::disk_sync::flush;
use crate::limits::{ERRANDS_MAX, UNSYNCED_BYTES_MAX_TOTAL};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};

/// Names one job, so that an answer to an upload that has ended is not taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

struct Job {
    owner: u64,
    ticket: Ticket,
    file: Arc<File>,
    flush: Flush,
}

enum Errand {
    Sync(Job),
    Close(Arc<File>),
}

/// The answer to a job.
#[derive(Debug)]
pub struct Synced {
    /// Who asked.
    pub owner: u64,
    /// Which job.
    pub ticket: Ticket,
    /// Whether what was written is on disk.
    pub result: io::Result<()>,
}

/// The loop's side of the helper.
pub struct Syncer {
    helper: Option<(SyncSender<Errand>, Receiver<Synced>)>,
    /// Jobs kept here: all of them without a helper, else those its queue had no room for.
    waiting: VecDeque<Job>,
    /// What a failure means to others than those who asked, who may be gone when it is known.
    on_failure: HashMap<Ticket, Box<dyn FnOnce()>>,
    next_ticket: u64,
    unsynced: Rc<Cell<u64>>,
}

impl Syncer {
    /// Without a helper: jobs are carried out by whoever calls [`Syncer::take_synced`].
    pub fn inline() -> Self {
        Self {
            helper: None,
            waiting: VecDeque::new(),
            on_failure: HashMap::new(),
            next_ticket: 0,
            unsynced: Rc::default(),
        }
    }

    /// With a helper thread that calls `wake` after each job.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (errands, inbox) = sync_channel(ERRANDS_MAX);
        let (outbox, answers) = channel();
        std::thread::Builder::new().name("sync".into()).spawn(move || {
            for errand in inbox {
                match errand {
                    Errand::Close(file) => drop(file),
                    Errand::Sync(job) => match outbox.send(job.run()) {
                        Ok(()) => wake(),
                        Err(_) => return,
                    },
                }
            }
        })?;
        Ok(Self { helper: Some((errands, answers)), ..Self::inline() })
    }

    /// Asks for a flush. The answer comes through [`Syncer::take_synced`].
    pub fn sync(&mut self, owner: u64, file: Arc<File>, flush: Flush) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.waiting.push_back(Job { owner, ticket, file, flush });
        self.hand_over();
        ticket
    }

    /// The same, and if it fails `on_failure` is called before the answer is given.
    pub fn sync_or(&mut self, owner: u64, file: Arc<File>, flush: Flush, on_failure: Box<dyn FnOnce()>) -> Ticket {
        let ticket = self.sync(owner, file, flush);
        self.on_failure.insert(ticket, on_failure);
        ticket
    }

    fn hand_over(&mut self) {
        let Some((errands, _)) = &self.helper else { return };
        while let Some(job) = self.waiting.pop_front() {
            let Err(error) = errands.try_send(Errand::Sync(job)) else { continue };
            // If the helper is gone, the loop syncs by itself rather than not at all.
            let is_gone = matches!(error, TrySendError::Disconnected(_));
            if let TrySendError::Full(Errand::Sync(job)) | TrySendError::Disconnected(Errand::Sync(job)) = error {
                self.waiting.push_front(job);
            }
            if is_gone {
                self.helper = None;
            }
            return;
        }
    }

    /// The next answer, if there is one.
    pub fn take_synced(&mut self) -> Option<Synced> {
        let synced = self.next_answer()?;
        if let Some(on_failure) = self.on_failure.remove(&synced.ticket)
            && synced.result.is_err()
        {
            on_failure();
        }
        Some(synced)
    }

    fn next_answer(&mut self) -> Option<Synced> {
        self.hand_over();
        match &self.helper {
            None => self.waiting.pop_front().map(Job::run),
            Some((_, answers)) => match answers.try_recv() {
                Ok(synced) => Some(synced),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => {
                    log::error!("the sync helper has ended; the loop syncs by itself from now on");
                    self.helper = None;
                    None
                }
            },
        }
    }

    /// Whether jobs wait for [`Syncer::take_synced`] itself to carry them out.
    pub fn has_work(&self) -> bool {
        self.helper.is_none() && !self.waiting.is_empty()
    }

    /// For whoever removes large files.
    pub fn closer(&self) -> Closer {
        Closer(self.helper.as_ref().map(|(errands, _)| errands.clone()))
    }

    /// An account of one upload's bytes that are written and not yet synced.
    pub fn unsynced(&self) -> Unsynced {
        Unsynced { total: Rc::clone(&self.unsynced), own: 0 }
    }
}

impl Job {
    fn run(self) -> Synced {
        Synced { owner: self.owner, ticket: self.ticket, result: flush(&self.file, self.flush) }
    }
}

/// Closes files where it holds nobody up.
#[derive(Clone, Default)]
pub struct Closer(Option<SyncSender<Errand>>);

impl Closer {
    /// Closes `file` beside the loop, or here and now if that cannot be.
    pub fn close(&self, file: Arc<File>) {
        if let Some(errands) = &self.0 {
            // A full queue gives the file back, and dropping it closes it.
            drop(errands.try_send(Errand::Close(file)));
        }
    }
}

/// One upload's share of what is written and not yet synced; leaves the total when dropped.
pub struct Unsynced {
    total: Rc<Cell<u64>>,
    own: u64,
}

impl Unsynced {
    /// Notes bytes written.
    pub fn add(&mut self, bytes: u64) {
        self.own += bytes;
        self.total.set(self.total.get() + bytes);
    }

    /// Notes bytes synced.
    pub fn subtract(&mut self, bytes: u64) {
        let bytes = bytes.min(self.own);
        self.own -= bytes;
        self.total.set(self.total.get() - bytes);
    }

    /// This upload's bytes.
    pub fn own(&self) -> u64 {
        self.own
    }

    /// Whether all uploads together are at their bound.
    pub fn is_total_full(&self) -> bool {
        self.total.get() >= UNSYNCED_BYTES_MAX_TOTAL
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        self.subtract(self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_carry_their_owner_and_wake_the_loop() {
        let (wakes, woken) = channel();
        let mut syncer = Syncer::start(move || {
            let _ = wakes.send(());
        })
        .expect("thread");
        let file = Arc::new(tempfile::tempfile().expect("file"));
        let ticket = syncer.sync(7, file, Flush::Data);
        woken.recv().expect("woken");
        let synced = syncer.take_synced().expect("answer");
        assert_eq!((synced.owner, synced.ticket, synced.result.is_ok()), (7, ticket, true));
        assert!(syncer.take_synced().is_none());
    }

    #[test]
    fn without_a_helper_the_caller_does_the_work() {
        let mut syncer = Syncer::inline();
        let file = Arc::new(tempfile::tempfile().expect("file"));
        syncer.sync(1, file, Flush::Folder);
        assert!(syncer.has_work());
        assert!(syncer.take_synced().is_some_and(|synced| synced.result.is_ok()));
        assert!(!syncer.has_work());
    }

    #[test]
    fn an_upload_that_ends_leaves_the_total() {
        let syncer = Syncer::inline();
        let (mut one, mut two) = (syncer.unsynced(), syncer.unsynced());
        one.add(UNSYNCED_BYTES_MAX_TOTAL);
        two.add(5);
        two.subtract(2);
        assert_eq!((two.own(), two.is_total_full()), (3, true));
        drop(one);
        assert!(!two.is_total_full());
        drop(two);
        assert_eq!(syncer.unsynced.get(), 0);
    }
}
