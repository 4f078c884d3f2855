//! A transfer over a data connection, from the command to the last reply.
//!
//! ```text
//! Prepare ─150─► Await ─connected─► Move ─► Finish ─► Confirm (down) ─226─►
//!                                        └─► End ─► Commit (up) ─226─►
//! ```

mod list;
mod receive;
mod send;

pub(super) use list::{Form, List};

use super::{Activity, Ftp, FtpContext, NotBegun, REPLY_FOLDER_STATUS, reply};
use crate::base::buffers::IoBuffers;
use crate::base::limits::{
    FTP_DISCARD_TIME_MAX, FTP_REFUSED_DATA_GRACE, FTP_REFUSED_TLS_DATA_GRACE, FTP_REPLIES_APART, FTP_REPLIES_APART_MIN,
};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VPath;
use crate::protocol::data_connection::{ConnectionStage, DataConnection, Failure, Security};
use crate::session::download::{DownloadPlan, DownloadStart};
use crate::session::upload::{Length, UploadPlan, UploadStart};
use crate::session::{Phase, SessionError};
use crate::tls::Resumption;
use std::time::{Duration, Instant};

/// A running transfer.
pub(super) struct Transfer {
    kind: TransferKind,
    step: TransferStep,
    path: VPath,
    /// The first reply, sent once the data connection exists.
    announcement: Option<Vec<u8>>,
    /// When the first reply was sent.
    announced: Option<Instant>,
    /// The least time from then to the last reply, while the peer keeps its side open.
    replies_apart: Duration,
    /// The peer kept its side open after all was sent.
    was_kept_open: bool,
    /// When a few waiting bytes are stored even if no more come.
    stores_at: Option<Instant>,
}

enum TransferKind {
    Download,
    /// The server chose the name, and reports it.
    Upload {
        is_named_here: bool,
    },
    List(List),
}

/// The command of an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadCommand {
    /// `STOR`.
    Store,
    /// `APPE`.
    Append,
    /// `STOU`.
    Unique,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TransferStep {
    /// Finding the first byte.
    Prepare,
    /// Waiting for the data connection until then.
    Await(Instant),
    /// Bytes are transferred.
    Move,
    /// The kernel has yet to take the last bytes.
    Finish,
    /// All is sent. Until then the server waits for the client to close its side before it sends the last
    /// reply.
    Confirm(Instant),
    /// The data of an upload has ended. Until then its client must prove to be alive.
    End(Instant),
    /// An upload is being committed.
    Commit,
}

impl Transfer {
    /// Returns what it waits for, if the session waits for `session`.
    pub(super) fn phase(&self, session: Phase) -> Phase {
        match (&self.kind, self.step) {
            (TransferKind::Upload { .. }, TransferStep::Move) => session,
            (_, TransferStep::Move | TransferStep::Finish | TransferStep::Confirm(_)) => Phase::Transfer,
            _ => Phase::Working,
        }
    }

    /// Returns the path.
    pub(super) fn path(&self) -> &VPath {
        &self.path
    }

    /// Returns whether its data connection is not open yet.
    pub(super) fn awaits_connection(&self) -> bool {
        matches!(self.step, TransferStep::Await(_))
    }

    pub(super) fn is_upload(&self) -> bool {
        matches!(self.kind, TransferKind::Upload { .. })
    }

    fn is_named_here(&self) -> bool {
        matches!(self.kind, TransferKind::Upload { is_named_here: true })
    }

    /// Returns when it continues, or is aborted, without input from the peer.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        match self.step {
            TransferStep::Await(until) | TransferStep::End(until) | TransferStep::Confirm(until) => Some(until),
            TransferStep::Move => self.stores_at,
            _ => None,
        }
    }
}

/// Returns the wait for a peer that kept its side of that many data connections in a row open until the
/// last reply. A single one may just have been slow.
fn replies_apart(kept_open: u32) -> Duration {
    let halvings = kept_open.saturating_sub(1).min(8);
    (FTP_REPLIES_APART / 2_u32.pow(halvings)).max(FTP_REPLIES_APART_MIN)
}

impl Ftp {
    // ---- Beginning ------------------------------------------------------------------------

    pub(super) fn begin_download(&mut self, path: VPath, turn: &mut FtpContext) {
        if !self.may_transfer(turn) {
            return;
        }
        let plan = DownloadPlan { path: path.clone(), start: DownloadStart::At(self.next.offset), hash: false };
        let begun = self.session.begin_download(turn.service, plan, turn.now);
        self.begin(begun, TransferKind::Download, path, turn);
    }

    /// `STOR` and `APPE`.
    pub(super) fn store_at(
        &mut self,
        text: &[u8],
        command: UploadCommand,
        turn: &mut FtpContext,
    ) -> Result<(), NotBegun> {
        match self.path(text, turn) {
            Some(path) => self.begin_upload(path, command, turn),
            None => Ok(()),
        }
    }

    /// `STOU`.
    pub(super) fn store_unique(&mut self, turn: &mut FtpContext) -> Result<(), NotBegun> {
        let id = UploadId::random().map_err(|_| NotBegun::Refused(SessionError::Io))?;
        self.store_at(format!("ftp-{id}").as_bytes(), UploadCommand::Unique, turn)
    }

    /// Begins an upload at the byte of `REST`, or at the end of the file.
    fn begin_upload(&mut self, path: VPath, command: UploadCommand, turn: &mut FtpContext) -> Result<(), NotBegun> {
        if !self.may_transfer(turn) {
            return Ok(());
        }
        let start = match self.next.offset {
            _ if command == UploadCommand::Append => UploadStart::End,
            0 => UploadStart::Empty,
            offset => UploadStart::At(offset),
        };
        let plan = UploadPlan {
            path: path.clone(),
            // `ALLO` before an appended or resumed upload may mean the rest or the whole.
            length: self.next.length.map_or(Length::Unknown, Length::Reserved),
            mtime_ns: None,
            replace: true,
            if_etag: None,
            id: Some(UploadId::of_path(&path)),
            start,
            hash: self.settings.hashes_uploads,
            wanted_mode: None,
        };
        let begins_empty = start == UploadStart::Empty && self.next.length.is_none();
        let mut session = self.counted(turn)?;
        let mut begun = session.begin_upload(turn.service, plan, turn.now);
        if begun.is_ok()
            && begins_empty
            && let Some(refusal) = session.refusal_of_first_byte()
        {
            // Known before any data comes, so the client need not send it.
            let _ = self.session.abort(refusal, turn.now);
            begun = Err(refusal);
        }
        self.begin(begun, TransferKind::Upload { is_named_here: command == UploadCommand::Unique }, path, turn);
        Ok(())
    }

    fn begin(&mut self, begun: Result<(), SessionError>, kind: TransferKind, path: VPath, turn: &mut FtpContext) {
        match begun {
            Ok(()) => {
                let transfer = Transfer {
                    kind,
                    step: TransferStep::Prepare,
                    path,
                    announcement: None,
                    announced: None,
                    replies_apart: replies_apart(self.kept_open),
                    was_kept_open: false,
                    stores_at: None,
                };
                self.activity = Activity::Transfer(Box::new(transfer));
            }
            Err(refusal) => self.refuse_absent(refusal, &path, turn),
        }
    }

    /// Closes the data connection of a refused transfer, because its client may wait for data or an end. It
    /// is closed when the client has had time to read the reply: if curl sees the end during a TLS
    /// handshake, it tries another way to connect.
    pub(super) fn give_up_data_connection(&mut self, turn: &FtpContext) {
        if !matches!(self.activity, Activity::Transfer(_)) && self.has_data_connection(turn.data) {
            self.active = None;
            let grace = if self.data.is_private { FTP_REFUSED_TLS_DATA_GRACE } else { FTP_REFUSED_DATA_GRACE };
            self.unused_data_until = Some(turn.now + grace);
        }
    }

    pub(super) fn end_unused_data_connection(&mut self, data: &mut dyn DataConnection) {
        if self.unused_data_until.take().is_some() {
            data.close();
        }
    }

    fn may_transfer(&self, turn: &mut FtpContext) -> bool {
        if !self.data.is_private && !self.settings.plaintext {
            turn.reply(521, "Data connections must be encrypted; send PBSZ 0 and PROT P first.");
        } else if !self.has_data_connection(turn.data) {
            turn.reply(425, "No data connection; send EPSV or PASV first.");
        } else {
            return true;
        }
        false
    }

    // ---- Continuing -----------------------------------------------------------------------

    /// Continues the transfer. Returns whether anything was done.
    pub(super) fn transfer(&mut self, turn: &mut FtpContext) -> bool {
        let Activity::Transfer(transfer) = &self.activity else { return false };
        let done = match (transfer.step, &transfer.kind) {
            (TransferStep::Prepare, TransferKind::Download) => self.prepare_download(turn),
            (TransferStep::Prepare, TransferKind::Upload { .. }) => self.prepare_upload(turn),
            (TransferStep::Prepare, TransferKind::List(_)) => {
                self.announce_opening("the list", turn);
                Ok(true)
            }
            (TransferStep::Await(until), _) => self.await_connection(until, turn),
            (TransferStep::Move, TransferKind::Download) => self.send(turn),
            (TransferStep::Move, TransferKind::Upload { .. }) => self.store(turn),
            (TransferStep::End(until), _) => self.complete(until, turn),
            (TransferStep::Move, TransferKind::List(_)) => self.list(turn),
            (TransferStep::Finish | TransferStep::Confirm(_), _) => self.await_end(turn),
            (TransferStep::Commit, _) => self.commit(turn),
        };
        done.unwrap_or_else(|refusal| {
            self.end_failed_transfer(turn.buffers, turn.data, refusal, turn.now);
            true
        })
    }

    fn prepare_download(&mut self, turn: &mut FtpContext) -> Result<bool, SessionError> {
        let Some(opened) = self.session.prepare_download(turn.service, turn.budget)? else { return Ok(true) };
        self.announce_opening(&format!("the file ({} bytes)", opened.size - opened.offset), turn);
        Ok(true)
    }

    fn announce_opening(&mut self, what: &str, turn: &mut FtpContext) {
        self.announce(format!("Opening data connection for {what}.").into_bytes(), turn);
    }

    /// Sends the first reply. In active mode clients expect it only after the connection.
    fn announce(&mut self, what: Vec<u8>, turn: &mut FtpContext) {
        let Activity::Transfer(transfer) = &mut self.activity else { return };
        transfer.step = TransferStep::Await(turn.now + self.settings.data_timeout);
        match self.active.take() {
            Some(address) => {
                transfer.announcement = Some(what);
                turn.data.connect(address);
            }
            None => {
                transfer.announced = Some(turn.now);
                turn.reply(150, what);
            }
        }
    }

    fn await_connection(&mut self, until: Instant, turn: &mut FtpContext) -> Result<bool, SessionError> {
        match turn.data.stage() {
            ConnectionStage::Connected => {
                turn.data.open(self.security());
                if let Activity::Transfer(transfer) = &mut self.activity {
                    transfer.step = TransferStep::Move;
                    if let Some(text) = transfer.announcement.take() {
                        transfer.announced = Some(turn.now);
                        turn.reply(150, text);
                    }
                }
            }
            ConnectionStage::Failed(_) => self.end_without_connection(turn),
            _ if turn.now >= until => self.end_without_connection(turn),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn security(&self) -> Security {
        if !self.data.is_private {
            return Security::Plain;
        }
        let is_upload = matches!(&self.activity, Activity::Transfer(transfer) if transfer.is_upload());
        Security::Sealed {
            is_upload,
            needs: match self.settings.requires_session_reuse {
                true => Resumption::Session,
                false if self.reuse.is_due => Resumption::Account,
                false => Resumption::None,
            },
            // A client that receives data has nothing to send, so its close_notify does not matter.
            needs_close_notify: is_upload && self.settings.requires_close_notify,
        }
    }

    fn end_without_connection(&mut self, turn: &mut FtpContext) {
        // A listing of one file is not a task of the session.
        let _ = self.session.abort(SessionError::Cut, turn.now);
        let why = match turn.data.stage() {
            ConnectionStage::Failed(Failure::NoPort) => {
                "Cannot open data connection: the server has no free port; try again later."
            }
            _ => {
                "Cannot open data connection: no connection was made in time; check firewalls, and EPSV, PASV or PORT."
            }
        };
        self.forget_transfer(turn.data);
        turn.data.close();
        turn.reply(425, why);
    }

    // ---- Ending ---------------------------------------------------------------------------

    /// `ABOR`: aborts the running command (RFC 959, section 4.1.3). `ABOR` itself is answered in its turn.
    pub(super) fn abort_transfer(&mut self, turn: &mut FtpContext) {
        // The session may have finished while bytes are still being sent.
        let _ = self.session.abort(SessionError::Cancelled, turn.now);
        let given_up = self.forget_transfer(turn.data);
        turn.data.reset();
        // A listing on the control connection has begun its reply, and must end it.
        let code = if let Activity::ListingStatus(_) = given_up { REPLY_FOLDER_STATUS } else { 426 };
        turn.reply(code, "Transfer aborted.");
        self.was_aborted = true;
    }

    /// Answers the transfer with a refusal and ends it.
    pub(super) fn end_failed_transfer(
        &mut self,
        buffers: &mut IoBuffers,
        data: &mut dyn DataConnection,
        refusal: SessionError,
        now: Instant,
    ) {
        // A failed call may have ended its state itself.
        let _ = self.session.abort(refusal, now);
        let failure = data.stage();
        let given_up = self.forget_transfer(data);
        let is_upload = matches!(&given_up, Activity::Transfer(transfer) if transfer.is_upload());
        if is_upload && failure == ConnectionStage::Open && refusal != SessionError::Cut {
            data.discard();
            self.unused_data_until = Some(now + FTP_DISCARD_TIME_MAX);
        } else {
            data.reset();
        }
        let Activity::Transfer(transfer) = given_up else { return };
        let (code, text) = match failure {
            ConnectionStage::Failed(Failure::NotResumed) => {
                let text = "The data connection must reuse the TLS session of the control connection.";
                (522, text.to_string())
            }
            ConnectionStage::Failed(_) if refusal == SessionError::Cut => {
                (426, self.told_of_cut(&transfer).to_string())
            }
            _ => reply::refusal(refusal, Some(&transfer.path)),
        };
        buffers.output.append(|out| reply::put(out, code, &text));
    }

    fn told_of_cut(&self, transfer: &Transfer) -> &'static str {
        match transfer.is_upload() {
            false => "Data connection closed; the transfer is incomplete.",
            true if self.session.has_partial_upload(&transfer.path) => {
                "Data connection closed; the received part is kept for a while, so the upload can be resumed."
            }
            true => "Data connection closed; nothing is kept, so send the file again from its beginning.",
        }
    }

    /// Records what the data connection has shown about resumption, before it is closed.
    fn note_reuse(&mut self, data: &dyn DataConnection) {
        self.reuse.is_known |= data.resumption() >= Some(Resumption::Unproved);
        self.reuse.is_due |= data.shows_reuse();
    }

    fn forget_transfer(&mut self, data: &dyn DataConnection) -> Activity {
        self.note_reuse(data);
        self.active = None;
        std::mem::replace(&mut self.activity, Activity::Nothing)
    }

    fn set_step(&mut self, step: TransferStep) {
        if let Activity::Transfer(transfer) = &mut self.activity {
            transfer.step = step;
        }
    }
}

fn check_connection(data: &dyn DataConnection) -> Result<(), SessionError> {
    match data.stage() {
        ConnectionStage::Failed(Failure::Shorter) => Err(SessionError::Changed),
        ConnectionStage::Failed(_) => Err(SessionError::Cut),
        _ => Ok(()),
    }
}
