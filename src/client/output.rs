//! What people and programs read: results on standard output, remarks on standard error. A
//! closed pipe ends the program quietly; nothing here panics on it as `println!` would.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use serde_json::Value;

use crate::client::colors::Colors;
use crate::client::local::Stopped;
use crate::client::outcome::Failure;
use crate::limits::PIECE_BYTES;

/// Where results and remarks go, and in which form.
pub struct Output {
    results: BufWriter<Box<dyn Write>>,
    remarks: Box<dyn Write>,
    /// Results are JSON objects, one per line.
    pub is_json: bool,
    /// No remarks.
    pub is_quiet: bool,
    /// Results are shown on a terminal.
    pub is_terminal: bool,
    /// Colours for names, where they are wanted.
    pub colors: Option<Colors>,
    /// Writing results can wait for whoever reads them: they do not go to a file.
    may_wait: bool,
}

impl Output {
    /// To the program's standard streams.
    pub fn standard(is_json: bool, is_quiet: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let colors = Colors::of_user().filter(|_| is_terminal);
        let may_wait = !rustix::fs::fstat(&stdout).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
        // A descriptor of our own has no second buffer, which could hold back the end of a file.
        let results: Box<dyn Write> = match stdout.as_fd().try_clone_to_owned() {
            Ok(own) => Box::new(File::from(own)),
            Err(_) => Box::new(stdout),
        };
        Self { is_terminal, colors, may_wait, ..Self::to(results, Box::new(io::stderr()), is_json, is_quiet) }
    }

    /// To any two writers, as if no terminal were there.
    pub fn to(results: Box<dyn Write>, remarks: Box<dyn Write>, is_json: bool, is_quiet: bool) -> Self {
        let results = BufWriter::new(results);
        Self { results, remarks, is_json, is_quiet, is_terminal: false, colors: None, may_wait: false }
    }

    /// Columns of the terminal that shows the results, as many as it has now; `None` when there is
    /// none.
    pub fn columns(&self) -> Option<usize> {
        self.is_terminal.then(|| terminal_columns(&io::stdout()).unwrap_or(COLUMNS_DEFAULT))
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
        writeln!(self.results, "{value}").map_err(output_failure)
    }

    /// Bytes of a file, as they are. Whoever reads them may take their time; meanwhile
    /// `is_stopped` is asked now and then, and true ends it.
    pub fn content(&mut self, bytes: &[u8], is_stopped: Stopped) -> Result<(), Failure> {
        self.flush()?;
        let piece_bytes = if self.may_wait { PIPE_BYTES } else { PIECE_BYTES };
        for piece in bytes.chunks(piece_bytes) {
            while self.may_wait && !is_ready(&io::stdout(), PollFlags::OUT) {
                if is_stopped() {
                    return Err(Failure::Interrupted);
                }
            }
            self.results.get_mut().write_all(piece).map_err(output_failure)?;
        }
        if is_stopped() { Err(Failure::Interrupted) } else { Ok(()) }
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

/// Waits a moment until `file` can be read or written; whether it can, or never will be.
pub fn is_ready(file: &impl AsFd, what: PollFlags) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    matches!(poll(&mut [PollFd::new(file, what)], Some(&timeout)), Ok(1..))
}

/// How wide a terminal is; `None` when it is none or does not tell.
pub fn terminal_columns(terminal: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// Where a terminal does not tell.
pub const COLUMNS_DEFAULT: usize = 80;
/// A pipe that is ready takes so much without making us wait (pipe(7), PIPE_BUF).
const PIPE_BYTES: usize = 4096;
