//! The transfers of a mirror.

use super::{Mirror, is_top, relative};
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::modes::ModePolicy;
use crate::client::mirror::plan::{MirrorPlan, PlannedFile};
use crate::client::mirror::tree::{MirrorTree, TreeNode};
use crate::client::transfer::engine::transfer_all;
use crate::client::transfer::job::{Direction, TransferJob, Transferred};
use crate::client::ui::progress::Progress;
use crate::client::ui::summary::Summary;
use crate::wire::message::ErrorCode;
use crate::wire::{Reply, Request};

impl Mirror {
    /// Transfers the files of the plan. Returns those whose destination was created meanwhile.
    pub(super) fn transfer_files(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        plan: &MirrorPlan,
    ) -> Result<Vec<VirtualPath>, Failure> {
        let mut occupied = Vec::new();
        let mut progress = Progress::for_files(session.progress, plan.files.len(), plan.bytes());
        let jobs = plan.files.iter().map(|file| self.job(file)).collect::<Result<_, _>>()?;
        transfer_all(session, self.direction(), jobs, &mut progress, |session, (job, result)| match result {
            Err(failure) if !self.is_from && failure.is_refusal(ErrorCode::Exists) => {
                occupied.push(self.below(&job.remote)?);
                Ok(())
            }
            result => self.record_transfer(session, summary, &job, result),
        })?;
        Ok(occupied)
    }

    /// Compares files whose destination was created since the scan, and transfers those that differ. The server may
    /// have stored such files for an interrupted mirror.
    pub(super) fn transfer_occupied(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        source: &MirrorTree,
        occupied: &[VirtualPath],
    ) -> Result<(), Failure> {
        let (mut wanted, mut existing) = (MirrorTree::default(), MirrorTree::default());
        let mut requests = Vec::with_capacity(occupied.len());
        for path in occupied {
            if let Some(node) = source.get(path) {
                wanted.add(path.clone(), *node);
            }
            requests.push(Request::Stat { path: (&self.remote_path(path)?).into() });
        }
        session.call_each(&requests, |_, at, result| {
            // If the entry cannot be examined, the file is sent and refused again.
            if let Ok(Reply::Stat { entry, .. }) = result {
                existing.add(occupied[at].clone(), TreeNode::from(&entry));
            }
        })?;
        let plan = self.plan(session, summary, &wanted, &existing)?;
        self.report_kept(session, summary, &plan, &wanted, &existing)?;
        summary.count_unlisted_identical(plan.identical);
        for path in self.transfer_files(session, summary, &plan)? {
            let why = Explanation::new(
                format!("another program is changing {} at the target", relative(&path)),
                "run the command again",
            );
            summary.count(&mut session.output, Err(Failure::Local(why)))?;
        }
        Ok(())
    }

    pub(super) fn direction(&self) -> Direction {
        if self.is_from { Direction::Download } else { Direction::Upload }
    }

    fn job(&self, file: &PlannedFile) -> Result<TransferJob, Failure> {
        Ok(TransferJob {
            local: self.local_path(&file.path),
            remote: self.remote_path(&file.path)?,
            size: file.size,
            replace: file.replaces,
            modes: if self.is_from && file.mode.is_none() { ModePolicy::Ignore } else { self.modes },
            source_mode: file.mode,
        })
    }

    fn record_transfer(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        job: &TransferJob,
        result: Result<Transferred, Failure>,
    ) -> Result<(), Failure> {
        if let Err(failure) = &result
            && self.direction().is_denied_at_destination(failure)
            && !job.replace
            && is_top(&self.below(&job.remote)?)
        {
            return Err(summary.stop(failure.clone()));
        }
        let result = result.and_then(|transferred| {
            let Transferred { size, digest, resumed_from } = transferred;
            summary.count_transferred(transferred.moved_bytes(), size);
            self.report_action(
                session,
                self.transfer_action(),
                &self.below(&job.remote)?,
                Some((size, Some((digest, resumed_from)))),
            )
        });
        summary.count(&mut session.output, result)
    }
}
