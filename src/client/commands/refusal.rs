//! Explains the server's refusals: names the command, and what exists at the path.

use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::syntax::advice;
use crate::wire::message::{EntryKind, ErrorCode};

/// Explains the refusal of a command for files. `advice` applies if `path` is a directory.
pub(super) fn explain_file(session: &mut Session, path: &VirtualPath, failure: Failure, advice: &str) -> Failure {
    if !failure.is_refusal(ErrorCode::NotAFile) {
        return explain_path(session, path, failure);
    }
    match session.stat(path).map(|entry| entry.kind) {
        Ok(EntryKind::Dir) => failure.reworded(Explanation::new(format!("{path} is a directory"), advice)),
        _ => failure,
    }
}

/// Explains the refusal of a command if a directory above `path` is a file.
pub(super) fn explain_path(session: &mut Session, path: &VirtualPath, failure: Failure) -> Failure {
    if !failure.is_refusal(ErrorCode::NotADirectory) {
        return failure;
    }
    // The failure of `stat` says which part of the path is the problem.
    match session.stat(path) {
        Err(explained) if explained.is_refusal(ErrorCode::NotADirectory) => explained,
        _ => failure,
    }
}

/// Explains the refusal of a command that creates `path` if its parent directory is missing.
pub(super) fn explain_missing_parent(session: &mut Session, path: &VirtualPath, failure: Failure) -> Failure {
    let failure = explain_path(session, path, failure);
    let Some(parent) = path.parent().filter(|_| failure.is_refusal(ErrorCode::NotFound)) else { return failure };
    match session.find(&parent) {
        Ok(None) => {
            let creation = advice::remote("mkdir -p", &parent);
            failure.reworded(Explanation::new(
                format!("remote directory {parent} does not exist"),
                format!("{creation} creates it"),
            ))
        }
        _ => failure,
    }
}

/// Explains the refusal of an upload to `path`.
pub(super) fn explain_upload(session: &mut Session, path: &VirtualPath, failure: Failure) -> Failure {
    let inside = path.child(b"NAME").map_or("put FILE DIRECTORY/NAME".into(), |path| advice::remote("put FILE", &path));
    if failure.is_refusal(ErrorCode::NotAFile)
        && matches!(session.stat(path), Ok(entry) if entry.kind == EntryKind::Dir)
    {
        return failure.reworded(Explanation::new(
            format!("remote {path} is a directory"),
            format!("{inside} stores the file in it"),
        ));
    }
    explain_missing_parent(session, path, failure)
}

/// Returns the failure of a command whose target `path` must be a directory but is not.
pub(super) fn target_not_a_directory(session: &mut Session, path: &VirtualPath) -> Failure {
    Failure::Usage(match session.find(path) {
        Ok(Some(_)) => {
            Explanation::new(format!("remote {path} is a file, not a directory"), "choose another directory")
        }
        _ => Explanation::new(
            format!("{path} is not a remote directory"),
            format!("create it with {}", advice::remote("mkdir", path)),
        ),
    })
}

/// Explains the refusal of `mkdir`.
pub(super) fn explain_mkdir(session: &mut Session, path: &VirtualPath, failure: Failure) -> Failure {
    if !failure.is_refusal(ErrorCode::Exists) {
        return explain_missing_parent(session, path, failure);
    }
    match session.stat(path).map(|entry| entry.kind) {
        Ok(EntryKind::Dir) => {
            failure.reworded(Explanation::new(format!("directory {path} exists"), "mkdir -p accepts that"))
        }
        Err(failure) if failure.is_refusal(ErrorCode::NotADirectory) => failure,
        _ => failure.reworded(Explanation::new(format!("{path} exists and is not a directory"), "choose another name")),
    }
}

/// Explains the refusal to create a directory of a tree.
pub(super) fn explain_tree(session: &mut Session, path: &VirtualPath, failure: Failure) -> Failure {
    match failure.is_refusal(ErrorCode::Exists) {
        true => failure
            .reworded(Explanation::new(format!("remote {path} exists and is not a directory"), "choose another name")),
        false => explain_missing_parent(session, path, failure),
    }
}

/// Explains why the home directory is not removed. The shell from which `berth` was started for one command would
/// expand an unquoted pattern to local names; at the prompt, a quoted one is a name.
pub(super) fn home_is_kept(is_one_shot: bool) -> Explanation {
    let advice = if is_one_shot { "rm -r '/*' removes its contents" } else { "rm -r /* removes its contents" };
    Explanation::new("the home directory itself cannot be removed", advice)
}

/// Explains the refusal of `rmdir`.
pub(super) fn explain_rmdir(session: &mut Session, path: &VirtualPath, failure: Failure) -> Failure {
    if path.is_root() {
        return failure.reworded(home_is_kept(session.output.is_one_shot));
    }
    if !failure.is_refusal(ErrorCode::NotADirectory) {
        return failure;
    }
    match session.stat(path) {
        Ok(_) => failure.reworded(Explanation::new(format!("{path} is not a directory"), "rm removes files")),
        Err(failure) => failure,
    }
}
