//! Received bytes that are not parsed yet.

use super::PIECE_BYTES;
use crate::base::memory::Charge;

/// The size of a receive buffer at first: enough for a session that rarely sends requests.
pub const INPUT_BYTES_FIRST: usize = 8 * 1024;
/// The size of a receive buffer once a session has filled the first one. One read, one hash and one write of it fit
/// the L2 cache, and it is larger than the largest control frame. A piece and the header of its frame fit, so that a
/// piece is hashed and written as a whole.
pub const INPUT_BYTES: usize = PIECE_BYTES + 64;

/// Bytes received and not yet parsed. Memory is allocated when bytes are expected and freed by
/// [`ReceiveBuffer::release`], so an idle session holds none.
#[derive(Default)]
pub struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Present while the buffer may be large.
    charge: Option<Charge>,
}

impl ReceiveBuffer {
    /// Lets the buffer be large for as long as it holds anything.
    pub fn enlarge(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// Returns whether the buffer may be large.
    pub fn is_large(&self) -> bool {
        self.charge.is_some()
    }

    /// Returns the number of bytes it may hold.
    pub fn capacity(&self) -> usize {
        if self.is_large() { INPUT_BYTES } else { INPUT_BYTES_FIRST }
    }

    /// Returns whether the buffer is full and not large. Its content must then be processed, even if it would be
    /// better to wait for more input.
    pub fn is_full_and_small(&self) -> bool {
        !self.is_large() && self.end - self.start >= INPUT_BYTES_FIRST
    }

    /// Returns the received bytes, oldest first.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Drops the oldest `count` bytes, or all if there are fewer.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Removes up to `count` bytes after the first `skipped` bytes.
    pub fn remove(&mut self, skipped: usize, count: usize) {
        let from = (self.start + skipped).min(self.end);
        let to = (from + count).min(self.end);
        self.bytes.copy_within(to..self.end, from);
        self.end -= to - from;
    }

    /// Returns free space to receive into. It is empty once the buffer holds `capacity` bytes.
    pub fn room(&mut self, capacity: usize) -> &mut [u8] {
        if self.start > 0 && (self.end == self.bytes.len() || self.bytes.len() < capacity) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() < capacity {
            self.bytes.reserve_exact(capacity - self.bytes.len());
            self.bytes.resize(capacity, 0);
        }
        let limit = self.bytes.len().min(self.start + capacity).max(self.end);
        &mut self.bytes[self.end..limit]
    }

    /// Adds the first `count` bytes of the last [`ReceiveBuffer::room`] to the content.
    pub fn commit(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Returns whether the buffer holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns the bytes of memory that no charge covers.
    pub fn uncharged_bytes(&self) -> usize {
        if self.is_large() { 0 } else { self.bytes.len() }
    }

    /// Frees the memory if the buffer is empty.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_never_holds_more_than_its_capacity_and_keeps_order() {
        let mut buffer = ReceiveBuffer::default();
        let (mut written, mut read) = (0u8, 0u8);
        for step in 0..200usize {
            let room = buffer.room(16);
            let count = room.len().min(step % 7);
            for byte in &mut room[..count] {
                *byte = written;
                written = written.wrapping_add(1);
            }
            buffer.commit(count);
            assert!(buffer.filled().len() <= 16);
            let take = buffer.filled().len().min(step % 5);
            for &byte in &buffer.filled()[..take] {
                assert_eq!(byte, read);
                read = read.wrapping_add(1);
            }
            buffer.consume(take);
        }
        assert!(written > 100);
    }

    #[test]
    fn buffer_grows_and_gives_memory_back_only_when_empty() {
        let mut buffer = ReceiveBuffer::default();
        buffer.room(4)[..3].copy_from_slice(b"abc");
        buffer.commit(3);
        buffer.consume(1);
        assert_eq!(buffer.room(64).len(), 62);
        buffer.release();
        assert_eq!(buffer.filled(), b"bc");
        assert_eq!(buffer.room(1).len(), 0);
        buffer.consume(9);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
