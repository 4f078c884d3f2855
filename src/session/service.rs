//! What all sessions share: accounts, files, who failed to log in, what was decided.

use super::active_accounts::{ActiveAccount, ActiveAccounts};
use super::error::SessionError;
use super::login_guard::LoginGuard;
use super::password::Passwords;
use super::totals::Total;
use crate::account::{AccountName, Accounts};
use crate::config::{Config, Rates, SyncPolicy};
use crate::store::Store;
use std::rc::Rc;

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
    pub(super) passwords: Passwords,
    active_accounts: ActiveAccounts,
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
    /// Bytes of memory that all accounts may hold together.
    pub memory: usize,
    /// How much of what each second.
    pub rates: Rates,
}

impl From<&Config> for Policy {
    fn from(config: &Config) -> Self {
        Self {
            sync: config.sync,
            login_tries: config.limits.login_tries,
            sessions_per_account: config.limits.sessions_per_account,
            memory: config.limits.memory_of_members(),
            rates: config.rates,
        }
    }
}

impl Service {
    /// The shared part of all sessions.
    pub fn new(accounts: Accounts, store: Store, policy: Policy) -> Self {
        let (guard, passwords, active_accounts) =
            (LoginGuard::default(), Passwords::default(), ActiveAccounts::new(policy.memory));
        Self { accounts, store, guard, policy, passwords, active_accounts }
    }

    /// Replaces what the administrator decided, for what comes.
    pub fn set_policy(&mut self, policy: Policy) {
        self.active_accounts.memory.set_bytes_max(policy.memory);
        self.policy = policy;
    }

    /// What the transfers that have ended were in all.
    pub fn total(&self) -> &Total {
        &self.active_accounts.total
    }

    /// A active_account for one more session of `account`.
    pub(super) fn active_account(&mut self, account: &AccountName) -> Result<Rc<ActiveAccount>, SessionError> {
        self.active_accounts.take(account, self.policy.sessions_per_account)
    }
}
