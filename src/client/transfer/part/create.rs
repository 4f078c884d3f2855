//! Creates and renames files without replacing others, also where the file system lacks some system calls.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::base::refusals::{self, is_refusal};
use crate::client::files::modes::directory_of;
use crate::client::transfer::part::names::mark;

/// Creates the part at `path`. Fails if something exists there.
pub(super) fn create_new(path: &Path, destination: &Path, is_resumable: bool) -> io::Result<File> {
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
    let Ok(nameless) = rustix::fs::open(directory_of(path), flags, Mode::from_raw_mode(PART_MODE)) else {
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
pub(super) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let refusal = match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(error) if is_refusal(error) => error,
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
    refusals::report("renames without replacing (renameat2, linkat)", to, &refusal.into());
    fs::rename(from, to)
}

/// Permission bits of a part: it may become a file that only its owner reads.
const PART_MODE: u32 = 0o600;
