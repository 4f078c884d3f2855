//! The file of an upload, for calls to its file system. Workers make these calls, too.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::AtFlags;

use super::link::{link_part, temporary_name};
use super::record::write_record_text;
use crate::base::attributes::set_mtime;
use crate::base::upload_id::UploadId;
use crate::store::StoreError;
use crate::store::home::HomeDirectory;
use crate::store::meta::{Meta, meta_of};
use crate::store::names::{FULL_DISK_MTIME_NS, part_name, record_name};
use crate::store::staging::remove;

/// The location of an upload's file.
#[derive(Clone)]
pub(super) enum PartLocation {
    /// It has no name.
    Nameless,
    /// It has a name in the staging directory. If it `was_nameless`, it was created in the directory of its
    /// target, and has inherited the attributes of a file there.
    Staging { directory: Arc<OwnedFd>, was_nameless: bool },
    /// It has the name [`temporary_name`] in the directory of its target. Used if that directory lies on
    /// another file system than the staging directory, and that file system does not support files without
    /// a name.
    TemporaryInTarget(Arc<File>),
}

/// The file of an upload, for calls to its file system.
pub(super) struct StagedFile {
    pub(super) id: UploadId,
    pub(super) file: Arc<File>,
    pub(super) location: PartLocation,
}

/// What an interrupted upload needs to be resumable.
pub(super) struct Resumable {
    /// The text of its record; `None` if the record's file is up to date.
    pub(super) record: Option<Vec<u8>>,
    /// The number of bytes in the file.
    pub(super) bytes: u64,
    /// A write failed because the disk was full.
    pub(super) met_full_disk: bool,
}

/// The end of an upload that gets no final name.
pub(super) enum ClosedPart {
    /// It can be resumed. Holds the metadata of its part.
    Kept(Meta),
    /// It cannot be resumed. Holds whether a name of its file was removed.
    Dropped(bool),
}

impl StagedFile {
    /// Names the file in the staging directory. Returns that directory.
    pub(super) fn name(&mut self, home: &HomeDirectory) -> Result<Arc<OwnedFd>, StoreError> {
        match &self.location {
            PartLocation::Staging { directory, .. } => return Ok(Arc::clone(directory)),
            PartLocation::TemporaryInTarget(_) => return Err(StoreError::OtherFileSystem),
            PartLocation::Nameless => {}
        }
        let directory = link_part(home, &self.id, &self.file)?;
        self.location = PartLocation::Staging { directory: Arc::clone(&directory), was_nameless: true };
        Ok(directory)
    }

    /// Names the file in the staging directory and writes its record. Returns its location, and whether the
    /// record was written.
    pub(super) fn keep(
        mut self,
        home: &HomeDirectory,
        record: &[u8],
    ) -> Result<(PartLocation, Result<(), StoreError>), StoreError> {
        let directory = self.name(home)?;
        let written = write_record_text(&directory, &self.id, record);
        Ok((self.location, written))
    }

    /// Ends an upload that gets no final name. Without `resumable`, or if it cannot be kept, its file is removed.
    pub(super) fn close(mut self, home: &HomeDirectory, resumable: Option<Resumable>) -> ClosedPart {
        if !self.has_its_name() {
            return ClosedPart::Dropped(false);
        }
        if let Some(meta) = resumable.and_then(|resumable| self.make_resumable(home, resumable)) {
            return ClosedPart::Kept(meta);
        }
        let is_removed = match &self.location {
            PartLocation::Nameless => false,
            PartLocation::Staging { directory, .. } => remove(directory, &part_name(&self.id)),
            PartLocation::TemporaryInTarget(directory) => remove(directory, &temporary_name(&self.id)),
        };
        self.remove_record();
        ClosedPart::Dropped(is_removed)
    }

    fn make_resumable(&mut self, home: &HomeDirectory, resumable: Resumable) -> Option<Meta> {
        let Resumable { record, bytes, met_full_disk } = resumable;
        if !self.has_size(bytes) {
            return None;
        }
        if let Some(record) = record {
            let staging = self.name(home).ok()?;
            write_record_text(&staging, &self.id, &record).ok()?;
        }
        if met_full_disk {
            // If that is refused, the partial upload is only kept longer.
            let _ = set_mtime(&*self.file, FULL_DISK_MTIME_NS);
        }
        meta_of(&*self.file).ok()
    }

    /// Returns whether the name of the file still leads to it. True without a name.
    fn has_its_name(&self) -> bool {
        let there = match &self.location {
            PartLocation::Nameless => return true,
            PartLocation::Staging { directory, .. } => {
                rustix::fs::statat(directory, part_name(&self.id), AtFlags::SYMLINK_NOFOLLOW)
            }
            PartLocation::TemporaryInTarget(directory) => {
                rustix::fs::statat(directory, temporary_name(&self.id), AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        let (Ok(there), Ok(own)) = (there, rustix::fs::fstat(&*self.file)) else { return false };
        (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)
    }

    /// Returns whether the file has this size. If not, another program changed it.
    pub(super) fn has_size(&self, bytes: u64) -> bool {
        meta_of(&*self.file).is_ok_and(|meta| meta.size == bytes)
    }

    /// Removes the record's file, if the upload can have one.
    pub(super) fn remove_record(&self) {
        if let PartLocation::Staging { directory, .. } = &self.location {
            remove(directory, &record_name(&self.id));
        }
    }
}

/// The result of a write: the number of bytes that were written, and the error that stopped it.
pub(super) struct Written {
    pub(super) count: u64,
    pub(super) result: Result<(), StoreError>,
}

/// Calls `write` with the file, an offset and the number of remaining bytes until all are written, from the
/// offset `at` on.
pub(super) fn append(
    file: &File,
    at: u64,
    bytes: usize,
    mut write: impl FnMut(&File, u64, usize) -> io::Result<usize>,
) -> Written {
    let mut left = bytes;
    let result = loop {
        if left == 0 {
            break Ok(());
        }
        match write(file, at + (bytes - left) as u64, left) {
            Ok(0) => break Err(StoreError::DiskFull),
            Ok(count) => left -= count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error.into()),
        }
    };
    Written { count: (bytes - left) as u64, result }
}

/// Writes all `bytes` from the offset `at` on.
pub(super) fn write_all(file: &File, at: u64, bytes: &[u8]) -> Written {
    append(file, at, bytes.len(), |file, offset, left| file.write_at(&bytes[bytes.len() - left..], offset))
}
