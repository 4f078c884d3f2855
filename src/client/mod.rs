//! The client, `berth`. This file starts it. A folder uses only folders of lower layers or of its own layer, and no two
//! folders use each other.
//!
//! | layer | folders |
//! |---|---|
//! | 0 | [`error`] [`interrupt`]: failures with their exit codes and advice; Ctrl-C |
//! | 1 | [`syntax`]: the table of commands, and how a command line is split into words, options and operands |
//! | 2 | [`files`]: local files, their names, times and permission bits |
//! | 3 | [`ui`]: results, progress, questions, listings and colours |
//! | 4 | [`connection`]: address, TLS, trust, login, requests and replies, and reconnecting after a lost connection |
//! | 5 | [`remote`] [`transfer`]: listings and patterns of the server's files; transfers, resumed and verified |
//! | 6 | [`commands`] [`mirror`]: what each command does |
//! | 7 | [`shell`]: reads, completes and runs commands |
//! | 8 | [`cli`]: the command line of `berth`, and the named hosts |
//!
//! The client does not know how a server works; tests connect to it through a [`connection::stream::Stream`] in memory.

pub mod cli;
pub mod commands;
pub mod connection;
pub mod error;
pub mod files;
pub mod interrupt;
pub mod mirror;
pub mod remote;
pub mod shell;
pub mod syntax;
pub mod transfer;
pub mod ui;

use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::base::virtual_path::VirtualPath;
use crate::wire::message::ErrorCode;
use cli::args::{Args, HOST};
use cli::command_line::HelpArgs;
use cli::destination::Destination;
use commands::directories;
use connection::endpoint::{Endpoint, FirstConnection};
use connection::link::Link;
use connection::password::{self, PasswordSource};
use connection::session::Session;
use connection::state::StateDirectory;
use connection::trust::Trust;
use error::{EXIT_DONE, Failure};
use interrupt::Interrupt;
use shell::script::Script;
use syntax::arguments::Arguments;
use syntax::command::find;
use syntax::lexer::Word;
use ui::confirm::terminal_can_answer;
use ui::failures::{failure_object, report_fatal};
use ui::output::Output;
use ui::progress::ProgressStyle;

/// Runs the command line and returns the exit code.
pub fn run(args: &Args) -> u8 {
    let mut output = Output::standard(args.json, args.quiet);
    output.is_verbose = args.verbose;
    output.is_one_shot = !args.command.is_empty();
    let source = match check_target(args).and_then(|()| CommandSource::new(args)) {
        Ok(source) => source,
        Err(failure) => return report_fatal(&mut output, &failure),
    };
    if source.has_content() {
        output.reserve_for_content();
    }
    let connected = Destination::from_args(args).and_then(|to| connect(args, &to, &mut output).map(|made| (made, to)));
    let (mut session, destination) = match connected {
        Ok(((link, endpoint), destination)) => (session(args, output, link, endpoint), destination),
        Err(failure) => return report_fatal(&mut output, &failure),
    };
    let server = cli::destination::name_of(args, &destination);
    if let Err(failure) = source.begin(&mut session, &destination, &server) {
        return report_fatal(&mut session.output, &failure);
    }
    crate::base::refusals::take().into_iter().for_each(|text| session.output.note(text));
    match source.run(&mut session, &server, args.keep_going) {
        Some(failure) => failure.exit_code(),
        None => EXIT_DONE,
    }
}

/// Shows help without a server and returns the exit code.
pub fn run_help(args: &HelpArgs) -> u8 {
    let mut output = Output::standard(args.json, args.quiet);
    let words: Vec<Word> = args.topics.iter().map(|topic| Word::plain(topic.as_bytes())).collect();
    let shown = commands::help::show(&mut output, &words).and_then(|()| output.flush());
    shown.map_or_else(|failure| report_fatal(&mut output, &failure), |()| EXIT_DONE)
}

/// Fails if a command stands in place of the server, as in `berth ls`, or if an unknown word follows `host`. A server
/// that is called `ls` can be written `ls:2121`, or with a command after it.
fn check_target(args: &Args) -> Result<(), Failure> {
    let is_command = |word: &str| find(word).is_ok();
    let word = args.command.first().and_then(|word| word.to_str());
    let has_command = word.is_some_and(is_command);
    if let Some(word) = word.filter(|word| args.target == HOST && !word.starts_with('-') && !is_command(word)) {
        return Err(Failure::UnknownCommand(Explanation::new(
            format!("unknown command '{}'", Escaped(word.as_bytes())),
            "'berth host' lists the commands for named hosts",
        )));
    }
    if !is_command(&args.target) || has_command || args.commands.is_some() || args.script.is_some() {
        return Ok(());
    }
    if cli::hosts::is_named(&args.target) {
        return Ok(());
    }
    let name = &args.target;
    Err(Failure::Usage(Explanation::new(
        format!("'{name}' is a command"),
        format!("name the server before it: berth [USER@]HOST {name} ..."),
    )))
}

/// Where the commands of a session come from.
enum CommandSource {
    /// The program's arguments or `-c`.
    Commands(Vec<Vec<Word>>),
    /// A file and its name.
    Script(std::fs::File, String),
    /// Standard input.
    Stdin,
    /// The user at a prompt.
    Shell,
}

impl CommandSource {
    /// Reads the commands. Refuses invalid ones before the client connects.
    fn new(args: &Args) -> Result<Self, Failure> {
        let commands = if let Some(text) = &args.commands {
            syntax::lexer::split(text.as_bytes()).map_err(|error| Failure::Usage(format!("-c: {error}").into()))?
        } else if !args.command.is_empty() {
            if let Some(option) = args.command[0].to_str().filter(|word| word.starts_with('-')) {
                let option = Escaped(option.as_bytes());
                return Err(Failure::Usage(Explanation::new(
                    format!("unknown option '{option}'"),
                    "'berth --help' lists the options",
                )));
            }
            vec![args.command.iter().map(|word| Word::plain(word.as_bytes())).collect()]
        } else {
            return match &args.script {
                Some(path) if path != Path::new("-") => {
                    Ok(Self::Script(shell::script::open(path)?, files::local::shown(path).to_string()))
                }
                None if std::io::stdin().is_terminal() => Ok(Self::Shell),
                _ => Ok(Self::Stdin),
            };
        };
        shell::script::check(&commands)?;
        Ok(Self::Commands(commands))
    }

    /// Returns whether standard output will carry the content of a file.
    fn has_content(&self) -> bool {
        matches!(self, Self::Commands(commands) if commands.iter().any(|words| commands::get::is_to_stdout(words)))
    }

    /// Enters the directories of the destination. The local directory applies only to the shell, because paths
    /// on the command line are relative to the user's current directory. `server` is the user's name for the server.
    fn begin(&self, session: &mut Session, destination: &Destination, server: &str) -> Result<(), Failure> {
        if let Some(directory) = destination.local_directory.as_ref().filter(|_| matches!(self, Self::Shell)) {
            let directory = files::patterns::at_home(directory);
            if let Err(error) = std::env::set_current_dir(&directory) {
                let failure = Failure::missing_local_directory(&directory, &error);
                let file = cli::hosts::setting(server, "local_directory");
                session.output.error(format_args!(
                    "berth: the `local_directory` of this host cannot be opened: {failure}; create it, or change {file}"
                ));
            }
        }
        match &destination.directory {
            Some(directory) => {
                let path = session.path(&Word::plain(directory.as_bytes()))?;
                let entered = directories::enter(session, path.clone());
                match entered {
                    Err(failure) if !failure.ends_session() => {
                        let remedy = directory_remedy(&path, &failure, server);
                        let problem = format!("the `directory` of this host cannot be opened: {}", failure.problem());
                        let why = Explanation::new(problem, remedy);
                        if !self.needs_no_directory() {
                            return Err(Failure::Local(why));
                        }
                        session.output.error(format_args!("berth: {why}"));
                        Ok(())
                    }
                    entered => entered,
                }
            }
            None => Ok(()),
        }
    }

    /// Returns whether a missing start directory is harmless. A user at the prompt notices it. Other commands
    /// are safe only if all their paths are absolute.
    fn needs_no_directory(&self) -> bool {
        match self {
            Self::Shell => true,
            Self::Commands(commands) => commands.iter().all(|words| names_only_absolute_paths(words)),
            Self::Script(..) | Self::Stdin => false,
        }
    }

    /// Runs the commands. `server` is the user's name for the server.
    fn run(self, session: &mut Session, server: &str, keep_going: bool) -> Option<Failure> {
        match self {
            Self::Commands(commands) => Script::new(keep_going).run(session, &commands),
            Self::Script(input, name) => Script::new(keep_going).run_lines(session, &name, input),
            Self::Stdin => {
                session.stdin_is_script = true;
                Script::new(keep_going).run_lines(session, "", std::io::stdin())
            }
            Self::Shell => {
                let end = shell::prompt::run(session, server);
                if let Some(failure) = &end {
                    report_fatal(&mut session.output, failure);
                }
                end
            }
        }
    }
}

/// Returns whether the command means the same in every remote directory.
fn names_only_absolute_paths(words: &[Word]) -> bool {
    let Some((name, words)) = words.split_first() else { return true };
    find(name.as_str()).is_ok_and(|command| Arguments::read(command, words).names_only_absolute_paths())
}

/// Returns the advice for a `directory` of the host `server` that cannot be opened.
fn directory_remedy(path: &VirtualPath, failure: &Failure, server: &str) -> String {
    let change = format!("change {}", cli::hosts::setting(server, "directory"));
    match failure.is_refusal(ErrorCode::NotFound) {
        true => format!("create it with 'berth {server} {}', or {change}", syntax::advice::remote("mkdir -p", path)),
        false => change,
    }
}

fn session(args: &Args, output: Output, link: Link, endpoint: Endpoint) -> Session {
    let progress = ProgressStyle::choose(args.quiet, args.no_progress);
    let session = Session::new(link, endpoint, output, StateDirectory::open(), progress);
    Session { may_ask: terminal_can_answer(), ..session }
}

/// Connects and logs in.
fn connect(args: &Args, destination: &Destination, output: &mut Output) -> Result<(Link, Endpoint), Failure> {
    let target = destination.target.clone();
    let user_from_environment =
        || ["USER", "LOGNAME"].iter().filter_map(|name| std::env::var(name).ok()).find(|it| !it.is_empty());
    let user = target.user.filter(|user| !user.is_empty()).or_else(user_from_environment);
    let user = user.ok_or_else(|| {
        let name = Escaped(args.target.as_bytes());
        Failure::Usage(match cli::hosts::may_be_named(&args.target) {
            true => Explanation::new(
                format!("'{name}' is not a named host ('berth host list')"),
                format!("for a server write USER@{name}"),
            ),
            false => Explanation::new("the user name is missing", format!("write USER@{name}")),
        })
    })?;
    let (host, port, retries) = (target.host, target.port, args.retries);
    let interrupt = Interrupt::default();
    interrupt.listen().map_err(|error| Failure::Local(format!("cannot listen to signals: {error}").into()))?;
    let trust = match destination.plaintext {
        true => None,
        false => Some(Trust::of(&StateDirectory::open(), &host, port, destination.fingerprint)?),
    };
    let remark = if destination.plaintext { "this connection is not encrypted\n" } else { "" };
    let source = PasswordSource::choose(
        args.password_file.as_deref(),
        args.password_command.as_deref(),
        destination.password_command.as_deref(),
    );
    let first = FirstConnection { host, port, user: user.clone(), trust, tries: source.tries(), retries };
    let ask = |interrupt: &Interrupt| password::ask(source.clone(), &user, remark, interrupt);
    first.connect(interrupt, args.accept_new, output, ask)
}

/// Returns the JSON object for invalid arguments.
pub fn usage_object(error: &clap::Error) -> serde_json::Value {
    let text = error.to_string();
    let problem = text.lines().next().unwrap_or_default();
    failure_object("berth", &Failure::Usage(problem.trim_start_matches("error: ").into()))
}
