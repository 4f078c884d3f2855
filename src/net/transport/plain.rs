//! Sends output without encryption. File ranges are sent by sendfile(2).

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::Moved;
use super::moved;
use super::socket::Socket;
use crate::base::buffers::{FileRange, NextChunk, PIECE_BYTES, SendBuffer};

/// A file whose file system does not support sendfile(2), so that it is read and written instead.
#[derive(Default)]
pub(super) struct Unsendable(Option<Weak<dyn AsFd>>);

impl Unsendable {
    fn contains(&self, file: &Rc<dyn AsFd>) -> bool {
        // While the weak reference exists, no other file can have this address.
        self.0.as_ref().is_some_and(|known| std::ptr::addr_eq(known.as_ptr(), Rc::as_ptr(file)))
    }

    fn remember(&mut self, file: &Rc<dyn AsFd>) {
        self.0 = Some(Rc::downgrade(file));
    }
}

/// Sends output, at most `allowance` bytes. If `pads`, missing bytes of a truncated file become zeros.
pub(super) fn flush_plain(
    socket: &mut Socket,
    output: &mut SendBuffer,
    allowance: usize,
    pads: bool,
    unsendable: &mut Unsendable,
) -> io::Result<Moved> {
    let mut sent = 0;
    while sent < allowance {
        let moved = match output.front() {
            None => break,
            Some(NextChunk::Bytes(bytes)) => moved(socket.write(&bytes[..bytes.len().min(allowance - sent)])),
            Some(NextChunk::Range(range)) => {
                let count = usize::try_from(range.length).unwrap_or(usize::MAX).min(allowance - sent);
                moved(send_range(socket, range, count, unsendable))
            }
        };
        match moved? {
            Moved::Bytes(count) => {
                output.advance(count);
                sent += count;
            }
            // A socket accepts at least a byte or blocks, so the file was truncated.
            Moved::End if pads => output.pad_range(allowance - sent),
            Moved::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Moved::Blocked if sent == 0 => return Ok(Moved::Blocked),
            Moved::Blocked => break,
        }
    }
    Ok(Moved::Bytes(sent))
}

/// Sends up to `count` bytes of a range. Returns 0 if the file was truncated.
fn send_range(socket: &mut Socket, range: &FileRange, count: usize, unsendable: &mut Unsendable) -> io::Result<usize> {
    if !unsendable.contains(&range.file) {
        let mut offset = range.offset;
        match rustix::fs::sendfile(socket.as_fd(), &*range.file, Some(&mut offset), count) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::SPIPE | Errno::PERM | Errno::OVERFLOW) => {
                unsendable.remember(&range.file);
            }
            sent => return Ok(sent?),
        }
    }
    let mut bytes = Vec::with_capacity(count.min(PIECE_BYTES));
    if rustix::io::pread(&*range.file, spare_capacity(&mut bytes), range.offset)? == 0 {
        return Ok(0);
    }
    // The buffer may be larger than requested.
    socket.write(&bytes[..bytes.len().min(count)])
}
