//! What the client remembers between runs, under `$XDG_STATE_HOME/berth`: the shell's history,
//! the servers' keys, and which upload belongs to which file. Losing any of it costs time, never
//! data, so a folder that cannot be written is not an error.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::atomic_file::{self, SECRET_FILE};
use crate::base::digest::Digest;
use crate::base::upload_id::UploadId;

/// The folder; `None` when there is no place for one.
#[derive(Clone, Default)]
pub struct StateFolder(Option<PathBuf>);

/// Which local file an interrupted upload is of. Only if all of it still fits is the upload
/// resumed; even then the server proves by digest what it kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// The upload's name at the server.
    pub upload_id: UploadId,
    /// The local file.
    pub source: SourceMark,
}

/// Which folder the interrupted transfer of a tree made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRecord {
    /// Device and inode; `None` if it is at the server.
    pub folder: Option<(u64, u64)>,
}

/// Tells one state of a local file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// The folder that the variable names, or this one in the user's home. Paths that are not absolute are
/// ignored (XDG Base Directory Specification).
pub(in crate::client) fn folder_of_user(variable: &str, in_home: &str) -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder(variable).or_else(|| folder("HOME").map(|home| home.join(in_home)))
}

/// Where the user's folder is, whether it can be used or not.
pub(in crate::client) fn state_folder_of_user() -> Option<PathBuf> {
    folder_of_user("XDG_STATE_HOME", ".local/state").map(|path| path.join("berth"))
}

impl StateFolder {
    /// The user's folder, made if it is missing.
    pub fn of_user() -> Self {
        Self::at(state_folder_of_user())
    }

    /// A folder anywhere.
    pub fn at(path: Option<PathBuf>) -> Self {
        let make =
            |path: &PathBuf| path.is_dir() || fs::DirBuilder::new().recursive(true).mode(0o700).create(path).is_ok();
        Self(path.filter(make))
    }

    /// Where the shell's history is kept.
    pub fn history(&self) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join("history"))
    }

    /// Where the servers' keys are kept.
    pub fn known_hosts(&self) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join("known_hosts.json"))
    }

    /// The record of the upload `key`, if there is one.
    pub fn find_upload(&self, key: &str) -> Option<UploadRecord> {
        let bytes = atomic_file::read(&self.upload_path(key)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps a record; whether it is on disk.
    pub fn keep_upload(&self, key: &str, record: &UploadRecord) -> bool {
        let Some(path) = self.upload_path(key) else { return false };
        write_whole(&path, record).is_ok()
    }

    /// Forgets a record.
    pub fn drop_upload(&self, key: &str) {
        if let Some(path) = self.upload_path(key) {
            let _ = fs::remove_file(path);
        }
    }

    /// The record of the tree `key`, if there is one.
    pub fn find_tree(&self, key: &str) -> Option<TreeRecord> {
        let bytes = atomic_file::read(&self.tree_path(key)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps the record of a tree, if that is possible.
    pub fn keep_tree(&self, key: &str, record: &TreeRecord) {
        if let Some(path) = self.tree_path(key) {
            let _ = write_whole(&path, record);
        }
    }

    /// Forgets the record of a tree.
    pub fn drop_tree(&self, key: &str) {
        if let Some(path) = self.tree_path(key) {
            let _ = fs::remove_file(path);
        }
    }

    fn tree_path(&self, key: &str) -> Option<PathBuf> {
        let name = format!("tree-{}.json", Digest::of(key.as_bytes()));
        Some(self.0.as_ref()?.join(name))
    }

    fn upload_path(&self, key: &str) -> Option<PathBuf> {
        let name = format!("upload-{}.json", Digest::of(key.as_bytes()));
        Some(self.0.as_ref()?.join(name))
    }
}

/// Replaces a record. The file always holds the old record or the new one, also after a power loss.
pub(super) fn write_whole(path: &Path, record: &impl Serialize) -> io::Result<()> {
    replace(path, &serde_json::to_vec(record)?)
}

/// Replaces a file in the same way. What the file system refuses is reported once.
pub(in crate::client) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    atomic_file::replace(path, content, SECRET_FILE)
}

/// Locks a folder, so that two processes do not change a file in it at the same time. On a file system
/// without locks nothing prevents that.
pub(in crate::client) fn lock_folder(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    atomic_file::lock(&file, folder)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_again_and_forgotten() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let state = StateFolder::at(Some(folder.path().join("a/berth")));
        let record = UploadRecord {
            upload_id: UploadId([7; 16]),
            source: SourceMark { device: 1, inode: 2, size: 3, mtime_ns: -4 },
        };
        assert!(state.keep_upload("key", &record));
        assert_eq!(state.find_upload("key"), Some(record));
        assert_eq!(state.find_upload("other"), None);
        state.drop_upload("key");
        assert_eq!(state.find_upload("key"), None);
        assert!(!StateFolder::at(None).keep_upload(
            "key",
            &UploadRecord {
                upload_id: UploadId([0; 16]),
                source: SourceMark { device: 0, inode: 0, size: 0, mtime_ns: 0 },
            }
        ));
    }
}
