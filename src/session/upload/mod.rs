//! An upload: bytes are staged as they arrive, then verified, synced as the policy demands, and renamed.

mod append_base;
mod commit;
mod plan;

use std::rc::Rc;
use std::time::Instant;

use super::error::SessionError;
use super::range_hash::hash_range;
use crate::base::budget::Budget;
use crate::base::buffers::{PIECE_BYTES, SpliceSource};
use crate::base::digest::{ContentHash, Digest};
use crate::base::upload_id::RESUME_BYTES_MIN;
use crate::config::SyncPolicy;
use crate::store::home::Home;
use crate::store::staging::Staged;
use crate::store::syncer::{Synced, Unsynced};
use crate::store::{Store, StoreError};
use append_base::{AppendBase, OpenedUpload, Replaces};
pub use commit::Commit;
use commit::CommitStep;
pub use plan::{Length, Stored, UploadPlan, UploadStart};

/// Smaller uploads are not registered with the syncer: they are synced at their end, which comes soon.
const UNCOUNTED_BYTES_MAX: u64 = 64 * 1024;

/// An upload that is being received.
pub struct Upload {
    /// The client's announcement.
    pub plan: UploadPlan,
    /// When it started.
    pub started: Instant,
    staged: Staged,
    /// The file to copy first, until that is done.
    base: Option<AppendBase>,
    replaces: Replaces,
    /// The hash of the first `hashed` bytes; `None` if no digest is requested.
    hash: Option<ContentHash>,
    /// Bytes in `hash`. Fewer than are staged, while a resumed prefix is read again.
    hashed: u64,
    /// The offset of the first byte that is received in this session.
    offset: u64,
    /// Whether it can be resumed. An upload that appends to a file is not kept, because its client sees
    /// only that file.
    outlives_session: bool,
    /// Whether it is synced as the bytes come, so that the last sync is short.
    is_synced: bool,
    /// Its registration with the syncer, once it has [`UNCOUNTED_BYTES_MAX`] bytes.
    unsynced: Option<Unsynced>,
    /// Bytes written before the registration.
    uncounted: u64,
}

impl Upload {
    /// Checks the target, reserves quota and opens the staged file.
    pub fn begin(
        home: &Rc<Home>,
        store: &Store,
        sync: SyncPolicy,
        mut plan: UploadPlan,
        now: Instant,
    ) -> Result<Self, SessionError> {
        // If the disk does not answer, the partial upload of that name must not be dropped.
        home.check_answers()?;
        let target = plan.check_target(home, store)?;
        let OpenedUpload { staged, base, replaces } = append_base::open(home, &mut plan, &target)?;
        Ok(Self {
            offset: base.as_ref().map_or(staged.length(), |base| base.length),
            outlives_session: plan.id.is_some() && base.is_none(),
            started: now,
            staged,
            base,
            replaces,
            hash: plan.hash.map(ContentHash::new),
            hashed: 0,
            is_synced: sync != SyncPolicy::None,
            unsynced: None,
            uncounted: 0,
            plan,
        })
    }

    /// Truncates or copies the initial content and reads it again if a digest is requested. Returns its
    /// length and digest once done. `None`: call it again in the next turn, or after the next sync if
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
        Ok(done.then(|| (self.offset, Some(hash.digest()))))
    }

    /// Truncates to the byte to continue at, within `budget`. Returns true once done.
    fn cut_surplus(&mut self, budget: &mut Budget) -> Result<bool, StoreError> {
        while self.staged.has_surplus() {
            if budget.is_spent() {
                return Ok(false);
            }
            budget.spend(self.staged.cut()?);
        }
        Ok(true)
    }

    /// Copies the base within `budget` and as fast as the disk allows. Returns true once done. A record is
    /// written only when bytes of the client are stored, so an interrupted copy is removed.
    fn copy_base(&mut self, store: &mut Store, owner: u64, budget: &mut Budget) -> Result<bool, StoreError> {
        while let Some(left) = self.base.as_ref().map(|base| base.length - self.staged.length()) {
            if left == 0 {
                self.base.take().map_or(Ok(()), |base| base.check())?;
                return Ok(true);
            }
            // Checked first, so that a waiting upload always has a sync running.
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
            self.record_written(store, owner, count)?;
        }
        Ok(true)
    }

    /// Stores bytes. Returns the number of bytes. 0 means that the disk is behind; the result of a sync then
    /// wakes the session.
    pub fn store(&mut self, store: &mut Store, owner: u64, bytes: &[u8]) -> Result<usize, SessionError> {
        if !self.may_store(store, bytes.len() as u64)? {
            return Ok(0);
        }
        self.staged.write(bytes)?;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
            self.hashed += bytes.len() as u64;
        }
        self.record_stored(store, owner, bytes.len())
    }

    /// Splices bytes from a socket, if no digest is requested. Returns 0 also if they must be read.
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
        self.record_stored(store, owner, count)
    }

    /// Returns whether `count` bytes may be stored now. If not, a sync was requested.
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

    fn record_stored(&mut self, store: &mut Store, owner: u64, count: usize) -> Result<usize, SessionError> {
        self.record_written(store, owner, count as u64)?;
        if self.outlives_session && self.staged.length() >= RESUME_BYTES_MIN {
            self.staged.keep(&self.plan.record())?;
        }
        Ok(count)
    }

    fn record_written(&mut self, store: &mut Store, owner: u64, count: u64) -> Result<(), StoreError> {
        if !self.is_synced {
            return Ok(());
        }
        self.uncounted += count;
        let unsynced = match self.unsynced.take() {
            Some(unsynced) => unsynced,
            None if self.uncounted < UNCOUNTED_BYTES_MAX => return Ok(()),
            None => self.staged.register_unsynced(&mut store.syncer, owner)?,
        };
        let count = std::mem::take(&mut self.uncounted);
        store.syncer.record_written(self.unsynced.insert(unsynced), count, self.staged.length());
        Ok(())
    }

    /// Returns whether the bound of unsynced bytes is reached.
    fn is_disk_behind(&self) -> bool {
        self.unsynced.as_ref().is_some_and(Unsynced::is_at_bound)
    }

    fn request_sync(&mut self, store: &mut Store) -> Result<(), StoreError> {
        // Another session may have resumed it.
        self.staged.disk()?;
        if let Some(unsynced) = &self.unsynced {
            store.syncer.request(unsynced);
        }
        Ok(())
    }

    /// Takes the result of a sync.
    pub fn synced(&mut self, synced: Synced) -> Result<(), SessionError> {
        let Some(unsynced) = &self.unsynced else { return Ok(()) };
        if let Some((bytes, length)) = unsynced.end_sync(synced.ticket) {
            synced.result.map_err(commit::unwritten)?;
            unsynced.subtract(bytes);
            self.staged.record_synced(length)?;
        }
        Ok(())
    }

    /// Ends the upload: the client has sent `size` bytes with this digest. A mismatch drops the upload,
    /// because a resume would fail again.
    pub fn finish(mut self, size: u64, digest: Digest) -> Result<Commit, SessionError> {
        let actual = self.hash.take().map(|hash| hash.digest());
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

    /// Ends the upload at the end of the data connection, without verification. If the size is not the
    /// announced one, the upload is refused and its bytes are kept as a partial upload.
    pub fn complete(mut self) -> Result<Commit, SessionError> {
        if !self.plan.length.accepts(self.staged.length()) {
            return Err(SessionError::SizeMismatch);
        }
        let digest = self.hash.take().map(|hash| hash.digest());
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

    /// Returns whether bytes may be stored: the initial content is in the file and in the digest.
    pub fn is_prepared(&self) -> bool {
        !self.is_starting() && (self.hash.is_none() || self.hashed == self.staged.length())
    }

    /// Returns whether the initial content is still being truncated or copied.
    pub fn is_starting(&self) -> bool {
        self.base.is_some() || self.staged.has_surplus()
    }

    /// Returns whether it is waiting for the disk.
    pub fn waits_for_sync(&self) -> bool {
        self.is_disk_behind()
    }

    /// Returns the offset of the first byte that was received in this session.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes that were received in this session.
    pub fn stored_bytes(&self) -> u64 {
        self.staged.length().saturating_sub(self.offset)
    }
}
