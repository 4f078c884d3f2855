//! Reports failures of commands and of their parts.

use serde_json::{Value, json};

use crate::base::text::Escaped;
use crate::base::virtual_path::VirtualPath;
use crate::client::error::Failure;
use crate::client::ui::output::Output;
use crate::wire::message::ErrorCode;

/// Reports that a command or a part of it failed: on standard error, and with `--json` as an object. If the
/// results have no reader, the rest of the command still continues.
pub fn report(output: &mut Output, command: &str, failure: &Failure) -> Result<(), Failure> {
    if *failure == Failure::OutputClosed {
        return Ok(());
    }
    match failure {
        // The text names the command.
        Failure::UnknownCommand(text) => output.error(format_args!("berth: {text}")),
        failure => output.error(format_args!("berth: {}: {failure}", Escaped(command.as_bytes()))),
    }
    report_object(output, command, failure)
}

/// Like [`report`], without a line on standard error.
fn report_object(output: &mut Output, command: &str, failure: &Failure) -> Result<(), Failure> {
    output.failures += 1;
    match output.json(&failure_object(command, failure)) {
        Err(Failure::OutputClosed) => Ok(()),
        reported => reported,
    }
}

/// Formats a failure for `--json`.
pub fn failure_object(command: &str, failure: &Failure) -> Value {
    json!({"command": command, "ok": false, "code": failure.json_code(), "message": failure.to_string()})
}

/// Reports the failure that ends the program, and returns the exit code.
pub fn report_fatal(output: &mut Output, failure: &Failure) -> u8 {
    let _ = output.flush();
    if *failure != Failure::OutputClosed {
        output.error(format_args!("berth: {failure}"));
        // The exit code reports the failure too, so errors are ignored.
        let _ = output.json(&failure_object("berth", failure)).and_then(|()| output.flush());
    }
    failure.exit_code()
}

/// Refusals of many names in one directory. Its permissions usually refuse each name alike, so only the first refusal is
/// shown on standard error, and the others are counted. `--json` reports each.
pub struct RepeatedRefusals {
    command: &'static str,
    /// The directory of the last failure, if access to a name in it was denied.
    directory: Option<VirtualPath>,
    /// The refusals in `directory` that were not shown.
    hidden: usize,
}

impl RepeatedRefusals {
    /// Creates the record for `command`.
    pub fn new(command: &'static str) -> Self {
        Self { command, directory: None, hidden: 0 }
    }

    /// Reports the failure of a request about `path`, or counts it if an earlier one in the same directory was shown.
    pub fn report(&mut self, output: &mut Output, path: &VirtualPath, failure: &Failure) -> Result<(), Failure> {
        let directory = path.parent().filter(|_| failure.is_refusal(ErrorCode::Denied));
        if directory.is_some() && directory == self.directory {
            self.hidden += 1;
            return report_object(output, self.command, failure);
        }
        self.finish(output);
        self.directory = directory;
        report(output, self.command, failure)
    }

    /// Shows the number of refusals that were only counted.
    pub fn finish(&mut self, output: &mut Output) {
        if let (Some(directory), hidden @ 1..) = (self.directory.take(), std::mem::take(&mut self.hidden)) {
            let command = Escaped(self.command.as_bytes());
            output.error(format_args!("berth: {command}: {hidden} more in {directory} were refused too"));
        }
    }
}
