//! Detects writes to a file while it is sent without being hashed.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Download;
use crate::store::Store;
use crate::store::meta::{Identity, meta_of};
use crate::store::watch::Watch;

/// How writes to a file are detected while it is sent without being hashed.
pub(super) enum WriteDetection {
    /// Nothing was fetched yet, or there is a digest to compare with.
    Unknown,
    /// The file was read in one system call, so no write can come in between.
    ReadAtOnce,
    /// By inotify, if available, and by samples of the bytes that were sent.
    Watched(Option<Watch>, Vec<Sample>),
}

/// What was found after the last byte.
#[derive(Clone, Copy)]
pub(super) struct EndCheck {
    pub(super) identity: Identity,
    /// The content has not changed, or at least the samples are as they were sent.
    pub(super) is_as_sent: bool,
}

/// Some sent bytes and their position in the file.
#[derive(Clone)]
pub(super) struct Sample {
    offset: u64,
    bytes: Vec<u8>,
}

impl Sample {
    /// Samples the last bytes before `end`.
    fn before(file: &File, end: u64) -> Option<Self> {
        let offset = end.saturating_sub(SAMPLE_BYTES);
        let mut bytes = vec![0; usize::try_from(end - offset).ok()?];
        file.read_exact_at(&mut bytes, offset).ok()?;
        Some(Self { offset, bytes })
    }

    pub(super) fn is_in(&self, file: &File) -> bool {
        let mut bytes = vec![0; self.bytes.len()];
        file.read_exact_at(&mut bytes, self.offset).is_ok() && bytes == self.bytes
    }
}

/// The size of a sample. Longer samples do not detect a rewritten file any better.
const SAMPLE_BYTES: u64 = 256;
/// Files of at most this size are read at once instead of watched.
const READ_AT_ONCE_BYTES: u64 = 16 * 1024;

impl Download {
    /// Chooses how writes are detected, and takes samples. Called before each piece.
    pub(super) fn watch_for_writes(&mut self, store: &Store, left: u64) {
        match &mut self.write_detection {
            WriteDetection::Unknown if left <= READ_AT_ONCE_BYTES => self.write_detection = WriteDetection::ReadAtOnce,
            WriteDetection::Unknown => {
                let watch = store.watcher.watch(&self.file).filter(|_| {
                    // The watch does not report a write between the opening and now.
                    meta_of(&*self.file).is_ok_and(|meta| meta.identity.has_content_of(&self.meta.identity))
                });
                self.write_detection = WriteDetection::Watched(watch, Vec::new());
            }
            // The distance between samples doubles, so that even the largest file has few.
            WriteDetection::Watched(_, samples)
                if samples.last().is_none_or(|last| self.next - self.offset >= 2 * (last.offset - self.offset)) =>
            {
                samples.extend(Sample::before(&self.file, self.next).filter(|sample| sample.offset >= self.offset));
            }
            _ => {}
        }
    }

    /// Takes a sample of a piece that a worker has read, unless there is a digest to compare with.
    pub(super) fn sample(&mut self, piece: &[u8]) {
        if self.plan.hash || self.cached_digest.is_some() {
            return;
        }
        if !matches!(self.write_detection, WriteDetection::Watched(..)) {
            self.write_detection = WriteDetection::Watched(None, Vec::new());
        }
        let WriteDetection::Watched(_, samples) = &mut self.write_detection else { return };
        if samples.last().is_none_or(|last| self.next - self.offset >= 2 * (last.offset - self.offset)) {
            let bytes = piece[piece.len().saturating_sub(SAMPLE_BYTES as usize)..].to_vec();
            samples.push(Sample { offset: self.next + (piece.len() - bytes.len()) as u64, bytes });
        }
    }

    /// Returns whether the content may have changed while it was sent. A longer file was only appended to
    /// if the samples still match.
    pub(super) fn was_rewritten(&self, check: &EndCheck) -> bool {
        let has_grown = check.identity.size > self.meta.size;
        match &self.write_detection {
            WriteDetection::Unknown | WriteDetection::ReadAtOnce => false,
            WriteDetection::Watched(watch, _) => {
                let was_written = || watch.as_ref().is_none_or(|watch| watch.may_be_written(&check.identity));
                !check.is_as_sent || (!has_grown && was_written())
            }
        }
    }
}
