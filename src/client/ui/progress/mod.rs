//! The progress of a transfer: a bar on a terminal, otherwise a line every few seconds. It shows the bytes that were
//! really transferred and their rate over the last seconds. It never shows 100 % before the other side or the
//! digest has confirmed the transfer. Many files share one bar, with a line for each completed file.

mod figures;

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pbr::ProgressBar;
use unicode_width::UnicodeWidthStr;

use crate::base::text::Size;
use crate::client::ui::meter::RateMeter;
use crate::client::ui::output;
use crate::client::ui::status_line::{LINE_INTERVAL, REFRESH, StatusLine};
use crate::client::ui::terminal::supports_escape_sequences;
use figures::{Counters, Figures, Subject, add, note_kept, shown_bytes, subtract};
pub use figures::{note_dropped, take_has_kept_bytes};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressStyle {
    /// A bar on standard error.
    Bar,
    /// A line on standard error every few seconds.
    Lines,
    /// Nothing is shown.
    Silent,
}

impl ProgressStyle {
    /// Chooses a bar if the terminal can draw it.
    pub fn choose(is_quiet: bool, no_progress: bool) -> Self {
        match (is_quiet || no_progress, io::stderr().is_terminal() && supports_escape_sequences()) {
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

/// The display and its state.
struct ProgressDisplay {
    style: ProgressStyle,
    bar: Option<ProgressBar<StatusLine>>,
    figures: Figures,
    last_shown: Instant,
    is_verifying: bool,
    /// The first connection draws the display.
    is_drawn_elsewhere: bool,
}

impl Progress {
    /// Creates the progress of one file. `name` is shown and must be printable. Without a known size, only the
    /// number of transferred bytes is shown.
    pub fn for_file(style: ProgressStyle, name: &str, total_bytes: Option<u64>) -> Self {
        Self::new(style, Subject::File(name.to_string()), total_bytes)
    }

    /// Creates the progress of many files together.
    pub fn for_files(style: ProgressStyle, files: usize, total_bytes: u64) -> Self {
        Self::new(style, Subject::Files { done: 0, total: files }, Some(total_bytes))
    }

    fn new(style: ProgressStyle, subject: Subject, total_bytes: Option<u64>) -> Self {
        let now = Instant::now();
        let is_empty = total_bytes == Some(0) && matches!(subject, Subject::File(_));
        let bar = (style == ProgressStyle::Bar && !is_empty).then(|| {
            let mut bar = ProgressBar::on(StatusLine, total_bytes.unwrap_or(u64::MAX));
            // pbr computes its own figures from the beginning, not over the last seconds.
            (bar.show_counter, bar.show_speed, bar.show_time_left) = (false, false, false);
            (bar.show_bar, bar.show_percent) = (total_bytes.is_some(), total_bytes.is_some());
            bar
        });
        let figures = Figures { subject, total_bytes, counters: Arc::default(), rate_meter: RateMeter::new(now) };
        // A short operation needs no display, so the first one comes after an interval.
        let display =
            ProgressDisplay { style, bar, figures, last_shown: now, is_verifying: false, is_drawn_elsewhere: false };
        Self(Rc::new(RefCell::new(display)))
    }

    /// Returns the shared part for [`Progress::for_thread`] on another thread.
    pub fn share(&self) -> SharedProgress {
        let figures = &self.0.borrow().figures;
        SharedProgress { counters: Arc::clone(&figures.counters), total_bytes: figures.total_bytes }
    }

    /// Creates a progress that counts and that another connection shows.
    pub fn for_thread(share: SharedProgress) -> Self {
        // Only the first connection knows which file is the last, so no file here is.
        let progress =
            Self::new(ProgressStyle::Silent, Subject::Files { done: 0, total: usize::MAX }, share.total_bytes);
        {
            let mut display = progress.0.borrow_mut();
            display.figures.counters = share.counters;
            display.is_drawn_elsewhere = true;
        }
        progress
    }

    /// Notes `bytes` that need no transfer, because an earlier attempt transferred them.
    pub fn skip(&mut self, bytes: u64) {
        note_kept(bytes);
        self.0.borrow_mut().change(|counters| add(&counters.done_bytes, bytes));
    }

    /// Notes the transfer of `bytes` more.
    pub fn advance(&mut self, bytes: u64) {
        note_kept(bytes);
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
        note_kept(1);
        let mut display = self.0.borrow_mut();
        display.figures.counters.finished().push((name.to_string(), size));
        display.show(Instant::now());
    }

    /// Returns the completed percentage, from 0 to 100.
    pub fn percent(&self) -> u64 {
        self.0.borrow().figures.percent()
    }

    /// Notes that all bytes are transferred and only the verification remains. With many files, this applies to
    /// the last one.
    pub fn begin_verification(&mut self) {
        let is_last = match self.0.borrow().figures.subject {
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
        let is_whole = display.figures.total_bytes.is_none_or(|total| display.figures.done_bytes() >= total);
        if is_whole || !display.figures.is_shared() {
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
                && display.style == ProgressStyle::Bar
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
        change(&self.figures.counters);
        if self.style != ProgressStyle::Silent {
            self.show(Instant::now());
        }
    }

    fn show(&mut self, now: Instant) {
        if !self.is_drawn_elsewhere {
            self.figures.rate_meter.reach(self.figures.counters.moved_bytes.load(Ordering::Relaxed), now);
            self.show_finished();
        }
        let interval = if self.style == ProgressStyle::Bar { REFRESH } else { LINE_INTERVAL };
        if now.duration_since(self.last_shown) < interval {
            return;
        }
        match self.style {
            ProgressStyle::Bar => self.draw(now),
            ProgressStyle::Lines => {
                let _ = writeln!(io::stderr(), "{}", self.figures.line(now));
            }
            ProgressStyle::Silent => {}
        }
        self.last_shown = now;
    }

    /// Writes a line for each completed file.
    fn show_finished(&mut self) {
        let finished = std::mem::take(&mut *self.figures.counters.finished());
        let Subject::Files { done, .. } = &mut self.figures.subject else { return };
        *done += finished.len();
        for (name, size) in finished.into_iter().filter(|_| self.style == ProgressStyle::Bar) {
            output::line_over_bar(format_args!("{name}  {}", Size(size)));
        }
    }

    fn begin_verification(&mut self) {
        if std::mem::replace(&mut self.is_verifying, true) {
            return;
        }
        self.draw(Instant::now());
        if self.style == ProgressStyle::Lines && self.figures.rate_meter.elapsed() >= LINE_INTERVAL {
            let _ = writeln!(io::stderr(), "{}: verifying", self.figures.label(usize::MAX));
        }
    }

    /// Draws the bar at the current width of the terminal.
    fn draw(&mut self, now: Instant) {
        let Some(bar) = &mut self.bar else { return };
        let columns = StatusLine::columns();
        let message = self.figures.message(columns, self.is_verifying, now);
        // pbr counts characters, but some characters are two columns wide.
        let surplus = message.width().saturating_sub(message.chars().count());
        bar.set_width(Some(columns.saturating_sub(surplus)));
        bar.message(&message);
        bar.set(shown_bytes(self.figures.done_bytes(), bar.total));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0.borrow().bar.is_some() {
            output::erase_bar();
        }
    }
}
