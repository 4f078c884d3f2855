//! Ends transfers that are aborted, fail or are refused.

use std::time::{Duration, Instant};

use super::Transfer;
use crate::base::buffers::IoBuffers;
use crate::protocol::data_connection::{DataConnection, DataFailure};
use crate::protocol::ftp::{Activity, Ftp, FtpContext, REPLY_DIRECTORY_STATUS, reply};
use crate::session::SessionError;
use crate::tls::Resumption;

/// How long the data of a refused upload is dropped at most.
const FTP_DISCARD_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the data connection of a refused transfer outlives the reply, if no command arrives before.
const FTP_REFUSED_DATA_GRACE: Duration = Duration::from_millis(200);
/// The same over TLS: during a handshake curl looks for replies only once a second.
const FTP_REFUSED_TLS_DATA_GRACE: Duration = Duration::from_millis(1500);

impl Ftp {
    /// Closes the data connection of a refused transfer a short time from now, because its client may wait for
    /// data or an end. The client has time to read the reply first: if curl sees the end during a TLS
    /// handshake, it tries another way to connect.
    pub(in crate::protocol::ftp) fn close_data_connection_later(&mut self, turn: &FtpContext) {
        if !matches!(self.activity, Activity::Transfer(_)) && self.has_data_connection(turn.data) {
            let grace = if self.data.is_private { FTP_REFUSED_TLS_DATA_GRACE } else { FTP_REFUSED_DATA_GRACE };
            self.unused_data_until = Some(turn.now + grace);
        }
    }

    pub(in crate::protocol::ftp) fn end_unused_data_connection(&mut self, data: &mut dyn DataConnection) {
        if self.unused_data_until.take().is_some() {
            data.close();
        }
    }

    pub(in crate::protocol::ftp) fn end_without_connection(&mut self, turn: &mut FtpContext) {
        // Fails for a listing of one file, which is not a task of the session.
        let _ = self.session.abort(SessionError::Cut, turn.now);
        let why = match turn.data.check() {
            Err(DataFailure::NoPort) => "Cannot open data connection: the server has no free port; try again later.",
            _ => {
                "Cannot open data connection: no connection was made in time; check firewalls, and EPSV, PASV or PORT."
            }
        };
        self.forget_transfer(turn.data);
        turn.data.close();
        turn.reply(425, why);
    }

    /// `ABOR`: aborts the running command (RFC 959, section 4.1.3). `ABOR` itself is answered in its turn.
    pub(in crate::protocol::ftp) fn abort_transfer(&mut self, turn: &mut FtpContext) {
        // Fails if the session has finished, while bytes are still being sent.
        let _ = self.session.abort(SessionError::Cancelled, turn.now);
        let given_up = self.forget_transfer(turn.data);
        turn.data.reset();
        // A listing on the control connection has begun its reply, and must end it.
        let code = if let Activity::ListingStatus(_) = given_up { REPLY_DIRECTORY_STATUS } else { 426 };
        turn.reply(code, "Transfer aborted.");
        self.was_aborted = true;
    }

    /// Answers the transfer with a refusal and ends it.
    pub(in crate::protocol::ftp) fn end_failed_transfer(
        &mut self,
        buffers: &mut IoBuffers,
        data: &mut dyn DataConnection,
        refusal: SessionError,
        now: Instant,
    ) {
        let is_kept = self.session.is_upload_resumable();
        // Fails if the call that failed has already ended the transfer in the session.
        let _ = self.session.abort(refusal, now);
        let connection = data.check();
        let given_up = self.forget_transfer(data);
        let is_upload = matches!(&given_up, Activity::Transfer(transfer) if transfer.is_upload());
        if is_upload && refusal != SessionError::Cut && data.discard() {
            self.unused_data_until = Some(now + FTP_DISCARD_TIME_MAX);
        } else {
            data.reset();
        }
        let Activity::Transfer(transfer) = given_up else { return };
        let (code, text) = match connection {
            Err(DataFailure::NotResumed) => {
                let text = "The data connection must reuse the TLS session of the control connection.";
                (522, text.to_string())
            }
            Err(_) if refusal == SessionError::Cut => (426, text_after_cut(&transfer, is_kept).to_string()),
            _ => reply::refusal(refusal, Some(&transfer.path)),
        };
        buffers.output.append(|out| reply::put(out, code, &text));
    }

    /// Records what the data connection has shown about resumption, before it is closed.
    pub(in crate::protocol::ftp) fn record_reuse(&mut self, data: &dyn DataConnection) {
        self.reuse.is_expected |= data.resumption() >= Some(Resumption::Unproved);
        self.reuse.is_required |= data.shows_reuse();
    }

    pub(in crate::protocol::ftp) fn forget_transfer(&mut self, data: &dyn DataConnection) -> Activity {
        self.record_reuse(data);
        std::mem::replace(&mut self.activity, Activity::Nothing)
    }
}

fn text_after_cut(transfer: &Transfer, is_kept: bool) -> &'static str {
    match transfer.is_upload() {
        false => "Data connection closed; the transfer is incomplete.",
        true if is_kept => {
            "Data connection closed; the received part is kept for a while, so the upload can be resumed."
        }
        true => "Data connection closed; nothing is kept, so send the file again from its beginning.",
    }
}
