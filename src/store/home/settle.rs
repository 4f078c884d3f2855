//! Keeps the ledger of a home exact, and drops partial uploads that have expired. Both come before each change.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::task::Poll;

use super::{Home, LOGGED_PATH_BYTES_MAX};
use crate::base::budget::{Budget, ENTRY_COST};
use crate::base::text::{Escaped, shortened};
use crate::store::StoreError;
use crate::store::count::{Count, UnreadableEntries};
use crate::store::ledger::CountProgress;
use crate::store::monotonic;
use crate::store::workers::CALL_SLICE;

/// Entries that are counted before the time is checked.
const ENTRIES_PER_CHECK: u64 = 16;

impl Home {
    /// Must be called before every change of the home. Drops expired partial uploads, and continues a due
    /// count within `budget`. Returns true once the ledger is exact. After false, call it again in the next turn, or
    /// when the session `caller` is woken if the home [is changing](crate::store::workers::HomeFileSystem::is_changing).
    pub fn settle(self: &Rc<Self>, caller: u64, budget: &mut Budget) -> Result<bool, StoreError> {
        loop {
            if let Some(error) = self.settle_error.take() {
                return Err(error);
            }
            if self.file_system.is_changing(caller) || budget.is_spent() {
                return Ok(false);
            }
            if !self.file_system.is_unresponsive() && self.has_leftovers.take() {
                self.ledger.begin_recount();
            }
            if self.ledger.is_counted() && !self.is_expiry_due() {
                return Ok(true);
            }
            let (home, units) = (Rc::clone(self), budget.left());
            let step = async move {
                home.settle_step(units).await.unwrap_or_else(|error| {
                    home.settle_error.replace(Some(error));
                    0
                })
            };
            if let Poll::Ready(spent) = self.file_system.operations().begin(caller, step).take() {
                budget.spend(spent.unwrap_or(units));
            }
        }
    }

    /// Drops expired uploads, or continues the count for about `units` of a budget. Returns the spent units.
    async fn settle_step(&self, units: u64) -> Result<u64, StoreError> {
        let _changing = self.file_system.begin_change();
        if self.ledger.is_counted() {
            self.drop_expired().await;
            return Ok(0);
        }
        if self.ledger.is_recount_due() {
            // The count reports a staging directory that cannot be read.
            let _ = self.sweep_staging().await;
        }
        let (count, purpose) = self.ledger.take_count();
        let slice = self.run(move |directory| {
            let (began, mut budget) = (monotonic::now(), Budget::new(units));
            let mut count =
                count.map_or_else(|| Ok(Box::new(Count::new(directory.root_fd()?)?)), Ok::<_, StoreError>)?;
            loop {
                let mut part = Budget::new(budget.left().min(ENTRIES_PER_CHECK * ENTRY_COST));
                let before = part.left();
                let counted = count.advance(&mut part)?;
                budget.spend(before - part.left());
                if counted.is_some() || budget.is_spent() || began.elapsed() >= CALL_SLICE {
                    return Ok((count, counted, units - budget.left()));
                }
            }
        });
        let (count, counted, spent) = slice.await?;
        match self.ledger.continue_count(count, purpose, counted, self.clock.now_ns()) {
            CountProgress::Finished(before) => self.warn_of_unreadable(&before, &self.ledger.unreadable()),
            CountProgress::Later | CountProgress::Disturbed => {}
        }
        Ok(spent)
    }

    /// Logs what a count could not read, unless the previous count reported the same.
    fn warn_of_unreadable(&self, before: &UnreadableEntries, unreadable: &UnreadableEntries) {
        if unreadable == before {
            return;
        }
        for entry in &unreadable.named {
            let path = self.path.join(OsStr::from_bytes(&entry.path));
            let path = shortened(Escaped(path.as_os_str().as_bytes()).to_string(), LOGGED_PATH_BYTES_MAX);
            log::warn!("{path} cannot be examined: {}; its content is not counted", entry.problem);
        }
        let more = unreadable.count - unreadable.named.len() as u64;
        if more > 0 {
            log::warn!("{}: {more} more entries cannot be examined", Escaped(self.path.as_os_str().as_bytes()));
        }
    }
}
