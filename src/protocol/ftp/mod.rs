//! FTP and FTPS (RFC 959, 1123, 2228, 2389, 2428, 2640, 3659, 4217), translated to session calls.
//! Lines, names, addresses, replies, and arguments for the next command are known only here.
//!
//! Commands run one after the other, so replies come in order. Further commands wait in the input. If one
//! of them is `ABOR`, the running command ends at once, and `ABOR` is answered in its turn. A waiting
//! `STAT` is answered at once.

pub mod address;
pub mod argument;
pub mod command;
mod commands;
mod context;
mod control;
mod data_commands;
pub mod facts;
mod file_commands;
mod foreign;
pub mod help;
mod info_commands;
pub mod line;
pub mod list_options;
pub mod listing;
mod login;
pub mod parse_error;
mod parsers;
pub mod permissions;
pub mod queue;
pub mod reply;
mod state;
pub mod table;
pub mod time;
mod transfer;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use crate::base::budget::Budget;
use crate::base::buffers::{IoBuffers, SpliceSource};
use crate::base::virtual_path::VirtualPath;
use crate::config;
use crate::protocol::data_connection::DataConnection;
use crate::protocol::{Protocol, ProtocolEvent, ProtocolIo, ProtocolStatus};
use crate::session::state::StateName;
use crate::session::{Phase, Service, Session, SessionError};
use command::Command;
use context::FtpContext;
use facts::Facts;
use queue::CommandQueue;
pub use reply::too_many_sessions;
use reply::{REPLY_CLOSING, REPLY_DIRECTORY_STATUS};
use state::{Activity, ControlState, DataRules, Hashed, Passive, PendingArguments, Reuse};
use table::Row;
pub use transfer::{FTP_END_GRACE_LARGE, FTP_END_GRACE_MAX, FTP_END_GRACE_SHARE};
pub use transfer::{FTP_REPLY_GAP, FTP_REPLY_GAP_MIN};

/// One FTP session.
pub struct Ftp {
    session: Session,
    settings: Rc<config::FtpConfig>,
    /// The local address of the control connection; the session has the peer's.
    local: IpAddr,
    control: ControlState,
    queue: CommandQueue,
    /// When the data connection of a refused transfer is to be closed.
    unused_data_until: Option<Instant>,
    /// The name of `USER`, which `PASS` needs.
    user: Option<String>,
    directory: VirtualPath,
    facts: Facts,
    data: DataRules,
    reuse: Reuse,
    pending_arguments: PendingArguments,
    /// A command that was taken from the input and has not begun yet.
    pending: Option<(&'static Row, Command)>,
    activity: Activity,
    /// The `ABOR` that ended the last command is not answered yet.
    was_aborted: bool,
    /// Grows with all work on a transfer and with its bytes, but not with waiting commands.
    progress: u64,
    /// The number of received bytes of an upload that were not stored yet at the last check.
    upload_bytes_waiting: usize,
    /// The number of steps since the end of the peer's data.
    steps_since_end: u8,
    /// The number of downloads in a row for which the peer kept its side of the data connection open until
    /// the last reply.
    kept_open_downloads: u32,
    /// The next command begins at this time at the earliest, because of the request rate limit.
    next_request_at: Option<Instant>,
    is_closing: bool,
    /// The session ends after the running transfer.
    closes_after_transfer: bool,
    requests: u64,
    /// Unknown lines before the login.
    invalid_lines: u32,
}

/// Why a command did not begin.
enum NotBegun {
    /// The home is being counted. The command begins again in the next turn.
    NotCounted,
    /// The session refuses it.
    Refused(SessionError),
}

impl Protocol for Ftp {
    fn step(&mut self, io: ProtocolIo<'_>, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        let Some(data) = io.data else { return false };
        let mut turn = FtpContext { buffers: io.buffers, data, service, budget, now };
        self.next_request_at = None;
        let mut moved = self.greet(&mut turn);
        if self.unused_data_until.is_some_and(|until| until <= now || turn.data.is_closed()) {
            self.end_unused_data_connection(turn.data);
            moved = true;
        }
        self.steps_since_end = if turn.data.buffers().eof { self.steps_since_end.saturating_add(1) } else { 0 };
        // The whole queue is examined first: an upload that an `ABOR` cancels must not be stored.
        while self.can_continue(&turn) && (self.take_urgent(&mut turn) || self.advance(&mut turn)) {
            moved = true;
        }
        if turn.buffers.eof && !moved && self.can_continue(&turn) && self.is_peer_gone(&turn) {
            self.hang_up(now);
        }
        moved
    }

    fn handle(&mut self, event: ProtocolEvent, io: ProtocolIo<'_>, now: Instant) {
        match event {
            ProtocolEvent::TlsUpgraded => self.start_tls(),
            ProtocolEvent::Synced(synced) => {
                if let Err(refusal) = self.session.synced(synced) {
                    self.fail_transfer(io, refusal, now);
                }
            }
            ProtocolEvent::TransferFailed(refusal) => self.fail_transfer(io, refusal, now),
            ProtocolEvent::PeerReset => self.drop_waiting_commands(io.buffers),
            ProtocolEvent::TlsEstablished(_) | ProtocolEvent::QueryAnswered(_) => {}
        }
    }

    fn fail(&mut self, buffers: &mut IoBuffers, why: SessionError, now: Instant) {
        if let Activity::ListingStatus(_) = self.activity {
            buffers.output.append(|out| reply::put(out, REPLY_DIRECTORY_STATUS, "Listing incomplete."));
        }
        let (_, text) = reply::refusal(why, None);
        buffers.output.append(|out| reply::put(out, REPLY_CLOSING, text));
        self.session.close(Some(why), now);
        self.is_closing = true;
    }

    fn hang_up(&mut self, now: Instant) {
        if self.session.state_name() != StateName::Closing {
            self.session.close(None, now);
        }
        self.is_closing = true;
    }

    fn status(&self) -> ProtocolStatus {
        let transfer = if let Activity::Transfer(transfer) = &self.activity { Some(transfer) } else { None };
        let wakes_at = [
            self.session.wakes_at(),
            self.next_request_at,
            self.unused_data_until,
            transfer.and_then(|transfer| transfer.wakes_at()),
        ];
        let phase = self.phase();
        ProtocolStatus {
            is_closing: self.is_closing,
            requests: self.requests,
            progress: self.progress,
            sends_results: phase != Phase::Transfer,
            wakes_at: wakes_at.into_iter().flatten().min(),
            awaits_data_connection: transfer.is_some_and(|transfer| transfer.awaits_connection()),
            wants_tls: self.wants_tls(),
            ends_with_transfer: self.closes_after_transfer,
            ..ProtocolStatus::new(phase)
        }
    }

    fn session(&self) -> Option<&Session> {
        Some(&self.session)
    }

    fn store_from(
        &mut self,
        incoming: SpliceSource<'_>,
        service: &mut Service,
        budget: &mut Budget,
    ) -> Result<usize, SessionError> {
        self.store_from_socket(incoming, service, budget)
    }
}

impl Ftp {
    /// Makes the protocol of `session` on a connection with this local address. `is_encrypted` means implicit
    /// TLS: both connections are encrypted unless the peer chooses `PROT C`.
    pub fn new(session: Session, settings: Rc<config::FtpConfig>, local: IpAddr, is_encrypted: bool) -> Self {
        Self {
            session,
            settings,
            local,
            control: ControlState::New { is_encrypted },
            queue: CommandQueue::default(),
            unused_data_until: None,
            user: None,
            directory: VirtualPath::root(),
            facts: Facts::default(),
            // With implicit TLS many clients leave out PBSZ.
            data: DataRules { has_buffer_size: is_encrypted, is_private: is_encrypted, ..DataRules::default() },
            reuse: Reuse::default(),
            pending_arguments: PendingArguments::default(),
            pending: None,
            activity: Activity::Nothing,
            was_aborted: false,
            progress: 0,
            upload_bytes_waiting: 0,
            steps_since_end: 0,
            kept_open_downloads: 0,
            next_request_at: None,
            is_closing: false,
            closes_after_transfer: false,
            requests: 0,
            invalid_lines: 0,
        }
    }

    fn phase(&self) -> Phase {
        match (&self.activity, self.session.phase()) {
            // A listing without memory does not wait for its peer.
            (Activity::Transfer(_), Phase::Working)
                if self.session.wakes_at().is_some() || self.session.awaits_storage() =>
            {
                Phase::Working
            }
            (Activity::Transfer(transfer), phase) => transfer.phase(phase),
            (Activity::Hashing(..) | Activity::ListingStatus(_), _) => Phase::Working,
            (_, Phase::Idle) if self.pending.is_some() => Phase::Working,
            (_, phase) => phase,
        }
    }

    fn wants_tls(&self) -> bool {
        self.control == ControlState::StartingTls
    }

    fn start_tls(&mut self) {
        self.control = ControlState::Tls;
        self.queue = CommandQueue::default();
        // RFC 4217, section 4.1: plaintext may have come from an attacker.
        (self.user, self.pending_arguments) = (None, PendingArguments::default());
    }

    /// Drops the commands of a peer that is gone. If it has sent QUIT after its transfer, that transfer still finishes.
    fn drop_waiting_commands(&mut self, buffers: &mut IoBuffers) {
        if matches!(self.activity, Activity::Transfer(_)) {
            while self.queue.look_ahead(&mut buffers.input, false).is_some() {}
            self.closes_after_transfer = self.queue.has_quit() && !self.queue.has_abort();
        }
    }

    fn fail_transfer(&mut self, io: ProtocolIo<'_>, refusal: SessionError, now: Instant) {
        if let Some(data) = io.data {
            self.end_failed_transfer(io.buffers, data, refusal, now);
        }
    }

    /// Returns whether the end of the control connection ends the session. A client that receives data is
    /// alive; one that uploads has sent `QUIT`, or may have been disconnected.
    fn is_peer_gone(&self, turn: &FtpContext) -> bool {
        match &self.activity {
            // What was sent before the end is carried out.
            _ if self.session.awaits_storage() => false,
            Activity::Nothing => self.next_request_at.is_none(),
            Activity::Transfer(transfer) if transfer.is_upload() => {
                self.session.state_name() != StateName::Commit && !self.queue.has_quit()
            }
            Activity::Transfer(_) => turn.data.buffers().eof,
            _ => true,
        }
    }

    fn can_continue(&self, turn: &FtpContext) -> bool {
        !self.is_closing && !self.wants_tls() && turn.can_continue()
    }

    fn greet(&mut self, turn: &mut FtpContext) -> bool {
        let ControlState::New { is_encrypted } = self.control else { return false };
        self.control = if is_encrypted { ControlState::Tls } else { ControlState::Plain };
        turn.reply(220, "berthd ready");
        true
    }

    /// Continues the running command, or begins the next. Returns whether anything was done.
    fn advance(&mut self, turn: &mut FtpContext) -> bool {
        let is_advanced = match &self.activity {
            Activity::Nothing if self.closes_after_transfer => {
                self.hang_up(turn.now);
                true
            }
            Activity::Nothing => self.begin_next(turn),
            Activity::CheckingPassword => self.check_password(turn),
            Activity::Hashing(..) => self.hash(turn),
            Activity::ListingStatus(_) => self.list_status(turn),
            Activity::Transfer(_) => self.transfer(turn),
        };
        self.progress += u64::from(is_advanced);
        is_advanced
    }

    /// Returns whether the control connection uses TLS.
    fn is_encrypted(&self) -> bool {
        self.control == ControlState::Tls
    }

    /// Returns whether a data connection is or can be set up.
    fn has_data_connection(&self, data: &dyn DataConnection) -> bool {
        data.is_available() && self.unused_data_until.is_none()
    }
}
