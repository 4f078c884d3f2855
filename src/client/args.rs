//! The command line of `berth`. It knows no network and no command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use crate::config::PORT_DEFAULT;
use crate::limits::{RETRIES_DEFAULT, RETRIES_MAX};

use crate::tls::Fingerprint;

/// Files to and from a berth server, verified and resumable.
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    version,
    override_usage = "berth [OPTIONS] [USER@]HOST[:PORT] [COMMAND [ARG]...]",
    after_help = "Without a command it opens a shell; 'help' there lists the commands.\n\
                  Exit: 0 done, 1 a command failed, 2 usage, 3 connection, 4 login, 5 verification, \
                  6 quota or disk full, 130 interrupted."
)]
pub struct Args {
    /// Commands to carry out, separated by ';'
    #[arg(short = 'c', value_name = "CMD; CMD", conflicts_with = "command")]
    pub commands: Option<OsString>,
    /// A file of commands, one per line; - is standard input
    #[arg(short = 'f', value_name = "FILE", conflicts_with_all = ["command", "commands"])]
    pub script: Option<PathBuf>,
    /// Go on after a command failed
    #[arg(long)]
    pub keep_going: bool,
    /// One JSON object per line for each result
    #[arg(long)]
    pub json: bool,
    /// Nothing on the terminal but results and errors
    #[arg(long)]
    pub quiet: bool,
    /// No progress bar
    #[arg(long)]
    pub no_progress: bool,
    /// Read the password from FILE, which nobody else may read (else $BERTH_PASSWORD, else a prompt)
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Accept only the server with this key
    #[arg(long, value_name = "SHA256:...")]
    pub fingerprint: Option<Fingerprint>,
    /// Trust a server never seen before without asking
    #[arg(long)]
    pub accept_new: bool,
    /// Try so often to get a lost connection back; 0 is never
    #[arg(long, value_name = "N", default_value_t = RETRIES_DEFAULT,
          value_parser = clap::value_parser!(u32).range(..=i64::from(RETRIES_MAX)))]
    pub retries: u32,
    /// Do not encrypt; the server must allow it
    #[arg(long, conflicts_with_all = ["fingerprint", "accept_new"])]
    pub plaintext: bool,
    /// The server
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    pub target: String,
    /// What to do there
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Where to log in, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The account; `None`: the name of whoever runs the program.
    pub user: Option<String>,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// Reads `[USER@]HOST[:PORT]`; an IPv6 address stands in brackets when a port follows.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (user, place) = match text.rsplit_once('@') {
            Some(("", _)) => return Err(format!("'{text}': the user name before @ is empty")),
            Some((user, place)) => (Some(user.to_string()), place),
            None => (None, text),
        };
        let (host, port) = split_port(place).ok_or_else(|| format!("'{text}' is not [USER@]HOST[:PORT]"))?;
        let port = match port {
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(format!("'{port}' is not a port; ports are 1 to 65535")),
            },
            None => PORT_DEFAULT,
        };
        if host.is_empty() {
            return Err(format!("'{text}' names no host"));
        }
        Ok(Self { user, host: host.to_string(), port })
    }
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
        // More than one colon and no brackets: an IPv6 address alone.
        Some((_, rest)) if rest.contains(':') => Some((place, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((place, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_people_write_them() {
        let target = |text: &str| {
            Target::parse(text).map(|t| format!("{}|{}|{}", t.user.as_deref().unwrap_or("-"), t.host, t.port))
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
        for text in ["", "@host", "host:", "host:0", "host:70000", "host:x", "[::1", "[::1]x", "ann@"] {
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
