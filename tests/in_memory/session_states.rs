//! Every call of the session in every state: it succeeds or is refused as `Verb` says, and a refused call changes
//! nothing.

use std::collections::HashSet;

use zeroize::Zeroizing;

use crate::support::in_memory::{PASSWORD, Rights, Server, USER, counted, keys, vpath, write};
use berth::auth::scram::{Binding, ClientExchange};
use berth::base::budget::Budget;
use berth::base::digest::{Digest, DigestAlgorithm};
use berth::base::upload_id::UploadId;
use berth::config::SyncPolicy;
use berth::session::download::{DownloadPlan, DownloadStart};
use berth::session::login::LoginProgress;
use berth::session::state::StateName;
use berth::session::upload::{Length, UploadPlan, UploadStart};
use berth::session::verb::{Effect, Verb};
use berth::session::{Session, SessionError};

const STATES: [StateName; 7] = [
    StateName::Login,
    StateName::Command,
    StateName::Task,
    StateName::Upload,
    StateName::Commit,
    StateName::Download,
    StateName::Closing,
];

/// Every verb there is; a new one does not compile until it stands here.
fn all_verbs() -> Vec<Verb> {
    let mut verbs = vec![Verb::Login];
    while let Some(next) = next_verb(verbs[verbs.len() - 1]) {
        verbs.push(next);
    }
    verbs
}

fn next_verb(verb: Verb) -> Option<Verb> {
    Some(match verb {
        Verb::Login => Verb::Stat,
        Verb::Stat => Verb::List,
        Verb::List => Verb::Digest,
        Verb::Digest => Verb::RunTask,
        Verb::RunTask => Verb::MakeDirectory,
        Verb::MakeDirectory => Verb::RemoveFile,
        Verb::RemoveFile => Verb::RemoveDirectory,
        Verb::RemoveDirectory => Verb::Rename,
        Verb::Rename => Verb::SetMtime,
        Verb::SetMtime => Verb::SetMode,
        Verb::SetMode => Verb::Quota,
        Verb::Quota => Verb::PartialUploads,
        Verb::PartialUploads => Verb::DropPartialUpload,
        Verb::DropPartialUpload => Verb::BeginUpload,
        Verb::BeginUpload => Verb::Store,
        Verb::Store => Verb::FinishUpload,
        Verb::FinishUpload => Verb::AdvanceCommit,
        Verb::AdvanceCommit => Verb::BeginDownload,
        Verb::BeginDownload => Verb::Fetch,
        Verb::Fetch => Verb::Abort,
        Verb::Abort => return None,
    })
}

// ---- Into each state ----------------------------------------------------------------------

fn logged_in(server: &mut Server) -> Session {
    let mut session = server.new_session();
    log_in(server, &mut session).expect("welcome");
    session
}

fn log_in(server: &mut Server, session: &mut Session) -> Result<(), SessionError> {
    let (exchange, message) = ClientExchange::new(USER, keys(), Binding::None).expect("user name");
    let challenge = session.begin_login(&mut server.service, &message, server.now)?;
    let (_, message) = exchange.answer(&challenge).expect("challenge");
    session.finish_login(message)?;
    let outcome = session.advance_login(&mut server.service, &mut Budget::new(u64::MAX), server.now)?;
    assert!(matches!(outcome, LoginProgress::Welcome(Some(_))));
    Ok(())
}

fn in_state(server: &mut Server, state: StateName) -> Session {
    if state == StateName::Login {
        return server.new_session();
    }
    let mut session = logged_in(server);
    match state {
        StateName::Login | StateName::Command => {}
        StateName::Task => session.begin_list(&vpath("/")).expect("a list begins"),
        StateName::Upload => {
            counted(&mut session).begin_upload(&server.service, upload("/new"), server.now).expect("begins")
        }
        StateName::Commit => {
            counted(&mut session).begin_upload(&server.service, upload("/new"), server.now).expect("begins");
            session.finish_upload(0, Digest::of(b""), server.now).expect("verified");
        }
        StateName::Download => session.begin_download(&server.service, download("/file"), server.now).expect("begins"),
        StateName::Closing => session.close(None, server.now),
    }
    assert_eq!(session.state_name(), state);
    session
}

fn upload(path: &str) -> UploadPlan {
    let (length, start, hash) = (Length::Unknown, UploadStart::Empty, Some(DigestAlgorithm::Blake3));
    UploadPlan {
        path: vpath(path),
        length,
        mtime_ns: None,
        replace: false,
        if_etag: None,
        id: None,
        start,
        hash,
        wanted_mode: None,
    }
}

fn download(path: &str) -> DownloadPlan {
    DownloadPlan { path: vpath(path), start: DownloadStart::At(0), hash: true }
}

fn server(read_only: bool) -> Server {
    let mut server = Server::with(Rights { read_only, ..Rights::default() });
    server.set_sync(SyncPolicy::Data);
    write(&server.at("file"), b"content");
    std::fs::create_dir(server.at("folder")).expect("mkdir");
    server
}

/// Asks for the verb, in a way that succeeds where the verb is legal.
fn ask(server: &mut Server, session: &mut Session, verb: Verb) -> Result<(), SessionError> {
    let mut budget = Budget::new(u64::MAX);
    let now = server.now;
    match verb {
        Verb::Login => log_in(server, session),
        Verb::Stat => session.stat(&server.service, &vpath("/file")).map(drop),
        Verb::List => session.begin_list(&vpath("/folder")),
        Verb::Digest => session.begin_digest(&vpath("/file"), DigestAlgorithm::Sha256),
        Verb::RunTask => session.run_task(&mut server.service, &mut budget, now).map(drop),
        Verb::MakeDirectory => counted(session).make_directory(&vpath("/another"), None),
        Verb::RemoveFile => counted(session).remove_file(&vpath("/file")),
        Verb::RemoveDirectory => counted(session).remove_directory(&vpath("/folder")),
        Verb::Rename => counted(session).rename(&vpath("/file"), &vpath("/folder/file"), false),
        Verb::SetMtime => counted(session).set_mtime(&vpath("/file"), 1_000_000_007),
        Verb::SetMode => counted(session).set_mode(&vpath("/file"), 0o600),
        Verb::Quota => counted(session).quota().map(drop),
        Verb::PartialUploads => session.begin_partial_uploads(),
        Verb::DropPartialUpload => match counted(session).drop_partial_upload(&UploadId([1; 16])) {
            // There is none, which was found out by asking.
            Err(SessionError::NotFound) => Ok(()),
            result => result,
        },
        Verb::BeginUpload => counted(session).begin_upload(&server.service, upload("/another"), now),
        Verb::Store => counted(session).store(&mut server.service, b"bytes").map(drop),
        Verb::FinishUpload => session.finish_upload(0, Digest::of(b""), now),
        Verb::AdvanceCommit => counted(session).advance_commit(&mut server.service, now).map(drop),
        Verb::BeginDownload => session.begin_download(&server.service, download("/file"), now),
        Verb::Fetch => session.fetch(&mut server.service, &mut Vec::new(), 4096, None, &mut budget, now).map(drop),
        Verb::Abort => session.abort(SessionError::Cancelled, now),
    }
}

// ---- The table ----------------------------------------------------------------------------

#[test]
fn every_verb_is_allowed_somewhere_and_nothing_when_closing() {
    for verb in all_verbs() {
        let states = verb.states();
        assert!(!states.is_empty() && !states.contains(&StateName::Closing), "{verb:?}");
        assert_eq!(states.contains(&StateName::Login), verb == Verb::Login, "{verb:?}");
    }
}

#[test]
fn every_verb_in_every_state_happens_or_is_refused_as_the_table_says() {
    let mut pairs = 0;
    for verb in all_verbs() {
        for state in STATES {
            let mut server = server(false);
            let mut session = in_state(&mut server, state);
            let before = server.usage_on_disk();
            let result = ask(&mut server, &mut session, verb);
            if verb.states().contains(&state) {
                assert_eq!(result, Ok(()), "{verb:?} in {state:?}");
            } else {
                let refusal =
                    if state == StateName::Login { SessionError::LoginRequired } else { SessionError::WrongState };
                assert_eq!(result, Err(refusal), "{verb:?} in {state:?}");
                assert_eq!(session.state_name(), state, "{verb:?} changed {state:?}");
                assert_eq!(server.usage_on_disk(), before, "{verb:?} in {state:?} changed the disk");
            }
            pairs += 1;
        }
    }
    assert_eq!(pairs, all_verbs().len() * STATES.len());
}

#[test]
fn an_account_that_may_only_read_is_refused_every_change_and_nothing_else() {
    for verb in all_verbs() {
        if !verb.states().contains(&StateName::Command) {
            continue;
        }
        let mut server = server(true);
        let mut session = in_state(&mut server, StateName::Command);
        let before = server.usage_on_disk();
        let result = ask(&mut server, &mut session, verb);
        let changes = verb.effect() == Effect::Changes;
        assert_eq!(result, if changes { Err(SessionError::ReadOnly) } else { Ok(()) }, "{verb:?}");
        if changes {
            assert_eq!(session.state_name(), StateName::Command, "{verb:?}");
            assert_eq!(server.usage_on_disk(), before, "{verb:?} changed the disk");
        }
    }
}

#[test]
fn verbs_that_change_the_disk_are_marked_so() {
    let changes: HashSet<Verb> = all_verbs().into_iter().filter(|verb| verb.effect() == Effect::Changes).collect();
    for verb in all_verbs() {
        for &state in verb.states() {
            let mut server = server(false);
            let mut session = in_state(&mut server, state);
            let before = snapshot(&server);
            ask(&mut server, &mut session, verb).expect("legal");
            // To give up an upload takes back what is not there for anybody yet.
            if snapshot(&server) != before && verb != Verb::Abort {
                assert!(changes.contains(&verb), "{verb:?} in {state:?}");
            }
        }
    }
    assert!(changes.contains(&Verb::AdvanceCommit) && changes.contains(&Verb::DropPartialUpload));
}

/// Every path in the home with its size.
fn snapshot(server: &Server) -> Vec<(std::path::PathBuf, u64)> {
    let (mut directories, mut seen) = (vec![server.home()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("readable") {
            let entry = entry.expect("entry");
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() {
                directories.push(entry.path());
            }
            seen.push((entry.path(), if meta.is_file() { meta.len() } else { 0 }));
        }
    }
    seen.sort();
    seen
}

// ---- What lies between two verbs ----------------------------------------------------------

#[test]
fn a_login_that_was_begun_twice_is_refused_and_the_first_still_counts() {
    let mut server = server(false);
    let mut session = server.new_session();
    let (exchange, message) = ClientExchange::new(USER, keys(), Binding::None).expect("user name");
    let challenge = session.begin_login(&mut server.service, &message, server.now).expect("challenge");
    assert_eq!(session.begin_login(&mut server.service, &message, server.now), Err(SessionError::WrongState));
    let (_, message) = exchange.answer(&challenge).expect("challenge");
    assert!(session.finish_login(message).is_ok());
    assert!(session.advance_login(&mut server.service, &mut Budget::new(u64::MAX), server.now).is_ok());
    assert_eq!(session.state_name(), StateName::Command);
}

#[test]
fn a_proof_without_a_challenge_is_refused() {
    let mut server = server(false);
    let mut session = server.new_session();
    assert_eq!(session.finish_login("c=biws,r=x,p=AAAA".into()), Err(SessionError::WrongState));
    assert_eq!(session.state_name(), StateName::Login);
}

#[test]
fn prepare_is_refused_without_a_begun_transfer() {
    for state in STATES {
        let mut server = server(false);
        let mut session = in_state(&mut server, state);
        let mut budget = Budget::new(u64::MAX);
        if state != StateName::Upload {
            assert_eq!(
                session.prepare_upload(&mut server.service, &mut budget),
                Err(SessionError::WrongState),
                "{state:?}"
            );
        }
        if state != StateName::Download {
            assert_eq!(
                session.prepare_download(&server.service, &mut budget),
                Err(SessionError::WrongState),
                "{state:?}"
            );
        }
        assert_eq!(session.state_name(), state);
    }
}

#[test]
fn combined_verbs_are_refused_in_the_states_of_their_row() {
    for state in STATES {
        let mut server = server(false);
        let mut session = in_state(&mut server, state);
        let mut refused = SessionError::WrongState;
        let password = || Zeroizing::new(PASSWORD.to_string());
        if state == StateName::Login {
            refused = SessionError::LoginRequired;
        } else {
            let begun = session.begin_password_login(&mut server.service, USER, &password(), server.now);
            assert_eq!(begun, Err(SessionError::WrongState), "{state:?}");
        }
        let mut budget = Budget::new(u64::MAX);
        let advanced = session.advance_login(&mut server.service, &mut budget, server.now);
        assert_eq!(advanced, Err(SessionError::WrongState), "{state:?}: none was begun");
        if state != StateName::Command {
            assert_eq!(session.stat_resumable(&vpath("/file")).map(drop), Err(refused), "{state:?}");
        }
        if state != StateName::Upload {
            assert_eq!(session.complete_upload(server.now), Err(refused), "{state:?}");
            assert!(!session.waits_for_sync(), "{state:?}");
        }
        assert_eq!(session.state_name(), state);
    }
}

#[test]
fn closing_ends_every_state_and_leaves_no_staged_file() {
    for state in STATES {
        let mut server = server(false);
        let mut session = in_state(&mut server, state);
        session.close(Some(SessionError::Timeout), server.now);
        assert_eq!(session.state_name(), StateName::Closing);
        assert!(server.is_staging_empty(), "{state:?}");
        assert!(!server.at("new").exists(), "{state:?}");
        assert_eq!(server.capability().ledger().state().reserved.bytes, 0);
    }
}

#[test]
fn an_account_has_only_so_many_sessions_and_a_closed_one_makes_room() {
    let mut server = server(false);
    server.service.policy.sessions_per_account = 2;
    let (_first, mut second) = (logged_in(&mut server), logged_in(&mut server));
    let mut third = server.new_session();
    assert_eq!(log_in(&mut server, &mut third), Err(SessionError::TooManySessions));
    assert_eq!(third.state_name(), StateName::Login);
    second.close(None, server.now);
    assert_eq!(log_in(&mut server, &mut third), Ok(()));
}
