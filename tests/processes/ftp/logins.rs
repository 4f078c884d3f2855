//! USER and PASS: the replies, their delays and their costs.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Client, stream_from};
use super::{Scene, configuration, listening};
use crate::support::{PASSWORD, Place, pattern};

/// Sets another password of `ann`.
fn change_password(scene: &Scene, password: &str) {
    let stdin = scene.place.path("io/other-password");
    fs::write(&stdin, password).expect("writable");
    let mut command = scene.place.berthd(&["user", "passwd", "ann", "--password-stdin"]);
    command.stdin(fs::File::open(&stdin).expect("readable"));
    scene.place.run(command).expect_code(0);
}

#[test]
fn the_right_password_lets_in_and_a_wrong_one_does_not() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.ftp);
    client.enter("ann", "wrong").expect(&[530]);
    client.ask("PWD").expect(&[530]);
    client.ask("PASS correct horse").expect(&[503]);
    client.enter("ann", PASSWORD).expect(&[230]);
    client.ask("PWD").expect(&[257]);
    let log = scene.place.log("access.log");
    assert!(log.contains("user=ann verb=login result=ok"), "{log}");
    assert!(log.contains("claimed=ann") && !log.contains("horse") && !log.contains("wrong"), "{log}");
}

#[test]
fn a_wrong_password_holds_the_next_back_and_the_connection_is_closed_after_three() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.ftp);
    client.enter("ann", "wrong").expect(&[530]);
    let began = Instant::now();
    client.enter("ann", "wrong").expect(&[530]);
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    client.enter("ann", "wrong").expect(&[421, 530]);
    client.last_words();
    // The account itself is free.
    Client::login(scene.ftp, "ann");
}

#[test]
fn known_unknown_and_locked_users_are_answered_alike() {
    let scene = Scene::new();
    scene.place.add("carol", &[]);
    scene.admin(&["user", "lock", "carol"]);
    let talk = |user: &str, password: &str| {
        let mut client = Client::connect(scene.ftp);
        let first = client.ask(&format!("USER {user}"));
        let second = client.ask(&format!("PASS {password}"));
        [first, second].map(|reply| reply.lines.join("\n").replace(user, "NAME"))
    };
    let known = talk("ann", "wrong");
    assert!(known[0].starts_with("331") && known[1].starts_with("530"), "{known:?}");
    for user in ["nobody", "carol", "../ann", "ANN", "anonymous", "root", &"a".repeat(300)] {
        assert_eq!(talk(user, "wrong"), known, "{user}");
    }
    assert_eq!(talk("carol", PASSWORD), known, "locked, with the right password");
}

#[test]
fn a_name_that_is_a_path_lets_nobody_in() {
    let scene = Scene::new();
    let account = fs::read(scene.place.path("conf/users/ann.json")).expect("there");
    fs::write(scene.place.path("conf/evil.json"), account).expect("writable");
    for user in ["../evil", "./ann", "ann/", "../users/ann", "ann.json", " ann", "ann\u{301}"] {
        Client::connect(scene.ftp).enter(user, PASSWORD).expect(&[530]);
    }
}

#[test]
fn passwords_of_every_kind_are_compared_whole() {
    let scene = Scene::new();
    for password in
        ["  spaces  ", "p\u{e4}ss\u{201d}w\u{f6}rd", &"long ".repeat(100), "%s\\n\"'", "-", "ends in a space "]
    {
        change_password(&scene, password);
        let mut client = Client::connect(scene.ftp);
        let right = client.enter("ann", password);
        assert_eq!(right.code, 230, "{password:?}: {right:?}");
        let mut client = Client::connect(scene.ftp);
        let cut: String = password.chars().take(password.chars().count() - 1).collect();
        client.enter("ann", &cut).expect(&[530, 501]);
    }
    for password in ["", "x", &"y".repeat(2000)] {
        let mut client = Client::connect(scene.ftp);
        client.ask("USER ann").expect(&[331]);
        client.ask(&format!("PASS {password}")).expect(&[500, 501, 530]);
        client.ask("PWD").expect(&[530]);
    }
}

#[test]
fn guesses_from_one_address_are_few_whether_or_not_it_waits_for_answers_and_the_owner_gets_in() {
    for is_encrypted in [false, true] {
        let scene = Scene::new();
        let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let guess = |waits: bool| -> std::io::Result<()> {
            let stream = stream_from("127.0.0.2:0".parse().expect("an address"), scene.ftp)?;
            let mut client = Client::over(scene.ftp, stream);
            client.next_reply()?;
            if is_encrypted {
                client.say("AUTH TLS");
                client.next_reply()?;
                client.shake(super::tls::config(&[13], false));
            }
            client.send(b"USER ann\r\nPASS wrong\r\n");
            sent.fetch_add(1, Relaxed);
            let replies = if waits { 2 } else { 0 };
            (0..replies).try_for_each(|_| client.next_reply().map(drop))
        };
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (guess, is_over) = (&guess, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Relaxed) {
                        let _ = guess(number % 3 == 0);
                    }
                });
            }
            while sent.load(Relaxed) < 60 {
                Client::connect(scene.ftp).enter("ann", PASSWORD).expect(&[230]);
            }
            is_over.store(true, Relaxed);
        });
        scene.place.check_guesses(sent.into_inner());
    }
}

#[test]
fn eight_connections_at_once_get_in_with_one_password() {
    // As costly as by default.
    let place = Place::with(configuration(json!({}), json!({"scram_rounds": 100_000})));
    place.add("ann", &[]);
    let scene = Scene::of(place);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| scene.login().ask("PWD").expect(&[257]));
        }
    });
    let log = scene.place.log("access.log");
    assert_eq!(log.matches("verb=login result=ok").count(), 8, "{log}");
}

#[test]
fn a_login_that_is_remembered_ends_with_its_password_and_its_account() {
    let scene = Scene::new();
    for _ in 0..2 {
        scene.login();
    }
    change_password(&scene, "another one");
    Client::connect(scene.ftp).enter("ann", PASSWORD).expect(&[530]);
    Client::connect(scene.ftp).enter("ann", "another one").expect(&[230]);
    scene.admin(&["user", "lock", "ann"]);
    Client::connect(scene.ftp).enter("ann", "another one").expect(&[530]);
    scene.admin(&["user", "unlock", "ann"]);
    Client::connect(scene.ftp).enter("ann", "another one").expect(&[230]);
    scene.admin(&["user", "remove", "ann"]);
    Client::connect(scene.ftp).enter("ann", "another one").expect(&[530]);
}

#[test]
fn user_begins_a_login_again_and_pass_alone_is_none() {
    let scene = Scene::new();
    scene.place.add("ben", &[]);
    let mut client = Client::connect(scene.ftp);
    client.ask("PASS x").expect(&[503]);
    client.ask("USER ben").expect(&[331]);
    client.ask("USER ann").expect(&[331]);
    client.ask(&format!("PASS {PASSWORD}")).expect(&[230]);
    client.stores("mine", b"x");
    assert!(scene.exists("mine"));
    // A logged-in user stays logged in.
    client.ask("USER ben").expect(&[530]);
    client.ask("PWD").expect(&[257]);
    assert_eq!(client.list("NLST"), ["mine"]);
}

#[test]
fn commands_between_user_and_pass_do_not_get_in_their_way() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.ftp);
    client.ask("USER ann").expect(&[331]);
    client.ask("PWD").expect(&[503, 530]);
    let reply = client.ask(&format!("PASS {PASSWORD}")).expect(&[230, 503]);
    if reply.code == 503 {
        client.enter("ann", PASSWORD).expect(&[230]);
    }
}

#[test]
fn a_login_and_everything_behind_it_may_come_in_one_segment() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.ftp);
    client.send(format!("USER ann\r\nPASS {PASSWORD}\r\nTYPE I\r\nPWD\r\nMKD d\r\nQUIT\r\n").as_bytes());
    let codes: Vec<u16> = client.last_words().iter().map(|reply| reply.code).collect();
    assert_eq!(codes, [331, 230, 200, 257, 257, 221]);
    assert!(scene.exists("d"));
}

#[test]
fn without_tls_nobody_gets_in_unless_the_configuration_allows_it() {
    let scene = Scene::with(json!({"plaintext": false}), json!({}), &[]);
    let mut client = Client::connect(scene.ftp);
    // Whether at USER or at PASS, known or unknown: before a password can have been right.
    for user in ["ann", "nobody"] {
        let reply = client.ask(&format!("USER {user}")).expect(&[331, 421, 522, 530, 534, 550]);
        if reply.code == 331 {
            client.ask(&format!("PASS {PASSWORD}")).expect(&[421, 503, 521, 522, 530, 534]);
        }
    }
    client.ask("PWD").expect(&[530]);
    client.secure(super::tls::config(&[13], true));
    client.enter("ann", PASSWORD).expect(&[230]);
    client.ask("PWD").expect(&[257]);
}

#[test]
fn a_password_refused_for_want_of_tls_is_not_even_tried() {
    let scene = Scene::with(json!({"plaintext": false}), json!({"limits": {"login_tries": 1}}), &[]);
    let seen = |user: &str, password: &str| {
        let mut client = Client::connect(scene.ftp);
        let first = client.ask(&format!("USER {user}")).lines.join("\n").replace(user, "NAME");
        let second = client.ask(&format!("PASS {password}")).lines.join("\n").replace(user, "NAME");
        (first, second)
    };
    let right = seen("ann", PASSWORD);
    assert_eq!(seen("ann", "wrong"), right);
    assert_eq!(seen("nobody", "wrong"), right);
}

#[test]
fn plaintext_follows_the_configuration_of_the_server_where_ftp_says_nothing() {
    let place = Place::with(json!({"plaintext": false, "ftp": {"listen": "127.0.0.1:0"}}));
    place.add("ann", &[]);
    let server = place.serve();
    let mut client = Client::connect(listening(&server, "ftp"));
    if client.ask("USER ann").code == 331 {
        assert_ne!(client.ask(&format!("PASS {PASSWORD}")).code, 230);
    }
    let place = Place::with(json!({"plaintext": true, "ftp": {"listen": "127.0.0.1:0"}}));
    place.add("ann", &[]);
    let server = place.serve();
    Client::login(listening(&server, "ftp"), "ann");
}

#[test]
fn wrong_passwords_for_one_account_never_delay_its_owner() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(scene.ftp);
                    for _ in 0..3 {
                        client.say("USER ann");
                        client.say("PASS wrong");
                    }
                    client.last_words()
                })
            })
            .collect();
        for _ in 0..5 {
            scene.login().ask("PWD").expect(&[257]);
        }
        for guess in guesses {
            let words = guess.join().expect("it ends");
            assert!(words.iter().all(|reply| reply.code != 230), "{words:?}");
        }
    });
}

#[test]
fn wrong_passwords_without_end_harm_neither_a_transfer_nor_memory() {
    let scene = Scene::new();
    let content = pattern(1, 4 << 20);
    scene.write("large", &content);
    let mut client = scene.login();
    assert!(client.get("RETR large") == content);
    let before = scene.server.program.resident_kib();
    let (guesses, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for account in ["ann", "nobody"] {
            let (scene, guesses, is_over) = (&scene, &guesses, &is_over);
            scope.spawn(move || {
                while !is_over.load(Relaxed) {
                    let mut guesser = Client::connect(scene.ftp);
                    guesser.ask(&format!("USER {account}")).expect(&[331]);
                    // The guesser does not wait for the answer.
                    guesser.say("PASS wrong");
                    guesses.fetch_add(1, Relaxed);
                }
            });
        }
        let mut transfers = 0;
        while guesses.load(Relaxed) < 300 || transfers < 5 {
            assert!(client.get("RETR large") == content);
            transfers += 1;
        }
        is_over.store(true, Relaxed);
    });
    let grown = scene.server.program.resident_kib().saturating_sub(before);
    assert!(grown < 6 * 1024, "{grown} KiB for {} guesses", guesses.into_inner());
}

#[test]
fn without_descriptors_no_password_is_called_wrong_and_no_name_is_told_from_another() {
    let scene = Scene::new();
    scene.login().ask("QUIT").expect(&[221]);
    let mut clients: Vec<_> = ["ann", "nobody", "..", "ann"].map(|user| (user, Client::connect(scene.ftp))).into();
    scene.server.program.limit_descriptors(3);
    let mut answers = Vec::new();
    for (user, client) in &mut clients {
        answers.push(client.enter(user, PASSWORD).expect(&[451]).lines);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    scene.server.program.limit_descriptors(1000);
    clients[0].1.enter("ann", PASSWORD).expect(&[230]);
    clients[1].1.enter("nobody", PASSWORD).expect(&[530]);
}

#[test]
fn a_damaged_account_lets_nobody_in() {
    let scene = Scene::new();
    scene.login().ask("PWD").expect(&[257]);
    fs::write(scene.place.path("conf/users/ann.json"), "{").expect("writable");
    // Also not by a password that is remembered.
    let reply = Client::connect(scene.ftp).enter("ann", PASSWORD).expect(&[530]);
    assert!(!reply.text().contains("json"), "{reply:?}");
}
