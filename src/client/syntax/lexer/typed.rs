//! The end of a line that is still being typed, for completion.

use super::{Lexer, Word};

/// The command and the word at the end of an unfinished line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnfinishedLine {
    /// The complete words of the command before the last word.
    pub words: Vec<Word>,
    /// The part of the last word that is typed so far.
    pub word: Word,
    /// The position in the line where the last name of the word begins, after its last slash.
    pub name_start: usize,
    /// The quotation mark that is open at that position.
    pub quote: Option<u8>,
    /// The quotation mark that was opened within the name.
    pub name_quote: Option<u8>,
}

impl UnfinishedLine {
    /// Reads `line`, in which quotes may be open. Returns `None` within a comment.
    pub fn read(line: &[u8]) -> Option<Self> {
        let mut lexer = Lexer::new(line);
        // An error only means that the line is unfinished.
        let _ = lexer.read();
        if lexer.is_comment {
            return None;
        }
        let (name_start, quote) = lexer.name.unwrap_or((line.len(), None));
        Some(Self {
            words: lexer.words,
            word: lexer.word.unwrap_or_default(),
            name_start,
            quote,
            name_quote: if quote.is_none() { lexer.quote } else { None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_finds_the_last_name_of_an_unfinished_line() {
        let typed = |line: &str| {
            let typed = UnfinishedLine::read(line.as_bytes()).expect("no comment");
            let mark = |quote: Option<u8>| quote.map_or('-', char::from);
            let word = typed.word.as_str().to_string();
            (typed.words.len(), word, typed.name_start, mark(typed.quote), mark(typed.name_quote))
        };
        assert_eq!(typed("get a"), (1, "a".into(), 4, '-', '-'));
        assert_eq!(typed("ls; get a b/c\\ d"), (2, "b/c d".into(), 12, '-', '-'));
        assert_eq!(typed("get 'a b/c"), (1, "a b/c".into(), 9, '\'', '-'));
        assert_eq!(typed("get a/\"c d"), (1, "a/c d".into(), 6, '-', '"'));
        assert_eq!(typed("get 'a b'/c"), (1, "a b/c".into(), 10, '-', '-'));
        assert_eq!(typed("get "), (1, String::new(), 4, '-', '-'));
        assert_eq!(typed("get a\\"), (1, "a".into(), 4, '-', '-'));
        assert_eq!(typed(""), (0, String::new(), 0, '-', '-'));
        assert_eq!(UnfinishedLine::read(b"ls # get"), None);
    }
}
