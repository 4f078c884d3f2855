//! `help`: shows the commands and their options.

use serde_json::json;

use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::options::CommandOption;
use crate::client::syntax::command::{COMMANDS, CommandSpec, find, usage_failure};
use crate::client::syntax::lexer::Word;
use crate::client::ui::output::Output;

/// `help [COMMAND]`
pub fn help(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    show(&mut session.output, words)
}

/// Shows help without a session.
pub fn show(output: &mut Output, words: &[Word]) -> Result<(), Failure> {
    match Arguments::parse("help", words)?.operands[..] {
        [] => COMMANDS.iter().try_for_each(|command| {
            output.line(wrap(&overview_line(command), OVERVIEW_INDENT, columns(output)))?;
            output.json(&as_json(command))
        }),
        [word] => detail(output, find(word.as_str())?),
        _ => Err(usage_failure("help", "name one command")),
    }
}

/// Lists all commands with a summary of each.
pub fn overview(columns: usize) -> String {
    let lines = COMMANDS.iter().map(|command| format!("  {}", overview_line(command)));
    lines.map(|line| wrap(&line, OVERVIEW_INDENT + 2, columns)).collect::<Vec<_>>().join("\n")
}

/// Wraps each line of `text` between words at the width of the terminal.
pub fn wrap_lines(text: &str, indent: usize, columns: usize) -> String {
    text.lines().map(|line| wrap(line, indent, columns)).collect::<Vec<_>>().join("\n")
}

fn columns(output: &Output) -> usize {
    output.columns().unwrap_or(usize::MAX)
}

/// The column where the summaries begin.
const OVERVIEW_INDENT: usize = 10;

/// Wraps `line` between words at the width of the terminal. The following lines are indented by `indent`.
fn wrap(line: &str, indent: usize, columns: usize) -> String {
    let (mut text, mut used) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        if used > indent && used + word.trim_end().chars().count() > columns {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        }
        text.push_str(word);
        used += word.chars().count();
    }
    text
}

fn overview_line(command: &CommandSpec) -> String {
    format!("{:<9} {}", command.name, command.help)
}

fn detail(output: &mut Output, command: &CommandSpec) -> Result<(), Failure> {
    let columns = columns(output);
    for line in detail_lines(command) {
        output.line(wrap(&line, 4, columns))?;
    }
    output.json(&as_json(command))
}

fn detail_lines(command: &CommandSpec) -> Vec<String> {
    let mut lines = vec![format!("{} {}", command.name, command.usage()), format!("  {}", command.help)];
    let width = command.explained_options().map(|option| option.shown().len()).max().unwrap_or(0);
    lines.extend(command.explained_options().map(|option| format!("  {:<width$}  {}", option.shown(), option.help)));
    lines.push(format!("  example: {}", command.example));
    if !command.aliases.is_empty() {
        lines.push(format!("  also: {}", command.aliases.join(", ")));
    }
    lines
}

fn as_json(command: &CommandSpec) -> serde_json::Value {
    json!({
        "command": "help", "ok": true, "name": command.name, "aliases": command.aliases,
        "usage": command.usage(), "help": command.help, "example": command.example,
        "options": command.explained_options().map(option_json).collect::<Vec<_>>(),
    })
}

fn option_json(option: &CommandOption) -> serde_json::Value {
    json!({"option": option.shown(), "help": option.help})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words() {
        assert_eq!(wrap("ls        list folders", 10, 40), "ls        list folders");
        assert_eq!(wrap("dir       list folders with mode", 10, 24), "dir       list folders\n          with mode");
        assert_eq!(wrap("  -a     each file too", 4, 5), "  -a\n    each\n    file\n    too");
        for command in COMMANDS {
            let wrapped = wrap(&overview_line(command), 10, 40);
            assert!(wrapped.lines().all(|line| line.chars().count() <= 40), "{wrapped}");
            assert_eq!(wrapped.split_whitespace().collect::<String>(), overview_line(command).replace(' ', ""));
        }
    }

    #[test]
    fn help_fits_a_small_terminal() {
        for command in COMMANDS {
            assert!(overview_line(command).chars().count() <= 80, "{}", command.name);
            assert!(detail_lines(command).iter().all(|line| line.chars().count() <= 80), "{}", command.name);
        }
    }
}
