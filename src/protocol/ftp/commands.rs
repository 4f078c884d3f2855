//! Begins commands: each becomes a session verb, and each result a reply. Commands with a data
//! connection continue in `transfer`, login commands in `login`, queries in `info_commands`.

use super::address;
use super::argument::ExactOr;
use super::command::{Command, Epsv, Opts};
use super::parse_error::ParseError;
use super::permissions::Permissions;
use super::site::Site;
use super::transfer::{Form, UploadCommand};
use super::{Activity, Ftp, FtpContext, Hashed, Passive, reply, time};
use crate::base::limits::{FTP_DATA_PORT_MIN, PATH_COMPONENT_COST};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VPath;
use crate::protocol::Protocol;
use crate::session::{SessionError, Unfinished};
use crate::store::meta::Kind;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

impl Ftp {
    /// Begins a command, and replies if it completes at once.
    pub(super) fn begin_command(&mut self, command: Command, turn: &mut FtpContext) {
        // Only the command right after RNFR may use its path.
        let from = self.next.from.take();
        match command {
            Command::User(name) => self.name_user(name, turn),
            Command::Pass(password) => self.pass(password.0, turn),
            Command::Auth => self.auth(turn),
            Command::Pbsz => self.protection_buffer(turn),
            Command::Prot(level) => self.protect(level, turn),
            Command::Ccc => turn.reply(533, "CCC is not allowed; the control connection stays encrypted."),
            Command::Acct => turn.reply(202, "ACCT is not needed."),
            Command::Quit => {
                turn.reply(221, "Goodbye.");
                self.hang_up(turn.now);
            }
            Command::Noop => turn.reply(200, "OK."),
            Command::Syst => turn.reply(215, "UNIX Type: L8"),
            Command::Clnt => turn.reply(200, "OK."),
            Command::Feat => self.tell_features(turn),
            Command::Help(about) => self.tell_help(about.as_deref(), turn),
            Command::Opts(opts) => self.set_option(opts, turn),
            _ if self.session.account().is_none() => turn.refuse(SessionError::LoginRequired, None),
            command => self.begin_of_member(command, from, turn),
        }
    }

    /// Begins a command that requires a login.
    fn begin_of_member(&mut self, command: Command, from: Option<VPath>, turn: &mut FtpContext) {
        match command {
            Command::Type(kind) => turn.reply(200, format!("Type set to {}.", kind.name())),
            Command::Stru => turn.reply(200, "Structure set to F."),
            Command::Mode => turn.reply(200, "Mode set to S."),
            Command::Port(address) => self.connect_actively(address.into(), turn),
            Command::Eprt(address) => self.connect_actively(address, turn),
            Command::Pasv => self.listen(Passive::Pasv, turn),
            Command::Epsv(Epsv::All) => {
                self.data.only_extended_passive = true;
                turn.reply(200, "EPSV ALL accepted; PASV, PORT and EPRT are disabled.");
            }
            Command::Epsv(network) => self.listen_extended(network, turn),
            Command::Abor => {
                self.active = None;
                turn.data.close();
                turn.reply(
                    226,
                    match std::mem::take(&mut self.was_aborted) {
                        true => "Abort successful.",
                        false => "No transfer to abort; data connection closed.",
                    },
                );
            }
            Command::Allo(bytes) => {
                self.next.length = Some(bytes);
                turn.reply(200, "OK; space is reserved when the upload starts.");
            }
            Command::Rest(offset) => {
                self.next.offset = offset;
                turn.reply(350, format!("Restart position accepted ({offset}); send RETR or STOR."));
            }
            Command::Retr(path) => self.on_path(&path, turn, Self::begin_download),
            Command::Stor(path) => {
                self.on_path(&path, turn, |ftp, path, turn| ftp.begin_upload(path, UploadCommand::Store, turn))
            }
            Command::Appe(path) => {
                self.on_path(&path, turn, |ftp, path, turn| ftp.begin_upload(path, UploadCommand::Append, turn))
            }
            Command::Stou => self.store_unique(turn),
            Command::List(text) => self.begin_listing(Form::Long, &text, turn),
            Command::Nlst(text) => self.begin_listing(Form::Names, &text, turn),
            Command::Mlsd(path) => {
                if let Some(path) = self.path_or_folder(path.as_deref(), turn) {
                    self.begin_facts(path, turn);
                }
            }
            Command::Hash(path) => self.begin_hash(Hashed::Hash, &path, turn),
            Command::Xsha256(ExactOr { exact, otherwise }) => match otherwise {
                Ok(path) if !self.is_there(&exact) => self.begin_hash(Hashed::Xsha256, &path, turn),
                Err(wrong) if !self.is_there(&exact) => turn.refuse_line(&wrong),
                _ => self.begin_hash(Hashed::Xsha256, &exact, turn),
            },
            command => self.begin_change(command, from, turn),
        }
    }

    /// Begins a command that changes the home, and queries about it.
    fn begin_change(&mut self, command: Command, from: Option<VPath>, turn: &mut FtpContext) {
        match command {
            Command::Cwd(path) => {
                if let Some(path) = self.path_or_folder(Some(&path), turn) {
                    self.change_folder(path, turn);
                }
            }
            Command::Cdup => self.on_path(b"..", turn, Self::change_folder),
            Command::Pwd => {
                let folder = self.folder.clone();
                turn.reply_quoted(257, &folder, "is the current directory.");
            }
            Command::Mkd(path) => {
                self.on_path(&path, turn, |ftp, path, turn| match ftp.session.make_folder(&path, None) {
                    Ok(()) => turn.reply_quoted(257, &path, "created."),
                    Err(refusal) => turn.refuse(refusal, Some(&path)),
                })
            }
            Command::Rmd(path) => {
                self.change((250, "Directory removed."), &path, turn, |ftp, path| ftp.session.remove_folder(path))
            }
            Command::Dele(path) => self.on_path(&path, turn, Self::remove),
            Command::Rnfr(path) => self.on_path(&path, turn, Self::rename_from),
            Command::Rnto(path) => self.on_path(&path, turn, |ftp, path, turn| ftp.rename_to(from, path, turn)),
            Command::Mdtm(ExactOr { exact, otherwise: Ok((mtime_ns, path)) }) if !self.is_there(&exact) => {
                self.set_mtime(mtime_ns, &path, turn);
            }
            Command::Mfmt { mtime_ns, path } => self.set_mtime(mtime_ns, &path, turn),
            Command::Site(site) => self.begin_site(site, turn),
            command => self.inquire(command, turn),
        }
    }

    fn begin_site(&mut self, site: Site, turn: &mut FtpContext) {
        match site {
            Site::Chmod { permissions, path } => {
                self.on_path(&path, turn, |ftp, path, turn| ftp.set_permissions(&permissions, &path, turn));
            }
            Site::Utime(readings) => {
                let there = readings.iter().find(|(_, path)| self.is_there(path)).or(readings.first());
                let Some((mtime_ns, path)) = there else { return };
                self.change((200, "Modification time set."), path, turn, |ftp, path| {
                    ftp.session.set_mtime(path, *mtime_ns)
                });
            }
            Site::Help(about) => self.tell_site_help(about.as_deref(), turn),
            Site::Quota => self.tell_quota(turn),
        }
    }

    fn set_option(&mut self, opts: Opts, turn: &mut FtpContext) {
        match opts {
            Opts::Utf8 => turn.reply(200, "UTF8 is always on."),
            Opts::Hash => turn.reply(200, "SHA-256"),
            Opts::Mlst(facts) => {
                self.facts = facts;
                turn.reply(200, format!("MLST OPTS {}", facts.chosen()));
            }
        }
    }

    // ---- Paths ----------------------------------------------------------------------------

    /// The path that `text` names from the current folder; else the peer is told why not.
    pub(super) fn path(&self, text: &[u8], turn: &mut FtpContext) -> Option<VPath> {
        let path = self.folder.join(text).map_err(|error| turn.reply(553, format!("Invalid path: {error}.")));
        path.ok().inspect(|path| turn.charge_for(path))
    }

    /// Like `path`, but empty or blank text that names no entry is the current folder.
    pub(super) fn path_or_folder(&self, text: Option<&[u8]>, turn: &mut FtpContext) -> Option<VPath> {
        let is_blank = |text: &[u8]| text.iter().all(|&byte| byte == b' ');
        match text {
            Some(text) if !is_blank(text) || self.is_there(text) => self.path(text, turn),
            _ => Some(self.folder.clone()).inspect(|path| turn.charge_for(path)),
        }
    }

    pub(super) fn on_path(
        &mut self,
        text: &[u8],
        turn: &mut FtpContext,
        act: impl FnOnce(&mut Self, VPath, &mut FtpContext),
    ) {
        if let Some(path) = self.path(text, turn) {
            act(self, path, turn);
        }
    }

    /// Changes something at a path, which needs no more of an answer than `done`.
    fn change(
        &mut self,
        (code, done): (u16, &str),
        text: &[u8],
        turn: &mut FtpContext,
        act: impl FnOnce(&mut Self, &VPath) -> Result<(), SessionError>,
    ) {
        self.on_path(text, turn, |ftp, path, turn| match act(ftp, &path) {
            Ok(()) => turn.reply(code, done),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        });
    }

    // ---- Folders and names ----------------------------------------------------------------

    fn change_folder(&mut self, path: VPath, turn: &mut FtpContext) {
        match self.session.stat(turn.service, &path) {
            Ok((meta, _)) if meta.kind == Kind::Folder => {
                self.folder = path;
                let folder = self.folder.clone();
                turn.reply_quoted(250, &folder, "is the current directory.");
            }
            Ok(_) => turn.refuse(SessionError::NotADirectory, Some(&path)),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
    }

    /// Removes a file and its partial upload, which the next upload would otherwise resume. A path with
    /// only a partial upload has a size, so it can be removed, too. A running upload stays.
    fn remove(&mut self, path: VPath, turn: &mut FtpContext) {
        let held = UploadId::of_path(&path);
        let is_interrupted = self.session.is_interrupted(&held);
        let removed = match self.session.remove_file(&path) {
            Ok(()) | Err(SessionError::NotFound) if is_interrupted => self.session.drop_kept(&held),
            removed => removed,
        };
        match removed {
            Ok(()) => turn.reply(250, "File deleted."),
            Err(refusal) => self.refuse_absent(refusal, &path, turn),
        }
    }

    fn rename_from(&mut self, path: VPath, turn: &mut FtpContext) {
        match self.session.entry(&path) {
            Ok(_) => {
                self.next.from = Some(path);
                turn.reply(350, "Ready for RNTO with the new name.");
            }
            Err(refusal) => self.refuse_absent(refusal, &path, turn),
        }
    }

    /// Refuses a command about a file. If there is no file but a partial upload, the reply says so, because
    /// SIZE reports it.
    pub(super) fn refuse_absent(&self, refusal: SessionError, path: &VPath, turn: &mut FtpContext) {
        let unfinished = self.session.unfinished_upload(path).filter(|_| refusal == SessionError::NotFound);
        let what = match unfinished {
            None => return turn.refuse(refusal, Some(path)),
            Some(Unfinished::Running) => "an upload to it is in progress".to_string(),
            Some(Unfinished::Held(bytes)) => {
                format!(
                    "an interrupted upload to it is held ({bytes} bytes); resume it with REST and STOR, or remove it with DELE"
                )
            }
        };
        turn.reply(550, format!("{}: no such file; {what}.", reply::subject(path)));
    }

    fn rename_to(&mut self, from: Option<VPath>, to: VPath, turn: &mut FtpContext) {
        let Some(from) = from else { return turn.reply(503, "Send RNFR directly before RNTO.") };
        match self.session.rename(&from, &to, true) {
            Ok(()) => turn.reply(250, "Renamed."),
            Err(SessionError::NotFound) => turn.refuse(SessionError::NotFound, Some(&from)),
            Err(refusal) => turn.refuse(refusal, Some(&to)),
        }
    }

    /// The reply follows draft-somers-ftp-mfxx, section 3.1.
    fn set_mtime(&mut self, mtime_ns: i64, text: &[u8], turn: &mut FtpContext) {
        self.on_path(text, turn, |ftp, path, turn| {
            // The file system may not store every time.
            let set = ftp.session.set_mtime(&path, mtime_ns).and_then(|()| ftp.session.stat(turn.service, &path));
            match set {
                Ok((meta, _)) => {
                    let fact = format!("Modify={}; ", time::written(meta.mtime_ns));
                    turn.reply(213, [fact.as_bytes(), text].concat());
                }
                Err(refusal) => turn.refuse(refusal, Some(&path)),
            }
        });
    }

    fn set_permissions(&mut self, permissions: &Permissions, path: &VPath, turn: &mut FtpContext) {
        let changed = self.session.stat(turn.service, path).and_then(|(meta, _)| {
            self.session.set_mode(path, permissions.apply(meta.mode, meta.kind == Kind::Folder))?;
            self.session.stat(turn.service, path)
        });
        match changed {
            Ok((meta, _)) => {
                let rest = if permissions.names_special_bits { "; other bits cannot be set by FTP" } else { "" };
                turn.reply(200, format!("Permissions set to {:03o}{rest}.", meta.mode & 0o777));
            }
            Err(refusal) => turn.refuse(refusal, Some(path)),
        }
    }

    // ---- Data connections -----------------------------------------------------------------

    fn connect_actively(&mut self, address: SocketAddr, turn: &mut FtpContext) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.data.only_extended_passive {
            return turn.reply(503, "Only EPSV is allowed after EPSV ALL.");
        }
        if !self.settings.is_active_allowed {
            return turn.reply(502, "Active mode (PORT, EPRT) is disabled on this server; use EPSV or PASV.");
        }
        // Otherwise the server could be used to attack others (RFC 2577, section 3).
        if address.ip() != self.session.peer().ip() || address.port() < FTP_DATA_PORT_MIN {
            return turn
                .reply(504, format!("Address refused; use your own address and a port from {FTP_DATA_PORT_MIN}."));
        }
        turn.data.close();
        self.active = Some(address);
        turn.reply(200, "OK; the server connects there for the next transfer.");
    }

    fn listen_extended(&mut self, network: Epsv, turn: &mut FtpContext) {
        match (network, self.local) {
            (Epsv::V4, IpAddr::V6(_)) => turn.reply(522, "Network protocol not supported, use (2)"),
            (Epsv::V6, IpAddr::V4(_)) => turn.reply(522, "Network protocol not supported, use (1)"),
            _ => self.listen(Passive::Epsv, turn),
        }
    }

    fn listen(&mut self, passive: Passive, turn: &mut FtpContext) {
        if passive == Passive::Pasv && self.data.only_extended_passive {
            return turn.reply(503, "Only EPSV is allowed after EPSV ALL.");
        }
        if passive == Passive::Pasv && self.local.is_ipv6() {
            return turn.reply(425, "PASV supports IPv4 only; use EPSV.");
        }
        self.active = None;
        let expects_resumption = self.data.is_private && self.reuse.is_known;
        let Ok(address) = turn.data.listen(self.settings.passive_ports.clone(), expects_resumption) else {
            return turn.reply(425, "Cannot open a data connection: no free port; try again later.");
        };
        match (passive, address.ip()) {
            (Passive::Pasv, IpAddr::V4(ip)) => {
                let public = self.settings.public_address;
                let ip = address::announced(ip, self.session.peer().ip(), public);
                turn.reply(227, address::passive(SocketAddrV4::new(ip, address.port())));
            }
            _ => turn.reply(229, address::extended_passive(address.port())),
        }
    }

    // ---- Uploads and digests --------------------------------------------------------------

    fn store_unique(&mut self, turn: &mut FtpContext) {
        let Ok(id) = UploadId::random() else { return turn.refuse(SessionError::Io, None) };
        self.on_path(format!("ftp-{id}").as_bytes(), turn, |ftp, path, turn| {
            ftp.begin_upload(path, UploadCommand::Unique, turn)
        });
    }

    fn begin_hash(&mut self, hashed: Hashed, text: &[u8], turn: &mut FtpContext) {
        self.on_path(text, turn, |ftp, path, turn| match ftp.session.begin_digest(&path) {
            Ok(()) => ftp.doing = Activity::Hashing(hashed, path),
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        });
    }
}

impl FtpContext<'_> {
    /// Charges the budget for a path: longer paths cost the kernel more.
    pub(super) fn charge_for(&mut self, path: &VPath) {
        self.budget.spend(path.depth() as u64 * PATH_COMPONENT_COST);
    }

    /// Replies to a malformed line.
    pub(super) fn refuse_line(&mut self, wrong: &ParseError) {
        let (code, text) = wrong.reply();
        self.reply(code, text);
    }

    /// Replies about a path, in the form of RFC 959 appendix II.
    pub(super) fn reply_quoted(&mut self, code: u16, path: &VPath, what: &str) {
        self.reply(code, [&reply::quoted(path.as_bytes())[..], b" ", what.as_bytes()].concat());
    }
}
