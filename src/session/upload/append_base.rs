//! What an upload starts with: nothing, what was kept of an earlier one, or a copy of the file it
//! will replace.

use super::plan::{UploadPlan, UploadStart};
use crate::session::error::SessionError;
use crate::session::read_ahead::ReadAhead;
use crate::store::home::{Home, UploadTarget};
use crate::store::meta::{Identity, Meta, meta_of};
use crate::store::staging::Staged;
use crate::store::{OpenFile, StoreError};
use std::rc::Rc;

/// A file whose beginning is being copied. The file itself stays as it is.
pub(super) struct AppendBase {
    file: OpenFile,
    /// Bytes wanted of it.
    pub(super) length: u64,
    meta: Meta,
    ahead: ReadAhead,
}

impl AppendBase {
    /// Refuses if it is no longer the file it was: a copy of two versions is one of neither.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if meta_of(&self.file)?.identity == self.meta.identity { Ok(()) } else { Err(StoreError::Changed) }
    }

    /// Copies up to `most` bytes more to where `staged` ends; how many.
    pub(super) fn copy_to(&mut self, staged: &mut Staged, most: u64) -> Result<u64, StoreError> {
        self.ahead.advise(&self.file, staged.length(), self.length);
        staged.copy_from(&self.file, most)
    }
}

/// What an upload begins with.
pub(super) struct Opened {
    pub(super) staged: Staged,
    /// The file to be copied first.
    pub(super) base: Option<AppendBase>,
    pub(super) replaces: Replaces,
}

/// What an upload may take the place of.
#[derive(Clone, Copy)]
pub(super) enum Replaces {
    /// Whatever is there.
    Anything,
    /// Only the file that it continues, or nothing: another session's newer file would be lost.
    Only(Option<Identity>),
}

impl Replaces {
    pub(super) fn accepts(self, there: Option<&Meta>) -> bool {
        // The change time tells of permissions, too, and of names.
        let content = |identity: Identity| Identity { ctime_ns: 0, ..identity };
        match self {
            Self::Anything => true,
            Self::Only(expected) => expected.map(content) == there.map(|meta| content(meta.identity)),
        }
    }
}

/// Opens the staged file of an upload, and what is to be copied into it first.
pub(super) fn open(home: &Rc<Home>, plan: &mut UploadPlan, target: &UploadTarget) -> Result<Opened, SessionError> {
    match plan.start {
        UploadStart::Empty => {
            Ok(Opened { staged: create(home, plan, target, 0)?, base: None, replaces: Replaces::Anything })
        }
        UploadStart::Kept => {
            let kept = plan.id.map(|id| Staged::resume(Rc::clone(home), id, &plan.record())).transpose()?.flatten();
            let staged = kept.map_or_else(|| create(home, plan, target, 0), Ok)?;
            Ok(Opened { staged, base: None, replaces: Replaces::Anything })
        }
        UploadStart::At(offset) => go_on(home, plan, target, Some(offset)),
        UploadStart::End => go_on(home, plan, target, None),
    }
}

/// Continues the file at the path, or the partial upload where there is none, at byte `at` or its end.
fn go_on(
    home: &Rc<Home>,
    plan: &mut UploadPlan,
    target: &UploadTarget,
    at: Option<u64>,
) -> Result<Opened, SessionError> {
    let there = match home.open(&plan.path) {
        Ok(there) => Some(there),
        Err(StoreError::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    // A link is replaced itself.
    let replaces = Replaces::Only(home.entry(&plan.path)?.map(|meta| meta.identity));
    if plan.is_named_by_path()
        && let Some(held) = home.held(&plan.path)?
    {
        if let Some((_, meta)) = &there {
            refuse_other_version(at, meta.size, held.size)?;
        }
        let length = start_within(plan, at, held.size)?;
        let resumed = Staged::resume_at(Rc::clone(home), &plan.record(), &plan.path, length, plan.length.promised())?;
        if let Some(staged) = resumed {
            return Ok(Opened { staged, base: None, replaces });
        }
    }
    let length = start_within(plan, at, there.as_ref().map_or(0, |(_, meta)| meta.size))?;
    let staged = create(home, plan, target, length)?;
    let base = there.map(|(file, meta)| AppendBase { file, length, meta, ahead: ReadAhead::default() });
    Ok(Opened { staged, base, replaces })
}

/// A client goes by the size of the file. The rest of one version must not be appended to another, so
/// where the part of a newer one is held, only a client that means that part may go on.
fn refuse_other_version(at: Option<u64>, size: u64, held: u64) -> Result<(), SessionError> {
    if at == Some(held) && held != size { Ok(()) } else { Err(SessionError::UploadHeld(held)) }
}

/// The byte to go on at, if there are so many and the client did not announce fewer.
fn start_within(plan: &UploadPlan, at: Option<u64>, size: u64) -> Result<u64, SessionError> {
    match at.unwrap_or(size) {
        length if length > size => Err(SessionError::BadOffset),
        length if plan.length.is_exceeded_by(length) => Err(SessionError::SizeMismatch),
        length => Ok(length),
    }
}

/// Opens an empty staged file after promising room for what was announced, or for `base` bytes.
/// The name that uploads to one path share is left to the one that has it: the new one is kept
/// under none, both arrive, and the last to arrive stays.
fn create(home: &Rc<Home>, plan: &mut UploadPlan, target: &UploadTarget, base: u64) -> Result<Staged, StoreError> {
    if plan.is_named_by_path() {
        plan.id = plan.id.filter(|id| !home.is_uploading(id));
    }
    Staged::create(Rc::clone(home), target, plan.id, plan.wanted_mode, plan.length.promised().max(base))
}
