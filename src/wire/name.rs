//! Names and paths on the wire. They may be any bytes, and are readable JSON strings if they are UTF-8.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base::virtual_path::{PathError, VirtualPath};

/// A name or path: any bytes. In JSON a string if it is UTF-8, else `{"b64": "…"}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub Vec<u8>);

impl Name {
    /// Returns the path, relative to the home.
    pub fn to_vpath(&self) -> Result<VirtualPath, PathError> {
        VirtualPath::parse(&self.0)
    }
}

impl From<&VirtualPath> for Name {
    fn from(path: &VirtualPath) -> Self {
        Self(path.as_bytes().to_vec())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", crate::base::text::Escaped(&self.0))
    }
}

#[derive(Serialize, Deserialize)]
struct Base64Name {
    b64: String,
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Base64Name { b64: BASE64.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name, which is a string or {\"b64\": \"…\"}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Name, A::Error> {
        let Base64Name { b64 } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        BASE64.decode(b64).map(Name).map_err(|_| de::Error::custom("a name's b64 is not base64"))
    }
}
