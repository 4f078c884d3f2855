//! Bytes between a socket and a buffers. What is above knows neither the socket nor whether the
//! bytes are encrypted on their way.
//!
//! One port takes both kinds of peers. The first byte tells them apart, without being taken off
//! the socket: a TLS handshake begins with 0x16, a frame with the highest byte of its length,
//! which is 0.

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

/// How bytes travel on a connection.
pub struct Transport {
    socket: Socket,
    layer: Layer,
    /// Whether what is missing of a file that has become shorter is made up for, because its length
    /// was announced.
    pads: bool,
    /// The socket was told that nothing more comes.
    is_shut: bool,
    /// The last file that the kernel could not send by itself.
    unsendable: Unsendable,
}

/// A file whose filesystem does not let the kernel send it, so that it is read and written instead.
#[derive(Default)]
struct Unsendable(Option<Weak<dyn AsFd>>);

impl Unsendable {
    fn is(&self, file: &Rc<dyn AsFd>) -> bool {
        // While the memory is held no other file lies there.
        self.0.as_ref().is_some_and(|known| std::ptr::addr_eq(known.as_ptr(), Rc::as_ptr(file)))
    }

    fn note(&mut self, file: &Rc<dyn AsFd>) {
        self.0 = Some(Rc::downgrade(file));
    }
}

enum Socket {
    Network(TcpStream),
    /// Between programs on this machine.
    Local(UnixStream),
}

enum Layer {
    /// The first byte has not come yet.
    Unknown(TlsPolicy),
    /// As they are.
    Plain,
    /// As they are, which is not allowed: what comes is thrown away.
    Refused,
    Sealed(Box<Sealed>),
}

/// What the network's peers meet.
#[derive(Clone)]
pub struct TlsPolicy {
    /// The server's certificate and how it is used.
    pub tls: Arc<ServerConfig>,
    /// The same for FTP clients.
    pub ftp_tls: Arc<ServerConfig>,
    /// Whether TLS can be done without.
    pub allows_plaintext: bool,
}

/// How the connections of one FTP session are encrypted. Each session has tickets of its own, which
/// tell what a connection belongs to that resumes one.
pub struct FtpTlsSettings {
    shared: Arc<ServerConfig>,
    keys: Arc<TicketKeys>,
    own: Option<SessionConfig>,
    account: Option<u64>,
}

impl FtpTlsSettings {
    /// With the server's certificate. Nothing is made until it is needed.
    pub fn new(shared: Arc<ServerConfig>, keys: Arc<TicketKeys>) -> Self {
        Self { shared, keys, own: None, account: None }
    }

    /// Notes the account that the session has logged in to, by a number that no other account has.
    pub fn set_account(&mut self, account: u64) {
        if self.account != Some(account)
            && let Some(own) = &self.own
        {
            own.set_account(account);
            self.account = Some(account);
        }
    }

    /// Notes what is known of a data connection amid its handshake.
    pub fn note_handshake(&mut self, transport: &Transport) {
        if let (Layer::Sealed(sealed), Some(own)) = (&transport.layer, &mut self.own)
            && sealed.is_full_handshake()
        {
            own.data().forget_ticket();
        }
    }

    /// Returns what a data connection proves whose TLS is agreed on.
    pub fn resumption(&mut self, transport: &Transport) -> Resumption {
        match (&transport.layer, &mut self.own) {
            (Layer::Sealed(sealed), Some(own)) => own.data().resumption(sealed),
            _ => Resumption::None,
        }
    }

    /// Whether the client has shown by this data connection that it can resume any number of times. To be
    /// asked once for each that was resumed.
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

/// What a peer has chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Bytes as they are.
    Plain,
    /// TLS; a login is tied to it by this.
    Sealed(Binding),
    /// Bytes as they are, which is not allowed.
    Refused,
}

/// What came of one attempt to move bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes moved; more may.
    Bytes(usize),
    /// The socket has to become ready first.
    Blocked,
    /// The peer sends no more.
    End,
}

impl Transport {
    /// To a peer of the network, who has yet to choose.
    pub fn network(stream: TcpStream, tls_policy: TlsPolicy) -> Self {
        Self {
            socket: Socket::Network(stream),
            layer: Layer::Unknown(tls_policy),
            pads: true,
            is_shut: false,
            unsendable: Unsendable::default(),
        }
    }

    /// To a peer that has chosen to be without TLS.
    pub fn plain(stream: TcpStream) -> Self {
        Self {
            socket: Socket::Network(stream),
            layer: Layer::Plain,
            pads: true,
            is_shut: false,
            unsendable: Unsendable::default(),
        }
    }

    /// The control connection of a peer that begins with TLS at once.
    pub fn sealed_control(stream: TcpStream, ftp_tls: &mut FtpTlsSettings) -> io::Result<Self> {
        let mut transport = Self::plain(stream);
        transport.seal_control(ftp_tls)?;
        Ok(transport)
    }

    /// What comes from now on over this control connection is TLS.
    pub fn seal_control(&mut self, ftp_tls: &mut FtpTlsSettings) -> io::Result<()> {
        self.layer = Layer::Sealed(Box::new(Sealed::server(Arc::clone(&ftp_tls.own()?.control))?));
        Ok(())
    }

    /// A data connection without TLS. Its end is all that tells how long a file is, so one that
    /// becomes shorter is an error, `UnexpectedEof`.
    pub fn plain_data(stream: TcpStream) -> Self {
        Self { pads: false, ..Self::plain(stream) }
    }

    /// A data connection with TLS; of an upload the peer reads nothing.
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

    /// To a program on this machine.
    pub fn local(stream: UnixStream) -> Self {
        Self {
            socket: Socket::Local(stream),
            layer: Layer::Plain,
            pads: true,
            is_shut: false,
            unsendable: Unsendable::default(),
        }
    }

    /// The socket, for registration.
    pub fn socket(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            Socket::Network(stream) => stream,
            Socket::Local(stream) => stream,
        }
    }

    /// What the peer has chosen, once it is known and TLS is agreed on.
    pub fn channel(&self) -> io::Result<Option<Channel>> {
        match &self.layer {
            Layer::Unknown(_) => Ok(None),
            Layer::Plain => Ok(Some(Channel::Plain)),
            Layer::Refused => Ok(Some(Channel::Refused)),
            Layer::Sealed(sealed) if sealed.is_handshaking() => Ok(None),
            Layer::Sealed(sealed) => sealed.binding().map(|binding| Some(Channel::Sealed(binding))),
        }
    }

    /// Whether TLS has yet to be agreed on.
    pub fn is_handshaking(&self) -> bool {
        matches!(&self.layer, Layer::Sealed(sealed) if sealed.is_handshaking())
    }

    /// Whether bytes travel as they are.
    pub fn is_plain(&self) -> bool {
        matches!(self.layer, Layer::Plain)
    }

    /// Whether [`Transport::fill`] has bytes that no event will announce.
    pub fn holds_input(&self) -> bool {
        matches!(&self.layer, Layer::Sealed(sealed) if sealed.holds_input())
    }

    /// Whether [`Transport::flush`] has bytes to send beyond those in the output.
    pub fn wants_flush(&self) -> bool {
        matches!(&self.layer, Layer::Sealed(sealed) if sealed.wants_flush())
    }

    /// Receives once, so that the input holds at most `capacity` bytes. Nothing is read when it
    /// does already. The bytes counted need not all have reached the input.
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

    /// Looks at the first byte, which stays where it is.
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

    /// Sends what is in the output, at most about `allowance` bytes.
    pub fn flush(&mut self, output: &mut SendBuffer, allowance: usize) -> io::Result<Moved> {
        match &mut self.layer {
            Layer::Sealed(sealed) => flush_sealed(sealed, &mut self.socket, output, allowance.min(SEALED_FLUSH_BUDGET)),
            _ => flush_plain(&mut self.socket, output, allowance, self.pads, &mut self.unsendable),
        }
    }

    /// Tells the peer that nothing more comes. What of that cannot be sent at once,
    /// [`Transport::wants_flush`] says; then this is to be called again.
    pub fn shutdown(&mut self) {
        // A peer that is gone already need not be told.
        if let Layer::Sealed(sealed) = &mut self.layer
            && !sealed.close(&mut self.socket).unwrap_or(true)
        {
            return;
        }
        // Each time makes an event, even if nothing is left to be told: it would go round for ever.
        if std::mem::replace(&mut self.is_shut, true) {
            return;
        }
        let _ = match &self.socket {
            Socket::Network(stream) => stream.shutdown(Shutdown::Write),
            Socket::Local(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Somebody has logged in on this connection.
    pub fn allow_large_records(&mut self) {
        if let Layer::Sealed(sealed) = &mut self.layer {
            sealed.allow_large_records();
        }
    }

    /// Memory of `buffers`, and of what TLS holds for them, that no charge is for.
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

    /// Gives memory back before a sleep that may be long.
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
            // Before TLS is agreed on it would only be kept elsewhere, where nobody sees that it waits.
            Some(Piece::Bytes(bytes)) if sent < allowance && !sealed.is_handshaking() => {
                sealed.seal(&bytes[..bytes.len().min(allowance - sent)])?
            }
            // Nobody puts ranges here, because an encrypted connection says that it sends none.
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
            // A socket takes at least a byte or blocks, so the file has become shorter.
            Moved::End if pads => output.pad_range(allowance - sent),
            Moved::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Moved::Blocked if sent == 0 => return Ok(Moved::Blocked),
            Moved::Blocked => break,
        }
    }
    Ok(Moved::Bytes(sent))
}

/// Sends the first `count` bytes of a range, or fewer; 0 where the file has become shorter.
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
    // There may be more memory than was asked for.
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

/// The type of the record that begins a TLS connection (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
