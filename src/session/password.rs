//! Checks plaintext passwords. Their PBKDF2 rounds are computed in slices, a few passwords at once.
//! Networks take turns in the queue (round robin), so an origin that sends many passwords delays only
//! itself. A recently verified password is recognised without the rounds.

use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::login_guard::LoginGuard;
use super::origin::Origin;
use crate::account::{Account, AccountName, Candidate};
use crate::auth::scram::{Derivation, Verifier, fill_random, hmac_sha256};
use crate::base::budget::Budget;

/// Cost of a PBKDF2 round: two blocks of SHA-256 and the code around them take as long as hashing this
/// many bytes with it.
pub const PASSWORD_ROUND_COST: u64 = 256;
/// The number of passwords that are hashed at the same time. More would delay all of them and take more turns from
/// logged-in users.
const PASSWORD_CHECKS_AT_ONCE: usize = 2;
/// How long a queued password waits before it checks its turn again, for each batch of
/// [`PASSWORD_CHECKS_AT_ONCE`] ahead of it.
const PASSWORD_WAIT_STEP: Duration = Duration::from_millis(10);
/// The longest such wait, because the logins ahead may end early.
pub const PASSWORD_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a correct password is remembered: clients open several connections, and new ones for each
/// batch of files.
pub const PASSWORD_CACHE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// The number of accounts whose last password is remembered. The oldest is dropped first.
const PASSWORD_CACHE_MAX: usize = 1024;

/// A password that is being checked.
pub struct PasswordCheck {
    claimed: Option<AccountName>,
    verifier: Verifier,
    account: Option<Account>,
    derivation: Derivation,
    /// A keyed digest of this account, password and verifier.
    password_digest: [u8; 32],
    origin: Origin,
    /// Its place in the queue. `None` while its origin must wait after a failure.
    place: Option<Rc<QueuePlace>>,
}

/// The result of a check.
pub(super) enum Checked {
    Later,
    WaitsUntil(Instant),
    /// The account, if the password is correct.
    Done(Option<Account>),
}

/// A place in the queue. Dropping it leaves the queue.
struct QueuePlace {
    origin: Origin,
    /// The round of the round robin in which it has its turn.
    round: u64,
}

/// State shared by all checks.
pub(super) struct Passwords {
    /// By round, then by arrival.
    queue: VecDeque<Weak<QueuePlace>>,
    known: HashMap<AccountName, KnownPassword>,
    /// A random key of this process, so that a leaked digest reveals nothing.
    key: Zeroizing<[u8; 32]>,
}

struct KnownPassword {
    password_digest: [u8; 32],
    since: Instant,
}

impl Default for Passwords {
    fn default() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        fill_random(&mut key[..]);
        Self { queue: VecDeque::new(), known: HashMap::new(), key }
    }
}

impl PasswordCheck {
    /// Makes a check that has no place in the queue yet. The work is the same whether or not the account
    /// exists.
    pub(super) fn new(passwords: &Passwords, origin: Origin, user: &str, candidate: Candidate, password: &str) -> Self {
        let Candidate { name: claimed, verifier, account } = candidate;
        let derivation = Derivation::new(password, &verifier.salt, verifier.rounds);
        let password_digest = passwords.password_digest(user, &verifier, password);
        Self { claimed, verifier, account, derivation, password_digest, origin, place: None }
    }

    /// Returns the name that was given, if an account has it.
    pub(super) fn claimed(&self) -> Option<&AccountName> {
        self.claimed.as_ref()
    }

    /// Continues the computation within `budget`, if its origin may try and it is its turn in the queue.
    pub(super) fn advance(
        &mut self,
        passwords: &mut Passwords,
        guard: &LoginGuard,
        budget: &mut Budget,
        now: Instant,
    ) -> Checked {
        if passwords.knows(self.account.as_ref(), &self.password_digest, now) {
            return Checked::Done(self.account.take());
        }
        if !self.has_begun()
            && let Some(until) = guard.next_attempt_at(self.origin, now)
        {
            // While it waits, it must not delay other origins.
            self.place = None;
            return Checked::WaitsUntil(until);
        }
        let place = self.place.get_or_insert_with(|| passwords.enqueue(self.origin));
        if let Some(wait) = passwords.wait(place) {
            return Checked::WaitsUntil(now + wait);
        }
        let rounds = u32::try_from(budget.left().div_ceil(PASSWORD_ROUND_COST)).unwrap_or(u32::MAX);
        budget.spend(u64::from(rounds.min(self.derivation.rounds_left())) * PASSWORD_ROUND_COST);
        let Some(keys) = self.derivation.advance(rounds) else { return Checked::Later };
        let is_right = self.verifier.matches_keys(&keys);
        Checked::Done(self.account.take().filter(|_| is_right))
    }

    fn has_begun(&self) -> bool {
        self.derivation.rounds_left() < self.verifier.rounds
    }

    /// Remembers a password whose rounds were computed. A recognised password is not remembered again, so the
    /// rounds are computed again after [`PASSWORD_CACHE_LIFETIME`].
    pub(super) fn remember(&self, passwords: &mut Passwords, account: &AccountName, now: Instant) {
        if self.derivation.rounds_left() == 0 {
            passwords.remember(account, self.password_digest, now);
        }
    }
}

impl Passwords {
    /// Queues a password, round robin by network: a network has one turn in each round, a wider one several.
    /// The place is in the first round in which every network of `origin` has a turn left.
    fn enqueue(&mut self, origin: Origin) -> Rc<QueuePlace> {
        // Abandoned places are removed when their turn comes, and here, so that reconnecting cannot make the
        // queue long.
        if self.queue.len() >= self.queue.capacity() {
            self.queue.retain(|place| place.strong_count() > 0);
        }
        let first = self.places().next().map_or(0, |place| place.round);
        let rounds = origin.networks().map(|network| {
            let there = self.places().filter(|place| place.origin.networks().any(|other| other == network)).count();
            there as u64 / u64::from(network.links())
        });
        let round = first + rounds.max().unwrap_or(0);
        let is_later = |place: &Weak<QueuePlace>| place.upgrade().is_some_and(|place| place.round > round);
        let at = self.queue.iter().position(is_later).unwrap_or(self.queue.len());
        let place = Rc::new(QueuePlace { origin, round });
        self.queue.insert(at, Rc::downgrade(&place));
        place
    }

    fn places(&self) -> impl Iterator<Item = Rc<QueuePlace>> {
        self.queue.iter().filter_map(Weak::upgrade)
    }

    /// Returns how long `place` waits before it checks again; `None` if it is its turn.
    fn wait(&mut self, place: &Rc<QueuePlace>) -> Option<Duration> {
        while self.queue.front().is_some_and(|place| place.strong_count() == 0) {
            self.queue.pop_front();
        }
        let ahead = self.places().position(|there| Rc::ptr_eq(&there, place)).unwrap_or(0);
        let batches = u32::try_from(ahead / PASSWORD_CHECKS_AT_ONCE).unwrap_or(u32::MAX);
        // An origin has one password checked at a time: if it is wrong, the next one is delayed.
        let is_origin_busy = self.places().take(ahead).any(|there| there.origin == place.origin);
        let batches = batches.max(u32::from(is_origin_busy));
        (batches > 0).then(|| PASSWORD_WAIT_STEP.saturating_mul(batches).min(PASSWORD_WAIT_MAX))
    }

    fn password_digest(&self, user: &str, verifier: &Verifier, password: &str) -> [u8; 32] {
        // Each part but the last has a fixed length or a length prefix.
        let mut parts = Zeroizing::new(Vec::with_capacity(DIGEST_INPUT_BYTES_USUAL + user.len() + password.len()));
        for part in [user.as_bytes(), &verifier.salt] {
            parts.extend_from_slice(&(part.len() as u64).to_be_bytes());
            parts.extend_from_slice(part);
        }
        parts.extend_from_slice(&verifier.rounds.to_be_bytes());
        parts.extend_from_slice(&verifier.stored_key);
        parts.extend_from_slice(password.as_bytes());
        hmac_sha256(&self.key[..], &parts)
    }

    fn knows(&self, account: Option<&Account>, password_digest: &[u8; 32], now: Instant) -> bool {
        let known = account.and_then(|account| self.known.get(&account.name));
        let fresh = known.filter(|known| now.saturating_duration_since(known.since) < PASSWORD_CACHE_LIFETIME);
        // An unknown account is compared as well, for constant time.
        let is_equal = fresh.map_or(&[0; 32], |known| &known.password_digest).ct_eq(password_digest);
        fresh.is_some() && bool::from(is_equal)
    }

    fn remember(&mut self, account: &AccountName, password_digest: [u8; 32], now: Instant) {
        if self.known.len() >= PASSWORD_CACHE_MAX && !self.known.contains_key(account) {
            self.known.retain(|_, known| now.saturating_duration_since(known.since) < PASSWORD_CACHE_LIFETIME);
            if self.known.len() >= PASSWORD_CACHE_MAX
                && let Some(oldest) = self.known.iter().min_by_key(|(_, known)| known.since)
            {
                let oldest = oldest.0.clone();
                self.known.remove(&oldest);
            }
        }
        self.known.insert(account.clone(), KnownPassword { password_digest, since: now });
    }
}

/// Bytes of the digest's input besides name and password.
const DIGEST_INPUT_BYTES_USUAL: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(last: u8) -> Origin {
        Origin::of([127, 0, 0, last].into())
    }

    fn name(number: usize) -> AccountName {
        format!("a{number}").parse().expect("a name")
    }

    #[test]
    fn memory_for_passwords_is_bounded_and_the_oldest_goes_first() {
        let (mut passwords, now) = (Passwords::default(), Instant::now());
        for number in 0..=PASSWORD_CACHE_MAX {
            passwords.remember(&name(number), [1; 32], now + Duration::from_nanos(number as u64));
        }
        assert_eq!(passwords.known.len(), PASSWORD_CACHE_MAX);
        assert!(!passwords.known.contains_key(&name(0)) && passwords.known.contains_key(&name(1)));
        passwords.remember(&name(0), [1; 32], now + 2 * PASSWORD_CACHE_LIFETIME);
        assert_eq!(passwords.known.len(), 1, "what is over went");
    }

    #[test]
    fn memory_for_places_that_were_left_is_bounded() {
        let mut passwords = Passwords::default();
        let held: Vec<_> = (1..=PASSWORD_CHECKS_AT_ONCE).map(|last| passwords.enqueue(origin(last as u8))).collect();
        for _ in 0..100_000 {
            drop(passwords.enqueue(origin(1)));
        }
        assert!(passwords.queue.len() < 100, "{}", passwords.queue.len());
        assert!(held.iter().all(|place| passwords.wait(place).is_none()));
    }

    #[test]
    fn a_password_far_back_in_the_queue_checks_its_turn_less_often() {
        let mut passwords = Passwords::default();
        let places: Vec<_> = (0..1000).map(|_| passwords.enqueue(origin(1))).collect();
        let waits: Vec<_> = places.iter().map(|place| passwords.wait(place)).collect();
        assert_eq!(
            waits[..3],
            [None, Some(PASSWORD_WAIT_STEP), Some(PASSWORD_WAIT_STEP)],
            "one of an origin at a time"
        );
        assert_eq!(waits[10], Some(5 * PASSWORD_WAIT_STEP));
        assert_eq!(waits[999], Some(PASSWORD_WAIT_MAX));
    }

    #[test]
    fn an_origin_with_many_passwords_delays_only_itself() {
        let mut passwords = Passwords::default();
        let flood: Vec<_> = (0..1000).map(|_| passwords.enqueue(origin(1))).collect();
        let (user, other) = (passwords.enqueue(origin(2)), passwords.enqueue(origin(3)));
        assert_eq!(passwords.wait(&user), None, "behind the first of the flood only");
        assert_eq!(passwords.wait(&other), Some(PASSWORD_WAIT_STEP));
        assert_eq!(passwords.wait(&flood[1]), Some(PASSWORD_WAIT_STEP));
        drop(flood);
        assert_eq!(passwords.wait(&other), None);
    }

    #[test]
    fn a_password_digest_is_of_one_name_one_password_and_one_verifier() {
        let passwords = Passwords::default();
        let verifier = Verifier { rounds: 4096, salt: vec![1; 8], stored_key: [2; 32], server_key: [3; 32] };
        let password_digest = passwords.password_digest("ab", &verifier, "secret");
        assert_eq!(password_digest, passwords.password_digest("ab", &verifier, "secret"));
        for (user, salt, rounds, stored_key, password) in [
            ("a", vec![1; 8], 4096, [2; 32], "secret"),
            ("ab", vec![1; 9], 4096, [2; 32], "secret"),
            ("ab", vec![1; 8], 4097, [2; 32], "secret"),
            ("ab", vec![1; 8], 4096, [9; 32], "secret"),
            ("ab", vec![1; 8], 4096, [2; 32], "Secret"),
        ] {
            let other = Verifier { rounds, salt, stored_key, server_key: [3; 32] };
            assert_ne!(password_digest, passwords.password_digest(user, &other, password));
        }
        assert_ne!(
            password_digest,
            Passwords::default().password_digest("ab", &verifier, "secret"),
            "the key is random"
        );
    }
}
