//! The data connection's part of a turn.

use std::io;
use std::time::{Duration, Instant};

use super::{Connection, DataSocket};
use crate::base::budget::Budget;
use crate::base::buffers::ReceiveBuffer;
use crate::protocol::ProtocolEvent;
use crate::protocol::data_connection::DataConnection;
use crate::session::{Service, Session};

impl Connection {
    /// Receives from the data connection. Returns the number of bytes, or 1 for any other progress. At most
    /// `most` bytes are spliced from the socket into a file.
    pub(super) fn fill_data(&mut self, service: &mut Service, budget: &mut Budget, most: usize, now: Instant) -> usize {
        if self.data.is_none() {
            return 0;
        }
        let Some(allowance) = self.allowance_up(service, now) else { return 0 };
        let mut counts_for_rate = true;
        let mut count = self.store_incoming(service, budget, allowance.min(most), now);
        self.enlarge_data_input();
        if count == 0
            && let Some(data) = &mut self.data
        {
            // Before it is open, no byte belongs to the user: the peer may be unauthenticated.
            counts_for_rate = data.is_open();
            count = data.fill(allowance);
            // A peer that is gone closes both sockets, and the event of the other may not have come yet.
            self.is_readable |= count > 0 && data.buffers().eof;
        }
        if counts_for_rate {
            self.record_up(service, count, now);
        }
        count
    }

    fn store_incoming(&mut self, service: &mut Service, budget: &mut Budget, most: usize, now: Instant) -> usize {
        // Earlier bytes must be stored first.
        let data = self.data.as_ref().filter(|data| data.buffers().input.is_empty());
        let Some(incoming) = data.and_then(|data| data.incoming(most)) else { return 0 };
        self.is_stepping = true;
        let count = incoming.count;
        let stored = self.protocol.store_from(incoming, service, budget);
        self.is_stepping = false;
        stored.unwrap_or_else(|refusal| {
            self.tell(ProtocolEvent::TransferFailed(refusal), now);
            count
        })
    }

    /// Takes the time of the last turn that was spent on unauthenticated peers instead of its user.
    pub fn take_unauthenticated_time(&mut self) -> Duration {
        self.data.as_mut().map_or(Duration::ZERO, |data| data.take_unauthenticated_time())
    }

    /// Tells the data connection its account, once that is known.
    pub(super) fn set_tls_account(&mut self) {
        if let (Some(data), Some(account)) =
            (&mut self.data, self.protocol.session().and_then(Session::active_account_number))
        {
            data.session_tls().set_account(account);
        }
    }

    /// Returns the number of bytes sent, or 1 for any other progress.
    pub(super) fn flush_data(&mut self, service: &Service, budget: usize, now: Instant) -> usize {
        let Some(has_bytes) = self.data.as_ref().map(|data| !data.buffers().output.is_empty()) else { return 0 };
        let allowance = self.allowance_down(service, has_bytes, now).min(budget);
        let Some(data) = &mut self.data else { return 0 };
        let count = data.flush(allowance);
        self.record_down(service, count, now);
        count
    }

    /// Continues the TLS handshake of the data connection before a reply leaves. If its TLS resumes a session,
    /// basic-ftp ends an empty upload at the first reply, and sends no close_notify if the handshake is not
    /// complete by then. This sends no byte of a file.
    pub(super) fn advance_data_handshake(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
        most: usize,
        now: Instant,
    ) -> usize {
        if !self.has_output() {
            return 0;
        }
        // The event of the data connection may come after the command that needs it.
        let mut received = 0;
        if self.protocol.status().awaits_data_connection
            && !self.transport.is_plain()
            && self.data.as_mut().is_some_and(|data| data.expect_connection())
        {
            received = self.fill_data(service, budget, most, now);
            self.step(service, budget, now);
        }
        let is_handshaking = |data: &Option<Box<DataSocket>>| data.as_ref().is_some_and(|data| data.is_handshaking());
        if is_handshaking(&self.data) {
            received += self.fill_data(service, budget, most, now);
        }
        if is_handshaking(&self.data) {
            received += self.flush_data(service, most, now);
        }
        received
    }

    /// Starts TLS once the reply to AUTH is sent. Plaintext received after the command is dropped: it must
    /// not count as encrypted.
    pub(super) fn start_tls(&mut self, now: Instant) -> io::Result<bool> {
        let Some(data) =
            self.data.as_mut().filter(|_| self.protocol.status().wants_tls && self.buffers.output.is_empty())
        else {
            return Ok(false);
        };
        self.transport.start_tls(data.session_tls())?;
        self.buffers.input = ReceiveBuffer::default();
        self.tell(ProtocolEvent::TlsUpgraded, now);
        Ok(true)
    }
}
