//! Functions that `get` and `put` share: they compare a local file with a remote one and report the result of a
//! transfer.

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

/// A completed transfer.
pub struct Done<'a> {
    /// `get` or `put`.
    pub command: &'static str,
    /// The local file.
    pub local: &'a Path,
    /// The remote file.
    pub remote: &'a VPath,
    /// The size of the file in bytes.
    pub size: u64,
    /// The SHA-256 digest of the file.
    pub sha256: Digest,
    /// The number of bytes that the destination had before; equal to `size` if nothing was transferred.
    pub resumed_from: u64,
    /// Nothing was transferred, because both sides had the same content.
    pub is_identical: bool,
    /// The duration; `None` for one of many files and where nothing was transferred.
    pub elapsed: Option<Duration>,
}

impl Done<'_> {
    /// Reports the transfer. One of many (`is_brief`) is shown only in JSON output and to users who want
    /// digests.
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
    /// Formats `put a -> /a  8M  0.5s  16M/s  verified`. The most important part comes first, because a narrow
    /// terminal wraps the rest.
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

/// Returns the digest of a local and a remote file if both have the same content. Both sides compute at once.
pub fn same_content(session: &mut Session, local: &Path, remote: &VPath) -> Result<Option<Digest>, Failure> {
    let mut same = Err(unexpected());
    same_contents(session, &[(local, remote)], |result| same = result)?;
    same
}

/// Compares many pairs of files. The requests are pipelined, so a pair costs no round trip of its own.
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
    let mut ahead = DigestsAhead::default();
    for (at, (_, remote)) in pairs.iter().enumerate() {
        hashing.next_remote(remote);
        let same = session.retry(
            &mut ahead,
            |session, ahead| ahead.compare_first(session, &pairs[at..], &hashing),
            |_, ahead| {
                ahead.requested = 0;
                Ok(())
            },
        )?;
        on_result(same);
        ahead = DigestsAhead { requested: ahead.requested - 1, here: None };
    }
    Ok(())
}

/// The progress of comparing a pair of files.
#[derive(Default)]
struct DigestsAhead {
    /// The number of remote digests that are requested: of this pair and of the next ones.
    requested: usize,
    /// The local digest. It survives a lost connection.
    here: Option<Result<Digest, Failure>>,
}

impl DigestsAhead {
    /// Compares the first of `pairs` and sends the requests for the next ones.
    fn compare_first(
        &mut self,
        session: &mut Session,
        pairs: &[(&Path, &VPath)],
        hashing: &Hashing,
    ) -> Result<Result<Option<Digest>, Failure>, Failure> {
        while self.requested < pairs.len() && session.link.has_room() {
            session.link.request(&Request::Sha256 { path: pairs[self.requested].1.into() })?;
            self.requested += 1;
        }
        session.link.send_all()?;
        let here = self.here.get_or_insert_with(|| digest_here(session, pairs[0].0, hashing)).clone();
        let there = match session.link.receive()?.event {
            Event::Reply(Reply::Sha256 { sha256, .. }) => Ok(sha256),
            Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
            _ => return Err(unexpected()),
        };
        Ok(there.and_then(|there| Ok(Some(here?).filter(|here| *here == there))))
    }
}

/// Computes the digest of a local file and shows the progress.
fn digest_here(session: &mut Session, local: &Path, hashing: &Hashing) -> Result<Digest, Failure> {
    let bytes = fs::metadata(local).map_or(0, |metadata| metadata.len());
    hashing.begin_local(local, bytes);
    let digest = digest_of(local, &mut |bytes| {
        hashing.reach(bytes);
        session.link.keep_alive()
    });
    hashing.finish_local();
    digest
}

impl Conflict<'_> {
    /// Reports that both files are identical, which counts as a success.
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

/// Compares `jobs` whose destinations exist, and returns those that remain to be transferred. A job with
/// identical content is reported as done, and one that may not replace its destination as failed. `clash`
/// converts a job to a conflict.
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
    // A stopped command transfers nothing more, so it asks no more questions.
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

/// Returns the innermost directory that contains all of `paths`.
pub fn common_folder<'a>(paths: impl Iterator<Item = &'a VPath>) -> Option<VPath> {
    let both = |one: VPath, other: VPath| {
        std::iter::successors(Some(one), VPath::parent).find(|folder| folder.contains(&other)).unwrap_or(VPath::root())
    };
    paths.filter_map(VPath::parent).reduce(both)
}

/// Returns whether `--` stands before the last of `words`, which makes that word the target and not another
/// source.
pub fn is_marked_as_target(words: &[Word]) -> bool {
    matches!(words, [_, .., mark, _] if mark.is_bare(b"--"))
}

/// Refuses the last of `words` as the target, because it looks like another source. This happens when a shell
/// expands a pattern into names.
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

/// A message repeats the names only up to this number.
const NAMES_SHOWN_MAX: usize = 4;

/// Tells the user that an interrupted transfer can be resumed.
pub fn note_interruption(session: &mut Session, result: Result<(), Failure>) -> Result<(), Failure> {
    if result == Err(Failure::Interrupted) {
        session.output.end_line();
        session.output.note("what was transferred is kept; the same command goes on from there");
    }
    result
}
