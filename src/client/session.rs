//! A login and what belongs to it: the link, the current folder, where results go. Commands ask
//! the server through it. It knows no command.

use std::io::{self, IsTerminal};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::incoming::Event;
use crate::client::interrupt::Interrupt;
use crate::client::link::{Link, LinkError};
use crate::client::outcome::Failure;
use crate::client::output::Output;
use crate::client::progress::Style;
use crate::client::state::StateFolder;
use crate::client::words::Word;
use crate::text::Escaped;
use crate::vpath::VPath;
use crate::wire::message::{Entry, ErrorCode};
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

    /// The path that `word` names from the current folder.
    pub fn path(&self, word: &Word) -> Result<VPath, Failure> {
        self.folder.join(&word.text).map_err(|error| Failure::Usage(format!("'{}': {error}", Escaped(&word.text))))
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

/// The server answered with something else than it was asked for.
pub fn unexpected() -> Failure {
    LinkError::Protocol("an answer of the wrong kind".into()).into()
}
