//! Remote listings and trees. The client accepts only single names from a server, and limits the memory for a
//! listing.

use std::collections::VecDeque;
use std::time::Instant;

use crate::base::explanation::Explanation;
use crate::base::memory::{LISTING_BYTES_MAX, LISTING_ENTRIES_MAX};
use crate::base::text::{Escaped, Size, shortened};
use crate::base::virtual_path::{NAME_BYTES_MAX, PATH_BYTES_MAX, VirtualPath};
use crate::client::connection::incoming::Event;
use crate::client::connection::link::Link;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, LinkError};
use crate::client::files::spellings::Names;
use crate::wire::message::{Entry, EntryKind, Name};
use crate::wire::{Reply, Request};

/// The maximum total length of the paths of one tree or pattern in memory. A million entries then take at most a few
/// hundred megabytes.
const TREE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An entry of a remote tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The absolute path.
    pub path: VirtualPath,
    /// The entry as the server describes it.
    pub entry: Entry,
}

impl Session {
    /// Returns the entries of a directory, sorted by name.
    pub fn list(&mut self, path: &VirtualPath) -> Result<Vec<Entry>, Failure> {
        let mut entries = self.retry_whole(|session| {
            session.link.request(&Request::List { path: path.into() })?;
            PagedListing::receive_all(&mut session.link)?
        })?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Returns the names in the directory at `path`; `None` if the server refuses to list it.
    pub fn names(&mut self, path: &[u8]) -> Result<Option<Names>, Failure> {
        let Ok(directory) = VirtualPath::parse(path) else { return Ok(None) };
        match self.list(&directory) {
            Ok(entries) => Ok(Some(entries.into_iter().map(|entry| entry.name.0).collect())),
            Err(failure) if failure.refuses_request() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Returns the entries of a directory if they arrive by `deadline`. A later response is discarded.
    pub fn list_until(&mut self, path: &VirtualPath, deadline: Instant) -> Option<Vec<Entry>> {
        if !self.link.has_room() {
            return None;
        }
        let id = self.link.request(&Request::List { path: path.into() }).ok()?;
        let mut listing = PagedListing::default();
        let entries = loop {
            // The next command reports a failed connection.
            let Ok(Some(incoming)) = self.link.receive_until(deadline) else { break None };
            match listing.take(incoming.event) {
                Ok(Ok(true)) => break Some(listing.entries),
                Ok(Ok(false)) => {}
                _ => break None,
            }
        };
        if entries.is_none() {
            self.link.abandon(id);
        }
        entries
    }

    /// Returns all entries below the directory `root`, each directory before its content. `on_failure` gets each
    /// failure, such as a directory that cannot be listed, and the walk continues.
    pub fn walk(
        &mut self,
        root: &VirtualPath,
        mut on_failure: impl FnMut(&mut Self, Failure),
    ) -> Result<Vec<TreeEntry>, Failure> {
        let mut found: Vec<TreeEntry> = Vec::new();
        let mut budget = ListingBudget::new(root.as_bytes());
        let mut walk = RemoteWalk { unlisted: VecDeque::from([root.clone()]), requested: VecDeque::new() };
        self.check_link()?;
        while !walk.is_done() {
            let listed = self.retry(
                &mut walk,
                |session, walk| Ok(walk.list_ahead(&mut session.link)?),
                |_, walk| {
                    walk.repeat();
                    Ok(())
                },
            )?;
            let Some(directory) = walk.requested.pop_front() else { break };
            let entries = match listed {
                Ok(entries) => entries,
                Err(failure) => {
                    on_failure(self, failure);
                    continue;
                }
            };
            let (entries, too_long) = with_paths(&directory, entries);
            for TreeEntry { path, entry } in entries {
                budget.spend(&path)?;
                if entry.kind == EntryKind::Dir {
                    walk.unlisted.push_back(path.clone());
                }
                found.push(TreeEntry { path, entry });
            }
            if let Some(failure) = too_long {
                on_failure(self, failure);
            }
        }
        Ok(found)
    }
}

/// The directories that a walk has still to list.
struct RemoteWalk {
    unlisted: VecDeque<VirtualPath>,
    /// Their listings are requested, the oldest first.
    requested: VecDeque<VirtualPath>,
}

impl RemoteWalk {
    fn is_done(&self) -> bool {
        self.unlisted.is_empty() && self.requested.is_empty()
    }

    /// Requests as many listings as the server allows, and receives the oldest one.
    fn list_ahead(&mut self, link: &mut Link) -> Result<Result<Vec<Entry>, Failure>, LinkError> {
        while link.has_room()
            && let Some(directory) = self.unlisted.front()
        {
            link.request(&Request::List { path: directory.into() })?;
            self.requested.extend(self.unlisted.pop_front());
        }
        PagedListing::receive_all(link)
    }

    /// Queues the requested listings again, because their connection was lost.
    fn repeat(&mut self) {
        self.requested.append(&mut self.unlisted);
        std::mem::swap(&mut self.requested, &mut self.unlisted);
    }
}

/// A listing that arrives in pages, with counters for its limits.
#[derive(Default)]
struct PagedListing {
    entries: Vec<Entry>,
    name_bytes: usize,
    pages: usize,
}

impl PagedListing {
    /// Receives all pages up to the last. The outer error ends the connection; the inner one is the server's refusal.
    fn receive_all(link: &mut Link) -> Result<Result<Vec<Entry>, Failure>, LinkError> {
        let mut listing = Self::default();
        loop {
            match listing.receive(link)? {
                Ok(false) => {}
                Ok(true) => return Ok(Ok(listing.entries)),
                Err(failure) => return Ok(Err(failure)),
            }
        }
    }

    /// Receives the next page. Returns whether it is the last one.
    fn receive(&mut self, link: &mut Link) -> Result<Result<bool, Failure>, LinkError> {
        self.take(link.receive()?.event)
    }

    fn take(&mut self, event: Event) -> Result<Result<bool, Failure>, LinkError> {
        let (entries, last) = match event {
            Event::Reply(Reply::Page { entries, last }) => (entries, last),
            Event::Reply(Reply::Error(error)) => return Ok(Err(Failure::Refused(error))),
            _ => return Err(LinkError::Protocol("no listing".into())),
        };
        for entry in &entries {
            check_name(&entry.name)?;
            self.name_bytes += entry.name.0.len();
        }
        self.pages += 1;
        self.entries.extend(entries);
        if self.entries.len().max(self.pages) > LISTING_ENTRIES_MAX || self.name_bytes > LISTING_BYTES_MAX {
            return Err(LinkError::Protocol("a listing without end".into()));
        }
        Ok(Ok(last))
    }
}

/// The remaining budget for the paths of a tree or of a pattern's matches.
pub(super) struct ListingBudget<'a> {
    of: &'a [u8],
    entries: usize,
    bytes: usize,
}

impl<'a> ListingBudget<'a> {
    pub(super) fn new(of: &'a [u8]) -> Self {
        Self { of, entries: LISTING_ENTRIES_MAX, bytes: TREE_BYTES_MAX }
    }

    pub(super) fn spend(&mut self, path: &VirtualPath) -> Result<(), Failure> {
        let left = (self.entries.checked_sub(1), self.bytes.checked_sub(path.as_bytes().len()));
        let (Some(entries), Some(bytes)) = left else {
            return Err(Failure::Local(Explanation::new(
                format!(
                    "{} is more than {LISTING_ENTRIES_MAX} entries, or {} of paths",
                    Escaped(self.of),
                    Size(TREE_BYTES_MAX as u64)
                ),
                "run the command for each of its directories",
            )));
        };
        (self.entries, self.bytes) = (entries, bytes);
        Ok(())
    }
}

/// Returns the entries of `directory` with their paths, and a failure if some paths are longer than a server
/// accepts.
pub(super) fn with_paths(directory: &VirtualPath, entries: Vec<Entry>) -> (Vec<TreeEntry>, Option<Failure>) {
    let mut usable = Vec::with_capacity(entries.len());
    let mut first = None;
    let mut others = 0;
    for entry in entries {
        match (directory.child(&entry.name.0), &first) {
            (Ok(path), _) => usable.push(TreeEntry { path, entry }),
            (Err(error), None) => first = Some((entry.name, error)),
            (Err(_), Some(_)) => others += 1,
        }
    }
    let failure = first.map(|(name, error)| {
        let name = shortened(Escaped(&name.0).to_string(), NAME_BYTES_MAX);
        let others = if others > 0 { format!(" and {others} more") } else { String::new() };
        Failure::Local(Explanation::new(
            format!("{name}{others} in {directory}: {error}, so it is skipped"),
            "rename it, or move the directory to a shorter path",
        ))
    });
    (usable, failure)
}

/// Returns the failure for an entry that the server lists but cannot examine.
pub fn not_examined(path: &VirtualPath) -> Failure {
    Failure::Local(Explanation::new(
        format!("{path}: the server cannot examine it, so it is skipped"),
        "ask the administrator of the server",
    ))
}

/// Checks a name from the server. Only single names are accepted, because a server must not choose where files
/// are written. The server's file system may allow longer names than the local one; these are listed but cannot
/// be requested.
fn check_name(name: &Name) -> Result<(), LinkError> {
    let bytes = &name.0[..];
    let is_single = !bytes.is_empty()
        && bytes != b"."
        && bytes != b".."
        && bytes.len() <= PATH_BYTES_MAX
        && !bytes.iter().any(|byte| matches!(byte, 0 | b'/'));
    if is_single {
        Ok(())
    } else {
        Err(LinkError::Protocol(format!("the server lists the invalid name '{}'", Escaped(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for name in ["", ".", "..", "a/b", "/etc", "a\0b", &"n".repeat(PATH_BYTES_MAX + 1)] {
            assert!(check_name(&name.into()).is_err(), "{name:?}");
        }
        for name in ["a", "...", ".hidden", "\x1b[2J", "-rf", &"n".repeat(1024)] {
            assert!(check_name(&name.into()).is_ok(), "{name:?}");
        }
    }
}
