//! Sends queued bytes and receives bytes at the same time. While nothing moves, it pings the server. It knows
//! no requests.

use std::io;
use std::time::{Duration, Instant};

use crate::base::buffers::ReceiveBuffer;
use crate::client::connection::send_buffer::SendBuffer;
use crate::client::connection::stream::{SILENCE_MAX, Stream};
use crate::client::error::{LinkError, Loss};
use crate::client::interrupt::Interrupt;
use crate::wire::frame::{self, FrameType, HEADER_BYTES};

/// The interval of a client's pings while it works for a long time without a request, so that the server's stall
/// timeout does not end the session.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// A stream that sends and receives at once.
pub(super) struct DuplexStream {
    stream: Box<dyn Stream>,
    pub(super) input: ReceiveBuffer,
    pub(super) send_buffer: SendBuffer,
    last_sent: Instant,
    /// The time spent waiting since bytes were last sent or received.
    silence: Duration,
    pub(super) silence_max: Duration,
    /// Called whenever no byte can be sent or received.
    pub(super) on_wait: Option<Box<dyn Fn()>>,
    pub(super) interrupt: Interrupt,
    /// Sending has failed or must stop. The input may still hold what the server sent before.
    pub(super) cannot_send: bool,
}

impl DuplexStream {
    pub(super) fn new(stream: Box<dyn Stream>, interrupt: Interrupt) -> Self {
        Self {
            stream,
            input: ReceiveBuffer::default(),
            send_buffer: SendBuffer::default(),
            last_sent: Instant::now(),
            silence: Duration::ZERO,
            silence_max: SILENCE_MAX,
            on_wait: None,
            interrupt,
            cannot_send: false,
        }
    }

    /// Returns the number of queued bytes that the kernel has not taken yet.
    pub(super) fn queued_bytes(&self) -> usize {
        self.send_buffer.queued().len()
    }

    /// Pings the server when a ping is due. A caller that works for a long time without a request calls this
    /// repeatedly. Returns true if Ctrl-C was pressed.
    pub(super) fn keep_alive(&mut self) -> bool {
        if self.last_sent.elapsed() >= PING_INTERVAL {
            self.queue_ping();
            // If this fails, the next request fails too and reports the error.
            let _ = self.send_some();
        }
        self.interrupt.is_set()
    }

    /// Sends queued bytes for at most about `wait_max`. Errors are ignored, because the next request reports
    /// them. Used after a transfer was cancelled.
    pub(super) fn flush_briefly(&mut self, wait_max: Duration) {
        let deadline = Instant::now() + wait_max;
        while !self.send_buffer.is_empty() && Instant::now() < deadline && !self.interrupt.is_set() {
            if !matches!(self.send_some(), Ok(true)) && self.stream.wait(true, wait_max / 10).is_err() {
                return;
            }
        }
    }

    /// Ends the connection with a reset when it is dropped: [`Stream::end_with_reset`].
    pub(super) fn end_with_reset(&mut self) {
        self.stream.end_with_reset();
    }

    /// Sends and receives once as far as possible. If nothing moved, waits up to `wait_max`.
    pub(super) fn exchange(&mut self, wait_max: Duration, frame_bytes_left: usize) -> Result<(), LinkError> {
        if self.interrupt.is_set() {
            return Err(LinkError::Interrupted);
        }
        let sent = self.send_some()?;
        let received = self.receive_some(frame_bytes_left)?;
        if sent || received {
            self.silence = Duration::ZERO;
            return Ok(());
        }
        self.check_silence()?;
        if let Some(on_wait) = &self.on_wait {
            on_wait();
        }
        let began = Instant::now();
        self.stream.wait(!self.send_buffer.is_empty(), wait_max).map_err(lost)?;
        self.silence += began.elapsed();
        Ok(())
    }

    /// Pings the server while nothing moves. The server answers a ping even during a long computation. While it
    /// does not read its input it cannot answer, but that never lasts `silence_max`.
    fn check_silence(&mut self) -> Result<(), LinkError> {
        if self.silence >= self.silence_max {
            return Err(LinkError::Lost(Loss::NoAnswer(self.silence_max.as_secs())));
        }
        if self.send_buffer.is_empty() && self.last_sent.elapsed() >= PING_INTERVAL {
            self.queue_ping();
        }
        Ok(())
    }

    fn queue_ping(&mut self) {
        self.last_sent = Instant::now();
        let mut ping = Vec::new();
        frame::put_bytes(&mut ping, FrameType::Ping, 0, &[]);
        self.send_buffer.push(&ping);
    }

    fn send_some(&mut self) -> Result<bool, LinkError> {
        if self.send_buffer.is_empty() {
            return Ok(false);
        }
        if self.cannot_send {
            // The server will not read these bytes. The input may still hold its reason.
            self.send_buffer.clear();
            return Ok(false);
        }
        match self.stream.send(self.send_buffer.queued()) {
            Ok(count) => {
                self.send_buffer.consume(count);
                self.last_sent = Instant::now();
                Ok(count > 0)
            }
            Err(error) if is_transient(&error) => Ok(false),
            Err(_) => {
                self.cannot_send = true;
                Ok(true)
            }
        }
    }

    /// Receives bytes that have arrived. Returns whether there were any. `frame_bytes_left` is the rest of the
    /// current data frame.
    pub(super) fn receive_some(&mut self, frame_bytes_left: usize) -> Result<bool, LinkError> {
        // Within a long data frame, read exactly its rest and the next header. Files are then written in large
        // pieces at round offsets.
        let rest = frame_bytes_left + HEADER_BYTES;
        let is_amid_data = frame_bytes_left >= LONG_FRAME_BYTES && self.input.is_empty();
        let room = self.input.room(INPUT_BYTES);
        let room_bytes = if is_amid_data { room.len().min(rest) } else { room.len() };
        let room = &mut room[..room_bytes];
        if room.is_empty() {
            return Ok(false);
        }
        match self.stream.recv(room) {
            Ok(0) => Err(LinkError::Lost(Loss::Closed)),
            Ok(count) => {
                self.input.commit(count);
                Ok(true)
            }
            Err(error) if is_transient(&error) => Ok(false),
            Err(error) => Err(lost(error)),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn lost(error: io::Error) -> LinkError {
    LinkError::Lost(error.into())
}

/// The size of the input buffer. It still fits in the L2 cache between the socket, the hash and the file, and
/// it exceeds the largest control frame.
const INPUT_BYTES: usize = 256 * 1024 + HEADER_BYTES;
/// The rest of a data frame that is long enough for a system call of its own.
const LONG_FRAME_BYTES: usize = 64 * 1024;
