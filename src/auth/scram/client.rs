//! The client's side of SCRAM.

use std::fmt;

use base64::Engine;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    BASE64, Binding, ClientKeys, MessageAttributes, SALT_BYTES, ScramError, check_nonce, check_password, decode_key,
    hmac_sha256, random_nonce, xor,
};
use crate::auth::scram::{SCRAM_ROUNDS_MAX, SCRAM_ROUNDS_MIN};

/// The secret that a client logs in with.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// The password as typed.
    Password(&'a str),
    /// Keys that were derived at an earlier login.
    Keys(&'a ClientKeys),
}

impl<'a> From<&'a str> for Secret<'a> {
    fn from(password: &'a str) -> Self {
        Self::Password(password)
    }
}

impl<'a> From<&'a ClientKeys> for Secret<'a> {
    fn from(keys: &'a ClientKeys) -> Self {
        Self::Keys(keys)
    }
}

/// A login that waits for the server's salt.
pub struct ClientExchange<'a> {
    secret: Secret<'a>,
    bare: String,
    nonce: String,
    binding: Binding,
}

impl<'a> ClientExchange<'a> {
    /// Begins a login. Returns the client-first-message.
    pub fn new(user: &str, secret: impl Into<Secret<'a>>, binding: Binding) -> Result<(Self, String), ScramError> {
        Self::with_nonce(user, secret.into(), binding, random_nonce())
    }

    pub(super) fn with_nonce(
        user: &str,
        secret: Secret<'a>,
        binding: Binding,
        nonce: String,
    ) -> Result<(Self, String), ScramError> {
        if user.is_empty() || user.chars().any(char::is_control) {
            return Err(ScramError::UserName);
        }
        if let Secret::Password(password) = secret {
            check_password(password)?;
        }
        let bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        let message = format!("{}{bare}", binding.gs2_header());
        Ok((Self { secret, bare, nonce, binding }, message))
    }

    /// Answers the server-first-message with the client-final-message. With a password this computes up to
    /// [`SCRAM_ROUNDS_MAX`] rounds.
    pub fn answer(self, server_first: &str) -> Result<(ClientProved, String), ScramError> {
        let mut attributes = MessageAttributes::of(server_first);
        let nonce = attributes.take("r", "nonce")?;
        check_nonce(nonce)?;
        if nonce.strip_prefix(&self.nonce[..]).is_none_or(str::is_empty) {
            return Err(ScramError::Malformed("nonce"));
        }
        let salt = BASE64.decode(attributes.take("s", "salt")?).map_err(|_| ScramError::Malformed("salt"))?;
        if !SALT_BYTES.contains(&salt.len()) {
            return Err(ScramError::Malformed("salt"));
        }
        let rounds = parse_rounds(attributes.take("i", "rounds")?)?;
        attributes.finish()?;
        let keys = self.keys(&salt, rounds)?;

        let header = self.binding.gs2_header();
        let unproved = format!("c={},r={nonce}", BASE64.encode(self.binding.input(header)));
        let signed = format!("{},{server_first},{unproved}", self.bare);
        let stored_key = Sha256::digest(keys.client_key);
        let proof = xor(hmac_sha256(&stored_key, signed.as_bytes()), &keys.client_key);
        let signature = hmac_sha256(&keys.server_key, signed.as_bytes());
        Ok((ClientProved { keys, signature }, format!("{unproved},p={}", BASE64.encode(proof))))
    }

    fn keys(&self, salt: &[u8], rounds: u32) -> Result<ClientKeys, ScramError> {
        match self.secret {
            Secret::Password(password) => Ok(ClientKeys::derive(password, salt, rounds)),
            Secret::Keys(keys) if keys.salt == salt && keys.rounds == rounds => Ok(keys.clone()),
            Secret::Keys(_) => Err(ScramError::KeysOutdated),
        }
    }
}

impl fmt::Debug for ClientExchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientExchange")
    }
}

/// A login whose proof is sent; the server has not proved itself yet.
pub struct ClientProved {
    keys: ClientKeys,
    signature: [u8; 32],
}

impl ClientProved {
    /// Checks the server-final-message. An error means that the peer does not know the verifier.
    pub fn verify(&self, server_final: &str) -> Result<(), ScramError> {
        if server_final.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let mut attributes = MessageAttributes::of(server_final);
        let signature = decode_key(attributes.take("v", "signature")?, "signature")?;
        attributes.finish()?;
        if signature.ct_eq(&self.signature).into() { Ok(()) } else { Err(ScramError::WrongServer) }
    }

    /// Returns the derived keys, for reconnects.
    pub fn into_keys(self) -> ClientKeys {
        self.keys
    }
}

impl fmt::Debug for ClientProved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientProved")
    }
}

/// Only digits: RFC 5802 allows neither `+1` nor leading zeros.
fn parse_rounds(text: &str) -> Result<u32, ScramError> {
    if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ScramError::Malformed("rounds"));
    }
    let rounds = text.parse().map_err(|_| ScramError::Rounds(u32::MAX))?;
    if (SCRAM_ROUNDS_MIN..=SCRAM_ROUNDS_MAX).contains(&rounds) { Ok(rounds) } else { Err(ScramError::Rounds(rounds)) }
}
