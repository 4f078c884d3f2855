//! Writes lines. Lines for a slow sink, such as a pipe or a file on a network, are written by a thread, so
//! that no other thread waits for it. Lines for a fast sink, a file on a local disk, are written by the
//! caller of [`Writer::flush`], which is cheaper than waking the thread:
//!
//! ```text
//! append (any thread) ──> waiting lines, bounded ──> flush, or the thread ──> sink
//! ```
//!
//! [`ThreadState`] says which of the two may write. Lines without room are dropped and counted; the sink
//! reports their number where they are missing.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Writes lines; may block.
pub(super) trait Sink: Send {
    /// Writes whole lines. After them, `lost` others are missing.
    fn write(&mut self, lines: &[u8], lost: u64);

    /// Reopens its file by name.
    fn reopen(&mut self) {}

    /// Returns whether a write does not block, such as one to a file of a local disk.
    fn writes_fast(&self) -> bool;
}

/// The lines of one sink.
pub(super) struct Writer {
    waiting: Mutex<Waiting>,
    /// Wakes the thread for work.
    wanted: Condvar,
    /// Signals that all work is done.
    done: Condvar,
    /// The bound on waiting lines.
    waiting_bytes_max: usize,
    /// How long the thread collects lines after a write, to write them together.
    batch_delay: Duration,
    /// Locked by the thread or the caller that writes.
    sink: Mutex<Box<dyn Sink>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    lost: u64,
    wants_reopen: bool,
    thread: ThreadState,
    /// A caller waits for all lines to be written.
    must_write_now: bool,
    /// Until this time, no caller writes to the sink or waits for the thread, because the sink was slow.
    no_wait_until: Option<Instant>,
}

/// The state of the thread.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum ThreadState {
    /// Not started. [`Writer::flush`] writes, to a slow sink too.
    #[default]
    Missing,
    /// Waits for lines. [`Writer::flush`] writes to a fast sink and wakes the thread for a slow one.
    Asleep,
    /// Waits for more lines after a write.
    CollectingLines,
    /// Writes, or waits until a caller has written.
    Writing,
}

impl Waiting {
    fn is_done(&self) -> bool {
        self.lines.is_empty() && self.lost == 0 && !self.wants_reopen && self.thread != ThreadState::Writing
    }

    /// Takes the number of lost lines, and whether the sink must be reopened.
    fn take_rest(&mut self) -> (u64, bool) {
        (std::mem::take(&mut self.lost), std::mem::take(&mut self.wants_reopen))
    }

    /// Returns whether waiting lines may be collected longer.
    fn may_wait(&self) -> bool {
        !self.must_write_now && !self.wants_reopen && self.lost == 0 && self.lines.len() < WRITE_NOW_BYTES
    }
}

impl Writer {
    pub(super) fn new(sink: Box<dyn Sink>, waiting_bytes_max: usize, batch_delay: Duration) -> Self {
        Self {
            waiting: Mutex::default(),
            wanted: Condvar::new(),
            done: Condvar::new(),
            waiting_bytes_max,
            batch_delay,
            sink: Mutex::new(sink),
        }
    }

    /// Adds a line, or counts it if there is no room.
    pub(super) fn append(&self, time: Timestamp, message: fmt::Arguments<'_>) {
        let mut waiting = lock(&self.waiting);
        // After a lost line the next ones are dropped, too, so that the gap is in one place.
        if waiting.lost > 0 || waiting.lines.len() >= self.waiting_bytes_max {
            waiting.lost += 1;
            return;
        }
        put_line(&mut waiting.lines, time, message);
        if waiting.lines.len() >= WRITE_NOW_BYTES {
            self.wake_thread(&mut waiting);
        }
    }

    /// Makes sure that waiting lines are written soon. Writes them itself if the sink is fast or there is no
    /// thread.
    pub(super) fn flush(&self) {
        let waiting = lock(&self.waiting);
        match waiting.thread {
            ThreadState::Missing => self.write_now(waiting),
            ThreadState::Asleep if !waiting.is_done() => self.write_now_if_fast(waiting),
            _ => {}
        }
    }

    /// Like [`Writer::flush`], but writes itself only to a fast sink, and waits briefly for the thread, so that
    /// a line appears before the effects of what it reports. After a timeout no caller waits for a while.
    pub(super) fn flush_and_wait(&self) {
        let waiting = lock(&self.waiting);
        if matches!(waiting.thread, ThreadState::Missing | ThreadState::Asleep) && !waiting.is_done() {
            self.write_now_if_fast(waiting);
        } else {
            drop(waiting);
        }
        let waiting = lock(&self.waiting);
        if waiting.is_done()
            || waiting.thread == ThreadState::Missing
            || waiting.no_wait_until.is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        let unfinished = |waiting: &mut Waiting| !waiting.is_done();
        let waited = self.done.wait_timeout_while(waiting, WAIT_MAX, unfinished);
        let (mut waiting, result) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.no_wait_until = result.timed_out().then(|| Instant::now() + SLOW_PERIOD);
    }

    /// Writes at once if the sink is fast and its last write was not slow. Otherwise wakes the thread.
    fn write_now_if_fast(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let began = Instant::now();
        let may = !waiting.wants_reopen && waiting.no_wait_until.is_none_or(|until| began >= until);
        // While the thread is asleep, the lock is taken only by another caller of this function.
        let sink = if may { self.sink.try_lock().ok().filter(|sink| sink.writes_fast()) } else { None };
        let Some(mut sink) = sink else { return self.wanted.notify_one() };
        let (mut lines, rest) = (std::mem::take(&mut waiting.lines), waiting.take_rest());
        drop(waiting);
        write(&mut **sink, &mut lines, rest);
        let mut waiting = lock(&self.waiting);
        waiting.no_wait_until = (began.elapsed() > FAST_WRITE_MAX).then(|| Instant::now() + SLOW_PERIOD);
        // Its memory is reused.
        if waiting.lines.is_empty() {
            waiting.lines = lines;
        }
    }

    /// Requests a reopen of the sink.
    pub(super) fn reopen(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.wants_reopen = true;
        match waiting.thread {
            ThreadState::Missing => self.write_now(waiting),
            _ => self.wake_thread(&mut waiting),
        }
    }

    /// Returns whether all work is done.
    pub(super) fn is_done(&self) -> bool {
        lock(&self.waiting).is_done()
    }

    /// Waits until all is written, or until `deadline`.
    pub(super) fn finish(&self, deadline: Instant) {
        self.flush();
        let mut waiting = lock(&self.waiting);
        waiting.must_write_now = true;
        self.wake_thread(&mut waiting);
        let patience = deadline.saturating_duration_since(Instant::now());
        let unfinished = |waiting: &mut Waiting| waiting.thread != ThreadState::Missing && !waiting.is_done();
        let result = self.done.wait_timeout_while(waiting, patience, unfinished);
        result.unwrap_or_else(PoisonError::into_inner).0.must_write_now = false;
    }

    /// Starts the thread. It keeps the rights of this moment.
    pub(super) fn start(&'static self, name: &str) -> io::Result<()> {
        lock(&self.waiting).thread = ThreadState::Writing;
        let thread = thread::Builder::new().name(name.into()).stack_size(STACK_BYTES);
        let started = thread.spawn(move || self.run());
        if started.is_err() {
            lock(&self.waiting).thread = ThreadState::Missing;
        }
        started.map(drop)
    }

    fn run(&self) {
        let mut lines = Vec::new();
        loop {
            let mut waiting = self.set_state(ThreadState::Asleep);
            waiting =
                self.wanted.wait_while(waiting, |waiting| waiting.is_done()).unwrap_or_else(PoisonError::into_inner);
            waiting.thread = ThreadState::Writing;
            std::mem::swap(&mut lines, &mut waiting.lines);
            let rest = waiting.take_rest();
            // Another thread's write is short and needs the lock of `waiting` again.
            drop(waiting);
            write(&mut **lock(&self.sink), &mut lines, rest);
            let waiting = self.set_state(ThreadState::CollectingLines);
            drop(self.wanted.wait_timeout_while(waiting, self.batch_delay, |waiting| waiting.may_wait()));
        }
    }

    /// Sets the state of the thread. Tells those that wait if all work is done.
    fn set_state(&self, thread: ThreadState) -> MutexGuard<'_, Waiting> {
        let mut waiting = lock(&self.waiting);
        waiting.thread = thread;
        if waiting.is_done() {
            self.done.notify_all();
        }
        waiting
    }

    /// Wakes the thread, even if it is collecting lines.
    fn wake_thread(&self, waiting: &mut MutexGuard<'_, Waiting>) {
        if matches!(waiting.thread, ThreadState::Asleep | ThreadState::CollectingLines) {
            self.wanted.notify_one();
        }
    }

    fn write_now(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let (mut lines, rest) = (std::mem::take(&mut waiting.lines), waiting.take_rest());
        drop(waiting);
        write(&mut **lock(&self.sink), &mut lines, rest);
    }
}

fn write(sink: &mut dyn Sink, lines: &mut Vec<u8>, (lost, reopen): (u64, bool)) {
    if !lines.is_empty() || lost > 0 {
        sink.write(lines, lost);
    }
    if reopen {
        sink.reopen();
    }
    lines.clear();
    // A burst must not keep its memory.
    lines.shrink_to(WRITE_NOW_BYTES);
}

/// Adds one line. Control characters in the message become spaces, and a line that is too long is cut.
fn put_line(lines: &mut Vec<u8>, time: Timestamp, message: fmt::Arguments<'_>) {
    let start = lines.len();
    // Writing to a vector does not fail; a `Display` that does leaves what it wrote so far.
    let _ = write!(lines, "{time:.3} {message}");
    if lines.len() - start > LINE_BYTES_MAX {
        let line = String::from_utf8_lossy(&lines[start..]).into_owned();
        lines.truncate(start);
        lines.extend_from_slice(crate::base::text::shortened(line, LINE_BYTES_MAX).as_bytes());
    }
    for byte in &mut lines[start..] {
        if byte.is_ascii_control() {
            *byte = b' ';
        }
    }
    lines.push(b'\n');
}

/// Ignores that another thread panicked with the lock: at worst it left half a line.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a caller waits for the thread. Enough for a working stderr; a blocked one delays the loop only
/// once in [`SLOW_PERIOD`].
const WAIT_MAX: Duration = Duration::from_millis(20);
/// A write by a caller that takes longer than this is slow: the disk is busy.
const FAST_WRITE_MAX: Duration = Duration::from_millis(20);
/// How long callers do not wait for a sink that was slow.
const SLOW_PERIOD: Duration = Duration::from_secs(60);
/// Waiting lines of this size are written at once. Fewer would cost more system calls, and a crash would lose more.
const WRITE_NOW_BYTES: usize = 64 * 1024;
/// The maximum length of a line. Only an error text of the system can make a line longer.
const LINE_BYTES_MAX: usize = 4096;
const STACK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
