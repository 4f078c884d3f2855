//! Parsed commands. The syntax is in [`super::table`].

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};

use zeroize::Zeroizing;

use super::argument::LiteralOrParsed;
use super::facts::Facts;
use super::permissions::PermissionChange;

/// A parsed line. Paths are raw bytes, relative to the current directory.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    User(String),
    Pass(Password),
    Acct,
    Quit,
    Auth,
    Pbsz,
    Prot(Protection),
    Ccc,
    Feat,
    Opts(Opts),
    Clnt,
    Syst,
    /// Help about one command, or about all.
    Help(Option<String>),
    Noop,
    Type(Type),
    /// F; other structures are refused.
    Stru,
    /// S; other modes are refused.
    Mode,
    Port(SocketAddrV4),
    Eprt(SocketAddr),
    Pasv,
    Epsv(Epsv),
    Abor,
    Cwd(Vec<u8>),
    Cdup,
    Pwd,
    Mkd(Vec<u8>),
    Rmd(Vec<u8>),
    Dele(Vec<u8>),
    Rnfr(Vec<u8>),
    Rnto(Vec<u8>),
    Retr(Vec<u8>),
    Stor(Vec<u8>),
    Stou,
    Appe(Vec<u8>),
    /// The bytes of the next upload; fits an `i64`.
    Allo(u64),
    /// The first byte of the next transfer; fits an `i64`.
    Rest(u64),
    /// Options, a path or a pattern: which of them depends on the entries of the home.
    List(Vec<u8>),
    /// As for `LIST`.
    Nlst(Vec<u8>),
    /// The status of the session, or a listing on the control connection.
    Stat(Option<Vec<u8>>),
    Mlst(Option<Vec<u8>>),
    Mlsd(Option<Vec<u8>>),
    Size(Vec<u8>),
    /// Queries the time of a path, or sets it by a time before the path, as old clients do.
    Mdtm(LiteralOrParsed<(i64, Vec<u8>)>),
    Mfmt {
        mtime_ns: i64,
        path: Vec<u8>,
    },
    Hash(Vec<u8>),
    Xsha256(LiteralOrParsed<Vec<u8>>),
    Avbl(Option<Vec<u8>>),
    /// A change of permission bits.
    SiteChmod {
        permissions: PermissionChange,
        path: Vec<u8>,
    },
    /// Help about one `SITE` command, or about all.
    SiteHelp(Option<String>),
    SiteQuota,
    /// A modification time, in nanoseconds since the epoch, and a path. If the argument has two readings,
    /// the first one whose path exists counts.
    SiteUtime(Vec<(i64, Vec<u8>)>),
}

/// A password, wiped when dropped and never shown.
#[derive(PartialEq, Eq)]
pub struct Password(pub Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// The protection of data connections (RFC 2228 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// `C`: none.
    Clear,
    /// `P`: by TLS.
    Private,
}

/// The representation type. Files are never converted, so it changes only replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `A`, `A N`.
    Ascii,
    /// `I`.
    Image,
    /// `L 8`.
    Local8,
}

impl Type {
    /// Returns the argument of `TYPE`, in its usual form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "A",
            Self::Image => "I",
            Self::Local8 => "L 8",
        }
    }
}

/// What `EPSV` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epsv {
    /// The protocol of the control connection.
    Any,
    /// `1`.
    V4,
    /// `2`.
    V6,
    /// `ALL`: no other command may set up data connections from now on.
    All,
}

/// An option of `OPTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opts {
    /// `UTF8 ON`, which is always on.
    Utf8,
    /// The facts of `MLST` and `MLSD`.
    Mlst(Facts),
    /// `HASH SHA-256`, which is always selected.
    Hash,
}

#[cfg(test)]
mod tests;
