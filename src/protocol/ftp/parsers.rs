//! The parsers of commands whose argument is more than a path or a number.

use zeroize::Zeroizing;

use super::address::{self, AddressError};
use super::argument::{Argument, LiteralOrParsed};
use super::command::{Command, Epsv, Opts, Password, Protection, Type};
use super::facts::Facts;
use super::parse_error::ParseError;
use super::permissions::PermissionChange;
use super::time;
use crate::auth::scram::PASSWORD_BYTES_MAX;

/// Parses the argument of `CWD`. A space without text is the current directory; no space is an error.
pub(super) fn directory(argument: Argument<'_>) -> Result<Command, ParseError> {
    if argument.has_space { Ok(Command::Cwd(argument.text.to_vec())) } else { argument.syntax_error() }
}

pub(super) fn password(argument: Argument<'_>) -> Result<Command, ParseError> {
    match std::str::from_utf8(argument.text) {
        Ok(text) if text.len() <= PASSWORD_BYTES_MAX => Ok(Command::Pass(Password(Zeroizing::new(text.into())))),
        _ => argument.syntax_error(),
    }
}

/// Parses the name of a command, such as `SITE CHMOD`.
pub(super) fn words(argument: Argument<'_>) -> Option<String> {
    let words = argument.words();
    (!words.is_empty()).then(|| words.join(" "))
}

pub(super) fn auth(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        // The word of RFC 4217, and those of older clients.
        "TLS" | "TLS-C" | "SSL" => Ok(Command::Auth),
        "" => argument.syntax_error(),
        _ => Err(ParseError::BadParameter("use AUTH TLS")),
    }
}

pub(super) fn protection(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        "P" => Ok(Command::Prot(Protection::Private)),
        "C" => Ok(Command::Prot(Protection::Clear)),
        "S" | "E" => Err(ParseError::Protection),
        "" => argument.syntax_error(),
        _ => Err(ParseError::BadParameter("use PROT P or PROT C")),
    }
}

pub(super) fn opts(argument: Argument<'_>) -> Result<Command, ParseError> {
    let words = argument.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(Command::Opts(match words[..] {
        ["UTF8" | "UTF-8"] | ["UTF8" | "UTF-8", "ON" | "NLST"] => Opts::Utf8,
        ["UTF8" | "UTF-8", ..] => return Err(ParseError::BadParameter("names are always UTF-8")),
        ["MLST"] => Opts::Mlst(Facts::NONE),
        ["MLST", facts] => Opts::Mlst(Facts::parse(facts)),
        ["HASH"] | ["HASH", "SHA-256"] => Opts::Hash,
        ["HASH", ..] => return Err(ParseError::BadParameter("digests are always SHA-256")),
        _ => return argument.syntax_error(),
    }))
}

pub(super) fn representation(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        "I" => Ok(Command::Type(Type::Image)),
        "A" | "A N" => Ok(Command::Type(Type::Ascii)),
        "L 8" | "L8" => Ok(Command::Type(Type::Local8)),
        "" => argument.syntax_error(),
        _ => Err(ParseError::BadParameter("use TYPE I, TYPE A or TYPE L 8")),
    }
}

pub(super) fn structure(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        "F" => Ok(Command::Stru),
        "" => argument.syntax_error(),
        _ => Err(ParseError::BadParameter("use STRU F")),
    }
}

pub(super) fn mode(argument: Argument<'_>) -> Result<Command, ParseError> {
    match &argument.words().join(" ")[..] {
        "S" => Ok(Command::Mode),
        "" => argument.syntax_error(),
        _ => Err(ParseError::BadParameter("use MODE S")),
    }
}

pub(super) fn port(argument: Argument<'_>) -> Result<Command, ParseError> {
    match address::parse_numbers(argument.text.trim_ascii()) {
        Some(address) => Ok(Command::Port(address)),
        None => argument.syntax_error(),
    }
}

pub(super) fn extended_port(argument: Argument<'_>) -> Result<Command, ParseError> {
    match address::parse_extended(argument.text.trim_ascii()) {
        Ok(address) => Ok(Command::Eprt(address)),
        Err(AddressError::Malformed) => argument.syntax_error(),
        Err(AddressError::Protocol) => Err(ParseError::NetworkProtocol),
    }
}

pub(super) fn extended_passive(argument: Argument<'_>) -> Result<Command, ParseError> {
    Ok(Command::Epsv(match &argument.words().join(" ")[..] {
        "" => Epsv::Any,
        "1" => Epsv::V4,
        "2" => Epsv::V6,
        "ALL" => Epsv::All,
        other if other.bytes().all(|byte| byte.is_ascii_digit()) => return Err(ParseError::NetworkProtocol),
        _ => return argument.syntax_error(),
    }))
}

/// `ALLO bytes [R record]` (RFC 959 section 5.3.1).
pub(super) fn allocation(argument: Argument<'_>) -> Result<Command, ParseError> {
    let mut words = argument.text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let bytes = bytes_of_file(Argument { text: words.next().unwrap_or_default(), ..argument })?;
    match (words.next(), words.next(), words.next()) {
        (None, ..) => {}
        (Some(b"R" | b"r"), Some(record), None) => drop(bytes_of_file(Argument { text: record, ..argument })?),
        _ => return argument.syntax_error(),
    }
    Ok(Command::Allo(bytes))
}

pub(super) fn restart(argument: Argument<'_>) -> Result<Command, ParseError> {
    bytes_of_file(argument).map(Command::Rest)
}

/// Parses a file size: no system call accepts more.
fn bytes_of_file(argument: Argument<'_>) -> Result<u64, ParseError> {
    match argument.number()? {
        bytes if i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => argument.syntax_error(),
    }
}

pub(super) fn modification(argument: Argument<'_>) -> Result<Command, ParseError> {
    let (literal, parsed) = (argument.path()?, argument.time_and_path());
    Ok(Command::Mdtm(LiteralOrParsed { literal, parsed }))
}

pub(super) fn whole_digest(argument: Argument<'_>) -> Result<Command, ParseError> {
    let has_no_range = |rest: &[u8]| match rest {
        b"" => Ok(()),
        _ => Err(ParseError::BadParameter("the digest is that of the whole file; name no range")),
    };
    argument.maybe_quoted_path(has_no_range).map(Command::Xsha256)
}

// ---- SITE ---------------------------------------------------------------------------------

/// `SITE` without the name of a `SITE` command.
pub(super) fn unknown_site(argument: Argument<'_>) -> Result<Command, ParseError> {
    if argument.text.is_empty() {
        argument.syntax_error()
    } else {
        Err(ParseError::BadParameter("SITE HELP lists the SITE commands"))
    }
}

/// `mode path`.
pub(super) fn site_chmod(argument: Argument<'_>) -> Result<Command, ParseError> {
    let end = argument.text.iter().position(|&byte| byte == b' ').unwrap_or(argument.text.len());
    let (text, path) = (&argument.text[..end], argument.text.get(end + 1..).unwrap_or_default());
    match PermissionChange::parse(text) {
        Some(permissions) if !path.is_empty() => Ok(Command::SiteChmod { permissions, path: path.to_vec() }),
        _ => argument.syntax_error(),
    }
}

/// `YYYYMMDDHHMM[SS] path`, or `path atime mtime ctime UTC` from older clients.
pub(super) fn site_utime(argument: Argument<'_>) -> Result<Command, ParseError> {
    let before_path = time::split(argument.text).or_else(|| parse_without_seconds(argument.text));
    let readings = before_path.into_iter().chain(time_after_path(argument.text)).filter(|(_, path)| !path.is_empty());
    let readings: Vec<_> = readings.map(|(mtime_ns, path)| (mtime_ns, path.to_vec())).collect();
    if readings.is_empty() { argument.syntax_error() } else { Ok(Command::SiteUtime(readings)) }
}

/// Parses the form with three times after the path.
fn time_after_path(text: &[u8]) -> Option<(i64, &[u8])> {
    let mut words = text.rsplitn(5, |&byte| byte == b' ');
    let is_utc = words.next()?.eq_ignore_ascii_case(b"UTC");
    let (_, mtime_ns, _) = (time::parse(words.next()?)?, time::parse(words.next()?)?, time::parse(words.next()?)?);
    words.next().filter(|_| is_utc).map(|path| (mtime_ns, path))
}

fn parse_without_seconds(text: &[u8]) -> Option<(i64, &[u8])> {
    let space = text.iter().position(|&byte| byte == b' ')?;
    Some((time::parse(&[&text[..space], b"00"].concat())?, &text[space + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str) -> Argument<'_> {
        Argument { text: text.as_bytes(), has_space: true, usage: "usage" }
    }

    fn chmod(text: &str) -> Result<Command, ParseError> {
        site_chmod(argument(text))
    }

    fn utime(text: &str) -> Result<Command, ParseError> {
        site_utime(argument(text))
    }

    #[test]
    fn a_mode_stands_before_the_path() {
        for mode in ["644", "0755", "000", "2775", "1777", "4755", "00644", "u+x", "g-w,o=r", "a+rX"] {
            let permissions = PermissionChange::parse(mode.as_bytes()).expect(mode);
            let expected = Command::SiteChmod { permissions, path: b"a b".to_vec() };
            assert_eq!(chmod(&format!("{mode} a b")), Ok(expected), "{mode}");
        }
        for text in ["", "644", "644 ", "888 a", "u+q a", "77777 a", " 644 a"] {
            assert!(matches!(chmod(text), Err(ParseError::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn times_are_read_in_each_form_that_clients_use() {
        for text in [
            "20000229123456 a b",
            "a b 19990101000000 20000229123456 19990101000000 UTC",
            "a b 19990101000000 20000229123456 19990101000000 utc",
        ] {
            let readings = vec![(951_827_696_000_000_000, b"a b".to_vec())];
            assert_eq!(utime(text), Ok(Command::SiteUtime(readings)), "{text}");
        }
        let minute = Command::SiteUtime(vec![(951_827_640_000_000_000, b"a".to_vec())]);
        assert_eq!(utime("200002291234 a"), Ok(minute));
        let times = "19990101000000 20000229123456 19990101000000 UTC";
        let both =
            vec![(0, format!("a {times}").into_bytes()), (951_827_696_000_000_000, b"19700101000000 a".to_vec())];
        assert_eq!(utime(&format!("19700101000000 a {times}")), Ok(Command::SiteUtime(both)));
        for text in ["", "a", "20000229123456", "20000229123456 ", "a 1 2 3 UTC"] {
            assert!(matches!(utime(text), Err(ParseError::Syntax(_))), "{text}");
        }
    }
}
