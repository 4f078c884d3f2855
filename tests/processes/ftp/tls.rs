//! TLS as FTP clients use it: 1.2 and 1.3, with or without the session of the control connection on data
//! connections.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use berth::tls::Pinning;

/// One connection, encrypted or not.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Encrypts a connection.
    pub(crate) fn encrypted(stream: TcpStream, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        Self::encrypted_saying(b"", stream, tls)
    }

    /// The same, and `first` is sent in one go with the end of the handshake.
    pub(crate) fn encrypted_saying(first: &[u8], stream: TcpStream, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from("berth").expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        connection.writer().write_all(first)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.sock,
        }
    }

    /// Whether the handshake took an earlier session up again.
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Says that nothing more comes, where there is a word for it.
    pub(crate) fn close(&mut self) {
        if let Self::Tls(tls) = self {
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(room),
            Self::Tls(tls) => tls.read(room),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// The settings of a client that takes any certificate and speaks these versions, of 12 and 13.
pub(crate) fn config(versions: &[u8], resumes: bool) -> Arc<ClientConfig> {
    let known = [(13, &TLS13), (12, &TLS12)];
    let wanted: Vec<_> = known.iter().filter(|(number, _)| versions.contains(number)).map(|(_, it)| *it).collect();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&wanted).expect("versions");
    let mut config = builder.dangerous().with_custom_certificate_verifier(Pinning::new(None)).with_no_client_auth();
    config.resumption = match resumes {
        true => Resumption::in_memory_sessions(64).tls12_resumption(Tls12Resumption::SessionIdOrTickets),
        false => Resumption::disabled(),
    };
    config.enable_sni = false;
    Arc::new(config)
}
