//! Answers admin queries about all connections of the network.

use std::time::Instant;

use super::{EventLoop, Slot};
use crate::protocol::admin::ADMIN_QUERY_SLOTS_PER_TURN;
use crate::protocol::admin::query::{Query, QueryJob, QueryResult, Selector, SessionRow};
use crate::session::{Session, SessionError};

impl EventLoop {
    /// Returns one page: a bounded number of slots, used or not. Sessions that are closing are left out.
    pub(super) fn query_page(&mut self, query: &Query, now: Instant) -> QueryResult {
        let mut answer = QueryResult {
            rows: Vec::new(),
            kicked: 0,
            next: None,
            turns: self.turn_times,
            uptime: now.saturating_duration_since(self.began),
        };
        let end = query.from.saturating_add(ADMIN_QUERY_SLOTS_PER_TURN);
        for key in query.from..end.min(self.slots.capacity()) {
            let Some((slot, session)) = self.slots.get(key).and_then(open_session) else { continue };
            match &query.job {
                QueryJob::Report => answer.rows.push(SessionRow { session: slot.session_number, info: session.info() }),
                QueryJob::Kick(selector) if is_selected(selector, slot, session) => {
                    answer.kicked += 1;
                    self.slots[key].end_reason = Some(SessionError::Kicked);
                    self.enqueue(key);
                }
                QueryJob::Kick(_) => {}
            }
        }
        answer.next = (end < self.slots.capacity()).then_some(end);
        answer
    }
}

fn open_session(slot: &Slot) -> Option<(&Slot, &Session)> {
    let session = slot.connection.session()?;
    let is_closing = slot.connection.status().is_closing || slot.end_reason.is_some();
    (!is_closing).then_some((slot, session))
}

fn is_selected(selector: &Selector, slot: &Slot, session: &Session) -> bool {
    match selector {
        Selector::Session(number) => slot.session_number == *number,
        Selector::User(name) => session.account() == Some(name),
    }
}
