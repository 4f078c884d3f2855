//! The end of an upload: synced as the policy says, and made to appear by one rename.

use super::append_base::Replaces;
use super::plan::{Stored, UploadPlan};
use crate::config::SyncPolicy;
use crate::session::error::SessionError;
use crate::store::home::{Home, reopen_folder};
use crate::store::staging::Staged;
use crate::store::syncer::{Disk, Flush, SyncError, Synced, Ticket};
use crate::store::{Store, StoreError};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

/// An upload whose bytes are all there, and verified if there was something to verify them by.
pub struct Commit {
    /// What was announced.
    pub plan: UploadPlan,
    /// When the upload began.
    pub started: Instant,
    /// First byte that came in this session.
    pub offset: u64,
    /// What will have been stored.
    pub stored: Stored,
    pub(super) replaces: Replaces,
    pub(super) step: CommitStep,
}

pub(super) enum CommitStep {
    /// To be synced, or renamed.
    Verified(Staged),
    /// Content on its way to the disk.
    SyncingData(Staged, Ticket),
    /// Content on disk.
    Synced(Staged),
    /// Renamed; the folder is to be synced, and then those above it.
    Renamed(File, Disk),
    /// The folder is on its way to the disk.
    SyncingFolder(Arc<File>, Ticket),
    /// The folder is on disk.
    FolderSynced(Arc<File>),
    /// Done.
    Done,
}

impl Commit {
    /// Goes on as far as possible without waiting; what was stored once it is.
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
                        // Gone on with, it would take the place of what came meanwhile.
                        staged.forget();
                        return Err(SessionError::Changed);
                    }
                    let disk = staged.disk()?;
                    let folder = self.rename(store, staged)?;
                    if sync == SyncPolicy::Full {
                        CommitStep::Renamed(reopen_folder(folder)?.into(), disk)
                    } else {
                        CommitStep::Done
                    }
                }
                CommitStep::Renamed(folder, disk) => {
                    let folder = Arc::new(folder);
                    let ticket = store.syncer.sync(owner, &disk, Arc::clone(&folder), Flush::Folder);
                    CommitStep::SyncingFolder(folder, ticket)
                }
                // The name is on disk only if the folders on the way to it are; they may be new.
                CommitStep::FolderSynced(folder) => match home.folder_above(&folder)? {
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

    /// Whether the upload has appeared.
    pub fn has_name(&self) -> bool {
        !matches!(self.step, CommitStep::Verified(_) | CommitStep::SyncingData(..) | CommitStep::Synced(_))
    }

    fn rename(&self, store: &Store, staged: Staged) -> Result<File, StoreError> {
        let Self { plan, .. } = self;
        staged.commit(&plan.path, plan.replace, plan.wanted_mode, |replaced| plan.accepts(store, replaced))
    }

    /// Takes the answer to a sync.
    pub fn synced(&mut self, synced: Synced) -> Result<(), SessionError> {
        self.step = match std::mem::replace(&mut self.step, CommitStep::Done) {
            CommitStep::SyncingData(staged, ticket) if ticket == synced.ticket => {
                synced.result.map_err(unwritten)?;
                CommitStep::Synced(staged)
            }
            CommitStep::SyncingFolder(folder, ticket) if ticket == synced.ticket => {
                synced.result.map_err(StoreError::from)?;
                CommitStep::FolderSynced(folder)
            }
            other => other,
        };
        Ok(())
    }
}

/// What a failed sync of an upload's bytes means. Those before it are in memory at best, from where
/// the system writes them no more, so that another try could not be told from a good one.
pub(super) fn unwritten(error: SyncError) -> StoreError {
    if let SyncError::Failed(error) = &error {
        log::error!("an upload could not be brought to disk and is dropped: {error}");
    }
    match error.into() {
        known @ (StoreError::NoAnswer | StoreError::DiskFull) => known,
        _ => StoreError::Unwritten,
    }
}
