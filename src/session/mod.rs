//! The session core: what a connected peer may do, as calls that know no protocol. Protocols translate
//! to them. Storage is called directly, in slices bounded by a budget. The core sees no sockets or
//! clocks, only `now`.
//!
//! A call either succeeds, or returns a [`SessionError`] and leaves the session as it was. Long work is
//! begun by one call and driven by another: `finish_login` and `begin_password_login` by
//! [`Session::advance_login`]; `begin_list`, `begin_digest`, `begin_folders` and `begin_kept` by
//! [`Session::run_task`]; `begin_upload` by [`Session::prepare_upload`], [`Session::store`],
//! [`Session::finish_upload`] or [`Session::complete_upload`], and [`Session::advance_commit`];
//! `begin_download` by [`Session::prepare_download`] and [`Session::fetch`].

pub mod access_log;
pub mod active_accounts;
pub mod download;
pub mod error;
pub mod home_check;
pub mod login;
pub mod login_attempt;
pub mod login_guard;
pub mod origin;
pub mod password;
mod read_ahead;
mod service;
pub mod session_info;
pub mod state;
pub mod task;
pub mod totals;
mod transfers;
pub mod upload;
pub mod verb;

use crate::account::AccountName;
use crate::auth::scram::Binding;
use crate::base::buffers::Budget;
use crate::base::memory::{Charge, Share};
use crate::base::token_bucket::TokenBucket;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VPath;
use crate::logging::Value;
use crate::store::StoreError;
use crate::store::ledger::QuotaState;
use crate::store::listing::Listing;
use crate::store::meta::{Kind, Meta};
use crate::store::new_folders::NewFolders;
use crate::store::staging::KeptListing;
use active_accounts::Traffic;
pub use error::SessionError;
use login_attempt::Login;
pub use service::{Policy, Service};
use state::{Member, State, StateName};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use task::{FileHash, FolderList, KeptList, Task, TaskStep};
use verb::{Effect, Verb};

/// The interval at which a waiting request checks whether the disk has caught up.
const BACKLOG_WAIT: Duration = Duration::from_millis(2);

/// What a session is waiting for. Decides which deadline applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A login, with an absolute deadline.
    Login,
    /// A command.
    Idle,
    /// The peer, which has bytes to send or to receive.
    Transfer,
    /// The server itself: work or the disk. No deadline.
    Working,
}

/// An upload to a name that no file has yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// A session is sending it.
    Running,
    /// It was interrupted after this number of bytes.
    Held(u64),
}

/// The session of one connected peer.
pub struct Session {
    id: u64,
    peer: SocketAddr,
    binding: Binding,
    requests: TokenBucket,
    state: State,
    is_connect_listed: bool,
}

impl Session {
    /// Makes and logs a session with a peer that has just connected.
    pub fn accept(id: u64, peer: SocketAddr) -> Self {
        let mut session = Self::new(id, peer);
        session.log_connect();
        session
    }

    /// Makes a session before its login. `id` is unique.
    pub fn new(id: u64, peer: SocketAddr) -> Self {
        Self {
            id,
            peer,
            is_connect_listed: true,
            binding: Binding::None,
            requests: TokenBucket::default(),
            state: State::Login(Login::default()),
        }
    }

    // ---- Queries --------------------------------------------------------------------------

    /// Returns the name of the state.
    pub fn state_name(&self) -> StateName {
        self.state.name()
    }

    /// Returns the peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns whether a read-only account is logged in.
    pub fn is_read_only(&self) -> bool {
        self.state.member().is_some_and(|member| member.is_read_only)
    }

    /// Returns the account that is logged in.
    pub fn account(&self) -> Option<&AccountName> {
        self.state.member().map(|member| &member.account)
    }

    /// Returns the account's traffic.
    pub fn traffic(&self) -> Option<&Rc<Traffic>> {
        self.state.member().map(|member| &member.active_account.traffic)
    }

    /// Returns the unique number of the active account.
    pub fn seat_number(&self) -> Option<u64> {
        self.state.member().map(|member| member.active_account.number)
    }

    /// Returns the account's share of memory.
    pub fn memory(&self) -> Option<&Rc<Share>> {
        self.state.member().map(|member| &member.active_account.memory)
    }

    /// Returns what the session is waiting for.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Login(_) => Phase::Login,
            State::Command(_, None) => Phase::Idle,
            State::Upload(_, upload) if !upload.is_starting() && !upload.waits_for_sync() => Phase::Transfer,
            State::Download(..) => Phase::Transfer,
            State::Command(_, Some(_)) | State::Upload(..) | State::Commit(..) | State::Closing => Phase::Working,
        }
    }

    /// Returns when the session needs a turn without an event.
    pub fn wakes_at(&self) -> Option<Instant> {
        match &self.state {
            State::Login(login) => login.wakes_at(),
            State::Command(_, Some(task)) => task.wakes_at(),
            _ => None,
        }
    }

    /// Returns whether `verb` is allowed now.
    pub fn check(&self, verb: Verb) -> Result<(), SessionError> {
        verb.check(&self.state)
    }

    fn member(&self, verb: Verb) -> Result<&Member, SessionError> {
        self.check(verb)?;
        self.state.member().ok_or(SessionError::LoginRequired)
    }

    /// Continues the count of the home, if `verb` needs it. Returns true once it is complete. Called before
    /// each verb.
    pub fn settle(&self, verb: Verb, budget: &mut Budget) -> Result<bool, SessionError> {
        match self.state.member() {
            Some(Member { home, .. }) if verb.effect() != Effect::Reads => Ok(home.settle(budget)?),
            _ => Ok(true),
        }
    }

    /// Returns the channel binding of logins.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Binds later logins to the connection.
    pub fn set_binding(&mut self, binding: Binding) {
        self.binding = binding;
    }

    // ---- Requests -------------------------------------------------------------------------

    /// Returns until when the next request must wait, if it must.
    pub fn held_until(&self, service: &Service, now: Instant) -> Option<Instant> {
        // A session that removes files faster than the disk frees them waits.
        if self.state.member().is_some_and(|member| member.home.has_backlog()) {
            return Some(now + BACKLOG_WAIT);
        }
        service.policy.rates.requests.and(self.requests.ready_at()).filter(|&at| at > now)
    }

    /// Counts a request that begins.
    pub fn count_request(&mut self, service: &Service, now: Instant) {
        if let Some(rate) = service.policy.rates.requests {
            self.requests.take(1, rate, now);
        }
    }

    // ---- Verbs with an immediate result ----------------------------------------------------

    /// Returns the metadata of `path`, and the etag of a file.
    pub fn stat(&self, service: &Service, path: &VPath) -> Result<(Meta, Option<String>), SessionError> {
        let found = self.member(Verb::Stat)?.home.stat(path).map_err(SessionError::from);
        self.log_path("stat", path, &found);
        let meta = found?;
        let is_file = meta.kind == Kind::File;
        Ok((meta, is_file.then(|| service.store.etag(&meta.identity))))
    }

    /// Returns the metadata of `path`. If nothing is there, returns the size and times of its partial
    /// upload, so that a client can resume it.
    pub fn stat_resumable(&self, path: &VPath) -> Result<Meta, SessionError> {
        let home = &self.member(Verb::Stat)?.home;
        let found = match home.stat(path) {
            Err(StoreError::NotFound) => home.held(path).and_then(|held| held.ok_or(StoreError::NotFound)),
            found => found,
        };
        let found = found.map_err(SessionError::from);
        self.log_path("stat", path, &found);
        found
    }

    /// Returns whether a partial upload to `path` is kept.
    pub fn holds_upload(&self, path: &VPath) -> bool {
        self.state.member().is_some_and(|member| matches!(member.home.held(path), Ok(Some(_))))
    }

    /// Returns the metadata of the dangling symlink at `path`.
    pub fn link_itself(&self, path: &VPath) -> Option<Meta> {
        let entry = self.state.member()?.home.entry(path).ok()??;
        (entry.kind == Kind::Link).then_some(entry)
    }

    /// Returns the running or interrupted upload to `path`, if no file is there. `None` if there is no such
    /// upload or it cannot be read.
    pub fn unfinished_upload(&self, path: &VPath) -> Option<Unfinished> {
        let home = &self.state.member()?.home;
        if !matches!(home.stat(path), Err(StoreError::NotFound)) {
            return None;
        }
        if home.is_uploading(&UploadId::of_path(path)) {
            return Some(Unfinished::Running);
        }
        home.held(path).ok().flatten().map(|held| Unfinished::Held(held.size))
    }

    /// Returns the metadata of `path`; a symlink is not followed.
    pub fn entry(&self, path: &VPath) -> Result<Meta, SessionError> {
        let home = &self.member(Verb::Stat)?.home;
        let found = home.entry(path).and_then(|entry| entry.ok_or(StoreError::NotFound)).map_err(SessionError::from);
        self.log_path("stat", path, &found);
        found
    }

    /// Returns whether something is at `path` itself. Used to interpret an argument, and not logged.
    pub fn has_entry(&self, path: &VPath) -> bool {
        let home = self.state.member().map(|member| &member.home);
        path.is_root() || home.is_some_and(|home| matches!(home.entry(path), Ok(Some(_))))
    }

    /// Makes a folder, with the permission bits of its source if there is one.
    pub fn make_folder(&self, path: &VPath, bits: Option<u32>) -> Result<(), SessionError> {
        let result = self.member(Verb::MakeFolder)?.home.make_folder(path, bits).map_err(SessionError::from);
        self.log_path("mkdir", path, &result);
        result
    }

    /// Removes a file or symlink.
    pub fn remove_file(&self, path: &VPath) -> Result<(), SessionError> {
        let result = self.member(Verb::RemoveFile)?.home.remove_file(path).map_err(SessionError::from);
        self.log_path("rm", path, &result);
        result
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &VPath) -> Result<(), SessionError> {
        let result = self.member(Verb::RemoveFolder)?.home.remove_folder(path).map_err(SessionError::from);
        self.log_path("rmdir", path, &result);
        result
    }

    /// Renames an entry.
    pub fn rename(&self, from: &VPath, to: &VPath, replace: bool) -> Result<(), SessionError> {
        let result = self.member(Verb::Rename)?.home.rename(from, to, replace).map_err(SessionError::from);
        self.log_access("mv", &[("path", Value::path(from.as_bytes())), ("to", Value::path(to.as_bytes()))], &result);
        result
    }

    /// Sets the modification time of a file or folder, nanoseconds since the epoch.
    pub fn set_mtime(&self, path: &VPath, mtime_ns: i64) -> Result<(), SessionError> {
        let result = self.member(Verb::SetMtime)?.home.set_mtime(path, mtime_ns).map_err(SessionError::from);
        self.log_path("mtime", path, &result);
        result
    }

    /// Sets the permission bits of a file or folder; see [`crate::store::home::Home::set_mode`].
    pub fn set_mode(&self, path: &VPath, mode: u32) -> Result<(), SessionError> {
        let result = self.member(Verb::SetMode)?.home.set_mode(path, mode).map_err(SessionError::from);
        self.log_path("chmod", path, &result);
        result
    }

    /// Gives a file or folder the permission bits of its source; see
    /// [`crate::store::home::Home::take_mode_of_source`].
    pub fn take_mode_of_source(&self, path: &VPath, bits: u32) -> Result<u32, SessionError> {
        let home = &self.member(Verb::SetMode)?.home;
        let result = home.take_mode_of_source(path, bits).map_err(SessionError::from);
        self.log_path("chmod", path, &result);
        result
    }

    /// What the account uses and may use.
    pub fn quota(&self) -> Result<QuotaState, SessionError> {
        let state = self.member(Verb::Quota)?.home.ledger().state();
        self.log_access("quota", &[], &Ok(()));
        Ok(state)
    }

    /// Returns the refusal of any upload that is not empty, if the quota has no byte left.
    pub fn refusal_of_first_byte(&self) -> Option<SessionError> {
        self.state.member()?.home.ledger().reserve(1, 0).err().map(SessionError::from)
    }

    /// Returns the free bytes on the home's disk, if the file system reports them.
    pub fn disk_free_bytes(&self) -> Option<u64> {
        let home = &self.state.member()?.home;
        home.check_answers().and_then(|()| home.free_bytes()).ok().flatten()
    }

    /// Returns the number of bytes that can still be stored: what the quota leaves, but no more than the
    /// disk has. If the file system does not report its free space, only the quota counts.
    pub fn available_bytes(&self) -> Result<u64, SessionError> {
        let home = &self.member(Verb::Quota)?.home;
        let free = home.free_bytes().map_err(SessionError::from);
        self.log_access("available", &[], &free);
        let state = home.ledger().state();
        let taken = state.stored() + state.reserved;
        let left = state.limits.bytes.map(|limit| limit.saturating_sub(taken.bytes));
        free?.into_iter().chain(left).min().ok_or(SessionError::Io)
    }

    /// Returns whether a partial upload of this name exists that no session is sending.
    pub fn is_interrupted(&self, id: &UploadId) -> bool {
        self.state.member().is_some_and(|Member { home, .. }| home.is_interrupted(id))
    }

    /// Drops a partial upload.
    pub fn drop_kept(&self, id: &UploadId) -> Result<(), SessionError> {
        let dropped = self.member(Verb::DropKept)?.home.drop_kept(id).map_err(SessionError::from);
        let result = dropped.and_then(|was_there| if was_there { Ok(()) } else { Err(SessionError::NotFound) });
        self.log_access("drop_partial", &[("upload", Value::name(id.to_string().as_bytes()))], &result);
        result
    }

    // ---- Tasks ----------------------------------------------------------------------------

    /// Begins to make a folder and those above it, of which none need be missing.
    pub fn begin_folders(&mut self, path: &VPath, bits: Option<u32>) -> Result<(), SessionError> {
        let folders = NewFolders::begin(Rc::clone(&self.member(Verb::MakeFolder)?.home), path, bits)?;
        self.begin_task(Task::Folders(Box::new(folders)))
    }

    /// Begins to list the partial uploads of the account.
    pub fn begin_kept(&mut self) -> Result<(), SessionError> {
        let member = self.member(Verb::KeptUploads)?;
        let kept = KeptListing::begin(Rc::clone(&member.home), Charge::to(&member.active_account.memory))
            .map_err(SessionError::from);
        self.log_access("partials", &[], &kept);
        self.begin_task(Task::Kept(Box::new(KeptList::new(kept?))))
    }

    /// Begins to list a folder by name.
    pub fn begin_list(&mut self, path: &VPath) -> Result<(), SessionError> {
        self.begin_list_as(path, |listing| listing)
    }

    /// Begins to list a folder. `choose` sets the order of the listing and what it contains.
    pub fn begin_list_as(&mut self, path: &VPath, choose: impl FnOnce(Listing) -> Listing) -> Result<(), SessionError> {
        let member = self.member(Verb::List)?;
        let listing = member.home.list(path, Charge::to(&member.active_account.memory)).map_err(SessionError::from);
        self.log_path("list", path, &listing);
        self.begin_task(Task::List(Box::new(FolderList::new(choose(listing?)))))
    }

    /// Begins to hash a file.
    pub fn begin_digest(&mut self, path: &VPath) -> Result<(), SessionError> {
        let opened = self.member(Verb::Digest)?.home.open(path).map_err(SessionError::from);
        self.log_path("sha256", path, &opened);
        let (file, meta) = opened?;
        self.begin_task(Task::Digest(Box::new(FileHash::new(file, meta))))
    }

    fn begin_task(&mut self, task: Task) -> Result<(), SessionError> {
        let State::Command(_, current @ None) = &mut self.state else { return Err(SessionError::WrongState) };
        *current = Some(task);
        Ok(())
    }

    /// Continues the task. It ends with its last page, its digest or a refusal.
    pub fn run_task(
        &mut self,
        service: &mut Service,
        budget: &mut Budget,
        now: Instant,
    ) -> Result<TaskStep, SessionError> {
        self.check(Verb::RunTask)?;
        let State::Command(_, current) = &mut self.state else { return Err(SessionError::WrongState) };
        let Some(task) = current else { return Err(SessionError::WrongState) };
        let step = task.run(&mut service.store, budget, now);
        if matches!(step, Ok(TaskStep::Later | TaskStep::Waits | TaskStep::Page(_, false) | TaskStep::Kept(_, false))) {
            return step;
        }
        if let Some(Task::Folders(folders)) = current.take() {
            self.log_path("mkdir", folders.path(), &step);
        }
        step
    }

    // ---- Ending ---------------------------------------------------------------------------

    /// Ends the running task or transfer because of `why`. An upload with a name is kept.
    pub fn abort(&mut self, why: SessionError, now: Instant) -> Result<(), SessionError> {
        self.check(Verb::Abort)?;
        self.log_unfinished(why, now);
        self.return_to_command();
        Ok(())
    }

    /// Ends the session because of `why`, if there was a reason besides the peer's leaving.
    pub fn close(&mut self, why: Option<SessionError>, now: Instant) {
        self.log_unfinished(why.unwrap_or(SessionError::Cancelled), now);
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
