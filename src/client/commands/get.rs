//! `get`: chooses the destinations, handles existing files and reports the results. `transfer::download` moves
//! the bytes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cat::Shown;
use super::local::path as local_path;
use crate::base::text::Escaped;
use crate::base::virtual_path::VPath;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, unexpected};
use crate::client::files::local::{destination, names_in, shown};
use crate::client::files::modes::{ModePolicy, create_folder, mode_policy};
use crate::client::files::remote::not_examined;
use crate::client::files::spellings::Spellings;
use crate::client::shell::advice;
use crate::client::shell::command::{options, usage};
use crate::client::shell::lexer::Word;
use crate::client::transfer::compare::{
    Done, is_marked_as_target, listed_as_target, note_interruption, same_content, without_identical,
};
use crate::client::transfer::download::{DownloadJob, Fetched, fetch_all};
use crate::client::transfer::overwrite::{Conflict, Decision, Overwrite};
use crate::client::transfer::part_names::remove_part;
use crate::client::transfer::pipes::{Streamed, fetch as fetch_content};
use crate::client::ui::progress::{Progress, Style};
use crate::client::ui::stopwatch::Stopwatch;
use crate::client::ui::summary::Summary;
use crate::client::unfinished_tree::UnfinishedTree;
use crate::wire::message::{Entry, EntryKind, ErrorCode};
use crate::wire::{Reply, Request};

/// `get [-f] [-r] [--no-perms] REMOTE... [LOCAL]`
pub fn get(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let (modes, words) = mode_policy(words);
    let words = &words[..];
    let (given, operands) = options("get", "frv", words)?;
    session.output.shows_digests = session.output.is_verbose || given.contains('v');
    let (sources, target) = match &operands[..] {
        [] => return Err(usage("get", "what to get is missing")),
        [source] => (vec![*source], None),
        [sources @ .., target] => (sources.to_vec(), Some(*target)),
    };
    let mut remotes = Vec::new();
    for source in sources {
        remotes.extend(session.expand(source)?);
    }
    if target.is_some_and(|word| word.is_bare(b"-")) {
        return match &remotes[..] {
            [remote] if !given.contains('r') => get_content(session, remote),
            _ => Err(usage("get", "standard output takes one file; 'cat' takes more")),
        };
    }
    let target = match target {
        Some(word) => LocalTarget::named(session, words, word, &remotes, given.contains('r'))?,
        None => LocalTarget::Folder(PathBuf::new()),
    };
    let force = given.contains('f');
    let result = match &remotes[..] {
        [remote] if !given.contains('r') => get_single(session, remote, &target, Overwrite::new(force, false), modes),
        _ => get_many(session, &remotes, &target, Overwrite::new(force, true), given.contains('r'), modes),
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

/// The local destination of the files.
enum LocalTarget {
    /// Into this directory, under their own names.
    Folder(PathBuf),
    /// The single source gets this path.
    Path(PathBuf),
    /// The single source directory gets this path, with its content.
    Tree(PathBuf, UnfinishedTree),
}

impl LocalTarget {
    /// Returns the target that `word` names. It is the last of `words`.
    fn named(
        session: &mut Session,
        words: &[Word],
        word: &Word,
        remotes: &[VPath],
        with_folders: bool,
    ) -> Result<Self, Failure> {
        let path = local_path(word);
        if path.as_os_str().is_empty() {
            return Err(Failure::Usage("'': the path is empty".into()));
        }
        let tree = match remotes {
            [remote] if with_folders => Some(UnfinishedTree::new(session, "get", &path, remote)),
            _ => None,
        };
        if path.is_dir() {
            return Ok(match tree {
                Some(tree) if tree.is_begun(session, Some(&path)) => Self::Tree(path, tree),
                _ => Self::Folder(path),
            });
        }
        check_name(session, words, word, remotes)?;
        if remotes.len() != 1 || word.text.ends_with(b"/") {
            return Err(not_a_folder(session, &path));
        }
        Ok(match tree {
            Some(tree) => Self::Tree(path, tree),
            None => Self::Path(path),
        })
    }

    /// Returns the destination of `remote`. The home directory has no name, so its destination is the target
    /// directory itself.
    fn of(&self, remote: &VPath) -> PathBuf {
        match (self, remote.name()) {
            (Self::Folder(folder), Some(name)) => folder.join(OsStr::from_bytes(name)),
            (Self::Folder(path), None) | (Self::Path(path) | Self::Tree(path, _), _) => path.clone(),
        }
    }
}

/// Returns whether the path leads into an existing local directory, as `/tmp/name` does.
fn is_place_here(path: &Path) -> bool {
    path.is_absolute() && path.parent().is_some_and(|folder| folder != Path::new("/") && folder.is_dir())
}

/// Refuses a local target name that also exists on the server: a user who lists remote files wants all of them.
fn check_name(session: &mut Session, words: &[Word], word: &Word, remotes: &[VPath]) -> Result<(), Failure> {
    let Ok(remote) = session.path(word) else { return Ok(()) };
    if is_marked_as_target(words) || is_place_here(&local_path(word)) || remotes == std::slice::from_ref(&remote) {
        return Ok(());
    }
    let is_one_shot = session.output.is_one_shot;
    match session.stat(&remote) {
        Ok(_) => {
            let problem = format!("{remote} is at the server, and not a local directory");
            Err(listed_as_target("get", words, &problem, is_one_shot))
        }
        Err(Failure::Refused(reply)) if !reply.fatal => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// `get FILE -`: writes only the content to standard output.
fn get_content(session: &mut Session, remote: &VPath) -> Result<(), Failure> {
    session.output.make_way_for_content();
    // Progress would mix with the text, or with the objects.
    let is_silent = session.output.is_terminal || session.output.is_json;
    let style = if is_silent { Style::Silent } else { session.progress };
    let entry = session.stat(remote)?;
    if entry.kind == EntryKind::Dir {
        return Err(Failure::Local(format!("{remote} is a directory; only a file goes to standard output")));
    }
    let size = entry.size;
    let mut progress = Progress::of_file(style, &label(remote), Some(size));
    let mut shown = Shown::default();
    let fetched = fetch_content(session, remote, &mut progress, |output, link, bytes| shown.write(output, link, bytes));
    drop(progress);
    let Streamed { size, sha256 } = fetched?;
    shown.finish(&mut session.output)?;
    // Standard output holds the content, so no digest is shown.
    session.output.shows_digests = false;
    let (local, elapsed) = (Path::new("-"), None);
    Done { command: "get", local, remote, size, sha256, resumed_from: 0, is_identical: false, elapsed }
        .show(session, true)
}

fn get_single(
    session: &mut Session,
    remote: &VPath,
    target: &LocalTarget,
    mut overwrite: Overwrite,
    modes: ModePolicy,
) -> Result<(), Failure> {
    let entry = session.stat(remote)?;
    if entry.kind == EntryKind::Dir {
        return Err(Failure::Local(format!("{remote} is a directory; -r takes it whole")));
    }
    let (job, _) = job(remote.clone(), target.of(remote), &entry, modes);
    if let Some(folder) = job.local.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        check_folder(session, folder, &job.local)?;
    }
    get_one(session, &mut Summary::new("get", true), job, entry.size, &mut overwrite, false)
}

/// Checks that the directory for the destination exists.
fn check_folder(session: &Session, folder: &Path, destination: &Path) -> Result<(), Failure> {
    match fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let creation = advice::local(&session.output, "mkdir -p", folder);
            Err(Failure::Local(format!("local directory {} does not exist; {creation} creates it", shown(folder))))
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(Failure::file_above_here(destination)),
        Ok(metadata) if !metadata.is_dir() => Err(Failure::file_above_here(destination)),
        _ => Ok(()),
    }
}

/// Downloads one file and handles an existing local file.
fn get_one(
    session: &mut Session,
    summary: &mut Summary,
    mut job: DownloadJob,
    size: u64,
    overwrite: &mut Overwrite,
    is_brief: bool,
) -> Result<(), Failure> {
    if let Some(here) = what_is_here(&job.local)? {
        let clash = clash(&job, size, here.len());
        if here.len() == size
            && let Some(sha256) = same_content(session, &job.local, &job.remote)?
        {
            return clash.tell_identical(session, summary, sha256, is_brief);
        }
        if overwrite.decide(session, &clash)? != Decision::Replace {
            return Err(Failure::Local(format!("{} was not replaced", shown(&job.local))));
        }
        job.replace = true;
    }
    let started = Stopwatch::start();
    let fetched = match fetch(session, &job, size) {
        Err(failure) if failure.is_refusal(ErrorCode::Changed) => {
            session.output.note(format_args!("{} changed meanwhile: starting again", job.remote));
            fetch(session, &job, size)?
        }
        result => result?,
    };
    let elapsed = (!is_brief).then(|| started.elapsed());
    conclude(session, summary, &job, fetched, elapsed)
}

fn fetch(session: &mut Session, job: &DownloadJob, size: u64) -> Result<Fetched, Failure> {
    let mut progress = Progress::of_file(session.progress, &label(&job.remote), Some(size));
    let mut fetched = None;
    fetch_all(session, vec![job.clone()], &mut progress, |_, (_, result)| {
        fetched = Some(result);
        Ok(())
    })?;
    fetched.unwrap_or_else(|| Err(unexpected()))
}

fn label(remote: &VPath) -> String {
    Escaped(remote.name().unwrap_or(b"/")).to_string()
}

fn conclude(
    session: &mut Session,
    summary: &mut Summary,
    job: &DownloadJob,
    fetched: Fetched,
    elapsed: Option<Duration>,
) -> Result<(), Failure> {
    let Fetched { size, sha256, resumed_from } = fetched;
    summary.moved(size - resumed_from.min(size), size);
    let DownloadJob { local, remote, .. } = job;
    Done { command: "get", local, remote, size, sha256, resumed_from, is_identical: false, elapsed }
        .show(session, elapsed.is_none())
}

/// Downloads many files with pipelined requests. Files whose destination exists are compared first. Files that
/// change meanwhile are downloaded last, one by one.
fn get_many(
    session: &mut Session,
    remotes: &[VPath],
    target: &LocalTarget,
    mut overwrite: Overwrite,
    with_folders: bool,
    modes: ModePolicy,
) -> Result<(), Failure> {
    let mut summary = Summary::new("get", false);
    let wanted = plan(session, &mut summary, remotes, target, with_folders, modes)?;
    summary.plan(wanted.len(), total_of(&wanted));
    let result = get_wanted(session, &mut summary, wanted, &mut overwrite);
    summary.conclude(session, result)
}

fn get_wanted(
    session: &mut Session,
    summary: &mut Summary,
    wanted: Vec<(DownloadJob, u64)>,
    overwrite: &mut Overwrite,
) -> Result<(), Failure> {
    let wanted = without_what_is_here(session, summary, wanted, overwrite)?;
    let mut changed = Vec::new();
    get_new(session, summary, wanted, &mut changed)?;
    for (job, size) in changed {
        let result = get_one(session, summary, job, size, overwrite, true);
        summary.count(session, result)?;
    }
    overwrite.result()
}

fn total_of(jobs: &[(DownloadJob, u64)]) -> u64 {
    jobs.iter().fold(0, |total: u64, (_, size)| total.saturating_add(*size))
}

/// Compares `wanted` with the existing local files and returns what remains to be downloaded.
fn without_what_is_here(
    session: &mut Session,
    summary: &mut Summary,
    wanted: Vec<(DownloadJob, u64)>,
    overwrite: &mut Overwrite,
) -> Result<Vec<(DownloadJob, u64)>, Failure> {
    let (mut remaining, mut clashing) = (Vec::new(), Vec::new());
    let spellings = Spellings::among(wanted.iter().map(|(job, _)| path_bytes(&job.local)));
    let mut names: HashMap<FileId, VPath> = HashMap::new();
    let mut new_names: HashMap<PathBuf, VPath> = HashMap::new();
    for (job, size) in wanted {
        match what_is_here(&job.local) {
            Err(failure) => summary.count(session, Err(failure))?,
            Ok(None) => match new_names.insert(job.local.clone(), job.remote.clone()) {
                Some(other) => summary.count(session, Err(same_name(&other, &job.remote, &job.local)))?,
                None => remaining.push((job, size)),
            },
            Ok(Some(here)) => match names.insert(FileId::of(&here), job.remote.clone()).filter(|_| here.nlink() == 1) {
                Some(other) => summary.count(session, Err(same_name(&other, &job.remote, &job.local)))?,
                None => match other_spelling(&spellings, &job.local) {
                    Some(other) => summary.count(session, Err(same_here(&job.local, &other)))?,
                    None => clashing.push((job, size, here.len())),
                },
            },
        }
    }
    let replacing =
        without_identical(session, summary, clashing, overwrite, |(job, size, here)| clash(job, *size, *here))?;
    if overwrite.has_quit() {
        remaining.clear();
    }
    for (job, size, _) in replacing {
        remaining.push((DownloadJob { replace: true, ..job }, size));
    }
    Ok(remaining)
}

/// Returns the metadata of the file at the destination of a download. A part of another download is removed
/// first.
fn what_is_here(local: &Path) -> Result<Option<fs::Metadata>, Failure> {
    remove_part(local);
    destination(local)
}

/// The device and inode of a local file or directory. A name does not identify a file: a file system may treat
/// two remote names, such as `a` and `A`, as one.
#[derive(PartialEq, Eq, Hash)]
struct FileId(u64, u64);

impl FileId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Returns the existing local path that the file system treats as the same name as `local`.
fn other_spelling(spellings: &Spellings, local: &Path) -> Option<PathBuf> {
    let found = spellings.listed_otherwise([path_bytes(local)], |folder| Ok::<_, Failure>(names_in(folder)));
    let (_, other) = found.ok()?.into_iter().next()?;
    Some(PathBuf::from(OsStr::from_bytes(&other)))
}

fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn same_here(local: &Path, other: &Path) -> Failure {
    let (local, other) = (shown(local), shown(other));
    Failure::Local(format!("{local} and {other} are the same to the local file system; get one to another place"))
}

fn same_name(one: &VPath, other: &VPath, local: &Path) -> Failure {
    Failure::Local(format!("{other} and {one} are both {} here; get one of them to another place", shown(local)))
}

fn clash(job: &DownloadJob, size: u64, old_size: u64) -> Conflict<'_> {
    Conflict { command: "get", local: &job.local, remote: &job.remote, size, old_size }
}

fn get_new(
    session: &mut Session,
    summary: &mut Summary,
    jobs: Vec<(DownloadJob, u64)>,
    changed: &mut Vec<(DownloadJob, u64)>,
) -> Result<(), Failure> {
    let mut progress = Progress::of_files(session.progress, jobs.len(), total_of(&jobs));
    let folder = common_local_folder(jobs.iter().map(|(job, _)| &job.local));
    let jobs = jobs.into_iter().map(|(job, _)| job).collect();
    fetch_all(session, jobs, &mut progress, |session, (job, result)| match result {
        Err(failure) if failure.is_refusal(ErrorCode::Changed) => {
            changed.push((job, 0));
            Ok(())
        }
        // All files go to this directory, so every other file would fail in the same way.
        Err(failure @ Failure::LocalDenied(_)) if job.local.parent() == folder.as_deref() => Err(summary.stop(failure)),
        result => {
            let result = result.and_then(|fetched| conclude(session, summary, &job, fetched, None));
            summary.count(session, result)
        }
    })
}

/// Returns every file to download with its size and destination. Creates the local directories on the way.
fn plan(
    session: &mut Session,
    summary: &mut Summary,
    remotes: &[VPath],
    target: &LocalTarget,
    with_folders: bool,
    modes: ModePolicy,
) -> Result<Vec<(DownloadJob, u64)>, Failure> {
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
            Ok(entry) if entry.kind == EntryKind::Dir && with_folders => {
                let bits = modes.of_folder(entry.mode);
                wanted.extend(plan_tree(session, summary, (remote, bits), &local, target, modes)?);
            }
            Ok(entry) if entry.kind == EntryKind::Dir => {
                let failure = Failure::Local(format!("{remote} is a directory; -r takes it whole"));
                summary.count(session, Err(failure))?;
            }
            Ok(entry) => wanted.push(job(remote.clone(), local, &entry, modes)),
            Err(failure) => summary.count(session, Err(failure))?,
        }
    }
    Ok(wanted)
}

fn plan_tree(
    session: &mut Session,
    summary: &mut Summary,
    (root, root_bits): (&VPath, Option<u32>),
    local_root: &Path,
    target: &LocalTarget,
    modes: ModePolicy,
) -> Result<Vec<(DownloadJob, u64)>, Failure> {
    let mut unlisted = Vec::new();
    let tree = session.walk(root, |_, failure| unlisted.push(failure))?;
    for failure in unlisted {
        summary.count(session, Err(failure))?;
    }
    if !(root.is_root() && local_root.is_dir())
        && let Err(failure) = make_folder(local_root, root_bits)
    {
        // The tree is all that there is to fetch.
        if matches!(failure, Failure::LocalDenied(_)) || matches!(target, LocalTarget::Tree(..)) {
            return Err(failure);
        }
        summary.count(session, Err(failure))?;
        return Ok(Vec::new());
    }
    if let LocalTarget::Tree(_, tree) = target {
        tree.begin(session, Some(local_root));
    }
    let mut wanted = Vec::new();
    // Directories that could not be created. Their content is left out.
    let mut missing: HashSet<VPath> = HashSet::new();
    let mut made: HashMap<FileId, VPath> = HashMap::new();
    let places: Vec<PathBuf> = tree
        .iter()
        .filter(|found| found.entry.kind == EntryKind::Dir)
        .map(|found| below(root, local_root, &found.path))
        .collect();
    let spellings = Spellings::among(places.iter().map(|place| path_bytes(place)));
    for found in tree {
        let is_in_missing = found.path.split().is_some_and(|(folder, _)| missing.contains(&folder));
        let local = below(root, local_root, &found.path);
        match found.entry.kind {
            EntryKind::Dir if is_in_missing => drop(missing.insert(found.path)),
            _ if is_in_missing => {}
            EntryKind::Dir => {
                if let Err(failure) =
                    make_own_folder(&found.path, &local, modes.of_folder(found.entry.mode), &mut made, &spellings)
                {
                    if matches!(failure, Failure::LocalDenied(_)) && local.parent() == Some(local_root) {
                        return Err(failure);
                    }
                    summary.count(session, Err(failure))?;
                    missing.insert(found.path);
                }
            }
            EntryKind::File => wanted.push(job(found.path, local, &found.entry, modes)),
            EntryKind::Other if found.entry.unexamined => summary.count(session, Err(not_examined(&found.path)))?,
            EntryKind::Link | EntryKind::Other => {
                session.output.note(format_args!("{} is no regular file: left out", found.path));
            }
        }
    }
    Ok(wanted)
}

/// Returns the innermost directory that contains all of `paths`.
fn common_local_folder<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Option<PathBuf> {
    let both = |one: &'a Path, other: &'a Path| one.ancestors().find(|folder| other.starts_with(folder)).unwrap_or(one);
    paths.filter_map(|path| path.parent()).reduce(both).map(Path::to_path_buf)
}

fn job(remote: VPath, local: PathBuf, entry: &Entry, modes: ModePolicy) -> (DownloadJob, u64) {
    let Entry { size, mode: listed_mode, .. } = *entry;
    (DownloadJob { remote, local, size, replace: false, modes, listed_mode }, size)
}

/// Maps `path` below `root` to the path below `local_root`. The listing has checked that paths consist of
/// single names, so the result cannot leave `local_root`.
fn below(root: &VPath, local_root: &Path, path: &VPath) -> PathBuf {
    let names = path.components().skip(root.components().count());
    local_root.join(names.map(OsStr::from_bytes).collect::<PathBuf>())
}

/// Creates the local directory for `remote`. Fails if it already belongs to another remote directory in `made`.
fn make_own_folder(
    remote: &VPath,
    local: &Path,
    bits: Option<u32>,
    made: &mut HashMap<FileId, VPath>,
    spellings: &Spellings,
) -> Result<(), Failure> {
    make_folder(local, bits)?;
    if let Some(other) = other_spelling(spellings, local) {
        return Err(same_here(local, &other));
    }
    let here = fs::symlink_metadata(local).map_err(|error| Failure::local(local, &error))?;
    match made.insert(FileId::of(&here), remote.clone()) {
        Some(other) => Err(same_name(&other, remote, local)),
        None => Ok(()),
    }
}

/// Returns the failure of a command whose local target must be a directory but is not.
fn not_a_folder(session: &Session, path: &Path) -> Failure {
    // The trailing slash is dropped, because the system resolves it only for a directory.
    let exists = fs::metadata(path.components().as_path()).is_ok();
    let creation = advice::local(&session.output, "mkdir", path);
    let path = shown(path);
    Failure::Usage(match exists {
        true => format!("local {path} is a file, not a directory; choose another place"),
        false => format!("{path} is not a local directory; create it with {creation}"),
    })
}

/// Creates a directory whose name comes from the server, with these permission bits. A symlink in its place is
/// not followed, because it may lead anywhere.
fn make_folder(path: &Path, bits: Option<u32>) -> Result<(), Failure> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let Ok(here) = fs::symlink_metadata(path) else {
        return create_folder(path, bits).map_err(|error| match error.kind() {
            ErrorKind::NotADirectory => Failure::file_above_here(path),
            _ => Failure::local(path, &error),
        });
    };
    let path = shown(path);
    match (here.is_dir(), here.is_symlink()) {
        (true, _) => Ok(()),
        (_, true) => Err(Failure::Local(format!(
            "{path} is a local link, which is not followed; get that directory to where it leads, by name"
        ))),
        _ => Err(Failure::Local(format!("local {path} is a file, not a directory; choose another place"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_entries_keep_their_place_below_the_target() {
        let path = |text: &str| VPath::parse(text.as_bytes()).expect("valid");
        let place = |root: &str, at: &str| below(&path(root), Path::new("t"), &path(at));
        assert_eq!(place("/a", "/a/b/c"), Path::new("t/b/c"));
        assert_eq!(place("/", "/b"), Path::new("t/b"));
        assert_eq!(LocalTarget::Folder(PathBuf::new()).of(&path("/a/b")), Path::new("b"));
    }
}
