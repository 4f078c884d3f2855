//! A command as it stands in a table: its names, how it is written, what it does, how it is read.

use super::argument::Argument;

/// A command, or a `SITE` command, and how it is read into a `C`.
pub struct Row<R: 'static> {
    /// Its names, the first of which is its own; the others mean the same.
    pub names: &'static [&'static str],
    /// How it is written.
    pub usage: &'static str,
    /// What it does.
    pub does: &'static str,
    /// How its arguments are read.
    pub read: R,
}

/// The row of a command by one of its names, in any case.
pub fn find<R>(rows: &'static [Row<R>], word: &[u8]) -> Option<&'static Row<R>> {
    rows.iter().find(|row| row.names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word)))
}

impl<R> Row<R> {
    /// What stands behind its name, if that is followed by a space.
    pub fn argument<'a>(&self, text: Option<&'a [u8]>) -> Argument<'a> {
        Argument { text: text.unwrap_or_default(), has_space: text.is_some(), usage: self.usage }
    }
}
