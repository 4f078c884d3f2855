//! How far a transfer is: a bar on a terminal, now and then a line elsewhere. It shows bytes
//! that really moved, how fast they did in the last seconds, and never the whole before the other
//! side or the digest confirmed it. Of many files there is one bar, and a line for each that is done.

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
    /// Not at all.
    Silent,
}

impl Style {
    /// A bar where there is a terminal that can draw it.
    pub fn choose(is_quiet: bool, no_progress: bool) -> Self {
        match (is_quiet || no_progress, io::stderr().is_terminal() && draws()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// The progress of one transfer, or of many files together. It disappears when dropped.
pub struct Progress(Rc<RefCell<Picture>>);

/// What connections that move files at the same time have in common. One of them draws it.
#[derive(Clone)]
pub struct Share {
    moved: Arc<Moved>,
    total_bytes: Option<u64>,
}

/// How far all connections are together.
#[derive(Default)]
struct Moved {
    /// Bytes that need not move any more.
    done_bytes: AtomicU64,
    /// Bytes that moved, once or again.
    moved_bytes: AtomicU64,
    /// Files that are done and not shown: their names and sizes.
    finished: Mutex<Vec<(String, u64)>>,
}

/// What is drawn, and how.
struct Picture {
    style: Style,
    bar: Option<ProgressBar<Line>>,
    state: State,
    last_shown: Instant,
    is_verifying: bool,
    /// Another one draws it.
    is_beside: bool,
}

/// What there is to show.
struct State {
    what: What,
    /// `None` where it turns out at the end.
    total_bytes: Option<u64>,
    moved: Arc<Moved>,
    pace: RateMeter,
}

/// Of what.
enum What {
    /// One file; its name, fit for a terminal.
    File(String),
    /// So many files, and how many are done.
    Files { done: usize, total: usize },
}

impl Progress {
    /// Of one file; `name` is shown beside it and must be fit for a terminal. Where the size is
    /// not known, only what moved is shown.
    pub fn of_file(style: Style, name: &str, total_bytes: Option<u64>) -> Self {
        Self::new(style, What::File(name.to_string()), total_bytes)
    }

    /// Of many files together.
    pub fn of_files(style: Style, files: usize, total_bytes: u64) -> Self {
        Self::new(style, What::Files { done: 0, total: files }, Some(total_bytes))
    }

    fn new(style: Style, what: What, total_bytes: Option<u64>) -> Self {
        let now = Instant::now();
        let is_empty = total_bytes == Some(0) && matches!(what, What::File(_));
        let bar = (style == Style::Bar && !is_empty).then(|| {
            let mut bar = ProgressBar::on(Line, total_bytes.unwrap_or(u64::MAX));
            // What pbr tells beside bar and share counts from the beginning, not the last seconds.
            (bar.show_counter, bar.show_speed, bar.show_time_left) = (false, false, false);
            (bar.show_bar, bar.show_percent) = (total_bytes.is_some(), total_bytes.is_some());
            bar
        });
        let state = State { what, total_bytes, moved: Arc::default(), pace: RateMeter::new(now) };
        // What is over in a moment needs no picture.
        let picture = Picture { style, bar, state, last_shown: now, is_verifying: false, is_beside: false };
        Self(Rc::new(RefCell::new(picture)))
    }

    /// For [`Progress::beside`], on another thread.
    pub fn share(&self) -> Share {
        let state = &self.0.borrow().state;
        Share { moved: Arc::clone(&state.moved), total_bytes: state.total_bytes }
    }

    /// Counts what another one shows.
    pub fn beside(share: Share) -> Self {
        let progress = Self::new(Style::Silent, What::Files { done: 0, total: usize::MAX }, share.total_bytes);
        {
            let mut picture = progress.0.borrow_mut();
            picture.state.moved = share.moved;
            picture.is_beside = true;
        }
        progress
    }

    /// `bytes` need not be moved, because they are there from an earlier try.
    pub fn found(&mut self, bytes: u64) {
        self.0.borrow_mut().change(|moved| add(&moved.done_bytes, bytes));
    }

    /// `bytes` more have moved.
    pub fn advance(&mut self, bytes: u64) {
        self.0.borrow_mut().change(|moved| {
            add(&moved.done_bytes, bytes);
            add(&moved.moved_bytes, bytes);
        });
    }

    /// `bytes` that moved were lost on the way and must move again.
    pub fn redo(&mut self, bytes: u64) {
        self.0.borrow_mut().change(|moved| subtract(&moved.done_bytes, bytes));
    }

    /// One of many files is done.
    pub fn finish_file(&mut self, name: impl Display, size: u64) {
        let mut picture = self.0.borrow_mut();
        picture.state.moved.finished().push((name.to_string(), size));
        picture.show(Instant::now());
    }

    /// How much is done, of 100.
    pub fn percent(&self) -> u64 {
        self.0.borrow().state.percent()
    }

    /// All bytes have moved; what remains is the proof. Of many files this is said of the last.
    pub fn verify(&mut self) {
        let is_last = match self.0.borrow().state.what {
            What::File(_) => true,
            What::Files { done, total } => done + 1 >= total,
        };
        if is_last {
            self.verify_all();
        }
    }

    /// All bytes of all files have moved, unless another connection is at it still.
    pub fn verify_all(&mut self) {
        let mut picture = self.0.borrow_mut();
        let is_whole = picture.state.total_bytes.is_none_or(|total| picture.state.done_bytes() >= total);
        if is_whole || !picture.state.is_shared() {
            picture.verify();
        }
    }

    /// Not all bytes have moved after all.
    pub fn go_on(&mut self) {
        self.0.borrow_mut().is_verifying = false;
    }

    /// For whoever waits: to be called now and then, so that what stands still is seen to.
    pub fn ticker(&self) -> Box<dyn Fn()> {
        let picture = Rc::downgrade(&self.0);
        Box::new(move || {
            if let Some(picture) = picture.upgrade()
                && let Ok(mut picture) = picture.try_borrow_mut()
                && picture.style == Style::Bar
            {
                picture.show(Instant::now());
            }
        })
    }

    /// Shows what another connection moved meanwhile.
    pub fn tick(&mut self) {
        self.0.borrow_mut().change(|_| ());
    }
}

impl Picture {
    fn change(&mut self, change: impl FnOnce(&Moved)) {
        change(&self.state.moved);
        if self.style != Style::Silent {
            self.show(Instant::now());
        }
    }

    fn show(&mut self, now: Instant) {
        if !self.is_beside {
            self.state.pace.reach(self.state.moved.moved_bytes.load(Ordering::Relaxed), now);
            self.tell_finished();
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

    /// A line for each file that is done.
    fn tell_finished(&mut self) {
        let finished = std::mem::take(&mut *self.state.moved.finished());
        let What::Files { done, .. } = &mut self.state.what else { return };
        *done += finished.len();
        for (name, size) in finished.into_iter().filter(|_| self.style == Style::Bar) {
            output::line_over_bar(format_args!("{name}  {}", Size(size)));
        }
    }

    fn verify(&mut self) {
        if std::mem::replace(&mut self.is_verifying, true) {
            return;
        }
        self.draw(Instant::now());
        if self.style == Style::Lines && self.state.pace.elapsed() >= LINE_INTERVAL {
            let _ = writeln!(io::stderr(), "{}: verifying", self.state.label(usize::MAX));
        }
    }

    /// Draws the bar into the terminal as wide as it is now.
    fn draw(&mut self, now: Instant) {
        let Some(bar) = &mut self.bar else { return };
        let columns = Line::columns();
        let message = self.state.message(columns, self.is_verifying, now);
        // pbr counts characters, of which some are two columns wide.
        let surplus = message.width().saturating_sub(message.chars().count());
        bar.set_width(Some(columns.saturating_sub(surplus)));
        bar.message(&message);
        bar.set(shown_bytes(self.state.done_bytes(), bar.total));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0.borrow().bar.is_some() {
            output::make_way();
        }
    }
}

impl Moved {
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
        self.moved.done_bytes.load(Ordering::Relaxed)
    }

    /// Whether another connection moves files too.
    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.moved) > 1
    }

    fn percent(&self) -> u64 {
        let total = self.total_bytes.unwrap_or(0);
        (shown_bytes(self.done_bytes(), total) as f64 / total.max(1) as f64 * 100.0) as u64
    }

    /// What stands before the bar: as much of it as leaves room for one, the most telling last.
    fn message(&self, columns: usize, is_verifying: bool, now: Instant) -> String {
        let mut message = self.label(columns / 3);
        let rate = self.pace.rate(now);
        if is_verifying {
            // Nothing moves any more, so there is no rate to tell.
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

    /// `big.bin` or `12/340 files`, of at most so many columns.
    fn label(&self, columns: usize) -> String {
        match &self.what {
            What::File(name) => short(name, columns.min(LABEL_COLUMNS_MAX)),
            What::Files { done, total } => format!("{done}/{total} files"),
        }
    }

    /// `1m40s left`; nothing where it cannot be told.
    fn time_left(&self, rate: u64) -> Option<String> {
        time_left(self.total_bytes?.saturating_sub(self.done_bytes()), rate)
    }

    /// `big.bin: 45 %, 450M of 1G, 200M/s, 3s left`.
    fn line(&self, now: Instant) -> String {
        let (label, rate) = (self.label(usize::MAX), self.pace.rate(now));
        let Some(total) = self.total_bytes else {
            return format!("{label}: {}, {}/s", Size(self.done_bytes()), Size(rate));
        };
        let (done, percent) = (shown_bytes(self.done_bytes(), total), self.percent());
        let left = self.time_left(rate).unwrap_or_else(|| "waiting".into());
        format!("{label}: {percent} %, {} of {}, {}/s, {left}", Size(done), Size(total), Size(rate))
    }
}

/// `1m40s left` for so many bytes at so many per second; nothing where it cannot be told.
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

/// What a bar may claim before the transfer is confirmed: at most 99.9 %.
fn shown_bytes(done: u64, total: u64) -> u64 {
    done.min(total - total.div_ceil(1000))
}

/// A label that leaves room for the bar.
pub(super) fn short(label: &str, columns: usize) -> String {
    if label.width() <= columns {
        return label.to_string();
    }
    format!("{}…", fitting(label, columns.saturating_sub(1)))
}

/// The last line of standard error; where that is closed, nobody is looking. pbr panics when its writer
/// fails, and does not mind whether what it draws fits the terminal.
pub(super) struct Line;

impl Line {
    /// Columns that can be filled without the terminal going on in the next line.
    pub(super) fn columns() -> usize {
        terminal_columns(&io::stderr()).unwrap_or(COLUMNS_DEFAULT).saturating_sub(1)
    }
}

impl Write for Line {
    /// pbr hands a whole bar over in one call, behind its carriage return in another.
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

/// As much of `line` as fits `columns`.
pub(super) fn fitting(line: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = line.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    end.map_or(line, |(at, _)| &line[..at])
}

/// Ten pictures a second are enough.
pub(super) const REFRESH: Duration = Duration::from_millis(100);
/// Between two lines where there is no bar.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// A name, two sizes, a rate, a time, a bar and a share fit.
const COLUMNS_FOR_COUNTER: usize = 75;
/// A name, a rate, a time, a bar and a share fit.
const COLUMNS_FOR_TIME: usize = 55;
/// A name, a rate, a bar and a share fit.
const COLUMNS_FOR_SPEED: usize = 38;
/// Longer names are cut.
const LABEL_COLUMNS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// One second in, and `moved` bytes further.
    fn state(what: What, total_bytes: Option<u64>, moved: u64) -> (State, Instant) {
        let start = Instant::now();
        let mut pace = RateMeter::new(start);
        pace.add_at(moved, start + Duration::from_secs(1));
        let moved = Arc::new(Moved { done_bytes: moved.into(), ..Moved::default() });
        (State { what, total_bytes, moved, pace }, start + Duration::from_secs(1))
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
        let file = || What::File("a".into());
        let (shown, now) = state(file(), Some(4 << 20), 1 << 20);
        assert_eq!(shown.line(now), "a: 25 %, 1M of 4M, 1M/s, 3s left");
        let (shown, now) = state(file(), Some(400 << 20), 1 << 20);
        assert_eq!(shown.line(now), "a: 0 %, 1M of 400M, 1M/s, 6m39s left");
        let (shown, now) = state(file(), Some(0), 0);
        assert_eq!(shown.line(now), "a: 0 %, 0 of 0, 0/s, waiting");
        let (shown, now) = state(file(), None, 1 << 20);
        assert_eq!(shown.line(now), "a: 1M, 1M/s");
        let (shown, now) = state(What::Files { done: 3, total: 9 }, Some(4 << 20), 1 << 20);
        assert_eq!(shown.line(now), "3/9 files: 25 %, 1M of 4M, 1M/s, 3s left");
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out() {
        let (shown, now) = state(What::File("日本語".repeat(5)), Some(4 << 20), 1 << 20);
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
