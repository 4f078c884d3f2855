//! The command line of `berthd`: its arguments, its commands and their exit codes. Every failure is one
//! message that says what happened, to what, and what to do next.

mod error;
mod fingerprint;
mod kick;
mod password;
mod quickstart;
mod server_connection;
mod status;
mod table;
mod usage;
mod user;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use rustix::fs::Mode;
use signal_hook::consts::SIGXFSZ;

use crate::account::{AccountName, Accounts};
use crate::base::attributes::UMASK;
use crate::base::text::{PrintableJson, Size};
use crate::base::{atomic_file, refusals};
use crate::config::Config;
use crate::net::listeners::ProtocolKind;
use crate::server::ServerError;
use crate::server::privileges::ServiceUser;
use crate::tls::{Fingerprint, ServerIdentity};
use crate::{logging, server};
use error::AdminError;

/// A multi-user file server: private homes, exact quotas, verified and resumable transfers.
#[derive(Debug, Parser)]
#[command(name = "berthd", version)]
pub struct CommandLine {
    #[command(subcommand)]
    command: AdminCommand,
    #[arg(long, global = true, value_name = "FILE", help = format!("The configuration; its accounts are in users/ beside it [default: {CONFIG_DEFAULT}]"))]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
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
struct QuickstartArgs {
    /// The directory for the configuration, accounts, homes and logs
    #[arg(long, default_value = QUICKSTART_DIR)]
    dir: PathBuf,
    /// The address to listen on; FTP uses the next lower port; port 0 is any free port [default: 127.0.0.1:2121]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
struct UsageArgs {
    /// Only this account [default: all]
    name: Option<AccountName>,
    /// Count the disk and compare; change nothing
    #[arg(long, conflicts_with = "repair")]
    verify: bool,
    /// Replace the ledger by a count of the disk
    #[arg(long)]
    repair: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Show it again each second until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Show a histogram of turn durations, too
    #[arg(long)]
    turns: bool,
    /// Show the quotas of all users, also of those not logged in
    #[arg(long)]
    all: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct KickArgs {
    /// The number of a session in `berthd status`, or an account, to end all of its sessions
    #[arg(value_name = "SESSION|USER")]
    whom: String,
    /// Treat the argument as an account, even if it is a number
    #[arg(long)]
    user: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
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
struct Named {
    /// Which account
    name: AccountName,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// ASCII letters, digits, '.', '_', '-'; the first a letter or digit
    name: AccountName,
    /// How much the home may hold, such as 10G, or none [default: default_quota]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    quota: Option<Quota>,
    /// How many files and directories the home may hold, or none [default: none]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_files: Option<Quota>,
    /// The home, below one of home_roots; relative to root [default: the first of home_roots/NAME]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Refuse all changes to the home
    #[arg(long)]
    read_only: bool,
    /// Read the password from the first line of stdin
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
struct SetArgs {
    /// Which account
    name: AccountName,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// How much the home may hold, such as 10G, or none
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    quota: Option<Quota>,
    /// How many files and directories the home may hold, or none
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_files: Option<Quota>,
    /// Another home, below one of home_roots; relative to root. Files are not moved
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Refuse all changes to the home
    #[arg(long, conflicts_with = "read_write")]
    read_only: bool,
    /// Allow changes to the home
    #[arg(long)]
    read_write: bool,
}

/// A limit on the command line; `none` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quota(Option<u64>);

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

/// Runs `berthd` with these arguments. The first is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Caught, so that a limit on the size of files causes an error of one write, like a full disk, and does
    // not end the program.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    let command_line = match CommandLine::try_parse_from(arguments) {
        Ok(command_line) => command_line,
        Err(mut error) => {
            // The suggestion is a name that begins with a dash, which no account has.
            error.remove(clap::error::ContextKind::Suggested);
            // Help goes to stdout and is no failure. A closed pipe is ignored.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    // The modes of new files do not depend on the umask of the caller.
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    let result = execute(command_line);
    for refusal in refusals::take() {
        let _ = writeln!(io::stderr(), "berthd: {refusal}");
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "berthd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The default configuration: in the current directory, or where packages install it.
const CONFIG_DEFAULT: &str = if cfg!(feature = "system") { "/etc/berth/berthd.json" } else { "conf/berthd.json" };
/// The default directory of a quickstart.
const QUICKSTART_DIR: &str = "demo";
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn execute(command_line: CommandLine) -> Result<(), AdminError> {
    let named = command_line.config;
    let file = named.clone().unwrap_or_else(|| CONFIG_DEFAULT.into());
    match command_line.command {
        AdminCommand::Quickstart(_) if named.is_some() => Err(AdminError::Usage(
            "quickstart makes its own configuration; use --dir, or `berthd serve --config`".into(),
        )),
        AdminCommand::Quickstart(args) => quickstart::run(&args),
        AdminCommand::Serve => serve(load_for_serving(&file)?, print_addresses),
        AdminCommand::Check => check(&load_for_serving(&file)?),
        AdminCommand::Fingerprint { json } => fingerprint::run(&fingerprint::choose_config(named, &file)?, json),
        AdminCommand::Usage(args) => usage::run(&args, &load_as_server_user(&file)?),
        AdminCommand::Status(args) => status::run(&args, &load_as_server_user(&file)?),
        AdminCommand::Kick(args) => kick::run(&args, &load_as_server_user(&file)?),
        AdminCommand::User(command) => user::run(command, &load_as_server_user(&file)?),
    }
}

/// Reads a configuration whose directories exist.
fn load_for_serving(file: &Path) -> Result<Config, AdminError> {
    let config = Config::load(file)?;
    config.check_directories()?;
    Ok(config)
}

/// Reads a configuration, and switches to its user if the process is root.
fn load_as_server_user(file: &Path) -> Result<Config, AdminError> {
    let config = Config::load(file)?;
    if config.user.is_none() {
        config.check_directories()?;
    }
    become_user(&config)?;
    Ok(config)
}

/// Switches to the server's user, so that new files belong to it.
fn become_user(config: &Config) -> Result<(), AdminError> {
    if let Some(user) = ServiceUser::find(config)? {
        user.make_directories(config)?;
        user.switch_process(config)?;
    }
    Ok(())
}

/// Prints the addresses of the server. A closed stdout does not end the server.
fn print_addresses(addresses: &[(SocketAddr, ProtocolKind)], fingerprint: Fingerprint) {
    let mut out = io::stdout().lock();
    for (address, protocol) in addresses {
        let _ = match protocol {
            ProtocolKind::Native => writeln!(out, "listening on {address}"),
            ProtocolKind::Ftp => writeln!(out, "listening on {address} (ftp)"),
            ProtocolKind::ImplicitFtps => writeln!(out, "listening on {address} (ftps)"),
        };
    }
    let _ = writeln!(out, "fingerprint {fingerprint}");
    let _ = out.flush();
}

/// Serves. Calls `on_ready` once it listens.
fn serve(config: Config, on_ready: impl FnOnce(&[(SocketAddr, ProtocolKind)], Fingerprint)) -> Result<(), AdminError> {
    let file = config.file.clone();
    // Also runs when a panic ends this function.
    let _finish = FinishLogs;
    server::run(config, on_ready).map_err(|source| match source {
        ServerError::Config(error) => AdminError::Config(error),
        source => AdminError::Server { source, file: Some(file) },
    })
}

/// Writes out the logs when dropped.
struct FinishLogs;

impl Drop for FinishLogs {
    fn drop(&mut self) {
        logging::finish();
    }
}

/// `berthd check`: prints every problem, not just the first.
fn check(config: &Config) -> Result<(), AdminError> {
    let file = config.file.display();
    // As at a start: the configured key is read as the user that starts the server, all other files as the
    // server's user.
    if !config.tls.is_own {
        ServerIdentity::read(config)?;
    }
    if let Some(user) = ServiceUser::find(config)? {
        user.switch_process(config)?;
    }
    if config.tls.is_own {
        ServerIdentity::read(config)?;
    }
    for warning in config.warnings() {
        let _ = writeln!(io::stderr(), "berthd: {file}: {warning}");
    }
    if !config.accounts_dir().is_dir() {
        return Ok(writeln!(io::stdout(), "{file}: valid; no accounts yet, add one with `berthd user add NAME`")?);
    }
    let accounts = Accounts::open(config)?;
    let problems = accounts.check()?;
    for problem in &problems {
        let _ = writeln!(io::stderr(), "berthd: {problem}");
    }
    usage::warn_of_unreadable(config, &accounts);
    match problems.len() {
        0 => {
            let count = accounts.names()?.len();
            Ok(writeln!(io::stdout(), "{file}: valid; {count} {}", if count == 1 { "account" } else { "accounts" })?)
        }
        count => Err(AdminError::Invalid(count)),
    }
}

/// Prints one JSON value on one line.
fn print_json(value: &serde_json::Value) -> Result<(), AdminError> {
    Ok(writeln!(io::stdout(), "{}", PrintableJson(value))?)
}

/// Writes the shipped configuration with `listen` set and FTP enabled: without TLS only on a loopback
/// address.
fn write_configuration(file: &Path, listen: SocketAddr) -> io::Result<()> {
    let ftp = ftp_beside(listen);
    let mut text = include_str!("../../conf/berthd.json").to_string();
    for (shipped, written) in [
        ("[\"[::]:2121\"]", format!("[\"{listen}\"]")),
        ("\"listen\": null", format!("\"listen\": [\"{ftp}\"]")),
        ("\"plaintext\": null", format!("\"plaintext\": {}", ftp.ip().is_loopback())),
    ] {
        text = text.replacen(shipped, &written, 1);
    }
    atomic_file::replace(file, text.as_bytes(), 0o644)
}

/// Returns the FTP address of a quickstart that listens at `native`: the same address, the port below;
/// port 0 if the native port is 0.
fn ftp_beside(native: SocketAddr) -> SocketAddr {
    SocketAddr::new(native.ip(), native.port().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_written_configuration_is_the_shipped_one_but_for_the_addresses() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let file = directory.path().join("conf/berthd.json");
        std::fs::create_dir(directory.path().join("conf")).expect("writable");
        for (listen, ftp, plaintext) in [
            ("127.0.0.1:4321", "127.0.0.1:4320", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
            ("127.0.0.1:2120", "127.0.0.1:2119", true),
            ("[::1]:2121", "[::1]:2120", true),
            ("192.0.2.1:2121", "192.0.2.1:2120", false),
        ] {
            let listen = listen.parse().expect("an address");
            write_configuration(&file, listen).expect("writable");
            let written = Config::load(&file).expect("valid");
            let served = written.ftp.clone().expect("FTP is served");
            assert_eq!(served.listen, [ftp.parse().expect("an address")]);
            assert_eq!((served.plaintext, served.listen_tls.len()), (plaintext, 0));
            let expected =
                Config { listen: vec![listen], ftp: Some(served), ..Config::default_for(&file).expect("valid") };
            assert_eq!(written, expected);
        }
    }
}
