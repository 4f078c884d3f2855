//! A download: a file that is sent in pieces, with its digest at the end.

mod end;
mod from_worker;
mod write_detection;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustix::buffer::spare_capacity;

use super::error::SessionError;
use super::range_hash::RangeHash;
use super::read_ahead::ReadAhead;
use super::sliced::Site;
use crate::base::budget::Budget;
use crate::base::buffers::{FileRange, PIECE_BYTES, aligned_piece};
use crate::base::digest::{ContentHash, Digest, DigestAlgorithm};
use crate::base::virtual_path::VirtualPath;
use crate::store::meta::Meta;
use crate::store::{OpenFile, Store, StoreError};
use end::RunningEndCheck;
use from_worker::ReadPiece;
use write_detection::{EndCheck, WriteDetection};

/// Where a download begins.
#[derive(Debug, Clone)]
pub enum DownloadStart {
    /// At `offset`, if `etag` or `prefix` matches; else at the beginning.
    Proved {
        /// First byte wanted.
        offset: u64,
        /// The etag that came with the client's bytes.
        etag: Option<String>,
        /// The digest of the client's bytes.
        prefix: Option<Digest>,
    },
    /// At this byte, unverified. An offset past the end is refused.
    At(u64),
}

/// A client's request for a download.
#[derive(Debug, Clone)]
pub struct DownloadPlan {
    /// The path of the file.
    pub path: VirtualPath,
    /// Where it starts.
    pub start: DownloadStart,
    /// Whether the client gets the digest. If not, the file need not be hashed.
    pub hash: bool,
}

/// The properties of a download that are sent before its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadHeader {
    /// The size of the whole file.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// An opaque name of this content.
    pub etag: String,
    /// The first byte that is sent.
    pub offset: u64,
    /// Permission bits.
    pub mode: u32,
}

/// The result of [`Download::fetch`].
pub enum Fetched {
    /// This many bytes were appended.
    Bytes(usize),
    /// This range of the file is to be sent.
    Range(FileRange),
    /// Nothing can be sent yet, because the file is still being read again.
    Later,
    /// Nothing can be sent before a worker has read it.
    Waits,
    /// All bytes were fetched. Holds the file's size, and its digest if it was requested or is cached.
    End(u64, Option<Digest>),
}

/// A running download.
pub struct Download {
    /// The client's request.
    pub plan: DownloadPlan,
    /// When it started.
    pub started: Instant,
    file: Rc<OpenFile>,
    meta: Meta,
    /// The first byte to send; known once prepared.
    offset: u64,
    next: u64,
    /// The file's digest, if it is in the cache. Then nothing is hashed.
    cached_digest: Option<Digest>,
    /// The hash of all bytes before `next`, if a digest is requested and not cached.
    hash: Option<ContentHash>,
    ahead: ReadAhead,
    /// The hash of the bytes before `offset`, while it is computed.
    prefix: Option<RangeHash>,
    /// The next piece, while a worker reads it.
    piece: Option<ReadPiece>,
    /// The check of the file after the last byte, while a worker makes it.
    end_check: Option<RunningEndCheck>,
    /// The result of that check.
    end: Option<EndCheck>,
    /// The second reading of a file that changed while it was sent. If it was only touched or appended to, its
    /// first bytes are the same.
    second_reading: Option<RangeHash>,
    /// Used if no digest is requested or cached.
    write_detection: WriteDetection,
    /// Whether it continues only when a worker has answered. While the next piece is read and this one is sent, it
    /// waits for the peer.
    pub(super) awaits_storage: bool,
}

impl Download {
    /// Makes the download of an open file. Nothing is read yet.
    pub(super) fn of(file: OpenFile, meta: Meta, store: &Store, plan: DownloadPlan, now: Instant) -> Self {
        let cached_digest = store.digests.get(&meta.identity, DigestAlgorithm::OF_TRANSFERS);
        let hash = (plan.hash && cached_digest.is_none()).then(ContentHash::of_transfer);
        Self {
            plan,
            started: now,
            file: Rc::new(file),
            meta,
            offset: 0,
            next: 0,
            cached_digest,
            hash,
            ahead: ReadAhead::default(),
            prefix: None,
            piece: None,
            end_check: None,
            end: None,
            second_reading: None,
            write_detection: WriteDetection::Unknown,
            awaits_storage: false,
        }
    }

    /// Returns whether it waits for a worker.
    pub fn awaits_storage(&self) -> bool {
        self.awaits_storage
    }

    /// Decides where to begin. Hashes the bytes before that, if needed, within `budget`.
    pub(super) fn prepare(
        &mut self,
        site: Site<'_>,
        store: &Store,
        budget: &mut Budget,
    ) -> Result<Option<DownloadHeader>, SessionError> {
        let etag = store.etag(&self.meta.identity);
        let Some(offset) = self.find_offset(site, &etag, budget)? else { return Ok(None) };
        (self.offset, self.next) = (offset, offset);
        Ok(Some(DownloadHeader {
            size: self.meta.size,
            mtime_ns: self.meta.mtime_ns,
            etag,
            offset,
            mode: self.meta.mode,
        }))
    }

    fn find_offset(&mut self, site: Site<'_>, etag: &str, budget: &mut Budget) -> Result<Option<u64>, SessionError> {
        let (is_proved, offset, prefix) = match &self.plan.start {
            DownloadStart::At(offset) if *offset > self.meta.size => return Err(SessionError::BadOffset),
            DownloadStart::At(offset) => (true, *offset, None),
            DownloadStart::Proved { offset, etag: claimed, prefix } => {
                (prefix.is_some() || claimed.as_deref() == Some(etag), *offset, *prefix)
            }
        };
        if !is_proved || offset == 0 || offset > self.meta.size {
            return Ok(Some(0));
        }
        if prefix.is_none() && self.hash.is_none() {
            return Ok(Some(offset));
        }
        let first = || RangeHash::of_first(offset, Arc::clone(self.file.shared()), DigestAlgorithm::OF_TRANSFERS);
        let reading = self.prefix.get_or_insert_with(first);
        let hashed = reading.advance(site, budget)?;
        self.awaits_storage = reading.awaits_storage();
        let Some((hash, _)) = hashed else { return Ok(None) };
        self.prefix = None;
        let is_right = prefix.is_none_or(|claimed| hash.digest() == claimed);
        self.hash = Some(if is_right { hash } else { ContentHash::of_transfer() });
        Ok(Some(if is_right { offset } else { 0 }))
    }

    /// Fetches the next piece. Appends at most `max` bytes to `out`; or returns a file range of at most
    /// `range_max` bytes, if the caller can send ranges and the bytes need not be hashed.
    pub(super) fn fetch(
        &mut self,
        site: Site<'_>,
        store: &mut Store,
        out: &mut Vec<u8>,
        max: usize,
        range_max: Option<usize>,
        budget: &mut Budget,
    ) -> Result<Fetched, SessionError> {
        let left = self.meta.size - self.next;
        if left == 0 {
            return self.end(site, store, budget);
        }
        if self.piece.is_some() || !site.is_prompt() {
            return self.fetch_from_worker(site, out, max, budget);
        }
        if !self.plan.hash && self.cached_digest.is_none() {
            self.watch_for_writes(store, left);
        }
        let range_max = range_max.filter(|_| !matches!(self.write_detection, WriteDetection::ReadAtOnce));
        self.ahead.advise(&self.file, self.next, self.meta.size);
        if let Some(most) = range_max.filter(|_| !self.hashes()) {
            let length = left.min(aligned_piece(self.next, most) as u64);
            let range = FileRange { file: Rc::<OpenFile>::clone(&self.file), offset: self.next, length };
            self.next += length;
            return Ok(Fetched::Range(range));
        }
        let start = out.len();
        let want = aligned_piece(self.next, PIECE_BYTES.min(max)).min(usize::try_from(left).unwrap_or(usize::MAX));
        out.reserve_exact(want);
        let read = site.home.file_system().run_now(|| rustix::io::pread(&*self.file, spare_capacity(out), self.next));
        let count = read.map_err(StoreError::from)?;
        let count = count.min(want);
        out.truncate(start + count);
        if count == 0 {
            return Err(SessionError::Changed);
        }
        if count < want && matches!(self.write_detection, WriteDetection::ReadAtOnce) {
            self.write_detection = WriteDetection::Watched(None, Vec::new());
        }
        if self.hashes()
            && let Some(hash) = &mut self.hash
        {
            hash.update(&out[start..]);
        }
        self.next += count as u64;
        budget.spend(count as u64);
        Ok(Fetched::Bytes(count))
    }

    /// Returns whether the sent bytes must be hashed.
    fn hashes(&self) -> bool {
        self.plan.hash && self.cached_digest.is_none()
    }

    /// Returns whether only the end is left to be fetched.
    pub fn is_fetched(&self) -> bool {
        self.next == self.meta.size
    }

    /// Returns the bytes fetched so far, without skipped ones.
    pub fn fetched_bytes(&self) -> u64 {
        self.next.saturating_sub(self.offset)
    }

    /// Returns the size of the whole file.
    pub fn size(&self) -> u64 {
        self.meta.size
    }

    /// Returns the first byte sent.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}
