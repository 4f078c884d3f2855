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
    let call = format!("{} {}", command.name, command.usage);
    session.output.line(format_args!("{call:<33} {}", command.help))?;
    session.output.json(&as_json(command))
}

fn detail(session: &mut Session, command: &Command) -> Result<(), Failure> {
    session.output.line(format_args!("{} {}", command.name, command.usage))?;
    session.output.line(format_args!("  {}", command.help))?;
    session.output.line(format_args!("  example: {}", command.example))?;
    if !command.aliases.is_empty() {
        session.output.line(format_args!("  also: {}", command.aliases.join(", ")))?;
    }
    session.output.json(&as_json(command))
}

fn as_json(command: &Command) -> serde_json::Value {
    json!({
        "command": "help", "ok": true, "name": command.name, "aliases": command.aliases,
        "usage": command.usage, "help": command.help, "example": command.example,
    })
}
