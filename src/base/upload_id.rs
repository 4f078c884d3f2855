//! The id by which a partial upload is resumed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base::digest::{Digest, DigestAlgorithm, hex_decode, hex_encode};
use crate::base::virtual_path::VirtualPath;

/// A smaller upload is sent again from the start. A larger one gets a record, so that it can be resumed
/// even after a crash of the server.
pub const RESUME_BYTES_MIN: u64 = 1024 * 1024;

/// A 128-bit id of an upload, random or derived from its path, written as 32 lower-case hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub [u8; 16]);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        hex_encode(&self.0, &mut text);
        f.write_str(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadId({self})")
    }
}

impl std::str::FromStr for UploadId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex_decode(text.as_bytes(), &mut bytes).ok_or("an upload id is 32 hexadecimal digits")?;
        Ok(Self(bytes))
    }
}

impl Serialize for UploadId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UploadId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl UploadId {
    /// Returns an id that cannot be guessed.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Returns the id of an upload to `path` by a client that sends no id. Every such upload has the same one.
    pub fn of_path(path: &VirtualPath) -> Self {
        // SHA-256 as in earlier builds, whose partial uploads are still found.
        let digest = Digest::by(DigestAlgorithm::Sha256, &[b"upload to ", path.as_bytes()].concat());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.bytes()[..16]);
        Self(bytes)
    }
}
