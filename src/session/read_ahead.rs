//! Prefetches the bytes of a file, so that reading bytes that are not in the cache rarely blocks the loop.

use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;

/// How far ahead of a download the kernel is asked to read.
const PREFETCH_BYTES: u64 = 2 * 1024 * 1024;

/// How far a file has been prefetched.
#[derive(Default)]
pub(super) struct ReadAhead {
    until: u64,
}

impl ReadAhead {
    /// Prefetches the next window of a file of `size` bytes, whose bytes from `next` on are about to be
    /// read.
    pub(super) fn advise(&mut self, file: &File, next: u64, size: u64) {
        if next + PREFETCH_BYTES > self.until && self.until < size {
            let start = self.until.max(next);
            if !is_cached(file, start) {
                let advice = rustix::fs::Advice::WillNeed;
                // Only advice: a file system that ignores it serves the file all the same.
                let _ = rustix::fs::fadvise(file, start, NonZeroU64::new(2 * PREFETCH_BYTES), advice);
            }
            self.until = start + 2 * PREFETCH_BYTES;
        }
    }
}

/// Returns whether the byte at `offset` is cached: checking costs a tenth of advice that is not needed.
fn is_cached(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, flags) == Ok(1)
}
