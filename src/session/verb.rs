//! The calls to a session, the states in which each is allowed, and its effect on the home.

use super::error::SessionError;
use super::state::{State, StateName};
use Effect::{Changes, Reads};
use StateName::{Command, Commit, Download, Login, Task, Upload};

/// A call to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Verb {
    Login,
    Stat,
    List,
    Digest,
    RunTask,
    MakeDirectory,
    RemoveFile,
    RemoveDirectory,
    Rename,
    SetMtime,
    SetMode,
    Quota,
    PartialUploads,
    DropPartialUpload,
    BeginUpload,
    Store,
    FinishUpload,
    AdvanceCommit,
    BeginDownload,
    Fetch,
    Abort,
}

/// The effect of a verb on the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing.
    Reads,
    /// Changes the home: the account must be allowed to write.
    Changes,
}

impl Verb {
    /// Returns the states in which the verb is allowed, and its effect on the home.
    fn rule(self) -> (&'static [StateName], Effect) {
        match self {
            Self::Login => (&[Login], Reads),
            Self::Stat => (&[Command], Reads),
            Self::List => (&[Command], Reads),
            Self::Digest => (&[Command], Reads),
            Self::RunTask => (&[Task], Reads),
            Self::MakeDirectory => (&[Command], Changes),
            Self::RemoveFile => (&[Command], Changes),
            Self::RemoveDirectory => (&[Command], Changes),
            Self::Rename => (&[Command], Changes),
            Self::SetMtime => (&[Command], Changes),
            Self::SetMode => (&[Command], Changes),
            Self::Quota => (&[Command], Reads),
            Self::PartialUploads => (&[Command], Reads),
            Self::DropPartialUpload => (&[Command], Changes),
            Self::BeginUpload => (&[Command], Changes),
            Self::Store => (&[Upload], Changes),
            Self::FinishUpload => (&[Upload], Changes),
            Self::AdvanceCommit => (&[Commit], Changes),
            Self::BeginDownload => (&[Command], Reads),
            Self::Fetch => (&[Download], Reads),
            Self::Abort => (&[Task, Upload, Commit, Download], Reads),
        }
    }

    /// Returns the states in which it is allowed.
    pub fn states(self) -> &'static [StateName] {
        self.rule().0
    }

    /// Returns its effect on the home.
    pub fn effect(self) -> Effect {
        self.rule().1
    }

    /// Refuses the verb unless `state` allows it.
    pub fn check(self, state: &State) -> Result<(), SessionError> {
        let (name, (states, effect)) = (state.name(), self.rule());
        match state.user() {
            _ if !states.contains(&name) && name == Login => Err(SessionError::LoginRequired),
            _ if !states.contains(&name) => Err(SessionError::WrongState),
            Some(user) if user.is_read_only && effect == Changes => Err(SessionError::ReadOnly),
            _ => Ok(()),
        }
    }
}
