//! A crowd that nobody invited: connections that say nothing, and logins over TLS that fail, at a
//! steady rate, until killed.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::dialect::Outcome;
use berth::auth::scram::ClientExchange;
use berth::tls::{Pinning, ReceiveResult, TlsSession};
use berth::wire::frame::{self, CONTROL_BYTES_MAX, FrameType};
use berth::wire::message::VERSION;
use berth::wire::{Frame, Reply, Request};

/// Opens `silent` connections and prints `READY`; then fails to log in as `user` so often a second.
pub(crate) fn molest(target: SocketAddr, user: &str, silent: usize, per_second: u32) -> Outcome<()> {
    let _crowd = (0..silent).map(|_| TcpStream::connect(target)).collect::<Result<Vec<_>, _>>()?;
    println!("READY");
    let mut next = Instant::now();
    loop {
        Attempt::connect(target)?.fail(user)?;
        next += Duration::from_secs(1) / per_second.max(1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// One connection, over a blocking socket.
struct Attempt {
    stream: TcpStream,
    tls: TlsSession,
    received: Vec<u8>,
}

impl Attempt {
    fn connect(target: SocketAddr) -> Outcome<Self> {
        let (stream, tls) = (TcpStream::connect(target)?, TlsSession::client(Pinning::new(None).client_config()?)?);
        stream.set_nodelay(true)?;
        let mut attempt = Self { stream, tls, received: Vec::new() };
        while attempt.tls.is_handshaking() {
            attempt.tls.flush(&mut attempt.stream)?;
            attempt.receive()?;
        }
        Ok(attempt)
    }

    /// Gives a proof that is none, and does not wait for what it comes to.
    fn fail(mut self, user: &str) -> Outcome<()> {
        let binding = self.tls.binding()?;
        // The exchange knows the first message; the rounds of PBKDF2 for a proof are spared.
        let (_, message) = ClientExchange::new(user, "guess", binding)?;
        self.send(1, &Request::Hello { versions: vec![VERSION], client: "load".into() })?;
        self.send(2, &Request::Auth { mechanism: binding.mechanism().into(), message })?;
        let challenge = loop {
            match frame::decode(&self.received, CONTROL_BYTES_MAX)? {
                Some((Frame::Control { body, .. }, used)) => {
                    let reply = serde_json::from_slice(body)?;
                    self.received.drain(..used);
                    if let Reply::Challenge { message } = reply {
                        break message;
                    }
                }
                _ => self.receive()?,
            }
        };
        let nonce = challenge.split(',').next().unwrap_or_default();
        self.send(3, &Request::AuthNext { message: format!("c=biws,{nonce},p={}=", "A".repeat(43)) })
    }

    fn send(&mut self, id: u32, request: &Request) -> Outcome<()> {
        let mut bytes = Vec::new();
        frame::put_json(&mut bytes, FrameType::Control, id, request);
        while !bytes.is_empty() {
            self.tls.flush(&mut self.stream)?;
            let count = self.tls.encrypt(&bytes)?;
            bytes.drain(..count);
        }
        self.tls.flush(&mut self.stream)?;
        Ok(())
    }

    fn receive(&mut self) -> Outcome<()> {
        let mut room = [0; 4096];
        match self.tls.receive(&mut self.stream, &mut room)? {
            ReceiveResult::Bytes(count) => self.received.extend_from_slice(&room[..count]),
            ReceiveResult::Progress(_) => {}
            ReceiveResult::End => return Err("the server closed the connection".into()),
        }
        Ok(())
    }
}
