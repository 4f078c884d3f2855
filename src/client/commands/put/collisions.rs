//! Files and directories of one command that would get the same remote name.

use std::collections::HashMap;
use std::path::PathBuf;

use super::plan::PutPlan;
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::files::spellings::Spellings;
use crate::client::transfer::job::TransferJob;
use crate::client::ui::summary::Summary;

/// Removes files that would replace another file of the same command.
pub(super) fn without_shared_destinations(
    session: &mut Session,
    summary: &mut Summary,
    jobs: Vec<TransferJob>,
) -> Result<Vec<TransferJob>, Failure> {
    let mut sources: HashMap<VirtualPath, PathBuf> = HashMap::new();
    let mut remaining = Vec::with_capacity(jobs.len());
    for job in jobs {
        let (local, remote) = (shown(&job.local), &job.remote);
        match sources.get(remote) {
            Some(other) => {
                let other = shown(other);
                let why = Explanation::new(
                    format!("local {local} and {other} would both become remote {remote}"),
                    "upload one of them to another directory",
                );
                summary.count(&mut session.output, Err(Failure::Local(why)))?;
            }
            None => {
                sources.insert(remote.clone(), job.local.clone());
                remaining.push(job);
            }
        }
    }
    Ok(remaining)
}

/// Removes directories that the server treats as the same as another directory of this command, with the files
/// below them. Their content would be mixed.
pub(super) fn without_colliding_directories(
    session: &mut Session,
    summary: &mut Summary,
    plan: &mut PutPlan,
) -> Result<(), Failure> {
    let spellings = Spellings::among(plan.directories.iter().map(|(path, _)| path.as_bytes()));
    let paths = plan.directories.iter().map(|(path, _)| path.as_bytes());
    let colliding = spellings.listed_under_other_name(paths, |directory| session.names(directory))?;
    for (directory, other) in sorted(colliding) {
        plan.files.retain(|job| !directory.contains(&job.remote));
        summary.count(&mut session.output, Err(remote_collision(&directory, &other)))?;
    }
    Ok(())
}

/// Removes files that the server treats as the same as another file of this command. They would replace each
/// other.
pub(super) fn without_colliding_files(
    session: &mut Session,
    summary: &mut Summary,
    spellings: &Spellings,
    mut occupied: Vec<(TransferJob, Failure)>,
) -> Result<Vec<(TransferJob, Failure)>, Failure> {
    let paths = occupied.iter().map(|(job, _)| job.remote.as_bytes());
    let colliding = spellings.listed_under_other_name(paths, |directory| session.names(directory))?;
    for (path, other) in sorted(colliding) {
        occupied.retain(|(job, _)| job.remote != path);
        summary.count(&mut session.output, Err(remote_collision(&path, &other)))?;
    }
    Ok(occupied)
}

fn sorted(colliding: HashMap<Vec<u8>, Vec<u8>>) -> Vec<(VirtualPath, VirtualPath)> {
    let path = |bytes: Vec<u8>| VirtualPath::parse(&bytes).ok();
    let mut pairs: Vec<(VirtualPath, VirtualPath)> =
        colliding.into_iter().filter_map(|(one, other)| path(one).zip(path(other))).collect();
    pairs.sort();
    pairs
}

/// Returns the failure for a path that the server treats as the same as another one.
fn remote_collision(path: &VirtualPath, other: &VirtualPath) -> Failure {
    Failure::Local(Explanation::new(
        format!("{path} and {other} are the same to the server's file system"),
        "upload one of them to another directory",
    ))
}
