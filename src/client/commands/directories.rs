//! `cd`, `pwd`, `mkdir` and `rmdir`.

use serde_json::json;

use super::{paths, refusal};
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::usage_failure;
use crate::client::syntax::lexer::Word;
use crate::client::ui::summary::Summary;
use crate::wire::Request;
use crate::wire::message::{EntryKind, Name};

/// `cd [PATH|-]`
pub fn cd(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let directory = match Arguments::parse("cd", words)?.operands[..] {
        [] => VirtualPath::root(),
        [word] if word.is_bare(b"-") => return back(session),
        [word] => match &session.expand(word)?[..] {
            [path] => path.clone(),
            _ => return Err(usage_failure("cd", "the pattern matches more than one path; cd takes one directory")),
        },
        _ => return Err(usage_failure("cd", "give one directory")),
    };
    enter(session, directory)?;
    session.output.json(&json!({"command": "cd", "ok": true, "path": Name::from(&session.directory)}))
}

/// `cd -`. It shows the new directory, as shells do.
fn back(session: &mut Session) -> Result<(), Failure> {
    let none = || Failure::Usage(Explanation::new("there is no previous directory yet", "a directory called - is ./-"));
    let directory = session.previous_directory.clone().ok_or_else(none)?;
    enter(session, directory)?;
    session.output.line(&session.directory)?;
    session.output.json(&json!({"command": "cd", "ok": true, "path": Name::from(&session.directory)}))
}

/// Makes `directory` the current directory, if it is a directory.
pub fn enter(session: &mut Session, directory: VirtualPath) -> Result<(), Failure> {
    let kind = if directory.is_root() { EntryKind::Dir } else { session.stat(&directory)?.kind };
    match kind {
        EntryKind::Dir => {}
        EntryKind::File => return Err(Failure::Local(format!("{directory} is a file, not a directory").into())),
        _ => return Err(Failure::Local(format!("{directory} is not a directory").into())),
    }
    session.previous_directory = Some(std::mem::replace(&mut session.directory, directory));
    Ok(())
}

/// `pwd`
pub fn pwd(session: &mut Session, _: &[Word]) -> Result<(), Failure> {
    session.output.line(&session.directory)?;
    session.output.json(&json!({"command": "pwd", "ok": true, "path": Name::from(&session.directory)}))
}

/// `mkdir [-p] PATH...`
pub fn mkdir(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let arguments = Arguments::parse("mkdir", words)?;
    let operands = &arguments.operands;
    if operands.is_empty() {
        return Err(usage_failure("mkdir", "at least one path is needed"));
    }
    let paths = operands.iter().map(|word| session.path(word)).collect::<Result<Vec<VirtualPath>, _>>()?;
    let parents = arguments.has("-p");
    send_each(session, "mkdir", &paths, refusal::explain_mkdir, |path| Request::Mkdir {
        path: path.into(),
        parents,
        permissions: None,
    })
}

/// `rmdir PATH...`
pub fn rmdir(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let operands = Arguments::parse("rmdir", words)?.operands;
    let paths = paths(session, "rmdir", &operands)?;
    send_each(session, "rmdir", &paths, refusal::explain_rmdir, |path| Request::Rmdir { path: path.into() })
}

/// Sends one request for each path.
fn send_each(
    session: &mut Session,
    command: &'static str,
    paths: &[VirtualPath],
    explain: fn(&mut Session, &VirtualPath, Failure) -> Failure,
    request: impl Fn(&VirtualPath) -> Request,
) -> Result<(), Failure> {
    let mut summary = Summary::new(command, paths.len() == 1);
    let requests: Vec<Request> = paths.iter().map(request).collect();
    let mut results = Vec::with_capacity(paths.len());
    session.call_each(&requests, |_, at, result| results.push((at, result)))?;
    for (at, result) in results {
        if result.is_ok() {
            session.output.json(&json!({"command": command, "ok": true, "path": Name::from(&paths[at])}))?;
        }
        let result = result.map(|_| ()).map_err(|failure| explain(session, &paths[at], failure));
        summary.count_at(&mut session.output, &paths[at], result)?;
    }
    summary.finish_refusals(&mut session.output)
}
