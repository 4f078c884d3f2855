//! A partial download. It is a hidden file beside its destination, and it is renamed to the destination when it
//! is complete. This module knows no server.

pub mod names;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::base::attributes::{WantedMode, set_mtime};
use crate::base::digest::Digest;
use crate::base::limits::PIECE_BYTES;
use crate::base::refusals::{self, Operation, is_refusal};
use crate::client::connection::state::FileStamp;
use crate::client::error::Failure;
use crate::client::files::local::{destination, hash_up_to, shown, stamp_of};
use crate::client::files::modes::{folder_of, take_attributes};
use crate::client::shell::interrupt::Watch;
use crate::client::transfer::part::names::{Occupant, lock, mark, occupant, part_path, unmark};

/// Destinations of the same download, which no part may have as its path.
pub type Reserved = HashSet<PathBuf>;

/// A partial download, locked for this process.
pub struct Part {
    file: File,
    path: PathBuf,
    destination: PathBuf,
    hash: Sha256,
    received_bytes: u64,
    /// The part was finished or discarded, so the drop removes nothing.
    is_finished: bool,
    /// Whether a later run can resume the part.
    is_resumable: bool,
    /// The file that the part was copied from. It is removed when the part is complete.
    copied_from: Option<PathBuf>,
}

impl Part {
    /// Finds the part that an earlier download to `destination` left at a path that is not `reserved`, and
    /// hashes its bytes. A file without a mark, of at most `bytes_max` bytes, is copied and never written
    /// to, because it may be the user's.
    pub fn find(
        destination: &Path,
        reserved: &Reserved,
        bytes_max: u64,
        watch: Watch,
    ) -> Result<Option<Self>, Failure> {
        let mut unmarked = None;
        for (at, path) in candidate_paths(destination, reserved).enumerate() {
            let path = path?;
            match occupant(&path, destination)? {
                Occupant::Nothing | Occupant::Link => break,
                Occupant::Ours(_, metadata) if metadata.len() == 0 => return Ok(None),
                Occupant::Ours(file, metadata) => {
                    let mut part = Self::lock_file(file, path, destination)?;
                    // The bytes are kept even if hashing is interrupted.
                    part.received_bytes = metadata.len();
                    let hashed = hash_up_to(&mut part.file, u64::MAX, watch);
                    (part.hash, part.received_bytes) = hashed.map_err(|error| error.about(&part.path))?;
                    return Ok(Some(part));
                }
                Occupant::Unmarked { file, bytes, cannot_tell } if at == 0 && bytes > 0 && bytes <= bytes_max => {
                    unmarked = Some((file, path, cannot_tell));
                }
                Occupant::Unmarked { .. } | Occupant::Foreign => {}
            }
        }
        match unmarked {
            Some((file, path, cannot_tell)) => Self::copy(file, path, cannot_tell, destination, reserved, watch),
            None => Ok(None),
        }
    }

    /// Creates a part with the content of `file`. Returns `None` if the content cannot be read or there is
    /// no room for it. If `removes_original`, the file at `path` is removed when the part is complete.
    fn copy(
        mut file: File,
        path: PathBuf,
        removes_original: bool,
        destination: &Path,
        reserved: &Reserved,
        watch: Watch,
    ) -> Result<Option<Self>, Failure> {
        let mut part = Self::create(destination, reserved, true)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if watch(part.received_bytes) {
                part.discard();
                return Err(Failure::Interrupted);
            }
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(count) if part.write(&piece[..count]).is_ok() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    part.discard();
                    return Ok(None);
                }
            }
        }
        part.copied_from = removes_original.then_some(path);
        Ok(Some(part))
    }

    /// Creates an empty part for `destination`, at the first of its paths that is not `reserved` and that no
    /// other file has. An existing part is emptied. The part is marked only if `is_resumable`, because
    /// the mark takes a quarter of the time of a small file.
    pub fn create(destination: &Path, reserved: &Reserved, is_resumable: bool) -> Result<Self, Failure> {
        for path in candidate_paths(destination, reserved) {
            let path = path?;
            let failure = |error: io::Error| Failure::local(&path, &error);
            match create_new(&path, destination, is_resumable) {
                Ok(file) => {
                    let mut part = Self::lock_file(file, path, destination)?;
                    part.is_resumable = is_resumable;
                    return Ok(part);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failure(error)),
            }
            match occupant(&path, destination)? {
                Occupant::Ours(file, metadata) => {
                    let mut part = Self::lock_file(file, path, destination)?;
                    part.received_bytes = metadata.len();
                    part.restart()?;
                    return Ok(part);
                }
                Occupant::Link => {
                    return Err(Failure::Local(format!(
                        "{} is a link; remove it, then get the file again",
                        shown(&path)
                    )));
                }
                Occupant::Nothing | Occupant::Unmarked { .. } | Occupant::Foreign => {}
            }
        }
        let path = part_path(destination, 0)?;
        Err(Failure::Local(format!(
            "no partial download of {} can be stored: {NAMES_MAX} names such as {} are taken; remove old ones",
            shown(destination),
            shown(&path)
        )))
    }

    /// Locks `file` as a part. Fails if another process has locked it. None of its bytes are hashed yet.
    fn lock_file(file: File, path: PathBuf, destination: &Path) -> Result<Self, Failure> {
        if !lock(&file, &path) {
            return Err(Failure::Local(format!("another berth is downloading to {}", shown(destination))));
        }
        let destination = destination.to_path_buf();
        Ok(Self {
            file,
            path,
            destination,
            hash: Sha256::new(),
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
            emptied.map_err(|error| Failure::local(&self.path, &error))?;
        }
        self.hash = Sha256::new();
        self.received_bytes = 0;
        self.copied_from = None;
        Ok(())
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| Failure::local(&self.path, &error))?;
        self.received_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Returns the number of received bytes.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Returns the digest of the received bytes.
    pub fn digest(&self) -> Digest {
        Digest::finish(self.hash.clone())
    }

    /// Sets the file's attributes and modification time (nanoseconds since the epoch), and renames it to its
    /// destination. `replaced` is the file that the user allowed to replace. If that file has changed since, or
    /// another file exists, the existing file is kept and this returns an error.
    pub fn finish(
        mut self,
        mtime_ns: i64,
        mode: Option<WantedMode>,
        replaced: Option<FileStamp>,
    ) -> Result<(), Failure> {
        let failure = |error: io::Error| Failure::local(&self.destination, &error);
        let is_there = if replaced.is_some() { destination(&self.destination)? } else { None };
        if let Some((before, now)) = replaced.zip(is_there.as_ref().map(stamp_of))
            && !is_same_file(before, now)
        {
            return Err(Failure::Local(format!(
                "{} was changed here while it was fetched, so it was not replaced; run the command again",
                shown(&self.destination)
            )));
        }
        take_attributes(&self.file, &self.destination, is_there.is_some(), mode)
            .map_err(|error| failure(error.into()))?;
        if let Err(errno) = set_mtime(&self.file, mtime_ns) {
            refusals::note(Operation::SetTimes.noun(), &self.destination, &errno.into());
        }
        match is_there {
            Some(_) => fs::rename(&self.path, &self.destination).map_err(failure)?,
            None => rename_to_new(&self.path, &self.destination).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::Local(format!(
                    "{} is here now, perhaps by another spelling of the name, and is not replaced; get it to another place",
                    shown(&self.destination)
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

/// Returns the paths to try for a part of `destination`.
fn candidate_paths<'a>(
    destination: &'a Path,
    reserved: &'a Reserved,
) -> impl Iterator<Item = Result<PathBuf, Failure>> + use<'a> {
    let is_free = |path: &Result<PathBuf, Failure>| !path.as_ref().is_ok_and(|path| reserved.contains(path));
    (0..).map(|number| part_path(destination, number)).filter(is_free).take(NAMES_MAX)
}

/// Returns whether a file is the same as before and has the same size. A different modification time alone does
/// not matter.
fn is_same_file(before: FileStamp, now: FileStamp) -> bool {
    (before.device, before.inode, before.size) == (now.device, now.inode, now.size)
}

/// Creates the part at `path`. Fails if something exists there.
fn create_new(path: &Path, destination: &Path, is_resumable: bool) -> io::Result<File> {
    if is_resumable && let Some(created) = create_marked(path, destination)? {
        return Ok(created);
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(PART_MODE).custom_flags(flags).open(path)?;
    // Without metadata it could not be marked, and no later run would recognise it as a part.
    let metadata = file.metadata().inspect_err(|_| drop(fs::remove_file(path)))?;
    if is_resumable {
        mark(&file, &metadata, destination);
    }
    Ok(file)
}

/// Creates a part that is marked before it gets its name, so that a client that is killed leaves no part
/// without a mark. Returns `None` where the file system cannot do that.
fn create_marked(path: &Path, destination: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let Ok(nameless) = rustix::fs::open(folder_of(path), flags, Mode::from_raw_mode(PART_MODE)) else {
        return Ok(None);
    };
    let file = File::from(nameless);
    let metadata = file.metadata()?;
    mark(&file, &metadata, destination);
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::EXIST) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => Ok(None),
    }
}

/// Renames without replacing anything: with `RENAME_NOREPLACE`, else with a hard link, else after a check of
/// the new name. In the last case another program may still take the name before the rename.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let refusal = match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(error) if is_refusal(&error.into()) => error,
        Err(error) => return Err(error.into()),
    };
    match fs::hard_link(from, to) {
        // The file is complete under its new name, even if the old one cannot be removed.
        Ok(()) => {
            let _ = fs::remove_file(from);
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    refusals::note("renames without replacing (renameat2, linkat)", to, &refusal.into());
    fs::rename(from, to)
}

/// Permission bits of a part: it may become a file that only its owner reads.
const PART_MODE: u32 = 0o600;
/// The number of paths that are tried for a part.
const NAMES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_part_becomes_the_file_only_when_it_is_finished() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let destination = folder.path().join("a");
        let mut part = Part::create(&destination, &Reserved::new(), true).expect("part");
        part.write(b"hello").expect("write");
        let metadata = fs::metadata(folder.path().join(".a.berth-part")).expect("it is there");
        assert!(!destination.exists() && metadata.mode() & 0o077 == 0, "{:o}", metadata.mode());
        assert_eq!(part.digest(), Digest::of(b"hello"));
        part.finish(1_000_000_000, None, None).expect("finish");
        assert_eq!(fs::read(&destination).expect("read"), b"hello");
        let metadata = fs::metadata(&destination).expect("metadata");
        assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (1, 0o644 & !crate::client::files::modes::umask()));
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_replaced_file_keeps_its_mode() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let destination = folder.path().join("a");
        for mode in [0o600, 0o755, 0o664, 0o444] {
            fs::write(&destination, b"old").expect("write");
            fs::set_permissions(&destination, fs::Permissions::from_mode(mode)).expect("ours");
            let seen = stamp_of(&fs::metadata(&destination).expect("there"));
            let mut part = Part::create(&destination, &Reserved::new(), true).expect("part");
            part.write(b"new").expect("write");
            part.finish(0, None, Some(seen)).expect("finish");
            assert_eq!(fs::metadata(&destination).expect("there").mode() & 0o7777, mode);
            fs::remove_file(&destination).expect("ours");
        }
    }

    #[test]
    fn a_part_is_found_again_and_an_empty_one_is_not_kept() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let destination = folder.path().join("a");
        drop(Part::create(&destination, &Reserved::new(), true).expect("part"));
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 0);
        Part::create(&destination, &Reserved::new(), true).expect("part").write(b"half").expect("write");
        let mut part =
            Part::find(&destination, &Reserved::new(), 1 << 20, &mut |_| false).expect("look").expect("there");
        assert_eq!((part.received_bytes(), part.digest()), (4, Digest::of(b"half")));
        assert!(Part::find(&destination, &Reserved::new(), 1 << 20, &mut |_| false).is_err(), "locked");
        part.write(b"way").expect("write");
        part.finish(0, None, None).expect("finish");
        assert_eq!(fs::read(&destination).expect("read"), b"halfway");
    }

    #[test]
    fn a_file_that_appeared_meanwhile_stays_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let destination = folder.path().join("a");
        let part = Part::create(&destination, &Reserved::new(), true).expect("part");
        fs::write(&destination, b"old").expect("write");
        assert!(part.finish(0, None, None).is_err());
        assert_eq!(fs::read(&destination).expect("read"), b"old");
        let other = folder.path().join("other");
        fs::write(&other, b"safe").expect("write");
        std::os::unix::fs::symlink(&other, folder.path().join(".b.berth-part")).expect("link");
        assert!(Part::create(&folder.path().join("b"), &Reserved::new(), true).is_err());
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
        let seen = stamp_of(&fs::metadata(path("file")).expect("there"));
        let part = Part::create(&path("later"), &Reserved::new(), true).expect("part");
        std::os::unix::fs::symlink("file", path("later")).expect("link");
        assert!(part.finish(0, None, Some(seen)).is_err());
        assert_eq!(fs::read(path("file")).expect("read"), b"old");
    }

    #[test]
    fn what_is_not_a_part_of_ours_is_copied_and_never_used() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (destination, path) = (folder.path().join("a"), folder.path().join(".a.berth-part"));
        fs::write(&path, b"half").expect("write");
        let find = |bytes_max| Part::find(&destination, &Reserved::new(), bytes_max, &mut |_| false).expect("look");
        assert!(find(3).is_none(), "longer than the file");
        let mut part = find(10).expect("copied");
        assert_eq!((part.received_bytes(), part.digest()), (4, Digest::of(b"half")));
        part.restart().expect("restart");
        part.write(b"other").expect("write");
        drop(part);
        assert_eq!(fs::read(&path).expect("read"), b"half");
        let part = find(10).expect("ours comes before what may be anybody's");
        assert_eq!(part.digest(), Digest::of(b"other"));
        part.finish(0, None, None).expect("finish");
        assert_eq!(
            (fs::read(&destination).expect("read"), fs::read(&path).expect("read")),
            (b"other".to_vec(), b"half".to_vec())
        );
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 2);
    }

    #[test]
    fn a_file_that_grew_while_its_replacement_came_stays_and_a_touched_one_goes() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let destination = folder.path().join("a");
        fs::write(&destination, b"old").expect("write");
        let seen = || stamp_of(&fs::metadata(&destination).expect("there"));
        let part = || {
            let mut part = Part::create(&destination, &Reserved::new(), true).expect("part");
            part.write(b"new").expect("write");
            part
        };
        let before = seen();
        fs::write(&destination, b"older").expect("write");
        let failure = part().finish(0, None, Some(before)).expect_err("it grew");
        assert!(failure.to_string().contains("was changed here"), "{failure}");
        assert_eq!(fs::read(&destination).expect("read"), b"older");
        let before = FileStamp { mtime_ns: 7, ..seen() };
        part().finish(0, None, Some(before)).expect("touched");
        assert_eq!(fs::read(&destination).expect("read"), b"new");
        let before = seen();
        fs::remove_file(&destination).expect("ours");
        part().finish(0, None, Some(before)).expect("it is gone");
    }
}
