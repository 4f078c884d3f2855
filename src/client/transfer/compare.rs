//! What `get` and `put` have in common: comparing a file here with one there, and telling what
//! became of a transfer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::base::digest::Digest;
use crate::base::text::Escaped;
use crate::base::virtual_path::VPath;
use crate::client::connection::incoming::Event;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, unexpected};
use crate::client::files::local::{digest_of, name_of, shown};
use crate::client::shell::lexer::{Word, escape};
use crate::client::transfer::overwrite::{Conflict, Decision, Overwrite};
use crate::client::ui::amounts::{Bytes, Elapsed, Rate};
use crate::client::ui::hashing::Hashing;
use crate::client::ui::summary::Summary;
use crate::wire::message::Name;
use crate::wire::{Reply, Request};

/// A transfer that is done.
pub struct Done<'a> {
    /// `get` or `put`.
    pub command: &'static str,
    /// The file here.
    pub local: &'a Path,
    /// The file there.
    pub remote: &'a VPath,
    /// Its bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
    /// Bytes that were there already; all of them when nothing was moved.
    pub resumed_from: u64,
    /// Nothing was moved, because both sides had the same.
    pub is_identical: bool,
    /// How long it took; `None` for one of many and where nothing was moved.
    pub elapsed: Option<Duration>,
}

impl Done<'_> {
    /// Shows it; one of many (`is_brief`) only to programs and to users who want digests.
    pub fn show(&self, session: &mut Session, is_brief: bool) -> Result<(), Failure> {
        let Self { command, local, remote, size, sha256, .. } = self;
        if !is_brief || session.output.shows_digests {
            session.output.line(self.line(session.output.shows_digests))?;
        }
        session.output.json(&json!({
            "command": command, "ok": true, "remote": Name::from(*remote), "local": name_of(local),
            "size": size, "sha256": sha256, "resumed_from": self.resumed_from,
            "status": if self.is_identical { "identical" } else { "done" },
        }))
    }
}

impl Done<'_> {
    /// `put a -> /a  8M  0.5s  16M/s  verified`: what matters most stands before what a narrow terminal breaks.
    fn line(&self, with_digest: bool) -> String {
        let (local, remote) = (shown(self.local), self.remote);
        let mut line = match self.command {
            "get" => format!("get {remote} -> {local}"),
            command => format!("{command} {local} -> {remote}"),
        };
        line += &format!("  {}", Bytes(self.size));
        if let Some(elapsed) = self.elapsed {
            line += &format!("  {}", Elapsed(elapsed));
            let moved_bytes = self.size - self.resumed_from.min(self.size);
            if moved_bytes > 0 {
                line += &format!("  {}", Rate(moved_bytes, elapsed));
            }
        }
        line += if self.is_identical { "  already there, identical" } else { "  verified" };
        if with_digest {
            line += &format!("  sha256 {}", self.sha256);
        }
        line
    }
}

/// The digest of a file here and there, if they are the same. Both sides compute at once.
pub fn same_content(session: &mut Session, local: &Path, remote: &VPath) -> Result<Option<Digest>, Failure> {
    let mut same = Err(unexpected());
    same_contents(session, &[(local, remote)], |result| same = result)?;
    same
}

/// The same for many files: the server is asked ahead, so they cost no round trip each.
/// `on_result` gets the results in order.
pub fn same_contents(
    session: &mut Session,
    pairs: &[(&Path, &VPath)],
    mut on_result: impl FnMut(Result<Option<Digest>, Failure>),
) -> Result<(), Failure> {
    if pairs.is_empty() {
        return Ok(());
    }
    session.check_link()?;
    let hashing = Hashing::of(session.progress, pairs.len());
    session.link.set_on_wait(hashing.ticker());
    hashing.next_remote(pairs[0].1);
    let (mut asked, mut compared, mut here) = (0, 0, None);
    while compared < pairs.len() {
        match compare_ahead(session, &pairs[compared..], &mut asked, &mut here, &hashing) {
            Ok(same) => {
                session.gets_on();
                on_result(same);
                (asked, compared, here) = (asked - 1, compared + 1, None);
                if let Some((_, remote)) = pairs.get(compared) {
                    hashing.next_remote(remote);
                }
            }
            Err(failure) => {
                session.reconnect(failure)?;
                asked = 0;
            }
        }
    }
    Ok(())
}

/// Compares the first of `pairs` and asks ahead for more than the `asked` first. The digest of what
/// is `here` outlives a connection.
fn compare_ahead(
    session: &mut Session,
    pairs: &[(&Path, &VPath)],
    asked: &mut usize,
    here: &mut Option<Result<Digest, Failure>>,
    hashing: &Hashing,
) -> Result<Result<Option<Digest>, Failure>, Failure> {
    while *asked < pairs.len() && session.link.has_room() {
        session.link.request(&Request::Sha256 { path: pairs[*asked].1.into() })?;
        *asked += 1;
    }
    session.link.send_all()?;
    let here = here.get_or_insert_with(|| digest_here(session, pairs[0].0, hashing)).clone();
    let there = match session.link.receive()?.event {
        Event::Reply(Reply::Sha256 { sha256, .. }) => Ok(sha256),
        Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
        _ => return Err(unexpected()),
    };
    Ok(there.and_then(|there| Ok(Some(here?).filter(|here| *here == there))))
}

/// The digest of a local file, shown as it is computed.
fn digest_here(session: &mut Session, local: &Path, hashing: &Hashing) -> Result<Digest, Failure> {
    let bytes = fs::metadata(local).map_or(0, |metadata| metadata.len());
    hashing.begin_local(local, bytes);
    let digest = digest_of(local, &mut |bytes| {
        hashing.reach(bytes);
        session.link.works_apart()
    });
    hashing.finish_local();
    digest
}

impl Conflict<'_> {
    /// Tells that both are the same, which counts as done.
    pub fn tell_identical(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        sha256: Digest,
        is_brief: bool,
    ) -> Result<(), Failure> {
        summary.was_there(self.size);
        let Self { command, local, remote, size, .. } = *self;
        Done { command, local, remote, size, sha256, resumed_from: size, is_identical: true, elapsed: None }
            .show(session, is_brief)
    }
}

/// Which of `jobs` remain to be done, in whose places there are files: the same content is
/// reported as done, and what may not be replaced as failed. `clash` tells a job as a clash.
pub fn without_identical<J>(
    session: &mut Session,
    summary: &mut Summary,
    jobs: Vec<J>,
    overwrite: &mut Overwrite,
    clash: impl Fn(&J) -> Conflict<'_>,
) -> Result<Vec<J>, Failure> {
    let is_alike = |job: &J| clash(job).size == clash(job).old_size;
    let (alike, mut differing): (Vec<J>, Vec<J>) = jobs.into_iter().partition(is_alike);
    let pairs: Vec<_> = alike.iter().map(|job| (clash(job).local, clash(job).remote)).collect();
    let mut results = Vec::with_capacity(pairs.len());
    same_contents(session, &pairs, |result| results.push(result))?;
    for (job, result) in alike.into_iter().zip(results) {
        match result {
            Ok(None) => differing.push(job),
            Ok(Some(sha256)) => {
                let told = clash(&job).tell_identical(session, summary, sha256, true);
                summary.count(session, told)?;
            }
            Err(failure) => summary.count(session, Err(failure))?,
        }
    }
    let mut remaining = Vec::with_capacity(differing.len());
    // Where no more is moved, nobody is asked.
    differing.retain(|_| !summary.is_stopped());
    for job in differing {
        match overwrite.decide(session, &clash(&job)) {
            Ok(Decision::Replace) => remaining.push(job),
            Ok(Decision::Keep) => summary.keep(clash(&job).size),
            Ok(Decision::Quit) => break,
            Err(failure) => summary.count(session, Err(failure))?,
        }
    }
    Ok(remaining)
}

/// The innermost folder that all of `paths` are in.
pub fn common_folder<'a>(paths: impl Iterator<Item = &'a VPath>) -> Option<VPath> {
    let both = |one: VPath, other: VPath| {
        std::iter::successors(Some(one), VPath::parent).find(|folder| folder.contains(&other)).unwrap_or(VPath::root())
    };
    paths.filter_map(VPath::parent).reduce(both)
}

/// Whether `--` stands before the last of `words`, so that it is where to and not one more of the sources.
pub fn is_marked_as_target(words: &[Word]) -> bool {
    matches!(words, [_, .., mark, _] if mark.is_bare(b"--"))
}

/// Refuses the last of `words` as where to: it looks like one more of the sources, as where a shell made
/// names of a pattern.
pub fn listed_as_target(command: &str, words: &[Word], problem: &str) -> Failure {
    let written = |word: &Word| match Escaped(&word.text).to_string() {
        text if word.is_option() || word.is_pattern() => text,
        text => escape(&text, None),
    };
    let written: Vec<String> = words.iter().map(written).collect();
    let text = match written.split_last() {
        Some((target, sources)) if written.len() <= NAMES_SHOWN_MAX => {
            let sources = sources.join(" ");
            format!(
                "write '{command} {sources} {target} .' for all of them, '{command} {sources} -- {target}' for that name"
            )
        }
        _ => format!("write '{command} ... .' for all of them"),
    };
    Failure::Usage(format!("{problem}; {text}"))
}

/// More names than this are not repeated in a message.
const NAMES_SHOWN_MAX: usize = 4;

/// Says what an interrupted transfer left.
pub fn note_interruption(session: &mut Session, result: Result<(), Failure>) -> Result<(), Failure> {
    if result == Err(Failure::Interrupted) {
        session.output.end_line();
        session.output.note("what was transferred is kept; the same command goes on from there");
    }
    result
}
