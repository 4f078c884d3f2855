//! Memory for the buffers of a connection after login. Small ones are charged while the session has
//! anything in hand; large ones are for sessions that have much to move, while there is memory.

use super::{Connection, sooner};
use crate::base::limits::{INBOX_CHARGE, MEMORY_WAIT_STEP, OUTBOX_CHARGE, SMALL_BUFFERS_CHARGE};
use crate::base::memory::Charge;
use std::time::Instant;

impl Connection {
    /// Charges the small buffers before anything is received. False if the account has no room for them: the
    /// session then reads nothing, and tries again after a while.
    pub(super) fn charge_small_buffers(&mut self, now: Instant) -> bool {
        if self.small_buffers.bytes() > 0 || self.front.memory().is_none() {
            return true;
        }
        match self.charge(SMALL_BUFFERS_CHARGE) {
            Some(charge) => {
                self.small_buffers = charge;
                true
            }
            None => {
                self.held_until = sooner(self.held_until, now + MEMORY_WAIT_STEP);
                false
            }
        }
    }

    /// Makes a full inbox large. Where there is no memory for that, what is in it may be a part of
    /// something that fits no small one, so this is tried again after a while.
    pub(super) fn enlarge_inbox(&mut self, now: Instant) {
        if !self.lane.inbox.is_cramped() {
            return;
        }
        match self.charge(INBOX_CHARGE) {
            Some(charge) => self.lane.inbox.enlarge(charge),
            None if self.front.memory().is_some() => {
                self.held_until = sooner(self.held_until, now + MEMORY_WAIT_STEP);
            }
            None => {}
        }
    }

    /// Makes full outboxes large, for what comes next.
    pub(super) fn enlarge_outboxes(&mut self) {
        if self.lane.outbox.is_cramped()
            && let Some(charge) = self.charge(OUTBOX_CHARGE)
        {
            self.lane.outbox.enlarge(charge);
        }
        let is_cramped = self.front.data_port().is_some_and(|port| port.lane.outbox.is_cramped());
        if is_cramped
            && let Some(charge) = self.charge(OUTBOX_CHARGE)
            && let Some(port) = self.front.data_port()
        {
            port.lane.outbox.enlarge(charge);
        }
    }

    /// Makes the full inbox of the second socket large.
    pub(super) fn enlarge_data_inbox(&mut self) {
        let is_cramped = self.front.data_port().is_some_and(|port| port.lane.inbox.is_cramped());
        if is_cramped
            && let Some(charge) = self.charge(INBOX_CHARGE)
            && let Some(port) = self.front.data_port()
        {
            port.lane.inbox.enlarge(charge);
        }
    }

    /// A charge to the account that has logged in, if there is one and it has room.
    fn charge(&self, bytes: usize) -> Option<Charge> {
        self.front.memory().and_then(|share| Charge::of(bytes, share))
    }
}
