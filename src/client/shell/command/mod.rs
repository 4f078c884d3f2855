//! The command table that the shell, scripts, one-shot commands, completion and help share. This module knows
//! the names of commands, not how they work.

mod table;

use serde_json::json;
use strsim::osa_distance;

use crate::base::explanation::Explanation;
use crate::base::refusals;
use crate::base::text::Escaped;
use crate::client::commands::shell_escape;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::shell::lexer::Word;
use crate::client::ui::progress::take_has_moved;
pub use table::COMMANDS;

/// One command.
pub struct Command {
    /// The name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The operands, as `help` shows them.
    pub usage: &'static str,
    /// A summary in one line.
    pub help: &'static str,
    /// The options, each with its description.
    pub options: &'static [(&'static str, &'static str)],
    /// An example.
    pub example: &'static str,
    /// The kind of operands, for completion.
    pub operands: Operands,
    action: Action,
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

enum Action {
    /// The command only shows something, so without a reader there is nothing to do.
    Show(Run),
    /// The command changes something, locally or remotely, even without a reader of its results.
    Change(Run),
    Leave,
}

type Run = fn(&mut Session, &[Word]) -> Result<(), Failure>;

/// What follows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next command runs.
    Next,
    /// The session ends.
    Leave,
}

/// Returns the command called `name`, or a failure that suggests the nearest name.
pub fn find(name: &str) -> Result<&'static Command, Failure> {
    let called = |command: &&Command| command.name == name || command.aliases.contains(&name);
    COMMANDS.iter().find(called).ok_or_else(|| {
        let shown = Escaped(name.as_bytes());
        let advice = match nearest(name) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "'help' lists the commands".into(),
        };
        Failure::UnknownCommand(Explanation::new(format!("unknown command '{shown}'"), advice))
    })
}

/// Runs one command line, which has at least one word.
pub fn run(session: &mut Session, words: &[Word]) -> Result<Flow, Failure> {
    if let Some((reader, words)) = words.split_last().filter(|(last, _)| last.is_reader) {
        let flow = shell_escape::run_piped(session, reader, |session| run(session, words))?;
        return Ok(flow.unwrap_or(Flow::Next));
    }
    let Some((name, operands)) = words.split_first() else { return Ok(Flow::Next) };
    let command = find(name.as_str())?;
    if command.name != "!" && operands.first().is_some_and(|word| word.is_bare(b"--help")) {
        return run(session, &[Word::plain(b"help"), name.clone()]);
    }
    session.output.results.continues_unread = !matches!(command.action, Action::Show(_));
    let failures_before = session.output.failures;
    take_has_moved();
    let result = act(session, command, operands);
    refusals::take().into_iter().for_each(|text| session.output.note(text));
    match session.output.failures - failures_before {
        // The command has reported entries whose paths are too long.
        failed @ 1.. if result.is_ok() => Err(Failure::Some { failed, total: failed }),
        _ => result,
    }
}

fn act(session: &mut Session, command: &Command, operands: &[Word]) -> Result<Flow, Failure> {
    if command.operands == Operands::None && !options(command.name, "", operands)?.1.is_empty() {
        return Err(usage(command.name, "it takes no arguments"));
    }
    match command.action {
        Action::Show(_) if session.output.results.is_closed() => Err(Failure::OutputClosed),
        Action::Show(run) | Action::Change(run) => run(session, operands).map(|()| Flow::Next),
        Action::Leave => {
            session.output.json(&json!({"command": command.name, "ok": true}))?;
            Ok(Flow::Leave)
        }
    }
}

/// Splits `words` into option letters and operands. `letters` are the options of the command `name`. `--` ends
/// the options, and a quoted dash begins none.
pub fn options<'a>(name: &str, letters: &str, words: &'a [Word]) -> Result<(String, Vec<&'a Word>), Failure> {
    let (mut given, mut operands, mut may_be_option) = (String::new(), Vec::new(), true);
    for word in words {
        if may_be_option && word.is_bare(b"--") {
            may_be_option = false;
        } else if may_be_option && word.is_option() {
            if !word.text[1..].iter().all(|letter| letters.as_bytes().contains(letter)) {
                return Err(no_option(name, word));
            }
            given.push_str(&word.as_str()[1..]);
        } else {
            operands.push(word);
        }
    }
    Ok((given, operands))
}

/// Returns whether the command means the same in every remote directory.
pub fn names_only_absolute_paths(words: &[Word]) -> bool {
    let Some((name, words)) = words.split_first() else { return true };
    let Ok(command) = find(name.as_str()) else { return false };
    let operands: Vec<&Word> = words.iter().filter(|word| !word.is_option()).collect();
    let are_absolute = |words: &[&Word]| !words.is_empty() && words.iter().all(|word| word.text.starts_with(b"/"));
    let is_from = words.iter().any(|word| word.is_bare(b"--from"));
    match command.operands {
        Operands::None => command.name != "pwd",
        Operands::Local | Operands::LocalDirectories | Operands::Commands => true,
        Operands::Remote | Operands::RemoteDirectories => are_absolute(&operands),
        Operands::LocalThenRemote if !is_from => operands.len() > 1 && are_absolute(&operands[operands.len() - 1..]),
        Operands::RemoteThenLocal | Operands::LocalThenRemote => {
            are_absolute(&operands[..operands.len().saturating_sub(1).max(1).min(operands.len())])
        }
    }
}

/// Returns the failure for a word that begins with a dash but is not an option of the command `name`. The user
/// may have meant a file name, so the message says how to write one.
pub fn no_option(name: &str, word: &Word) -> Failure {
    let shown = Escaped(&word.text);
    match find(name) {
        Ok(command) => Failure::Usage(Explanation::new(
            format!("unknown option {shown}"),
            format!("usage: {name} {}; for a name that begins with a dash, write ./{shown}", command.usage),
        )),
        Err(failure) => failure,
    }
}

/// Returns a failure that shows the usage of `name`.
pub fn usage(name: &str, problem: &str) -> Failure {
    let problem = Escaped(problem.as_bytes()).to_string();
    Failure::Usage(match find(name) {
        Ok(command) => Explanation::new(problem, format!("usage: {}", format!("{name} {}", command.usage).trim_end())),
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
    use super::*;
    use crate::client::shell::lexer::split;

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
        for command in COMMANDS {
            assert!(command.example.starts_with(command.name), "{}", command.name);
        }
    }

    #[test]
    fn options_may_be_joined_and_end_at_two_dashes() {
        let words = split(b"-la x '-r' -r -- -y -").expect("a good line").remove(0);
        let (given, operands) = options("ls", "lar", &words).expect("valid");
        let texts: Vec<&str> = operands.iter().map(|word| word.as_str()).collect();
        assert_eq!((given.as_str(), texts), ("lar", vec!["x", "-r", "-y", "-"]));
        let failure = options("ls", "l", &words).expect_err("unknown");
        assert!(failure.exit_code() == 2 && failure.to_string().contains("write ./-la"), "{failure}");
        let words = [Word::plain(b"-\xff")];
        assert!(options("rm", "fr", &words).is_err(), "no other meaning for what is no text");
    }
}
