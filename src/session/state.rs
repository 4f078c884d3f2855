//! The states of a session. Each owns its data and is consumed by the transition to the next, so no
//! field exists that is meaningless in the current state.
//!
//! | From | Call | To |
//! |---|---|---|
//! | Login | `advance_login`, at its end | Command |
//! | Command | `begin_list`, `begin_digest`, `begin_directories`, `begin_partial_uploads` | Command with a task |
//! | Command with a task | `run_task`, at its end; `abort` | Command |
//! | Command | `begin_upload` | Upload |
//! | Upload | `finish_upload`, `complete_upload` | Commit; Command if refused |
//! | Upload | `abort` | Command |
//! | Commit | `advance_commit`, at its end; `abort` | Command |
//! | Command | `begin_download` | Download |
//! | Download | `fetch`, at its end; `abort` | Command |
//! | any | `close` | Closing |

use std::rc::Rc;

use super::active_accounts::ActiveAccount;
use super::download::Download;
use super::login_attempt::Login;
use super::sliced::Site;
use super::task::Task;
use super::upload::{Commit, Upload};
use crate::account::AccountName;
use crate::store::home::Home;

/// The state of a session.
pub enum State {
    /// Before login.
    Login(Login),
    /// A logged-in user may send a command; a task may be running.
    Command(User, Option<Task>),
    /// An upload is being received.
    Upload(User, Box<Upload>),
    /// All bytes are received; the file is being synced and renamed.
    Commit(User, Box<Commit>),
    /// A download is being sent.
    Download(User, Box<Download>),
    /// The session has ended.
    Closing,
}

/// The states by name, for the verb table, the log and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum StateName {
    Login,
    Command,
    Task,
    Upload,
    Commit,
    Download,
    Closing,
}

impl StateName {
    /// Returns the word that an administrator reads.
    pub fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Command => "idle",
            Self::Task => "task",
            Self::Upload => "upload",
            Self::Commit => "commit",
            Self::Download => "download",
            Self::Closing => "closing",
        }
    }
}

impl State {
    /// Returns the name of this state.
    pub fn name(&self) -> StateName {
        match self {
            Self::Login(_) => StateName::Login,
            Self::Command(_, None) => StateName::Command,
            Self::Command(_, Some(_)) => StateName::Task,
            Self::Upload(..) => StateName::Upload,
            Self::Commit(..) => StateName::Commit,
            Self::Download(..) => StateName::Download,
            Self::Closing => StateName::Closing,
        }
    }

    /// Returns the logged-in user.
    pub fn user(&self) -> Option<&User> {
        match self {
            Self::Login(_) | Self::Closing => None,
            Self::Command(user, _) | Self::Upload(user, _) | Self::Commit(user, _) | Self::Download(user, _) => {
                Some(user)
            }
        }
    }

    /// Leaves this state for good and returns it with its data.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Closing)
    }
}

/// A logged-in user.
pub struct User {
    /// The account.
    pub account: AccountName,
    /// The account's home.
    pub home: Rc<Home>,
    /// Whether the account is read-only.
    pub is_read_only: bool,
    /// State shared by the account's sessions.
    pub active_account: Rc<ActiveAccount>,
}

impl User {
    /// Returns where the work of the session with this number runs.
    pub(super) fn site(&self, caller: u64) -> Site<'_> {
        Site { home: &self.home, caller, memory: &self.active_account.memory }
    }
}
