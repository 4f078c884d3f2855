//! An encrypted stream over any reader and writer. rustls accepts and returns small portions; this
//! buffers received bytes, so that the socket is read in large ones. Decrypted bytes inside rustls are
//! tracked, because no event announces them.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection,
};

use crate::auth::scram::Binding;
use crate::base::buffers::ReceiveBuffer;
use crate::tls::{TLS_BYTES, TLS_OUT_BYTES};

/// The bytes that are copied into a record at once; a full record takes two copies. The C library copies more than this
/// by an instruction that is three times slower on some processors (AMD up to Zen 4, depending on the
/// offset between the buffers). Records themselves have the maximum size: half that size costs a reader
/// that uses OpenSSL two system calls more for each and a third of the rate.
const RECORD_COPY_BYTES: usize = 8 * 1024;
/// The encrypted bytes received at once before login. Records are small then: one is hardly larger than a control
/// frame.
const TLS_BYTES_BEFORE_LOGIN: usize = 4 * 1024;
/// The encrypted bytes received at once until the receive buffer is large, like `INPUT_BYTES_FIRST`.
const TLS_BYTES_FIRST: usize = 8 * 1024;
/// The bytes that a client may send during the TLS handshake. A ClientHello has 300 bytes to 2 KiB, including
/// tickets and post-quantum keys.
const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;
/// The bytes that a client may send before login without the end of a record. A record holds a control frame or a
/// few lines; a larger one would have to be buffered whole.
const RECORD_BYTES_MAX_BEFORE_LOGIN: usize = 8 * 1024;

/// One end of an encrypted connection.
pub struct TlsSession {
    connection: Connection,
    /// Received, not yet decrypted.
    ciphertext: ReceiveBuffer,
    /// Decrypted, still inside rustls.
    plaintext_bytes: usize,
    /// The peer has sent close_notify.
    has_ended: bool,
    /// Whether TLS 1.3 tickets are sent only when this end closes.
    delays_tickets: bool,
    /// Bounds the memory that incomplete messages of the peer use here.
    buffer_limit: BufferLimit,
    /// Bytes received since the last complete message: part of a handshake, or of a record.
    unfinished_bytes: usize,
    /// Encrypted plaintext bytes that were not sent yet.
    unsent_bytes: usize,
}

/// How many bytes of incomplete messages rustls may buffer for a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BufferLimit {
    /// [`HANDSHAKE_BYTES_MAX`], then [`RECORD_BYTES_MAX_BEFORE_LOGIN`]: the peer is not logged in.
    BeforeLogin,
    /// [`HANDSHAKE_BYTES_MAX`], then full-size records: the peer's session is logged in.
    LoggedIn,
    /// The limits of rustls: the peer is the server.
    Unlimited,
}

/// The result of one attempt to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveResult {
    /// This many bytes of plaintext.
    Bytes(usize),
    /// This many bytes of TLS messages or of an incomplete record.
    Progress(usize),
    /// The peer has closed with close_notify.
    End,
}

impl TlsSession {
    /// Makes the server's end.
    pub fn server(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self::new(ServerConnection::new(config).map_err(io::Error::other)?.into(), BufferLimit::BeforeLogin))
    }

    /// Makes the server's end of an upload. Its tickets are sent only when it closes. A client that sends a file and
    /// reads nothing would otherwise close its socket with unread tickets. That resets the connection, and the
    /// last bytes of the file are lost.
    pub fn server_of_upload(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self { delays_tickets: true, ..Self::server(config)? })
    }

    /// Makes the client's end.
    pub fn client(config: Arc<ClientConfig>) -> io::Result<Self> {
        // Neither sent nor compared: a server is identified by its key, not its name.
        let name = ServerName::try_from("berth").map_err(io::Error::other)?;
        Ok(Self::new(ClientConnection::new(config, name).map_err(io::Error::other)?.into(), BufferLimit::Unlimited))
    }

    fn new(mut connection: Connection, buffer_limit: BufferLimit) -> Self {
        connection.set_buffer_limit(Some(TLS_OUT_BYTES));
        Self {
            connection,
            ciphertext: ReceiveBuffer::default(),
            plaintext_bytes: 0,
            has_ended: false,
            delays_tickets: false,
            buffer_limit,
            unfinished_bytes: 0,
            unsent_bytes: 0,
        }
    }

    /// Allows full-size records after login.
    pub fn allow_large_records(&mut self) {
        self.buffer_limit = BufferLimit::LoggedIn;
    }

    /// Receives once, into `room`, which is not empty. An end without close_notify is the error
    /// `UnexpectedEof`, because it may be a truncation. A TLS violation is an error too, and the peer has
    /// been sent an alert.
    pub fn receive(&mut self, socket: &mut (impl Read + Write), room: &mut [u8]) -> io::Result<ReceiveResult> {
        let count = self.decrypt(socket, room)?;
        if count > 0 {
            return Ok(ReceiveResult::Bytes(count));
        }
        if self.has_ended {
            return Ok(ReceiveResult::End);
        }
        let capacity = match self.buffer_limit {
            BufferLimit::BeforeLogin => TLS_BYTES_BEFORE_LOGIN,
            _ if room.len() > TLS_BYTES_FIRST => TLS_BYTES,
            _ => TLS_BYTES_FIRST,
        };
        let received = socket.read(self.ciphertext.room(capacity))?;
        if received == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was cut"));
        }
        self.ciphertext.commit(received);
        match self.decrypt(socket, room)? {
            0 if self.has_ended => Ok(ReceiveResult::End),
            0 => Ok(ReceiveResult::Progress(received)),
            count => Ok(ReceiveResult::Bytes(count)),
        }
    }

    /// Encrypts bytes, which [`TlsSession::flush`] then sends. Returns the number of bytes taken: 0 while
    /// earlier ones wait to be sent, else at most [`TLS_OUT_BYTES`].
    pub fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.connection.wants_write() {
            return Ok(0);
        }
        let mut pieces = [IoSlice::new(&[]); TLS_OUT_BYTES / RECORD_COPY_BYTES];
        for (piece, bytes) in pieces.iter_mut().zip(bytes.chunks(RECORD_COPY_BYTES)) {
            *piece = IoSlice::new(bytes);
        }
        let count = self.connection.writer().write_vectored(&pieces)?;
        self.unsent_bytes += count;
        Ok(count)
    }

    /// Sends encrypted bytes. Returns whether all were sent.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while self.wants_flush() {
            match self.connection.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent_bytes = 0;
        Ok(true)
    }

    /// Returns the bytes of memory that received data uses.
    pub fn received_bytes(&self) -> usize {
        self.ciphertext.uncharged_bytes() + self.plaintext_bytes
    }

    /// Returns the number of bytes that are encrypted and not sent yet, without TLS overhead.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Sends close_notify and flushes. Returns whether it was sent.
    pub fn close(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        self.delays_tickets = false;
        self.connection.send_close_notify();
        self.flush(socket)
    }

    /// Returns whether encrypted bytes wait to be sent.
    pub fn wants_flush(&self) -> bool {
        self.connection.wants_write() && !self.is_delaying()
    }

    /// Returns whether only tickets wait to be sent, and are delayed. Only TLS 1.3 sends tickets after the
    /// handshake.
    fn is_delaying(&self) -> bool {
        self.delays_tickets && !self.connection.is_handshaking() && self.is_tls13()
    }

    /// Returns whether the connection uses TLS 1.3.
    pub fn is_tls13(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Returns whether [`TlsSession::receive`] has bytes that no event will announce.
    pub fn holds_input(&self) -> bool {
        self.plaintext_bytes > 0 || !self.ciphertext.is_empty() || self.has_ended
    }

    /// Returns whether the handshake is incomplete.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Returns whether this connection resumes an earlier one; `None` until the handshake is complete.
    pub fn is_resumed(&self) -> Option<bool> {
        (!self.is_handshaking()).then(|| self.connection.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Returns whether the handshake, complete or not, resumes nothing.
    pub fn is_full_handshake(&self) -> bool {
        self.connection.handshake_kind().is_some_and(|kind| kind != HandshakeKind::Resumed)
    }

    /// Returns the channel binding (RFC 9266), once the handshake is complete.
    pub fn binding(&self) -> io::Result<Binding> {
        if self.connection.alpn_protocol() != Some(super::ALPN) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer speaks another protocol within TLS"));
        }
        let material = self.connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]));
        material.map(Binding::Exporter).map_err(io::Error::other)
    }

    /// Frees unused memory.
    pub fn release(&mut self) {
        self.ciphertext.release();
    }

    fn decrypt(&mut self, socket: &mut impl Write, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < room.len() {
            if self.plaintext_bytes > 0 {
                let count = self.connection.reader().read(&mut room[filled..])?;
                self.plaintext_bytes = self.plaintext_bytes.saturating_sub(count);
                filled += count;
            } else if self.ciphertext.is_empty() || self.has_ended {
                break;
            } else {
                self.feed(socket)?;
            }
        }
        Ok(filled)
    }

    /// Bounds incomplete messages. rustls alone would buffer up to 64 KiB of a handshake.
    fn check_unfinished(&mut self, taken: usize, was_handshaking: bool) -> io::Result<()> {
        let is_handshaking = self.connection.is_handshaking();
        let is_finished = self.plaintext_bytes > 0 || was_handshaking != is_handshaking;
        self.unfinished_bytes = if is_finished { 0 } else { self.unfinished_bytes + taken };
        let limit = match self.buffer_limit {
            BufferLimit::Unlimited => return Ok(()),
            _ if is_handshaking => HANDSHAKE_BYTES_MAX,
            BufferLimit::BeforeLogin => RECORD_BYTES_MAX_BEFORE_LOGIN,
            BufferLimit::LoggedIn => return Ok(()),
        };
        if self.unfinished_bytes > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sends more than it may before login"));
        }
        Ok(())
    }

    /// Passes received bytes to rustls and processes them.
    fn feed(&mut self, socket: &mut impl Write) -> io::Result<()> {
        let was_handshaking = self.connection.is_handshaking();
        let taken = self.connection.read_tls(&mut self.ciphertext.filled())?;
        self.ciphertext.consume(taken);
        let state = self.connection.process_new_packets().map_err(|error| {
            // Sends the alert, if the socket accepts it at once.
            self.delays_tickets = false;
            let _ = self.flush(socket);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?;
        self.plaintext_bytes = state.plaintext_bytes_to_read();
        self.has_ended = state.peer_has_closed();
        self.check_unfinished(taken, was_handshaking)?;
        if taken == 0 && self.plaintext_bytes == 0 && !self.has_ended {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a record without end"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
