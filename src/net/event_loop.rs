//! The loop: one thread, one poll, edge-triggered. Events only mark; work runs afterwards, one
//! bounded turn per ready connection, round robin; who waits for an answer goes first.
//!
//! ```text
//! poll(wait)      zero if anyone is ready, else the nearest deadline
//! mark(events)    set readable and writable, enqueue; no I/O
//! accept          a bounded number per listener
//! expire          lazy timers: ask each its real deadline, set again or close
//! run_turns       one turn for some that woke up to ask, turn about with some that have work left
//! reap            the only place a slot is freed
//! ```
//!
//! A slot is freed only after the batch of events that may still name it, so no event of a
//! closed connection ever reaches a newcomer.

use super::account_watch::AccountWatch;
use super::connection::{Connection, Turn};
use super::listeners::{Accepted, Listener, refuse_connection};
use super::slow_turns::SlowTurns;
use super::timers::Timers;
use super::transport::{Entrance, Transport};
use crate::config::{Limits, Timeouts};
use crate::front::Front;
use crate::front::native::Native;
use crate::limits::{ASKING_PER_ROUND, EVENTS_PER_POLL, TURN_WARN, TURNS_PER_ROUND};
use crate::logging::ACCESS;
use crate::session::{Refusal, Service, Session};
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The waker of the sync helper.
pub const WAKER: Token = Token(0);
/// Signals.
pub const SIGNALS: Token = Token(1);
/// The first listener; the others follow.
const FIRST_LISTENER: usize = 2;
/// The first connection. Below it there is room for as many listeners as anybody configures.
const FIRST_CONNECTION: usize = 1024;

struct Slot {
    connection: Connection,
    serial: u64,
    is_queued: bool,
    is_doomed: bool,
    alarm: Option<Instant>,
}

/// All connections and what they share.
pub struct EventLoop {
    poll: Poll,
    service: Service,
    limits: Limits,
    timeouts: Timeouts,
    entrance: Entrance,
    listeners: Vec<Listener>,
    slots: Slab<Slot>,
    per_address: HashMap<IpAddr, usize>,
    /// Slots that had nothing under way when they woke up: a small request has come, perhaps.
    asking: VecDeque<usize>,
    /// Slots with work left.
    ready: VecDeque<usize>,
    doomed: Vec<usize>,
    timers: Timers,
    next_serial: u64,
    accounts: AccountWatch,
    drain_until: Option<Instant>,
    wakes_at: Option<Instant>,
    slow_turns: SlowTurns,
}

/// What a round of the loop saw besides connections.
#[derive(Debug, Default, Clone, Copy)]
pub struct Round {
    /// Signals have arrived.
    pub signals: bool,
}

impl EventLoop {
    /// A loop around `poll`, without listeners yet.
    pub fn new(
        poll: Poll,
        service: Service,
        limits: Limits,
        timeouts: Timeouts,
        entrance: Entrance,
        now: Instant,
    ) -> Self {
        Self {
            poll,
            service,
            limits,
            timeouts,
            entrance,
            listeners: Vec::new(),
            slots: Slab::new(),
            per_address: HashMap::new(),
            asking: VecDeque::new(),
            ready: VecDeque::new(),
            doomed: Vec::new(),
            timers: Timers::default(),
            next_serial: 1,
            accounts: AccountWatch::new(now),
            drain_until: None,
            wakes_at: None,
            slow_turns: SlowTurns::default(),
        }
    }

    /// Takes connections from one more socket of the network.
    pub fn listen(&mut self, socket: TcpListener) -> io::Result<()> {
        let listener = Listener::network(socket, self.poll.registry(), self.listener_token())?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Takes the administrator's connections from a socket of this machine.
    pub fn listen_locally(&mut self, socket: std::os::unix::net::UnixListener) -> io::Result<()> {
        let listener = Listener::local(socket, self.poll.registry(), self.listener_token())?;
        self.listeners.push(listener);
        Ok(())
    }

    fn listener_token(&self) -> Token {
        Token(FIRST_LISTENER + self.listeners.len())
    }

    /// What the sessions share, to be changed when the configuration is.
    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// Replaces the limits for what comes.
    pub fn set_limits(&mut self, limits: Limits, timeouts: Timeouts) {
        (self.limits, self.timeouts) = (limits, timeouts);
    }

    /// Replaces the certificate, and whether TLS can be done without, for those who come.
    pub fn set_entrance(&mut self, entrance: Entrance) {
        self.entrance = entrance;
    }

    /// Ends a round at this time even if nothing happens.
    pub fn wake_at(&mut self, at: Instant) {
        self.wakes_at = Some(at);
    }

    /// Closes the listeners and idle sessions; transfers may go on until `until`.
    pub fn drain(&mut self, until: Instant, now: Instant) {
        self.listeners.clear();
        self.drain_until = Some(until);
        self.fail_where(now, Refusal::ShuttingDown, Connection::is_idle);
    }

    /// Whether nobody is connected any more.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// One round.
    pub fn run_once(&mut self, events: &mut Events) -> io::Result<Round> {
        crate::logging::flush();
        let wait = self.wait(Instant::now());
        match self.poll.poll(events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result?,
        }
        let now = Instant::now();
        let round = self.mark(events);
        self.accept(now);
        self.take_synced(now);
        self.watch_accounts(now);
        self.expire(now);
        self.run_turns(now);
        self.reap();
        Ok(round)
    }

    /// A fitting buffer for [`EventLoop::run_once`].
    pub fn events() -> Events {
        Events::with_capacity(EVENTS_PER_POLL)
    }

    // ---- The steps of a round -------------------------------------------------------------

    fn wait(&self, now: Instant) -> Option<Duration> {
        let accepts = self.listeners.iter().any(|listener| listener.is_ready() && listener.retry_at().is_none());
        if !(self.asking.is_empty() && self.ready.is_empty())
            || accepts
            || self.accounts.is_at_work()
            || self.service.store.syncer.has_work()
        {
            return Some(Duration::ZERO);
        }
        let watch = (!self.slots.is_empty()).then(|| self.accounts.next_at());
        let retries = self.listeners.iter().filter_map(Listener::retry_at);
        let next =
            retries.chain(watch).chain(self.timers.next_at()).chain(self.drain_until).chain(self.wakes_at).min()?;
        // A millisecond more than asked, since poll rounds down and would spin before it.
        Some(next.saturating_duration_since(now) + Duration::from_millis(1))
    }

    fn mark(&mut self, events: &Events) -> Round {
        let mut round = Round::default();
        for event in events {
            match event.token() {
                WAKER => {}
                SIGNALS => round.signals = true,
                Token(token) if token < FIRST_CONNECTION => {
                    if let Some(listener) = self.listeners.get_mut(token - FIRST_LISTENER) {
                        listener.set_ready();
                    }
                }
                Token(token) => {
                    let key = token - FIRST_CONNECTION;
                    if let Some(slot) = self.slots.get_mut(key) {
                        slot.connection.mark(
                            event.is_readable() || event.is_read_closed() || event.is_error(),
                            event.is_writable() || event.is_write_closed() || event.is_error(),
                        );
                        self.enqueue(key);
                    }
                }
            }
        }
        round
    }

    fn enqueue(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if !slot.is_queued && !slot.is_doomed {
            slot.is_queued = true;
            // A turn of a transfer is long beside that of a small request, which would otherwise
            // wait for one turn of everybody's. Nobody goes first twice without having slept.
            let queue = if slot.connection.is_idle() { &mut self.asking } else { &mut self.ready };
            queue.push_back(key);
        }
    }

    fn accept(&mut self, now: Instant) {
        let mut listeners = std::mem::take(&mut self.listeners);
        for listener in &mut listeners {
            listener.accept(now, |accepted| self.admit(accepted, now));
        }
        self.listeners = listeners;
    }

    fn admit(&mut self, accepted: Accepted, now: Instant) {
        match accepted {
            Accepted::Network(stream, peer) => self.admit_peer(stream, peer, now),
            Accepted::Local(stream) => self.admit_administrator(stream, now),
        }
    }

    fn admit_peer(&mut self, stream: TcpStream, peer: SocketAddr, now: Instant) {
        let address = peer.ip().to_canonical();
        let peer = SocketAddr::new(address, peer.port());
        let from_here = self.per_address.get(&address).copied().unwrap_or_default();
        if self.slots.len() >= self.limits.sessions || from_here >= self.limits.sessions_per_address {
            log::info!(target: ACCESS, "peer={peer} user=- verb=connect result=TooManySessions");
            return refuse_connection(stream);
        }
        // Replies are whole when they are written; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let transport = Transport::network(stream, self.entrance.clone());
        let front = |owner| Front::Native(Box::new(Native::new(Session::new(owner, peer), true)));
        if self.insert(transport, front, address, now) {
            log::info!(target: ACCESS, "peer={peer} user=- verb=connect result=ok");
            *self.per_address.entry(address).or_default() += 1;
        }
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

    /// Gives a connection its slot and has its socket watched; false if the system refuses.
    fn insert(
        &mut self,
        mut transport: Transport,
        front: impl FnOnce(u64) -> Front,
        address: IpAddr,
        now: Instant,
    ) -> bool {
        let serial = self.next_serial;
        self.next_serial += 1;
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(transport.socket(), Token(FIRST_CONNECTION + key), interest) {
            log::warn!("cannot watch a connection: {error}");
            return false;
        }
        let connection = Connection::new(transport, front(owner(key, serial)), address, now);
        entry.insert(Slot { connection, serial, is_queued: false, is_doomed: false, alarm: None });
        self.set_alarm(key, now);
        true
    }

    fn take_synced(&mut self, now: Instant) {
        while let Some(synced) = self.service.store.syncer.take_synced() {
            let (key, serial) = slot_of(synced.owner);
            if let Some(slot) = self.slots.get_mut(key)
                && slot.serial & u64::from(u32::MAX) == serial
            {
                match guarded(&mut slot.connection, now, |connection| connection.synced(synced, now)) {
                    Ok(()) | Err(Turn::Again) => self.enqueue(key),
                    Err(_) => self.doom(key),
                }
            }
        }
    }

    /// Ends the sessions of accounts that were locked or removed since they logged in.
    fn watch_accounts(&mut self, now: Instant) {
        let members = self.slots.iter().filter_map(|(_, slot)| slot.connection.front().account());
        let closed = self.accounts.look(&self.service.accounts, members, now);
        if !closed.is_empty() {
            self.fail_where(now, Refusal::AccountClosed, |connection| {
                connection.front().account().is_some_and(|account| closed.contains(account))
            });
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, (key, serial))) = self.timers.pop_due(now) {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            if slot.serial != serial || slot.alarm != Some(at) {
                continue;
            }
            slot.alarm = None;
            let is_overdue = slot.connection.is_overdue(&self.timeouts, now);
            if is_overdue {
                slot.connection.fail(Refusal::Timeout, now);
            }
            if is_overdue || slot.connection.deadline(&self.timeouts).is_some_and(|deadline| deadline <= now) {
                self.enqueue(key);
            } else {
                self.set_alarm(key, now);
            }
        }
        if self.drain_until.is_some_and(|until| now >= until) {
            self.drain_until = None;
            self.fail_where(now, Refusal::ShuttingDown, |_| true);
        }
    }

    fn run_turns(&mut self, now: Instant) {
        // Turn about, so that however many ask, half of the turns are left for the others.
        let asking = self.asking.len().min(ASKING_PER_ROUND);
        for number in 0..asking.max(TURNS_PER_ROUND) {
            let next_asking = if number < asking { self.asking.pop_front() } else { None };
            for key in [next_asking, self.ready.pop_front()].into_iter().flatten() {
                self.run_turn(key, now);
            }
        }
    }

    fn run_turn(&mut self, key: usize, now: Instant) {
        let is_draining = self.listeners.is_empty();
        let slot = &mut self.slots[key];
        slot.is_queued = false;
        if is_draining && slot.connection.is_idle() {
            slot.connection.fail(Refusal::ShuttingDown, now);
        }
        match guarded_turn(&mut slot.connection, &mut self.service, &mut self.slow_turns, now) {
            Turn::Again => {
                slot.is_queued = true;
                self.ready.push_back(key);
            }
            // Its transfer has just ended, and no event would tell.
            Turn::Sleep if is_draining && slot.connection.is_open_and_idle() => self.enqueue(key),
            Turn::Sleep => self.set_alarm(key, now),
            Turn::Close => self.doom(key),
        }
    }

    fn doom(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if !slot.is_doomed {
            slot.is_doomed = true;
            self.doomed.push(key);
        }
    }

    fn reap(&mut self) {
        for key in self.doomed.drain(..) {
            let mut slot = self.slots.remove(key);
            let address = slot.connection.address();
            if let Some(count) = self.per_address.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    self.per_address.remove(&address);
                }
            }
            // Closing the descriptor would do; this keeps mio's books too.
            let _ = self.poll.registry().deregister(slot.connection.transport().socket());
        }
    }

    // ---- Deadlines ------------------------------------------------------------------------

    /// Sets an alarm for the connection's deadline, unless one rings earlier anyway.
    fn set_alarm(&mut self, key: usize, now: Instant) {
        let slot = &mut self.slots[key];
        let Some(deadline) = slot.connection.deadline(&self.timeouts) else { return };
        if slot.alarm.is_none_or(|alarm| alarm > deadline) {
            let at = deadline.max(now);
            slot.alarm = Some(at);
            self.timers.set(at, (key, slot.serial));
        }
    }

    /// Ends the sessions for which `applies` holds.
    fn fail_where(&mut self, now: Instant, why: Refusal, applies: impl Fn(&Connection) -> bool) {
        let keys: Vec<usize> =
            self.slots.iter().filter(|(_, slot)| applies(&slot.connection)).map(|(key, _)| key).collect();
        for key in keys {
            self.slots[key].connection.fail(why, now);
            self.enqueue(key);
        }
    }
}

/// A turn that can neither take the server down nor go unnoticed when it takes too long.
fn guarded_turn(connection: &mut Connection, service: &mut Service, slow: &mut SlowTurns, now: Instant) -> Turn {
    let began = Instant::now();
    let turn = guarded(connection, now, |connection| connection.turn(service, now)).unwrap_or_else(|turn| turn);
    let took = began.elapsed();
    if took > TURN_WARN {
        slow.note(connection, took, now);
    }
    turn
}

/// Does something that may panic with a connection. After a panic its session ends, and the error
/// is the turn in which the peer can still be told, or the end.
fn guarded<T>(connection: &mut Connection, now: Instant, act: impl FnOnce(&mut Connection) -> T) -> Result<T, Turn> {
    catch_unwind(AssertUnwindSafe(|| act(connection))).map_err(|_| {
        log::error!("a defect ended a session");
        // What the panic left may be broken, too.
        catch_unwind(AssertUnwindSafe(|| connection.break_off(now))).unwrap_or(Turn::Close)
    })
}

/// Slot and serial in one number, by which a sync finds back to who asked.
fn owner(key: usize, serial: u64) -> u64 {
    (key as u64) << 32 | (serial & u64::from(u32::MAX))
}

fn slot_of(owner: u64) -> (usize, u64) {
    ((owner >> 32) as usize, owner & u64::from(u32::MAX))
}
