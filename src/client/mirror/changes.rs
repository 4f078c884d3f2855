//! The changes of a mirror other than transfers: creating directories and removing entries.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Mirror, is_top};
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::modes::create_directory;
use crate::client::mirror::plan::MirrorPlan;
use crate::client::mirror::tree::MirrorTree;
use crate::client::transfer::part::names::{destination_of_part, remove_part};
use crate::client::ui::summary::Summary;
use crate::wire::Request;
use crate::wire::message::{EntryKind, ErrorCode, Name};

impl Mirror {
    /// Creates the root even if it exists: a read-only account then gets one failure, and not one for each file.
    pub(super) fn make_root(&self, session: &mut Session, mode: Option<u32>) -> Result<(), Failure> {
        if self.is_from {
            return self.make_local_root(mode).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Failure::file_above_local(&self.local),
                _ => Failure::local(&self.local, &error),
            });
        }
        let permissions = mode.and_then(|mode| self.modes.of_directory(mode));
        session.call(&Request::Mkdir { path: (&self.remote).into(), parents: true, permissions }).map(drop)
    }

    fn make_local_root(&self, mode: Option<u32>) -> io::Result<()> {
        if let Some(above) = self.local.parent() {
            fs::create_dir_all(above)?;
        }
        match create_directory(&self.local, mode.and_then(|mode| self.modes.of_directory(mode))) {
            Err(_) if self.local.is_dir() => Ok(()),
            made => made,
        }
    }

    /// Creates directories. Returns the local ones that could not be created.
    pub(super) fn make_directories(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        source: &MirrorTree,
        directories: &[VirtualPath],
    ) -> Result<Vec<VirtualPath>, Failure> {
        let (mut requests, mut missing) = (Vec::new(), Vec::<VirtualPath>::new());
        for path in directories {
            let mode = source.get(path).and_then(|node| node.mode);
            let permissions = mode.and_then(|mode| self.modes.of_directory(mode));
            if self.is_from {
                if missing.iter().any(|directory| directory.contains(path)) {
                    continue;
                }
                let local = self.local_path(path);
                let made = match create_directory(&local, permissions) {
                    Err(_) if fs::symlink_metadata(&local).is_ok_and(|found| found.is_dir()) => Ok(()),
                    made => made.map_err(|error| Failure::local(&local, &error)),
                };
                if made.is_err() {
                    missing.push(path.clone());
                }
                self.record_result(session, summary, "mkdir", path, made)?;
            } else {
                // `parents` accepts a directory that was created meanwhile.
                requests.push(Request::Mkdir { path: (&self.remote_path(path)?).into(), parents: true, permissions });
            }
        }
        self.send_each(session, summary, "mkdir", directories, &requests)?;
        Ok(missing)
    }

    pub(super) fn remove(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        tree: &MirrorTree,
        paths: &[VirtualPath],
    ) -> Result<(), Failure> {
        let mut requests = Vec::new();
        for path in paths {
            let is_directory = tree.get(path).is_some_and(|node| node.kind == EntryKind::Dir);
            if self.is_from {
                let local = self.local_path(path);
                let removed = if is_directory { fs::remove_dir(&local) } else { fs::remove_file(&local) };
                self.record_result(
                    session,
                    summary,
                    "rm",
                    path,
                    removed.map_err(|error| Failure::local(&local, &error)),
                )?;
            } else {
                let path = Name::from(&self.remote_path(path)?);
                requests.push(if is_directory { Request::Rmdir { path } } else { Request::Rm { path } });
            }
        }
        self.send_each(session, summary, "rm", paths, &requests)
    }

    fn send_each(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        action: &str,
        paths: &[VirtualPath],
        requests: &[Request],
    ) -> Result<(), Failure> {
        let mut results = Vec::with_capacity(requests.len());
        session.call_each(requests, |_, at, result| results.push((at, result.map(drop))))?;
        results
            .into_iter()
            .try_for_each(|(at, result)| self.record_result(session, summary, action, &paths[at], result))
    }

    pub(super) fn record_result(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        action: &str,
        path: &VirtualPath,
        result: Result<(), Failure>,
    ) -> Result<(), Failure> {
        match result {
            // Another program removed it first.
            Err(failure) if action == "rm" && failure.is_refusal(ErrorCode::NotFound) => return Ok(()),
            // The target directory cannot be changed, so every other change would fail too.
            Err(failure) if self.direction().is_denied_at_destination(&failure) && is_top(path) => {
                return Err(summary.stop(failure));
            }
            Err(failure) => return summary.count(&mut session.output, Err(failure)),
            Ok(()) if action == "rm" => summary.count_removed(),
            Ok(()) => {}
        }
        self.report_action(session, action, path, None)
    }

    /// Removes parts of an interrupted mirror that this one will not resume.
    pub(super) fn remove_useless_parts(&self, plan: &MirrorPlan, parts: &[PathBuf]) {
        if !(self.is_from && self.rules.with_delete) {
            return;
        }
        let wanted: HashSet<PathBuf> = plan.files.iter().map(|file| self.local_path(&file.path)).collect();
        let is_useless = |part: &&PathBuf| destination_of_part(part).is_some_and(|of| !wanted.contains(&of));
        parts.iter().filter(is_useless).for_each(|part| remove_part(part));
    }
}
