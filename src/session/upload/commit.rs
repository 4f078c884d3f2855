//! The end of an upload: the file is synced as the policy demands, then renamed.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use super::append_base::Replaces;
use super::plan::{Stored, UploadPlan};
use crate::config::SyncPolicy;
use crate::session::error::SessionError;
use crate::store::home::{Home, reopen_directory};
use crate::store::staging::Staged;
use crate::store::syncer::{Flush, Synced};
use crate::store::workers::{Disk, SyncError, Ticket};
use crate::store::{Store, StoreError};

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
    /// The bytes are complete. The content is to be synced, unless the policy is `none`.
    Verified(Staged),
    /// The content is being synced.
    SyncingData(Staged, Ticket),
    /// The content is on disk, if the policy demands it. The file is to be renamed.
    Synced(Staged),
    /// The file has its name. The directory is to be synced, then its parents.
    Renamed(File, Disk),
    /// The directory is being synced.
    SyncingDirectory(Arc<File>, Ticket),
    /// The directory is on disk. Its parent is next.
    DirectorySynced(Arc<File>),
    Done,
}

impl Commit {
    /// Continues as far as possible without waiting. Returns the result once it is complete.
    pub fn advance(
        &mut self,
        home: &Home,
        store: &mut Store,
        sync: SyncPolicy,
        owner: u64,
    ) -> Result<Option<Stored>, SessionError> {
        loop {
            self.step = match std::mem::replace(&mut self.step, CommitStep::Done) {
                CommitStep::Verified(staged) => {
                    if let Some(mtime_ns) = self.plan.mtime_ns {
                        staged.set_mtime(mtime_ns)?;
                    }
                    if sync == SyncPolicy::None {
                        CommitStep::Synced(staged)
                    } else {
                        let ticket = staged.sync(&mut store.syncer, owner)?;
                        CommitStep::SyncingData(staged, ticket)
                    }
                }
                CommitStep::Synced(mut staged) => {
                    if let Replaces::Only(_) = self.replaces
                        && !self.replaces.accepts(home.entry(&self.plan.path)?.as_ref())
                    {
                        // A resumed upload would replace the file that was stored meanwhile.
                        staged.forget();
                        return Err(SessionError::Changed);
                    }
                    let disk = staged.disk()?;
                    let directory = self.rename(store, staged)?;
                    if sync == SyncPolicy::Full {
                        CommitStep::Renamed(reopen_directory(directory)?.into(), disk)
                    } else {
                        CommitStep::Done
                    }
                }
                CommitStep::Renamed(directory, disk) => {
                    let directory = Arc::new(directory);
                    let ticket = store.syncer.sync(owner, &disk, Arc::clone(&directory), Flush::Directory);
                    CommitStep::SyncingDirectory(directory, ticket)
                }
                // The name is on disk only if its parent directories are; they may be new.
                CommitStep::DirectorySynced(directory) => match home.directory_above(&directory)? {
                    Some((above, disk)) => CommitStep::Renamed(above.into(), disk),
                    None => CommitStep::Done,
                },
                CommitStep::Done => return Ok(Some(self.stored)),
                waiting => {
                    self.step = waiting;
                    return Ok(None);
                }
            }
        }
    }

    /// Returns whether the file has its name.
    pub fn has_name(&self) -> bool {
        !matches!(self.step, CommitStep::Verified(_) | CommitStep::SyncingData(..) | CommitStep::Synced(_))
    }

    fn rename(&self, store: &Store, staged: Staged) -> Result<File, StoreError> {
        let Self { plan, .. } = self;
        staged.commit(&plan.path, plan.replace, plan.wanted_mode, |replaced| plan.accepts(store, replaced))
    }

    /// Takes the result of a sync.
    pub fn synced(&mut self, synced: Synced) -> Result<(), SessionError> {
        self.step = match std::mem::replace(&mut self.step, CommitStep::Done) {
            CommitStep::SyncingData(staged, ticket) if ticket == synced.ticket => {
                synced.result.map_err(unwritten)?;
                CommitStep::Synced(staged)
            }
            CommitStep::SyncingDirectory(directory, ticket) if ticket == synced.ticket => {
                synced.result.map_err(StoreError::from)?;
                CommitStep::DirectorySynced(directory)
            }
            other => other,
        };
        Ok(())
    }
}

/// Maps a failed sync of an upload's bytes. The upload cannot be kept: the kernel does not write the
/// unsynced bytes again, and a later sync would report success.
pub(super) fn unwritten(error: SyncError) -> StoreError {
    if let SyncError::Failed(error) = &error {
        log::error!("an upload could not be brought to disk and is dropped: {error}");
    }
    match error.into() {
        known @ (StoreError::NoAnswer | StoreError::DiskFull) => known,
        _ => StoreError::Unwritten,
    }
}
