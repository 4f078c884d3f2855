//! The admin protocol: one request at a time on the local socket. The socket's mode and the peer's
//! credentials have authorised the peer.

mod kick;
pub mod query;
mod status;

use std::time::{Duration, Instant};

use crate::account::AccountName;
use crate::base::budget::{Budget, ENTRY_COST};
use crate::base::buffers::IoBuffers;
use crate::base::json::read_object;
use crate::base::text::{Escaped, shortened};
use crate::protocol::{Protocol, ProtocolEvent, ProtocolIo, ProtocolStatus};
use crate::session::home_check::{HomeCheck, HomeCheckMode, HomeCheckStep};
use crate::session::{Phase, Service, SessionError};
use crate::store::count::{UnreadableEntries, UnreadableEntry};
use crate::store::ledger::{QuotaLimits, QuotaState};
use crate::store::usage::Usage;
use crate::wire::Frame;
use crate::wire::control::{AccountUsage, ControlReply, ControlRequest, UnexaminedEntry, UsageMode};
use crate::wire::frame::{self, CONTROL_BYTES_MAX, FrameType};
use kick::Kick;
use query::Query;
use status::Status;

/// The number of slots that the loop examines in one turn for an admin query. This takes about ten microseconds.
pub const ADMIN_QUERY_SLOTS_PER_TURN: usize = 128;

/// One connection of an administrator.
#[derive(Default)]
pub struct Admin {
    running: Option<(u32, AdminRequest)>,
    /// The query that the loop must answer before the running request continues.
    query: Option<Query>,
    is_closing: bool,
    requests: u64,
    /// When to check again whether a worker has finished its part of a count.
    check_at: Option<Instant>,
}

/// The interval of these checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// The running request.
enum AdminRequest {
    Usage(HomeCheck),
    Status(Box<Status>),
    Kick(Kick),
}

/// The result of a step of a request.
enum RequestResult {
    /// The budget is spent.
    Later,
    /// It needs the result of this query to continue.
    Query(Query),
    /// The query has no result yet.
    Waiting,
    /// One reply; more may follow.
    Reply(ControlReply),
    /// There are no more replies.
    End,
}

impl Protocol for Admin {
    fn step(&mut self, io: ProtocolIo<'_>, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        let ProtocolIo { buffers, .. } = io;
        let mut moved = false;
        while !self.is_closing && !budget.is_spent() && buffers.output.has_room() {
            let has_moved = match self.running.take() {
                Some((id, running)) => self.run(id, running, buffers, service, budget, now),
                None => self.receive(buffers, service),
            };
            if !has_moved {
                break;
            }
            moved = true;
        }
        self.is_closing |= buffers.eof && !moved && self.running.is_none();
        moved
    }

    fn take_query(&mut self) -> Option<Query> {
        self.query.take()
    }

    fn handle(&mut self, event: ProtocolEvent, _io: ProtocolIo<'_>, _now: Instant) {
        let ProtocolEvent::QueryAnswered(answer) = event else { return };
        match &mut self.running {
            Some((_, AdminRequest::Status(status))) => status.answer(answer),
            Some((_, AdminRequest::Kick(kick))) => kick.answer(&answer),
            Some((_, AdminRequest::Usage(_))) | None => {}
        }
    }

    fn fail(&mut self, _buffers: &mut IoBuffers, _why: SessionError, now: Instant) {
        self.hang_up(now);
    }

    fn hang_up(&mut self, _now: Instant) {
        self.is_closing = true;
    }

    fn status(&self) -> ProtocolStatus {
        let phase = if self.running.is_some() { Phase::Working } else { Phase::Idle };
        let (is_closing, requests) = (self.is_closing, self.requests);
        let wakes_at = self.check_at;
        ProtocolStatus { is_closing, requests, progress: requests, wakes_at, ..ProtocolStatus::new(phase) }
    }
}

impl Admin {
    fn receive(&mut self, buffers: &mut IoBuffers, service: &Service) -> bool {
        let (id, request, size) = match frame::decode(buffers.input.filled(), CONTROL_BYTES_MAX) {
            Ok(None) => return false,
            Ok(Some((Frame::Control { id, body }, size))) => (id, read_object(body), size),
            Ok(Some(_)) | Err(_) => {
                self.is_closing = true;
                return true;
            }
        };
        buffers.input.consume(size);
        self.requests += 1;
        let begun = match request {
            Ok(ControlRequest::Usage { user, mode }) => begin_home_check(service, user, mode).map(AdminRequest::Usage),
            Ok(ControlRequest::Status { all }) => Ok(AdminRequest::Status(Box::new(Status::begin(service, all)))),
            Ok(ControlRequest::Kick { target }) => Kick::begin(target).map(AdminRequest::Kick),
            Err(error) => Err(format!("malformed request: {error}")),
        };
        match begun {
            Ok(running) => self.running = Some((id, running)),
            Err(message) => reply(buffers, id, &ControlReply::Error { message }),
        }
        true
    }

    /// Continues the running request. Returns whether anything was done.
    fn run(
        &mut self,
        id: u32,
        mut running: AdminRequest,
        buffers: &mut IoBuffers,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> bool {
        let step = match &mut running {
            AdminRequest::Usage(check) => next_usage(check, service, budget),
            AdminRequest::Status(status) => status.next(service, budget, now),
            AdminRequest::Kick(kick) => kick.next(),
        };
        let has_moved = !matches!(step, RequestResult::Waiting);
        self.check_at = (!has_moved).then(|| now + CHECK_INTERVAL);
        match step {
            RequestResult::Later | RequestResult::Waiting => {}
            RequestResult::Query(query) => self.query = Some(query),
            RequestResult::Reply(message) => {
                budget.spend(ENTRY_COST);
                reply(buffers, id, &message);
            }
            RequestResult::End => {
                reply(buffers, id, &ControlReply::End {});
                return true;
            }
        }
        self.running = Some((id, running));
        has_moved
    }
}

/// Begins the requested check. Without a running server, `berthd usage` calls this itself.
pub fn begin_home_check(service: &Service, user: Option<String>, mode: UsageMode) -> Result<HomeCheck, String> {
    let mode = match mode {
        UsageMode::Show => HomeCheckMode::Ledger,
        UsageMode::Verify => HomeCheckMode::Verify,
        UsageMode::Repair => HomeCheckMode::Repair,
    };
    let only: Option<AccountName> = user.map(|user| user.parse()).transpose().map_err(|error| format!("{error}"))?;
    HomeCheck::begin(service, only, mode).map_err(|error| error.to_string())
}

fn next_usage(check: &mut HomeCheck, service: &mut Service, budget: &mut Budget) -> RequestResult {
    match check.next(service, budget) {
        HomeCheckStep::Later => RequestResult::Later,
        HomeCheckStep::Waits => RequestResult::Waiting,
        HomeCheckStep::Account(name, state, found, unreadable) => {
            RequestResult::Reply(ControlReply::Usage(usage(&name, &state, found, &unreadable)))
        }
        HomeCheckStep::Failed(name, error) => {
            let nothing = QuotaState::default();
            let nothing = usage(&name, &nothing, None, &UnreadableEntries::default());
            RequestResult::Reply(ControlReply::Usage(AccountUsage { error: Some(error), ..nothing }))
        }
        HomeCheckStep::End => RequestResult::End,
    }
}

/// Returns the report of one account's usage.
pub fn usage(
    name: &AccountName,
    state: &QuotaState,
    found: Option<Usage>,
    unreadable: &UnreadableEntries,
) -> AccountUsage {
    let QuotaLimits { bytes: limit_bytes, files: limit_files } = state.limits;
    // A count sees only files with names.
    let found = found.map(|found| found + state.nameless);
    AccountUsage {
        user: name.to_string(),
        used_bytes: state.stored().bytes,
        used_files: state.stored().files,
        reserved_bytes: state.reserved.bytes,
        limit_bytes,
        limit_files,
        disk_bytes: found.map(|found| found.bytes),
        disk_files: found.map(|found| found.files),
        unexamined: unreadable.count,
        unexamined_entries: unreadable.named.iter().map(unexamined_entry).collect(),
        error: None,
    }
}

fn unexamined_entry(UnreadableEntry { path, problem }: &UnreadableEntry) -> UnexaminedEntry {
    let path = if path.is_empty() { b"." } else { &path[..] };
    let path = shortened(Escaped(path).to_string(), UNEXAMINED_PATH_BYTES_MAX);
    UnexaminedEntry { path, problem: problem.clone() }
}

/// The longest path of an entry in a reply, in bytes.
const UNEXAMINED_PATH_BYTES_MAX: usize = 512;

fn reply(buffers: &mut IoBuffers, id: u32, reply: &ControlReply) {
    buffers.output.append(|out| frame::put_json(out, FrameType::Control, id, reply));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Accounts;
    use crate::base::budget::TURN_BUDGET;
    use crate::base::buffers::OUTPUT_BYTES_HIGH;
    use crate::base::disk_sync;
    use crate::base::virtual_path::PATH_BYTES_MAX;
    use crate::base::virtual_path::VirtualPath;
    use crate::config::Config;
    use crate::protocol::admin::query::{QueryJob, QueryResult, SessionRow};
    use crate::session::Policy;
    use crate::session::session_info::{SessionInfo, TransferInfo};
    use crate::session::state::StateName;
    use crate::store::Store;
    use crate::store::syncer::Syncer;

    /// A page of sessions with the longest paths; each of their bytes is escaped.
    fn page(next: Option<usize>, now: Instant) -> QueryResult {
        let path = [b"/".as_slice(), &[1; PATH_BYTES_MAX - 1]].concat();
        let components: Vec<&[u8]> = path[1..].chunks(200).collect();
        let path =
            VirtualPath::parse(&[b"/", components.join(&b'/').as_slice()].concat()[..PATH_BYTES_MAX]).expect("a path");
        let transfer =
            TransferInfo { verb: "put", is_upload: true, path, bytes: 1, offset: 0, size: None, started: now };
        let peer = ([127, 0, 0, 1], 1).into();
        let info = SessionInfo { user: None, peer, state: StateName::Upload, transfer: Some(transfer) };
        let seen = |session| SessionRow { session, info: info.clone() };
        let seen = (0..ADMIN_QUERY_SLOTS_PER_TURN as u64).map(seen).collect();
        QueryResult { rows: seen, kicked: 0, next, turns: Default::default(), uptime: Default::default() }
    }

    #[test]
    fn a_status_is_sent_in_pieces_and_requests_no_page_before_the_output_has_room() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let config = Config::default_for(&directory.path().join("conf/berthd.json")).expect("valid");
        let store =
            Store::new(Vec::new(), config.partial_expiry, Syncer::held(disk_sync::sync)).expect("random numbers");
        let mut service = Service::new(Accounts::open(&config).expect("none"), store, Policy::from(&config));
        let (mut admin, mut buffers, now) = (Admin::default(), IoBuffers::large_uncharged(), Instant::now());
        let mut bytes = Vec::new();
        frame::put_json(&mut bytes, FrameType::Control, 1, &ControlRequest::Status { all: false });
        buffers.input.room(bytes.len()).copy_from_slice(&bytes);
        buffers.input.commit(bytes.len());

        let (mut said, mut asked) = (Vec::new(), Vec::new());
        while !said.ends_with(br#"{"end":{}}"#) {
            let moved = admin.step(ProtocolIo::single(&mut buffers), &mut service, &mut Budget::new(TURN_BUDGET), now);
            assert!(buffers.output.held_bytes() <= OUTPUT_BYTES_HIGH + CONTROL_BYTES_MAX);
            if let Some(query) = admin.take_query() {
                assert_eq!(query.job, QueryJob::Report);
                assert!(buffers.output.has_room(), "asked while there is no room");
                asked.push(query.from);
                let page = page((asked.len() < 3).then_some(asked.len() * ADMIN_QUERY_SLOTS_PER_TURN), now);
                admin.handle(ProtocolEvent::QueryAnswered(page), ProtocolIo::single(&mut buffers), now);
            } else {
                assert!(moved, "it waits for nothing");
            }
            while let Some(crate::base::buffers::NextChunk::Bytes(bytes)) = buffers.output.front() {
                let count = bytes.len();
                said.extend_from_slice(bytes);
                buffers.output.advance(count);
            }
        }
        assert_eq!(asked, [0, ADMIN_QUERY_SLOTS_PER_TURN, 2 * ADMIN_QUERY_SLOTS_PER_TURN]);
        let sessions = said.windows(12).filter(|window| window == br#"{"session":{"#).count();
        assert_eq!(sessions, 3 * ADMIN_QUERY_SLOTS_PER_TURN);
        assert_eq!(admin.status().phase, Phase::Idle);
    }
}
