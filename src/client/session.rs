//! A login and what belongs to it: the link, the current folder, where results go. Commands ask
//! the server through it. It knows no command.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::glob::Pattern;
use crate::client::incoming::Event;
use crate::client::interrupt::Interrupt;
use crate::client::link::{Link, LinkError};
use crate::client::outcome::Failure;
use crate::client::output::Output;
use crate::client::progress::Style;
use crate::client::state::StateFolder;
use crate::client::words::Word;
use crate::limits::{LISTING_BYTES_MAX, LISTING_ENTRIES_MAX, NAME_BYTES_MAX};
use crate::text::Escaped;
use crate::vpath::VPath;
use crate::wire::message::{Entry, EntryKind, ErrorCode, Name};
use crate::wire::{Reply, Request};

/// See the module.
pub struct Session {
    /// The conversation, logged in.
    pub link: Link,
    /// The current folder at the server.
    pub folder: VPath,
    /// Where results and remarks go.
    pub output: Output,
    /// What is remembered between runs.
    pub state: StateFolder,
    /// How transfers show how far they are.
    pub progress: Style,
    /// `user@host:port`, which tells one server's records from another's.
    pub peer: String,
    /// Whether there is somebody to ask.
    pub may_ask: bool,
    /// Standard input has the commands, so no file can come from there.
    pub stdin_is_script: bool,
}

/// One entry of a tree at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its whole path.
    pub path: VPath,
    /// What is there.
    pub entry: Entry,
}

impl Session {
    /// Asks one thing and waits for the one reply.
    pub fn call(&mut self, request: &Request) -> Result<Reply, Failure> {
        self.link.request(request)?;
        match self.link.receive()?.event {
            Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
            Event::Reply(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// Asks many things that have one reply each, as many at a time as the server allows.
    /// `on_reply` gets each request's position and what became of it.
    pub fn call_each(
        &mut self,
        requests: &[Request],
        mut on_reply: impl FnMut(&mut Self, usize, Result<Reply, Failure>),
    ) -> Result<(), Failure> {
        let (mut asked, mut answered) = (0, 0);
        while answered < requests.len() {
            while asked < requests.len() && self.link.has_room() {
                self.link.request(&requests[asked])?;
                asked += 1;
            }
            let result = match self.link.receive()?.event {
                Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
                Event::Reply(reply) => Ok(reply),
                _ => return Err(unexpected()),
            };
            on_reply(self, answered, result);
            answered += 1;
        }
        Ok(())
    }

    /// What is at `path`.
    pub fn stat(&mut self, path: &VPath) -> Result<Entry, Failure> {
        match self.call(&Request::Stat { path: path.into() })? {
            Reply::Stat { entry, .. } => Ok(entry),
            _ => Err(unexpected()),
        }
    }

    /// What is at `path`, or `None` if nothing is.
    pub fn find(&mut self, path: &VPath) -> Result<Option<Entry>, Failure> {
        match self.stat(path) {
            Ok(entry) => Ok(Some(entry)),
            Err(Failure::Refused(reply)) if reply.code == ErrorCode::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The entries of a folder, sorted by name.
    pub fn list(&mut self, path: &VPath) -> Result<Vec<Entry>, Failure> {
        self.link.request(&Request::List { path: path.into() })?;
        let mut listing = Listing::default();
        while !listing.receive(&mut self.link)?? {}
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing.entries)
    }

    /// The same as far as it is known by `deadline`; what comes later is not waited for.
    pub fn list_until(&mut self, path: &VPath, deadline: Instant) -> Option<Vec<Entry>> {
        if !self.link.has_room() {
            return None;
        }
        let id = self.link.request(&Request::List { path: path.into() }).ok()?;
        let mut listing = Listing::default();
        let entries = loop {
            // A failed connection is told by the next command.
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

    /// Everything below the folder `root`, folders before what is in them. A folder that cannot
    /// be listed is given to `on_failure` and the rest goes on.
    pub fn walk(
        &mut self,
        root: &VPath,
        mut on_failure: impl FnMut(&mut Self, &VPath, Failure),
    ) -> Result<Vec<TreeEntry>, Failure> {
        let mut found: Vec<TreeEntry> = Vec::new();
        let mut to_ask = VecDeque::from([root.clone()]);
        let mut asked = VecDeque::new();
        while !(to_ask.is_empty() && asked.is_empty()) {
            while self.link.has_room()
                && let Some(folder) = to_ask.pop_front()
            {
                self.link.request(&Request::List { path: (&folder).into() })?;
                asked.push_back(folder);
            }
            let Some(folder) = asked.pop_front() else { break };
            let mut listing = Listing::default();
            let outcome = loop {
                match listing.receive(&mut self.link)? {
                    Ok(false) => {}
                    Ok(true) => break Ok(()),
                    Err(failure) => break Err(failure),
                }
            };
            if let Err(failure) = outcome {
                on_failure(self, &folder, failure);
                continue;
            }
            if found.len() + listing.entries.len() > LISTING_ENTRIES_MAX {
                return Err(Failure::Local(format!(
                    "{root} holds more than {LISTING_ENTRIES_MAX} entries; take its folders one by one"
                )));
            }
            for entry in listing.entries {
                let Ok(path) = folder.child(&entry.name.0) else { continue };
                if entry.kind == EntryKind::Dir {
                    to_ask.push_back(path.clone());
                }
                found.push(TreeEntry { path, entry });
            }
        }
        Ok(found)
    }

    /// The path that `word` names from the current folder.
    pub fn path(&self, word: &Word) -> Result<VPath, Failure> {
        self.folder.join(&word.text).map_err(|error| Failure::Usage(format!("'{}': {error}", Escaped(&word.text))))
    }

    /// The paths that `word` names: those that fit if it is a pattern and any fits, else the one
    /// it spells.
    pub fn expand(&mut self, word: &Word) -> Result<Vec<VPath>, Failure> {
        let spelled = self.path(word)?;
        if !word.is_pattern() {
            return Ok(vec![spelled]);
        }
        let start = if word.text.starts_with(b"/") { VPath::root() } else { self.folder.clone() };
        let components = word.pattern_components();
        let mut bases = vec![start];
        for (at, component) in components.iter().enumerate() {
            let is_last = components[at + 1..].iter().all(|rest| rest.text.is_empty());
            bases = self.expand_component(&bases, component, is_last)?;
        }
        if bases.is_empty() {
            return Ok(vec![spelled]);
        }
        Ok(bases)
    }

    fn expand_component(&mut self, bases: &[VPath], component: &Word, is_last: bool) -> Result<Vec<VPath>, Failure> {
        let mut fitting = Vec::new();
        if component.text.is_empty() {
            return Ok(bases.to_vec());
        }
        if !component.is_pattern() {
            for base in bases {
                let Ok(path) = base.join(&component.text) else { continue };
                if !is_last || bases.len() == 1 || self.find(&path)?.is_some() {
                    fitting.push(path);
                }
            }
            return Ok(fitting);
        }
        let pattern = Pattern::new(component);
        for base in bases {
            let entries = match self.list(base) {
                Ok(entries) => entries,
                Err(Failure::Refused(_)) => continue,
                Err(failure) => return Err(failure),
            };
            let names = entries.iter().filter(|entry| is_last || entry.kind != EntryKind::File);
            let names = names.filter(|entry| pattern.matches(&entry.name.0));
            fitting.extend(names.filter_map(|entry| base.child(&entry.name.0).ok()));
        }
        Ok(fitting)
    }

    /// Asks a question whose answer is yes or no; no where there is nobody to ask.
    pub fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        if !self.may_ask {
            return Ok(false);
        }
        confirm(&mut self.output, self.link.interrupt(), question)
    }

    /// After a command that failed: nobody waits for the rest of its answers, running transfers
    /// are cancelled, and the session is ready for the next command.
    pub fn recover(&mut self) {
        self.link.interrupt().clear();
        self.link.abandon_all();
        self.link.flush_briefly(Duration::from_millis(500));
    }

    /// Whether a question can be asked: both the answers and the questions have a terminal.
    pub fn terminal_can_answer() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }
}

/// Asks a question on the terminal whose answer is yes or no.
pub(super) fn confirm(output: &mut Output, interrupt: &Interrupt, question: &str) -> Result<bool, Failure> {
    output.ask(format_args!("{question} [y/N] "));
    let stdin = io::stdin();
    while !interrupt.is_set() {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout));
        if matches!(ready, Ok(1..)) {
            let mut answer = String::new();
            let read = stdin.read_line(&mut answer);
            return Ok(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"));
        }
    }
    output.ask("\n");
    Err(Failure::Interrupted)
}

/// A listing that comes in pages, and what it may cost.
#[derive(Default)]
struct Listing {
    entries: Vec<Entry>,
    name_bytes: usize,
    pages: usize,
}

impl Listing {
    /// Takes the next page; whether it was the last. The outer error ends the conversation.
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

/// A server must not choose where its files go: only single names are taken from it.
fn check_name(name: &Name) -> Result<(), LinkError> {
    let bytes = &name.0[..];
    let is_single = !bytes.is_empty()
        && bytes != b"."
        && bytes != b".."
        && bytes.len() <= NAME_BYTES_MAX
        && !bytes.iter().any(|byte| matches!(byte, 0 | b'/'));
    if is_single { Ok(()) } else { Err(LinkError::Protocol(format!("it lists the name '{}'", Escaped(bytes)))) }
}

/// The server answered with something else than it was asked for.
pub fn unexpected() -> Failure {
    LinkError::Protocol("an answer of the wrong kind".into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for name in ["", ".", "..", "a/b", "/etc", "a\0b", &"n".repeat(256)] {
            assert!(check_name(&name.into()).is_err(), "{name:?}");
        }
        for name in ["a", "...", ".hidden", "\x1b[2J", "-rf"] {
            assert!(check_name(&name.into()).is_ok(), "{name:?}");
        }
    }
}
