//! What a client announces before the bytes of an upload, and the checks that need no bytes.

use crate::base::attributes::WantedMode;
use crate::base::digest::Digest;
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VPath;
use crate::store::home::{Home, UploadTarget};
use crate::store::meta::{Kind, Meta};
use crate::store::staging::Record;
use crate::store::{Store, StoreError};

/// How many bytes the whole file will have, as far as the client tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// It does not tell; room is promised as the bytes come.
    Unknown,
    /// So many, no fewer and no more.
    Exactly(u64),
    /// It asks for room for this many; more or fewer may come.
    Reserved(u64),
}

impl Length {
    /// Bytes to promise room for at once.
    pub(super) fn promised(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Exactly(bytes) | Self::Reserved(bytes) => bytes,
        }
    }

    /// Bytes announced, if that is all that may come.
    pub fn exact(self) -> Option<u64> {
        if let Self::Exactly(bytes) = self { Some(bytes) } else { None }
    }

    /// Whether a file may not have so many bytes yet or at all.
    pub(super) fn is_exceeded_by(self, bytes: u64) -> bool {
        self.exact().is_some_and(|exact| bytes > exact)
    }

    /// Whether a file of so many bytes is whole.
    pub(super) fn accepts(self, bytes: u64) -> bool {
        self.exact().is_none_or(|exact| bytes == exact)
    }
}

/// What the bytes that come are appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadStart {
    /// Nothing. What was kept under the upload's name is dropped.
    Empty,
    /// What is kept under the upload's name, if it was announced as this one is; else nothing.
    Kept,
    /// So many bytes of what the client knows to be there: what is held for the path, if that is newer
    /// than the file there and the client was told of it or there is no file; else the file. A
    /// listing tells of the file alone, and whoever goes by that would spoil what is held. Where
    /// there are fewer bytes, this is refused.
    At(u64),
    /// All of the same; nothing if there is neither.
    End,
}

/// What a client announces.
#[derive(Debug, Clone)]
pub struct UploadPlan {
    /// Where the file goes.
    pub path: VPath,
    /// Its bytes, those it starts with included.
    pub length: Length,
    /// Its modification time, nanoseconds since the epoch; else that of the upload.
    pub mtime_ns: Option<i64>,
    /// Whether a file that is there may be replaced.
    pub replace: bool,
    /// Only the file with this etag may be replaced.
    pub if_etag: Option<String>,
    /// The name under which the upload can be resumed; without one nothing is kept.
    pub id: Option<UploadId>,
    /// Where it starts.
    pub start: UploadStart,
    /// Whether a digest is computed as the bytes come.
    pub hash: bool,
    /// The permission bits of the source; else those of any new file.
    pub wanted_mode: Option<WantedMode>,
}

impl UploadPlan {
    pub(super) fn record(&self) -> Record {
        Record { path: self.path.as_bytes().to_vec(), size: self.length.exact(), mtime_ns: self.mtime_ns }
    }

    /// Whether the upload goes by the name that all uploads to its path share.
    pub(super) fn is_named_by_path(&self) -> bool {
        self.id == Some(UploadId::of_path(&self.path))
    }

    /// Whether what would be replaced is what the client wants to replace.
    pub(super) fn accepts(&self, store: &Store, replaced: Option<&Meta>) -> bool {
        match (&self.if_etag, replaced) {
            (None, _) => true,
            (Some(etag), Some(meta)) => *etag == store.etag(&meta.identity),
            (Some(_), None) => false,
        }
    }

    /// Refuses at once what the commit would refuse in the end.
    pub(super) fn check_target(&self, home: &Home, store: &Store) -> Result<UploadTarget, StoreError> {
        if self.path.is_root() {
            return Err(StoreError::NotAFile);
        }
        let target = home.upload_target(&self.path)?;
        match target.there() {
            Some(meta) if meta.kind == Kind::Folder => Err(StoreError::NotAFile),
            Some(_) if !self.replace => Err(StoreError::Exists),
            there if !self.accepts(store, there.as_ref()) => Err(StoreError::Changed),
            _ => Ok(target),
        }
    }
}

/// A finished upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// Computed here, if that was asked for; equal to the one announced, if one was.
    pub digest: Option<Digest>,
}
