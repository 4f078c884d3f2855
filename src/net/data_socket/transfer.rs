//! Moves bytes between the kernel and the buffers of an open data connection.

use std::io;
use std::os::fd::AsFd;

use super::DataSocket;
use super::state::{DataState, Open};
use crate::base::buffers::{INPUT_BYTES_FIRST, ReceiveBuffer, STORE_BYTES_MIN, SpliceSource};
use crate::net::transport::Moved;
use crate::protocol::data_connection::DataFailure;

impl DataSocket {
    pub(super) fn receive(&mut self, allowance: usize) -> Result<usize, DataFailure> {
        if self.is_withheld() {
            return Ok(usize::from(self.verify_peer(false)? || !self.is_withheld()));
        }
        let DataState::Open(Open { transport, needs_close_notify, .. }) = &mut self.state else { return Ok(0) };
        if !(self.is_readable || transport.holds_input()) || self.buffers.eof {
            return Ok(0);
        }
        let capacity = self.buffers.input.capacity().min(self.buffers.input.filled().len().saturating_add(allowance));
        let moved = match transport.fill(&mut self.buffers.input, capacity) {
            // During the handshake no end of data can have come.
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof
                    && !*needs_close_notify
                    && !transport.is_handshaking() =>
            {
                Ok(Moved::End)
            }
            moved => moved,
        };
        if self.verify_peer(moved.is_err())? || self.is_withheld() {
            return Ok(1);
        }
        let DataState::Open(open) = &mut self.state else { return Ok(0) };
        open.is_busy |= self.buffers.input.filled().len() >= INPUT_BYTES_FIRST;
        match moved {
            Ok(Moved::Bytes(count)) => return Ok(count),
            Ok(Moved::Blocked) => self.is_readable = false,
            Ok(Moved::End) => {
                self.buffers.eof = true;
                open.ended_at = open.end_event_at;
            }
            Err(error) => {
                log::debug!("a data connection of {} ended: {error}", self.peer);
                return Err(DataFailure::Cut);
            }
        }
        Ok(usize::from(self.buffers.eof))
    }

    /// Returns readable bytes that may be spliced into a file, at most `most`. `None` if they are few or
    /// encrypted.
    pub(in crate::net) fn incoming(&self, most: usize) -> Option<SpliceSource<'_>> {
        let DataState::Open(Open { transport, is_busy: true, .. }) = &self.state else { return None };
        if !self.is_readable || !transport.is_plain() {
            return None;
        }
        let waiting = rustix::io::ioctl_fionread(transport).ok()?;
        let count = usize::try_from(waiting).unwrap_or(usize::MAX).min(most);
        (count >= STORE_BYTES_MIN).then(|| SpliceSource { socket: transport.as_fd(), count })
    }

    /// Drops input that arrives after the end of the transfer, or after its refusal.
    pub(super) fn drop_input(&mut self) -> usize {
        let DataState::Discarding { transport, bytes_left } = &mut self.state else { return 0 };
        let mut input = ReceiveBuffer::default();
        match transport.fill(&mut input, INPUT_BYTES_FIRST) {
            Ok(Moved::Bytes(count)) if count as u64 <= *bytes_left => {
                *bytes_left -= count as u64;
                return count;
            }
            Ok(Moved::Bytes(_)) => return self.fail(DataFailure::Cut),
            Ok(Moved::Blocked) => self.is_readable = false,
            Ok(Moved::End) | Err(_) => {
                // The peer of a TLS upload may wait for close_notify.
                transport.shutdown();
                self.state = DataState::Ended;
                return 1;
            }
        }
        0
    }

    /// Sends output, about `allowance` bytes at most. Returns the number of bytes.
    pub(in crate::net) fn flush(&mut self, allowance: usize) -> usize {
        self.send(allowance).unwrap_or_else(|failure| self.fail(failure))
    }

    pub(super) fn send(&mut self, allowance: usize) -> Result<usize, DataFailure> {
        if !self.is_writable || self.is_withheld() {
            return Ok(0);
        }
        let DataState::Open(Open { transport, .. }) = &mut self.state else { return Ok(0) };
        let mut sent = 0;
        if !self.buffers.output.is_empty() || transport.wants_flush() {
            match transport.flush(&mut self.buffers.output, allowance) {
                Ok(Moved::Bytes(count)) => sent = count,
                Ok(Moved::Blocked | Moved::End) => self.is_writable = false,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(DataFailure::Shorter),
                Err(error) => {
                    log::debug!("a data connection of {} ended: {error}", self.peer);
                    return Err(DataFailure::Cut);
                }
            }
        }
        Ok(sent + self.end())
    }

    /// Closes the stream once all is sent.
    pub(super) fn end(&mut self) -> usize {
        let DataState::Open(Open { transport, is_finishing: true, .. }) = &mut self.state else { return 0 };
        if !self.buffers.output.is_empty() || transport.is_handshaking() {
            return 0;
        }
        transport.shutdown();
        if transport.wants_flush() {
            self.is_writable = false;
            return 0;
        }
        self.state = match self.state.take() {
            // All that the peer sends after the end is dropped.
            DataState::Open(Open { transport, .. }) => DataState::Discarding { transport, bytes_left: u64::MAX },
            other => other,
        };
        1
    }
}
