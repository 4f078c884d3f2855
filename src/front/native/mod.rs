//! The native front-end: frames in, frames out; `wire/PROTOCOL.md` specifies them.
//!
//! Requests are decoded ahead into a pipeline and carried out one after the other, so replies
//! come in order. The data of an upload is not queued: it stays in the inbox until its upload
//! runs, which is how a peer that sends too fast is held back.

mod convert;
mod receive;
mod requests;

use super::pipeline::{Asked, Pipeline};
use crate::lane::{Budget, Lane};
use crate::limits::{DATA_BYTES_MAX, OUTBOX_BYTES_HIGH, REQUEST_COST};
use crate::session::download::Fetched;
use crate::session::state::StateName;
use crate::session::verb::Verb;
use crate::session::{Phase, Refusal, Service, Session};
use crate::store::syncer::Synced;
use crate::vpath::VPath;
use crate::wire::frame::{self, FrameType, HEADER_BYTES};
use crate::wire::message::{End, ErrorReply};
use crate::wire::{ErrorCode, Reply, WireError};
use convert::{error_reply, malformed, put, put_abort, reply};
use std::time::Instant;

/// One native connection.
pub struct Native {
    session: Session,
    is_greeted: bool,
    pipeline: Pipeline,
    running: Running,
    payload: Option<Payload>,
    sends_ranges: bool,
    is_closing: bool,
    requests: u64,
}

/// The request being carried out.
enum Running {
    Nothing,
    /// A refused login, whose answer waits.
    Login(u32),
    /// A listing or a digest.
    Task(u32, VPath),
    /// A resumed upload, reading its prefix again.
    PrepareUpload(u32, VPath),
    /// An upload, taking data.
    Receive(u32, VPath),
    /// A refused upload, whose data is thrown away until its end.
    Discard(u32),
    /// An upload, about to appear.
    Commit(u32, VPath),
    /// A download, finding where to begin.
    PrepareDownload(u32, VPath),
    /// A download, sending data.
    Send(u32, VPath),
}

impl Running {
    fn id(&self) -> Option<u32> {
        match self {
            Self::Nothing => None,
            Self::Login(id) | Self::Discard(id) => Some(*id),
            Self::Task(id, _)
            | Self::PrepareUpload(id, _)
            | Self::Receive(id, _)
            | Self::Commit(id, _)
            | Self::PrepareDownload(id, _)
            | Self::Send(id, _) => Some(*id),
        }
    }
}

/// The rest of a data frame.
#[derive(Clone, Copy)]
struct Payload {
    left: usize,
}

/// The peer broke the protocol; it is told so, and the connection ends.
struct Broken(String);

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Self(error.to_string())
    }
}

impl Native {
    /// A front-end for `session`. `sends_ranges` tells whether the transport can send from
    /// files, which an encrypted one cannot.
    pub fn new(session: Session, sends_ranges: bool) -> Self {
        Self {
            session,
            is_greeted: false,
            pipeline: Pipeline::default(),
            running: Running::Nothing,
            payload: None,
            sends_ranges,
            is_closing: false,
            requests: 0,
        }
    }

    /// See [`super::Front::step`].
    pub fn step(&mut self, lane: &mut Lane, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        let mut moved = false;
        while !self.is_closing && !budget.is_spent() && lane.outbox.held_bytes() < OUTBOX_BYTES_HIGH {
            let received = match self.receive(lane, service, budget, now) {
                Ok(received) => received,
                Err(Broken(message)) => {
                    self.end(lane, ErrorCode::BadRequest, message, now);
                    return true;
                }
            };
            if !received & !self.advance(lane, service, budget, now) {
                break;
            }
            moved = true;
        }
        // With a full outbox nothing was tried: there may be more in the inbox to be answered.
        let has_tried = lane.outbox.held_bytes() < OUTBOX_BYTES_HIGH && !budget.is_spent();
        if lane.eof && !moved && has_tried && self.waits_for_peer() && !self.is_closing {
            self.hang_up(now);
        }
        moved
    }

    /// See [`super::Front::synced`].
    pub fn synced(&mut self, lane: &mut Lane, synced: Synced, now: Instant) {
        if let Err(refusal) = self.session.synced(synced) {
            self.refuse_running(lane, refusal, now);
        }
    }

    /// See [`super::Front::fail`].
    pub fn fail(&mut self, lane: &mut Lane, why: Refusal, now: Instant) {
        let mut error = error_reply(why, None);
        error.fatal = true;
        let id = self.running.id().unwrap_or(0);
        put(lane, FrameType::Control, id, &Reply::Error(error));
        self.session.close(Some(why), now);
        self.is_closing = true;
    }

    /// See [`super::Front::hang_up`].
    pub fn hang_up(&mut self, now: Instant) {
        if self.session.state_name() != StateName::Closing {
            self.session.close(None, now);
        }
        self.is_closing = true;
    }

    fn end(&mut self, lane: &mut Lane, code: ErrorCode, message: String, now: Instant) {
        let error = ErrorReply { code, message, retry: false, fatal: true };
        put(lane, FrameType::Control, 0, &Reply::Error(error));
        self.hang_up(now);
    }

    /// See [`super::Front::is_closing`].
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// See [`super::Front::session`].
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// See [`super::Front::phase`].
    pub fn phase(&self) -> Phase {
        match (self.session.phase(), &self.running) {
            // Done with in the session, but not on the wire. Before a login its deadline counts.
            (Phase::Idle, Running::Discard(_)) => Phase::Transfer,
            (phase, _) => phase,
        }
    }

    /// See [`super::Front::requests`].
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether nothing goes on without more from the peer.
    fn waits_for_peer(&self) -> bool {
        match self.running {
            Running::Nothing => self.pipeline.is_empty(),
            Running::Login(_) | Running::Discard(_) => true,
            // Else the disk is behind, and what is in the inbox may be the rest of the upload.
            Running::Receive(..) => self.session.phase() == Phase::Transfer,
            _ => false,
        }
    }

    // ---- Carrying out ---------------------------------------------------------------------

    /// Drives the running request on, or begins the next; whether anything was done.
    fn advance(&mut self, lane: &mut Lane, service: &mut Service, budget: &mut Budget, now: Instant) -> bool {
        let done = match self.running {
            Running::Nothing => self.begin_next(lane, service, budget, now),
            Running::Login(id) => Ok(self.answer_login(id, lane, service, now)),
            Running::Task(id, _) => self.run_task(id, lane, service, budget),
            Running::PrepareUpload(id, _) => self.prepare_upload(id, lane, budget),
            Running::Receive(..) | Running::Discard(_) => Ok(false),
            Running::Commit(id, _) => self.advance_commit(id, lane, service, budget, now),
            Running::PrepareDownload(id, _) => self.prepare_download(id, lane, service, budget),
            Running::Send(id, _) => self.send(id, lane, service, budget, now),
        };
        done.unwrap_or_else(|refusal| {
            self.refuse_running(lane, refusal, now);
            true
        })
    }

    /// Answers the running request with a refusal and ends it. What data of it is still to come
    /// is thrown away.
    fn refuse_running(&mut self, lane: &mut Lane, refusal: Refusal, now: Instant) {
        // A verb that failed may have ended its state itself.
        let _ = self.session.abort(refusal, now);
        match std::mem::replace(&mut self.running, Running::Nothing) {
            Running::Nothing | Running::Login(_) | Running::Discard(_) => {}
            Running::Send(id, path) => put_abort(&mut lane.outbox, id, &error_reply(refusal, Some(&path))),
            Running::Receive(id, path) | Running::PrepareUpload(id, path) => {
                reply(lane, id, Reply::Error(error_reply(refusal, Some(&path))));
                self.running = Running::Discard(id);
            }
            Running::Task(id, path) | Running::Commit(id, path) | Running::PrepareDownload(id, path) => {
                reply(lane, id, Reply::Error(error_reply(refusal, Some(&path))));
            }
        }
    }

    fn begin_next(
        &mut self,
        lane: &mut Lane,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<bool, Refusal> {
        let Some(next) = self.pipeline.front() else { return Ok(false) };
        let (id, verb) = (next.id, next.request.verb());
        let settled = verb.map_or(Ok(true), |verb| self.session.settle(verb, budget));
        if settled == Ok(false) {
            return Ok(true);
        }
        let Some(pending) = self.pipeline.pop() else { return Ok(false) };
        budget.spend(REQUEST_COST);
        let is_upload = pending.request.is_upload();
        let begun = match pending.request {
            _ if settled.is_err() => Err(error_reply(settled.err().unwrap_or(Refusal::Io), None)),
            Asked::Cancelled => Err(error_reply(Refusal::Cancelled, None)),
            Asked::Invalid(error) | Asked::InvalidUpload(error) => Err(malformed(&error)),
            Asked::Request(request) => self.begin(id, request, lane, service, now),
        };
        if let Err(error) = begun {
            let is_fatal = error.fatal;
            reply(lane, id, Reply::Error(error));
            if is_upload {
                self.running = Running::Discard(id);
            }
            if is_fatal {
                self.hang_up(now);
            }
        }
        Ok(true)
    }

    // ---- Transfers ------------------------------------------------------------------------

    fn prepare_upload(&mut self, id: u32, lane: &mut Lane, budget: &mut Budget) -> Result<bool, Refusal> {
        if let Some((offset, prefix_sha256)) = self.session.prepare_upload(budget)? {
            reply(lane, id, Reply::Ready { offset, prefix_sha256 });
            if let Running::PrepareUpload(id, path) = std::mem::replace(&mut self.running, Running::Nothing) {
                self.running = Running::Receive(id, path);
            }
        }
        Ok(true)
    }

    fn advance_commit(
        &mut self,
        id: u32,
        lane: &mut Lane,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<bool, Refusal> {
        if !self.session.settle(Verb::AdvanceCommit, budget)? {
            return Ok(true);
        }
        let Some(stored) = self.session.advance_commit(service, now)? else { return Ok(false) };
        reply(lane, id, Reply::Stored { size: stored.size, sha256: stored.digest });
        self.running = Running::Nothing;
        Ok(true)
    }

    fn prepare_download(
        &mut self,
        id: u32,
        lane: &mut Lane,
        service: &Service,
        budget: &mut Budget,
    ) -> Result<bool, Refusal> {
        if let Some(opened) = self.session.prepare_download(service, budget)? {
            let (size, mtime_ns, etag, offset) = (opened.size, opened.mtime_ns, opened.etag, opened.offset);
            reply(lane, id, Reply::File { size, mtime_ns, etag, offset });
            if let Running::PrepareDownload(id, path) = std::mem::replace(&mut self.running, Running::Nothing) {
                self.running = Running::Send(id, path);
            }
        }
        Ok(true)
    }

    fn send(
        &mut self,
        id: u32,
        lane: &mut Lane,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<bool, Refusal> {
        // Ranges leave the outbox before more is fetched, so that the check at the end of the
        // file comes after its last byte was read.
        if lane.outbox.has_ranges() {
            return Ok(false);
        }
        let (session, ranges) = (&mut self.session, self.sends_ranges);
        let fetched = lane.outbox.append(|out| {
            let start = out.len();
            out.extend_from_slice(&[0; HEADER_BYTES]);
            let fetched = session.fetch(service, out, DATA_BYTES_MAX, ranges, budget, now);
            match &fetched {
                Ok(Fetched::Bytes(count)) => {
                    out[start..start + HEADER_BYTES].copy_from_slice(&frame::header(FrameType::Data, id, *count));
                }
                Ok(Fetched::Range(range)) => {
                    let header = frame::header(FrameType::Data, id, range.length as usize);
                    out[start..start + HEADER_BYTES].copy_from_slice(&header);
                }
                _ => out.truncate(start),
            }
            fetched
        })?;
        match fetched {
            Fetched::Bytes(_) => {}
            Fetched::Range(range) => lane.outbox.push_range(range),
            Fetched::End(size, sha256) => {
                put(lane, FrameType::End, id, &End { size, sha256 });
                self.running = Running::Nothing;
            }
        }
        Ok(true)
    }
}
