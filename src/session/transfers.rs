//! The session calls of uploads and downloads, from beginning to end. The work of a turn is in [`Upload`]
//! and [`Download`].

use std::time::Instant;

use super::Session;
use super::changes::CountedSession;
use super::download::{Download, DownloadHeader, DownloadPlan, Fetched};
use super::error::SessionError;
use super::service::Service;
use super::session_info::TransferInfo;
use super::state::State;
use super::upload::{Commit, Stored, Upload, UploadPlan};
use super::verb::Verb;
use crate::base::budget::Budget;
use crate::base::buffers::SpliceSource;
use crate::base::digest::Digest;
use crate::store::syncer::Synced;

impl CountedSession<'_> {
    /// Begins an upload.
    pub fn begin_upload(&mut self, service: &Service, plan: UploadPlan, now: Instant) -> Result<(), SessionError> {
        let home = &self.user(Verb::BeginUpload)?.home;
        let (path, etags, sync) = (plan.path.clone(), service.store.etags, service.policy.sync);
        let begun = self.last_call(home, move |home| Upload::begin(home, etags, sync, plan, now));
        if begun.is_new && begun.result.is_err() {
            self.log_path("put", &path, &begun.result);
        }
        let upload = begun.result?;
        self.session.replace_state(|state| match state {
            State::Command(user, None) => State::Upload(user, upload),
            other => other,
        });
        Ok(())
    }

    /// Stores bytes of the upload. Returns the number of bytes; 0 if earlier ones must be written or synced first. A
    /// refusal does not end the upload: [`Session::abort`] does.
    pub fn store(&mut self, service: &mut Service, bytes: &[u8]) -> Result<usize, SessionError> {
        self.check(Verb::Store)?;
        let Session { state: State::Upload(user, upload), caller, is_unanswered, .. } = &mut *self.session else {
            return Err(SessionError::WrongState);
        };
        if is_unanswered.take() {
            return Err(SessionError::NoAnswer);
        }
        upload.store(user.site(*caller), &mut service.store, bytes)
    }

    /// Splices bytes from a socket into the upload. Returns the number of bytes; 0 also if they must be
    /// read.
    pub fn store_from(&mut self, service: &mut Service, incoming: SpliceSource<'_>) -> Result<usize, SessionError> {
        self.check(Verb::Store)?;
        let Session { state: State::Upload(user, upload), caller, .. } = &mut *self.session else {
            return Err(SessionError::WrongState);
        };
        upload.store_from(user.site(*caller), &mut service.store, incoming)
    }

    /// Continues the commit. Returns the result once it is complete.
    pub fn advance_commit(&mut self, service: &mut Service, now: Instant) -> Result<Option<Stored>, SessionError> {
        self.check(Verb::AdvanceCommit)?;
        let State::Commit(user, commit) = &mut self.session.state else { return Err(SessionError::WrongState) };
        let result = match self.session.is_unanswered.take() {
            true => Err(SessionError::NoAnswer),
            false => commit.advance(user.site(self.session.caller), service.store.etags, service.policy.sync),
        };
        let record = TransferInfo::of_commit(commit);
        match result {
            Ok(None) => return Ok(None),
            Ok(Some(stored)) => self.log_transfer(&record, now, Ok(stored.digest)),
            Err(refusal) => self.log_transfer(&record, now, Err(refusal)),
        }
        self.session.return_to_command();
        result
    }
}

impl Session {
    // ---- Upload ---------------------------------------------------------------------------

    /// Prepares the upload. When done, returns the first byte wanted, and the digest of the bytes before it
    /// if one was requested. After `None`, call it again in the next turn, after the next sync if
    /// [`Session::waits_for_sync`], or when the session is woken by a call to the file system.
    pub fn prepare_upload(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
    ) -> Result<Option<(u64, Option<Digest>)>, SessionError> {
        let State::Upload(_, upload) = &self.state else { return Err(SessionError::WrongState) };
        if upload.is_starting() && !self.is_counted(budget)? {
            return Ok(None);
        }
        let State::Upload(user, upload) = &mut self.state else { return Err(SessionError::WrongState) };
        if self.is_unanswered.take() {
            return Err(SessionError::NoAnswer);
        }
        upload.prepare(user.site(self.caller), &mut service.store, budget)
    }

    /// Returns whether the upload can be resumed if it is interrupted now, as far as known.
    pub fn is_upload_resumable(&self) -> bool {
        match &self.state {
            State::Upload(_, upload) => upload.is_resumable(),
            State::Commit(_, commit) => commit.is_resumable(),
            _ => false,
        }
    }

    /// Returns whether the upload continues only after a sync.
    pub fn waits_for_sync(&self) -> bool {
        matches!(&self.state, State::Upload(_, upload) if upload.waits_for_sync())
    }

    /// Ends the upload: the client has sent all bytes. If they match `size` and `digest`, it is committed,
    /// otherwise dropped.
    pub fn finish_upload(&mut self, size: u64, digest: Digest, now: Instant) -> Result<(), SessionError> {
        self.end_upload(now, |upload| upload.finish(size, digest))
    }

    /// Ends the upload at the end of the data connection, without a size or digest. If the size is not the
    /// announced one, the upload is refused and its bytes are kept as a partial upload.
    pub fn complete_upload(&mut self, now: Instant) -> Result<(), SessionError> {
        match &self.state {
            State::Upload(_, upload) if !upload.is_prepared() => Err(SessionError::WrongState),
            _ => self.end_upload(now, Upload::complete),
        }
    }

    fn end_upload(
        &mut self,
        now: Instant,
        end: impl FnOnce(Upload) -> Result<Commit, SessionError>,
    ) -> Result<(), SessionError> {
        self.check(Verb::FinishUpload)?;
        let State::Upload(user, upload) = self.state.take() else { return Err(SessionError::WrongState) };
        let record = TransferInfo::of_upload(&upload);
        match end(*upload) {
            Ok(commit) => {
                self.state = State::Commit(user, Box::new(commit));
                Ok(())
            }
            Err(refusal) => {
                self.state = State::Command(user, None);
                self.log_transfer(&record, now, Err(refusal));
                Err(refusal)
            }
        }
    }

    /// Returns whether the file has its name already, so that it is too late to cancel.
    pub fn is_stored(&self) -> bool {
        matches!(&self.state, State::Commit(_, commit) if commit.has_name())
    }

    /// Takes the result of a sync that this session requested.
    pub fn synced(&mut self, synced: Synced) -> Result<(), SessionError> {
        match &mut self.state {
            State::Upload(user, upload) => upload.synced(user.site(self.caller), synced),
            _ => Ok(()),
        }
    }

    // ---- Download -------------------------------------------------------------------------

    /// Begins a download.
    pub fn begin_download(&mut self, service: &Service, plan: DownloadPlan, now: Instant) -> Result<(), SessionError> {
        let opened = self.open(&self.user(Verb::BeginDownload)?.home, &plan.path);
        if opened.is_new && opened.result.is_err() {
            self.log_path("get", &plan.path, &opened.result);
        }
        let (file, meta) = opened.result?;
        let download = Download::of(file, meta, &service.store, plan, now);
        self.replace_state(|state| match state {
            State::Command(user, None) => State::Download(user, Box::new(download)),
            other => other,
        });
        Ok(())
    }

    /// Decides where the download begins. Returns the header for the peer once that is known.
    pub fn prepare_download(
        &mut self,
        service: &Service,
        budget: &mut Budget,
    ) -> Result<Option<DownloadHeader>, SessionError> {
        let State::Download(user, download) = &mut self.state else { return Err(SessionError::WrongState) };
        if self.is_unanswered.take() {
            return Err(SessionError::NoAnswer);
        }
        download.prepare(user.site(self.caller), &service.store, budget)
    }

    /// Fetches the next piece of the download, at most `max` bytes; see [`Download::fetch`]. Its end ends
    /// the download; a refusal does not: [`Session::abort`] does.
    pub fn fetch(
        &mut self,
        service: &mut Service,
        out: &mut Vec<u8>,
        max: usize,
        range_max: Option<usize>,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<Fetched, SessionError> {
        self.check(Verb::Fetch)?;
        let State::Download(user, download) = &mut self.state else { return Err(SessionError::WrongState) };
        if self.is_unanswered.take() {
            return Err(SessionError::NoAnswer);
        }
        let site = user.site(self.caller);
        let fetched = download.fetch(site, &mut service.store, out, max, range_max, budget)?;
        download.awaits_storage = matches!(fetched, Fetched::Waits);
        if let Fetched::End(_, digest) = fetched {
            let record = TransferInfo::of_download(download);
            self.log_transfer(&record, now, Ok(digest));
            self.return_to_command();
        }
        Ok(fetched)
    }

    /// Returns whether only the end of the download is left to be fetched.
    pub fn is_fetched(&self) -> bool {
        matches!(&self.state, State::Download(_, download) if download.is_fetched())
    }
}
