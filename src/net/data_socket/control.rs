//! The calls of the protocol to a data connection.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::DataSocket;
use super::state::{DataState, Open};
use crate::base::buffers::IoBuffers;
use crate::net::data_socket::DATA_ACCEPTS_PER_TURN;
use crate::net::transport::Transport;
use crate::protocol::data_connection::{DataConnection, DataEnd, DataFailure, Security};
use crate::tls::Resumption;

/// The most bytes of a refused upload that are dropped, so that the client reads the reply: curl and ftplib read it
/// after their last byte.
const FTP_DISCARDED_BYTES_MAX: u64 = 256 * 1024 * 1024;

impl DataSocket {
    /// Resets the state of the last transfer.
    fn clear(&mut self) {
        (self.buffers, self.resumption, self.shows_reuse) = (IoBuffers::default(), None, false);
    }

    fn try_open(&mut self, security: Security) -> Result<(), DataFailure> {
        let DataState::Connected { stream, listener } = self.state.take() else { return Err(DataFailure::Cut) };
        let _ = stream.set_nodelay(true);
        (self.is_readable, self.is_writable) = (true, true);
        self.state = DataState::Open(match security {
            Security::Plain => Open::plain(Transport::plain_data(stream)),
            Security::Tls { is_upload, needs, needs_close_notify } => {
                let tls =
                    Transport::tls_data(stream, &mut self.session_tls, is_upload).map_err(|_| DataFailure::Cut)?;
                Open { is_upload, needs, needs_close_notify, listener, ..Open::plain(tls) }
            }
        });
        Ok(())
    }

    fn close_socket(&mut self) {
        match self.state.take() {
            // The peer of a TLS upload may wait for close_notify. If it cannot be sent at once, the server does not
            // wait.
            DataState::Open(Open { mut transport, .. }) => transport.shutdown(),
            // Connections that have come are closed in order. Closing the listener alone would reset them, and some
            // clients would then try another way to connect instead of reading the reply.
            DataState::Listening { listener, .. } => {
                (0..DATA_ACCEPTS_PER_TURN).map_while(|_| listener.accept().ok()).for_each(drop);
            }
            _ => {}
        }
    }

    pub(super) fn reset_socket(&mut self) {
        if let DataState::Open(Open { transport, .. }) = self.state.take() {
            // If the reset cannot be sent, the peer still gets the end and the reply.
            let _ = set_socket_linger(transport, Some(Duration::ZERO));
        }
    }
}

impl DataConnection for DataSocket {
    fn listen(&mut self, ports: RangeInclusive<u16>, expects_resumption: bool) -> Result<SocketAddr, DataFailure> {
        // Close the old listener first: its port may be the only free one.
        self.state = DataState::Closed;
        self.clear();
        self.try_listen(ports, expects_resumption).map_err(|error| {
            log::warn!("no port for a data connection: {error}");
            self.state = DataState::Failed(DataFailure::NoPort);
            DataFailure::NoPort
        })
    }

    fn set_address(&mut self, address: SocketAddr) {
        self.close();
        self.state = DataState::Addressed(address);
    }

    fn is_available(&self) -> bool {
        matches!(self.state, DataState::Addressed(_) | DataState::Listening { .. } | DataState::Connected { .. })
    }

    fn connect(&mut self) -> bool {
        let DataState::Addressed(address) = self.state else { return false };
        self.state = self.try_connect(address).map_or_else(
            |error| {
                log::debug!("no data connection to {address}: {error}");
                DataState::Failed(DataFailure::Unreachable)
            },
            DataState::Connecting,
        );
        true
    }

    fn open(&mut self, security: Security) -> Result<bool, DataFailure> {
        self.check()?;
        let is_connected = matches!(self.state, DataState::Connected { .. });
        if is_connected && let Err(failure) = self.try_open(security) {
            self.state = DataState::Failed(failure);
        }
        Ok(is_connected)
    }

    fn check(&self) -> Result<(), DataFailure> {
        if let DataState::Failed(failure) = self.state { Err(failure) } else { Ok(()) }
    }

    fn finish(&mut self) -> DataEnd {
        match &mut self.state {
            DataState::Open(open) => open.is_finishing = true,
            DataState::Discarding { .. } => return DataEnd::Sent,
            DataState::Ended => return DataEnd::PeerClosed,
            DataState::Failed(_) => {}
            _ => self.state = DataState::Failed(DataFailure::Cut),
        }
        DataEnd::Sending
    }

    fn close(&mut self) {
        self.clear();
        self.close_socket();
    }

    fn reset(&mut self) {
        self.clear();
        self.reset_socket();
    }

    fn discard(&mut self) -> bool {
        if !self.is_open() {
            return false;
        }
        if self.buffers.eof {
            self.close();
            return false;
        }
        self.clear();
        if let DataState::Open(Open { transport, .. }) = self.state.take() {
            self.state = DataState::Discarding { transport, bytes_left: FTP_DISCARDED_BYTES_MAX };
        }
        true
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, DataState::Closed | DataState::Ended)
    }

    fn buffers(&self) -> &IoBuffers {
        &self.buffers
    }

    fn buffers_mut(&mut self) -> &mut IoBuffers {
        &mut self.buffers
    }

    fn ended_at(&self) -> Option<Instant> {
        if let DataState::Open(open) = &self.state { open.ended_at } else { None }
    }

    fn resumption(&self) -> Option<Resumption> {
        self.resumption
    }

    fn shows_reuse(&self) -> bool {
        self.shows_reuse
    }
}
