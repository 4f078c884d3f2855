//! Whether a file takes the place of one that differs: as `-f` says, or as the user answers. Without `-f` and
//! without anybody to ask it does not.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::base::text::unix_ns;
use crate::base::virtual_path::VPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::{mark_of, shown};
use crate::client::ui::amounts::Bytes;
use crate::client::ui::confirm::Choice;
use crate::client::ui::local_time;

/// A file to be transferred to a place where another one is.
pub struct Conflict<'a> {
    /// `get` or `put`.
    pub command: &'static str,
    /// The file here.
    pub local: &'a Path,
    /// The file there.
    pub remote: &'a VPath,
    /// Bytes of the one that is to be transferred.
    pub size: u64,
    /// Bytes of the one in its place.
    pub old_size: u64,
}

/// What one command does with all files that are in the way.
pub struct Overwrite {
    /// Nobody is asked: all are replaced, or none.
    settled: Option<bool>,
    /// The command moves many files.
    is_of_many: bool,
    has_quit: bool,
}

/// What happens to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is replaced.
    Replace,
    /// It stays.
    Keep,
    /// It stays, and nobody is asked about another one.
    Quit,
}

impl Overwrite {
    /// With `force` all are replaced.
    pub fn new(force: bool, is_of_many: bool) -> Self {
        Self { settled: force.then_some(true), is_of_many, has_quit: false }
    }

    /// Whether all are replaced without a question.
    pub fn is_forced(&self) -> bool {
        self.settled == Some(true)
    }

    /// Whether the user ended the command: what was agreed to before is done, and nothing else.
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// The result of a command that did what was agreed to.
    pub fn result(&self) -> Result<(), Failure> {
        if self.has_quit {
            Err(Failure::Local("stopped at your answer; the rest is left as it is".into()))
        } else {
            Ok(())
        }
    }

    /// What happens to the file in the way of `conflict`.
    pub fn decide(&mut self, session: &mut Session, conflict: &Conflict<'_>) -> Result<Decision, Failure> {
        if let Some(replaces) = self.settled {
            return Ok(if replaces { Decision::Replace } else { Decision::Keep });
        }
        if !session.may_ask {
            let (old, side) = match conflict.command {
                "get" => (shown(conflict.local).to_string(), "here"),
                _ => (conflict.remote.to_string(), "there"),
            };
            return Err(Failure::Local(format!("{old} is {side} already and differs; -f replaces it")));
        }
        let question = question(session, conflict, self.is_of_many)?;
        Ok(match session.ask(&question, self.is_of_many)? {
            Choice::Yes => Decision::Replace,
            Choice::No => Decision::Keep,
            Choice::All => {
                self.settled = Some(true);
                Decision::Replace
            }
            Choice::None => {
                self.settled = Some(false);
                Decision::Keep
            }
            Choice::Quit => {
                self.has_quit = true;
                Decision::Quit
            }
        })
    }
}

/// ```text
/// replace remote /a by local a?
///   remote  4.8M  Nov 30 08:20
///   local   6.7M  Nov 30 09:11  newer
/// Replace it?
/// ```
fn question(session: &mut Session, conflict: &Conflict<'_>, is_of_many: bool) -> Result<String, Failure> {
    let (local, remote) = (shown(conflict.local), conflict.remote);
    let here = fs::metadata(conflict.local).ok().map(|metadata| (metadata.len(), mark_of(&metadata).mtime_ns));
    let there = match session.stat(remote) {
        Ok(entry) => Some((entry.size, entry.mtime_ns)),
        Err(failure) if failure.ends_session() || failure == Failure::Interrupted => return Err(failure),
        Err(_) => None,
    };
    let (question, old_first) = match conflict.command {
        "get" => (format!("replace local {local} by remote {remote}?"), [("local ", here), ("remote", there)]),
        _ => (format!("replace remote {remote} by local {local}?"), [("remote", there), ("local ", here)]),
    };
    let now_ns = unix_ns(SystemTime::now());
    let newest_ns = here.zip(there).filter(|(here, there)| here.1 != there.1).map(|(here, there)| here.1.max(there.1));
    let mut rows = String::new();
    for (side, facts) in old_first {
        if let Some((size, mtime_ns)) = facts {
            let newer = if newest_ns == Some(mtime_ns) { "  newer" } else { "" };
            rows += &format!("\n  {side}  {}  {}{newer}", Bytes(size), local_time::short(mtime_ns, now_ns));
        }
    }
    // Of many, the answers say what is asked.
    Ok(format!("{question}{rows}\n{}", if is_of_many { "" } else { "Replace it?" }))
}
