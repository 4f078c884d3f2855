//! Commands that wait in the input while another runs. They stay there, so that a full input causes
//! back-pressure. `ABOR`, `QUIT` and `STAT` are noticed wherever they are.

use super::line::{LineResult, Lines};
use crate::base::buffers::ReceiveBuffer;

/// Takes commands from the input in order, and looks ahead at waiting ones.
#[derive(Default)]
pub struct CommandQueue {
    lines: Lines,
    /// Scans the lines after the examined ones, which stay in the input.
    ahead: Lines,
    /// The number of examined bytes of the input.
    examined: usize,
    /// The number of examined lines that are `ABOR`.
    aborts: usize,
    /// The number of examined lines that are `QUIT`.
    quits: usize,
}

/// The result of [`CommandQueue::look_ahead`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookAhead {
    /// A line that waits for its turn.
    Line,
    /// `STAT` without a path, taken out of the queue.
    Status,
}

impl CommandQueue {
    /// Takes the next line.
    pub fn take(&mut self, input: &mut ReceiveBuffer) -> LineResult {
        let before = input.filled().len();
        let taken = self.lines.take(input);
        let used = before - input.filled().len();
        if used <= self.examined && self.examined > 0 {
            if let LineResult::Line(line) = &taken {
                self.aborts -= usize::from(is(line, b"ABOR"));
                self.quits -= usize::from(is(line, b"QUIT"));
            }
            self.examined -= used;
        } else {
            self.forget_examined();
        }
        taken
    }

    /// Returns whether a whole line waits.
    pub fn has_line(&self, input: &ReceiveBuffer) -> bool {
        self.lines.peek(input).is_some()
    }

    /// Examines the next line. Returns `None` if there is none. A `STAT` without a path is taken out of the
    /// queue if `takes_status` is set, since it need not wait.
    pub fn look_ahead(&mut self, input: &mut ReceiveBuffer, takes_status: bool) -> Option<LookAhead> {
        if self.examined == 0 {
            self.forget_examined();
        }
        let (taken, used) = self.ahead.scan_at(input, self.examined);
        match taken {
            LineResult::Line(line) if takes_status && is_status(&line) => {
                input.remove(self.examined, used);
                return Some(LookAhead::Status);
            }
            LineResult::Line(line) => {
                self.aborts += usize::from(is(&line, b"ABOR"));
                self.quits += usize::from(is(&line, b"QUIT"));
            }
            LineResult::TooLong => {}
            // Bytes without a line end may be the beginning of a command.
            LineResult::Nothing => return None,
        }
        self.examined += used;
        Some(LookAhead::Line)
    }

    /// Returns whether one of the examined lines is `ABOR`.
    pub fn has_abort(&self) -> bool {
        self.aborts > 0
    }

    /// Returns whether one of the examined lines is `QUIT`.
    pub fn has_quit(&self) -> bool {
        self.quits > 0
    }

    fn forget_examined(&mut self) {
        (self.examined, self.aborts, self.quits) = (0, 0, 0);
        self.ahead = self.lines;
    }
}

/// Returns whether `line` is the command `name`, in any case. Arguments are ignored.
fn is(line: &[u8], name: &[u8]) -> bool {
    line.split(|&byte| byte == b' ').next().is_some_and(|word| word.eq_ignore_ascii_case(name))
}

/// Returns whether `line` is `STAT` without a path.
fn is_status(line: &[u8]) -> bool {
    line.trim_ascii_end().eq_ignore_ascii_case(b"STAT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ftp::line::FTP_LINE_BYTES_MAX;

    fn put(input: &mut ReceiveBuffer, bytes: &[u8]) {
        input.room(64 * 1024)[..bytes.len()].copy_from_slice(bytes);
        input.commit(bytes.len());
    }

    fn taken(queue: &mut CommandQueue, input: &mut ReceiveBuffer) -> Vec<LineResult> {
        std::iter::from_fn(|| Some(queue.take(input)).filter(|taken| *taken != LineResult::Nothing)).collect()
    }

    fn lines(lines: &[&[u8]]) -> Vec<LineResult> {
        lines.iter().map(|line| LineResult::Line(line.to_vec())).collect()
    }

    #[test]
    fn a_waiting_line_is_seen_and_stays_in_order_or_is_taken_out() {
        let sent = b"NOOP\r\n\xff\xf4\xff\xf2ABOR\r\nstat\r\nSTAT folder\r\nRETR a\r\nSTAT \r\nQUIT now\r\nABO";
        for step in [1, 2, 5, 64] {
            let (mut input, mut queue, mut statuses) = (ReceiveBuffer::default(), CommandQueue::default(), 0);
            for piece in sent.chunks(step) {
                put(&mut input, piece);
                while let Some(seen) = queue.look_ahead(&mut input, true) {
                    statuses += usize::from(seen == LookAhead::Status);
                }
            }
            assert!(queue.has_abort() && queue.has_quit() && statuses == 2, "by {step}: {statuses}");
            let left = taken(&mut queue, &mut input);
            assert_eq!(left, lines(&[b"NOOP", b"ABOR", b"STAT folder", b"RETR a", b"QUIT now"]), "by {step}");
            assert!(!queue.has_abort() && !queue.has_quit());
            put(&mut input, b"R\r\n");
            assert_eq!(queue.look_ahead(&mut input, true), Some(LookAhead::Line));
            assert!(queue.has_abort(), "by {step}");
        }
    }

    #[test]
    fn lines_taken_between_two_looks_are_counted_once() {
        let (mut input, mut queue) = (ReceiveBuffer::default(), CommandQueue::default());
        put(&mut input, b"ABOR\r\nNOOP\r\n");
        while queue.look_ahead(&mut input, true).is_some() {}
        assert_eq!(queue.take(&mut input), LineResult::Line(b"ABOR".to_vec()));
        assert!(!queue.has_abort());
        put(&mut input, b"ABOR\r\n");
        assert_eq!(taken(&mut queue, &mut input), lines(&[b"NOOP", b"ABOR"]));
        assert!(!queue.has_abort());
        put(&mut input, b"QUIT\r\n");
        while queue.look_ahead(&mut input, true).is_some() {}
        assert!(queue.has_quit() && !queue.has_abort());
    }

    #[test]
    fn a_word_within_a_line_that_is_too_long_is_no_command() {
        let (mut input, mut queue) = (ReceiveBuffer::default(), CommandQueue::default());
        put(&mut input, b"NOOP\r\n");
        put(&mut input, &vec![b'a'; FTP_LINE_BYTES_MAX + 3]);
        while queue.look_ahead(&mut input, true).is_some() {}
        put(&mut input, b"ABOR\r\nQUIT\r\n");
        while queue.look_ahead(&mut input, true).is_some() {}
        assert!(!queue.has_abort() && queue.has_quit());
        assert_eq!(
            taken(&mut queue, &mut input),
            [&lines(&[b"NOOP"])[..], &[LineResult::TooLong], &lines(&[b"QUIT"])].concat()
        );
    }
}
