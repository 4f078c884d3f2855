//! Begins requests: each becomes a session call, and each result a reply.

use super::mapping::{entry, error_about, error_reply, listed_entry, malformed, partial, vpath};
use super::{Native, NativeContext, RequestStage, Running};
use crate::base::attributes::RequestedMode;
use crate::base::budget::{PATH_COMPONENT_COST, REQUEST_COST};
use crate::base::buffers::DATA_BYTES_MAX;
use crate::base::digest::DigestAlgorithm;
use crate::base::text::Escaped;
use crate::base::virtual_path::VirtualPath;
use crate::protocol::Protocol;
use crate::protocol::native::pipeline::DecodedRequest;
use crate::session::download::{DownloadPlan, DownloadStart};
use crate::session::login::LoginProgress;
use crate::session::task::TaskStep;
use crate::session::upload::{Length, UploadPlan, UploadStart};
use crate::session::{CountedSession, SessionError};
use crate::wire::frame::CONTROL_BYTES_MAX;
use crate::wire::message::{
    ErrorReply, IN_FLIGHT_MAX, MessageError, Name, PERMISSIONS_FEATURE, PutMode, QuotaReport, VERSION, WireLimits,
};
use crate::wire::{ErrorCode, Reply, Request};

impl Native {
    /// Begins a request, and replies if it completes at once. Returns false if it must begin again later,
    /// because the home is not counted yet.
    pub(super) fn begin(
        &mut self,
        id: u32,
        request: &mut Request,
        turn: &mut NativeContext,
    ) -> Result<bool, ErrorReply> {
        let reply = match request {
            Request::Hello { versions, client } => self.greet(versions, client)?,
            Request::Auth { mechanism, message } => self.begin_login(mechanism, message, turn)?,
            Request::AuthNext { message } => return self.finish_login(id, std::mem::take(message)),
            Request::Quota {} => {
                let Some(session) = self.counted(None, turn)? else { return Ok(false) };
                quota(&session)?
            }
            Request::Partials {} => {
                self.session.begin_partial_uploads().map_err(|refusal| error_reply(refusal, None))?;
                return Ok(self.run(id, RequestStage::Task, None));
            }
            Request::DropPartial { upload_id } => {
                let Some(session) = self.counted(None, turn)? else { return Ok(false) };
                session.drop_partial_upload(upload_id).map_err(|refusal| error_reply(refusal, None))?;
                Reply::Done {}
            }
            Request::List { path } => return self.list(id, vpath(path)?, turn),
            Request::Stat { path } => self.stat(&vpath(path)?, turn)?,
            Request::Digest { path, algorithm } => {
                let path = vpath(path)?;
                self.session.begin_digest(&path, *algorithm).map_err(error_about(&path))?;
                return Ok(self.run(id, RequestStage::Task, Some(path)));
            }
            Request::Mkdir { path, parents, permissions } => {
                let path = vpath(path)?;
                let Some(mut session) = self.counted(Some(&path), turn)? else { return Ok(false) };
                if *parents {
                    session.begin_directories(&path, *permissions).map_err(error_about(&path))?;
                    return Ok(self.run(id, RequestStage::Task, Some(path)));
                }
                session.make_directory(&path, *permissions).map_err(error_about(&path))?;
                Reply::Done {}
            }
            Request::SetPermissions { path, permissions } => {
                let path = vpath(path)?;
                let Some(session) = self.counted(Some(&path), turn)? else { return Ok(false) };
                let permissions = session.apply_mode_of_source(&path, *permissions).map_err(error_about(&path))?;
                Reply::Permissions { permissions }
            }
            Request::Rm { path } => {
                let path = vpath(path)?;
                let Some(session) = self.counted(Some(&path), turn)? else { return Ok(false) };
                session.remove_file(&path).map_err(error_about(&path))?;
                Reply::Done {}
            }
            Request::Rmdir { path } => {
                let path = vpath(path)?;
                let Some(session) = self.counted(Some(&path), turn)? else { return Ok(false) };
                session.remove_directory(&path).map_err(error_about(&path))?;
                Reply::Done {}
            }
            Request::Mv { from, to, replace } => {
                let (from, to) = (vpath(from)?, vpath(to)?);
                let Some(session) = self.counted(Some(&from), turn)? else { return Ok(false) };
                session.rename(&from, &to, *replace).map_err(|refusal| {
                    error_reply(refusal, Some(if refusal == SessionError::NotFound { &from } else { &to }))
                })?;
                Reply::Done {}
            }
            Request::Get { path, offset, etag, prefix_digest } => {
                let path = vpath(path)?;
                let start = DownloadStart::Proved { offset: *offset, etag: etag.clone(), prefix: *prefix_digest };
                let plan = DownloadPlan { path: path.clone(), start, hash: true };
                self.session.begin_download(turn.service, plan, turn.now).map_err(error_about(&path))?;
                return Ok(self.run(id, RequestStage::PrepareDownload, Some(path)));
            }
            Request::Put { path, size, mtime_ns, mode, if_etag, upload_id, resume, permissions, set_permissions } => {
                let path = vpath(path)?;
                let Some(mut session) = self.counted(Some(&path), turn)? else { return Ok(false) };
                let plan = UploadPlan {
                    path: path.clone(),
                    length: size.map_or(Length::Unknown, Length::Exactly),
                    mtime_ns: *mtime_ns,
                    replace: *mode == PutMode::Replace,
                    if_etag: if_etag.clone(),
                    id: *upload_id,
                    start: if *resume { UploadStart::Kept } else { UploadStart::Empty },
                    hash: Some(DigestAlgorithm::OF_TRANSFERS),
                    wanted_mode: permissions
                        .map(|bits| RequestedMode { bits, applies_to_replaced_file: *set_permissions }),
                };
                session.begin_upload(turn.service, plan, turn.now).map_err(error_about(&path))?;
                let stage = if *resume { RequestStage::PrepareUpload } else { RequestStage::Receive };
                return Ok(self.run(id, stage, Some(path)));
            }
        };
        turn.reply(id, &reply);
        Ok(true)
    }

    /// Returns the session for a call about `path` that needs a counted home, see [`Session::counted`].
    fn counted(
        &mut self,
        path: Option<&VirtualPath>,
        turn: &mut NativeContext,
    ) -> Result<Option<CountedSession<'_>>, ErrorReply> {
        self.session.counted(turn.budget).map_err(|refusal| error_reply(refusal, path))
    }

    fn run(&mut self, id: u32, stage: RequestStage, path: Option<VirtualPath>) -> bool {
        self.running = Some(Running { id, stage, path });
        true
    }

    // ---- Hello and login ------------------------------------------------------------------

    fn greet(&mut self, versions: &[u32], client: &str) -> Result<Reply, ErrorReply> {
        if !versions.contains(&VERSION) {
            let message = format!("this server speaks version {VERSION} only");
            let error = ErrorReply::new(ErrorCode::Unsupported, message).advise("use a client that does");
            return Err(ErrorReply { fatal: true, ..error });
        }
        log::debug!("client {}", Escaped(client.as_bytes()));
        self.has_said_hello = true;
        let limits =
            WireLimits { control_bytes: CONTROL_BYTES_MAX, data_bytes: DATA_BYTES_MAX, in_flight: IN_FLIGHT_MAX };
        Ok(Reply::Hello {
            version: VERSION,
            server: concat!("berthd/", env!("CARGO_PKG_VERSION")).into(),
            mechanisms: vec![self.session.binding().mechanism().into()],
            features: vec![PERMISSIONS_FEATURE.into()],
            limits,
        })
    }

    fn begin_login(&mut self, mechanism: &str, message: &str, turn: &mut NativeContext) -> Result<Reply, ErrorReply> {
        if !self.has_said_hello {
            return Err(malformed(&MessageError::Malformed("say hello before logging in".into())));
        }
        // With TLS, only the mechanism with channel binding is offered: a login without it could be relayed.
        let offered = self.session.binding().mechanism();
        if mechanism != offered {
            let error = ErrorReply::new(ErrorCode::Unsupported, "this login mechanism is not offered here");
            return Err(error.advise(format!("use {offered}")));
        }
        let challenge =
            self.session.begin_login(turn.service, message, turn.now).map_err(|refusal| error_reply(refusal, None))?;
        Ok(Reply::Challenge { message: challenge })
    }

    fn finish_login(&mut self, id: u32, message: String) -> Result<bool, ErrorReply> {
        self.session.finish_login(message).map_err(|refusal| error_reply(refusal, None))?;
        Ok(self.run(id, RequestStage::Login, None))
    }

    /// Continues a login. Returns whether anything was done.
    pub(super) fn advance_login(&mut self, id: u32, turn: &mut NativeContext) -> bool {
        match self.session.advance_login(turn.service, turn.budget, turn.now) {
            Ok(LoginProgress::Later) => return true,
            Ok(LoginProgress::Waiting) => return false,
            Ok(LoginProgress::Welcome(proof)) => {
                turn.reply(id, &Reply::Welcome { message: proof.unwrap_or_default() });
            }
            Err(refusal) => {
                let error = error_reply(refusal, None);
                let is_fatal = error.fatal;
                turn.refuse(id, error);
                if is_fatal {
                    self.hang_up(turn.now);
                }
            }
        }
        self.running = None;
        true
    }

    // ---- Replies --------------------------------------------------------------------------

    fn stat(&mut self, path: &VirtualPath, turn: &mut NativeContext) -> Result<Reply, ErrorReply> {
        let (meta, etag) = self.session.stat(turn.service, path).map_err(error_about(path))?;
        Ok(Reply::Stat { entry: entry(path.name().unwrap_or(b"/").to_vec(), &meta), etag })
    }

    fn list(&mut self, id: u32, path: VirtualPath, turn: &mut NativeContext) -> Result<bool, ErrorReply> {
        match self.session.begin_list(&path) {
            Ok(()) => return Ok(self.run(id, RequestStage::Task, Some(path))),
            Err(SessionError::NotADirectory) => {
                let (meta, _) = self.session.stat(turn.service, &path).map_err(error_about(&path))?;
                let entries = vec![entry(path.name().unwrap_or_default().to_vec(), &meta)];
                turn.reply(id, &Reply::Page { entries, last: true });
            }
            Err(refusal) => return Err(error_reply(refusal, Some(&path))),
        }
        Ok(true)
    }

    /// Continues a task.
    pub(super) fn run_task(&mut self, id: u32, turn: &mut NativeContext) -> Result<bool, SessionError> {
        let (answer, is_last) = match self.session.run_task(turn.service, turn.budget, turn.now)? {
            TaskStep::Later => return Ok(true),
            TaskStep::Waits => return Ok(false),
            TaskStep::Page(listed, last) => {
                let entries = listed.into_iter().map(listed_entry).collect();
                (Reply::Page { entries, last }, last)
            }
            TaskStep::Digest(digest, size) => (Reply::Digest { digest, size }, true),
            TaskStep::DirectoriesMade => (Reply::Done {}, true),
            TaskStep::PartialUploads(page, last) => {
                let partials = page.into_iter().map(partial).collect();
                (Reply::Partials { partials, last }, last)
            }
        };
        turn.reply(id, &answer);
        if is_last {
            self.running = None;
        }
        Ok(true)
    }
}

impl DecodedRequest {
    /// Returns its fixed cost, besides what it moves.
    pub(super) fn cost(&self) -> u64 {
        let Self::Request(request) = self else { return REQUEST_COST };
        let depth = match request {
            // They are charged as they are made.
            Request::Mkdir { parents: true, .. } => 0,
            Request::List { path }
            | Request::Stat { path }
            | Request::Digest { path, .. }
            | Request::Mkdir { path, .. }
            | Request::SetPermissions { path, .. }
            | Request::Rm { path }
            | Request::Rmdir { path }
            | Request::Get { path, .. }
            | Request::Put { path, .. } => slashes(path),
            Request::Mv { from, to, .. } => slashes(from) + slashes(to),
            _ => 0,
        };
        REQUEST_COST + depth * PATH_COMPONENT_COST
    }
}

fn quota(session: &CountedSession) -> Result<Reply, ErrorReply> {
    let state = session.quota().map_err(|refusal| error_reply(refusal, None))?;
    Ok(Reply::Quota(QuotaReport {
        used_bytes: state.stored().bytes,
        reserved_bytes: state.reserved.bytes,
        limit_bytes: state.limits.bytes,
        used_files: state.stored().files + state.reserved.files,
        limit_files: state.limits.files,
        disk_free_bytes: session.disk_free_bytes(),
    }))
}

fn slashes(path: &Name) -> u64 {
    path.0.iter().filter(|&&byte| byte == b'/').count() as u64
}
