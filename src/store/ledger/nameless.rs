//! Open files of a home, and the disk space of those without a name. Such a file never had a name or
//! has lost it. It uses the disk until its last descriptor is closed, by the loop or by a worker.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};

use crate::store::usage::{InodeId, Usage};

/// The number of entries below which closed files are not searched for.
const STALE_MAX: usize = 64;

/// The open files of a home, and the usage of those without a name.
#[derive(Default)]
pub(super) struct OpenFiles {
    open: RefCell<HashMap<InodeId, Vec<Weak<File>>>>,
    /// The number of entries at which closed files are searched for and removed.
    sweep_at: Cell<usize>,
    usage: Cell<Usage>,
    /// Parts of `usage`. Each is subtracted when all of its descriptors are closed.
    pending_release: RefCell<Vec<(Vec<Weak<File>>, Usage)>>,
}

impl OpenFiles {
    pub(super) fn add(&self, id: InodeId, file: &Arc<File>) {
        let mut open = self.open.borrow_mut();
        if open.len() >= self.sweep_at.get().max(STALE_MAX) {
            open.retain(|_, files| files.iter().any(is_open));
            self.sweep_at.set(open.len() * 2);
        }
        open.entry(id).or_default().push(Arc::downgrade(file));
    }

    /// Drops the closed descriptors of this inode.
    pub(super) fn remove_closed(&self, id: InodeId) {
        let mut open = self.open.borrow_mut();
        if let Some(files) = open.get_mut(&id) {
            files.retain(is_open);
            if files.is_empty() {
                open.remove(&id);
            }
        }
    }

    /// Returns the open descriptors of this inode.
    pub(super) fn of(&self, id: InodeId) -> Vec<Weak<File>> {
        let open = self.open.borrow();
        open.get(&id).map_or_else(Vec::new, |files| files.iter().filter(|file| is_open(file)).cloned().collect())
    }

    /// Adds the usage of a file without a name.
    pub(super) fn grow(&self, usage: Usage) {
        self.usage.set(self.usage.get() + usage);
    }

    /// Subtracts the usage of a file that has got a name or is gone.
    pub(super) fn shrink(&self, usage: Usage) {
        self.usage.set(self.usage.get() - usage);
    }

    /// Subtracts `usage` once all of `files` are closed.
    pub(super) fn release_when_closed(&self, files: Vec<Weak<File>>, usage: Usage) {
        self.pending_release.borrow_mut().push((files, usage));
    }

    /// Returns the usage of files without a name.
    pub(super) fn usage(&self) -> Usage {
        self.pending_release.borrow_mut().retain(|(files, usage)| {
            let is_held = files.iter().any(is_open);
            if !is_held {
                self.shrink(*usage);
            }
            is_held
        });
        self.usage.get()
    }
}

fn is_open(file: &Weak<File>) -> bool {
    file.strong_count() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Arc<File> {
        Arc::new(tempfile::tempfile().expect("a file"))
    }

    #[test]
    fn what_has_no_name_counts_until_its_last_descriptor_is_closed_on_any_thread() {
        let (files, usage) = (OpenFiles::default(), Usage { bytes: 7, files: 1 });
        let (first, second) = (open(), open());
        files.add((1, 1), &first);
        files.add((1, 1), &second);
        files.grow(usage);
        files.release_when_closed(files.of((1, 1)), usage);
        drop(first);
        assert_eq!(files.usage(), usage);
        std::thread::spawn(move || drop(second)).join().expect("no panic");
        assert_eq!(files.usage(), Usage::default());
    }

    #[test]
    fn closed_files_are_forgotten() {
        let files = OpenFiles::default();
        let held = open();
        files.add((1, 0), &held);
        for ino in 1..1000 {
            files.add((1, ino), &open());
        }
        assert!(files.open.borrow().len() <= STALE_MAX, "{}", files.open.borrow().len());
        assert_eq!(files.of((1, 0)).len(), 1);
        drop(held);
        files.remove_closed((1, 0));
        assert!(!files.open.borrow().contains_key(&(1, 0)));
    }
}
