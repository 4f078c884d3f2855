//! Applies the rate limits of the session and its account.

use std::time::Instant;

use super::{Connection, earliest};
use crate::net::rate_limits::RateRule;
use crate::session::Service;

impl Connection {
    /// Returns the number of bytes that may be received, or `None` during a pause.
    pub(super) fn allowance_up(&mut self, service: &Service, now: Instant) -> Option<usize> {
        let rule = RateRule::up(&service.policy.rates, self.account_traffic.as_deref());
        let allowance = self.rate_limiter.up.allowance(rule, now);
        allowance.map_err(|at| self.paused_until = earliest(self.paused_until, at)).ok()
    }

    /// Records received bytes.
    pub(super) fn record_up(&mut self, service: &Service, count: usize, now: Instant) {
        self.rate_limiter.up.record(RateRule::up(&service.policy.rates, self.account_traffic.as_deref()), count, now);
    }

    /// Returns the number of bytes that may be sent. TLS messages are not limited, so without other bytes
    /// nothing is delayed.
    pub(super) fn allowance_down(&mut self, service: &Service, has_bytes: bool, now: Instant) -> usize {
        let rule = RateRule::down(&service.policy.rates, self.account_traffic.as_deref());
        match self.rate_limiter.down.allowance(rule, now) {
            Ok(allowance) => allowance,
            Err(at) => {
                if has_bytes {
                    self.paused_until = earliest(self.paused_until, at);
                }
                0
            }
        }
    }

    /// Records sent bytes.
    pub(super) fn record_down(&mut self, service: &Service, count: usize, now: Instant) {
        self.rate_limiter.down.record(
            RateRule::down(&service.policy.rates, self.account_traffic.as_deref()),
            count,
            now,
        );
    }
}
