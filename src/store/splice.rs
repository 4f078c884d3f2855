//! Moves bytes from a socket to a file through a kernel pipe, without copying them through this
//! program. One pipe serves all sessions, because it is empty after each use.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::meta::meta_of;
use crate::base::budget::FLUSH_BUDGET;
use crate::base::buffers::{PIECE_BYTES, SpliceSource};
use crate::base::refusals::is_refusal;

/// A pipe for splicing.
#[derive(Default)]
pub struct Pipe {
    /// The write end and the read end, once opened.
    ends: Option<(OwnedFd, OwnedFd)>,
    /// Devices of file systems that do not support splicing.
    refusing: Vec<u64>,
    /// Whether sockets do not support splicing.
    is_refused: bool,
}

impl Pipe {
    /// Splices bytes for `file` from a socket into the pipe. Returns the number of bytes. After 0 the caller
    /// must read them from the socket. An error is that of the connection; it must not be dropped, because a
    /// later read would report an ordinary end.
    pub(super) fn fill(&mut self, SpliceSource { socket, count }: SpliceSource<'_>, file: &File) -> io::Result<usize> {
        if self.is_refused || self.is_refused_by(file) {
            return Ok(0);
        }
        if self.ends.is_none() {
            self.ends = open().ok();
        }
        let Some((write_end, _)) = &self.ends else { return Ok(0) };
        match splice(socket, None, write_end, None, count, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Err(Errno::AGAIN | Errno::INTR | Errno::NOMEM) => Ok(0),
            Err(errno) if is_unsupported(errno) => {
                self.is_refused = true;
                Ok(0)
            }
            taken => Ok(taken?),
        }
    }

    /// Writes up to `most` bytes of the pipe to `file` at `offset`. Returns the number of bytes. After an
    /// error the rest is dropped.
    pub(super) fn drain(&mut self, file: &File, offset: u64, most: usize) -> io::Result<usize> {
        let Some((_, read_end)) = &self.ends else { return Ok(0) };
        let written = match splice(read_end, None, file, Some(&mut offset.clone()), most, SpliceFlags::MOVE) {
            Err(errno) if is_unsupported(errno) => {
                if let Ok(meta) = meta_of(file)
                    && self.refusing.len() < REFUSING_MAX
                {
                    self.refusing.push(meta.identity.dev);
                }
                copy(read_end, file, offset)
            }
            written => written.map_err(io::Error::from),
        };
        if written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
            self.ends = None;
        }
        written
    }

    fn is_refused_by(&self, file: &File) -> bool {
        !self.refusing.is_empty() && meta_of(file).is_ok_and(|meta| self.refusing.contains(&meta.identity.dev))
    }
}

/// Returns whether the system or a file system does not support splicing.
fn is_unsupported(errno: Errno) -> bool {
    is_refusal(errno) || errno == Errno::SPIPE
}

/// The number of file systems that are remembered. Further ones are tried each time.
const REFUSING_MAX: usize = 64;

fn open() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
    // If that is refused, a smaller pipe moves fewer bytes at once.
    let _ = fcntl_setpipe_size(&write_end, FLUSH_BUDGET);
    Ok((write_end, read_end))
}

fn copy(read_end: &OwnedFd, file: &File, offset: u64) -> io::Result<usize> {
    let mut bytes = Vec::with_capacity(PIECE_BYTES);
    rustix::io::read(read_end, spare_capacity(&mut bytes))?;
    file.write_all_at(&bytes, offset)?;
    Ok(bytes.len())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    /// Returns a socket that holds `bytes`.
    fn socket_with(bytes: &[u8]) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut sender = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (receiver, _) = listener.accept().expect("connected");
        sender.write_all(bytes).expect("sent");
        receiver.peek(&mut [0]).expect("arrived");
        (sender, receiver)
    }

    fn four_of(receiver: &TcpStream) -> SpliceSource<'_> {
        SpliceSource { socket: receiver.as_fd(), count: 4 }
    }

    #[test]
    fn bytes_arrive_also_on_a_filesystem_that_takes_nothing_from_a_pipe_and_then_no_more_are_taken() {
        let directory = tempfile::tempdir().expect("folder");
        let path = directory.path().join("file");
        // The kernel does not splice to a file that is open for appending.
        for (options, is_refused) in [(OpenOptions::new().write(true), false), (OpenOptions::new().append(true), true)]
        {
            std::fs::write(&path, b"01234567").expect("written");
            let (_sender, receiver) = socket_with(b"abcdef");
            let (mut pipe, file) = (Pipe::default(), options.open(&path).expect("opened"));
            assert_eq!(pipe.fill(four_of(&receiver), &file).expect("filled"), 4);
            assert_eq!(pipe.drain(&file, 8, 4).expect("drained"), 4);
            assert_eq!(std::fs::read(&path).expect("read"), b"01234567abcd");
            assert_eq!(pipe.fill(four_of(&receiver), &file).expect("filled"), if is_refused { 0 } else { 2 });
        }
    }

    #[test]
    fn what_could_not_be_written_is_not_written_to_the_next_file() {
        let (_sender, receiver) = socket_with(b"lost");
        let mut pipe = Pipe::default();
        let file = tempfile::tempfile().expect("file");
        assert_eq!(pipe.fill(four_of(&receiver), &file).expect("filled"), 4);
        let directory = tempfile::tempdir().expect("folder");
        let path = directory.path().join("file");
        std::fs::write(&path, b"old").expect("written");
        let unwritable = File::open(&path).expect("opened");
        assert!(pipe.drain(&unwritable, 0, 4).is_err());
        let (_sender, receiver) = socket_with(b"next");
        assert_eq!(pipe.fill(four_of(&receiver), &file).expect("filled"), 4);
        assert_eq!(pipe.drain(&file, 0, 4).expect("drained"), 4);
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"next");
    }
}
