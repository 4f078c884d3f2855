//! The errors of a malformed line, and the replies to them.

use crate::base::text::{Escaped, shortened};

/// How much of an unknown command a reply repeats.
const FTP_VERB_BYTES_MAX: usize = 32;

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
            Self::Unknown(word) => (500, format!("{word}: unknown command; HELP lists the commands.")),
            Self::Syntax(usage) => (501, format!("Syntax error; usage: {usage}")),
            Self::NotImplemented => (502, "Command not implemented; HELP lists the commands.".into()),
            Self::BadParameter(served) => (504, format!("Parameter not supported; {served}.")),
            Self::Protection => (536, "Protection level not supported; use PROT P or PROT C.".into()),
            Self::Option(letter, served) => {
                let letter = Escaped(std::slice::from_ref(letter)).to_string();
                (504, format!("-{letter}: unknown option, and no file has this name; supported options: -{served}."))
            }
            Self::Nul => {
                (501, "NUL bytes and Telnet commands are not allowed in arguments; send byte 255 twice.".into())
            }
            Self::NetworkProtocol => (522, "Network protocol not supported, use (1,2)".into()),
        }
    }
}
