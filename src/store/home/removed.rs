//! Removes files without blocking the loop. The last close of a removed file frees its space, which can
//! take long, so a worker closes it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::{Home, HomeDirectory, directory_id};
use crate::store::meta::{Kind, Meta};
use crate::store::workers::FileSystem;
use crate::store::{SLOW_CLOSE_BYTES, StoreError};

impl HomeDirectory {
    /// Opens a file that is about to lose its name, so that its space is freed when a worker closes it and
    /// not within the loop. On some file systems, freeing takes a hundred times as long as removing the name.
    /// If `defers` is set, a worker can take a file of any size.
    pub(in crate::store) fn open_for_deferred_close(
        &self,
        parent: impl AsFd,
        name: &[u8],
        meta: &Meta,
        defers: bool,
    ) -> Option<OwnedFd> {
        let is_last_name = meta.kind == Kind::File && meta.links == 1;
        if defers && is_last_name && self.support.frees_slowly(meta.identity.dev, &parent) {
            open_path(&parent, name)
        } else {
            open_large_for_deferred_close(parent, name, meta)
        }
    }

    /// Like [`HomeDirectory::open_for_deferred_close`], for a directory. Returns its file system too.
    pub(super) fn open_directory_for_deferred_close(&self, parent: impl AsFd, name: &[u8]) -> Option<(u64, OwnedFd)> {
        let held = open_path(parent, name)?;
        let (device, _) = directory_id(&held).ok()?;
        self.support.frees_slowly(device, &held).then_some((device, held))
    }
}

impl Home {
    /// Closes a descriptor that [`HomeDirectory::open_for_deferred_close`] opened.
    pub(in crate::store) fn close_deferred(&self, device: u64, held: Option<OwnedFd>) {
        if let Some(held) = held {
            self.file_system.close(device, Arc::new(held.into()));
        }
    }

    /// Credits the usage of an entry that has just lost a name, and closes its descriptor `held`.
    pub(in crate::store) fn credit(&self, removed: &Meta, held: Option<OwnedFd>) {
        self.close_deferred(removed.identity.dev, held);
        match removed.links {
            0 | 1 => self.ledger.credit_inode(removed.identity.inode(), removed.size),
            _ => {
                // Only a count can find another name of it in this home.
                self.ledger.credit(0, 1);
                if removed.kind == Kind::File {
                    self.ledger.begin_recount();
                }
            }
        }
    }

    /// Returns whether the file system frees removed files more slowly than this home removes them.
    pub fn has_backlog(&self) -> bool {
        self.file_system.is_behind()
    }

    /// Returns the error `NoAnswer` if the home's file system does not answer.
    pub fn check_answers(&self) -> Result<(), StoreError> {
        if self.file_system.is_unresponsive() { Err(StoreError::NoAnswer) } else { Ok(()) }
    }

    /// Returns the file system with this device number.
    pub(in crate::store) fn file_system_on(&self, device: u64) -> FileSystem {
        self.file_system.file_system_on(device)
    }
}

/// Opens an O_PATH descriptor, which needs no rights and never blocks.
fn open_path(parent: impl AsFd, name: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, OsStr::from_bytes(name), flags, Mode::empty()).ok()
}

/// Opens a large file that is about to lose its name, so that the kernel frees its pages when a worker
/// closes it and not within the loop.
pub(in crate::store) fn open_large_for_deferred_close(parent: impl AsFd, name: &[u8], meta: &Meta) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let is_large = meta.kind == Kind::File && meta.size >= SLOW_CLOSE_BYTES;
    is_large.then(|| rustix::fs::openat(parent, OsStr::from_bytes(name), flags, Mode::empty()).ok())?
}
