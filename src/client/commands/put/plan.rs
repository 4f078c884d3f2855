//! The files and directories that `put` will upload.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::target::{RemoteTarget, child};
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::files::modes::ModePolicy;
use crate::client::transfer::job::TransferJob;
use crate::client::transfer::part::names::destination_of_part;
use crate::client::ui::summary::Summary;

/// A remote directory to create, and its permission bits.
pub(super) type NewDirectory = (VirtualPath, Option<u32>);

/// The files and directories to upload.
#[derive(Default)]
pub(super) struct PutPlan {
    modes: ModePolicy,
    pub(super) directories: Vec<NewDirectory>,
    pub(super) files: Vec<TransferJob>,
    pub(super) bytes: u64,
}

pub(super) fn plan(
    session: &mut Session,
    summary: &mut Summary,
    locals: &[PathBuf],
    target: &RemoteTarget,
    with_directories: bool,
    modes: ModePolicy,
) -> Result<PutPlan, Failure> {
    let mut plan = PutPlan { modes, ..PutPlan::default() };
    for local in locals {
        let planned = match fs::metadata(local) {
            Err(error) => Err(Failure::missing_local_file(local, &error)),
            Ok(metadata) if metadata.is_dir() && !with_directories => Err(Failure::Local(Explanation::new(
                format!("{} is a directory", shown(local)),
                "-r uploads it with its contents",
            ))),
            Ok(metadata) => target.of(local).map(|remote| (remote, metadata)),
        };
        match planned {
            Err(failure) => summary.count(session, Err(failure))?,
            Ok((remote, metadata)) if metadata.is_dir() => {
                plan_tree(session, summary, &mut plan, local.clone(), remote)?;
            }
            Ok((remote, metadata)) => plan.add(local.clone(), remote, metadata.len()),
        }
    }
    Ok(plan)
}

impl PutPlan {
    fn add(&mut self, local: PathBuf, remote: VirtualPath, size: u64) {
        self.bytes = self.bytes.saturating_add(size);
        self.files.push(new_job(local, remote, size, self.modes));
    }
}

/// Returns the job of uploading a file that may not replace another one.
pub(super) fn new_job(local: PathBuf, remote: VirtualPath, size: u64, modes: ModePolicy) -> TransferJob {
    TransferJob { local, remote, size, replace: false, modes, source_mode: None }
}

/// Walks a local directory without recursion. Symlinks to files are followed. Symlinks to directories are left
/// out, because they may form a cycle.
fn plan_tree(
    session: &mut Session,
    summary: &mut Summary,
    plan: &mut PutPlan,
    root: PathBuf,
    remote_root: VirtualPath,
) -> Result<(), Failure> {
    let mut to_visit = vec![(root, remote_root)];
    while let Some((directory, remote)) = to_visit.pop() {
        let bits = fs::metadata(&directory).ok().and_then(|metadata| plan.modes.of_directory(metadata.mode()));
        let (names, problem) = read_directory(&directory);
        if let Some(failure) = problem {
            summary.count(session, Err(failure))?;
        }
        for name in names {
            let local = directory.join(&name);
            let result = child(&remote, &name, &local).and_then(|remote| classify(local, remote));
            match result {
                Ok(LocalEntry::Directory(local, remote)) => to_visit.push((local, remote)),
                Ok(LocalEntry::File(local, remote, size)) => plan.add(local, remote, size),
                Ok(LocalEntry::Other(local)) => {
                    session.output.note(format_args!("{} is no regular file: left out", shown(&local)));
                }
                Err(failure) => summary.count(session, Err(failure))?,
            }
        }
        plan.directories.push((remote, bits));
    }
    Ok(())
}

/// A local file or directory, and its remote path.
enum LocalEntry {
    Directory(PathBuf, VirtualPath),
    File(PathBuf, VirtualPath, u64),
    Other(PathBuf),
}

fn classify(local: PathBuf, remote: VirtualPath) -> Result<LocalEntry, Failure> {
    let failure = |error: std::io::Error| Failure::local(&local, &error);
    let metadata = fs::symlink_metadata(&local).map_err(failure)?;
    if metadata.is_dir() {
        return Ok(LocalEntry::Directory(local, remote));
    }
    // A dangling symlink is left out, like one to a directory.
    let metadata = if metadata.is_symlink() { fs::metadata(&local).ok() } else { Some(metadata) };
    Ok(match metadata.filter(fs::Metadata::is_file) {
        Some(metadata) => LocalEntry::File(local, remote, metadata.len()),
        None => LocalEntry::Other(local),
    })
}

/// Returns the sorted names in a directory, and a failure if some of them could not be read. Partial downloads
/// are left out.
fn read_directory(directory: &Path) -> (Vec<OsString>, Option<Failure>) {
    let failure = |error: std::io::Error| Failure::local(directory, &error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return (Vec::new(), Some(failure(error))),
    };
    let (mut names, mut problem) = (Vec::new(), None);
    for entry in entries {
        match entry {
            Ok(entry) => names.push(entry.file_name()),
            Err(error) => problem = Some(failure(error)),
        }
    }
    names.retain(|name| destination_of_part(&directory.join(name)).is_none());
    names.sort();
    (names, problem)
}
