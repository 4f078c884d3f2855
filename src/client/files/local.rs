//! Files on this machine: those that are sent, and what is at the destination of a download. It knows
//! no server.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::base::limits::PIECE_BYTES;
use crate::base::text::Escaped;
use crate::client::connection::state::SourceMark;
use crate::client::error::Failure;
use crate::client::files::spellings::Names;
use crate::client::shell::interrupt::Watch;
use crate::wire::message::Name;

/// A local file that is being sent, and the digest of what was read of it.
pub struct Source {
    file: File,
    path: PathBuf,
    mark: SourceMark,
    mode: u32,
    hash: Sha256,
    read_bytes: u64,
}

impl Source {
    /// Opens a regular file. A pipe or device is refused without waiting for its other end.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failure = |error: io::Error| Failure::local(path, &error);
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failure)?;
        let metadata = file.metadata().map_err(failure)?;
        if metadata.is_dir() {
            return Err(Failure::Local(format!("{} is a folder; -r takes it whole", shown(path))));
        }
        if !metadata.is_file() {
            return Err(Failure::Local(format!(
                "{} is no regular file; to send what a program prints: PROGRAM | berth HOST put - NAME",
                shown(path)
            )));
        }
        // Files of /proc tell no size.
        if metadata.len() == 0 && file.read_at(&mut [0], 0).map_err(failure)? > 0 {
            let name = shown(path);
            return Err(Failure::Local(format!(
                "{name} does not tell its size; put - NAME < {name} sends its content"
            )));
        }
        Ok(Self {
            file,
            path: path.to_path_buf(),
            mark: mark_of(&metadata),
            mode: metadata.mode(),
            hash: Sha256::new(),
            read_bytes: 0,
        })
    }

    /// Which file in which state this is.
    pub fn mark(&self) -> SourceMark {
        self.mark
    }

    /// Its permission bits, and those of its kind.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Bytes read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Whether all the bytes there were at first have been read.
    pub fn is_at_end(&self) -> bool {
        self.read_bytes >= self.mark.size
    }

    /// Reads on into `room`; [`Source::took`] must follow with what was read.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.mark.size - self.read_bytes).unwrap_or(usize::MAX);
        let room_bytes = room.len().min(left);
        self.file.read(&mut room[..room_bytes])
    }

    /// Adds what was just read to the digest.
    pub fn took(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.read_bytes += bytes.len() as u64;
    }

    /// Reads the first `bytes` and returns their digest.
    pub fn skip(&mut self, bytes: u64, watch: Watch) -> Result<Digest, Failure> {
        let hash = hash_up_to(&mut self.file, bytes, watch).map_err(|error| self.failure(error))?;
        self.hash = hash.0.clone();
        self.read_bytes = hash.1;
        Ok(Digest::finish(hash.0))
    }

    /// Goes back to the beginning.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        io::Seek::rewind(&mut self.file).map_err(|error| Failure::local(&self.path, &error))?;
        self.hash = Sha256::new();
        self.read_bytes = 0;
        Ok(())
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks whether the file changed while it was read. If its time or size differs, it is read again,
    /// because it may only have been touched or appended to.
    pub fn look_again(&mut self, watch: Watch) -> Result<Reading, Failure> {
        let metadata = self.file.metadata().map_err(|error| Failure::local(&self.path, &error))?;
        let now = mark_of(&metadata);
        if !self.is_at_end() || now.size < self.mark.size {
            return Ok(Reading::Torn);
        }
        if now == self.mark {
            return Ok(Reading::Whole { appended: 0 });
        }
        io::Seek::rewind(&mut self.file).map_err(|error| Failure::local(&self.path, &error))?;
        let (hash, bytes) = hash_up_to(&mut self.file, self.mark.size, watch).map_err(|error| self.failure(error))?;
        let is_same = bytes == self.read_bytes && Digest::finish(hash) == Digest::finish(self.hash.clone());
        Ok(if is_same { Reading::Whole { appended: now.size - self.mark.size } } else { Reading::Torn })
    }

    /// The digest of everything that was read.
    pub fn finish(self) -> Digest {
        Digest::finish(self.hash)
    }

    fn failure(&self, error: HashError) -> Failure {
        error.about(&self.path)
    }
}

/// The state of a file that was read while others may have written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All that was there when it was opened. `appended` bytes came after it since.
    Whole {
        /// Bytes that were not read.
        appended: u64,
    },
    /// What was read may be a mixture of two contents.
    Torn,
}

/// What is where a download is to go; `None` if nothing is. Only a regular file may be replaced:
/// a device would be lost to the whole machine, a link is more than what it leads to.
pub fn destination(path: &Path) -> Result<Option<fs::Metadata>, Failure> {
    let Ok(here) = fs::symlink_metadata(path) else { return Ok(None) };
    let path = shown(path);
    if here.is_file() {
        return Ok(Some(here));
    }
    Err(Failure::Local(match (here.is_dir(), here.is_symlink()) {
        (true, _) => format!("{path} is a folder here; choose another name"),
        (_, true) => format!("{path} is a link here, which is not replaced; name the file it leads to"),
        _ => format!("{path} is no regular file here and is not replaced; choose another name"),
    }))
}

/// The names in the local folder at `path`; `None` if it cannot be listed.
pub fn names_in(path: &[u8]) -> Option<Names> {
    let folder = if path.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(path)) };
    let entries = fs::read_dir(folder).ok()?;
    Some(entries.flatten().map(|entry| entry.file_name().into_encoded_bytes()).collect())
}

/// The digest of a whole local file.
pub fn digest_of(path: &Path, watch: Watch) -> Result<Digest, Failure> {
    let mut source = Source::open(path)?;
    source.skip(u64::MAX, watch)
}

/// A path as a terminal may see it.
pub fn shown(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}

/// A path for programs, every byte of it.
pub fn name_of(path: &Path) -> Name {
    Name(path.as_os_str().as_bytes().to_vec())
}

/// Hashing stopped.
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

/// Hashes from where `file` stands, at most `bytes_max`; the hash and how many bytes it took.
pub(in crate::client) fn hash_up_to(file: &mut File, bytes_max: u64, watch: Watch) -> Result<(Sha256, u64), HashError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < bytes_max {
        if watch(done) {
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

/// Identifies the state of a file, as far as its metadata tells.
pub fn mark_of(metadata: &fs::Metadata) -> SourceMark {
    let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    SourceMark { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), mtime_ns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_source_that_changed_is_noticed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a");
        fs::write(&path, b"hello").expect("write");
        let mut source = Source::open(&path).expect("open");
        source.skip(5, &mut |_| false).expect("read");
        let mut look_again = || source.look_again(&mut |_| false).expect("readable");
        assert_eq!(look_again(), Reading::Whole { appended: 0 });
        File::open(&path).and_then(|file| file.set_modified(UNIX_EPOCH)).expect("ours");
        assert_eq!(look_again(), Reading::Whole { appended: 0 });
        fs::write(&path, b"hello, world").expect("write");
        assert_eq!(look_again(), Reading::Whole { appended: 7 });
        for other in [&b"hullo, world"[..], b"hull0", b"hell"] {
            fs::write(&path, other).expect("write");
            assert_eq!(look_again(), Reading::Torn);
        }
        assert!(Source::open(folder.path()).is_err());
    }
}
