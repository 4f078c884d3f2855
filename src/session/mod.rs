//! The session core: all requests of a connected peer, as calls that are independent of the protocol. Each
//! protocol translates its requests to them. They call the store directly, in slices bounded by a budget.
//! The core knows no sockets and no clock; the time is the argument `now`.
//!
//! A call that begins something either succeeds, or returns a [`SessionError`] and leaves the session as it
//! was. Calls that change the home or query its quota exist only on a [`CountedSession`].
//!
//! Long work is begun by one call and driven by another:
//!
//! | Begun by | Driven by |
//! |---|---|
//! | `finish_login`, `begin_password_login` | `advance_login` |
//! | `begin_list`, `begin_digest`, `begin_directories`, `begin_partial_uploads` | `run_task` |
//! | `begin_upload` | `prepare_upload`, `store`, `finish_upload` or `complete_upload`, `advance_commit` |
//! | `begin_download` | `prepare_download`, `fetch` |

pub mod access_log;
pub mod active_accounts;
mod calls;
mod changes;
pub mod download;
pub mod error;
pub mod home_check;
mod lent;
pub mod login;
pub mod login_attempt;
pub mod login_guard;
pub mod origin;
pub mod password;
mod queries;
mod range_hash;
mod read_ahead;
mod service;
pub mod session_info;
mod sliced;
pub mod state;
pub mod task;
mod task_calls;
pub mod totals;
mod transfers;
pub mod upload;
pub mod verb;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::account::AccountName;
use crate::auth::scram::Binding;
use crate::base::memory::AccountMemory;
use crate::base::token_bucket::TokenBucket;
use active_accounts::Traffic;
use calls::Calls;
pub use changes::CountedSession;
pub use error::SessionError;
use login_attempt::Login;
pub use queries::Unfinished;
pub use service::{Policy, Service};
use state::{State, StateName, User};
use verb::Verb;

/// The interval at which a waiting request checks whether the file system has freed enough removed files.
const BACKLOG_WAIT: Duration = Duration::from_millis(2);

/// What a session is waiting for, by its [`State`]. Decides which deadline applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The peer's login. The deadline is absolute.
    Login,
    /// The peer's next command.
    Idle,
    /// The peer, to send or receive bytes.
    Transfer,
    /// The server itself or its file system. There is no deadline.
    Working,
}

/// The session of one connected peer.
pub struct Session {
    /// Its number in the logs and for the administrator.
    number: u64,
    /// The number under which it requests syncs, so that their results reach it.
    caller: u64,
    peer: SocketAddr,
    binding: Binding,
    requests: TokenBucket,
    state: State,
    calls: Calls,
    /// Whether the file system that the session waits for does not answer.
    is_unanswered: Cell<bool>,
    /// Whether the session waits until another session has changed the home.
    awaits_change: Cell<bool>,
    was_connect_logged: bool,
}

impl Session {
    /// Makes and logs a session with a peer that has just connected. `number` and `caller` are unique.
    pub fn accept(number: u64, caller: u64, peer: SocketAddr) -> Self {
        let mut session = Self { caller, ..Self::new(number, peer) };
        session.log_connect();
        session
    }

    /// Makes a session before its login. `number` is unique.
    pub fn new(number: u64, peer: SocketAddr) -> Self {
        Self {
            number,
            caller: number,
            peer,
            was_connect_logged: true,
            binding: Binding::None,
            requests: TokenBucket::default(),
            state: State::Login(Login::default()),
            calls: Calls::default(),
            is_unanswered: Cell::default(),
            awaits_change: Cell::default(),
        }
    }

    // ---- State ----------------------------------------------------------------------------

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
        self.state.user().is_some_and(|user| user.is_read_only)
    }

    /// Returns the account that is logged in.
    pub fn account(&self) -> Option<&AccountName> {
        self.state.user().map(|user| &user.account)
    }

    /// Returns the account's traffic.
    pub fn traffic(&self) -> Option<&Rc<Traffic>> {
        self.state.user().map(|user| &user.active_account.traffic)
    }

    /// Returns the unique number of the active account.
    pub fn active_account_number(&self) -> Option<u64> {
        self.state.user().map(|user| user.active_account.number)
    }

    /// Returns the account's share of memory.
    pub fn memory(&self) -> Option<&Arc<AccountMemory>> {
        self.state.user().map(|user| &user.active_account.memory)
    }

    /// Returns what the session is waiting for.
    pub fn phase(&self) -> Phase {
        match &self.state {
            // The deadline of a login is absolute.
            State::Login(_) => Phase::Login,
            _ if self.awaits_storage() => Phase::Working,
            State::Command(_, None) => Phase::Idle,
            State::Upload(_, upload) if !upload.is_starting() && !upload.waits_for_sync() => Phase::Transfer,
            State::Download(..) => Phase::Transfer,
            State::Command(_, Some(_)) | State::Upload(..) | State::Commit(..) | State::Closing => Phase::Working,
        }
    }

    /// Returns whether a call to the file system is running, whose result wakes the session.
    pub fn awaits_storage(&self) -> bool {
        self.waits_for_call()
            || self.awaits_change.get()
            || match &self.state {
                State::Login(login) => login.awaits_storage(),
                State::Command(_, Some(task)) => task.awaits_storage(),
                State::Upload(_, upload) => upload.awaits_storage(),
                State::Commit(_, commit) => commit.awaits_storage(),
                State::Download(_, download) => download.awaits_storage(),
                _ => false,
            }
    }

    /// Lets the request that waits for the file system end with [`SessionError::NoAnswer`].
    pub fn give_up_waiting(&self) {
        self.is_unanswered.set(self.awaits_storage());
    }

    /// Returns when the session needs a turn without an event.
    pub fn wakes_at(&self) -> Option<Instant> {
        match &self.state {
            State::Login(login) => login.wakes_at(),
            State::Command(_, Some(task)) => task.wakes_at(),
            _ => None,
        }
    }

    /// Refuses `verb` unless it is allowed now.
    fn check(&self, verb: Verb) -> Result<(), SessionError> {
        verb.check(&self.state)
    }

    fn user(&self, verb: Verb) -> Result<&User, SessionError> {
        self.check(verb)?;
        self.state.user().ok_or(SessionError::LoginRequired)
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

    /// Returns when the next request may begin; `None` if it may now.
    pub fn next_request_at(&self, service: &Service, now: Instant) -> Option<Instant> {
        // A session waits if it removes files faster than the file system frees them.
        if self.state.user().is_some_and(|user| user.home.has_backlog()) {
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

    // ---- Ending ---------------------------------------------------------------------------

    /// Ends the running task or transfer because of `why`. An upload with an [id](upload::UploadPlan::id) is
    /// kept as a partial upload.
    pub fn abort(&mut self, why: SessionError, now: Instant) -> Result<(), SessionError> {
        self.end_request();
        self.check(Verb::Abort)?;
        self.log_unfinished(why, now);
        self.return_to_command();
        Ok(())
    }

    /// Ends the session. `why` is `None` if the peer has closed the connection.
    pub fn close(&mut self, why: Option<SessionError>, now: Instant) {
        self.log_unfinished(why.unwrap_or(SessionError::Cancelled), now);
        let result = why.map_or(Ok(()), Err);
        self.log_access("close", &[], &result);
        self.end_request();
        self.state = State::Closing;
    }

    fn return_to_command(&mut self) {
        self.replace_state(|state| match state {
            State::Command(user, _) | State::Upload(user, _) | State::Commit(user, _) | State::Download(user, _) => {
                State::Command(user, None)
            }
            other => other,
        });
    }

    fn replace_state(&mut self, next: impl FnOnce(State) -> State) {
        self.state = next(self.state.take());
    }
}
