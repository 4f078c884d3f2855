//! Command lines: words, quotes and `;`. It knows no command.

/// One word of a command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word {
    /// Without quotes and backslashes.
    pub text: Vec<u8>,
    /// For each byte of the text, whether it was quoted, so that `*` is only a star.
    quoted: Vec<bool>,
}

/// A line that is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A quote without its partner.
    #[error("a quotation mark is not closed")]
    OpenQuote,
    /// A backslash with nothing behind it.
    #[error("there is nothing behind the backslash")]
    OpenBackslash,
}

impl Word {
    /// A word from the program's own arguments, which a shell has already taken apart.
    pub fn plain(text: &[u8]) -> Self {
        Self { text: text.to_vec(), quoted: vec![false; text.len()] }
    }

    /// Whether it is a pattern: it has a `*`, `?` or `[` that was not quoted.
    pub fn is_pattern(&self) -> bool {
        self.text.iter().zip(&self.quoted).any(|(byte, quoted)| !quoted && b"*?[".contains(byte))
    }

    /// The pieces between slashes, each as a pattern whose quoted bytes stand for themselves
    /// ([`crate::client::glob::Pattern`]).
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

    /// The bytes, each with whether it was quoted.
    pub fn bytes(&self) -> impl Iterator<Item = (u8, bool)> + '_ {
        self.text.iter().copied().zip(self.quoted.iter().copied())
    }

    /// The text, for comparing with names of commands; empty if it is not UTF-8.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    fn push(&mut self, byte: u8, quoted: bool) {
        self.text.push(byte);
        self.quoted.push(quoted);
    }
}

/// The commands on a line, each as its words. Words are separated by spaces, commands by `;` or
/// the end of a line; `#` at the beginning of a word starts a comment; `'…'` takes everything as
/// it is, `"…"` everything but `\` and `"`, and a backslash takes the next byte as it is.
pub fn split(line: &[u8]) -> Result<Vec<Vec<Word>>, LineError> {
    let mut lexer = Lexer::default();
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' => lexer.quote(&mut bytes, b'\'')?,
            b'"' => lexer.quote(&mut bytes, b'"')?,
            b'\\' => lexer.push(bytes.next().ok_or(LineError::OpenBackslash)?, true),
            b';' | b'\n' | b'\r' => lexer.end_command(),
            b' ' | b'\t' => lexer.end_word(),
            b'#' if lexer.word.is_none() => {
                bytes.by_ref().find(|&byte| byte == b'\n');
                lexer.end_command();
            }
            byte => lexer.push(byte, false),
        }
    }
    lexer.end_command();
    Ok(lexer.commands)
}

/// Writes `text` so that [`split`] reads it as one word.
pub fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%~".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_string();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[derive(Default)]
struct Lexer {
    commands: Vec<Vec<Word>>,
    words: Vec<Word>,
    word: Option<Word>,
}

impl Lexer {
    fn push(&mut self, byte: u8, quoted: bool) {
        self.word.get_or_insert_default().push(byte, quoted);
    }

    fn quote(&mut self, bytes: &mut impl Iterator<Item = u8>, mark: u8) -> Result<(), LineError> {
        self.word.get_or_insert_default();
        loop {
            match bytes.next().ok_or(LineError::OpenQuote)? {
                byte if byte == mark => return Ok(()),
                b'\\' if mark == b'"' => self.push(bytes.next().ok_or(LineError::OpenQuote)?, true),
                byte => self.push(byte, true),
            }
        }
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<Vec<String>> {
        let commands = split(line.as_bytes()).expect("a good line");
        let text = |word: Word| String::from_utf8(word.text).expect("UTF-8");
        commands.into_iter().map(|words| words.into_iter().map(text).collect()).collect()
    }

    #[test]
    fn words_quotes_and_separators() {
        assert_eq!(texts("ls  -l /a"), [["ls", "-l", "/a"]]);
        assert_eq!(texts("get 'a b' \"c'd\" e\\ f"), [["get", "a b", "c'd", "e f"]]);
        assert_eq!(texts("cd /a; ls;; pwd ;"), [vec!["cd", "/a"], vec!["ls"], vec!["pwd"]]);
        assert_eq!(texts("cd 'a;b'"), [["cd", "a;b"]]);
        assert_eq!(texts("# nothing\nls # more\npwd"), [["ls"], ["pwd"]]);
        assert_eq!(texts("get a#b"), [["get", "a#b"]]);
        assert_eq!(texts("mkdir ''"), [["mkdir", ""]]);
        assert_eq!(texts(" \t "), Vec::<Vec<String>>::new());
        assert_eq!(texts("a'b'\"c\""), [["abc"]]);
    }

    #[test]
    fn open_quotes_are_errors() {
        assert_eq!(split(b"get 'a"), Err(LineError::OpenQuote));
        assert_eq!(split(b"get \"a\\"), Err(LineError::OpenQuote));
        assert_eq!(split(b"get a\\"), Err(LineError::OpenBackslash));
    }

    #[test]
    fn quoted_stars_are_no_pattern() {
        let words = split(b"ls *.txt '*.txt' \\*.txt").expect("a good line").remove(0);
        let patterns: Vec<bool> = words.iter().map(Word::is_pattern).collect();
        assert_eq!(patterns, [false, true, false, false]);
    }

    #[test]
    fn quoting_reads_back() {
        for text in ["a", "a b", "it's", "", "a;b", "*", "\\", "#x", "\"", "grüße"] {
            assert_eq!(texts(&quote(text)), [[text]], "{text}");
        }
    }
}
