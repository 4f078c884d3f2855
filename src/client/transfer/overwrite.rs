//! Decides whether a transfer replaces an existing file that differs. `-f` or the user's answer allows it.
//! Without `-f` and without a terminal to ask on, the file stays.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::base::calendar::unix_ns;
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::{shown, stamp_of};
use crate::client::transfer::job::{Direction, TransferJob};
use crate::client::ui::amounts::Bytes;
use crate::client::ui::confirm::Choice;
use crate::client::ui::local_time;

/// A file to transfer whose destination exists already.
pub struct Conflict<'a> {
    /// The direction of the transfer.
    pub direction: Direction,
    /// The local file.
    pub local: &'a Path,
    /// The remote file.
    pub remote: &'a VirtualPath,
    /// The size in bytes of the file to transfer.
    pub size: u64,
    /// The size in bytes of the file at the destination.
    pub old_size: u64,
}

impl<'a> Conflict<'a> {
    /// Creates the conflict of a job. `size` is the size of the source now.
    pub fn for_job(direction: Direction, job: &'a TransferJob, size: u64, old_size: u64) -> Self {
        Self { direction, local: &job.local, remote: &job.remote, size, old_size }
    }
}

/// How one command treats existing files.
pub struct OverwritePolicy {
    /// The decision for all further files, without a question: replace or keep.
    answer_for_all: Option<bool>,
    /// Whether the command transfers many files.
    is_one_of_many: bool,
    has_quit: bool,
}

/// The decision about one existing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Replace the file.
    Replace,
    /// Keep the file.
    Keep,
    /// Keep the file and ask no more questions.
    Quit,
}

impl OverwritePolicy {
    /// Creates the policy of one command. With `force`, every existing file is replaced.
    pub fn new(force: bool, is_one_of_many: bool) -> Self {
        Self { answer_for_all: force.then_some(true), is_one_of_many, has_quit: false }
    }

    /// Returns whether every file is replaced without a question.
    pub fn is_forced(&self) -> bool {
        self.answer_for_all == Some(true)
    }

    /// Returns whether the user chose to quit. The command still transfers what the user agreed to before, and
    /// nothing else.
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Returns the result of a command after its agreed transfers.
    pub fn result(&self) -> Result<(), Failure> {
        if self.has_quit {
            Err(Failure::Local("stopped, as you chose; the remaining files are unchanged".into()))
        } else {
            Ok(())
        }
    }

    /// Decides about the existing file of `conflict`.
    pub fn decide(&mut self, session: &mut Session, conflict: &Conflict<'_>) -> Result<Decision, Failure> {
        if let Some(replaces) = self.answer_for_all {
            return Ok(if replaces { Decision::Replace } else { Decision::Keep });
        }
        if !session.may_ask {
            let existing = match conflict.direction {
                Direction::Download => format!("local {}", shown(conflict.local)),
                Direction::Upload => format!("remote {}", conflict.remote),
            };
            return Err(Failure::Local(Explanation::new(format!("{existing} exists and differs"), "-f replaces it")));
        }
        let question = question(session, conflict, self.is_one_of_many)?;
        Ok(match session.ask(&question, self.is_one_of_many)? {
            Choice::Yes => Decision::Replace,
            Choice::No => Decision::Keep,
            Choice::All => {
                self.answer_for_all = Some(true);
                Decision::Replace
            }
            Choice::None => {
                self.answer_for_all = Some(false);
                Decision::Keep
            }
            Choice::Quit => {
                self.has_quit = true;
                Decision::Quit
            }
        })
    }
}

/// Formats the question about a conflict, the existing file first:
///
/// ```text
/// replace remote /a with local a?
///   remote  4.8M  Nov 30 08:20
///   local   6.7M  Nov 30 09:11  newer
/// Replace it?
/// ```
fn question(session: &mut Session, conflict: &Conflict<'_>, is_one_of_many: bool) -> Result<String, Failure> {
    let (local, remote) = (shown(conflict.local), conflict.remote);
    let local_facts = fs::metadata(conflict.local).ok().map(|metadata| (metadata.len(), stamp_of(&metadata).mtime_ns));
    let remote_facts = match session.stat(remote) {
        Ok(entry) => Some((entry.size, entry.mtime_ns)),
        Err(failure) if failure.ends_session() || failure == Failure::Interrupted => return Err(failure),
        Err(_) => None,
    };
    let (question, old_first) = match conflict.direction {
        Direction::Download => (
            format!("replace local {local} with remote {remote}?"),
            [("local ", local_facts), ("remote", remote_facts)],
        ),
        Direction::Upload => (
            format!("replace remote {remote} with local {local}?"),
            [("remote", remote_facts), ("local ", local_facts)],
        ),
    };
    let now_ns = unix_ns(SystemTime::now());
    let newest_ns = local_facts
        .zip(remote_facts)
        .filter(|(local, remote)| local.1 != remote.1)
        .map(|(local, remote)| local.1.max(remote.1));
    let mut rows = String::new();
    for (side, facts) in old_first {
        if let Some((size, mtime_ns)) = facts {
            let newer = if newest_ns == Some(mtime_ns) { "  newer" } else { "" };
            rows += &format!("\n  {side}  {}  {}{newer}", Bytes(size), local_time::short(mtime_ns, now_ns));
        }
    }
    // For many files, the list of answers already says what the question is.
    Ok(format!("{question}{rows}\n{}", if is_one_of_many { "" } else { "Replace it?" }))
}
