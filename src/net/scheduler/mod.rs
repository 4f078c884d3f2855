//! Whose turn it is. It knows slots by number, and nothing of what they do.
//!
//! Scheduler go round: one to somebody who asks, one to somebody with work left, one to a stranger; and
//! those with work have no more of the time than those who ask. So however many ask, half of the
//! time is left for those with work, and transfers that are asked for together begin together; and
//! strangers have at most half of the turns, and of the time, while anybody who is logged in wants
//! one.
//!
//! Within each of the three, time is shared between owners first: accounts, and origins of
//! strangers. Then the owner's connections take turns. `sharing` has the rule.

mod sharing;
#[cfg(test)]
mod tests;

use crate::base::limits::{ASKING_PER_ROUND, ROUND_TIME, STRANGERS_PER_ROUND, TURNS_PER_ROUND};
pub use sharing::Owner;
use sharing::Sharing;
use std::time::Duration;

/// Why somebody wants a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// It had nothing under way when it woke up: a small request has come, perhaps. A turn of a
    /// transfer is long beside that of one, which would otherwise wait for one of everybody's.
    /// Nobody goes first twice without having slept.
    Asking,
    /// It has work left.
    Working,
    /// Nobody has logged in to it.
    Stranger,
}

const CLAIMS: [Priority; 3] = [Priority::Asking, Priority::Working, Priority::Stranger];

/// Those who want a turn, each once.
#[derive(Default)]
pub struct Scheduler {
    sharing: Sharing,
    next: usize,
    /// Time that strangers took while others wanted a turn, less what those had since.
    owed: Duration,
    /// Time that those with work took while others asked, less what those had since.
    ahead: Duration,
    /// Time that the turns of this round took.
    round_took: Duration,
}

/// How many turns of each claim are left until the next poll.
pub struct Round([usize; 3]);

impl Scheduler {
    /// Says whose connection `slot` is. Connections without an owner share the time of one.
    pub fn assign(&mut self, slot: usize, owner: Owner) {
        self.sharing.assign(slot, owner);
    }

    /// The connection in `slot` is gone.
    pub fn leave(&mut self, slot: usize) {
        self.sharing.leave(slot);
    }

    /// Puts `slot` behind the other connections of its owner.
    pub fn push(&mut self, slot: usize, claim: Priority) {
        self.sharing.push(slot, claim);
    }

    /// Takes a slot out that will not want its turn any more.
    pub fn forget(&mut self, slot: usize) {
        self.sharing.forget(slot);
    }

    /// Begins a round.
    pub fn begin_round(&mut self) -> Round {
        self.round_took = Duration::ZERO;
        let asking = self.sharing.waiting(Priority::Asking).min(ASKING_PER_ROUND);
        // Somebody else may be ready again after each stranger's turn, and only a poll tells.
        let strangers = if self.is_anybody_waiting() { 1 } else { STRANGERS_PER_ROUND };
        Round([asking, asking.max(TURNS_PER_ROUND), strangers])
    }

    /// Whose turn it is in this round, and why; `None` at its end.
    pub fn next(&mut self, round: &mut Round) -> Option<(usize, Priority)> {
        for _ in CLAIMS {
            let claim = CLAIMS[self.next];
            self.next = (self.next + 1) % CLAIMS.len();
            let may = round.0[claim as usize] > 0
                && match claim {
                    Priority::Asking => !self.is_poll_due(),
                    Priority::Working => !self.is_poll_due() && self.has_time_for_work(),
                    Priority::Stranger => self.has_time_for_strangers(),
                };
            if may && let Some(slot) = self.sharing.take(claim) {
                round.0[claim as usize] -= 1;
                return Some((slot, claim));
            }
        }
        None
    }

    /// Notes how long a turn took, or what else was done for strangers.
    pub fn spent(&mut self, claim: Priority, took: Duration) {
        self.sharing.charge(took);
        self.round_took += took;
        self.ahead = match claim {
            _ if self.is_nobody_asking() => Duration::ZERO,
            Priority::Working => self.ahead + took,
            Priority::Asking => self.ahead.saturating_sub(took),
            Priority::Stranger => self.ahead,
        };
        self.owed = match claim {
            _ if !self.is_anybody_waiting() => Duration::ZERO,
            Priority::Stranger => self.owed + took,
            Priority::Asking | Priority::Working => self.owed.saturating_sub(took),
        };
    }

    /// Whether strangers have had no more than their half of the time.
    pub fn has_time_for_strangers(&self) -> bool {
        self.owed.is_zero() || !self.is_anybody_waiting()
    }

    fn has_time_for_work(&self) -> bool {
        self.ahead.is_zero() || self.is_nobody_asking()
    }

    /// Whether somebody who has become ready meanwhile would wait too long.
    fn is_poll_due(&self) -> bool {
        self.round_took >= ROUND_TIME
    }

    fn is_nobody_asking(&self) -> bool {
        self.sharing.waiting(Priority::Asking) == 0
    }

    /// Whether nobody wants a turn.
    pub fn is_empty(&self) -> bool {
        CLAIMS.iter().all(|&claim| self.sharing.waiting(claim) == 0)
    }

    fn is_anybody_waiting(&self) -> bool {
        !self.is_nobody_asking() || self.sharing.waiting(Priority::Working) > 0
    }
}
