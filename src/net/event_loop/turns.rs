//! Runs the turns of a round.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::EventLoop;
use crate::base::budget::{FLUSH_BUDGET, FLUSH_BUDGET_MIN};
use crate::net::connection::{AfterTurn, Connection};
use crate::net::scheduler::{Owner, Priority};
use crate::session::{Service, Session, SessionError};

/// A turn longer than this is logged with its state, because something in it blocks.
const TURN_WARN: Duration = Duration::from_millis(50);

impl EventLoop {
    pub(super) fn run_turns(&mut self, now: Instant) {
        let mut round = self.scheduler.begin_round();
        while let Some((key, priority)) = self.scheduler.next(&mut round) {
            let took = self.run_turn(key, priority, now);
            let unauthenticated_time = self.slots[key].connection.take_unauthenticated_time();
            if !unauthenticated_time.is_zero() {
                self.scheduler.spent(Priority::Unauthenticated, unauthenticated_time);
            }
            self.scheduler.spent(priority, took.saturating_sub(unauthenticated_time));
        }
    }

    /// Runs one turn. Returns its duration.
    pub(super) fn run_turn(&mut self, key: usize, priority: Priority, now: Instant) -> Duration {
        let is_draining = self.listeners.is_empty();
        let flush_budget = self.flush_budget(priority);
        let slot = &mut self.slots[key];
        slot.is_queued = false;
        if is_draining && slot.connection.is_idle() {
            slot.end_reason = Some(SessionError::ShuttingDown);
        }
        let end_reason = slot.end_reason.take();
        let (turn, took) = guarded_turn(&mut slot.connection, &mut self.service, end_reason, flush_budget, now);
        self.turn_times.record(took);
        if took > TURN_WARN {
            self.slow_turns.record(&slot.connection, took, now);
        }
        let was_busy = std::mem::replace(&mut slot.is_busy, !slot.connection.is_idle());
        self.busy = self.busy + usize::from(slot.is_busy) - usize::from(was_busy);
        if slot.is_unauthenticated && !slot.connection.is_unauthenticated() {
            slot.is_unauthenticated = false;
            slot.origin.into_iter().for_each(|origin| self.admission.log_in(origin, key));
            if let Some(number) = slot.connection.session().and_then(Session::active_account_number) {
                self.scheduler.assign(key, Owner::Account(number));
            }
        }
        match turn {
            AfterTurn::Again => {
                slot.is_queued = true;
                self.scheduler.push(key, slot.connection.priority(false));
            }
            // Its transfer has just ended. No event follows that would end the session.
            AfterTurn::Sleep if is_draining && slot.connection.is_open_and_idle() => self.enqueue(key),
            AfterTurn::Sleep => self.set_timer(key, now),
            AfterTurn::Close => self.mark_for_removal(key),
        }
        if let Some(query) = self.slots[key].connection.take_query() {
            let answer = self.query_page(&query, now);
            self.slots[key].connection.answer(answer, now);
        }
        took
    }

    /// Returns the bytes one turn may send: the more connections are busy, the smaller the pieces. The
    /// first piece of a transfer is always small, because small requests may be waiting.
    pub(super) fn flush_budget(&self, priority: Priority) -> usize {
        match priority {
            Priority::Busy => (FLUSH_BUDGET / self.busy.max(1)).max(FLUSH_BUDGET_MIN),
            Priority::Woken | Priority::Unauthenticated => FLUSH_BUDGET_MIN,
        }
    }
}

/// Runs a turn that survives a panic. Returns its duration.
fn guarded_turn(
    connection: &mut Connection,
    service: &mut Service,
    end_reason: Option<SessionError>,
    flush_budget: usize,
    now: Instant,
) -> (AfterTurn, Duration) {
    let began = Instant::now();
    let turn = guarded(connection, now, |connection| {
        end_reason.into_iter().for_each(|why| connection.fail(why, now));
        connection.turn(service, flush_budget, now)
    });
    (turn.unwrap_or_else(|turn| turn), began.elapsed())
}

/// Runs code on a connection that may panic. After a panic the session ends. The error tells whether
/// another turn must send the reply.
pub(super) fn guarded<T>(
    connection: &mut Connection,
    now: Instant,
    act: impl FnOnce(&mut Connection) -> T,
) -> Result<T, AfterTurn> {
    catch_unwind(AssertUnwindSafe(|| act(connection))).map_err(|_| {
        log::error!("a defect ended a session");
        // The panic may have left a broken state, so this may panic too.
        catch_unwind(AssertUnwindSafe(|| connection.end_after_panic(now))).unwrap_or(AfterTurn::Close)
    })
}
