//! The ledger of one home: what is used, what is promised, what is allowed. Bytes are the sizes
//! of regular files, each inode once, interrupted uploads included; files are all entries,
//! folders included. There is no usage file: the truth is the disk, counted in slices.
//!
//! ```text
//!             begin_recount, begin_verify         count finished
//!  Counted ────────────────────────────────► Counting ───────────► Counted
//!  Until then nothing may change the home; whoever wants to drives the count on.
//! ```

use super::StoreError;
use super::count::{Count, Counted, Unseen};
use super::home::Home;
use crate::lane::Budget;
use crate::limits::RECOUNT_AFTER;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Bytes and entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Sum of the sizes of regular files.
    pub bytes: u64,
    /// Number of entries of any kind.
    pub files: u64,
}

/// What an account may use; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaLimits {
    /// In bytes.
    pub bytes: Option<u64>,
    /// In entries.
    pub files: Option<u64>,
}

/// The state of a quota at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaState {
    /// Whether the home was counted, so that `used` means anything.
    pub is_counted: bool,
    /// On disk.
    pub used: Usage,
    /// Promised to uploads and not yet on disk.
    pub reserved: Usage,
    /// Allowed.
    pub limits: QuotaLimits,
}

enum Counting {
    Done,
    Due(Purpose),
    Running(Box<Count>, Purpose),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What the count finds is what is used.
    Recount,
    /// The ledger stays as it is.
    Verify,
}

/// The account book of one home, shared by all its sessions.
pub struct Ledger {
    limits: Cell<QuotaLimits>,
    used: Cell<Usage>,
    reserved: Cell<Usage>,
    counting: RefCell<Counting>,
    /// What the last count found.
    on_disk: Cell<Option<Usage>>,
    /// What it could not examine.
    unseen: RefCell<Unseen>,
    /// When that was, in nanoseconds since the epoch.
    counted_ns: Cell<i64>,
    /// Something changed while a count ran, so it must run again.
    disturbed: Cell<bool>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            limits: Cell::default(),
            used: Cell::default(),
            reserved: Cell::default(),
            counting: RefCell::new(Counting::Due(Purpose::Recount)),
            on_disk: Cell::new(None),
            unseen: RefCell::default(),
            counted_ns: Cell::new(0),
            disturbed: Cell::new(false),
        }
    }
}

impl Ledger {
    /// Replaces the limits. What is used or promised above them stays; nothing is added.
    pub fn set_limits(&self, limits: QuotaLimits) {
        self.limits.set(limits);
    }

    /// Promises room, or says which limit it would exceed.
    pub fn reserve(self: &Rc<Self>, bytes: u64, files: u64) -> Result<Reservation, StoreError> {
        let reservation = Reservation { ledger: Rc::clone(self), rest: Cell::default() };
        reservation.grow(bytes, files)?;
        Ok(reservation)
    }

    /// Notes that `bytes` and `files` have left the disk.
    pub fn credit(&self, bytes: u64, files: u64) {
        self.disturbed.set(true);
        let used = self.used.get();
        if used.bytes < bytes || used.files < files {
            // Somebody else worked on these files; the disk knows better.
            self.begin_recount();
        }
        self.used.set(Usage { bytes: used.bytes.saturating_sub(bytes), files: used.files.saturating_sub(files) });
    }

    /// Lets the next change wait for a fresh count.
    pub fn begin_recount(&self) {
        *self.counting.borrow_mut() = Counting::Due(Purpose::Recount);
    }

    /// Lets the next change wait for a fresh count if the last one was long ago, or, by a clock
    /// that was set back, is to come: a home that nobody was logged in to is where an
    /// administrator copies files to.
    pub fn recount_if_old(&self, now_ns: i64) {
        let age_ns = now_ns.abs_diff(self.counted_ns.get());
        if self.is_counted() && u128::from(age_ns) >= RECOUNT_AFTER.as_nanos() {
            self.begin_recount();
        }
    }

    /// Lets the next change wait for a count that changes nothing; [`Ledger::on_disk`] tells
    /// what it found. A ledger that was never counted is counted instead.
    pub fn begin_verify(&self) {
        let mut counting = self.counting.borrow_mut();
        if let Counting::Done = *counting {
            *counting = Counting::Due(Purpose::Verify);
        }
    }

    /// What the last count found on disk.
    pub fn on_disk(&self) -> Option<Usage> {
        self.on_disk.get()
    }

    /// What the last count could not examine.
    pub fn unseen(&self) -> Unseen {
        self.unseen.borrow().clone()
    }

    /// Drops what has expired and counts on within `budget` if a count is due. True once the
    /// ledger may be relied on.
    pub fn settle(&self, home: &Home, budget: &mut Budget) -> Result<bool, StoreError> {
        if self.is_counted() {
            home.drop_expired();
        }
        let mut counting = self.counting.borrow_mut();
        loop {
            match &mut *counting {
                Counting::Done => return Ok(true),
                Counting::Due(purpose) => {
                    let purpose = *purpose;
                    if purpose == Purpose::Recount {
                        // A staging folder that cannot be read is named by the count.
                        let _ = home.sweep_staging();
                    }
                    self.disturbed.set(false);
                    *counting = Counting::Running(Box::new(Count::new(home.root_fd()?)?), purpose);
                }
                Counting::Running(count, purpose) => {
                    let purpose = *purpose;
                    match count.advance(budget) {
                        Ok(None) => return Ok(false),
                        Ok(Some(Counted { usage: found, unseen })) if !self.disturbed.get() => {
                            let before = self.unseen.replace(unseen);
                            home.warn_of_unseen(&before, &self.unseen.borrow());
                            self.on_disk.set(Some(found));
                            if purpose == Purpose::Recount {
                                self.used.set(found);
                            }
                            self.counted_ns.set(home.clock.now_ns());
                            *counting = Counting::Done;
                        }
                        Ok(Some(_)) => *counting = Counting::Due(purpose),
                        Err(error) => {
                            *counting = Counting::Due(purpose);
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    /// Whether the ledger may be relied on.
    pub fn is_counted(&self) -> bool {
        matches!(*self.counting.borrow(), Counting::Done)
    }

    /// What is used, promised and allowed now.
    pub fn state(&self) -> QuotaState {
        QuotaState {
            is_counted: self.is_counted(),
            used: self.used.get(),
            reserved: self.reserved.get(),
            limits: self.limits.get(),
        }
    }
}

/// A promise of room. What of it was not turned into use goes back when it is dropped.
pub struct Reservation {
    ledger: Rc<Ledger>,
    rest: Cell<Usage>,
}

impl Reservation {
    /// Promises more.
    pub fn grow(&self, bytes: u64, files: u64) -> Result<(), StoreError> {
        let QuotaState { used, reserved, limits, .. } = self.ledger.state();
        // What no number can hold exceeds every limit, and there are accounts without one.
        let exceeds = |used: u64, reserved: u64, more: u64, limit: Option<u64>| {
            let total = used.checked_add(reserved).and_then(|sum| sum.checked_add(more));
            more > 0 && total.is_none_or(|total| limit.is_some_and(|limit| total > limit))
        };
        if exceeds(used.bytes, reserved.bytes, bytes, limits.bytes) {
            return Err(StoreError::QuotaBytes);
        }
        if exceeds(used.files, reserved.files, files, limits.files) {
            return Err(StoreError::QuotaFiles);
        }
        let add = |usage: Usage| Usage { bytes: usage.bytes + bytes, files: usage.files + files };
        self.ledger.reserved.set(add(reserved));
        self.rest.set(add(self.rest.get()));
        Ok(())
    }

    /// Turns part of the promise into use: `bytes` and `files` are on disk now.
    pub fn take(&self, bytes: u64, files: u64) {
        self.ledger.disturbed.set(true);
        let (bytes_kept, files_kept) = (bytes.min(self.rest.get().bytes), files.min(self.rest.get().files));
        self.give_back(bytes_kept, files_kept);
        let used = self.ledger.used.get();
        self.ledger.used.set(Usage { bytes: used.bytes + bytes, files: used.files + files });
    }

    /// Bytes promised and not yet used.
    pub fn bytes(&self) -> u64 {
        self.rest.get().bytes
    }

    /// Returns what is left of the promise.
    pub fn release(&self) {
        let rest = self.rest.get();
        self.give_back(rest.bytes, rest.files);
    }

    fn give_back(&self, bytes: u64, files: u64) {
        let subtract = |usage: Usage| Usage { bytes: usage.bytes - bytes, files: usage.files - files };
        self.rest.set(subtract(self.rest.get()));
        self.ledger.reserved.set(subtract(self.ledger.reserved.get()));
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
        assert!(matches!(ledger.reserve(41, 1), Err(StoreError::QuotaBytes)));
        assert!(matches!(ledger.reserve(1, 2), Err(StoreError::QuotaFiles)));
        first.take(25, 1);
        assert_eq!(used_and_reserved(&ledger), (25, 35));
        drop(first);
        assert_eq!(used_and_reserved(&ledger), (25, 0));
        ledger.credit(25, 1);
        assert_eq!(used_and_reserved(&ledger), (0, 0));
        assert!(ledger.reserve(u64::MAX, 0).is_err());
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
