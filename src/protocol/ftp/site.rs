//! `SITE` commands, for functions that FTP has no command for.

use super::argument::Argument;
use super::command_row::{Row, find};
use super::parse_error::ParseError;
use super::permissions::Permissions;
use super::time;

/// A `SITE` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// Permission bits.
    Chmod {
        /// How the bits change.
        permissions: Permissions,
        /// The file or folder.
        path: Vec<u8>,
    },
    /// Help about one command, or about all.
    Help(Option<String>),
    /// Usage and limits.
    Quota,
    /// A modification time, in nanoseconds since the epoch, and a path. If the argument has two readings,
    /// the first one whose path exists counts.
    Utime(Vec<(i64, Vec<u8>)>),
}

/// A parser of a `SITE` command.
pub type SiteParser = fn(Argument<'_>) -> Result<Site, ParseError>;

/// The `SITE` commands.
#[rustfmt::skip]
pub const COMMANDS: &[Row<SiteParser>] = &[
    Row { names: &["CHMOD"], usage: "SITE CHMOD <mode> <path>", does: "sets permission bits, such as 644 or u+x", read: chmod },
    Row { names: &["HELP"], usage: "SITE HELP [<command>]", does: "lists SITE commands, or explains one", read: |a| {
        Ok(Site::Help(a.words().into_iter().next()))
    } },
    Row { names: &["QUOTA"], usage: "SITE QUOTA", does: "shows what is used and allowed", read: |_| Ok(Site::Quota) },
    Row { names: &["UTIME"], usage: "SITE UTIME <YYYYMMDDHHMMSS> <path>", does: "sets the modification time, in UTC", read: utime },
];

pub(super) fn parse(argument: Argument<'_>) -> Result<Site, ParseError> {
    let end = argument.text.iter().position(|&byte| byte == b' ').unwrap_or(argument.text.len());
    match find(COMMANDS, &argument.text[..end]) {
        Some(row) => (row.read)(row.argument(argument.text.get(end + 1..))),
        None if argument.text.is_empty() => argument.wrong(),
        None => Err(ParseError::BadParameter("SITE HELP lists the SITE commands")),
    }
}

fn chmod(argument: Argument<'_>) -> Result<Site, ParseError> {
    let end = argument.text.iter().position(|&byte| byte == b' ').unwrap_or(argument.text.len());
    let (text, path) = (&argument.text[..end], argument.text.get(end + 1..).unwrap_or_default());
    match Permissions::read(text) {
        Some(permissions) if !path.is_empty() => Ok(Site::Chmod { permissions, path: path.to_vec() }),
        _ => argument.wrong(),
    }
}

/// `YYYYMMDDHHMM[SS] path`, or `path atime mtime ctime UTC` from older clients.
fn utime(argument: Argument<'_>) -> Result<Site, ParseError> {
    let in_front = time::split(argument.text).or_else(|| to_the_minute(argument.text));
    let readings = in_front.into_iter().chain(behind(argument.text)).filter(|(_, path)| !path.is_empty());
    let readings: Vec<_> = readings.map(|(mtime_ns, path)| (mtime_ns, path.to_vec())).collect();
    if readings.is_empty() { argument.wrong() } else { Ok(Site::Utime(readings)) }
}

/// Parses the form with three times after the path.
fn behind(text: &[u8]) -> Option<(i64, &[u8])> {
    let mut words = text.rsplitn(5, |&byte| byte == b' ');
    let is_utc = words.next()?.eq_ignore_ascii_case(b"UTC");
    let (_, mtime_ns, _) = (time::read(words.next()?)?, time::read(words.next()?)?, time::read(words.next()?)?);
    words.next().filter(|_| is_utc).map(|path| (mtime_ns, path))
}

fn to_the_minute(text: &[u8]) -> Option<(i64, &[u8])> {
    let space = text.iter().position(|&byte| byte == b' ')?;
    Some((time::read(&[&text[..space], b"00"].concat())?, &text[space + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> Result<Site, ParseError> {
        parse(Argument { text: text.as_bytes(), has_space: true, usage: "SITE" })
    }

    #[test]
    fn a_mode_stands_before_the_path() {
        for mode in ["644", "0755", "000", "2775", "1777", "4755", "00644", "u+x", "g-w,o=r", "a+rX"] {
            let permissions = Permissions::read(mode.as_bytes()).expect(mode);
            let expected = Site::Chmod { permissions, path: b"a b".to_vec() };
            assert_eq!(site(&format!("CHMOD {mode} a b")), Ok(expected), "{mode}");
        }
        for text in ["CHMOD", "CHMOD 644", "CHMOD 644 ", "CHMOD 888 a", "CHMOD u+q a", "CHMOD 77777 a", "CHMOD  644 a"]
        {
            assert!(matches!(site(text), Err(ParseError::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn times_are_read_in_each_form_that_clients_use() {
        for text in [
            "UTIME 20000229123456 a b",
            "UTIME a b 19990101000000 20000229123456 19990101000000 UTC",
            "utime a b 19990101000000 20000229123456 19990101000000 utc",
        ] {
            let readings = vec![(951_827_696_000_000_000, b"a b".to_vec())];
            assert_eq!(site(text), Ok(Site::Utime(readings)), "{text}");
        }
        let minute = Site::Utime(vec![(951_827_640_000_000_000, b"a".to_vec())]);
        assert_eq!(site("UTIME 200002291234 a"), Ok(minute));
        let times = "19990101000000 20000229123456 19990101000000 UTC";
        let both =
            vec![(0, format!("a {times}").into_bytes()), (951_827_696_000_000_000, b"19700101000000 a".to_vec())];
        assert_eq!(site(&format!("UTIME 19700101000000 a {times}")), Ok(Site::Utime(both)));
        for text in ["UTIME", "UTIME a", "UTIME 20000229123456", "UTIME 20000229123456 ", "UTIME a 1 2 3 UTC"] {
            assert!(matches!(site(text), Err(ParseError::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn others_are_told_from_those_there_are() {
        assert_eq!(site("quota"), Ok(Site::Quota));
        assert_eq!(site("HELP"), Ok(Site::Help(None)));
        assert_eq!(site("HELP chmod"), Ok(Site::Help(Some("CHMOD".into()))));
        assert_eq!(site(""), Err(ParseError::Syntax("SITE")));
        assert!(matches!(site("EXEC rm"), Err(ParseError::BadParameter(_))));
    }
}
