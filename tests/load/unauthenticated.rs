//! Thousands of unauthenticated connections: users can log in, transfers continue, and memory, descriptors and
//! processor time stay bounded. `in_memory/fairness.rs` counts their turns.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, iter};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::support::needs::tests;
use crate::support::peer::{Incoming, Peer, put};
use crate::support::{Place, Server, events, pattern, wait_until};
use berth::wire::message::{Name, PutMode};
use berth::wire::{ErrorCode, Reply, Request};

tests! {
    []
        failing_logins_without_end_harm_neither_a_transfer_nor_memory,
        guesses_at_an_account_from_everywhere_never_delay_its_user,
        an_address_that_hangs_up_after_each_guess_gets_few_of_them_checked,
        many_guesses_at_once_from_one_address_are_few_that_are_checked_and_the_owner_gets_in,
        an_address_that_fails_again_and_again_waits_longer_than_others,
        a_byte_now_and_then_does_not_put_the_deadline_of_the_login_off,
        more_unauthenticated_connections_than_the_limit_lock_nobody_out_and_stop_no_transfer,
        a_full_server_lets_users_in_instead_of_unauthenticated_clients,
        connections_do_not_take_the_descriptors_that_files_need,
        without_descriptors_no_password_is_called_wrong_and_no_name_is_told_from_another,
        without_descriptors_accepting_pauses_without_spinning_and_recovers;
}

fn list() -> Request {
    Request::List { path: Name::from("/") }
}

/// Fetches a file; its bytes.
fn get(peer: &mut Peer, path: &str) -> Vec<u8> {
    peer.request(&Request::Get { path: path.into(), offset: 0, etag: None, prefix_digest: None });
    let mut content = Vec::new();
    loop {
        match peer.receive().expect("it goes on") {
            Incoming::Reply(_, Reply::File { .. }) => {}
            Incoming::Data(_, bytes) => content.extend(bytes),
            Incoming::End(..) => return content,
            other => panic!("{other:?}"),
        }
    }
}

/// The last reply before the server closed.
fn last_word(peer: &mut Peer) -> ErrorCode {
    let last = iter::from_fn(|| peer.receive().ok()).last();
    let Some(Incoming::Reply(_, Reply::Error(error))) = last else { panic!("a refusal, not {last:?}") };
    assert!(error.fatal, "{error:?}");
    error.code
}

// ---- Logins (threats 31 and 33) -----------------------------------------------------------

fn failing_logins_without_end_harm_neither_a_transfer_nor_memory() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let content = pattern(1, 16 << 20);
    fs::write(place.home("ann", "large"), &content).expect("writable");
    let mut peer = Peer::login(server.address, "ann");
    assert!(get(&mut peer, "/large") == content);
    let before = server.program.resident_kib();
    let (guesses, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for account in ["ann", "nobody"] {
            let (guesses, is_over, address) = (&guesses, &is_over, server.address);
            scope.spawn(move || {
                while !is_over.load(Relaxed) {
                    Peer::connect(address).guess(account);
                    guesses.fetch_add(1, Relaxed);
                }
            });
        }
        let mut transfers = 0;
        while guesses.load(Relaxed) < 500 || transfers < 5 {
            assert!(get(&mut peer, "/large") == content);
            transfers += 1;
        }
        is_over.store(true, Relaxed);
    });
    let grown = server.program.resident_kib().saturating_sub(before);
    assert!(grown < 6 * 1024, "{grown} KiB for {} guesses", guesses.into_inner());
}

fn guesses_at_an_account_from_everywhere_never_delay_its_user() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let mut guessers: Vec<Peer> = (1..=9).map(|last| Peer::connect_from(last, server.address)).collect();
    guessers.iter_mut().for_each(|guesser| guesser.guess("ann"));
    wait_until("all have failed", || place.log("access.log").matches("result=LoginFailed").count() == 9);
    let began = Instant::now();
    let mut ann = Peer::connect_from(10, server.address);
    ann.greet();
    assert!(matches!(ann.prove("ann", crate::support::PASSWORD), Reply::Welcome { .. }));
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
}

fn an_address_that_hangs_up_after_each_guess_gets_few_of_them_checked() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < Duration::from_secs(3) {
        Peer::connect_from(2, server.address).guess("ann");
        sent += 1;
    }
    let checked = place.log("access.log").matches("result=LoginFailed").count();
    assert!(sent > 50 && (1..=6).contains(&checked), "{checked} of {sent} guesses in 3 s");
    let mut ann = Peer::connect_from(3, server.address);
    ann.greet();
    assert!(matches!(ann.prove("ann", crate::support::PASSWORD), Reply::Welcome { .. }));
}

fn many_guesses_at_once_from_one_address_are_few_that_are_checked_and_the_owner_gets_in() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let (sent, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for waits in [false, false, false, true, true, true] {
            let (sent, is_over, address) = (&sent, &is_over, server.address);
            scope.spawn(move || {
                while !is_over.load(Relaxed) {
                    let mut guesser = Peer::connect_from(2, address);
                    guesser.guess("ann");
                    sent.fetch_add(1, Relaxed);
                    while waits && !is_over.load(Relaxed) && !guesser.has_answer() {
                        thread::yield_now();
                    }
                }
            });
        }
        while sent.load(Relaxed) < 200 {
            let mut ann = Peer::connect_from(3, server.address);
            ann.greet();
            assert!(matches!(ann.prove("ann", crate::support::PASSWORD), Reply::Welcome { .. }));
        }
        is_over.store(true, Relaxed);
    });
    place.check_guesses(sent.into_inner());
}

fn an_address_that_fails_again_and_again_waits_longer_than_others() {
    let place = Place::new();
    let server = place.serve();
    let mut guessers: Vec<Peer> = (1..=7).map(|_| Peer::connect_from(2, server.address)).collect();
    for (number, guesser) in guessers.iter_mut().enumerate() {
        guesser.guess(&format!("user{number}"));
    }
    wait_until("some have failed", || place.log("access.log").matches("result=LoginFailed").count() >= 2);
    let mut mistaken = Peer::connect_from(3, server.address);
    mistaken.guess("user8");
    let Reply::Error(error) = mistaken.reply() else { panic!("it is wrong") };
    assert_eq!(error.code, ErrorCode::LoginFailed);
    assert!(guessers.iter().any(|guesser| !guesser.has_answer()), "they wait for each other");
}

// ---- Connections (threat 36) --------------------------------------------------------------

fn a_byte_now_and_then_does_not_put_the_deadline_of_the_login_off() {
    let place = Place::with(json!({"timeouts": {"login": 1}}));
    let server = place.serve();
    let mut peer = Peer::connect(server.address);
    peer.send(&[0, 0, 15, 0, 0, 0, 0, 1, 1, 0, 0, 0]);
    wait_until("it gets an error", || peer.stream.write_all(b" ").is_err() || peer.has_answer());
    let Reply::Error(error) = peer.reply() else { panic!("a refusal") };
    assert_eq!((error.code, error.fatal), (ErrorCode::Timeout, true));
}

/// As many descriptors as the system lets this process have.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the hard limit");
}

/// Two thousand connections that stay, a third of each kind.
fn crowd(address: SocketAddr, mut each: impl FnMut()) -> Vec<Peer> {
    let begin = |number: usize| {
        each();
        let mut client = Peer::connect_from(2 + (number % 2) as u8, address);
        match number % 3 {
            0 => {}
            1 => client.send(&[0, 0, 15]),
            _ => client.guess("ann"),
        }
        client
    };
    (0..2000).map(begin).collect()
}

fn more_unauthenticated_connections_than_the_limit_lock_nobody_out_and_stop_no_transfer() {
    raise_descriptors();
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let content = pattern(1, 4 << 20);
    fs::write(place.home("ann", "large"), &content).expect("writable");
    let mut member = Peer::login(server.address, "ann");
    let before = server.program.resident_kib();
    let mut number = 0;
    let crowd = crowd(server.address, || {
        number += 1;
        if number % 400 == 0 {
            assert!(get(&mut member, "/large") == content);
            let mut newcomer = Peer::login(server.address, "ann");
            assert!(matches!(newcomer.ask(&list()), Reply::Page { .. }));
        }
    });
    let mut newcomer = Peer::login(server.address, "ann");
    assert!(matches!(newcomer.ask(&list()), Reply::Page { .. }));
    assert!(get(&mut member, "/large") == content);
    let grown = server.program.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    wait_until("those for whom there was no place have gone", || {
        events(&place.log("access.log"), "user=- verb=close result=Displaced") >= crowd.len() - 1000
    });
    assert!(!place.log("access.log").contains("user=ann verb=close result=Displaced"));
}

fn a_full_server_lets_users_in_instead_of_unauthenticated_clients() {
    let place = Place::with(json!({"limits": {"sessions": 4}}));
    place.add("ann", &[]);
    let server = place.serve();
    let mut clients: Vec<Peer> = (0..4).map(|_| Peer::connect(server.address)).collect();
    let members: Vec<Peer> = (0..4).map(|_| Peer::login(server.address, "ann")).collect();
    for client in &mut clients {
        assert_eq!(last_word(client), ErrorCode::TooMany);
    }
    assert_eq!(last_word(&mut Peer::connect(server.address)), ErrorCode::TooMany);
    assert_eq!(last_word(&mut Peer::connect(server.address)), ErrorCode::TooMany);
    let complaints = server.program.stderr().matches("was refused").count();
    assert_eq!(complaints, 1, "one line for all of them: {}", server.program.stderr());
    assert!(server.program.stderr().contains("`limits.sessions`"));
    drop(members);
}

// ---- Descriptors (threat 37) --------------------------------------------------------------

/// A server that may have 40 descriptors. It needs about a dozen for itself.
fn serve_with_few_descriptors(place: &Place) -> Server {
    let command = place.berthd(&[]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -n 40; exec \"$0\" serve", env!("CARGO_BIN_EXE_berthd")]).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(place.path(""));
    place.serve_as(shell)
}

fn connections_do_not_take_the_descriptors_that_files_need() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = serve_with_few_descriptors(&place);
    let mut first = Peer::login(server.address, "ann");
    let clients: Vec<Peer> = (0..60).map(|_| Peer::connect(server.address)).collect();
    assert!(matches!(first.put("/a", &pattern(1, 100_000), PutMode::Create), Reply::Stored { .. }));
    assert!(get(&mut first, "/a") == pattern(1, 100_000));
    drop(clients);

    // Members until there is no room for one more; then each of them opens a file.
    let mut members = vec![first];
    loop {
        let mut newcomer = Peer::connect(server.address);
        newcomer.request(&Request::Hello { versions: vec![1], client: String::new() });
        let Reply::Hello { .. } = newcomer.reply() else { break };
        assert!(matches!(newcomer.prove("ann", crate::support::PASSWORD), Reply::Welcome { .. }));
        members.push(newcomer);
        assert!(members.len() < 40, "more sessions than descriptors");
    }
    assert!(members.len() >= 5, "{}", members.len());
    assert_eq!(last_word(&mut Peer::connect(server.address)), ErrorCode::TooMany);
    let complaints = server.program.stderr();
    assert!(complaints.matches("was refused").count() == 1 && complaints.contains("ulimit -n"), "{complaints}");
    for (number, member) in members.iter_mut().enumerate() {
        member.request(&put(&format!("/{number}"), 1000, PutMode::Create));
    }
    let home = place.home("ann", "");
    wait_until("all files are open", || server.program.open_files_below(&home) >= members.len());
    assert!(!server.program.stderr().contains("Too many open files"), "{}", server.program.stderr());
}

fn without_descriptors_no_password_is_called_wrong_and_no_name_is_told_from_another() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let connect = |user: &'static str| {
        let mut peer = Peer::connect(server.address);
        peer.greet();
        (user, peer)
    };
    let mut peers: Vec<(&str, Peer)> = ["ann", "nobody", "ann", "../ann"].into_iter().map(connect).collect();
    server.program.limit_descriptors(3);
    let mut answers = Vec::new();
    for (user, peer) in &mut peers {
        let message = format!("n,,n={user},r=fyko+d2lbbFgONRv9qkxdawL");
        let reply = peer.ask(&Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
        let Reply::Error(error) = reply else { panic!("{user}: {reply:?}") };
        assert_eq!((error.code, error.retry, error.fatal), (ErrorCode::Io, true, false), "{user}");
        answers.push(error.message);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    server.program.limit_descriptors(1000);
    let (_, ann) = &mut peers[0];
    assert!(
        matches!(ann.prove("ann", crate::support::PASSWORD), Reply::Welcome { .. }),
        "the same connection may try again"
    );
    let (_, nobody) = &mut peers[1];
    assert!(matches!(nobody.prove("nobody", crate::support::PASSWORD), Reply::Error(_)));
}

fn without_descriptors_accepting_pauses_without_spinning_and_recovers() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let mut first = Peer::login(server.address, "ann");
    assert!(matches!(first.ask(&Request::Quota {}), Reply::Quota(_)));
    server.program.limit_descriptors(3);
    let waiting: Vec<Peer> = (0..20).map(|_| Peer::connect(server.address)).collect();
    wait_until("it has run out", || server.program.stderr().contains("cannot accept connections"));
    // Several pauses of 0.2 s; a loop that spins would use all of that time.
    let (began, used) = (Instant::now(), server.program.ticks());
    wait_until("some pauses are over", || began.elapsed() > Duration::from_millis(1000));
    let spent = server.program.ticks() - used;
    assert!(spent <= 30, "{spent} ticks of 100");
    let complaints = server.program.stderr().matches("cannot accept connections").count();
    assert_eq!(complaints, 1, "one line for all of them");
    assert!(matches!(first.ask(&Request::Quota {}), Reply::Quota(_)), "a logged-in user is served");
    server.program.limit_descriptors(1000);
    drop(waiting);
    let mut late = Peer::login(server.address, "ann");
    assert!(matches!(late.ask(&list()), Reply::Page { .. }));
    assert!(matches!(first.ask(&list()), Reply::Page { .. }));
}
