//! `berth`, the client: arguments, the library, an exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use berth::client::outcome::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE};
use berth::client::{self, args::Args};
use clap::Parser;

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => ExitCode::from(client::run(&args)),
        Err(error) => {
            // Help and version come this way too. That nobody reads them is no failure.
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            let is_lost = printed.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe);
            ExitCode::from(match error.use_stderr() {
                true => EXIT_USAGE,
                false if is_lost => EXIT_FAILED,
                false => EXIT_DONE,
            })
        }
    }
}
