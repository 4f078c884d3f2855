//! The administrator's front-end: one request at a time on the local socket. Whoever gets here
//! has been let in by the socket's mode and the peer's credentials.

use crate::account::AccountName;
use crate::json::read_object;
use crate::lane::{Budget, Lane};
use crate::limits::{CONTROL_BYTES_MAX, OUTBOX_BYTES_HIGH};
use crate::session::audit::{Audit, AuditStep, Look};
use crate::session::{Phase, Service};
use crate::store::quota::{QuotaLimits, QuotaState, Usage};
use crate::wire::Frame;
use crate::wire::control::{AccountUsage, AuditMode, ControlReply, ControlRequest};
use crate::wire::frame::{self, FrameType};

/// One connection of an administrator.
#[derive(Default)]
pub struct Control {
    running: Option<(u32, Audit)>,
    is_closing: bool,
    requests: u64,
}

impl Control {
    /// See [`super::Front::step`].
    pub fn step(&mut self, lane: &mut Lane, service: &mut Service, budget: &mut Budget) -> bool {
        let mut moved = false;
        while !self.is_closing && !budget.is_spent() && lane.outbox.held_bytes() < OUTBOX_BYTES_HIGH {
            match self.running.take() {
                Some((id, audit)) => self.run(id, audit, lane, service, budget),
                None if self.receive(lane, service) => {}
                None => break,
            }
            moved = true;
        }
        self.is_closing |= lane.eof && !moved;
        moved
    }

    fn receive(&mut self, lane: &mut Lane, service: &Service) -> bool {
        let (id, request, size) = match frame::decode(lane.inbox.filled(), CONTROL_BYTES_MAX) {
            Ok(None) => return false,
            Ok(Some((Frame::Control { id, body }, size))) => (id, read_object(body), size),
            Ok(Some(_)) | Err(_) => {
                self.is_closing = true;
                return true;
            }
        };
        lane.inbox.consume(size);
        self.requests += 1;
        match request {
            Ok(ControlRequest::Usage { user, mode }) => match begin(service, user, mode) {
                Ok(audit) => self.running = Some((id, audit)),
                Err(message) => reply(lane, id, &ControlReply::Error { message }),
            },
            Err(error) => reply(lane, id, &ControlReply::Error { message: format!("not understood: {error}") }),
        }
        true
    }

    fn run(&mut self, id: u32, mut audit: Audit, lane: &mut Lane, service: &mut Service, budget: &mut Budget) {
        match audit.next(service, budget) {
            AuditStep::Later => {}
            AuditStep::Account(name, state, found) => {
                reply(lane, id, &ControlReply::Usage(usage(&name, &state, found)));
            }
            AuditStep::Failed(name, error) => {
                let nothing = QuotaState::default();
                let failed = AccountUsage { error: Some(error), ..usage(&name, &nothing, None) };
                reply(lane, id, &ControlReply::Usage(failed));
            }
            AuditStep::End => return reply(lane, id, &ControlReply::End {}),
        }
        self.running = Some((id, audit));
    }

    /// See [`super::Front::hang_up`].
    pub fn hang_up(&mut self) {
        self.is_closing = true;
    }

    /// See [`super::Front::is_closing`].
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// See [`super::Front::phase`].
    pub fn phase(&self) -> Phase {
        if self.running.is_some() { Phase::Working } else { Phase::Idle }
    }

    /// See [`super::Front::requests`].
    pub fn requests(&self) -> u64 {
        self.requests
    }
}

/// Begins the audit that was asked for. Without a server `berthd` runs it by itself.
pub fn begin(service: &Service, user: Option<String>, mode: AuditMode) -> Result<Audit, String> {
    let look = match mode {
        AuditMode::Show => Look::Ledger,
        AuditMode::Verify => Look::Verify,
        AuditMode::Repair => Look::Repair,
    };
    let only: Option<AccountName> = user.map(|user| user.parse()).transpose().map_err(|error| format!("{error}"))?;
    Audit::begin(service, only, look).map_err(|error| error.to_string())
}

/// What is told of one account.
pub fn usage(name: &AccountName, state: &QuotaState, found: Option<Usage>) -> AccountUsage {
    let QuotaLimits { bytes: limit_bytes, files: limit_files } = state.limits;
    AccountUsage {
        user: name.to_string(),
        used_bytes: state.used.bytes,
        used_files: state.used.files,
        reserved_bytes: state.reserved.bytes,
        limit_bytes,
        limit_files,
        disk_bytes: found.map(|found| found.bytes),
        disk_files: found.map(|found| found.files),
        error: None,
    }
}

fn reply(lane: &mut Lane, id: u32, reply: &ControlReply) {
    lane.outbox.append(|out| frame::put_json(out, FrameType::Control, id, reply));
}
