//! Parses the arguments of commands.

use super::list_options::Options;
use super::parse_error::ParseError;
use super::time;

/// The text after a command's name, and the command's usage.
#[derive(Clone, Copy)]
pub struct Argument<'a> {
    pub(super) text: &'a [u8],
    /// Whether a space follows the name, even with nothing after it.
    pub(super) has_space: bool,
    pub(super) usage: &'static str,
}

/// An argument that is either a name or has a syntax of its own. It is a name if an entry has that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteralOrParsed<T> {
    /// The whole argument, as a name.
    pub literal: Vec<u8>,
    /// The argument by its syntax, or the error in it.
    pub parsed: Result<T, ParseError>,
}

impl<'a> Argument<'a> {
    /// Returns the error for a malformed argument.
    pub fn syntax_error<T>(self) -> Result<T, ParseError> {
        Err(ParseError::Syntax(self.usage))
    }

    /// Parses a path, including spaces.
    pub fn path(self) -> Result<Vec<u8>, ParseError> {
        if self.text.is_empty() { self.syntax_error() } else { Ok(self.text.to_vec()) }
    }

    /// Parses a path, if there is one.
    pub fn optional_path(self) -> Option<Vec<u8>> {
        (!self.text.is_empty()).then(|| self.text.to_vec())
    }

    /// Parses non-empty UTF-8 text.
    pub fn text(self) -> Result<&'a str, ParseError> {
        match std::str::from_utf8(self.text) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => self.syntax_error(),
        }
    }

    /// Parses ASCII words, in capitals.
    pub fn words(self) -> Vec<String> {
        let words = self.text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect()
    }

    /// Parses a number and nothing else.
    pub fn number(self) -> Result<u64, ParseError> {
        let text = self.text.trim_ascii();
        match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
            // `parse` alone accepts a sign.
            Some(number) if text.iter().all(u8::is_ascii_digit) => Ok(number),
            _ => self.syntax_error(),
        }
    }

    /// Parses a time, one space and a path.
    pub fn time_and_path(self) -> Result<(i64, Vec<u8>), ParseError> {
        match time::split(self.text) {
            Some((mtime_ns, path)) if !path.is_empty() => Ok((mtime_ns, path.to_vec())),
            _ => self.syntax_error(),
        }
    }

    /// Parses a path, or a path in quotes with further text, which `check` accepts or refuses.
    pub fn maybe_quoted_path(
        self,
        check: impl FnOnce(&[u8]) -> Result<(), ParseError>,
    ) -> Result<LiteralOrParsed<Vec<u8>>, ParseError> {
        let literal = self.path()?;
        let parsed = self.quoted_path().and_then(|(path, rest)| check(rest).map(|()| path));
        Ok(LiteralOrParsed { literal, parsed })
    }

    /// Parses a path, in quotes or not. Returns it with the text after the quotes. Within them `""` is a
    /// quote.
    fn quoted_path(self) -> Result<(Vec<u8>, &'a [u8]), ParseError> {
        let Some(mut rest) = self.text.strip_prefix(b"\"") else { return Ok((self.path()?, b"")) };
        let mut path = Vec::new();
        loop {
            let Some(end) = rest.iter().position(|&byte| byte == b'"') else { return Ok((self.path()?, b"")) };
            path.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix(b"\"") {
                Some(more) => rest = more,
                None if path.is_empty() => return self.syntax_error(),
                None => return Ok((path, rest.trim_ascii())),
            }
            path.push(b'"');
        }
    }
}

/// Parses options like those of `ls`, and the path after them. A word that begins with a dash holds options,
/// up to `--`; but if `is_there` finds an entry with the name of the whole rest, the rest is the path.
pub fn list_options(text: &[u8], is_there: impl Fn(&[u8]) -> bool) -> Result<(Options, Option<Vec<u8>>), ParseError> {
    let mut options = Options::default();
    let mut rest = text;
    while let Some(word) = rest.strip_prefix(b"-").filter(|word| !word.is_empty() && word[0] != b' ') {
        if is_there(rest) {
            break;
        }
        let end = word.iter().position(|&byte| byte == b' ').unwrap_or(word.len());
        rest = word.get(end + 1..).unwrap_or_default();
        match &word[..end] {
            b"-" => break,
            letters => letters.iter().try_for_each(|&letter| options.add(letter))?,
        }
    }
    let is_blank = rest.iter().all(|&byte| byte == b' ') && !is_there(rest);
    Ok((options, (!is_blank).then(|| rest.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::super::list_options::OPTIONS;
    use super::*;

    fn argument(text: &[u8]) -> Argument<'_> {
        Argument { text, has_space: true, usage: "usage" }
    }

    #[test]
    fn paths_keep_their_spaces() {
        assert_eq!(argument(b" a  b ").path(), Ok(b" a  b ".to_vec()));
        assert_eq!(argument(b"").path(), Err(ParseError::Syntax("usage")));
        assert_eq!(argument(b"").optional_path(), None);
    }

    #[test]
    fn numbers_have_digits_and_fit() {
        assert_eq!(argument(b"18446744073709551615 ").number(), Ok(u64::MAX));
        for text in ["", "-1", "+1", "1 2", "0x1", "18446744073709551616", "1.5", "\u{661}"] {
            assert_eq!(argument(text.as_bytes()).number(), Err(ParseError::Syntax("usage")), "{text}");
        }
    }

    #[test]
    fn options_differ_from_paths() {
        let read = |text: &str, there: &[&str]| {
            let is_there = |name: &[u8]| there.iter().any(|it| it.as_bytes() == name);
            let (options, path) = list_options(text.as_bytes(), is_there)?;
            Ok((options.letters(), path.map(|path| String::from_utf8(path).expect("UTF-8"))))
        };
        for (text, letters, path) in [
            ("", "", None),
            (" ", "", None),
            ("-la", "al", None),
            ("-l -a a b", "al", Some("a b")),
            ("-ld /x", "dl", Some("/x")),
            ("a -la", "", Some("a -la")),
            ("-- -a", "", Some("-a")),
            ("--", "", None),
            ("-", "", Some("-")),
            ("- a", "", Some("- a")),
            ("-l  a", "l", Some(" a")),
            ("-l  ", "l", None),
            ("-1CFtrSRA", "aFRSr", None),
            ("-St", "t", None),
        ] {
            let expected = Ok((letters.to_string(), path.map(str::to_string)));
            assert_eq!(read(text, &[]), expected, "{text}");
        }
        for (text, there, letters, path) in [
            ("-old", "-old", "", "-old"),
            ("-la", "-la", "", "-la"),
            ("-la -old", "-old", "al", "-old"),
            ("-la -old", "-la -old", "", "-la -old"),
            ("-- -old", "-- -old", "", "-- -old"),
            ("-l  ", " ", "l", " "),
        ] {
            assert_eq!(read(text, &[there]), Ok((letters.into(), Some(path.into()))), "{text}");
        }
        for (text, letter) in [("-old", b'o'), ("-lz", b'z'), ("-l --all", b'-'), ("-a\u{ff}", 0xc3)] {
            assert_eq!(read(text, &["-la"]), Err(ParseError::Option(letter, OPTIONS)), "{text}");
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
        assert_eq!(argument(b"\"\"").quoted_path(), Err(ParseError::Syntax("usage")));
        assert_eq!(argument(b"").quoted_path(), Err(ParseError::Syntax("usage")));
    }
}
