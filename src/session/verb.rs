//! The calls to a session, the states in which each is allowed, and its effect on the home.

use super::error::SessionError;
use super::state::{State, StateName};

/// A call to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Verb {
    Login,
    Stat,
    List,
    Digest,
    RunTask,
    MakeFolder,
    RemoveFile,
    RemoveFolder,
    Rename,
    SetMtime,
    SetMode,
    Quota,
    KeptUploads,
    DropKept,
    BeginUpload,
    Store,
    FinishUpload,
    AdvanceCommit,
    BeginDownload,
    Fetch,
    Abort,
}

use StateName::{Command, Commit, Download, Login, Task, Upload};

/// The effect of a verb on the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing.
    Reads,
    /// Changes nothing, but the home must be counted.
    Counts,
    /// Changes the home: the account must be allowed to write, and the home must be counted.
    Changes,
}

use Effect::{Changes, Counts, Reads};

impl Verb {
    /// Returns the states in which it is allowed.
    pub fn states(self) -> &'static [StateName] {
        match self {
            Self::Login => &[Login],
            Self::RunTask => &[Task],
            Self::Store | Self::FinishUpload => &[Upload],
            Self::AdvanceCommit => &[Commit],
            Self::Fetch => &[Download],
            Self::Abort => &[Task, Upload, Commit, Download],
            Self::Stat
            | Self::List
            | Self::Digest
            | Self::MakeFolder
            | Self::RemoveFile
            | Self::RemoveFolder
            | Self::Rename
            | Self::SetMtime
            | Self::SetMode
            | Self::Quota
            | Self::KeptUploads
            | Self::DropKept
            | Self::BeginUpload
            | Self::BeginDownload => &[Command],
        }
    }

    /// Returns its effect on the home.
    pub fn effect(self) -> Effect {
        match self {
            Self::Login
            | Self::Stat
            | Self::List
            | Self::Digest
            | Self::RunTask
            | Self::KeptUploads
            | Self::BeginDownload
            | Self::Fetch
            | Self::Abort => Reads,
            Self::Quota => Counts,
            Self::MakeFolder
            | Self::RemoveFile
            | Self::RemoveFolder
            | Self::Rename
            | Self::SetMtime
            | Self::SetMode
            | Self::DropKept
            | Self::BeginUpload
            | Self::Store
            | Self::FinishUpload
            | Self::AdvanceCommit => Changes,
        }
    }

    /// Refuses the verb unless `state` allows it.
    pub fn check(self, state: &State) -> Result<(), SessionError> {
        let name = state.name();
        if self.states().contains(&name) {
            return match state.member() {
                Some(member) if member.is_read_only && self.effect() == Changes => Err(SessionError::ReadOnly),
                _ => Ok(()),
            };
        }
        Err(if name == Login { SessionError::LoginRequired } else { SessionError::WrongState })
    }
}
