//! What the client stores between runs, under `$XDG_STATE_HOME/berth`: the shell's history, the servers' keys, and
//! records of partial uploads and unfinished trees. Without them the user confirms keys again and transfers start
//! over, but no file is lost, so a directory that cannot be written is not an error.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::atomic_file::{self, SECRET_FILE};
use crate::base::digest::{Digest, DigestAlgorithm};
use crate::base::upload_id::UploadId;
use crate::client::files::local::FileStamp;

/// The state directory; `None` if none can be used.
#[derive(Clone, Default)]
pub struct StateDirectory(Option<PathBuf>);

/// The local file of an interrupted upload. The upload is resumed only if the file's stamp is unchanged, and if the
/// digest of the bytes that the server kept matches the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// The upload's id on the server.
    pub upload_id: UploadId,
    /// The stamp of the local file at that time.
    pub source: FileStamp,
}

/// The directory that the interrupted transfer of a tree created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRecord {
    /// Device and inode of a local directory; `None` for a remote one.
    #[serde(alias = "folder")]
    pub directory: Option<(u64, u64)>,
}

/// Returns the directory that the environment variable names, else `in_home` in the user's home directory.
/// Paths that are not absolute are ignored (XDG Base Directory Specification).
pub(in crate::client) fn xdg_directory(variable: &str, in_home: &str) -> Option<PathBuf> {
    let directory = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    directory(variable).or_else(|| directory("HOME").map(|home| home.join(in_home)))
}

/// Returns the path of the user's state directory, even if it cannot be used.
pub(in crate::client) fn state_directory_path() -> Option<PathBuf> {
    xdg_directory("XDG_STATE_HOME", ".local/state").map(|path| path.join("berth"))
}

impl StateDirectory {
    /// Opens the user's state directory and creates it if it is missing.
    pub fn open() -> Self {
        Self::at(state_directory_path())
    }

    /// Opens a state directory at any path and creates it if it is missing.
    pub fn at(path: Option<PathBuf>) -> Self {
        let make =
            |path: &PathBuf| path.is_dir() || fs::DirBuilder::new().recursive(true).mode(0o700).create(path).is_ok();
        Self(path.filter(make))
    }

    /// Returns the path of the shell's history.
    pub fn history(&self) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join("history"))
    }

    /// Returns the path of the file with the servers' keys.
    pub fn known_hosts(&self) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join("known_hosts.json"))
    }

    /// Returns the record of the upload `key`, if there is one.
    pub fn find_upload(&self, key: &str) -> Option<UploadRecord> {
        let bytes = atomic_file::read(&self.upload_path(key)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Stores a record. Returns whether it is on disk.
    pub fn keep_upload(&self, key: &str, record: &UploadRecord) -> bool {
        let Some(path) = self.upload_path(key) else { return false };
        write_whole(&path, record).is_ok()
    }

    /// Removes a record.
    pub fn remove_upload(&self, key: &str) {
        if let Some(path) = self.upload_path(key) {
            let _ = fs::remove_file(path);
        }
    }

    /// Returns the record of the tree `key`, if there is one.
    pub fn find_tree(&self, key: &str) -> Option<TreeRecord> {
        let bytes = atomic_file::read(&self.tree_path(key)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Stores the record of a tree, if possible.
    pub fn keep_tree(&self, key: &str, record: &TreeRecord) {
        if let Some(path) = self.tree_path(key) {
            let _ = write_whole(&path, record);
        }
    }

    /// Removes the record of a tree.
    pub fn remove_tree(&self, key: &str) {
        if let Some(path) = self.tree_path(key) {
            let _ = fs::remove_file(path);
        }
    }

    fn tree_path(&self, key: &str) -> Option<PathBuf> {
        let name = format!("tree-{}.json", name_of(key));
        Some(self.0.as_ref()?.join(name))
    }

    fn upload_path(&self, key: &str) -> Option<PathBuf> {
        let name = format!("upload-{}.json", name_of(key));
        Some(self.0.as_ref()?.join(name))
    }
}

/// Returns the part of a file name that stands for `key`. It is the same in all versions, so that they find the
/// records of each other.
fn name_of(key: &str) -> String {
    Digest::by(DigestAlgorithm::Sha256, key.as_bytes()).hex()
}

/// Replaces a record. The file always holds the old record or the new one, even after a power loss.
pub(super) fn write_whole(path: &Path, record: &impl Serialize) -> io::Result<()> {
    replace(path, &serde_json::to_vec(record)?)
}

/// Replaces a file that only the user can read. The file always holds the old content or the new one, even after a
/// power loss. A file system without permission bits or owners is reported once.
pub(in crate::client) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    atomic_file::replace(path, content, SECRET_FILE)
}

/// Locks a directory, so that two processes do not change a file in it at the same time. On a file system
/// without locks, nothing prevents that.
pub(in crate::client) fn lock_directory(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    atomic_file::lock(&file, directory)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_again_and_removed() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let state = StateDirectory::at(Some(directory.path().join("a/berth")));
        let record = UploadRecord {
            upload_id: UploadId([7; 16]),
            source: FileStamp { device: 1, inode: 2, size: 3, mtime_ns: -4 },
        };
        assert!(state.keep_upload("key", &record));
        assert_eq!(state.find_upload("key"), Some(record));
        assert_eq!(state.find_upload("other"), None);
        state.remove_upload("key");
        assert_eq!(state.find_upload("key"), None);
        assert!(!StateDirectory::at(None).keep_upload(
            "key",
            &UploadRecord {
                upload_id: UploadId([0; 16]),
                source: FileStamp { device: 0, inode: 0, size: 0, mtime_ns: 0 },
            }
        ));
    }
}
