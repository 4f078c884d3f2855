//! A word of a command line.

use super::escape;
use crate::base::glob::is_wild;

/// One word of a command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word {
    /// The text without quotes and backslashes.
    pub text: Vec<u8>,
    /// Whether each byte of the text was quoted. A quoted `*` is not a wildcard.
    pub(super) quoted: Vec<bool>,
    /// The word is the shell command after a `|`, which reads the results.
    pub is_reader: bool,
}

impl Word {
    /// Creates a word from an argument of the program. A shell has already removed its quotes.
    pub fn plain(text: &[u8]) -> Self {
        Self { text: text.to_vec(), quoted: vec![false; text.len()], is_reader: false }
    }

    /// Returns whether the word is a pattern: it has an unquoted `*`, `?` or `[`.
    pub fn is_pattern(&self) -> bool {
        self.text.iter().zip(&self.quoted).any(|(&byte, quoted)| !quoted && is_wild(byte))
    }

    /// Returns whether the word can be an option: it begins with an unquoted dash and is longer than that.
    pub fn is_option(&self) -> bool {
        self.text.len() > 1 && self.bytes().next() == Some((b'-', false))
    }

    /// Returns whether the word is exactly `text` and unquoted, so that it can be a keyword.
    pub fn is_bare(&self, text: &[u8]) -> bool {
        self.text == text && !self.quoted.contains(&true)
    }

    /// Splits the word at slashes. Each piece is a pattern in which quoted bytes are literal
    /// ([`crate::base::glob::Pattern`]).
    pub fn pattern_components(&self) -> Vec<Word> {
        let mut components = vec![Self::default()];
        for (&byte, &quoted) in self.text.iter().zip(&self.quoted) {
            match (byte, components.last_mut()) {
                (b'/', _) => components.push(Self::default()),
                (_, Some(last)) => last.push(byte, quoted),
                (_, None) => {}
            }
        }
        components
    }

    /// Splits the word into its part up to the last slash, inclusive, and the name after it.
    pub fn split_name(&self) -> (Self, &[u8]) {
        let at = self.text.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let directory = Self { text: self.text[..at].to_vec(), quoted: self.quoted[..at].to_vec(), is_reader: false };
        (directory, &self.text[at..])
    }

    /// Returns the word without its first `bytes` bytes.
    pub fn without_prefix(&self, bytes: usize) -> Self {
        Self { text: self.text[bytes..].to_vec(), quoted: self.quoted[bytes..].to_vec(), is_reader: false }
    }

    /// Returns the bytes, each with whether it was quoted.
    pub fn bytes(&self) -> impl Iterator<Item = (u8, bool)> + '_ {
        self.text.iter().copied().zip(self.quoted.iter().copied())
    }

    /// Returns the text for a comparison with command names. It is empty if the text is not UTF-8.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Returns what the user can type at the prompt for the same word.
    pub fn as_typed(&self) -> String {
        let typed = |(at, c): (usize, char)| match self.quoted[at] {
            true => escape(c.encode_utf8(&mut [0; 4]), None),
            false => c.to_string(),
        };
        if self.text.is_empty() { "''".into() } else { self.as_str().char_indices().map(typed).collect() }
    }

    pub(super) fn push(&mut self, byte: u8, quoted: bool) {
        self.text.push(byte);
        self.quoted.push(quoted);
    }
}
