//! The session core: what somebody connected may do, in verbs that know no protocol. Front-ends
//! translate; storage is called directly, in slices bounded by a budget; sockets and clocks are
//! not seen, only `now`.
//!
//! A verb either happens, or answers with a [`Refusal`] and leaves the session as it was. What
//! takes long is begun by one verb and driven by another: `begin_password_login` by
//! [`Session::advance_password_login`]; `begin_list`, `begin_digest` by [`Session::run_task`];
//! `begin_upload` by [`Session::prepare_upload`], [`Session::store`], [`Session::finish_upload`] or
//! [`Session::complete_upload`], and [`Session::advance_commit`]; `begin_download` by
//! [`Session::prepare_download`] and [`Session::fetch`].

pub mod audit;
pub mod download;
mod journal;
pub mod login;
pub mod overview;
pub mod password;
mod read_ahead;
pub mod refusal;
pub mod seat;
mod service;
pub mod state;
pub mod task;
pub mod upload;
pub mod verb;

use crate::account::AccountName;
use crate::digest::Digest;
use crate::lane::Budget;
use crate::rate::TokenBucket;
use crate::scram::Binding;
use crate::store::StoreError;
use crate::store::home::Meta;
use crate::store::quota::QuotaState;
use crate::store::staging::KeptUpload;
use crate::store::syncer::Synced;
use crate::upload_id::UploadId;
use crate::vpath::VPath;
use download::{Download, DownloadPlan, Fetched, Opened};
use login::Login;
use overview::Transfer;
pub use refusal::Refusal;
use seat::Traffic;
pub use service::{Policy, Service};
use state::{Member, State, StateName};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
use task::{FileHash, Task, TaskStep};
use upload::{Commit, Stored, Upload, UploadPlan};
use verb::{Effect, Verb};

/// What a session is waiting for; decides which deadline applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A login, for which there is an absolute deadline.
    Login,
    /// A command.
    Idle,
    /// The peer, which has bytes to send or to take.
    Transfer,
    /// The server itself: work or the disk. No deadline.
    Working,
}

/// One connected peer.
pub struct Session {
    id: u64,
    peer: SocketAddr,
    binding: Binding,
    requests: TokenBucket,
    state: State,
}

impl Session {
    /// A session that nobody has logged in to. `id` tells it from all others.
    pub fn new(id: u64, peer: SocketAddr) -> Self {
        Self {
            id,
            peer,
            binding: Binding::None,
            requests: TokenBucket::default(),
            state: State::Login(Login::default()),
        }
    }

    // ---- What asks ------------------------------------------------------------------------

    /// Which state the session is in.
    pub fn state_name(&self) -> StateName {
        self.state.name()
    }

    /// Where the peer is.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether somebody is logged in who may change nothing.
    pub fn is_read_only(&self) -> bool {
        self.state.member().is_some_and(|member| member.is_read_only)
    }

    /// Whose account is logged in.
    pub fn account(&self) -> Option<&AccountName> {
        self.state.member().map(|member| &member.account)
    }

    /// What the session's account has moved.
    pub fn traffic(&self) -> Option<&Rc<Traffic>> {
        self.state.member().map(|member| &member.seat.traffic)
    }

    /// What the session is waiting for.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Login(_) => Phase::Login,
            State::Command(_, None) => Phase::Idle,
            State::Upload(_, upload) if !upload.is_copying() && !upload.waits_for_sync() => Phase::Transfer,
            State::Download(..) => Phase::Transfer,
            State::Command(_, Some(_)) | State::Upload(..) | State::Commit(..) | State::Closing => Phase::Working,
        }
    }

    /// When the session wants a turn by itself.
    pub fn wakes_at(&self) -> Option<Instant> {
        match &self.state {
            State::Login(login) => login.wakes_at(),
            _ => None,
        }
    }

    /// Whether `verb` may be asked now.
    pub fn check(&self, verb: Verb) -> Result<(), Refusal> {
        verb.check(&self.state)
    }

    fn member(&self, verb: Verb) -> Result<&Member, Refusal> {
        self.check(verb)?;
        self.state.member().ok_or(Refusal::LoginRequired)
    }

    /// Counts the home on, if `verb` needs it counted; true once it is. Asked before each verb.
    pub fn settle(&self, verb: Verb, budget: &mut Budget) -> Result<bool, Refusal> {
        match self.state.member() {
            Some(Member { home, .. }) if verb.effect() != Effect::Reads => Ok(home.ledger().settle(home, budget)?),
            _ => Ok(true),
        }
    }

    /// What a login is tied to.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Ties logins from now on to the connection they run on.
    pub fn set_binding(&mut self, binding: Binding) {
        self.binding = binding;
    }

    // ---- Requests -------------------------------------------------------------------------

    /// Until when the next request has to wait, if it has to.
    pub fn held_until(&self, service: &Service, now: Instant) -> Option<Instant> {
        service.policy.rates.requests.and(self.requests.ready_at()).filter(|&at| at > now)
    }

    /// Counts a request that begins.
    pub fn count_request(&mut self, service: &Service, now: Instant) {
        if let Some(rate) = service.policy.rates.requests {
            self.requests.take(1, rate, now);
        }
    }

    // ---- Verbs that answer at once --------------------------------------------------------

    /// What is at `path`, and the etag of a file.
    pub fn stat(&self, service: &Service, path: &VPath) -> Result<(Meta, Option<String>), Refusal> {
        let found = self.member(Verb::Stat)?.home.stat(path).map_err(Refusal::from);
        self.log_path("stat", path, &found);
        let meta = found?;
        let is_file = meta.kind == crate::store::home::Kind::File;
        Ok((meta, is_file.then(|| service.store.etag(&meta.identity))))
    }

    /// What somebody who wants to go on with an upload to `path` is told: size and times of what
    /// is held for it, if that is newer than the file there, else of the file.
    pub fn stat_resumable(&self, path: &VPath) -> Result<Meta, Refusal> {
        let home = &self.member(Verb::Stat)?.home;
        let held = home.held(path).transpose();
        let found = held.unwrap_or_else(|| home.stat(path)).map_err(Refusal::from);
        self.log_path("stat", path, &found);
        found
    }

    /// What is at `path` itself; a link is not followed.
    pub fn entry(&self, path: &VPath) -> Result<Meta, Refusal> {
        let home = &self.member(Verb::Stat)?.home;
        let found = home.entry(path).and_then(|entry| entry.ok_or(StoreError::NotFound)).map_err(Refusal::from);
        self.log_path("stat", path, &found);
        found
    }

    /// Makes a folder; with `parents` the ones above it too, and none of them need be missing.
    pub fn make_folder(&self, path: &VPath, parents: bool) -> Result<(), Refusal> {
        let home = &self.member(Verb::MakeFolder)?.home;
        let result = if parents { home.make_folders(path) } else { home.make_folder(path) }.map_err(Refusal::from);
        self.log_path("mkdir", path, &result);
        result
    }

    /// Removes a file or link.
    pub fn remove_file(&self, path: &VPath) -> Result<(), Refusal> {
        let result = self.member(Verb::RemoveFile)?.home.remove_file(path).map_err(Refusal::from);
        self.log_path("rm", path, &result);
        result
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &VPath) -> Result<(), Refusal> {
        let result = self.member(Verb::RemoveFolder)?.home.remove_folder(path).map_err(Refusal::from);
        self.log_path("rmdir", path, &result);
        result
    }

    /// Moves an entry.
    pub fn rename(&self, from: &VPath, to: &VPath, replace: bool) -> Result<(), Refusal> {
        let result = self.member(Verb::Rename)?.home.rename(from, to, replace).map_err(Refusal::from);
        self.log_access("mv", &[("path", from.as_bytes()), ("to", to.as_bytes())], &result);
        result
    }

    /// Gives a file or folder its modification time, nanoseconds since the epoch.
    pub fn set_mtime(&self, path: &VPath, mtime_ns: i64) -> Result<(), Refusal> {
        let result = self.member(Verb::SetMtime)?.home.set_mtime(path, mtime_ns).map_err(Refusal::from);
        self.log_path("mtime", path, &result);
        result
    }

    /// Gives a file or folder its permission bits; see [`crate::store::home::Home::set_mode`].
    pub fn set_mode(&self, path: &VPath, mode: u32) -> Result<(), Refusal> {
        let result = self.member(Verb::SetMode)?.home.set_mode(path, mode).map_err(Refusal::from);
        self.log_path("chmod", path, &result);
        result
    }

    /// What the account uses and may use.
    pub fn quota(&self) -> Result<QuotaState, Refusal> {
        let state = self.member(Verb::Quota)?.home.ledger().state();
        self.log_access("quota", &[], &Ok(()));
        Ok(state)
    }

    /// Bytes that can still be stored: what the quota leaves, and no more than the disk has.
    pub fn available_bytes(&self) -> Result<u64, Refusal> {
        let home = &self.member(Verb::Quota)?.home;
        let free = home.free_bytes().map_err(Refusal::from);
        self.log_access("available", &[], &free);
        let state = home.ledger().state();
        let left = state.limits.bytes.map(|limit| limit.saturating_sub(state.used.bytes + state.reserved.bytes));
        Ok(free?.min(left.unwrap_or(u64::MAX)))
    }

    /// The interrupted uploads of the account.
    pub fn kept_uploads(&self) -> Result<Vec<KeptUpload>, Refusal> {
        let kept = self.member(Verb::KeptUploads)?.home.kept_uploads().map_err(Refusal::from);
        self.log_access("partials", &[], &kept);
        kept
    }

    /// Whether there is an upload of this name that nobody is sending.
    pub fn is_interrupted(&self, id: &UploadId) -> bool {
        self.state.member().is_some_and(|Member { home, .. }| home.is_interrupted(id))
    }

    /// Drops an interrupted upload.
    pub fn drop_kept(&self, id: &UploadId) -> Result<(), Refusal> {
        let dropped = self.member(Verb::DropKept)?.home.drop_kept(id).map_err(Refusal::from);
        let result = dropped.and_then(|was_there| if was_there { Ok(()) } else { Err(Refusal::NotFound) });
        self.log_access("drop_partial", &[("upload", id.to_string().as_bytes())], &result);
        result
    }

    // ---- Tasks ----------------------------------------------------------------------------

    /// Begins to list a folder.
    pub fn begin_list(&mut self, path: &VPath) -> Result<(), Refusal> {
        let listing = self.member(Verb::List)?.home.list(path).map_err(Refusal::from);
        self.log_path("list", path, &listing);
        self.begin_task(Task::List(Box::new(listing?), Vec::new()))
    }

    /// Begins to hash a file.
    pub fn begin_digest(&mut self, path: &VPath) -> Result<(), Refusal> {
        let opened = self.member(Verb::Digest)?.home.open(path).map_err(Refusal::from);
        self.log_path("sha256", path, &opened);
        let (file, meta) = opened?;
        self.begin_task(Task::Digest(Box::new(FileHash::new(file, meta))))
    }

    fn begin_task(&mut self, task: Task) -> Result<(), Refusal> {
        let State::Command(_, current @ None) = &mut self.state else { return Err(Refusal::WrongState) };
        *current = Some(task);
        Ok(())
    }

    /// Drives the task on. It ends with its last page, its digest or a refusal.
    pub fn run_task(&mut self, service: &mut Service, budget: &mut Budget) -> Result<TaskStep, Refusal> {
        self.check(Verb::RunTask)?;
        let State::Command(_, current) = &mut self.state else { return Err(Refusal::WrongState) };
        let Some(task) = current else { return Err(Refusal::WrongState) };
        let step = task.run(&mut service.store, budget);
        if !matches!(step, Ok(TaskStep::Later | TaskStep::Page(_, false))) {
            *current = None;
        }
        step
    }

    // ---- Upload ---------------------------------------------------------------------------

    /// Begins an upload.
    pub fn begin_upload(&mut self, service: &Service, plan: UploadPlan, now: Instant) -> Result<(), Refusal> {
        let home = &self.member(Verb::BeginUpload)?.home;
        let path = plan.path.clone();
        let begun = Upload::begin(home, &service.store, service.policy.sync, plan, now);
        if let Err(refusal) = &begun {
            self.log_path("put", &path, &Err::<(), _>(*refusal));
        }
        let upload = begun?;
        self.step(|state| match state {
            State::Command(member, None) => State::Upload(member, Box::new(upload)),
            other => other,
        });
        Ok(())
    }

    /// Gets what the upload starts with: first byte wanted, and the digest of those before it if
    /// one was asked for, once done. Not done, it wants another turn, at once unless
    /// [`Session::waits_for_sync`].
    pub fn prepare_upload(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
    ) -> Result<Option<(u64, Option<Digest>)>, Refusal> {
        let State::Upload(_, upload) = &self.state else { return Err(Refusal::WrongState) };
        if upload.is_copying() && !self.settle(Verb::Store, budget)? {
            return Ok(None);
        }
        match &mut self.state {
            State::Upload(_, upload) => upload.prepare(&mut service.store, self.id, budget),
            _ => Err(Refusal::WrongState),
        }
    }

    /// Whether the upload goes on only when the disk has answered.
    pub fn waits_for_sync(&self) -> bool {
        matches!(&self.state, State::Upload(_, upload) if upload.waits_for_sync())
    }

    /// Bytes there are of the running upload, those it started with included.
    pub fn uploaded_bytes(&self) -> Option<u64> {
        if let State::Upload(_, upload) = &self.state { Some(upload.length()) } else { None }
    }

    /// Takes bytes of the upload; how many. 0 means that the disk is behind. A refusal does not
    /// end the upload: [`Session::abort`] does.
    pub fn store(&mut self, service: &mut Service, bytes: &[u8]) -> Result<usize, Refusal> {
        self.check(Verb::Store)?;
        match &mut self.state {
            State::Upload(_, upload) => upload.store(&mut service.store, self.id, bytes),
            _ => Err(Refusal::WrongState),
        }
    }

    /// All bytes came, says the peer. Verified, the upload goes on to its commit; otherwise it
    /// is dropped.
    pub fn finish_upload(&mut self, size: u64, digest: Digest, now: Instant) -> Result<(), Refusal> {
        self.end_upload(now, |upload| upload.finish(size, digest))
    }

    /// All bytes came, says the end of the peer's data; nobody claims a size or a digest. Fewer
    /// than were announced are refused and kept as an interrupted upload.
    pub fn complete_upload(&mut self, now: Instant) -> Result<(), Refusal> {
        match &self.state {
            State::Upload(_, upload) if !upload.is_prepared() => Err(Refusal::WrongState),
            _ => self.end_upload(now, Upload::complete),
        }
    }

    fn end_upload(&mut self, now: Instant, end: impl FnOnce(Upload) -> Result<Commit, Refusal>) -> Result<(), Refusal> {
        self.check(Verb::FinishUpload)?;
        let State::Upload(member, upload) = self.state.take() else { return Err(Refusal::WrongState) };
        let record = Transfer::of_upload(&upload);
        match end(*upload) {
            Ok(commit) => {
                self.state = State::Commit(member, Box::new(commit));
                Ok(())
            }
            Err(refusal) => {
                self.state = State::Command(member, None);
                self.log_transfer(&record, now, Err(refusal));
                Err(refusal)
            }
        }
    }

    /// Drives the commit on; what was stored once it is.
    pub fn advance_commit(&mut self, service: &mut Service, now: Instant) -> Result<Option<Stored>, Refusal> {
        self.check(Verb::AdvanceCommit)?;
        let State::Commit(member, commit) = &mut self.state else { return Err(Refusal::WrongState) };
        let result = commit.advance(&member.home, &mut service.store, service.policy.sync, self.id);
        let record = Transfer::of_commit(commit);
        match result {
            Ok(None) => return Ok(None),
            Ok(Some(stored)) => self.log_transfer(&record, now, Ok(stored.digest)),
            Err(refusal) => self.log_transfer(&record, now, Err(refusal)),
        }
        self.return_to_command();
        result
    }

    /// Takes the answer to a sync this session asked for.
    pub fn synced(&mut self, synced: Synced) -> Result<(), Refusal> {
        match &mut self.state {
            State::Upload(_, upload) => upload.synced(synced),
            State::Commit(_, commit) => commit.synced(synced),
            _ => Ok(()),
        }
    }

    // ---- Download -------------------------------------------------------------------------

    /// Begins a download.
    pub fn begin_download(&mut self, service: &Service, plan: DownloadPlan, now: Instant) -> Result<(), Refusal> {
        let home = &self.member(Verb::BeginDownload)?.home;
        let path = plan.path.clone();
        let begun = Download::begin(home, &service.store, plan, now).map_err(Refusal::from);
        if let Err(refusal) = &begun {
            self.log_path("get", &path, &Err::<(), _>(*refusal));
        }
        let download = begun?;
        self.step(|state| match state {
            State::Command(member, None) => State::Download(member, Box::new(download)),
            other => other,
        });
        Ok(())
    }

    /// Decides where the download begins; what the peer is told once that is known.
    pub fn prepare_download(&mut self, service: &Service, budget: &mut Budget) -> Result<Option<Opened>, Refusal> {
        match &mut self.state {
            State::Download(_, download) => download.prepare(&service.store, budget),
            _ => Err(Refusal::WrongState),
        }
    }

    /// The next piece of the download, at most `max` bytes; see [`Download::fetch`]. Its end
    /// ends the download; a refusal does not: [`Session::abort`] does.
    pub fn fetch(
        &mut self,
        service: &mut Service,
        out: &mut Vec<u8>,
        max: usize,
        ranges: bool,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<Fetched, Refusal> {
        self.check(Verb::Fetch)?;
        let State::Download(_, download) = &mut self.state else { return Err(Refusal::WrongState) };
        let fetched = download.fetch(&mut service.store, out, max, ranges, budget)?;
        if let Fetched::End(_, digest) = fetched {
            let record = Transfer::of_download(download);
            self.log_transfer(&record, now, Ok(digest));
            self.return_to_command();
        }
        Ok(fetched)
    }

    /// Whether of the download only its end is left to be fetched.
    pub fn is_fetched(&self) -> bool {
        matches!(&self.state, State::Download(_, download) if download.is_fetched())
    }

    // ---- Ending ---------------------------------------------------------------------------

    /// Ends the task or transfer under way because of `why`. An upload with a name is kept.
    pub fn abort(&mut self, why: Refusal, now: Instant) -> Result<(), Refusal> {
        self.check(Verb::Abort)?;
        self.log_unfinished(why, now);
        self.return_to_command();
        Ok(())
    }

    /// Ends the session because of `why`, if there was a reason beyond the peer's leaving.
    pub fn close(&mut self, why: Option<Refusal>, now: Instant) {
        self.log_unfinished(why.unwrap_or(Refusal::Cancelled), now);
        let result = why.map_or(Ok(()), Err);
        self.log_access("close", &[], &result);
        self.state = State::Closing;
    }

    fn return_to_command(&mut self) {
        self.step(|state| match state {
            State::Command(member, _)
            | State::Upload(member, _)
            | State::Commit(member, _)
            | State::Download(member, _) => State::Command(member, None),
            other => other,
        });
    }

    fn step(&mut self, next: impl FnOnce(State) -> State) {
        self.state = next(self.state.take());
    }
}
