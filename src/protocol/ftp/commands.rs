//! Begins commands: each becomes session calls, and each result a reply. The match over all commands is
//! here; what they do is in `login`, `file_commands`, `data_commands`, `info_commands` and `transfer`.

use super::argument::LiteralOrParsed;
use super::command::{Command, Epsv, Opts};
use super::parse_error::ParseError;
use super::transfer::{ListFormat, UploadCommand};
use super::{Ftp, FtpContext, Hashed, NotBegun, Passive, reply};
use crate::base::budget::PATH_COMPONENT_COST;
use crate::base::virtual_path::VirtualPath;
use crate::protocol::Protocol;
use crate::session::{CountedSession, SessionError};

impl Ftp {
    /// Begins a command, and replies if it completes at once. `from` is the path of an `RNFR` right before
    /// it. A command must not change anything before it has its [`CountedSession`], because it may begin
    /// several times.
    pub(super) fn begin_command(
        &mut self,
        command: &Command,
        from: Option<&VirtualPath>,
        turn: &mut FtpContext,
    ) -> Result<(), NotBegun> {
        match command {
            Command::User(name) => self.name_user(name, turn),
            Command::Pass(password) => self.pass(&password.0, turn),
            Command::Auth => self.auth(turn),
            Command::Pbsz => self.protection_buffer(turn),
            Command::Prot(level) => self.protect(*level, turn),
            Command::Ccc => turn.reply(533, "CCC is not allowed; the control connection stays encrypted."),
            Command::Acct => turn.reply(202, "ACCT is not needed."),
            Command::Quit => {
                turn.reply(221, "Goodbye.");
                self.hang_up(turn.now);
            }
            Command::Noop | Command::Clnt => turn.reply(200, "OK."),
            Command::Syst => turn.reply(215, "UNIX Type: L8"),
            Command::Feat => self.reply_features(turn),
            Command::Help(name) => turn.reply_help(name.as_deref()),
            Command::Opts(option) => self.set_option(*option, turn),
            Command::Type(kind) => turn.reply(200, format!("Type set to {}.", kind.name())),
            Command::Stru => turn.reply(200, "Structure set to F."),
            Command::Mode => turn.reply(200, "Mode set to S."),
            Command::Port(address) => self.connect_actively((*address).into(), turn),
            Command::Eprt(address) => self.connect_actively(*address, turn),
            Command::Pasv => self.listen(Passive::Pasv, turn),
            Command::Epsv(Epsv::All) => self.allow_only_epsv(turn),
            Command::Epsv(network) => self.listen_extended(*network, turn),
            Command::Abor => self.answer_abort(turn),
            Command::Allo(bytes) => {
                self.pending_arguments.length = Some(*bytes);
                turn.reply(200, "OK; space is reserved when the upload starts.");
            }
            Command::Rest(offset) => {
                self.pending_arguments.offset = *offset;
                turn.reply(350, format!("Restart position accepted ({offset}); send RETR or STOR."));
            }
            Command::Retr(path) => self.on_path(path, turn, Self::begin_download),
            Command::Stor(path) => return self.store_at(path, UploadCommand::Store, turn),
            Command::Appe(path) => return self.store_at(path, UploadCommand::Append, turn),
            Command::Stou => return self.store_unique(turn),
            Command::List(text) => self.begin_listing(ListFormat::Long, text, turn),
            Command::Nlst(text) => self.begin_listing(ListFormat::Names, text, turn),
            Command::Mlsd(path) => self.on_path_or_directory(path.as_deref(), turn, Self::begin_facts),
            Command::Mlst(path) => self.on_path_or_directory(path.as_deref(), turn, Self::reply_facts),
            Command::Stat(None) => self.reply_status(turn),
            Command::Stat(Some(text)) => self.begin_status_of(text, turn),
            Command::Size(path) => self.on_path(path, turn, Self::reply_size),
            Command::Mdtm(LiteralOrParsed { literal, parsed: Ok((mtime_ns, path)) }) if !self.is_there(literal) => {
                return self.set_mtime(*mtime_ns, path, turn);
            }
            Command::Mdtm(LiteralOrParsed { literal, .. }) => self.on_path(literal, turn, Self::reply_mtime),
            Command::Mfmt { mtime_ns, path } => return self.set_mtime(*mtime_ns, path, turn),
            Command::Hash(path) => self.begin_hash(Hashed::Hash, path, turn),
            Command::Xsha256(LiteralOrParsed { literal, parsed }) => match parsed {
                Ok(path) if !self.is_there(literal) => self.begin_hash(Hashed::Xsha256, path, turn),
                Err(wrong) if !self.is_there(literal) => turn.refuse_line(wrong),
                _ => self.begin_hash(Hashed::Xsha256, literal, turn),
            },
            Command::Avbl(path) => return self.reply_available(path.as_deref(), turn),
            Command::Cwd(path) => self.on_path_or_directory(Some(path), turn, Self::change_directory),
            Command::Cdup => self.on_path(b"..", turn, Self::change_directory),
            Command::Pwd => turn.reply_quoted(257, &self.directory, "is the current directory."),
            Command::Mkd(path) => return self.make_directory(path, turn),
            Command::Rmd(path) => return self.remove_directory(path, turn),
            Command::Dele(path) => return self.remove_file(path, turn),
            Command::Rnfr(path) => self.on_path(path, turn, Self::rename_from),
            Command::Rnto(path) => return self.rename_to(from, path, turn),
            Command::SiteChmod { permissions, path } => return self.set_permissions(permissions, path, turn),
            Command::SiteUtime(readings) => return self.set_mtime_of_first(readings, turn),
            Command::SiteHelp(name) => turn.reply_site_help(name.as_deref()),
            Command::SiteQuota => return self.reply_quota(turn),
        }
        Ok(())
    }

    /// Returns the session for a call that needs a counted home.
    pub(super) fn counted(&mut self, turn: &mut FtpContext) -> Result<CountedSession<'_>, NotBegun> {
        self.session.counted(turn.budget).map_err(NotBegun::Refused)?.ok_or(NotBegun::NotCounted)
    }

    fn set_option(&mut self, option: Opts, turn: &mut FtpContext) {
        match option {
            Opts::Utf8 => turn.reply(200, "UTF8 is always on."),
            Opts::Hash => turn.reply(200, "SHA-256"),
            Opts::Mlst(facts) => {
                self.facts = facts;
                turn.reply(200, format!("MLST OPTS {}", facts.chosen()));
            }
        }
    }

    // ---- Paths ----------------------------------------------------------------------------

    /// Resolves `text` against the current directory. Replies 553 and returns `None` if it is no valid path.
    pub(super) fn path(&self, text: &[u8], turn: &mut FtpContext) -> Option<VirtualPath> {
        let path = self.directory.join(text).map_err(|error| turn.reply(553, format!("Invalid path: {error}.")));
        path.ok().inspect(|path| turn.charge_for(path))
    }

    /// Like `path`. Empty text is the current directory, and so is blank text that names no entry.
    pub(super) fn path_or_directory(&self, text: Option<&[u8]>, turn: &mut FtpContext) -> Option<VirtualPath> {
        let is_blank = |text: &[u8]| text.iter().all(|&byte| byte == b' ');
        match text {
            Some(text) if !is_blank(text) || self.is_there(text) => self.path(text, turn),
            _ => Some(self.directory.clone()).inspect(|path| turn.charge_for(path)),
        }
    }

    /// Runs `act` on the path that `text` names. If it is no valid path, the reply is sent.
    pub(super) fn on_path(
        &mut self,
        text: &[u8],
        turn: &mut FtpContext,
        act: impl FnOnce(&mut Self, VirtualPath, &mut FtpContext),
    ) {
        if let Some(path) = self.path(text, turn) {
            act(self, path, turn);
        }
    }

    fn on_path_or_directory(
        &mut self,
        text: Option<&[u8]>,
        turn: &mut FtpContext,
        act: impl FnOnce(&mut Self, VirtualPath, &mut FtpContext),
    ) {
        if let Some(path) = self.path_or_directory(text, turn) {
            act(self, path, turn);
        }
    }
}

impl FtpContext<'_> {
    /// Charges the budget for a path: longer paths cost the kernel more.
    pub(super) fn charge_for(&mut self, path: &VirtualPath) {
        self.budget.spend(path.depth() as u64 * PATH_COMPONENT_COST);
    }

    /// Replies to a malformed line.
    pub(super) fn refuse_line(&mut self, error: &ParseError) {
        let (code, text) = error.reply();
        self.reply(code, text);
    }

    /// Replies about a path, in the form of RFC 959 appendix II.
    pub(super) fn reply_quoted(&mut self, code: u16, path: &VirtualPath, text: &str) {
        self.reply(code, [&reply::quoted(path.as_bytes())[..], b" ", text.as_bytes()].concat());
    }

    /// Replies with `done`, a code and a text, or with the refusal of `path`.
    pub(super) fn reply_result(&mut self, result: Result<(), SessionError>, done: (u16, &str), path: &VirtualPath) {
        match result {
            Ok(()) => self.reply(done.0, done.1),
            Err(refusal) => self.refuse(refusal, Some(path)),
        }
    }
}
