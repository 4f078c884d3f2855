//! Tickets with which the data connections of an FTP session resume its control connection, or that of
//! another session of the same account.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use rustls::server::{ProducesTickets, StoresServerSessions};

use super::ticket_keys::{Resumption, SessionKey, StoredSession, TicketHeader};

/// Makes and opens the tickets of one session with its own key. The key lives at least as long as the
/// control connection and never changes, so that a ticket of any age is valid until then. If it were
/// rotated, the data connections of a long session would be refused.
pub(super) struct Tickets {
    session: Arc<SessionKey>,
    /// The tickets of data connections; `None` for the control connection.
    opened: Option<Mutex<OpenedTickets>>,
}

/// The tickets that the present data connection and earlier ones have used.
#[derive(Default)]
struct OpenedTickets {
    current: Option<OpenedTicket>,
    /// The ticket of the previous data connection.
    previous: Option<NonceBytes>,
}

#[derive(Clone, Copy)]
struct OpenedTicket {
    nonce: NonceBytes,
    header: TicketHeader,
}

type NonceBytes = [u8; NONCE_LEN];

impl Tickets {
    pub(super) fn of_control(session: &Arc<SessionKey>) -> Self {
        Self { session: Arc::clone(session), opened: None }
    }

    pub(super) fn of_data(session: &Arc<SessionKey>) -> Self {
        Self { session: Arc::clone(session), opened: Some(Mutex::default()) }
    }

    fn opened(&self) -> Option<MutexGuard<'_, OpenedTickets>> {
        self.opened.as_ref().map(|opened| opened.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets the present ticket: a data connection begins, or its handshake resumes nothing.
    pub(super) fn forget(&self) {
        if let Some(mut opened) = self.opened() {
            opened.current = None;
        }
    }

    /// Returns what the client has proved with the last opened ticket.
    pub(super) fn proof_given(&self) -> Option<Resumption> {
        let TicketHeader { session, resumed_session } = self.opened()?.current?.header;
        let given_to = self.session.proof_of(session);
        Some(match resumed_session {
            _ if given_to == Resumption::None => Resumption::None,
            0 => Resumption::Unproved,
            _ => given_to.min(self.session.proof_of(resumed_session)),
        })
    }

    /// Returns the session that a ticket issued now names as resumed. An attacker that connects to a data port
    /// gets tickets too. Such a ticket must not prove more than the attacker did, so of the two sessions in the
    /// present ticket it names the one that proves less.
    fn resumed_session(&self) -> u64 {
        let Some(opened) = self.opened() else { return self.session.number };
        let Some(OpenedTicket { header, .. }) = opened.current else { return 0 };
        match header.resumed_session {
            0 => 0,
            _ => [header.session, header.resumed_session]
                .into_iter()
                .min_by_key(|number| self.session.proof_of(*number))
                .unwrap_or_default(),
        }
    }

    /// Returns whether the previous data connection used the same ticket. Remembers this one's for the next
    /// call.
    pub(super) fn is_used_again(&self) -> bool {
        let Some(mut opened) = self.opened() else { return false };
        let nonce = opened.current.map(|ticket| ticket.nonce);
        let previous = std::mem::replace(&mut opened.previous, nonce);
        nonce.is_some() && previous == nonce
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// Clients drop a ticket after this time, and get new ones with each connection.
    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut ciphertext = plain.to_vec();
        let header = TicketHeader { session: self.session.number, resumed_session: self.resumed_session() }.to_bytes();
        let tag = self.session.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header),
            &mut ciphertext,
        );
        Some([&header[..], &nonce, &ciphertext, tag.ok()?.as_ref()].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = ticket.split_first_chunk::<HEADER_BYTES>()?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
        let fields = TicketHeader::of(header);
        let plain = match fields.session == self.session.number {
            true => open(&self.session.key, header, nonce, ciphertext),
            false if self.opened.is_none() => None,
            false => open(&*self.session.key_of(fields.session)?, header, nonce, ciphertext),
        }?;
        if let Some(mut opened) = self.opened() {
            opened.current = Some(OpenedTicket { nonce: *nonce, header: fields });
        }
        Some(plain)
    }
}

impl TicketHeader {
    fn of(bytes: &[u8; HEADER_BYTES]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Self { session: number(&bytes[..HEADER_BYTES / 2]), resumed_session: number(&bytes[HEADER_BYTES / 2..]) }
    }

    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..HEADER_BYTES / 2].copy_from_slice(&self.session.to_be_bytes());
        bytes[HEADER_BYTES / 2..].copy_from_slice(&self.resumed_session.to_be_bytes());
        bytes
    }
}

fn open(key: &LessSafeKey, header: &[u8; HEADER_BYTES], nonce: &NonceBytes, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let mut ciphertext = ciphertext.to_vec();
    let plain = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(*header), &mut ciphertext).ok()?;
    Some(plain.to_vec())
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

/// Stores the state of TLS 1.2 sessions for clients that resume by session ID and not by ticket, such as
/// curl.
impl StoresServerSessions for Tickets {
    fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        self.session.store(
            id,
            StoredSession {
                header: TicketHeader { session: self.session.number, resumed_session: self.resumed_session() },
                value,
            },
        )
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        let StoredSession { header, value } = self.session.stored(id)?;
        let mut opened = self.opened()?;
        // A session ID is random, so its first bytes identify the state as a nonce identifies a ticket.
        opened.current = Some(OpenedTicket { nonce: *id.first_chunk()?, header });
        Some(value)
    }

    /// Called for TLS 1.3 only, which uses tickets here.
    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Bytes of a [`TicketHeader`]: two numbers.
const HEADER_BYTES: usize = 16;
/// The most that TLS 1.3 allows (RFC 8446, section 4.6.1): 7 days.
const LIFETIME_SECONDS: u32 = 7 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustls::client::{Resumption, Tls12Resumption};
    use rustls::pki_types::UnixTime;
    use rustls::time_provider::TimeProvider;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, SupportedProtocolVersion};

    use super::*;
    use crate::tls::ticket_keys::TicketKeys;
    use crate::tls::{Pinning, ReceiveResult, ServerIdentity, SessionConfig, TlsSession, ftp_server_config};

    #[test]
    fn a_ticket_is_opened_by_the_session_that_made_it_and_by_no_other() {
        let keys = Arc::<TicketKeys>::default();
        let [own, other] = [(), ()].map(|()| Tickets::of_data(&Arc::new(keys.begin().expect("random"))));
        let ticket = own.encrypt(b"session").expect("random numbers");
        assert_eq!(own.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(own.encrypt(b"session"), Some(ticket.clone()));
        assert_eq!(other.decrypt(&ticket), None);
        let mut damaged = ticket.clone();
        damaged[HEADER_BYTES + NONCE_LEN] ^= 1;
        let mut promoted = ticket.clone();
        promoted[HEADER_BYTES - 1] ^= 1;
        let short = [&ticket[..ticket.len() - 1], &ticket[..HEADER_BYTES + NONCE_LEN], &ticket[..HEADER_BYTES], &[]];
        for wrong in [&damaged[..], &promoted].into_iter().chain(short) {
            assert_eq!(own.decrypt(wrong), None);
        }
    }

    /// The clock of a test, in hours.
    #[derive(Debug, Default)]
    struct Clock(AtomicU64);

    impl TimeProvider for Clock {
        fn current_time(&self) -> Option<UnixTime> {
            let hours = self.0.load(Ordering::Relaxed);
            Some(UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000 + hours * 3600)))
        }
    }

    /// Runs a connection in which the client sends and then reads to the end. Returns whether it was
    /// resumed.
    fn upload(server: TlsSession, client: &Arc<ClientConfig>) -> bool {
        let (mut here, mut there) = std::os::unix::net::UnixStream::pair().expect("sockets");
        let (mut server, mut client) = (server, TlsSession::client(Arc::clone(client)).expect("usable"));
        for stream in [&here, &there] {
            stream.set_nonblocking(true).expect("a socket");
        }
        let mut room = [0; 4096];
        while client.is_handshaking() || server.is_handshaking() {
            client.flush(&mut here).expect("sent");
            let _ = server.receive(&mut there, &mut room);
            server.flush(&mut there).expect("sent");
            let _ = client.receive(&mut here, &mut room);
        }
        client.close(&mut here).expect("sent");
        while !matches!(server.receive(&mut there, &mut room), Ok(ReceiveResult::End)) {}
        server.close(&mut there).expect("sent");
        while !matches!(client.receive(&mut here, &mut room), Ok(ReceiveResult::End)) {}
        assert_eq!(client.is_resumed(), server.is_resumed());
        server.is_resumed().expect("agreed")
    }

    /// A client that may resume, with this clock.
    fn client(version: &'static SupportedProtocolVersion, clock: &Arc<Clock>) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::<Clock>::clone(clock));
        let builder = builder.with_protocol_versions(&[version]).expect("usable").dangerous();
        let mut config = builder.with_custom_certificate_verifier(Pinning::new(None)).with_no_client_auth();
        let resumption = Resumption::in_memory_sessions(64);
        config.resumption = resumption.tls12_resumption(Tls12Resumption::SessionIdOrTickets);
        Arc::new(config)
    }

    fn session(clock: &Arc<Clock>) -> SessionConfig {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = crate::config::Config::default_for(&directory.path().join("berthd.json")).expect("valid");
        let identity = ServerIdentity::establish(&config, 1_800_000_000).expect("made");
        let mut shared = Arc::unwrap_or_clone(ftp_server_config(&identity).expect("usable"));
        shared.time_provider = Arc::<Clock>::clone(clock);
        SessionConfig::new(&shared, &Arc::default()).expect("usable")
    }

    #[test]
    fn a_session_can_upload_as_long_as_it_lives_whatever_the_clocks_say() {
        const HOURS: [u64; 8] = [0, 12, 13, 100, 260, 420, 580, 24 * 30];
        // If the client's clock stands still, only the server's decides.
        for (version, moves) in [(&TLS13, true), (&TLS13, false), (&TLS12, true), (&TLS12, false)] {
            let (here, there) = (Arc::<Clock>::default(), Arc::<Clock>::default());
            let (mut session, client) = (session(&there), client(version, &here));
            let control = TlsSession::server(Arc::clone(&session.control)).expect("usable");
            assert!(!upload(control, &client));
            let hours = if moves { &HOURS[..] } else { &[0, 12, 13, 24 * 30, 24 * 365] };
            for hour in hours {
                there.0.store(*hour, Ordering::Relaxed);
                here.0.store(if moves { *hour } else { 0 }, Ordering::Relaxed);
                for _ in 0..3 {
                    let data = TlsSession::server_of_upload(Arc::clone(&session.data().upload)).expect("usable");
                    assert!(upload(data, &client), "hour {hour}, {version:?}");
                }
            }
        }
    }

    #[test]
    fn the_tickets_of_an_upload_leave_at_its_end_and_not_before() {
        let clock = Arc::<Clock>::default();
        let (mut session, client) = (session(&clock), client(&TLS13, &clock));
        let mut server = TlsSession::server_of_upload(Arc::clone(&session.data().upload)).expect("usable");
        let mut client = TlsSession::client(client).expect("usable");
        let (mut here, mut there) = std::os::unix::net::UnixStream::pair().expect("sockets");
        here.set_nonblocking(true).and_then(|()| there.set_nonblocking(true)).expect("sockets");
        let mut room = [0; 4096];
        while client.is_handshaking() || server.is_handshaking() {
            client.flush(&mut here).expect("sent");
            let _ = server.receive(&mut there, &mut room);
            server.flush(&mut there).expect("sent");
            let _ = client.receive(&mut here, &mut room);
        }
        assert!(!server.wants_flush() && server.flush(&mut there).expect("nothing to send"));
        let unread = |here: &mut std::os::unix::net::UnixStream| std::io::Read::read(here, &mut [0; 4096]);
        assert!(unread(&mut here).is_err(), "the client has nothing to read");
        assert!(server.close(&mut there).expect("sent"));
        assert!(unread(&mut here).expect("tickets and the last word") > 300);
    }
}
