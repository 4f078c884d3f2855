//! The uploads of a home that are running, by name. One name is uploaded by one session at a time.

use crate::base::upload_id::UploadId;
use crate::store::ledger::Reservation;
use crate::store::open_file::OpenFile;
use crate::store::usage::InodeId;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

/// The running uploads of a home by name, so that a second claim on one ends the first.
#[derive(Default)]
pub(in crate::store) struct Claims(RefCell<HashMap<UploadId, Weak<Claim>>>);

/// One upload that is running.
pub(super) struct Claim {
    pub(super) reservation: Reservation,
    /// The bytes; gone once another session has the upload.
    pub(super) file: RefCell<Option<Rc<OpenFile>>>,
    /// The disk did not take what was written, by this upload or by an earlier try of it.
    pub(super) is_unwritten: Cell<bool>,
}

impl Claims {
    pub(super) fn insert(&self, id: UploadId, claim: &Rc<Claim>) {
        self.0.borrow_mut().insert(id, Rc::downgrade(claim));
    }

    pub(in crate::store) fn is_running(&self, id: &UploadId) -> bool {
        self.0.borrow().get(id).is_some_and(|claim| claim.strong_count() > 0)
    }

    /// Ends the claim there is: its promise is free and its file closed at once, its next write fails.
    /// False if there is none.
    pub(super) fn supersede(&self, id: &UploadId) -> bool {
        let Some(claim) = self.0.borrow_mut().remove(id).and_then(|claim| claim.upgrade()) else { return false };
        claim.reservation.release();
        claim.file.take().is_some()
    }

    /// The upload that is running can no longer be stored, if its bytes are in this file; whether they
    /// are.
    pub(super) fn distrust(&self, id: &UploadId, file: InodeId) -> bool {
        let running = self.0.borrow().get(id).and_then(Weak::upgrade);
        let is_in = |claim: &Rc<Claim>| claim.file.borrow().as_ref().is_some_and(|open| open.id() == file);
        running.filter(is_in).inspect(|claim| claim.is_unwritten.set(true)).is_some()
    }

    pub(super) fn remove(&self, id: &UploadId) {
        self.0.borrow_mut().remove(id);
    }
}
