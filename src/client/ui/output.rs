//! The output: results on standard output, messages on standard error. A closed pipe ends the program quietly,
//! while `println!` would panic.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::base::text::PrintableJson;
use crate::client::error::Failure;
use crate::client::ui::colors::Colors;
use crate::client::ui::results::Results;
use crate::client::ui::terminal::is_in_foreground;

/// The destination and the format of results and messages.
pub struct Output {
    /// Standard output.
    pub results: Results,
    messages: Box<dyn Write>,
    /// Results are JSON objects, one on each line.
    pub is_json: bool,
    /// Messages are suppressed, except errors.
    pub is_quiet: bool,
    /// Results include digests.
    pub is_verbose: bool,
    /// Results of the current command include digests; one command may request them for itself.
    pub shows_digests: bool,
    /// Results are shown on a terminal.
    pub is_terminal: bool,
    /// The colours for names, if they are wanted.
    pub colors: Option<Colors>,
    /// The command is an argument of the program, so the user types at a shell and not at the prompt.
    pub is_one_shot: bool,
    /// The number of reported failures.
    pub failures: usize,
    /// The last message was a question, and its line has ended.
    is_line_ended: bool,
    /// Standard output carries the content of a file, so JSON objects go to standard error.
    has_content: bool,
}

/// The former destination of redirected results.
pub struct SavedResults {
    results: Results,
    is_terminal: bool,
    colors: Option<Colors>,
    has_content: bool,
}

impl Output {
    /// Creates the output on the program's standard streams.
    pub fn standard(is_json: bool, is_quiet: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let colors = Colors::from_environment().filter(|_| is_terminal);
        let to_anything = Self::to(Box::new(io::sink()), Box::new(io::stderr()), is_json, is_quiet);
        Self { results: Results::standard(), is_terminal, colors, ..to_anything }
    }

    /// Creates an output on any two writers, as if no terminal existed.
    pub fn to(results: Box<dyn Write>, messages: Box<dyn Write>, is_json: bool, is_quiet: bool) -> Self {
        Self {
            results: Results::to(results),
            messages,
            is_json,
            is_quiet,
            is_verbose: false,
            shows_digests: false,
            is_terminal: false,
            colors: None,
            is_one_shot: false,
            failures: 0,
            is_line_ended: false,
            has_content: false,
        }
    }

    /// Returns the current width in columns of the terminal that shows the results; `None` if there is none.
    pub fn columns(&self) -> Option<usize> {
        self.is_terminal.then(|| terminal_columns(&io::stdout()).unwrap_or(COLUMNS_DEFAULT))
    }

    /// Writes a line for people. Does nothing with `--json`.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        if self.is_json { Ok(()) } else { self.write(line) }
    }

    /// Writes an object for programs. Does nothing without `--json`.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        if !self.is_json {
            return Ok(());
        }
        let line = PrintableJson(value).to_string();
        if self.has_content {
            // If standard error is closed, no reader misses the line.
            let _ = writeln!(self.messages, "{line}");
            return Ok(());
        }
        self.write(line)
    }

    /// Writes a result. While a bar is shown, the result is flushed at once.
    fn write(&mut self, line: impl Display) -> Result<(), Failure> {
        let had_bar = self.is_terminal && erase_bar();
        self.results.line(line)?;
        if had_bar { self.results.flush() } else { Ok(()) }
    }

    /// Reserves standard output for the content of a file.
    pub fn reserve_for_content(&mut self) {
        self.has_content = true;
    }

    /// Returns whether standard error carries only JSON objects.
    pub fn has_only_objects(&self) -> bool {
        self.is_json && self.has_content
    }

    /// Redirects results to a destination without a terminal, until [`Output::restore`].
    pub fn redirect(&mut self, results: Results) -> SavedResults {
        SavedResults {
            results: std::mem::replace(&mut self.results, results),
            is_terminal: std::mem::take(&mut self.is_terminal),
            colors: self.colors.take(),
            has_content: std::mem::take(&mut self.has_content),
        }
    }

    /// Ends a redirection by [`Output::redirect`], which closes the pipe.
    pub fn restore(&mut self, saved: SavedResults) {
        let SavedResults { results, is_terminal, colors, has_content } = saved;
        (self.results, self.is_terminal, self.colors, self.has_content) = (results, is_terminal, colors, has_content);
    }

    /// Creates an output for a worker thread: messages go to standard error, and results are dropped.
    pub fn messages_only(is_quiet: bool) -> Self {
        Self::to(Box::new(io::sink()), Box::new(WholeLines), false, is_quiet)
    }

    /// Flushes the written results.
    pub fn flush(&mut self) -> Result<(), Failure> {
        erase_bar();
        self.results.flush()
    }

    /// Writes a message that is no error, unless `--quiet` is set.
    pub fn note(&mut self, text: impl Display) {
        if !self.is_quiet {
            self.error(text);
        }
    }

    /// Writes an error message, unless standard error carries only JSON objects. If standard error is closed,
    /// the exit code still reports the failure.
    pub fn error(&mut self, text: impl Display) {
        if self.has_only_objects() {
            return;
        }
        erase_bar();
        let _ = self.results.flush();
        self.is_line_ended = false;
        let _ = self.messages.write_all(format!("{text}\n").as_bytes());
    }

    /// Writes a newline after the `^C` on the terminal, unless a question has already ended that line. Does nothing with
    /// `--quiet`.
    pub fn end_line(&mut self) {
        if !(self.is_quiet || self.has_only_objects() || std::mem::take(&mut self.is_line_ended)) {
            self.ask("\n");
        }
    }

    /// Writes a question, which leaves its line open.
    pub fn ask(&mut self, question: impl Display) {
        erase_bar();
        let _ = self.results.flush();
        let question = question.to_string();
        self.is_line_ended = question.ends_with('\n');
        let _ = self.messages.write_all(question.as_bytes());
        let _ = self.messages.flush();
    }
}

/// Standard error that writes whole lines, even if other threads write to it.
struct WholeLines;

impl Write for WholeLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        line_over_bar(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shows `bar` in the last line of standard error, which is a terminal. In the background, that line belongs to
/// another program.
pub(super) fn show_bar(bar: &str) {
    let mut is_bar_shown = screen();
    *is_bar_shown = is_in_foreground();
    if !*is_bar_shown {
        return;
    }
    // Erase the rest of a longer bar.
    let _ = write!(io::stderr(), "\r{bar}\x1b[K");
}

/// Erases the bar, so that a line can replace it. Returns whether there was one.
pub(super) fn erase_bar() -> bool {
    take_bar_away(&mut screen())
}

/// Writes a whole line to standard error in place of the bar.
pub(super) fn line_over_bar(line: impl Display) {
    let mut is_bar_shown = screen();
    take_bar_away(&mut is_bar_shown);
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn take_bar_away(is_bar_shown: &mut bool) -> bool {
    let was_shown = std::mem::take(is_bar_shown) && is_in_foreground();
    if was_shown {
        let _ = io::stderr().write_all(b"\r\x1b[K");
    }
    was_shown
}

/// Locks the terminal, so that two connections do not write into each other's lines.
fn screen() -> MutexGuard<'static, bool> {
    BAR_IS_SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the bar is shown. It is a static because there is only one terminal.
static BAR_IS_SHOWN: Mutex<bool> = Mutex::new(false);

/// Returns the width of a terminal; `None` if it is not a terminal or reports no width.
pub fn terminal_columns(terminal: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// The width if the terminal reports none.
pub const COLUMNS_DEFAULT: usize = 80;
