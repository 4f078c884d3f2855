//! The data connection of an FTP session: it listens or connects, verifies that the peer is the
//! session's client, and moves bytes between the kernel and the protocol.

use crate::base::buffers::{IoBuffers, ReceiveBuffer, SpliceSource};
use crate::base::limits::{
    DATA_ACCEPTS_PER_TURN, DATA_PORT_TRIES, FTP_DISCARDED_BYTES_MAX, INPUT_BYTES_FIRST, STORE_BYTES_MIN,
};
use crate::logging::{self, STDERR};
use crate::net::listeners::is_of_one_connection;
use crate::net::transport::{FtpTlsSettings, Moved, Transport};
use crate::protocol::data_connection::{ConnectionStage, DataConnection, Failure, Security};
use crate::session::origin::Origin;
use crate::tls::Resumption;
use log::Level;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::set_socket_linger;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The state machine of a data connection.
pub(super) struct DataSocket {
    /// The addresses of the control connection, local and remote.
    local: IpAddr,
    peer: IpAddr,
    /// The interface of both connections if their addresses are link-local; else 0.
    scope: u32,
    /// The TLS settings of both connections.
    ftp_tls: FtpTlsSettings,
    watch: SocketWatch,
    state: SocketState,
    /// Received bytes and bytes to send.
    buffers: IoBuffers,
    /// When the peer's end arrived, if that was noticed before it was read.
    ended_at: Option<Instant>,
    /// What the data connection proves by resuming a TLS session, once known.
    resumption: Option<Resumption>,
    /// The client has shown that it can resume sessions any number of times.
    shows_reuse: bool,
    /// When to check again whether the resumed session has logged in.
    undecided_until: Option<Instant>,
    /// Several connections are accepted while it listens: the client has resumed a session before, so one
    /// that does not may be another peer's.
    expects_resumption: bool,
    is_readable: bool,
    is_writable: bool,
    is_busy: bool,
    /// When the peer's end arrived. It is read after all bytes before it.
    ended: Option<Instant>,
    strangers_took: Duration,
    /// How many bytes of a refused upload are still dropped.
    discards_bytes: u64,
}

enum SocketState {
    Closed,
    Listening(TcpListener),
    Connecting(TcpStream),
    /// The listener stays open for further connections, see [`DataSocket::expects_resumption`].
    Connected(TcpStream, Option<TcpListener>),
    Open(Open),
    /// All is sent, or a transfer was refused. Remaining input is dropped until the peer closes.
    Lingering(Transport),
    /// The peer has closed its side as well.
    Left,
    Failed(Failure),
}

/// An open data connection.
struct Open {
    transport: Transport,
    is_upload: bool,
    needs: Resumption,
    needs_close_notify: bool,
    /// Bytes that came during the handshake of a connection that may be another peer's, and their time.
    withheld: Option<(ReceiveBuffer, Instant)>,
    /// The listener for further connections, until the handshake is complete.
    listener: Option<TcpListener>,
    /// The output holds all that will be sent.
    is_finishing: bool,
}

/// The registry, and the token of a slot's data connection.
pub(super) struct SocketWatch {
    pub(super) registry: Rc<Registry>,
    pub(super) token: Token,
}

impl DataSocket {
    /// Makes a closed data connection for a session between these addresses.
    pub(super) fn new(local: SocketAddr, peer: IpAddr, ftp_tls: FtpTlsSettings, watch: SocketWatch) -> Self {
        Self {
            local: local.ip().to_canonical(),
            peer,
            scope: if let SocketAddr::V6(local) = local { local.scope_id() } else { 0 },
            ftp_tls,
            watch,
            state: SocketState::Closed,
            buffers: IoBuffers::default(),
            ended_at: None,
            resumption: None,
            shows_reuse: false,
            undecided_until: None,
            expects_resumption: false,
            is_readable: false,
            is_writable: false,
            is_busy: false,
            ended: None,
            strangers_took: Duration::ZERO,
            discards_bytes: u64::MAX,
        }
    }

    /// Returns the TLS settings.
    pub(super) fn ftp_tls(&mut self) -> &mut FtpTlsSettings {
        &mut self.ftp_tls
    }

    /// Records an event; does no I/O.
    pub(super) fn mark(&mut self, readable: bool, writable: bool, ended: Option<Instant>) {
        self.is_readable |= readable;
        self.is_writable |= writable;
        self.ended = self.ended.or(ended);
    }

    /// Clears a timer that has expired.
    pub(super) fn begin_turn(&mut self, now: Instant) {
        self.undecided_until = self.undecided_until.filter(|until| *until > now);
    }

    /// Marks the listener as ready before its event arrives. Returns whether it listens.
    pub(super) fn expect_connection(&mut self) -> bool {
        let is_listening = matches!(self.state, SocketState::Listening(_));
        self.is_readable |= is_listening;
        is_listening
    }

    /// Returns when it needs a turn without an event.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.undecided_until
    }

    /// Resets the state of the last transfer.
    fn clear(&mut self) {
        self.discards_bytes = u64::MAX;
        (self.buffers, self.ended_at, self.resumption) = (IoBuffers::default(), None, None);
        (self.shows_reuse, self.undecided_until) = (false, None);
    }

    fn try_listen(&mut self, ports: RangeInclusive<u16>) -> io::Result<SocketAddr> {
        let mut listener = self.listen_within(&ports)?;
        self.watch.registry.register(&mut listener, self.watch.token, Interest::READABLE)?;
        let address = listener.local_addr()?;
        (self.is_readable, self.is_writable) = (false, false);
        self.state = SocketState::Listening(listener);
        Ok(address)
    }

    /// Tries a bounded number of ports, so that a full range does not stall the loop: a random one, then
    /// distant ones, because ports in use are often adjacent.
    fn listen_within(&self, ports: &RangeInclusive<u16>) -> io::Result<TcpListener> {
        let count = u32::from(*ports.end() - *ports.start()) + 1;
        let first = getrandom::u32()? % count;
        let mut result = Err(io::ErrorKind::AddrInUse.into());
        for number in 0..count.min(DATA_PORT_TRIES) {
            let port = ports.start() + ((first + number * DATA_PORT_STRIDE) % count) as u16;
            result = TcpListener::bind(self.on_link(self.local, port));
            match &result {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                _ => break,
            }
        }
        result
    }

    fn on_link(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match ip {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope).into(),
        }
    }

    fn try_connect(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.on_link(address.ip(), address.port()))?;
        self.watch.registry.register(&mut stream, self.watch.token, Interest::READABLE | Interest::WRITABLE)?;
        (self.is_readable, self.is_writable) = (false, false);
        self.state = SocketState::Connecting(stream);
        Ok(())
    }

    fn try_open(&mut self, security: Security) -> Result<(), Failure> {
        let SocketState::Connected(stream, listener) = std::mem::replace(&mut self.state, SocketState::Closed) else {
            return Err(Failure::Cut);
        };
        let _ = stream.set_nodelay(true);
        (self.is_readable, self.is_writable, self.is_busy, self.ended) = (true, true, false, None);
        let open = |transport| Open {
            transport,
            is_upload: false,
            needs: Resumption::None,
            needs_close_notify: false,
            withheld: None,
            listener: None,
            is_finishing: false,
        };
        self.state = SocketState::Open(match security {
            Security::Plain => open(Transport::plain_data(stream)),
            Security::Sealed { is_upload, needs, needs_close_notify } => {
                let sealed = Transport::sealed_data(stream, &mut self.ftp_tls, is_upload).map_err(|_| Failure::Cut)?;
                Open { is_upload, needs, needs_close_notify, listener, ..open(sealed) }
            }
        });
        Ok(())
    }

    fn close_socket(&mut self) {
        match &mut self.state {
            // The peer of a TLS upload may wait for close_notify. If it cannot be sent at once, the server does not
            // wait.
            SocketState::Open(Open { transport, .. }) => transport.shutdown(),
            // Connections that have come are closed in order. Closing the listener alone would reset them, and some
            // clients would then try another way to connect instead of reading the reply.
            SocketState::Listening(listener) => {
                (0..DATA_ACCEPTS_PER_TURN).map_while(|_| listener.accept().ok()).for_each(drop);
            }
            _ => {}
        }
        self.state = SocketState::Closed;
    }

    fn reset_socket(&mut self) {
        if let SocketState::Open(Open { transport, .. }) = &self.state {
            // If the reset cannot be sent, the peer still gets the end and the reply.
            let _ = set_socket_linger(transport, Some(Duration::ZERO));
        }
        self.state = SocketState::Closed;
    }

    // ---- Moving bytes ---------------------------------------------------------------------

    /// Accepts, connects, or receives at most `allowance` bytes. Returns the number of bytes, or 1 for any
    /// other progress.
    pub(super) fn fill(&mut self, allowance: usize) -> usize {
        let result = match &mut self.state {
            SocketState::Listening(_) => self.accept(),
            SocketState::Connecting(_) => self.take_connection(),
            SocketState::Open(_) => self.receive(allowance),
            SocketState::Lingering(_) => Ok(self.linger()),
            SocketState::Closed | SocketState::Connected(..) | SocketState::Left | SocketState::Failed(_) => Ok(0),
        };
        result.unwrap_or_else(|failure| self.fail(failure))
    }

    /// Accepts the first connection from the client's address and closes others.
    fn accept(&mut self) -> Result<usize, Failure> {
        let SocketState::Listening(listener) = &self.state else { return Ok(0) };
        let mut began = Instant::now();
        for _ in 0..DATA_ACCEPTS_PER_TURN {
            if !self.is_readable {
                return Ok(0);
            }
            match listener.accept() {
                Ok((stream, from)) if from.ip().to_canonical() == self.peer => {
                    let stream = self.watched(stream)?;
                    self.state = match std::mem::replace(&mut self.state, SocketState::Closed) {
                        SocketState::Listening(listener) if self.expects_resumption => {
                            SocketState::Connected(stream, Some(listener))
                        }
                        _ => SocketState::Connected(stream, None),
                    };
                    return Ok(1);
                }
                Ok((_, from)) => {
                    self.refuse(from);
                    let now = Instant::now();
                    self.strangers_took += now.saturating_duration_since(std::mem::replace(&mut began, now));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) if is_of_one_connection(&error) => {
                    log::debug!("a data connection of {} failed: {error}", self.peer);
                }
                // Without descriptors or memory a retry would fail at once, for ever.
                Err(error) => {
                    log::warn!("cannot accept a data connection of {}: {error}", self.peer);
                    return Err(Failure::NoPort);
                }
            }
        }
        Ok(1)
    }

    fn watched(&self, mut stream: TcpStream) -> Result<TcpStream, Failure> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.watch.registry.register(&mut stream, self.watch.token, interest).map_err(|_| Failure::NoPort)?;
        Ok(stream)
    }

    /// Limited, because any peer can cause these lines.
    fn refuse(&self, from: SocketAddr) {
        let origin = Origin::of(from.ip()).networks().next_back();
        let line = format!("a data connection of {} from {from} was refused", self.peer);
        logging::log_repeatable(STDERR, Level::Warn, (&"data connection", &origin), &line);
    }

    /// Returns whether the user's bytes can move.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, SocketState::Open(_))
    }

    /// Returns whether input may be waiting that is dropped.
    pub(super) fn discards(&self) -> bool {
        matches!(self.state, SocketState::Lingering(_)) && self.is_readable
    }

    /// Returns whether the TLS handshake is incomplete.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.state, SocketState::Open(Open { transport, .. }) if transport.is_handshaking())
    }

    /// Takes the time spent on unauthenticated peers.
    pub(super) fn take_strangers_time(&mut self) -> Duration {
        std::mem::take(&mut self.strangers_took)
    }

    fn take_connection(&mut self) -> Result<usize, Failure> {
        if !self.is_writable {
            return Ok(0);
        }
        let SocketState::Connecting(stream) = std::mem::replace(&mut self.state, SocketState::Closed) else {
            return Ok(0);
        };
        if !matches!(stream.take_error(), Ok(None)) || stream.peer_addr().is_err() {
            return Err(Failure::Unreachable);
        }
        self.state = SocketState::Connected(stream, None);
        Ok(1)
    }

    fn receive(&mut self, allowance: usize) -> Result<usize, Failure> {
        if self.is_withheld() {
            return Ok(usize::from(self.is_foreign(false)? || !self.is_withheld()));
        }
        let SocketState::Open(Open { transport, needs_close_notify, .. }) = &mut self.state else { return Ok(0) };
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
        if self.is_foreign(moved.is_err())? || self.is_withheld() {
            return Ok(1);
        }
        self.is_busy |= self.buffers.input.filled().len() >= INPUT_BYTES_FIRST;
        match moved {
            Ok(Moved::Bytes(count)) => return Ok(count),
            Ok(Moved::Blocked) => self.is_readable = false,
            Ok(Moved::End) => {
                self.buffers.eof = true;
                self.ended_at = self.ended;
            }
            Err(error) => {
                log::debug!("a data connection of {} ended: {error}", self.peer);
                return Err(Failure::Cut);
            }
        }
        Ok(usize::from(self.buffers.eof))
    }

    /// Checks a connection when its handshake is complete or has failed. Returns true if it does not resume
    /// the client's session and another waiting connection has replaced it. Nothing was sent over it yet.
    fn is_foreign(&mut self, has_failed: bool) -> Result<bool, Failure> {
        let SocketState::Open(open) = &mut self.state else { return Ok(false) };
        if self.resumption.is_some() {
            return Ok(false);
        }
        if !has_failed && open.transport.is_handshaking() {
            self.ftp_tls.note_handshake(&open.transport);
            return Ok(false);
        }
        let resumption = match has_failed {
            true => Resumption::None,
            false => self.ftp_tls.resumption(&open.transport),
        };
        let is_picky = open.needs > Resumption::None || open.listener.is_some();
        if resumption == Resumption::Undecided && is_picky && self.withhold() {
            return Ok(false);
        }
        let SocketState::Open(open) = &mut self.state else { return Ok(false) };
        self.resumption = Some(resumption);
        let (listener, needs) = (open.listener.take(), open.needs);
        if resumption >= needs.max(Resumption::Unproved) {
            self.shows_reuse = resumption >= Resumption::Account && self.ftp_tls.shows_reuse(&open.transport);
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
            return Err(Failure::NotResumed);
        }
        self.release_withheld();
        Ok(false)
    }

    /// Withholds received bytes from the protocol until the resumed session has logged in: a client with
    /// several sessions may use the newest ticket of one that has not. Returns whether the wait may
    /// continue.
    fn withhold(&mut self) -> bool {
        let SocketState::Open(open) = &mut self.state else { return false };
        let now = Instant::now();
        let (_, since) = open.withheld.get_or_insert_with(|| (std::mem::take(&mut self.buffers.input), now));
        self.undecided_until = Some(now + LOGIN_WAIT_STEP);
        now.saturating_duration_since(*since) < LOGIN_WAIT_MAX
    }

    fn release_withheld(&mut self) {
        if let SocketState::Open(open) = &mut self.state
            && let Some((input, _)) = open.withheld.take()
        {
            self.buffers.input = input;
        }
    }

    fn is_withheld(&self) -> bool {
        matches!(&self.state, SocketState::Open(open) if open.withheld.is_some())
    }

    /// Replaces a connection that may be another peer's by the next waiting one. At most one of them is the
    /// client's, which resumes a session.
    fn replace(&mut self, listener: TcpListener) -> Result<bool, Failure> {
        let mut waiting = (0..DATA_ACCEPTS_PER_TURN).map_while(|_| listener.accept().ok());
        let Some((stream, _)) = waiting.find(|(_, from)| from.ip().to_canonical() == self.peer) else {
            return Ok(false);
        };
        let stream = self.watched(stream)?;
        let SocketState::Open(open) = &mut self.state else { return Ok(false) };
        let sealed = Transport::sealed_data(stream, &mut self.ftp_tls, open.is_upload).map_err(|_| Failure::Cut)?;
        open.needs = open.needs.max(Resumption::Unproved);
        (open.transport, open.withheld, open.listener) = (sealed, None, Some(listener));
        let unread = self.buffers.input.filled().len();
        self.buffers.input.consume(unread);
        (self.resumption, self.ended_at) = (None, None);
        (self.is_readable, self.is_writable, self.is_busy, self.ended) = (true, true, false, None);
        Ok(true)
    }

    /// Returns readable bytes that may be spliced into a file, at most `most`. `None` if they are few or
    /// encrypted.
    pub(super) fn incoming(&self, most: usize) -> Option<SpliceSource<'_>> {
        let SocketState::Open(Open { transport, .. }) = &self.state else { return None };
        if !self.is_busy || !self.is_readable || !transport.is_plain() {
            return None;
        }
        let waiting = rustix::io::ioctl_fionread(transport).ok()?;
        let count = usize::try_from(waiting).unwrap_or(usize::MAX).min(most);
        (count >= STORE_BYTES_MIN).then(|| SpliceSource { socket: transport.as_fd(), count })
    }

    /// Drops input that arrives after the end of the transfer.
    fn linger(&mut self) -> usize {
        let SocketState::Lingering(transport) = &mut self.state else { return 0 };
        let mut input = ReceiveBuffer::default();
        match transport.fill(&mut input, INPUT_BYTES_FIRST) {
            Ok(Moved::Bytes(count)) if count as u64 <= self.discards_bytes => {
                self.discards_bytes -= count as u64;
                return count;
            }
            Ok(Moved::Bytes(_)) => return self.fail(Failure::Cut),
            Ok(Moved::Blocked) => self.is_readable = false,
            Ok(Moved::End) | Err(_) => {
                // The peer of a TLS upload may wait for close_notify.
                transport.shutdown();
                self.state = SocketState::Left;
                return 1;
            }
        }
        0
    }

    /// Sends output, about `allowance` bytes at most. Returns the number of bytes.
    pub(super) fn flush(&mut self, allowance: usize) -> usize {
        self.send(allowance).unwrap_or_else(|failure| self.fail(failure))
    }

    fn send(&mut self, allowance: usize) -> Result<usize, Failure> {
        if !self.is_writable || self.is_withheld() {
            return Ok(0);
        }
        let SocketState::Open(Open { transport, .. }) = &mut self.state else { return Ok(0) };
        let mut sent = 0;
        if !self.buffers.output.is_empty() || transport.wants_flush() {
            match transport.flush(&mut self.buffers.output, allowance) {
                Ok(Moved::Bytes(count)) => sent = count,
                Ok(Moved::Blocked | Moved::End) => self.is_writable = false,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Failure::Shorter),
                Err(error) => {
                    log::debug!("a data connection of {} ended: {error}", self.peer);
                    return Err(Failure::Cut);
                }
            }
        }
        Ok(sent + self.end())
    }

    /// Closes the stream once all is sent.
    fn end(&mut self) -> usize {
        let SocketState::Open(Open { transport, is_finishing: true, .. }) = &mut self.state else { return 0 };
        if !self.buffers.output.is_empty() || transport.is_handshaking() {
            return 0;
        }
        transport.shutdown();
        if transport.wants_flush() {
            self.is_writable = false;
            return 0;
        }
        self.state = match std::mem::replace(&mut self.state, SocketState::Closed) {
            SocketState::Open(open) => SocketState::Lingering(open.transport),
            other => other,
        };
        1
    }

    fn fail(&mut self, failure: Failure) -> usize {
        self.reset_socket();
        self.state = SocketState::Failed(failure);
        1
    }

    /// Returns the bytes of memory that no charge covers, see [`Transport::uncharged_bytes`].
    pub(super) fn uncharged_bytes(&self) -> usize {
        match &self.state {
            SocketState::Open(Open { transport, .. }) | SocketState::Lingering(transport) => {
                transport.uncharged_bytes(&self.buffers)
            }
            _ => self.buffers.input.uncharged_bytes() + self.buffers.output.uncharged_bytes(),
        }
    }

    /// Frees memory before a sleep that may be long.
    pub(super) fn release(&mut self) {
        if let SocketState::Open(Open { transport, .. }) | SocketState::Lingering(transport) = &mut self.state {
            transport.release();
        }
        self.buffers.input.release();
        self.buffers.output.release();
    }
}

impl DataConnection for DataSocket {
    fn listen(&mut self, ports: RangeInclusive<u16>, expects_resumption: bool) -> Result<SocketAddr, Failure> {
        // Close the old listener first: its port may be the only free one.
        self.state = SocketState::Closed;
        self.clear();
        self.expects_resumption = expects_resumption;
        self.try_listen(ports).map_err(|error| {
            log::warn!("no port for a data connection: {error}");
            self.state = SocketState::Failed(Failure::NoPort);
            Failure::NoPort
        })
    }

    fn connect(&mut self, address: SocketAddr) {
        if let Err(error) = self.try_connect(address) {
            log::debug!("no data connection to {address}: {error}");
            self.state = SocketState::Failed(Failure::Unreachable);
        }
    }

    fn open(&mut self, security: Security) {
        if let Err(failure) = self.try_open(security) {
            self.state = SocketState::Failed(failure);
        }
    }

    fn finish(&mut self) {
        match &mut self.state {
            SocketState::Open(open) => open.is_finishing = true,
            _ => self.state = SocketState::Failed(Failure::Cut),
        }
    }

    fn close(&mut self) {
        self.clear();
        self.close_socket();
    }

    fn reset(&mut self) {
        self.clear();
        self.reset_socket();
    }

    fn discard(&mut self) {
        let has_ended = self.buffers.eof;
        self.clear();
        self.state = match std::mem::replace(&mut self.state, SocketState::Closed) {
            SocketState::Open(open) if !has_ended => SocketState::Lingering(open.transport),
            state => {
                self.state = state;
                return self.close_socket();
            }
        };
        self.discards_bytes = FTP_DISCARDED_BYTES_MAX;
    }

    fn stage(&self) -> ConnectionStage {
        match self.state {
            SocketState::Closed => ConnectionStage::Closed,
            SocketState::Listening(_) => ConnectionStage::Listening,
            SocketState::Connecting(_) => ConnectionStage::Connecting,
            SocketState::Connected(..) => ConnectionStage::Connected,
            SocketState::Open(_) => ConnectionStage::Open,
            SocketState::Lingering(_) => ConnectionStage::Sent,
            SocketState::Left => ConnectionStage::Left,
            SocketState::Failed(failure) => ConnectionStage::Failed(failure),
        }
    }

    fn buffers(&self) -> &IoBuffers {
        &self.buffers
    }

    fn buffers_mut(&mut self) -> &mut IoBuffers {
        &mut self.buffers
    }

    fn ended_at(&self) -> Option<Instant> {
        self.ended_at
    }

    fn resumption(&self) -> Option<Resumption> {
        self.resumption
    }

    fn shows_reuse(&self) -> bool {
        self.shows_reuse
    }
}

impl Drop for DataSocket {
    /// A connection that is dropped during a transfer must be reset, or its data would look complete.
    fn drop(&mut self) {
        self.reset_socket();
    }
}

/// How long a data connection waits for a resumed session to log in, and the interval of the checks.
const LOGIN_WAIT_MAX: Duration = Duration::from_secs(5);
const LOGIN_WAIT_STEP: Duration = Duration::from_millis(20);
/// A prime, so that every port of a short range is tried.
const DATA_PORT_STRIDE: u32 = 7919;
