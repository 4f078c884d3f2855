//! The initial content of an upload (nothing, a partial upload, or a copy of the file that it will
//! replace), and which file the upload may replace.

use std::rc::Rc;

use super::plan::{UploadPlan, UploadStart};
use crate::session::error::SessionError;
use crate::session::read_ahead::ReadAhead;
use crate::store::home::{Home, UploadTarget};
use crate::store::meta::{Identity, Meta, meta_of};
use crate::store::staging::Staged;
use crate::store::{OpenFile, StoreError};

/// A file whose beginning is being copied. The file itself is not changed.
pub(super) struct AppendBase {
    file: OpenFile,
    /// The number of bytes to copy.
    pub(super) length: u64,
    meta: Meta,
    ahead: ReadAhead,
}

impl AppendBase {
    /// Fails if the file has changed: a copy must not mix two versions.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if meta_of(&self.file)?.identity == self.meta.identity { Ok(()) } else { Err(StoreError::Changed) }
    }

    /// Copies up to `most` further bytes to the end of `staged`. Returns the number of bytes.
    pub(super) fn copy_to(&mut self, staged: &mut Staged, most: u64) -> Result<u64, StoreError> {
        self.ahead.advise(&self.file, staged.length(), self.length);
        staged.copy_from(&self.file, most)
    }
}

/// The initial content of an upload.
pub(super) struct OpenedUpload {
    pub(super) staged: Staged,
    /// The file to copy first.
    pub(super) base: Option<AppendBase>,
    pub(super) replaces: Replaces,
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
pub(super) fn open(
    home: &Rc<Home>,
    plan: &mut UploadPlan,
    target: &UploadTarget,
) -> Result<OpenedUpload, SessionError> {
    match plan.start {
        UploadStart::Empty => {
            Ok(OpenedUpload { staged: create(home, plan, target, 0)?, base: None, replaces: Replaces::Anything })
        }
        UploadStart::Kept => {
            let kept = plan.id.map(|id| Staged::resume(Rc::clone(home), id, &plan.record())).transpose()?.flatten();
            let staged = kept.map_or_else(|| create(home, plan, target, 0), Ok)?;
            Ok(OpenedUpload { staged, base: None, replaces: Replaces::Anything })
        }
        UploadStart::At(offset) => open_for_append(home, plan, target, Some(offset)),
        UploadStart::End => open_for_append(home, plan, target, None),
    }
}

/// Opens the partial upload or the file at the path, to continue at byte `at` or at the end.
/// [`UploadStart::At`] says which of the two.
fn open_for_append(
    home: &Rc<Home>,
    plan: &mut UploadPlan,
    target: &UploadTarget,
    at: Option<u64>,
) -> Result<OpenedUpload, SessionError> {
    let there = match home.open(&plan.path) {
        Ok(there) => Some(there),
        Err(StoreError::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    // A symlink is replaced itself.
    let replaces = Replaces::Only(home.entry(&plan.path)?.map(|meta| meta.identity));
    if plan.is_named_by_path()
        && let Some(partial) = home.newer_partial_upload(&plan.path)?
    {
        if let Some((_, meta)) = &there {
            refuse_other_version(at, meta.size, partial.size)?;
        }
        let length = start_within(plan, at, partial.size)?;
        let resumed = Staged::resume_at(Rc::clone(home), &plan.record(), &plan.path, length, plan.length.promised())?;
        if let Some(staged) = resumed {
            return Ok(OpenedUpload { staged, base: None, replaces });
        }
    }
    let length = start_within(plan, at, there.as_ref().map_or(0, |(_, meta)| meta.size))?;
    let staged = create(home, plan, target, length)?;
    let base = there.map(|(file, meta)| AppendBase { file, length, meta, ahead: ReadAhead::default() });
    Ok(OpenedUpload { staged, base, replaces })
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

/// Opens an empty staged file after reserving the announced length, or `base` bytes. If another upload
/// uses the name that uploads to this path share, the new one has no name: both complete, and the one
/// that completes last replaces the other.
fn create(home: &Rc<Home>, plan: &mut UploadPlan, target: &UploadTarget, base: u64) -> Result<Staged, StoreError> {
    if plan.is_named_by_path() {
        plan.id = plan.id.filter(|id| !home.is_uploading(id));
    }
    Staged::create(Rc::clone(home), target, plan.id, plan.wanted_mode, plan.length.promised().max(base))
}
