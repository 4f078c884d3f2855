//! Logins at a server that cheats: the client exits with 4, reveals nothing about the password, and computes no
//! more than needed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;

use super::scripted_server::{Answers, Seen, link_to};
use berth::auth::scram::{Binding, ClientFirst, SCRAM_ROUNDS_MAX, SCRAM_ROUNDS_MIN, ServerExchange, Verifier};
use berth::base::digest::{Digest, DigestAlgorithm};
use berth::base::virtual_path::VirtualPath;
use berth::client::connection::incoming::Event;
use berth::client::connection::link::Link;
use berth::client::connection::login;
use berth::client::error::Failure;
use berth::wire::message::{ErrorCode, IN_FLIGHT_MAX, WireLimits};
use berth::wire::{Reply, Request};

const PASSWORD: &str = "correct horse";
const BINDING: Binding = Binding::Exporter([7; 32]);

fn hello(mechanisms: &[&str]) -> Reply {
    Reply::Hello {
        version: 1,
        server: "script".into(),
        mechanisms: mechanisms.iter().map(|mechanism| mechanism.to_string()).collect(),
        features: vec![],
        limits: WireLimits { control_bytes: 65536, data_bytes: 1 << 20, in_flight: IN_FLIGHT_MAX },
    }
}

/// A server that knows the account, and may change its challenge and its last message.
fn cheat(
    change_challenge: impl Fn(String) -> String + 'static,
    change_welcome: impl Fn(String) -> String + 'static,
) -> impl FnMut(Seen, &mut Answers) {
    cheat_at(BINDING, change_challenge, change_welcome)
}

fn cheat_at(
    binding: Binding,
    change_challenge: impl Fn(String) -> String + 'static,
    change_welcome: impl Fn(String) -> String + 'static,
) -> impl FnMut(Seen, &mut Answers) {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    let make = || Verifier::from_password(PASSWORD, SCRAM_ROUNDS_MIN).expect("a password");
    let mut exchange = None;
    move |seen, answers| match seen {
        Seen::Request(id, Request::Hello { .. }) => answers.reply(id, &hello(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])),
        Seen::Request(id, Request::Auth { message, .. }) => {
            let first = ClientFirst::parse(&message).expect("our client's");
            let (begun, challenge) = ServerExchange::begin(first, VERIFIER.get_or_init(make), binding);
            exchange = Some(begun);
            answers.reply(id, &Reply::Challenge { message: change_challenge(challenge) });
        }
        Seen::Request(id, Request::AuthNext { message }) => {
            // Whoever changed the challenge cannot prove anything any more.
            let proof = exchange.take().expect("begun").finish(&message).unwrap_or_else(|_| "v=".into());
            answers.reply(id, &Reply::Welcome { message: change_welcome(proof) });
        }
        _ => {}
    }
}

/// What a login comes to, and what the client said.
fn log_in(script: impl FnMut(Seen, &mut Answers) + 'static) -> (Result<(), Failure>, Rc<RefCell<Vec<Seen>>>) {
    let (mut link, seen, _) = link_to(usize::MAX, script);
    let greeted = login::greet(&mut link, BINDING);
    (greeted.and_then(|()| login::log_in(&mut link, "ann", PASSWORD, BINDING).map(drop)), seen)
}

#[track_caller]
fn check_distrusted(what: &str, result: Result<(), Failure>) {
    let failure = result.expect_err(what);
    assert_eq!(failure.exit_code(), 4, "{what}: {failure}");
    assert!(failure.to_string().contains("do not trust it"), "{what}: {failure}");
}

fn has_proof(seen: &Rc<RefCell<Vec<Seen>>>) -> bool {
    seen.borrow().iter().any(|seen| matches!(seen, Seen::Request(_, Request::AuthNext { .. })))
}

#[test]
fn a_login_to_an_honest_server_succeeds() {
    log_in(cheat(|challenge| challenge, |welcome| welcome)).0.expect("logged in");
}

#[test]
fn a_server_that_asks_for_too_few_or_too_many_rounds_gets_no_proof() {
    let refused = [0, 1, SCRAM_ROUNDS_MIN - 1, SCRAM_ROUNDS_MAX + 1, 1_000_000_000, u32::MAX];
    for rounds in refused.map(|rounds| rounds.to_string()).iter().chain(&["99999999999".into(), "-1".into()]) {
        let told = rounds.clone();
        let change = move |challenge: String| {
            let (rest, _) = challenge.rsplit_once(",i=").expect("rounds");
            format!("{rest},i={told}")
        };
        // A thousand million rounds would take the client a quarter of an hour.
        let (result, seen) = log_in(cheat(change, |welcome| welcome));
        check_distrusted(rounds, result);
        assert!(!has_proof(&seen), "{rounds}: a proof for few rounds helps to guess passwords");
    }
}

#[test]
fn a_server_without_the_verifier_is_refused() {
    check_distrusted("none", log_in(cheat(|challenge| challenge, |_| String::new())).0);
    // `v=` and 44 digits of base64.
    for at in [0, 1, 2, 17, 43, 44, 45] {
        let flip = move |welcome: String| {
            let mut bytes = welcome.into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).expect("ASCII")
        };
        check_distrusted(&format!("byte {at}"), log_in(cheat(|challenge| challenge, flip)).0);
    }
    let mirrored = log_in(cheat(|challenge| challenge, |welcome| welcome.replace("v=", "p="))).0;
    check_distrusted("under another name", mirrored);
    check_distrusted("an error instead", log_in(cheat(|challenge| challenge, |_| "e=invalid-proof".into())).0);
}

#[test]
fn a_server_without_a_bound_login_gets_no_login() {
    for mechanisms in [&["SCRAM-SHA-256"][..], &["PLAIN"], &[], &["SCRAM-SHA-1-PLUS", "scram-sha-256-plus"]] {
        let told = hello(mechanisms);
        let (result, seen) = log_in(move |seen, answers| {
            if let Seen::Request(id, _) = seen {
                answers.reply(id, &told);
            }
        });
        check_distrusted(&format!("{mechanisms:?}"), result);
        assert_eq!(seen.borrow().len(), 1, "nothing but its hello was said");
    }
}

#[test]
fn an_invalid_challenge_gets_no_proof() {
    let with_nonce = |change: fn(&str) -> String| move |challenge: String| change(&challenge);
    let cases: [fn(&str) -> String; 7] = [
        |_| String::new(),
        |challenge| challenge.replacen("r=", "r=A", 1),
        |challenge| challenge.split(',').skip(1).collect::<Vec<_>>().join(","),
        |challenge| challenge.replacen(",s=", ",s=*", 1),
        |challenge| challenge.replacen(",s=", ",x=", 1),
        |challenge| format!("m=must,{challenge}"),
        |challenge| format!("{challenge},\u{1b}[2J"),
    ];
    for (at, case) in cases.into_iter().enumerate() {
        let (result, seen) = log_in(cheat(with_nonce(case), |welcome| welcome));
        check_distrusted(&format!("case {at}"), result);
        assert!(!has_proof(&seen), "case {at}");
    }
}

#[test]
fn a_welcome_before_the_proof_is_no_login() {
    for early in [Reply::Welcome { message: "v=".into() }, Reply::Done {}] {
        let (result, seen) = log_in(move |seen, answers| match seen {
            Seen::Request(id, Request::Hello { .. }) => answers.reply(id, &hello(&["SCRAM-SHA-256-PLUS"])),
            Seen::Request(id, _) => answers.reply(id, &early),
            _ => {}
        });
        result.expect_err("no login");
        assert!(!has_proof(&seen));
    }
    let refused = log_in(|seen, answers| match seen {
        Seen::Request(id, Request::Hello { .. }) => answers.reply(id, &hello(&["SCRAM-SHA-256-PLUS"])),
        Seen::Request(id, _) => answers.error(id, ErrorCode::LoginFailed),
        _ => {}
    });
    assert_eq!(refused.0.expect_err("refused").exit_code(), 4);
}

// ---- Logging in again ---------------------------------------------------------------------

/// A link that was logged in to before, with a server that answers everything behind the login.
fn log_in_again(
    binding: Binding,
    change_welcome: impl Fn(String) -> String + 'static,
) -> (Result<Link, Failure>, Rc<RefCell<Vec<Seen>>>) {
    let (mut first, ..) = link_to(usize::MAX, cheat(|challenge| challenge, |welcome| welcome));
    login::greet(&mut first, BINDING).expect("greeted");
    let keys = login::log_in(&mut first, "ann", PASSWORD, BINDING).expect("logged in");
    let mut login = cheat_at(binding, |challenge| challenge, change_welcome);
    let (mut link, seen, _) = link_to(usize::MAX, move |seen, answers| match seen {
        Seen::Request(id, Request::Digest { .. }) => {
            answers.reply(id, &Reply::Digest { digest: Digest::of(b"x"), size: 1 });
        }
        seen => login(seen, answers),
    });
    let logged_in = login::log_in_again(&mut link, "ann", &keys, binding);
    (logged_in.map(|()| link), seen)
}

fn ask(link: &mut Link) -> u32 {
    let path = (&VirtualPath::parse(b"/a").expect("a path")).into();
    link.request(&Request::Digest { path, algorithm: DigestAlgorithm::OF_TRANSFERS }).expect("room")
}

#[test]
fn a_request_sent_with_the_proof_is_used_only_after_the_server_is_verified() {
    let (link, seen) = log_in_again(BINDING, |welcome| welcome);
    let mut link = link.expect("begun");
    assert!(!has_proof(&seen), "the proof leaves together with the question");
    let id = ask(&mut link);
    let incoming = link.receive().expect("an answer");
    assert!(incoming.id == id && matches!(incoming.event, Event::Reply(Reply::Digest { .. })), "{incoming:?}");
}

#[test]
fn an_unproved_server_gets_no_content() {
    let (link, seen) = log_in_again(BINDING, |_| "v=".into());
    let mut link = link.expect("begun");
    let id = ask(&mut link);
    assert!(link.queue_data(id, 9, |room| Ok(room.len())).is_err());
    let error = link.await_proof().expect_err("forged").into();
    check_distrusted("forged", Err(error));
    // Whatever is done with the link then, that server is told nothing.
    link.queue_data(id, 9, |room| Ok(room.len())).expect("queued");
    let _ = link.receive();
    assert!(!seen.borrow().iter().any(|seen| matches!(seen, Seen::Data(..))), "{:?}", seen.borrow());
}

#[test]
fn a_reply_of_an_unproved_server_is_not_used() {
    let (link, _) = log_in_again(BINDING, |_| "v=".into());
    let mut link = link.expect("begun");
    ask(&mut link);
    check_distrusted("forged", link.receive().map(drop).map_err(Failure::from));
}

#[test]
fn without_encryption_no_request_is_sent_before_the_server_has_proved_itself() {
    assert!(log_in_again(Binding::None, |welcome| welcome).0.is_ok());
    let (link, seen) = log_in_again(Binding::None, |_| "v=".into());
    check_distrusted("forged", link.map(drop));
    assert!(has_proof(&seen));
}
