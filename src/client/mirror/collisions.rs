//! Different names that the file system of the target treats as the same name.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use super::{Mirror, relative};
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::names_in;
use crate::client::files::spellings::Spellings;
use crate::client::mirror::plan::{MirrorPlan, PlannedFile};
use crate::client::mirror::tree::MirrorTree;
use crate::client::ui::summary::Summary;

impl Mirror {
    /// Collects the names in the source, and those in a target from which something may be removed, that the target
    /// may treat as the same name.
    pub(super) fn spellings(&self, source: &MirrorTree, target: &MirrorTree) -> Spellings {
        let removable = target.paths().take(if self.rules.with_delete { usize::MAX } else { 0 });
        Spellings::among(
            source.paths().chain(removable.filter(|path| source.get(path).is_none())).map(VirtualPath::as_bytes),
        )
    }

    /// Removes new local files whose name is another spelling of a name in the source, as
    /// [`Mirror::fail_name_collisions`] does. A file that replaces one with another spelling of its name, or of one of
    /// the directories in `respelled`, is marked as replacing.
    pub(super) fn fail_local_name_collisions(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        spellings: &Spellings,
        source: &MirrorTree,
        plan: &mut MirrorPlan,
        respelled: &HashSet<VirtualPath>,
    ) -> Result<(), Failure> {
        if !self.is_from || spellings.is_empty() {
            return Ok(());
        }
        let exists = |file: &&PlannedFile| !file.replaces && fs::symlink_metadata(self.local_path(&file.path)).is_ok();
        let paths: Vec<VirtualPath> = plan.files.iter().filter(exists).map(|file| file.path.clone()).collect();
        let collisions = self.fail_name_collisions(session, summary, spellings, source, plan, &paths)?;
        plan.files.retain(|file| !collisions.colliding.contains(&file.path));
        let is_respelled = |path: &VirtualPath| {
            std::iter::successors(path.parent(), VirtualPath::parent).any(|of| respelled.contains(&of))
        };
        for file in &mut plan.files {
            file.replaces |= collisions.kept.contains(&file.path) || is_respelled(&file.path);
        }
        Ok(())
    }

    /// Checks whether the target lists the existing `paths` under other names. If such a name was to be removed
    /// from the target, it stays. If it is also in the source, this is a failure.
    pub(super) fn fail_name_collisions(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        spellings: &Spellings,
        source: &MirrorTree,
        plan: &mut MirrorPlan,
        paths: &[VirtualPath],
    ) -> Result<Collisions, Failure> {
        let listed = spellings.listed_under_other_name(paths.iter().map(VirtualPath::as_bytes), |directory| {
            let Ok(directory) = VirtualPath::parse(if directory.is_empty() { b"/" } else { directory }) else {
                return Ok(None);
            };
            if self.is_from {
                return Ok(names_in(self.local_path(&directory).as_os_str().as_bytes()));
            }
            session.names(self.remote_path(&directory)?.as_bytes())
        })?;
        let mut collisions = Collisions::default();
        for path in paths {
            let other = listed.get(path.as_bytes()).and_then(|other| VirtualPath::parse(other).ok());
            let Some(other) = other else { continue };
            plan.only_in_target.retain(|extra| !other.contains(extra));
            if source.get(&other).is_some() {
                let side = if self.is_from { "local" } else { "server's" };
                let why = Explanation::new(
                    format!("{} and {} are the same to the {side} file system", relative(path), relative(&other)),
                    "rename one of them",
                );
                summary.count(&mut session.output, Err(Failure::Local(why)))?;
                collisions.colliding.insert(path.clone());
            } else {
                collisions.kept.insert(path.clone());
            }
        }
        Ok(collisions)
    }

    /// Removes from the plan what the local file system treats as the same as something that arrived. The list of
    /// names that it may treat as the same is not complete, but the identity of a file is.
    pub(super) fn keep_transferred(&self, plan: &mut MirrorPlan, directories: &[VirtualPath]) {
        if plan.only_in_target.is_empty() {
            return;
        }
        let id = |path: &VirtualPath| {
            let metadata = fs::symlink_metadata(self.local_path(path)).ok()?;
            // Several names of one file are several entries.
            let is_single = metadata.is_dir() || metadata.nlink() == 1;
            is_single.then(|| (metadata.dev(), metadata.ino()))
        };
        let arrived: HashSet<(u64, u64)> =
            plan.files.iter().map(|file| &file.path).chain(directories).filter_map(id).collect();
        plan.only_in_target.retain(|path| !id(path).is_some_and(|id| arrived.contains(&id)));
    }
}

/// Paths that the target lists under another name.
#[derive(Default)]
pub(super) struct Collisions {
    /// The other name is also in the source.
    pub(super) colliding: HashSet<VirtualPath>,
    /// The other name is not in the source, so its file stays.
    pub(super) kept: HashSet<VirtualPath>,
}
