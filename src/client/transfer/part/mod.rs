//! A partial download. It is a hidden file beside its destination, and it is renamed to the destination when it
//! is complete. This module knows no server.

mod create;
mod find;
pub mod names;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::base::attributes::{RequestedMode, set_mtime};
use crate::base::digest::{ContentHash, Digest};
use crate::base::explanation::Explanation;
use crate::base::refusals::{self, OptionalOperation};
use crate::client::error::Failure;
use crate::client::files::local::{FileStamp, destination, shown, stamp_of};
use crate::client::files::modes::apply_attributes;
use crate::client::transfer::part::create::rename_to_new;
use crate::client::transfer::part::names::{lock, unmark};

/// Destinations of the same download, which no part may have as its path.
pub type Reserved = HashSet<PathBuf>;

/// A partial download, locked for this process.
pub struct Part {
    file: File,
    path: PathBuf,
    destination: PathBuf,
    hash: ContentHash,
    received_bytes: u64,
    /// The part was finished or discarded, so the drop removes nothing.
    is_finished: bool,
    /// Whether a later run can resume the part.
    is_resumable: bool,
    /// The file that the part was copied from. It is removed when the part is complete.
    copied_from: Option<PathBuf>,
}

impl Part {
    /// Locks `file` as a part. Fails if another process has locked it. None of its bytes are hashed yet.
    fn lock_file(file: File, path: PathBuf, destination: &Path) -> Result<Self, Failure> {
        if !lock(&file, &path) {
            return Err(Failure::Local(
                format!("another berth process is downloading to {}", shown(destination)).into(),
            ));
        }
        let destination = destination.to_path_buf();
        Ok(Self {
            file,
            path,
            destination,
            hash: ContentHash::of_transfer(),
            received_bytes: 0,
            is_finished: false,
            is_resumable: true,
            copied_from: None,
        })
    }

    /// Discards all received bytes.
    pub fn restart(&mut self) -> Result<(), Failure> {
        if self.received_bytes > 0 {
            let emptied = self.file.set_len(0).and_then(|()| io::Seek::rewind(&mut self.file));
            emptied.map_err(|error| Failure::local(&self.destination, &error))?;
        }
        self.hash = ContentHash::of_transfer();
        self.received_bytes = 0;
        self.copied_from = None;
        Ok(())
    }

    /// Appends received bytes and adds them to the digest.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| Failure::local(&self.destination, &error))?;
        self.received_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Returns the number of received bytes.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Returns the digest of the received bytes.
    pub fn digest(&self) -> Digest {
        self.hash.digest()
    }

    /// Sets the file's attributes and modification time (nanoseconds since the epoch), and renames it to its
    /// destination. `replaced` is the file that the user allowed to replace. If that file has changed since, or
    /// another file exists, the existing file is kept and this returns an error.
    pub fn finish(
        mut self,
        mtime_ns: i64,
        mode: Option<RequestedMode>,
        replaced: Option<FileStamp>,
    ) -> Result<(), Failure> {
        let failure = |error: io::Error| Failure::local(&self.destination, &error);
        let is_there = if replaced.is_some() { destination(&self.destination)? } else { None };
        if let Some((before, now)) = replaced.zip(is_there.as_ref().map(stamp_of))
            && !is_same_file(before, now)
        {
            return Err(Failure::Local(Explanation::new(
                format!("local {} changed during the download and was not replaced", shown(&self.destination)),
                "run the command again",
            )));
        }
        apply_attributes(&self.file, &self.destination, is_there.is_some(), mode)
            .map_err(|error| failure(error.into()))?;
        if let Err(errno) = set_mtime(&self.file, mtime_ns) {
            refusals::report(OptionalOperation::SetTimes.noun(), &self.destination, &errno.into());
        }
        match is_there {
            Some(_) => fs::rename(&self.path, &self.destination).map_err(failure)?,
            None => rename_to_new(&self.path, &self.destination).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::Local(Explanation::new(
                    format!(
                        "local {} was created during the download, perhaps in another spelling, and is not replaced",
                        shown(&self.destination)
                    ),
                    "choose another name",
                )),
                _ => failure(error),
            })?,
        }
        self.is_finished = true;
        // Only after the rename: if that fails, the file is still a part.
        if self.is_resumable {
            unmark(&self.file);
        }
        if let Some(path) = &self.copied_from {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// Removes the part.
    pub fn discard(mut self) {
        let _ = fs::remove_file(&self.path);
        self.is_finished = true;
    }
}

impl Drop for Part {
    /// Removes the file unless it can be resumed.
    fn drop(&mut self) {
        if !self.is_finished && (self.received_bytes == 0 || !self.is_resumable) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns whether a file is the same as before and has the same size. A different modification time alone does
/// not matter.
fn is_same_file(before: FileStamp, now: FileStamp) -> bool {
    (before.device, before.inode, before.size) == (now.device, now.inode, now.size)
}
