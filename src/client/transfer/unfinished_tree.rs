//! Records of interrupted tree transfers. `put -r a b` creates `b` and copies the content of `a` into it. If it is
//! interrupted and runs again, `b` exists, and without a record the tree would go to `b/a`. The record tells that this
//! transfer created `b`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::connection::state::TreeRecord;
use crate::client::files::local::shown;

/// One transfer of a tree: the command, the source and the destination.
pub struct UnfinishedTree(String);

impl UnfinishedTree {
    /// Identifies a transfer. `command` is `get` or `put`.
    pub fn new(session: &Session, command: &str, local: &Path, remote: &VirtualPath) -> Self {
        let local = std::path::absolute(local).unwrap_or_else(|_| local.to_path_buf());
        Self(format!("{command} -r\n{}\n{remote}\n{}", session.peer, shown(&local)))
    }

    /// Returns whether the transfer has begun and is not finished. For a download, `directory` must be the local
    /// directory that the transfer created.
    pub fn is_begun(&self, session: &Session, directory: Option<&Path>) -> bool {
        session.state.find_tree(&self.0) == Some(record(directory))
    }

    /// Stores the record. `directory` exists.
    pub fn begin(&self, session: &Session, directory: Option<&Path>) {
        session.state.keep_tree(&self.0, &record(directory));
    }

    /// Removes the record.
    pub fn finish(&self, session: &Session) {
        session.state.remove_tree(&self.0);
    }
}

fn record(directory: Option<&Path>) -> TreeRecord {
    let metadata = directory.and_then(|directory| fs::metadata(directory).ok());
    TreeRecord { directory: metadata.map(|metadata| (metadata.dev(), metadata.ino())) }
}
