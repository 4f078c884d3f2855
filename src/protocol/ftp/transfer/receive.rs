//! What comes over a data connection, from what it goes on with to the name it appears under.

use super::{Doing, Ftp, Step, Turn};
use crate::base::buffers::{Budget, Incoming, Lane};
use crate::base::limits::{
    FTP_END_GRACE_LARGE, FTP_END_GRACE_MAX, FTP_END_GRACE_MIN, FTP_END_GRACE_SHARE, RESUME_BYTES_MIN, STORE_BYTES_MIN,
};
use crate::protocol::ftp::port::Wish;
use crate::session::verb::Verb;
use crate::session::{Refusal, Service};
use std::time::{Duration, Instant};

/// How long fewer bytes than a piece wait for more to be stored with.
const STORE_WAIT_MAX: Duration = Duration::from_secs(1);

impl Ftp {
    pub(super) fn prepare_upload(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        if self.session.prepare_upload(turn.service, turn.budget)?.is_none() {
            return Ok(!self.session.waits_for_sync());
        }
        match &self.doing {
            // RFC 1123, section 4.1.2.9.
            Doing::Transfer(transfer) if transfer.is_named_here() => {
                let told = [b"FILE: ", transfer.path.name().unwrap_or_default()].concat();
                self.announce(told, turn);
            }
            _ => self.announce_opening("the file", turn),
        }
        Ok(true)
    }

    pub(super) fn store(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        let lane = &self.port.lane;
        let (has_failed, has_ended) = (self.check_port().is_err(), lane.eof);
        let bytes = lane.inbox.filled();
        if std::mem::replace(&mut self.waiting, bytes.len()) != bytes.len() {
            self.progress += 1;
        }
        if bytes.is_empty() {
            return match (has_failed, has_ended) {
                (true, _) => Err(Refusal::Cut),
                (false, true) => {
                    self.await_sign_of_life(turn);
                    Ok(true)
                }
                (false, false) => Ok(false),
            };
        }
        if bytes.len() < STORE_BYTES_MIN && !has_ended && !has_failed && !lane.inbox.is_cramped() {
            let Doing::Transfer(transfer) = &mut self.doing else { return Ok(false) };
            if turn.now < *transfer.stores_at.get_or_insert(turn.now + STORE_WAIT_MAX) {
                return Ok(false);
            }
        }
        if !self.session.settle(Verb::Store, turn.budget)? {
            return Ok(true);
        }
        let stored = self.session.store(turn.service, bytes)?;
        turn.budget.spend(stored as u64);
        self.port.lane.inbox.consume(stored);
        if let Doing::Transfer(transfer) = &mut self.doing {
            transfer.stores_at = None;
        }
        Ok(stored > 0 || turn.budget.is_spent())
    }

    /// See [`crate::protocol::Front::store_from`].
    pub fn store_from(
        &mut self,
        incoming: Incoming<'_>,
        lane: &mut Lane,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> usize {
        let Doing::Transfer(transfer) = &self.doing else { return 0 };
        // What came before has to be stored before.
        if !transfer.is_upload() || transfer.step != Step::Move || !self.port.lane.inbox.is_empty() {
            return 0;
        }
        let stored = match self.session.settle(Verb::Store, budget) {
            Ok(true) => self.session.store_from(service, incoming),
            Ok(false) => Ok(0),
            Err(refusal) => Err(refusal),
        };
        self.progress += 1;
        stored.unwrap_or_else(|refusal| {
            self.fail_transfer(lane, refusal, now);
            incoming.count
        })
    }

    /// The peer's data has ended. That is all of it only if the peer is still there a moment later: one
    /// that is killed ends both connections, in any order. The longer it took, the likelier that is.
    /// The moment begins when the end came, and may be over when what came before it has been stored.
    pub(super) fn await_sign_of_life(&mut self, turn: &Turn) {
        let transfer = self.session.transfer();
        let took = transfer.as_ref().map_or(Duration::ZERO, |transfer| turn.now - transfer.started);
        let is_large = transfer.is_some_and(|transfer| transfer.bytes >= RESUME_BYTES_MIN);
        let least = if is_large { FTP_END_GRACE_LARGE } else { Duration::ZERO };
        let grace = (took / FTP_END_GRACE_SHARE).clamp(least, FTP_END_GRACE_MAX);
        // For less than a millisecond the loop would sleep for one, and a short upload that long.
        let grace = if grace < FTP_END_GRACE_MIN { Duration::ZERO } else { grace };
        self.set_step(Step::End(self.port.ended.unwrap_or(turn.now) + grace));
    }

    pub(super) fn complete(&mut self, until: Instant, turn: &mut Turn) -> Result<bool, Refusal> {
        // QUIT is said by a client that has sent all it had.
        let has_quit = self.queue.has_quit();
        if turn.lane.eof && !has_quit {
            return Err(Refusal::Cut);
        }
        // A step later the control connection was looked at once more.
        if (turn.now < until && !has_quit) || self.ended_steps < 2 {
            return Ok(false);
        }
        self.session.complete_upload(turn.now)?;
        self.note_reuse();
        self.port.wish(Wish::Close);
        self.set_step(Step::Commit);
        Ok(true)
    }

    pub(super) fn commit(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        if !self.session.settle(Verb::AdvanceCommit, turn.budget)? {
            return Ok(true);
        }
        let Some(stored) = self.session.advance_commit(turn.service, turn.now)? else { return Ok(false) };
        let Doing::Transfer(transfer) = std::mem::replace(&mut self.doing, Doing::Nothing) else { return Ok(true) };
        if transfer.is_named_here() {
            turn.reply_quoted(226, &transfer.path, "is stored.");
        } else {
            turn.reply(226, format!("Stored; {} bytes.", stored.size));
        }
        Ok(true)
    }
}
