//! What all sessions share: accounts, files, failed logins and the policy.

use std::rc::Rc;

use super::active_accounts::{ActiveAccount, ActiveAccounts};
use super::error::SessionError;
use super::login_guard::LoginGuard;
use super::password::Passwords;
use super::totals::Total;
use crate::account::{Account, AccountName, Accounts};
use crate::config::{Config, Rates, SyncPolicy};
use crate::store::home::Home;
use crate::store::ledger::QuotaLimits;
use crate::store::{HomeRoot, Store};

/// State shared by all sessions.
pub struct Service {
    /// The accounts.
    pub accounts: Accounts,
    /// The files of accounts.
    pub store: Store,
    /// Failed logins by origin.
    pub guard: LoginGuard,
    /// Settings of the administrator.
    pub policy: Policy,
    pub(super) passwords: Passwords,
    active_accounts: ActiveAccounts,
}

/// Settings of the administrator about sessions. They can change while sessions run.
#[derive(Debug, Clone)]
pub struct Policy {
    /// When uploads are synced.
    pub sync: SyncPolicy,
    /// The number of failed logins at which a connection is closed.
    pub login_tries: u32,
    /// The maximum number of sessions of one account.
    pub sessions_per_account: usize,
    /// The bytes of memory that all accounts together may use.
    pub memory: usize,
    /// Rate limits.
    pub rates: Rates,
}

impl From<&Config> for Policy {
    fn from(config: &Config) -> Self {
        Self {
            sync: config.sync,
            login_tries: config.limits.login_tries,
            sessions_per_account: config.limits.sessions_per_account,
            memory: config.limits.session_memory_bytes(),
            rates: config.rates,
        }
    }
}

impl Service {
    /// Makes the shared state.
    pub fn new(accounts: Accounts, store: Store, policy: Policy) -> Self {
        let (guard, passwords, active_accounts) =
            (LoginGuard::default(), Passwords::default(), ActiveAccounts::new(policy.memory));
        Self { accounts, store, guard, policy, passwords, active_accounts }
    }

    /// Replaces the settings for future requests.
    pub fn set_policy(&mut self, policy: Policy) {
        self.active_accounts.memory.set_bytes_max(policy.memory);
        self.policy = policy;
    }

    /// Returns the home of an account whose directory is open, with the limits of the account's file.
    pub(super) fn home_at(&mut self, root: HomeRoot, account: &Account) -> Rc<Home> {
        let limits = QuotaLimits { bytes: account.quota_bytes, files: account.quota_files };
        self.store.home_at(root, &account.home, limits)
    }

    /// Returns the totals of finished transfers.
    pub fn total(&self) -> &Total {
        &self.active_accounts.total
    }

    /// Adds a session of `account` to its active account.
    pub(super) fn active_account(&mut self, account: &AccountName) -> Result<Rc<ActiveAccount>, SessionError> {
        self.active_accounts.add_session(account, self.policy.sessions_per_account)
    }
}
