//! What people and programs read: results on standard output, remarks on standard error. A
//! closed pipe ends the program quietly; nothing here panics on it as `println!` would.

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

/// Where results and remarks go, and in which form.
pub struct Output {
    /// Standard output.
    pub results: Results,
    remarks: Box<dyn Write>,
    /// Results are JSON objects, one per line.
    pub is_json: bool,
    /// No remarks.
    pub is_quiet: bool,
    /// Results have digests.
    pub is_verbose: bool,
    /// The same of the command that runs, which may have been asked for them by itself.
    pub shows_digests: bool,
    /// Results are shown on a terminal.
    pub is_terminal: bool,
    /// Colours for names, where they are wanted.
    pub colors: Option<Colors>,
    /// Failures that were told.
    pub failures: usize,
    /// The last remark was a question whose line has ended.
    is_line_ended: bool,
    /// Standard output has a file's content, so objects go to standard error.
    has_content: bool,
}

/// Where results went before they were diverted.
pub struct Usual {
    results: Results,
    is_terminal: bool,
    colors: Option<Colors>,
    has_content: bool,
}

impl Output {
    /// To the program's standard streams.
    pub fn standard(is_json: bool, is_quiet: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let colors = Colors::of_user().filter(|_| is_terminal);
        let to_anything = Self::to(Box::new(io::sink()), Box::new(io::stderr()), is_json, is_quiet);
        Self { results: Results::standard(), is_terminal, colors, ..to_anything }
    }

    /// To any two writers, as if no terminal were there.
    pub fn to(results: Box<dyn Write>, remarks: Box<dyn Write>, is_json: bool, is_quiet: bool) -> Self {
        Self {
            results: Results::to(results),
            remarks,
            is_json,
            is_quiet,
            is_verbose: false,
            shows_digests: false,
            is_terminal: false,
            colors: None,
            failures: 0,
            is_line_ended: false,
            has_content: false,
        }
    }

    /// Columns of the terminal that shows the results, as many as it has now; `None` when there is
    /// none.
    pub fn columns(&self) -> Option<usize> {
        self.is_terminal.then(|| terminal_columns(&io::stdout()).unwrap_or(COLUMNS_DEFAULT))
    }

    /// A line for people; nothing with `--json`.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        if self.is_json { Ok(()) } else { self.write(line) }
    }

    /// An object for programs; nothing without `--json`.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        if !self.is_json {
            return Ok(());
        }
        let line = PrintableJson(value).to_string();
        if self.has_content {
            // As with remarks: where standard error is closed there is nobody to tell.
            let _ = writeln!(self.remarks, "{line}");
            return Ok(());
        }
        self.write(line)
    }

    /// A result. Among the pictures of a bar it is not kept back.
    fn write(&mut self, line: impl Display) -> Result<(), Failure> {
        let is_amid_bar = self.is_terminal && make_way();
        self.results.line(line)?;
        if is_amid_bar { self.results.flush() } else { Ok(()) }
    }

    /// From now on standard output is for content alone.
    pub fn make_way_for_content(&mut self) {
        self.has_content = true;
    }

    /// Lets results go elsewhere, where no terminal is, until [`Output::restore`].
    pub fn divert(&mut self, results: Results) -> Usual {
        Usual {
            results: std::mem::replace(&mut self.results, results),
            is_terminal: std::mem::take(&mut self.is_terminal),
            colors: self.colors.take(),
            has_content: std::mem::take(&mut self.has_content),
        }
    }

    /// Ends what [`Output::divert`] began, which closes the pipe.
    pub fn restore(&mut self, usual: Usual) {
        let Usual { results, is_terminal, colors, has_content } = usual;
        (self.results, self.is_terminal, self.colors, self.has_content) = (results, is_terminal, colors, has_content);
    }

    /// For work beside this, on a thread of its own: remarks to standard error, and no results.
    pub fn remarks_only(is_quiet: bool) -> Self {
        Self::to(Box::new(io::sink()), Box::new(WholeLines), false, is_quiet)
    }

    /// Makes what was written visible.
    pub fn flush(&mut self) -> Result<(), Failure> {
        make_way();
        self.results.flush()
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
        make_way();
        let _ = self.results.flush();
        self.is_line_ended = false;
        let _ = self.remarks.write_all(format!("{text}\n").as_bytes());
    }

    /// After Ctrl-C, which the terminal shows as `^C`: ends that line, unless a question has. Nothing with
    /// `--quiet`.
    pub fn end_line(&mut self) {
        if !self.is_quiet && !std::mem::take(&mut self.is_line_ended) {
            self.ask("\n");
        }
    }

    /// Part of a line, for a question.
    pub fn ask(&mut self, question: impl Display) {
        make_way();
        let _ = self.results.flush();
        let question = question.to_string();
        self.is_line_ended = question.ends_with('\n');
        let _ = self.remarks.write_all(question.as_bytes());
        let _ = self.remarks.flush();
    }
}

/// Standard error, a line at a time, whatever others show there meanwhile.
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

/// Shows `bar` in the last line of standard error, which is a terminal; in the background that line is another's.
pub(super) fn show_bar(bar: &str) {
    let mut is_bar_shown = screen();
    *is_bar_shown = is_in_foreground();
    if !*is_bar_shown {
        return;
    }
    // What stands there of a longer one goes.
    let _ = write!(io::stderr(), "\r{bar}\x1b[K");
}

/// Takes the bar away, if there is one, so that a line can stand where it was; whether there was one.
pub(super) fn make_way() -> bool {
    take_bar_away(&mut screen())
}

/// A whole line on standard error, in the place of the bar.
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

/// Whoever writes to the terminal holds it: two connections at work must not write into each other's
/// lines.
fn screen() -> MutexGuard<'static, bool> {
    BAR_IS_SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Like the terminal, there is one of it.
static BAR_IS_SHOWN: Mutex<bool> = Mutex::new(false);

/// How wide a terminal is; `None` when it is none or does not tell.
pub fn terminal_columns(terminal: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// Where a terminal does not tell.
pub const COLUMNS_DEFAULT: usize = 80;
