//! Matching names against `*`, `?` and `[…]`, in time at most pattern × name: only the last star
//! is ever tried again. It knows no folder; names come from the server.

use crate::client::words::Word;

/// A pattern for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: one character.
    One,
    /// `*`: any number of characters.
    Any,
    /// `[a-z]`, `[!a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Pattern {
    /// Reads a pattern; what was quoted stands for itself, and so does a `[` without its `]`.
    pub fn new(word: &Word) -> Self {
        let bytes: Vec<(u8, bool)> = word.bytes().collect();
        let mut tokens = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while let Some(&(byte, quoted)) = bytes.get(at) {
            at += 1;
            match byte {
                b'*' if !quoted && tokens.last() == Some(&Token::Any) => {}
                b'*' if !quoted => tokens.push(Token::Any),
                b'?' if !quoted => tokens.push(Token::One),
                b'[' if !quoted => match class(&bytes[at..]) {
                    Some((token, used)) => {
                        tokens.push(token);
                        at += used;
                    }
                    None => tokens.push(Token::Byte(b'[')),
                },
                byte => tokens.push(Token::Byte(byte)),
            }
        }
        Self(tokens)
    }

    /// Whether `name` fits. A leading dot must be in the pattern.
    pub fn matches(&self, name: &[u8]) -> bool {
        let is_hidden = name.first() == Some(&b'.') && self.0.first() != Some(&Token::Byte(b'.'));
        !is_hidden && self.fits(name)
    }

    /// The same with leading dots like any other byte.
    pub fn fits(&self, name: &[u8]) -> bool {
        self.fits_after(name).0
    }

    /// Whether all of `name` fits, and how many steps it took to find out.
    fn fits_after(&self, name: &[u8]) -> (bool, usize) {
        let (mut token, mut at) = (0, 0);
        let (mut retry, mut steps) = (None, 0);
        loop {
            steps += 1;
            match self.0.get(token) {
                None if at == name.len() => return (true, steps),
                Some(Token::Any) => {
                    token += 1;
                    retry = Some((token, at));
                    continue;
                }
                Some(single) => {
                    if let Some(used) = single.takes(&name[at..]) {
                        token += 1;
                        at += used;
                        continue;
                    }
                }
                None => {}
            }
            match &mut retry {
                Some((star, from)) if *from < name.len() => {
                    *from += 1;
                    (token, at) = (*star, *from);
                }
                _ => return (false, steps),
            }
        }
    }
}

impl Token {
    /// How many bytes at the beginning of `rest` this token stands for.
    fn takes(&self, rest: &[u8]) -> Option<usize> {
        let &first = rest.first()?;
        match self {
            Self::Byte(byte) => (first == *byte).then_some(1),
            Self::One => Some(character_bytes(rest)),
            Self::Class { negated, ranges } => {
                let is_in = ranges.iter().any(|&(low, high)| (low..=high).contains(&first));
                let used = if *negated { character_bytes(rest) } else { 1 };
                (is_in != *negated).then_some(used)
            }
            Self::Any => None,
        }
    }
}

/// Bytes of the first character, 1 where it is not UTF-8.
fn character_bytes(bytes: &[u8]) -> usize {
    let head = &bytes[..bytes.len().min(4)];
    head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()).map_or(1, char::len_utf8)
}

/// The class that begins behind a `[`, and how many bytes it took with its `]`.
fn class(bytes: &[(u8, bool)]) -> Option<(Token, usize)> {
    let negated = matches!(bytes.first(), Some((b'!' | b'^', false)));
    let mut at = usize::from(negated);
    let first = at;
    let mut ranges = Vec::new();
    loop {
        let &(low, quoted) = bytes.get(at)?;
        if low == b']' && !quoted && at > first {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        match (bytes.get(at + 1), bytes.get(at + 2)) {
            (Some((b'-', false)), Some(&(high, high_quoted))) if high != b']' || high_quoted => {
                ranges.push((low, high));
                at += 3;
            }
            _ => {
                ranges.push((low, low));
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(&Word::plain(pattern.as_bytes())).matches(name.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*", "a", true),
            ("*", "", true),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt.gz", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("?", "ü", true),
            ("??", "ü", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("[a-]", "-", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_more_than_pattern_times_name() {
        let name = "a".repeat(255);
        for pattern in
            ["a*".repeat(120) + "b", "*a".repeat(120) + "b", "*[!b]?".repeat(80) + "b", "*".repeat(500) + "b"]
        {
            let tokens = Pattern::new(&Word::plain(pattern.as_bytes()));
            let (fits, steps) = tokens.fits_after(name.as_bytes());
            assert!(!fits && steps <= (pattern.len() + 1) * (name.len() + 1), "{pattern}: {steps} steps");
        }
    }
}
