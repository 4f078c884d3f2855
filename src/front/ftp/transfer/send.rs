//! What goes over a data connection: files, and listings in their forms.

use super::{Doing, Ftp, Kind, Step, Turn};
use crate::front::ftp::listing::{self, Facts, Options};
use crate::front::ftp::port::{Stage, Wish};
use crate::glob::Pattern;
use crate::limits::DATA_BYTES_MAX;
use crate::session::Refusal;
use crate::session::download::Fetched;
use crate::session::task::TaskStep;
use crate::session::verb::Verb;
use crate::store::listing::Listed;

/// A listing: how it is written, and which names it has.
pub(in crate::front::ftp) struct List {
    pub(in crate::front::ftp) form: Form,
    /// What stands before each name.
    pub(in crate::front::ftp) prefix: Vec<u8>,
    pub(in crate::front::ftp) wanted: Wanted,
}

/// Which entries of a folder are listed.
pub(in crate::front::ftp) enum Wanted {
    All,
    Fitting(Pattern, Options),
}

impl Wanted {
    fn has(&self, entry: &Listed) -> bool {
        match self {
            Self::All => true,
            Self::Fitting(pattern, options) => options.fits(pattern, &entry.name),
        }
    }
}

/// How entries are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::front::ftp) enum Form {
    /// `LIST`: as `ls -l` does.
    Long,
    /// `NLST`: names alone.
    Names,
    /// `MLSD`: facts (RFC 3659).
    Facts,
}

impl Form {
    pub(in crate::front::ftp) fn put(
        self,
        out: &mut Vec<u8>,
        entry: &Listed,
        now_ns: i64,
        facts: Facts,
        may_write: bool,
    ) {
        match self {
            Self::Long => listing::put_long(out, entry, now_ns),
            Self::Names => listing::put_name(out, &entry.name),
            Self::Facts => listing::put_facts(out, entry, facts, may_write),
        }
    }
}

impl Ftp {
    pub(super) fn send(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        self.check_port()?;
        let outbox = &mut self.port.lane.outbox;
        // Ranges leave before more is fetched, so that the check at the end of the file comes
        // after its last byte was read.
        if outbox.has_ranges() || !outbox.has_room() {
            return Ok(false);
        }
        // The end is what is logged: not before the rest has left.
        if !outbox.is_empty() && self.session.is_fetched() {
            return Ok(false);
        }
        let ranges = !self.data.is_private;
        let fetched = outbox
            .append(|out| self.session.fetch(turn.service, out, DATA_BYTES_MAX, ranges, turn.budget, turn.now))?;
        match fetched {
            Fetched::Bytes(_) => {}
            Fetched::Range(range) => self.port.lane.outbox.push_range(range),
            Fetched::End(..) => self.finish(),
        }
        Ok(true)
    }

    pub(super) fn list(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        self.check_port()?;
        if self.session.check(Verb::RunTask).is_err() {
            self.finish();
            return Ok(true);
        }
        if !self.port.lane.outbox.has_room() {
            return Ok(false);
        }
        if let TaskStep::Page(entries, _) = self.session.run_task(turn.service, turn.budget)?
            && let Doing::Transfer(transfer) = std::mem::replace(&mut self.doing, Doing::Nothing)
        {
            if let Kind::List(list) = &transfer.kind {
                self.put_entries(list, &entries, turn);
            }
            self.doing = Doing::Transfer(transfer);
        }
        Ok(true)
    }

    pub(super) fn put_entries(&mut self, list: &List, entries: &[Listed], turn: &Turn) {
        let now_ns = turn.service.store.clock.now_ns();
        let may_write = !self.session.is_read_only();
        self.port.lane.outbox.append(|out| {
            for entry in entries.iter().filter(|entry| list.wanted.has(entry)) {
                out.extend_from_slice(&list.prefix);
                list.form.put(out, entry, now_ns, self.facts, may_write);
            }
        });
    }

    /// All is on its way.
    pub(super) fn finish(&mut self) {
        self.port.wish(Wish::Finish);
        self.set_step(Step::Finish);
    }

    /// The last reply leaves when the peer has ended its side of the data connection, too, or a moment
    /// after the first: a client that finds both replies at once may miss one.
    pub(super) fn await_end(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        self.check_port()?;
        let Doing::Transfer(transfer) = &self.doing else { return Ok(false) };
        let has_ended = match self.port.stage() {
            Stage::Left => true,
            Stage::Ended => transfer.confirmed_from().is_none_or(|at| at <= turn.now),
            _ => false,
        };
        if has_ended {
            self.doing = Doing::Nothing;
            turn.reply(226, "All of it was sent.");
        }
        Ok(has_ended)
    }
}
