//! Begins transfers: `RETR`, `STOR`, `APPE`, `STOU`.

use super::{Transfer, TransferKind, TransferStep, UploadCommand, reply_gap};
use crate::base::digest::DigestAlgorithm;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::protocol::ftp::{Activity, Ftp, FtpContext, NotBegun};
use crate::session::SessionError;
use crate::session::download::{DownloadPlan, DownloadStart};
use crate::session::upload::{Length, UploadPlan, UploadStart};

impl Ftp {
    pub(in crate::protocol::ftp) fn begin_download(&mut self, path: VirtualPath, turn: &mut FtpContext) {
        if !self.may_transfer(turn) {
            return;
        }
        let plan =
            DownloadPlan { path: path.clone(), start: DownloadStart::At(self.pending_arguments.offset), hash: false };
        let begun = self.session.begin_download(turn.service, plan, turn.now);
        self.begin(begun, TransferKind::Download, path, turn);
    }

    /// `STOR` and `APPE`.
    pub(in crate::protocol::ftp) fn store_at(
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
    pub(in crate::protocol::ftp) fn store_unique(&mut self, turn: &mut FtpContext) -> Result<(), NotBegun> {
        let id = self.session.random_name().map_err(NotBegun::Refused)?;
        self.store_at(format!("ftp-{id}").as_bytes(), UploadCommand::Unique, turn)
    }

    /// Begins an upload at the byte of `REST`, or at the end of the file.
    pub(in crate::protocol::ftp) fn begin_upload(
        &mut self,
        path: VirtualPath,
        command: UploadCommand,
        turn: &mut FtpContext,
    ) -> Result<(), NotBegun> {
        if !self.may_transfer(turn) {
            return Ok(());
        }
        let start = match self.pending_arguments.offset {
            _ if command == UploadCommand::Append => UploadStart::End,
            0 => UploadStart::Empty,
            offset => UploadStart::At(offset),
        };
        let plan = UploadPlan {
            path: path.clone(),
            // `ALLO` before an appended or resumed upload may mean the rest or the whole.
            length: self.pending_arguments.length.map_or(Length::Unknown, Length::Reserved),
            mtime_ns: None,
            replace: true,
            if_etag: None,
            id: Some(UploadId::of_path(&path)),
            start,
            hash: self.settings.hashes_uploads.then_some(DigestAlgorithm::Sha256),
            wanted_mode: None,
        };
        let begins_empty = start == UploadStart::Empty && self.pending_arguments.length.is_none();
        let mut session = self.counted(turn)?;
        let mut begun = session.begin_upload(turn.service, plan, turn.now);
        if begun.is_ok()
            && begins_empty
            && let Some(refusal) = session.refusal_of_first_byte()
        {
            // The refusal is known before any data comes, so the client need not send the data.
            let _ = self.session.abort(refusal, turn.now);
            begun = Err(refusal);
        }
        self.begin(begun, TransferKind::Upload { is_named_here: command == UploadCommand::Unique }, path, turn);
        Ok(())
    }

    pub(super) fn begin(
        &mut self,
        begun: Result<(), SessionError>,
        kind: TransferKind,
        path: VirtualPath,
        turn: &mut FtpContext,
    ) {
        match begun {
            Ok(()) => {
                let transfer = Transfer {
                    kind,
                    step: TransferStep::Prepare,
                    path,
                    announced: None,
                    reply_gap: reply_gap(self.kept_open_downloads),
                };
                self.activity = Activity::Transfer(Box::new(transfer));
            }
            Err(refusal) => self.refuse_absent(refusal, &path, turn),
        }
    }

    pub(super) fn may_transfer(&self, turn: &mut FtpContext) -> bool {
        if !self.data.is_private && !self.settings.plaintext {
            turn.reply(521, "Data connections must be encrypted; send PBSZ 0 and PROT P first.");
        } else if !self.has_data_connection(turn.data) {
            turn.reply(425, "No data connection; send EPSV or PASV first.");
        } else {
            return true;
        }
        false
    }
}
