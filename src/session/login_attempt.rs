//! What a session knows before its login: the attempt that is under way, and how many have failed.

use super::password::PasswordCheck;
use crate::account::{Account, AccountName};
use crate::auth::scram::ServerExchange;
use std::time::Instant;

/// A session before its login.
#[derive(Default)]
pub struct Login {
    /// Failures on this connection.
    pub(super) failures: u32,
    pub(super) attempt: Attempt,
    /// When to look again whether the attempt may be checked.
    pub(super) waits_until: Option<Instant>,
}

/// How far an attempt has come.
#[derive(Default)]
pub(super) enum Attempt {
    /// Nothing yet.
    #[default]
    None,
    /// The client has its challenge.
    Challenged(Box<Challenged>),
    /// The client has given this proof.
    Proved(Box<Challenged>, String),
    /// A password is to be checked.
    Password(Box<PasswordCheck>),
}

/// A SCRAM login whose proof is awaited.
pub(super) struct Challenged {
    pub(super) exchange: ServerExchange,
    /// The account, if there is one that may log in.
    pub(super) account: Option<Account>,
    /// The name that was given, for the log; `None` if no account has it.
    pub(super) claimed: Option<AccountName>,
}

impl Login {
    /// When a login that waits looks again whether it may be checked.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.waits_until
    }
}
