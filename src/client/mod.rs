//! The client, `berth`. From the wire up:
//!
//! - `pipe` moves bytes without blocking; only it touches a socket. `tls_pipe` encrypts them,
//!   `trust` knows to whom. `outgoing` is the queue.
//! - `link` is the conversation: requests out, answers in, in order, reading while it writes.
//! - `args` is the command line, `hosts` the servers that have a name, which `host_commands` keep.
//! - `route` leads to a server, the first time and again when the connection was lost; `login` and
//!   `password` make a `session` of it: a link, a current folder, an `output`; `repeat` knows what
//!   may be asked twice; `lookup` finds what is at the server.
//! - `upload` and `download` move files, `beside` on two connections, `stream` the content of one through a pipe, `mirror` plans
//!   trees of them but for its `exclusions`; `local` opens them here, `part` keeps what arrives safe
//!   under one of its `part_names`, `progress` shows them at their `pace`, `state` remembers them
//!   between runs, `unfinished_tree` whole trees.
//! - `output` tells what came of it: `results`, for whoever reads them, and remarks.
//! - `command` is the table of commands, `commands` what they do, `words` how they
//!   are written, `listing`, `colors`, `transfer` and `tally` what they tell.
//! - `shell`, with its `history`, and `script` carry them out; `outcome` turns failures into exit codes.
//!
//! Nothing here knows how a server works; tests talk to it through a [`pipe::Pipe`] in memory.

pub mod args;
pub mod beside;
pub mod colors;
pub mod command;
pub mod commands;
pub mod completion;
pub mod confirm;
pub mod download;
pub mod exclusions;
pub mod folder_cache;
pub mod history;
pub mod host_commands;
pub mod hosts;
pub mod incoming;
pub mod interrupt;
pub mod link;
pub mod listing;
pub mod local;
pub mod login;
pub mod lookup;
pub mod mirror;
pub mod outcome;
pub mod outgoing;
pub mod output;
pub mod pace;
pub mod part;
pub mod part_names;
pub mod password;
pub mod pipe;
pub mod progress;
pub mod repeat;
pub mod results;
pub mod route;
pub mod script;
pub mod session;
pub mod shell;
pub mod state;
pub mod stream;
pub mod tally;
pub mod tls_pipe;
pub mod transfer;
pub mod trust;
pub mod unfinished_tree;
pub mod upload;
pub mod words;

use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use args::Args;
use commands::folders;
use confirm::terminal_can_answer;
use hosts::Destination;
use interrupt::Interrupt;
use link::Link;
use outcome::{EXIT_DONE, Failure};
use output::Output;
use progress::Style;
use route::{Contact, Route};
use script::Script;
use session::Session;
use state::StateFolder;
use tally::failure_object;
use trust::Trust;
use words::Word;

use crate::text::Escaped;
use crate::vpath::VPath;

/// Does what the command line asks for and returns the exit code.
pub fn run(args: &Args) -> u8 {
    let mut output = Output::standard(args.json, args.quiet);
    let work = match check_target(args).and_then(|()| Work::new(args)) {
        Ok(work) => work,
        Err(failure) => return give_up(&mut output, &failure),
    };
    let connected = Destination::of(args).and_then(|to| connect(args, &to, &mut output).map(|made| (made, to)));
    let (mut session, destination) = match connected {
        Ok(((link, route), destination)) => (session(args, output, link, route), destination),
        Err(failure) => return give_up(&mut output, &failure),
    };
    if let Err(failure) = work.begin(&mut session, &destination) {
        return give_up(&mut session.output, &failure);
    }
    crate::refusals::take().into_iter().for_each(|text| session.output.note(text));
    match work.run(&mut session, args.keep_going) {
        Some(failure) => failure.exit_code(),
        None => EXIT_DONE,
    }
}

/// Refuses a command where the server is to stand. One that is called so is reached by a port or with a
/// command behind it.
fn check_target(args: &Args) -> Result<(), Failure> {
    let is_command = |word: &str| command::find(word).is_ok();
    let has_command = args.command.first().and_then(|word| word.to_str()).is_some_and(is_command);
    if !is_command(&args.target) || has_command || args.commands.is_some() || args.script.is_some() {
        return Ok(());
    }
    if hosts::is_named(&args.target) {
        return Ok(());
    }
    let name = &args.target;
    let text = format!("'{name}' is a command, and the server is missing: berth [USER@]HOST {name} ...");
    Err(Failure::Usage(text))
}

/// What is to be done once we are logged in.
enum Work {
    Commands(Vec<Vec<Word>>),
    Script(std::fs::File),
    /// A script from standard input.
    Stdin,
    Shell,
}

impl Work {
    /// Refuses what cannot be done before anybody connects.
    fn new(args: &Args) -> Result<Self, Failure> {
        let commands = if let Some(text) = &args.commands {
            words::split(text.as_bytes()).map_err(|error| Failure::Usage(format!("-c: {error}")))?
        } else if !args.command.is_empty() {
            vec![args.command.iter().map(|word| Word::plain(word.as_bytes())).collect()]
        } else {
            return match &args.script {
                Some(path) if path != Path::new("-") => Ok(Self::Script(script::open(path)?)),
                None if std::io::stdin().is_terminal() => Ok(Self::Shell),
                _ => Ok(Self::Stdin),
            };
        };
        script::check(&commands)?;
        Ok(Self::Commands(commands))
    }

    /// Goes where the destination says. What is named on the command line is looked for where the
    /// user is, so that only the shell goes elsewhere here.
    fn begin(&self, session: &mut Session, destination: &Destination) -> Result<(), Failure> {
        if let Some(folder) = destination.local_directory.as_ref().filter(|_| matches!(self, Self::Shell)) {
            let folder = commands::local::at_home(folder);
            std::env::set_current_dir(&folder).map_err(|error| Failure::local(&folder, &error))?;
        }
        match &destination.directory {
            Some(folder) => {
                let path = session.path(&Word::plain(folder.as_bytes()))?;
                let entered = folders::enter(session, path.clone());
                match entered {
                    Err(failure) if !failure.ends_session() => {
                        let text = format!(
                            "{path}, the `directory` of this host, cannot be gone to: {failure}; \
                             'berth host add --replace' sets another"
                        );
                        if !matches!(self, Self::Shell) {
                            return Err(Failure::Local(text));
                        }
                        session.output.complain(format_args!("berth: {text}"));
                        Ok(())
                    }
                    entered => entered,
                }
            }
            None => Ok(()),
        }
    }

    fn run(self, session: &mut Session, keep_going: bool) -> Option<Failure> {
        match self {
            Self::Commands(commands) => Script::new(keep_going).run(session, &commands),
            Self::Script(input) => Script::new(keep_going).run_lines(session, input),
            Self::Stdin => {
                session.stdin_is_script = true;
                Script::new(keep_going).run_lines(session, std::io::stdin())
            }
            Self::Shell => {
                let end = shell::run(session);
                if let Some(failure) = &end {
                    give_up(&mut session.output, failure);
                }
                end
            }
        }
    }
}

fn session(args: &Args, output: Output, link: Link, route: Route) -> Session {
    Session {
        link,
        folder: VPath::root(),
        output,
        state: StateFolder::of_user(),
        progress: Style::choose(args.quiet, args.no_progress),
        peer: route.peer(),
        route: Some(route),
        may_ask: terminal_can_answer(),
        stdin_is_script: false,
        was_lost: false,
    }
}

/// Connects and logs in.
fn connect(args: &Args, destination: &Destination, output: &mut Output) -> Result<(Link, Route), Failure> {
    let target = destination.target.clone();
    let of_login = || ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = target.user.or_else(of_login).filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| {
        let name = Escaped(args.target.as_bytes());
        let text = format!("'{name}' is not a named host ('berth host list'); for a server write USER@{name}");
        Failure::Usage(text)
    })?;
    let (host, port, retries) = (target.host, target.port, args.retries);
    let interrupt = Interrupt::default();
    interrupt.listen().map_err(|error| Failure::Local(format!("cannot listen to signals: {error}")))?;
    let trust = match destination.plaintext {
        true => None,
        false => Some(Trust::of(&StateFolder::of_user(), &host, port, destination.fingerprint)?),
    };
    let remark = if destination.plaintext { "this connection is not encrypted\n" } else { "" };
    let source = password::Source::choose(args, destination);
    let contact = Contact { host, port, user: user.clone(), trust, tries: source.tries(), retries };
    let ask = |interrupt: &Interrupt| password::ask(source.clone(), &user, remark, interrupt);
    contact.connect(interrupt, args.accept_new, output, ask)
}

fn give_up(output: &mut Output, failure: &Failure) -> u8 {
    let _ = output.flush();
    if *failure != Failure::OutputClosed {
        output.complain(format_args!("berth: {failure}"));
        // The exit code tells it too.
        let _ = output.json(&failure_object("berth", failure)).and_then(|()| output.flush());
    }
    failure.exit_code()
}
