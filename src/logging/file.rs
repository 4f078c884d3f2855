//! One log file: a bounded buffer in front of a descriptor that may fail at any time.

use crate::small_file;
use crate::text::Utc;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Buffered lines on their way to a file. What goes wrong is given back as text for stderr, at
/// most once in [`WARN_INTERVAL`]; once lines can be written again, the file itself tells how many
/// are missing, where they are, and so does stderr.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// The disk took a part of a line; the rest of it is lost.
    torn: bool,
    /// Lines that are missing at the end of the file, which does not tell so yet.
    lost: u64,
    warned: Option<Instant>,
}

impl LogFile {
    /// Opens for appending; makes the file and its folder if need be.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = open(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(Self { path, file, buffer: Vec::new(), torn: false, lost: 0, warned: None })
    }

    /// Adds a line; writes only when the buffer is full.
    pub(super) fn append(&mut self, time: Utc, message: &fmt::Arguments<'_>) -> Option<String> {
        let start = self.buffer.len();
        // Writing to a vector does not fail; a `Display` that does leaves what it wrote so far.
        let _ = write!(self.buffer, "{time} {message}");
        for byte in &mut self.buffer[start..] {
            if byte.is_ascii_control() {
                *byte = b' ';
            }
        }
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { None }
    }

    /// Writes out all lines. Those the disk does not take are dropped: a log must not grow in
    /// memory, nor stop the program.
    pub(super) fn flush(&mut self) -> Option<String> {
        if self.buffer.is_empty() {
            return None;
        }
        let mut lines = std::mem::take(&mut self.buffer);
        let (count, result) = match self.close_gap() {
            Ok(recovery) => {
                let (count, result) = self.write(&lines);
                (count, result.map(|()| recovery))
            }
            Err(error) => (0, Err(error)),
        };
        self.lost += lines[count..].iter().filter(|&&byte| byte == b'\n').count() as u64;
        lines.clear();
        // One burst must not hold its memory for ever.
        lines.shrink_to(BUFFER_BYTES);
        self.buffer = lines;
        result.unwrap_or_else(|error| self.complain(&error))
    }

    /// Ends a torn line, and tells of lost ones before the next is written.
    fn close_gap(&mut self) -> io::Result<Option<String>> {
        if self.torn {
            self.write(b"\n").1?;
        }
        if self.lost == 0 {
            return Ok(None);
        }
        self.write(format!("{} lines_lost={}\n", Utc::now(), self.lost).as_bytes()).1?;
        let lost = std::mem::take(&mut self.lost);
        self.warned = None;
        Ok(Some(format!("{}: goes on; {lost} lines are missing", self.path.display())))
    }

    /// Writes as much as the disk takes; how much that was.
    fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let (count, result) = write_all(&mut self.file, bytes);
        if count > 0 {
            self.torn = bytes[count - 1] != b'\n';
        }
        (count, result)
    }

    fn complain(&mut self, error: &io::Error) -> Option<String> {
        let now = Instant::now();
        if self.warned.is_some_and(|warned| now.duration_since(warned) < WARN_INTERVAL) {
            return None;
        }
        self.warned = Some(now);
        Some(format!("{}: {} lines lost so far: {error}", self.path.display(), self.lost))
    }

    /// Opens the file again by name. If that fails, the one that is open goes on.
    pub(super) fn reopen(&mut self) -> Option<String> {
        let trouble = self.flush();
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
                trouble
            }
            Err(error) => {
                Some(format!("{}: cannot be reopened, going on with the old file: {error}", self.path.display()))
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        small_file::make_folder(folder, small_file::GROUP_FOLDER)?;
    }
    // Not blocking, so that a FIFO in its place fails instead of stopping the program.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nonblocking).open(path)
}

/// As `Write::write_all`, but tells how much was written before an error.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Some hundred lines: a write costs a system call, and what is lost in a crash is bounded.
const BUFFER_BYTES: usize = 64 * 1024;
/// How often a failing log may say so.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn append(log: &mut LogFile, text: &str) -> Option<String> {
        log.append(Utc::from_unix_ns(0), &format_args!("{text}"))
    }

    #[test]
    fn lines_are_written_when_flushed_or_when_there_are_many() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("logs/access.log");
        let mut log = LogFile::open(path.clone()).expect("writable");
        assert_eq!(append(&mut log, "event=login user=bob"), None);
        assert_eq!(fs::read_to_string(&path).expect("there"), "");
        assert_eq!(log.flush(), None);
        assert_eq!(fs::read_to_string(&path).expect("there"), "1970-01-01T00:00:00.000Z event=login user=bob\n");
        for _ in 0..2000 {
            append(&mut log, "event=login user=bob");
            assert!(log.buffer.len() < BUFFER_BYTES);
        }
        assert!(fs::metadata(&path).expect("there").len() > BUFFER_BYTES as u64);
    }

    #[test]
    fn a_record_is_one_line_whatever_the_caller_forgot() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("access.log");
        let mut log = LogFile::open(path.clone()).expect("writable");
        append(&mut log, "user=a\nb\x1b[2J\r");
        log.flush();
        assert_eq!(fs::read_to_string(&path).expect("there"), "1970-01-01T00:00:00.000Z user=a b [2J \n");
    }

    #[test]
    fn a_rotated_log_goes_on_under_its_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut log = LogFile::open(path.clone()).expect("writable");
        append(&mut log, "one");
        fs::rename(&path, &old).expect("writable");
        assert_eq!(log.reopen(), None);
        append(&mut log, "two");
        log.flush();
        assert!(fs::read_to_string(&old).expect("there").ends_with(" one\n"));
        assert!(fs::read_to_string(&path).expect("there").ends_with(" two\n"));

        fs::remove_file(&path).expect("writable");
        fs::create_dir(&path).expect("writable");
        assert!(log.reopen().is_some_and(|trouble| trouble.contains("cannot be reopened")));
    }

    #[test]
    fn a_full_disk_costs_lines_and_says_so_once_a_minute() {
        let mut log = LogFile::open("/dev/full".into()).expect("there on Linux");
        for _ in 0..3 {
            append(&mut log, "x");
        }
        let trouble = log.flush().expect("the device is full");
        assert!(trouble.starts_with("/dev/full: 3 lines lost so far: "), "{trouble}");
        for _ in 0..100_000 {
            assert_eq!(append(&mut log, "x"), None);
        }
        assert_eq!(log.flush(), None, "within the minute");
        assert!(log.buffer.is_empty() && log.buffer.capacity() <= BUFFER_BYTES);
        log.warned = None;
        append(&mut log, "x");
        assert!(log.flush().is_some_and(|trouble| trouble.contains(" 100004 lines lost")));
    }

    #[test]
    fn once_there_is_room_again_the_log_and_stderr_tell_what_is_missing_and_where() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("access.log");
        let mut log = LogFile::open(path.clone()).expect("writable");
        append(&mut log, "one");
        assert_eq!(log.flush(), None);
        let file = std::mem::replace(&mut log.file, OpenOptions::new().append(true).open("/dev/full").expect("there"));
        append(&mut log, "two");
        append(&mut log, "three");
        assert!(log.flush().is_some_and(|trouble| trouble.contains(" 2 lines lost so far: ")));
        log.file = file;
        // As if the disk had taken the beginning of a line.
        assert!(log.write(b"1970-01-01T00:00:00.000Z tw").1.is_ok() && log.torn);
        append(&mut log, "four");
        assert!(log.flush().is_some_and(|trouble| trouble.ends_with(": goes on; 2 lines are missing")));
        append(&mut log, "five");
        assert_eq!(log.flush(), None);
        let text = fs::read_to_string(&path).expect("there");
        let ends: Vec<_> = text.lines().map(|line| line.split_once(' ').expect("a time").1).collect();
        assert_eq!(ends, ["one", "tw", "lines_lost=2", "four", "five"], "{text}");
    }
}
