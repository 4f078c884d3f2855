//! Parses JSON objects. The code that serde derives for a struct also accepts an array of the field values;
//! this module refuses it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::base::explanation::Explanation;

/// A `T` that must be written in braces.
#[derive(Default)]
pub struct Object<T>(pub T);

/// Parses `text`, which must be one object.
pub fn read_object<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(text).map(|Object(value)| value)
}

/// Explains a syntax or type error in a file that a person wrote.
pub fn explain(error: &serde_json::Error) -> Explanation {
    let (text, line) = (error.to_string(), error.line());
    let place = format!(" at line {line} column {}", error.column());
    let problem = text.strip_suffix(&place).unwrap_or(&text);
    if let Some((found, wanted)) = problem.split_once(", expected ")
        && WHOLE_NUMBERS.contains(&wanted)
    {
        let found = found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
        return format!("must be a whole number, not the {found} in line {line}").into();
    }
    let (problem, hint) = match problem {
        "key must be a string" => ("keys are in double quotes", "JSON has no comments"),
        "trailing comma" => ("there is a comma before the closing bracket", "remove it"),
        "expected value" | "expected ident" => (problem, "text is in double quotes; JSON has no comments"),
        _ if error.is_eof() => (problem, "a closing bracket or quote is missing"),
        _ if problem.starts_with("expected `,`") => (problem, "a comma is missing; JSON has no comments"),
        _ if error.is_syntax() => return format!("line {line}: {problem}").into(),
        _ if problem.ends_with("expected a map") => {
            return format!("{}an object with keys, in braces{place}", problem.trim_end_matches("a map")).into();
        }
        _ => return text.into(),
    };
    Explanation::new(format!("line {line}: {problem}"), hint)
}

/// The names of integer types in serde's messages.
const WHOLE_NUMBERS: [&str; 9] = ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "i128", "u128"];

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Braces<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Braces<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with keys, in braces")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Braces(PhantomData))
    }
}
