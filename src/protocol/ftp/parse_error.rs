//! The errors of a malformed line, and the replies to them.

use crate::base::limits::FTP_VERB_BYTES_MAX;
use crate::base::text::{Escaped, shortened};

/// Why a line is malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseError {
    /// Unknown command; holds its word.
    Unknown(String),
    /// Wrong arguments; holds the command's usage.
    Syntax(&'static str),
    /// A command that is not served.
    NotImplemented,
    /// An argument that is not served; holds the accepted ones.
    BadParameter(&'static str),
    /// A protection level that TLS does not have (RFC 2228).
    Protection,
    /// An unknown option of `LIST` and similar, and the known ones.
    Option(u8, &'static str),
    /// A NUL in the argument, see [`super::line`].
    Nul,
    /// A network protocol other than IPv4 and IPv6 (RFC 2428).
    NetworkProtocol,
}

impl ParseError {
    pub(super) fn unknown(word: &[u8]) -> Self {
        Self::Unknown(shortened(Escaped(word).to_string(), FTP_VERB_BYTES_MAX))
    }

    /// Returns the code and text of the reply.
    pub fn reply(&self) -> (u16, String) {
        match self {
            Self::Unknown(word) => (500, format!("{word}: no such command; HELP lists those there are.")),
            Self::Syntax(usage) => (501, format!("This cannot be made out; it is written: {usage}")),
            Self::NotImplemented => (502, "This command is not served; HELP lists those that are.".into()),
            Self::BadParameter(served) => (504, format!("This is not served; {served}.")),
            Self::Protection => (536, "TLS has no such protection; use PROT P or PROT C.".into()),
            Self::Option(letter, served) => {
                let letter = Escaped(std::slice::from_ref(letter)).to_string();
                (504, format!("-{letter}: there is no such option, nor anything of that name; use -{served}."))
            }
            Self::Nul => (501, "No argument may hold a NUL byte or a Telnet command; send byte 255 twice.".into()),
            Self::NetworkProtocol => (522, "This network protocol is not served, use (1,2)".into()),
        }
    }
}
