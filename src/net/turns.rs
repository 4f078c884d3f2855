//! Whose turn it is. It knows slots by number, and nothing of what they do.
//!
//! Turns go round: one to somebody who asks, one to somebody with work left, one to a stranger; and
//! those with work have no more of the time than those who ask. So however many ask, half of the
//! time is left for those with work, and transfers that are asked for together begin together; and
//! strangers have at most half of the turns, and of the time, while anybody who is logged in wants
//! one.

use crate::limits::{ASKING_PER_ROUND, STRANGERS_PER_ROUND, TURNS_PER_ROUND};
use std::collections::VecDeque;
use std::time::Duration;

/// Why somebody wants a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It had nothing under way when it woke up: a small request has come, perhaps. A turn of a
    /// transfer is long beside that of one, which would otherwise wait for one of everybody's.
    /// Nobody goes first twice without having slept.
    Asking,
    /// It has work left.
    Working,
    /// Nobody has logged in to it.
    Stranger,
}

const CLAIMS: [Claim; 3] = [Claim::Asking, Claim::Working, Claim::Stranger];

/// Those who want a turn, each once.
#[derive(Default)]
pub struct Turns {
    queues: [VecDeque<usize>; 3],
    next: usize,
    /// Time that strangers took while others wanted a turn, less what those had since.
    owed: Duration,
    /// Time that those with work took while others asked, less what those had since.
    ahead: Duration,
}

/// How many turns of each claim are left until the next poll.
pub struct Round([usize; 3]);

impl Turns {
    /// Puts `slot` at the end of its queue.
    pub fn push(&mut self, slot: usize, claim: Claim) {
        self.queues[claim as usize].push_back(slot);
    }

    /// Takes a slot out that will not want its turn any more.
    pub fn forget(&mut self, slot: usize) {
        self.queues.iter_mut().for_each(|queue| queue.retain(|&queued| queued != slot));
    }

    /// Begins a round.
    pub fn begin_round(&self) -> Round {
        let asking = self.queues[Claim::Asking as usize].len().min(ASKING_PER_ROUND);
        // Somebody else may be ready again after each stranger's turn, and only a poll tells.
        let strangers = if self.is_anybody_waiting() { 1 } else { STRANGERS_PER_ROUND };
        Round([asking, asking.max(TURNS_PER_ROUND), strangers])
    }

    /// Whose turn it is in this round, and why; `None` at its end.
    pub fn next(&mut self, round: &mut Round) -> Option<(usize, Claim)> {
        for _ in CLAIMS {
            let claim = CLAIMS[self.next];
            self.next = (self.next + 1) % CLAIMS.len();
            let may = round.0[claim as usize] > 0
                && match claim {
                    Claim::Asking => true,
                    Claim::Working => self.has_time_for_work(),
                    Claim::Stranger => self.has_time_for_strangers(),
                };
            if may && let Some(slot) = self.queues[claim as usize].pop_front() {
                round.0[claim as usize] -= 1;
                return Some((slot, claim));
            }
        }
        None
    }

    /// Notes how long a turn took, or what else was done for strangers.
    pub fn spent(&mut self, claim: Claim, took: Duration) {
        self.ahead = match claim {
            _ if self.is_nobody_asking() => Duration::ZERO,
            Claim::Working => self.ahead + took,
            Claim::Asking => self.ahead.saturating_sub(took),
            Claim::Stranger => self.ahead,
        };
        self.owed = match claim {
            _ if !self.is_anybody_waiting() => Duration::ZERO,
            Claim::Stranger => self.owed + took,
            Claim::Asking | Claim::Working => self.owed.saturating_sub(took),
        };
    }

    /// Whether strangers have had no more than their half of the time.
    pub fn has_time_for_strangers(&self) -> bool {
        self.owed.is_zero() || !self.is_anybody_waiting()
    }

    fn has_time_for_work(&self) -> bool {
        self.ahead.is_zero() || self.is_nobody_asking()
    }

    fn is_nobody_asking(&self) -> bool {
        self.queues[Claim::Asking as usize].is_empty()
    }

    /// Whether nobody wants a turn.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    fn is_anybody_waiting(&self) -> bool {
        !(self.queues[Claim::Asking as usize].is_empty() && self.queues[Claim::Working as usize].is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(10);
    const LONG: Duration = Duration::from_micros(300);

    /// Everybody wants turn after turn; how many each claim got, and how much time.
    fn run(turns: &mut Turns, rounds: usize, took: impl Fn(Claim) -> Duration) -> [(usize, Duration); 3] {
        let mut had = [(0, Duration::ZERO); 3];
        for _ in 0..rounds {
            let mut round = turns.begin_round();
            while let Some((slot, claim)) = turns.next(&mut round) {
                turns.push(slot, claim);
                turns.spent(claim, took(claim));
                had[claim as usize] = (had[claim as usize].0 + 1, had[claim as usize].1 + took(claim));
            }
        }
        had
    }

    fn crowd(strangers: usize, working: usize) -> Turns {
        let mut turns = Turns::default();
        (0..strangers).for_each(|slot| turns.push(slot, Claim::Stranger));
        (0..working).for_each(|slot| turns.push(strangers + slot, Claim::Working));
        turns
    }

    #[test]
    fn two_thousand_strangers_leave_a_transfer_half_of_the_turns() {
        let [_, working, strangers] = run(&mut crowd(2000, 1), 1000, |_| SHORT);
        assert!(working.0 >= strangers.0 && strangers.0 >= 1000, "{working:?} {strangers:?}");
    }

    #[test]
    fn strangers_whose_turns_are_long_leave_half_of_the_time() {
        let took = |claim| if claim == Claim::Stranger { LONG } else { SHORT };
        let [_, working, strangers] = run(&mut crowd(2000, 3), 1000, took);
        assert!(strangers.1 <= working.1 + LONG, "{working:?} {strangers:?}");
        assert!(strangers.0 > 10, "they are not shut out: {strangers:?}");
    }

    #[test]
    fn strangers_have_all_turns_when_nobody_else_wants_one() {
        let mut turns = crowd(10, 0);
        let [_, _, strangers] = run(&mut turns, 100, |_| LONG);
        assert_eq!(strangers.0, 100 * STRANGERS_PER_ROUND);
        assert!(turns.has_time_for_strangers());
    }

    #[test]
    fn a_crowd_that_asks_takes_half_of_the_turns() {
        let mut turns = crowd(0, 1);
        (1..1000).for_each(|slot| turns.push(slot, Claim::Asking));
        let [asking, working, _] = run(&mut turns, 100, |_| SHORT);
        assert_eq!((asking.0, working.0), (100 * ASKING_PER_ROUND, 100 * ASKING_PER_ROUND));
    }

    #[test]
    fn those_who_ask_little_are_through_before_long_work_goes_on() {
        let mut turns = crowd(0, 10);
        (10..110).for_each(|slot| turns.push(slot, Claim::Asking));
        let (mut asked, mut worked) = (0, 0);
        while asked < 100 {
            let mut round = turns.begin_round();
            while let Some((slot, claim)) = turns.next(&mut round) {
                match claim {
                    Claim::Asking => {
                        asked += 1;
                        turns.spent(claim, SHORT);
                    }
                    _ => {
                        worked += usize::from(asked < 100);
                        turns.push(slot, claim);
                        turns.spent(claim, LONG);
                    }
                }
            }
        }
        assert!((3..=5).contains(&worked), "{worked} turns of {LONG:?} beside 100 of {SHORT:?}");
    }

    #[test]
    fn who_is_forgotten_gets_no_turn() {
        let mut turns = crowd(2, 1);
        turns.forget(0);
        let mut round = turns.begin_round();
        let slots: Vec<usize> = std::iter::from_fn(|| turns.next(&mut round)).map(|(slot, _)| slot).collect();
        assert_eq!(slots, [2, 1]);
        assert!(turns.is_empty());
    }
}
