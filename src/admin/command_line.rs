//! The command line of `berthd` as clap reads it. Its texts are also those of the man page.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::account::AccountName;
use crate::base::text::Size;

/// A multi-user file server: private homes, exact quotas, verified and resumable transfers.
#[derive(Debug, Parser)]
#[command(name = "berthd", version)]
pub struct CommandLine {
    #[command(subcommand)]
    pub(super) command: AdminCommand,
    #[arg(long, global = true, value_name = "FILE", help = format!("The configuration; its accounts are in users/ beside it [default: {CONFIG_DEFAULT}]"))]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Try berth: set up DIR with an account if it is new, serve it, and print how to connect
    Quickstart(QuickstartArgs),
    /// Serve until SIGTERM or SIGINT
    Serve,
    /// Check the configuration, the accounts and their homes
    Check,
    /// Print the fingerprint of the server's key, for clients to compare
    Fingerprint {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what accounts use, or compare it with the disk
    Usage(UsageArgs),
    /// Show what the running server does: sessions, transfers, quotas, how long turns take
    Status(StatusArgs),
    /// End sessions of the running server; uploads can be resumed
    Kick(KickArgs),
    /// Add, show and change accounts; changes hold from the next login
    #[command(subcommand)]
    User(UserCommand),
}

#[derive(Debug, Args)]
pub(super) struct QuickstartArgs {
    /// The directory for the configuration, accounts, homes and logs
    #[arg(long, default_value = QUICKSTART_DIR)]
    pub(super) dir: PathBuf,
    /// The address to listen on; FTP uses the next lower port; port 0 is any free port [default: 127.0.0.1:2121]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(super) listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// Only this account [default: all]
    pub(super) name: Option<AccountName>,
    /// Count the disk and compare; change nothing
    #[arg(long, conflicts_with = "repair")]
    pub(super) verify: bool,
    /// Replace the ledger by a count of the disk
    #[arg(long)]
    pub(super) repair: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show it again each second until Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,
    /// Show a histogram of turn durations, too
    #[arg(long)]
    pub(super) turns: bool,
    /// Show the quotas of all users, also of those not logged in
    #[arg(long)]
    pub(super) all: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct KickArgs {
    /// The number of a session in `berthd status`, or an account, to end all of its sessions
    #[arg(value_name = "SESSION|USER")]
    pub(super) target: String,
    /// Treat the argument as an account, even if it is a number
    #[arg(long)]
    pub(super) user: bool,
    /// One JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add an account and make its home
    Add(AddArgs),
    /// Show all accounts
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one account
    Show {
        /// Which account
        name: AccountName,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Change an account
    Set(SetArgs),
    /// Change an account's password
    Passwd {
        /// Which account
        name: AccountName,
        /// Read the password from the first line of stdin
        #[arg(long)]
        password_stdin: bool,
    },
    /// Refuse logins from now on, and end the account's sessions
    Lock(Named),
    /// Allow logins again
    Unlock(Named),
    /// Remove an account, end its sessions, and leave its files where they are
    Remove(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// Which account
    pub(super) name: AccountName,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// ASCII letters, digits, '.', '_', '-'; the first a letter or digit
    pub(super) name: AccountName,
    /// How much the home may hold, such as 10G, or none [default: default_quota]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) quota: Option<Quota>,
    /// How many files and directories the home may hold, or none [default: none]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(super) max_files: Option<Quota>,
    /// The home, below one of home_roots; relative to root [default: the first of home_roots/NAME]
    #[arg(long, value_name = "DIR")]
    pub(super) home: Option<PathBuf>,
    /// Refuse all changes to the home
    #[arg(long)]
    pub(super) read_only: bool,
    /// Read the password from the first line of stdin
    #[arg(long)]
    pub(super) password_stdin: bool,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct SetArgs {
    /// Which account
    pub(super) name: AccountName,
    #[command(flatten)]
    pub(super) change: Change,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Change {
    /// How much the home may hold, such as 10G, or none
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) quota: Option<Quota>,
    /// How many files and directories the home may hold, or none
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(super) max_files: Option<Quota>,
    /// Another home, below one of home_roots; relative to root. Files are not moved
    #[arg(long, value_name = "DIR")]
    pub(super) home: Option<PathBuf>,
    /// Refuse all changes to the home
    #[arg(long, conflicts_with = "read_write")]
    pub(super) read_only: bool,
    /// Allow changes to the home
    #[arg(long)]
    pub(super) read_write: bool,
}

/// A limit on the command line; `none` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota(pub(super) Option<u64>);

fn parse_size(text: &str) -> Result<Quota, String> {
    match text {
        "none" => Ok(Quota(None)),
        _ => text.parse::<Size>().map(|size| Quota(Some(size.0))).map_err(|error| error.to_string()),
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:2121 or [::]:2121".to_string())
}

fn parse_count(text: &str) -> Result<Quota, String> {
    match text {
        "none" => Ok(Quota(None)),
        _ => text.parse().map(|count| Quota(Some(count))).map_err(|_| "write a whole number, or none".to_string()),
    }
}

/// The default configuration: in the current directory, or where packages install it.
pub(super) const CONFIG_DEFAULT: &str =
    if cfg!(feature = "system") { "/etc/berth/berthd.json" } else { "conf/berthd.json" };
/// The default directory of a quickstart.
pub(super) const QUICKSTART_DIR: &str = "demo";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
