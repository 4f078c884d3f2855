//! The files that `get` will download, and the local directories for them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::collisions::{FileId, local_collision, other_spelling, path_bytes, shared_destination};
use super::target::LocalTarget;
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, unexpected};
use crate::client::files::local::shown;
use crate::client::files::modes::{ModePolicy, create_directory};
use crate::client::files::spellings::Spellings;
use crate::client::remote::listing::not_examined;
use crate::client::transfer::job::TransferJob;
use crate::client::ui::summary::Summary;
use crate::wire::message::{Entry, EntryKind};
use crate::wire::{Reply, Request};

/// Returns every file to download. Creates the local directories on the way.
pub(super) fn plan(
    session: &mut Session,
    summary: &mut Summary,
    remotes: &[VirtualPath],
    target: &LocalTarget,
    with_directories: bool,
    modes: ModePolicy,
) -> Result<Vec<TransferJob>, Failure> {
    let requests: Vec<Request> = remotes.iter().map(|remote| Request::Stat { path: remote.into() }).collect();
    let mut found = Vec::with_capacity(remotes.len());
    session.call_each(&requests, |_, at, result| found.push((&remotes[at], result)))?;
    let mut wanted = Vec::new();
    for (remote, result) in found {
        let result = match result {
            Ok(Reply::Stat { entry, .. }) => Ok(entry),
            Ok(_) => Err(unexpected()),
            Err(failure) => Err(failure),
        };
        let local = target.of(remote);
        match result {
            Ok(entry) if entry.kind == EntryKind::Dir && with_directories => {
                let bits = modes.of_directory(entry.mode);
                wanted.extend(plan_tree(session, summary, (remote, bits), &local, target, modes)?);
            }
            Ok(entry) if entry.kind == EntryKind::Dir => {
                let failure = Failure::Local(Explanation::new(
                    format!("{remote} is a directory"),
                    "-r downloads it with its contents",
                ));
                summary.count(&mut session.output, Err(failure))?;
            }
            Ok(entry) => wanted.push(job(remote.clone(), local, &entry, modes)),
            Err(failure) => summary.count(&mut session.output, Err(failure))?,
        }
    }
    Ok(wanted)
}

fn plan_tree(
    session: &mut Session,
    summary: &mut Summary,
    (root, root_bits): (&VirtualPath, Option<u32>),
    local_root: &Path,
    target: &LocalTarget,
    modes: ModePolicy,
) -> Result<Vec<TransferJob>, Failure> {
    let mut unlisted = Vec::new();
    let tree = session.walk(root, |_, failure| unlisted.push(failure))?;
    for failure in unlisted {
        summary.count(&mut session.output, Err(failure))?;
    }
    if !(root.is_root() && local_root.is_dir())
        && let Err(failure) = make_directory(local_root, root_bits)
    {
        // The command downloads only this tree, so its failure is the failure of the command.
        if matches!(failure, Failure::LocalDenied(_)) || matches!(target, LocalTarget::Tree(..)) {
            return Err(failure);
        }
        summary.count(&mut session.output, Err(failure))?;
        return Ok(Vec::new());
    }
    if let LocalTarget::Tree(_, tree) = target {
        tree.begin(session, Some(local_root));
    }
    let mut wanted = Vec::new();
    // Directories that could not be created. Their content is left out.
    let mut missing: HashSet<VirtualPath> = HashSet::new();
    let mut made: HashMap<FileId, VirtualPath> = HashMap::new();
    let places: Vec<PathBuf> = tree
        .iter()
        .filter(|found| found.entry.kind == EntryKind::Dir)
        .map(|found| below(root, local_root, &found.path))
        .collect();
    let spellings = Spellings::among(places.iter().map(|place| path_bytes(place)));
    for found in tree {
        let is_in_missing = found.path.split().is_some_and(|(directory, _)| missing.contains(&directory));
        let local = below(root, local_root, &found.path);
        match found.entry.kind {
            EntryKind::Dir if is_in_missing => drop(missing.insert(found.path)),
            _ if is_in_missing => {}
            EntryKind::Dir => {
                if let Err(failure) =
                    make_own_directory(&found.path, &local, modes.of_directory(found.entry.mode), &mut made, &spellings)
                {
                    if matches!(failure, Failure::LocalDenied(_)) && local.parent() == Some(local_root) {
                        return Err(failure);
                    }
                    summary.count(&mut session.output, Err(failure))?;
                    missing.insert(found.path);
                }
            }
            EntryKind::File => wanted.push(job(found.path, local, &found.entry, modes)),
            EntryKind::Other if found.entry.unexamined => {
                summary.count(&mut session.output, Err(not_examined(&found.path)))?
            }
            EntryKind::Link | EntryKind::Other => {
                session.output.note(format_args!("remote {} is not a regular file: skipped", found.path));
            }
        }
    }
    Ok(wanted)
}

pub(super) fn job(remote: VirtualPath, local: PathBuf, entry: &Entry, modes: ModePolicy) -> TransferJob {
    let Entry { size, mode, .. } = *entry;
    TransferJob { local, remote, size, replace: false, modes, source_mode: Some(mode) }
}

/// Maps `path` below `root` to the path below `local_root`. The listing has checked that paths consist of
/// single names, so the result cannot leave `local_root`.
fn below(root: &VirtualPath, local_root: &Path, path: &VirtualPath) -> PathBuf {
    let names = path.components().skip(root.components().count());
    local_root.join(names.map(OsStr::from_bytes).collect::<PathBuf>())
}

/// Creates the local directory for `remote`. Fails if it already belongs to another remote directory in `made`.
fn make_own_directory(
    remote: &VirtualPath,
    local: &Path,
    bits: Option<u32>,
    made: &mut HashMap<FileId, VirtualPath>,
    spellings: &Spellings,
) -> Result<(), Failure> {
    make_directory(local, bits)?;
    if let Some(other) = other_spelling(spellings, local) {
        return Err(local_collision(local, &other));
    }
    let metadata = fs::symlink_metadata(local).map_err(|error| Failure::local(local, &error))?;
    match made.insert(FileId::from_metadata(&metadata), remote.clone()) {
        Some(other) => Err(shared_destination(&other, remote, local)),
        None => Ok(()),
    }
}

/// Creates a directory whose name comes from the server, with these permission bits. A symlink in its place is
/// not followed, because it may lead anywhere.
fn make_directory(path: &Path, bits: Option<u32>) -> Result<(), Failure> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return create_directory(path, bits).map_err(|error| match error.kind() {
            ErrorKind::NotADirectory => Failure::file_above_local(path),
            _ => Failure::local(path, &error),
        });
    };
    let path = shown(path);
    match (metadata.is_dir(), metadata.is_symlink()) {
        (true, _) => Ok(()),
        (_, true) => Err(Failure::Local(Explanation::new(
            format!("local {path} is a symlink, which is not followed"),
            "download the directory to the target of the symlink",
        ))),
        _ => Err(Failure::Local(Explanation::new(
            format!("local {path} is a file, not a directory"),
            "choose another directory",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_entries_keep_their_place_below_the_target() {
        let path = |text: &str| VirtualPath::parse(text.as_bytes()).expect("valid");
        let place = |root: &str, at: &str| below(&path(root), Path::new("t"), &path(at));
        assert_eq!(place("/a", "/a/b/c"), Path::new("t/b/c"));
        assert_eq!(place("/", "/b"), Path::new("t/b"));
    }
}
