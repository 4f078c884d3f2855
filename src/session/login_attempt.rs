//! The state of a session before its login: the current attempt and the number of failures.

use std::time::Instant;

use super::password::PasswordCheck;
use crate::account::{Account, AccountName};
use crate::auth::scram::ServerExchange;

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
    /// Returns when a waiting login checks again whether it may proceed.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.waits_until
    }
}
