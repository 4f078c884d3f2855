//! The task of one `berth` run: commands on a server, named hosts, or help, which needs neither. This module
//! knows no network.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::client::cli::args::{Args, HOST, HostArgs};
use crate::client::cli::hosts::is_named;
use crate::client::commands::help;
use crate::client::syntax::command::find;
use crate::client::ui::output::Output;

/// What one run of `berth` does.
pub enum Invocation {
    /// Run commands on a server.
    Session(Args),
    /// Show or change named hosts, without a connection.
    Hosts(HostArgs),
    /// Show help for one command or for all, without a connection.
    Help(HelpArgs),
}

/// The topics and the output options of a help request.
#[derive(Debug)]
pub struct HelpArgs {
    /// The words after `help`.
    pub topics: Vec<OsString>,
    /// Whether the output is one JSON object on each line.
    pub json: bool,
    /// Whether messages are suppressed, except errors.
    pub quiet: bool,
}

impl Invocation {
    /// Reads the arguments; the first is the program's name. `berth host` manages named hosts if nothing or one
    /// of its subcommands follows. These subcommands differ from the commands on a server, so a server called `host`
    /// can still be used.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let args = match parse(&arguments) {
            // `berth get --help`.
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                return help_for_command(&arguments).map(Self::Help).ok_or(error);
            }
            parsed => parsed?,
        };
        if !is_about_hosts(&args) {
            return Ok(match help_topics(&args) {
                Some(topics) => Self::Help(HelpArgs { topics, json: args.json, quiet: args.quiet }),
                None => Self::Session(args),
            });
        }
        let mut hosts = HostArgs::try_parse_from([HOST.into()].into_iter().chain(args.command))?;
        hosts.json |= args.json;
        hosts.quiet = args.quiet;
        Ok(Self::Hosts(hosts))
    }
}

fn is_about_hosts(args: &Args) -> bool {
    let is_host_subcommand =
        |word: &OsString| word == "help" || HostArgs::command().get_subcommands().any(|known| word == known.get_name());
    let is_host = args.target == HOST && args.commands.is_none() && args.script.is_none();
    is_host && args.command.first().is_none_or(is_host_subcommand)
}

fn parse(arguments: &[OsString]) -> Result<Args, clap::Error> {
    let columns = Output::standard(false, true).columns().unwrap_or(HELP_COLUMNS);
    let more = format!("Commands:\n{}\n\n{}", help::overview(columns), help::wrap_lines(AFTER_HELP, 0, columns));
    let command = Args::command().after_help(more).term_width(columns);
    Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// Returns the help request of `berth [--json] [--quiet] COMMAND --help`, in which clap takes COMMAND as the server.
fn help_for_command(arguments: &[OsString]) -> Option<HelpArgs> {
    let (last, before) = arguments.get(1..)?.split_last()?;
    let (word, options) = before.split_last()?;
    let is_asked = last == "--help" && options.iter().all(|option| option == "--json" || option == "--quiet");
    let given = |name: &str| options.iter().any(|option| option == name);
    (is_asked && is_unnamed_command(word)).then(|| HelpArgs {
        topics: vec![word.clone()],
        json: given("--json"),
        quiet: given("--quiet"),
    })
}

/// Returns whether `word` is a command and no host has this name.
fn is_unnamed_command(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| find(word).is_ok() && !is_named(word))
}

/// The width of help that does not go to a terminal.
const HELP_COLUMNS: usize = 80;

const AFTER_HELP: &str = "'berth help COMMAND' explains a command. Without a command, berth opens a shell.\n\
    'berth host add NAME HOST' stores a server under a name; 'berth host' has more.\n\
    Exit: 0 done, 1 a command failed, 2 usage, 3 connection, 4 login, 5 verification, 6 quota or disk full, \
    130 interrupted.";

/// Returns the topics of a help request: `help` in place of the server or as the command, or `--help` after a
/// command.
fn help_topics(args: &Args) -> Option<Vec<OsString>> {
    if args.commands.is_some() || args.script.is_some() {
        return None;
    }
    let words: Vec<&OsStr> = match is_unnamed_command(OsStr::new(&args.target)) {
        true => [OsStr::new(&args.target)].into_iter().chain(args.command.iter().map(OsString::as_os_str)).collect(),
        false => args.command.iter().map(OsString::as_os_str).collect(),
    };
    let owned = |words: &[&OsStr]| words.iter().map(|word| word.to_os_string()).collect();
    match words[..] {
        [word, ref topics @ ..] if word.to_str().is_some_and(is_help) => Some(owned(topics)),
        [word, ref rest @ .., last] if last == "--help" && word != "!" && !rest.contains(&OsStr::new("--")) => {
            is_unnamed_command(word).then(|| owned(&[word]))
        }
        _ => None,
    }
}

/// Returns whether `word` is the command `help`, under any of its names.
fn is_help(word: &str) -> bool {
    find(word).is_ok_and(|command| command.name == "help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_host_means_named_hosts_only_where_no_server_can_be_meant() {
        let is_hosts = |line: &str| match Invocation::read(line.split(' ').map(Into::into)) {
            Ok(Invocation::Hosts(_)) => true,
            Ok(Invocation::Session(_) | Invocation::Help(_)) => false,
            // The help that `berth host` alone shows.
            Err(error) => error.to_string().contains("berth host"),
        };
        for line in
            ["host", "host add nas ann@nas", "--json host list", "host list --json", "host remove a b", "host help"]
        {
            assert!(is_hosts(&format!("berth {line}")), "{line}");
        }
        for line in ["host ls", "host put add", "host -c add", "host:2121", "ann@host", "ann@host add", "nas host"] {
            assert!(!is_hosts(&format!("berth {line}")), "{line}");
        }
        let words = HostArgs::command();
        for word in words.get_subcommands().map(clap::Command::get_name) {
            assert!(
                crate::client::syntax::command::find(word).is_err(),
                "'{word}' would be a command at a server called host"
            );
        }
    }
}
