//! The protocols of network listeners. The network layer learns here how a connection begins and which [`Protocol`]
//! serves it, so that it knows no protocol by name.

use std::net::IpAddr;
use std::rc::Rc;

use super::Protocol;
use super::ftp::{self, Ftp};
use super::native::{self, Native};
use crate::config::{Config, FtpConfig};
use crate::session::Session;

/// The protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolKind {
    /// The native protocol.
    Native,
    /// FTP, in plaintext until the client requests TLS.
    Ftp,
    /// FTP within TLS from the first byte.
    ImplicitFtps,
}

impl ProtocolKind {
    /// Returns whether a session has a data connection besides its control connection. Then TLS begins as
    /// [`ProtocolKind::begins_with_tls`] says, or when the protocol requests it. Otherwise the first byte of the peer
    /// decides whether it uses TLS.
    pub fn has_data_connection(self) -> bool {
        matches!(self, Self::Ftp | Self::ImplicitFtps)
    }

    /// Returns whether a control connection begins with TLS.
    pub fn begins_with_tls(self) -> bool {
        self == Self::ImplicitFtps
    }

    /// Returns the name that is printed after an address; `None` for the native protocol.
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Native => None,
            Self::Ftp => Some("ftp"),
            Self::ImplicitFtps => Some("ftps"),
        }
    }

    /// Returns the reply to a client for which there is no session, in plaintext. `bound` names the limit. `None` if
    /// the peer expects TLS first.
    pub fn too_many_sessions(self, bound: &str) -> Option<Vec<u8>> {
        match self {
            Self::Native => Some(native::too_many_sessions(bound)),
            Self::Ftp => Some(ftp::too_many_sessions(bound)),
            Self::ImplicitFtps => None,
        }
    }
}

/// Makes the protocol of a session.
pub type ProtocolMaker = Box<dyn FnOnce(Session) -> Box<dyn Protocol>>;

/// The settings of the protocols of new connections.
#[derive(Clone, Default)]
pub struct ProtocolSettings {
    /// `None` if FTP is disabled.
    ftp: Option<Rc<FtpConfig>>,
}

impl From<&Config> for ProtocolSettings {
    fn from(config: &Config) -> Self {
        Self { ftp: config.ftp.clone().map(Rc::new) }
    }
}

impl ProtocolSettings {
    /// Returns what makes the protocol of a connection with this local address; `None` if the protocol is disabled.
    pub fn maker(&self, kind: ProtocolKind, local: IpAddr) -> Option<ProtocolMaker> {
        if kind == ProtocolKind::Native {
            return Some(Box::new(|session| Box::new(Native::new(session, true))));
        }
        let ftp = Rc::clone(self.ftp.as_ref()?);
        Some(Box::new(move |session| Box::new(Ftp::new(session, ftp, local, kind.begins_with_tls()))))
    }
}
