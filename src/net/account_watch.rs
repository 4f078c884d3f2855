//! Notices accounts that were locked or removed while somebody is logged in to them, a few per
//! round. It looks at files; it must not know connections.

use crate::account::{AccountName, Accounts, Stamp};
use crate::base::limits::{ACCOUNTS_CHECK_INTERVAL, ACCOUNTS_PER_ROUND};
use std::collections::HashSet;
use std::time::Instant;

/// What is known of the accounts in use.
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

    /// One step; the accounts whose sessions must end, once all of `members` are looked at.
    pub(super) fn look<'a>(
        &mut self,
        accounts: &Accounts,
        members: impl Iterator<Item = &'a AccountName>,
        now: Instant,
    ) -> HashSet<AccountName> {
        if now >= self.next_at {
            self.next_at = now + ACCOUNTS_CHECK_INTERVAL;
            self.notice_changes(accounts, members);
        }
        let rest = self.unchecked.len().saturating_sub(ACCOUNTS_PER_ROUND);
        for name in self.unchecked.drain(rest..) {
            match accounts.load(&name) {
                Ok(Some(account)) if !account.locked => {}
                Ok(_) => drop(self.closed.insert(name)),
                // A damaged file lets nobody in, but ends nobody's work either.
                Err(error) => log::error!("{error}"),
            }
        }
        if self.unchecked.is_empty() { std::mem::take(&mut self.closed) } else { HashSet::new() }
    }

    fn notice_changes<'a>(&mut self, accounts: &Accounts, members: impl Iterator<Item = &'a AccountName>) {
        let stamp = match accounts.stamp() {
            Ok(stamp) => stamp,
            Err(error) => return log::error!("accounts: {error}"),
        };
        if self.stamp.as_ref() != Some(&stamp) {
            self.stamp = Some(stamp);
            self.unchecked = members.collect::<HashSet<_>>().into_iter().cloned().collect();
        }
    }

    /// Whether it wants another round at once.
    pub(super) fn is_at_work(&self) -> bool {
        !self.unchecked.is_empty()
    }

    /// When it looks at the folder again.
    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }
}
