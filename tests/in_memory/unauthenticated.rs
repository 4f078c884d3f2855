//! What a client without a password can learn or reach: known and unknown users look the same and cost the same,
//! and a changed, repeated or misplaced login message never logs in.

use rustix::time::{ClockId, clock_gettime};

use crate::support::in_memory::*;
use berth::auth::scram::{Binding, ClientExchange};
use berth::base::budget::Budget;
use berth::protocol::Protocol;
use berth::session::SessionError;
use berth::session::login_guard::LOGIN_DELAY_MAX;
use berth::wire::{ErrorCode, Reply, Request};

const TRIES: usize = 1000;

/// Who is asked for: somebody there is, nobody, somebody locked, and what can be no name.
const KINDS: [&str; 4] = ["alice", "nobod", "carol", "../al"];

/// A server whose accounts have the rounds of its configuration, as they have unless an
/// administrator changes that.
fn server() -> Server {
    let mut server = Server::with_rounds(4096);
    server.add_account("carol", Rights::default());
    let name = "carol".parse().expect("a name");
    server.service.accounts.update(&name, |account| account.locked = true).expect("there");
    server
}

/// A client-first-message, and a client-final-message that answers `challenge` with a wrong proof.
fn first(user: &str) -> String {
    format!("n,,n={user},r=fyko+d2lbbFgONRv9qkxdawL")
}

fn wrong_proof(challenge: &str) -> String {
    let nonce = challenge.split(',').next().expect("a nonce");
    format!("c=biws,{nonce},p={}=", "A".repeat(43))
}

// ---- Who exists ---------------------------------------------------------------------------

fn greeted(server: &mut Server) -> Peer {
    let mut peer = server.connect();
    peer.ask(server, &Request::Hello { versions: vec![1], client: String::new() });
    peer
}

/// All that a client sees of `tries` logins as `user` from one address: what differs in every
/// login is blanked, but not its length.
fn seen(user: &str, tries: usize) -> Vec<String> {
    let mut server = server();
    let mut seen = Vec::new();
    let mut salts = std::collections::HashSet::new();
    let mut peer = greeted(&mut server);
    for _ in 0..tries {
        if peer.is_closing() {
            peer = greeted(&mut server);
        }
        let mechanism = "SCRAM-SHA-256".to_string();
        let reply = peer.ask(&mut server, &Request::Auth { mechanism, message: first(user) });
        let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
        let fields: Vec<&str> = message.split(',').collect();
        let [nonce, salt, rounds] = fields[..] else { panic!("{message}") };
        salts.insert(salt.to_string());
        seen.push(format!("{} {} {rounds}", nonce.len(), salt.len()));
        let began = server.now;
        let reply = answer(&mut peer, &mut server, wrong_proof(&message));
        seen.push(format!("{:?} {reply:?}", server.now - began));
    }
    assert_eq!(salts.len(), 1, "a salt that changes gives it away");
    seen
}

#[test]
fn known_and_unknown_users_look_alike_over_a_thousand_tries() {
    let known = seen(KINDS[0], TRIES);
    assert!(known.iter().filter(|line| line.contains("LoginFailed")).count() == TRIES, "{:?}", &known[..6]);
    for kind in &KINDS[1..] {
        for (at, (known, other)) in known.iter().zip(seen(kind, TRIES)).enumerate() {
            assert_eq!(*known, other, "{kind}, line {at}");
        }
    }
}

/// Processor time of this thread so far, in nanoseconds.
fn thread_ns() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// How probable it is that one of `a` is larger than one of `b`: 0.5 if they tell nothing.
fn probability_that_larger(a: &[i64], b: &[i64]) -> f64 {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| 1 + i64::from(a > b) - i64::from(a < b)));
    pairs.sum::<i64>() as f64 / (2 * a.len() * b.len()) as f64
}

/// Compares processor time, not time on the clock: other work on the machine does not count, and
/// what it does to caches falls on all alike, because they take turns by chance. Where that is
/// much, chance alone may tell two apart once; a real difference does so every time.
#[test]
fn known_and_unknown_users_cost_alike_over_a_thousand_tries() {
    let mut server = server();
    let mut random = Random::new(30);
    let mut told_apart = || {
        let costs = costs(&mut server, &mut random);
        let all = (1..KINDS.len()).map(|kind| (KINDS[kind], probability_that_larger(&costs[0], &costs[kind])));
        all.filter(|(_, probability)| !(0.4..0.6).contains(probability)).collect::<Vec<_>>()
    };
    let tries: Vec<_> = (0..5).map(|_| told_apart()).take_while(|kinds| !kinds.is_empty()).collect();
    assert!(tries.len() < 5, "how often {} costs more than others: {tries:?}", KINDS[0]);
}

/// What at least a thousand failed logins of each kind cost, in nanoseconds.
fn costs(server: &mut Server, random: &mut Random) -> [Vec<i64>; KINDS.len()] {
    let mut costs: [Vec<i64>; KINDS.len()] = Default::default();
    while costs.iter().any(|costs| costs.len() < TRIES) {
        let kind = random.below(KINDS.len());
        let message = first(KINDS[kind]);
        let mut session = server.new_session();
        let began = thread_ns();
        let challenge = session.begin_login(&mut server.service, &message, server.now).expect("a challenge");
        let to_challenge = thread_ns() - began;
        let message = wrong_proof(&challenge);
        server.advance(LOGIN_DELAY_MAX);
        let began = thread_ns();
        session.finish_login(message).expect("in its place");
        let outcome = session.advance_login(&mut server.service, &mut Budget::new(u64::MAX), server.now);
        assert_eq!(outcome, Err(SessionError::LoginFailed));
        costs[kind].push(to_challenge + thread_ns() - began);
    }
    costs
}

// ---- Who gets in --------------------------------------------------------------------------

/// A login up to its challenge: somebody connected, the right proof, and the challenge.
fn challenged(server: &mut Server) -> (Peer, String) {
    let mut peer = greeted(server);
    let proof = challenge(&mut peer, server);
    (peer, proof)
}

fn challenge(peer: &mut Peer, server: &mut Server) -> String {
    let (exchange, message) = ClientExchange::new(USER, keys(), Binding::None).expect("a user");
    let reply = peer.ask(server, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
    let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
    exchange.answer(&message).expect("an honest server").1
}

/// What the last message of a login comes to, once its origin may try again.
fn answer(peer: &mut Peer, server: &mut Server, message: String) -> Reply {
    let id = peer.request(&Request::AuthNext { message });
    let mut got = peer.exchange(server);
    if let (true, Some(due)) = (got.is_empty(), peer.protocol.status().wakes_at) {
        server.now = server.now.max(due);
        got = peer.exchange(server);
    }
    match &got[..] {
        [Got::Reply(of, reply)] if *of == id => reply.clone(),
        other => panic!("{other:?}"),
    }
}

fn refusal(reply: &Reply) -> Option<ErrorCode> {
    if let Reply::Error(error) = reply { Some(error.code) } else { None }
}

#[test]
fn a_first_message_malformed_in_any_field_is_refused_and_the_next_may_be_right() {
    let mut server = server();
    let mut peer = greeted(&mut server);
    let long = format!("n,,n=alice,r={}", "a".repeat(3000));
    for message in [
        "",
        "n",
        "n,,",
        "x,,n=alice,r=abc",
        "p,,n=alice,r=abc",
        "n,a=root,n=alice,r=abc",
        "n,,m=must,n=alice,r=abc",
        "n,,n=,r=abc",
        "n,,n=ali=ce,r=abc",
        "n,,n=al\u{1b}ice,r=abc",
        "n,,n=alice",
        "n,,n=alice,r=",
        "n,,n=alice,r=a b",
        "n,,r=abc,n=alice",
        "n,,n=alice,r=abc,",
        &long,
    ] {
        let request = Request::Auth { mechanism: "SCRAM-SHA-256".into(), message: message.into() };
        assert_eq!(peer.refused(&mut server, &request), ErrorCode::BadRequest, "{message:.60}");
    }
    for mechanism in ["", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "SCRAM-SHA-256\0"] {
        let request = Request::Auth { mechanism: mechanism.into(), message: first(USER) };
        assert_eq!(peer.refused(&mut server, &request), ErrorCode::Unsupported, "{mechanism}");
    }
    let proof = challenge(&mut peer, &mut server);
    assert!(matches!(answer(&mut peer, &mut server, proof), Reply::Welcome { .. }));
}

#[test]
fn a_last_message_changed_in_any_character_lets_nobody_in() {
    let mut server = server();
    let length = challenged(&mut server).1.len();
    for at in 0..length {
        for replacement in ["A", "=", ",", "", "\u{fc}"] {
            let (mut peer, proof) = challenged(&mut server);
            let changed = format!("{}{replacement}{}", &proof[..at], &proof[at + 1..]);
            if changed != proof {
                let reply = answer(&mut peer, &mut server, changed.clone());
                let code = refusal(&reply);
                assert!(matches!(code, Some(ErrorCode::LoginFailed | ErrorCode::BadRequest)), "{changed}: {reply:?}");
                assert_eq!(peer.refused(&mut server, &stat("/")), ErrorCode::LoginRequired);
            }
        }
    }
}

#[test]
fn a_proof_that_was_used_or_belongs_to_another_challenge_lets_nobody_in() {
    let mut server = server();
    let (mut peer, proof) = challenged(&mut server);
    let (mut other, proof_of_other) = challenged(&mut server);
    let reply = answer(&mut other, &mut server, proof.clone());
    assert_eq!(refusal(&reply), Some(ErrorCode::LoginFailed), "a proof for another connection");
    let reply = answer(&mut other, &mut server, proof_of_other);
    assert_eq!(refusal(&reply), Some(ErrorCode::BadRequest), "a challenge is good for one try");
    let _ = challenge(&mut other, &mut server);
    assert!(matches!(answer(&mut peer, &mut server, proof.clone()), Reply::Welcome { .. }));
    assert!(refusal(&answer(&mut peer, &mut server, proof.clone())).is_some(), "it is logged in");
    let reply = answer(&mut other, &mut server, proof.clone());
    assert_eq!(refusal(&reply), Some(ErrorCode::LoginFailed), "a proof that was good once");
    let mut fresh = greeted(&mut server);
    let reply = answer(&mut fresh, &mut server, proof);
    assert_eq!(refusal(&reply), Some(ErrorCode::BadRequest), "a proof without a challenge");
}

// ---- What tells accounts apart --------------------------------------------------------------

/// The rounds that a challenge for `user` asks for.
fn rounds(server: &mut Server, user: &str) -> String {
    let mut peer = greeted(server);
    let reply = peer.ask(server, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message: first(user) });
    let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
    message.rsplit_once(",i=").expect("rounds").1.to_string()
}

#[test]
fn unknown_users_have_rounds_that_accounts_have_whatever_the_configuration_says_since() {
    // The account of every test server has 4,096, new ones would have 9,999.
    let mut server = Server::with_rounds(9_999);
    for user in ["nobody", "somebody", "root", "a", "admin", "guest"] {
        assert_eq!(rounds(&mut server, user), rounds(&mut server, USER), "{user}");
    }
}

/// The salt and rounds of a challenge for `user`.
fn salt_and_rounds(server: &mut Server, user: &str) -> (String, String) {
    let mut peer = greeted(server);
    let reply = peer.ask(server, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message: first(user) });
    let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
    let (rest, rounds) = message.rsplit_once(",i=").expect("rounds");
    (rest.rsplit_once(",s=").expect("a salt").1.to_string(), rounds.to_string())
}

/// Gives an account a new password, with other rounds.
fn change_password(server: &mut Server, account: &str, rounds: u32) {
    let verifier = berth::auth::scram::Verifier::from_password("another one", rounds).expect("a password");
    let name = account.parse().expect("a name");
    server.service.accounts.update(&name, |account| account.verifier = verifier).expect("there");
}

#[test]
fn decoy_challenges_use_the_rounds_of_recent_accounts() {
    let mut server = server();
    let names: Vec<String> = (0..40).map(|number| format!("nobody{number}")).collect();
    let all = |server: &mut Server| -> Vec<(String, String)> {
        names.iter().map(|name| salt_and_rounds(server, name)).collect()
    };
    let count = |all: &[(String, String)], wanted: &str| all.iter().filter(|(_, rounds)| rounds == wanted).count();
    let before = all(&mut server);
    assert_eq!(count(&before, "4096"), 40);
    change_password(&mut server, "carol", 9_999);
    let amid = all(&mut server);
    assert!(count(&amid, "4096") > 0 && count(&amid, "9999") > 0, "{amid:?}");
    assert_eq!(count(&amid, "4096") + count(&amid, "9999"), 40);
    change_password(&mut server, "alice", 9_999);
    let after = all(&mut server);
    assert_eq!(count(&after, "9999"), 40, "no account has the old ones any more");
    // The salt of an account is another one exactly when its rounds are: both come with a password.
    for (old, new) in before.iter().zip(&amid).chain(amid.iter().zip(&after)) {
        assert_eq!(old.0 == new.0, old.1 == new.1, "{old:?} {new:?}");
    }
    server.restart();
    assert_eq!(all(&mut server), after);
}

#[test]
fn where_the_accounts_are_gone_no_password_is_called_wrong() {
    let mut server = server();
    let directory =
        server.service.accounts.path(&USER.parse().expect("a name")).parent().expect("a folder").to_path_buf();
    std::fs::rename(&directory, directory.with_extension("away")).expect("ours");
    let mut answers = Vec::new();
    for user in KINDS {
        let mut peer = greeted(&mut server);
        let reply = peer.ask(&mut server, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message: first(user) });
        let Reply::Error(error) = reply else { panic!("{reply:?}") };
        answers.push((error.code, error.retry, error.fatal));
    }
    assert_eq!(answers, [(ErrorCode::Io, true, false); KINDS.len()]);
    std::fs::rename(directory.with_extension("away"), &directory).expect("ours");
    server.log_in();
}

#[test]
fn a_damaged_account_looks_like_an_unknown_one() {
    let mut server = server();
    std::fs::write(server.service.accounts.path(&"alice".parse().expect("a name")), "{").expect("writable");
    let (damaged, unknown) = (rounds(&mut server, "alice"), rounds(&mut server, "nobod"));
    assert_eq!(damaged, unknown);
    let (mut peer, message) = (greeted(&mut server), first("alice"));
    let reply = peer.ask(&mut server, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
    let Reply::Challenge { message } = reply else { panic!("{reply:?}") };
    let reply = answer(&mut peer, &mut server, wrong_proof(&message));
    assert_eq!(refusal(&reply), Some(ErrorCode::LoginFailed));
}
