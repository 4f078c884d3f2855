//! The directories that a recursive listing still has to list.

use crate::base::memory::{Charge, LISTING_BYTES_MAX, LISTING_ENTRIES_MAX};
use crate::session::SessionError;

/// Memory of a pending directory besides its name.
const PENDING_DIRECTORY_BYTES: usize = 64;

/// The directories of a recursive listing, in the order of `ls -R`.
#[derive(Default)]
pub(super) struct Tree {
    /// The heading of the listed directory: its path above its entries.
    pub(super) heading: Vec<u8>,
    /// Directories to list, the next one last: the length of the parent's heading, and the name.
    pending: Vec<(usize, Box<[u8]>)>,
    pending_bytes: usize,
    charge: Charge,
    /// The index in `pending` of the first subdirectory of the listed directory.
    own_start: usize,
    /// Directories that could not be listed.
    pub(super) skipped: u64,
}

impl Tree {
    /// Makes the tree below the directory with this heading.
    pub(super) fn new(heading: Vec<u8>, charge: Charge) -> Self {
        Self { heading, charge, ..Self::default() }
    }

    pub(super) fn add(&mut self, name: &[u8]) -> Result<(), SessionError> {
        self.pending_bytes += name.len();
        if self.pending.len() >= LISTING_ENTRIES_MAX || self.pending_bytes > LISTING_BYTES_MAX {
            return Err(SessionError::TooLarge);
        }
        if !self.charge.resize(self.charge.bytes() + name.len() + PENDING_DIRECTORY_BYTES) {
            return Err(SessionError::Busy);
        }
        self.pending.push((self.heading.len(), name.into()));
        Ok(())
    }

    /// Makes the next directory the listed one. Returns false at the end.
    pub(super) fn descend(&mut self) -> bool {
        self.pending[self.own_start..].reverse();
        let Some((parent_bytes, name)) = self.pending.pop() else { return false };
        self.pending_bytes -= name.len();
        self.charge.resize(self.charge.bytes() - name.len() - PENDING_DIRECTORY_BYTES);
        // The last listed directory is the parent of this one, or lies below it.
        self.heading.truncate(parent_bytes);
        if !self.heading.ends_with(b"/") {
            self.heading.push(b'/');
        }
        self.heading.extend_from_slice(&name);
        self.own_start = self.pending.len();
        true
    }
}
