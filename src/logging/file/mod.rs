//! One log file. Writing may fail at any time, and its size is bounded: a full file is renamed to
//! `….old`, which replaces the one before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::writer::Sink;
use crate::base::{atomic_file, file_system_type};

/// Writes lines to a file. Failures are reported on stderr, at most once in [`FAILURE_INTERVAL`]. Once lines
/// can be written again, the file and stderr report the number of missing lines.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes_max: u64,
    /// The size of the file; `None` if it has none, such as a terminal.
    size: Option<u64>,
    /// Whether it is a file on a local disk.
    is_local: bool,
    /// Whether the file ends with a part of a line, whose rest was lost.
    has_partial_line: bool,
    /// Lines missing at the end of the file that are not reported there yet.
    lost: u64,
    warned: Option<Instant>,
}

impl LogFile {
    /// Opens the file for appending. Makes it and its directory if necessary. It is rotated before it is larger
    /// than `bytes_max`.
    pub(super) fn open(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = open(&path).map_err(named)?;
        let (size, is_local) = (size(&file), is_local(&file));
        Ok(Self { path, file, bytes_max, size, is_local, has_partial_line: false, lost: 0, warned: None })
    }

    /// Writes whole lines. After them, `lost` others are missing. Lines that cannot be written are dropped,
    /// because a log must not grow in memory. Returns a message for stderr.
    fn put(&mut self, lines: &[u8], lost: u64) -> Option<String> {
        let (count, result) = match self.report_lost_lines() {
            Ok(recovery) => {
                let (count, result) = self.write_lines(lines);
                (count, result.map(|()| recovery))
            }
            Err(error) => (0, Err(error)),
        };
        self.lost += count_lines(&lines[count..]);
        if lost > 0 {
            self.lost += lost;
            let result = result.and_then(|_| self.report_lost_lines());
            return result.unwrap_or_else(|error| self.failure_message(&error));
        }
        result.unwrap_or_else(|error| self.failure_message(&error))
    }

    /// Writes whole lines and rotates the file whenever it is full. Returns the number of bytes written, and
    /// the result.
    fn write_lines(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < lines.len() {
            let rest = &lines[written..];
            let room = self.size.map_or(u64::MAX, |size| self.bytes_max.saturating_sub(size));
            let piece = match usize::try_from(room) {
                Ok(room) if room < rest.len() => {
                    rest[..room].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
                }
                _ => rest.len(),
            };
            if piece == 0 {
                match self.rotate() {
                    Ok(()) => continue,
                    Err(error) => return (written, Err(error)),
                }
            }
            let (count, result) = self.write(&rest[..piece]);
            written += count;
            if result.is_err() {
                return (written, result);
            }
        }
        (written, Ok(()))
    }

    /// Replaces a full file by a new one.
    fn rotate(&mut self) -> io::Result<()> {
        // Renames the target of a symlink, so that the symlink then leads to the new file.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        // Another program may have moved it away already.
        if is_at(&self.file, &path) {
            let mut old = path.clone().into_os_string();
            old.push(".old");
            fs::rename(&path, &old).map_err(|error| {
                let advice = "rotate it, or let the user of the server rename it";
                io::Error::new(error.kind(), format!("it is full, and cannot become {old:?}: {error}; {advice}"))
            })?;
        }
        self.use_file(open(&self.path)?);
        if self.size.is_some_and(|size| size >= self.bytes_max) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is full, and so is the one in its place"));
        }
        Ok(())
    }

    fn use_file(&mut self, file: File) {
        (self.size, self.is_local, self.has_partial_line) = (size(&file), is_local(&file), false);
        self.file = file;
    }

    /// Ends an incomplete line and writes the number of lost ones.
    fn report_lost_lines(&mut self) -> io::Result<Option<String>> {
        if self.has_partial_line {
            self.write(b"\n").1?;
        }
        if self.lost == 0 {
            return Ok(None);
        }
        self.write_lines(format!("{:.3} lines_lost={}\n", Timestamp::now(), self.lost).as_bytes()).1?;
        let lost = std::mem::take(&mut self.lost);
        self.warned = None;
        Ok(Some(format!("{}: is written again; {lost} lines are missing", self.path.display())))
    }

    /// Writes until an error. Returns the number of bytes written and the result.
    fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let (count, result) = write_all(&mut self.file, bytes);
        if count > 0 {
            self.has_partial_line = bytes[count - 1] != b'\n';
            self.size = self.size.map(|size| size + count as u64);
        }
        (count, result)
    }

    fn failure_message(&mut self, error: &io::Error) -> Option<String> {
        let now = Instant::now();
        if self.warned.is_some_and(|warned| now.duration_since(warned) < FAILURE_INTERVAL) {
            return None;
        }
        self.warned = Some(now);
        Some(format!("{}: {} lines lost so far: {error}", self.path.display(), self.lost))
    }

    /// Opens the file again by name. If that fails, the open file stays in use. Returns a message for
    /// stderr.
    fn open_again(&mut self) -> Option<String> {
        match open(&self.path) {
            Ok(file) => {
                self.use_file(file);
                None
            }
            Err(error) => {
                Some(format!("{}: cannot be reopened, continuing with the old file: {error}", self.path.display()))
            }
        }
    }
}

impl Sink for LogFile {
    fn writes_fast(&self) -> bool {
        self.is_local
    }

    fn write(&mut self, lines: &[u8], lost: u64) {
        self.put(lines, lost).into_iter().for_each(|message| log::warn!("{message}"));
    }

    fn reopen(&mut self) {
        self.open_again().into_iter().for_each(|message| log::warn!("{message}"));
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        atomic_file::make_directory(directory, atomic_file::GROUP_DIRECTORY)?;
    }
    // O_NONBLOCK, so that a FIFO in its place fails instead of stopping the program.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nonblocking).open(path)
}

fn size(file: &File) -> Option<u64> {
    file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
}

/// Returns whether `file` is a regular one on a local file system.
pub(super) fn is_local(file: &File) -> bool {
    size(file).is_some() && file_system_type::is_local(file)
}

/// Returns whether `path` names `file` itself, and not a symlink to it.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(file), Ok(named)) => (file.dev(), file.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

pub(super) fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Like `Write::write_all`, but returns the number of bytes written before an error.
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

/// The least time between two messages about a log that cannot be written.
const FAILURE_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
