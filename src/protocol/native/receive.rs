//! Receives frames and routes them.

use super::mapping::{error_reply, malformed, put};
use super::{Native, NativeContext, Payload, ProtocolViolation, RequestStage, Running};
use crate::base::buffers::{STORE_BYTES_MIN, aligned_for_hash};
use crate::base::json::read_object;
use crate::protocol::native::pipeline::{Bounds, DecodedRequest};
use crate::session::SessionError;
use crate::wire::Reply;
use crate::wire::frame::{self, CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, Frame, FrameType};
use crate::wire::message::{End, ErrorReply, MessageError};

impl Native {
    /// Takes one frame, or the received part of a data frame. Returns whether anything was taken.
    pub(super) fn receive(&mut self, turn: &mut NativeContext) -> Result<bool, ProtocolViolation> {
        if let Some(payload) = self.payload {
            return Ok(self.take_payload(payload, turn));
        }
        let logged_in = self.session.account().is_some();
        let limit = if logged_in { CONTROL_BYTES_MAX } else { CONTROL_BYTES_MAX_BEFORE_LOGIN };
        let Some((frame, size)) = frame::decode(turn.buffers.input.filled(), limit)? else { return Ok(false) };
        let taken = match frame {
            Frame::Control { .. } if self.pipeline.is_full(self.bounds(turn)) => self.waits_for_room()?,
            Frame::Control { id, body } => self.take_request(id, body, size)?,
            Frame::Data { id, length } => self.take_data(id, length)?,
            Frame::End { id, body } => {
                let end = read_object(body).map_err(|error| MessageError::Malformed(error.to_string()));
                self.take_end(id, end, turn)?
            }
            Frame::Abort { id, .. } => self.take_abort(id, turn),
            Frame::Ping { body } => {
                let is_comparing = self.prefix_check_until.is_some_and(|until| turn.now < until);
                self.progress += u64::from(self.stage() == Some(RequestStage::Receive) && is_comparing);
                turn.buffers.output.append(|out| frame::put_bytes(out, FrameType::Pong, 0, body));
                true
            }
            Frame::Pong { .. } => true,
        };
        if taken {
            turn.buffers.input.consume(size);
        }
        Ok(taken)
    }

    fn bounds(&self, turn: &NativeContext) -> Bounds {
        match self.session.account() {
            None => Bounds::BEFORE_LOGIN,
            Some(_) if turn.buffers.input.is_large() => Bounds::MAX,
            Some(_) => Bounds::FIRST,
        }
    }

    /// Returns false while a request must wait for space in the queue. Fails if the running upload still
    /// needs data: that data comes after the request, so both would wait for ever.
    fn waits_for_room(&self) -> Result<bool, ProtocolViolation> {
        match self.stage() {
            Some(RequestStage::Receive | RequestStage::Discard) if self.pipeline.is_full(Bounds::MAX) => {
                Err(ProtocolViolation("too many requests are queued before the data of the running upload".into()))
            }
            _ => Ok(false),
        }
    }

    fn take_request(&mut self, id: u32, body: &[u8], size: usize) -> Result<bool, ProtocolViolation> {
        if id == 0 || self.running_id() == Some(id) || self.pipeline.contains(id) {
            return Err(ProtocolViolation(format!("request id {id} is 0 or in use")));
        }
        self.pipeline.push(id, DecodedRequest::decode(body), size);
        self.requests += 1;
        Ok(true)
    }

    fn take_data(&mut self, id: u32, length: u32) -> Result<bool, ProtocolViolation> {
        match &self.running {
            Some(Running { id: running, stage: RequestStage::Receive | RequestStage::Discard, .. })
                if *running == id =>
            {
                self.payload = (length > 0).then_some(Payload { bytes_left: length as usize });
                Ok(true)
            }
            _ => self.waits_for_upload(id, "data"),
        }
    }

    /// Returns false while the upload `id` waits for its turn. Fails if `id` is not an upload.
    fn waits_for_upload(&self, id: u32, part: &str) -> Result<bool, ProtocolViolation> {
        let is_next = self.running_id() == Some(id) && self.stage() == Some(RequestStage::PrepareUpload);
        if is_next || self.pipeline.is_upload(id) {
            return Ok(false);
        }
        Err(ProtocolViolation(format!("{part} for request {id}, which is not an upload")))
    }

    fn take_payload(&mut self, payload: Payload, turn: &mut NativeContext) -> bool {
        let bytes = turn.buffers.input.filled();
        let bytes = &bytes[..bytes.len().min(payload.bytes_left)];
        let is_rest = bytes.len() == payload.bytes_left;
        self.prefix_check_until = None;
        if std::mem::replace(&mut self.payload_bytes_waiting, bytes.len()) != bytes.len() {
            self.progress += 1;
        }
        let is_worth_it = bytes.len() >= STORE_BYTES_MIN || is_rest || turn.buffers.input.is_full_and_small();
        if bytes.is_empty() || !is_worth_it {
            return false;
        }
        let count = aligned_for_hash(bytes.len(), payload.bytes_left);
        let bytes = &bytes[..count];
        let stored = match self.stage() {
            Some(RequestStage::Receive) => match self.session.counted(turn.budget) {
                Ok(Some(mut session)) => session.store(turn.service, bytes),
                Ok(None) => Ok(0),
                Err(refusal) => Err(refusal),
            },
            _ => Ok(count),
        };
        let taken = stored.unwrap_or_else(|refusal| {
            self.refuse_running(turn.buffers, refusal, turn.now);
            count
        });
        turn.budget.spend(taken as u64);
        turn.buffers.input.consume(taken);
        self.payload_bytes_waiting = 0;
        let bytes_left = payload.bytes_left - taken;
        self.payload = (bytes_left > 0).then_some(Payload { bytes_left });
        taken > 0 || turn.budget.is_spent()
    }

    fn take_end(
        &mut self,
        id: u32,
        end: Result<End, MessageError>,
        turn: &mut NativeContext,
    ) -> Result<bool, ProtocolViolation> {
        match self.stage() {
            Some(RequestStage::Discard) if self.running_id() == Some(id) => self.running = None,
            Some(RequestStage::Receive) if self.running_id() == Some(id) => match self.finish_upload(end, turn) {
                Ok(()) => self.set_stage(RequestStage::Commit),
                Err(error) => {
                    turn.refuse(id, error);
                    self.running = None;
                }
            },
            _ => return self.waits_for_upload(id, "the end of data"),
        }
        Ok(true)
    }

    fn finish_upload(&mut self, end: Result<End, MessageError>, turn: &mut NativeContext) -> Result<(), ErrorReply> {
        match end {
            Ok(End { size, digest }) => self.session.finish_upload(size, digest, turn.now).map_err(|refusal| {
                let path = self.running.as_ref().and_then(|running| running.path.as_ref());
                error_reply(refusal, path)
            }),
            Err(error) => {
                // The call fails only if no upload runs.
                let _ = self.session.abort(SessionError::Cancelled, turn.now);
                Err(malformed(&error))
            }
        }
    }

    /// Cancels a request. An unknown id is that of a request that was just answered.
    fn take_abort(&mut self, id: u32, turn: &mut NativeContext) -> bool {
        if self.running_id() != Some(id) {
            if self.pipeline.is_upload(id) {
                return false;
            }
            self.pipeline.cancel(id);
            return true;
        }
        let Some(Running { stage, path, .. }) = &self.running else { return true };
        let error = error_reply(SessionError::Cancelled, path.as_ref());
        match stage {
            RequestStage::Discard => {}
            RequestStage::Send => put(turn.buffers, FrameType::Abort, id, &error),
            RequestStage::Task
            | RequestStage::PrepareUpload
            | RequestStage::Receive
            | RequestStage::PrepareDownload => {
                put(turn.buffers, FrameType::Control, id, &Reply::Error(error));
            }
            // Too late to cancel; the reply is on its way.
            RequestStage::Login | RequestStage::Commit => return true,
        }
        let _ = self.session.abort(SessionError::Cancelled, turn.now);
        self.running = None;
        true
    }
}
