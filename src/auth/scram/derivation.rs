//! PBKDF2 in slices, for a server that receives plaintext passwords: it serves other sessions between two
//! slices.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{ClientKeys, hmac_sha256};

/// A running PBKDF2 (RFC 8018, section 5.2) with HMAC-SHA-256 and one block of output.
pub struct Derivation {
    mac: Hmac<Sha256>,
    salt: Vec<u8>,
    rounds: u32,
    done: u32,
    /// The result of the last round (U in the RFC), and the XOR of the results of all rounds.
    last: Zeroizing<[u8; 32]>,
    sum: Zeroizing<[u8; 32]>,
}

impl Derivation {
    /// Makes a derivation. [`Derivation::advance`] computes it.
    pub fn new(password: &str, salt: &[u8], rounds: u32) -> Self {
        let mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(password.as_bytes()).expect("HMAC takes a key of any length");
        let (last, sum) = (Zeroizing::default(), Zeroizing::default());
        Self { mac, salt: salt.to_vec(), rounds, done: 0, last, sum }
    }

    /// Computes at most `rounds` more rounds. Returns the keys once all are computed.
    pub fn advance(&mut self, rounds: u32) -> Option<ClientKeys> {
        for _ in 0..rounds.min(self.rounds_left()) {
            let mut mac = self.mac.clone();
            match self.done {
                0 => {
                    mac.update(&self.salt);
                    mac.update(&FIRST_BLOCK);
                }
                _ => mac.update(&self.last[..]),
            }
            self.last.copy_from_slice(&mac.finalize().into_bytes());
            self.sum.iter_mut().zip(self.last.iter()).for_each(|(sum, last)| *sum ^= last);
            self.done += 1;
        }
        (self.rounds_left() == 0).then(|| ClientKeys::from_salted(&self.sum, &self.salt, self.rounds))
    }

    /// Returns the number of remaining rounds.
    pub fn rounds_left(&self) -> u32 {
        self.rounds - self.done
    }
}

impl ClientKeys {
    /// Derives the keys from the salted password (RFC 5802, section 3).
    pub(super) fn from_salted(salted: &[u8; 32], salt: &[u8], rounds: u32) -> Self {
        Self {
            rounds,
            salt: salt.to_vec(),
            client_key: hmac_sha256(salted, b"Client Key"),
            server_key: hmac_sha256(salted, b"Server Key"),
        }
    }
}

/// The number of the only block.
const FIRST_BLOCK: [u8; 4] = 1u32.to_be_bytes();
