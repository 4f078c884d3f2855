//! Syncs files and directories to disk. If a file system refuses one system call, the next one is tried,
//! which syncs more. If it refuses all of them, `refusals` reports that, and it is no error: a power loss
//! may then lose the newest data. Errors of the disk are always returned.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{fdatasync, fsync, syncfs};
use rustix::io::Errno;

use crate::base::refusals;

/// The kind of sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncKind {
    /// A file's content: fdatasync.
    Data,
    /// A file with its metadata: fsync.
    File,
    /// A directory's entries: fsync.
    Directory,
}

type SyncCall = fn(&File) -> Result<(), Errno>;

/// Syncs `file`. An error means that data written since the last sync may be lost.
pub fn sync(file: &File, kind: SyncKind) -> io::Result<()> {
    let calls: &[SyncCall] = match kind {
        SyncKind::Data => &[|file| fdatasync(file), |file| fsync(file), |file| syncfs(file)],
        SyncKind::File | SyncKind::Directory => &[|file| fsync(file), |file| syncfs(file)],
    };
    match calls.iter().map(|call| retrying(|| call(file))).find(|result| !is_refused(*result, kind)) {
        Some(result) => Ok(result?),
        None => {
            report_refusal(file, kind);
            Ok(())
        }
    }
}

fn retrying(call: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Returns whether the file system does not support this kind of sync. Some refuse it for directories,
/// which are open for reading only.
fn is_refused(result: Result<(), Errno>, kind: SyncKind) -> bool {
    match result {
        Ok(()) => false,
        Err(Errno::BADF) => kind == SyncKind::Directory,
        Err(errno) => refusals::is_unsupported(errno),
    }
}

/// Reports the refusal with the path of the directory, which lies on the same file system.
fn report_refusal(file: &File, kind: SyncKind) {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    let (what, directory) = match kind {
        SyncKind::Directory => ("syncs of directories (fsync)", path.as_path()),
        SyncKind::Data | SyncKind::File => ("syncs of files (fsync)", path.parent().unwrap_or(&path)),
    };
    refusals::report(what, directory, &Errno::OPNOTSUPP.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_file_system_does_not_know_is_left_out() {
        for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTTY] {
            assert!(is_refused(Err(errno), SyncKind::Data) && is_refused(Err(errno), SyncKind::Directory), "{errno:?}");
        }
        assert!(is_refused(Err(Errno::BADF), SyncKind::Directory) && !is_refused(Err(Errno::BADF), SyncKind::Data));
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::STALE, Errno::PERM] {
            assert!(
                !is_refused(Err(errno), SyncKind::Data) && !is_refused(Err(errno), SyncKind::Directory),
                "{errno:?}"
            );
        }
        assert!(!is_refused(Ok(()), SyncKind::Data));
    }

    #[test]
    fn an_ordinary_file_and_directory_are_flushed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = File::create(directory.path().join("file")).expect("created");
        assert!(sync(&file, SyncKind::Data).is_ok() && sync(&file, SyncKind::File).is_ok());
        assert!(sync(&File::open(directory.path()).expect("opened"), SyncKind::Directory).is_ok());
    }
}
