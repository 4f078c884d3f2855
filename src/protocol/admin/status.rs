//! `status`: all sessions, page by page; then the usage of their accounts; then the totals. Each page has
//! the state of up to `ADMIN_QUERY_SLOTS_PER_TURN` connections at one moment; the next page is of a later one.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use super::RequestResult;
use crate::account::AccountName;
use crate::base::budget::Budget;
use crate::protocol::admin::query::{Query, QueryJob, QueryResult, SessionRow};
use crate::session::Service;
use crate::session::home_check::{HomeCheck, HomeCheckMode, HomeCheckStep};
use crate::session::session_info::TransferInfo;
use crate::session::totals::TransferTotals;
use crate::store::ledger::QuotaState;
use crate::wire::control::{ControlReply, ServerReport, SessionReport, TurnTimes, UserReport};
use crate::wire::message::Name;

/// A request for the state of the server.
pub(super) struct Status {
    all: bool,
    stage: StatusStage,
    /// Logged-in accounts with their number of sessions and their usage.
    users: BTreeMap<AccountName, (u64, QuotaState)>,
    /// Transfers that had ended when the first page was requested, and the bytes of running ones.
    up: TransferTotals,
    down: TransferTotals,
    server: ServerReport,
}

enum StatusStage {
    /// The page that begins here is to be requested.
    RequestPage(usize),
    /// It was requested.
    AwaitPage,
    /// A page is being sent. Holds the first slot of the next one.
    SendPage(VecDeque<SessionRow>, Option<usize>),
    /// The logged-in accounts are being sent.
    SendUsers,
    /// All accounts are being sent.
    SendAllUsers(HomeCheck),
    /// The totals are to be sent.
    SendTotals,
    /// All is sent.
    Done,
}

impl Status {
    pub(super) fn begin(service: &Service, all: bool) -> Self {
        let total = service.total();
        let (up, down) = (total.up.get(), total.down.get());
        Self { all, stage: StatusStage::RequestPage(0), users: BTreeMap::new(), up, down, server: nothing_yet() }
    }

    pub(super) fn answer(&mut self, answer: QueryResult) {
        self.server.seconds = answer.uptime.as_secs();
        self.server.turns = answer.turns.buckets().map(|(below_us, count)| TurnTimes { below_us, count }).collect();
        self.stage = StatusStage::SendPage(answer.rows.into(), answer.next);
    }

    pub(super) fn next(&mut self, service: &mut Service, budget: &mut Budget, now: Instant) -> RequestResult {
        match &mut self.stage {
            StatusStage::RequestPage(from) => {
                let query = Query { job: QueryJob::Report, from: *from };
                self.stage = StatusStage::AwaitPage;
                RequestResult::Query(query)
            }
            StatusStage::AwaitPage => RequestResult::Waiting,
            StatusStage::SendPage(page, next) => match page.pop_front() {
                Some(seen) => {
                    self.count(&seen);
                    RequestResult::Reply(ControlReply::Session(session_report(seen, now)))
                }
                None => {
                    self.stage = next.map_or(StatusStage::SendUsers, StatusStage::RequestPage);
                    RequestResult::Later
                }
            },
            StatusStage::SendUsers if self.all => self.begin_all_users(service),
            StatusStage::SendUsers => match self.users.pop_first() {
                Some((name, (sessions, state))) => user(&name, sessions, &state, None),
                None => {
                    self.stage = StatusStage::SendTotals;
                    RequestResult::Later
                }
            },
            StatusStage::SendAllUsers(check) => match check.next(service, budget) {
                HomeCheckStep::Later => RequestResult::Later,
                HomeCheckStep::Waits => RequestResult::Waiting,
                HomeCheckStep::Account(name, state, _, _) => user(&name, self.sessions_of(&name), &state, None),
                HomeCheckStep::Failed(name, error) => {
                    user(&name, self.sessions_of(&name), &QuotaState::default(), Some(error))
                }
                HomeCheckStep::End => {
                    self.stage = StatusStage::SendTotals;
                    RequestResult::Later
                }
            },
            StatusStage::SendTotals => {
                self.stage = StatusStage::Done;
                let unresponsive = service.store.syncer.unresponsive_file_systems();
                self.server.unresponsive_directories =
                    unresponsive.iter().map(|path| Name(path.as_os_str().as_bytes().to_vec())).collect();
                RequestResult::Reply(ControlReply::Server(self.server_report()))
            }
            StatusStage::Done => RequestResult::End,
        }
    }

    fn begin_all_users(&mut self, service: &Service) -> RequestResult {
        match HomeCheck::begin(service, None, HomeCheckMode::Ledger) {
            Ok(check) => {
                self.stage = StatusStage::SendAllUsers(check);
                RequestResult::Later
            }
            Err(error) => {
                self.stage = StatusStage::Done;
                RequestResult::Reply(ControlReply::Error { message: error.to_string() })
            }
        }
    }

    fn count(&mut self, SessionRow { info, .. }: &SessionRow) {
        match &info.user {
            Some((name, state)) => {
                self.server.sessions += 1;
                let (sessions, last) = self.users.entry(name.clone()).or_default();
                (*sessions, *last) = (*sessions + 1, *state);
            }
            None => self.server.unauthenticated += 1,
        }
        match &info.transfer {
            Some(transfer) if transfer.is_upload => {
                self.server.uploading += 1;
                self.up.add(transfer.bytes, false);
            }
            Some(transfer) => {
                self.server.downloading += 1;
                self.down.add(transfer.bytes, false);
            }
            None => {}
        }
    }

    fn sessions_of(&self, name: &AccountName) -> u64 {
        self.users.get(name).map_or(0, |(sessions, _)| *sessions)
    }

    fn server_report(&mut self) -> ServerReport {
        let server = std::mem::replace(&mut self.server, nothing_yet());
        ServerReport {
            uploads: self.up.files,
            downloads: self.down.files,
            bytes_up: self.up.bytes,
            bytes_down: self.down.bytes,
            ..server
        }
    }
}

fn nothing_yet() -> ServerReport {
    ServerReport {
        seconds: 0,
        sessions: 0,
        unauthenticated: 0,
        uploading: 0,
        downloading: 0,
        uploads: 0,
        downloads: 0,
        bytes_up: 0,
        bytes_down: 0,
        turns: Vec::new(),
        unresponsive_directories: Vec::new(),
    }
}

fn session_report(row: SessionRow, now: Instant) -> SessionReport {
    let info = row.info;
    let transfer = info.transfer.as_ref();
    SessionReport {
        session: row.session,
        user: info.user.map(|(name, _)| name.to_string()),
        address: info.peer.to_string(),
        state: info.state.word().into(),
        path: transfer.map(|transfer| Name::from(&transfer.path)),
        size: transfer.and_then(|transfer| transfer.size),
        position: transfer.map(|transfer| transfer.offset + transfer.bytes),
        rate: transfer.and_then(|transfer| rate(transfer, now)),
    }
}

/// Returns the rate, or `None` for a transfer that has only just begun.
fn rate(transfer: &TransferInfo, now: Instant) -> Option<u64> {
    let ms = u64::try_from(now.saturating_duration_since(transfer.started).as_millis()).ok()?;
    transfer.bytes.saturating_mul(1000).checked_div(ms)
}

fn user(name: &AccountName, sessions: u64, state: &QuotaState, error: Option<String>) -> RequestResult {
    let used = state.is_counted.then_some(state.stored());
    RequestResult::Reply(ControlReply::User(UserReport {
        user: name.to_string(),
        sessions,
        used_bytes: used.map(|used| used.bytes),
        used_files: used.map(|used| used.files),
        reserved_bytes: state.reserved.bytes,
        limit_bytes: state.limits.bytes,
        limit_files: state.limits.files,
        error,
    }))
}
