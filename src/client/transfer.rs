//! What `get` and `put` have in common: comparing a file here with one there, and telling what
//! became of a transfer.

use std::path::Path;

use serde_json::json;

use crate::client::incoming::Event;
use crate::client::local::{digest_of, shown};
use crate::client::outcome::Failure;
use crate::client::session::{Session, unexpected};
use crate::digest::Digest;
use crate::text::Size;
use crate::vpath::VPath;
use crate::wire::message::Name;
use crate::wire::{Reply, Request};

/// A transfer that is done.
pub struct Done<'a> {
    /// `get` or `put`.
    pub command: &'static str,
    /// The file here.
    pub local: &'a Path,
    /// The file there.
    pub remote: &'a VPath,
    /// Its bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
    /// Bytes that were there already; all of them when nothing was moved.
    pub resumed_from: u64,
    /// Nothing was moved, because both sides had the same.
    pub is_identical: bool,
}

impl Done<'_> {
    /// Shows it; one of many (`is_brief`) only to programs.
    pub fn show(&self, session: &mut Session, is_brief: bool) -> Result<(), Failure> {
        let Self { command, local, remote, size, sha256, .. } = self;
        if !is_brief {
            let local = shown(local);
            let names = match *command {
                "get" => format!("get {remote} -> {local}"),
                _ => format!("{command} {local} -> {remote}"),
            };
            let remark = if self.is_identical { "  already there, identical" } else { "" };
            session.output.line(format_args!("{names}  {}  sha256 {sha256}{remark}", Size(*size)))?;
        }
        session.output.json(&json!({
            "command": command, "ok": true, "remote": Name::from(*remote), "local": shown(local).to_string(),
            "size": size, "sha256": sha256, "resumed_from": self.resumed_from,
            "status": if self.is_identical { "identical" } else { "done" },
        }))
    }
}

/// The digest of a file here and there, if they are the same. Both sides compute at once.
pub fn same_content(session: &mut Session, local: &Path, remote: &VPath) -> Result<Option<Digest>, Failure> {
    let mut same = Err(unexpected());
    same_contents(session, &[(local, remote)], |_, _, result| same = result)?;
    same
}

/// The same for many files: the server is asked ahead, so they cost no round trip each.
/// `on_result` gets each pair's position.
pub fn same_contents(
    session: &mut Session,
    pairs: &[(&Path, &VPath)],
    mut on_result: impl FnMut(&mut Session, usize, Result<Option<Digest>, Failure>),
) -> Result<(), Failure> {
    let mut asked = 0;
    for (at, (local, _)) in pairs.iter().enumerate() {
        while asked < pairs.len() && session.link.has_room() {
            session.link.request(&Request::Sha256 { path: pairs[asked].1.into() })?;
            asked += 1;
        }
        session.link.send_all()?;
        let here = digest_of(local, session.link.interrupt());
        let there = match session.link.receive()?.event {
            Event::Reply(Reply::Sha256 { sha256, .. }) => Ok(sha256),
            Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
            _ => return Err(unexpected()),
        };
        let same = there.and_then(|there| Ok(Some(here?).filter(|here| *here == there)));
        on_result(session, at, same);
    }
    Ok(())
}

/// Says what an interrupted transfer left.
pub fn note_interruption(session: &mut Session, result: Result<(), Failure>) -> Result<(), Failure> {
    if result == Err(Failure::Interrupted) {
        session.output.note("\nwhat was transferred is kept; the same command goes on from there");
    }
    result
}
