//! The table of commands: names, usage, description, login, effect, parser, features. `HELP`, `FEAT` and
//! `docs/ftp.md` come from it. The handler of each command is in the exhaustive match of
//! `Ftp::begin_command`.

use super::argument::Argument;
use super::command::Command;
use super::parse_error::ParseError;
use super::parsers;
use Allowed::{AfterLogin, Always};
use HomeEffect::{Changes, Nothing, Reads, ReadsOrChanges};

/// A command.
pub struct Row {
    /// Its names. The first is its own, the others are aliases. A `SITE` command has two words.
    pub names: &'static [&'static str],
    /// Its syntax.
    pub usage: &'static str,
    /// Its description.
    pub description: &'static str,
    /// When it is allowed.
    pub allowed: Allowed,
    /// Its effect on the home.
    pub effect: HomeEffect,
    /// Whether it uses a data connection and `REST`.
    pub is_transfer: bool,
    /// The lines of `FEAT` that announce it.
    pub features: &'static [&'static str],
    parse: CommandParser,
}

/// When a command is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Before login, too.
    Always,
    /// Refused before login.
    AfterLogin,
}

/// The effect of a command on the home. An account that may only read is refused every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HomeEffect {
    /// Does not use the home.
    Nothing,
    /// Reads.
    Reads,
    /// Changes.
    Changes,
    /// Reads or changes, depending on the argument.
    ReadsOrChanges,
}

/// A parser of a command.
type CommandParser = fn(Argument<'_>) -> Result<Command, ParseError>;

const fn row(
    names: &'static [&'static str],
    usage: &'static str,
    description: &'static str,
    allowed: Allowed,
    effect: HomeEffect,
    parse: CommandParser,
) -> Row {
    Row { names, usage, description, allowed, effect, is_transfer: false, features: &[], parse }
}

impl Row {
    const fn transfers(self) -> Self {
        Self { is_transfer: true, ..self }
    }

    const fn announces(self, features: &'static [&'static str]) -> Self {
        Self { features, ..self }
    }

    /// Returns whether it uploads.
    pub fn is_upload(&self) -> bool {
        self.is_transfer && self.effect == Changes
    }
}

/// The feature whose line also lists the facts, see [`super::help::features`].
pub const FACTS_FEATURE: &str = "MLST";

/// The commands, in the order of `HELP`.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row(&["USER"], "USER <name>", "names the account", Always, Nothing, |a| Ok(Command::User(a.text()?.into()))),
    row(&["PASS"], "PASS <password>", "logs in; the password is UTF-8", Always, Nothing, parsers::password),
    row(&["ACCT"], "ACCT <account>", "is accepted and ignored", Always, Nothing, |_| Ok(Command::Acct)),
    row(&["QUIT"], "QUIT", "ends the session", Always, Nothing, |_| Ok(Command::Quit)),
    row(&["AUTH"], "AUTH TLS", "encrypts the control connection", Always, Nothing, parsers::auth).announces(&["AUTH TLS"]),
    row(&["PBSZ"], "PBSZ 0", "sets the buffer size; needed before PROT", Always, Nothing, |a| {
        a.number().map(|_| Command::Pbsz)
    }).announces(&["PBSZ"]),
    row(&["PROT"], "PROT P | C", "encrypts data connections (P) or not (C)", Always, Nothing, parsers::protection)
        .announces(&["PROT"]),
    row(&["CCC"], "CCC", "is refused: the control connection stays encrypted", Always, Nothing, |_| Ok(Command::Ccc)),
    row(&["FEAT"], "FEAT", "lists the extensions to RFC 959", Always, Nothing, |_| Ok(Command::Feat)),
    row(&["OPTS"], "OPTS UTF8 ON | MLST <fact>;... | HASH SHA-256", "sets options", Always, Nothing, parsers::opts)
        .announces(&["UTF8"]),
    row(&["CLNT"], "CLNT <name>", "names the client program", Always, Nothing, |_| Ok(Command::Clnt)).announces(&["CLNT"]),
    row(&["SYST"], "SYST", "names the type of system", Always, Nothing, |_| Ok(Command::Syst)),
    row(&["HELP"], "HELP [<command>]", "lists commands, or explains one", Always, Nothing, |a| {
        Ok(Command::Help(parsers::words(a)))
    }),
    row(&["NOOP"], "NOOP", "does nothing", Always, Nothing, |_| Ok(Command::Noop)),
    row(&["TYPE"], "TYPE I | A | L 8", "sets the type; no type changes the bytes of a file", AfterLogin, Nothing, parsers::representation),
    row(&["STRU"], "STRU F", "sets the structure; only F is supported", AfterLogin, Nothing, parsers::structure),
    row(&["MODE"], "MODE S", "sets the mode; only S is supported", AfterLogin, Nothing, parsers::mode),
    row(&["PORT"], "PORT <h1,h2,h3,h4,p1,p2>", "sets the address to which the server opens the data connection", AfterLogin, Nothing, parsers::port),
    row(&["EPRT"], "EPRT |<1 or 2>|<address>|<port>|", "does the same for IPv4 (1) and IPv6 (2)", AfterLogin, Nothing, parsers::extended_port)
        .announces(&["EPRT"]),
    row(&["PASV"], "PASV", "makes the server listen for a data connection", AfterLogin, Nothing, |_| Ok(Command::Pasv)),
    row(&["EPSV"], "EPSV [1 | 2 | ALL]", "does the same for IPv4 (1) and IPv6 (2)", AfterLogin, Nothing, parsers::extended_passive)
        .announces(&["EPSV"]),
    row(&["ABOR"], "ABOR", "ends the running transfer", AfterLogin, Nothing, |_| Ok(Command::Abor)),
    row(&["CWD", "XCWD"], "CWD <path>", "changes the current directory", AfterLogin, Reads, parsers::directory).announces(&["TVFS"]),
    row(&["CDUP", "XCUP"], "CDUP", "changes to the parent directory", AfterLogin, Reads, |_| Ok(Command::Cdup)),
    row(&["PWD", "XPWD"], "PWD", "shows the current directory", AfterLogin, Nothing, |_| Ok(Command::Pwd)),
    row(&["MKD", "XMKD"], "MKD <path>", "creates a directory", AfterLogin, Changes, |a| Ok(Command::Mkd(a.path()?))),
    row(&["RMD", "XRMD"], "RMD <path>", "removes an empty directory", AfterLogin, Changes, |a| Ok(Command::Rmd(a.path()?))),
    row(&["DELE"], "DELE <path>", "removes a file", AfterLogin, Changes, |a| Ok(Command::Dele(a.path()?))),
    row(&["RNFR"], "RNFR <path>", "names the file to rename", AfterLogin, Reads, |a| Ok(Command::Rnfr(a.path()?))),
    row(&["RNTO"], "RNTO <path>", "renames it to this path", AfterLogin, Changes, |a| Ok(Command::Rnto(a.path()?))),
    row(&["RETR"], "RETR <path>", "downloads a file", AfterLogin, Reads, |a| Ok(Command::Retr(a.path()?))).transfers(),
    row(&["STOR"], "STOR <path>", "uploads a file and replaces an existing one", AfterLogin, Changes, |a| {
        Ok(Command::Stor(a.path()?))
    }).transfers(),
    row(&["STOU"], "STOU", "uploads a file under a new name", AfterLogin, Changes, |_| Ok(Command::Stou)).transfers(),
    row(&["APPE"], "APPE <path>", "appends to a file, or creates it", AfterLogin, Changes, |a| {
        Ok(Command::Appe(a.path()?))
    }).transfers(),
    row(&["ALLO"], "ALLO <bytes> [R <bytes>]", "reserves space for the next upload", AfterLogin, Nothing, parsers::allocation),
    row(&["REST"], "REST <byte>", "sets the byte at which the next transfer starts", AfterLogin, Nothing, parsers::restart)
        .announces(&["REST STREAM"]),
    row(&["LIST"], "LIST [-1AaCdFlRrSt] [<path or pattern>]", "lists a directory in the format of ls -l", AfterLogin, Reads, |a| {
        Ok(Command::List(a.text.to_vec()))
    }).transfers(),
    row(&["NLST"], "NLST [-1AaCdFlRrSt] [<path or pattern>]", "lists names", AfterLogin, Reads, |a| {
        Ok(Command::Nlst(a.text.to_vec()))
    }).transfers(),
    row(&["STAT"], "STAT [[-1AaCdFlrSt] <path or pattern>]", "shows the state of the session, or lists like LIST", AfterLogin, Reads, |a| {
        Ok(Command::Stat(a.optional_path()))
    }),
    row(&["MLST"], "MLST [<path>]", "shows the facts of one file or directory", AfterLogin, Reads, |a| {
        Ok(Command::Mlst(a.optional_path()))
    }).announces(&[FACTS_FEATURE]),
    row(&["MLSD"], "MLSD [<path>]", "lists a directory as facts", AfterLogin, Reads, |a| {
        Ok(Command::Mlsd(a.optional_path()))
    }).transfers(),
    row(&["SIZE"], "SIZE <path>", "shows the size of a file in bytes", AfterLogin, Reads, |a| Ok(Command::Size(a.path()?)))
        .announces(&["SIZE"]),
    row(&["MDTM"], "MDTM <path>", "shows the modification time; MDTM <YYYYMMDDHHMMSS> <path> sets it", AfterLogin, ReadsOrChanges, parsers::modification)
        .announces(&["MDTM"]),
    row(&["MFMT"], "MFMT <YYYYMMDDHHMMSS> <path>", "sets the modification time, in UTC", AfterLogin, Changes, |a| {
        let (mtime_ns, path) = a.time_and_path()?;
        Ok(Command::Mfmt { mtime_ns, path })
    }).announces(&["MFMT"]),
    row(&["HASH"], "HASH <path>", "shows the SHA-256 of a file", AfterLogin, Reads, |a| Ok(Command::Hash(a.path()?)))
        .announces(&["HASH SHA-256*"]),
    row(&["XSHA256"], "XSHA256 <path>", "shows the SHA-256 of a file, in the older form", AfterLogin, Reads, parsers::whole_digest)
        .announces(&["XSHA256"]),
    row(&["AVBL"], "AVBL [<path>]", "shows how many bytes may still be stored", AfterLogin, Reads, |a| {
        Ok(Command::Avbl(a.optional_path()))
    }).announces(&["AVBL"]),
    row(&["SITE"], "SITE <command>", "runs a command of this server; SITE HELP lists them", AfterLogin, Nothing, parsers::unknown_site),
    row(&["SITE CHMOD"], "SITE CHMOD <mode> <path>", "sets permission bits, such as 644 or u+x", AfterLogin, Changes, parsers::site_chmod)
        .announces(&["SITE CHMOD"]),
    row(&["SITE HELP"], "SITE HELP [<command>]", "lists SITE commands, or explains one", AfterLogin, Nothing, |a| {
        Ok(Command::SiteHelp(a.words().into_iter().next()))
    }),
    row(&["SITE QUOTA"], "SITE QUOTA", "shows what is used and allowed", AfterLogin, Reads, |_| Ok(Command::SiteQuota)),
    row(&["SITE UTIME"], "SITE UTIME <YYYYMMDDHHMMSS> <path>", "sets the modification time, in UTC", AfterLogin, Changes, parsers::site_utime)
        .announces(&["SITE UTIME"]),
];

/// Parses a line of [`super::line::Lines`].
pub fn parse(line: &[u8]) -> Result<(&'static Row, Command), ParseError> {
    let (word, mut text) = split(line);
    let Some(mut row) = find(word) else {
        return Err(if is_not_implemented(word) { ParseError::NotImplemented } else { ParseError::unknown(word) });
    };
    if row.names == ["SITE"]
        && let Some((site_row, rest)) = text.and_then(find_site)
    {
        (row, text) = (site_row, rest);
    }
    if text.is_some_and(|text| text.contains(&0)) {
        return Err(ParseError::Nul);
    }
    let argument = Argument { text: text.unwrap_or_default(), has_space: text.is_some(), usage: row.usage };
    Ok((row, (row.parse)(argument)?))
}

/// Returns the first word and the text after the space that follows it.
fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
    (&text[..end], text.get(end + 1..))
}

/// Returns the row of a command by one of its names, in any case.
pub fn find(name: &[u8]) -> Option<&'static Row> {
    COMMANDS.iter().find(|row| row.names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name)))
}

/// Returns the row of a `SITE` command, and the text after its name.
fn find_site(text: &[u8]) -> Option<(&'static Row, Option<&[u8]>)> {
    let (name, rest) = split(text);
    Some((find(&[b"SITE ", name].concat())?, rest))
}

/// Returns whether a malformed line was meant as a transfer.
pub fn is_transfer_line(line: &[u8]) -> bool {
    find(split(line).0).is_some_and(|row| row.is_transfer)
}

/// Commands of RFCs, and other common ones, that are not served.
const NOT_IMPLEMENTED: [&str; 20] = [
    "REIN", "SMNT", "HOST", "LANG", "ADAT", "MIC", "CONF", "ENC", "LPRT", "LPSV", "MFCT", "MFF", "XSEN", "XSEM",
    "XRSQ", "XRCP", "XCRC", "XMD5", "XSHA1", "XSHA512",
];

fn is_not_implemented(word: &[u8]) -> bool {
    NOT_IMPLEMENTED.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word))
}
