//! The staging directory at the top of a home, and the uploads in it.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

use super::record::{PartialUpload, Record, read_record};
use crate::base::attributes::acl;
use crate::base::upload_id::UploadId;
use crate::store::StoreError;
use crate::store::home::{Home, HomeDirectory, StagingDirectory, directory_id, log_if_not_dropped};
use crate::store::meta::Meta;
use crate::store::names::{NEW_RECORD_SUFFIX, PART_SUFFIX, RECORD_SUFFIX, STAGING, part_name, record_name};
use crate::store::usage::InodeId;

impl HomeDirectory {
    /// Returns the staging directory. If it does not exist, it is made if `create` is set, else `None`.
    pub(in crate::store) fn staging(&self, create: bool) -> Result<Option<Arc<OwnedFd>>, StoreError> {
        if let Some(staging) = &*self.open_staging() {
            return Ok(Some(Arc::clone(&staging.handle)));
        }
        let root = self.root_fd()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&root, STAGING, flags, Mode::empty());
        let fd = match open() {
            Err(rustix::io::Errno::NOENT) if create => {
                rustix::fs::mkdirat(&root, STAGING, Mode::RWXU)?;
                let fd = open()?;
                close_to_others(&fd);
                fd
            }
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            result => result?,
        };
        let (id, handle) = (directory_id(&fd)?, Arc::new(fd));
        *self.open_staging() = Some(StagingDirectory { handle: Arc::clone(&handle), id });
        Ok(Some(handle))
    }
}

impl Home {
    /// Returns the uploads that can be resumed, oldest first; an expired one only while it is running.
    pub fn partial_uploads(&self) -> Result<Vec<PartialUpload>, StoreError> {
        let mut kept = self.with_expiry(self.staged()?.uploads);
        kept.retain(|upload| self.is_listed(upload));
        Ok(kept)
    }

    /// Adds the times at which uploads expire, and sorts the uploads by them.
    pub(in crate::store) fn with_expiry(&self, found: Vec<StagedUpload>) -> Vec<PartialUpload> {
        let expiring = |StagedUpload { id, record, meta }| PartialUpload {
            id,
            record,
            length: meta.size,
            expires_ns: self.expires_ns(&meta),
        };
        let mut kept: Vec<PartialUpload> = found.into_iter().map(expiring).collect();
        kept.sort_by_key(|upload| upload.expires_ns);
        kept
    }

    /// Ends the session that is writing the upload `id`. Returns whether there was one.
    pub(in crate::store) fn forget_partial(&self, id: &UploadId) -> bool {
        let was_running = self.claims.supersede(id);
        self.partials.forget(id);
        was_running
    }

    /// Credits a part that was removed. Returns whether there was one.
    pub(in crate::store) fn credit_partial(&self, part: Option<RemovedPart>) -> bool {
        let Some(RemovedPart { meta, held, is_removed }) = part else { return false };
        if is_removed {
            self.credit(&meta, held);
        }
        true
    }

    /// Drops the partial upload under the shared name of a path, because a newer file was stored there. A
    /// running upload stays, and replaces that file at its end.
    pub(in crate::store) async fn drop_superseded(&self, shared: UploadId) {
        if !self.claims.is_running(&shared) {
            log_if_not_dropped(self.drop_partial(shared).await);
        }
    }

    /// Drops the partial upload `id` because a sync of it failed, if `part` is still its file. A session
    /// that is writing it fails with its next bytes, or at its end.
    pub(super) fn forget_unwritten(self: &Rc<Self>, id: UploadId, part: InodeId) {
        // At once, before the session writes more.
        self.claims.mark_failed(&id, part);
        let home = Rc::clone(self);
        self.file_system.operations().begin_detached(async move {
            if let Err(error) = home.drop_unwritten(id, part).await {
                log::error!("a partial upload whose sync failed cannot be dropped: {error}");
            }
        });
    }

    async fn drop_unwritten(&self, id: UploadId, part: InodeId) -> Result<(), StoreError> {
        let _changing = self.file_system.begin_change_alone().await;
        // A running upload may have no name yet, so its open file is compared. Another session may have resumed it
        // during the wait.
        let is_running = self.claims.mark_failed(&id, part);
        let is_there = self.run(move |directory| directory.drop_record_of(&id, part)).await?;
        if is_there && !is_running {
            self.drop_partial(id).await?;
        }
        Ok(())
    }
}

/// What is in the staging directory.
#[derive(Default)]
pub(in crate::store) struct StagedEntries {
    /// The upload and the suffix of each name that belongs to an upload.
    pub(in crate::store) names: Vec<(UploadId, &'static str)>,
    /// The uploads that have a record and a part.
    pub(in crate::store) uploads: Vec<StagedUpload>,
}

/// An upload that has a record and a part.
pub(in crate::store) struct StagedUpload {
    pub(in crate::store) id: UploadId,
    pub(in crate::store) record: Record,
    /// The metadata of the part.
    pub(in crate::store) meta: Meta,
}

/// Returns the upload `id`, if it has a record and a part.
pub(super) fn staged_upload(staging: &OwnedFd, id: UploadId) -> Option<StagedUpload> {
    let record = read_record(staging, &id)?.record;
    Some(StagedUpload { id, record, meta: part_meta(staging, &id)? })
}

/// Returns the metadata of the part of an upload, if it exists.
pub(super) fn part_meta(staging: &OwnedFd, id: &UploadId) -> Option<Meta> {
    rustix::fs::statat(staging, part_name(id), AtFlags::SYMLINK_NOFOLLOW).ok().map(Meta::from)
}

/// The part of a partial upload that was dropped.
pub(in crate::store) struct RemovedPart {
    meta: Meta,
    /// An open descriptor of it. Its close frees the space.
    held: Option<OwnedFd>,
    /// Its name was removed, and not by another program.
    is_removed: bool,
}

impl HomeDirectory {
    /// Returns what is in the staging directory.
    pub(in crate::store) fn staged(&self) -> Result<StagedEntries, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(StagedEntries::default()) };
        let names = staged_names(&staging)?;
        let recorded = names.iter().filter(|(_, suffix)| *suffix == RECORD_SUFFIX);
        let uploads = recorded.filter_map(|&(id, _)| staged_upload(&staging, id)).collect();
        Ok(StagedEntries { names, uploads })
    }

    /// Removes the record of an upload, if `part` is the inode of its part. Returns whether it is.
    fn drop_record_of(&self, id: &UploadId, part: InodeId) -> Result<bool, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(false) };
        let is_there = part_meta(&staging, id).is_some_and(|meta| meta.identity.inode() == part);
        if is_there {
            remove(&staging, &record_name(id));
        }
        Ok(is_there)
    }

    /// Removes the part and the record of an upload. `defers` as in [`HomeDirectory::open_for_deferred_close`].
    pub(in crate::store) fn remove_partial(
        &self,
        id: &UploadId,
        defers: bool,
    ) -> Result<Option<RemovedPart>, StoreError> {
        let Some(staging) = self.staging(false)? else { return Ok(None) };
        let Ok(stat) = rustix::fs::statat(&*staging, part_name(id), AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(None);
        };
        remove(&staging, &record_name(id));
        let (part, meta) = (part_name(id), Meta::from(stat));
        let held = self.open_for_deferred_close(&*staging, part.as_bytes(), &meta, defers);
        let is_removed = remove(&staging, &part);
        Ok(Some(RemovedPart { meta, held, is_removed }))
    }
}

/// Removes access control lists that the staging directory inherited from the home, so that its files do
/// not inherit them.
fn close_to_others(staging: &OwnedFd) {
    // A file system without access control lists refuses.
    let _ = rustix::fs::fremovexattr(staging, acl::DEFAULT);
    let _ = rustix::fs::fremovexattr(staging, acl::ACCESS);
    let _ = rustix::fs::fchmod(staging, Mode::RWXU);
}

/// Removes a file. Returns false if that failed or the file did not exist. The next count reports a failure.
pub(in crate::store) fn remove(staging: impl AsFd, name: &str) -> bool {
    rustix::fs::unlinkat(staging, name, AtFlags::empty()).is_ok()
}

/// Returns the upload and the suffix of each name in the staging directory that belongs to an upload.
pub(in crate::store) fn staged_names(staging: &OwnedFd) -> Result<Vec<(UploadId, &'static str)>, StoreError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(staging)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        for suffix in [PART_SUFFIX, RECORD_SUFFIX, NEW_RECORD_SUFFIX] {
            if let Some(Ok(id)) = name.strip_suffix(suffix).map(str::parse) {
                names.push((id, suffix));
            }
        }
    }
    Ok(names)
}
