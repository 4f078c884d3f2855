//! What the sessions of one account share: how many they are, and what they move together.

use super::error::SessionError;
use super::totals::Total;
use crate::account::AccountName;
use crate::base::limits::SEATS_REMEMBERED;
use crate::base::memory::{Memory, Share};
use crate::base::token_bucket::{Directions, TokenBucket};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

/// Shared by the sessions of an account, and counts them by that. It outlives them for a while,
/// so that leaving and coming back does not fill its buckets.
pub struct ActiveAccount {
    /// No other account has this one while the server runs.
    pub number: u64,
    /// What the connections of all of them have moved; one that is being closed may hold on to it.
    pub traffic: Rc<Traffic>,
    /// What all of them hold of memory.
    pub memory: Rc<Share>,
    /// What all accounts have transferred.
    pub(super) total: Rc<Total>,
}

/// Bytes of many sessions, in each direction.
pub type Traffic = Directions<Cell<TokenBucket>>;

/// The active_accounts of all accounts.
pub(super) struct ActiveAccounts {
    active_accounts: HashMap<AccountName, Rc<ActiveAccount>>,
    last_number: u64,
    pub(super) total: Rc<Total>,
    /// What all accounts hold of memory.
    pub(super) memory: Rc<Memory>,
}

impl ActiveAccounts {
    /// No active_accounts yet, of accounts that may hold `memory` bytes together.
    pub(super) fn new(memory: usize) -> Self {
        Self {
            active_accounts: HashMap::new(),
            last_number: 0,
            total: Rc::default(),
            memory: Rc::new(Memory::new(memory)),
        }
    }

    /// A active_account for one more session of `account`, unless `most` are taken.
    pub(super) fn take(&mut self, account: &AccountName, most: usize) -> Result<Rc<ActiveAccount>, SessionError> {
        if self.active_accounts.len() >= SEATS_REMEMBERED {
            self.active_accounts.retain(|_, active_account| sessions(active_account) > 0);
        }
        let new = || {
            self.last_number += 1;
            Rc::new(ActiveAccount {
                number: self.last_number,
                traffic: Rc::default(),
                memory: Rc::new(Share::of(&self.memory)),
                total: Rc::clone(&self.total),
            })
        };
        let active_account = self.active_accounts.entry(account.clone()).or_insert_with(new);
        if sessions(active_account) >= most {
            Err(SessionError::TooManySessions)
        } else {
            Ok(Rc::clone(active_account))
        }
    }
}

fn sessions(active_account: &Rc<ActiveAccount>) -> usize {
    // One is the map's own.
    Rc::strong_count(active_account) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::token_bucket::Rate;
    use std::num::NonZeroU64;
    use std::time::Instant;

    fn name(number: usize) -> AccountName {
        format!("a{number}").parse().expect("a name")
    }

    #[test]
    fn seats_are_counted_by_who_holds_them() {
        let mut active_accounts = ActiveAccounts::new(0);
        let (first, second) = (active_accounts.take(&name(1), 2), active_accounts.take(&name(1), 2));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(active_accounts.take(&name(1), 2).err(), Some(SessionError::TooManySessions));
        assert!(active_accounts.take(&name(2), 2).is_ok());
        drop(first);
        assert!(active_accounts.take(&name(1), 2).is_ok());
    }

    #[test]
    fn leaving_and_coming_back_pays_no_debt() {
        let (mut active_accounts, now) = (ActiveAccounts::new(0), Instant::now());
        let rate = Rate::per_second(NonZeroU64::MIN);
        let active_account = active_accounts.take(&name(1), 1).expect("free");
        let mut bucket = active_account.traffic.up.get();
        let ready_at = bucket.take(1000, rate, now);
        active_account.traffic.up.set(bucket);
        drop(active_account);
        let active_account = active_accounts.take(&name(1), 1).expect("free again");
        assert_eq!(active_account.traffic.up.get().ready_at(), Some(ready_at));
    }

    #[test]
    fn memory_for_seats_without_sessions_is_bounded() {
        let mut active_accounts = ActiveAccounts::new(0);
        let held = active_accounts.take(&name(0), 1).expect("free");
        for number in 1..SEATS_REMEMBERED * 2 {
            assert!(active_accounts.take(&name(number), 1).is_ok());
        }
        assert!(active_accounts.active_accounts.len() <= SEATS_REMEMBERED);
        assert_eq!(active_accounts.take(&name(0), 1).err(), Some(SessionError::TooManySessions));
        drop(held);
    }
}
