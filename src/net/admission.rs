//! Counts connections by origin and decides which one is evicted. It knows slots by number.
//!
//! If a new connection exceeds a limit, an unauthenticated one is closed: the longest waiting one of
//! the origin with the most of them, in the network with the most. So a flood of silent connections
//! evicts only its own, and logged-in sessions are never evicted.

use std::collections::{HashMap, VecDeque};

use crate::config::Limits;
use crate::session::origin::{Network, Origin};

/// The connections of the network listeners.
#[derive(Default)]
pub(super) struct Admission {
    sessions: usize,
    per_origin: HashMap<Origin, usize>,
    unauthenticated: usize,
    unauthenticated_per_network: HashMap<Network, usize>,
    /// Unauthenticated slots, the longest waiting first. No queue is empty.
    waiting: HashMap<Origin, VecDeque<usize>>,
}

/// The decision for a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AdmissionDecision {
    /// It may enter.
    Admit,
    /// It may enter once this unauthenticated slot is closed.
    EvictThenAdmit(usize),
    /// It must be refused, because all others are logged in. Holds the limit's description.
    Refuse(&'static str),
}

impl Admission {
    /// Decides whether one more connection from `origin` may enter.
    pub(super) fn decide(&self, origin: Origin, limits: &Limits, has_descriptors: bool) -> AdmissionDecision {
        let is_origin_full = self.sessions_from(origin) >= limits.sessions_per_address;
        let limit = if self.sessions >= limits.sessions {
            "`limits.sessions`"
        } else if is_origin_full {
            "`limits.sessions_per_address`"
        } else if self.unauthenticated >= limits.unauthenticated {
            "`limits.strangers`"
        } else if !has_descriptors {
            "the system's limit of open files (ulimit -n, LimitNOFILE=)"
        } else {
            return AdmissionDecision::Admit;
        };
        let waiting = match is_origin_full {
            true => self.waiting.get(&origin),
            false => {
                self.waiting.iter().max_by_key(|(origin, _)| self.network_counts(**origin)).map(|(_, slots)| slots)
            }
        };
        waiting
            .and_then(VecDeque::front)
            .map_or(AdmissionDecision::Refuse(limit), |&slot| AdmissionDecision::EvictThenAdmit(slot))
    }

    /// Records a new unauthenticated connection.
    pub(super) fn enter(&mut self, origin: Origin, slot: usize) {
        self.sessions += 1;
        *self.per_origin.entry(origin).or_default() += 1;
        self.unauthenticated += 1;
        origin.networks().for_each(|network| *self.unauthenticated_per_network.entry(network).or_default() += 1);
        self.waiting.entry(origin).or_default().push_back(slot);
    }

    /// Records that a connection has logged in.
    pub(super) fn log_in(&mut self, origin: Origin, slot: usize) {
        let Some(waiting) = self.waiting.get_mut(&origin) else { return };
        let before = waiting.len();
        waiting.retain(|&other| other != slot);
        let gone = before - waiting.len();
        self.unauthenticated -= gone;
        if waiting.is_empty() {
            self.waiting.remove(&origin);
        }
        for network in origin.networks() {
            if let Some(count) = self.unauthenticated_per_network.get_mut(&network) {
                *count -= gone;
                if *count == 0 {
                    self.unauthenticated_per_network.remove(&network);
                }
            }
        }
    }

    /// Returns the number of unauthenticated connections in each network around `origin`, the widest first.
    fn network_counts(&self, origin: Origin) -> Vec<usize> {
        let networks = origin.networks().rev();
        networks.map(|network| self.unauthenticated_per_network.get(&network).copied().unwrap_or(0)).collect()
    }

    /// Records that a connection is closed.
    pub(super) fn leave(&mut self, origin: Origin, slot: usize) {
        self.log_in(origin, slot);
        self.sessions -= 1;
        if let Some(count) = self.per_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.per_origin.remove(&origin);
            }
        }
    }

    fn sessions_from(&self, origin: Origin) -> usize {
        self.per_origin.get(&origin).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(last: u8) -> Origin {
        Origin::of([10, 0, 0, last].into())
    }

    fn limits(sessions: usize, unauthenticated: usize, sessions_per_address: usize) -> Limits {
        Limits {
            sessions,
            unauthenticated,
            sessions_per_address,
            sessions_per_account: sessions,
            memory: 0,
            login_tries: 1,
        }
    }

    #[test]
    fn a_flood_evicts_only_its_own_connections() {
        let (mut admission, limits) = (Admission::default(), limits(100, 10, 100));
        admission.enter(origin(1), 0);
        admission.enter(origin(2), 1);
        let mut next = 2;
        for _ in 0..50 {
            match admission.decide(origin(3), &limits, true) {
                AdmissionDecision::Admit => {}
                AdmissionDecision::EvictThenAdmit(slot) => {
                    assert!(slot > 1, "somebody else's slot");
                    admission.leave(origin(3), slot);
                }
                AdmissionDecision::Refuse(limit) => {
                    panic!("an unauthenticated connection can always be evicted: {limit}")
                }
            }
            admission.enter(origin(3), next);
            next += 1;
        }
        assert_eq!((admission.sessions, admission.unauthenticated), (10, 10));
        assert_eq!(
            admission.decide(origin(4), &limits, true),
            AdmissionDecision::EvictThenAdmit(next - 8),
            "the longest waiting of the flood"
        );
    }

    #[test]
    fn a_flood_from_many_links_of_one_network_evicts_only_its_own() {
        let (mut admission, limits) = (Admission::default(), limits(1000, 100, 1000));
        let link = |number: usize| Origin::of(format!("2001:db8:1:{number:x}::1").parse().expect("an address"));
        (0..3).for_each(|slot| admission.enter(origin(1), slot));
        admission.enter(Origin::of("2001:db8:2::1".parse().expect("an address")), 3);
        for number in 4..1000 {
            if let AdmissionDecision::EvictThenAdmit(slot) = admission.decide(link(number), &limits, true) {
                assert!(slot >= 4, "somebody else's slot");
                admission.leave(link(slot), slot);
            }
            admission.enter(link(number), number);
        }
    }

    #[test]
    fn a_logged_in_session_is_never_evicted() {
        let (mut admission, limits) = (Admission::default(), limits(3, 3, 3));
        for slot in 0..3 {
            admission.enter(origin(1), slot);
        }
        for slot in 0..2 {
            admission.log_in(origin(1), slot);
        }
        assert_eq!(admission.decide(origin(2), &limits, true), AdmissionDecision::EvictThenAdmit(2));
        admission.log_in(origin(1), 2);
        assert_eq!(admission.decide(origin(2), &limits, true), AdmissionDecision::Refuse("`limits.sessions`"));
        admission.leave(origin(1), 0);
        assert_eq!(admission.decide(origin(2), &limits, true), AdmissionDecision::Admit);
        assert!(
            matches!(admission.decide(origin(2), &limits, false), AdmissionDecision::Refuse(_)),
            "no descriptors are left"
        );
    }

    #[test]
    fn an_address_makes_room_for_its_own() {
        let (mut admission, limits) = (Admission::default(), limits(10, 10, 2));
        admission.enter(origin(1), 0);
        admission.enter(origin(1), 1);
        admission.log_in(origin(1), 0);
        admission.enter(origin(2), 2);
        assert_eq!(admission.decide(origin(1), &limits, true), AdmissionDecision::EvictThenAdmit(1));
        admission.log_in(origin(1), 1);
        assert_eq!(
            admission.decide(origin(1), &limits, true),
            AdmissionDecision::Refuse("`limits.sessions_per_address`")
        );
    }

    #[test]
    fn nothing_is_kept_about_closed_connections() {
        let mut admission = Admission::default();
        for slot in 0..100 {
            admission.enter(origin(slot as u8), slot);
            if slot % 2 == 0 {
                admission.log_in(origin(slot as u8), slot);
            }
        }
        for slot in 0..100 {
            admission.leave(origin(slot as u8), slot);
        }
        assert_eq!((admission.sessions, admission.unauthenticated), (0, 0));
        assert!(
            admission.per_origin.is_empty()
                && admission.waiting.is_empty()
                && admission.unauthenticated_per_network.is_empty()
        );
    }
}
