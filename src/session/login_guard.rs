//! Delays password guesses. After a failed login the next attempt of the same origin is checked only
//! after a delay, which grows with each failure, whether or not the peer waited for the reply. Accounts
//! are never delayed, so another peer cannot lock a user out.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::origin::{Network, Origin};

/// The delay after the first failure; each further failure doubles it.
pub const LOGIN_DELAY_FIRST: Duration = Duration::from_millis(250);
/// The longest delay.
pub const LOGIN_DELAY_MAX: Duration = Duration::from_secs(8);
/// The delay after each failure of an origin that logged in recently: 10 guesses a second.
pub const LOGIN_DELAY_TRUSTED: Duration = Duration::from_millis(100);
/// A failure is forgotten after this long without another.
pub const LOGIN_FAILURE_MEMORY: Duration = Duration::from_secs(15 * 60);
/// An origin that logged in is trusted for this long.
pub const LOGIN_TRUST: Duration = Duration::from_secs(24 * 3600);
/// The number of networks whose failures, and of origins whose logins, are remembered. Beyond it the
/// older half is forgotten.
pub const ORIGINS_REMEMBERED: usize = 4096;
/// The failures for each link of a network of several links that do not delay the whole network: its other
/// customers mistype sometimes, too.
const FREE_FAILURES_PER_LINK: u32 = 2;

/// Remembers which origins failed to log in, and which succeeded.
#[derive(Default)]
pub struct LoginGuard {
    failures: Recent<Network, Failures>,
    trusted: Recent<Origin, ()>,
}

#[derive(Default)]
struct Failures {
    count: u32,
    next_try: Option<Instant>,
}

impl LoginGuard {
    /// Returns when the next attempt from `origin` may be checked; `None` if it may be now.
    pub fn next_attempt_at(&self, origin: Origin, now: Instant) -> Option<Instant> {
        let networks = origin.networks().take(self.networks_counted(origin, now));
        let times = networks.filter_map(|network| self.failures.get(&network, LOGIN_FAILURE_MEMORY, now)?.next_try);
        times.filter(|&at| at > now).max()
    }

    /// Counts a failed login.
    pub fn failed(&mut self, origin: Origin, now: Instant) {
        let (counted, is_trusted) = (self.networks_counted(origin, now), self.is_trusted(origin, now));
        for network in origin.networks().take(counted) {
            let failures = self.failures.touch(network, LOGIN_FAILURE_MEMORY, now);
            failures.count = failures.count.saturating_add(1);
            let free = if network.links() > 1 { network.links() * FREE_FAILURES_PER_LINK } else { 0 };
            let delay = match failures.count.checked_sub(free + 1) {
                _ if is_trusted => LOGIN_DELAY_TRUSTED,
                None => continue,
                Some(doublings) => LOGIN_DELAY_FIRST.saturating_mul(1 << doublings.min(16)).min(LOGIN_DELAY_MAX),
            };
            failures.next_try = Some(now + delay);
        }
    }

    /// Trusts an origin that has logged in.
    pub fn succeeded(&mut self, origin: Origin, now: Instant) {
        self.trusted.touch(origin, LOGIN_TRUST, now);
    }

    fn is_trusted(&self, origin: Origin, now: Instant) -> bool {
        self.trusted.get(&origin, LOGIN_TRUST, now).is_some()
    }

    /// Returns the number of networks of `origin` that count. For a trusted origin only the narrowest
    /// counts: it does not wait for its neighbours' failures, nor they for its own.
    fn networks_counted(&self, origin: Origin, now: Instant) -> usize {
        if self.is_trusted(origin, now) { 1 } else { usize::MAX }
    }
}

/// Values by key, each forgotten some time after its last use, in bounded memory.
struct Recent<K, V>(HashMap<K, (V, Instant)>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Default> Recent<K, V> {
    fn get(&self, key: &K, memory: Duration, now: Instant) -> Option<&V> {
        let (value, touched) = self.0.get(key)?;
        (now.saturating_duration_since(*touched) <= memory).then_some(value)
    }

    /// Returns the value of `key`, a new one if it was forgotten.
    fn touch(&mut self, key: K, memory: Duration, now: Instant) -> &mut V {
        if self.0.len() >= ORIGINS_REMEMBERED && !self.0.contains_key(&key) {
            self.make_room(memory, now);
        }
        let (value, touched) = self.0.entry(key).or_insert_with(|| (V::default(), now));
        if now.saturating_duration_since(*touched) > memory {
            *value = V::default();
        }
        *touched = now;
        value
    }

    /// Drops expired values, and the older half if that is not enough.
    fn make_room(&mut self, memory: Duration, now: Instant) {
        self.0.retain(|_, (_, touched)| now.saturating_duration_since(*touched) <= memory);
        if self.0.len() >= ORIGINS_REMEMBERED {
            let mut times: Vec<Instant> = self.0.values().map(|(_, touched)| *touched).collect();
            let middle = times.len() / 2;
            let median = *times.select_nth_unstable(middle).1;
            let mut surplus = middle;
            self.0.retain(|_, (_, touched)| {
                let goes = *touched <= median && surplus > 0;
                surplus -= usize::from(goes);
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Origin {
        Origin::of(address.parse().expect("an address"))
    }

    /// Fails as often as `origins` may within `seconds`. Returns the number of failures.
    fn guesses(guard: &mut LoginGuard, origins: &[Origin], start: Instant, seconds: u64) -> usize {
        let mut count = 0;
        for now in (0..seconds * 100).map(|step| start + Duration::from_millis(10 * step)) {
            for &origin in origins {
                if guard.next_attempt_at(origin, now).is_none() {
                    guard.failed(origin, now);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn each_further_failure_waits_twice_as_long_up_to_a_bound() {
        let (mut guard, now, guesser) = (LoginGuard::default(), Instant::now(), origin("127.0.0.1"));
        for expected in [250, 500, 1000, 2000, 4000, 8000, 8000] {
            guard.failed(guesser, now);
            let held = guard.next_attempt_at(guesser, now).expect("held back");
            assert_eq!((held - now).as_millis(), expected);
        }
        assert_eq!(guard.next_attempt_at(origin("127.0.0.2"), now), None);
        let later = now + LOGIN_FAILURE_MEMORY + Duration::from_secs(1);
        guard.failed(guesser, later);
        assert_eq!(guard.next_attempt_at(guesser, later), Some(later + LOGIN_DELAY_FIRST), "the others are forgotten");
    }

    #[test]
    fn an_origin_that_logged_in_lately_waits_a_moment_and_no_longer() {
        let (mut guard, now, trusted) = (LoginGuard::default(), Instant::now(), origin("2001:db8:1:2::3"));
        guard.succeeded(trusted, now);
        assert_eq!(guesses(&mut guard, &[trusted], now, 10), 100);
        let neighbour = origin("2001:db8:1:3::3");
        assert_eq!(guard.next_attempt_at(neighbour, now), None, "its neighbours did not fail");
        let flood: Vec<_> = (0..100).map(|link| origin(&format!("2001:db8:1:{:x}::", link + 16))).collect();
        guesses(&mut guard, &flood, now, 1);
        let now = now + Duration::from_secs(20);
        guard.failed(flood[0], now);
        assert!(guard.next_attempt_at(neighbour, now).is_some() && guard.next_attempt_at(trusted, now).is_none());
    }

    #[test]
    fn a_network_with_many_links_guesses_little_faster_than_one() {
        let start = Instant::now();
        let one = guesses(&mut LoginGuard::default(), &[origin("10.0.0.1")], start, 60);
        let links: Vec<_> = (0..100).map(|link| origin(&format!("2001:db8:1:{link:x}00::"))).collect();
        let many = guesses(&mut LoginGuard::default(), &links, start, 60);
        assert!(one <= 15 && many <= one + 40, "{one} and {many} in a minute");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let (mut recent, now) = (Recent::<usize, ()>::default(), Instant::now());
        for key in 0..ORIGINS_REMEMBERED * 3 {
            recent.touch(key, LOGIN_TRUST, now + Duration::from_nanos(key as u64));
        }
        assert!(recent.0.len() <= ORIGINS_REMEMBERED);
        assert!(recent.0.contains_key(&(ORIGINS_REMEMBERED * 3 - 1)));
    }
}
