//! Letting newcomers in, or not; `crowd` has the rule.

use super::{EventLoop, FIRST_CONNECTION, Slot, owner};
use crate::front::Front;
use crate::front::native::Native;
use crate::logging::ACCESS;
use crate::net::connection::Connection;
use crate::net::crowd::Room;
use crate::net::descriptors;
use crate::net::listeners::{Accepted, refuse_connection};
use crate::net::transport::Transport;
use crate::net::turns::Claim;
use crate::session::login::Origin;
use crate::session::{Refusal, Session};
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Token};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

impl EventLoop {
    /// Newcomers cost time too, of which strangers have their part.
    pub(super) fn accept(&mut self, now: Instant) {
        if !self.turns.has_time_for_strangers() {
            return;
        }
        let began = Instant::now();
        let mut listeners = std::mem::take(&mut self.listeners);
        for listener in &mut listeners {
            listener.accept(now, |accepted| self.admit(accepted, now));
        }
        self.listeners = listeners;
        self.turns.spent(Claim::Stranger, began.elapsed());
    }

    fn admit(&mut self, accepted: Accepted, now: Instant) {
        match accepted {
            Accepted::Network(stream, peer) => self.admit_peer(stream, peer, now),
            Accepted::Local(stream) => self.admit_administrator(stream, now),
        }
    }

    fn admit_peer(&mut self, mut stream: TcpStream, peer: SocketAddr, now: Instant) {
        let address = peer.ip().to_canonical();
        let (peer, origin) = (SocketAddr::new(address, peer.port()), Origin::of(address));
        let is_reserved = descriptors::is_reserved(&stream);
        match self.crowd.room(origin, &self.limits, !is_reserved) {
            Room::Free => {}
            Room::After(stranger) => self.displace(stranger, now),
            Room::None(bound) => return self.refuse(stream, peer, bound, now),
        }
        if is_reserved {
            match descriptors::renumber(stream) {
                Ok(renumbered) => stream = renumbered,
                Err(error) => return log::warn!("cannot take in {peer}: {error}"),
            }
        }
        // Replies are whole when they are written; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let transport = Transport::network(stream, self.entrance.clone());
        let front = |owner| Front::Native(Box::new(Native::new(Session::new(owner, peer), true)));
        if let Some(key) = self.insert(transport, front, address, now) {
            log::info!(target: ACCESS, "peer={peer} user=- verb=connect result=ok");
            self.crowd.enter(origin, key);
            (self.slots[key].origin, self.slots[key].is_stranger) = (Some(origin), true);
        }
    }

    fn refuse(&mut self, stream: TcpStream, peer: SocketAddr, bound: &str, now: Instant) {
        log::info!(target: ACCESS, "peer={peer} user=- verb=connect result=TooManySessions");
        if let Some(unsaid) = self.refused.note(now) {
            log::warn!(
                "{peer} was refused: there are as many sessions as {bound} allows, all of them logged in; raise it if \
                 there should be more; {unsaid} more since the last such line"
            );
        }
        refuse_connection(stream);
    }

    /// Ends a connection that nobody has logged in to, to make room at once.
    fn displace(&mut self, key: usize, now: Instant) {
        self.slots[key].connection.dismiss(&self.service, Refusal::Displaced, now);
        self.turns.forget(key);
        self.remove(key);
    }

    /// The socket's mode keeps others out; this is the second lock.
    fn admit_administrator(&mut self, stream: UnixStream, now: Instant) {
        let peer = rustix::net::sockopt::socket_peercred(&stream);
        let may = peer.is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid());
        if !may {
            return log::warn!("a connection to the control socket from another user was refused");
        }
        let front = |_| Front::Control(Box::default());
        self.insert(Transport::local(stream), front, IpAddr::V6(Ipv6Addr::UNSPECIFIED), now);
    }

    /// Gives a connection its slot and has its socket watched; `None` if the system refuses.
    fn insert(
        &mut self,
        mut transport: Transport,
        front: impl FnOnce(u64) -> Front,
        address: IpAddr,
        now: Instant,
    ) -> Option<usize> {
        let serial = self.next_serial;
        self.next_serial += 1;
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(transport.socket(), Token(FIRST_CONNECTION + key), interest) {
            log::warn!("cannot watch a connection: {error}");
            return None;
        }
        let connection = Connection::new(transport, front(owner(key, serial)), address, now);
        entry.insert(Slot {
            connection,
            serial,
            origin: None,
            is_stranger: false,
            is_queued: false,
            is_doomed: false,
            alarm: None,
        });
        self.set_alarm(key, now);
        Some(key)
    }
}
