//! TLS of sessions with data connections: a configuration for each session, whose tickets identify it.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;

use super::{Layer, Transport};
use crate::tls::{Resumption, SessionConfig, TicketKeys};

/// The TLS of the control connection and the data connections of one session. Each session has its own tickets,
/// which identify the session of a resumed connection.
pub struct SessionTls {
    shared: Arc<ServerConfig>,
    keys: Arc<TicketKeys>,
    own: Option<SessionConfig>,
    account: Option<u64>,
}

impl SessionTls {
    /// Prepares the TLS of a session with the server's certificate. Its configuration is built on first use.
    pub fn new(shared: Arc<ServerConfig>, keys: Arc<TicketKeys>) -> Self {
        Self { shared, keys, own: None, account: None }
    }

    /// Records the account of the session, by its unique number.
    pub fn set_account(&mut self, account: u64) {
        if self.account != Some(account)
            && let Some(own) = &self.own
        {
            own.set_account(account);
            self.account = Some(account);
        }
    }

    /// Records what a handshake on a data connection has shown so far.
    pub fn record_handshake(&mut self, transport: &Transport) {
        if let (Layer::Tls(tls), Some(own)) = (&transport.layer, &mut self.own)
            && tls.is_full_handshake()
        {
            own.data().forget_ticket();
        }
    }

    /// Returns what a data connection proves after its handshake.
    pub fn resumption(&mut self, transport: &Transport) -> Resumption {
        match (&transport.layer, &mut self.own) {
            (Layer::Tls(tls), Some(own)) => own.data().resumption(tls),
            _ => Resumption::None,
        }
    }

    /// Returns whether this data connection shows that the client can resume any number of times. Call once
    /// for each resumed connection.
    pub fn shows_reuse(&mut self, transport: &Transport) -> bool {
        match (&transport.layer, &mut self.own) {
            (Layer::Tls(tls), Some(own)) => own.data().shows_reuse(tls),
            _ => false,
        }
    }

    pub(super) fn own(&mut self) -> io::Result<&mut SessionConfig> {
        let own = match self.own.take() {
            Some(own) => own,
            None => SessionConfig::new(&self.shared, &self.keys).map_err(io::Error::other)?,
        };
        Ok(self.own.insert(own))
    }
}
