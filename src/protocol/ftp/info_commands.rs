//! Commands that only query: sizes, times, facts, digests, the quota, help, and the session's status.

use super::facts::{Facts, put_facts};
use super::transfer::List;
use super::{Activity, Ftp, FtpContext, Hashed, NotBegun, REPLY_DIRECTORY_STATUS, help, reply, time};
use crate::base::text::Size;
use crate::base::virtual_path::VirtualPath;
use crate::session::SessionError;
use crate::session::session_info::TransferInfo;
use crate::session::task::TaskStep;
use crate::store::listing::Listed;
use crate::store::meta::{EntryMeta, Kind, Meta};

impl Ftp {
    /// `SIZE`. For a partial upload it returns the number of stored bytes, so that a client can resume it.
    pub(super) fn reply_size(&mut self, path: VirtualPath, turn: &mut FtpContext) {
        match self.session.stat_resumable(&path) {
            Ok(meta) if meta.kind == Kind::File => turn.reply(213, meta.size.to_string()),
            Ok(_) => turn.refuse(SessionError::NotAFile, Some(&path)),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
    }

    /// `MDTM`.
    pub(super) fn reply_mtime(&mut self, path: VirtualPath, turn: &mut FtpContext) {
        match self.session.stat_resumable(&path) {
            Ok(meta) => turn.reply(213, time::format(meta.mtime_ns)),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
    }

    /// Returns the metadata of a dangling symlink itself, or the refusal.
    pub(super) fn link_or(&self, refusal: SessionError, path: &VirtualPath) -> Result<Meta, SessionError> {
        match refusal {
            SessionError::NotFound => self.session.link_itself(path).ok_or(refusal),
            refusal => Err(refusal),
        }
    }

    /// `MLST`.
    pub(super) fn reply_facts(&mut self, path: VirtualPath, turn: &mut FtpContext) {
        let found = self.session.stat_resumable(&path).or_else(|refusal| self.link_or(refusal, &path));
        match found {
            Ok(meta) => {
                let (name, mut line) = (path.as_bytes().to_vec(), Vec::new());
                let listed = Listed { name, metadata: EntryMeta::Examined(meta), target: None };
                put_facts(&mut line, &listed, self.facts, !self.session.is_read_only());
                turn.buffers.output.append(|out| reply::put_lines(out, 250, "Facts:", [line], "End."));
            }
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
    }

    // ---- Status ---------------------------------------------------------------------------

    pub(super) fn reply_status(&mut self, turn: &mut FtpContext) {
        let user = self.session.account().map_or("Not logged in".into(), |name| format!("Logged in as {name}"));
        let protection = |is_encrypted| if is_encrypted { "TLS" } else { "not encrypted" };
        let mut lines = vec![
            user,
            format!("Commands: {}", protection(self.is_encrypted())),
            format!("Data connections: {}", protection(self.data.is_private)),
        ];
        lines.extend(match &self.activity {
            Activity::Transfer(transfer) => Some(match self.session.transfer() {
                Some(transfer) => progress(&transfer),
                // A listing, or the last bytes of a file that are being sent.
                None => format!("Sending {}", transfer.path()),
            }),
            Activity::Hashing(_, path) => Some(format!("Computing the digest of {path}")),
            _ => None,
        });
        turn.buffers.output.append(|out| reply::put_lines(out, 211, "berthd:", lines, "End of status."));
    }

    /// Continues a listing by `STAT`.
    pub(super) fn list_status(&mut self, turn: &mut FtpContext) -> bool {
        let Activity::ListingStatus(list) = &self.activity else { return false };
        match self.session.run_task(turn.service, turn.budget, turn.now) {
            Ok(TaskStep::Page(entries, is_last)) => {
                turn.add_status(list, &entries);
                if !is_last {
                    return true;
                }
                turn.reply(REPLY_DIRECTORY_STATUS, "End of listing.");
            }
            Ok(TaskStep::Waits) => return false,
            Ok(_) => return true,
            // The reply has begun with this code.
            Err(refusal) => {
                turn.reply(REPLY_DIRECTORY_STATUS, format!("Listing incomplete: {}.", refusal.with_advice()))
            }
        }
        self.activity = Activity::Nothing;
        true
    }

    // ---- Digests and quota ----------------------------------------------------------------

    /// Continues a digest.
    pub(super) fn hash(&mut self, turn: &mut FtpContext) -> bool {
        let Activity::Hashing(hashed, path) = &self.activity else { return false };
        match self.session.run_task(turn.service, turn.budget, turn.now) {
            Ok(TaskStep::Digest(digest, size)) => match hashed {
                // draft-bryan-ftpext-hash, section 3.2.
                Hashed::Hash => {
                    turn.reply(
                        213,
                        [format!("SHA-256 0-{size} {} ", digest.hex()).as_bytes(), path.as_bytes()].concat(),
                    );
                }
                Hashed::Xsha256 => turn.reply(250, digest.hex()),
            },
            Ok(TaskStep::Waits) => return false,
            Ok(_) => return true,
            Err(refusal) => turn.refuse(refusal, Some(path)),
        }
        self.activity = Activity::Nothing;
        true
    }

    /// draft-peterson-streamlined-ftp-command-extensions, section 4.
    pub(super) fn reply_available(&mut self, text: Option<&[u8]>, turn: &mut FtpContext) -> Result<(), NotBegun> {
        let Some(path) = self.path_or_directory(text, turn) else { return Ok(()) };
        let session = self.counted(turn)?;
        match session.stat(turn.service, &path).and_then(|_| session.available_bytes()) {
            Ok(bytes) => turn.reply(213, bytes.to_string()),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
        Ok(())
    }

    /// `SITE QUOTA`.
    pub(super) fn reply_quota(&mut self, turn: &mut FtpContext) -> Result<(), NotBegun> {
        let state = self.counted(turn)?.quota().map_err(NotBegun::Refused)?;
        let bytes = |bytes| format!("{} ({bytes} bytes)", Size(bytes));
        let lines = [
            format!("used {}", bytes(state.stored().bytes)),
            format!("reserved {}", bytes(state.reserved.bytes)),
            state.limits.bytes.map_or("no limit".into(), |limit| format!("limit {}", bytes(limit))),
            format!("files {}", state.stored().files + state.reserved.files),
            state.limits.files.map_or("no file limit".into(), |limit| format!("file limit {limit}")),
        ];
        turn.buffers.output.append(|out| reply::put_lines(out, 200, "Quota:", lines, "End."));
        Ok(())
    }

    // ---- Help -----------------------------------------------------------------------------

    pub(super) fn reply_features(&self, turn: &mut FtpContext) {
        let features = help::features(self.facts);
        turn.buffers.output.append(|out| reply::put_lines(out, 211, "Features:", features, "End"));
    }
}

impl FtpContext<'_> {
    pub(super) fn reply_help(&mut self, name: Option<&str>) {
        match name {
            Some(name) => self.explain(name),
            None => self.list_commands(help::columns()),
        }
    }

    pub(super) fn reply_site_help(&mut self, name: Option<&str>) {
        match name {
            Some(name) => self.explain(&format!("SITE {name}")),
            None => self.list_commands(help::site_columns()),
        }
    }

    fn explain(&mut self, name: &str) {
        match help::explanation(name) {
            Some(explanation) => self.reply(214, explanation),
            None => self.reply(504, "Unknown command; HELP lists the commands."),
        }
    }

    fn list_commands(&mut self, columns: Vec<String>) {
        let last = "HELP <command> explains a command.";
        self.buffers.output.append(|out| reply::put_lines(out, 214, "Commands:", columns, last));
    }

    pub(super) fn begin_status(&mut self, code: u16) {
        self.buffers.output.append(|out| reply::put_first(out, code, "Listing:"));
    }

    pub(super) fn add_status(&mut self, list: &List, entries: &[Listed]) {
        let now_ns = self.service.store.clock.now_ns();
        self.budget.spend(list.cost(entries));
        self.buffers.output.append(|out| {
            for entry in entries.iter().filter(|entry| list.has(entry)) {
                let mut line = Vec::new();
                list.put(&mut line, entry, now_ns, Facts::NONE, false);
                reply::put_between(out, line);
            }
        });
    }
}

fn progress(TransferInfo { is_upload, path, bytes, offset, size, .. }: &TransferInfo) -> String {
    let (verb, at) = (if *is_upload { "Receiving" } else { "Sending" }, offset + bytes);
    match size {
        Some(size) => format!("{verb} {path}: {at} of {size} bytes"),
        None => format!("{verb} {path}: {at} bytes"),
    }
}
