//! Starts the client, `berth`: parses the arguments, runs the task, and returns its exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use berth::client;
use berth::client::cli::command_line::Invocation;
use berth::client::cli::host_commands;
use berth::client::error::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE};

fn main() -> ExitCode {
    match Invocation::read(std::env::args_os()) {
        Ok(Invocation::Session(args)) => ExitCode::from(client::run(&args)),
        Ok(Invocation::Hosts(args)) => ExitCode::from(host_commands::run(&args)),
        Ok(Invocation::Help(args)) => ExitCode::from(client::run_help(&args)),
        Err(mut error) => {
            // clap suggests how to pass an option as the name of a server, but no such name begins with a dash.
            error.remove(clap::error::ContextKind::Suggested);
            // clap returns help and version as errors too. For them, a closed standard output is no failure.
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
