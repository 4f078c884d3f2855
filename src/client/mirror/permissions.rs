//! Permission bits of entries that exist in both trees.

use std::collections::HashSet;

use super::Mirror;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, unexpected};
use crate::client::files::modes;
use crate::client::mirror::plan::{MirrorPlan, ModeChange};
use crate::client::ui::summary::Summary;
use crate::wire::message::ErrorCode;
use crate::wire::{Reply, Request};

impl Mirror {
    /// Gives entries that exist in both trees the permission bits of the source. If the target cannot store
    /// them, one message says so.
    pub(super) fn change_modes(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        plan: &MirrorPlan,
    ) -> Result<(), Failure> {
        let moved: HashSet<&VirtualPath> = plan.files.iter().map(|file| &file.path).collect();
        let changes: Vec<&ModeChange> = plan.modes.iter().filter(|change| !moved.contains(&change.path)).collect();
        if changes.is_empty() {
            return Ok(());
        }
        if !self.is_from && !session.link.keeps_permissions() {
            session.output.note(format_args!(
                "the server is an older version that keeps no permissions, so those of {} stay as they are; update it, or use --no-perms",
                entries(changes.len())
            ));
            return Ok(());
        }
        let mut refused = Vec::new();
        for (change, result) in changes.iter().zip(self.mode_results(session, &changes)?) {
            match result {
                Ok(mode) if mode == change.now => {}
                Ok(_) => {
                    summary.count_mode_change();
                    self.report_action(session, "chmod", &change.path, None)?;
                }
                // Another program has removed the entry.
                Err(failure) if failure.is_refusal(ErrorCode::NotFound) => {}
                Err(failure) if failure.ends_session() => return Err(failure),
                Err(failure) => refused.push(failure),
            }
        }
        if let Some(first) = refused.first() {
            session.output.note(format_args!(
                "the permissions of {} stay as they are: {first}; --no-perms skips them",
                entries(refused.len())
            ));
        }
        Ok(())
    }

    /// Requests each of `changes` and returns the permission bits that each entry has afterwards.
    fn mode_results(
        &self,
        session: &mut Session,
        changes: &[&ModeChange],
    ) -> Result<Vec<Result<u32, Failure>>, Failure> {
        if self.is_from {
            let change = |change: &&ModeChange| {
                let local = self.local_path(&change.path);
                let changed = modes::change(&local, change.bits, change.is_directory);
                changed.map_err(|error| Failure::local(&local, &error))
            };
            return Ok(changes.iter().map(change).collect());
        }
        let request = |change: &&ModeChange| {
            Ok(Request::SetPermissions { path: (&self.remote_path(&change.path)?).into(), permissions: change.bits })
        };
        let requests = changes.iter().map(request).collect::<Result<Vec<_>, Failure>>()?;
        let mut results = Vec::with_capacity(requests.len());
        session.call_each(&requests, |_, _, result| {
            results.push(result.and_then(|reply| match reply {
                Reply::Permissions { permissions } => Ok(permissions),
                _ => Err(unexpected()),
            }));
        })?;
        Ok(results)
    }
}

pub(super) fn entries(count: usize) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}
