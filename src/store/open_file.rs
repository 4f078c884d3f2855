//! An open file of a user. A removed file counts as used until its last descriptor is closed, which may be
//! this one. That close frees its space and must not stall the loop.

use std::cell::Cell;
use std::fs::File;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;

use super::ledger::Ledger;
use super::meta::{Meta, meta_of};
use super::usage::{InodeId, Usage};
use super::workers::HomeFileSystem;
use crate::store::SLOW_CLOSE_BYTES;

/// An open file that is closed by a worker if that may take long, and counts as used while it is open.
pub struct OpenFile {
    /// `None` only while it is being closed.
    file: Option<Arc<File>>,
    id: InodeId,
    /// Its size, as far as known here.
    bytes: Cell<u64>,
    /// Its usage while it has no name.
    nameless: Cell<Option<Usage>>,
    ledger: Rc<Ledger>,
    home_file_system: HomeFileSystem,
}

impl OpenFile {
    pub(super) fn new(file: File, meta: &Meta, ledger: &Rc<Ledger>, home_file_system: &HomeFileSystem) -> Self {
        let (file, id) = (Arc::new(file), meta.identity.inode());
        ledger.record_open(id, &file);
        let (ledger, home_file_system) = (Rc::clone(ledger), home_file_system.clone());
        Self { file: Some(file), id, bytes: Cell::new(meta.size), nameless: Cell::new(None), ledger, home_file_system }
    }

    /// Records that the file has no name and uses `usage`.
    pub(super) fn charge_as(&self, usage: Usage) {
        self.nameless.set(Some(usage));
    }

    /// Records that the file has grown by `bytes`.
    pub(super) fn grow(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        if let Some(usage) = self.nameless.get() {
            self.nameless.set(Some(usage + Usage { bytes, files: 0 }));
        }
    }

    /// Records that the file has got a name.
    pub(super) fn record_named(&self) {
        if let Some(usage) = self.nameless.take() {
            self.ledger.record_named(usage);
        }
    }

    /// Returns whether it has no name yet.
    pub(super) fn is_nameless(&self) -> bool {
        self.nameless.get().is_some()
    }

    /// Returns its device and inode.
    pub(super) fn id(&self) -> InodeId {
        self.id
    }

    /// Returns the file itself, for a worker.
    pub fn shared(&self) -> &Arc<File> {
        self.file.as_ref().expect("it is there until this is dropped")
    }
}

impl Deref for OpenFile {
    type Target = File;

    fn deref(&self) -> &File {
        self.shared()
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if let Some(usage) = self.nameless.take() {
            self.ledger.give_up_nameless(usage, Arc::downgrade(&file));
        }
        let frees_much = || self.bytes.get() >= SLOW_CLOSE_BYTES && meta_of(&*file).is_ok_and(|meta| meta.links == 0);
        // A remote file system answers the close of any file.
        if !self.home_file_system.is_local() || frees_much() {
            self.home_file_system.close(self.id.0, file);
        } else {
            drop(file);
        }
        self.ledger.record_closed(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::base::disk_sync::SyncKind;
    use crate::store::syncer::Syncer;
    use crate::store::workers::FileSystem;

    #[test]
    fn a_large_file_without_a_name_is_left_to_the_worker_and_any_other_closed_at_once() {
        let (go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let syncer = Syncer::start(move || wait.lock().map(|wait| wait.recv()).map(drop).unwrap_or_default());
        let directory = tempfile::tempdir().expect("folder");
        let device = fs::metadata(directory.path()).expect("there").dev();
        let path: Rc<Path> = directory.path().into();
        let file_system = FileSystem { device, account: 1, home: Rc::clone(&path), path };
        // The worker hangs after its first result.
        let synced = syncer.home_file_system(file_system.clone(), true);
        let file = Arc::new(tempfile::tempfile().expect("file"));
        syncer.operations().begin_detached(async move { drop(synced.sync(file, SyncKind::Data).await) });
        for (bytes, is_removed) in [(SLOW_CLOSE_BYTES, true), (SLOW_CLOSE_BYTES, false), (SLOW_CLOSE_BYTES - 1, true)] {
            let path = directory.path().join("file");
            let file = File::create(&path).expect("created");
            file.set_len(bytes).expect("sparse");
            let meta = meta_of(&file).expect("open");
            let open = OpenFile::new(file, &meta, &Rc::default(), &syncer.home_file_system(file_system.clone(), true));
            if is_removed {
                fs::remove_file(&path).expect("removed");
            }
            let descriptor = format!("/proc/self/fd/{}", open.as_raw_fd());
            drop(open);
            let is_still_open = fs::read_link(descriptor).is_ok_and(|path| path.starts_with(directory.path()));
            assert_eq!(is_still_open, is_removed && bytes == SLOW_CLOSE_BYTES, "{bytes}, {is_removed}");
        }
        drop(go);
    }
}
