//! The state of a session before its login: the current attempt and the number of failures.

use std::rc::Rc;
use std::time::Instant;

use super::active_accounts::ActiveAccount;
use super::password::PasswordCheck;
use crate::account::{Account, AccountError, AccountName};
use crate::auth::scram::ServerExchange;
use crate::store::workers::operations::Operation;
use crate::store::{HomeRoot, StoreError};

/// A session before its login.
#[derive(Default)]
pub struct Login {
    /// Failed logins on this connection.
    pub(super) failures: u32,
    pub(super) attempt: Attempt,
    /// When to check again whether the attempt may proceed.
    pub(super) waits_until: Option<Instant>,
}

/// The state of an attempt.
#[derive(Default)]
pub(super) enum Attempt {
    /// No attempt.
    #[default]
    None,
    /// The client has its challenge.
    Challenged(Box<Challenged>),
    /// The client has sent this proof.
    Proved(Box<Challenged>, String),
    /// A password is being checked.
    Password(Box<PasswordCheck>),
    /// The proof or password was right, and the home is being opened.
    Opening(Box<Opening>),
}

/// A login whose home is being opened.
pub(super) struct Opening {
    pub(super) account: Account,
    pub(super) active_account: Rc<ActiveAccount>,
    /// The name that was given, for the log; `None` if no account has it.
    pub(super) claimed: Option<AccountName>,
    pub(super) root: Operation<Result<HomeRoot, OpenError>>,
    /// The server's proof, if the client used SCRAM.
    pub(super) proof: Option<String>,
    /// The check of the password, if the client sent one.
    pub(super) check: Option<Box<PasswordCheck>>,
}

/// Why a home cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A SCRAM login that waits for the proof.
pub(super) struct Challenged {
    pub(super) exchange: ServerExchange,
    /// The account, if it exists and may log in.
    pub(super) account: Option<Account>,
    /// The name that was given, for the log; `None` if no account has it.
    pub(super) claimed: Option<AccountName>,
}

impl Login {
    /// Returns whether a worker opens the home.
    pub fn awaits_storage(&self) -> bool {
        matches!(self.attempt, Attempt::Opening(_))
    }

    /// Returns when a waiting login checks again whether it may proceed.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.waits_until
    }
}
