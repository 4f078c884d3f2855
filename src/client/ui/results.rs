//! Standard output and its reader, which may be slow or may exit. This module knows no result formats.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};

use crate::base::buffers::PIECE_BYTES;
use crate::client::error::Failure;
use crate::client::interrupt::StopCheck;

/// The destination of results.
pub struct Results {
    writer: BufWriter<Box<dyn Write>>,
    /// The pipe that a slow reader can block; `None` if results go to a file.
    pipe: Option<OwnedFd>,
    /// The reader has closed the pipe.
    is_closed: bool,
    /// The current command does more than show results, so it continues without a reader.
    pub continues_unread: bool,
}

impl Results {
    /// Writes to standard output.
    pub fn standard() -> Self {
        let stdout = io::stdout();
        let is_file = rustix::fs::fstat(&stdout).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
        // A duplicate descriptor avoids a second buffer, which could hold back the end of a file.
        let own = || stdout.as_fd().try_clone_to_owned();
        let pipe = if is_file { None } else { own().ok() };
        let writer: Box<dyn Write> = match own() {
            Ok(own) => Box::new(File::from(own)),
            Err(_) => Box::new(io::stdout()),
        };
        Self { pipe, ..Self::to(writer) }
    }

    /// Writes to another program.
    pub fn to_program(pipe: OwnedFd) -> io::Result<Self> {
        let own = pipe.try_clone()?;
        Ok(Self { pipe: Some(pipe), ..Self::to(Box::new(File::from(own))) })
    }

    /// Writes to a writer that never blocks.
    pub fn to(writer: Box<dyn Write>) -> Self {
        Self { writer: BufWriter::new(writer), pipe: None, is_closed: false, continues_unread: false }
    }

    /// Returns whether the reader has closed the pipe.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Writes a line.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        self.write(|writer| writeln!(writer, "{line}"))
    }

    /// Flushes the written results.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.write(BufWriter::flush)
    }

    /// Writes bytes of a file unchanged. If the reader is slow, `is_stopped` is called regularly, and true ends
    /// the write. Without a reader, this is a failure.
    pub fn content(&mut self, bytes: &[u8], is_stopped: StopCheck) -> Result<(), Failure> {
        self.continues_unread = false;
        self.flush()?;
        let piece_bytes = if self.pipe.is_some() { PIPE_BYTES } else { PIECE_BYTES };
        for piece in bytes.chunks(piece_bytes) {
            while self.pipe.as_ref().is_some_and(|pipe| !is_ready(pipe, PollFlags::OUT)) {
                if is_stopped() {
                    return Err(Failure::Interrupted);
                }
            }
            self.write(|writer| writer.get_mut().write_all(piece))?;
        }
        if is_stopped() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<Box<dyn Write>>) -> io::Result<()>) -> Result<(), Failure> {
        if !self.is_closed {
            match write(&mut self.writer) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.is_closed = true,
                written => return written.map_err(|error| Failure::local(Path::new("standard output"), &error)),
            }
        }
        if self.continues_unread { Ok(()) } else { Err(Failure::OutputClosed) }
    }
}

/// Returns whether standard input may have been closed when the program began. The Rust runtime then opens `/dev/null`
/// in its place for reading and writing. A redirection by a shell opens it for reading only, but some programs open it
/// for both.
pub fn is_closed(stream: impl AsFd) -> bool {
    let is_null = rustix::fs::fstat(&stream).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == rustix::fs::makedev(1, 3)
    });
    is_null && rustix::fs::fcntl_getfl(stream).is_ok_and(|flags| flags.contains(OFlags::RDWR))
}

/// Waits at most 200 ms until `file` can be read or written. Returns true if it can, or if `poll` reports an error or
/// a closed peer.
pub fn is_ready(file: &impl AsFd, what: PollFlags) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    matches!(poll(&mut [PollFd::new(file, what)], Some(&timeout)), Ok(1..))
}

/// A pipe that is ready takes this many bytes without blocking (pipe(7), PIPE_BUF).
const PIPE_BYTES: usize = 4096;
