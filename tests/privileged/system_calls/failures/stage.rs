//! Runs an operation, with and without a failing system call.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::super::trace::{self, Call, watched};
use super::cases::{Case, shape};
use super::ftp::Ftp;
use super::judgement::{difference, problems};
use super::operations::{Operation, Run, told};
use super::scene::{ACCOUNT, Outcome, Scene, Tracer, Tree};
use crate::support::ftp_client::listening;
use crate::support::{Server, holds_within};

/// What was found after an operation.
pub(super) struct Found {
    pub(super) outcome: Outcome,
    pub(super) calls: Vec<Call>,
    pub(super) tree: Tree,
    pub(super) leftovers: Vec<String>,
    pub(super) server: Result<(), String>,
}

/// An operation that can be carried out again and again.
pub(super) struct Stage<'a> {
    pub(super) scene: &'a Scene,
    pub(super) operation: &'a Operation,
    pub(super) is_at_client: bool,
}

impl Stage<'_> {
    /// A server before the operation, and the tree there is.
    pub(super) fn begin(&self) -> (Server, Tree) {
        self.scene.reset();
        let mut server = self.scene.place.serve();
        (self.operation.prepare)(self.scene, &mut server);
        (server, self.scene.tree())
    }

    /// Runs the operation. Where it fails, strace does so with these options.
    pub(super) fn run(&self, server: &Server, options: Option<&[&str]>) -> Outcome {
        let place = &self.scene.place;
        let attach = || match options {
            Some(options) if !self.is_at_client => Some(Tracer::attach(place, server, options)),
            _ => None,
        };
        let (outcome, tracer) = match self.operation.run {
            Run::Admin(words) => {
                let mut outcome = self.scene.run(self.watched(place.berthd(words), options));
                outcome.output = fs::read_to_string(place.path(ACCOUNT)).unwrap_or_default();
                (outcome, None)
            }
            Run::Berth(words) | Run::Question(words) => {
                let tracer = attach();
                let target = server.target("ann");
                let command = place.berth(&[&["--quiet", "--retries", "0", &target], words].concat());
                let mut outcome = self.scene.run(self.watched(command, options));
                if matches!(self.operation.run, Run::Berth(_)) {
                    outcome.output.clear();
                }
                (outcome, tracer)
            }
            Run::Session(run) => {
                let mut tracer = if self.operation.is_login { attach() } else { None };
                let session = Ftp::connect(listening(server, "ftp")).and_then(|mut ftp| {
                    let reply = ftp.log_in()?;
                    tracer = tracer.take().or_else(attach);
                    if reply.is_success() { run(&mut ftp, self.scene) } else { Ok(told(reply)) }
                });
                (session.unwrap_or_else(Outcome::none), tracer)
            }
        };
        if let Some(tracer) = tracer {
            tracer.detach();
        }
        outcome
    }

    /// A command at whose system calls strace looks, if they are those that fail.
    fn watched(&self, command: Command, options: Option<&[&str]>) -> Command {
        match options {
            Some(options) if self.is_at_client => {
                watched(&command, &trace::file(&self.scene.place), "all", &[&["-s", "0"], options].concat())
            }
            _ => command,
        }
    }

    /// Runs it, and looks at everything.
    pub(super) fn watch(&self, server: &mut Server, options: Option<&[&str]>) -> Found {
        let outcome = self.run(server, options);
        let calls = match options {
            Some(_) if self.is_at_client => trace::read(&self.scene.place),
            Some(_) => trace::so_far(&self.scene.place),
            None => Vec::new(),
        };
        let checked = self.scene.check_server(server);
        Found { outcome, calls, tree: self.scene.tree(), leftovers: self.scene.leftovers(), server: checked }
    }
}

/// Descriptors of a server whose sessions are about to end.
pub(super) fn settled_descriptors(server: &Server) -> usize {
    let mut least = server.program.descriptors();
    while holds_within(Duration::from_millis(200), || server.program.descriptors() < least) {
        least = server.program.descriptors();
    }
    least
}

/// What came of trying a case.
pub(super) enum Try {
    Right,
    /// The call did not come: what is read from a socket comes in other pieces each time.
    Missed,
    ParseError(String),
}

pub(super) fn attempt(stage: &Stage<'_>, case: &Case, right: &Found, descriptors: usize) -> Try {
    let (mut server, before) = stage.begin();
    let calls = format!("trace={}", case.call);
    let inject = format!("inject={}:error={}:when={}", case.call, case.error, case.when);
    let found = stage.watch(&mut server, Some(&["-e", &calls, "-e", &inject]));
    let is_hit = |call: &Call| call.is_injected && shape(&stage.scene.place, call).unwrap_or_default() == case.path;
    if !found.calls.iter().any(is_hit) && found.server.is_ok() {
        return Try::Missed;
    }
    let mut problems = problems(case, &before, right, &found);
    if found.tree != right.tree && found.server.is_ok() {
        let again = stage.watch(&mut server, None);
        if !again.outcome.is_done {
            problems.push(format!("again refused, without a failure: {}", again.outcome.words));
        } else if again.tree != right.tree {
            problems.push(format!("done again, but {}", difference(&again.tree, &right.tree)));
        } else if !again.leftovers.is_empty() {
            problems.push(format!("done again, but left: {:?}", again.leftovers));
        }
        problems.extend(again.server.err());
    }
    if !server.program.is_over()
        && !holds_within(Duration::from_secs(3), || server.program.descriptors() <= descriptors)
    {
        problems.push(format!("{} descriptors instead of {descriptors}", server.program.descriptors()));
    }
    if server.program.stderr().contains("panicked") {
        problems.push(server.program.stderr());
    }
    if problems.is_empty() {
        return Try::Right;
    }
    let words = found.outcome.words.trim_end();
    Try::ParseError(format!("{} on {}: {}\n    told: {words}", case.name, case.path, problems.join("; ")))
}
