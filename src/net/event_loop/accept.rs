//! Accepts or refuses new connections. `admission` has the rule.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use mio::Interest;
use mio::net::{TcpStream, UnixStream};
use rustix::net::sockopt::set_socket_oobinline;

use super::tokens::{caller, tokens};
use super::{EventLoop, Slot};
use crate::net::admission::AdmissionDecision;
use crate::net::connection::Connection;
use crate::net::data_socket::{DataSocket, SocketWatch};
use crate::net::descriptors;
use crate::net::listeners::{Accepted, refuse_connection};
use crate::net::scheduler::{Owner, Priority};
use crate::net::transport::{SessionTls, Transport};
use crate::protocol::admin::Admin;
use crate::protocol::kind::ProtocolKind;
use crate::session::access_log::log_refused_connection;
use crate::session::origin::Origin;
use crate::session::{Session, SessionError};

impl EventLoop {
    /// Accepts new connections. The time counts as time of unauthenticated connections.
    pub(super) fn accept(&mut self, now: Instant) {
        if !self.scheduler.has_time_for_unauthenticated() {
            return;
        }
        let began = Instant::now();
        let mut listeners = std::mem::take(&mut self.listeners);
        for listener in &mut listeners {
            listener.accept(now, |accepted| self.admit(accepted, now));
        }
        self.listeners = listeners;
        self.scheduler.spent(Priority::Unauthenticated, began.elapsed());
    }

    fn admit(&mut self, accepted: Accepted, now: Instant) {
        match accepted {
            Accepted::Network(stream, peer, kind) => self.admit_peer(stream, peer, kind, now),
            Accepted::Local(stream) => self.admit_administrator(stream, now),
        }
    }

    fn admit_peer(&mut self, mut stream: TcpStream, peer: SocketAddr, kind: ProtocolKind, now: Instant) {
        let address = peer.ip().to_canonical();
        let (peer, origin) = (SocketAddr::new(address, peer.port()), Origin::of(address));
        let is_reserved = descriptors::is_reserved(&stream);
        match self.admission.decide(origin, &self.limits, !is_reserved) {
            AdmissionDecision::Admit => {}
            AdmissionDecision::EvictThenAdmit(evicted) => self.evict(evicted, now),
            AdmissionDecision::Refuse(bound) => return self.refuse(stream, peer, kind, bound, now),
        }
        if is_reserved {
            match descriptors::renumber(stream) {
                Ok(renumbered) => stream = renumbered,
                Err(error) => return log::warn!("cannot accept {peer}: {error}"),
            }
        }
        // Each write ends with a complete reply, so waiting for more bytes would only delay it.
        let _ = stream.set_nodelay(true);
        match self.connect(stream, peer, kind, now) {
            None => {}
            Some(Err(unwatched)) => refuse_connection(unwatched, kind, "the system"),
            Some(Ok(key)) => {
                self.admission.enter(origin, key);
                self.scheduler.assign(key, Owner::Origin(origin));
                (self.slots[key].origin, self.slots[key].is_unauthenticated) = (Some(origin), true);
            }
        }
    }

    /// Puts a connection with its protocol into a slot. Returns `None` if the connection has already ended, and its
    /// transport if the kernel refuses to watch it.
    fn connect(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        kind: ProtocolKind,
        now: Instant,
    ) -> Option<Result<usize, Transport>> {
        let local = stream.local_addr().ok()?;
        let make = self.protocol_settings.maker(kind, local.ip().to_canonical())?;
        let mut data_tls = None;
        let transport = if kind.has_data_connection() {
            // An abort may come as urgent data (RFC 959, section 4.1.3), which must stay in order.
            let _ = set_socket_oobinline(&stream, true);
            let (shared, keys) = (Arc::clone(&self.tls_policy.session_tls), Arc::clone(&self.ticket_keys));
            let session_tls = data_tls.insert(SessionTls::new(shared, keys));
            match kind.begins_with_tls() {
                true => Transport::tls_control(stream, session_tls).ok()?,
                false => Transport::plain(stream),
            }
        } else {
            Transport::network(stream, self.tls_policy.clone())
        };
        let registry = Rc::clone(&self.registry);
        Some(self.insert(transport, now, |transport, key, number| {
            let session = Session::accept(number, caller(key, number), peer);
            let connection = Connection::new(transport, make(session), peer.ip(), now);
            let Some(session_tls) = data_tls else { return connection };
            let watch = SocketWatch { registry, token: tokens(key).1 };
            connection.with_data(DataSocket::new(local, peer.ip(), session_tls, watch))
        }))
    }

    fn refuse(&mut self, stream: TcpStream, peer: SocketAddr, kind: ProtocolKind, bound: &str, now: Instant) {
        log_refused_connection(peer, SessionError::TooManySessions);
        if let Some(suppressed) = self.refused.record(now) {
            log::warn!(
                "{peer} was refused: {bound} is reached, and all sessions are logged in; raise it to allow more; \
                 {suppressed} more since the last such line"
            );
        }
        refuse_connection(stream, kind, bound);
    }

    /// Closes an unauthenticated connection at once, to make room.
    fn evict(&mut self, key: usize, now: Instant) {
        self.slots[key].connection.end_at_once(&self.service, SessionError::Displaced, now);
        self.remove(key);
    }

    /// Admits a connection of the admin socket. The socket's mode excludes other users; this check is a second
    /// barrier.
    fn admit_administrator(&mut self, stream: UnixStream, now: Instant) {
        let peer = rustix::net::sockopt::socket_peercred(&stream);
        let may = peer.is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid());
        if !may {
            return log::warn!("a connection to the control socket from another user was refused");
        }
        // A refused administrator sees the connection close; the log has the reason.
        let _ = self.insert(Transport::local(stream), now, |transport, _, _| {
            let address = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            Connection::new(transport, Box::<Admin>::default(), address, now)
        });
    }

    /// Puts a connection into a slot and registers its socket. Returns it if the kernel refuses.
    fn insert(
        &mut self,
        mut transport: Transport,
        now: Instant,
        connect: impl FnOnce(Transport, usize, u64) -> Connection,
    ) -> Result<usize, Transport> {
        let number = self.next_session_number;
        self.next_session_number += 1;
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(transport.socket(), tokens(key).0, interest) {
            log::warn!("cannot watch a connection: {error}");
            return Err(transport);
        }
        let connection = connect(transport, key, number);
        entry.insert(Slot {
            connection,
            session_number: number,
            origin: None,
            is_unauthenticated: false,
            is_queued: false,
            is_busy: false,
            is_to_be_removed: false,
            end_reason: None,
            timer: None,
        });
        self.set_timer(key, now);
        Ok(key)
    }
}
