//! What a session can be asked to do, in which states, and what that has to do with the home.

use super::error::SessionError;
use super::state::{State, StateName};

/// Everything a session can be asked to do.
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

/// What a verb has to do with the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changes.
    Reads,
    /// Nothing changes, but the home must be counted.
    Counts,
    /// The home changes: the account must be allowed to write, and the home must be counted.
    Changes,
}

use Effect::{Changes, Counts, Reads};

impl Verb {
    /// The states in which it may be asked.
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

    /// What it has to do with the home.
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
