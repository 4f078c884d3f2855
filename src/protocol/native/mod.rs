//! The native protocol: frames in, frames out. `docs/protocol.md` specifies them.
//!
//! Requests are decoded ahead into a pipeline and run one after the other, so replies come in order.
//! The data of an upload is not queued: it stays in the input until its upload runs, which causes
//! back-pressure.

mod mapping;
pub mod pipeline;
mod receive;
mod requests;
mod running;
mod transfers;

use std::time::Instant;

use crate::base::budget::Budget;
use crate::base::buffers::IoBuffers;
use crate::protocol::{Protocol, ProtocolEvent, ProtocolIo, ProtocolStatus};
use crate::session::state::StateName;
use crate::session::{Phase, Service, Session, SessionError};
use crate::wire::frame::{self, FrameType};
use crate::wire::message::ErrorReply;
use crate::wire::{ErrorCode, Reply, WireError};
use mapping::{error_reply, put};
use pipeline::Pipeline;
use running::{RequestStage, Running};

/// One native connection.
pub struct Native {
    session: Session,
    has_said_hello: bool,
    pipeline: Pipeline,
    running: Option<Running>,
    /// The next request begins at this time at the earliest, because of the request rate limit.
    next_request_at: Option<Instant>,
    payload: Option<Payload>,
    /// The number of received bytes of `payload` that were not taken yet at the last check.
    payload_bytes_waiting: usize,
    /// Until this time, pings extend the stall timeout: the peer compares the stored part of its upload.
    prefix_check_until: Option<Instant>,
    /// Grows with all work on requests and with the data of uploads, but not with pings.
    progress: u64,
    sends_ranges: bool,
    is_closing: bool,
    requests: u64,
}

/// What a request may use in a turn.
struct NativeContext<'a> {
    buffers: &'a mut IoBuffers,
    service: &'a mut Service,
    budget: &'a mut Budget,
    now: Instant,
}

impl NativeContext<'_> {
    fn reply(&mut self, id: u32, reply: &Reply) {
        put(self.buffers, FrameType::Control, id, reply);
    }

    fn refuse(&mut self, id: u32, error: ErrorReply) {
        self.reply(id, &Reply::Error(error));
    }

    /// Returns whether budget and space for replies are left.
    fn can_continue(&self) -> bool {
        !self.budget.is_spent() && self.buffers.output.has_room()
    }
}

/// The bytes of a data frame that were not taken from the input yet.
#[derive(Clone, Copy)]
struct Payload {
    bytes_left: usize,
}

/// The peer violated the protocol. It gets an error, and the connection ends.
struct ProtocolViolation(String);

impl From<WireError> for ProtocolViolation {
    fn from(error: WireError) -> Self {
        Self(error.to_string())
    }
}

impl Protocol for Native {
    fn step(&mut self, io: ProtocolIo<'_>, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        let mut turn = NativeContext { buffers: io.buffers, service, budget, now };
        self.next_request_at = None;
        let mut moved = false;
        while !self.is_closing && turn.can_continue() {
            let received = match self.receive(&mut turn) {
                Ok(received) => received,
                Err(ProtocolViolation(message)) => {
                    self.end(turn.buffers, message, now);
                    return true;
                }
            };
            let advanced = self.advance(&mut turn);
            self.progress += u64::from(advanced);
            if !received && !advanced {
                break;
            }
            moved = true;
        }
        // With a full output the input was not read, so it may hold more requests.
        if turn.buffers.eof && !moved && turn.can_continue() && self.waits_for_peer() && !self.is_closing {
            self.hang_up(now);
        }
        moved
    }

    fn handle(&mut self, event: ProtocolEvent, io: ProtocolIo<'_>, now: Instant) {
        match event {
            ProtocolEvent::TlsEstablished(binding) => {
                self.session.set_binding(binding);
                self.sends_ranges = false;
            }
            ProtocolEvent::Synced(synced) => {
                if let Err(refusal) = self.session.synced(synced) {
                    self.refuse_running(io.buffers, refusal, now);
                }
            }
            ProtocolEvent::TlsUpgraded
            | ProtocolEvent::QueryAnswered(_)
            | ProtocolEvent::TransferFailed(_)
            | ProtocolEvent::PeerReset => {}
        }
    }

    fn fail(&mut self, buffers: &mut IoBuffers, why: SessionError, now: Instant) {
        let error = ErrorReply { fatal: true, ..error_reply(why, None) };
        let id = self.running.as_ref().map_or(0, |running| running.id);
        put(buffers, FrameType::Control, id, &Reply::Error(error));
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
        let phase = match self.session.phase() {
            // The session has finished it, but its data still comes. Before a login the login deadline counts.
            Phase::Idle if self.stage() == Some(RequestStage::Discard) => Phase::Transfer,
            Phase::Idle if !self.pipeline.is_empty() => Phase::Working,
            phase => phase,
        };
        ProtocolStatus {
            is_closing: self.is_closing,
            requests: self.requests,
            progress: self.progress,
            sends_results: !matches!(self.stage(), Some(RequestStage::Receive | RequestStage::Discard)),
            wakes_at: [self.session.wakes_at(), self.next_request_at].into_iter().flatten().min(),
            request_bytes: self.pipeline.bytes(),
            ..ProtocolStatus::new(phase)
        }
    }

    fn session(&self) -> Option<&Session> {
        Some(&self.session)
    }
}

impl Native {
    /// Makes the protocol of `session`, without encryption unless [`ProtocolEvent::TlsEstablished`] comes.
    /// `sends_ranges` tells whether the transport can send file ranges.
    pub fn new(session: Session, sends_ranges: bool) -> Self {
        Self {
            session,
            has_said_hello: false,
            pipeline: Pipeline::default(),
            running: None,
            next_request_at: None,
            payload: None,
            payload_bytes_waiting: 0,
            prefix_check_until: None,
            progress: 0,
            sends_ranges,
            is_closing: false,
            requests: 0,
        }
    }

    fn end(&mut self, buffers: &mut IoBuffers, message: String, now: Instant) {
        let error = ErrorReply { fatal: true, ..ErrorReply::new(ErrorCode::BadRequest, message) };
        put(buffers, FrameType::Control, 0, &Reply::Error(error));
        self.hang_up(now);
    }

    fn stage(&self) -> Option<RequestStage> {
        self.running.as_ref().map(|running| running.stage)
    }

    fn running_id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.id)
    }

    fn set_stage(&mut self, stage: RequestStage) {
        if let Some(running) = &mut self.running {
            running.stage = stage;
        }
    }

    /// Returns whether it can continue only with more input.
    fn waits_for_peer(&self) -> bool {
        match self.stage() {
            None => self.pipeline.is_empty(),
            Some(RequestStage::Login | RequestStage::Discard) => true,
            // Otherwise the upload waits for a sync, and the input may hold its rest.
            Some(RequestStage::Receive) => self.session.phase() == Phase::Transfer,
            Some(_) => false,
        }
    }
}

/// Returns the reply to a client for which there is no session.
pub fn too_many_sessions(bound: &str) -> Vec<u8> {
    let message = format!("the server is full ({bound}); connection closed before login");
    let error = ErrorReply::new(ErrorCode::TooMany, message).advise("close a session, or try again later");
    let error = ErrorReply { retry: true, fatal: true, ..error };
    let mut bytes = Vec::new();
    frame::put_json(&mut bytes, FrameType::Control, 0, &Reply::Error(error));
    bytes
}
