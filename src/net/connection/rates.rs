//! How much may move now by the rates of the session and its account.

use super::{Connection, sooner};
use crate::net::rate_limits::Rule;
use crate::session::Service;
use std::time::Instant;

impl Connection {
    /// Bytes that may come; `None` if they are held back for a while.
    pub(super) fn allowance_up(&mut self, service: &Service, now: Instant) -> Option<usize> {
        let rule = Rule::up(&service.policy.rates, self.account.as_deref());
        let allowance = self.rate_limiter.up.allowance(rule, now);
        allowance.map_err(|at| self.held_until = sooner(self.held_until, at)).ok()
    }

    /// Pays for bytes that have come.
    pub(super) fn pay_up(&mut self, service: &Service, count: usize, now: Instant) {
        self.rate_limiter.up.pay(Rule::up(&service.policy.rates, self.account.as_deref()), count, now);
    }

    /// Bytes that may go. What TLS itself has to say is paid for or costs nothing, so without any others
    /// nothing is held back.
    pub(super) fn allowance_down(&mut self, service: &Service, has_bytes: bool, now: Instant) -> usize {
        let rule = Rule::down(&service.policy.rates, self.account.as_deref());
        match self.rate_limiter.down.allowance(rule, now) {
            Ok(allowance) => allowance,
            Err(at) => {
                if has_bytes {
                    self.held_until = sooner(self.held_until, at);
                }
                0
            }
        }
    }

    /// Pays for bytes that have gone.
    pub(super) fn pay_down(&mut self, service: &Service, count: usize, now: Instant) {
        self.rate_limiter.down.pay(Rule::down(&service.policy.rates, self.account.as_deref()), count, now);
    }
}
