//! `SITE`: what FTP itself has no command for.

use super::argument::Argument;
use super::command::Wrong;
use super::help::{self, Row};
use super::{table, time};

/// A `SITE` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// Permission bits, at most 0o777.
    Chmod {
        /// The bits.
        mode: u32,
        /// Of what.
        path: Vec<u8>,
    },
    /// Of a command by its name, or of all.
    Help(Option<String>),
    /// What is used and allowed.
    Quota,
    /// When a file changed.
    Utime {
        /// Nanoseconds since the epoch.
        mtime_ns: i64,
        /// Of what.
        path: Vec<u8>,
    },
}

/// How an argument becomes a `SITE` command.
pub type Read = fn(Argument<'_>) -> Result<Site, Wrong>;

/// The `SITE` commands.
#[rustfmt::skip]
pub const COMMANDS: &[Row<Read>] = &[
    Row { names: &["CHMOD"], usage: "SITE CHMOD mode path", does: "sets permission bits, such as 644", read: chmod },
    Row { names: &["HELP"], usage: "SITE HELP [command]", does: "lists SITE commands, or explains one", read: |a| {
        Ok(Site::Help(a.words().into_iter().next()))
    } },
    Row { names: &["QUOTA"], usage: "SITE QUOTA", does: "tells what is used and allowed", read: |_| Ok(Site::Quota) },
    Row { names: &["UTIME"], usage: "SITE UTIME YYYYMMDDHHMMSS path", does: "sets when a file changed, in UTC", read: utime },
];

pub(super) fn parse(argument: Argument<'_>) -> Result<Site, Wrong> {
    let end = argument.text.iter().position(|&byte| byte == b' ').unwrap_or(argument.text.len());
    match help::find(COMMANDS, &argument.text[..end]) {
        Some(row) => (row.read)(table::argument(row, argument.text.get(end + 1..).unwrap_or_default())),
        None if argument.text.is_empty() => argument.wrong(),
        None => Err(Wrong::BadParameter("SITE HELP lists the SITE commands there are")),
    }
}

fn chmod(argument: Argument<'_>) -> Result<Site, Wrong> {
    let end = argument.text.iter().position(|&byte| byte == b' ').unwrap_or(argument.text.len());
    let (digits, path) = (&argument.text[..end], argument.text.get(end + 1..).unwrap_or_default());
    let is_octal = (3..=4).contains(&digits.len()) && digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
    if !is_octal || path.is_empty() {
        return argument.wrong();
    }
    match digits.iter().fold(0, |mode, digit| mode * 8 + u32::from(digit - b'0')) {
        mode @ 0..=0o777 => Ok(Site::Chmod { mode, path: path.to_vec() }),
        _ => Err(Wrong::BadParameter("only the bits up to 777 can be set")),
    }
}

/// `YYYYMMDDHHMM[SS] path`, or `path atime mtime ctime UTC` as older clients have it.
fn utime(argument: Argument<'_>) -> Result<Site, Wrong> {
    if let Some((mtime_ns, path)) = time::split(argument.text).or_else(|| to_the_minute(argument.text))
        && !path.is_empty()
    {
        return Ok(Site::Utime { mtime_ns, path: path.to_vec() });
    }
    let mut words = argument.text.rsplitn(5, |&byte| byte == b' ');
    match (words.next(), words.next(), words.next().and_then(time::read), words.next(), words.next()) {
        (Some(zone), Some(_), Some(mtime_ns), Some(_), Some(path))
            if zone.eq_ignore_ascii_case(b"UTC") && !path.is_empty() =>
        {
            Ok(Site::Utime { mtime_ns, path: path.to_vec() })
        }
        _ => argument.wrong(),
    }
}

fn to_the_minute(text: &[u8]) -> Option<(i64, &[u8])> {
    let space = text.iter().position(|&byte| byte == b' ')?;
    Some((time::read(&[&text[..space], b"00"].concat())?, &text[space + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> Result<Site, Wrong> {
        parse(Argument { text: text.as_bytes(), usage: "SITE" })
    }

    #[test]
    fn modes_are_octal_and_stay_within_permission_bits() {
        for (text, mode) in [("CHMOD 644 a b", 0o644), ("chmod 0755 a b", 0o755), ("CHMOD 000 a b", 0)] {
            assert_eq!(site(text), Ok(Site::Chmod { mode, path: b"a b".to_vec() }), "{text}");
        }
        for text in ["CHMOD", "CHMOD 644", "CHMOD 644 ", "CHMOD 888 a", "CHMOD u+x a", "CHMOD 00644 a", "CHMOD  644 a"]
        {
            assert!(matches!(site(text), Err(Wrong::Syntax(_))), "{text}");
        }
        assert!(matches!(site("CHMOD 4755 a"), Err(Wrong::BadParameter(_))));
    }

    #[test]
    fn times_are_read_in_each_form_that_clients_use() {
        for text in [
            "UTIME 20000229123456 a b",
            "UTIME a b 19990101000000 20000229123456 19990101000000 UTC",
            "utime a b 19990101000000 20000229123456 19990101000000 utc",
        ] {
            let path = b"a b".to_vec();
            assert_eq!(site(text), Ok(Site::Utime { mtime_ns: 951_827_696_000_000_000, path }), "{text}");
        }
        let minute = Site::Utime { mtime_ns: 951_827_640_000_000_000, path: b"a".to_vec() };
        assert_eq!(site("UTIME 200002291234 a"), Ok(minute));
        for text in ["UTIME", "UTIME a", "UTIME 20000229123456", "UTIME 20000229123456 ", "UTIME a 1 2 3 UTC"] {
            assert!(matches!(site(text), Err(Wrong::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn others_are_told_from_those_there_are() {
        assert_eq!(site("quota"), Ok(Site::Quota));
        assert_eq!(site("HELP"), Ok(Site::Help(None)));
        assert_eq!(site("HELP chmod"), Ok(Site::Help(Some("CHMOD".into()))));
        assert_eq!(site(""), Err(Wrong::Syntax("SITE")));
        assert!(matches!(site("EXEC rm"), Err(Wrong::BadParameter(_))));
    }
}
