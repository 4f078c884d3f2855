//! `help`.

use serde_json::json;

use crate::client::command::{COMMANDS, Command, find, options, usage};
use crate::client::outcome::Failure;
use crate::client::session::Session;
use crate::client::words::Word;

/// `help [COMMAND]`
pub fn help(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    match options("help", "", words)?.1[..] {
        [] => COMMANDS.iter().try_for_each(|command| overview(session, command)),
        [word] => detail(session, find(word.as_str())?),
        _ => Err(usage("help", "one command at a time")),
    }
}

fn overview(session: &mut Session, command: &Command) -> Result<(), Failure> {
    session.output.line(overview_line(command))?;
    session.output.json(&as_json(command))
}

fn overview_line(command: &Command) -> String {
    format!("{:<9} {}", command.name, command.help)
}

fn detail(session: &mut Session, command: &Command) -> Result<(), Failure> {
    for line in detail_lines(command) {
        session.output.line(line)?;
    }
    session.output.json(&as_json(command))
}

fn detail_lines(command: &Command) -> Vec<String> {
    let mut lines = vec![format!("{} {}", command.name, command.usage), format!("  {}", command.help)];
    lines.extend(command.options.iter().map(|(option, help)| format!("  {option:<6} {help}")));
    lines.push(format!("  example: {}", command.example));
    if !command.aliases.is_empty() {
        lines.push(format!("  also: {}", command.aliases.join(", ")));
    }
    lines
}

fn as_json(command: &Command) -> serde_json::Value {
    json!({
        "command": "help", "ok": true, "name": command.name, "aliases": command.aliases,
        "usage": command.usage, "help": command.help, "example": command.example,
        "options": command.options.iter().map(|(option, help)| json!({"option": option, "help": help})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_small_terminal() {
        for command in COMMANDS {
            assert!(overview_line(command).chars().count() <= 80, "{}", command.name);
            assert!(detail_lines(command).iter().all(|line| line.chars().count() <= 80), "{}", command.name);
        }
    }
}
