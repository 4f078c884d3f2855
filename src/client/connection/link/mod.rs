//! A conversation with a server: requests out, replies in, in order. `requests` knows which wait for
//! an answer, `traffic` moves the bytes; it reads while it writes, always, because both sides would
//! wait for ever if neither read. The link makes frames of one and bytes of the other. It knows no
//! files and no terminal.
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

/// See the module.
pub struct Link {
    traffic: DuplexStream,
    /// Bytes at the front of the input that the last [`Event::Data`] was about.
    chunk_bytes: usize,
    /// Bytes of the current data frame beyond that chunk.
    frame_bytes_left: usize,
    requests: Requests,
    last_id: u32,
    limits: WireLimits,
    keeps_permissions: bool,
    /// Bytes taken, and frames at their cost, since something came that somebody waits for.
    unwanted_bytes: usize,
    /// Why the server hung up, for whoever asks it something next.
    last_words: Option<ErrorReply>,
    /// The answer by which the server has yet to prove itself.
    proof: Option<(u32, Judge)>,
}

/// Judges the reply by which a server proves itself.
pub type Judge = Box<dyn FnOnce(Reply) -> Result<(), LinkError>>;

impl Drop for Link {
    /// What was asked and is not answered must not be carried out amid what its user does next.
    fn drop(&mut self) {
        if !self.requests.is_empty() {
            self.traffic.end_with_reset();
        }
    }
}

impl Link {
    /// A conversation that has not begun.
    pub fn new(pipe: Box<dyn Stream>, interrupt: Interrupt) -> Self {
        Self {
            traffic: DuplexStream::new(pipe, interrupt),
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
            last_words: None,
            proof: None,
        }
    }

    /// Keeps the server's bounds from now on, where they are narrower than ours.
    pub fn set_limits(&mut self, limits: WireLimits) {
        self.limits.data_bytes = limits.data_bytes.clamp(1, DATA_BYTES_MAX);
        self.limits.in_flight = limits.in_flight.clamp(1, IN_FLIGHT_MAX);
        self.limits.control_bytes = limits.control_bytes.min(CONTROL_BYTES_MAX);
    }

    /// Notes which extensions the server has.
    pub fn set_features(&mut self, features: &[String]) {
        self.keeps_permissions = features.iter().any(|feature| feature == PERMISSIONS_FEATURE);
    }

    /// Whether the server sets permission bits that it is told.
    pub fn keeps_permissions(&self) -> bool {
        self.keeps_permissions
    }

    /// From now on a server that says nothing for so long is lost.
    pub fn set_silence_max(&mut self, silence_max: Duration) {
        self.traffic.silence_max = silence_max;
    }

    /// From now on `on_wait` is called several times a second while nothing moves.
    pub fn set_on_wait(&mut self, on_wait: Box<dyn Fn()>) {
        self.traffic.on_wait = Some(on_wait);
    }

    /// What `before`, which was lost, did while nothing moved, this one does from now on.
    pub fn inherit_on_wait(&mut self, before: &mut Self) {
        self.traffic.on_wait = before.traffic.on_wait.take();
    }

    /// Queues a request and returns its id. It leaves with the next call that waits.
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
        self.traffic.outgoing.push(&bytes);
        self.requests.push(id, request);
        Ok(id)
    }

    /// The answer to the request `id` is for `judge`. Requests may be sent before it came, as answers
    /// come in order and none is handed out before the server is proved; content may not.
    pub fn expect_proof(&mut self, id: u32, judge: Judge) {
        self.proof = Some((id, judge));
    }

    /// Waits until the server has proved itself, if it has yet to.
    pub fn await_proof(&mut self) -> Result<(), LinkError> {
        while self.proof.is_some() {
            // The proof is the first thing that comes.
            if self.take_any()?.is_none() {
                self.exchange(WAIT_MAX)?;
            }
        }
        Ok(())
    }

    /// Queues a data frame of the upload `id` whose payload, at most `bytes_max`, `read` fills
    /// in; returns the payload. No frame is queued when `read` fails or finds nothing, nor before
    /// the server is proved: [`Link::await_proof`].
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
        let held = self.traffic.queued_bytes();
        let room = self.traffic.outgoing.room(HEADER_BYTES + bytes_max);
        let length = read(&mut room[HEADER_BYTES..])?.min(bytes_max);
        if length == 0 {
            return Ok(&[]);
        }
        room[..HEADER_BYTES].copy_from_slice(&frame::header(FrameType::Data, id, length));
        self.traffic.outgoing.commit(HEADER_BYTES + length);
        Ok(&self.traffic.outgoing.queued()[held + HEADER_BYTES..])
    }

    /// Queues the end of the upload `id`.
    pub fn queue_end(&mut self, id: u32, end: &End) {
        self.close_upload(id, FrameType::End, end);
    }

    /// Gives the upload or download `id` up. Its answer still comes.
    pub fn queue_abort(&mut self, id: u32) {
        self.close_upload(id, FrameType::Abort, &cancelled());
    }

    fn close_upload(&mut self, id: u32, kind: FrameType, message: &impl serde::Serialize) {
        let mut bytes = Vec::with_capacity(160);
        frame::put_json(&mut bytes, kind, id, message);
        self.traffic.outgoing.push(&bytes);
        self.requests.close_upload(id);
    }

    /// Nobody cares any longer for the answers to what was asked so far: they are thrown away as
    /// they come, and running transfers are cancelled.
    pub fn abandon_all(&mut self) {
        for id in self.requests.ids() {
            self.abandon(id);
        }
    }

    /// The same for one request.
    pub fn abandon(&mut self, id: u32) {
        if self.requests.abandon(id) {
            self.queue_abort(id);
        }
    }

    /// For whoever works for long without asking the server anything: lets it know now and then
    /// that we are still there. True if Ctrl-C was pressed.
    pub fn works_apart(&mut self) -> bool {
        self.traffic.works_apart()
    }

    /// Sends what is queued for at most about `patience`, and says nothing when that fails: the
    /// next request will. For the moment after a transfer was cancelled.
    pub fn flush_briefly(&mut self, patience: Duration) {
        self.traffic.flush_briefly(patience);
    }

    /// Before anything is asked: whether the connection has ended meanwhile, without waiting.
    pub fn look(&mut self) -> Result<(), LinkError> {
        while self.requests.is_empty() && self.receive_some()? {
            if self.take()?.is_some() {
                return Err(LinkError::Protocol("an unexpected answer".into()));
            }
        }
        Ok(())
    }

    /// Waits for the next thing that comes.
    pub fn receive(&mut self) -> Result<Incoming, LinkError> {
        loop {
            if let Some(incoming) = self.take()? {
                return Ok(incoming);
            }
            self.exchange(WAIT_MAX)?;
        }
    }

    /// Waits for the next thing that comes, until `deadline`.
    pub fn receive_until(&mut self, deadline: Instant) -> Result<Option<Incoming>, LinkError> {
        loop {
            let incoming = self.take()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if incoming.is_some() || left.is_zero() {
                return Ok(incoming);
            }
            self.exchange(left)?;
        }
    }

    /// Sends until at most `held_max` bytes are still queued, or until something came: that.
    pub fn drain(&mut self, held_max: usize) -> Result<Option<Incoming>, LinkError> {
        loop {
            let incoming = self.take()?;
            if incoming.is_some() || self.traffic.queued_bytes() <= held_max {
                return Ok(incoming);
            }
            self.exchange(WAIT_MAX)?;
        }
    }

    /// Sends everything that is queued, so that the server can work while we do something else.
    /// What comes meanwhile stays in the input.
    pub fn send_all(&mut self) -> Result<(), LinkError> {
        while !self.traffic.outgoing.is_empty() {
            self.exchange(WAIT_MAX)?;
        }
        Ok(())
    }

    /// The bytes of the last [`Event::Data`].
    pub fn chunk(&self) -> &[u8] {
        &self.traffic.input.filled()[..self.chunk_bytes]
    }

    /// Bytes queued and not yet handed to the system.
    pub fn queued_bytes(&self) -> usize {
        self.traffic.queued_bytes()
    }

    /// Whether one more request may be sent before an answer came.
    pub fn has_room(&self) -> bool {
        self.requests.len() < self.limits.in_flight
    }

    /// Whether Ctrl-C was pressed.
    pub fn interrupt(&self) -> &Interrupt {
        &self.traffic.interrupt
    }

    /// See [`DuplexStream::exchange`].
    fn exchange(&mut self, patience: Duration) -> Result<(), LinkError> {
        self.traffic.exchange(patience, self.frame_bytes_left).map_err(|error| self.explain(error))
    }

    fn receive_some(&mut self) -> Result<bool, LinkError> {
        self.traffic.receive_some(self.frame_bytes_left).map_err(|error| self.explain(error))
    }

    /// The end of a connection means what the server said last.
    fn explain(&self, error: LinkError) -> LinkError {
        match (&self.last_words, error) {
            (Some(words), LinkError::Lost(_)) => LinkError::HungUp(words.clone()),
            (_, error) => error,
        }
    }

    /// Reads the answers to abandoned requests until another one may be sent.
    fn make_room(&mut self) -> Result<(), LinkError> {
        while !self.has_room() {
            if self.requests.front().is_some_and(|(_, is_abandoned)| !is_abandoned) {
                return Err(LinkError::Protocol("too many requests at once".into()));
            }
            if !self.take_abandoned()? {
                self.exchange(WAIT_MAX)?;
            }
        }
        Ok(())
    }

    fn take_abandoned(&mut self) -> Result<bool, LinkError> {
        let before = self.requests.len();
        while self.requests.len() == before {
            match self.take_any()? {
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The next thing in the input that somebody waits for.
    fn take(&mut self) -> Result<Option<Incoming>, LinkError> {
        loop {
            match self.take_any()? {
                Some((incoming, false)) => {
                    self.unwanted_bytes = 0;
                    return Ok(Some(incoming));
                }
                Some((_, true)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next thing in the input, and whether it was abandoned.
    fn take_any(&mut self) -> Result<Option<(Incoming, bool)>, LinkError> {
        let taken = std::mem::take(&mut self.chunk_bytes);
        self.consume(taken);
        loop {
            if self.unwanted_bytes > UNWANTED_BYTES_MAX {
                return Err(LinkError::Protocol("it keeps sending unexpected data".into()));
            }
            if self.frame_bytes_left > 0 {
                return self.take_chunk();
            }
            let decoded = match frame::decode(self.traffic.input.filled(), CONTROL_BYTES_MAX)? {
                Some((frame, used)) => (Decoded::of(frame)?, used),
                None => return Ok(None),
            };
            self.consume(decoded.1);
            self.unwanted_bytes += UNWANTED_FRAME_COST;
            match decoded.0 {
                Decoded::Ping(body) => self.answer_ping(&body)?,
                Decoded::Pong => {}
                Decoded::DataHeader { id, length } => {
                    self.requests.check_data(id)?;
                    self.frame_bytes_left = length;
                }
                Decoded::Event(incoming) => return self.settle(incoming).map(Some),
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.traffic.input.consume(bytes);
        self.unwanted_bytes += bytes;
    }

    fn answer_ping(&mut self, body: &[u8]) -> Result<(), LinkError> {
        if self.traffic.queued_bytes() > PING_QUEUE_MAX {
            return Err(LinkError::Protocol("it sends pings and does not read the answers".into()));
        }
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Pong, 0, body);
        self.traffic.outgoing.push(&bytes);
        Ok(())
    }

    fn take_chunk(&mut self) -> Result<Option<(Incoming, bool)>, LinkError> {
        let Some((id, is_abandoned)) = self.requests.front() else {
            return Err(LinkError::Protocol("unexpected data".into()));
        };
        let bytes = self.traffic.input.filled().len().min(self.frame_bytes_left);
        if bytes == 0 {
            return Ok(None);
        }
        let incoming = Incoming { id, event: Event::Data };
        self.chunk_bytes = bytes;
        self.frame_bytes_left -= bytes;
        Ok(Some((incoming, is_abandoned)))
    }

    /// What `incoming` means to those who wait, and whether they still do: false if not.
    fn settle(&mut self, incoming: Incoming) -> Result<(Incoming, bool), LinkError> {
        if let Event::Reply(Reply::Error(error)) = &incoming.event
            && error.fatal
        {
            self.last_words = Some(error.clone());
            return Err(LinkError::HungUp(error.clone()));
        }
        let is_abandoned = self.requests.settle(&incoming)?;
        match (self.proof.take(), incoming) {
            (Some((id, judge)), Incoming { id: of, event: Event::Reply(reply) }) if of == id => {
                if let Err(error) = judge(reply.clone()) {
                    // Nothing more is said to whoever this is.
                    self.traffic.is_mute = true;
                    return Err(error);
                }
                // It is nobody else's.
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

/// Ctrl-C is noticed after this, even where a signal does not end the wait.
const WAIT_MAX: Duration = Duration::from_millis(200);
