//! A connection, encrypted or not. It blocks, so it is read only when something has come.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::dialect::Outcome;
use berth::tls::{ReceiveResult, TlsSession};

/// See the module.
pub(crate) struct Stream {
    socket: TcpStream,
    tls: Option<Box<TlsSession>>,
    has_ended: bool,
}

/// What came of one read.
pub(crate) enum Arrival {
    /// So many bytes.
    Bytes(usize),
    /// The two sides have agreed on keys.
    Keys,
    /// Nothing that means anything yet.
    Nothing,
    /// The peer sends no more.
    End,
}

impl Stream {
    /// A connection that is not encrypted.
    pub(crate) fn connect(target: SocketAddr) -> Outcome<Self> {
        let socket = TcpStream::connect(target).map_err(|error| format!("cannot connect to {target}: {error}"))?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, tls: None, has_ended: false })
    }

    /// Begins to encrypt; [`Arrival::Keys`] tells when it does.
    pub(crate) fn start_tls(&mut self, config: &Arc<ClientConfig>) -> Outcome<()> {
        let mut tls = Box::new(TlsSession::client(Arc::clone(config))?);
        tls.flush(&mut self.socket)?;
        self.tls = Some(tls);
        Ok(())
    }

    /// The encryption, if there is any.
    pub(crate) fn tls(&self) -> Option<&TlsSession> {
        self.tls.as_deref()
    }

    /// Whether there is something to receive that no event announces.
    pub(crate) fn holds_input(&self) -> bool {
        !self.has_ended && self.tls.as_ref().is_some_and(|tls| tls.holds_input())
    }

    /// Reads once.
    pub(crate) fn receive(&mut self, room: &mut [u8]) -> Outcome<Arrival> {
        let arrival = self.read(room)?;
        self.has_ended |= matches!(arrival, Arrival::End);
        Ok(arrival)
    }

    fn read(&mut self, room: &mut [u8]) -> Outcome<Arrival> {
        let Some(tls) = &mut self.tls else {
            let count = self.socket.read(room)?;
            return Ok(if count == 0 { Arrival::End } else { Arrival::Bytes(count) });
        };
        let was_handshaking = tls.is_handshaking();
        let received = tls.receive(&mut self.socket, room);
        tls.flush(&mut self.socket)?;
        match received {
            Ok(ReceiveResult::Bytes(count)) => Ok(Arrival::Bytes(count)),
            Ok(ReceiveResult::Progress(_)) if was_handshaking && !tls.is_handshaking() => Ok(Arrival::Keys),
            Ok(ReceiveResult::Progress(_)) => Ok(Arrival::Nothing),
            Ok(ReceiveResult::End) => Ok(Arrival::End),
            // Not every server says goodbye. Whether all came, what is measured shows.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Arrival::End),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends all of `bytes`.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Outcome<()> {
        let Some(tls) = &mut self.tls else { return Ok(self.socket.write_all(bytes)?) };
        while !bytes.is_empty() {
            let count = tls.encrypt(bytes)?;
            tls.flush(&mut self.socket)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Sends all of `file`.
    pub(crate) fn send_file(&mut self, mut file: File) -> Outcome<()> {
        if self.tls.is_none() {
            while rustix::fs::sendfile(&self.socket, &file, None, SEND_BYTES)? > 0 {}
            return Ok(());
        }
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(()),
                count => self.send(&piece[..count])?,
            }
        }
    }

    /// Tells the peer that no more comes.
    pub(crate) fn finish(&mut self) -> Outcome<()> {
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.socket)?;
        }
        Ok(self.socket.shutdown(Shutdown::Write)?)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What one sendfile may send.
const SEND_BYTES: usize = 64 * 1024 * 1024;
/// What is encrypted and sent at once.
const PIECE_BYTES: usize = 64 * 1024;
