//! Large buffers, for sessions that have much to move and while there is memory; and the count of the
//! small ones. Before login there are no large ones.

use super::{Connection, sooner};
use crate::base::limits::{INPUT_CHARGE, MEMORY_WAIT_STEP, OUTPUT_CHARGE};
use crate::base::memory::{Charge, SmallBuffers};
use crate::protocol::data_connection::DataConnection;
use std::time::Instant;

impl Connection {
    /// Makes a full input large. Where there is no memory for that, what is in it may be a part of
    /// something that fits no small one, so this is tried again after a while.
    pub(super) fn enlarge_input(&mut self, now: Instant) {
        if !self.buffers.input.is_cramped() {
            return;
        }
        match self.charge(INPUT_CHARGE) {
            Some(charge) => self.buffers.input.enlarge(charge),
            None if self.protocol.memory().is_some() => {
                self.held_until = sooner(self.held_until, now + MEMORY_WAIT_STEP);
            }
            None => {}
        }
    }

    /// Makes full output large, for what comes next.
    pub(super) fn enlarge_output(&mut self) {
        if self.buffers.output.is_cramped()
            && let Some(charge) = self.charge(OUTPUT_CHARGE)
        {
            self.buffers.output.enlarge(charge);
        }
        if self.data.as_ref().is_some_and(|data| data.buffers().output.is_cramped())
            && let Some(charge) = self.charge(OUTPUT_CHARGE)
            && let Some(data) = &mut self.data
        {
            data.buffers_mut().output.enlarge(charge);
        }
    }

    /// Makes the full input of the second socket large.
    pub(super) fn enlarge_data_input(&mut self) {
        if self.data.as_ref().is_some_and(|data| data.buffers().input.is_cramped())
            && let Some(charge) = self.charge(INPUT_CHARGE)
            && let Some(data) = &mut self.data
        {
            data.buffers_mut().input.enlarge(charge);
        }
    }

    /// Counts the buffers that are not large, and the requests ahead, for the account that has logged in.
    pub(super) fn count_small_buffers(&mut self) {
        let mut bytes = self.transport.uncharged_bytes(&self.buffers);
        if !self.buffers.input.is_large() {
            bytes += self.protocol.request_bytes();
        }
        bytes += self.data.as_ref().map_or(0, |data| data.uncharged_bytes());
        let Some(share) = self.protocol.memory() else {
            self.small_buffers = None;
            return;
        };
        if !self.small_buffers.as_ref().is_some_and(|buffers| buffers.belong_to(share)) {
            self.small_buffers = Some(SmallBuffers::of(share));
        }
        if let Some(buffers) = &mut self.small_buffers {
            buffers.set_bytes(bytes);
        }
    }

    /// A charge to the account that has logged in, if there is one and it has room.
    fn charge(&self, bytes: usize) -> Option<Charge> {
        self.protocol.memory().and_then(|share| Charge::of(bytes, share))
    }
}
