//! The last line of standard error, where bars and status lines are drawn, and what fits into it.

use std::io::{self, Write};
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::client::ui::output::{self, COLUMNS_DEFAULT, terminal_columns};

/// Shortens a label so that it leaves room for the bar.
pub(super) fn short(label: &str, columns: usize) -> String {
    if label.width() <= columns {
        return label.to_string();
    }
    format!("{}…", fitting(label, columns.saturating_sub(1)))
}

/// The last line of standard error. Errors are ignored, because pbr panics when its writer fails. pbr does not
/// fit its output to the terminal's width, so this writer does.
pub(super) struct StatusLine;

impl StatusLine {
    /// Returns the number of columns that can be filled without a line wrap.
    pub(super) fn columns() -> usize {
        terminal_columns(&io::stderr()).unwrap_or(COLUMNS_DEFAULT).saturating_sub(1)
    }
}

impl Write for StatusLine {
    /// pbr writes a whole bar in one call, after its carriage return in another.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bar = String::from_utf8_lossy(bytes);
        let bar = bar.trim_matches(['\r', ' ']);
        if !bar.is_empty() {
            output::show_bar(fitting(bar, Self::columns()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

/// Returns as much of `line` as fits into `columns`.
pub(super) fn fitting(line: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = line.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    end.map_or(line, |(at, _)| &line[..at])
}

/// Formats `1m40s left` for `bytes` at `rate` bytes per second; `None` if the time is unknown.
pub(super) fn time_left(bytes: u64, rate: u64) -> Option<String> {
    let seconds = bytes.div_ceil(rate.max(1));
    match (rate, seconds) {
        (0, _) => None,
        (_, 0..60) => Some(format!("{seconds}s left")),
        (_, 60..3600) => Some(format!("{}m{:02}s left", seconds / 60, seconds % 60)),
        (_, 3600..360_000) => Some(format!("{}h{:02}m left", seconds / 3600, seconds % 3600 / 60)),
        _ => None,
    }
}

/// The display is redrawn ten times a second.
pub(super) const REFRESH: Duration = Duration::from_millis(100);
/// The interval between two lines where there is no bar.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_cut_at_the_width_of_the_terminal() {
        assert_eq!(fitting("abcdef", 3), "abc");
        assert_eq!(fitting("abc", 3), "abc");
        assert_eq!(fitting("日本語", 5), "日本");
        assert_eq!(fitting("a…b", 3), "a…b");
        assert_eq!(short(&"x".repeat(30), 24).width(), 24);
    }
}
