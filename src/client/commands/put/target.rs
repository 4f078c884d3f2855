//! The destination of `put`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::is_dangling_symlink;
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::commands::refusal;
use crate::client::commands::target::{ambiguous_target, has_explicit_target};
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::files::patterns::path as local_path;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::lexer::Word;
use crate::client::transfer::unfinished_tree::UnfinishedTree;
use crate::wire::message::EntryKind;

/// The remote destination of the files.
pub(super) enum RemoteTarget {
    /// An existing directory, which gets the sources under their own names.
    Directory(VirtualPath),
    /// The path that the single source gets.
    Path(VirtualPath),
    /// The path of the directory that gets the content of the single source directory.
    Tree(VirtualPath, UnfinishedTree),
}

impl RemoteTarget {
    /// Returns the target that `word` names. It is the last operand.
    pub(super) fn named(
        session: &mut Session,
        arguments: &Arguments,
        word: &Word,
        locals: &[PathBuf],
        with_directories: bool,
    ) -> Result<Self, Failure> {
        let tree = match locals {
            [local] if with_directories && local.is_dir() => {
                Some(UnfinishedTree::new(session, "put", local, &session.path(word)?))
            }
            _ => None,
        };
        match (Self::find(session, word)?, tree) {
            (Self::Directory(path), Some(tree)) if tree.is_begun(session, None) => Ok(Self::Tree(path, tree)),
            (Self::Directory(path), _) => Ok(Self::Directory(path)),
            (Self::Path(path), tree) => {
                refuse_ambiguous(arguments, word, locals, session.output.is_one_shot)?;
                if locals.len() != 1 || word.text.ends_with(b"/") {
                    return Err(refusal::target_not_a_directory(session, &path));
                }
                let Some(tree) = tree else { return Ok(Self::Path(path)) };
                match session.find(&path) {
                    Ok(Some(_)) => Err(Failure::Local(Explanation::new(
                        format!("remote {path} is a file, and local {} is a directory", shown(&locals[0])),
                        "choose another path",
                    ))),
                    _ => Ok(Self::Tree(path, tree)),
                }
            }
            (tree, _) => Ok(tree),
        }
    }

    /// Asks the server whether `word` names a directory.
    pub(super) fn find(session: &mut Session, word: &Word) -> Result<Self, Failure> {
        let path = session.path(word)?;
        let found = if path.is_root() { Ok(None) } else { session.find(&path) };
        let is_directory = path.is_root()
            || match found {
                Err(failure) if is_dangling_symlink(&failure) => false,
                found => found?.is_some_and(|entry| entry.kind == EntryKind::Dir),
            };
        Ok(if is_directory { Self::Directory(path) } else { Self::Path(path) })
    }

    /// Returns the remote path of `local`. Paths without a name, such as `.`, map to the target directory
    /// itself.
    pub(super) fn of(&self, local: &Path) -> Result<VirtualPath, Failure> {
        match (self, local.file_name()) {
            (Self::Directory(directory), Some(name)) => child(directory, name, local),
            (Self::Directory(path), None) | (Self::Path(path) | Self::Tree(path, _), _) => Ok(path.clone()),
        }
    }
}

/// Refuses a remote target name that also exists locally: a user who lists local files, or lets a shell list
/// them, wants to send all of them.
fn refuse_ambiguous(arguments: &Arguments, word: &Word, locals: &[PathBuf], is_one_shot: bool) -> Result<(), Failure> {
    let local = local_path(word);
    if has_explicit_target(arguments.words)
        || locals == std::slice::from_ref(&local)
        || fs::symlink_metadata(&local).is_err()
    {
        return Ok(());
    }
    let problem = format!("{} is a local file and not a remote directory", shown(&local));
    Err(ambiguous_target("put", arguments, &problem, is_one_shot))
}

fn child(directory: &VirtualPath, name: &OsStr, local: &Path) -> Result<VirtualPath, Failure> {
    directory.child(name.as_bytes()).map_err(|error| Failure::Local(format!("{}: {error}", shown(local)).into()))
}
