//! TLS for both programs, 1.3 between them, without a certificate authority: a server's certificate and
//! key ([`ServerIdentity`]), how a client recognises it ([`Fingerprint`], [`Pinning`]), and encrypted streams
//! ([`TlsSession`]). Clients pin the public key, so a renewed certificate is the same server. This module
//! knows no sockets and no clock, and accounts only as numbers.

mod certificate;
mod identity;
mod pinning;
mod session;
mod ticket_keys;
mod tickets;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::{ServerConfig, SupportedProtocolVersion};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use identity::ServerIdentity;
pub use pinning::Pinning;
pub use session::{ReceiveResult, TlsSession};
pub use ticket_keys::{Resumption, TicketKeys};

/// The encrypted bytes that a session with a large receive buffer receives at once: four records of the maximum
/// size.
pub const TLS_BYTES: usize = 64 * 1024;
/// The bytes that are encrypted ahead of the socket: four records.
pub const TLS_OUT_BYTES: usize = 64 * 1024;

/// Identifies a server's key: the SHA-256 of its public key (SubjectPublicKeyInfo, RFC 5280). Written
/// as `SHA256:` and base64 without padding, like ssh.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of the key in a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        Ok(Self(Sha256::digest(&key).into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// The text is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is {PREFIX} and 43 characters; copy it exactly as `berthd fingerprint` prints it")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits = text.strip_prefix(PREFIX).ok_or(FingerprintError)?;
        let bytes = BASE64.decode(digits).map_err(|_| FingerprintError)?;
        bytes.try_into().map(Self).map_err(|_| FingerprintError)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Self, FingerprintError> {
        text.parse()
    }
}

/// Makes the TLS configuration of a server for native clients. It has no tickets and no early data: a session begins
/// with a full handshake, and nothing can be replayed.
pub fn server_config(identity: &ServerIdentity) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(server_provider())).with_protocol_versions(VERSIONS)?;
    let mut config =
        builder.with_no_client_auth().with_single_cert(identity.certificates.clone(), identity.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Makes the TLS configuration of a server for FTP clients, with TLS 1.3 and 1.2. A client without ALPN is
/// accepted. One that offers other protocols is another program, such as a browser that was directed
/// here (CVE-2021-3618), and gets the alert `no_application_protocol` (RFC 7301). [`SessionConfig`]
/// derives the configuration of one session from it.
pub fn ftp_server_config(identity: &ServerIdentity) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ftp_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let mut config =
        builder.with_no_client_auth().with_single_cert(identity.certificates.clone(), identity.key.clone_key())?;
    config.ignore_client_order = true;
    config.alpn_protocols = vec![FTP_ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The TLS configuration of one FTP session, with its own tickets, so that a resumption proves that a
/// data connection belongs to its control connection (RFC 4217, section 10.2).
pub struct SessionConfig {
    /// The configuration of the control connection. It issues several tickets, because some clients use a
    /// new one for each data connection.
    pub control: Arc<ServerConfig>,
    session: Arc<ticket_keys::SessionKey>,
    /// Made for the first data connection, so that connections without a login need no memory for it.
    data: Option<DataConfig>,
}

/// The TLS configuration of the data connections of one session.
pub struct DataConfig {
    /// The configuration for downloads and listings. It issues tickets as well.
    pub download: Arc<ServerConfig>,
    /// The configuration for uploads. [`TlsSession::server_of_upload`] says when its tickets are sent.
    pub upload: Arc<ServerConfig>,
    tickets: Arc<tickets::Tickets>,
}

impl SessionConfig {
    /// Derives the configuration of a session from the shared one.
    pub fn new(shared: &ServerConfig, keys: &Arc<TicketKeys>) -> Result<Self, rustls::Error> {
        let session = Arc::new(keys.begin()?);
        let mut control = shared.clone();
        control.send_tls13_tickets = TICKETS;
        let tickets = Arc::new(tickets::Tickets::of_control(&session));
        control.ticketer = Arc::<tickets::Tickets>::clone(&tickets);
        control.session_storage = tickets;
        Ok(Self { control: Arc::new(control), session, data: None })
    }

    /// Records the account of the session, by its unique number.
    pub fn set_account(&self, account: u64) {
        self.session.set_account(account);
    }

    /// Returns the configuration of data connections. Only one may use it at a time.
    pub fn data(&mut self) -> &DataConfig {
        self.data.get_or_insert_with(|| {
            let tickets = Arc::new(tickets::Tickets::of_data(&self.session));
            let mut download = ServerConfig::clone(&self.control);
            download.ticketer = Arc::<tickets::Tickets>::clone(&tickets);
            download.session_storage = Arc::<tickets::Tickets>::clone(&tickets);
            download.alpn_protocols.push(FTP_DATA_ALPN.to_vec());
            let mut upload = download.clone();
            upload.send_tls13_tickets = UPLOAD_TICKETS;
            DataConfig { download: Arc::new(download), upload: Arc::new(upload), tickets }
        })
    }
}

impl DataConfig {
    /// Forgets the ticket of the last data connection, because a new one begins or does a full handshake.
    pub fn forget_ticket(&self) {
        self.tickets.forget();
    }

    /// Returns what a data connection proves, after its handshake.
    pub fn resumption(&self, connection: &TlsSession) -> Resumption {
        match connection.is_resumed() {
            Some(true) => self.tickets.proof_given().unwrap_or(Resumption::None),
            _ => Resumption::None,
        }
    }

    /// Returns whether this data connection shows that the client can resume any number of times: with TLS
    /// 1.2, or with a ticket that it has used before. Remembers the ticket for that comparison, so call it
    /// exactly once for each resumed connection.
    pub fn shows_reuse(&self, connection: &TlsSession) -> bool {
        self.tickets.is_used_again() || !connection.is_tls13()
    }
}

/// AES-128 comes first: it is secure enough, and faster than AES-256.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    provider
}

/// Clients have no certificates, so the server needs no code to verify them.
fn server_provider() -> CryptoProvider {
    let signature_verification_algorithms = WebPkiSupportedAlgorithms { all: &[], mapping: &[] };
    CryptoProvider { signature_verification_algorithms, ..provider() }
}

/// Cipher suites of FTP clients of the last ten years, with forward secrecy.
fn ftp_provider() -> CryptoProvider {
    let mut provider = server_provider();
    provider.cipher_suites.extend([
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]);
    provider
}

/// The number of tickets that are sent at a time. A client that uses each ticket once then still has some if
/// a transfer fails before its connection gets new ones. More tickets would delay the beginning of a session.
const TICKETS: usize = 4;
/// The number of tickets that are sent at the end of an upload: one replaces the ticket that the upload used,
/// and one that of an earlier upload that was interrupted.
const UPLOAD_TICKETS: usize = 2;
const PREFIX: &str = "SHA256:";
/// The ALPN protocol (RFC 7301). A client of another protocol is refused in the handshake.
const ALPN: &[u8] = b"berth/1";
/// The ALPN protocol of FTP, as registered by IANA.
const FTP_ALPN: &[u8] = b"ftp";
/// The ALPN protocol of some FTP clients on data connections.
const FTP_DATA_ALPN: &[u8] = b"ftp-data";
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_exactly_as_they_are_written() {
        let fingerprint = Fingerprint([7; 32]);
        let text = fingerprint.to_string();
        assert_eq!(text.len(), PREFIX.len() + 43);
        assert_eq!(text.parse(), Ok(fingerprint));
        for wrong in ["", "SHA256:", &text[1..], &text[..49], &format!("{text}="), &text.to_lowercase(), "SHA256:AAAA"]
        {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(FingerprintError), "{wrong}");
        }
    }
}
