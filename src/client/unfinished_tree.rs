//! A tree whose transfer made a folder under a new name and is not finished. The same command continues
//! in that folder; without a record of it the folder would be an old one, which the tree goes into.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::base::virtual_path::VPath;
use crate::client::connection::session::Session;
use crate::client::connection::state::TreeRecord;
use crate::client::files::local::shown;

/// One transfer of a tree: which command, from where to where.
pub struct UnfinishedTree(String);

impl UnfinishedTree {
    /// `command` is `get` or `put`.
    pub fn new(session: &Session, command: &str, local: &Path, remote: &VPath) -> Self {
        let local = std::path::absolute(local).unwrap_or_else(|_| local.to_path_buf());
        Self(format!("{command} -r\n{}\n{remote}\n{}", session.peer, shown(&local)))
    }

    /// Whether it was begun and not finished. A local `folder` must be the one that was made then.
    pub fn is_begun(&self, session: &Session, folder: Option<&Path>) -> bool {
        session.state.find_tree(&self.0) == Some(record(folder))
    }

    /// Keeps the record. `folder` is there.
    pub fn begin(&self, session: &Session, folder: Option<&Path>) {
        session.state.keep_tree(&self.0, &record(folder));
    }

    /// Forgets the record.
    pub fn finish(&self, session: &Session) {
        session.state.drop_tree(&self.0);
    }
}

fn record(folder: Option<&Path>) -> TreeRecord {
    let metadata = folder.and_then(|folder| fs::metadata(folder).ok());
    TreeRecord { folder: metadata.map(|metadata| (metadata.dev(), metadata.ino())) }
}
