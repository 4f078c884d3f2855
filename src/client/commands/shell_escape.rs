//! `!` and `|`: local commands, run by the user's own shell.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::json;
use signal_hook::consts::SIGINT;

use crate::base::explanation::Explanation;
use crate::base::text::{Escaped, plain};
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::syntax::lexer::Word;
use crate::client::ui::results::Results;
use crate::wire::message::Name;

/// `![COMMAND]`
pub fn run_local_command(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let line = words.iter().map(|word| &word.text[..]).collect::<Vec<_>>().join(&b' ');
    session.output.flush()?;
    let mut shell = shell(&line);
    if session.output.is_json {
        // With `--json`, standard output carries only JSON objects.
        shell.stdout(stderr().map_err(|error| failure(&error))?);
    }
    let status = session.link.interrupt().ignoring_ctrl_c(|| shell.status()).map_err(|error| failure(&error))?;
    // An interactive shell exits with the status of its last command, so only a given command is checked.
    if !line.is_empty() && !status.success() {
        return Err(Failure::Local(format!("the command {}", describe_exit(status)).into()));
    }
    session.output.json(&json!({"command": "!", "ok": true, "line": Name(line)}))
}

/// Runs `command` while the local program `reader` reads its results. Returns the result of `command`, or `None` if
/// the reader exited early, which is no failure.
pub fn run_piped<T>(
    session: &mut Session,
    reader: &Word,
    command: impl FnOnce(&mut Session) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    session.output.flush()?;
    let (pipe, results) =
        pipe().map_err(|error| Failure::Local(format!("cannot create a pipe: {}", plain(&error)).into()))?;
    // The statement drops this process's copy of the read end, so that an early exit of the reader is detected.
    let mut child = shell(&reader.text).stdin(pipe).spawn().map_err(|error| failure(&error))?;
    let saved = session.output.redirect(results);
    let result = command(session).and_then(|result| session.output.flush().map(|()| result));
    session.output.restore(saved);
    let status = session.link.interrupt().ignoring_ctrl_c(|| child.wait()).map_err(|error| failure(&error))?;
    match result {
        Ok(_) | Err(Failure::OutputClosed) if is_interrupted(status) => Err(Failure::Interrupted),
        Ok(_) | Err(Failure::OutputClosed) if !status.success() => {
            Err(Failure::Local(format!("'{}' {}", Escaped(&reader.text), describe_exit(status)).into()))
        }
        Err(Failure::OutputClosed) => Ok(None),
        result => result.map(Some),
    }
}

fn pipe() -> io::Result<(io::PipeReader, Results)> {
    let (read_end, write_end) = io::pipe()?;
    Ok((read_end, Results::to_program(write_end.into())?))
}

fn shell(line: &[u8]) -> Command {
    let program = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let mut shell = Command::new(program.unwrap_or_else(|| "/bin/sh".into()));
    // The child may show or store its environment.
    shell.env_remove("BERTH_PASSWORD");
    if !line.is_empty() {
        shell.arg("-c").arg(OsStr::from_bytes(line));
    }
    shell
}

fn stderr() -> io::Result<Stdio> {
    io::stderr().as_fd().try_clone_to_owned().map(Stdio::from)
}

fn failure(error: &io::Error) -> Failure {
    Failure::Local(Explanation::new(
        format!("cannot run the local shell: {}", plain(error)),
        "set $SHELL to an existing program",
    ))
}

/// Returns whether Ctrl-C ended the child. A shell reports that in its exit code.
fn is_interrupted(status: ExitStatus) -> bool {
    status.signal() == Some(SIGINT) || status.code() == Some(128 + SIGINT)
}

fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".into(),
    }
}
