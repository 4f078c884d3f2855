//! Checks the usage of accounts for an administrator: reports the ledgers, compares them with the disk, or
//! replaces them by a new count. Works in slices, while the accounts are in use.

use std::collections::VecDeque;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::task::Poll;

use super::Service;
use crate::account::{Account, AccountError, AccountName};
use crate::base::budget::{Budget, REQUEST_COST};
use crate::base::text::Escaped;
use crate::store::count::UnreadableEntries;
use crate::store::home::Home;
use crate::store::ledger::QuotaState;
use crate::store::usage::Usage;
use crate::store::workers::operations::{CallError, Operation};
use crate::store::{HomeRoot, StoreError};

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
    current: Current,
}

/// The account that is being checked.
enum Current {
    Nothing,
    Opening(Account, Operation<Result<HomeRoot, StoreError>>),
    /// With the state of the ledger before.
    Counting(AccountName, Rc<Home>, QuotaState),
}

/// The result of a step.
#[derive(Debug)]
pub enum HomeCheckStep {
    /// No result yet: the budget is spent, or an account was removed. Call it again.
    Later,
    /// A worker must answer first. Call it again in a moment.
    Waits,
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
        Ok(Self { names, mode, current: Current::Nothing })
    }

    /// Continues the check within `budget`.
    pub fn next(&mut self, service: &mut Service, budget: &mut Budget) -> HomeCheckStep {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Nothing => {
                let Some(name) = self.names.pop_front() else { return HomeCheckStep::End };
                budget.spend(REQUEST_COST);
                match service.accounts.load(&name) {
                    Ok(Some(account)) => {
                        let opening = service.store.open_home_root(0, &account.home, || Ok::<_, StoreError>(()));
                        self.current = Current::Opening(account, opening);
                        HomeCheckStep::Later
                    }
                    // Removed since the names were read.
                    Ok(None) => HomeCheckStep::Later,
                    Err(error) => HomeCheckStep::Failed(name, error.to_string()),
                }
            }
            Current::Opening(account, opening) => self.open(service, account, opening),
            Current::Counting(name, home, before) => match home.settle(0, budget) {
                Ok(true) => {
                    let unreadable = home.ledger().unreadable();
                    HomeCheckStep::Account(name, self.ledger_state(&home, before), self.found(&home), unreadable)
                }
                Ok(false) => match home.check_answers() {
                    Err(error) => HomeCheckStep::Failed(name, error.to_string()),
                    Ok(()) => {
                        let waits = home.file_system().is_changing(0);
                        self.current = Current::Counting(name, home, before);
                        if waits { HomeCheckStep::Waits } else { HomeCheckStep::Later }
                    }
                },
                Err(error) => HomeCheckStep::Failed(name, error.to_string()),
            },
        }
    }

    fn open(
        &mut self,
        service: &mut Service,
        account: Account,
        mut opening: Operation<Result<HomeRoot, StoreError>>,
    ) -> HomeCheckStep {
        let failed = |error: &dyn Display| {
            let path = Escaped(account.home.as_os_str().as_bytes());
            HomeCheckStep::Failed(account.name.clone(), format!("{path}: {error}"))
        };
        let root = match opening.take() {
            Poll::Pending if service.store.answers(&account.home) => {
                self.current = Current::Opening(account, opening);
                return HomeCheckStep::Waits;
            }
            Poll::Pending => return failed(&StoreError::NoAnswer),
            Poll::Ready(None) => return failed(&StoreError::from(CallError::Defect)),
            Poll::Ready(Some(Err(error))) => return failed(&error),
            Poll::Ready(Some(Ok(root))) => root,
        };
        let home = service.home_at(root, &account);
        let before = home.ledger().state();
        match self.mode {
            HomeCheckMode::Ledger => {}
            HomeCheckMode::Verify => home.ledger().begin_check(),
            HomeCheckMode::Repair => home.ledger().begin_recount(),
        }
        self.current = Current::Counting(account.name, home, before);
        HomeCheckStep::Later
    }

    /// Returns the ledger's value before the count, or its present value if it was never counted.
    fn ledger_state(&self, home: &Home, before: QuotaState) -> QuotaState {
        if before.is_counted { before } else { home.ledger().state() }
    }

    fn found(&self, home: &Home) -> Option<Usage> {
        if self.mode == HomeCheckMode::Ledger { None } else { home.ledger().on_disk() }
    }
}
