//! Uploads over a data connection, from the initial content to the final name.

use std::time::{Duration, Instant};

use super::{Activity, Ftp, FtpContext, TransferStep, check_connection};
use crate::base::budget::Budget;
use crate::base::buffers::{STORE_BYTES_MIN, SpliceSource};
use crate::base::upload_id::RESUME_BYTES_MIN;
use crate::session::{Service, SessionError};

/// After the end of data, the control connection must stay open for 1/N of the upload's duration.
/// Otherwise the part that a killed client sent would be taken for the whole file.
pub const FTP_END_GRACE_SHARE: u32 = 64;
/// The shortest grace period for an upload of `RESUME_BYTES_MIN` or more. When a client is killed, the
/// kernel often closes its data connection first, and the control connection some time later.
pub const FTP_END_GRACE_LARGE: Duration = Duration::from_millis(20);
/// The longest grace period. Users do not notice it, and even a busy machine closes both connections of a
/// killed client within it.
pub const FTP_END_GRACE_MAX: Duration = Duration::from_millis(50);
/// A shorter grace period is skipped; the control connection is only checked once more.
const FTP_END_GRACE_MIN: Duration = Duration::from_millis(1);

/// How long bytes that are fewer than [`STORE_BYTES_MIN`] wait for more before they are stored.
const STORE_WAIT_MAX: Duration = Duration::from_secs(1);

impl Ftp {
    pub(super) fn prepare_upload(&mut self, turn: &mut FtpContext) -> Result<bool, SessionError> {
        if self.session.prepare_upload(turn.service, turn.budget)?.is_none() {
            return Ok(!self.session.waits_for_sync() && !self.session.awaits_storage());
        }
        match &self.activity {
            // RFC 1123, section 4.1.2.9.
            Activity::Transfer(transfer) if transfer.is_named_here() => {
                let text = [b"FILE: ", transfer.path.name().unwrap_or_default()].concat();
                self.announce(text, turn);
            }
            _ => self.announce_opening("the file", turn),
        }
        Ok(true)
    }

    pub(super) fn store(&mut self, turn: &mut FtpContext) -> Result<bool, SessionError> {
        let buffers = turn.data.buffers();
        let (has_failed, has_ended) = (check_connection(turn.data).is_err(), buffers.eof);
        let bytes = buffers.input.filled();
        if std::mem::replace(&mut self.upload_bytes_waiting, bytes.len()) != bytes.len() {
            self.progress += 1;
        }
        if bytes.is_empty() {
            return match (has_failed, has_ended) {
                (true, _) => Err(SessionError::Cut),
                (false, true) => {
                    self.begin_end_grace(turn);
                    Ok(true)
                }
                (false, false) => Ok(false),
            };
        }
        if bytes.len() < STORE_BYTES_MIN && !has_ended && !has_failed && !buffers.input.is_full_and_small() {
            let Activity::Transfer(transfer) = &mut self.activity else { return Ok(false) };
            let TransferStep::Move { stores_at } = &mut transfer.step else { return Ok(false) };
            if turn.now < *stores_at.get_or_insert(turn.now + STORE_WAIT_MAX) {
                return Ok(false);
            }
        }
        let Some(mut session) = self.session.counted(turn.budget)? else {
            return Ok(!self.session.awaits_storage());
        };
        let stored = session.store(turn.service, bytes)?;
        turn.budget.spend(stored as u64);
        turn.data.buffers_mut().input.consume(stored);
        self.set_step(TransferStep::Move { stores_at: None });
        Ok(stored > 0 || turn.budget.is_spent())
    }

    /// Splices an upload, as [`crate::protocol::Protocol::store_from`] says.
    pub(in crate::protocol::ftp) fn store_from_socket(
        &mut self,
        incoming: SpliceSource<'_>,
        service: &mut Service,
        budget: &mut Budget,
    ) -> Result<usize, SessionError> {
        let Activity::Transfer(transfer) = &self.activity else { return Ok(0) };
        if !transfer.is_upload() || !matches!(transfer.step, TransferStep::Move { .. }) {
            return Ok(0);
        }
        self.progress += 1;
        match self.session.counted(budget)? {
            Some(mut session) => session.store_from(service, incoming),
            None => Ok(0),
        }
    }

    /// Begins the wait that tells a complete upload from that of a killed client, which closes both
    /// connections in any order. The wait grows with the duration of the upload, and starts when the end of
    /// the data arrived.
    pub(super) fn begin_end_grace(&mut self, turn: &FtpContext) {
        let transfer = self.session.transfer();
        let took = transfer.as_ref().map_or(Duration::ZERO, |transfer| turn.now - transfer.started);
        let is_large = transfer.is_some_and(|transfer| transfer.bytes >= RESUME_BYTES_MIN);
        let least = if is_large { FTP_END_GRACE_LARGE } else { Duration::ZERO };
        let grace = (took / FTP_END_GRACE_SHARE).clamp(least, FTP_END_GRACE_MAX);
        // The loop's timers have millisecond resolution, which would delay a short upload too long.
        let grace = if grace < FTP_END_GRACE_MIN { Duration::ZERO } else { grace };
        self.set_step(TransferStep::End { until: turn.data.ended_at().unwrap_or(turn.now) + grace });
    }

    pub(super) fn complete(&mut self, until: Instant, turn: &mut FtpContext) -> Result<bool, SessionError> {
        // A client sends QUIT only after all its data.
        let has_quit = self.queue.has_quit();
        if turn.buffers.eof && !has_quit {
            return Err(SessionError::Cut);
        }
        // The control connection is read in every step, so after two steps its state is current.
        if (turn.now < until && !has_quit) || self.steps_since_end < 2 {
            return Ok(false);
        }
        self.session.complete_upload(turn.now)?;
        self.record_reuse(turn.data);
        turn.data.close();
        self.set_step(TransferStep::Commit);
        Ok(true)
    }

    pub(super) fn commit(&mut self, turn: &mut FtpContext) -> Result<bool, SessionError> {
        let Some(mut session) = self.session.counted(turn.budget)? else {
            return Ok(!self.session.awaits_storage());
        };
        let Some(stored) = session.advance_commit(turn.service, turn.now)? else { return Ok(false) };
        let Activity::Transfer(transfer) = std::mem::replace(&mut self.activity, Activity::Nothing) else {
            return Ok(true);
        };
        if transfer.is_named_here() {
            turn.reply_quoted(226, &transfer.path, "stored; transfer complete.");
        } else {
            turn.reply(226, format!("Transfer complete; {} bytes stored.", stored.size));
        }
        Ok(true)
    }
}
