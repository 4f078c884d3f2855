//! The buffers between a socket and its protocol. Performs no network I/O.

mod receive;
mod send;

use std::os::fd::BorrowedFd;

use crate::base::memory::Charge;
pub use receive::{INPUT_BYTES, INPUT_BYTES_FIRST, ReceiveBuffer};
pub use send::{FileRange, NextChunk, OUTPUT_BYTES_HIGH, SendBuffer};

/// The largest payload of a data frame. A transfer can be cancelled only between frames, so this much may still
/// arrive after a cancel.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// The largest piece of a file that is read or hashed at once.
pub const PIECE_BYTES: usize = 256 * 1024;
/// Data of an upload is stored in pieces of at least this, except at the end of a data frame, so that a
/// peer that sends single bytes does not cost a system call for each.
pub const STORE_BYTES_MIN: usize = 32 * 1024;

/// Readable bytes in a socket that may be spliced into a file.
#[derive(Clone, Copy)]
pub struct SpliceSource<'a> {
    /// The socket.
    pub socket: BorrowedFd<'a>,
    /// The number of bytes that may be spliced. All of them are readable.
    pub count: usize,
}

/// The two directions of one socket, as its protocol sees them.
#[derive(Default)]
pub struct IoBuffers {
    /// Received bytes.
    pub input: ReceiveBuffer,
    /// Bytes to send.
    pub output: SendBuffer,
    /// The peer will send no more.
    pub eof: bool,
}

impl IoBuffers {
    /// Makes large buffers whose memory is not charged, for tests.
    pub fn large_uncharged() -> Self {
        let mut buffers = Self::default();
        buffers.input.enlarge(Charge::default());
        buffers.output.enlarge(Charge::default());
        buffers
    }
}
