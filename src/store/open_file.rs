//! A user's file, open for reading. Removed meanwhile, a file is freed when its last descriptor is
//! closed, which may be this one, and must not hold up the loop.

use super::meta::{Meta, meta_of};
use super::syncer::Closer;
use crate::limits::SLOW_CLOSE_BYTES;
use std::fs::File;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// An open file that is closed where it holds nobody up.
pub struct OpenFile {
    /// Taken only to be closed.
    file: Option<File>,
    /// For a file that is large.
    closer: Option<Closer>,
}

impl OpenFile {
    pub(super) fn new(file: File, meta: &Meta, closer: &Closer) -> Self {
        let is_large = meta.size >= SLOW_CLOSE_BYTES;
        Self { file: Some(file), closer: is_large.then(|| closer.clone()) }
    }
}

impl Deref for OpenFile {
    type Target = File;

    fn deref(&self) -> &File {
        self.file.as_ref().expect("it is there until this is dropped")
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let (Some(closer), Some(file)) = (&self.closer, self.file.take())
            && meta_of(&file).is_ok_and(|meta| meta.links == 0)
        {
            closer.close(Arc::new(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::syncer::{Flush, Syncer};
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::sync::mpsc::channel;

    #[test]
    fn a_large_file_without_a_name_is_left_to_the_helper_and_any_other_closed_at_once() {
        let (go, wait) = channel::<()>();
        let mut syncer = Syncer::start(move || wait.recv().unwrap_or_default()).expect("thread");
        // From its first answer on the helper stands still.
        syncer.sync(1, Arc::new(tempfile::tempfile().expect("file")), Flush::Data);
        let folder = tempfile::tempdir().expect("folder");
        for (bytes, is_removed) in [(SLOW_CLOSE_BYTES, true), (SLOW_CLOSE_BYTES, false), (SLOW_CLOSE_BYTES - 1, true)] {
            let path = folder.path().join("file");
            let file = File::create(&path).expect("created");
            file.set_len(bytes).expect("sparse");
            let meta = meta_of(&file).expect("open");
            let open = OpenFile::new(file, &meta, &syncer.closer());
            if is_removed {
                fs::remove_file(&path).expect("removed");
            }
            let descriptor = format!("/proc/self/fd/{}", open.as_raw_fd());
            drop(open);
            let is_still_open = fs::read_link(descriptor).is_ok_and(|path| path.starts_with(folder.path()));
            assert_eq!(is_still_open, is_removed && bytes == SLOW_CLOSE_BYTES, "{bytes}, {is_removed}");
        }
        drop(go);
    }
}
