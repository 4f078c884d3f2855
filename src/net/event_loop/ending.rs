//! Ends sessions that are too slow, not wanted any more or finished, and removes their connections.

use std::time::Instant;

use super::EventLoop;
use crate::net::connection::Connection;
use crate::session::SessionError;

impl EventLoop {
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(key) = self.timers.pop_due(now) {
            let slot = &mut self.slots[key];
            slot.timer = None;
            let is_overdue = slot.connection.is_overdue(&self.timeouts, now);
            if is_overdue {
                slot.end_reason = Some(SessionError::Timeout);
            }
            if is_overdue || slot.connection.deadline(&self.timeouts).is_some_and(|deadline| deadline <= now) {
                self.enqueue(key);
            } else {
                self.set_timer(key, now);
            }
        }
        if self.drain_until.is_some_and(|until| now >= until) {
            self.drain_until = None;
            self.fail_where(SessionError::ShuttingDown, |_| true);
        }
    }

    /// Sets a timer for the connection's deadline, unless an earlier one is set.
    pub(super) fn set_timer(&mut self, key: usize, now: Instant) {
        let slot = &mut self.slots[key];
        let Some(deadline) = slot.connection.deadline(&self.timeouts) else { return };
        if slot.timer.is_none_or(|timer| timer > deadline) {
            let at = deadline.max(now);
            slot.timer.replace(at).into_iter().for_each(|timer| self.timers.cancel(timer, key));
            self.timers.set(at, key);
        }
    }

    /// Ends the sessions for which `applies` returns true, each in its next turn.
    pub(super) fn fail_where(&mut self, why: SessionError, applies: impl Fn(&Connection) -> bool) {
        let keys: Vec<usize> =
            self.slots.iter().filter(|(_, slot)| applies(&slot.connection)).map(|(key, _)| key).collect();
        for key in keys {
            self.slots[key].end_reason = Some(why);
            self.enqueue(key);
        }
    }

    /// Ends the sessions of accounts that were locked or removed.
    pub(super) fn watch_accounts(&mut self, now: Instant) {
        let accounts = self.slots.iter().filter_map(|(_, slot)| slot.connection.account());
        let closed = self.accounts.check(&self.service.accounts, accounts, now);
        if !closed.is_empty() {
            self.fail_where(SessionError::AccountClosed, |connection| {
                connection.account().is_some_and(|account| closed.contains(account))
            });
        }
    }

    pub(super) fn mark_for_removal(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if !slot.is_to_be_removed {
            slot.is_to_be_removed = true;
            self.to_remove.push(key);
        }
    }

    pub(super) fn reap(&mut self) {
        for key in std::mem::take(&mut self.to_remove) {
            self.remove(key);
        }
    }

    pub(super) fn remove(&mut self, key: usize) {
        let mut slot = self.slots.remove(key);
        self.scheduler.leave(key);
        self.busy -= usize::from(slot.is_busy);
        slot.origin.into_iter().for_each(|origin| self.admission.leave(origin, key));
        slot.timer.into_iter().for_each(|at| self.timers.cancel(at, key));
        // Closing the descriptor would suffice; this also updates mio's state.
        let _ = self.poll.registry().deregister(slot.connection.transport().socket());
    }
}
