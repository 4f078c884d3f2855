//! What all sessions share: accounts, files, who failed to log in, what was decided.

use super::login::LoginGuard;
use super::refusal::Refusal;
use crate::account::{AccountName, Accounts};
use crate::config::SyncPolicy;
use crate::limits::SEATS_REMEMBERED;
use crate::store::Store;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

/// What all sessions share.
pub struct Service {
    /// Who may log in.
    pub accounts: Accounts,
    /// Their files.
    pub store: Store,
    /// Who failed to log in.
    pub guard: LoginGuard,
    /// What the administrator decided.
    pub policy: Policy,
    seats: HashMap<AccountName, Weak<()>>,
}

/// What an administrator decides about sessions; can change while they run.
#[derive(Debug, Clone)]
pub struct Policy {
    /// When uploads are flushed.
    pub sync: SyncPolicy,
    /// Failed logins on one connection.
    pub login_tries: u32,
    /// Sessions of one account.
    pub sessions_per_account: usize,
}

impl Service {
    /// The shared part of all sessions.
    pub fn new(accounts: Accounts, store: Store, policy: Policy) -> Self {
        Self { accounts, store, guard: LoginGuard::default(), policy, seats: HashMap::new() }
    }

    /// A place for one more session of `account`.
    pub(super) fn seat(&mut self, account: &AccountName) -> Result<Rc<()>, Refusal> {
        let seat = self.seats.get(account).and_then(Weak::upgrade).unwrap_or_default();
        if Rc::strong_count(&seat) > self.policy.sessions_per_account {
            return Err(Refusal::TooManySessions);
        }
        if self.seats.len() >= SEATS_REMEMBERED {
            self.seats.retain(|_, seat| seat.strong_count() > 0);
        }
        self.seats.insert(account.clone(), Rc::downgrade(&seat));
        Ok(seat)
    }
}
