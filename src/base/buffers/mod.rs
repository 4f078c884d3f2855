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

/// Transferred bytes are hashed in pieces that end at multiples of this where possible. BLAKE3 computes up to 16 KiB
/// at once, and loses up to a third of its speed with pieces at odd offsets.
const HASH_ALIGN_BYTES: usize = 16 * 1024;

/// Returns how many of the `available` first bytes of `left` bytes to hash at once: all, or the largest part that ends
/// at a multiple of [`HASH_ALIGN_BYTES`] before the end. Senders end their data frames at multiples of [`PIECE_BYTES`].
pub fn aligned_for_hash(available: usize, left: usize) -> usize {
    let aligned =
        available - available.min((available + HASH_ALIGN_BYTES - left % HASH_ALIGN_BYTES) % HASH_ALIGN_BYTES);
    if aligned < STORE_BYTES_MIN { available } else { aligned }
}

/// Returns the largest size, up to `bytes_max`, of a piece at `offset` that ends at a multiple of `bytes_max`.
pub fn aligned_piece(offset: u64, bytes_max: usize) -> usize {
    bytes_max - offset.checked_rem(bytes_max as u64).unwrap_or(0) as usize
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_at_multiples_until_the_frame_does() {
        const KIB: usize = 1024;
        for (available, left, hashed) in [
            (PIECE_BYTES, PIECE_BYTES, PIECE_BYTES),
            (PIECE_BYTES - 12, PIECE_BYTES, PIECE_BYTES - 16 * KIB),
            (64 * KIB + 7, 100 * KIB + 5, 52 * KIB + 5),
            (STORE_BYTES_MIN - 1, PIECE_BYTES, STORE_BYTES_MIN - 1),
            (STORE_BYTES_MIN + 1, PIECE_BYTES, STORE_BYTES_MIN),
            (1, 1, 1),
            (0, 5, 0),
        ] {
            assert_eq!(aligned_for_hash(available, left), hashed, "{available} of {left}");
        }
        assert_eq!(aligned_piece(0, PIECE_BYTES), PIECE_BYTES);
        assert_eq!(aligned_piece(5 * PIECE_BYTES as u64 + 7, PIECE_BYTES), PIECE_BYTES - 7);
    }
}
