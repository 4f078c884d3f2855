//! Configuration and account files: reads are bounded, and a file is replaced as a whole or not at all.
//! Knows nothing of their content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{Dir, FlockOperation, OFlags};
use rustix::io::Errno;

use crate::base::disk_sync::{self, SyncKind};
use crate::base::refusals;

/// The largest account or configuration file. Usual ones have less than 4 KiB.
pub const SMALL_FILE_BYTES_MAX: u64 = 256 * 1024;

/// The byte order mark that some editors write before UTF-8 text. It is not part of the text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Mode of files with secrets.
pub const SECRET_FILE: u32 = 0o600;
/// Mode of directories with secrets.
pub const SECRET_DIRECTORY: u32 = 0o700;
/// Mode of directories that everybody may enter.
pub const PUBLIC_DIRECTORY: u32 = 0o755;
/// Mode of directories for logs and homes: the server's group may read them.
pub const GROUP_DIRECTORY: u32 = 0o750;

/// Returns the content of a regular file of at most [`SMALL_FILE_BYTES_MAX`] bytes, without a leading
/// [`BYTE_ORDER_MARK`]. A FIFO or device is an error and does not block.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, SMALL_FILE_BYTES_MAX)
}

/// Like [`read`], with another bound.
pub fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut content = Vec::with_capacity(metadata.len() as usize + 1);
    // The file may grow while it is read.
    file.take(bytes_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        return Err(too_large(bytes_max));
    }
    if content.starts_with(BYTE_ORDER_MARK) {
        content.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(content)
}

/// Replaces the content of `path`: after a crash the file has the old content or the new. Writers of
/// the same path must exclude each other, because they share the temporary name. A file system may refuse
/// the owner, the mode or the sync; that is reported and is no error.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    let temporary = directory.join(temporary);
    // A crash may have left a temporary file with another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let result = write_new(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
        return result;
    }
    sync_directory(directory)
}

/// Syncs `directory`, so that renames and removals in it survive a power loss.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    disk_sync::sync(&File::open(directory)?, SyncKind::Directory)
}

/// Waits for an exclusive lock on `file`, which is at `path`. Closing the file releases the lock.
pub fn lock(file: &File, path: &Path) -> io::Result<()> {
    let locked = rustix::fs::flock(file, FlockOperation::LockExclusive);
    refusals::allow("locks (flock)", path, locked.map_err(io::Error::from))
}

/// Like [`lock`], but fails with `WouldBlock` instead of waiting.
pub fn try_lock(file: &File, path: &Path) -> io::Result<()> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(io::Error::new(io::ErrorKind::WouldBlock, "another program holds its lock")),
        locked => refusals::allow("locks (flock)", path, locked.map_err(io::Error::from)),
    }
}

/// Makes `path` and its missing parents with `mode`, and syncs them. A directory that exists is not
/// changed. Returns true if `path` itself was made.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<bool> {
    make_directory_for(None, path, mode)
}

/// Like [`make_directory`], but gives new directories to `owner`, a user and a group, if it is set.
pub fn make_directory_for(owner: Option<(u32, u32)>, path: &Path, mode: u32) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory_for(owner, parent, mode)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(false),
        result => result?,
    }
    // A user with write access to the parent could have put a symlink here, or another directory of root,
    // which must not be given away.
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let directory = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if rustix::process::geteuid().is_root() && fs::metadata(directory_of(path))?.uid() != 0 && !is_empty(&directory)? {
        return Err(io::Error::other("another program put another directory in its place"));
    }
    // The mode must not depend on the umask.
    set_mode(path, &directory, mode)?;
    match owner {
        Some((user, group)) => give(path, &directory, user, group)?,
        None => give_to_owner_of_directory(path, &directory)?,
    }
    sync_directory(directory_of(path))?;
    Ok(true)
}

fn is_empty(directory: &File) -> io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The file was created with `mode`, but the umask may have removed bits.
    set_mode(path, &file, mode)?;
    give_to_owner_of_directory(path, &file)?;
    file.write_all(content)?;
    sync_file(&file)
}

/// Syncs a file, so that it survives a power loss.
pub fn sync_file(file: &File) -> io::Result<()> {
    disk_sync::sync(file, SyncKind::File)
}

fn set_mode(path: &Path, file: &File, mode: u32) -> io::Result<()> {
    refusals::allow("modes (fchmod)", path, file.set_permissions(fs::Permissions::from_mode(mode)))
}

fn give(path: &Path, file: &File, user: u32, group: u32) -> io::Result<()> {
    refusals::allow("owners (fchown)", path, fchown(file, Some(user), Some(group)))
}

/// Gives a file that root makes to the owner of its directory, because the server runs as that user and
/// must be able to read it.
fn give_to_owner_of_directory(path: &Path, file: &File) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (owner, own) = (fs::metadata(directory_of(path))?, file.metadata()?);
    // A file system with one owner for all files, such as exFAT, cannot change it and need not.
    let is_given = owner.uid() == 0 || (owner.uid(), owner.gid()) == (own.uid(), own.gid());
    if is_given { Ok(()) } else { give(path, file, owner.uid(), owner.gid()) }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn too_large(bytes_max: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_with_its_mode() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.json");
        fs::write(directory.path().join(".a.json.tmp"), "left by a crash").expect("writable");
        replace(&path, b"one", 0o600).expect("writable");
        replace(&path, b"two", 0o600).expect("writable");
        assert_eq!(read(&path).expect("readable"), b"two");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
    }

    #[test]
    fn devices_directories_and_large_files_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(read(directory.path()).is_err());
        assert!(read(Path::new("/dev/zero")).is_err());
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a fifo");
        assert!(read(&fifo).is_err(), "and it does not block");
        let large = directory.path().join("large");
        File::create(&large).and_then(|file| file.set_len(SMALL_FILE_BYTES_MAX + 1)).expect("sparse");
        assert_eq!(read(&large).map_err(|e| e.kind()), Err(io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let occupied = directory.path().join("folder");
        fs::create_dir_all(occupied.join("full")).expect("writable");
        assert!(replace(&occupied, b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
    }
}
