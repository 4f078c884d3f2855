//! Session calls that need the home to be counted: all changes, and queries of the quota.

use std::ops::Deref;
use std::rc::Rc;

use super::Session;
use super::error::SessionError;
use super::state::Member;
use super::task::Task;
use super::verb::Verb;
use crate::base::budget::Budget;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::logging::Value;
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
    /// Continues the count of the home within `budget`, and returns the session once it is complete.
    /// `None`: the budget is spent; call it again in the next turn.
    pub fn counted(&mut self, budget: &mut Budget) -> Result<Option<CountedSession<'_>>, SessionError> {
        let is_counted = match self.state.member() {
            Some(Member { home, .. }) => home.settle(budget)?,
            None => true,
        };
        Ok(is_counted.then_some(CountedSession { session: self }))
    }
}

impl CountedSession<'_> {
    // ---- Changes --------------------------------------------------------------------------

    /// Makes a directory, with the permission bits of its source if there is one.
    pub fn make_directory(&self, path: &VirtualPath, bits: Option<u32>) -> Result<(), SessionError> {
        let result = self.member(Verb::MakeDirectory)?.home.make_directory(path, bits).map_err(SessionError::from);
        self.log_path("mkdir", path, &result);
        result
    }

    /// Removes a file or symlink.
    pub fn remove_file(&self, path: &VirtualPath) -> Result<(), SessionError> {
        let result = self.member(Verb::RemoveFile)?.home.remove_file(path).map_err(SessionError::from);
        self.log_path("rm", path, &result);
        result
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, path: &VirtualPath) -> Result<(), SessionError> {
        let result = self.member(Verb::RemoveDirectory)?.home.remove_directory(path).map_err(SessionError::from);
        self.log_path("rmdir", path, &result);
        result
    }

    /// Renames an entry.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Result<(), SessionError> {
        let result = self.member(Verb::Rename)?.home.rename(from, to, replace).map_err(SessionError::from);
        self.log_access("mv", &[("path", Value::path(from.as_bytes())), ("to", Value::path(to.as_bytes()))], &result);
        result
    }

    /// Sets the modification time of a file or directory, nanoseconds since the epoch.
    pub fn set_mtime(&self, path: &VirtualPath, mtime_ns: i64) -> Result<(), SessionError> {
        let result = self.member(Verb::SetMtime)?.home.set_mtime(path, mtime_ns).map_err(SessionError::from);
        self.log_path("mtime", path, &result);
        result
    }

    /// Sets the permission bits of a file or directory; see [`crate::store::home::Home::set_mode`].
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<(), SessionError> {
        let result = self.member(Verb::SetMode)?.home.set_mode(path, mode).map_err(SessionError::from);
        self.log_path("chmod", path, &result);
        result
    }

    /// Gives a file or directory the permission bits of its source; see
    /// [`crate::store::home::Home::apply_mode_of_source`].
    pub fn apply_mode_of_source(&self, path: &VirtualPath, bits: u32) -> Result<u32, SessionError> {
        let home = &self.member(Verb::SetMode)?.home;
        let result = home.apply_mode_of_source(path, bits).map_err(SessionError::from);
        self.log_path("chmod", path, &result);
        result
    }

    /// Drops a partial upload.
    pub fn drop_partial_upload(&self, id: &UploadId) -> Result<(), SessionError> {
        let dropped = self.member(Verb::DropPartialUpload)?.home.drop_partial_upload(id).map_err(SessionError::from);
        let result = dropped.and_then(|was_there| if was_there { Ok(()) } else { Err(SessionError::NotFound) });
        self.log_access("drop_partial", &[("upload", Value::name(id.to_string().as_bytes()))], &result);
        result
    }

    /// Begins to make a directory and its missing parents.
    pub fn begin_directories(&mut self, path: &VirtualPath, bits: Option<u32>) -> Result<(), SessionError> {
        let directories = NewDirectories::begin(Rc::clone(&self.member(Verb::MakeDirectory)?.home), path, bits)?;
        self.session.begin_task(Task::Directories(Box::new(directories)))
    }

    // ---- Queries --------------------------------------------------------------------------

    /// Returns the usage and the limits of the account.
    pub fn quota(&self) -> Result<QuotaState, SessionError> {
        let state = self.member(Verb::Quota)?.home.ledger().state();
        self.log_access("quota", &[], &Ok(()));
        Ok(state)
    }

    /// Returns the error with which the first byte of an upload would be refused, if the quota has no byte
    /// left.
    pub fn refusal_of_first_byte(&self) -> Option<SessionError> {
        self.state.member()?.home.ledger().reserve(1, 0).err().map(SessionError::from)
    }

    /// Returns the number of bytes that can still be stored: the smaller of the free quota and the free disk
    /// space. If the file system does not report its free space, only the quota counts.
    pub fn available_bytes(&self) -> Result<u64, SessionError> {
        let home = &self.member(Verb::Quota)?.home;
        let free = home.free_bytes().map_err(SessionError::from);
        self.log_access("available", &[], &free);
        let state = home.ledger().state();
        let taken = state.stored() + state.reserved;
        let left = state.limits.bytes.map(|limit| limit.saturating_sub(taken.bytes));
        free?.into_iter().chain(left).min().ok_or(SessionError::Io)
    }
}
