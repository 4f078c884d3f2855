//! Downloads and listings over a data connection, and their end.

use super::{Activity, Ftp, FtpContext, TransferKind, TransferStep, check_connection};
use crate::base::buffers::DATA_BYTES_MAX;
use crate::protocol::data_connection::{DataConnection, DataEnd};
use crate::session::SessionError;
use crate::session::download::Fetched;

impl Ftp {
    pub(super) fn send(&mut self, turn: &mut FtpContext) -> Result<bool, SessionError> {
        check_connection(turn.data)?;
        let output = &mut turn.data.buffers_mut().output;
        // Ranges must leave before more is fetched, so that the check at the end of the file comes after its
        // last byte was read.
        if output.has_ranges() || !output.has_room() {
            return Ok(false);
        }
        // The end is logged, so it must not be fetched before the rest has left.
        if !output.is_empty() && self.session.is_fetched() {
            return Ok(false);
        }
        let (max, range_max) = (output.frame_bytes_max(), (!self.data.is_private).then_some(DATA_BYTES_MAX));
        let fetched =
            output.append(|out| self.session.fetch(turn.service, out, max, range_max, turn.budget, turn.now))?;
        match fetched {
            Fetched::Bytes(_) | Fetched::Later => {}
            Fetched::Waits => return Ok(false),
            Fetched::Range(range) => output.push_range(range),
            Fetched::End(..) => self.finish(turn.data),
        }
        Ok(true)
    }

    /// Ends the data.
    pub(super) fn finish(&mut self, data: &mut dyn DataConnection) {
        data.finish();
        self.set_step(TransferStep::Finish { confirms_at: None, was_kept_open: false });
    }

    /// Sends the last reply when the peer has closed its side of the data connection, or some time after
    /// the first reply: a client that finds both replies at once may miss one.
    pub(super) fn await_end(&mut self, turn: &mut FtpContext) -> Result<bool, SessionError> {
        check_connection(turn.data)?;
        let Activity::Transfer(transfer) = &mut self.activity else { return Ok(false) };
        let TransferStep::Finish { confirms_at, was_kept_open } = &mut transfer.step else { return Ok(false) };
        match (turn.data.finish(), &*confirms_at) {
            (DataEnd::Sending, _) => return Ok(false),
            (DataEnd::Sent, None) => {
                let announced = transfer.announced.map(|announced| announced + transfer.reply_gap);
                *confirms_at = Some(announced.unwrap_or(turn.now));
                return Ok(true);
            }
            (DataEnd::Sent, Some(at)) if *at > turn.now => {
                *was_kept_open = true;
                return Ok(false);
            }
            // After a long transfer the server does not wait, so it learns nothing about the client.
            (DataEnd::Sent, Some(_)) => {
                self.kept_open_downloads = self.kept_open_downloads.saturating_add(u32::from(*was_kept_open));
            }
            (DataEnd::PeerClosed, _) => self.kept_open_downloads = 0,
        }
        self.record_reuse(turn.data);
        if let Activity::Transfer(transfer) = std::mem::replace(&mut self.activity, Activity::Nothing) {
            match &transfer.kind {
                TransferKind::List(list) => turn.reply(226, list.ending()),
                _ => turn.reply(226, "Transfer complete."),
            }
        }
        Ok(true)
    }
}
