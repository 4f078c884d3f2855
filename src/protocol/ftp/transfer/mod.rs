//! A transfer: what goes over a data connection, from the command to the last reply.
//!
//! ```text
//! Prepare ─150─► Await ─connected─► Open ─► Move ─► Finish (down) ─226─►
//!                                                 └─► End ─► Commit (up) ─226─►
//! ```

mod list;
mod receive;
mod send;

pub(super) use list::{Form, List};

use super::port::{Failure, Security, Stage, Wish};
use super::{Doing, Ftp, REPLY_FOLDER_STATUS, Turn, reply};
use crate::base::buffers::Lane;
use crate::base::limits::{
    FTP_REFUSED_DATA_GRACE, FTP_REFUSED_TLS_DATA_GRACE, FTP_REPLIES_APART, FTP_REPLIES_APART_MIN,
};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VPath;
use crate::session::download::{DownloadPlan, DownloadStart};
use crate::session::upload::{Length, UploadPlan, UploadStart};
use crate::session::{Phase, Refusal};
use crate::tls::Resumption;
use std::time::{Duration, Instant};

/// A transfer under way.
pub(super) struct Transfer {
    kind: Kind,
    step: Step,
    path: VPath,
    /// What is to be said once the data connection is there.
    announcement: Option<Vec<u8>>,
    /// When it was said that the transfer begins.
    announced: Option<Instant>,
    /// How long after that its end is said at the earliest, while its peer keeps its side open.
    replies_apart: Duration,
    /// The peer kept its side open after all was sent.
    was_kept_open: bool,
    /// When the few bytes that wait are stored, even if no more come.
    stores_at: Option<Instant>,
}

enum Kind {
    Download,
    /// Whether the server chose its name, which the peer is to be told.
    Upload {
        is_named_here: bool,
    },
    List(List),
}

/// How an upload was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    /// `STOR`.
    Store,
    /// `APPE`.
    Append,
    /// `STOU`.
    Unique,
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
    /// An upload whose data has ended: until then its peer must still be there.
    End(Instant),
    /// An upload, about to appear.
    Commit,
}

impl Transfer {
    /// What it waits for, if the session waits for `session`.
    pub(super) fn phase(&self, session: Phase) -> Phase {
        match (&self.kind, self.step) {
            (Kind::Upload { .. }, Step::Move) => session,
            (_, Step::Move | Step::Finish) => Phase::Transfer,
            _ => Phase::Working,
        }
    }

    /// What is transferred.
    pub(super) fn path(&self) -> &VPath {
        &self.path
    }

    /// Whether its data connection has yet to come.
    pub(super) fn awaits_connection(&self) -> bool {
        matches!(self.step, Step::Await(_))
    }

    pub(super) fn is_upload(&self) -> bool {
        matches!(self.kind, Kind::Upload { .. })
    }

    fn is_named_here(&self) -> bool {
        matches!(self.kind, Kind::Upload { is_named_here: true })
    }

    /// When it goes on, or is given up, without anything from the peer.
    pub(super) fn wakes_at(&self, stage: Stage) -> Option<Instant> {
        match self.step {
            Step::Await(until) | Step::End(until) => Some(until),
            Step::Finish if stage == Stage::Ended => Some(self.confirmed_from()?),
            Step::Move => self.stores_at,
            _ => None,
        }
    }

    /// Until then the peer of a download has to end its side, too, before it is told that all was sent.
    fn confirmed_from(&self) -> Option<Instant> {
        self.announced.map(|announced| announced + self.replies_apart)
    }
}

/// The wait for a peer that kept its side of that many data connections in a row open until its end was
/// said. A single one may just have been slow.
fn replies_apart(kept_open: u32) -> Duration {
    let halvings = kept_open.saturating_sub(1).min(8);
    (FTP_REPLIES_APART / 2_u32.pow(halvings)).max(FTP_REPLIES_APART_MIN)
}

impl Ftp {
    // ---- Beginning ------------------------------------------------------------------------

    pub(super) fn begin_download(&mut self, path: VPath, turn: &mut Turn) {
        if !self.may_transfer(turn) {
            return;
        }
        let plan = DownloadPlan { path: path.clone(), start: DownloadStart::At(self.next.offset), hash: false };
        let begun = self.session.begin_download(turn.service, plan, turn.now);
        self.begin(begun, Kind::Download, path, turn);
    }

    /// Begins an upload at the byte `REST` named, or at the end of what is there.
    pub(super) fn begin_upload(&mut self, path: VPath, how: Upload, turn: &mut Turn) {
        if !self.may_transfer(turn) {
            return;
        }
        let start = match self.next.offset {
            _ if how == Upload::Append => UploadStart::End,
            0 => UploadStart::Empty,
            offset => UploadStart::At(offset),
        };
        let plan = UploadPlan {
            path: path.clone(),
            // What is reserved for an appended or resumed upload may be the rest or the whole.
            length: self.next.length.map_or(Length::Unknown, Length::Reserved),
            mtime_ns: None,
            replace: true,
            if_etag: None,
            id: Some(UploadId::of_path(&path)),
            start,
            hash: self.settings.hashes_uploads,
        };
        let begun = self.session.begin_upload(turn.service, plan, turn.now);
        self.begin(begun, Kind::Upload { is_named_here: how == Upload::Unique }, path, turn);
    }

    fn begin(&mut self, begun: Result<(), Refusal>, kind: Kind, path: VPath, turn: &mut Turn) {
        match begun {
            Ok(()) => {
                let transfer = Transfer {
                    kind,
                    step: Step::Prepare,
                    path,
                    announcement: None,
                    announced: None,
                    replies_apart: replies_apart(self.kept_open),
                    was_kept_open: false,
                    stores_at: None,
                };
                self.doing = Doing::Transfer(Box::new(transfer));
            }
            Err(refusal) => self.refuse_absent(refusal, &path, turn),
        }
    }

    /// A refused transfer leaves no data connection behind: its client would wait for something to come
    /// over it, or for it to end. It ends when the client has read the reply, or had time to: curl that
    /// sees an end amid a TLS handshake looks for another way to connect.
    pub(super) fn give_up_data_connection(&mut self, now: Instant) {
        if !matches!(self.doing, Doing::Transfer(_)) && self.has_data_connection() {
            self.active = None;
            let grace = if self.data.is_private { FTP_REFUSED_TLS_DATA_GRACE } else { FTP_REFUSED_DATA_GRACE };
            self.unused_data_until = Some(now + grace);
        }
    }

    pub(super) fn end_unused_data_connection(&mut self) {
        if self.unused_data_until.take().is_some() {
            self.port.wish(Wish::Close);
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
            (Step::Prepare, Kind::Upload { .. }) => self.prepare_upload(turn),
            (Step::Prepare, Kind::List(_)) => {
                self.announce_opening("the list", turn);
                Ok(true)
            }
            (Step::Await(until), _) => self.await_connection(until, turn),
            (Step::Open, _) => self.await_open(),
            (Step::Move, Kind::Download) => self.send(turn),
            (Step::Move, Kind::Upload { .. }) => self.store(turn),
            (Step::End(until), _) => self.complete(until, turn),
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
        self.announce_opening(&format!("the file ({} bytes)", opened.size - opened.offset), turn);
        Ok(true)
    }

    fn announce_opening(&mut self, what: &str, turn: &mut Turn) {
        self.announce(format!("Opening the data connection for {what}.").into_bytes(), turn);
    }

    /// Says that the transfer begins. Where the server connects, clients expect that to be said of a
    /// connection they have seen.
    fn announce(&mut self, what: Vec<u8>, turn: &mut Turn) {
        let Doing::Transfer(transfer) = &mut self.doing else { return };
        transfer.step = Step::Await(turn.now + self.settings.data_timeout);
        match self.active.take() {
            Some(address) => {
                transfer.announcement = Some(what);
                self.port.wish(Wish::Connect(address));
            }
            None => {
                transfer.announced = Some(turn.now);
                turn.reply(150, what);
            }
        }
    }

    fn await_connection(&mut self, until: Instant, turn: &mut Turn) -> Result<bool, Refusal> {
        match self.port.stage() {
            Stage::Connected => {
                self.port.wish(Wish::Open(self.security()));
                if let Doing::Transfer(transfer) = &mut self.doing {
                    transfer.step = Step::Open;
                    if let Some(text) = transfer.announcement.take() {
                        transfer.announced = Some(turn.now);
                        turn.reply(150, text);
                    }
                }
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
        let is_upload = matches!(&self.doing, Doing::Transfer(transfer) if transfer.is_upload());
        Security::Sealed {
            is_upload,
            needs: match self.settings.requires_session_reuse {
                true => Resumption::Session,
                false if self.reuse.is_due => Resumption::Account,
                false => Resumption::None,
            },
            // How a client ends that has nothing to send makes nothing less whole.
            needs_close_notify: is_upload && self.settings.requires_close_notify,
        }
    }

    fn end_without_connection(&mut self, turn: &mut Turn) {
        // A listing of one file is no task of the session.
        let _ = self.session.abort(Refusal::Cut, turn.now);
        let why = match self.port.stage() {
            Stage::Failed(Failure::NoPort) => "The server has no room for a data connection; try again later.",
            _ => "The data connection did not come; check firewalls, and EPSV, PASV or PORT.",
        };
        self.end_transfer(Wish::Close);
        turn.reply(425, why);
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
        match self.port.stage() {
            Stage::Failed(Failure::Shorter) => Err(Refusal::Changed),
            Stage::Failed(_) => Err(Refusal::Cut),
            _ => Ok(()),
        }
    }

    // ---- Ending ---------------------------------------------------------------------------

    /// `ABOR`: gives up what is under way (RFC 959, section 4.1.3). The command itself is answered in
    /// its turn.
    pub(super) fn abort_transfer(&mut self, turn: &mut Turn) {
        // What has ended in the session may still be on its way.
        let _ = self.session.abort(Refusal::Cancelled, turn.now);
        let given_up = self.end_transfer(Wish::Reset);
        // A listing on the control connection has begun its reply, and ends it.
        let code = if let Doing::ListingStatus(_) = given_up { REPLY_FOLDER_STATUS } else { 426 };
        turn.reply(code, "Given up, as asked.");
        self.was_aborted = true;
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
            Stage::Failed(_) if refusal == Refusal::Cut => (426, self.told_of_cut(&transfer).to_string()),
            _ => reply::refusal(refusal, Some(&transfer.path)),
        };
        lane.outbox.append(|out| reply::put(out, code, &text));
    }

    fn told_of_cut(&self, transfer: &Transfer) -> &'static str {
        match transfer.is_upload() {
            false => "The data connection was cut before its end.",
            true if self.session.holds_upload(&transfer.path) => {
                "The data connection was cut; what came is kept for a while, so the upload can go on from there."
            }
            true => "The data connection was cut; nothing is kept, so send the file again from its beginning.",
        }
    }

    /// Notes what the data connection has shown, before it is forgotten.
    fn note_reuse(&mut self) {
        self.reuse.is_known |= self.port.resumption >= Some(Resumption::Unproved);
        self.reuse.is_due |= self.port.shows_reuse;
    }

    fn end_transfer(&mut self, wish: Wish) -> Doing {
        self.note_reuse();
        self.port.wish(wish);
        self.active = None;
        std::mem::replace(&mut self.doing, Doing::Nothing)
    }

    fn set_step(&mut self, step: Step) {
        if let Doing::Transfer(transfer) = &mut self.doing {
            transfer.step = step;
        }
    }
}
