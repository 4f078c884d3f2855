//! A minimal client over a blocking socket. It can send what the real client never sends.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::requests::Put;
use super::{PASSWORD, PATIENCE};
use berth::auth::scram::{Binding, ClientExchange};
use berth::base::digest::Digest;
use berth::wire::frame::{self, CONTROL_BYTES_MAX, Frame, FrameType};
use berth::wire::message::{End, ErrorReply, Name, PutMode, VERSION};
use berth::wire::{Reply, Request};

/// One connection of the minimal client.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
    next_id: u32,
}

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Reply(u32, Reply),
    Data(u32, Vec<u8>),
    End(u32, End),
    Aborted(u32, ErrorReply),
    Pong,
}

/// Connects from an address of this machine.
pub(crate) fn stream_from(from: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("descriptors are left");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("loopback has many addresses");
    socket.connect(&address.into()).expect("the server listens");
    socket.into()
}

/// Returns whether bytes or the end of the stream can be received.
pub(crate) fn has_input(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a socket");
    !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Peer {
    /// Connects and sends nothing.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"))
    }

    /// The same from another address of this machine, the `last` of its network.
    pub(crate) fn connect_from(last: u8, address: SocketAddr) -> Self {
        Self::over(stream_from(IpAddr::from([127, 0, 0, last]), address))
    }

    /// The same with a small receive buffer in the kernel.
    pub(crate) fn connect_with_little_room(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
        socket.set_recv_buffer_size(4096).expect("a socket");
        // What a kernel sends ahead it counts by the segments that it may send.
        socket.set_tcp_mss(536).expect("a socket");
        socket.connect(&address.into()).expect("the server listens");
        Self::over(socket.into())
    }

    /// Creates a peer on a connected stream.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        stream.set_write_timeout(Some(PATIENCE)).expect("a positive time");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, input: Vec::new(), next_id: 1 }
    }

    /// Ends the connection with a reset, as a killed program does.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    /// Begins a login and sends an invalid proof, without waiting for the reply. The proof costs no rounds of PBKDF2.
    pub(crate) fn guess(&mut self, account: &str) {
        self.greet();
        let message = format!("n,,n={account},r=fyko+d2lbbFgONRv9qkxdawL");
        let reply = self.ask(&Request::Auth { mechanism: Binding::None.mechanism().into(), message });
        let Reply::Challenge { message } = reply else { panic!("a challenge, not {reply:?}") };
        let nonce = message.split(',').next().expect("a nonce");
        self.request(&Request::AuthNext { message: format!("c=biws,{nonce},p={}=", "A".repeat(43)) });
    }

    /// Returns whether bytes or the end of the stream can be received.
    pub(crate) fn has_answer(&self) -> bool {
        has_input(&self.stream)
    }

    /// Connects and logs in with [`PASSWORD`].
    pub(crate) fn login(address: SocketAddr, account: &str) -> Self {
        Self::connect(address).logged_in(account)
    }

    /// Logs in with [`PASSWORD`].
    pub(crate) fn logged_in(mut self, account: &str) -> Self {
        self.greet();
        let reply = self.prove(account, PASSWORD);
        assert!(matches!(reply, Reply::Welcome { .. }), "{reply:?}");
        self
    }

    /// Sends hello. Returns the reply.
    pub(crate) fn greet(&mut self) -> Reply {
        self.ask(&Request::Hello { versions: vec![VERSION], client: "test".into() })
    }

    /// Logs in. Returns the last reply.
    pub(crate) fn prove(&mut self, account: &str, password: &str) -> Reply {
        match self.challenge(account, password) {
            Ok(message) => self.ask(&Request::AuthNext { message }),
            Err(refusal) => refusal,
        }
    }

    /// Begins a login. Returns the proof that would be the next message.
    pub(crate) fn begin_proof(&mut self, account: &str, password: &str) -> String {
        self.challenge(account, password).expect("a challenge")
    }

    fn challenge(&mut self, account: &str, password: &str) -> Result<String, Reply> {
        let (exchange, message) = ClientExchange::new(account, password, Binding::None).expect("a user name");
        match self.ask(&Request::Auth { mechanism: Binding::None.mechanism().into(), message }) {
            Reply::Challenge { message } => Ok(exchange.answer(&message).expect("a challenge").1),
            reply => Err(reply),
        }
    }

    // ---- Out ------------------------------------------------------------------------------

    /// Sends bytes unchanged.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends a request. Returns its id.
    pub(crate) fn request(&mut self, request: &Request) -> u32 {
        let (id, bytes) = self.encode(request);
        self.send(&bytes);
        id
    }

    /// Returns the bytes of a request, and its id.
    pub(crate) fn encode(&mut self, request: &Request) -> (u32, Vec<u8>) {
        let id = self.next_id;
        self.next_id += 1;
        let mut bytes = Vec::new();
        frame::put_json(&mut bytes, FrameType::Control, id, request);
        (id, bytes)
    }

    /// Returns the bytes of a whole upload: its request, its data in one frame, its end.
    pub(crate) fn encode_put(&mut self, path: &str, content: &[u8], mode: PutMode) -> Vec<u8> {
        let (id, mut bytes) = self.encode(&put(path, content.len() as u64, mode));
        for piece in content.chunks(256 * 1024) {
            frame::put_bytes(&mut bytes, FrameType::Data, id, piece);
        }
        let end = End { size: content.len() as u64, digest: Digest::of(content) };
        frame::put_json(&mut bytes, FrameType::End, id, &end);
        bytes
    }

    /// Uploads a file. Returns the reply.
    pub(crate) fn put(&mut self, path: &str, content: &[u8], mode: PutMode) -> Reply {
        let bytes = self.encode_put(path, content, mode);
        self.send(&bytes);
        self.reply()
    }

    // ---- In -------------------------------------------------------------------------------

    /// Sends a request and waits for its reply.
    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        let asked = self.request(request);
        match self.receive() {
            Ok(Incoming::Reply(id, reply)) if id == asked || id == 0 => reply,
            other => panic!("an answer to request {asked}, not {other:?}"),
        }
    }

    /// Waits for a reply of one frame.
    pub(crate) fn reply(&mut self) -> Reply {
        match self.receive() {
            Ok(Incoming::Reply(_, reply)) => reply,
            other => panic!("an answer, not {other:?}"),
        }
    }

    /// Waits for the next frame; an error at the end of the stream.
    pub(crate) fn receive(&mut self) -> io::Result<Incoming> {
        loop {
            if let Some(incoming) = self.take() {
                return Ok(incoming);
            }
            let mut room = [0; 64 * 1024];
            match self.stream.read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&room[..count]),
                // A machine that was stopped and goes on interrupts reads that have a timeout.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self) -> Option<Incoming> {
        let (frame, mut used) = frame::decode(&self.input, CONTROL_BYTES_MAX).expect("a good frame")?;
        let incoming = match frame {
            Frame::Control { id, body } => Incoming::Reply(id, serde_json::from_slice(body).expect("a reply")),
            Frame::End { id, body } => Incoming::End(id, serde_json::from_slice(body).expect("an end")),
            Frame::Abort { id, body } => Incoming::Aborted(id, serde_json::from_slice(body).expect("an error")),
            Frame::Data { id, length } => {
                let bytes = self.input.get(used..used + length as usize)?;
                used += length as usize;
                Incoming::Data(id, bytes.to_vec())
            }
            Frame::Ping { .. } | Frame::Pong { .. } => Incoming::Pong,
        };
        self.input.drain(..used);
        Some(incoming)
    }

    /// Reads until the server closes. Returns an error if the connection was reset.
    pub(crate) fn drain(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.input);
        self.stream.read_to_end(&mut rest).map(|_| rest)
    }
}

/// Returns a request to upload a file.
pub(crate) fn put(path: &str, size: u64, mode: PutMode) -> Request {
    Put { path: Name::from(path), size: Some(size), mode, ..Put::default() }.request()
}
