//! The arguments of `berth`. This module knows no network and no commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::config::PORT_DEFAULT;
use crate::tls::Fingerprint;

/// The number of reconnect attempts without progress. With the pauses between them they take about a minute and a
/// half, in which a machine can reboot.
const RETRIES_DEFAULT: u32 = 7;
/// The largest number of retries that can be configured: more than a day.
const RETRIES_MAX: u32 = 10_000;

/// The word that stands in place of the server to manage named hosts.
pub const HOST: &str = "host";

/// Transfers files to and from a berth server, with verification and resume
#[derive(Debug, Parser)]
#[command(name = "berth", version, override_usage = "berth [OPTIONS] [USER@]HOST[:PORT] [COMMAND [ARG]...]")]
pub struct Args {
    /// Run these commands, separated by ';'
    #[arg(short = 'c', value_name = "CMD; CMD", conflicts_with = "command")]
    pub commands: Option<OsString>,
    /// Run the commands in FILE, one a line; - is standard input
    #[arg(short = 'f', value_name = "FILE", conflicts_with_all = ["command", "commands"])]
    pub script: Option<PathBuf>,
    /// Continue after a command fails
    #[arg(long)]
    pub keep_going: bool,
    /// Print each result as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print only results and errors
    #[arg(long)]
    pub quiet: bool,
    /// Show the digests of the files that get and put transfer
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// Show no progress bar
    #[arg(long)]
    pub no_progress: bool,
    /// Read the password from FILE, which no other user may read (default: $BERTH_PASSWORD, or a prompt)
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Run CMD with /bin/sh; the first line of its output is the password
    #[arg(long, value_name = "CMD", conflicts_with = "password_file")]
    pub password_command: Option<String>,
    /// Accept only the server with this key
    #[arg(long, value_name = "SHA256:...")]
    pub fingerprint: Option<Fingerprint>,
    /// Trust a new server without asking
    #[arg(long)]
    pub accept_new: bool,
    /// Try N times to restore a lost connection; 0 means never
    #[arg(long, value_name = "N", default_value_t = RETRIES_DEFAULT, allow_negative_numbers = true,
          value_parser = parse_retries)]
    pub retries: u32,
    /// Do not encrypt; the server must allow it
    #[arg(long, conflicts_with_all = ["fingerprint", "accept_new"])]
    pub plaintext: bool,
    /// The server, or the name of a host from 'berth host add'
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    pub target: String,
    /// The command to run; without it, berth opens a shell
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Store servers under names, in berth.json in the configuration directory.
#[derive(Debug, Parser)]
#[command(
    name = "host",
    bin_name = "berth host",
    arg_required_else_help = true,
    after_help = "Write host:2121 for a server that is called 'host'."
)]
pub struct HostArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub command: HostCommand,
    /// Print each host as one line of JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Set from [`Args::quiet`]: `--quiet` before `host` applies here too.
    #[arg(skip)]
    pub quiet: bool,
}

/// The subcommands of `berth host`.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Store a server under a name: 'berth NAME' connects to it
    Add(AddHostArgs),
    /// List the named hosts
    List,
    /// Remove named hosts
    Remove {
        /// The names of the hosts
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// The arguments of `berth host add`.
#[derive(Debug, clap::Args)]
pub struct AddHostArgs {
    /// Letters, digits, '.', '-' and '_'; begins with a letter or digit
    pub name: String,
    /// The server and the account
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    pub target: String,
    /// Accept only the server with this key
    #[arg(long, value_name = "SHA256:...")]
    pub fingerprint: Option<Fingerprint>,
    /// The remote directory to start in
    #[arg(long, value_name = "DIR")]
    pub directory: Option<String>,
    /// The local directory that the shell starts in
    #[arg(long, value_name = "DIR")]
    pub local_directory: Option<PathBuf>,
    /// Command that prints the password; /bin/sh runs it. It is stored, so it must not contain the password
    #[arg(long, value_name = "CMD")]
    pub password_command: Option<String>,
    /// Do not encrypt; the server must allow it
    #[arg(long, conflicts_with = "fingerprint")]
    pub plaintext: bool,
    /// Replace a host with this name
    #[arg(long)]
    pub replace: bool,
}

fn parse_retries(text: &str) -> Result<u32, String> {
    let retries = text.parse().ok().filter(|retries| *retries <= RETRIES_MAX);
    retries.ok_or_else(|| format!("write a whole number from 0, which means never, to {RETRIES_MAX}"))
}

/// The server and the account of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginTarget {
    /// The account; `None` if the user did not give one.
    pub user: Option<String>,
    /// A host name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl LoginTarget {
    /// Parses `[USER@]HOST[:PORT]`. An IPv6 address needs brackets if a port follows.
    pub fn parse(text: &str) -> Result<Self, Explanation> {
        refuse_url(text)?;
        let (user, place) = match text.rsplit_once('@') {
            // The message does not repeat this part, because it may be a password.
            Some((user, place)) if user.contains(':') => {
                let user = user.split(':').next().unwrap_or_default();
                return Err(Explanation::new(
                    "a password does not belong on the command line, where others can read it",
                    format!("write {user}@{place}"),
                ));
            }
            Some(("", _)) => return Err(format!("'{text}': the user name before @ is empty").into()),
            Some((user, place)) => (Some(user.to_string()), place),
            None => (None, text),
        };
        let (host, port) = split_port(place).ok_or_else(|| format!("'{text}' is not [USER@]HOST[:PORT]"))?;
        let port = match port {
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                // The message does not repeat the port, because it may be a password.
                _ => {
                    return Err(Explanation::new(
                        format!("{host}: the port after ':' is not a number from 1 to 65535"),
                        format!("leave it out for port {PORT_DEFAULT}"),
                    ));
                }
            },
            None => PORT_DEFAULT,
        };
        if host.is_empty() {
            return Err(Explanation::new(format!("'{text}' has no host name"), "write [USER@]HOST[:PORT]"));
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("'{}' is not [USER@]HOST[:PORT]", Escaped(text.as_bytes())).into());
        }
        Ok(Self { user, host: host.to_string(), port })
    }
}

/// Refuses a URL and says what to write instead, without a password that the URL may contain.
fn refuse_url(text: &str) -> Result<(), Explanation> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(()) };
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = place.rsplit_once('@').map_or(("", place), |(user, host)| (user, host));
    let user = match user.split(':').next().unwrap_or_default() {
        "" => String::new(),
        user => format!("{user}@"),
    };
    // The port of another protocol is not a port of berth.
    let host = if scheme == "berth" { host } else { host.split(':').next().unwrap_or_default() };
    let path = if path.is_empty() { String::new() } else { format!(" and the path /{path} in the command") };
    Err(Explanation::new(format!("'{scheme}://' is not supported here"), format!("write {user}{host}{path}")))
}

fn split_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    match place.split_once(':') {
        // More than one colon without brackets is an IPv6 address without a port.
        Some((_, rest)) if rest.contains(':') => Some((place, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((place, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed_as_users_write_them() {
        let target = |text: &str| {
            LoginTarget::parse(text).map(|t| format!("{}|{}|{}", t.user.as_deref().unwrap_or("-"), t.host, t.port))
        };
        for (text, read) in [
            ("localhost", "-|localhost|2121"),
            ("ann@host:99", "ann|host|99"),
            ("[::1]:2122", "-|::1|2122"),
            ("ann@[::1]", "ann|::1|2121"),
            ("::1", "-|::1|2121"),
            ("a@b@host", "a@b|host|2121"),
        ] {
            assert_eq!(target(text).as_deref(), Ok(read), "{text}");
        }
        for (text, told) in [
            ("ann:secret@host", "write ann@host"),
            ("ann:se@cret@host:99", "write ann@host:99"),
            ("ftp://ann@host", "write ann@host"),
            ("ftp://ann:secret@host:21/a/b", "write ann@host and the path /a/b in the command"),
            ("sftp://host", "write host"),
            ("berth://ann@host:99", "write ann@host:99"),
        ] {
            let problem = LoginTarget::parse(text).expect_err(text).to_string();
            assert!(problem.ends_with(told) && !problem.contains("cret"), "{problem}");
        }
        for text in [
            "",
            "@host",
            "a b",
            "ann@a\tb",
            "ann@a\u{1b}b:1",
            "host:",
            "host:0",
            "host:70000",
            "host:x",
            "[::1",
            "[::1]x",
            "ann@",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_of_the_remote_command_are_left_to_it() {
        let args = Args::try_parse_from(["berth", "--json", "host", "ls", "-l", "--all"]).expect("valid");
        assert!(args.json);
        assert_eq!(args.command, ["ls", "-l", "--all"]);
        let args = Args::try_parse_from(["berth", "host", "--json", "-c", "ls; pwd"]).expect("valid");
        assert!(args.json && args.command.is_empty());
    }
}
