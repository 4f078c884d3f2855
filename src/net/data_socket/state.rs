//! The states of a data connection, each with what it needs.
//!
//! ```text
//! Closed ─listen────► Listening ─────────────┬► Connected ─open─► Open ─finish, discard─► Discarding ─► Ended
//!        ─addressed─► Addressed ► Connecting ┘
//! any ─close, reset─► Closed                   any ─► Failed
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use mio::net::{TcpListener, TcpStream};

use crate::base::buffers::ReceiveBuffer;
use crate::net::transport::Transport;
use crate::protocol::data_connection::DataFailure;
use crate::tls::Resumption;

/// The state of a data connection.
pub(super) enum DataState {
    /// There is no socket.
    Closed,
    /// The peer may connect. If `expects_resumption` is set, the listener stays open for further connections: the client
    /// has resumed a TLS session before, so a connection that does not may be another peer's.
    Listening { listener: TcpListener, expects_resumption: bool },
    /// The peer waits for a connection at this address.
    Addressed(SocketAddr),
    /// The peer has not answered yet.
    Connecting(TcpStream),
    /// The peer is connected. Nothing was read or written yet.
    Connected { stream: TcpStream, listener: Option<TcpListener> },
    /// Bytes are transferred.
    Open(Open),
    /// All is sent, or an upload was refused. Remaining input is dropped until the peer closes, at most this many
    /// bytes.
    Discarding { transport: Transport, bytes_left: u64 },
    /// The peer has closed its side as well.
    Ended,
    /// It has failed.
    Failed(DataFailure),
}

/// An open data connection.
pub(super) struct Open {
    pub(super) transport: Transport,
    pub(super) is_upload: bool,
    pub(super) needs: Resumption,
    pub(super) needs_close_notify: bool,
    /// The listener for further connections, until the handshake is complete.
    pub(super) listener: Option<TcpListener>,
    /// Present while the connection may be another peer's.
    pub(super) withheld: Option<Withheld>,
    /// A large part of the buffer was filled at once.
    pub(super) is_busy: bool,
    /// The output holds all that will be sent.
    pub(super) is_finishing: bool,
    /// When the event of the peer's end of data arrived. The bytes before the end may still be unread.
    pub(super) end_event_at: Option<Instant>,
    /// The value of `end_event_at`, once the end was read.
    pub(super) ended_at: Option<Instant>,
}

/// Bytes received during the handshake, which the protocol does not see yet.
pub(super) struct Withheld {
    pub(super) input: ReceiveBuffer,
    pub(super) since: Instant,
    /// When to check again whether the resumed session has logged in.
    pub(super) check_at: Option<Instant>,
}

impl Open {
    /// Makes a connection that neither uses TLS nor proves anything.
    pub(super) fn plain(transport: Transport) -> Self {
        Self {
            transport,
            is_upload: false,
            needs: Resumption::None,
            needs_close_notify: false,
            listener: None,
            withheld: None,
            is_busy: false,
            is_finishing: false,
            end_event_at: None,
            ended_at: None,
        }
    }
}

impl DataState {
    /// Leaves this state for good and returns it with its data.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Closed)
    }
}
