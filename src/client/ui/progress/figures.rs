//! The figures of a transfer, and how they are written. Simultaneous connections share the counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::base::text::Size;
use crate::client::ui::meter::RateMeter;
use crate::client::ui::status_line::{short, time_left};

/// The counters of all connections together.
#[derive(Default)]
pub(super) struct Counters {
    /// Bytes that need no further transfer.
    pub(super) done_bytes: AtomicU64,
    /// Bytes that were transferred, including repeated ones.
    pub(super) moved_bytes: AtomicU64,
    /// Completed files that are not shown yet: their names and sizes.
    pub(super) finished: Mutex<Vec<(String, u64)>>,
}

/// The values to show.
pub(super) struct Figures {
    pub(super) subject: Subject,
    /// The total size; `None` if only the end of the transfer tells it.
    pub(super) total_bytes: Option<u64>,
    pub(super) counters: Arc<Counters>,
    pub(super) rate_meter: RateMeter,
}

/// The files of the transfer.
pub(super) enum Subject {
    /// One file, with its name in printable form.
    File(String),
    /// Many files: how many are done, and how many there are.
    Files { done: usize, total: usize },
}

impl Counters {
    pub(super) fn finished(&self) -> MutexGuard<'_, Vec<(String, u64)>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    pub(super) fn done_bytes(&self) -> u64 {
        self.counters.done_bytes.load(Ordering::Relaxed)
    }

    /// Returns whether another connection transfers files too.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.counters) > 1
    }

    pub(super) fn percent(&self) -> u64 {
        let total = self.total_bytes.unwrap_or(0);
        (shown_bytes(self.done_bytes(), total) as f64 / total.max(1) as f64 * 100.0) as u64
    }

    /// Returns the text before the bar, as much as leaves room for the bar. The most important part comes last.
    pub(super) fn message(&self, columns: usize, is_verifying: bool, now: Instant) -> String {
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
    pub(super) fn label(&self, columns: usize) -> String {
        match &self.subject {
            Subject::File(name) => short(name, columns.min(LABEL_COLUMNS_MAX)),
            Subject::Files { done, total } => format!("{done}/{total} files"),
        }
    }

    /// Formats `1m40s left`; `None` if the time is unknown.
    pub(super) fn time_left(&self, rate: u64) -> Option<String> {
        time_left(self.total_bytes?.saturating_sub(self.done_bytes()), rate)
    }

    /// Formats `big.bin: 45 %, 450M of 1G, 200M/s, 3s left`.
    pub(super) fn line(&self, now: Instant) -> String {
        let (label, rate) = (self.label(usize::MAX), self.rate_meter.rate(now));
        let Some(total) = self.total_bytes else {
            return format!("{label}: {}, {}/s", Size(self.done_bytes()), Size(rate));
        };
        let (done, percent) = (shown_bytes(self.done_bytes(), total), self.percent());
        let left = self.time_left(rate).unwrap_or_else(|| "waiting".into());
        format!("{label}: {percent} %, {} of {}, {}/s, {left}", Size(done), Size(total), Size(rate))
    }
}

pub(super) fn add(count: &AtomicU64, bytes: u64) {
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_add(bytes)));
}

pub(super) fn subtract(count: &AtomicU64, bytes: u64) {
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_sub(bytes)));
}

/// Returns the bytes that a bar shows before the transfer is confirmed: at most 99.9 %.
pub(super) fn shown_bytes(done: u64, total: u64) -> u64 {
    done.min(total - total.div_ceil(1000))
}

/// Returns whether a transfer since the last call has moved bytes that are kept, and starts counting again.
pub fn take_has_kept_bytes() -> bool {
    KEPT_BYTES.swap(0, Ordering::Relaxed) > 0
}

/// Notes that the server dropped `bytes` that were sent, because it refused the file.
pub fn note_dropped(bytes: u64) {
    subtract(&KEPT_BYTES, bytes);
}

pub(super) fn note_kept(bytes: u64) {
    add(&KEPT_BYTES, bytes);
}

/// The number of bytes that the transfers of a command have moved and that are kept. It is a static because two connections work for
/// one command.
static KEPT_BYTES: AtomicU64 = AtomicU64::new(0);

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
    use std::time::Duration;

    use super::*;

    /// Returns a state after one second, with `moved_bytes` bytes transferred.
    fn state(subject: Subject, total_bytes: Option<u64>, moved_bytes: u64) -> (Figures, Instant) {
        let start = Instant::now();
        let mut rate_meter = RateMeter::new(start);
        rate_meter.add_at(moved_bytes, start + Duration::from_secs(1));
        let counters = Arc::new(Counters { done_bytes: moved_bytes.into(), ..Counters::default() });
        (Figures { subject, total_bytes, counters, rate_meter }, start + Duration::from_secs(1))
    }

    #[test]
    fn no_transfer_shows_100_percent_before_it_is_confirmed() {
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
    fn parts_that_do_not_fit_are_left_out() {
        let (shown, now) = state(Subject::File("日本語".repeat(5)), Some(4 << 20), 1 << 20);
        assert_eq!(shown.message(79, false, now), "日本語日本語日本語日本… 1M/4M 1M/s 3s left ");
        assert_eq!(shown.message(60, false, now), "日本語日本語日本語… 1M/s 3s left ");
        assert_eq!(shown.message(39, false, now), "日本語日本語… 1M/s ");
        assert_eq!(shown.message(20, false, now), "日本… ");
        assert_eq!(shown.message(39, true, now), "日本語日本語… verifying ");
    }
}
