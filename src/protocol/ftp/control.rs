//! The control connection: takes command lines, rejects malformed ones, and begins commands in order.

use super::line::LineResult;
use super::queue::LookAhead;
use super::table::{self, Allowed};
use super::{Activity, Ftp, FtpContext, NotBegun, PendingArguments, REPLY_CLOSING, foreign};
use crate::base::budget::REQUEST_COST;
use crate::protocol::Protocol;
use crate::protocol::ftp::line::FTP_LINE_BYTES_MAX;
use crate::session::SessionError;

/// Cost of a line that is examined ahead of its turn.
const LOOK_AHEAD_COST: u64 = 256;

/// The number of malformed lines after which a peer without login is disconnected. Clients try a few
/// commands that are not served here, such as `HOST` or `AUTH GSSAPI`.
const INVALID_LINES_BEFORE_LOGIN_MAX: u32 = 10;

impl Ftp {
    /// Takes `ABOR` and `STAT` out of order, wherever they are in the queue.
    pub(super) fn take_urgent(&mut self, turn: &mut FtpContext) -> bool {
        let waits_for_storage = self.pending.is_some() && self.session.awaits_storage();
        if matches!(self.activity, Activity::Nothing | Activity::CheckingPassword) && !waits_for_storage {
            return false;
        }
        // A reply must not be sent within another one, nor before that of an earlier command that is no transfer.
        let takes_status = !waits_for_storage && !matches!(self.activity, Activity::ListingStatus(_));
        match self.queue.look_ahead(&mut turn.buffers.input, takes_status) {
            Some(LookAhead::Line) => turn.budget.spend(LOOK_AHEAD_COST),
            Some(LookAhead::Status) => {
                self.count_request(turn);
                self.reply_status(turn);
            }
            None if self.queue.has_abort() && waits_for_storage => self.abort_pending(turn),
            None if self.queue.has_abort() && !self.session.is_stored() => self.abort_transfer(turn),
            None => return false,
        }
        true
    }

    /// `ABOR`: no longer waits for the file system. A change that has begun is still made.
    fn abort_pending(&mut self, turn: &mut FtpContext) {
        self.session.end_request();
        (self.pending, self.pending_arguments) = (None, PendingArguments::default());
        turn.reply(426, "Command aborted.");
        self.was_aborted = true;
    }

    pub(super) fn take_line(&mut self, turn: &mut FtpContext) -> LineResult {
        self.count_request(turn);
        self.queue.take(&mut turn.buffers.input)
    }

    pub(super) fn count_request(&mut self, turn: &mut FtpContext) {
        self.requests += 1;
        turn.budget.spend(REQUEST_COST);
        self.session.count_request(turn.service, turn.now);
    }

    pub(super) fn begin_next(&mut self, turn: &mut FtpContext) -> bool {
        if self.pending.is_none() && !self.receive(turn) {
            return false;
        }
        let Some((row, command)) = self.pending.take() else { return true };
        self.end_unused_data_connection(turn.data);
        // Only the command right after RNFR may use its path.
        let from = self.pending_arguments.from.take();
        let held_bytes = turn.buffers.output.held_bytes();
        self.session.begin_attempt();
        let begun = match self.session.account() {
            None if row.allowed == Allowed::AfterLogin => Err(NotBegun::Refused(SessionError::LoginRequired)),
            _ => self.begin_command(&command, from.as_ref(), turn),
        };
        if self.session.is_attempt_blocked() {
            turn.buffers.output.take_back(held_bytes);
            (self.pending, self.pending_arguments.from) = (Some((row, command)), from);
            return false;
        }
        if !matches!(begun, Err(NotBegun::NotCounted)) {
            self.session.end_request();
        }
        match begun {
            Ok(()) => {}
            Err(NotBegun::NotCounted) => {
                (self.pending, self.pending_arguments.from) = (Some((row, command)), from);
                return !self.session.awaits_storage();
            }
            Err(NotBegun::Refused(refusal)) => turn.refuse(refusal, None),
        }
        // A refused transfer also uses up `REST`, or a later one would begin in the middle.
        if row.is_transfer {
            self.pending_arguments.offset = 0;
            self.close_data_connection_later(turn);
        }
        if row.is_upload() {
            self.pending_arguments.length = None;
        }
        true
    }

    /// Takes the next line, and replies if it is malformed. Returns whether anything was taken.
    pub(super) fn receive(&mut self, turn: &mut FtpContext) -> bool {
        self.next_request_at = self.session.next_request_at(turn.service, turn.now);
        if self.next_request_at.is_some() {
            return false;
        }
        if !self.queue.has_line(&turn.buffers.input) {
            // The rest of a line that is too long is dropped here, which makes space for waiting input.
            let before = turn.buffers.input.filled().len();
            let is_foreign = before >= FTP_LINE_BYTES_MAX && foreign::is_foreign(turn.buffers.input.filled());
            if self.queue.take(&mut turn.buffers.input) == LineResult::TooLong {
                // It may have been a transfer; only a path is so long.
                self.drop_pending_arguments(turn);
                self.reject_line(is_foreign, (500, "Line too long; the command was ignored.".into()), turn);
            }
            return turn.buffers.input.filled().len() < before;
        }
        if let LineResult::Line(line) = self.take_line(turn) {
            match table::parse(&line) {
                Ok(pending) => self.pending = Some(pending),
                Err(wrong) => {
                    self.pending_arguments.from = None;
                    self.reject_line(foreign::is_foreign(&line), wrong.reply(), turn);
                    if table::is_transfer_line(&line) {
                        self.drop_pending_arguments(turn);
                    }
                }
            }
        }
        true
    }

    /// Replies to a malformed line. A line of another protocol ends the connection, and so do many
    /// malformed lines before login.
    pub(super) fn reject_line(&mut self, is_foreign: bool, (code, text): (u16, String), turn: &mut FtpContext) {
        if self.session.account().is_none() {
            self.invalid_lines += 1;
        }
        if is_foreign {
            turn.reply(500, "This is an FTP server; the client speaks another protocol. Connection closed.");
        } else if self.invalid_lines >= INVALID_LINES_BEFORE_LOGIN_MAX {
            turn.reply(REPLY_CLOSING, "Too many invalid commands before login; connection closed.");
        } else {
            return turn.reply(code, text);
        }
        self.hang_up(turn.now);
    }

    /// Drops the arguments for a transfer that could not be parsed.
    pub(super) fn drop_pending_arguments(&mut self, turn: &FtpContext) {
        self.pending_arguments = PendingArguments::default();
        self.close_data_connection_later(turn);
    }
}
