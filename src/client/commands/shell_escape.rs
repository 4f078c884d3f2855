//! `!`: commands of this machine, run by the user's own shell.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::json;

use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::shell::lexer::Word;
use crate::wire::message::Name;

/// `![COMMAND]`
pub fn outside(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let line = words.iter().map(|word| &word.text[..]).collect::<Vec<_>>().join(&b' ');
    session.output.flush()?;
    let mut shell = shell(&line);
    if session.output.is_json {
        // Standard output is for objects only.
        shell.stdout(stderr().map_err(|error| failure(&error))?);
    }
    let status = session.link.interrupt().unheard(|| shell.status()).map_err(|error| failure(&error))?;
    // What a shell that was left returns is the status of whatever ran in it last.
    if !line.is_empty() && !status.success() {
        return Err(Failure::Local(format!("the command {}", explained(status))));
    }
    session.output.json(&json!({"command": "!", "ok": true, "line": Name(line)}))
}

fn shell(line: &[u8]) -> Command {
    let program = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let mut shell = Command::new(program.unwrap_or_else(|| "/bin/sh".into()));
    // What it starts may show or keep its surroundings.
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
    Failure::Local(format!("the shell cannot be run: {error}; is $SHELL right?"))
}

fn explained(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".into(),
    }
}
