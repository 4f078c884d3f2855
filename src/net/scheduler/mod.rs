//! Decides which connection runs next. It knows slots by number, and nothing of their work.
//!
//! Turns alternate: one for a woken connection, one for a busy one, one for an unauthenticated one. Busy
//! connections get no more time than woken ones, so that transfers requested together begin together.
//! Woken connections leave them half of the time, however many there are. Unauthenticated connections get
//! at most half of the turns, and of the time, while any logged-in connection waits.
//!
//! Within each of the three, time is shared between owners first: accounts, and origins of
//! unauthenticated connections. Then the owner's connections take turns. `sharing` has the rule.

mod sharing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use sharing::Owner;
use sharing::Sharing;

/// The turns of busy connections between two polls. A small request that arrives during a round waits for at
/// most these turns: 0.5 ms if each hashes a whole piece.
const TURNS_PER_ROUND: usize = 2;
/// The turns of woken connections between two polls. Busy connections get as many, so woken ones take at
/// most half of the turns.
pub const WOKEN_TURNS_PER_ROUND: usize = 16;
/// No turn of a user begins later than this after a poll, because another connection may have become
/// ready.
pub const ROUND_TIME: Duration = Duration::from_micros(500);
/// The turns of unauthenticated connections between two polls if no other connection wants one; otherwise
/// they get one.
pub const UNAUTHENTICATED_TURNS_PER_ROUND: usize = 4;

/// Why a connection wants a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// It was idle when it woke up, so it probably has a small request. Without this priority the request
    /// would wait for a long turn of every transfer. A connection gets it once for each time it has slept.
    Woken,
    /// It is busy.
    Busy,
    /// It is unauthenticated.
    Unauthenticated,
}

const PRIORITIES: [Priority; 3] = [Priority::Woken, Priority::Busy, Priority::Unauthenticated];

/// The connections that want a turn, each once.
#[derive(Default)]
pub struct Scheduler {
    sharing: Sharing,
    next: usize,
    /// How much more time unauthenticated connections have used than the others, counted while others wait.
    unauthenticated_lead: Duration,
    /// How much more time busy connections have used than woken ones, counted while woken ones wait.
    busy_lead: Duration,
    /// Time of this round's turns.
    round_took: Duration,
}

/// The turns of each priority that are left until the next poll.
pub struct RoundTurns([usize; 3]);

impl Scheduler {
    /// Sets the owner of `slot`. Connections without an owner share one owner's time.
    pub fn assign(&mut self, slot: usize, owner: Owner) {
        self.sharing.assign(slot, owner);
    }

    /// Removes the connection in `slot`.
    pub fn leave(&mut self, slot: usize) {
        self.sharing.leave(slot);
    }

    /// Queues `slot` after the other connections of its owner.
    pub fn push(&mut self, slot: usize, priority: Priority) {
        self.sharing.push(slot, priority);
    }

    /// Removes a slot from the queue.
    pub fn forget(&mut self, slot: usize) {
        self.sharing.forget(slot);
    }

    /// Begins a round.
    pub fn begin_round(&mut self) -> RoundTurns {
        self.round_took = Duration::ZERO;
        let woken = self.sharing.waiting(Priority::Woken).min(WOKEN_TURNS_PER_ROUND);
        // After each turn of an unauthenticated connection others may be ready, and only a poll tells.
        let unauthenticated = if self.is_authenticated_waiting() { 1 } else { UNAUTHENTICATED_TURNS_PER_ROUND };
        RoundTurns([woken, woken.max(TURNS_PER_ROUND), unauthenticated])
    }

    /// Returns the next slot of this round and its priority; `None` at its end.
    pub fn next(&mut self, round: &mut RoundTurns) -> Option<(usize, Priority)> {
        for _ in PRIORITIES {
            let priority = PRIORITIES[self.next];
            self.next = (self.next + 1) % PRIORITIES.len();
            let may = round.0[priority as usize] > 0
                && match priority {
                    Priority::Woken => !self.is_poll_due(),
                    Priority::Busy => !self.is_poll_due() && self.has_time_for_busy(),
                    Priority::Unauthenticated => self.has_time_for_unauthenticated(),
                };
            if may && let Some(slot) = self.sharing.take(priority) {
                round.0[priority as usize] -= 1;
                return Some((slot, priority));
            }
        }
        None
    }

    /// Adds the duration of a turn, or of other work for unauthenticated connections.
    pub fn spent(&mut self, priority: Priority, took: Duration) {
        self.sharing.charge(took);
        self.round_took += took;
        self.busy_lead = match priority {
            _ if self.is_no_woken_waiting() => Duration::ZERO,
            Priority::Busy => self.busy_lead + took,
            Priority::Woken => self.busy_lead.saturating_sub(took),
            Priority::Unauthenticated => self.busy_lead,
        };
        self.unauthenticated_lead = match priority {
            _ if !self.is_authenticated_waiting() => Duration::ZERO,
            Priority::Unauthenticated => self.unauthenticated_lead + took,
            Priority::Woken | Priority::Busy => self.unauthenticated_lead.saturating_sub(took),
        };
    }

    /// Returns whether unauthenticated connections have used no more than their half of the time.
    pub fn has_time_for_unauthenticated(&self) -> bool {
        self.unauthenticated_lead.is_zero() || !self.is_authenticated_waiting()
    }

    fn has_time_for_busy(&self) -> bool {
        self.busy_lead.is_zero() || self.is_no_woken_waiting()
    }

    /// Returns whether a connection that has become ready since the last poll would wait too long.
    fn is_poll_due(&self) -> bool {
        self.round_took >= ROUND_TIME
    }

    fn is_no_woken_waiting(&self) -> bool {
        self.sharing.waiting(Priority::Woken) == 0
    }

    /// Returns whether no connection wants a turn.
    pub fn is_empty(&self) -> bool {
        PRIORITIES.iter().all(|&priority| self.sharing.waiting(priority) == 0)
    }

    fn is_authenticated_waiting(&self) -> bool {
        !self.is_no_woken_waiting() || self.sharing.waiting(Priority::Busy) > 0
    }
}
