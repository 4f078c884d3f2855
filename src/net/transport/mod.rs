//! Moves bytes between a socket and its buffers. Higher layers know neither the socket nor whether it
//! is encrypted.
//!
//! One port serves TLS and plaintext. The first byte decides, and is only peeked at: a TLS handshake
//! begins with 0x16, a frame with the highest byte of its length, which is 0.

use crate::auth::scram::Binding;
use crate::base::buffers::{FileRange, IoBuffers, Piece, ReceiveBuffer, SendBuffer};
use crate::base::limits::{PIECE_BYTES, SEALED_FLUSH_BUDGET};
use crate::tls::{Received, Resumption, Sealed, SessionConfig, TicketKeys};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustls::ServerConfig;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// The transport of a connection.
pub struct Transport {
    socket: Socket,
    layer: Layer,
    /// Whether missing bytes of a truncated file are replaced by zeros, because its length was announced.
    pads: bool,
    /// The write side is shut down.
    is_shut: bool,
    /// The last file that sendfile(2) refused.
    unsendable: Unsendable,
}

/// A file whose file system does not support sendfile(2), so that it is read and written instead.
#[derive(Default)]
struct Unsendable(Option<Weak<dyn AsFd>>);

impl Unsendable {
    fn is(&self, file: &Rc<dyn AsFd>) -> bool {
        // While the weak reference exists, no other file can have this address.
        self.0.as_ref().is_some_and(|known| std::ptr::addr_eq(known.as_ptr(), Rc::as_ptr(file)))
    }

    fn note(&mut self, file: &Rc<dyn AsFd>) {
        self.0 = Some(Rc::downgrade(file));
    }
}

enum Socket {
    Network(TcpStream),
    /// From a program on this machine.
    Local(UnixStream),
}

enum Layer {
    /// The first byte has not come yet.
    Unknown(TlsPolicy),
    /// Plaintext.
    Plain,
    /// Plaintext, which the policy refuses: input is dropped.
    Refused,
    Sealed(Box<Sealed>),
}

/// The TLS policy of network listeners.
#[derive(Clone)]
pub struct TlsPolicy {
    /// The TLS configuration with the server's certificate.
    pub tls: Arc<ServerConfig>,
    /// The same for FTP clients.
    pub ftp_tls: Arc<ServerConfig>,
    /// Whether plaintext is allowed.
    pub allows_plaintext: bool,
}

/// The TLS settings of one FTP session. Each session has its own tickets, which identify the session of
/// a resumed connection.
pub struct FtpTlsSettings {
    shared: Arc<ServerConfig>,
    keys: Arc<TicketKeys>,
    own: Option<SessionConfig>,
    account: Option<u64>,
}

impl FtpTlsSettings {
    /// Settings with the server's certificate. The session's configuration is built on first use.
    pub fn new(shared: Arc<ServerConfig>, keys: Arc<TicketKeys>) -> Self {
        Self { shared, keys, own: None, account: None }
    }

    /// Records the account of the session, by its unique number.
    pub fn set_account(&mut self, account: u64) {
        if self.account != Some(account)
            && let Some(own) = &self.own
        {
            own.set_account(account);
            self.account = Some(account);
        }
    }

    /// Records what a handshake on a data connection has shown so far.
    pub fn note_handshake(&mut self, transport: &Transport) {
        if let (Layer::Sealed(sealed), Some(own)) = (&transport.layer, &mut self.own)
            && sealed.is_full_handshake()
        {
            own.data().forget_ticket();
        }
    }

    /// Returns what a data connection proves after its handshake.
    pub fn resumption(&mut self, transport: &Transport) -> Resumption {
        match (&transport.layer, &mut self.own) {
            (Layer::Sealed(sealed), Some(own)) => own.data().resumption(sealed),
            _ => Resumption::None,
        }
    }

    /// Returns whether this data connection shows that the client can resume any number of times. Call once
    /// for each resumed connection.
    pub fn shows_reuse(&mut self, transport: &Transport) -> bool {
        match (&transport.layer, &mut self.own) {
            (Layer::Sealed(sealed), Some(own)) => own.data().shows_reuse(sealed),
            _ => false,
        }
    }

    fn own(&mut self) -> io::Result<&mut SessionConfig> {
        let own = match self.own.take() {
            Some(own) => own,
            None => SessionConfig::new(&self.shared, &self.keys).map_err(io::Error::other)?,
        };
        Ok(self.own.insert(own))
    }
}

/// The channel that a peer has chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Plaintext.
    Plain,
    /// TLS; a login is bound to it.
    Sealed(Binding),
    /// Plaintext, which the policy refuses.
    Refused,
}

/// The result of one attempt to move bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes moved; more may follow.
    Bytes(usize),
    /// The socket is not ready.
    Blocked,
    /// The peer has closed its side.
    End,
}

impl Transport {
    /// A network peer that has yet to choose.
    pub fn network(stream: TcpStream, tls_policy: TlsPolicy) -> Self {
        Self {
            socket: Socket::Network(stream),
            layer: Layer::Unknown(tls_policy),
            pads: true,
            is_shut: false,
            unsendable: Unsendable::default(),
        }
    }

    /// A peer that has chosen plaintext.
    pub fn plain(stream: TcpStream) -> Self {
        Self {
            socket: Socket::Network(stream),
            layer: Layer::Plain,
            pads: true,
            is_shut: false,
            unsendable: Unsendable::default(),
        }
    }

    /// A control connection that begins with TLS.
    pub fn sealed_control(stream: TcpStream, ftp_tls: &mut FtpTlsSettings) -> io::Result<Self> {
        let mut transport = Self::plain(stream);
        transport.seal_control(ftp_tls)?;
        Ok(transport)
    }

    /// Switches this control connection to TLS.
    pub fn seal_control(&mut self, ftp_tls: &mut FtpTlsSettings) -> io::Result<()> {
        self.layer = Layer::Sealed(Box::new(Sealed::server(Arc::clone(&ftp_tls.own()?.control))?));
        Ok(())
    }

    /// A data connection without TLS. Only its end marks the end of the file, so a truncated file is an
    /// error, `UnexpectedEof`.
    pub fn plain_data(stream: TcpStream) -> Self {
        Self { pads: false, ..Self::plain(stream) }
    }

    /// A data connection with TLS. During an upload the peer reads nothing.
    pub fn sealed_data(stream: TcpStream, ftp_tls: &mut FtpTlsSettings, is_upload: bool) -> io::Result<Self> {
        let own = ftp_tls.own()?.data();
        own.forget_ticket();
        let mut sealed = match is_upload {
            true => Sealed::server_of_upload(Arc::clone(&own.upload))?,
            false => Sealed::server(Arc::clone(&own.download))?,
        };
        sealed.allow_large_records();
        Ok(Self { layer: Layer::Sealed(Box::new(sealed)), ..Self::plain_data(stream) })
    }

    /// A program on this machine.
    pub fn local(stream: UnixStream) -> Self {
        Self {
            socket: Socket::Local(stream),
            layer: Layer::Plain,
            pads: true,
            is_shut: false,
            unsendable: Unsendable::default(),
        }
    }

    /// Returns the socket, for registration.
    pub fn socket(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            Socket::Network(stream) => stream,
            Socket::Local(stream) => stream,
        }
    }

    /// Returns the peer's choice, once it is known and the handshake is complete.
    pub fn channel(&self) -> io::Result<Option<Channel>> {
        match &self.layer {
            Layer::Unknown(_) => Ok(None),
            Layer::Plain => Ok(Some(Channel::Plain)),
            Layer::Refused => Ok(Some(Channel::Refused)),
            Layer::Sealed(sealed) if sealed.is_handshaking() => Ok(None),
            Layer::Sealed(sealed) => sealed.binding().map(|binding| Some(Channel::Sealed(binding))),
        }
    }

    /// Returns whether the handshake is incomplete.
    pub fn is_handshaking(&self) -> bool {
        matches!(&self.layer, Layer::Sealed(sealed) if sealed.is_handshaking())
    }

    /// Returns whether the connection is plaintext.
    pub fn is_plain(&self) -> bool {
        matches!(self.layer, Layer::Plain)
    }

    /// Returns whether [`Transport::fill`] has bytes that no event will announce.
    pub fn holds_input(&self) -> bool {
        matches!(&self.layer, Layer::Sealed(sealed) if sealed.holds_input())
    }

    /// Returns whether [`Transport::flush`] has bytes to send besides the output.
    pub fn wants_flush(&self) -> bool {
        matches!(&self.layer, Layer::Sealed(sealed) if sealed.wants_flush())
    }

    /// Receives once, so that the input holds at most `capacity` bytes. Reads nothing at that size. Some of
    /// the counted bytes may still be inside TLS.
    pub fn fill(&mut self, input: &mut ReceiveBuffer, capacity: usize) -> io::Result<Moved> {
        if let Layer::Unknown(_) = self.layer {
            match self.choose()? {
                Moved::Bytes(1..) => {}
                other => return Ok(other),
            }
        }
        match &mut self.layer {
            Layer::Sealed(sealed) => fill_sealed(sealed, &mut self.socket, input, capacity),
            _ => {
                let room = input.room(capacity);
                if room.is_empty() {
                    return Ok(Moved::Bytes(0));
                }
                let moved = moved(self.socket.read(room))?;
                if let Moved::Bytes(count) = moved {
                    input.commit(count);
                }
                Ok(moved)
            }
        }
    }

    /// Peeks at the first byte.
    fn choose(&mut self) -> io::Result<Moved> {
        let (Layer::Unknown(tls_policy), Socket::Network(stream)) = (&self.layer, &self.socket) else {
            return Ok(Moved::Bytes(1));
        };
        let mut first = [0];
        let moved = moved(stream.peek(&mut first))?;
        if let Moved::Bytes(1..) = moved {
            self.layer = match first {
                [TLS_HANDSHAKE] => Layer::Sealed(Box::new(Sealed::server(Arc::clone(&tls_policy.tls))?)),
                _ if tls_policy.allows_plaintext => Layer::Plain,
                _ => Layer::Refused,
            };
        }
        Ok(moved)
    }

    /// Sends output, about `allowance` bytes at most.
    pub fn flush(&mut self, output: &mut SendBuffer, allowance: usize) -> io::Result<Moved> {
        match &mut self.layer {
            Layer::Sealed(sealed) => flush_sealed(sealed, &mut self.socket, output, allowance.min(SEALED_FLUSH_BUDGET)),
            _ => flush_plain(&mut self.socket, output, allowance, self.pads, &mut self.unsendable),
        }
    }

    /// Shuts down the write side. While [`Transport::wants_flush`] returns true, call it again.
    pub fn shutdown(&mut self) {
        // The peer may be gone already.
        if let Layer::Sealed(sealed) = &mut self.layer
            && !sealed.close(&mut self.socket).unwrap_or(true)
        {
            return;
        }
        // Each call causes an event, even when there is nothing to send: the loop would spin.
        if std::mem::replace(&mut self.is_shut, true) {
            return;
        }
        let _ = match &self.socket {
            Socket::Network(stream) => stream.shutdown(Shutdown::Write),
            Socket::Local(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Allows large records after login.
    pub fn allow_large_records(&mut self) {
        if let Layer::Sealed(sealed) = &mut self.layer {
            sealed.allow_large_records();
        }
    }

    /// Returns the memory of `buffers` and of TLS that no charge covers.
    pub fn uncharged_bytes(&self, buffers: &IoBuffers) -> usize {
        let (received, unsent) = match &self.layer {
            Layer::Sealed(sealed) => (sealed.received_bytes(), sealed.unsent_bytes()),
            _ => (0, 0),
        };
        let (input, output) = (&buffers.input, &buffers.output);
        let received = if input.is_large() { 0 } else { input.uncharged_bytes() + received };
        let unsent = if output.is_large() { 0 } else { output.uncharged_bytes() + unsent };
        received + unsent
    }

    /// Frees memory before a sleep that may be long.
    pub fn release(&mut self) {
        if let Layer::Sealed(sealed) = &mut self.layer {
            sealed.release();
        }
    }
}

fn fill_sealed(
    sealed: &mut Sealed,
    socket: &mut Socket,
    input: &mut ReceiveBuffer,
    capacity: usize,
) -> io::Result<Moved> {
    let room = input.room(capacity);
    if room.is_empty() {
        return Ok(Moved::Bytes(0));
    }
    match sealed.receive(socket, room) {
        Ok(Received::Bytes(count)) => {
            input.commit(count);
            Ok(Moved::Bytes(count))
        }
        Ok(Received::Progress(count)) => Ok(Moved::Bytes(count)),
        Ok(Received::End) => Ok(Moved::End),
        Err(error) => moved(Err(error)),
    }
}

fn flush_sealed(
    sealed: &mut Sealed,
    socket: &mut Socket,
    output: &mut SendBuffer,
    allowance: usize,
) -> io::Result<Moved> {
    let mut sent = 0;
    while sealed.flush(socket)? {
        let taken = match output.front() {
            // During the handshake TLS would only buffer it where it is not counted.
            Some(Piece::Bytes(bytes)) if sent < allowance && !sealed.is_handshaking() => {
                sealed.seal(&bytes[..bytes.len().min(allowance - sent)])?
            }
            // An encrypted connection accepts no ranges.
            Some(Piece::Range(_)) => return Err(io::ErrorKind::Unsupported.into()),
            _ => 0,
        };
        if taken == 0 {
            return Ok(Moved::Bytes(sent));
        }
        output.advance(taken);
        sent += taken;
    }
    Ok(if sent == 0 { Moved::Blocked } else { Moved::Bytes(sent) })
}

fn flush_plain(
    socket: &mut Socket,
    output: &mut SendBuffer,
    allowance: usize,
    pads: bool,
    unsendable: &mut Unsendable,
) -> io::Result<Moved> {
    let mut sent = 0;
    while sent < allowance {
        let moved = match output.front() {
            None => break,
            Some(Piece::Bytes(bytes)) => moved(socket.write(&bytes[..bytes.len().min(allowance - sent)])),
            Some(Piece::Range(range)) => {
                let count = usize::try_from(range.length).unwrap_or(usize::MAX).min(allowance - sent);
                moved(send_range(socket, range, count, unsendable))
            }
        };
        match moved? {
            Moved::Bytes(count) => {
                output.advance(count);
                sent += count;
            }
            // A socket accepts at least a byte or blocks, so the file was truncated.
            Moved::End if pads => output.pad_range(allowance - sent),
            Moved::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Moved::Blocked if sent == 0 => return Ok(Moved::Blocked),
            Moved::Blocked => break,
        }
    }
    Ok(Moved::Bytes(sent))
}

/// Sends up to `count` bytes of a range. Returns 0 if the file was truncated.
fn send_range(socket: &mut Socket, range: &FileRange, count: usize, unsendable: &mut Unsendable) -> io::Result<usize> {
    if !unsendable.is(&range.file) {
        let mut offset = range.offset;
        match rustix::fs::sendfile(socket.as_fd(), &*range.file, Some(&mut offset), count) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::SPIPE | Errno::PERM | Errno::OVERFLOW) => {
                unsendable.note(&range.file);
            }
            sent => return Ok(sent?),
        }
    }
    let mut bytes = Vec::with_capacity(count.min(PIECE_BYTES));
    if rustix::io::pread(&*range.file, spare_capacity(&mut bytes), range.offset)? == 0 {
        return Ok(0);
    }
    // The buffer may be larger than requested.
    socket.write(&bytes[..bytes.len().min(count)])
}

impl Read for Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Network(stream) => stream.read(room),
            Self::Local(stream) => stream.read(room),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Network(stream) => stream.write(bytes),
            Self::Local(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Network(stream) => stream.write_vectored(bytes),
            Self::Local(stream) => stream.write_vectored(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Network(stream) => stream.as_fd(),
            Self::Local(stream) => stream.as_fd(),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn moved(result: io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::Blocked),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Moved::Bytes(0)),
        Err(error) => Err(error),
    }
}

/// The record type that begins a TLS connection (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
