//! How far a transfer is: a bar on a terminal, now and then a line elsewhere. It shows bytes
//! that really moved, and never the whole before the other side or the digest confirmed it.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use pbr::{ProgressBar, Units};

use crate::client::output::{COLUMNS_DEFAULT, terminal_columns};
use crate::text::Size;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar on standard error.
    Bar,
    /// A line on standard error every few seconds.
    Lines,
    /// Not at all.
    Silent,
}

impl Style {
    /// A bar where there is a terminal for it.
    pub fn choose(is_quiet: bool, no_progress: bool) -> Self {
        match (is_quiet || no_progress, io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// The progress of one transfer, or of many files together. It disappears when dropped.
pub struct Progress {
    style: Style,
    bar: Option<ProgressBar<Line>>,
    label: String,
    total_bytes: u64,
    done_bytes: u64,
    started: Instant,
    last_line: Instant,
    is_verifying: bool,
}

impl Progress {
    /// Of `total_bytes` still to be moved; `label` is shown beside it and must be fit for a
    /// terminal.
    pub fn new(style: Style, label: &str, total_bytes: u64) -> Self {
        let now = Instant::now();
        let mut progress = Self {
            style,
            bar: None,
            label: short(label, LABEL_CHARS_MAX),
            total_bytes,
            done_bytes: 0,
            started: now,
            last_line: now,
            is_verifying: false,
        };
        progress.start_bar();
        progress
    }

    fn start_bar(&mut self) {
        if self.style != Style::Bar || self.total_bytes == 0 {
            return;
        }
        let columns = Line::columns();
        let mut bar = ProgressBar::on(Line, self.total_bytes);
        bar.set_width(Some(columns));
        bar.set_units(Units::Bytes);
        bar.set_max_refresh_rate(Some(REFRESH));
        // What there is no room for is left out, the most telling last.
        bar.show_counter = columns >= COLUMNS_FOR_COUNTER;
        bar.show_speed = columns >= COLUMNS_FOR_SPEED;
        self.label = short(&self.label, columns / 3);
        bar.message(&format!("{} ", self.label));
        self.bar = Some(bar);
    }

    /// `bytes` need not be moved after all, because they are there from an earlier try.
    pub fn skip(&mut self, bytes: u64) {
        self.total_bytes = self.total_bytes.saturating_sub(bytes);
        if let Some(bar) = &mut self.bar {
            bar.total = self.total_bytes;
        }
    }

    /// `bytes` more have moved.
    pub fn advance(&mut self, bytes: u64) {
        self.done_bytes = self.done_bytes.saturating_add(bytes);
        match self.style {
            Style::Bar => {
                let shown = shown_bytes(self.done_bytes, self.total_bytes);
                if let Some(bar) = &mut self.bar {
                    bar.set(shown);
                }
            }
            Style::Lines if self.last_line.elapsed() >= LINE_INTERVAL => self.print_line(),
            Style::Lines | Style::Silent => {}
        }
    }

    /// All bytes have moved; what remains is the proof.
    pub fn verify(&mut self) {
        if std::mem::replace(&mut self.is_verifying, true) {
            return;
        }
        let shown = shown_bytes(self.done_bytes, self.total_bytes);
        if let Some(bar) = &mut self.bar {
            bar.message(&format!("{} verifying ", self.label));
            // Nothing moves any more, so there is no rate to tell.
            bar.show_speed = false;
            bar.show_time_left = false;
            bar.set_max_refresh_rate(None);
            bar.set(shown);
        }
        if self.style == Style::Lines && self.started.elapsed() >= LINE_INTERVAL {
            let _ = writeln!(io::stderr(), "{}: verifying", self.label);
        }
    }

    fn print_line(&mut self) {
        self.last_line = Instant::now();
        let line = progress_line(&self.label, self.done_bytes, self.total_bytes, self.started.elapsed());
        let _ = writeln!(io::stderr(), "{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.bar.is_some() {
            let _ = write!(Line, "\r\x1b[K");
        }
    }
}

/// What a bar may claim before the transfer is confirmed: at most 99.9 %.
fn shown_bytes(done: u64, total: u64) -> u64 {
    done.min(total - total.div_ceil(1000))
}

/// `big.bin: 45 %, 450M of 1G, 200M/s, 3s left`.
fn progress_line(label: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let done = shown_bytes(done, total);
    let percent = (done as f64 / total.max(1) as f64 * 100.0) as u64;
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = if rate >= 1.0 { format!("{}s left", ((total - done) as f64 / rate) as u64) } else { "waiting".into() };
    format!("{label}: {percent} %, {} of {}, {}/s, {left}", Size(done), Size(total), Size(rate as u64))
}

/// A label that leaves room for the bar.
fn short(label: &str, chars_max: usize) -> String {
    if label.chars().count() <= chars_max {
        return label.to_string();
    }
    let head: String = label.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{head}…")
}

/// The last line of standard error; where that is closed, nobody is looking. pbr panics when its writer
/// fails, and does not mind whether what it draws fits the terminal.
struct Line;

impl Line {
    /// Columns that can be filled without the terminal going on in the next line.
    fn columns() -> usize {
        terminal_columns(&io::stderr()).unwrap_or(COLUMNS_DEFAULT).saturating_sub(1)
    }
}

impl Write for Line {
    /// pbr hands a whole bar over in one call, behind its carriage return in another.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bar = String::from_utf8_lossy(bytes);
        let _ = io::stderr().write_all(fitting(&bar, Self::columns()).as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

/// As much of `line` as fits `columns`; a character beyond ASCII may be two wide.
fn fitting(line: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = line.char_indices().find(|(_, c)| {
        used += match c {
            c if c.is_control() => 0,
            c if c.is_ascii() || *c == '…' => 1,
            _ => 2,
        };
        used > columns
    });
    end.map_or(line, |(at, _)| &line[..at])
}

/// Ten pictures a second are enough.
const REFRESH: Duration = Duration::from_millis(100);
/// Between two lines where there is no bar.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// A name, two sizes, a share, a rate and a time fit.
const COLUMNS_FOR_COUNTER: usize = 75;
/// A name, a share, a rate and a time fit.
const COLUMNS_FOR_SPEED: usize = 38;
/// Longer names are cut.
const LABEL_CHARS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_whole_before_it_is_confirmed() {
        for (done, total, shown) in [(0, 0, 0), (1, 1, 0), (999, 1000, 999), (1000, 1000, 999), (5, 3, 2)] {
            assert_eq!(shown_bytes(done, total), shown, "{done} of {total}");
        }
        assert!(shown_bytes(u64::MAX, u64::MAX) < u64::MAX);
    }

    #[test]
    fn lines_have_rate_and_time_left() {
        assert_eq!(progress_line("a", 1 << 20, 4 << 20, Duration::from_secs(1)), "a: 25 %, 1M of 4M, 1M/s, 3s left");
        assert_eq!(progress_line("a", 0, 0, Duration::ZERO), "a: 0 %, 0 of 0, 0/s, waiting");
        assert_eq!(short(&"x".repeat(30), 24).chars().count(), 24);
    }

    #[test]
    fn a_bar_is_cut_where_the_terminal_ends() {
        assert_eq!(fitting("abcdef", 3), "abc");
        assert_eq!(fitting("abc", 3), "abc");
        assert_eq!(fitting("日本語", 5), "日本");
        assert_eq!(fitting("a…b", 3), "a…b");
    }
}
