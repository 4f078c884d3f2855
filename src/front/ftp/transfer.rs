//! A transfer: what goes over a data connection, from the command to the last reply.
//!
//! ```text
//! Prepare ─150─► Await ─connected─► Open ─► Move ─► Finish (down) ─226─►
//!                                                 └─► Commit (up) ─226─►
//! ```

use super::listing::{Facts, Options};
use super::port::{Failure, Security, Stage, Wish};
use super::{Doing, Ftp, Turn, listing, reply};
use crate::glob::Pattern;
use crate::lane::Lane;
use crate::limits::{DATA_BYTES_MAX, DATA_CONNECTION_TIMEOUT, OUTBOX_BYTES_HIGH, STORE_BYTES_MIN};
use crate::session::download::{DownloadPlan, DownloadStart, Fetched};
use crate::session::task::TaskStep;
use crate::session::upload::{Length, UploadPlan, UploadStart};
use crate::session::verb::Verb;
use crate::session::{Phase, Refusal};
use crate::store::listing::Listed;
use crate::upload_id::UploadId;
use crate::vpath::VPath;
use std::time::Instant;

/// A transfer under way.
pub(super) struct Transfer {
    kind: Kind,
    step: Step,
    path: VPath,
    /// The whole file's bytes, if they are known.
    size: Option<u64>,
    /// The first byte that was, or is to be, moved.
    offset: u64,
    moved: u64,
}

enum Kind {
    Download,
    Upload,
    List(List),
}

/// A listing: how it is written, and which names it has.
pub(super) struct List {
    pub(super) form: Form,
    pub(super) wanted: Wanted,
}

/// Which entries of a folder are listed.
pub(super) enum Wanted {
    All,
    Fitting(Pattern, Options),
}

impl Wanted {
    fn has(&self, entry: &Listed) -> bool {
        match self {
            Self::All => true,
            Self::Fitting(pattern, Options { all: true, .. }) => pattern.fits(&entry.name),
            Self::Fitting(pattern, _) => pattern.matches(&entry.name),
        }
    }
}

/// How entries are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `LIST`: as `ls -l` does.
    Long,
    /// `NLST`: names alone.
    Names,
    /// `MLSD`: facts (RFC 3659).
    Facts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Finding where to begin.
    Prepare,
    /// Waiting for the data connection, until then.
    Await(Instant),
    /// The loop opens it.
    Open,
    /// Bytes come or go.
    Move,
    /// The kernel has yet to take the last bytes.
    Finish,
    /// An upload, about to appear.
    Commit,
}

impl Form {
    pub(super) fn put(self, out: &mut Vec<u8>, entry: &Listed, now_ns: i64, facts: Facts, may_write: bool) {
        match self {
            Self::Long => listing::put_long(out, entry, now_ns),
            Self::Names => listing::put_name(out, &entry.name),
            Self::Facts => listing::put_facts(out, entry, facts, may_write),
        }
    }
}

impl Transfer {
    /// What it waits for, if the session waits for `session`.
    pub(super) fn phase(&self, session: Phase) -> Phase {
        match (&self.kind, self.step) {
            (Kind::Upload, Step::Move) => session,
            (_, Step::Move | Step::Finish) => Phase::Transfer,
            _ => Phase::Working,
        }
    }

    /// When it is given up, if its data connection does not come.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        if let Step::Await(until) = self.step { Some(until) } else { None }
    }

    /// What it has come to, in words.
    pub(super) fn progress(&self) -> String {
        let (verb, at) = match &self.kind {
            Kind::Download => ("Sending", self.offset + self.moved),
            Kind::Upload => ("Receiving", self.offset + self.moved),
            Kind::List(_) => ("Listing", self.moved),
        };
        let path = String::from_utf8_lossy(self.path.as_bytes());
        match self.size {
            Some(size) => format!("{verb} {path}: {at} of {size} bytes"),
            None => format!("{verb} {path}: {at} bytes"),
        }
    }
}

impl Ftp {
    // ---- Beginning ------------------------------------------------------------------------

    pub(super) fn begin_download(&mut self, path: VPath, turn: &mut Turn) {
        let offset = std::mem::take(&mut self.next.offset);
        if !self.may_transfer(turn) {
            return;
        }
        let plan = DownloadPlan { path: path.clone(), start: DownloadStart::At(offset), hash: false };
        let begun = self.session.begin_download(turn.service, plan, turn.now);
        self.begin(begun, Kind::Download, path, turn);
    }

    /// Begins an upload at the byte `REST` named, or at the end of what is there.
    pub(super) fn begin_upload(&mut self, path: VPath, is_appended: bool, turn: &mut Turn) {
        let (offset, length) = (std::mem::take(&mut self.next.offset), self.next.length.take());
        if !self.may_transfer(turn) {
            return;
        }
        let start = match offset {
            _ if is_appended => UploadStart::End,
            0 => UploadStart::Empty,
            offset => UploadStart::At(offset),
        };
        let plan = UploadPlan {
            path: path.clone(),
            // What is announced of an appended or resumed upload may be the rest or the whole.
            length: length.map_or(Length::Unknown, Length::AtLeast),
            mtime_ns: None,
            replace: true,
            if_etag: None,
            id: Some(UploadId::of_path(&path)),
            start,
            hash: self.settings.hashes_uploads,
        };
        let begun = self.session.begin_upload(turn.service, plan, turn.now);
        self.begin(begun, Kind::Upload, path, turn);
    }

    pub(super) fn begin_list(&mut self, path: VPath, list: List, turn: &mut Turn) {
        if !self.may_transfer(turn) {
            return;
        }
        let begun = match self.session.begin_list(&path) {
            Err(Refusal::NotADirectory) if list.form != Form::Facts => return self.begin_list_of_one(path, list, turn),
            begun => begun,
        };
        self.begin(begun, Kind::List(list), path, turn);
    }

    /// Something that is no folder, or is to be listed itself, is one line.
    pub(super) fn begin_list_of_one(&mut self, path: VPath, list: List, turn: &mut Turn) {
        if !self.may_transfer(turn) {
            return;
        }
        let found = self.session.stat(turn.service, &path);
        if let Ok((meta, _)) = &found {
            let name = path.name().unwrap_or(b"/").to_vec();
            self.put_entries(&list, &[Listed { name, meta: *meta }], turn);
        }
        self.begin(found.map(|_| ()), Kind::List(list), path, turn);
    }

    fn begin(&mut self, begun: Result<(), Refusal>, kind: Kind, path: VPath, turn: &mut Turn) {
        match begun {
            Ok(()) => {
                let transfer = Transfer { kind, step: Step::Prepare, path, size: None, offset: 0, moved: 0 };
                self.doing = Doing::Transfer(Box::new(transfer));
            }
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
    }

    fn may_transfer(&self, turn: &mut Turn) -> bool {
        if !self.data.is_private && !self.settings.plaintext {
            turn.reply(521, "Data connections are encrypted here; say PBSZ 0 and PROT P first.");
        } else if !self.has_data_connection() {
            turn.reply(425, "There is no data connection; say EPSV or PASV first.");
        } else {
            return true;
        }
        false
    }

    // ---- Going on -------------------------------------------------------------------------

    /// Drives the transfer on; whether anything was done.
    pub(super) fn transfer(&mut self, turn: &mut Turn) -> bool {
        let Doing::Transfer(transfer) = &self.doing else { return false };
        let done = match (transfer.step, &transfer.kind) {
            (Step::Prepare, Kind::Download) => self.prepare_download(turn),
            (Step::Prepare, Kind::Upload) => self.prepare_upload(turn),
            (Step::Prepare, Kind::List(_)) => Ok(self.announce("the list", turn)),
            (Step::Await(until), _) => self.await_connection(until, turn),
            (Step::Open, _) => self.await_open(),
            (Step::Move, Kind::Download) => self.send(turn),
            (Step::Move, Kind::Upload) => self.store(turn),
            (Step::Move, Kind::List(_)) => self.list(turn),
            (Step::Finish, _) => self.await_end(turn),
            (Step::Commit, _) => self.commit(turn),
        };
        done.unwrap_or_else(|refusal| {
            self.fail_transfer(turn.lane, refusal, turn.now);
            true
        })
    }

    fn prepare_download(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        let Some(opened) = self.session.prepare_download(turn.service, turn.budget)? else { return Ok(true) };
        self.know(Some(opened.size), opened.offset);
        let what = format!("the file ({} bytes)", opened.size - opened.offset);
        Ok(self.announce(&what, turn))
    }

    fn prepare_upload(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        let is_waiting = self.session.phase() == Phase::Working;
        let Some((offset, _)) = self.session.prepare_upload(turn.service, turn.budget)? else {
            return Ok(!is_waiting || turn.budget.is_spent());
        };
        self.know(None, offset);
        Ok(self.announce("the file", turn))
    }

    fn know(&mut self, size: Option<u64>, offset: u64) {
        if let Doing::Transfer(transfer) = &mut self.doing {
            (transfer.size, transfer.offset) = (size, offset);
        }
    }

    fn announce(&mut self, what: &str, turn: &mut Turn) -> bool {
        turn.reply(150, format!("Opening the data connection for {what}."));
        if let Some(address) = self.active.take() {
            self.port.wish(Wish::Connect(address));
        }
        self.set_step(Step::Await(turn.now + DATA_CONNECTION_TIMEOUT));
        true
    }

    fn await_connection(&mut self, until: Instant, turn: &mut Turn) -> Result<bool, Refusal> {
        match self.port.stage() {
            Stage::Connected => {
                self.port.wish(Wish::Open(self.security()));
                self.set_step(Step::Open);
            }
            Stage::Failed(_) => self.end_without_connection(turn),
            _ if turn.now >= until => self.end_without_connection(turn),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn security(&self) -> Security {
        if !self.data.is_private {
            return Security::Plain;
        }
        Security::Sealed {
            needs_resumption: self.settings.requires_session_reuse,
            needs_close_notify: self.settings.requires_close_notify,
        }
    }

    fn end_without_connection(&mut self, turn: &mut Turn) {
        // A listing of one file is no task of the session.
        let _ = self.session.abort(Refusal::Cut, turn.now);
        self.end_transfer(Wish::Close);
        turn.reply(425, "The data connection did not come; check firewalls, and EPSV, PASV or PORT.");
    }

    fn await_open(&mut self) -> Result<bool, Refusal> {
        self.check_port()?;
        let is_open = self.port.stage() == Stage::Open;
        if is_open {
            self.set_step(Step::Move);
        }
        Ok(is_open)
    }

    fn check_port(&self) -> Result<(), Refusal> {
        if let Stage::Failed(_) = self.port.stage() { Err(Refusal::Cut) } else { Ok(()) }
    }

    // ---- Down -----------------------------------------------------------------------------

    fn send(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        self.check_port()?;
        let outbox = &mut self.port.lane.outbox;
        // Ranges leave before more is fetched, so that the check at the end of the file comes
        // after its last byte was read.
        if outbox.has_ranges() || outbox.held_bytes() >= OUTBOX_BYTES_HIGH {
            return Ok(false);
        }
        let ranges = !self.data.is_private;
        let fetched = outbox
            .append(|out| self.session.fetch(turn.service, out, DATA_BYTES_MAX, ranges, turn.budget, turn.now))?;
        match fetched {
            Fetched::Bytes(count) => self.count(count as u64),
            Fetched::Range(range) => {
                self.count(range.length);
                self.port.lane.outbox.push_range(range);
            }
            Fetched::End(..) => self.finish(),
        }
        Ok(true)
    }

    fn list(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        self.check_port()?;
        if self.session.check(Verb::RunTask).is_err() {
            self.finish();
            return Ok(true);
        }
        if self.port.lane.outbox.held_bytes() >= OUTBOX_BYTES_HIGH {
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

    fn put_entries(&mut self, list: &List, entries: &[Listed], turn: &Turn) {
        let now_ns = turn.service.store.clock.now_ns();
        let may_write = !self.session.is_read_only();
        self.port.lane.outbox.append(|out| {
            for entry in entries.iter().filter(|entry| list.wanted.has(entry)) {
                list.form.put(out, entry, now_ns, self.facts, may_write);
            }
        });
    }

    /// All is on its way.
    fn finish(&mut self) {
        self.port.wish(Wish::Finish);
        self.set_step(Step::Finish);
    }

    fn await_end(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        self.check_port()?;
        let has_ended = self.port.stage() == Stage::Ended;
        if has_ended {
            self.doing = Doing::Nothing;
            turn.reply(226, "All of it was sent.");
        }
        Ok(has_ended)
    }

    // ---- Up -------------------------------------------------------------------------------

    fn store(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        let lane = &self.port.lane;
        let (has_failed, has_ended) = (self.check_port().is_err(), lane.eof);
        let bytes = lane.inbox.filled();
        if bytes.is_empty() {
            return match (has_failed, has_ended) {
                (true, _) => Err(Refusal::Cut),
                (false, true) => self.complete(turn),
                (false, false) => Ok(false),
            };
        }
        if bytes.len() < STORE_BYTES_MIN && !has_ended && !has_failed {
            return Ok(false);
        }
        if !self.session.settle(Verb::Store, turn.budget)? {
            return Ok(true);
        }
        let stored = self.session.store(turn.service, bytes)?;
        turn.budget.spend(stored as u64);
        self.port.lane.inbox.consume(stored);
        self.count(stored as u64);
        Ok(stored > 0 || turn.budget.is_spent())
    }

    /// The peer's data has ended. That is all of it only if the peer is still there, for which its
    /// control connection is looked at once more: both end together when a client is killed.
    fn complete(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        if turn.lane.eof {
            return Err(Refusal::Cut);
        }
        if self.ended_steps < 2 {
            return Ok(false);
        }
        self.session.complete_upload(turn.now)?;
        self.port.wish(Wish::Close);
        self.set_step(Step::Commit);
        Ok(true)
    }

    fn commit(&mut self, turn: &mut Turn) -> Result<bool, Refusal> {
        if !self.session.settle(Verb::AdvanceCommit, turn.budget)? {
            return Ok(true);
        }
        let Some(stored) = self.session.advance_commit(turn.service, turn.now)? else { return Ok(false) };
        self.doing = Doing::Nothing;
        turn.reply(226, format!("Stored; {} bytes.", stored.size));
        Ok(true)
    }

    // ---- Ending ---------------------------------------------------------------------------

    /// `ABOR`: gives up what is under way (RFC 959, section 4.1.3).
    pub(super) fn abort_transfer(&mut self, turn: &mut Turn) {
        // What has ended in the session may still be on its way.
        let _ = self.session.abort(Refusal::Cancelled, turn.now);
        self.end_transfer(Wish::Reset);
        turn.reply(426, "Given up, as asked.");
        turn.reply(226, "ABOR is done.");
    }

    /// Answers the transfer with a refusal and ends it.
    pub(super) fn fail_transfer(&mut self, lane: &mut Lane, refusal: Refusal, now: Instant) {
        // A verb that failed may have ended its state itself.
        let _ = self.session.abort(refusal, now);
        let failure = self.port.stage();
        let Doing::Transfer(transfer) = self.end_transfer(Wish::Reset) else { return };
        let (code, text) = match failure {
            Stage::Failed(Failure::NotResumed) => {
                let text = "The TLS session of the control connection must be reused on data connections.";
                (522, text.to_string())
            }
            Stage::Failed(_) if refusal == Refusal::Cut => {
                (426, "The data connection was cut; what came of an upload is kept for a while.".to_string())
            }
            _ => reply::refusal(refusal, Some(&transfer.path)),
        };
        lane.outbox.append(|out| reply::put(out, code, &text));
    }

    fn end_transfer(&mut self, wish: Wish) -> Doing {
        self.port.wish(wish);
        self.active = None;
        std::mem::replace(&mut self.doing, Doing::Nothing)
    }

    fn set_step(&mut self, step: Step) {
        if let Doing::Transfer(transfer) = &mut self.doing {
            transfer.step = step;
        }
    }

    fn count(&mut self, bytes: u64) {
        if let Doing::Transfer(transfer) = &mut self.doing {
            transfer.moved += bytes;
        }
    }
}
