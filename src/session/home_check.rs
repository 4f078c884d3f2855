//! Checks the usage of accounts for an administrator: reports the ledgers, compares them with the disk, or
//! replaces them by a new count. Works in slices, while the accounts are in use.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::Service;
use crate::account::{Account, AccountError, AccountName};
use crate::base::budget::{Budget, REQUEST_COST};
use crate::base::text::Escaped;
use crate::store::StoreError;
use crate::store::count::UnreadableEntries;
use crate::store::home::Home;
use crate::store::ledger::{QuotaLimits, QuotaState};
use crate::store::usage::Usage;

/// What the check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HomeCheckMode {
    /// Reports the ledger.
    Ledger,
    /// Counts the disk; changes nothing.
    Verify,
    /// Counts the disk; replaces the ledger's values.
    Repair,
}

/// A running check of one or all accounts.
pub struct HomeCheck {
    names: VecDeque<AccountName>,
    mode: HomeCheckMode,
    current: Option<(AccountName, Rc<Home>, QuotaState)>,
}

/// The result of a step.
#[derive(Debug)]
pub enum HomeCheckStep {
    /// No result yet: the budget is spent, or an account was removed. Call it again.
    Later,
    /// One account: the ledger before the count, the usage that the count found, and the entries that it
    /// could not read.
    Account(AccountName, QuotaState, Option<Usage>, UnreadableEntries),
    /// An account that cannot be checked.
    Failed(AccountName, String),
    /// All accounts are checked.
    End,
}

impl HomeCheck {
    /// Begins a check of one account, or of all in order of their names.
    pub fn begin(service: &Service, only: Option<AccountName>, mode: HomeCheckMode) -> Result<Self, AccountError> {
        let names = match only {
            Some(name) => {
                let account = service.accounts.load(&name)?;
                VecDeque::from([account.ok_or(AccountError::Unknown(name))?.name])
            }
            None => service.accounts.names()?.into(),
        };
        Ok(Self { names, mode, current: None })
    }

    /// Continues the check within `budget`.
    pub fn next(&mut self, service: &mut Service, budget: &mut Budget) -> HomeCheckStep {
        if self.current.is_none() {
            let Some(name) = self.names.pop_front() else { return HomeCheckStep::End };
            budget.spend(REQUEST_COST);
            match self.open(service, &name) {
                Ok(Some(opened)) => self.current = Some(opened),
                // Removed since the names were read.
                Ok(None) => return HomeCheckStep::Later,
                Err(error) => return HomeCheckStep::Failed(name, error),
            }
        }
        let Some((name, home, before)) = self.current.take() else { return HomeCheckStep::Later };
        match home.settle(0, budget) {
            Ok(true) => {
                let unseen = home.ledger().unseen();
                HomeCheckStep::Account(name, self.ledger_state(&home, before), self.found(&home), unseen)
            }
            Ok(false) => {
                self.current = Some((name, home, before));
                HomeCheckStep::Later
            }
            Err(error) => HomeCheckStep::Failed(name, error.to_string()),
        }
    }

    fn open(
        &self,
        service: &mut Service,
        name: &AccountName,
    ) -> Result<Option<(AccountName, Rc<Home>, QuotaState)>, String> {
        let Some(account) = service.accounts.load(name).map_err(|error| error.to_string())? else { return Ok(None) };
        let home = open_home(service, &account).map_err(|error| {
            let path = Escaped(account.home.as_os_str().as_bytes());
            format!("{path}: {error}")
        })?;
        let before = home.ledger().state();
        match self.mode {
            HomeCheckMode::Ledger => {}
            HomeCheckMode::Verify => home.ledger().begin_check(),
            HomeCheckMode::Repair => home.ledger().begin_recount(),
        }
        Ok(Some((account.name, home, before)))
    }

    /// Returns the ledger's value before the count, or its present value if it was never counted.
    fn ledger_state(&self, home: &Home, before: QuotaState) -> QuotaState {
        if before.is_counted { before } else { home.ledger().state() }
    }

    fn found(&self, home: &Home) -> Option<Usage> {
        if self.mode == HomeCheckMode::Ledger { None } else { home.ledger().on_disk() }
    }
}

/// Opens the home of an account, with the limits of its file.
pub(super) fn open_home(service: &mut Service, account: &Account) -> Result<Rc<Home>, StoreError> {
    let limits = QuotaLimits { bytes: account.quota_bytes, files: account.quota_files };
    service.store.home(&account.home, limits)
}
