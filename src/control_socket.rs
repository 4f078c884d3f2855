//! Where a running server and `berthd`'s commands meet: a socket in a folder of the
//! configuration's, for the server's user and root alone.

use crate::small_file::SECRET_FILE;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const NAME: &str = "control.sock";

/// Connects to the server whose socket is in `folder`; `None` if there is none.
pub fn connect(folder: &Path) -> io::Result<Option<UnixStream>> {
    let (_handle, path) = match short_path(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Listens for the server whose socket is to be in `folder`. Fails with `AddrInUse` if
/// there is one already; what one that was killed left behind is removed. `give` may give the new
/// socket to the user the server will run as.
pub fn listen(folder: &Path, give: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<UnixListener> {
    if connect(folder)?.is_some() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    remove(folder);
    let (_handle, path) = short_path(folder)?;
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(SECRET_FILE))?;
    give(&path)?;
    Ok(listener)
}

/// Removes the socket when the server ends, if it still may.
pub fn remove(folder: &Path) {
    // One that is left behind is in nobody's way: the next server removes it.
    let _ = std::fs::remove_file(folder.join(NAME));
}

/// A socket's path is bounded to 107 bytes, that of a folder is not; by way of the folder's
/// descriptor it is always short.
fn short_path(folder: &Path) -> io::Result<(File, PathBuf)> {
    let handle = File::open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", handle.as_raw_fd()));
    Ok((handle, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_at_a_time_and_what_a_killed_one_left_is_no_obstacle() {
        let place = tempfile::tempdir().expect("temporary folder");
        let folder = place.path().join("x".repeat(200));
        std::fs::create_dir(&folder).expect("mkdir");
        assert!(connect(&folder).expect("no server is no error").is_none());
        let first = listen(&folder, |_| Ok(())).expect("listen");
        assert!(connect(&folder).expect("connect").is_some());
        assert_eq!(listen(&folder, |_| Ok(())).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(connect(&folder).expect("no server is no error").is_none());
        listen(&folder, |_| Ok(())).expect("listen again");
    }
}
