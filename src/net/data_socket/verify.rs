//! Verifies that the peer of a data connection with TLS is the session's client: it proves that by
//! resuming a TLS session.
//!
//! The TLS session may belong to another session of the client that has not logged in yet. Until it
//! has, received bytes are withheld from the protocol.

use std::time::{Duration, Instant};

use mio::net::TcpListener;

use super::DataSocket;
use super::state::{DataState, Open, Withheld};
use crate::base::buffers::IoBuffers;
use crate::net::data_socket::DATA_ACCEPTS_PER_TURN;
use crate::net::transport::Transport;
use crate::protocol::data_connection::DataFailure;
use crate::tls::Resumption;

/// How long a data connection waits until the session of its TLS ticket has logged in, and the interval
/// of the checks.
const LOGIN_WAIT_MAX: Duration = Duration::from_secs(5);
const LOGIN_WAIT_STEP: Duration = Duration::from_millis(20);

impl DataSocket {
    /// Checks a connection when its handshake is complete or has failed. Returns true if it does not resume
    /// the client's session and another waiting connection has replaced it. Nothing was sent over it yet.
    pub(super) fn verify_peer(&mut self, has_failed: bool) -> Result<bool, DataFailure> {
        let DataState::Open(open) = &mut self.state else { return Ok(false) };
        if self.resumption.is_some() {
            return Ok(false);
        }
        if !has_failed && open.transport.is_handshaking() {
            self.session_tls.record_handshake(&open.transport);
            return Ok(false);
        }
        let resumption = match has_failed {
            true => Resumption::None,
            false => self.session_tls.resumption(&open.transport),
        };
        let must_be_decided = open.needs > Resumption::None || open.listener.is_some();
        if resumption == Resumption::Undecided && must_be_decided && self.withhold() {
            return Ok(false);
        }
        let DataState::Open(open) = &mut self.state else { return Ok(false) };
        self.resumption = Some(resumption);
        let (listener, needs) = (open.listener.take(), open.needs);
        if resumption >= needs.max(Resumption::Unproved) {
            self.shows_reuse = resumption >= Resumption::Account && self.session_tls.shows_reuse(&open.transport);
            self.release_withheld();
            return Ok(false);
        }
        if let Some(listener) = listener
            && self.replace(listener)?
        {
            return Ok(true);
        }
        if resumption < needs && !has_failed {
            // Bytes that came with the handshake are dropped with it.
            self.buffers = IoBuffers::default();
            return Err(DataFailure::NotResumed);
        }
        self.release_withheld();
        Ok(false)
    }

    /// Withholds received bytes from the protocol until the session of the TLS ticket has logged in: a
    /// client with several sessions may use the newest ticket, of a session that has not logged in yet.
    /// Returns false when the wait has lasted too long.
    pub(super) fn withhold(&mut self) -> bool {
        let DataState::Open(open) = &mut self.state else { return false };
        let now = Instant::now();
        let input = &mut self.buffers.input;
        let withheld =
            open.withheld.get_or_insert_with(|| Withheld { input: std::mem::take(input), since: now, check_at: None });
        withheld.check_at = Some(now + LOGIN_WAIT_STEP);
        now.saturating_duration_since(withheld.since) < LOGIN_WAIT_MAX
    }

    pub(super) fn release_withheld(&mut self) {
        if let DataState::Open(open) = &mut self.state
            && let Some(withheld) = open.withheld.take()
        {
            self.buffers.input = withheld.input;
        }
    }

    pub(super) fn is_withheld(&self) -> bool {
        matches!(&self.state, DataState::Open(open) if open.withheld.is_some())
    }

    /// Replaces a connection that may be another peer's by the next waiting one. At most one of them is the
    /// client's, which resumes a session.
    pub(super) fn replace(&mut self, listener: TcpListener) -> Result<bool, DataFailure> {
        let mut waiting = (0..DATA_ACCEPTS_PER_TURN).map_while(|_| listener.accept().ok());
        let Some((stream, _)) = waiting.find(|(_, from)| from.ip().to_canonical() == self.peer) else {
            return Ok(false);
        };
        let stream = self.watched(stream)?;
        let DataState::Open(open) = &mut self.state else { return Ok(false) };
        let tls = Transport::tls_data(stream, &mut self.session_tls, open.is_upload).map_err(|_| DataFailure::Cut)?;
        *open = Open {
            is_upload: open.is_upload,
            needs: open.needs.max(Resumption::Unproved),
            needs_close_notify: open.needs_close_notify,
            listener: Some(listener),
            is_finishing: open.is_finishing,
            ..Open::plain(tls)
        };
        let unread = self.buffers.input.filled().len();
        self.buffers.input.consume(unread);
        self.resumption = None;
        (self.is_readable, self.is_writable) = (true, true);
        Ok(true)
    }
}
