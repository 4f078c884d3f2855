//! Continues with existing bytes: those of a partial upload, or those of a file, which are copied so
//! that the file stays intact until the upload is complete.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::Staged;
use super::inode::check_target;
use super::part::{PartLocation, Written};
use super::record::{Record, StoredRecord, read_record};
use crate::base::attributes::set_mtime;
use crate::base::buffers::PIECE_BYTES;
use crate::base::refusals::is_refusal;
use crate::base::upload_id::{RESUME_BYTES_MIN, UploadId};
use crate::base::virtual_path::VirtualPath;
use crate::store::StoreError;
use crate::store::home::{Home, HomeDirectory, check_disk};
use crate::store::meta::{Kind, Meta, meta_of};
use crate::store::names::{FULL_DISK_MTIME_NS, part_name};
use crate::store::staging::TRUNCATED_BYTES_PER_TURN;

/// The open file and the record of a partial upload.
struct OpenPart {
    staging: Arc<OwnedFd>,
    file: File,
    meta: Meta,
    kept: StoredRecord,
}

impl HomeDirectory {
    /// Opens the partial upload `id`, if its record `fits`.
    fn open_partial(&self, id: &UploadId, fits: impl FnOnce(&Record) -> bool) -> Result<Option<OpenPart>, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(None) };
        let Some(kept) = read_record(&staging, id).filter(|kept| fits(&kept.record)) else { return Ok(None) };
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&*staging, part_name(id), flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let meta = meta_of(&file)?;
        Ok(Some(OpenPart { staging, file, meta, kept }))
    }

    /// Refuses to append `more` bytes to a part if its target or its file system does not allow that.
    fn check_resumed(&self, file: &File, path: &VirtualPath, more: u64, now_ns: i64) -> Result<(), StoreError> {
        check_target(&self.upload_target(path)?)?;
        check_disk(more, file)?;
        if meta_of(file)?.mtime_ns == FULL_DISK_MTIME_NS {
            // Otherwise an upload that needs no further bytes would keep that time.
            let _ = set_mtime(file, now_ns);
        }
        Ok(())
    }
}

impl StoredRecord {
    /// Returns how many of a part's `length` bytes can be trusted: all, or only the synced ones if the machine
    /// was rebooted since.
    fn trusted_of(&self, length: u64, home: &Home) -> u64 {
        if self.boot == *home.boot { length } else { length.min(self.synced) }
    }
}

/// The bytes to truncate: those after the byte at which the upload continues.
#[derive(Clone, Copy)]
pub(super) struct Truncation {
    pub(super) bytes: u64,
    /// The size of the complete file. Quota for it is reserved as the truncation frees it.
    promised: u64,
}

impl Staged {
    /// Resumes the partial upload `id`; `None` if there is none with this `record`. Ends a session that is still
    /// writing it. [`Staged::cut`] must follow.
    pub async fn resume(home: Rc<Home>, id: UploadId, record: Record) -> Result<Option<Self>, StoreError> {
        home.claims.supersede(&id);
        let (size, path) = (record.size, record.path.clone());
        let there = home.run(move |home| home.open_partial(&id, |kept| *kept == record)).await?;
        let Some(there) = there else { return Ok(None) };
        let length = there.kept.trusted_of(there.meta.size, &home);
        if size.is_some_and(|size| length > size) {
            return Ok(None);
        }
        let path = VirtualPath::parse(&path).map_err(|_| StoreError::BadName)?;
        Self::resume_from(home, id, there, path, length, size.unwrap_or(0)).await.map(Some)
    }

    /// Resumes at the first `length` bytes of the partial upload of `path`; `None` if there are fewer. Ends a
    /// session that is still writing it. Reserves quota for a file of `promised` bytes. [`Staged::cut`] must
    /// follow.
    pub async fn resume_at(
        home: Rc<Home>,
        record: Record,
        path: VirtualPath,
        length: u64,
        promised: u64,
    ) -> Result<Option<Self>, StoreError> {
        let id = UploadId::of_path(&path);
        home.claims.supersede(&id);
        let wanted = record.path.clone();
        let there = home.run(move |home| home.open_partial(&id, |kept| kept.path == wanted)).await?;
        let Some(mut there) = there else { return Ok(None) };
        let trusted = there.kept.trusted_of(there.meta.size, &home);
        if trusted < length {
            return Ok(None);
        }
        there.kept.record = record;
        let mut staged = Self::resume_from(home, id, there, path, length, promised).await?;
        if trusted > length {
            staged.distrust_surplus().await?;
        }
        Ok(Some(staged))
    }

    async fn resume_from(
        home: Rc<Home>,
        id: UploadId,
        there: OpenPart,
        path: VirtualPath,
        length: u64,
        promised: u64,
    ) -> Result<Self, StoreError> {
        let OpenPart { staging, file, meta, kept } = there;
        // Reserved before anything is changed, so that a refusal leaves the partial upload as it was.
        let more = promised.saturating_sub(meta.size);
        let (reservation, file) = (home.ledger().reserve(more, 0)?, home.track_open_regular(file, &meta));
        let (shared, now_ns) = (Arc::clone(file.shared()), home.clock.now_ns());
        home.run(move |home| home.check_resumed(&shared, &path, more, now_ns)).await?;
        let location = PartLocation::Staging { directory: staging, was_nameless: false };
        let mut staged = Self::claimed(home, location, id, reservation, file, length, Some(kept));
        staged.surplus = Some(Truncation { bytes: meta.size - length, promised });
        staged.slot = staged.home.partials.take_slot();
        if staged.slot.is_none() {
            staged.remove_record().await?;
        }
        Ok(staged)
    }

    /// Changes the record before the bytes, because it must never trust bytes that are about to be overwritten.
    /// If the remaining bytes are too few to be worth resuming, removes the record.
    async fn distrust_surplus(&mut self) -> Result<(), StoreError> {
        if self.length < RESUME_BYTES_MIN {
            self.kept = None;
            self.remove_record().await?;
            self.slot = None;
            return Ok(());
        }
        if let Some(kept) = &mut self.kept {
            kept.synced = kept.synced.min(self.length);
        }
        self.write_record().await
    }

    /// Returns whether bytes remain to be truncated.
    pub fn has_surplus(&self) -> bool {
        self.surplus.is_some()
    }

    /// Truncates up to [`TRUNCATED_BYTES_PER_TURN`] bytes at the end. Returns the number of bytes.
    pub async fn cut(&mut self) -> Result<u64, StoreError> {
        let _changing = self.home.file_system().begin_change();
        self.check_claim()?;
        let Some(Truncation { bytes, promised }) = self.surplus else { return Ok(0) };
        let count = bytes.min(TRUNCATED_BYTES_PER_TURN);
        let left = self.length + bytes - count;
        if count > 0 {
            let file = self.file()?;
            self.home.run(move |_| Ok(file.set_len(left)?)).await?;
            self.surplus = Some(Truncation { bytes: bytes - count, promised });
            self.home.ledger().credit(count, 0);
        }
        // At once, before another session takes the freed quota.
        let missing = promised.saturating_sub(left).saturating_sub(self.claim.reservation.bytes());
        self.claim.reservation.grow(missing, 0)?;
        if left == self.length {
            self.surplus = None;
            self.trust_all().await?;
        }
        Ok(count)
    }

    /// After a reboot, records that all remaining bytes can be trusted, because they were synced. New bytes are
    /// trusted until the next reboot.
    async fn trust_all(&mut self) -> Result<(), StoreError> {
        if let Some(kept) = &mut self.kept
            && kept.boot != *self.home.boot
        {
            (kept.synced, kept.boot) = (self.length, self.home.boot.to_string());
            return self.write_record().await;
        }
        Ok(())
    }

    /// Appends up to `most` bytes of `source`, from the end of this file on. Returns the number of bytes,
    /// at least one. The kernel shares or copies them if it can.
    pub async fn copy_from(&mut self, source: Arc<File>, most: u64) -> Result<u64, StoreError> {
        let _changing = self.home.file_system().begin_change();
        let file = self.reserve_room(most)?;
        let (to, at) = (Arc::clone(file.shared()), self.length);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let count = self.file_system.run(move || copy_piece(&source, &to, at, most)).await?? as u64;
        self.record_written(&file, Written { count, result: Ok(()) })?;
        Ok(count)
    }
}

fn copy_piece(source: &File, to: &File, at: u64, most: usize) -> Result<usize, StoreError> {
    let (mut from_at, mut to_at) = (at, at);
    match rustix::fs::copy_file_range(source, Some(&mut from_at), to, Some(&mut to_at), most) {
        Ok(count) if count > 0 => Ok(count),
        // Two file systems, or one without support; some report that by copying nothing.
        Ok(_) | Err(Errno::XDEV | Errno::INTR) => copy_through_memory(source, to, at, most),
        Err(errno) if is_refusal(errno) => copy_through_memory(source, to, at, most),
        Err(errno) => Err(errno.into()),
    }
}

fn copy_through_memory(source: &File, to: &File, at: u64, most: usize) -> Result<usize, StoreError> {
    let mut piece = vec![0; most.min(MEMORY_PIECE_BYTES)];
    match source.read_at(&mut piece, at)? {
        0 => Err(StoreError::Changed),
        count => match to.write_at(&piece[..count], at)? {
            0 => Err(StoreError::DiskFull),
            count => Ok(count),
        },
    }
}

/// The maximum number of bytes that one call copies through memory.
const MEMORY_PIECE_BYTES: usize = PIECE_BYTES;

impl Home {
    /// Returns whether the upload `id` is running.
    pub fn is_uploading(&self, id: &UploadId) -> bool {
        self.claims.is_running(id)
    }

    /// Returns the metadata of the partial upload of `path`, if it is newer than the file there. The size is
    /// that of its trusted bytes. The comparison uses the change times, because users can set the
    /// modification time.
    pub async fn newer_partial_upload(&self, path: VirtualPath) -> Result<Option<Meta>, StoreError> {
        let found = self.run(move |directory| directory.find_partial(&path)).await?;
        let Some(FoundPartial { id, kept, mut meta, is_newer }) = found else { return Ok(None) };
        if self.has_expired(self.expires_ns(&meta), self.clock.now_ns()) && !self.claims.is_running(&id) {
            return Ok(None);
        }
        meta.size = kept.trusted_of(meta.size, self);
        Ok(is_newer?.then_some(meta))
    }
}

/// A partial upload with a record.
struct FoundPartial {
    id: UploadId,
    kept: StoredRecord,
    /// The metadata of its part.
    meta: Meta,
    /// Whether it is newer than the file at its path. An error if the parent directory is gone or was moved.
    is_newer: Result<bool, StoreError>,
}

impl HomeDirectory {
    /// Returns whether the staging directory has the part of the upload `id`.
    pub fn has_part(&self, id: &UploadId) -> Result<bool, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(false) };
        Ok(rustix::fs::statat(&*staging, part_name(id), AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    fn find_partial(&self, path: &VirtualPath) -> Result<Option<FoundPartial>, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(None) };
        let id = UploadId::of_path(path);
        let Some(kept) = read_record(&staging, &id).filter(|kept| kept.record.path == path.as_bytes()) else {
            return Ok(None);
        };
        let Ok(stat) = rustix::fs::statat(&*staging, part_name(&id), AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(None);
        };
        let meta = Meta::from(stat);
        let is_newer = match self.stat(path) {
            Err(StoreError::NotFound) => self.entry(path).map(|_| true),
            there => there.map(|there| there.kind == Kind::File && meta.identity.ctime_ns > there.identity.ctime_ns),
        };
        Ok(Some(FoundPartial { id, kept, meta, is_newer }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_copied_the_same_by_the_kernel_and_through_memory() {
        let (source, content) = (tempfile::tempfile().expect("file"), b"0123456789");
        source.write_all_at(content, 0).expect("written");
        for copy in [copy_piece, copy_through_memory] {
            let to = tempfile::tempfile().expect("file");
            assert_eq!(copy(&source, &to, 0, 4).expect("copied"), 4);
            assert_eq!(copy(&source, &to, 4, 100).expect("copied"), 6);
            assert!(matches!(copy(&source, &to, 10, 1), Err(StoreError::Changed)), "there is no more");
            let mut copied = vec![0; 11];
            assert_eq!(to.read_at(&mut copied, 0).expect("read"), 10);
            assert_eq!(&copied[..10], content);
        }
    }
}
