//! The command line of `berthd`: its arguments, its commands and their exit codes. Every failure is one
//! message that says what happened, to what, and what to do next.

mod check;
mod command_line;
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
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rustix::fs::Mode;
use signal_hook::consts::SIGXFSZ;

use crate::base::attributes::UMASK;
use crate::base::refusals;
use crate::base::text::PrintableJson;
use crate::config::Config;
use crate::protocol::kind::ProtocolKind;
use crate::server::ServerError;
use crate::server::privileges::ServiceUser;
use crate::tls::Fingerprint;
use crate::{logging, server};
pub use command_line::CommandLine;
use command_line::{AdminCommand, CONFIG_DEFAULT};
use error::AdminError;

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
        AdminCommand::Check => check::run(&load_for_serving(&file)?),
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
    for (address, kind) in addresses {
        let _ = match kind.label() {
            None => writeln!(out, "listening on {address}"),
            Some(label) => writeln!(out, "listening on {address} ({label})"),
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

/// Prints one JSON value on one line.
fn print_json(value: &serde_json::Value) -> Result<(), AdminError> {
    Ok(writeln!(io::stdout(), "{}", PrintableJson(value))?)
}
