//! The admin socket of a running server, in a directory of the configuration, accessible to the server's
//! user and root only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;

use crate::base::atomic_file::SECRET_FILE;

const NAME: &str = "control.sock";

/// Connects to the server whose socket is in `directory`. Returns `None` if there is none.
pub fn connect(directory: &Path) -> io::Result<Option<UnixStream>> {
    let (_handle, path) = match short_path(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Listens on the socket in `directory`. Fails with `AddrInUse` if another server does; the leftover of a
/// killed server is removed. `give_ownership` may make the user of the server the owner of the new socket.
/// Call this while the process has one thread, because the mode comes from the umask.
pub fn listen(directory: &Path, give_ownership: impl FnOnce(&File) -> io::Result<()>) -> io::Result<UnixListener> {
    if connect(directory)?.is_some() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    remove(directory);
    let (_handle, path) = short_path(directory)?;
    // A user with write access to the directory could replace the file before a mode is set by name.
    let umask = rustix::process::umask(!Mode::from(SECRET_FILE) & Mode::from(0o777));
    let bound = UnixListener::bind(&path);
    rustix::process::umask(umask);
    let listener = bound?;
    give_ownership(&open_own_socket(&path)?)?;
    Ok(listener)
}

/// Opens the new socket at `path` with a handle that can only change its owner.
fn open_own_socket(path: &Path) -> io::Result<File> {
    let flags = (OFlags::PATH | OFlags::NOFOLLOW).bits().cast_signed();
    let handle = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = handle.metadata()?;
    let is_own = found.file_type().is_socket() && found.uid() == geteuid().as_raw() && found.nlink() == 1;
    if is_own { Ok(handle) } else { Err(io::Error::other("another program put another file in its place")) }
}

/// Removes the socket when the server ends, if it may.
pub fn remove(directory: &Path) {
    // A leftover does no harm: the next server removes it.
    let _ = std::fs::remove_file(directory.join(NAME));
}

/// Returns a short path by way of the directory's descriptor: a socket's path is limited to 107 bytes, a
/// directory's is not.
fn short_path(directory: &Path) -> io::Result<(File, PathBuf)> {
    let handle = File::open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", handle.as_raw_fd()));
    Ok((handle, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_belongs_to_its_owner_from_the_beginning_and_another_file_at_its_path_is_not_given_away() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join(NAME);
        let _listener = listen(place.path(), |made| {
            let mode = made.metadata()?.mode() & 0o7777;
            assert_eq!((mode, path.symlink_metadata()?.mode() & 0o7777), (SECRET_FILE, SECRET_FILE));
            Ok(())
        })
        .expect("listen");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o7777, SECRET_FILE);
        let other = place.path().join("other");
        std::fs::write(&other, "").expect("writable");
        std::fs::hard_link(&path, place.path().join("link")).expect("writable");
        open_own_socket(&path).expect_err("it has another name");
        std::fs::remove_file(&path).expect("writable");
        std::os::unix::fs::symlink(&other, &path).expect("writable");
        open_own_socket(&path).expect_err("a link");
        std::fs::rename(&other, &path).expect("writable");
        open_own_socket(&path).expect_err("a file");
    }

    #[test]
    fn one_server_at_a_time_and_what_a_killed_one_left_is_no_obstacle() {
        let place = tempfile::tempdir().expect("temporary directory");
        let directory = place.path().join("x".repeat(200));
        std::fs::create_dir(&directory).expect("mkdir");
        assert!(connect(&directory).expect("no server is no error").is_none());
        let first = listen(&directory, |_| Ok(())).expect("listen");
        assert!(connect(&directory).expect("connect").is_some());
        assert_eq!(listen(&directory, |_| Ok(())).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(connect(&directory).expect("no server is no error").is_none());
        listen(&directory, |_| Ok(())).expect("listen again");
    }
}
