//! A row of a command table: names, usage, description, parser.

use super::argument::Argument;

/// A command or a `SITE` command, with a parser `R`.
pub struct Row<R: 'static> {
    /// Its names. The first is its own, the others are aliases.
    pub names: &'static [&'static str],
    /// Its syntax.
    pub usage: &'static str,
    /// Its description.
    pub does: &'static str,
    /// Its parser.
    pub read: R,
}

/// Returns the row of a command by one of its names, in any case.
pub fn find<R>(rows: &'static [Row<R>], word: &[u8]) -> Option<&'static Row<R>> {
    rows.iter().find(|row| row.names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word)))
}

impl<R> Row<R> {
    /// Returns the argument after its name. The text is `None` if no space follows the name.
    pub fn argument<'a>(&self, text: Option<&'a [u8]>) -> Argument<'a> {
        Argument { text: text.unwrap_or_default(), has_space: text.is_some(), usage: self.usage }
    }
}
