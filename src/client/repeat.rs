//! Asking again on another connection what was asked before and not answered. What only looks is
//! asked as if for the first time. What changes something may have been carried out: then the second
//! answer is a refusal that means success, which is looked into and said.

use crate::client::outcome::{Failure, unexpected};
use crate::client::session::Session;
use crate::text::Escaped;
use crate::wire::message::{EntryKind, ErrorCode, Name};
use crate::wire::{Reply, Request};

/// Whether it makes a difference that a request is carried out twice.
pub fn changes_once(request: &Request) -> bool {
    match request {
        Request::Rm { .. } | Request::Rmdir { .. } | Request::Mv { .. } | Request::DropPartial { .. } => true,
        Request::Mkdir { parents, .. } => !parents,
        _ => false,
    }
}

/// What the `answer` to a request means that had been sent before, on a connection that was lost.
pub fn settle(session: &mut Session, request: &Request, answer: Result<Reply, Failure>) -> Result<Reply, Failure> {
    let Err(Failure::Refused(refusal)) = &answer else { return answer };
    let found = match (request, refusal.code) {
        (Request::Rm { path } | Request::Rmdir { path }, ErrorCode::NotFound) => {
            Some(format!("there is nothing at {} now", shown(path)))
        }
        (Request::DropPartial { .. }, ErrorCode::NotFound) => Some("nothing of that upload is kept".into()),
        (Request::Mkdir { path, .. }, ErrorCode::Exists) => {
            let is_folder = find(session, path)? == Some(EntryKind::Dir);
            is_folder.then(|| format!("the folder {} is there now", shown(path)))
        }
        (Request::Mv { from, to, .. }, ErrorCode::NotFound) => {
            let is_moved = find(session, from)?.is_none() && find(session, to)?.is_some();
            is_moved.then(|| format!("there is nothing at {} and {} is there now", shown(from), shown(to)))
        }
        _ => None,
    };
    let Some(found) = found else { return answer };
    session.output.note(format_args!("the answer was lost with the connection, but {found}"));
    Ok(Reply::Done {})
}

fn find(session: &mut Session, path: &Name) -> Result<Option<EntryKind>, Failure> {
    match session.call(&Request::Stat { path: path.clone() }) {
        Ok(Reply::Stat { entry, .. }) => Ok(Some(entry.kind)),
        Ok(_) => Err(unexpected()),
        Err(failure) if failure.is_refusal(ErrorCode::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn shown(name: &Name) -> Escaped<'_> {
    Escaped(&name.0)
}
