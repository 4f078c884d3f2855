//! A download: a file that is sent in pieces, with its digest at the end.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use sha2::{Digest as _, Sha256};

use super::error::SessionError;
use super::range_hash::RangeHash;
use super::read_ahead::ReadAhead;
use super::sliced::Site;
use crate::base::budget::Budget;
use crate::base::buffers::{FileRange, PIECE_BYTES};
use crate::base::digest::Digest;
use crate::base::virtual_path::VirtualPath;
use crate::store::meta::{Identity, Meta, meta_of};
use crate::store::watch::Watch;
use crate::store::workers::operations::Operation;
use crate::store::{OpenFile, Store, StoreError};

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
    hash: Option<Sha256>,
    ahead: ReadAhead,
    /// The hash of the bytes before `offset`, while it is computed.
    prefix: Option<RangeHash>,
    /// The next piece, while a worker reads it.
    piece: Option<Operation<Result<Result<Vec<u8>, StoreError>, SessionError>>>,
    /// The check of the file after the last byte, while a worker makes it.
    end_check: Option<Operation<Result<Result<EndCheck, StoreError>, SessionError>>>,
    /// The result of that check.
    end: Option<EndCheck>,
    /// The file is read once more, because it changed meanwhile. If it was only touched or appended to, its
    /// first bytes are the same.
    second_reading: Option<RangeHash>,
    /// Used if no digest is requested or cached.
    write_detection: WriteDetection,
}

/// How writes to a file are detected while it is sent without being hashed.
enum WriteDetection {
    /// Nothing was fetched yet, or there is a digest to compare with.
    Unknown,
    /// The file was read in one system call, so no write can come in between.
    ReadAtOnce,
    /// By inotify, if available, and by samples of the bytes that were sent.
    Watched(Option<Watch>, Vec<Sample>),
}

/// What was found after the last byte.
#[derive(Clone, Copy)]
struct EndCheck {
    identity: Identity,
    /// The content has not changed, or at least the samples are as they were sent.
    is_as_sent: bool,
}

/// Some sent bytes and their position in the file.
#[derive(Clone)]
struct Sample {
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

    fn is_in(&self, file: &File) -> bool {
        let mut bytes = vec![0; self.bytes.len()];
        file.read_exact_at(&mut bytes, self.offset).is_ok() && bytes == self.bytes
    }
}

/// The size of a sample. Longer samples do not detect a rewritten file any better.
const SAMPLE_BYTES: u64 = 256;
/// Files of at most this size are read at once instead of watched.
const READ_AT_ONCE_BYTES: u64 = 16 * 1024;

impl Download {
    /// Makes the download of an open file. Nothing is read yet.
    pub(super) fn of(file: OpenFile, meta: Meta, store: &Store, plan: DownloadPlan, now: Instant) -> Self {
        let cached_digest = store.digests.get(&meta.identity);
        let hash = (plan.hash && cached_digest.is_none()).then(Sha256::new);
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
        }
    }

    /// Returns whether it waits for a worker.
    pub fn awaits_storage(&self) -> bool {
        let readings = [&self.prefix, &self.second_reading];
        self.piece.is_some()
            || self.end_check.is_some()
            || readings.into_iter().flatten().any(RangeHash::awaits_storage)
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
        let reading = self.prefix.get_or_insert_with(|| RangeHash::of_first(offset, &self.file));
        let Some((hash, _)) = reading.advance(site, budget)? else { return Ok(None) };
        self.prefix = None;
        let is_right = prefix.is_none_or(|claimed| Digest::finish(hash.clone()) == claimed);
        self.hash = Some(if is_right { hash } else { Sha256::new() });
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
            let length = left.min(most as u64);
            let range = FileRange { file: Rc::<OpenFile>::clone(&self.file), offset: self.next, length };
            self.next += length;
            return Ok(Fetched::Range(range));
        }
        let start = out.len();
        let want = PIECE_BYTES.min(max).min(usize::try_from(left).unwrap_or(usize::MAX));
        out.reserve_exact(want);
        let read = site.home.disk().run_now(|| rustix::io::pread(&*self.file, spare_capacity(out), self.next));
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

    /// Chooses how writes are detected, and takes samples. Called before each piece.
    fn watch_for_writes(&mut self, store: &Store, left: u64) {
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

    /// Like [`Download::fetch`], for a file system that may make the caller wait: a worker reads the piece, and
    /// then the next one while this one is sent.
    fn fetch_from_worker(
        &mut self,
        site: Site<'_>,
        out: &mut Vec<u8>,
        max: usize,
        budget: &mut Budget,
    ) -> Result<Fetched, SessionError> {
        let mut reading = self.piece.take().unwrap_or_else(|| self.read_piece(site, max));
        let piece = match reading.take() {
            Poll::Pending => {
                self.piece = Some(reading);
                return Ok(Fetched::Waits);
            }
            Poll::Ready(read) => read.unwrap_or(Err(SessionError::Defect))??,
        };
        if piece.is_empty() {
            return Err(SessionError::Changed);
        }
        self.sample(&piece);
        if self.hashes()
            && let Some(hash) = &mut self.hash
        {
            hash.update(&piece);
        }
        out.extend_from_slice(&piece);
        self.next += piece.len() as u64;
        budget.spend(piece.len() as u64);
        if !self.is_fetched() {
            self.piece = Some(self.read_piece(site, max));
        }
        Ok(Fetched::Bytes(piece.len()))
    }

    fn read_piece(&self, site: Site<'_>, max: usize) -> Operation<Result<Result<Vec<u8>, StoreError>, SessionError>> {
        let (file, offset) = (Arc::clone(self.file.shared()), self.next);
        let want = PIECE_BYTES.min(max).min(usize::try_from(self.meta.size - offset).unwrap_or(usize::MAX));
        site.begin(move || {
            let mut piece = Vec::with_capacity(want);
            rustix::io::pread(&*file, spare_capacity(&mut piece), offset)?;
            piece.truncate(want);
            Ok(piece)
        })
    }

    /// Takes a sample of a piece that a worker has read, unless there is a digest to compare with.
    fn sample(&mut self, piece: &[u8]) {
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

    /// Ends the download with the digest, or refuses with `Changed` if the sent bytes may be a mixture of
    /// versions. The file may have been replaced, renamed, touched or appended to meanwhile.
    fn end(&mut self, site: Site<'_>, store: &mut Store, budget: &mut Budget) -> Result<Fetched, SessionError> {
        let Some(check) = self.check_end(site)? else { return Ok(Fetched::Waits) };
        let (now, then) = (check.identity, self.meta.identity);
        let digest = match (self.cached_digest, &self.hash) {
            (None, Some(hash)) if self.plan.hash => Some(Digest::finish(hash.clone())),
            (known, _) => known,
        };
        if now.size < then.size {
            return Err(SessionError::Changed);
        }
        if !now.has_content_of(&then) {
            match digest {
                Some(digest) => {
                    let first = || RangeHash::of_first(then.size, &self.file);
                    let reading = self.second_reading.get_or_insert_with(first);
                    match reading.advance(site, budget)? {
                        None if reading.awaits_storage() => return Ok(Fetched::Waits),
                        None => return Ok(Fetched::Later),
                        Some((hash, _)) if Digest::finish(hash.clone()) != digest => return Err(SessionError::Changed),
                        Some(_) => {}
                    }
                }
                None if self.was_rewritten(&check) => return Err(SessionError::Changed),
                None => {}
            }
        }
        if let Some(digest) = digest.filter(|_| now == then) {
            store.digests.insert(now, digest, store.clock.now_ns());
        }
        Ok(Fetched::End(self.meta.size, digest))
    }

    /// Looks at the file after its last byte was read. `None`: a worker does that.
    fn check_end(&mut self, site: Site<'_>) -> Result<Option<EndCheck>, SessionError> {
        if self.end.is_some() {
            return Ok(self.end);
        }
        let samples =
            if let WriteDetection::Watched(_, samples) = &self.write_detection { samples.clone() } else { Vec::new() };
        let (file, then) = (Arc::clone(self.file.shared()), self.meta.identity);
        let check = move || -> Result<EndCheck, StoreError> {
            let identity = meta_of(&*file)?.identity;
            let is_as_sent = identity.has_content_of(&then) || samples.iter().all(|sample| sample.is_in(&file));
            Ok(EndCheck { identity, is_as_sent })
        };
        let mut checking = match self.end_check.take() {
            Some(checking) => checking,
            None => site.begin(check),
        };
        self.end = match checking.take() {
            Poll::Pending => {
                self.end_check = Some(checking);
                None
            }
            Poll::Ready(checked) => Some(checked.unwrap_or(Err(SessionError::Defect))??),
        };
        Ok(self.end)
    }

    /// Returns whether the content may have changed while it was sent. A longer file was only appended to
    /// if the samples still match.
    fn was_rewritten(&self, check: &EndCheck) -> bool {
        let has_grown = check.identity.size > self.meta.size;
        match &self.write_detection {
            WriteDetection::Unknown | WriteDetection::ReadAtOnce => false,
            WriteDetection::Watched(watch, _) => {
                let was_written = || watch.as_ref().is_none_or(|watch| watch.may_be_written(&check.identity));
                !check.is_as_sent || (!has_grown && was_written())
            }
        }
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
