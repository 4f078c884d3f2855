//! The progress of hashing. On a terminal with bars, a status line appears after a delay. It names the file and the
//! side, and shows the local progress and how long the server has been hashing. A terminal without bars gets a line
//! every few seconds, and no other output gets any.

use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use unicode_width::UnicodeWidthStr;

use crate::base::text::{Escaped, Size};
use crate::base::virtual_path::VirtualPath;
use crate::client::files::local::shown;
use crate::client::ui::amounts::Elapsed;
use crate::client::ui::meter::RateMeter;
use crate::client::ui::output;
use crate::client::ui::progress::ProgressStyle;
use crate::client::ui::status_line::{LINE_INTERVAL, REFRESH, StatusLine, fitting, short, time_left};

/// The progress of hashing one or more files in order. For each file, call `next_remote`, then `begin_local`,
/// `set_done` and `finish_local` if the file is also hashed locally. The line disappears when this is dropped.
pub struct Hashing(Rc<RefCell<HashingDisplay>>);

struct HashingDisplay {
    style: ProgressStyle,
    /// The number of files, and the number of the current one, from 1.
    files: usize,
    number: usize,
    local: Option<LocalHashing>,
    remote: String,
    /// The time when hashing of the current file began.
    since: Instant,
    next_shown: Instant,
    is_shown: bool,
}

/// The local file.
struct LocalHashing {
    name: String,
    bytes: u64,
    done_bytes: u64,
    rate_meter: RateMeter,
}

impl Hashing {
    /// Shows the hashing of `files` files.
    pub fn for_files(style: ProgressStyle, files: usize) -> Self {
        let now = Instant::now();
        let (style, shown_after) = match style {
            ProgressStyle::Bar => (ProgressStyle::Bar, SHOWN_AFTER),
            ProgressStyle::Lines if io::stderr().is_terminal() => (ProgressStyle::Lines, LINE_INTERVAL),
            ProgressStyle::Lines | ProgressStyle::Silent => (ProgressStyle::Silent, Duration::ZERO),
        };
        Self(Rc::new(RefCell::new(HashingDisplay {
            style,
            files,
            number: 0,
            local: None,
            remote: String::new(),
            since: now,
            next_shown: now + shown_after,
            is_shown: false,
        })))
    }

    /// Shows the hashing of one local file of `bytes` bytes.
    pub fn for_local(style: ProgressStyle, path: &Path, bytes: u64) -> Self {
        let hashing = Self::for_files(style, 1);
        hashing.begin_local(path, bytes);
        hashing
    }

    /// Shows the hashing of one remote file.
    pub fn for_remote(style: ProgressStyle, path: &VirtualPath) -> Self {
        let hashing = Self::for_files(style, 1);
        hashing.next_remote(path);
        hashing
    }

    /// Moves on to the next file, which the server hashes under this path.
    pub fn next_remote(&self, path: &VirtualPath) {
        let mut display = self.0.borrow_mut();
        let name = Escaped(path.name().unwrap_or(b"/")).to_string();
        (display.local, display.remote, display.since) = (None, name, Instant::now());
        display.number += 1;
    }

    /// Notes that the current file is also hashed locally, under this path and with `bytes` bytes.
    pub fn begin_local(&self, path: &Path, bytes: u64) {
        let rate_meter = RateMeter::new(Instant::now());
        let name = shown(Path::new(path.file_name().unwrap_or(path.as_os_str()))).to_string();
        self.0.borrow_mut().local = Some(LocalHashing { name, bytes, done_bytes: 0, rate_meter });
    }

    /// Notes that `bytes` bytes of the local file are hashed.
    pub fn set_done(&self, bytes: u64) {
        let mut display = self.0.borrow_mut();
        let now = Instant::now();
        if let Some(local) = &mut display.local {
            local.done_bytes = bytes;
            local.rate_meter.reach(bytes, now);
        }
        display.show(now);
    }

    /// Notes that the local file is hashed and only the server's digest is missing.
    pub fn finish_local(&self) {
        self.0.borrow_mut().local = None;
    }

    /// Returns a function that refreshes the line. The caller calls it regularly while it waits for the server.
    pub fn ticker(&self) -> Box<dyn Fn()> {
        let display = Rc::downgrade(&self.0);
        Box::new(move || {
            if let Some(display) = display.upgrade()
                && let Ok(mut display) = display.try_borrow_mut()
            {
                display.show(Instant::now());
            }
        })
    }
}

impl HashingDisplay {
    fn show(&mut self, now: Instant) {
        if self.style == ProgressStyle::Silent || now < self.next_shown {
            return;
        }
        let columns = StatusLine::columns();
        let line = self.line(columns, now);
        if self.style == ProgressStyle::Lines {
            self.next_shown = now + LINE_INTERVAL;
            return output::line_over_bar(line);
        }
        self.next_shown = now + REFRESH;
        self.is_shown = true;
        output::show_bar(fitting(&line, columns));
    }

    /// Formats `checking 3/12 local big.bin  45 %  9s left  1.2G/s` or `checking remote big.bin  12s`.
    fn line(&self, columns: usize, now: Instant) -> String {
        let number = if self.files > 1 { format!("{}/{} ", self.number, self.files) } else { String::new() };
        let Some(local) = &self.local else {
            let waited = match now.duration_since(self.since) {
                waited if waited.as_secs() < 60 => format!("{}s", waited.as_secs().max(1)),
                waited => Elapsed(waited).to_string(),
            };
            return format!("checking {number}remote {}  {waited}", short(&self.remote, columns / 3));
        };
        let percent = local.done_bytes.min(local.bytes) as f64 / local.bytes.max(1) as f64 * 100.0;
        let rate = local.rate_meter.rate(now);
        let left = time_left(local.bytes.saturating_sub(local.done_bytes), rate);
        let mut line = format!("checking {number}local {}  {percent:.0} %", short(&local.name, columns / 3));
        // Parts that do not fit are left out.
        for part in left.into_iter().chain([format!("{}/s", Size(rate))]) {
            if line.width() + part.width() + 2 < columns {
                line += &format!("  {part}");
            }
        }
        line
    }
}

impl Drop for HashingDisplay {
    fn drop(&mut self) {
        if self.is_shown {
            output::erase_bar();
        }
    }
}

/// A shorter operation needs no status line.
const SHOWN_AFTER: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_hashing_names_side_progress_and_time() {
        let path = |text: &str| VirtualPath::parse(text.as_bytes()).expect("valid");
        let hashing = Hashing::for_remote(ProgressStyle::Bar, &path("/a/big.bin"));
        let line = |columns, seconds| {
            let display = hashing.0.borrow();
            display.line(columns, display.since + Duration::from_secs(seconds))
        };
        assert_eq!(line(80, 12), "checking remote big.bin  12s");
        assert_eq!(line(80, 75), "checking remote big.bin  1m15s");
        hashing.begin_local(Path::new("b/copy.bin"), 4 << 20);
        assert_eq!(line(80, 1), "checking local copy.bin  0 %  0/s");
        if let Some(local) = &mut hashing.0.borrow_mut().local {
            let at = Instant::now();
            local.rate_meter = RateMeter::new(at - Duration::from_secs(1));
            local.done_bytes = 1 << 20;
            local.rate_meter.reach(1 << 20, at);
        }
        assert!(line(80, 1).starts_with("checking local copy.bin  25 %  "), "{}", line(80, 1));
        hashing.finish_local();
        assert_eq!(line(80, 2), "checking remote big.bin  2s");
        let many = Hashing::for_files(ProgressStyle::Bar, 12);
        many.next_remote(&path("/a"));
        many.next_remote(&path(&format!("/{}", "日本語".repeat(9))));
        let display = many.0.borrow();
        assert_eq!(display.line(40, display.since), "checking 2/12 remote 日本語日本語…  1s");
    }
}
