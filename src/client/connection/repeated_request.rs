//! Requests that are repeated because the connection was lost before the reply. A request that only reads is
//! simply repeated. A request that changes something may have been carried out: the second reply is then a
//! refusal that means success. `interpret_reply` checks that and tells the user.

use crate::base::text::Escaped;
use crate::client::error::Failure;
use crate::wire::message::{EntryKind, ErrorCode, Name};
use crate::wire::{Reply, Request};

/// Returns whether the request has the same result if it is carried out twice.
pub fn is_idempotent(request: &Request) -> bool {
    match request {
        Request::Rm { .. } | Request::Rmdir { .. } | Request::Mv { .. } | Request::DropPartial { .. } => false,
        Request::Mkdir { parents, .. } => *parents,
        _ => true,
    }
}

/// Interprets the reply to a request that was sent before, on a connection that was lost. Returns the reply and a
/// message for the user. `find` returns the kind of the entry that now exists at a path.
pub fn interpret_reply(
    request: &Request,
    reply: Result<Reply, Failure>,
    mut find: impl FnMut(&Name) -> Result<Option<EntryKind>, Failure>,
) -> Result<(Reply, Option<String>), Failure> {
    let Err(Failure::Refused(refusal)) = &reply else { return reply.map(|reply| (reply, None)) };
    let found = match (request, refusal.code) {
        (Request::Rm { path } | Request::Rmdir { path }, ErrorCode::NotFound) => {
            Some(format!("{} no longer exists", shown(path)))
        }
        (Request::DropPartial { .. }, ErrorCode::NotFound) => Some("the partial upload no longer exists".into()),
        (Request::Mkdir { path, .. }, ErrorCode::Exists) => {
            let is_directory = find(path)? == Some(EntryKind::Dir);
            is_directory.then(|| format!("the directory {} exists", shown(path)))
        }
        (Request::Mv { from, to, .. }, ErrorCode::NotFound) => {
            let is_moved = find(from)?.is_none() && find(to)?.is_some();
            is_moved.then(|| format!("{} no longer exists and {} exists", shown(from), shown(to)))
        }
        _ => None,
    };
    match found {
        Some(found) => Ok((Reply::Done {}, Some(format!("the reply was lost with the connection, but {found}")))),
        None => reply.map(|reply| (reply, None)),
    }
}

fn shown(name: &Name) -> Escaped<'_> {
    Escaped(&name.0)
}
