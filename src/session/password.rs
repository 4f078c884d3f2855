//! Checking passwords that are sent as they are: their rounds are computed in slices, a few
//! passwords at once and in the order in which they came; one that was right a short while ago
//! is known again without them.

use crate::account::{Account, AccountName, Candidate};
use crate::lane::Budget;
use crate::limits::{
    LOGIN_MEMORY, LOGINS_REMEMBERED, PASSWORD_CHECKS_AT_ONCE, PASSWORD_ROUND_COST, PASSWORD_WAIT_MAX,
    PASSWORD_WAIT_STEP,
};
use crate::scram::{Derivation, Verifier, fill_random, hmac_sha256};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What has come of a login by name and password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordLogin {
    /// Its budget is spent; it wants another turn.
    Later,
    /// Others come first; it goes on when the session wakes.
    Waiting,
    /// Logged in.
    Welcome,
    /// Refused; the answer waits for its time.
    Delayed,
}

/// A password that is being checked.
pub struct PasswordCheck {
    user: String,
    verifier: Verifier,
    account: Option<Account>,
    derivation: Derivation,
    /// Names this account with this password and verifier.
    memo: [u8; 32],
    place: Rc<Place>,
    /// When to look again whether it is its turn.
    pub(super) waits_until: Option<Instant>,
}

/// What a check came to.
pub(super) enum Checked {
    Later,
    Waiting,
    /// The account, if the password is its own.
    Done(Option<Account>),
}

/// A place in the queue, left by dropping it.
struct Place {
    number: u64,
}

/// What all checks share.
pub(super) struct Passwords {
    queue: VecDeque<Weak<Place>>,
    next_number: u64,
    known: HashMap<AccountName, Known>,
    /// Of this process alone, so that a memo tells nothing to who finds one.
    key: Zeroizing<[u8; 32]>,
}

struct Known {
    memo: [u8; 32],
    since: Instant,
}

impl Default for Passwords {
    fn default() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        fill_random(&mut key[..]);
        Self { queue: VecDeque::new(), next_number: 0, known: HashMap::new(), key }
    }
}

impl PasswordCheck {
    /// Gets in line. The work is the same whether or not there is such an account.
    pub(super) fn begin(passwords: &mut Passwords, user: String, candidate: Candidate, password: &str) -> Self {
        let Candidate { verifier, account } = candidate;
        let derivation = Derivation::new(password, &verifier.salt, verifier.rounds);
        let memo = passwords.memo(&user, &verifier, password);
        Self { user, verifier, account, derivation, memo, place: passwords.enqueue(), waits_until: None }
    }

    /// The name as it was given.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Computes on within `budget`, if it is its turn.
    pub(super) fn advance(&mut self, passwords: &mut Passwords, budget: &mut Budget, now: Instant) -> Checked {
        self.waits_until = None;
        if passwords.knows(self.account.as_ref(), &self.memo, now) {
            return Checked::Done(self.account.take());
        }
        if let Some(wait) = passwords.wait(&self.place) {
            self.waits_until = Some(now + wait);
            return Checked::Waiting;
        }
        let rounds = u32::try_from(budget.left().div_ceil(PASSWORD_ROUND_COST)).unwrap_or(u32::MAX);
        budget.spend(u64::from(rounds.min(self.derivation.rounds_left())) * PASSWORD_ROUND_COST);
        let Some(keys) = self.derivation.advance(rounds) else { return Checked::Later };
        let is_right = self.verifier.matches_keys(&keys);
        Checked::Done(self.account.take().filter(|_| is_right))
    }

    /// From now on the password is known again. That does not last the longer for being used:
    /// now and then it is computed.
    pub(super) fn remember(&self, passwords: &mut Passwords, account: &AccountName, now: Instant) {
        if self.derivation.rounds_left() == 0 {
            passwords.remember(account, self.memo, now);
        }
    }
}

impl Passwords {
    fn enqueue(&mut self) -> Rc<Place> {
        // Places that were left go when their turn comes; that nobody can make it long by coming
        // and going is seen to here.
        if self.queue.len() >= self.queue.capacity() {
            self.queue.retain(|place| place.strong_count() > 0);
        }
        let place = Rc::new(Place { number: self.next_number });
        self.next_number += 1;
        self.queue.push_back(Rc::downgrade(&place));
        place
    }

    /// How long `place` waits before it looks again; `None` if it is its turn.
    fn wait(&mut self, place: &Rc<Place>) -> Option<Duration> {
        let mut first = 0;
        for ahead in 0..PASSWORD_CHECKS_AT_ONCE {
            let there = loop {
                match self.queue.get(ahead).map(Weak::upgrade) {
                    Some(None) => drop(self.queue.remove(ahead)),
                    there => break there.flatten(),
                }
            };
            let there = there?;
            if Rc::ptr_eq(&there, place) {
                return None;
            }
            first = if ahead == 0 { there.number } else { first };
        }
        let rows = (place.number - first) / PASSWORD_CHECKS_AT_ONCE as u64;
        let rows = u32::try_from(rows).unwrap_or(u32::MAX).max(1);
        Some(PASSWORD_WAIT_STEP.saturating_mul(rows).min(PASSWORD_WAIT_MAX))
    }

    fn memo(&self, user: &str, verifier: &Verifier, password: &str) -> [u8; 32] {
        // Each part but the last has a fixed length, or its own written before it.
        let mut parts = Zeroizing::new(Vec::with_capacity(MEMO_BYTES_USUAL + user.len() + password.len()));
        for part in [user.as_bytes(), &verifier.salt] {
            parts.extend_from_slice(&(part.len() as u64).to_be_bytes());
            parts.extend_from_slice(part);
        }
        parts.extend_from_slice(&verifier.rounds.to_be_bytes());
        parts.extend_from_slice(&verifier.stored_key);
        parts.extend_from_slice(password.as_bytes());
        hmac_sha256(&self.key[..], &parts)
    }

    fn knows(&self, account: Option<&Account>, memo: &[u8; 32], now: Instant) -> bool {
        let known = account.and_then(|account| self.known.get(&account.name));
        let fresh = known.filter(|known| now.saturating_duration_since(known.since) < LOGIN_MEMORY);
        // Who is not known is compared as well.
        let is_equal = fresh.map_or(&[0; 32], |known| &known.memo).ct_eq(memo);
        fresh.is_some() && bool::from(is_equal)
    }

    fn remember(&mut self, account: &AccountName, memo: [u8; 32], now: Instant) {
        if self.known.len() >= LOGINS_REMEMBERED && !self.known.contains_key(account) {
            self.known.retain(|_, known| now.saturating_duration_since(known.since) < LOGIN_MEMORY);
            if self.known.len() >= LOGINS_REMEMBERED
                && let Some(oldest) = self.known.iter().min_by_key(|(_, known)| known.since)
            {
                let oldest = oldest.0.clone();
                self.known.remove(&oldest);
            }
        }
        self.known.insert(account.clone(), Known { memo, since: now });
    }
}

/// Room for what a memo is made of besides name and password.
const MEMO_BYTES_USUAL: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> AccountName {
        format!("a{number}").parse().expect("a name")
    }

    #[test]
    fn memory_for_passwords_is_bounded_and_the_oldest_goes_first() {
        let (mut passwords, now) = (Passwords::default(), Instant::now());
        for number in 0..=LOGINS_REMEMBERED {
            passwords.remember(&name(number), [1; 32], now + Duration::from_nanos(number as u64));
        }
        assert_eq!(passwords.known.len(), LOGINS_REMEMBERED);
        assert!(!passwords.known.contains_key(&name(0)) && passwords.known.contains_key(&name(1)));
        passwords.remember(&name(0), [1; 32], now + 2 * LOGIN_MEMORY);
        assert_eq!(passwords.known.len(), 1, "what is over went");
    }

    #[test]
    fn memory_for_places_that_were_left_is_bounded() {
        let mut passwords = Passwords::default();
        let held: Vec<_> = (0..PASSWORD_CHECKS_AT_ONCE).map(|_| passwords.enqueue()).collect();
        for _ in 0..100_000 {
            drop(passwords.enqueue());
        }
        assert!(passwords.queue.len() < 100, "{}", passwords.queue.len());
        assert!(held.iter().all(|place| passwords.wait(place).is_none()));
    }

    #[test]
    fn whoever_waits_longer_looks_less_often() {
        let mut passwords = Passwords::default();
        let places: Vec<_> = (0..1000).map(|_| passwords.enqueue()).collect();
        let waits: Vec<_> = places.iter().map(|place| passwords.wait(place)).collect();
        assert_eq!(waits[..3], [None, None, Some(PASSWORD_WAIT_STEP)]);
        assert_eq!(waits[10], Some(5 * PASSWORD_WAIT_STEP));
        assert_eq!(waits[999], Some(PASSWORD_WAIT_MAX));
    }

    #[test]
    fn a_memo_is_of_one_name_one_password_and_one_verifier() {
        let passwords = Passwords::default();
        let verifier = Verifier { rounds: 4096, salt: vec![1; 8], stored_key: [2; 32], server_key: [3; 32] };
        let memo = passwords.memo("ab", &verifier, "secret");
        assert_eq!(memo, passwords.memo("ab", &verifier, "secret"));
        for (user, salt, rounds, stored_key, password) in [
            ("a", vec![1; 8], 4096, [2; 32], "secret"),
            ("ab", vec![1; 9], 4096, [2; 32], "secret"),
            ("ab", vec![1; 8], 4097, [2; 32], "secret"),
            ("ab", vec![1; 8], 4096, [9; 32], "secret"),
            ("ab", vec![1; 8], 4096, [2; 32], "Secret"),
        ] {
            let other = Verifier { rounds, salt, stored_key, server_key: [3; 32] };
            assert_ne!(memo, passwords.memo(user, &other, password));
        }
        assert_ne!(memo, Passwords::default().memo("ab", &verifier, "secret"), "the key is random");
    }
}
