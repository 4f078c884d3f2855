//! A logged-in session: the link, the current directory and the output. Commands send their requests through
//! it. It knows no command.

use std::time::Duration;

use crate::base::text::Escaped;
use crate::base::virtual_path::VPath;
use crate::client::connection::endpoint::Endpoint;
use crate::client::connection::incoming::Event;
use crate::client::connection::link::Link;
use crate::client::connection::repeated_request::{changes_once, settle};
use crate::client::connection::state::StateFolder;
use crate::client::error::{Failure, unexpected};
use crate::client::shell::lexer::Word;
use crate::client::ui::confirm::{Choice, choose, confirm};
use crate::client::ui::output::Output;
use crate::client::ui::progress::Style;
use crate::wire::message::{Entry, ErrorCode, Name};
use crate::wire::{Reply, Request};

/// A logged-in session that survives lost connections.
pub struct Session {
    /// The connection, logged in.
    pub link: Link,
    /// The current remote directory.
    pub folder: VPath,
    /// The previous remote directory, for `cd -`.
    pub previous_folder: Option<VPath>,
    /// Takes results and remarks.
    pub output: Output,
    /// What the client remembers between runs.
    pub state: StateFolder,
    /// How transfers show their progress.
    pub progress: Style,
    /// `user@host:port`, which separates the records of different servers.
    pub peer: String,
    /// Whether the user can answer questions.
    pub may_ask: bool,
    /// Standard input holds the commands, so it cannot be the content of a file.
    pub stdin_is_script: bool,
    /// How to reconnect; `None` if a lost connection ends the session.
    pub route: Option<Endpoint>,
    /// The session has reconnected, and the user has not been told yet that the new connection works.
    pub was_lost: bool,
}

impl Session {
    /// Sends one request and waits for its reply.
    pub fn call(&mut self, request: &Request) -> Result<Reply, Failure> {
        let mut reply = None;
        self.call_each(std::slice::from_ref(request), |_, _, result| reply = Some(result))?;
        reply.unwrap_or_else(|| Err(unexpected()))
    }

    /// Sends requests that have one reply each, with as many in flight as the server allows. `on_reply` gets
    /// each request's position and its result, in order. It must not send requests itself.
    pub fn call_each(
        &mut self,
        requests: &[Request],
        mut on_reply: impl FnMut(&mut Self, usize, Result<Reply, Failure>),
    ) -> Result<(), Failure> {
        if requests.is_empty() {
            return Ok(());
        }
        self.check_link()?;
        // Requests before `repeated` were sent before, on connections that were lost.
        let (mut asked, mut answered, mut repeated) = (0, 0, 0);
        while let Some(request) = requests.get(answered) {
            // A request that may have been carried out is sent alone, so that its effect can be checked.
            let is_doubtful = answered < repeated && changes_once(request);
            let next_doubtful = || (answered..repeated).find(|at| changes_once(&requests[*at]));
            let ahead = if is_doubtful { answered + 1 } else { next_doubtful().unwrap_or(requests.len()) };
            match self.exchange(&requests[..ahead], &mut asked) {
                Ok(result) => {
                    self.gets_on();
                    let result = if is_doubtful { self.settle(request, result) } else { result };
                    on_reply(self, answered, result);
                    answered += 1;
                }
                Err(failure) => {
                    let is_unknown = requests[answered..asked].iter().any(changes_once);
                    let connected = self.reconnect(failure);
                    connected.map_err(|failure| if is_unknown { self.call_unknown(failure) } else { failure })?;
                    repeated = repeated.max(asked);
                    asked = answered;
                }
            }
        }
        Ok(())
    }

    /// Interprets the reply to a request that may have been carried out before.
    fn settle(&mut self, request: &Request, answer: Result<Reply, Failure>) -> Result<Reply, Failure> {
        let kind_at = |path: &Name| match self.call(&Request::Stat { path: path.clone() }) {
            Ok(Reply::Stat { entry, .. }) => Ok(Some(entry.kind)),
            Ok(_) => Err(unexpected()),
            Err(failure) if failure.is_refusal(ErrorCode::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        };
        let (reply, remark) = settle(request, answer, kind_at)?;
        if let Some(remark) = remark {
            self.output.note(remark);
        }
        Ok(reply)
    }

    /// Sends as many of `requests` as fit, after the first `asked`, and receives the next reply.
    fn exchange(&mut self, requests: &[Request], asked: &mut usize) -> Result<Result<Reply, Failure>, Failure> {
        while *asked < requests.len() && self.link.has_room() {
            self.link.request(&requests[*asked])?;
            *asked += 1;
        }
        match self.link.receive()?.event {
            Event::Reply(Reply::Error(error)) => Ok(Err(Failure::Refused(error))),
            Event::Reply(reply) => Ok(Ok(reply)),
            _ => Err(unexpected()),
        }
    }

    /// Adds to `failure` that the last request may have been carried out.
    fn call_unknown(&mut self, failure: Failure) -> Failure {
        let text = "the result of the last request is not known; check before you repeat it";
        match failure {
            Failure::Lost(why) => Failure::Connection(format!("connection lost: {why}; {text}")),
            failure => {
                self.output.complain(text);
                failure
            }
        }
    }

    // ---- Lost connections -----------------------------------------------------------------

    /// Does `work`, and starts it again on another connection if a connection is lost. `work` must be
    /// repeatable.
    pub fn persist<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        self.check_link()?;
        loop {
            match work(self) {
                Ok(done) => {
                    self.gets_on();
                    return Ok(done);
                }
                Err(failure) => self.reconnect(failure)?,
            }
        }
    }

    /// Reconnects if `failure` is a lost connection; otherwise returns `failure`. The replies to all earlier
    /// requests are lost.
    pub fn reconnect(&mut self, failure: Failure) -> Result<(), Failure> {
        let Some(route) = self.route.as_mut().filter(|_| failure.is_lost()) else { return Err(failure) };
        let interrupt = self.link.interrupt().clone();
        let mut link = route.again(failure, &interrupt, &mut self.output)?;
        link.inherit_on_wait(&mut self.link);
        self.link = link;
        self.was_lost = true;
        Ok(())
    }

    /// Detects a connection that ended while the session was idle, and reconnects. Called before requests whose
    /// repetition would have to be explained to the user.
    pub fn check_link(&mut self) -> Result<(), Failure> {
        match self.link.look() {
            Ok(()) => Ok(()),
            Err(error) => self.reconnect(error.into()),
        }
    }

    /// Notes progress that another connection need not repeat.
    pub fn gets_on(&mut self) {
        if let Some(route) = &mut self.route {
            route.gets_on();
        }
        self.note_connected();
    }

    /// Notes the transfer of `bytes` beyond the furthest position so far.
    pub fn gets_on_by(&mut self, bytes: u64) {
        if let Some(route) = &mut self.route {
            route.gets_on_by(bytes);
        }
        self.note_connected();
    }

    fn note_connected(&mut self) {
        if std::mem::take(&mut self.was_lost) {
            self.output.note("connected again");
        }
    }

    /// Runs requests that check what happened on a lost connection. Their replies are no progress: a server
    /// that answers only these would be retried for ever.
    pub fn look_back<T>(&mut self, ask: impl FnOnce(&mut Self) -> T) -> T {
        self.route.iter_mut().for_each(|route| route.look_back(true));
        let answer = ask(self);
        self.route.iter_mut().for_each(|route| route.look_back(false));
        answer
    }

    /// Tells the user that a transfer resumes at `percent` after a lost connection.
    pub fn resumes(&mut self, percent: u64) {
        if std::mem::take(&mut self.was_lost) {
            self.output.note(format_args!("resumed at {percent}%"));
        }
    }

    /// Returns the entry at `path`.
    pub fn stat(&mut self, path: &VPath) -> Result<Entry, Failure> {
        match self.call(&Request::Stat { path: path.into() }) {
            Ok(Reply::Stat { entry, .. }) => Ok(entry),
            Ok(_) => Err(unexpected()),
            // A request about an entry requires directories only above it.
            Err(failure) if failure.is_refusal(ErrorCode::NotADirectory) => {
                Err(failure.reworded(format!("a directory above remote {path} is a file; choose another path")))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Returns the entry at `path`, or `None` if nothing exists there.
    pub fn find(&mut self, path: &VPath) -> Result<Option<Entry>, Failure> {
        match self.stat(path) {
            Ok(entry) => Ok(Some(entry)),
            Err(failure) if failure.is_refusal(ErrorCode::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Resolves `word` against the current directory.
    pub fn path(&self, word: &Word) -> Result<VPath, Failure> {
        self.folder.join(&word.text).map_err(|error| Failure::Usage(format!("'{}': {error}", Escaped(&word.text))))
    }

    /// Asks the user a yes-or-no question, or a question about one of many files. The caller has checked
    /// `may_ask`.
    pub fn ask(&mut self, question: &str, is_one_of_many: bool) -> Result<Choice, Failure> {
        let interrupt = self.link.interrupt();
        match is_one_of_many {
            true => choose(&mut self.output, interrupt, question),
            false if confirm(&mut self.output, interrupt, question)? => Ok(Choice::Yes),
            false => Ok(Choice::No),
        }
    }

    /// Prepares the session for the next command after one that failed: pending replies are abandoned and
    /// running transfers are cancelled. The next command reconnects without a pause, however many attempts this
    /// one made, because its user gave up and may know that the server is back.
    pub fn recover(&mut self) {
        if let Some(route) = &mut self.route {
            route.gets_on();
        }
        self.link.interrupt().clear();
        self.link.abandon_all();
        self.link.flush_briefly(Duration::from_millis(500));
    }
}
