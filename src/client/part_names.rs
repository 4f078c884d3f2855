//! What parts of downloads are called, and which files of such a name are parts: those with the
//! mark that was put on them when they were made. A user's own file may have any name.
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

use crate::client::local::shown;
use crate::client::outcome::Failure;
use crate::digest::Digest;
use crate::limits::NAME_BYTES_MAX;

/// What stands at the path of a part.
pub(super) enum Occupant {
    /// Nothing.
    Nothing,
    /// A part of the same destination, open for writing.
    Ours(File, Metadata),
    /// A file of this user without a mark, open for reading. Where marks are not possible
    /// (`cannot_tell`) it may be a part.
    Unmarked { file: File, bytes: u64, cannot_tell: bool },
    /// What is none of ours, or a file with further names: nothing is written into it.
    Foreign,
    /// A link: somebody may have put it there to have it followed.
    Link,
}

/// The path number `number` for a part of `destination`: `.NAME.berth-part` beside it, and
/// `.NAME.NUMBER.berth-part` where others have taken that. A name that leaves no room for this is cut
/// and told from its like by its digest.
pub fn part_path(destination: &Path, number: u32) -> Result<PathBuf, Failure> {
    let name = name_of_file(destination)?;
    let number = if number == 0 { String::new() } else { format!(".{number}") };
    let mut part = vec![b'.'];
    if name.len() + number.len() + SUFFIX.len() < NAME_BYTES_MAX {
        part.extend_from_slice(name);
    } else {
        part.extend_from_slice(&name[..name.len().min(200)]);
        part.extend_from_slice(&Digest::of(name).to_string().as_bytes()[..16]);
    }
    part.extend_from_slice(number.as_bytes());
    part.extend_from_slice(SUFFIX);
    Ok(destination.with_file_name(OsString::from_vec(part)))
}

fn name_of_file(destination: &Path) -> Result<&[u8], Failure> {
    let name = destination.file_name().map(OsStrExt::as_bytes);
    name.ok_or_else(|| Failure::Usage(format!("{} names no file", shown(destination))))
}

/// Whether a part could be called so.
pub fn looks_like_part(path: &Path) -> bool {
    let name = path.file_name().map_or(&[][..], OsStrExt::as_bytes);
    name.starts_with(b".") && name.ends_with(SUFFIX)
}

/// The destination of the part at `path`; `None` if there is something else.
pub fn destination_of_part(path: &Path) -> Option<PathBuf> {
    if !looks_like_part(path) {
        return None;
    }
    let metadata = fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
    let mut mark = [0; MARK_BYTES_MAX];
    let length = lgetxattr(path, MARK, &mut mark[..]).ok()?;
    let name = mark[..length].strip_prefix(&mark_of(&metadata, b"")[..])?;
    Some(path.with_file_name(OsString::from_vec(name.to_vec())))
}

/// Removes the part at `path`, unless a download is writing into it. What is no part stays.
pub fn remove_part(path: &Path) {
    let Some(destination) = destination_of_part(path) else { return };
    let Ok(Occupant::Ours(file, _)) = occupant(path, &destination) else { return };
    if lock(&file, path) {
        // If it cannot be removed, neither can its folder, and that is told.
        let _ = fs::remove_file(path);
    }
}

/// Looks at what stands at the `path` of a part of `destination`.
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
        Ok(length) if mark[..length] == mark_of(&metadata, name_of_file(destination)?) => {
            Occupant::Ours(file, metadata)
        }
        Ok(_) => Occupant::Foreign,
        Err(error) => Occupant::Unmarked { file, bytes, cannot_tell: error != Errno::NODATA },
    })
}

/// Marks a new file as the part of `destination`. Where that is not possible it is not resumed, or
/// only if the server proves what is in it.
pub(super) fn mark(file: &File, metadata: &Metadata, destination: &Path) {
    if let Ok(name) = name_of_file(destination) {
        let _ = fsetxattr(file, MARK, &mark_of(metadata, name), XattrFlags::empty());
    }
}

/// A part that is whole is one no more.
pub(super) fn unmark(file: &File) {
    let _ = fremovexattr(file, MARK);
}

/// Takes a part for this download alone; false if another one has it. Where there are no locks, it
/// is only hoped that nobody does the same at the same time.
pub(super) fn lock(file: &File, path: &Path) -> bool {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => false,
        Err(error) => {
            crate::refusals::note("locks (flock)", path, &error.into());
            true
        }
        Ok(()) => true,
    }
}

fn mark_of(metadata: &Metadata, name: &[u8]) -> Vec<u8> {
    [format!("{} ", metadata.ino()).as_bytes(), name].concat()
}

/// What a part's name ends with.
const SUFFIX: &[u8] = b".berth-part";
/// The attribute with the mark.
const MARK: &str = "user.berth.part";
/// An inode and a name.
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
    fn only_what_was_marked_is_a_part_and_no_copy_of_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (destination, path) = (folder.path().join("a"), folder.path().join(".a.berth-part"));
        fs::write(&path, b"mine").expect("write");
        assert_eq!(destination_of_part(&path), None);
        let file = File::options().read(true).write(true).open(&path).expect("open");
        mark(&file, &file.metadata().expect("metadata"), &destination);
        assert_eq!(destination_of_part(&path), Some(destination.clone()), "needs extended attributes");
        assert!(matches!(occupant(&path, &destination), Ok(Occupant::Ours(..))));
        assert!(matches!(occupant(&path, &folder.path().join("b")), Ok(Occupant::Foreign)));
        let copy = folder.path().join(".b.berth-part");
        fs::write(&copy, b"mine").expect("write");
        let copied = File::options().write(true).open(&copy).expect("open");
        fsetxattr(&copied, MARK, &mark_of(&file.metadata().expect("metadata"), b"b"), XattrFlags::empty())
            .expect("set");
        assert_eq!(destination_of_part(&copy), None);
        fs::hard_link(&path, folder.path().join("second")).expect("link");
        assert!(matches!(occupant(&path, &destination), Ok(Occupant::Foreign)));
    }
}
