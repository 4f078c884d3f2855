//! `berth`, the client: arguments, the library, an exit code.

use std::process::ExitCode;

use berth::client::{self, args::Args, outcome::EXIT_USAGE};
use clap::Parser;

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => ExitCode::from(client::run(&args)),
        Err(error) => {
            // Help and version come this way too. Where nobody can read them there is nothing to do.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 })
        }
    }
}
