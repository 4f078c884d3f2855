//! Logging in by SCRAM or password. Each attempt is checked only when its origin may try again. A
//! failure is answered at once; the next attempt waits.

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use log::Level;
use zeroize::Zeroizing;

use super::error::SessionError;
use super::login_attempt::{Attempt, Challenged, Login, OpenError, Opening};
use super::origin::Origin;
use super::password::{Checked, PasswordCheck};
use super::state::{State, User};
use super::verb::Verb;
use super::{Service, Session};
use crate::account::{Account, AccountError, AccountName, Candidate};
use crate::auth::scram::{ClientFirst, ScramError, ServerExchange};
use crate::base::budget::Budget;
use crate::logging::{self, STDERR};
use crate::store::StoreError;

/// The state of a login.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginProgress {
    /// The budget is spent; another turn is needed.
    Later,
    /// It waits for other logins, or for the delay after a failure of the same origin. The session sets a
    /// timer.
    Waiting,
    /// Logged in. Holds the server's proof if the client used SCRAM.
    Welcome(Option<String>),
}

impl Session {
    /// Takes SCRAM's client-first-message and returns the challenge. The work is the same whether or not
    /// the account exists.
    pub fn begin_login(
        &mut self,
        service: &mut Service,
        client_first: &str,
        now: Instant,
    ) -> Result<String, SessionError> {
        self.check(Verb::Login)?;
        let State::Login(Login { attempt: attempt @ Attempt::None, .. }) = &mut self.state else {
            return Err(SessionError::WrongState);
        };
        let first = ClientFirst::parse(client_first).map_err(|_| SessionError::LoginMalformed)?;
        let candidate = candidate(service, first.user(), now)?;
        let (exchange, challenge) = ServerExchange::begin(first, &candidate.verifier, self.binding);
        *attempt =
            Attempt::Challenged(Box::new(Challenged { exchange, account: candidate.account, claimed: candidate.name }));
        Ok(challenge)
    }

    /// Takes SCRAM's client-final-message; [`Session::advance_login`] checks it.
    pub fn finish_login(&mut self, client_final: String) -> Result<(), SessionError> {
        self.check(Verb::Login)?;
        let State::Login(login) = &mut self.state else { return Err(SessionError::WrongState) };
        match std::mem::take(&mut login.attempt) {
            Attempt::Challenged(challenged) => {
                login.attempt = Attempt::Proved(challenged, client_final);
                Ok(())
            }
            other => {
                login.attempt = other;
                Err(SessionError::WrongState)
            }
        }
    }

    /// Takes a name and a plaintext password; [`Session::advance_login`] checks them. The work is the same
    /// whether or not the account exists.
    pub fn begin_password_login(
        &mut self,
        service: &mut Service,
        user: &str,
        password: &Zeroizing<String>,
        now: Instant,
    ) -> Result<(), SessionError> {
        self.check(Verb::Login)?;
        let State::Login(Login { attempt: attempt @ Attempt::None, .. }) = &mut self.state else {
            return Err(SessionError::WrongState);
        };
        let (candidate, origin) = (candidate(service, user, now)?, Origin::of(self.peer.ip()));
        let check = PasswordCheck::new(&service.passwords, origin, user, candidate, password);
        *attempt = Attempt::Password(Box::new(check));
        Ok(())
    }

    /// Checks the proof or password within `budget`, once its origin may try. A refusal ends the attempt.
    pub fn advance_login(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<LoginProgress, SessionError> {
        self.check(Verb::Login)?;
        let origin = Origin::of(self.peer.ip());
        let State::Login(login) = &mut self.state else { return Err(SessionError::WrongState) };
        login.waits_until = None;
        match &mut login.attempt {
            Attempt::None | Attempt::Challenged(_) => Err(SessionError::WrongState),
            Attempt::Opening(_) => self.enter_home(service, now),
            Attempt::Proved(..) => match service.guard.next_attempt_at(origin, now) {
                Some(until) => {
                    login.waits_until = Some(until);
                    Ok(LoginProgress::Waiting)
                }
                None => self.check_proof(service, now),
            },
            Attempt::Password(check) => match check.advance(&mut service.passwords, &service.guard, budget, now) {
                Checked::Later => Ok(LoginProgress::Later),
                Checked::WaitsUntil(until) => {
                    login.waits_until = Some(until);
                    Ok(LoginProgress::Waiting)
                }
                Checked::Done(account) => self.end_password_login(service, account, now),
            },
        }
    }

    fn check_proof(&mut self, service: &mut Service, now: Instant) -> Result<LoginProgress, SessionError> {
        let State::Login(login) = &mut self.state else { return Err(SessionError::WrongState) };
        let Attempt::Proved(challenged, client_final) = std::mem::take(&mut login.attempt) else {
            return Err(SessionError::WrongState);
        };
        let Challenged { exchange, account, claimed } = *challenged;
        match exchange.finish(&client_final) {
            Ok(proof) => self.log_in_if_unchanged(service, account, claimed, Some(proof), None, now),
            Err(ScramError::Malformed(_)) => Err(SessionError::LoginMalformed),
            Err(_) => Err(self.refuse_login(service, claimed.as_ref(), now)),
        }
    }

    fn end_password_login(
        &mut self,
        service: &mut Service,
        account: Option<Account>,
        now: Instant,
    ) -> Result<LoginProgress, SessionError> {
        let State::Login(login) = &mut self.state else { return Err(SessionError::WrongState) };
        let Attempt::Password(check) = std::mem::take(&mut login.attempt) else { return Err(SessionError::WrongState) };
        let claimed = check.claimed().cloned();
        self.log_in_if_unchanged(service, account, claimed, None, Some(check), now)
    }

    /// Logs in to `account`, whose password or proof was right, if the account's file has not changed since
    /// the attempt began. `None`: the login is refused.
    fn log_in_if_unchanged(
        &mut self,
        service: &mut Service,
        account: Option<Account>,
        claimed: Option<AccountName>,
        proof: Option<String>,
        check: Option<Box<PasswordCheck>>,
        now: Instant,
    ) -> Result<LoginProgress, SessionError> {
        let account = account
            .map_or(Ok(None), |account| service.accounts.reload_if_unchanged(account))
            .map_err(log_account_error)?;
        let Some(account) = account else { return Err(self.refuse_login(service, claimed.as_ref(), now)) };
        let active_account = match service.active_account(&account.name) {
            Ok(active_account) => active_account,
            Err(refusal) => {
                self.log_login(claimed.as_ref(), &Err(refusal));
                return Err(refusal);
            }
        };
        let (rules, checked) = (Arc::clone(service.accounts.home_rules()), account.clone());
        let root = service
            .store
            .open_home_root(self.caller, &account.home, move || Ok::<_, OpenError>(rules.check(&checked)?));
        let opening = Opening { account, active_account, claimed, root, proof, check };
        let State::Login(login) = &mut self.state else { return Err(SessionError::WrongState) };
        login.attempt = Attempt::Opening(Box::new(opening));
        self.enter_home(service, now)
    }

    /// Completes the login once the home is open.
    fn enter_home(&mut self, service: &mut Service, now: Instant) -> Result<LoginProgress, SessionError> {
        let State::Login(login) = &mut self.state else { return Err(SessionError::WrongState) };
        let Attempt::Opening(mut opening) = std::mem::take(&mut login.attempt) else {
            return Err(SessionError::WrongState);
        };
        let root = match opening.root.take() {
            Poll::Pending if self.is_unanswered.take() => Err(SessionError::NoAnswer),
            Poll::Pending => {
                login.attempt = Attempt::Opening(opening);
                return Ok(LoginProgress::Waiting);
            }
            Poll::Ready(None) => Err(SessionError::Defect),
            Poll::Ready(Some(Ok(root))) => Ok(root),
            Poll::Ready(Some(Err(error))) => {
                let account = &opening.account;
                log::error!("home {} of {}: {error}", account.home.display(), account.name);
                Err(if matches!(error, OpenError::Store(StoreError::NoAnswer)) {
                    SessionError::NoAnswer
                } else {
                    SessionError::Io
                })
            }
        };
        let Opening { account, active_account, claimed, proof, check, .. } = *opening;
        let result = root.map(|root| {
            let home = service.home_at(root, &account);
            let user = User { account: account.name.clone(), home, is_read_only: account.read_only, active_account };
            self.state = State::Command(user, None);
        });
        self.log_login(claimed.as_ref(), &result);
        result?;
        service.guard.succeeded(Origin::of(self.peer.ip()), now);
        if let Some(check) = check {
            check.remember(&mut service.passwords, &account.name, now);
        }
        Ok(LoginProgress::Welcome(proof))
    }

    /// Counts a failed login, which delays the next one of the same origin.
    fn refuse_login(&mut self, service: &mut Service, claimed: Option<&AccountName>, now: Instant) -> SessionError {
        self.log_login(claimed, &Err(SessionError::LoginFailed));
        service.guard.failed(Origin::of(self.peer.ip()), now);
        let State::Login(login) = &mut self.state else { return SessionError::LoginFailed };
        login.failures += 1;
        if login.failures >= service.policy.login_tries {
            SessionError::TooManyTries
        } else {
            SessionError::LoginFailed
        }
    }
}

/// Returns the verifier for a login by this name.
fn candidate(service: &mut Service, user: &str, now: Instant) -> Result<Candidate, SessionError> {
    service.accounts.candidate(user, now).map_err(log_account_error)
}

/// Logs and maps an error of the account files. It is not a failed login, because the password may be
/// right.
fn log_account_error(error: AccountError) -> SessionError {
    logging::log_rate_limited(STDERR, Level::Error, (&"login", &()), &format_args!("login: {error}"));
    SessionError::Io
}
