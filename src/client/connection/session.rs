//! A logged-in session: the link, the current directory and the output. Commands send their requests through
//! it. It knows no command.

use std::time::Duration;

use crate::base::explanation::Explanation;
use crate::base::text::{Escaped, shortened};
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::endpoint::Endpoint;
use crate::client::connection::incoming::Event;
use crate::client::connection::link::Link;
use crate::client::connection::repeated_request::{interpret_reply, is_idempotent};
use crate::client::connection::state::StateDirectory;
use crate::client::error::{Failure, unexpected};
use crate::client::syntax::lexer::Word;
use crate::client::ui::confirm::{Choice, choose, confirm};
use crate::client::ui::output::Output;
use crate::client::ui::progress::ProgressStyle;
use crate::wire::message::{Entry, ErrorCode, Name};
use crate::wire::{Reply, Request};

/// A message repeats at most this many bytes of a name that is too long.
const SHOWN_NAME_BYTES_MAX: usize = 80;

/// A logged-in session that survives lost connections.
pub struct Session {
    /// The connection, logged in.
    pub link: Link,
    /// The current remote directory.
    pub directory: VirtualPath,
    /// The previous remote directory, for `cd -`.
    pub previous_directory: Option<VirtualPath>,
    /// Where results and messages go.
    pub output: Output,
    /// What the client remembers between runs.
    pub state: StateDirectory,
    /// How transfers show their progress.
    pub progress: ProgressStyle,
    /// `user@host:port`, which separates the records of different servers.
    pub peer: String,
    /// Whether the user can answer questions.
    pub may_ask: bool,
    /// Standard input holds the commands, so it cannot be the content of a file.
    pub stdin_is_script: bool,
    /// How to reconnect; `None` if a lost connection ends the session.
    pub endpoint: Option<Endpoint>,
    /// The session has reconnected, and the user has not been told yet that the new connection works.
    pub was_lost: bool,
}

/// The progress of [`Session::call_each`], as numbers of requests: `answered <= sent`. After a lost connection,
/// `answered..repeated` are the requests that the server may have carried out already.
#[derive(Default)]
struct CallProgress {
    answered: usize,
    sent: usize,
    /// The largest number of requests that were sent on connections that were lost.
    repeated: usize,
}

impl CallProgress {
    /// Notes that the connection was lost. All requests without a reply are sent again.
    fn repeat(&mut self) {
        self.repeated = self.repeated.max(self.sent);
        self.sent = self.answered;
    }

    /// Returns whether `request`, whose reply comes next, may have been carried out on a lost connection and must not
    /// be carried out twice.
    fn is_doubtful(&self, request: &Request) -> bool {
        self.answered < self.repeated && !is_idempotent(request)
    }

    /// Returns how many requests may be sent now. A request that may have been carried out is sent alone, so that
    /// its effect can be checked.
    fn sent_max(&self, requests: &[Request]) -> usize {
        if self.is_doubtful(&requests[self.answered]) {
            return self.answered + 1;
        }
        (self.answered..self.repeated).find(|at| !is_idempotent(&requests[*at])).unwrap_or(requests.len())
    }
}

impl Session {
    /// Creates a session that asks no questions and starts in the home directory.
    pub fn new(link: Link, endpoint: Endpoint, output: Output, state: StateDirectory, progress: ProgressStyle) -> Self {
        Self {
            link,
            directory: VirtualPath::root(),
            previous_directory: None,
            output,
            state,
            progress,
            peer: endpoint.peer(),
            may_ask: false,
            stdin_is_script: false,
            endpoint: Some(endpoint),
            was_lost: false,
        }
    }

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
        let mut calls = CallProgress::default();
        while let Some(request) = requests.get(calls.answered) {
            let result = self.retry(
                &mut calls,
                |session, calls| session.exchange(&requests[..calls.sent_max(requests)], &mut calls.sent),
                |_, calls| {
                    calls.repeat();
                    Ok(())
                },
            );
            let mut result =
                result.map_err(|failure| match requests[calls.answered..calls.sent].iter().all(is_idempotent) {
                    true => failure,
                    false => self.result_unknown(failure),
                })?;
            if calls.is_doubtful(request) {
                result = self.interpret_repeated(request, result);
            }
            on_reply(self, calls.answered, result);
            calls.answered += 1;
        }
        Ok(())
    }

    /// Interprets the reply to a request that may have been carried out before.
    fn interpret_repeated(&mut self, request: &Request, reply: Result<Reply, Failure>) -> Result<Reply, Failure> {
        let kind_at = |path: &Name| match self.call(&Request::Stat { path: path.clone() }) {
            Ok(Reply::Stat { entry, .. }) => Ok(Some(entry.kind)),
            Ok(_) => Err(unexpected()),
            Err(failure) if failure.is_refusal(ErrorCode::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        };
        let (reply, remark) = interpret_reply(request, reply, kind_at)?;
        if let Some(remark) = remark {
            self.output.note(remark);
        }
        Ok(reply)
    }

    /// Sends as many of `requests` as fit, after the first `sent`, and receives the next reply.
    fn exchange(&mut self, requests: &[Request], sent: &mut usize) -> Result<Result<Reply, Failure>, Failure> {
        while *sent < requests.len() && self.link.has_room() {
            self.link.request(&requests[*sent])?;
            *sent += 1;
        }
        match self.link.receive()?.event {
            Event::Reply(Reply::Error(error)) => Ok(Err(Failure::Refused(error))),
            Event::Reply(reply) => Ok(Ok(reply)),
            _ => Err(unexpected()),
        }
    }

    /// Adds to `failure` that the last request may have been carried out.
    fn result_unknown(&mut self, failure: Failure) -> Failure {
        let (problem, advice) = ("the result of the last request is not known", "check before you repeat it");
        match failure {
            Failure::Lost(why) => {
                Failure::Connection(Explanation::new(format!("connection lost: {why}; {problem}"), advice))
            }
            failure => {
                self.output.error(format_args!("{problem}; {advice}"));
                failure
            }
        }
    }

    /// Returns the entry at `path`.
    pub fn stat(&mut self, path: &VirtualPath) -> Result<Entry, Failure> {
        match self.call(&Request::Stat { path: path.into() }) {
            Ok(Reply::Stat { entry, .. }) => Ok(entry),
            Ok(_) => Err(unexpected()),
            // A request about an entry requires directories only above it.
            Err(failure) if failure.is_refusal(ErrorCode::NotADirectory) => Err(failure.reworded(Explanation::new(
                format!("a directory above remote {path} is a file"),
                "choose another path",
            ))),
            Err(failure) => Err(failure),
        }
    }

    /// Returns the entry at `path`, or `None` if nothing exists there.
    pub fn find(&mut self, path: &VirtualPath) -> Result<Option<Entry>, Failure> {
        match self.stat(path) {
            Ok(entry) => Ok(Some(entry)),
            Err(failure) if failure.is_refusal(ErrorCode::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Resolves `word` against the current directory.
    pub fn path(&self, word: &Word) -> Result<VirtualPath, Failure> {
        self.directory.join(&word.text).map_err(|error| {
            let name = shortened(Escaped(&word.text).to_string(), SHOWN_NAME_BYTES_MAX);
            Failure::Usage(format!("'{name}': {error}").into())
        })
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

    /// Prepares the session for the next command after one that failed. Abandons pending replies and cancels running
    /// transfers.
    pub fn recover(&mut self) {
        // The next command reconnects without a long pause: a user who runs one may know that the server is back.
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.note_progress();
        }
        self.link.interrupt().clear();
        self.link.abandon_all();
        self.link.flush_briefly(Duration::from_millis(500));
    }
}
