//! The progress of a transfer: a bar on a terminal, otherwise a line now and then. It shows the bytes that were
//! really transferred and their rate over the last seconds. It never shows 100 % before the other side or the
//! digest has confirmed the transfer. Many files share one bar, with a line for each completed file.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pbr::ProgressBar;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::base::text::Size;
use crate::client::ui::meter::RateMeter;
use crate::client::ui::output::{self, COLUMNS_DEFAULT, terminal_columns};
use crate::client::ui::terminal::draws;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar on standard error.
    Bar,
    /// A line on standard error every few seconds.
    Lines,
    /// Nothing is shown.
    Silent,
}

impl Style {
    /// Chooses a bar if the terminal can draw it.
    pub fn choose(is_quiet: bool, no_progress: bool) -> Self {
        match (is_quiet || no_progress, io::stderr().is_terminal() && draws()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// The progress of one transfer, or of many files together. The display disappears when this is dropped.
pub struct Progress(Rc<RefCell<ProgressDisplay>>);

/// The progress that simultaneous connections share. One of them draws it.
#[derive(Clone)]
pub struct SharedProgress {
    counters: Arc<Counters>,
    total_bytes: Option<u64>,
}

/// The counters of all connections together.
#[derive(Default)]
struct Counters {
    /// Bytes that need no further transfer.
    done_bytes: AtomicU64,
    /// Bytes that were transferred, including repeated ones.
    moved_bytes: AtomicU64,
    /// Completed files that are not shown yet: their names and sizes.
    finished: Mutex<Vec<(String, u64)>>,
}

/// The display and its state.
struct ProgressDisplay {
    style: Style,
    bar: Option<ProgressBar<Line>>,
    state: State,
    last_shown: Instant,
    is_verifying: bool,
    /// The first connection draws the display.
    is_drawn_elsewhere: bool,
}

/// The values to show.
struct State {
    subject: Subject,
    /// The total size; `None` if only the end of the transfer tells it.
    total_bytes: Option<u64>,
    counters: Arc<Counters>,
    rate_meter: RateMeter,
}

/// The files of the transfer.
enum Subject {
    /// One file, with its name in printable form.
    File(String),
    /// Many files: how many are done, and how many there are.
    Files { done: usize, total: usize },
}

impl Progress {
    /// Creates the progress of one file. `name` is shown and must be printable. Without a known size, only the
    /// number of transferred bytes is shown.
    pub fn of_file(style: Style, name: &str, total_bytes: Option<u64>) -> Self {
        Self::new(style, Subject::File(name.to_string()), total_bytes)
    }

    /// Creates the progress of many files together.
    pub fn of_files(style: Style, files: usize, total_bytes: u64) -> Self {
        Self::new(style, Subject::Files { done: 0, total: files }, Some(total_bytes))
    }

    fn new(style: Style, subject: Subject, total_bytes: Option<u64>) -> Self {
        let now = Instant::now();
        let is_empty = total_bytes == Some(0) && matches!(subject, Subject::File(_));
        let bar = (style == Style::Bar && !is_empty).then(|| {
            let mut bar = ProgressBar::on(Line, total_bytes.unwrap_or(u64::MAX));
            // pbr computes its own figures from the beginning, not over the last seconds.
            (bar.show_counter, bar.show_speed, bar.show_time_left) = (false, false, false);
            (bar.show_bar, bar.show_percent) = (total_bytes.is_some(), total_bytes.is_some());
            bar
        });
        let state = State { subject, total_bytes, counters: Arc::default(), rate_meter: RateMeter::new(now) };
        // A short operation needs no display, so the first one comes after an interval.
        let display =
            ProgressDisplay { style, bar, state, last_shown: now, is_verifying: false, is_drawn_elsewhere: false };
        Self(Rc::new(RefCell::new(display)))
    }

    /// Returns the shared part for [`Progress::of_thread`] on another thread.
    pub fn share(&self) -> SharedProgress {
        let state = &self.0.borrow().state;
        SharedProgress { counters: Arc::clone(&state.counters), total_bytes: state.total_bytes }
    }

    /// Creates a progress that counts and that another connection shows.
    pub fn of_thread(share: SharedProgress) -> Self {
        let progress = Self::new(Style::Silent, Subject::Files { done: 0, total: usize::MAX }, share.total_bytes);
        {
            let mut display = progress.0.borrow_mut();
            display.state.counters = share.counters;
            display.is_drawn_elsewhere = true;
        }
        progress
    }

    /// Notes `bytes` that need no transfer, because an earlier attempt transferred them.
    pub fn skip(&mut self, bytes: u64) {
        self.0.borrow_mut().change(|counters| add(&counters.done_bytes, bytes));
    }

    /// Notes the transfer of `bytes` more.
    pub fn advance(&mut self, bytes: u64) {
        self.0.borrow_mut().change(|counters| {
            add(&counters.done_bytes, bytes);
            add(&counters.moved_bytes, bytes);
        });
    }

    /// Notes that `bytes` were lost and must be transferred again.
    pub fn take_back(&mut self, bytes: u64) {
        self.0.borrow_mut().change(|counters| subtract(&counters.done_bytes, bytes));
    }

    /// Notes that one of many files is done.
    pub fn finish_file(&mut self, name: impl Display, size: u64) {
        let mut display = self.0.borrow_mut();
        display.state.counters.finished().push((name.to_string(), size));
        display.show(Instant::now());
    }

    /// Returns the completed percentage, from 0 to 100.
    pub fn percent(&self) -> u64 {
        self.0.borrow().state.percent()
    }

    /// Notes that all bytes are transferred and only the verification remains. With many files, this applies to
    /// the last one.
    pub fn begin_verification(&mut self) {
        let is_last = match self.0.borrow().state.subject {
            Subject::File(_) => true,
            Subject::Files { done, total } => done + 1 >= total,
        };
        if is_last {
            self.begin_verification_of_all();
        }
    }

    /// Notes that all bytes of all files are transferred, unless another connection is still transferring.
    pub fn begin_verification_of_all(&mut self) {
        let mut display = self.0.borrow_mut();
        let is_whole = display.state.total_bytes.is_none_or(|total| display.state.done_bytes() >= total);
        if is_whole || !display.state.is_shared() {
            display.begin_verification();
        }
    }

    /// Notes that some bytes must still be transferred.
    pub fn resume(&mut self) {
        self.0.borrow_mut().is_verifying = false;
    }

    /// Returns a function that refreshes the display. The caller calls it regularly while it waits.
    pub fn ticker(&self) -> Box<dyn Fn()> {
        let display = Rc::downgrade(&self.0);
        Box::new(move || {
            if let Some(display) = display.upgrade()
                && let Ok(mut display) = display.try_borrow_mut()
                && display.style == Style::Bar
            {
                display.show(Instant::now());
            }
        })
    }

    /// Shows what another connection has transferred.
    pub fn tick(&mut self) {
        self.0.borrow_mut().change(|_| ());
    }
}

impl ProgressDisplay {
    fn change(&mut self, change: impl FnOnce(&Counters)) {
        change(&self.state.counters);
        if self.style != Style::Silent {
            self.show(Instant::now());
        }
    }

    fn show(&mut self, now: Instant) {
        if !self.is_drawn_elsewhere {
            self.state.rate_meter.reach(self.state.counters.moved_bytes.load(Ordering::Relaxed), now);
            self.show_finished();
        }
        let interval = if self.style == Style::Bar { REFRESH } else { LINE_INTERVAL };
        if now.duration_since(self.last_shown) < interval {
            return;
        }
        match self.style {
            Style::Bar => self.draw(now),
            Style::Lines => {
                let _ = writeln!(io::stderr(), "{}", self.state.line(now));
            }
            Style::Silent => {}
        }
        self.last_shown = now;
    }

    /// Writes a line for each completed file.
    fn show_finished(&mut self) {
        let finished = std::mem::take(&mut *self.state.counters.finished());
        let Subject::Files { done, .. } = &mut self.state.subject else { return };
        *done += finished.len();
        for (name, size) in finished.into_iter().filter(|_| self.style == Style::Bar) {
            output::line_over_bar(format_args!("{name}  {}", Size(size)));
        }
    }

    fn begin_verification(&mut self) {
        if std::mem::replace(&mut self.is_verifying, true) {
            return;
        }
        self.draw(Instant::now());
        if self.style == Style::Lines && self.state.rate_meter.elapsed() >= LINE_INTERVAL {
            let _ = writeln!(io::stderr(), "{}: verifying", self.state.label(usize::MAX));
        }
    }

    /// Draws the bar at the current width of the terminal.
    fn draw(&mut self, now: Instant) {
        let Some(bar) = &mut self.bar else { return };
        let columns = Line::columns();
        let message = self.state.message(columns, self.is_verifying, now);
        // pbr counts characters, but some characters are two columns wide.
        let surplus = message.width().saturating_sub(message.chars().count());
        bar.set_width(Some(columns.saturating_sub(surplus)));
        bar.message(&message);
        bar.set(shown_bytes(self.state.done_bytes(), bar.total));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0.borrow().bar.is_some() {
            output::erase_bar();
        }
    }
}

impl Counters {
    fn finished(&self) -> MutexGuard<'_, Vec<(String, u64)>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(count: &AtomicU64, bytes: u64) {
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_add(bytes)));
}

fn subtract(count: &AtomicU64, bytes: u64) {
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_sub(bytes)));
}

impl State {
    fn done_bytes(&self) -> u64 {
        self.counters.done_bytes.load(Ordering::Relaxed)
    }

    /// Returns whether another connection transfers files too.
    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.counters) > 1
    }

    fn percent(&self) -> u64 {
        let total = self.total_bytes.unwrap_or(0);
        (shown_bytes(self.done_bytes(), total) as f64 / total.max(1) as f64 * 100.0) as u64
    }

    /// Returns the text before the bar, as much as leaves room for the bar. The most important part comes last.
    fn message(&self, columns: usize, is_verifying: bool, now: Instant) -> String {
        let mut message = self.label(columns / 3);
        let rate = self.rate_meter.rate(now);
        if is_verifying {
            // No bytes are transferred any more, so there is no rate.
            return message + " verifying ";
        }
        if columns >= COLUMNS_FOR_COUNTER || self.total_bytes.is_none() {
            let of = self.total_bytes.map(|total| format!("/{}", Size(total))).unwrap_or_default();
            message += &format!(" {}{of}", Size(self.done_bytes()));
        }
        if columns >= COLUMNS_FOR_SPEED {
            message += &format!(" {}/s", Size(rate));
        }
        if columns >= COLUMNS_FOR_TIME
            && let Some(left) = self.time_left(rate)
        {
            message += &format!(" {left}");
        }
        message + " "
    }

    /// Formats `big.bin` or `12/340 files` in at most `columns` columns.
    fn label(&self, columns: usize) -> String {
        match &self.subject {
            Subject::File(name) => short(name, columns.min(LABEL_COLUMNS_MAX)),
            Subject::Files { done, total } => format!("{done}/{total} files"),
        }
    }

    /// Formats `1m40s left`; `None` if the time is unknown.
    fn time_left(&self, rate: u64) -> Option<String> {
        time_left(self.total_bytes?.saturating_sub(self.done_bytes()), rate)
    }

    /// Formats `big.bin: 45 %, 450M of 1G, 200M/s, 3s left`.
    fn line(&self, now: Instant) -> String {
        let (label, rate) = (self.label(usize::MAX), self.rate_meter.rate(now));
        let Some(total) = self.total_bytes else {
            return format!("{label}: {}, {}/s", Size(self.done_bytes()), Size(rate));
        };
        let (done, percent) = (shown_bytes(self.done_bytes(), total), self.percent());
        let left = self.time_left(rate).unwrap_or_else(|| "waiting".into());
        format!("{label}: {percent} %, {} of {}, {}/s, {left}", Size(done), Size(total), Size(rate))
    }
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

/// Returns the bytes that a bar shows before the transfer is confirmed: at most 99.9 %.
fn shown_bytes(done: u64, total: u64) -> u64 {
    done.min(total - total.div_ceil(1000))
}

/// Shortens a label so that it leaves room for the bar.
pub(super) fn short(label: &str, columns: usize) -> String {
    if label.width() <= columns {
        return label.to_string();
    }
    format!("{}…", fitting(label, columns.saturating_sub(1)))
}

/// The last line of standard error. Errors are ignored, because pbr panics when its writer fails. pbr does not
/// fit its output to the terminal's width, so this writer does.
pub(super) struct Line;

impl Line {
    /// Returns the number of columns that can be filled without a line wrap.
    pub(super) fn columns() -> usize {
        terminal_columns(&io::stderr()).unwrap_or(COLUMNS_DEFAULT).saturating_sub(1)
    }
}

impl Write for Line {
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

/// The display is redrawn ten times a second.
pub(super) const REFRESH: Duration = Duration::from_millis(100);
/// The interval between two lines where there is no bar.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// The width at which a name, two sizes, a rate, a time, a bar and a percentage fit.
const COLUMNS_FOR_COUNTER: usize = 75;
/// The width at which a name, a rate, a time, a bar and a percentage fit.
const COLUMNS_FOR_TIME: usize = 55;
/// The width at which a name, a rate, a bar and a percentage fit.
const COLUMNS_FOR_SPEED: usize = 38;
/// Longer names are shortened.
const LABEL_COLUMNS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a state after one second, with `moved_bytes` bytes transferred.
    fn state(subject: Subject, total_bytes: Option<u64>, moved_bytes: u64) -> (State, Instant) {
        let start = Instant::now();
        let mut rate_meter = RateMeter::new(start);
        rate_meter.add_at(moved_bytes, start + Duration::from_secs(1));
        let counters = Arc::new(Counters { done_bytes: moved_bytes.into(), ..Counters::default() });
        (State { subject, total_bytes, counters, rate_meter }, start + Duration::from_secs(1))
    }

    #[test]
    fn nothing_is_whole_before_it_is_confirmed() {
        for (done, total, shown) in [(0, 0, 0), (1, 1, 0), (999, 1000, 999), (1000, 1000, 999), (5, 3, 2)] {
            assert_eq!(shown_bytes(done, total), shown, "{done} of {total}");
        }
        assert!(shown_bytes(u64::MAX, u64::MAX) < u64::MAX);
    }

    #[test]
    fn lines_have_rate_and_time_left() {
        let file = || Subject::File("a".into());
        let (shown, now) = state(file(), Some(4 << 20), 1 << 20);
        assert_eq!(shown.line(now), "a: 25 %, 1M of 4M, 1M/s, 3s left");
        let (shown, now) = state(file(), Some(400 << 20), 1 << 20);
        assert_eq!(shown.line(now), "a: 0 %, 1M of 400M, 1M/s, 6m39s left");
        let (shown, now) = state(file(), Some(0), 0);
        assert_eq!(shown.line(now), "a: 0 %, 0 of 0, 0/s, waiting");
        let (shown, now) = state(file(), None, 1 << 20);
        assert_eq!(shown.line(now), "a: 1M, 1M/s");
        let (shown, now) = state(Subject::Files { done: 3, total: 9 }, Some(4 << 20), 1 << 20);
        assert_eq!(shown.line(now), "3/9 files: 25 %, 1M of 4M, 1M/s, 3s left");
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out() {
        let (shown, now) = state(Subject::File("日本語".repeat(5)), Some(4 << 20), 1 << 20);
        assert_eq!(shown.message(79, false, now), "日本語日本語日本語日本… 1M/4M 1M/s 3s left ");
        assert_eq!(shown.message(60, false, now), "日本語日本語日本語… 1M/s 3s left ");
        assert_eq!(shown.message(39, false, now), "日本語日本語… 1M/s ");
        assert_eq!(shown.message(20, false, now), "日本… ");
        assert_eq!(shown.message(39, true, now), "日本語日本語… verifying ");
    }

    #[test]
    fn a_bar_is_cut_where_the_terminal_ends() {
        assert_eq!(fitting("abcdef", 3), "abc");
        assert_eq!(fitting("abc", 3), "abc");
        assert_eq!(fitting("日本語", 5), "日本");
        assert_eq!(fitting("a…b", 3), "a…b");
        assert_eq!(short(&"x".repeat(30), 24).width(), 24);
    }
}
