//! A conversation with a server: requests out, replies in, in order. The link owns both buffers
//! and knows which requests wait for an answer; it reads while it writes, always, because both
//! sides would wait for ever if neither read. It knows no files and no terminal.
//!
//! ```text
//! request ──> waiting ──(reply that ends it)──> forgotten
//!                └─(abandon)──> abandoned: its answer is read and thrown away
//! ```

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::client::incoming::{Decoded, Event, Incoming};
use crate::client::interrupt::Interrupt;
use crate::client::outgoing::Outgoing;
use crate::client::pipe::Pipe;
use crate::lane::Buffer;
use crate::limits::{
    CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, DATA_BYTES_MAX, IN_FLIGHT_MAX, PING_INTERVAL, PING_QUEUE_MAX,
    SILENCE_MAX, UNWANTED_BYTES_MAX, UNWANTED_FRAME_COST,
};
use crate::wire::frame::{self, FrameType, HEADER_BYTES};
use crate::wire::message::{End, ErrorCode, ErrorReply, WireLimits};
use crate::wire::{Reply, Request, WireError};

/// Why the conversation cannot go on, or was left.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection ended or failed.
    #[error("{0}")]
    Lost(String),
    /// The server said why it hangs up.
    #[error("{}", .0.message)]
    HungUp(ErrorReply),
    /// The server sent what it may not send.
    #[error("the server does not keep to the protocol: {0}")]
    Protocol(String),
    /// What the server says of itself is wrong; it may be another one.
    #[error("{0}")]
    Distrusted(String),
    /// Ctrl-C. The conversation itself is whole.
    #[error("interrupted")]
    Interrupted,
}

impl From<serde_json::Error> for LinkError {
    fn from(error: serde_json::Error) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// See the module.
pub struct Link {
    pipe: Box<dyn Pipe>,
    inbox: Buffer,
    outgoing: Outgoing,
    /// Bytes at the front of the inbox that the last [`Event::Data`] was about.
    chunk_bytes: usize,
    /// Bytes of the current data frame beyond that chunk.
    frame_bytes_left: usize,
    waiting: VecDeque<Waiting>,
    last_id: u32,
    last_sent: Instant,
    /// Time spent waiting since something was last sent or received.
    silence: Duration,
    silence_max: Duration,
    /// Told whenever nothing moves.
    on_wait: Option<Box<dyn Fn()>>,
    limits: WireLimits,
    interrupt: Interrupt,
    /// Sending failed; what the server said before may still be there to read.
    is_mute: bool,
    /// Bytes taken, and frames at their cost, since something came that somebody waits for.
    unwanted_bytes: usize,
    /// Why the server hung up, for whoever asks it something next.
    last_words: Option<ErrorReply>,
    /// The answer by which the server has yet to prove itself.
    proof: Option<(u32, Judge)>,
}

/// Judges the reply by which a server proves itself.
pub type Judge = Box<dyn FnOnce(Reply) -> Result<(), LinkError>>;

struct Waiting {
    id: u32,
    answer: Answer,
    is_abandoned: bool,
}

/// What ends the answer to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// One reply.
    Single,
    /// Pages up to the last.
    Pages,
    /// An error, or a file's data up to its end.
    Download,
    /// One reply, perhaps after `Ready`; `is_sent`: our end or abort frame is on its way.
    Upload { is_sent: bool },
}

impl Link {
    /// A conversation that has not begun.
    pub fn new(pipe: Box<dyn Pipe>, interrupt: Interrupt) -> Self {
        Self {
            pipe,
            inbox: Buffer::default(),
            outgoing: Outgoing::default(),
            chunk_bytes: 0,
            frame_bytes_left: 0,
            waiting: VecDeque::new(),
            last_id: 0,
            last_sent: Instant::now(),
            silence: Duration::ZERO,
            silence_max: SILENCE_MAX,
            on_wait: None,
            limits: WireLimits {
                control_bytes: CONTROL_BYTES_MAX,
                data_bytes: DATA_BYTES_MAX,
                in_flight: IN_FLIGHT_MAX,
            },
            interrupt,
            is_mute: false,
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

    /// From now on a server that says nothing for so long is lost.
    pub fn set_silence_max(&mut self, silence_max: Duration) {
        self.silence_max = silence_max;
    }

    /// From now on `on_wait` is called several times a second while nothing moves.
    pub fn set_on_wait(&mut self, on_wait: Box<dyn Fn()>) {
        self.on_wait = Some(on_wait);
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
        self.outgoing.push(&bytes);
        self.waiting.push_back(Waiting { id, answer: answer_to(request), is_abandoned: false });
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
        let held = self.outgoing.queued().len();
        let room = self.outgoing.room(HEADER_BYTES + bytes_max);
        let length = read(&mut room[HEADER_BYTES..])?.min(bytes_max);
        if length == 0 {
            return Ok(&[]);
        }
        room[..HEADER_BYTES].copy_from_slice(&frame::header(FrameType::Data, id, length));
        self.outgoing.commit(HEADER_BYTES + length);
        Ok(&self.outgoing.queued()[held + HEADER_BYTES..])
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
        self.outgoing.push(&bytes);
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.id == id) {
            if let Answer::Upload { is_sent } = &mut waiting.answer {
                *is_sent = true;
            }
        }
    }

    /// Nobody cares any longer for the answers to what was asked so far: they are thrown away as
    /// they come, and running transfers are cancelled.
    pub fn abandon_all(&mut self) {
        let ids: Vec<u32> = self.waiting.iter().map(|waiting| waiting.id).collect();
        for id in ids {
            self.abandon(id);
        }
    }

    /// The same for one request.
    pub fn abandon(&mut self, id: u32) {
        let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.id == id) else { return };
        if std::mem::replace(&mut waiting.is_abandoned, true) {
            return;
        }
        let is_long = matches!(waiting.answer, Answer::Pages | Answer::Download | Answer::Upload { is_sent: false });
        if is_long {
            self.queue_abort(id);
        }
    }

    /// For whoever works for long without asking the server anything: lets it know now and then
    /// that we are still there. True if Ctrl-C was pressed.
    pub fn works_apart(&mut self) -> bool {
        if self.last_sent.elapsed() >= PING_INTERVAL {
            self.queue_ping();
            // If this fails, so will the next request, and that one is told why.
            let _ = self.send_some();
        }
        self.interrupt.is_set()
    }

    /// Sends what is queued for at most about `patience`, and says nothing when that fails: the
    /// next request will. For the moment after a transfer was cancelled.
    pub fn flush_briefly(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.outgoing.is_empty() && Instant::now() < deadline && !self.interrupt.is_set() {
            if !matches!(self.send_some(), Ok(true)) && self.pipe.wait(true, patience / 10).is_err() {
                return;
            }
        }
    }

    /// Before anything is asked: whether the connection has ended meanwhile, without waiting.
    pub fn look(&mut self) -> Result<(), LinkError> {
        while self.waiting.is_empty() && self.receive_some()? {
            if self.take()?.is_some() {
                return Err(LinkError::Protocol("an answer that nobody asked for".into()));
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
            if incoming.is_some() || self.outgoing.queued().len() <= held_max {
                return Ok(incoming);
            }
            self.exchange(WAIT_MAX)?;
        }
    }

    /// Sends everything that is queued, so that the server can work while we do something else.
    /// What comes meanwhile stays in the inbox.
    pub fn send_all(&mut self) -> Result<(), LinkError> {
        while !self.outgoing.is_empty() {
            self.exchange(WAIT_MAX)?;
        }
        Ok(())
    }

    /// The bytes of the last [`Event::Data`].
    pub fn chunk(&self) -> &[u8] {
        &self.inbox.filled()[..self.chunk_bytes]
    }

    /// Bytes queued and not yet handed to the system.
    pub fn queued_bytes(&self) -> usize {
        self.outgoing.queued().len()
    }

    /// Whether one more request may be sent before an answer came.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < self.limits.in_flight
    }

    /// Whether Ctrl-C was pressed.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Reads the answers to abandoned requests until another one may be sent.
    fn make_room(&mut self) -> Result<(), LinkError> {
        while !self.has_room() {
            if self.waiting.front().is_some_and(|waiting| !waiting.is_abandoned) {
                return Err(LinkError::Protocol("too many requests at once".into()));
            }
            if !self.take_abandoned()? {
                self.exchange(WAIT_MAX)?;
            }
        }
        Ok(())
    }

    fn take_abandoned(&mut self) -> Result<bool, LinkError> {
        let before = self.waiting.len();
        while self.waiting.len() == before {
            match self.take_any()? {
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The next thing in the inbox that somebody waits for.
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

    /// The next thing in the inbox, and whether it was abandoned.
    fn take_any(&mut self) -> Result<Option<(Incoming, bool)>, LinkError> {
        let taken = std::mem::take(&mut self.chunk_bytes);
        self.consume(taken);
        loop {
            if self.unwanted_bytes > UNWANTED_BYTES_MAX {
                return Err(LinkError::Protocol("it keeps sending what nobody asked for".into()));
            }
            if self.frame_bytes_left > 0 {
                return self.take_chunk();
            }
            let decoded = match frame::decode(self.inbox.filled(), CONTROL_BYTES_MAX)? {
                Some((frame, used)) => (Decoded::of(frame)?, used),
                None => return Ok(None),
            };
            self.consume(decoded.1);
            self.unwanted_bytes += UNWANTED_FRAME_COST;
            match decoded.0 {
                Decoded::Ping(body) => self.answer_ping(&body)?,
                Decoded::Pong => {}
                Decoded::DataHeader { id, length } => {
                    self.check_turn(id, |answer| answer == Answer::Download)?;
                    self.frame_bytes_left = length;
                }
                Decoded::Event(incoming) => return self.settle(incoming).map(Some),
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.inbox.consume(bytes);
        self.unwanted_bytes += bytes;
    }

    fn answer_ping(&mut self, body: &[u8]) -> Result<(), LinkError> {
        if self.outgoing.queued().len() > PING_QUEUE_MAX {
            return Err(LinkError::Protocol("it pings and does not read the answers".into()));
        }
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Pong, 0, body);
        self.outgoing.push(&bytes);
        Ok(())
    }

    fn take_chunk(&mut self) -> Result<Option<(Incoming, bool)>, LinkError> {
        let Some(front) = self.waiting.front() else {
            return Err(LinkError::Protocol("data that nobody asked for".into()));
        };
        let bytes = self.inbox.filled().len().min(self.frame_bytes_left);
        if bytes == 0 {
            return Ok(None);
        }
        let incoming = Incoming { id: front.id, event: Event::Data };
        let is_abandoned = front.is_abandoned;
        self.chunk_bytes = bytes;
        self.frame_bytes_left -= bytes;
        Ok(Some((incoming, is_abandoned)))
    }

    /// Checks that `incoming` answers the oldest request, and forgets that if it is the end.
    fn settle(&mut self, incoming: Incoming) -> Result<(Incoming, bool), LinkError> {
        if let Event::Reply(Reply::Error(error)) = &incoming.event
            && error.fatal
        {
            self.last_words = Some(error.clone());
            return Err(LinkError::HungUp(error.clone()));
        }
        let is_transfer_end = matches!(incoming.event, Event::End(_) | Event::Aborted(_));
        let front = self.check_turn(incoming.id, |answer| !is_transfer_end || answer == Answer::Download)?;
        let is_abandoned = front.is_abandoned;
        let is_last = match (&incoming.event, front.answer) {
            (Event::Reply(Reply::Error(_)), _) => true,
            (Event::Reply(Reply::Page { last, .. } | Reply::Partials { last, .. }), Answer::Pages) => *last,
            (Event::Reply(Reply::File { .. }), Answer::Download) => false,
            (Event::Reply(Reply::Ready { .. }), Answer::Upload { .. }) => false,
            (Event::Reply(_), Answer::Pages | Answer::Download) => {
                return Err(LinkError::Protocol("an answer of the wrong kind".into()));
            }
            _ => true,
        };
        if is_last {
            self.waiting.pop_front();
        }
        match (self.proof.take(), incoming) {
            (Some((id, judge)), Incoming { id: of, event: Event::Reply(reply) }) if of == id => {
                if let Err(error) = judge(reply.clone()) {
                    // Nothing more is said to whoever this is.
                    self.is_mute = true;
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

    fn check_turn(&self, id: u32, fits: impl Fn(Answer) -> bool) -> Result<&Waiting, LinkError> {
        match self.waiting.front() {
            Some(front) if front.id == id && fits(front.answer) => Ok(front),
            _ => Err(LinkError::Protocol(format!("an answer to request {id} out of turn"))),
        }
    }

    /// Sends and receives once, whatever is possible, and waits up to `patience` if nothing was.
    fn exchange(&mut self, patience: Duration) -> Result<(), LinkError> {
        if self.interrupt.is_set() {
            return Err(LinkError::Interrupted);
        }
        let sent = self.send_some()?;
        let received = self.receive_some()?;
        if sent || received {
            self.silence = Duration::ZERO;
            return Ok(());
        }
        self.mind_silence()?;
        if let Some(on_wait) = &self.on_wait {
            on_wait();
        }
        let began = Instant::now();
        self.pipe.wait(!self.outgoing.is_empty(), patience).map_err(lost)?;
        self.silence += began.elapsed();
        Ok(())
    }

    /// While nothing moves the server is asked whether it is there. What it works on for long does
    /// not keep it from answering; what keeps it from reading does, but never for so long.
    fn mind_silence(&mut self) -> Result<(), LinkError> {
        if self.silence >= self.silence_max {
            return Err(LinkError::Lost(format!("nothing came for {} s", self.silence.as_secs())));
        }
        if self.outgoing.is_empty() && self.last_sent.elapsed() >= PING_INTERVAL {
            self.queue_ping();
        }
        Ok(())
    }

    fn queue_ping(&mut self) {
        self.last_sent = Instant::now();
        let mut ping = Vec::new();
        frame::put_bytes(&mut ping, FrameType::Ping, 0, &[]);
        self.outgoing.push(&ping);
    }

    fn send_some(&mut self) -> Result<bool, LinkError> {
        if self.outgoing.is_empty() {
            return Ok(false);
        }
        if self.is_mute {
            // Nobody will read this; the reason may still be in the inbox.
            self.outgoing.clear();
            return Ok(false);
        }
        match self.pipe.send(self.outgoing.queued()) {
            Ok(count) => {
                self.outgoing.consume(count);
                self.last_sent = Instant::now();
                Ok(count > 0)
            }
            Err(error) if is_transient(&error) => Ok(false),
            Err(_) => {
                self.is_mute = true;
                Ok(true)
            }
        }
    }

    fn closed(&self) -> LinkError {
        match &self.last_words {
            Some(error) => LinkError::HungUp(error.clone()),
            None => LinkError::Lost("the server closed the connection".into()),
        }
    }

    fn receive_some(&mut self) -> Result<bool, LinkError> {
        // Amid a long data frame exactly its rest and the next header are taken, so that files
        // are written in large pieces at round offsets.
        let rest = self.frame_bytes_left + HEADER_BYTES;
        let is_amid_data = self.frame_bytes_left >= LONG_FRAME_BYTES && self.inbox.is_empty();
        let room = self.inbox.room(INBOX_BYTES);
        let room_bytes = if is_amid_data { room.len().min(rest) } else { room.len() };
        let room = &mut room[..room_bytes];
        if room.is_empty() {
            return Ok(false);
        }
        match self.pipe.recv(room) {
            Ok(0) => Err(self.closed()),
            Ok(count) => {
                self.inbox.commit(count);
                Ok(true)
            }
            Err(error) if is_transient(&error) => Ok(false),
            Err(_) if self.last_words.is_some() => Err(self.closed()),
            Err(error) => Err(lost(error)),
        }
    }
}

fn answer_to(request: &Request) -> Answer {
    match request {
        Request::List { .. } | Request::Partials {} => Answer::Pages,
        Request::Get { .. } => Answer::Download,
        Request::Put { .. } => Answer::Upload { is_sent: false },
        _ => Answer::Single,
    }
}

fn cancelled() -> ErrorReply {
    ErrorReply { code: ErrorCode::Cancelled, message: "cancelled by the client".into(), retry: false, fatal: false }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn lost(error: io::Error) -> LinkError {
    LinkError::Lost(error.to_string())
}

/// Received and not yet understood: what still fits in L2 cache between the socket, the hash and
/// the file, and more than the largest control frame.
const INBOX_BYTES: usize = 256 * 1024 + HEADER_BYTES;
/// From here on a data frame is worth a call of its own.
const LONG_FRAME_BYTES: usize = 64 * 1024;
/// Ctrl-C is noticed after this, even where a signal does not end the wait.
const WAIT_MAX: Duration = Duration::from_millis(200);
