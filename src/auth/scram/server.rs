//! The server's side of SCRAM.

use base64::Engine;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    BASE64, Binding, MessageAttributes, ScramError, Verifier, check_nonce, decode_key, hmac_sha256, random_nonce, xor,
};

/// A parsed client-first-message.
#[derive(Debug)]
pub struct ClientFirst {
    gs2_header: String,
    bare: String,
    user: String,
    nonce: String,
}

impl ClientFirst {
    /// Parses `n,,n=USER,r=NONCE`. The GS2 header, here `n,,`, may also begin with `y` or `p=…`.
    pub fn parse(message: &str) -> Result<Self, ScramError> {
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(authorize_as), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ScramError::Malformed("header"));
        };
        if !matches!(flag, "n" | "y") && !flag.starts_with("p=") {
            return Err(ScramError::Malformed("channel binding flag"));
        }
        if !authorize_as.is_empty() {
            return Err(ScramError::Malformed("logging in as somebody else"));
        }
        let mut attributes = MessageAttributes::of(bare);
        let user = decode_name(attributes.take("n", "user name")?)?;
        let nonce = attributes.take("r", "nonce")?;
        check_nonce(nonce)?;
        attributes.finish()?;
        Ok(Self { gs2_header: format!("{flag},,"), bare: bare.to_string(), user, nonce: nonce.to_string() })
    }

    /// Returns the claimed user name: any non-empty text without control characters.
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// A login that waits for the client's proof.
#[derive(Debug)]
pub struct ServerExchange {
    verifier: Verifier,
    /// The first two messages, which both sides sign.
    signed: String,
    nonce: String,
    /// The value that the client must send in `c`. `None` if its first message requested another binding than
    /// this connection has, which is reported only as a failed proof.
    binding_input: Option<Vec<u8>>,
}

impl ServerExchange {
    /// Answers a client-first-message with the server-first-message.
    pub fn begin(first: ClientFirst, verifier: &Verifier, binding: Binding) -> (Self, String) {
        Self::begin_with_nonce(first, verifier, binding, &random_nonce())
    }

    pub(super) fn begin_with_nonce(
        first: ClientFirst,
        verifier: &Verifier,
        binding: Binding,
        server_nonce: &str,
    ) -> (Self, String) {
        // With TLS a client must bind to it: `n` would allow a relay, and `y` means that an attacker removed
        // the -PLUS mechanism from our offer (RFC 5802, section 6).
        let agreed = match binding {
            Binding::None => matches!(&first.gs2_header[..], "n,," | "y,,"),
            Binding::Exporter(_) => first.gs2_header == binding.gs2_header(),
        };
        let nonce = format!("{}{server_nonce}", first.nonce);
        let message = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.rounds);
        let exchange = Self {
            verifier: verifier.clone(),
            signed: format!("{},{message}", first.bare),
            nonce,
            binding_input: agreed.then(|| binding.input(&first.gs2_header)),
        };
        (exchange, message)
    }

    /// Checks the client-final-message and returns the server-final-message, which proves this server to
    /// the client. Consumes the exchange: a nonce serves one proof.
    pub fn finish(self, client_final: &str) -> Result<String, ScramError> {
        let (unproved, proof) = client_final.rsplit_once(",p=").ok_or(ScramError::Malformed("proof"))?;
        let mut attributes = MessageAttributes::of(unproved);
        let binding_input = attributes.take("c", "channel binding")?;
        let binding_input = BASE64.decode(binding_input).map_err(|_| ScramError::Malformed("channel binding"))?;
        let nonce = attributes.take("r", "nonce")?;
        attributes.finish()?;
        let proof = decode_key(proof, "proof")?;

        let signed = format!("{},{unproved}", self.signed);
        let client_key = xor(proof, &hmac_sha256(&self.verifier.stored_key, signed.as_bytes()));
        let proved = <[u8; 32]>::from(Sha256::digest(client_key)).ct_eq(&self.verifier.stored_key);
        let bound = self.binding_input.is_some_and(|expected| expected == binding_input);
        if !bool::from(proved) || !bound || nonce != self.nonce {
            return Err(ScramError::WrongProof);
        }
        let signature = hmac_sha256(&self.verifier.server_key, signed.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)))
    }
}

/// Decodes a user name with `=2C` and `=3D` for comma and equals sign; any other `=` is an error.
fn decode_name(text: &str) -> Result<String, ScramError> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (character, rest) = match part {
            part if part.starts_with("2C") => (',', &part[2..]),
            part if part.starts_with("3D") => ('=', &part[2..]),
            _ => return Err(ScramError::Malformed("user name")),
        };
        name.push(character);
        name.push_str(rest);
    }
    if name.chars().any(char::is_control) { Err(ScramError::Malformed("user name")) } else { Ok(name) }
}
