//! Matches names against `*`, `?` and `[…]`. It takes at most as many steps as the length of the pattern times
//! that of the name, because only the last `*` is tried again.

/// A pattern for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Symbol(Symbol),
    /// `?`: one character.
    One,
    /// `*`: any number of characters.
    Any,
    /// `[a-z]`, `[!a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(Symbol, Symbol)>,
    },
}

/// Returns whether an unquoted `byte` makes its text a pattern.
pub fn is_wild(byte: u8) -> bool {
    b"*?[".contains(&byte)
}

/// An element of a name: a character, or a byte that is not part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    Char(char),
    Byte(u8),
}

use Symbol::Char;

impl Pattern {
    /// Parses a pattern from bytes, each with a flag for quoted. Quoted bytes are literal, and so is a `[`
    /// without its `]`.
    pub fn new(bytes: impl Iterator<Item = (u8, bool)>) -> Self {
        let (text, quoted): (Vec<u8>, Vec<bool>) = bytes.unzip();
        let symbols = quoted_symbols(&text, &quoted);
        let mut tokens = Vec::with_capacity(symbols.len());
        let mut at = 0;
        while let Some(&(symbol, quoted)) = symbols.get(at) {
            at += 1;
            match symbol {
                Char('*') if !quoted && tokens.last() == Some(&Token::Any) => {}
                Char('*') if !quoted => tokens.push(Token::Any),
                Char('?') if !quoted => tokens.push(Token::One),
                Char('[') if !quoted => match class(&symbols[at..]) {
                    Some((token, used)) => {
                        tokens.push(token);
                        at += used;
                    }
                    None => tokens.push(Token::Symbol(symbol)),
                },
                symbol => tokens.push(Token::Symbol(symbol)),
            }
        }
        Self(tokens)
    }

    /// Parses a pattern without quoting.
    pub fn plain(text: &[u8]) -> Self {
        Self::new(text.iter().map(|&byte| (byte, false)))
    }

    /// Returns the largest number of steps that a match takes for each character of a name.
    pub fn match_cost(&self) -> usize {
        let cost = |token: &Token| if let Token::Class { ranges, .. } = token { 1 + ranges.len() } else { 1 };
        self.0.iter().map(cost).sum()
    }

    /// Returns whether `name` matches. A leading dot must be explicit in the pattern.
    pub fn matches(&self, name: &[u8]) -> bool {
        let is_hidden = name.first() == Some(&b'.') && self.0.first() != Some(&Token::Symbol(Char('.')));
        !is_hidden && self.matches_hidden_too(name)
    }

    /// Like [`Pattern::matches`], but a leading dot need not be explicit.
    pub fn matches_hidden_too(&self, name: &[u8]) -> bool {
        self.match_steps(name).0
    }

    /// Returns whether all of `name` matches, and the number of steps it took.
    fn match_steps(&self, name: &[u8]) -> (bool, usize) {
        let name: Vec<Symbol> = symbols(name).collect();
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
                Some(single) if name.get(at).is_some_and(|&symbol| single.matches(symbol)) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                _ => {}
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
    /// Returns whether this token matches `symbol`.
    fn matches(&self, symbol: Symbol) -> bool {
        match self {
            Self::Symbol(own) => *own == symbol,
            Self::One => true,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&symbol)) != *negated
            }
            Self::Any => false,
        }
    }
}

fn symbols(bytes: &[u8]) -> impl Iterator<Item = Symbol> {
    bytes
        .utf8_chunks()
        .flat_map(|chunk| chunk.valid().chars().map(Char).chain(chunk.invalid().iter().map(|&byte| Symbol::Byte(byte))))
}

/// Returns the symbols of `text`, each with a flag for quoted.
fn quoted_symbols(text: &[u8], quoted: &[bool]) -> Vec<(Symbol, bool)> {
    let mut quoted = quoted.iter().copied();
    let with_quoted = |symbol| {
        let bytes = if let Char(c) = symbol { c.len_utf8() } else { 1 };
        (symbol, quoted.by_ref().take(bytes).last().unwrap_or_default())
    };
    symbols(text).map(with_quoted).collect()
}

/// Returns the class that begins after a `[`, and the number of symbols it took with its `]`.
fn class(symbols: &[(Symbol, bool)]) -> Option<(Token, usize)> {
    let negated = matches!(symbols.first(), Some((Char('!' | '^'), false)));
    let mut at = usize::from(negated);
    let first = at;
    let mut ranges = Vec::new();
    loop {
        let &(low, quoted) = symbols.get(at)?;
        if low == Char(']') && !quoted && at > first {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        match (symbols.get(at + 1), symbols.get(at + 2)) {
            (Some((Char('-'), false)), Some(&(high, high_quoted))) if high != Char(']') || high_quoted => {
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
        Pattern::plain(pattern.as_bytes()).matches(name.as_bytes())
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
            ("*??", "됐", false),
            ("*?,", "됐,", true),
            ("[äö]", "ö", true),
            ("[äö]*", "ü", false),
            ("[!ä]", "ü", true),
            ("[а-я]", "ж", true),
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
            let tokens = Pattern::plain(pattern.as_bytes());
            let (fits, steps) = tokens.match_steps(name.as_bytes());
            assert!(!fits && steps <= (pattern.len() + 1) * (name.len() + 1), "{pattern}: {steps} steps");
        }
    }
}
