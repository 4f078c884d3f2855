//! Text of a peer as the value of a `key=value` field: escaped, quoted where necessary, and bounded after
//! escaping.

use std::fmt;

use crate::base::text::Quoted;

/// The value of a field. If it is too long, `…` replaces its middle or its end.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    bytes: &'a [u8],
    head_bytes_max: usize,
    tail_bytes_max: usize,
}

impl<'a> Value<'a> {
    /// Makes the value of a name that a peer sent. Only its beginning is kept.
    pub fn name(bytes: &'a [u8]) -> Self {
        Self { bytes, head_bytes_max: LOGGED_NAME_BYTES_MAX, tail_bytes_max: 0 }
    }

    /// Makes the value of a path. Its beginning and its end are kept.
    pub fn path(bytes: &'a [u8]) -> Self {
        Self { bytes, head_bytes_max: LOGGED_PATH_BYTES_MAX / 2, tail_bytes_max: LOGGED_PATH_BYTES_MAX / 2 }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes_max = self.head_bytes_max + self.tail_bytes_max;
        // Escaping makes at most four bytes of one, and quotes add two.
        if 4 * self.bytes.len() + 2 <= bytes_max {
            return Quoted(self.bytes).fmt(f);
        }
        let text = Quoted(self.bytes).to_string();
        if text.len() <= bytes_max {
            return f.write_str(&text);
        }
        let quotes = usize::from(text.starts_with('"'));
        let inner = &text[quotes..text.len() - quotes];
        let (mut head, mut tail) = (0, inner.len());
        for (start, end) in units(inner) {
            if end <= self.head_bytes_max {
                head = end;
            }
            if inner.len() - start <= self.tail_bytes_max {
                tail = start;
                break;
            }
        }
        let quote = &text[..quotes];
        write!(f, "{quote}{}…{}{quote}", &inner[..head], &inner[tail..])
    }
}

/// Returns the ranges of the characters or escapes of escaped text.
fn units(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &text[start..];
        let first = rest.chars().next()?;
        let length = match first {
            '\\' if rest[1..].starts_with('x') => 4,
            '\\' => 2,
            other => other.len_utf8(),
        };
        let unit = (start, (start + length).min(text.len()));
        start = unit.1;
        Some(unit)
    })
}

/// As long as the longest account name.
const LOGGED_NAME_BYTES_MAX: usize = 64;
/// Most paths fit, and a line with the longest one is not much longer than others.
const LOGGED_PATH_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_written_whole() {
        assert_eq!(Value::path(b"/a b").to_string(), "\"/a b\"");
        let long = vec![b'x'; LOGGED_PATH_BYTES_MAX];
        assert_eq!(Value::path(&long).to_string().as_bytes(), long);
        let name = vec![b'x'; LOGGED_NAME_BYTES_MAX];
        assert_eq!(Value::name(&name).to_string().as_bytes(), name);
    }

    #[test]
    fn a_long_name_keeps_its_beginning_and_a_long_path_its_end_too() {
        let name = Value::name(&[b'x'; 4000]).to_string();
        assert_eq!(name, format!("{}…", "x".repeat(LOGGED_NAME_BYTES_MAX)));
        let path = Value::path(format!("/first{}last one", "/x".repeat(2000)).as_bytes()).to_string();
        assert!(path.starts_with("\"/first/x") && path.ends_with("/xlast one\"") && path.contains('…'), "{path}");
        assert!(path.len() <= LOGGED_PATH_BYTES_MAX + 5, "{path}");
    }

    #[test]
    fn no_escape_is_cut_in_two_whatever_is_escaped() {
        for unit in ["\u{1}", "\n", "\\", "\"", "ä", "\u{7f}", "\u{10ffff}"] {
            for shift in 0..8 {
                let bytes = [&b"x".repeat(shift)[..], &unit.repeat(2000).into_bytes()].concat();
                for text in [Value::name(&bytes).to_string(), Value::path(&bytes).to_string()] {
                    assert!(text.len() <= LOGGED_PATH_BYTES_MAX + 5, "{text}");
                    let escaped = crate::base::text::Escaped(unit.as_bytes()).to_string();
                    let kept = text.replace("\\\"", "").replace(&escaped, "");
                    assert!(kept.chars().all(|c| c == 'x' || c == '…' || c == '"'), "{unit:?}: {text}");
                }
            }
        }
    }
}
