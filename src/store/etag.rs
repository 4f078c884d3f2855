//! Etags: opaque names for the present content of files.

use std::io;

use hmac::{Hmac, KeyInit, Mac};

use super::meta::Identity;

/// The key of etags. It is random, so etags do not outlive the server.
#[derive(Clone, Copy)]
pub struct EtagKey([u8; 32]);

impl EtagKey {
    /// Makes a random key.
    pub(super) fn random() -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self(key))
    }

    /// Returns an opaque name for the file's present content.
    pub fn etag(&self, identity: &Identity) -> String {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in identity.parts() {
            mac.update(&part.to_be_bytes());
        }
        let mut text = [0; 32];
        crate::base::digest::hex_encode(&mac.finalize().into_bytes()[..16], &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}
