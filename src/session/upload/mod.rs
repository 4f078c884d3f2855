//! An upload: bytes are staged as they arrive, then verified, synced as the policy demands, and renamed.

mod append_base;
mod commit;
mod plan;

use std::rc::Rc;
use std::time::Instant;

use super::error::SessionError;
use super::lent::Lent;
use super::range_hash::RangeHash;
use super::sliced::Site;
use crate::base::budget::Budget;
use crate::base::buffers::{PIECE_BYTES, SpliceSource};
use crate::base::digest::{ContentHash, Digest};
use crate::base::upload_id::RESUME_BYTES_MIN;
use crate::config::SyncPolicy;
use crate::store::etag::EtagKey;
use crate::store::home::Home;
use crate::store::staging::{Record, Staged, StagedHandle, unwritten};
use crate::store::syncer::{Synced, Unsynced};
use crate::store::{Store, StoreError};
use append_base::{Content, OpenedUpload, Replaces};
pub use commit::Commit;
use commit::CommitStep;
pub use plan::{Length, Stored, UploadPlan, UploadStart};

/// Smaller uploads are not registered with the syncer: they are synced at their end, which comes soon.
const UNREGISTERED_BYTES_MAX: u64 = 64 * 1024;

/// An upload that is being received.
pub struct Upload {
    /// The client's announcement.
    pub plan: UploadPlan,
    /// When it started.
    pub started: Instant,
    content: Lent<Content>,
    /// Makes the upload impossible to resume, even while an operation has its content.
    handle: StagedHandle,
    /// The size of the content, including the bytes that an operation is writing.
    length: u64,
    replaces: Replaces,
    /// The state of the initial content.
    preparation: Preparation,
    /// The hash of the content; `None` if no digest is requested.
    hash: Option<ContentHash>,
    /// The offset of the first byte that is received in this session.
    offset: u64,
    /// Whether it can be resumed.
    outlives_session: bool,
    /// Whether it is synced as the bytes come, so that the last sync is short.
    is_synced: bool,
    /// Its registration with the syncer, once it has [`UNREGISTERED_BYTES_MAX`] bytes.
    unsynced: Option<Unsynced>,
    /// The number of bytes that were written before the registration.
    unregistered_bytes: u64,
    /// The length of the content that was on disk at the last sync, until the record says so.
    synced_length: Option<u64>,
}

/// The state of the initial content.
enum Preparation {
    /// It is being truncated or copied.
    Starting,
    /// It is being read, for the digest.
    Hashing(RangeHash),
    /// It is in the file and in the digest.
    Done,
}

impl Upload {
    /// Checks the target, reserves quota and opens the staged file.
    pub(super) async fn begin(
        home: Rc<Home>,
        etags: EtagKey,
        sync: SyncPolicy,
        mut plan: UploadPlan,
        now: Instant,
    ) -> Result<Box<Self>, SessionError> {
        let _changing = home.file_system().begin_change();
        // If the file system does not answer, an existing partial upload must not be dropped.
        home.check_answers()?;
        let checked = plan.clone();
        let target = home.run(move |home| checked.check_target(home, &etags)).await?;
        let opened = append_base::open(&home, &mut plan, target).await?;
        let OpenedUpload { content, offset, outlives_session, replaces } = opened;
        let is_empty = offset == 0 && !content.is_starting();
        Ok(Box::new(Self {
            started: now,
            handle: content.staged.handle(),
            length: content.staged.length(),
            content: Lent::Here(content),
            replaces,
            preparation: if is_empty { Preparation::Done } else { Preparation::Starting },
            hash: plan.hash.map(ContentHash::new),
            offset,
            outlives_session,
            is_synced: sync != SyncPolicy::None,
            unsynced: None,
            unregistered_bytes: 0,
            synced_length: None,
            plan,
        }))
    }

    // ---- The initial content --------------------------------------------------------------

    /// Truncates or copies the initial content and reads it again if a digest is requested. Returns its
    /// length and digest once done. After `None`, call it again in the next turn, after the next sync if
    /// [`Upload::waits_for_sync`], or after the call to the file system if [`Upload::awaits_storage`].
    pub(super) fn prepare(
        &mut self,
        site: Site<'_>,
        store: &mut Store,
        budget: &mut Budget,
    ) -> Result<Option<(u64, Option<Digest>)>, SessionError> {
        if self.length > self.offset {
            return Err(SessionError::WrongState);
        }
        if let Preparation::Starting = self.preparation {
            if !self.start(site, store, budget)? {
                return Ok(None);
            }
            self.preparation = match (self.plan.hash, self.content.get()) {
                (Some(algorithm), Some(content)) => {
                    Preparation::Hashing(RangeHash::of_first(self.offset, content.staged.file()?, algorithm))
                }
                _ => Preparation::Done,
            };
        }
        if let Preparation::Hashing(reading) = &mut self.preparation {
            let Some((hash, _)) = reading.advance(site, budget)? else { return Ok(None) };
            (self.hash, self.preparation) = (Some(hash), Preparation::Done);
        }
        Ok(Some((self.offset, self.hash.as_ref().map(ContentHash::digest))))
    }

    /// Truncates or copies within `budget` and the bound of unsynced bytes. Returns true once done. A record is
    /// written only when bytes of the client are stored, so an interrupted copy is removed.
    fn start(&mut self, site: Site<'_>, store: &mut Store, budget: &mut Budget) -> Result<bool, SessionError> {
        loop {
            let Some(count) = self.content.take_result()? else { return Ok(false) };
            budget.spend(count);
            let Some(content) = self.content.get() else { return Err(SessionError::Defect) };
            let (length, is_starting) = (content.staged.length(), content.is_starting());
            let copied = length - std::mem::replace(&mut self.length, length);
            self.record_written(store, site.caller, copied)?;
            if !is_starting {
                return Ok(true);
            }
            // A waiting upload always has a sync running.
            if self.waits_for_sync() {
                self.request_sync(store)?;
                return Ok(false);
            }
            if budget.is_spent() {
                return Ok(false);
            }
            let (home, most) = (Rc::clone(site.home), budget.left().min(PIECE_BYTES as u64));
            self.content.lend(site, async move |content| content.start(home, most).await);
        }
    }

    // ---- Bytes ----------------------------------------------------------------------------

    /// Stores bytes. Returns the number of bytes; 0 if earlier ones must be written or synced first. The session is
    /// woken when that is done.
    pub(super) fn store(&mut self, site: Site<'_>, store: &mut Store, bytes: &[u8]) -> Result<usize, SessionError> {
        if !self.may_store(site, store, bytes.len() as u64)? {
            return Ok(0);
        }
        let mut taken = bytes;
        match self.content.get_mut() {
            Some(content) if content.staged.is_prompt() => {
                content.staged.write_now(bytes)?;
                self.keep(site, bytes.len())?;
            }
            _ => {
                let (count, charge) = site.charge_piece(bytes.len().min(PIECE_BYTES));
                taken = &bytes[..count];
                let (piece, record) = (taken.to_vec(), self.due_record(count));
                self.begin_work(site, async move |staged| {
                    let _charge = charge;
                    staged.write(piece).await?;
                    match record {
                        Some(record) => staged.keep(record).await,
                        None => Ok(()),
                    }
                })?;
            }
        }
        if let Some(hash) = &mut self.hash {
            hash.update(taken);
        }
        self.record_stored(store, site.caller, taken.len())?;
        Ok(taken.len())
    }

    /// Splices bytes from a socket, if no digest is requested. Returns 0 also if they must be read.
    pub(super) fn store_from(
        &mut self,
        site: Site<'_>,
        store: &mut Store,
        incoming: SpliceSource<'_>,
    ) -> Result<usize, SessionError> {
        if self.hash.is_some() || !self.may_store(site, store, incoming.count as u64)? {
            return Ok(0);
        }
        let Some(content) = self.content.get_mut().filter(|content| content.staged.is_prompt()) else { return Ok(0) };
        let count = content.staged.write_from(incoming, &mut store.pipe)?;
        self.keep(site, count)?;
        self.record_stored(store, site.caller, count)?;
        Ok(count)
    }

    /// Returns whether `count` bytes may be stored now. If not, a sync or a call to the file system is running.
    fn may_store(&mut self, site: Site<'_>, store: &mut Store, count: u64) -> Result<bool, SessionError> {
        if !self.is_prepared() {
            return Err(SessionError::WrongState);
        }
        if self.plan.length.is_exceeded_by(self.length + count) {
            return Err(SessionError::SizeMismatch);
        }
        self.update_record(site)?;
        if self.content.take_result()?.is_none() {
            return Ok(false);
        }
        self.register_unsynced(store, site.caller)?;
        let waits_for_sync = self.waits_for_sync();
        if waits_for_sync {
            self.request_sync(store)?;
        }
        Ok(!waits_for_sync)
    }

    /// Makes the upload resumable if it is worth resuming with the `count` bytes that were just stored.
    fn keep(&mut self, site: Site<'_>, count: usize) -> Result<(), SessionError> {
        match self.due_record(count) {
            Some(record) => self.begin_work(site, async move |staged| staged.keep(record).await),
            None => Ok(()),
        }
    }

    /// Begins an operation on the staged file. Fails at once if the operation does.
    fn begin_work(
        &mut self,
        site: Site<'_>,
        work: impl AsyncFnOnce(&mut Staged) -> Result<(), StoreError> + 'static,
    ) -> Result<(), SessionError> {
        self.content.lend(site, async move |content| work(&mut content.staged).await.map(|()| 0));
        self.content.take_result().map(drop)
    }

    /// Returns the record to write once `count` further bytes are stored, if one is due.
    fn due_record(&self, count: usize) -> Option<Record> {
        let is_worth_it = self.outlives_session && self.length + count as u64 >= RESUME_BYTES_MIN;
        let needs_record = is_worth_it && self.content.get().is_some_and(|content| content.staged.needs_record());
        needs_record.then(|| self.plan.record())
    }

    /// Records bytes that were written or are being written. The worker runs a sync of them after the write.
    fn record_stored(&mut self, store: &mut Store, caller: u64, count: usize) -> Result<(), StoreError> {
        self.length += count as u64;
        self.record_written(store, caller, count as u64)
    }

    fn record_written(&mut self, store: &mut Store, caller: u64, count: u64) -> Result<(), StoreError> {
        if self.is_synced && count > 0 {
            self.unregistered_bytes += count;
            self.register_unsynced(store, caller)?;
        }
        Ok(())
    }

    /// Tells the syncer of the bytes that it does not know. An upload that an operation has is registered later.
    fn register_unsynced(&mut self, store: &mut Store, caller: u64) -> Result<(), StoreError> {
        let unsynced = match (self.unsynced.take(), self.content.get()) {
            (Some(unsynced), _) => unsynced,
            (None, Some(content)) if self.unregistered_bytes >= UNREGISTERED_BYTES_MAX => {
                content.staged.register_unsynced(&mut store.syncer, caller)?
            }
            (None, _) => return Ok(()),
        };
        let unsynced = self.unsynced.insert(unsynced);
        let count = std::mem::take(&mut self.unregistered_bytes);
        if count > 0 {
            store.syncer.record_written(unsynced, count, self.length);
        }
        Ok(())
    }

    // ---- Syncs ----------------------------------------------------------------------------

    /// Begins a sync, unless one is running. Fails if another session has resumed the upload.
    fn request_sync(&mut self, store: &mut Store) -> Result<(), StoreError> {
        if let Some(content) = self.content.get() {
            content.staged.check_is_owned()?;
        }
        if let Some(unsynced) = &self.unsynced {
            store.syncer.request(unsynced);
        }
        Ok(())
    }

    /// Takes the result of a sync.
    pub(super) fn synced(&mut self, site: Site<'_>, synced: Synced) -> Result<(), SessionError> {
        let Some(unsynced) = &self.unsynced else { return Ok(()) };
        if let Some((bytes, length)) = unsynced.end_sync(synced.ticket) {
            synced.result.map_err(unwritten)?;
            unsynced.subtract(bytes);
            self.synced_length = Some(length);
            self.update_record(site)?;
        }
        Ok(())
    }

    /// Records how much the last sync has brought to disk. Waits while an operation has the content.
    fn update_record(&mut self, site: Site<'_>) -> Result<(), SessionError> {
        if self.synced_length.is_some()
            && self.content.take_result()?.is_some()
            && let Some(length) = self.synced_length.take()
        {
            self.begin_work(site, async move |staged| staged.record_synced(length).await)?;
        }
        Ok(())
    }

    // ---- The end --------------------------------------------------------------------------

    /// Ends the upload: the client has sent `size` bytes with this digest. A mismatch drops the upload,
    /// because a resume would fail again.
    pub fn finish(mut self, size: u64, digest: Digest) -> Result<Commit, SessionError> {
        let actual = self.hash.take().map(|hash| hash.digest());
        let refusal = if self.length != size || !self.plan.length.accepts(size) || self.is_starting() {
            SessionError::SizeMismatch
        } else if actual != Some(digest) {
            SessionError::Mismatch
        } else {
            return Ok(self.into_commit(actual));
        };
        self.handle.forget();
        Err(refusal)
    }

    /// Ends the upload at the end of the data connection, without verification. If the size is not the
    /// announced one, the upload is refused and its bytes are kept as a partial upload.
    pub fn complete(mut self) -> Result<Commit, SessionError> {
        if !self.plan.length.accepts(self.length) {
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
            stored: Stored { size: self.length, digest },
            replaces: self.replaces,
            step: CommitStep::Received(self.content),
        }
    }

    // ---- State ----------------------------------------------------------------------------

    /// Returns whether bytes may be stored: the initial content is in the file and in the digest.
    pub fn is_prepared(&self) -> bool {
        matches!(self.preparation, Preparation::Done)
    }

    /// Returns whether the initial content is still being truncated or copied.
    pub fn is_starting(&self) -> bool {
        matches!(self.preparation, Preparation::Starting)
    }

    /// Returns whether the bound of unsynced bytes is reached, so that it continues only after a sync.
    pub fn waits_for_sync(&self) -> bool {
        self.unsynced.as_ref().is_some_and(Unsynced::is_at_bound)
    }

    /// Returns whether a call to the file system is running, whose result wakes the session.
    pub fn awaits_storage(&self) -> bool {
        self.content.is_away() || matches!(&self.preparation, Preparation::Hashing(hash) if hash.awaits_storage())
    }

    /// Returns whether the upload can be resumed if it is interrupted now, as far as known.
    pub fn is_resumable(&self) -> bool {
        let is_worth_it = self.outlives_session && self.length >= RESUME_BYTES_MIN;
        self.content.get().map_or(is_worth_it, |content| content.staged.is_resumable())
    }

    /// Returns the offset of the first byte that was received in this session.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes that were received in this session.
    pub fn stored_bytes(&self) -> u64 {
        self.length.saturating_sub(self.offset)
    }
}
