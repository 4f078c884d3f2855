//! Going on with bytes that are there already: those of an interrupted upload, or those of a
//! file, which are copied so that the file stays whole until the upload is.

use super::{KeptRecord, Record, Staged, part_name, read_record, record_name, remove, trusted_length, write_record};
use crate::limits::RESUME_BYTES_MIN;
use crate::store::StoreError;
use crate::store::home::{Home, Kind, Meta};
use crate::upload_id::UploadId;
use crate::vpath::VPath;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// An interrupted upload, opened.
struct TakenUp {
    staging: Rc<OwnedFd>,
    file: File,
    length: u64,
    kept: KeptRecord,
}

impl TakenUp {
    /// What is kept under `id`, if its record `fits`. Whoever was writing it no longer is.
    fn open(home: &Home, id: UploadId, fits: impl Fn(&Record) -> bool) -> Result<Option<Self>, StoreError> {
        let Some(staging) = home.staging(false)? else { return Ok(None) };
        home.claims.supersede(&id);
        let Some(mut kept) = read_record(&staging, &id).filter(|kept| fits(&kept.record)) else { return Ok(None) };
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&*staging, part_name(&id), flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let length = trusted_length(home, &file, &kept)?;
        if kept.boot != *home.boot {
            // All that is left was synced; what comes now is trusted until the machine's next start.
            (kept.synced, kept.boot) = (length, home.boot.to_string());
            write_record(&staging, &id, &kept)?;
        }
        Ok(Some(Self { staging, file, length, kept }))
    }
}

impl Staged {
    /// Takes up what is kept under `id`; `None` if nothing is, or something else than `record`.
    pub fn resume(home: Rc<Home>, id: UploadId, record: &Record) -> Result<Option<Self>, StoreError> {
        let Some(there) = TakenUp::open(&home, id, |kept| kept == record)? else { return Ok(None) };
        if record.size.is_some_and(|size| there.length > size) {
            return Ok(None);
        }
        let reservation = home.ledger().reserve(record.size.map_or(0, |size| size - there.length), 0)?;
        let TakenUp { staging, file, length, kept } = there;
        Ok(Some(Self::claimed(home, staging, id, reservation, file, length, Some(kept))))
    }

    /// Takes up the first `length` bytes of what is held for `path`, and drops those after them;
    /// `None` if there are not so many. Promises room for a file of `promised` bytes.
    pub fn resume_at(
        home: Rc<Home>,
        record: &Record,
        path: &VPath,
        length: u64,
        promised: u64,
    ) -> Result<Option<Self>, StoreError> {
        let id = UploadId::of_path(path);
        let Some(there) = TakenUp::open(&home, id, |kept| kept.path == record.path)? else { return Ok(None) };
        if there.length < length {
            return Ok(None);
        }
        // What does not fit is refused while everything is still there.
        let reservation = home.ledger().reserve(promised.saturating_sub(there.length), 0)?;
        let TakenUp { staging, file, length: there, mut kept } = there;
        kept.record = record.clone();
        let mut staged = Self::claimed(home, staging, id, reservation, file, there, Some(kept));
        staged.truncate(length)?;
        staged
            .claim
            .reservation
            .grow(promised.saturating_sub(length).saturating_sub(staged.claim.reservation.bytes()), 0)?;
        Ok(Some(staged))
    }

    /// Drops what lies beyond `length`. What is left is kept only if it is worth it.
    fn truncate(&mut self, length: u64) -> Result<(), StoreError> {
        let surplus = self.length.saturating_sub(length);
        if surplus == 0 {
            return Ok(());
        }
        // The record comes first: it must never trust bytes that are about to be written anew.
        if length < RESUME_BYTES_MIN {
            self.kept = None;
            remove(&self.staging, &record_name(&self.id));
        } else if let Some(kept) = &mut self.kept {
            kept.synced = kept.synced.min(length);
            write_record(&self.staging, &self.id, kept)?;
        }
        self.file().set_len(length)?;
        self.length = length;
        self.home.ledger().credit(surplus, 0);
        Ok(())
    }

    /// Appends up to `most` bytes of `source`, from the byte at which this ends; how many, which
    /// is at least one. The kernel shares or copies them where it can.
    pub fn copy_from(&mut self, source: &File, most: u64) -> Result<u64, StoreError> {
        self.promise_room(most)?;
        let count = copy_piece(source, self.file(), self.length, usize::try_from(most).unwrap_or(usize::MAX))? as u64;
        self.length += count;
        self.claim.reservation.take(count, 0);
        Ok(count)
    }
}

fn copy_piece(source: &File, to: &File, at: u64, most: usize) -> Result<usize, StoreError> {
    let (mut from_at, mut to_at) = (at, at);
    match rustix::fs::copy_file_range(source, Some(&mut from_at), to, Some(&mut to_at), most) {
        Ok(count) if count > 0 => Ok(count),
        // Two filesystems, or one that cannot; some say so by copying nothing.
        Ok(_) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::INTR) => {
            copy_through_memory(source, to, at, most)
        }
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

/// What is copied through memory at once.
const MEMORY_PIECE_BYTES: usize = crate::limits::PIECE_BYTES;

impl Home {
    /// Whether an upload that goes by `id` is running.
    pub fn is_uploading(&self, id: &UploadId) -> bool {
        self.claims.is_running(id)
    }

    /// Whether there is something of an upload that goes by `id`, and nobody who sends it.
    pub fn is_interrupted(&self, id: &UploadId) -> bool {
        let Ok(Some(staging)) = self.staging(false) else { return false };
        !self.is_uploading(id) && rustix::fs::statat(&*staging, part_name(id), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// What is held of an upload to `path` by the name that its uploads share, if that is newer
    /// than the file there: as a file of the bytes that can be relied on. When the file got its
    /// content or its name tells its change time; its modification time is whatever a user says.
    pub fn held(&self, path: &VPath) -> Result<Option<Meta>, StoreError> {
        let Some(held) = self.held_part(path)? else { return Ok(None) };
        match self.stat(path) {
            Err(StoreError::NotFound) => Ok(Some(held)),
            there => {
                let there = there?;
                let is_newer = there.kind == Kind::File && held.identity.ctime_ns > there.identity.ctime_ns;
                Ok(is_newer.then_some(held))
            }
        }
    }

    fn held_part(&self, path: &VPath) -> Result<Option<Meta>, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(None) };
        let id = UploadId::of_path(path);
        let Some(kept) = read_record(&staging, &id).filter(|kept| kept.record.path == path.as_bytes()) else {
            return Ok(None);
        };
        let Ok(stat) = rustix::fs::statat(&*staging, part_name(&id), AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(None);
        };
        let mut meta = Meta::from(stat);
        if self.expires_ns(&meta) <= self.clock.now_ns() && !self.claims.is_running(&id) {
            return Ok(None);
        }
        if kept.boot != *self.boot {
            meta.size = meta.size.min(kept.synced);
        }
        Ok(Some(meta))
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
