//! Session calls that need the home to be counted: all changes, and queries of the quota.

use std::ops::Deref;
use std::rc::Rc;

use super::Session;
use super::error::SessionError;
use super::state::User;
use super::task::{DirectoryMaking, Task};
use super::verb::Verb;
use crate::base::budget::Budget;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::logging::Value;
use crate::store::StoreError;
use crate::store::ledger::QuotaState;
use crate::store::new_directories::NewDirectories;

/// A session whose home is counted, so that its ledger is exact. Only [`Session::counted`] makes one, so
/// a call that needs the ledger cannot come too early:
///
/// ```compile_fail,E0599
/// # fn remove(session: &mut berth::session::Session, path: &berth::base::virtual_path::VirtualPath) {
/// session.remove_file(path);
/// # }
/// ```
///
/// ```
/// # fn remove(session: &mut berth::session::Session, path: &berth::base::virtual_path::VirtualPath) {
/// # let mut budget = berth::base::budget::Budget::new(1);
/// if let Ok(Some(session)) = session.counted(&mut budget) {
///     session.remove_file(path);
/// }
/// # }
/// ```
pub struct CountedSession<'a> {
    pub(super) session: &'a mut Session,
}

impl Deref for CountedSession<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl Session {
    /// Continues the count of the home within `budget`, and returns the session once it is complete. After `None`,
    /// call it again in the next turn, or when the session is woken if it [awaits storage](Self::awaits_storage).
    pub fn counted(&mut self, budget: &mut Budget) -> Result<Option<CountedSession<'_>>, SessionError> {
        Ok(self.is_counted(budget)?.then_some(CountedSession { session: self }))
    }

    /// Like [`Session::counted`], but returns whether the ledger is exact.
    pub(super) fn is_counted(&self, budget: &mut Budget) -> Result<bool, SessionError> {
        self.awaits_change.set(false);
        if self.is_attempt_blocked() {
            return Ok(false);
        }
        let Some(User { home, .. }) = self.state.user() else { return Ok(true) };
        // Its own change may be the one that runs.
        if self.waits_for_call() {
            return Ok(true);
        }
        let is_settled = home.settle(self.caller, budget)?;
        if !is_settled {
            home.check_answers()?;
            self.awaits_change.set(home.file_system().is_changing(self.caller));
        }
        Ok(is_settled)
    }
}

impl CountedSession<'_> {
    // ---- Changes --------------------------------------------------------------------------

    /// Makes a directory, with the permission bits of its source if there is one.
    pub fn make_directory(&self, path: &VirtualPath, bits: Option<u32>) -> Result<(), SessionError> {
        let asked = path.clone();
        let made = self.call(&self.user(Verb::MakeDirectory)?.home, move |home| async move {
            home.make_directory(asked, bits).await
        });
        self.logged("mkdir", path, made)
    }

    /// Removes a file or symlink.
    pub fn remove_file(&self, path: &VirtualPath) -> Result<(), SessionError> {
        let asked = path.clone();
        let removed =
            self.call(&self.user(Verb::RemoveFile)?.home, move |home| async move { home.remove_file(asked).await });
        self.logged("rm", path, removed)
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, path: &VirtualPath) -> Result<(), SessionError> {
        let asked = path.clone();
        let removed = self.call(&self.user(Verb::RemoveDirectory)?.home, move |home| async move {
            home.remove_directory(asked).await
        });
        self.logged("rmdir", path, removed)
    }

    /// Renames an entry.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Result<(), SessionError> {
        let asked = (from.clone(), to.clone());
        let renamed = self.call(&self.user(Verb::Rename)?.home, move |home| async move {
            home.rename(asked.0, asked.1, replace).await
        });
        self.logged_with("mv", &[("path", Value::path(from.as_bytes())), ("to", Value::path(to.as_bytes()))], renamed)
    }

    /// Sets the modification time of a file or directory, nanoseconds since the epoch.
    pub fn set_mtime(&self, path: &VirtualPath, mtime_ns: i64) -> Result<(), SessionError> {
        let asked = path.clone();
        let set = self
            .call(&self.user(Verb::SetMtime)?.home, move |home| async move { home.set_mtime(asked, mtime_ns).await });
        self.logged("mtime", path, set)
    }

    /// Sets the permission bits of a file or directory; see [`crate::store::home::Home::set_mode`].
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<(), SessionError> {
        let asked = path.clone();
        let set =
            self.call(&self.user(Verb::SetMode)?.home, move |home| async move { home.set_mode(asked, mode).await });
        self.logged("chmod", path, set)
    }

    /// Gives a file or directory the permission bits of its source; see
    /// [`crate::store::home::Home::apply_mode_of_source`].
    pub fn apply_mode_of_source(&self, path: &VirtualPath, bits: u32) -> Result<u32, SessionError> {
        let asked = path.clone();
        let set = self.call(&self.user(Verb::SetMode)?.home, move |home| async move {
            home.apply_mode_of_source(asked, bits).await
        });
        self.logged("chmod", path, set)
    }

    /// Drops a partial upload.
    pub fn drop_partial_upload(&self, id: &UploadId) -> Result<(), SessionError> {
        let asked = *id;
        let dropped = self.call(&self.user(Verb::DropPartialUpload)?.home, move |home| async move {
            if home.drop_partial(asked).await? { Ok(()) } else { Err(StoreError::NotFound) }
        });
        self.logged_with("drop_partial", &[("upload", Value::name(id.to_string().as_bytes()))], dropped)
    }

    /// Begins to make a directory and its missing parents.
    pub fn begin_directories(&mut self, path: &VirtualPath, bits: Option<u32>) -> Result<(), SessionError> {
        let directories = NewDirectories::begin(Rc::clone(&self.user(Verb::MakeDirectory)?.home), path, bits)?;
        self.session.begin_task(Task::Directories(Box::new(DirectoryMaking::new(directories))))
    }

    // ---- Queries --------------------------------------------------------------------------

    /// Returns the usage and the limits of the account.
    pub fn quota(&self) -> Result<QuotaState, SessionError> {
        let state = self.user(Verb::Quota)?.home.ledger().state();
        self.log_access("quota", &[], &Ok(()));
        Ok(state)
    }

    /// Returns the error with which the first byte of an upload would be refused, if the quota has no byte
    /// left.
    pub fn refusal_of_first_byte(&self) -> Option<SessionError> {
        self.state.user()?.home.ledger().reserve(1, 0).err().map(SessionError::from)
    }

    /// Returns the number of bytes that can still be stored: the smaller of the free quota and the free disk
    /// space. If the file system does not report its free space, only the quota counts.
    pub fn available_bytes(&self) -> Result<u64, SessionError> {
        let home = &self.user(Verb::Quota)?.home;
        let free = self.logged_with("available", &[], self.free_bytes()?);
        let state = home.ledger().state();
        let taken = state.stored() + state.reserved;
        let left = state.limits.bytes.map(|limit| limit.saturating_sub(taken.bytes));
        free?.into_iter().chain(left).min().ok_or(SessionError::Io)
    }
}
