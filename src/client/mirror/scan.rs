//! Lists both trees of a mirror, without excluded entries.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::Mirror;
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::mirror::tree::{MirrorTree, TreeNode};
use crate::client::remote::listing::not_examined;
use crate::client::transfer::local_tree::{LocalWalk, Symlinks};
use crate::client::ui::summary::Summary;
use crate::wire::message::EntryKind;

/// The result of the scan.
pub(super) struct Scan {
    pub(super) local: MirrorTree,
    pub(super) remote: MirrorTree,
    /// Whether the remote directory exists.
    pub(super) remote_exists: bool,
    /// The permission bits of the source root.
    pub(super) root_mode: Option<u32>,
    /// Local partial downloads.
    pub(super) parts: Vec<PathBuf>,
    /// Whether everything in the source could be listed.
    pub(super) is_source_whole: bool,
}

impl Mirror {
    pub(super) fn scan(&self, session: &mut Session, summary: &mut Summary) -> Result<Scan, Failure> {
        let (local_exists, remote_exists, root_mode) = self.find_directories(session)?;
        let mut parts = Vec::new();
        let local = if local_exists { self.walk_local(session, summary, &mut parts)? } else { MirrorTree::default() };
        let failed_local = summary.failed();
        let remote = if remote_exists { self.walk_remote(session, summary)? } else { MirrorTree::default() };
        let failed_remote = summary.failed() - failed_local;
        let is_source_whole = if self.is_from { failed_remote == 0 } else { failed_local == 0 };
        Ok(Scan { local, remote, remote_exists, root_mode, parts, is_source_whole })
    }

    /// Returns whether the local and the remote root exist, and the permission bits of the source root. The
    /// source must be a directory. The target must be one or be missing.
    fn find_directories(&self, session: &mut Session) -> Result<(bool, bool, Option<u32>), Failure> {
        let local = fs::metadata(&self.local);
        let remote = session.find(&self.remote)?;
        let no_directory = |path: String| {
            Err(Failure::Local(Explanation::new(format!("{path} is not a directory"), "mirror takes two directories")))
        };
        if local.as_ref().is_ok_and(|local| !local.is_dir()) {
            return no_directory(shown(&self.local).to_string());
        }
        if remote.as_ref().is_some_and(|remote| remote.kind != EntryKind::Dir) {
            return no_directory(self.remote.to_string());
        }
        match (self.is_from, &local, &remote) {
            (true, _, None) => {
                let problem = format!("{}: no such remote directory", self.remote);
                let advice = "to send a local one, write: mirror LOCAL REMOTE";
                return Err(Failure::Local(Explanation::new(problem, advice)));
            }
            (false, Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => {
                let problem = format!("{}: no such local directory", shown(&self.local));
                let advice = "to fetch a remote one, write: mirror --from REMOTE LOCAL";
                return Err(Failure::Local(Explanation::new(problem, advice)));
            }
            (false, Err(error), _) => return Err(Failure::local(&self.local, error)),
            _ => {}
        }
        let remote_mode = remote.as_ref().filter(|remote| !remote.unexamined).map(|remote| remote.mode);
        let mode = if self.is_from { remote_mode } else { local.as_ref().ok().map(Metadata::mode) };
        Ok((local.is_ok(), remote.is_some(), mode))
    }

    fn walk_local(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        parts: &mut Vec<PathBuf>,
    ) -> Result<MirrorTree, Failure> {
        let symlinks = if self.is_from { Symlinks::Keep } else { Symlinks::FollowToFiles };
        let mut walk = LocalWalk::new(self.local.clone(), VirtualPath::root(), symlinks);
        let mut tree = MirrorTree::default();
        while let Some(directory) = walk.next_directory() {
            if session.link.keep_alive() {
                return Err(Failure::Interrupted);
            }
            for failure in directory.failures {
                summary.count(&mut session.output, Err(failure))?;
            }
            parts.extend(directory.parts);
            for entry in directory.entries {
                let is_directory = entry.kind == EntryKind::Dir;
                if self.exclusions.has(&entry.path, is_directory) {
                    tree.keep(&entry.path);
                    continue;
                }
                if is_directory {
                    walk.enter(&entry);
                }
                let node = TreeNode::from(&entry);
                tree.add(entry.path, node);
            }
        }
        Ok(tree)
    }

    fn walk_remote(&self, session: &mut Session, summary: &mut Summary) -> Result<MirrorTree, Failure> {
        let mut failures = Vec::new();
        let found = session.walk(&self.remote, |_, failure| failures.push(failure))?;
        failures.into_iter().try_for_each(|failure| summary.count(&mut session.output, Err(failure)))?;
        let (mut tree, mut excluded) = (MirrorTree::default(), HashSet::new());
        for found in found {
            let path = self.below(&found.path)?;
            let is_directory = found.entry.kind == EntryKind::Dir;
            let is_in_excluded = path.parent().is_some_and(|directory| excluded.contains(&directory));
            if is_in_excluded || self.exclusions.has(&path, is_directory) {
                tree.keep(&path);
                excluded.insert(path);
                continue;
            }
            if found.entry.unexamined && !is_directory {
                summary.count(&mut session.output, Err(not_examined(&found.path)))?;
                tree.keep(&path);
                continue;
            }
            tree.add(path, TreeNode::from(&found.entry));
        }
        Ok(tree)
    }
}
