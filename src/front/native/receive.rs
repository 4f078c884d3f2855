//! Taking frames: what a peer sends, sorted to where it belongs.

use super::convert::{error_reply, malformed, put_abort, put_reply};
use super::{Broken, Native, Payload, Running};
use crate::front::pipeline::Asked;
use crate::lane::{Budget, Lane, Outbox};
use crate::limits::{CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, STORE_BYTES_MIN};
use crate::session::verb::Verb;
use crate::session::{Refusal, Service};
use crate::vpath::VPath;
use crate::wire::Reply;
use crate::wire::frame::{self, Frame, FrameType};
use crate::wire::message::{End, MessageError};
use std::time::Instant;

impl Native {
    /// Takes one frame, or what is there of a data frame; whether anything was taken.
    pub(super) fn receive(
        &mut self,
        lane: &mut Lane,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<bool, Broken> {
        if let Some(payload) = self.payload {
            return Ok(self.take_payload(payload, lane, service, budget, now));
        }
        let logged_in = self.session.account().is_some();
        let limit = if logged_in { CONTROL_BYTES_MAX } else { CONTROL_BYTES_MAX_BEFORE_LOGIN };
        let Some((frame, size)) = frame::decode(lane.inbox.filled(), limit)? else { return Ok(false) };
        let taken = match frame {
            Frame::Control { .. } if self.pipeline.is_full() => self.waits_for_room()?,
            Frame::Control { id, body } => self.take_request(id, body, size)?,
            Frame::Data { id, length } => self.take_data(id, length)?,
            Frame::End { id, body } => {
                let end = serde_json::from_slice(body).map_err(|error| MessageError::Malformed(error.to_string()));
                self.take_end(id, end, &mut lane.outbox, now)?
            }
            Frame::Abort { id, .. } => self.take_abort(id, &mut lane.outbox, now),
            Frame::Ping { body } => {
                lane.outbox.append(|out| frame::put_bytes(out, FrameType::Pong, 0, body));
                true
            }
            Frame::Pong { .. } => true,
        };
        if taken {
            lane.inbox.consume(size);
        }
        Ok(taken)
    }

    /// False: a request that has no room waits. An error if the data of the running upload is
    /// behind it, because then both would wait for ever.
    fn waits_for_room(&self) -> Result<bool, Broken> {
        match self.running {
            Running::Receive(..) | Running::Discard(_) => {
                Err(Broken("more requests than can wait stand before the data of an upload".into()))
            }
            _ => Ok(false),
        }
    }

    fn take_request(&mut self, id: u32, body: &[u8], size: usize) -> Result<bool, Broken> {
        if id == 0 || self.running.id() == Some(id) || self.pipeline.contains(id) {
            return Err(Broken(format!("request id {id} is 0 or in use")));
        }
        self.pipeline.push(id, Asked::decode(body), size);
        self.requests += 1;
        Ok(true)
    }

    fn take_data(&mut self, id: u32, length: u32) -> Result<bool, Broken> {
        match self.running {
            Running::Receive(running, _) | Running::Discard(running) if running == id => {
                self.payload = (length > 0).then_some(Payload { left: length as usize });
                Ok(true)
            }
            _ => self.waits_for_upload(id, "data"),
        }
    }

    /// False while the upload `id` has not come to its turn; an error if there is none.
    fn waits_for_upload(&self, id: u32, what: &str) -> Result<bool, Broken> {
        let is_next = matches!(self.running, Running::PrepareUpload(running, _) if running == id);
        if is_next || self.pipeline.is_upload(id) {
            return Ok(false);
        }
        Err(Broken(format!("{what} for request {id}, which takes none")))
    }

    fn take_payload(
        &mut self,
        payload: Payload,
        lane: &mut Lane,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> bool {
        let bytes = lane.inbox.filled();
        let bytes = &bytes[..bytes.len().min(payload.left)];
        let is_rest = bytes.len() == payload.left;
        if bytes.is_empty() || (bytes.len() < STORE_BYTES_MIN && !is_rest) {
            return false;
        }
        let count = bytes.len();
        let stored = match self.running {
            Running::Receive(..) => self.store(bytes, service, budget),
            _ => Ok(count),
        };
        let taken = stored.unwrap_or_else(|refusal| {
            self.refuse_running(lane, refusal, now);
            count
        });
        budget.spend(taken as u64);
        lane.inbox.consume(taken);
        let left = payload.left - taken;
        self.payload = (left > 0).then_some(Payload { left });
        taken > 0 || budget.is_spent()
    }

    fn store(&mut self, bytes: &[u8], service: &mut Service, budget: &mut Budget) -> Result<usize, Refusal> {
        if self.session.settle(Verb::Store, budget)? { self.session.store(service, bytes) } else { Ok(0) }
    }

    fn take_end(
        &mut self,
        id: u32,
        end: Result<End, MessageError>,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Result<bool, Broken> {
        match &self.running {
            Running::Discard(running) if *running == id => {
                self.running = Running::Nothing;
                Ok(true)
            }
            Running::Receive(running, path) if *running == id => {
                let path = path.clone();
                let finished = match end {
                    Ok(End { size, sha256 }) => self
                        .session
                        .finish_upload(size, sha256, now)
                        .map_err(|refusal| error_reply(refusal, Some(&path))),
                    Err(error) => {
                        // It could only be refused before it began, which it was not.
                        let _ = self.session.abort(Refusal::Cancelled, now);
                        Err(malformed(&error))
                    }
                };
                self.running = match finished {
                    Ok(()) => Running::Commit(id, path),
                    Err(error) => {
                        put_reply(outbox, id, &Reply::Error(error));
                        Running::Nothing
                    }
                };
                Ok(true)
            }
            _ => self.waits_for_upload(id, "an end"),
        }
    }

    /// Gives a request up. One that is not known has just been answered.
    fn take_abort(&mut self, id: u32, outbox: &mut Outbox, now: Instant) -> bool {
        if self.running.id() != Some(id) {
            if self.pipeline.is_upload(id) {
                return false;
            }
            self.pipeline.cancel(id);
            return true;
        }
        let error = |path: &VPath| error_reply(Refusal::Cancelled, Some(path));
        match &self.running {
            Running::Discard(_) => {}
            Running::Send(_, path) => put_abort(outbox, id, &error(path)),
            Running::Task(_, path)
            | Running::PrepareUpload(_, path)
            | Running::Receive(_, path)
            | Running::PrepareDownload(_, path) => put_reply(outbox, id, &Reply::Error(error(path))),
            // Past the point of no return; the answer is on its way.
            Running::Nothing | Running::Login(_) | Running::Commit(..) => return true,
        }
        let _ = self.session.abort(Refusal::Cancelled, now);
        self.running = Running::Nothing;
        true
    }
}
