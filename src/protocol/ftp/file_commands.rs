//! Commands about files and directories: the current directory, making, removing, renaming, times, permissions,
//! digests.

use super::permissions::PermissionChange;
use super::{Activity, Ftp, FtpContext, Hashed, NotBegun, reply, time};
use crate::base::digest::DigestAlgorithm;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::session::{SessionError, Unfinished};
use crate::store::meta::Kind;

impl Ftp {
    // ---- Directories --------------------------------------------------------------------------

    pub(super) fn change_directory(&mut self, path: VirtualPath, turn: &mut FtpContext) {
        match self.session.stat(turn.service, &path) {
            Ok((meta, _)) if meta.kind == Kind::Directory => {
                self.directory = path;
                turn.reply_quoted(250, &self.directory, "is the current directory.");
            }
            Ok(_) => turn.refuse(SessionError::NotADirectory, Some(&path)),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
    }

    pub(super) fn make_directory(&mut self, text: &[u8], turn: &mut FtpContext) -> Result<(), NotBegun> {
        let Some(path) = self.path(text, turn) else { return Ok(()) };
        match self.counted(turn)?.make_directory(&path, None) {
            Ok(()) => turn.reply_quoted(257, &path, "created."),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, text: &[u8], turn: &mut FtpContext) -> Result<(), NotBegun> {
        let Some(path) = self.path(text, turn) else { return Ok(()) };
        let removed = self.counted(turn)?.remove_directory(&path);
        turn.reply_result(removed, (250, "Directory removed."), &path);
        Ok(())
    }

    // ---- Files ----------------------------------------------------------------------------

    /// Removes a file and its partial upload, which the next upload would otherwise resume. A path with
    /// only a partial upload has a size, so it can be removed, too. A running upload stays.
    pub(super) fn remove_file(&mut self, text: &[u8], turn: &mut FtpContext) -> Result<(), NotBegun> {
        let Some(path) = self.path(text, turn) else { return Ok(()) };
        let upload = UploadId::of_path(&path);
        let session = self.counted(turn)?;
        let is_interrupted = session.is_interrupted(&upload);
        let removed = match session.remove_file(&path) {
            Ok(()) | Err(SessionError::NotFound) if is_interrupted => session.drop_partial_upload(&upload),
            removed => removed,
        };
        match removed {
            Ok(()) => turn.reply(250, "File deleted."),
            Err(refusal) => self.refuse_absent(refusal, &path, turn),
        }
        Ok(())
    }

    pub(super) fn rename_from(&mut self, path: VirtualPath, turn: &mut FtpContext) {
        match self.session.entry(&path) {
            Ok(_) => {
                self.pending_arguments.from = Some(path);
                turn.reply(350, "Ready for RNTO with the new name.");
            }
            Err(refusal) => self.refuse_absent(refusal, &path, turn),
        }
    }

    pub(super) fn rename_to(
        &mut self,
        from: Option<&VirtualPath>,
        text: &[u8],
        turn: &mut FtpContext,
    ) -> Result<(), NotBegun> {
        let Some(to) = self.path(text, turn) else { return Ok(()) };
        let Some(from) = from else {
            turn.reply(503, "Send RNFR directly before RNTO.");
            return Ok(());
        };
        let renamed = self.counted(turn)?.rename(from, &to, true);
        let path = if renamed == Err(SessionError::NotFound) { from } else { &to };
        turn.reply_result(renamed, (250, "Renamed."), path);
        Ok(())
    }

    /// Refuses a command about a file. If there is no file but an upload, running or interrupted, the reply
    /// says so, because SIZE reports it.
    pub(super) fn refuse_absent(&self, refusal: SessionError, path: &VirtualPath, turn: &mut FtpContext) {
        let is_absent = refusal == SessionError::NotFound;
        let unfinished = if is_absent { self.session.unfinished_upload(path) } else { None };
        let upload = match unfinished {
            None => return turn.refuse(refusal, Some(path)),
            Some(Unfinished::Running) => "an upload to it is in progress".to_string(),
            Some(Unfinished::Interrupted(bytes)) => {
                format!("a partial upload exists ({bytes} bytes); resume it with REST and STOR, or remove it with DELE")
            }
        };
        turn.reply(550, format!("{}: no such file; {upload}.", reply::subject(path)));
    }

    // ---- Times and permissions ------------------------------------------------------------

    /// Sets a modification time. The reply follows draft-somers-ftp-mfxx, section 3.1.
    pub(super) fn set_mtime(&mut self, mtime_ns: i64, text: &[u8], turn: &mut FtpContext) -> Result<(), NotBegun> {
        let Some(path) = self.path(text, turn) else { return Ok(()) };
        let session = self.counted(turn)?;
        // The file system may not store every time.
        match session.set_mtime(&path, mtime_ns).and_then(|()| session.stat(turn.service, &path)) {
            Ok((meta, _)) => {
                let fact = format!("Modify={}; ", time::format(meta.mtime_ns));
                turn.reply(213, [fact.as_bytes(), text].concat());
            }
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
        Ok(())
    }

    /// Sets the time of the first reading whose path exists.
    pub(super) fn set_mtime_of_first(
        &mut self,
        readings: &[(i64, Vec<u8>)],
        turn: &mut FtpContext,
    ) -> Result<(), NotBegun> {
        let reading = readings.iter().find(|(_, path)| self.is_there(path)).or(readings.first());
        let Some((mtime_ns, text)) = reading else { return Ok(()) };
        let Some(path) = self.path(text, turn) else { return Ok(()) };
        let set = self.counted(turn)?.set_mtime(&path, *mtime_ns);
        turn.reply_result(set, (200, "Modification time set."), &path);
        Ok(())
    }

    pub(super) fn set_permissions(
        &mut self,
        permissions: &PermissionChange,
        text: &[u8],
        turn: &mut FtpContext,
    ) -> Result<(), NotBegun> {
        let Some(path) = self.path(text, turn) else { return Ok(()) };
        let session = self.counted(turn)?;
        let changed = session.stat(turn.service, &path).and_then(|(meta, _)| {
            session.set_mode(&path, permissions.apply(meta.mode, meta.kind == Kind::Directory))?;
            session.stat(turn.service, &path)
        });
        match changed {
            Ok((meta, _)) => {
                let rest = if permissions.names_special_bits { "; other bits cannot be set by FTP" } else { "" };
                turn.reply(200, format!("Permissions set to {:03o}{rest}.", meta.mode & 0o777));
            }
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
        Ok(())
    }

    // ---- Digests --------------------------------------------------------------------------

    pub(super) fn begin_hash(&mut self, hashed: Hashed, text: &[u8], turn: &mut FtpContext) {
        self.on_path(text, turn, |ftp, path, turn| match ftp.session.begin_digest(&path, DigestAlgorithm::Sha256) {
            Ok(()) => ftp.activity = Activity::Hashing(hashed, path),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        });
    }
}
