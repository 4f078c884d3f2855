//! The client's side of conversations: login, order, listings, hostile servers. The server is a
//! script in memory.

use super::scripted_server::{Answers, Seen, Stage, link_to};
use berth::auth::scram::Binding;
use berth::client::connection::login;
use berth::client::error::Failure;
use berth::wire::message::{Entry, EntryKind, ErrorCode, IN_FLIGHT_MAX, WireLimits};
use berth::wire::{Reply, Request};

fn hello() -> Reply {
    Reply::Hello {
        version: 1,
        server: "script".into(),
        mechanisms: vec!["SCRAM-SHA-256".into()],
        features: vec![],
        limits: WireLimits { control_bytes: 65536, data_bytes: 1 << 20, in_flight: IN_FLIGHT_MAX },
    }
}

fn entry(name: &str) -> Entry {
    Entry { name: name.into(), kind: EntryKind::File, size: 1, mtime_ns: 0, mode: 0o644, unexamined: false }
}

fn state() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

#[test]
fn a_wrong_password_exits_with_4() {
    let (mut link, _, _) = link_to(usize::MAX, |seen, answers| match seen {
        Seen::Request(id, Request::Hello { .. }) => answers.reply(id, &hello()),
        Seen::Request(id, Request::Auth { message, .. }) => {
            let nonce = message.rsplit_once("r=").map(|(_, nonce)| nonce.to_string()).unwrap_or_default();
            answers.reply(id, &Reply::Challenge { message: format!("r={nonce}server,s=c2FsdHNhbHRzYWx0,i=4096") });
        }
        Seen::Request(id, _) => answers.error(id, ErrorCode::LoginFailed),
        _ => {}
    });
    login::greet(&mut link, Binding::None).expect("greeted");
    let failure = login::log_in(&mut link, "ann", "wrong", Binding::None).expect_err("refused");
    assert_eq!(failure.exit_code(), 4);
}

#[test]
fn another_protocol_on_the_port_is_a_lost_connection_not_a_crash() {
    for noise in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"220 ftp ready\r\n\r\n",
        &[0xff; 64],
        b"\0\0\0\x04\0\0\0\x01\x01\0\0\0null",
    ] {
        let noise = noise.to_vec();
        let (mut link, _, _) = link_to(usize::MAX, move |_, answers| answers.raw(&noise));
        let failure = login::greet(&mut link, Binding::None).expect_err("no berth server");
        assert_eq!(failure.exit_code(), 3, "{failure}");
    }
}

#[test]
fn a_reply_in_the_wrong_order_ends_the_connection() {
    let directory = state();
    for shift in [1, 2] {
        let mut stage = Stage::new(directory.path(), move |seen, answers| {
            if let Seen::Request(id, _) = seen {
                answers.reply(id + shift, &Reply::Done {});
            }
        });
        assert_eq!(stage.run("mkdir a").expect_err("refused").exit_code(), 3);
    }
}

#[test]
fn a_fatal_error_says_why_the_server_closes_the_connection() {
    let directory = state();
    let mut stage = Stage::new(directory.path(), |_, answers| {
        let mut error = super::scripted_server::refusal(ErrorCode::AccountClosed);
        error.fatal = true;
        answers.reply(0, &Reply::Error(error));
        answers.hang_up = true;
    });
    let failure = stage.run("ls").expect_err("closed");
    assert!(failure.ends_session() && failure.exit_code() == 4, "{failure:?}");
}

#[test]
fn a_ping_is_answered_while_a_reply_is_awaited() {
    let directory = state();
    let mut stage = Stage::new(directory.path(), |seen, answers| match seen {
        Seen::Request(..) => answers.ping(),
        Seen::Pong => answers.reply(1, &Reply::Done {}),
        _ => {}
    });
    stage.run("mkdir a").expect("done");
}

#[test]
fn a_listing_comes_in_pages_and_is_shown_sorted_and_escaped() {
    let directory = state();
    for bytes_per_call in [1, 3, 64, usize::MAX] {
        let mut stage = Stage::with_calls_of(bytes_per_call, directory.path(), |seen, answers| {
            if let Seen::Request(id, Request::List { .. }) = seen {
                answers.reply(id, &Reply::Page { entries: vec![entry("b"), entry("\x1b[2J")], last: false });
                answers.reply(id, &Reply::Page { entries: vec![entry(".hidden"), entry("a")], last: true });
            }
        });
        stage.run("ls").expect("listed");
        assert_eq!(stage.results.text(), "\\x1b[2J\na\nb\n");
    }
}

#[test]
fn names_from_a_server_that_could_be_paths_are_refused() {
    let directory = state();
    for name in ["..", "a/b", "/etc/passwd", "", "a\0"] {
        let mut stage = Stage::new(directory.path(), move |seen, answers| {
            if let Seen::Request(id, _) = seen {
                answers.reply(id, &Reply::Page { entries: vec![entry(name)], last: true });
            }
        });
        let failure = stage.run("ls").expect_err("refused");
        assert!(matches!(failure, Failure::Violation(_)), "{name:?}: {failure:?}");
    }
}

#[test]
fn a_listing_without_end_is_cut_off() {
    let directory = state();
    let endless = |seen, answers: &mut Answers| {
        let Seen::Request(id, _) = seen else { return };
        let entries: Vec<Entry> = (0..180).map(|i| entry(&format!("{i:0>255}"))).collect();
        let mut page = Answers::default();
        page.reply(id, &Reply::Page { entries, last: false });
        for _ in 0..1000 {
            answers.append(&page);
        }
    };
    let mut stage = Stage::new(directory.path(), endless);
    let failure = stage.run("ls").expect_err("cut off");
    assert!(failure.to_string().contains("without end"), "{failure}");
}

#[test]
fn requests_are_pipelined_up_to_the_limit_of_the_server() {
    let directory = state();
    let mut waiting = Vec::new();
    let mut total = 0;
    let mut stage = Stage::new(directory.path(), move |seen, answers| {
        let Seen::Request(id, _) = seen else { return };
        waiting.push(id);
        total += 1;
        assert!(waiting.len() <= IN_FLIGHT_MAX);
        if waiting.len() == IN_FLIGHT_MAX || total == 200 {
            waiting.drain(..).for_each(|id| answers.reply(id, &Reply::Done {}));
        }
    });
    let names: Vec<String> = (0..200).map(|i| format!("d{i}")).collect();
    stage.run(&format!("mkdir {}", names.join(" "))).expect("all are answered");
}

#[test]
fn refusals_of_names_in_one_directory_are_one_error_and_a_count() {
    let directory = state();
    let mut stage = Stage::new(directory.path(), |seen, answers| match seen {
        Seen::Request(id, Request::Rm { path }) if path.0 == b"/d/gone" => answers.error(id, ErrorCode::NotFound),
        Seen::Request(id, Request::Rm { path }) if path.0 == b"/ok" => answers.reply(id, &Reply::Done {}),
        Seen::Request(id, _) => answers.error(id, ErrorCode::Denied),
        _ => {}
    });
    for (line, failed, total, told) in [
        ("rm /d/a /d/b /d/c", 3, 3, "berth: rm: refused\nberth: rm: 2 more in /d were refused too\n"),
        ("rm /d/a /ok /d/b", 2, 3, "berth: rm: refused\nberth: rm: 1 more in /d were refused too\n"),
        ("rm /d/a /e/a", 2, 2, "berth: rm: refused\nberth: rm: refused\n"),
        (
            "rm /d/a /d/b /d/gone",
            3,
            3,
            "berth: rm: refused\nberth: rm: 1 more in /d were refused too\n\
             berth: rm: refused; 'ls' lists what is on the server\n",
        ),
        ("rmdir /d/a /d/b", 2, 2, "berth: rmdir: refused\nberth: rmdir: 1 more in /d were refused too\n"),
        ("mkdir /d/a /d/b", 2, 2, "berth: mkdir: refused\nberth: mkdir: 1 more in /d were refused too\n"),
    ] {
        let before = stage.remarks.text().len();
        assert_eq!(stage.run(line), Err(Failure::SomeFailed { failed, total }), "{line}");
        assert_eq!(&stage.remarks.text()[before..], told, "{line}");
    }
}

#[test]
fn each_failure_is_reported_and_the_rest_continues() {
    let directory = state();
    let mut stage = Stage::new(directory.path(), |seen, answers| match seen {
        Seen::Request(id, Request::Rm { path }) if path.0 == b"/b" => answers.error(id, ErrorCode::NotFound),
        Seen::Request(id, _) => answers.reply(id, &Reply::Done {}),
        _ => {}
    });
    let failure = stage.run("rm a b c").expect_err("one failed");
    assert_eq!(failure, Failure::SomeFailed { failed: 1, total: 3 });
    assert!(stage.remarks.text().starts_with("berth: rm: refused"), "{}", stage.remarks.text());
    assert_eq!(stage.requests().len(), 3);
}
