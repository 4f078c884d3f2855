//! The loop: one thread, one poll, edge-triggered. Events only mark connections; work runs afterwards
//! in bounded turns of the ready connections, in the order of `scheduler`.
//!
//! ```text
//! poll(wait)      zero if a connection is ready, else the nearest deadline
//! mark(events)    set readable and writable, enqueue; no I/O
//! accept          accept a bounded number per listener; `admission` decides about evictions
//! take_synced     continue operations, and pass the results of syncs to their sessions
//! watch_accounts  end sessions of accounts that were locked or removed
//! expire          lazy timers: ask each connection for its deadline, set again or close
//! run_turns       run turns of woken, busy and unauthenticated connections, alternately
//! reap            free slots; no other step does
//! ```
//!
//! A slot is freed only after the batch of events that may name it was marked, so no event of a closed
//! connection reaches a new one.

mod accept;
mod admin_query;
mod ending;
mod tokens;
mod turns;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Poll, Registry, Token};
use slab::Slab;

use super::account_watch::AccountWatch;
use super::admission::Admission;
use super::connection::{AfterTurn, Connection};
use super::listeners::Listener;
use super::log_throttle::LogThrottle;
use super::scheduler::Scheduler;
use super::slow_turn_log::SlowTurnLog;
use super::timers::Timers;
use super::transport::TlsPolicy;
use crate::base::histogram::Histogram;
use crate::config::{Limits, Timeouts};
use crate::protocol::kind::{ProtocolKind, ProtocolSettings};
use crate::session::origin::Origin;
use crate::session::{Service, Session, SessionError};
use crate::tls::TicketKeys;
use tokens::{FIRST_CONNECTION, FIRST_LISTENER, slot_of, slot_of_token};
pub use tokens::{SIGNALS, WAKER};
use turns::guarded;

/// The number of readiness events taken from one poll.
const EVENTS_PER_POLL: usize = 1024;

struct Slot {
    connection: Connection,
    session_number: u64,
    /// The peer's origin, if it comes from the network.
    origin: Option<Origin>,
    is_unauthenticated: bool,
    is_queued: bool,
    /// A transfer or task was running after its last turn.
    is_busy: bool,
    is_to_be_removed: bool,
    /// The reason to end its session in its next turn. Deferred, because ending may take long.
    end_reason: Option<SessionError>,
    timer: Option<Instant>,
}

/// All connections and their shared state.
pub struct EventLoop {
    poll: Poll,
    /// Data connections are registered here too.
    registry: Rc<Registry>,
    service: Service,
    limits: Limits,
    timeouts: Timeouts,
    tls_policy: TlsPolicy,
    /// The ticket keys of all sessions with data connections. They survive a new certificate.
    ticket_keys: Arc<TicketKeys>,
    protocol_settings: ProtocolSettings,
    listeners: Vec<Listener>,
    slots: Slab<Slot>,
    admission: Admission,
    scheduler: Scheduler,
    /// The number of busy slots.
    busy: usize,
    to_remove: Vec<usize>,
    timers: Timers,
    next_session_number: u64,
    accounts: AccountWatch,
    drain_until: Option<Instant>,
    wakes_at: Option<Instant>,
    slow_turns: SlowTurnLog,
    turn_times: Histogram,
    began: Instant,
    refused: LogThrottle,
}

/// Events of a round other than connections.
#[derive(Debug, Default, Clone, Copy)]
pub struct Round {
    /// Signals have arrived.
    pub has_signals: bool,
}

impl EventLoop {
    /// Makes a loop around `poll`, without listeners.
    pub fn new(
        poll: Poll,
        service: Service,
        limits: Limits,
        timeouts: Timeouts,
        tls_policy: TlsPolicy,
        now: Instant,
    ) -> io::Result<Self> {
        Ok(Self {
            registry: Rc::new(poll.registry().try_clone()?),
            poll,
            service,
            limits,
            timeouts,
            tls_policy,
            ticket_keys: Arc::default(),
            protocol_settings: ProtocolSettings::default(),
            listeners: Vec::new(),
            slots: Slab::new(),
            admission: Admission::default(),
            scheduler: Scheduler::default(),
            busy: 0,
            to_remove: Vec::new(),
            timers: Timers::default(),
            next_session_number: 1,
            accounts: AccountWatch::new(now),
            drain_until: None,
            wakes_at: None,
            slow_turns: SlowTurnLog::default(),
            turn_times: Histogram::default(),
            began: now,
            refused: LogThrottle::default(),
        })
    }

    /// Adds a network listener.
    pub fn listen(&mut self, socket: TcpListener, kind: ProtocolKind) -> io::Result<()> {
        let listener = Listener::network(socket, kind, self.poll.registry(), self.listener_token())?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Adds the listener of the admin socket.
    pub fn listen_locally(&mut self, socket: std::os::unix::net::UnixListener) -> io::Result<()> {
        let listener = Listener::local(socket, self.poll.registry(), self.listener_token())?;
        self.listeners.push(listener);
        Ok(())
    }

    fn listener_token(&self) -> Token {
        Token(FIRST_LISTENER + self.listeners.len())
    }

    /// Returns the state that sessions share, to be changed on reload.
    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// Replaces the limits for future checks.
    pub fn set_limits(&mut self, limits: Limits, timeouts: Timeouts) {
        (self.limits, self.timeouts) = (limits, timeouts);
    }

    /// Replaces the TLS policy for new connections.
    pub fn set_tls_policy(&mut self, tls_policy: TlsPolicy) {
        self.tls_policy = tls_policy;
    }

    /// Replaces the settings of the protocols for new connections.
    pub fn set_protocol_settings(&mut self, settings: ProtocolSettings) {
        self.protocol_settings = settings;
    }

    /// Ends a round at this time even without an event.
    pub fn wake_at(&mut self, at: Instant) {
        self.wakes_at = Some(at);
    }

    /// Closes the listeners and idle sessions. Transfers may run until `until`.
    pub fn drain(&mut self, until: Instant) {
        self.listeners.clear();
        self.drain_until = Some(until);
        self.fail_where(SessionError::ShuttingDown, Connection::is_idle);
    }

    /// Returns whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Runs one round.
    pub fn run_once(&mut self, events: &mut Events) -> io::Result<Round> {
        crate::logging::flush();
        let wait = self.wait(Instant::now());
        match self.poll.poll(events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result?,
        }
        let now = Instant::now();
        let round = self.mark(events, now);
        self.accept(now);
        self.take_synced(now);
        self.watch_accounts(now);
        self.expire(now);
        self.run_turns(now);
        self.reap();
        Ok(round)
    }

    /// Returns an event buffer for [`EventLoop::run_once`].
    pub fn events() -> Events {
        Events::with_capacity(EVENTS_PER_POLL)
    }

    // ---- The steps of a round -------------------------------------------------------------

    fn wait(&self, now: Instant) -> Option<Duration> {
        let accepts = self.listeners.iter().any(|listener| listener.is_ready() && listener.retry_at().is_none());
        if !self.scheduler.is_empty() || accepts || self.accounts.has_work() || self.service.store.syncer.has_work() {
            return Some(Duration::ZERO);
        }
        let watch = (!self.slots.is_empty()).then(|| self.accounts.next_at());
        let retries = self.listeners.iter().filter_map(Listener::retry_at);
        let storage = self.service.store.syncer.next_at(self.timeouts.storage);
        let next = retries
            .chain(watch)
            .chain(storage)
            .chain(self.timers.next_at())
            .chain(self.drain_until)
            .chain(self.wakes_at)
            .min()?;
        Some(next.saturating_duration_since(now))
    }

    fn mark(&mut self, events: &Events, now: Instant) -> Round {
        let mut round = Round::default();
        for event in events {
            match event.token() {
                WAKER => {}
                SIGNALS => round.has_signals = true,
                Token(token) if token < FIRST_CONNECTION => {
                    if let Some(listener) = self.listeners.get_mut(token - FIRST_LISTENER) {
                        listener.set_ready();
                    }
                }
                Token(token) => {
                    let (key, is_data) = slot_of_token(token);
                    if let Some(slot) = self.slots.get_mut(key) {
                        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                        let writable = event.is_writable() || event.is_write_closed() || event.is_error();
                        match is_data {
                            true => {
                                let ended = event.is_read_closed().then_some(now);
                                slot.connection.mark_data(readable, writable, ended);
                            }
                            false if event.is_error() => slot.connection.mark_reset(),
                            false => slot.connection.mark(readable, writable),
                        }
                        self.enqueue(key);
                    }
                }
            }
        }
        round
    }

    fn enqueue(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if !slot.is_queued && !slot.is_to_be_removed {
            slot.is_queued = true;
            self.scheduler.push(key, slot.connection.priority(true));
        }
    }

    fn take_synced(&mut self, now: Instant) {
        self.service.store.syncer.tick(now, self.timeouts.storage);
        self.continue_operations();
        while let Some(synced) = self.service.store.syncer.take_synced() {
            if let Some(key) = self.slot_of(synced.caller) {
                let slot = &mut self.slots[key];
                match guarded(&mut slot.connection, now, |connection| connection.synced(synced, now)) {
                    Ok(()) | Err(AfterTurn::Again) => self.enqueue(key),
                    Err(_) => self.mark_for_removal(key),
                }
            }
        }
    }

    /// Continues operations whose calls have results, and wakes the sessions whose operations have completed or
    /// wait for a file system that does not answer.
    fn continue_operations(&mut self) {
        self.service.store.syncer.operations().run_ready();
        while let Some(caller) = self.service.store.syncer.operations().take_completed() {
            self.slot_of(caller).into_iter().for_each(|key| self.enqueue(key));
        }
        while let Some(caller) = self.service.store.syncer.take_unanswered_caller() {
            if let Some(key) = self.slot_of(caller) {
                self.slots[key].connection.session().into_iter().for_each(Session::give_up_waiting);
            }
            // Others may wait for this session's change.
            let waits = |slot: &Slot| slot.connection.session().is_some_and(Session::awaits_storage);
            let waiting: Vec<usize> = self.slots.iter().filter(|(_, slot)| waits(slot)).map(|(key, _)| key).collect();
            waiting.into_iter().for_each(|key| self.enqueue(key));
        }
    }

    /// Returns the slot of a session, if it has not ended.
    fn slot_of(&self, caller: u64) -> Option<usize> {
        let (key, number) = slot_of(caller);
        let slot = self.slots.get(key)?;
        (slot.session_number & u64::from(u32::MAX) == number).then_some(key)
    }
}
