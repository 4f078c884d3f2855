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
pub mod partials;
pub mod put;
mod refusal;
pub mod shell_escape;
pub mod usage;

use crate::base::virtual_path::VPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::shell::command::{options, usage};
use crate::client::shell::lexer::Word;

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
    if is_empty { Ok(()) } else { Err(usage(command, &format!("'{command}' takes no arguments"))) }
}
