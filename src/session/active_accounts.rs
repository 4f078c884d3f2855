//! What the sessions of one account share: how many they are, and what they move together.

use super::error::Refusal;
use super::totals::Total;
use crate::account::AccountName;
use crate::base::limits::SEATS_REMEMBERED;
use crate::base::memory::{Memory, Share};
use crate::base::token_bucket::{Directions, TokenBucket};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

/// Shared by the sessions of an account, and counts them by that. It outlives them for a while,
/// so that leaving and coming back does not fill its buckets.
pub struct Seat {
    /// No other account has this one while the server runs.
    pub number: u64,
    /// What the connections of all of them have moved; one that is being closed may hold on to it.
    pub traffic: Rc<Traffic>,
    /// What all of them hold of memory.
    pub memory: Rc<Share>,
    /// What all accounts have transferred.
    pub(super) total: Rc<Total>,
}

/// Bytes of many sessions, in each direction.
pub type Traffic = Directions<Cell<TokenBucket>>;

/// The seats of all accounts.
pub(super) struct Seats {
    seats: HashMap<AccountName, Rc<Seat>>,
    last_number: u64,
    pub(super) total: Rc<Total>,
    /// What all accounts hold of memory.
    pub(super) memory: Rc<Memory>,
}

impl Seats {
    /// No seats yet, of accounts that may hold `memory` bytes together.
    pub(super) fn new(memory: usize) -> Self {
        Self { seats: HashMap::new(), last_number: 0, total: Rc::default(), memory: Rc::new(Memory::new(memory)) }
    }

    /// A seat for one more session of `account`, unless `most` are taken.
    pub(super) fn take(&mut self, account: &AccountName, most: usize) -> Result<Rc<Seat>, Refusal> {
        if self.seats.len() >= SEATS_REMEMBERED {
            self.seats.retain(|_, seat| sessions(seat) > 0);
        }
        let new = || {
            self.last_number += 1;
            Rc::new(Seat {
                number: self.last_number,
                traffic: Rc::default(),
                memory: Rc::new(Share::of(&self.memory)),
                total: Rc::clone(&self.total),
            })
        };
        let seat = self.seats.entry(account.clone()).or_insert_with(new);
        if sessions(seat) >= most { Err(Refusal::TooManySessions) } else { Ok(Rc::clone(seat)) }
    }
}

fn sessions(seat: &Rc<Seat>) -> usize {
    // One is the map's own.
    Rc::strong_count(seat) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::token_bucket::Rate;
    use std::num::NonZeroU64;
    use std::time::Instant;

    fn name(number: usize) -> AccountName {
        format!("a{number}").parse().expect("a name")
    }

    #[test]
    fn seats_are_counted_by_who_holds_them() {
        let mut seats = Seats::new(0);
        let (first, second) = (seats.take(&name(1), 2), seats.take(&name(1), 2));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(seats.take(&name(1), 2).err(), Some(Refusal::TooManySessions));
        assert!(seats.take(&name(2), 2).is_ok());
        drop(first);
        assert!(seats.take(&name(1), 2).is_ok());
    }

    #[test]
    fn leaving_and_coming_back_pays_no_debt() {
        let (mut seats, now) = (Seats::new(0), Instant::now());
        let rate = Rate::per_second(NonZeroU64::MIN);
        let seat = seats.take(&name(1), 1).expect("free");
        let mut bucket = seat.traffic.up.get();
        let ready_at = bucket.take(1000, rate, now);
        seat.traffic.up.set(bucket);
        drop(seat);
        let seat = seats.take(&name(1), 1).expect("free again");
        assert_eq!(seat.traffic.up.get().ready_at(), Some(ready_at));
    }

    #[test]
    fn memory_for_seats_without_sessions_is_bounded() {
        let mut seats = Seats::new(0);
        let held = seats.take(&name(0), 1).expect("free");
        for number in 1..SEATS_REMEMBERED * 2 {
            assert!(seats.take(&name(number), 1).is_ok());
        }
        assert!(seats.seats.len() <= SEATS_REMEMBERED);
        assert_eq!(seats.take(&name(0), 1).err(), Some(Refusal::TooManySessions));
        drop(held);
    }
}
