//! The server and its administration: arguments to the library, its verdict to the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth::admin::run(std::env::args_os())
}
