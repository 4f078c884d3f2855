//! The lexer of command lines: words, quotes and `;`. It knows no commands.

mod typed;
mod word;

pub use typed::UnfinishedLine;
pub use word::Word;

/// Why a line is not a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A quote is not closed.
    #[error("a quotation mark is not closed")]
    OpenQuote,
    /// A backslash ends the line.
    #[error("nothing follows the backslash")]
    OpenBackslash,
    /// No command follows a `|`.
    #[error("there is no command after the |")]
    OpenPipe,
}

/// Splits a line into commands, each a list of words. Spaces separate words; `;` or the end of a line separates
/// commands. `#` at the beginning of a word starts a comment. `'…'` quotes everything, `"…"` everything except
/// `\` and `"`, and a backslash quotes the next byte. After a `!` at the beginning of a command, and after a
/// `|` at the beginning of another word, the rest of the line is one word, taken literally.
pub fn split(line: &[u8]) -> Result<Vec<Vec<Word>>, LineError> {
    let mut lexer = Lexer { rest_is_one_word: true, ..Lexer::new(line) };
    lexer.read()?;
    lexer.end_command();
    Ok(lexer.commands)
}

/// Writes `name` so that it continues a word in which the quotation mark `quote` is open, if any.
pub fn escape(name: &str, quote: Option<u8>) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    for (at, c) in name.char_indices() {
        match quote {
            Some(b'\'') if c == '\'' => text.push_str("'\\'"),
            Some(b'"') if matches!(c, '"' | '\\') => text.push('\\'),
            Some(_) => {}
            None if is_plain(c) && !(at == 0 && "~-".contains(c)) => {}
            None => text.push('\\'),
        }
        text.push(c);
    }
    text
}

/// Returns whether neither the prompt nor `sh` gives the character a meaning within a word.
pub fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "/._-+=:,@%~".contains(c)
}

struct Lexer<'a> {
    line: &'a [u8],
    at: usize,
    commands: Vec<Vec<Word>>,
    words: Vec<Word>,
    word: Option<Word>,
    /// Where the last name of the word begins, and the quotation mark that is open there.
    name: Option<(usize, Option<u8>)>,
    /// The quotation mark that is open at the current position.
    quote: Option<u8>,
    is_comment: bool,
    /// The text after a `!` or `|` is one word.
    rest_is_one_word: bool,
}

impl<'a> Lexer<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self {
            line,
            at: 0,
            commands: Vec::new(),
            words: Vec::new(),
            word: None,
            name: None,
            quote: None,
            is_comment: false,
            rest_is_one_word: false,
        }
    }

    fn read(&mut self) -> Result<(), LineError> {
        while let Some(byte) = self.next() {
            match byte {
                b'\'' | b'"' => self.read_quote(byte)?,
                b'\\' => {
                    self.begin_word();
                    let next = self.next().ok_or(LineError::OpenBackslash)?;
                    self.push(next, true);
                }
                b';' | b'\n' | b'\r' => self.end_command(),
                b' ' | b'\t' => self.end_word(),
                b'#' if self.word.is_none() => self.skip_comment(),
                b'!' if self.word.is_none() && self.words.is_empty() => self.read_local_command(),
                b'|' if self.word.is_none() && !self.words.is_empty() => self.read_pipe()?,
                byte => {
                    self.begin_word();
                    self.push(byte, false);
                }
            }
        }
        Ok(())
    }

    fn read_quote(&mut self, mark: u8) -> Result<(), LineError> {
        self.begin_word();
        self.quote = Some(mark);
        loop {
            match self.next().ok_or(LineError::OpenQuote)? {
                byte if byte == mark => break,
                b'\\' if mark == b'"' => {
                    let next = self.next().ok_or(LineError::OpenQuote)?;
                    self.push(next, true);
                }
                byte => self.push(byte, true),
            }
        }
        self.quote = None;
        Ok(())
    }

    /// Reads a line for the local shell, which has its own quotes.
    fn read_local_command(&mut self) {
        self.words.push(Word::plain(b"!"));
        if !self.rest_is_one_word {
            return;
        }
        let text = self.rest_of_line();
        if !text.is_empty() {
            self.words.push(Word { quoted: vec![true; text.len()], text, is_reader: false });
        }
        self.end_command();
    }

    /// Reads the local shell command that reads the results of this command.
    fn read_pipe(&mut self) -> Result<(), LineError> {
        if !self.rest_is_one_word {
            self.words = vec![Word::plain(b"!")];
            return Ok(());
        }
        let text = self.rest_of_line();
        if text.is_empty() {
            return Err(LineError::OpenPipe);
        }
        self.words.push(Word { quoted: vec![true; text.len()], text, is_reader: true });
        self.end_command();
        Ok(())
    }

    fn rest_of_line(&mut self) -> Vec<u8> {
        let rest: Vec<u8> = std::iter::from_fn(|| self.next().filter(|byte| *byte != b'\n')).collect();
        rest.trim_ascii().to_vec()
    }

    fn skip_comment(&mut self) {
        self.is_comment = !std::iter::from_fn(|| self.next()).any(|byte| byte == b'\n');
        self.end_command();
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.line.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    /// Starts a word with the byte that was just read, unless a word has begun.
    fn begin_word(&mut self) {
        if self.word.is_none() {
            self.word = Some(Word::default());
            self.name = Some((self.at - 1, None));
        }
    }

    fn push(&mut self, byte: u8, quoted: bool) {
        self.word.get_or_insert_default().push(byte, quoted);
        if byte == b'/' {
            self.name = Some((self.at, self.quote));
        }
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
        self.name = None;
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
    fn after_an_exclamation_mark_the_line_is_literal() {
        assert_eq!(texts("!ls 'a  b'; echo $x # y\npwd"), [vec!["!", "ls 'a  b'; echo $x # y"], vec!["pwd"]]);
        assert_eq!(texts("pwd; ! make  "), [vec!["pwd"], vec!["!", "make"]]);
        assert_eq!(texts("!"), [["!"]]);
        assert_eq!(texts("get !a a!"), [["get", "!a", "a!"]]);
        let typed = UnfinishedLine::read(b"!cat 'my fi").expect("no comment");
        assert_eq!((typed.words.len(), typed.word.as_str(), typed.quote), (2, "my fi", None));
    }

    #[test]
    fn after_a_bar_the_line_is_for_a_program_that_reads_the_results() {
        let commands = split(b"ls -l | sort -k 5 | less; x\npwd; get 'a|b' a|b '|'").expect("a good line");
        let is_reader: Vec<bool> = commands[0].iter().map(|word| word.is_reader).collect();
        assert_eq!(is_reader, [false, false, true]);
        assert_eq!(commands[0][2].as_str(), "sort -k 5 | less; x");
        assert!(commands[1..].iter().flatten().all(|word| !word.is_reader), "{commands:?}");
        assert_eq!(commands[2][3].as_str(), "|");
        assert_eq!(split(b"ls | "), Err(LineError::OpenPipe));
        assert_eq!(texts("| x"), [["|", "x"]]);
        let typed = UnfinishedLine::read(b"ls sub | sort fi").expect("no comment");
        assert_eq!((typed.words[0].as_str(), typed.word.as_str()), ("!", "fi"));
    }

    #[test]
    fn a_word_is_typed_again_as_the_same_word() {
        for line in ["put *.txt 'a *'? 'it'\\''s' \\-x '~' -r ''", "get [a-c]'[d]' \"grüße b\" --no-perms"] {
            let words = split(line.as_bytes()).expect("a good line").remove(0);
            let again: Vec<String> = words.iter().map(Word::as_typed).collect();
            let read = split(again.join(" ").as_bytes()).expect("a good line").remove(0);
            let kind = |word: &Word| (word.text.clone(), word.is_pattern(), word.is_option());
            assert!(read.iter().map(kind).eq(words.iter().map(kind)), "{again:?}");
        }
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
    fn quoted_dashes_begin_names_and_not_options() {
        let words = split(b"rm -r '-r' \"-r\" \\-r - '-' -'r'").expect("a good line").remove(0);
        let options: Vec<bool> = words.iter().map(Word::is_option).collect();
        assert_eq!(options, [false, true, false, false, false, false, false, true]);
        let bare: Vec<bool> = words.iter().map(|word| word.is_bare(b"-")).collect();
        assert_eq!(bare, [false, false, false, false, false, true, false, false]);
    }

    #[test]
    fn an_escaped_name_is_read_as_the_same_name_in_every_quote() {
        for text in ["a", "a b", "it's", "a;b", "*", "\\", "#x", "\"", "grüße", "~a", "-a"] {
            assert_eq!(texts(&escape(text, None)), [[text]], "{text}");
            assert_eq!(texts(&format!("'{}'", escape(text, Some(b'\'')))), [[text]], "{text}");
            assert_eq!(texts(&format!("\"{}\"", escape(text, Some(b'"')))), [[text]], "{text}");
        }
    }
}
