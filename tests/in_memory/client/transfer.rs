//! Transfers of the client: what it verifies, keeps and gives up. The server is a script in memory.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;

use super::scripted_server::{Answers, Seen, Stage};
use berth::base::digest::Digest;
use berth::client::error::Failure;
use berth::wire::message::{End, Entry, EntryKind, ErrorCode, PutMode};
use berth::wire::{Reply, Request};

const MTIME_NS: i64 = 1_000_000_000_000_000_000;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 % 251) as u8).collect()
}

fn end_of(bytes: &[u8]) -> End {
    End { size: bytes.len() as u64, digest: Digest::of(bytes) }
}

fn stat_of(bytes: &[u8]) -> Reply {
    let entry = Entry {
        name: "f".into(),
        kind: EntryKind::File,
        size: bytes.len() as u64,
        mtime_ns: MTIME_NS,
        mode: 0o644,
        unexamined: false,
    };
    Reply::Stat { entry, etag: Some("e".into()) }
}

fn file_of(bytes: &[u8], offset: u64) -> Reply {
    Reply::File { size: bytes.len() as u64, mtime_ns: MTIME_NS, etag: "e".into(), offset, mode: None }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("list").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "state");
    names.sort();
    names
}

/// Answers `stat` and `sha256` for one file; the test answers the rest.
fn serve(bytes: Vec<u8>, mut rest: impl FnMut(Seen, &mut Answers) + 'static) -> impl FnMut(Seen, &mut Answers) {
    move |seen, answers| match seen {
        Seen::Request(id, Request::Stat { .. }) => answers.reply(id, &stat_of(&bytes)),
        Seen::Request(id, Request::Digest { .. }) => {
            answers.reply(id, &Reply::Digest { digest: Digest::of(&bytes), size: bytes.len() as u64 });
        }
        other => rest(other, answers),
    }
}

/// A server that sends `bytes` from the offset asked for.
fn sends(bytes: Vec<u8>) -> impl FnMut(Seen, &mut Answers) {
    let file = bytes.clone();
    serve(bytes, move |seen, answers| {
        let Seen::Request(id, Request::Get { offset, prefix_digest, .. }) = seen else { return };
        let kept = usize::try_from(offset).expect("small");
        let fits = kept <= file.len() && prefix_digest.is_none_or(|prefix| prefix == Digest::of(&file[..kept]));
        let from = if fits { kept } else { 0 };
        answers.reply(id, &file_of(&file, from as u64));
        file[from..].chunks(1000).for_each(|chunk| answers.data(id, chunk));
        answers.end(id, &end_of(&file));
    })
}

#[test]
fn a_download_is_whole_however_its_bytes_are_split() {
    let bytes = content(5000);
    for bytes_per_call in [1, 2, 3, 7, 64, usize::MAX] {
        let directory = directory();
        let mut stage = Stage::with_calls_of(bytes_per_call, directory.path(), sends(bytes.clone()));
        let target = directory.path().join("f");
        stage.run(&format!("get -v f {}", target.display())).expect("fetched");
        assert_eq!(fs::read(&target).expect("read"), bytes);
        let modified = fs::metadata(&target).expect("metadata").modified().expect("time");
        assert_eq!(berth::base::calendar::unix_ns(modified), MTIME_NS);
        assert_eq!(names_in(directory.path()), ["f"]);
        assert!(stage.results.text().contains(&Digest::of(&bytes).to_string()));
    }
}

#[test]
fn a_wrong_digest_leaves_nothing_and_exits_with_5() {
    let directory = directory();
    let mut stage = Stage::new(
        directory.path(),
        serve(content(3000), |seen, answers| {
            if let Seen::Request(id, Request::Get { .. }) = seen {
                answers.reply(id, &file_of(&content(3000), 0));
                answers.data(id, &content(3000));
                answers.end(id, &End { size: 3000, digest: Digest::of(b"something else") });
            }
        }),
    );
    let failure = stage.run(&format!("get f {}/f", directory.path().display())).expect_err("wrong");
    assert_eq!(failure.exit_code(), 5);
    assert!(names_in(directory.path()).is_empty());
    stage.run("stat f").expect("the session goes on");
}

#[test]
fn more_bytes_than_announced_are_discarded() {
    let directory = directory();
    let mut running = 0;
    let mut stage = Stage::new(
        directory.path(),
        serve(content(3000), move |seen, answers| match seen {
            Seen::Request(id, Request::Get { .. }) => {
                running = id;
                answers.reply(id, &file_of(&content(3000), 0));
                answers.data(id, &content(2000));
                answers.data(id, &content(2000));
            }
            Seen::Abort(id) if id == running => {
                answers.data(id, &content(500));
                answers.abort(id, ErrorCode::Cancelled);
            }
            _ => {}
        }),
    );
    let failure = stage.run(&format!("get f {}/f", directory.path().display())).expect_err("too much");
    assert_eq!(failure.exit_code(), 5);
    assert!(names_in(directory.path()).is_empty());
    stage.run("stat f").expect("the session goes on");
}

#[test]
fn a_pipe_gets_no_more_content_than_announced_and_the_session_continues() {
    let directory = directory();
    let mut stage = Stage::new(
        directory.path(),
        serve(content(3000), |seen, answers| match seen {
            Seen::Request(id, Request::Get { .. }) => {
                answers.reply(id, &file_of(&content(3000), 0));
                answers.data(id, &content(2000));
                answers.data(id, &content(2000));
            }
            Seen::Abort(id) => {
                answers.data(id, &content(500));
                answers.abort(id, ErrorCode::Cancelled);
            }
            _ => {}
        }),
    );
    for line in ["cat f", "get f -"] {
        assert_eq!(stage.run(line).expect_err("too much").exit_code(), 5, "{line}");
        stage.run("stat f").expect("the session goes on");
    }
}

#[test]
fn a_lost_download_resumes_at_its_last_byte() {
    let (directory, bytes) = (directory(), content(9000));
    let target = directory.path().join("f");
    let mut stage = Stage::new(
        directory.path(),
        serve(bytes.clone(), |seen, answers| {
            if let Seen::Request(id, Request::Get { .. }) = seen {
                answers.reply(id, &file_of(&content(9000), 0));
                answers.data(id, &content(9000)[..4000]);
                answers.hang_up = true;
            }
        }),
    );
    let line = format!("get f {}", target.display());
    assert_eq!(stage.run(&line).expect_err("cut").exit_code(), 3);
    drop(stage);
    assert_eq!(names_in(directory.path()), [".f.berth-part"]);

    let mut stage = Stage::new(directory.path(), sends(bytes.clone()));
    stage.run(&line).expect("resumed");
    assert!(stage.remarks.text().contains("resuming at 3.9K"), "{}", stage.remarks.text());
    assert_eq!(fs::read(&target).expect("read"), bytes);
    assert_eq!(names_in(directory.path()), ["f"]);
}

#[test]
fn a_partial_download_of_another_file_starts_over() {
    let (directory, bytes) = (directory(), content(9000));
    fs::write(directory.path().join(".f.berth-part"), b"something quite different").expect("write");
    let mut stage = Stage::new(directory.path(), sends(bytes.clone()));
    stage.run(&format!("get f {}/f", directory.path().display())).expect("fetched");
    assert!(stage.remarks.text().contains("starting over"));
    assert_eq!(fs::read(directory.path().join("f")).expect("read"), bytes);
}

#[test]
fn a_file_that_changes_during_its_download_is_downloaded_again() {
    let directory = directory();
    let mut tries = 0;
    let mut stage = Stage::new(
        directory.path(),
        serve(content(3000), move |seen, answers| {
            let Seen::Request(id, Request::Get { .. }) = seen else { return };
            tries += 1;
            answers.reply(id, &file_of(&content(3000), 0));
            answers.data(id, &content(3000));
            match tries {
                1 => answers.abort(id, ErrorCode::Changed),
                _ => answers.end(id, &end_of(&content(3000))),
            }
        }),
    );
    stage.run(&format!("get f {}/f", directory.path().display())).expect("fetched");
    assert_eq!(fs::read(directory.path().join("f")).expect("read"), content(3000));
}

#[test]
fn get_skips_an_identical_local_file() {
    let (directory, bytes) = (directory(), content(3000));
    fs::write(directory.path().join("f"), &bytes).expect("write");
    let mut stage = Stage::new(directory.path(), sends(bytes));
    stage.run(&format!("get f {}/f", directory.path().display())).expect("done");
    assert!(stage.results.text().contains("already there, identical"));
    assert!(!stage.requests().iter().any(|request| matches!(request, Request::Get { .. })));
}

#[test]
fn a_local_file_that_differs_is_replaced_only_with_f() {
    let (directory, bytes) = (directory(), content(3000));
    let target = directory.path().join("f");
    fs::write(&target, b"mine").expect("write");
    let mut stage = Stage::new(directory.path(), sends(bytes.clone()));
    let failure = stage.run(&format!("get f {}", target.display())).expect_err("kept");
    assert!(failure.exit_code() == 1 && failure.to_string().contains("-f"), "{failure}");
    assert_eq!(fs::read(&target).expect("read"), b"mine");
    stage.run(&format!("get -f f {}", target.display())).expect("replaced");
    assert_eq!(fs::read(&target).expect("read"), bytes);
}

#[test]
fn a_cancelled_download_keeps_its_part_and_the_session() {
    let directory = directory();
    let interrupt = Rc::new(RefCell::new(berth::client::interrupt::Interrupt::default()));
    let shared = Rc::clone(&interrupt);
    let mut stage = Stage::new(
        directory.path(),
        serve(content(9000), move |seen, answers| match seen {
            Seen::Request(id, Request::Get { .. }) => {
                answers.reply(id, &file_of(&content(9000), 0));
                answers.data(id, &content(9000)[..3000]);
                shared.borrow().set();
            }
            Seen::Abort(id) => {
                answers.data(id, &content(1000));
                answers.abort(id, ErrorCode::Cancelled);
            }
            _ => {}
        }),
    );
    interrupt.replace(stage.interrupt.clone());
    let failure = stage.run(&format!("get f {}/f", directory.path().display())).expect_err("cancelled");
    assert_eq!(failure, Failure::Interrupted);
    assert_eq!(names_in(directory.path()), [".f.berth-part"]);
    stage.run("stat f").expect("the session goes on");
}

#[test]
fn a_second_ctrl_c_before_the_prompt_ends_the_shell() {
    let directory = directory();
    for is_impatient in [false, true] {
        let interrupt = Rc::new(RefCell::new(berth::client::interrupt::Interrupt::default()));
        let shared = Rc::clone(&interrupt);
        let mut stage = Stage::new(
            directory.path(),
            serve(content(9000), move |seen, answers| match seen {
                Seen::Request(id, Request::Get { .. }) => {
                    answers.reply(id, &file_of(&content(9000), 0));
                    shared.borrow().set();
                }
                Seen::Abort(_) if is_impatient => shared.borrow().set(),
                _ => {}
            }),
        );
        interrupt.replace(stage.interrupt.clone());
        let line = format!("get f {}/f", directory.path().display());
        let flow = berth::client::shell::prompt::run_line(&mut stage.session, &line);
        assert_eq!(flow.err(), is_impatient.then_some(Failure::Interrupted));
    }
}

#[test]
fn requests_for_many_files_are_sent_ahead() {
    let directory = directory();
    let names: Vec<String> = (0..150).map(|i| format!("f{i:03}")).collect();
    let listed = names.clone();
    let mut stage = Stage::new(directory.path(), move |seen, answers| match seen {
        Seen::Request(id, Request::Stat { .. }) => {
            let entry =
                Entry { name: "d".into(), kind: EntryKind::Dir, size: 0, mtime_ns: 0, mode: 0o755, unexamined: false };
            answers.reply(id, &Reply::Stat { entry, etag: None });
        }
        Seen::Request(id, Request::List { .. }) => {
            let entry = |name: &String| Entry {
                name: name.as_str().into(),
                kind: EntryKind::File,
                size: 4,
                mtime_ns: MTIME_NS,
                mode: 0o644,
                unexamined: false,
            };
            answers.reply(id, &Reply::Page { entries: listed.iter().map(entry).collect(), last: true });
        }
        Seen::Request(id, Request::Get { path, .. }) if path.0.ends_with(b"007") => {
            answers.error(id, ErrorCode::Denied);
        }
        Seen::Request(id, Request::Get { path, .. }) => {
            let bytes = &path.0[path.0.len() - 4..];
            answers.reply(id, &file_of(bytes, 0));
            answers.data(id, bytes);
            answers.end(id, &end_of(bytes));
        }
        _ => {}
    });
    let failure = stage.run(&format!("get -r d {}", directory.path().display())).expect_err("one failed");
    assert_eq!(failure, Failure::SomeFailed { failed: 1, total: 150 });
    let arrived = names_in(&directory.path().join("d"));
    assert_eq!(arrived.len(), 149);
    assert_eq!(fs::read(directory.path().join("d/f042")).expect("read"), b"f042");
    stage.session.output.flush().expect("memory");
    assert!(stage.results.text().contains("get: 149 files, 596 bytes, 1 failed"), "{}", stage.results.text());
}

/// A server that takes files and says what it got.
#[derive(Default)]
struct Taker {
    mode: PutMode,
    bytes: Vec<u8>,
}

#[test]
fn a_file_is_sent_whole_with_its_digest() {
    let (directory, bytes) = (directory(), content(700_000));
    let source = directory.path().join("f");
    fs::write(&source, &bytes).expect("write");
    for bytes_per_call in [4099, usize::MAX] {
        let taken = Rc::new(RefCell::new(Taker::default()));
        let taker = Rc::clone(&taken);
        let mut stage = Stage::with_calls_of(bytes_per_call, directory.path(), move |seen, answers| match seen {
            Seen::Data(_, data) => taker.borrow_mut().bytes.extend(data),
            Seen::End(id, end) => {
                assert_eq!(end, end_of(&taker.borrow().bytes));
                answers.reply(id, &Reply::Stored { size: end.size, digest: end.digest });
            }
            Seen::Request(_, Request::Put { size, mode, .. }) => {
                assert_eq!(size, Some(700_000));
                taker.borrow_mut().mode = mode;
            }
            _ => {}
        });
        stage.run(&format!("put -v {}", source.display())).expect("sent");
        assert!(taken.borrow().bytes == bytes && taken.borrow().mode == PutMode::Create);
        let result = stage.results.text();
        let digest = format!("  verified  {}\n", Digest::of(&bytes));
        assert!(result.contains(" -> /f  684K  ") && result.ends_with(&digest), "{result}");
    }
}

#[test]
fn an_early_refusal_stops_the_data_and_keeps_the_session() {
    let (directory, bytes) = (directory(), content(3_000_000));
    let source = directory.path().join("f");
    fs::write(&source, &bytes).expect("write");
    let mut is_discarding = false;
    let mut stage = Stage::new(directory.path(), move |seen, answers| match seen {
        Seen::Request(id, Request::Put { .. }) => {
            answers.error(id, ErrorCode::QuotaBytes);
            is_discarding = true;
        }
        Seen::Abort(_) | Seen::End(..) => is_discarding = false,
        Seen::Request(id, _) => {
            assert!(!is_discarding);
            answers.reply(id, &Reply::Done {});
        }
        _ => {}
    });
    let failure = stage.run(&format!("put {}", source.display())).expect_err("no room");
    assert_eq!(failure.exit_code(), 6);
    stage.run("mkdir a").expect("the session goes on");
    let sent: usize =
        stage.seen.borrow().iter().map(|seen| if let Seen::Data(_, data) = seen { data.len() } else { 0 }).sum();
    assert!(sent < bytes.len() / 2, "{sent} bytes were sent after the refusal");
    assert!(stage.seen.borrow().iter().any(|seen| matches!(seen, Seen::Abort(_))));
}

#[test]
fn an_identical_remote_file_counts_as_done() {
    let (directory, bytes) = (directory(), content(5000));
    let source = directory.path().join("f");
    fs::write(&source, &bytes).expect("write");
    let mut refused = 0;
    let refuses = move |seen: Seen, answers: &mut Answers| match seen {
        Seen::Request(id, Request::Put { mode: PutMode::Create, .. }) => {
            refused = id;
            answers.error(id, ErrorCode::Exists);
        }
        Seen::End(id, end) if id != refused => {
            answers.reply(id, &Reply::Stored { size: end.size, digest: end.digest });
        }
        _ => {}
    };
    let mut stage = Stage::new(directory.path(), serve(bytes, refuses));
    stage.run(&format!("put {}", source.display())).expect("done");
    assert!(stage.results.text().contains("already there, identical"));

    fs::write(&source, content(4000)).expect("write");
    let failure = stage.run(&format!("put {}", source.display())).expect_err("differs");
    assert!(failure.to_string().contains("-f"), "{failure}");
    stage.run(&format!("put -f {}", source.display())).expect("replaced");
}

#[test]
fn a_lost_upload_resumes_at_the_last_byte_of_the_server() {
    let (directory, bytes) = (directory(), content(2_500_000));
    let source = directory.path().join("f");
    fs::write(&source, &bytes).expect("write");
    let line = format!("put {}", source.display());
    let mut stage = Stage::new(directory.path(), |seen, answers| answers.hang_up |= matches!(seen, Seen::Data(..)));
    assert_eq!(stage.run(&line).expect_err("cut").exit_code(), 3);
    let Some(Request::Put { upload_id: Some(first_id), .. }) = stage.requests().pop() else { panic!("no upload id") };
    drop(stage);

    let file = bytes.clone();
    let mut got = 0;
    let mut stage = Stage::new(directory.path(), move |seen, answers| match seen {
        Seen::Request(id, Request::Put { resume: true, upload_id, .. }) => {
            assert_eq!(upload_id, Some(first_id));
            answers.reply(id, &Reply::Ready { offset: 2_000_000, prefix_digest: Digest::of(&file[..2_000_000]) });
        }
        Seen::Data(_, data) => got += data.len(),
        Seen::End(id, end) => {
            assert_eq!((got, end), (500_000, end_of(&file)));
            answers.reply(id, &Reply::Stored { size: end.size, digest: end.digest });
        }
        _ => {}
    });
    stage.run(&line).expect("resumed");
    assert!(stage.remarks.text().contains("resuming at 1.9M"), "{}", stage.remarks.text());
    assert!(names_in(&directory.path().join("state")).is_empty(), "the record is gone");
}

#[test]
fn a_partial_upload_of_another_file_is_not_resumed() {
    let (directory, bytes) = (directory(), content(2_500_000));
    let source = directory.path().join("f");
    fs::write(&source, &bytes).expect("write");
    let line = format!("put {}", source.display());
    let mut stage = Stage::new(directory.path(), |seen, answers| answers.hang_up |= matches!(seen, Seen::Data(..)));
    stage.run(&line).expect_err("cut");
    drop(stage);

    let mut got = Vec::new();
    let mut stage = Stage::new(directory.path(), move |seen, answers| match seen {
        Seen::Request(id, Request::Put { resume: true, .. }) => {
            answers.reply(id, &Reply::Ready { offset: 1000, prefix_digest: Digest::of(b"poison") });
        }
        Seen::Abort(id) => answers.error(id, ErrorCode::Cancelled),
        Seen::Data(_, data) => got.extend(data),
        Seen::End(id, end) => {
            assert_eq!(end, end_of(&got));
            answers.reply(id, &Reply::Stored { size: end.size, digest: end.digest });
        }
        Seen::Request(id, Request::DropPartial { .. }) => answers.reply(id, &Reply::Done {}),
        _ => {}
    });
    stage.run(&line).expect("sent anew");
    assert!(stage.remarks.text().contains("starting over"));
    assert!(stage.requests().iter().any(|request| matches!(request, Request::DropPartial { .. })));
}

#[test]
fn a_partial_upload_without_use_is_dropped_unless_another_session_has_it() {
    for (code, is_dropped) in [
        (ErrorCode::Exists, true),
        (ErrorCode::NotFound, true),
        (ErrorCode::QuotaBytes, true),
        (ErrorCode::Denied, true),
        (ErrorCode::Superseded, false),
        (ErrorCode::DiskFull, false),
    ] {
        let directory = directory();
        let source = directory.path().join("f");
        fs::write(&source, content(2_500_000)).expect("write");
        let mut stage = Stage::new(directory.path(), move |seen, answers| match seen {
            Seen::End(id, _) => answers.error(id, code),
            Seen::Request(id, Request::DropPartial { .. }) => answers.error(id, ErrorCode::NotFound),
            Seen::Request(id, Request::Put { resume: true, .. }) => answers.error(id, code),
            Seen::Request(id, Request::Stat { .. } | Request::Digest { .. }) => answers.error(id, ErrorCode::NotAFile),
            _ => {}
        });
        stage.run(&format!("put {}", source.display())).expect_err("refused");
        let requests = stage.requests();
        let Some(Request::Put { upload_id: Some(sent), .. }) = requests.first() else { panic!("{requests:?}") };
        let drops = requests.contains(&Request::DropPartial { upload_id: *sent });
        assert_eq!(drops, is_dropped, "{code:?}: {requests:?}");
    }
}

#[test]
fn a_mirror_to_a_server_without_permissions_warns_once_and_requests_none() {
    let directory = directory();
    let tree = directory.path().join("tree");
    fs::create_dir(&tree).expect("folder");
    let mut entries = Vec::new();
    for name in ["a", "b"] {
        fs::write(tree.join(name), name).expect("write");
        fs::set_permissions(tree.join(name), Permissions::from_mode(0o755)).expect("ours");
        let modified = fs::metadata(tree.join(name)).expect("there");
        let mtime_ns = modified.mtime() * 1_000_000_000 + modified.mtime_nsec();
        let (kind, size) = (EntryKind::File, 1);
        entries.push(Entry { name: name.into(), kind, size, mtime_ns, mode: 0o644, unexamined: false });
    }
    let mut stage = Stage::new(directory.path(), move |seen, answers| match seen {
        Seen::Request(id, Request::Stat { .. }) => {
            let entry = Entry { name: "t".into(), kind: EntryKind::Dir, mode: 0o755, ..entries[0].clone() };
            answers.reply(id, &Reply::Stat { entry, etag: None });
        }
        Seen::Request(id, Request::List { .. }) => {
            answers.reply(id, &Reply::Page { entries: entries.clone(), last: true });
        }
        _ => {}
    });
    stage.run(&format!("mirror {} t", tree.display())).expect("nothing moves");
    assert!(stage.results.text().contains("2 files, all already there"), "{}", stage.results.text());
    let remarks = stage.remarks.text();
    assert_eq!(remarks.lines().count(), 1, "{remarks}");
    assert!(remarks.contains("keeps no permissions, so those of 2 entries"), "{remarks}");
    assert!(!stage.requests().iter().any(|request| matches!(request, Request::SetPermissions { .. })));
}

#[test]
fn small_files_are_sent_back_to_back() {
    let directory = directory();
    let tree = directory.path().join("tree");
    fs::create_dir_all(tree.join("sub")).expect("folders");
    for i in 0..100 {
        fs::write(tree.join(format!("sub/f{i}")), format!("content {i}")).expect("write");
    }
    let mut unanswered = 0;
    let mut most = 0;
    let ahead = Rc::new(RefCell::new(0));
    let most_ahead = Rc::clone(&ahead);
    let mut ends = Vec::new();
    let mut total = 0;
    let mut stage = Stage::new(directory.path(), move |seen, answers| match seen {
        Seen::Request(id, Request::Mkdir { .. }) => answers.reply(id, &Reply::Done {}),
        Seen::Request(_, Request::Put { .. }) => {
            unanswered += 1;
            most = most.max(unanswered);
            most_ahead.replace(most);
        }
        Seen::End(id, end) => {
            ends.push((id, end));
            total += 1;
            if ends.len() == 60 || total == 100 {
                for (id, end) in ends.drain(..) {
                    unanswered -= 1;
                    answers.reply(id, &Reply::Stored { size: end.size, digest: end.digest });
                }
            }
        }
        _ => {}
    });
    stage.run(&format!("put -r {}", tree.display())).expect("sent");
    assert!((50..=64).contains(&*ahead.borrow()), "{} were ahead", ahead.borrow());
    assert!(stage.results.text().starts_with("put: 100 files"), "{}", stage.results.text());
}
