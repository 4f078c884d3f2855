//! Answers to what the administrator asks about all connections of the network.

use super::{EventLoop, Slot};
use crate::base::limits::SURVEY_SLOTS_PER_TURN;
use crate::protocol::admin::query::{Answer, Errand, Question, Seen, Which};
use crate::session::{Refusal, Session};
use std::time::Instant;

impl EventLoop {
    /// One page: a bounded number of slots, taken or not. Those whose end has begun are not there
    /// any more.
    pub(super) fn survey(&mut self, question: &Question, now: Instant) -> Answer {
        let mut answer = Answer {
            seen: Vec::new(),
            kicked: 0,
            next: None,
            turns: self.turn_times,
            uptime: now.saturating_duration_since(self.began),
        };
        let end = question.from.saturating_add(SURVEY_SLOTS_PER_TURN);
        for key in question.from..end.min(self.slots.capacity()) {
            let Some((slot, session)) = self.slots.get(key).and_then(open_session) else { continue };
            match &question.errand {
                Errand::Look => answer.seen.push(Seen { session: slot.serial, overview: session.overview() }),
                Errand::Kick(which) if is_meant(which, slot, session) => {
                    answer.kicked += 1;
                    self.slots[key].ends = Some(Refusal::Kicked);
                    self.enqueue(key);
                }
                Errand::Kick(_) => {}
            }
        }
        answer.next = (end < self.slots.capacity()).then_some(end);
        answer
    }
}

fn open_session(slot: &Slot) -> Option<(&Slot, &Session)> {
    let front = slot.connection.front();
    front.session().filter(|_| !front.is_closing() && slot.ends.is_none()).map(|session| (slot, session))
}

fn is_meant(which: &Which, slot: &Slot, session: &Session) -> bool {
    match which {
        Which::Session(number) => slot.serial == *number,
        Which::User(name) => session.account() == Some(name),
    }
}
