//! Requests to a server and replies from it, in order. `requests` holds the requests that wait for a reply.
//! `duplex_stream` moves the bytes; it always reads while it writes, because both sides would block for ever if
//! neither read. The link converts between frames and bytes. It knows no files and no terminal.
//!
//! ```text
//! request ──> waiting ──(reply that ends it)──> forgotten
//!                └─(abandon)──> abandoned: its answer is read and thrown away
//! ```

mod duplex_stream;
mod requests;

use std::io;
use std::time::{Duration, Instant};

use crate::base::limits::{
    CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, DATA_BYTES_MAX, IN_FLIGHT_MAX, PING_QUEUE_MAX,
    UNWANTED_BYTES_MAX, UNWANTED_FRAME_COST,
};
use crate::client::connection::incoming::{Decoded, Event, Incoming};
use crate::client::connection::stream::Stream;
use crate::client::error::LinkError;
use crate::client::shell::interrupt::Interrupt;
use crate::wire::frame::{self, FrameType, HEADER_BYTES};
use crate::wire::message::{End, ErrorCode, ErrorReply, PERMISSIONS_FEATURE, WireLimits};
use crate::wire::{Reply, Request};

use duplex_stream::DuplexStream;
use requests::Requests;

/// A connection to a server that sends requests and receives their replies in order.
pub struct Link {
    stream: DuplexStream,
    /// The bytes at the front of the input that belong to the last [`Event::Data`].
    chunk_bytes: usize,
    /// The bytes of the current data frame beyond that chunk.
    frame_bytes_left: usize,
    requests: Requests,
    last_id: u32,
    limits: WireLimits,
    keeps_permissions: bool,
    /// The bytes and frame costs that were consumed since the last frame that a caller waited for.
    unwanted_bytes: usize,
    /// Why the server closed the connection; the next request reports it.
    last_error: Option<ErrorReply>,
    /// The request whose reply must prove the server's identity, and its judge.
    proof: Option<(u32, Judge)>,
}

/// A function that verifies the reply by which a server proves itself.
pub type Judge = Box<dyn FnOnce(Reply) -> Result<(), LinkError>>;

impl Drop for Link {
    /// Resets the connection if requests are unanswered. The server must not carry them out while the user's
    /// next connection is at work.
    fn drop(&mut self) {
        if !self.requests.is_empty() {
            self.stream.end_with_reset();
        }
    }
}

impl Link {
    /// Creates a link that has sent nothing yet.
    pub fn new(stream: Box<dyn Stream>, interrupt: Interrupt) -> Self {
        Self {
            stream: DuplexStream::new(stream, interrupt),
            chunk_bytes: 0,
            frame_bytes_left: 0,
            requests: Requests::default(),
            last_id: 0,
            limits: WireLimits {
                control_bytes: CONTROL_BYTES_MAX,
                data_bytes: DATA_BYTES_MAX,
                in_flight: IN_FLIGHT_MAX,
            },
            keeps_permissions: false,
            unwanted_bytes: 0,
            last_error: None,
            proof: None,
        }
    }

    /// Applies the server's limits from now on, where they are narrower than the client's.
    pub fn set_limits(&mut self, limits: WireLimits) {
        self.limits.data_bytes = limits.data_bytes.clamp(1, DATA_BYTES_MAX);
        self.limits.in_flight = limits.in_flight.clamp(1, IN_FLIGHT_MAX);
        self.limits.control_bytes = limits.control_bytes.min(CONTROL_BYTES_MAX);
    }

    /// Records the server's protocol extensions.
    pub fn set_features(&mut self, features: &[String]) {
        self.keeps_permissions = features.iter().any(|feature| feature == PERMISSIONS_FEATURE);
    }

    /// Returns whether the server supports setting permission bits.
    pub fn keeps_permissions(&self) -> bool {
        self.keeps_permissions
    }

    /// Sets the silence after which the server counts as lost.
    pub fn set_silence_max(&mut self, silence_max: Duration) {
        self.stream.silence_max = silence_max;
    }

    /// Sets a function that is called several times a second while nothing moves.
    pub fn set_on_wait(&mut self, on_wait: Box<dyn Fn()>) {
        self.stream.on_wait = Some(on_wait);
    }

    /// Takes the `on_wait` function of `before`, a lost connection.
    pub fn inherit_on_wait(&mut self, before: &mut Self) {
        self.stream.on_wait = before.stream.on_wait.take();
    }

    /// Queues a request and returns its id. The next call that waits sends it.
    pub fn request(&mut self, request: &Request) -> Result<u32, LinkError> {
        self.make_room()?;
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = self.last_id;
        let mut bytes = Vec::with_capacity(256);
        frame::put_json(&mut bytes, FrameType::Control, id, request);
        if bytes.len() > HEADER_BYTES + self.limits.control_bytes {
            return Err(LinkError::Protocol("the request is longer than the server takes".into()));
        }
        if bytes.len() > HEADER_BYTES + CONTROL_BYTES_MAX_BEFORE_LOGIN {
            self.await_proof()?;
        }
        self.stream.send_buffer.push(&bytes);
        self.requests.push(id, request);
        Ok(id)
    }

    /// Lets `judge` verify the reply to the request `id`. Requests may be sent before that reply arrives:
    /// replies come in order, and none is handed out before the server is proved. Content may not be sent.
    pub fn expect_proof(&mut self, id: u32, judge: Judge) {
        self.proof = Some((id, judge));
    }

    /// Waits until the server has proved itself, if the proof is outstanding.
    pub fn await_proof(&mut self) -> Result<(), LinkError> {
        while self.proof.is_some() {
            // The proof is the first reply that arrives.
            if self.next_frame()?.is_none() {
                self.exchange(WAIT_MAX)?;
            }
        }
        Ok(())
    }

    /// Queues a data frame of the upload `id`. `read` fills in the payload of at most `bytes_max` bytes.
    /// Returns the payload. No frame is queued if `read` fails or returns 0, or before the server is proved:
    /// [`Link::await_proof`].
    pub fn queue_data(
        &mut self,
        id: u32,
        bytes_max: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<&[u8]> {
        if self.proof.is_some() {
            return Err(io::Error::other("the server has not proved itself yet"));
        }
        let bytes_max = bytes_max.min(self.limits.data_bytes);
        let queued = self.stream.queued_bytes();
        let room = self.stream.send_buffer.room(HEADER_BYTES + bytes_max);
        let length = read(&mut room[HEADER_BYTES..])?.min(bytes_max);
        if length == 0 {
            return Ok(&[]);
        }
        room[..HEADER_BYTES].copy_from_slice(&frame::header(FrameType::Data, id, length));
        self.stream.send_buffer.commit(HEADER_BYTES + length);
        Ok(&self.stream.send_buffer.queued()[queued + HEADER_BYTES..])
    }

    /// Queues the end of the upload `id`.
    pub fn queue_end(&mut self, id: u32, end: &End) {
        self.close_upload(id, FrameType::End, end);
    }

    /// Aborts the upload or download `id`. Its reply still arrives.
    pub fn queue_abort(&mut self, id: u32) {
        self.close_upload(id, FrameType::Abort, &cancelled());
    }

    fn close_upload(&mut self, id: u32, kind: FrameType, message: &impl serde::Serialize) {
        let mut bytes = Vec::with_capacity(160);
        frame::put_json(&mut bytes, kind, id, message);
        self.stream.send_buffer.push(&bytes);
        self.requests.close_upload(id);
    }

    /// Abandons all requests that were sent so far. Their replies are discarded on arrival, and running
    /// transfers are cancelled.
    pub fn abandon_all(&mut self) {
        for id in self.requests.ids() {
            self.abandon(id);
        }
    }

    /// Abandons one request.
    pub fn abandon(&mut self, id: u32) {
        if self.requests.abandon(id) {
            self.queue_abort(id);
        }
    }

    /// Pings the server when a ping is due. A caller that works for a long time without a request calls this
    /// repeatedly. Returns true if Ctrl-C was pressed.
    pub fn keep_alive(&mut self) -> bool {
        self.stream.keep_alive()
    }

    /// Sends queued bytes for at most about `patience`. Errors are ignored, because the next request reports
    /// them. Used after a transfer was cancelled.
    pub fn flush_briefly(&mut self, patience: Duration) {
        self.stream.flush_briefly(patience);
    }

    /// Checks without waiting whether the connection has ended. Called before a request is sent.
    pub fn check_idle(&mut self) -> Result<(), LinkError> {
        while self.requests.is_empty() && self.receive_some()? {
            if self.next_wanted()?.is_some() {
                return Err(LinkError::Protocol("an unexpected answer".into()));
            }
        }
        Ok(())
    }

    /// Waits for the next frame.
    pub fn receive(&mut self) -> Result<Incoming, LinkError> {
        loop {
            if let Some(incoming) = self.next_wanted()? {
                return Ok(incoming);
            }
            self.exchange(WAIT_MAX)?;
        }
    }

    /// Waits for the next frame, until `deadline`.
    pub fn receive_until(&mut self, deadline: Instant) -> Result<Option<Incoming>, LinkError> {
        loop {
            let incoming = self.next_wanted()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if incoming.is_some() || left.is_zero() {
                return Ok(incoming);
            }
            self.exchange(left)?;
        }
    }

    /// Sends until at most `held_max` bytes are queued or a frame arrives. Returns that frame.
    pub fn drain(&mut self, held_max: usize) -> Result<Option<Incoming>, LinkError> {
        loop {
            let incoming = self.next_wanted()?;
            if incoming.is_some() || self.stream.queued_bytes() <= held_max {
                return Ok(incoming);
            }
            self.exchange(WAIT_MAX)?;
        }
    }

    /// Sends all queued bytes, so that the server can work at the same time as the client. Frames that arrive
    /// meanwhile stay in the input.
    pub fn send_all(&mut self) -> Result<(), LinkError> {
        while !self.stream.send_buffer.is_empty() {
            self.exchange(WAIT_MAX)?;
        }
        Ok(())
    }

    /// Returns the bytes of the last [`Event::Data`].
    pub fn chunk(&self) -> &[u8] {
        &self.stream.input.filled()[..self.chunk_bytes]
    }

    /// Returns the number of queued bytes that the kernel has not taken yet.
    pub fn queued_bytes(&self) -> usize {
        self.stream.queued_bytes()
    }

    /// Returns whether another request may be sent before a reply arrives.
    pub fn has_room(&self) -> bool {
        self.requests.len() < self.limits.in_flight
    }

    /// Returns the flag that Ctrl-C sets.
    pub fn interrupt(&self) -> &Interrupt {
        &self.stream.interrupt
    }

    /// Sends and receives once: [`DuplexStream::exchange`].
    fn exchange(&mut self, patience: Duration) -> Result<(), LinkError> {
        self.stream.exchange(patience, self.frame_bytes_left).map_err(|error| self.explain(error))
    }

    fn receive_some(&mut self) -> Result<bool, LinkError> {
        self.stream.receive_some(self.frame_bytes_left).map_err(|error| self.explain(error))
    }

    /// If the server gave a reason before the connection ended, that reason replaces `error`.
    fn explain(&self, error: LinkError) -> LinkError {
        match (&self.last_error, error) {
            (Some(words), LinkError::Lost(_)) => LinkError::HungUp(words.clone()),
            (_, error) => error,
        }
    }

    /// Reads the replies to abandoned requests until another request may be sent.
    fn make_room(&mut self) -> Result<(), LinkError> {
        while !self.has_room() {
            if self.requests.front().is_some_and(|(_, is_abandoned)| !is_abandoned) {
                return Err(LinkError::Protocol("too many requests at once".into()));
            }
            if !self.discard_abandoned()? {
                self.exchange(WAIT_MAX)?;
            }
        }
        Ok(())
    }

    fn discard_abandoned(&mut self) -> Result<bool, LinkError> {
        let before = self.requests.len();
        while self.requests.len() == before {
            match self.next_frame()? {
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Returns the next frame in the input that a caller waits for.
    fn next_wanted(&mut self) -> Result<Option<Incoming>, LinkError> {
        loop {
            match self.next_frame()? {
                Some((incoming, false)) => {
                    self.unwanted_bytes = 0;
                    return Ok(Some(incoming));
                }
                Some((_, true)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Returns the next frame in the input, and whether its request was abandoned.
    fn next_frame(&mut self) -> Result<Option<(Incoming, bool)>, LinkError> {
        let taken = std::mem::take(&mut self.chunk_bytes);
        self.consume(taken);
        loop {
            if self.unwanted_bytes > UNWANTED_BYTES_MAX {
                return Err(LinkError::Protocol("it keeps sending unexpected data".into()));
            }
            if self.frame_bytes_left > 0 {
                return self.next_chunk();
            }
            let decoded = match frame::decode(self.stream.input.filled(), CONTROL_BYTES_MAX)? {
                Some((frame, used)) => (Decoded::of(frame)?, used),
                None => return Ok(None),
            };
            self.consume(decoded.1);
            self.unwanted_bytes += UNWANTED_FRAME_COST;
            match decoded.0 {
                Decoded::Ping(body) => self.queue_pong(&body)?,
                Decoded::Pong => {}
                Decoded::DataHeader { id, length } => {
                    self.requests.check_data(id)?;
                    self.frame_bytes_left = length;
                }
                Decoded::Event(incoming) => return self.match_request(incoming).map(Some),
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.stream.input.consume(bytes);
        self.unwanted_bytes += bytes;
    }

    fn queue_pong(&mut self, body: &[u8]) -> Result<(), LinkError> {
        if self.stream.queued_bytes() > PING_QUEUE_MAX {
            return Err(LinkError::Protocol("it sends pings and does not read the answers".into()));
        }
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Pong, 0, body);
        self.stream.send_buffer.push(&bytes);
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<Option<(Incoming, bool)>, LinkError> {
        let Some((id, is_abandoned)) = self.requests.front() else {
            return Err(LinkError::Protocol("unexpected data".into()));
        };
        let bytes = self.stream.input.filled().len().min(self.frame_bytes_left);
        if bytes == 0 {
            return Ok(None);
        }
        let incoming = Incoming { id, event: Event::Data };
        self.chunk_bytes = bytes;
        self.frame_bytes_left -= bytes;
        Ok(Some((incoming, is_abandoned)))
    }

    /// Matches `incoming` with its request. Returns it, and true if no caller waits for it.
    fn match_request(&mut self, incoming: Incoming) -> Result<(Incoming, bool), LinkError> {
        if let Event::Reply(Reply::Error(error)) = &incoming.event
            && error.fatal
        {
            self.last_error = Some(error.clone());
            return Err(LinkError::HungUp(error.clone()));
        }
        let is_abandoned = self.requests.accept(&incoming)?;
        match (self.proof.take(), incoming) {
            (Some((id, judge)), Incoming { id: of, event: Event::Reply(reply) }) if of == id => {
                if let Err(error) = judge(reply.clone()) {
                    // Send nothing more to an unproved peer.
                    self.stream.cannot_send = true;
                    return Err(error);
                }
                // No caller waits for the proof.
                Ok((Incoming { id, event: Event::Reply(reply) }, true))
            }
            (proof, incoming) => {
                self.proof = proof;
                Ok((incoming, is_abandoned))
            }
        }
    }
}

fn cancelled() -> ErrorReply {
    ErrorReply { code: ErrorCode::Cancelled, message: "cancelled by the client".into(), retry: false, fatal: false }
}

/// The longest single wait, so that Ctrl-C is noticed even where a signal does not end the wait.
const WAIT_MAX: Duration = Duration::from_millis(200);
