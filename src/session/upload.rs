//! An upload: bytes that are hashed and staged as they come, then verified, synced as the
//! policy says, and made to appear by one rename.

use super::refusal::Refusal;
use super::task::hash_range;
use crate::config::SyncPolicy;
use crate::digest::Digest;
use crate::lane::Budget;
use crate::limits::{RESUME_BYTES_MIN, SYNC_STEP_BYTES, UNSYNCED_BYTES_MAX};
use crate::store::home::{Home, Kind, Meta, reopen_folder};
use crate::store::staging::{Record, Staged};
use crate::store::syncer::{Flush, Synced, Ticket, Unsynced};
use crate::store::{Store, StoreError};
use crate::upload_id::UploadId;
use crate::vpath::VPath;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What a client announces.
#[derive(Debug, Clone)]
pub struct UploadPlan {
    /// Where the file goes.
    pub path: VPath,
    /// Its bytes, if known: exactly so many must come.
    pub size: Option<u64>,
    /// Its modification time, nanoseconds since the epoch; else that of the upload.
    pub mtime_ns: Option<i64>,
    /// Whether a file that is there may be replaced.
    pub replace: bool,
    /// Only the file with this etag may be replaced.
    pub if_etag: Option<String>,
    /// The name under which the upload can be resumed; without one nothing is kept.
    pub id: Option<UploadId>,
    /// Go on with what is kept under `id`.
    pub resume: bool,
}

/// A finished upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// Computed here, equal to the one announced.
    pub digest: Digest,
}

/// An upload whose bytes are coming.
pub struct Upload {
    /// What was announced.
    pub plan: UploadPlan,
    /// When.
    pub started: Instant,
    staged: Staged,
    hash: Sha256,
    /// Bytes in `hash`; fewer than are staged while a resumed prefix is read again.
    hashed: u64,
    offset: u64,
    sync: Option<RunningSync>,
}

/// Flushing as the bytes come, so that the last flush is short.
struct RunningSync {
    unsynced: Unsynced,
    /// The job under way, the unsynced bytes it covers and the length it reaches to.
    job: Option<(Ticket, u64, u64)>,
}

impl Upload {
    /// Checks the target, promises the room and opens the staged file.
    pub fn begin(
        home: &Rc<Home>,
        store: &Store,
        sync: SyncPolicy,
        plan: UploadPlan,
        now: Instant,
    ) -> Result<Self, StoreError> {
        check_target(home, store, &plan)?;
        let kept = match plan.id {
            Some(id) if plan.resume => Staged::resume(Rc::clone(home), id, &plan.record())?,
            _ => None,
        };
        let staged = match kept {
            Some(staged) => staged,
            None => Staged::create(Rc::clone(home), plan.id, plan.size)?,
        };
        let sync = (sync != SyncPolicy::None).then(|| RunningSync { unsynced: store.syncer.unsynced(), job: None });
        Ok(Self { offset: staged.length(), plan, started: now, staged, hash: Sha256::new(), hashed: 0, sync })
    }

    /// Reads a resumed prefix again; its length and digest once that is done.
    pub fn prepare(&mut self, budget: &mut Budget) -> Result<Option<(u64, Digest)>, StoreError> {
        let done = hash_range(self.staged.file(), &mut self.hash, &mut self.hashed, self.offset, budget)?;
        Ok(done.then(|| (self.offset, Digest::finish(self.hash.clone()))))
    }

    /// Takes bytes; how many. 0: the disk is behind, and the answer to a sync will wake us.
    pub fn store(&mut self, store: &mut Store, owner: u64, bytes: &[u8]) -> Result<usize, Refusal> {
        let length = self.staged.length() + bytes.len() as u64;
        if self.plan.size.is_some_and(|size| length > size) {
            return Err(Refusal::SizeMismatch);
        }
        if self.is_disk_behind() {
            self.request_sync(store, owner);
            return Ok(0);
        }
        self.staged.write(bytes)?;
        self.hash.update(bytes);
        self.hashed += bytes.len() as u64;
        if let Some(sync) = &mut self.sync {
            sync.unsynced.add(bytes.len() as u64);
            if sync.unsynced.own() >= SYNC_STEP_BYTES {
                self.request_sync(store, owner);
            }
        }
        if self.plan.id.is_some() && length >= RESUME_BYTES_MIN {
            self.staged.keep(&self.plan.record())?;
        }
        Ok(bytes.len())
    }

    /// Whether as much is written and not yet synced as may be. An upload without any such
    /// bytes may always go on, so that the bound for all together cannot stop one for ever.
    fn is_disk_behind(&self) -> bool {
        self.sync.as_ref().is_some_and(|RunningSync { unsynced, .. }| {
            unsynced.own() >= UNSYNCED_BYTES_MAX || (unsynced.own() > 0 && unsynced.is_total_full())
        })
    }

    fn request_sync(&mut self, store: &mut Store, owner: u64) {
        if let Some(RunningSync { unsynced, job: job @ None }) = &mut self.sync {
            let ticket = store.syncer.sync(owner, Arc::clone(self.staged.file()), Flush::Data);
            *job = Some((ticket, unsynced.own(), self.staged.length()));
        }
    }

    /// Takes the answer to a sync.
    pub fn synced(&mut self, synced: Synced) -> Result<(), Refusal> {
        let Some(RunningSync { unsynced, job }) = &mut self.sync else { return Ok(()) };
        if let Some((ticket, bytes, length)) = *job
            && ticket == synced.ticket
        {
            *job = None;
            synced.result.map_err(StoreError::from)?;
            unsynced.subtract(bytes);
            self.staged.note_synced(length)?;
        }
        Ok(())
    }

    /// All bytes are here, says the client: `size` of them, with this digest. What does not
    /// fit is dropped for good, since a resume would only meet it again.
    pub fn finish(mut self, size: u64, digest: Digest) -> Result<Commit, Refusal> {
        let actual = Digest::finish(self.hash);
        let refusal = if self.staged.length() != size || self.plan.size.is_some_and(|planned| planned != size) {
            Refusal::SizeMismatch
        } else if actual != digest {
            Refusal::Mismatch
        } else {
            return Ok(Commit {
                plan: self.plan,
                started: self.started,
                offset: self.offset,
                stored: Stored { size, digest },
                step: CommitStep::Verified(self.staged),
            });
        };
        self.staged.forget();
        Err(refusal)
    }

    /// Whether this is waiting for the disk.
    pub fn waits_for_sync(&self) -> bool {
        self.is_disk_behind()
    }

    /// First byte that came in this session.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that came in this session.
    pub fn stored_bytes(&self) -> u64 {
        self.staged.length() - self.offset
    }
}

impl UploadPlan {
    fn record(&self) -> Record {
        Record { path: self.path.as_bytes().to_vec(), size: self.size, mtime_ns: self.mtime_ns }
    }

    /// Whether what would be replaced is what the client wants to replace.
    fn accepts(&self, store: &Store, replaced: Option<&Meta>) -> bool {
        match (&self.if_etag, replaced) {
            (None, _) => true,
            (Some(etag), Some(meta)) => *etag == store.etag(&meta.identity),
            (Some(_), None) => false,
        }
    }
}

/// Refuses at once what the commit would refuse in the end.
fn check_target(home: &Home, store: &Store, plan: &UploadPlan) -> Result<(), StoreError> {
    if plan.path.is_root() {
        return Err(StoreError::NotAFile);
    }
    match home.entry(&plan.path)? {
        Some(meta) if meta.kind == Kind::Folder => Err(StoreError::NotAFile),
        Some(_) if !plan.replace => Err(StoreError::Exists),
        there if !plan.accepts(store, there.as_ref()) => Err(StoreError::Changed),
        _ => Ok(()),
    }
}

/// An upload whose bytes are all there and verified.
pub struct Commit {
    /// What was announced.
    pub plan: UploadPlan,
    /// When the upload began.
    pub started: Instant,
    /// First byte that came in this session.
    pub offset: u64,
    /// What will have been stored.
    pub stored: Stored,
    step: CommitStep,
}

enum CommitStep {
    /// To be synced, or renamed.
    Verified(Staged),
    /// Content on its way to the disk.
    SyncingData(Staged, Ticket),
    /// Content on disk.
    Synced(Staged),
    /// Renamed; the folder is to be synced, and then those above it.
    Renamed(File),
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
    ) -> Result<Option<Stored>, Refusal> {
        loop {
            self.step = match std::mem::replace(&mut self.step, CommitStep::Done) {
                CommitStep::Verified(staged) => {
                    if let Some(mtime_ns) = self.plan.mtime_ns {
                        staged.set_mtime(mtime_ns)?;
                    }
                    if sync == SyncPolicy::None {
                        CommitStep::Synced(staged)
                    } else {
                        let ticket = store.syncer.sync(owner, Arc::clone(staged.file()), Flush::Data);
                        CommitStep::SyncingData(staged, ticket)
                    }
                }
                CommitStep::Synced(staged) => {
                    let folder = self.rename(store, staged)?;
                    if sync == SyncPolicy::Full {
                        CommitStep::Renamed(reopen_folder(folder)?.into())
                    } else {
                        CommitStep::Done
                    }
                }
                CommitStep::Renamed(folder) => {
                    let folder = Arc::new(folder);
                    let ticket = store.syncer.sync(owner, Arc::clone(&folder), Flush::Folder);
                    CommitStep::SyncingFolder(folder, ticket)
                }
                // The name is on disk only if the folders on the way to it are; they may be new.
                CommitStep::FolderSynced(folder) => match home.folder_above(&folder)? {
                    Some(above) => CommitStep::Renamed(above.into()),
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

    fn rename(&self, store: &Store, staged: Staged) -> Result<File, StoreError> {
        staged.commit(&self.plan.path, self.plan.replace, |replaced| self.plan.accepts(store, replaced))
    }

    /// Takes the answer to a sync.
    pub fn synced(&mut self, synced: Synced) -> Result<(), Refusal> {
        self.step = match std::mem::replace(&mut self.step, CommitStep::Done) {
            CommitStep::SyncingData(staged, ticket) if ticket == synced.ticket => {
                synced.result.map_err(StoreError::from)?;
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
