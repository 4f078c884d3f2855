//! The end of an upload: the file is synced as the policy demands, then gets its name.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::append_base::{Content, Replaces};
use super::plan::{Stored, UploadPlan};
use crate::base::disk_sync::SyncKind;
use crate::config::SyncPolicy;
use crate::session::error::SessionError;
use crate::session::lent::Lent;
use crate::session::sliced::Site;
use crate::store::StoreError;
use crate::store::etag::EtagKey;
use crate::store::home::{Home, SyncedDirectory};
use crate::store::meta::Meta;
use crate::store::staging::{FinalName, Staged};
use crate::store::workers::operations::Operation;

/// An upload with all its bytes, verified if the client sent a digest.
pub struct Commit {
    /// The client's announcement.
    pub plan: UploadPlan,
    /// When it started.
    pub started: Instant,
    /// The offset of the first byte that was received in this session.
    pub offset: u64,
    /// The result of the upload.
    pub stored: Stored,
    pub(super) replaces: Replaces,
    pub(super) step: CommitStep,
}

pub(super) enum CommitStep {
    /// All bytes have arrived. An operation may still be writing the last of them.
    Received(Lent<Content>),
    /// The content is being synced, if the policy demands it.
    Syncing(Lent<Content>),
    /// The file is getting its name. Then the directory is synced, if the policy demands it.
    Naming(Operation<Result<(), StoreError>>),
    Done,
}

impl Commit {
    /// Continues as far as possible without waiting. Returns the result once it is complete.
    pub(in crate::session) fn advance(
        &mut self,
        site: Site<'_>,
        etags: EtagKey,
        sync: SyncPolicy,
    ) -> Result<Option<Stored>, SessionError> {
        loop {
            self.step = match std::mem::replace(&mut self.step, CommitStep::Done) {
                CommitStep::Received(mut content) => {
                    if content.take_result()?.is_none() {
                        self.step = CommitStep::Received(content);
                        return Ok(None);
                    }
                    if sync == SyncPolicy::None {
                        self.begin_naming(site, content, etags, sync)?
                    } else {
                        let mtime_ns = self.plan.mtime_ns;
                        content.lend(site, async move |content| content.staged.sync(mtime_ns).await.map(|()| 0));
                        CommitStep::Syncing(content)
                    }
                }
                CommitStep::Syncing(mut content) => {
                    if content.take_result()?.is_none() {
                        self.step = CommitStep::Syncing(content);
                        return Ok(None);
                    }
                    self.begin_naming(site, content, etags, sync)?
                }
                CommitStep::Naming(mut naming) => match naming.take() {
                    Poll::Pending => {
                        self.step = CommitStep::Naming(naming);
                        return Ok(None);
                    }
                    Poll::Ready(named) => {
                        named.ok_or(SessionError::Defect)??;
                        CommitStep::Done
                    }
                },
                CommitStep::Done => return Ok(Some(self.stored)),
            };
        }
    }

    /// Returns whether a call to the file system is running.
    pub fn awaits_storage(&self) -> bool {
        match &self.step {
            CommitStep::Received(content) | CommitStep::Syncing(content) => content.is_away(),
            CommitStep::Naming(naming) => naming.is_running(),
            CommitStep::Done => false,
        }
    }

    /// Returns whether the upload can be resumed if it is interrupted now, as far as known.
    pub fn is_resumable(&self) -> bool {
        match &self.step {
            CommitStep::Received(content) | CommitStep::Syncing(content) => {
                content.get().is_some_and(|content| content.staged.is_resumable())
            }
            CommitStep::Naming(_) | CommitStep::Done => false,
        }
    }

    /// Returns whether the file is getting its name, or has it already.
    pub fn has_name(&self) -> bool {
        matches!(self.step, CommitStep::Naming(_) | CommitStep::Done)
    }

    fn begin_naming(
        &self,
        site: Site<'_>,
        content: Lent<Content>,
        etags: EtagKey,
        sync: SyncPolicy,
    ) -> Result<CommitStep, SessionError> {
        let staged = content.into_inner().ok_or(SessionError::Defect)?.staged;
        let mtime_ns = self.plan.mtime_ns.filter(|_| sync == SyncPolicy::None);
        let naming =
            give_name(Rc::clone(site.home), staged, mtime_ns, self.final_name(etags), sync == SyncPolicy::Full);
        Ok(CommitStep::Naming(site.home.file_system().operations().begin(site.caller, naming)))
    }

    fn final_name(&self, etags: EtagKey) -> FinalName {
        let (plan, replaces) = (self.plan.clone(), self.replaces);
        FinalName {
            path: plan.path.clone(),
            replace: plan.replace,
            wanted_mode: plan.wanted_mode,
            // A resumed upload must not replace a file that was stored meanwhile.
            accepts: Box::new(move |there: Option<&Meta>| plan.accepts(&etags, there) && replaces.accepts(there)),
        }
    }
}

/// Sets the modification time, if one is given, and gives the file its name. If `syncs`, then syncs the directory and
/// its parents: they may be new, and the name is on disk only if they are.
async fn give_name(
    home: Rc<Home>,
    staged: Staged,
    mtime_ns: Option<i64>,
    name: FinalName,
    syncs: bool,
) -> Result<(), StoreError> {
    staged.set_mtime(mtime_ns).await?;
    let directory = staged.commit(name).await?;
    if !syncs {
        return Ok(());
    }
    let mut next = home.run(move |_| Ok(Some(SyncedDirectory::open(directory)?))).await?;
    while let Some(directory) = next {
        let file = Arc::clone(&directory.file);
        home.file_system().on(directory.device).sync(file, SyncKind::Directory).await?;
        next = home.run(move |home| home.directory_above(&directory)).await?;
    }
    Ok(())
}
