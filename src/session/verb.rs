//! What a verb needs, in one table for all front-ends.

use super::refusal::Refusal;
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

/// Each verb, the states it may be asked in, and its effect.
pub const TABLE: [(Verb, &[StateName], Effect); 21] = [
    (Verb::Login, &[Login], Reads),
    (Verb::Stat, &[Command], Reads),
    (Verb::List, &[Command], Reads),
    (Verb::Digest, &[Command], Reads),
    (Verb::RunTask, &[Task], Reads),
    (Verb::MakeFolder, &[Command], Changes),
    (Verb::RemoveFile, &[Command], Changes),
    (Verb::RemoveFolder, &[Command], Changes),
    (Verb::Rename, &[Command], Changes),
    (Verb::SetMtime, &[Command], Changes),
    (Verb::SetMode, &[Command], Changes),
    (Verb::Quota, &[Command], Counts),
    (Verb::KeptUploads, &[Command], Reads),
    (Verb::DropKept, &[Command], Changes),
    (Verb::BeginUpload, &[Command], Changes),
    (Verb::Store, &[Upload], Changes),
    (Verb::FinishUpload, &[Upload], Changes),
    (Verb::AdvanceCommit, &[Commit], Changes),
    (Verb::BeginDownload, &[Command], Reads),
    (Verb::Fetch, &[Download], Reads),
    (Verb::Abort, &[Task, Upload, Commit, Download], Reads),
];

impl Verb {
    /// What it has to do with the home.
    pub fn effect(self) -> Effect {
        self.row().2
    }

    /// Refuses the verb unless `state` allows it.
    pub fn check(self, state: &State) -> Result<(), Refusal> {
        let name = state.name();
        if self.row().1.contains(&name) {
            return match state.member() {
                Some(member) if member.is_read_only && self.effect() == Changes => Err(Refusal::ReadOnly),
                _ => Ok(()),
            };
        }
        Err(if name == Login { Refusal::LoginRequired } else { Refusal::WrongState })
    }

    fn row(self) -> &'static (Verb, &'static [StateName], Effect) {
        TABLE.iter().find(|row| row.0 == self).expect("the table has a row for each verb; a test checks it")
    }
}
