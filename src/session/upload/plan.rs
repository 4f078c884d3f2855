//! What a client announces before the bytes of an upload, and the checks that need no bytes.

use crate::base::attributes::RequestedMode;
use crate::base::digest::{Digest, DigestAlgorithm};
use crate::base::upload_id::UploadId;
use crate::base::virtual_path::VirtualPath;
use crate::store::StoreError;
use crate::store::etag::EtagKey;
use crate::store::home::{HomeDirectory, UploadTarget};
use crate::store::meta::{Kind, Meta};
use crate::store::staging::Record;

/// The size of the whole file, as far as the client announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Not announced; quota is reserved as the bytes come.
    Unknown,
    /// Exactly this many bytes.
    Exactly(u64),
    /// The client reserves this many bytes (FTP `ALLO`); the file may be smaller or larger.
    Reserved(u64),
}

impl Length {
    /// Returns the bytes to reserve at once.
    pub(super) fn promised(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Exactly(bytes) | Self::Reserved(bytes) => bytes,
        }
    }

    /// Returns the announced size, if only that is accepted.
    pub fn exact(self) -> Option<u64> {
        if let Self::Exactly(bytes) = self { Some(bytes) } else { None }
    }

    /// Returns whether a file of this size is larger than announced.
    pub(super) fn is_exceeded_by(self, bytes: u64) -> bool {
        self.exact().is_some_and(|exact| bytes > exact)
    }

    /// Returns whether a file of this size is complete.
    pub(super) fn accepts(self, bytes: u64) -> bool {
        self.exact().is_none_or(|exact| bytes == exact)
    }
}

/// What the bytes are appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadStart {
    /// An empty file. A partial upload with this ID is dropped.
    Empty,
    /// The partial upload with this ID, if it was announced with the same properties; else an empty file.
    Kept,
    /// The first bytes of the partial upload or the file at the path, up to this offset (FTP `REST`).
    ///
    /// 1. There is a partial upload and no file: the partial upload.
    /// 2. The partial upload is newer than the file: the partial upload if the offset is its size and not
    ///    that of the file; otherwise the client knows only the file, and is refused.
    /// 3. Otherwise the file.
    ///
    /// Refused if the offset is past the end.
    At(u64),
    /// All bytes of the partial upload, if there is no file; all bytes of the file, if no partial upload is
    /// newer; otherwise refused. An empty file if there is neither (FTP `APPE`).
    End,
}

/// What a client announces before the bytes.
#[derive(Debug, Clone)]
pub struct UploadPlan {
    /// The path of the file.
    pub path: VirtualPath,
    /// The size of the whole file.
    pub length: Length,
    /// The modification time, nanoseconds since the epoch. Default: the time of the upload.
    pub mtime_ns: Option<i64>,
    /// Whether an existing file may be replaced.
    pub replace: bool,
    /// Only the file with this etag may be replaced.
    pub if_etag: Option<String>,
    /// The ID under which the upload can be resumed. Without an ID it cannot be resumed.
    pub id: Option<UploadId>,
    /// The bytes that it is appended to.
    pub start: UploadStart,
    /// The digest that is computed as the bytes come, if any.
    pub hash: Option<DigestAlgorithm>,
    /// The permission bits of the source. Default: those of any new file.
    pub wanted_mode: Option<RequestedMode>,
}

impl UploadPlan {
    pub(super) fn record(&self) -> Record {
        Record { path: self.path.as_bytes().to_vec(), size: self.length.exact(), mtime_ns: self.mtime_ns }
    }

    /// Returns whether the upload uses the ID that all uploads to its path share.
    pub(super) fn is_named_by_path(&self) -> bool {
        self.id == Some(UploadId::of_path(&self.path))
    }

    /// Returns whether the existing file is the one that the client wants to replace.
    pub(super) fn accepts(&self, etags: &EtagKey, replaced: Option<&Meta>) -> bool {
        match (&self.if_etag, replaced) {
            (None, _) => true,
            (Some(etag), Some(meta)) => *etag == etags.etag(&meta.identity),
            (Some(_), None) => false,
        }
    }

    /// Refuses at once what the commit would refuse.
    pub(super) fn check_target(&self, home: &HomeDirectory, etags: &EtagKey) -> Result<UploadTarget, StoreError> {
        if self.path.is_root() {
            return Err(StoreError::NotAFile);
        }
        let target = home.upload_target(&self.path)?;
        match target.there() {
            Some(meta) if meta.kind == Kind::Directory => Err(StoreError::NotAFile),
            Some(_) if !self.replace => Err(StoreError::Exists),
            there if !self.accepts(etags, there.as_ref()) => Err(StoreError::Changed),
            _ => Ok(target),
        }
    }
}

/// The result of a finished upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Size in bytes.
    pub size: u64,
    /// The digest, if it was requested. Equal to the announced one, if there was one.
    pub digest: Option<Digest>,
}
