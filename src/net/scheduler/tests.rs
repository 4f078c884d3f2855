//! Scheduler counted and timed by a clock that the tests set.

use super::*;
use crate::net::scheduler::sharing::USER_DEBT_MAX;
use crate::net::scheduler::{ROUND_TIME, UNAUTHENTICATED_TURNS_PER_ROUND, WOKEN_TURNS_PER_ROUND};
use crate::session::origin::Origin;

const SHORT: Duration = Duration::from_micros(10);
const LONG: Duration = Duration::from_micros(300);

/// Everybody wants turn after turn; how many each priority got, and how much time.
fn run(turns: &mut Scheduler, rounds: usize, took: impl Fn(Priority) -> Duration) -> [(usize, Duration); 3] {
    let mut had = [(0, Duration::ZERO); 3];
    for _ in 0..rounds {
        let mut round = turns.begin_round();
        while let Some((slot, priority)) = turns.next(&mut round) {
            turns.push(slot, priority);
            turns.spent(priority, took(priority));
            had[priority as usize] = (had[priority as usize].0 + 1, had[priority as usize].1 + took(priority));
        }
    }
    had
}

fn admission(unauthenticated: usize, working: usize) -> Scheduler {
    let mut turns = Scheduler::default();
    (0..unauthenticated).for_each(|slot| turns.push(slot, Priority::Unauthenticated));
    (0..working).for_each(|slot| turns.push(unauthenticated + slot, Priority::Busy));
    turns
}

#[test]
fn two_thousand_unauthenticated_connections_leave_a_transfer_half_of_the_turns() {
    let [_, working, unauthenticated] = run(&mut admission(2000, 1), 1000, |_| SHORT);
    assert!(working.0 >= unauthenticated.0 && unauthenticated.0 >= 1000, "{working:?} {unauthenticated:?}");
}

#[test]
fn unauthenticated_connections_with_long_turns_leave_half_of_the_time() {
    let took = |priority| if priority == Priority::Unauthenticated { LONG } else { SHORT };
    let [_, working, unauthenticated] = run(&mut admission(2000, 3), 1000, took);
    assert!(unauthenticated.1 <= working.1 + LONG, "{working:?} {unauthenticated:?}");
    assert!(unauthenticated.0 > 10, "they are not shut out: {unauthenticated:?}");
}

#[test]
fn unauthenticated_connections_have_all_turns_when_no_other_wants_one() {
    let mut turns = admission(10, 0);
    let [_, _, unauthenticated] = run(&mut turns, 100, |_| LONG);
    assert_eq!(unauthenticated.0, 100 * UNAUTHENTICATED_TURNS_PER_ROUND);
    assert!(turns.has_time_for_unauthenticated());
}

#[test]
fn many_woken_connections_take_half_of_the_turns() {
    let mut turns = admission(0, 1);
    (1..1000).for_each(|slot| turns.push(slot, Priority::Woken));
    let [asking, working, _] = run(&mut turns, 100, |_| SHORT);
    assert_eq!((asking.0, working.0), (100 * WOKEN_TURNS_PER_ROUND, 100 * WOKEN_TURNS_PER_ROUND));
}

#[test]
fn short_requests_end_before_long_work_continues() {
    let mut turns = admission(0, 10);
    (10..110).for_each(|slot| turns.push(slot, Priority::Woken));
    let (mut asked, mut worked) = (0, 0);
    while asked < 100 {
        let mut round = turns.begin_round();
        while let Some((slot, priority)) = turns.next(&mut round) {
            match priority {
                Priority::Woken => {
                    asked += 1;
                    turns.spent(priority, SHORT);
                }
                _ => {
                    worked += usize::from(asked < 100);
                    turns.push(slot, priority);
                    turns.spent(priority, LONG);
                }
            }
        }
    }
    assert!((3..=5).contains(&worked), "{worked} turns of {LONG:?} beside 100 of {SHORT:?}");
}

#[test]
fn a_forgotten_slot_gets_no_turn() {
    let mut turns = admission(2, 1);
    turns.forget(0);
    let mut round = turns.begin_round();
    let slots: Vec<usize> = std::iter::from_fn(|| turns.next(&mut round)).map(|(slot, _)| slot).collect();
    assert_eq!(slots, [2, 1]);
    assert!(turns.is_empty());
}

// ---- Owners ---------------------------------------------------------------------------------

const ONE: Owner = Owner::Account(1);
const OTHER: Owner = Owner::Account(2);

/// Slots of owners, in the order of `parts`: whose, and how many.
fn owned(parts: &[(Owner, usize)], priority: Priority) -> Scheduler {
    let (mut turns, mut slot) = (Scheduler::default(), 0);
    for &(owner, count) in parts {
        for _ in 0..count {
            turns.assign(slot, owner);
            turns.push(slot, priority);
            slot += 1;
        }
    }
    turns
}

/// Everybody wants turn after turn until `count` were had; turns and time of the slots from `first` on.
fn share(
    turns: &mut Scheduler,
    count: usize,
    first: usize,
    took: impl Fn(usize, Priority) -> Duration,
) -> ((usize, Duration), (usize, Duration)) {
    let (mut one, mut other) = ((0, Duration::ZERO), (0, Duration::ZERO));
    while one.0 + other.0 < count {
        let mut round = turns.begin_round();
        while let Some((slot, priority)) = turns.next(&mut round) {
            turns.push(slot, priority);
            turns.spent(priority, took(slot, priority));
            let had = if slot < first { &mut one } else { &mut other };
            *had = (had.0 + 1, had.1 + took(slot, priority));
        }
    }
    (one, other)
}

#[test]
fn fifty_connections_of_one_user_leave_another_user_half_of_the_turns() {
    for priority in [Priority::Woken, Priority::Busy] {
        let mut turns = owned(&[(ONE, 50), (OTHER, 1)], priority);
        let (one, other) = share(&mut turns, 1000, 50, |_, _| SHORT);
        assert!(one.0.abs_diff(other.0) <= 1, "{priority:?}: {one:?} {other:?}");
    }
}

#[test]
fn connections_of_one_user_have_their_turns_in_order() {
    let mut turns = owned(&[(ONE, 5), (OTHER, 1)], Priority::Busy);
    let mut had = [0; 6];
    for _ in 0..100 {
        let mut round = turns.begin_round();
        while let Some((slot, priority)) = turns.next(&mut round) {
            had[slot] += 1;
            turns.push(slot, priority);
            turns.spent(priority, SHORT);
        }
    }
    let (most, fewest) = (had[..5].iter().max(), had[..5].iter().min());
    assert!(most <= fewest.map(|fewest| fewest + 1).as_ref(), "{had:?}");
}

#[test]
fn a_user_with_long_turns_has_no_more_of_the_time() {
    for priority in [Priority::Woken, Priority::Busy] {
        let mut turns = owned(&[(ONE, 50), (OTHER, 1)], priority);
        let (one, other) = share(&mut turns, 5000, 50, |slot, _| if slot < 50 { LONG } else { SHORT });
        assert!(one.1 <= other.1 + LONG, "{priority:?}: {one:?} {other:?}");
        assert!(one.0 > 100, "and is not shut out: {priority:?}: {one:?}");
    }
}

#[test]
fn an_owner_with_woken_and_busy_connections_has_no_more_time_than_one_with_busy_ones() {
    let mut turns = owned(&[(ONE, 25)], Priority::Woken);
    for slot in 25..50 {
        turns.assign(slot, ONE);
        turns.push(slot, Priority::Busy);
    }
    turns.assign(50, OTHER);
    turns.push(50, Priority::Busy);
    let (one, other) = share(&mut turns, 10_000, 50, |_, _| SHORT);
    assert!(other.1 * 11 >= one.1 * 10, "{one:?} {other:?}");
}

#[test]
fn unauthenticated_connections_share_between_origins_first() {
    let origin = |last: u8| Owner::Origin(Origin::of([10, 0, 0, last].into()));
    let mut turns = owned(&[(origin(1), 1000), (origin(2), 1)], Priority::Unauthenticated);
    let (one, other) = share(&mut turns, 1000, 1000, |_, _| SHORT);
    assert!(one.0.abs_diff(other.0) <= 1, "{one:?} {other:?}");
}

#[test]
fn idle_time_is_not_saved_up() {
    let mut turns = owned(&[(ONE, 50)], Priority::Busy);
    share(&mut turns, 10_000, 50, |_, _| LONG);
    turns.assign(50, OTHER);
    turns.push(50, Priority::Busy);
    let (one, other) = share(&mut turns, 100, 50, |_, _| LONG);
    assert!(one.0.abs_diff(other.0) <= 2, "{one:?} {other:?}");
}

#[test]
fn a_turn_that_met_a_slow_disk_holds_its_user_back_for_a_bounded_time() {
    const STALL: Duration = Duration::from_secs(3);
    let mut turns = owned(&[(ONE, 1), (OTHER, 1)], Priority::Busy);
    let mut round = turns.begin_round();
    assert_eq!(turns.next(&mut round), Some((0, Priority::Busy)));
    turns.push(0, Priority::Busy);
    turns.spent(Priority::Busy, STALL);
    let mut waited = Duration::ZERO;
    loop {
        let mut round = turns.begin_round();
        while let Some((slot, priority)) = turns.next(&mut round) {
            if slot == 0 {
                assert!((USER_DEBT_MAX - LONG..=USER_DEBT_MAX + LONG).contains(&waited), "{waited:?}");
                return;
            }
            turns.push(slot, priority);
            turns.spent(priority, LONG);
            waited += LONG;
            assert!(waited < STALL, "it is shut out");
        }
    }
}

#[test]
fn slots_change_owners_and_leave_whatever_they_wait_for() {
    let mut turns = owned(&[(ONE, 3), (OTHER, 2)], Priority::Busy);
    turns.assign(1, OTHER);
    turns.leave(0);
    turns.leave(4);
    let mut round = turns.begin_round();
    let mut slots: Vec<usize> = std::iter::from_fn(|| turns.next(&mut round)).map(|(slot, _)| slot).collect();
    let mut round = turns.begin_round();
    slots.extend(std::iter::from_fn(|| turns.next(&mut round)).map(|(slot, _)| slot));
    slots.sort_unstable();
    assert_eq!(slots, [1, 2, 3]);
    assert!(turns.is_empty());
    for slot in 1..4 {
        turns.leave(slot);
    }
    turns.assign(0, ONE);
    turns.push(0, Priority::Woken);
    let mut round = turns.begin_round();
    assert_eq!(turns.next(&mut round), Some((0, Priority::Woken)), "a place that was left is taken again");
}

#[test]
fn many_long_requests_are_interrupted_by_a_poll() {
    for priority in [Priority::Woken, Priority::Busy] {
        let mut turns = owned(&[(ONE, 50)], priority);
        let (mut round, mut took) = (turns.begin_round(), Duration::ZERO);
        while let Some((slot, priority)) = turns.next(&mut round) {
            turns.push(slot, priority);
            turns.spent(priority, LONG);
            took += LONG;
        }
        assert!(!took.is_zero() && took <= ROUND_TIME + LONG, "{priority:?}: {took:?}");
    }
}
