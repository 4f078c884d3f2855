//! What a mirror reports: each action that was done or is planned, and what stays as it is.

use std::collections::HashSet;

use serde_json::json;

use super::{Mirror, relative};
use crate::base::digest::Digest;
use crate::base::explanation::Explanation;
use crate::base::text::Size;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::mirror::plan::MirrorPlan;
use crate::client::mirror::tree::MirrorTree;
use crate::client::ui::summary::Summary;
use crate::wire::message::{EntryKind, Name};

impl Mirror {
    pub(super) fn transfer_action(&self) -> &'static str {
        self.direction().command()
    }

    /// Reports one action that was done or is planned. For a file it includes the size, and the digest after
    /// the transfer.
    pub(super) fn report_action(
        &self,
        session: &mut Session,
        action: &str,
        path: &VirtualPath,
        file: Option<(u64, Option<(Digest, u64)>)>,
    ) -> Result<(), Failure> {
        if self.is_dry_run {
            let size = file.map(|(size, _)| format!("  {}", Size(size))).unwrap_or_default();
            session.output.line(format_args!("{action:<5} {}{size}", relative(path)))?;
        }
        let transfer = file.and_then(|(_, transfer)| transfer);
        session.output.json(&json!({
            "command": "mirror", "ok": true, "action": action, "path": Name(path.as_bytes()[1..].to_vec()),
            "size": file.map(|(size, _)| size), "digest": transfer.map(|(digest, _)| digest),
            "resumed_from": transfer.map(|(_, from)| from), "status": if self.is_dry_run { "planned" } else { "done" },
        }))
    }

    pub(super) fn report_kept(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        plan: &MirrorPlan,
        source: &MirrorTree,
        target: &MirrorTree,
    ) -> Result<(), Failure> {
        for path in &plan.not_copied {
            session.output.note(format_args!("{} is not a regular file: skipped", relative(path)));
        }
        for path in &plan.blocked {
            let target_side = if self.is_from { "local" } else { "remote" };
            let (local, remote) = if self.is_from { (target, source) } else { (source, target) };
            let why = Explanation::new(
                format!(
                    "{}: {} locally, {} on the server",
                    relative(path),
                    kind_at(local, path),
                    kind_at(remote, path)
                ),
                format!("--delete replaces the {target_side} one"),
            );
            summary.count(&mut session.output, Err(Failure::Local(why)))?;
        }
        Ok(())
    }

    pub(super) fn report_plan(
        &self,
        session: &mut Session,
        mut summary: Summary,
        plan: &MirrorPlan,
    ) -> Result<(), Failure> {
        for path in &plan.in_the_way {
            self.record_result(session, &mut summary, "rm", path, Ok(()))?;
        }
        for path in &plan.directories {
            self.record_result(session, &mut summary, "mkdir", path, Ok(()))?;
        }
        for file in &plan.files {
            summary.count_transferred(file.size, file.size);
            let reported = self.report_action(session, self.transfer_action(), &file.path, Some((file.size, None)));
            summary.count(&mut session.output, reported)?;
        }
        let moved: HashSet<&VirtualPath> = plan.files.iter().map(|file| &file.path).collect();
        for change in plan.modes.iter().filter(|change| !moved.contains(&change.path)) {
            summary.count_mode_change();
            self.report_action(session, "chmod", &change.path, None)?;
        }
        for path in &plan.only_in_target {
            self.record_result(session, &mut summary, "rm", path, Ok(()))?;
        }
        summary.count_unlisted_identical(plan.identical);
        summary.summarize_plan(&mut session.output)?;
        summary.finish()
    }
}

/// Names the kind of the entry at `path`.
fn kind_at(tree: &MirrorTree, path: &VirtualPath) -> &'static str {
    match tree.get(path).map(|node| node.kind) {
        Some(EntryKind::File) => "a file",
        Some(EntryKind::Dir) => "a directory",
        Some(EntryKind::Link) => "a symlink",
        _ => "not a regular file",
    }
}
