//! Failures of the local file system.

use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Failure;
use crate::base::explanation::Explanation;
use crate::base::text::{Escaped, plain};

impl Failure {
    /// Creates a failure of the local file system that concerns `subject`.
    pub fn local(subject: &Path, error: &io::Error) -> Self {
        let subject = subject.as_os_str().as_bytes();
        let side = if subject.starts_with(b"standard ") { "" } else { "local " };
        let problem = format!("{side}{}: {}", Escaped(subject), plain(error));
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::LocalFull(Explanation::new(problem, "free some space here, then run the command again"))
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::LocalDenied(problem.into()),
            _ => Self::Local(problem.into()),
        }
    }

    /// Creates the failure for a local file that cannot be examined. If a file with a relative path is missing, the
    /// text names the current directory.
    pub fn missing_local_file(path: &Path, error: &io::Error) -> Self {
        Self::missing("file", path, error)
    }

    /// Creates the failure for a local directory that cannot be examined, like [`Failure::missing_local_file`].
    pub fn missing_local_directory(path: &Path, error: &io::Error) -> Self {
        Self::missing("directory", path, error)
    }

    /// Creates the failure for a local path that leads through a file.
    pub fn file_above_local(path: &Path) -> Self {
        let path = Escaped(path.as_os_str().as_bytes());
        Self::Local(Explanation::new(format!("a directory above local {path} is a file"), "choose another path"))
    }

    fn missing(kind: &str, path: &Path, error: &io::Error) -> Self {
        let directory = std::env::current_dir().ok().filter(|_| path.is_relative());
        if error.kind() != ErrorKind::NotFound {
            return Self::local(path, error);
        }
        if path.as_os_str().is_empty() {
            return Self::Usage("'': the path is empty".into());
        }
        let directory = directory.map(|directory| format!(" (in {})", Escaped(directory.as_os_str().as_bytes())));
        let (path, directory) = (Escaped(path.as_os_str().as_bytes()), directory.unwrap_or_default());
        Self::Local(format!("{path}: no such local {kind}{directory}").into())
    }
}
