//! What stands behind a command's name, read in the ways that commands need.

use super::command::Wrong;
use super::listing::Options;
use super::time;

/// All that follows the one space behind the name, and how the whole is written.
#[derive(Clone, Copy)]
pub struct Argument<'a> {
    pub(super) text: &'a [u8],
    pub(super) usage: &'static str,
}

impl<'a> Argument<'a> {
    /// What to say when it cannot be made out.
    pub fn wrong<T>(self) -> Result<T, Wrong> {
        Err(Wrong::Syntax(self.usage))
    }

    /// A path, spaces and all.
    pub fn path(self) -> Result<Vec<u8>, Wrong> {
        if self.text.is_empty() { self.wrong() } else { Ok(self.text.to_vec()) }
    }

    /// A path, or none.
    pub fn optional_path(self) -> Option<Vec<u8>> {
        (!self.text.is_empty()).then(|| self.text.to_vec())
    }

    /// Text in UTF-8 that is not empty, as it is.
    pub fn text(self) -> Result<&'a str, Wrong> {
        match std::str::from_utf8(self.text) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => self.wrong(),
        }
    }

    /// Words for a machine, in capitals; bytes beyond ASCII are none.
    pub fn words(self) -> Vec<String> {
        let words = self.text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect()
    }

    /// A number and nothing else.
    pub fn number(self) -> Result<u64, Wrong> {
        let text = self.text.trim_ascii();
        match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
            // `parse` alone takes a sign.
            Some(number) if text.iter().all(u8::is_ascii_digit) => Ok(number),
            _ => self.wrong(),
        }
    }

    /// Options as those of `ls`, and a path behind them. A name that begins with a dash is
    /// written `./-name`, or behind `--`.
    pub fn options(self) -> (Options, Option<Vec<u8>>) {
        let mut options = Options::default();
        let mut rest = self.text;
        while let Some(letters) = rest.strip_prefix(b"-") {
            let end = letters.iter().position(|&byte| byte == b' ').unwrap_or(letters.len());
            rest = letters.get(end + 1..).unwrap_or_default();
            match &letters[..end] {
                b"-" => break,
                letters => letters.iter().for_each(|&letter| options.add(letter)),
            }
        }
        (options, (!rest.is_empty()).then(|| rest.to_vec()))
    }

    /// A time, one space and a path.
    pub fn time_and_path(self) -> Result<(i64, Vec<u8>), Wrong> {
        match time::split(self.text) {
            Some((mtime_ns, path)) if !path.is_empty() => Ok((mtime_ns, path.to_vec())),
            _ => self.wrong(),
        }
    }

    /// A path, in quotes or not, and what follows the quotes. Within them `""` is one.
    pub fn quoted_path(self) -> Result<(Vec<u8>, &'a [u8]), Wrong> {
        let Some(mut rest) = self.text.strip_prefix(b"\"") else { return Ok((self.path()?, b"")) };
        let mut path = Vec::new();
        loop {
            let Some(end) = rest.iter().position(|&byte| byte == b'"') else { return Ok((self.path()?, b"")) };
            path.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix(b"\"") {
                Some(more) => rest = more,
                None if path.is_empty() => return self.wrong(),
                None => return Ok((path, rest.trim_ascii())),
            }
            path.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &[u8]) -> Argument<'_> {
        Argument { text, usage: "usage" }
    }

    #[test]
    fn paths_keep_their_spaces() {
        assert_eq!(argument(b" a  b ").path(), Ok(b" a  b ".to_vec()));
        assert_eq!(argument(b"").path(), Err(Wrong::Syntax("usage")));
        assert_eq!(argument(b"").optional_path(), None);
    }

    #[test]
    fn numbers_have_digits_and_fit() {
        assert_eq!(argument(b"18446744073709551615 ").number(), Ok(u64::MAX));
        for text in ["", "-1", "+1", "1 2", "0x1", "18446744073709551616", "1.5", "\u{661}"] {
            assert_eq!(argument(text.as_bytes()).number(), Err(Wrong::Syntax("usage")), "{text}");
        }
    }

    #[test]
    fn options_are_told_from_paths() {
        for (text, all, itself, path) in [
            ("", false, false, None),
            ("-la", true, false, None),
            ("-l -a a b", true, false, Some("a b")),
            ("-ld /x", false, true, Some("/x")),
            ("a -la", false, false, Some("a -la")),
            ("-- -a", false, false, Some("-a")),
            ("--", false, false, None),
            ("-", false, false, None),
            ("-l  a", false, false, Some(" a")),
        ] {
            let (options, found) = argument(text.as_bytes()).options();
            assert_eq!((options.all, options.itself), (all, itself), "{text}");
            assert_eq!(found.as_deref(), path.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn quotes_around_a_path_are_taken_off() {
        for (text, path, rest) in [
            ("a b", "a b", ""),
            ("\"a b\"", "a b", ""),
            ("\"a b\" 0 5", "a b", "0 5"),
            ("\"a\"\"b\"", "a\"b", ""),
            ("\"\"\"\"", "\"", ""),
            ("\"a", "\"a", ""),
            ("a\"b\"", "a\"b\"", ""),
        ] {
            let expected = (path.as_bytes().to_vec(), rest.as_bytes());
            assert_eq!(argument(text.as_bytes()).quoted_path(), Ok(expected), "{text}");
        }
        assert_eq!(argument(b"\"\"").quoted_path(), Err(Wrong::Syntax("usage")));
        assert_eq!(argument(b"").quoted_path(), Err(Wrong::Syntax("usage")));
    }
}
