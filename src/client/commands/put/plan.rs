//! The files and directories that `put` will upload.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::target::{RemoteTarget, child};
use crate::base::virtual_path::VPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::files::modes::ModePolicy;
use crate::client::transfer::job::TransferJob;
use crate::client::transfer::part::names::destination_of_part;
use crate::client::ui::summary::Summary;

/// A remote directory to create, and its permission bits.
pub(super) type NewFolder = (VPath, Option<u32>);

/// The files and directories to upload.
#[derive(Default)]
pub(super) struct PutPlan {
    modes: ModePolicy,
    pub(super) folders: Vec<NewFolder>,
    pub(super) files: Vec<TransferJob>,
    pub(super) bytes: u64,
}

pub(super) fn plan(
    session: &mut Session,
    summary: &mut Summary,
    locals: &[PathBuf],
    target: &RemoteTarget,
    with_folders: bool,
    modes: ModePolicy,
) -> Result<PutPlan, Failure> {
    let mut plan = PutPlan { modes, ..PutPlan::default() };
    for local in locals {
        let planned = match fs::metadata(local) {
            Err(error) => Err(Failure::missing_here(local, &error)),
            Ok(metadata) if metadata.is_dir() && !with_folders => {
                Err(Failure::Local(format!("{} is a directory; -r takes it whole", shown(local))))
            }
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
    fn add(&mut self, local: PathBuf, remote: VPath, size: u64) {
        self.bytes = self.bytes.saturating_add(size);
        self.files.push(new_job(local, remote, size, self.modes));
    }
}

/// Returns the job of uploading a file that may not replace another one.
pub(super) fn new_job(local: PathBuf, remote: VPath, size: u64, modes: ModePolicy) -> TransferJob {
    TransferJob { local, remote, size, replace: false, modes, source_mode: None }
}

/// Walks a local directory without recursion. Symlinks to files are followed. Symlinks to directories are left
/// out, because they may form a cycle.
fn plan_tree(
    session: &mut Session,
    summary: &mut Summary,
    plan: &mut PutPlan,
    root: PathBuf,
    remote_root: VPath,
) -> Result<(), Failure> {
    let mut to_visit = vec![(root, remote_root)];
    while let Some((folder, remote)) = to_visit.pop() {
        let bits = fs::metadata(&folder).ok().and_then(|metadata| plan.modes.of_folder(metadata.mode()));
        let (names, problem) = read_folder(&folder);
        if let Some(failure) = problem {
            summary.count(session, Err(failure))?;
        }
        for name in names {
            let local = folder.join(&name);
            let result = child(&remote, &name, &local).and_then(|remote| classify(local, remote));
            match result {
                Ok(LocalEntry::Folder(local, remote)) => to_visit.push((local, remote)),
                Ok(LocalEntry::File(local, remote, size)) => plan.add(local, remote, size),
                Ok(LocalEntry::Other(local)) => {
                    session.output.note(format_args!("{} is no regular file: left out", shown(&local)));
                }
                Err(failure) => summary.count(session, Err(failure))?,
            }
        }
        plan.folders.push((remote, bits));
    }
    Ok(())
}

/// A local file or directory, and its remote path.
enum LocalEntry {
    Folder(PathBuf, VPath),
    File(PathBuf, VPath, u64),
    Other(PathBuf),
}

fn classify(local: PathBuf, remote: VPath) -> Result<LocalEntry, Failure> {
    let failure = |error: std::io::Error| Failure::local(&local, &error);
    let metadata = fs::symlink_metadata(&local).map_err(failure)?;
    if metadata.is_dir() {
        return Ok(LocalEntry::Folder(local, remote));
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
fn read_folder(folder: &Path) -> (Vec<OsString>, Option<Failure>) {
    let failure = |error: std::io::Error| Failure::local(folder, &error);
    let entries = match fs::read_dir(folder) {
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
    names.retain(|name| destination_of_part(&folder.join(name)).is_none());
    names.sort();
    (names, problem)
}
