//! The text form of names and sizes, for people, logs and the wire.

use std::fmt::{self, Write};
use std::io;

/// Shows foreign bytes on one line without control characters: valid, printable UTF-8 as it is, all
/// else as `\n`, `\t`, `\\` or `\xHH`. Bidirectional overrides count as control characters, because
/// they reorder the visible text.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    '\\' => f.write_str("\\\\")?,
                    c if is_unprintable(c) => {
                        let mut bytes = [0; 4];
                        for byte in c.encode_utf8(&mut bytes).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A value of a `key=value` log line: [`Escaped`], in quotes if it is empty or holds a space, a quote
/// or an equals sign, so that a line can be split without guessing.
#[derive(Clone, Copy)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = !self.0.is_empty() && !self.0.iter().any(|b| b" \"=".contains(b));
        if plain {
            return write!(f, "{}", Escaped(self.0));
        }
        f.write_char('"')?;
        for (i, part) in self.0.split(|&b| b == b'"').enumerate() {
            if i > 0 {
                f.write_str("\\\"")?;
            }
            write!(f, "{}", Escaped(part))?;
        }
        f.write_char('"')
    }
}

/// Returns whether a terminal must not receive the character as it is: a control character, a separator
/// of lines or paragraphs, or a character that changes the text direction.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Cuts `text` to at most `bytes_max` bytes and ends it with `…` if it is longer. `bytes_max` has room for the
/// `…`. Bounds replies that repeat a peer's text.
pub fn shortened(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max - '…'.len_utf8()).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// Formats a system error without the number that Rust appends.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

/// JSON on one line that is safe for a terminal: unprintable characters become `\uHHHH`, which parsers
/// read as the same character.
pub struct PrintableJson<'a>(pub &'a serde_json::Value);

impl fmt::Display for PrintableJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                // Beyond ASCII, unprintable characters occur only within strings and lie in the first plane.
                c if is_unprintable(c) => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A number of bytes as people write it: `1536` is `1.5K`, in powers of 1024.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&self.0.to_string());
        }
        let mut unit = (63 - self.0.leading_zeros() as usize) / 10;
        let mut value = self.0 as f64 / (1u64 << (10 * unit)) as f64;
        if value >= 1023.5 && unit < 6 {
            unit += 1;
            value /= 1024.0;
        }
        let text =
            if value < 9.95 { format!("{value:.1}").trim_end_matches(".0").to_string() } else { format!("{value:.0}") };
        f.pad(&format!("{text}{}", UNITS[unit]))
    }
}

/// Text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a size; write a number of bytes or one with K, M, G, T, such as 500M or 1.5G")]
pub struct SizeError(String);

impl std::str::FromStr for Size {
    type Err = SizeError;

    /// Parses `10G`, `1.5M`, `4096`, `2KiB`, in any case.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let error = || SizeError(Escaped(text.as_bytes()).to_string());
        let upper = text.trim().to_ascii_uppercase();
        let number = upper.trim_end_matches("IB").trim_end_matches('B');
        let (number, exponent) = match number.chars().last() {
            Some(c) if c.is_ascii_alphabetic() => {
                let unit = UNITS.iter().position(|unit| unit.chars().eq([c])).ok_or_else(error)?;
                (&number[..number.len() - 1], unit)
            }
            _ => (number, 0),
        };
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || !digits(whole) || fraction.is_empty() || !digits(fraction) {
            return Err(error());
        }
        let unit = 1u64 << (10 * exponent);
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let fraction: f64 = format!("0.{fraction}").parse().map_err(|_| error())?;
        whole
            .checked_mul(unit)
            .and_then(|bytes| bytes.checked_add((fraction * unit as f64) as u64))
            .map(Size)
            .ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_stay_on_one_line_and_do_not_reach_the_terminal() {
        assert_eq!(Escaped("grüße.txt".as_bytes()).to_string(), "grüße.txt");
        assert_eq!(Escaped(b"a\nb\x1b[2J\xff\\").to_string(), "a\\nb\\x1b[2J\\xff\\\\");
        assert_eq!(Escaped("\u{202e}txt".as_bytes()).to_string(), "\\xe2\\x80\\xaetxt");
        assert_eq!(Escaped("\u{61c}txt".as_bytes()).to_string(), "\\xd8\\x9ctxt");
        assert_eq!(Escaped("\u{9b}".as_bytes()).to_string(), "\\xc2\\x9b");
    }

    #[test]
    fn json_for_a_terminal_means_the_same_and_shows_no_control_characters() {
        let text: String = ('\0'..='\u{ff}').chain(['\u{202e}', '\u{feff}', '"', '\\', '\u{10ffff}']).collect();
        let value = serde_json::json!({ text.clone(): [text] });
        let line = PrintableJson(&value).to_string();
        assert!(!line.contains(is_unprintable), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).ok(), Some(value));
    }

    #[test]
    fn log_values_can_be_split_without_guessing() {
        assert_eq!(Quoted(b"plain").to_string(), "plain");
        assert_eq!(Quoted(b"two words").to_string(), "\"two words\"");
        assert_eq!(Quoted(b"say \"hi\" ok=1").to_string(), "\"say \\\"hi\\\" ok=1\"");
        assert_eq!(Quoted(b"").to_string(), "\"\"");
    }

    #[test]
    fn sizes_read_and_print_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1K", 1024),
            ("1.5M", 1_572_864),
            ("10G", 10 << 30),
            ("2KiB", 2048),
            ("7b", 7),
            ("15E", 15 << 60),
        ] {
            assert_eq!(text.parse::<Size>().ok().map(|s| s.0), Some(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1.G", "1e9", "99999999999999999999", "16E", "1.5X", "1 2", "٣"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1K"),
            (1536, "1.5K"),
            (10 << 30, "10G"),
            ((1 << 20) - 1, "1M"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
