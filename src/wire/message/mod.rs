//! The bodies of control, end and abort frames. Unknown fields are ignored, so that a newer peer can
//! add some; an unknown request is answered `unsupported`.

mod error;
mod reply;
mod request;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::base::digest::{Digest, DigestAlgorithm};
pub use crate::wire::name::Name;
pub use error::{ERROR_MESSAGE_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX_BEFORE_LOGIN, ErrorCode, ErrorReply};
pub use reply::{Entry, EntryKind, Partial, QuotaReport, Reply, WireLimits};
pub use request::{MessageError, PutMode, Request};

/// The number of requests that a client may have sent without their replies.
pub const IN_FLIGHT_MAX: usize = 64;

/// The only version of the protocol so far.
pub const VERSION: u32 = 1;

/// The feature of a server that sets the permission bits in a request, and sends those of its files.
pub const PERMISSIONS_FEATURE: &str = "permissions";

/// Body of an end frame: all bytes were sent, and this is their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The size of the whole file.
    pub size: u64,
    /// The digest of the whole file.
    #[serde(deserialize_with = "digest_of_transfer")]
    pub digest: Digest,
}

/// Reads a digest of a transfer, which both sides compute with the same algorithm.
fn digest_of_transfer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let digest = Digest::deserialize(deserializer)?;
    if digest.algorithm() != DigestAlgorithm::OF_TRANSFERS {
        let (expected, actual) = (DigestAlgorithm::OF_TRANSFERS, digest.algorithm());
        return Err(de::Error::custom(format!("transfers are verified with {expected}, not with {actual}")));
    }
    Ok(digest)
}

/// Like [`digest_of_transfer`], for a digest that may be absent.
fn optional_digest_of_transfer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
    #[derive(Deserialize)]
    struct Present(#[serde(deserialize_with = "digest_of_transfer")] Digest);
    Ok(Option::<Present>::deserialize(deserializer)?.map(|Present(digest)| digest))
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}
