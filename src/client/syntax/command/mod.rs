//! The table of commands: their names, options and operands. The shell, scripts, completion, help, man pages and the
//! completions of other shells use it. This module does not know how commands work.

pub mod options;
mod table;

use strsim::osa_distance;

use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::client::error::Failure;
use crate::client::syntax::lexer::Word;
use options::{CommandOption, OptionRole};
pub use table::COMMANDS;

/// One command.
pub struct CommandSpec {
    /// Identifies the command where it is run.
    pub id: CommandId,
    /// The name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What follows the name, as `help` shows it.
    pub synopsis: Synopsis,
    /// A summary in one line.
    pub help: &'static str,
    /// The options.
    pub options: &'static [CommandOption],
    /// An example.
    pub example: &'static str,
    /// The kind of operands, for completion.
    pub operands: Operands,
    /// What running it does.
    pub effect: CommandEffect,
}

/// What follows the name of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synopsis {
    /// The options, then these operands.
    Options(&'static str),
    /// Options and operands in one text, because the options are many or stand between operands.
    Whole(&'static str),
}

/// Identifies a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The table has the documentation.
pub enum CommandId {
    Ls,
    Dir,
    Cd,
    Pwd,
    Get,
    Put,
    Mirror,
    Cat,
    Partials,
    Mkdir,
    Rm,
    Rmdir,
    Mv,
    Stat,
    Sha256,
    Quota,
    Df,
    Du,
    Lcd,
    Lpwd,
    Lls,
    LocalShell,
    Help,
    Quit,
}

/// The kind of words that a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// No operands.
    None,
    /// Remote paths.
    Remote,
    /// Remote directories.
    RemoteDirectories,
    /// Remote paths, then optionally a local path.
    RemoteThenLocal,
    /// Local paths.
    Local,
    /// Local directories.
    LocalDirectories,
    /// Local paths, then optionally a remote path.
    LocalThenRemote,
    /// Command names.
    Commands,
}

/// What running a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEffect {
    /// It only shows something, so without a reader there is nothing to do.
    Show,
    /// It changes something, locally or remotely, even without a reader of its results.
    Change,
    /// It ends the session.
    Leave,
}

impl CommandSpec {
    /// Returns what follows the name, as `help` shows it.
    pub fn usage(&self) -> String {
        match self.synopsis {
            Synopsis::Whole(text) => text.into(),
            Synopsis::Options(operands) => {
                let options = self.options.iter().filter(|option| option.is_offered());
                let options: String = options.map(|option| format!("[{}] ", option.shown())).collect();
                format!("{options}{operands}").trim_end().into()
            }
        }
    }

    /// Returns the options that `help` explains.
    pub fn explained_options(&self) -> impl Iterator<Item = &'static CommandOption> {
        self.options.iter().filter(|option| option.role != OptionRole::Accepted)
    }

    /// Returns the option called `name`.
    pub(super) fn option(&self, name: &str) -> Option<&'static CommandOption> {
        self.options.iter().find(|option| option.name == name && option.role != OptionRole::Operand)
    }
}

/// Returns the command called `name`, or a failure that suggests the nearest name.
pub fn find(name: &str) -> Result<&'static CommandSpec, Failure> {
    let called = |command: &&CommandSpec| command.name == name || command.aliases.contains(&name);
    COMMANDS.iter().find(called).ok_or_else(|| {
        let shown = Escaped(name.as_bytes());
        let advice = match nearest(name) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "'help' lists the commands".into(),
        };
        Failure::UnknownCommand(Explanation::new(format!("unknown command '{shown}'"), advice))
    })
}

/// Returns the failure for a word that begins with a dash but is not an option of the command `name`. The user
/// may have meant a file name, so the message says how to write one.
pub fn no_option(name: &str, word: &Word) -> Failure {
    let shown = Escaped(&word.text);
    match find(name) {
        Ok(command) => Failure::Usage(Explanation::new(
            format!("unknown option {shown}"),
            format!("usage: {name} {}; for a name that begins with a dash, write ./{shown}", command.usage()),
        )),
        Err(failure) => failure,
    }
}

/// Returns a failure that shows the usage of `name`.
pub fn usage_failure(name: &str, problem: &str) -> Failure {
    let problem = Escaped(problem.as_bytes()).to_string();
    Failure::Usage(match find(name) {
        Ok(command) => {
            Explanation::new(problem, format!("usage: {}", format!("{name} {}", command.usage()).trim_end()))
        }
        Err(_) => problem.into(),
    })
}

/// Returns the command name within two typing errors. An alias counts only if no name is as near. Only the first
/// 32 letters of `name` count.
fn nearest(name: &str) -> Option<&'static str> {
    let name: String = name.chars().take(32).collect();
    let names = COMMANDS.iter().map(|command| (false, command.name));
    let aliases = COMMANDS.iter().flat_map(|command| command.aliases).map(|alias| (true, *alias));
    let all = names.chain(aliases).map(|(is_alias, known)| (osa_distance(&name, known), is_alias, known));
    let (errors, _, near) = all.min_by_key(|(errors, is_alias, _)| (*errors, *is_alias))?;
    (errors <= 2 && errors < name.chars().count()).then_some(near)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn unknown_commands_suggest_the_nearest() {
        let suggestion = |name: &str| find(name).err().map(|failure| failure.to_string()).unwrap_or_default();
        assert!(suggestion("gte").contains("'get'"));
        assert!(suggestion("sl").contains("'ls'"));
        assert!(suggestion("mkdri").contains("'mkdir'"));
        assert!(suggestion("frobnicate").contains("'help' lists"));
        assert!(suggestion("x\x1b[2J").contains("\\x1b"));
        assert!(find("exit").is_ok());
    }

    #[test]
    fn names_are_unique_and_examples_are_commands() {
        let mut names: Vec<&str> = COMMANDS.iter().flat_map(|c| c.aliases.iter().copied().chain([c.name])).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        let ids: HashSet<CommandId> = COMMANDS.iter().map(|command| command.id).collect();
        assert_eq!(ids.len(), COMMANDS.len());
        for command in COMMANDS {
            assert!(command.example.starts_with(command.name), "{}", command.name);
            let options: HashSet<&str> = command.options.iter().map(|option| option.name).collect();
            assert_eq!(options.len(), command.options.len(), "{}", command.name);
        }
    }
}
