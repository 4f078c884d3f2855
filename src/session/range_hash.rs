//! Hashes a range of an open file, in slices.

use std::fs::File;
use std::sync::Arc;

use rustix::buffer::spare_capacity;

use super::error::SessionError;
use super::sliced::{Site, Sliced};
use crate::base::budget::Budget;
use crate::base::buffers::PIECE_BYTES;
use crate::base::digest::{ContentHash, DigestAlgorithm};
use crate::store::StoreError;
use crate::store::meta::{Meta, meta_of};

/// A running hash of a range.
pub(super) struct RangeHash(Sliced<Range, Result<Option<Meta>, StoreError>>);

struct Range {
    file: Arc<File>,
    hash: ContentHash,
    next: u64,
    end: u64,
}

impl RangeHash {
    /// Begins to hash the first `end` bytes of `file`.
    pub(super) fn of_first(end: u64, file: Arc<File>, algorithm: DigestAlgorithm) -> Self {
        Self(Sliced::Here(Range { file, hash: ContentHash::new(algorithm), next: 0, end }))
    }

    /// Returns whether a worker has it.
    pub(super) fn awaits_storage(&self) -> bool {
        self.0.awaits_storage()
    }

    /// Continues within `budget`. At the end returns the hash, and the metadata of the file then.
    pub(super) fn advance(
        &mut self,
        site: Site<'_>,
        budget: &mut Budget,
    ) -> Result<Option<(ContentHash, Meta)>, SessionError> {
        let Some(step) = self.0.advance(site, budget, Range::advance, |step| matches!(step, Ok(None)))? else {
            return Ok(None);
        };
        let (Some(meta), Sliced::Here(range)) = (step?, &self.0) else { return Ok(None) };
        Ok(Some((range.hash.clone(), meta)))
    }
}

impl Range {
    fn advance(&mut self, budget: &mut Budget) -> Result<Option<Meta>, StoreError> {
        let is_hashed = hash_range(&self.file, &mut self.hash, &mut self.next, self.end, budget)?;
        Ok(if is_hashed { Some(meta_of(&*self.file)?) } else { None })
    }
}

/// Hashes `file` from `next` up to `end` within `budget`. Returns true at the end.
fn hash_range(
    file: &File,
    hash: &mut ContentHash,
    next: &mut u64,
    end: u64,
    budget: &mut Budget,
) -> Result<bool, StoreError> {
    let mut piece = Vec::with_capacity(PIECE_BYTES.min(usize::try_from(end - *next).unwrap_or(PIECE_BYTES)));
    while *next < end {
        if budget.is_spent() {
            return Ok(false);
        }
        piece.clear();
        let count = rustix::io::pread(file, spare_capacity(&mut piece), *next)?;
        if count == 0 {
            return Err(StoreError::Changed);
        }
        let wanted = usize::try_from(end - *next).unwrap_or(usize::MAX).min(count);
        hash.update(&piece[..wanted]);
        *next += wanted as u64;
        budget.spend(wanted as u64);
    }
    Ok(true)
}
