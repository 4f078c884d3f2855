//! The files and directories that `put` will upload.

use std::fs;
use std::path::PathBuf;

use super::target::RemoteTarget;
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::files::modes::ModePolicy;
use crate::client::transfer::job::TransferJob;
use crate::client::transfer::local_tree::{LocalWalk, Symlinks};
use crate::client::ui::summary::Summary;
use crate::wire::message::EntryKind;

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
            Err(failure) => summary.count(&mut session.output, Err(failure))?,
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

/// Plans the upload of a local directory.
fn plan_tree(
    session: &mut Session,
    summary: &mut Summary,
    plan: &mut PutPlan,
    root: PathBuf,
    remote_root: VirtualPath,
) -> Result<(), Failure> {
    let mut walk = LocalWalk::new(root, remote_root, Symlinks::FollowToFiles);
    while let Some(directory) = walk.next_directory() {
        if session.link.keep_alive() {
            return Err(Failure::Interrupted);
        }
        for failure in directory.failures {
            summary.count(&mut session.output, Err(failure))?;
        }
        for entry in directory.entries {
            match entry.kind {
                EntryKind::Dir => walk.enter(&entry),
                EntryKind::File => plan.add(entry.local, entry.path, entry.metadata.len()),
                EntryKind::Link | EntryKind::Other => {
                    session.output.note(format_args!("local {} is not a regular file: skipped", shown(&entry.local)));
                }
            }
        }
        plan.directories.push((directory.path, directory.mode.and_then(|mode| plan.modes.of_directory(mode))));
    }
    Ok(())
}
