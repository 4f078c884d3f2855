//! Session calls that only read.

use std::rc::Rc;

use super::Session;
use super::calls::Answer;
use super::error::SessionError;
use super::service::Service;
use super::verb::Verb;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::logging::Value;
use crate::store::StoreError;
use crate::store::home::Home;
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
        let asked = path.clone();
        let found = self.call(&self.user(Verb::Stat)?.home, move |home| stat(home, asked));
        let meta = self.logged("stat", path, found)?;
        let is_file = meta.kind == Kind::File;
        Ok((meta, is_file.then(|| service.store.etag(&meta.identity))))
    }

    /// Returns the metadata of `path`. If nothing is there, returns the size and times of its partial
    /// upload, so that a client can resume it.
    pub fn stat_resumable(&self, path: &VirtualPath) -> Result<Meta, SessionError> {
        let asked = path.clone();
        let found = self.call(&self.user(Verb::Stat)?.home, move |home| async move {
            match stat(Rc::clone(&home), asked.clone()).await {
                Err(StoreError::NotFound) => home.newer_partial_upload(asked).await?.ok_or(StoreError::NotFound),
                found => found,
            }
        });
        self.logged("stat", path, found)
    }

    /// Returns the metadata of the dangling symlink at `path`.
    pub fn link_itself(&self, path: &VirtualPath) -> Option<Meta> {
        let asked = path.clone();
        let found = self.call(&self.state.user()?.home, move |home| async move {
            home.run(move |directory| directory.entry(&asked)).await
        });
        found.result.ok()?.filter(|entry| entry.kind == Kind::Link)
    }

    /// Returns the running or interrupted upload to `path`, if no file is there. `None` if there is no such
    /// upload or it cannot be read.
    pub fn unfinished_upload(&self, path: &VirtualPath) -> Option<Unfinished> {
        let asked = path.clone();
        let found = self.call(&self.state.user()?.home, move |home| async move {
            if !matches!(stat(Rc::clone(&home), asked.clone()).await, Err(StoreError::NotFound)) {
                return Ok::<_, StoreError>(None);
            }
            if home.is_uploading(&UploadId::of_path(&asked)) {
                return Ok(Some(Unfinished::Running));
            }
            let partial = home.newer_partial_upload(asked).await?;
            Ok(partial.map(|partial| Unfinished::Interrupted(partial.size)))
        });
        found.result.ok().flatten()
    }

    /// Returns the metadata of `path`; a symlink is not followed.
    pub fn entry(&self, path: &VirtualPath) -> Result<Meta, SessionError> {
        let asked = path.clone();
        let found = self.call(&self.user(Verb::Stat)?.home, move |home| async move {
            home.run(move |directory| directory.entry(&asked)?.ok_or(StoreError::NotFound)).await
        });
        self.logged("stat", path, found)
    }

    /// Returns whether `path` exists; a symlink is not followed. Used to interpret an argument, so it is not
    /// logged.
    pub fn has_entry(&self, path: &VirtualPath) -> bool {
        if path.is_root() {
            return true;
        }
        let Some(user) = self.state.user() else { return false };
        let asked = path.clone();
        let found =
            self.call(&user.home, move |home| async move { home.run(move |directory| directory.entry(&asked)).await });
        matches!(found.result, Ok(Some(_)))
    }

    /// Returns a random name, the same in all attempts to handle a request.
    pub fn random_name(&self) -> Result<UploadId, SessionError> {
        self.call(&self.user(Verb::BeginUpload)?.home, |_| async { Ok::<_, StoreError>(UploadId::random()?) }).result
    }

    /// Returns the free bytes on the home's disk, if the file system reports them.
    pub fn disk_free_bytes(&self) -> Option<u64> {
        self.free_bytes().ok()?.result.ok()?
    }

    pub(super) fn free_bytes(&self) -> Result<Answer<Option<u64>>, SessionError> {
        let home = &self.user(Verb::Quota)?.home;
        Ok(self.call(home, move |home| async move { home.run(|directory| directory.free_bytes()).await }))
    }

    /// Returns whether a partial upload of this name exists that no session is sending.
    pub fn is_interrupted(&self, id: &UploadId) -> bool {
        let Some(user) = self.state.user() else { return false };
        let asked = *id;
        let found = self.call(&user.home, move |home| async move {
            let has_part = home.run(move |directory| directory.has_part(&asked)).await?;
            Ok::<_, StoreError>(has_part && !home.is_uploading(&asked))
        });
        found.result.unwrap_or(false)
    }

    /// Logs an answer, unless an earlier attempt has logged it. Returns its result.
    pub(super) fn logged<T>(
        &self,
        verb: &'static str,
        path: &VirtualPath,
        answer: Answer<T>,
    ) -> Result<T, SessionError> {
        self.logged_with(verb, &[("path", Value::path(path.as_bytes()))], answer)
    }

    /// Like [`Session::logged`], for calls with other arguments.
    pub(super) fn logged_with<T>(
        &self,
        verb: &'static str,
        fields: &[(&str, Value<'_>)],
        answer: Answer<T>,
    ) -> Result<T, SessionError> {
        if answer.is_new {
            self.log_access(verb, fields, &answer.result);
        }
        answer.result
    }
}

async fn stat(home: Rc<Home>, path: VirtualPath) -> Result<Meta, StoreError> {
    home.run(move |directory| directory.stat(&path)).await
}
