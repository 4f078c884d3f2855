//! The part of the state of a home's partial uploads that is kept in memory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::base::upload_id::UploadId;

/// The maximum number of interrupted uploads in one home.
pub const PARTIALS_PER_HOME_MAX: usize = 64;

/// Which uploads of a home are interrupted, and how many running ones have a record.
#[derive(Default)]
pub(in crate::store) struct Partials {
    /// The interrupted uploads with the change times of their parts. `None` if they must be read from the
    /// staging directory.
    pub(super) interrupted: RefCell<Option<Vec<(i64, UploadId)>>>,
    /// The number of running uploads with a record.
    recorded: Rc<Cell<usize>>,
}

/// The right of a running upload to have a record.
pub(super) struct RecordSlot(Rc<Cell<usize>>);

impl Drop for RecordSlot {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Partials {
    /// Returns a slot, if one is free.
    pub(super) fn take_slot(&self) -> Option<RecordSlot> {
        let taken = self.recorded.get();
        (taken < PARTIALS_PER_HOME_MAX).then(|| {
            self.recorded.set(taken + 1);
            RecordSlot(Rc::clone(&self.recorded))
        })
    }

    /// Removes an upload that is running or gone.
    pub(super) fn forget(&self, id: &UploadId) {
        if let Some(interrupted) = &mut *self.interrupted.borrow_mut() {
            interrupted.retain(|(_, other)| other != id);
        }
    }

    /// Makes the next interruption read the staging directory again.
    pub(in crate::store) fn forget_all(&self) {
        *self.interrupted.borrow_mut() = None;
    }
}
