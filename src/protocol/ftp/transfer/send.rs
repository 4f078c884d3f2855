//! What goes over a data connection: files, and the end of whatever goes.

use super::{Activity, Ftp, Kind, StepContext, TransferStep};
use crate::base::limits::DATA_BYTES_MAX;
use crate::protocol::ftp::port::{ConnectionStage, Wish};
use crate::session::SessionError;
use crate::session::download::Fetched;

impl Ftp {
    pub(super) fn send(&mut self, turn: &mut StepContext) -> Result<bool, SessionError> {
        self.check_port()?;
        let output = &mut self.port.buffers.output;
        // Ranges leave before more is fetched, so that the check at the end of the file comes
        // after its last byte was read.
        if output.has_ranges() || !output.has_room() {
            return Ok(false);
        }
        // The end is what is logged: not before the rest has left.
        if !output.is_empty() && self.session.is_fetched() {
            return Ok(false);
        }
        let (max, range_max) = (output.piece_bytes(), (!self.data.is_private).then_some(DATA_BYTES_MAX));
        let fetched =
            output.append(|out| self.session.fetch(turn.service, out, max, range_max, turn.budget, turn.now))?;
        match fetched {
            Fetched::Bytes(_) | Fetched::Later => {}
            Fetched::Range(range) => self.port.buffers.output.push_range(range),
            Fetched::End(..) => self.finish(),
        }
        Ok(true)
    }

    /// All is on its way.
    pub(super) fn finish(&mut self) {
        self.port.wish(Wish::Finish);
        self.set_step(TransferStep::Finish);
    }

    /// Sends the last reply when the peer has closed its side of the data connection as well, or a moment
    /// after the first reply: a client that finds both replies at once may miss one.
    pub(super) fn await_end(&mut self, turn: &mut StepContext) -> Result<bool, SessionError> {
        self.check_port()?;
        let Activity::Transfer(transfer) = &mut self.doing else { return Ok(false) };
        let has_ended = match self.port.stage() {
            ConnectionStage::Left => {
                self.kept_open = 0;
                true
            }
            ConnectionStage::Ended if transfer.confirmed_from().is_some_and(|at| at > turn.now) => {
                transfer.was_kept_open = true;
                false
            }
            ConnectionStage::Ended => {
                // After a long transfer the server does not wait, so nothing is known about its peer.
                self.kept_open = self.kept_open.saturating_add(u32::from(transfer.was_kept_open));
                true
            }
            _ => false,
        };
        if has_ended {
            self.note_reuse();
        }
        if has_ended && let Activity::Transfer(transfer) = std::mem::replace(&mut self.doing, Activity::Nothing) {
            match &transfer.kind {
                Kind::List(list) => turn.reply(226, list.ending()),
                _ => turn.reply(226, "Transfer complete."),
            }
        }
        Ok(has_ended)
    }
}
