//! The socket of a connection, from the network or from this machine.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};

/// A stream socket of either family.
pub(super) enum Socket {
    Network(TcpStream),
    /// From a program on this machine.
    Local(UnixStream),
}

impl Socket {
    /// Returns the socket, for registration.
    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Network(stream) => stream,
            Self::Local(stream) => stream,
        }
    }

    /// Shuts down the write side.
    pub(super) fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Network(stream) => stream.shutdown(Shutdown::Write),
            Self::Local(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Network(stream) => stream.read(room),
            Self::Local(stream) => stream.read(room),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Network(stream) => stream.write(bytes),
            Self::Local(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Network(stream) => stream.write_vectored(bytes),
            Self::Local(stream) => stream.write_vectored(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Network(stream) => stream.as_fd(),
            Self::Local(stream) => stream.as_fd(),
        }
    }
}
