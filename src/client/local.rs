//! Files on this machine: those that are sent, and the parts that arrive beside their
//! destination and take its name only when they are whole. It knows no server.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, RenameFlags};
use sha2::{Digest as _, Sha256};

use crate::client::outcome::Failure;
use crate::client::state::SourceMark;
use crate::digest::Digest;
use crate::limits::{NAME_BYTES_MAX, PIECE_BYTES};
use crate::text::Escaped;
use crate::wire::message::Name;

/// A local file that is being sent, and the digest of what was read of it.
pub struct Source {
    file: File,
    path: PathBuf,
    mark: SourceMark,
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
            return Err(Failure::Local(format!("{} is no regular file", shown(path))));
        }
        Ok(Self { file, path: path.to_path_buf(), mark: mark_of(&metadata), hash: Sha256::new(), read_bytes: 0 })
    }

    /// Which file in which state this is.
    pub fn mark(&self) -> SourceMark {
        self.mark
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
    pub fn skip(&mut self, bytes: u64, is_stopped: Stopped) -> Result<Digest, Failure> {
        let hash = hash_up_to(&mut self.file, bytes, is_stopped).map_err(|error| self.failure(error))?;
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

    /// What became of the file while it was read. One whose time or size is another is read again, since
    /// it may only have been touched, or appended to.
    pub fn look_again(&mut self, is_stopped: Stopped) -> Result<Reading, Failure> {
        let metadata = self.file.metadata().map_err(|error| Failure::local(&self.path, &error))?;
        let now = mark_of(&metadata);
        if !self.is_at_end() || now.size < self.mark.size {
            return Ok(Reading::Torn);
        }
        if now == self.mark {
            return Ok(Reading::Whole { appended: 0 });
        }
        io::Seek::rewind(&mut self.file).map_err(|error| Failure::local(&self.path, &error))?;
        let (hash, bytes) =
            hash_up_to(&mut self.file, self.mark.size, is_stopped).map_err(|error| self.failure(error))?;
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

/// What was read of a file that others may write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All that was there when it was opened. So many bytes were appended since.
    Whole {
        /// Bytes that were not read.
        appended: u64,
    },
    /// Perhaps some of one content and some of another.
    Torn,
}

/// A file that arrives: hidden beside its destination, whole under its name or not at all.
pub struct Part {
    file: File,
    /// Its permission bits.
    mode: u32,
    path: PathBuf,
    destination: PathBuf,
    hash: Sha256,
    received_bytes: u64,
    is_settled: bool,
}

impl Part {
    /// What an earlier download to `destination` left behind, with its bytes hashed.
    pub fn find(destination: &Path, is_stopped: Stopped) -> Result<Option<Self>, Failure> {
        let path = part_path(destination)?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() > 0 => {}
            _ => return Ok(None),
        }
        let (mut part, _) = Self::open(path, destination)?;
        let (hash, bytes) =
            hash_up_to(&mut part.file, u64::MAX, is_stopped).map_err(|error| error.about(&part.path))?;
        part.hash = hash;
        part.received_bytes = bytes;
        Ok(Some(part))
    }

    /// An empty part for `destination`; one that is there is emptied.
    pub fn create(destination: &Path) -> Result<Self, Failure> {
        let (mut part, bytes) = Self::open(part_path(destination)?, destination)?;
        part.received_bytes = bytes;
        part.restart()?;
        Ok(part)
    }

    /// The part and how many bytes are in it, none of them received yet.
    fn open(path: PathBuf, destination: &Path) -> Result<(Self, u64), Failure> {
        let failure = |error: io::Error| Failure::local(&path, &error);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .custom_flags(flags)
            .open(&path)
            .map_err(failure)?;
        let metadata = file.metadata().map_err(failure)?;
        if !metadata.is_file() {
            return Err(Failure::Local(format!("{} is no regular file; remove it first", shown(&path))));
        }
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::Local(format!("another berth is downloading to {}", shown(destination))));
        }
        let (destination, mode) = (destination.to_path_buf(), metadata.permissions().mode() & 0o7777);
        let part = Self { file, mode, path, destination, hash: Sha256::new(), received_bytes: 0, is_settled: false };
        Ok((part, metadata.len()))
    }

    /// Throws away what is there and begins again.
    pub fn restart(&mut self) -> Result<(), Failure> {
        if self.received_bytes > 0 {
            let emptied = self.file.set_len(0).and_then(|()| io::Seek::rewind(&mut self.file));
            emptied.map_err(|error| Failure::local(&self.path, &error))?;
        }
        self.hash = Sha256::new();
        self.received_bytes = 0;
        Ok(())
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| Failure::local(&self.path, &error))?;
        self.received_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes that are there.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// The digest of the bytes that are there.
    pub fn digest(&self) -> Digest {
        Digest::finish(self.hash.clone())
    }

    /// Gives the file its mode, time and name. With `replace` it takes the place of a file that
    /// is there; without, one that appeared meanwhile stays.
    pub fn finish(mut self, mtime_ns: i64, replace: bool) -> Result<(), Failure> {
        let failure = |error: io::Error| Failure::local(&self.destination, &error);
        let mode = FILE_MODE & !umask();
        if self.mode != mode {
            self.file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failure)?;
        }
        self.file.set_modified(system_time(mtime_ns)).map_err(failure)?;
        if replace {
            destination(&self.destination)?;
            fs::rename(&self.path, &self.destination).map_err(failure)?;
        } else {
            rename_to_new(&self.path, &self.destination).map_err(failure)?;
        }
        self.is_settled = true;
        Ok(())
    }

    /// Removes the part.
    pub fn discard(mut self) {
        let _ = fs::remove_file(&self.path);
        self.is_settled = true;
    }
}

impl Drop for Part {
    /// Keeps what can be resumed; an empty part is not worth keeping.
    fn drop(&mut self) {
        if !self.is_settled && self.received_bytes == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
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

/// Asked after each piece of work that takes long; true ends it.
pub type Stopped<'a> = &'a mut dyn FnMut() -> bool;

/// The digest of a whole local file.
pub fn digest_of(path: &Path, is_stopped: Stopped) -> Result<Digest, Failure> {
    let mut source = Source::open(path)?;
    source.skip(u64::MAX, is_stopped)
}

/// A path as a terminal may see it.
pub fn shown(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}

/// A path for programs, every byte of it.
pub fn name_of(path: &Path) -> Name {
    Name(path.as_os_str().as_bytes().to_vec())
}

/// Whether a path is that of a part, not of a file of the user's.
pub fn is_part(path: &Path) -> bool {
    let name = path.file_name().map_or(&[][..], OsStrExt::as_bytes);
    name.starts_with(b".") && name.ends_with(SUFFIX)
}

/// `.NAME.berth-part` beside `destination`. A name that leaves no room for that is cut and told
/// from its like by its digest.
pub fn part_path(destination: &Path) -> Result<PathBuf, Failure> {
    let name = destination
        .file_name()
        .ok_or_else(|| Failure::Usage(format!("{} names no file", shown(destination))))?
        .as_bytes();
    let mut part = vec![b'.'];
    if name.len() + SUFFIX.len() < NAME_BYTES_MAX {
        part.extend_from_slice(name);
    } else {
        part.extend_from_slice(&name[..name.len().min(200)]);
        part.extend_from_slice(&Digest::of(name).to_string().as_bytes()[..16]);
    }
    part.extend_from_slice(SUFFIX);
    Ok(destination.with_file_name(std::ffi::OsString::from_vec(part)))
}

/// Hashing stopped.
enum HashError {
    Io(io::Error),
    Interrupted,
}

impl HashError {
    fn about(self, path: &Path) -> Failure {
        match self {
            Self::Io(error) => Failure::local(path, &error),
            Self::Interrupted => Failure::Interrupted,
        }
    }
}

/// Hashes from where `file` stands, at most `bytes_max`; the hash and how many bytes it took.
fn hash_up_to(file: &mut File, bytes_max: u64, is_stopped: Stopped) -> Result<(Sha256, u64), HashError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < bytes_max {
        if is_stopped() {
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

fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::CWD;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A filesystem without this kind of rename: look first, as well as that can be done.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to)
        }
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) => Err(error.into()),
    }
}

fn mark_of(metadata: &fs::Metadata) -> SourceMark {
    let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    SourceMark { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), mtime_ns }
}

fn system_time(unix_ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(unix_ns.unsigned_abs());
    let time = if unix_ns < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

/// The bits that new files must not have. There is no way to ask without setting it, so it is
/// asked once.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask.as_raw_mode()
    })
}

/// Permission bits of what arrives, less the umask.
const FILE_MODE: u32 = 0o644;
/// What a part's name ends with.
const SUFFIX: &[u8] = b".berth-part";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_becomes_the_file_only_when_it_is_finished() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let destination = folder.path().join("a");
        let mut part = Part::create(&destination).expect("part");
        part.write(b"hello").expect("write");
        assert!(!destination.exists() && folder.path().join(".a.berth-part").exists());
        assert_eq!(part.digest(), Digest::of(b"hello"));
        part.finish(1_000_000_000, false).expect("finish");
        assert_eq!(fs::read(&destination).expect("read"), b"hello");
        let metadata = fs::metadata(&destination).expect("metadata");
        assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (1, 0o644 & !umask()));
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_part_is_found_again_and_an_empty_one_is_not_kept() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let destination = folder.path().join("a");
        drop(Part::create(&destination).expect("part"));
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0);
        Part::create(&destination).expect("part").write(b"half").expect("write");
        let mut part = Part::find(&destination, &mut || false).expect("look").expect("there");
        assert_eq!((part.received_bytes(), part.digest()), (4, Digest::of(b"half")));
        assert!(Part::find(&destination, &mut || false).is_err(), "locked");
        part.write(b"way").expect("write");
        part.finish(0, false).expect("finish");
        assert_eq!(fs::read(&destination).expect("read"), b"halfway");
    }

    #[test]
    fn a_file_that_appeared_meanwhile_stays_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let destination = folder.path().join("a");
        let part = Part::create(&destination).expect("part");
        fs::write(&destination, b"old").expect("write");
        assert!(part.finish(0, false).is_err());
        assert_eq!(fs::read(&destination).expect("read"), b"old");
        let other = folder.path().join("other");
        fs::write(&other, b"safe").expect("write");
        std::os::unix::fs::symlink(&other, folder.path().join(".b.berth-part")).expect("link");
        assert!(Part::create(&folder.path().join("b")).is_err());
        assert_eq!(fs::read(&other).expect("read"), b"safe");
    }

    #[test]
    fn only_regular_files_are_replaced() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        assert!(matches!(destination(&path("none")), Ok(None)));
        fs::write(path("file"), b"old").expect("write");
        assert!(matches!(destination(&path("file")), Ok(Some(_))));
        std::os::unix::fs::symlink("file", path("link")).expect("link");
        std::os::unix::fs::symlink("nowhere", path("dangling")).expect("link");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("socket");
        for name in ["link", "dangling", "socket", ".", "/dev/null"] {
            assert!(destination(&path(name)).is_err(), "{name}");
        }
        let part = Part::create(&path("later")).expect("part");
        std::os::unix::fs::symlink("file", path("later")).expect("link");
        assert!(part.finish(0, true).is_err());
        assert_eq!(fs::read(path("file")).expect("read"), b"old");
    }

    #[test]
    fn long_names_have_parts_too() {
        let long = PathBuf::from("x".repeat(255));
        let part = part_path(&long).expect("a name");
        assert!(part.as_os_str().len() <= NAME_BYTES_MAX);
        assert_ne!(part, part_path(Path::new(&"x".repeat(254))).expect("a name"));
        assert!(part_path(Path::new("/")).is_err());
    }

    #[test]
    fn a_source_that_changed_is_noticed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a");
        fs::write(&path, b"hello").expect("write");
        let mut source = Source::open(&path).expect("open");
        source.skip(5, &mut || false).expect("read");
        let mut look_again = || source.look_again(&mut || false).expect("readable");
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
