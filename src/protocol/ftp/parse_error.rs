//! What is wrong with a line that is no command, and the reply to it.

use crate::base::limits::FTP_VERB_BYTES_MAX;
use crate::base::text::{Escaped, shortened};

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseError {
    /// No such command; it begins with this word.
    Unknown(String),
    /// The arguments of a command that is written so.
    Syntax(&'static str),
    /// A command that is not served.
    NotImplemented,
    /// An argument that is not served; what is.
    BadParameter(&'static str),
    /// A level of protection that TLS does not have (RFC 2228).
    Protection,
    /// An option that `LIST` and its like do not know, and those that they know.
    Option(u8, &'static str),
    /// A byte that no argument may hold, see [`super::line`].
    Nul,
    /// A network protocol other than IPv4 and IPv6 (RFC 2428).
    NetworkProtocol,
}

impl ParseError {
    pub(super) fn unknown(word: &[u8]) -> Self {
        Self::Unknown(shortened(Escaped(word).to_string(), FTP_VERB_BYTES_MAX))
    }

    /// The code and text of the reply to it.
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
