//! `get`: handles existing files and reports the results. `target` is the destination, `plan` the files, and
//! `transfer` moves the bytes.

mod collisions;
mod plan;
mod target;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::commands::cat::ContentWriter;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::{destination, shown};
use crate::client::files::modes::ModePolicy;
use crate::client::files::spellings::Spellings;
use crate::client::syntax::advice;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::usage_failure;
use crate::client::syntax::lexer::Word;
use crate::client::transfer::batch::{report_identical, transfer_many, transfer_one, without_identical};
use crate::client::transfer::compare::same_content;
use crate::client::transfer::job::{Direction, TransferJob, Transferred, label};
use crate::client::transfer::overwrite::{Conflict, Decision, OverwritePolicy};
use crate::client::transfer::part::names::remove_part;
use crate::client::transfer::pipes::download_to;
use crate::client::transfer::report::{Report, note_interruption};
use crate::client::ui::progress::{Progress, ProgressStyle};
use crate::client::ui::stopwatch::Stopwatch;
use crate::client::ui::summary::Summary;
use crate::wire::message::{EntryKind, ErrorCode};
use collisions::{FileId, local_collision, other_spelling, path_bytes, shared_destination};
use plan::{job, plan};
use target::LocalTarget;

const DOWNLOAD: Direction = Direction::Download;

/// `get [-f] [-r] [--no-perms] REMOTE... [LOCAL]`
pub fn get(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let arguments = Arguments::parse("get", words)?;
    let (force, with_directories) = (arguments.has("-f"), arguments.has("-r"));
    let modes = if arguments.has("--no-perms") { ModePolicy::Ignore } else { ModePolicy::NewFiles };
    session.output.shows_digests = session.output.is_verbose || arguments.has("-v");
    let (sources, target) = match &arguments.operands[..] {
        [] => return Err(usage_failure("get", "a remote path is missing")),
        [source] => (vec![*source], None),
        [sources @ .., target] => (sources.to_vec(), Some(*target)),
    };
    let mut remotes = Vec::new();
    for source in sources {
        remotes.extend(session.expand(source)?);
    }
    if target.is_some_and(|word| word.is_bare(b"-")) {
        return match &remotes[..] {
            [remote] if !with_directories => get_content(session, remote),
            _ => Err(usage_failure("get", "'get FILE -' writes one file to standard output; 'cat' writes several")),
        };
    }
    let target = match target {
        Some(word) => LocalTarget::named(session, &arguments, word, &remotes, with_directories)?,
        None => LocalTarget::Directory(PathBuf::new()),
    };
    let result = match &remotes[..] {
        [remote] if !with_directories => {
            get_single(session, remote, &target, OverwritePolicy::new(force, false), modes)
        }
        _ => get_many(session, &remotes, &target, OverwritePolicy::new(force, true), with_directories, modes),
    };
    if let (Ok(()), LocalTarget::Tree(_, tree)) = (&result, &target) {
        tree.finish(session);
    }
    note_interruption(session, result)
}

/// Returns whether the command writes the content of a file to standard output.
pub fn is_to_stdout(words: &[Word]) -> bool {
    matches!(words, [name, .., last] if name.is_bare(b"get") && last.is_bare(b"-"))
}

/// `get FILE -`: writes only the content to standard output.
fn get_content(session: &mut Session, remote: &VirtualPath) -> Result<(), Failure> {
    session.output.reserve_for_content();
    // A progress bar would mix with the content on a terminal, or with the JSON objects on standard error.
    let is_silent = session.output.is_terminal || session.output.is_json;
    let style = if is_silent { ProgressStyle::Silent } else { session.progress };
    let entry = session.stat(remote)?;
    if entry.kind == EntryKind::Dir {
        return Err(Failure::Local(Explanation::new(
            format!("{remote} is a directory"),
            "only a file goes to standard output",
        )));
    }
    let size = entry.size;
    let mut progress = Progress::for_file(style, &label(remote), Some(size));
    let mut writer = ContentWriter::default();
    let fetched = download_to(session, remote, &mut progress, |output, link, bytes| writer.write(output, link, bytes));
    drop(progress);
    let transferred = fetched?;
    writer.finish(&mut session.output)?;
    // Standard output holds the content, so no digest is shown.
    session.output.shows_digests = false;
    let (local, elapsed) = (Path::new("-"), None);
    Report { direction: DOWNLOAD, local, remote, transferred, is_identical: false, elapsed }.show(session, true)
}

fn get_single(
    session: &mut Session,
    remote: &VirtualPath,
    target: &LocalTarget,
    mut overwrite: OverwritePolicy,
    modes: ModePolicy,
) -> Result<(), Failure> {
    let entry = session.stat(remote)?;
    if entry.kind == EntryKind::Dir {
        return Err(Failure::Local(Explanation::new(
            format!("{remote} is a directory"),
            "-r downloads it with its contents",
        )));
    }
    let job = job(remote.clone(), target.of(remote), &entry, modes);
    if let Some(directory) = job.local.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        check_directory(session, directory, &job.local)?;
    }
    get_one(session, &mut Summary::new("get", true), job, entry.size, &mut overwrite, false)
}

/// Checks that the directory for the destination exists.
fn check_directory(session: &Session, directory: &Path, destination: &Path) -> Result<(), Failure> {
    match fs::metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let creation = advice::local(session.output.is_one_shot, "mkdir -p", directory);
            Err(Failure::Local(Explanation::new(
                format!("local directory {} does not exist", shown(directory)),
                format!("{creation} creates it"),
            )))
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(Failure::file_above_local(destination)),
        Ok(metadata) if !metadata.is_dir() => Err(Failure::file_above_local(destination)),
        _ => Ok(()),
    }
}

/// Downloads one file and handles an existing local file.
fn get_one(
    session: &mut Session,
    summary: &mut Summary,
    mut job: TransferJob,
    size: u64,
    overwrite: &mut OverwritePolicy,
    is_brief: bool,
) -> Result<(), Failure> {
    if let Some(existing) = existing_file(&job.local)? {
        let conflict = Conflict::for_job(DOWNLOAD, &job, size, existing.len());
        if existing.len() == size
            && let Some(digest) = same_content(session, &job.local, &job.remote)?
        {
            return report_identical(session, summary, &conflict, digest, is_brief);
        }
        if !job.replace && overwrite.decide(session, &conflict)? != Decision::Replace {
            return Err(Failure::Local(format!("{} was not replaced", shown(&job.local)).into()));
        }
        job.replace = true;
    }
    let started = Stopwatch::start();
    let fetched = match fetch(session, &job, size) {
        Err(failure) if failure.is_refusal(ErrorCode::Changed) => {
            session.output.note(format_args!("remote {} changed during the download; starting again", job.remote));
            fetch(session, &job, size)?
        }
        result => result?,
    };
    let elapsed = (!is_brief).then(|| started.elapsed());
    Report::for_job(DOWNLOAD, &job, fetched, elapsed).count(session, summary)
}

fn fetch(session: &mut Session, job: &TransferJob, size: u64) -> Result<Transferred, Failure> {
    transfer_one(session, DOWNLOAD, job.clone(), size)?.1
}

/// Downloads many files with pipelined requests. Files whose destination exists are compared first. Files that
/// change meanwhile are downloaded last, one by one.
fn get_many(
    session: &mut Session,
    remotes: &[VirtualPath],
    target: &LocalTarget,
    mut overwrite: OverwritePolicy,
    with_directories: bool,
    modes: ModePolicy,
) -> Result<(), Failure> {
    let mut summary = Summary::new("get", false);
    let wanted = plan(session, &mut summary, remotes, target, with_directories, modes)?;
    summary.set_plan(wanted.len(), total_of(&wanted));
    let result = get_wanted(session, &mut summary, wanted, &mut overwrite);
    summary.conclude(&mut session.output, result)
}

fn get_wanted(
    session: &mut Session,
    summary: &mut Summary,
    wanted: Vec<TransferJob>,
    overwrite: &mut OverwritePolicy,
) -> Result<(), Failure> {
    let wanted = resolve_existing(session, summary, wanted, overwrite)?;
    let bytes = total_of(&wanted);
    let mut changed = Vec::new();
    transfer_many(session, summary, DOWNLOAD, wanted, bytes, &mut changed)?;
    for (mut job, _) in changed {
        let result = session.stat(&job.remote).and_then(|entry| {
            job.size = entry.size;
            get_one(session, summary, job, entry.size, overwrite, true)
        });
        summary.count(&mut session.output, result)?;
    }
    overwrite.result()
}

fn total_of(jobs: &[TransferJob]) -> u64 {
    jobs.iter().fold(0, |total: u64, job| total.saturating_add(job.size))
}

/// Compares `wanted` with the existing local files and returns what remains to be downloaded.
fn resolve_existing(
    session: &mut Session,
    summary: &mut Summary,
    wanted: Vec<TransferJob>,
    overwrite: &mut OverwritePolicy,
) -> Result<Vec<TransferJob>, Failure> {
    let (mut remaining, mut existing) = (Vec::new(), Vec::new());
    let spellings = Spellings::among(wanted.iter().map(|job| path_bytes(&job.local)));
    let mut names: HashMap<FileId, VirtualPath> = HashMap::new();
    let mut new_names: HashMap<PathBuf, VirtualPath> = HashMap::new();
    for job in wanted {
        match existing_file(&job.local) {
            Err(failure) => summary.count(&mut session.output, Err(failure))?,
            Ok(None) => match new_names.insert(job.local.clone(), job.remote.clone()) {
                Some(other) => {
                    summary.count(&mut session.output, Err(shared_destination(&other, &job.remote, &job.local)))?
                }
                None => remaining.push(job),
            },
            Ok(Some(metadata)) => match names
                .insert(FileId::from_metadata(&metadata), job.remote.clone())
                .filter(|_| metadata.nlink() == 1)
            {
                Some(other) => {
                    summary.count(&mut session.output, Err(shared_destination(&other, &job.remote, &job.local)))?
                }
                None => match other_spelling(&spellings, &job.local) {
                    Some(other) => summary.count(&mut session.output, Err(local_collision(&job.local, &other)))?,
                    None => existing.push((job, metadata.len())),
                },
            },
        }
    }
    let replacing = without_identical(session, summary, existing, overwrite, |(job, old_size)| {
        Conflict::for_job(DOWNLOAD, job, job.size, *old_size)
    })?;
    if overwrite.has_quit() {
        remaining.clear();
    }
    remaining.extend(replacing.into_iter().map(|(job, _)| TransferJob { replace: true, ..job }));
    Ok(remaining)
}

/// Returns the metadata of the file at the destination of a download. A part of another download is removed
/// first.
fn existing_file(local: &Path) -> Result<Option<fs::Metadata>, Failure> {
    remove_part(local);
    destination(local)
}
