//! Continues uploads and downloads.

use std::time::Duration;

use super::mapping::put;
use super::{Native, NativeContext, RequestStage};
use crate::base::buffers::DATA_BYTES_MAX;
use crate::session::SessionError;
use crate::session::download::{DownloadHeader, Fetched};
use crate::wire::Reply;
use crate::wire::frame::{self, FrameType, HEADER_BYTES};
use crate::wire::message::End;

/// The slowest rate at which a client reads and hashes the stored part of a resumed upload, in bytes a
/// second. During that time its pings extend the stall timeout.
const PREFIX_COMPARED_PER_SECOND_MIN: u64 = 8 * 1024 * 1024;

impl Native {
    pub(super) fn prepare_upload(&mut self, id: u32, turn: &mut NativeContext) -> Result<bool, SessionError> {
        let Some((offset, digest)) = self.session.prepare_upload(turn.service, turn.budget)? else {
            return Ok(!self.session.waits_for_sync() && !self.session.awaits_storage());
        };
        let patience = Duration::from_secs(offset / PREFIX_COMPARED_PER_SECOND_MIN);
        self.prefix_check_until = turn.now.checked_add(patience);
        turn.reply(id, &Reply::Ready { offset, prefix_digest: digest.ok_or(SessionError::Defect)? });
        self.set_stage(RequestStage::Receive);
        Ok(true)
    }

    pub(super) fn advance_commit(&mut self, id: u32, turn: &mut NativeContext) -> Result<bool, SessionError> {
        let Some(mut session) = self.session.counted(turn.budget)? else {
            return Ok(!self.session.awaits_storage());
        };
        let Some(stored) = session.advance_commit(turn.service, turn.now)? else { return Ok(false) };
        turn.reply(id, &Reply::Stored { size: stored.size, digest: stored.digest.ok_or(SessionError::Defect)? });
        self.running = None;
        Ok(true)
    }

    pub(super) fn prepare_download(&mut self, id: u32, turn: &mut NativeContext) -> Result<bool, SessionError> {
        if let Some(opened) = self.session.prepare_download(turn.service, turn.budget)? {
            let DownloadHeader { size, mtime_ns, etag, offset, mode } = opened;
            turn.reply(id, &Reply::File { size, mtime_ns, etag, offset, mode: Some(mode) });
            self.set_stage(RequestStage::Send);
        }
        Ok(!self.session.awaits_storage())
    }

    pub(super) fn send(&mut self, id: u32, turn: &mut NativeContext) -> Result<bool, SessionError> {
        // Ranges must leave before more is fetched, so that the check at the end of the file comes after its
        // last byte was read.
        if turn.buffers.output.has_ranges() {
            return Ok(false);
        }
        let (max, range_max) = (turn.buffers.output.frame_bytes_max(), self.sends_ranges.then_some(DATA_BYTES_MAX));
        let fetched = turn.buffers.output.append(|out| {
            let start = out.len();
            out.extend_from_slice(&[0; HEADER_BYTES]);
            let fetched = self.session.fetch(turn.service, out, max, range_max, turn.budget, turn.now);
            let length = match &fetched {
                Ok(Fetched::Bytes(count)) => Some(*count),
                Ok(Fetched::Range(range)) => Some(range.length as usize),
                Ok(Fetched::Later | Fetched::Waits | Fetched::End(..)) | Err(_) => None,
            };
            match length {
                Some(length) => {
                    out[start..start + HEADER_BYTES].copy_from_slice(&frame::header(FrameType::Data, id, length));
                }
                None => out.truncate(start),
            }
            fetched
        })?;
        match fetched {
            Fetched::Bytes(_) | Fetched::Later => {}
            Fetched::Waits => return Ok(false),
            Fetched::Range(range) => turn.buffers.output.push_range(range),
            Fetched::End(size, digest) => {
                let digest = digest.ok_or(SessionError::Defect)?;
                put(turn.buffers, FrameType::End, id, &End { size, digest });
                self.running = None;
            }
        }
        Ok(true)
    }
}
