//! The running uploads of a home. Only one session at a time may send an upload with a given ID.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::base::upload_id::UploadId;
use crate::store::ledger::Reservation;
use crate::store::open_file::OpenFile;
use crate::store::usage::InodeId;

/// The running uploads of a home by ID. A second claim on an ID ends the first.
#[derive(Default)]
pub(in crate::store) struct Claims(RefCell<HashMap<UploadId, Weak<Claim>>>);

/// One running upload.
pub(super) struct Claim {
    pub(super) reservation: Reservation,
    /// The file that the bytes are written to. `None` once another session has claimed the upload.
    pub(super) file: RefCell<Option<Rc<OpenFile>>>,
    /// A sync of this upload, or of an earlier attempt, has failed.
    pub(super) is_unwritten: Cell<bool>,
    /// The upload must not be resumed.
    pub(super) is_forgotten: Cell<bool>,
}

impl Claims {
    pub(super) fn insert(&self, id: UploadId, claim: &Rc<Claim>) {
        self.0.borrow_mut().insert(id, Rc::downgrade(claim));
    }

    pub(in crate::store) fn is_running(&self, id: &UploadId) -> bool {
        self.0.borrow().get(id).is_some_and(|claim| claim.strong_count() > 0)
    }

    /// Ends the present claim: releases its reservation, closes its file at once, and makes its next write
    /// fail. Returns false if there is none.
    pub(super) fn supersede(&self, id: &UploadId) -> bool {
        let Some(claim) = self.0.borrow_mut().remove(id).and_then(|claim| claim.upgrade()) else { return false };
        claim.reservation.release();
        claim.file.take().is_some()
    }

    /// Makes the running upload `id` fail, if `file` is its file. Returns whether it is.
    pub(super) fn mark_failed(&self, id: &UploadId, file: InodeId) -> bool {
        let running = self.0.borrow().get(id).and_then(Weak::upgrade);
        let is_in = |claim: &Rc<Claim>| claim.file.borrow().as_ref().is_some_and(|open| open.id() == file);
        running.filter(is_in).inspect(|claim| claim.is_unwritten.set(true)).is_some()
    }

    pub(super) fn remove(&self, id: &UploadId) {
        self.0.borrow_mut().remove(id);
    }
}
