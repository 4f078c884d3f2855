//! Says more about a refusal than the server did: which command was given, and what is at the path.

use crate::base::virtual_path::VPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::wire::message::{EntryKind, ErrorCode};

/// The refusal of a command that takes files, where something else is at `path`. `advice` is for a directory.
pub(super) fn of_file(session: &mut Session, path: &VPath, failure: Failure, advice: &str) -> Failure {
    if !failure.is_refusal(ErrorCode::NotAFile) {
        return failure;
    }
    match session.stat(path).map(|entry| entry.kind) {
        Ok(EntryKind::Dir) => failure.reworded(format!("{path} is a directory; {advice}")),
        _ => failure,
    }
}

/// The refusal of a command that makes something at `path`, where the directory above it is missing.
pub(super) fn of_new(session: &mut Session, path: &VPath, failure: Failure) -> Failure {
    let Some(parent) = path.parent().filter(|_| failure.is_refusal(ErrorCode::NotFound)) else { return failure };
    match session.find(&parent) {
        Ok(None) => failure.reworded(format!("remote directory {parent} does not exist; mkdir -p {parent} creates it")),
        _ => failure,
    }
}

/// The refusal of `mkdir`.
pub(super) fn of_mkdir(session: &mut Session, path: &VPath, failure: Failure) -> Failure {
    if !failure.is_refusal(ErrorCode::Exists) {
        return of_new(session, path, failure);
    }
    match session.stat(path).map(|entry| entry.kind) {
        Ok(EntryKind::Dir) => failure.reworded(format!("directory {path} exists; mkdir -p accepts that")),
        _ => failure.reworded(format!("{path} exists and is not a directory; choose another name")),
    }
}

/// The refusal of `rmdir`.
pub(super) fn of_rmdir(_: &mut Session, path: &VPath, failure: Failure) -> Failure {
    match failure.is_refusal(ErrorCode::NotADirectory) {
        true => failure.reworded(format!("{path} is not a directory; rm removes files")),
        false => failure,
    }
}
