//! The options and patterns of `LIST`, `NLST` and `STAT`.

use super::parse_error::ParseError;
use crate::base::glob::{Pattern, is_wild};
use crate::store::listing::{Order, SortBy};

/// The options of `ls` that `LIST`, `NLST` and `STAT` accept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `a`, `A`: also names with a leading dot, which a pattern otherwise leaves out.
    pub all: bool,
    /// `d`: the directory itself, not its content.
    pub itself: bool,
    /// `l`: the long form, also for `NLST`.
    pub long: bool,
    /// `R`: its subdirectories, too.
    pub recursive: bool,
    /// `F`: a mark after each name for its kind.
    pub marks: bool,
    /// `S`, `t`, `r`: the order.
    pub order: Order,
}

/// The letters of [`Options`]. `1` and `C` concern columns and are ignored, because a listing always
/// has one name a line.
pub const OPTIONS: &str = "1AaCdFlRrSt";

impl Options {
    /// Returns whether `pattern` matches a name.
    pub fn matches(self, pattern: &Pattern, name: &[u8]) -> bool {
        if self.all { pattern.matches_hidden_too(name) } else { pattern.matches(name) }
    }

    /// Returns its letters, without those that change nothing; for tests.
    #[cfg(test)]
    pub(super) fn letters(self) -> String {
        let by = |by| self.order.by == by;
        let letters = [
            ('a', self.all),
            ('d', self.itself),
            ('F', self.marks),
            ('l', self.long),
            ('R', self.recursive),
            ('S', by(SortBy::Size)),
            ('r', self.order.is_reversed),
            ('t', by(SortBy::Time)),
        ];
        letters.iter().filter(|(_, is_there)| *is_there).map(|(letter, _)| letter).collect()
    }

    pub(super) fn add(&mut self, letter: u8) -> Result<(), ParseError> {
        match letter {
            b'a' | b'A' => self.all = true,
            b'd' => self.itself = true,
            b'l' => self.long = true,
            b'R' => self.recursive = true,
            b'S' => self.order.by = SortBy::Size,
            b't' => self.order.by = SortBy::Time,
            b'r' => self.order.is_reversed = true,
            b'F' => self.marks = true,
            b'1' | b'C' => {}
            letter => return Err(ParseError::Option(letter, OPTIONS)),
        }
        Ok(())
    }
}

/// Splits `path` into directory and pattern, if its last component is a pattern: clients send these for
/// `mget`. An entry with exactly that name takes precedence; the caller checks that.
pub fn split_pattern(path: &[u8]) -> Option<(&[u8], Pattern)> {
    let name_at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let (directory, name) = path.split_at(name_at);
    let directory = if directory.is_empty() { b"." } else { directory };
    name.iter().any(|&byte| is_wild(byte)).then(|| (directory, Pattern::plain(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_split_from_its_directory() {
        for (path, directory) in [("*.txt", "."), ("/*", "/"), ("a/b/[x]?", "a/b/"), ("../*", "../")] {
            assert_eq!(split_pattern(path.as_bytes()).expect(path).0, directory.as_bytes());
        }
        for path in ["", "a", "*/a", "/a/*/", "a/b"] {
            assert_eq!(split_pattern(path.as_bytes()), None, "{path}");
        }
        let (_, pattern) = split_pattern(b"*.txt").expect("a pattern");
        let (some, all) = (Options::default(), Options { all: true, ..Options::default() });
        assert!(
            some.matches(&pattern, b"a.txt") && !some.matches(&pattern, b".a.txt") && all.matches(&pattern, b".a.txt")
        );
    }
}
