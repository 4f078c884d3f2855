//! The destination of `get`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::commands::target::{ambiguous_target, has_explicit_target};
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::files::patterns::path as local_path;
use crate::client::syntax::advice;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::lexer::Word;
use crate::client::transfer::unfinished_tree::UnfinishedTree;

/// The local destination of the files.
pub(super) enum LocalTarget {
    /// An existing directory, which gets the sources under their own names.
    Directory(PathBuf),
    /// The path that the single source gets.
    Path(PathBuf),
    /// The path of the directory that gets the content of the single source directory.
    Tree(PathBuf, UnfinishedTree),
}

impl LocalTarget {
    /// Returns the target that `word` names. It is the last operand.
    pub(super) fn named(
        session: &mut Session,
        arguments: &Arguments,
        word: &Word,
        remotes: &[VirtualPath],
        with_directories: bool,
    ) -> Result<Self, Failure> {
        let path = local_path(word);
        if path.as_os_str().is_empty() {
            return Err(Failure::Usage("'': the path is empty".into()));
        }
        let tree = match remotes {
            [remote] if with_directories => Some(UnfinishedTree::new(session, "get", &path, remote)),
            _ => None,
        };
        if path.is_dir() {
            return Ok(match tree {
                Some(tree) if tree.is_begun(session, Some(&path)) => Self::Tree(path, tree),
                _ => Self::Directory(path),
            });
        }
        refuse_ambiguous(session, arguments, word, remotes)?;
        if remotes.len() != 1 || word.text.ends_with(b"/") {
            return Err(not_a_directory(session, &path));
        }
        Ok(match tree {
            Some(tree) => Self::Tree(path, tree),
            None => Self::Path(path),
        })
    }

    /// Returns the destination of `remote`. The home directory has no name, so its destination is the target
    /// directory itself.
    pub(super) fn of(&self, remote: &VirtualPath) -> PathBuf {
        match (self, remote.name()) {
            (Self::Directory(directory), Some(name)) => directory.join(OsStr::from_bytes(name)),
            (Self::Directory(path), None) | (Self::Path(path) | Self::Tree(path, _), _) => path.clone(),
        }
    }
}

/// Returns whether the path is below an existing local directory other than `/`, as `/tmp/name` is. Users write
/// `/name` for a remote path.
fn is_in_local_directory(path: &Path) -> bool {
    path.is_absolute() && path.parent().is_some_and(|directory| directory != Path::new("/") && directory.is_dir())
}

/// Refuses a local target name that also exists on the server: a user who lists remote files wants all of them.
fn refuse_ambiguous(
    session: &mut Session,
    arguments: &Arguments,
    word: &Word,
    remotes: &[VirtualPath],
) -> Result<(), Failure> {
    let Ok(remote) = session.path(word) else { return Ok(()) };
    if has_explicit_target(arguments.words)
        || is_in_local_directory(&local_path(word))
        || remotes == std::slice::from_ref(&remote)
    {
        return Ok(());
    }
    let is_one_shot = session.output.is_one_shot;
    match session.stat(&remote) {
        Ok(_) => {
            let problem = format!("{remote} exists on the server and is not a local directory");
            Err(ambiguous_target("get", arguments, &problem, is_one_shot))
        }
        Err(failure) if failure.refuses_request() => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Returns the failure of a command whose local target must be a directory but is not.
fn not_a_directory(session: &Session, path: &Path) -> Failure {
    // The trailing slash is dropped, because the system resolves it only for a directory.
    let exists = fs::metadata(path.components().as_path()).is_ok();
    let creation = advice::local(session.output.is_one_shot, "mkdir", path);
    let path = shown(path);
    Failure::Usage(match exists {
        true => Explanation::new(format!("local {path} is a file, not a directory"), "choose another directory"),
        false => Explanation::new(format!("{path} is not a local directory"), format!("create it with {creation}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_into_the_target_under_its_own_name() {
        let remote = VirtualPath::parse(b"/a/b").expect("valid");
        assert_eq!(LocalTarget::Directory(PathBuf::new()).of(&remote), Path::new("b"));
    }
}
