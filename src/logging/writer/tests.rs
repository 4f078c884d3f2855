//! Lines for a sink that is slow, or takes nothing.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

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
