//! Says more about a refusal than the server did: which command was given, and what is at the path.

use crate::base::virtual_path::VPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::wire::message::{EntryKind, ErrorCode};

/// The refusal of a command that takes files, where something else is at `path`. `advice` is for a directory.
pub(super) fn of_file(session: &mut Session, path: &VPath, failure: Failure, advice: &str) -> Failure {
    if !failure.is_refusal(ErrorCode::NotAFile) {
        return of_path(session, path, failure);
    }
    match session.stat(path).map(|entry| entry.kind) {
        Ok(EntryKind::Dir) => failure.reworded(format!("{path} is a directory; {advice}")),
        _ => failure,
    }
}

/// The refusal of a command where a directory above `path` may be a file.
pub(super) fn of_path(session: &mut Session, path: &VPath, failure: Failure) -> Failure {
    if !failure.is_refusal(ErrorCode::NotADirectory) {
        return failure;
    }
    match session.stat(path) {
        Err(told) if told.is_refusal(ErrorCode::NotADirectory) => told,
        _ => failure,
    }
}

/// The refusal of a command that makes something at `path`, where the directory above it is missing.
pub(super) fn of_new(session: &mut Session, path: &VPath, failure: Failure) -> Failure {
    let failure = of_path(session, path, failure);
    let Some(parent) = path.parent().filter(|_| failure.is_refusal(ErrorCode::NotFound)) else { return failure };
    match session.find(&parent) {
        Ok(None) => failure.reworded(format!("remote directory {parent} does not exist; mkdir -p {parent} creates it")),
        _ => failure,
    }
}

/// The refusal of an upload to `path`.
pub(super) fn of_upload(session: &mut Session, path: &VPath, failure: Failure) -> Failure {
    let failure = of_file(session, path, failure, &format!("put FILE {path}/NAME stores the file in it"));
    of_new(session, path, failure)
}

/// The failure of a command whose target `path` must be a directory and is none.
pub(super) fn of_target(session: &mut Session, path: &VPath) -> Failure {
    Failure::Usage(match session.find(path) {
        Ok(Some(_)) => format!("remote {path} is a file, not a directory; choose another place"),
        _ => format!("{path} is not a remote directory; create it with mkdir {path}"),
    })
}

/// The refusal of `mkdir`.
pub(super) fn of_mkdir(session: &mut Session, path: &VPath, failure: Failure) -> Failure {
    if !failure.is_refusal(ErrorCode::Exists) {
        return of_new(session, path, failure);
    }
    match session.stat(path).map(|entry| entry.kind) {
        Ok(EntryKind::Dir) => failure.reworded(format!("directory {path} exists; mkdir -p accepts that")),
        Err(told) if told.is_refusal(ErrorCode::NotADirectory) => told,
        _ => failure.reworded(format!("{path} exists and is not a directory; choose another name")),
    }
}

/// The refusal of `rmdir`.
pub(super) fn of_rmdir(session: &mut Session, path: &VPath, failure: Failure) -> Failure {
    if path.is_root() {
        return failure.reworded("the home directory itself cannot be removed; 'rm -r *' removes its contents");
    }
    if !failure.is_refusal(ErrorCode::NotADirectory) {
        return failure;
    }
    match session.stat(path) {
        Ok(_) => failure.reworded(format!("{path} is not a directory; rm removes files")),
        Err(told) => told,
    }
}
