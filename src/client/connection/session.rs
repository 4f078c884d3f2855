//! A login and what belongs to it: the link, the current folder, where results go. Commands ask
//! the server through it. It knows no command.

use std::time::Duration;

use crate::base::text::Escaped;
use crate::base::virtual_path::VPath;
use crate::client::connection::endpoint::Endpoint;
use crate::client::connection::incoming::Event;
use crate::client::connection::link::Link;
use crate::client::connection::retry::{changes_once, settle};
use crate::client::connection::state::StateFolder;
use crate::client::error::{Failure, unexpected};
use crate::client::shell::lexer::Word;
use crate::client::ui::confirm::{Choice, choose, confirm};
use crate::client::ui::output::Output;
use crate::client::ui::progress::Style;
use crate::wire::message::{Entry, ErrorCode, Name};
use crate::wire::{Reply, Request};

/// See the module.
pub struct Session {
    /// The conversation, logged in.
    pub link: Link,
    /// The current folder at the server.
    pub folder: VPath,
    /// The one before, for `cd -`.
    pub previous_folder: Option<VPath>,
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
    /// How to get here again; `None` where a lost connection is the end.
    pub route: Option<Endpoint>,
    /// The connection is not the first one, and nobody was told that it works.
    pub was_lost: bool,
}

impl Session {
    /// Asks one thing and waits for the one reply.
    pub fn call(&mut self, request: &Request) -> Result<Reply, Failure> {
        let mut reply = None;
        self.call_each(std::slice::from_ref(request), |_, _, result| reply = Some(result))?;
        reply.unwrap_or_else(|| Err(unexpected()))
    }

    /// Asks many things that have one reply each, as many at a time as the server allows.
    /// `on_reply` gets each request's position and what became of it, in order. It must not ask
    /// anything itself.
    pub fn call_each(
        &mut self,
        requests: &[Request],
        mut on_reply: impl FnMut(&mut Self, usize, Result<Reply, Failure>),
    ) -> Result<(), Failure> {
        if requests.is_empty() {
            return Ok(());
        }
        self.check_link()?;
        // Those before `repeated` were sent before, on connections that were lost.
        let (mut asked, mut answered, mut repeated) = (0, 0, 0);
        while let Some(request) = requests.get(answered) {
            // What may have been carried out is asked by itself, so that it can be looked into.
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

    /// What an answer means to a request that may have been carried out before.
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

    /// Sends what there is room for of `requests` after the `asked` first, and takes the next answer.
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

    /// The same failure of something that may have been carried out.
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

    /// Does `work` that can be begun again, on another connection if one is lost on the way.
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

    /// After `failure`: another connection, if it was only that which failed; else the failure comes
    /// back. Nothing that was asked before is answered any more.
    pub fn reconnect(&mut self, failure: Failure) -> Result<(), Failure> {
        let Some(route) = self.route.as_mut().filter(|_| failure.is_lost()) else { return Err(failure) };
        let interrupt = self.link.interrupt().clone();
        let mut link = route.again(failure, &interrupt, &mut self.output)?;
        link.inherit_on_wait(&mut self.link);
        self.link = link;
        self.was_lost = true;
        Ok(())
    }

    /// Before something is asked that would have to be explained if it was asked twice: a connection
    /// that ended while nobody looked, because nobody asked anything for long, is noticed first.
    pub fn check_link(&mut self) -> Result<(), Failure> {
        match self.link.look() {
            Ok(()) => Ok(()),
            Err(error) => self.reconnect(error.into()),
        }
    }

    /// Something came of this connection that another one need not do again.
    pub fn gets_on(&mut self) {
        if let Some(route) = &mut self.route {
            route.gets_on();
        }
        self.note_connected();
    }

    /// The same of bytes that lie beyond the furthest that have moved so far.
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

    /// Asks what became of a connection that was lost. The answers are no progress: a server that answers
    /// these and nothing else would be asked for ever.
    pub fn look_back<T>(&mut self, ask: impl FnOnce(&mut Self) -> T) -> T {
        self.route.iter_mut().for_each(|route| route.look_back(true));
        let answer = ask(self);
        self.route.iter_mut().for_each(|route| route.look_back(false));
        answer
    }

    /// The same of a transfer that goes on at `percent` of it.
    pub fn resumes(&mut self, percent: u64) {
        if std::mem::take(&mut self.was_lost) {
            self.output.note(format_args!("resumed at {percent}%"));
        }
    }

    /// What is at `path`.
    pub fn stat(&mut self, path: &VPath) -> Result<Entry, Failure> {
        match self.call(&Request::Stat { path: path.into() }) {
            Ok(Reply::Stat { entry, .. }) => Ok(entry),
            Ok(_) => Err(unexpected()),
            // A question about any entry demands directories only above it.
            Err(failure) if failure.is_refusal(ErrorCode::NotADirectory) => {
                Err(failure.reworded(format!("a directory above remote {path} is a file; choose another path")))
            }
            Err(failure) => Err(failure),
        }
    }

    /// What is at `path`, or `None` if nothing is.
    pub fn find(&mut self, path: &VPath) -> Result<Option<Entry>, Failure> {
        match self.stat(path) {
            Ok(entry) => Ok(Some(entry)),
            Err(failure) if failure.is_refusal(ErrorCode::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The path that `word` names from the current folder.
    pub fn path(&self, word: &Word) -> Result<VPath, Failure> {
        self.folder.join(&word.text).map_err(|error| Failure::Usage(format!("'{}': {error}", Escaped(&word.text))))
    }

    /// Asks a question whose answer is yes or no, or one about one of many things. There is somebody to ask.
    pub fn ask(&mut self, question: &str, is_one_of_many: bool) -> Result<Choice, Failure> {
        let interrupt = self.link.interrupt();
        match is_one_of_many {
            true => choose(&mut self.output, interrupt, question),
            false if confirm(&mut self.output, interrupt, question)? => Ok(Choice::Yes),
            false => Ok(Choice::No),
        }
    }

    /// After a command that failed: nobody waits for the rest of its answers, running transfers
    /// are cancelled, and the session is ready for the next command. That one connects without a pause, however
    /// often this one had tried: its user gave up, and may know that the server is back.
    pub fn recover(&mut self) {
        if let Some(route) = &mut self.route {
            route.gets_on();
        }
        self.link.interrupt().clear();
        self.link.abandon_all();
        self.link.flush_briefly(Duration::from_millis(500));
    }
}
