//! Requests to a server and replies from it, in order. `requests` holds the requests that wait for a reply.
//! `duplex_stream` moves the bytes; it always reads while it writes, because both sides would block for ever if
//! neither read. The link converts between frames and bytes. It knows no files and no terminal.
//!
//! ```text
//! request ──> pending ──(last frame of the reply)──> removed
//!                └─(abandon)──> abandoned: its reply is read and discarded
//! ```

mod duplex_stream;
mod receive;
mod requests;

use std::io;
use std::time::Duration;

use crate::base::buffers::DATA_BYTES_MAX;
use crate::client::connection::stream::Stream;
use crate::client::error::LinkError;
use crate::client::interrupt::{Interrupt, POLL_MAX};
use crate::wire::frame::{self, CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, FrameType, HEADER_BYTES};
use crate::wire::message::{End, ErrorCode, ErrorReply, IN_FLIGHT_MAX, PERMISSIONS_FEATURE, WireLimits};
use crate::wire::{Reply, Request};
use duplex_stream::DuplexStream;
use requests::Requests;

/// A connection to a server that sends requests and receives their replies in order.
pub struct Link {
    stream: DuplexStream,
    /// The bytes at the front of the input that belong to the last
    /// [`Event::Data`](crate::client::connection::incoming::Event::Data).
    chunk_bytes: usize,
    /// The bytes of the current data frame beyond that chunk.
    frame_bytes_left: usize,
    requests: Requests,
    last_id: u32,
    limits: WireLimits,
    keeps_permissions: bool,
    /// The bytes and frame costs that were read since the last frame that a caller waited for. Bounds what a server
    /// can make the client read without a reply.
    unwanted_bytes: usize,
    /// Why the server closed the connection; the next request reports it.
    last_error: Option<ErrorReply>,
    /// The login request whose reply must contain the server's signature (RFC 5802), and the check of that reply.
    pending_login: Option<(u32, LoginCheck)>,
}

/// A function that verifies the server's signature in the reply to a login.
pub type LoginCheck = Box<dyn FnOnce(Reply) -> Result<(), LinkError>>;

impl Drop for Link {
    /// Resets the connection if replies are pending. The server must not carry out old requests while the user's next
    /// connection is in use.
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
            pending_login: None,
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

    /// Lets `login_check` verify the reply to the request `id`. Requests may be sent before that reply arrives:
    /// replies come in order, and none is handed out before the server is proved. Content may not be sent.
    pub fn defer_login_check(&mut self, id: u32, login_check: LoginCheck) {
        self.pending_login = Some((id, login_check));
    }

    /// Waits until the deferred login check has succeeded, if there is one.
    pub fn await_proof(&mut self) -> Result<(), LinkError> {
        while self.pending_login.is_some() {
            // The proof is the first reply that arrives.
            if self.next_frame()?.is_none() {
                self.exchange(POLL_MAX)?;
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
        if self.pending_login.is_some() {
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

    /// Sends queued bytes for at most about `wait_max`. Errors are ignored, because the next request reports
    /// them. Used after a transfer was cancelled.
    pub fn flush_briefly(&mut self, wait_max: Duration) {
        self.stream.flush_briefly(wait_max);
    }

    /// Sends all queued bytes, so that the server can work at the same time as the client. Frames that arrive
    /// meanwhile stay in the input.
    pub fn send_all(&mut self) -> Result<(), LinkError> {
        while !self.stream.send_buffer.is_empty() {
            self.exchange(POLL_MAX)?;
        }
        Ok(())
    }

    /// Returns the bytes of the last [`Event::Data`](crate::client::connection::incoming::Event::Data).
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
}

fn cancelled() -> ErrorReply {
    ErrorReply::new(ErrorCode::Cancelled, "cancelled by the client")
}
