//! The implementations of the commands, one file for a command or a small family.

pub mod cat;
pub mod directories;
pub mod disk_usage;
pub mod files;
pub mod get;
pub mod help;
pub mod inspect;
pub mod list;
pub mod local;
pub mod partials;
pub mod put;
mod refusal;
pub mod shell_escape;
mod target;

use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::syntax::command::usage_failure;
use crate::client::syntax::lexer::Word;

/// Returns the paths that all operands name, with patterns expanded. At least one operand is required.
fn paths(session: &mut Session, command: &str, operands: &[&Word]) -> Result<Vec<VirtualPath>, Failure> {
    if operands.is_empty() {
        return Err(usage_failure(command, "at least one path is needed"));
    }
    let mut paths = Vec::new();
    for word in operands {
        paths.extend(session.expand(word)?);
    }
    Ok(paths)
}
