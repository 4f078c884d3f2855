//! Session calls that only read, and complete at once.

use super::Session;
use super::error::SessionError;
use super::service::Service;
use super::state::Member;
use super::verb::Verb;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::store::StoreError;
use crate::store::meta::{Kind, Meta};

/// An upload to a path at which there is no file yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// A session is sending it.
    Running,
    /// It was interrupted after this number of bytes.
    Interrupted(u64),
}

impl Session {
    /// Returns the metadata of `path`, and the etag of a file.
    pub fn stat(&self, service: &Service, path: &VirtualPath) -> Result<(Meta, Option<String>), SessionError> {
        let found = self.member(Verb::Stat)?.home.stat(path).map_err(SessionError::from);
        self.log_path("stat", path, &found);
        let meta = found?;
        let is_file = meta.kind == Kind::File;
        Ok((meta, is_file.then(|| service.store.etag(&meta.identity))))
    }

    /// Returns the metadata of `path`. If nothing is there, returns the size and times of its partial
    /// upload, so that a client can resume it.
    pub fn stat_resumable(&self, path: &VirtualPath) -> Result<Meta, SessionError> {
        let home = &self.member(Verb::Stat)?.home;
        let found = match home.stat(path) {
            Err(StoreError::NotFound) => {
                home.newer_partial_upload(path).and_then(|partial| partial.ok_or(StoreError::NotFound))
            }
            found => found,
        };
        let found = found.map_err(SessionError::from);
        self.log_path("stat", path, &found);
        found
    }

    /// Returns whether a partial upload to `path` is kept.
    pub fn has_partial_upload(&self, path: &VirtualPath) -> bool {
        self.state.member().is_some_and(|member| matches!(member.home.newer_partial_upload(path), Ok(Some(_))))
    }

    /// Returns the metadata of the dangling symlink at `path`.
    pub fn link_itself(&self, path: &VirtualPath) -> Option<Meta> {
        let entry = self.state.member()?.home.entry(path).ok()??;
        (entry.kind == Kind::Link).then_some(entry)
    }

    /// Returns the running or interrupted upload to `path`, if no file is there. `None` if there is no such
    /// upload or it cannot be read.
    pub fn unfinished_upload(&self, path: &VirtualPath) -> Option<Unfinished> {
        let home = &self.state.member()?.home;
        if !matches!(home.stat(path), Err(StoreError::NotFound)) {
            return None;
        }
        if home.is_uploading(&UploadId::of_path(path)) {
            return Some(Unfinished::Running);
        }
        home.newer_partial_upload(path).ok().flatten().map(|partial| Unfinished::Interrupted(partial.size))
    }

    /// Returns the metadata of `path`; a symlink is not followed.
    pub fn entry(&self, path: &VirtualPath) -> Result<Meta, SessionError> {
        let home = &self.member(Verb::Stat)?.home;
        let found = home.entry(path).and_then(|entry| entry.ok_or(StoreError::NotFound)).map_err(SessionError::from);
        self.log_path("stat", path, &found);
        found
    }

    /// Returns whether `path` exists; a symlink is not followed. Used to interpret an argument, so it is not
    /// logged.
    pub fn has_entry(&self, path: &VirtualPath) -> bool {
        let home = self.state.member().map(|member| &member.home);
        path.is_root() || home.is_some_and(|home| matches!(home.entry(path), Ok(Some(_))))
    }

    /// Returns the free bytes on the home's disk, if the file system reports them.
    pub fn disk_free_bytes(&self) -> Option<u64> {
        let home = &self.state.member()?.home;
        home.check_answers().and_then(|()| home.free_bytes()).ok().flatten()
    }

    /// Returns whether a partial upload of this name exists that no session is sending.
    pub fn is_interrupted(&self, id: &UploadId) -> bool {
        self.state.member().is_some_and(|Member { home, .. }| home.is_interrupted(id))
    }
}
