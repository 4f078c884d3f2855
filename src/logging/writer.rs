//! A thread that writes lines, so that no other thread waits for a slow file or terminal. Lines for a
//! local disk are written without it, which is cheaper:
//!
//! ```text
//! append (any thread) ──> lines waiting, bounded ──> sink (its thread) ──> file, pipe or terminal
//! ```
//!
//! Lines without room are dropped and counted; the sink reports their number where they are missing.

use jiff::Timestamp;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Writes lines; may block.
pub(super) trait Sink: Send {
    /// Writes whole lines, after which `lost` others are missing.
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
    /// How long lines may wait for others that are written with them.
    linger: Duration,
    /// Locked while lines are written.
    sink: Mutex<Box<dyn Sink>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    lost: u64,
    wants_reopen: bool,
    thread: Thread,
    /// A caller waits for all lines to be written.
    is_hurried: bool,
    /// The thread was slow, and callers do not wait for it until then.
    is_slow_until: Option<Instant>,
}

/// The state of the thread.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// Not started. [`Writer::flush`] writes.
    #[default]
    Missing,
    /// Waits for lines.
    Asleep,
    /// Waits for more lines.
    Lingering,
    /// Writes.
    Writing,
}

impl Waiting {
    fn is_done(&self) -> bool {
        self.lines.is_empty() && self.lost == 0 && !self.wants_reopen && self.thread != Thread::Writing
    }

    /// Takes the number of lost lines, and whether the sink must be reopened.
    fn take_rest(&mut self) -> (u64, bool) {
        (std::mem::take(&mut self.lost), std::mem::take(&mut self.wants_reopen))
    }

    /// Returns whether lines may wait for others.
    fn may_wait(&self) -> bool {
        !self.is_hurried && !self.wants_reopen && self.lost == 0 && self.lines.len() < HURRY_BYTES
    }
}

impl Writer {
    pub(super) fn new(sink: Box<dyn Sink>, waiting_bytes_max: usize, linger: Duration) -> Self {
        Self {
            waiting: Mutex::default(),
            wanted: Condvar::new(),
            done: Condvar::new(),
            waiting_bytes_max,
            linger,
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
        if waiting.lines.len() >= HURRY_BYTES {
            self.hurry(&mut waiting);
        }
    }

    /// Makes sure that the lines are written soon: at once, if that is quick or there is no thread.
    pub(super) fn flush(&self) {
        let waiting = lock(&self.waiting);
        match waiting.thread {
            Thread::Missing => self.write_here(waiting),
            Thread::Asleep if !waiting.is_done() => self.write_if_quick(waiting),
            _ => {}
        }
    }

    /// Like [`Writer::flush`], but writes only if that is quick, and waits briefly for the thread, so that
    /// a line appears before its consequences. After a timeout no caller waits again for a while.
    pub(super) fn flush_and_settle(&self) {
        let waiting = lock(&self.waiting);
        if matches!(waiting.thread, Thread::Missing | Thread::Asleep) && !waiting.is_done() {
            self.write_if_quick(waiting);
        } else {
            drop(waiting);
        }
        let waiting = lock(&self.waiting);
        if waiting.is_done()
            || waiting.thread == Thread::Missing
            || waiting.is_slow_until.is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        let unfinished = |waiting: &mut Waiting| !waiting.is_done();
        let settled = self.done.wait_timeout_while(waiting, SETTLE_PATIENCE, unfinished);
        let (mut waiting, result) = settled.unwrap_or_else(PoisonError::into_inner);
        waiting.is_slow_until = result.timed_out().then(|| Instant::now() + SLOW_PERIOD);
    }

    /// Writes at once if that is quicker than the thread, unless the last such write was slow.
    fn write_if_quick(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let began = Instant::now();
        let may = !waiting.wants_reopen && waiting.is_slow_until.is_none_or(|until| began >= until);
        // While the thread sleeps, only another thread in this function writes.
        let sink = if may { self.sink.try_lock().ok().filter(|sink| sink.writes_fast()) } else { None };
        let Some(mut sink) = sink else { return self.wanted.notify_one() };
        let (mut lines, rest) = (std::mem::take(&mut waiting.lines), waiting.take_rest());
        drop(waiting);
        write(&mut **sink, &mut lines, rest);
        let mut waiting = lock(&self.waiting);
        waiting.is_slow_until = (began.elapsed() > QUICK).then(|| Instant::now() + SLOW_PERIOD);
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
            Thread::Missing => self.write_here(waiting),
            _ => self.hurry(&mut waiting),
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
        waiting.is_hurried = true;
        self.hurry(&mut waiting);
        let patience = deadline.saturating_duration_since(Instant::now());
        let unfinished = |waiting: &mut Waiting| waiting.thread != Thread::Missing && !waiting.is_done();
        let result = self.done.wait_timeout_while(waiting, patience, unfinished);
        result.unwrap_or_else(PoisonError::into_inner).0.is_hurried = false;
    }

    /// Starts the thread. It keeps the rights of this moment.
    pub(super) fn start(&'static self, name: &str) -> io::Result<()> {
        lock(&self.waiting).thread = Thread::Writing;
        let thread = thread::Builder::new().name(name.into()).stack_size(STACK_BYTES);
        let started = thread.spawn(move || self.run());
        if started.is_err() {
            lock(&self.waiting).thread = Thread::Missing;
        }
        started.map(drop)
    }

    fn run(&self) {
        let mut lines = Vec::new();
        loop {
            let mut waiting = self.now(Thread::Asleep);
            waiting =
                self.wanted.wait_while(waiting, |waiting| waiting.is_done()).unwrap_or_else(PoisonError::into_inner);
            waiting.thread = Thread::Writing;
            std::mem::swap(&mut lines, &mut waiting.lines);
            let rest = waiting.take_rest();
            // Another thread's write is short and needs the lock of `waiting` again.
            drop(waiting);
            write(&mut **lock(&self.sink), &mut lines, rest);
            let waiting = self.now(Thread::Lingering);
            drop(self.wanted.wait_timeout_while(waiting, self.linger, |waiting| waiting.may_wait()));
        }
    }

    /// Sets the state of the thread.
    fn now(&self, thread: Thread) -> MutexGuard<'_, Waiting> {
        let mut waiting = lock(&self.waiting);
        waiting.thread = thread;
        if waiting.is_done() {
            self.done.notify_all();
        }
        waiting
    }

    fn hurry(&self, waiting: &mut MutexGuard<'_, Waiting>) {
        if matches!(waiting.thread, Thread::Asleep | Thread::Lingering) {
            self.wanted.notify_one();
        }
    }

    fn write_here(&self, mut waiting: MutexGuard<'_, Waiting>) {
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
    lines.shrink_to(HURRY_BYTES);
}

/// Adds one line, whatever bytes the message has. A line that is too long is cut.
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

/// A panic while a line was formatted leaves at worst half a line behind.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enough for a working stderr. A blocked one delays the loop only once in a period.
const SETTLE_PATIENCE: Duration = Duration::from_millis(20);
/// A slower write to a local disk is waiting for something.
const QUICK: Duration = Duration::from_millis(20);
const SLOW_PERIOD: Duration = Duration::from_secs(60);
/// Waiting lines of this size are written at once: a write costs a system call, and a crash must not
/// lose more.
const HURRY_BYTES: usize = 64 * 1024;
/// No line of a caller is as long; a system's text might be.
const LINE_BYTES_MAX: usize = 4096;
const STACK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Passes on what is written, once allowed.
    struct Slow {
        may: Receiver<()>,
        written: Sender<(String, u64)>,
    }

    impl Sink for Slow {
        fn write(&mut self, lines: &[u8], lost: u64) {
            self.may.recv().expect("it is let on");
            let _ = self.written.send((String::from_utf8_lossy(lines).into_owned(), lost));
        }

        fn writes_fast(&self) -> bool {
            false
        }
    }

    fn writer() -> (&'static Writer, Sender<()>, Receiver<(String, u64)>) {
        let ((may_tell, may), (written, written_told)) = (channel(), channel());
        let writer = Writer::new(Box::new(Slow { may, written }), 1000, Duration::ZERO);
        (Box::leak(Box::new(writer)), may_tell, written_told)
    }

    fn append(writer: &Writer, text: &str) {
        writer.append(Timestamp::UNIX_EPOCH, format_args!("{text}"));
    }

    #[test]
    fn a_record_is_one_line_whatever_the_caller_forgot() {
        let (writer, may, written) = writer();
        append(writer, "user=a\nb\x1b[2J\r");
        append(writer, &"ä".repeat(10_000));
        may.send(()).expect("it waits");
        writer.flush();
        let (lines, lost) = written.recv().expect("without a thread it is written here");
        let (first, second) = lines.split_once('\n').expect("two lines");
        assert_eq!((first, lost), ("1970-01-01T00:00:00.000Z user=a b [2J ", 0));
        assert!(second.ends_with("ä…\n") && second.len() <= LINE_BYTES_MAX + 1, "{}", second.len());
    }

    #[test]
    fn nobody_waits_for_a_sink_that_takes_nothing_and_what_is_lost_is_counted_in_one_place() {
        let (writer, may, written) = writer();
        writer.start("test").expect("threads are left");
        append(writer, "first");
        writer.flush();
        wait_for(|| lock(&writer.waiting).lines.is_empty());
        for number in 0..1000 {
            append(writer, &format!("number={number:03}"));
        }
        writer.finish(Instant::now());
        assert!(!writer.is_done());
        may.send(()).expect("it waits");
        assert_eq!(written.recv().expect("it goes on").1, 0);
        may.send(()).expect("it waits");
        let (lines, lost) = written.recv().expect("it goes on");
        let kept = lines.lines().count();
        assert!(lines.len() >= 1000 && lines.len() < 1100 && lines.ends_with(&format!("number={:03}\n", kept - 1)));
        assert_eq!(lost, 1000 - kept as u64);
        append(writer, "last");
        may.send(()).expect("it waits");
        writer.finish(Instant::now() + Duration::from_secs(60));
        assert!(writer.is_done());
        assert_eq!(written.recv().expect("it was written").0, "1970-01-01T00:00:00.000Z last\n");
    }

    fn wait_for(mut condition: impl FnMut() -> bool) {
        while !condition() {
            thread::yield_now();
        }
    }
}
