//! The names of partial downloads, and the mark that tells them from other files. A user's own file may
//! have any name, so the name alone does not make a file a part.
//!
//! The mark is an extended attribute with the inode and the destination's name, so that neither a
//! copy of a part nor the part of another file counts.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, XattrFlags, fgetxattr, flock, fremovexattr, fsetxattr, lgetxattr};
use rustix::io::Errno;

use crate::base::digest::{Digest, DigestAlgorithm};
use crate::base::virtual_path::NAME_BYTES_MAX;
use crate::client::error::Failure;
use crate::client::files::local::shown;

/// What exists at the path of a part.
pub(super) enum Occupant {
    /// No file exists.
    Nothing,
    /// A part of the same destination, open for reading and, if permitted, for writing.
    Ours(File, Metadata),
    /// A file of this user without a mark, open for reading. It may be a part if `cannot_tell`: the file system
    /// supports no marks.
    Unmarked { file: File, bytes: u64, cannot_tell: bool },
    /// The part of another destination, another user's file, a file with several hard links, or not a regular
    /// file. It is never written to.
    Foreign,
    /// A symlink. It is not followed, because another user may have put it there.
    Link,
}

/// Returns the path of the part of `destination` with this `number`: `.NAME.berth-part` beside it for 0, else
/// `.NAME.NUMBER.berth-part`. A name that is too long is cut, and 16 digits of its SHA-256 make it unique.
pub fn part_path(destination: &Path, number: u32) -> Result<PathBuf, Failure> {
    let name = name_of_file(destination)?;
    let number = if number == 0 { String::new() } else { format!(".{number}") };
    let mut part = vec![b'.'];
    if name.len() + number.len() + SUFFIX.len() < NAME_BYTES_MAX {
        part.extend_from_slice(name);
    } else {
        part.extend_from_slice(&name[..name.len().min(200)]);
        part.extend_from_slice(&Digest::by(DigestAlgorithm::Sha256, name).hex().as_bytes()[..16]);
    }
    part.extend_from_slice(number.as_bytes());
    part.extend_from_slice(SUFFIX);
    Ok(destination.with_file_name(OsString::from_vec(part)))
}

fn name_of_file(destination: &Path) -> Result<&[u8], Failure> {
    let name = destination.file_name().map(OsStrExt::as_bytes);
    name.ok_or_else(|| Failure::Usage(format!("{} is no file name", shown(destination)).into()))
}

/// Returns whether `path` has the form of a part's name.
pub fn looks_like_part(path: &Path) -> bool {
    let name = path.file_name().map_or(&[][..], OsStrExt::as_bytes);
    name.starts_with(b".") && name.ends_with(SUFFIX)
}

/// Returns the destination of the part at `path`, or `None` if no part exists there.
pub fn destination_of_part(path: &Path) -> Option<PathBuf> {
    if !looks_like_part(path) {
        return None;
    }
    let metadata = fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
    let mut mark = [0; MARK_BYTES_MAX];
    let length = lgetxattr(path, MARK, &mut mark[..]).ok()?;
    let name = mark[..length].strip_prefix(&mark_value(&metadata, b"")[..])?;
    Some(path.with_file_name(OsString::from_vec(name.to_vec())))
}

/// Removes the part at `path`, unless a download is writing to it. Anything else is kept.
pub fn remove_part(path: &Path) {
    let Some(destination) = destination_of_part(path) else { return };
    let Ok(Occupant::Ours(file, _)) = occupant(path, &destination) else { return };
    if lock(&file, path) {
        // Errors are ignored: the next download uses another name, and `mirror` reports a directory that is not empty.
        let _ = fs::remove_file(path);
    }
}

/// Examines the `path` of a part of `destination`.
pub(super) fn occupant(path: &Path, destination: &Path) -> Result<Occupant, Failure> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let open = |writes| OpenOptions::new().read(true).write(writes).custom_flags(flags).open(path);
    let file = match open(true).or_else(|_| open(false)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nothing),
        Err(_) => {
            let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
            return Ok(if is_link { Occupant::Link } else { Occupant::Foreign });
        }
    };
    let metadata = file.metadata().map_err(|error| Failure::local(path, &error))?;
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() || metadata.nlink() != 1 {
        return Ok(Occupant::Foreign);
    }
    let mut mark = [0; MARK_BYTES_MAX];
    let bytes = metadata.len();
    Ok(match fgetxattr(&file, MARK, &mut mark[..]) {
        Ok(length) if mark[..length] == mark_value(&metadata, name_of_file(destination)?) => {
            Occupant::Ours(file, metadata)
        }
        Ok(_) => Occupant::Foreign,
        Err(error) => Occupant::Unmarked { file, bytes, cannot_tell: error != Errno::NODATA },
    })
}

/// Marks a new file as the part of `destination`. A file system without extended attributes stores no mark;
/// [`occupant`] then reports `cannot_tell`.
pub(super) fn mark(file: &File, metadata: &Metadata, destination: &Path) {
    if let Ok(name) = name_of_file(destination) {
        let _ = fsetxattr(file, MARK, &mark_value(metadata, name), XattrFlags::empty());
    }
}

/// Removes the mark of a file that is complete.
pub(super) fn unmark(file: &File) {
    let _ = fremovexattr(file, MARK);
}

/// Locks a part for this download. Returns false if another process has locked it. On a file system
/// without locks, nothing keeps two processes from writing to the same part.
pub(super) fn lock(file: &File, path: &Path) -> bool {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => false,
        Err(error) => {
            crate::base::refusals::report("locks (flock)", path, &error.into());
            true
        }
        Ok(()) => true,
    }
}

fn mark_value(metadata: &Metadata, name: &[u8]) -> Vec<u8> {
    [format!("{} ", metadata.ino()).as_bytes(), name].concat()
}

/// The suffix of a part's name.
const SUFFIX: &[u8] = b".berth-part";
/// The extended attribute that holds the mark.
const MARK: &str = "user.berth.part";
/// The longest mark: an inode number, a space and a name.
const MARK_BYTES_MAX: usize = 24 + NAME_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_have_parts_too() {
        let long = PathBuf::from("x".repeat(255));
        for number in [0, 7] {
            let part = part_path(&long, number).expect("a name");
            assert!(part.as_os_str().len() <= NAME_BYTES_MAX && looks_like_part(&part));
            assert_ne!(part, part_path(Path::new(&"x".repeat(254)), number).expect("a name"));
        }
        assert!(part_path(Path::new("/"), 0).is_err());
    }

    #[test]
    fn only_a_marked_file_is_a_part_and_its_copy_is_not() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let (destination, path) = (directory.path().join("a"), directory.path().join(".a.berth-part"));
        fs::write(&path, b"mine").expect("write");
        assert_eq!(destination_of_part(&path), None);
        let file = File::options().read(true).write(true).open(&path).expect("open");
        mark(&file, &file.metadata().expect("metadata"), &destination);
        assert_eq!(destination_of_part(&path), Some(destination.clone()), "needs extended attributes");
        assert!(matches!(occupant(&path, &destination), Ok(Occupant::Ours(..))));
        assert!(matches!(occupant(&path, &directory.path().join("b")), Ok(Occupant::Foreign)));
        let copy = directory.path().join(".b.berth-part");
        fs::write(&copy, b"mine").expect("write");
        let copied = File::options().write(true).open(&copy).expect("open");
        fsetxattr(&copied, MARK, &mark_value(&file.metadata().expect("metadata"), b"b"), XattrFlags::empty())
            .expect("set");
        assert_eq!(destination_of_part(&copy), None);
        fs::hard_link(&path, directory.path().join("second")).expect("link");
        assert!(matches!(occupant(&path, &destination), Ok(Occupant::Foreign)));
    }
}
