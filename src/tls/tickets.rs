//! Tickets with which the data connections of one FTP session resume its control connection.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// Makes and opens the tickets of one session with a key of its own. The key never changes: it is
/// gone with the control connection, and until then every ticket is good, however old it is.
/// Rotating it by time would end the uploads of a session that is older than its tickets.
pub(super) struct Tickets(LessSafeKey);

impl Tickets {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// Clients forget a ticket after this time, and get new ones with each connection.
    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let tag = self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed);
        Some([&nonce, &sealed[..], tag.ok()?.as_ref()].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

/// The most that TLS 1.3 allows (RFC 8446, section 4.6.1): 7 days.
const LIFETIME_SECONDS: u32 = 7 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_opened_by_the_session_that_made_it_and_by_no_other() {
        let (own, other) = (Tickets::new().expect("random"), Tickets::new().expect("random"));
        let ticket = own.encrypt(b"session").expect("sealed");
        assert_eq!(own.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(own.encrypt(b"session"), Some(ticket.clone()));
        assert_eq!(other.decrypt(&ticket), None);
        let mut damaged = ticket.clone();
        damaged[NONCE_LEN] ^= 1;
        for wrong in [&damaged[..], &ticket[..ticket.len() - 1], &ticket[..NONCE_LEN], &[]] {
            assert_eq!(own.decrypt(wrong), None);
        }
    }
}
