//! Asking for a file's bytes before they are read, so that a cold disk rarely blocks the loop.

use crate::base::limits::PREFETCH_BYTES;
use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;

/// How far a file that is read from somewhere on has been asked for.
#[derive(Default)]
pub(super) struct ReadAhead {
    until: u64,
}

impl ReadAhead {
    /// Asks the kernel for the next window of a file of `size` bytes, of which those from `next` on
    /// are about to be read.
    pub(super) fn advise(&mut self, file: &File, next: u64, size: u64) {
        if next + PREFETCH_BYTES > self.until && self.until < size {
            let start = self.until.max(next);
            if !is_cached(file, start) {
                let advice = rustix::fs::Advice::WillNeed;
                // Only advice: a filesystem that takes none serves the file all the same.
                let _ = rustix::fs::fadvise(file, start, NonZeroU64::new(2 * PREFETCH_BYTES), advice);
            }
            self.until = start + 2 * PREFETCH_BYTES;
        }
    }
}

/// Whether the byte at `offset` can be read without the disk: asking is a tenth of the price of
/// advice that is not needed.
fn is_cached(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, flags) == Ok(1)
}
