//! The states of a session. Each owns its data and is consumed by the step to the next, so no
//! field exists that is meaningless now.
//!
//! ```text
//!  Login ──welcome──► Command ──begin_upload──► Upload ──finish_upload──► Commit
//!                      ▲ │ ▲ ▲                    │ abort                   │ stored
//!                      │ │ │ └────────────────────┴─────────────────────────┘
//!               task ends│ └──end, abort── Download ◄──begin_download── Command
//!                        └─begin_list, begin_digest─► Command with a task
//!  any ──close──► Closing
//! ```

use super::active_accounts::ActiveAccount;
use super::download::Download;
use super::login_attempt::Login;
use super::task::Task;
use super::upload::{Commit, Upload};
use crate::account::AccountName;
use crate::store::home::Home;
use std::rc::Rc;

/// What a session is doing.
pub enum State {
    /// Nobody is known yet.
    Login(Login),
    /// A member may ask for something; a task may be at work.
    Command(Member, Option<Task>),
    /// Bytes are coming.
    Upload(Member, Box<Upload>),
    /// All bytes are there; the file is about to appear.
    Commit(Member, Box<Commit>),
    /// Bytes are going.
    Download(Member, Box<Download>),
    /// Nothing more will be done.
    Closing,
}

/// The states by name, for the table of verbs, the log and tests.
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
    /// What an administrator reads.
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
    /// Which state this is.
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

    /// Who is logged in.
    pub fn member(&self) -> Option<&Member> {
        match self {
            Self::Login(_) | Self::Closing => None,
            Self::Command(member, _)
            | Self::Upload(member, _)
            | Self::Commit(member, _)
            | Self::Download(member, _) => Some(member),
        }
    }

    /// Leaves this state for good and returns it with what it owned.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Closing)
    }
}

/// Somebody who has logged in.
pub struct Member {
    /// Whose account it is.
    pub account: AccountName,
    /// The account's home.
    pub home: Rc<Home>,
    /// Whether nothing may be changed.
    pub is_read_only: bool,
    /// What it shares with the account's other sessions.
    pub active_account: Rc<ActiveAccount>,
}
