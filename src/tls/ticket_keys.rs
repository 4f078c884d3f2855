//! The ticket keys of all FTP sessions, their stored TLS 1.2 states, and the account of each session, as a
//! number. A client with several sessions often keeps one ticket for all of them, so a data connection may
//! resume another session of the same account: its client has proved the same password.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use zeroize::Zeroizing;

/// What a data connection proves by resuming a session, from the weakest proof to the strongest. An attacker
/// may connect to a data port before the client does, but has no ticket of the client's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resumption {
    /// Nothing: it does not resume, or resumes a session of another account.
    None,
    /// It resumes a session that has not logged in yet, so the account of its client is not known.
    Undecided,
    /// It resumes a data connection of the account that itself had resumed nothing, so that connection may
    /// have been an attacker's.
    Unproved,
    /// It resumes a session of the same account.
    Account,
    /// It resumes its own session.
    Session,
}

/// The header of a ticket: about the connection that the ticket was issued to. It is authenticated and not
/// encrypted.
#[derive(Clone, Copy)]
pub(super) struct TicketHeader {
    /// The number of the connection's session.
    pub(super) session: u64,
    /// The session that the connection resumed, usually the same one. For a control connection, its own session.
    /// 0 for a data connection that resumed none.
    pub(super) resumed_session: u64,
}

/// The stored state of a TLS 1.2 session without a ticket.
#[derive(Clone)]
pub(super) struct StoredSession {
    pub(super) header: TicketHeader,
    pub(super) value: Vec<u8>,
}

/// The ticket keys of all sessions of a server.
#[derive(Default)]
pub struct TicketKeys(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    last_number: u64,
    by_number: BTreeMap<u64, SessionTickets>,
    stored: HashMap<Vec<u8>, StoredSession>,
    accounts: BTreeMap<u64, AccountSessions>,
}

struct SessionTickets {
    key: Arc<LessSafeKey>,
    account: Option<u64>,
    /// Its stored states, the oldest first.
    stored: VecDeque<Vec<u8>>,
}

impl Sessions {
    fn forget(&mut self, number: u64) {
        for id in self.by_number.remove(&number).into_iter().flat_map(|tickets| tickets.stored) {
            self.stored.remove(&id);
        }
    }
}

/// The sessions of one account. Ended sessions are dropped when the last running one ends.
#[derive(Default)]
struct AccountSessions {
    open: usize,
    ended: VecDeque<u64>,
}

/// The key of one session.
pub(super) struct SessionKey {
    pub(super) number: u64,
    pub(super) key: Arc<LessSafeKey>,
    keys: Arc<TicketKeys>,
}

impl TicketKeys {
    /// Makes a key for a session.
    pub(super) fn begin(self: &Arc<Self>) -> Result<SessionKey, rustls::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        let key = UnboundKey::new(&AES_256_GCM, &*bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        let key = Arc::new(LessSafeKey::new(key));
        let mut sessions = self.lock();
        sessions.last_number += 1;
        let number = sessions.last_number;
        sessions
            .by_number
            .insert(number, SessionTickets { key: Arc::clone(&key), account: None, stored: VecDeque::new() });
        Ok(SessionKey { number, key, keys: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionKey {
    /// Records the account of the session.
    pub(super) fn set_account(&self, account: u64) {
        let mut sessions = self.keys.lock();
        if let Some(tickets) = sessions.by_number.get_mut(&self.number)
            && tickets.account.is_none()
        {
            tickets.account = Some(account);
            sessions.accounts.entry(account).or_default().open += 1;
        }
    }

    /// Returns the key of another session, if it may belong to the same account.
    pub(super) fn key_of(&self, number: u64) -> Option<Arc<LessSafeKey>> {
        let sessions = self.keys.lock();
        let own = sessions.by_number.get(&self.number)?.account?;
        let tickets = sessions.by_number.get(&number)?;
        (tickets.account.is_none_or(|account| account == own)).then(|| Arc::clone(&tickets.key))
    }

    /// Stores the state that a client may request by its session ID.
    pub(super) fn store(&self, id: Vec<u8>, value: StoredSession) -> bool {
        let mut sessions = self.keys.lock();
        let sessions = &mut *sessions;
        let Some(tickets) = sessions.by_number.get_mut(&self.number) else { return false };
        // The first belongs to the control connection and is kept.
        if tickets.stored.len() >= STORED_MAX
            && let Some(oldest) = tickets.stored.remove(1)
        {
            sessions.stored.remove(&oldest);
        }
        tickets.stored.push_back(id.clone());
        sessions.stored.insert(id, value);
        true
    }

    /// Returns the stored state of this or another session of the account.
    pub(super) fn stored(&self, id: &[u8]) -> Option<StoredSession> {
        let stored = self.keys.lock().stored.get(id).cloned()?;
        (stored.header.session == self.number || self.key_of(stored.header.session).is_some()).then_some(stored)
    }

    /// Returns what a connection proves by resuming the session `number`.
    pub(super) fn proof_of(&self, number: u64) -> Resumption {
        if number == self.number {
            return Resumption::Session;
        }
        let sessions = self.keys.lock();
        let account = |number| sessions.by_number.get(&number).map(|tickets: &SessionTickets| tickets.account);
        match (account(self.number).flatten(), account(number)) {
            (Some(own), Some(Some(other))) if own == other => Resumption::Account,
            (Some(_), Some(None)) => Resumption::Undecided,
            _ => Resumption::None,
        }
    }
}

impl Drop for SessionKey {
    /// Keeps the key for a while, because other sessions of the account may still have its tickets.
    fn drop(&mut self) {
        let mut sessions = self.keys.lock();
        let sessions = &mut *sessions;
        let Some(account) = sessions.by_number.get(&self.number).and_then(|tickets| tickets.account) else {
            sessions.forget(self.number);
            return;
        };
        let Some(of_account) = sessions.accounts.get_mut(&account) else { return };
        of_account.open -= 1;
        of_account.ended.push_back(self.number);
        let mut ended = Vec::new();
        let kept = if of_account.open == 0 { 0 } else { ENDED_SESSIONS_MAX };
        while of_account.ended.len() > kept
            && let Some(oldest) = of_account.ended.pop_front()
        {
            ended.push(oldest);
        }
        if of_account.open == 0 {
            sessions.accounts.remove(&account);
        }
        ended.into_iter().for_each(|number| sessions.forget(number));
    }
}

/// Bounds the ended sessions of a client that reconnects often; it keeps the newest tickets it got.
const ENDED_SESSIONS_MAX: usize = 32;
/// One session has a control connection, and one data connection at a time.
const STORED_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_resumes_those_of_its_account_and_no_others() {
        let keys = Arc::<TicketKeys>::default();
        let [own, same, other, new] = [1, 1, 2, 0].map(|account| {
            let session = keys.begin().expect("random");
            if account > 0 {
                session.set_account(account);
            }
            session
        });
        assert_eq!(own.proof_of(own.number), Resumption::Session);
        assert_eq!(own.proof_of(same.number), Resumption::Account);
        assert_eq!(own.proof_of(other.number), Resumption::None);
        assert_eq!(own.proof_of(new.number), Resumption::Undecided);
        assert_eq!(own.proof_of(99), Resumption::None);
        let opens = |number| own.key_of(number).is_some();
        assert_eq!([same.number, other.number, new.number, 99].map(opens), [true, false, true, false]);
        assert!(new.key_of(same.number).is_none(), "it has no account");
        new.set_account(1);
        assert_eq!(own.proof_of(new.number), Resumption::Account);
        let number = same.number;
        drop(same);
        assert_eq!(own.proof_of(number), Resumption::Account);
    }

    #[test]
    fn keys_of_sessions_that_have_ended_are_few_and_leave_with_the_last_of_their_account() {
        let keys = Arc::<TicketKeys>::default();
        let remembered = || keys.lock().by_number.len();
        drop(keys.begin().expect("random"));
        assert_eq!(remembered(), 0);
        let stays = keys.begin().expect("random");
        stays.set_account(1);
        for _ in 0..100 {
            keys.begin().expect("random").set_account(1);
        }
        assert_eq!(remembered(), 1 + ENDED_SESSIONS_MAX);
        drop(stays);
        assert_eq!((remembered(), keys.lock().accounts.len()), (0, 0));
    }
}
