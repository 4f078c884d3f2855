//! A ledger of memory that sessions hold, bounded in total and for each account. Memory that grows with
//! a peer's requests is charged before it grows. A session without room waits, continues with less, or
//! is refused; other sessions are not affected.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Default bound for listings and large buffers of all accounts' sessions: two accounts can list the
/// largest directory at once.
pub const SESSION_MEMORY_DEFAULT: usize = 96 * 1024 * 1024;
/// Charges up to this size may use the reserve that larger ones leave: a directory of a thousand names of
/// usual length, or of 200 of the longest.
pub const MEMORY_SMALL_BYTES: usize = 64 * 1024;
/// What an account may hold even when others hold all the memory: two short listings.
const MEMORY_ALWAYS_BYTES: usize = 2 * MEMORY_SMALL_BYTES;
/// How long a session without memory waits before it tries again.
pub const MEMORY_WAIT_STEP: Duration = Duration::from_millis(250);
/// Entries of one directory that a listing holds in memory. A larger directory is refused.
pub const LISTING_ENTRIES_MAX: usize = 1_000_000;
/// Bytes of names one listing holds in memory.
pub const LISTING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The memory of all accounts together: its bound, and the bytes that are held.
pub struct Memory {
    bytes_max: AtomicUsize,
    held: AtomicUsize,
}

impl Memory {
    /// Makes a ledger of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max: AtomicUsize::new(bytes_max), held: AtomicUsize::new(0) }
    }

    /// Changes the bound. Memory held beyond it stays until it is freed.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Relaxed);
    }

    /// Returns the bytes that all accounts hold now.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    fn share_bytes_max(&self) -> usize {
        self.bytes_max.load(Relaxed) / 2
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(SESSION_MEMORY_DEFAULT)
    }
}

/// What the sessions of one account hold together: at most half of the total, so that no account leaves
/// another without memory.
#[derive(Default)]
pub struct AccountMemory {
    all: Arc<Memory>,
    charged: AtomicUsize,
    /// Bytes of [`SmallBuffers`], which are not charged.
    small_buffers: AtomicUsize,
}

impl AccountMemory {
    /// Makes the ledger of an account that holds nothing yet.
    pub fn of(all: &Arc<Memory>) -> Self {
        Self { all: Arc::clone(all), charged: AtomicUsize::new(0), small_buffers: AtomicUsize::new(0) }
    }

    /// Charges `bytes` more, if there is room for them. A worker may do this at the same time as the loop.
    fn grow(&self, bytes: usize, is_small: bool) -> bool {
        let room = |bytes_max: usize| if is_small { bytes_max } else { without_reserve(bytes_max) };
        let charged = self.charged.fetch_add(bytes, Relaxed) + bytes;
        let all = self.all.held.fetch_add(bytes, Relaxed) + bytes;
        // Other accounts may hold all the memory, but each account keeps a minimum.
        let fits = bytes == 0
            || charged <= MEMORY_ALWAYS_BYTES
            || charged + self.small_buffers.load(Relaxed) <= room(self.all.share_bytes_max())
                && all <= room(self.all.bytes_max.load(Relaxed));
        if !fits {
            self.shrink(bytes);
        }
        fits
    }

    fn shrink(&self, bytes: usize) {
        self.charged.fetch_sub(bytes, Relaxed);
        self.all.held.fetch_sub(bytes, Relaxed);
    }

    /// Returns the largest size of a single charge.
    pub fn charge_bytes_max(&self) -> usize {
        without_reserve(self.all.share_bytes_max())
    }
}

/// The last eighth is reserved for small charges, so that they succeed when large ones fill the rest.
fn without_reserve(bytes_max: usize) -> usize {
    bytes_max - bytes_max / 8
}

/// Bytes that are charged to an account and to the total. Dropping it frees them.
#[derive(Default)]
pub struct Charge {
    /// `None` for a charge that is not counted.
    account: Option<Arc<AccountMemory>>,
    bytes: usize,
}

impl Charge {
    /// Makes an empty charge to `account`.
    pub fn to(account: &Arc<AccountMemory>) -> Self {
        Self { account: Some(Arc::clone(account)), bytes: 0 }
    }

    /// Charges `bytes` to `account`. Returns `None` if there is no room.
    pub fn of(bytes: usize, account: &Arc<AccountMemory>) -> Option<Self> {
        let mut charge = Self::to(account);
        charge.resize(bytes).then_some(charge)
    }

    /// Returns the charged bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the largest size of this charge.
    pub fn bytes_max(&self) -> usize {
        self.account.as_ref().map_or(usize::MAX, |account| account.charge_bytes_max())
    }

    /// Changes the charge to `bytes`. Returns false and changes nothing if there is no room.
    pub fn resize(&mut self, bytes: usize) -> bool {
        if let Some(account) = &self.account {
            let change = bytes.abs_diff(self.bytes);
            if bytes < self.bytes {
                account.shrink(change);
            } else if !account.grow(change, bytes <= MEMORY_SMALL_BYTES) {
                return false;
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// The small buffers of one session, which it cannot work without. They are counted and never refused,
/// and leave less room for charges.
pub struct SmallBuffers {
    account: Arc<AccountMemory>,
    bytes: usize,
}

impl SmallBuffers {
    /// Makes an empty count for `account`.
    pub fn of(account: &Arc<AccountMemory>) -> Self {
        Self { account: Arc::clone(account), bytes: 0 }
    }

    /// Returns whether `account` counts them.
    pub fn belong_to(&self, account: &Arc<AccountMemory>) -> bool {
        Arc::ptr_eq(&self.account, account)
    }

    /// Sets their size to `bytes`.
    pub fn set_bytes(&mut self, bytes: usize) {
        for held in [&self.account.small_buffers, &self.account.all.held] {
            held.fetch_add(bytes, Relaxed);
            held.fetch_sub(self.bytes, Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for SmallBuffers {
    fn drop(&mut self) {
        self.set_bytes(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = MEMORY_SMALL_BYTES;

    /// A ledger in which an account may hold 80 small charges. The last 10 are reserved for small ones.
    fn memory() -> Arc<Memory> {
        Arc::new(Memory::new(160 * SMALL))
    }

    #[test]
    fn what_is_dropped_can_be_charged_again() {
        let memory = memory();
        let account = Arc::new(AccountMemory::of(&memory));
        let charge = Charge::of(70 * SMALL, &account).expect("room");
        assert!(Charge::of(2 * SMALL, &account).is_none());
        assert_eq!(memory.held(), 70 * SMALL);
        drop(charge);
        assert_eq!(memory.held(), 0);
        assert!(Charge::of(70 * SMALL, &account).is_some());
    }

    #[test]
    fn an_account_at_its_bound_leaves_others_theirs() {
        let memory = memory();
        let (one, other) = (Arc::new(AccountMemory::of(&memory)), Arc::new(AccountMemory::of(&memory)));
        let small: Vec<Charge> = std::iter::from_fn(|| Charge::of(SMALL, &one)).collect();
        assert_eq!(small.len(), 80);
        assert!(Charge::of(60 * SMALL, &other).is_some());
    }

    #[test]
    fn small_charges_have_room_beside_large_ones() {
        let memory = memory();
        let shares: Vec<_> = (0..3).map(|_| Arc::new(AccountMemory::of(&memory))).collect();
        let large: Vec<Charge> = shares[..2].iter().filter_map(|account| Charge::of(70 * SMALL, account)).collect();
        assert_eq!(large.len(), 2);
        assert!(Charge::of(3 * SMALL, &shares[2]).is_none());
        let small: Vec<Charge> = shares.iter().filter_map(|account| Charge::of(SMALL, account)).collect();
        assert_eq!(small.len(), 3);
    }

    #[test]
    fn an_account_that_holds_nothing_always_has_room_for_two_small_charges() {
        let memory = memory();
        let shares: Vec<_> = (0..4).map(|_| Arc::new(AccountMemory::of(&memory))).collect();
        let fill = |account: &Arc<AccountMemory>| std::iter::from_fn(|| Charge::of(SMALL, account)).collect::<Vec<_>>();
        let filled: Vec<Vec<Charge>> = shares.iter().map(fill).collect();
        assert_eq!(filled.iter().map(Vec::len).collect::<Vec<_>>(), [80, 80, 2, 2]);
    }

    #[test]
    fn small_buffers_leave_less_room_and_are_never_refused() {
        let memory = memory();
        let shares: Vec<_> = (0..2).map(|_| Arc::new(AccountMemory::of(&memory))).collect();
        let mut buffers = SmallBuffers::of(&shares[0]);
        buffers.set_bytes(60 * SMALL);
        assert!(Charge::of(20 * SMALL, &shares[0]).is_none());
        assert!(Charge::of(10 * SMALL, &shares[0]).is_some());
        assert!(Charge::of(70 * SMALL, &shares[1]).is_some(), "the other account has its half");
        buffers.set_bytes(200 * SMALL);
        assert_eq!(memory.held(), 200 * SMALL);
        let small: Vec<Charge> = std::iter::from_fn(|| Charge::of(SMALL, &shares[0])).collect();
        assert_eq!(small.len(), 2, "the account goes on, a listing at a time");
        drop((buffers, small));
        assert_eq!(memory.held(), 0);
        assert!(Charge::of(70 * SMALL, &shares[0]).is_some());
    }

    #[test]
    fn a_charge_that_cannot_grow_stays_as_it_was() {
        let memory = memory();
        let account = Arc::new(AccountMemory::of(&memory));
        let mut charge = Charge::of(SMALL, &account).expect("room");
        assert!(!charge.resize(71 * SMALL));
        assert_eq!((charge.bytes(), memory.held()), (SMALL, SMALL));
        assert!(charge.resize(charge.bytes_max()));
        memory.set_bytes_max(0);
        assert!(charge.resize(3 * SMALL), "less is never refused");
        assert!(!charge.resize(4 * SMALL));
        drop(charge);
        assert_eq!(memory.held(), 0);
    }
}
