//! Detects accounts that were locked or removed while they have sessions, a few per round. Reads
//! account files; must not know connections.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::account::{AccountName, Accounts, Stamp};

/// How often the account directory is checked for changes. The sessions of a locked account end within two
/// of these.
const ACCOUNTS_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The number of accounts that are read again per round after the directory changed.
const ACCOUNTS_PER_ROUND: usize = 16;

/// The state of the check.
pub(super) struct AccountWatch {
    stamp: Option<Stamp>,
    next_at: Instant,
    unchecked: Vec<AccountName>,
    closed: HashSet<AccountName>,
}

impl AccountWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self { stamp: None, next_at: now, unchecked: Vec::new(), closed: HashSet::new() }
    }

    /// Checks a few accounts of `logged_in`. Once all are checked, returns those whose sessions must end.
    pub(super) fn check<'a>(
        &mut self,
        accounts: &Accounts,
        logged_in: impl Iterator<Item = &'a AccountName>,
        now: Instant,
    ) -> HashSet<AccountName> {
        if now >= self.next_at {
            self.next_at = now + ACCOUNTS_CHECK_INTERVAL;
            self.detect_changes(accounts, logged_in);
        }
        let rest = self.unchecked.len().saturating_sub(ACCOUNTS_PER_ROUND);
        for name in self.unchecked.drain(rest..) {
            match accounts.load(&name) {
                Ok(Some(account)) if !account.locked => {}
                Ok(_) => drop(self.closed.insert(name)),
                // A damaged file allows no login, but ends no session either.
                Err(error) => log::error!("{error}"),
            }
        }
        if self.unchecked.is_empty() { std::mem::take(&mut self.closed) } else { HashSet::new() }
    }

    fn detect_changes<'a>(&mut self, accounts: &Accounts, logged_in: impl Iterator<Item = &'a AccountName>) {
        let stamp = match accounts.stamp() {
            Ok(stamp) => stamp,
            Err(error) => return log::error!("accounts: {error}"),
        };
        if self.stamp.as_ref() != Some(&stamp) {
            self.stamp = Some(stamp);
            self.unchecked = logged_in.collect::<HashSet<_>>().into_iter().cloned().collect();
        }
    }

    /// Returns whether it needs another round at once.
    pub(super) fn has_work(&self) -> bool {
        !self.unchecked.is_empty()
    }

    /// Returns when it checks the directory again.
    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }
}
