//! Charges large buffers of busy sessions to their account, and counts the small ones. Before login all
//! buffers are small.

use std::sync::Arc;
use std::time::Instant;

use super::{Connection, earliest};
use crate::base::buffers::{INPUT_BYTES, OUTPUT_BYTES_HIGH, PIECE_BYTES};
use crate::base::digest::CONTENT_HASH_BYTES;
use crate::base::memory::{AccountMemory, Charge, MEMORY_WAIT_STEP, SmallBuffers};
use crate::protocol::QUEUED_REQUEST_BYTES_MAX;
use crate::protocol::data_connection::DataConnection;
use crate::session::{Phase, Session};
use crate::tls::{TLS_BYTES, TLS_OUT_BYTES};

/// The charge for a large receive buffer: itself, the requests decoded ahead, and what TLS holds for
/// it.
const INPUT_CHARGE: usize = INPUT_BYTES + QUEUED_REQUEST_BYTES_MAX + TLS_BYTES + 16 * 1024;
/// The charge for a large send buffer: itself, one piece more, and what TLS holds of it.
const OUTPUT_CHARGE: usize = OUTPUT_BYTES_HIGH + PIECE_BYTES + TLS_OUT_BYTES;

impl Connection {
    /// Enlarges a full receive buffer. If no memory is left, this is tried again later: the buffer may hold a
    /// part of a request that needs a large one.
    pub(super) fn enlarge_input(&mut self, now: Instant) {
        if !self.buffers.input.is_full_and_small() {
            return;
        }
        match self.charge(INPUT_CHARGE) {
            Some(charge) => self.buffers.input.enlarge(charge),
            None if self.memory().is_some() => {
                self.paused_until = earliest(self.paused_until, now + MEMORY_WAIT_STEP);
            }
            None => {}
        }
    }

    /// Enlarges a full send buffer for further output.
    pub(super) fn enlarge_output(&mut self) {
        if self.buffers.output.is_full_and_small()
            && let Some(charge) = self.charge(OUTPUT_CHARGE)
        {
            self.buffers.output.enlarge(charge);
        }
        if self.data.as_ref().is_some_and(|data| data.buffers().output.is_full_and_small())
            && let Some(charge) = self.charge(OUTPUT_CHARGE)
            && let Some(data) = &mut self.data
        {
            data.buffers_mut().output.enlarge(charge);
        }
    }

    /// Enlarges the full receive buffer of the data connection.
    pub(super) fn enlarge_data_input(&mut self) {
        if self.data.as_ref().is_some_and(|data| data.buffers().input.is_full_and_small())
            && let Some(charge) = self.charge(INPUT_CHARGE)
            && let Some(data) = &mut self.data
        {
            data.buffers_mut().input.enlarge(charge);
        }
    }

    /// Counts small buffers and queued requests for the account that has logged in.
    pub(super) fn count_small_buffers(&mut self) {
        let mut bytes = self.transport.uncharged_bytes(&self.buffers);
        let status = self.protocol.status();
        if !self.buffers.input.is_large() {
            bytes += status.request_bytes;
        }
        if matches!(status.phase, Phase::Transfer | Phase::Working) {
            bytes += CONTENT_HASH_BYTES;
        }
        bytes += self.data.as_ref().map_or(0, |data| data.uncharged_bytes());
        let Some(account) = self.protocol.session().and_then(Session::memory) else {
            self.small_buffers = None;
            return;
        };
        if !self.small_buffers.as_ref().is_some_and(|buffers| buffers.belong_to(account)) {
            self.small_buffers = Some(SmallBuffers::of(account));
        }
        if let Some(buffers) = &mut self.small_buffers {
            buffers.set_bytes(bytes);
        }
    }

    /// Charges the account that has logged in. Returns `None` if there is no account, or no memory is left.
    fn charge(&self, bytes: usize) -> Option<Charge> {
        self.memory().and_then(|account| Charge::of(bytes, account))
    }

    fn memory(&self) -> Option<&Arc<AccountMemory>> {
        self.session().and_then(Session::memory)
    }
}
