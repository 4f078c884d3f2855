//! `put`: handles existing files and reports the results. `target` is the destination, `plan` the files, and
//! `transfer` moves the bytes.

mod collisions;
mod plan;
mod target;

use std::collections::HashSet;
use std::fs;
use std::io::IsTerminal;
use std::iter::successors;
use std::path::{Path, PathBuf};

use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::commands::refusal;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::files::modes::ModePolicy;
use crate::client::files::patterns::expand;
use crate::client::files::spellings::Spellings;
use crate::client::syntax::advice;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::usage_failure;
use crate::client::syntax::lexer::Word;
use crate::client::transfer::batch::{report_identical, transfer_many, transfer_one, without_identical};
use crate::client::transfer::compare::same_content;
use crate::client::transfer::job::{Direction, TransferJob, label};
use crate::client::transfer::overwrite::{Conflict, Decision, OverwritePolicy};
use crate::client::transfer::pipes::upload_stdin;
use crate::client::transfer::report::{Report, note_interruption};
use crate::client::ui::progress::{Progress, ProgressStyle};
use crate::client::ui::stopwatch::Stopwatch;
use crate::client::ui::summary::Summary;
use crate::wire::message::{EntryKind, ErrorCode, PutMode};
use crate::wire::{Reply, Request};
use collisions::{without_colliding_directories, without_colliding_files, without_shared_destinations};
use plan::{NewDirectory, PutPlan, new_job, plan};
use target::RemoteTarget;

const UPLOAD: Direction = Direction::Upload;

/// `put [-f] [-r] [--no-perms] LOCAL... [REMOTE]`
pub fn put(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let arguments = Arguments::parse("put", words)?;
    let (force, with_directories) = (arguments.has("-f"), arguments.has("-r"));
    let modes = if arguments.has("--no-perms") { ModePolicy::Ignore } else { ModePolicy::NewFiles };
    session.output.shows_digests = session.output.is_verbose || arguments.has("-v");
    let (sources, target) = match &arguments.operands[..] {
        [] => return Err(usage_failure("put", "a local path is missing")),
        [source] => (vec![*source], None),
        [sources @ .., target] => (sources.to_vec(), Some(*target)),
    };
    if sources.iter().any(|word| word.is_bare(b"-")) {
        return match (&sources[..], target) {
            ([_], Some(target)) if !with_directories => put_content(session, target, force),
            _ => Err(usage_failure("put", "standard input needs a remote name: put - NAME")),
        };
    }
    let locals: Vec<PathBuf> = sources.into_iter().flat_map(expand).collect();
    let target = match target {
        Some(word) => RemoteTarget::named(session, &arguments, word, &locals, with_directories)?,
        None => RemoteTarget::Directory(session.directory.clone()),
    };
    let result = match &locals[..] {
        [local] if !with_directories => {
            put_single(session, local, &target, &mut OverwritePolicy::new(force, false), modes)
        }
        _ => put_many(session, &locals, &target, OverwritePolicy::new(force, true), with_directories, modes),
    };
    if let (Ok(()), RemoteTarget::Tree(_, tree)) = (&result, &target) {
        tree.finish(session);
    }
    note_interruption(session, result)
}

/// `put - FILE`: uploads standard input.
fn put_content(session: &mut Session, target: &Word, force: bool) -> Result<(), Failure> {
    if session.stdin_is_script {
        return Err(usage_failure("put", "standard input has the commands; give those with -c or -f FILE"));
    }
    let remote = match RemoteTarget::find(session, target)? {
        RemoteTarget::Path(remote) if target.text.ends_with(b"/") => {
            return Err(refusal::target_not_a_directory(session, &remote));
        }
        RemoteTarget::Path(remote) | RemoteTarget::Tree(remote, _) => remote,
        RemoteTarget::Directory(directory) => {
            let path =
                directory.child(b"NAME").map_or("put - DIRECTORY/NAME".into(), |path| advice::remote("put -", &path));
            return Err(Failure::Usage(Explanation::new(
                format!("remote {directory} is a directory"),
                format!("{path} stores standard input in it"),
            )));
        }
    };
    if std::io::stdin().is_terminal() {
        session.output.note("reading the content from the terminal; Ctrl-D at the beginning of a line ends it");
    }
    let mode = if force { PutMode::Replace } else { PutMode::Create };
    let style = if session.output.is_json { ProgressStyle::Silent } else { session.progress };
    let mut progress = Progress::for_file(style, &label(&remote), None);
    let started = Stopwatch::start();
    let sent = upload_stdin(session, &remote, mode, &mut progress);
    drop(progress);
    let transferred = sent.map_err(|failure| match failure {
        failure if failure.is_refusal(ErrorCode::Exists) => {
            Failure::Local(Explanation::new(format!("remote {remote} exists"), "-f replaces it"))
        }
        failure => refusal::explain_upload(session, &remote, failure),
    })?;
    let (local, remote, elapsed) = (Path::new("-"), &remote, Some(started.elapsed()));
    Report { direction: UPLOAD, local, remote, transferred, is_identical: false, elapsed }.show(session, false)
}

fn put_single(
    session: &mut Session,
    local: &Path,
    target: &RemoteTarget,
    overwrite: &mut OverwritePolicy,
    modes: ModePolicy,
) -> Result<(), Failure> {
    let metadata = fs::metadata(local).map_err(|error| Failure::missing_local_file(local, &error))?;
    if metadata.is_dir() {
        return Err(Failure::Local(Explanation::new(
            format!("{} is a directory", shown(local)),
            "-r uploads it with its contents",
        )));
    }
    let job = new_job(local.to_path_buf(), target.of(local)?, metadata.len(), modes);
    let started = Stopwatch::start();
    let (job, result) = transfer_one(session, UPLOAD, job, metadata.len())?;
    match result {
        Err(failure) if failure.is_refusal(ErrorCode::Exists) => {
            put_over(session, &mut Summary::new("put", true), job, &failure, overwrite)
        }
        Err(failure) => Err(refusal::explain_upload(session, &job.remote, failure)),
        Ok(stored) => {
            let mut summary = Summary::new("put", true);
            Report::for_job(UPLOAD, &job, stored, Some(started.elapsed())).count(session, &mut summary)
        }
    }
}

/// Uploads a file whose destination exists. Identical content needs no transfer. Different content is replaced
/// only if the user allows it.
fn put_over(
    session: &mut Session,
    summary: &mut Summary,
    mut job: TransferJob,
    refusal: &Failure,
    overwrite: &mut OverwritePolicy,
) -> Result<(), Failure> {
    let size = size_of(&job.local)?;
    match session.stat(&job.remote) {
        Err(failure) if is_dangling_symlink(&failure) => {
            if !overwrite.is_forced() {
                return Err(refusal.clone());
            }
        }
        existing => {
            let existing = existing?;
            if existing.kind != EntryKind::File {
                return Err(refusal.clone());
            }
            let conflict = Conflict::for_job(UPLOAD, &job, size, existing.size);
            if existing.size == size
                && let Some(digest) = same_content(session, &job.local, &job.remote)?
            {
                return report_identical(session, summary, &conflict, digest, false);
            }
            if overwrite.decide(session, &conflict)? != Decision::Replace {
                return Err(Failure::Local(format!("{} was not replaced", job.remote).into()));
            }
        }
    }
    job.replace = true;
    let started = Stopwatch::start();
    let (job, result) = transfer_one(session, UPLOAD, job, size)?;
    let stored = result.map_err(|failure| refusal::explain_upload(session, &job.remote, failure))?;
    Report::for_job(UPLOAD, &job, stored, Some(started.elapsed())).count(session, summary)
}

/// Returns whether `stat` failed because the destination, which exists, is a symlink to nothing in the home
/// directory. An upload replaces the symlink.
fn is_dangling_symlink(failure: &Failure) -> bool {
    [ErrorCode::NotFound, ErrorCode::OutsideHome].into_iter().any(|code| failure.is_refusal(code))
}

fn size_of(local: &Path) -> Result<u64, Failure> {
    fs::metadata(local).map(|metadata| metadata.len()).map_err(|error| Failure::local(local, &error))
}

/// Uploads many files with pipelined requests. Files whose destination exists are compared afterwards. Those that
/// differ and may be replaced are then sent again.
fn put_many(
    session: &mut Session,
    locals: &[PathBuf],
    target: &RemoteTarget,
    mut overwrite: OverwritePolicy,
    with_directories: bool,
    modes: ModePolicy,
) -> Result<(), Failure> {
    let mut summary = Summary::new("put", false);
    let plan = plan(session, &mut summary, locals, target, with_directories, modes)?;
    summary.set_plan(plan.files.len(), plan.bytes);
    if let RemoteTarget::Tree(_, tree) = target {
        tree.begin(session, None);
    }
    // Within one tree, every name is unique.
    let can_collide = overwrite.is_forced() && locals.len() > 1;
    let result = put_plan(session, &mut summary, plan, can_collide, &mut overwrite);
    summary.conclude(&mut session.output, result)
}

fn put_plan(
    session: &mut Session,
    summary: &mut Summary,
    mut plan: PutPlan,
    can_collide: bool,
    overwrite: &mut OverwritePolicy,
) -> Result<(), Failure> {
    let missing = make_directories(session, summary, &plan.directories)?;
    without_colliding_directories(session, summary, &mut plan)?;
    let is_missing =
        |job: &TransferJob| successors(job.remote.parent(), VirtualPath::parent).any(|of| missing.contains(&of));
    let mut files = if can_collide { without_shared_destinations(session, summary, plan.files)? } else { plan.files };
    if !missing.is_empty() {
        files.retain(|job| !is_missing(job));
    }
    let spellings = Spellings::among(files.iter().map(|job| job.remote.as_bytes()));
    let mut occupied = Vec::new();
    let sent = transfer_many(session, summary, UPLOAD, files, plan.bytes, &mut occupied);
    if let Err(failure) = &sent
        && !(failure.is_full() || failure.is_refusal(ErrorCode::Denied))
    {
        return sent;
    }
    // Existing files are compared even after a failure that ended the uploads, so that identical ones count as done.
    let occupied = without_colliding_files(session, summary, &spellings, occupied)?;
    let (again, bytes) = resolve_existing(session, summary, occupied, overwrite)?;
    sent?;
    let mut refused = Vec::new();
    transfer_many(session, summary, UPLOAD, again, bytes, &mut refused)?;
    refused.into_iter().try_for_each(|(_, failure)| summary.count(&mut session.output, Err(failure)))?;
    overwrite.result()
}

/// Compares `occupied` with the existing remote files. Returns the files that remain to be sent, and their
/// total size.
fn resolve_existing(
    session: &mut Session,
    summary: &mut Summary,
    occupied: Vec<(TransferJob, Failure)>,
    overwrite: &mut OverwritePolicy,
) -> Result<(Vec<TransferJob>, u64), Failure> {
    let requests: Vec<_> = occupied.iter().map(|(job, _)| Request::Stat { path: (&job.remote).into() }).collect();
    let mut found = Vec::with_capacity(requests.len());
    session.call_each(&requests, |_, _, result| found.push(result))?;
    let mut existing = Vec::with_capacity(occupied.len());
    let mut links = Vec::new();
    for ((job, refused), result) in occupied.into_iter().zip(found) {
        match (result, size_of(&job.local)) {
            (Ok(Reply::Stat { entry, .. }), Ok(size)) if entry.kind == EntryKind::File => {
                existing.push((job, size, entry.size));
            }
            (Err(failure), Ok(size)) if overwrite.is_forced() && is_dangling_symlink(&failure) => {
                links.push((job, size, 0))
            }
            (Ok(_), Ok(_)) => {
                let failure = refusal::explain_upload(session, &job.remote, refused);
                summary.count(&mut session.output, Err(failure))?;
            }
            (Err(failure), _) | (_, Err(failure)) => summary.count(&mut session.output, Err(failure))?,
        }
    }
    let mut remaining = without_identical(session, summary, existing, overwrite, |(job, size, old_size)| {
        Conflict::for_job(UPLOAD, job, *size, *old_size)
    })?;
    remaining.append(&mut links);
    let bytes = remaining.iter().map(|(_, size, _)| size).sum();
    let again = remaining.into_iter().map(|(job, ..)| TransferJob { replace: true, ..job });
    Ok((again.collect(), bytes))
}

/// Creates directories. None of them contains the first one. Returns those that could not be created.
fn make_directories(
    session: &mut Session,
    summary: &mut Summary,
    directories: &[NewDirectory],
) -> Result<HashSet<VirtualPath>, Failure> {
    let request = |(path, bits): &NewDirectory| Request::Mkdir { path: path.into(), parents: true, permissions: *bits };
    let requests: Vec<Request> = directories.iter().map(request).collect();
    let (mut failures, mut missing) = (Vec::new(), HashSet::new());
    session.call_each(&requests, |_, at, result| failures.extend(result.err().map(|failure| (at, failure))))?;
    for (at, failure) in failures {
        // If the account may not create the first directory, it may not create the others.
        if at == 0 && failure.is_refusal(ErrorCode::Denied) {
            return Err(summary.stop(failure));
        }
        let path = &directories[at].0;
        let is_below_missing = path.parent().is_some_and(|directory| missing.contains(&directory));
        missing.insert(path.clone());
        if !is_below_missing {
            let failure = refusal::explain_tree(session, path, failure);
            summary.count(&mut session.output, Err(failure))?;
        }
    }
    Ok(missing)
}
