//! SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides: the client proves that it knows the password without
//! sending it, and the server proves that it has the verifier. Messages in, messages out; this module
//! knows no accounts, no sockets and no clock.
//!
//! ```text
//! client  n,,n=USER,r=NONCE            ─►  ClientFirst::parse, ServerExchange::begin
//! ClientExchange::answer               ◄─  r=NONCE+MORE,s=SALT,i=ROUNDS
//!         c=BINDING,r=…,p=PROOF        ─►  ServerExchange::finish
//! ClientProved::verify                 ◄─  v=SIGNATURE
//! ```
//!
//! User names and passwords are compared as the UTF-8 bytes that were typed. SASLprep (RFC 4013) is the
//! identity for printable ASCII; beyond ASCII its tables would unify different spellings of the same
//! letters, which no client of this server needs. Control characters, which SASLprep prohibits, are
//! refused here too.

mod client;
mod derivation;
mod server;

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use client::{ClientExchange, ClientProved, Secret};
pub use derivation::Derivation;
pub use server::{ClientFirst, ServerExchange};

/// The maximum length of a password. A longer one is probably a file piped into the prompt.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// PBKDF2 rounds for new accounts (RFC 7677 asks for at least 4,096).
pub const SCRAM_ROUNDS_DEFAULT: u32 = 100_000;
/// The fewest rounds that the client accepts from a server and an account may have (RFC 7677, section
/// 4).
pub const SCRAM_ROUNDS_MIN: u32 = 4_096;
/// The most rounds that the client computes: a few seconds on a small core.
pub const SCRAM_ROUNDS_MAX: u32 = 5_000_000;
/// The length of the salt and of each nonce.
pub const SCRAM_RANDOM_BYTES: usize = 18;

/// The channel binding of a login, so that it cannot be relayed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// None: a connection without TLS.
    None,
    /// The connection's `tls-exporter` keying material (RFC 9266).
    Exporter([u8; 32]),
}

impl Binding {
    /// Returns the SASL mechanism that offers this binding.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::None => "SCRAM-SHA-256",
            Self::Exporter(_) => "SCRAM-SHA-256-PLUS",
        }
    }

    /// Returns the GS2 header of a client with this binding (RFC 5802, section 7).
    fn gs2_header(&self) -> &'static str {
        match self {
            Self::None => "n,,",
            Self::Exporter(_) => "p=tls-exporter,,",
        }
    }

    /// Returns the content of the attribute `c` after this header.
    fn input(&self, gs2_header: &str) -> Vec<u8> {
        let mut input = gs2_header.as_bytes().to_vec();
        if let Self::Exporter(material) = self {
            input.extend_from_slice(material);
        }
        input
    }
}

/// Why a SCRAM login fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The peer's message is not SCRAM; names the part.
    #[error("malformed login message: {0}")]
    Malformed(&'static str),
    /// Server: the password, the nonce or the channel binding is wrong; deliberately not distinguished.
    #[error("the proof is wrong")]
    WrongProof,
    /// Client: the server could not prove that it knows this account.
    #[error("the server could not prove that it knows this account; it is not the server it claims to be")]
    WrongServer,
    /// Client: the server ended the login.
    #[error("the server refused the login")]
    Refused,
    /// Client: the server requested a number of rounds outside of
    /// [`SCRAM_ROUNDS_MIN`]..=[`SCRAM_ROUNDS_MAX`].
    #[error("the server asks for {0} password rounds; {SCRAM_ROUNDS_MIN} to {SCRAM_ROUNDS_MAX} are accepted")]
    Rounds(u32),
    /// Client: remembered keys belong to another salt or number of rounds; the password is needed.
    #[error("the account's password was changed; it must be typed again")]
    KeysOutdated,
    /// Client: the user name is empty or holds control characters.
    #[error("a user name cannot be empty or hold control characters")]
    UserName,
    /// Client: the text cannot be a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// Why text cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The text is empty.
    #[error("the password is empty")]
    Empty,
    /// A control character such as a tab, a line break or a NUL.
    #[error("the password holds a control character")]
    Control,
    /// Over [`PASSWORD_BYTES_MAX`].
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
}

/// Checks whether `password` may be used as a password. [`Verifier::matches`] checks whether it is correct.
pub fn check_password(password: &str) -> Result<(), PasswordError> {
    match password {
        "" => Err(PasswordError::Empty),
        long if long.len() > PASSWORD_BYTES_MAX => Err(PasswordError::TooLong),
        control if control.chars().any(char::is_control) => Err(PasswordError::Control),
        _ => Ok(()),
    }
}

/// What a server stores instead of a password. It suffices to verify a proof, but not to make one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Verifier {
    /// PBKDF2 rounds.
    #[serde(deserialize_with = "rounds_within_bounds")]
    pub rounds: u32,
    /// Public; sent to any client that begins a login.
    #[serde(serialize_with = "to_base64", deserialize_with = "salt_from_base64")]
    pub salt: Vec<u8>,
    /// The hash of the client's key.
    #[serde(serialize_with = "to_base64", deserialize_with = "key_from_base64")]
    pub stored_key: [u8; 32],
    /// Signs the server's last message.
    #[serde(serialize_with = "to_base64", deserialize_with = "key_from_base64")]
    pub server_key: [u8; 32],
}

impl Verifier {
    /// Makes a verifier of `password` with a new random salt.
    pub fn from_password(password: &str, rounds: u32) -> Result<Self, PasswordError> {
        check_password(password)?;
        let mut salt = vec![0; SCRAM_RANDOM_BYTES];
        fill_random(&mut salt);
        Ok(ClientKeys::derive(password, &salt, rounds).to_verifier())
    }

    /// Returns whether the plaintext `password` is correct. Computes all the rounds; takes the same time
    /// for every result.
    pub fn matches(&self, password: &str) -> bool {
        self.matches_keys(&ClientKeys::derive(password, &self.salt, self.rounds))
    }

    /// Returns whether `keys` were derived from this verifier's password, with this salt and number of
    /// rounds. Takes the same time for every result.
    pub fn matches_keys(&self, keys: &ClientKeys) -> bool {
        let other = keys.to_verifier();
        (self.stored_key.ct_eq(&other.stored_key) & self.server_key.ct_eq(&other.server_key)).into()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} rounds)", self.rounds)
    }
}

/// Keys that a client derives from a password. For this one salt they are equivalent to the password,
/// so they may be kept in memory for reconnects, and nowhere else.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ClientKeys {
    rounds: u32,
    salt: Vec<u8>,
    client_key: [u8; 32],
    server_key: [u8; 32],
}

impl ClientKeys {
    /// Derives the keys (RFC 5802, section 3). This computes all the rounds and takes a fraction of a second.
    pub fn derive(password: &str, salt: &[u8], rounds: u32) -> Self {
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, rounds, &mut salted[..]);
        Self::from_salted(&salted, salt, rounds)
    }

    fn to_verifier(&self) -> Verifier {
        Verifier {
            rounds: self.rounds,
            salt: self.salt.clone(),
            stored_key: Sha256::digest(self.client_key).into(),
            server_key: self.server_key,
        }
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKeys({} rounds)", self.rounds)
    }
}

/// Returns HMAC-SHA-256 of `message` under `key`.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Fills `bytes` with random bytes from the kernel.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("getrandom(2) does not fail once the machine has started");
}

/// Returns a nonce of [`SCRAM_RANDOM_BYTES`]; base64 has no comma, so it needs no escaping.
fn random_nonce() -> String {
    let mut bytes = [0; SCRAM_RANDOM_BYTES];
    fill_random(&mut bytes);
    BASE64.encode(bytes)
}

/// The attributes of a message, `a=…,b=…`, taken in order.
struct MessageAttributes<'a>(std::str::Split<'a, char>);

impl<'a> MessageAttributes<'a> {
    fn of(message: &'a str) -> Self {
        Self(message.split(','))
    }

    /// Returns the next attribute's value, if it has this `name`. `part` names it in the error.
    fn take(&mut self, name: &str, part: &'static str) -> Result<&'a str, ScramError> {
        let value = self.0.next().and_then(|text| text.strip_prefix(name)).and_then(|text| text.strip_prefix('='));
        value.filter(|value| !value.is_empty()).ok_or(ScramError::Malformed(part))
    }

    /// Checks that the rest consists of optional extensions, which RFC 5802 says to ignore.
    fn finish(mut self) -> Result<(), ScramError> {
        let is_extension = |text: &str| {
            let mut bytes = text.bytes();
            bytes.next().is_some_and(|b| b.is_ascii_alphabetic()) && bytes.next() == Some(b'=')
        };
        if self.0.all(is_extension) { Ok(()) } else { Err(ScramError::Malformed("extensions")) }
    }
}

/// Checks a nonce by RFC 5802: printable ASCII without commas, of bounded length.
fn check_nonce(nonce: &str) -> Result<(), ScramError> {
    let printable = nonce.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if printable && nonce.len() <= NONCE_BYTES_MAX { Ok(()) } else { Err(ScramError::Malformed("nonce")) }
}

fn decode_key(text: &str, part: &'static str) -> Result<[u8; 32], ScramError> {
    let bytes = BASE64.decode(text).map_err(|_| ScramError::Malformed(part))?;
    bytes.try_into().map_err(|_| ScramError::Malformed(part))
}

fn xor(a: [u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let mut result = a;
    result.iter_mut().zip(b).for_each(|(x, y)| *x ^= y);
    result
}

/// The maximum length of both nonces together. A nonce that is made here has 24 characters.
const NONCE_BYTES_MAX: usize = 512;
/// The lengths of a salt. A salt of another length is a mistake.
const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=256;

fn to_base64<S: serde::Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
}

fn salt_from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let salt = from_base64(deserializer)?;
    if SALT_BYTES.contains(&salt.len()) { Ok(salt) } else { Err(serde::de::Error::custom("a salt has 8 to 256 bytes")) }
}

fn key_from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    from_base64(deserializer)?.try_into().map_err(|_| serde::de::Error::custom("a key has 32 bytes"))
}

fn rounds_within_bounds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let rounds = u32::deserialize(deserializer)?;
    if (SCRAM_ROUNDS_MIN..=SCRAM_ROUNDS_MAX).contains(&rounds) {
        Ok(rounds)
    } else {
        Err(serde::de::Error::custom(format_args!("{rounds} is not within {SCRAM_ROUNDS_MIN} to {SCRAM_ROUNDS_MAX}")))
    }
}

#[cfg(test)]
mod tests;
