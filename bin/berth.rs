//! `berth`, the client: arguments, the library, an exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use berth::client;
use berth::client::cli::command_line::CommandLine;
use berth::client::cli::host_commands;
use berth::client::error::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE};

fn main() -> ExitCode {
    match CommandLine::read(std::env::args_os()) {
        Ok(CommandLine::Session(args)) => ExitCode::from(client::run(&args)),
        Ok(CommandLine::Hosts(args)) => ExitCode::from(host_commands::run(&args)),
        Ok(CommandLine::Help(args)) => ExitCode::from(client::run_help(&args)),
        Err(mut error) => {
            // It advises a name that begins with a dash, which no server and no host has.
            error.remove(clap::error::ContextKind::Suggested);
            // Help and version come this way too. That nobody reads them is no failure.
            let mut printed = error.print();
            if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                printed = printed.and_then(|()| writeln!(std::io::stdout(), "{}", client::usage_object(&error)));
            }
            let printed = printed.and_then(|()| std::io::stdout().flush());
            let is_lost = printed.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe);
            ExitCode::from(match error.use_stderr() {
                true => EXIT_USAGE,
                false if is_lost => EXIT_FAILED,
                false => EXIT_DONE,
            })
        }
    }
}
