//! The loop: one thread, one poll, edge-triggered. Events only mark connections; work runs afterwards
//! in one bounded turn per ready connection, in the order of `scheduler`.
//!
//! ```text
//! poll(wait)      zero if a connection is ready, else the nearest deadline
//! mark(events)    set readable and writable, enqueue; no I/O
//! accept          a bounded number per listener; `admission` decides about evictions
//! expire          lazy timers: ask each connection for its deadline, set again or close
//! run_turns       round robin: woken connections, busy ones, then unauthenticated ones
//! reap            the only place that frees a slot
//! ```
//!
//! A slot is freed only after the batch of events that may name it was marked, so no event of a closed
//! connection reaches a new one.

mod accept;
mod admin_query;

use super::account_watch::AccountWatch;
use super::admission::Admission;
use super::connection::{AfterTurn, Connection};
use super::listeners::{Listener, ProtocolKind};
use super::log_throttle::LogThrottle;
use super::scheduler::{Owner, Priority, Scheduler};
use super::slow_turn_log::SlowTurnLog;
use super::timers::Timers;
use super::transport::TlsPolicy;
use crate::base::histogram::Histogram;
use crate::base::limits::{EVENTS_PER_POLL, FLUSH_BUDGET, FLUSH_BUDGET_MIN, TURN_WARN};
use crate::config::{FtpConfig, Limits, Timeouts};
use crate::session::origin::Origin;
use crate::session::{Service, Session, SessionError};
use crate::tls::TicketKeys;
use mio::net::TcpListener;
use mio::{Events, Poll, Registry, Token};
use slab::Slab;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The waker of the sync workers.
pub const WAKER: Token = Token(0);
/// Signals.
pub const SIGNALS: Token = Token(1);
/// The first listener; the others have the next numbers.
const FIRST_LISTENER: usize = 2;
/// The first connection. The numbers below it suffice for any configuration of listeners. From it on
/// each slot has two tokens: an even one for its connection, the next for its data connection.
const FIRST_CONNECTION: usize = 1024;

struct Slot {
    connection: Connection,
    session_number: u64,
    /// The peer's origin, if it comes from the network.
    origin: Option<Origin>,
    is_stranger: bool,
    is_queued: bool,
    /// A transfer or task was running after its last turn.
    is_busy: bool,
    is_doomed: bool,
    /// The reason to end its session in its next turn. Deferred, because ending may take long.
    ends: Option<SessionError>,
    alarm: Option<Instant>,
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
    /// Ticket keys of all FTP sessions. They survive a new certificate.
    ticket_keys: Arc<TicketKeys>,
    /// The FTP configuration, if FTP is enabled.
    ftp: Option<Rc<FtpConfig>>,
    listeners: Vec<Listener>,
    slots: Slab<Slot>,
    admission: Admission,
    scheduler: Scheduler,
    /// The number of busy slots.
    busy: usize,
    closing: Vec<usize>,
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
    pub signals: bool,
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
            ftp: None,
            listeners: Vec::new(),
            slots: Slab::new(),
            admission: Admission::default(),
            scheduler: Scheduler::default(),
            busy: 0,
            closing: Vec::new(),
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
    pub fn listen(&mut self, socket: TcpListener, spoken: ProtocolKind) -> io::Result<()> {
        let listener = Listener::network(socket, spoken, self.poll.registry(), self.listener_token())?;
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

    /// Replaces the FTP configuration for new connections.
    pub fn set_ftp(&mut self, ftp: Option<FtpConfig>) {
        self.ftp = ftp.map(Rc::new);
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
        if !self.scheduler.is_empty() || accepts || self.accounts.is_at_work() || self.service.store.syncer.has_work() {
            return Some(Duration::ZERO);
        }
        let watch = (!self.slots.is_empty()).then(|| self.accounts.next_at());
        let retries = self.listeners.iter().filter_map(Listener::retry_at);
        let disks = self.service.store.syncer.next_at(self.timeouts.storage);
        let next = retries
            .chain(watch)
            .chain(disks)
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
                SIGNALS => round.signals = true,
                Token(token) if token < FIRST_CONNECTION => {
                    if let Some(listener) = self.listeners.get_mut(token - FIRST_LISTENER) {
                        listener.set_ready();
                    }
                }
                Token(token) => {
                    let (key, is_second) = slot_of_token(token);
                    if let Some(slot) = self.slots.get_mut(key) {
                        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                        let writable = event.is_writable() || event.is_write_closed() || event.is_error();
                        match is_second {
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
        if !slot.is_queued && !slot.is_doomed {
            slot.is_queued = true;
            self.scheduler.push(key, slot.connection.claim(true));
        }
    }

    fn take_synced(&mut self, now: Instant) {
        self.service.store.syncer.tick(now, self.timeouts.storage);
        while let Some(synced) = self.service.store.syncer.take_synced() {
            let (key, number) = slot_of(synced.owner);
            if let Some(slot) = self.slots.get_mut(key)
                && slot.session_number & u64::from(u32::MAX) == number
            {
                match guarded(&mut slot.connection, now, |connection| connection.synced(synced, now)) {
                    Ok(()) | Err(AfterTurn::Again) => self.enqueue(key),
                    Err(_) => self.doom(key),
                }
            }
        }
    }

    /// Ends the sessions of accounts that were locked or removed.
    fn watch_accounts(&mut self, now: Instant) {
        let members = self.slots.iter().filter_map(|(_, slot)| slot.connection.protocol().account());
        let closed = self.accounts.look(&self.service.accounts, members, now);
        if !closed.is_empty() {
            self.fail_where(SessionError::AccountClosed, |connection| {
                connection.protocol().account().is_some_and(|account| closed.contains(account))
            });
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(key) = self.timers.pop_due(now) {
            let slot = &mut self.slots[key];
            slot.alarm = None;
            let is_overdue = slot.connection.is_overdue(&self.timeouts, now);
            if is_overdue {
                slot.ends = Some(SessionError::Timeout);
            }
            if is_overdue || slot.connection.deadline(&self.timeouts).is_some_and(|deadline| deadline <= now) {
                self.enqueue(key);
            } else {
                self.set_alarm(key, now);
            }
        }
        if self.drain_until.is_some_and(|until| now >= until) {
            self.drain_until = None;
            self.fail_where(SessionError::ShuttingDown, |_| true);
        }
    }

    fn run_turns(&mut self, now: Instant) {
        let mut round = self.scheduler.begin_round();
        while let Some((key, claim)) = self.scheduler.next(&mut round) {
            let took = self.run_turn(key, claim, now);
            let for_strangers = self.slots[key].connection.take_strangers_time();
            if !for_strangers.is_zero() {
                self.scheduler.spent(Priority::Stranger, for_strangers);
            }
            self.scheduler.spent(claim, took.saturating_sub(for_strangers));
        }
    }

    /// Runs one turn. Returns its duration.
    fn run_turn(&mut self, key: usize, claim: Priority, now: Instant) -> Duration {
        let is_draining = self.listeners.is_empty();
        let flush_budget = self.flush_budget(claim);
        let slot = &mut self.slots[key];
        slot.is_queued = false;
        if is_draining && slot.connection.is_idle() {
            slot.ends = Some(SessionError::ShuttingDown);
        }
        let ends = slot.ends.take();
        let (turn, took) = guarded_turn(&mut slot.connection, &mut self.service, ends, flush_budget, now);
        self.turn_times.note(took);
        if took > TURN_WARN {
            self.slow_turns.note(&slot.connection, took, now);
        }
        let was_busy = std::mem::replace(&mut slot.is_busy, !slot.connection.is_idle());
        self.busy = self.busy + usize::from(slot.is_busy) - usize::from(was_busy);
        if slot.is_stranger && !slot.connection.protocol().is_stranger() {
            slot.is_stranger = false;
            slot.origin.into_iter().for_each(|origin| self.admission.log_in(origin, key));
            if let Some(number) = slot.connection.protocol().session().and_then(Session::active_account_number) {
                self.scheduler.assign(key, Owner::Account(number));
            }
        }
        match turn {
            AfterTurn::Again => {
                slot.is_queued = true;
                self.scheduler.push(key, slot.connection.claim(false));
            }
            // Its transfer has just ended, and no event will announce that.
            AfterTurn::Sleep if is_draining && slot.connection.is_open_and_idle() => self.enqueue(key),
            AfterTurn::Sleep => self.set_alarm(key, now),
            AfterTurn::Close => self.doom(key),
        }
        if let Some(question) = self.slots[key].connection.take_question() {
            let answer = self.survey(&question, now);
            self.slots[key].connection.answer(answer);
        }
        took
    }

    /// Returns the bytes one turn may send: the more connections are busy, the smaller the pieces. The
    /// first piece of a transfer is always small, because small requests may be waiting.
    fn flush_budget(&self, claim: Priority) -> usize {
        match claim {
            Priority::Working => (FLUSH_BUDGET / self.busy.max(1)).max(FLUSH_BUDGET_MIN),
            Priority::Asking | Priority::Stranger => FLUSH_BUDGET_MIN,
        }
    }

    fn doom(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if !slot.is_doomed {
            slot.is_doomed = true;
            self.closing.push(key);
        }
    }

    fn reap(&mut self) {
        for key in std::mem::take(&mut self.closing) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        let mut slot = self.slots.remove(key);
        self.scheduler.leave(key);
        self.busy -= usize::from(slot.is_busy);
        slot.origin.into_iter().for_each(|origin| self.admission.leave(origin, key));
        slot.alarm.into_iter().for_each(|at| self.timers.cancel(at, key));
        // Closing the descriptor would suffice; this also updates mio's state.
        let _ = self.poll.registry().deregister(slot.connection.transport().socket());
    }

    // ---- Deadlines ------------------------------------------------------------------------

    /// Sets an alarm for the connection's deadline, unless an earlier one is set.
    fn set_alarm(&mut self, key: usize, now: Instant) {
        let slot = &mut self.slots[key];
        let Some(deadline) = slot.connection.deadline(&self.timeouts) else { return };
        if slot.alarm.is_none_or(|alarm| alarm > deadline) {
            let at = deadline.max(now);
            slot.alarm.replace(at).into_iter().for_each(|alarm| self.timers.cancel(alarm, key));
            self.timers.set(at, key);
        }
    }

    /// Ends the sessions for which `applies` returns true, each in its next turn.
    fn fail_where(&mut self, why: SessionError, applies: impl Fn(&Connection) -> bool) {
        let keys: Vec<usize> =
            self.slots.iter().filter(|(_, slot)| applies(&slot.connection)).map(|(key, _)| key).collect();
        for key in keys {
            self.slots[key].ends = Some(why);
            self.enqueue(key);
        }
    }
}

/// Runs a turn that survives a panic. Returns its duration.
fn guarded_turn(
    connection: &mut Connection,
    service: &mut Service,
    ends: Option<SessionError>,
    flush_budget: usize,
    now: Instant,
) -> (AfterTurn, Duration) {
    let began = Instant::now();
    let turn = guarded(connection, now, |connection| {
        ends.into_iter().for_each(|why| connection.fail(why, now));
        connection.turn(service, flush_budget, now)
    });
    (turn.unwrap_or_else(|turn| turn), began.elapsed())
}

/// Runs code on a connection that may panic. After a panic the session ends. The error tells whether
/// another turn must send the reply.
fn guarded<T>(
    connection: &mut Connection,
    now: Instant,
    act: impl FnOnce(&mut Connection) -> T,
) -> Result<T, AfterTurn> {
    catch_unwind(AssertUnwindSafe(|| act(connection))).map_err(|_| {
        log::error!("a defect ended a session");
        // The panic may have left a broken state, so this may panic too.
        catch_unwind(AssertUnwindSafe(|| connection.break_off(now))).unwrap_or(AfterTurn::Close)
    })
}

/// Returns the tokens of a slot's connection and data connection.
fn tokens(key: usize) -> (Token, Token) {
    (Token(FIRST_CONNECTION + 2 * key), Token(FIRST_CONNECTION + 2 * key + 1))
}

/// Returns the slot of a token, and whether it is the data connection's.
fn slot_of_token(token: usize) -> (usize, bool) {
    ((token - FIRST_CONNECTION) / 2, (token - FIRST_CONNECTION) % 2 == 1)
}

/// Returns slot and session number in one number, which routes a sync result to its session.
fn sync_owner(key: usize, number: u64) -> u64 {
    (key as u64) << 32 | (number & u64::from(u32::MAX))
}

fn slot_of(owner: u64) -> (usize, u64) {
    ((owner >> 32) as usize, owner & u64::from(u32::MAX))
}
