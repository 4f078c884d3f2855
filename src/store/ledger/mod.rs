//! The ledger of one home: its usage, reservations and limits. Bytes are the sizes of regular files, each inode
//! once, including partial uploads. Files are all entries, including directories. There is no usage file:
//! the ledger starts from a count of the disk, in slices.
//!
//! ```text
//!             begin_recount, begin_check          count finished
//!  Counted ────────────────────────────────► Counting ───────────► Counted
//!  While Counting, the home must not be changed. A session that needs a change drives the count.
//! ```
//!
//! A count sees only names. The space of open files without a name is a separate figure. It counts
//! against the limits like the others, and no count changes it.

mod nameless;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::StoreError;
use super::count::{Count, Counted, UnreadableEntries};
use super::usage::{InodeId, Usage};
use crate::base::text::Size;
use nameless::OpenFiles;

/// A home without sessions is counted again once its last count is this old.
pub const RECOUNT_AFTER: Duration = Duration::from_secs(5 * 60);

/// The limits of an account; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaLimits {
    /// The largest sum of file sizes, in bytes.
    pub bytes: Option<u64>,
    /// The largest number of entries of any kind.
    pub files: Option<u64>,
}

/// The state of a quota at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaState {
    /// Whether the home was counted. Without that, `used` means nothing.
    pub is_counted: bool,
    /// Usage on disk of entries with a name.
    pub used: Usage,
    /// Usage on disk of files without a name, until this server closes them: uploads before they get their
    /// name, and files that were removed or replaced while they were sent.
    pub nameless: Usage,
    /// Reserved for uploads and not yet on disk.
    pub reserved: Usage,
    /// The limits of the account.
    pub limits: QuotaLimits,
}

impl QuotaState {
    /// Returns the usage on disk of files with and without a name.
    pub fn stored(&self) -> Usage {
        self.used + self.nameless
    }
}

/// The reservations of all sessions. In an account without a limit the sum of bytes can exceed 64 bits.
#[derive(Clone, Copy, Default)]
struct ReservedTotal {
    bytes: u128,
    files: u64,
}

enum Counting {
    Done,
    Due(CountPurpose),
    Running(Box<Count>, CountPurpose),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CountPurpose {
    /// The count replaces the ledger's usage.
    Recount,
    /// The count only reports its result; the ledger is not changed.
    Verify,
}

/// The result of [`Ledger::continue_count`].
pub(super) enum CountProgress {
    /// The ledger is exact again. Holds what the previous count could not read.
    Finished(UnreadableEntries),
    /// The budget is spent.
    Later,
    /// The home was changed during the count, which starts again.
    Disturbed,
}

/// The ledger of one home, shared by all its sessions.
pub struct Ledger {
    limits: Cell<QuotaLimits>,
    used: Cell<Usage>,
    open: OpenFiles,
    reserved: Cell<ReservedTotal>,
    counting: RefCell<Counting>,
    /// The usage that the last count found.
    on_disk: Cell<Option<Usage>>,
    /// Entries that it could not read.
    unreadable: RefCell<UnreadableEntries>,
    /// The time of the last count, in nanoseconds since the epoch.
    counted_ns: Cell<i64>,
    /// The home was changed during a count, so it must run again.
    disturbed: Cell<bool>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            limits: Cell::default(),
            used: Cell::default(),
            open: OpenFiles::default(),
            reserved: Cell::default(),
            counting: RefCell::new(Counting::Due(CountPurpose::Recount)),
            on_disk: Cell::new(None),
            unreadable: RefCell::default(),
            counted_ns: Cell::new(0),
            disturbed: Cell::new(false),
        }
    }
}

impl Ledger {
    /// Replaces the limits. Existing usage and reservations may exceed them; new reservations may not.
    pub fn set_limits(&self, limits: QuotaLimits) {
        self.limits.set(limits);
    }

    /// Reserves quota, or returns which limit it would exceed.
    pub fn reserve(self: &Rc<Self>, bytes: u64, files: u64) -> Result<Reservation, StoreError> {
        let reservation = Reservation { ledger: Rc::clone(self), unused: Cell::default() };
        reservation.grow(bytes, files)?;
        Ok(reservation)
    }

    /// Records that `bytes` and `files` have left the disk.
    pub fn credit(&self, bytes: u64, files: u64) {
        self.disturbed.set(true);
        let used = self.used.get();
        if used.bytes < bytes || used.files < files {
            // Another program changed these files, so the ledger is wrong.
            self.begin_recount();
        }
        self.used.set(Usage { bytes: used.bytes.saturating_sub(bytes), files: used.files.saturating_sub(files) });
    }

    /// Records that an inode has lost its last name. If the server has it open, it counts as nameless until it
    /// is closed.
    pub fn credit_inode(&self, id: InodeId, bytes: u64) {
        let usage = Usage { bytes, files: 1 };
        self.credit(usage.bytes, usage.files);
        let files = self.open.of(id);
        if !files.is_empty() {
            self.open.grow(usage);
            self.open.release_when_closed(files, usage);
        }
    }

    /// Records that a file of this home is open.
    pub(super) fn record_open(&self, id: InodeId, file: &Arc<File>) {
        self.open.add(id, file);
    }

    /// Drops the closed descriptors of this inode.
    pub(super) fn record_closed(&self, id: InodeId) {
        self.open.remove_closed(id);
    }

    /// Records that a file without a name has got one.
    pub(super) fn record_named(&self, usage: Usage) {
        self.disturbed.set(true);
        self.open.shrink(usage);
        self.used.set(self.used.get() + usage);
    }

    /// Records that a file without a name was dropped; it counts until `file` is closed.
    pub(super) fn give_up_nameless(&self, usage: Usage, file: Weak<File>) {
        self.open.release_when_closed(vec![file], usage);
    }

    /// Requires a new count before the next change.
    pub fn begin_recount(&self) {
        *self.counting.borrow_mut() = Counting::Due(CountPurpose::Recount);
    }

    /// Requires a new count before the next change if the last one is old, or lies in the future because
    /// the clock was set back: an administrator may have copied files into a home without sessions.
    pub fn recount_if_old(&self, now_ns: i64) {
        let age_ns = now_ns.abs_diff(self.counted_ns.get());
        if self.is_counted() && u128::from(age_ns) >= RECOUNT_AFTER.as_nanos() {
            self.begin_recount();
        }
    }

    /// Requires a count before the next change, whose result is only reported by [`Ledger::on_disk`]. If the
    /// home was never counted, the count also sets the usage.
    pub fn begin_check(&self) {
        let mut counting = self.counting.borrow_mut();
        if let Counting::Done = *counting {
            *counting = Counting::Due(CountPurpose::Verify);
        }
    }

    /// Returns the usage that the last count found on disk.
    pub fn on_disk(&self) -> Option<Usage> {
        self.on_disk.get()
    }

    /// Returns what the last count could not read.
    pub fn unreadable(&self) -> UnreadableEntries {
        self.unreadable.borrow().clone()
    }

    /// Returns whether a count will begin that replaces the usage.
    pub(super) fn is_recount_due(&self) -> bool {
        matches!(*self.counting.borrow(), Counting::Due(CountPurpose::Recount))
    }

    /// Takes the running count, to continue it. Returns `None` if it has not begun.
    pub(super) fn take_count(&self) -> (Option<Box<Count>>, CountPurpose) {
        let mut counting = self.counting.borrow_mut();
        let purpose = match &*counting {
            Counting::Done => CountPurpose::Verify,
            Counting::Due(purpose) | Counting::Running(_, purpose) => *purpose,
        };
        // If it does not come back, it begins again.
        match std::mem::replace(&mut *counting, Counting::Due(purpose)) {
            Counting::Running(count, _) => (Some(count), purpose),
            Counting::Done | Counting::Due(_) => {
                self.disturbed.set(false);
                (None, purpose)
            }
        }
    }

    /// Puts a count back, or its result. `now_ns` is the time of the wall clock, in nanoseconds since the epoch.
    pub(super) fn continue_count(
        &self,
        count: Box<Count>,
        purpose: CountPurpose,
        counted: Option<Counted>,
        now_ns: i64,
    ) -> CountProgress {
        let mut counting = self.counting.borrow_mut();
        let Some(Counted { usage: found, unreadable }) = counted else {
            // Another count may have been required since it was taken.
            if matches!(&*counting, Counting::Due(due) if *due == purpose) {
                *counting = Counting::Running(count, purpose);
            }
            return CountProgress::Later;
        };
        if self.disturbed.get() || !matches!(&*counting, Counting::Due(due) if *due == purpose) {
            return CountProgress::Disturbed;
        }
        let before = self.unreadable.replace(unreadable);
        self.on_disk.set(Some(found));
        if purpose == CountPurpose::Recount {
            self.used.set(found);
        }
        self.counted_ns.set(now_ns);
        *counting = Counting::Done;
        CountProgress::Finished(before)
    }

    /// Returns whether the ledger is exact.
    pub fn is_counted(&self) -> bool {
        matches!(*self.counting.borrow(), Counting::Done)
    }

    /// Returns usage, reservations and limits.
    pub fn state(&self) -> QuotaState {
        QuotaState {
            is_counted: self.is_counted(),
            used: self.used.get(),
            nameless: self.open.usage(),
            reserved: Usage {
                bytes: u64::try_from(self.reserved.get().bytes).unwrap_or(u64::MAX),
                files: self.reserved.get().files,
            },
            limits: self.limits.get(),
        }
    }
}

/// Why a quota does not allow a request: it needs more than is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shortage {
    /// The amount that the request needs.
    pub needed: u64,
    /// The amount that is neither used nor reserved.
    pub free: u64,
    /// The limit of the account.
    pub limit: u64,
}

impl Shortage {
    fn of(needed: u64, taken: u128, limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        Self { needed, free: limit.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX)), limit }
    }

    /// Returns the numbers as rounded sizes, or as bytes if the rounded sizes would be equal.
    pub fn in_bytes(&self) -> String {
        let [needed, free, limit] = [self.needed, self.free, self.limit].map(|bytes| Size(bytes).to_string());
        match needed == free {
            true => format!("needs {} bytes, {} of {} are free", self.needed, self.free, self.limit),
            false => format!("needs {needed}, {free} of {limit} are free"),
        }
    }

    /// Returns the numbers of files.
    pub fn in_files(&self) -> String {
        format!("needs {}, {} of {} are free", self.needed, self.free, self.limit)
    }
}

/// Reserved quota. Dropping it releases the unused part.
pub struct Reservation {
    ledger: Rc<Ledger>,
    unused: Cell<Usage>,
}

impl Reservation {
    /// Reserves more, or returns which limit that would exceed.
    pub fn grow(&self, bytes: u64, files: u64) -> Result<(), StoreError> {
        let QuotaState { used, nameless, limits, .. } = self.ledger.state();
        let (stored, reserved) = (used + nameless, self.ledger.reserved.get());
        let exceeds = |total: u128, more: u64, limit: Option<u64>| {
            more > 0 && limit.is_some_and(|limit| total + u128::from(more) > u128::from(limit))
        };
        if exceeds(u128::from(stored.bytes) + reserved.bytes, bytes, limits.bytes) {
            let total = u128::from(stored.bytes) + reserved.bytes;
            return Err(StoreError::QuotaBytes(Shortage::of(bytes, total, limits.bytes)));
        }
        if exceeds(u128::from(stored.files) + u128::from(reserved.files), files, limits.files) {
            let total = u128::from(stored.files) + u128::from(reserved.files);
            return Err(StoreError::QuotaFiles(Shortage::of(files, total, limits.files)));
        }
        // A reservation is for one file, which cannot be as large as the numbers that overflow here.
        let unused = self.unused.get();
        let bytes_after = unused.bytes.checked_add(bytes).ok_or(StoreError::DiskFull)?;
        self.unused.set(Usage { bytes: bytes_after, files: unused.files + files });
        self.ledger
            .reserved
            .set(ReservedTotal { bytes: reserved.bytes + u128::from(bytes), files: reserved.files + files });
        Ok(())
    }

    /// Turns a part of the reservation into usage, because `bytes` and `files` are on disk now.
    pub fn take(&self, bytes: u64, files: u64) {
        self.ledger.disturbed.set(true);
        self.use_part(bytes, files);
        self.ledger.used.set(self.ledger.used.get() + Usage { bytes, files });
    }

    /// Like [`Self::take`], but counts the usage as nameless.
    pub fn take_nameless(&self, bytes: u64, files: u64) {
        self.use_part(bytes, files);
        self.ledger.open.grow(Usage { bytes, files });
    }

    fn use_part(&self, bytes: u64, files: u64) {
        self.release_part(bytes.min(self.unused.get().bytes), files.min(self.unused.get().files));
    }

    /// Returns the bytes that are reserved and not yet used.
    pub fn bytes(&self) -> u64 {
        self.unused.get().bytes
    }

    /// Releases the unused part.
    pub fn release(&self) {
        let unused = self.unused.get();
        self.release_part(unused.bytes, unused.files);
    }

    fn release_part(&self, bytes: u64, files: u64) {
        self.unused.set(self.unused.get() - Usage { bytes, files });
        let ReservedTotal { bytes: all_bytes, files: all_files } = self.ledger.reserved.get();
        self.ledger.reserved.set(ReservedTotal { bytes: all_bytes - u128::from(bytes), files: all_files - files });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(bytes: u64, files: u64) -> Rc<Ledger> {
        let ledger = Rc::new(Ledger::default());
        ledger.set_limits(QuotaLimits { bytes: Some(bytes), files: Some(files) });
        ledger
    }

    fn used_and_reserved(ledger: &Ledger) -> (u64, u64) {
        (ledger.state().used.bytes, ledger.state().reserved.bytes)
    }

    #[test]
    fn a_promise_never_exceeds_a_limit_and_returns_what_it_did_not_use() {
        let ledger = ledger(100, 2);
        let first = ledger.reserve(60, 1).expect("fits");
        assert!(matches!(ledger.reserve(41, 1), Err(StoreError::QuotaBytes(_))));
        assert!(matches!(ledger.reserve(1, 2), Err(StoreError::QuotaFiles(_))));
        first.take(25, 1);
        assert_eq!(used_and_reserved(&ledger), (25, 35));
        drop(first);
        assert_eq!(used_and_reserved(&ledger), (25, 0));
        ledger.credit(25, 1);
        assert_eq!(used_and_reserved(&ledger), (0, 0));
        assert!(ledger.reserve(u64::MAX, 0).is_err());
    }

    #[test]
    fn an_account_without_a_limit_is_not_blocked_by_what_others_announced() {
        let ledger = Rc::new(Ledger::default());
        let announced: Vec<_> = (0..9).map(|_| ledger.reserve(i64::MAX as u64, 1).expect("no limit")).collect();
        assert_eq!(ledger.state().reserved.bytes, u64::MAX);
        ledger.reserve(1, 1).expect("no limit").take(1, 1);
        drop(announced);
        assert_eq!(used_and_reserved(&ledger), (1, 0));
    }

    #[test]
    fn what_has_no_name_counts_against_the_limit_until_it_is_closed() {
        let ledger = ledger(100, 10);
        let (file, id) = (Arc::new(tempfile::tempfile().expect("file")), (1, 1));
        ledger.record_open(id, &file);
        ledger.reserve(90, 1).expect("fits").take(90, 1);
        ledger.credit_inode(id, 90);
        assert_eq!((used_and_reserved(&ledger), ledger.state().nameless.bytes), ((0, 0), 90));
        assert!(matches!(ledger.reserve(11, 0), Err(StoreError::QuotaBytes(_))));
        drop(file);
        assert!(ledger.reserve(100, 0).is_ok());
    }

    #[test]
    fn an_account_over_a_lowered_limit_keeps_its_files_and_gets_no_more() {
        let ledger = ledger(100, 10);
        ledger.reserve(90, 1).expect("fits").take(90, 1);
        ledger.set_limits(QuotaLimits { bytes: Some(50), files: None });
        assert!(ledger.reserve(1, 0).is_err());
        assert!(ledger.reserve(0, 1).is_ok());
        assert_eq!(used_and_reserved(&ledger), (90, 0));
    }

    #[test]
    fn a_credit_beyond_what_was_counted_asks_for_a_recount() {
        let ledger = ledger(100, 10);
        *ledger.counting.borrow_mut() = Counting::Done;
        ledger.credit(1, 1);
        assert!(!ledger.is_counted());
    }
}
