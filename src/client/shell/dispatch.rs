//! Runs one command line: finds the command, checks its arguments and calls its implementation.

use serde_json::json;

use crate::base::refusals;
use crate::client::commands::{
    cat, directories, disk_usage, files, get, help, inspect, list, local, partials, put, shell_escape,
};
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::mirror;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::{self, CommandEffect, CommandId, CommandSpec, Operands, find};
use crate::client::syntax::lexer::Word;
use crate::client::ui::progress::take_has_kept_bytes;

/// What follows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next command runs.
    Next,
    /// The session ends.
    Leave,
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
    session.output.results.continues_unread = command.effect != CommandEffect::Show;
    let failures_before = session.output.failures;
    take_has_kept_bytes();
    let result = run_command(session, command, operands);
    refusals::take().into_iter().for_each(|text| session.output.note(text));
    match session.output.failures - failures_before {
        // The command has reported entries whose paths are too long.
        failed @ 1.. if result.is_ok() => Err(Failure::SomeFailed { failed, total: failed }),
        _ => result,
    }
}

fn run_command(session: &mut Session, command: &CommandSpec, words: &[Word]) -> Result<Flow, Failure> {
    if command.operands == Operands::None && !Arguments::parse(command.name, words)?.operands.is_empty() {
        return Err(command::usage_failure(command.name, "it takes no arguments"));
    }
    if command.effect == CommandEffect::Show && session.output.results.is_closed() {
        return Err(Failure::OutputClosed);
    }
    let run = match command.id {
        CommandId::Ls => list::ls,
        CommandId::Dir => list::dir,
        CommandId::Cd => directories::cd,
        CommandId::Pwd => directories::pwd,
        CommandId::Get => get::get,
        CommandId::Put => put::put,
        CommandId::Mirror => mirror::mirror,
        CommandId::Cat => cat::cat,
        CommandId::Partials => partials::partials,
        CommandId::Mkdir => directories::mkdir,
        CommandId::Rm => files::rm,
        CommandId::Rmdir => directories::rmdir,
        CommandId::Mv => files::mv,
        CommandId::Stat => inspect::stat,
        CommandId::Sha256 => inspect::sha256,
        CommandId::Quota => inspect::quota,
        CommandId::Df => disk_usage::df,
        CommandId::Du => disk_usage::du,
        CommandId::Lcd => local::lcd,
        CommandId::Lpwd => local::lpwd,
        CommandId::Lls => local::lls,
        CommandId::LocalShell => shell_escape::run_local_command,
        CommandId::Help => help::help,
        CommandId::Quit => {
            session.output.json(&json!({"command": command.name, "ok": true}))?;
            return Ok(Flow::Leave);
        }
    };
    run(session, words).map(|()| Flow::Next)
}
