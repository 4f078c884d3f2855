//! The checked `ftp` object of the file. Without an address to listen on, FTP is disabled.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Problem;
use super::raw::{CloseNotify, RawFtp, SessionReuse, listen_addresses};
use super::values::{OneOrMore, Period, positive};
use crate::config::defaults::{
    DATA_CONNECTION_TIMEOUT_DEFAULT, DATA_CONNECTION_TIMEOUT_MAX, DATA_PORTS, FTP_DATA_PORT_MIN,
};

/// The FTP configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FtpConfig {
    /// Addresses for FTP, and for FTPS by `AUTH TLS`. Port 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// Addresses for implicit FTPS. There is at least one address here or in `listen`.
    pub listen_tls: Vec<SocketAddr>,
    /// Whether passwords and data may be sent without TLS.
    pub plaintext: bool,
    /// Ports of passive data connections.
    pub passive_ports: RangeInclusive<u16>,
    /// The address in the reply to `PASV`, instead of the local one.
    pub public_address: Option<Ipv4Addr>,
    /// Whether the server may connect to clients (active mode).
    pub is_active_allowed: bool,
    /// The timeout for a data connection after its command.
    pub data_timeout: Duration,
    /// Whether TLS of a data connection must resume the session of its control connection.
    pub requires_session_reuse: bool,
    /// Whether an upload over TLS that ends without close_notify is refused as truncated.
    pub requires_close_notify: bool,
    /// Whether uploads are hashed while they are received.
    pub hashes_uploads: bool,
}

impl RawFtp {
    /// Checks the object. `native` holds the addresses of the native protocol. `plaintext` is its setting, which is the
    /// default here.
    pub(super) fn into_checked(self, native: &[SocketAddr], plaintext: bool) -> Result<Option<FtpConfig>, Problem> {
        let addresses = |key, listen: Option<OneOrMore>, port, taken: &[SocketAddr]| {
            let Some(listen) = listen else { return Ok(Vec::new()) };
            let addresses = listen_addresses(listen, port).map_err(|problem| (key, problem))?;
            match addresses.iter().find(|address| address.port() != 0 && taken.contains(address)) {
                Some(address) => Err((key, format!("another protocol listens on {address}"))),
                None => Ok(addresses),
            }
        };
        let listen = addresses("ftp.listen", self.listen, FTP_PORT_DEFAULT, native)?;
        let taken = [native, &listen].concat();
        let listen_tls = addresses("ftp.listen_tls", self.listen_tls, FTPS_PORT, &taken)?;
        let passive_ports = self.passive_ports.map_or(Ok(DATA_PORTS), |text| port_range(&text));
        let passive_ports = passive_ports.map_err(|problem| ("ftp.passive_ports", problem))?;
        if let Some(address) =
            self.public_address.filter(|a| a.is_unspecified() || a.is_multicast() || a.is_broadcast())
        {
            return Err(("ftp.public_address", format!("{address} is not the address of one machine")));
        }
        let data_timeout = data_timeout(self.data_timeout).map_err(|problem| ("ftp.data_timeout", problem))?;
        let ftp = FtpConfig {
            listen,
            listen_tls,
            plaintext: self.plaintext.unwrap_or(plaintext),
            passive_ports,
            public_address: self.public_address,
            is_active_allowed: self.active.unwrap_or(false),
            data_timeout,
            requires_session_reuse: self.session_reuse == Some(SessionReuse::Required),
            requires_close_notify: self.close_notify != Some(CloseNotify::Optional),
            hashes_uploads: self.hash_uploads.unwrap_or(false),
        };
        Ok((!ftp.listen.is_empty() || !ftp.listen_tls.is_empty()).then_some(ftp))
    }
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let ends = text.split_once('-').and_then(|(first, last)| Some((port(first)?, port(last)?)));
    match ends {
        Some((first, last)) if first < FTP_DATA_PORT_MIN && first <= last => {
            Err(format!("'{text}' has ports below {FTP_DATA_PORT_MIN}, which are for services"))
        }
        Some((first, last)) if first <= last => Ok(first..=last),
        _ => Err(format!("'{text}' is not a range of ports, such as 50000-50099")),
    }
}

fn data_timeout(period: Option<Period>) -> Result<Duration, String> {
    match positive(period, DATA_CONNECTION_TIMEOUT_DEFAULT)? {
        timeout if timeout > DATA_CONNECTION_TIMEOUT_MAX => {
            Err(format!("is longer than {} seconds", DATA_CONNECTION_TIMEOUT_MAX.as_secs()))
        }
        timeout => Ok(timeout),
    }
}

/// The suggested FTP port, one below that of the native protocol.
pub const FTP_PORT_DEFAULT: u16 = 2120;
/// The registered port of implicit FTPS.
const FTPS_PORT: u16 = 990;
