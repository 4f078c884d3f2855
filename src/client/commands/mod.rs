//! What each command does: one file per command or small family. They see the session, never a
//! socket.

pub mod cat;
pub mod files;
pub mod folders;
pub mod get;
pub mod help;
pub mod inspect;
pub mod list;
pub mod local;
pub mod mirror;
pub mod outside;
pub mod partials;
pub mod put;
pub mod usage;

use crate::client::command::{options, usage};
use crate::client::outcome::Failure;
use crate::client::session::Session;
use crate::client::words::Word;
use crate::vpath::VPath;

/// The paths that all the operands name, patterns expanded; at least one operand is needed.
fn paths(session: &mut Session, command: &str, operands: &[&Word]) -> Result<Vec<VPath>, Failure> {
    if operands.is_empty() {
        return Err(usage(command, "a path is missing"));
    }
    let mut paths = Vec::new();
    for word in operands {
        paths.extend(session.expand(word)?);
    }
    Ok(paths)
}

/// Refuses operands of a command that takes none.
fn none(command: &str, words: &[Word]) -> Result<(), Failure> {
    let is_empty = options(command, "", words)?.1.is_empty();
    if is_empty { Ok(()) } else { Err(usage(command, &format!("'{command}' takes nothing"))) }
}
