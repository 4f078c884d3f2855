//! Beginning requests: each translated to a verb of the session, each answer to a reply.

use super::convert::{done, entry, error_reply, malformed, reply, vpath};
use super::{Native, Running};
use crate::front::pipeline::Asked;
use crate::lane::{Budget, Lane};
use crate::limits::{CONTROL_BYTES_MAX, DATA_BYTES_MAX, IN_FLIGHT_MAX, PAGE_BYTES_TARGET, PARTIALS_PER_HOME_MAX};
use crate::scram::Binding;
use crate::session::download::DownloadPlan;
use crate::session::login::LoginOutcome;
use crate::session::task::TaskStep;
use crate::session::upload::UploadPlan;
use crate::session::verb::Verb;
use crate::session::{Refusal, Service};
use crate::store::listing::Listed;
use crate::store::staging::KeptUpload;
use crate::text::Escaped;
use crate::vpath::VPath;
use crate::wire::message::{ErrorReply, MessageError, Name, Partial, PutMode, QuotaReport, VERSION, WireLimits};
use crate::wire::{ErrorCode, Reply, Request};
use std::time::Instant;

impl Native {
    pub(super) fn begin(
        &mut self,
        id: u32,
        request: Request,
        lane: &mut Lane,
        service: &mut Service,
        now: Instant,
    ) -> Result<(), ErrorReply> {
        match request {
            Request::Hello { versions, client } => self.greet(id, &versions, &client, lane),
            Request::Auth { mechanism, message } => self.begin_login(id, &mechanism, &message, lane, service),
            Request::AuthNext { message } => self.finish_login(id, &message, lane, service, now),
            Request::Quota {} => self.quota(id, lane),
            Request::Partials {} => self.partials(id, lane),
            Request::DropPartial { upload_id } => {
                let dropped = self.session.drop_kept(&upload_id);
                dropped.map(|()| reply(lane, id, Reply::Done {})).map_err(|refusal| error_reply(refusal, None))
            }
            Request::List { path } => self.list(id, vpath(&path)?, lane, service),
            Request::Stat { path } => self.stat(id, &vpath(&path)?, lane, service),
            Request::Sha256 { path } => {
                let path = vpath(&path)?;
                self.session.begin_digest(&path).map_err(|refusal| error_reply(refusal, Some(&path)))?;
                self.running = Running::Task(id, path);
                Ok(())
            }
            Request::Mkdir { path, parents } => {
                let path = vpath(&path)?;
                done(id, lane, &path, self.session.make_folder(&path, parents))
            }
            Request::Rm { path } => {
                let path = vpath(&path)?;
                done(id, lane, &path, self.session.remove_file(&path))
            }
            Request::Rmdir { path } => {
                let path = vpath(&path)?;
                done(id, lane, &path, self.session.remove_folder(&path))
            }
            Request::Mv { from, to, replace } => {
                let (from, to) = (vpath(&from)?, vpath(&to)?);
                let result = self.session.rename(&from, &to, replace);
                done(id, lane, if result == Err(Refusal::NotFound) { &from } else { &to }, result)
            }
            Request::Get { path, offset, etag, prefix_sha256 } => {
                let path = vpath(&path)?;
                let plan = DownloadPlan { path: path.clone(), offset, etag, prefix: prefix_sha256 };
                self.session.begin_download(service, plan, now).map_err(|refusal| error_reply(refusal, Some(&path)))?;
                self.running = Running::PrepareDownload(id, path);
                Ok(())
            }
            Request::Put { path, size, mtime_ns, mode, if_etag, upload_id, resume } => {
                let path = vpath(&path)?;
                let replace = mode == PutMode::Replace;
                let plan = UploadPlan { path: path.clone(), size, mtime_ns, replace, if_etag, id: upload_id, resume };
                self.session.begin_upload(service, plan, now).map_err(|refusal| error_reply(refusal, Some(&path)))?;
                self.running = if resume { Running::PrepareUpload(id, path) } else { Running::Receive(id, path) };
                Ok(())
            }
        }
    }

    // ---- Hello and login ------------------------------------------------------------------

    fn greet(&mut self, id: u32, versions: &[u32], client: &str, lane: &mut Lane) -> Result<(), ErrorReply> {
        if !versions.contains(&VERSION) {
            let message = format!("this server speaks version {VERSION} only; use a client that does");
            return Err(ErrorReply { code: ErrorCode::Unsupported, message, retry: false, fatal: true });
        }
        log::debug!("client {}", Escaped(client.as_bytes()));
        self.is_greeted = true;
        let limits =
            WireLimits { control_bytes: CONTROL_BYTES_MAX, data_bytes: DATA_BYTES_MAX, in_flight: IN_FLIGHT_MAX };
        let hello = Reply::Hello {
            version: VERSION,
            server: concat!("berthd/", env!("CARGO_PKG_VERSION")).into(),
            mechanisms: vec![Binding::None.mechanism().into()],
            features: Vec::new(),
            limits,
        };
        reply(lane, id, hello);
        Ok(())
    }

    fn begin_login(
        &mut self,
        id: u32,
        mechanism: &str,
        message: &str,
        lane: &mut Lane,
        service: &Service,
    ) -> Result<(), ErrorReply> {
        if !self.is_greeted {
            return Err(malformed(&MessageError::Malformed("say hello before logging in".into())));
        }
        if mechanism != Binding::None.mechanism() {
            let message = format!("unknown login mechanism; use {}", Binding::None.mechanism());
            return Err(ErrorReply { code: ErrorCode::Unsupported, message, retry: false, fatal: false });
        }
        let challenge = self.session.begin_login(service, message).map_err(|refusal| error_reply(refusal, None))?;
        reply(lane, id, Reply::Challenge { message: challenge });
        Ok(())
    }

    fn finish_login(
        &mut self,
        id: u32,
        message: &str,
        lane: &mut Lane,
        service: &mut Service,
        now: Instant,
    ) -> Result<(), ErrorReply> {
        match self.session.finish_login(service, message, now).map_err(|refusal| error_reply(refusal, None))? {
            LoginOutcome::Welcome(message) => reply(lane, id, Reply::Welcome { message }),
            LoginOutcome::Delayed => self.running = Running::Login(id),
        }
        Ok(())
    }

    pub(super) fn answer_login(&mut self, id: u32, lane: &mut Lane, service: &Service, now: Instant) -> bool {
        let Some(refusal) = self.session.login_refusal(service, now) else { return false };
        self.running = Running::Nothing;
        let error = error_reply(refusal, None);
        let is_fatal = error.fatal;
        reply(lane, id, Reply::Error(error));
        if is_fatal {
            self.hang_up(now);
        }
        true
    }

    // ---- Answers --------------------------------------------------------------------------

    fn stat(&mut self, id: u32, path: &VPath, lane: &mut Lane, service: &Service) -> Result<(), ErrorReply> {
        let (meta, etag) = self.session.stat(service, path).map_err(|refusal| error_reply(refusal, Some(path)))?;
        let entry = entry(path.name().unwrap_or(b"/").to_vec(), &meta);
        reply(lane, id, Reply::Stat { entry, etag });
        Ok(())
    }

    fn list(&mut self, id: u32, path: VPath, lane: &mut Lane, service: &Service) -> Result<(), ErrorReply> {
        match self.session.begin_list(&path) {
            Ok(()) => self.running = Running::Task(id, path),
            Err(Refusal::NotADirectory) => {
                let found = self.session.stat(service, &path).map_err(|refusal| error_reply(refusal, Some(&path)))?;
                let entries = vec![entry(path.name().unwrap_or_default().to_vec(), &found.0)];
                reply(lane, id, Reply::Page { entries, last: true });
            }
            Err(refusal) => return Err(error_reply(refusal, Some(&path))),
        }
        Ok(())
    }

    fn quota(&mut self, id: u32, lane: &mut Lane) -> Result<(), ErrorReply> {
        let state = self.session.quota().map_err(|refusal| error_reply(refusal, None))?;
        reply(
            lane,
            id,
            Reply::Quota(QuotaReport {
                used_bytes: state.used.bytes,
                reserved_bytes: state.reserved.bytes,
                limit_bytes: state.limits.bytes,
                used_files: state.used.files + state.reserved.files,
                limit_files: state.limits.files,
            }),
        );
        Ok(())
    }

    fn partials(&mut self, id: u32, lane: &mut Lane) -> Result<(), ErrorReply> {
        let kept = self.session.kept_uploads().map_err(|refusal| error_reply(refusal, None))?;
        let (mut partials, mut path_bytes) = (Vec::new(), 0);
        for KeptUpload { id: upload_id, record, length: offset, expires_ns } in kept {
            let is_full = path_bytes + record.path.len() > PAGE_BYTES_TARGET || partials.len() >= PARTIALS_PER_HOME_MAX;
            if is_full && !partials.is_empty() {
                reply(lane, id, Reply::Partials { partials: std::mem::take(&mut partials), last: false });
                path_bytes = 0;
            }
            path_bytes += record.path.len();
            let (path, size, expires_s) = (Name(record.path), record.size, expires_ns / 1_000_000_000);
            partials.push(Partial { upload_id, path, offset, size, expires_s });
        }
        reply(lane, id, Reply::Partials { partials, last: true });
        Ok(())
    }

    pub(super) fn run_task(
        &mut self,
        id: u32,
        lane: &mut Lane,
        service: &mut Service,
        budget: &mut Budget,
    ) -> Result<bool, Refusal> {
        let (answer, is_last) = match self.session.run_task(service, budget)? {
            TaskStep::Later => return Ok(true),
            TaskStep::Page(listed, last) => {
                let entries = listed.into_iter().map(|Listed { name, meta }| entry(name, &meta)).collect();
                (Reply::Page { entries, last }, last)
            }
            TaskStep::Digest(sha256, size) => (Reply::Sha256 { sha256, size }, true),
        };
        reply(lane, id, answer);
        if is_last {
            self.running = Running::Nothing;
        }
        Ok(true)
    }
}

impl Asked {
    /// The verb whose needs are met before the request begins.
    pub(super) fn verb(&self) -> Option<Verb> {
        let Self::Request(request) = self else { return None };
        match request {
            Request::Mkdir { .. } => Some(Verb::MakeFolder),
            Request::Rm { .. } => Some(Verb::RemoveFile),
            Request::Rmdir { .. } => Some(Verb::RemoveFolder),
            Request::Mv { .. } => Some(Verb::Rename),
            Request::Put { .. } => Some(Verb::BeginUpload),
            Request::DropPartial { .. } => Some(Verb::DropKept),
            Request::Quota {} => Some(Verb::Quota),
            _ => None,
        }
    }
}
