//! A download: a file that goes out piece by piece and is known by its digest at the end.

use super::error::SessionError;
use super::read_ahead::ReadAhead;
use super::task::{SecondReading, hash_range};
use crate::base::buffers::{Budget, FileRange};
use crate::base::digest::Digest;
use crate::base::limits::PIECE_BYTES;
use crate::base::virtual_path::VPath;
use crate::store::home::Home;
use crate::store::meta::{Identity, Meta, meta_of};
use crate::store::watch::Watch;
use crate::store::{OpenFile, Store, StoreError};
use rustix::buffer::spare_capacity;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Instant;

/// Where a download begins.
#[derive(Debug, Clone)]
pub enum DownloadStart {
    /// At `offset`, if `etag` or `prefix` fits; else at the beginning.
    Proved {
        /// First byte wanted.
        offset: u64,
        /// The etag the client's bytes came with.
        etag: Option<String>,
        /// The digest of the client's bytes.
        prefix: Option<Digest>,
    },
    /// At this byte, on the client's own responsibility. Past the end it is refused.
    At(u64),
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct DownloadPlan {
    /// Which file.
    pub path: VPath,
    /// From where.
    pub start: DownloadStart,
    /// Whether the client is to be told the digest; else the file need not be read for it.
    pub hash: bool,
}

/// What a client is told before the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The whole file's bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Names this content.
    pub etag: String,
    /// First byte that will come.
    pub offset: u64,
    /// Permission bits.
    pub mode: u32,
}

/// What [`Download::fetch`] came to.
pub enum Fetched {
    /// So many bytes were appended.
    Bytes(usize),
    /// This stretch of the file is to be sent.
    Range(FileRange),
    /// Nothing can be sent yet, because the file is still being read again.
    Later,
    /// All was fetched; the whole file's size, and its digest if it was wanted or is known.
    End(u64, Option<Digest>),
}

/// A running download.
pub struct Download {
    /// What was asked.
    pub plan: DownloadPlan,
    /// When.
    pub started: Instant,
    file: Rc<OpenFile>,
    meta: Meta,
    /// First byte sent; known once prepared.
    offset: u64,
    next: u64,
    /// The whole file's digest, if it was computed before; then nothing more is hashed.
    known: Option<Digest>,
    /// Otherwise everything before `next` is in here, if the digest is wanted.
    hash: Option<Sha256>,
    ahead: ReadAhead,
    second: SecondReading,
    /// Used if there is no digest to compare the file with.
    steadiness: Steadiness,
}

/// How a write is detected to a file that is sent without being hashed.
enum Steadiness {
    /// Nothing was fetched yet.
    Unknown,
    /// All of it was read in one system call, so no write can come in between.
    ReadAtOnce,
    /// By the kernel's watch, if there is one, and by samples of the bytes that were sent.
    Watched(Option<Watch>, Vec<Sample>),
}

/// Bytes that were sent, and where they are in the file.
struct Sample {
    offset: u64,
    bytes: Vec<u8>,
}

impl Sample {
    /// The last bytes before `end`.
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

/// Longer samples do not detect a rewritten file any better.
const SAMPLE_BYTES: u64 = 256;
/// Files of at most this many bytes are read at once instead of watched.
const READ_AT_ONCE_BYTES: u64 = 16 * 1024;

impl Download {
    /// Opens the file. Nothing is read yet.
    pub fn begin(home: &Home, store: &Store, plan: DownloadPlan, now: Instant) -> Result<Self, StoreError> {
        let (file, meta) = home.open(&plan.path)?;
        let known = store.digests.get(&meta.identity);
        let hash = (plan.hash && known.is_none()).then(Sha256::new);
        Ok(Self {
            plan,
            started: now,
            file: Rc::new(file),
            meta,
            offset: 0,
            next: 0,
            known,
            hash,
            ahead: ReadAhead::default(),
            second: SecondReading::default(),
            steadiness: Steadiness::Unknown,
        })
    }

    /// Decides where to begin; hashes what comes before it, where that is needed, as far as
    /// `budget` goes.
    pub fn prepare(&mut self, store: &Store, budget: &mut Budget) -> Result<Option<Opened>, SessionError> {
        let etag = store.etag(&self.meta.identity);
        let Some(offset) = self.find_offset(&etag, budget)? else { return Ok(None) };
        (self.offset, self.next) = (offset, offset);
        Ok(Some(Opened { size: self.meta.size, mtime_ns: self.meta.mtime_ns, etag, offset, mode: self.meta.mode }))
    }

    fn find_offset(&mut self, etag: &str, budget: &mut Budget) -> Result<Option<u64>, SessionError> {
        let (may, offset, prefix) = match &self.plan.start {
            DownloadStart::At(offset) if *offset > self.meta.size => return Err(SessionError::BadOffset),
            DownloadStart::At(offset) => (true, *offset, None),
            DownloadStart::Proved { offset, etag: claimed, prefix } => {
                (prefix.is_some() || claimed.as_deref() == Some(etag), *offset, *prefix)
            }
        };
        if !may || offset == 0 || offset > self.meta.size {
            return Ok(Some(0));
        }
        if let Some(claimed) = prefix {
            return self.check_prefix(offset, claimed, budget);
        }
        let Some(hash) = &mut self.hash else { return Ok(Some(offset)) };
        Ok(hash_range(&self.file, hash, &mut self.next, offset, budget)?.then_some(offset))
    }

    /// The offset, if the client's bytes are those before it; else 0.
    fn check_prefix(&mut self, offset: u64, claimed: Digest, budget: &mut Budget) -> Result<Option<u64>, SessionError> {
        let hash = self.hash.get_or_insert_with(Sha256::new);
        if !hash_range(&self.file, hash, &mut self.next, offset, budget)? {
            return Ok(None);
        }
        if Digest::finish(hash.clone()) == claimed {
            return Ok(Some(offset));
        }
        *hash = Sha256::new();
        Ok(Some(0))
    }

    /// The next piece: at most `max` bytes appended to `out`, or, where nothing need be hashed and ranges
    /// can be sent, a stretch of the file of at most `range_max`.
    pub fn fetch(
        &mut self,
        store: &mut Store,
        out: &mut Vec<u8>,
        max: usize,
        range_max: Option<usize>,
        budget: &mut Budget,
    ) -> Result<Fetched, SessionError> {
        let left = self.meta.size - self.next;
        if left == 0 {
            return self.end(store, budget);
        }
        if !self.plan.hash && self.known.is_none() {
            self.keep_watch(store, left);
        }
        let range_max = range_max.filter(|_| !matches!(self.steadiness, Steadiness::ReadAtOnce));
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
        let count = rustix::io::pread(&*self.file, spare_capacity(out), self.next).map_err(StoreError::from)?;
        let count = count.min(want);
        out.truncate(start + count);
        if count == 0 {
            return Err(SessionError::Changed);
        }
        if count < want && matches!(self.steadiness, Steadiness::ReadAtOnce) {
            self.steadiness = Steadiness::Watched(None, Vec::new());
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
    fn keep_watch(&mut self, store: &Store, left: u64) {
        match &mut self.steadiness {
            Steadiness::Unknown if left <= READ_AT_ONCE_BYTES => self.steadiness = Steadiness::ReadAtOnce,
            Steadiness::Unknown => {
                let watch = store.watcher.watch(&self.file).filter(|_| {
                    // The watch does not report a write between the opening and now.
                    meta_of(&*self.file).is_ok_and(|meta| meta.identity.has_content_of(&self.meta.identity))
                });
                self.steadiness = Steadiness::Watched(watch, Vec::new());
            }
            // Their distance doubles, so that the largest file has few samples.
            Steadiness::Watched(_, samples)
                if samples.last().is_none_or(|last| self.next - self.offset >= 2 * (last.offset - self.offset)) =>
            {
                samples.extend(Sample::before(&self.file, self.next).filter(|sample| sample.offset >= self.offset));
            }
            _ => {}
        }
    }

    /// Ends the download with the digest, or refuses with `Changed` if the bytes that were sent may be a
    /// mixture. The file may have been replaced, renamed, touched or appended to meanwhile.
    fn end(&mut self, store: &mut Store, budget: &mut Budget) -> Result<Fetched, SessionError> {
        let (now, then) = (meta_of(&*self.file)?.identity, self.meta.identity);
        let digest = match (self.known, &self.hash) {
            (None, Some(hash)) if self.plan.hash => Some(Digest::finish(hash.clone())),
            (known, _) => known,
        };
        if now.size < then.size {
            return Err(SessionError::Changed);
        }
        if !now.has_content_of(&then) {
            match digest {
                Some(digest) if !self.second.finds(&self.file, then.size, digest, budget)? => {
                    return Ok(Fetched::Later);
                }
                None if self.was_rewritten(&now) => return Err(SessionError::Changed),
                _ => {}
            }
        }
        if let Some(digest) = digest.filter(|_| now == then) {
            store.digests.insert(now, digest, store.clock.now_ns());
        }
        Ok(Fetched::End(self.meta.size, digest))
    }

    /// Whether the content may have changed while it was sent. A file that has grown was only appended to,
    /// as long as the samples are still in it.
    fn was_rewritten(&self, now: &Identity) -> bool {
        let has_grown = now.size > self.meta.size;
        match &self.steadiness {
            Steadiness::Unknown | Steadiness::ReadAtOnce => false,
            Steadiness::Watched(watch, samples) => {
                let is_as_sent = || samples.iter().all(|sample| sample.is_in(&self.file));
                let was_written = || watch.as_ref().is_none_or(|watch| watch.may_be_written(now));
                !is_as_sent() || (!has_grown && was_written())
            }
        }
    }

    /// Whether the bytes sent must be hashed.
    fn hashes(&self) -> bool {
        self.plan.hash && self.known.is_none()
    }

    /// Whether only the end is left to be fetched.
    pub fn is_fetched(&self) -> bool {
        self.next == self.meta.size
    }

    /// Bytes fetched so far, the skipped ones not counted.
    pub fn fetched_bytes(&self) -> u64 {
        self.next.saturating_sub(self.offset)
    }

    /// The whole file's bytes.
    pub fn size(&self) -> u64 {
        self.meta.size
    }

    /// First byte sent.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}
