//! Transfers the files of one command, in either direction: compares existing files, asks before replacing them, counts
//! the results, and stops at a failure that would concern every other file too.

use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, unexpected};
use crate::client::transfer::compare::same_contents;
use crate::client::transfer::engine::transfer_all;
use crate::client::transfer::job::{Direction, TransferJob, TransferResult, Transferred};
use crate::client::transfer::overwrite::{Conflict, Decision, OverwritePolicy};
use crate::client::transfer::report::Report;
use crate::client::ui::progress::Progress;
use crate::client::ui::summary::Summary;
use crate::wire::message::ErrorCode;

/// Transfers one file and waits for its result. `size` is its size now.
pub fn transfer_one(
    session: &mut Session,
    direction: Direction,
    job: TransferJob,
    size: u64,
) -> Result<TransferResult, Failure> {
    let mut progress = Progress::for_file(session.progress, &job.label(), Some(size));
    let mut result = None;
    transfer_all(session, direction, vec![job], &mut progress, |_, for_job| {
        result = Some(for_job);
        Ok(())
    })?;
    result.ok_or_else(unexpected)
}

/// Transfers many files, `bytes` in all. Files that need a decision first go to `deferred`: uploads whose destination
/// exists, and downloads whose source changed meanwhile.
pub fn transfer_many(
    session: &mut Session,
    summary: &mut Summary,
    direction: Direction,
    jobs: Vec<TransferJob>,
    bytes: u64,
    deferred: &mut Vec<(TransferJob, Failure)>,
) -> Result<(), Failure> {
    let mut progress = Progress::for_files(session.progress, jobs.len(), bytes);
    let directory = common_directory(jobs.iter().map(|job| job.destination(direction)));
    // All files go to this directory, so every other new file would fail in the same way.
    let is_of_all = |job: &TransferJob, failure: &Failure| {
        direction.is_denied_at_destination(failure)
            && !(direction == Direction::Upload && job.replace)
            && job.destination(direction).parent() == directory.as_deref()
    };
    transfer_all(session, direction, jobs, &mut progress, |session, (job, result)| match result {
        Err(failure) if is_deferred(direction, &failure) => {
            deferred.push((job, failure));
            Ok(())
        }
        Err(failure) if is_of_all(&job, &failure) => Err(summary.stop(failure)),
        result => {
            let result = result
                .and_then(|transferred| Report::for_job(direction, &job, transferred, None).count(session, summary));
            summary.count(&mut session.output, result)
        }
    })
}

fn is_deferred(direction: Direction, failure: &Failure) -> bool {
    match direction {
        Direction::Download => failure.is_refusal(ErrorCode::Changed),
        Direction::Upload => failure.is_refusal(ErrorCode::Exists) || failure.is_refusal(ErrorCode::NotAFile),
    }
}

/// Returns the innermost directory that contains all of `paths`.
fn common_directory<'a>(paths: impl Iterator<Item = &'a Path>) -> Option<PathBuf> {
    let both =
        |one: &'a Path, other: &'a Path| one.ancestors().find(|directory| other.starts_with(directory)).unwrap_or(one);
    paths.filter_map(Path::parent).reduce(both).map(Path::to_path_buf)
}

/// Compares `jobs` whose destinations exist, and returns those that remain to be transferred. A job with
/// identical content is reported as done, and one that may not replace its destination as failed. `conflict`
/// converts a job to a conflict.
pub fn without_identical<J>(
    session: &mut Session,
    summary: &mut Summary,
    jobs: Vec<J>,
    overwrite: &mut OverwritePolicy,
    conflict: impl Fn(&J) -> Conflict<'_>,
) -> Result<Vec<J>, Failure> {
    let is_alike = |job: &J| conflict(job).size == conflict(job).old_size;
    let (alike, mut differing): (Vec<J>, Vec<J>) = jobs.into_iter().partition(is_alike);
    let pairs: Vec<_> = alike.iter().map(|job| (conflict(job).local, conflict(job).remote)).collect();
    let mut results = Vec::with_capacity(pairs.len());
    same_contents(session, &pairs, |result| results.push(result))?;
    for (job, result) in alike.into_iter().zip(results) {
        match result {
            Ok(None) => differing.push(job),
            Ok(Some(digest)) => {
                let reported = report_identical(session, summary, &conflict(&job), digest, true);
                summary.count(&mut session.output, reported)?;
            }
            Err(failure) => summary.count(&mut session.output, Err(failure))?,
        }
    }
    let mut remaining = Vec::with_capacity(differing.len());
    // A stopped command transfers nothing more, so it asks no more questions.
    differing.retain(|_| !summary.is_stopped());
    for job in differing {
        match overwrite.decide(session, &conflict(&job)) {
            Ok(Decision::Replace) => remaining.push(job),
            Ok(Decision::Keep) => summary.count_kept(conflict(&job).size),
            Ok(Decision::Quit) => break,
            Err(failure) => summary.count(&mut session.output, Err(failure))?,
        }
    }
    Ok(remaining)
}

/// Reports that both files of `conflict` are identical, which counts as a success.
pub fn report_identical(
    session: &mut Session,
    summary: &mut Summary,
    conflict: &Conflict<'_>,
    digest: Digest,
    is_brief: bool,
) -> Result<(), Failure> {
    let Conflict { direction, local, remote, size, .. } = *conflict;
    summary.count_identical(size);
    let transferred = Transferred { size, digest, resumed_from: size };
    Report { direction, local, remote, transferred, is_identical: true, elapsed: None }.show(session, is_brief)
}
