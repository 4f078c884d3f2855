//! Logging in: SCRAM or a password, and the delay of the answer to a wrong one. A right proof is answered
//! at once, so a stranger's guesses never lock anybody out.

use super::password::{Checked, PasswordCheck, PasswordLogin};
use super::refusal::Refusal;
use super::state::{Member, State};
use super::verb::Verb;
use super::{Service, Session, audit};
use crate::account::{Account, AccountName, Candidate};
use crate::lane::Budget;
use crate::limits::{LOGIN_DELAY_FIRST, LOGIN_DELAY_MAX, LOGIN_FAILURE_MEMORY, LOGIN_FAILURES_REMEMBERED};
use crate::scram::{ClientFirst, ScramError, ServerExchange};
use crate::text::Quoted;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A session before its login.
#[derive(Default)]
pub struct Login {
    /// Failures on this connection.
    pub failures: u32,
    /// How far the exchange is.
    pub step: LoginStep,
}

/// How far a login has come.
#[derive(Default)]
pub enum LoginStep {
    /// Nothing yet.
    #[default]
    Start,
    /// The client has its challenge.
    Challenged(Box<Challenged>),
    /// A password is being checked.
    Password(Box<PasswordCheck>),
    /// It failed; the answer goes out at the instant given.
    Refused(Instant),
}

/// A login whose proof is awaited.
pub struct Challenged {
    /// The SCRAM exchange.
    pub exchange: ServerExchange,
    /// The account, if there is one that may log in.
    pub account: Option<Account>,
    /// The name as it was given, for the log.
    pub user: String,
}

/// What came of a client's proof.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// Logged in; the server's proof.
    Welcome(String),
    /// Refused; the answer waits for its time.
    Delayed,
}

/// Where a peer comes from, as far as one customer of a network has addresses: an IPv4 address,
/// or the 64 bits of an IPv6 address that a network is given. Who has as many addresses as he
/// likes is still one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl Origin {
    /// Of somebody at `address`.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
            address => address,
        })
    }
}

/// Remembers who failed, to delay the answers to further failures.
#[derive(Default)]
pub struct LoginGuard {
    origins: Failures<Origin>,
    accounts: Failures<AccountName>,
}

impl LoginGuard {
    /// Notes a failure and says how long its answer waits: twice as long for each further one
    /// from the same origin or for the same account.
    pub fn failed(&mut self, origin: Origin, account: Option<AccountName>, now: Instant) -> Duration {
        let by_origin = self.origins.add(origin, now);
        let by_account = account.map_or(0, |account| self.accounts.add(account, now));
        let doublings = by_origin.max(by_account).saturating_sub(1).min(16);
        LOGIN_DELAY_FIRST.saturating_mul(1 << doublings).min(LOGIN_DELAY_MAX)
    }
}

struct Failures<K>(HashMap<K, (u32, Instant)>);

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Failures<K> {
    fn add(&mut self, key: K, now: Instant) -> u32 {
        if self.0.len() >= LOGIN_FAILURES_REMEMBERED && !self.0.contains_key(&key) {
            self.forget_old(now);
        }
        let (count, last) = self.0.entry(key).or_insert((0, now));
        if now.saturating_duration_since(*last) > LOGIN_FAILURE_MEMORY {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
        *count
    }

    /// Makes room: what is over goes, and if that is nothing, the older half.
    fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, (_, last)| now.saturating_duration_since(*last) <= LOGIN_FAILURE_MEMORY);
        if self.0.len() >= LOGIN_FAILURES_REMEMBERED {
            let mut times: Vec<Instant> = self.0.values().map(|(_, last)| *last).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            let mut surplus = middle;
            self.0.retain(|_, (_, last)| {
                let goes = *last <= median && surplus > 0;
                surplus -= usize::from(goes);
                !goes
            });
        }
    }
}

impl Login {
    /// The refusal of a failed login, once its time has come.
    pub fn refusal(&mut self, now: Instant, tries_max: u32) -> Option<Refusal> {
        match self.step {
            LoginStep::Refused(at) if now >= at => {
                self.step = LoginStep::Start;
                Some(if self.failures >= tries_max { Refusal::TooManyTries } else { Refusal::LoginFailed })
            }
            _ => None,
        }
    }

    /// When a delayed answer goes out, or a password that waits looks whether it is its turn.
    pub fn wakes_at(&self) -> Option<Instant> {
        match &self.step {
            LoginStep::Refused(at) => Some(*at),
            LoginStep::Password(check) => check.waits_until,
            _ => None,
        }
    }
}

impl Session {
    /// Takes SCRAM's client-first-message; the challenge. The work is the same whether or not
    /// there is such an account.
    pub fn begin_login(&mut self, service: &Service, client_first: &str) -> Result<String, Refusal> {
        self.check(Verb::Login)?;
        let State::Login(login) = &mut self.state else { return Err(Refusal::WrongState) };
        if !matches!(login.step, LoginStep::Start) {
            return Err(Refusal::WrongState);
        }
        let first = ClientFirst::parse(client_first).map_err(|_| Refusal::LoginMalformed)?;
        let user = first.user().to_string();
        let candidate = candidate(service, &user)?;
        let (exchange, challenge) = ServerExchange::begin(first, &candidate.verifier, self.binding);
        login.step = LoginStep::Challenged(Box::new(Challenged { exchange, account: candidate.account, user }));
        Ok(challenge)
    }

    /// Takes SCRAM's client-final-message. A wrong proof is answered later, by
    /// [`Session::login_refusal`].
    pub fn finish_login(
        &mut self,
        service: &mut Service,
        client_final: &str,
        now: Instant,
    ) -> Result<LoginOutcome, Refusal> {
        self.check(Verb::Login)?;
        let State::Login(login) = &mut self.state else { return Err(Refusal::WrongState) };
        let LoginStep::Challenged(challenged) = std::mem::take(&mut login.step) else {
            return Err(Refusal::WrongState);
        };
        let Challenged { exchange, account, user } = *challenged;
        let proved = exchange.finish(client_final);
        let account = account.filter(|_| proved.is_ok()).and_then(|account| service.accounts.still(account));
        match (proved, account) {
            (Ok(welcome), Some(account)) => {
                let result = self.enter(service, &account);
                self.log_login(&user, &result);
                result.map(|()| LoginOutcome::Welcome(welcome))
            }
            (Err(ScramError::Malformed(_)), _) => Err(Refusal::LoginMalformed),
            _ => {
                self.refuse_login(service, &user, now);
                Ok(LoginOutcome::Delayed)
            }
        }
    }

    /// Takes a name and a password as they are, for protocols that send them so;
    /// [`Session::advance_password_login`] checks them. The work is the same whether or not
    /// there is such an account.
    pub fn begin_password_login(
        &mut self,
        service: &mut Service,
        user: &str,
        password: Zeroizing<String>,
    ) -> Result<(), Refusal> {
        self.check(Verb::Login)?;
        let State::Login(login) = &mut self.state else { return Err(Refusal::WrongState) };
        if !matches!(login.step, LoginStep::Start) {
            return Err(Refusal::WrongState);
        }
        let candidate = candidate(service, user)?;
        let check = PasswordCheck::begin(&mut service.passwords, user.to_string(), candidate, &password);
        login.step = LoginStep::Password(Box::new(check));
        Ok(())
    }

    /// Checks the password within `budget`. A wrong one is answered later, by
    /// [`Session::login_refusal`].
    pub fn advance_password_login(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<PasswordLogin, Refusal> {
        self.check(Verb::Login)?;
        let State::Login(login) = &mut self.state else { return Err(Refusal::WrongState) };
        let LoginStep::Password(check) = &mut login.step else { return Err(Refusal::WrongState) };
        let account = match check.advance(&mut service.passwords, budget, now) {
            Checked::Later => return Ok(PasswordLogin::Later),
            Checked::Waiting => return Ok(PasswordLogin::Waiting),
            Checked::Done(account) => account.and_then(|account| service.accounts.still(account)),
        };
        let LoginStep::Password(check) = std::mem::take(&mut login.step) else { return Err(Refusal::WrongState) };
        let Some(account) = account else {
            self.refuse_login(service, check.user(), now);
            return Ok(PasswordLogin::Delayed);
        };
        let result = self.enter(service, &account);
        self.log_login(check.user(), &result);
        result?;
        check.remember(&mut service.passwords, &account.name, now);
        Ok(PasswordLogin::Welcome)
    }

    /// Notes a failed login, whose answer waits the longer the more there were.
    fn refuse_login(&mut self, service: &mut Service, user: &str, now: Instant) {
        let State::Login(login) = &mut self.state else { return };
        login.failures += 1;
        let delay = service.guard.failed(Origin::of(self.peer.ip()), user.parse().ok(), now);
        login.step = LoginStep::Refused(now + delay);
        self.log_login(user, &Err(Refusal::LoginFailed));
    }

    /// The refusal of a failed login, once its time has come.
    pub fn login_refusal(&mut self, service: &Service, now: Instant) -> Option<Refusal> {
        match &mut self.state {
            State::Login(login) => login.refusal(now, service.policy.login_tries),
            _ => None,
        }
    }

    fn enter(&mut self, service: &mut Service, account: &Account) -> Result<(), Refusal> {
        let seat = service.seat(&account.name)?;
        service.accounts.check_home(account).map_err(|error| {
            log::error!("home of {}: {error}", account.name);
            Refusal::Io
        })?;
        let home = audit::open_home(service, account).map_err(|error| {
            log::error!("home {} of {}: {error}", account.home.display(), account.name);
            Refusal::Io
        })?;
        let member = Member { account: account.name.clone(), home, is_read_only: account.read_only, seat };
        self.state = State::Command(member, None);
        Ok(())
    }
}

/// What a login by this name is checked against.
fn candidate(service: &Service, user: &str) -> Result<Candidate, Refusal> {
    service.accounts.candidate(user).map_err(|error| {
        // Which file is damaged is the administrator's business alone.
        log::error!("login of {}: {error}", Quoted(user.as_bytes()));
        Refusal::LoginFailed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(last: u8) -> Origin {
        Origin::of([127, 0, 0, last].into())
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin_and_a_mapped_address_is_that_of_ipv4() {
        let of = |address: &str| Origin::of(address.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn each_further_failure_waits_twice_as_long_up_to_a_bound() {
        let (mut guard, now) = (LoginGuard::default(), Instant::now());
        let delays: Vec<_> = (0..8).map(|_| guard.failed(origin(1), None, now).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(guard.failed(origin(2), None, now), LOGIN_DELAY_FIRST);
        let later = now + LOGIN_FAILURE_MEMORY + Duration::from_secs(1);
        assert_eq!(guard.failed(origin(1), None, later), LOGIN_DELAY_FIRST);
    }

    #[test]
    fn memory_for_failures_is_bounded() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for key in 0..LOGIN_FAILURES_REMEMBERED * 3 {
            failures.add(key, now + Duration::from_nanos(key as u64));
        }
        assert!(failures.0.len() <= LOGIN_FAILURES_REMEMBERED);
        assert!(failures.0.contains_key(&(LOGIN_FAILURES_REMEMBERED * 3 - 1)));
    }
}
