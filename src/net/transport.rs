//! Bytes between a socket and a lane. What is above knows neither the socket nor whether the
//! bytes are encrypted on their way.

use crate::lane::{Buffer, Outbox, Piece};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

/// How bytes travel on a connection.
pub enum Transport {
    /// As they are.
    Plain(TcpStream),
    /// Between programs on this machine.
    Local(UnixStream),
}

/// What both kinds of sockets can do.
trait Stream: Read + Write + AsFd {}
impl<T: Read + Write + AsFd> Stream for T {}

/// What came of one attempt to move bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes moved; more may.
    Bytes(usize),
    /// The socket has to become ready first.
    Blocked,
    /// The peer sends no more.
    End,
}

impl Transport {
    /// The socket, for registration.
    pub fn socket(&mut self) -> &mut dyn Source {
        match self {
            Self::Plain(stream) => stream,
            Self::Local(stream) => stream,
        }
    }

    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Local(stream) => stream,
        }
    }

    /// Whether file ranges go out without passing through memory.
    pub fn sends_ranges(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Local(_) => true,
        }
    }

    /// Receives once, so that the inbox holds at most `capacity` bytes. Nothing is read when it
    /// does already.
    pub fn fill(&mut self, inbox: &mut Buffer, capacity: usize) -> io::Result<Moved> {
        let room = inbox.room(capacity);
        if room.is_empty() {
            return Ok(Moved::Bytes(0));
        }
        let moved = moved(self.stream().read(room))?;
        if let Moved::Bytes(count) = moved {
            inbox.commit(count);
        }
        Ok(moved)
    }

    /// Sends what is in the outbox, at most about `allowance` bytes.
    pub fn flush(&mut self, outbox: &mut Outbox, allowance: usize) -> io::Result<Moved> {
        let stream = self.stream();
        let mut sent = 0;
        while sent < allowance {
            let moved = match outbox.front() {
                None => break,
                Some(Piece::Bytes(bytes)) => moved(stream.write(&bytes[..bytes.len().min(allowance)])),
                Some(Piece::Range(range)) => {
                    let count = usize::try_from(range.length).unwrap_or(usize::MAX).min(allowance - sent);
                    let mut offset = range.offset;
                    moved(
                        rustix::fs::sendfile(stream.as_fd(), &*range.file, Some(&mut offset), count)
                            .map_err(Into::into),
                    )
                }
            };
            match moved? {
                Moved::Bytes(count) => {
                    outbox.advance(count);
                    sent += count;
                }
                // A socket takes at least a byte or blocks, so the file has become shorter.
                Moved::End => outbox.pad_range(allowance - sent),
                Moved::Blocked if sent == 0 => return Ok(Moved::Blocked),
                Moved::Blocked => break,
            }
        }
        Ok(Moved::Bytes(sent))
    }

    /// Tells the peer that nothing more comes.
    pub fn shutdown(&mut self) {
        // A peer that is gone already need not be told.
        let _ = match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Write),
            Self::Local(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

fn moved(result: io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::Blocked),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Moved::Bytes(0)),
        Err(error) => Err(error),
    }
}
