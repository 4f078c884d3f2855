//! Bytes that wait to be sent: memory and ranges of files, in order.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::rc::Rc;

use super::DATA_BYTES_MAX;
use crate::base::memory::Charge;

/// A send buffer at first takes no more once it holds this many bytes of memory.
const OUTPUT_BYTES_FIRST: usize = 2 * 1024;
/// The same bound once a session has filled the first one and memory is available. The buffer holds at
/// most one addition more than this.
pub const OUTPUT_BYTES_HIGH: usize = 64 * 1024;
/// The largest data frame whose content is read into a send buffer that is not large.
const FRAME_BYTES_FIRST: usize = 16 * 1024;

/// A range of a file, which sendfile(2) can send without a copy.
#[derive(Clone)]
pub struct FileRange {
    /// The file, open for reading.
    pub file: Rc<dyn AsFd>,
    /// The first byte.
    pub offset: u64,
    /// Length in bytes, more than 0.
    pub length: u64,
}

enum Chunk {
    Bytes(Vec<u8>),
    Range(FileRange),
}

/// What is to be sent next.
pub enum NextChunk<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// From a file.
    Range(&'a FileRange),
}

/// Bytes to send, in order: memory and file ranges. The producer calls [`SendBuffer::has_room`] before
/// it adds. The buffer itself refuses nothing, so a reply always fits.
#[derive(Default)]
pub struct SendBuffer {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are already sent.
    sent: usize,
    /// Memory of the last sent chunk, reused for the next one.
    spare: Vec<u8>,
    held_bytes: usize,
    ranges: usize,
    /// Present while the buffer may be large.
    charge: Option<Charge>,
}

impl SendBuffer {
    /// Lets the buffer be large until all is sent and it is released.
    pub fn enlarge(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// Returns whether the buffer may be large.
    pub fn is_large(&self) -> bool {
        self.charge.is_some()
    }

    /// Returns whether the buffer has no room and is not large.
    pub fn is_full_and_small(&self) -> bool {
        self.charge.is_none() && !self.has_room()
    }

    /// Returns the largest size of a data frame whose content is read into the buffer.
    pub fn frame_bytes_max(&self) -> usize {
        if self.charge.is_some() { DATA_BYTES_MAX } else { FRAME_BYTES_FIRST }
    }

    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.append(|tail| tail.extend_from_slice(bytes));
    }

    /// Lets `write` append to the last chunk of memory and returns its result. A chunk that is being sent
    /// does not grow, because a steady producer would never let it end.
    pub fn append<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let is_being_sent = self.sent > 0 && self.chunks.len() == 1;
        if is_being_sent || !matches!(self.chunks.back(), Some(Chunk::Bytes(_))) {
            self.chunks.push_back(Chunk::Bytes(std::mem::take(&mut self.spare)));
        }
        let Some(Chunk::Bytes(tail)) = self.chunks.back_mut() else {
            unreachable!("a chunk of bytes was just pushed");
        };
        let before = tail.len();
        let result = write(tail);
        debug_assert!(tail.len() >= before, "an output only grows at its end");
        self.held_bytes += tail.len() - before;
        if tail.is_empty() {
            self.spare = std::mem::take(tail);
            self.chunks.pop_back();
        }
        result
    }

    /// Takes back the bytes that were appended since [`SendBuffer::held_bytes`] was `held_bytes`.
    pub fn take_back(&mut self, held_bytes: usize) {
        while self.held_bytes > held_bytes
            && let Some(Chunk::Bytes(tail)) = self.chunks.back_mut()
        {
            let count = tail.len().min(self.held_bytes - held_bytes);
            tail.truncate(tail.len() - count);
            self.held_bytes -= count;
            if tail.is_empty() {
                self.chunks.pop_back();
            }
        }
    }

    /// Removes the incomplete addition that remains after a panic of `write` in [`SendBuffer::append`].
    pub fn take_back_unfinished(&mut self) {
        let bytes = |chunk: &Chunk| if let Chunk::Bytes(bytes) = chunk { bytes.len() } else { 0 };
        let unfinished = self.chunks.iter().map(bytes).sum::<usize>() - self.sent - self.held_bytes;
        if let Some(Chunk::Bytes(tail)) = self.chunks.back_mut() {
            tail.truncate(tail.len() - unfinished);
        }
    }

    /// Appends a file range.
    pub fn push_range(&mut self, range: FileRange) {
        self.ranges += 1;
        self.chunks.push_back(Chunk::Range(range));
    }

    /// Returns what is to be sent next; `None` when all is sent.
    pub fn front(&self) -> Option<NextChunk<'_>> {
        match self.chunks.front()? {
            Chunk::Bytes(bytes) => Some(NextChunk::Bytes(&bytes[self.sent..])),
            Chunk::Range(range) => Some(NextChunk::Range(range)),
        }
    }

    /// Records that `count` bytes of the first chunk were sent.
    pub fn advance(&mut self, count: usize) {
        match self.chunks.front_mut() {
            Some(Chunk::Bytes(bytes)) => {
                self.sent += count;
                self.held_bytes -= count;
                if self.sent < bytes.len() {
                    return;
                }
                self.sent = 0;
                if let Some(Chunk::Bytes(mut bytes)) = self.chunks.pop_front() {
                    bytes.clear();
                    self.spare = bytes;
                }
            }
            Some(Chunk::Range(range)) => {
                range.offset += count as u64;
                range.length -= count as u64;
                if range.length == 0 {
                    self.chunks.pop_front();
                    self.ranges -= 1;
                }
            }
            None => {}
        }
    }

    /// Replaces up to `count` bytes of the first range, whose file was truncated, by zero bytes, so that
    /// the peer's framing holds. The end of the transfer compares the file's identity again and reports the
    /// failure.
    pub fn pad_range(&mut self, count: usize) {
        let Some(Chunk::Range(range)) = self.chunks.front_mut() else { return };
        let zeros = range.length.min(count as u64);
        range.length -= zeros;
        if range.length == 0 {
            self.chunks.pop_front();
            self.ranges -= 1;
        }
        self.held_bytes += zeros as usize;
        self.chunks.push_front(Chunk::Bytes(vec![0; zeros as usize]));
    }

    /// Returns whether more may be produced.
    pub fn has_room(&self) -> bool {
        self.held_bytes < if self.charge.is_some() { OUTPUT_BYTES_HIGH } else { OUTPUT_BYTES_FIRST }
    }

    /// Returns the bytes of memory that wait to be sent. File ranges do not count.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Returns the bytes of memory that no charge covers.
    pub fn uncharged_bytes(&self) -> usize {
        if self.charge.is_some() { 0 } else { self.held_bytes + self.spare.capacity() }
    }

    /// Returns whether a file range waits to be sent.
    pub fn has_ranges(&self) -> bool {
        self.ranges > 0
    }

    /// Returns whether all is sent.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Frees memory if all is sent.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn file_of(bytes: &[u8]) -> Rc<File> {
        use std::io::Write;
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(bytes).expect("write");
        Rc::new(file)
    }

    #[test]
    fn output_keeps_the_order_of_bytes_and_ranges() {
        let mut output = SendBuffer::default();
        output.put(b"head");
        output.push_range(FileRange { file: file_of(b"0123456789"), offset: 2, length: 5 });
        output.put(b"tail");
        assert_eq!(output.held_bytes(), 8);
        let mut seen = Vec::new();
        while let Some(piece) = output.front() {
            let count = match piece {
                NextChunk::Bytes(bytes) => {
                    seen.extend_from_slice(&bytes[..1]);
                    1
                }
                NextChunk::Range(range) => {
                    seen.extend_from_slice(format!("[{}+{}]", range.offset, range.length).as_bytes());
                    range.length.min(3) as usize
                }
            };
            output.advance(count);
        }
        assert_eq!(seen, b"head[2+5][5+2]tail");
        assert_eq!(output.held_bytes(), 0);
        assert!(!output.has_ranges());
    }

    #[test]
    fn what_a_panic_left_of_a_frame_is_taken_back_and_nothing_else() {
        for whole in [&b""[..], b"whole"] {
            let mut output = SendBuffer::default();
            output.put(whole);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                output.append(|tail| {
                    tail.extend_from_slice(b"ha");
                    panic!("on purpose");
                })
            }));
            assert!(result.is_err());
            output.take_back_unfinished();
            output.put(b" word");
            assert_eq!(output.held_bytes(), whole.len() + 5);
            let Some(NextChunk::Bytes(bytes)) = output.front() else { panic!("there are bytes") };
            assert_eq!(bytes, [whole, b" word"].concat());
        }
    }

    #[test]
    fn a_steady_producer_does_not_make_a_chunk_grow_for_ever() {
        let mut output = SendBuffer::default();
        output.put(&[0; 100]);
        for _ in 0..1000 {
            output.advance(1);
            output.put(&[0; 1]);
        }
        assert_eq!(output.held_bytes(), 100);
        let longest = output.chunks.iter().map(|chunk| match chunk {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::Range(_) => 0,
        });
        assert_eq!(longest.max(), Some(100));
    }

    #[test]
    fn a_range_of_a_shrunk_file_is_padded_to_its_announced_length() {
        let mut output = SendBuffer::default();
        output.push_range(FileRange { file: file_of(b""), offset: 0, length: 10 });
        output.put(b"!");
        output.pad_range(4);
        assert!(output.has_ranges());
        output.advance(4);
        output.pad_range(100);
        assert!(!output.has_ranges());
        assert_eq!(output.held_bytes(), 7);
        output.advance(6);
        assert!(matches!(output.front(), Some(NextChunk::Bytes(b"!"))));
    }
}
