//! What people and programs read: results on standard output, remarks on standard error. A
//! closed pipe ends the program quietly; nothing here panics on it as `println!` would.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde_json::Value;

use crate::client::outcome::Failure;
use crate::text::PrintableJson;

/// Where results and remarks go, and in which form.
pub struct Output {
    results: BufWriter<Box<dyn Write>>,
    remarks: Box<dyn Write>,
    /// Results are JSON objects, one per line.
    pub is_json: bool,
    /// No remarks.
    pub is_quiet: bool,
    /// Columns of the terminal that shows the results; `None` when there is none.
    pub columns: Option<usize>,
}

impl Output {
    /// To the program's standard streams.
    pub fn standard(is_json: bool, is_quiet: bool) -> Self {
        let stdout = io::stdout();
        let columns = stdout.is_terminal().then(|| terminal_columns(&stdout).unwrap_or(80));
        Self { columns, ..Self::to(Box::new(stdout), Box::new(io::stderr()), is_json, is_quiet) }
    }

    /// To any two writers, as if no terminal were there.
    pub fn to(results: Box<dyn Write>, remarks: Box<dyn Write>, is_json: bool, is_quiet: bool) -> Self {
        Self { results: BufWriter::new(results), remarks, is_json, is_quiet, columns: None }
    }

    /// A line for people; nothing with `--json`.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        if self.is_json {
            return Ok(());
        }
        writeln!(self.results, "{line}").map_err(output_failure)
    }

    /// An object for programs; nothing without `--json`.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        if !self.is_json {
            return Ok(());
        }
        writeln!(self.results, "{}", PrintableJson(value)).map_err(output_failure)
    }

    /// Makes what was written visible.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.results.flush().map_err(output_failure)
    }

    /// A remark about what is going on, unless `--quiet`.
    pub fn note(&mut self, text: impl Display) {
        if !self.is_quiet {
            self.complain(text);
        }
    }

    /// A line about something that failed. Where standard error is closed there is nobody to
    /// tell, and the exit code still tells it.
    pub fn complain(&mut self, text: impl Display) {
        let _ = self.results.flush();
        let _ = writeln!(self.remarks, "{text}");
    }

    /// Part of a line, for a question.
    pub fn ask(&mut self, question: impl Display) {
        let _ = self.results.flush();
        let _ = write!(self.remarks, "{question}");
        let _ = self.remarks.flush();
    }
}

fn output_failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        io::ErrorKind::StorageFull => Failure::LocalFull(format!("standard output: {error}")),
        _ => Failure::Local(format!("standard output: {error}")),
    }
}

/// How wide a terminal is; `None` when it is none or does not tell.
pub fn terminal_columns(terminal: &impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}
