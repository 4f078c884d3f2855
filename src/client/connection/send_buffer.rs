//! Bytes to be sent, in one reused block of memory. The bytes of a file are read into it directly after the header of
//! their frame, without a copy. This module knows no frames.

/// A queue of bytes.
#[derive(Default)]
pub struct SendBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl SendBuffer {
    /// Returns room for exactly `count` more bytes. [`SendBuffer::commit`] adds them to the queue.
    pub fn room(&mut self, count: usize) -> &mut [u8] {
        if self.end + count > self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end + count > self.bytes.len() {
            self.bytes.resize(self.end + count, 0);
        }
        &mut self.bytes[self.end..self.end + count]
    }

    /// Queues the first `count` bytes of the last room.
    pub fn commit(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Queues a copy of `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.commit(bytes.len());
    }

    /// Returns the queued bytes, oldest first.
    pub fn queued(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Removes the oldest `count` bytes, because they were sent.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Removes all bytes.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Returns whether all bytes were sent.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_as_large_as_requested_and_order_is_kept() {
        let mut outgoing = SendBuffer::default();
        let (mut queued, mut sent) = (Vec::new(), Vec::new());
        for step in 0..300usize {
            let piece: Vec<u8> = (0..step * 7 % 40).map(|i| (step + i) as u8).collect();
            assert_eq!(outgoing.room(piece.len()).len(), piece.len());
            outgoing.push(&piece);
            queued.extend(piece);
            let count = outgoing.queued().len().min(step * 5 % 33);
            sent.extend_from_slice(&outgoing.queued()[..count]);
            outgoing.consume(count);
        }
        sent.extend_from_slice(outgoing.queued());
        assert_eq!(sent, queued);
    }
}
