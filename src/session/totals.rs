//! The number of files and bytes that all sessions have transferred.

use std::cell::Cell;

use crate::base::token_bucket::Directions;

/// All transfers since the server started. Each is counted once, when it ends.
pub type Total = Directions<Cell<TransferTotals>>;

/// Transfers in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferTotals {
    /// Completed transfers.
    pub files: u64,
    /// Bytes, including those of failed transfers.
    pub bytes: u64,
}

impl TransferTotals {
    /// Counts one more transfer.
    pub fn add(&mut self, bytes: u64, is_whole: bool) {
        self.files += u64::from(is_whole);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Total {
    /// Counts a transfer that has ended.
    pub(super) fn add(&self, is_upload: bool, bytes: u64, is_whole: bool) {
        let direction = if is_upload { &self.up } else { &self.down };
        let mut transferred = direction.get();
        transferred.add(bytes, is_whole);
        direction.set(transferred);
    }
}
