//! The table of commands: names, usage, description, parser. Replies, help and the parser use it.

use super::address::{self, AddressError};
use super::argument::{Argument, ExactOr};
use super::command::{Command, Epsv, Opts, Password, Protection, Type};
use super::command_row::{Row, find};
use super::listing::Facts;
use super::parse_error::ParseError;
use super::site;
use crate::base::limits::PASSWORD_BYTES_MAX;
use zeroize::Zeroizing;

/// A parser of a command.
pub type CommandParser = fn(Argument<'_>) -> Result<Command, ParseError>;

const fn row(
    names: &'static [&'static str],
    usage: &'static str,
    does: &'static str,
    read: CommandParser,
) -> Row<CommandParser> {
    Row { names, usage, does, read }
}

/// The commands, in the order of `HELP`.
#[rustfmt::skip]
pub const COMMANDS: &[Row<CommandParser>] = &[
    row(&["USER"], "USER <name>", "names the account", |a| Ok(Command::User(a.text()?.into()))),
    row(&["PASS"], "PASS <password>", "logs in; the password is UTF-8", password),
    row(&["ACCT"], "ACCT <account>", "is accepted and ignored", |_| Ok(Command::Acct)),
    row(&["QUIT"], "QUIT", "ends the session", |_| Ok(Command::Quit)),
    row(&["AUTH"], "AUTH TLS", "encrypts the control connection", auth),
    row(&["PBSZ"], "PBSZ 0", "sets the buffer size; needed before PROT", |a| a.number().map(|_| Command::Pbsz)),
    row(&["PROT"], "PROT P | C", "encrypts data connections (P) or not (C)", protection),
    row(&["CCC"], "CCC", "is refused: the control connection stays encrypted", |_| Ok(Command::Ccc)),
    row(&["FEAT"], "FEAT", "lists the extensions to RFC 959", |_| Ok(Command::Feat)),
    row(&["OPTS"], "OPTS UTF8 ON | MLST <fact>;... | HASH SHA-256", "sets options", opts),
    row(&["CLNT"], "CLNT <name>", "names the client program", |_| Ok(Command::Clnt)),
    row(&["SYST"], "SYST", "names the type of system", |_| Ok(Command::Syst)),
    row(&["HELP"], "HELP [<command>]", "lists commands, or explains one", |a| Ok(Command::Help(word(a)))),
    row(&["NOOP"], "NOOP", "does nothing", |_| Ok(Command::Noop)),
    row(&["TYPE"], "TYPE I | A | L 8", "sets the type; no type changes the bytes of a file", representation),
    row(&["STRU"], "STRU F", "sets the structure; only F is supported", structure),
    row(&["MODE"], "MODE S", "sets the mode; only S is supported", mode),
    row(&["PORT"], "PORT <h1,h2,h3,h4,p1,p2>", "sets the address to which the server opens the data connection", port),
    row(&["EPRT"], "EPRT |<1 or 2>|<address>|<port>|", "does the same for IPv4 (1) and IPv6 (2)", extended_port),
    row(&["PASV"], "PASV", "makes the server listen for a data connection", |_| Ok(Command::Pasv)),
    row(&["EPSV"], "EPSV [1 | 2 | ALL]", "does the same for IPv4 (1) and IPv6 (2)", extended_passive),
    row(&["ABOR"], "ABOR", "ends the running transfer", |_| Ok(Command::Abor)),
    row(&["CWD", "XCWD"], "CWD <path>", "changes the current directory", folder),
    row(&["CDUP", "XCUP"], "CDUP", "changes to the parent directory", |_| Ok(Command::Cdup)),
    row(&["PWD", "XPWD"], "PWD", "shows the current directory", |_| Ok(Command::Pwd)),
    row(&["MKD", "XMKD"], "MKD <path>", "creates a directory", |a| Ok(Command::Mkd(a.path()?))),
    row(&["RMD", "XRMD"], "RMD <path>", "removes an empty directory", |a| Ok(Command::Rmd(a.path()?))),
    row(&["DELE"], "DELE <path>", "removes a file", |a| Ok(Command::Dele(a.path()?))),
    row(&["RNFR"], "RNFR <path>", "names the file to rename", |a| Ok(Command::Rnfr(a.path()?))),
    row(&["RNTO"], "RNTO <path>", "renames it to this path", |a| Ok(Command::Rnto(a.path()?))),
    row(&["RETR"], "RETR <path>", "downloads a file", |a| Ok(Command::Retr(a.path()?))),
    row(&["STOR"], "STOR <path>", "uploads a file and replaces an existing one", |a| Ok(Command::Stor(a.path()?))),
    row(&["STOU"], "STOU", "uploads a file under a new name", |_| Ok(Command::Stou)),
    row(&["APPE"], "APPE <path>", "appends to a file, or creates it", |a| Ok(Command::Appe(a.path()?))),
    row(&["ALLO"], "ALLO <bytes> [R <bytes>]", "reserves space for the next upload", allocation),
    row(&["REST"], "REST <byte>", "sets the byte at which the next transfer starts", restart),
    row(&["LIST"], "LIST [-1AaCdFlRrSt] [<path or pattern>]", "lists a directory in the format of ls -l", |a| {
        Ok(Command::List(a.text.to_vec()))
    }),
    row(&["NLST"], "NLST [-1AaCdFlRrSt] [<path or pattern>]", "lists names", |a| Ok(Command::Nlst(a.text.to_vec()))),
    row(&["STAT"], "STAT [[-1AaCdFlrSt] <path or pattern>]", "shows the state of the session, or lists like LIST", |a| {
        Ok(Command::Stat(a.optional_path()))
    }),
    row(&["MLST"], "MLST [<path>]", "shows the facts of one file or directory", |a| Ok(Command::Mlst(a.optional_path()))),
    row(&["MLSD"], "MLSD [<path>]", "lists a directory as facts", |a| Ok(Command::Mlsd(a.optional_path()))),
    row(&["SIZE"], "SIZE <path>", "shows the size of a file in bytes", |a| Ok(Command::Size(a.path()?))),
    row(&["MDTM"], "MDTM <path>", "shows the modification time; MDTM <YYYYMMDDHHMMSS> <path> sets it", modification),
    row(&["MFMT"], "MFMT <YYYYMMDDHHMMSS> <path>", "sets the modification time, in UTC", |a| {
        let (mtime_ns, path) = a.time_and_path()?;
        Ok(Command::Mfmt { mtime_ns, path })
    }),
    row(&["HASH"], "HASH <path>", "shows the SHA-256 of a file", |a| Ok(Command::Hash(a.path()?))),
    row(&["XSHA256"], "XSHA256 <path>", "shows the SHA-256 of a file, in the older form", whole_digest),
    row(&["AVBL"], "AVBL [<path>]", "shows how many bytes may still be stored", |a| Ok(Command::Avbl(a.optional_path()))),
    row(&["SITE"], "SITE <command>", "runs a command of this server; SITE HELP lists them", |a| {
        site::parse(a).map(Command::Site)
    }),
];

/// Parses a line of [`super::line::Lines`].
pub fn parse(line: &[u8]) -> Result<Command, ParseError> {
    let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    let (word, argument) = (&line[..end], line.get(end + 1..));
    match find(COMMANDS, word) {
        Some(_) if argument.is_some_and(|argument| argument.contains(&0)) => Err(ParseError::Nul),
        Some(row) => (row.read)(row.argument(argument)),
        None if is_known_elsewhere(word) => Err(ParseError::NotImplemented),
        None => Err(ParseError::unknown(word)),
    }
}

/// Commands of RFCs, and other common ones, that are not served.
const ELSEWHERE: [&str; 20] = [
    "REIN", "SMNT", "HOST", "LANG", "ADAT", "MIC", "CONF", "ENC", "LPRT", "LPSV", "MFCT", "MFF", "XSEN", "XSEM",
    "XRSQ", "XRCP", "XCRC", "XMD5", "XSHA1", "XSHA512",
];

fn is_known_elsewhere(word: &[u8]) -> bool {
    ELSEWHERE.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word))
}

/// A space without text is the current folder; no space is an error.
fn folder(argument: Argument<'_>) -> Result<Command, ParseError> {
    if argument.has_space { Ok(Command::Cwd(argument.text.to_vec())) } else { argument.wrong() }
}

fn password(argument: Argument<'_>) -> Result<Command, ParseError> {
    match std::str::from_utf8(argument.text) {
        Ok(text) if text.len() <= PASSWORD_BYTES_MAX => Ok(Command::Pass(Password(Zeroizing::new(text.into())))),
        _ => argument.wrong(),
    }
}

fn word(argument: Argument<'_>) -> Option<String> {
    let words = argument.words();
    (!words.is_empty()).then(|| words.join(" "))
}

fn auth(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        // The word of RFC 4217, and those of older clients.
        "TLS" | "TLS-C" | "SSL" => Ok(Command::Auth),
        "" => argument.wrong(),
        _ => Err(ParseError::BadParameter("use AUTH TLS")),
    }
}

fn protection(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        "P" => Ok(Command::Prot(Protection::Private)),
        "C" => Ok(Command::Prot(Protection::Clear)),
        "S" | "E" => Err(ParseError::Protection),
        "" => argument.wrong(),
        _ => Err(ParseError::BadParameter("use PROT P or PROT C")),
    }
}

fn opts(argument: Argument<'_>) -> Result<Command, ParseError> {
    let words = argument.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(Command::Opts(match words[..] {
        ["UTF8" | "UTF-8"] | ["UTF8" | "UTF-8", "ON" | "NLST"] => Opts::Utf8,
        ["UTF8" | "UTF-8", ..] => return Err(ParseError::BadParameter("names are always UTF-8")),
        ["MLST"] => Opts::Mlst(Facts::NONE),
        ["MLST", facts] => Opts::Mlst(Facts::read(facts)),
        ["HASH"] | ["HASH", "SHA-256"] => Opts::Hash,
        ["HASH", ..] => return Err(ParseError::BadParameter("digests are always SHA-256")),
        _ => return argument.wrong(),
    }))
}

fn representation(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        "I" => Ok(Command::Type(Type::Image)),
        "A" | "A N" => Ok(Command::Type(Type::Ascii)),
        "L 8" | "L8" => Ok(Command::Type(Type::Local8)),
        "" => argument.wrong(),
        _ => Err(ParseError::BadParameter("use TYPE I, TYPE A or TYPE L 8")),
    }
}

fn structure(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        "F" => Ok(Command::Stru),
        "" => argument.wrong(),
        _ => Err(ParseError::BadParameter("use STRU F")),
    }
}

fn mode(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        "S" => Ok(Command::Mode),
        "" => argument.wrong(),
        _ => Err(ParseError::BadParameter("use MODE S")),
    }
}

fn port(argument: Argument<'_>) -> Result<Command, ParseError> {
    match address::read_numbers(argument.text.trim_ascii()) {
        Some(address) => Ok(Command::Port(address)),
        None => argument.wrong(),
    }
}

fn extended_port(argument: Argument<'_>) -> Result<Command, ParseError> {
    match address::read_extended(argument.text.trim_ascii()) {
        Ok(address) => Ok(Command::Eprt(address)),
        Err(AddressError::Malformed) => argument.wrong(),
        Err(AddressError::Protocol) => Err(ParseError::NetworkProtocol),
    }
}

fn extended_passive(argument: Argument<'_>) -> Result<Command, ParseError> {
    Ok(Command::Epsv(match &argument.words().join(" ")[..] {
        "" => Epsv::Any,
        "1" => Epsv::V4,
        "2" => Epsv::V6,
        "ALL" => Epsv::All,
        other if other.bytes().all(|byte| byte.is_ascii_digit()) => return Err(ParseError::NetworkProtocol),
        _ => return argument.wrong(),
    }))
}

/// `ALLO bytes [R record]` (RFC 959 section 5.3.1).
fn allocation(argument: Argument<'_>) -> Result<Command, ParseError> {
    let mut words = argument.text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let bytes = bytes_of_file(Argument { text: words.next().unwrap_or_default(), ..argument })?;
    match (words.next(), words.next(), words.next()) {
        (None, ..) => {}
        (Some(b"R" | b"r"), Some(record), None) => drop(bytes_of_file(Argument { text: record, ..argument })?),
        _ => return argument.wrong(),
    }
    Ok(Command::Allo(bytes))
}

fn restart(argument: Argument<'_>) -> Result<Command, ParseError> {
    bytes_of_file(argument).map(Command::Rest)
}

/// Parses a file size: no system call accepts more.
fn bytes_of_file(argument: Argument<'_>) -> Result<u64, ParseError> {
    match argument.number()? {
        bytes if i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => argument.wrong(),
    }
}

fn modification(argument: Argument<'_>) -> Result<Command, ParseError> {
    let (exact, otherwise) = (argument.path()?, argument.time_and_path());
    Ok(Command::Mdtm(ExactOr { exact, otherwise }))
}

fn whole_digest(argument: Argument<'_>) -> Result<Command, ParseError> {
    let has_no_range = |rest: &[u8]| match rest {
        b"" => Ok(()),
        _ => Err(ParseError::BadParameter("the digest is that of the whole file; name no range")),
    };
    argument.maybe_quoted_path(has_no_range).map(Command::Xsha256)
}
