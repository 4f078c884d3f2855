//! How values are written in the file: one string or a list, sizes such as `10G`, periods such as `7d`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::base::text::Size;

/// A list of strings, or one string for a list of one.
pub(super) struct OneOrMore(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMoreVisitor;
        impl<'de> de::Visitor<'de> for OneOrMoreVisitor {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a list of addresses")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.into()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMore(texts))
            }
        }
        deserializer.deserialize_any(OneOrMoreVisitor)
    }
}

/// A number of bytes, or text such as `10G`.
pub(super) struct RawSize(pub(super) u64);

impl<'de> Deserialize<'de> for RawSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| text.parse::<Size>().map(|size| size.0).map_err(|error| error.to_string());
        number_or_text(deserializer, "a number of bytes or a size such as \"10G\"", read).map(Self)
    }
}

/// A number of seconds, or text such as `7d`.
#[derive(Clone, Copy)]
pub(super) struct Period(pub(super) Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds =
            number_or_text(deserializer, "a number of seconds or a period such as \"15m\" or \"7d\"", read_period)?;
        // Deadlines are computed by adding to the clock, which must not overflow.
        if seconds > PERIOD_SECONDS_MAX {
            return Err(de::Error::custom("longer than ten years"));
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// Returns `period`, or `default` without one. A period of 0 is refused.
pub(super) fn positive(period: Option<Period>, default: Duration) -> Result<Duration, String> {
    match period {
        Some(Period(Duration::ZERO)) => Err("must be longer than 0 seconds".into()),
        period => Ok(period.map_or(default, |period| period.0)),
    }
}

const PERIOD_SECONDS_MAX: u64 = 10 * 366 * 86_400;

fn read_period(text: &str) -> Result<u64, String> {
    let error = || format!("'{text}' is not a period; write seconds, or a number with s, m, h or d, such as 7d");
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
        .unwrap_or((text, 1));
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(error)
}

fn number_or_text<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    read: fn(&str) -> Result<u64, String>,
) -> Result<u64, D::Error> {
    struct Visitor(&'static str, fn(&str) -> Result<u64, String>);
    impl de::Visitor<'_> for Visitor {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            (self.1)(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Visitor(expected, read))
}
