//! What the sessions of one account share: their number, their rate and their memory.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::error::SessionError;
use super::totals::Total;
use crate::account::AccountName;
use crate::base::memory::{AccountMemory, Memory};
use crate::base::token_bucket::{Directions, TokenBucket};

/// Above this number, accounts without a session are dropped.
const ACTIVE_ACCOUNTS_MAX: usize = 4096;

/// State shared by the sessions of an account. The reference count is the number of sessions. The state outlives
/// them for a while, so that a new login does not refill the rate limits.
pub struct ActiveAccount {
    /// Unique to the account while the server runs.
    pub number: u64,
    /// Traffic of all sessions. A closing connection still counts here, after its session has ended.
    pub traffic: Rc<Traffic>,
    /// Memory that all sessions of the account use.
    pub memory: Arc<AccountMemory>,
    /// Transfers of all accounts.
    pub(super) total: Rc<Total>,
}

/// Bytes of many sessions, in each direction.
pub type Traffic = Directions<Cell<TokenBucket>>;

/// All active accounts.
pub(super) struct ActiveAccounts {
    by_name: HashMap<AccountName, Rc<ActiveAccount>>,
    last_number: u64,
    pub(super) total: Rc<Total>,
    /// Memory that all accounts use.
    pub(super) memory: Arc<Memory>,
}

impl ActiveAccounts {
    /// Makes an empty map. All accounts together may use `memory` bytes.
    pub(super) fn new(memory: usize) -> Self {
        Self { by_name: HashMap::new(), last_number: 0, total: Rc::default(), memory: Arc::new(Memory::new(memory)) }
    }

    /// Adds a session of `account`, unless it already has `most`. Dropping the result ends it.
    pub(super) fn add_session(
        &mut self,
        account: &AccountName,
        most: usize,
    ) -> Result<Rc<ActiveAccount>, SessionError> {
        if self.by_name.len() >= ACTIVE_ACCOUNTS_MAX {
            self.by_name.retain(|_, active_account| sessions(active_account) > 0);
        }
        let new = || {
            self.last_number += 1;
            Rc::new(ActiveAccount {
                number: self.last_number,
                traffic: Rc::default(),
                memory: Arc::new(AccountMemory::of(&self.memory)),
                total: Rc::clone(&self.total),
            })
        };
        let active_account = self.by_name.entry(account.clone()).or_insert_with(new);
        if sessions(active_account) >= most {
            Err(SessionError::TooManySessions)
        } else {
            Ok(Rc::clone(active_account))
        }
    }
}

fn sessions(active_account: &Rc<ActiveAccount>) -> usize {
    // One reference is that of the map itself.
    Rc::strong_count(active_account) - 1
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Instant;

    use super::*;
    use crate::base::token_bucket::Rate;

    fn name(number: usize) -> AccountName {
        format!("a{number}").parse().expect("a name")
    }

    #[test]
    fn sessions_of_an_account_are_counted_while_they_last() {
        let mut active_accounts = ActiveAccounts::new(0);
        let (first, second) = (active_accounts.add_session(&name(1), 2), active_accounts.add_session(&name(1), 2));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(active_accounts.add_session(&name(1), 2).err(), Some(SessionError::TooManySessions));
        assert!(active_accounts.add_session(&name(2), 2).is_ok());
        drop(first);
        assert!(active_accounts.add_session(&name(1), 2).is_ok());
    }

    #[test]
    fn leaving_and_coming_back_pays_no_debt() {
        let (mut active_accounts, now) = (ActiveAccounts::new(0), Instant::now());
        let rate = Rate::per_second(NonZeroU64::MIN);
        let active_account = active_accounts.add_session(&name(1), 1).expect("free");
        let mut bucket = active_account.traffic.up.get();
        let ready_at = bucket.take(1000, rate, now);
        active_account.traffic.up.set(bucket);
        drop(active_account);
        let active_account = active_accounts.add_session(&name(1), 1).expect("free again");
        assert_eq!(active_account.traffic.up.get().ready_at(), Some(ready_at));
    }

    #[test]
    fn memory_for_accounts_without_sessions_is_bounded() {
        let mut active_accounts = ActiveAccounts::new(0);
        let held = active_accounts.add_session(&name(0), 1).expect("free");
        for number in 1..ACTIVE_ACCOUNTS_MAX * 2 {
            assert!(active_accounts.add_session(&name(number), 1).is_ok());
        }
        assert!(active_accounts.by_name.len() <= ACTIVE_ACCOUNTS_MAX);
        assert_eq!(active_accounts.add_session(&name(0), 1).err(), Some(SessionError::TooManySessions));
        drop(held);
    }
}
