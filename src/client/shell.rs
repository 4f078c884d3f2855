//! The prompt: editing, history, completion. Ctrl-C clears the line, Ctrl-D leaves. It knows
//! what commands are called, not what they do.

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::hint::HistoryHinter;
use rustyline::history::FileHistory;
use rustyline::{Config, Context, Editor, Helper, Highlighter, Hinter, Validator};

use crate::client::command::{self, COMMANDS, Flow};
use crate::client::outcome::Failure;
use crate::client::session::Session;
use crate::client::tally::report;
use crate::client::words::split;

/// Reads and carries out commands until the user leaves. A failed command does not end the
/// shell; what comes back is what ended it against the user's will.
pub fn run(session: &mut Session) -> Option<Failure> {
    let mut editor = match open_editor() {
        Ok(editor) => editor,
        Err(error) => return Some(Failure::Local(format!("no prompt is possible here: {error}"))),
    };
    let history = session.state.history();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    let end = converse(session, &mut editor);
    if let Some(path) = &history {
        let _ = editor.append_history(path);
    }
    end
}

fn open_editor() -> rustyline::Result<Editor<Assistant, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant { hinter: HistoryHinter::new() }));
    Ok(editor)
}

fn converse(session: &mut Session, editor: &mut Editor<Assistant, FileHistory>) -> Option<Failure> {
    loop {
        let prompt = format!("berth {}> ", session.folder);
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return None,
            Err(error) => return Some(Failure::Local(format!("the prompt failed: {error}"))),
        };
        if !line.trim().is_empty() {
            let _ = editor.add_history_entry(line.as_str());
        }
        match run_line(session, &line) {
            Ok(Flow::Next) => {}
            Ok(Flow::Leave) => return None,
            Err(failure) => return Some(failure),
        }
    }
}

/// Carries out one line; the rest of it after a failed command is left out.
fn run_line(session: &mut Session, line: &str) -> Result<Flow, Failure> {
    let commands = match split(line.as_bytes()) {
        Ok(commands) => commands,
        Err(error) => {
            session.output.complain(format_args!("berth: {error}"));
            return Ok(Flow::Next);
        }
    };
    for words in commands {
        session.link.interrupt().clear();
        let result = command::run(session, &words).and_then(|flow| session.output.flush().map(|()| flow));
        match result {
            Ok(Flow::Next) => {}
            Ok(Flow::Leave) => return Ok(Flow::Leave),
            Err(failure) if failure.ends_session() => return Err(failure),
            Err(failure) => {
                session.recover();
                let name = words.first().map(|word| word.as_str().to_string()).unwrap_or_default();
                report(session, &name, &failure)?;
                session.output.flush()?;
                return Ok(Flow::Next);
            }
        }
    }
    Ok(Flow::Next)
}

/// Completes what is typed and hints at what was typed before.
#[derive(Helper, Highlighter, Hinter, Validator)]
struct Assistant {
    #[rustyline(Hinter)]
    hinter: HistoryHinter,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(complete_command(&line[..position]))
    }
}

/// Completions for the name of a command: the first word of a line or behind a `;`, and the
/// operand of `help`.
fn complete_command(typed: &str) -> (usize, Vec<Pair>) {
    let start = typed.rfind(';').map_or(0, |at| at + 1);
    let command = typed[start..].trim_start();
    let word = command.strip_prefix("help ").map_or(command, str::trim_start);
    if word.contains(char::is_whitespace) {
        return (typed.len(), Vec::new());
    }
    let fitting = COMMANDS.iter().filter(|command| command.name.starts_with(word));
    let pairs = fitting.map(|command| Pair { display: command.name.into(), replacement: format!("{} ", command.name) });
    (typed.len() - word.len(), pairs.collect())
}

/// Older lines are forgotten.
const HISTORY_LINES_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands_are_completed() {
        let complete = |typed: &str| {
            let (start, pairs) = complete_command(typed);
            (start, pairs.into_iter().map(|pair| pair.replacement).collect::<Vec<_>>())
        };
        assert_eq!(complete("mk"), (0, vec!["mkdir ".to_string()]));
        assert_eq!(complete("cd a; qu"), (6, vec!["quota ".to_string(), "quit ".to_string()]));
        assert_eq!(complete("help g"), (5, vec!["get ".to_string()]));
        assert_eq!(complete("get x"), (5, vec![]));
        assert_eq!(complete("").1.len(), COMMANDS.len());
    }
}
