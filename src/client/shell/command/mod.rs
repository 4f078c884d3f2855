//! The commands: one table that the shell, scripts, one-shot use, completion and help share.
//! It knows what commands are called, not how they work.

mod table;

pub use table::COMMANDS;

use serde_json::json;

use crate::base::refusals;
use crate::base::text::Escaped;
use crate::client::commands::shell_escape;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::shell::lexer::Word;

/// One command.
pub struct Command {
    /// What it is called.
    pub name: &'static str,
    /// What it is called too.
    pub aliases: &'static [&'static str],
    /// Its operands.
    pub usage: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Its options, each with what it does.
    pub options: &'static [(&'static str, &'static str)],
    /// One use of it.
    pub example: &'static str,
    /// What its operands are, for completion.
    pub operands: Operands,
    action: Action,
}

/// What kind of words a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// None.
    None,
    /// Paths at the server.
    Remote,
    /// Folders at the server.
    RemoteFolders,
    /// Paths at the server, then perhaps one here.
    RemoteThenLocal,
    /// Paths here.
    Local,
    /// Folders here.
    LocalFolders,
    /// Paths here, then perhaps one at the server.
    LocalThenRemote,
    /// Names of commands.
    Commands,
}

enum Action {
    /// It only shows something: without a reader there is nothing to do.
    Show(Run),
    /// It changes something, here or there, whether anybody reads its results or not.
    Change(Run),
    Leave,
}

type Run = fn(&mut Session, &[Word]) -> Result<(), Failure>;

/// What happens after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next command.
    Next,
    /// The end.
    Leave,
}

/// The command called `name`, or a failure that names the nearest.
pub fn find(name: &str) -> Result<&'static Command, Failure> {
    let called = |command: &&Command| command.name == name || command.aliases.contains(&name);
    COMMANDS.iter().find(called).ok_or_else(|| {
        let shown = Escaped(name.as_bytes());
        let text = match nearest(name) {
            Some(near) => format!("unknown command '{shown}'; did you mean '{near}'?"),
            None => format!("unknown command '{shown}'; 'help' lists the commands"),
        };
        Failure::Usage(text)
    })
}

/// Carries out one command line, which has at least one word.
pub fn run(session: &mut Session, words: &[Word]) -> Result<Flow, Failure> {
    if let Some((reader, words)) = words.split_last().filter(|(last, _)| last.is_reader) {
        let flow = shell_escape::piped(session, reader, |session| run(session, words))?;
        return Ok(flow.unwrap_or(Flow::Next));
    }
    let Some((name, operands)) = words.split_first() else { return Ok(Flow::Next) };
    let command = find(name.as_str())?;
    if command.name != "!" && operands.first().is_some_and(|word| word.is_bare(b"--help")) {
        return run(session, &[Word::plain(b"help"), name.clone()]);
    }
    session.output.results.goes_on = !matches!(command.action, Action::Show(_));
    let told_before = session.output.failures;
    let result = act(session, command, operands);
    refusals::take().into_iter().for_each(|text| session.output.note(text));
    match session.output.failures - told_before {
        // Some of the entries could not be reached, which was reported.
        failed @ 1.. if result.is_ok() => Err(Failure::Some { failed, total: failed }),
        _ => result,
    }
}

fn act(session: &mut Session, command: &Command, operands: &[Word]) -> Result<Flow, Failure> {
    match command.action {
        Action::Show(_) if session.output.results.is_closed() => Err(Failure::OutputClosed),
        Action::Show(run) | Action::Change(run) => run(session, operands).map(|()| Flow::Next),
        Action::Leave => {
            session.output.json(&json!({"command": command.name, "ok": true}))?;
            Ok(Flow::Leave)
        }
    }
}

/// The letters of the options in front and the operands behind them. `letters` are the options
/// that the command `name` knows; `--` ends them, and a dash that was quoted begins none.
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

/// Whether the command means the same in whatever remote directory it is carried out.
pub fn names_only_absolute_paths(words: &[Word]) -> bool {
    let Some((name, words)) = words.split_first() else { return true };
    let Ok(command) = find(name.as_str()) else { return false };
    let operands: Vec<&Word> = words.iter().filter(|word| !word.is_option()).collect();
    let are_absolute = |words: &[&Word]| !words.is_empty() && words.iter().all(|word| word.text.starts_with(b"/"));
    let is_from = words.iter().any(|word| word.is_bare(b"--from"));
    match command.operands {
        Operands::None => command.name != "pwd",
        Operands::Local | Operands::LocalFolders | Operands::Commands => true,
        Operands::Remote | Operands::RemoteFolders => are_absolute(&operands),
        Operands::LocalThenRemote if !is_from => operands.len() > 1 && are_absolute(&operands[operands.len() - 1..]),
        Operands::RemoteThenLocal | Operands::LocalThenRemote => {
            are_absolute(&operands[..operands.len().saturating_sub(1).max(1).min(operands.len())])
        }
    }
}

/// The failure for a word that begins with a dash and is no option of the command `name`. The user may
/// have meant a name, so the message says how that is written.
pub fn no_option(name: &str, word: &Word) -> Failure {
    let shown = Escaped(&word.text);
    match find(name) {
        Ok(command) => Failure::Usage(format!(
            "unknown option {shown}; usage: {name} {}; for a name that begins with a dash, write ./{shown}",
            command.usage
        )),
        Err(failure) => failure,
    }
}

/// A failure that shows how `name` is used.
pub fn usage(name: &str, problem: &str) -> Failure {
    let problem = Escaped(problem.as_bytes());
    match find(name) {
        Ok(command) => Failure::Usage(format!("{problem}; usage: {}", format!("{name} {}", command.usage).trim_end())),
        Err(_) => Failure::Usage(problem.to_string()),
    }
}

/// The name within two typing errors, an alias only where no name is as near.
fn nearest(name: &str) -> Option<&'static str> {
    let names = COMMANDS.iter().map(|command| (false, command.name));
    let aliases = COMMANDS.iter().flat_map(|command| command.aliases).map(|alias| (true, *alias));
    let all = names.chain(aliases).map(|(is_alias, known)| (distance(name, known), is_alias, known));
    let (errors, _, near) = all.min_by_key(|(errors, is_alias, _)| (*errors, *is_alias))?;
    (errors <= 2 && errors < name.chars().count()).then_some(near)
}

/// How many letters must be changed, added, left out or exchanged with their neighbour to make
/// `b` of `a`; `a` counts up to 32 letters.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(32).collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
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
