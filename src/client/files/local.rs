//! Local files: the sources of uploads, and existing files at the destination of a download.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::base::buffers::PIECE_BYTES;
use crate::base::digest::{ContentHash, Digest};
use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::client::error::Failure;
use crate::client::files::directory::sorted_names;
use crate::client::files::spellings::Names;
use crate::client::interrupt::OnProgress;
use crate::client::syntax::advice;
use crate::wire::message::Name;

/// Identifies one state of a local file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// The device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// The size in bytes.
    pub size: u64,
    /// The modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// A local file that is being uploaded, and the digest of the bytes read so far.
pub struct UploadSource {
    file: File,
    path: PathBuf,
    stamp: FileStamp,
    mode: u32,
    hash: ContentHash,
    read_bytes: u64,
}

impl UploadSource {
    /// Opens a regular file. A pipe or device is refused without waiting for its other end.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failure = |error: io::Error| Failure::local(path, &error);
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failure)?;
        let metadata = file.metadata().map_err(failure)?;
        if metadata.is_dir() {
            return Err(Failure::Local(Explanation::new(
                format!("{} is a directory", shown(path)),
                "-r uploads it with its contents",
            )));
        }
        if !metadata.is_file() {
            return Err(Failure::Local(Explanation::new(
                format!("local {} is not a regular file", shown(path)),
                "upload the output of a program with: PROGRAM | berth HOST put - NAME",
            )));
        }
        // Files of /proc report a size of 0.
        if metadata.len() == 0 && file.read_at(&mut [0], 0).map_err(failure)? > 0 {
            let input = advice::local_operand(path).unwrap_or_else(|| "FILE".into());
            return Err(Failure::Local(Explanation::new(
                format!("local {} reports no size", shown(path)),
                format!("upload its content with: berth HOST put - NAME < {input}"),
            )));
        }
        Ok(Self {
            file,
            path: path.to_path_buf(),
            stamp: stamp_of(&metadata),
            mode: metadata.mode(),
            hash: ContentHash::of_transfer(),
            read_bytes: 0,
        })
    }

    /// Returns the stamp of the file when it was opened.
    pub fn stamp(&self) -> FileStamp {
        self.stamp
    }

    /// Returns the file's mode: permission bits and file type.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Returns the number of bytes read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Returns whether all bytes of the initial size have been read.
    pub fn is_at_end(&self) -> bool {
        self.read_bytes >= self.stamp.size
    }

    /// Reads the next bytes into `room`. The caller must then pass the bytes read to [`UploadSource::hash_read`].
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.stamp.size - self.read_bytes).unwrap_or(usize::MAX);
        let room_bytes = room.len().min(left);
        self.file.read(&mut room[..room_bytes])
    }

    /// Adds the bytes that were just read to the digest.
    pub fn hash_read(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.read_bytes += bytes.len() as u64;
    }

    /// Reads the first `bytes` and returns their digest.
    pub fn hash_prefix(&mut self, bytes: u64, on_progress: OnProgress) -> Result<Digest, Failure> {
        let hash = hash_up_to(&mut self.file, bytes, on_progress).map_err(|error| self.failure(error))?;
        (self.hash, self.read_bytes) = hash;
        Ok(self.hash.digest())
    }

    /// Returns to the beginning of the file and resets the digest.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        io::Seek::rewind(&mut self.file).map_err(|error| Failure::local(&self.path, &error))?;
        self.hash = ContentHash::of_transfer();
        self.read_bytes = 0;
        Ok(())
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks whether the file changed while it was read. If its time or size differs, the whole file is hashed again,
    /// because it may only have been touched or appended to.
    pub fn check_unchanged(&mut self, on_progress: OnProgress) -> Result<Reading, Failure> {
        let metadata = self.file.metadata().map_err(|error| Failure::local(&self.path, &error))?;
        let now = stamp_of(&metadata);
        if !self.is_at_end() || now.size < self.stamp.size {
            return Ok(Reading::Torn);
        }
        if now == self.stamp {
            return Ok(Reading::Whole { appended: 0 });
        }
        io::Seek::rewind(&mut self.file).map_err(|error| Failure::local(&self.path, &error))?;
        let (hash, bytes) =
            hash_up_to(&mut self.file, self.stamp.size, on_progress).map_err(|error| self.failure(error))?;
        let is_same = bytes == self.read_bytes && hash.digest() == self.hash.digest();
        Ok(if is_same { Reading::Whole { appended: now.size - self.stamp.size } } else { Reading::Torn })
    }

    /// Returns the digest of all bytes that were read.
    pub fn finish(self) -> Digest {
        self.hash.digest()
    }

    fn failure(&self, error: HashError) -> Failure {
        error.about(&self.path)
    }
}

/// The result of checking a file that other programs may have written to during the read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The read returned the complete content from the time of opening. `appended` bytes have been added since.
    Whole {
        /// Bytes that were not read.
        appended: u64,
    },
    /// The read may have returned a mixture of old and new content.
    Torn,
}

/// Returns the metadata of the file at the destination of a download; `None` if there is none. Only a regular
/// file may be replaced: replacing a device would remove it for the whole machine, and replacing a symlink
/// would not replace its target.
pub fn destination(path: &Path) -> Result<Option<fs::Metadata>, Failure> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(None) };
    let path = shown(path);
    if metadata.is_file() {
        return Ok(Some(metadata));
    }
    Err(Failure::Local(match (metadata.is_dir(), metadata.is_symlink()) {
        (true, _) => Explanation::new(format!("{path} is a local directory"), "choose another name"),
        (_, true) => {
            Explanation::new(format!("local {path} is a symlink, which is not replaced"), "give the path of its target")
        }
        _ => Explanation::new(format!("local {path} is not a regular file and is not replaced"), "choose another name"),
    }))
}

/// Returns the names in the local directory at `path`; `None` if it cannot be listed.
pub fn names_in(path: &[u8]) -> Option<Names> {
    let directory = if path.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(path)) };
    let (names, problem) = sorted_names(directory, usize::MAX);
    problem.is_none().then(|| names.into_iter().map(OsString::into_encoded_bytes).collect())
}

/// Returns the digest of a whole local file.
pub fn digest_of(path: &Path, on_progress: OnProgress) -> Result<Digest, Failure> {
    let mut source = UploadSource::open(path)?;
    source.hash_prefix(u64::MAX, on_progress)
}

/// Formats a path for a terminal, with control characters escaped.
pub fn shown(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}

/// Returns a path for JSON output, with every byte preserved.
pub fn name_of(path: &Path) -> Name {
    Name(path.as_os_str().as_bytes().to_vec())
}

/// Why hashing stopped.
pub(in crate::client) enum HashError {
    Io(io::Error),
    Interrupted,
}

impl HashError {
    pub(in crate::client) fn about(self, path: &Path) -> Failure {
        match self {
            Self::Io(error) => Failure::local(path, &error),
            Self::Interrupted => Failure::Interrupted,
        }
    }
}

/// Hashes at most `bytes_max` bytes from the current position of `file`. Returns the hash and the number of
/// bytes.
pub(in crate::client) fn hash_up_to(
    file: &mut File,
    bytes_max: u64,
    on_progress: OnProgress,
) -> Result<(ContentHash, u64), HashError> {
    let mut hash = ContentHash::of_transfer();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < bytes_max {
        if on_progress(done) {
            return Err(HashError::Interrupted);
        }
        let wanted = usize::try_from(bytes_max - done).unwrap_or(usize::MAX).min(buffer.len());
        match file.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(count) => {
                hash.update(&buffer[..count]);
                done += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HashError::Io(error)),
        }
    }
    Ok((hash, done))
}

/// Returns the stamp that identifies the state of a file, as far as metadata can.
pub fn stamp_of(metadata: &fs::Metadata) -> FileStamp {
    let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    FileStamp { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), mtime_ns }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_changed_source_is_detected() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let path = directory.path().join("a");
        fs::write(&path, b"hello").expect("write");
        let mut source = UploadSource::open(&path).expect("open");
        source.hash_prefix(5, &mut |_| false).expect("read");
        let mut check_unchanged = || source.check_unchanged(&mut |_| false).expect("readable");
        assert_eq!(check_unchanged(), Reading::Whole { appended: 0 });
        File::open(&path).and_then(|file| file.set_modified(UNIX_EPOCH)).expect("ours");
        assert_eq!(check_unchanged(), Reading::Whole { appended: 0 });
        fs::write(&path, b"hello, world").expect("write");
        assert_eq!(check_unchanged(), Reading::Whole { appended: 7 });
        for other in [&b"hullo, world"[..], b"hull0", b"hell"] {
            fs::write(&path, other).expect("write");
            assert_eq!(check_unchanged(), Reading::Torn);
        }
        assert!(UploadSource::open(directory.path()).is_err());
    }
}
