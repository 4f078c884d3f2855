//! Written and unsynced bytes of each upload, account and file system, and the uploads that are due for
//! a sync.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Weak as WeakFile};
use std::time::{Duration, Instant};

use crate::store::syncer::{SYNC_STEP_BYTES, UNSYNCED_BYTES_MAX, UNSYNCED_BYTES_MAX_TOTAL};
use crate::store::workers::{FileSystem, Ticket};

/// The interval between two checks for paused uploads. Their bytes are synced one to two intervals after the
/// last write.
pub(super) const IDLE_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Called when a sync of an upload fails, even after its session has ended.
pub type OnFailure = Rc<dyn Fn()>;

/// The unsynced bytes of all uploads to one file system.
#[derive(Default)]
struct FileSystemTotal {
    bytes: Cell<u64>,
    /// The number of accounts with unsynced bytes.
    accounts: Cell<u64>,
}

/// The unsynced bytes of one account's uploads to one file system.
struct AccountShare {
    total: Rc<FileSystemTotal>,
    bytes: Cell<u64>,
}

impl AccountShare {
    fn set(&self, bytes: u64) {
        let before = self.bytes.replace(bytes);
        self.total.bytes.set(self.total.bytes.get() - before + bytes);
        match (before, bytes) {
            (0, 1..) => self.total.accounts.set(self.total.accounts.get() + 1),
            (1.., 0) => self.total.accounts.set(self.total.accounts.get() - 1),
            _ => {}
        }
    }

    fn is_full(&self) -> bool {
        self.total.bytes.get() >= UNSYNCED_BYTES_MAX_TOTAL
    }

    /// Returns whether the total is at its bound and this account has its equal share of it or more. This
    /// keeps the total below twice the bound.
    fn exceeds_share(&self) -> bool {
        self.is_full() && self.bytes.get() >= UNSYNCED_BYTES_MAX_TOTAL / self.total.accounts.get().max(1)
    }
}

/// The unsynced bytes of one upload, and its running sync.
pub(super) struct UnsyncedUpload {
    pub(super) caller: u64,
    pub(super) file_system: FileSystem,
    file: WeakFile<File>,
    pub(super) on_failure: OnFailure,
    share: Rc<AccountShare>,
    bytes: Cell<u64>,
    /// The size of the file.
    length: Cell<u64>,
    /// The ticket of the running sync, the unsynced bytes that it covers, and the length of the file then.
    running_sync: Cell<Option<(Ticket, u64, u64)>>,
    /// Bytes have been written since the last check.
    has_new_bytes: Cell<bool>,
}

impl UnsyncedUpload {
    /// Returns the file to sync, if it has unsynced bytes and no sync is running.
    pub(super) fn unsynced_file(&self) -> Option<Arc<File>> {
        if self.bytes.get() == 0 || self.running_sync.get().is_some() { None } else { self.file.upgrade() }
    }

    pub(super) fn begin_sync(&self, ticket: Ticket) {
        self.running_sync.set(Some((ticket, self.bytes.get(), self.length.get())));
    }

    fn set(&self, bytes: u64) {
        let before = self.bytes.replace(bytes);
        self.share.set(self.share.bytes.get() - before + bytes);
    }
}

/// The registration of one upload's unsynced bytes. Dropping it subtracts them from the total.
pub struct Unsynced(pub(super) Rc<UnsyncedUpload>);

impl Unsynced {
    /// Returns whether the bound of unsynced bytes is reached. An upload without unsynced bytes may always
    /// continue, so that the bound of the file system cannot block it for ever.
    pub fn is_at_bound(&self) -> bool {
        let own = self.0.bytes.get();
        own >= UNSYNCED_BYTES_MAX || (own > 0 && self.0.share.exceeds_share())
    }

    /// Ends the running sync, if it has this ticket. Returns the unsynced bytes that it covered, and the length
    /// of the file when it began.
    pub fn end_sync(&self, ticket: Ticket) -> Option<(u64, u64)> {
        let (_, bytes, length) = self.0.running_sync.get().filter(|(own, ..)| *own == ticket)?;
        self.0.running_sync.set(None);
        Some((bytes, length))
    }

    /// Records that this many bytes are on disk.
    pub fn subtract(&self, bytes: u64) {
        self.0.set(self.0.bytes.get().saturating_sub(bytes));
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

/// All uploads with unsynced bytes.
#[derive(Default)]
pub(super) struct UnsyncedUploads {
    all: Vec<Weak<UnsyncedUpload>>,
    totals: HashMap<u64, Weak<FileSystemTotal>>,
    /// By device and account.
    shares: HashMap<(u64, u64), Weak<AccountShare>>,
    next_check_at: Option<Instant>,
}

impl UnsyncedUploads {
    /// Registers a new upload.
    pub(super) fn add(
        &mut self,
        caller: u64,
        file_system: FileSystem,
        file: &Arc<File>,
        on_failure: OnFailure,
    ) -> Unsynced {
        let upload = UnsyncedUpload {
            caller,
            share: self.share(&file_system),
            file_system,
            file: Arc::downgrade(file),
            on_failure,
            bytes: Cell::new(0),
            length: Cell::new(0),
            running_sync: Cell::new(None),
            has_new_bytes: Cell::new(false),
        };
        let upload = Rc::new(upload);
        self.all.push(Rc::downgrade(&upload));
        Unsynced(upload)
    }

    fn share(&mut self, file_system: &FileSystem) -> Rc<AccountShare> {
        let key = (file_system.device, file_system.account);
        if let Some(share) = self.shares.get(&key).and_then(Weak::upgrade) {
            return share;
        }
        let total = self.totals.get(&file_system.device).and_then(Weak::upgrade).unwrap_or_else(|| {
            let total = Rc::default();
            self.totals.insert(file_system.device, Rc::downgrade(&total));
            total
        });
        let share = Rc::new(AccountShare { total, bytes: Cell::new(0) });
        self.shares.insert(key, Rc::downgrade(&share));
        share
    }

    /// Records bytes written to a file of size `length`. Returns the uploads that are due for a sync
    /// because of them.
    pub(super) fn record_written(
        &mut self,
        unsynced: &Unsynced,
        bytes: u64,
        length: u64,
        now: Option<Instant>,
    ) -> Vec<Rc<UnsyncedUpload>> {
        let (upload, share) = (&unsynced.0, &unsynced.0.share);
        let was_full = share.is_full();
        upload.set(upload.bytes.get() + bytes);
        upload.length.set(length);
        upload.has_new_bytes.set(true);
        self.next_check_at = self.next_check_at.or_else(|| Some(now? + IDLE_SYNC_INTERVAL));
        if share.is_full() && !was_full {
            // The uploads with the most bytes are synced, and not the new ones.
            let must_sync = |other: &Rc<UnsyncedUpload>| {
                Rc::ptr_eq(&other.share.total, &share.total) && other.share.exceeds_share()
            };
            return self.all.iter().filter_map(Weak::upgrade).filter(must_sync).collect();
        }
        if upload.bytes.get() >= SYNC_STEP_BYTES { vec![Rc::clone(upload)] } else { Vec::new() }
    }

    /// Returns when [`UnsyncedUploads::take_idle`] has work.
    pub(super) fn next_check_at(&self) -> Option<Instant> {
        self.next_check_at
    }

    /// Returns the uploads without new bytes since the last check.
    pub(super) fn take_idle(&mut self, now: Instant) -> Vec<Rc<UnsyncedUpload>> {
        if self.next_check_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.all.retain(|upload| upload.strong_count() > 0);
        self.shares.retain(|_, share| share.strong_count() > 0);
        self.totals.retain(|_, total| total.strong_count() > 0);
        let (mut idle, mut is_any_busy) = (Vec::new(), false);
        for upload in self.all.iter().filter_map(Weak::upgrade).filter(|upload| upload.bytes.get() > 0) {
            if upload.has_new_bytes.replace(false) || upload.running_sync.get().is_some() {
                is_any_busy = true;
            } else {
                idle.push(upload);
            }
        }
        // An upload that is synced now is checked again when more bytes come.
        self.next_check_at = is_any_busy.then(|| now + IDLE_SYNC_INTERVAL);
        idle
    }
}
