//! Starts `berthd`, the server and its administration commands, and returns the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth::admin::run(std::env::args_os())
}
