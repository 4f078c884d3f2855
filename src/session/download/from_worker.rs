//! Fetches pieces of a download that a worker reads.

use std::sync::Arc;
use std::task::Poll;

use rustix::buffer::spare_capacity;

use super::{Download, Fetched};
use crate::base::budget::Budget;
use crate::base::buffers::{PIECE_BYTES, aligned_piece};
use crate::base::memory::Charge;
use crate::session::error::SessionError;
use crate::session::sliced::Site;
use crate::store::StoreError;
use crate::store::workers::operations::Operation;

/// A piece that a worker reads.
pub(super) type ReadPiece = Operation<Result<Result<(Vec<u8>, Option<Charge>), StoreError>, SessionError>>;

impl Download {
    /// Like [`Download::fetch`], for a file system that may make the caller wait: a worker reads the piece, and
    /// then the next one while this one is sent. The size of the next one is bounded by the present `max`, not by
    /// that of the call that returns it.
    pub(super) fn fetch_from_worker(
        &mut self,
        site: Site<'_>,
        out: &mut Vec<u8>,
        max: usize,
        budget: &mut Budget,
    ) -> Result<Fetched, SessionError> {
        let mut reading = self.piece.take().unwrap_or_else(|| self.read_piece(site, max));
        let (piece, _charge) = match reading.take() {
            Poll::Pending => {
                self.piece = Some(reading);
                return Ok(Fetched::Waits);
            }
            Poll::Ready(read) => read.unwrap_or(Err(SessionError::Defect))??,
        };
        if piece.is_empty() {
            return Err(SessionError::Changed);
        }
        self.sample(&piece);
        if self.hashes()
            && let Some(hash) = &mut self.hash
        {
            hash.update(&piece);
        }
        out.extend_from_slice(&piece);
        self.next += piece.len() as u64;
        budget.spend(piece.len() as u64);
        if !self.is_fetched() && !site.is_prompt() {
            self.piece = Some(self.read_piece(site, max));
        }
        Ok(Fetched::Bytes(piece.len()))
    }

    fn read_piece(&self, site: Site<'_>, max: usize) -> ReadPiece {
        let (file, offset) = (Arc::clone(self.file.shared()), self.next);
        let want = aligned_piece(offset, PIECE_BYTES.min(max))
            .min(usize::try_from(self.meta.size - offset).unwrap_or(usize::MAX));
        let (want, charge) = site.charge_piece(want);
        site.begin(move || {
            let mut piece = Vec::with_capacity(want);
            rustix::io::pread(&*file, spare_capacity(&mut piece), offset)?;
            piece.truncate(want);
            Ok((piece, charge))
        })
    }
}
