//! The commands that wait in the inbox while another is carried out. They stay there, so that a full
//! inbox holds back a peer that sends too fast. `ABOR`, `QUIT` and `STAT` are noticed wherever they stand.

use super::line::{Lines, Taken};
use crate::base::buffers::Buffer;

/// Takes commands from the inbox in their order, and looks ahead at those that wait.
#[derive(Default)]
pub struct CommandQueue {
    lines: Lines,
    /// Reads the lines behind the examined ones, without taking them.
    ahead: Lines,
    /// The number of bytes of the inbox that were examined.
    examined: usize,
    /// The number of examined lines that are `ABOR`.
    aborts: usize,
    /// The number of examined lines that are `QUIT`.
    quits: usize,
}

/// What [`CommandQueue::look_ahead`] met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A line that waits for its turn.
    Line,
    /// `STAT` without a path, taken out of the queue.
    Status,
}

impl CommandQueue {
    /// Takes the next line.
    pub fn take(&mut self, inbox: &mut Buffer) -> Taken {
        let before = inbox.filled().len();
        let taken = self.lines.take(inbox);
        let used = before - inbox.filled().len();
        if used <= self.examined && self.examined > 0 {
            if let Taken::Line(line) = &taken {
                self.aborts -= usize::from(is(line, b"ABOR"));
                self.quits -= usize::from(is(line, b"QUIT"));
            }
            self.examined -= used;
        } else {
            self.forget_examined();
        }
        taken
    }

    /// Whether a whole line waits.
    pub fn has_line(&self, inbox: &Buffer) -> bool {
        self.lines.peek(inbox).is_some()
    }

    /// Examines the next line that was not examined before. Returns `None` if there is none. A `STAT`
    /// without a path is taken out of the queue if `takes_status`, since it need not wait.
    pub fn look_ahead(&mut self, inbox: &mut Buffer, takes_status: bool) -> Option<Seen> {
        if self.examined == 0 {
            self.forget_examined();
        }
        let (taken, used) = self.ahead.take_ahead(inbox, self.examined);
        match taken {
            Taken::Line(line) if takes_status && is_status(&line) => {
                inbox.remove(self.examined, used);
                return Some(Seen::Status);
            }
            Taken::Line(line) => {
                self.aborts += usize::from(is(&line, b"ABOR"));
                self.quits += usize::from(is(&line, b"QUIT"));
            }
            Taken::TooLong => {}
            // Bytes without a line end may be the beginning of a command.
            Taken::Nothing => return None,
        }
        self.examined += used;
        Some(Seen::Line)
    }

    /// Whether one of the examined lines is `ABOR`.
    pub fn has_abort(&self) -> bool {
        self.aborts > 0
    }

    /// Whether one of the examined lines is `QUIT`.
    pub fn has_quit(&self) -> bool {
        self.quits > 0
    }

    fn forget_examined(&mut self) {
        (self.examined, self.aborts, self.quits) = (0, 0, 0);
        self.ahead = self.lines;
    }
}

/// Whether `line` is the command `name`, however it is written. What stands behind it is ignored.
fn is(line: &[u8], name: &[u8]) -> bool {
    line.split(|&byte| byte == b' ').next().is_some_and(|word| word.eq_ignore_ascii_case(name))
}

/// Whether `line` is `STAT` without a path.
fn is_status(line: &[u8]) -> bool {
    line.trim_ascii_end().eq_ignore_ascii_case(b"STAT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(inbox: &mut Buffer, bytes: &[u8]) {
        inbox.room(64 * 1024)[..bytes.len()].copy_from_slice(bytes);
        inbox.commit(bytes.len());
    }

    fn taken(queue: &mut CommandQueue, inbox: &mut Buffer) -> Vec<Taken> {
        std::iter::from_fn(|| Some(queue.take(inbox)).filter(|taken| *taken != Taken::Nothing)).collect()
    }

    fn lines(lines: &[&[u8]]) -> Vec<Taken> {
        lines.iter().map(|line| Taken::Line(line.to_vec())).collect()
    }

    #[test]
    fn what_stands_behind_others_is_seen_and_stays_in_its_place_or_is_taken_out() {
        let input = b"NOOP\r\n\xff\xf4\xff\xf2ABOR\r\nstat\r\nSTAT folder\r\nRETR a\r\nSTAT \r\nQUIT now\r\nABO";
        for step in [1, 2, 5, 64] {
            let (mut inbox, mut queue, mut statuses) = (Buffer::default(), CommandQueue::default(), 0);
            for piece in input.chunks(step) {
                put(&mut inbox, piece);
                while let Some(seen) = queue.look_ahead(&mut inbox, true) {
                    statuses += usize::from(seen == Seen::Status);
                }
            }
            assert!(queue.has_abort() && queue.has_quit() && statuses == 2, "by {step}: {statuses}");
            let left = taken(&mut queue, &mut inbox);
            assert_eq!(left, lines(&[b"NOOP", b"ABOR", b"STAT folder", b"RETR a", b"QUIT now"]), "by {step}");
            assert!(!queue.has_abort() && !queue.has_quit());
            put(&mut inbox, b"R\r\n");
            assert_eq!(queue.look_ahead(&mut inbox, true), Some(Seen::Line));
            assert!(queue.has_abort(), "by {step}");
        }
    }

    #[test]
    fn lines_taken_between_two_looks_are_counted_once() {
        let (mut inbox, mut queue) = (Buffer::default(), CommandQueue::default());
        put(&mut inbox, b"ABOR\r\nNOOP\r\n");
        while queue.look_ahead(&mut inbox, true).is_some() {}
        assert_eq!(queue.take(&mut inbox), Taken::Line(b"ABOR".to_vec()));
        assert!(!queue.has_abort());
        put(&mut inbox, b"ABOR\r\n");
        assert_eq!(taken(&mut queue, &mut inbox), lines(&[b"NOOP", b"ABOR"]));
        assert!(!queue.has_abort());
        put(&mut inbox, b"QUIT\r\n");
        while queue.look_ahead(&mut inbox, true).is_some() {}
        assert!(queue.has_quit() && !queue.has_abort());
    }

    #[test]
    fn a_word_within_a_line_that_is_too_long_is_no_command() {
        let (mut inbox, mut queue) = (Buffer::default(), CommandQueue::default());
        put(&mut inbox, b"NOOP\r\n");
        put(&mut inbox, &vec![b'a'; crate::base::limits::FTP_LINE_BYTES_MAX + 3]);
        while queue.look_ahead(&mut inbox, true).is_some() {}
        put(&mut inbox, b"ABOR\r\nQUIT\r\n");
        while queue.look_ahead(&mut inbox, true).is_some() {}
        assert!(!queue.has_abort() && queue.has_quit());
        assert_eq!(
            taken(&mut queue, &mut inbox),
            [&lines(&[b"NOOP"])[..], &[Taken::TooLong], &lines(&[b"QUIT"])].concat()
        );
    }
}
