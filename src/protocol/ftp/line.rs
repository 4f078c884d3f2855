//! Splits input into command lines: removes Telnet bytes (RFC 854, RFC 1123 4.1.2.10), decodes names by
//! RFC 2640, and bounds each line. It knows no command. A NUL in a line stands for a byte that no argument
//! may contain: a NUL that was sent, or a Telnet command within the argument.

use crate::base::buffers::ReceiveBuffer;
use crate::base::virtual_path::PATH_BYTES_MAX;

/// A command line with its end: a command, its arguments and the longest path, with space for a name in
/// which Telnet doubles some bytes. It fits the first receive buffer.
pub const FTP_LINE_BYTES_MAX: usize = PATH_BYTES_MAX + 1024;

/// The result of looking for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineResult {
    /// No whole line is in the input.
    Nothing,
    /// A non-empty line, without its end and Telnet bytes.
    Line(Vec<u8>),
    /// A line over [`FTP_LINE_BYTES_MAX`]. Returned once; the rest of the line is dropped.
    TooLong,
}

/// Takes lines from an input. Its only state is whether it is within a line that is too long.
#[derive(Default, Clone, Copy)]
pub struct Lines {
    is_discarding: bool,
}

impl Lines {
    /// Takes the next line.
    pub fn take(&mut self, input: &mut ReceiveBuffer) -> LineResult {
        let step = self.scan(input.filled());
        self.is_discarding = step.is_discarding;
        input.consume(step.used);
        step.taken
    }

    /// Returns the next line and leaves it in the input.
    pub fn peek(&self, input: &ReceiveBuffer) -> Option<Vec<u8>> {
        match self.scan(input.filled()).taken {
            LineResult::Line(line) => Some(line),
            LineResult::Nothing | LineResult::TooLong => None,
        }
    }

    /// Scans the line after the first `skipped` bytes, which stays in the input. Returns it with the number
    /// of its bytes in the input.
    pub fn scan_at(&mut self, input: &ReceiveBuffer, skipped: usize) -> (LineResult, usize) {
        let step = self.scan(&input.filled()[skipped..]);
        if step.taken != LineResult::Nothing {
            self.is_discarding = step.is_discarding;
        }
        (step.taken, step.used)
    }

    fn scan(&self, bytes: &[u8]) -> LineScan {
        let mut used = 0;
        if self.is_discarding {
            match bytes.iter().position(|&byte| byte == LF) {
                Some(end) => used = end + 1,
                None => return LineScan { taken: LineResult::Nothing, used: bytes.len(), is_discarding: true },
            }
        }
        used += between_lines(&bytes[used..]);
        let window = &bytes[used..bytes.len().min(used + FTP_LINE_BYTES_MAX)];
        match line(window) {
            Some((line, length)) => {
                LineScan { taken: LineResult::Line(line), used: used + length, is_discarding: false }
            }
            None if window.len() == FTP_LINE_BYTES_MAX => {
                LineScan { taken: LineResult::TooLong, used: used + window.len(), is_discarding: true }
            }
            None => LineScan { taken: LineResult::Nothing, used, is_discarding: false },
        }
    }
}

/// The result of a scan, and the number of scanned bytes.
struct LineScan {
    taken: LineResult,
    used: usize,
    is_discarding: bool,
}

/// Returns the number of bytes before the next line: line ends, Telnet sequences, and Telnet sequences
/// without their urgent byte, which the kernel took out. No command begins with any of these.
fn between_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += match (byte, bytes.get(at + 1).copied(), bytes.get(at + 2)) {
            (CR | LF | COMMANDS..=DONT, ..) => 1,
            (IAC, Some(WILL..=DONT), Some(_)) => 3,
            (IAC, Some(COMMANDS..WILL), _) => 2,
            (IAC, Some(IAC | ..COMMANDS), _) => 1,
            _ => break,
        };
    }
    at
}

/// Returns the first line of `bytes`, without Telnet, and its length in `bytes`; `None` without a line
/// end.
fn line(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    // A quick check, for peers that send single bytes.
    if !bytes.contains(&LF) {
        return None;
    }
    let mut line = Vec::new();
    let (mut at, mut is_in_argument) = (0, false);
    loop {
        let next = bytes.get(at + 1).copied();
        let used = match (*bytes.get(at)?, next) {
            (LF, _) => return Some((line, at + 1)),
            (CR, Some(LF)) => return Some((line, at + 2)),
            (CR, Some(NUL)) => {
                line.push(CR);
                2
            }
            (CR | IAC, None) => return None,
            (IAC, Some(IAC)) => {
                line.push(IAC);
                2
            }
            (IAC, Some(command @ COMMANDS..)) => {
                // Without the Telnet command the argument would be another valid one. With the NUL it is refused.
                line.extend(is_in_argument.then_some(NUL));
                if (WILL..=DONT).contains(&command) { 3 } else { 2 }
            }
            // In an argument, it belongs to a name that is not UTF-8. Otherwise the kernel took the urgent byte
            // after it.
            (IAC, Some(_)) if !is_in_argument => 1,
            (byte, _) => {
                is_in_argument |= byte == b' ';
                line.push(byte);
                1
            }
        };
        at += used;
    }
}

const NUL: u8 = 0;
const LF: u8 = b'\n';
const CR: u8 = b'\r';
/// Telnet's escape: "interpret as command".
const IAC: u8 = 255;
/// The lowest of its commands.
const COMMANDS: u8 = 240;
/// The lowest command that an option follows.
const WILL: u8 = 251;
const DONT: u8 = 254;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all that is taken of `sent` when it comes in pieces of `step`, and the remaining input.
    fn taken(sent: &[u8], step: usize) -> (Vec<LineResult>, Vec<u8>) {
        let (mut input, mut lines, mut all) = (ReceiveBuffer::default(), Lines::default(), Vec::new());
        for piece in sent.chunks(step) {
            input.room(64 * 1024)[..piece.len()].copy_from_slice(piece);
            input.commit(piece.len());
            loop {
                let seen = lines.peek(&input);
                let next = lines.take(&mut input);
                assert_eq!(seen, if let LineResult::Line(line) = &next { Some(line.clone()) } else { None });
                match next {
                    LineResult::Nothing => break,
                    next => all.push(next),
                }
            }
        }
        (all, input.filled().to_vec())
    }

    fn check(sent: &[u8], expected: &[&[u8]], left: &[u8]) {
        let expected: Vec<LineResult> = expected.iter().map(|line| LineResult::Line(line.to_vec())).collect();
        for step in [1, 2, 3, 7, 64, usize::MAX] {
            assert_eq!(taken(sent, step), (expected.clone(), left.to_vec()), "{sent:?} by {step}");
        }
    }

    #[test]
    fn lines_end_with_a_line_feed_with_or_without_its_carriage_return() {
        check(b"NOOP\r\nPWD\nQUIT\r\nST", &[b"NOOP", b"PWD", b"QUIT"], b"ST");
        check(b"\r\n\n\r\r\nNOOP \r\n\r\n", &[b"NOOP "], b"");
        check("RETR grüße\r\n".as_bytes(), &["RETR grüße".as_bytes()], b"");
        check(b"RETR \xe4\x80\r\n", &[b"RETR \xe4\x80"], b"");
        check(b"NOOP\r", &[], b"NOOP\r");
    }

    #[test]
    fn names_may_hold_a_carriage_return_as_rfc_2640_writes_it() {
        check(b"RETR a\r\0b\r\0\r\n", &[b"RETR a\rb\r"], b"");
        check(b"RETR a\rb\r\0\n", &[b"RETR a\rb\r"], b"");
        check(b"RETR a\0b\r\n", &[b"RETR a\0b"], b"");
    }

    #[test]
    fn telnet_is_taken_out_and_its_escape_is_a_byte() {
        check(b"\xff\xf4\xff\xf2ABOR\r\n", &[b"ABOR"], b"");
        check(b"\xff\xf4\xff\xf2\r\n\xff\xf4\nABOR\r\n", &[b"ABOR"], b"");
        check(b"RETR \xff\xff\xf0\r\n", &[b"RETR \xff\xf0"], b"");
        check(b"\xff\xf4RE\xff\xf2TR a\r\n", &[b"RETR a"], b"");
        check(b"NO\xff\xfb\x0aOP\r\n\xff\xfe\r\r\n", &[b"NOOP"], b"");
        check(&b"\xff\xf1".repeat(FTP_LINE_BYTES_MAX), &[], b"");
        check(b"NOOP\xff\xf4", &[], b"NOOP\xff\xf4");
        check(b"\xff\xfb", &[], b"\xff\xfb");
    }

    #[test]
    fn a_byte_255_in_an_argument_is_one_unless_it_makes_a_telnet_command() {
        check(b"MKD \xff\r\n", &[b"MKD \xff"], b"");
        check(b"MKD \xffa\xff \xf0\xfa\xfe\n", &[b"MKD \xffa\xff \xf0\xfa\xfe"], b"");
        check(b"MKD a\xff\xf1b\r\n", &[b"MKD a\0b"], b"");
        check(b"MKD a\xff\xfb\x01b\r\n", &[b"MKD a\0b"], b"");
    }

    #[test]
    fn an_urgent_byte_that_the_kernel_took_is_not_missed() {
        for cut in 0..4 {
            let mut sequence = b"\xff\xf4\xff\xf2ABOR\r\n".to_vec();
            sequence.remove(cut);
            check(&sequence, &[b"ABOR"], b"");
        }
    }

    #[test]
    fn a_line_too_long_is_said_once_and_the_next_is_taken() {
        let longest = [&vec![b'a'; FTP_LINE_BYTES_MAX - 2][..], b"\r\n"].concat();
        check(&longest, &[&longest[..longest.len() - 2]], b"");
        for over in [1, 2, 3, 1 << 20] {
            let sent = [&vec![b'a'; FTP_LINE_BYTES_MAX - 2 + over][..], b"\r\nNOOP\r\n"].concat();
            for step in if over < 9 { [1, 7, 64, 4096] } else { [4096; 4] } {
                let expected = vec![LineResult::TooLong, LineResult::Line(b"NOOP".to_vec())];
                assert_eq!(taken(&sent, step), (expected, Vec::new()), "{over} by {step}");
            }
        }
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let (all, left) = taken(&vec![b'a'; 1 << 20], 4096);
        assert_eq!((all.len(), left.len()), (1, 0));
    }
}
