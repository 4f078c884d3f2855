//! A transfer over a data connection, from the command to the last reply.
//!
//! ```text
//! Prepare ─150─► Await ─connected─► Move ─► Finish (down) ─226─►
//!                                        └► End ─► Commit (up) ─226─►
//! ```

mod begin;
mod end;
mod list;
mod list_format;
mod receive;
mod send;
mod tree;

use std::time::{Duration, Instant};

use super::{Activity, Ftp, FtpContext, REPLY_DIRECTORY_STATUS};
use crate::base::virtual_path::VirtualPath;
use crate::protocol::data_connection::{DataConnection, DataFailure, Security};
use crate::session::{Phase, SessionError};
use crate::tls::Resumption;
pub(super) use list_format::{List, ListFormat};
pub use receive::{FTP_END_GRACE_LARGE, FTP_END_GRACE_MAX, FTP_END_GRACE_SHARE};

/// The least time between the first and the last reply to a download, unless the client closes its side
/// of the data connection earlier. aria2 closes its side first, slowly on a busy machine. If it reads both
/// replies at once, it waits for the second one for ever.
pub const FTP_REPLY_GAP: Duration = Duration::from_millis(500);
/// The lower bound of that time. A client that keeps its side open until it has the last reply would
/// wait [`FTP_REPLY_GAP`] for each small file, so after two such downloads in a row each further one
/// halves the time.
pub const FTP_REPLY_GAP_MIN: Duration = Duration::from_millis(20);

/// A running transfer.
pub(super) struct Transfer {
    kind: TransferKind,
    step: TransferStep,
    path: VirtualPath,
    /// When the first reply was sent.
    announced: Option<Instant>,
    /// The least time between the first and the last reply, while the peer keeps its side open.
    reply_gap: Duration,
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

/// What the command does next. How far its data connection is, only the data connection knows.
enum TransferStep {
    /// Finding the first byte.
    Prepare,
    /// Waiting for the data connection, until this time. In active mode, this text is the first reply, sent once the
    /// data connection is open.
    Await { until: Instant, announcement: Option<Vec<u8>> },
    /// Bytes are transferred. Waiting bytes of an upload are stored at this time even if they are few.
    Move { stores_at: Option<Instant> },
    /// The last bytes are sent. When the kernel has taken them, the server waits until this time for the client to
    /// close its side, then sends the last reply.
    Finish { confirms_at: Option<Instant>, was_kept_open: bool },
    /// The data of an upload has ended. The control connection must stay open until this time.
    End { until: Instant },
    /// An upload is being committed.
    Commit,
}

impl Transfer {
    /// Returns the phase of the connection; `session` is that of the session.
    pub(super) fn phase(&self, session: Phase) -> Phase {
        match (&self.kind, &self.step) {
            (TransferKind::Upload { .. }, TransferStep::Move { .. }) => session,
            (_, TransferStep::Move { .. } | TransferStep::Finish { .. }) => Phase::Transfer,
            _ => Phase::Working,
        }
    }

    /// Returns the path.
    pub(super) fn path(&self) -> &VirtualPath {
        &self.path
    }

    /// Returns whether its data connection is not open yet.
    pub(super) fn awaits_connection(&self) -> bool {
        matches!(self.step, TransferStep::Await { .. })
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
            TransferStep::Await { until, .. } | TransferStep::End { until } => Some(until),
            TransferStep::Move { stores_at: at } | TransferStep::Finish { confirms_at: at, .. } => at,
            TransferStep::Prepare | TransferStep::Commit => None,
        }
    }
}

/// Returns the least time between the two replies to a download. It halves with each earlier download in a
/// row whose peer kept its side open, from the second one: at the first the peer may just have been slow.
fn reply_gap(kept_open_downloads: u32) -> Duration {
    let halvings = kept_open_downloads.saturating_sub(1).min(8);
    (FTP_REPLY_GAP / 2_u32.pow(halvings)).max(FTP_REPLY_GAP_MIN)
}

impl Ftp {
    /// Continues the transfer. Returns whether anything was done.
    pub(super) fn transfer(&mut self, turn: &mut FtpContext) -> bool {
        let Activity::Transfer(transfer) = &self.activity else { return false };
        let done = match (&transfer.step, &transfer.kind) {
            (TransferStep::Prepare, TransferKind::Download) => self.prepare_download(turn),
            (TransferStep::Prepare, TransferKind::Upload { .. }) => self.prepare_upload(turn),
            (TransferStep::Prepare, TransferKind::List(_)) => {
                self.announce_opening("the list", turn);
                Ok(true)
            }
            (&TransferStep::Await { until, .. }, _) => self.await_connection(until, turn),
            (TransferStep::Move { .. }, TransferKind::Download) => self.send(turn),
            (TransferStep::Move { .. }, TransferKind::Upload { .. }) => self.store(turn),
            (&TransferStep::End { until }, _) => self.complete(until, turn),
            (TransferStep::Move { .. }, TransferKind::List(_)) => self.list(turn),
            (TransferStep::Finish { .. }, _) => self.await_end(turn),
            (TransferStep::Commit, _) => self.commit(turn),
        };
        done.unwrap_or_else(|refusal| {
            self.end_failed_transfer(turn.buffers, turn.data, refusal, turn.now);
            true
        })
    }

    fn prepare_download(&mut self, turn: &mut FtpContext) -> Result<bool, SessionError> {
        let Some(opened) = self.session.prepare_download(turn.service, turn.budget)? else {
            return Ok(!self.session.awaits_storage());
        };
        self.announce_opening(&format!("the file ({} bytes)", opened.size - opened.offset), turn);
        Ok(true)
    }

    fn announce_opening(&mut self, content: &str, turn: &mut FtpContext) {
        self.announce(format!("Opening data connection for {content}.").into_bytes(), turn);
    }

    /// Sends the first reply. In active mode clients expect it only after the connection.
    fn announce(&mut self, text: Vec<u8>, turn: &mut FtpContext) {
        let Activity::Transfer(transfer) = &mut self.activity else { return };
        let mut announcement = Some(text);
        if !turn.data.connect()
            && let Some(text) = announcement.take()
        {
            transfer.announced = Some(turn.now);
            turn.reply(150, text);
        }
        transfer.step = TransferStep::Await { until: turn.now + self.settings.data_timeout, announcement };
    }

    fn await_connection(&mut self, until: Instant, turn: &mut FtpContext) -> Result<bool, SessionError> {
        match turn.data.open(self.security()) {
            Ok(true) => {
                let Activity::Transfer(transfer) = &mut self.activity else { return Ok(false) };
                let awaited = std::mem::replace(&mut transfer.step, TransferStep::Move { stores_at: None });
                if let TransferStep::Await { announcement: Some(text), .. } = awaited {
                    transfer.announced = Some(turn.now);
                    turn.reply(150, text);
                }
            }
            Ok(false) if turn.now < until => return Ok(false),
            Ok(false) | Err(_) => self.end_without_connection(turn),
        }
        Ok(true)
    }

    fn security(&self) -> Security {
        if !self.data.is_private {
            return Security::Plain;
        }
        let is_upload = matches!(&self.activity, Activity::Transfer(transfer) if transfer.is_upload());
        Security::Tls {
            is_upload,
            needs: match self.settings.requires_session_reuse {
                true => Resumption::Session,
                false if self.reuse.is_required => Resumption::Account,
                false => Resumption::None,
            },
            // A client that receives data has nothing to send, so its close_notify does not matter.
            needs_close_notify: is_upload && self.settings.requires_close_notify,
        }
    }

    fn set_step(&mut self, step: TransferStep) {
        if let Activity::Transfer(transfer) = &mut self.activity {
            transfer.step = step;
        }
    }
}

fn check_connection(data: &dyn DataConnection) -> Result<(), SessionError> {
    data.check()
        .map_err(|failure| if failure == DataFailure::Shorter { SessionError::Changed } else { SessionError::Cut })
}
