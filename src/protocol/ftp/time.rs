//! Times in the form of RFC 3659 section 2.3: `YYYYMMDDHHMMSS`, in UTC, with or without a fraction.

use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::base::calendar::{unix_ns_of_utc, utc};

/// Formats a time such as `20261127123456`. Fractions are left out, because some clients reject them.
pub fn format(unix_ns: i64) -> String {
    utc(unix_ns).strftime("%Y%m%d%H%M%S").to_string()
}

/// Parses `YYYYMMDDHHMMSS[.f…]`. Returns nanoseconds since the epoch.
pub fn parse(text: &[u8]) -> Option<i64> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], Some(&text[dot + 1..])),
        None => (text, None),
    };
    if whole.len() != TIME_BYTES || !whole.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| whole[from..to].iter().fold(0, |n, digit| n * 10 + i16::from(digit - b'0'));
    let small = |from: usize| number(from, from + 2) as i8;
    let nanosecond = fraction.map_or(Some(0), nanoseconds)?;
    // A leap second is the first one of the next minute.
    let second = small(12);
    let (second, leap) = if second == 60 { (59, 1) } else { (second, 0) };
    let time = DateTime::new(number(0, 4), small(4), small(6), small(8), small(10), second, nanosecond).ok()?;
    unix_ns_of_utc(time.checked_add(SignedDuration::from_secs(leap)).ok()?)
}

/// Parses a time at the beginning of `text`. Returns it with the text after one space.
pub fn split(text: &[u8]) -> Option<(i64, &[u8])> {
    let space = text.iter().position(|&byte| byte == b' ')?;
    Some((parse(&text[..space])?, &text[space + 1..]))
}

/// Parses the digits after a point. More than nine are ignored.
fn nanoseconds(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| digits.get(at).map_or(0, |digit| i32::from(digit - b'0'));
    Some((0..9).fold(0, |n, at| n * 10 + digit(at)))
}

const TIME_BYTES: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (ns, text) in [
            (0, "19700101000000"),
            (951_827_696_000_000_000, "20000229123456"),
            (-1_000_000_000, "19691231235959"),
            (4_102_444_799_000_000_000, "20991231235959"),
        ] {
            assert_eq!(format(ns), text);
            assert_eq!(parse(text.as_bytes()), Some(ns), "{text}");
        }
        assert_eq!(parse(b"19700101000060"), Some(60_000_000_000));
        assert_eq!(format(951_827_696_999_999_999), "20000229123456");
    }

    #[test]
    fn fractions_are_read_to_the_nanosecond() {
        for (text, ns) in [("19700101000000.5", 500_000_000), ("19700101000001.0000000019", 1_000_000_001)] {
            assert_eq!(parse(text.as_bytes()), Some(ns), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "1970010100000",
            "197001010000000",
            "19700101000000.",
            "19700101000000.x",
            "19700101000000.1.1",
            "19701301000000",
            "19700230000000",
            "19700101240000",
            "19700101006000",
            "19700101000061",
            "-9700101000000",
            "1970010100000x",
            " 9700101000000",
            "99990101000000",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_split_from_the_path_behind_it() {
        assert_eq!(split(b"19700101000001 a b"), Some((1_000_000_000, &b"a b"[..])));
        assert_eq!(split(b"19700101000001  "), Some((1_000_000_000, &b" "[..])));
        assert_eq!(split(b"19700101000001"), None);
        assert_eq!(split(b"1970 a"), None);
    }
}
