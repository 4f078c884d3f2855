//! The initial content of an upload (nothing, a partial upload, or a copy of the file that it will
//! replace), and which file the upload may replace.

use std::rc::Rc;
use std::sync::Arc;

use super::plan::{UploadPlan, UploadStart};
use crate::session::error::SessionError;
use crate::session::read_ahead::ReadAhead;
use crate::store::home::{Home, UploadTarget};
use crate::store::meta::{Identity, Meta, meta_of};
use crate::store::staging::Staged;
use crate::store::{OpenFile, StoreError};

/// A file whose first bytes are being copied into a staged file. The file itself is not changed.
pub(super) struct AppendBase {
    file: OpenFile,
    /// The number of bytes to copy.
    length: u64,
    meta: Meta,
    ahead: ReadAhead,
}

impl AppendBase {
    /// Fails if the file has changed: a copy must not mix two versions.
    async fn check(&self, home: &Home) -> Result<(), StoreError> {
        let file = Arc::clone(self.file.shared());
        let meta = home.run(move |_| meta_of(&*file)).await?;
        if meta.identity == self.meta.identity { Ok(()) } else { Err(StoreError::Changed) }
    }

    /// Copies up to `most` further bytes to the end of `staged`. Returns the number of bytes.
    async fn copy_to(&mut self, staged: &mut Staged, most: u64) -> Result<u64, StoreError> {
        if staged.is_prompt() {
            self.ahead.advise(&self.file, staged.length(), self.length);
        }
        staged.copy_from(Arc::clone(self.file.shared()), most).await
    }
}

/// The staged file of an upload, and the file to copy into it first.
pub(super) struct Content {
    pub(super) staged: Staged,
    base: Option<AppendBase>,
}

impl Content {
    /// Returns whether the initial content is still being truncated or copied.
    pub(super) fn is_starting(&self) -> bool {
        self.base.is_some() || self.staged.has_surplus()
    }

    /// Truncates or copies up to `most` bytes of the initial content. Returns the number of bytes.
    pub(super) async fn start(&mut self, home: Rc<Home>, most: u64) -> Result<u64, StoreError> {
        if self.staged.has_surplus() {
            return self.staged.cut().await;
        }
        let Some(base) = &mut self.base else { return Ok(0) };
        let left = base.length - self.staged.length();
        let count = if left > 0 { base.copy_to(&mut self.staged, left.min(most)).await? } else { 0 };
        if count == left {
            base.check(&home).await?;
            self.base = None;
        }
        Ok(count)
    }
}

/// An upload whose staged file is open.
pub(super) struct OpenedUpload {
    pub(super) content: Content,
    /// The first byte that the client sends.
    pub(super) offset: u64,
    /// Whether it can be resumed. An upload that appends to a file is not kept, because its client sees
    /// only that file.
    pub(super) outlives_session: bool,
    pub(super) replaces: Replaces,
}

impl OpenedUpload {
    fn new(plan: &UploadPlan, staged: Staged, base: Option<AppendBase>, replaces: Replaces) -> Self {
        let offset = base.as_ref().map_or(staged.length(), |base| base.length);
        let outlives_session = plan.id.is_some() && base.is_none();
        Self { content: Content { staged, base }, offset, outlives_session, replaces }
    }
}

/// What an upload may replace.
#[derive(Clone, Copy)]
pub(super) enum Replaces {
    /// Any file.
    Anything,
    /// Only the file that it continues, or nothing. Otherwise another session's newer file would be lost.
    Only(Option<Identity>),
}

impl Replaces {
    pub(super) fn accepts(self, there: Option<&Meta>) -> bool {
        // The change time also depends on permissions and names.
        let content = |identity: Identity| Identity { ctime_ns: 0, ..identity };
        match self {
            Self::Anything => true,
            Self::Only(expected) => expected.map(content) == there.map(|meta| content(meta.identity)),
        }
    }
}

/// Opens the staged file of an upload, and the file to copy into it first.
pub(super) async fn open(
    home: &Rc<Home>,
    plan: &mut UploadPlan,
    target: UploadTarget,
) -> Result<OpenedUpload, SessionError> {
    let kept = match (plan.start, plan.id) {
        (UploadStart::At(offset), _) => return open_for_append(home, plan, target, Some(offset)).await,
        (UploadStart::End, _) => return open_for_append(home, plan, target, None).await,
        (UploadStart::Kept, Some(id)) => Staged::resume(Rc::clone(home), id, plan.record()).await?,
        (UploadStart::Kept | UploadStart::Empty, _) => None,
    };
    let staged = match kept {
        Some(staged) => staged,
        None => create(home, plan, target, 0).await?,
    };
    Ok(OpenedUpload::new(plan, staged, None, Replaces::Anything))
}

/// Opens the partial upload or the file at the path, to continue at byte `at` or at the end.
/// [`UploadStart::At`] says which of the two.
async fn open_for_append(
    home: &Rc<Home>,
    plan: &mut UploadPlan,
    target: UploadTarget,
    at: Option<u64>,
) -> Result<OpenedUpload, SessionError> {
    let there = match home.open(plan.path.clone()).await {
        Ok(there) => Some(there),
        Err(StoreError::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let path = plan.path.clone();
    let entry = home.run(move |home| home.entry(&path)).await?;
    // A symlink is replaced itself.
    let replaces = Replaces::Only(entry.map(|meta| meta.identity));
    if plan.is_named_by_path()
        && let Some(partial) = home.newer_partial_upload(plan.path.clone()).await?
    {
        if let Some((_, meta)) = &there {
            refuse_other_version(at, meta.size, partial.size)?;
        }
        let (length, promised) = (start_within(plan, at, partial.size)?, plan.length.promised());
        let resumed = Staged::resume_at(Rc::clone(home), plan.record(), plan.path.clone(), length, promised);
        if let Some(staged) = resumed.await? {
            return Ok(OpenedUpload::new(plan, staged, None, replaces));
        }
    }
    let length = start_within(plan, at, there.as_ref().map_or(0, |(_, meta)| meta.size))?;
    let staged = create(home, plan, target, length).await?;
    let base = there.map(|(file, meta)| AppendBase { file, length, meta, ahead: ReadAhead::default() });
    Ok(OpenedUpload::new(plan, staged, base, replaces))
}

/// A client resumes by the size of the file. The rest of one version must not be appended to another,
/// so if a newer partial upload exists, only a client that resumes that may continue.
fn refuse_other_version(at: Option<u64>, size: u64, partial: u64) -> Result<(), SessionError> {
    if at == Some(partial) && partial != size { Ok(()) } else { Err(SessionError::UploadHeld(partial)) }
}

/// Returns the byte to continue at: `at`, or the end. Refuses a byte past `size` or past the announced size.
fn start_within(plan: &UploadPlan, at: Option<u64>, size: u64) -> Result<u64, SessionError> {
    match at.unwrap_or(size) {
        length if length > size => Err(SessionError::BadOffset),
        length if plan.length.is_exceeded_by(length) => Err(SessionError::SizeMismatch),
        length => Ok(length),
    }
}

/// Opens an empty staged file after reserving the announced length, or `base` bytes. If another running upload has
/// the ID that uploads to this path share, the new one gets no ID: both complete, and the one that completes last
/// replaces the other.
async fn create(home: &Rc<Home>, plan: &mut UploadPlan, target: UploadTarget, base: u64) -> Result<Staged, StoreError> {
    if plan.is_named_by_path() {
        plan.id = plan.id.filter(|id| !home.is_uploading(id));
    }
    let promised = plan.length.promised().max(base);
    Staged::create(Rc::clone(home), target, plan.id, plan.wanted_mode, promised).await
}
