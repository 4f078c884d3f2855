//! Applies the rate limits of a session and of its account. After a session has moved bytes it waits for
//! its next place in the account's order, so that all sessions of an account take turns.

use std::cell::Cell;
use std::time::Instant;

use crate::base::token_bucket::{Directions, Rate, TokenBucket};
use crate::config::Rates;
use crate::net::RATE_STEPS_PER_SECOND;
use crate::session::active_accounts::Traffic;

/// The fewest bytes that a rate-limited session moves at once. Each time costs a turn and system calls.
const RATE_STEP_BYTES_MIN: usize = 4 * 1024;

/// Both directions of one session.
pub(super) type RateLimiter = Directions<DirectionLimiter>;

/// The limits of one direction of one session.
#[derive(Clone, Copy)]
pub(super) struct RateRule<'a> {
    session: Option<Rate>,
    account: Option<(Rate, &'a Cell<TokenBucket>)>,
}

impl<'a> RateRule<'a> {
    /// Makes the rule of uploads.
    pub(super) fn up(rates: &Rates, account: Option<&'a Traffic>) -> Self {
        Self { session: rates.session.up, account: rates.account.up.zip(account.map(|account| &account.up)) }
    }

    /// Makes the rule of downloads.
    pub(super) fn down(rates: &Rates, account: Option<&'a Traffic>) -> Self {
        Self { session: rates.session.down, account: rates.account.down.zip(account.map(|account| &account.down)) }
    }

    /// Returns the bytes that may move at once.
    fn step_bytes(&self) -> usize {
        let rates = self.session.into_iter().chain(self.account.map(|(rate, _)| rate));
        let step = |rate: Rate| usize::try_from(rate.per_second.get() / RATE_STEPS_PER_SECOND).unwrap_or(usize::MAX);
        rates.map(|rate| step(rate).max(RATE_STEP_BYTES_MIN)).min().unwrap_or(usize::MAX)
    }
}

/// One direction of one session.
#[derive(Default)]
pub(super) struct DirectionLimiter {
    own: TokenBucket,
    /// When it is next in the account's order. Set when it first wants to move bytes, so that a new session
    /// does not overtake waiting ones.
    account_at: Option<Instant>,
}

impl DirectionLimiter {
    /// Returns the bytes that may move now, or the time from which some may.
    pub(super) fn allowance(&mut self, rule: RateRule, now: Instant) -> Result<usize, Instant> {
        let own = rule.session.and(self.own.ready_at());
        let account = rule
            .account
            .map(|(_, bucket)| *self.account_at.get_or_insert_with(|| bucket.get().ready_at().unwrap_or(now)));
        match own.max(account) {
            Some(at) if at > now => Err(at),
            _ => Ok(rule.step_bytes()),
        }
    }

    /// Records moved bytes.
    pub(super) fn record(&mut self, rule: RateRule, bytes: usize, now: Instant) {
        if bytes == 0 {
            return;
        }
        if let Some(rate) = rule.session {
            self.own.take(bytes as u64, rate, now);
        }
        if let Some((rate, shared)) = rule.account {
            let mut bucket = shared.get();
            self.account_at = Some(bucket.take(bytes as u64, rate, now));
            shared.set(bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;

    const RATE: u64 = 1 << 20;

    fn rates() -> Rates {
        let rate = Some(Rate::per_second(NonZeroU64::new(RATE).expect("positive")));
        Rates { account: Directions { up: rate, down: rate }, ..Rates::default() }
    }

    /// Lets each of `limiters` move whenever it may within `milliseconds`. Returns the bytes each has moved.
    fn run(limiters: &mut [DirectionLimiter], account: &Traffic, now: &mut Instant, milliseconds: u64) -> Vec<u64> {
        let (rates, mut moved) = (rates(), vec![0; limiters.len()]);
        for _ in 0..milliseconds {
            *now += Duration::from_millis(1);
            for (limiter, moved) in limiters.iter_mut().zip(&mut moved) {
                let rule = RateRule::down(&rates, Some(account));
                while let Ok(step) = limiter.allowance(rule, *now) {
                    limiter.record(rule, step, *now);
                    *moved += step as u64;
                }
            }
        }
        moved
    }

    #[test]
    fn the_sessions_of_an_account_share_its_rate_alike() {
        let (account, mut now) = (Traffic::default(), Instant::now());
        let mut limiters: Vec<DirectionLimiter> = (0..10).map(|_| DirectionLimiter::default()).collect();
        run(&mut limiters, &account, &mut now, 5000);
        let moved = run(&mut limiters, &account, &mut now, 20_000);
        let (total, step) = (moved.iter().sum::<u64>(), RATE / RATE_STEPS_PER_SECOND);
        assert!(total.abs_diff(20 * RATE) <= 10 * step, "{total}");
        assert!(moved.iter().all(|moved| moved.abs_diff(2 * RATE) <= step), "{moved:?}");
    }

    #[test]
    fn coming_again_and_again_gives_no_more_than_staying() {
        let (account, mut now) = (Traffic::default(), Instant::now());
        run(&mut [DirectionLimiter::default()], &account, &mut now, 5000);
        let moved: u64 = (0..200).map(|_| run(&mut [DirectionLimiter::default()], &account, &mut now, 50)[0]).sum();
        assert!(moved <= 11 * RATE, "{moved} in 10 s");
    }

    #[test]
    fn a_new_session_does_not_wait_for_ever_behind_earlier_ones() {
        let (account, mut now) = (Traffic::default(), Instant::now());
        let mut limiters = vec![DirectionLimiter::default()];
        run(&mut limiters, &account, &mut now, 5000);
        limiters.push(DirectionLimiter::default());
        let moved = run(&mut limiters, &account, &mut now, 1000);
        assert!(moved[1] >= RATE / 3, "{moved:?}");
    }
}
