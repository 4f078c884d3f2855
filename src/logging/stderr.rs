//! Writes to stderr, which may be a pipe without a reader or a stopped terminal.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};

use super::file::{count_lines, is_local};
use super::writer::Sink;

/// Writes to a copy of the descriptor, without the lock of Rust's stderr, so that no other writer waits. The
/// flags of the descriptor are not changed, because other programs share it.
pub(super) struct Stderr {
    file: File,
    /// The number of missing lines that are not reported yet.
    lost: u64,
    /// Whether it is a file on a local file system.
    is_local: bool,
}

impl Stderr {
    pub(super) fn open() -> io::Result<Self> {
        let file = io::stderr().as_fd().try_clone_to_owned()?.into();
        Ok(Self { is_local: is_local(&file), file, lost: 0 })
    }

    /// Returns whether all was written.
    fn write_all(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) if count > 0 => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None).is_err() {
                        return false;
                    }
                }
                _ => return false,
            }
        }
        true
    }

    fn report_lost_lines(&mut self) -> bool {
        let line = format!("{:.3} WARN  stderr was blocked; {} lines are missing here\n", Timestamp::now(), self.lost);
        let is_reported = self.lost == 0 || self.write_all(line.as_bytes());
        if is_reported {
            self.lost = 0;
        }
        is_reported
    }
}

impl Sink for Stderr {
    fn writes_fast(&self) -> bool {
        self.is_local
    }

    fn write(&mut self, lines: &[u8], lost: u64) {
        if !(self.report_lost_lines() && self.write_all(lines)) {
            self.lost += count_lines(lines);
        }
        self.lost += lost;
        self.report_lost_lines();
    }
}
