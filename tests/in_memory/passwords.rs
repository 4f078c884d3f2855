//! Logins with a plain password: the rounds leave turns to other sessions, few are computed at a time, a correct
//! password is cached for a while, and unknown names look like known ones.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::support::in_memory::{PASSWORD, Rights, Server, USER};
use berth::account::AccountName;
use berth::auth::scram::Verifier;
use berth::base::budget::{Budget, TURN_BUDGET};
use berth::session::login::LoginProgress;
use berth::session::login::LoginProgress::{Later, Waiting, Welcome};
use berth::session::login_guard::{LOGIN_DELAY_FIRST, LOGIN_DELAY_MAX};
use berth::session::password::{PASSWORD_CACHE_LIFETIME, PASSWORD_ROUND_COST, PASSWORD_WAIT_MAX};
use berth::session::state::StateName;
use berth::session::{Session, SessionError};

/// What one turn of a login, or all of them, came to.
type Outcome = Result<LoginProgress, SessionError>;

/// Rounds of the account every server has.
const ROUNDS: u64 = 4096;

fn begin(server: &mut Server, user: &str, password: &str) -> Session {
    let mut session = server.new_session();
    again(server, &mut session, user, password);
    session
}

fn again(server: &mut Server, session: &mut Session, user: &str, password: &str) {
    let password = Zeroizing::new(password.to_string());
    session.begin_password_login(&mut server.service, user, &password, server.now).expect("a login begins");
}

/// One turn: what came of it and what was left of its budget.
fn turn(server: &mut Server, session: &mut Session, units: u64) -> (Outcome, u64) {
    let mut budget = Budget::new(units);
    let login = session.advance_login(&mut server.service, &mut budget, server.now);
    (login, budget.left())
}

/// Takes turns until the login has a result. Returns the result and the budget units that it cost.
fn outcome(server: &mut Server, session: &mut Session) -> (Outcome, u64) {
    let mut spent = 0;
    loop {
        let (login, left) = turn(server, session, TURN_BUDGET);
        spent += TURN_BUDGET - left;
        match login {
            Ok(Later) => {}
            Ok(Waiting) => server.now = session.wakes_at().expect("it looks again"),
            login => return (login, spent),
        }
    }
}

fn log_in(server: &mut Server, user: &str, password: &str) -> (Outcome, u64) {
    let mut session = begin(server, user, password);
    outcome(server, &mut session)
}

fn account() -> AccountName {
    USER.parse().expect("account name")
}

const WELCOME_AFTER_ALL_ROUNDS: (Outcome, u64) = (WELCOME, ROUNDS * PASSWORD_ROUND_COST);
const WELCOME_AT_ONCE: (Outcome, u64) = (WELCOME, 0);
const WELCOME: Outcome = Ok(Welcome(None));
const FAILED: Outcome = Err(SessionError::LoginFailed);

#[test]
fn a_right_password_logs_in_whatever_the_budget_of_a_turn() {
    for units in [1, PASSWORD_ROUND_COST + 1, TURN_BUDGET, u64::MAX] {
        let mut server = Server::new();
        let mut session = begin(&mut server, USER, PASSWORD);
        let mut turns = 1;
        while turn(&mut server, &mut session, units).0 == Ok(Later) {
            assert_eq!(session.state_name(), StateName::Login);
            turns += 1;
        }
        assert_eq!(session.account().map(AccountName::as_str), Some(USER), "{units} units");
        assert_eq!(turns, ROUNDS.div_ceil(units.div_ceil(PASSWORD_ROUND_COST)), "{units} units");
    }
}

#[test]
fn a_wrong_password_is_answered_at_once_and_holds_the_next_try_of_its_origin_back() {
    let mut server = Server::new();
    let mut session = server.new_session();
    let mut next_try = Duration::ZERO;
    for refusal in [SessionError::LoginFailed, SessionError::LoginFailed, SessionError::TooManyTries] {
        let began = server.now;
        again(&mut server, &mut session, USER, "wrong");
        assert_eq!(outcome(&mut server, &mut session).0, Err(refusal));
        assert_eq!(server.now - began, next_try, "no later than the last failure asks for");
        next_try = (next_try * 2).max(LOGIN_DELAY_FIRST);
    }
    // Another connection of the same origin waits too, even if the one that failed is closed.
    session.close(None, server.now);
    let began = server.now;
    assert_eq!(log_in(&mut server, USER, PASSWORD).0, WELCOME);
    assert_eq!(server.now - began, next_try);
}

#[test]
fn tries_sent_together_are_checked_one_after_the_other() {
    let mut server = Server::new();
    let mut sessions: Vec<Session> = (0..20).map(|_| begin(&mut server, USER, "wrong")).collect();
    let (began, mut checked) = (server.now, 0);
    while server.now - began < Duration::from_secs(16) {
        sessions.retain_mut(|session| {
            loop {
                match turn(&mut server, session, TURN_BUDGET).0 {
                    Ok(Later) => {}
                    Ok(_) => return true,
                    Err(_) => {
                        checked += 1;
                        return false;
                    }
                }
            }
        });
        server.advance(Duration::from_millis(50));
    }
    assert!((5..=8).contains(&checked), "{checked} guesses in 16 s");
    assert!(LOGIN_DELAY_MAX > Duration::from_secs(5));
}

#[test]
fn unknown_names_locked_accounts_and_wrong_passwords_look_alike() {
    let mut server = Server::with_rounds(ROUNDS as u32);
    server.add_account("locked", Rights::default());
    server.service.accounts.update(&"locked".parse().expect("name"), |account| account.locked = true).expect("changed");
    for (user, password) in [(USER, "wrong"), ("nobody", PASSWORD), ("not a name\u{1}", PASSWORD), ("locked", PASSWORD)]
    {
        let (login, spent) = log_in(&mut server, user, password);
        assert_eq!((login, spent), (FAILED, ROUNDS * PASSWORD_ROUND_COST), "{user:?}");
    }
    for password in ["", "with a\ttab", &"long".repeat(1000)] {
        assert_eq!(log_in(&mut server, USER, password).0, FAILED);
    }
}

#[test]
fn a_right_password_is_known_for_a_while_and_a_wrong_one_never() {
    let mut server = Server::new();
    assert_eq!(log_in(&mut server, USER, PASSWORD), WELCOME_AFTER_ALL_ROUNDS);
    assert_eq!(log_in(&mut server, USER, PASSWORD), WELCOME_AT_ONCE);
    for _ in 0..2 {
        let (login, spent) = log_in(&mut server, USER, "wrong");
        assert_eq!((login, spent), (FAILED, ROUNDS * PASSWORD_ROUND_COST));
    }
    server.advance(PASSWORD_CACHE_LIFETIME - Duration::from_secs(1));
    assert_eq!(log_in(&mut server, USER, PASSWORD), WELCOME_AT_ONCE);
    server.advance(Duration::from_secs(1));
    assert_eq!(log_in(&mut server, USER, PASSWORD), WELCOME_AFTER_ALL_ROUNDS, "it does not last by being used");
}

#[test]
fn a_known_password_helps_nobody_after_it_was_changed_or_the_account_locked_or_removed() {
    let mut server = Server::new();
    assert_eq!(log_in(&mut server, USER, PASSWORD), WELCOME_AFTER_ALL_ROUNDS);
    let set = |server: &Server, change: &dyn Fn(&mut berth::account::Account)| {
        server.service.accounts.update(&account(), change).expect("changed");
    };
    set(&server, &|account| account.locked = true);
    assert_eq!(log_in(&mut server, USER, PASSWORD).0, FAILED);
    set(&server, &|account| account.locked = false);
    assert_eq!(log_in(&mut server, USER, PASSWORD), WELCOME_AT_ONCE);
    set(&server, &|account| account.verifier = Verifier::from_password("another", ROUNDS as u32).expect("password"));
    assert_eq!(log_in(&mut server, USER, PASSWORD).0, FAILED);
    assert_eq!(log_in(&mut server, USER, "another"), WELCOME_AFTER_ALL_ROUNDS);
    server.service.accounts.remove(&account()).expect("removed");
    assert_eq!(log_in(&mut server, USER, "another").0, FAILED);
}

#[test]
fn a_password_changed_while_it_is_checked_is_wrong() {
    let mut server = Server::new();
    let mut session = begin(&mut server, USER, PASSWORD);
    assert_eq!(turn(&mut server, &mut session, TURN_BUDGET).0, Ok(Later));
    server.service.accounts.update(&account(), |account| account.locked = true).expect("changed");
    assert_eq!(outcome(&mut server, &mut session).0, FAILED);
}

#[test]
fn passwords_of_one_address_are_computed_one_by_one_in_the_order_they_came() {
    let mut server = Server::new();
    let mut sessions: Vec<Session> = (0..6).map(|_| begin(&mut server, USER, "wrong")).collect();
    let waits: Vec<bool> = sessions
        .iter_mut()
        .map(|session| {
            let waits = turn(&mut server, session, TURN_BUDGET) == (Ok(Waiting), TURN_BUDGET);
            let wakes_at = session.wakes_at();
            assert_eq!(wakes_at.is_some(), waits);
            assert!(wakes_at.is_none_or(|at| at > server.now && at <= server.now + PASSWORD_WAIT_MAX));
            waits
        })
        .collect();
    // They are all of one address, which has one checked at a time.
    assert_eq!(waits, [false, true, true, true, true, true]);
    // One that gives up before its turn is passed over.
    sessions[1].close(None, server.now);
    drop(sessions.remove(1));
    assert_eq!(outcome(&mut server, &mut sessions[0]).0, FAILED);
    server.advance(LOGIN_DELAY_MAX);
    assert_eq!(turn(&mut server, &mut sessions[1], 1).0, Ok(Later));
    assert_eq!(turn(&mut server, &mut sessions[2], 1).0, Ok(Waiting));
    // So is one that goes in the middle of its turn.
    sessions[1].close(None, server.now);
    assert_eq!(turn(&mut server, &mut sessions[2], 1).0, Ok(Later));
    assert_eq!(turn(&mut server, &mut sessions[3], 1).0, Ok(Waiting));
}

#[test]
fn a_known_password_does_not_wait_for_others() {
    let mut server = Server::new();
    assert_eq!(log_in(&mut server, USER, PASSWORD), WELCOME_AFTER_ALL_ROUNDS);
    let _others: Vec<Session> = (0..8).map(|_| begin(&mut server, "nobody", "wrong")).collect();
    assert_eq!(log_in(&mut server, USER, PASSWORD), WELCOME_AT_ONCE);
}

#[test]
fn a_second_login_is_refused_while_one_is_being_checked() {
    let mut server = Server::new();
    assert_eq!(log_in(&mut server, USER, "wrong").0, FAILED);
    let mut session = begin(&mut server, USER, "wrong");
    for expected in [Waiting, Later] {
        assert_eq!(turn(&mut server, &mut session, 1).0, Ok(expected));
        let password = Zeroizing::new(PASSWORD.to_string());
        let second = session.begin_password_login(&mut server.service, USER, &password, server.now);
        assert_eq!(second, Err(SessionError::WrongState));
        assert!(session.begin_login(&mut server.service, "n,,n=alice,r=x", server.now).is_err());
        server.now = session.wakes_at().unwrap_or(server.now);
    }
}

#[test]
fn an_account_without_a_free_session_refuses_a_right_password_and_can_be_asked_again() {
    let mut server = Server::new();
    server.service.policy.sessions_per_account = 1;
    let mut first = begin(&mut server, USER, PASSWORD);
    assert_eq!(outcome(&mut server, &mut first).0, WELCOME);
    let mut second = begin(&mut server, USER, PASSWORD);
    let mut budget = Budget::new(u64::MAX);
    let refused = second.advance_login(&mut server.service, &mut budget, server.now);
    assert_eq!(refused, Err(SessionError::TooManySessions));
    first.close(None, server.now);
    again(&mut server, &mut second, USER, PASSWORD);
    assert_eq!(outcome(&mut server, &mut second), WELCOME_AT_ONCE);
}
