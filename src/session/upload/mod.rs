//! An upload: bytes that are staged as they come, then verified, synced as the policy says, and
//! made to appear by one rename.

mod append_base;
mod commit;
mod plan;

pub use commit::Commit;
pub use plan::{Length, Stored, UploadPlan, UploadStart};

use super::error::SessionError;
use super::task::hash_range;
use crate::base::buffers::{Budget, SpliceSource};
use crate::base::digest::Digest;
use crate::base::limits::{PIECE_BYTES, RESUME_BYTES_MIN, UNCOUNTED_BYTES_MAX};
use crate::config::SyncPolicy;
use crate::store::home::Home;
use crate::store::staging::Staged;
use crate::store::syncer::{Synced, Unsynced};
use crate::store::{Store, StoreError};
use append_base::{AppendBase, Opened, Replaces};
use commit::CommitStep;
use sha2::{Digest as _, Sha256};
use std::rc::Rc;
use std::time::Instant;

/// An upload whose bytes are coming.
pub struct Upload {
    /// What was announced.
    pub plan: UploadPlan,
    /// When.
    pub started: Instant,
    staged: Staged,
    /// The file to be copied first, until it is.
    base: Option<AppendBase>,
    replaces: Replaces,
    /// Absent if no digest is wanted.
    hash: Option<Sha256>,
    /// Bytes in `hash`; fewer than are staged while a prefix is read again.
    hashed: u64,
    offset: u64,
    /// Whether it can be resumed. One that goes on with a file is sent again: its client is told of
    /// that file alone.
    outlives_session: bool,
    /// Whether it is flushed as the bytes come, so that the last flush is short.
    is_synced: bool,
    /// Once there is something worth being flushed before the end.
    unsynced: Option<Unsynced>,
    /// Bytes written before.
    uncounted: u64,
}

impl Upload {
    /// Checks the target, promises the room and opens the staged file.
    pub fn begin(
        home: &Rc<Home>,
        store: &Store,
        sync: SyncPolicy,
        mut plan: UploadPlan,
        now: Instant,
    ) -> Result<Self, SessionError> {
        // What is kept under its name would be dropped in vain.
        home.check_answers()?;
        let target = plan.check_target(home, store)?;
        let Opened { staged, base, replaces } = append_base::open(home, &mut plan, &target)?;
        Ok(Self {
            offset: base.as_ref().map_or(staged.length(), |base| base.length),
            outlives_session: plan.id.is_some() && base.is_none(),
            started: now,
            staged,
            base,
            replaces,
            hash: plan.hash.then(Sha256::new),
            hashed: 0,
            is_synced: sync != SyncPolicy::None,
            unsynced: None,
            uncounted: 0,
            plan,
        })
    }

    /// Cuts or copies what the upload starts with and reads it again for its digest, if one is wanted;
    /// its length and digest once that is done. Not done, it goes on at once, unless
    /// [`Upload::waits_for_sync`].
    pub fn prepare(
        &mut self,
        store: &mut Store,
        owner: u64,
        budget: &mut Budget,
    ) -> Result<Option<(u64, Option<Digest>)>, SessionError> {
        if self.staged.length() > self.offset {
            return Err(SessionError::WrongState);
        }
        if !self.cut_surplus(budget)? || !self.copy_base(store, owner, budget)? {
            return Ok(None);
        }
        let Some(hash) = &mut self.hash else { return Ok(Some((self.offset, None))) };
        let done = hash_range(&*self.staged.file()?, hash, &mut self.hashed, self.offset, budget)?;
        Ok(done.then(|| (self.offset, Some(Digest::finish(hash.clone())))))
    }

    /// Cuts off what lies beyond the byte to go on at, as far as `budget` goes; true once nothing does.
    fn cut_surplus(&mut self, budget: &mut Budget) -> Result<bool, StoreError> {
        while self.staged.has_surplus() {
            if budget.is_spent() {
                return Ok(false);
            }
            budget.spend(self.staged.cut()?);
        }
        Ok(true)
    }

    /// Copies as far as `budget` and the disk go; true once there is nothing left to copy. There
    /// is no record until the client's own bytes come, so a copy cut off leaves nothing behind.
    fn copy_base(&mut self, store: &mut Store, owner: u64, budget: &mut Budget) -> Result<bool, StoreError> {
        while let Some(left) = self.base.as_ref().map(|base| base.length - self.staged.length()) {
            if left == 0 {
                self.base.take().map_or(Ok(()), |base| base.check())?;
                return Ok(true);
            }
            // Asked first, so that whoever waits for the disk has asked it for something.
            if self.is_disk_behind() {
                self.request_sync(store)?;
                return Ok(false);
            }
            if budget.is_spent() {
                return Ok(false);
            }
            let most = left.min(budget.left()).min(PIECE_BYTES as u64);
            let count = self.base.as_mut().map_or(Ok(0), |base| base.copy_to(&mut self.staged, most))?;
            budget.spend(count);
            self.note_written(store, owner, count)?;
        }
        Ok(true)
    }

    /// Takes bytes; how many. 0: the disk is behind, and the answer to a sync will wake us.
    pub fn store(&mut self, store: &mut Store, owner: u64, bytes: &[u8]) -> Result<usize, SessionError> {
        if !self.may_store(store, bytes.len() as u64)? {
            return Ok(0);
        }
        self.staged.write(bytes)?;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
            self.hashed += bytes.len() as u64;
        }
        self.note_stored(store, owner, bytes.len())
    }

    /// The same of bytes in a socket, if no digest is wanted of them. 0 also if they have to be read.
    pub fn store_from(
        &mut self,
        store: &mut Store,
        owner: u64,
        incoming: SpliceSource<'_>,
    ) -> Result<usize, SessionError> {
        if self.hash.is_some() || !self.may_store(store, incoming.count as u64)? {
            return Ok(0);
        }
        let count = self.staged.write_from(incoming, &mut store.pipe)?;
        self.note_stored(store, owner, count)
    }

    /// Whether `count` bytes may come now. If not, the disk was asked for something.
    fn may_store(&mut self, store: &mut Store, count: u64) -> Result<bool, SessionError> {
        if !self.is_prepared() {
            return Err(SessionError::WrongState);
        }
        if self.plan.length.is_exceeded_by(self.staged.length() + count) {
            return Err(SessionError::SizeMismatch);
        }
        let is_disk_behind = self.is_disk_behind();
        if is_disk_behind {
            self.request_sync(store)?;
        }
        Ok(!is_disk_behind)
    }

    fn note_stored(&mut self, store: &mut Store, owner: u64, count: usize) -> Result<usize, SessionError> {
        self.note_written(store, owner, count as u64)?;
        if self.outlives_session && self.staged.length() >= RESUME_BYTES_MIN {
            self.staged.keep(&self.plan.record())?;
        }
        Ok(count)
    }

    fn note_written(&mut self, store: &mut Store, owner: u64, count: u64) -> Result<(), StoreError> {
        if !self.is_synced {
            return Ok(());
        }
        self.uncounted += count;
        let unsynced = match self.unsynced.take() {
            Some(unsynced) => unsynced,
            None if self.uncounted < UNCOUNTED_BYTES_MAX => return Ok(()),
            None => self.staged.hold(&mut store.syncer, owner)?,
        };
        let count = std::mem::take(&mut self.uncounted);
        store.syncer.note_written(self.unsynced.insert(unsynced), count, self.staged.length());
        Ok(())
    }

    /// Whether as much is written and not yet synced as may be.
    fn is_disk_behind(&self) -> bool {
        self.unsynced.as_ref().is_some_and(Unsynced::is_at_bound)
    }

    fn request_sync(&mut self, store: &mut Store) -> Result<(), StoreError> {
        // Another session may have it by now.
        self.staged.disk()?;
        if let Some(unsynced) = &self.unsynced {
            store.syncer.request(unsynced);
        }
        Ok(())
    }

    /// Takes the answer to a sync.
    pub fn synced(&mut self, synced: Synced) -> Result<(), SessionError> {
        let Some(unsynced) = &self.unsynced else { return Ok(()) };
        if let Some((bytes, length)) = unsynced.end_sync(synced.ticket) {
            synced.result.map_err(commit::unwritten)?;
            unsynced.subtract(bytes);
            self.staged.note_synced(length)?;
        }
        Ok(())
    }

    /// All bytes are here, says the client: `size` of them, with this digest. What does not
    /// fit is dropped for good, since a resume would only meet it again.
    pub fn finish(mut self, size: u64, digest: Digest) -> Result<Commit, SessionError> {
        let actual = self.hash.take().map(Digest::finish);
        let refusal = if self.staged.length() != size || !self.plan.length.accepts(size) || self.is_starting() {
            SessionError::SizeMismatch
        } else if actual != Some(digest) {
            SessionError::Mismatch
        } else {
            return Ok(self.into_commit(actual));
        };
        self.staged.forget();
        Err(refusal)
    }

    /// All bytes are here, says the end of the client's data, which tells nothing to verify them
    /// by. Others than were announced are an interrupted upload, and kept as one.
    pub fn complete(mut self) -> Result<Commit, SessionError> {
        if !self.plan.length.accepts(self.staged.length()) {
            return Err(SessionError::SizeMismatch);
        }
        let digest = self.hash.take().map(Digest::finish);
        Ok(self.into_commit(digest))
    }

    fn into_commit(self, digest: Option<Digest>) -> Commit {
        Commit {
            plan: self.plan,
            started: self.started,
            offset: self.offset,
            stored: Stored { size: self.staged.length(), digest },
            replaces: self.replaces,
            step: CommitStep::Verified(self.staged),
        }
    }

    /// Whether bytes may come: what the upload starts with is there, and in the digest.
    pub fn is_prepared(&self) -> bool {
        !self.is_starting() && (self.hash.is_none() || self.hashed == self.staged.length())
    }

    /// Whether what it starts with has yet to be cut or copied.
    pub fn is_starting(&self) -> bool {
        self.base.is_some() || self.staged.has_surplus()
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
        self.staged.length().saturating_sub(self.offset)
    }
}
