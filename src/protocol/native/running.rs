//! The running request: requests begin in order, continue in steps, and end with a reply.

use std::time::Instant;

use super::mapping::{error_reply, malformed, put};
use super::pipeline::{DecodedRequest, PendingRequest};
use super::{Native, NativeContext};
use crate::base::buffers::IoBuffers;
use crate::base::text::shortened;
use crate::base::virtual_path::VirtualPath;
use crate::protocol::Protocol;
use crate::session::SessionError;
use crate::wire::Reply;
use crate::wire::frame::FrameType;
use crate::wire::message::ERROR_MESSAGE_BYTES_MAX_BEFORE_LOGIN;

/// The running request.
pub(super) struct Running {
    pub(super) id: u32,
    pub(super) stage: RequestStage,
    /// Its path, for errors.
    pub(super) path: Option<VirtualPath>,
}

/// The stage of the running request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestStage {
    /// A login whose proof is being checked.
    Login,
    /// A listing, a digest, or many directories.
    Task,
    /// A resumed upload, reading its prefix again.
    PrepareUpload,
    /// An upload that receives data.
    Receive,
    /// A refused upload whose data is dropped until its end.
    Discard,
    /// An upload that is being committed.
    Commit,
    /// A download, finding the first byte.
    PrepareDownload,
    /// A download, sending data.
    Send,
}

impl Native {
    /// Continues the running request, or begins the next. Returns whether anything was done.
    pub(super) fn advance(&mut self, turn: &mut NativeContext) -> bool {
        let Some(Running { id, stage, .. }) = self.running else { return self.begin_next(turn) };
        let done = match stage {
            RequestStage::Login => Ok(self.advance_login(id, turn)),
            RequestStage::Task => self.run_task(id, turn),
            RequestStage::PrepareUpload => self.prepare_upload(id, turn),
            RequestStage::Receive | RequestStage::Discard => Ok(false),
            RequestStage::Commit => self.advance_commit(id, turn),
            RequestStage::PrepareDownload => self.prepare_download(id, turn),
            RequestStage::Send => self.send(id, turn),
        };
        done.unwrap_or_else(|refusal| {
            self.refuse_running(turn.buffers, refusal, turn.now);
            true
        })
    }

    /// Answers the running request with a refusal and ends it. Its remaining data is dropped.
    pub(super) fn refuse_running(&mut self, buffers: &mut IoBuffers, refusal: SessionError, now: Instant) {
        // Fails if the call that failed has already ended the transfer in the session.
        let _ = self.session.abort(refusal, now);
        let Some(Running { id, stage, path }) = self.running.take() else { return };
        let error = error_reply(refusal, path.as_ref());
        match stage {
            RequestStage::Login | RequestStage::Discard => {}
            RequestStage::Send => put(buffers, FrameType::Abort, id, &error),
            RequestStage::Receive | RequestStage::PrepareUpload => {
                put(buffers, FrameType::Control, id, &Reply::Error(error));
                self.running = Some(Running { id, stage: RequestStage::Discard, path });
            }
            RequestStage::Task | RequestStage::Commit | RequestStage::PrepareDownload => {
                put(buffers, FrameType::Control, id, &Reply::Error(error));
            }
        }
    }

    fn begin_next(&mut self, turn: &mut NativeContext) -> bool {
        if self.pipeline.is_empty() {
            return false;
        }
        self.next_request_at = self.session.next_request_at(turn.service, turn.now);
        if self.next_request_at.is_some() {
            return false;
        }
        let Some(mut pending) = self.pipeline.pop() else { return false };
        let held_bytes = turn.buffers.output.held_bytes();
        self.session.begin_attempt();
        let begun = match &mut pending.request {
            DecodedRequest::Cancelled => Err(error_reply(SessionError::Cancelled, None)),
            DecodedRequest::Invalid(error) | DecodedRequest::InvalidUpload(error) => Err(malformed(error)),
            DecodedRequest::Request(request) => self.begin(pending.id, request, turn),
        };
        let is_cancelled = matches!(pending.request, DecodedRequest::Cancelled);
        if self.session.is_attempt_blocked() && !is_cancelled {
            turn.buffers.output.take_back(held_bytes);
            self.pipeline.put_back(pending);
            return false;
        }
        if matches!(begun, Ok(false)) {
            self.pipeline.put_back(pending);
            return !self.session.awaits_storage();
        }
        self.session.end_request();
        let PendingRequest { id, request, .. } = pending;
        turn.budget.spend(request.cost());
        self.session.count_request(turn.service, turn.now);
        if let Err(mut error) = begun {
            if self.session.account().is_none() {
                error.message = shortened(error.message, ERROR_MESSAGE_BYTES_MAX_BEFORE_LOGIN);
            }
            let is_fatal = error.fatal;
            turn.refuse(id, error);
            self.running = request.is_upload().then_some(Running { id, stage: RequestStage::Discard, path: None });
            if is_fatal {
                self.hang_up(turn.now);
            }
        }
        true
    }
}
